#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "edc/acl_rules.h"

#define ISSUER "https://idp.example.com"

/* --- texts of a test: "topic a READ" and the like */

static struct acl_binding binding(int type, const char *name, int op, const char *subject)
{
    return (struct acl_binding){type, type == ACL_TOPIC ? ACL_LITERAL : ACL_PREFIXED, op, name,
                                subject};
}
#define TOPIC(name, op)         binding(ACL_TOPIC, name, ACL_##op, "s")
#define GROUP(name, op)         binding(ACL_GROUP, name, ACL_##op, "s")
#define TXN(name, op)           binding(ACL_TXN, name, ACL_##op, "s")
#define OF(who, type, name, op) binding(ACL_##type, name, ACL_##op, who)

static struct acl_filter filter_of(struct acl_binding b)
{
    static char principals[16][64];
    static unsigned next;
    char *principal = principals[next++ % 16];
    snprintf(principal, 64, "User:%s", b.subject);
    return (struct acl_filter){b.type, b.pattern, b.op, ACL_ALLOW, b.name, principal, "*"};
}

static const struct acl_filter any = {
    ACL_TYPE_ANY, ACL_PATTERN_ANY, ACL_OP_ANY, ACL_PERMISSION_ANY, NULL, NULL, NULL};

static bool same(const struct acl_right *r, const char *subject, unsigned op, const char *topic,
                 const char *prefix)
{
    return r->op == op && strcmp(r->subject, subject) == 0 && strcmp(r->topic, topic) == 0 &&
           strcmp(r->prefix, prefix) == 0;
}

/* --- filters */

static void filters(void **state)
{
    (void)state;
    const struct acl_binding topic = TOPIC("t1", READ), group = GROUP("bob", READ);
    struct acl_filter f = any;
    assert_true(acl_filter_matches(&f, &topic) && acl_filter_matches(&f, &group));
    f.type = ACL_GROUP;
    assert_false(acl_filter_matches(&f, &topic));
    assert_true(acl_filter_matches(&f, &group));
    f.type = 4; /* CLUSTER */
    assert_false(acl_filter_matches(&f, &topic) || acl_filter_matches(&f, &group));
    f = any;
    f.op = ACL_WRITE;
    assert_false(acl_filter_matches(&f, &topic));
    f.op = 2; /* ALL is an operation of its own to a filter */
    assert_false(acl_filter_matches(&f, &topic));
    f = any;
    f.permission = ACL_DENY;
    assert_false(acl_filter_matches(&f, &topic));
    f.permission = ACL_ALLOW;
    assert_true(acl_filter_matches(&f, &topic));
    f = any;
    f.host = "*";
    assert_true(acl_filter_matches(&f, &topic));
    f.host = "10.0.0.1";
    assert_false(acl_filter_matches(&f, &topic));
    f = any;
    f.principal = "User:s";
    assert_true(acl_filter_matches(&f, &topic));
    f.principal = "User:";
    assert_false(acl_filter_matches(&f, &topic));
    f.principal = "User:*"; /* a filter's principal is no pattern */
    assert_false(acl_filter_matches(&f, &topic));
    f.principal = "s";
    assert_false(acl_filter_matches(&f, &topic));
    f.principal = "Group:s";
    assert_false(acl_filter_matches(&f, &topic));
}

static void filter_patterns(void **state)
{
    (void)state;
    static const struct {
        int pattern;
        const char *name;
        bool topic, group; /* t1 LITERAL, bob PREFIXED */
    } cases[] = {
        {ACL_PATTERN_ANY, NULL, true, true},      {ACL_MATCH, NULL, true, true},
        {ACL_LITERAL, NULL, true, false},         {ACL_PREFIXED, NULL, false, true},
        {ACL_PATTERN_ANY, "t1", true, false},     {ACL_PATTERN_ANY, "bob", false, true},
        {ACL_PATTERN_ANY, "bob-1", false, false}, {ACL_MATCH, "t1", true, false},
        {ACL_MATCH, "t11", false, false},         {ACL_MATCH, "bob", false, true},
        {ACL_MATCH, "bob-1", false, true},        {ACL_MATCH, "bo", false, false},
        {ACL_LITERAL, "t1", true, false},         {ACL_LITERAL, "bob", false, false},
        {ACL_PREFIXED, "bob", false, true},       {ACL_PREFIXED, "bob-1", false, false},
        {ACL_PREFIXED, "t1", false, false},       {ACL_LITERAL, "*", false, false},
    };
    const struct acl_binding topic = TOPIC("t1", READ), group = GROUP("bob", READ);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct acl_filter f = any;
        f.pattern = cases[i].pattern;
        f.name = cases[i].name;
        if (acl_filter_matches(&f, &topic) != cases[i].topic ||
            acl_filter_matches(&f, &group) != cases[i].group)
            fail_msg("case %zu: %d %s", i, f.pattern, f.name ? f.name : "-");
    }
}

