#include "tests/unit/unit.h"

#include <openssl/pem.h>

#include "auth/jwt.h"
#include "tests/unit/token.h"

#define NOW 1800000000
#define ISS "https://idp.example.com"

/* Each algorithm with a key of its own; the second issuer has another ES256 key and knows claims.
 */
static EVP_PKEY *rsa, *ec256, *ec384, *ec521, *ed, *other256;
static struct keyring *ring;
static struct identity id;

static struct jwks *set_of(char *a, char *b, char *c, char *d)
{
    char text[8192], err[128];
    struct jwks *s = NULL;
    unsigned ignored;
    int n = snprintf(text, sizeof(text), "{\"keys\":[%s,%s,%s,%s]}", a, b, c, d);

    assert_int_equal(jwks_parse(text, (size_t)n, &s, &ignored, err, sizeof(err)), OK);
    free(a);
    free(b);
    free(c);
    free(d);
    return s;
}

static int setup(void **state)
{
    struct jwks *sets[4] = {0};
    struct config *c;

    (void)state;
    rsa = EVP_RSA_gen(2048);
    ec256 = EVP_EC_gen("P-256");
    other256 = EVP_EC_gen("P-256");
    ec384 = EVP_EC_gen("P-384");
    ec521 = EVP_EC_gen("P-521");
    ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    c = token_config("issuers:\n"
                     "  - issuer: " ISS "\n"
                     "    audience: [sluice, gate]\n"
                     "    algorithms: [RS256, PS256, ES256, ES384, EdDSA]\n"
                     "    skew_s: 10\n"
                     "    max_token_s: 0\n"
                     "    second_opinion: true\n"
                     "  - issuer: https://two.example.com\n"
                     "    audience: sluice\n"
                     "    shared_subjects: false\n"
                     "    max_token_s: 0\n"
                     "    claims: {transfer: tp, participant: bpn, agreement: ctx.agreement,\n"
                     "             asset: 'https://w3id.org/edc/v0.0.1/ns/asset', topics: topics,\n"
                     "             group_prefix: gp, operations: ops, client: cid}\n"
                     "  - {issuer: https://three.example.com, audience: sluice}\n"
                     "  - {issuer: https://four.example.com, audience: sluice}\n");
    if (!c)
        return -1;
    sets[0] = set_of(token_jwk(rsa, "rsa", ""), token_jwk(ec256, "es", ""),
                     token_jwk(ec384, "es3", ""), token_jwk(ed, "ed", ""));
    sets[1] = set_of(token_jwk(rsa, "rsa", ",\"alg\":\"RS256\""), token_jwk(other256, "es", ""),
                     strdup("{}"), strdup("{}"));
    sets[3] = set_of(token_jwk(ec256, "es", ""), strdup("{}"), strdup("{}"), strdup("{}"));
    ring = keyring_new(c, sets);
    jwks_unref(sets[0]);
    jwks_unref(sets[1]);
    jwks_unref(sets[3]);
    config_unref(c);
    return ring ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    keyring_unref(ring);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec256);
    EVP_PKEY_free(other256);
    EVP_PKEY_free(ec384);
    EVP_PKEY_free(ec521);
    EVP_PKEY_free(ed);
    return 0;
}

/* From memory of exactly its size. */
static enum jwt_verdict verify(const char *token, size_t n, const char *thumbprint)
{
    char *copy = malloc(n ? n : 1);
    enum jwt_verdict v;

    memcpy(copy, token, n);
    identity_clear(&id);
    v = jwt_verify(copy, n, ring, NOW, thumbprint, &id);
    free(copy);
    if (v != JWT_OK) {
        assert_int_equal(id.expires, 0);
        assert_string_equal(id.subject, "");
        assert_int_equal(id.ntopics, 0);
    }
    return v;
}

static void expect_token(char *token, enum jwt_verdict want)
{
    enum jwt_verdict v = verify(token, strlen(token), NULL);

    if (v != want)
        fail_msg("%s instead of %s for %s", jwt_verdict_name(v), jwt_verdict_name(want), token);
    free(token);
}

