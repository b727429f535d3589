/* Coordinators: a bounded cache, and the questions under way. */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "codec/reply.h"
#include "codec/msg.h"
#include "proxy/cluster_priv.h"

#define API_FIND_COORDINATOR 10
#define ARENA_BYTES          ((size_t)128 * 1024)
#define KEY_MAX              INT16_MAX
/* Between two tries of one question: so much more each time, up to the second. */
#define AGAIN_STEP_US 50000
#define AGAIN_MAX_US  500000

struct coordinator {
    struct hash_entry entry;
    struct coordinator *next, **prev; /* oldest first */
    int32_t node;
    int kind;
    size_t len;
    uint8_t key[];
};

/* A question: lives while somebody waits for it, and then until its call has ended. */
struct lookup {
    struct hash_entry entry;
    struct lookup *next, **prev;
    struct cluster *cluster;
    const struct broker *broker; /* that was asked */
    struct cluster_wait *waits;
    struct upstream_call call;
    struct loop_timer *again;
    bool asked;
    unsigned tries;
    int last_error; /* Kafka's, 0: none yet */
    int kind;
    size_t len;
    uint8_t key[];
};

static const struct upstream_call_events lookup_events;

int coordinators_init(struct cluster *c)
{
    c->newest = &c->oldest;
    int e = hash_init(&c->coordinators);
    return e ? e : hash_init(&c->lookups);
}

/* --- the cache */

static struct coordinator *coordinator_find(const struct cluster *c, int kind, const void *key,
                                            size_t n)
{
    for (struct hash_entry *e = hash_first(&c->coordinators, hash_value(&c->coordinators, key, n));
         e; e = hash_next(e)) {
        struct coordinator *k =
            (struct coordinator *)((char *)e - offsetof(struct coordinator, entry));
        if (k->kind == kind && k->len == n && !memcmp(k->key, key, n))
            return k;
    }
    return NULL;
}

static void coordinator_drop(struct cluster *c, struct coordinator *k)
{
    hash_remove(&c->coordinators, &k->entry);
    *k->prev = k->next;
    if (k->next)
        k->next->prev = k->prev;
    else
        c->newest = k->prev;
    c->ncoordinators--;
    sl_free(k);
}

static int coordinator_put(struct cluster *c, int kind, const void *key, size_t n, int32_t node)
{
    struct coordinator *k = coordinator_find(c, kind, key, n);
    if (k)
        coordinator_drop(c, k);
    k = sl_calloc(1, sizeof(*k) + n);
    if (!k)
        return ERR_NOMEM;
    if (c->ncoordinators >= CLUSTER_COORDINATORS_MAX)
        coordinator_drop(c, c->oldest);
    k->node = node;
    k->kind = kind;
    k->len = n;
    memcpy(k->key, key, n);
    hash_add(&c->coordinators, &k->entry, hash_value(&c->coordinators, key, n));
    k->prev = c->newest;
    *c->newest = k;
    c->newest = &k->next;
    c->ncoordinators++;
    return OK;
}

int32_t cluster_coordinator(const struct cluster *c, int kind, const void *key, size_t n)
{
    const struct coordinator *k = coordinator_find(c, kind, key, n);
    return k && cluster_has_broker(c, k->node) ? k->node : -1;
}

void cluster_forget_coordinator(struct cluster *c, int kind, const void *key, size_t n)
{
    struct coordinator *k = coordinator_find(c, kind, key, n);
    if (k)
        coordinator_drop(c, k);
}

/* --- questions */

static void lookup_free(struct lookup *l)
{
    struct cluster *c = l->cluster;
    hash_remove(&c->lookups, &l->entry);
    *l->prev = l->next;
    if (l->next)
        l->next->prev = l->prev;
    c->nlookups--;
    buf_release(&l->call.body);
    loop_timer_free(l->again);
    sl_free(l);
}

void coordinators_release(struct cluster *c)
{
    struct lookup *next;
    for (struct lookup *l = c->first_lookup; l; l = next) {
        next = l->next;
        while (l->waits)
            cluster_wait_cancel(l->waits);
        if (l->asked && !upstream_cancel(&l->call) && l->broker->probe)
            upstream_close(l->broker->probe, false);
        lookup_free(l);
    }
    while (c->oldest)
        coordinator_drop(c, c->oldest);
    hash_release(&c->lookups);
    hash_release(&c->coordinators);
}

