#include "tests/unit/unit.h"

#include <stdatomic.h>

#include "auth/introspect.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"
#include "tests/unit/httpd.h"
#include "tests/unit/token.h"

#define ISS   "https://idp.example.com"
#define TOKEN "eyJ0b2tlbg.eyJ0b2tlbg.c2ln"

static struct loop *loop;
static struct loop_timer *patience;
static struct mailbox *home; /* a worker's, on the same loop */
static struct httpd server;
static struct config *config;
static struct introspector *in;
static char last_request[65536];
static char *(*_Atomic script)(unsigned i); /* the i-th answer */

/* What came back. */
static unsigned answers, lost;
static enum introspect_verdict verdicts[64];
static struct introspect_ticket *tickets[64];
/* What was asked for. */
static unsigned revoked, unconfirmed, busy;
static struct revocation *last_revocation;

static void must(int rc)
{
    assert_int_equal(rc, OK);
}

static char *active(unsigned i)
{
    (void)i;
    return httpd_ok("{\"active\":true,\"sub\":\"bob\"}");
}

static char *inactive(unsigned i)
{
    (void)i;
    return httpd_ok("{\"active\":false}");
}

static char *active_then_inactive(unsigned i)
{
    return i == 0 ? active(i) : inactive(i);
}

static char *outage(unsigned i)
{
    (void)i;
    return httpd_status(503, "", "{\"active\":true}");
}

static char *active_then_outage(unsigned i)
{
    return i == 0 ? active(i) : outage(i);
}

static char *silence(unsigned i)
{
    (void)i;
    return NULL;
}

static char *respond(struct httpd *d, const char *request)
{
    char *(*answer)(unsigned i) = atomic_load(&script);

    snprintf(last_request, sizeof(last_request), "%s", request);
    return answer(d->count - 1);
}

static void on_answered(void *receiver, struct mail *m)
{
    struct introspect_ticket *t = (struct introspect_ticket *)(void *)m;

    assert_ptr_equal(receiver, &home);
    if (!t->owner) {
        lost++;
        introspect_release(t);
        return;
    }
    assert_ptr_equal(t->owner, &answers);
    verdicts[answers] = t->verdict;
    tickets[answers++] = t;
}

static int on_inactive(void *arg, struct revocation *r)
{
    assert_ptr_equal(arg, &home);
    if (busy > 0) {
        busy--;
        revocation_free(r);
        return ERR_BUSY;
    }
    revocation_free(last_revocation);
    last_revocation = r;
    revoked++;
    return OK;
}

static void on_unconfirmed(void *arg, const struct revocation *r)
{
    assert_ptr_equal(arg, &home);
    assert_string_equal(r->issuer, ISS);
    unconfirmed++;
}

