/* SCRAM-SHA-256 and SCRAM-SHA-512, the client's side (RFC 5802, RFC 7677, without channel binding).
 *
 * Pure functions over buffers: three messages, no socket. A struct scram is plain memory of one
 * authentication, owned by the caller and wiped with scram_clear; one thread. Limits: messages of
 * SCRAM_MESSAGE_MAX bytes, SCRAM_ITERATIONS_MIN to _MAX iterations (the upper end costs about a
 * second of the caller's thread, once: the salted password is cached).
 *
 *   client                      server
 *   n,,n=user,r=nonce     ->
 *                         <-    r=nonce+more,s=salt,i=iterations
 *   c=biws,r=...,p=proof  ->
 *                         <-    v=signature | e=error */
#ifndef AUTH_SCRAM_H
#define AUTH_SCRAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SCRAM_MESSAGE_MAX    1024
#define SCRAM_USER_MAX       255
#define SCRAM_SALT_MAX       128
#define SCRAM_HASH_MAX       64
#define SCRAM_NONCE_LEN      32 /* base64 of 24 random bytes */
#define SCRAM_ITERATIONS_MIN 4096
#define SCRAM_ITERATIONS_MAX 1000000

enum scram_hash { SCRAM_SHA_256, SCRAM_SHA_512 };

/* Salted passwords, so that a reconnect costs no PBKDF2. Belongs to one user name and password:
 * scram_cache_clear when they change. Zeroed memory is an empty cache. */
#define SCRAM_CACHE_MAX 4
struct scram_cache {
    struct {
        enum scram_hash hash;
        uint32_t iterations; /* 0: free */
        uint32_t salt_len;
        uint8_t salt[SCRAM_SALT_MAX];
        uint8_t salted[SCRAM_HASH_MAX];
    } at[SCRAM_CACHE_MAX];
    unsigned next;
};
void scram_cache_clear(struct scram_cache *c);

struct scram {
    enum scram_hash hash;
    enum { SCRAM_NEW, SCRAM_FIRST_SENT, SCRAM_FINAL_SENT, SCRAM_DONE } state;
    size_t bare_len; /* of client-first-message-bare; its nonce stands at the end */
    char bare[8 + 3 * SCRAM_USER_MAX + SCRAM_NONCE_LEN];
    uint8_t signature[SCRAM_HASH_MAX]; /* that the server must prove */
};

/* The first message into out[SCRAM_MESSAGE_MAX]; user is UTF-8 without control characters (taken
 * as it is, as Kafka does: no SASLprep), 1 to SCRAM_USER_MAX bytes, else ERR_CONFIG. nonce: NULL
 * for a random one; else printable without a comma, at most SCRAM_NONCE_LEN characters. */
int scram_first(struct scram *s, enum scram_hash hash, const char *user, const char *nonce,
                char *out, size_t *out_len, const char **why) SL_MUST;
/* Takes the server's first message, gives the final one. ERR_MALFORMED: it breaks the grammar, or
 * the nonce isn't ours. ERR_LIMIT: iterations outside the bounds. ERR_CONFIG: the password is
 * empty or has control characters. cache may be NULL. */
int scram_final(struct scram *s, const char *password, struct scram_cache *cache, const void *p,
                size_t n, char *out, size_t *out_len, const char **why) SL_MUST;
/* Takes the server's final message. ERR_DENIED: it says no, or can't prove that it knows the
 * password. */
int scram_verify(struct scram *s, const void *p, size_t n, const char **why) SL_MUST;
void scram_clear(struct scram *s);

#endif
