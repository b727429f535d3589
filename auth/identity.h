/* Who a session is: what a verified token said, in the terms that grants and revocations use.
 *
 * Filled by jwt_verify; plain memory of whoever holds it (a session keeps one for its life). It
 * refers to nothing outside itself, so it outlives the configuration that it was checked against.
 * Used by one thread at a time; identity_copy makes another. */
#ifndef AUTH_IDENTITY_H
#define AUTH_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define IDENTITY_TEXT_MAX   256 /* a claim of 255 bytes and its NUL; longer ones refuse the token */
#define IDENTITY_TOPICS_MAX 64

struct identity {
    char issuer[IDENTITY_TEXT_MAX];  /* "" until it is known to be one of the configuration's */
    bool shared_subjects;            /* the issuer's setting */
    char subject[IDENTITY_TEXT_MAX]; /* "" when absent, here and below */
    char client[IDENTITY_TEXT_MAX];
    char jti[IDENTITY_TEXT_MAX];
    char sid[IDENTITY_TEXT_MAX]; /* the session at the issuer that it came from (OpenID Connect) */
    int64_t issued, expires;     /* epoch s; issued 0: absent */
    /* from mapped claims */
    char transfer[IDENTITY_TEXT_MAX];
    char participant[IDENTITY_TEXT_MAX];
    char agreement[IDENTITY_TEXT_MAX];
    char asset[IDENTITY_TEXT_MAX];
    char group_prefix[IDENTITY_TEXT_MAX];
    char *topics[IDENTITY_TOPICS_MAX]; /* owned; identity_clear frees them */
    unsigned ntopics;
    /* enum op bits from the claim; OP_READ where the issuer's configuration maps no such claim;
     * 0: it maps one, and the token says nothing that we know */
    unsigned operations;
    char thumbprint[44]; /* cnf.x5t#S256 */
};

/* Frees what is owned and zeroes all. */
void identity_clear(struct identity *id);
/* dst is overwritten (clear it first when it holds topics). ERR_NOMEM leaves it cleared. */
int identity_copy(struct identity *dst, const struct identity *src) SL_MUST;

#endif
