/* The gate of one worker: everything that its sessions share.
 *
 * One a worker, made by main before the worker's loop runs, in that worker's thread from then on.
 * What other threads change arrives as mail (gate_mail_*): configuration and keys as counted
 * snapshots, grants and revocations as deltas, upstream tokens. Counters are written by this
 * thread and read by the control thread, relaxed. */
#ifndef PROXY_GATE_H
#define PROXY_GATE_H

#include <jansson.h>
#include <stdatomic.h>

#include "audit/audit.h"
#include "auth/grant.h"
#include "auth/jwks.h"
#include "auth/store.h"
#include "base/loop.h"
#include "config/config.h"
#include "proxy/cluster.h"
#include "proxy/principals.h"
#include "proxy/transport.h"

struct cleanup;
struct exchange;
struct introspector;
struct session;
struct worker;

struct gate_counters {
    atomic_uint_fast64_t sessions_opened, sessions_closed, logins, logins_refused, reauths;
    atomic_uint_fast64_t requests, denials, protocol_errors, unknown_tags, revoked_sessions;
    atomic_uint_fast64_t bytes_in, bytes_out, fetch_streamed, fetch_joined, upstream_failures;
    atomic_uint_fast64_t cleanups;
    atomic_int_fast64_t sessions, held_bytes, cluster_ready;
};

#define gate_count(g, what, n)                                                                     \
    atomic_fetch_add_explicit(&(g)->counters.what, (n), memory_order_relaxed)

struct gate {
    struct loop *loop;
    struct worker *worker;
    const struct config *config;
    struct keyring *keys; /* NULL until the first has come */
    struct grant_table *grants;
    struct cluster *cluster;
    struct tls_context *tls; /* what clients meet; NULL: plain, in tests */
    struct audit *audit;
    struct audit_ring *ring;
    struct principals *principals;     /* connections a principal, process-wide */
    struct introspector *introspector; /* the control thread's; tickets go there */
    struct session *first;
    unsigned nsessions;
    struct exchange *spare;   /* a finished one and at most 64 KiB of its arena; proxy/exchange.c */
    struct cleanup *cleanups; /* behind ended grants */
    unsigned ncleanups;
    unsigned index;     /* of the worker */
    bool grants_loaded; /* the store has told everything that was in force */
    bool draining;
    struct loop_timer *tick; /* every GATE_TICK_MS: memory, sweeps */
    uint64_t ticks;
    size_t arena_bytes; /* of the requests under way; their buffers are counted apart */
    /* When a fetch for an unknown key was last asked for, an issuer each. */
    uint64_t kid_asked_us[CONFIG_ISSUERS_MAX];
    /* A key that we lack was named: main asks the fetcher. Any thread may be called from here. */
    void (*unknown_kid)(void *arg, const char *issuer);
    void *arg;
    struct gate_counters counters;
};
#define GATE_TICK_MS 50

/* Parts that main made; the gate takes its own references of counted ones. */
struct gate_parts {
    struct worker *worker;
    struct loop *loop;
    const struct config *config;
    struct tls_context *tls;
    struct audit *audit;
    struct principals *principals;
    struct introspector *introspector; /* NULL: logins that want it are refused retriably */
    void (*unknown_kid)(void *arg, const char *issuer);
    void *arg;
    unsigned index;
};
struct gate *gate_new(const struct gate_parts *p) SL_MUST;
/* The worker's thread, before anything else: begins to ask the cluster. */
int gate_start(struct gate *g, struct tls_context *upstream_tls, struct resolver *resolver) SL_MUST;
/* After the worker's thread has ended. */
void gate_free(struct gate *g);

/* A client's connection from the listener; the descriptor is the gate's from here. */
void gate_accept(void *gate, int fd, const struct sockaddr_storage *peer);

/* --- in the worker's thread, called by the mails of main */
/* Applies one change of the store, closes what it hits and acknowledges; returns how many sessions
 * closed. */
unsigned gate_apply(struct gate *g, const struct change *c, struct change_ack *ack);
/* The authorization server does not say whether this token is still active, and configuration wants
 * its sessions closed then. */
void gate_close_unconfirmed(struct gate *g, const struct revocation *token);
void gate_set_keys(struct gate *g, struct keyring *k);
int gate_set_config(struct gate *g, const struct config *c, struct tls_context *tls,
                    struct tls_context *upstream_tls) SL_MUST;
/* Refuses new requests, lets those under way finish, then closes every session. */
void gate_drain(struct gate *g);
/* A session's grants are in use no longer, at least not by it. */
void gate_grants_used(struct gate *g, const struct session *s);
/* Adds to out[i] what is known of grant ids[i]; ids are sorted by strcmp. */
void gate_usage(const struct gate *g, const char *const *ids, size_t n, struct grant_usage *out);
/* Appends one object a session. */
void gate_list_sessions(const struct gate *g, json_t *array);
/* True when a login can be answered: cluster probed, keys and grants there. *why says what lacks.
 */
bool gate_ready(const struct gate *g, const char **why);

#endif
