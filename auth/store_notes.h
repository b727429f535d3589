/* The notes of the store in memory: texts by kind and id, for those who must remember something
 * beside the grants. Private to auth/store.c; the control thread only. Bounded: STORE_NOTES_MAX of
 * them, STORE_NOTES_BYTES_MAX in all. Texts are wiped before their memory is given back. */
#ifndef AUTH_STORE_NOTES_H
#define AUTH_STORE_NOTES_H

#include <stddef.h>

#include "base/err.h"

struct notes;

/* A note on its way to the disk; text NULL: it is forgotten. */
struct note {
    char *kind, *id, *text;
};
/* A copy; NULL when memory is short. */
struct note *note_new(const char *kind, const char *id, const char *text) SL_MUST;
void note_free(struct note *n);

/* What notes_put would say of these texts. */
int note_check(const char *kind, const char *id, const char *text) SL_MUST;

struct notes *notes_new(void) SL_MUST;
void notes_free(struct notes *all);
/* Puts, replaces or (text NULL) forgets. ERR_MALFORMED for a kind or an id that is empty or too
 * long, ERR_LIMIT for a text or a total that is: nothing has changed then. */
int notes_put(struct notes *all, const char *kind, const char *id, const char *text) SL_MUST;
/* Until the next change of that note; NULL without it. */
const char *notes_find(const struct notes *all, const char *kind, const char *id);
/* Those of one kind, unordered; fn must not change any. */
void notes_each(const struct notes *all, const char *kind,
                void (*fn)(void *arg, const char *id, const char *text), void *arg);
/* Of every kind. */
void notes_all(const struct notes *all,
               void (*fn)(void *arg, const char *kind, const char *id, const char *text),
               void *arg);

#endif
