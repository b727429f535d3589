#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/did.h"
#include "auth/jws.h"
#include "tests/unit/token.h"

#define ED "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"

/* The method's own examples. */
static void keys_of_did_key(void **state)
{
    static const struct {
        const char *did;
        unsigned alg;
    } good[] = {
        {ED, ALG_EDDSA},
        {"did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp", ALG_EDDSA},
        {"did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169", ALG_ES256},
        {"did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv", ALG_ES256},
        {"did:key:z82Lm1MpAkeJcix9K8TMiLd5NMAhnwkjjCBeWHXyu3U4oT2MVJJKXkcVBgjGhnLBn2Kaau9",
         ALG_ES384},
    };
    static const char *const bad[] = {
        "did:key:",
        "did:key:z",
        "did:key:z0",
        "did:key:m6MkhaXgBZ",
        "did:key:z6Mk",
        ED "1",
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2do!",
        /* secp256k1, X25519, RSA, BLS: not taken */
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "did:key:z6LSeu9HkTHSfLLeUs2nnzUSNedgDUevfNQgQjQC23ZCit6F",
        "did:key:z1111111111111111111111111111111111111111111111111111111111111111111111",
    };
    struct jwks *set;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_int_equal(did_key_set(good[i].did, "any#kid", &set), OK);
        assert_int_equal(jwks_count(set), 1);
        assert_non_null(jwks_find(set, "any#kid", (enum jwt_alg)good[i].alg));
        jwks_unref(set);
        assert_int_equal(did_key_set(good[i].did, NULL, &set), OK);
        assert_non_null(jwks_find(set, NULL, (enum jwt_alg)good[i].alg));
        jwks_unref(set);
        /* No part of it is one. */
        char cut[256];
        for (size_t n = 0; n < strlen(good[i].did); n++) {
            snprintf(cut, sizeof(cut), "%.*s", (int)n, good[i].did);
            assert_int_not_equal(did_key_set(cut, NULL, &set), OK);
            assert_null(set);
        }
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(did_key_set(bad[i], NULL, &set), ERR_MALFORMED);
    assert_int_equal(did_key_set("did:web:x", NULL, &set), ERR_UNKNOWN);
    char longer[400] = "did:key:z";
    memset(longer + 9, '2', 380);
    assert_int_equal(did_key_set(longer, NULL, &set), ERR_MALFORMED);
}

static void urls_of_did_web(void **state)
{
    static const struct {
        const char *did, *url;
    } good[] = {
        {"did:web:w3c-ccg.github.io", "https://w3c-ccg.github.io/.well-known/did.json"},
        {"did:web:w3c-ccg.github.io:user:alice", "https://w3c-ccg.github.io/user/alice/did.json"},
        {"did:web:example.com%3A3000:user:alice", "https://example.com:3000/user/alice/did.json"},
        {"did:web:Example.COM%3a8443", "https://Example.COM:8443/.well-known/did.json"},
    };
    static const char *const bad[] = {
        "did:web:",
        "did:web::",
        "did:web:a:",
        "did:web:a::b",
        "did:web:a:..:b",
        "did:web:a:.",
        "did:web:..",
        "did:web:a/b",
        "did:web:a:b/c",
        "did:web:a%2Fb",
        "did:web:a%3A",
        "did:web:a%3A123456",
        "did:web:a%3A80%3A90",
        "did:web:a%3Ax",
        "did:web:a@b",
        "did:web:u%40a",
        "did:web:a:b%2e",
        "did:web:a?b",
        "did:web:a#b",
        "did:web:[::1]",
        "did:web:a b",
        "did:web:a\nb",
        "did:web:%3A80",
        "did:web:a\\b",
    };
    char url[DID_URL_BYTES], longer[400];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_int_equal(did_web_url(good[i].did, false, url), OK);
        assert_string_equal(url, good[i].url);
    }
    assert_int_equal(did_web_url("did:web:127.0.0.1%3A99", true, url), OK);
    assert_string_equal(url, "http://127.0.0.1:99/.well-known/did.json");
    assert_int_equal(did_web_url("did:web:localhost%3A99", true, url), OK);
    assert_string_equal(url, "https://localhost:99/.well-known/did.json");
    assert_int_equal(did_web_url("did:web:127.0.0.1%3A99", false, url), OK);
    assert_string_equal(url, "https://127.0.0.1:99/.well-known/did.json");
    assert_int_equal(did_web_url("did:web:a.b", true, url), OK);
    assert_string_equal(url, "https://a.b/.well-known/did.json");
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(did_web_url(bad[i], false, url), ERR_MALFORMED);
    assert_int_equal(did_web_url(ED, false, url), ERR_UNKNOWN);
    assert_int_equal(did_web_url("BPNL1", false, url), ERR_UNKNOWN);
    snprintf(longer, sizeof(longer), "did:web:a:%0300d", 0);
    assert_int_equal(did_web_url(longer, false, url), ERR_MALFORMED);
    snprintf(longer, sizeof(longer), "did:web:a%0246d", 0);
    assert_int_equal(strlen(longer), DID_BYTES_MAX);
    assert_int_equal(did_web_url(longer, false, url), OK);
}

