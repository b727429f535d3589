#include "tests/unit/unit.h"

#include "auth/grant.h"
#include "base/alloc.h"
#include "tests/unit/token.h"

/* A test states what differs from the usual grant or token; the later of two initialisers counts.
 */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#pragma GCC diagnostic ignored "-Woverride-init-side-effects"
#endif

#define NOW 1800000000
#define ISS "https://idp.example.com"

static struct config *config, *dashed;
static struct grant_table *table;
static struct grant_set set;

static int setup_all(void **state)
{
    static const char issuer[] = "issuers: [{issuer: " ISS ", audience: sluice}]\n";
    char text[512];

    (void)state;
    config = token_config(issuer);
    snprintf(text, sizeof(text), "%sgroup_separator: '-'\n", issuer);
    dashed = token_config(text);
    return config && dashed ? 0 : -1;
}

static int teardown_all(void **state)
{
    (void)state;
    config_unref(config);
    config_unref(dashed);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    table = grant_table_new(config);
    return table ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    grant_set_clear(&set);
    grant_table_free(table);
    return 0;
}

/* What a test's grant is unless it says otherwise. */
#define GRANT(...)                                                                                 \
    (&(struct grant_config){.issuer = ISS,                                                         \
                            .subject = "bob",                                                      \
                            .participant = "did:web:bob",                                          \
                            .topics = {(const char *[]){"parts"}, 1},                              \
                            .group_prefix = "bob",                                                 \
                            .operations = OP_READ,                                                 \
                            __VA_ARGS__})

static struct grant *make(const struct grant_config *c, enum grant_source source)
{
    struct grant *g;
    const char *why;

    if (grant_new(c, source, &g, &why) != OK)
        fail_msg("%s", why);
    return g;
}

static void put(const struct grant_config *c, enum grant_source source)
{
    struct grant *g = make(c, source);

    assert_int_equal(grant_table_put(table, g), OK);
    grant_unref(g);
}

#define TOKEN(...)                                                                                 \
    (&(struct identity){.issuer = ISS,                                                             \
                        .shared_subjects = true,                                                   \
                        .subject = "bob",                                                          \
                        .jti = "j1",                                                               \
                        .issued = NOW - 10,                                                        \
                        .expires = NOW + 300,                                                      \
                        .operations = OP_READ,                                                     \
                        __VA_ARGS__})

static enum login_verdict login(const struct identity *id)
{
    enum login_verdict v;

    grant_set_clear(&set);
    v = grant_table_login(table, id, NOW, &set);
    assert_true((v == LOGIN_OK) == (set.count > 0));
    return v;
}

#define expect(id, want)                                                                           \
    do {                                                                                           \
        enum login_verdict v_ = login(id);                                                         \
        if (v_ != (want))                                                                          \
            fail_msg("%s instead of %s", login_verdict_name(v_), login_verdict_name(want));        \
    } while (0)

static void revoke_at(enum revoke_kind kind, const char *issuer, const char *value, int64_t at)
{
    struct revocation *r = revocation_new(kind, issuer, value, "", at, 0, "test");

    assert_non_null(r);
    assert_int_equal(grant_table_revoke(table, r), OK);
    assert_true(grant_table_knows(table, r));
    revocation_free(r);
}

static void revoke(enum revoke_kind kind, const char *issuer, const char *value)
{
    revoke_at(kind, issuer, value, NOW);
}

/* --- making grants */

static void refuse(const struct grant_config *c)
{
    struct grant *g;
    const char *why;

    assert_int_equal(grant_new(c, GRANT_FROM_API, &g, &why), ERR_MALFORMED);
    assert_null(g);
    assert_non_null(why);
}

#define TOPIC(name) .topics = {(const char *[]){name}, 1}

static void what_is_no_grant(void **state)
{
    char long_text[257];

    (void)state;
    memset(long_text, 'x', sizeof(long_text));
    long_text[256] = '\0';
    refuse(GRANT(.id = NULL));
    refuse(GRANT(.id = ""));
    refuse(GRANT(.id = long_text));
    refuse(GRANT(.id = "t", .participant = long_text));
    refuse(GRANT(.id = "t", .operations = 0));
    refuse(GRANT(.id = "t", .operations = 16));
    refuse(GRANT(.id = "t", .topics = {0}, .group_prefix = ""));
    refuse(GRANT(.id = "t", TOPIC("")));
    refuse(GRANT(.id = "t", TOPIC(".")));
    refuse(GRANT(.id = "t", TOPIC("..")));
    refuse(GRANT(.id = "t", TOPIC("*")));
    refuse(GRANT(.id = "t", TOPIC("a b")));
    refuse(GRANT(.id = "t", TOPIC("a,b")));
    refuse(GRANT(.id = "t", TOPIC("__consumer_offsets")));
    refuse(GRANT(.id = "t", TOPIC("__transaction_state")));
    refuse(GRANT(.id = "t", TOPIC("__share_group_state")));
    long_text[250] = '\0';
    refuse(GRANT(.id = "t", TOPIC(long_text)));
    refuse(GRANT(.id = "t", .not_before = 20, .expires = 20));
    refuse(GRANT(.id = "t", .expires = -1));
    long_text[249] = '\0';
    grant_unref(make(GRANT(.id = "t", TOPIC(long_text)), GRANT_FROM_API));
}

