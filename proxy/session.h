/* A client's connection, from accept to close.
 *
 *   TLS handshake -> PREAUTH -> HANDSHAKEN -> READY (-> REAUTH -> READY) -> DRAINING -> closed
 *
 * Owned by its worker's gate, in that worker's thread. Reads frames, lets nothing but ApiVersions,
 * SaslHandshake and SaslAuthenticate happen before a token was verified and a grant found, then
 * turns each request into an exchange. Answers leave in the order of the requests, whatever order
 * the brokers answer in. Memory is freed at the end of the loop's turn, so that a stale callback
 * meets nothing freed; session_close may be called from anywhere, twice.
 * Bounds: limits.in_flight requests (then it stops reading), limits.session_buffer_bytes,
 * deadlines for TLS, authentication, a frame's progress and idleness. */
#ifndef PROXY_SESSION_H
#define PROXY_SESSION_H

#include "auth/grant.h"
#include "auth/identity.h"
#include "base/loop.h"
#include "codec/frame.h"
#include "proxy/gate.h"
#include "proxy/transport.h"

struct exchange;
struct fetch_room;
struct introspect_ticket;
struct membership;
struct upstream;

enum session_state {
    SESSION_TLS,        /* handshake under way */
    SESSION_PREAUTH,    /* ApiVersions, SaslHandshake */
    SESSION_HANDSHAKEN, /* SaslAuthenticate only */
    SESSION_REFUSED,    /* a bad token was answered; one more SaslAuthenticate, then the end */
    SESSION_READY,
    SESSION_REAUTH,   /* a handshake in a running session: SaslAuthenticate only */
    SESSION_DRAINING, /* expired or shutting down: no new requests */
    SESSION_CLOSED,
};

enum upstream_kind { UPSTREAM_FETCH, UPSTREAM_OTHER };

/* One open upstream connection of the session. */
struct session_link {
    struct session_link *next;
    struct session *session;
    struct upstream *up;
    int32_t broker;
    enum upstream_kind kind;
};

/* Repeated denials are audited in summary: the first at once, the rest counted. */
struct denial_memo {
    int16_t api;
    int16_t error;
    uint32_t hash; /* of the resource */
    uint32_t count;
    bool mixed; /* the count is of other resources as well */
    char resource[64];
    const char *resource_type;
};
#define DENIAL_MEMOS 8
/* One request may be denied a hundred thousand times, and each line of the audit trail costs: so
 * many resources a second are told one by one, the rest in the summaries. */
#define DENIAL_LINES_PER_S 16

struct session {
    struct gate *gate;
    struct session *next, **prev; /* the gate's list */
    uint64_t number;
    enum session_state state;
    struct transport t;
    struct loop_timer *deadline; /* TLS, authentication, a frame's progress, idle, drain */
    struct loop_timer *expiry;   /* of token and grants */
    struct loop_timer *pace;     /* a denial that is held back */
    struct loop_task later;      /* end of turn: frees answered exchanges, reads on, or frees it */
    struct sockaddr_storage peer_addr;
    char peer[64];
    char tls_thumbprint[44];

    struct identity id;
    struct grant_set grants;
    bool entered;           /* counted in principals */
    bool watching;          /* its topics are watched in the cluster map */
    bool topics_known;      /* the map has told of all of them */
    bool versions_answered; /* ApiVersions before authentication: one success */
    bool in_frame;          /* a frame has begun to arrive */
    bool reading, flushing; /* guards against re-entry */
    bool starved;           /* it does not read because the worker holds too much */
    bool tidy;              /* a grant has ended: to be tidied up behind when it closes */
    uint32_t frame_seen;    /* bytes of it that had arrived when the deadline was last moved */
    uint64_t authenticated_us;
    int64_t expires_s; /* wall clock: when token, grants or limits.session_max_s end it */
    uint64_t out_seen, out_since_us; /* progress of a slow reader */

    struct exchange *head, *tail; /* in request order */
    struct exchange *dead;        /* answered; freed at the end of the turn */
    unsigned in_flight;
    size_t held_bytes; /* frames and trees of the requests under way */
    struct session_link *links;
    struct fetch_room *fetch;
    struct membership *memberships;      /* groups and transactions that it joined */
    struct introspect_ticket *asking;    /* about the token of the exchange that it belongs to */
    struct introspect_ticket *confirmed; /* of the token that it has; NULL: none was asked for */

    struct denial_memo memos[DENIAL_MEMOS];
    unsigned recent_denials; /* requests, for pacing; halved every second */
    uint64_t recent_us;
    unsigned denial_lines; /* audited in the second that began at lines_us */
    uint64_t lines_us;

    char software_name[64], software_version[64];
    char client_id[256];
    uint64_t opened_us, last_request_us;
    uint64_t requests, denials, unknown_tags;
    const char *close_cause;
};

/* Takes the descriptor. NULL: it was closed. */
struct session *session_new(struct gate *g, int fd, const struct sockaddr_storage *peer) SL_MUST;
/* Ends it: cause is constant text for the audit ("revoked", "token expired", "client closed").
 * hard: linger 0 on the client's and the upstream sockets, nothing more is delivered. */
void session_close(struct session *s, const char *cause, bool hard);
/* No new requests; those sent may finish for limits.drain_timeout_ms, then FIN. */
void session_drain(struct session *s, const char *cause);
/* Token or grants have ended. */
void session_expire(struct session *s);
/* Sends every finished answer at the head of the queue. */
void session_flush(struct session *s);
/* At the end of this turn: reads on if it may, and frees what is finished. */
void session_later(struct session *s);
/* Every GATE_TICK_MS: a reader that stands still, denials to sum up. */
void session_tick(struct session *s);
/* A broken frame: audit with API, version, offset and why, then close. */
void session_protocol_error(struct session *s, const struct request_head *h, uint64_t offset,
                            const char *why);
/* A broker's answer that nothing may be taken from: audited, both sides are closed. api: to what,
 * or NULL. */
void session_bad_answer(struct session *s, const char *api, int version, const char *why);
/* The connection to a broker for this kind of call, opened on need. NULL: no memory, or unknown. */
struct upstream *session_upstream(struct session *s, int32_t broker,
                                  enum upstream_kind kind) SL_MUST;
/* Drops that connection (without calling back). */
void session_drop_upstream(struct session *s, int32_t broker, enum upstream_kind kind, bool hard);
/* Lets go of the watched topics. */
void session_unwatch(struct session *s);
/* Counts and audits one denial of this request; proxy/denials.c. resource may hold any bytes. */
void session_denied(struct session *s, struct exchange *ex, const char *resource_type,
                    const void *resource, size_t n, int error);
/* Audits in summary what was denied again and again. */
void session_sum_denials(struct session *s);
/* Fills what is known of the session into an audit event, in proxy/trail.c; what it fills in is
 * good until the thread's next call. */
struct audit_event;
void session_audit(const struct session *s, struct audit_event *e);
/* The same of a login with this token, which the session has not taken yet or never will. */
void session_audit_login(const struct session *s, const struct identity *id, bool refused,
                         struct audit_event *e);

/* The part of SASL, in proxy/login.c: takes one request of the prologue or of a
 * re-authentication. */
void login_handshake(struct session *s, struct exchange *ex);
void login_authenticate(struct session *s, struct exchange *ex);
/* The session is closed: what was asked about its token is nobody's any more. */
void login_forget(struct session *s);

#endif
