/* The seam for the hash chain: every line passes here, in the order in which it is written, by the
 * writer thread alone.
 *
 * Today a line passes as it is. A chain adds to each line its number and the SHA-256 of the line
 * before it (the first links to the last line of the file that was open before), keeps both in
 * struct chain, and puts signed anchors between lines. What it needs is here already: lines come
 * whole and once, in file order, a line that was not written is not passed again, and there is
 * room for CHAIN_EXTRA bytes a line. */
#ifndef AUDIT_CHAIN_H
#define AUDIT_CHAIN_H

#include <stddef.h>
#include <stdint.h>

#define CHAIN_EXTRA 256 /* what a chain may add to a line */

struct chain {
    uint64_t lines; /* passed so far */
};

void chain_init(struct chain *c);
/* Completes the line at text, n bytes without a line end, in place; room is at least n +
 * CHAIN_EXTRA. Returns its length. */
size_t chain_line(struct chain *c, char *text, size_t n, size_t room);

#endif