static void on_patience(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static void turn(unsigned ms)
{
    must(loop_timer_set(patience, ms * UINT64_C(1000)));
    must(loop_run(loop));
}

/* Until *what is n; false after ms. */
static bool until(const unsigned *what, unsigned n, unsigned ms)
{
    uint64_t end = loop_clock_us(loop) + ms * UINT64_C(1000);

    while (*what < n && loop_clock_us(loop) < end)
        turn(5);
    return *what >= n;
}

static struct config *config_of(const char *outage_choice, int port)
{
    char text[1024];

    snprintf(text, sizeof(text),
             "development: true\n"
             "issuers:\n"
             "- issuer: '" ISS "'\n"
             "  audience: sluice\n"
             "  introspection: {url: 'http://127.0.0.1:%d/introspect', client_id: gate,\n"
             "    client_secret_file: secret, interval_s: 1, on_outage: %s}\n"
             "- {issuer: 'https://other.example.com', audience: sluice}\n",
             port, outage_choice);
    return token_config(text);
}

static void begin(const char *outage_choice, char *(*first)(unsigned i))
{
    struct introspect_parts parts = {&home, on_inactive, on_unconfirmed};

    script = first;
    config = config_of(outage_choice, server.port);
    assert_non_null(config);
    config->issuers[0].introspection.client_secret = "s3cr3t";
    in = introspect_new(loop, config, &parts);
    assert_non_null(in);
}

static int setup(void **state)
{
    (void)state;
    log_setup(LOG_ERROR, false);
    answers = lost = revoked = unconfirmed = busy = 0;
    last_request[0] = '\0';
    loop = loop_new();
    patience = loop_timer_new(loop, on_patience, NULL);
    home = mailbox_new(loop, &home);
    httpd_start(&server, NULL, NULL, respond, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < answers; i++)
        introspect_release(tickets[i]);
    mailbox_free(home);
    introspect_free(in);
    revocation_free(last_revocation);
    last_revocation = NULL;
    config_unref(config);
    httpd_stop(&server);
    loop_timer_free(patience);
    loop_free(loop);
    return 0;
}

static struct identity bob(const char *jti)
{
    struct identity id = {.issued = loop_wall_s(loop) - 10, .expires = loop_wall_s(loop) + 300};

    strcpy(id.issuer, ISS);
    strcpy(id.subject, "bob");
    strcpy(id.client, "c1");
    strcpy(id.jti, jti);
    return id;
}

static struct introspect_ticket *question(const char *jti)
{
    struct identity id = bob(jti);
    struct introspect_ticket *t = introspect_ticket_new(in, &id, TOKEN, strlen(TOKEN), &answers);

    assert_non_null(t);
    introspect_ask(t, home, on_answered);
    return t;
}

static void let_go(unsigned i)
{
    introspect_release(tickets[i]);
    tickets[i] = NULL;
}

static size_t tokens_held(void)
{
    struct introspect_stats s;

    introspect_stats(in, &s);
    return s.tokens;
}

static void only_where_it_is_wanted(void **state)
{
    (void)state;
    begin("keep", active);
    assert_non_null(introspect_wanted(config, ISS));
    assert_null(introspect_wanted(config, "https://other.example.com"));
    assert_null(introspect_wanted(config, "https://nobody.example.com"));
    assert_int_equal(config->issuers[0].introspection.interval_s, 1);
    assert_false(config->issuers[0].introspection.close_on_outage);
    introspect_release(NULL);
}

static void a_token_that_is_active(void **state)
{
    (void)state;
    begin("keep", active);
    question("j1");
    assert_true(until(&answers, 1, 3000));
    assert_int_equal(verdicts[0], INTROSPECT_ACTIVE);
    assert_non_null(strstr(last_request, "POST /introspect HTTP/1.1\r\n"));
    /* base64 of gate:s3cr3t */
    assert_non_null(strstr(last_request, "Authorization: Basic Z2F0ZTpzM2NyM3Q=\r\n"));
    assert_non_null(strstr(last_request, "\r\n\r\ntoken=" TOKEN "&token_type_hint=access_token"));
    assert_null(strstr(last_request, "s3cr3t"));
    assert_int_equal(revoked, 0);
}

/* Five who ask at once, and one who asks later in the interval, are one request. */
static void one_request_a_token_and_interval(void **state)
{
    (void)state;
    begin("keep", active);
    for (unsigned i = 0; i < 5; i++)
        question("j1");
    assert_true(until(&answers, 5, 3000));
    question("j1");
    assert_true(until(&answers, 6, 3000));
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(verdicts[i], INTROSPECT_ACTIVE);
    assert_int_equal(server.count, 1);
    assert_int_equal(tokens_held(), 1);
    question("j2");
    assert_true(until(&answers, 7, 3000));
    assert_int_equal(server.count, 2);
    assert_int_equal(tokens_held(), 2);
}

/* A live token is asked about once in each interval; one that nobody holds is forgotten. */
static void asked_again_while_it_is_held(void **state)
{
    unsigned before;

    (void)state;
    begin("keep", active);
    question("j1");
    question("j2");
    assert_true(until(&answers, 2, 3000));
    let_go(1);
    turn(2300);
    before = server.count;
    assert_in_range(before, 3, 4); /* two at first, one or two intervals of j1 */
    assert_int_equal(tokens_held(), 1);
    let_go(0);
    turn(2500);
    assert_in_range(server.count, before, before + 1);
    assert_int_equal(tokens_held(), 0);
}

static void an_inactive_token(void **state)
{
    (void)state;
    begin("keep", inactive);
    question("j1");
    assert_true(until(&answers, 1, 3000));
    assert_int_equal(verdicts[0], INTROSPECT_INACTIVE);
    question("j1");
    assert_true(until(&answers, 2, 3000));
    assert_int_equal(verdicts[1], INTROSPECT_INACTIVE);
    assert_int_equal(server.count, 1);
    assert_int_equal(revoked, 0); /* it never got in; there is nothing to bar */
}

static void revoked_when_it_becomes_inactive(void **state)
{
    (void)state;
    begin("keep", active_then_inactive);
    busy = 1; /* the store's first no is not the end */
    question("j1");
    assert_true(until(&revoked, 1, 4000));
    assert_int_equal(verdicts[0], INTROSPECT_ACTIVE);
    assert_int_equal(last_revocation->kind, REVOKE_JTI);
    assert_string_equal(last_revocation->issuer, ISS);
    assert_string_equal(last_revocation->value, "j1");
    turn(2500);
    assert_int_equal(revoked, 1);
}

static void revoked_without_a_jti(void **state)
{
    (void)state;
    begin("keep", active_then_inactive);
    question("");
    assert_true(until(&revoked, 1, 4000));
    assert_int_equal(last_revocation->kind, REVOKE_TOKEN);
    assert_string_equal(last_revocation->value, "bob");
    assert_string_equal(last_revocation->client, "c1");
}

/* No status but 200, and nothing but a boolean, is an answer. */
static char *odd(unsigned i)
{
    static const char *const bodies[] = {
        "{\"active\":\"true\"}",
        "{\"active\":1}",
        "{}",
        "[true]",
        "true",
        "",
        "{\"active\":true",
        "{\"active\":null}",
        "{\"active\":false,\"active\":true}",
    };

    if (i < sizeof(bodies) / sizeof(*bodies))
        return httpd_ok(bodies[i]);
    switch (i - sizeof(bodies) / sizeof(*bodies)) {
    case 0:
        return httpd_status(401, "", "{\"active\":true}");
    case 1:
        return httpd_status(302, "Location: /elsewhere\r\n", "{\"active\":true}");
    case 2: {
        char *huge = malloc(INTROSPECT_ANSWER_MAX + 100), *out;

        memset(huge, ' ', INTROSPECT_ANSWER_MAX + 99);
        memcpy(huge, "{\"active\":true}", 15);
        huge[INTROSPECT_ANSWER_MAX + 99] = '\0';
        out = httpd_ok(huge);
        free(huge);
        return out;
    }
    default:
        return strdup("garbage\r\n\r\n");
    }
}

static void no_answer_is_unknown(void **state)
{
    char jti[8];
    uint64_t asked = 0;

    (void)state;
    begin("keep", odd);
    for (unsigned i = 0; i < 13; i++) {
        asked = loop_clock_us(loop);
        snprintf(jti, sizeof(jti), "j%u", i);
        question(jti);
        assert_true(until(&answers, i + 1, 3000));
        assert_int_equal(verdicts[i], INTROSPECT_UNKNOWN);
    }
    question("j12"); /* not asked again within the interval of a second */
    assert_true(until(&answers, 14, 3000));
    if (loop_clock_us(loop) - asked < 1000000)
        assert_int_equal(server.count, 13);
}

static void an_outage_keeps(void **state)
{
    (void)state;
    begin("keep", active_then_outage);
    question("j1");
    turn(2500);
    assert_in_range(server.count, 2, 3);
    assert_int_equal(verdicts[0], INTROSPECT_ACTIVE);
    assert_int_equal(unconfirmed + revoked, 0);
    question("j2");
    assert_true(until(&answers, 2, 3000));
    assert_int_equal(verdicts[1], INTROSPECT_UNKNOWN);
}

static void an_outage_closes(void **state)
{
    (void)state;
    begin("close", active_then_outage);
    question("j1");
    assert_true(until(&unconfirmed, 1, 4000));
    assert_int_equal(revoked, 0); /* nothing is barred */
    let_go(0);
    turn(50);
    question("j2"); /* a login during an outage closes nobody */
    assert_true(until(&answers, 2, 3000));
    assert_int_equal(verdicts[1], INTROSPECT_UNKNOWN);
    assert_int_equal(unconfirmed, 1);
}

#define HUNG (2 * INTROSPECT_CALLS_MAX + 8) /* one after another they would take three rounds */

/* More tokens than requests at a time, and a server that does not answer: all hear unknown, by the
 * bound of the request or of the queue. */
static void a_server_that_hangs(void **state)
{
    char jti[8];

    (void)state;
    begin("keep", silence);
    for (unsigned i = 0; i < HUNG; i++) {
        snprintf(jti, sizeof(jti), "j%u", i);
        question(jti);
    }
    turn(1000);
    assert_int_equal(answers, 0);
    assert_true(until(&answers, HUNG, 8000));
    for (unsigned i = 0; i < answers; i++)
        assert_int_equal(verdicts[i], INTROSPECT_UNKNOWN);
}

/* Its session has ended while the question was under way. */
static void nobody_waits_any_more(void **state)
{
    (void)state;
    begin("keep", active);
    question("j1")->owner = NULL;
    assert_true(until(&lost, 1, 3000));
    turn(2200);
    assert_int_equal(answers, 0);
    assert_int_equal(server.count, 1); /* nobody holds it: not asked again */
    assert_int_equal(tokens_held(), 0);
}

/* The end, with questions in every state. */
static void the_end_with_questions_about(void **state)
{
    char jti[8];

    (void)state;
    begin("keep", silence);
    for (unsigned i = 0; i < INTROSPECT_CALLS_MAX + 2; i++) {
        snprintf(jti, sizeof(jti), "j%u", i);
        question(jti);
    }
    turn(100);
    question("late");
}

static void a_reload_without_it(void **state)
{
    struct config *without;

    (void)state;
    begin("keep", active);
    question("j1");
    assert_true(until(&answers, 1, 3000));
    without = token_config("issuers: [{issuer: '" ISS "', audience: sluice}]\n");
    introspect_config(in, without);
    question("j1");
    assert_true(until(&answers, 2, 3000));
    assert_int_equal(verdicts[1], INTROSPECT_UNKNOWN);
    turn(1700);
    assert_int_equal(server.count, 1);
    let_go(0);
    turn(1500);
    assert_int_equal(tokens_held(), 0);
    config_unref(without);
}

/* What is under way when the configuration comes is asked anew, by its terms. */
static void a_reload_meanwhile(void **state)
{
    (void)state;
    begin("keep", silence);
    question("j1");
    for (unsigned i = 0; i < 600 && server.count == 0; i++)
        turn(5);
    script = active;
    introspect_config(in, config);
    assert_true(until(&answers, 1, 3000));
    assert_int_equal(verdicts[0], INTROSPECT_ACTIVE);
    assert_int_equal(server.count, 2);
}

/* --- askers in threads of their own, as workers are */

#define ASKERS    4
#define QUESTIONS 300

struct asker {
    pthread_t thread;
    struct mailbox *home;
    unsigned number, away, heard, forgotten;
    struct introspect_ticket *held[QUESTIONS]; /* those that were active */
    unsigned nheld;
};
static atomic_uint askers_done;

static void on_asker_answer(void *receiver, struct mail *m)
{
    struct asker *a = receiver;
    struct introspect_ticket *t = (struct introspect_ticket *)(void *)m;

    a->away--;
    if (!t->owner) {
        a->forgotten++;
        introspect_release(t);
        return;
    }
    assert_ptr_equal(t->owner, a);
    a->heard++;
    if (t->verdict == INTROSPECT_ACTIVE && a->heard % 3 != 0)
        a->held[a->nheld++] = t;
    else
        introspect_release(t);
}

/* Asks, forgets every fifth question while it is away, lets go of what it holds now and then. */
static void *ask_and_ask(void *arg)
{
    struct asker *a = arg;
    char jti[8];

    for (unsigned i = 0; i < QUESTIONS; i++) {
        struct introspect_ticket *t;
        struct identity id;

        snprintf(jti, sizeof(jti), "j%u", (i + a->number) % 7);
        id = bob(jti);
        t = introspect_ticket_new(in, &id, TOKEN, strlen(TOKEN), a);
        assert_non_null(t);
        a->away++;
        introspect_ask(t, a->home, on_asker_answer);
        if (i % 5 == 0)
            t->owner = NULL;
        if (i % 4 == 0)
            (void)!mailbox_wait(a->home, 1);
        if (a->nheld > 10)
            introspect_release(a->held[--a->nheld]);
    }
    while (a->away > 0)
        (void)!mailbox_wait(a->home, 1000);
    while (a->nheld > 0)
        introspect_release(a->held[--a->nheld]);
    askers_done++;
    return NULL;
}

static void many_askers(void **state)
{
    static struct asker askers[ASKERS];
    unsigned done = 0;

    (void)state;
    begin("keep", active);
    askers_done = 0;
    memset(askers, 0, sizeof(askers));
    for (unsigned i = 0; i < ASKERS; i++) {
        askers[i].number = i;
        askers[i].home = mailbox_new(NULL, &askers[i]);
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_and_ask, &askers[i]), 0);
    }
    for (unsigned i = 0; i < 4000 && done < ASKERS; i++) {
        turn(5);
        done = askers_done;
    }
    assert_int_equal(done, ASKERS);
    for (unsigned i = 0; i < ASKERS; i++) {
        pthread_join(askers[i].thread, NULL);
        mailbox_free(askers[i].home);
        assert_int_equal(askers[i].heard + askers[i].forgotten, QUESTIONS);
        assert_int_equal(askers[i].forgotten, QUESTIONS / 5);
    }
    turn(2500);
    assert_int_equal(tokens_held(), 0);
}

