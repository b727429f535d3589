/* Our own issuer: an entry of issuers[] with signing_keys. Its first key signs, all of them verify,
 * so a key is changed without a break: put the new one first, reload, drop the old one when its
 * last token has ended. libjwt signs what it can (ES256, ES384, RS256), OpenSSL the rest (PS256,
 * EdDSA). Tokens are RFC 7519 with the claims that the entry's mapping reads again.
 *
 * Owned by run, one a process; control thread. Keys come with the configuration, so the keyring
 * that checks tokens (auth/jwks_fetch.c) and the signer never differ. */
#ifndef AUTH_ISSUER_H
#define AUTH_ISSUER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"

#define ISSUER_JTI_BYTES 64 /* a jti with its NUL; 22 characters are used */
/* Above this the topics stay out of the token: the grant is found by its transfer all the same. */
#define ISSUER_TOPICS_BYTES_MAX ((size_t)4 * 1024)

struct issuer;

/* What a token says. Texts that are NULL or "" are left out. */
struct issue {
    const char *subject;  /* NULL: the transfer, which makes it unique a transfer */
    const char *transfer; /* NULL: a token that names none (the facade's) */
    const char *participant, *agreement, *asset, *client;
    const char *const *topics;
    size_t ntopics;
    const char *group_prefix;
    unsigned operations;    /* enum op bits; 0: not said */
    int64_t not_before_iat; /* iat is at least this: a resume in the second of its suspend */
    int64_t expires;        /* the token ends by then, epoch s; 0: after its usual life */
};

/* NULL with err when a key cannot be used. A configuration without an issuer of our own is fine. */
struct issuer *issuer_new(const struct config *c, char *err, size_t err_bytes) SL_MUST;
/* A reload. On error nothing has changed. */
int issuer_config(struct issuer *i, const struct config *c, char *err, size_t err_bytes) SL_MUST;
void issuer_free(struct issuer *i);

/* Is there one? What follows needs it. */
bool issuer_own(const struct issuer *i);
/* Its name (iss), and the first of its audiences. Valid until the next reload. */
const char *issuer_name(const struct issuer *i);
const char *issuer_audience(const struct issuer *i);

/* A signed token with a random jti of its own. ERR_CONFIG without an own issuer, ERR_DENIED when it
 * would have ended before it begins, ERR_LIMIT when it is longer than JWT_BYTES_MAX. */
int issuer_sign(struct issuer *i, const struct issue *what, int64_t now_s, char **token,
                int64_t *expires_s, char jti[ISSUER_JTI_BYTES]) SL_MUST;
/* Wipes it. NULL is fine. */
void issuer_token_free(char *token);

/* The public keys as a JWK Set (RFC 7517), and the discovery document: what is needed to find the
 * keys, in the terms of RFC 8414. keys_url, token_url: public URLs, NULL: unknown. New references.
 */
json_t *issuer_jwks(const struct issuer *i) SL_MUST;
json_t *issuer_metadata(const struct issuer *i, const char *keys_url,
                        const char *token_url) SL_MUST;

#endif
