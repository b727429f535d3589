/* Time and order as the whole gate sees them: a wall clock that jumps, grants and tokens that have
 * not begun, sessions that move from one transfer to another. The store is the real one, in memory;
 * the wall clock is the test's. */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "tests/unit/gate_bed.h"

#define HOUR 3600

static struct client c, d;
static struct store *store;
static int result = 1;
static unsigned closed;

/* --- the wall clock */

static int64_t shift_s;

int clock_gettime(clockid_t id, struct timespec *out)
{
    int rc = (int)syscall(SYS_clock_gettime, id, out);

    if (rc == 0 && id == CLOCK_REALTIME)
        out->tv_sec += shift_s;
    return rc;
}

/* The kernel tells of a clock that was set by cancelling this timer. */
static int jump_timer(void)
{
    int found = -1;
    DIR *dir = opendir("/proc/self/fd");

    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        char path[300], target[64] = "";

        snprintf(path, sizeof(path), "/proc/self/fd/%s", e->d_name);
        if (readlink(path, target, sizeof(target) - 1) > 0 &&
            strcmp(target, "anon_inode:[timerfd]") == 0)
            found = atoi(e->d_name);
    }
    closedir(dir);
    assert_true(found >= 0);
    return found;
}

static void set_clock(int64_t ahead_s)
{
    const struct itimerspec at_once = {.it_value = {.tv_nsec = 1}};

    shift_s = ahead_s;
    assert_int_equal(timerfd_settime(jump_timer(), 0, &at_once, NULL), 0);
    settle_ms(30);
}

static int64_t now_s(void)
{
    return loop_wall_s(bed.up.loop);
}

/* --- the gate with a store */

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

static int setup(void **state)
{
    static const struct store_peers peers = {1, NULL, apply};
    char err[256];

    (void)state;
    shift_s = 0;
    gate_bed_start("limits: {reauth_min_interval_ms: 0}\n");
    bed.gate->grants_loaded = false;
    store = store_open(NULL, bed.up.loop, bed.config, err, sizeof(err));
    assert_non_null(store);
    must(store_start(store, &peers, ready, NULL));
    assert_true(until(gate_bed_is_ready));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    shift_s = 0;
    store_close(store);
    gate_bed_stop();
    return 0;
}

static void wait_done(void)
{
    assert_true(until(is_done));
    assert_int_equal(result, OK);
}

struct wish {
    const char *id, *topic, *prefix, *participant;
    unsigned operations;
    int64_t not_before, expires;
};

/* What differs from the usual transfer: t1, under bob, to read. */
static void put(const struct wish *w)
{
    const char *topics[] = {w->topic ? w->topic : "t1"};
    const struct grant_config config = {
        .id = w->id,
        .issuer = "https://idp.example.com",
        .participant = w->participant ? w->participant : "did:web:bob",
        .topics = {topics, 1},
        .group_prefix = w->prefix ? w->prefix : "bob",
        .operations = w->operations ? w->operations : OP_READ,
        .not_before = w->not_before,
        .expires = w->expires,
    };
    struct grant *g;
    const char *why;

    assert_int_equal(grant_new(&config, GRANT_FROM_API, &g, &why), OK);
    result = 1;
    must(store_grant(store, g, done, NULL));
    grant_unref(g);
    wait_done();
}

static void revoke_it(enum revoke_kind kind, const char *value)
{
    bool of_issuer = kind == REVOKE_JTI || kind == REVOKE_SUBJECT;
    struct revocation *r = revocation_new(kind, of_issuer ? "https://idp.example.com" : "", value,
                                          "", now_s(), 0, "test");

    assert_non_null(r);
    result = 1;
    must(store_revoke(store, r, done, NULL));
    revocation_free(r);
    wait_done();
}

/* A token that names this transfer. */
static char *token_of(const char *transfer, const char *jti, int64_t life_s)
{
    char more[128];

    snprintf(more, sizeof(more), ",\"transfer\":\"%s\"", transfer);
    return make_token(
        &(struct token_wish){.more = more, .topics = "", .jti = jti, .life_s = life_s});
}

