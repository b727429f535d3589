/* Making a tree of a message's bytes: the decoding half of codec/msg.h.
 *
 * A message in one piece without tags, which nearly all are, is taken run by run (codec/runs.h):
 * looked at once to see that it is legal and how many nodes it becomes, then read into memory that
 * is asked for at once. Whatever else there is goes through the walker: it knows what to do with
 * pieces and tags, and says what is wrong and where. */
#include "codec/msg.h"

#include <assert.h>
#include <stdalign.h>
#include <stddef.h>
#include <string.h>

#include "codec/node.h"
#include "codec/runs.h"
#include "codec/utf8.h"
#include "codec/walk.h"

_Static_assert(MSG_DEPTH_MAX >= WALK_DEPTH_MAX + 2, "every walk fits a tree");

/* --- the frame's bytes as contiguous spans */

#define SPANS_INLINE 16

struct spans {
    struct iovec few[SPANS_INLINE];
    struct iovec *v;
    int count;
    int at;         /* span that holds start */
    uint64_t start; /* offset in the body of span at's first byte */
};

static uint64_t spans_len(const struct spans *s, int i)
{
    return s->v[i].iov_len;
}

/* The spans of [off, off+len) of b. */
static int spans_init(struct spans *s, struct arena *a, const struct buf *b, size_t off, size_t len)
{
    *s = (struct spans){.v = s->few};
    int all = 0;
    for (const struct seg *g = b->first; g; g = g->next) {
        if (all == INT32_MAX)
            return ERR_LIMIT;
        all++;
    }
    if (all > SPANS_INLINE) {
        size_t n = (size_t)all * sizeof *s->v;
        s->v = arena_alloc(a, n);
        if (!s->v)
            return arena_error(a, n);
    }
    int got = buf_front(b, s->v, all);
    int first = 0;
    while (first < got && off >= s->v[first].iov_len)
        off -= s->v[first++].iov_len;
    s->v += first;
    if (first < got) {
        s->v[0].iov_base = (uint8_t *)s->v[0].iov_base + off;
        s->v[0].iov_len -= off;
    }
    for (int i = first; i < got && len > 0; i++) {
        struct iovec *v = &s->v[s->count++];
        if (v->iov_len > len)
            v->iov_len = len;
        len -= v->iov_len;
    }
    return len ? ERR_MALFORMED : OK;
}

/* A pointer to [off, off+n): into the span, or copied into the arena where it straddles two.
 * Offsets come in ascending order. *own says which. */
static int spans_get(struct spans *s, struct arena *a, uint64_t off, uint32_t n,
                     const uint8_t **out, bool *own)
{
    while (s->at < s->count && off >= s->start + spans_len(s, s->at))
        s->start += spans_len(s, s->at++);
    *own = false;
    if (n == 0) {
        *out = (const uint8_t *)"";
        return OK;
    }
    uint64_t skip = off - s->start;
    assert(s->at < s->count);
    if (spans_len(s, s->at) - skip >= n) {
        *out = (const uint8_t *)s->v[s->at].iov_base + skip;
        return OK;
    }
    uint8_t *copy = arena_alloc(a, n);
    if (!copy)
        return arena_error(a, n);
    uint32_t done = 0;
    for (int i = s->at; done < n; i++, skip = 0) {
        assert(i < s->count);
        uint64_t take = spans_len(s, i) - skip;
        if (take > n - done)
            take = n - done;
        memcpy(copy + done, (const uint8_t *)s->v[i].iov_base + skip, (size_t)take);
        done += (uint32_t)take;
    }
    *out = copy;
    *own = true;
    return OK;
}

static int fail(struct msg_error *e, const char *why, uint64_t offset)
{
    if (e)
        *e = (struct msg_error){.why = why, .offset = offset};
    return ERR_MALFORMED;
}

/* Names must be text; what clients tell one another through the broker need not be. */
static bool text_is_legal(const struct field *f, const uint8_t *p, uint32_t n)
{
    return f->type != TYPE_STRING || f->role == ROLE_OPAQUE || utf8_valid_text(p, n);
}

/* Records stay where they lie; place is for what says where. */
static void set_records(struct node *n, void *place, const struct buf *src, uint64_t off,
                        uint32_t len)
{
    n->u.records = place;
    n->u.records->src = src;
    n->u.records->off = off;
    n->u.records->len = len;
}

#define NOT_TEXT "a string that is not UTF-8, or holds NUL"

/* --- by the walker */

