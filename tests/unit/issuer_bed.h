/* Keys in PEM, and configurations whose issuer is our own. */
#ifndef TESTS_ISSUER_BED_H
#define TESTS_ISSUER_BED_H

#include <openssl/bio.h>
#include <openssl/pem.h>

#include "tests/unit/token.h"

#define OWN "https://edge.example.com"

/* "P-256", "P-384", "P-521", "ED25519", "RSA". */
static inline EVP_PKEY *own_key(const char *kind)
{
    if (strcmp(kind, "ED25519") == 0)
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (strcmp(kind, "RSA") == 0)
        return EVP_RSA_gen(2048);
    return EVP_EC_gen(kind);
}

/* The caller's to free. */
static inline char *own_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *at, *out;
    long n;

    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    n = BIO_get_mem_data(bio, &at);
    out = strndup(at, (size_t)n);
    BIO_free(bio);
    return out;
}

/* issuer: further options of the entry, each with a comma before it; more: of the file. The keys
 * are given as texts that outlive the configuration, since no file is read here. */
static inline struct config *own_config(const char *issuer, const char *more,
                                        const char *const *pems, size_t n)
{
    char text[8192];
    struct config *c;
    size_t i;

    snprintf(text, sizeof(text),
             "issuers:\n  - {issuer: '" OWN "', audience: [sluice, other], signing_keys: [%s]%s}\n"
             "%s",
             n == 1   ? "a.pem"
             : n == 2 ? "a.pem, b.pem"
                      : "a.pem, b.pem, c.pem",
             issuer, more);
    c = token_config(text);
    for (i = 0; c && i < n; i++)
        c->issuers[0].signing_keys.at[i] = pems[i];
    return c;
}

#endif
