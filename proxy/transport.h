/* A byte stream with the peer's bytes in clear: plain TCP, TLS as server, TLS as client, simulated.
 * One small table of operations behind it; whoever holds a transport does not know which.
 *
 * Owned by a session or an upstream connection; lives until transport_close; one worker's thread.
 * Raw loop events, SSL_read and SSL_write over our own buffers (not bufferevents), records of
 * 16 KiB filled from as many segments as needed, at most TRANSPORT_TURN_BYTES a direction and loop
 * turn, so that one busy connection cannot starve the others. */
#ifndef PROXY_TRANSPORT_H
#define PROXY_TRANSPORT_H

#include <netinet/in.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/loop.h"

#define TRANSPORT_TURN_BYTES ((size_t)256 * 1024)

struct transport;
struct tls_context; /* counted; an SSL_CTX with what sluice needs to know of it */

/* What the owner hears. Any of these may call transport_close on its own transport, and free its
 * memory right after. */
struct transport_events {
    /* The connection stands: TCP connected, TLS handshake done. */
    void (*ready)(void *arg);
    /* Bytes arrived in t->in. The owner takes what it wants; what it leaves stays. */
    void (*readable)(void *arg);
    /* Everything in t->out has been handed to the kernel; once each time that it became empty. */
    void (*drained)(void *arg);
    /* The end: why is ERR_EOF (the peer closed), ERR_IO, ERR_TLS or ERR_NOMEM. text is constant or
     * lives as long as the transport is open. The owner closes; nothing more is called. While
     * reading is paused an ERR_EOF waits, so that what stands in t->in can still be worked off. */
    void (*failed)(void *arg, int why, const char *text);
};

struct transport_stats {
    uint64_t bytes_in, bytes_out; /* of clear payload */
};

struct transport {
    struct buf in;  /* received, clear; the owner drains it */
    struct buf out; /* to be sent, clear; the owner appends, then calls transport_send */
    struct transport_stats stats;
    /* private from here; see transport.c */
    const struct transport_ops *ops;
    const struct transport_events *events;
    void *arg;
    struct loop *loop;
    struct loop_io *io;
    struct loop_task again; /* what must not be done at once, or not all in one turn */
    struct tls_conn *tls;   /* proxy/tls.c; NULL: plain */
    bool *gone;             /* inside an event: set when the owner closes, and perhaps frees, us */
    uint64_t turn_us;       /* the loop's turn that the two budgets are for */
    uint32_t read_left, write_left;
    int fd;
    unsigned state;
    unsigned read_wants, write_wants; /* what a blocked read or write waits for; 0: try it */
    bool read_paused, large_reads, growing_reads, eof, finishing, fin_sent, drain_due, told;
    int err;
    const char *why;
};

/* A connection that was accepted; ctx NULL: plain. t is embedded in its owner and must not move.
 * limits: what in and out may hold. fd is non-blocking. On error fd stays open and the caller's,
 * and t needs no close. No event comes before this has returned. */
int transport_accept(struct transport *t, struct loop *l, int fd, struct tls_context *ctx,
                     const struct transport_events *ev, void *arg, size_t in_limit,
                     size_t out_limit) SL_MUST;
/* Connects to addr; ctx NULL: plain. server_name is used for SNI and checked against the
 * certificate (a name or an address; ERR_CONFIG when ctx verifies and there is none). Sessions are
 * resumed per ctx, server name and port. */
int transport_connect(struct transport *t, struct loop *l, const struct sockaddr *addr,
                      socklen_t addr_len, struct tls_context *ctx, const char *server_name,
                      const struct transport_events *ev, void *arg, size_t in_limit,
                      size_t out_limit) SL_MUST;
/* Something was appended to out: write as much as may be written now, the rest when it can. Never
 * calls the owner back before it returns. */
void transport_send(struct transport *t);
/* Stop or go on reading; bytes already in t->in stay, and the owner looks at them by itself. Used
 * for back-pressure. A transport whose t->in was full goes on by itself when the owner drains it
 * in readable; who drains it at another time calls transport_pause(t, false). */
void transport_pause(struct transport *t, bool paused);
/* Use large chunks for reading (bulk answers, long requests). Without it a connection that we made
 * still reads into a large one what comes behind a full small one: to a peer of our own choosing a
 * bulk answer's beginning need not go in small pieces; a stranger gets no such credit. */
void transport_bulk(struct transport *t, bool on);
/* Resets the connection at once: not a byte more leaves, nor what the kernel still holds. For many
 * that must end together; each still needs its transport_close, in the same turn. May be called on
 * a closed one. */
void transport_cut(struct transport *t);
/* Closes the descriptor and drops what is in in and out. hard: linger 0, what the kernel still
 * holds is not delivered (a revoked session). Otherwise TLS close_notify and FIN without waiting.
 * May be called twice, inside any event, and on zeroed memory. */
void transport_close(struct transport *t, bool hard);
/* Sends what is in out, then close_notify and FIN, then events->drained. Nothing may be appended
 * afterwards; the peer's bytes and its end are still heard. */
void transport_finish(struct transport *t);

/* Peer's certificate (TLS): its SHA-256 as RFC 8705 asks (base64url, 43 characters) into out[44].
 * ERR_UNKNOWN when there is none. */
int transport_peer_thumbprint(const struct transport *t, char out[44]) SL_MUST;
/* Its subject as RFC 2253 writes it ("CN=edc,O=provider"), which is Kafka's way; characters beyond
 * ASCII stay UTF-8. ERR_UNKNOWN when there is no certificate, ERR_LIMIT when it does not fit. */
int transport_peer_subject(const struct transport *t, char *out, size_t out_bytes) SL_MUST;
/* "TLSv1.3", cipher name, for the audit; "" for plain. */
const char *transport_protocol(const struct transport *t);
const char *transport_cipher(const struct transport *t);

/* Whether the TLS session was resumed; false for plain. */
bool transport_resumed(const struct transport *t);

/* --- contexts. Built on the control thread, shared by workers (counted with atomics). */
struct tls_server_settings {
    const char *certificate, *key;      /* PEM files */
    const char *client_ca;              /* PEM file, or NULL */
    int client_certificate;             /* 0 none, 1 optional, 2 required */
    int min_version;                    /* 12 or 13 */
    const char *ciphers, *ciphersuites; /* NULL: sluice's own choice */
};
struct tls_client_settings {
    const char *ca;                /* PEM file; NULL: the system's */
    const char *certificate, *key; /* mutual TLS, or NULL */
    bool verify;
    int min_version;
};
/* On failure NULL, and err holds what and which file. */
struct tls_context *tls_server_new(const struct tls_server_settings *s, char *err,
                                   size_t err_bytes) SL_MUST;
struct tls_context *tls_client_new(const struct tls_client_settings *s, char *err,
                                   size_t err_bytes) SL_MUST;
struct tls_context *tls_ref(struct tls_context *c);
void tls_unref(struct tls_context *c);

#endif
