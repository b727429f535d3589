/* Logins whose issuer is asked about each token: what waits, what goes on meanwhile, and what ends
 * in between. The introspector is the real one, on the worker's own loop. */
#include "tests/unit/unit.h"

#include "auth/introspect.h"
/* Before the bed, whose answer() its members would hide. */
#include "tests/unit/httpd.h"

#include "tests/unit/gate_bed.h"

static struct client c, d;
static struct client *listener; /* of client_heard */
static struct httpd server;
static struct introspector *in;
static char url[64];
static atomic_bool held;          /* the server answers nothing for now */
static atomic_int active, status; /* what it says then */
static unsigned revoked, unconfirmed;
static struct revocation *last; /* what was asked to be revoked or closed */

static char *respond(struct httpd *s, const char *request)
{
    (void)request;
    while (held && !s->stop)
        usleep(1000);
    return httpd_status(status, "", active ? "{\"active\":true}" : "{\"active\":false}");
}

static int on_inactive(void *arg, struct revocation *r)
{
    (void)arg;
    revoked++;
    revocation_free(last);
    last = r;
    return OK;
}

static void on_unconfirmed(void *arg, const struct revocation *r)
{
    (void)arg;
    unconfirmed++;
    revocation_free(last);
    last = revocation_clone(r);
}

/* The worker's mail is delivered by its own loop, which does not run here. */
static bool mail(struct gate_bed *b)
{
    (void)!mailbox_wait(worker_mailbox(b->worker), 0);
    return false;
}

static void mail_ms(unsigned ms)
{
    bed.also = mail;
    (void)gate_bed_run(&bed, ms);
}

/* Delivers until this holds; how long that may take is no matter of the test. */
#define mail_until(condition)                                                                      \
    do {                                                                                           \
        for (unsigned mail_i = 0; !(condition) && mail_i < WAIT_MS / 10; mail_i++)                 \
            mail_ms(10);                                                                           \
        assert_true(condition);                                                                    \
    } while (0)

static bool client_heard(struct gate_bed *b)
{
    (void)mail(b);
    return listener->closed || listener->t.in.len > 0;
}

static bool has_asked(struct gate_bed *b)
{
    (void)mail(b);
    return server.count > 0;
}

static bool has_revoked(struct gate_bed *b)
{
    (void)mail(b);
    return revoked > 0;
}

static bool has_unconfirmed(struct gate_bed *b)
{
    (void)mail(b);
    return unconfirmed > 0;
}

static void start(const char *more)
{
    struct introspect_parts parts = {NULL, on_inactive, on_unconfirmed};
    struct issuer_config *i;

    gate_bed_start(more);
    revoked = unconfirmed = 0;
    last = NULL;
    held = false;
    active = true;
    status = 200;
    httpd_start(&server, NULL, NULL, respond, NULL);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", server.port);
    i = &bed.config->issuers[0];
    i->introspection.url = url;
    i->introspection.client_id = "gate";
    i->introspection.client_secret = "secret";
    i->introspection.interval_s = 1;
    bed.config->development = true;
    in = introspect_new(bed.up.loop, bed.config, &parts);
    assert_non_null(in);
    bed.gate->introspector = in;
}

static int setup(void **state)
{
    (void)state;
    start("limits: {reauth_min_interval_ms: 0}\n");
    return 0;
}

static size_t tokens(void)
{
    struct introspect_stats s;

    introspect_stats(in, &s);
    return s.tokens;
}

static int teardown(void **state)
{
    (void)state;
    while (bed.gate->first)
        session_close(bed.gate->first, "test over", false);
    held = false;
    mail_ms(20);
    introspect_free(in);
    httpd_stop(&server);
    revocation_free(last);
    bed.gate->introspector = NULL;
    gate_bed_stop();
    return 0;
}

static void begin_login(struct client *cl, const struct token_wish *w)
{
    char *token = make_token(w);

    listener = cl;
    client_connect(cl);
    ask(cl, 17, 1, HANDSHAKE);
    expect(cl, HANDSHAKEN);
    send_token(cl, token, 2);
    free(token);
}

static void expect_login(struct client *cl)
{
    json_t *j = answer(cl);

    assert_int_equal(json_integer_value(json_object_get(j, "errorCode")), 0);
    assert_true(json_integer_value(json_object_get(j, "sessionLifetimeMs")) > 0);
    json_decref(j);
}

static void log_in(struct client *cl, const struct token_wish *w)
{
    begin_login(cl, w);
    assert_true(until(client_heard));
    expect_login(cl);
}

/* The first of RFC 7628's two steps. */
static void expect_refused(struct client *cl)
{
    json_t *j = answer(cl);

    assert_int_equal(json_integer_value(json_object_get(j, "errorCode")), 0);
    assert_int_equal(json_integer_value(json_object_get(j, "sessionLifetimeMs")), 0);
    assert_int_equal(bed.gate->first->state, SESSION_REFUSED);
    json_decref(j);
}