struct decode {
    struct msg *m;
    struct walk w;
    struct spans spans;
    const struct buf *b;
    size_t off;
    struct msg_error *e;
    struct node *open[MSG_DEPTH_MAX]; /* open[depth] takes the next node */
    unsigned depth;
};

/* A node for the walker's field under the open one. */
static struct node *decode_add(struct decode *d)
{
    struct node *n = arena_zalloc(d->m->arena, sizeof *n);
    if (!n)
        return NULL;
    struct node *parent = d->open[d->depth];
    n->field = d->w.field;
    n->null = d->w.null;
    n->element = node_is_array(parent);
    node_append(parent, n);
    /* An array's count is what the wire said: it is set when the array is opened. */
    return n;
}

static int decode_scalar(struct decode *d)
{
    struct node *n = decode_add(d);
    if (!n)
        return arena_error(d->m->arena, sizeof *n);
    n->null = false;
    if (d->w.field->type == TYPE_UUID) {
        void *u = arena_dup(d->m->arena, d->w.uuid, sizeof d->w.uuid);
        if (!u)
            return arena_error(d->m->arena, sizeof d->w.uuid + 1);
        n->u.uuid = u;
    } else if (d->w.field->type == TYPE_FLOAT64) {
        n->u.real = d->w.real;
    } else {
        n->u.num = d->w.value;
    }
    return OK;
}

static int decode_records(struct decode *d, struct node *n)
{
    if (d->w.blob_len == 0)
        return OK;
    void *place = arena_alloc(d->m->arena, sizeof *n->u.records);
    if (!place)
        return arena_error(d->m->arena, sizeof *n->u.records);
    set_records(n, place, d->b, d->off + d->w.blob_off, (uint32_t)d->w.blob_len);
    return OK;
}

static int decode_blob(struct decode *d)
{
    struct node *n = decode_add(d);
    if (!n)
        return arena_error(d->m->arena, sizeof *n);
    if (d->w.null)
        return OK;
    const struct field *f = d->w.field;
    if (f->type == TYPE_RECORDS)
        return decode_records(d, n);
    int err = spans_get(&d->spans, d->m->arena, d->w.blob_off, (uint32_t)d->w.blob_len, &n->u.str.p,
                        &n->own);
    if (err)
        return err;
    n->u.str.len = (uint32_t)d->w.blob_len;
    if (!text_is_legal(f, n->u.str.p, n->u.str.len))
        return fail(d->e, NOT_TEXT, d->w.blob_off);
    return OK;
}

static int decode_open(struct decode *d, bool array)
{
    const struct arena *a = d->m->arena;
    if (array && d->w.count > (a->limit_bytes - a->used_bytes) / sizeof(struct node))
        return ERR_LIMIT;
    struct node *n = decode_add(d);
    if (!n)
        return arena_error(a, sizeof *n);
    if (!array && d->w.null)
        return OK;
    assert(d->depth + 1 < MSG_DEPTH_MAX);
    d->open[++d->depth] = n;
    return OK;
}

static int decode_run(struct decode *d, uint64_t *turns)
{
    int span = 0;
    for (;; ++*turns) {
        int err = OK;
        switch (walk_next(&d->w)) {
        case WALK_MORE:
            if (span == d->spans.count)
                return fail(d->e, "the message ends too early", d->w.offset);
            walk_feed(&d->w, d->spans.v[span].iov_base, d->spans.v[span].iov_len);
            span++;
            break;
        case WALK_SCALAR:
            err = decode_scalar(d);
            break;
        case WALK_BLOB:
            err = decode_blob(d);
            break;
        case WALK_ARRAY_IN:
            err = decode_open(d, true);
            break;
        case WALK_STRUCT_IN:
            err = decode_open(d, false);
            break;
        case WALK_ARRAY_OUT:
        case WALK_STRUCT_OUT:
            assert(d->depth > 0);
            d->depth--;
            break;
        case WALK_UNKNOWN_TAG:
            break;
        case WALK_DONE:
            d->m->unknown_tags = d->w.unknown_tags;
            return OK;
        case WALK_BAD:
            return fail(d->e, d->w.why, d->w.offset);
        }
        if (err)
            return err;
    }
}

/* --- run by run */

struct build {
    struct msg *m;
    const struct buf *b;
    size_t off;           /* of the body in b */
    const uint8_t *begin; /* the body */
    struct msg_error *e;
    struct node *room, *room_end;     /* for nodes, and for what an id or records take beside one */
    struct node *open[MSG_DEPTH_MAX]; /* open[depth] takes the next node */
    unsigned depth;
};

static struct node *build_room(struct build *d)
{
    assert(d->room < d->room_end);
    return d->room++;
}

