/* Memory that fails at every place where it is asked for. Counted are our own allocations and those
 * that OpenSSL, jansson, SQLite and libcurl make for us in this thread; libjwt and libevent have
 * allocators of their own and are left out. What a test runs must come out right or be refused;
 * AddressSanitizer sees to it that nothing leaks.
 *
 * Call the hooks first thing in main: the libraries take an allocator before their first use only.
 */
#ifndef TESTS_SHORT_MEMORY_H
#define TESTS_SHORT_MEMORY_H

#include <execinfo.h>
#include <malloc.h>
#include <stdlib.h>

#include <curl/curl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <sqlite3.h>

#include "auth/memory.h"
#include "base/alloc.h"

#define FAILURES_MAX 1000000
#define PLACES       (1U << 14) /* told apart in one run */
#define STACK_DEPTH  12

static unsigned failures; /* of all sweeps */
/* What looks at a run's outcome with all the memory there is; NULL: nothing. */
static void (*afterwards)(void);

/* --- which allocations are worth a failure */

/* A place is the innermost of a stack of callers. Where a library asks for memory in thousands of
 * equal rounds, the first and the last time of each place stand for all. */
static struct place {
    uint64_t stack; /* 0: free */
    unsigned times, last;
} places[PLACES];
static unsigned char due[FAILURES_MAX]; /* by the allocation's number in the run */
enum { DUE_NO = 1, DUE_YES };           /* 0: our own, which are all due */
static bool recording;

static inline void place_note(void)
{
    void *at[STACK_DEPTH];
    int n;
    unsigned number = sl_alloc_asked() + 1;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    struct place *p;

    if (!recording)
        return;
    assert_true(number < FAILURES_MAX);
    n = backtrace(at, STACK_DEPTH);
    for (int i = 0; i < n; i++)
        h = (h ^ (uintptr_t)at[i]) * UINT64_C(0x100000001b3);
    for (p = &places[h % PLACES]; p->stack && p->stack != h; p = places + (p - places + 1) % PLACES)
        ;
    p->stack = h;
    p->last = number;
    due[number] = ++p->times == 1 ? DUE_YES : DUE_NO;
}

/* Runs it once with all the memory there is; how many allocations that took. */
static inline unsigned places_record(bool (*run)(void))
{
    unsigned asked;

    memset(places, 0, sizeof places);
    memset(due, 0, sizeof due);
    (void)sl_alloc_fail_after(0);
    recording = true;
    assert_true(run());
    recording = false;
    asked = sl_alloc_asked();
    if (afterwards)
        afterwards();
    assert_true(asked < FAILURES_MAX);
    for (size_t i = 0; i < PLACES; i++)
        due[places[i].last] = DUE_YES;
    return asked;
}

/* --- sweeps */

static inline bool full_run(bool (*run)(void))
{
    bool ok = run();

    if (afterwards)
        afterwards();
    return ok;
}

/* One run with a failure; true when there was none left to make. */
static inline bool fail_at(bool (*run)(void), unsigned n, bool once)
{
    unsigned failed;
    bool ok;

    assert_true(n < FAILURES_MAX);
    assert_true(once ? sl_alloc_fail_once(n) : sl_alloc_fail_after(n));
    ok = run();
    failed = sl_alloc_failed();
    (void)sl_alloc_fail_after(0);
    ERR_clear_error();
    if (afterwards)
        afterwards();
    if (!failed)
        assert_true(ok);
    failures += failed > 0;
    return !failed;
}

/* Runs it with each failure there is, the n-th allocation and all after it, or the n-th alone; true
 * from it: all went well. */
static inline void sweep(bool (*run)(void))
{
    if (!sl_alloc_fail_after(0))
        skip();                 /* a build without this */
    assert_true(full_run(run)); /* what is set up once is set up now */
    for (int once = 0; once < 2; once++)
        for (unsigned n = 1; !fail_at(run, n, once); n++)
            ;
}

/* The same at each place; at each allocation with MEMORY_ALL in the environment. */
static inline void sweep_places(bool (*run)(void))
{
    unsigned asked, tried = 0;

    if (getenv("MEMORY_ALL")) {
        sweep(run);
        return;
    }
    if (!sl_alloc_fail_after(0))
        skip();
    assert_true(full_run(run));
    asked = places_record(run);
    for (int once = 0; once < 2; once++)
        for (unsigned n = 1; n <= asked; n++)
            if (due[n] != DUE_NO) {
                (void)fail_at(run, n, once);
                tried++;
            }
    print_message("%u of %u allocations, each in two ways\n", tried / 2, asked);
}

/* --- hooks: each library's allocator, leaving the note that ours leaves in the product */

static inline void *noted(void *p)
{
    if (!p)
        memory_short();
    return p;
}

static inline void *any_malloc(size_t n)
{
    place_note();
    return noted(sl_malloc(n));
}

static inline void *any_calloc(size_t count, size_t n)
{
    place_note();
    return sl_calloc(count, n);
}

static inline void *any_realloc(void *p, size_t n)
{
    place_note();
    return noted(sl_realloc(p, n));
}

static inline void any_free(void *p)
{
    sl_free(p);
}

static inline char *any_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = any_malloc(n);

    return copy ? memcpy(copy, text, n) : NULL;
}

static inline void *tls_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return any_malloc(n);
}

static inline void *tls_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return any_realloc(p, n);
}

static inline void tls_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    sl_free(p);
}

static inline bool hook_openssl_and_jansson(void)
{
    void *warm[1];

    (void)backtrace(warm, 1); /* it loads itself at first */
    json_set_alloc_funcs(any_malloc, any_free);
    return CRYPTO_set_mem_functions(tls_malloc, tls_realloc, tls_free) == 1;
}

static inline void *sql_malloc(int n)
{
    place_note();
    return sl_malloc((size_t)n);
}

static inline void *sql_realloc(void *p, int n)
{
    place_note();
    return sl_realloc(p, (size_t)n);
}

static inline int sql_size(void *p)
{
    return p ? (int)malloc_usable_size(p) : 0;
}

static inline int sql_round(int n)
{
    return (n + 7) & ~7;
}

static inline int sql_init(void *arg)
{
    (void)arg;
    return SQLITE_OK;
}

static inline void sql_shutdown(void *arg)
{
    (void)arg;
}

/* Without pools of its own: each piece is asked for. */
static inline bool hook_sqlite(void)
{
    static const sqlite3_mem_methods methods = {sql_malloc, any_free, sql_realloc,  sql_size,
                                                sql_round,  sql_init, sql_shutdown, NULL};

    return sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK &&
           sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK &&
           sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0) == SQLITE_OK;
}

static inline bool hook_curl(void)
{
    return curl_global_init_mem(CURL_GLOBAL_DEFAULT, any_malloc, any_free, any_realloc, any_strdup,
                                any_calloc) == CURLE_OK;
}

#endif
