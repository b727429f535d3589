/* What is fetched over HTTP while memory fails at every place where we, libcurl, OpenSSL or jansson
 * ask for it: a call ends once, with the whole answer or an error; a key set is whole or not there;
 * a token that the server calls inactive is never active. */
#include "tests/unit/unit.h"

#include "tests/unit/short_memory.h"

#include "auth/http.h"
#include "auth/introspect.h"
#include "auth/jwks.h"
#include "auth/oauth.h"
#include "base/log.h"
#include "base/loop.h"
#include "tests/unit/httpd.h"
#include "tests/unit/token.h"

#define NORMAL_MS 10000 /* for what must come */
#define SHORT_MS  4     /* for what a failure may have kept from coming */
#define STEP_US   1000

static struct loop *loop;
static struct loop_timer *patience;
static struct httpd server;
static struct mailbox *home;
static struct config *config;
static char base[64], keys[1024], document[256];
static EVP_PKEY *key;

static char *respond(struct httpd *d, const char *request)
{
    (void)d;
    if (strstr(request, "GET /.well-known/openid-configuration "))
        return httpd_ok(document);
    if (strstr(request, "GET /keys "))
        return httpd_ok(keys);
    if (strstr(request, "POST /token "))
        return httpd_ok("{\"access_token\":\"tok\",\"token_type\":\"Bearer\",\"expires_in\":300}");
    if (strstr(request, "token=gone"))
        return httpd_ok("{\"active\":false}");
    return httpd_ok("{\"active\":true}");
}