#define CLAIMS(more)                                                                               \
    "{\"iss\":\"" ISS "\",\"aud\":\"sluice\",\"sub\":\"bob\",\"exp\":1800000300,"                  \
    "\"iat\":1799999990,\"jti\":\"j1\"" more "}"
#define HEADER(alg, kid) "{\"alg\":\"" alg "\",\"typ\":\"JWT\",\"kid\":\"" kid "\"}"

/* By the ES256 key. */
static void expect(const char *header, const char *claims, enum jwt_verdict want)
{
    expect_token(token_sign("ES256", ec256, header, claims), want);
}
#define expect_claims(claims, want) expect(HEADER("ES256", "es"), claims, want)
#define expect_header(header, want) expect(header, CLAIMS(""), want)

static void every_algorithm(void **state)
{
    (void)state;
    expect_token(token_sign("RS256", rsa, HEADER("RS256", "rsa"), CLAIMS("")), JWT_OK);
    expect_token(token_sign("PS256", rsa, HEADER("PS256", "rsa"), CLAIMS("")), JWT_OK);
    expect_token(token_sign("ES256", ec256, HEADER("ES256", "es"), CLAIMS("")), JWT_OK);
    expect_token(token_sign("ES384", ec384, HEADER("ES384", "es3"), CLAIMS("")), JWT_OK);
    expect_token(token_sign("EdDSA", ed, HEADER("EdDSA", "ed"), CLAIMS("")), JWT_OK);
    assert_string_equal(id.issuer, ISS);
    assert_string_equal(id.subject, "bob");
    assert_string_equal(id.jti, "j1");
    assert_string_equal(id.client, "");
    assert_int_equal(id.expires, 1800000300);
    assert_int_equal(id.issued, 1799999990);
    assert_int_equal(id.operations, OP_READ);
    assert_true(id.shared_subjects);
    /* without a kid, where only one key fits */
    expect_token(token_sign("EdDSA", ed, "{\"alg\":\"EdDSA\"}", CLAIMS("")), JWT_OK);
}

static void algorithms_refused(void **state)
{
    char *input, *token;
    unsigned char mac[64], pem[2048];
    unsigned mac_len;
    long pem_len;
    BIO *bio = BIO_new(BIO_s_mem());

    (void)state;
    expect_header(HEADER("none", "es"), JWT_ALGORITHM);
    expect_header(HEADER("None", "es"), JWT_ALGORITHM);
    expect_header(HEADER("", "es"), JWT_ALGORITHM);
    expect_header(HEADER("es256", "es"), JWT_ALGORITHM);
    expect_header(HEADER("ES512", "es"), JWT_ALGORITHM);
    expect_header(HEADER("HS256", "es"), JWT_ALGORITHM);
    expect_header("{\"typ\":\"JWT\",\"kid\":\"es\"}", JWT_ALGORITHM);
    expect_header("{\"alg\":[\"ES256\"],\"kid\":\"es\"}", JWT_ALGORITHM);
    expect_header("{\"alg\":\"ES256\",\"kid\":\"es\",\"crit\":[\"exp\"]}", JWT_ALGORITHM);
    expect_header("{\"alg\":\"ES256\",\"kid\":\"es\",\"crit\":[]}", JWT_ALGORITHM);
    expect_header("{\"alg\":\"ES256\",\"kid\":\"es\",\"b64\":false,\"crit\":[\"b64\"]}",
                  JWT_ALGORITHM);
    /* not on the issuer's list */
    expect_token(token_sign("RS256", rsa, HEADER("RS256", "rsa"),
                            "{\"iss\":\"https://two.example.com\",\"aud\":\"sluice\","
                            "\"exp\":1800000300}"),
                 JWT_ALGORITHM);
    /* HMAC with the RSA key's public PEM: the confusion of algorithms */
    PEM_write_bio_PUBKEY(bio, rsa);
    pem_len = BIO_read(bio, pem, sizeof(pem));
    input = token_input(HEADER("HS256", "rsa"), CLAIMS(""));
    HMAC(EVP_sha256(), pem, (int)pem_len, (unsigned char *)input, strlen(input), mac, &mac_len);
    token = token_join(input, mac, mac_len);
    expect_token(token, JWT_ALGORITHM);
    free(input);
    input = token_input(HEADER("RS256", "rsa"), CLAIMS(""));
    token = token_join(input, mac, mac_len);
    expect_token(token, JWT_SIGNATURE);
    free(input);
    BIO_free(bio);
}