static void begin_reauth(struct client *cl, const struct token_wish *w)
{
    char *token = make_token(w);

    listener = cl;
    ask(cl, 17, 1, HANDSHAKE);
    expect(cl, HANDSHAKEN);
    send_token(cl, token, 2);
    free(token);
}

static void a_login_waits(void **state)
{
    (void)state;
    held = true;
    begin_login(&c, &(struct token_wish){0});
    ask(&c, 12, 0, "{'groupId':'bob'}"); /* ahead of the verdict: not even read */
    assert_true(until(has_asked));
    mail_ms(100);
    assert_int_equal(c.t.in.len, 0);
    assert_false(c.closed);
    assert_int_equal(bed.gate->first->state, SESSION_HANDSHAKEN);
    nobody_asked();
    held = false;
    assert_true(until(client_heard));
    expect_login(&c);
    assert_int_equal(bed.gate->first->state, SESSION_READY);
    reply(broker_gets(1, 12, 0, "{'groupId':'bob'}"), "{'errorCode':0}");
    expect(&c, "{}");
    client_close(&c);
}

static void the_second_session_of_a_token(void **state)
{
    (void)state;
    bed.config->issuers[0].introspection.interval_s = 60; /* or it is asked about again meanwhile */
    log_in(&c, &(struct token_wish){0});
    begin_login(&d, &(struct token_wish){0});
    assert_true(until(client_heard));
    expect_login(&d);
    assert_int_equal(server.count, 1);
    client_close(&c);
    client_close(&d);
}

static void an_inactive_token_is_refused(void **state)
{
    (void)state;
    active = false;
    begin_login(&c, &(struct token_wish){0});
    assert_true(until(client_heard));
    expect_refused(&c);
    ask(&c, 36, 2, "{'authBytes':'\\u0001'}");
    expect(&c, "{'errorCode':58,'errorMessage':'Authentication failed.','authBytes':'',"
               "'sessionLifetimeMs':0}");
    expect_closed(&c);
    client_close(&c);
}

static void an_outage_refuses_retriably(void **state)
{
    (void)state;
    status = 500;
    begin_login(&c, &(struct token_wish){0});
    assert_true(until(client_heard));
    expect_closed(&c); /* without an answer */
    client_close(&c);
}

static void without_an_introspector(void **state)
{
    (void)state;
    bed.gate->introspector = NULL;
    begin_login(&c, &(struct token_wish){0});
    expect_closed(&c);
    client_close(&c);
}

/* A token that is no good for other reasons costs the authorization server nothing. */
static void only_good_tokens_are_asked_about(void **state)
{
    (void)state;
    begin_login(&c, &(struct token_wish){.topics = ""}); /* nothing granted */
    assert_true(until(client_heard));
    mail_ms(50);
    assert_int_equal(server.count, 0);
    client_close(&c);
}

static void the_client_goes_meanwhile(void **state)
{
    (void)state;
    held = true;
    begin_login(&c, &(struct token_wish){0});
    assert_true(until(has_asked));
    client_close(&c); /* noticed when it is read again */
    mail_ms(50);
    held = false;
    mail_until(tokens() == 0); /* the answer comes, and the entry goes with its interval */
    assert_null(bed.gate->first);
}

static void the_deadline_passes_meanwhile(void **state)
{
    (void)state;
    bed.config->limits.auth_timeout_ms = 150;
    held = true;
    begin_login(&c, &(struct token_wish){0});
    mail_ms(400);
    expect_closed(&c);
    held = false;
    mail_ms(100);
    client_close(&c);
}

/* Revoked between question and answer: the answer does not help. */
static void revoked_meanwhile(void **state)
{
    struct revocation *r =
        revocation_new(REVOKE_JTI, "https://idp.example.com", "j1", "", 1, 0, "test");

    (void)state;
    held = true;
    begin_login(&c, &(struct token_wish){0});
    assert_true(until(has_asked));
    must(grant_table_revoke(bed.gate->grants, r));
    held = false;
    assert_true(until(client_heard));
    expect_refused(&c);
    client_close(&c);
    revocation_free(r);
}

static void a_live_token_becomes_inactive(void **state)
{
    (void)state;
    log_in(&c, &(struct token_wish){0});
    active = false;
    assert_true(until(has_revoked));
    assert_int_equal(last->kind, REVOKE_JTI);
    assert_string_equal(last->value, "j1");
    client_close(&c);
}

static void unconfirmed_sessions_close(void **state)
{
    (void)state;
    bed.config->issuers[0].introspection.close_on_outage = true;
    log_in(&c, &(struct token_wish){0});
    log_in(&d, &(struct token_wish){.jti = "j2"});
    status = 500;
    assert_true(until(has_unconfirmed));
    gate_close_unconfirmed(bed.gate, last);
    if (strcmp(last->value, "j1") == 0)
        expect_closed(&c);
    else
        expect_closed(&d);
    assert_int_equal(bed.gate->nsessions, 1);
    client_close(&c);
    client_close(&d);
}