static void topics_sorted_and_unique(void **state)
{
    const char *names[] = {"c", "a", "b", "a", "c", "c"};
    struct grant *g = make(GRANT(.id = "t", .topics = {names, 6}), GRANT_FROM_API);

    (void)state;
    assert_int_equal(g->ntopics, 3);
    assert_string_equal(g->topics[0], "a");
    assert_string_equal(g->topics[1], "b");
    assert_string_equal(g->topics[2], "c");
    grant_unref(grant_ref(g));
    grant_unref(g);
}

/* --- logging in: decision 6 */

static void by_transfer(void **state)
{
    (void)state;
    put(GRANT(.id = "t1", TOPIC("one")), GRANT_FROM_API);
    put(GRANT(.id = "t2", TOPIC("two")), GRANT_FROM_API);
    put(GRANT(.id = "open", .issuer = NULL, .subject = NULL), GRANT_FROM_API);
    expect(TOKEN(.transfer = "t1"), LOGIN_OK);
    assert_int_equal(set.count, 1);
    assert_string_equal(set.at[0]->id, "t1");
    /* alone, also where subjects are not shared */
    expect(TOKEN(.transfer = "t2", .shared_subjects = false), LOGIN_OK);
    assert_int_equal(set.count, 1);
    assert_string_equal(set.at[0]->id, "t2");
    expect(TOKEN(.transfer = "open", .subject = "anybody"), LOGIN_OK);
    /* somebody else's, an unknown one, another case */
    expect(TOKEN(.transfer = "t1", .subject = "eve"), LOGIN_NO_GRANT);
    expect(TOKEN(.transfer = "t1", .issuer = "https://evil.example.com"), LOGIN_NO_GRANT);
    expect(TOKEN(.transfer = "t3"), LOGIN_NO_GRANT);
    expect(TOKEN(.transfer = "T1"), LOGIN_NO_GRANT);
    expect(TOKEN(.transfer = "t"), LOGIN_NO_GRANT);
}

static void times(void **state)
{
    (void)state;
    put(GRANT(.id = "past", .expires = NOW), GRANT_FROM_API);
    put(GRANT(.id = "future", .not_before = NOW + 1), GRANT_FROM_API);
    put(GRANT(.id = "now", .not_before = NOW, .expires = NOW + 1), GRANT_FROM_API);
    expect(TOKEN(.transfer = "past"), LOGIN_EXPIRED);
    expect(TOKEN(.transfer = "future"), LOGIN_NOT_YET);
    expect(TOKEN(.transfer = "now"), LOGIN_OK);
    assert_int_equal(grant_set_expires(&set, TOKEN()), NOW + 1);
    assert_int_equal(grant_set_expires(&set, TOKEN(.expires = NOW)), NOW);
    expect(TOKEN(.transfer = "now", .expires = NOW), LOGIN_EXPIRED);
    expect(TOKEN(.shared_subjects = false), LOGIN_OK);
    assert_int_equal(set.count, 1);
}

static void by_claims(void **state)
{
    char *topics[] = {(char[]){"parts"}};
    struct identity id = *TOKEN(.transfer = "t9", .group_prefix = "bob", .participant = "p");

    (void)state;
    id.topics[0] = topics[0];
    id.ntopics = 1;
    expect(&id, LOGIN_OK);
    assert_int_equal(set.at[0]->source, GRANT_FROM_CLAIMS);
    assert_true(grant_topic(&set, "parts", 5, OP_READ));
    assert_true(grant_table_allows(table, &id, &set));
    /* the table knows better, also against the token */
    put(GRANT(.id = "t9", .subject = "carol"), GRANT_FROM_API);
    assert_false(grant_table_allows(table, &id, &set));
    expect(&id, LOGIN_NO_GRANT);
    grant_table_remove(table, "t9");
    /* its own rights alone, though its principal has grants */
    put(GRANT(.id = "c1", TOPIC("other")), GRANT_FROM_CONFIG);
    id.transfer[0] = '\0';
    expect(&id, LOGIN_OK);
    assert_int_equal(set.count, 1);
    assert_false(grant_topic(&set, "other", 5, OP_READ));
    /* no operation that we know, or a topic that cannot be granted */
    id.operations = 0;
    expect(&id, LOGIN_NO_GRANT);
    id.operations = OP_READ;
    topics[0] = (char[]){"__consumer_offsets"};
    id.topics[0] = topics[0];
    expect(&id, LOGIN_NO_GRANT);
}