/* --- rights */

static void bindings_of_rights(void **state)
{
    (void)state;
    struct acl_binding b[ACL_RIGHT_BINDINGS];
    unsigned carriers;
    struct acl_right r = {"s", "t", "p", OP_READ, NULL};
    assert_int_equal(acl_right_bindings(&r, b, &carriers), 4);
    assert_int_equal(carriers, 2);
    assert_true(b[0].type == ACL_TOPIC && b[0].op == ACL_READ && b[0].pattern == ACL_LITERAL);
    assert_true(b[1].type == ACL_GROUP && b[1].op == ACL_READ && b[1].pattern == ACL_PREFIXED);
    assert_true(b[2].type == ACL_TOPIC && b[2].op == ACL_DESCRIBE);
    assert_true(b[3].type == ACL_GROUP && b[3].op == ACL_DESCRIBE);
    r.op = OP_WRITE;
    assert_int_equal(acl_right_bindings(&r, b, &carriers), 4);
    assert_true(b[0].op == ACL_WRITE && b[1].type == ACL_TXN && b[1].op == ACL_WRITE);
    r = (struct acl_right){"s", "", "p", OP_MANAGE, NULL};
    assert_int_equal(acl_right_bindings(&r, b, &carriers), 2);
    assert_true(carriers == 1 && b[0].type == ACL_GROUP && b[0].op == ACL_DELETE);
    r = (struct acl_right){"s", "t", "", OP_DESCRIBE_CONFIGS, NULL};
    assert_int_equal(acl_right_bindings(&r, b, &carriers), 1);
    assert_int_equal(b[0].op, ACL_DESCRIBE_CONFIGS);
    r.op = OP_READ | OP_WRITE; /* none of ours */
    assert_int_equal(acl_right_bindings(&r, b, &carriers), 0);
    r = (struct acl_right){"s", "t", "p", OP_READ, NULL};
    assert_true(
        acl_right_has(&r, &(struct acl_binding){ACL_TOPIC, ACL_LITERAL, ACL_DESCRIBE, "t", "s"}));
    assert_false(
        acl_right_has(&r, &(struct acl_binding){ACL_TOPIC, ACL_LITERAL, ACL_WRITE, "t", "s"}));
    assert_false(
        acl_right_has(&r, &(struct acl_binding){ACL_TOPIC, ACL_LITERAL, ACL_READ, "t", "o"}));
}

static struct grant *made(struct acl_right r)
{
    struct grant *g;
    const char *why;
    assert_int_equal(acl_right_grant(&r, ISSUER, &g, &why), OK);
    return g;
}

static void grants(void **state)
{
    (void)state;
    const struct acl_right r = {"s", "t", "p", OP_READ, NULL};
    struct grant *g = made(r), *again = made(r);
    struct grant *others[] = {made((struct acl_right){"s2", "t", "p", OP_READ, NULL}),
                              made((struct acl_right){"s", "t2", "p", OP_READ, NULL}),
                              made((struct acl_right){"s", "t", "", OP_READ, NULL}),
                              made((struct acl_right){"s", "", "tp", OP_READ, NULL}),
                              made((struct acl_right){"s", "t", "p", OP_WRITE, NULL})};
    struct acl_right back;
    struct grant *bad;
    const char *why;
    assert_true(grant_equal(g, again)); /* asked twice it is the same */
    assert_string_equal(g->subject, "s");
    assert_string_equal(g->issuer, ISSUER);
    assert_string_equal(g->client, "");
    assert_int_equal(g->operations, OP_READ);
    assert_true(acl_right_of(g, ISSUER, &back) && acl_right_made(&back, g));
    assert_true(same(&back, "s", OP_READ, "t", "p"));
    assert_false(acl_right_of(g, "https://other", &back));
    assert_true(acl_right_of(g, NULL, &back)); /* whichever it is */
    assert_string_equal(back.issuer, ISSUER);
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        assert_string_not_equal(others[i]->id, g->id);
        assert_true(acl_right_of(others[i], ISSUER, &back) && acl_right_made(&back, others[i]));
        grant_unref(others[i]);
    }
    grant_unref(again);
    grant_unref(g);
    assert_int_equal(
        acl_right_grant(&(struct acl_right){"s", "__consumer_offsets", "", OP_READ, NULL}, ISSUER,
                        &bad, &why),
        ERR_MALFORMED);
    assert_null(bad);
}

