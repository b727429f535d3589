/* SASL as a client: how a connection to a broker proves who sluice is. PLAIN (RFC 4616), SCRAM
 * (auth/scram.h), OAUTHBEARER (RFC 7628).
 *
 * Pure functions over buffers. A struct sasl_client is one authentication, plain memory of its
 * caller, wiped with sasl_client_clear; one thread. Every message is at most SASL_CLIENT_MAX. */
#ifndef AUTH_SASL_CLIENT_H
#define AUTH_SASL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "auth/scram.h"
#include "base/buf.h"
#include "config/config.h"

#define SASL_CLIENT_MAX ((size_t)32 * 1024)

/* What to prove it with; only what the mechanism needs must be set. Not copied. */
struct sasl_credentials {
    enum sasl_mechanism mechanism;
    const char *username, *password;
    const char *token;         /* OAUTHBEARER */
    struct scram_cache *cache; /* SCRAM; may be NULL */
};

struct sasl_client {
    bool done;
    struct scram scram;
};

/* The name on the wire; "" for SASL_NONE. */
const char *sasl_mechanism_name(enum sasl_mechanism m);
/* Appends the first message to out. ERR_CONFIG: these credentials can't be used, *why tells. */
int sasl_client_first(struct sasl_client *s, const struct sasl_credentials *c, struct buf *out,
                      const char **why) SL_MUST;
/* Takes the broker's answer to the last message. When s->done is set afterwards the broker has
 * proved all that it must; otherwise the next message has been appended to out. ERR_DENIED,
 * ERR_MALFORMED, ERR_LIMIT, ERR_CONFIG with *why (constant text, no secret in it). */
int sasl_client_next(struct sasl_client *s, const struct sasl_credentials *c, const void *p,
                     size_t n, struct buf *out, const char **why) SL_MUST;
void sasl_client_clear(struct sasl_client *s);

#endif