static void keys_and_signatures(void **state)
{
    (void)state;
    expect_token(token_sign("ES256", other256, HEADER("ES256", "es"), CLAIMS("")), JWT_SIGNATURE);
    expect_token(token_sign("ES384", ec384, HEADER("ES256", "es"), CLAIMS("")), JWT_SIGNATURE);
    expect_token(token_sign("ES512", ec521, HEADER("ES256", "es"), CLAIMS("")), JWT_SIGNATURE);
    expect_token(token_sign("RS256", rsa, HEADER("PS256", "rsa"), CLAIMS("")), JWT_SIGNATURE);
    expect_token(token_sign("PS256", rsa, HEADER("RS256", "rsa"), CLAIMS("")), JWT_SIGNATURE);
    /* a kid that names a key of another type will not become right; an unknown one may */
    expect_token(token_sign("ES256", ec256, HEADER("ES256", "es3"), CLAIMS("")), JWT_ALGORITHM);
    expect_token(token_sign("ES256", ec256, HEADER("ES256", "rsa"), CLAIMS("")), JWT_ALGORITHM);
    expect_token(token_sign("ES256", ec256, HEADER("ES256", "new"), CLAIMS("")), JWT_KEY);
    assert_string_equal(id.issuer, ISS);
    assert_true(jwt_verdict_retriable(JWT_KEY));
    assert_false(jwt_verdict_retriable(JWT_SIGNATURE));
    expect_header("{\"alg\":\"ES256\",\"kid\":7}", JWT_MALFORMED);
    /* the other issuer's key of the same kid; the other issuer's name with this key */
    expect_token(token_sign("ES256", other256, HEADER("ES256", "es"),
                            "{\"iss\":\"https://two.example.com\",\"aud\":\"sluice\","
                            "\"exp\":1800000300}"),
                 JWT_OK);
    expect_token(token_sign("ES256", ec256, HEADER("ES256", "es"),
                            "{\"iss\":\"https://two.example.com\",\"aud\":\"sluice\","
                            "\"exp\":1800000300}"),
                 JWT_SIGNATURE);
    expect_token(token_sign("ES256", ec256, HEADER("ES256", "es"),
                            "{\"iss\":\"https://three.example.com\",\"aud\":\"sluice\","
                            "\"exp\":1800000300}"),
                 JWT_NO_KEYS);
    assert_true(jwt_verdict_retriable(JWT_NO_KEYS));
}

/* Keys that the token brings along are not looked at. */
static void keys_in_the_header(void **state)
{
    char *jwk = token_jwk(other256, "es", "");
    char header[1024];

    (void)state;
    snprintf(header, sizeof(header), "{\"alg\":\"ES256\",\"kid\":\"es\",\"jwk\":%s}", jwk);
    expect_token(token_sign("ES256", other256, header, CLAIMS("")), JWT_SIGNATURE);
    snprintf(header, sizeof(header),
             "{\"alg\":\"ES256\",\"kid\":\"es\",\"jku\":\"https://evil.example/jwks\","
             "\"x5u\":\"https://evil.example/x5u\",\"x5c\":[\"AAAA\"]}");
    expect_token(token_sign("ES256", other256, header, CLAIMS("")), JWT_SIGNATURE);
    expect_token(token_sign("ES256", ec256, header, CLAIMS("")), JWT_OK);
    free(jwk);
}

