/* Watched topics: names, ids, leaders; and Metadata answers, which are read by the walker since
 * they may tell of a million partitions. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "codec/reply.h"
#include "codec/walk.h"
#include "proxy/cluster_priv.h"

#define API_METADATA 3

static const uint8_t no_id[16];

int topics_init(struct cluster *c)
{
    int e = hash_init(&c->topics);
    return e ? e : hash_init(&c->topic_ids);
}

/* --- watching */

static struct topic *topic_find(const struct cluster *c, const void *name, size_t n)
{
    if (!c->topics.buckets)
        return NULL;
    for (struct hash_entry *e = hash_first(&c->topics, hash_value(&c->topics, name, n)); e;
         e = hash_next(e)) {
        struct topic *t = (struct topic *)((char *)e - offsetof(struct topic, by_name));
        if (t->name_len == n && !memcmp(t->name, name, n))
            return t;
    }
    return NULL;
}

static void topic_link(struct cluster *c, struct topic *t)
{
    t->next = NULL;
    t->prev = c->last_topic;
    *c->last_topic = t;
    c->last_topic = &t->next;
}

static void topic_unlink(struct cluster *c, struct topic *t)
{
    *t->prev = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        c->last_topic = t->prev;
}

static void id_forget(struct cluster *c, struct topic_id *id)
{
    if (id->topic)
        hash_remove(&c->topic_ids, &id->entry);
    id->topic = NULL;
}

static void topic_free(struct cluster *c, struct topic *t)
{
    topic_unlink(c, t);
    hash_remove(&c->topics, &t->by_name);
    id_forget(c, &t->ids[0]);
    id_forget(c, &t->ids[1]);
    c->ntopics--;
    c->npartitions -= (uint64_t)t->info.npartitions;
    sl_free(t->partitions);
    sl_free(t);
}

void topics_release(struct cluster *c)
{
    while (c->first_topic)
        topic_free(c, c->first_topic);
    hash_release(&c->topics);
    hash_release(&c->topic_ids);
}

void topics_sweep(struct cluster *c)
{
    uint64_t now_us = loop_now_us(c->loop);
    struct topic *next;
    for (struct topic *t = c->first_topic; t; t = next) {
        next = t->next;
        if (!t->watchers && now_us - t->unwatched_us >= CLUSTER_LINGER_US)
            topic_free(c, t);
    }
}

/* Makes room by dropping a topic that nobody watches; false: all are watched. */
static bool topics_evict(struct cluster *c)
{
    struct topic *oldest = NULL;
    for (struct topic *t = c->first_topic; t; t = t->next)
        if (!t->watchers && (!oldest || t->unwatched_us < oldest->unwatched_us))
            oldest = t;
    if (oldest)
        topic_free(c, oldest);
    return oldest != NULL;
}

int cluster_watch(struct cluster *c, const char *name)
{
    size_t n = strlen(name);
    struct topic *t = topic_find(c, name, n);
    if (t) {
        t->watchers++;
        return OK;
    }
    if (!n || n > CLUSTER_TOPIC_NAME_MAX)
        return ERR_LIMIT;
    if (c->ntopics >= CLUSTER_TOPICS_MAX && !topics_evict(c))
        return ERR_LIMIT;
    t = sl_calloc(1, sizeof(*t) + n + 1);
    if (!t)
        return ERR_NOMEM;
    memcpy(t->name, name, n);
    t->name_len = n;
    t->watchers = 1;
    t->info.name = t->name;
    hash_add(&c->topics, &t->by_name, hash_value(&c->topics, name, n));
    topic_link(c, t);
    c->ntopics++;
    refresh_want(c);
    return OK;
}

void cluster_unwatch(struct cluster *c, const char *name)
{
    struct topic *t = topic_find(c, name, strlen(name));
    if (!t || !t->watchers)
        return;
    if (--t->watchers == 0)
        t->unwatched_us = loop_now_us(c->loop);
}

const struct topic_info *cluster_topic(const struct cluster *c, const void *name, size_t n)
{
    const struct topic *t = topic_find(c, name, n);
    return t && t->watchers ? &t->info : NULL;
}

