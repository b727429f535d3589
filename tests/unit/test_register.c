/* Registering at a control plane that comes, goes and forgets, and telling it what became of
 * transfers: a web server stands for it. */
#include "tests/unit/unit.h"

#include <unistd.h>

#include "base/loop.h"
#include "edc/register.h"
#include "edc/teller.h"
#include "tests/unit/httpd.h"
#include "tests/unit/token.h"

static struct loop *loop;
static struct httpd httpd;
static struct config *config;
static struct registrar *registrar;

/* What the control plane does, and what it has seen. */
static struct {
    pthread_mutex_t lock;
    int status;       /* of the next answers */
    bool unavailable; /* it says so of whatever is registered */
    char known[2048]; /* what it was registered with; "" nothing */
    char requests[20][4096];
    unsigned count;
} plane = {.lock = PTHREAD_MUTEX_INITIALIZER, .status = 200};

static char *control_plane(struct httpd *d, const char *request)
{
    const char *body = strstr(request, "\r\n\r\n") + 4;
    char *out;
    int status;
    (void)d;
    pthread_mutex_lock(&plane.lock);
    status = plane.status;
    snprintf(plane.requests[plane.count++ % 20], sizeof(plane.requests[0]), "%s", request);
    if (status == 200 && strncmp(request, "GET ", 4) == 0) {
        const char *end = strstr(request, " HTTP"), *begin = end;
        char id[64];
        while (begin[-1] != '/')
            begin--;
        snprintf(id, sizeof(id), "\"%.*s\"", (int)(end - begin), begin);
        out = plane.unavailable         ? httpd_ok("{\"state\":\"UNAVAILABLE\"}")
              : strstr(plane.known, id) ? httpd_ok(plane.known)
                                        : httpd_status(404, "", "{}");
    } else {
        if (status == 200)
            snprintf(plane.known, sizeof(plane.known), "%s", body);
        out = httpd_status(status, "", "{}");
    }
    pthread_mutex_unlock(&plane.lock);
    return out;
}

static unsigned seen(void)
{
    unsigned n;
    pthread_mutex_lock(&plane.lock);
    n = plane.count;
    pthread_mutex_unlock(&plane.lock);
    return n;
}

static const char *request(unsigned i)
{
    return plane.requests[i % 20];
}

static struct loop_timer *watch;
static unsigned wanted;
static uint64_t until;

static void on_watch(void *arg)
{
    (void)arg;
    if (seen() >= wanted || loop_clock_us(loop) > until)
        loop_stop(loop);
    else
        assert_int_equal(loop_timer_set(watch, 2000), OK);
}

/* Runs the loop until so many requests have come, and a moment longer; false: they have not. */
static bool run_until(unsigned requests, uint64_t ms)
{
    wanted = requests;
    until = loop_clock_us(loop) + ms * 1000;
    assert_int_equal(loop_timer_set(watch, 1000), OK);
    assert_int_equal(loop_run(loop), OK);
    wanted = UINT32_MAX;
    until = loop_clock_us(loop) + 60000;
    assert_int_equal(loop_timer_set(watch, 1000), OK);
    assert_int_equal(loop_run(loop), OK);
    return seen() >= requests;
}

static struct config *config_of(const char *more)
{
    char text[2048];
    snprintf(text, sizeof(text),
             "issuers: [{issuer: 'https://i.example', audience: sluice}]\n"
             "development: true\n"
             "signaling: {listen: '127.0.0.1:1', url: 'https://edge.example:8443/',\n"
             "  control_plane: {url: 'http://127.0.0.1:%d/control/'%s}}\n",
             httpd.port, more);
    return token_config(text);
}