static void unshared_union(void **state)
{
    char name[16];
    int i;

    (void)state;
    put(GRANT(.id = "b", TOPIC("two"), .client = "c"), GRANT_FROM_API);
    put(GRANT(.id = "a", TOPIC("one")), GRANT_FROM_CONFIG);
    put(GRANT(.id = "c", TOPIC("three"), .subject = NULL), GRANT_FROM_API);
    put(GRANT(.id = "d", TOPIC("four"), .issuer = NULL), GRANT_FROM_API);
    put(GRANT(.id = "e", TOPIC("five"), .subject = "eve"), GRANT_FROM_API);
    put(GRANT(.id = "f", TOPIC("six"), .issuer = "", .subject = ""), GRANT_FROM_API);
    expect(TOKEN(.shared_subjects = false, .client = "c"), LOGIN_OK);
    assert_int_equal(set.count, 4);
    assert_string_equal(set.at[0]->id, "a");
    assert_string_equal(set.at[3]->id, "d");
    expect(TOKEN(.shared_subjects = false), LOGIN_OK);
    assert_int_equal(set.count, 3);
    expect(TOKEN(.shared_subjects = false, .subject = ""), LOGIN_OK); /* c alone */
    assert_int_equal(set.count, 1);
    expect(TOKEN(.shared_subjects = false, .issuer = "x", .subject = "y"), LOGIN_NO_GRANT);
    for (i = 0; i < GRANT_SET_MAX; i++) {
        snprintf(name, sizeof(name), "m%d", i);
        put(GRANT(.id = name, .subject = "many"), GRANT_FROM_API);
    }
    put(GRANT(.id = "c", TOPIC("three")), GRANT_FROM_API);
    expect(TOKEN(.shared_subjects = false, .subject = "many", .issuer = ISS), LOGIN_OK);
    assert_int_equal(set.count, GRANT_SET_MAX);
    put(GRANT(.id = "m99", .subject = "many"), GRANT_FROM_API);
    expect(TOKEN(.shared_subjects = false, .subject = "many"), LOGIN_AMBIGUOUS);
}

/* A shared subject's grants are never added up, and A is not let in by B's. */
static void shared_subjects(void **state)
{
    (void)state;
    put(GRANT(.id = "c1"), GRANT_FROM_CONFIG);
    expect(TOKEN(), LOGIN_OK);
    put(GRANT(.id = "c2"), GRANT_FROM_CONFIG);
    expect(TOKEN(), LOGIN_AMBIGUOUS);
    /* the end of one does not open the other */
    revoke(REVOKE_TRANSFER, "", "c2");
    expect(TOKEN(.issued = NOW + 5), LOGIN_AMBIGUOUS);
    put(GRANT(.id = "c2", .expires = NOW - 1), GRANT_FROM_CONFIG);
    expect(TOKEN(), LOGIN_AMBIGUOUS);
    grant_table_remove(table, "c2");
    expect(TOKEN(), LOGIN_OK);
    /* one that came over the API is reached by its name only */
    put(GRANT(.id = "a1"), GRANT_FROM_API);
    expect(TOKEN(), LOGIN_AMBIGUOUS);
    grant_table_remove(table, "c1");
    expect(TOKEN(), LOGIN_AMBIGUOUS);
    expect(TOKEN(.transfer = "a1"), LOGIN_OK);
    expect(TOKEN(.subject = "nobody"), LOGIN_NO_GRANT);
}

/* --- revocations */

static void transfer_revoked(void **state)
{
    (void)state;
    put(GRANT(.id = "t1"), GRANT_FROM_API);
    expect(TOKEN(.transfer = "t1"), LOGIN_OK);
    revoke(REVOKE_TRANSFER, "", "t1");
    assert_false(grant_table_allows(table, TOKEN(.transfer = "t1"), &set));
    assert_null(grant_table_find(table, "t1"));
    expect(TOKEN(.transfer = "t1"), LOGIN_REVOKED);
    expect(TOKEN(.transfer = "t1", .issued = NOW + 5), LOGIN_REVOKED);
    /* resumed: for tokens issued since */
    put(GRANT(.id = "t1"), GRANT_FROM_API);
    expect(TOKEN(.transfer = "t1"), LOGIN_REVOKED);
    expect(TOKEN(.transfer = "t1", .issued = NOW), LOGIN_REVOKED);
    expect(TOKEN(.transfer = "t1", .issued = 0), LOGIN_REVOKED);
    expect(TOKEN(.transfer = "t1", .issued = NOW + 1), LOGIN_OK);
    assert_true(grant_table_allows(table, TOKEN(.transfer = "t1", .issued = NOW + 1), &set));
    /* the grant goes without a revocation: barred as before */
    grant_table_remove(table, "t1");
    expect(TOKEN(.transfer = "t1", .issued = NOW + 1), LOGIN_REVOKED);
    /* again */
    put(GRANT(.id = "t1"), GRANT_FROM_API);
    revoke_at(REVOKE_TRANSFER, "", "t1", NOW + 20);
    put(GRANT(.id = "t1"), GRANT_FROM_API);
    expect(TOKEN(.transfer = "t1", .issued = NOW + 20), LOGIN_REVOKED);
    expect(TOKEN(.transfer = "t1", .issued = NOW + 21), LOGIN_OK);
    /* an older revocation doesn't make it younger, but ends the grant */
    revoke_at(REVOKE_TRANSFER, "", "t1", NOW);
    expect(TOKEN(.transfer = "t1", .issued = NOW + 21), LOGIN_REVOKED);
}

