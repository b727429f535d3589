/* Bytes in pieces, for what reads from a buf: behind each piece there is garbage in memory, so that
 * one byte too many is another byte. One thread. */
#ifndef FUZZ_PIECES_H
#define FUZZ_PIECES_H

#include "base/buf.h"

#define PIECES_BYTES_MAX 16384

/* Cuts n bytes, at most PIECES_BYTES_MAX, behind the first of them and then each `piece`; first 0:
 * as each. Pieces lie in one chunk where they fit one. b is to be released. */
void pieces_cut(struct buf *b, const uint8_t *p, size_t n, size_t first, size_t piece);

#endif