const struct topic_info *cluster_topic_by_id(const struct cluster *c, const uint8_t id[16])
{
    for (struct hash_entry *e = hash_first(&c->topic_ids, hash_value(&c->topic_ids, id, 16)); e;
         e = hash_next(e)) {
        const struct topic_id *t =
            (struct topic_id *)((char *)e - offsetof(struct topic_id, entry));
        if (!memcmp(t->id, id, 16))
            return t->topic->watchers ? &t->topic->info : NULL;
    }
    return NULL;
}

bool topics_left(const struct cluster *c)
{
    return c->first_topic && c->first_topic->round != c->refresh.round;
}

struct topic *topics_next(struct cluster *c)
{
    if (!topics_left(c))
        return NULL;
    struct topic *t = c->first_topic;
    topic_unlink(c, t);
    topic_link(c, t);
    t->round = c->refresh.round;
    return t;
}

/* --- an answer */

struct taking {
    struct cluster *c;
    const struct buf *frame;
    size_t body_off;
    bool applying; /* the second pass; the first one only checks */
    bool overloaded;
    unsigned brokers;

    bool in_broker, in_topic, in_partition;
    int32_t node;
    int64_t port;
    char host[CLUSTER_HOST_MAX + 1];
    bool host_fits;

    struct topic *topic;
    int16_t topic_error;
    uint8_t id[16];
    struct partition_info *fresh;
    uint32_t nfresh;
    int32_t index;
    struct partition_info partition;
};

/* A host that goes into a log line and to the resolver: no spaces, no controls, not empty. */
static bool host_valid(const char *host)
{
    if (!*host)
        return false;
    for (; *host; host++)
        if (*host <= 0x20 || *host > 0x7e)
            return false;
    return true;
}

static void take_broker(struct taking *k)
{
    if (k->node < 0 || k->port < 1 || k->port > UINT16_MAX || !k->host_fits ||
        !host_valid(k->host) || k->brokers >= CLUSTER_BROKERS_MAX) {
        log_debug("cluster", "a broker in Metadata is passed over");
        return;
    }
    struct broker *b = broker_put(k->c, k->node, k->host, (uint16_t)k->port);
    if (!b)
        return;
    k->brokers++;
    b->listed = true;
    b->listed_by = k->c->refresh.answers;
}

/* All brokers have been read: those that aren't among them are gone, for now. An answer without
 * any broker tells nothing. */
static void take_brokers_end(struct taking *k)
{
    struct cluster *c = k->c;
    if (!k->brokers)
        return;
    for (unsigned i = c->nbrokers; i-- > 0;) {
        struct broker *b = c->brokers[i];
        if (b->id < 0 || !b->listed || b->listed_by == c->refresh.answers)
            continue;
        b->listed = false;
        log_info("cluster", "broker %d (%s:%u) is no longer listed", (int)b->id, b->host, b->port);
        probe_drop(b);
        b->state = BROKER_NEW;
        broker_release(b);
    }
}

static void take_id(struct taking *k)
{
    struct topic *t = k->topic;
    struct hash *ids = &k->c->topic_ids;
    if (!memcmp(k->id, no_id, sizeof(no_id)) || !memcmp(k->id, t->info.id, sizeof(no_id)))
        return;
    if (t->ids[0].topic) {
        id_forget(k->c, &t->ids[0]);
        id_forget(k->c, &t->ids[1]);
        memcpy(t->ids[1].id, t->ids[0].id, sizeof(no_id));
        t->ids[1].topic = t;
        hash_add(ids, &t->ids[1].entry, hash_value(ids, t->ids[1].id, sizeof(no_id)));
    }
    memcpy(t->ids[0].id, k->id, sizeof(no_id));
    memcpy(t->info.id, k->id, sizeof(no_id));
    t->ids[0].topic = t;
    hash_add(ids, &t->ids[0].entry, hash_value(ids, t->ids[0].id, sizeof(no_id)));
}

/* Metadata of a broker that lags behind: a leader epoch below the one known is old news (KIP-320),
 * unless the topic was made anew. */
static void keep_newer(struct taking *k)
{
    const struct topic *t = k->topic;
    bool anew = memcmp(k->id, no_id, 16) != 0 && memcmp(t->info.id, no_id, 16) != 0 &&
                memcmp(k->id, t->info.id, 16) != 0;
    for (uint32_t i = 0; !anew && i < k->nfresh && i < (uint32_t)t->info.npartitions; i++) {
        const struct partition_info *old = &t->partitions[i];
        if (old->epoch >= 0 && k->fresh[i].epoch >= 0 && k->fresh[i].epoch < old->epoch)
            k->fresh[i] = *old;
    }
}

