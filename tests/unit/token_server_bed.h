/* A bed for the OAuth server on the signaling listener: real HTTP on loopback, the real store,
 * tokens, token server and refresh; an authorization server and a partner's web server beside it.
 * The loop runs in a thread of its own; the test asks from outside. */
#ifndef TESTS_TOKEN_SERVER_BED_H
#define TESTS_TOKEN_SERVER_BED_H

#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <time.h>
#include <unistd.h>

#include "audit/audit.h"
#include "auth/issuer.h"
#include "auth/jwt.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"
#include "edc/edc.h"
#include "edc/refresh.h"
#include "edc/refresh_token.h"
#include "edc/token_server.h"
#include "edc/tokens.h"
#include "tests/unit/httpd.h"
#include "tests/unit/issuer_bed.h"
#include "tests/unit/port.h"

#define AUDIENCE "did:web:provider.example.com"
#define FORM     "Content-Type: application/x-www-form-urlencoded"

static struct loop *loop;
static struct loop_timer *pump;
static pthread_t thread;
static struct store *store;
static struct issuer *issuer;
static struct tokens *tokens;
static struct token_server *token_server;
static struct refresh *refresher;
static struct server *server;
static struct config *config;
static struct keyring *ring;
static struct changes changes;
static EVP_PKEY *own, *as_key, *bob, *mallory;
static char *pem;
static char url[64], jwks_path[64], bob_did[128];

/* --- what else there is in the world: an authorization server and bob's web server */

static struct httpd web;
static char base[64];
static atomic_int documents, revocations;
static char last_revoke[8192], bob_document[2048];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int document_status;

static inline char *respond(struct httpd *d, const char *request)
{
    char *out;

    (void)d;
    pthread_mutex_lock(&lock);
    if (strncmp(request, "GET /.well-known/did.json ", 26) == 0) {
        documents++;
        out = httpd_status(document_status, "", bob_document);
    } else if (strncmp(request, "POST /revoke ", 13) == 0) {
        snprintf(last_revoke, sizeof(last_revoke), "%s", request);
        revocations++;
        out = httpd_ok("");
    } else {
        out = httpd_status(404, "", "");
    }
    pthread_mutex_unlock(&lock);
    return out;
}

/* --- the bed */

static inline struct keyring *keys(void *arg)
{
    (void)arg;
    return keyring_ref(ring);
}

static atomic_int apply_fails;

static inline int apply(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    (void)arg;
    (void)i;
    (void)c;
    if (apply_fails)
        return ERR_LIMIT;
    change_ack_done(ack, OK, 2);
    return OK;
}

static inline bool anybody(void *arg, struct ask *a, bool open)
{
    (void)arg;
    (void)a;
    (void)open;
    return true;
}

/* What a test wants done is done in the loop's thread. */
static void (*_Atomic job)(void);

static inline void on_pump(void *arg)
{
    void (*now)(void) = job;

    (void)arg;
    if (now) {
        now();
        job = NULL;
    }
    assert_int_equal(loop_timer_set(pump, 1000), OK);
}

static inline void in_loop(void (*fn)(void))
{
    job = fn;
    while (job)
        usleep(500);
}

static inline void *run(void *arg)
{
    (void)arg;
    assert_int_equal(loop_run(loop), OK);
    return NULL;
}

static inline void set_ring(void)
{
    struct jwks *sets[2] = {0};
    json_t *mine = issuer_jwks(issuer);
    char *text = json_dumps(mine, 0), *jwk = token_jwk(as_key, "k1", ""), both[1024], err[128];
    unsigned ignored;

    assert_int_equal(jwks_parse(text, strlen(text), &sets[0], &ignored, err, sizeof(err)), OK);
    snprintf(both, sizeof(both), "{\"keys\":[%s]}", jwk);
    assert_int_equal(jwks_parse(both, strlen(both), &sets[1], &ignored, err, sizeof(err)), OK);
    ring = keyring_new(config, sets);
    jwks_unref(sets[0]);
    jwks_unref(sets[1]);
    json_decref(mine);
    free(text);
    free(jwk);
}

static inline void write_keys(void)
{
    char *jwk = token_jwk(bob, "b1", "");
    FILE *f;

    strcpy(jwks_path, "/tmp/sluice-jwks-XXXXXX");
    close(mkstemp(jwks_path));
    f = fopen(jwks_path, "w");
    fprintf(f, "{\"keys\":[%s]}", jwk);
    fclose(f);
    free(jwk);
}

