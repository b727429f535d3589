/* base/alloc.h for the simulation: knows every block that lives, so that a run can say at its end
 * that none does, and lets the product's allocations fail at random while sim.fail_in says so.
 * The product frees through sl_free, which is free: the linker sends that here as well. Blocks of
 * libraries pass through. */
#include "base/alloc.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

void __real_free(void *p);
void __wrap_free(void *p);

/* Open addressing over addresses; a tombstone is 1. */
static uintptr_t *table;
static size_t slots, used, live;
static const char *const full = "the table of live blocks is full";

static size_t place(uintptr_t p)
{
    return (size_t)((p * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (slots - 1));
}

static void put(uintptr_t p)
{
    size_t i = place(p);
    while (table[i] > 1)
        i = (i + 1) & (slots - 1);
    used += table[i] == 0;
    table[i] = p;
}

static void grow(void)
{
    uintptr_t *old = table;
    size_t n = slots;
    slots = n == 0 ? 4096 : live * 4 > n ? n * 2 : n;
    table = calloc(slots, sizeof(*table));
    if (!table) {
        fprintf(stderr, "%s\n", full);
        abort();
    }
    used = 0;
    for (size_t i = 0; i < n; i++)
        if (old[i] > 1)
            put(old[i]);
    __real_free(old);
}

static void *born(void *p)
{
    if (!p)
        return NULL;
    if (used * 2 >= slots)
        grow();
    put((uintptr_t)p);
    live++;
    return p;
}

static bool forget(uintptr_t p)
{
    if (!slots)
        return false;
    for (size_t i = place(p); table[i]; i = (i + 1) & (slots - 1)) {
        if (table[i] == p) {
            table[i] = 1;
            live--;
            return true;
        }
    }
    return false;
}

static bool fails(void)
{
    if (!sim.in_gate || !sim.fail_in || sim_below(sim.fail_in) != 0)
        return false;
    sim.alloc_failures++;
    return true;
}

void *sl_malloc(size_t n)
{
    return fails() ? NULL : born(malloc(n));
}

void *sl_calloc(size_t count, size_t n)
{
    return fails() ? NULL : born(calloc(count, n));
}

void *sl_realloc(void *p, size_t n)
{
    if (fails())
        return NULL;
    bool ours = p && forget((uintptr_t)p);
    void *moved = realloc(p, n);
    if (!moved && ours)
        return born(p), NULL;
    return born(moved);
}

void __wrap_free(void *p)
{
    if (p)
        (void)forget((uintptr_t)p);
    __real_free(p);
}

/* The counted faults of the unit tests are not these. */
bool sl_alloc_fail_after(unsigned n)
{
    (void)n;
    return false;
}

unsigned sl_alloc_failed(void)
{
    return (unsigned)sim.alloc_failures;
}

size_t alloc_live(void)
{
    return live;
}

void alloc_forget(void)
{
    if (table)
        memset(table, 0, slots * sizeof(*table));
    used = live = 0;
}
