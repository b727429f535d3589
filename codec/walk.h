/* The walker: reads any message of any version, in pieces of any size, without heap or recursion.
 *
 * It is fed contiguous spans in order and yields events; everything else stands on it (the message
 * tree, streamed Fetch answers, the fuzz targets). It is strict: overlong varints, negative
 * lengths other than -1, null where null isn't legal, counts above the bytes that remain,
 * duplicate, misplaced or lying tags, nesting above WALK_DEPTH_MAX and left-over bytes are
 * WALK_BAD with the offset where it was noticed. Unknown tags in ascending order with a true size
 * are reported (WALK_UNKNOWN_TAG) and skipped.
 *
 * A struct walk is plain memory, owned by the caller, about half a KiB; one thread. */
#ifndef CODEC_WALK_H
#define CODEC_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/schema.h"

/* Structs and arrays that can be open at once, the message itself counted. The protocol's deepest
 * is SCHEMA_DEPTH; walk.c does not compile when it grows past this. */
#define WALK_DEPTH_MAX 12
/* A string's length has 16 bits, in Kafka's own words also where it is written as a varint. */
#define WALK_STRING_BYTES_MAX 0x7fff

enum walk_event {
    WALK_MORE,     /* the span is used up: feed the next */
    WALK_SCALAR,   /* w->field, w->value (ints, bools) or w->uuid or w->real */
    WALK_BLOB,     /* string, bytes or records: content is [w->blob_off, +w->blob_len) of the
                      message; w->null for null. The content is skipped by the walker, and
                      WALK_BLOB is yielded before it has arrived. */
    WALK_ARRAY_IN, /* w->count elements follow (0 for null, with w->null); OUT comes always */
    WALK_ARRAY_OUT,
    WALK_STRUCT_IN, /* an array's element or a single struct; w->null for a null struct, which
                       has no content and yields no OUT */
    WALK_STRUCT_OUT,
    WALK_UNKNOWN_TAG, /* w->value its number, blob_off/blob_len its content; no w->field */
    WALK_DONE,        /* the message ended exactly at the end given at start */
    WALK_BAD,         /* w->why, w->offset; sticky */
};

struct walk_frame {
    const struct step *step;   /* of the struct or array; NULL for the message itself */
    const struct shape *shape; /* a struct's; an array's structs' */
    uint64_t end;              /* offset where the tag that this lies in ends, or the message */
    uint32_t left;             /* array: elements to come; struct: tags to come */
    int32_t last_tag;          /* -1 none */
    uint16_t next;             /* struct: the next step, later the tag that is being read */
    uint8_t state;
};

struct walk {
    /* what the last event was about */
    const struct field *field;
    int64_t value;
    double real;
    uint8_t uuid[16];
    uint64_t blob_off, blob_len;
    uint32_t count;
    bool null;
    const char *why; /* constant text */
    uint64_t offset; /* of the next unread byte, from the start of the message body; after
                        WALK_BAD, of the value that is at fault or of what follows its length */
    uint32_t unknown_tags;

    /* the walker's own */
    const struct message *msg;
    uint64_t bound; /* what is being read must end by this offset */
    uint64_t skip;  /* blob bytes still to skip */
    const uint8_t *p, *p_end;
    const uint8_t *p_limit; /* up to here a whole scalar may be read at once */
    int16_t version;
    uint8_t stash[16]; /* the start of a scalar that the last span cut */
    uint8_t stash_len;
    uint8_t depth;
    uint8_t last; /* WALK_DONE or WALK_BAD once that has been said; 0 before */
    struct walk_frame stack[WALK_DEPTH_MAX];
};

/* Starts on a message body (what follows the header) of body_len bytes. A version outside of
 * msg->versions is WALK_BAD at once. */
void walk_start(struct walk *w, const struct message *msg, int version, uint64_t body_len);
/* The next span; it must stay valid until WALK_MORE. Call only at the start and after WALK_MORE.
 * Bytes behind the body's end are never looked at. */
void walk_feed(struct walk *w, const uint8_t *p, size_t n);
enum walk_event walk_next(struct walk *w);
/* Depth of open structs and arrays, the message itself not counted. */
unsigned walk_depth(const struct walk *w);

#endif
