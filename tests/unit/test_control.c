/* The control listener over real HTTP on loopback, with the real store and a gate that is faked:
 * its loop runs in a thread of its own, the test asks from outside. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "audit/audit.h"
#include "auth/jwks.h"
#include "base/log.h"
#include "base/loop.h"
#include "control/body.h"
#include "control/client.h"
#include "control/control.h"
#include "control/metrics.h"
#include "tests/unit/certs.h"
#include "tests/unit/token.h"

#define ISSUER "https://idp.example.com"
#define SECRET "a-bearer-token-of-the-operators"

static struct loop *loop;
static struct store *store;
static struct control *control;
static struct config *config;
static struct keyring *ring;
static struct audit *trail;
static struct audit_ring *trail_ring;
static EVP_PKEY *key;
static pthread_t thread;
static char url[64], trail_path[64];
static uint16_t port;
static struct certs certs;

static const char *_Atomic why_not;
static _Atomic(struct keyring *) keys_given;
static atomic_int apply_fails, unknown_kids, hold_sessions;
static void (*held_done)(void *, json_t *);
static void *held_arg;
static atomic_bool holding;

/* --- the faked gate */

static const char *not_ready(void *arg)
{
    (void)arg;
    return why_not;
}

static int sessions(void *arg, void (*done)(void *done_arg, json_t *array), void *done_arg)
{
    (void)arg;
    if (hold_sessions == 2)
        return ERR_BUSY;
    if (hold_sessions == 1) {
        held_done = done;
        held_arg = done_arg;
        holding = true;
        return OK;
    }
    done(done_arg,
         json_pack("[{s:i, s:s, s:[s]}]", "session", 7, "subject", "bob\x1b[2J", "grants", "t1"));
    return OK;
}

static void metrics(void *arg,
                    void (*line)(void *line_arg, const char *name, const char *labels,
                                 const char *type, const char *help, double value),
                    void *line_arg)
{
    (void)arg;
    for (int worker = 0; worker < 2; worker++) {
        char labels[64] = "";
        metrics_label(labels, sizeof(labels), "worker", worker ? "1" : "0");
        line(line_arg, "sluice_sessions", labels, "gauge", "Open sessions.", 5);
        line(line_arg, "sluice_bytes_total", labels, "counter", "Bytes.", 12345678901234.0);
    }
}

static struct keyring *keys(void *arg)
{
    (void)arg;
    return keys_given ? keyring_ref(keys_given) : NULL;
}

static void unknown_kid(void *arg, const char *issuer)
{
    (void)arg;
    if (strcmp(issuer, ISSUER) == 0)
        unknown_kids++;
}

/* Two workers; each says that it closed three sessions. */
static int apply(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    (void)arg;
    (void)i;
    (void)c;
    if (apply_fails)
        return ERR_LIMIT;
    change_ack_done(ack, OK, 3);
    return OK;
}

static void *run(void *arg)
{
    (void)arg;
    assert_int_equal(loop_run(loop), OK);
    return NULL;
}

static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static struct config *config_of(const char *more)
{
    char text[1024];
    snprintf(text, sizeof(text),
             "issuers: [{issuer: '" ISSUER "', audience: sluice}]\n"
             "grants: [{id: fixed, principal: {subject: carol}, topics: [t]}]\n"
             "control: {listen: '127.0.0.1:%u'%s}\n",
             (unsigned)port, more);
    return token_config(text);
}

static struct keyring *ring_of(const struct config *c)
{
    char text[1024], err[128], *jwk = token_jwk(key, "k1", "");
    struct jwks *set;
    unsigned ignored;
    int n = snprintf(text, sizeof(text), "{\"keys\":[%s]}", jwk);
    assert_int_equal(jwks_parse(text, (size_t)n, &set, &ignored, err, sizeof(err)), OK);
    struct keyring *k = keyring_new(c, &set);
    jwks_unref(set);
    free(jwk);
    return k;
}

