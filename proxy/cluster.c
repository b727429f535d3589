/* The cluster as a whole: settings, versions, waits. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/log.h"
#include "proxy/cluster_priv.h"

uint64_t cluster_random(struct cluster *c)
{
    /* xorshift64*: jitter only. */
    c->random ^= c->random >> 12;
    c->random ^= c->random << 25;
    c->random ^= c->random >> 27;
    return c->random * UINT64_C(2685821657736338717);
}

/* --- waits */

void cluster_wait_init(struct cluster_wait *w, void (*fn)(void *arg, int result), void *arg)
{
    *w = (struct cluster_wait){.fn = fn, .arg = arg};
}

void cluster_wait_cancel(struct cluster_wait *w)
{
    if (!w->prev)
        return;
    *w->prev = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->next = NULL;
    w->prev = NULL;
}

void cluster_wait_put(struct cluster_wait **list, struct cluster_wait *w)
{
    w->next = *list;
    if (w->next)
        w->next->prev = &w->next;
    w->prev = list;
    *list = w;
}

/* The waiters in due are called one by one; each may cancel others of them, or wait anew. */
static void wait_call(struct cluster_wait **due, int result)
{
    while (*due) {
        struct cluster_wait *w = *due;
        cluster_wait_cancel(w);
        w->fn(w->arg, result);
    }
}

void cluster_wait_fire(struct cluster_wait **list, uint64_t round, int result)
{
    struct cluster_wait *due = NULL, *next;
    for (struct cluster_wait *w = *list; w; w = next) {
        next = w->next;
        if (w->round > round)
            continue;
        cluster_wait_cancel(w);
        cluster_wait_put(&due, w);
    }
    wait_call(&due, result);
}

void cluster_wait_expire(struct cluster_wait **list, uint64_t now_us, int result)
{
    struct cluster_wait *due = NULL, *next;
    for (struct cluster_wait *w = *list; w; w = next) {
        next = w->next;
        if (w->deadline_us > now_us)
            continue;
        cluster_wait_cancel(w);
        cluster_wait_put(&due, w);
    }
    wait_call(&due, result);
}

void cluster_wait_deadlines(struct cluster *c, const struct cluster_wait *list)
{
    for (; list; list = list->next)
        cluster_wait_deadline(c, list->deadline_us);
}

void cluster_wait_deadline(struct cluster *c, uint64_t deadline_us)
{
    if (c->wait_armed_us && c->wait_armed_us <= deadline_us)
        return;
    uint64_t now_us = loop_now_us(c->loop);
    if (loop_timer_set(c->wait_timer, deadline_us > now_us ? deadline_us - now_us : 0)) {
        log_error("cluster", "out of memory for a timer");
        return;
    }
    c->wait_armed_us = deadline_us;
}

static void wait_timer(void *arg)
{
    struct cluster *c = arg;
    uint64_t now_us = loop_now_us(c->loop);
    c->wait_armed_us = 0;
    cluster_wait_fire(&c->refused, UINT64_MAX, ERR_BUSY);
    cluster_wait_expire(&c->waits, now_us, ERR_TIMEOUT);
    coordinators_expire(c, now_us);
    cluster_wait_deadlines(c, c->waits);
    coordinators_deadlines(c);
}

void cluster_wait_topics(struct cluster *c, struct cluster_wait *w, uint64_t timeout_us)
{
    /* A round under way may have asked for its topics before this waiter's were watched. */
    w->round = c->refresh.round + 1;
    w->deadline_us = loop_now_us(c->loop) + timeout_us;
    cluster_wait_put(&c->waits, w);
    cluster_wait_deadline(c, w->deadline_us);
    refresh_want(c);
}

/* --- settings */

