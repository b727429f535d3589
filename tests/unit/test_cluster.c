#include "tests/unit/unit.h"

#include "proxy/cluster_priv.h"
#include "tests/unit/upstream_bed.h"

static int setup(void **state)
{
    static struct bed bed;
    bed_init(&bed, 2);
    *state = &bed;
    return 0;
}

static int teardown(void **state)
{
    bed_release(*state);
    return 0;
}

static bool never(struct bed *b)
{
    (void)b;
    return false;
}

static void pause_ms(struct bed *b, unsigned ms)
{
    assert_false(bed_run(b, never, ms));
}

static struct cluster_wait wait;
static bool called;
static int result;

static void on_wait(void *arg, int r)
{
    (void)arg;
    assert_false(called);
    called = true;
    result = r;
}

static bool was_called(struct bed *b)
{
    (void)b;
    return called;
}

/* Waits for metadata newer than now. */
static void fresh(struct bed *b)
{
    called = false;
    cluster_wait_init(&wait, on_wait, NULL);
    cluster_wait_topics(b->cluster, &wait, BED_WAIT_MS * 1000);
    assert_false(called);
    assert_true(bed_until(b, was_called));
    assert_int_equal(result, OK);
}

static struct fake_topic *give_topic(struct bed *b, const char *name, uint8_t id, int32_t epoch)
{
    for (unsigned i = 0; i < b->nfakes; i++) {
        struct fake_topic *t = &b->fake[i].topics[b->fake[i].ntopics++];
        *t = (struct fake_topic){.name = name, .npartitions = 2};
        memset(t->id, id, sizeof(t->id));
        for (int p = 0; p < 2; p++) {
            t->leader[p] = p + 1;
            t->epoch[p] = epoch;
        }
    }
    return &b->fake[0].topics[b->fake[0].ntopics - 1];
}

/* What the second broker says is what the first one says. */
static void same_topics(struct bed *b)
{
    memcpy(b->fake[1].topics, b->fake[0].topics, sizeof(b->fake[0].topics));
}

static void both_version(struct bed *b, int api, int16_t min, int16_t max)
{
    for (unsigned i = 0; i < b->nfakes; i++)
        b->fake[i].versions[api] = (struct versions){min, max};
}

/* --- versions */

static void intersection(void **state)
{
    struct bed *b = *state;
    struct versions v;
    b->fake[0].versions[1] = (struct versions){4, 17};
    b->fake[1].versions[1] = (struct versions){6, 12};
    b->fake[1].versions[68] = (struct versions){1, 0};
    b->fake[0].features_epoch = b->fake[1].features_epoch = 7;
    bed_start(b);
    assert_false(cluster_versions(b->cluster, 1, &v));
    assert_true(bed_until(b, bed_ready));
    assert_true(cluster_versions(b->cluster, 1, &v));
    assert_int_equal(v.min, 6);
    assert_int_equal(v.max, 12);
    assert_false(cluster_versions(b->cluster, 68, &v));
    assert_false(cluster_versions(b->cluster, -1, &v));
    assert_false(cluster_versions(b->cluster, 128, &v));
    /* One connection a broker, once the seeds have done their part. */
    pause_ms(b, 100);
    unsigned open = 0;
    for (unsigned i = 0; i < 2; i++)
        for (struct fake_conn *c = b->fake[i].conns; c; c = c->next)
            open += !c->closed;
    assert_int_equal(open, 2);
    assert_false(b->fake[0].null_topics || b->fake[1].null_topics);
}

static void feature(void *arg, const char *name, int16_t min, int16_t max)
{
    unsigned *n = arg;
    assert_string_equal(name, "transaction.version");
    assert_int_equal(min, 2);
    assert_int_equal(max, 2);
    ++*n;
}

