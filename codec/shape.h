/* The shape of an API's answers: where they bear topics, partitions, groups and errors, so that
 * codec/reply.c makes refusals for all of them in one way. It follows from the schema's roles; a
 * table has the APIs whose answers say more than that. codec/reply.c and nobody else. Const data,
 * or the caller's arena. */
#ifndef CODEC_SHAPE_H
#define CODEC_SHAPE_H

#include "codec/msg.h"

/* What a whole refusal consists of, besides a topmost error code. */
enum {
    WHOLE_TOPICS = 1,    /* every topic (and its partitions) */
    WHOLE_ITEMS = 2,     /* every group, key, resource */
    WHOLE_TEXT = 4,      /* the error's text, at the top or in every item */
    WHOLE_SESSION = 8,   /* the session id of the request */
    ITEM_TEXT = 16,      /* an item refused alone has the text too */
    PART_NO_RECORDS = 32 /* records of length 0 */
};

struct reply_value {
    enum field_name id;
    int num;
};

struct reply_names {
    enum field_name in, out; /* in the request, in the answer */
};

/* Where an API's answers have what, in a range of versions. F_NONE: no such thing. */
struct reply_shape {
    int16_t api, min, max;
    uint8_t flags;
    struct reply_names topics; /* arrays of topics */
    struct reply_names parts;  /* in these, of partitions; F_NONE: the topic bears the error */
    struct reply_names index;  /* in these, the number; in F_NONE: the element is the number */
    enum field_name part_error;
    struct reply_names items;   /* arrays of groups, keys, resources */
    struct reply_names item[2]; /* copied; in F_NONE: the element itself */
    struct reply_value top[3];  /* whole refusals: fields whose default is another */
    struct reply_value part[2]; /* partitions: the same */
};

/* The shape for a version of an API that the schema has; NULL when the arena is full. */
const struct reply_shape *shape_find(struct arena *a, int api, int version);

#endif
