/* Messages from a seed: what a walk over them must say, and their bytes. Built from the schema's
 * rows alone, so it holds the walker and its compiled steps against the rows. The tokens come
 * first, in wire order; the bytes are then written from the last to the first, so that every tag's
 * size is known when it is due. */
#ifndef TESTS_GEN_H
#define TESTS_GEN_H

#include <stdlib.h>

#include "codec/schema.h"
#include "codec/walk.h"

#define GEN_TOKENS_MAX 8192
#define GEN_BYTES_MAX  262144
#define GEN_DEPTH_MAX  24

enum gen_kind {
    GEN_EVENT,     /* what the walker yields */
    GEN_TAG_COUNT, /* only on the wire, all below */
    GEN_TAG_IN,
    GEN_TAG_OUT,
};

struct gen_token {
    enum gen_kind kind;
    enum walk_event event;
    const struct field *field;
    int64_t value; /* also: bits of a float, a tag's number, a count of tags */
    uint32_t count, len;
    uint8_t seed; /* content of a blob or uuid: bytes counting up from here */
    bool null, in_tag, element;
};

struct gen_frame {
    const struct field *rows;  /* struct */
    const struct field *array; /* array */
    uint16_t nrows, next;
    uint32_t left;
    bool tags, tag_open, element_in;
    uint8_t unknown; /* unknown tags to write behind the known ones */
    uint32_t tag_token;
};

struct gen {
    uint64_t state;
    bool flexible;
    int version;
    uint32_t ntokens;
    struct gen_token token[GEN_TOKENS_MAX];
    uint8_t bytes[GEN_BYTES_MAX];
    size_t start; /* the message is bytes[start .. GEN_BYTES_MAX) */
    unsigned depth;
    struct gen_frame stack[GEN_DEPTH_MAX];
};

static inline uint32_t gen_rand(struct gen *g, uint32_t below)
{
    g->state = g->state * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(g->state >> 33) % below;
}

static inline struct gen_token *gen_add(struct gen *g, enum gen_kind kind, enum walk_event event,
                                        const struct field *f)
{
    if (g->ntokens == GEN_TOKENS_MAX)
        abort();
    struct gen_token *t = &g->token[g->ntokens++];
    *t = (struct gen_token){.kind = kind, .event = event, .field = f};
    return t;
}

static inline struct gen_frame *gen_push(struct gen *g)
{
    if (g->depth == GEN_DEPTH_MAX)
        abort();
    struct gen_frame *f = &g->stack[g->depth++];
    *f = (struct gen_frame){0};
    return f;
}

static inline int64_t gen_number(struct gen *g, enum field_type type)
{
    uint64_t v = (uint64_t)gen_rand(g, 1U << 30) << 34 ^ gen_rand(g, 1U << 30);

    switch (type) {
    case TYPE_BOOL:
        return v & 1;
    case TYPE_INT8:
        return (int8_t)v;
    case TYPE_INT16:
        return (int16_t)v;
    case TYPE_UINT16:
        return (uint16_t)v;
    case TYPE_INT32:
        return (int32_t)v;
    case TYPE_UINT32:
        return (uint32_t)v;
    case TYPE_INT64:
        return (int64_t)v;
    case TYPE_FLOAT64:
    case TYPE_UUID:
    case TYPE_STRING:
    case TYPE_BYTES:
    case TYPE_RECORDS:
    case TYPE_STRUCT:
        break;
    }
    return (int64_t)(v & 0xffffffU);
}

