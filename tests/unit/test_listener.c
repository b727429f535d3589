#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/loop.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "config/config.h"
#include "proxy/listener.h"
#include "proxy/peers.h"
#include "proxy/worker.h"

#define WORKERS 3
#define HELD    64

/* What stands for a gate: keeps connections until it is told to end one. */
struct hall {
    struct worker *worker;
    pthread_t thread;
    atomic_uint accepted;
    unsigned count;
    int fd[HELD];
    struct sockaddr_storage peer[HELD];
};

static struct hall halls[WORKERS];
static struct worker *workers[WORKERS];
static struct listener *listener;
static struct config config;

static void on_accept(void *arg, int fd, const struct sockaddr_storage *peer)
{
    struct hall *h = arg;
    if (atomic_load(&h->accepted) > 0)
        assert_true(pthread_equal(h->thread, pthread_self()));
    h->thread = pthread_self();
    assert_true(h->count < HELD);
    h->fd[h->count] = fd;
    h->peer[h->count++] = *peer;
    atomic_fetch_add(&h->accepted, 1);
}

static void end_last(struct hall *h)
{
    h->count--;
    close(h->fd[h->count]);
    worker_session_ended(h->worker, &h->peer[h->count]);
}

struct errand {
    struct mail mail;
    struct hall *hall;
    atomic_bool done;
};

static void on_errand(void *receiver, struct mail *m)
{
    struct errand *e = (struct errand *)(void *)m;
    assert_ptr_equal(receiver, e->hall->worker);
    end_last(e->hall);
    atomic_store(&e->done, true);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
}

/* Ends one connection of this worker, in its thread. */
static void end_one(struct hall *h)
{
    struct errand e = {.mail.deliver = on_errand, .hall = h};
    assert_int_equal(mailbox_post(worker_mailbox(h->worker), &e.mail), OK);
    while (!atomic_load(&e.done))
        nap();
}

static unsigned accepted(void)
{
    unsigned sum = 0;
    for (int i = 0; i < WORKERS; i++)
        sum += atomic_load(&halls[i].accepted);
    return sum;
}

static bool reaches(unsigned count)
{
    for (int i = 0; i < 6000 && accepted() < count; i++)
        nap();
    return accepted() == count;
}