static void ecdsa_shapes(void **state)
{
    unsigned char sig[256] = {0};
    char *input = token_input(HEADER("ES256", "es"), CLAIMS(""));
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    size_t n = sizeof(sig);

    (void)state;
    /* DER where the raw form belongs */
    EVP_DigestSignInit_ex(md, NULL, "SHA256", NULL, NULL, ec256, NULL);
    EVP_DigestSign(md, sig, &n, (unsigned char *)input, strlen(input));
    EVP_MD_CTX_free(md);
    expect_token(token_join(input, sig, n), JWT_SIGNATURE);
    /* r and s zero; a byte too few; a byte too many; r and s with zeros before them */
    memset(sig, 0, sizeof(sig));
    expect_token(token_join(input, sig, 64), JWT_SIGNATURE);
    assert_int_equal(token_signature("ES256", ec256, input, sig, sizeof(sig)), 64);
    expect_token(token_join(input, sig, 64), JWT_OK);
    expect_token(token_join(input, sig, 63), JWT_SIGNATURE);
    expect_token(token_join(input, sig, 65), JWT_SIGNATURE);
    memmove(sig + 49, sig + 32, 32);
    memmove(sig + 16 + 1, sig, 32);
    memset(sig, 0, 16);
    expect_token(token_join(input, sig, 96), JWT_SIGNATURE);
    free(input);
}

/* The same token in another spelling is no token: what libjwt takes. */
static void other_spellings(void **state)
{
    char *token = token_sign("ES256", ec256, HEADER("ES256", "es"), CLAIMS(""));
    size_t n = strlen(token);
    static const char *const tails[] = {"!!!!", "=", "==", " ", "\n", ".", ".x", "A", "\x80"};
    char *text = malloc(n + 32);
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        sprintf(text, "%s%s", token, tails[i]);
        assert_int_not_equal(verify(text, strlen(text), NULL), JWT_OK);
    }
    sprintf(text, " %s", token);
    assert_int_equal(verify(text, n + 1, NULL), JWT_MALFORMED);
    memcpy(text, token, n + 1);
    assert_int_equal(verify(text, n + 1, NULL), JWT_MALFORMED); /* its NUL */
    /* 64 bytes end in a character with four bits to spare */
    text[n - 1] = (char)(token[n - 1] + 1);
    assert_int_equal(verify(text, n, NULL), JWT_MALFORMED);
    assert_int_equal(verify(token, n, NULL), JWT_OK);
    free(text);
    free(token);
}

static void shapes(void **state)
{
    static char big[JWT_BYTES_MAX + 1];

    (void)state;
    assert_int_equal(verify("", 0, NULL), JWT_MALFORMED);
    assert_int_equal(verify(".", 1, NULL), JWT_MALFORMED);
    assert_int_equal(verify("..", 2, NULL), JWT_MALFORMED);
    assert_int_equal(verify("...", 3, NULL), JWT_MALFORMED);
    assert_int_equal(verify("e30.e30.", 8, NULL), JWT_MALFORMED);
    assert_int_equal(verify("e30..e30", 8, NULL), JWT_MALFORMED);
    assert_int_equal(verify(".e30.e30", 8, NULL), JWT_MALFORMED);
    assert_int_equal(verify("e30.e30.e30", 11, NULL), JWT_ISSUER);
    assert_int_equal(verify("W10.e30.e30", 11, NULL), JWT_MALFORMED);         /* an array */
    assert_int_equal(verify("e30.e30.e30.e30.e30", 19, NULL), JWT_MALFORMED); /* a JWE */
    memset(big, 'A', sizeof(big));
    assert_int_equal(verify(big, sizeof(big), NULL), JWT_MALFORMED);
}

/* Every beginning of a good token, and every single byte of it changed, is refused. */
static void every_cut_and_change(void **state)
{
    char *token = token_sign("EdDSA", ed, HEADER("EdDSA", "ed"), CLAIMS(""));
    size_t n = strlen(token);
    size_t i;

    (void)state;
    for (i = 0; i < n; i++)
        assert_int_not_equal(verify(token, i, NULL), JWT_OK);
    for (i = 0; i < n; i++) {
        char was = token[i];

        token[i] = was == 'A' ? 'B' : 'A';
        assert_int_not_equal(verify(token, n, NULL), JWT_OK);
        token[i] = was;
    }
    assert_int_equal(verify(token, n, NULL), JWT_OK);
    free(token);
}

