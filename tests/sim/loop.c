/* base/loop.h in simulated time: what base/loop.c does over libevent, with descriptors of net.c.
 *
 * A turn takes a few microseconds of simulated time. What is ready in a turn is called in random
 * order, as epoll and a timer heap may deliver it; posted tasks keep their order, which is
 * promised. No more than one descriptor or timer object a call is freed behind anybody's back: what
 * is freed inside a turn is taken out of the turn's list. */
#include "base/loop.h"

#include <string.h>

#include "base/alloc.h"
#include "base/tasks.h"
#include "tests/sim/net.h"
#include "tests/sim/sim.h"

#define READY_MAX 1024
#define NEVER_US  UINT64_MAX

struct loop {
    struct loop *next;
    struct loop_io *ios;
    struct loop_io *stirred; /* which may be ready; the others are not */
    uint64_t nios;           /* that there have been */
    struct loop_timer *timers;
    uint64_t due_us; /* of the first timer; 0: to be looked for */
    struct tasks tasks;
    struct loop_urgent *urgent;
    loop_fn *clock_fn;
    void *clock_arg;
    bool clock_due;
    uint64_t turn_us; /* the time that this turn has cached; 0: none */
};

struct loop_io {
    struct loop *loop;
    struct loop_io *next, **prev;
    struct loop_io *next_stirred;
    uint64_t number; /* in its loop */
    int fd;
    unsigned mask;
    bool stirred;
    loop_io_fn *fn;
    void *arg;
};

struct loop_timer {
    struct loop *loop;
    struct loop_timer *next, **prev;
    uint64_t due_us; /* 0: not set */
    loop_fn *fn;
    void *arg;
};

/* What one turn will call. */
struct ready {
    struct loop_io *io;       /* or */
    struct loop_timer *timer; /* this; both NULL: freed meanwhile */
    unsigned what;
};

static struct loop *loops;
static struct ready ready[READY_MAX];
static unsigned nready, objects;

/* --- for the core */

struct loop *sim_loop_next(struct loop *l)
{
    return l ? l->next : loops;
}

unsigned sim_loop_objects(void)
{
    return objects;
}

/* Most descriptors wait at any time, so only those are asked that something has happened to. */
void loop_io_stir(struct loop_io *io)
{
    if (!io || io->stirred)
        return;
    io->stirred = true;
    io->next_stirred = io->loop->stirred;
    io->loop->stirred = io;
}

static void loop_io_calm(struct loop_io *io)
{
    struct loop_io **at = &io->loop->stirred;
    if (!io->stirred)
        return;
    while (*at != io)
        at = &(*at)->next_stirred;
    *at = io->next_stirred;
    io->stirred = false;
}

bool sim_loop_busy(struct loop *l)
{
    if (l->tasks.posted || l->clock_due || sim_loop_due_us(l) <= sim.now_us)
        return true;
    for (struct loop_io *io = l->stirred, *next; io; io = next) {
        unsigned what = net_ready(io->fd, io->mask);
        next = io->next_stirred;
        if (what & (LOOP_READ | LOOP_WRITE))
            return true;
        if (!what)
            loop_io_calm(io);
    }
    return false;
}

uint64_t sim_loop_due_us(struct loop *l)
{
    if (l->due_us)
        return l->due_us;
    l->due_us = NEVER_US;
    for (const struct loop_timer *t = l->timers; t; t = t->next)
        if (t->due_us && t->due_us < l->due_us)
            l->due_us = t->due_us;
    return l->due_us;
}

static void timer_put(struct loop_timer *t, uint64_t due_us)
{
    struct loop *l = t->loop;
    if (t->due_us && t->due_us == l->due_us)
        l->due_us = 0;
    t->due_us = due_us;
    if (due_us && due_us < l->due_us)
        l->due_us = due_us;
}

void sim_clock_jump(int64_t by_s)
{
    sim.wall_s += by_s;
    for (struct loop *l = loops; l; l = l->next)
        l->clock_due = l->clock_fn != NULL;
}

/* The newest first, whatever order they were stirred in. */
static void collect_ios(struct loop *l)
{
    struct loop_io *next;
    for (struct loop_io *io = l->stirred; io; io = next) {
        unsigned what = net_ready(io->fd, io->mask), at = nready;
        next = io->next_stirred;
        if (!what)
            loop_io_calm(io);
        if (!(what & (LOOP_READ | LOOP_WRITE)) || nready + 2 > READY_MAX)
            continue;
        unsigned n = what & LOOP_READ && what & LOOP_WRITE ? 2 : 1;
        for (; at > 0 && ready[at - 1].io->number < io->number; at--)
            ready[at - 1 + n] = ready[at - 1];
        if (what & LOOP_READ)
            ready[at++] = (struct ready){io, NULL, LOOP_READ};
        if (what & LOOP_WRITE)
            ready[at] = (struct ready){io, NULL, LOOP_WRITE};
        nready += n;
    }
}

static void collect(struct loop *l)
{
    nready = 0;
    collect_ios(l);
    if (sim_loop_due_us(l) <= sim.now_us)
        for (struct loop_timer *t = l->timers; t; t = t->next)
            if (t->due_us && t->due_us <= sim.now_us && nready < READY_MAX)
                ready[nready++] = (struct ready){NULL, t, 0};
    for (unsigned i = nready; i > 1; i--) {
        unsigned k = (unsigned)sim_below(i);
        struct ready swap = ready[i - 1];
        ready[i - 1] = ready[k];
        ready[k] = swap;
    }
}

