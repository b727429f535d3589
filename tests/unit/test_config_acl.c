#include "tests/unit/unit.h"

#include <stdio.h>

#include "config/config.h"

/* acl_listener: what `sluice check` says of it. */

static char err[65536];

#define HEAD                                                                                       \
    "listen: 0.0.0.0:9093\n"                                                                       \
    "advertise: gate.example.com:9093\n"                                                           \
    "tls: {certificate: gate.pem, key: gate.key}\n"                                                \
    "upstream: {brokers: [kafka-1:9092]}\n"                                                        \
    "store: {path: sluice.db}\n"
#define ONE "issuers: [{issuer: https://a, audience: x, shared_subjects: false}]\n"
#define TWO                                                                                        \
    "issuers: [{issuer: https://a, audience: x, shared_subjects: false},\n"                        \
    "  {issuer: https://b, audience: x}]\n"
#define USERS "users: [{name: edc, password_file: secret}]"
#define TLS   "tls: {certificate: c.pem, key: k.pem, client_ca: ca.pem, client_subjects: 'CN=edc'}"

static struct config *parse(const char *issuers, const char *acl)
{
    char text[4096];
    int n = snprintf(text, sizeof(text), HEAD "%sacl_listener: {%s}\n", issuers, acl);
    err[0] = '\0';
    return config_parse("/etc/sluice/s.yaml", text, (size_t)n, false, err, sizeof(err));
}

static void good(const char *issuers, const char *acl, const char *issuer, const char *warning)
{
    struct config *c = parse(issuers, acl);
    if (!c)
        fail_msg("%s", err);
    const struct strings *w = config_warnings(c);
    if (w->count != (warning != NULL) || (warning && !strstr(w->at[0], warning)))
        fail_msg("%zu warnings: %s", w->count, w->count ? w->at[0] : "");
    if (issuer)
        assert_string_equal(c->acl_listener.issuer, issuer);
    config_unref(c);
}

static void bad(const char *issuers, const char *acl, const char *why)
{
    struct config *c = parse(issuers, acl);
    if (c || !strstr(err, why))
        fail_msg("wanted %s, said %s", why, c ? "good" : err);
}

static void defaults(void **state)
{
    (void)state;
    struct config *c = parse(ONE, "listen: '127.0.0.1:9096', " USERS);
    assert_non_null(c);
    assert_int_equal(c->acl_listener.listen.port, 9096);
    assert_string_equal(c->acl_listener.advertise.host, "127.0.0.1");
    assert_int_equal(c->acl_listener.advertise.port, 9096);
    assert_string_equal(c->acl_listener.issuer, "https://a");
    assert_int_equal(c->acl_listener.nusers, 1);
    assert_string_equal(c->acl_listener.users[0].name, "edc");
    assert_null(c->acl_listener.users[0].password); /* files are not read here */
    config_unref(c);
    c = parse(ONE, "listen: off");
    assert_non_null(c);
    assert_int_equal(c->acl_listener.listen.port, 0);
    config_unref(c);
}

static void accepted(void **state)
{
    (void)state;
    good(ONE, "listen: '127.0.0.1:9096', " USERS, "https://a", NULL);
    good(ONE, "listen: '127.0.0.1:9096', " TLS, NULL, NULL);
    good(ONE, "listen: '0.0.0.0:9096', advertise: 'h:1', " USERS ", " TLS, NULL, NULL);
    good(TWO, "listen: '127.0.0.1:9096', issuer: 'https://a', " USERS, "https://a", NULL);
    good(TWO, "listen: '127.0.0.1:9096', issuer: 'https://b', " USERS, "https://b",
         "ACLs let nobody in");
}

static void refused(void **state)
{
    (void)state;
    bad(ONE, "listen: '127.0.0.1:9096'", "lets anybody change grants");
    bad(ONE, "listen: '127.0.0.1:9096', tls: {certificate: c, key: k, client_ca: ca}",
        "lets anybody change grants");
    bad(ONE, "listen: '10.0.0.1:9096', " USERS, "`acl_listener.tls` is needed");
    bad(ONE, "listen: '0.0.0.0:9096', " USERS ", " TLS, "no client can reach 0.0.0.0");
    bad(ONE, "listen: '0.0.0.0:9093', advertise: 'h:1', " USERS ", " TLS, "another listener");
    bad(ONE, "listen: '127.0.0.1:9090', " USERS, "another listener");
    bad(ONE,
        "listen: '127.0.0.1:9096', " USERS
        ", tls: {certificate: c, key: k, client_subjects: 'CN=edc'}",
        "needs `client_ca`");
    bad(ONE, "listen: '127.0.0.1:9096', " USERS ", tls: {certificate: c}", "key");
    bad(TWO, "listen: '127.0.0.1:9096', " USERS, "acl_listener.issuer: is missing");
    bad(TWO, "listen: '127.0.0.1:9096', issuer: 'https://c', " USERS, "is none of `issuers`");
    bad(ONE,
        "listen: '127.0.0.1:9096', "
        "users: [{name: a, password_file: s}, {name: a, password_file: s}]",
        "stands in acl_listener.users[0] already");
    bad(ONE, "listen: '127.0.0.1:9096', users: [{name: a}]", "password_file");
    bad(ONE, "listen: '127.0.0.1:9096', users: [{password_file: a}]", "name");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(accepted),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
