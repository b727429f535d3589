#include "tests/unit/acl_bed.h"
#include "tests/unit/port.h"

#include <openssl/evp.h>

/* --- the prologue */

static void says_who_it_is(void **state)
{
    (void)state;
    char text[2048];
    size_t n;
    const struct acl_api *apis = acl_api_all(&n);
    login();
    for (int v = 0; v <= 5; v++) {
        size_t at = (size_t)snprintf(text, sizeof(text), "{'apiKeys':[");
        for (size_t i = 0; i < n; i++)
            at += (size_t)snprintf(text + at, sizeof(text) - at,
                                   "%s{'apiKey':%d,'minVersion':%d,'maxVersion':%d}", i ? "," : "",
                                   apis[i].api, apis[i].offered.min, apis[i].offered.max);
        snprintf(text + at, sizeof(text) - at, "]}");
        ask(18, v, v >= 3 ? "{'clientSoftwareName':'a','clientSoftwareVersion':'1'}" : "{}");
        expect(18, v, text);
    }
    for (int v = 0; v <= 13; v++) {
        snprintf(text, sizeof(text),
                 "{'brokers':[{'nodeId':7,'host':'sink.example.com','port':9096%s}]%s%s}",
                 v >= 1 ? ",'rack':null" : "", v >= 2 ? ",'clusterId':'virtual'" : "",
                 v >= 1 ? ",'controllerId':7" : "");
        ask(3, v, "{}");
        expect(3, v, text);
    }
    ask(3, 9, "{'topics':[{'name':'t'}]}");
    expect(3, 9,
           "{'brokers':[{'nodeId':7,'host':'sink.example.com','port':9096,'rack':null}],"
           "'clusterId':'virtual','controllerId':7,'topics':[{'errorCode':3,'name':'t'}]}");
    static const uint8_t placeholder[] = {0, 0, 0,   19, 0, 3, 0, 12, 0, 0, 0, 9,
                                          0, 1, 'c', 0,  0, 0, 0, 0,  1, 1, 0};
    send_bytes(placeholder, sizeof(placeholder)); /* as librdkafka asks for all topics */
    correlation = 9;
    json_decref(answer(3, 12, WAIT_MS));
    assert_false(is_closed());
    for (int v = 0; v <= 2; v++) {
        ask(60, v, "{}");
        expect(60, v,
               "{'errorMessage':null,'clusterId':'virtual','controllerId':7,"
               "'brokers':[{'brokerId':7,'host':'sink.example.com','port':9096,'rack':null}]}");
    }
    ask(60, 2, "{'endpointType':2}");
    json_t *j = answer(60, 2, WAIT_MS);
    assert_int_equal(json_integer_value(json_object_get(j, "errorCode")), 114);
    json_decref(j);
}

static void unknown_version_of_api_versions(void **state)
{
    (void)state;
    static const uint8_t frame[] = {0, 0, 0, 12, 0, 18, 0, 99, 0, 0, 0, 9, 0, 0, 0, 0};
    dial();
    send_bytes(frame, sizeof(frame));
    expect(18, 0, "{'errorCode':35,'apiKeys':[{'apiKey':18,'minVersion':0,'maxVersion':5}]}");
}

static void before_the_login(void **state)
{
    (void)state;
    static const struct {
        int api, version;
        const char *body;
    } cases[] = {
        {3, 9, "{}"},   {60, 0, "{}"}, {29, 3, ANY},
        {30, 3, START}, {31, 3, END},  {36, 2, "{}"},
        {0, 9, "{}"},   {1, 12, "{}"}, {17, 0, "{'mechanism':'PLAIN'}"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        dial();
        ask(cases[i].api, cases[i].version, cases[i].body);
        expect_closed();
    }
    dial();
    ask(18, 0, "{}");
    json_decref(answer(18, 0, WAIT_MS));
    ask(18, 0, "{}"); /* once is enough */
    expect_closed();
    assert_int_equal(in_force(), 0);
    assert_true(audited("\"protocol\"", "not now") >= 8);
}

static void not_offered(void **state)
{
    (void)state;
    static const int others[] = {0, 1, 2, 10, 16, 19, 20, 32, 37, 42, 50};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        const struct message *m = schema_find(others[i], true);
        login();
        ask(others[i], m->versions.max, "{}");
        expect_closed();
    }
    login();
    ask(17, 1, "{'mechanism':'PLAIN'}"); /* no second login on a connection */
    expect_closed();
    static const uint8_t old[] = {0, 0, 0, 14, 0, 30, 0, 0, 0, 0, 0, 9, 0xff, 0xff, 0, 0, 0, 0};
    login();
    send_bytes(old, sizeof(old)); /* CreateAcls version 0 */
    expect_closed();
}

/* --- logging in */