/* Grants that others made are not touched, whatever their ids say. */
static void grants_of_others(void **state)
{
    (void)state;
    struct grant *own = made((struct acl_right){"s", "t", "p", OP_READ, NULL});
    const char *topics[] = {"t", "u"};
    const struct grant_config base = {.id = own->id,
                                      .issuer = ISSUER,
                                      .subject = "s",
                                      .topics = {topics, 1},
                                      .group_prefix = "p",
                                      .operations = OP_READ};
    struct grant_config c[8];
    struct acl_right r;
    const char *why;
    for (size_t i = 0; i < 8; i++)
        c[i] = base;
    c[0].id = "transfer-1";
    c[1].id = "acl-00000000000000000000000000000000"; /* looks like one, is none */
    c[2].topics.count = 2;
    c[3].operations = OP_READ | OP_WRITE;
    c[4].client = "c";
    c[5].subject = NULL;
    c[6].issuer = "https://other";
    c[7].group_prefix = "q"; /* somebody widened it under its id */
    for (size_t i = 0; i < 8; i++) {
        struct grant *g;
        assert_int_equal(grant_new(&c[i], GRANT_FROM_API, &g, &why), OK);
        if (acl_right_of(g, ISSUER, &r) && acl_right_made(&r, g))
            fail_msg("case %zu", i);
        grant_unref(g);
    }
    struct grant *g;
    assert_int_equal(grant_new(&base, GRANT_FROM_CONFIG, &g, &why), OK);
    assert_false(acl_right_of(g, ISSUER, &r));
    grant_unref(g);
    grant_unref(own);
}

/* --- CreateAcls */

static size_t plan(const struct acl_binding *b, size_t n, struct acl_right *out)
{
    return acl_plan_create(b, n, out);
}

static void create(void **state)
{
    (void)state;
    struct acl_right r[16];
    /* What tractusx-edc sends at a start. */
    const struct acl_binding start[] = {TOPIC("t", READ), TOPIC("t", DESCRIBE), GROUP("bob", READ)};
    assert_int_equal(plan(start, 3, r), 1);
    assert_true(same(&r[0], "s", OP_READ, "t", "bob"));
    const struct acl_binding reversed[] = {GROUP("bob", READ), TOPIC("t", DESCRIBE),
                                           TOPIC("t", READ), TOPIC("t", READ)};
    assert_int_equal(plan(reversed, 4, r), 1);
    assert_true(same(&r[0], "s", OP_READ, "t", "bob"));
    /* A half, and what follows from others alone. */
    assert_int_equal(plan(start, 2, r), 1);
    assert_true(same(&r[0], "s", OP_READ, "t", ""));
    assert_int_equal(plan(start + 2, 1, r), 1);
    assert_true(same(&r[0], "s", OP_READ, "", "bob"));
    assert_int_equal(plan(start + 1, 1, r), 0);
    assert_int_equal(plan(start, 0, r), 0);
    /* Two subjects. */
    const struct acl_binding two[] = {OF("a", TOPIC, "t", READ), OF("b", GROUP, "q", READ),
                                      OF("b", TOPIC, "u", READ), OF("a", GROUP, "p", READ)};
    assert_int_equal(plan(two, 4, r), 2);
    assert_true(same(&r[0], "a", OP_READ, "t", "p"));
    assert_true(same(&r[1], "b", OP_READ, "u", "q"));
}

/* An operation on a topic never becomes one on a prefix that nobody named with it. */
static void create_operations(void **state)
{
    (void)state;
    struct acl_right r[16];
    const struct acl_binding all[] = {
        TOPIC("t", READ), TOPIC("t", WRITE),  TOPIC("t", DESCRIBE_CONFIGS),
        GROUP("g", READ), GROUP("g", DELETE), TXN("x", WRITE),
    };
    assert_int_equal(plan(all, 6, r), 4);
    assert_true(same(&r[0], "s", OP_READ, "t", "g"));
    assert_true(same(&r[1], "s", OP_WRITE, "t", "x"));
    assert_true(same(&r[2], "s", OP_DESCRIBE_CONFIGS, "t", ""));
    assert_true(same(&r[3], "s", OP_MANAGE, "", "g"));
    const struct acl_binding no_txn[] = {TOPIC("t", READ), TOPIC("t", WRITE), GROUP("g", READ)};
    assert_int_equal(plan(no_txn, 3, r), 2);
    assert_true(same(&r[0], "s", OP_READ, "t", "g"));
    assert_true(same(&r[1], "s", OP_WRITE, "t", "")); /* no transactional ids under "g" */
}

