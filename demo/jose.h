/* Keys and signatures of the development authorization server (demo-idp), good ones and, for the
 * tests of a gate, bad ones. A key is made at start, lives in memory only and belongs to whoever
 * made it; the process has one thread. What libjwt 1.10 can sign (RS256, ES256, ES384 with typ JWT)
 * it signs; the rest (PS256, EdDSA, other types, false labels) is signed with OpenSSL. */
#ifndef DEMO_JOSE_H
#define DEMO_JOSE_H

#include <stddef.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "base/err.h"

enum jose_alg {
    JOSE_RS256,
    JOSE_PS256,
    JOSE_ES256,
    JOSE_ES384,
    JOSE_EDDSA,
    JOSE_HS256, /* only to sign with a public key's PEM as the secret: algorithm confusion */
    JOSE_NONE,  /* an empty signature */
};

#define JOSE_KID_BYTES 64

struct jose_key {
    enum jose_alg alg;
    EVP_PKEY *pkey;
    char *private_pem;
    char *public_pem;
    char kid[JOSE_KID_BYTES];
};

/* Exact case, as RFC 7518 writes the names. ERR_UNKNOWN for any other. */
SL_MUST int jose_alg_parse(const char *name, enum jose_alg *out);
const char *jose_alg_name(enum jose_alg alg);

/* A fresh key: RSA of 2048 bits, P-256, P-384 or Ed25519, as alg asks. kid NULL: one is made up.
 * NULL when alg needs no key of its own (HS256, none), kid is too long, or OpenSSL fails. */
struct jose_key *jose_key_new(enum jose_alg alg, const char *kid);
void jose_key_free(struct jose_key *key);

/* The public half as a JWK (RFC 7517) with kid, use and alg; a new reference, NULL on failure. */
json_t *jose_key_jwk(const struct jose_key *key);

/* A token as an authorization server would issue it: the key's algorithm, its kid, this typ.
 * malloc'd; NULL on failure. */
char *jose_issue(const struct jose_key *key, const char *typ, const json_t *claims);

/* Header and claims are signed as they stand, whether or not they make sense. alg is what is done,
 * whatever the header says. malloc'd; NULL when the key cannot sign that way. */
char *jose_sign(const struct jose_key *key, enum jose_alg alg, const char *header,
                const char *claims);

/* bytes random bytes as lower-case hex; out has 2 * bytes + 1. */
SL_MUST int jose_random_hex(char *out, size_t bytes);

#endif