static int setup(void **state)
{
    (void)state;
    plane.status = 200;
    plane.count = 0;
    plane.unavailable = false;
    plane.known[0] = '\0';
    httpd_start(&httpd, NULL, NULL, control_plane, NULL);
    loop = loop_new();
    watch = loop_timer_new(loop, on_watch, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    registrar_free(registrar);
    registrar = NULL;
    loop_timer_free(watch);
    loop_free(loop);
    config_unref(config);
    httpd_stop(&httpd);
    return 0;
}

static void begin(const char *more)
{
    config = config_of(more);
    assert_non_null(config);
    registrar = registrar_new(loop, config);
    assert_non_null(registrar);
}

static void test_registers(void **state)
{
    (void)state;
    begin(", id: edge-1");
    config->signaling.path_secret = "a-secret-in-the-path";
    config->signaling.control_plane.key = "the-key";
    assert_false(registrar_done(registrar));
    assert_true(run_until(2, 5000));
    assert_true(registrar_done(registrar));
    assert_non_null(strstr(request(0), "GET /control/v1/dataplanes/edge-1 HTTP"));
    assert_non_null(strstr(request(1), "POST /control/v1/dataplanes HTTP"));
    assert_non_null(strstr(request(1), "x-api-key: the-key\r\n"));
    assert_non_null(strstr(request(1), "\"@type\":\"DataPlaneInstance\""));
    assert_non_null(strstr(request(1), "\"@id\":\"edge-1\""));
    assert_non_null(strstr(
        request(1), "\"url\":\"https://edge.example:8443/a-secret-in-the-path/v1/dataflows\""));
    assert_non_null(strstr(request(1), "\"allowedSourceTypes\":[\"KafkaBroker\"]"));
    assert_non_null(strstr(request(1), "\"allowedTransferTypes\":[\"KafkaBroker-PULL\"]"));
}

/* A gate that comes back is known already: no transfer shall find its data plane gone for a moment.
 */
static void test_known_already(void **state)
{
    json_t *message;
    char *text;
    (void)state;
    config = config_of("");
    message = registrar_message(config);
    text = json_dumps(message, 0);
    snprintf(plane.known, sizeof(plane.known), "%s", text);
    free(text);
    json_decref(message);
    registrar = registrar_new(loop, config);
    assert_true(run_until(2, 8000)); /* a look at once and one after half a second */
    assert_true(registrar_done(registrar));
    for (unsigned i = 0; i < seen(); i++)
        assert_non_null(strstr(request(i), "GET "));
}

static void test_retries(void **state)
{
    uint64_t began;
    (void)state;
    plane.status = 503;
    begin("");
    began = loop_clock_us(loop);
    assert_true(run_until(3, 8000)); /* at once, after 0.5 s and after 1 s more */
    assert_true(loop_clock_us(loop) - began >= 1500000);
    assert_false(registrar_done(registrar));
    plane.status = 200;
    assert_true(run_until(5, 8000)); /* unknown, so told */
    assert_true(registrar_done(registrar));
}

/* A control plane that says that it cannot reach us is not registered at in a circle. */
static void test_unavailable(void **state)
{
    unsigned posts = 0;
    (void)state;
    plane.unavailable = true;
    begin("");
    (void)run_until(100, 6000);
    for (unsigned i = 0; i < seen() && i < 20; i++)
        posts += strncmp(request(i), "POST ", 5) == 0;
    assert_in_range(posts, 2, 5);
}

/* A reload with other settings registers anew; one with the same does not. */
static void test_reload(void **state)
{
    struct config *other;
    (void)state;
    begin("");
    assert_true(run_until(2, 5000));
    other = config_of("");
    registrar_config(registrar, other);
    config_unref(other);
    assert_true(registrar_done(registrar));
    (void)run_until(2, 300); /* looks at it may come, one in half a second */
    unsigned had = seen();
    for (unsigned i = 2; i < had; i++)
        assert_null(strstr(request(i), "POST "));
    other = config_of(", id: other");
    registrar_config(registrar, other);
    config_unref(other);
    assert_true(run_until(had + 2, 5000));
    assert_non_null(strstr(request(had), "GET /control/v1/dataplanes/other HTTP"));
    assert_non_null(strstr(request(had + 1), "\"@id\":\"other\""));
}

static void test_dps(void **state)
{
    (void)state;
    begin(", protocol: dps");
    assert_true(run_until(1, 5000));
    assert_non_null(strstr(request(0), "PUT /control/dataplanes HTTP"));
    assert_non_null(strstr(request(0), "\"dataplaneId\":\"sluice\""));
    assert_non_null(strstr(request(0), "\"endpoint\":\"https://edge.example:8443/dataflows\""));
    assert_non_null(strstr(request(0), "\"profiles\":[\"KafkaBroker-PULL\"]"));
    assert_null(strstr(request(0), "x-api-key"));
}

/* What a control plane answers about us, compacted as EDC 0.15.1 does it. */
static void test_matches(void **state)
{
    static const char good[] =
        "{\"@id\":\"sluice\",\"@type\":\"DataPlaneInstance\","
        "\"url\":\"https://edge.example:8443/v1/dataflows\",\"lastActive\":0,"
        "\"allowedSourceTypes\":\"KafkaBroker\",\"allowedTransferTypes\":[\"KafkaBroker-PULL\"],"
        "\"state\":\"AVAILABLE\",\"@context\":{\"@vocab\":\"https://w3id.org/edc/v0.0.1/ns/\"}}";
    static const struct {
        const char *was, *is;
    } others[] = {
        {"8443/v1", "8444/v1"},         {"AVAILABLE", "UNAVAILABLE"},
        {"AVAILABLE", "UNREGISTERED"},  {"\"KafkaBroker\"", "[\"KafkaBroker\",\"HttpData\"]"},
        {"Broker-PULL", "Broker-PUSH"}, {"\"url\"", "\"urn\""},
        {"{\"@id\"", "[\"@id\""},
    };
    char text[1024];
    (void)state;
    config = config_of("");
    assert_true(registrar_matches(config, good, strlen(good)));
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        const char *at = strstr(good, others[i].was);
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, others[i].is,
                 at + strlen(others[i].was));
        assert_false(registrar_matches(config, text, strlen(text)));
    }
}