static void take_topic(struct taking *k)
{
    struct topic *t = k->topic;
    struct cluster *c = k->c;
    if (!t)
        return;
    if (k->topic_error != t->info.error && k->topic_error &&
        k->topic_error != KAFKA_UNKNOWN_TOPIC_OR_PARTITION &&
        k->topic_error != KAFKA_LEADER_NOT_AVAILABLE)
        log_warn("cluster", "the brokers answer error %d for topic %s", (int)k->topic_error,
                 t->name);
    /* One that is gone forgets its epochs, so that its successor may start over. */
    bool gone = k->topic_error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    t->info.error = k->topic_error;
    t->info.known = true;
    c->refresh.missing |= gone;
    c->refresh.leaderless |= k->topic_error == KAFKA_LEADER_NOT_AVAILABLE;
    if (!gone && k->topic_error) {
        sl_free(k->fresh);
        k->fresh = NULL;
        return;
    }
    keep_newer(k);
    take_id(k);
    for (uint32_t i = 0; i < k->nfresh; i++)
        c->refresh.leaderless |= k->fresh[i].leader < 0;
    c->npartitions = c->npartitions - (uint64_t)t->info.npartitions + k->nfresh;
    sl_free(t->partitions);
    t->partitions = k->fresh;
    t->info.partitions = k->fresh;
    t->info.npartitions = (int32_t)k->nfresh;
    k->fresh = NULL;
}

static int take_partitions_begin(struct taking *k, uint32_t count)
{
    struct cluster *c = k->c;
    if (!k->topic || !count)
        return OK;
    if (c->npartitions - (uint64_t)k->topic->info.npartitions + count > CLUSTER_PARTITIONS_MAX) {
        log_warn("cluster", "topic %s has too many partitions for this gate", k->topic->name);
        k->topic = NULL;
        return OK;
    }
    k->fresh = sl_calloc(count, sizeof(*k->fresh));
    if (!k->fresh)
        return ERR_NOMEM;
    k->nfresh = count;
    for (uint32_t i = 0; i < count; i++)
        k->fresh[i] = (struct partition_info){-1, -1, KAFKA_LEADER_NOT_AVAILABLE};
    return OK;
}

static void take_partition(struct taking *k)
{
    if (!k->fresh || k->index < 0 || (uint32_t)k->index >= k->nfresh)
        return;
    k->fresh[k->index] = k->partition;
}

static int take_in(struct taking *k, const struct walk *w)
{
    switch ((int)w->field->id) {
    case F_BROKERS:
        k->in_broker = true;
        k->node = -1;
        k->port = 0;
        k->host_fits = false;
        return OK;
    case F_TOPICS:
        k->in_topic = true;
        k->topic = NULL;
        k->topic_error = 0;
        k->nfresh = 0;
        memset(k->id, 0, sizeof(k->id));
        return OK;
    case F_PARTITIONS:
        k->in_partition = true;
        k->index = -1;
        k->partition = (struct partition_info){-1, -1, 0};
        return OK;
    default:
        return OK;
    }
}

static void take_out(struct taking *k, const struct walk *w)
{
    switch ((int)w->field->id) {
    case F_BROKERS:
        k->in_broker = false;
        if (k->applying)
            take_broker(k);
        return;
    case F_TOPICS:
        k->in_topic = false;
        if (k->applying)
            take_topic(k);
        return;
    case F_PARTITIONS:
        k->in_partition = false;
        take_partition(k);
        return;
    default:
        return;
    }
}

static void take_scalar(struct taking *k, const struct walk *w)
{
    switch ((int)w->field->id) {
    case F_NODE_ID:
        k->node = (int32_t)w->value;
        return;
    case F_PORT:
        k->port = w->value;
        return;
    case F_ERROR_CODE:
        if (k->in_partition)
            k->partition.error = (int16_t)w->value;
        else if (k->in_topic)
            k->topic_error = (int16_t)w->value;
        else
            k->overloaded |= w->value != 0;
        return;
    case F_TOPIC_ID:
        memcpy(k->id, w->uuid, sizeof(k->id));
        return;
    case F_PARTITION_INDEX:
        k->index = (int32_t)w->value;
        return;
    case F_LEADER_ID:
        k->partition.leader = w->value < 0 ? -1 : (int32_t)w->value;
        return;
    case F_LEADER_EPOCH:
        k->partition.epoch = w->value < 0 ? -1 : (int32_t)w->value;
        return;
    default:
        return;
    }
}

