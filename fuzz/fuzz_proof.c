/* Any bytes as what a consumer proves itself with: a proof (a JWT with its claims), a DID, a DID
 * document, and the form beside them. What is taken must be whole. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/did.h"
#include "base/log.h"
#include "config/values.h"
#include "control/body.h"
#include "edc/proof.h"
#include "fuzz/mutate_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const char *const words[] = {"alg",
                                    "EdDSA",
                                    "ES256",
                                    "kid",
                                    "did:web:a#k",
                                    "did:web:a",
                                    "#k",
                                    "typ",
                                    "JWT",
                                    "iss",
                                    "sub",
                                    "aud",
                                    "exp",
                                    "iat",
                                    "jti",
                                    "a",
                                    "nbf",
                                    "token",
                                    "client_id",
                                    "id",
                                    "verificationMethod",
                                    "assertionMethod",
                                    "authentication",
                                    "type",
                                    "JsonWebKey2020",
                                    "Multikey",
                                    "controller",
                                    "publicKeyJwk",
                                    "publicKeyMultibase",
                                    "publicKeyBase58",
                                    "kty",
                                    "OKP",
                                    "EC",
                                    "crv",
                                    "Ed25519",
                                    "P-256",
                                    "x",
                                    "y",
                                    "did:web:a%3A8080:b",
                                    "did:web:127.0.0.1",
                                    "did:key:z6MkhaXgBZDvotDkL5258faiztiGiC2QtKLGpbnnEGta2doK",
                                    "did:jwk:",
                                    "refresh_token=",
                                    "refresh_token",
                                    "grant_type=refresh_token",
                                    "%41",
                                    "z6Mk",
                                    ""};

/* By what it looks like. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_words w = MUTATE_WORDS(words);

    if (size > 0 && data[0] == '{')
        return mutate_json(&w, data, size, max, seed);
    if (size > 4 && memcmp(data, "did:", 4) == 0)
        return mutate_items(':', &w, data, size, max, seed);
    if (memchr(data, '.', size) && !memchr(data, '&', size))
        return mutate_token(&w, data, size, max, seed);
    return mutate_items('&', &w, data, size, max, seed);
}

#define NOW INT64_C(1700000000)

static void read_proof(const char *text, size_t n)
{
    struct proof p;
    const char *why = proof_read(&p, text, n, "a", NOW);

    if (!why && (!p.consumer[0] || !p.jti[0] || !p.token || p.until <= NOW ||
                 p.until > NOW + PROOF_LONGEST_S + PROOF_SKEW_S))
        abort();
    proof_clear(&p);
}

static void read_did(const char *text)
{
    char url[DID_URL_BYTES];
    struct jwks *set;
    int rc = did_web_url(text, false, url);

    if (rc == OK && (value_url_fault(url, false) || !strstr(url, "/did.json")))
        abort();
    if (did_key_set(text, "k", &set) == OK && (rc == OK || jwks_count(set) != 1))
        abort();
    jwks_unref(set);
}

static void read_document(const char *text, size_t n)
{
    struct jwks *all, *one;

    if (did_document_set(text, n, "did:web:a", NULL, &all) == OK && jwks_count(all) == 0)
        abort();
    if (did_document_set(text, n, "did:web:a", "#k", &one) == OK && !jwks_has_kid(one, "#k"))
        abort();
    jwks_unref(all);
    jwks_unref(one);
}

static void read_form(const char *text, size_t n)
{
    char out[128];
    int len = body_form(text, n, "refresh_token", out, sizeof(out));

    if (len >= 0 && (strlen(out) != (size_t)len || (size_t)len >= sizeof(out)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    log_setup(LOG_ERROR, false);
    memcpy(text, data, size);
    text[size] = '\0';
    read_proof(text, size);
    read_did(text);
    read_document(text, size);
    read_form(text, size);
    free(text);
    return 0;
}