#define DID "did:web:bob.example.com"

static char *document(const EVP_PKEY *a, const EVP_PKEY *b)
{
    char *one = token_jwk(a, "x", ""), *two = token_jwk(b, "y", ",\"use\":\"sig\""), *out;

    if (asprintf(&out,
                 "{\"@context\":[\"https://www.w3.org/ns/did/v1\"],\"id\":\"" DID "\","
                 "\"verificationMethod\":["
                 "{\"id\":\"" DID "#key-1\",\"type\":\"JsonWebKey2020\",\"controller\":\"" DID
                 "\",\"publicKeyJwk\":%s},"
                 "{\"id\":\"#key-2\",\"type\":\"JsonWebKey2020\",\"publicKeyJwk\":%s},"
                 "{\"id\":\"#key-3\",\"type\":\"Multikey\",\"controller\":\"" DID "\","
                 "\"publicKeyMultibase\":\"%s\"},"
                 "{\"id\":\"#stolen\",\"controller\":\"did:web:carol\",\"publicKeyJwk\":%s},"
                 "{\"id\":\"did:web:carol#key-9\",\"publicKeyJwk\":%s},"
                 "{\"id\":\"#none\"},7],\"service\":[]}",
                 one, two, ED + 8, one, one) < 0)
        out = NULL;
    free(one);
    free(two);
    return out;
}

static void documents(void **state)
{
    EVP_PKEY *a = EVP_EC_gen("P-256"), *b = EVP_EC_gen("P-384");
    char *text = document(a, b);
    size_t n = strlen(text);
    struct jwks *set;

    (void)state;
    static const struct {
        const char *kid;
        unsigned alg;
    } good[] = {{DID "#key-1", ALG_ES256}, {"#key-1", ALG_ES256},     {"key-1", ALG_ES256},
                {DID "#key-2", ALG_ES384}, {DID "#key-3", ALG_EDDSA}, {"key-3", ALG_EDDSA}};
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_int_equal(did_document_set(text, n, DID, good[i].kid, &set), OK);
        assert_int_equal(jwks_count(set), 1);
        assert_non_null(jwks_find(set, good[i].kid, (enum jwt_alg)good[i].alg));
        jwks_unref(set);
    }
    assert_int_equal(did_document_set(text, n, DID, NULL, &set), OK);
    assert_int_equal(jwks_count(set), 3);
    jwks_unref(set);
    static const char *const unknown[] = {"stolen", DID "#stolen", "key-9", "did:web:carol#key-9",
                                          "none",   "#",           "",      "did:web:eve#key-1"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(*unknown); i++)
        assert_int_equal(did_document_set(text, n, DID, unknown[i], &set), ERR_UNKNOWN);
    assert_int_equal(did_document_set(text, n, "did:web:carol", NULL, &set), ERR_MALFORMED);
    for (size_t cut = 0; cut < n; cut++) {
        assert_int_equal(did_document_set(text, cut, DID, NULL, &set), ERR_MALFORMED);
        assert_null(set);
    }
    assert_int_equal(did_document_set("{\"id\":\"" DID "\"}", 33, DID, NULL, &set), ERR_MALFORMED);
    free(text);
    EVP_PKEY_free(a);
    EVP_PKEY_free(b);
}

static void provable(void **state)
{
    struct config *c = token_config(
        "issuers: [{issuer: 'https://e', audience: a, signing_keys: [k.pem]}]\n"
        "signaling: {listen: '127.0.0.1:1'}\n"
        "outgoing: {hosts: [bob.example.com, 'carol.example.com:8443']}\n"
        "tokens: {refresh: {url: 'https://e/r', participants: [{id: BPNL1, jwks_file: x}]}}\n");

    (void)state;
    assert_true(did_provable(c, "BPNL1"));
    assert_false(did_provable(c, "BPNL2"));
    assert_true(did_provable(c, DID));
    assert_true(did_provable(c, DID ":x"));
    assert_false(did_provable(c, "did:web:bob.example.com%3A8443"));
    assert_false(did_provable(c, "did:web:carol.example.com"));
    assert_true(did_provable(c, "did:web:carol.example.com%3A8443"));
    assert_false(did_provable(c, "did:web:evil.example.com"));
    assert_true(did_provable(c, ED));
    assert_false(did_provable(c, "did:key:z6Mk"));
    assert_false(did_provable(c, "did:ion:x"));
    assert_false(did_provable(c, ""));
    config_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_did_key),
        cmocka_unit_test(urls_of_did_web),
        cmocka_unit_test(documents),
        cmocka_unit_test(provable),
    };
    return cmocka_run_group_tests_name("did", tests, NULL, NULL);
}