static void scram(enum scram_hash hash, const char *name, const char *user, const char *password,
                  bool good)
{
    struct scram s;
    char out[SCRAM_MESSAGE_MAX], challenge[SCRAM_MESSAGE_MAX];
    size_t n;
    const char *why;
    dial();
    handshake(name);
    assert_int_equal(scram_first(&s, hash, user, NULL, out, &n, &why), OK);
    sasl(out, n);
    json_t *j = answer(36, 2, WAIT_MS);
    const char *text = json_string_value(json_object_get(j, "authBytes"));
    n = (size_t)EVP_DecodeBlock((unsigned char *)challenge, (const unsigned char *)text,
                                (int)strlen(text));
    while (n > 0 && challenge[n - 1] == 0)
        n--;
    json_decref(j);
    assert_int_equal(scram_final(&s, password, NULL, challenge, n, out, &n, &why), OK);
    sasl(out, n);
    j = answer(36, 2, WAIT_MS);
    assert_int_equal(json_integer_value(json_object_get(j, "errorCode")), good ? 0 : 58);
    json_decref(j);
    if (good) {
        ask(29, 1, ANY);
        expect(29, 1, NOTHING);
    } else {
        expect_closed();
    }
}

static void scram_logins(void **state)
{
    (void)state;
    scram(SCRAM_SHA_256, "SCRAM-SHA-256", "edc", PASSWORD, true);
    scram(SCRAM_SHA_512, "SCRAM-SHA-512", "edc", PASSWORD, true);
    scram(SCRAM_SHA_256, "SCRAM-SHA-256", "edc", "wrong", false);
    scram(SCRAM_SHA_512, "SCRAM-SHA-512", "nobody", PASSWORD, false);
    assert_int_equal(audited("auth_ok", "SCRAM-SHA-512"), 1);
    assert_int_equal(audited("auth_fail", "SCRAM-SHA-256"), 1);
    assert_int_equal(audited("auth_fail", "nobody"), 1);
}

/* A no comes late, ends the connection, and tells nothing. */
static void refused_logins(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
    } cases[] = {{"\0edc\0wrong", 10}, {"\0nobody\0wrong", 13}, {"nonsense", 8}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint64_t start = loop_clock_us(loop);
        dial();
        handshake("PLAIN");
        sasl(cases[i].text, cases[i].n);
        expect(36, 2,
               "{'errorCode':58,"
               "'errorMessage':'Authentication failed: Invalid username or password'}");
        assert_true(loop_clock_us(loop) - start >= (ACL_REFUSAL_MS - 50) * UINT64_C(1000));
        expect_closed();
    }
    assert_int_equal(audited("auth_fail", "no such user, or not its password"), 2);
    dial();
    ask(17, 1, "{'mechanism':'GSSAPI'}");
    expect(17, 1, "{'errorCode':33," MECHANISMS "}");
    expect_closed();
    dial(); /* nothing more is heard meanwhile */
    handshake("PLAIN");
    sasl("\0edc\0wrong", 10);
    sasl("\0edc\0" PASSWORD, 5 + sizeof(PASSWORD) - 1);
    ask(30, 3, START);
    json_decref(answer(36, 2, WAIT_MS));
    expect_closed();
    assert_int_equal(in_force(), 0);
    assert_int_equal(audited("auth_ok", NULL), 0);
    assert_int_equal(audited(PASSWORD, NULL), 0);
}

/* --- frames */

static void every_split(void **state)
{
    (void)state;
    struct octets frames[3];
    login();
    for (int version = 1; version <= 3; version += 2) {
        frames[0] = frame_of(30, version, START);
        frames[1] = frame_of(29, version, ANY);
        frames[2] = frame_of(31, version, END);
        for (size_t at = 1; at < frames[0].n; at++) {
            for (size_t i = 0; i < 3; i++) {
                size_t cut = at < frames[i].n ? at : frames[i].n - 1;
                send_bytes(frames[i].p, cut);
                settle(0);
                send_bytes(frames[i].p + cut, frames[i].n - cut);
            }
            expect(30, version, DONE3);
            expect(29, version, SHOWN);
            expect(31, version, ENDED);
        }
        for (size_t i = 0; i < 3; i++)
            free(frames[i].p);
    }
    assert_int_equal(in_force(), 0);
}

/* Cut short, the frame's length told as it then is: closed, and nothing done. */
static void every_cut(void **state)
{
    (void)state;
    struct octets f = frame_of(30, 3, START);
    for (size_t n = 5; n < f.n; n++) {
        login();
        for (int i = 0; i < 4; i++)
            f.p[i] = (uint8_t)((n - 4) >> (24 - 8 * i));
        send_bytes(f.p, n);
        expect_closed();
    }
    free(f.p);
    assert_int_equal(in_force(), 0);
}

