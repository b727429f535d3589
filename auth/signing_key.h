/* A private key that signs tokens: read from PEM, its algorithm chosen by its type, its name the
 * RFC 7638 thumbprint, so that equal keys have equal names everywhere. Pure, but for what OpenSSL
 * allocates; immutable after loading. */
#ifndef AUTH_SIGNING_KEY_H
#define AUTH_SIGNING_KEY_H

#include <jansson.h>
#include <stddef.h>

#include "auth/jwks.h"
#include "base/err.h"
#include "config/config.h"

#define SIGNING_KID_BYTES 44 /* 32 bytes in base64url, and a NUL */

struct signing_key {
    void *pkey;      /* EVP_PKEY * */
    const char *alg; /* as in RFC 7518 and 8037 */
    char kid[SIGNING_KID_BYTES];
};

/* P-256: ES256. P-384: ES384. Ed25519: EdDSA. RSA of 2048 to 8192 bits: RS256 where algorithms
 * (enum jwt_alg bits) has it, else PS256. ERR_CONFIG with *why: another key, or one whose algorithm
 * is not in algorithms; ERR_NOMEM. */
int signing_key_load(const char *pem, unsigned algorithms, struct signing_key *out,
                     const char **why) SL_MUST;
void signing_key_clear(struct signing_key *k);

/* The public part with kid, alg and use; a new reference, NULL: out of memory. */
json_t *signing_key_jwk(const struct signing_key *k) SL_MUST;
/* The members of any public EVP_PKEY of these kinds, without a name. */
json_t *signing_public_jwk(const void *pkey) SL_MUST;
/* All keys of an issuer of our own as a JWK Set, for signing and checking alike. NULL with why. */
json_t *signing_keys_jwks(const struct issuer_config *c, const char **why) SL_MUST;

/* The JWS of claims by this key. Freed by signing_token_free. ERR_NOMEM also for what OpenSSL
 * could not do. */
int signing_key_sign(const struct signing_key *k, const json_t *claims, char **token) SL_MUST;
/* Wipes it; NULL is fine. */
void signing_token_free(char *token);

#endif
