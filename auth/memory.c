#include "auth/memory.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdlib.h>

static _Thread_local unsigned shortages;

unsigned memory_watch(void)
{
    return shortages;
}

bool memory_was_short(unsigned watch)
{
    return shortages != watch;
}

void memory_short(void)
{
    shortages++;
}

static void *noted(void *p)
{
    if (!p)
        memory_short();
    return p;
}

static void *json_alloc(size_t n)
{
    return noted(malloc(n));
}

static void *crypto_alloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return noted(malloc(n));
}

static void *crypto_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return noted(realloc(p, n));
}

static void crypto_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

/* Where OpenSSL has been used already, by who loaded us, its allocator stays: then short memory may
 * look like a wrong signature. */
__attribute__((constructor)) static void memory_setup(void)
{
    json_set_alloc_funcs(json_alloc, free);
    (void)CRYPTO_set_mem_functions(crypto_alloc, crypto_realloc, crypto_free);
}
