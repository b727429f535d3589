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

static void pump(struct end *e)
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

static void run_for(uint64_t us)
{
    run_with(stop_loop, us);
}

/* Until so many failed events have come, each of them told once. */
static void run_until_failed(unsigned count)
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

static void join(struct end *server, struct tls_context *sctx, struct end *client,
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

static struct tls_context *server_context(int min_version, int client_certificate)
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

static struct tls_context *client_context(bool with_certificate)
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
static struct tls_context *only_12(struct tls_context *c)
{
    SSL *ssl = tls_context_ssl(c);
    assert_int_equal(SSL_CTX_set_max_proto_version(SSL_get_SSL_CTX(ssl), TLS1_2_VERSION), 1);
    SSL_free(ssl);
    return c;
}

/* --- transfer */

struct transfer {
    uint64_t up, down;
    size_t slow_bytes;
    bool bulk;
};

static void transfer(struct tls_context *sctx, struct tls_context *cctx, struct transfer x)
{
    struct end server = {.to_send = x.down, .expect = x.up, .slow_bytes = x.slow_bytes};
    struct end client = {.to_send = x.up, .expect = x.down};
    join(&server, sctx, &client, cctx);
    transport_bulk(&client.t, x.bulk);
    transport_bulk(&server.t, x.bulk);
    run_until_failed(1); /* whichever end has all finishes; the other hears of it */
    assert_int_equal(server.ready, 1);
    assert_int_equal(client.ready, 1);
    assert_int_equal(server.failed ? server.why : client.why, ERR_EOF);
    assert_int_equal(server.received, x.up);
    assert_int_equal(client.received, x.down);
    assert_int_equal(server.t.stats.bytes_in, x.up);
    assert_int_equal(server.t.stats.bytes_out, x.down);
    assert_int_equal(client.t.stats.bytes_in, x.down);
    assert_int_equal(client.t.stats.bytes_out, x.up);
    end_release(&server);
    end_release(&client);
    assert_int_equal(buf_thread_bytes(), 0);
}

static void transfer_all_ways(struct tls_context *sctx, struct tls_context *cctx)
{
    transfer(sctx, cctx, (struct transfer){.up = 1, .down = 1});
    transfer(sctx, cctx, (struct transfer){.up = 16384, .down = 16385});
    transfer(sctx, cctx, (struct transfer){.up = 3000000, .down = 5000000, .bulk = true});
    transfer(sctx, cctx, (struct transfer){.up = 2000000, .down = 700000});
    transfer(sctx, cctx, (struct transfer){.up = 0, .down = 1000000});
    transfer(sctx, cctx, (struct transfer){.up = 6000000, .down = 9, .slow_bytes = 50000});
    tls_unref(sctx);
    tls_unref(cctx);
}

static void test_plain_transfer(void **state)
{
    (void)state;
    transfer_all_ways(NULL, NULL);
}

static void test_tls13_transfer(void **state)
{
    (void)state;
    transfer_all_ways(server_context(13, 0), client_context(false));
}

static void test_tls12_transfer(void **state)
{
    (void)state;
    transfer_all_ways(server_context(12, 0), only_12(client_context(false)));
}

/* --- random cuts: every byte goes through a relay that passes on pieces of any size */

struct relay {
    int from, to;
    struct loop_io *io;
    size_t passed, corrupt; /* the byte to spoil; 0: none */
};

static void relay_on(void *arg, unsigned ready)
{
    struct relay *r = arg;
    (void)ready;
    uint8_t piece[3000];
    ssize_t n = read(r->from, piece, 1 + roll(roll(2) ? 30 : sizeof(piece)));
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        (void)shutdown(r->to, SHUT_WR);
        assert_int_equal(loop_io_want(r->io, 0), OK);
        return;
    }
    if (r->corrupt >= r->passed && r->corrupt < r->passed + (size_t)n)
        piece[r->corrupt - r->passed] ^= r->corrupt ? 1 : 0;
    r->passed += (size_t)n;
    for (ssize_t at = 0; at < n;) {
        ssize_t w = send(r->to, piece + at, (size_t)(n - at), MSG_NOSIGNAL);
        if (w < 0) {
            assert_int_equal(errno, EAGAIN);
            struct pollfd p = {.fd = r->to, .events = POLLOUT};
            /* The receiver may be behind us in this very loop. */
            if (poll(&p, 1, 2000) != 1)
                fail_msg("the relay is stuck");
            continue;
        }
        at += w;
    }
}

