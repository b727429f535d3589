/* Was memory short? jansson has one answer for a text that is no JSON and for memory that is short,
 * and OpenSSL one for a signature that is wrong and for memory that is short. A client takes no for
 * final, so a token must not be refused because of the latter: their allocators leave a note here.
 * They are put in place before main. One note a thread. */
#ifndef AUTH_MEMORY_H
#define AUTH_MEMORY_H

#include <stdbool.h>

/* Forgets the note. */
void memory_watch(void);
/* Whether either library was denied memory in this thread since then. */
bool memory_was_short(void);
/* Leaves the note: for who stands in for their allocators. */
void memory_short(void);

#endif
