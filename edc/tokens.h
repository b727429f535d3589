/* Tokens for transfers: what an EDR hands to the consumer. Where they come from is configuration
 * (tokens.source): signed here (auth/issuer.h); or fetched from an authorization server, with the
 * client credentials that the data address names, or with a client that is registered for this one
 * transfer (RFC 7591) and deleted at its end (RFC 7592). A token of an authorization server is
 * parsed and verified like any client's before anybody gets it.
 *
 * Where tokens.refresh is configured, a token comes with a refresh token (edc/refresh.c).
 *
 * Owned by edc, control thread. Bounded: TOKENS_ASKS_MAX fetches under way, TOKENS_DEADLINE_MS for
 * each, TOKENS_CLIENTS_MAX registered clients, TOKENS_CHORES_MAX deletions and revocations that
 * wait for an authorization server. Registered clients are durable notes of the store, so that a
 * restart forgets none. No secret and no token is ever logged. */
#ifndef EDC_TOKENS_H
#define EDC_TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "auth/jwks.h"
#include "auth/store.h"
#include "base/err.h"
#include "config/config.h"

#define TOKENS_DEADLINE_MS 2000 /* the connector's whole transfer loop waits meanwhile */
#define TOKENS_ASKS_MAX    64
#define TOKENS_CLIENTS_MAX 10000
#define TOKENS_CHORES_MAX  1024

struct issuer;
struct loop;
struct tokens;

struct tokens_parts {
    struct loop *loop;
    struct store *store;
    struct issuer *issuer; /* outlives the tokens */
    void *arg;
    /* As in struct edc_parts. */
    struct keyring *(*keys)(void *arg);
    void (*unknown_kid)(void *arg, const char *issuer);
};

/* NULL with err. */
struct tokens *tokens_new(const struct tokens_parts *p, const struct config *c, char *err,
                          size_t err_bytes) SL_MUST;
/* A reload. On error nothing has changed. */
int tokens_config(struct tokens *t, const struct config *c, char *err, size_t err_bytes) SL_MUST;
/* Nobody who waits hears of it any more. Not inside done. */
void tokens_free(struct tokens *t);

/* What a token is asked for. All of it is copied. NULL or "" where it is not known. */
struct token_ask {
    const char *transfer; /* never empty */
    const char *participant, *agreement, *asset;
    const char *const *topics;
    size_t ntopics;
    const char *group_prefix;
    unsigned operations;
    int64_t not_before_iat; /* iat is at least this, where the token is signed here */
    int64_t expires;        /* end of the grant, epoch s; 0: none */
    /* Who may refresh: the DID (or other id) that proves itself; "" falls back to participant. */
    const char *consumer;
    /* Of the data address; used with tokens.source client_credentials. The secret comes by the
     * name of an entry of tokens.secrets[], or in clear. Without token_url tokens.token_url. */
    const char *token_url, *client_id, *client_secret, *client_secret_key;
    const char *revoke_url; /* where tokens_end takes the token back; else tokens.revoke_url */
};

/* Lives until done returns. On anything but OK only result and why mean something:
 *   ERR_CONFIG     what was asked for cannot be had here: no own issuer, a URL that is not allowed
 *   ERR_DENIED     the authorization server refused, or the transfer has ended meanwhile
 *   ERR_MALFORMED  what the server answered is no token that could be used here
 *   ERR_TIMEOUT, ERR_IO, ERR_TLS, ERR_BUSY, ERR_NOMEM, ERR_LIMIT
 */
struct token_answer {
    int result;
    const char *why; /* a short reason without secrets, never NULL */
    const char *token;
    int64_t issued_s, expires_s;                 /* its iat and exp, epoch s */
    const char *issuer, *subject, *client, *jti; /* of the token; "" when absent */
    const char *refresh_token;                   /* NULL: none; so are the next two */
    const char *refresh_endpoint, *refresh_audience;
};
typedef void tokens_done_fn(void *arg, const struct token_answer *a);

/* done is called exactly once, before this returns (signed here) or later (TOKENS_DEADLINE_MS at
 * most). A further call for the same transfer makes a further token and a further refresh token,
 * which replaces the former refresh token. On error done is not called. */
int tokens_get(struct tokens *t, const struct token_ask *ask, tokens_done_fn *done,
               void *arg) SL_MUST;
/* The transfer has ended or is suspended: its refresh token is void at once, what is asked for it
 * is given up (done hears ERR_DENIED, later). Behind that, with retries: its registered client is
 * deleted, its last token is taken back where the server offers RFC 7009. Unknown ids are fine. */
void tokens_end(struct tokens *t, const char *transfer);
/* A token of the authorization server was revoked here by this client of it: tells
 * tokens.revoke_url, with retries. */
void tokens_forward(struct tokens *t, const char *token, const char *client_id,
                    const char *client_secret);

#endif
