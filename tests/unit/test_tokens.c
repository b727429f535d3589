#include "tests/unit/unit.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "auth/issuer.h"
#include "auth/jwt.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"
#include "edc/chores.h"
#include "edc/refresh_token.h"
#include "edc/tokens_priv.h"
#include "tests/unit/httpd.h"
#include "tests/unit/issuer_bed.h"

/* --- an authorization server, which keeps what it was asked */

static struct httpd as;
static char base[64];
static EVP_PKEY *as_key;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char last_token[8192], last_register[8192], last_delete[8192], last_revoke[8192];
static atomic_int tokens_asked, registered, deleted, revoked;
/* What it does: */
static atomic_int token_status, register_status, delete_status, silent, form_only;
static char claims_more[256], answer_instead[1024], uri_instead[256];
static const char *kid_used = "k1";

static void remember(char *where, const char *request)
{
    snprintf(where, sizeof(last_token), "%s", request);
}

static char *token_answer_of(void)
{
    char header[128], claims[1024], body[4096], *token;

    if (answer_instead[0])
        return httpd_ok(answer_instead);
    snprintf(header, sizeof(header), "{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid_used);
    snprintf(claims, sizeof(claims),
             "{\"iss\":\"%s\",\"aud\":\"sluice\",\"sub\":\"svc\",\"azp\":\"edc\",\"jti\":\"j%d\","
             "\"exp\":%lld%s}",
             base, tokens_asked, (long long)time(NULL) + 300, claims_more);
    token = token_sign("ES256", as_key, header, claims);
    snprintf(body, sizeof(body),
             "{\"access_token\":\"%s\",\"token_type\":\"Bearer\",\"expires_in\":300}", token);
    free(token);
    return httpd_ok(body);
}

static char *respond(struct httpd *d, const char *request)
{
    char *out = NULL, body[1024];

    (void)d;
    pthread_mutex_lock(&lock);
    if (silent) {
        out = NULL;
    } else if (strncmp(request, "POST /token ", 12) == 0) {
        remember(last_token, request);
        tokens_asked++;
        if (token_status != 200)
            out = httpd_status(token_status, "", "{\"error\":\"unauthorized_client\"}");
        else if (form_only && strstr(request, "Authorization: Basic"))
            out = httpd_status(401, "", "{\"error\":\"invalid_client\"}");
        else
            out = token_answer_of();
    } else if (strncmp(request, "POST /register ", 15) == 0) {
        remember(last_register, request);
        int n = ++registered;
        char uri[128];
        snprintf(uri, sizeof(uri), "%s/register/c%d", base, n);
        snprintf(body, sizeof(body),
                 "{\"client_id\":\"c%d\",\"client_secret\":\"s%d\",\"registration_client_uri\":"
                 "\"%s\",\"registration_access_token\":\"rat%d\"}",
                 n, n, uri_instead[0] ? uri_instead : uri, n);
        out = httpd_status(register_status, "", body);
    } else if (strncmp(request, "DELETE /register/", 17) == 0) {
        remember(last_delete, request);
        deleted++;
        out = httpd_status(delete_status, "", "");
    } else if (strncmp(request, "POST /revoke ", 13) == 0) {
        remember(last_revoke, request);
        revoked++;
        out = httpd_ok("");
    } else {
        out = httpd_status(404, "", "");
    }
    pthread_mutex_unlock(&lock);
    return out;
}

/* --- the bed: everything in the test's thread but the server */

static struct loop *loop;
static struct loop_timer *patience;
static struct store *store;
static struct issuer *issuer;
static struct tokens *tokens;
static struct config *config;
static struct keyring *ring;
static EVP_PKEY *own;
static char *pem;
static char path[64];
static unsigned unknown_kids;
/* the last answer */
static int answers, result;
static char why[256], token[8192], jti[256], subject[256], refresh[64];
static int64_t expires;

static struct keyring *keys(void *arg)
{
    (void)arg;
    return ring ? keyring_ref(ring) : NULL;
}

static void unknown_kid(void *arg, const char *name)
{
    (void)arg;
    assert_string_equal(name, base);
    unknown_kids++;
}

static int apply(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    (void)arg;
    (void)i;
    (void)c;
    change_ack_done(ack, OK, 0);
    return OK;
}

static void set_ring(const char *kid)
{
    struct jwks *sets[2] = {0};
    json_t *mine = issuer_jwks(issuer);
    char *text = json_dumps(mine, 0), *jwk = token_jwk(as_key, kid, ""), both[1024], err[128];
    unsigned ignored;

    assert_int_equal(jwks_parse(text, strlen(text), &sets[0], &ignored, err, sizeof(err)), OK);
    snprintf(both, sizeof(both), "{\"keys\":[%s]}", jwk);
    assert_int_equal(jwks_parse(both, strlen(both), &sets[1], &ignored, err, sizeof(err)), OK);
    keyring_unref(ring);
    ring = keyring_new(config, sets);
    jwks_unref(sets[0]);
    jwks_unref(sets[1]);
    json_decref(mine);
    free(text);
    free(jwk);
}

static struct config *config_of(const char *options, const char *hosts)
{
    char more[2048];

    snprintf(more, sizeof(more),
             "  - {issuer: '%s', audience: sluice, jwks_url: '%s/keys'}\n"
             "development: true\n"
             "signaling: {listen: '127.0.0.1:1'}\n"
             "outgoing: {hosts: [%s]}\n"
             "tokens: {%s}\n",
             base, base, hosts, options);
    return own_config("", more, (const char *const *)&pem, 1);
}

static void open_tokens(void)
{
    struct tokens_parts parts = {.loop = loop, .keys = keys, .unknown_kid = unknown_kid};
    struct store_peers peers = {.count = 1, .apply = apply};
    char err[512] = "";

    store = store_open(path[0] ? path : NULL, loop, config, err, sizeof(err));
    assert_non_null(store);
    assert_int_equal(store_start(store, &peers, NULL, NULL), OK);
    parts.store = store;
    parts.issuer = issuer;
    tokens = tokens_new(&parts, config, err, sizeof(err));
    assert_non_null(tokens);
}

static void begin(const char *options, const char *hosts)
{
    char err[256] = "";

    config = config_of(options, hosts);
    assert_non_null(config);
    for (size_t i = 0; i < config->tokens.nsecrets; i++)
        config->tokens.secrets[i].secret = "the-secret+of/edc";
    issuer = issuer_new(config, err, sizeof(err));
    assert_non_null(issuer);
    set_ring("k1");
    open_tokens();
}

static void on_patience(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static void run_for(unsigned ms)
{
    assert_int_equal(loop_timer_set(patience, ms * UINT64_C(1000)), OK);
    assert_int_equal(loop_run(loop), OK);
}

/* Until what is counted is there, or some seconds have passed. */
static void run_until(const atomic_int *count, int n)
{
    for (int i = 0; i < 500 && *count < n; i++)
        run_for(20);
    assert_int_equal(*count, n);
    run_for(50); /* and its answer is read */
}

static void on_token(void *arg, const struct token_answer *a)
{
    assert_ptr_equal(arg, &answers);
    answers++;
    result = a->result;
    assert_non_null(a->why);
    snprintf(why, sizeof(why), "%s", a->why);
    token[0] = jti[0] = subject[0] = refresh[0] = '\0';
    if (a->result == OK) {
        snprintf(token, sizeof(token), "%s", a->token);
        snprintf(jti, sizeof(jti), "%s", a->jti);
        snprintf(subject, sizeof(subject), "%s", a->subject);
        snprintf(refresh, sizeof(refresh), "%s", a->refresh_token ? a->refresh_token : "");
        expires = a->expires_s;
    }
    loop_stop(loop);
}

static const char *const topics[] = {"t1"};

static struct token_ask ask_for(const char *transfer)
{
    return (struct token_ask){.transfer = transfer,
                              .participant = "did:web:bob.example.com",
                              .topics = topics,
                              .ntopics = 1,
                              .group_prefix = "bob",
                              .operations = OP_READ};
}

static void get(const struct token_ask *ask)
{
    int before = answers;

    assert_int_equal(tokens_get(tokens, ask, on_token, &answers), OK);
    for (int i = 0; i < 400 && answers == before; i++)
        run_for(20);
    assert_int_equal(answers, before + 1);
}

static void close_tokens(void)
{
    tokens_free(tokens);
    store_close(store);
    tokens = NULL;
    store = NULL;
}

static int setup(void **state)
{
    (void)state;
    log_setup(LOG_ERROR, false);
    tokens_asked = registered = deleted = revoked = 0;
    token_status = 200;
    register_status = 201;
    delete_status = 204;
    silent = form_only = 0;
    claims_more[0] = answer_instead[0] = uri_instead[0] = path[0] = '\0';
    kid_used = "k1";
    unknown_kids = 0;
    as_key = EVP_EC_gen("P-256");
    own = own_key("P-256");
    pem = own_pem(own);
    loop = loop_new();
    patience = loop_timer_new(loop, on_patience, NULL);
    httpd_start(&as, NULL, NULL, respond, NULL);
    snprintf(base, sizeof(base), "http://127.0.0.1:%d", as.port);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close_tokens();
    httpd_stop(&as);
    keyring_unref(ring);
    ring = NULL;
    issuer_free(issuer);
    config_unref(config);
    loop_timer_free(patience);
    loop_free(loop);
    free(pem);
    EVP_PKEY_free(own);
    EVP_PKEY_free(as_key);
    if (path[0])
        unlink(path);
    return 0;
}

static bool asked_with(const char *what)
{
    pthread_mutex_lock(&lock);
    bool found = strstr(last_token, what) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

/* --- signed here */

static void own_tokens(void **state)
{
    struct token_ask ask = ask_for("tp-1");
    struct identity id;

    (void)state;
    begin("", "nobody.example.com");
    get(&ask);
    assert_int_equal(result, OK);
    assert_int_equal(tokens_asked, 0);
    assert_int_equal(jwt_verify(token, strlen(token), ring, time(NULL), NULL, &id), JWT_OK);
    assert_string_equal(id.transfer, "tp-1");
    assert_string_equal(id.subject, subject);
    assert_string_equal(id.jti, jti);
    assert_int_equal(id.expires, expires);
    identity_clear(&id);
    assert_string_equal(refresh, ""); /* not configured */
    ask.expires = time(NULL) - 5;
    get(&ask);
    assert_int_equal(result, ERR_DENIED);
    ask.transfer = "";
    assert_int_equal(tokens_get(tokens, &ask, on_token, &answers), ERR_MALFORMED);
    tokens_end(tokens, "tp-1");
    tokens_end(tokens, "never heard of");
}

static void with_refresh_tokens(void **state)
{
    struct token_ask ask = ask_for("tp-1");
    struct refresh_note note;
    char first[64];

    (void)state;
    begin("refresh: {url: 'https://e/refresh', life_s: 60}", "bob.example.com");
    get(&ask);
    assert_int_equal(strlen(refresh), REFRESH_TOKEN_BYTES - 1);
    assert_true(refresh_token_find(store, "tp-1", &note));
    assert_string_equal(note.consumer, "did:web:bob.example.com");
    assert_string_equal(note.jti, jti);
    assert_true(refresh_token_is(&note, refresh));
    assert_null(strstr(store_find_note(store, "refresh", "tp-1"), refresh));
    strcpy(first, refresh);
    get(&ask); /* started again: a token of its own, the former refresh token is void */
    assert_true(refresh_token_find(store, "tp-1", &note));
    assert_false(refresh_token_is(&note, first));
    assert_true(refresh_token_is(&note, refresh));
    assert_false(refresh_token_is(&note, ""));
    tokens_end(tokens, "tp-1");
    assert_false(refresh_token_find(store, "tp-1", &note));
    /* Whoever could not prove who it is gets none. */
    ask.consumer = "did:web:elsewhere.example.com";
    get(&ask);
    assert_int_equal(result, OK);
    assert_string_equal(refresh, "");
    ask.consumer = "BPNL00000003CRHK";
    get(&ask);
    assert_string_equal(refresh, "");
    ask.consumer = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    get(&ask);
    assert_string_not_equal(refresh, "");
    /* Those past their end are swept away. */
    refresh_token_sweep(store, time(NULL) + 50);
    assert_true(refresh_token_find(store, "tp-1", &note));
    refresh_token_sweep(store, time(NULL) + 61);
    assert_false(refresh_token_find(store, "tp-1", &note));
}

/* --- client credentials */

#define SOURCE "source: client_credentials, revoke_url: '%s/revoke'"

static void begin_credentials(void)
{
    char options[512], hosts[64];

    snprintf(options, sizeof(options),
             SOURCE ", scope: 'a b', secrets: [{name: edc-key, file: x, token_url: '%s/token'}]",
             base, base);
    snprintf(hosts, sizeof(hosts), "'127.0.0.1:%d'", as.port);
    begin(options, hosts);
}

static void client_credentials(void **state)
{
    struct token_ask ask = ask_for("tp-1");
    char url[128];

    (void)state;
    begin_credentials();
    snprintf(url, sizeof(url), "%s/token", base);
    ask.token_url = url;
    ask.client_id = "edc";
    ask.client_secret_key = "edc-key";
    get(&ask);
    assert_int_equal(result, OK);
    assert_string_equal(subject, "svc");
    assert_string_equal(jti, "j1");
    assert_true(asked_with("grant_type=client_credentials&scope=a%20b"));
    assert_true(asked_with("Authorization: Basic ")); /* edc:the-secret%2Bof%2Fedc */
    assert_true(asked_with("ZWRjOnRoZS1zZWNyZXQlMkJvZiUyRmVkYw=="));
    /* The end is told to the server, as that client. */
    tokens_end(tokens, "tp-1");
    run_until(&revoked, 1);
    pthread_mutex_lock(&lock);
    assert_non_null(strstr(last_revoke, token));
    assert_non_null(strstr(last_revoke, "ZWRjOnRoZS1zZWNyZXQlMkJvZiUyRmVkYw=="));
    pthread_mutex_unlock(&lock);
    tokens_end(tokens, "tp-1");
    run_for(100);
    assert_int_equal(revoked, 1);
    /* A server that takes it in the form only. */
    form_only = 1;
    get(&ask);
    assert_int_equal(result, OK);
    assert_true(asked_with("client_id=edc&client_secret=the-secret%2Bof%2Fedc"));
    assert_false(asked_with("Basic"));
    /* In clear, to a host that is allowed. */
    form_only = 0;
    ask.client_secret_key = NULL;
    ask.client_secret = "clear";
    get(&ask);
    assert_int_equal(result, OK);
    assert_true(asked_with("ZWRjOmNsZWFy"));
}

/* Nobody is asked for what a data address may not ask. */
static void data_addresses_that_lie(void **state)
{
    static const char *const urls[] = {
        "http://127.0.0.1:1/token",
        "https://evil.example.com/token",
        "file:///etc/passwd",
        "http://127.0.0.1@evil/token",
        "http://169.254.169.254/latest/m",
        "http://localhost/token",
        "gopher://127.0.0.1/",
        "http://127.0.0.1.evil.example/token",
    };
    struct token_ask ask = ask_for("tp-1");

    (void)state;
    begin_credentials();
    ask.client_id = "edc";
    for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
        ask.token_url = urls[i];
        ask.client_secret_key = NULL;
        ask.client_secret = "clear";
        get(&ask);
        assert_int_equal(result, ERR_CONFIG);
        ask.client_secret_key = "edc-key";
        ask.client_secret = NULL;
        get(&ask);
        assert_int_equal(result, ERR_CONFIG);
    }
    ask.token_url = NULL;
    ask.client_secret_key = "another";
    get(&ask);
    assert_int_equal(result, ERR_CONFIG);
    assert_non_null(strstr(why, "tokens.secrets"));
    ask.client_secret_key = NULL;
    get(&ask);
    assert_int_equal(result, ERR_CONFIG);
    ask.client_id = "";
    get(&ask);
    assert_int_equal(result, ERR_CONFIG);
    assert_int_equal(tokens_asked, 0);
    /* A revokeUrl elsewhere is not used: neither token nor secret go there. */
    ask.client_id = "edc";
    ask.client_secret_key = "edc-key";
    ask.revoke_url = "http://evil.example.com/revoke";
    get(&ask);
    assert_int_equal(result, OK);
    tokens_end(tokens, "tp-1");
    run_until(&revoked, 1);
}

static void answers_that_are_no_tokens(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "nonsense",
        "{\"access_token\":\"x\",\"token_type\":\"Bearer\"}",
        "{\"access_token\":\"a.b.c\",\"token_type\":\"Bearer\"}",
        "{\"access_token\":\"a b\",\"token_type\":\"Bearer\"}",
        "{\"access_token\":5,\"token_type\":\"Bearer\"}",
    };
    struct token_ask ask = ask_for("tp-1");

    (void)state;
    begin_credentials();
    ask.client_id = "edc";
    ask.client_secret_key = "edc-key";
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        strcpy(answer_instead, bad[i]);
        get(&ask);
        assert_int_equal(result, ERR_MALFORMED);
    }
    answer_instead[0] = '\0';
    strcpy(claims_more, ",\"nbf\":\"x\"");
    get(&ask);
    assert_int_equal(result, ERR_MALFORMED);
    claims_more[0] = '\0';
    /* Another's signature, our own issuer's name. */
    struct issue what = {.subject = "s"};
    char *mine, mine_jti[ISSUER_JTI_BYTES];
    int64_t end;
    assert_int_equal(issuer_sign(issuer, &what, time(NULL), &mine, &end, mine_jti), OK);
    snprintf(answer_instead, sizeof(answer_instead),
             "{\"access_token\":\"%s\",\"token_type\":\"Bearer\"}", mine);
    issuer_token_free(mine);
    get(&ask);
    assert_int_equal(result, ERR_MALFORMED);
    assert_non_null(strstr(why, "another issuer"));
    answer_instead[0] = '\0';
    token_status = 403;
    get(&ask);
    assert_int_equal(result, ERR_DENIED);
    token_status = 500;
    get(&ask);
    assert_int_equal(result, ERR_IO);
    token_status = 302;
    get(&ask);
    assert_int_equal(result, ERR_DENIED);
}

