/* Every line of the audit trail that is a session's names the transfer, the agreement, the asset
 * and the participant. */
#include "tests/unit/unit.h"

#include "tests/unit/gate_bed.h"

static struct client c;

static int setup(void **state)
{
    (void)state;
    gate_bed_start("limits: {reauth_min_interval_ms: 0}\n");
    return 0;
}

static void put(const struct grant_config *config)
{
    struct grant *g;
    const char *why;

    if (grant_new(config, GRANT_FROM_API, &g, &why) != OK)
        fail_msg("%s", why);
    must(grant_table_put(bed.gate->grants, g));
    grant_unref(g);
}

#define GRANT(...)                                                                                 \
    (&(struct grant_config){.issuer = "https://idp.example.com",                                   \
                            .participant = "did:web:bob",                                          \
                            .topics = {(const char *[]){"t1", "t2", "gone"}, 3},                   \
                            .group_prefix = "bob",                                                 \
                            .operations = OP_READ,                                                 \
                            __VA_ARGS__})

static char *token_of(const char *transfer, const char *jti)
{
    char more[128] = "";

    if (transfer)
        snprintf(more, sizeof(more), ",\"transfer\":\"%s\"", transfer);
    return make_token(&(struct token_wish){.more = more, .topics = "", .jti = jti});
}

static void enter(const char *token)
{
    client_connect(&c);
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    send_token(&c, token, 2);
    json_decref(answer(&c));
}

static const char *text_of(const json_t *line, const char *path)
{
    const json_t *at = line;
    char name[64];

    while (*path) {
        size_t n = strcspn(path, ".");
        snprintf(name, sizeof(name), "%.*s", (int)n, path);
        at = json_object_get(at, name);
        path += n + (path[n] == '.');
    }
    return json_string_value(at) ? json_string_value(at) : "";
}

/* The lines of this kind, all of which name these. */
static unsigned named(const char *code, const char *transfer, const char *agreement,
                      const char *asset)
{
    char line[AUDIT_LINE_MAX];
    unsigned n = 0;
    FILE *f;

    settle_ms(60);
    f = fopen(bed.audit_file, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        json_t *o = json_loads(line, 0, NULL);

        assert_non_null(o);
        if (strcmp(text_of(o, "metadata.event_code"), code) == 0) {
            if (!strstr(line, transfer) || !strstr(line, agreement) || !strstr(line, asset) ||
                !strstr(line, "did:web:bob"))
                fail_msg("%s", line);
            n++;
        }
        json_decref(o);
    }
    fclose(f);
    return n;
}

/* The writer is a thread of its own, and may take its time. */
static void expect_lines(const char *code, unsigned want)
{
    unsigned tries = 50;

    while (named(code, "deal-1", "agreement-1", "asset-1") < want && --tries > 0)
        ;
    assert_int_equal(named(code, "deal-1", "agreement-1", "asset-1"), want);
}

/* With a byte left over. */
static void bad_reply(struct asked *a)
{
    struct fake_conn *conn = asked_conn(a);
    struct octets w = reply_frame(a, "{'errorCode':0}");

    assert_non_null(conn);
    wire_put(&w, "x", 1);
    w.p[3]++; /* the length */
    a->answered = true;
    fake_raw(conn, w.p, w.n);
    free(w.p);
}

/* Everything that is told of a session. */
static void every_kind(void **state)
{
    char *token = token_of("deal-1", "j1"), *again = token_of("deal-1", "j2");

    (void)state;
    put(GRANT(.id = "deal-1", .agreement = "agreement-1", .asset = "asset-1"));
    enter(token);
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    send_token(&c, again, 1);
    json_decref(answer(&c));
    ask(&c, 12, 0, "{'groupId':'foreign'}"); /* Heartbeat */
    json_decref(answer(&c));
    send_raw(&c, "\0\0\0\3abc", 7);
    expect_closed(&c);
    client_close(&c);
    enter(again);
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    send_token(&c, "e30.e30.AAAA", 1); /* says nothing: the session's own */
    json_decref(answer(&c));
    client_close(&c);
    enter(again);
    ask(&c, 12, 0, "{'groupId':'bob'}");
    bad_reply(next_asked());
    expect_closed(&c);
    client_close(&c);
    expect_lines("auth_ok", 3);
    expect_lines("reauth", 1);
    expect_lines("denial", 1);
    expect_lines("protocol", 1);
    expect_lines("auth_fail", 1);
    expect_lines("upstream", 1);
    expect_lines("close", 3);
    free(token);
    free(again);
}

/* A token that names nothing, bound by a grant that is not yet or no longer in force. */
static void refused_but_known(void **state)
{
    static const char *tokens[] = {"bound"};
    char *token = token_of(NULL, "bound");

    (void)state;
    put(GRANT(.id = "deal-1", .agreement = "agreement-1", .asset = "asset-1", .tokens = {tokens, 1},
              .expires = 1000));
    enter(token);
    client_close(&c);
    expect_lines("auth_fail", 1);
    free(token);
}

/* Another's transfer: the line tells what was claimed, and does not make it that other's. */
static void another_ones(void **state)
{
    char *token = token_of("deal-1", "j1");
    unsigned tries;

    (void)state;
    put(GRANT(.id = "deal-1", .subject = "alice", .agreement = "agreement-1"));
    enter(token);
    client_close(&c);
    for (tries = 0; tries < 50 && audited("\"auth_fail\"", "deal-1") == 0; tries++)
        ;
    assert_int_equal(audited("\"auth_fail\"", "deal-1"), 1);
    assert_int_equal(audited("\"auth_fail\"", "agreement-1"), 0);
    free(token);
}

/* The union of a principal's grants: all of them are named. */
static void several_grants(void **state)
{
    struct identity id = {.issuer = "https://idp.example.com", .subject = "bob"};
    struct session s = {.gate = bed.gate};
    struct audit_event e = {.kind = AUDIT_CLOSE};
    char agreement[300];
    const char *why;
    unsigned i;

    (void)state;
    must(identity_copy(&s.id, &id));
    snprintf(s.id.asset, sizeof(s.id.asset), "claimed");
    session_audit(&s, &e);
    assert_string_equal(e.asset, "claimed");
    assert_string_equal(e.transfer, "");
    for (i = 0; i < 3; i++) {
        char name[16];

        snprintf(name, sizeof(name), "deal-%u", i);
        assert_int_equal(grant_new(GRANT(.id = name, .agreement = i ? "same" : ""), GRANT_FROM_API,
                                   &s.grants.at[i], &why),
                         OK);
        s.grants.count++;
    }
    session_audit(&s, &e);
    assert_string_equal(e.transfer, "deal-0,deal-1,deal-2");
    assert_string_equal(e.agreement, "same");
    assert_string_equal(e.participant, "did:web:bob");
    assert_string_equal(e.asset, "claimed");
    grant_set_clear(&s.grants);
    memset(agreement, 'x', sizeof(agreement));
    agreement[200] = '\0';
    for (i = 0; i < 2; i++) {
        agreement[0] = (char)('a' + i);
        assert_int_equal(grant_new(GRANT(.id = "d", .agreement = agreement), GRANT_FROM_API,
                                   &s.grants.at[i], &why),
                         OK);
        s.grants.count++;
    }
    session_audit(&s, &e);
    assert_int_equal(strlen(e.agreement), AUDIT_TEXT_MAX);
    assert_string_equal(e.agreement + AUDIT_TEXT_MAX - 3, "...");
    grant_set_clear(&s.grants);
    identity_clear(&s.id);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, gate_bed_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(every_kind),
        T(refused_but_known),
        T(another_ones),
        T(several_grants),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
