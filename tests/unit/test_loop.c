#include "tests/unit/unit.h"

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/loop.h"

struct pair {
    struct loop *loop;
    struct loop_io *io, *other;
    struct loop_timer *timer;
    int fd[2];
    unsigned reads, writes;
    unsigned limit;
};

static void stop(void *arg)
{
    loop_stop(arg);
}

/* Runs for a while at most, so that a failing test ends. */
static void run(struct loop *l, uint64_t most_us)
{
    struct loop_timer *t = loop_timer_new(l, stop, l);
    assert_non_null(t);
    assert_int_equal(loop_timer_set(t, most_us), OK);
    assert_int_equal(loop_run(l), OK);
    loop_timer_free(t);
}

static void count_io(void *arg, unsigned ready)
{
    struct pair *p = arg;
    if (ready & LOOP_READ)
        p->reads++;
    if (ready & LOOP_WRITE)
        p->writes++;
    if (p->limit && p->reads + p->writes >= p->limit)
        loop_stop(p->loop);
}

static void pair_init(struct pair *p)
{
    *p = (struct pair){.loop = loop_new()};
    assert_non_null(p->loop);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fd), 0);
}

static void pair_release(struct pair *p)
{
    loop_io_free(p->io);
    loop_io_free(p->other);
    loop_timer_free(p->timer);
    loop_free(p->loop);
    close(p->fd[0]);
    close(p->fd[1]);
}

static void test_interest_comes_and_goes(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.io = loop_io_new(p.loop, p.fd[0], count_io, &p);
    run(p.loop, 2000);
    assert_int_equal(p.reads + p.writes, 0);

    p.limit = 3; /* level-triggered: it comes again and again */
    assert_int_equal(loop_io_want(p.io, LOOP_WRITE), OK);
    run(p.loop, 1000000);
    assert_int_equal(p.writes, 3);
    assert_int_equal(p.reads, 0);

    p.limit = 0;
    assert_int_equal(loop_io_want(p.io, LOOP_READ), OK);
    run(p.loop, 2000);
    assert_int_equal(p.reads, 0);
    assert_int_equal(write(p.fd[1], "x", 1), 1);
    p.limit = 5;
    run(p.loop, 1000000);
    assert_int_equal(p.reads, 2);
    assert_int_equal(p.writes, 3);

    p.limit = 0;
    assert_int_equal(loop_io_want(p.io, 0), OK);
    run(p.loop, 2000);
    assert_int_equal(p.reads, 2);
    pair_release(&p);
}

static void free_other(void *arg, unsigned ready)
{
    (void)ready;
    struct pair *p = arg;
    p->reads++;
    /* Both are ready in the same turn; whichever comes first frees both. */
    loop_io_free(p->io);
    loop_io_free(p->other);
    p->io = p->other = NULL;
    loop_timer_free(p->timer);
    p->timer = NULL;
    loop_stop(p->loop);
}

static void free_by_timer(void *arg)
{
    free_other(arg, 0);
}

static void test_objects_may_be_freed_inside_callbacks(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct pair p;
        pair_init(&p);
        assert_int_equal(write(p.fd[0], "x", 1), 1);
        assert_int_equal(write(p.fd[1], "x", 1), 1);
        p.io = loop_io_new(p.loop, p.fd[0], free_other, &p);
        p.other = loop_io_new(p.loop, p.fd[1], free_other, &p);
        p.timer = loop_timer_new(p.loop, free_by_timer, &p);
        assert_int_equal(loop_io_want(p.io, LOOP_READ | LOOP_WRITE), OK);
        assert_int_equal(loop_io_want(p.other, LOOP_READ | LOOP_WRITE), OK);
        assert_int_equal(loop_timer_set(p.timer, 0), OK);
        run(p.loop, 20000);
        assert_int_equal(p.reads, 1);
        pair_release(&p);
    }
}

static void test_a_reused_descriptor_is_watched_anew(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.io = loop_io_new(p.loop, p.fd[0], count_io, &p);
    assert_int_equal(loop_io_want(p.io, LOOP_READ), OK);
    run(p.loop, 2000);
    int number = p.fd[0];
    loop_io_free(p.io);
    close(p.fd[0]);
    close(p.fd[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p.fd), 0);
    assert_int_equal(p.fd[0], number);
    p.io = loop_io_new(p.loop, p.fd[0], count_io, &p);
    assert_int_equal(loop_io_want(p.io, LOOP_READ), OK);
    run(p.loop, 2000);
    assert_int_equal(p.reads, 0);
    assert_int_equal(write(p.fd[1], "x", 1), 1);
    p.limit = 1;
    run(p.loop, 1000000);
    assert_int_equal(p.reads, 1);
    pair_release(&p);
}

