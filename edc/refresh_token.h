/* Refresh tokens: random, single use, one a transfer at a time. The store keeps a note of each
 * (kind "refresh", by transfer) with a hash, so that the file gives none away, and the note is on
 * the disk before a token that replaced another one is handed out: a used one stays used whatever
 * happens. Stateless ones would be shorter work, but could be used twice. Control thread. */
#ifndef EDC_REFRESH_TOKEN_H
#define EDC_REFRESH_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/issuer.h"
#include "auth/secret.h"
#include "auth/store.h"
#include "base/err.h"

#define REFRESH_TOKEN_BYTES    SECRET_TEXT_BYTES
#define REFRESH_CONSUMER_BYTES 256

/* Who may use it, with which access token, until when. */
struct refresh_note {
    char hash[REFRESH_TOKEN_BYTES];
    char consumer[REFRESH_CONSUMER_BYTES];
    char jti[ISSUER_JTI_BYTES];
    int64_t until;
};

/* A new one, which replaces the transfer's former one at once. done as store_note's; may be NULL.
 */
int refresh_token_put(struct store *s, const char *transfer, const char *consumer, const char *jti,
                      int64_t until, char token[REFRESH_TOKEN_BYTES], store_done_fn *done,
                      void *arg) SL_MUST;
/* False when the transfer has none. */
bool refresh_token_find(struct store *s, const char *transfer, struct refresh_note *out);
/* Is this the token? In a time that tells nothing. */
bool refresh_token_is(const struct refresh_note *note, const char *token);
void refresh_token_end(struct store *s, const char *transfer);
/* Drops those that are past their end. */
void refresh_token_sweep(struct store *s, int64_t now_s);

#endif