static void cut_transfer(struct tls_context *sctx, struct tls_context *cctx, size_t corrupt)
{
    struct end server = {.to_send = 200000, .expect = 150000};
    struct end client = {.to_send = 150000, .expect = 200000};
    int a[2], b[2], big = 1 << 20;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b), 0);
    assert_int_equal(setsockopt(a[1], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big)), 0);
    assert_int_equal(setsockopt(b[1], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big)), 0);
    struct relay there = {.from = a[1], .to = b[1], .corrupt = corrupt};
    struct relay back = {.from = b[1], .to = a[1]};
    there.io = loop_io_new(loop, a[1], relay_on, &there);
    back.io = loop_io_new(loop, b[1], relay_on, &back);
    assert_int_equal(loop_io_want(there.io, LOOP_READ), OK);
    assert_int_equal(loop_io_want(back.io, LOOP_READ), OK);
    assert_int_equal(transport_accept(&server.t, loop, a[0], sctx, &events, &server, LIMIT, LIMIT),
                     OK);
    /* A server's end would do for plain; TLS needs a client, whose way in is connect. */
    struct sockaddr_in addr;
    int listener = listen_on(&addr);
    assert_int_equal(transport_connect(&client.t, loop, (struct sockaddr *)&addr, sizeof(addr),
                                       cctx, "localhost", &events, &client, LIMIT, LIMIT),
                     OK);
    close(accept_one(listener));
    close(listener);
    assert_true(dup2(b[0], client.t.fd) >= 0);
    close(b[0]);
    run_until_failed(1);
    if (corrupt) {
        assert_true(client.received < server.to_send);
        assert_int_equal(client.why, ERR_TLS);
        assert_string_equal(client.text, "TLS failed: decryption failed or bad record mac");
    } else {
        assert_int_equal(server.received, client.to_send);
        assert_int_equal(client.received, server.to_send);
    }
    end_release(&server);
    end_release(&client);
    loop_io_free(there.io);
    loop_io_free(back.io);
    close(a[1]);
    close(b[1]);
    tls_unref(sctx);
    tls_unref(cctx);
}

static void test_transfer_in_pieces_of_any_size(void **state)
{
    (void)state;
    cut_transfer(NULL, NULL, 0);
    cut_transfer(server_context(13, 0), client_context(false), 0);
    cut_transfer(server_context(12, 0), only_12(client_context(false)), 0);
}

static void test_a_spoiled_byte_ends_the_connection(void **state)
{
    (void)state;
    for (size_t at = 3000; at < 150000; at += 20011) {
        cut_transfer(server_context(13, 0), client_context(false), at);
        cut_transfer(server_context(12, 0), only_12(client_context(false)), at);
    }
}

/* --- the ends of a connection */

static void half_close(struct tls_context *sctx, struct tls_context *cctx)
{
    /* The client says all it has and closes its half; the server, which is not reading at that
     * moment, still answers, and hears of the end when it goes on. */
    struct end server = {.stay = true}, client = {.to_send = 1000};
    join(&server, sctx, &client, cctx);
    run_for(30000);
    assert_int_equal(server.received, 1000);
    assert_int_equal(server.failed, 1);
    end_release(&server);
    end_release(&client);

    server = (struct end){.to_send = 0, .stay = true};
    client = (struct end){.to_send = 1000};
    join(&server, sctx, &client, cctx);
    transport_pause(&server.t, true);
    run_for(30000);
    assert_int_equal(server.failed, 0);
    assert_int_equal(server.ready, 1);
    server.to_send = 50000;
    server.stay = false;
    pump(&server);
    run_until_failed(1);
    assert_int_equal(client.received, 50000);
    assert_int_equal(client.why, ERR_EOF);
    assert_int_equal(server.failed, 0);
    transport_pause(&server.t, false);
    run_until_failed(1);
    assert_int_equal(server.received, 1000);
    assert_int_equal(server.why, ERR_EOF);
    end_release(&server);
    end_release(&client);

    /* The end came together with the last bytes, to a reader that had stopped by then. */
    server = (struct end){.slow_bytes = 100, .stay = true};
    client = (struct end){.to_send = 1000};
    join(&server, sctx, &client, cctx);
    run_until_failed(1);
    assert_int_equal(server.why, ERR_EOF);
    assert_int_equal(server.received, 1000);
    end_release(&server);
    end_release(&client);
    tls_unref(sctx);
    tls_unref(cctx);
}

