/* Revocation and expiry as the whole gate sees them: what closes, what is tidied up behind it. The
 * store is the real one, in memory. */
#include "tests/unit/unit.h"

#include "tests/unit/gate_bed.h"

static struct client c, d;
static struct store *store;
static int result = 1;
static unsigned closed;

#define GRANT(id, prefix)                                                                          \
    "  - {id: " id ", principal: {subject: bob}, participant: 'did:web:bob', topics: [t1, t2],"    \
    " group_prefix: " prefix ", operations: [read, write]}\n"

static int apply(void *arg, unsigned i, const struct change *change, struct change_ack *ack)
{
    (void)arg;
    (void)i;
    gate_apply(bed.gate, change, ack);
    return OK;
}

static void ready(void *arg)
{
    (void)arg;
    bed.gate->grants_loaded = true;
}

static void done(void *arg, int rc, unsigned n)
{
    (void)arg;
    result = rc;
    closed = n;
}

static bool is_done(struct gate_bed *b)
{
    (void)b;
    return result != 1;
}

static int setup_with(const char *grants)
{
    static const struct store_peers peers = {1, NULL, apply};
    char err[256], more[2048];
    snprintf(more, sizeof(more), "grants:\n%s", grants);
    gate_bed_start(more);
    bed.gate->grants_loaded = false;
    store = store_open(NULL, bed.up.loop, bed.config, err, sizeof(err));
    assert_non_null(store);
    must(store_start(store, &peers, ready, NULL));
    assert_true(until(gate_bed_is_ready));
    result = 1;
    must(store_config_grants(store, bed.config, done, NULL));
    assert_true(until(is_done));
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_with(GRANT("deal-1", "bob") GRANT("deal-2", "bobby"));
}

static int teardown(void **state)
{
    (void)state;
    store_close(store);
    gate_bed_stop();
    return 0;
}

static void login_to(struct client *to, const char *transfer, const char *jti)
{
    char more[128];
    snprintf(more, sizeof(more), ",\"transfer\":\"%s\"", transfer);
    login_with(to, &(struct token_wish){.more = more, .topics = "", .jti = jti});
}

static void revoke_it(enum revoke_kind kind, const char *value)
{
    struct revocation *r = revocation_new(
        kind, kind == REVOKE_JTI || kind == REVOKE_SUBJECT ? "https://idp.example.com" : NULL,
        value, NULL, loop_wall_s(bed.up.loop), 0, "test");
    assert_non_null(r);
    result = 1;
    must(store_revoke(store, r, done, NULL));
    revocation_free(r);
    assert_true(until(is_done));
    assert_int_equal(result, OK);
}

/* A member of the group with this instance. */
static void join(struct client *by, const char *group)
{
    char request[256];
    snprintf(request, sizeof(request),
             "{'groupId':'%s','groupInstanceId':'i','protocolType':'consumer'}", group);
    ask(by, 11, 5, request);
    reply(next_asked(), "{'generationId':1,'memberId':'m-1'}");
    json_decref(answer(by));
}

static void expect_reset(struct client *of)
{
    bed.wants = of;
    bed.wants_bytes = SIZE_MAX;
    assert_true(gate_bed_run(&bed, WAIT_MS));
    assert_true(of->closed);
    assert_int_equal(of->why, ERR_IO);
}

/* What the gate asks by itself has no client id. */
static struct asked *tidied(int broker, int api)
{
    struct asked *a = next_asked();
    assert_non_null(a);
    assert_int_equal(a->broker, broker);
    assert_int_equal(a->h.api, api);
    assert_int_equal(a->h.client_id_len, 0);
    return a;
}

static const char *text(const json_t *j, const char *name)
{
    return json_string_value(json_object_get(j, name));
}

static bool no_cleanups(struct gate_bed *b)
{
    return !b->gate->cleanups;
}

/* --- */

static void classic_member(void **state)
{
    (void)state;
    login_to(&c, "deal-1", "j1");
    join(&c, "bob2");
    revoke_it(REVOKE_TRANSFER, "deal-1");
    assert_int_equal(closed, 1);
    expect_reset(&c);
    struct asked *a = tidied(2, 13);
    json_t *m = json_array_get(json_object_get(a->body, "members"), 0);
    assert_string_equal(text(a->body, "groupId"), "bob2");
    assert_string_equal(text(m, "memberId"), "m-1");
    assert_string_equal(text(m, "groupInstanceId"), "i");
    reply(a, "{}");
    assert_true(until(no_cleanups));
    nobody_asked();
    client_close(&c);
}

/* A consumer has several sessions; those that are closed together do not keep each other's group.
 */
