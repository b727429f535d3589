/* How a walk goes: a struct (the message is one) is a frame that passes
 *
 *   FIELDS ─> TAG_COUNT ─> TAG_NUMBER ─> TAG_SIZE ─┬─> TAG_VALUE ─> TAG_CLOSE ─┐
 *                              ^                   └ an unknown tag            │
 *                              └───────────────────┴───────────────────────────┘
 *
 * and is closed when no field, or no tag, is left; an array is a frame in state ELEMENTS. Each step
 * reads one scalar, varint or length, which is either whole in the span or collected in the stash;
 * so whatever cuts the input, the states and the events are the same. Bounds are checked before
 * bytes are: what cannot fit is bad at once, even when it hasn't arrived. */
#include "codec/walk.h"

#include <string.h>

#include "codec/read.h"

_Static_assert(SCHEMA_DEPTH <= WALK_DEPTH_MAX, "a message nests deeper than the walker's stack");

/* Told apart from what is merely too long, since Kafka's classes read a negative number there. */
#define ABOVE_31_BITS "a length or count above 31 bits"
#define LIKELY(x)     __builtin_expect(!!(x), 1)

enum state {
    STATE_FIELDS,
    STATE_TAG_COUNT,
    STATE_TAG_NUMBER,
    STATE_TAG_SIZE,
    STATE_TAG_VALUE,
    STATE_TAG_CLOSE,
    STATE_ELEMENTS,
};

/* Where a value stands: null is written differently, or not at all. */
enum place {
    PLACE_INLINE,
    PLACE_ELEMENT,
    PLACE_TAG,
};

static enum walk_event bad(struct walk *w, const char *why)
{
    w->why = why;
    w->last = WALK_BAD;
    w->skip = 0;
    w->p_limit = w->p;
    return WALK_BAD;
}

/* What to say when a read gave nothing. */
static enum walk_event stopped(const struct walk *w)
{
    return w->last ? (enum walk_event)w->last : WALK_MORE;
}

/* After the span, the bound, the stash or the skip has changed: how far the fast path may read.
 * Not at all while a scalar lies half in the stash or a blob is to be skipped. */
static void limit_set(struct walk *w)
{
    uint64_t left = w->bound - w->offset;

    if (w->stash_len > 0 || w->skip > 0)
        w->p_limit = w->p;
    else if (left < (uint64_t)(w->p_end - w->p))
        w->p_limit = w->p + left;
    else
        w->p_limit = w->p_end;
}

static const uint8_t *take_slow(struct walk *w, size_t n)
{
    size_t have = (size_t)(w->p_end - w->p), want = n - w->stash_len;

    if (w->stash_len == 0 && w->bound - w->offset < n) {
        bad(w, "a value runs past the end of its message or tag");
        return NULL;
    }
    if (want > have)
        want = have;
    memcpy(w->stash + w->stash_len, w->p, want);
    w->stash_len = (uint8_t)(w->stash_len + want);
    w->p += want;
    w->offset += want;
    if (w->stash_len < n) {
        limit_set(w);
        return NULL;
    }
    w->stash_len = 0;
    limit_set(w);
    return w->stash;
}

/* The next n bytes in one piece (n <= 16), or NULL: see stopped(). */
static inline const uint8_t *take(struct walk *w, size_t n)
{
    const uint8_t *p = w->p;

    if (LIKELY((size_t)(w->p_limit - p) >= n)) {
        w->p += n;
        w->offset += n;
        return p;
    }
    return take_slow(w, n);
}

static bool take_varint_slow(struct walk *w, uint32_t *v)
{
    uint64_t start = w->offset - w->stash_len;
    int used = 0;

    while (used == 0) {
        if (w->bound == w->offset) {
            w->offset = start;
            bad(w, "a number runs past the end of its message or tag");
            return false;
        }
        if (w->p == w->p_end) {
            limit_set(w);
            return false;
        }
        w->stash[w->stash_len++] = *w->p++;
        w->offset++;
        used = read_varint(w->stash, w->stash_len, v);
    }
    w->stash_len = 0;
    limit_set(w);
    if (used < 0) {
        w->offset = start;
        bad(w, "a varint is overlong or above 32 bits");
        return false;
    }
    return true;
}

static inline bool take_varint(struct walk *w, uint32_t *v)
{
    const uint8_t *p = w->p;

    if (LIKELY(w->p_limit > p && *p < 0x80)) {
        *v = *p;
        w->p++;
        w->offset++;
        return true;
    }
    return take_varint_slow(w, v);
}

