/* Key sets: the public keys of an issuer. An immutable, counted snapshot; made on the control
 * thread (fetched by libcurl or read from a file), shared with workers, who look up only. */
#ifndef AUTH_JWKS_H
#define AUTH_JWKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"

#define JWKS_BYTES_MAX      ((size_t)256 * 1024)
#define JWKS_KEYS_MAX       64
#define JWKS_RSA_BITS_MIN   2048
#define JWKS_RSA_BITS_MAX   8192 /* a larger one costs more to check than it can be worth */
#define KEYRING_ISSUERS_MAX 16

struct jwk {
    char kid[256]; /* "" when absent */
    unsigned algs; /* enum jwt_alg bits: what this key can verify */
    void *pkey;    /* EVP_PKEY * */
};
struct jwks;

/* Parses a JWK Set (RFC 7517). Keys that cannot be used (oct, RSA < 2048, use other than sig,
 * unknown curves, points off the curve, private keys) are left out and counted in *ignored; a set
 * without any usable key is ERR_UNKNOWN, one that isn't strict JSON ERR_MALFORMED, one with too
 * many bytes or keys ERR_LIMIT. ERR_NOMEM: never fewer keys for want of memory. err tells. */
int jwks_parse(const char *text, size_t n, struct jwks **out, unsigned *ignored, char *err,
               size_t err_bytes) SL_MUST;
/* The content of a plain file, up to one byte more than JWKS_BYTES_MAX (a pipe would hold up the
 * thread), sl_free'd by the caller; NULL with why. */
char *jwks_file_read(const char *path, size_t *n, char *why, size_t why_bytes) SL_MUST;
struct jwks *jwks_ref(struct jwks *s);
void jwks_unref(struct jwks *s);
/* The one key for (kid, alg); kid NULL or "": the only key that fits alg. NULL when there is none,
 * or more than one. */
const struct jwk *jwks_find(const struct jwks *s, const char *kid, enum jwt_alg alg);
/* Does any key of the set have this kid, whatever it can verify? */
bool jwks_has_kid(const struct jwks *s, const char *kid);
size_t jwks_count(const struct jwks *s);

/* All issuers' current sets as one snapshot for workers. */
struct keyring {
    atomic_uint refs;
    const struct config *config; /* issuers[i] belongs to sets[i]; a reference */
    /* NULL: none yet, or too old: logins are refused retriably */
    struct jwks *sets[KEYRING_ISSUERS_MAX];
};
/* Takes references of its own. sets has config->nissuers entries, at most KEYRING_ISSUERS_MAX. */
struct keyring *keyring_new(const struct config *c, struct jwks *const *sets) SL_MUST;
struct keyring *keyring_ref(struct keyring *k);
void keyring_unref(struct keyring *k);

/* --- the fetcher: control thread (auth/jwks_fetch.c). For each issuer the configured URL alone, or
 * the one that its discovery document names, on the issuer's own host or one of outgoing.hosts;
 * https unless config->development, no redirects, no proxy, HTTP_TIMEOUT_MS, JWKS_BYTES_MAX. The
 * last good set is kept until max_age_s. */
#define JWKS_UNKNOWN_KID_S 10 /* at most one fetch an issuer in so long because of unknown kids */

struct loop;
struct jwks_fetcher;
/* changed is called, never before this returns, with a new keyring whenever a set changed. The
 * keyring is lent: keyring_ref what is kept. NULL, with the reason in the log, when a static key
 * file cannot be used or there are no issuers. */
struct jwks_fetcher *jwks_fetcher_new(struct loop *l, const struct config *c,
                                      void (*changed)(void *arg, struct keyring *k),
                                      void *arg) SL_MUST;
/* Not inside changed. */
void jwks_fetcher_free(struct jwks_fetcher *f);
/* A reload: new issuers, files read anew. A file that can't be used keeps the old set, and where
 * there is none ERR_CONFIG, and nothing has changed. Always ends in a call of changed, since the
 * keyring belongs to its configuration. */
int jwks_fetcher_config(struct jwks_fetcher *f, const struct config *c) SL_MUST;
/* A token named a kid that we don't have: at most one fetch in JWKS_UNKNOWN_KID_S an issuer. */
void jwks_fetcher_unknown_kid(struct jwks_fetcher *f, const char *issuer);
/* True when every issuer has a set. */
bool jwks_fetcher_ready(const struct jwks_fetcher *f);

#endif