static void several_sessions(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        login_to(order ? &d : &c, "deal-1", order ? "k1" : "j1");
        login_to(order ? &c : &d, "deal-1", order ? "k2" : "j2");
        join(&c, "bob2");
        revoke_it(REVOKE_PARTICIPANT, "did:web:bob");
        assert_int_equal(closed, 2);
        reply(tidied(2, 13), "{}");
        assert_true(until(no_cleanups));
        client_close(&c);
        client_close(&d);
        if (order == 0) { /* a grant anew, for tokens issued from the next second on */
            teardown(NULL);
            setup(NULL);
        }
    }
}

/* Another grant of that participant may go on using the group. */
static void still_allowed(void **state)
{
    (void)state;
    login_to(&c, "deal-1", "j1");
    join(&c, "bobby-2"); /* deal-2's prefix is bobby */
    join(&c, "bob2");
    revoke_it(REVOKE_TRANSFER, "deal-1");
    struct asked *a = tidied(2, 13);
    assert_string_equal(text(a->body, "groupId"), "bob2");
    reply(a, "{}");
    assert_true(until(no_cleanups));
    nobody_asked();
    client_close(&c);
}

static void left_or_lost(void **state)
{
    (void)state;
    /* Left by itself. */
    login_to(&c, "deal-1", "j1");
    join(&c, "bob2");
    ask(&c, 13, 3, "{'groupId':'bob2','members':[{'memberId':'m-1'}]}");
    reply(next_asked(), "{'members':[{'memberId':'m-1','groupInstanceId':null}]}");
    json_decref(answer(&c));
    /* A connection that was lost comes back. */
    login_to(&d, "deal-1", "j2");
    join(&d, "bob3");
    client_close(&d);
    settle_ms(20);
    revoke_it(REVOKE_TRANSFER, "deal-1");
    nobody_asked();
    assert_null(bed.gate->cleanups);
    client_close(&c);
}

static void consumer_member(void **state)
{
    (void)state;
    login_to(&c, "deal-1", "j1");
    ask(&c, 68, 0, "{'groupId':'bob3','memberId':'mine','instanceId':'inst'}");
    reply(next_asked(), "{'memberId':'theirs','memberEpoch':3}");
    json_decref(answer(&c));
    revoke_it(REVOKE_SUBJECT, "bob");
    /* The subject's tokens are barred, not the grant: another token may go on. */
    nobody_asked();
    assert_null(bed.gate->cleanups);
    expect_reset(&c);
    client_close(&c);
}

static void consumer_member_of_an_ended_grant(void **state)
{
    (void)state;
    login_to(&c, "deal-1", "j1");
    ask(&c, 68, 0, "{'groupId':'bob3','memberId':'mine','instanceId':'inst'}");
    reply(next_asked(), "{'memberId':'theirs','memberEpoch':3}");
    json_decref(answer(&c));
    revoke_it(REVOKE_TRANSFER, "deal-1");
    struct asked *a = tidied(3, 68);
    assert_string_equal(text(a->body, "memberId"), "theirs");
    assert_string_equal(text(a->body, "instanceId"), "inst");
    assert_int_equal(json_integer_value(json_object_get(a->body, "memberEpoch")), -1);
    reply(a, "{}");
    assert_true(until(no_cleanups));
    client_close(&c);
}

/* An open transaction is aborted, again and again while the broker is busy with it. */
static void producer(void **state)
{
    (void)state;
    login_to(&c, "deal-1", "j1");
    ask(&c, 22, 0, "{'transactionalId':'bob1'}");
    reply(next_asked(), "{'producerId':7}");
    json_decref(answer(&c));
    ask(&c, 22, 0, "{'transactionalId':null}"); /* nothing to abort */
    reply(next_asked(), "{'producerId':8}");
    json_decref(answer(&c));
    revoke_it(REVOKE_TRANSFER, "deal-1");
    struct asked *a = tidied(1, 22);
    assert_string_equal(text(a->body, "transactionalId"), "bob1");
    reply(a, "{'errorCode':51}");
    a = tidied(1, 22);
    fake_close(asked_conn(a), true); /* and a broker that is lost is asked again */
    a->answered = true;
    reply(tidied(1, 22), "{}");
    assert_true(until(no_cleanups));
    nobody_asked();
    client_close(&c);
}

/* --- what a revocation stops */

/* In the middle of a large answer: not a byte more, and the brokers' side is closed as well. */
static void in_mid_stream(void **state)
{
    (void)state;
    login_to(&c, "deal-1", "j1");
    login_to(&d, "deal-2", "k1");
    ask(&c, 1, 11, "{'maxWaitMs':500,'topics':[{'topic':'t2','partitions':[{}]}]}");
    struct asked *a = next_asked();
    struct octets w =
        reply_frame(a, "{'responses':[{'topic':'t2','partitions':[{'abortedTransactions'"
                       ":null,'records':200000}]}]}");
    fake_raw(asked_conn(a), w.p, 100000);
    assert_true(client_has(&c, 90000));
    size_t had = c.t.in.len;
    revoke_it(REVOKE_TRANSFER, "deal-1");
    assert_int_equal(closed, 1);
    expect_reset(&c);
    assert_true(c.t.in.len <= had);
    soon(!asked_conn(a));
    free(w.p);
    /* The other one is untouched. */
    ask(&d, 60, 0, "{}");
    json_decref(answer(&d));
    client_close(&c);
    client_close(&d);
}