/* The end of a question: everybody who waits for it hears the result. */
static void lookup_end(struct lookup *l, int result)
{
    /* The list as it is: those who waited first are called first. */
    struct cluster_wait *waits = l->waits;
    if (waits)
        waits->prev = &waits;
    l->waits = NULL;
    /* It goes first: a waiter may ask the same again. */
    lookup_free(l);
    cluster_wait_fire(&waits, UINT64_MAX, result);
}

static void lookup_later(struct lookup *l)
{
    uint64_t pause_us = AGAIN_STEP_US * (uint64_t)(l->tries < 10 ? l->tries + 1 : 10);
    l->asked = false;
    l->tries++;
    if (!l->waits)
        lookup_free(l);
    else if (loop_timer_set(l->again, pause_us < AGAIN_MAX_US ? pause_us : AGAIN_MAX_US))
        lookup_end(l, ERR_NOMEM);
}

static int lookup_encode(struct lookup *l)
{
    struct arena a;
    struct msg m;
    arena_init(&a, ARENA_BYTES);
    int e = msg_new(&m, &a, schema_find(API_FIND_COORDINATOR, true), l->call.version);
    if (!e)
        e = node_set_num(&m, m.root, F_KEY_TYPE, l->kind);
    if (!e && l->call.version < 4)
        e = node_set_str(&m, m.root, F_KEY, l->key, l->len);
    if (!e && l->call.version >= 4) {
        struct node *keys = node_array(&m, m.root, F_COORDINATOR_KEYS);
        e = keys ? array_add_str(&m, keys, l->key, l->len) : ERR_NOMEM;
    }
    if (!e)
        e = msg_encode(&m, &l->call.body);
    arena_release(&a);
    return e;
}

static void lookup_ask(struct lookup *l)
{
    struct cluster *c = l->cluster;
    struct broker *b = probe_pick(c);
    struct versions v;
    if (!b) {
        lookup_later(l);
        return;
    }
    if (!cluster_common(b, API_FIND_COORDINATOR, &v) ||
        (l->kind != COORDINATOR_GROUP && v.max < 1)) {
        lookup_end(l, ERR_VERSION);
        return;
    }
    buf_release(&l->call.body);
    l->call = (struct upstream_call){
        .events = &lookup_events,
        .arg = l,
        .api = API_FIND_COORDINATOR,
        .version = v.max,
        .client_id = "sluice",
    };
    buf_init(&l->call.body, SIZE_MAX);
    c->stats.coordinator_lookups++;
    l->broker = b;
    int e = lookup_encode(l);
    if (!e)
        e = upstream_send(b->probe, &l->call);
    if (e)
        lookup_later(l);
    else
        l->asked = true;
}

static void again_timer(void *arg)
{
    struct lookup *l = arg;
    if (l->waits)
        lookup_ask(l);
    else
        lookup_free(l);
}

/* The error and the node of an answer; ERR_MALFORMED when it isn't about our key. */
static int lookup_read(const struct lookup *l, const struct msg *m, int *error, int32_t *node)
{
    const struct node *at = m->root;
    if (l->call.version >= 4) {
        const struct node *list = node_get(m->root, F_COORDINATORS);
        at = list && list->count == 1 ? list->child : NULL;
        const struct node *key = at ? node_get(at, F_KEY) : NULL;
        if (!key || key->u.str.len != l->len || memcmp(key->u.str.p, l->key, l->len) != 0)
            return ERR_MALFORMED;
    }
    *error = (int)node_num(at, F_ERROR_CODE, -1);
    *node = (int32_t)node_num(at, F_NODE_ID, -1);
    return *error < 0 || (!*error && *node < 0) ? ERR_MALFORMED : OK;
}

static bool retriable(int error)
{
    return error == KAFKA_COORDINATOR_LOAD_IN_PROGRESS ||
           error == KAFKA_COORDINATOR_NOT_AVAILABLE || error == KAFKA_NOT_COORDINATOR;
}

