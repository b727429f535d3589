/* What the control listener and the signaling listener have in common as OAuth servers: who the
 * client of a request is (RFC 6749, 2.3.1), and the revocation endpoint (RFC 7009). Control thread.
 */
#ifndef CONTROL_OAUTH_ASK_H
#define CONTROL_OAUTH_ASK_H

#include <stdbool.h>
#include <stddef.h>

#include "auth/identity.h"
#include "auth/jwks.h"
#include "control/change.h"
#include "control/server.h"

#define OAUTH_CLIENT_BYTES 512 /* an id or a secret, with its NUL */

struct loop;

/* As the request has it: HTTP Basic, or the form fields client_id and client_secret. */
struct oauth_client {
    char id[OAUTH_CLIENT_BYTES];
    char secret[OAUTH_CLIENT_BYTES];
};
/* False when there is none, or both at once. A form without client_id gives "". Wipe it with
 * oauth_client_wipe either way. */
bool oauth_client_read(struct ask *a, struct oauth_client *out) SL_MUST;
void oauth_client_wipe(struct oauth_client *c);
/* Is this the secret? In a time that tells nothing about it. Clients encode what goes into Basic,
 * as the RFC says, or they don't, so both are taken. */
bool oauth_secret_is(const char *secret, const char *given);

struct oauth_revoker {
    struct loop *loop;
    const struct changes *changes;
    void *arg;
    struct keyring *(*keys)(void *arg);                 /* a new reference, or NULL */
    void (*unknown_kid)(void *arg, const char *issuer); /* or NULL */
};
/* Behind the answer, once, whatever that was. token NULL: it was not taken back. issuer "": it is
 * none that could be used here. Both live until it returns. */
typedef void oauth_revoked_fn(void *arg, const char *issuer, const char *token);

/* Answers a, whose client is known: bars its form's token; 200 also for one that could never be
 * used here, 503 where that isn't known since the issuer's keys are not there. revoked may be NULL.
 */
void oauth_revoke(const struct oauth_revoker *r, struct ask *a, oauth_revoked_fn *revoked,
                  void *arg);

#endif
