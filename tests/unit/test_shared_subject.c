/* Several consumers hold tokens of one OAuth subject. Whatever ends A's transfer, A's token, still
 * valid, never reads under B's grant. */
#include "tests/unit/unit.h"

#include "base/alloc.h"
#include "tests/unit/store_bed.h"

#define BOUND(name, ...)                                                                           \
    GRANT(.id = name, .subject = "shared", .participant = "did:web:" name,                         \
          .tokens = {(const char *[]){__VA_ARGS__},                                                \
                     sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *)})
#define OF(...) TOKEN(.subject = "shared", .jti = __VA_ARGS__)

static bool reads_under(unsigned worker, const struct identity *id, const char *grant)
{
    struct worker *w = &bed.workers[worker];

    if (login(worker, id) != LOGIN_OK)
        return false;
    return w->sessions[w->count - 1].set.count == 1 &&
           strcmp(w->sessions[w->count - 1].set.at[0]->id, grant) == 0;
}

static void both_stand(void)
{
    assert_int_equal(put(BOUND("a", "ja")), OK);
    assert_int_equal(put(BOUND("b", "jb")), OK);
    assert_true(reads_under(0, OF("ja"), "a"));
    assert_true(reads_under(0, OF("jb"), "b"));
    assert_int_equal(open_sessions(0), 2);
}

/* A's token gets nothing, on no worker; B's gets B's grant. */
static void a_is_out(void)
{
    unsigned i;

    for (i = 0; i < WORKERS; i++) {
        assert_int_not_equal(login(i, OF("ja")), LOGIN_OK);
        assert_int_not_equal(login(i, OF("ja", .shared_subjects = false)), LOGIN_OK);
        assert_true(reads_under(i, OF("jb"), "b"));
    }
}

static void each_gets_its_own(void **state)
{
    (void)state;
    bed_open(path, config);
    both_stand();
    /* A third token of the subject is nobody's, whether the issuer's subjects are shared or not. */
    expect(0, OF("jc"), LOGIN_AMBIGUOUS);
    expect(0, OF("jc", .shared_subjects = false), LOGIN_NO_GRANT);
    expect(0, OF(""), LOGIN_AMBIGUOUS);
    /* The same jti of another issuer, or another subject, is another token. */
    expect(0, OF("ja", .issuer = "https://other.example.com"), LOGIN_NO_GRANT);
    expect(0, OF("ja", .subject = "else"), LOGIN_NO_GRANT);
    /* Rights that the token carries itself give way to what binds it. */
    expect(0, OF("ja", .transfer = "b"), LOGIN_AMBIGUOUS);
    assert_true(reads_under(0, OF("ja", .transfer = "a"), "a"));
    bed_close();
}

static void after_its_end(void **state)
{
    (void)state;
    bed_open(path, config);
    both_stand();
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "a"), OK);
    assert_int_equal(bed.closed, 1);
    assert_int_equal(open_sessions(0), 1); /* B's */
    a_is_out();
    bed_close();
    bed_open(path, config);
    a_is_out();
    /* Not when no grant of the subject is left, either. */
    assert_int_equal(store_ungrant(bed.store, "b", done, &bed), OK);
    assert_int_equal(wait_done(), OK);
    assert_int_equal(login(0, OF("ja")), LOGIN_REVOKED);
    bed_close();
}

/* By whatever else ends it. */
static void after_other_ends(void **state)
{
    static const struct {
        enum revoke_kind kind;
        const char *issuer, *value;
    } ways[] = {{REVOKE_PARTICIPANT, "", "did:web:a"},
                {REVOKE_AGREEMENT, "", "agreement"},
                {REVOKE_ASSET, "", "asset"},
                {REVOKE_JTI, ISS, "ja"}};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        struct grant_config *a = BOUND("a", "ja");

        bed_open(NULL, config);
        a->agreement = "agreement";
        a->asset = "asset";
        assert_int_equal(put(a), OK);
        assert_int_equal(put(BOUND("b", "jb")), OK);
        assert_int_equal(login(0, OF("ja")), LOGIN_OK);
        assert_int_equal(revoke_now(ways[i].kind, ways[i].issuer, ways[i].value), OK);
        assert_int_equal(bed.closed, 1);
        a_is_out();
        bed_close();
    }
}

static void after_expiry(void **state)
{
    struct grant_config *a = BOUND("a", "ja");

    (void)state;
    a->expires = now_s() - 1;
    bed_open(path, config);
    assert_int_equal(put(a), OK);
    assert_int_equal(put(BOUND("b", "jb")), OK);
    a_is_out();
    bed_close();
    bed_open(path, config);
    a_is_out();
    bed_close();
}

