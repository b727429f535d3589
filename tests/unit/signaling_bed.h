/* A bed for the signaling listener: real HTTP on loopback, the real store and its notes, tokens and
 * workers that are faked. Its loop runs in a thread of its own; the test asks from outside. */
#ifndef TESTS_SIGNALING_BED_H
#define TESTS_SIGNALING_BED_H

#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/loop.h"
#include "control/server.h"
#include "edc/flow.h"
#include "edc/signaling.h"
#include "tests/unit/port.h"
#include "tests/unit/token.h"

#define ISSUER "https://idp.example.com"
#define EDC    "https://w3id.org/edc/v0.0.1/ns/"

static struct loop *loop;
static struct store *store;
static struct config *config;
static struct server *server;
static struct signaling *signaling;
static struct loop_timer *pump;
static pthread_t thread;
static char url[64], store_path[64];
static uint16_t port;

/* What tokens_get does: at once, not at all, or when the test says so. */
static enum { TOKENS_NOW, TOKENS_FAIL, TOKENS_LATER } token_mode;
static int token_fault = ERR_DENIED;
static atomic_int tokens_made, tokens_ended, token_release;
static tokens_done_fn *held_done;
static void *held_arg;
static _Atomic int64_t asked_iat;
static char asked_transfer[256], asked_consumer[256], asked_prefix[256], asked_topics[512];
static char asked_url[256], asked_secret[256];

/* Workers: each change is told to one, which may refuse it or be slow. */
static atomic_int apply_fails, applied, hold_apply;
static struct change_ack *held_ack;

/* So many tokens are as old as what the suspension barred. */
static _Atomic int tokens_old;

static inline void token_give(tokens_done_fn *done, void *arg, int result)
{
    char token[32], jti[32];
    int n = ++tokens_made;
    struct token_answer a = {.result = result, .why = result == OK ? "ok" : "not today"};

    snprintf(token, sizeof(token), "token-%d", n);
    snprintf(jti, sizeof(jti), "jti-%d", n);
    a.token = token;
    a.jti = jti;
    a.expires_s = time(NULL) + 300;
    a.issued_s = time(NULL);
    if (tokens_old > 0)
        a.issued_s = asked_iat - 1;
    else if (a.issued_s < asked_iat)
        a.issued_s = asked_iat;
    tokens_old -= tokens_old > 0;
    a.issuer = ISSUER;
    a.subject = asked_transfer;
    a.client = "";
    a.refresh_token = "refresh-1";
    a.refresh_endpoint = "https://edge.example/refresh";
    a.refresh_audience = "did:web:provider";
    done(arg, &a);
}

static inline int token_get(struct tokens *t, const struct token_ask *ask, tokens_done_fn *done,
                            void *arg)
{
    (void)t;
    asked_iat = ask->not_before_iat;
    snprintf(asked_transfer, sizeof(asked_transfer), "%s", ask->transfer);
    snprintf(asked_consumer, sizeof(asked_consumer), "%s", ask->consumer ? ask->consumer : "");
    snprintf(asked_prefix, sizeof(asked_prefix), "%s", ask->group_prefix);
    snprintf(asked_url, sizeof(asked_url), "%s", ask->token_url ? ask->token_url : "");
    snprintf(asked_secret, sizeof(asked_secret), "%s",
             ask->client_secret ? ask->client_secret : "");
    asked_topics[0] = '\0';
    for (size_t i = 0; i < ask->ntopics; i++) {
        size_t n = strlen(asked_topics);
        snprintf(asked_topics + n, sizeof(asked_topics) - n, "%s ", ask->topics[i]);
    }
    if (token_mode == TOKENS_FAIL && token_fault == ERR_BUSY)
        return ERR_BUSY;
    if (token_mode == TOKENS_LATER) {
        held_done = done;
        held_arg = arg;
        return OK;
    }
    token_give(done, arg, token_mode == TOKENS_FAIL ? token_fault : OK);
    return OK;
}

static inline void token_end(struct tokens *t, const char *transfer)
{
    (void)t;
    (void)transfer;
    tokens_ended++;
}

static inline int apply(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    (void)arg;
    (void)i;
    (void)c;
    if (apply_fails)
        return ERR_LIMIT;
    applied++;
    if (hold_apply) {
        held_ack = ack;
        return OK;
    }
    change_ack_done(ack, OK, 1);
    return OK;
}

/* The loop's thread fails its allocations from this one on (0: none); -1: that has been set. */
static atomic_int fail_after = -1;

