/* Which live sessions a revocation ends: by each kind, what it hits and what is beside it. */
#include "tests/unit/unit.h"

#include "auth/grant.h"
#include "auth/jwt.h"

#define ISS "https://idp.example.com"

static const struct identity bob = {
    .issuer = ISS,
    .subject = "bob",
    .client = "cli",
    .jti = "j1",
    .sid = "s1",
    .issued = 100,
    .transfer = "t1",
    .participant = "p1",
    .agreement = "a1",
    .asset = "x1",
};

static bool hits(enum revoke_kind kind, const char *issuer, const char *value, const char *client,
                 int64_t at, const struct identity *id, const struct grant_set *grants)
{
    static const struct grant_set none;
    struct revocation *r = revocation_new(kind, issuer, value, client, at, 0, "");
    bool yes;

    assert_non_null(r);
    yes = revocation_hits(r, id, grants ? grants : &none);
    revocation_free(r);
    return yes;
}

static void by_what_the_token_says(void **state)
{
    static const struct {
        enum revoke_kind kind;
        const char *value;
    } claims[] = {{REVOKE_TRANSFER, "t1"},
                  {REVOKE_AGREEMENT, "a1"},
                  {REVOKE_ASSET, "x1"},
                  {REVOKE_PARTICIPANT, "p1"}};

    (void)state;
    for (size_t i = 0; i < sizeof claims / sizeof claims[0]; i++) {
        for (size_t k = 0; k < sizeof claims / sizeof claims[0]; k++)
            assert_int_equal(hits(claims[i].kind, NULL, claims[k].value, NULL, 0, &bob, NULL),
                             i == k);
    }
}

static void by_what_it_was_granted(void **state)
{
    static const struct {
        enum revoke_kind kind;
        const char *value;
    } attributes[] = {{REVOKE_TRANSFER, "g1"},
                      {REVOKE_AGREEMENT, "ga"},
                      {REVOKE_ASSET, "gx"},
                      {REVOKE_PARTICIPANT, "gp"}};
    char id[] = "g1", agreement[] = "ga", asset[] = "gx", participant[] = "gp";
    struct grant g = {.id = id, .agreement = agreement, .asset = asset, .participant = participant};
    struct grant_set set = {.at = {&g}, .count = 1};

    (void)state;
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
        for (size_t k = 0; k < sizeof attributes / sizeof attributes[0]; k++)
            assert_int_equal(
                hits(attributes[i].kind, NULL, attributes[k].value, NULL, 0, &bob, &set), i == k);
    }
}

/* Up to the second of the revocation; a not-before spares that second. */
static void by_whose_it_is_and_when(void **state)
{
    struct identity nameless = bob;

    (void)state;
    nameless.jti[0] = '\0';
    assert_true(hits(REVOKE_SUBJECT, ISS, "bob", NULL, 100, &bob, NULL));
    assert_false(hits(REVOKE_SUBJECT, ISS, "bob", NULL, 99, &bob, NULL));
    assert_false(hits(REVOKE_SUBJECT, ISS, "bobby", NULL, 100, &bob, NULL));
    assert_false(hits(REVOKE_SUBJECT, ISS "/other", "bob", NULL, 100, &bob, NULL));
    assert_true(hits(REVOKE_CLIENT, ISS, "cli", NULL, 100, &bob, NULL));
    assert_false(hits(REVOKE_CLIENT, ISS, "cli", NULL, 99, &bob, NULL));
    assert_false(hits(REVOKE_CLIENT, ISS, "bob", NULL, 100, &bob, NULL));
    assert_false(hits(REVOKE_CLIENT, ISS "/other", "cli", NULL, 100, &bob, NULL));
    assert_true(hits(REVOKE_ISSUER, ISS, NULL, NULL, 101, &bob, NULL));
    assert_false(hits(REVOKE_ISSUER, ISS, NULL, NULL, 100, &bob, NULL));
    assert_false(hits(REVOKE_ISSUER, ISS "/other", NULL, NULL, 101, &bob, NULL));
    /* A token without a jti goes by subject, client and time; one with a jti does not. */
    assert_true(hits(REVOKE_TOKEN, ISS, "bob", "cli", 100, &nameless, NULL));
    assert_false(hits(REVOKE_TOKEN, ISS, "bob", "cli", 100, &bob, NULL));
    assert_false(hits(REVOKE_TOKEN, ISS, "bob", "other", 100, &nameless, NULL));
    assert_false(hits(REVOKE_TOKEN, ISS, "eve", "cli", 100, &nameless, NULL));
    assert_false(hits(REVOKE_TOKEN, ISS, "bob", "cli", 99, &nameless, NULL));
    assert_false(hits(REVOKE_TOKEN, ISS "/other", "bob", "cli", 100, &nameless, NULL));
}

static void by_the_one_token_or_session(void **state)
{
    (void)state;
    assert_true(hits(REVOKE_JTI, ISS, "j1", NULL, 0, &bob, NULL));
    assert_false(hits(REVOKE_JTI, ISS, "j2", NULL, 0, &bob, NULL));
    assert_false(hits(REVOKE_JTI, ISS "/other", "j1", NULL, 0, &bob, NULL));
    assert_true(hits(REVOKE_SESSION, ISS, "s1", NULL, 0, &bob, NULL));
    assert_false(hits(REVOKE_SESSION, ISS, "s2", NULL, 0, &bob, NULL));
    assert_false(hits(REVOKE_SESSION, ISS "/other", "s1", NULL, 0, &bob, NULL));
}

/* Every kind and verdict has a name of its own. */
static void names(void **state)
{
    (void)state;
    for (int i = REVOKE_TRANSFER; i <= REVOKE_SESSION; i++)
        for (int k = REVOKE_TRANSFER; k < i; k++)
            assert_string_not_equal(revoke_kind_name((enum revoke_kind)i),
                                    revoke_kind_name((enum revoke_kind)k));
    for (int i = JWT_OK; i <= JWT_RESOURCES; i++)
        for (int k = JWT_OK; k < i; k++)
            assert_string_not_equal(jwt_verdict_name((enum jwt_verdict)i),
                                    jwt_verdict_name((enum jwt_verdict)k));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_what_the_token_says),
        cmocka_unit_test(by_what_it_was_granted),
        cmocka_unit_test(by_whose_it_is_and_when),
        cmocka_unit_test(by_the_one_token_or_session),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
