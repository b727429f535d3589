/* TLS contexts: certificates, versions and ciphers for all connections of a listener or of the
 * upstream side, and the tickets that a client side may resume with. */
#include "proxy/tls.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/alloc.h"

/* AES-128-GCM first: it is the cheapest with hardware support, and strong enough. Only ephemeral
 * key agreement; TLS 1.3 has no other. */
#define CIPHERS                                                                                    \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
#define CIPHERSUITES "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"

#define SECURITY_LEVEL  2     /* 112 bits: no RSA below 2048, no SHA-1 signatures */
#define CHAIN_DEPTH_MAX 8     /* certificates between a peer's and a root */
#define CHAIN_BYTES_MAX 32768 /* what a peer may send as its chain */
#define TICKET_LIFE_S   7200
#define SESSIONS_MAX    64 /* resumable sessions a context: brokers times a few */

struct resumable {
    char key[TLS_NAME_MAX]; /* "" : free */
    SSL_SESSION *session;
};

struct tls_context {
    atomic_uint refs;
    SSL_CTX *ssl;
    EVP_MD *sha256;
    bool server, verify;
    int min_version;
    pthread_mutex_t lock; /* over what follows; taken when a connection begins, never for data */
    unsigned next;        /* to be replaced when all are in use */
    struct resumable sessions[SESSIONS_MAX];
};

/* --- errors for people */

static int refuse(char *err, size_t err_bytes, const char *what, const char *file)
{
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    if (code && ERR_SYSTEM_ERROR(code))
        reason = strerrordesc_np(ERR_GET_REASON(code));
    (void)snprintf(err, err_bytes, "%s%s%s: %s", what, file ? " " : "", file ? file : "",
                   reason ? reason : "cannot be used");
    ERR_clear_error();
    return ERR_CONFIG;
}

/* A key with a passphrase must fail, not ask on the terminal. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

/* --- callbacks of OpenSSL */

/* The best version in supported_versions: a list of two bytes each behind one length byte. GREASE
 * values (RFC 8701) and drafts are above what we know. */
static unsigned best_version(const unsigned char *p, size_t n)
{
    unsigned best = 0;
    for (size_t i = 1; i + 1 < n; i += 2) {
        unsigned v = (unsigned)p[i] << 8 | p[i + 1];
        if (v <= TLS1_3_VERSION && v > best)
            best = v;
    }
    return best;
}

static int on_hello(SSL *ssl, int *alert, void *arg)
{
    (void)alert;
    (void)arg;
    const unsigned char *p;
    size_t n;
    unsigned version = SSL_client_hello_get0_legacy_version(ssl);
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &p, &n) == 1)
        version = best_version(p, n);
    tls_conn_saw_hello(ssl, version);
    return SSL_CLIENT_HELLO_SUCCESS;
}

static struct resumable *find(struct tls_context *c, const char *key)
{
    for (unsigned i = 0; i < SESSIONS_MAX; i++)
        if (strcmp(c->sessions[i].key, key) == 0)
            return &c->sessions[i];
    return NULL;
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const char *key = tls_conn_key(ssl);
    tls_conn_saw_ticket(ssl);
    if (!c || !key || SSL_SESSION_is_resumable(session) != 1)
        return 0;
    SSL_SESSION *old = NULL;
    pthread_mutex_lock(&c->lock);
    struct resumable *r = find(c, key);
    if (!r)
        r = find(c, "");
    if (!r)
        r = &c->sessions[c->next++ % SESSIONS_MAX];
    old = r->session;
    r->session = session;
    (void)snprintf(r->key, sizeof(r->key), "%s", key);
    pthread_mutex_unlock(&c->lock);
    SSL_SESSION_free(old);
    return 1; /* its reference is ours now */
}

SSL_SESSION *tls_context_recall(struct tls_context *c, const char *key)
{
    SSL_SESSION *session = NULL;
    pthread_mutex_lock(&c->lock);
    struct resumable *r = find(c, key);
    if (r && r->session && SSL_SESSION_is_resumable(r->session) == 1 &&
        SSL_SESSION_up_ref(r->session) == 1)
        session = r->session;
    pthread_mutex_unlock(&c->lock);
    return session;
}

/* --- making one */

static struct tls_context *context_new(const SSL_METHOD *method)
{
    ERR_clear_error();
    struct tls_context *c = sl_calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    if (pthread_mutex_init(&c->lock, NULL) != 0) {
        sl_free(c);
        return NULL;
    }
    atomic_init(&c->refs, 1);
    c->ssl = SSL_CTX_new(method);
    c->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!c->ssl || !c->sha256 || SSL_CTX_set_app_data(c->ssl, c) != 1) {
        tls_unref(c);
        return NULL;
    }
    return c;
}

struct tls_context *tls_ref(struct tls_context *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void tls_unref(struct tls_context *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned i = 0; i < SESSIONS_MAX; i++)
        SSL_SESSION_free(c->sessions[i].session);
    SSL_CTX_free(c->ssl);
    EVP_MD_free(c->sha256);
    pthread_mutex_destroy(&c->lock);
    sl_free(c);
}

