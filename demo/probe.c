/* demo-probe: a Kafka client of a few lines that holds one TLS session and a clock. It logs in with
 * a token and says whether it was let in; with --post it then streams Fetch answers, sends a
 * revocation to the gate's control listener in the middle of that, and measures when its own socket
 * closed. Both connections are in this one process, so the times need no other clock.
 *
 * Prints name=value lines:
 *   login=accepted | refused    error=CODE    status=JSON that the gate gave as the reason
 *   answers=N bytes=N           Fetch answers and bytes read before the revocation was sent
 *   sent_wall_ms=N              when the revocation was sent, epoch milliseconds
 *   closed_us=N                 from sending the revocation to the end of the socket
 *   replied_us=N http=STATUS    from sending the revocation to its answer
 *   late_bytes=N                bytes read after that answer: must be 0
 * Exit 0: let in (and cut, with --post). 3: refused. 4: not cut within 10 s. 1: anything else. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "demo/util.h"

#define TOKEN_MAX_BYTES   (16UL * 1024)
#define REQUEST_MAX_BYTES (32UL * 1024)
#define FRAME_MAX_BYTES   (64UL * 1024 * 1024)
#define READ_BYTES        (64UL * 1024)
#define LOGIN_TIMEOUT_S   10
#define CUT_TIMEOUT_US    (10 * INT64_C(1000000))
#define PACE_US           5000 /* between Fetches while we only stream */
#define TURN_READS        64
#define FETCH_BYTES       (64UL * 1024)

enum { EXIT_REFUSED = 3, EXIT_NOT_CUT = 4 };

struct options {
    const char *ca;
    const char *token_file;
    const char *topic;
    const char *post;
    const char *body; /* "@FILE": what the file holds */
    const char *content_type;
    char host[256];
    char control_host[256];
    const char *control_path;
    long partitions;
    long after_ms;
    uint16_t port;
    uint16_t control_port;
};

static const char usage[] =
    "demo-probe: logs in at a gate; with --post measures how fast a revocation cuts it off\n"
    "  --gate HOST:PORT --ca PEM --token-file FILE\n"
    "  --topic NAME --partitions N   what to stream (serial-parts, 6)\n"
    "  --post http://HOST:PORT/PATH --body TEXT|@FILE --content-type TYPE\n"
    "                                the revocation to send (application/json)\n"
    "  --after-ms N                  after so much streaming (500)\n";

/* --- a Kafka request in the making: big-endian, bounded, an overflow sticks */

struct request {
    uint8_t bytes[REQUEST_MAX_BYTES];
    size_t n;
    bool full;
};

static void put(struct request *r, const void *p, size_t n)
{
    if (r->full || n > sizeof(r->bytes) - r->n) {
        r->full = true;
        return;
    }
    memcpy(r->bytes + r->n, p, n);
    r->n += n;
}

