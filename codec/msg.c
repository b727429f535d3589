#include "codec/msg.h"

#include <assert.h>
#include <stdalign.h>
#include <stddef.h>
#include <string.h>

#include "codec/node.h"
#include "codec/scan.h"
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

/* --- decoding */

/* What a node takes in the arena; what an id or records take beside it is less. */
#define NODE_ROOM_BYTES                                                                            \
    ((sizeof(struct node) + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1))

struct decode {
    struct msg *m;
    struct walk w;
    struct spans spans;
    const struct buf *b;
    size_t off;
    struct msg_error *e;
    struct node *open[MSG_DEPTH_MAX]; /* open[depth] takes the next node */
    unsigned depth;
    bool scanned; /* the quick look found nothing wrong: no more may the walker */
};

static int fail(struct decode *d, const char *why, uint64_t offset)
{
    if (d->e)
        *d->e = (struct msg_error){.why = why, .offset = offset};
    return ERR_MALFORMED;
}

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
    switch (d->w.field->type) {
    case TYPE_UUID: {
        void *u = arena_dup(d->m->arena, d->w.uuid, sizeof d->w.uuid);
        if (!u)
            return arena_error(d->m->arena, sizeof d->w.uuid + 1);
        n->u.uuid = u;
        return OK;
    }
    case TYPE_FLOAT64:
        n->u.real = d->w.real;
        return OK;
    case TYPE_BOOL:
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_UINT16:
    case TYPE_INT32:
    case TYPE_UINT32:
    case TYPE_INT64:
    case TYPE_STRING:
    case TYPE_BYTES:
    case TYPE_RECORDS:
    case TYPE_STRUCT:
        break;
    }
    n->u.num = d->w.value;
    return OK;
}

static int decode_records(struct decode *d, struct node *n)
{
    if (d->w.blob_len == 0)
        return OK;
    n->u.records = arena_alloc(d->m->arena, sizeof *n->u.records);
    if (!n->u.records)
        return arena_error(d->m->arena, sizeof *n->u.records);
    n->u.records->src = d->b;
    n->u.records->off = d->off + d->w.blob_off;
    n->u.records->len = (uint32_t)d->w.blob_len;
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
    if (f->type == TYPE_STRING && f->role != ROLE_OPAQUE &&
        !utf8_valid_text(n->u.str.p, n->u.str.len))
        return fail(d, "a string that is not UTF-8, or holds NUL", d->w.blob_off);
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

static int decode_run(struct decode *d, uint64_t *turns)
{
    int span = 0;
    for (;; ++*turns) {
        int err = OK;
        switch (walk_next(&d->w)) {
        case WALK_MORE:
            if (span == d->spans.count)
                return fail(d, "the message ends too early", d->w.offset);
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
#ifdef SLUICE_TEST
            assert(!d->scanned);
#endif
            return fail(d, d->w.why, d->w.offset);
        }
        if (err)
            return err;
    }
}

/* Looks at the whole message before it is taken in, and has the room for its tree ready. Behind
 * bytes that lie in several pieces there is no such look. */
static void decode_scan(struct decode *d, struct arena *a, const struct message *schema,
                        int version)
{
    const struct iovec *v = &d->spans.v[0];
    uint64_t nodes;

    d->scanned = d->spans.count == 1 && scan(schema, version, v->iov_base, v->iov_len, &nodes);
    if (d->scanned)
        arena_reserve(a, (size_t)nodes * NODE_ROOM_BYTES);
}

static int msg_start(struct msg *m, struct arena *a, const struct message *schema, int version)
{
    *m = (struct msg){.schema = schema, .arena = a, .version = (int16_t)version};
    if (!versions_has(schema->versions, version))
        return ERR_VERSION;
    m->root = arena_zalloc(a, sizeof *m->root);
    return m->root ? OK : arena_error(a, sizeof *m->root);
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
        return fail(&d, "the message ends too early", 0);
    int err = spans_init(&d.spans, a, b, off, len);
    if (err)
        return err;
    decode_scan(&d, a, schema, version);
    err = msg_start(m, a, schema, version);
    if (err)
        return err;
    d.open[0] = m->root;
    walk_start(&d.w, schema, version, len);
    err = decode_run(&d, &turns);
    check_cost(&d, len, a->used_bytes - before, turns);
    return err;
}

/* --- trees */

struct node *node_iter_next(struct node_iter *it)
{
    if (!it->at) {
        it->at = it->depth ? NULL : it->root;
        return it->at;
    }
    if (it->at->child) {
        assert(it->depth + 1 < MSG_DEPTH_MAX);
        it->up[it->depth++] = it->at;
        it->at = it->at->child;
        return it->at;
    }
    while (it->depth > 0 && !it->at->next)
        it->at = it->up[--it->depth];
    if (it->depth == 0) {
        it->at = NULL;
        it->depth = 1; /* stays at its end */
        return NULL;
    }
    it->at = it->at->next;
    return it->at;
}

static bool has_text(const struct node *n)
{
    return n->field && !n->null && !node_is_array(n) &&
           (n->field->type == TYPE_STRING || n->field->type == TYPE_BYTES);
}

int msg_own_strings(struct msg *m)
{
    struct node_iter it = {.root = m->root};
    for (struct node *n = node_iter_next(&it); n; n = node_iter_next(&it)) {
        if (!has_text(n) || n->own || n->u.str.len == 0)
            continue;
        const char *copy = arena_dup(m->arena, n->u.str.p, n->u.str.len);
        if (!copy)
            return arena_error(m->arena, (size_t)n->u.str.len + 1);
        n->u.str.p = (const uint8_t *)copy;
        n->own = true;
    }
    return OK;
}

struct node *node_get(const struct node *st, enum field_name id)
{
    for (struct node *n = st->child; n; n = n->next) {
        if (n->field->id == id)
            return n;
    }
    return NULL;
}

int64_t node_num(const struct node *st, enum field_name id, int64_t fallback)
{
    const struct node *n = node_get(st, id);
    return n ? n->u.num : fallback;
}

struct node *node_role(const struct node *st, enum field_role role)
{
    for (struct node *n = st->child; n; n = n->next) {
        if (n->field->role == role)
            return n;
    }
    return NULL;
}

bool node_str_is(const struct node *n, const char *s)
{
    return n && has_text(n) && n->u.str.len == strlen(s) &&
           memcmp(n->u.str.p, s, n->u.str.len) == 0;
}

bool node_str_eq(const struct node *a, const struct node *b)
{
    if (!a || !b || !a->field || !b->field)
        return false;
    if (a->field->type == TYPE_UUID && b->field->type == TYPE_UUID)
        return memcmp(a->u.uuid, b->u.uuid, 16) == 0;
    return has_text(a) && has_text(b) && a->u.str.len == b->u.str.len &&
           memcmp(a->u.str.p, b->u.str.p, a->u.str.len) == 0;
}