static void on_patience(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

/* Until it is so; not long any more once memory has failed. */
static bool until(bool (*so)(void))
{
    uint64_t from = loop_clock_us(loop), failed = 0;

    while (!so()) {
        uint64_t now = loop_clock_us(loop);

        if (sl_alloc_failed() && !failed)
            failed = now;
        if (failed ? now - failed > SHORT_MS * UINT64_C(1000)
                   : now - from > NORMAL_MS * UINT64_C(1000))
            return false;
        if (loop_timer_set(patience, STEP_US) != OK || loop_run(loop) != OK)
            return false;
    }
    return true;
}

/* --- a call */

static unsigned calls_done;
static int result;
static bool whole;

static void on_done(void *arg, const struct http_answer *a)
{
    assert_ptr_equal(arg, &server);
    calls_done++;
    result = a->result;
    whole = a->status == 200 && strcmp(a->body, "{\"active\":true}") == 0;
    assert_true(a->why[0]);
}

static bool call_ended(void)
{
    return calls_done > 0;
}

static bool call(void)
{
    char url[128];
    struct http_request r = {.url = url,
                             .body = "token=here",
                             .user = "gate",
                             .password = "s3cr3t",
                             .header = "X-Api-Key: k",
                             .limit_bytes = 4096};
    struct http *h = http_new(loop, true, NULL);
    struct http_call *c;
    bool ok = false;

    calls_done = 0;
    snprintf(url, sizeof url, "%s/introspect", base);
    if (h && http_start(h, &r, on_done, &server, &c) == OK && until(call_ended)) {
        ok = result == OK;
        if (ok)
            assert_true(whole);
    }
    http_free(h);
    assert_true(calls_done <= 1);
    return ok;
}

static void calls(void **state)
{
    (void)state;
    sweep_places(call);
}

/* --- key sets */

static struct keyring *ring;

static void changed(void *arg, struct keyring *k)
{
    (void)arg;
    keyring_unref(ring);
    ring = keyring_ref(k);
}

static bool has_keys(void)
{
    return ring && ring->sets[0];
}

static bool fetch_keys(void)
{
    struct jwks_fetcher *f = jwks_fetcher_new(loop, config, changed, NULL);
    bool ok = f && until(has_keys);

    if (ok) {
        assert_int_equal(jwks_count(ring->sets[0]), 2);
        assert_true(jwks_fetcher_ready(f));
    }
    jwks_fetcher_free(f);
    keyring_unref(ring);
    ring = NULL;
    return ok;
}

static void key_sets(void **state)
{
    (void)state;
    sweep_places(fetch_keys);
}

/* --- introspection */

static struct introspect_ticket *back;

static void on_answered(void *receiver, struct mail *m)
{
    (void)receiver;
    back = (struct introspect_ticket *)(void *)m;
}

static bool answered(void)
{
    return back != NULL;
}

static int on_inactive(void *arg, struct revocation *r)
{
    (void)arg;
    revocation_free(r);
    return OK;
}

static void on_unconfirmed(void *arg, const struct revocation *r)
{
    (void)arg;
    (void)r;
}

static const char *asked;

static bool introspect(void)
{
    const struct introspect_parts parts = {NULL, on_inactive, on_unconfirmed};
    struct introspector *in = introspect_new(loop, config, &parts);
    struct introspect_ticket *t = NULL;
    struct identity id = {.issued = 1, .expires = loop_wall_s(loop) + 300};
    bool ok = false;

    snprintf(id.issuer, sizeof id.issuer, "%s", base);
    snprintf(id.subject, sizeof id.subject, "bob");
    snprintf(id.jti, sizeof id.jti, "%s", asked);
    back = NULL;
    if (in)
        t = introspect_ticket_new(in, &id, asked, strlen(asked), &asked);
    if (t) {
        introspect_ask(t, home, on_answered);
        if (until(answered)) {
            ok = back->verdict !=
                 (strcmp(asked, "gone") == 0 ? INTROSPECT_ACTIVE : INTROSPECT_INACTIVE);
            assert_true(ok);
            ok = back->verdict != INTROSPECT_UNKNOWN;
            introspect_release(back);
        }
    }
    introspect_free(in);
    return ok;
}

static void introspection(void **state)
{
    (void)state;
    asked = "here";
    sweep_places(introspect);
    asked = "gone";
    sweep_places(introspect);
}

/* --- our own token for the brokers */

static bool have_token;

static void on_token(void *arg, const char *token, int64_t expires)
{
    (void)arg;
    assert_string_equal(token, "tok");
    assert_true(expires > loop_wall_s(loop) + 200);
    have_token = true;
}

static bool token_there(void)
{
    return have_token;
}

static bool fetch_token(void)
{
    char url[128];
    struct upstream_config c = {.token_url = url, .client_id = "gate", .client_secret = "s3cr3t"};
    struct oauth_source *s;
    bool ok;

    have_token = false;
    snprintf(url, sizeof url, "%s/token", base);
    s = oauth_source_new(loop, &c, true, NULL, on_token, NULL);
    ok = s && until(token_there);
    oauth_source_free(s);
    return ok;
}

static void tokens(void **state)
{
    (void)state;
    sweep_places(fetch_token);
}

static int make(void **state)
{
    char text[1024], *a, *b;

    (void)state;
    log_setup(LOG_ERROR, false);
    loop = loop_new();
    patience = loop_timer_new(loop, on_patience, NULL);
    home = mailbox_new(loop, &home);
    httpd_start(&server, NULL, NULL, respond, NULL);
    snprintf(base, sizeof base, "http://127.0.0.1:%d", server.port);
    key = EVP_EC_gen("P-256");
    a = token_jwk(key, "k1", "");
    b = token_jwk(key, "k2", "");
    snprintf(keys, sizeof keys, "{\"keys\":[%s,%s]}", a, b);
    free(a);
    free(b);
    snprintf(document, sizeof document, "{\"issuer\":\"%s\",\"jwks_uri\":\"%s/keys\"}", base, base);
    snprintf(text, sizeof text,
             "development: true\n"
             "issuers:\n"
             "- issuer: '%s'\n"
             "  audience: sluice\n"
             "  introspection: {url: '%s/introspect', client_id: gate,\n"
             "    client_secret_file: secret, interval_s: 1, on_outage: keep}\n",
             base, base);
    config = token_config(text);
    if (!config)
        return -1;
    config->issuers[0].introspection.client_secret = "s3cr3t";
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    config_unref(config);
    EVP_PKEY_free(key);
    mailbox_free(home);
    httpd_stop(&server);
    loop_timer_free(patience);
    loop_free(loop);
    curl_global_cleanup();
    return 0;
}

int main(void)
{
    if (!hook_openssl_and_jansson() || !hook_curl())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls),
        cmocka_unit_test(key_sets),
        cmocka_unit_test(introspection),
        cmocka_unit_test(tokens),
    };

    return cmocka_run_group_tests(tests, make, unmake);
}
