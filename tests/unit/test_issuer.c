#include "tests/unit/unit.h"

#include "auth/issuer.h"
#include "auth/jwt.h"
#include "auth/signing_key.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"
#include "tests/unit/issuer_bed.h"

#define NOW INT64_C(1800000000)

static const char *const topics[] = {"t1", "t2"};
static const struct issue whole = {
    .transfer = "tp-1",
    .participant = "did:web:bob",
    .agreement = "agr",
    .asset = "ass",
    .client = "edge",
    .topics = topics,
    .ntopics = 2,
    .group_prefix = "bob",
    .operations = OP_READ | OP_MANAGE,
};

/* The keys that everybody else would check with. */
static struct keyring *ring_of(const struct issuer *i, const struct config *c)
{
    json_t *keys = issuer_jwks(i);
    char *text = json_dumps(keys, 0), err[128] = "";
    struct jwks *set = NULL;
    struct keyring *k;
    unsigned ignored;

    assert_int_equal(jwks_parse(text, strlen(text), &set, &ignored, err, sizeof(err)), OK);
    assert_int_equal(ignored, 0);
    k = keyring_new(c, &set);
    jwks_unref(set);
    free(text);
    json_decref(keys);
    return k;
}

static enum jwt_verdict check(const char *token, const struct keyring *k, int64_t now,
                              struct identity *id)
{
    identity_clear(id);
    return jwt_verify(token, strlen(token), k, now, NULL, id);
}

static void signs_with(const char *kind, const char *options, const char *alg)
{
    EVP_PKEY *key = own_key(kind);
    char *pem = own_pem(key), *token, jti[ISSUER_JTI_BYTES], again[ISSUER_JTI_BYTES], err[256];
    struct config *c = own_config(options, "", (const char *const *)&pem, 1);
    struct issuer *i = issuer_new(c, err, sizeof(err));
    struct identity id = {0};
    struct keyring *k;
    int64_t expires;

    assert_non_null(i);
    assert_true(issuer_own(i));
    assert_string_equal(issuer_name(i), OWN);
    assert_string_equal(issuer_audience(i), "sluice");
    k = ring_of(i, c);
    assert_int_equal(issuer_sign(i, &whole, NOW, &token, &expires, jti), OK);
    assert_int_equal(expires, NOW + 300);
    assert_int_equal(check(token, k, NOW, &id), JWT_OK);
    assert_string_equal(id.issuer, OWN);
    assert_string_equal(id.subject, "tp-1");
    assert_string_equal(id.transfer, "tp-1");
    assert_string_equal(id.participant, "did:web:bob");
    assert_string_equal(id.agreement, "agr");
    assert_string_equal(id.asset, "ass");
    assert_string_equal(id.client, "edge");
    assert_string_equal(id.group_prefix, "bob");
    assert_string_equal(id.jti, jti);
    assert_int_equal(id.ntopics, 2);
    assert_string_equal(id.topics[1], "t2");
    assert_int_equal(id.operations, OP_READ | OP_MANAGE);
    assert_int_equal(id.issued, NOW);
    assert_int_equal(id.expires, expires);
    assert_false(id.shared_subjects);
    assert_int_equal(check(token, k, NOW + 306, &id), JWT_EXPIRED);
    token[strlen(token) / 2] ^= 1;
    assert_int_not_equal(check(token, k, NOW, &id), JWT_OK);
    issuer_token_free(token);
    assert_int_equal(issuer_sign(i, &whole, NOW, &token, &expires, again), OK);
    assert_string_not_equal(jti, again);
    issuer_token_free(token);
    identity_clear(&id);
    /* The name of the key stands in the metadata and in the set. */
    json_t *keys = issuer_jwks(i), *jwk = json_array_get(json_object_get(keys, "keys"), 0);
    assert_string_equal(json_string_value(json_object_get(jwk, "alg")), alg);
    assert_null(json_object_get(jwk, "d"));
    json_decref(keys);
    keyring_unref(k);
    issuer_free(i);
    config_unref(c);
    free(pem);
    EVP_PKEY_free(key);
}

static void every_kind_of_key(void **state)
{
    (void)state;
    signs_with("P-256", "", "ES256");
    signs_with("P-384", "", "ES384");
    signs_with("ED25519", "", "EdDSA");
    signs_with("RSA", "", "PS256");
    signs_with("RSA", ", algorithms: [RS256]", "RS256");
    /* libjwt's own second opinion agrees. */
    signs_with("P-256", ", second_opinion: true", "ES256");
}

