/* One leader's share of a Fetch: asked upstream without a session (KIP-227 sessions are keyed by id
 * alone, and every upstream connection has the same principal), its answer held whole when small,
 * left in the socket when large, or parked for the client's next Fetch. */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "proxy/fetch_priv.h"

/* Where max_wait_ms stands in an encoded request: behind the replica id, which version 15 lacks.
 * min_bytes and max_bytes follow it. */
static size_t wait_offset(int version)
{
    return version < 15 ? 4 : 0;
}

/* What a held answer's tree may take: its size is bounded, its elements by their bytes. */
#define LEG_ARENA_BYTES ((size_t)32 * 1024 * 1024)

static void put_be32(struct buf *b, size_t off, int32_t v)
{
    uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

    buf_overwrite(b, off, bytes, sizeof(bytes));
}

static bool buf_equal(const struct buf *a, const struct buf *b)
{
    uint8_t x[512], y[512];

    if (a->len != b->len)
        return false;
    for (size_t off = 0; off < a->len;) {
        size_t n = a->len - off < sizeof(x) ? a->len - off : sizeof(x);
        buf_copy_out(a, off, x, n);
        buf_copy_out(b, off, y, n);
        if (memcmp(x, y, n) != 0)
            return false;
        off += n;
    }
    return true;
}

static int buf_copy(struct buf *dst, const struct buf *src)
{
    uint8_t x[512];
    int rc = OK;

    for (size_t off = 0; off < src->len && rc == OK;) {
        size_t n = src->len - off < sizeof(x) ? src->len - off : sizeof(x);
        buf_copy_out(src, off, x, n);
        rc = buf_append(dst, x, n);
        off += n;
    }
    return rc;
}

/* --- the answer */

static bool same_topic(const struct node *a, const struct node *b)
{
    const struct node *id = node_role(a, ROLE_TOPIC_ID), *theirs = node_role(b, ROLE_TOPIC_ID);

    if (id && theirs)
        return memcmp(id->u.uuid, theirs->u.uuid, 16) == 0;
    return node_str_eq(node_role(a, ROLE_TOPIC), node_role(b, ROLE_TOPIC));
}

struct node *leg_topic(const struct node *topics, struct node **at, const struct node *like)
{
    struct node *t = *at && same_topic(*at, like) ? *at : topics->child;

    while (t && !same_topic(t, like))
        t = t->next;
    if (t)
        *at = t->next;
    return t;
}

struct node *leg_partition(struct node *topic, struct node **at, int64_t index)
{
    struct node *p =
        *at && node_num(*at, F_PARTITION, -1) == index ? *at : node_get(topic, F_PARTITIONS)->child;

    while (p && node_num(p, F_PARTITION, -1) != index)
        p = p->next;
    if (!p || p->mark)
        return NULL;
    p->mark = true;
    *at = p->next;
    return p;
}

static bool partition_has_news(const struct node *p)
{
    const struct node *records = node_get(p, F_RECORDS);
    const struct node *diverging = node_get(p, F_DIVERGING_EPOCH);

    return node_num(p, F_ERROR_CODE, 0) != KAFKA_NONE ||
           (records && records->u.records && records->u.records->len > 0) ||
           (diverging && node_num(diverging, F_EPOCH, -1) >= 0);
}

static unsigned count_partitions(const struct node *topics)
{
    unsigned n = 0;

    ARRAY_EACH (t, topics) {
        const struct node *p = node_get(t, F_PARTITIONS);
        n += p ? p->count : 0;
    }
    return n;
}

/* What a whole answer means. It must hold exactly what was asked for, or nothing at all (a
 * throttled leader): anything else would be an answer to another question. A topic may stand there
 * twice, since brokers put partitions with errors last. */
static enum leg_state judge(struct leg *l, const struct node *asked)
{
    const struct node *topics = node_get(l->answer.root, F_RESPONSES);
    int64_t error = node_num(l->answer.root, F_ERROR_CODE, KAFKA_NONE);
    struct node *at = NULL;
    bool news = false;