/* Parked Fetches, half a request, an answer that is held back: all at once. */
static void in_any_state(void **state)
{
    struct client many[6];
    (void)state;
    for (int i = 0; i < 6; i++) {
        char jti[16];
        snprintf(jti, sizeof(jti), "p%d", i);
        login_to(&many[i], "deal-1", jti);
    }
    ask(&many[0], 1, 11,
        "{'maxWaitMs':20000,'minBytes':1,'topics':[{'topic':'t2','partitions':[{}]}]}");
    ask(&many[1], 1, 11,
        "{'maxWaitMs':20000,'minBytes':1,'topics':[{'topic':'t1','partitions':[{},{'partition':1}]}"
        "]}");
    ask(&many[1], 60, 0, "{}"); /* parks the legs */
    send_raw(&many[2], "\0\0\1\0\0\3", 6);
    for (int i = 0; i < 20; i++)
        ask(&many[3], 12, 1, "{'groupId':'eve'}");
    ask(&many[4], 11, 0, "{'groupId':'bob1','sessionTimeoutMs':60000}");
    ask(&many[5], 17, 1, HANDSHAKE);
    settle_ms(60);
    for (int i = 0; i < 6; i++)
        buf_drain(&many[i].t.in, many[i].t.in.len);
    uint64_t start = loop_clock_us(bed.up.loop);
    revoke_it(REVOKE_TRANSFER, "deal-1");
    for (int i = 0; i < 5; i++)
        expect_reset(&many[i]);
    assert_true(loop_clock_us(bed.up.loop) - start < 1000000);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(many[i].t.in.len, 0);
        client_close(&many[i]);
    }
    assert_null(bed.gate->first);
}

/* The token is barred for good; another transfer's is not. */
static void barred(void **state)
{
    char *token;
    (void)state;
    login_to(&c, "deal-1", "j1");
    revoke_it(REVOKE_JTI, "j1");
    assert_int_equal(closed, 1);
    expect_reset(&c);
    client_close(&c);
    client_connect(&c);
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    token = make_token(
        &(struct token_wish){.more = ",\"transfer\":\"deal-1\"", .topics = "", .jti = "j1"});
    send_token(&c, token, 1);
    json_decref(answer(&c));
    assert_int_equal(bed.gate->first->state, SESSION_REFUSED);
    client_close(&c);
    free(token);
    login_to(&c, "deal-1", "j2");
    client_close(&c);
}

/* --- expiry */

static int expiring_setup(void **state)
{
    char grant[512], when[64];
    time_t at = time(NULL) + 4; /* the gate is up and a member has joined long before */
    struct tm tm;
    (void)state;
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &tm));
    snprintf(grant, sizeof(grant),
             "  - {id: deal-1, principal: {subject: bob}, participant: 'did:web:bob',"
             " topics: [t1], group_prefix: bob, operations: [read], expires: '%s'}\n",
             when);
    return setup_with(grant);
}

/* A grant that has ended is tidied up behind; a token that has is not: its client comes back. */
static void expired_grant(void **state)
{
    (void)state;
    login_to(&c, "deal-1", "j1");
    join(&c, "bob2");
    expect_closed(&c);
    assert_int_equal(c.why, ERR_EOF);
    reply(tidied(2, 13), "{}");
    assert_true(until(no_cleanups));
    assert_int_equal(audited("grant expired", NULL), 1);
    client_close(&c);
}

static void expired_token(void **state)
{
    (void)state;
    login_to(&c, "deal-1", "j1");
    join(&c, "bob2");
    expire_now(bed.gate->first);
    expect_closed(&c);
    assert_int_equal(audited("token expired", NULL), 1);
    nobody_asked();
    assert_null(bed.gate->cleanups);
    client_close(&c);
}

#define cleanup_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cleanup_test(classic_member),
        cleanup_test(several_sessions),
        cleanup_test(still_allowed),
        cleanup_test(left_or_lost),
        cleanup_test(consumer_member),
        cleanup_test(consumer_member_of_an_ended_grant),
        cleanup_test(producer),
        cleanup_test(in_mid_stream),
        cleanup_test(in_any_state),
        cleanup_test(barred),
        cmocka_unit_test_setup_teardown(expired_grant, expiring_setup, teardown),
        cleanup_test(expired_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