/* A resume binds a new token; the one before stays out for good. */
static void after_a_resume(void **state)
{
    (void)state;
    bed_open(path, config);
    both_stand();
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "a"), OK);
    assert_int_equal(put(BOUND("a", "ja2")), OK);
    a_is_out();
    assert_true(reads_under(0, OF("ja2", .issued = now_s() + 1), "a"));
    bed_close();
}

/* A start that comes again with a fresh token, without the one before. */
static void after_a_renewal(void **state)
{
    (void)state;
    bed_open(path, config);
    both_stand();
    assert_int_equal(put(BOUND("a", "ja", "ja2")), OK);
    assert_int_equal(bed.closed, 0);
    assert_true(reads_under(0, OF("ja"), "a"));
    assert_true(reads_under(0, OF("ja2"), "a"));
    assert_int_equal(put(BOUND("a", "ja2")), OK);
    assert_int_equal(bed.closed, 2); /* both sessions with the first token */
    a_is_out();
    assert_true(reads_under(1, OF("ja2"), "a"));
    bed_close();
    bed_open(path, config);
    a_is_out();
    assert_true(reads_under(1, OF("ja2"), "a"));
    bed_close();
}

/* Bound by two, it is nobody's. */
static void bound_twice(void **state)
{
    (void)state;
    bed_open(path, config);
    assert_int_equal(put(BOUND("a", "ja")), OK);
    assert_int_equal(login(0, OF("ja")), LOGIN_OK);
    assert_int_equal(put(BOUND("b", "ja")), OK);
    assert_int_equal(bed.closed, 1);
    expect(0, OF("ja"), LOGIN_AMBIGUOUS);
    bed_close();
}

/* A session that was let in by its principal, and whose token a grant then binds. */
static void bound_later(void **state)
{
    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "wide", .subject = "shared")), OK);
    assert_int_equal(login(0, OF("ja", .shared_subjects = false)), LOGIN_OK);
    assert_int_equal(put(BOUND("a", "ja")), OK);
    assert_int_equal(bed.closed, 1);
    assert_true(reads_under(0, OF("ja", .shared_subjects = false), "a"));
    /* And one whose grant comes to bind others. */
    assert_int_equal(login(1, OF("jx", .shared_subjects = false)), LOGIN_OK);
    assert_int_equal(put(BOUND("wide", "jy")), OK);
    assert_int_equal(bed.closed, 1);
    bed_close();
}

/* --- the same over a reload of the configuration */

static struct config *configured(const char *grants)
{
    char text[2048];

    snprintf(text, sizeof(text),
             "issuers: [{issuer: " ISS ", audience: sluice}]\n"
             "grants:\n%s",
             grants);
    return token_config(text);
}

#define A_UNBOUND                                                                                  \
    "  - {id: a, principal: {subject: shared}, participant: a, topics: [one], operations: "        \
    "[read]}\n"
#define B_UNBOUND                                                                                  \
    "  - {id: b, principal: {subject: shared}, participant: b, topics: [two], operations: "        \
    "[read]}\n"
#define A_BOUND                                                                                    \
    "  - {id: a, principal: {subject: shared}, tokens: [ja], topics: [one], operations: [read]}\n"
#define B_BOUND                                                                                    \
    "  - {id: b, principal: {subject: shared}, tokens: [jb], topics: [two], operations: [read]}\n"

static void a_reload_puts_b_in_its_place(void **state)
{
    struct config *a = configured(A_UNBOUND), *b = configured(B_UNBOUND);

    (void)state;
    bed_open(path, config);
    assert_int_equal(load_config(a), OK);
    assert_true(reads_under(0, OF("ja"), "a"));
    assert_int_equal(load_config(b), OK);
    assert_int_equal(bed.closed, 1);
    expect(0, OF("ja"), LOGIN_REVOKED);
    assert_true(reads_under(0, OF("jb", .issued = now_s() + 1), "b"));
    bed_close();
    bed_open(path, config);
    assert_int_equal(load_config(b), OK);
    expect(0, OF("ja"), LOGIN_REVOKED);
    bed_close();
    config_unref(a);
    config_unref(b);
}

/* Tokens that name their transfer are kept apart anyway: as long as several grants are left,
 * nothing but the one that was taken away closes. */
static void a_reload_of_many(void **state)
{
#define NAMED(name)                                                                                \
    "  - {id: " name ", principal: {subject: shared}, participant: " name ", topics: [one],"       \
    " operations: [read]}\n"
    struct config *three = configured(NAMED("a") NAMED("b") NAMED("c"));
    struct config *two = configured(NAMED("b") NAMED("c")), *one = configured(NAMED("c"));

    (void)state;
    bed_open(path, config);
    assert_int_equal(load_config(three), OK);
    assert_true(reads_under(0, OF("ja", .transfer = "a"), "a"));
    assert_true(reads_under(0, OF("jb", .transfer = "b"), "b"));
    assert_true(reads_under(0, OF("jc", .transfer = "c"), "c"));
    expect(0, OF("jx"), LOGIN_AMBIGUOUS);
    assert_int_equal(load_config(two), OK);
    assert_int_equal(bed.closed, 1);
    expect(0, OF("jx"), LOGIN_AMBIGUOUS);
    expect(0, OF("ja", .transfer = "a"), LOGIN_NO_GRANT);
    assert_int_equal(load_config(one), OK); /* now one that names nothing would get c */
    assert_int_equal(bed.closed, 2);
    expect(0, OF("jx"), LOGIN_REVOKED);
    assert_true(reads_under(0, OF("jd", .issued = now_s() + 1), "c"));
    bed_close();
    config_unref(three);
    config_unref(two);
    config_unref(one);
}