static void serve_urgent(struct loop *l)
{
    struct loop_urgent *u = l->urgent;
    while (u && !atomic_load_explicit(&u->due, memory_order_relaxed))
        u = u->next;
    if (u)
        u->fn(u->arg);
}

static void call(struct loop *l, struct ready *r)
{
    if (r->io) {
        /* Interest may have been taken back since. */
        if (!(r->io->mask & r->what))
            return;
        r->io->fn(r->io->arg, r->what);
        serve_urgent(l);
    } else if (r->timer && r->timer->due_us && r->timer->due_us <= l->turn_us) {
        timer_put(r->timer, 0);
        r->timer->fn(r->timer->arg);
    }
}

void sim_loop_turn(struct loop *l)
{
    sim.now_us += sim_between(1, 40);
    l->turn_us = sim.now_us;
    sim.in_gate = true;
    collect(l);
    if (l->clock_due) {
        l->clock_due = false;
        if (l->clock_fn)
            l->clock_fn(l->clock_arg);
    }
    for (unsigned i = 0; i < nready; i++)
        call(l, &ready[i]);
    nready = 0;
    loop_run_posted(l);
    sim.in_gate = false;
    l->turn_us = 0;
}

/* --- base/loop.h */

struct loop *loop_new(void)
{
    struct loop *l = sl_calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    struct loop **at = &loops;
    while (*at)
        at = &(*at)->next;
    *at = l;
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    tasks_cancel(&l->tasks);
    if (l->ios || l->timers || l->urgent)
        sim_violation("a loop ends with descriptors, timers or mailboxes in it");
    for (struct loop **at = &loops; *at; at = &(*at)->next) {
        if (*at == l) {
            *at = l->next;
            break;
        }
    }
    sl_free(l);
}

/* Nobody runs a loop here but the core. */
int loop_run(struct loop *l)
{
    (void)l;
    return ERR_IO;
}

void loop_stop(struct loop *l)
{
    (void)l;
}

uint64_t loop_now_us(const struct loop *l)
{
    return l->turn_us ? l->turn_us : sim.now_us;
}

uint64_t loop_clock_us(const struct loop *l)
{
    (void)l;
    return sim.now_us;
}

int64_t loop_wall_s(const struct loop *l)
{
    (void)l;
    return sim.wall_s + (int64_t)(sim.now_us / 1000000);
}

int loop_on_clock_jump(struct loop *l, loop_fn *fn, void *arg)
{
    l->clock_fn = fn;
    l->clock_arg = arg;
    return OK;
}

void loop_urgent_begin(struct loop *l, struct loop_urgent *u)
{
    u->next = l->urgent;
    l->urgent = u;
}

void loop_urgent_end(struct loop *l, struct loop_urgent *u)
{
    struct loop_urgent **at = &l->urgent;
    while (*at && *at != u)
        at = &(*at)->next;
    if (*at)
        *at = u->next;
}

/* --- descriptors */

struct loop_io *loop_io_new(struct loop *l, int fd, loop_io_fn *fn, void *arg)
{
    struct loop_io *io = sl_calloc(1, sizeof(*io));
    if (!io)
        return NULL;
    *io = (struct loop_io){.loop = l, .fd = fd, .fn = fn, .arg = arg, .next = l->ios};
    io->prev = &l->ios;
    if (io->next)
        io->next->prev = &io->next;
    l->ios = io;
    io->number = l->nios++;
    net_watch(fd, io);
    objects++;
    return io;
}

void loop_io_free(struct loop_io *io)
{
    if (!io)
        return;
    for (unsigned i = 0; i < nready; i++)
        if (ready[i].io == io)
            ready[i].io = NULL;
    loop_io_calm(io);
    net_watch(io->fd, NULL);
    *io->prev = io->next;
    if (io->next)
        io->next->prev = io->prev;
    objects--;
    sl_free(io);
}

int loop_io_want(struct loop_io *io, unsigned mask)
{
    /* libevent may need memory to watch a descriptor. */
    if (mask & ~io->mask && sim.in_gate && sim.fail_in && sim_below((uint64_t)sim.fail_in * 8) == 0)
        return ERR_IO;
    io->mask = mask;
    loop_io_stir(io);
    return OK;
}

/* --- timers */

struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *arg)
{
    struct loop_timer *t = sl_calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    *t = (struct loop_timer){.loop = l, .fn = fn, .arg = arg, .next = l->timers};
    t->prev = &l->timers;
    if (t->next)
        t->next->prev = &t->next;
    l->timers = t;
    objects++;
    return t;
}

void loop_timer_free(struct loop_timer *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < nready; i++)
        if (ready[i].timer == t)
            ready[i].timer = NULL;
    timer_put(t, 0);
    *t->prev = t->next;
    if (t->next)
        t->next->prev = t->prev;
    objects--;
    sl_free(t);
}

/* A few milliseconds late at most, never early. */
int loop_timer_set(struct loop_timer *t, uint64_t delay_us)
{
    uint64_t far = UINT64_C(1000000000000000);
    timer_put(t, loop_now_us(t->loop) + (delay_us < far ? delay_us : far) + sim_below(3000));
    return OK;
}

void loop_timer_clear(struct loop_timer *t)
{
    timer_put(t, 0);
}

bool loop_timer_pending(const struct loop_timer *t)
{
    return t->due_us != 0;
}

/* --- tasks */

void loop_post(struct loop *l, struct loop_task *t)
{
    tasks_post(&l->tasks, t);
}

void loop_run_posted(struct loop *l)
{
    tasks_run(&l->tasks);
}