static void test_half_close(void **state)
{
    (void)state;
    half_close(NULL, NULL);
    half_close(server_context(12, 0), client_context(false));
    half_close(server_context(12, 0), only_12(client_context(false)));
}

/* A connection of which the test holds the other end by hand. */
static int raw_peer(struct end *server, struct tls_context *sctx)
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

static ssize_t read_to_end(int fd, size_t *total)
{
    char bytes[65536];
    struct timeval most = {.tv_sec = 5};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
    ssize_t n;
    *total = 0;
    while ((n = read(fd, bytes, sizeof(bytes))) > 0)
        *total += (size_t)n;
    return n;
}

static void test_a_hard_close_resets_and_a_soft_one_delivers(void **state)
{
    (void)state;
    for (int hard = 0; hard <= 1; hard++) {
        struct end server = {.to_send = 100000, .stay = true};
        int fd = raw_peer(&server, NULL);
        run_for(20000);
        assert_int_equal(server.t.stats.bytes_out, 100000);
        /* Unread bytes on our side must not turn a soft close into a reset. */
        transport_pause(&server.t, true);
        assert_int_equal(write(fd, "unread", 6), 6);
        transport_close(&server.t, hard);
        size_t total;
        ssize_t end = read_to_end(fd, &total);
        if (hard) {
            assert_int_equal(end, -1);
            assert_int_equal(errno, ECONNRESET);
        } else {
            assert_int_equal(end, 0);
            assert_int_equal(total, 100000);
        }
        close(fd);
        assert_int_equal(server.failed, 0);
        end_release(&server);
    }
}

static void test_a_reset_is_an_error_with_its_reason(void **state)
{
    (void)state;
    struct end server = {.stay = true};
    int fd = raw_peer(&server, NULL);
    run_for(5000);
    struct linger none = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)), 0);
    close(fd);
    run_until_failed(1);
    assert_int_equal(server.why, ERR_IO);
    assert_string_equal(server.text, "Connection reset by peer");
    end_release(&server);
}

static void test_a_refused_connection_is_told(void **state)
{
    (void)state;
    struct sockaddr_in addr;
    close(listen_on(&addr));
    struct end client = {.stay = true};
    int err = transport_connect(&client.t, loop, (struct sockaddr *)&addr, sizeof(addr), NULL, NULL,
                                &events, &client, LIMIT, LIMIT);
    if (err == OK) {
        run_until_failed(1);
        assert_int_equal(client.why, ERR_IO);
        assert_string_equal(client.text, "Connection refused");
        assert_int_equal(client.ready, 0);
    } else {
        assert_int_equal(err, ERR_IO);
    }
    end_release(&client);
    struct transport zero;
    memset(&zero, 0, sizeof(zero));
    transport_close(&zero, true);
}