/* RFC 8037, A.1 and A.3. */
static void thumbprint_of_the_rfc(void **state)
{
    static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                              "-----END PRIVATE KEY-----\n";
    struct signing_key k;
    const char *why;

    (void)state;
    assert_int_equal(signing_key_load(pem, ALG_EDDSA, &k, &why), OK);
    assert_string_equal(k.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    signing_key_clear(&k);
}

static void refused_keys(void **state)
{
    static const struct {
        const char *kind;
        unsigned algorithms;
        const char *why;
    } bad[] = {
        {"P-521", ALG_ES256, "none of P-256"},
        {"P-256", ALG_ES384 | ALG_RS256, "leaves out"},
        {"RSA", ALG_ES256, "leaves out"},
        {"ED25519", ALG_ES256, "leaves out"},
    };
    struct signing_key k;
    const char *why;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        EVP_PKEY *key = own_key(bad[i].kind);
        char *pem = own_pem(key);

        assert_int_equal(signing_key_load(pem, bad[i].algorithms, &k, &why), ERR_CONFIG);
        assert_non_null(strstr(why, bad[i].why));
        free(pem);
        EVP_PKEY_free(key);
    }
    EVP_PKEY *weak = EVP_RSA_gen(1024);
    char *pem = own_pem(weak);
    assert_int_equal(signing_key_load(pem, ALG_PS256, &k, &why), ERR_CONFIG);
    assert_non_null(strstr(why, "2048"));
    pem[40] = '!';
    assert_int_equal(signing_key_load(pem, ALG_PS256, &k, &why), ERR_CONFIG);
    assert_int_equal(signing_key_load("", ALG_PS256, &k, &why), ERR_CONFIG);
    assert_int_equal(signing_key_load(NULL, ALG_PS256, &k, &why), ERR_CONFIG);
    free(pem);
    EVP_PKEY_free(weak);
}

static void bounds_of_a_token(void **state)
{
    static char names[80][250], much[JWT_BYTES_MAX];
    const char *many[80];
    EVP_PKEY *key = own_key("P-256");
    char *pem = own_pem(key), *token, jti[ISSUER_JTI_BYTES], err[256];
    struct config *c =
        own_config(", token_life_s: 60, skew_s: 0", "", (const char *const *)&pem, 1);
    struct issuer *i = issuer_new(c, err, sizeof(err));
    struct keyring *k = ring_of(i, c);
    struct identity id = {0};
    struct issue what = whole;
    int64_t expires;

    (void)state;
    /* Not before a suspension that happened in this second; not beyond the grant. */
    what.not_before_iat = NOW + 1;
    assert_int_equal(issuer_sign(i, &what, NOW, &token, &expires, jti), OK);
    assert_int_equal(expires, NOW + 61);
    assert_int_equal(check(token, k, NOW, &id), JWT_NOT_YET);
    assert_int_equal(check(token, k, NOW + 1, &id), JWT_OK);
    assert_int_equal(id.issued, NOW + 1);
    issuer_token_free(token);
    what.expires = NOW + 30;
    assert_int_equal(issuer_sign(i, &what, NOW, &token, &expires, jti), OK);
    assert_int_equal(expires, NOW + 30);
    issuer_token_free(token);
    what.expires = NOW + 1;
    assert_int_equal(issuer_sign(i, &what, NOW, &token, &expires, jti), ERR_DENIED);
    assert_null(token);
    /* Too many topics, or too long ones, stay out; the transfer is named all the same. */
    what = whole;
    for (size_t n = 0; n < 80; n++) {
        memset(names[n], 'a' + (int)(n % 26), 249);
        many[n] = names[n];
    }
    what.topics = many;
    for (what.ntopics = 10; what.ntopics <= 80; what.ntopics += 7) {
        assert_int_equal(issuer_sign(i, &what, NOW, &token, &expires, jti), OK);
        assert_int_equal(check(token, k, NOW, &id), JWT_OK);
        assert_string_equal(id.transfer, "tp-1");
        assert_int_equal(id.ntopics,
                         what.ntopics * 252 <= ISSUER_TOPICS_BYTES_MAX ? what.ntopics : 0);
        issuer_token_free(token);
    }
    /* Longer than we would take ourselves: none at all. */
    what = whole;
    what.participant = memset(much, 'p', sizeof(much) - 1);
    assert_int_equal(issuer_sign(i, &what, NOW, &token, &expires, jti), ERR_LIMIT);
    assert_null(token);
    assert_int_equal(expires, 0);
    /* One that names no transfer: the facade's. */
    what = (struct issue){.subject = "edc.x1", .client = "edc"};
    assert_int_equal(issuer_sign(i, &what, NOW, &token, &expires, jti), OK);
    assert_int_equal(check(token, k, NOW, &id), JWT_OK);
    assert_string_equal(id.transfer, "");
    assert_string_equal(id.subject, "edc.x1");
    assert_string_equal(id.client, "edc");
    assert_int_equal(id.operations, 0);
    issuer_token_free(token);
    identity_clear(&id);
    keyring_unref(k);
    issuer_free(i);
    config_unref(c);
    free(pem);
    EVP_PKEY_free(key);
}

