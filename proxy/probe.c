/* The probe: one connection a broker, over which versions and metadata are asked.
 *
 *   seeds (addresses of the configuration) are asked while no broker of the cluster is up;
 *   brokers that metadata lists are probed always, again and again when they are away. */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "codec/msg.h"
#include "codec/read.h"
#include "codec/reply.h"
#include "proxy/cluster_priv.h"

#define API_METADATA     3
#define API_API_VERSIONS 18

#define ARENA_BYTES         ((size_t)1024 * 1024)
#define REFRESH_BACKOFF_MAX 5 /* doublings of CLUSTER_REFRESH_MIN_US */
#define AGAIN_MIN_US        20000
#define AGAIN_DOUBLINGS     6
/* Leaders that are being elected, and topics that are being made, are looked after sooner. */
#define LEADERLESS_US (1 * UINT64_C(1000000))
#define MISSING_US    (5 * UINT64_C(1000000))

static const struct upstream_call_events versions_events, refresh_events;
static void probe_open(struct broker *b);

/* --- the connection */

static void probe_lost(struct broker *b, int why)
{
    struct cluster *c = b->cluster;
    bool answered = b->probed;
    b->probe = NULL;
    b->probed = false;
    b->versions_asked = false;
    if (c->closing)
        return;
    if (!answered) {
        c->trouble = why;
        b->misses += b->misses < AGAIN_DOUBLINGS;
        broker_set_state(b, BROKER_DOWN);
    }
    uint64_t pause_us = (uint64_t)AGAIN_MIN_US << b->misses;
    if (loop_timer_set(b->again, pause_us + cluster_random(c) % pause_us))
        log_error("upstream", "out of memory for a probe's timer");
    /* Seeds may be wanted now. */
    probe_brokers(c);
}

static void probe_closed(void *arg, struct upstream *u, int why)
{
    (void)u;
    probe_lost(arg, why);
}

/* The connection is closed by us, which drops what was asked over it silently. */
static void probe_end(struct broker *b)
{
    struct cluster *c = b->cluster;
    bool refreshing = c->refresh.running && c->refresh.broker == b;
    upstream_close(b->probe, false);
    b->probe = NULL;
    b->versions_asked = false;
    if (refreshing) {
        c->refresh.running = false;
        c->refresh.wanted = false;
        refresh_want(c);
    }
    coordinators_broker_gone(c, b);
}

/* The broker's answer cannot be used. */
static void probe_reject(struct broker *b, int why, const char *text)
{
    broker_failed(b, loop_now_us(b->cluster->loop), why, text);
    b->probed = false;
    probe_end(b);
    probe_lost(b, why);
}

void probe_drop(struct broker *b)
{
    loop_timer_clear(b->again);
    b->probed = false;
    if (b->probe)
        probe_end(b);
}

static void again_timer(void *arg)
{
    struct broker *b = arg;
    probe_brokers(b->cluster);
}

int probe_init(struct broker *b)
{
    b->again = loop_timer_new(b->cluster->loop, again_timer, b);
    return b->again ? OK : ERR_NOMEM;
}

static bool probe_wanted(const struct broker *b)
{
    return b->listed && (b->id >= 0 || !b->cluster->nup);
}

void probe_brokers(struct cluster *c)
{
    if (c->closing)
        return;
    for (unsigned i = c->nbrokers; i-- > 0;) {
        struct broker *b = c->brokers[i];
        if (!probe_wanted(b))
            probe_drop(b);
        else if (!b->probe && !loop_timer_pending(b->again))
            probe_open(b);
    }
}

struct broker *probe_pick(struct cluster *c)
{
    struct broker *best = NULL;
    unsigned at = 0;
    for (unsigned i = 0; i < c->nbrokers; i++) {
        struct broker *b = c->brokers[(c->turn + i) % c->nbrokers];
        if (!b->listed || !b->probe || !b->probed)
            continue;
        /* The first in turn; a seed only when there is nothing else. */
        if (!best || (best->id < 0 && b->id >= 0)) {
            best = b;
            at = i;
        }
    }
    if (best)
        c->turn = (c->turn + at + 1) % c->nbrokers;
    return best;
}

/* --- versions */

