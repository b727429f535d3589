/* How many connections each principal has, over all workers: the bound of limits
 * (connections_per_principal). A hash table behind a mutex that is taken at login and at the end of
 * a session only. One a process, owned by main. */
#ifndef PROXY_PRINCIPALS_H
#define PROXY_PRINCIPALS_H

#include "auth/identity.h"
#include "base/err.h"

struct principals;
struct principals *principals_new(void) SL_MUST;
void principals_free(struct principals *p);
/* Counts one more, at most max. ERR_LIMIT. */
int principals_enter(struct principals *p, const struct identity *id, unsigned max) SL_MUST;
void principals_leave(struct principals *p, const struct identity *id);

#endif
