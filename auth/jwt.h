/* Checking a bearer token, in the only safe order (RFC 8725, RFC 7515, RFC 9068). OpenSSL grants;
 * libjwt may veto. Pure but for the clock that is passed in; any thread with its own keyring
 * reference. */
#ifndef AUTH_JWT_H
#define AUTH_JWT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/identity.h"
#include "auth/jwks.h"

#define JWT_BYTES_MAX ((size_t)16 * 1024)

enum jwt_verdict {
    JWT_OK,
    JWT_MALFORMED, /* not three canonical base64url parts, the first two a JSON object each */
    JWT_ALGORITHM, /* not on the issuer's list, not what the named key is for, or crit */
    JWT_TYPE,      /* typ */
    JWT_ISSUER,    /* unknown issuer */
    JWT_KEY,       /* no such key yet: the caller may ask for a fetch; retriable */
    JWT_SIGNATURE,
    JWT_AUDIENCE,
    JWT_EXPIRED,
    JWT_NOT_YET,
    JWT_TOO_LONG,  /* it is to live longer than issuers[].max_token_s, or does not say since when */
    JWT_CLAIMS,    /* exp absent or not an integer, a claim too long or of a wrong type ... */
    JWT_BINDING,   /* cnf.x5t#S256 and no such client certificate (RFC 8705) */
    JWT_VETO,      /* libjwt disagrees: logged as an error, it should not happen */
    JWT_NO_KEYS,   /* the issuer's keys are not there: retriable */
    JWT_RESOURCES, /* out of memory: retriable */
};
const char *jwt_verdict_name(enum jwt_verdict v);
/* True for verdicts that must not be told to the client as final (error 58): close instead. */
bool jwt_verdict_retriable(enum jwt_verdict v);

/* The order: split; header and claims; issuer; algorithm; type; key; signature (this alone grants);
 * claims; libjwt's veto; times; binding. No claim but iss is looked at before the signature holds.
 * thumbprint: of the TLS client certificate, NULL without one. On anything but JWT_OK *out is
 * cleared, but for issuer (when known) so that an unknown kid can be fetched; its former content
 * is overwritten, so clear it first where it holds something. */
enum jwt_verdict jwt_verify(const char *token, size_t n, const struct keyring *keys, int64_t now_s,
                            const char *thumbprint, struct identity *out) SL_MUST;

/* What RFC 7009 needs to name a token that is to be revoked: all of jwt_verify but times and
 * binding. Never lets anybody in. */
enum jwt_verdict jwt_identify(const char *token, size_t n, const struct keyring *keys,
                              struct identity *out) SL_MUST;

#endif
