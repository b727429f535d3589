/* base/loop.h for a world without a kernel: tasks, timers and a clock that moves when it is told
 * to. There are no descriptors. It stands before base/loop.c in the link. */
#include <stdio.h>
#include <stdlib.h>

#include "base/tasks.h"
#include "fuzz/world.h"

#define WALL_S INT64_C(1800000000)

struct loop {
    struct tasks tasks;
    struct loop_timer *timers;
    uint64_t now_us;
};

struct loop_timer {
    struct loop_timer *next, **prev;
    struct loop *loop;
    loop_fn *fn;
    void *arg;
    uint64_t due_us;
    bool set;
};

void world_must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "world: %s\n", what);
    abort();
}

struct loop *loop_new(void)
{
    struct loop *l = calloc(1, sizeof(*l));

    if (!l)
        abort();
    l->now_us = UINT64_C(1000000000);
    return l;
}

void loop_free(struct loop *l)
{
    world_must(!l->tasks.posted && !l->timers, "timers or tasks are left");
    free(l);
}

uint64_t loop_now_us(const struct loop *l)
{
    return l->now_us;
}

uint64_t loop_clock_us(const struct loop *l)
{
    return l->now_us;
}

int64_t loop_wall_s(const struct loop *l)
{
    return WALL_S + (int64_t)((l->now_us - UINT64_C(1000000000)) / 1000000);
}

int loop_on_clock_jump(struct loop *l, loop_fn *fn, void *arg)
{
    (void)l;
    (void)fn;
    (void)arg;
    return OK;
}

void loop_post(struct loop *l, struct loop_task *t)
{
    tasks_post(&l->tasks, t);
}

void loop_run_posted(struct loop *l)
{
    for (unsigned n = 0; l->tasks.posted; n++) {
        world_must(n < 100000, "the loop does not come to rest");
        tasks_run(&l->tasks);
    }
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *arg)
{
    struct loop_timer *t = calloc(1, sizeof(*t));

    if (!t)
        abort();
    *t =
        (struct loop_timer){.next = l->timers, .prev = &l->timers, .loop = l, .fn = fn, .arg = arg};
    if (t->next)
        t->next->prev = &t->next;
    l->timers = t;
    return t;
}

void loop_timer_free(struct loop_timer *t)
{
    if (!t)
        return;
    *t->prev = t->next;
    if (t->next)
        t->next->prev = t->prev;
    free(t);
}

int loop_timer_set(struct loop_timer *t, uint64_t delay_us)
{
    t->due_us = t->loop->now_us + delay_us;
    t->set = true;
    return OK;
}

void loop_timer_clear(struct loop_timer *t)
{
    t->set = false;
}

bool loop_timer_pending(const struct loop_timer *t)
{
    return t->set;
}

void world_pass(struct loop *l, uint64_t us)
{
    uint64_t end = l->now_us + us;

    for (;;) {
        struct loop_timer *next = NULL;

        for (struct loop_timer *t = l->timers; t; t = t->next)
            if (t->set && t->due_us <= end && (!next || t->due_us < next->due_us))
                next = t;
        if (!next)
            break;
        if (next->due_us > l->now_us)
            l->now_us = next->due_us;
        next->set = false;
        next->fn(next->arg);
        loop_run_posted(l);
    }
    l->now_us = end;
}

/* What nothing in such a world may ask for. */

int loop_run(struct loop *l)
{
    (void)l;
    return ERR_IO;
}

void loop_stop(struct loop *l)
{
    (void)l;
}

void loop_urgent_begin(struct loop *l, struct loop_urgent *u)
{
    (void)l;
    (void)u;
}

void loop_urgent_end(struct loop *l, struct loop_urgent *u)
{
    (void)l;
    (void)u;
}

struct loop_io *loop_io_new(struct loop *l, int fd, loop_io_fn *fn, void *arg)
{
    (void)l;
    (void)fd;
    (void)fn;
    (void)arg;
    return NULL;
}

void loop_io_free(struct loop_io *io)
{
    (void)io;
}

int loop_io_want(struct loop_io *io, unsigned mask)
{
    (void)io;
    (void)mask;
    return ERR_IO;
}
