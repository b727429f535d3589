/* Any bytes as a bearer token, against a fixed keyring. The first byte says how: the rest is the
 * token itself, or a header, a newline and claims that are signed here, so that what lies behind
 * the signature is reached as well. The keys are the best known of the world: Ed25519 of 32 zeros,
 * and P-256 with the private key 1. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <openssl/param_build.h>

#include "auth/jwt.h"
#include "base/log.h"
#include "fuzz/mutate_text.h"
#include "tests/unit/token.h"

#define NOW 1800000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static const char *const words[] = {
    "alg",  "kid",  "typ",  "JWT",       "at+jwt",   "jwk",         "jku",       "x5u",
    "x5c",  "crit", "b64",  "cty",       "EdDSA",    "ES256",       "RS256",     "HS256",
    "none", "ed",   "es",   "iss",       "aud",      "sub",         "exp",       "iat",
    "nbf",  "jti",  "azp",  "client_id", "transfer", "participant", "topics",    "prefix",
    "ops",  "cnf",  "jkt",  "x5t#S256",  "scope",    "https://i",   "https://j", "s",
    "bob",  "read", "write"};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_words w = MUTATE_WORDS(words);

    if (size < 2 || max < 2 || seed % 32 == 0)
        return LLVMFuzzerMutate(data, size, max);
    if (data[0] % 3 == 0)
        return 1 + mutate_token(&w, data + 1, size - 1, max - 1, seed);
    return 1 + mutate_claims(&w, data + 1, size - 1, max - 1, seed);
}

static EVP_PKEY *ed, *ec;
static struct keyring *ring;

static void must(int holds)
{
    if (!holds)
        abort();
}

static EVP_PKEY *generator_key(void)
{
    static const uint8_t g[65] = {0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc,
                                  0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d,
                                  0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
                                  0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb,
                                  0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31,
                                  0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5};
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    BIGNUM *one = BN_new();
    OSSL_PARAM *params;

    BN_one(one);
    OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, g, sizeof(g));
    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, one);
    params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_fromdata_init(ctx);
    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(ctx);
    BN_free(one);
    return key;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t zeros[32];
    struct jwks *sets[2] = {0};
    struct config *c;
    char text[1024], err[128];
    char *a, *b;
    unsigned ignored;

    (void)argc;
    (void)argv;
    log_setup(LOG_ERROR, false);
    ed = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, zeros, sizeof(zeros));
    ec = generator_key();
    must(ed && ec);
    a = token_jwk(ed, "ed", "");
    b = token_jwk(ec, "es", "");
    snprintf(text, sizeof(text), "{\"keys\":[%s,%s]}", a, b);
    must(jwks_parse(text, strlen(text), &sets[0], &ignored, err, sizeof(err)) == OK);
    free(a);
    free(b);
    c = token_config("issuers:\n"
                     "  - issuer: https://i\n"
                     "    audience: s\n"
                     "    second_opinion: true\n"
                     "    claims: {transfer: t, participant: p, agreement: a.b, asset: as,\n"
                     "             topics: tt, group_prefix: g, operations: o}\n"
                     "  - {issuer: https://j, audience: s}\n");
    must(c != NULL);
    ring = keyring_new(c, sets);
    jwks_unref(sets[0]);
    config_unref(c);
    must(ring != NULL);
    return 0;
}

/* header, newline, claims: as a signed token. NULL without a newline, or with a NUL before it. */
static char *signed_token(int with_ec, const uint8_t *data, size_t size)
{
    const uint8_t *line = memchr(data, '\n', size);
    char *header, *claims, *out;

    if (!line)
        return NULL;
    header = strndup((const char *)data, (size_t)(line - data));
    claims = strndup((const char *)line + 1, size - (size_t)(line - data) - 1);
    out = token_sign(with_ec ? "ES256" : "EdDSA", with_ec ? ec : ed, header, claims);
    free(header);
    free(claims);
    return out;
}

static void check(const char *token, size_t n)
{
    struct identity id, other;
    enum jwt_verdict v = jwt_verify(token, n, ring, NOW, NULL, &id);

    must(v != JWT_VETO); /* what OpenSSL takes, libjwt takes */
    must(strlen(id.issuer) < sizeof(id.issuer));
    if (v == JWT_OK) {
        must(id.expires > NOW - 30 && id.issued <= NOW + 30);
        must(strcmp(id.issuer, "https://i") == 0 && id.ntopics <= IDENTITY_TOPICS_MAX);
        must(id.thumbprint[0] == '\0');
        must(jwt_identify(token, n, ring, &other) == JWT_OK);
        identity_clear(&other);
    } else {
        must(id.expires == 0 && id.ntopics == 0 && id.subject[0] == '\0');
    }
    identity_clear(&id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *token;

    if (size < 1 || size > 2 * JWT_BYTES_MAX)
        return 0;
    if (data[0] % 3 == 0) {
        check((const char *)data + 1, size - 1);
        return 0;
    }
    token = signed_token(data[0] % 3 == 2, data + 1, size - 1);
    if (token)
        check(token, strlen(token));
    free(token);
    return 0;
}