/* more: further options of control; tokens: it asks for SECRET. */
static void open_control(const char *more, bool tokens)
{
    static const char *known[] = {"another-token-of-somebody", SECRET};
    struct control_gate gate = {.not_ready = not_ready,
                                .sessions = sessions,
                                .metrics = metrics,
                                .keys = keys,
                                .unknown_kid = unknown_kid};
    struct store_peers peers = {.count = 2, .apply = apply};
    char err[512] = "";
    port = free_port();
    config = config_of(more);
    assert_non_null(config);
    if (tokens)
        config->control.tokens = (struct strings){known, 2};
    snprintf(url, sizeof(url), "http%s://127.0.0.1:%u", *more ? "s" : "", (unsigned)port);
    why_not = NULL;
    apply_fails = unknown_kids = hold_sessions = 0;
    ring = ring_of(config);
    keys_given = ring;
    loop = loop_new();
    store = store_open(NULL, loop, config, err, sizeof(err));
    assert_non_null(store);
    assert_int_equal(store_start(store, &peers, NULL, NULL), OK);
    assert_int_equal(store_config_grants(store, config, NULL, NULL), OK);
    strcpy(trail_path, "/tmp/sluice-trail-XXXXXX");
    close(mkstemp(trail_path));
    trail = audit_open(trail_path, false, err, sizeof(err));
    trail_ring = audit_ring_new(trail);
    gate.store = store;
    gate.audit = trail_ring;
    control = control_new(loop, config, &gate, err, sizeof(err));
    if (!control)
        print_error("%s\n", err);
    assert_non_null(control);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
}

static void close_control(void)
{
    loop_stop(loop);
    pthread_join(thread, NULL);
    control_free(control);
    if (holding) /* the workers answer late: nobody is there any more */
        held_done(held_arg, json_array());
    holding = false;
    store_close(store);
    audit_ring_free(trail_ring);
    audit_close(trail);
    unlink(trail_path);
    loop_free(loop);
    keyring_unref(ring);
    config_unref(config);
}

static int plain(void **state)
{
    (void)state;
    open_control("", false);
    return 0;
}

static int with_tokens(void **state)
{
    (void)state;
    open_control("", true);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    close_control();
    return 0;
}

/* --- asking */

static char answer[1 << 20];
static char allowed[128];
static json_t *json;

static size_t take(char *p, size_t size, size_t n, void *arg)
{
    size_t *at = arg;
    if (*at + size * n >= sizeof(answer))
        return 0;
    memcpy(answer + *at, p, size * n);
    *at += size * n;
    answer[*at] = '\0';
    return size * n;
}

static size_t take_header(char *p, size_t size, size_t n, void *arg)
{
    (void)arg;
    if (size * n > 7 && strncasecmp(p, "Allow: ", 7) == 0)
        snprintf(allowed, sizeof(allowed), "%.*s", (int)(size * n - 7), p + 7);
    return size * n;
}

/* The status, 0 when there was no answer. headers: up to two, NULL for none. */
static long ask(const char *method, const char *path, const char *body, const char *one,
                const char *two)
{
    char whole[20000];
    long status = 0;
    size_t at = 0;
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = NULL;
    answer[0] = allowed[0] = '\0';
    json_decref(json);
    snprintf(whole, sizeof(whole), "%s%s", url, path);
    if (one)
        headers = curl_slist_append(headers, one);
    if (two)
        headers = curl_slist_append(headers, two);
    curl_easy_setopt(curl, CURLOPT_URL, whole);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_CAINFO, certs.ca);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 5000L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &at);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    if (body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    json = json_loads(answer, 0, NULL);
    return status;
}

#define AS_JSON "Content-Type: application/json"
#define AS_FORM "Content-Type: application/x-www-form-urlencoded"

static long get(const char *path)
{
    return ask("GET", path, NULL, NULL, NULL);
}

static long post(const char *path, const char *body)
{
    return ask("POST", path, body, AS_JSON, NULL);
}

static const char *said(const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text ? text : "";
}

static json_int_t number(const char *name)
{
    return json_integer_value(json_object_get(json, name));
}

/* --- tests */

static void test_probes(void **state)
{
    (void)state;
    assert_int_equal(get("/healthz"), 200);
    assert_string_equal(said("status"), "alive");
    assert_int_equal(get("/readyz"), 200);
    why_not = "no broker answers";
    assert_int_equal(get("/readyz"), 503);
    assert_string_equal(said("error"), "not_ready");
    assert_string_equal(said("message"), "no broker answers");
    assert_int_equal(ask("HEAD", "/healthz", NULL, NULL, NULL), 200);
    assert_int_equal(strlen(answer), 0);
}