/* The error code of a login, in a connection that stays when it is 0. */
static int64_t login_as(struct client *to, const char *token)
{
    json_t *j;
    int64_t code;

    client_connect(to);
    ask(to, 17, 1, HANDSHAKE);
    expect(to, HANDSHAKEN);
    send_token(to, token, 2);
    j = answer(to);
    code = json_integer_value(json_object_get(j, "errorCode"));
    /* A refusal comes in two steps: what tells is the lifetime. */
    if (code == 0 && json_integer_value(json_object_get(j, "sessionLifetimeMs")) == 0)
        code = 58;
    json_decref(j);
    return code;
}

static bool lets_in(const char *token)
{
    struct client one;
    bool in = login_as(&one, token) == 0;

    client_close(&one);
    settle_ms(10);
    return in;
}

static int64_t reauth(struct client *of, const char *token)
{
    json_t *j;
    int64_t code;

    ask(of, 17, 1, HANDSHAKE);
    expect(of, HANDSHAKEN);
    send_token(of, token, 1);
    j = answer(of);
    code = json_integer_value(json_object_get(j, "errorCode"));
    json_decref(j);
    return code;
}

static void expect_reset(struct client *of)
{
    bed.wants = of;
    bed.wants_bytes = SIZE_MAX;
    assert_true(gate_bed_run(&bed, WAIT_MS));
    assert_true(of->closed);
    assert_int_equal(of->why, ERR_IO);
}

/* --- a clock that jumps */

static void an_hour_ahead(void **state)
{
    char *brief, *lasting, *revoked;

    (void)state;
    put(&(struct wish){.id = "deal"});
    put(&(struct wish){.id = "gone"});
    brief = token_of("deal", "brief", 600);
    lasting = token_of("deal", "lasting", 2 * HOUR);
    revoked = token_of("gone", "revoked", 600);
    assert_int_equal(login_as(&c, brief), 0);
    assert_int_equal(login_as(&d, lasting), 0);
    revoke_it(REVOKE_JTI, "revoked");
    set_clock(HOUR);
    expect_closed(&c); /* at once, not after ten minutes */
    assert_false(d.closed);
    assert_false(lets_in(brief));
    assert_true(lets_in(lasting));
    /* Back again: what was not revoked is good again, what was is not. */
    set_clock(0);
    assert_false(d.closed);
    assert_true(lets_in(brief));
    assert_false(lets_in(revoked));
    client_close(&c);
    client_close(&d);
    free(brief);
    free(lasting);
    free(revoked);
}

/* Timers run on the monotonic clock: after a jump back a session must not end by the old reckoning,
 * nor live on by it after the jump forward again. */
static void an_hour_back(void **state)
{
    char *token, *early;

    (void)state;
    put(&(struct wish){.id = "deal"});
    token = token_of("deal", "j1", 2);
    assert_int_equal(login_as(&c, token), 0);
    set_clock(-HOUR);
    settle_ms(2500);
    assert_false(c.closed);
    /* The issuer's clock is right, so its tokens come from the future; more than a skew's worth. */
    shift_s = 0;
    early = token_of("deal", "j2", 600);
    shift_s = -HOUR;
    assert_false(lets_in(early));
    set_clock(0);
    expect_closed(&c);
    assert_true(lets_in(early));
    client_close(&c);
    free(token);
    free(early);
}

static void a_grants_times(void **state)
{
    char *token;

    (void)state;
    put(&(struct wish){.id = "later", .not_before = now_s() + HOUR, .expires = now_s() + 2 * HOUR});
    token = token_of("later", "j1", 4 * HOUR);
    assert_false(lets_in(token));
    set_clock(HOUR + 1);
    assert_int_equal(login_as(&c, token), 0);
    set_clock(2 * HOUR + 1);
    expect_closed(&c);
    assert_false(lets_in(token));
    set_clock(0);
    assert_false(lets_in(token));
    client_close(&c);
    free(token);
}

/* A token that begins, or was issued, a little in the future: the skew is 5 s. */
static void skew(void **state)
{
    static const struct {
        int64_t ahead_s;
        bool in;
    } cases[] = {{0, true}, {4, true}, {8, false}, {-8, true}};
    size_t i;

    (void)state;
    put(&(struct wish){.id = "deal"});
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char *token;

        shift_s = cases[i].ahead_s;
        token = token_of("deal", "j1", 600);
        shift_s = 0;
        assert_int_equal(lets_in(token), cases[i].in);
        free(token);
    }
}