static void features(void **state)
{
    struct bed *b = *state;
    unsigned n = 0;
    b->fake[0].features_epoch = 7;
    b->fake[1].features_epoch = 9;
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    assert_int_equal(cluster_features(b->cluster, feature, &n), 9);
    assert_int_equal(n, 1);
}

/* KIP-511: a refusal in version 0 names the range. */
static void older_api_versions(void **state)
{
    struct bed *b = *state;
    both_version(b, 18, 0, 3);
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    both_version(b, 18, 0, 0);
    cluster_free(b->cluster);
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
}

static void down_at_start(void **state)
{
    struct bed *b = *state;
    struct versions v;
    b->fake[1].versions[1] = (struct versions){6, 12};
    fake_down(&b->fake[1]);
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    assert_true(cluster_versions(b->cluster, 1, &v));
    assert_true(v.max > 12);
    assert_true(cluster_has_broker(b->cluster, 2)); /* not forgotten */
    assert_int_equal(cluster_any_broker(b->cluster, 2), 1);
    fake_listen(&b->fake[1]);
    for (int i = 0; i < 50 && cluster_any_broker(b->cluster, 2) != 2; i++)
        pause_ms(b, 100);
    assert_int_equal(cluster_any_broker(b->cluster, 2), 2);
    assert_true(cluster_versions(b->cluster, 1, &v));
    assert_int_equal(v.max, 12);
}

static void all_down_at_start(void **state)
{
    struct bed *b = *state;
    fake_down(&b->fake[0]);
    fake_down(&b->fake[1]);
    bed_start(b);
    pause_ms(b, 300);
    assert_false(cluster_ready(b->cluster));
    assert_string_equal(cluster_trouble(b->cluster), "no broker can be reached");
    assert_int_equal(cluster_any_broker(b->cluster, 1), -1);
    fake_listen(&b->fake[0]);
    fake_listen(&b->fake[1]);
    assert_true(bed_until(b, bed_ready));
    assert_string_equal(cluster_trouble(b->cluster), "");
}

/* --- topics */

static void asks_by_name(void **state)
{
    struct bed *b = *state;
    give_topic(b, "serial-parts", 7, 3);
    give_topic(b, "not-ours", 8, 3);
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    assert_int_equal(cluster_watch(b->cluster, "serial-parts"), OK);
    assert_int_equal(cluster_watch(b->cluster, "missing"), OK);
    const struct topic_info *t = cluster_topic(b->cluster, "serial-parts", 12);
    assert_false(t->known);
    fresh(b);
    t = cluster_topic(b->cluster, "serial-parts", 12);
    assert_true(t->known);
    assert_int_equal(t->error, 0);
    assert_int_equal(t->npartitions, 2);
    assert_int_equal(t->partitions[1].leader, 2);
    assert_int_equal(t->partitions[1].epoch, 3);
    assert_ptr_equal(cluster_topic_by_id(b->cluster, t->id), t);
    assert_null(cluster_topic(b->cluster, "not-ours", 8));
    assert_null(cluster_topic(b->cluster, "serial-part", 11));
    static const uint8_t zero[16];
    assert_null(cluster_topic_by_id(b->cluster, zero));
    t = cluster_topic(b->cluster, "missing", 7);
    assert_true(t->known);
    assert_int_equal(t->error, 3);
    for (unsigned i = 0; i < 2; i++)
        assert_false(b->fake[i].null_topics || b->fake[i].auto_create);
}

