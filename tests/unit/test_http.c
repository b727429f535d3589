#include "tests/unit/unit.h"

#include <time.h>

#include "auth/http.h"
#include "base/loop.h"
#include "tests/unit/certs.h"
#include "tests/unit/httpd.h"

static struct loop *loop;
static struct loop_timer *patience;
static struct http *http;
static struct httpd server;
static char last_request[65536]; /* read after the answer has come */
static unsigned answers;
static int result, status;
static char body[400000], why[256];

static void on_patience(void *arg)
{
    (void)arg;
    fail_msg("nothing happened for 15 s");
}

static char *respond(struct httpd *d, const char *request)
{
    (void)d;
    snprintf(last_request, sizeof(last_request), "%s", request);
    if (strstr(request, "GET /hang"))
        return NULL;
    if (strstr(request, "GET /redirect"))
        return httpd_status(302, "Location: /elsewhere\r\n", "");
    if (strstr(request, "GET /missing"))
        return httpd_status(404, "", "no such page");
    if (strstr(request, "GET /old"))
        return strdup("just a body, as HTTP 0.9 had it\n");
    if (strstr(request, "GET /cut"))
        return strdup("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    if (strstr(request, "GET /encoded"))
        return httpd_status(200, "Content-Encoding: gzip\r\n", "not gzip");
    if (strstr(request, "GET /headers")) {
        char *out = malloc(200000);
        size_t n = (size_t)sprintf(out, "HTTP/1.1 200 OK\r\n");

        while (n < 100000)
            n += (size_t)sprintf(out + n, "X-Filler: %0500d\r\n", 7);
        strcpy(out + n, "\r\nbody");
        return out;
    }
    if (strstr(request, "GET /long") || strstr(request, "GET /endless")) {
        size_t size = strstr(request, "GET /long1000") ? 1000 : 1001;
        char *out = malloc(size + 100);
        size_t n =
            (size_t)sprintf(out, "HTTP/1.1 200 OK\r\n%s\r\n",
                            strstr(request, "GET /long") ? "" : "Content-Length: 5000000\r\n");

        memset(out + n, 'x', size);
        out[n + size] = '\0';
        return out;
    }
    return httpd_ok("{\"good\":true}");
}

static void done(void *arg, const struct http_answer *a)
{
    (void)arg;
    answers++;
    result = a->result;
    status = a->status;
    snprintf(why, sizeof(why), "%s", a->why);
    assert_true(a->len < sizeof(body));
    memcpy(body, a->body, a->len + 1);
    assert_int_equal(strlen(body), a->len);
    loop_stop(loop);
}

static const char *url(const char *scheme, const char *host, const char *path)
{
    static char text[256];

    snprintf(text, sizeof(text), "%s://%s:%d%s", scheme, host, server.port, path);
    return text;
}

static void begin(bool development, const char *ca)
{
    loop = loop_new();
    patience = loop_timer_new(loop, on_patience, NULL);
    http = http_new(loop, development, ca);
    assert_non_null(http);
    answers = 0;
    body[0] = '\0';
}

static void end(void)
{
    http_free(http);
    loop_timer_free(patience);
    loop_free(loop);
}

static void run(unsigned until)
{
    assert_int_equal(loop_timer_set(patience, 15000000), OK);
    while (answers < until)
        assert_int_equal(loop_run(loop), OK);
    loop_timer_clear(patience);
}

static int ask(const struct http_request *r)
{
    struct http_call *c;
    unsigned before = answers;
    int rc = http_start(http, r, done, NULL, &c);

    if (rc != OK)
        return rc;
    assert_int_equal(answers, before); /* not before it returns */
    run(before + 1);
    return result;
}

static int get(const char *path, size_t limit)
{
    return ask(&(struct http_request){.url = url("http", "127.0.0.1", path), .limit_bytes = limit});
}

static void plain_calls(void **state)
{
    (void)state;
    httpd_start(&server, NULL, NULL, respond, NULL);
    begin(true, NULL);
    assert_int_equal(get("/keys?x=1", 1000), OK);
    assert_int_equal(status, 200);
    assert_string_equal(body, "{\"good\":true}");
    assert_ptr_equal(strstr(last_request, "GET /keys?x=1 HTTP/1.1\r\n"), last_request);
    assert_null(strstr(last_request, "Authorization"));
    assert_int_equal(get("/missing", 1000), OK);
    assert_int_equal(status, 404);
    assert_int_equal(get("/redirect", 1000), OK); /* not followed */
    assert_int_equal(status, 302);
    assert_int_equal(server.count, 3);
    assert_int_equal(get("/encoded", 1000), OK);
    assert_string_equal(body, "not gzip");
    assert_int_equal(get("/cut", 1000), ERR_IO);
    assert_int_equal(get("/old", 1000), ERR_IO);
    end();
    httpd_stop(&server);
}

static void posts(void **state)
{
    struct http_request r = {.body = "a=b&c=d", .limit_bytes = 1000};

    (void)state;
    httpd_start(&server, NULL, NULL, respond, NULL);
    begin(true, NULL);
    r.url = url("http", "127.0.0.1", "/token");
    assert_int_equal(ask(&r), OK);
    assert_non_null(strstr(last_request, "POST /token HTTP/1.1\r\n"));
    assert_non_null(strstr(last_request, "Content-Type: application/x-www-form-urlencoded\r\n"));
    assert_non_null(strstr(last_request, "\r\n\r\na=b&c=d"));
    assert_null(strstr(last_request, "Authorization"));
    assert_null(strstr(last_request, "Expect"));
    r.user = "cli ent";
    r.password = "p:w%\xc3\xa4";
    assert_int_equal(ask(&r), OK);
    /* cli%20ent:p%3Aw%25%C3%A4 */
    assert_non_null(
        strstr(last_request, "Authorization: Basic Y2xpJTIwZW50OnAlM0F3JTI1JUMzJUE0\r\n"));
    r = (struct http_request){.url = r.url,
                              .method = "PUT",
                              .body = "{}",
                              .type = "application/json",
                              .header = "x-api-key: k",
                              .limit_bytes = 1000};
    assert_int_equal(ask(&r), OK);
    assert_non_null(strstr(last_request, "PUT /token HTTP/1.1\r\n"));
    assert_non_null(strstr(last_request, "Content-Type: application/json\r\n"));
    assert_null(strstr(last_request, "urlencoded"));
    assert_non_null(strstr(last_request, "x-api-key: k\r\n"));
    r = (struct http_request){.url = r.url, .method = "DELETE", .limit_bytes = 1000};
    assert_int_equal(ask(&r), OK);
    assert_non_null(strstr(last_request, "DELETE /token HTTP/1.1\r\n"));
    end();
    httpd_stop(&server);
}

static void bounds(void **state)
{
    (void)state;
    httpd_start(&server, NULL, NULL, respond, NULL);
    begin(true, NULL);
    assert_int_equal(get("/long1000", 1000), OK);
    assert_int_equal(strlen(body), 1000);
    assert_int_equal(get("/long1001", 1000), ERR_LIMIT);
    assert_string_equal(body, "");
    assert_int_equal(get("/endless", 1000), ERR_LIMIT);
    assert_int_equal(get("/headers", 100000), ERR_LIMIT);
    assert_string_equal(why, "the answer is too long");
    end();
    httpd_stop(&server);
}

static void times_out(void **state)
{
    struct timespec from, to;

    (void)state;
    httpd_start(&server, NULL, NULL, respond, NULL);
    begin(true, NULL);
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_int_equal(get("/hang", 1000), ERR_TIMEOUT);
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_in_range(to.tv_sec - from.tv_sec, HTTP_TIMEOUT_MS / 1000 - 1,
                    HTTP_TIMEOUT_MS / 1000 + 2);
    end();
    httpd_stop(&server);
}

static void over_tls(void **state)
{
    struct http_request r = {.limit_bytes = 1000};
    struct certs certs;

    (void)state;
    certs_init(&certs);
    httpd_start(&server, certs.server, certs.server_key, respond, NULL);
    begin(false, certs.ca);
    r.url = url("https", "127.0.0.1", "/keys");
    assert_int_equal(ask(&r), OK);
    assert_int_equal(status, 200);
    r.url = url("https", "127.0.0.2", "/keys"); /* not in the certificate */
    assert_int_equal(ask(&r), ERR_TLS);
    r.url = url("http", "127.0.0.1", "/keys");
    assert_int_equal(ask(&r), ERR_MALFORMED); /* not in development */
    end();
    begin(false, certs.other_ca);
    r.url = url("https", "127.0.0.1", "/keys");
    assert_int_equal(ask(&r), ERR_TLS);
    end();
    begin(false, NULL); /* the system's authorities don't know it */
    assert_int_equal(ask(&r), ERR_TLS);
    end();
    httpd_stop(&server);
    /* plain text where TLS should be */
    httpd_start(&server, NULL, NULL, respond, NULL);
    begin(false, certs.ca);
    r.url = url("https", "127.0.0.1", "/keys");
    assert_int_not_equal(ask(&r), OK);
    end();
    httpd_stop(&server);
    certs_release(&certs);
}

static void nobody_there(void **state)
{
    (void)state;
    httpd_start(&server, NULL, NULL, respond, NULL);
    httpd_stop(&server);
    begin(true, NULL);
    assert_int_equal(get("/", 100), ERR_IO);
    assert_true(why[0] != '\0');
    end();
}

/* What the environment says of proxies is not for us. */
static void no_proxy(void **state)
{
    (void)state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    httpd_start(&server, NULL, NULL, respond, NULL);
    begin(true, NULL);
    assert_int_equal(get("/", 100), OK);
    end();
    httpd_stop(&server);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
}

static void cancelled(void **state)
{
    struct http_request r = {.limit_bytes = 1000};
    struct http_call *calls[HTTP_CALLS_MAX], *more;
    unsigned i;

    (void)state;
    httpd_start(&server, NULL, NULL, respond, NULL);
    begin(true, NULL);
    r.url = url("http", "127.0.0.1", "/hang");
    for (i = 0; i < HTTP_CALLS_MAX; i++)
        assert_int_equal(http_start(http, &r, done, NULL, &calls[i]), OK);
    assert_int_equal(http_start(http, &r, done, NULL, &more), ERR_BUSY);
    for (i = 0; i < HTTP_CALLS_MAX / 2; i++)
        http_cancel(calls[i]);
    http_cancel(NULL);
    assert_int_equal(http_start(http, &r, done, NULL, &more), OK);
    http_cancel(more);
    end(); /* the rest ends with it, unheard */
    assert_int_equal(answers, 0);
    httpd_stop(&server);
}

static void ask_again(void *arg, const struct http_answer *a)
{
    struct http_request r = {.limit_bytes = 1000};
    struct http_call *c;

    done(arg, a);
    if (answers == 5)
        return;
    r.url = url("http", "127.0.0.1", "/again");
    assert_int_equal(http_start(http, &r, ask_again, NULL, &c), OK);
}

static void calls_from_answers(void **state)
{
    struct http_request r = {.limit_bytes = 1000};
    struct http_call *c;

    (void)state;
    httpd_start(&server, NULL, NULL, respond, NULL);
    begin(true, NULL);
    r.url = url("http", "127.0.0.1", "/again");
    assert_int_equal(http_start(http, &r, ask_again, NULL, &c), OK);
    run(5);
    assert_int_equal(server.count, 5);
    end();
    httpd_stop(&server);
}

static void urls(void **state)
{
    char long_url[HTTP_URL_BYTES_MAX + 2];

    (void)state;
    assert_true(http_url_ok("https://a", false));
    assert_true(http_url_ok("https://idp.example.com:8443/realms/x?y=z", false));
    assert_true(http_url_ok("HTTPS://a/@b", false));
    assert_true(http_url_ok("http://a", true));
    assert_false(http_url_ok(NULL, true));
    assert_false(http_url_ok("", true));
    assert_false(http_url_ok("http://a", false));
    assert_false(http_url_ok("ftp://a", true));
    assert_false(http_url_ok("file:///etc/passwd", true));
    assert_false(http_url_ok("//a", true));
    assert_false(http_url_ok("https://", true));
    assert_false(http_url_ok("https:///x", true));
    assert_false(http_url_ok("https://?x", true));
    assert_false(http_url_ok("https://user@a", true));
    assert_false(http_url_ok("https://user:pw@a/", true));
    assert_false(http_url_ok("https://a/ b", true));
    assert_false(http_url_ok("https://a/\r\nX: y", true));
    assert_false(http_url_ok("https://a\\@b", true));
    assert_false(http_url_ok("https://\xc3\xa4", true));
    memset(long_url, 'a', sizeof(long_url));
    memcpy(long_url, "https://", 8);
    long_url[HTTP_URL_BYTES_MAX + 1] = '\0';
    assert_false(http_url_ok(long_url, true));
    long_url[HTTP_URL_BYTES_MAX] = '\0';
    assert_true(http_url_ok(long_url, true));
}

static void forms(void **state)
{
    char out[34] = "";

    (void)state;
    assert_int_equal(http_form_add(out, sizeof(out), "a", "b c&d=\xc3\xa4"), OK);
    assert_string_equal(out, "a=b%20c%26d%3D%C3%A4");
    assert_int_equal(http_form_add(out, sizeof(out), "e", "1-._~"), OK);
    assert_string_equal(out, "a=b%20c%26d%3D%C3%A4&e=1-._~");
    assert_int_equal(http_form_add(out, sizeof(out), "f", "1"), OK);
    assert_int_equal(http_form_add(out, sizeof(out), "g", ""), ERR_LIMIT);
    out[0] = '\0';
    assert_int_equal(http_form_add(out, 6, "a", "bcd"), OK);
    out[0] = '\0';
    assert_int_equal(http_form_add(out, 6, "a", "bcde"), ERR_LIMIT);
    out[0] = '\0';
    assert_int_equal(http_form_add(out, 6, "a", "b "), ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_calls), cmocka_unit_test(posts),
        cmocka_unit_test(bounds),      cmocka_unit_test(times_out),
        cmocka_unit_test(over_tls),    cmocka_unit_test(nobody_there),
        cmocka_unit_test(no_proxy),    cmocka_unit_test(cancelled),
        cmocka_unit_test(urls),        cmocka_unit_test(calls_from_answers),
        cmocka_unit_test(forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
