/* The course of a run: random numbers, the heap of events, who is next. */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More than any run has at a time. */
#define EVENTS_MAX 4096

struct sim sim;

static struct sim_event *heap[EVENTS_MAX + 1];
static unsigned nheap;
static uint64_t order;

void sim_fill(uint8_t *out, size_t n, uint64_t key)
{
    size_t i = 0;
    for (uint64_t v = key; i < n; i += 8) {
        v = v * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        memcpy(out + i, &v, n - i < 8 ? n - i : 8);
    }
}

void sim_begin(uint64_t seed, bool trace)
{
    sim = (struct sim){.seed = seed,
                       .random = sim_mix(seed, 1) | 1,
                       .now_us = 1000000,
                       .wall_s = 1700000000,
                       .trace = trace};
    for (unsigned i = 1; i <= nheap; i++)
        heap[i]->place = 0;
    nheap = 0;
    order = 0;
}

uint64_t sim_random(void)
{
    sim.random ^= sim.random >> 12;
    sim.random ^= sim.random << 25;
    sim.random ^= sim.random >> 27;
    return sim.random * UINT64_C(2685821657736338717);
}

uint64_t sim_below(uint64_t n)
{
    return n ? (sim_random() >> 11) % n : 0;
}

uint64_t sim_between(uint64_t lo, uint64_t hi)
{
    return lo + sim_below(hi - lo + 1);
}

bool sim_chance(unsigned percent)
{
    return sim_below(100) < percent;
}

void sim_note(const char *what, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t h = sim.hash;
    for (const char *p = what; *p; p++)
        h = (h ^ (uint8_t)*p) * UINT64_C(1099511628211);
    sim.hash = sim_mix(sim_mix(sim_mix(h, a), b), c ^ sim.now_us);
    if (sim.trace)
        printf("%10.6f %-10s %lu %lu %lu\n", (double)sim.now_us / 1e6, what, (unsigned long)a,
               (unsigned long)b, (unsigned long)c);
}

void sim_violation(const char *fmt, ...)
{
    va_list ap;
    fflush(stdout);
    fprintf(stderr, "seed %lu, step %lu, %.6f s: ", (unsigned long)sim.seed,
            (unsigned long)sim.steps, (double)sim.now_us / 1e6);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nreplay: --seed %lu --trace\n", (unsigned long)sim.seed);
    fflush(stderr);
    if (getenv("SIM_ABORT"))
        abort();
    _exit(1);
}

/* --- events: a binary heap by time, then by the order in which they were set */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void put_at(unsigned place, struct sim_event *e)
{
    heap[place] = e;
    e->place = place;
}

static void sift_up(unsigned at, struct sim_event *e)
{
    while (at > 1 && before(e, heap[at / 2])) {
        put_at(at, heap[at / 2]);
        at /= 2;
    }
    put_at(at, e);
}

static void sift_down(unsigned at, struct sim_event *e)
{
    for (;;) {
        unsigned child = at * 2;
        if (child > nheap)
            break;
        if (child < nheap && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], e))
            break;
        put_at(at, heap[child]);
        at = child;
    }
    put_at(at, e);
}

void sim_event_init(struct sim_event *e, void (*fn)(void *arg), void *arg)
{
    *e = (struct sim_event){.fn = fn, .arg = arg};
}

void sim_event_cancel(struct sim_event *e)
{
    unsigned at = e->place;
    if (!at)
        return;
    struct sim_event *last = heap[nheap--];
    e->place = 0;
    if (last == e)
        return;
    if (at > 1 && before(last, heap[at / 2]))
        sift_up(at, last);
    else
        sift_down(at, last);
}

void sim_event_in(struct sim_event *e, uint64_t delay_us)
{
    sim_event_cancel(e);
    if (nheap == EVENTS_MAX) {
        fprintf(stderr, "too many events\n");
        abort();
    }
    e->at_us = sim.now_us + delay_us;
    e->order = order++;
    sift_up(++nheap, e);
}

bool sim_event_set(const struct sim_event *e)
{
    return e->place != 0;
}

/* --- who is next */

/* Loops that have something to do, and due events, take turns at random: that is the order in which
 * mailboxes and sockets are looked at on a machine with several cores. */
static struct loop *pick_loop(bool event_due)
{
    struct loop *picked = NULL;
    uint64_t busy = event_due;
    for (struct loop *l = sim_loop_next(NULL); l; l = sim_loop_next(l))
        if (sim_loop_busy(l) && sim_below(++busy) == 0)
            picked = l;
    return picked;
}

/* Nothing is to be done now: time passes. */
static bool wait_for_next(uint64_t until_us)
{
    uint64_t next = nheap ? heap[1]->at_us : UINT64_MAX;
    for (struct loop *l = sim_loop_next(NULL); l; l = sim_loop_next(l))
        if (sim_loop_due_us(l) < next)
            next = sim_loop_due_us(l);
    if (next > until_us)
        return false;
    if (next > sim.now_us)
        sim.now_us = next;
    return true;
}

bool sim_step(uint64_t until_us)
{
    bool due = nheap && heap[1]->at_us <= sim.now_us;
    struct loop *l = pick_loop(due);
    if (!due && !l) {
        if (!wait_for_next(until_us))
            return false;
        due = nheap && heap[1]->at_us <= sim.now_us;
        l = pick_loop(due);
    }
    sim.steps++;
    if (l) {
        sim_loop_turn(l);
    } else if (due) {
        struct sim_event *e = heap[1];
        sim_event_cancel(e);
        e->fn(e->arg);
    }
    return true;
}