static void test_may_be_freed_inside_its_last_event(void **state)
{
    (void)state;
    struct tls_context *sctx = server_context(12, 0);
    struct end server = {.stay = true, .free_when_told = true};
    int fd = raw_peer(&server, sctx);
    assert_int_equal(write(fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    run_until_failed(1);
    run_for(5000);
    loop_timer_free(server.timer);
    close(fd);
    tls_unref(sctx);
}

static void test_a_full_buffer_stops_reading(void **state)
{
    (void)state;
    struct end server = {.stay = true, .slow_bytes = LIMIT};
    int fd = raw_peer(&server, NULL);
    uint8_t bytes[LIMIT + 5000];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = stream_byte(i);
    assert_int_equal(send(fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
    server.timer = loop_timer_new(loop, stop_loop, NULL);
    for (int i = 0; i < 8; i++) {
        run_for(3000);
        transport_pause(&server.t, false);
    }
    assert_int_equal(server.t.in.len, LIMIT);
    take(&server, LIMIT);
    transport_pause(&server.t, false);
    run_for(3000);
    take(&server, server.t.in.len);
    assert_int_equal(server.received, sizeof(bytes));
    close(fd);
    end_release(&server);
}

/* --- handshakes that fail */

static void expect_refusal(struct tls_context *sctx, const void *bytes, size_t n, int why,
                           const char *text)
{
    struct end server = {.stay = true};
    int fd = raw_peer(&server, sctx);
    assert_int_equal(send(fd, bytes, n, 0), (ssize_t)n);
    if (why == ERR_EOF)
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
    run_until_failed(1);
    assert_int_equal(server.ready, 0);
    assert_string_equal(server.text, text);
    assert_int_equal(server.why, why);
    close(fd);
    end_release(&server);
}

/* What a client that knows no newer version says first. */
static size_t client_hello(int max_version, uint8_t *out, size_t size)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(ctx, 0);
    (void)SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, max_version), 1);
    SSL *ssl = SSL_new(ctx);
    BIO *to = BIO_new(BIO_s_mem()), *from = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, from, to);
    assert_int_equal(SSL_connect(ssl), -1);
    int n = BIO_read(to, out, (int)size);
    assert_true(n > 0);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return (size_t)n;
}

static void test_handshake_failures_say_what_the_peer_did(void **state)
{
    (void)state;
    static const uint8_t kafka[] = {0, 0, 0, 20, 0, 18, 0, 3, 0, 0, 0, 1, 0, 4, 't', 'e', 's', 't'};
    uint8_t hello[2048];
    struct tls_context *c12 = server_context(12, 0), *c13 = server_context(13, 0);
    expect_refusal(c12, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, ERR_TLS,
                   "HTTP request on the TLS port");
    expect_refusal(c12, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, ERR_TLS,
                   "HTTP request on the TLS port");
    expect_refusal(c12, kafka, sizeof(kafka), ERR_TLS, "not TLS: a Kafka client without TLS?");
    expect_refusal(c12, "SSH-2.0-OpenSSH_9.2\r\n", 21, ERR_TLS, "not TLS");
    expect_refusal(c12, "", 0, ERR_EOF, "closed during the TLS handshake");
    size_t n = client_hello(TLS1_VERSION, hello, sizeof(hello));
    expect_refusal(c12, hello, n, ERR_TLS, "TLS 1.0 offered, TLS 1.2 is the least");
    n = client_hello(TLS1_1_VERSION, hello, sizeof(hello));
    expect_refusal(c12, hello, n, ERR_TLS, "TLS 1.1 offered, TLS 1.2 is the least");
    n = client_hello(TLS1_2_VERSION, hello, sizeof(hello));
    expect_refusal(c13, hello, n, ERR_TLS, "TLS 1.2 offered, TLS 1.3 is the least");
    expect_refusal(c12, hello, n / 2, ERR_EOF, "closed during the TLS handshake");
    tls_unref(c12);
    tls_unref(c13);
}

/* Any first bytes, cut anywhere: an end, with a reason, and no crash. */
static void test_broken_hellos_fail(void **state)
{
    (void)state;
    uint8_t hello[2048], broken[2048];
    struct tls_context *c = server_context(12, 0);
    size_t n = client_hello(TLS1_3_VERSION, hello, sizeof(hello));
    for (int i = 0; i < 150; i++) {
        memcpy(broken, hello, n);
        for (size_t k = 1 + roll(4); k; k--)
            broken[roll(n)] = (uint8_t)roll(256);
        struct end server = {.stay = true};
        int fd = raw_peer(&server, c);
        size_t len = roll(2) ? n : 1 + roll(n);
        assert_int_equal(send(fd, broken, len, 0), (ssize_t)len);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        run_until_failed(1);
        assert_int_equal(server.ready, 0);
        assert_true(strlen(server.text) > 0);
        close(fd);
        end_release(&server);
    }
    tls_unref(c);
}

