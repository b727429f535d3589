/* What an issuer says about its tokens: read, verified, and turned into revocations.
 *
 *   SECEVENT_SET     a security event token (RFC 8417): CAEP session-revoked, RISC account-disabled
 *                 and the like; subjects as in RFC 9493
 *   SECEVENT_LOGOUT  a logout token (OpenID Connect Back-Channel Logout 1.0)
 *   SECEVENT_ADMIN   Keycloak's k_logout and k_push_not_before
 *
 * Whoever sends one is unknown, so it is only as good as its signature: by a key of the issuer that
 * it names (Keycloak's own name none: of each issuer whose key it is), an issuer that has `events`
 * configured, for an audience that is named there, and young. Claims are looked at after the
 * signature holds. Pure; any thread with its own keyring reference. */
#ifndef EDC_SECEVENT_H
#define EDC_SECEVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/grant.h"
#include "auth/identity.h"
#include "auth/jwks.h"

#define SECEVENT_REVOCATIONS_MAX 256
#define SECEVENT_TYPES_MAX       16  /* events of one SET */
#define SECEVENT_SKEW_S          30  /* an issuer's clock ahead of ours, at most */
#define SECEVENT_NOT_BEFORE_S    300 /* a not-before so far in the future is no slip of a clock */

enum secevent_source {
    SECEVENT_SET,
    SECEVENT_LOGOUT,
    SECEVENT_LOGOUT_ADMIN,
    SECEVENT_NOT_BEFORE_ADMIN
};
#define SECEVENT_SOURCES (SECEVENT_NOT_BEFORE_ADMIN + 1)

enum secevent_fault {
    SECEVENT_FINE,
    SECEVENT_MALFORMED, /* no such token, or claims that do not make the event */
    SECEVENT_ISSUER,    /* unknown, or its events are not wanted */
    SECEVENT_KEY,       /* no such key (yet): retriable */
    SECEVENT_SIGNATURE,
    SECEVENT_AUDIENCE,
    SECEVENT_TIME,    /* too old, expired, or from the future */
    SECEVENT_SUBJECT, /* whom it is about is nobody that a token could name */
    SECEVENT_NO_MEMORY,
};

struct secevent {
    char issuer[IDENTITY_TEXT_MAX]; /* "" until one's signature was found to hold */
    char id[IDENTITY_TEXT_MAX];     /* its jti */
    const char *name;               /* "session-revoked"; constant; NULL until it is known */
    int64_t over_s;                 /* from then on it is too old to be taken again */
    /* Of whom a key may be missing: bits by place in the configuration. */
    unsigned unknown_kid;
    struct revocation *revocations[SECEVENT_REVOCATIONS_MAX]; /* owned */
    unsigned count; /* 0: it says nothing that we could act on (a stream's verification) */
};

/* SECEVENT_FINE: the revocations are what is to be done. Else *why says what is wrong, for the log
 * and for the sender; out has what was found up to there, and no revocations. secevent_clear
 * afterwards in any case. */
enum secevent_fault secevent_read(enum secevent_source source, const char *text, size_t n,
                                  const struct keyring *keys, int64_t now_s, struct secevent *out,
                                  const char **why) SL_MUST;
void secevent_clear(struct secevent *e);
const char *secevent_source_name(enum secevent_source s);

#endif