static void versions_ask(struct broker *b, int16_t version)
{
    const struct upstream_config *u = &b->cluster->config->upstream;
    struct upstream_call *call = &b->versions_call;
    struct arena a;
    struct msg m;
    if (b->versions_asked)
        return;
    *call = (struct upstream_call){
        .events = &versions_events,
        .arg = b,
        .api = API_API_VERSIONS,
        .version = version,
        .client_id = "sluice",
        /* Until it has connected as well. */
        .deadline_us = loop_now_us(b->cluster->loop) +
                       (4 * (uint64_t)u->connect_timeout_ms + u->request_timeout_ms) * 1000,
    };
    arena_init(&a, ARENA_BYTES);
    buf_init(&call->body, SIZE_MAX);
    int e = msg_new(&m, &a, schema_find(API_API_VERSIONS, true), version);
    if (!e)
        e = node_set_text(&m, m.root, F_CLIENT_SOFTWARE_NAME, "sluice");
    if (!e)
        e = node_set_text(&m, m.root, F_CLIENT_SOFTWARE_VERSION, "1");
    if (!e)
        e = msg_encode(&m, &call->body);
    if (!e)
        e = upstream_send(b->probe, call);
    arena_release(&a);
    if (e)
        buf_release(&call->body);
    else
        b->versions_asked = true;
    b->versions_try = version;
}

static void probe_open(struct broker *b)
{
    const struct message *m = schema_find(API_API_VERSIONS, true);
    struct versions v = m->versions;
    b->probe = upstream_open_broker(b->cluster, b, true, probe_closed, b);
    if (b->probe) {
        (void)cluster_common(b, API_API_VERSIONS, &v);
        versions_ask(b, v.max);
    }
    if (b->probe && !b->versions_asked)
        probe_drop(b);
    if (!b->probe && loop_timer_set(b->again, CLUSTER_BACKOFF_MAX_US))
        log_error("upstream", "out of memory for a probe");
}

static void take_features(struct cluster *c, const struct msg *m)
{
    int64_t epoch = node_num(m->root, F_FINALIZED_FEATURES_EPOCH, -1);
    if (epoch < 0 || epoch < c->features_epoch)
        return;
    c->features_epoch = epoch;
    c->nfeatures = 0;
    ARRAY_EACH (f, node_get(m->root, F_FINALIZED_FEATURES)) {
        const struct node *name = node_get(f, F_NAME);
        if (!name || name->null || name->u.str.len >= CLUSTER_FEATURE_BYTES ||
            c->nfeatures == CLUSTER_FEATURES_MAX)
            continue;
        struct feature *to = &c->features[c->nfeatures++];
        memcpy(to->name, name->u.str.p, name->u.str.len);
        to->name[name->u.str.len] = 0;
        to->min = (int16_t)node_num(f, F_MIN_VERSION_LEVEL, 0);
        to->max = (int16_t)node_num(f, F_MAX_VERSION_LEVEL, 0);
    }
}

static void take_versions(struct broker *b, const struct msg *m)
{
    for (int i = 0; i < CLUSTER_APIS; i++)
        b->versions[i] = (struct versions){1, 0};
    ARRAY_EACH (k, node_get(m->root, F_API_KEYS)) {
        int64_t api = node_num(k, F_API_KEY, -1);
        if (api >= 0 && api < CLUSTER_APIS)
            b->versions[api] = (struct versions){(int16_t)node_num(k, F_MIN_VERSION, 1),
                                                 (int16_t)node_num(k, F_MAX_VERSION, 0)};
    }
    b->versions_known = true;
    take_features(b->cluster, m);
}

/* What to ask with instead of a version that the broker does not have; -1: nothing. m is NULL when
 * its answer could not be read: not all brokers refuse as KIP-511 wants, and all know version 0. */
static int versions_below(const struct broker *b, const struct msg *m)
{
    int64_t max = 0;
    ARRAY_EACH (k, m ? node_get(m->root, F_API_KEYS) : NULL) {
        if (node_num(k, F_API_KEY, -1) == API_API_VERSIONS)
            max = node_num(k, F_MAX_VERSION, 0);
    }
    if (max >= b->versions_try || max < 0)
        max = 0;
    return b->versions_try == 0 ? -1 : (int)max;
}

