/* The quick walker: a message that lies in one piece, run by run.
 *
 * A run is what can be passed over at once: the fields of fixed size that stand together, and the
 * one behind them that tells its own size, if there is one (struct run, made by mkschema). Each
 * call checks one and tells where it lies; a field of fixed size lies at a place that the schema
 * knows from there. Arrays whose elements are all of one size are one run, however long.
 *
 * What it takes is legal, as strictly as the walker is (codec/walk.h): both agree over every API
 * and version, by tests, and by assertions in test and fuzz builds. What it does not take may be
 * broken, or be legal and hold tags: the walker knows, and can say what is wrong and where. So
 * everything that can come in pieces, hold tags or be broken goes to the walker, and all else,
 * which is nearly all there is, costs a fraction of it.
 *
 * Functions are inline, so that a loop over them keeps their state in registers. No heap, no
 * recursion; any thread. */
#ifndef CODEC_RUNS_H
#define CODEC_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/read.h"
#include "codec/schema.h"
#include "codec/walk.h"

#define RUNS_INLINE static inline __attribute__((always_inline))

/* An array or struct that is open: where its elements begin, and where to go on behind them. */
struct runs_level {
    const struct run *element, *after;
    uint32_t left; /* elements to come, the one that is read counted */
};

/* Plain memory of the caller's; it refers to the message and to the levels beside it. */
struct runs {
    /* what the last call told */
    const struct run *run;
    const uint8_t *fixed; /* the fields of fixed size begin here */
    const uint8_t *data;  /* content of text or bytes, or elements of fixed size */
    uint32_t count;       /* bytes of text or bytes; elements of an array; 1 for a struct */
    bool null;            /* the field is null, its count 0 */
    bool last;            /* where the run ends an element (run->end): there is no further one */
    bool done;            /* the message has been told to its end, and is legal */

    /* its own */
    const struct run *next; /* NULL: there is no more to tell */
    const uint8_t *p, *end;
    struct runs_level *level, *bottom;
};

/* The body of n bytes of a message; levels has WALK_DEPTH_MAX places. */
RUNS_INLINE void runs_start(struct runs *r, struct runs_level *levels, const struct message *msg,
                            int version, const uint8_t *p, size_t n)
{
    bool can = versions_has(msg->versions, version) && n > 0 && n <= INT32_MAX;

    *r = (struct runs){.p = p, .end = p + n, .level = levels, .bottom = levels};
    if (can)
        r->next = msg->shapes[version - msg->versions.min]->runs;
}

/* --- what follows is runs_next's own */

#define RUNS_LIKELY(x) __builtin_expect(!!(x), 1)

RUNS_INLINE const uint8_t *runs_null(struct runs *r, const uint8_t *behind)
{
    r->null = true;
    r->count = 0;
    return r->run->nullable ? behind : NULL;
}

/* A compact length or count, plus one, of more than two bytes. NULL: overlong, or too large. */
const uint8_t *runs_read_long(const uint8_t *p, const uint8_t *end, uint32_t *count);

/* Behind the length or count at p, of which the first byte, or all of the width (0: compact), is
 * there. Most take one byte, or have nothing but zeros in front of the last. The next length cannot
 * be looked for before this one is known, so each cycle here counts. NULL: not a legal one. */
RUNS_INLINE const uint8_t *runs_read_count(struct runs *r, const uint8_t *p, unsigned width)
{
    uint32_t n;

    if (width == 0) {
        if (RUNS_LIKELY(*p - 1U < 0x7fU)) {
            r->count = *p++ - 1U;
        } else if (*p == 0) {
            return runs_null(r, p + 1);
        } else if (r->end - p > 2 && p[1] - 1U < 0x7fU) {
            r->count = ((*p & 0x7fU) | (unsigned)p[1] << 7) - 1;
            p += 2;
        } else {
            p = runs_read_long(p, r->end, &n);
            if (!p)
                return NULL;
            r->count = n - 1;
        }
    } else if (width == 2 ? p[0] == 0 : (p[0] | p[1] | p[2]) == 0) {
        r->count = p[width - 1];
        p += width;
    } else {
        r->count = width == 2 ? read_u16(p) : read_u32(p);
        p += width;
        if (r->count == (width == 2 ? UINT16_MAX : UINT32_MAX))
            return runs_null(r, p);
    }
    return RUNS_LIKELY(r->count <= (size_t)(r->end - p)) ? p : NULL;
}

