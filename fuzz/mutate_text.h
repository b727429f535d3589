/* Mutation over the structure of texts, shared by the fuzz targets that read them: JSON, lists with
 * a separator (SASL's and SCRAM's messages, forms), YAML and JWTs. What can be read is changed as
 * what it is, by words of the target's own, and written again; what cannot be read, and now and
 * then what can, goes to libFuzzer's own mutation of bytes.
 *
 * Everything follows from the seed alone. One thread. Nothing is kept between calls, and nothing is
 * written beyond max; garbage is taken as it is. */
#ifndef FUZZ_MUTATE_TEXT_H
#define FUZZ_MUTATE_TEXT_H

#include "fuzz/mutate_base.h"

/* Keys and values of a target's grammar. */
struct mutate_words {
    const char *const *at;
    size_t count;
};
#define MUTATE_WORDS(list)                                                                         \
    {                                                                                              \
        list, sizeof(list) / sizeof((list)[0])                                                     \
    }
const char *mutate_word(struct mutate_rng *r, const struct mutate_words *w);

/* A JSON value (fuzz/mutate_json.c): a member or element is changed by its type, dropped, doubled,
 * renamed, put one level deeper or higher, or replaced by another one; a key twice, other spacing
 * and escapes in what is written. */
size_t mutate_json(const struct mutate_words *w, uint8_t *data, size_t size, size_t max,
                   unsigned seed);
/* Items with that byte between them, each perhaps KEY=VALUE. */
size_t mutate_items(uint8_t between, const struct mutate_words *w, uint8_t *data, size_t size,
                    size_t max, unsigned seed);
/* Rows of so many bytes each, for operations in a row: put in, left out, repeated elsewhere, or a
 * byte changed. */
size_t mutate_rows(size_t row, uint8_t *data, size_t size, size_t max, unsigned seed);
/* A configuration of lines KEY: VALUE, where a line's block is what stands deeper below it. */
size_t mutate_yaml(const struct mutate_words *w, uint8_t *data, size_t size, size_t max,
                   unsigned seed);
/* Three parts of base64url with dots between them: the first two as JSON, the last as bytes. */
size_t mutate_token(const struct mutate_words *w, uint8_t *data, size_t size, size_t max,
                    unsigned seed);
/* A JSON object, a newline, and another one, which the target signs. */
size_t mutate_claims(const struct mutate_words *w, uint8_t *data, size_t size, size_t max,
                     unsigned seed);

#endif
