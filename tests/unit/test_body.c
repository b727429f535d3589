/* Bodies of the control API that need no listener; the rest of body.c is tested in test_control.c
 * and fuzz_control.c. */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "control/body.h"

static void test_form(void **state)
{
    char out[8];
    (void)state;
    static const struct {
        const char *body;
        int result;
        const char *value;
    } cases[] = {
        {"token=abc", 3, "abc"},
        {"x=1&token=a+b", 3, "a b"},
        {"token=%41%2b", 2, "A+"},
        {"t%6Fken=x&y", 1, "x"},
        {"token=&x=1", 0, ""},
        {"", ERR_UNKNOWN, ""},
        {"tokens=1", ERR_UNKNOWN, ""},
        {"token", ERR_MALFORMED, ""},
        {"token=%", ERR_MALFORMED, ""},
        {"token=%4", ERR_MALFORMED, ""},
        {"token=%4g", ERR_MALFORMED, ""},
        {"token=%00", ERR_MALFORMED, ""},
        {"token=a&token=a", ERR_MALFORMED, ""},
        {"token=12345678", ERR_LIMIT, ""},
        {"&&token=1&", 1, "1"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        size_t n = strlen(cases[i].body);
        char *exact = malloc(n ? n : 1);
        memcpy(exact, cases[i].body, n);
        assert_int_equal(body_form(exact, n, "token", out, sizeof(out)), cases[i].result);
        if (cases[i].result >= 0)
            assert_string_equal(out, cases[i].value);
        free(exact);
    }
}

/* Cut anywhere, a body is refused with a reason. */
static void test_every_truncation(void **state)
{
    static const char whole[] =
        "{\"issuer\": \"https://i\", \"subject\": \"s\", \"reason\": \"r\"}";
    char err[BODY_ERROR_BYTES];
    struct revocation *r = NULL;
    (void)state;
    for (size_t n = 0; n < strlen(whole); n++) {
        char *exact = malloc(n ? n : 1);
        memcpy(exact, whole, n);
        err[0] = '\0';
        assert_int_equal(body_revocation(exact, n, 1700000000, &r, err, sizeof(err)),
                         ERR_MALFORMED);
        assert_true(err[0] != '\0');
        free(exact);
    }
    assert_int_equal(body_revocation(whole, strlen(whole), 1700000000, &r, err, sizeof(err)), OK);
    assert_int_equal(r->kind, REVOKE_SUBJECT);
    assert_string_equal(r->issuer, "https://i");
    assert_string_equal(r->value, "s");
    assert_string_equal(r->reason, "r");
    assert_int_equal(r->at, 1700000000);
    revocation_free(r);
}

/* What is told of a grant can be put again, also when it is of groups alone. */
static void test_grant_again(void **state)
{
    static const char text[] = "listen: 0.0.0.0:9093\n"
                               "advertise: gate.example.com:9093\n"
                               "tls: {certificate: gate.pem, key: gate.key}\n"
                               "issuers: [{issuer: 'https://i', audience: a}]\n"
                               "upstream: {brokers: ['k:1']}\n";
    static const char body[] = "{\"principal\": {\"subject\": \"bob\"}, \"group_prefix\": "
                               "\"bob\",\"operations\":[\"manage\"]}";
    static const char *const told[] = {"id", "source", "state", "sessions"};
    char err[1024];
    struct config *c = config_parse("/s.yaml", text, strlen(text), false, err, sizeof(err));
    struct grant *g = NULL, *again = NULL;
    (void)state;
    assert_non_null(c);
    assert_int_equal(body_grant(body, strlen(body), "id", c, &g, err, sizeof(err)), OK);
    json_t *shown = body_of_grant(g, GRANT_ACTIVE, &(struct grant_usage){1, 0});
    for (size_t i = 0; i < sizeof(told) / sizeof(*told); i++)
        json_object_del(shown, told[i]);
    char *dumped = json_dumps(shown, JSON_COMPACT);
    assert_int_equal(body_grant(dumped, strlen(dumped), "id", c, &again, err, sizeof(err)), OK);
    assert_true(grant_equal(g, again));
    free(dumped);
    json_decref(shown);
    grant_unref(again);
    grant_unref(g);
    config_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_grant_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