/* Behind text or bytes. */
RUNS_INLINE const uint8_t *runs_skip_blob(struct runs *r, const uint8_t *p, unsigned width,
                                          bool text)
{
    p = runs_read_count(r, p, width);
    r->data = p;
    return p && (!text || RUNS_LIKELY(r->count <= WALK_STRING_BYTES_MAX)) ? p + r->count : NULL;
}

/* Behind an array of elements of one size; ended: each is a struct whose last byte is its count of
 * tags, which is 0. */
RUNS_INLINE const uint8_t *runs_skip_elements(struct runs *r, const uint8_t *p, unsigned width,
                                              bool ended)
{
    const size_t size = r->run->size;
    uint8_t tags = 0;

    p = runs_read_count(r, p, width);
    r->data = p;
    if (!p || r->count == 0)
        return p;
    if (r->count * size > (size_t)(r->end - p))
        return NULL;
    if (!ended)
        return p + r->count * size;
    for (uint32_t i = r->count; i > 0; i--) {
        p += size;
        tags |= p[-1];
    }
    return tags ? NULL : p;
}

/* Into an array or struct of r->count elements, which begin at p. */
RUNS_INLINE const uint8_t *runs_open(struct runs *r, const uint8_t *p)
{
    if (p && r->count > 0) {
        /* The schema nests less deep than there are levels: see walk.c. */
        *++r->level = (struct runs_level){r->run->element, r->next, r->count};
        r->next = r->run->element;
    }
    return p;
}

/* Behind the mark whether a struct is there. */
RUNS_INLINE const uint8_t *runs_read_struct(struct runs *r, const uint8_t *p)
{
    r->count = 1;
    if (!r->run->nullable)
        return p;
    if (*p == 0xff)
        return runs_null(r, p + 1);
    return *p == 1 ? p + 1 : NULL;
}

RUNS_INLINE const uint8_t *runs_skip(struct runs *r, const uint8_t *p)
{
    switch ((enum run_kind)r->run->kind) {
    case RUN_FIXED:
        return p;
    case RUN_TEXT:
        return runs_skip_blob(r, p, 2, true);
    case RUN_COMPACT_TEXT:
        return runs_skip_blob(r, p, 0, true);
    case RUN_BYTES:
        return runs_skip_blob(r, p, 4, false);
    case RUN_COMPACT_BYTES:
        return runs_skip_blob(r, p, 0, false);
    case RUN_ARRAY:
        return runs_open(r, runs_read_count(r, p, 4));
    case RUN_COMPACT_ARRAY:
        return runs_open(r, runs_read_count(r, p, 0));
    case RUN_STRUCT:
        return runs_open(r, runs_read_struct(r, p));
    case RUN_ELEMENTS:
        return runs_skip_elements(r, p, 4, false);
    case RUN_COMPACT_ELEMENTS:
        return runs_skip_elements(r, p, 0, false);
    case RUN_COMPACT_STRUCTS:
        return runs_skip_elements(r, p, 0, true);
    }
    __builtin_unreachable(); /* mkschema makes no other, and saves the question */
}

/* Behind the end of a struct, or of an element of an array, at p. */
RUNS_INLINE void runs_close(struct runs *r, const uint8_t *p)
{
    r->last = r->level == r->bottom || --r->level->left == 0;
    if (!r->last) {
        r->next = r->level->element;
    } else if (r->level > r->bottom) {
        r->next = r->level--->after;
    } else {
        r->next = NULL;
        r->done = p == r->end;
    }
}

/* The next run. False: there is none, see done. What is told stands until the next call. */
RUNS_INLINE bool runs_next(struct runs *r)
{
    const uint8_t *p = r->p;

    r->run = r->next;
    if (!r->run || (size_t)(r->end - p) < r->run->need)
        return false;
    r->next = r->run + 1;
    r->fixed = p;
    r->null = false;
    p = runs_skip(r, p + r->run->skip);
    if (!RUNS_LIKELY(p))
        return false;
    if (r->run->end != RUN_GOES_ON) {
        if (r->run->end == RUN_ENDS_TAGS && (p == r->end || *p++ != 0))
            return false;
        runs_close(r, p);
    }
    r->p = p;
    return true;
}

/* Whether all of it is legal and has no tags; *nodes: what it becomes in a tree (codec/msg.h), ids
 * and records counted twice, having memory beside their node. */
bool runs_count(const struct message *msg, int version, const uint8_t *p, size_t n,
                uint64_t *nodes) SL_MUST;

#endif