/* --- telling */

static struct store *store;
static struct flows *flows;
static struct teller *teller;

static int apply(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    (void)arg;
    (void)i;
    (void)c;
    change_ack_done(ack, OK, 0);
    return OK;
}

static int setup_teller(void **state)
{
    const struct store_peers peers = {.count = 1, .apply = apply};
    char err[256];
    setup(state);
    config = config_of("");
    store = store_open(NULL, loop, config, err, sizeof(err));
    assert_int_equal(store_start(store, &peers, NULL, NULL), OK);
    flows = flows_new(store);
    config->signaling.control_plane.key = "the-key";
    teller = teller_new(loop, config, flows);
    return teller ? 0 : -1;
}

static int teardown_teller(void **state)
{
    teller_free(teller);
    flows_free(flows);
    store_close(store);
    return teardown(state);
}

static struct flow *ended(enum dialect dialect, enum flow_news news)
{
    struct flow *flow;
    assert_int_equal(flow_add(flows, "p/1", dialect, 1, &flow), OK);
    flow_set(flow, FLOW_REASON, "revoked \"here\"");
    flow_enter(flows, flow, news == NEWS_STARTED ? FLOW_STARTED : FLOW_TERMINATED, 2);
    flow->news = news;
    return flow;
}

static void test_tells(void **state)
{
    static const struct {
        enum dialect dialect;
        enum flow_news news;
        const char *line, *body;
    } rows[] = {
        {DIALECT_LEGACY, NEWS_COMPLETED, "POST /control/transferprocess/p%2F1/complete HTTP", ""},
        {DIALECT_LEGACY, NEWS_FAILED, "POST /control/transferprocess/p%2F1/fail HTTP",
         "{\"errorMessage\":\"revoked \\\"here\\\"\"}"},
        {DIALECT_LEGACY, NEWS_STARTED, "POST /control/transferprocess/p%2F1/provisioned HTTP",
         "\"properties\""},
        {DIALECT_DPS, NEWS_COMPLETED, "POST /control/transfers/p%2F1/dataflow/completed HTTP",
         "\"dataFlowId\":\"p/1\""},
        {DIALECT_DPS, NEWS_FAILED, "POST /control/transfers/p%2F1/dataflow/errored HTTP",
         "\"error\":\"revoked"},
        {DIALECT_DPS, NEWS_STARTED, "POST /control/transfers/p%2F1/dataflow/started HTTP",
         "\"dataAddress\":{\"endpoint\":\"e\"}"},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct flow *flow = ended(rows[i].dialect, rows[i].news);
        if (rows[i].news == NEWS_STARTED)
            flow_set_ready(flow, json_pack("{s:s}", "endpoint", "e"));
        teller_tell(teller, flow);
        teller_tell(teller, flow); /* once is enough */
        assert_true(run_until(i + 1, 5000));
        assert_int_equal(seen(), i + 1);
        if (!strstr(request(i), rows[i].line) || !strstr(request(i), rows[i].body))
            fail_msg("%s", request(i));
        assert_non_null(strstr(request(i), "x-api-key: the-key"));
        /* The end that follows a failure says that it was heard. */
        bool heard = rows[i].dialect == DIALECT_LEGACY && rows[i].news == NEWS_FAILED;
        assert_int_equal(flow->news, heard ? NEWS_FAILED : NEWS_NONE);
        flow->news = NEWS_NONE;
        flow_forget(flows, flow);
    }
}