static void strict_json(void **state)
{
    char deep[1024] = "{\"a\":";
    size_t n = strlen(deep);
    int i;

    (void)state;
    expect_claims(CLAIMS(",\"sub\":\"eve\""), JWT_MALFORMED);
    expect_claims(CLAIMS(",\"x\":{\"a\":1,\"a\":2}"), JWT_MALFORMED);
    expect_claims(CLAIMS(",\"x\":\"\\u0000\""), JWT_MALFORMED);
    expect_claims(CLAIMS(",\"x\":\"\xff\""), JWT_MALFORMED);
    expect_claims(CLAIMS("") "x", JWT_MALFORMED);
    expect_claims(CLAIMS("") "{}", JWT_MALFORMED);
    expect_claims(CLAIMS(",\"x\":1e999"), JWT_MALFORMED);
    expect_claims("[]", JWT_MALFORMED);
    expect_header("{\"alg\":\"ES256\",\"alg\":\"none\",\"kid\":\"es\"}", JWT_MALFORMED);
    for (i = 0; i < 40; i++)
        deep[n++] = '[';
    for (i = 0; i < 40; i++)
        deep[n++] = ']';
    strcpy(deep + n, "}");
    expect_claims(deep, JWT_MALFORMED);
}

static void types(void **state)
{
    (void)state;
    expect_header("{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"es\"}", JWT_OK);
    expect_header("{\"alg\":\"ES256\",\"typ\":\"application/at+jwt\",\"kid\":\"es\"}", JWT_OK);
    /* libjwt takes it for no type of its own: a veto, though the signature holds. */
    expect_header("{\"alg\":\"ES256\",\"typ\":\"application/jwt\",\"kid\":\"es\"}", JWT_VETO);
    expect_header("{\"alg\":\"ES256\",\"typ\":\"jwt\",\"kid\":\"es\"}", JWT_OK);
    expect_header("{\"alg\":\"ES256\",\"kid\":\"es\"}", JWT_OK);
    expect_header("{\"alg\":\"ES256\",\"typ\":\"secevent+jwt\",\"kid\":\"es\"}", JWT_TYPE);
    expect_header("{\"alg\":\"ES256\",\"typ\":\"logout+jwt\",\"kid\":\"es\"}", JWT_TYPE);
    expect_header("{\"alg\":\"ES256\",\"typ\":\"dpop+jwt\",\"kid\":\"es\"}", JWT_TYPE);
    expect_header("{\"alg\":\"ES256\",\"typ\":\"\",\"kid\":\"es\"}", JWT_TYPE);
    expect_header("{\"alg\":\"ES256\",\"typ\":null,\"kid\":\"es\"}", JWT_TYPE);
    expect_claims(CLAIMS(",\"typ\":\"Bearer\""), JWT_OK);
    expect_claims(CLAIMS(",\"typ\":\"ID\""), JWT_TYPE);
    expect_claims(CLAIMS(",\"typ\":\"Refresh\""), JWT_TYPE);
}

#define WITH(iss, aud, exp) "{\"iss\":" iss ",\"aud\":" aud ",\"exp\":" exp "}"
#define I                   "\"" ISS "\""
#define A                   "\"sluice\""

static void issuers_and_audiences(void **state)
{
    (void)state;
    expect_claims(WITH("\"https://evil.example.com\"", A, "1800000300"), JWT_ISSUER);
    expect_claims(WITH("\"" ISS "/\"", A, "1800000300"), JWT_ISSUER);
    expect_claims(WITH("\"HTTPS://idp.example.com\"", A, "1800000300"), JWT_ISSUER);
    expect_claims(WITH("[" I "]", A, "1800000300"), JWT_ISSUER);
    expect_claims("{\"aud\":\"sluice\",\"exp\":1800000300}", JWT_ISSUER);
    expect_claims(WITH(I, "[\"x\"," A "]", "1800000300"), JWT_OK);
    expect_claims(WITH(I, "\"gate\"", "1800000300"), JWT_OK);
    expect_claims(WITH(I, "[\"x\",7]", "1800000300"), JWT_AUDIENCE);
    expect_claims(WITH(I, "[]", "1800000300"), JWT_AUDIENCE);
    expect_claims(WITH(I, "[[" A "]]", "1800000300"), JWT_AUDIENCE);
    expect_claims(WITH(I, "\"Sluice\"", "1800000300"), JWT_AUDIENCE);
    expect_claims(WITH(I, "\"sluice gate\"", "1800000300"), JWT_AUDIENCE);
    expect_claims(WITH(I, "{\"sluice\":1}", "1800000300"), JWT_AUDIENCE);
    expect_claims("{\"iss\":" I ",\"exp\":1800000300}", JWT_AUDIENCE);
}

