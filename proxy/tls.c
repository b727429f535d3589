/* TLS over a transport's buffers: SSL_read into reserved room, SSL_write of whole records. OpenSSL
 * reaches the socket through a BIO of our own, which knows what epoll knows: after a short read
 * the kernel has nothing more, so no call is spent on hearing that; and of several records in a
 * row all but the last are marked as having more behind them. */
#include "proxy/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/alloc.h"

/* Raw bytes that OpenSSL may take from the kernel in one call. It goes on reading by itself as
 * long as records come that carry no payload (key updates), which must not hold the loop. */
#define RAW_BYTES_MAX ((size_t)64 * 1024)

/* "TLS handshake failed: " and OpenSSL's longest reason. */
#define WHY_BYTES 128

struct tls_conn {
    SSL *ssl;
    struct tls_context *ctx;
    uint32_t raw_left;
    int sys_err;       /* errno of a failed call */
    bool kernel_empty; /* the last read was short: wait for the loop */
    bool kernel_eof;
    bool more; /* another record follows at once */
    bool server;
    bool up;         /* the handshake is done; OpenSSL forgets that after an error */
    bool got_ticket; /* client: since the last look */
    uint8_t first_len;
    uint8_t first[8]; /* how the peer began, to tell what it spoke instead of TLS */
    int late_err;     /* came behind bytes that were delivered first; 0: none */
    unsigned offered; /* best version in a ClientHello, as on the wire; 0: none seen */
    char *key;        /* client: of its resumable session */
    char why[WHY_BYTES];
};

/* Where small segments become one record. */
static _Thread_local uint8_t record[TLS_RECORD_BYTES];

/* --- the BIO */

static void note_first(struct tls_conn *c, const char *p, ssize_t n)
{
    for (ssize_t i = 0; i < n && c->first_len < sizeof(c->first); i++)
        c->first[c->first_len++] = (uint8_t)p[i];
}

static int bio_read(BIO *b, char *out, int size)
{
    const struct transport *t = BIO_get_data(b);
    struct tls_conn *c = t->tls;
    BIO_clear_retry_flags(b);
    if (size <= 0 || c->kernel_eof)
        return 0;
    if (c->kernel_empty || c->raw_left == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    size_t want = (size_t)size < c->raw_left ? (size_t)size : c->raw_left;
    ssize_t n = recv(t->fd, out, want, 0);
    if (n > 0) {
        note_first(c, out, n);
        c->kernel_empty = (size_t)n < want;
        c->raw_left -= (uint32_t)n;
    } else if (n == 0) {
        c->kernel_eof = true;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        c->kernel_empty = true;
        BIO_set_retry_read(b);
    } else {
        c->sys_err = errno;
    }
    return (int)n;
}

static int bio_write(BIO *b, const char *p, int size)
{
    const struct transport *t = BIO_get_data(b);
    struct tls_conn *c = t->tls;
    BIO_clear_retry_flags(b);
    if (size <= 0)
        return 0;
    ssize_t n = send(t->fd, p, (size_t)size, MSG_NOSIGNAL | (c->more ? MSG_MORE : 0));
    if (n >= 0)
        return (int)n;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        BIO_set_retry_write(b);
    else
        c->sys_err = errno;
    return -1;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)b;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "transport");
    if (m && BIO_meth_set_read(m, bio_read) == 1 && BIO_meth_set_write(m, bio_write) == 1 &&
        BIO_meth_set_ctrl(m, bio_ctrl) == 1)
        bio_method = m;
    else
        BIO_meth_free(m);
}

static BIO *bio_new(struct transport *t)
{
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
    if (CRYPTO_THREAD_run_once(&once, make_bio_method) != 1 || !bio_method)
        return NULL;
    BIO *b = BIO_new(bio_method);
    if (!b)
        return NULL;
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    return b;
}

/* --- making one */

static bool is_address(const char *name)
{
    unsigned char any[16];
    return inet_pton(AF_INET, name, any) == 1 || inet_pton(AF_INET6, name, any) == 1;
}

