/* The event loop as the rest of sluice sees it: interest in a descriptor, a timer, a deferred
 * call, the time. Two implementations fit behind it: libevent (base/loop.c) and a simulated one
 * for seeded tests. One loop belongs to one thread; nothing here is thread-safe but loop_stop.
 *
 * Callbacks may free the object that they were called for: loop_io_free and loop_timer_free are
 * safe inside any callback, and no callback of a freed object runs afterwards. */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;
struct loop_io;
struct loop_timer;

enum { LOOP_READ = 1, LOOP_WRITE = 2 };

typedef void loop_io_fn(void *arg, unsigned ready);
typedef void loop_fn(void *arg);

struct loop *loop_new(void) SL_MUST;
void loop_free(struct loop *l);
/* Runs until loop_stop. */
int loop_run(struct loop *l) SL_MUST;
/* Ends loop_run after the current turn; before loop_run it makes that one return at once. Callable
 * from any thread. */
void loop_stop(struct loop *l);

/* Monotonic microseconds, cached for one turn of the loop: cheap to call. */
uint64_t loop_now_us(const struct loop *l);
/* The same, read afresh. */
uint64_t loop_clock_us(const struct loop *l);
/* Wall clock in seconds since 1970, for token and grant times only. */
int64_t loop_wall_s(const struct loop *l);
/* fn runs whenever somebody set the wall clock, so that expiry times are looked at anew. One
 * function a loop: a second call replaces the first, NULL ends it. Slow drift (NTP slewing) does
 * not count. ERR_IO: the kernel offers no timerfd. */
int loop_on_clock_jump(struct loop *l, loop_fn *fn, void *arg) SL_MUST;

/* Something that other threads ask for and that must not wait for a turn's end: looked at behind
 * each callback, for the price of one atomic load. fn runs in the loop's thread. Embedded in its
 * owner, who sets `due` and whose fn clears it; in the loop until loop_urgent_end. */
struct loop_urgent {
    struct loop_urgent *next;
    atomic_bool due;
    loop_fn *fn;
    void *arg;
};
void loop_urgent_begin(struct loop *l, struct loop_urgent *u);
void loop_urgent_end(struct loop *l, struct loop_urgent *u);

/* Interest in a descriptor; none at first. The descriptor stays the caller's. */
struct loop_io *loop_io_new(struct loop *l, int fd, loop_io_fn *fn, void *arg) SL_MUST;
void loop_io_free(struct loop_io *io);
/* mask: LOOP_READ | LOOP_WRITE; level-triggered. Cheap when nothing changes. */
int loop_io_want(struct loop_io *io, unsigned mask) SL_MUST;

struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *arg) SL_MUST;
void loop_timer_free(struct loop_timer *t);
/* Fires once, delay_us from now, never early and a few milliseconds late at most; replaces an
 * earlier setting. Cheap when it moves the time back, so a deadline may be renewed with each
 * request. */
int loop_timer_set(struct loop_timer *t, uint64_t delay_us) SL_MUST;
void loop_timer_clear(struct loop_timer *t);
bool loop_timer_pending(const struct loop_timer *t);

/* A call at the end of this turn (or the next), once per post; the task is embedded in its object,
 * so posting cannot fail. Posting a posted task does nothing; loop_cancel takes it back. */
struct loop_task {
    struct loop_task *next, **prev;
    loop_fn *fn;
    void *arg;
};
void loop_task_init(struct loop_task *t, loop_fn *fn, void *arg);
void loop_post(struct loop *l, struct loop_task *t);
void loop_cancel(struct loop_task *t);
/* Runs what is posted now: for whoever takes things down after the loop has ended. */
void loop_run_posted(struct loop *l);

#endif
