/* A bed for the control listener: real HTTP on loopback, the real store, a gate that is faked. Its
 * loop runs in a thread of its own, the test asks from outside. */
#ifndef TESTS_CONTROL_BED_H
#define TESTS_CONTROL_BED_H

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
#include "control/control.h"
#include "control/metrics.h"
#include "control/server.h"
#include "tests/unit/certs.h"
#include "tests/unit/port.h"
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
static atomic_int apply_fails, unknown_kids, hold_sessions, changes_told;
static void (*held_done)(void *, json_t *);
static void *held_arg;
static atomic_bool holding;

/* --- the faked gate */

static inline const char *not_ready(void *arg)
{
    (void)arg;
    return why_not;
}

static inline int sessions(void *arg, void (*done)(void *done_arg, json_t *array), void *done_arg)
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

static inline int usage(void *arg, const char *const *ids, size_t n,
                        void (*done)(void *done_arg, const struct grant_usage *usage),
                        void *done_arg)
{
    struct grant_usage *all = calloc(n + 1, sizeof(*all));

    (void)arg;
    if (hold_sessions == 2) {
        free(all);
        return ERR_BUSY;
    }
    for (size_t i = 0; i < n; i++) {
        assert_true(i == 0 || strcmp(ids[i - 1], ids[i]) < 0);
        all[i] = (struct grant_usage){(unsigned)i + 2, 1800000000};
    }
    done(done_arg, hold_sessions == 3 ? NULL : all);
    free(all);
    return OK;
}

static inline void metrics(void *arg,
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

static inline void unknown_kid(void *arg, const char *issuer)
{
    (void)arg;
    if (strcmp(issuer, ISSUER) == 0)
        unknown_kids++;
}

/* Two workers; each says that it closed three sessions. */
static inline int apply(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    changes_told++;
    (void)arg;
    (void)i;
    (void)c;
    if (apply_fails)
        return ERR_LIMIT;
    change_ack_done(ack, OK, 3);
    return OK;
}

static inline void *run(void *arg)
{
    (void)arg;
    assert_int_equal(loop_run(loop), OK);
    return NULL;
}

static inline struct config *config_of(const char *more)
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
static inline void open_control(const char *more, bool tokens)
{
    static const char *known[] = {"another-token-of-somebody", SECRET};
    struct control_gate gate = {.not_ready = not_ready,
                                .sessions = sessions,
                                .usage = usage,
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

static inline void close_control(void)
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

static inline int plain(void **state)
{
    (void)state;
    open_control("", false);
    return 0;
}

static inline int with_tokens(void **state)
{
    (void)state;
    open_control("", true);
    return 0;
}

static inline int stop(void **state)
{
    (void)state;
    close_control();
    return 0;
}

/* --- asking */

static char answer[1 << 20];
static char allowed[128];
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

static inline size_t take_header(char *p, size_t size, size_t n, void *arg)
{
    (void)arg;
    if (size * n > 7 && strncasecmp(p, "Allow: ", 7) == 0)
        snprintf(allowed, sizeof(allowed), "%.*s", (int)(size * n - 7), p + 7);
    return size * n;
}

/* The status, 0 when there was no answer. headers: up to two, NULL for none. */
static inline long ask(const char *method, const char *path, const char *body, const char *one,
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

static inline long get(const char *path)
{
    return ask("GET", path, NULL, NULL, NULL);
}

static inline long post(const char *path, const char *body)
{
    return ask("POST", path, body, AS_JSON, NULL);
}

static inline const char *said(const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text ? text : "";
}

static inline json_int_t number(const char *name)
{
    return json_integer_value(json_object_get(json, name));
}

static inline char *token_of(const char *kid, const char *more)
{
    char header[128], claims[512];
    snprintf(header, sizeof(header), "{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
    snprintf(claims, sizeof(claims),
             "{\"iss\":\"" ISSUER
             "\",\"aud\":\"sluice\",\"sub\":\"bob\",\"exp\":%lld,\"iat\":%lld%s}",
             (long long)time(NULL) + 300, (long long)time(NULL) - 5, more);
    return token_sign("ES256", key, header, claims);
}

static inline int setup(void **state)
{
    (void)state;
    log_setup(LOG_ERROR, false);
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    key = EVP_EC_gen("P-256");
    certs_init(&certs);
    return 0;
}

static inline int teardown(void **state)
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

#endif