static void test_tells_again(void **state)
{
    struct flow *flow = ended(DIALECT_LEGACY, NEWS_FAILED);
    (void)state;
    plane.status = 500;
    teller_tell(teller, flow);
    assert_true(run_until(2, 5000));
    assert_int_equal(flow->news, NEWS_FAILED);
    plane.status = 200;
    assert_true(run_until(3, 5000));
    /* Taken, and no end comes: told again, but not for ever. */
    assert_int_equal(flow->news, NEWS_FAILED);
    assert_true(run_until(2 + TELLER_CONFIRM_TRIES, 2 * TELLER_CONFIRM_MS + 2000));
    assert_int_equal(flow->news, NEWS_NONE);
    /* What is refused for good is not asked again. */
    flow->news = NEWS_COMPLETED;
    plane.status = 404;
    teller_tell(teller, flow);
    assert_true(run_until(3 + TELLER_CONFIRM_TRIES, 5000));
    assert_int_equal(flow->news, NEWS_NONE);
    assert_false(run_until(4 + TELLER_CONFIRM_TRIES, 1200));
}

/* The end has come: nothing is left to be told. */
static void test_heard(void **state)
{
    struct flow *flow = ended(DIALECT_LEGACY, NEWS_FAILED);
    (void)state;
    teller_tell(teller, flow);
    assert_true(run_until(1, 5000));
    flow->news = NEWS_NONE; /* as a terminate leaves it */
    assert_false(run_until(2, TELLER_CONFIRM_MS + 1000));
}

/* Nobody is told who was not configured, and nobody else learns the key. */
static void test_where(void **state)
{
    const char *hosts[] = {"allowed.example"};
    struct flow *flow = ended(DIALECT_LEGACY, NEWS_FAILED);
    char url[TELLER_URL_BYTES], base[64];
    (void)state;
    flow_set(flow, FLOW_CALLBACK, "http://169.254.169.254/latest");
    assert_true(teller_url(config, flow, url));
    assert_non_null(strstr(url, "http://127.0.0.1:"));
    flow_set(flow, FLOW_CALLBACK, "https://allowed.example/control");
    assert_true(teller_url(config, flow, url));
    assert_non_null(strstr(url, "http://127.0.0.1:"));
    config->outgoing.hosts = (struct strings){hosts, 1};
    assert_true(teller_url(config, flow, url));
    assert_string_equal(url, "https://allowed.example/control/transferprocess/p%2F1/fail");
    flow_set(flow, FLOW_CALLBACK, "https://u:p@allowed.example/control");
    assert_true(teller_url(config, flow, url));
    assert_non_null(strstr(url, "http://127.0.0.1:"));
    /* The control plane itself, by another path of its own. */
    snprintf(base, sizeof(base), "http://127.0.0.1:%d/other", httpd.port);
    flow_set(flow, FLOW_CALLBACK, base);
    assert_true(teller_url(config, flow, url));
    assert_non_null(strstr(url, "/other/transferprocess/"));
    /* Another host is told without the key. */
    hosts[0] = "localhost";
    snprintf(base, sizeof(base), "localhost:%d", httpd.port);
    hosts[0] = base;
    char callback[80];
    snprintf(callback, sizeof(callback), "http://localhost:%d/x", httpd.port);
    flow_set(flow, FLOW_CALLBACK, callback);
    teller_tell(teller, flow);
    assert_true(run_until(1, 5000));
    assert_non_null(strstr(request(0), "POST /x/transferprocess/"));
    assert_null(strstr(request(0), "x-api-key"));
}

int main(void)
{
#define TEST(name)   cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TELLER(name) cmocka_unit_test_setup_teardown(name, setup_teller, teardown_teller)
    const struct CMUnitTest tests[] = {
        TEST(test_registers),   TEST(test_known_already), TEST(test_retries),
        TEST(test_unavailable), TEST(test_reload),        TEST(test_dps),
        TEST(test_matches),     TELLER(test_tells),       TELLER(test_tells_again),
        TELLER(test_heard),     TELLER(test_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
