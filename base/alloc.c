#include "base/alloc.h"

#ifdef SLUICE_TEST

static _Thread_local unsigned countdown; /* 0: no faults */
static _Thread_local unsigned failed, asked;
static _Thread_local bool only_once;

bool sl_alloc_fail_after(unsigned n)
{
    countdown = n;
    failed = asked = 0;
    only_once = false;
    return true;
}

bool sl_alloc_fail_once(unsigned n)
{
    sl_alloc_fail_after(n);
    only_once = true;
    return true;
}

unsigned sl_alloc_failed(void)
{
    return failed;
}

unsigned sl_alloc_asked(void)
{
    return asked;
}

static bool fails(void)
{
    asked++;
    if (countdown == 0)
        return false;
    if (countdown > 1) {
        countdown--;
        return false;
    }
    failed++;
    if (only_once)
        countdown = 0;
    return true;
}

void *sl_malloc(size_t n)
{
    return fails() ? NULL : malloc(n);
}

void *sl_calloc(size_t count, size_t n)
{
    return fails() ? NULL : calloc(count, n);
}

void *sl_realloc(void *p, size_t n)
{
    return fails() ? NULL : realloc(p, n);
}

#else

bool sl_alloc_fail_after(unsigned n)
{
    (void)n;
    return false;
}

bool sl_alloc_fail_once(unsigned n)
{
    (void)n;
    return false;
}

unsigned sl_alloc_failed(void)
{
    return 0;
}

unsigned sl_alloc_asked(void)
{
    return 0;
}

#endif