/* Seeds of the configuration that aren't there yet; those that it no longer names go. */
static int seeds_set(struct cluster *c)
{
    const struct upstream_config *u = &c->config->upstream;
    for (unsigned i = c->nbrokers; i-- > 0;) {
        struct broker *b = c->brokers[i];
        broker_map(b);
        if (b->id >= 0 || !b->listed)
            continue;
        b->listed = false;
        probe_drop(b);
        broker_release(b);
    }
    for (size_t i = 0; i < u->nbrokers && i < CLUSTER_SEEDS_MAX; i++) {
        /* -1 means "none" in the protocol. */
        c->next_seed = c->next_seed < INT32_MIN + 2 ? -2 : c->next_seed - 1;
        struct broker *b = broker_put(c, c->next_seed, u->brokers[i].host, u->brokers[i].port);
        if (!b)
            return ERR_NOMEM;
        b->listed = true;
    }
    return OK;
}

struct cluster *cluster_new(struct loop *l, const struct config *config, struct tls_context *tls,
                            struct resolver *r)
{
    struct cluster *c = sl_calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->loop = l;
    c->config = config;
    c->tls = tls ? tls_ref(tls) : NULL;
    c->next_seed = -1;
    c->features_epoch = -1;
    c->last_topic = &c->first_topic;
    c->trouble = ERR_BUSY;
    for (unsigned i = 0; i < CLUSTER_APIS; i++)
        c->versions[i] = (struct versions){1, 0};
    if (getrandom(&c->random, sizeof(c->random), 0) != (ssize_t)sizeof(c->random))
        goto failed;
    c->random |= 1;
    c->names = resolve_port_new(r, l);
    c->wait_timer = loop_timer_new(l, wait_timer, c);
    if (!c->names || !c->wait_timer || topics_init(c) || coordinators_init(c) || refresh_init(c) ||
        seeds_set(c))
        goto failed;
    probe_brokers(c);
    return c;
failed:
    cluster_free(c);
    return NULL;
}

void cluster_free(struct cluster *c)
{
    if (!c)
        return;
    c->closing = true;
    refresh_release(c);
    coordinators_release(c);
    for (unsigned i = c->nbrokers; i-- > 0;)
        probe_drop(c->brokers[i]);
    upstream_free_all(c);
    while (c->nbrokers)
        broker_free(c->brokers[c->nbrokers - 1]);
    sl_free(c->brokers);
    while (c->waits)
        cluster_wait_cancel(c->waits);
    while (c->refused)
        cluster_wait_cancel(c->refused);
    topics_release(c);
    loop_timer_free(c->wait_timer);
    resolve_port_free(c->names);
    if (c->token)
        explicit_bzero(c->token, strlen(c->token));
    sl_free(c->token);
    scram_cache_clear(&c->scram);
    if (c->tls)
        tls_unref(c->tls);
    sl_free(c);
}

int cluster_config(struct cluster *c, const struct config *config, struct tls_context *tls)
{
    struct tls_context *old = c->tls;
    c->config = config;
    c->tls = tls ? tls_ref(tls) : NULL;
    if (old)
        tls_unref(old);
    scram_cache_clear(&c->scram);
    int e = seeds_set(c);
    for (unsigned i = 0; i < c->nbrokers; i++) {
        c->brokers[i]->failures = 0;
        c->brokers[i]->not_before_us = 0;
        broker_turns(c->brokers[i]);
    }
    probe_brokers(c);
    return e;
}

int cluster_token(struct cluster *c, const char *token, int64_t expires_s)
{
    size_t n = strlen(token);
    if (n > CLUSTER_TOKEN_MAX)
        return ERR_LIMIT;
    char *copy = sl_malloc(n + 1);
    if (!copy)
        return ERR_NOMEM;
    memcpy(copy, token, n + 1);
    if (c->token)
        explicit_bzero(c->token, strlen(c->token));
    sl_free(c->token);
    c->token = copy;
    c->token_expires_s = expires_s;
    for (unsigned i = 0; i < c->nbrokers; i++)
        broker_turns(c->brokers[i]);
    return OK;
}

/* --- versions */

static bool cut(struct versions *v, struct versions by)
{
    if (v->min < by.min)
        v->min = by.min;
    if (v->max > by.max)
        v->max = by.max;
    return v->min <= v->max;
}

static bool ours(int api, struct versions *out)
{
    const struct message *request = schema_find(api, true), *response = schema_find(api, false);
    if (!request || !response)
        return false;
    *out = request->versions;
    return cut(out, response->versions);
}

