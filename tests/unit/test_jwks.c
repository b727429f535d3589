#include "tests/unit/unit.h"

#include "auth/jwks.h"
#include "tests/unit/token.h"

static EVP_PKEY *rsa, *ec256, *ec384, *ed;
static char err[256];

static int make_keys(void **state)
{
    (void)state;
    rsa = EVP_RSA_gen(2048);
    ec256 = EVP_EC_gen("P-256");
    ec384 = EVP_EC_gen("P-384");
    ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return rsa && ec256 && ec384 && ed ? 0 : -1;
}

static int drop_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec256);
    EVP_PKEY_free(ec384);
    EVP_PKEY_free(ed);
    return 0;
}

/* A set of up to four keys, which are freed. */
static int parse(struct jwks **out, unsigned *ignored, char *a, char *b, char *c, char *d)
{
    char *all[] = {a, b, c, d};
    char text[16384] = "{\"keys\":[";
    size_t n = strlen(text);
    size_t i;
    int rc;

    for (i = 0; i < 4; i++) {
        if (all[i])
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i ? "," : "", all[i]);
        free(all[i]);
    }
    n += (size_t)snprintf(text + n, sizeof(text) - n, "]}");
    rc = jwks_parse(text, n, out, ignored, err, sizeof(err));
    assert_true((rc == OK) == (*out != NULL));
    return rc;
}

static int one(char *jwk)
{
    struct jwks *s;
    unsigned ignored;
    int rc = parse(&s, &ignored, jwk, NULL, NULL, NULL);

    jwks_unref(s);
    return rc;
}

static void every_type(void **state)
{
    struct jwks *s;
    unsigned ignored;

    (void)state;
    assert_int_equal(parse(&s, &ignored, token_jwk(rsa, "r", ""),
                           token_jwk(ec256, "e", ",\"use\":\"sig\",\"alg\":\"ES256\""),
                           token_jwk(ec384, "e3", ",\"key_ops\":[\"sign\",\"verify\"]"),
                           token_jwk(ed, "ed", "")),
                     OK);
    assert_int_equal(jwks_count(s), 4);
    assert_int_equal(ignored, 0);
    assert_non_null(jwks_find(s, "r", ALG_RS256));
    assert_ptr_equal(jwks_find(s, "r", ALG_RS256), jwks_find(s, "r", ALG_PS256));
    assert_null(jwks_find(s, "r", ALG_ES256));
    assert_non_null(jwks_find(s, "e", ALG_ES256));
    assert_null(jwks_find(s, "e", ALG_ES384));
    assert_non_null(jwks_find(s, "e3", ALG_ES384));
    assert_non_null(jwks_find(s, "ed", ALG_EDDSA));
    assert_null(jwks_find(s, "nobody", ALG_EDDSA));
    assert_true(jwks_has_kid(s, "r"));
    assert_false(jwks_has_kid(s, "R"));
    /* without a kid: the only one that fits */
    assert_non_null(jwks_find(s, NULL, ALG_EDDSA));
    assert_non_null(jwks_find(s, "", ALG_ES256));
    jwks_unref(s);
}

static void ambiguous(void **state)
{
    EVP_PKEY *other = EVP_EC_gen("P-256");
    struct jwks *s;
    unsigned ignored;

    (void)state;
    assert_int_equal(
        parse(&s, &ignored, token_jwk(ec256, "a", ""), token_jwk(other, "b", ""), NULL, NULL), OK);
    assert_null(jwks_find(s, NULL, ALG_ES256));
    assert_non_null(jwks_find(s, "b", ALG_ES256));
    jwks_unref(s);
    /* two keys of one name: neither */
    assert_int_equal(
        parse(&s, &ignored, token_jwk(ec256, "a", ""), token_jwk(other, "a", ""), NULL, NULL), OK);
    assert_null(jwks_find(s, "a", ALG_ES256));
    jwks_unref(s);
    /* one key twice: that one */
    assert_int_equal(
        parse(&s, &ignored, token_jwk(ec256, "a", ""), token_jwk(ec256, "a", ""), NULL, NULL), OK);
    assert_int_equal(jwks_count(s), 1);
    assert_non_null(jwks_find(s, "a", ALG_ES256));
    jwks_unref(s);
    EVP_PKEY_free(other);
}

