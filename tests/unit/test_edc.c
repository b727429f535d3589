/* The signaling listener as a whole: who is let to it, and a start whose token is our own. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "edc/edc.h"
#include "edc/events.h"
#include "edc/refresh.h"
#include "edc/signaling.h"
#include "edc/token_server.h"
#include "tests/unit/port.h"
#include "tests/unit/token.h"

#define HUNDRED_MEGABYTES ((size_t)100 << 20)
#define SECRET            "0123456789-abcdefghij"
#define AS_FORM           "Content-Type: application/x-www-form-urlencoded"
#define EDC               "https://w3id.org/edc/v0.0.1/ns/"

static struct loop *loop;
static struct store *store;
static struct config *config;
static struct edc *edc;
static pthread_t thread;
static char url[64], pem[1024];
static char answer[65536];

static int apply(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    (void)arg;
    (void)i;
    (void)c;
    change_ack_done(ack, OK, 0);
    return OK;
}

static struct keyring *keys(void *arg)
{
    (void)arg;
    return NULL;
}

static void unknown_kid(void *arg, const char *issuer)
{
    (void)arg;
    (void)issuer;
}

static void *run(void *arg)
{
    (void)arg;
    assert_int_equal(loop_run(loop), OK);
    return NULL;
}

static const char *make_key(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *file = fmemopen(pem, sizeof(pem), "w");
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    EVP_PKEY_free(key);
    return pem;
}

static int begin(void **state)
{
    const struct store_peers peers = {.count = 1, .apply = apply};
    struct edc_parts parts = {.keys = keys, .unknown_kid = unknown_kid};
    char text[1024], err[512] = "";
    uint16_t port = free_port();
    (void)state;
    static const char *signing_key;
    snprintf(text, sizeof(text),
             "issuers: [{issuer: 'https://edge.example', audience: sluice,"
             " signing_keys: key.pem}]\n"
             "tokens: {refresh: {url: 'https://edge.example/refresh', audience: 'did:web:p'}}\n"
             "signaling: {listen: '127.0.0.1:%u'}\n",
             (unsigned)port);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)port);
    config = token_config(text);
    assert_non_null(config);
    signing_key = make_key();
    config->issuers[0].signing_keys = (struct strings){&signing_key, 1};
    config->signaling.path_secret = SECRET;
    loop = loop_new();
    store = store_open(NULL, loop, config, err, sizeof(err));
    assert_int_equal(store_start(store, &peers, NULL, NULL), OK);
    parts.changes.store = store;
    edc = edc_new(loop, config, &parts, err, sizeof(err));
    if (!edc)
        print_error("%s\n", err);
    assert_non_null(edc);
    return pthread_create(&thread, NULL, run, NULL);
}

static int end(void **state)
{
    (void)state;
    loop_stop(loop);
    pthread_join(thread, NULL);
    edc_free(edc);
    store_close(store);
    loop_free(loop);
    config_unref(config);
    return 0;
}

static size_t take(char *p, size_t size, size_t n, void *arg)
{
    size_t at = strlen(answer);
    (void)arg;
    if (at + size * n >= sizeof(answer))
        return 0;
    memcpy(answer + at, p, size * n);
    answer[at + size * n] = '\0';
    return size * n;
}

static long ask(const char *method, const char *path, const char *body, const char *header)
{
    char whole[512];
    long status = 0;
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    answer[0] = '\0';
    if (!header || strncmp(header, "Content-Type:", 13) != 0)
        headers = curl_slist_append(headers, "Content-Type: application/json");
    if (header)
        headers = curl_slist_append(headers, header);
    snprintf(whole, sizeof(whole), "%s%s", url, path);
    curl_easy_setopt(curl, CURLOPT_URL, whole);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 8000L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    if (body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return status;
}

static const char *method_name(enum method m)
{
    return m == METHOD_GET ? "GET" : m == METHOD_POST ? "POST" : m == METHOD_PUT ? "PUT" : "DELETE";
}

/* The route's path behind a prefix, about transfer p. */
static const char *path_of(const struct route *r, const char *prefix)
{
    static char path[256];
    const char *id = strstr(r->path, "{id}");
    snprintf(path, sizeof(path), "%s%.*s%s%s", prefix,
             (int)(id ? id - r->path : (long)strlen(r->path)), r->path, id ? "p" : "",
             id ? id + 4 : "");
    return path;
}