static void without_memory(void **state)
{
    struct identity id = bob("j1");
    unsigned n = 0;
    struct introspect_ticket *t;

    (void)state;
    begin("keep", active);
    if (!sl_alloc_fail_after(1)) {
        sl_alloc_fail_after(0);
        skip();
    }
    do {
        sl_alloc_fail_after(++n);
        t = introspect_ticket_new(in, &id, TOKEN, strlen(TOKEN), &answers);
        sl_alloc_fail_after(0);
    } while (!t);
    assert_int_equal(n, 3);
    introspect_ask(t, home, on_answered);
    sl_alloc_fail_after(1); /* the entry, too */
    turn(50);
    sl_alloc_fail_after(0);
    assert_true(until(&answers, 1, 3000));
    assert_int_equal(verdicts[0], INTROSPECT_UNKNOWN);
    assert_int_equal(server.count, 0);
}

static void too_long_a_token(void **state)
{
    static char long_token[16 * 1024 + 2];
    struct identity id = bob("j1");
    struct introspect_ticket *t;

    (void)state;
    begin("keep", active);
    memset(long_token, 'a', sizeof(long_token) - 1);
    assert_null(introspect_ticket_new(in, &id, long_token, sizeof(long_token) - 1, &answers));
    t = introspect_ticket_new(in, &id, long_token, sizeof(long_token) - 2, &answers);
    assert_non_null(t);
    introspect_ask(t, home, on_answered);
    assert_true(until(&answers, 1, 3000));
    assert_int_equal(verdicts[0], INTROSPECT_ACTIVE);
}

/* The loop takes interest back at the end of its turn, when libcurl has closed the socket and the
 * server's thread may have been given its number. The kernel then says ENOENT, since what that
 * thread accepted is in no set of this loop; ThreadSanitizer, which goes by the number, says race.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:epoll_ctl\n";
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_where_it_is_wanted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_token_that_is_active, setup, teardown),
        cmocka_unit_test_setup_teardown(one_request_a_token_and_interval, setup, teardown),
        cmocka_unit_test_setup_teardown(asked_again_while_it_is_held, setup, teardown),
        cmocka_unit_test_setup_teardown(an_inactive_token, setup, teardown),
        cmocka_unit_test_setup_teardown(revoked_when_it_becomes_inactive, setup, teardown),
        cmocka_unit_test_setup_teardown(revoked_without_a_jti, setup, teardown),
        cmocka_unit_test_setup_teardown(no_answer_is_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(an_outage_keeps, setup, teardown),
        cmocka_unit_test_setup_teardown(an_outage_closes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_hangs, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_waits_any_more, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_with_questions_about, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reload_without_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reload_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(many_askers, setup, teardown),
        cmocka_unit_test_setup_teardown(without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(too_long_a_token, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
