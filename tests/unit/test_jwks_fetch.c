#include "tests/unit/unit.h"

#include "auth/jwks.h"
#include "base/loop.h"
#include "tests/unit/httpd.h"
#include "tests/unit/token.h"

static struct loop *loop;
static struct loop_timer *patience;
static struct httpd server;
static struct keyring *ring; /* the last one */
static unsigned rings;
static EVP_PKEY *key;
static char base[64], file[64];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char keys[4096], discovery[4096]; /* what the server says; under the lock */
static int status;

static void say(char *where, const char *text)
{
    pthread_mutex_lock(&lock);
    strcpy(where, text);
    pthread_mutex_unlock(&lock);
}

static void say_keys(const char *kid)
{
    char *jwk = token_jwk(key, kid, "");
    char text[1024];

    snprintf(text, sizeof(text), "{\"keys\":[%s]}", jwk);
    free(jwk);
    say(keys, text);
}

static void say_status(int s)
{
    pthread_mutex_lock(&lock);
    status = s;
    pthread_mutex_unlock(&lock);
}

static char *respond(struct httpd *d, const char *request)
{
    char *out;

    (void)d;
    pthread_mutex_lock(&lock);
    if (strstr(request, "GET /.well-known/openid-configuration "))
        out = httpd_ok(discovery);
    else
        out = httpd_status(status, "", keys);
    pthread_mutex_unlock(&lock);
    return out;
}

static void changed(void *arg, struct keyring *k)
{
    assert_ptr_equal(arg, &server);
    keyring_unref(ring);
    ring = keyring_ref(k);
    rings++;
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
    rings = 0;
    status = 200;
    key = EVP_EC_gen("P-256");
    loop = loop_new();
    patience = loop_timer_new(loop, on_patience, NULL);
    httpd_start(&server, NULL, NULL, respond, NULL);
    snprintf(base, sizeof(base), "http://127.0.0.1:%d", server.port);
    strcpy(file, "/tmp/sluice-jwks-XXXXXX");
    close(mkstemp(file));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    keyring_unref(ring);
    ring = NULL;
    httpd_stop(&server);
    loop_timer_free(patience);
    loop_free(loop);
    EVP_PKEY_free(key);
    unlink(file);
    return 0;
}

static bool run(unsigned until, unsigned ms)
{
    uint64_t end = loop_clock_us(loop) + ms * UINT64_C(1000);

    while (rings < until && loop_clock_us(loop) < end) {
        assert_int_equal(loop_timer_set(patience, end - loop_clock_us(loop)), OK);
        assert_int_equal(loop_run(loop), OK);
    }
    return rings >= until;
}

/* One issuer, whose name is also where it is; how: the option that says where its keys are. */
static struct config *config_of(const char *how)
{
    char text[1024];

    snprintf(text, sizeof(text),
             "development: true\nissuers:\n  - {issuer: '%s', audience: sluice%s}\n", base, how);
    return token_config(text);
}

static struct config *config_url(void)
{
    char how[256];

    snprintf(how, sizeof(how), ", jwks_url: '%s/keys'", base);
    return config_of(how);
}

static struct config *config_file(void)
{
    char how[256];

    snprintf(how, sizeof(how), ", jwks_file: '%s'", file);
    return config_of(how);
}

static bool knows(const char *kid)
{
    return ring && ring->sets[0] && jwks_find(ring->sets[0], kid, ALG_ES256) != NULL;
}

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");

    fputs(text, f);
    fclose(f);
}

static void from_a_url(void **state)
{
    struct config *c = config_url();
    struct jwks_fetcher *f = jwks_fetcher_new(loop, c, changed, &server);

    (void)state;
    say_keys("k1");
    assert_non_null(f);
    assert_false(jwks_fetcher_ready(f));
    assert_int_equal(rings, 0);
    assert_true(run(1, 5000));
    if (!knows("k1")) /* the first keyring may have been empty */
        assert_true(run(2, 5000));
    assert_true(knows("k1"));
    assert_true(jwks_fetcher_ready(f));
    assert_int_equal(server.count, 1);
    jwks_fetcher_unknown_kid(f, "https://somebody.else");
    assert_false(run(rings + 1, 100));
    assert_int_equal(server.count, 1);
    jwks_fetcher_free(f);
    config_unref(c);
}