/* --- one session, one transfer after another */

/* The session is the new token's and its transfer's alone. */
static void moves_to_another_transfer(void **state)
{
    char *a = token_of("old", "ja", 600), *b = token_of("new", "jb", 600);

    (void)state;
    put(&(struct wish){.id = "old"});
    put(&(struct wish){.id = "new"});
    assert_int_equal(login_as(&c, a), 0);
    assert_int_equal(login_as(&d, a), 0);
    ask(&c, 12, 0, "{'groupId':'bob'}"); /* in mid-stream */
    struct asked *under_way = broker_gets(1, 12, 0, "{'groupId':'bob'}");
    ask(&c, 17, 1, HANDSHAKE);
    send_token(&c, b, 1);
    settle_ms(20);
    reply(under_way, "{'errorCode':0}");
    expect(&c, "{}");
    expect(&c, HANDSHAKEN);
    json_decref(answer(&c));
    revoke_it(REVOKE_TRANSFER, "old");
    assert_int_equal(closed, 1);
    expect_reset(&d);
    assert_false(c.closed);
    revoke_it(REVOKE_JTI, "ja"); /* its former token is none of its business either */
    assert_int_equal(closed, 0);
    ask(&c, 12, 0, "{'groupId':'bob'}");
    reply(broker_gets(1, 12, 0, "{'groupId':'bob'}"), "{'errorCode':0}");
    expect(&c, "{}");
    revoke_it(REVOKE_TRANSFER, "new");
    assert_int_equal(closed, 1);
    expect_reset(&c);
    client_close(&c);
    client_close(&d);
    free(a);
    free(b);
}

static void moves_to_equal_rights_only(void **state)
{
    static const struct wish others[] = {
        {.id = "prefix", .prefix = "bobby"},
        {.id = "topic", .topic = "t2"},
        {.id = "operation", .operations = OP_READ | OP_WRITE},
        {.id = "participant", .participant = "did:web:eve"},
    };
    char *token = token_of("deal", "j1", 600);
    size_t i;

    (void)state;
    put(&(struct wish){.id = "deal"});
    for (i = 0; i < sizeof(others) / sizeof(*others); i++) {
        char *other = token_of(others[i].id, "j2", 600);

        put(&others[i]);
        assert_int_equal(login_as(&c, token), 0);
        assert_int_equal(reauth(&c, other), 58);
        expect_closed(&c);
        client_close(&c);
        free(other);
    }
    for (i = 0; i < 50 && audited("other rights at re-authentication", "\"auth_fail\"") < 4; i++)
        ;
    assert_int_equal(audited("other rights at re-authentication", "\"auth_fail\""), 4);
    free(token);
}

/* Revoked between its handshake and its token. */
static void revoked_in_the_midst(void **state)
{
    char *a = token_of("old", "ja", 600), *b = token_of("new", "jb", 600);

    (void)state;
    put(&(struct wish){.id = "old"});
    put(&(struct wish){.id = "new"});
    assert_int_equal(login_as(&c, a), 0);
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    revoke_it(REVOKE_TRANSFER, "old");
    assert_int_equal(closed, 1);
    expect_reset(&c);
    client_close(&c);
    /* And the one that it was about to become. */
    put(&(struct wish){.id = "old"});
    shift_s = 2; /* tokens of the second of the revocation are barred */
    free(a);
    a = token_of("old", "ja2", 600);
    assert_int_equal(login_as(&c, a), 0);
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    revoke_it(REVOKE_TRANSFER, "new");
    assert_int_equal(closed, 0);
    send_token(&c, b, 1);
    json_decref(answer(&c));
    ask(&c, 36, 1, "{'authBytes':'\\u0001'}");
    expect(&c, "{'errorCode':58,'errorMessage':'Authentication failed.'}");
    expect_closed(&c);
    client_close(&c);
    free(a);
    free(b);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_hour_ahead),
        T(an_hour_back),
        T(a_grants_times),
        T(skew),
        T(moves_to_another_transfer),
        T(moves_to_equal_rights_only),
        T(revoked_in_the_midst),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