/* What a stranger hears who knows nothing: of each route that is open to everybody. What is not
 * among them must be behind the secret. */
static const struct {
    const char *path, *header, *body;
    long status;
} open_to_all[] = {
    {"/.well-known/jwks.json", NULL, NULL, 200},
    {"/.well-known/openid-configuration", NULL, NULL, 200},
    {"/.well-known/oauth-authorization-server", NULL, NULL, 200},
    {"/oauth2/token", AS_FORM, "grant_type=client_credentials", 401},
    {"/oauth2/revoke", AS_FORM, "token=x", 401},
    {"/refresh/token", AS_FORM, "grant_type=refresh_token&refresh_token=x", 401},
    /* Nobody's keys are here, so that it could be anybody's: later. */
    {"/security-events", "Content-Type: application/secevent+jwt", "x", 503},
    {"/backchannel-logout", AS_FORM, "logout_token=x", 503},
    {"/keycloak/k_logout", "Content-Type: text/plain", "x", 503},
    {"/keycloak/k_push_not_before", "Content-Type: text/plain", "x", 503},
};

static void stranger_at_open(const struct route *r)
{
    for (size_t i = 0; i < sizeof(open_to_all) / sizeof(*open_to_all); i++) {
        if (strcmp(open_to_all[i].path, r->path) != 0)
            continue;
        long got = ask(method_name(r->method), r->path, open_to_all[i].body, open_to_all[i].header);
        if (got != open_to_all[i].status)
            fail_msg("%s: %ld: %s", r->path, got, answer);
        return;
    }
    fail_msg("%s is open to everybody, and nobody said so", r->path);
}

static void stranger_at_closed(const struct route *r)
{
    static const char *const wrong[] = {"",
                                        "/",
                                        "/0123456789-abcdefghiX",
                                        "/0123456789-abcdefghi",
                                        "/" SECRET "x",
                                        "/" SECRET "/" SECRET};
    for (size_t w = 0; w < sizeof(wrong) / sizeof(*wrong); w++) {
        if (ask(method_name(r->method), path_of(r, wrong[w]), NULL, NULL) != 404)
            fail_msg("%s: %s", path_of(r, wrong[w]), answer);
        assert_non_null(strstr(answer, "no such path"));
    }
    (void)ask(method_name(r->method), path_of(r, "/" SECRET), NULL, NULL);
    assert_null(strstr(answer, "no such path"));
    assert_int_equal(
        ask(method_name(r->method), path_of(r, "/" SECRET), NULL, "Origin: https://evil.example"),
        403);
    assert_int_equal(ask("PUT", path_of(r, "/" SECRET), NULL, NULL), 405);
}

/* Every route of the listener, as its own tables have them. */
static void test_who(void **state)
{
    const struct route_table tables[] = {
        {signaling_routes, signaling_routes_count, NULL},
        {token_server_routes, token_server_nroutes, NULL},
        {refresh_routes, refresh_nroutes, NULL},
        {events_routes, events_routes_count, NULL},
    };
    size_t opened = 0, all = 0;
    (void)state;
    for (size_t t = 0; t < sizeof(tables) / sizeof(*tables); t++) {
        for (size_t i = 0; i < tables[t].count; i++, all++) {
            const struct route *r = &tables[t].routes[i];
            opened += r->open;
            (r->open ? stranger_at_open : stranger_at_closed)(r);
        }
    }
    assert_int_equal(opened, sizeof(open_to_all) / sizeof(*open_to_all));
    assert_true(all >= 26);
    assert_int_equal(ask("GET", "/" SECRET "/v1/dataflows/check", NULL, NULL), 204);
    assert_int_equal(ask("GET", "/" SECRET "/v1/dataflows/check?a=b", NULL, NULL), 400);
}

