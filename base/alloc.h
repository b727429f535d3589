/* Allocation, in one place so that tests can make it fail. Release builds call malloc directly;
 * test builds (SLUICE_TEST) count down per thread and fail the n-th allocation, so every path of
 * "out of memory closes that connection only" can be walked. Any thread. */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/err.h"

/* This thread's n-th allocation from now on (1: the next) and all after it fail; 0: none fails.
 * Returns false in builds that cannot do it. */
bool sl_alloc_fail_after(unsigned n);
/* The same for the n-th alone; the ones after it succeed again. */
bool sl_alloc_fail_once(unsigned n);
/* How many allocations of this thread have been made to fail since either was called. */
unsigned sl_alloc_failed(void);
/* How many this thread has asked for since then, failed ones included. */
unsigned sl_alloc_asked(void);

#ifdef SLUICE_TEST
void *sl_malloc(size_t n) SL_MUST;
void *sl_calloc(size_t count, size_t n) SL_MUST;
void *sl_realloc(void *p, size_t n) SL_MUST;
#else
static inline SL_MUST void *sl_malloc(size_t n)
{
    return malloc(n);
}
static inline SL_MUST void *sl_calloc(size_t count, size_t n)
{
    return calloc(count, n);
}
static inline SL_MUST void *sl_realloc(void *p, size_t n)
{
    return realloc(p, n);
}
#endif

static inline void sl_free(void *p)
{
    free(p);
}

/* Memory that is pooled or not handed out yet is marked for AddressSanitizer, so that a use after
 * free shows in spite of the pools. */
#if defined(__SANITIZE_ADDRESS__)
#define SL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SL_ASAN 1
#endif
#endif
#ifdef SL_ASAN
#include <sanitizer/asan_interface.h>
#define sl_poison(p, n)   ASAN_POISON_MEMORY_REGION((p), (n))
#define sl_unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define sl_poison(p, n)   ((void)(p), (void)(n))
#define sl_unpoison(p, n) ((void)(p), (void)(n))
#endif

#endif
