/* A server that refuses what is too long while it is still being sent: its answer arrives, whoever
 * goes on sending is heard to a bound in bytes, in time and in number. */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/loop.h"
#include "control/linger.h"
#include "control/server.h"
#include "tests/unit/certs.h"
#include "tests/unit/port.h"

#define BODY_MAX  1000
#define MEGABYTE  ((size_t)1 << 20)
#define ANNOUNCED "Content-Length: 1073741824\r\n\r\n"
#define CHUNKED   "Transfer-Encoding: chunked\r\n\r\n"

static struct loop *loop;
static struct server *server;
static struct certs certs;
static SSL_CTX *tls; /* NULL: plain */
static pthread_t thread;

static bool anybody(void *arg, struct ask *a, bool open)
{
    (void)arg;
    (void)a;
    (void)open;
    return true;
}

static void *run(void *arg)
{
    (void)arg;
    assert_int_equal(loop_run(loop), OK);
    return NULL;
}

static void start(bool with_tls)
{
    struct server_settings s = {.name = "control",
                                .listen = {"127.0.0.1", free_port()},
                                .body_max = BODY_MAX,
                                .guard = anybody};
    char err[512] = "";

    signal(SIGPIPE, SIG_IGN);
    if (with_tls) {
        s.certificate = certs.server;
        s.key = certs.server_key;
        tls = SSL_CTX_new(TLS_client_method());
    }
    loop = loop_new();
    server = server_new(loop, &s, err, sizeof(err));
    if (!server)
        fail_msg("%s", err);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
}

static int plain(void **state)
{
    (void)state;
    start(false);
    return 0;
}

static int secure(void **state)
{
    (void)state;
    start(true);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    loop_stop(loop);
    pthread_join(thread, NULL);
    server_free(server);
    loop_free(loop);
    SSL_CTX_free(tls);
    tls = NULL;
    return 0;
}

/* --- a client */

struct client {
    int fd;
    SSL *ssl;
};

static ssize_t put(struct client *c, const void *p, size_t n)
{
    return c->ssl ? SSL_write(c->ssl, p, (int)n) : send(c->fd, p, n, MSG_NOSIGNAL);
}

/* Sends a header, of which this is the rest. */
static void client_open(struct client *c, const char *rest)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(server_port(server)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const struct timeval patience = {.tv_sec = 60};
    char head[256];
    int n;

    c->ssl = NULL;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    if (tls) {
        c->ssl = SSL_new(tls);
        SSL_set_fd(c->ssl, c->fd);
        assert_int_equal(SSL_connect(c->ssl), 1);
    }
    n = snprintf(head, sizeof(head), "POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\n%s", rest);
    assert_int_equal(put(c, head, (size_t)n), n);
}

static void client_close(struct client *c)
{
    SSL_free(c->ssl);
    close(c->fd);
}

/* Sends so much of a body, or what the server lets; returns how much that was. */
static size_t pour(struct client *c, size_t bytes, bool chunks)
{
    static char piece[65536 + 16];
    size_t sent = 0, n = chunks ? (size_t)sprintf(piece, "%x\r\n", 65536) : 0;

    memset(piece + n, ' ', 65536);
    n += 65536;
    if (chunks) {
        memcpy(piece + n, "\r\n", 2);
        n += 2;
    }
    while (sent < bytes) {
        ssize_t went = put(c, piece, n);

        if (went <= 0)
            break;
        sent += (size_t)went;
    }
    return sent;
}

static ssize_t get(struct client *c, char *p, size_t n)
{
    return c->ssl ? SSL_read(c->ssl, p, (int)n) : recv(c->fd, p, n, 0);
}

/* The answer's status; 0: none came. The last one ends with the server's end, not with a reset. */
static int status_of(struct client *c, bool last)
{
    char said[4096] = "";
    size_t at = 0;
    ssize_t n = 1;

    while (n > 0 && at < sizeof(said) - 1 && (last || !strstr(said, "}\n"))) {
        n = get(c, said + at, sizeof(said) - 1 - at);
        if (n > 0)
            at += (size_t)n;
    }
    if (!c->ssl && n < 0)
        return 0;
    return at > 12 ? atoi(said + 9) : 0;
}