static void times(void **state)
{
    (void)state;
    expect_claims("{\"iss\":" I ",\"aud\":" A "}", JWT_CLAIMS);
    expect_claims(WITH(I, A, "\"1800000300\""), JWT_CLAIMS);
    expect_claims(WITH(I, A, "1800000300.0"), JWT_CLAIMS);
    expect_claims(WITH(I, A, "1.8e9"), JWT_CLAIMS);
    expect_claims(WITH(I, A, "null"), JWT_CLAIMS);
    expect_claims(WITH(I, A, "true"), JWT_CLAIMS);
    expect_claims(WITH(I, A, "-1"), JWT_CLAIMS);
    expect_claims(WITH(I, A, "9223372036854775807"), JWT_CLAIMS);
    expect_claims(WITH(I, A, "99999999999999999999"), JWT_MALFORMED);
    expect_claims(WITH(I, A, "0"), JWT_EXPIRED);
    /* skew is 10 s */
    expect_claims(WITH(I, A, "1799999991"), JWT_OK);
    expect_claims(WITH(I, A, "1799999990"), JWT_EXPIRED);
    expect_claims(WITH(I, A, "1800000300,\"nbf\":1800000010"), JWT_OK);
    expect_claims(WITH(I, A, "1800000300,\"nbf\":1800000011"), JWT_NOT_YET);
    expect_claims(WITH(I, A, "1800000300,\"iat\":1800000010"), JWT_OK);
    expect_claims(WITH(I, A, "1800000300,\"iat\":1800000011"), JWT_NOT_YET);
    expect_claims(WITH(I, A, "1800000300,\"nbf\":\"1\""), JWT_CLAIMS);
    expect_claims(WITH(I, A, "1800000300,\"iat\":1.5"), JWT_CLAIMS);
}

/* The fourth issuer has the default: a day. */
static void lives(void **state)
{
#define FOUR(times) "{\"iss\":\"https://four.example.com\",\"aud\":\"sluice\"," times "}"
    (void)state;
    expect_claims(FOUR("\"iat\":1799999990,\"exp\":1800000300"), JWT_OK);
    expect_claims(FOUR("\"iat\":1799999990,\"exp\":1800086390"), JWT_OK);
    expect_claims(FOUR("\"iat\":1799999990,\"exp\":1800086391"), JWT_TOO_LONG);
    expect_claims(FOUR("\"iat\":1,\"exp\":1800000300"), JWT_TOO_LONG);
    expect_claims(FOUR("\"iat\":0,\"exp\":1800000300"), JWT_TOO_LONG);
    expect_claims(FOUR("\"exp\":1800000300"), JWT_TOO_LONG);
    expect_claims(FOUR("\"nbf\":1799999990,\"exp\":1800000300"), JWT_TOO_LONG);
    expect_claims(FOUR("\"iat\":1799999000,\"exp\":1799999990"), JWT_EXPIRED);
    assert_false(jwt_verdict_retriable(JWT_TOO_LONG));
#undef FOUR
}