static void ignored_keys(void **state)
{
    EVP_PKEY *weak = EVP_RSA_gen(1024);
    EVP_PKEY *ec521 = EVP_EC_gen("P-521");
    char long_kid[300];
    struct jwks *s;
    unsigned ignored;

    (void)state;
    memset(long_kid, 'k', sizeof(long_kid));
    long_kid[256] = '\0';
    assert_int_equal(one(strdup("{\"kty\":\"oct\",\"k\":\"AAAA\",\"kid\":\"h\"}")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(weak, "w", "")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(ec521, "e", "")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(ec256, "e", ",\"use\":\"enc\"")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(ec256, "e", ",\"use\":1")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(ec256, "e", ",\"key_ops\":[\"encrypt\"]")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(ec256, "e", ",\"key_ops\":\"verify\"")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(ec256, "e", ",\"alg\":\"ES384\"")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(ec256, "e", ",\"alg\":\"es256\"")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(rsa, "r", ",\"alg\":\"HS256\"")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(rsa, "r", ",\"alg\":\"RSA-OAEP\"")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(rsa, "r", ",\"alg\":7")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(rsa, long_kid, "")), ERR_UNKNOWN);
    assert_int_equal(one(token_jwk(ec256, "e", ",\"d\":\"AAAA\"")), ERR_UNKNOWN);
    long_kid[255] = '\0';
    assert_int_equal(one(token_jwk(rsa, long_kid, "")), OK);
    /* a usable one among them is used */
    assert_int_equal(parse(&s, &ignored, token_jwk(weak, "w", ""), token_jwk(ed, "ed", ""),
                           strdup("7"), strdup("{}")),
                     OK);
    assert_int_equal(ignored, 3);
    assert_int_equal(jwks_count(s), 1);
    jwks_unref(s);
    EVP_PKEY_free(weak);
    EVP_PKEY_free(ec521);
}