static int dial(uint16_t port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static int set_up(void **state)
{
    char err[256] = "";
    (void)state;
    log_setup(LOG_ERROR, false);
    memset(halls, 0, sizeof(halls));
    memset(&config, 0, sizeof(config));
    config.listen = (struct endpoint){"127.0.0.1", 0};
    config.limits.connections = 40;
    config.limits.connections_per_address = 30;
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = worker_new(i);
        assert_non_null(workers[i]);
        assert_int_equal(worker_index(workers[i]), i);
        halls[i].worker = workers[i];
        worker_set(workers[i], on_accept, &halls[i]);
        assert_int_equal(worker_start(workers[i]), OK);
    }
    listener = listener_new(&config, workers, WORKERS, err, sizeof(err));
    assert_string_equal(err, "");
    assert_non_null(listener);
    assert_int_equal(listener_start(listener), OK);
    assert_true(listener_port(listener) != 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    listener_stop(listener);
    listener_stop(listener);
    for (unsigned i = 0; i < WORKERS; i++) {
        worker_stop(workers[i]);
        worker_stop(workers[i]);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        worker_join(workers[i]);
        while (halls[i].count)
            end_last(&halls[i]);
        assert_int_equal(worker_sessions(workers[i]), 0);
        worker_free(workers[i]);
    }
    listener_free(listener);
    return 0;
}

static void close_all(int *fd, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        close(fd[i]);
}

static void test_the_least_loaded_worker_gets_the_next(void **state)
{
    (void)state;
    int fd[14];
    for (unsigned i = 0; i < 9; i++) {
        fd[i] = dial(listener_port(listener));
        assert_true(reaches(i + 1));
    }
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(worker_sessions(workers[i]), 3);
    end_one(&halls[1]);
    end_one(&halls[1]);
    assert_int_equal(worker_sessions(workers[1]), 1);
    for (unsigned i = 9; i < 11; i++)
        fd[i] = dial(listener_port(listener));
    assert_true(reaches(11));
    assert_int_equal(atomic_load(&halls[1].accepted), 5);
    /* All at once: counted when handed over, so a burst spreads as well. */
    for (unsigned i = 11; i < 14; i++)
        fd[i] = dial(listener_port(listener));
    assert_true(reaches(14));
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(worker_sessions(workers[i]), 4);
    for (int i = 0; i < 2000 && listener_counts(listener).accepted < 14; i++)
        nap();
    assert_int_equal(listener_counts(listener).accepted, 14);
    close_all(fd, 14);
}

static void test_accepted_sockets_are_set_up(void **state)
{
    (void)state;
    int fd = dial(listener_port(listener)), value = 0;
    socklen_t len = sizeof(value);
    assert_true(reaches(1));
    for (int i = 0; i < WORKERS; i++) {
        if (!atomic_load(&halls[i].accepted))
            continue;
        struct sockaddr_in in;
        memcpy(&in, &halls[i].peer[0], sizeof(in));
        assert_int_equal(in.sin_family, AF_INET);
        assert_int_equal(ntohl(in.sin_addr.s_addr), INADDR_LOOPBACK);
        int got = halls[i].fd[0];
        assert_int_equal(getsockopt(got, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
        assert_int_not_equal(value, 0);
        assert_int_equal(getsockopt(got, SOL_SOCKET, SO_KEEPALIVE, &value, &len), 0);
        assert_int_not_equal(value, 0);
        char byte;
        assert_int_equal(read(got, &byte, 1), -1);
        assert_int_equal(errno, EAGAIN);
    }
    close(fd);
}

static bool is_reset(int fd)
{
    char byte;
    struct timeval most = {.tv_sec = 3};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most)), 0);
    return read(fd, &byte, 1) < 0 && errno == ECONNRESET;
}

static struct hall *someone_with_a_session(void)
{
    int i = 0;
    while (i < WORKERS - 1 && worker_sessions(workers[i]) == 0)
        i++;
    assert_true(worker_sessions(workers[i]) > 0);
    return &halls[i];
}

static void test_an_address_has_its_limit(void **state)
{
    (void)state;
    int fd[8];
    config.limits.connections_per_address = 5;
    listener_config(listener, &config);
    for (unsigned i = 0; i < 5; i++)
        fd[i] = dial(listener_port(listener));
    assert_true(reaches(5));
    fd[5] = dial(listener_port(listener));
    assert_true(is_reset(fd[5]));
    assert_int_equal(listener_counts(listener).refused, 1);
    /* One ends, one more may come, not two. */
    end_one(someone_with_a_session());
    fd[6] = dial(listener_port(listener));
    assert_true(reaches(6));
    fd[7] = dial(listener_port(listener));
    assert_true(is_reset(fd[7]));
    assert_int_equal(accepted(), 6);
    close_all(fd, 8);
}

static void test_beyond_the_total_they_wait(void **state)
{
    (void)state;
    int fd[6];
    config.limits.connections = 4;
    listener_config(listener, &config);
    for (unsigned i = 0; i < 6; i++)
        fd[i] = dial(listener_port(listener)); /* the kernel's queue takes them */
    assert_true(reaches(4));
    for (int i = 0; i < 200; i++)
        nap();
    assert_int_equal(accepted(), 4);
    assert_true(listener_counts(listener).rests > 0);
    end_one(someone_with_a_session());
    assert_true(reaches(5));
    end_one(someone_with_a_session());
    assert_true(reaches(6));
    close_all(fd, 6);
}

