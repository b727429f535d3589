/* The making of a compact JWS (RFC 7515): what jws.h reads. By OpenSSL alone, since libjwt takes
 * what is too little memory for a length of -1 while it signs. Pure; any thread. */
#ifndef AUTH_JWS_SIGN_H
#define AUTH_JWS_SIGN_H

#include "auth/jws.h"
#include "base/err.h"

/* header, claims: JSON texts, signed as they stand. pkey: EVP_PKEY *, a private key of the kind
 * that alg takes. *token is the caller's, by sl_free; NULL on error. ERR_NOMEM also for whatever
 * else OpenSSL could not do. */
int jws_sign(const struct jws_algorithm *alg, void *pkey, const char *header, const char *claims,
             char **token) SL_MUST;

#endif