/* The id stays, the partner behind it changes. */
static void a_reload_hands_it_to_another(void **state)
{
    struct config *a = configured(A_UNBOUND);
    struct config *b = configured("  - {id: a, principal: {subject: shared}, participant: b,"
                                  " topics: [two], operations: [read]}\n");

    (void)state;
    bed_open(path, config);
    assert_int_equal(load_config(a), OK);
    assert_true(reads_under(0, OF("ja"), "a"));
    assert_int_equal(load_config(b), OK);
    expect(0, OF("ja"), LOGIN_REVOKED);
    bed_close();
    config_unref(a);
    config_unref(b);
}

static void a_reload_takes_bound_ones(void **state)
{
    struct config *both = configured(A_BOUND B_BOUND), *b = configured(B_BOUND);

    (void)state;
    bed_open(path, config);
    assert_int_equal(load_config(both), OK);
    assert_true(reads_under(0, OF("ja"), "a"));
    assert_true(reads_under(0, OF("jb"), "b"));
    assert_int_equal(load_config(b), OK);
    assert_int_equal(bed.closed, 1);
    a_is_out();
    bed_close();
    bed_open(path, config);
    assert_int_equal(load_config(b), OK);
    a_is_out();
    bed_close();
    config_unref(both);
    config_unref(b);
}

static void refused_grants(void **state)
{
    static const char *many[GRANT_TOKENS_MAX + 1];
    static const char *const empty[] = {""};
    struct grant_config *c = BOUND("a", "ja");
    struct grant *g;
    const char *why;
    size_t i;

    (void)state;
    c->issuer = "";
    assert_int_equal(grant_new(c, GRANT_FROM_API, &g, &why), ERR_MALFORMED);
    c->issuer = ISS;
    c->tokens = (struct strings){(const char **)(uintptr_t)empty, 1};
    assert_int_equal(grant_new(c, GRANT_FROM_API, &g, &why), ERR_MALFORMED);
    for (i = 0; i < sizeof(many) / sizeof(*many); i++)
        many[i] = "same";
    c->tokens = (struct strings){many, GRANT_TOKENS_MAX + 1};
    assert_int_equal(grant_new(c, GRANT_FROM_API, &g, &why), ERR_MALFORMED);
    c->tokens.count--;
    assert_int_equal(grant_new(c, GRANT_FROM_API, &g, &why), OK);
    assert_int_equal(g->ntokens, 1);
    grant_unref(g);
}

/* Whatever allocation fails, what a grant binds is bound by it or by none. */
static void out_of_memory(void **state)
{
    static const char *tokens[] = {"j1", "j2", "j3"};
    unsigned n;

    (void)state;
    for (n = 1; n < 60; n++) {
        struct grant_table *t = grant_table_new(config);
        struct grant_set set = {0};
        struct grant *g = NULL;
        const char *why;
        enum login_verdict v;
        int rc;

        assert_true(sl_alloc_fail_after(n));
        rc = grant_new(GRANT(.id = "a", .tokens = {tokens, 3}), GRANT_FROM_API, &g, &why);
        if (rc == OK)
            rc = grant_table_put(t, g);
        assert_true(sl_alloc_fail_after(0));
        assert_true(rc == OK || rc == ERR_NOMEM);
        v = grant_table_login(t, TOKEN(.jti = "j2"), now_s(), &set);
        assert_int_equal(v, rc == OK ? LOGIN_OK : LOGIN_NO_GRANT);
        grant_set_clear(&set);
        grant_table_remove(t, "a");
        assert_int_equal(grant_table_login(t, TOKEN(.jti = "j2"), now_s(), &set), LOGIN_NO_GRANT);
        grant_unref(g);
        grant_table_free(t);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_gets_its_own),
        T(after_its_end),
        T(after_other_ends),
        T(after_expiry),
        T(after_a_resume),
        T(after_a_renewal),
        T(bound_twice),
        T(bound_later),
        T(a_reload_puts_b_in_its_place),
        T(a_reload_of_many),
        T(a_reload_hands_it_to_another),
        T(a_reload_takes_bound_ones),
        cmocka_unit_test(refused_grants),
        cmocka_unit_test(out_of_memory),
    };

    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