/* A length or count: -1 for null. */
static inline bool take_length(struct walk *w, enum wire wire, int64_t *len)
{
    const uint8_t *p;
    uint32_t v;

    if (wire == WIRE_COMPACT_STRING || wire == WIRE_COMPACT_BYTES || wire == WIRE_COMPACT_ARRAY) {
        if (!take_varint(w, &v))
            return false;
        *len = (int64_t)v - 1;
        return true;
    }
    p = take(w, wire == WIRE_STRING ? 2 : 4);
    if (!p)
        return false;
    *len = wire == WIRE_STRING ? read_i16(p) : read_i32(p);
    return true;
}

static enum walk_event read_scalar(struct walk *w, const struct step *step, enum wire wire)
{
    const uint8_t *p = take(w, step->min_bytes);
    uint64_t bits;

    if (!p)
        return stopped(w);
    switch (wire) {
    case WIRE_BOOL:
        w->value = *p != 0;
        break;
    case WIRE_INT8:
        w->value = (int8_t)*p;
        break;
    case WIRE_INT16:
        w->value = read_i16(p);
        break;
    case WIRE_UINT16:
        w->value = read_u16(p);
        break;
    case WIRE_INT32:
        w->value = read_i32(p);
        break;
    case WIRE_UINT32:
        w->value = read_u32(p);
        break;
    case WIRE_INT64:
        w->value = (int64_t)read_u64(p);
        break;
    case WIRE_FLOAT64:
        bits = read_u64(p);
        memcpy(&w->real, &bits, sizeof bits);
        break;
    case WIRE_UUID:
        memcpy(w->uuid, p, sizeof w->uuid);
        break;
    case WIRE_STRING:
    case WIRE_COMPACT_STRING:
    case WIRE_BYTES:
    case WIRE_COMPACT_BYTES:
    case WIRE_STRUCT:
    case WIRE_ARRAY:
    case WIRE_COMPACT_ARRAY:
    case WIRE_ABSENT:
        return bad(w, "not a scalar");
    }
    return WALK_SCALAR;
}

static enum walk_event read_blob(struct walk *w, enum wire wire, bool nullable)
{
    int64_t len;

    if (!take_length(w, wire, &len))
        return stopped(w);
    w->null = len < 0;
    if (len < 0 && (len < -1 || !nullable))
        return bad(w, len < -1 ? "a negative length" : "null where null is not legal");
    if (len > WALK_STRING_BYTES_MAX && (wire == WIRE_STRING || wire == WIRE_COMPACT_STRING))
        return bad(w, len > INT32_MAX ? ABOVE_31_BITS : "a string above 32767 bytes");
    if (len > 0 && (uint64_t)len > w->bound - w->offset)
        return bad(w, len > INT32_MAX ? ABOVE_31_BITS
                                      : "a length runs past the end of its message or tag");
    w->blob_off = w->offset;
    w->blob_len = w->null ? 0 : (uint64_t)len;
    w->skip = w->blob_len;
    limit_set(w);
    return WALK_BLOB;
}

static void push(struct walk *w, const struct step *step, enum state state, uint32_t left)
{
    struct walk_frame *f = &w->stack[++w->depth];

    f->step = step;
    f->shape = step->shape;
    f->end = w->bound;
    f->left = left;
    f->next = 0;
    f->state = (uint8_t)state;
}

static enum walk_event read_array(struct walk *w, const struct step *step)
{
    int64_t count;

    if (!take_length(w, (enum wire)step->wire, &count))
        return stopped(w);
    w->null = count < 0;
    if (count < 0 && (count < -1 || !step->nullable))
        return bad(w, count < -1 ? "a negative count" : "null where null is not legal");
    w->count = w->null ? 0 : (uint32_t)count;
    if ((uint64_t)w->count * step->min_bytes > w->bound - w->offset)
        return bad(w,
                   count > INT32_MAX ? ABOVE_31_BITS : "more elements than the bytes that remain");
    push(w, step, STATE_ELEMENTS, w->count);
    return WALK_ARRAY_IN;
}

/* Whether the struct is there: a byte -1 or 1, or in a tag a varint 0 or 1. */
static enum walk_event read_struct(struct walk *w, const struct step *step, enum place place)
{
    int64_t marker = 1;
    uint32_t v;

    if (step->nullable && place == PLACE_TAG) {
        if (!take_varint(w, &v))
            return stopped(w);
        marker = v == 0 ? -1 : (int64_t)v;
    } else if (step->nullable && place == PLACE_INLINE) {
        const uint8_t *p = take(w, 1);
        if (!p)
            return stopped(w);
        marker = (int8_t)*p;
    }
    if (marker != 1 && marker != -1)
        return bad(w, "a struct neither null nor there");
    w->null = marker < 0;
    if (!w->null)
        push(w, step, STATE_FIELDS, 0);
    return WALK_STRUCT_IN;
}