static void test_wrong_requests(void **state)
{
    char *big = malloc(CONTROL_BODY_MAX + 2);
    (void)state;
    assert_int_equal(get("/"), 404);
    assert_string_equal(said("error"), "not_found");
    assert_int_equal(get("/v1/grants/"), 404);
    assert_int_equal(get("/v1/grants/a/b"), 404);
    assert_int_equal(get("/v1/grants/%00"), 404);
    assert_int_equal(get("/v1/grants/a%00b"), 404);
    assert_int_equal(get("/healthz/"), 404);
    assert_int_equal(get("/healthz?x=1"), 400);
    assert_int_equal(ask("POST", "/v1/grants", "{}", AS_JSON, NULL), 405);
    assert_int_equal(ask("POST", "/v1/grants/x", "{}", AS_JSON, NULL), 405);
    assert_non_null(strstr(allowed, "GET, PUT, DELETE"));
    assert_true(ask("PATCH", "/v1/grants/x", "{}", AS_JSON, NULL) >= 400);
    assert_int_equal(ask("POST", "/v1/revocations", "{}", "Content-Type: text/plain", NULL), 415);
    assert_int_equal(ask("POST", "/v1/revocations", "{}", "Content-Type: application/jsonx", NULL),
                     415);
    assert_int_equal(ask("POST", "/v1/revocations", "{}", "Content-Type:", NULL), 415);
    assert_int_equal(ask("POST", "/v1/revocations", "{\"transfer\":\"x\"}",
                         "Content-Type: Application/JSON; charset=utf-8", NULL),
                     200);
    memset(big, ' ', CONTROL_BODY_MAX + 1);
    big[CONTROL_BODY_MAX + 1] = '\0';
    assert_int_equal(ask("POST", "/v1/revocations", big, AS_JSON, "Expect:"), 413);
    free(big);
    assert_int_equal(get("/healthz"), 200);
}

static void test_grants(void **state)
{
    (void)state;
    assert_int_equal(get("/v1/grants"), 200);
    assert_int_equal(number("total"), 1);
    assert_int_equal(ask("PUT", "/v1/grants/t%2F1",
                         "{\"principal\": {\"subject\": \"bob\"}, \"topics\": [\"parts\"],"
                         "\"group_prefix\": \"bob\", \"participant\": \"did:web:bob\"}",
                         AS_JSON, NULL),
                     200);
    assert_true(number("closed") >= 0);
    assert_int_equal(get("/v1/grants/t%2F1"), 200);
    assert_string_equal(said("id"), "t/1");
    assert_string_equal(said("source"), "api");
    assert_string_equal(said("group_prefix"), "bob");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(json, "principal"), "issuer")), ISSUER);
    assert_int_equal(get("/v1/grants"), 200);
    assert_int_equal(number("total"), 2);
    static const struct {
        const char *body, *why;
    } bad[] = {
        {"", "the body is no JSON"},
        {"[]", "the body takes a JSON object"},
        {"{\"topics\": [\"t\"]}", "principal: is missing"},
        {"{\"principal\": {\"subject\": \"s\"}, \"topics\": [\"t\"], \"topic\": 1}",
         "is no option"},
        {"{\"principal\": {\"subject\": \"s\"}, \"topics\": [\"__consumer_offsets\"]}",
         "own topics"},
        {"{\"principal\": {\"subject\": \"s\", \"subject\": \"r\"}}", "duplicate"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_int_equal(ask("PUT", "/v1/grants/x", bad[i].body, AS_JSON, NULL), 400);
        assert_non_null(strstr(said("message"), bad[i].why));
    }
    assert_int_equal(ask("DELETE", "/v1/grants/none", NULL, NULL, NULL), 404);
    assert_int_equal(ask("DELETE", "/v1/grants/t%2F1", NULL, NULL, NULL), 200);
    assert_int_equal(number("closed"), 6);
    assert_int_equal(get("/v1/grants/t%2F1"), 404);
    assert_int_equal(get("/v1/revocations"), 200);
    assert_int_equal(number("total"), 1);
    apply_fails = 1;
    assert_int_equal(ask("PUT", "/v1/grants/y",
                         "{\"principal\": {\"subject\": \"bob\"}, \"topics\": [\"t\"]}", AS_JSON,
                         NULL),
                     503);
}

