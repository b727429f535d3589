#include "proxy/gate.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "proxy/cleanup.h"
#include "proxy/exchange.h"
#include "proxy/session.h"
#include "proxy/worker.h"

/* The wall clock is looked at this often. */
#define SWEEP_TICKS (10000 / GATE_TICK_MS)

/* Against a wall clock that jumps: timers run on the monotonic clock, so what a token's expiry
 * means is worked out anew now and then. */
static void sweep(struct gate *g)
{
    int64_t now = loop_wall_s(g->loop);
    struct session *next;

    for (struct session *s = g->first; s; s = next) {
        next = s->next;
        if (s->grants.count == 0 || s->state == SESSION_DRAINING)
            continue;
        if (s->expires_s <= now)
            session_expire(s);
        else if (loop_timer_set(s->expiry, (uint64_t)(s->expires_s - now) * 1000000) != OK)
            session_close(s, "out of memory", false);
    }
}

static void on_clock_jump(void *arg)
{
    struct gate *g = arg;

    log_warn("gate", "the wall clock was set: tokens and grants are looked at anew");
    sweep(g);
}

static void on_tick(void *arg)
{
    struct gate *g = arg;
    struct session *next;

    g->ticks++;
    for (struct session *s = g->first; s; s = next) {
        next = s->next;
        session_tick(s);
    }
    if (g->ticks % SWEEP_TICKS == 0)
        sweep(g);
    atomic_store_explicit(&g->counters.held_bytes, (int_fast64_t)buf_thread_bytes(),
                          memory_order_relaxed);
    atomic_store_explicit(&g->counters.cluster_ready, cluster_ready(g->cluster),
                          memory_order_relaxed);
    if (loop_timer_set(g->tick, GATE_TICK_MS * UINT64_C(1000)) != OK)
        log_error("gate", "the tick could not be set");
}

struct gate *gate_new(const struct gate_parts *p)
{
    struct gate *g = sl_calloc(1, sizeof(*g));

    if (!g)
        return NULL;
    g->loop = p->loop;
    g->worker = p->worker;
    g->config = config_ref(p->config);
    g->tls = p->tls ? tls_ref(p->tls) : NULL;
    g->audit = p->audit;
    g->principals = p->principals;
    g->introspector = p->introspector;
    g->unknown_kid = p->unknown_kid;
    g->arg = p->arg;
    g->index = p->index;
    g->ring = audit_ring_new(p->audit);
    g->grants = grant_table_new(p->config);
    g->tick = loop_timer_new(p->loop, on_tick, g);
    if (!g->ring || !g->grants || !g->tick) {
        gate_free(g);
        return NULL;
    }
    return g;
}

int gate_start(struct gate *g, struct tls_context *upstream_tls, struct resolver *resolver)
{
    g->cluster = cluster_new(g->loop, g->config, upstream_tls, resolver);
    if (!g->cluster)
        return ERR_NOMEM;
    if (loop_on_clock_jump(g->loop, on_clock_jump, g) != OK)
        log_warn("gate", "no notice of clock jumps: they are noticed within ten seconds");
    return loop_timer_set(g->tick, GATE_TICK_MS * UINT64_C(1000));
}

void gate_free(struct gate *g)
{
    if (!g)
        return;
    if (g->cluster)
        (void)!loop_on_clock_jump(g->loop, NULL, NULL);
    while (g->first)
        session_close(g->first, "shutdown", false);
    loop_run_posted(g->loop); /* sessions free themselves at the end of the turn */
    exchange_free_spare(g);
    cleanup_release(g);
    if (g->cluster)
        cluster_free(g->cluster);
    if (g->grants)
        grant_table_free(g->grants);
    if (g->ring)
        audit_ring_free(g->ring);
    if (g->tick)
        loop_timer_free(g->tick);
    keyring_unref(g->keys);
    tls_unref(g->tls);
    config_unref(g->config);
    sl_free(g);
}

void gate_accept(void *gate, int fd, const struct sockaddr_storage *peer)
{
    struct gate *g = gate;

    if (g->draining || !g->cluster) {
        close(fd);
        worker_session_ended(g->worker, peer);
        return;
    }
    /* On failure the descriptor has been closed and the reason logged. */
    if (!session_new(g, fd, peer))
        return;
}

bool gate_ready(const struct gate *g, const char **why)
{
    if (!g->keys)
        *why = "no issuer's keys are there yet";
    else if (!g->grants_loaded)
        *why = "the grants are not there yet";
    else if (!g->cluster || !cluster_ready(g->cluster))
        *why = "no broker has answered yet";
    else
        return true;
    return false;
}

/* --- what other threads change */

static bool disallowed(const struct gate *g, const struct session *s)
{
    return s->grants.count > 0 && !grant_table_allows(g->grants, &s->id, &s->grants);
}

