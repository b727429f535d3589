/* Private to auth/scram.c and auth/scram_server.c: the grammar and the arithmetic that both sides
 * of SCRAM have in common. Pure functions over the caller's memory. */
#ifndef AUTH_SCRAM_PRIV_H
#define AUTH_SCRAM_PRIV_H

#include <openssl/evp.h>
#include <stdbool.h>

#include "auth/scram.h"

/* What is left of a message that is being read. */
struct scram_text {
    const char *p;
    size_t n;
};

const EVP_MD *scram_md(enum scram_hash hash);
/* Bytes of a hash, 32 or 64. */
size_t scram_bytes(enum scram_hash hash);
/* Writes 4 * ceil(n / 3) characters, no NUL, and returns how many. */
size_t scram_base64(char *out, const uint8_t *p, size_t n);
/* Strict: padded, no white space, no stray bits behind the last byte. Returns the count of bytes,
 * or an error. */
int scram_unbase64(struct scram_text t, uint8_t *out, size_t max) SL_MUST;
/* No control characters. Kafka hashes the UTF-8 bytes as they are, without SASLprep, and so do we.
 */
bool scram_plain_text(const char *s);
/* Only characters that may stand in a nonce or an extension's value. */
bool scram_printable(struct scram_text t);
/* Takes "x=value" up to the next comma or the end. */
bool scram_attribute(struct scram_text *t, char *name, struct scram_text *value);
/* Optional extensions are checked for form and ignored; "m" would be a mandatory one. */
bool scram_extensions(struct scram_text t);
/* The key has scram_bytes. */
int scram_hmac(enum scram_hash hash, const uint8_t *key, const void *p, size_t n,
               uint8_t *out) SL_MUST;
/* SCRAM_NONCE_LEN characters and a NUL. */
int scram_random_nonce(char out[SCRAM_NONCE_LEN + 1]) SL_MUST;

#endif