static void test_revocations(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{\"transfer\": \"t\", \"reason\": \"over\"}",
        "{\"agreement\": \"a\"}",
        "{\"asset\": \"a\"}",
        "{\"participant\": \"p\"}",
        "{\"issuer\": \"" ISSUER "\", \"subject\": \"s\"}",
        "{\"issuer\": \"" ISSUER "\", \"client\": \"c\"}",
        "{\"issuer\": \"" ISSUER "\", \"jti\": \"j\"}",
        "{\"issuer\": \"" ISSUER "\", \"not_before\": 1700000000}",
    };
    static const char *const bad[] = {
        "{}",
        "{\"reason\": \"x\"}",
        "{\"issuer\": \"i\"}",
        "{\"transfer\": \"\"}",
        "{\"transfer\": 1}",
        "{\"transfer\": null}",
        "{\"transfer\": \"t\", \"asset\": \"a\"}",
        "{\"transfer\": \"t\", \"issuer\": \"i\"}",
        "{\"subject\": \"s\"}",
        "{\"jti\": \"s\"}",
        "{\"issuer\": \"\", \"jti\": \"s\"}",
        "{\"issuer\": \"i\", \"subject\": \"s\", \"client\": \"c\"}",
        "{\"issuer\": \"i\", \"not_before\": \"1700000000\"}",
        "{\"issuer\": \"i\", \"not_before\": 0}",
        "{\"issuer\": \"i\", \"not_before\": 99999999999}",
        "{\"transfer\": \"t\", \"why\": \"x\"}",
        "{\"transfer\": \"t\", \"transfer\": \"u\"}",
        "{\"transfer\": \"t\"} x",
        "\"transfer\"",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_int_equal(post("/v1/revocations", good[i]), 200);
        assert_int_equal(number("closed"), 6);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_int_equal(post("/v1/revocations", bad[i]), 400);
        assert_string_equal(said("error"), "invalid_revocation");
    }
    assert_int_equal(get("/v1/revocations"), 200);
    assert_int_equal(number("total"), 8);
    apply_fails = 1;
    assert_int_equal(post("/v1/revocations", "{\"transfer\": \"u\"}"), 503);
}

