/* The loop over libevent: raw events on epoll with a change list (interest that comes and goes
 * within a turn costs no system call) and no locks, since a loop belongs to one thread. */
#include "base/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/alloc.h"
#include "base/loop_event.h"
#include "base/tasks.h"

/* Longer delays are cut to this: some thirty years. */
#define DELAY_MAX_US UINT64_C(1000000000000000)

struct loop {
    struct event_base *base;
    uint64_t now_us; /* 0: not read yet in this turn */
    struct tasks tasks;
    atomic_bool stopping;
    int wake_fd; /* eventfd, for loop_stop */
    struct event wake;
    int clock_fd; /* timerfd, or -1 */
    struct event clock;
    loop_fn *clock_fn;
    void *clock_arg;
    struct loop_urgent *urgent;
};

struct loop_io {
    struct loop *loop;
    struct event read, write;
    unsigned mask;
    loop_io_fn *fn;
    void *arg;
};

/* due_us is when the owner wants to be called; armed_us when libevent will wake us. Moving a timer
 * back, or clearing it, leaves the latter alone: the wake-up then finds nothing due and goes on. */
struct loop_timer {
    struct loop *loop;
    struct event ev;
    uint64_t due_us;   /* 0: not set */
    uint64_t armed_us; /* 0: not armed */
    loop_fn *fn;
    void *arg;
};

