/* Signing against the RFCs' own examples, where a signature has one form only; against our reader
 * and against libjwt, where it is another one each time. */
#include "tests/unit/unit.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>

#include "auth/b64url.h"
#include "auth/jws_sign.h"
#include "auth/jwt_veto.h"
#include "base/alloc.h"
#include "tests/unit/token.h"

#define ROUNDS_MAX 20000

/* RFC 7515, A.2.1. */
static const char n_text[] =
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4"
    "QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdb"
    "BYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-D"
    "WNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
static const char d_text[] =
    "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoA"
    "Je46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpR"
    "LI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZF"
    "D9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ";
static const char payload[] = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n"
                              " \"http://example.com/is_root\":true}";

static BIGNUM *number(const char *text)
{
    uint8_t raw[256];
    size_t n;

    assert_int_equal(b64url_decode(text, strlen(text), raw, sizeof raw, &n), OK);
    return BN_bin2bn(raw, (int)n, NULL);
}

static EVP_PKEY *rsa_of_the_rfc(void)
{
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    BIGNUM *n = number(n_text), *e = number("AQAB"), *d = number(d_text);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params;

    assert_true(OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, n));
    assert_true(OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, e));
    assert_true(OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_D, d));
    params = OSSL_PARAM_BLD_to_param(b);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params), 1);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(b);
    EVP_PKEY_CTX_free(ctx);
    BN_free(n);
    BN_free(e);
    BN_free(d);
    return key;
}

static void same(const char *alg, EVP_PKEY *key, const char *header, const char *claims,
                 const char *wanted)
{
    char *token;

    assert_int_equal(jws_sign(jws_algorithm(alg), key, header, claims, &token), OK);
    assert_string_equal(token, wanted);
    sl_free(token);
    EVP_PKEY_free(key);
}

/* RFC 7515, A.2. */
static void rs256_of_the_rfc(void **state)
{
    (void)state;
    same("RS256", rsa_of_the_rfc(), "{\"alg\":\"RS256\"}", payload,
         "eyJhbGciOiJSUzI1NiJ9."
         "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
         "cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5Y"
         "Kt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIAR"
         "NPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1p"
         "hCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw");
}

/* RFC 8037, A.4. */
static void eddsa_of_the_rfc(void **state)
{
    uint8_t raw[32];
    size_t n;

    (void)state;
    assert_int_equal(
        b64url_decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", 43, raw, sizeof raw, &n), OK);
    same("EdDSA", EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, raw, n),
         "{\"alg\":\"EdDSA\"}", "Example of Ed25519 signing",
         "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PG"
         "cvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
}

static struct jwks *set_of(const EVP_PKEY *key)
{
    char *jwk = token_jwk(key, "k", ""), text[2048], err[128];
    struct jwks *set = NULL;
    unsigned ignored;
    int n = snprintf(text, sizeof text, "{\"keys\":[%s]}", jwk);

    assert_int_equal(jwks_parse(text, (size_t)n, &set, &ignored, err, sizeof err), OK);
    free(jwk);
    return set;
}

/* Read by ourselves and by libjwt, and by neither when it is changed. Returns whether r or s began
 * with a zero, which DER leaves out and RFC 7518 does not. */
static bool read_back(const char *alg, EVP_PKEY *key, struct jwks *set, bool libjwt)
{
    const struct jws_algorithm *a = jws_algorithm(alg);
    char header[64], *token;
    struct jws j;
    bool filled;

    snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"k\",\"typ\":\"JWT\"}", alg);
    assert_int_equal(jws_sign(a, key, header, payload, &token), OK);
    assert_int_equal(jws_read(&j, token, strlen(token)), JWT_OK);
    assert_int_equal(jws_verify(&j, set, a->bit), JWT_OK);
    if (a->coordinate_bytes > 0)
        assert_int_equal(j.signature_len, 2 * a->coordinate_bytes);
    filled = j.signature[0] == 0 || j.signature[a->coordinate_bytes] == 0;
    j.signature[j.signature_len / 2] ^= 1;
    assert_int_equal(jws_check_signature(&j), JWT_SIGNATURE);
    if (libjwt && (filled || a->padding)) {
        assert_int_equal(jwt_veto(token, strlen(token), key, alg, "joe", 1300819380), OK);
        token[strlen(token) - 40] ^= 1;
        assert_int_equal(jwt_veto(token, strlen(token), key, alg, "joe", 1300819380), ERR_DENIED);
    }
    jws_clear(&j);
    sl_free(token);
    return filled;
}

static void short_numbers(void **state)
{
    static const struct {
        const char *alg, *curve;
    } kinds[] = {{"ES256", "P-256"}, {"ES384", "P-384"}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        EVP_PKEY *key = EVP_EC_gen(kinds[i].curve);
        struct jwks *set = set_of(key);
        unsigned n = 0;

        while (!read_back(kinds[i].alg, key, set, true))
            assert_true(++n < ROUNDS_MAX);
        jwks_unref(set);
        EVP_PKEY_free(key);
    }
}

static void rsa(void **state)
{
    EVP_PKEY *key = rsa_of_the_rfc();
    struct jwks *set = set_of(key);

    (void)state;
    (void)read_back("RS256", key, set, true);
    (void)read_back("PS256", key, set, false); /* libjwt does not know it */
    jwks_unref(set);
    EVP_PKEY_free(key);
}

/* What OpenSSL gave is no pair of numbers: an error, and nothing half made. */
static void another_kind_of_key(void **state)
{
    EVP_PKEY *key = rsa_of_the_rfc();
    char *token;

    (void)state;
    assert_int_equal(jws_sign(jws_algorithm("ES256"), key, "{}", "{}", &token), ERR_NOMEM);
    assert_null(token);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rs256_of_the_rfc),    cmocka_unit_test(eddsa_of_the_rfc),
        cmocka_unit_test(short_numbers),       cmocka_unit_test(rsa),
        cmocka_unit_test(another_kind_of_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
