/* What a request to the store comes to: the items of a change, worked out from the table in force.
 * Private to auth/store.c; the control thread only. */
#ifndef AUTH_STORE_PLAN_H
#define AUTH_STORE_PLAN_H

#include "auth/grant.h"

/* A change and what it consists of; owns all of it. Zeroed it is empty. */
struct plan {
    struct change change;
    struct change_item *at;
    size_t room;
};

void plan_clear(struct plan *p);
/* Drops all that is neither a revocation nor the end of a grant. */
void plan_keep_ends(struct plan *p);
/* Takes r, also on failure; NULL is ERR_NOMEM. */
int plan_revocation(struct plan *p, struct revocation *r) SL_MUST;
int plan_grant(struct plan *p, struct grant *g) SL_MUST;
/* The grant in the place of the one with its id; tokens that only that one bound are barred. */
int plan_put(struct plan *p, const struct grant_table *t, struct grant *g, int64_t now_s) SL_MUST;
int plan_ungrant(struct plan *p, const char *id) SL_MUST;
/* The end of a grant; the tokens that it binds are barred. */
int plan_lapse(struct plan *p, const struct grant *g, int64_t now_s) SL_MUST;
int plan_forget(struct plan *p, const struct revocation *r) SL_MUST;
/* The revocation, for an agreement, an asset or a participant also the transfers that end with it,
 * so that each is remembered, whatever becomes of its grant; and the tokens that these bind. */
int plan_revoke(struct plan *p, const struct grant_table *t, const struct revocation *r) SL_MUST;
/* From the configuration's grants in t to those of c. Where the API holds a grant of the same id,
 * that one stays. One that is no longer there, or is another participant's now, takes the tokens
 * with it that reached it: those that it binds; and where the issuer's subjects are shared, and not
 * two of its principal's grants are left, those of the principal issued up to now, for they would
 * reach what is another's. ERR_LIMIT when there
 * would be more than limits.grants, ERR_MALFORMED for one that is no grant (the log tells). */
int plan_config(struct plan *p, const struct grant_table *t, const struct config *c,
                int64_t now_s) SL_MUST;
/* Does it hold a revocation? */
bool plan_revokes(const struct plan *p);
/* All that is in force, for a worker that begins: revocations first, so that a grant which resumed
 * its transfer does so again. */
int plan_all(struct plan *p, const struct grant_table *t) SL_MUST;

#endif