static inline void fail_from(int n)
{
    fail_after = n;
    while (fail_after != -1)
        usleep(200);
}

/* What the test wants done is done in the loop's thread. */
static inline void on_pump(void *arg)
{
    (void)arg;
    if (fail_after >= 0)
        (void)sl_alloc_fail_after((unsigned)fail_after);
    fail_after = -1;
    if (token_release && held_done) {
        tokens_done_fn *done = held_done;
        held_done = NULL;
        token_release = 0;
        token_give(done, held_arg, OK);
    }
    if (!hold_apply && held_ack) {
        struct change_ack *ack = held_ack;
        held_ack = NULL;
        change_ack_done(ack, OK, 1);
    }
    assert_int_equal(loop_timer_set(pump, 1000), OK);
}

static inline bool anybody(void *arg, struct ask *a, bool open)
{
    (void)arg;
    (void)a;
    (void)open;
    return true;
}

static inline void *run(void *arg)
{
    (void)arg;
    assert_int_equal(loop_run(loop), OK);
    return NULL;
}

static inline struct config *bed_config(const char *more)
{
    char text[2048];
    snprintf(text, sizeof(text),
             "issuers: [{issuer: '" ISSUER "', audience: sluice}]\n"
             "development: true\n"
             "signaling: {listen: '127.0.0.1:%u'%s}\n",
             (unsigned)port, more);
    return token_config(text);
}

static inline void open_bed(const char *more)
{
    struct store_peers peers = {.count = 1, .apply = apply};
    struct signaling_parts parts = {.tokens = {NULL, token_get, token_end}};
    struct server_settings s = {.name = "signaling", .body_max = (size_t)256 * 1024};
    char err[512] = "";

    port = port ? port : free_port();
    config = bed_config(more);
    assert_non_null(config);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)port);
    loop = loop_new();
    store = store_open(store_path[0] ? store_path : NULL, loop, config, err, sizeof(err));
    assert_non_null(store);
    assert_int_equal(store_start(store, &peers, NULL, NULL), OK);
    parts.loop = loop;
    parts.changes.store = store;
    signaling = signaling_new(&parts, config, err, sizeof(err));
    assert_non_null(signaling);
    s.listen = config->signaling.listen;
    s.guard = anybody;
    s.tables[0] = (struct route_table){signaling_routes, signaling_routes_count, signaling};
    server = server_new(loop, &s, err, sizeof(err));
    if (!server)
        print_error("%s\n", err);
    assert_non_null(server);
    pump = loop_timer_new(loop, on_pump, NULL);
    assert_int_equal(loop_timer_set(pump, 1000), OK);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
}

static inline void close_bed(void)
{
    loop_stop(loop);
    pthread_join(thread, NULL);
    server_free(server);
    signaling_free(signaling);
    held_done = NULL;
    if (held_ack)
        change_ack_done(held_ack, OK, 1);
    held_ack = NULL;
    store_close(store);
    loop_timer_free(pump);
    loop_free(loop);
    config_unref(config);
}

static inline int begin(void **state)
{
    (void)state;
    token_mode = TOKENS_NOW;
    token_fault = ERR_DENIED;
    tokens_made = tokens_ended = token_release = apply_fails = applied = hold_apply = 0;
    port = 0;
    strcpy(store_path, "/tmp/sluice-signaling-XXXXXX");
    close(mkstemp(store_path));
    unlink(store_path);
    open_bed("");
    return 0;
}

static inline int end(void **state)
{
    char more[80];
    (void)state;
    close_bed();
    unlink(store_path);
    snprintf(more, sizeof(more), "%s-wal", store_path);
    unlink(more);
    snprintf(more, sizeof(more), "%s-shm", store_path);
    unlink(more);
    return 0;
}

/* --- asking */

struct reply {
    long status;
    json_t *json; /* NULL: none */
    char text[65536], location[256];
};
static struct reply reply;

static inline size_t take(char *p, size_t size, size_t n, void *arg)
{
    struct reply *r = arg;
    size_t at = strlen(r->text);
    if (at + size * n >= sizeof(r->text))
        return 0;
    memcpy(r->text + at, p, size * n);
    r->text[at + size * n] = '\0';
    return size * n;
}

static inline size_t take_header(char *p, size_t size, size_t n, void *arg)
{
    struct reply *r = arg;
    if (size * n > 10 && strncasecmp(p, "Location: ", 10) == 0)
        snprintf(r->location, sizeof(r->location), "%.*s", (int)(size * n - 12), p + 10);
    return size * n;
}