/* Whom we want to talk to: told to the server, and held against its certificate. */
static int expect_server(struct tls_conn *c, const char *name, unsigned port)
{
    if (!name || !*name)
        return tls_context_verifies(c->ctx) ? ERR_CONFIG : OK;
    if (is_address(name)) {
        if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c->ssl), name) != 1)
            return ERR_NOMEM;
    } else {
        char host[TLS_NAME_MAX]; /* OpenSSL's macro wants it writable */
        if (snprintf(host, sizeof(host), "%s", name) >= (int)sizeof(host))
            return ERR_CONFIG;
        SSL_set_hostflags(c->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if (SSL_set1_host(c->ssl, host) != 1 || SSL_set_tlsext_host_name(c->ssl, host) != 1)
            return ERR_CONFIG;
    }
    c->key = sl_malloc(TLS_NAME_MAX);
    if (!c->key)
        return ERR_NOMEM;
    int len = snprintf(c->key, TLS_NAME_MAX, "%s:%u", name, port);
    if (len < 0 || len >= TLS_NAME_MAX)
        return ERR_CONFIG;
    SSL_SESSION *session = tls_context_recall(c->ctx, c->key);
    if (session) {
        (void)SSL_set_session(c->ssl, session); /* when refused, a whole handshake follows */
        SSL_SESSION_free(session);
    }
    return OK;
}

static void conn_free(struct tls_conn *c)
{
    SSL_free(c->ssl);
    tls_unref(c->ctx);
    sl_free(c->key);
    sl_free(c);
}

int tls_attach(struct transport *t, struct tls_context *ctx, const char *server_name, unsigned port)
{
    ERR_clear_error();
    struct tls_conn *c = sl_calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    c->ctx = tls_ref(ctx);
    c->server = tls_context_is_server(ctx);
    c->ssl = tls_context_ssl(ctx);
    BIO *b = c->ssl ? bio_new(t) : NULL;
    if (!b || SSL_set_app_data(c->ssl, c) != 1) {
        BIO_free(b);
        conn_free(c);
        return ERR_NOMEM;
    }
    SSL_set_bio(c->ssl, b, b);
    if (c->server) {
        SSL_set_accept_state(c->ssl);
    } else {
        SSL_set_connect_state(c->ssl);
        int err = expect_server(c, server_name, port);
        if (err) {
            conn_free(c);
            return err;
        }
    }
    t->tls = c;
    t->ops = &tls_ops;
    return OK;
}

const char *tls_conn_key(const SSL *ssl)
{
    const struct tls_conn *c = SSL_get_app_data(ssl);
    return c ? c->key : NULL;
}

void tls_conn_saw_ticket(SSL *ssl)
{
    struct tls_conn *c = SSL_get_app_data(ssl);
    if (c)
        c->got_ticket = true;
}

void tls_conn_saw_hello(SSL *ssl, unsigned version)
{
    struct tls_conn *c = SSL_get_app_data(ssl);
    if (c)
        c->offered = version;
}

/* --- what went wrong */

static bool begins(const struct tls_conn *c, const char *text)
{
    size_t n = strlen(text);
    return c->first_len >= n && memcmp(c->first, text, n) == 0;
}

static bool looks_like_http(const struct tls_conn *c)
{
    static const char *const methods[] = {"GET ",    "POST ",    "HEAD ",  "PUT ",   "DELETE ",
                                          "OPTIONS", "CONNECT ", "PATCH ", "TRACE ", "PRI * "};
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++)
        if (begins(c, methods[i]))
            return true;
    return false;
}

/* A length below 16 MiB and an API key below 256. */
static bool looks_like_kafka(const struct tls_conn *c)
{
    return c->first_len >= 6 && c->first[0] == 0 && c->first[4] == 0;
}

static const char *version_name(unsigned version)
{
    switch (version) {
    case SSL3_VERSION:
        return "SSL 3.0";
    case TLS1_VERSION:
        return "TLS 1.0";
    case TLS1_1_VERSION:
        return "TLS 1.1";
    case TLS1_2_VERSION:
        return "TLS 1.2";
    case TLS1_3_VERSION:
        return "TLS 1.3";
    default:
        return "an unknown version";
    }
}

static const char *why_not_tls(const struct tls_conn *c)
{
    if (!c->server || c->offered || c->first_len == 0)
        return NULL;
    if (looks_like_http(c))
        return "HTTP request on the TLS port";
    if (looks_like_kafka(c))
        return "not TLS: a Kafka client without TLS?";
    return c->first[0] == SSL3_RT_HANDSHAKE ? NULL : "not TLS";
}

