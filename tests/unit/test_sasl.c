#include "tests/unit/unit.h"

#include <stdlib.h>

#include "auth/sasl.h"

#define GOOD                                                                                       \
    "n,,\x01"                                                                                      \
    "auth=Bearer abc.DEF-_~+/9==\x01\x01"

static const char *why;

/* From memory of exactly its size, so that reading past it is seen. */
static int parse(const char *text, size_t n, struct sasl_oauth *out)
{
    static char *copy;
    int rc;

    free(copy);
    copy = malloc(n ? n : 1);
    memcpy(copy, text, n);
    rc = sasl_oauth_parse(copy, n, out, &why);
    assert_true((rc == OK) == (why == NULL));
    return rc;
}

#define bad(text)                                                                                  \
    do {                                                                                           \
        struct sasl_oauth o_;                                                                      \
        if (parse(text, sizeof(text) - 1, &o_) != ERR_MALFORMED)                                   \
            fail_msg("taken: %s", text);                                                           \
        assert_null(o_.token);                                                                     \
    } while (0)

static void good_messages(void **state)
{
    struct sasl_oauth o;

    (void)state;
    assert_int_equal(parse(GOOD, sizeof(GOOD) - 1, &o), OK);
    assert_int_equal(o.token_len, 15);
    assert_memory_equal(o.token, "abc.DEF-_~+/9==", 15);
    assert_null(o.authzid);
    /* as RFC 7628 writes it, with an authzid, other keys before and after */
    static const char rfc[] = "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
                              "auth=bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01"
                              "traceId=a b~\t\x01\x01";
    assert_int_equal(parse(rfc, sizeof(rfc) - 1, &o), OK);
    assert_int_equal(o.authzid_len, 16);
    assert_true(sasl_oauth_authorizes(&o, "user@example.com"));
    assert_false(sasl_oauth_authorizes(&o, "user@example.co"));
    assert_false(sasl_oauth_authorizes(&o, "user@example.com2"));
    assert_false(sasl_oauth_authorizes(&o, ""));
}

static void authzid_escapes(void **state)
{
    static const char m[] = "n,a=a=2Cb=3Dc,\x01"
                            "auth=Bearer x\x01\x01";
    struct sasl_oauth o;

    (void)state;
    assert_int_equal(parse(m, sizeof(m) - 1, &o), OK);
    assert_true(sasl_oauth_authorizes(&o, "a,b=c"));
    assert_false(sasl_oauth_authorizes(&o, "a=2Cb=3Dc"));
    assert_false(sasl_oauth_authorizes(&o, "a,b=cd"));
    assert_false(sasl_oauth_authorizes(&o, "a,b="));
    o.authzid = NULL;
    assert_true(sasl_oauth_authorizes(&o, "anybody"));
}

static void bad_messages(void **state)
{
    (void)state;
    bad("");
    bad("n");
    bad("\x01");
    bad("y,,\x01"
        "auth=Bearer x\x01\x01");
    bad("p=tls-unique,,\x01"
        "auth=Bearer x\x01\x01");
    bad("N,,\x01"
        "auth=Bearer x\x01\x01");
    bad("n,a=,\x01"
        "auth=Bearer x\x01\x01");
    bad("n,a=b\x01"
        "auth=Bearer x\x01\x01");
    bad("n,a=b=2c,\x01"
        "auth=Bearer x\x01\x01");
    bad("n,a=b=,\x01"
        "auth=Bearer x\x01\x01");
    bad("n,a=b\nc,\x01"
        "auth=Bearer x\x01\x01");
    bad("n,b=c,\x01"
        "auth=Bearer x\x01\x01");
    bad("n,,auth=Bearer x\x01\x01");
    bad("n,,\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x\x01");
    bad("n,,\x01"
        "auth=Bearer x");
    bad("n,,\x01"
        "auth=Bearer x\x01\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x\x01\x01"
        "auth=Bearer y\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x\x01"
        "auth=Bearer y\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x\x01"
        "Auth=Bearer y\x01\x01");
    bad("n,,\x01"
        "AUTH=Bearer x\x01\x01");
    bad("n,,\x01"
        "auth=Basic dTpw\x01\x01");
    bad("n,,\x01"
        "auth=Bearer\x01\x01");
    bad("n,,\x01"
        "auth=Bearer \x01\x01");
    bad("n,,\x01"
        "auth=Bearer  x\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x \x01\x01");
    bad("n,,\x01"
        "auth=Bearer =x\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x=y\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x\0y\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x!!!!\x01\x01");
    bad("n,,\x01"
        "auth= Bearer x\x01\x01");
    bad("n,,\x01"
        "auth:Bearer x\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x\x01"
        "=v\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x\x01"
        "k1=v\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x\x01"
        "k\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x\x01"
        "k=v\x7f\x01\x01");
    bad("n,,\x01"
        "auth=Bearer x\x01"
        "k=\xc3\xa4\x01\x01");
    bad("n,,\x01"
        "k=v\x01\x01");
}