static void versions_answer(struct upstream_call *call, struct buf *frame, size_t body_off)
{
    struct broker *b = call->arg;
    struct cluster *c = b->cluster;
    uint8_t code[2];
    struct arena a;
    struct msg m;
    b->versions_asked = false;
    arena_init(&a, ARENA_BYTES);
    int version = call->version, e = ERR_MALFORMED;
    int16_t error = 0;
    if (frame->len - body_off >= sizeof(code)) {
        buf_copy_out(frame, body_off, code, sizeof(code));
        error = read_i16(code);
        /* A broker that lacks the version answers in version 0 (KIP-511). */
        version = error == KAFKA_UNSUPPORTED_VERSION ? 0 : version;
        e = msg_decode(&m, &a, schema_find(API_API_VERSIONS, false), version, frame, body_off,
                       frame->len - body_off, NULL);
    }
    int below = error == KAFKA_UNSUPPORTED_VERSION ? versions_below(b, e ? NULL : &m) : -1;
    if (below >= 0) {
        versions_ask(b, (int16_t)below);
        if (!b->versions_asked)
            probe_reject(b, ERR_NOMEM, "out of memory");
    } else if (e) {
        probe_reject(b, ERR_MALFORMED, "its ApiVersions answer is malformed");
    } else if (error) {
        probe_reject(b, ERR_VERSION, "it refuses ApiVersions");
    } else {
        bool first = !b->probed;
        take_versions(b, &m);
        b->probed = true;
        b->misses = 0;
        c->trouble = OK;
        broker_set_state(b, BROKER_UP);
        cluster_recompute(c);
        if (first && (b->id < 0 || c->refresh.wanted || !c->has_metadata))
            refresh_want(c);
        probe_brokers(c);
    }
    arena_release(&a);
}

/* The connection has ended: probe_closed follows. */
static void versions_failed(struct upstream_call *call, int why, bool sent)
{
    struct broker *b = call->arg;
    (void)why;
    (void)sent;
    b->versions_asked = false;
}

static const struct upstream_call_events versions_events = {
    .answer = versions_answer,
    .failed = versions_failed,
};

static void versions_refresh(struct cluster *c)
{
    struct versions v;
    c->refresh.versions_us = loop_now_us(c->loop);
    for (unsigned i = 0; i < c->nbrokers; i++) {
        struct broker *b = c->brokers[i];
        if (b->probe && b->probed && cluster_common(b, API_API_VERSIONS, &v))
            versions_ask(b, v.max);
    }
}

/* --- metadata */

static void refresh_at(struct cluster *c, uint64_t pause_us)
{
    if (loop_timer_set(c->refresh.timer, pause_us))
        log_error("cluster", "out of memory for a timer");
}

void refresh_want(struct cluster *c)
{
    struct refresh *r = &c->refresh;
    uint64_t now_us = loop_now_us(c->loop);
    unsigned doublings = r->failures < REFRESH_BACKOFF_MAX ? r->failures : REFRESH_BACKOFF_MAX;
    uint64_t pace_us = (uint64_t)CLUSTER_REFRESH_MIN_US << doublings;
    if (c->closing || (r->wanted && loop_timer_pending(r->timer)))
        return;
    r->wanted = true;
    if (!r->running)
        refresh_at(c,
                   r->last_us && r->last_us + pace_us > now_us ? r->last_us + pace_us - now_us : 0);
}

/* The request: the brokers, and a batch of topics by name. *n: how many. */
static int refresh_build(struct cluster *c, struct arena *a, struct msg *m, struct buf *out,
                         unsigned *n)
{
    int e = msg_new(m, a, schema_find(API_METADATA, true), c->refresh.version);
    struct node *topics = e ? NULL : node_array(m, m->root, F_TOPICS);
    if (!topics)
        return e ? e : ERR_NOMEM;
    if (!e)
        e = node_set_num(m, m->root, F_ALLOW_AUTO_TOPIC_CREATION, 0);
    for (*n = 0; !e && *n < CLUSTER_BATCH_TOPICS; ++*n) {
        struct topic *t = topics_next(c);
        if (!t)
            break;
        struct node *row = array_add(m, topics);
        e = row ? node_set_str(m, row, F_NAME, (const uint8_t *)t->name, t->name_len) : ERR_NOMEM;
    }
    return e ? e : msg_encode(m, out);
}