static void watchers_count(void **state)
{
    struct bed *b = *state;
    give_topic(b, "t", 7, 3);
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    assert_int_equal(cluster_watch(b->cluster, "t"), OK);
    assert_int_equal(cluster_watch(b->cluster, "t"), OK);
    fresh(b);
    cluster_unwatch(b->cluster, "t");
    const struct topic_info *t = cluster_topic(b->cluster, "t", 1);
    assert_non_null(t);
    cluster_unwatch(b->cluster, "t");
    cluster_unwatch(b->cluster, "t");
    cluster_unwatch(b->cluster, "u");
    assert_null(cluster_topic(b->cluster, "t", 1));
    assert_null(cluster_topic_by_id(b->cluster, t->id));
    /* The next session finds it at once. */
    assert_int_equal(cluster_watch(b->cluster, "t"), OK);
    assert_true(cluster_topic(b->cluster, "t", 1)->known);
    char longest[CLUSTER_TOPIC_NAME_MAX + 2];
    memset(longest, 'a', sizeof(longest));
    longest[CLUSTER_TOPIC_NAME_MAX + 1] = 0;
    assert_int_equal(cluster_watch(b->cluster, longest), ERR_LIMIT);
    assert_int_equal(cluster_watch(b->cluster, ""), ERR_LIMIT);
}

static void old_epochs_are_ignored(void **state)
{
    struct bed *b = *state;
    struct fake_topic *f = give_topic(b, "t", 7, 5);
    bed_start(b);
    assert_int_equal(cluster_watch(b->cluster, "t"), OK);
    fresh(b);
    f->leader[0] = 2;
    f->epoch[0] = 4; /* old news */
    f->leader[1] = 1;
    f->epoch[1] = 6;
    same_topics(b);
    fresh(b);
    const struct topic_info *t = cluster_topic(b->cluster, "t", 1);
    assert_int_equal(t->partitions[0].leader, 1);
    assert_int_equal(t->partitions[0].epoch, 5);
    assert_int_equal(t->partitions[1].leader, 1);
    assert_int_equal(t->partitions[1].epoch, 6);
    /* Made anew: another id, and epochs start over. The former id still finds it. */
    uint8_t former[16];
    memcpy(former, t->id, sizeof(former));
    memset(f->id, 9, sizeof(f->id));
    f->epoch[0] = f->epoch[1] = 0;
    same_topics(b);
    fresh(b);
    t = cluster_topic(b->cluster, "t", 1);
    assert_int_equal(t->partitions[0].leader, 2);
    assert_int_equal(t->partitions[0].epoch, 0);
    assert_memory_not_equal(t->id, former, 16);
    assert_ptr_equal(cluster_topic_by_id(b->cluster, former), t);
    assert_ptr_equal(cluster_topic_by_id(b->cluster, f->id), t);
    /* Gone: no partitions, and whatever epoch comes next counts. */
    f->error = 3;
    f->npartitions = 0;
    same_topics(b);
    fresh(b);
    t = cluster_topic(b->cluster, "t", 1);
    assert_int_equal(t->error, 3);
    assert_int_equal(t->npartitions, 0);
}

static void without_ids_and_epochs(void **state)
{
    struct bed *b = *state;
    both_version(b, 3, 0, 1);
    give_topic(b, "t", 7, 5);
    bed_start(b);
    assert_int_equal(cluster_watch(b->cluster, "t"), OK);
    fresh(b);
    const struct topic_info *t = cluster_topic(b->cluster, "t", 1);
    static const uint8_t zero[16];
    assert_int_equal(t->npartitions, 2);
    assert_int_equal(t->partitions[0].leader, 1);
    assert_int_equal(t->partitions[0].epoch, -1);
    assert_memory_equal(t->id, zero, 16);
    assert_false(b->fake[0].null_topics || b->fake[1].null_topics);
}

static void many_topics(void **state)
{
    struct bed *b = *state;
    char name[32];
    bed_start(b);
    for (int i = 0; i < CLUSTER_TOPICS_MAX; i++) {
        snprintf(name, sizeof(name), "topic-%d", i);
        assert_int_equal(cluster_watch(b->cluster, name), OK);
    }
    assert_int_equal(cluster_watch(b->cluster, "one more"), ERR_LIMIT);
    fresh(b);
    for (int i = 0; i < CLUSTER_TOPICS_MAX; i++) {
        snprintf(name, sizeof(name), "topic-%d", i);
        assert_true(cluster_topic(b->cluster, name, strlen(name))->known);
    }
    /* One that nobody watches makes room. */
    cluster_unwatch(b->cluster, "topic-17");
    assert_int_equal(cluster_watch(b->cluster, "one more"), OK);
}