static enum walk_event read_value(struct walk *w, const struct step *step, enum wire wire,
                                  enum place place)
{
    w->field = step->field;
    w->null = false;
    switch (wire) {
    case WIRE_BOOL:
    case WIRE_INT8:
    case WIRE_INT16:
    case WIRE_UINT16:
    case WIRE_INT32:
    case WIRE_UINT32:
    case WIRE_INT64:
    case WIRE_FLOAT64:
    case WIRE_UUID:
        return read_scalar(w, step, wire);
    case WIRE_STRING:
    case WIRE_COMPACT_STRING:
    case WIRE_BYTES:
    case WIRE_COMPACT_BYTES:
        return read_blob(w, wire, step->nullable && place != PLACE_ELEMENT);
    case WIRE_STRUCT:
        return read_struct(w, step, place);
    case WIRE_ARRAY:
    case WIRE_COMPACT_ARRAY:
        return read_array(w, step);
    case WIRE_ABSENT:
        break;
    }
    return bad(w, "a tag that this version does not have");
}

static enum walk_event pop(struct walk *w, enum walk_event event)
{
    w->field = w->stack[w->depth].step->field;
    w->null = false;
    w->depth--;
    return event;
}

static void bound_set(struct walk *w, uint64_t bound)
{
    w->bound = bound;
    limit_set(w);
}

static enum walk_event finish(struct walk *w)
{
    if (w->offset != w->bound)
        return bad(w, "bytes are left over");
    w->last = WALK_DONE;
    w->p_limit = w->p;
    return WALK_DONE;
}

/* The struct has all its fields and tags. */
static enum walk_event close_struct(struct walk *w)
{
    return w->depth == 0 ? finish(w) : pop(w, WALK_STRUCT_OUT);
}

static bool read_tag_count(struct walk *w, struct walk_frame *f)
{
    uint32_t v;

    if (!take_varint(w, &v))
        return false;
    if ((uint64_t)v * 2 > w->bound - w->offset) {
        bad(w, v > INT32_MAX ? ABOVE_31_BITS : "more tags than the bytes that remain");
        return false;
    }
    f->left = v;
    f->last_tag = -1;
    f->state = STATE_TAG_NUMBER;
    return true;
}

static bool read_tag_number(struct walk *w, struct walk_frame *f)
{
    uint32_t v;

    if (!take_varint(w, &v))
        return false;
    if (v > INT32_MAX || (int32_t)v <= f->last_tag) {
        bad(w, v > INT32_MAX ? "a tag above 31 bits" : "a tag twice or out of order");
        return false;
    }
    f->last_tag = (int32_t)v;
    f->left--;
    f->state = STATE_TAG_SIZE;
    return true;
}

/* Known tags become TAG_VALUE, unknown ones an event (WALK_MORE: no event). */
static enum walk_event read_tag_size(struct walk *w, struct walk_frame *f)
{
    const struct shape *s = f->shape;
    uint32_t size;

    if (!take_varint(w, &size))
        return stopped(w);
    if (size > w->bound - w->offset)
        return bad(w, "a tag runs past the end of its message or tag");
    for (f->next = 0; f->next < s->ntags && s->tags[f->next].tag < f->last_tag;)
        f->next++;
    if (f->next < s->ntags && s->tags[f->next].tag == f->last_tag) {
        f->state = STATE_TAG_VALUE;
        bound_set(w, w->offset + size);
        return WALK_MORE;
    }
    f->state = STATE_TAG_NUMBER;
    w->field = NULL;
    w->null = false;
    w->value = f->last_tag;
    w->blob_off = w->offset;
    w->blob_len = size;
    w->skip = size;
    limit_set(w);
    w->unknown_tags++;
    return WALK_UNKNOWN_TAG;
}

/* A scalar or string must fill its tag; structs and arrays are held to it when they close. */
static enum walk_event read_tag_value(struct walk *w, struct walk_frame *f)
{
    const struct step *step = &f->shape->tags[f->next];
    enum walk_event event = read_value(w, step, (enum wire)step->wire, PLACE_TAG);

    if (event == WALK_MORE || event == WALK_BAD)
        return event;
    if ((event == WALK_SCALAR || event == WALK_BLOB) && w->offset + w->skip != w->bound)
        return bad(w, "a tag's size is not its value's");
    f->state = STATE_TAG_CLOSE;
    return event;
}

static enum walk_event read_field(struct walk *w, struct walk_frame *f)
{
    const struct step *step = &f->shape->steps[f->next];
    enum walk_event event = read_value(w, step, (enum wire)step->wire, PLACE_INLINE);

    if (event != WALK_MORE)
        f->next++;
    return event;
}