static uint64_t cpu_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void test_out_of_descriptors_it_rests(void **state)
{
    (void)state;
    struct rlimit before, tight;
    int fd[3], lowest;
    log_setup(LOG_ERROR, false);
    for (unsigned i = 0; i < 3; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd[i] >= 0);
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    lowest = dup(0);
    close(lowest);
    tight = before;
    tight.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(listener_port(listener)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(connect(fd[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
    uint64_t start_us = cpu_us();
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    uint64_t used_us = cpu_us() - start_us;
    struct listener_counts counts = listener_counts(listener);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(accepted(), 0);
    assert_in_range(counts.rests, 1, 8);
    assert_true(used_us < 150000); /* spinning would have taken all of the 300 ms */
    assert_true(reaches(3));
    close_all(fd, 3);
}

static void test_stop_refuses_and_keeps_what_lives(void **state)
{
    (void)state;
    int fd = dial(listener_port(listener));
    assert_true(reaches(1));
    uint16_t port = listener_port(listener);
    listener_stop(listener);
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&addr, sizeof(addr)), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(late);
    struct hall *h = someone_with_a_session();
    assert_int_equal(write(h->fd[0], "x", 1), 1);
    end_one(h);
    close(fd);
}

/* --- without a listener around it */

static void test_addresses_that_cannot_be_bound_are_named(void **state)
{
    (void)state;
    char err[256] = "";
    struct config c;
    memset(&c, 0, sizeof(c));
    c.listen = (struct endpoint){"192.0.2.1", 9093};
    assert_null(listener_new(&c, NULL, 0, err, sizeof(err)));
    assert_string_equal(err, "listen 192.0.2.1:9093: Cannot assign requested address");
    c.listen = (struct endpoint){"no such host", 9093};
    assert_null(listener_new(&c, NULL, 0, err, sizeof(err)));
    assert_non_null(strstr(err, "listen no such host: "));

    c.listen = (struct endpoint){"127.0.0.1", 0};
    struct listener *first = listener_new(&c, NULL, 0, err, sizeof(err));
    assert_non_null(first);
    c.listen.port = listener_port(first);
    assert_null(listener_new(&c, NULL, 0, err, sizeof(err)));
    assert_non_null(strstr(err, "Address already in use"));
    listener_free(first);
}

static void test_ipv6_takes_both_kinds(void **state)
{
    (void)state;
    char err[256] = "";
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0)
        skip();
    close(probe);
    memset(&config, 0, sizeof(config));
    config.listen = (struct endpoint){"::", 0};
    config.limits.connections = config.limits.connections_per_address = 10;
    struct worker *w = worker_new(0);
    halls[0] = (struct hall){.worker = w};
    halls[1] = halls[2] = (struct hall){.worker = NULL};
    worker_set(w, on_accept, &halls[0]);
    struct listener *l = listener_new(&config, &w, 1, err, sizeof(err));
    if (!l) {
        worker_free(w);
        skip();
    }
    assert_int_equal(worker_start(w), OK);
    assert_int_equal(listener_start(l), OK);
    int four = dial(listener_port(l));
    assert_true(reaches(1));
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6,
                                .sin6_port = htons(listener_port(l)),
                                .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int six = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(six, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        assert_true(reaches(2));
    close(four);
    close(six);
    listener_stop(l);
    worker_stop(w);
    worker_join(w);
    while (halls[0].count)
        end_last(&halls[0]);
    worker_free(w);
    listener_free(l);
}

static void test_a_connection_still_in_the_mailbox_is_closed(void **state)
{
    (void)state;
    int pair[2];
    char byte;
    struct sockaddr_storage peer = {.ss_family = AF_INET};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct worker *w = worker_new(0);
    struct peers *p = peers_new();
    worker_count_peers(w, p);
    assert_int_equal(peers_enter(p, &peer, 1), OK);
    assert_int_equal(worker_hand_over(w, pair[0], &peer), OK);
    assert_int_equal(worker_sessions(w), 1);
    worker_join(w); /* was never started */
    worker_free(w);
    assert_int_equal(read(pair[1], &byte, 1), 0);
    assert_int_equal(peers_count(p), 0);
    close(pair[1]);
    peers_unref(p);
    worker_free(NULL);
    listener_free(NULL);
}

static void check_signals(void *receiver, struct mail *m)
{
    sigset_t now;
    (void)m;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
    assert_int_equal(sigismember(&now, SIGTERM), 1);
    assert_int_equal(sigismember(&now, SIGHUP), 1);
    worker_stop(receiver);
}

static void test_a_worker_blocks_signals_and_stops_by_mail(void **state)
{
    (void)state;
    sigset_t now;
    struct worker *w = worker_new(7);
    struct mail m = {.deliver = check_signals};
    assert_int_equal(worker_start(w), OK);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
    assert_int_equal(sigismember(&now, SIGTERM), 0);
    assert_int_equal(mailbox_post(worker_mailbox(w), &m), OK);
    worker_join(w);
    worker_free(w);
}

/* --- counting addresses */

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage s = {0};
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        memcpy(&s, &in, sizeof(in));
    else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
        memcpy(&s, &in6, sizeof(in6));
    else
        fail_msg("%s", text);
    return s;
}

static void test_addresses_are_counted_as_networks_give_them(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } pairs[] = {
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"192.0.2.1", "::ffff:192.0.2.1", true},
        {"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
        {"2001:db8::1", "2001:db8::ffff", true},
        {"2001:db8::1", "2001:db8:0:1::1", false},
        {"0.0.0.0", "::", false},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        struct peers *p = peers_new();
        struct sockaddr_storage a = address(pairs[i].a), b = address(pairs[i].b);
        assert_int_equal(peers_enter(p, &a, 1), OK);
        assert_int_equal(peers_enter(p, &b, 1), pairs[i].same ? ERR_LIMIT : OK);
        peers_leave(p, &a);
        assert_int_equal(peers_enter(p, &a, 1), OK);
        peers_unref(p);
    }
}

static void test_the_table_holds_only_who_is_there(void **state)
{
    (void)state;
    struct peers *p = peers_new();
    struct sockaddr_storage s = address("10.0.0.0");
    struct sockaddr_in in;
    memcpy(&in, &s, sizeof(in));
    for (int leave = 0; leave <= 1; leave++)
        for (uint32_t i = 0; i < 20000; i++) {
            in.sin_addr.s_addr = htonl(0x0a000000 + i * 37);
            memcpy(&s, &in, sizeof(in));
            if (leave)
                peers_leave(p, &s);
            else
                assert_int_equal(peers_enter(p, &s, 1), OK);
            assert_int_equal(peers_count(p), leave ? 19999 - i : i + 1);
        }
    peers_leave(p, &s); /* one too many does no harm */
    assert_int_equal(peers_enter(p, &s, 0), ERR_LIMIT);
    if (sl_alloc_fail_after(1)) {
        assert_int_equal(peers_enter(p, &s, 1), ERR_NOMEM);
        (void)sl_alloc_fail_after(0);
        assert_int_equal(peers_enter(p, &s, 1), OK);
    }
    peers_unref(p);
}

static void test_survives_failing_allocations(void **state)
{
    (void)state;
    char err[256];
    struct config c;
    if (!sl_alloc_fail_after(0))
        skip();
    memset(&c, 0, sizeof(c));
    c.listen = (struct endpoint){"127.0.0.1", 0};
    bool done = false;
    for (unsigned n = 1; !done; n++) {
        (void)sl_alloc_fail_after(n);
        struct worker *w = worker_new(0);
        struct listener *l = listener_new(&c, &w, w ? 1 : 0, err, sizeof(err));
        done = sl_alloc_failed() == 0;
        (void)sl_alloc_fail_after(0);
        assert_int_equal(done, w && l);
        worker_free(w);
        listener_free(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_least_loaded_worker_gets_the_next, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_accepted_sockets_are_set_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_address_has_its_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_beyond_the_total_they_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_out_of_descriptors_it_rests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_refuses_and_keeps_what_lives, set_up, tear_down),
        cmocka_unit_test(test_addresses_that_cannot_be_bound_are_named),
        cmocka_unit_test(test_ipv6_takes_both_kinds),
        cmocka_unit_test(test_a_connection_still_in_the_mailbox_is_closed),
        cmocka_unit_test(test_a_worker_blocks_signals_and_stops_by_mail),
        cmocka_unit_test(test_addresses_are_counted_as_networks_give_them),
        cmocka_unit_test(test_the_table_holds_only_who_is_there),
        cmocka_unit_test(test_survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