static void waits_end(void **state)
{
    struct bed *b = *state;
    fake_down(&b->fake[0]);
    fake_down(&b->fake[1]);
    bed_start(b);
    called = false;
    cluster_wait_init(&wait, on_wait, NULL);
    cluster_wait_topics(b->cluster, &wait, 50000);
    assert_true(bed_until(b, was_called));
    assert_int_equal(result, ERR_TIMEOUT);
    called = false;
    cluster_wait_topics(b->cluster, &wait, 50000);
    cluster_wait_cancel(&wait);
    cluster_wait_cancel(&wait);
    pause_ms(b, 100);
    assert_false(called);
    cluster_find_coordinator(b->cluster, COORDINATOR_GROUP, "g", 1, &wait, 50000);
    assert_true(bed_until(b, was_called));
    assert_int_equal(result, ERR_TIMEOUT);
}

/* Refreshes keep their pace however often they are asked for. */
static void paced(void **state)
{
    struct bed *b = *state;
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    uint64_t before = cluster_stats(b->cluster)->refreshes;
    uint64_t from_us = loop_clock_us(b->loop);
    for (int i = 0; i < 50; i++) {
        cluster_stale(b->cluster);
        pause_ms(b, 10);
    }
    uint64_t n = cluster_stats(b->cluster)->refreshes - before;
    /* Ten a second, however long the pauses really were. */
    assert_in_range(n, 3, (loop_clock_us(b->loop) - from_us) / 100000 + 3);
}

/* --- brokers */

static void brokers_come_move_and_go(void **state)
{
    struct bed *b = *state;
    int32_t ids[4];
    for (unsigned i = 0; i < 2; i++)
        b->fake[i].nbrokers = 1;
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    assert_int_equal(cluster_brokers(b->cluster, ids, 4), 1);
    assert_int_equal(ids[0], 1);
    for (unsigned i = 0; i < 2; i++)
        b->fake[i].nbrokers = 2;
    fresh(b);
    assert_int_equal(cluster_brokers(b->cluster, ids, 4), 2);
    assert_true(cluster_ready(b->cluster)); /* a newcomer does not make it unready */
    assert_int_equal(cluster_brokers(b->cluster, ids, 1), 1);
    /* 1 becomes 5, at the same address. */
    for (unsigned i = 0; i < 2; i++)
        b->fake[i].brokers[0].id = 5;
    fresh(b);
    assert_false(cluster_has_broker(b->cluster, 1));
    assert_true(cluster_has_broker(b->cluster, 5));
    pause_ms(b, 200);
    assert_int_equal(cluster_any_broker(b->cluster, 5), 5);
}

static void nonsense_brokers(void **state)
{
    struct bed *b = *state;
    int32_t ids[4];
    for (unsigned i = 0; i < 2; i++) {
        b->fake[i].nbrokers = 4;
        b->fake[i].brokers[1].host = "";
        b->fake[i].brokers[2] = (struct fake_broker_info){-3, "127.0.0.1", b->fake[0].port};
        b->fake[i].brokers[3] = (struct fake_broker_info){4, "bad host\n", 9092};
    }
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    assert_int_equal(cluster_brokers(b->cluster, ids, 4), 1);
}

static bool metadata_is_garbage(struct fake_conn *c, const struct request_head *h,
                                const struct msg *m)
{
    (void)m;
    if (h->api != 3)
        return false;
    uint8_t p[12] = {0, 0, 0, 8, 0, 0, 0, (uint8_t)h->correlation, 0xff, 0xff, 0xff, 0xff};
    fake_raw(c, p, sizeof(p));
    return true;
}

