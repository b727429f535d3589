/* Canonical encoding: the writing half of codec/msg.h.
 *
 * Two passes over the same traversal, without recursion. The first only counts; it finds the size
 * of each tagged field's content, which stands in front of that content, and leaves it in the
 * node (tag_bytes, 0 where the field is at its default and not written). The second writes. */
#include "codec/msg.h"

#include <assert.h>
#include <string.h>

#include "codec/frame.h"
#include "codec/node.h"
#include "codec/read.h"
#include "codec/walk.h"

#define STAGE_BYTES 512

/* What the traversal is inside of: a struct (st, NULL when all its fields are defaults), or an
 * array's elements. */
struct level {
    const struct shape *shape; /* of the struct, or of the array's structs */
    const struct step *array;  /* NULL for a struct */
    const struct node *st;
    struct node *hint; /* where the look-up of the next field starts; array: next element */
    uint16_t next;     /* step, then tag */
    bool in_tags;
    struct node *tagged;  /* counting: the tagged field whose content is being counted */
    uint64_t tag_started; /* counting: total at its start */
};

struct encode {
    const struct msg *m;
    bool flexible;
    struct buf *out; /* NULL while counting */
    uint64_t total;
    int err; /* sticks */
    uint16_t staged;
    unsigned depth; /* open levels */
    uint8_t stage[STAGE_BYTES];
    struct level level[MSG_DEPTH_MAX];
};

static void set_err(struct encode *e, int err)
{
    if (!e->err)
        e->err = err;
}

static void flush(struct encode *e)
{
    if (e->staged && !e->err)
        set_err(e, buf_append(e->out, e->stage, e->staged));
    e->staged = 0;
}

static void put(struct encode *e, const void *p, size_t n)
{
    e->total += n;
    if (!e->out || n == 0)
        return;
    if (n > (size_t)STAGE_BYTES - e->staged)
        flush(e);
    if (n > STAGE_BYTES) {
        if (!e->err)
            set_err(e, buf_append(e->out, p, n));
        return;
    }
    memcpy(e->stage + e->staged, p, n);
    e->staged = (uint16_t)(e->staged + n);
}

/* The last bytes of v, 1 to 8 of them, big-endian. */
static void put_be(struct encode *e, uint64_t v, unsigned bytes)
{
    uint8_t b[8];
    e->total += bytes;
    if (!e->out)
        return;
    if (sizeof b > (size_t)STAGE_BYTES - e->staged)
        flush(e);
    v <<= 64 - 8 * bytes;
    write_u32(b, (uint32_t)(v >> 32));
    write_u32(b + 4, (uint32_t)v);
    memcpy(e->stage + e->staged, b, sizeof b); /* what is too much is written over */
    e->staged = (uint16_t)(e->staged + bytes);
}