bool cluster_common(const struct broker *b, int api, struct versions *out)
{
    return b->versions_known && api >= 0 && api < CLUSTER_APIS && ours(api, out) &&
           cut(out, b->versions[api]);
}

void cluster_recompute(struct cluster *c)
{
    struct versions v[CLUSTER_APIS];
    unsigned known = 0;
    if (c->closing)
        return;
    for (int i = 0; i < CLUSTER_APIS; i++)
        if (!ours(i, &v[i]))
            v[i] = (struct versions){1, 0};
    c->nup = c->nnew = 0;
    for (unsigned i = 0; i < c->nbrokers; i++) {
        const struct broker *b = c->brokers[i];
        if (b->id < 0 || !b->listed)
            continue;
        c->nup += b->state == BROKER_UP;
        c->nnew += b->state == BROKER_NEW;
        /* A broker that is away for a moment still counts while the cluster lists it, so that what
         * clients are told does not change with every lost connection. */
        if (!b->versions_known)
            continue;
        known++;
        for (int k = 0; k < CLUSTER_APIS; k++)
            (void)cut(&v[k], b->versions[k]);
    }
    if (known)
        memcpy(c->versions, v, sizeof(v));
}

bool cluster_versions(const struct cluster *c, int api, struct versions *out)
{
    if (api < 0 || api >= CLUSTER_APIS || c->versions[api].min > c->versions[api].max)
        return false;
    *out = c->versions[api];
    return true;
}

bool cluster_ready(const struct cluster *c)
{
    return c->has_metadata && c->nup && (!c->nnew || loop_now_us(c->loop) >= c->settled_us);
}

const char *cluster_trouble(const struct cluster *c)
{
    if (cluster_ready(c))
        return "";
    if (c->config->upstream.mechanism == SASL_OAUTHBEARER && !c->token)
        return "there is no token for the brokers yet";
    switch (c->trouble) {
    case OK:
    case ERR_BUSY:
        return "the brokers are being asked";
    case ERR_DENIED:
        return "the brokers refuse our credentials";
    case ERR_TLS:
        return "TLS with the brokers fails";
    case ERR_TIMEOUT:
        return "no broker answers in time";
    case ERR_MALFORMED:
    case ERR_VERSION:
        return "the brokers' answers cannot be used";
    default:
        return "no broker can be reached";
    }
}

int64_t cluster_features(const struct cluster *c,
                         void (*fn)(void *arg, const char *name, int16_t min, int16_t max),
                         void *arg)
{
    for (unsigned i = 0; i < c->nfeatures; i++)
        fn(arg, c->features[i].name, c->features[i].min, c->features[i].max);
    return c->features_epoch;
}

/* --- brokers */

int32_t cluster_any_broker(const struct cluster *c, int32_t prefer)
{
    const struct broker *b = broker_find(c, prefer);
    if (b && b->listed && b->id >= 0 && b->state == BROKER_UP)
        return prefer;
    if (!c->nup)
        return -1;
    /* Spread by chance: sessions that have no preference should not all meet the first one. */
    uint64_t skip = loop_now_us(c->loop) % c->nup;
    for (unsigned i = 0; i < c->nbrokers; i++) {
        b = c->brokers[i];
        if (b->id >= 0 && b->listed && b->state == BROKER_UP && skip-- == 0)
            return b->id;
    }
    return -1;
}

bool cluster_has_broker(const struct cluster *c, int32_t id)
{
    const struct broker *b = id >= 0 ? broker_find(c, id) : NULL;
    return b && b->listed;
}

unsigned cluster_brokers(const struct cluster *c, int32_t *ids, unsigned max)
{
    unsigned n = 0;
    for (unsigned i = 0; i < c->nbrokers && n < max; i++)
        if (c->brokers[i]->id >= 0 && c->brokers[i]->listed)
            ids[n++] = c->brokers[i]->id;
    return n;
}

const struct cluster_stats *cluster_stats(const struct cluster *c)
{
    return &c->stats;
}

void cluster_stale(struct cluster *c)
{
    refresh_want(c);
}