/* A broker whose Metadata cannot be read is passed over for the other. */
static void malformed_metadata(void **state)
{
    struct bed *b = *state;
    give_topic(b, "t", 7, 5);
    b->fake[0].script = metadata_is_garbage;
    bed_start(b);
    assert_int_equal(cluster_watch(b->cluster, "t"), OK);
    fresh(b);
    assert_true(cluster_topic(b->cluster, "t", 1)->known);
    fresh(b);
}

/* --- coordinators */

static void find_within(struct bed *b, int kind, const char *key, unsigned ms)
{
    called = false;
    cluster_wait_init(&wait, on_wait, NULL);
    cluster_find_coordinator(b->cluster, kind, key, strlen(key), &wait, (uint64_t)ms * 1000);
    assert_false(called);
    assert_true(bed_until(b, was_called));
}

static void find(struct bed *b, int kind, const char *key)
{
    find_within(b, kind, key, BED_WAIT_MS);
}

static void coordinators(void **state)
{
    struct bed *b = *state;
    for (int16_t version = 0; version <= 6; version++) {
        both_version(b, 10, 0, version);
        b->fake[0].coordinator = b->fake[1].coordinator = 2;
        bed_start(b);
        assert_true(bed_until(b, bed_ready));
        find(b, COORDINATOR_GROUP, "bob-1");
        assert_int_equal(result, OK);
        assert_int_equal(cluster_coordinator(b->cluster, COORDINATOR_GROUP, "bob-1", 5), 2);
        find(b, COORDINATOR_TXN, "bob-t");
        assert_int_equal(result, version ? OK : ERR_VERSION);
        cluster_free(b->cluster);
    }
    b->cluster = NULL;
}

static void coordinator_errors(void **state)
{
    struct bed *b = *state;
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    b->fake[0].coordinator_error = b->fake[1].coordinator_error = 30;
    find(b, COORDINATOR_GROUP, "g");
    assert_int_equal(result, 30);
    b->fake[0].coordinator_error = b->fake[1].coordinator_error = 15;
    unsigned before = b->fake[0].requests[10] + b->fake[1].requests[10];
    uint64_t from_us = loop_clock_us(b->loop);
    find_within(b, COORDINATOR_GROUP, "g", 1000);
    uint64_t took_us = loop_clock_us(b->loop) - from_us;
    assert_int_equal(result, 15);
    unsigned n = b->fake[0].requests[10] + b->fake[1].requests[10] - before;
    assert_in_range(n, 2, took_us / 100000 + 2);
    /* A node that metadata does not list yet is no answer. */
    b->fake[0].coordinator_error = b->fake[1].coordinator_error = 0;
    b->fake[0].coordinator = b->fake[1].coordinator = 77;
    find_within(b, COORDINATOR_GROUP, "g", 200);
    assert_int_equal(result, 15);
    assert_int_equal(cluster_coordinator(b->cluster, COORDINATOR_GROUP, "g", 1), -1);
}

#define MANY 40
static unsigned many_called;
static struct cluster_wait many[MANY];

static void on_many(void *arg, int r)
{
    (void)arg;
    assert_int_equal(r, OK);
    many_called++;
    /* The others' waits may be taken back from in here. */
    cluster_wait_cancel(&many[MANY - 1]);
    cluster_wait_cancel(&many[0]);
}

static bool many_done(struct bed *b)
{
    (void)b;
    return many_called >= MANY - 2;
}

static void asked_once(void **state)
{
    struct bed *b = *state;
    b->fake[0].coordinator = b->fake[1].coordinator = 1;
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    many_called = 0;
    for (int i = 0; i < MANY; i++) {
        cluster_wait_init(&many[i], on_many, NULL);
        cluster_find_coordinator(b->cluster, COORDINATOR_GROUP, "g", 1, &many[i],
                                 BED_WAIT_MS * 1000);
    }
    assert_true(bed_until(b, many_done));
    pause_ms(b, 50);
    assert_in_range(many_called, MANY - 2, MANY - 1);
    assert_int_equal(b->fake[0].requests[10] + b->fake[1].requests[10], 1);
}