/* Sessions of tokens that nobody asks about are none of its business. */
static void others_stay(void **state)
{
    struct revocation *r =
        revocation_new(REVOKE_JTI, "https://idp.example.com", "j1", "", 1, 0, "test");

    (void)state;
    bed.config->issuers[0].introspection.url = NULL;
    login(&c, NULL);
    gate_close_unconfirmed(bed.gate, r);
    mail_ms(20);
    assert_false(c.closed);
    client_close(&c);
    revocation_free(r);
}

/* --- re-authentication */

static void what_is_under_way_goes_on(void **state)
{
    struct asked *a;

    (void)state;
    log_in(&c, &(struct token_wish){0});
    held = true;
    begin_reauth(&c, &(struct token_wish){.jti = "j2"});
    mail_until(server.count == 2);
    ask(&c, 36, 2, "{'authBytes':'x'}"); /* a second one waits its turn */
    mail_ms(50);
    assert_int_equal(bed.gate->first->in_flight, 1);
    assert_string_equal(bed.gate->first->id.jti, "j1");
    held = false;
    assert_true(until(client_heard));
    expect_login(&c);
    assert_string_equal(bed.gate->first->id.jti, "j2");
    expect(&c, "{'errorCode':34,'errorMessage':'SaslAuthenticate request received after successful "
               "authentication','authBytes':'','sessionLifetimeMs':0}");
    ask(&c, 12, 0, "{'groupId':'bob'}");
    a = broker_gets(1, 12, 0, "{'groupId':'bob'}");
    reply(a, "{'errorCode':0}");
    expect(&c, "{}");
    mail_until(tokens() == 1); /* the first token is nobody's any more */
    client_close(&c);
}

static void behind_a_request_under_way(void **state)
{
    struct asked *a;
    char *token = make_token(&(struct token_wish){.jti = "j2"});

    (void)state;
    log_in(&c, &(struct token_wish){0});
    ask(&c, 12, 0, "{'groupId':'bob'}");
    a = broker_gets(1, 12, 0, "{'groupId':'bob'}");
    ask(&c, 17, 1, HANDSHAKE);
    send_token(&c, token, 2);
    /* Answered by the server; the answer stands behind the heartbeat's. */
    mail_until(strcmp(bed.gate->first->id.jti, "j2") == 0);
    assert_int_equal(c.t.in.len, 0);
    reply(a, "{'errorCode':0}");
    expect(&c, "{}");
    expect(&c, HANDSHAKEN);
    expect_login(&c);
    free(token);
    client_close(&c);
}

static void an_inactive_one_ends_the_session(void **state)
{
    (void)state;
    log_in(&c, &(struct token_wish){0});
    active = false;
    begin_reauth(&c, &(struct token_wish){.jti = "j2"});
    assert_true(until(client_heard));
    expect_refused(&c);
    client_close(&c);
}

/* The first token is revoked while the second is asked about. */
static void the_session_is_closed_meanwhile(void **state)
{
    (void)state;
    log_in(&c, &(struct token_wish){0});
    held = true;
    begin_reauth(&c, &(struct token_wish){.jti = "j2"});
    mail_ms(50);
    session_close(bed.gate->first, "revoked", true);
    mail_ms(20);
    held = false;
    mail_until(tokens() == 0);
    expect_closed(&c);
    client_close(&c);
}

static void the_first_expires_meanwhile(void **state)
{
    (void)state;
    log_in(&c, &(struct token_wish){0});
    held = true;
    begin_reauth(&c, &(struct token_wish){.jti = "j2"});
    mail_until(server.count == 2);
    expire_now(bed.gate->first);
    mail_until(bed.gate->first->state == SESSION_DRAINING);
    held = false;
    assert_true(until(client_heard));
    expect_closed(&c);
    client_close(&c);
}

static void the_gate_ends_meanwhile(void **state)
{
    (void)state;
    log_in(&d, &(struct token_wish){0});
    held = true;
    begin_login(&c, &(struct token_wish){.jti = "j2"});
    mail_ms(50);
    assert_int_equal(bed.gate->nsessions, 2);
    client_close(&d);
    client_close(&c);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_login_waits),
        test(the_second_session_of_a_token),
        test(an_inactive_token_is_refused),
        test(an_outage_refuses_retriably),
        test(without_an_introspector),
        test(only_good_tokens_are_asked_about),
        test(the_client_goes_meanwhile),
        test(the_deadline_passes_meanwhile),
        test(revoked_meanwhile),
        test(a_live_token_becomes_inactive),
        test(unconfirmed_sessions_close),
        test(others_stay),
        test(what_is_under_way_goes_on),
        test(behind_a_request_under_way),
        test(an_inactive_one_ends_the_session),
        test(the_session_is_closed_meanwhile),
        test(the_first_expires_meanwhile),
        test(the_gate_ends_meanwhile),
    };

    log_setup(LOG_ERROR, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