static void new_key_of_the_server(void **state)
{
    struct token_ask ask = ask_for("tp-1");
    int before;

    (void)state;
    begin_credentials();
    ask.client_id = "edc";
    ask.client_secret_key = "edc-key";
    kid_used = "k2";
    before = answers;
    assert_int_equal(tokens_get(tokens, &ask, on_token, &answers), OK);
    for (int i = 0; i < 100 && unknown_kids < 2; i++)
        run_for(20);
    assert_true(unknown_kids >= 2);
    assert_int_equal(answers, before);
    set_ring("k2"); /* the fetch brought it */
    for (int i = 0; i < 100 && answers == before; i++)
        run_for(20);
    assert_int_equal(result, OK);
    /* One that never comes. */
    kid_used = "k3";
    get(&ask);
    assert_int_equal(result, ERR_TIMEOUT);
}

static void server_that_is_silent(void **state)
{
    struct token_ask ask = ask_for("tp-1");
    struct timespec a, b;
    int before;

    (void)state;
    begin_credentials();
    ask.client_id = "edc";
    ask.client_secret_key = "edc-key";
    silent = 1;
    clock_gettime(CLOCK_MONOTONIC, &a);
    get(&ask);
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_int_equal(result, ERR_TIMEOUT);
    assert_true((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 <
                TOKENS_DEADLINE_MS + 500);
    /* The transfer ends meanwhile. */
    before = answers;
    assert_int_equal(tokens_get(tokens, &ask, on_token, &answers), OK);
    tokens_end(tokens, "another");
    run_for(50);
    assert_int_equal(answers, before);
    tokens_end(tokens, "tp-1");
    assert_int_equal(answers, before); /* never inside the call */
    run_for(50);
    assert_int_equal(answers, before + 1);
    assert_int_equal(result, ERR_DENIED);
    /* Bounded; and whoever waits at the end is not called. */
    for (size_t i = 0; i < TOKENS_ASKS_MAX; i++)
        assert_int_equal(tokens_get(tokens, &ask, on_token, &answers), OK);
    assert_int_equal(tokens_get(tokens, &ask, on_token, &answers), ERR_BUSY);
    before = answers;
    tokens_free(tokens);
    tokens = NULL;
    run_for(20);
    assert_int_equal(answers, before);
}

/* --- a client a transfer */

static void begin_registration(void)
{
    char options[512];

    snprintf(options, sizeof(options),
             "source: registration, token_url: '%s/token', registration_url: '%s/register'", base,
             base);
    begin(options, "nobody.example.com");
    config->tokens.registration_token = "initial";
}

static size_t notes;

static void count_note(void *arg, const char *id, const char *text)
{
    (void)arg;
    (void)id;
    assert_null(strstr(text, "\"s1\"")); /* a secret */
    notes++;
}

static size_t clients_noted(void)
{
    notes = 0;
    store_each_note(store, "client", count_note, NULL);
    return notes;
}

static void registration(void **state)
{
    struct token_ask ask = ask_for("tp-1");

    (void)state;
    begin_registration();
    get(&ask);
    assert_int_equal(result, OK);
    assert_int_equal(registered, 1);
    pthread_mutex_lock(&lock);
    assert_non_null(strstr(last_register, "Authorization: Bearer initial"));
    assert_non_null(strstr(last_register, "\"grant_types\":[\"client_credentials\"]"));
    assert_non_null(strstr(last_register, "sluice: transfer tp-1"));
    pthread_mutex_unlock(&lock);
    assert_true(asked_with("YzE6czE=")); /* c1:s1 */
    assert_int_equal(clients_noted(), 1);
    /* Started again: another client; the first one goes. */
    get(&ask);
    assert_int_equal(result, OK);
    run_until(&deleted, 1);
    pthread_mutex_lock(&lock);
    assert_non_null(strstr(last_delete, "DELETE /register/c1 "));
    assert_non_null(strstr(last_delete, "Authorization: Bearer rat1"));
    pthread_mutex_unlock(&lock);
    assert_int_equal(clients_noted(), 1);
    tokens_end(tokens, "tp-1");
    run_until(&deleted, 2);
    assert_int_equal(clients_noted(), 0);
    assert_int_equal(chores_count(tokens->chores), 0);
    /* No token for it: the client goes as well. */
    token_status = 403;
    get(&ask);
    assert_int_equal(result, ERR_DENIED);
    run_until(&deleted, 3);
    assert_int_equal(clients_noted(), 0);
    register_status = 403;
    get(&ask);
    assert_int_equal(result, ERR_DENIED);
    register_status = 201;
    token_status = 200;
    /* A URI that leads elsewhere is not called. */
    strcpy(uri_instead, "http://127.0.0.1:1/register/x");
    get(&ask);
    assert_int_equal(result, ERR_MALFORMED);
    assert_int_equal(clients_noted(), 0);
}

/* A deletion that fails is tried again; a restart forgets no client. */
static void restarts(void **state)
{
    struct token_ask ask = ask_for("tp-1");

    (void)state;
    strcpy(path, "/tmp/sluice-tokens-XXXXXX");
    close(mkstemp(path));
    begin_registration();
    get(&ask);
    ask.transfer = "tp-2";
    get(&ask);
    assert_int_equal(clients_noted(), 2);
    delete_status = 503;
    tokens_end(tokens, "tp-1");
    run_until(&deleted, 1);
    assert_int_equal(clients_noted(), 2);
    close_tokens();
    delete_status = 204;
    open_tokens();
    assert_int_equal(clients_noted(), 2);
    assert_int_equal(tokens->nclients, 2);
    /* The one that had ended, now; the other has no grant any more, but is too young to tell. */
    client_sweep(tokens);
    run_until(&deleted, 2);
    assert_int_equal(clients_noted(), 1);
    client_sweep(tokens);
    run_for(100);
    assert_int_equal(deleted, 2);
    tokens_end(tokens, "tp-2");
    run_until(&deleted, 3);
    assert_int_equal(clients_noted(), 0);
}

/* The deadline passes while the server registers: its client is not left behind. */
static void late_registration(void **state)
{
    struct token_ask ask = ask_for("tp-1");

    (void)state;
    begin_registration();
    pthread_mutex_lock(&lock); /* the server holds its answer back */
    assert_int_equal(tokens_get(tokens, &ask, on_token, &answers), OK);
    for (int i = 0, before = answers; i < 200 && answers == before; i++)
        run_for(20);
    assert_int_equal(result, ERR_TIMEOUT);
    pthread_mutex_unlock(&lock);
    run_until(&registered, 1);
    run_until(&deleted, 1);
    assert_int_equal(clients_noted(), 0);
    assert_int_equal(tokens->nfetches, 0);
    assert_int_equal(tokens_asked, 0);
}

/* --- no memory: whoever asks is told so, or gets a token; nothing stays behind */

static void walk(const struct token_ask *ask)
{
    unsigned n = 1, failed;
    int rc;

    if (!sl_alloc_fail_after(0))
        skip();
    do {
        int before = answers;

        sl_alloc_fail_after(n++);
        rc = tokens_get(tokens, ask, on_token, &answers);
        for (int i = 0; i < 50 && rc == OK && answers == before; i++)
            run_for(2);
        failed = sl_alloc_failed();
        sl_alloc_fail_after(0);
        assert_true(rc == OK || rc == ERR_NOMEM || rc == ERR_BUSY);
        for (int i = 0; i < 300 && rc == OK && answers == before; i++)
            run_for(20);
        assert_int_equal(answers, before + (rc == OK));
        tokens_end(tokens, ask->transfer);
    } while (failed && n < 300);
    assert_int_equal(failed, 0);
    assert_int_equal(rc, OK);
    assert_int_equal(result, OK);
}

static void no_memory_signing(void **state)
{
    struct token_ask ask = ask_for("tp-1");

    (void)state;
    begin("refresh: {url: 'https://e/refresh'}", "bob.example.com");
    walk(&ask);
}

static void no_memory_fetching(void **state)
{
    struct token_ask ask = ask_for("tp-1");

    (void)state;
    begin_credentials();
    ask.client_id = "edc";
    ask.client_secret_key = "edc-key";
    walk(&ask);
    assert_int_equal(tokens->nfetches, 0);
}

static void no_memory_registering(void **state)
{
    struct token_ask ask = ask_for("tp-1");

    (void)state;
    begin_registration();
    walk(&ask);
    assert_int_equal(tokens->nfetches, 0);
    client_sweep(tokens); /* those whose deletion could not even be planned */
    for (int i = 0; i < 200 && tokens->nclients > 0; i++)
        run_for(20);
    assert_int_equal(tokens->nclients, 0);
    assert_int_equal(clients_noted(), 0);
}

/* --- chores */

static int chore_status = -1;

static void on_chore(void *arg, int status)
{
    (void)arg;
    chore_status = status;
}

static void chores(void **state)
{
    struct http_request r = {.method = "DELETE", .header = "Authorization: Bearer x"};
    struct chores *c = chores_new(loop, true, NULL, 2);
    char url[128];

    (void)state;
    begin("", "nobody.example.com");
    snprintf(url, sizeof(url), "%s/register/x", base);
    r.url = url;
    delete_status = 503;
    assert_int_equal(chores_add(c, &r, on_chore, NULL), OK);
    assert_int_equal(chores_add(c, &r, NULL, NULL), OK);
    assert_int_equal(chores_add(c, &r, NULL, NULL), ERR_LIMIT);
    run_until(&deleted, 2);
    assert_int_equal(chore_status, -1);
    delete_status = 404; /* which another try would not change */
    run_until(&deleted, 4);
    assert_int_equal(chore_status, 404);
    assert_int_equal(chores_count(c), 0);
    r.url = "nonsense";
    assert_int_equal(chores_add(c, &r, NULL, NULL), ERR_MALFORMED);
    /* Other authorities: what is under way begins anew. */
    r.url = url;
    silent = 1;
    assert_int_equal(chores_add(c, &r, on_chore, NULL), OK);
    run_for(100);
    silent = 0;
    delete_status = 204;
    assert_int_equal(chores_trust(c, true, NULL), OK);
    run_until(&deleted, 5);
    assert_int_equal(chore_status, 204);
    assert_int_equal(chores_add(c, &r, on_chore, NULL), OK);
    chores_free(c);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(own_tokens),
        T(with_refresh_tokens),
        T(client_credentials),
        T(data_addresses_that_lie),
        T(answers_that_are_no_tokens),
        T(new_key_of_the_server),
        T(server_that_is_silent),
        T(registration),
        T(restarts),
        T(late_registration),
        T(no_memory_signing),
        T(no_memory_fetching),
        T(no_memory_registering),
        T(chores),
    };
    return cmocka_run_group_tests_name("tokens", tests, NULL, NULL);
}