/* The reason of OpenSSL's error, in words that help whoever reads the log. */
static const char *why_tls_failed(struct tls_conn *c, unsigned long code)
{
    const char *text = why_not_tls(c);
    if (text)
        return text;
    int reason = ERR_GET_REASON(code);
    long verified = SSL_get_verify_result(c->ssl);
    const char *doing = c->up ? "TLS" : "TLS handshake";
    unsigned least = tls_context_min_version(c->ctx) == 13 ? TLS1_3_VERSION : TLS1_2_VERSION;
    if (ERR_GET_LIB(code) != ERR_LIB_SSL)
        reason = 0;
    if (c->server && c->offered && c->offered < least)
        (void)snprintf(c->why, sizeof(c->why), "%s offered, %s is the least",
                       version_name(c->offered), version_name(least));
    else if (reason > SSL_AD_REASON_OFFSET)
        (void)snprintf(c->why, sizeof(c->why), "the peer refused: %s",
                       ERR_reason_error_string(code));
    else if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return "no client certificate, and one is required";
    else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        (void)snprintf(c->why, sizeof(c->why), "the peer's certificate was refused: %s",
                       X509_verify_cert_error_string(verified));
    else if (reason == SSL_R_NO_SHARED_CIPHER)
        return "no cipher in common";
    else
        (void)snprintf(c->why, sizeof(c->why), "%s failed: %s", doing,
                       code ? ERR_reason_error_string(code) : "no reason given");
    return c->why;
}

/* Turns what an SSL call returned into our error; t->why tells. */
static int tls_error(struct transport *t, int ret, unsigned *wants)
{
    struct tls_conn *c = t->tls;
    switch (SSL_get_error(c->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
        *wants = LOOP_READ;
        return ERR_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        *wants = LOOP_WRITE;
        return ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return ERR_EOF;
    default:
        break;
    }
    unsigned long code = ERR_peek_last_error();
    if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE)
        return ERR_NOMEM;
    if (c->sys_err) {
        t->why = strerrordesc_np(c->sys_err);
        return ERR_IO;
    }
    if (c->kernel_eof && (c->up || !why_not_tls(c))) {
        t->why = c->up ? NULL : "closed during the TLS handshake";
        return ERR_EOF;
    }
    t->why = why_tls_failed(c, code);
    return ERR_TLS;
}

/* --- operations */

/* Before each call into OpenSSL that may read: forget old errors, and the kernel may hold bytes
 * again, since the loop said so or nobody has looked yet. */
static void enter(struct tls_conn *c)
{
    ERR_clear_error();
    c->kernel_empty = false;
    c->raw_left = RAW_BYTES_MAX;
}

static int tls_handshake(struct transport *t, unsigned *wants)
{
    struct tls_conn *c = t->tls;
    enter(c);
    int ret = SSL_do_handshake(c->ssl);
    c->up = ret == 1;
    return c->up ? OK : tls_error(t, ret, wants);
}

/* Neither the kernel nor OpenSSL holds another byte: it need not set up a buffer to find that. */
static int nothing_more(unsigned *wants)
{
    *wants = LOOP_READ;
    return ERR_AGAIN;
}

/* Taking a ticket, OpenSSL sets up its write buffer as well and keeps the 16 KiB until the next
 * write: on a connection that waits, for ever. A write of nothing sends nothing and gives it back.
 * (SSL_free_buffers would do, but not in all versions: CVE-2024-4741.) */
static void release_write_buffer(struct tls_conn *c)
{
    size_t written;
    c->got_ticket = false;
    ERR_clear_error();
    (void)SSL_write_ex(c->ssl, record, 0, &written);
}

static ssize_t tls_read(struct transport *t, size_t max, unsigned *wants)
{
    struct tls_conn *c = t->tls;
    struct iovec iov[2];
    int count = buf_reserve(&t->in, transport_reads_large(t), iov), err = OK;
    if (count < 0)
        return count;
    if (c->late_err) {
        buf_commit(&t->in, 0);
        return c->late_err;
    }
    enter(c);
    size_t got = 0;
    for (int i = 0; i < count && err == OK; i++) {
        size_t at = 0, room = iov[i].iov_len < max - got ? iov[i].iov_len : max - got;
        while (at < room && err == OK) {
            size_t n = 0;
            int ret = SSL_read_ex(c->ssl, (uint8_t *)iov[i].iov_base + at, room - at, &n);
            at += n;
            if (ret != 1)
                err = tls_error(t, ret, wants);
            else if (c->kernel_empty && !SSL_has_pending(c->ssl))
                err = nothing_more(wants);
        }
        got += at;
    }
    buf_commit(&t->in, got);
    if (c->got_ticket && t->out.len == 0 && (err == OK || err == ERR_AGAIN))
        release_write_buffer(c);
    if (got == 0)
        return err;
    if (err && err != ERR_AGAIN)
        c->late_err = err;
    if (c->raw_left == 0)
        *wants = 0; /* it was our bound that stopped us, not the kernel */
    return (ssize_t)got;
}