static void lookup_answer(struct upstream_call *call, struct buf *frame, size_t body_off)
{
    struct lookup *l = call->arg;
    struct cluster *c = l->cluster;
    struct arena a;
    struct msg m;
    int error = 0;
    int32_t node = -1;
    l->asked = false;
    arena_init(&a, ARENA_BYTES);
    int e = msg_decode(&m, &a, schema_find(API_FIND_COORDINATOR, false), call->version, frame,
                       body_off, frame->len - body_off, NULL);
    if (!e)
        e = lookup_read(l, &m, &error, &node);
    arena_release(&a);
    if (e) {
        /* Another broker, or this one in another state, may do better. */
        if (!l->tries)
            log_warn("cluster", "broker %d: its FindCoordinator answer is malformed",
                     (int)l->broker->id);
        lookup_later(l);
    } else if (retriable(error)) {
        l->last_error = error;
        lookup_later(l);
    } else if (error) {
        lookup_end(l, error);
    } else {
        e = coordinator_put(c, l->kind, l->key, l->len, node);
        if (!cluster_has_broker(c, node)) {
            /* Newer than our metadata: what it names is listed soon. */
            refresh_want(c);
            l->last_error = KAFKA_COORDINATOR_NOT_AVAILABLE;
            lookup_later(l);
        } else {
            lookup_end(l, e);
        }
    }
}

static void lookup_failed(struct upstream_call *call, int why, bool sent)
{
    (void)why;
    (void)sent;
    lookup_later(call->arg);
}

static const struct upstream_call_events lookup_events = {
    .answer = lookup_answer,
    .failed = lookup_failed,
};

void coordinators_broker_gone(struct cluster *c, const struct broker *b)
{
    struct lookup *next;
    for (struct lookup *l = c->first_lookup; l; l = next) {
        next = l->next;
        if (l->asked && l->broker == b)
            lookup_later(l);
    }
}

void coordinators_expire(struct cluster *c, uint64_t now_us)
{
    /* Questions are freed by their own calls and timers, never by a waiter that is called here. */
    for (struct lookup *l = c->first_lookup; l; l = l->next)
        cluster_wait_expire(&l->waits, now_us, l->last_error ? l->last_error : ERR_TIMEOUT);
}

void coordinators_deadlines(struct cluster *c)
{
    for (const struct lookup *l = c->first_lookup; l; l = l->next)
        cluster_wait_deadlines(c, l->waits);
}

static struct lookup *lookup_find(const struct cluster *c, int kind, const void *key, size_t n)
{
    for (struct hash_entry *e = hash_first(&c->lookups, hash_value(&c->lookups, key, n)); e;
         e = hash_next(e)) {
        struct lookup *l = (struct lookup *)((char *)e - offsetof(struct lookup, entry));
        if (l->kind == kind && l->len == n && !memcmp(l->key, key, n))
            return l;
    }
    return NULL;
}

static struct lookup *lookup_new(struct cluster *c, int kind, const void *key, size_t n)
{
    if (c->nlookups >= CLUSTER_LOOKUPS_MAX || n > KEY_MAX)
        return NULL;
    struct lookup *l = sl_calloc(1, sizeof(*l) + n);
    if (!l)
        return NULL;
    l->again = loop_timer_new(c->loop, again_timer, l);
    if (!l->again || loop_timer_set(l->again, 0)) {
        loop_timer_free(l->again);
        sl_free(l);
        return NULL;
    }
    l->cluster = c;
    l->kind = kind;
    l->len = n;
    memcpy(l->key, key, n);
    hash_add(&c->lookups, &l->entry, hash_value(&c->lookups, key, n));
    l->next = c->first_lookup;
    if (l->next)
        l->next->prev = &l->next;
    l->prev = &c->first_lookup;
    c->first_lookup = l;
    c->nlookups++;
    return l;
}

void cluster_find_coordinator(struct cluster *c, int kind, const void *key, size_t n,
                              struct cluster_wait *w, uint64_t timeout_us)
{
    uint64_t now_us = loop_now_us(c->loop);
    struct lookup *l = lookup_find(c, kind, key, n);
    if (!l)
        l = lookup_new(c, kind, key, n);
    w->round = 0;
    if (l) {
        w->deadline_us = now_us + timeout_us;
        cluster_wait_put(&l->waits, w);
    } else {
        /* Too many at once: it hears so in the next turn. */
        w->deadline_us = now_us;
        cluster_wait_put(&c->refused, w);
    }
    cluster_wait_deadline(c, w->deadline_us);
}
