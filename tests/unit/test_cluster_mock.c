/* The cluster map against librdkafka's mock cluster: an old broker without topic ids and leader
 * epochs (Metadata 0-2, ApiVersions 0-2). */
#include "tests/unit/unit.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/buf.h"
#include "base/log.h"
#include "proxy/cluster.h"
#include "proxy/resolve.h"

#define BROKERS    3
#define PARTITIONS 6

struct bed {
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *mock;
    struct config config;
    struct endpoint seeds[BROKERS];
    char hosts[BROKERS][64];
    struct loop *loop;
    struct resolver *resolver;
    struct cluster *cluster;
    struct loop_timer *poll, *limit;
    bool (*done)(struct bed *b);
    bool late;
    struct cluster_wait wait;
    int result;
    bool called;
    int step;
};

static void poll_timer(void *arg)
{
    struct bed *b = arg;
    if (b->done(b))
        loop_stop(b->loop);
    else
        assert_int_equal(loop_timer_set(b->poll, 10000), OK);
}

static void limit_timer(void *arg)
{
    struct bed *b = arg;
    b->late = true;
    loop_stop(b->loop);
}

static void run_until(struct bed *b, bool (*done)(struct bed *b))
{
    b->done = done;
    b->late = false;
    assert_int_equal(loop_timer_set(b->poll, 0), OK);
    assert_int_equal(loop_timer_set(b->limit, 15 * 1000000), OK);
    assert_int_equal(loop_run(b->loop), OK);
    if (b->late)
        print_error("trouble: %s\n", cluster_trouble(b->cluster));
    assert_false(b->late);
}

static int setup(void **state)
{
    struct bed *b = calloc(1, sizeof(*b));
    char err[256];
    log_setup(getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERROR, false);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    b->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof(err));
    b->mock = rd_kafka_mock_cluster_new(b->rk, BROKERS);
    rd_kafka_mock_topic_create(b->mock, "serial-parts", PARTITIONS, BROKERS);
    char *list = strdup(rd_kafka_mock_cluster_bootstraps(b->mock)), *save = NULL;
    for (char *p = strtok_r(list, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        size_t n = b->config.upstream.nbrokers++;
        char *colon = strrchr(p, ':');
        snprintf(b->hosts[n], sizeof(b->hosts[n]), "%.*s", (int)(colon - p), p);
        b->seeds[n] = (struct endpoint){b->hosts[n], (uint16_t)atoi(colon + 1)};
    }
    free(list);
    b->config.upstream.brokers = b->seeds;
    b->config.upstream.connect_timeout_ms = 3000;
    b->config.upstream.request_timeout_ms = 3000;
    b->config.upstream.connects_per_s = 50;
    b->config.upstream.metadata_max_age_ms = 60000;
    b->config.limits.response_bytes = 16 * 1024 * 1024;
    b->loop = loop_new();
    b->resolver = resolver_new();
    b->cluster = cluster_new(b->loop, &b->config, NULL, b->resolver);
    b->poll = loop_timer_new(b->loop, poll_timer, b);
    b->limit = loop_timer_new(b->loop, limit_timer, b);
    *state = b;
    return b->cluster ? 0 : -1;
}

static int teardown(void **state)
{
    struct bed *b = *state;
    loop_timer_free(b->poll);
    loop_timer_free(b->limit);
    cluster_free(b->cluster);
    resolver_free(b->resolver);
    loop_free(b->loop);
    rd_kafka_mock_cluster_destroy(b->mock);
    rd_kafka_destroy(b->rk);
    buf_thread_trim();
    free(b);
    return 0;
}

static bool ready(struct bed *b)
{
    return cluster_ready(b->cluster);
}

static bool knows_leaders(struct bed *b)
{
    const struct topic_info *t = cluster_topic(b->cluster, "serial-parts", 12);
    return t && t->known;
}

static void waited(void *arg, int result)
{
    struct bed *b = arg;
    b->result = result;
    b->called = true;
}

static bool was_called(struct bed *b)
{
    return b->called;
}

static void becomes_ready(void **state)
{
    struct bed *b = *state;
    assert_false(cluster_ready(b->cluster));
    assert_string_not_equal(cluster_trouble(b->cluster), "");
    run_until(b, ready);
    assert_string_equal(cluster_trouble(b->cluster), "");
    struct versions v;
    assert_true(cluster_versions(b->cluster, 3, &v));
    assert_int_equal(v.max, 2);
    assert_true(cluster_versions(b->cluster, 1, &v));
    assert_int_equal(v.max, 11);
    assert_false(cluster_versions(b->cluster, 68, &v));
    assert_false(cluster_versions(b->cluster, 12345, &v));
    int32_t ids[8];
    assert_int_equal(cluster_brokers(b->cluster, ids, 8), BROKERS);
    assert_true(cluster_has_broker(b->cluster, ids[2]));
    assert_false(cluster_has_broker(b->cluster, -2));
    assert_int_equal(cluster_any_broker(b->cluster, ids[1]), ids[1]);
    assert_true(cluster_has_broker(b->cluster, cluster_any_broker(b->cluster, 777)));
}