/* What the mapping names cannot overwrite what a token must say. */
static void names_of_claims(void **state)
{
    EVP_PKEY *key = own_key("P-256");
    char *pem = own_pem(key), *token, jti[ISSUER_JTI_BYTES], err[256];
    struct config *c = own_config(", claims: {transfer: tx.id, asset: iss, client: cid}", "",
                                  (const char *const *)&pem, 1);
    struct issuer *i = issuer_new(c, err, sizeof(err));
    struct keyring *k = ring_of(i, c);
    struct identity id = {0};
    int64_t expires;

    (void)state;
    assert_int_equal(issuer_sign(i, &whole, NOW, &token, &expires, jti), OK);
    assert_int_equal(check(token, k, NOW, &id), JWT_OK);
    assert_string_equal(id.transfer, "tp-1");
    assert_string_equal(id.issuer, OWN);
    assert_string_equal(id.client, "edge");
    issuer_token_free(token);
    identity_clear(&id);
    keyring_unref(k);
    issuer_free(i);
    config_unref(c);
    free(pem);
    EVP_PKEY_free(key);
}

/* --- rotation: by reloads, through the fetcher that workers have their keys from */

static struct loop *loop;
static struct keyring *ring;

static void changed(void *arg, struct keyring *k)
{
    (void)arg;
    keyring_unref(ring);
    ring = keyring_ref(k);
    loop_stop(loop);
}

static void rotation(void **state)
{
    EVP_PKEY *old = own_key("P-256"), *new = own_key("ED25519");
    char *pems[2] = {own_pem(old), own_pem(new)};
    const char *const first[] = {pems[0]}, *const both[] = {pems[1], pems[0]},
                      *const last[] = {pems[1]};
    struct config *a = own_config("", "", first, 1), *b = own_config("", "", both, 2),
                  *d = own_config("", "", last, 1), *bad = own_config("", "", last, 1);
    char *one, *two, jti[ISSUER_JTI_BYTES], err[256];
    struct issuer *i = issuer_new(a, err, sizeof(err));
    struct identity id = {0};
    struct jwks_fetcher *f;
    int64_t expires;

    (void)state;
    loop = loop_new();
    f = jwks_fetcher_new(loop, a, changed, NULL);
    assert_non_null(f);
    assert_true(jwks_fetcher_ready(f)); /* nothing to wait for */
    assert_int_equal(loop_run(loop), OK);
    assert_int_equal(issuer_sign(i, &whole, NOW, &one, &expires, jti), OK);
    assert_int_equal(check(one, ring, NOW, &id), JWT_OK);
    /* The new key signs, the old one's tokens are still good. */
    assert_int_equal(issuer_config(i, b, err, sizeof(err)), OK);
    assert_int_equal(jwks_fetcher_config(f, b), OK);
    assert_int_equal(loop_run(loop), OK);
    assert_int_equal(issuer_sign(i, &whole, NOW, &two, &expires, jti), OK);
    assert_int_equal(check(one, ring, NOW, &id), JWT_OK);
    assert_int_equal(check(two, ring, NOW, &id), JWT_OK);
    /* A key that cannot be used changes nothing. */
    bad->issuers[0].signing_keys.at[0] = "nonsense";
    log_setup(LOG_ERROR, false);
    assert_int_equal(issuer_config(i, bad, err, sizeof(err)), ERR_CONFIG);
    assert_non_null(strstr(err, "signing_keys of " OWN));
    assert_int_equal(jwks_fetcher_config(f, bad), ERR_CONFIG);
    issuer_token_free(two);
    assert_int_equal(issuer_sign(i, &whole, NOW, &two, &expires, jti), OK);
    assert_int_equal(check(two, ring, NOW, &id), JWT_OK);
    /* Without the old key its tokens end. */
    assert_int_equal(issuer_config(i, d, err, sizeof(err)), OK);
    assert_int_equal(jwks_fetcher_config(f, d), OK);
    assert_int_equal(loop_run(loop), OK);
    assert_int_equal(check(one, ring, NOW, &id), JWT_KEY);
    assert_int_equal(check(two, ring, NOW, &id), JWT_OK);
    /* Nothing is asked for: there is nobody else who had the keys. */
    jwks_fetcher_unknown_kid(f, OWN);
    identity_clear(&id);
    issuer_token_free(one);
    issuer_token_free(two);
    jwks_fetcher_free(f);
    keyring_unref(ring);
    loop_free(loop);
    issuer_free(i);
    config_unref(a);
    config_unref(b);
    config_unref(d);
    config_unref(bad);
    free(pems[0]);
    free(pems[1]);
    EVP_PKEY_free(old);
    EVP_PKEY_free(new);
}