static char *token_of(const char *kid, const char *more)
{
    char header[128], claims[512];
    snprintf(header, sizeof(header), "{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
    snprintf(claims, sizeof(claims),
             "{\"iss\":\"" ISSUER
             "\",\"aud\":\"sluice\",\"sub\":\"bob\",\"exp\":%lld,\"iat\":%lld%s}",
             (long long)time(NULL) + 300, (long long)time(NULL) - 5, more);
    return token_sign("ES256", key, header, claims);
}

static long revoke_by_form(char *token, const char *more)
{
    char body[4096];
    snprintf(body, sizeof(body), "token=%s%s", token, more);
    free(token);
    return ask("POST", "/oauth2/revoke", body, AS_FORM, NULL);
}

static void test_oauth(void **state)
{
    (void)state;
    assert_int_equal(revoke_by_form(token_of("k1", ",\"jti\":\"j1\""),
                                    "&token_type_hint=access_token&client_id=edc&client_secret=x"),
                     200);
    assert_int_equal(number("closed"), 6);
    assert_int_equal(revoke_by_form(token_of("k1", ""), ""), 200);
    assert_int_equal(get("/v1/revocations"), 200);
    assert_int_equal(number("total"), 2);
    assert_non_null(strstr(answer, "\"kind\":\"jti\""));
    assert_non_null(strstr(answer, "\"value\":\"j1\""));
    /* None that could ever get in: nothing to do, and RFC 7009 wants 200. */
    assert_int_equal(revoke_by_form(strdup("nonsense"), ""), 200);
    EVP_PKEY *mine = key;
    key = EVP_EC_gen("P-256");
    assert_int_equal(revoke_by_form(token_of("k1", ",\"jti\":\"j2\""), ""), 200);
    assert_int_equal(number("closed"), 0);
    /* A key that isn't known yet: nobody can promise anything. */
    assert_int_equal(revoke_by_form(token_of("k2", ",\"jti\":\"j2\""), ""), 503);
    assert_int_equal(unknown_kids, 1);
    EVP_PKEY_free(key);
    key = mine;
    keys_given = NULL;
    assert_int_equal(revoke_by_form(token_of("k1", ",\"jti\":\"j3\""), ""), 503);
    keys_given = ring;
    apply_fails = 1;
    assert_int_equal(revoke_by_form(token_of("k1", ",\"jti\":\"j3\""), ""), 503);
    apply_fails = 0;
    assert_int_equal(revoke_by_form(strdup(""), ""), 400);
    assert_string_equal(said("error"), "invalid_request");
    assert_int_equal(revoke_by_form(strdup("a"), "&token=b"), 400);
    assert_int_equal(revoke_by_form(strdup("%zz"), ""), 400);
    assert_int_equal(ask("POST", "/oauth2/revoke", "{}", AS_JSON, NULL), 415);
    assert_int_equal(ask("POST", "/oauth2/revoke", "", AS_FORM, NULL), 400);
    assert_int_equal(ask("GET", "/oauth2/revoke", NULL, NULL, NULL), 405);
}

static void test_bearer(void **state)
{
    (void)state;
#define BEARER "Authorization: Bearer "
    assert_int_equal(get("/v1/sessions"), 401);
    assert_string_equal(said("error"), "unauthorized");
    assert_int_equal(get("/nowhere"), 401);
    assert_int_equal(get("/metrics"), 401);
    assert_int_equal(ask("GET", "/v1/sessions", NULL, BEARER SECRET, NULL), 200);
    assert_int_equal(ask("GET", "/v1/sessions", NULL, BEARER "another-token-of-somebody", NULL),
                     200);
    assert_int_equal(ask("GET", "/v1/sessions", NULL, "Authorization: bearer " SECRET, NULL), 200);
    static const char *const bad[] = {
        BEARER,
        BEARER SECRET "x",
        BEARER "a-bearer-token-of-the-operator",
        BEARER " " SECRET,
        "Authorization: " SECRET,
        "Authorization: Basic eDphLWJlYXJlci10b2tlbg==",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(ask("GET", "/v1/sessions", NULL, bad[i], NULL), 401);
    /* Probes need none, and tell less. */
    assert_int_equal(get("/healthz"), 200);
    why_not = "no keys from https://idp.example.com";
    assert_int_equal(get("/readyz"), 503);
    assert_string_equal(said("message"), "not ready");
    assert_int_equal(ask("GET", "/readyz", NULL, BEARER SECRET, NULL), 503);
    assert_string_equal(said("message"), why_not);
    /* RFC 7009's clients: Basic (x:SECRET) or client_secret, there and nowhere else. */
#define BASIC "Authorization: Basic eDphLWJlYXJlci10b2tlbi1vZi10aGUtb3BlcmF0b3Jz"
    assert_int_equal(ask("POST", "/oauth2/revoke", "token=x", AS_FORM, NULL), 401);
    assert_int_equal(ask("POST", "/oauth2/revoke", "token=x", AS_FORM, BASIC), 200);
    assert_int_equal(ask("GET", "/v1/sessions", NULL, BASIC, NULL), 401);
    assert_int_equal(
        ask("POST", "/oauth2/revoke", "token=x&client_id=a&client_secret=" SECRET, AS_FORM, NULL),
        200);
    assert_int_equal(
        ask("POST", "/oauth2/revoke", "token=x&client_id=a&client_secret=no", AS_FORM, NULL), 401);
    /* Wrong ones are in the audit trail, and no token is. */
    for (int i = 0; i < 200 && audit_written(trail) < 9; i++)
        usleep(10000);
    assert_true(audit_written(trail) >= 9);
    FILE *f = fopen(trail_path, "r");
    size_t n = fread(answer, 1, sizeof(answer) - 1, f);
    answer[n] = '\0';
    fclose(f);
    assert_non_null(strstr(answer, "no good bearer token"));
    assert_null(strstr(answer, "a-bearer-token"));
}

static void test_browsers(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/v1/sessions", NULL, "Origin: https://evil.example", NULL), 403);
    assert_int_equal(ask("GET", "/v1/sessions", NULL, "Origin: null", NULL), 403);
    assert_int_equal(ask("GET", "/v1/sessions", NULL, "Sec-Fetch-Site: cross-site", NULL), 403);
    assert_int_equal(ask("GET", "/v1/sessions", NULL, "Host: evil.example:9090", NULL), 403);
    assert_int_equal(ask("GET", "/v1/sessions", NULL, "Host: 127.evil.example", NULL), 403);
    assert_int_equal(ask("GET", "/v1/sessions", NULL, "Host: localhost.evil.example", NULL), 403);
    assert_int_equal(ask("GET", "/v1/sessions", NULL, "Host: localhost:9090", NULL), 200);
    assert_int_equal(ask("GET", "/v1/sessions", NULL, "Host: [::1]:9090", NULL), 200);
    assert_int_equal(ask("POST", "/oauth2/revoke", "token=x", AS_FORM, "Origin: http://a"), 403);
}

static void test_sessions(void **state)
{
    (void)state;
    assert_int_equal(get("/v1/sessions"), 200);
    assert_int_equal(json_array_size(json_object_get(json, "sessions")), 1);
    hold_sessions = 2;
    assert_int_equal(get("/v1/sessions"), 503);
}

static void give_held(void *arg)
{
    (void)arg;
    held_done(held_arg, json_array());
    holding = false;
}

/* A client that goes away while the workers are asked, and a control that does. */
static void test_gone(void **state)
{
    (void)state;
    hold_sessions = 1;
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    static const char request[] = "GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (int i = 0; i < 2; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
        assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
        while (!holding)
            usleep(1000);
        struct linger hard = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        close(fd);
        usleep(50000);
        if (i == 1)
            break; /* the teardown answers it after control is gone */
        /* The loop's thread alone may answer: stop it for that. */
        loop_stop(loop);
        pthread_join(thread, NULL);
        give_held(NULL);
        assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    }
    hold_sessions = 0;
    assert_int_equal(get("/v1/sessions"), 200);
}

/* Requests that end anywhere, and bytes that are no HTTP. */
static void test_cut_requests(void **state)
{
    static const char whole[] = "POST /v1/revocations HTTP/1.1\r\nHost: localhost\r\n"
                                "Content-Type: application/json\r\nContent-Length: 16\r\n\r\n"
                                "{\"transfer\":\"z\"}";
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    (void)state;
    for (size_t n = 0; n < strlen(whole); n += 3) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
        assert_int_equal(send(fd, whole, n, MSG_NOSIGNAL), n);
        if (n % 2)
            send(fd, "\x16\x03\x01\x00\xff", 5, MSG_NOSIGNAL);
        close(fd);
    }
    assert_int_equal(get("/v1/revocations"), 200);
    assert_int_equal(number("total"), 0);
}