    if (error != KAFKA_NONE) {
        l->error = KAFKA_NOT_LEADER_OR_FOLLOWER;
        return LEG_FAILED;
    }
    if (topics->count == 0)
        return LEG_EMPTY;
    ARRAY_EACH (t, topics) {
        struct node *question = leg_topic(asked, &at, t), *place = NULL;
        if (!question)
            return LEG_WAITING;
        place = node_get(question, F_PARTITIONS)->child;
        ARRAY_EACH (p, node_get(t, F_PARTITIONS)) {
            if (!leg_partition(question, &place, node_num(p, F_PARTITION_INDEX, -1)))
                return LEG_WAITING;
            news = news || partition_has_news(p);
        }
    }
    if (count_partitions(topics) != count_partitions(asked))
        return LEG_WAITING;
    return news ? LEG_READY : LEG_EMPTY;
}

static void bad_answer(struct leg *l, const char *why)
{
    session_bad_answer(l->room->s, "Fetch", l->version, why);
}

static void answer_whole(struct leg *l)
{
    struct msg_error e = {"malformed answer", 0};
    struct msg asked;
    int rc = msg_decode(&l->answer, &l->arena, schema_find(1, false), l->version, &l->frame, 0,
                        l->frame.len, &e);

    l->calling = false;
    if (rc == OK)
        rc = msg_decode(&asked, &l->arena, schema_find(1, true), l->version, &l->key, 0, l->key.len,
                        &e);
    if (rc == ERR_MALFORMED) {
        bad_answer(l, e.why);
        return;
    }
    if (rc != OK) {
        session_close(l->room->s, "out of memory", false);
        return;
    }
    l->state = judge(l, node_get(asked.root, F_TOPICS));
    if (l->state == LEG_WAITING) {
        bad_answer(l, "not the partitions that were asked for");
        return;
    }
    if (l->state == LEG_EMPTY) /* its watermarks are known even if it is asked again */
        marks_note(l->room, &l->answer);
    if (l->part)
        fetch_evaluate(l->room);
}

static void ask(struct leg *l, int64_t wait_ms);

static int64_t time_left_ms(const struct fetch_room *r)
{
    uint64_t now = loop_now_us(r->s->gate->loop);

    return r->ex && r->deadline_us > now ? (int64_t)((r->deadline_us - now) / 1000) : 0;
}

/* Ends the connection under an answer that nobody can use. What else was asked over it is asked
 * anew, if somebody still waits for it. */
static void reconnect(struct fetch_room *r, int32_t broker)
{
    struct leg *next;

    session_drop_upstream(r->s, broker, UPSTREAM_FETCH, false);
    for (struct leg *l = r->legs; l; l = next) {
        next = l->next;
        if (l->broker != broker || !l->calling)
            continue;
        l->calling = false;
        if (l->part)
            ask(l, time_left_ms(r));
        else
            leg_free(l);
    }
    fetch_evaluate(r);
}

static void drop_unwanted(struct leg *l, struct buf *in, uint64_t *taken)
{
    struct fetch_room *r = l->room;
    uint64_t left = l->body_len - *taken;
    size_t n = in->len < left ? in->len : (size_t)left;
    int32_t broker = l->broker;

    if (l->body_len > FETCH_DRAIN_BYTES) {
        reconnect(r, broker); /* frees this leg, once its call is off the connection */
        return;
    }
    buf_drain(in, n);
    *taken += n;
    if (*taken == l->body_len) {
        l->calling = false;
        leg_free(l);
    }
}

/* A large answer: it streams if its beginning has the shape, else it is held, else asked for again
 * in small. */
static void judge_large(struct leg *l, struct buf *in)
{
    struct answer_head h;

    if (stream_head(in, l->version, &h) != OK)
        return;
    if (h.error == KAFKA_NONE && h.topics == l->topics) {
        l->state = LEG_LARGE;
        if (l->part)
            fetch_evaluate(l->room);
    } else if (l->body_len <= l->room->s->gate->config->limits.response_bytes) {
        l->held = true;
    } else if (!l->again) {
        l->again = true;
        reconnect(l->room, l->broker);
    } else {
        bad_answer(l, "too large, and not of a shape that streams");
    }
}

/* Somebody waits for an answer that comes over the same connection behind this one. */
static bool in_the_way(const struct leg *l)
{
    for (const struct leg *o = l->room->legs; o; o = o->next)
        if (o != l && o->broker == l->broker && o->calling && o->part)
            return true;
    return false;
}

