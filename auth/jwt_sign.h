/* libjwt as the signer of our own tokens. A file of its own, since libjwt's jwt.h and our names
 * don't go together. Pure. */
#ifndef AUTH_JWT_SIGN_H
#define AUTH_JWT_SIGN_H

#include "base/err.h"

/* alg: ES256, ES384 or RS256, which fits the PEM's private key. claims: JSON text. ERR_UNKNOWN: an
 * algorithm that libjwt has not; ERR_NOMEM also for whatever else it could not do. *token is the
 * caller's, by sl_free. */
int jwt_sign(const char *alg, const char *pem, const char *kid, const char *claims,
             char **token) SL_MUST;

#endif