static void create_pairs(void **state)
{
    (void)state;
    struct acl_right r[16];
    const struct acl_binding both[] = {TOPIC("t", READ), TOPIC("u", READ), GROUP("p", READ),
                                       GROUP("q", READ)};
    assert_int_equal(plan(both, 4, r), 2);
    assert_true(same(&r[0], "s", OP_READ, "t", "p"));
    assert_true(same(&r[1], "s", OP_READ, "u", "q"));
    const struct acl_binding topics[] = {TOPIC("t", READ), TOPIC("u", READ), TOPIC("v", READ),
                                         GROUP("p", READ)};
    assert_int_equal(plan(topics, 4, r), 3);
    assert_true(same(&r[2], "s", OP_READ, "v", "p"));
    const struct acl_binding prefixes[] = {TOPIC("t", READ), GROUP("p", READ), GROUP("q", READ)};
    assert_int_equal(plan(prefixes, 3, r), 2);
    assert_true(same(&r[0], "s", OP_READ, "t", "p"));
    assert_true(same(&r[1], "s", OP_READ, "t", "q"));
}

/* --- DeleteAcls */

static void fates(const struct acl_right *rights, size_t n, const struct acl_filter *f, size_t nf,
                  const char *want)
{
    enum acl_fate got[8];
    char text[9] = "";
    acl_plan_delete(rights, n, f, nf, got);
    for (size_t i = 0; i < n; i++) /* stays, ends, loses topic, loses prefix */
        text[i] = "SETP"[got[i]];
    if (strcmp(text, want) != 0)
        fail_msg("got %s, want %s", text, want);
}

static void delete (void **state)
{
    (void)state;
    const struct acl_right rights[] = {
        {"s", "t", "bob", OP_READ, NULL}, {"s", "u", "bob", OP_READ, NULL},
        {"s", "t", "eve", OP_READ, NULL}, {"o", "t", "bob", OP_READ, NULL},
        {"s", "", "bob", OP_READ, NULL},  {"s", "t", "", OP_WRITE, NULL},
    };
    const struct acl_filter topic = filter_of(TOPIC("t", READ)),
                            describe = filter_of(TOPIC("t", DESCRIBE)),
                            group = filter_of(GROUP("bob", READ));
    const struct acl_filter end[] = {topic, describe, group};
    /* What tractusx-edc sends at an end: u came with bob as well, and keeps it. */
    fates(rights, 2, end, 3, "ES");
    /* The topic goes wherever it stands; the other subject is nobody's business. */
    fates(rights, 6, end, 3, "ESTSES");
    /* The group alone was meant: it goes from everywhere. */
    fates(rights, 6, &group, 1, "PPSSES");
    fates(rights, 6, &topic, 1, "TSTSSS");
    /* DESCRIBE alone takes nothing: READ goes on to imply it. */
    fates(rights, 6, &describe, 1, "SSSSSS");
    fates(rights, 6, &any, 1, "EEEEEE");
    fates(rights, 6, NULL, 0, "SSSSSS");
    struct acl_filter subject = any;
    subject.principal = "User:s";
    fates(rights, 6, &subject, 1, "EEESEE");
    struct acl_filter writes = any;
    writes.op = ACL_WRITE;
    fates(rights, 6, &writes, 1, "SSSSSE");
    struct acl_filter denies = any;
    denies.permission = ACL_DENY;
    fates(rights, 6, &denies, 1, "SSSSSS");
}

static void left(void **state)
{
    (void)state;
    const struct acl_right r = {"s", "t", "bob", OP_READ, NULL};
    struct acl_right l = acl_right_left(&r, ACL_LOSES_TOPIC);
    assert_true(same(&l, "s", OP_READ, "", "bob"));
    l = acl_right_left(&r, ACL_LOSES_PREFIX);
    assert_true(same(&l, "s", OP_READ, "t", ""));
    l = acl_right_left(&r, ACL_STAYS);
    assert_true(same(&l, "s", OP_READ, "t", "bob"));
    assert_null(acl_right_left(&r, ACL_ENDS).subject);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters),
        cmocka_unit_test(filter_patterns),
        cmocka_unit_test(bindings_of_rights),
        cmocka_unit_test(grants),
        cmocka_unit_test(grants_of_others),
        cmocka_unit_test(create),
        cmocka_unit_test(create_operations),
        cmocka_unit_test(create_pairs),
        cmocka_unit_test(delete),
        cmocka_unit_test(left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