/* --- certificates */

static void meet(struct tls_context *sctx, struct tls_context *cctx, const char *name,
                 struct end *server, struct end *client)
{
    struct sockaddr_in addr;
    int listener = listen_on(&addr);
    *server = (struct end){.stay = true};
    *client = (struct end){.stay = true};
    assert_int_equal(transport_connect(&client->t, loop, (struct sockaddr *)&addr, sizeof(addr),
                                       cctx, name, &events, client, LIMIT, LIMIT),
                     OK);
    int fd = accept_one(listener);
    close(listener);
    assert_int_equal(transport_accept(&server->t, loop, fd, sctx, &events, server, LIMIT, LIMIT),
                     OK);
    to_hear = 1;
    run_for(100000);
}

/* The thumbprint by other means: DER through the digest, base64 made URL-safe. */
static void expected_thumbprint(const char *path, char out[48])
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    uint8_t *der = NULL, sum[32];
    int n = i2d_X509(cert, &der);
    assert_int_equal(EVP_Digest(der, (size_t)n, sum, NULL, EVP_sha256(), NULL), 1);
    OPENSSL_free(der);
    X509_free(cert);
    (void)EVP_EncodeBlock((uint8_t *)out, sum, 32);
    for (char *p = out; *p; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p == '=' ? '\0' : *p;
}

static void test_client_certificates(void **state)
{
    (void)state;
    struct tls_context *bare = client_context(false), *with = client_context(true);
    struct tls_context *optional = server_context(12, 1), *required = server_context(12, 2);
    struct end server, client;
    char thumbprint[44], expected[48];
    expected_thumbprint(certs.client, expected);

    meet(optional, bare, "localhost", &server, &client);
    assert_int_equal(server.ready, 1);
    assert_int_equal(transport_peer_thumbprint(&server.t, thumbprint), ERR_UNKNOWN);
    end_release(&server);
    end_release(&client);

    for (int i = 0; i < 3; i++) { /* the later ones resumed */
        meet(i ? required : optional, with, "localhost", &server, &client);
        assert_int_equal(server.ready, 1);
        assert_int_equal(client.ready, 1);
        assert_int_equal(transport_peer_thumbprint(&server.t, thumbprint), OK);
        assert_string_equal(thumbprint, expected);
        assert_int_equal(strlen(thumbprint), 43);
        assert_string_equal(transport_protocol(&server.t), "TLSv1.3");
        assert_string_equal(transport_cipher(&server.t), "TLS_AES_128_GCM_SHA256");
        end_release(&server);
        end_release(&client);
    }

    meet(required, bare, "localhost", &server, &client);
    assert_int_equal(server.ready, 0);
    assert_int_equal(server.why, ERR_TLS);
    assert_string_equal(server.text, "no client certificate, and one is required");
    run_for(20000);
    assert_int_equal(client.failed, 1);
    assert_string_equal(client.text, "the peer refused: tlsv13 alert certificate required");
    end_release(&server);
    end_release(&client);
    tls_unref(bare);
    tls_unref(with);
    tls_unref(optional);
    tls_unref(required);
}