static void unknown_transfer_revoked(void **state)
{
    struct identity id = *TOKEN(.transfer = "later", .issued = NOW + 5);

    (void)state;
    revoke(REVOKE_TRANSFER, "", "later");
    id.topics[0] = (char[]){"parts"};
    id.ntopics = 1;
    expect(&id, LOGIN_REVOKED); /* its claims do not help */
    put(GRANT(.id = "later"), GRANT_FROM_CONFIG);
    expect(&id, LOGIN_REVOKED); /* nor does a configuration that has it still */
    assert_true(grant_table_barred(table, grant_table_find(table, "later")));
    put(GRANT(.id = "later"), GRANT_FROM_API);
    expect(&id, LOGIN_OK);
}

static void union_after_revocation(void **state)
{
    (void)state;
    put(GRANT(.id = "t1", TOPIC("one")), GRANT_FROM_API);
    put(GRANT(.id = "t2", TOPIC("two")), GRANT_FROM_API);
    expect(TOKEN(.shared_subjects = false), LOGIN_OK);
    assert_int_equal(set.count, 2);
    revoke(REVOKE_TRANSFER, "", "t1");
    assert_false(grant_table_allows(table, TOKEN(.shared_subjects = false), &set));
    expect(TOKEN(.shared_subjects = false, .jti = "j2"), LOGIN_OK); /* what is left */
    assert_int_equal(set.count, 1);
    assert_string_equal(set.at[0]->id, "t2");
    /* a resumed transfer is not for tokens of before */
    put(GRANT(.id = "t1", TOPIC("one")), GRANT_FROM_API);
    expect(TOKEN(.shared_subjects = false, .jti = "j2"), LOGIN_OK);
    assert_int_equal(set.count, 1);
    expect(TOKEN(.shared_subjects = false, .issued = NOW + 1), LOGIN_OK);
    assert_int_equal(set.count, 2);
    revoke(REVOKE_TRANSFER, "", "t1");
    revoke(REVOKE_TRANSFER, "", "t2");
    expect(TOKEN(.shared_subjects = false, .jti = "j2"), LOGIN_NO_GRANT);
}

static void tokens_revoked(void **state)
{
    struct revocation *r;

    (void)state;
    put(GRANT(.id = "t1", .subject = ""), GRANT_FROM_CONFIG);
    expect(TOKEN(), LOGIN_OK);
    r = revocation_for_token(TOKEN(), NOW, "test");
    assert_int_equal(r->kind, REVOKE_JTI);
    assert_true(r->until > NOW + 300 + 30);
    assert_true(revocation_hits(r, TOKEN(), &set));
    assert_false(revocation_hits(r, TOKEN(.jti = "j2"), &set));
    assert_false(revocation_hits(r, TOKEN(.issuer = "x"), &set));
    assert_int_equal(grant_table_revoke(table, r), OK);
    revocation_free(r);
    assert_true(grant_table_bars(table, TOKEN()));
    expect(TOKEN(), LOGIN_REVOKED);
    expect(TOKEN(.jti = "J1"), LOGIN_OK);
    expect(TOKEN(.jti = ""), LOGIN_OK);
    /* without a jti: issuer, subject, client, iat */
    r = revocation_for_token(TOKEN(.jti = "", .client = "c", .issued = NOW + 9), NOW, "test");
    assert_int_equal(r->kind, REVOKE_TOKEN);
    assert_int_equal(r->at, NOW + 9);
    assert_int_equal(grant_table_revoke(table, r), OK);
    revocation_free(r);
    expect(TOKEN(.jti = "", .client = "c"), LOGIN_REVOKED);
    expect(TOKEN(.jti = "", .client = "c", .issued = NOW + 9), LOGIN_REVOKED);
    expect(TOKEN(.jti = "", .client = "c", .issued = NOW + 10), LOGIN_OK);
    expect(TOKEN(.jti = "", .client = "d"), LOGIN_OK);
    expect(TOKEN(.jti = "j3", .client = "c"), LOGIN_OK);
}