/* --- timers */

struct alarm {
    struct loop *loop;
    struct loop_timer *timer;
    uint64_t fired_us;
    unsigned fired;
};

static void ring(void *arg)
{
    struct alarm *a = arg;
    a->fired++;
    a->fired_us = loop_clock_us(a->loop);
    assert_false(loop_timer_pending(a->timer));
    loop_stop(a->loop);
}

static void test_timers_are_never_early(void **state)
{
    (void)state;
    static const uint64_t delays_us[] = {0, 1, 300, 999, 1000, 4001, 10007, 23456};
    struct alarm a = {.loop = loop_new()};
    a.timer = loop_timer_new(a.loop, ring, &a);
    for (size_t i = 0; i < sizeof(delays_us) / sizeof(*delays_us); i++) {
        uint64_t start_us = loop_clock_us(a.loop);
        assert_int_equal(loop_timer_set(a.timer, delays_us[i]), OK);
        assert_true(loop_timer_pending(a.timer));
        run(a.loop, 1000000);
        assert_int_equal(a.fired, i + 1);
        assert_true(a.fired_us >= start_us + delays_us[i]);
    }
    loop_timer_free(a.timer);
    loop_free(a.loop);
}

static void test_timers_move_both_ways_and_stop(void **state)
{
    (void)state;
    struct alarm a = {.loop = loop_new()};
    a.timer = loop_timer_new(a.loop, ring, &a);
    uint64_t start_us = loop_clock_us(a.loop);
    assert_int_equal(loop_timer_set(a.timer, 3000), OK);
    assert_int_equal(loop_timer_set(a.timer, 30000), OK); /* back */
    run(a.loop, 1000000);
    assert_int_equal(a.fired, 1);
    assert_true(a.fired_us >= start_us + 30000);

    start_us = loop_clock_us(a.loop);
    assert_int_equal(loop_timer_set(a.timer, UINT64_MAX), OK);
    assert_int_equal(loop_timer_set(a.timer, 5000), OK); /* forward */
    run(a.loop, 1000000);
    assert_int_equal(a.fired, 2);
    assert_true(a.fired_us < start_us + 900000);

    assert_int_equal(loop_timer_set(a.timer, 1000), OK);
    loop_timer_clear(a.timer);
    assert_false(loop_timer_pending(a.timer));
    run(a.loop, 10000);
    assert_int_equal(a.fired, 2);

    assert_int_equal(loop_timer_set(a.timer, 5000), OK); /* cleared, then set again, later */
    loop_timer_clear(a.timer);
    start_us = loop_clock_us(a.loop);
    assert_int_equal(loop_timer_set(a.timer, 12000), OK);
    run(a.loop, 1000000);
    assert_int_equal(a.fired, 3);
    assert_true(a.fired_us >= start_us + 12000);
    loop_timer_free(a.timer);
    loop_free(a.loop);
}

/* --- tasks */

struct chore {
    struct loop_task task;
    struct loop *loop;
    struct chore *cancel, *again;
    char *log;
    char name;
};

static void do_chore(void *arg)
{
    struct chore *c = arg;
    size_t n = strlen(c->log);
    c->log[n] = c->name;
    c->log[n + 1] = '\0';
    if (c->cancel)
        loop_cancel(&c->cancel->task);
    if (c->again) {
        loop_post(c->loop, &c->again->task);
        c->again = NULL;
    }
}

static void test_tasks_run_once_in_order_and_can_be_taken_back(void **state)
{
    (void)state;
    char log[32] = "";
    struct loop *l = loop_new();
    struct chore c[6];
    for (size_t i = 0; i < 6; i++) {
        c[i] = (struct chore){.loop = l, .log = log, .name = (char)('a' + i)};
        loop_task_init(&c[i].task, do_chore, &c[i]);
    }
    for (size_t i = 0; i < 5; i++)
        loop_post(l, &c[i].task);
    loop_post(l, &c[0].task); /* posted already */
    loop_cancel(&c[1].task);
    loop_cancel(&c[1].task);
    c[2].cancel = &c[3]; /* one that is due in this very turn */
    c[0].again = &c[0];  /* next turn */
    c[4].again = &c[5];
    run(l, 5000);
    assert_string_equal(log, "aceaf");
    loop_post(l, &c[0].task);
    loop_free(l);
    assert_null(c[0].task.prev);
}

static void test_tasks_do_not_starve_descriptors(void **state)
{
    (void)state;
    char log[4096] = "";
    struct pair p;
    pair_init(&p);
    p.limit = 1;
    assert_int_equal(write(p.fd[1], "x", 1), 1);
    p.io = loop_io_new(p.loop, p.fd[0], count_io, &p);
    assert_int_equal(loop_io_want(p.io, LOOP_READ), OK);
    struct chore c = {.loop = p.loop, .log = log, .name = 'x'};
    loop_task_init(&c.task, do_chore, &c);
    c.again = &c;
    loop_post(p.loop, &c.task);
    run(p.loop, 1000000);
    assert_int_equal(p.reads, 1);
    assert_true(strlen(log) <= 2);
    pair_release(&p);
}