static void without_an_issuer(void **state)
{
    struct config *c = token_config("issuers: [{issuer: 'https://idp', audience: a}]\n");
    char *token, jti[ISSUER_JTI_BYTES], err[256];
    struct issuer *i = issuer_new(c, err, sizeof(err));
    int64_t expires;

    (void)state;
    assert_non_null(i);
    assert_false(issuer_own(i));
    assert_int_equal(issuer_sign(i, &whole, NOW, &token, &expires, jti), ERR_CONFIG);
    assert_null(issuer_metadata(i, NULL, NULL));
    json_t *keys = issuer_jwks(i);
    assert_int_equal(json_array_size(json_object_get(keys, "keys")), 0);
    json_decref(keys);
    issuer_free(i);
    config_unref(c);
}

static void metadata(void **state)
{
    EVP_PKEY *key = own_key("P-384");
    char *pem = own_pem(key), err[256];
    struct config *c = own_config("", "", (const char *const *)&pem, 1);
    struct issuer *i = issuer_new(c, err, sizeof(err));
    json_t *m = issuer_metadata(i, "https://e/keys", NULL);

    (void)state;
    assert_string_equal(json_string_value(json_object_get(m, "issuer")), OWN);
    assert_string_equal(json_string_value(json_object_get(m, "jwks_uri")), "https://e/keys");
    assert_null(json_object_get(m, "token_endpoint"));
    json_decref(m);
    issuer_free(i);
    config_unref(c);
    free(pem);
    EVP_PKEY_free(key);
}

static void no_memory(void **state)
{
    EVP_PKEY *key = own_key("ED25519");
    char *pem = own_pem(key), *token, jti[ISSUER_JTI_BYTES], err[256];
    struct config *c = own_config("", "", (const char *const *)&pem, 1);
    struct issuer *i = NULL;
    int64_t expires;
    int rc = ERR_NOMEM;

    (void)state;
    if (!sl_alloc_fail_after(0))
        skip();
    for (unsigned n = 1; !i && n < 100; n++) {
        sl_alloc_fail_after(n);
        i = issuer_new(c, err, sizeof(err));
        sl_alloc_fail_after(0);
    }
    assert_non_null(i);
    for (unsigned n = 1; rc != OK && n < 100; n++) {
        sl_alloc_fail_after(n);
        rc = issuer_sign(i, &whole, NOW, &token, &expires, jti);
        sl_alloc_fail_after(0);
        assert_true(rc == OK ? token != NULL : rc == ERR_NOMEM && !token && expires == 0);
    }
    assert_int_equal(rc, OK);
    issuer_token_free(token);
    issuer_free(i);
    config_unref(c);
    free(pem);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_key), cmocka_unit_test(thumbprint_of_the_rfc),
        cmocka_unit_test(refused_keys),      cmocka_unit_test(bounds_of_a_token),
        cmocka_unit_test(names_of_claims),   cmocka_unit_test(rotation),
        cmocka_unit_test(without_an_issuer), cmocka_unit_test(metadata),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests_name("issuer", tests, NULL, NULL);
}
