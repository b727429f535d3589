/* What the tests of transports share: ends that send and check a stream of known bytes, contexts,
 * connections over the loopback, and a loop for each test. */
#ifndef TESTS_ENDS_H
#define TESTS_ENDS_H

#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/alloc.h"
#include "proxy/tls.h"
#include "proxy/transport.h"
#include "tests/unit/certs.h"

static struct certs certs;
static struct loop *loop;
static unsigned to_hear; /* failed events until the loop stops */
static uint64_t seed = 1;

static size_t roll(size_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(seed >> 33) % below;
}

/* --- one end of a connection, which sends and checks a stream of known bytes */

struct end {
    struct transport t;
    uint64_t to_send, sent, received;
    uint64_t expect;          /* finishes when it has sent all and got this much */
    struct loop_timer *timer; /* a slow reader's pace */
    size_t slow_bytes;        /* takes at most this much, then rests; 0: all at once */
    unsigned ready, drained, failed;
    bool stay; /* does not finish when all is sent */
    bool free_when_told;
    int why;
    char text[160];
};

static uint8_t stream_byte(uint64_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

static void finish_if_done(struct end *e)
{
    if (!e->stay && e->sent == e->to_send && e->received >= e->expect)
        transport_finish(&e->t);
}

static inline void pump(struct end *e)
{
    uint8_t bytes[40000];
    while (e->sent < e->to_send) {
        size_t room = e->t.out.limit_bytes - e->t.out.len;
        size_t n = 1 + roll(roll(3) ? 300 : sizeof(bytes));
        if (n > e->to_send - e->sent)
            n = (size_t)(e->to_send - e->sent);
        if (n > room)
            break;
        for (size_t i = 0; i < n; i++)
            bytes[i] = stream_byte(e->sent + i);
        if (buf_append(&e->t.out, bytes, n) != OK)
            break; /* out of memory, in the test that makes it so */
        e->sent += n;
        if (roll(4) == 0)
            transport_send(&e->t);
    }
    transport_send(&e->t);
    finish_if_done(e);
}

static void on_ready(void *arg)
{
    struct end *e = arg;
    e->ready++;
    if (e->to_send)
        pump(e);
}

static void take(struct end *e, size_t n)
{
    static uint8_t bytes[1 << 20];
    while (n) {
        size_t part = 1 + roll(5000);
        if (part > n)
            part = n;
        buf_copy_out(&e->t.in, 0, bytes, part);
        for (size_t i = 0; i < part; i++)
            assert_int_equal(bytes[i], stream_byte(e->received + i));
        buf_drain(&e->t.in, part);
        e->received += part;
        n -= part;
    }
    finish_if_done(e);
}

static void on_readable(void *arg)
{
    struct end *e = arg;
    assert_true(e->t.in.len > 0);
    if (!e->slow_bytes) {
        take(e, e->t.in.len);
        return;
    }
    transport_pause(&e->t, true);
    if (!loop_timer_pending(e->timer))
        assert_int_equal(loop_timer_set(e->timer, 200), OK);
}

static void on_rested(void *arg)
{
    struct end *e = arg;
    take(e, e->t.in.len < e->slow_bytes ? e->t.in.len : e->slow_bytes);
    if (e->t.in.len)
        assert_int_equal(loop_timer_set(e->timer, 200), OK);
    else
        transport_pause(&e->t, false);
}

static void on_drained(void *arg)
{
    struct end *e = arg;
    e->drained++;
    assert_int_equal(e->t.out.len, 0);
    if (e->sent < e->to_send)
        pump(e);
}

static void on_failed(void *arg, int why, const char *text)
{
    struct end *e = arg;
    e->failed++;
    e->why = why;
    (void)snprintf(e->text, sizeof(e->text), "%s", text);
    if (--to_hear == 0)
        loop_stop(loop);
    if (e->free_when_told) {
        transport_close(&e->t, false);
        memset(&e->t, 0x5a, sizeof(e->t));
    }
}

static const struct transport_events events = {on_ready, on_readable, on_drained, on_failed};

static void end_release(struct end *e)
{
    transport_close(&e->t, false);
    transport_close(&e->t, false);
    loop_timer_free(e->timer);
}

static void out_of_time(void *arg)
{
    (void)arg;
    fail_msg("the test took too long");
}

static void stop_loop(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static void run_with(loop_fn *fn, uint64_t most_us)
{
    struct loop_timer *t = loop_timer_new(loop, fn, NULL);
    assert_non_null(t);
    assert_int_equal(loop_timer_set(t, most_us), OK);
    assert_int_equal(loop_run(loop), OK);
    loop_timer_free(t);
}

static inline void run_for(uint64_t us)
{
    run_with(stop_loop, us);
}

/* Until it has come true, but not forever: what follows asserts it. */
#define run_until(condition)                                                                       \
    for (int tries_ = 0; tries_ < 10000 && !(condition); tries_++)                                 \
    run_for(1000)

/* Until so many failed events have come, each of them told once. */
static inline void run_until_failed(unsigned count)
{
    to_hear = count;
    run_with(out_of_time, 20000000);
}

/* --- connections */

static int listen_on(struct sockaddr_in *addr)
{
    socklen_t len = sizeof(*addr);
    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)addr, sizeof(*addr)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
    return fd;
}

static int accept_one(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
    return fd;
}

#define LIMIT (128 * 1024)

static inline void join(struct end *server, struct tls_context *sctx, struct end *client,
                        struct tls_context *cctx)
{
    struct sockaddr_in addr;
    int listener = listen_on(&addr);
    assert_int_equal(transport_connect(&client->t, loop, (struct sockaddr *)&addr, sizeof(addr),
                                       cctx, "localhost", &events, client, LIMIT, LIMIT),
                     OK);
    int fd = accept_one(listener);
    close(listener);
    assert_int_equal(transport_accept(&server->t, loop, fd, sctx, &events, server, LIMIT, LIMIT),
                     OK);
    server->timer = loop_timer_new(loop, on_rested, server);
    client->timer = loop_timer_new(loop, on_rested, client);
}

static inline struct tls_context *server_context(int min_version, int client_certificate)
{
    char err[256] = "";
    struct tls_server_settings s = {
        .certificate = certs.server,
        .key = certs.server_key,
        .client_ca = client_certificate ? certs.ca : NULL,
        .client_certificate = client_certificate,
        .min_version = min_version,
    };
    struct tls_context *c = tls_server_new(&s, err, sizeof(err));
    assert_string_equal(err, "");
    assert_non_null(c);
    return c;
}

static inline struct tls_context *client_context(bool with_certificate)
{
    char err[256] = "";
    struct tls_client_settings s = {.ca = certs.ca, .verify = true, .min_version = 12};
    if (with_certificate) {
        s.certificate = certs.client;
        s.key = certs.client_key;
    }
    struct tls_context *c = tls_client_new(&s, err, sizeof(err));
    assert_string_equal(err, "");
    assert_non_null(c);
    return c;
}

/* Cuts a context to TLS 1.2, which no setting of ours does. */
static inline struct tls_context *only_12(struct tls_context *c)
{
    SSL *ssl = tls_context_ssl(c);
    assert_int_equal(SSL_CTX_set_max_proto_version(SSL_get_SSL_CTX(ssl), TLS1_2_VERSION), 1);
    SSL_free(ssl);
    return c;
}

/* A connection of which the test holds the other end by hand. */
static inline int raw_peer(struct end *server, struct tls_context *sctx)
{
    struct sockaddr_in addr;
    int listener = listen_on(&addr), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    int accepted = accept_one(listener);
    close(listener);
    assert_int_equal(
        transport_accept(&server->t, loop, accepted, sctx, &events, server, LIMIT, LIMIT), OK);
    return fd;
}

#ifdef SLUICE_TEST
/* OpenSSL allocates through the same counter. */
static inline void *tls_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return sl_malloc(n);
}

static inline void *tls_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return sl_realloc(p, n);
}

static inline void tls_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    sl_free(p);
}
#endif

static int set_up(void **state)
{
    (void)state;
    certs_init(&certs);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    certs_release(&certs);
    buf_thread_trim();
    return 0;
}

static int new_loop(void **state)
{
    (void)state;
    loop = loop_new();
    return loop ? 0 : -1;
}

static int free_loop(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

#endif
