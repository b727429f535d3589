/* What all mutators have in common: random numbers that follow from a seed, one way to put bytes in
 * the place of others, and libFuzzer's own mutation. */
#ifndef FUZZ_MUTATE_BASE_H
#define FUZZ_MUTATE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mutate_rng {
    uint64_t state;
};
/* 0 .. below - 1; below is not 0. */
uint32_t mutate_rand(struct mutate_rng *r, uint32_t below);
bool mutate_one_in(struct mutate_rng *r, uint32_t n);
/* Puts in[0..k) in place of the cut bytes at `at`. The new size; n when it does not fit max. */
size_t mutate_splice(uint8_t *body, size_t n, size_t max, size_t at, size_t cut, const void *in,
                     size_t k);

/* libFuzzer's own mutation of bytes; programs without libFuzzer bring another one. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

#endif
