/* What the store need not hold any longer: grants of the API that have ended, and revocations of
 * which nothing that they hit could still be valid. Private to auth/store.c; the control thread
 * only.
 *
 * When that is so, follows from issuers[].max_token_s: a token that a revocation hits was issued
 * when the revocation was made, or before, so that much later it has expired. Revocations of a
 * transfer, agreement, asset or participant also bar tokens that are issued later; they stay as
 * long as such a token would get anything: where tokens of another issuer than sluice itself carry
 * rights (claims.topics), and for a grant that stands in the configuration. All stay SWEEP_MARGIN_S
 * longer, so that a wall clock which is set ahead and back again revives nothing. */
#ifndef AUTH_STORE_SWEEP_H
#define AUTH_STORE_SWEEP_H

#include "auth/store_plan.h"

#define SWEEP_MARGIN_S 7200
/* Places of a table that are looked at in one turn of the control loop; an entry has about one. */
#define SWEEP_BUCKETS 8192

struct sweep {
    const struct config *config;
    int64_t now_s;
    int64_t grant_margin_s; /* SWEEP_MARGIN_S, or 0 where room is needed */
};

/* Puts into p what goes, out of `buckets` places from *at on, which moves on; *ended tells that it
 * came to the end, and *at is 0 again. */
int sweep_plan(struct plan *p, const struct grant_table *t, const struct sweep *s, size_t *at,
               size_t buckets, bool *ended) SL_MUST;
/* Could it still bar a token? */
bool sweep_may_forget(const struct sweep *s, const struct grant_table *t,
                      const struct revocation *r);

#endif
