/* What decode.c, tree.c and encode.c share, and who makes trees by hand in tests. */
#ifndef CODEC_NODE_H
#define CODEC_NODE_H

#include <stdalign.h>

#include "codec/msg.h"

/* Why an allocation of n bytes from the arena failed: its bound (alignment counts), or memory. */
static inline int arena_error(const struct arena *a, size_t n)
{
    size_t room = a->limit_bytes - a->used_bytes;
    return n > room || room - n < alignof(max_align_t) ? ERR_LIMIT : ERR_NOMEM;
}

static inline void node_append(struct node *parent, struct node *n)
{
    n->next = NULL;
    if (parent->last)
        parent->last->next = n;
    else
        parent->child = n;
    parent->last = n;
    parent->count++;
}

/* Is the row written as a tagged field in this version of the message? */
static inline bool row_tagged(const struct message *schema, int version, const struct field *row)
{
    return message_flexible(schema, version) && versions_has(row->tagged, version);
}

#endif