static void questions_are_bounded(void **state)
{
    static struct cluster_wait waits[CLUSTER_LOOKUPS_MAX];
    struct bed *b = *state;
    char key[32];
    bed_start(b);
    for (int i = 0; i < CLUSTER_LOOKUPS_MAX; i++) {
        cluster_wait_init(&waits[i], on_many, NULL);
        snprintf(key, sizeof(key), "g-%d", i);
        cluster_find_coordinator(b->cluster, COORDINATOR_GROUP, key, strlen(key), &waits[i],
                                 60000000);
    }
    called = false;
    cluster_wait_init(&wait, on_wait, NULL);
    cluster_find_coordinator(b->cluster, COORDINATOR_GROUP, "h", 1, &wait, 1000000);
    assert_false(called);
    assert_true(bed_until(b, was_called));
    assert_int_equal(result, ERR_BUSY);
    for (int i = 0; i < CLUSTER_LOOKUPS_MAX; i++)
        cluster_wait_cancel(&waits[i]);
}

static void cache_is_bounded(void **state)
{
    struct bed *b = *state;
    bed_start(b);
    struct cluster *c = b->cluster;
    c->ncoordinators = CLUSTER_COORDINATORS_MAX - 1;
    b->fake[0].coordinator = b->fake[1].coordinator = 1;
    assert_true(bed_until(b, bed_ready));
    find(b, COORDINATOR_GROUP, "old");
    find(b, COORDINATOR_GROUP, "new");
    assert_int_equal(cluster_coordinator(c, COORDINATOR_GROUP, "old", 3), -1);
    assert_int_equal(cluster_coordinator(c, COORDINATOR_GROUP, "new", 3), 1);
    assert_int_equal(c->ncoordinators, CLUSTER_COORDINATORS_MAX);
    c->ncoordinators = 1;
}

/* The probe's connection ends while a question is on it: it is asked again elsewhere. */
static unsigned cut_left;

static bool cuts_the_line(struct fake_conn *c, const struct request_head *h, const struct msg *m)
{
    (void)m;
    if ((h->api != 10 && h->api != 3) || !cut_left)
        return false;
    cut_left--;
    fake_close(c, true);
    return true;
}

static void a_lost_connection(void **state)
{
    struct bed *b = *state;
    b->fake[0].coordinator = b->fake[1].coordinator = 1;
    give_topic(b, "t", 7, 5);
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    b->fake[0].script = b->fake[1].script = cuts_the_line;
    cut_left = 3;
    find(b, COORDINATOR_GROUP, "g");
    assert_int_equal(result, OK);
    cut_left = 2;
    assert_int_equal(cluster_watch(b->cluster, "t"), OK);
    fresh(b);
    assert_true(cluster_topic(b->cluster, "t", 1)->known);
    assert_true(cluster_ready(b->cluster));
}

/* --- answers, cut and torn */

static void taken(struct bed *b, const uint8_t *p, size_t n, size_t split, int version, int *e)
{
    struct buf frame;
    buf_init(&frame, SIZE_MAX);
    /* Two chunks, so that the walker meets the seam. */
    struct buf rest;
    buf_init(&rest, SIZE_MAX);
    assert_int_equal(buf_append(&frame, p, split), OK);
    assert_int_equal(buf_append(&rest, p + split, n - split), OK);
    assert_int_equal(buf_move(&frame, &rest), OK);
    *e = n ? topics_take(b->cluster, &frame, 0, version) : ERR_MALFORMED;
    buf_release(&frame);
}