static void test_metrics(void **state)
{
    (void)state;
    assert_int_equal(get("/metrics"), 200);
    assert_non_null(strstr(answer, "# HELP sluice_sessions Open sessions.\n"
                                   "# TYPE sluice_sessions gauge\n"
                                   "sluice_sessions{worker=\"0\"} 5\n"
                                   "sluice_sessions{worker=\"1\"} 5\n"
                                   "# HELP sluice_bytes_total Bytes.\n"));
    assert_non_null(strstr(answer, "sluice_bytes_total{worker=\"1\"} 12345678901234\n"));
    assert_non_null(strstr(answer, "\nsluice_grants 1\n"));
    assert_non_null(strstr(answer, "\nsluice_control_requests_total{code=\"2xx\"} 0\n"));
    struct metrics *m = metrics_new();
    char labels[24] = "";
    size_t n;
    metrics_label(labels, sizeof(labels), "a", "x\"\\\n");
    assert_string_equal(labels, "a=\"x\\\"\\\\\\n\"");
    metrics_label(labels, sizeof(labels), "b", "much too long for that");
    assert_string_equal(labels, "a=\"x\\\"\\\\\\n\"");
    metrics_line(m, "h_bucket", "le=\"+Inf\"", "histogram", "H.", 2);
    metrics_line(m, "other", NULL, "gauge", "O.", 0.5);
    metrics_line(m, "h_sum", "", "histogram", "H.", 1e300);
    metrics_line(m, "h_count", "", "histogram", "H.", 2);
    char *text = metrics_text(m, &n);
    assert_string_equal(text, "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\n"
                              "h_sum 1.0000000000000001e+300\nh_count 2\n"
                              "# HELP other O.\n# TYPE other gauge\nother 0.5\n");
    free(text);
    metrics_free(m);
}

static void test_tls(void **state)
{
    char more[512];
    int fds[CONTROL_CONNECTIONS_MAX + 10];
    (void)state;
    snprintf(more, sizeof(more), ", tls: {certificate: '%s', key: '%s'}, token_file: t",
             certs.server, certs.server_key);
    open_control(more, true);
    assert_int_equal(ask("GET", "/v1/sessions", NULL, "Authorization: Bearer " SECRET, NULL), 200);
    assert_int_equal(get("/v1/sessions"), 401);
    /* Plain HTTP gets no answer, with or without a token. */
    url[4] = ' ';
    memmove(url + 4, url + 5, strlen(url + 4));
    assert_int_equal(ask("GET", "/healthz", NULL, NULL, NULL), 0);
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", (unsigned)port);
    /* Beyond the bound connections wait; they come in when others have gone. */
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&at, sizeof(at)), 0);
    }
    usleep(200000);
    for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
        close(fds[i]);
    assert_int_equal(get("/healthz"), 200);
    /* A reload: the loop stands still meanwhile, as it does when the loop's thread reloads. */
    loop_stop(loop);
    pthread_join(thread, NULL);
    struct config *next = config_of(more);
    assert_int_equal(control_config(control, next), OK);
    struct config *wrong =
        config_of(", tls: {certificate: /nowhere, key: /nowhere}, token_file: t");
    assert_int_equal(control_config(control, wrong), ERR_CONFIG);
    config_unref(wrong);
    config_unref(next);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    assert_int_equal(get("/healthz"), 200);
    close_control();
}

