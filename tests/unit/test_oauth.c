#include "tests/unit/unit.h"

#include <fcntl.h>

#include "auth/oauth.h"
#include "base/loop.h"
#include "tests/unit/httpd.h"

#define SECRET "s3cr3t-Wert"
#define TOKEN  "eyJhbGciOi.to-ken_.x=="

static struct loop *loop;
static struct loop_timer *patience;
static struct httpd server;
static char last_request[65536], token[OAUTH_TOKEN_MAX + 1], url[64];
static int64_t expires;
static unsigned tokens;
static const char *script[8]; /* bodies, one a request; the last again and again */
static int statuses[8];
static bool form_only;

static char *respond(struct httpd *d, const char *request)
{
    unsigned i = d->count - 1;

    snprintf(last_request, sizeof(last_request), "%s", request);
    if (form_only && strstr(request, "Authorization"))
        return httpd_status(401, "", "{\"error\":\"invalid_client\"}");
    if (form_only)
        i = 0;
    while (i > 0 && !script[i])
        i--;
    return httpd_status(statuses[i] ? statuses[i] : 200, "", script[i]);
}

static void on_token(void *arg, const char *text, int64_t until)
{
    assert_ptr_equal(arg, &server);
    snprintf(token, sizeof(token), "%s", text);
    expires = until;
    tokens++;
    loop_stop(loop);
}