static void texts(void **state)
{
    char claims[2048], long_text[300];

    (void)state;
    memset(long_text, 'x', sizeof(long_text));
    long_text[255] = '\0';
    snprintf(claims, sizeof(claims), WITH(I, A, "1800000300,\"sub\":\"%s\""), long_text);
    expect_claims(claims, JWT_OK);
    long_text[255] = 'x';
    long_text[256] = '\0';
    snprintf(claims, sizeof(claims), WITH(I, A, "1800000300,\"sub\":\"%s\""), long_text);
    expect_claims(claims, JWT_CLAIMS);
    expect_claims(WITH(I, A, "1800000300,\"sub\":7"), JWT_CLAIMS);
    expect_claims(WITH(I, A, "1800000300,\"sub\":\"\""), JWT_CLAIMS);
    expect_claims(WITH(I, A, "1800000300,\"jti\":null"), JWT_CLAIMS);
    expect_claims(WITH(I, A, "1800000300,\"sub\":\"a\\nb\""), JWT_CLAIMS);
    expect_claims(WITH(I, A, "1800000300,\"sid\":7"), JWT_CLAIMS);
    expect_claims(WITH(I, A, "1800000300,\"sid\":\"s1\""), JWT_OK);
    assert_string_equal(id.sid, "s1");
    /* A security event or a logout token, whatever its header says. */
    expect_claims(WITH(I, A, "1800000300,\"events\":{}"), JWT_TYPE);
    expect_claims(WITH(I, A, "1800000300,\"client_id\":\"c\",\"azp\":\"a\""), JWT_OK);
    assert_string_equal(id.client, "c");
    expect_claims(WITH(I, A, "1800000300,\"azp\":\"a\""), JWT_OK);
    assert_string_equal(id.client, "a");
    expect_claims(WITH(I, A, "1800000300,\"client_id\":[]"), JWT_CLAIMS);
}

static void expect_two(const char *more, enum jwt_verdict want)
{
    char claims[8192];

    snprintf(claims, sizeof(claims),
             "{\"iss\":\"https://two.example.com\",\"aud\":\"sluice\",\"exp\":1800000300%s}", more);
    expect_token(token_sign("ES256", other256, HEADER("ES256", "es"), claims), want);
}

static void mapped_claims(void **state)
{
    char many[4096] = ",\"topics\":[";
    size_t n = strlen(many);
    int i;

    (void)state;
    expect_two("", JWT_OK);
    assert_int_equal(id.operations, 0);
    assert_false(id.shared_subjects);
    expect_two(",\"tp\":\"t1\",\"bpn\":\"BPNL1\",\"ctx\":{\"agreement\":\"agr\"},"
               "\"https://w3id.org/edc/v0.0.1/ns/asset\":\"ass\",\"topics\":[\"b\",\"a\"],"
               "\"gp\":\"bob\",\"ops\":\"openid read manage\",\"cid\":\"cli\",\"azp\":\"no\"",
               JWT_OK);
    assert_string_equal(id.transfer, "t1");
    assert_string_equal(id.participant, "BPNL1");
    assert_string_equal(id.agreement, "agr");
    assert_string_equal(id.asset, "ass");
    assert_string_equal(id.group_prefix, "bob");
    assert_string_equal(id.client, "cli");
    assert_int_equal(id.operations, OP_READ | OP_MANAGE);
    assert_int_equal(id.ntopics, 2);
    assert_string_equal(id.topics[1], "a");
    struct identity copy;
    assert_int_equal(identity_copy(&copy, &id), OK);
    assert_string_equal(copy.topics[0], "b");
    assert_ptr_not_equal(copy.topics[0], id.topics[0]);
    identity_clear(&copy);
    expect_two(",\"topics\":\"one  two \",\"ops\":[\"write\",\"describe_configs\",\"x\"]", JWT_OK);
    assert_int_equal(id.ntopics, 2);
    assert_string_equal(id.topics[1], "two");
    assert_int_equal(id.operations, OP_WRITE | OP_DESCRIBE_CONFIGS);
    expect_two(",\"ops\":\"READ\"", JWT_OK);
    assert_int_equal(id.operations, 0);
    /* of the wrong kind: refused, never taken for absent */
    expect_two(",\"tp\":null", JWT_CLAIMS);
    expect_two(",\"tp\":\"\"", JWT_CLAIMS);
    expect_two(",\"tp\":[\"t1\"]", JWT_CLAIMS);
    expect_two(",\"gp\":7", JWT_CLAIMS);
    expect_two(",\"topics\":{\"a\":1}", JWT_CLAIMS);
    expect_two(",\"topics\":[7]", JWT_CLAIMS);
    expect_two(",\"topics\":[\"\"]", JWT_CLAIMS);
    expect_two(",\"ops\":7", JWT_CLAIMS);
    expect_two(",\"ctx\":{\"agreement\":{}}", JWT_CLAIMS);
    expect_two(",\"ctx\":\"agreement\"", JWT_OK);
    assert_string_equal(id.agreement, "");
    for (i = 0; i <= IDENTITY_TOPICS_MAX; i++)
        n += (size_t)sprintf(many + n, "%s\"t%d\"", i ? "," : "", i);
    strcpy(many + n, "]");
    expect_two(many, JWT_CLAIMS);
}

