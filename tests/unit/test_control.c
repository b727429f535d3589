/* The control listener: every path, what is refused, and who goes away in the middle. */
#include "tests/unit/control_bed.h"
#include "control/routes.h"

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
    assert_string_equal(said("state"), "active");
    assert_int_equal(number("sessions"), 2);
    assert_int_equal(number("last_use"), 1800000000);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(json, "principal"), "issuer")), ISSUER);
    assert_int_equal(get("/v1/grants"), 200);
    assert_int_equal(number("total"), 2);
    const json_t *all = json_object_get(json, "grants");
    assert_string_equal(json_string_value(json_object_get(json_array_get(all, 0), "id")), "fixed");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(all, 1), "sessions")), 3);
    for (hold_sessions = 2; hold_sessions < 4; hold_sessions++) {
        assert_int_equal(get("/v1/grants"), 503);
        assert_int_equal(get("/v1/grants/fixed"), 503);
    }
    hold_sessions = 0;
    assert_int_equal(ask("PUT", "/v1/grants/later",
                         "{\"principal\": {\"subject\": \"bob\"}, \"topics\": [\"parts\"],"
                         "\"not_before\": 4000000000}",
                         AS_JSON, NULL),
                     200);
    assert_int_equal(get("/v1/grants/later"), 200);
    assert_string_equal(said("state"), "not yet");
    assert_int_equal(ask("PUT", "/v1/grants/later",
                         "{\"principal\": {\"subject\": \"bob\"}, \"topics\": [\"parts\"],"
                         "\"expires\": 1000}",
                         AS_JSON, NULL),
                     200);
    assert_int_equal(get("/v1/grants/later"), 200);
    assert_string_equal(said("state"), "expired");
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
    assert_int_equal(ask("DELETE", "/v1/grants/fixed", NULL, NULL, NULL), 200);
    assert_int_equal(get("/v1/grants/fixed"), 200);
    assert_string_equal(said("state"), "barred");
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
        (BEARER SECRET "x"),
        (BEARER "a-bearer-token-of-the-operator"),
        (BEARER " " SECRET),
        ("Authorization: " SECRET),
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

/* Every route, as the table has it: without a token nothing is told or done but that it lives. */
static void test_strangers(void **state)
{
    static const char *const bodies[] = {[METHOD_PUT] = "{\"topics\":[\"t\"]}",
                                         [METHOD_POST] = "{\"transfer\":\"t1\"}",
                                         [METHOD_DELETE] = NULL};
    static const char *const names[] = {[METHOD_GET] = "GET",
                                        [METHOD_PUT] = "PUT",
                                        [METHOD_POST] = "POST",
                                        [METHOD_DELETE] = "DELETE"};
    size_t closed = 0;
    int before = changes_told;
    (void)state;
    for (size_t i = 0; i < control_nroutes; i++) {
        const struct route *r = &control_routes[i];
        const char *id = strstr(r->path, "{id}");
        bool probe = strcmp(r->path, "/healthz") == 0 || strcmp(r->path, "/readyz") == 0;
        bool form = strcmp(r->path, "/oauth2/revoke") == 0;
        char path[64];
        long status;
        snprintf(path, sizeof(path), "%.*s%s", (int)(id ? id - r->path : (long)strlen(r->path)),
                 r->path, id ? "t1" : "");
        assert_true(r->open == probe);
        status = ask(names[r->method], path, form ? "token=x" : bodies[r->method],
                     form ? AS_FORM : AS_JSON, NULL);
        if (status != (probe ? 200 : 401))
            fail_msg("%s %s: %ld", names[r->method], path, status);
        closed += !probe;
    }
    assert_int_equal(closed, control_nroutes - 2);
    assert_int_equal(changes_told, before);
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
    int fds[SERVER_CONNECTIONS_MAX + 10];
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPEN(test_probes),      OPEN(test_wrong_requests),  OPEN(test_grants),
        OPEN(test_revocations), OPEN(test_oauth),           TOKEN(test_bearer),
        TOKEN(test_strangers),  OPEN(test_browsers),        OPEN(test_sessions),
        OPEN(test_gone),        OPEN(test_cut_requests),    OPEN(test_metrics),
        OPEN(test_taken),       cmocka_unit_test(test_tls), cmocka_unit_test(test_off),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