static struct node *build_add(struct build *d, const struct field *field, bool element)
{
    struct node *n = build_room(d);

    *n = (struct node){.field = field, .element = element};
    node_append(d->open[d->depth], n);
    return n;
}

static void build_open(struct build *d, struct node *n)
{
    assert(d->depth + 1 < MSG_DEPTH_MAX);
    d->open[++d->depth] = n;
}

/* The value of n at p; behind it, n bytes in all are left. */
static void build_scalar(struct build *d, struct node *n, const struct step *step, const uint8_t *p,
                         size_t left)
{
    uint8_t wide[sizeof(uint64_t)] = {0};

    if (step->element == WIRE_UUID) {
        n->u.uuid = memcpy(build_room(d), p, step->min_bytes);
        return;
    }
    if (left < sizeof wide)
        p = memcpy(wide, p, step->min_bytes);
    if (step->element == WIRE_FLOAT64) {
        uint64_t bits = read_u64(p);
        memcpy(&n->u.real, &bits, sizeof bits);
    } else {
        n->u.num = read_integer(p, step->min_bytes, step->element);
    }
}

/* Fields of fixed size, one behind the other. */
static void build_fixed(struct build *d, const struct step *step, unsigned n, const uint8_t *p,
                        const uint8_t *end)
{
    for (; n > 0; n--, step++) {
        build_scalar(d, build_add(d, step->field, false), step, p, (size_t)(end - p));
        p += step->min_bytes;
    }
}

/* Elements of one size, of an array that is null or not. */
static void build_elements(struct build *d, const struct runs *r, const struct step *step)
{
    const struct shape *shape = step->shape;
    const uint8_t *p = r->data;

    for (uint32_t i = 0; i < r->count; i++, p += r->run->size) {
        struct node *n = build_add(d, step->field, true);
        if (!shape) {
            build_scalar(d, n, step, p, (size_t)(r->end - p));
            continue;
        }
        build_open(d, n);
        build_fixed(d, shape->steps, shape->nsteps, p, r->end);
        d->depth--;
    }
}

static int build_blob(struct build *d, struct node *n, const struct runs *r)
{
    const struct field *f = n->field;
    uint64_t at = (uint64_t)(r->data - d->begin);

    if (r->null)
        return OK;
    if (f->type == TYPE_RECORDS) {
        if (r->count > 0)
            set_records(n, build_room(d), d->b, d->off + at, r->count);
        return OK;
    }
    n->u.str.p = r->count > 0 ? r->data : (const uint8_t *)"";
    n->u.str.len = r->count;
    return text_is_legal(f, n->u.str.p, r->count) ? OK : fail(d->e, NOT_TEXT, at);
}

/* An element of an array of text or bytes. */
static int build_element(struct build *d, const struct runs *r)
{
    const struct node *array = d->open[d->depth];

    assert(node_is_array(array));
    return build_blob(d, build_add(d, array->field, true), r);
}

/* The field that tells its own size. */
static int build_last(struct build *d, const struct runs *r, const struct step *step)
{
    struct node *n = build_add(d, step->field, false);

    n->null = r->null;
    switch ((enum run_kind)r->run->kind) {
    case RUN_TEXT:
    case RUN_COMPACT_TEXT:
    case RUN_BYTES:
    case RUN_COMPACT_BYTES:
        return build_blob(d, n, r);
    case RUN_ELEMENTS:
    case RUN_COMPACT_ELEMENTS:
    case RUN_COMPACT_STRUCTS:
        build_open(d, n);
        build_elements(d, r, step);
        d->depth--;
        return OK;
    case RUN_ARRAY:
    case RUN_COMPACT_ARRAY:
        if (r->count == 0)
            return OK;
        build_open(d, n);
        if (step->shape)
            build_open(d, build_add(d, step->field, true));
        return OK;
    case RUN_STRUCT:
        if (!r->null)
            build_open(d, n);
        return OK;
    case RUN_FIXED:
        break;
    }
    assert(false);
    return ERR_MALFORMED;
}

/* Behind the end of a struct or element, unless it was the message. */
static void build_close(struct build *d, const struct runs *r)
{
    const struct node *n = d->open[d->depth];

    if (d->depth > 0 && !node_is_array(n)) {
        d->depth--;
        if (!n->element)
            return;
        if (!r->last)
            build_open(d, build_add(d, n->field, true));
    }
    if (d->depth > 0 && r->last)
        d->depth--;
}