static void knows_topics(void **state)
{
    struct bed *b = *state;
    run_until(b, ready);
    assert_int_equal(cluster_watch(b->cluster, "serial-parts"), OK);
    run_until(b, knows_leaders);
    const struct topic_info *t = cluster_topic(b->cluster, "serial-parts", 12);
    assert_int_equal(t->error, 0);
    assert_int_equal(t->npartitions, PARTITIONS);
    for (int i = 0; i < PARTITIONS; i++) {
        assert_true(cluster_has_broker(b->cluster, t->partitions[i].leader));
        assert_int_equal(t->partitions[i].epoch, -1);
    }
    /* A leader moves: whoever waits for news gets them. */
    int32_t to = t->partitions[0].leader % BROKERS + 1;
    assert_int_equal(rd_kafka_mock_partition_set_leader(b->mock, "serial-parts", 0, to), 0);
    cluster_wait_init(&b->wait, waited, b);
    cluster_wait_topics(b->cluster, &b->wait, 5000000);
    assert_false(b->called);
    run_until(b, was_called);
    assert_int_equal(b->result, OK);
    t = cluster_topic(b->cluster, "serial-parts", 12);
    assert_int_equal(t->partitions[0].leader, to);
    cluster_unwatch(b->cluster, "serial-parts");
    assert_null(cluster_topic(b->cluster, "serial-parts", 12));
}

static void finds_coordinators(void **state)
{
    struct bed *b = *state;
    run_until(b, ready);
    assert_int_equal(rd_kafka_mock_coordinator_set(b->mock, "group", "bob-1", 2), 0);
    assert_int_equal(cluster_coordinator(b->cluster, COORDINATOR_GROUP, "bob-1", 5), -1);
    cluster_wait_init(&b->wait, waited, b);
    cluster_find_coordinator(b->cluster, COORDINATOR_GROUP, "bob-1", 5, &b->wait, 5000000);
    assert_false(b->called);
    run_until(b, was_called);
    assert_int_equal(b->result, OK);
    assert_int_equal(cluster_coordinator(b->cluster, COORDINATOR_GROUP, "bob-1", 5), 2);
    assert_int_equal(cluster_coordinator(b->cluster, COORDINATOR_TXN, "bob-1", 5), -1);
    cluster_forget_coordinator(b->cluster, COORDINATOR_GROUP, "bob-1", 5);
    assert_int_equal(cluster_coordinator(b->cluster, COORDINATOR_GROUP, "bob-1", 5), -1);

    assert_int_equal(rd_kafka_mock_coordinator_set(b->mock, "transaction", "bob-t", 3), 0);
    b->called = false;
    cluster_find_coordinator(b->cluster, COORDINATOR_TXN, "bob-t", 5, &b->wait, 5000000);
    run_until(b, was_called);
    assert_int_equal(b->result, OK);
    assert_int_equal(cluster_coordinator(b->cluster, COORDINATOR_TXN, "bob-t", 5), 3);
}

/* Asked about again until it works. (The mock's refusals have a null host, which is malformed, so
 * other errors are tried in test_cluster.) */
static void coordinator_errors(void **state)
{
    struct bed *b = *state;
    run_until(b, ready);
    rd_kafka_mock_push_request_errors(b->mock, 10, 2, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                                      RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE);
    cluster_wait_init(&b->wait, waited, b);
    cluster_find_coordinator(b->cluster, COORDINATOR_GROUP, "g", 1, &b->wait, 5000000);
    run_until(b, was_called);
    assert_int_equal(b->result, OK);
    assert_true(cluster_stats(b->cluster)->coordinator_lookups >= 3);
}

static bool one_is_down(struct bed *b)
{
    /* Seen when its probe has tried again in vain: any_broker no longer offers it. */
    return cluster_any_broker(b->cluster, 2) != 2;
}

static bool is_back(struct bed *b)
{
    return cluster_any_broker(b->cluster, 2) == 2;
}

static void broker_goes_and_comes(void **state)
{
    struct bed *b = *state;
    run_until(b, ready);
    assert_int_equal(rd_kafka_mock_broker_set_down(b->mock, 2), 0);
    run_until(b, one_is_down);
    assert_true(cluster_ready(b->cluster));
    assert_true(cluster_has_broker(b->cluster, 2));
    assert_int_equal(rd_kafka_mock_broker_set_up(b->mock, 2), 0);
    run_until(b, is_back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(becomes_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(knows_topics, setup, teardown),
        cmocka_unit_test_setup_teardown(finds_coordinators, setup, teardown),
        cmocka_unit_test_setup_teardown(coordinator_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(broker_goes_and_comes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