static void principals_revoked(void **state)
{
    (void)state;
    put(GRANT(.id = "t1", .subject = ""), GRANT_FROM_CONFIG);
    expect(TOKEN(.client = "c"), LOGIN_OK);
    revoke(REVOKE_SUBJECT, ISS, "bob");
    assert_false(grant_table_allows(table, TOKEN(.client = "c"), &set));
    assert_true(grant_table_allows(table, TOKEN(.issued = NOW + 1), &set));
    expect(TOKEN(), LOGIN_REVOKED);
    expect(TOKEN(.issued = 0), LOGIN_REVOKED);
    expect(TOKEN(.issued = NOW + 1), LOGIN_OK);
    expect(TOKEN(.subject = "bobby"), LOGIN_OK);
    revoke(REVOKE_CLIENT, ISS, "c");
    expect(TOKEN(.subject = "x", .client = "c"), LOGIN_REVOKED);
    expect(TOKEN(.subject = "x", .client = "c", .issued = NOW + 1), LOGIN_OK);
    expect(TOKEN(.subject = "x", .client = ""), LOGIN_OK);
    /* A session at the issuer, whenever its tokens were issued. */
    expect(TOKEN(.subject = "y", .sid = "s1", .issued = NOW + 1), LOGIN_OK);
    revoke(REVOKE_SESSION, ISS, "s1");
    assert_false(grant_table_allows(table, TOKEN(.sid = "s1", .issued = NOW + 1), &set));
    assert_true(grant_table_allows(table, TOKEN(.sid = "s2", .issued = NOW + 1), &set));
    expect(TOKEN(.subject = "y", .sid = "s1", .issued = NOW + 1), LOGIN_REVOKED);
    expect(TOKEN(.subject = "y", .sid = "s2", .issued = NOW + 1), LOGIN_OK);
    expect(TOKEN(.subject = "y", .issued = NOW + 1), LOGIN_OK);
    revoke(REVOKE_ISSUER, ISS, "");
    expect(TOKEN(.subject = "x", .issued = NOW - 1), LOGIN_REVOKED);
    expect(TOKEN(.subject = "x", .issued = NOW), LOGIN_OK);
    expect(TOKEN(.subject = "x", .issued = 0), LOGIN_REVOKED);
}

static void attributes_revoked(void **state)
{
    struct identity id = *TOKEN(.agreement = "agr", .asset = "ass", .participant = "par");
    static const enum revoke_kind kinds[] = {REVOKE_AGREEMENT, REVOKE_ASSET, REVOKE_PARTICIPANT};
    static const char *const values[] = {"agr", "ass", "par"};
    size_t i;

    (void)state;
    id.topics[0] = (char[]){"parts"};
    id.ntopics = 1;
    for (i = 0; i < 3; i++) {
        struct revocation *r = revocation_new(kinds[i], "", values[i], "", NOW, 0, "");

        expect(&id, LOGIN_OK);
        assert_true(revocation_hits(r, &id, &set));
        assert_true(revocation_hits(r, TOKEN(), &set)); /* by its grant */
        assert_int_equal(grant_table_revoke(table, r), OK);
        assert_false(grant_table_allows(table, &id, &set));
        expect(&id, LOGIN_REVOKED);
        id.issued = NOW + 5;
        expect(&id, LOGIN_REVOKED); /* a later token of the same, too */
        id.issued = NOW - 10;
        revocation_free(r);
        grant_table_free(table);
        table = grant_table_new(config);
    }
    /* grants made afterwards are new ones */
    revoke(REVOKE_PARTICIPANT, "", "did:web:bob");
    put(GRANT(.id = "new"), GRANT_FROM_API);
    expect(TOKEN(.transfer = "new"), LOGIN_OK);
    expect(TOKEN(.transfer = "new", .participant = "did:web:bob"), LOGIN_REVOKED);
    expect(TOKEN(.transfer = "new", .participant = "did:web:bob", .issued = NOW + 1), LOGIN_OK);
}

static void malformed_revocations(void **state)
{
    char long_text[257];

    (void)state;
    memset(long_text, 'x', sizeof(long_text));
    long_text[256] = '\0';
    assert_int_equal(revocation_check(REVOKE_TRANSFER, "", "t", "", ""), OK);
    assert_int_equal(revocation_check(REVOKE_TRANSFER, "", "", "", ""), ERR_MALFORMED);
    assert_int_equal(revocation_check(REVOKE_TRANSFER, "i", "t", "", ""), ERR_MALFORMED);
    assert_int_equal(revocation_check(REVOKE_TRANSFER, NULL, long_text, NULL, NULL), ERR_MALFORMED);
    assert_int_equal(revocation_check(REVOKE_JTI, "", "j", "", ""), ERR_MALFORMED);
    assert_int_equal(revocation_check(REVOKE_JTI, "i", NULL, "", ""), ERR_MALFORMED);
    assert_int_equal(revocation_check(REVOKE_JTI, "i", "j", "c", ""), ERR_MALFORMED);
    assert_int_equal(revocation_check(REVOKE_ISSUER, "i", "", "", ""), OK);
    assert_int_equal(revocation_check(REVOKE_SESSION, "i", "s", "", ""), OK);
    assert_int_equal(revocation_check(REVOKE_SESSION, "", "s", "", ""), ERR_MALFORMED);
    assert_int_equal(revocation_check(REVOKE_SESSION, "i", "", "", ""), ERR_MALFORMED);
    assert_int_equal(revocation_check(REVOKE_ISSUER, "i", "v", "", ""), ERR_MALFORMED);
    assert_int_equal(revocation_check(REVOKE_TOKEN, "i", "", "c", ""), OK);
    assert_null(revocation_new(REVOKE_SUBJECT, "", "x", "", 0, 0, ""));
}

