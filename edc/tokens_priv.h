/* Inside edc/tokens: what its files share. Control thread. */
#ifndef EDC_TOKENS_PRIV_H
#define EDC_TOKENS_PRIV_H

#include "auth/http.h"
#include "auth/issuer.h"
#include "edc/chores.h"
#include "edc/tokens.h"

/* Tokens of an authorization server that may have to be taken back. */
#define TOKENS_HELD_MAX      1024
#define TOKENS_SWEEP_S       600
#define TOKENS_SWEEP_FIRST_S 60 /* an earlier run's transfers may be started again by then */
/* A client whose deletion fails for so long is left to the people who run the server. */
#define TOKENS_CLIENT_KEEP_S (INT64_C(7) * 24 * 3600)

#define NOTE_CLIENT  "client"  /* kinds of store notes: by client id, */
#define NOTE_REFRESH "refresh" /* by transfer */

struct client;
struct token_fetch;
struct held;

struct tokens {
    struct tokens_parts parts;
    const struct config *config; /* a reference */
    struct http *http;
    struct chores *chores;
    struct loop_timer *sweep;
    struct token_fetch *fetches;
    size_t nfetches;
    struct client *clients;
    size_t nclients;
    struct held *held;
    size_t nheld;
};

/* --- fetching a token (tokens_fetch.c) */

/* TOKENS_CLIENT_CREDENTIALS and TOKENS_REGISTRATION. As tokens_get. */
int token_fetch_start(struct tokens *t, const struct token_ask *ask, tokens_done_fn *done,
                      void *arg) SL_MUST;
/* Gives up what is asked for the transfer: done hears ERR_DENIED, at the end of this turn. */
void token_fetch_give_up(struct tokens *t, const char *transfer);
/* Everything, at once: done hears ERR_BUSY. */
void token_fetch_fail_all(struct tokens *t);
/* Without a word to anybody. */
void token_fetch_free_all(struct tokens *t);

/* --- registered clients (tokens_clients.c) */

/* What the server said about a client that it registered (RFC 7591, 3.2.1). */
struct registered {
    const char *client_id, *uri, *token;
};
/* Remembers it, durably. On error it is deleted again. */
int client_add(struct tokens *t, const char *transfer, const struct registered *r) SL_MUST;
/* Deletes the transfer's clients, behind this call; but: NULL or one that stays. */
void client_end(struct tokens *t, const char *transfer, const char *but);
void client_end_one(struct tokens *t, const char *client_id);
/* Those of an earlier run; and what was not deleted yet. */
void client_load(struct tokens *t);
void client_sweep(struct tokens *t);
void client_free_all(struct tokens *t);

/* --- tokens that may have to be taken back (tokens_held.c) */

/* All texts are copied; secrets are wiped. Nothing is kept where there is no URL. */
void held_add(struct tokens *t, const char *transfer, const char *token, int64_t expires,
              const char *url, const char *client_id, const char *client_secret);
/* RFC 7009 for the transfer's tokens that are still valid, behind this call. */
void held_end(struct tokens *t, const char *transfer);
/* RFC 7009 at this URL, as this client, with retries. */
int held_revoke(struct tokens *t, const char *url, const char *token, const char *id,
                const char *secret) SL_MUST;
void held_sweep(struct tokens *t);
void held_free_all(struct tokens *t);

#endif