static enum walk_event read_element(struct walk *w, struct walk_frame *f)
{
    enum walk_event event;

    if (f->left == 0)
        return pop(w, WALK_ARRAY_OUT);
    event = read_value(w, f->step, (enum wire)f->step->element, PLACE_ELEMENT);
    if (event != WALK_MORE)
        f->left--;
    return event;
}

/* Passes over the blob that the last event was about. */
static void skip_blob(struct walk *w)
{
    uint64_t n = (uint64_t)(w->p_end - w->p);

    if (n > w->skip)
        n = w->skip;
    w->p += n;
    w->offset += n;
    w->skip -= n;
    limit_set(w);
}

void walk_start(struct walk *w, const struct message *msg, int version, uint64_t body_len)
{
    struct walk_frame *f = &w->stack[0];

    w->field = NULL;
    w->value = 0;
    w->real = 0;
    memset(w->uuid, 0, sizeof w->uuid);
    w->blob_off = w->blob_len = 0;
    w->count = 0;
    w->null = false;
    w->why = NULL;
    w->offset = 0;
    w->unknown_tags = 0;
    w->msg = msg;
    w->version = (int16_t)version;
    w->bound = body_len;
    w->skip = 0;
    w->stash_len = 0;
    w->depth = 0;
    w->last = 0;
    walk_feed(w, NULL, 0);
    if (!versions_has(msg->versions, version)) {
        bad(w, "a version that the schema does not have");
        return;
    }
    f->step = NULL;
    f->shape = msg->shapes[version - msg->versions.min];
    f->end = body_len;
    f->left = 0;
    f->next = 0;
    f->state = STATE_FIELDS;
}

void walk_feed(struct walk *w, const uint8_t *p, size_t n)
{
    w->p = n > 0 ? p : w->stash;
    w->p_end = w->p + n;
    limit_set(w);
}

/* Whatever is not an integer in the middle of a span. */
__attribute__((noinline)) static enum walk_event next_slow(struct walk *w)
{
    if (w->skip > 0) {
        skip_blob(w);
        if (w->skip > 0)
            return WALK_MORE;
    }
    while (!w->last) {
        struct walk_frame *f = &w->stack[w->depth];
        enum walk_event event = WALK_MORE;
        bool moved = true;

        switch ((enum state)f->state) {
        case STATE_FIELDS:
            if (f->next < f->shape->nsteps)
                return read_field(w, f);
            if (!f->shape->flexible)
                return close_struct(w);
            f->state = STATE_TAG_COUNT;
            /* fall through */
        case STATE_TAG_COUNT:
            moved = read_tag_count(w, f);
            if (moved && f->left == 0)
                return close_struct(w);
            break;
        case STATE_ELEMENTS:
            return read_element(w, f);
        case STATE_TAG_NUMBER:
            if (f->left == 0)
                return close_struct(w);
            moved = read_tag_number(w, f);
            break;
        case STATE_TAG_SIZE:
            event = read_tag_size(w, f);
            if (event != WALK_MORE)
                return event;
            moved = f->state == STATE_TAG_VALUE;
            break;
        case STATE_TAG_VALUE:
            return read_tag_value(w, f);
        case STATE_TAG_CLOSE:
            if (w->offset != w->bound)
                return bad(w, "a tag's size is not its value's");
            f->state = STATE_TAG_NUMBER;
            bound_set(w, f->end);
            break;
        }
        if (!moved)
            return stopped(w);
    }
    return (enum walk_event)w->last;
}

/* An integer at once, where eight bytes are there. */
static inline enum walk_event take_integer(struct walk *w, const struct step *step, unsigned wire)
{
    unsigned n = step->min_bytes;

    w->field = step->field;
    w->null = false;
    w->value = read_integer(w->p, n, wire);
    w->p += n;
    w->offset += n;
    return WALK_SCALAR;
}

/* Most events are integer fields with more bytes behind them: for those, no more than this. */
enum walk_event walk_next(struct walk *w)
{
    struct walk_frame *f = &w->stack[w->depth];

    if (LIKELY((size_t)(w->p_limit - w->p) >= sizeof(uint64_t))) {
        if (f->state == STATE_FIELDS && f->next < f->shape->nsteps) {
            const struct step *step = &f->shape->steps[f->next];
            if (step->wire <= WIRE_INT64) {
                f->next++;
                return take_integer(w, step, step->wire);
            }
        } else if (f->state == STATE_ELEMENTS && f->left > 0) {
            const struct step *step = f->step;
            if (step->element <= WIRE_INT64) {
                f->left--;
                return take_integer(w, step, step->element);
            }
        }
    }
    return next_slow(w);
}

unsigned walk_depth(const struct walk *w)
{
    return w->depth;
}