/* A flood of unknown kids: one fetch in ten seconds, and that one brings the new key. */
static void unknown_kids(void **state)
{
    struct config *c = config_url();
    struct jwks_fetcher *f = jwks_fetcher_new(loop, c, changed, &server);
    uint64_t from = loop_clock_us(loop);
    unsigned i;

    (void)state;
    say_keys("k1");
    while (!knows("k1"))
        assert_true(run(rings + 1, 5000));
    say_keys("k2");
    for (i = 0; i < 50; i++) {
        jwks_fetcher_unknown_kid(f, base);
        assert_false(run(rings + 1, 20));
    }
    assert_int_equal(server.count, 1);
    assert_true(run(rings + 1, 12000));
    assert_true(knows("k2"));
    assert_false(knows("k1"));
    assert_int_equal(server.count, 2);
    assert_true(loop_clock_us(loop) - from > (JWKS_UNKNOWN_KID_S - 1) * UINT64_C(1000000));
    jwks_fetcher_unknown_kid(f, base);
    assert_false(run(rings + 1, 300));
    assert_int_equal(server.count, 2);
    jwks_fetcher_free(f);
    config_unref(c);
}

/* Refreshed by itself; the last good set outlives failures, until it is too old. */
static void outages(void **state)
{
    struct config *c = config_url();
    struct jwks_fetcher *f;
    unsigned asked;

    (void)state;
    c->issuers[0].refresh_s = 1;
    c->issuers[0].max_age_s = 3;
    say_keys("k1");
    f = jwks_fetcher_new(loop, c, changed, &server);
    while (!knows("k1"))
        assert_true(run(rings + 1, 5000));
    assert_false(run(rings + 1, 1300)); /* the same again is no change */
    assert_true(server.count >= 2);
    say(keys, "{\"keys\":[]}");
    assert_false(run(rings + 1, 1500));
    assert_true(knows("k1"));
    asked = server.count;
    say_status(500);
    say_keys("k2");
    assert_true(run(rings + 1, 5000));
    assert_false(knows("k1"));
    assert_null(ring->sets[0]);
    assert_false(jwks_fetcher_ready(f));
    assert_true(server.count - asked <= 1);
    say_status(200);
    assert_true(run(rings + 1, 12000)); /* ten seconds after the failure */
    assert_true(knows("k2"));
    jwks_fetcher_free(f);
    config_unref(c);
}

static void discovered(void **state)
{
    struct config *c = config_of("");
    struct jwks_fetcher *f;
    char text[512];

    (void)state;
    say_keys("k1");
    snprintf(text, sizeof(text), "{\"issuer\":\"%s\",\"jwks_uri\":\"%s/keys\"}", base, base);
    say(discovery, text);
    f = jwks_fetcher_new(loop, c, changed, &server);
    assert_non_null(f);
    while (!knows("k1"))
        assert_true(run(rings + 1, 5000));
    assert_int_equal(server.count, 2);
    jwks_fetcher_free(f);
    config_unref(c);
}

static void bad_discovery(void **state)
{
    static const char *const documents[] = {
        "",
        "[]",
        "{}",
        "{\"issuer\":\"%s/\",\"jwks_uri\":\"%s/keys\"}",
        "{\"issuer\":\"https://evil.example\",\"jwks_uri\":\"%2$s/keys\"}",
        "{\"issuer\":\"%s\"}",
        "{\"issuer\":\"%s\",\"jwks_uri\":7}",
        "{\"issuer\":\"%s\",\"jwks_uri\":\"file:///etc/passwd\"}",
        "{\"issuer\":\"%s\",\"jwks_uri\":\"http://u@127.0.0.1/\"}",
        "{\"issuer\":\"%s\",\"jwks_uri\":\"%s/keys\",\"issuer\":\"x\"}",
    };
    size_t i;

    (void)state;
    say_keys("k1");
    for (i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
        struct config *c = config_of("");
        struct jwks_fetcher *f;
        char text[512];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
        snprintf(text, sizeof(text), documents[i], base, base);
#pragma GCC diagnostic pop
        say(discovery, text);
        server.count = 0;
        rings = 0;
        f = jwks_fetcher_new(loop, c, changed, &server);
        assert_false(run(2, 200)); /* the first one is empty */
        assert_false(jwks_fetcher_ready(f));
        assert_int_equal(server.count, 1);
        jwks_fetcher_free(f);
        config_unref(c);
    }
}

/* No document, no server: the reason is told, and it is tried again later. */
static void no_discovery(void **state)
{
    struct config *c = config_of("");
    struct jwks_fetcher *f;

    (void)state;
    say(discovery, "{}");
    httpd_stop(&server);
    for (int i = 0; i < 2; i++) {
        struct config *by = i ? config_url() : config_ref(c);

        f = jwks_fetcher_new(loop, by, changed, &server);
        assert_non_null(f);
        assert_false(run(rings + 2, 200)); /* the first one is empty */
        assert_false(jwks_fetcher_ready(f));
        assert_null(ring->sets[0]);
        jwks_fetcher_free(f);
        config_unref(by);
    }
    config_unref(c);
    httpd_start(&server, NULL, NULL, respond, NULL);
}