static void lengths(void **state)
{
    (void)state;
    static const uint8_t zero[4] = {0}, negative[4] = {0xff, 0xff, 0xff, 0xff};
    const uint32_t before = config->limits.frame_preauth_bytes + 1;
    const uint32_t after = config->limits.frame_bytes + 1;
    const uint8_t large[4] = {(uint8_t)(before >> 24), (uint8_t)(before >> 16),
                              (uint8_t)(before >> 8), (uint8_t)before};
    const uint8_t larger[4] = {(uint8_t)(after >> 24), (uint8_t)(after >> 16),
                               (uint8_t)(after >> 8), (uint8_t)after};
    dial();
    send_bytes(zero, 4);
    expect_closed();
    dial();
    send_bytes(negative, 4);
    expect_closed();
    dial();
    send_bytes(large, 4);
    expect_closed();
    login();
    send_bytes(larger, 4);
    expect_closed();
    login();
    send_bytes(large, 4); /* fine now */
    settle(20);
    assert_false(is_closed());
}

/* --- deadlines */

static void deadlines(void **state)
{
    (void)state;
    uint64_t start = loop_clock_us(loop);
    login();
    for (int i = 0; i < 20 && !is_closed(); i++) { /* a byte now and then is no request */
        send_bytes((const uint8_t *)"\0\0\1\0aaaaaaaaaaaaaaaaaaaaaaaa" + i, 1);
        settle(50);
    }
    assert_true(is_closed());
    assert_true(loop_clock_us(loop) - start < 900000);
    login();
    start = loop_clock_us(loop);
    assert_true(until(is_closed, 3000)); /* idle_timeout_ms */
    assert_true(loop_clock_us(loop) - start > 900000);
    dial();
    start = loop_clock_us(loop);
    ask(18, 0, "{}");
    json_decref(answer(18, 0, WAIT_MS));
    assert_true(until(is_closed, 5000)); /* auth_timeout_ms */
    assert_true(loop_clock_us(loop) - start > 2500000);
}

/* --- many connections */

static void room_for_those_who_may(void **state)
{
    (void)state;
    int fds[ACL_CONNECTIONS_MAX];
    unsigned n = 0;
    for (; n < ACL_PER_ADDRESS_MAX; n++) {
        dial();
        fds[n] = client;
        client = -1;
    }
    assert_int_equal(acl->nconns, ACL_PER_ADDRESS_MAX);
    int pair[2];
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(0xc0000201)}};
    struct sockaddr_storage peer = {0};
    memcpy(&peer, &in, sizeof(in));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(acl_conn_new(acl, pair[0], &peer), ERR_LIMIT);
    assert_int_equal(read(pair[1], &n, 1), 0); /* it was closed */
    close(pair[1]);
    for (unsigned i = 0; i < ACL_PER_ADDRESS_MAX; i++)
        close(fds[i]);
    settle(30);
    assert_int_equal(acl->nconns, 0);
    login(); /* and there is room again */
}

/* Through the listening socket: what comes faster than it may waits, and is not lost. */
static void connections_are_paced(void **state)
{
    (void)state;
    enum { STRANGERS = 2 * ACL_ACCEPTS_PER_S };
    const struct changes changes = {.store = store, .audit = ring};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char err[256] = "";
    int fds[STRANGERS];
    config->acl_listener.listen.port = free_port();
    at.sin_port = htons(config->acl_listener.listen.port);
    struct acl *a = acl_new(loop, config, &changes, err, sizeof(err));
    if (!a)
        fail_msg("%s", err);
    uint64_t start = loop_clock_us(loop);
    for (int i = 0; i < STRANGERS; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], (struct sockaddr *)&at, sizeof(at));
    }
    settle(400);
    assert_int_equal(a->nconns, ACL_PER_ADDRESS_MAX);
    if (loop_clock_us(loop) - start < 900000)
        assert_int_equal(a->nconns + a->refused, ACL_ACCEPTS_PER_S);
    settle(2500);
    assert_int_equal(a->nconns + a->refused, STRANGERS);
    for (int i = 0; i < STRANGERS; i++)
        close(fds[i]);
    acl_free(a);
}

/* --- reload */

static void reload(void **state)
{
    (void)state;
    char err[256] = "";
    struct config *same = config_with(USERS),
                  *other = config_with(
                      ", users: [{name: edc, password_file: s}, {name: two, password_file: s}]");
    login();
    /* What acl_config does once it has the users. */
    acl->config = same;
    for (struct acl_conn *c = acl->conns; c; c = c->next)
        assert_true(acl_conn_welcome(c));
    assert_int_equal(scram_users_set(acl->users, &(struct scram_user){"edc", "another one"}, 1),
                     OK);
    for (struct acl_conn *c = acl->conns; c; c = c->next)
        assert_false(acl_conn_welcome(c));
    acl->config = config;
    assert_int_equal(acl_config(acl, other, err, sizeof(err)), OK);
    expect_closed();
    config_unref(same);
    config_unref(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        acl_test(says_who_it_is),
        acl_test(unknown_version_of_api_versions),
        acl_test(before_the_login),
        acl_test(not_offered),
        acl_test(scram_logins),
        acl_test(refused_logins),
        acl_test(every_split),
        acl_test(every_cut),
        acl_test(lengths),
        acl_test(deadlines),
        acl_test(room_for_those_who_may),
        acl_test(connections_are_paced),
        acl_test(reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
