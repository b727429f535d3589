/* A consumer's proof that it may refresh a token (Tractus-X token refresh): a JWT by its own key,
 *
 *   {"iss": DID, "sub": DID, "aud": audience, "jti": ..., "token": access token, "exp"/"iat": ...}
 *
 * read first, so that its key can be found, and believed only when proof_verify has said so. Pure.
 */
#ifndef EDC_PROOF_H
#define EDC_PROOF_H

#include <stdint.h>

#include "auth/jws.h"
#include "base/err.h"

#define PROOF_SKEW_S    30
#define PROOF_LIFE_S    300  /* from iat, where there is no exp */
#define PROOF_LONGEST_S 3600 /* an exp further away is refused */

struct proof {
    struct jws jws;
    const char *consumer, *jti, *token; /* in jws */
    const char *kid;                    /* NULL: none */
    int64_t until;                      /* after this it is worth nothing, skew included */
};

/* What is wrong with it whoever signed it, or NULL. The text must outlive p; proof_clear either
 * way.
 */
const char *proof_read(struct proof *p, const char *text, size_t n, const char *audience,
                       int64_t now_s) SL_MUST;
/* NULL, or why the keys do not prove it. */
const char *proof_verify(struct proof *p, const struct jwks *keys) SL_MUST;
void proof_clear(struct proof *p);

#endif
