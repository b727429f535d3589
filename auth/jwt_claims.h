/* The claims of a token whose signature holds: into an identity, strictly. Private to auth/jwt.c;
 * pure. A claim of the wrong type, empty, too long or with control characters refuses the token: a
 * rule that reads it as absent would widen what the token gets. */
#ifndef AUTH_JWT_CLAIMS_H
#define AUTH_JWT_CLAIMS_H

#include <jansson.h>

#include "auth/jwt.h"

/* Fills everything but issuer, shared_subjects and thumbprint. JWT_AUDIENCE, JWT_TYPE (an ID or
 * refresh token), JWT_CLAIMS, JWT_RESOURCES. */
enum jwt_verdict jwt_claims_read(const json_t *claims, const struct issuer_config *c,
                                 struct identity *out) SL_MUST;
/* exp, nbf and iat, which jwt_claims_read has found to be whole numbers, with the issuer's skew.
 * JWT_EXPIRED, JWT_NOT_YET, JWT_TOO_LONG. */
enum jwt_verdict jwt_times_check(const json_t *claims, const struct issuer_config *c,
                                 int64_t now_s) SL_MUST;

#endif