static unsigned uvarint_bytes(uint32_t v)
{
    unsigned n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static void put_uvarint(struct encode *e, uint32_t v)
{
    uint8_t b[5];
    size_t n = 0;
    if (!e->out) {
        e->total += uvarint_bytes(v);
        return;
    }
    for (; v >= 0x80; v >>= 7)
        b[n++] = (uint8_t)(v | 0x80);
    b[n++] = (uint8_t)v;
    put(e, b, n);
}

/* The length in front of a string, bytes, records or an array. */
static void put_length(struct encode *e, bool text, bool nullable, bool null, uint32_t n)
{
    if (null && !nullable)
        set_err(e, ERR_MALFORMED);
    if (text && n > WALK_STRING_BYTES_MAX)
        set_err(e, ERR_MALFORMED);
    if (n > INT32_MAX)
        set_err(e, ERR_MALFORMED);
    if (e->flexible)
        put_uvarint(e, null ? 0 : n + 1);
    else
        put_be(e, null ? UINT64_MAX : n, text ? 2 : 4);
}

static void put_records(struct encode *e, const struct step *step, const struct node *n)
{
    /* Left out, records are null where that is legal, else empty. */
    bool null = n ? n->null : step->nullable;
    uint32_t len = n && !null && n->u.records ? n->u.records->len : 0;
    put_length(e, false, step->nullable, null, len);
    if (!e->out || len == 0) {
        e->total += len;
        return;
    }
    flush(e);
    if (!e->err)
        set_err(e, buf_share(e->out, n->u.records->src, n->u.records->off, len));
}

/* Strings and bytes. An element is never at the row's default, which is the array's. */
static void put_string(struct encode *e, const struct step *step, const struct node *n)
{
    const struct field *row = step->field;
    const void *p = n ? (const void *)n->u.str.p : row->default_text;
    uint32_t len = n ? n->u.str.len : p ? (uint32_t)strlen(row->default_text) : 0;
    bool null = n ? n->null : row->default_null;
    if (null)
        len = 0;
    bool nullable = step->nullable && !(n && n->element);
    put_length(e, row->type == TYPE_STRING, nullable, null, len);
    put(e, p, len);
}

static void put_real(struct encode *e, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_be(e, bits, 8);
}

/* Anything that is neither a struct nor an array. n NULL: the default. */
static void put_value(struct encode *e, const struct step *step, const struct node *n)
{
    static const uint8_t zero[16];
    const struct field *row = step->field;
    uint64_t v = (uint64_t)(n ? n->u.num : row->default_int);
    switch (row->type) {
    case TYPE_BOOL:
        put_be(e, v != 0, 1);
        break;
    case TYPE_INT8:
        put_be(e, v, 1);
        break;
    case TYPE_INT16:
    case TYPE_UINT16:
        put_be(e, v, 2);
        break;
    case TYPE_INT32:
    case TYPE_UINT32:
        put_be(e, v, 4);
        break;
    case TYPE_INT64:
        put_be(e, v, 8);
        break;
    case TYPE_FLOAT64:
        put_real(e, n ? n->u.real : (double)row->default_int);
        break;
    case TYPE_UUID:
        put(e, n && n->u.uuid ? n->u.uuid : zero, sizeof zero);
        break;
    case TYPE_STRING:
    case TYPE_BYTES:
        put_string(e, step, n);
        break;
    case TYPE_RECORDS:
        put_records(e, step, n);
        break;
    case TYPE_STRUCT:
        break;
    }
}

/* --- defaults of tagged fields: what is at its default is not written */

static bool value_is_default(const struct node *n)
{
    const struct field *row = n->field;
    if (n->null || row->default_null)
        return n->null && row->default_null;
    if (node_is_array(n))
        return n->child == NULL;
    switch (row->type) {
    case TYPE_BOOL:
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_UINT16:
    case TYPE_INT32:
    case TYPE_UINT32:
    case TYPE_INT64:
        return n->u.num == row->default_int;
    case TYPE_FLOAT64: {
        double d = (double)row->default_int;
        /* Bits, since -0.0 is not what 0.0 is on the wire.
         * NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
        return memcmp(&n->u.real, &d, sizeof d) == 0;
    }
    case TYPE_UUID: {
        static const uint8_t zero[16];
        return !n->u.uuid || memcmp(n->u.uuid, zero, sizeof zero) == 0;
    }
    case TYPE_STRING:
    case TYPE_BYTES: {
        const char *text = row->default_text ? row->default_text : "";
        return n->u.str.len == strlen(text) && memcmp(n->u.str.p, text, n->u.str.len) == 0;
    }
    case TYPE_RECORDS:
        return false;
    case TYPE_STRUCT:
        return true;
    }
    return false;
}

/* A struct is at its default when all that is in it is. */
static bool is_default(struct node *n)
{
    struct node_iter it = {.root = n};
    for (struct node *c = node_iter_next(&it); c; c = node_iter_next(&it)) {
        if (!value_is_default(c))
            return false;
    }
    return true;
}

/* --- the traversal */

static struct level *push(struct encode *e)
{
    assert(e->depth < MSG_DEPTH_MAX);
    return &e->level[e->depth++];
}

static void push_struct(struct encode *e, const struct shape *shape, const struct node *st)
{
    struct level *l = push(e);
    l->shape = shape;
    l->array = NULL;
    l->st = st;
    l->hint = st ? st->child : NULL;
    l->next = 0;
    l->in_tags = false;
    l->tagged = NULL;
}

static void push_array(struct encode *e, const struct step *step, const struct node *array)
{
    struct level *l = push(e);
    l->shape = step->shape;
    l->array = step;
    l->hint = array->child;
}

/* The struct's child with that row. Children stand in wire order as a rule, so the search goes on
 * where the last one ended. */
static struct node *find_child(struct level *l, const struct field *row)
{
    for (struct node *n = l->hint; n; n = n->next) {
        if (n->field == row) {
            l->hint = n->next;
            return n;
        }
    }
    for (struct node *n = l->st ? l->st->child : NULL; n && n != l->hint; n = n->next) {
        if (n->field == row)
            return n;
    }
    return NULL;
}

/* Writes a field, or opens the level that does. n NULL: its default. */
static void put_field(struct encode *e, const struct step *step, const struct node *n, bool tagged)
{
    const struct field *row = step->field;
    bool null = n ? n->null : row->default_null;
    if (row->array) {
        put_length(e, false, step->nullable, null, n && !null ? n->count : 0);
        if (n && !null)
            push_array(e, step, n);
        return;
    }
    if (row->type != TYPE_STRUCT) {
        put_value(e, step, n);
        return;
    }
    if (!step->nullable && null)
        set_err(e, ERR_MALFORMED);
    else if (step->nullable && tagged)
        put_uvarint(e, null ? 0 : 1);
    else if (step->nullable)
        put_be(e, null ? UINT64_MAX : 1, 1);
    if (!null)
        push_struct(e, step->shape, n);
}

static void step_array(struct encode *e, struct level *l)
{
    struct node *elem = l->hint;
    if (!elem) {
        e->depth--;
        return;
    }
    l->hint = elem->next;
    if (l->shape)
        push_struct(e, l->shape, elem);
    else
        put_value(e, l->array, elem);
}

/* The inline fields are done: how many tagged ones follow. While counting, a tag_bytes of 1 stands
 * for a size that is not known yet. */
static void begin_tags(struct encode *e, struct level *l)
{
    uint32_t count = 0;
    if (l->shape->ntags == 0) {
        put_uvarint(e, 0);
        e->depth--;
        return;
    }
    l->hint = l->st ? l->st->child : NULL;
    for (uint16_t i = 0; i < l->shape->ntags && l->st; i++) {
        struct node *n = find_child(l, l->shape->tags[i].field);
        if (!n || l->shape->tags[i].wire == WIRE_ABSENT)
            continue;
        if (!e->out)
            n->tag_bytes = is_default(n) ? 0 : 1;
        count += n->tag_bytes > 0;
    }
    put_uvarint(e, count);
    l->in_tags = true;
    l->next = 0;
    l->hint = l->st ? l->st->child : NULL;
}

/* The tagged field that was being counted is complete: its size stands in front of it. */
static void end_tag(struct encode *e, struct level *l)
{
    uint64_t n = e->total - l->tag_started;
    if (n > INT32_MAX) {
        set_err(e, ERR_MALFORMED);
        n = INT32_MAX;
    }
    l->tagged->tag_bytes = (uint32_t)n;
    e->total += uvarint_bytes((uint32_t)n);
    l->tagged = NULL;
}

static void step_tags(struct encode *e, struct level *l)
{
    if (l->tagged)
        end_tag(e, l);
    while (l->st && l->next < l->shape->ntags) {
        const struct step *step = &l->shape->tags[l->next++];
        struct node *n = find_child(l, step->field);
        if (!n || step->wire == WIRE_ABSENT || n->tag_bytes == 0)
            continue;
        put_uvarint(e, (uint32_t)step->tag);
        if (e->out) {
            put_uvarint(e, n->tag_bytes);
        } else {
            l->tagged = n;
            l->tag_started = e->total;
        }
        put_field(e, step, n, true);
        return;
    }
    e->depth--;
}

static void step_struct(struct encode *e, struct level *l)
{
    if (l->in_tags) {
        step_tags(e, l);
        return;
    }
    while (l->next < l->shape->nsteps) {
        const struct step *step = &l->shape->steps[l->next++];
        unsigned depth = e->depth;
        put_field(e, step, find_child(l, step->field), false);
        if (e->depth != depth)
            return; /* a level was opened; this one goes on behind it */
    }
    if (e->flexible)
        begin_tags(e, l);
    else
        e->depth--;
}

static const struct shape *root_shape(const struct msg *m)
{
    return m->schema->shapes[m->version - m->schema->versions.min];
}

/* One pass over what has been pushed. out NULL: counting. */
static void begin(struct encode *e, const struct msg *m, struct buf *out)
{
    e->m = m;
    e->flexible = message_flexible(m->schema, m->version);
    e->out = out;
    e->total = 0;
    e->err = OK;
    e->staged = 0;
    e->depth = 0;
}

static void finish(struct encode *e)
{
    while (e->depth > 0 && !e->err) {
        struct level *l = &e->level[e->depth - 1];
        if (l->array)
            step_array(e, l);
        else
            step_struct(e, l);
    }
    if (e->out)
        flush(e);
}

static void run(struct encode *e, const struct msg *m, struct buf *out)
{
    begin(e, m, out);
    push_struct(e, root_shape(m), m->root);
    finish(e);
}

static int measure(struct encode *e, const struct msg *m)
{
    if (!versions_has(m->schema->versions, m->version))
        return ERR_VERSION;
    run(e, m, NULL);
    if (!e->err && e->total > INT32_MAX)
        return ERR_LIMIT;
    return e->err;
}

static bool has_room(const struct buf *out, uint64_t n)
{
    return n <= out->limit_bytes && out->len <= out->limit_bytes - n;
}

#ifdef SLUICE_TEST
/* Held in test and fuzz builds: what was written from `from` on is as long as was said, and our own
 * reader takes it, to the last byte and without a tag that it does not know. */
#define SEGS_CHECKED 64 /* of an answer with more, the records are shared in many pieces */
static void check_written(const struct msg *m, const struct buf *out, size_t from, uint64_t total)
{
    struct iovec v[SEGS_CHECKED];
    int n = buf_front(out, v, SEGS_CHECKED);
    struct walk w;
    enum walk_event e = WALK_MORE;

    assert(out->len - from == total);
    if (n == SEGS_CHECKED)
        return;
    walk_start(&w, m->schema, m->version, total);
    for (int i = 0; i < n; i++) {
        size_t skip = from < v[i].iov_len ? from : v[i].iov_len;

        from -= skip;
        walk_feed(&w, (const uint8_t *)v[i].iov_base + skip, v[i].iov_len - skip);
        do {
            e = walk_next(&w);
        } while (e != WALK_MORE && e != WALK_DONE && e != WALK_BAD);
    }
    assert(total == 0 || (e == WALK_DONE && w.unknown_tags == 0));
}
#else
static inline void check_written(const struct msg *m, const struct buf *out, size_t from,
                                 uint64_t total)
{
    (void)m;
    (void)out;
    (void)from;
    (void)total;
}
#endif

int msg_encode(const struct msg *m, struct buf *out)
{
    struct encode e;
    size_t from = out->len;
    int err = measure(&e, m);
    if (err)
        return err;
    uint64_t total = e.total;
    if (!has_room(out, total))
        return ERR_LIMIT;
    run(&e, m, out);
    if (e.err == OK)
        check_written(m, out, from, total);
    return e.err;
}

/* The step that writes this row's field, anywhere among the inline fields of the message. */
static const struct step *find_step(const struct shape *top, const struct field *row)
{
    struct {
        const struct shape *shape;
        uint16_t next;
    } at[MSG_DEPTH_MAX];
    unsigned depth = 1;

    at[0].shape = top;
    at[0].next = 0;
    while (depth > 0) {
        const struct step *step;
        if (at[depth - 1].next == at[depth - 1].shape->nsteps) {
            depth--;
            continue;
        }
        step = &at[depth - 1].shape->steps[at[depth - 1].next++];
        if (step->field == row)
            return step;
        if (step->shape && depth < MSG_DEPTH_MAX) {
            at[depth].shape = step->shape;
            at[depth++].next = 0;
        }
    }
    return NULL;
}

int msg_encode_elements(const struct msg *m, const struct node *array, struct buf *out)
{
    struct encode e;
    const struct step *step = find_step(root_shape(m), array->field);
    if (!step)
        return ERR_UNKNOWN;
    begin(&e, m, NULL);
    push_array(&e, step, array);
    finish(&e);
    if (e.err)
        return e.err;
    if (!has_room(out, e.total))
        return ERR_LIMIT;
    begin(&e, m, out);
    push_array(&e, step, array);
    finish(&e);
    return e.err;
}

size_t msg_size(const struct msg *m)
{
    struct encode e;
    return measure(&e, m) ? 0 : (size_t)e.total;
}

/* Bytes of a frame besides the body, at most: length, key, version, correlation id, client id with
 * its length, tags. */
#define FRAME_HEAD_MAX (4 + 2 + 2 + 4 + 2 + 1)

int msg_encode_request(const struct msg *m, int32_t correlation, const char *client_id,
                       struct buf *out)
{
    struct encode e;
    int err = measure(&e, m);
    if (err)
        return err;
    if (!has_room(out, e.total + FRAME_HEAD_MAX + (client_id ? strlen(client_id) : 0)))
        return ERR_LIMIT;
    err =
        frame_put_request(out, m->schema->api, m->version, correlation, client_id, (size_t)e.total);
    if (err)
        return err;
    run(&e, m, out);
    return e.err;
}

int msg_encode_response(const struct msg *m, int32_t correlation, struct buf *out)
{
    struct encode e;
    int err = measure(&e, m);
    if (err)
        return err;
    if (!has_room(out, e.total + FRAME_HEAD_MAX))
        return ERR_LIMIT;
    err = frame_put_response(out, m->schema->api, m->version, correlation, (size_t)e.total);
    if (err)
        return err;
    run(&e, m, out);
    return e.err;
}