static bool has_leg(const struct fetch_room *r, const struct leg *leg)
{
    for (const struct leg *l = r->legs; l; l = l->next)
        if (l == leg)
            return true;
    return false;
}

static void on_data(struct upstream_call *c, struct buf *in, uint64_t body_len, uint64_t *taken)
{
    struct leg *l = c->arg;
    struct fetch_room *r = l->room;

    l->body_len = body_len;
    /* A large answer that is parked would stay in the connection. */
    if (!l->part && body_len > FETCH_SMALL_BYTES && in_the_way(l))
        l->discard = true;
    if (l->discard) {
        drop_unwanted(l, in, taken);
        return;
    }
    if (l->state == LEG_WAITING && body_len > FETCH_SMALL_BYTES && !l->held) {
        struct session *s = r->s;
        const struct upstream *up = l->up;
        judge_large(l, in);
        if (s->state == SESSION_CLOSED || !has_leg(r, l) || l->up != up || !l->calling)
            return;
    }
    if (r->stream.leg == l) {
        stream_data(r, in, taken);
    } else if (body_len <= FETCH_SMALL_BYTES || l->held) {
        uint64_t left = body_len - *taken;
        size_t n = in->len < left ? in->len : (size_t)left;
        if (buf_gather(&l->frame, in, n) != OK) {
            session_close(r->s, "out of memory", false);
            return;
        }
        *taken += n;
        if (*taken == body_len)
            answer_whole(l);
    }
}

static void on_failed(struct upstream_call *c, int why, bool sent)
{
    struct leg *l = c->arg;
    struct fetch_room *r = l->room;

    (void)sent;
    l->calling = false;
    l->up = NULL;
    if (l->discard) {
        leg_free(l);
        return;
    }
    gate_count(r->s->gate, upstream_failures, 1);
    if (why == ERR_MALFORMED) {
        bad_answer(l, "an answer out of place, oversized or malformed");
        return;
    }
    if (r->stream.leg == l) {
        session_close(r->s, "a broker was lost in the middle of an answer", true);
        return;
    }
    cluster_stale(r->s->gate->cluster);
    l->state = LEG_FAILED;
    l->error = KAFKA_NOT_LEADER_OR_FOLLOWER;
    if (l->part)
        fetch_evaluate(r);
    else
        leg_free(l);
}

static const struct upstream_call_events leg_events = {.data = on_data, .failed = on_failed};

/* --- asking */

static void ask(struct leg *l, int64_t wait_ms)
{
    struct session *s = l->room->s;
    size_t off = wait_offset(l->version);
    int rc;

    arena_clear(&l->arena);
    buf_release(&l->frame);
    l->answer.root = NULL;
    l->state = LEG_WAITING;
    l->calling = false;
    l->held = false;
    l->asks++;
    l->body_len = 0;
    memset(&l->call, 0, sizeof(l->call));
    buf_init(&l->call.body, SIZE_MAX);
    l->call.events = &leg_events;
    l->call.arg = l;
    l->call.api = 1;
    l->call.version = l->version;
    l->call.stream = true;
    l->call.client_id = s->client_id[0] ? s->client_id : NULL;
    l->call.deadline_us = loop_now_us(s->gate->loop) + (uint64_t)wait_ms * 1000 +
                          (uint64_t)s->gate->config->upstream.request_timeout_ms * 1000;
    rc = buf_copy(&l->call.body, &l->key);
    if (rc == OK) {
        put_be32(&l->call.body, off, (int32_t)wait_ms);
        if (l->again)
            put_be32(&l->call.body, off + 8, FETCH_SMALL_BYTES / 2);
        l->up = session_upstream(s, l->broker, UPSTREAM_FETCH);
        rc = l->up ? upstream_send(l->up, &l->call) : ERR_UNKNOWN;
    }
    if (rc == OK) {
        l->calling = true;
        return;
    }
    buf_release(&l->call.body);
    l->up = NULL;
    l->state = LEG_FAILED;
    l->error = KAFKA_NOT_LEADER_OR_FOLLOWER;
    cluster_stale(s->gate->cluster);
}