static int refresh_send(struct cluster *c, bool first)
{
    struct refresh *r = &c->refresh;
    struct arena a;
    struct msg m;
    unsigned n = 0;
    r->call = (struct upstream_call){
        .events = &refresh_events,
        .arg = c,
        .api = API_METADATA,
        .version = r->version,
        .client_id = "sluice",
    };
    arena_init(&a, ARENA_BYTES);
    buf_init(&r->call.body, SIZE_MAX);
    int e = refresh_build(c, &a, &m, &r->call.body, &n);
    if (!e && !n && !first)
        e = ERR_EOF; /* all have been asked for */
    if (!e)
        e = upstream_send(r->broker->probe, &r->call);
    arena_release(&a);
    if (e)
        buf_release(&r->call.body);
    return e;
}

static void refresh_again(struct cluster *c)
{
    c->refresh.running = false;
    c->refresh.failures++;
    c->refresh.wanted = false;
    refresh_want(c);
}

static void refresh_timer(void *arg)
{
    struct cluster *c = arg;
    struct refresh *r = &c->refresh;
    struct versions v;
    if (r->running)
        return;
    r->wanted = true;
    r->broker = probe_pick(c);
    /* Otherwise the next probe that is answered goes on. */
    if (!r->broker)
        return;
    r->wanted = false;
    r->last_us = loop_now_us(c->loop);
    if (!cluster_common(r->broker, API_METADATA, &v) || v.max < 1) {
        probe_reject(r->broker, ERR_VERSION, "it has no version of Metadata that we have");
        refresh_again(c);
        return;
    }
    r->version = v.max;
    r->running = true;
    r->leaderless = r->missing = false;
    r->round++;
    c->stats.refreshes++;
    if (refresh_send(c, true))
        refresh_again(c);
}

static void refresh_done(struct cluster *c)
{
    struct refresh *r = &c->refresh;
    uint64_t age_us = (uint64_t)c->config->upstream.metadata_max_age_ms * 1000;
    uint64_t now_us = loop_now_us(c->loop), pause_us = age_us;
    r->running = false;
    r->failures = 0;
    if (!r->versions_us)
        r->versions_us = now_us;
    if (now_us - r->versions_us >= age_us)
        versions_refresh(c);
    topics_sweep(c);
    if (r->missing && pause_us > MISSING_US)
        pause_us = MISSING_US;
    if (r->leaderless && pause_us > LEADERLESS_US)
        pause_us = LEADERLESS_US;
    if (r->wanted) {
        r->wanted = false;
        refresh_want(c);
    } else {
        refresh_at(c, pause_us);
    }
    cluster_wait_fire(&c->waits, r->round, OK);
}

static void refresh_answer(struct upstream_call *call, struct buf *frame, size_t body_off)
{
    struct cluster *c = call->arg;
    struct refresh *r = &c->refresh;
    int e = topics_take(c, frame, body_off, call->version);
    if (e == ERR_MALFORMED) {
        struct broker *b = r->broker;
        refresh_again(c);
        probe_reject(b, e, "its Metadata answer is malformed");
        return;
    }
    /* Taking it may have closed the connection that it came by: a seed's, or a moved broker's. */
    if (!e && r->running && r->broker && r->broker->probe)
        e = refresh_send(c, false);
    else if (!e)
        e = topics_left(c) ? ERR_BUSY : ERR_EOF;
    if (e == ERR_EOF)
        refresh_done(c);
    else if (e)
        refresh_again(c);
}

static void refresh_failed(struct upstream_call *call, int why, bool sent)
{
    (void)why;
    (void)sent;
    refresh_again(call->arg);
}

static const struct upstream_call_events refresh_events = {
    .answer = refresh_answer,
    .failed = refresh_failed,
};

int refresh_init(struct cluster *c)
{
    c->refresh.timer = loop_timer_new(c->loop, refresh_timer, c);
    return c->refresh.timer ? OK : ERR_NOMEM;
}

void refresh_release(struct cluster *c)
{
    loop_timer_free(c->refresh.timer);
    c->refresh.timer = NULL;
}
