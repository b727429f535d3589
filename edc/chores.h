/* Chores: HTTP calls that nobody waits for and that should get through in the end, such as telling
 * an authorization server that a token or a client is void. Each is tried again after 1, 2, 4 ...
 * CHORES_PAUSE_MAX_S seconds, CHORES_TRIES times in all; at most CHORES_RUNNING at a time, so that
 * a server which is away holds up little. What is not done when the process ends is lost; whoever
 * minds keeps a note in the store.
 *
 * Owned by its user, control thread. Requests may hold secrets: copies are wiped. */
#ifndef EDC_CHORES_H
#define EDC_CHORES_H

#include <stddef.h>

#include "auth/http.h"
#include "base/err.h"

#define CHORES_TRIES       8
#define CHORES_PAUSE_MAX_S 60
#define CHORES_RUNNING     4

struct chores;
struct loop;

/* status: of the last answer; 0: none came. Adding another chore inside is fine. */
typedef void chore_done_fn(void *arg, int status);

/* most: chores at a time, those that wait included. ca as in auth/http.h. */
struct chores *chores_new(struct loop *l, bool development, const char *ca, size_t most) SL_MUST;
/* Forgets all; no done is called. Not inside done. */
void chores_free(struct chores *c);
/* Everything of r is copied (limit_bytes is not used: what is answered is not read). done, which
 * may be NULL, is called once, later: after an answer that another try would not change (any but
 * 408, 429 and 5xx), or when all tries are used up. ERR_LIMIT: there are too many; ERR_MALFORMED: a
 * URL that cannot be called; done is not called then. */
int chores_add(struct chores *c, const struct http_request *r, chore_done_fn *done,
               void *arg) SL_MUST;
/* Other authorities to trust; what is under way is begun anew. On error nothing has changed. */
int chores_trust(struct chores *c, bool development, const char *ca) SL_MUST;
size_t chores_count(const struct chores *c);

#endif