/* What else than the request the answer depends on: a topic that was made anew, another leader
 * epoch. FNV-1a. */
static uint64_t make_stamp(const struct fetch_room *r, const struct part *p)
{
    uint64_t h = 14695981039346656037u;

    ARRAY_EACH (t, node_get(p->request.root, F_TOPICS)) {
        const struct topic_info *info = route_topic(r->ex, t);
        for (unsigned i = 0; info && i < sizeof(info->id); i++)
            h = (h ^ info->id[i]) * 1099511628211u;
        ARRAY_EACH (q, node_get(t, F_PARTITIONS)) {
            int64_t i = node_num(q, F_PARTITION, -1);
            if (info && i >= 0 && i < info->npartitions)
                h = (h ^ (uint32_t)info->partitions[i].epoch) * 1099511628211u;
        }
    }
    return h;
}

/* The parked leg that asked the same. */
static struct leg *find_equal(struct fetch_room *r, const struct part *p, const struct buf *key,
                              uint64_t stamp)
{
    for (struct leg *l = r->legs; l; l = l->next)
        if (!l->part && !l->discard && l->broker == p->broker && l->version == p->request.version &&
            l->stamp == stamp && buf_equal(&l->key, key))
            return l;
    return NULL;
}

/* Before another question goes to this leader: a large answer would stand in its way, and of the
 * others only so many are kept. The newest stand first. */
static void make_way(struct fetch_room *r, int32_t broker)
{
    struct leg *next;
    unsigned parked = 0;

    for (struct leg *l = r->legs; l; l = next) {
        next = l->next;
        if (l->broker == broker && !l->part && !l->discard &&
            (l->state == LEG_LARGE || ++parked >= FETCH_PARKED_MAX))
            leg_discard(l);
    }
}

/* Takes the key over. */
static struct leg *leg_new(struct fetch_room *r, struct part *p, struct buf *key, uint64_t stamp)
{
    struct leg *l = sl_calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    l->room = r;
    l->broker = p->broker;
    l->part = p;
    l->version = p->request.version;
    l->key = *key; /* a buf is moved by value: nothing points into it */
    l->stamp = stamp;
    l->topics = node_get(p->request.root, F_TOPICS)->count;
    arena_init(&l->arena, LEG_ARENA_BYTES);
    buf_init(&l->frame, SIZE_MAX);
    l->next = r->legs;
    r->legs = l;
    return l;
}

struct leg *leg_attach(struct fetch_room *r, struct part *p)
{
    uint64_t stamp = make_stamp(r, p);
    struct leg *l = NULL;
    struct buf key;
    int rc;

    buf_init(&key, SIZE_MAX);
    rc = node_set_num(&p->request, p->request.root, F_MAX_WAIT_MS, 0);
    if (rc == OK)
        rc = msg_encode(&p->request, &key);
    if (rc == OK)
        l = find_equal(r, p, &key, stamp);
    if (l) {
        l->part = p;
        l->asks = 0;
        if (l->state == LEG_EMPTY)
            leg_again(l);
    } else if (rc == OK) {
        make_way(r, p->broker);
        l = leg_new(r, p, &key, stamp);
        if (l) {
            ask(l, time_left_ms(r));
            return l;
        }
    }
    buf_release(&key);
    return l;
}

void leg_again(struct leg *l)
{
    ask(l, time_left_ms(l->room));
}

void leg_done(struct leg *l)
{
    if (l->calling)
        leg_discard(l);
    else
        leg_free(l);
}

void leg_discard(struct leg *l)
{
    l->part = NULL;
    if (!l->calling) {
        leg_free(l);
    } else if (upstream_cancel(&l->call)) {
        l->calling = false;
        leg_free(l);
    } else {
        l->discard = true;
        if (l->state == LEG_LARGE)
            upstream_resume(l->up);
    }
}

void leg_free(struct leg *l)
{
    struct leg **at = &l->room->legs;

    while (*at && *at != l)
        at = &(*at)->next;
    if (*at)
        *at = l->next;
    buf_release(&l->key);
    buf_release(&l->frame);
    buf_release(&l->call.body);
    arena_release(&l->arena);
    sl_free(l);
}