static inline struct config *make_config(uint16_t port)
{
    char more[2048];
    struct config *c;

    snprintf(more, sizeof(more),
             "  - {issuer: '%s', audience: sluice, jwks_url: '%s/keys'}\n"
             "development: true\n"
             "signaling: {listen: '127.0.0.1:%u'}\n"
             "outgoing: {hosts: ['127.0.0.1:%d']}\n"
             "tokens: {revoke_url: '%s/revoke', clients: [{id: edc, secret_file: x},"
             " {id: 'other client', secret_file: y}, {id: unread, secret_file: z}],"
             " refresh: {url: 'https://e/refresh', audience: '" AUDIENCE "',"
             "  participants: [{id: BPNL1, jwks_file: '%s'}]}}\n",
             base, base, (unsigned)port, web.port, base, jwks_path);
    c = own_config("", more, (const char *const *)&pem, 1);
    assert_non_null(c);
    c->tokens.clients[0].secret = "s3cret+/% of edc";
    c->tokens.clients[1].secret = "another";
    return c; /* no secret of the third could be read */
}

static inline int setup(void **state)
{
    struct store_peers peers = {.count = 1, .apply = apply};
    struct server_settings s = {.name = "signaling", .body_max = EDC_BODY_MAX, .guard = anybody};
    struct tokens_parts parts = {.keys = keys};
    struct token_server_parts server_parts = {.keys = keys};
    char err[512] = "";
    uint16_t port = free_port();

    (void)state;
    log_setup(LOG_ERROR, false);
    signal(SIGPIPE, SIG_IGN);
    apply_fails = documents = revocations = 0;
    document_status = 200;
    own = own_key("P-256");
    pem = own_pem(own);
    as_key = EVP_EC_gen("P-256");
    bob = EVP_EC_gen("P-256");
    mallory = EVP_EC_gen("P-256");
    httpd_start(&web, NULL, NULL, respond, NULL);
    snprintf(base, sizeof(base), "http://127.0.0.1:%d", web.port);
    snprintf(bob_did, sizeof(bob_did), "did:web:127.0.0.1%%3A%d", web.port);
    write_keys();
    config = make_config(port);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)port);
    issuer = issuer_new(config, err, sizeof(err));
    set_ring();
    loop = loop_new();
    store = store_open(NULL, loop, config, err, sizeof(err));
    assert_int_equal(store_start(store, &peers, NULL, NULL), OK);
    parts.loop = server_parts.loop = loop;
    parts.store = changes.store = store;
    parts.issuer = server_parts.issuer = issuer;
    server_parts.changes = &changes;
    tokens = tokens_new(&parts, config, err, sizeof(err));
    assert_non_null(tokens);
    server_parts.tokens = tokens;
    token_server = token_server_new(&server_parts, config);
    refresher = refresh_new(&parts, config, err, sizeof(err));
    if (!refresher)
        print_error("%s\n", err);
    assert_non_null(refresher);
    s.listen = config->signaling.listen;
    s.tables[0] = (struct route_table){token_server_routes, token_server_nroutes, token_server};
    s.tables[1] = (struct route_table){refresh_routes, refresh_nroutes, refresher};
    server = server_new(loop, &s, err, sizeof(err));
    assert_non_null(server);
    pump = loop_timer_new(loop, on_pump, NULL);
    assert_int_equal(loop_timer_set(pump, 1000), OK);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    loop_stop(loop);
    pthread_join(thread, NULL);
    server_free(server);
    refresh_free(refresher);
    token_server_free(token_server);
    tokens_free(tokens);
    store_close(store);
    loop_timer_free(pump);
    loop_free(loop);
    issuer_free(issuer);
    keyring_unref(ring);
    config_unref(config);
    httpd_stop(&web);
    unlink(jwks_path);
    free(pem);
    EVP_PKEY_free(own);
    EVP_PKEY_free(as_key);
    EVP_PKEY_free(bob);
    EVP_PKEY_free(mallory);
    return 0;
}

/* --- asking */

static char answer[1 << 16];
static json_t *json;

static inline size_t take(char *p, size_t size, size_t n, void *arg)
{
    size_t *at = arg;

    if (*at + size * n >= sizeof(answer))
        return 0;
    memcpy(answer + *at, p, size * n);
    *at += size * n;
    answer[*at] = '\0';
    return size * n;
}

static inline long ask(const char *path, const char *body, const char *header, const char *basic)
{
    char whole[512];
    long status = 0;
    size_t at = 0;
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, FORM);

    answer[0] = '\0';
    snprintf(whole, sizeof(whole), "%s%s", url, path);
    if (header)
        headers = curl_slist_append(headers, header);
    curl_easy_setopt(curl, CURLOPT_URL, whole);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 9000L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &at);
    if (basic)
        curl_easy_setopt(curl, CURLOPT_USERPWD, basic);
    if (body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    json_decref(json);
    json = json_loads(answer, 0, NULL);
    return status;
}

static const char *said(const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));

    return text ? text : "";
}

static inline enum jwt_verdict check(const char *token, struct identity *id)
{
    return jwt_verify(token, strlen(token), ring, time(NULL), NULL, id);
}

#define CC     "grant_type=client_credentials"
#define SECRET "s3cret+/% of edc"

static inline int last(void **state)
{
    (void)state;
    json_decref(json);
    curl_global_cleanup();
    return 0;
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