/* All connections are reset before any is tidied up, since that takes several times as long. */
unsigned gate_apply(struct gate *g, const struct change *c, struct change_ack *ack)
{
    struct session *next, *gone = NULL;
    unsigned closed = 0;
    int rc = grant_table_apply(g->grants, c);

    if (rc != OK)
        log_error("gate", "a change of grants could not be taken: %s", err_name(rc));
    for (struct session *s = g->first; s; s = s->next)
        if (disallowed(g, s))
            transport_cut(&s->t);
    for (struct session *s = g->first; s; s = next) {
        next = s->next;
        if (!disallowed(g, s))
            continue;
        change_ack_bar(ack, g->grants, &s->id);
        session_close(s, "revoked", true);
        s->next = gone; /* it is in no list any more, and lives to the end of the turn */
        gone = s;
        closed++;
    }
    /* When all are closed: a consumer's sessions must not keep each other's group. */
    for (; gone; gone = gone->next)
        cleanup_start(g, gone);
    change_ack_done(ack, rc, closed);
    gate_count(g, revoked_sessions, closed);
    return closed;
}

void gate_close_unconfirmed(struct gate *g, const struct revocation *token)
{
    struct session *next;

    for (struct session *s = g->first; s; s = next) {
        next = s->next;
        if (s->confirmed && revocation_hits(token, &s->id, &s->grants))
            session_close(s, "introspection is not available", true);
    }
}

void gate_set_keys(struct gate *g, struct keyring *k)
{
    struct keyring *old = g->keys;

    g->keys = keyring_ref(k);
    keyring_unref(old);
}

/* A separator that is new may narrow what sessions have. */
static void close_disallowed(struct gate *g)
{
    struct session *next;

    for (struct session *s = g->first; s; s = next) {
        next = s->next;
        if (disallowed(g, s))
            session_close(s, "grant narrowed", true);
    }
}

int gate_set_config(struct gate *g, const struct config *c, struct tls_context *tls,
                    struct tls_context *upstream_tls)
{
    const struct config *old = g->config;
    struct tls_context *old_tls = g->tls;
    int rc = cluster_config(g->cluster, c, upstream_tls);

    /* The cluster has let go of the old one even when it could not take all of the new one. */
    g->config = config_ref(c);
    g->tls = tls ? tls_ref(tls) : NULL;
    tls_unref(old_tls);
    grant_table_config(g->grants, c);
    close_disallowed(g);
    config_unref(old);
    return rc;
}

void gate_drain(struct gate *g)
{
    struct session *next;

    g->draining = true;
    for (struct session *s = g->first; s; s = next) {
        next = s->next;
        session_drain(s, "shutdown");
    }
}

/* When its client last asked for something. */
static int64_t last_request_s(const struct gate *g, const struct session *s)
{
    return loop_wall_s(g->loop) -
           (int64_t)((loop_now_us(g->loop) - s->last_request_us) / UINT64_C(1000000));
}

void gate_grants_used(struct gate *g, const struct session *s)
{
    for (unsigned i = 0; i < s->grants.count; i++)
        grant_table_used(g->grants, s->grants.at[i]->id, last_request_s(g, s));
}

static int compare_id(const void *key, const void *at)
{
    const char *const *id = at;

    return strcmp(key, *id);
}

void gate_usage(const struct gate *g, const char *const *ids, size_t n, struct grant_usage *out)
{
    for (size_t i = 0; i < n; i++)
        out[i].last_use_s = grant_table_last_use(g->grants, ids[i]);
    for (const struct session *s = g->first; s; s = s->next) {
        int64_t last = last_request_s(g, s);
        for (unsigned i = 0; i < s->grants.count; i++) {
            const char *const *at = bsearch(s->grants.at[i]->id, ids, n, sizeof(*ids), compare_id);
            struct grant_usage *u = at ? &out[at - ids] : NULL;
            if (!u)
                continue;
            u->sessions++;
            u->last_use_s = last > u->last_use_s ? last : u->last_use_s;
        }
    }
}

void gate_list_sessions(const struct gate *g, json_t *array)
{
    for (const struct session *s = g->first; s; s = s->next) {
        json_t *grants = json_array();
        json_t *o;
        for (unsigned i = 0; grants && i < s->grants.count; i++)
            json_array_append_new(grants, json_string(s->grants.at[i]->id));
        o = json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:o}", "session",
                      (json_int_t)s->number, "address", s->peer, "issuer", s->id.issuer, "subject",
                      s->id.subject, "client", s->id.client, "participant",
                      s->grants.count ? s->grants.at[0]->participant : "", "client_id",
                      s->client_id, "requests", (json_int_t)s->requests, "denials",
                      (json_int_t)s->denials, "bytes_in", (json_int_t)s->t.stats.bytes_in,
                      "bytes_out", (json_int_t)s->t.stats.bytes_out, "grants", grants);
        if (o)
            json_array_append_new(array, o);
    }
}