static void test_servers_are_verified(void **state)
{
    (void)state;
    char err[256] = "";
    struct tls_context *sctx = server_context(12, 0), *good = client_context(false);
    struct tls_client_settings s = {.ca = certs.other_ca, .verify = true};
    struct tls_context *stranger = tls_client_new(&s, err, sizeof(err));
    s.verify = false;
    struct tls_context *careless = tls_client_new(&s, err, sizeof(err));
    struct end server, client;

    static const char *const fine[] = {"localhost", "127.0.0.1"};
    for (int i = 0; i < 2; i++) {
        meet(sctx, good, fine[i], &server, &client);
        assert_int_equal(client.ready, 1);
        assert_int_equal(client.failed, 0);
        end_release(&server);
        end_release(&client);
    }
    static const struct {
        const char *name, *text;
        bool stranger;
    } bad[] = {
        {"kafka.example.com", "the peer's certificate was refused: hostname mismatch", false},
        {"127.0.0.2", "the peer's certificate was refused: IP address mismatch", false},
        {"localhost", "the peer's certificate was refused: unable to get local issuer certificate",
         true},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        meet(sctx, bad[i].stranger ? stranger : good, bad[i].name, &server, &client);
        assert_int_equal(client.ready, 0);
        assert_int_equal(client.why, ERR_TLS);
        assert_string_equal(client.text, bad[i].text);
        run_for(20000);
        assert_int_equal(server.failed, 1);
        assert_int_equal(server.ready, 0);
        end_release(&server);
        end_release(&client);
    }
    meet(sctx, careless, NULL, &server, &client);
    assert_int_equal(client.ready, 1);
    end_release(&server);
    end_release(&client);
    /* To verify without a name would accept anybody that the authority knows. */
    struct sockaddr_in addr;
    int listener = listen_on(&addr);
    assert_int_equal(transport_connect(&client.t, loop, (struct sockaddr *)&addr, sizeof(addr),
                                       good, NULL, &events, &client, LIMIT, LIMIT),
                     ERR_CONFIG);
    close(listener);
    tls_unref(sctx);
    tls_unref(good);
    tls_unref(stranger);
    tls_unref(careless);
}

static void resume(struct tls_context *sctx, struct tls_context *cctx)
{
    struct sockaddr_in addr;
    int listener = listen_on(&addr);
    for (int i = 0; i < 4; i++) {
        struct end server = {.to_send = 100, .stay = true}, client = {.to_send = 100, .stay = true};
        assert_int_equal(transport_connect(&client.t, loop, (struct sockaddr *)&addr, sizeof(addr),
                                           cctx, "localhost", &events, &client, LIMIT, LIMIT),
                         OK);
        int fd = accept_one(listener);
        assert_int_equal(
            transport_accept(&server.t, loop, fd, sctx, &events, &server, LIMIT, LIMIT), OK);
        run_for(30000);
        assert_string_equal(client.text, "");
        assert_string_equal(server.text, "");
        assert_int_equal(client.received, 100);
        assert_int_equal(server.received, 100);
        assert_int_equal(transport_resumed(&client.t), i > 0);
        assert_int_equal(transport_resumed(&server.t), i > 0);
        /* Neither a hard close nor a soft one spoils the session. */
        transport_close(&client.t, i & 1);
        end_release(&client);
        end_release(&server);
    }
    close(listener);
    tls_unref(sctx);
    tls_unref(cctx);
}

static void test_client_sessions_are_resumed(void **state)
{
    (void)state;
    resume(server_context(12, 0), client_context(false));
    resume(server_context(12, 0), only_12(client_context(false)));
}

static void test_unusable_files_are_named(void **state)
{
    (void)state;
    char err[256] = "", text[256];
    struct tls_server_settings s = {.certificate = "/nowhere.pem", .key = certs.server_key};
    assert_null(tls_server_new(&s, err, sizeof(err)));
    assert_string_equal(err, "certificate /nowhere.pem: No such file or directory");
    s.certificate = certs.server;
    s.key = certs.client_key;
    assert_null(tls_server_new(&s, err, sizeof(err)));
    (void)snprintf(text, sizeof(text), "key %s: key values mismatch", certs.client_key);
    assert_string_equal(err, text);
    s.key = certs.server_key;
    s.ciphers = "NO-SUCH-CIPHER";
    assert_null(tls_server_new(&s, err, sizeof(err)));
    assert_string_equal(err, "ciphers NO-SUCH-CIPHER: no cipher match");
    s.ciphers = NULL;
    s.client_certificate = 2;
    assert_null(tls_server_new(&s, err, sizeof(err)));
    assert_non_null(strstr(err, "client_ca"));
    s.client_ca = certs.server_key;
    assert_null(tls_server_new(&s, err, sizeof(err)));
    assert_non_null(strstr(err, certs.server_key));
    struct tls_client_settings c = {.ca = "/nowhere.pem", .verify = true};
    assert_null(tls_client_new(&c, err, sizeof(err)));
    assert_non_null(strstr(err, "/nowhere.pem"));
}