/* The front of out as one record: straight from its place when it is long enough there. */
static const uint8_t *next_record(const struct buf *out, size_t *n)
{
    struct iovec first;
    (void)buf_front(out, &first, 1);
    if (first.iov_len >= *n)
        return first.iov_base;
    buf_copy_out(out, 0, record, *n);
    return record;
}

static ssize_t tls_write(struct transport *t, size_t max, unsigned *wants)
{
    struct tls_conn *c = t->tls;
    size_t n = t->out.len < TLS_RECORD_BYTES ? t->out.len : TLS_RECORD_BYTES, written = 0;
    const uint8_t *p = next_record(&t->out, &n);
    ERR_clear_error();
    c->more = t->out.len > n && max > n;
    int ret = SSL_write_ex(c->ssl, p, n, &written);
    c->more = false;
    return ret == 1 ? (ssize_t)written : tls_error(t, ret, wants);
}

static int tls_goodbye(struct transport *t, unsigned *wants)
{
    ERR_clear_error();
    int ret = SSL_shutdown(t->tls->ssl);
    return ret < 0 && tls_error(t, ret, wants) == ERR_AGAIN && *wants == LOOP_WRITE ? ERR_AGAIN
                                                                                    : OK;
}

static void tls_release(struct transport *t, bool ended)
{
    struct tls_conn *c = t->tls;
    if (!c)
        return;
    ERR_clear_error();
    /* Without this OpenSSL takes the session for broken and would not resume it. */
    if (ended)
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    conn_free(c);
    t->tls = NULL;
    t->why = NULL;
}

const struct transport_ops tls_ops = {
    .handshake = tls_handshake,
    .read = tls_read,
    .write = tls_write,
    .goodbye = tls_goodbye,
    .release = tls_release,
};

/* --- what is known of the peer */

int transport_peer_thumbprint(const struct transport *t, char out[44])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    out[0] = '\0';
    X509 *cert = t->tls ? SSL_get0_peer_certificate(t->tls->ssl) : NULL;
    if (!cert)
        return ERR_UNKNOWN;
    uint8_t sum[EVP_MAX_MD_SIZE] = {0};
    unsigned len = 0;
    ERR_clear_error();
    if (X509_digest(cert, tls_context_sha256(t->tls->ctx), sum, &len) != 1 || len != 32)
        return ERR_TLS;
    size_t at = 0;
    for (size_t i = 0; i < 33; i += 3) { /* the byte behind the 32nd is 0: padding bits */
        uint32_t v = (uint32_t)sum[i] << 16 | (uint32_t)sum[i + 1] << 8 | sum[i + 2];
        for (int shift = 18; shift >= 0 && at < 43; shift -= 6)
            out[at++] = digits[v >> shift & 63];
    }
    out[at] = '\0';
    return OK;
}

int transport_peer_subject(const struct transport *t, char *out, size_t out_bytes)
{
    out[0] = '\0';
    X509 *cert = t->tls ? SSL_get0_peer_certificate(t->tls->ssl) : NULL;
    if (!cert)
        return ERR_UNKNOWN;
    ERR_clear_error();
    BIO *bio = BIO_new(BIO_s_mem());
    if (!bio)
        return ERR_NOMEM;
    char *text = NULL;
    int rc = ERR_TLS;
    unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
    if (X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, flags) >= 0) {
        long n = BIO_get_mem_data(bio, &text);
        rc = n < 0 || (size_t)n >= out_bytes || memchr(text, 0, (size_t)n) ? ERR_LIMIT : OK;
        if (rc == OK && n > 0)
            memcpy(out, text, (size_t)n);
        if (rc == OK)
            out[n] = '\0';
    }
    BIO_free(bio);
    return rc;
}

const char *transport_protocol(const struct transport *t)
{
    return t->tls ? SSL_get_version(t->tls->ssl) : "";
}

const char *transport_cipher(const struct transport *t)
{
    const char *name = t->tls ? SSL_get_cipher_name(t->tls->ssl) : NULL;
    return name ? name : "";
}

bool transport_resumed(const struct transport *t)
{
    return t->tls && SSL_session_reused(t->tls->ssl) == 1;
}
