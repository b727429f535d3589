/* The quick look at a message that lies in one piece: is it legal, and how large will its tree be?
 *
 * A yes means what the walker would say, held to that by tests over every API and version; a no
 * means nothing yet: it may be a broken message, or a legal one with tags, and the walker knows.
 * So nothing is ever taken on the word of this alone, and it need not be able to explain. It is the
 * first thing that msg_decode does, and what it costs is a fraction of a walk: runs of fields of
 * fixed size are passed over at once (struct scan_op, made by mkschema).
 *
 * No heap, no recursion, no state; any thread. */
#ifndef CODEC_SCAN_H
#define CODEC_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/schema.h"

/* The message body of n bytes. *nodes: what it becomes in a tree, at most; ids and records count
 * twice, having a piece of memory beside their node. */
bool scan(const struct message *msg, int version, const uint8_t *p, size_t n,
          uint64_t *nodes) SL_MUST;

#endif