static void test_off(void **state)
{
    struct control_gate gate = {0};
    char err[256];
    (void)state;
    struct config *c = token_config("issuers: [{issuer: '" ISSUER "', audience: sluice}]\n"
                                    "control: {listen: off}\n");
    struct loop *l = loop_new();
    struct control *none = control_new(l, c, &gate, err, sizeof(err));
    assert_non_null(none);
    assert_int_equal(control_port(none), 0);
    control_free(none);
    control_free(NULL);
    loop_free(l);
    config_unref(c);
}

/* Another already listens there. */
static void test_taken(void **state)
{
    struct control_gate gate = {0};
    char err[256] = "";
    (void)state;
    assert_null(control_new(loop, config, &gate, err, sizeof(err)));
    assert_non_null(strstr(err, "control.listen: 127.0.0.1:"));
    assert_non_null(strstr(err, "Address already in use"));
}

static void test_form(void **state)
{
    char out[8];
    (void)state;
    static const struct {
        const char *body;
        int result;
        const char *value;
    } cases[] = {
        {"token=abc", 3, "abc"},
        {"x=1&token=a+b", 3, "a b"},
        {"token=%41%2b", 2, "A+"},
        {"t%6Fken=x&y", 1, "x"},
        {"token=&x=1", 0, ""},
        {"", ERR_UNKNOWN, ""},
        {"tokens=1", ERR_UNKNOWN, ""},
        {"token", ERR_MALFORMED, ""},
        {"token=%", ERR_MALFORMED, ""},
        {"token=%4", ERR_MALFORMED, ""},
        {"token=%4g", ERR_MALFORMED, ""},
        {"token=%00", ERR_MALFORMED, ""},
        {"token=a&token=a", ERR_MALFORMED, ""},
        {"token=12345678", ERR_LIMIT, ""},
        {"&&token=1&", 1, "1"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        size_t n = strlen(cases[i].body);
        char *exact = malloc(n ? n : 1);
        memcpy(exact, cases[i].body, n);
        assert_int_equal(body_form(exact, n, "token", out, sizeof(out)), cases[i].result);
        if (cases[i].result >= 0)
            assert_string_equal(out, cases[i].value);
        free(exact);
    }
}

static int parse_line(const char *line, struct client_options *o)
{
    static char text[512], err[CLIENT_ERROR_BYTES];
    char *argv[24];
    int argc = 0;
    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    int result = client_parse(argc, argv, o, err, sizeof(err));
    assert_true(result == OK || err[0]);
    return result;
}

static void test_client_options(void **state)
{
    struct client_options o;
    (void)state;
    static const char *const bad[] = {
        "sessions",
        "sessions -c",
        "sessions -c f --control u",
        "sessions -c f x",
        "sessions -c f --transfer x",
        "sessions -c f -c g",
        "grants put -c f",
        "grants put x -c f",
        "grants delete -c f",
        "grants drop x -c f",
        "revoke -c f",
        "revoke -c f --reason r",
        "revoke -c f --issuer i",
        "revoke -c f --transfer a --asset b",
        "revoke -c f --transfer a --transfer b",
        "revoke -c f --token t --transfer a",
        "revoke -c f --issuer i --not-before tomorrow",
        "revoke -c f list --transfer a",
        "revoke -c f --nothing",
        "other -c f",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        int result = parse_line(bad[i], &o);
        if (result == OK)
            print_error("%s\n", bad[i]);
        assert_int_equal(result, ERR_MALFORMED);
        json_decref(o.body);
    }
    assert_int_equal(parse_line("revoke -c f --issuer i --jti j --reason r --json", &o), OK);
    assert_int_equal(o.command, CLIENT_REVOKE);
    assert_true(o.json);
    assert_int_equal(json_object_size(o.body), 3);
    json_decref(o.body);
    assert_int_equal(parse_line("revoke --control u --token -", &o), OK);
    assert_int_equal(o.command, CLIENT_REVOKE_TOKEN);
    json_decref(o.body);
    assert_int_equal(parse_line("grants put id - --control u --token-file t --ca c", &o), OK);
    assert_string_equal(o.id, "id");
    assert_string_equal(o.grant_file, "-");
    json_decref(o.body);
    assert_int_equal(parse_line("grants --help", &o), OK);
    json_decref(o.body);
}

/* Runs a command with its standard output in a file; the exit code, the output in answer. */
static int command(const char *line)
{
    char text[512], path[] = "/tmp/sluice-out-XXXXXX", *argv[24];
    int argc = 0, fd = mkstemp(path), saved = dup(STDOUT_FILENO);
    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    fflush(stdout);
    dup2(fd, STDOUT_FILENO);
    int code = control_client_main(argc, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    ssize_t n = pread(fd, answer, sizeof(answer) - 1, 0);
    answer[n > 0 ? n : 0] = '\0';
    close(fd);
    unlink(path);
    return code;
}

static void test_client(void **state)
{
    char line[300], path[] = "/tmp/sluice-grant-XXXXXX";
    static const char grant[] = "{\"principal\": {\"subject\": \"bob\"}, \"topics\": [\"parts\"],"
                                "\"operations\": [\"read\", \"write\"], \"expires\": 4102444800}";
    int fd = mkstemp(path);
    (void)state;
    assert_int_equal(write(fd, grant, strlen(grant)), strlen(grant));
    close(fd);
    snprintf(line, sizeof(line), "sessions --control %s/", url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_non_null(strstr(answer, "SESSION"));
    assert_non_null(strstr(answer, "bob?[2J"));
    assert_null(strchr(answer, 0x1b));
    snprintf(line, sizeof(line), "grants put a/b %s --control %s", path, url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_non_null(strstr(answer, "granted; "));
    snprintf(line, sizeof(line), "grants --control %s", url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_non_null(strstr(answer, "a/b"));
    assert_non_null(strstr(answer, "read,write"));
    assert_non_null(strstr(answer, "2100-01-01T00:00:00Z"));
    snprintf(line, sizeof(line), "revoke --transfer a/b --reason done --control %s", url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_string_equal(answer, "revoked; 6 sessions closed\n");
    snprintf(line, sizeof(line), "revoke list --json --control %s", url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_non_null(strstr(answer, "\"reason\": \"done\""));
    snprintf(line, sizeof(line), "revoke list --control %s", url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_non_null(strstr(answer, "transfer"));
    FILE *f = fopen(path, "w");
    char *token = token_of("k1", ",\"jti\":\"j9\"");
    fprintf(f, "%s\n", token);
    free(token);
    fclose(f);
    snprintf(line, sizeof(line), "revoke --token %s --control %s", path, url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_string_equal(answer, "revoked; 6 sessions closed\n");
    snprintf(line, sizeof(line), "grants delete none --control %s", url);
    assert_int_equal(command(line), CLIENT_FAILED);
    assert_int_equal(command("sessions --control http://127.0.0.1:1"), CLIENT_FAILED);
    assert_int_equal(command("sessions --control file:///etc/passwd"), CLIENT_FAILED);
    assert_int_equal(command("revoke --control x"), CLIENT_USAGE);
    unlink(path);
}

static void test_client_token(void **state)
{
    char line[300], path[] = "/tmp/sluice-token-XXXXXX";
    static const char file[] = "# ours\n" SECRET "\n";
    int fd = mkstemp(path);
    (void)state;
    assert_int_equal(write(fd, file, strlen(file)), strlen(file));
    close(fd);
    snprintf(line, sizeof(line), "sessions --control %s", url);
    assert_int_equal(command(line), CLIENT_FAILED);
    snprintf(line, sizeof(line), "sessions --token-file %s --control %s", path, url);
    assert_int_equal(command(line), CLIENT_OK);
    unlink(path);
}

static int setup(void **state)
{
    (void)state;
    log_setup(LOG_ERROR, false);
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    key = EVP_EC_gen("P-256");
    certs_init(&certs);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(json);
    certs_release(&certs);
    EVP_PKEY_free(key);
    curl_global_cleanup();
    return 0;
}

#define OPEN(test)  cmocka_unit_test_setup_teardown(test, plain, stop)
#define TOKEN(test) cmocka_unit_test_setup_teardown(test, with_tokens, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPEN(test_probes),
        OPEN(test_wrong_requests),
        OPEN(test_grants),
        OPEN(test_revocations),
        OPEN(test_oauth),
        TOKEN(test_bearer),
        OPEN(test_browsers),
        OPEN(test_sessions),
        OPEN(test_gone),
        OPEN(test_cut_requests),
        OPEN(test_metrics),
        OPEN(test_taken),
        OPEN(test_client),
        TOKEN(test_client_token),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_client_options),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
