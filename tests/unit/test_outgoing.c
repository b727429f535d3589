#include "tests/unit/unit.h"

#include "config/outgoing.h"
#include "tests/unit/token.h"

static const char issuers[] = "issuers: [{issuer: 'https://idp', audience: a}]\n";

static struct config *config_of(const char *more)
{
    char text[1024];

    snprintf(text, sizeof(text), "%s%s", issuers, more);
    return token_config(text);
}

static void hosts(void **state)
{
    struct config *c = config_of("outgoing: {hosts: [a.example, 'b.example:8443', '[::1]:99',"
                                 " '127.0.0.1:80']}\n");
    static const char *const good[] = {
        "https://a.example",      "https://a.example/",       "https://A.Example/x?y=z",
        "https://a.example:443/", "https://b.example:8443/t", "https://[::1]:99/",
        "https://127.0.0.1:80/",
    };
    static const char *const bad[] = {
        "http://a.example/", /* development alone */
        "https://a.example:8443/",
        "https://b.example/",
        "https://b.example:443/",
        "https://a.example.evil/",
        "https://evil/a.example",
        "https://a.example@evil/",
        "https://evil@a.example/",
        "https://a.example\\@evil/",
        "https://a.example#@evil/",
        "https://evil?a.example",
        "https://xa.example/",
        "https://a.example./",
        "https://a%2eexample/",
        "https://%61.example/",
        "https://[::2]:99/",
        "https://[::1]/",
        "https://127.0.0.1/",
        "https://127.1:80/",
        "https://2130706433:80/",
        "https://0x7f.0.0.1:80/",
        "ftp://a.example/",
        "file:///a.example",
        "//a.example/",
        "a.example",
        "https:a.example",
        "https:///a.example",
        "https://a.example:/",
        "https://a.example:0/",
        "https://a.example:99999/",
        "https://a.example:443x/",
        "https://a.example /",
        "https://a.example\n/",
        "https://a.ex\xc3\xa4mple/",
        "",
        "https://",
        "HTTPS://a.example/",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        if (!outgoing_allowed(c, good[i]))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (outgoing_allowed(c, bad[i]))
            fail_msg("allowed: %s", bad[i]);
    config_unref(c);
    c = config_of(""); /* none by default */
    assert_false(outgoing_allowed(c, "https://a.example/"));
    config_unref(c);
    c = config_of("development: true\noutgoing: {hosts: a.example}\n");
    assert_true(outgoing_allowed(c, "http://a.example/"));
    assert_true(outgoing_allowed(c, "http://a.example:80/"));
    assert_false(outgoing_allowed(c, "http://a.example:443/"));
    assert_false(outgoing_allowed(c, "https://a.example:80/"));
    config_unref(c);
}

static void origins(void **state)
{
    (void)state;
    assert_true(outgoing_same_origin("https://a/x", "https://A:443/y"));
    assert_false(outgoing_same_origin("https://a/x", "http://a/x"));
    assert_false(outgoing_same_origin("https://a:80/x", "http://a:80/x"));
    assert_false(outgoing_same_origin("https://a/x", "https://a:8443/x"));
    assert_false(outgoing_same_origin("https://a/x", "https://b/x"));
    assert_false(outgoing_same_origin("https://a/x", "nonsense"));
    assert_false(outgoing_same_origin("nonsense", "nonsense"));
}

static void entries(void **state)
{
    static const char *const bad[] = {"https://a", "a/b", "*.a", "a:0",
                                      "a:x",       ":80", "a b", "a:1:2"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (!outgoing_host_fault(bad[i]))
            fail_msg("taken: %s", bad[i]);
    assert_null(outgoing_host_fault("a.example"));
    assert_null(outgoing_host_fault("a.example:443"));
    assert_null(outgoing_host_fault("[::1]"));
    assert_null(outgoing_host_fault("[::1]:1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts),
        cmocka_unit_test(origins),
        cmocka_unit_test(entries),
    };
    return cmocka_run_group_tests_name("outgoing", tests, NULL, NULL);
}