/* --- memory */

static void test_an_idle_connection_holds_no_buffers(void **state)
{
    (void)state;
    struct tls_context *sctx = server_context(12, 0), *cctx = client_context(false);
    struct end server = {.to_send = 300000, .stay = true};
    struct end client = {.to_send = 300000, .stay = true};
    join(&server, sctx, &client, cctx);
    transport_bulk(&server.t, true);
    run_for(100000);
    assert_int_equal(server.received, 300000);
    assert_int_equal(client.received, 300000);
    assert_int_equal(buf_thread_bytes(), 0);
    end_release(&server);
    end_release(&client);
    tls_unref(sctx);
    tls_unref(cctx);
}

static void test_survives_failing_allocations(void **state)
{
    (void)state;
    if (!sl_alloc_fail_after(0))
        skip();
    struct tls_context *sctx = server_context(12, 0), *cctx = client_context(false);
    struct sockaddr_in addr;
    int listener = listen_on(&addr);
    unsigned failed = 1;
    for (unsigned n = 1; failed; n += 1 + n / 16) {
        struct end server = {.to_send = 3000, .expect = 3000};
        struct end client = {.to_send = 3000, .expect = 3000};
        buf_thread_trim();
        struct loop_timer *most = loop_timer_new(loop, stop_loop, NULL);
        assert_int_equal(loop_timer_set(most, 100000), OK);
        (void)sl_alloc_fail_after(n);
        int err = transport_connect(&client.t, loop, (struct sockaddr *)&addr, sizeof(addr), cctx,
                                    "localhost", &events, &client, LIMIT, LIMIT);
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 &&
            transport_accept(&server.t, loop, fd, sctx, &events, &server, LIMIT, LIMIT) != OK)
            close(fd);
        to_hear = 1;
        assert_int_equal(loop_run(loop), OK);
        failed = sl_alloc_failed();
        (void)sl_alloc_fail_after(0);
        if (!failed) {
            assert_int_equal(err, OK);
            assert_int_equal(server.received, 3000);
            assert_int_equal(client.received, 3000);
        }
        end_release(&server);
        end_release(&client);
        loop_timer_free(most);
        ERR_clear_error();
    }
    close(listener);
    tls_unref(sctx);
    tls_unref(cctx);
}

#ifdef SLUICE_TEST
/* OpenSSL allocates through the same counter. */
static void *tls_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return sl_malloc(n);
}

static void *tls_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return sl_realloc(p, n);
}

static void tls_free(void *p, const char *file, int line)
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

int main(void)
{
#ifdef SLUICE_TEST
    if (CRYPTO_set_mem_functions(tls_malloc, tls_realloc, tls_free) != 1)
        return 1;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plain_transfer, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_tls13_transfer, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_tls12_transfer, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_transfer_in_pieces_of_any_size, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_a_spoiled_byte_ends_the_connection, new_loop,
                                        free_loop),
        cmocka_unit_test_setup_teardown(test_half_close, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_a_hard_close_resets_and_a_soft_one_delivers, new_loop,
                                        free_loop),
        cmocka_unit_test_setup_teardown(test_a_reset_is_an_error_with_its_reason, new_loop,
                                        free_loop),
        cmocka_unit_test_setup_teardown(test_a_refused_connection_is_told, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_may_be_freed_inside_its_last_event, new_loop,
                                        free_loop),
        cmocka_unit_test_setup_teardown(test_a_full_buffer_stops_reading, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_handshake_failures_say_what_the_peer_did, new_loop,
                                        free_loop),
        cmocka_unit_test_setup_teardown(test_broken_hellos_fail, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_client_certificates, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_servers_are_verified, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_client_sessions_are_resumed, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_unusable_files_are_named, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_an_idle_connection_holds_no_buffers, new_loop,
                                        free_loop),
        cmocka_unit_test_setup_teardown(test_survives_failing_allocations, new_loop, free_loop),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