/* What both sides share. */
static int set_common(struct tls_context *c, int min_version, const char *ciphers,
                      const char *ciphersuites, char *err, size_t err_bytes)
{
    SSL_CTX *ssl = c->ssl;
    int groups[] = {NID_X25519, NID_X9_62_prime256v1, NID_secp384r1};
    c->min_version = min_version == 13 ? 13 : 12;
    (void)SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                       SSL_OP_CIPHER_SERVER_PREFERENCE);
    (void)SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_security_level(ssl, SECURITY_LEVEL);
    SSL_CTX_set_verify_depth(ssl, CHAIN_DEPTH_MAX);
    (void)SSL_CTX_set_max_cert_list(ssl, CHAIN_BYTES_MAX);
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    /* A record's header and body with one call; and the buffer is given back when empty. */
    SSL_CTX_set_read_ahead(ssl, 1);
    if (SSL_CTX_set_min_proto_version(ssl, c->min_version == 13 ? TLS1_3_VERSION
                                                                : TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set1_groups(ssl, groups, sizeof(groups) / sizeof(*groups)) != 1)
        return refuse(err, err_bytes, "TLS settings", NULL);
    if (SSL_CTX_set_cipher_list(ssl, ciphers ? ciphers : CIPHERS) != 1)
        return refuse(err, err_bytes, "ciphers", ciphers);
    if (SSL_CTX_set_ciphersuites(ssl, ciphersuites ? ciphersuites : CIPHERSUITES) != 1)
        return refuse(err, err_bytes, "ciphersuites", ciphersuites);
    return OK;
}

static int set_certificate(SSL_CTX *ssl, const char *certificate, const char *key, char *err,
                           size_t err_bytes)
{
    if (SSL_CTX_use_certificate_chain_file(ssl, certificate) != 1)
        return refuse(err, err_bytes, "certificate", certificate);
    if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1)
        return refuse(err, err_bytes, "key", key);
    if (SSL_CTX_check_private_key(ssl) != 1)
        return refuse(err, err_bytes, "key does not belong to the certificate:", key);
    return OK;
}

static int set_client_ca(SSL_CTX *ssl, const struct tls_server_settings *s, char *err,
                         size_t err_bytes)
{
    if (s->client_certificate == 0)
        return OK;
    if (!s->client_ca) {
        (void)snprintf(err, err_bytes, "client certificates are asked for, but no client_ca");
        return ERR_CONFIG;
    }
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(s->client_ca);
    if (!names || SSL_CTX_load_verify_file(ssl, s->client_ca) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return refuse(err, err_bytes, "client_ca", s->client_ca);
    }
    SSL_CTX_set_client_CA_list(ssl, names);
    SSL_CTX_set_verify(
        ssl, SSL_VERIFY_PEER | (s->client_certificate == 2 ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
        NULL);
    return OK;
}

static int set_tickets(SSL_CTX *ssl, char *err, size_t err_bytes)
{
    static const unsigned char id[] = "sluice";
    (void)SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF); /* tickets hold no memory */
    (void)SSL_CTX_set_timeout(ssl, TICKET_LIFE_S);
    if (SSL_CTX_set_num_tickets(ssl, 1) != 1 || SSL_CTX_set_max_early_data(ssl, 0) != 1 ||
        SSL_CTX_set_recv_max_early_data(ssl, 0) != 1 ||
        SSL_CTX_set_session_id_context(ssl, id, sizeof(id) - 1) != 1)
        return refuse(err, err_bytes, "TLS tickets", NULL);
    return OK;
}

struct tls_context *tls_server_new(const struct tls_server_settings *s, char *err, size_t err_bytes)
{
    struct tls_context *c = context_new(TLS_server_method());
    if (!c) {
        (void)snprintf(err, err_bytes, "out of memory");
        return NULL;
    }
    c->server = true;
    c->verify = s->client_certificate != 0;
    SSL_CTX_set_client_hello_cb(c->ssl, on_hello, NULL);
    if (set_common(c, s->min_version, s->ciphers, s->ciphersuites, err, err_bytes) != OK ||
        set_certificate(c->ssl, s->certificate, s->key, err, err_bytes) != OK ||
        set_client_ca(c->ssl, s, err, err_bytes) != OK ||
        set_tickets(c->ssl, err, err_bytes) != OK) {
        tls_unref(c);
        return NULL;
    }
    return c;
}

static int set_trust(SSL_CTX *ssl, const struct tls_client_settings *s, char *err, size_t err_bytes)
{
    SSL_CTX_set_verify(ssl, s->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (s->ca)
        return SSL_CTX_load_verify_file(ssl, s->ca) == 1 ? OK : refuse(err, err_bytes, "ca", s->ca);
    return SSL_CTX_set_default_verify_paths(ssl) == 1
               ? OK
               : refuse(err, err_bytes, "the system's certificate authorities", NULL);
}

struct tls_context *tls_client_new(const struct tls_client_settings *s, char *err, size_t err_bytes)
{
    struct tls_context *c = context_new(TLS_client_method());
    if (!c) {
        (void)snprintf(err, err_bytes, "out of memory");
        return NULL;
    }
    c->verify = s->verify;
    (void)SSL_CTX_set_session_cache_mode(c->ssl,
                                         SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ssl, on_session);
    if (set_common(c, s->min_version, NULL, NULL, err, err_bytes) != OK ||
        set_trust(c->ssl, s, err, err_bytes) != OK ||
        (s->certificate && set_certificate(c->ssl, s->certificate, s->key, err, err_bytes) != OK)) {
        tls_unref(c);
        return NULL;
    }
    return c;
}

/* --- what connections ask */

SSL *tls_context_ssl(struct tls_context *c)
{
    return SSL_new(c->ssl);
}

bool tls_context_is_server(const struct tls_context *c)
{
    return c->server;
}

bool tls_context_verifies(const struct tls_context *c)
{
    return c->verify;
}

int tls_context_min_version(const struct tls_context *c)
{
    return c->min_version;
}

const EVP_MD *tls_context_sha256(const struct tls_context *c)
{
    return c->sha256;
}