static void take_blob(struct taking *k, const struct walk *w)
{
    char name[CLUSTER_TOPIC_NAME_MAX];
    /* Lies inside: the walker has checked it against the body's length, which the frame has. */
    size_t off = k->body_off + (size_t)w->blob_off, n = (size_t)w->blob_len;
    if (k->in_broker && w->field->id == F_HOST) {
        k->host_fits = n < sizeof(k->host);
        if (!k->host_fits)
            return;
        buf_copy_out(k->frame, off, k->host, n);
        k->host[n] = 0;
        k->host_fits = strlen(k->host) == n;
    } else if (k->in_topic && !k->in_partition && w->field->id == F_NAME && !w->null) {
        if (n > sizeof(name))
            return;
        buf_copy_out(k->frame, off, name, n);
        k->topic = topic_find(k->c, name, n);
    }
}

static int take_event(struct taking *k, const struct walk *w, enum walk_event event)
{
    switch (event) {
    case WALK_SCALAR:
        take_scalar(k, w);
        return OK;
    case WALK_BLOB:
        if (k->applying)
            take_blob(k, w);
        return OK;
    case WALK_STRUCT_IN:
        return take_in(k, w);
    case WALK_STRUCT_OUT:
        take_out(k, w);
        return OK;
    case WALK_ARRAY_IN:
        return k->applying && w->field->id == F_PARTITIONS ? take_partitions_begin(k, w->count)
                                                           : OK;
    case WALK_ARRAY_OUT:
        if (k->applying && w->field->id == F_BROKERS)
            take_brokers_end(k);
        return OK;
    case WALK_BAD:
        return ERR_MALFORMED;
    case WALK_MORE:
    case WALK_DONE:
    case WALK_UNKNOWN_TAG:
        return OK;
    }
    return ERR_MALFORMED;
}

/* One pass over the body, whose ranges are in iov. */
static int take_walk(struct taking *k, int version, const struct iovec *iov, int niov)
{
    struct walk w;
    size_t skip = k->body_off;
    int at = 0, e = OK;
    enum walk_event event;
    walk_start(&w, schema_find(API_METADATA, false), version, k->frame->len - k->body_off);
    do {
        event = walk_next(&w);
        e = take_event(k, &w, event);
        while (!e && event == WALK_MORE && at < niov && iov[at].iov_len <= skip)
            skip -= iov[at++].iov_len;
        if (!e && event == WALK_MORE) {
            if (at == niov)
                return ERR_MALFORMED;
            walk_feed(&w, (const uint8_t *)iov[at].iov_base + skip, iov[at].iov_len - skip);
            skip = 0;
            at++;
        }
    } while (!e && event != WALK_DONE);
    return e;
}

int topics_take(struct cluster *c, const struct buf *frame, size_t body_off, int version)
{
    struct taking k = {.c = c, .frame = frame, .body_off = body_off};
    int niov = 0;
    for (const struct seg *s = frame->first; s; s = s->next)
        niov++;
    if (niov == 0)
        return ERR_MALFORMED;
    struct iovec *iov = sl_calloc((size_t)niov, sizeof(*iov));
    if (!iov)
        return ERR_NOMEM;
    niov = buf_front(frame, iov, niov);
    int e = take_walk(&k, version, iov, niov);
    if (!e && k.overloaded)
        e = ERR_BUSY;
    if (!e) {
        k = (struct taking){.c = c, .frame = frame, .body_off = body_off, .applying = true};
        c->refresh.answers++;
        e = take_walk(&k, version, iov, niov);
        sl_free(k.fresh);
    }
    sl_free(iov);
    if (!e && !c->has_metadata && k.brokers) {
        c->has_metadata = true;
        c->settled_us =
            loop_now_us(c->loop) + (uint64_t)c->config->upstream.connect_timeout_ms * 1000;
    }
    cluster_recompute(c);
    probe_brokers(c);
    return e;
}
