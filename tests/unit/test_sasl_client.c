#include "tests/unit/unit.h"

#include <stdio.h>

#include "auth/sasl_client.h"

static size_t text(const struct buf *b, char *out, size_t max)
{
    assert_true(b->len < max);
    buf_copy_out(b, 0, out, b->len);
    out[b->len] = 0;
    return b->len;
}

static void plain(void **state)
{
    (void)state;
    struct sasl_credentials c = {
        .mechanism = SASL_PLAIN, .username = "gate", .password = "p\303\244ss"};
    struct sasl_client s;
    struct buf out;
    const char *why;
    char got[64];
    buf_init(&out, SASL_CLIENT_MAX);
    assert_int_equal(sasl_client_first(&s, &c, &out, &why), OK);
    assert_int_equal(text(&out, got, sizeof(got)), 11);
    assert_memory_equal(got, "\0gate\0p\303\244ss", 11);
    assert_false(s.done);
    assert_int_equal(sasl_client_next(&s, &c, "x", 1, &out, &why), ERR_MALFORMED);
    assert_int_equal(sasl_client_next(&s, &c, NULL, 0, &out, &why), OK);
    assert_true(s.done);
    assert_int_equal(sasl_client_next(&s, &c, NULL, 0, &out, &why), ERR_MALFORMED);
    buf_release(&out);
    c.password = NULL;
    assert_int_equal(sasl_client_first(&s, &c, &out, &why), ERR_CONFIG);
    buf_release(&out);
}

static void oauthbearer(void **state)
{
    (void)state;
    struct sasl_credentials c = {.mechanism = SASL_OAUTHBEARER, .token = "abc.DEF-_~+/12=="};
    struct sasl_client s;
    struct buf out;
    const char *why;
    char got[128];
    buf_init(&out, SASL_CLIENT_MAX);
    assert_int_equal(sasl_client_first(&s, &c, &out, &why), OK);
    text(&out, got, sizeof(got));
    assert_string_equal(got, "n,,\001auth=Bearer abc.DEF-_~+/12==\001\001");
    assert_int_equal(sasl_client_next(&s, &c, "{\"status\":\"invalid_token\"}", 26, &out, &why),
                     ERR_DENIED);
    assert_int_equal(sasl_client_next(&s, &c, "", 0, &out, &why), OK);
    assert_true(s.done);
    buf_release(&out);

    static const char *const bad[] = {"", "a b", "a\001b", "a=b", "=", "a\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        c.token = bad[i];
        assert_int_equal(sasl_client_first(&s, &c, &out, &why), ERR_CONFIG);
    }
    c.token = NULL;
    assert_int_equal(sasl_client_first(&s, &c, &out, &why), ERR_CONFIG);
    assert_int_equal(out.len, 0);
    buf_release(&out);
}

/* A whole SCRAM exchange needs the server's side; that the steps are wired is seen here, the rest
 * in test_scram and test_upstream. */
static void scram_steps(void **state)
{
    (void)state;
    struct sasl_credentials c = {
        .mechanism = SASL_SCRAM_SHA_256, .username = "user", .password = "pencil"};
    struct sasl_client s;
    struct buf out;
    const char *why;
    char got[SCRAM_MESSAGE_MAX], first[SCRAM_MESSAGE_MAX];
    buf_init(&out, SASL_CLIENT_MAX);
    assert_int_equal(sasl_client_first(&s, &c, &out, &why), OK);
    size_t n = text(&out, got, sizeof(got));
    buf_drain(&out, n);
    int len = snprintf(first, sizeof(first), "%ssrv,s=QSXCR+Q6sek8bf92,i=4096", got + 10);
    assert_int_equal(sasl_client_next(&s, &c, first, (size_t)len, &out, &why), OK);
    assert_false(s.done);
    text(&out, got, sizeof(got));
    assert_memory_equal(got, "c=biws,r=", 9);
    assert_int_equal(sasl_client_next(&s, &c, "e=other-error", 13, &out, &why), ERR_DENIED);
    assert_false(s.done);
    sasl_client_clear(&s);
    buf_release(&out);
}

/* What cannot be used is said before a byte is written. */
static void unusable(void **state)
{
    static char much[SASL_CLIENT_MAX];
    static const struct {
        struct sasl_credentials c;
        const char *why;
    } bad[] = {
        {{.mechanism = SASL_NONE}, "no mechanism is configured"},
        {{.mechanism = SASL_PLAIN, .password = "p"}, "user name or password is missing"},
        {{.mechanism = SASL_PLAIN, .username = "u", .password = ""},
         "user name or password is missing"},
        {{.mechanism = SASL_PLAIN, .username = "u", .password = much},
         "user name or password is too long"},
        {{.mechanism = SASL_SCRAM_SHA_256, .username = "u"}, "user name or password is missing"},
        {{.mechanism = SASL_SCRAM_SHA_512, .username = "", .password = "p"},
         "the user name is not 1 to 255 bytes without control characters"},
        {{.mechanism = SASL_OAUTHBEARER}, "there is no token for the brokers yet"},
    };
    struct scram scram = {0};
    struct sasl_client s;
    struct buf out;
    const char *why;
    char message[SCRAM_MESSAGE_MAX];
    size_t n;

    (void)state;
    memset(much, 'p', sizeof(much) - 1);
    buf_init(&out, SASL_CLIENT_MAX);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(sasl_client_first(&s, &bad[i].c, &out, &why), ERR_CONFIG);
        assert_string_equal(why, bad[i].why);
        assert_int_equal(out.len, 0);
    }
    assert_int_equal(scram_first(&scram, SCRAM_SHA_256, "u", "a,b", message, &n, &why), ERR_CONFIG);
    assert_string_equal(why, "the nonce is not usable");
    buf_release(&out);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(sasl_mechanism_name(SASL_NONE), "");
    assert_string_equal(sasl_mechanism_name(SASL_SCRAM_SHA_512), "SCRAM-SHA-512");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),    cmocka_unit_test(oauthbearer), cmocka_unit_test(scram_steps),
        cmocka_unit_test(unusable), cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
