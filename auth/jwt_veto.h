/* libjwt's second opinion on a token that OpenSSL has already let pass: it may only say no.
 *
 * Kept apart since <jwt.h> and config.h both name an enum jwt_alg. libjwt checks no exp, aud, iss
 * or crit, takes a missing key for "any signature will do" and knows neither PS256 nor EdDSA nor
 * at+jwt: it is asked for RS256, ES256 and ES384 with typ JWT or absent only. */
#ifndef AUTH_JWT_VETO_H
#define AUTH_JWT_VETO_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* pkey: EVP_PKEY * that verified the token. alg, issuer, expires: as we read them. OK when libjwt
 * agrees; ERR_DENIED when it doesn't; ERR_NOMEM. */
int jwt_veto(const char *token, size_t n, void *pkey, const char *alg, const char *issuer,
             int64_t expires) SL_MUST;

#endif
