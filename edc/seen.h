/* Ids of events that have been taken, so that none is taken twice: each until it would be too old
 * to be taken anyway. Bounded; when it is full nothing is forgotten before its time, and nothing
 * more is added.
 *
 * Owned by struct events, which keeps a note of each in the store, so that a restart forgets none.
 * Control thread. */
#ifndef EDC_SEEN_H
#define EDC_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct seen;
struct seen_id;

/* What is too old is gone through so often at most, when something is added. */
#define SEEN_SWEEP_S 60

/* gone is told of each that has become too old, before it is forgotten; it must not change s. */
struct seen *seen_new(size_t max, void (*gone)(void *arg, const char *key), void *arg) SL_MUST;
void seen_free(struct seen *s);
/* NULL: not seen. */
struct seen_id *seen_find(const struct seen *s, const char *key);
/* One that is being worked on, to be remembered until over_s. Not twice with the same key. NULL: no
 * room, or no memory. */
struct seen_id *seen_add(struct seen *s, const char *key, int64_t over_s, int64_t now_s) SL_MUST;
/* It has been done; only then it can be forgotten. */
void seen_done(struct seen_id *id);
bool seen_is_done(const struct seen_id *id);
/* It came to nothing, and may come again. */
void seen_remove(struct seen *s, struct seen_id *id);
size_t seen_count(const struct seen *s);

#endif