#define PRINT "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"

static void bindings(void **state)
{
    char *t = token_sign("ES256", ec256, HEADER("ES256", "es"),
                         CLAIMS(",\"cnf\":{\"x5t#S256\":\"" PRINT "\"}"));
    size_t n = strlen(t);

    (void)state;
    assert_int_equal(verify(t, n, PRINT), JWT_OK);
    assert_string_equal(id.thumbprint, PRINT);
    assert_int_equal(verify(t, n, NULL), JWT_BINDING);
    assert_int_equal(verify(t, n, ""), JWT_BINDING);
    assert_int_equal(verify(t, n, "B4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"), JWT_BINDING);
    assert_int_equal(verify(t, n, PRINT "="), JWT_BINDING);
    free(t);
    expect_claims(CLAIMS(",\"cnf\":{\"jkt\":\"" PRINT "\"}"), JWT_BINDING);
    expect_claims(CLAIMS(",\"cnf\":{}"), JWT_BINDING);
    expect_claims(CLAIMS(",\"cnf\":null"), JWT_BINDING);
    expect_claims(CLAIMS(",\"cnf\":{\"x5t#S256\":7}"), JWT_BINDING);
    /* a certificate does no harm to a token without */
    t = token_sign("ES256", ec256, HEADER("ES256", "es"), CLAIMS(""));
    assert_int_equal(verify(t, strlen(t), PRINT), JWT_OK);
    assert_string_equal(id.thumbprint, "");
    free(t);
}

static void identified(void **state)
{
    char *t = token_sign("ES256", ec256, HEADER("ES256", "es"),
                         WITH(I, A, "17,\"jti\":\"old\",\"cnf\":{\"jkt\":\"x\"}"));

    (void)state;
    identity_clear(&id);
    assert_int_equal(jwt_identify(t, strlen(t), ring, &id), JWT_OK);
    assert_string_equal(id.jti, "old");
    char *spoilt = t + strlen(t) - 3; /* stays a letter of base64url, whatever it was */
    *spoilt = *spoilt == 'A' ? 'B' : 'A';
    assert_int_equal(jwt_identify(t, strlen(t), ring, &id), JWT_SIGNATURE);
    free(t);
    t = token_sign("ES256", ec256, HEADER("ES256", "es"), WITH(I, "\"x\"", "17"));
    assert_int_equal(jwt_identify(t, strlen(t), ring, &id), JWT_AUDIENCE);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_algorithm),
        cmocka_unit_test(algorithms_refused),
        cmocka_unit_test(keys_and_signatures),
        cmocka_unit_test(keys_in_the_header),
        cmocka_unit_test(ecdsa_shapes),
        cmocka_unit_test(other_spellings),
        cmocka_unit_test(shapes),
        cmocka_unit_test(every_cut_and_change),
        cmocka_unit_test(strict_json),
        cmocka_unit_test(types),
        cmocka_unit_test(issuers_and_audiences),
        cmocka_unit_test(times),
        cmocka_unit_test(lives),
        cmocka_unit_test(texts),
        cmocka_unit_test(mapped_claims),
        cmocka_unit_test(bindings),
        cmocka_unit_test(identified),
    };

    int failed = cmocka_run_group_tests(tests, setup, teardown);

    identity_clear(&id);
    return failed;
}
