/* The load of `make bench`: Kafka frames over TCP or TLS, as little else as possible, so that what
 * is measured is what stands between this program and the brokers.
 *
 *   load fetch      ... one Fetch after another over one connection, answers thrown away
 *   load request    ... one ListOffsets after another over one connection; p50 and p99
 *   load handshake  ... connect, TLS, ApiVersions, the token, one ListOffsets, close; again
 *   load idle       ... opens connections and holds them, a stage for each line on standard input
 *
 * One thread, blocking sockets. Each subcommand prints one line of JSON (idle: one a stage). Any
 * surprise ends the program with status 1 and a word on standard error. Frames are of the flexible
 * versions that today's clients use: ApiVersions 3, ListOffsets 6, Fetch 12. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#define FRAME_MAX     16384 /* of a request */
#define HEAD_BYTES    64    /* of an answer: what is looked at */
#define TOKEN_MAX     8192
#define STAGES_MAX    16
#define SAMPLES_MAX   10000000
#define CONNS_MAX     100000
#define DRAIN_BYTES   65536
#define CLIENT_ID     "bench"
#define LATEST_OFFSET (-1)

enum api {
    API_FETCH = 1,
    API_LIST_OFFSETS = 2,
    API_SASL_HANDSHAKE = 17,
    API_VERSIONS = 18,
    API_SASL_AUTHENTICATE = 36,
};

struct options {
    const char *host, *port, *ca, *token, *topic;
    int32_t partitions[STAGES_MAX];
    unsigned npartitions;
    unsigned long count;
    int32_t bytes;
};

struct conn {
    int fd;
    SSL *ssl; /* NULL: plain */
    int32_t correlation;
};

struct frame {
    uint8_t at[FRAME_MAX];
    size_t n;
};

struct answer {
    uint32_t len;
    size_t have; /* of head */
    uint8_t head[HEAD_BYTES];
};

static SSL_CTX *tls; /* NULL: plain connections */

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
    va_list args;

    (void)fputs("load: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- bytes on a connection */

static void tls_start(const char *ca)
{
    tls = SSL_CTX_new(TLS_client_method());
    if (!tls || SSL_CTX_load_verify_file(tls, ca) != 1)
        die("cannot use the authority %s", ca);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF); /* whole handshakes only */
    (void)SSL_CTX_set_mode(tls, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(tls, 1);
}

static int tcp_connect(const struct options *o)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found;
    int fd, on = 1, rc = getaddrinfo(o->host, o->port, &hints, &found);

    if (rc != 0)
        die("%s:%s: %s", o->host, o->port, gai_strerror(rc));
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0)
        die("cannot connect to %s:%s: %s", o->host, o->port, strerror(errno));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    freeaddrinfo(found);
    return fd;
}

static void conn_open(struct conn *c, const struct options *o)
{
    c->fd = tcp_connect(o);
    c->correlation = 0;
    c->ssl = NULL;
    if (!tls)
        return;
    c->ssl = SSL_new(tls);
    if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
        die("out of memory");
    if (SSL_connect(c->ssl) != 1)
        die("no TLS: %s", ERR_reason_error_string(ERR_peek_last_error()));
}