/* --- stop, clocks */

static void *stop_from_thread(void *arg)
{
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    loop_stop(arg);
    return NULL;
}

static void test_stop_comes_from_any_thread_and_before_run(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_from_thread, l), 0);
    assert_int_equal(loop_run(l), OK);
    pthread_join(thread, NULL);
    loop_stop(l);
    assert_int_equal(loop_run(l), OK);
    loop_free(l);
    loop_free(NULL);
}

struct watch {
    struct loop *loop;
    uint64_t first_us, second_us;
};

static void look_twice(void *arg)
{
    struct watch *w = arg;
    w->first_us = loop_now_us(w->loop);
    nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
    w->second_us = loop_now_us(w->loop);
    assert_true(loop_clock_us(w->loop) >= w->second_us + 3000);
    loop_stop(w->loop);
}

static void test_now_stands_still_for_a_turn(void **state)
{
    (void)state;
    struct watch w = {.loop = loop_new()};
    struct loop_timer *t = loop_timer_new(w.loop, look_twice, &w);
    assert_int_equal(loop_timer_set(t, 0), OK);
    assert_int_equal(loop_run(w.loop), OK);
    assert_int_equal(w.first_us, w.second_us);
    uint64_t first_us = w.first_us;
    assert_int_equal(loop_timer_set(t, 0), OK);
    assert_int_equal(loop_run(w.loop), OK);
    assert_true(w.first_us > first_us);
    int64_t wall = (int64_t)time(NULL);
    assert_in_range((uint64_t)loop_wall_s(w.loop), (uint64_t)wall - 1, (uint64_t)wall + 1);
    loop_timer_free(t);
    loop_free(w.loop);
}

static void jumped(void *arg)
{
    struct pair *p = arg;
    p->reads++;
    loop_stop(p->loop);
}

/* A test may not set the machine's clock; making the loop's timerfd expire takes the same path. */
static int find_timerfd(void)
{
    int found = -1;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        char path[300], target[64] = "";
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%s", e->d_name);
        if (readlink(path, target, sizeof(target) - 1) > 0 &&
            strcmp(target, "anon_inode:[timerfd]") == 0)
            found = atoi(e->d_name);
    }
    closedir(dir);
    return found;
}

static void test_clock_jumps_are_told(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    assert_int_equal(loop_on_clock_jump(p.loop, jumped, &p), OK);
    run(p.loop, 3000);
    assert_int_equal(p.reads, 0);
    int fd = find_timerfd();
    assert_true(fd >= 0);
    for (unsigned i = 1; i <= 2; i++) {
        struct itimerspec soon = {.it_value = {.tv_nsec = 1}};
        assert_int_equal(timerfd_settime(fd, 0, &soon, NULL), 0);
        run(p.loop, 1000000);
        assert_int_equal(p.reads, i);
        struct itimerspec armed;
        assert_int_equal(timerfd_gettime(fd, &armed), 0);
        assert_true(armed.it_value.tv_sec > 1000000);
    }
    assert_int_equal(loop_on_clock_jump(p.loop, NULL, NULL), OK);
    pair_release(&p);
    assert_int_equal(find_timerfd(), -1);
}

static void test_survives_failing_allocations(void **state)
{
    (void)state;
    if (!sl_alloc_fail_after(1))
        skip();
    assert_null(loop_new());
    sl_alloc_fail_after(0);
    struct loop *l = loop_new();
    sl_alloc_fail_after(1);
    assert_null(loop_io_new(l, 0, count_io, NULL));
    assert_null(loop_timer_new(l, stop, NULL));
    sl_alloc_fail_after(0);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interest_comes_and_goes),
        cmocka_unit_test(test_objects_may_be_freed_inside_callbacks),
        cmocka_unit_test(test_a_reused_descriptor_is_watched_anew),
        cmocka_unit_test(test_timers_are_never_early),
        cmocka_unit_test(test_timers_move_both_ways_and_stop),
        cmocka_unit_test(test_tasks_run_once_in_order_and_can_be_taken_back),
        cmocka_unit_test(test_tasks_do_not_starve_descriptors),
        cmocka_unit_test(test_stop_comes_from_any_thread_and_before_run),
        cmocka_unit_test(test_now_stands_still_for_a_turn),
        cmocka_unit_test(test_clock_jumps_are_told),
        cmocka_unit_test(test_survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