static void wider_is_kept(void **state)
{
    struct revocation *a = revocation_new(REVOKE_JTI, ISS, "j", "", NOW, NOW + 50, "");
    struct revocation *b = revocation_new(REVOKE_JTI, ISS, "j", "", NOW + 5, NOW + 20, "");
    struct revocation *c = revocation_new(REVOKE_JTI, ISS, "j", "", NOW, 0, "");

    (void)state;
    assert_false(grant_table_knows(table, a));
    assert_int_equal(grant_table_revoke(table, a), OK);
    assert_true(grant_table_knows(table, a));
    assert_false(grant_table_knows(table, b));
    assert_int_equal(grant_table_revoke(table, b), OK);
    assert_int_equal(grant_table_revocations(table), 1);
    assert_true(grant_table_knows(table, b));
    assert_false(grant_table_knows(table, c));
    assert_int_equal(grant_table_revoke(table, c), OK);
    assert_true(grant_table_knows(table, c));
    assert_int_equal(grant_table_revoke(table, a), OK); /* doesn't give it an end again */
    assert_true(grant_table_knows(table, c));
    assert_int_equal(grant_table_revocations(table), 1);
    grant_table_forget(table, b); /* by what it names, whatever its times */
    assert_int_equal(grant_table_revocations(table), 0);
    grant_table_forget(table, b);
    revocation_free(a);
    revocation_free(b);
    revocation_free(c);
}

static void states(void **state)
{
    struct grant *g;

    (void)state;
    put(GRANT(.id = "c", .not_before = NOW, .expires = NOW + 10), GRANT_FROM_CONFIG);
    g = grant_table_find(table, "c");
    assert_string_equal(grant_state_name(grant_table_state(table, g, NOW - 1)), "not yet");
    assert_string_equal(grant_state_name(grant_table_state(table, g, NOW)), "active");
    assert_string_equal(grant_state_name(grant_table_state(table, g, NOW + 9)), "active");
    assert_string_equal(grant_state_name(grant_table_state(table, g, NOW + 10)), "expired");
    revoke(REVOKE_TRANSFER, "", "c");
    assert_string_equal(grant_state_name(grant_table_state(table, g, NOW)), "barred");
}

/* It goes with the grant, not with one that takes its place. */
static void last_use(void **state)
{
    (void)state;
    grant_table_used(table, "a", NOW);
    assert_int_equal(grant_table_last_use(table, "a"), 0);
    put(GRANT(.id = "a"), GRANT_FROM_API);
    assert_int_equal(grant_table_last_use(table, "a"), 0);
    grant_table_used(table, "a", NOW);
    grant_table_used(table, "a", NOW - 5);
    assert_int_equal(grant_table_last_use(table, "a"), NOW);
    put(GRANT(.id = "a", .asset = "other"), GRANT_FROM_API);
    assert_int_equal(grant_table_last_use(table, "a"), NOW);
    grant_table_remove(table, "a");
    put(GRANT(.id = "a"), GRANT_FROM_API);
    assert_int_equal(grant_table_last_use(table, "a"), 0);
}

/* --- changes under a running session */

static void replaced(void **state)
{
    const char *wide[] = {"a", "parts", "z"};
    const struct identity *id = TOKEN(.transfer = "t1");
    size_t i;
    const struct grant_config *same[] = {
        GRANT(.id = "t1"),
        GRANT(.id = "t1", .topics = {wide, 3}),
        GRANT(.id = "t1", .operations = OP_READ | OP_WRITE),
        GRANT(.id = "t1", .subject = ""),
    };
    const struct grant_config *less[] = {
        GRANT(.id = "t1", TOPIC("z")),
        GRANT(.id = "t1", .operations = OP_WRITE),
        GRANT(.id = "t1", .group_prefix = "bob-1"),
        GRANT(.id = "t1", .group_prefix = ""),
        GRANT(.id = "t1", .group_prefix = "bo"),
        GRANT(.id = "t1", .participant = "did:web:carol"),
        GRANT(.id = "t1", .subject = "carol"),
        GRANT(.id = "t1", .expires = NOW + 100),
        GRANT(.id = "t1", .not_before = NOW + 100),
    };

    (void)state;
    for (i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        put(GRANT(.id = "t1"), GRANT_FROM_CONFIG);
        expect(id, LOGIN_OK);
        put(same[i], GRANT_FROM_CONFIG);
        assert_true(grant_table_allows(table, id, &set));
    }
    for (i = 0; i < sizeof(less) / sizeof(less[0]); i++) {
        put(GRANT(.id = "t1"), GRANT_FROM_CONFIG);
        expect(id, LOGIN_OK);
        put(less[i], GRANT_FROM_CONFIG);
        if (grant_table_allows(table, id, &set))
            fail_msg("case %zu", i);
    }
    put(GRANT(.id = "t1"), GRANT_FROM_CONFIG);
    expect(id, LOGIN_OK);
    grant_table_remove(table, "t1");
    assert_false(grant_table_allows(table, id, &set));
    grant_table_config(table, dashed);
    put(GRANT(.id = "t1"), GRANT_FROM_CONFIG);
    assert_false(grant_table_allows(table, id, &set));
    expect(id, LOGIN_OK);
    grant_table_config(table, config);
    assert_true(grant_table_allows(table, id, &set));
}