static void conn_close(struct conn *c)
{
    if (c->ssl) {
        (void)SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    close(c->fd);
}

static void conn_write(struct conn *c, const uint8_t *p, size_t n)
{
    size_t written = 0;

    if (c->ssl && SSL_write_ex(c->ssl, p, n, &written) != 1)
        die("cannot write: %s", ERR_reason_error_string(ERR_peek_last_error()));
    while (!c->ssl && written < n) {
        ssize_t more = send(c->fd, p + written, n - written, MSG_NOSIGNAL);
        if (more < 0)
            die("cannot write: %s", strerror(errno));
        written += (size_t)more;
    }
}

static size_t conn_some(struct conn *c, uint8_t *p, size_t n)
{
    size_t got = 0;
    ssize_t some;

    if (c->ssl) {
        if (SSL_read_ex(c->ssl, p, n, &got) != 1)
            die("the connection ended");
        return got;
    }
    some = recv(c->fd, p, n, 0);
    if (some <= 0)
        die("the connection ended");
    return (size_t)some;
}

static void conn_read(struct conn *c, uint8_t *p, size_t n)
{
    while (n > 0) {
        size_t got = conn_some(c, p, n);
        p += got;
        n -= got;
    }
}

/* --- frames */

static void put_int(struct frame *f, int64_t v, unsigned bytes)
{
    if (f->n + bytes > FRAME_MAX)
        die("a frame too long");
    for (unsigned i = bytes; i > 0; i--)
        f->at[f->n++] = (uint8_t)((uint64_t)v >> (8 * (i - 1)));
}

static void put_raw(struct frame *f, const void *p, size_t n)
{
    if (n > FRAME_MAX - f->n)
        die("a frame too long");
    memcpy(f->at + f->n, p, n);
    f->n += n;
}

static void put_text(struct frame *f, const char *text)
{
    put_int(f, (int64_t)strlen(text), 2);
    put_raw(f, text, strlen(text));
}

/* Lengths and counts here are all below 127: one byte. */
static void put_compact(struct frame *f, const char *text)
{
    if (strlen(text) > 100)
        die("a name too long");
    put_int(f, (int64_t)strlen(text) + 1, 1);
    put_raw(f, text, strlen(text));
}

static void frame_begin(struct frame *f, struct conn *c, enum api api, int version, bool flexible)
{
    f->n = 0;
    put_int(f, 0, 4); /* its length, see ask() */
    put_int(f, api, 2);
    put_int(f, version, 2);
    put_int(f, ++c->correlation, 4);
    put_text(f, CLIENT_ID);
    if (flexible)
        put_int(f, 0, 1);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int16_t be16(const uint8_t *p)
{
    return (int16_t)(p[0] << 8 | p[1]);
}

/* Sends the frame and reads the whole answer, of which only the beginning is kept. */
static void ask(struct conn *c, struct frame *f, struct answer *a)
{
    static uint8_t drain[DRAIN_BYTES];
    uint8_t len[4];
    size_t left, n = f->n;

    f->n = 0;
    put_int(f, (int64_t)n - 4, 4);
    conn_write(c, f->at, n);
    conn_read(c, len, sizeof(len));
    a->len = be32(len);
    if (a->len < 4 || a->len > INT32_MAX)
        die("an answer of a strange length");
    a->have = a->len < HEAD_BYTES ? a->len : HEAD_BYTES;
    memset(a->head, 0, sizeof(a->head));
    conn_read(c, a->head, a->have);
    if (be32(a->head) != (uint32_t)c->correlation)
        die("an answer to another request");
    for (left = a->len - a->have; left > 0;)
        left -= conn_some(c, drain, left < sizeof(drain) ? left : sizeof(drain));
}

/* --- requests */

static void ask_versions(struct conn *c)
{
    struct frame f;
    struct answer a;

    frame_begin(&f, c, API_VERSIONS, 3, true);
    put_compact(&f, "bench");
    put_compact(&f, "1");
    put_int(&f, 0, 1);
    ask(c, &f, &a);
    if (be16(a.head + 4) != 0)
        die("ApiVersions: error %d", be16(a.head + 4));
}

static void authenticate(struct conn *c, const char *token)
{
    char initial[TOKEN_MAX];
    struct frame f;
    struct answer a;
    int n = snprintf(initial, sizeof(initial), "n,,\001auth=Bearer %s\001\001", token);

    if (n < 0 || n >= TOKEN_MAX)
        die("the token is too long");
    frame_begin(&f, c, API_SASL_HANDSHAKE, 1, false);
    put_text(&f, "OAUTHBEARER");
    ask(c, &f, &a);
    if (be16(a.head + 4) != 0)
        die("SaslHandshake: error %d", be16(a.head + 4));
    frame_begin(&f, c, API_SASL_AUTHENTICATE, 1, false);
    put_int(&f, n, 4);
    put_raw(&f, initial, (size_t)n);
    ask(c, &f, &a);
    if (be16(a.head + 4) != 0)
        die("SaslAuthenticate: error %d", be16(a.head + 4));
}

static void login(struct conn *c, const struct options *o)
{
    conn_open(c, o);
    ask_versions(c);
    if (o->token)
        authenticate(c, o->token);
}

static void list_offsets(struct conn *c, const struct options *o, int32_t partition)
{
    struct frame f;
    struct answer a;
    /* correlation, tags, throttle, topics; the name; partitions, index */
    size_t error_at = 4 + 1 + 4 + 1 + 1 + strlen(o->topic) + 1 + 4;

    frame_begin(&f, c, API_LIST_OFFSETS, 6, true);
    put_int(&f, -1, 4); /* replica */
    put_int(&f, 0, 1);  /* isolation */
    put_int(&f, 2, 1);  /* one topic */
    put_compact(&f, o->topic);
    put_int(&f, 2, 1); /* one partition */
    put_int(&f, partition, 4);
    put_int(&f, -1, 4); /* leader epoch */
    put_int(&f, LATEST_OFFSET, 8);
    put_int(&f, 0, 1);
    put_int(&f, 0, 1);
    put_int(&f, 0, 1);
    ask(c, &f, &a);
    if (error_at + 2 > a.have)
        die("ListOffsets: a short answer");
    if (be16(a.head + error_at) != 0)
        die("ListOffsets: error %d", be16(a.head + error_at));
}

/* Returns the whole answer's length. */
static uint32_t fetch(struct conn *c, const struct options *o)
{
    struct frame f;
    struct answer a;
    /* correlation, tags, throttle, error, session, topics; the name; partitions, index */
    size_t error_at = 4 + 1 + 4 + 2 + 4 + 1 + 1 + strlen(o->topic) + 1 + 4;

    frame_begin(&f, c, API_FETCH, 12, true);
    put_int(&f, -1, 4);       /* replica */
    put_int(&f, 500, 4);      /* max wait */
    put_int(&f, 1, 4);        /* min bytes */
    put_int(&f, o->bytes, 4); /* max bytes */
    put_int(&f, 0, 1);        /* isolation */
    put_int(&f, 0, 4);        /* session */
    put_int(&f, -1, 4);
    put_int(&f, 2, 1);
    put_compact(&f, o->topic);
    put_int(&f, 2, 1);
    put_int(&f, o->partitions[0], 4);
    put_int(&f, -1, 4); /* leader epoch */
    put_int(&f, 0, 8);  /* from the beginning, each time */
    put_int(&f, -1, 4); /* last fetched epoch */
    put_int(&f, -1, 8); /* log start */
    put_int(&f, o->bytes, 4);
    put_int(&f, 0, 1);
    put_int(&f, 0, 1);
    put_int(&f, 1, 1); /* nothing forgotten */
    put_int(&f, 1, 1); /* no rack */
    put_int(&f, 0, 1);
    ask(c, &f, &a);
    if (be16(a.head + 9) != 0 || error_at + 2 > a.have || be16(a.head + error_at) != 0)
        die("Fetch: error %d", be16(a.head + 9));
    if (a.len < (uint32_t)o->bytes / 2)
        die("Fetch: only %u bytes", a.len);
    return a.len;
}

/* --- subcommands */

static const char *cipher(const struct conn *c)
{
    return c->ssl ? SSL_get_cipher_name(c->ssl) : "none";
}

static void run_fetch(const struct options *o)
{
    struct conn c;
    uint64_t bytes = 0, begin;

    login(&c, o);
    begin = now_ns();
    for (unsigned long i = 0; i < o->count; i++)
        bytes += fetch(&c, o);
    printf("{\"answers\": %lu, \"bytes\": %llu, \"seconds\": %.6f, \"cipher\": \"%s\"}\n", o->count,
           (unsigned long long)bytes, (double)(now_ns() - begin) / 1e9, cipher(&c));
    conn_close(&c);
}

static int by_value(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void run_request(const struct options *o)
{
    struct conn c;
    uint32_t *ns;

    if (o->count == 0 || o->count > SAMPLES_MAX)
        die("--count: 1 to %d", SAMPLES_MAX);
    ns = calloc(o->count, sizeof(*ns));
    if (!ns)
        die("out of memory");
    login(&c, o);
    for (unsigned long i = 0; i < o->count; i++) {
        uint64_t begin = now_ns();
        list_offsets(&c, o, o->partitions[0]);
        ns[i] = (uint32_t)(now_ns() - begin);
    }
    conn_close(&c);
    qsort(ns, o->count, sizeof(*ns), by_value);
    printf("{\"requests\": %lu, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", o->count,
           ns[o->count / 2] / 1e3, ns[o->count * 99 / 100] / 1e3);
    free(ns);
}

static void run_handshake(const struct options *o)
{
    uint64_t begin = now_ns();

    for (unsigned long i = 0; i < o->count; i++) {
        struct conn c;
        login(&c, o);
        list_offsets(&c, o, o->partitions[0]);
        conn_close(&c);
    }
    printf("{\"handshakes\": %lu, \"seconds\": %.6f}\n", o->count,
           (double)(now_ns() - begin) / 1e9);
}

static void stage(unsigned n)
{
    char line[16];

    printf("{\"stage\": %u}\n", n);
    (void)fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        exit(0);
}

/* Stage 0: logged in. Stage n: one request for the n-th partition named as well. */
static void run_idle(const struct options *o)
{
    struct conn *conns;

    if (o->count == 0 || o->count > CONNS_MAX)
        die("--count: 1 to %d", CONNS_MAX);
    conns = calloc(o->count, sizeof(*conns));
    if (!conns)
        die("out of memory");
    for (unsigned long i = 0; i < o->count; i++)
        login(&conns[i], o);
    stage(0);
    for (unsigned p = 0; p < o->npartitions; p++) {
        for (unsigned long i = 0; i < o->count; i++)
            list_offsets(&conns[i], o, o->partitions[p]);
        stage(p + 1);
    }
    for (unsigned long i = 0; i < o->count; i++)
        conn_close(&conns[i]);
    free(conns);
}

/* --- the command line */

static long number(const char *text, long min, long max)
{
    char *end;
    long v = strtol(text, &end, 10);

    if (*text == '\0' || *end != '\0' || v < min || v > max)
        die("%s: not a number from %ld to %ld", text, min, max);
    return v;
}

static void parse_partitions(struct options *o, char *text)
{
    char *rest = text, *one;

    o->npartitions = 0;
    while ((one = strsep(&rest, ","))) {
        if (o->npartitions == STAGES_MAX)
            die("more than %d partitions", STAGES_MAX);
        o->partitions[o->npartitions++] = (int32_t)number(one, 0, INT32_MAX);
    }
}

static void parse(struct options *o, int argc, char **argv)
{
    if (argc % 2 != 0)
        die("%s: no value", argv[argc - 1]);
    for (int i = 2; i < argc; i += 2) {
        const char *name = argv[i];
        char *value = argv[i + 1];
        if (strcmp(name, "--host") == 0)
            o->host = value;
        else if (strcmp(name, "--port") == 0)
            o->port = value;
        else if (strcmp(name, "--ca") == 0)
            o->ca = value;
        else if (strcmp(name, "--token") == 0)
            o->token = value;
        else if (strcmp(name, "--topic") == 0)
            o->topic = value;
        else if (strcmp(name, "--partitions") == 0)
            parse_partitions(o, value);
        else if (strcmp(name, "--count") == 0)
            o->count = (unsigned long)number(value, 1, SAMPLES_MAX);
        else if (strcmp(name, "--bytes") == 0)
            o->bytes = (int32_t)number(value, 1, INT32_MAX);
        else
            die("%s: no such option", name);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const struct options *o);
    } commands[] = {{"fetch", run_fetch},
                    {"request", run_request},
                    {"handshake", run_handshake},
                    {"idle", run_idle}};
    struct options o = {.host = "127.0.0.1",
                        .topic = "bench",
                        .npartitions = 1,
                        .count = 1000,
                        .bytes = 1024 * 1024};

    if (argc < 2)
        die("usage: load fetch|request|handshake|idle --port P [--host H] [--ca FILE] [--token T]"
            " [--topic T] [--partitions P,..] [--count N] [--bytes N]");
    parse(&o, argc, argv);
    if (!o.port)
        die("--port is missing");
    if (o.ca)
        tls_start(o.ca);
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            commands[i].run(&o);
            SSL_CTX_free(tls);
            return 0;
        }
    }
    die("%s: no such command", argv[1]);
}
