/* Was memory short? jansson has one answer for a text that is no JSON and for memory that is short,
 * and OpenSSL one for a signature that is wrong and for memory that is short. A client takes no for
 * final, so a token must not be refused because of the latter: their allocators leave a note here.
 * They are put in place before main. Each thread has notes of its own. */
#ifndef AUTH_MEMORY_H
#define AUTH_MEMORY_H

#include <stdbool.h>

/* How often either library was denied memory in this thread until now: what to ask with later. Who
 * watches may call who watches. */
unsigned memory_watch(void);
/* Has that happened since? */
bool memory_was_short(unsigned watch);
/* Leaves the note: for who stands in for their allocators. */
void memory_short(void);

#endif