static void on_patience(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static int setup(void **state)
{
    (void)state;
    memset(script, 0, sizeof(script));
    memset(statuses, 0, sizeof(statuses));
    form_only = false;
    tokens = 0;
    loop = loop_new();
    patience = loop_timer_new(loop, on_patience, NULL);
    httpd_start(&server, NULL, NULL, respond, NULL);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/token", server.port);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    httpd_stop(&server);
    loop_timer_free(patience);
    loop_free(loop);
    return 0;
}

static struct oauth_source *source(void)
{
    struct upstream_config c = {
        .token_url = url, .client_id = "gate", .client_secret = SECRET, .scope = "kafka read"};

    return oauth_source_new(loop, &c, true, NULL, on_token, &server);
}

/* Until so many tokens have come, or the time has passed. */
static bool run(unsigned until, unsigned ms)
{
    uint64_t end = loop_clock_us(loop) + ms * UINT64_C(1000);

    while (tokens < until && loop_clock_us(loop) < end) {
        assert_int_equal(loop_timer_set(patience, end - loop_clock_us(loop)), OK);
        assert_int_equal(loop_run(loop), OK);
    }
    return tokens >= until;
}

static void a_token(void **state)
{
    struct oauth_source *s = source();
    int64_t now = loop_wall_s(loop);

    (void)state;
    script[0] = "{\"access_token\":\"" TOKEN "\",\"token_type\":\"bearer\",\"expires_in\":300}";
    assert_non_null(s);
    assert_int_equal(tokens, 0);
    assert_false(oauth_source_ready(s));
    assert_true(run(1, 5000));
    assert_string_equal(token, TOKEN);
    assert_in_range(expires, now + 299, now + 303);
    assert_true(oauth_source_ready(s));
    /* base64 of gate:s3cr3t-Wert */
    assert_non_null(strstr(last_request, "Authorization: Basic Z2F0ZTpzM2NyM3QtV2VydA==\r\n"));
    assert_non_null(strstr(last_request, "\r\n\r\ngrant_type=client_credentials&"
                                         "scope=kafka%20read"));
    assert_null(strstr(last_request, SECRET));
    oauth_source_refresh(s); /* too soon after the last */
    assert_false(run(2, 300));
    oauth_source_free(s);
}

static void secret_in_the_form(void **state)
{
    struct oauth_source *s = source();

    (void)state;
    form_only = true;
    script[0] = "{\"access_token\":\"" TOKEN "\",\"token_type\":\"Bearer\",\"expires_in\":2}";
    assert_true(run(1, 5000));
    assert_int_equal(server.count, 2);
    assert_non_null(strstr(last_request, "&client_id=gate&client_secret=" SECRET));
    assert_null(strstr(last_request, "Authorization"));
    /* a new one before the first ends, and no second try of the other way */
    assert_true(run(2, 5000));
    assert_int_equal(server.count, 3);
    oauth_source_free(s);
}

static void recovers(void **state)
{
    struct oauth_source *s = source();

    (void)state;
    script[0] = "oops";
    statuses[0] = 503;
    script[1] = "{\"access_token\":\"" TOKEN "\",\"token_type\":\"Bearer\"}";
    assert_false(run(1, 500)); /* a second's pause first */
    assert_int_equal(server.count, 1);
    assert_true(run(1, 5000));
    assert_int_equal(server.count, 2);
    assert_true(expires > loop_wall_s(loop) + 60); /* where it doesn't say */
    oauth_source_free(s);
}

static void bad_answers(void **state)
{
    static const char *const bodies[] = {
        "",
        "[]",
        "{}",
        "{\"access_token\":\"x\"}",
        "{\"access_token\":\"x\",\"token_type\":\"mac\",\"expires_in\":300}",
        "{\"access_token\":7,\"token_type\":\"Bearer\",\"expires_in\":300}",
        "{\"access_token\":\"\",\"token_type\":\"Bearer\",\"expires_in\":300}",
        "{\"access_token\":\"a b\",\"token_type\":\"Bearer\",\"expires_in\":300}",
        "{\"access_token\":\"a\\u0001b\",\"token_type\":\"Bearer\",\"expires_in\":300}",
        "{\"access_token\":\"=a\",\"token_type\":\"Bearer\",\"expires_in\":300}",
        "{\"access_token\":\"x\",\"token_type\":\"Bearer\",\"expires_in\":0}",
        "{\"access_token\":\"x\",\"token_type\":\"Bearer\",\"expires_in\":-5}",
        "{\"access_token\":\"x\",\"token_type\":\"Bearer\",\"expires_in\":\"300\"}",
        "{\"access_token\":\"x\",\"token_type\":\"Bearer\",\"access_token\":\"y\"}",
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct oauth_source *s;

        script[0] = bodies[i];
        server.count = 0;
        s = source();
        if (run(1, 100))
            fail_msg("taken: %s", bodies[i]);
        assert_int_equal(server.count, 1);
        assert_false(oauth_source_ready(s));
        oauth_source_free(s);
    }
}

static void settings_refused(void **state)
{
    struct upstream_config c = {
        .token_url = "http://127.0.0.1/t", .client_id = "gate", .client_secret = SECRET};

    (void)state;
    assert_null(oauth_source_new(loop, &c, false, NULL, on_token, &server));
    c.token_url = NULL;
    assert_null(oauth_source_new(loop, &c, true, NULL, on_token, &server));
    c.token_url = "https://127.0.0.1/t";
    c.client_secret = NULL;
    assert_null(oauth_source_new(loop, &c, false, NULL, on_token, &server));
}

/* Whatever happens, neither the secret nor a token is in the log. */
static void nothing_in_the_log(void **state)
{
    char path[] = "/tmp/sluice-oauth-XXXXXX", text[65536];
    int fd = mkstemp(path);
    int err = dup(2);
    ssize_t n;

    (void)state;
    dup2(fd, 2);
    secret_in_the_form(NULL);
    server.count = 0;
    tokens = 0;
    form_only = false;
    recovers(NULL);
    server.count = 0;
    statuses[0] = 400;
    script[0] = "{\"error\":\"bad\\nthing\",\"client_secret\":\"" SECRET "\"}";
    script[1] = NULL;
    tokens = 0;
    struct oauth_source *s = source();
    assert_false(run(1, 500));
    oauth_source_free(s);
    dup2(err, 2);
    close(err);
    n = pread(fd, text, sizeof(text) - 1, 0);
    assert_true(n > 100);
    text[n] = '\0';
    assert_null(strstr(text, SECRET));
    assert_null(strstr(text, "Z2F0ZTpz"));
    assert_null(strstr(text, "eyJhbGciOi"));
    assert_non_null(strstr(text, "status 400"));
    close(fd);
    unlink(path);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_token),     T(secret_in_the_form), T(recovers),
        T(bad_answers), T(settings_refused),   T(nothing_in_the_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
