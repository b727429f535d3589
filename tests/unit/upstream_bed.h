/* A cluster under test with fake brokers around it, in one loop. */
#ifndef TESTS_UPSTREAM_BED_H
#define TESTS_UPSTREAM_BED_H

#include "base/alloc.h"
#include "base/log.h"
#include "proxy/cluster.h"
#include "proxy/resolve.h"
#include "tests/unit/fake_broker.h"

struct bed {
    struct loop *loop;
    struct resolver *resolver;
    struct config config;
    struct endpoint seeds[4];
    struct fake fake[3];
    unsigned nfakes;
    struct tls_context *tls;
    struct cluster *cluster;
    struct loop_timer *poll, *limit;
    bool (*done)(struct bed *b);
    bool late;
    void *arg;
};

static inline void bed_poll(void *arg)
{
    struct bed *b = arg;
    if (b->done && b->done(b))
        loop_stop(b->loop);
    else
        (void)!loop_timer_set(b->poll, 1000);
}

static inline void bed_limit(void *arg)
{
    struct bed *b = arg;
    b->late = true;
    loop_stop(b->loop);
}

/* Runs until done says so; false when that took longer than ms. */
static inline bool bed_run(struct bed *b, bool (*done)(struct bed *b), unsigned ms)
{
    b->done = done;
    b->late = false;
    assert_int_equal(loop_timer_set(b->poll, 0), OK);
    assert_int_equal(loop_timer_set(b->limit, (uint64_t)ms * 1000), OK);
    assert_int_equal(loop_run(b->loop), OK);
    loop_timer_clear(b->poll);
    loop_timer_clear(b->limit);
    return !b->late;
}

/* Runs until it holds. What a test does not measure may take what a busy machine takes. */
#define BED_WAIT_MS 20000
static inline bool bed_until(struct bed *b, bool (*done)(struct bed *b))
{
    return bed_run(b, done, BED_WAIT_MS);
}

static inline bool bed_ready(struct bed *b)
{
    return cluster_ready(b->cluster);
}

static inline void bed_init(struct bed *b, unsigned nfakes)
{
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.1", "127.0.0.1"};
    memset(b, 0, sizeof(*b));
    log_setup(getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERROR, false);
    b->loop = loop_new();
    b->resolver = resolver_new();
    b->nfakes = nfakes;
    for (unsigned i = 0; i < nfakes; i++) {
        fake_init(&b->fake[i], b->loop);
        b->seeds[i] = (struct endpoint){hosts[i], b->fake[i].port};
    }
    for (unsigned i = 0; i < nfakes; i++) {
        b->fake[i].nbrokers = nfakes;
        for (unsigned k = 0; k < nfakes; k++) {
            b->fake[i].brokers[k].id = (int32_t)k + 1;
            b->fake[i].brokers[k].host = hosts[k];
            b->fake[i].brokers[k].port = b->fake[k].port;
        }
    }
    struct upstream_config *u = &b->config.upstream;
    u->brokers = b->seeds;
    u->nbrokers = nfakes;
    u->verify = true;
    u->connect_timeout_ms = BED_WAIT_MS;
    u->request_timeout_ms = BED_WAIT_MS;
    u->connects_per_s = 1000;
    u->metadata_max_age_ms = 60000;
    b->config.limits.response_bytes = 1024 * 1024;
    b->poll = loop_timer_new(b->loop, bed_poll, b);
    b->limit = loop_timer_new(b->loop, bed_limit, b);
}

static inline void bed_start(struct bed *b)
{
    b->cluster = cluster_new(b->loop, &b->config, b->tls, b->resolver);
    assert_non_null(b->cluster);
}

static inline void bed_release(struct bed *b)
{
    cluster_free(b->cluster);
    for (unsigned i = 0; i < b->nfakes; i++)
        fake_release(&b->fake[i]);
    if (b->tls)
        tls_unref(b->tls);
    loop_timer_free(b->poll);
    loop_timer_free(b->limit);
    resolver_free(b->resolver);
    loop_free(b->loop);
    buf_thread_trim();
}

#endif
