/* A compact JWS (RFC 7515) whose payload is a JSON object: split, read and verified in the only
 * safe order. What signs is on an allow-list, the key comes from a set that is given, never from
 * the token (jku, x5u, jwk, x5c), `crit` is refused, and OpenSSL alone grants. Access tokens
 * (auth/jwt.c), proofs and security events are all read through this.
 *
 * Owned by its user, most often on the stack (some 1.2 KiB); jws_clear gives it back. The text must
 * outlive it. One thread. Verdicts are those of auth/jwt.h. */
#ifndef AUTH_JWS_H
#define AUTH_JWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/jwks.h"
#include "auth/jwt.h"

#define JWS_SIGNATURE_BYTES_MAX (JWKS_RSA_BITS_MAX / 8)

/* What the algorithms of RFC 7518 and 8037 ask of OpenSSL. */
struct jws_algorithm {
    const char *name; /* exact case */
    enum jwt_alg bit;
    const char *digest;      /* NULL: the signature scheme has its own */
    size_t coordinate_bytes; /* ECDSA: raw r and s have this length each */
    int padding;             /* RSA */
    bool veto;               /* libjwt knows it */
};
/* NULL for a name that is none of ours. */
const struct jws_algorithm *jws_algorithm(const char *name);

struct jws {
    const char *text;
    size_t len;
    size_t signed_len;       /* header, dot, claims */
    json_t *header, *claims; /* NULL until jws_read; not to be believed before jws_verify */
    uint8_t signature[JWS_SIGNATURE_BYTES_MAX];
    size_t signature_len;
    const struct jws_algorithm *alg;
    const struct jwk *key; /* of the set given; as long as that lives */
};

/* Three canonical base64url parts, the first two a strict JSON object each: JWT_OK or
 * JWT_MALFORMED. At most JWT_BYTES_MAX. Call jws_clear whatever it returns. */
enum jwt_verdict jws_read(struct jws *j, const char *text, size_t n) SL_MUST;
/* The three steps of jws_verify, for who has something to look at between them. algorithms: enum
 * jwt_alg bits. JWT_ALGORITHM; JWT_KEY (no such key, a fetch may bring it), JWT_MALFORMED;
 * JWT_SIGNATURE, JWT_RESOURCES. */
enum jwt_verdict jws_choose_algorithm(struct jws *j, unsigned algorithms) SL_MUST;
enum jwt_verdict jws_choose_key(struct jws *j, const struct jwks *set) SL_MUST;
enum jwt_verdict jws_check_signature(const struct jws *j) SL_MUST;
/* All three: JWT_OK, and the claims are what the key's owner said. */
enum jwt_verdict jws_verify(struct jws *j, const struct jwks *set, unsigned algorithms) SL_MUST;
/* The header's typ is one of these media types (without "application/", any case), or absent where
 * types holds "". NULL ends types. */
bool jws_type_is(const struct jws *j, const char *const *types);
void jws_clear(struct jws *j);

#endif