/* No proper beginning of a message is a message, nor is one with any byte of its frame changed. */
static void every_cut(void **state)
{
    struct sasl_oauth o;
    size_t n;

    (void)state;
    for (n = 0; n < sizeof(GOOD) - 1; n++)
        assert_int_equal(parse(GOOD, n, &o), ERR_MALFORMED);
    for (n = 0; n < 16; n++) {
        char m[sizeof(GOOD)];

        memcpy(m, GOOD, sizeof(m));
        m[n] = '\0';
        assert_int_equal(parse(m, sizeof(GOOD) - 1, &o), ERR_MALFORMED);
    }
}

static void lengths(void **state)
{
    static char m[SASL_MESSAGE_MAX + 64];
    struct sasl_oauth o;
    size_t n = 0;

    (void)state;
    memcpy(m,
           "n,,\x01"
           "auth=Bearer ",
           16);
    memset(m + 16, 'x', SASL_TOKEN_MAX + 1);
    n = 16 + SASL_TOKEN_MAX;
    m[n] = m[n + 1] = 1;
    assert_int_equal(parse(m, n + 2, &o), OK);
    assert_int_equal(o.token_len, SASL_TOKEN_MAX);
    m[n] = 'x';
    m[n + 2] = 1;
    assert_int_equal(parse(m, n + 3, &o), ERR_MALFORMED);
    memset(m, 'x', sizeof(m));
    assert_int_equal(parse(m, SASL_MESSAGE_MAX + 1, &o), ERR_MALFORMED);
    assert_string_equal(why, "too long");
}

static int plain(const char *m, size_t n, struct sasl_plain *out)
{
    char *copy = malloc(n ? n : 1); /* exact, so that a byte read too far shows */
    int rc;

    assert_non_null(copy);
    memcpy(copy, m, n);
    rc = sasl_plain_parse(copy, n, out, &why);
    assert_int_equal(rc == OK, why == NULL);
    if (rc == OK)
        assert_memory_equal(out->password, m + n - out->password_len, out->password_len);
    else
        assert_true(out->user[0] == 0 && !out->password);
    free(copy);
    return rc;
}

static void plain_messages(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        int rc;
    } cases[] = {
        {"\0edc\0secret", 11, OK},
        {"edc\0edc\0secret", 14, OK},
        {"bob\0edc\0secret", 14, ERR_MALFORMED},
        {"ed\0edc\0secret", 13, ERR_MALFORMED},
        {"\0\0secret", 8, ERR_MALFORMED},
        {"\0edc\0", 5, ERR_MALFORMED},
        {"\0edc\0sec\0ret", 12, ERR_MALFORMED},
        {"\0e\tc\0secret", 11, ERR_MALFORMED},
        {"edc", 3, ERR_MALFORMED},
        {"", 0, ERR_MALFORMED},
    };
    char large[1024];
    struct sasl_plain o;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(plain(cases[i].text, cases[i].n, &o), cases[i].rc);
    for (i = 0; i < 11; i++) /* it may end behind the password's first character */
        assert_int_equal(plain("\0edc\0secret", i, &o), i > 5 ? OK : ERR_MALFORMED);
    memset(large, 'a', sizeof(large));
    large[0] = large[256] = 0;
    assert_int_equal(plain(large, 257 + 512, &o), OK);
    assert_int_equal(strlen(o.user), SASL_PLAIN_USER_MAX);
    assert_int_equal(plain(large, 257 + 513, &o), ERR_MALFORMED);
    large[256] = 'a';
    large[257] = 0;
    assert_int_equal(plain(large, 258 + 10, &o), ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_messages), cmocka_unit_test(authzid_escapes),
        cmocka_unit_test(bad_messages),  cmocka_unit_test(every_cut),
        cmocka_unit_test(lengths),       cmocka_unit_test(plain_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
