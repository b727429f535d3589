/* A large Fetch answer on its way from one leader to the client. Its length is known before its
 * first byte leaves: the leader's own, plus the topics and partitions that are filled in for the
 * other leaders, whose places follow from the request.
 *
 *   leader:   head | n   |                  topic a | 2 | a0 a1 | topic b | 1 | b2 | tags
 *   client:   head | n+1 | topic c | 1 | c0 | topic a | 3 | a7 | a0 a1 | topic b | 1 | b2 | tags
 *                          ^front                           ^extra
 *
 * Records are moved, never copied. The walker reads along: it finds the places, checks that the
 * answer is what was asked for, and overwrites in place what a client must not see. */
#include <string.h>

#include "base/log.h"
#include "codec/read.h"
#include "proxy/fetch_priv.h"
#include "proxy/virtual.h"

#define STREAM_OUT_HIGH_BYTES ((size_t)256 * 1024)
#define TOPIC_NAME_MAX        249
/* Segments may be of a byte each: a held name's, and those of a scalar that has begun. */
#define SPANS_MAX (TOPIC_NAME_MAX + 32)

static bool flexible(int version)
{
    return version >= 12;
}

static size_t varint_len(uint32_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

/* An array's count as it stands in this version. */
static size_t count_len(int version, uint32_t count)
{
    return flexible(version) ? varint_len(count + 1) : 4;
}

static size_t put_count(uint8_t out[5], int version, uint32_t count)
{
    size_t n = 0;

    if (!flexible(version)) {
        for (; n < 4; n++)
            out[n] = (uint8_t)(count >> (24 - 8 * n));
        return n;
    }
    for (count++; count >= 0x80; count >>= 7)
        out[n++] = (uint8_t)(count | 0x80);
    out[n++] = (uint8_t)count;
    return n;
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int stream_head(const struct buf *in, int version, struct answer_head *h)
{
    uint8_t b[16];
    size_t have = in->len < sizeof(b) ? in->len : sizeof(b);
    size_t off = version >= 7 ? 10 : 4;
    uint32_t v = 0;

    if (have < sizeof(b))
        return ERR_AGAIN; /* no answer worth streaming is that short */
    buf_copy_out(in, 0, b, sizeof(b));
    h->throttle_ms = (int32_t)be32(b);
    h->error = version >= 7 ? (int16_t)((unsigned)b[4] << 8 | b[5]) : (int16_t)0;
    h->count_off = off;
    if (!flexible(version)) {
        h->topics = be32(b + off);
        h->count_len = 4;
        return OK;
    }
    for (h->count_len = 1; h->count_len <= 5; h->count_len++) {
        uint8_t c = b[off + h->count_len - 1];
        v |= (uint32_t)(c & 0x7f) << (7 * (h->count_len - 1));
        if (!(c & 0x80))
            break;
    }
    h->topics = v - 1; /* a malformed one equals nothing that was asked for; the walker sees it */
    return OK;
}

/* --- what is filled in */

static const struct node *leg_topics(const struct stream *st)
{
    return node_get(st->leg->part->request.root, F_TOPICS);
}

/* Encodes what the other leaders' partitions get: whole topics for the front, partitions of topics
 * that this leader has as well for their places. *grown: bytes that all this adds. */
static int fill(struct fetch_room *r, struct stream *st, uint64_t *grown)
{
    struct exchange *ex = r->ex;
    struct node *topics, *prev = NULL, *next, *at = NULL;
    int version = ex->head.version;
    uint32_t own = st->leg->topics;
    int rc = fetch_join(r, st->leg);

    if (rc != OK)
        return rc;
    topics = node_get(ex->reply.root, F_RESPONSES);
    for (struct node *t = topics->child; t && rc == OK; t = next) {
        const struct node *shared = leg_topic(leg_topics(st), &at, t);
        struct node *parts = node_get(t, F_PARTITIONS);
        struct stream_extra *e;
        uint32_t asked;
        next = t->next;
        if (!shared) {
            prev = t;
            continue;
        }
        e = arena_zalloc(&ex->arena, sizeof(*e));
        if (!e)
            return ERR_NOMEM;
        buf_init(&e->bytes, SIZE_MAX);
        e->topic = shared;
        e->count = parts->count;
        e->next = st->extras;
        st->extras = e;
        rc = msg_encode_elements(&ex->reply, parts, &e->bytes);
        asked = node_get(shared, F_PARTITIONS)->count;
        *grown += e->bytes.len + count_len(version, asked + e->count) - count_len(version, asked);
        array_take(topics, prev, t);
    }
    if (rc != OK)
        return rc;
    st->front_topics = topics->count;
    rc = msg_encode_elements(&ex->reply, topics, &st->front);
    *grown += st->front.len + count_len(version, own + st->front_topics) - count_len(version, own);
    return rc;
}

int stream_start(struct fetch_room *r, struct leg *l)
{
    struct stream *st = &r->stream;
    struct exchange *ex = r->ex;
    uint64_t grown = 0;
    int rc;

    memset(st, 0, sizeof(*st));
    buf_init(&st->front, SIZE_MAX);
    st->leg = l;
    rc = fill(r, st, &grown);
    if (rc == OK)
        rc = frame_put_response(&r->s->t.out, 1, ex->head.version, ex->head.correlation,
                                l->body_len + grown);
    if (rc != OK) {
        stream_release(st);
        return rc;
    }
    walk_start(&st->walk, schema_find(1, false), l->version, l->body_len);
    ex->state = EXCHANGE_STREAMING;
    return OK;
}

void stream_release(struct stream *st)
{
    for (struct stream_extra *e = st->extras; e; e = e->next)
        buf_release(&e->bytes);
    buf_release(&st->front);
    memset(st, 0, sizeof(*st));
}

/* --- passing through */

struct pass {
    struct fetch_room *r;
    struct stream *st;
    struct buf *in;
    uint64_t *taken;
    int rc; /* ERR_MALFORMED with why, or ERR_NOMEM */
    const char *why;
};

static void bad(struct pass *p, const char *why)
{
    if (p->rc == OK)
        p->why = why;
    p->rc = ERR_MALFORMED;
}

/* Moves body bytes up to `upto` to the client; an unknown tag's content is blanked on the way. */
static void pass_to(struct pass *p, uint64_t upto)
{
    static const uint8_t zero[512];
    struct stream *st = p->st;
    uint64_t from = st->zero_from > st->moved ? st->zero_from : st->moved;
    uint64_t to = st->zero_to < upto ? st->zero_to : upto;

    for (; from < to; from += sizeof(zero)) {
        uint64_t n = to - from < sizeof(zero) ? to - from : sizeof(zero);
        buf_overwrite(p->in, (size_t)(from - st->moved), zero, (size_t)n);
    }
    if (upto <= st->moved || p->rc != OK)
        return;
    p->rc = buf_gather(&p->r->s->t.out, p->in, (size_t)(upto - st->moved));
    if (p->rc == OK) {
        *p->taken += upto - st->moved;
        st->moved = upto;
    }
}

/* Puts our count in the place of the one that ends here. */
static void replace_count(struct pass *p, uint32_t theirs, uint32_t ours)
{
    struct stream *st = p->st;
    uint8_t count[5];
    size_t old = count_len(st->leg->version, theirs);
    size_t n = put_count(count, st->leg->version, ours);

    pass_to(p, st->walk.offset - old);
    if (p->rc != OK)
        return;
    buf_drain(p->in, old);
    *p->taken += old;
    st->moved += old;
    p->rc = buf_append(&p->r->s->t.out, count, n);
}

static void begin_topics(struct pass *p)
{
    struct stream *st = p->st;

    if (st->walk.null || st->walk.count != st->leg->topics) {
        bad(p, "not the topics that were asked for");
        return;
    }
    replace_count(p, st->walk.count, st->walk.count + st->front_topics);
    if (p->rc == OK)
        p->rc = buf_move(&p->r->s->t.out, &st->front);
}

static bool is_passing(const struct stream *st, const struct node *t, const char *name)
{
    const struct node *n = node_role(t, ROLE_TOPIC);
    const struct node *id = node_role(t, ROLE_TOPIC_ID);

    return id ? memcmp(id->u.uuid, st->id, sizeof(st->id)) == 0
              : n->u.str.len == st->name_len && memcmp(n->u.str.p, name, st->name_len) == 0;
}

/* The topic's name or id has passed the walker, and still lies in the buffer. NULL: it was not
 * asked for, or has passed before. */
static struct node *passing_topic(struct pass *p)
{
    struct stream *st = p->st;
    char name[TOPIC_NAME_MAX] = "";
    struct node *t = st->next_topic;

    if (st->leg->version < 13)
        buf_copy_out(p->in, (size_t)(st->name_off - st->moved), name, st->name_len);
    if (!t || !is_passing(st, t, name))
        t = leg_topics(st)->child;
    while (t && !is_passing(st, t, name))
        t = t->next;
    if (!t || t->mark)
        return NULL;
    t->mark = true;
    st->next_topic = t->next;
    return t;
}

static void begin_partitions(struct pass *p)
{
    struct stream *st = p->st;
    struct stream_extra *e = st->extras;
    const struct node *asked;

    st->topic = passing_topic(p);
    asked = st->topic ? node_get(st->topic, F_PARTITIONS) : NULL;
    if (!asked) {
        bad(p, "a topic that was not asked for, or is listed twice");
        return;
    }
    if (st->walk.null || st->walk.count != asked->count) {
        bad(p, "not the partitions that were asked for");
        return;
    }
    st->at = asked->child;
    st->name_len = 0;
    while (e && e->topic != st->topic)
        e = e->next;
    if (!e)
        return;
    replace_count(p, st->walk.count, st->walk.count + e->count);
    if (p->rc == OK)
        p->rc = buf_move(&p->r->s->t.out, &e->bytes);
}

/* Overwrites the int32 that ends at the walker's place. */
static void overwrite_int32(struct pass *p, int32_t v)
{
    uint8_t b[4];

    write_u32(b, (uint32_t)v);
    if (p->st->walk.value != v)
        buf_overwrite(p->in, (size_t)(p->st->walk.offset - 4 - p->st->moved), b, sizeof(b));
}

static struct mark *passing_mark(struct pass *p)
{
    struct stream *st = p->st;
    struct mark *m = st->topic ? marks_get(p->r, st->topic, st->index, true) : NULL;

    if (m)
        m->known = true;
    return m;
}

static void pass_scalar(struct pass *p)
{
    struct stream *st = p->st;
    const struct walk *w = &st->walk;
    const struct config *c = p->r->s->gate->config;
    struct mark *m;
    int64_t theirs;

    switch ((int)w->field->id) {
    case F_THROTTLE_TIME_MS:
        theirs = node_num(p->r->ex->reply.root, F_THROTTLE_TIME_MS, 0);
        overwrite_int32(p, (int32_t)(w->value > theirs ? w->value : theirs));
        break;
    case F_SESSION_ID:
        overwrite_int32(p, 0);
        break;
    case F_TOPIC_ID:
        memcpy(st->id, w->uuid, sizeof(st->id));
        break;
    case F_PARTITION_INDEX:
        st->index = (int32_t)w->value;
        if (!st->topic || !leg_partition(st->topic, &st->at, w->value))
            bad(p, "a partition that was not asked for, or is listed twice");
        break;
    case F_ERROR_CODE:
        if (w->value == KAFKA_NOT_LEADER_OR_FOLLOWER || w->value == KAFKA_UNKNOWN_TOPIC_ID ||
            w->value == KAFKA_UNKNOWN_TOPIC_OR_PARTITION)
            cluster_stale(p->r->s->gate->cluster);
        break;
    case F_HIGH_WATERMARK:
        m = passing_mark(p);
        if (m) {
            mark_raise(&m->high_watermark, w->value);
            m->had_data = false;
        }
        break;
    case F_LAST_STABLE_OFFSET:
        m = passing_mark(p);
        if (m)
            mark_raise(&m->last_stable, w->value);
        break;
    case F_LOG_START_OFFSET:
        m = passing_mark(p);
        if (m)
            mark_raise(&m->log_start, w->value);
        break;
    case F_PREFERRED_READ_REPLICA:
        overwrite_int32(p, -1);
        break;
    case F_LEADER_ID:
        overwrite_int32(p, virtual_node(c, w->value));
        break;
    default:
        break;
    }
}

static void pass_blob(struct pass *p)
{
    struct stream *st = p->st;
    const struct walk *w = &st->walk;
    struct mark *m;

    if (w->field->role == ROLE_TOPIC) {
        if (w->blob_len > TOPIC_NAME_MAX) {
            bad(p, "a topic's name that is too long");
            return;
        }
        st->name_off = w->blob_off;
        st->name_len = (uint32_t)w->blob_len;
    } else if (w->field->role == ROLE_RECORDS && w->blob_len > 0) {
        m = passing_mark(p);
        if (m)
            m->had_data = true;
    }
}

/* One event. False: the span is used up, the answer has ended, or it is bad. */
static bool pass_event(struct pass *p)
{
    struct stream *st = p->st;

    switch (walk_next(&st->walk)) {
    case WALK_MORE:
    case WALK_DONE:
        return false;
    case WALK_BAD:
        bad(p, st->walk.why);
        return false;
    case WALK_ARRAY_IN:
        if (st->walk.field->id == F_RESPONSES)
            begin_topics(p);
        else if (st->walk.field->id == F_PARTITIONS)
            begin_partitions(p);
        break;
    case WALK_SCALAR:
        pass_scalar(p);
        break;
    case WALK_BLOB:
        pass_blob(p);
        break;
    case WALK_UNKNOWN_TAG:
        pass_to(p, st->zero_to); /* the one before, if it is still here */
        st->zero_from = st->walk.blob_off;
        st->zero_to = st->walk.blob_off + st->walk.blob_len;
        gate_count(p->r->s->gate, unknown_tags, 1);
        break;
    case WALK_ARRAY_OUT:
    case WALK_STRUCT_IN:
    case WALK_STRUCT_OUT:
        break;
    }
    return p->rc == OK;
}

/* The bytes that the walker has not seen yet; false: none are here. Of what it has seen, at most a
 * topic's name and a part of a scalar are still in the buffer. */
static bool next_span(const struct pass *p, const uint8_t **at, size_t *n)
{
    struct iovec iov[SPANS_MAX];
    uint64_t skip = p->st->walk.offset - p->st->moved;
    int count = buf_front(p->in, iov, SPANS_MAX);

    for (int i = 0; i < count; i++) {
        if (skip < iov[i].iov_len) {
            *at = (const uint8_t *)iov[i].iov_base + skip;
            *n = iov[i].iov_len - (size_t)skip;
            return true;
        }
        skip -= iov[i].iov_len;
    }
    return false;
}

/* How far bytes may leave: not a scalar that has begun, nor a name that is still to be compared. */
static uint64_t safe_offset(const struct stream *st)
{
    uint64_t safe = st->walk.offset - st->walk.stash_len;

    return st->name_len > 0 && st->name_off < safe ? st->name_off : safe;
}

void stream_data(struct fetch_room *r, struct buf *in, uint64_t *taken)
{
    struct pass p = {.r = r, .st = &r->stream, .in = in, .taken = taken};
    struct session *s = r->s;
    uint64_t body_len = r->stream.leg->body_len;
    const uint8_t *at;
    size_t n;

    while (p.rc == OK && s->t.out.len < STREAM_OUT_HIGH_BYTES && next_span(&p, &at, &n)) {
        uint64_t left = body_len - p.st->walk.offset;
        if (left == 0)
            break;
        walk_feed(&p.st->walk, at, n < left ? n : (size_t)left);
        while (pass_event(&p))
            ;
        if (p.rc == OK)
            pass_to(&p, safe_offset(p.st));
    }
    if (p.rc == ERR_MALFORMED) {
        session_bad_answer(s, "Fetch", p.st->walk.version, p.why);
        return;
    }
    if (p.rc != OK) {
        session_close(s, "out of memory", true);
        return;
    }
    transport_send(&s->t);
    if (*taken == body_len)
        fetch_stream_done(r);
}
