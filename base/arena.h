/* An arena: memory for one request, freed all at once.
 *
 * Owned by whoever embeds it (an exchange, a parser); lives from arena_init to arena_release;
 * used by one thread. Blocks grow from 1 KiB and the sum of what is handed out never exceeds the
 * limit given at init, so a hostile message cannot buy more memory than its size justifies. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct arena_block;

struct arena {
    struct arena_block *head; /* newest block; older ones are linked behind it */
    size_t used_bytes;        /* handed out in all, alignment included */
    size_t limit_bytes;
};

void arena_init(struct arena *a, size_t limit_bytes);
/* Frees everything; the arena can be used again with the same limit. May be called twice. */
void arena_release(struct arena *a);
/* Forgets what was handed out and keeps one block for the next use. */
void arena_clear(struct arena *a);

/* n bytes are going to be asked for: has them ready in a block that stays for the next use, when a
 * block may be so large. A hint; without memory nothing happens. */
void arena_reserve(struct arena *a, size_t n);

/* n bytes aligned for any type, not zeroed; NULL when the limit or memory is reached. n == 0 gives
 * a valid, unique-enough pointer. */
void *arena_alloc(struct arena *a, size_t n) SL_MUST;
/* The same, zeroed. */
void *arena_zalloc(struct arena *a, size_t n) SL_MUST;
/* A copy of n bytes, with a NUL behind it that is not counted. */
char *arena_dup(struct arena *a, const void *p, size_t n) SL_MUST;

#endif