static inline void ask_into(struct reply *r, const char *method, const char *path, const char *body,
                            const char *type)
{
    char whole[4096];
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, type);

    json_decref(r->json);
    memset(r, 0, sizeof(*r));
    headers = curl_slist_append(headers, "Expect:");
    snprintf(whole, sizeof(whole), "%s%s", url, path);
    curl_easy_setopt(curl, CURLOPT_URL, whole);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 8000L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, r);
    if (body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &r->status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    r->json = json_loads(r->text, 0, NULL);
}

#define AS_JSON "Content-Type: application/json; charset=utf-8"

static inline long post(const char *path, const char *body)
{
    ask_into(&reply, "POST", path, body, AS_JSON);
    return reply.status;
}

static inline long get(const char *path)
{
    ask_into(&reply, "GET", path, NULL, AS_JSON);
    return reply.status;
}

static inline const char *said(const char *name)
{
    const char *text = json_string_value(json_object_get(reply.json, name));
    return text ? text : "";
}

/* The value of an EDR's property by its full name; "" without it. */
static inline const char *property(const char *name)
{
    json_t *address = json_object_get(reply.json, "dataAddress"), *list, *one;
    size_t i;
    list = json_object_get(address, "dspace:endpointProperties");
    list = list ? list : json_object_get(address, "endpointProperties");
    json_array_foreach(list, i, one)
    {
        const char *is = json_string_value(json_object_get(one, "dspace:name"));
        is = is ? is : json_string_value(json_object_get(one, "name"));
        if (is && strcmp(is, name) == 0) {
            json_t *value = json_object_get(one, "dspace:value");
            value = value ? value : json_object_get(one, "value");
            return json_string_value(value);
        }
    }
    return "";
}

/* A start as a real connector sends it (EDC 0.15.1), with this id and topic. */
static inline const char *start_body(const char *id, const char *topic)
{
    static char text[4096];
    snprintf(text, sizeof(text),
             "{\"@type\":\"DataFlowStartMessage\",\"transferTypeDestination\":\"KafkaBroker\","
             "\"flowType\":\"PULL\",\"agreementId\":\"agreement-1\",\"processId\":\"%s\","
             "\"datasetId\":\"kafka-asset\",\"properties\":{},"
             "\"callbackAddress\":\"http://localhost:9/control\",\"sourceDataAddress\":{"
             "\"@type\":\"dspace:DataAddress\",\"dspace:endpointType\":\"KafkaBroker\","
             "\"dspace:endpointProperties\":[{\"@type\":\"dspace:EndpointProperty\","
             "\"dspace:name\":\"" EDC "topic\",\"dspace:value\":\"%s\"},"
             "{\"@type\":\"dspace:EndpointProperty\",\"dspace:name\":\"" EDC
             "kafka.bootstrap.servers\",\"dspace:value\":\"edge.example:9093\"}]},"
             "\"participantId\":\"consumer\",\"@context\":{"
             "\"odrl\":\"http://www.w3.org/ns/odrl/2/\","
             "\"dspace\":\"https://w3id.org/dspace/v0.8/\",\"@vocab\":\"" EDC "\"}}",
             id, topic);
    return text;
}

#define SUSPEND   "{\"@type\":\"DataFlowSuspendMessage\",\"@context\":{\"@vocab\":\"" EDC "\"}}"
#define TERMINATE "{\"@type\":\"DataFlowTerminateMessage\",\"@context\":{\"@vocab\":\"" EDC "\"}}"

/* A start of the specification. */
static inline const char *dps_body(const char *id, const char *more)
{
    static char text[4096];
    snprintf(text, sizeof(text),
             "{\"messageId\":\"m1\",\"participantId\":\"provider\",\"counterPartyId\":\"consumer\","
             "\"dataspaceContext\":\"context\",\"processId\":\"%s\",\"agreementId\":\"agreement\","
             "\"datasetId\":\"asset\",\"profile\":\"KafkaBroker-PULL\",\"claims\":{},"
             "\"labels\":[\"gold\"],\"metadata\":{\"topic\":\"t1\"}%s}",
             id, more);
    return text;
}

#define SIGNAL "{\"messageId\":\"m2\",\"reason\":\"because\"}"

/* The store is asked in its own thread, so only while the loop stands still. */
static inline void each_grant(void *arg, const struct grant *g)
{
    struct grant **found = arg;
    if (!*found || strcmp((*found)->id, g->id) < 0) {
        grant_unref(*found);
        memcpy(found, &g, sizeof(*found));
        grant_ref(*found);
    }
}

#endif