/* Thousands, so that the maps have grown and everything is still found. */
static void many(void **state)
{
    char name[16];
    int i;

    (void)state;
    for (i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        put(GRANT(.id = name, .subject = name), GRANT_FROM_CONFIG);
        if (i % 2)
            revoke(REVOKE_TRANSFER, "", name);
    }
    for (i = 0; i < 5000; i++) {
        struct identity id = *TOKEN();

        snprintf(id.subject, sizeof(id.subject), "t%d", i);
        expect(&id, i % 2 ? LOGIN_REVOKED : LOGIN_OK);
    }
    for (i = 0; i < 5000; i += 3) {
        snprintf(name, sizeof(name), "t%d", i);
        grant_table_remove(table, name);
        assert_null(grant_table_find(table, name));
    }
    assert_non_null(grant_table_find(table, "t4999"));
}

/* Where a revocation cannot be remembered, nobody gets in any more. */
static void out_of_memory(void **state)
{
    struct revocation *r = revocation_new(REVOKE_JTI, ISS, "other", "", NOW, 0, "");
    struct change_item item = {.kind = CHANGE_REVOKE, .revocation = r};
    struct change change = {1, &item, 1};
    struct grant *g = NULL;
    const char *why;
    unsigned n;

    (void)state;
    put(GRANT(.id = "c1"), GRANT_FROM_CONFIG);
    expect(TOKEN(), LOGIN_OK);
    if (!sl_alloc_fail_after(0))
        skip();
    for (n = 1;; n++) {
        sl_alloc_fail_after(n);
        int rc = grant_new(GRANT(.id = "x"), GRANT_FROM_API, &g, &why);
        sl_alloc_fail_after(0);
        if (rc == OK)
            break;
        assert_int_equal(rc, ERR_NOMEM);
    }
    assert_true(n > 10);
    sl_alloc_fail_after(1);
    assert_int_equal(grant_table_put(table, g), ERR_NOMEM);
    assert_int_equal(grant_table_apply(table, &change), ERR_NOMEM);
    sl_alloc_fail_after(0);
    grant_unref(g);
    assert_false(grant_table_allows(table, TOKEN(), &set));
    expect(TOKEN(), LOGIN_REVOKED);
    revocation_free(r);
}

/* --- what policy asks */

#define ask_topic(name, ops) grant_topic(&set, name, strlen(name), ops)
#define ask_group(id, ops)   grant_group(&set, id, strlen(id), ops)

static void topics_asked(void **state)
{
    const char *names[] = {"parts", "parts-2"};

    (void)state;
    put(GRANT(.id = "r", .topics = {names, 2}), GRANT_FROM_API);
    put(GRANT(.id = "w", TOPIC("orders"), .operations = OP_WRITE), GRANT_FROM_API);
    put(GRANT(.id = "m", TOPIC("hidden"), .operations = OP_MANAGE | OP_DESCRIBE_CONFIGS),
        GRANT_FROM_API);
    expect(TOKEN(.shared_subjects = false), LOGIN_OK);
    assert_true(ask_topic("parts", OP_READ));
    assert_true(ask_topic("parts-2", OP_READ));
    assert_true(ask_topic("parts", 0));
    assert_true(ask_topic("orders", 0));
    assert_false(ask_topic("hidden", 0));
    assert_false(ask_topic("hidden", OP_READ));
    assert_true(ask_topic("hidden", OP_DESCRIBE_CONFIGS));
    assert_false(ask_topic("orders", OP_READ));
    assert_false(ask_topic("parts", OP_READ | OP_WRITE)); /* not in one grant */
    assert_false(ask_topic("part", OP_READ));
    assert_false(ask_topic("parts-", OP_READ));
    assert_false(ask_topic("Parts", OP_READ));
    assert_false(ask_topic("", OP_READ));
    assert_false(grant_topic(&set, "parts\0", 6, OP_READ));
    assert_true(grant_any(&set, OP_MANAGE));
    assert_int_equal(grant_topic_ops(&set, "parts", 5), 1 << 3 | 1 << 8);
    assert_int_equal(grant_topic_ops(&set, "orders", 6), 1 << 4 | 1 << 8);
    assert_int_equal(grant_topic_ops(&set, "hidden", 6), 1 << 10);
    assert_int_equal(grant_topic_ops(&set, "x", 1), 0);
}

static bool collect(void *arg, const char *name)
{
    strcat(arg, name);
    strcat(arg, " ");
    return strlen(arg) < 20;
}

static void topics_listed(void **state)
{
    const char *one[] = {"b", "d"}, *two[] = {"a", "b", "c", "d", "e"};
    char text[64] = "";

    (void)state;
    put(GRANT(.id = "1", .topics = {one, 2}), GRANT_FROM_API);
    put(GRANT(.id = "2", .topics = {two, 5}), GRANT_FROM_API);
    put(GRANT(.id = "3", TOPIC("aa"), .operations = OP_MANAGE), GRANT_FROM_API);
    expect(TOKEN(.shared_subjects = false), LOGIN_OK);
    grant_topics(&set, collect, text);
    assert_string_equal(text, "a b c d e ");
    strcpy(text, "01234567890123456789");
    grant_topics(&set, collect, text);
    assert_string_equal(text, "01234567890123456789a ");
}