/* An EC key with the coordinates as given. */
static char *ec_text(const char *crv, const char *x, const char *y)
{
    char *out;

    if (asprintf(&out, "{\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"}", crv, x, y) < 0)
        return NULL;
    return out;
}

static void bad_points(void **state)
{
    char *x = token_bn(ec256, OSSL_PKEY_PARAM_EC_PUB_X, 32);
    char *y = token_bn(ec256, OSSL_PKEY_PARAM_EC_PUB_Y, 32);
    char *long_y = token_bn(ec256, OSSL_PKEY_PARAM_EC_PUB_Y, 33);
    char other[64];

    (void)state;
    assert_int_equal(one(ec_text("P-256", x, y)), OK);
    assert_int_equal(one(ec_text("P-256", x, x)), ERR_UNKNOWN); /* off the curve */
    assert_int_equal(one(ec_text("P-256", x, long_y)), ERR_UNKNOWN);
    assert_int_equal(one(ec_text("P-256", x, "")), ERR_UNKNOWN);
    assert_int_equal(one(ec_text("P-384", x, y)), ERR_UNKNOWN);
    assert_int_equal(one(ec_text("p-256", x, y)), ERR_UNKNOWN);
    assert_int_equal(one(ec_text("secp256k1", x, y)), ERR_UNKNOWN);
    snprintf(other, sizeof(other), "%s=", y);
    assert_int_equal(one(ec_text("P-256", x, other)), ERR_UNKNOWN); /* padding */
    snprintf(other, sizeof(other), "%s\\n", y);
    assert_int_equal(one(ec_text("P-256", x, other)), ERR_UNKNOWN);
    /* the last character of 32 bytes carries two bits that must be zero */
    snprintf(other, sizeof(other), "%s", y);
    other[42] = (char)(other[42] + 1);
    assert_int_equal(one(ec_text("P-256", x, other)), ERR_UNKNOWN);
    free(x);
    free(y);
    free(long_y);
}

static char *rsa_text(const char *n, const char *e)
{
    char *out;

    if (asprintf(&out, "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}", n, e) < 0)
        return NULL;
    return out;
}

static void bad_moduli(void **state)
{
    unsigned char big[1025];
    char *n = token_bn(rsa, OSSL_PKEY_PARAM_RSA_N, 0);
    char *huge, *even, *smooth;

    (void)state;
    memset(big, 0xff, sizeof(big));
    huge = token_b64(big, 1025);
    smooth = token_b64(big, 256); /* divisible by 3, 5, 17 ... */
    big[255] = 0xfe;
    even = token_b64(big, 256);
    assert_int_equal(one(rsa_text(n, "AQAB")), OK);
    assert_int_equal(one(rsa_text(n, "AQ")), ERR_UNKNOWN);           /* e = 1 */
    assert_int_equal(one(rsa_text(n, "Ag")), ERR_UNKNOWN);           /* e = 2 */
    assert_int_equal(one(rsa_text(n, "AAAAAAAAAAAD")), ERR_UNKNOWN); /* nine bytes */
    assert_int_equal(one(rsa_text(huge, "AQAB")), ERR_UNKNOWN);
    assert_int_equal(one(rsa_text(even, "AQAB")), ERR_UNKNOWN);
    assert_int_equal(one(rsa_text(smooth, "AQAB")), ERR_UNKNOWN);
    assert_int_equal(one(rsa_text("", "AQAB")), ERR_UNKNOWN);
    free(n);
    free(huge);
    free(even);
    free(smooth);
}

static int parse_text(const char *text, size_t n)
{
    struct jwks *s;
    unsigned ignored;
    int rc = jwks_parse(text, n, &s, &ignored, err, sizeof(err));

    assert_true((rc == OK) == (s != NULL));
    jwks_unref(s);
    return rc;
}

#define text(t) parse_text(t, sizeof(t) - 1)

static void bad_documents(void **state)
{
    static char big[JWKS_BYTES_MAX + 2];
    char deep[256];
    char *many = malloc(65536);
    char *key = token_jwk(ed, "ed", "");
    size_t n = 0;
    int i;

    (void)state;
    assert_int_equal(text(""), ERR_MALFORMED);
    assert_int_equal(text("[]"), ERR_MALFORMED);
    assert_int_equal(text("{}"), ERR_MALFORMED);
    assert_int_equal(text("{\"keys\":{}}"), ERR_MALFORMED);
    assert_int_equal(text("{\"keys\":[]}"), ERR_UNKNOWN);
    assert_int_equal(text("{\"keys\":[],\"keys\":[]}"), ERR_MALFORMED);
    assert_int_equal(text("{\"keys\":[]} "), ERR_UNKNOWN);
    assert_int_equal(text("{\"keys\":[]}x"), ERR_MALFORMED);
    assert_int_equal(text("{\"keys\":[]}\0"), ERR_MALFORMED);
    assert_int_equal(text("{\"keys\":[{\"kty\":\"RSA\",\"kty\":\"oct\"}]}"), ERR_MALFORMED);
    memset(deep, '[', sizeof(deep));
    memcpy(deep, "{\"keys\":", 8);
    assert_int_equal(parse_text(deep, sizeof(deep)), ERR_MALFORMED);
    memset(big, ' ', sizeof(big));
    memcpy(big, "{\"keys\":[]}", 11);
    assert_int_equal(parse_text(big, JWKS_BYTES_MAX), ERR_UNKNOWN);
    assert_int_equal(parse_text(big, JWKS_BYTES_MAX + 1), ERR_LIMIT);
    n = (size_t)sprintf(many, "{\"keys\":[");
    for (i = 0; i <= JWKS_KEYS_MAX; i++)
        n += (size_t)sprintf(many + n, "%s%s", i ? "," : "", key);
    n += (size_t)sprintf(many + n, "]}");
    assert_int_equal(parse_text(many, n), ERR_LIMIT);
    free(many);
    free(key);
}

static void every_cut(void **state)
{
    char *key = token_jwk(ec256, "e", "");
    char doc[512];
    int n = snprintf(doc, sizeof(doc), "{\"keys\":[%s]}", key);
    int i;

    (void)state;
    assert_int_equal(parse_text(doc, (size_t)n), OK);
    for (i = 0; i < n; i++) {
        char *cut = malloc((size_t)i + 1);

        memcpy(cut, doc, (size_t)i);
        assert_int_not_equal(parse_text(cut, (size_t)i), OK);
        free(cut);
    }
    free(key);
}

static void keyrings(void **state)
{
    struct config *c = token_config("issuers: [{issuer: https://a.example, audience: x},"
                                    "{issuer: https://b.example, audience: x}]\n");
    struct jwks *sets[2] = {NULL, NULL};
    struct keyring *k;
    unsigned ignored;

    (void)state;
    assert_non_null(c);
    assert_int_equal(parse(&sets[1], &ignored, token_jwk(ed, "ed", ""), NULL, NULL, NULL), OK);
    k = keyring_new(c, sets);
    assert_non_null(k);
    jwks_unref(sets[1]);
    config_unref(c);
    keyring_unref(keyring_ref(k));
    assert_null(k->sets[0]);
    assert_non_null(jwks_find(k->sets[1], "ed", ALG_EDDSA));
    assert_string_equal(k->config->issuers[1].issuer, "https://b.example");
    keyring_unref(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type), cmocka_unit_test(ambiguous),  cmocka_unit_test(ignored_keys),
        cmocka_unit_test(bad_points), cmocka_unit_test(bad_moduli), cmocka_unit_test(bad_documents),
        cmocka_unit_test(every_cut),  cmocka_unit_test(keyrings),
    };

    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