static unsigned open_files(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* --- */

/* It sends all that it has before it reads a byte. */
static void hears_it_out(void **state)
{
    struct client c;

    (void)state;
    for (int chunks = 0; chunks < 2; chunks++) {
        client_open(&c, chunks ? CHUNKED : ANNOUNCED);
        assert_true(pour(&c, 100 * MEGABYTE, chunks) >= 100 * MEGABYTE);
        assert_int_equal(status_of(&c, true), 413);
        client_close(&c);
    }
    client_open(&c, "X-Long: ");
    assert_true(pour(&c, 10 * MEGABYTE, false) >= 10 * MEGABYTE);
    assert_int_equal(status_of(&c, true), 400);
    client_close(&c);
}

static void never_stops(void **state)
{
    (void)state;
    for (int chunks = 0; chunks < 2; chunks++) {
        struct client c;
        size_t sent;

        client_open(&c, chunks ? CHUNKED : ANNOUNCED);
        sent = pour(&c, 1024 * MEGABYTE, chunks);
        client_close(&c);
        /* What the kernel's buffers of both sides take comes on top. */
        assert_in_range(sent, LINGER_BYTES_MAX / 2, 2 * LINGER_BYTES_MAX);
    }
}

/* A byte now and then: what came in the meantime is no reason to stay. */
static void takes_its_time(void **state)
{
    struct timespec from, to, used, used_then;
    struct client c;
    long took_ms, used_ms;

    (void)state;
    client_open(&c, ANNOUNCED);
    clock_gettime(CLOCK_MONOTONIC, &from);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    for (int i = 0; i < 600 && put(&c, " ", 1) == 1; i++)
        usleep(100000);
    clock_gettime(CLOCK_MONOTONIC, &to);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used_then);
    client_close(&c);
    took_ms = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
    assert_in_range(took_ms, LINGER_S * 1000 - 500, LINGER_S * 1000 + 20000);
    /* It sleeps meanwhile. */
    used_ms =
        (used_then.tv_sec - used.tv_sec) * 1000 + (used_then.tv_nsec - used.tv_nsec) / 1000000;
    assert_in_range(used_ms, 0, 1000);
}

/* Each has its answer; those above the bound are closed at once, and the end closes all. */
static void so_many_at_a_time(void **state)
{
    struct client c[LINGERS_MAX + 8];
    const int n = LINGERS_MAX + 8;
    unsigned before = open_files(), lingering = 0;

    (void)state;
    for (int i = 0; i < n; i++) {
        client_open(&c[i], ANNOUNCED);
        assert_int_equal(status_of(&c[i], true), 413);
    }
    /* Whoever is closed hears so when it writes twice: a reset comes for the first. */
    for (int i = 0; i < n; i++)
        (void)put(&c[i], " ", 1);
    usleep(300000);
    for (int i = 0; i < n; i++)
        lingering += put(&c[i], " ", 1) == 1;
    assert_int_equal(lingering, LINGERS_MAX);
    assert_int_equal(open_files(), before + (unsigned)n + LINGERS_MAX); /* theirs and ours */
    loop_stop(loop);
    pthread_join(thread, NULL);
    server_free(server);
    server = NULL;
    /* libevent closes in the loop's next turn; the listener is gone as well. */
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    for (int i = 0; i < 2000 && open_files() >= before + (unsigned)n; i++)
        usleep(1000);
    assert_true(open_files() < before + (unsigned)n);
    for (int i = 0; i < n; i++)
        client_close(&c[i]);
}

/* A connection goes on behind a refusal of ours, whose request was read. */
static void goes_on_behind_ours(void **state)
{
    static const char request[] = "GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    struct client c;

    (void)state;
    client_open(&c, "Content-Length: 0\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(status_of(&c, false), 404);
        assert_int_equal(put(&c, request, sizeof(request) - 1), sizeof(request) - 1);
    }
    client_close(&c);
}

int main(void)
{
#define PLAIN(f) cmocka_unit_test_setup_teardown(f, plain, stop)
#define SECURE(f)                                                                                  \
    {                                                                                              \
#f " (TLS)", f, secure, stop, NULL                                                         \
    }
    const struct CMUnitTest tests[] = {
        PLAIN(hears_it_out),        SECURE(hears_it_out),        PLAIN(never_stops),
        SECURE(never_stops),        PLAIN(takes_its_time),       PLAIN(so_many_at_a_time),
        PLAIN(goes_on_behind_ours), SECURE(goes_on_behind_ours),
    };
    int rc;

    certs_init(&certs);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    certs_release(&certs);
    return rc;
}