static int build_run(struct build *d, size_t len)
{
    struct runs_level levels[WALK_DEPTH_MAX];
    struct runs r;
    int err = OK;

    runs_start(&r, levels, d->m->schema, d->m->version, d->begin, len);
    while (!err && runs_next(&r)) {
        const struct run *run = r.run;
        build_fixed(d, run->steps, run->nfixed, r.fixed, r.end);
        if (run->kind != RUN_FIXED)
            err = run->steps ? build_last(d, &r, run->steps + run->nfixed) : build_element(d, &r);
        if (run->end != RUN_GOES_ON)
            build_close(d, &r);
    }
    return err;
}

#ifdef SLUICE_TEST
/* Held in test and fuzz builds: what the runs took, the walker takes. */
static void check_walker(const struct build *d, size_t len)
{
    struct walk w;
    enum walk_event e;

    walk_start(&w, d->m->schema, d->m->version, len);
    walk_feed(&w, d->begin, len);
    do {
        e = walk_next(&w);
    } while (e < WALK_DONE && e != WALK_MORE);
    assert(e == WALK_DONE);
}
#else
static inline void check_walker(const struct build *d, size_t len)
{
    (void)d;
    (void)len;
}
#endif

/* ERR_UNKNOWN: this is for the walker. */
static int decode_by_runs(struct msg *m, const struct spans *s, const struct buf *b, size_t off,
                          struct msg_error *e)
{
    struct build d = {.m = m, .b = b, .off = off, .begin = s->v->iov_base, .e = e};
    struct arena *a = m->arena;
    size_t len = s->v->iov_len, room;
    uint64_t nodes;

    if (s->count != 1 || !runs_count(m->schema, m->version, d.begin, len, &nodes) ||
        nodes > (a->limit_bytes - a->used_bytes) / sizeof *d.room)
        return ERR_UNKNOWN;
    room = (size_t)nodes * sizeof *d.room;
    arena_reserve(a, room);
    d.room = arena_alloc(a, room);
    if (!d.room)
        return arena_error(a, room);
    d.room_end = d.room + nodes;
    m->root = build_room(&d);
    *m->root = (struct node){0};
    d.open[0] = m->root;
    check_walker(&d, len);
    return build_run(&d, len);
}

/* --- either way */

#ifdef SLUICE_TEST
/* Held in test and fuzz builds: what a message may cost, by its bytes. Nearly every node stands for
 * a byte at least (the others are structs, whose fields do), and an event or two for a node; the
 * smallest element of an array is one byte. exchange.c gives arenas by the same measure. */
#define TREE_BYTES_PER_BYTE 128
#define TREE_BYTES_SPARE    16384
#define EVENTS_PER_BYTE     4
#define EVENTS_SPARE        256

static void check_cost(const struct decode *d, size_t len, size_t used_bytes, uint64_t turns)
{
    assert(used_bytes <= len * TREE_BYTES_PER_BYTE + TREE_BYTES_SPARE +
                             (size_t)d->spans.count * 2 * sizeof(struct iovec));
    assert(turns <= (uint64_t)len * EVENTS_PER_BYTE + EVENTS_SPARE + (uint64_t)d->spans.count);
}
#else
static inline void check_cost(const struct decode *d, size_t len, size_t used_bytes, uint64_t turns)
{
    (void)d;
    (void)len;
    (void)used_bytes;
    (void)turns;
}
#endif

static int decode_by_walker(struct decode *d, size_t len, uint64_t *turns)
{
    struct msg *m = d->m;

    m->root = arena_zalloc(m->arena, sizeof *m->root);
    if (!m->root)
        return arena_error(m->arena, sizeof *m->root);
    d->open[0] = m->root;
    walk_start(&d->w, m->schema, m->version, len);
    return decode_run(d, turns);
}

int msg_decode(struct msg *m, struct arena *a, const struct message *schema, int version,
               const struct buf *b, size_t off, size_t len, struct msg_error *e)
{
    struct decode d = {.m = m, .b = b, .off = off, .e = e};
    size_t before = a->used_bytes;
    uint64_t turns = 0;

    *m = (struct msg){0};
    if (!versions_has(schema->versions, version))
        return ERR_VERSION;
    if (off > b->len || len > b->len - off)
        return fail(e, "the message ends too early", 0);
    int err = spans_init(&d.spans, a, b, off, len);
    if (err)
        return err;
    *m = (struct msg){.schema = schema, .arena = a, .version = (int16_t)version};
    err = decode_by_runs(m, &d.spans, b, off, e);
    if (err == ERR_UNKNOWN)
        err = decode_by_walker(&d, len, &turns);
    check_cost(&d, len, a->used_bytes - before, turns);
    return err;
}