static void metadata_in_pieces(void **state)
{
    static const int16_t versions[] = {13, 1, 2, 7, 9, 12};
    struct bed *b = *state;
    give_topic(b, "t", 7, 5);
    bed_start(b);
    assert_int_equal(cluster_watch(b->cluster, "t"), OK);
    for (size_t v = 0; v < sizeof(versions) / sizeof(versions[0]); v++) {
        struct arena a;
        struct msg m;
        struct buf body;
        int e;
        arena_init(&a, 1024 * 1024);
        buf_init(&body, SIZE_MAX);
        fake_metadata_msg(&b->fake[0], &m, &a, versions[v], NULL);
        assert_int_equal(msg_encode(&m, &body), OK);
        uint8_t p[2048];
        size_t n = body.len;
        assert_true(n < sizeof(p));
        buf_copy_out(&body, 0, p, n);
        for (size_t cut = 0; cut < n; cut++) {
            taken(b, p, cut, cut / 2, versions[v], &e);
            assert_int_equal(e, ERR_MALFORMED);
            if (v == 0) /* nothing of a broken answer counts */
                assert_false(cluster_topic(b->cluster, "t", 1)->known);
        }
        for (size_t split = 0; split <= n; split++) {
            taken(b, p, n, split, versions[v], &e);
            assert_int_equal(e, OK);
        }
        assert_int_equal(cluster_topic(b->cluster, "t", 1)->npartitions, 2);
        assert_int_equal(cluster_topic(b->cluster, "t", 1)->partitions[1].leader, 2);
        buf_release(&body);
        arena_release(&a);
    }
}

static void reload(void **state)
{
    struct bed *b = *state;
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    struct config other = b->config;
    other.upstream.brokers = &b->seeds[1];
    other.upstream.nbrokers = 1;
    assert_int_equal(cluster_config(b->cluster, &other, NULL), OK);
    assert_true(cluster_ready(b->cluster));
    fresh(b);
    /* Everything goes, and comes back at the only seed that is left. */
    fake_down(&b->fake[0]);
    fake_down(&b->fake[1]);
    for (int i = 0; i < 50 && cluster_ready(b->cluster); i++)
        pause_ms(b, 100);
    assert_false(cluster_ready(b->cluster));
    fake_listen(&b->fake[1]);
    assert_true(bed_until(b, bed_ready));
}

/* Each allocation of a refresh and of a question fails: both end well or in time. */
static void out_of_memory(void **state)
{
    struct bed *b = *state;
    b->fake[0].coordinator = b->fake[1].coordinator = 1;
    give_topic(b, "t", 7, 5);
    if (!sl_alloc_fail_after(0))
        return;
    for (unsigned n = 1; n < 60; n++) {
        assert_true(sl_alloc_fail_after(n));
        b->cluster = cluster_new(b->loop, &b->config, NULL, b->resolver);
        (void)sl_alloc_fail_after(0);
        if (b->cluster) {
            /* Whatever failed at the first try, another will come. */
            for (unsigned i = 0; i < b->cluster->nbrokers; i++)
                assert_true(b->cluster->brokers[i]->probe ||
                            loop_timer_pending(b->cluster->brokers[i]->again));
            called = false;
            cluster_wait_init(&wait, on_wait, NULL);
            cluster_find_coordinator(b->cluster, COORDINATOR_GROUP, "g", 1, &wait, 2000);
            pause_ms(b, 5);
            cluster_free(b->cluster);
        }
    }
    b->cluster = NULL;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(intersection),
        T(features),
        T(older_api_versions),
        T(down_at_start),
        T(all_down_at_start),
        T(asks_by_name),
        T(watchers_count),
        T(old_epochs_are_ignored),
        T(without_ids_and_epochs),
        T(many_topics),
        T(waits_end),
        T(paced),
        T(brokers_come_move_and_go),
        T(nonsense_brokers),
        T(malformed_metadata),
        T(coordinators),
        T(coordinator_errors),
        T(asked_once),
        T(questions_are_bounded),
        T(cache_is_bounded),
        T(a_lost_connection),
        T(metadata_in_pieces),
        T(reload),
        T(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