/* One value: a scalar or blob is a token, a struct or array opens a frame. */
static inline void gen_value(struct gen *g, const struct field *f, bool element, bool in_tag)
{
    bool nullable = !element && versions_has(f->nullable, g->version);
    bool null = nullable && gen_rand(g, 3) == 0;
    struct gen_token *t;

    if (f->array && !element) {
        t = gen_add(g, GEN_EVENT, WALK_ARRAY_IN, f);
        t->null = null;
        t->count = null ? 0 : gen_rand(g, g->depth > 8 ? 2 : 3);
        struct gen_frame *n = gen_push(g);
        n->array = f;
        n->left = t->count;
    } else if (f->type == TYPE_STRUCT) {
        t = gen_add(g, GEN_EVENT, WALK_STRUCT_IN, f);
        t->null = null;
        if (!null) {
            struct gen_frame *n = gen_push(g);
            n->rows = f->fields;
            n->nrows = f->nfields;
            n->element_in = true;
            n->array = f;
        }
    } else if (f->type == TYPE_STRING || f->type == TYPE_BYTES || f->type == TYPE_RECORDS) {
        t = gen_add(g, GEN_EVENT, WALK_BLOB, f);
        t->null = null;
        t->len = null ? 0 : gen_rand(g, gen_rand(g, 8) ? 8 : 300);
    } else {
        t = gen_add(g, GEN_EVENT, WALK_SCALAR, f);
        t->value = gen_number(g, f->type);
    }
    t->seed = (uint8_t)gen_rand(g, 256);
    t->in_tag = in_tag;
    t->element = element;
}

/* The next tag of the struct: the lowest above the last, known ones with luck, then unknown. */
static inline bool gen_tag(struct gen *g, struct gen_frame *f, int *last)
{
    const struct field *best = NULL;

    for (uint16_t i = 0; i < f->nrows; i++)
        if (f->rows[i].tag > *last && versions_has(f->rows[i].tagged, g->version) &&
            (!best || f->rows[i].tag < best->tag))
            best = &f->rows[i];
    if (best) {
        *last = best->tag;
        if (gen_rand(g, 2) == 0)
            return true;
        g->token[f->tag_token].value++;
        gen_add(g, GEN_TAG_IN, WALK_MORE, best)->value = best->tag;
        f->tag_open = true;
        gen_value(g, best, false, true);
        return true;
    }
    if (f->unknown == 0)
        return false;
    f->unknown--;
    *last += 1 + (int)gen_rand(g, 300);
    if (*last < 50)
        *last = 50;
    g->token[f->tag_token].value++;
    struct gen_token *t = gen_add(g, GEN_EVENT, WALK_UNKNOWN_TAG, NULL);
    t->value = *last;
    t->len = gen_rand(g, 20);
    return true;
}

/* One step of the frame on top. */
static inline void gen_step(struct gen *g, int last[GEN_DEPTH_MAX])
{
    struct gen_frame *f = &g->stack[g->depth - 1];

    if (f->array && !f->element_in) {
        if (f->left-- > 0) {
            gen_value(g, f->array, true, false);
            return;
        }
        gen_add(g, GEN_EVENT, WALK_ARRAY_OUT, f->array);
        g->depth--;
        return;
    }
    if (f->tag_open) {
        gen_add(g, GEN_TAG_OUT, WALK_MORE, NULL);
        f->tag_open = false;
    }
    while (f->next < f->nrows) {
        const struct field *row = &f->rows[f->next++];
        if (row->tag < 0 && versions_has(row->versions, g->version)) {
            gen_value(g, row, false, false);
            return;
        }
    }
    if (g->flexible && !f->tags) {
        f->tags = true;
        f->tag_token = g->ntokens;
        f->unknown = gen_rand(g, 6) ? 0 : (uint8_t)(1 + gen_rand(g, 2));
        last[g->depth - 1] = -1;
        gen_add(g, GEN_TAG_COUNT, WALK_MORE, NULL);
    }
    if (g->flexible && gen_tag(g, f, &last[g->depth - 1]))
        return;
    if (f->element_in)
        gen_add(g, GEN_EVENT, WALK_STRUCT_OUT, f->array);
    g->depth--;
}

static inline void gen_put(struct gen *g, uint8_t byte)
{
    if (g->start == 0)
        abort();
    g->bytes[--g->start] = byte;
}

static inline void gen_put_be(struct gen *g, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        gen_put(g, (uint8_t)(v >> (8 * i)));
}

static inline void gen_put_varint(struct gen *g, uint32_t v)
{
    unsigned groups = 1;

    while (groups < 5 && v >> (7 * groups))
        groups++;
    for (unsigned i = groups; i-- > 0;)
        gen_put(g, (uint8_t)((v >> (7 * i) & 0x7f) | (i + 1 < groups ? 0x80 : 0)));
}