static void groups_asked(void **state)
{
    (void)state;
    put(GRANT(.id = "r"), GRANT_FROM_API);
    put(GRANT(.id = "m", .group_prefix = "tool", .operations = OP_MANAGE), GRANT_FROM_API);
    put(GRANT(.id = "none", .group_prefix = ""), GRANT_FROM_API);
    expect(TOKEN(.shared_subjects = false), LOGIN_OK);
    assert_true(ask_group("bob", OP_READ));
    assert_true(ask_group("bob-1", OP_READ));
    assert_true(ask_group("bobby", OP_READ)); /* Kafka's PREFIXED */
    assert_false(ask_group("bo", OP_READ));
    assert_false(ask_group("", OP_READ));
    assert_false(ask_group("Bob", OP_READ));
    assert_false(ask_group("xbob", OP_READ));
    assert_false(ask_group("alice", OP_READ));
    assert_false(ask_group("bob", OP_MANAGE));
    assert_true(ask_group("bob", OP_READ | OP_MANAGE));
    assert_int_equal(grant_group_ops(&set, "bob", 3), 1 << 3 | 1 << 8);
    assert_int_equal(grant_group_ops(&set, "tool-x", 6), 1 << 6 | 1 << 8);
    assert_int_equal(grant_group_ops(&set, "x", 1), 0);
}

static void groups_separated(void **state)
{
    (void)state;
    grant_table_config(table, dashed);
    put(GRANT(.id = "r"), GRANT_FROM_API);
    put(GRANT(.id = "s", .group_prefix = "eve-"), GRANT_FROM_API);
    expect(TOKEN(.shared_subjects = false), LOGIN_OK);
    assert_string_equal(set.separator, "-");
    assert_true(ask_group("bob", OP_READ));
    assert_true(ask_group("bob-", OP_READ));
    assert_true(ask_group("bob-1", OP_READ));
    assert_false(ask_group("bobby", OP_READ));
    assert_false(ask_group("bobby-1", OP_READ));
    assert_false(ask_group("bob_1", OP_READ));
    assert_true(ask_group("eve-1", OP_READ)); /* the prefix ends in the separator itself */
    assert_true(ask_group("eve-", OP_READ));
    assert_false(ask_group("eve", OP_READ));
}

static void same_rights(void **state)
{
    struct grant *a = make(GRANT(.id = "a"), GRANT_FROM_API);
    struct grant *b =
        make(GRANT(.id = "b", .subject = "x", .expires = 7, .agreement = "y"), GRANT_FROM_CLAIMS);
    struct grant *topic = make(GRANT(.id = "a", TOPIC("other")), GRANT_FROM_API);
    struct grant *prefix = make(GRANT(.id = "a", .group_prefix = "bob-"), GRANT_FROM_API);
    struct grant *ops = make(GRANT(.id = "a", .operations = OP_READ | OP_WRITE), GRANT_FROM_API);
    struct grant *other = make(GRANT(.id = "a", .participant = "p"), GRANT_FROM_API);
    struct grant_set x = {{a}, 1, ""}, y = {{b}, 1, ""};

    (void)state;
    assert_true(grant_set_same_rights(&x, &y)); /* whatever the subject and the transfer */
    y.at[0] = topic;
    assert_false(grant_set_same_rights(&x, &y));
    y.at[0] = prefix;
    assert_false(grant_set_same_rights(&x, &y));
    y.at[0] = ops;
    assert_false(grant_set_same_rights(&x, &y));
    y.at[0] = other;
    assert_false(grant_set_same_rights(&x, &y));
    y = (struct grant_set){{a, topic}, 2, ""};
    assert_false(grant_set_same_rights(&x, &y));
    assert_false(grant_set_same_rights(&y, &x));
    x = (struct grant_set){{topic, b}, 2, ""};
    assert_true(grant_set_same_rights(&x, &y));
    assert_true(grant_equal(a, a));
    assert_false(grant_equal(a, b));
    grant_unref(a);
    grant_unref(b);
    grant_unref(topic);
    grant_unref(prefix);
    grant_unref(ops);
    grant_unref(other);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_no_grant),
        T(topics_sorted_and_unique),
        T(by_transfer),
        T(times),
        T(by_claims),
        T(unshared_union),
        T(shared_subjects),
        T(transfer_revoked),
        T(unknown_transfer_revoked),
        T(union_after_revocation),
        T(tokens_revoked),
        T(principals_revoked),
        T(attributes_revoked),
        T(malformed_revocations),
        T(wider_is_kept),
        T(states),
        T(last_use),
        T(replaced),
        T(many),
        T(out_of_memory),
        T(topics_asked),
        T(topics_listed),
        T(groups_asked),
        T(groups_separated),
        T(same_rights),
    };

    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