static void test_huge_body(void **state)
{
    char *body = malloc(EDC_BODY_MAX + 2);
    (void)state;
    memset(body, ' ', EDC_BODY_MAX + 1);
    body[EDC_BODY_MAX + 1] = '\0';
    assert_int_equal(ask("POST", "/" SECRET "/v1/dataflows/start", body, NULL), 413);
    free(body);
    assert_int_equal(ask("GET", "/" SECRET "/v1/dataflows/check", NULL, NULL), 204);
}

/* So many bytes of a body went out; *status is what the gate said to them. */
static size_t pour(const char *path, const char *type, const char *framing, bool chunks,
                   int *status)
{
    static char piece[65536 + 16];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const struct timeval patience = {.tv_sec = 8};
    char head[512], said[512] = "";
    size_t sent = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), n;

    at.sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1));
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    n = snprintf(head, sizeof(head),
                 "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\n%s\r\n\r\n", path,
                 type, framing);
    assert_int_equal(send(fd, head, (size_t)n, MSG_NOSIGNAL), n);
    memset(piece, ' ', sizeof(piece));
    n = chunks ? sprintf(piece, "%x\r\n", 65536) : 0;
    piece[n] = ' ';
    if (chunks)
        memcpy(piece + n + 65536, "\r\n", 2);
    while (sent < HUNDRED_MEGABYTES) {
        ssize_t went = send(fd, piece, (size_t)n + 65536 + (chunks ? 2 : 0), MSG_NOSIGNAL);

        if (went < 0)
            break;
        sent += (size_t)went;
    }
    *status = recv(fd, said, sizeof(said) - 1, 0) > 12 ? atoi(said + 9) : 0;
    close(fd);
    return sent;
}

/* 100 MB, announced or in chunks, to whoever may be asked by strangers and to who may not: it is
 * told no though it sends all of it first, and nothing is changed by it. */
static void test_100_megabytes(void **state)
{
    static const char *const paths[][2] = {
        {"/" SECRET "/v1/dataflows/start", "application/json"},
        {"/" SECRET "/dataflows/p/terminate", "application/json"},
        {"/v1/dataflows/start", "application/json"},
        {"/oauth2/token", "application/x-www-form-urlencoded"},
        {"/refresh/token", "application/x-www-form-urlencoded"},
        {"/security-events", "application/secevent+jwt"},
        {"/keycloak/k_logout", "text/plain"},
        {"/nowhere", "text/plain"},
    };
    int status;
    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
        for (int chunks = 0; chunks < 2; chunks++) {
            size_t sent = pour(paths[i][0], paths[i][1],
                               chunks ? "Transfer-Encoding: chunked" : "Content-Length: 104857600",
                               chunks, &status);
            if (sent < HUNDRED_MEGABYTES || status != 413)
                fail_msg("%s: %zu bytes, %d", paths[i][0], sent, status);
        }
    }
    assert_int_equal(ask("GET", "/" SECRET "/v1/dataflows/check", NULL, NULL), 204);
}

/* The whole way with the signer that runs: the EDR's token names its transfer. */
static void test_own_token(void **state)
{
    static const char body[] =
        "{\"messageId\":\"m\",\"participantId\":\"p\",\"counterPartyId\":\"bob\","
        "\"dataspaceContext\":\"x\",\"processId\":\"d1\",\"agreementId\":\"a\","
        "\"datasetId\":\"s\",\"profile\":\"KafkaBroker-PULL\",\"claims\":{},"
        "\"metadata\":{\"topic\":\"t1\"}}";
    const char *token;
    size_t dots = 0;
    (void)state;
    assert_int_equal(ask("POST", "/" SECRET "/dataflows/start", body, NULL), 200);
    token = strstr(answer, EDC "token\",\"value\":\"");
    assert_non_null(token);
    token += strlen(EDC "token\",\"value\":\"");
    for (const char *p = token; *p && *p != '"'; p++)
        dots += *p == '.';
    assert_int_equal(dots, 2);
    assert_int_equal(ask("POST", "/" SECRET "/dataflows/start", body, NULL), 409);
    assert_int_equal(
        ask("POST", "/" SECRET "/dataflows/d1/terminate", "{\"messageId\":\"m\"}", NULL), 200);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {TEST(test_who), TEST(test_huge_body),
                                       TEST(test_100_megabytes), TEST(test_own_token)};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
