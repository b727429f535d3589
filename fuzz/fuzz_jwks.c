/* Any bytes as a JWK Set. What is taken must be usable, and found under its own name. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "auth/jwks.h"
#include "fuzz/mutate_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const char *const words[] = {
    "keys",  "kty",    "kid",     "alg",   "use",   "key_ops", "crv",   "x",
    "y",     "n",      "e",       "d",     "x5c",   "x5t",     "RSA",   "EC",
    "OKP",   "oct",    "Ed25519", "Ed448", "P-256", "P-384",   "P-521", "secp256k1",
    "RS256", "PS256",  "ES256",   "ES384", "EdDSA", "HS256",   "none",  "sig",
    "enc",   "verify", "sign",    "AQAB",  "AQ",    "AAAA",    ""};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_words w = MUTATE_WORDS(words);

    return mutate_json(&w, data, size, max, seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum jwt_alg algs[] = {ALG_RS256, ALG_PS256, ALG_ES256, ALG_ES384, ALG_EDDSA};
    struct jwks *s;
    unsigned ignored;
    char err[128];
    size_t i;

    if (jwks_parse((const char *)data, size, &s, &ignored, err, sizeof(err)) != OK) {
        if (s)
            abort();
        return 0;
    }
    if (jwks_count(s) == 0 || jwks_count(s) > JWKS_KEYS_MAX)
        abort();
    for (i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
        const struct jwk *k = jwks_find(s, NULL, algs[i]);

        if (k && (!k->pkey || !(k->algs & (unsigned)algs[i]) || !jwks_has_kid(s, k->kid)))
            abort();
    }
    jwks_unref(s);
    return 0;
}