static void put_int(struct request *r, uint64_t value, unsigned bytes)
{
    uint8_t raw[8];

    for (unsigned i = 0; i < bytes; i++)
        raw[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
    put(r, raw, bytes);
}

static void put_string(struct request *r, const char *s)
{
    put_int(r, strlen(s), 2);
    put(r, s, strlen(s));
}

/* Length (filled in by request_end), header version 1. */
static void request_begin(struct request *r, unsigned api, unsigned version, uint32_t correlation)
{
    r->n = 0;
    r->full = false;
    put_int(r, 0, 4);
    put_int(r, api, 2);
    put_int(r, version, 2);
    put_int(r, correlation, 4);
    put_string(r, "demo-probe");
}

static int request_end(struct request *r)
{
    uint32_t length = htonl((uint32_t)(r->n - 4));

    memcpy(r->bytes, &length, 4);
    return r->full ? ERR_LIMIT : OK;
}

/* --- the session with the gate */

struct probe {
    SSL *ssl;
    int fd;
    uint32_t correlation;
    const struct options *options;
    uint8_t prefix[4]; /* the length of the answer that is coming in */
    size_t prefix_held;
    size_t left; /* of that answer */
    unsigned long answers;
    uint64_t bytes;
};

static int tcp_connect(const char *host, uint16_t port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    char service[8];
    int fd = -1;
    int one = 1;

    snprintf(service, sizeof(service), "%u", (unsigned)port);
    if (getaddrinfo(host, service, &hints, &all))
        return ERR_IO;
    for (const struct addrinfo *a = all; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen)) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(all);
    if (fd < 0)
        return ERR_IO;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static int tls_open(struct probe *p, SSL_CTX *ctx)
{
    struct timeval tv = {.tv_sec = LOGIN_TIMEOUT_S};
    char name[sizeof(p->options->host)];

    memcpy(name, p->options->host, sizeof(name));
    p->fd = tcp_connect(p->options->host, p->options->port);
    if (p->fd < 0)
        return ERR_IO;
    (void)setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    p->ssl = SSL_new(ctx);
    if (!p->ssl || !SSL_set_fd(p->ssl, p->fd) || !SSL_set1_host(p->ssl, name) ||
        !SSL_set_tlsext_host_name(p->ssl, name))
        return ERR_TLS;
    return SSL_connect(p->ssl) == 1 ? OK : ERR_TLS;
}

/* Requests are small: what the socket does not take at once is waited for. */
static int request_send(struct probe *p, struct request *r)
{
    int err = request_end(r);
    size_t sent = 0;

    while (!err && sent < r->n) {
        int n = SSL_write(p->ssl, r->bytes + sent, (int)(r->n - sent));
        if (n > 0) {
            sent += (size_t)n;
            continue;
        }
        struct pollfd pfd = {.fd = p->fd, .events = POLLOUT};
        int why = SSL_get_error(p->ssl, n);
        if (why == SSL_ERROR_WANT_READ)
            pfd.events = POLLIN;
        else if (why != SSL_ERROR_WANT_WRITE)
            return ERR_EOF;
        if (poll(&pfd, 1, LOGIN_TIMEOUT_S * 1000) <= 0)
            return ERR_TIMEOUT;
    }
    return err;
}

/* Before the streaming the socket blocks: exactly n bytes or an error. */
static int read_exact(struct probe *p, uint8_t *out, size_t n)
{
    while (n > 0) {
        int got = SSL_read(p->ssl, out, (int)n);
        if (got <= 0)
            return ERR_EOF;
        out += got;
        n -= (size_t)got;
    }
    return OK;
}

static int answer_read(struct probe *p, uint8_t *out, size_t bytes, size_t *n)
{
    uint32_t length;
    int err = read_exact(p, (uint8_t *)&length, sizeof(length));

    if (err)
        return err;
    *n = ntohl(length);
    if (*n < 4 || *n > bytes)
        return ERR_MALFORMED;
    return read_exact(p, out, *n);
}

/* SaslHandshake v1: correlation id, error. */
static int sasl_handshake(struct probe *p)
{
    struct request r;
    uint8_t answer[1024];
    size_t n;

    request_begin(&r, 17, 1, ++p->correlation);
    put_string(&r, "OAUTHBEARER");
    int err = request_send(p, &r);
    if (!err)
        err = answer_read(p, answer, sizeof(answer), &n);
    if (err)
        return err;
    return n >= 6 && answer[4] == 0 && answer[5] == 0 ? OK : ERR_DENIED;
}

struct verdict {
    int error;
    char status[512]; /* what the gate gave as a reason; empty when it let us in */
};

/* SaslAuthenticate v1: error, message (nullable), bytes, lifetime. */
static int verdict_parse(const uint8_t *p, size_t n, struct verdict *v)
{
    size_t at = 4;

    if (n < at + 4)
        return ERR_MALFORMED;
    v->error = p[at] << 8 | p[at + 1];
    int message = (int16_t)(p[at + 2] << 8 | p[at + 3]);
    at += 4 + (message > 0 ? (size_t)message : 0);
    if (n < at + 4)
        return ERR_MALFORMED;
    size_t bytes =
        (size_t)p[at] << 24 | (size_t)p[at + 1] << 16 | (size_t)p[at + 2] << 8 | p[at + 3];
    at += 4;
    if (bytes > n - at || bytes >= sizeof(v->status))
        return ERR_MALFORMED;
    memcpy(v->status, p + at, bytes);
    v->status[bytes] = '\0';
    return OK;
}

static int sasl_send(struct probe *p, const char *message, size_t bytes, struct verdict *v)
{
    struct request r;
    uint8_t answer[4096];
    size_t n;

    request_begin(&r, 36, 1, ++p->correlation);
    put_int(&r, bytes, 4);
    put(&r, message, bytes);
    int err = request_send(p, &r);
    if (!err)
        err = answer_read(p, answer, sizeof(answer), &n);
    return err ? err : verdict_parse(answer, n, v);
}

static int token_read(const char *path, char *out, size_t bytes)
{
    FILE *f = fopen(path, "re");

    if (!f)
        return ERR_IO;
    size_t n = fread(out, 1, bytes - 1, f);
    fclose(f);
    while (n > 0 && strchr(" \t\r\n", out[n - 1]))
        n--;
    out[n] = '\0';
    return n > 0 && n < bytes - 1 ? OK : ERR_MALFORMED;
}

/* RFC 7628: a refusal comes as JSON in a challenge, which a byte of 1 acknowledges; the error code
 * follows. ERR_DENIED when refused; prints what happened. */
static int login(struct probe *p)
{
    char token[TOKEN_MAX_BYTES];
    char *message = NULL;
    struct verdict v = {0};
    char status[sizeof(v.status)];
    int err = token_read(p->options->token_file, token, sizeof(token));

    if (!err)
        err = sasl_handshake(p);
    if (err)
        return err;
    int n = asprintf(&message,
                     "n,,\x01"
                     "auth=Bearer %s\x01\x01",
                     token);
    if (n < 0)
        return ERR_NOMEM;
    err = sasl_send(p, message, (size_t)n, &v);
    free(message);
    if (err)
        return err;
    if (v.error == 0 && v.status[0] == '\0') {
        puts("login=accepted");
        return OK;
    }
    memcpy(status, v.status, sizeof(status));
    if (v.error == 0 && sasl_send(p, "\x01", 1, &v))
        v.error = 0;
    printf("login=refused\nerror=%d\nstatus=%s\n", v.error, status);
    return ERR_DENIED;
}

/* --- streaming */

/* Fetch v4 from offset 0 of every partition: the mock brokers always have something to answer. */
static int fetch_send(struct probe *p)
{
    struct request r;

    request_begin(&r, 1, 4, ++p->correlation);
    put_int(&r, UINT32_MAX, 4); /* replica -1: a consumer */
    put_int(&r, 500, 4);
    put_int(&r, 1, 4);
    put_int(&r, 8 * FETCH_BYTES, 4);
    put_int(&r, 0, 1);
    put_int(&r, 1, 4);
    put_string(&r, p->options->topic);
    put_int(&r, (uint64_t)p->options->partitions, 4);
    for (long i = 0; i < p->options->partitions; i++) {
        put_int(&r, (uint64_t)i, 4);
        put_int(&r, 0, 8);
        put_int(&r, FETCH_BYTES, 4);
    }
    return request_send(p, &r);
}

/* Counts what came. Returns how many answers it completes, ERR_MALFORMED on a silly length. */
static int frames_count(struct probe *p, const uint8_t *in, size_t n)
{
    int whole = 0;

    p->bytes += n;
    while (n > 0) {
        if (p->left == 0) {
            p->prefix[p->prefix_held++] = *in++;
            n--;
            if (p->prefix_held < sizeof(p->prefix))
                continue;
            uint32_t length;
            memcpy(&length, p->prefix, sizeof(length));
            p->left = ntohl(length);
            p->prefix_held = 0;
            if (p->left == 0 || p->left > FRAME_MAX_BYTES)
                return ERR_MALFORMED;
            continue;
        }
        size_t take = n < p->left ? n : p->left;
        p->left -= take;
        in += take;
        n -= take;
        if (p->left == 0) {
            whole++;
            p->answers++;
        }
    }
    return whole;
}

/* Reads what is there, up to TURN_READS, and keeps a Fetch in flight. ERR_EOF: the session has
 * ended, in any way. */
static int stream_turn(struct probe *p, bool paced)
{
    uint8_t in[READ_BYTES];

    for (int i = 0; i < TURN_READS; i++) {
        int n = SSL_read(p->ssl, in, sizeof(in));
        if (n <= 0) {
            int why = SSL_get_error(p->ssl, n);
            return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? OK : ERR_EOF;
        }
        int whole = frames_count(p, in, (size_t)n);
        if (whole < 0)
            return whole;
        if (whole > 0) {
            if (paced)
                usleep(PACE_US);
            if (fetch_send(p))
                return ERR_EOF;
        }
    }
    return OK;
}

static int stream(struct probe *p)
{
    int64_t until_us = util_mono_us() + p->options->after_ms * 1000;
    int flags = fcntl(p->fd, F_GETFL);
    int err = flags < 0 || fcntl(p->fd, F_SETFL, flags | O_NONBLOCK) ? ERR_IO : fetch_send(p);

    while (!err && (util_mono_us() < until_us || p->answers == 0)) {
        struct pollfd pfd = {.fd = p->fd, .events = POLLIN};
        int rc = poll(&pfd, 1, LOGIN_TIMEOUT_S * 1000);
        err = rc <= 0 ? ERR_TIMEOUT : stream_turn(p, true);
    }
    return err;
}

/* --- the revocation */

struct cut {
    int64_t sent_us;
    int64_t closed_us;  /* -1: not yet */
    int64_t replied_us; /* -1: not yet */
    int http;           /* status; 0: no answer that we understand */
    uint64_t bytes_at_reply;
};

/* The body, from the command line or from the file that it names: a token should not stand in a
 * list of processes. malloc'd. */
static char *body_get(const struct options *o)
{
    char *text;

    if (o->body[0] != '@')
        return strdup(o->body);
    text = malloc(REQUEST_MAX_BYTES);
    if (text && token_read(o->body + 1, text, REQUEST_MAX_BYTES)) {
        free(text);
        text = NULL;
    }
    return text;
}

static int post_send(const struct options *o, int fd)
{
    char *body = body_get(o);
    char *text = NULL;
    ssize_t sent = -1;
    int n = -1;

    if (body)
        n = asprintf(&text,
                     "POST %s HTTP/1.1\r\nHost: %s:%u\r\nContent-Type: %s\r\n"
                     "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                     o->control_path, o->control_host, (unsigned)o->control_port, o->content_type,
                     strlen(body), body);
    if (n >= 0) {
        sent = send(fd, text, (size_t)n, MSG_NOSIGNAL);
        free(text);
    }
    free(body);
    return n >= 0 && sent == n ? OK : ERR_IO;
}

static void reply_take(const struct probe *p, struct cut *c, int fd)
{
    char in[1024];
    ssize_t n = recv(fd, in, sizeof(in) - 1, 0);

    if (c->replied_us >= 0)
        return;
    c->replied_us = util_mono_us() - c->sent_us;
    c->bytes_at_reply = p->bytes;
    in[n > 0 ? n : 0] = '\0';
    if (strncmp(in, "HTTP/1.1 ", 9) == 0)
        c->http = (int)strtol(in + 9, NULL, 10);
}

/* Both sockets at once. When the answer is there, the gate's socket is read first: what it had
 * delivered by then counts as before, only what follows is late. */
static int cut_wait(struct probe *p, struct cut *c, int control)
{
    struct pollfd fds[2] = {{.fd = p->fd, .events = POLLIN}, {.fd = control, .events = POLLIN}};

    while (c->closed_us < 0 || c->replied_us < 0) {
        int64_t left_us = c->sent_us + CUT_TIMEOUT_US - util_mono_us();
        int wait_ms = SSL_has_pending(p->ssl) ? 0 : (int)(left_us / 1000) + 1;
        if (left_us <= 0 || poll(fds, 2, wait_ms) < 0)
            return ERR_TIMEOUT;
        if (c->closed_us < 0 && stream_turn(p, false)) {
            c->closed_us = util_mono_us() - c->sent_us;
            fds[0].fd = -1;
        }
        if (fds[1].revents) {
            reply_take(p, c, control);
            fds[1].fd = -1;
        }
    }
    return OK;
}

static int cut_measure(struct probe *p)
{
    struct cut c = {.closed_us = -1, .replied_us = -1};
    int control = tcp_connect(p->options->control_host, p->options->control_port);

    if (control < 0)
        return ERR_IO;
    printf("answers=%lu\nbytes=%llu\n", p->answers, (unsigned long long)p->bytes);
    printf("sent_wall_ms=%lld\n", (long long)util_wall_ms());
    c.sent_us = util_mono_us();
    int err = post_send(p->options, control);
    if (!err)
        err = cut_wait(p, &c, control);
    close(control);
    printf("closed_us=%lld\nreplied_us=%lld\nhttp=%d\nlate_bytes=%llu\n", (long long)c.closed_us,
           (long long)c.replied_us, c.http,
           c.replied_us < 0 ? 0 : (unsigned long long)(p->bytes - c.bytes_at_reply));
    return err;
}

/* --- start */

static int post_parse(struct options *o)
{
    static const char scheme[] = "http://";
    char authority[300];
    const char *rest = o->post + sizeof(scheme) - 1;

    if (strncmp(o->post, scheme, sizeof(scheme) - 1) != 0)
        return ERR_CONFIG;
    o->control_path = strchr(rest, '/');
    if (!o->control_path || (size_t)(o->control_path - rest) >= sizeof(authority))
        return ERR_CONFIG;
    snprintf(authority, sizeof(authority), "%.*s", (int)(o->control_path - rest), rest);
    return util_host_port(authority, o->control_host, sizeof(o->control_host), &o->control_port);
}

static int options_read(struct options *o, int argc, char **argv)
{
    static const struct option known[] = {{"gate", required_argument, NULL, 'g'},
                                          {"ca", required_argument, NULL, 'c'},
                                          {"token-file", required_argument, NULL, 't'},
                                          {"topic", required_argument, NULL, 'T'},
                                          {"partitions", required_argument, NULL, 'p'},
                                          {"post", required_argument, NULL, 'P'},
                                          {"body", required_argument, NULL, 'b'},
                                          {"content-type", required_argument, NULL, 'C'},
                                          {"after-ms", required_argument, NULL, 'a'},
                                          {0}};
    int option;
    int err = OK;

    *o = (struct options){.topic = "serial-parts",
                          .partitions = 6,
                          .after_ms = 500,
                          .body = "{}",
                          .content_type = "application/json"};
    while (!err && (option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'g':
            err = util_host_port(optarg, o->host, sizeof(o->host), &o->port);
            break;
        case 'c':
            o->ca = optarg;
            break;
        case 't':
            o->token_file = optarg;
            break;
        case 'T':
            o->topic = optarg;
            break;
        case 'p':
            err = util_number(optarg, 1, 256, &o->partitions);
            break;
        case 'P':
            o->post = optarg;
            err = post_parse(o);
            break;
        case 'b':
            o->body = optarg;
            break;
        case 'C':
            o->content_type = optarg;
            break;
        case 'a':
            err = util_number(optarg, 0, 600000, &o->after_ms);
            break;
        default:
            err = ERR_CONFIG;
        }
    }
    return err ? err : optind == argc && o->port && o->ca && o->token_file ? OK : ERR_CONFIG;
}

static int run(const struct options *o, SSL_CTX *ctx)
{
    struct probe p = {.fd = -1, .options = o};
    const char *step = "connect";
    int code = 1;

    int err = tls_open(&p, ctx);
    if (!err) {
        step = "login";
        err = login(&p);
    }
    if (!err && o->post) {
        step = "stream";
        err = stream(&p);
        if (!err) {
            step = "revoke";
            err = cut_measure(&p);
        }
    }
    if (!err)
        code = 0;
    else if (err == ERR_DENIED)
        code = EXIT_REFUSED;
    else if (err == ERR_TIMEOUT && strcmp(step, "revoke") == 0)
        code = EXIT_NOT_CUT;
    if (code == 1) {
        fprintf(stderr, "demo-probe: %s failed (%d)\n", step, err);
        ERR_print_errors_fp(stderr);
    }
    SSL_free(p.ssl);
    if (p.fd >= 0)
        close(p.fd);
    return code;
}

int main(int argc, char **argv)
{
    struct options o;

    signal(SIGPIPE, SIG_IGN);
    if (options_read(&o, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx || !SSL_CTX_load_verify_file(ctx, o.ca)) {
        fprintf(stderr, "demo-probe: %s: no CA certificate\n", o.ca);
        SSL_CTX_free(ctx);
        return 1;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    int code = run(&o, ctx);
    SSL_CTX_free(ctx);
    return code;
}
