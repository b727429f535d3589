/* Private to proxy/transport.c, proxy/tls.c and proxy/tls_context.c: what a transport's kind must
 * be able to do, and TLS's inner parts. */
#ifndef PROXY_TLS_H
#define PROXY_TLS_H

#include <openssl/ssl.h>
#include <sys/types.h>

#include "proxy/transport.h"

#define TLS_RECORD_BYTES 16384

/* One kind of transport. Each call does as much as it can without blocking. On ERR_AGAIN *wants
 * says which readiness (LOOP_READ, LOOP_WRITE) to wait for; other errors set t->why. */
struct transport_ops {
    int (*handshake)(struct transport *t, unsigned *wants);
    /* Reads up to max bytes into t->in. Returns how many, above 0, or an error. Having come to the
     * end of what the kernel holds, it may set *wants as well. */
    ssize_t (*read)(struct transport *t, size_t max, unsigned *wants);
    /* Writes from the front of t->out, which it does not drain, up to max bytes. The same. */
    ssize_t (*write)(struct transport *t, size_t max, unsigned *wants);
    /* Tells the peer that nothing more comes, above TCP's FIN. OK or ERR_AGAIN. */
    int (*goodbye)(struct transport *t, unsigned *wants);
    /* Frees what the kind holds. ended: the stream was in order up to here. */
    void (*release)(struct transport *t, bool ended);
};

extern const struct transport_ops tls_ops;

/* Which chunks the next read shall fill; see transport_bulk. */
static inline bool transport_reads_large(const struct transport *t)
{
    return t->large_reads || (t->growing_reads && t->in.len >= BUF_CHUNK_SMALL_BYTES);
}

/* The TLS side of an open connection of fd; server_name and port: for clients only. */
int tls_attach(struct transport *t, struct tls_context *ctx, const char *server_name,
               unsigned port) SL_MUST;

/* --- contexts (proxy/tls_context.c) */

#define TLS_NAME_MAX 256 /* server name and port: the key of a resumable session */

SSL *tls_context_ssl(struct tls_context *c);
bool tls_context_is_server(const struct tls_context *c);
bool tls_context_verifies(const struct tls_context *c);
int tls_context_min_version(const struct tls_context *c); /* 12 or 13 */
const EVP_MD *tls_context_sha256(const struct tls_context *c);
/* A session to resume, counted for the caller, or NULL. Thread-safe. */
SSL_SESSION *tls_context_recall(struct tls_context *c, const char *key);
/* Of the connection, when OpenSSL calls for a ticket that its server sent. */
const char *tls_conn_key(const SSL *ssl);
void tls_conn_saw_ticket(SSL *ssl);
/* Called by OpenSSL once it has the whole ClientHello: notes the best version offered. */
void tls_conn_saw_hello(SSL *ssl, unsigned version);

#endif