static inline void gen_put_length(struct gen *g, bool null, uint32_t n, unsigned width)
{
    if (g->flexible)
        gen_put_varint(g, null ? 0 : n + 1);
    else
        gen_put_be(g, null ? UINT64_MAX : n, width);
}

static inline void gen_put_content(struct gen *g, uint8_t seed, uint32_t n)
{
    for (uint32_t i = n; i-- > 0;)
        gen_put(g, (uint8_t)(seed + i));
}

static inline void gen_put_scalar(struct gen *g, const struct gen_token *t)
{
    switch (t->field->type) {
    case TYPE_BOOL:
        gen_put(g, t->value ? t->seed | 1 : 0); /* any byte but 0 is true */
        break;
    case TYPE_INT8:
        gen_put_be(g, (uint64_t)t->value, 1);
        break;
    case TYPE_INT16:
    case TYPE_UINT16:
        gen_put_be(g, (uint64_t)t->value, 2);
        break;
    case TYPE_INT32:
    case TYPE_UINT32:
        gen_put_be(g, (uint64_t)t->value, 4);
        break;
    case TYPE_INT64:
    case TYPE_FLOAT64:
        gen_put_be(g, (uint64_t)t->value, 8);
        break;
    case TYPE_UUID:
        gen_put_content(g, t->seed, 16);
        break;
    case TYPE_STRING:
    case TYPE_BYTES:
    case TYPE_RECORDS:
    case TYPE_STRUCT:
        abort();
    }
}

static inline void gen_put_event(struct gen *g, const struct gen_token *t)
{
    switch (t->event) {
    case WALK_SCALAR:
        gen_put_scalar(g, t);
        break;
    case WALK_BLOB:
        gen_put_content(g, t->seed, t->len);
        gen_put_length(g, t->null, t->len, t->field->type == TYPE_STRING ? 2 : 4);
        break;
    case WALK_ARRAY_IN:
        gen_put_length(g, t->null, t->count, 4);
        break;
    case WALK_STRUCT_IN:
        if (t->element || !versions_has(t->field->nullable, g->version))
            break;
        if (t->in_tag)
            gen_put_varint(g, t->null ? 0 : 1);
        else
            gen_put(g, t->null ? 0xff : 1);
        break;
    case WALK_UNKNOWN_TAG:
        gen_put_content(g, t->seed, t->len);
        gen_put_varint(g, t->len);
        gen_put_varint(g, (uint32_t)t->value);
        break;
    case WALK_ARRAY_OUT:
    case WALK_STRUCT_OUT:
    case WALK_MORE:
    case WALK_DONE:
    case WALK_BAD:
        break;
    }
}

/* Makes the message of this seed. */
static inline void gen_message(struct gen *g, const struct message *m, int version, uint64_t seed)
{
    size_t tag_end[GEN_DEPTH_MAX];
    int last[GEN_DEPTH_MAX];
    unsigned open = 0;

    g->state = seed * 0x9e3779b97f4a7c15U + (uint64_t)m->api * 131 + (uint64_t)version;
    g->flexible = message_flexible(m, version);
    g->version = version;
    g->ntokens = 0;
    g->start = GEN_BYTES_MAX;
    g->depth = 0;
    struct gen_frame *f = gen_push(g);
    f->rows = m->fields;
    f->nrows = m->nfields;
    while (g->depth > 0)
        gen_step(g, last);
    for (uint32_t i = g->ntokens; i-- > 0;) {
        const struct gen_token *t = &g->token[i];
        switch (t->kind) {
        case GEN_EVENT:
            gen_put_event(g, t);
            break;
        case GEN_TAG_COUNT:
            gen_put_varint(g, (uint32_t)t->value);
            break;
        case GEN_TAG_OUT:
            tag_end[open++] = g->start;
            break;
        case GEN_TAG_IN:
            gen_put_varint(g, (uint32_t)(tag_end[--open] - g->start));
            gen_put_varint(g, (uint32_t)t->value);
            break;
        }
    }
}

static inline const uint8_t *gen_data(const struct gen *g)
{
    return g->bytes + g->start;
}

static inline size_t gen_len(const struct gen *g)
{
    return GEN_BYTES_MAX - g->start;
}

#endif
