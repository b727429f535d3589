/* Who logs in to a listener of ours by name and password: SASL PLAIN (RFC 4616) and SCRAM-SHA-256
 * and SCRAM-SHA-512 (RFC 5802, RFC 7677, without channel binding), the server's side.
 *
 *   client                      server
 *   n,,n=user,r=nonce     ->
 *                         <-    r=nonce+more,s=salt,i=iterations
 *   c=biws,r=...,p=proof  ->
 *                         <-    v=signature
 *
 * A struct scram_users belongs to one listener and is used by its thread. PBKDF2 runs when users
 * are set, never at a login, so that a stranger costs two HMACs. Salts are made of the name and a
 * secret of this process: a name that is not there gets one as well, the same whenever it asks,
 * and fails where a wrong password fails, after the same arithmetic. Secrets are compared in
 * constant time. Bounded: SCRAM_USERS_MAX users, messages of SCRAM_MESSAGE_MAX bytes. */
#ifndef AUTH_SCRAM_SERVER_H
#define AUTH_SCRAM_SERVER_H

#include <stdbool.h>

#include "auth/scram.h"

#define SCRAM_USERS_MAX 16
/* RFC 7677's least, which every client takes; what it costs stands once a user and reload. */
#define SCRAM_SERVER_ITERATIONS 4096

struct scram_users;

struct scram_user {
    const char *name;     /* 1 to SCRAM_USER_MAX bytes of UTF-8 without control characters */
    const char *password; /* not empty */
};

/* NULL without memory or random numbers. No users yet. */
struct scram_users *scram_users_new(void) SL_MUST;
/* Wipes it. NULL is fine. */
void scram_users_free(struct scram_users *u);
/* These and no others from now on; nothing is kept of list. A user whose name and password stay
 * keeps its keys. ERR_LIMIT for more than SCRAM_USERS_MAX, ERR_CONFIG for a name or password that
 * cannot be; on error nothing has changed. */
int scram_users_set(struct scram_users *u, const struct scram_user *list, size_t n) SL_MUST;
/* Is this the password of that user? Takes as long for a name that is not there. */
bool scram_users_check(const struct scram_users *u, const char *name, const void *password,
                       size_t n);
/* A number that differs between passwords of the same name; 0 when there is no such user. What was
 * let in with another number is to be let out. */
uint64_t scram_users_number(const struct scram_users *u, const char *name);

/* One authentication: plain memory of the caller, wiped with scram_server_clear. */
struct scram_server {
    enum scram_hash hash;
    enum { SCRAM_SERVER_NEW, SCRAM_SERVER_CHALLENGED, SCRAM_SERVER_DONE } state;
    char user[SCRAM_USER_MAX + 1]; /* as the client says; known or not */
    size_t gs2_len, bare_len, first_len, nonce_len;
    char gs2[4 + 3 * SCRAM_USER_MAX + 2];
    char bare[SCRAM_MESSAGE_MAX];  /* client-first-message-bare */
    char first[SCRAM_MESSAGE_MAX]; /* server-first-message; begins with "r=" and the nonce */
};

/* Takes the client's first message, gives ours into out[SCRAM_MESSAGE_MAX]. Zero s before. nonce:
 * NULL for a random one. ERR_MALFORMED with *why: the grammar, channel binding, an authorization
 * name that is not the user's own, an extension. */
int scram_server_first(struct scram_server *s, const struct scram_users *u, enum scram_hash hash,
                       const void *p, size_t n, const char *nonce, char *out, size_t *out_len,
                       const char **why) SL_MUST;
/* Takes the client's final message, gives ours. ERR_DENIED: no such user or not its password, which
 * are not told apart. */
int scram_server_final(struct scram_server *s, const struct scram_users *u, const void *p, size_t n,
                       char *out, size_t *out_len, const char **why) SL_MUST;
void scram_server_clear(struct scram_server *s);

#endif