/* A file that can be read no more leaves what it had said. */
static void a_file_that_goes(void **state)
{
    struct config *c = config_file();
    char *jwk = token_jwk(key, "k1", ""), text[1024];
    struct jwks_fetcher *f;

    (void)state;
    c->issuers[0].refresh_s = 1;
    snprintf(text, sizeof(text), "{\"keys\":[%s]}", jwk);
    free(jwk);
    write_file(text);
    f = jwks_fetcher_new(loop, c, changed, &server);
    assert_non_null(f);
    assert_true(run(1, 5000));
    assert_true(knows("k1"));
    unlink(file);
    assert_false(run(rings + 1, 1500));
    assert_true(jwks_fetcher_ready(f));
    jwks_fetcher_free(f);
    config_unref(c);
}

/* Another host than the issuer's is asked only where that is allowed. */
static void keys_elsewhere(void **state)
{
    struct config *c = config_of("");
    struct jwks_fetcher *f;
    char text[512], how[128];

    (void)state;
    say_keys("k1");
    snprintf(text, sizeof(text), "{\"issuer\":\"%s\",\"jwks_uri\":\"http://127.0.0.2:%d/keys\"}",
             base, server.port);
    say(discovery, text);
    f = jwks_fetcher_new(loop, c, changed, &server);
    assert_false(run(2, 300));
    assert_int_equal(server.count, 1);
    jwks_fetcher_free(f);
    config_unref(c);
    snprintf(how, sizeof(how), "}\noutgoing: {hosts: ['127.0.0.2:%d']", server.port);
    c = config_of(how);
    f = jwks_fetcher_new(loop, c, changed, &server);
    while (!knows("k1"))
        assert_true(run(rings + 1, 5000));
    jwks_fetcher_free(f);
    config_unref(c);
}

static void static_files(void **state)
{
    struct config *c = config_file();
    struct config *missing = NULL;
    struct jwks_fetcher *f;
    char how[256];

    (void)state;
    /* none, then nonsense: it doesn't start */
    write_file("");
    assert_null(jwks_fetcher_new(loop, c, changed, &server));
    write_file("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}");
    assert_null(jwks_fetcher_new(loop, c, changed, &server));
    say_keys("k1");
    write_file(keys);
    f = jwks_fetcher_new(loop, c, changed, &server);
    assert_non_null(f);
    assert_true(jwks_fetcher_ready(f));
    assert_true(run(1, 1000));
    assert_true(knows("k1"));
    /* a reload with a broken file keeps what there is */
    write_file("{");
    assert_int_equal(jwks_fetcher_config(f, c), OK);
    assert_true(run(2, 1000));
    assert_true(knows("k1"));
    say_keys("k2");
    write_file(keys);
    assert_int_equal(jwks_fetcher_config(f, c), OK);
    assert_true(run(3, 1000));
    assert_true(knows("k2"));
    /* a reload to a file that isn't there, to a folder, to a pipe: nothing changes */
    snprintf(how, sizeof(how), ", jwks_file: '%s.none'", file);
    missing = config_of(how);
    assert_int_equal(jwks_fetcher_config(f, missing), ERR_CONFIG);
    config_unref(missing);
    missing = config_of(", jwks_file: /tmp");
    assert_int_equal(jwks_fetcher_config(f, missing), ERR_CONFIG);
    config_unref(missing);
    assert_false(run(4, 200));
    assert_true(jwks_fetcher_ready(f));
    assert_int_equal(server.count, 0);
    jwks_fetcher_free(f);
    config_unref(c);
}

/* The same issuer from another place begins anew; from the same place its keys live on. */
static void reloads(void **state)
{
    struct config *c = config_url();
    struct jwks_fetcher *f;

    (void)state;
    say_keys("k1");
    f = jwks_fetcher_new(loop, c, changed, &server);
    while (!knows("k1"))
        assert_true(run(rings + 1, 5000));
    say_status(500);
    assert_int_equal(jwks_fetcher_config(f, c), OK);
    assert_true(run(rings + 1, 1000));
    assert_true(knows("k1"));
    config_unref(c);
    c = config_of("");
    say(discovery, "{}");
    assert_int_equal(jwks_fetcher_config(f, c), OK);
    assert_true(run(rings + 1, 1000));
    assert_false(knows("k1"));
    assert_ptr_equal(ring->config, c);
    jwks_fetcher_free(f); /* with a call under way or waiting */
    config_unref(c);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(from_a_url),   T(unknown_kids),     T(outages),        T(discovered),   T(bad_discovery),
        T(no_discovery), T(a_file_that_goes), T(keys_elsewhere), T(static_files), T(reloads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