uint64_t loop_clock_us(const struct loop *l)
{
    (void)l;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t loop_now_us(const struct loop *l)
{
    return l->now_us ? l->now_us : loop_clock_us(l);
}

int64_t loop_wall_s(const struct loop *l)
{
    (void)l;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec;
}

/* The first callback of a turn reads the clock for all of them. */
static void turn_begins(struct loop *l)
{
    if (!l->now_us)
        l->now_us = loop_clock_us(l);
}

static void wake_fired(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    (void)arg;
    eventfd_t n;
    (void)eventfd_read(fd, &n);
}

static struct event_base *base_new(void)
{
    struct event_config *config = event_config_new();
    if (!config)
        return NULL;
    struct event_base *base = NULL;
    if (event_config_set_flag(config,
                              EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) == 0)
        base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

struct loop *loop_new(void)
{
    struct loop *l = sl_calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->clock_fd = -1;
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->base = base_new();
    if (l->wake_fd < 0 || !l->base ||
        event_assign(&l->wake, l->base, l->wake_fd, EV_READ | EV_PERSIST, wake_fired, l) != 0 ||
        event_add(&l->wake, NULL) != 0) {
        if (l->base)
            event_base_free(l->base);
        if (l->wake_fd >= 0)
            close(l->wake_fd);
        sl_free(l);
        return NULL;
    }
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    tasks_cancel(&l->tasks);
    if (l->clock_fd >= 0) {
        event_del(&l->clock);
        close(l->clock_fd);
    }
    event_del(&l->wake);
    event_base_free(l->base);
    close(l->wake_fd);
    sl_free(l);
}

struct event_base *loop_base(struct loop *l)
{
    return l->base;
}

void loop_post(struct loop *l, struct loop_task *t)
{
    tasks_post(&l->tasks, t);
}

void loop_run_posted(struct loop *l)
{
    if (!l->tasks.posted)
        return;
    turn_begins(l);
    tasks_run(&l->tasks);
}

int loop_run(struct loop *l)
{
    int err = OK;
    while (err == OK && !atomic_load_explicit(&l->stopping, memory_order_acquire)) {
        l->now_us = 0;
        int flags = EVLOOP_ONCE | (l->tasks.posted ? EVLOOP_NONBLOCK : 0);
        if (event_base_loop(l->base, flags) < 0)
            err = ERR_IO;
        else
            loop_run_posted(l);
    }
    l->now_us = 0;
    atomic_store_explicit(&l->stopping, false, memory_order_release);
    return err;
}

void loop_stop(struct loop *l)
{
    atomic_store_explicit(&l->stopping, true, memory_order_release);
    (void)eventfd_write(l->wake_fd, 1);
}

/* --- what does not wait */

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

/* One, since it may end any of them; another's turn is behind the next callback. */
static void serve_urgent(struct loop *l)
{
    struct loop_urgent *u = l->urgent;
    while (u && !atomic_load_explicit(&u->due, memory_order_relaxed))
        u = u->next;
    if (u)
        u->fn(u->arg);
}

/* --- descriptors */

/* The callback may free io. */
static void io_fired(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct loop_io *io = arg;
    struct loop *l = io->loop;
    turn_begins(l);
    io->fn(io->arg, what & EV_READ ? LOOP_READ : LOOP_WRITE);
    serve_urgent(l);
}

struct loop_io *loop_io_new(struct loop *l, int fd, loop_io_fn *fn, void *arg)
{
    struct loop_io *io = sl_calloc(1, sizeof(*io));
    if (!io)
        return NULL;
    io->loop = l;
    io->fn = fn;
    io->arg = arg;
    if (event_assign(&io->read, l->base, fd, EV_READ | EV_PERSIST, io_fired, io) != 0 ||
        event_assign(&io->write, l->base, fd, EV_WRITE | EV_PERSIST, io_fired, io) != 0) {
        sl_free(io);
        return NULL;
    }
    return io;
}

void loop_io_free(struct loop_io *io)
{
    if (!io)
        return;
    /* Deleting takes an event that is already due out of the turn's queue as well. */
    if (io->mask & LOOP_READ)
        event_del(&io->read);
    if (io->mask & LOOP_WRITE)
        event_del(&io->write);
    sl_free(io);
}

static int io_switch(struct loop_io *io, struct event *ev, unsigned bit, unsigned mask)
{
    if (!((io->mask ^ mask) & bit))
        return OK;
    if ((mask & bit ? event_add(ev, NULL) : event_del(ev)) != 0)
        return ERR_IO;
    io->mask ^= bit;
    return OK;
}

int loop_io_want(struct loop_io *io, unsigned mask)
{
    int err = io_switch(io, &io->read, LOOP_READ, mask);
    return err ? err : io_switch(io, &io->write, LOOP_WRITE, mask);
}

/* --- timers */

static int timer_arm(struct loop_timer *t, uint64_t now_us)
{
    uint64_t delay_us = t->due_us > now_us ? t->due_us - now_us : 0;
    struct timeval tv = {.tv_sec = (time_t)(delay_us / 1000000),
                         .tv_usec = (suseconds_t)(delay_us % 1000000)};
    if (event_add(&t->ev, &tv) != 0)
        return ERR_NOMEM;
    t->armed_us = t->due_us;
    return OK;
}

static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct loop_timer *t = arg;
    t->armed_us = 0;
    if (!t->due_us)
        return;
    turn_begins(t->loop);
    /* libevent counts with a coarse clock and may be early; and the time may have been moved. A
     * failure to arm again cannot be reported here: then early is better than never. */
    uint64_t now_us = loop_now_us(t->loop);
    if (now_us < t->due_us && timer_arm(t, now_us) == OK)
        return;
    t->due_us = 0;
    t->fn(t->arg);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *arg)
{
    struct loop_timer *t = sl_calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->loop = l;
    t->fn = fn;
    t->arg = arg;
    if (event_assign(&t->ev, l->base, -1, 0, timer_fired, t) != 0) {
        sl_free(t);
        return NULL;
    }
    return t;
}

void loop_timer_free(struct loop_timer *t)
{
    if (!t)
        return;
    event_del(&t->ev);
    sl_free(t);
}

int loop_timer_set(struct loop_timer *t, uint64_t delay_us)
{
    uint64_t now_us = loop_now_us(t->loop);
    t->due_us = now_us + (delay_us < DELAY_MAX_US ? delay_us : DELAY_MAX_US);
    if (t->armed_us && t->armed_us <= t->due_us)
        return OK;
    int err = timer_arm(t, now_us);
    if (err)
        t->due_us = 0;
    return err;
}

void loop_timer_clear(struct loop_timer *t)
{
    t->due_us = 0;
}

bool loop_timer_pending(const struct loop_timer *t)
{
    return t->due_us != 0;
}

/* --- the wall clock */

/* A timer at the end of time that the kernel cancels when somebody sets the clock. */
static int clock_arm(int fd)
{
    struct itimerspec never = {.it_value = {.tv_sec = INT32_MAX}};
    return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) == 0
               ? OK
               : ERR_IO;
}

static void clock_fired(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct loop *l = arg;
    turn_begins(l);
    uint64_t expired;
    if (read(fd, &expired, sizeof(expired)) < 0 && errno != ECANCELED)
        return;
    if (clock_arm(fd) != OK)
        event_del(&l->clock);
    if (l->clock_fn)
        l->clock_fn(l->clock_arg);
}

int loop_on_clock_jump(struct loop *l, loop_fn *fn, void *arg)
{
    l->clock_fn = fn;
    l->clock_arg = arg;
    if (l->clock_fd >= 0 || !fn)
        return OK;
    int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0)
        return ERR_IO;
    if (clock_arm(fd) != OK ||
        event_assign(&l->clock, l->base, fd, EV_READ | EV_PERSIST, clock_fired, l) != 0 ||
        event_add(&l->clock, NULL) != 0) {
        close(fd);
        return ERR_IO;
    }
    l->clock_fd = fd;
    return OK;
}
