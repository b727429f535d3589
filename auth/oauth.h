/* A token source: OAuth 2.0 client credentials (RFC 6749, 4.4) for upstream SASL/OAUTHBEARER. It
 * fetches a token at once and a new one before the last expires, backs off when the server fails,
 * and never writes a secret or a token to the log.
 *
 * Owned by main, one a process; the control thread only. The callback hands each new token on to
 * the workers, whose connections authenticate with it from then on. */
#ifndef AUTH_OAUTH_H
#define AUTH_OAUTH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"

#define OAUTH_TOKEN_MAX      ((size_t)16 * 1024)
#define OAUTH_LIFE_DEFAULT_S 300
#define OAUTH_WHY_BYTES      128
#define OAUTH_ANSWER_BYTES   ((size_t)64 * 1024) /* a token endpoint's answer */

struct loop;
struct oauth_source;

/* A token endpoint's answer (RFC 6749, 5.1). */
struct oauth_answer {
    json_t *doc;
    const char *token; /* in doc */
    int64_t life_s;    /* 1 s to a year; OAUTH_LIFE_DEFAULT_S where the server doesn't say */
};
/* NULL, or what is wrong with it. Call oauth_answer_clear, which wipes the token, either way. */
const char *oauth_answer_read(const char *text, size_t n, struct oauth_answer *out) SL_MUST;
void oauth_answer_clear(struct oauth_answer *a);
/* The server's word for why not: an error code of RFC 6749, 5.2, which holds no secret. out:
 * OAUTH_WHY_BYTES; returned. */
const char *oauth_refusal(int status, const char *text, size_t n, char *out);

/* token is NUL-terminated, valid during the call and wiped after it; expires: epoch s. */
typedef void oauth_token_fn(void *arg, const char *token, int64_t expires);

/* c: token_url, client_id, client_secret, scope; copied. ca: as in auth/http.h. The secret goes by
 * HTTP Basic, and where the server refuses that, in the form. fn is never called before this
 * returns. NULL when memory is short, or the URL is not https (http in development mode); the log
 * tells. */
struct oauth_source *oauth_source_new(struct loop *l, const struct upstream_config *c,
                                      bool development, const char *ca, oauth_token_fn *fn,
                                      void *arg) SL_MUST;
/* Not inside fn. */
void oauth_source_free(struct oauth_source *s);
/* A broker refused the token: a new one, at most every 10 s. */
void oauth_source_refresh(struct oauth_source *s);
/* True while the last token is valid. */
bool oauth_source_ready(const struct oauth_source *s);

#endif
