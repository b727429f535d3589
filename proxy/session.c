#include "proxy/session.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "proxy/cleanup.h"
#include "proxy/exchange.h"
#include "proxy/worker.h"

/* Answers move to the transport while less than this waits there; the rest stays with its exchange,
 * so that a slow reader holds at most this and one answer in the transport. */
#define SESSION_OUT_HIGH_BYTES ((size_t)256 * 1024)
/* What may arrive ahead of need: pipelined small requests. A larger frame lifts the bound to its
 * own length. */
#define SESSION_IN_BYTES ((size_t)64 * 1024)
/* A frame's deadline moves whenever this much more of it has arrived. */
#define SESSION_PROGRESS_BYTES ((size_t)16 * 1024)

static const char *peer_text(const struct sockaddr_storage *peer, char *out, size_t n)
{
    char host[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;

    if (peer->ss_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)peer;
        inet_ntop(AF_INET, &a->sin_addr, host, sizeof(host));
        port = ntohs(a->sin_port);
        snprintf(out, n, "%s:%u", host, port);
    } else if (peer->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)(const void *)peer;
        inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof(host));
        port = ntohs(a->sin6_port);
        snprintf(out, n, "[%s]:%u", host, port);
    } else {
        snprintf(out, n, "unknown");
    }
    return out;
}

/* --- deadlines */

static void arm_ms(struct loop_timer *t, unsigned ms)
{
    /* A timer that cannot be set would be an unbounded wait; setting one does not allocate. */
    if (loop_timer_set(t, (uint64_t)ms * 1000) != OK)
        log_error("session", "a timer could not be set");
}

static void arm_deadline(struct session *s)
{
    const struct limits *l = &s->gate->config->limits;

    if (s->in_frame)
        arm_ms(s->deadline, l->frame_timeout_ms);
    else
        arm_ms(s->deadline, l->idle_timeout_ms);
}

static void on_deadline(void *arg)
{
    struct session *s = arg;

    switch (s->state) {
    case SESSION_TLS:
        session_close(s, "TLS handshake timed out", false);
        return;
    case SESSION_PREAUTH:
    case SESSION_HANDSHAKEN:
    case SESSION_REFUSED:
        session_close(s, "authentication timed out", false);
        return;
    case SESSION_READY:
    case SESSION_REAUTH:
        if (s->in_frame) {
            session_close(s,
                          s->starved ? "no room for a large request" : "a request stopped arriving",
                          false);
        } else if (s->head) {
            arm_deadline(s); /* it waits for us, not we for it */
        } else {
            session_close(s, "idle", false);
        }
        return;
    case SESSION_DRAINING:
        session_close(s, s->close_cause ? s->close_cause : "drained", false);
        return;
    case SESSION_CLOSED:
        return;
    }
}

/* A token that has ended comes back as another one; a grant does not, and is tidied up behind. */
void session_expire(struct session *s)
{
    int64_t now = loop_wall_s(s->gate->loop);

    for (unsigned i = 0; i < s->grants.count; i++)
        s->tidy |= s->grants.at[i]->expires != 0 && s->grants.at[i]->expires <= now;
    session_drain(s, s->tidy ? "grant expired" : "token expired");
}

static void on_expiry(void *arg)
{
    session_expire(arg);
}

static void on_pace(void *arg)
{
    session_flush(arg);
}

/* --- upstream connections */

void session_bad_answer(struct session *s, const char *api, int version, const char *why)
{
    struct audit_event e = {.kind = AUDIT_UPSTREAM, .api = api};

    session_audit(s, &e);
    e.reason = why;
    audit_put(s->gate->ring, &e);
    log_error("session", "session %lu: a broker's answer to %s version %d is not legal: %s",
              (unsigned long)s->number, api ? api : "nothing", version, why);
    session_close(s, "a broker's answer was not legal", true);
}

static void on_link_closed(void *arg, struct upstream *u, int why)
{
    struct session_link *l = arg;
    struct session *s = l->session;

    (void)u;
    log_debug("session", "session %lu: upstream connection to broker %d ended: %s",
              (unsigned long)s->number, (int)l->broker, err_name(why));
    for (struct session_link **p = &s->links; *p; p = &(*p)->next) {
        if (*p == l) {
            *p = l->next;
            break;
        }
    }
    sl_free(l);
    /* Calls hear of a bad answer themselves; this one was to none that still waits. */
    if (why == ERR_MALFORMED && s->state != SESSION_CLOSED)
        session_bad_answer(s, NULL, 0, "an answer that nobody asked for");
}

struct upstream *session_upstream(struct session *s, int32_t broker, enum upstream_kind kind)
{
    struct session_link *l;

    for (l = s->links; l; l = l->next)
        if (l->broker == broker && l->kind == kind)
            return l->up;
    l = sl_calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->session = s;
    l->broker = broker;
    l->kind = kind;
    l->up = upstream_open(s->gate->cluster, broker, on_link_closed, l);
    if (!l->up) {
        sl_free(l);
        return NULL;
    }
    l->next = s->links;
    s->links = l;
    return l->up;
}

void session_drop_upstream(struct session *s, int32_t broker, enum upstream_kind kind, bool hard)
{
    for (struct session_link **p = &s->links; *p; p = &(*p)->next) {
        struct session_link *l = *p;
        if (l->broker != broker || l->kind != kind)
            continue;
        *p = l->next;
        upstream_close(l->up, hard);
        sl_free(l);
        return;
    }
}

/* --- the end */

static void reap_exchanges(struct session *s)
{
    while (s->dead) {
        struct exchange *ex = s->dead;
        s->dead = ex->next;
        exchange_free(ex);
    }
}

void session_unwatch(struct session *s)
{
    if (!s->watching)
        return;
    for (unsigned i = 0; i < s->grants.count; i++)
        for (size_t t = 0; t < s->grants.at[i]->ntopics; t++)
            cluster_unwatch(s->gate->cluster, s->grants.at[i]->topics[t]);
    s->watching = false;
}

static void session_free(struct session *s)
{
    fetch_release(s);
    memberships_release(&s->memberships);
    reap_exchanges(s);
    loop_cancel(&s->later);
    loop_timer_free(s->deadline);
    loop_timer_free(s->expiry);
    loop_timer_free(s->pace);
    identity_clear(&s->id);
    grant_set_clear(&s->grants);
    sl_free(s);
}

static void audit_close_event(struct session *s)
{
    struct audit_event e = {.kind = AUDIT_CLOSE, .reason = s->close_cause};

    session_audit(s, &e);
    e.bytes_in = s->t.stats.bytes_in;
    e.bytes_out = s->t.stats.bytes_out;
    e.duration_us = loop_now_us(s->gate->loop) - s->opened_us;
    e.count = s->requests;
    audit_put(s->gate->ring, &e);
}

void session_close(struct session *s, const char *cause, bool hard)
{
    struct gate *g = s->gate;

    if (s->state == SESSION_CLOSED)
        return;
    s->state = SESSION_CLOSED;
    s->close_cause = cause;
    transport_close(&s->t, hard);
    while (s->links) {
        struct session_link *l = s->links;
        s->links = l->next;
        upstream_close(l->up, hard);
        sl_free(l);
    }
    login_forget(s);
    fetch_stop(s);
    while (s->head) {
        struct exchange *ex = s->head;
        s->head = ex->next;
        if (ex->waiting)
            cluster_wait_cancel(&ex->wait);
        exchange_unhold(ex);
        ex->next = s->dead;
        s->dead = ex;
    }
    s->tail = NULL;
    loop_timer_clear(s->deadline);
    loop_timer_clear(s->expiry);
    loop_timer_clear(s->pace);
    session_sum_denials(s);
    audit_close_event(s);
    gate_count(g, bytes_in, s->t.stats.bytes_in);
    gate_count(g, bytes_out, s->t.stats.bytes_out);
    gate_grants_used(g, s);
    session_unwatch(s);
    if (s->entered)
        principals_leave(g->principals, &s->id);
    s->entered = false;
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    g->nsessions--;
    gate_count(g, sessions_closed, 1);
    gate_count(g, sessions, -1);
    worker_session_ended(g->worker, &s->peer_addr);
    if (s->tidy)
        cleanup_start(g, s);
    loop_post(g->loop, &s->later);
}

void session_drain(struct session *s, const char *cause)
{
    if (s->state == SESSION_CLOSED || s->state == SESSION_DRAINING)
        return;
    if (s->state != SESSION_READY && s->state != SESSION_REAUTH) {
        session_close(s, cause, false);
        return;
    }
    s->state = SESSION_DRAINING;
    s->close_cause = cause;
    transport_pause(&s->t, true);
    arm_ms(s->deadline, s->gate->config->limits.drain_timeout_ms);
    fetch_behind(s);
    session_flush(s);
}

void session_protocol_error(struct session *s, const struct request_head *h, uint64_t offset,
                            const char *why)
{
    struct audit_event e = {.kind = AUDIT_PROTOCOL, .reason = why, .offset = offset};

    session_audit(s, &e);
    if (h) {
        e.api = schema_api_name(h->api);
        e.api_version = h->version;
    }
    audit_put(s->gate->ring, &e);
    log_info("session", "session %lu from %s: %s (%s %s, API %d version %d, offset %lu)",
             (unsigned long)s->number, s->peer, why, s->software_name, s->software_version,
             h ? h->api : -1, h ? h->version : -1, (unsigned long)offset);
    gate_count(s->gate, protocol_errors, 1);
    session_close(s, why, false);
}

/* --- answers */

static void finish_drain(struct session *s)
{
    if (s->state == SESSION_DRAINING && !s->head)
        transport_finish(&s->t);
}

/* Hands over what is finished at the queue's head. Whether anything was. */
static bool hand_over(struct session *s)
{
    struct exchange *ex;
    bool any = false;

    while (s->state != SESSION_CLOSED && (ex = s->head)) {
        uint64_t now = loop_now_us(s->gate->loop);

        if (ex->state == EXCHANGE_WORKING || ex->state == EXCHANGE_STREAMING)
            break;
        if (ex->not_before_us > now) {
            if (loop_timer_set(s->pace, ex->not_before_us - now) != OK)
                session_close(s, "out of memory", false);
            break;
        }
        if (s->t.out.len >= SESSION_OUT_HIGH_BYTES)
            break;
        exchange_unhold(ex);
        if (ex->state == EXCHANGE_DONE && buf_move(&s->t.out, &ex->out) != OK) {
            session_close(s, "out of memory", false);
            break;
        }
        any = true;
        s->head = ex->next;
        if (!s->head)
            s->tail = NULL;
        s->in_flight--;
        ex->next = s->dead;
        s->dead = ex;
        if (s->head && s->head->rule->route == ROUTE_FETCH && s->head->state == EXCHANGE_WORKING)
            fetch_at_head(s->head);
    }
    return any;
}

void session_flush(struct session *s)
{
    bool any;

    /* What finishes while the head is handed over is seen by the loop that does so. */
    if (s->flushing)
        return;
    s->flushing = true;
    any = hand_over(s);
    s->flushing = false;
    if (s->state == SESSION_CLOSED)
        return;
    if (any) {
        transport_send(&s->t);
        session_later(s);
    }
    finish_drain(s);
}

void session_tick(struct session *s)
{
    uint64_t now = loop_now_us(s->gate->loop);

    if (s->t.out.len == 0 || s->t.stats.bytes_out != s->out_seen) {
        s->out_seen = s->t.stats.bytes_out;
        s->out_since_us = now;
    } else if (now - s->out_since_us > (uint64_t)s->gate->config->limits.frame_timeout_ms * 1000) {
        session_close(s, "the client stopped reading", true);
        return;
    }
    /* Nothing else wakes one that stopped reading because of what other sessions hold. */
    if (s->starved)
        session_later(s);
    /* About every ten seconds, at another tick for each session. */
    if ((s->gate->ticks + s->number) % (10000 / GATE_TICK_MS) == 0)
        session_sum_denials(s);
}

/* --- requests */

static bool may_read(const struct session *s)
{
    const struct limits *l = &s->gate->config->limits;

    switch (s->state) {
    case SESSION_PREAUTH:
    case SESSION_HANDSHAKEN:
    case SESSION_REFUSED:
        /* One request after another: whatever is pipelined behind a token waits for the verdict. */
        return s->in_flight == 0;
    case SESSION_REAUTH:
    case SESSION_READY:
        return !s->asking && s->in_flight < l->in_flight && s->held_bytes < l->session_buffer_bytes;
    case SESSION_TLS:
    case SESSION_DRAINING:
    case SESSION_CLOSED:
        return false;
    }
    return false;
}

/* Whether the worker holds too much for another large request to arrive; small ones go on, so that
 * nobody's heartbeats stop because of others' records, up to a quarter more. */
static bool worker_full(const struct session *s, bool large)
{
    const struct gate *g = s->gate;
    size_t limit = g->config->limits.worker_buffer_bytes;

    return buf_thread_bytes() + g->arena_bytes >= (large ? limit : limit + limit / 4);
}

/* Before that, the deadline is authentication's own, which nothing moves. */
static bool authenticated(const struct session *s)
{
    return s->state == SESSION_READY || s->state == SESSION_REAUTH;
}

/* The longest frame that may arrive now. */
static size_t frame_limit(const struct session *s)
{
    const struct limits *l = &s->gate->config->limits;

    if (!authenticated(s))
        return l->frame_preauth_bytes;
    return l->frame_produce_bytes > l->frame_bytes ? l->frame_produce_bytes : l->frame_bytes;
}

/* Only Produce may be larger than limits.frame_bytes. */
static int check_length(struct session *s, uint32_t len)
{
    const struct limits *l = &s->gate->config->limits;
    uint8_t key[2];

    if (len <= l->frame_bytes || !authenticated(s))
        return OK;
    if (s->t.in.len < 6)
        return ERR_AGAIN;
    buf_copy_out(&s->t.in, 4, key, 2);
    return key[0] == 0 && key[1] == 0 ? OK : ERR_LIMIT;
}

static void frame_progress(struct session *s, uint32_t have)
{
    bool begins = !s->in_frame;

    if (!begins && have - s->frame_seen < SESSION_PROGRESS_BYTES)
        return;
    s->in_frame = true;
    s->frame_seen = have;
    if (authenticated(s))
        arm_deadline(s);
}

/* Whether the version may be used: our table, our schema, and (for what goes upstream) all
 * brokers. */
static bool version_offered(const struct session *s, const struct api_rule *r, int version)
{
    struct versions v;

    if (!versions_has(r->offered, version))
        return false;
    if (r->api == 17 || r->api == 18 || r->api == 29 || r->api == 36 || r->api == 60)
        return true;
    return cluster_versions(s->gate->cluster, r->api, &v) && versions_has(v, version);
}

static bool allowed_now(const struct session *s, int api)
{
    switch (s->state) {
    case SESSION_PREAUTH:
        return (api == 18 && !s->versions_answered) || api == 17;
    case SESSION_HANDSHAKEN:
    case SESSION_REFUSED:
    case SESSION_REAUTH:
        return api == 36;
    case SESSION_READY:
        return true;
    case SESSION_TLS:
    case SESSION_DRAINING:
    case SESSION_CLOSED:
        return false;
    }
    return false;
}

static void take_frame(struct session *s, struct buf *frame)
{
    struct request_head head = {0};
    const struct api_rule *rule;
    const char *why = "malformed header";

    if (frame_peek(frame, 0, frame->len, &head) != OK) {
        session_protocol_error(s, NULL, 0, "a frame too short for a header");
        return;
    }
    if (!allowed_now(s, head.api)) {
        session_protocol_error(s, &head, 0,
                               s->state == SESSION_READY ? "API is not offered"
                                                         : "a request out of place before "
                                                           "authentication was complete");
        return;
    }
    rule = api_find(head.api);
    if (!rule) {
        session_protocol_error(s, &head, 0, "API is not offered");
        return;
    }
    /* KIP-511: an ApiVersions above ours is answered, and its body not read. */
    if (head.api == 18 && head.version > rule->offered.max) {
        exchange_start(s, frame, &head);
        return;
    }
    if (!version_offered(s, rule, head.version)) {
        session_protocol_error(s, &head, 0, "API version is not offered");
        return;
    }
    if (frame_request_head(frame, 0, frame->len, &head, &why) != OK) {
        session_protocol_error(s, &head, 8, why);
        return;
    }
    exchange_start(s, frame, &head);
}

/* OK: a frame was taken. ERR_AGAIN: not all of it is here. ERR_BUSY: it has to wait. Anything else:
 * closed. */
static int read_frame(struct session *s)
{
    uint32_t len = 0;
    struct buf frame;
    int rc = frame_length(&s->t.in, frame_limit(s), &len);

    if (rc == OK)
        rc = check_length(s, len);
    if (rc == ERR_LIMIT) {
        session_protocol_error(s, NULL, 0, "a frame longer than the limit");
        return rc;
    }
    if (rc == ERR_MALFORMED) {
        session_protocol_error(s, NULL, 0, "a negative or zero frame length");
        return rc;
    }
    if (rc == OK && s->t.in.len < (size_t)len + 4) {
        size_t need = (size_t)len + 4;
        s->starved = authenticated(s) && worker_full(s, need > SESSION_IN_BYTES);
        s->t.in.limit_bytes = need > SESSION_IN_BYTES ? need : SESSION_IN_BYTES;
        rc = ERR_AGAIN;
    }
    if (rc != OK) {
        if (s->t.in.len > 0)
            frame_progress(s, (uint32_t)s->t.in.len);
        return rc;
    }
    /* A tree takes much more than its frame. Those under way end by themselves, so this waits for
     * nothing that waits for it. */
    if (authenticated(s) &&
        s->gate->arena_bytes >= s->gate->config->limits.worker_buffer_bytes / 2) {
        s->starved = true;
        return ERR_BUSY;
    }
    s->in_frame = false;
    s->t.in.limit_bytes = SESSION_IN_BYTES > s->t.in.len ? SESSION_IN_BYTES : s->t.in.len;
    s->last_request_us = loop_now_us(s->gate->loop);
    s->requests++;
    gate_count(s->gate, requests, 1);
    if (authenticated(s))
        arm_deadline(s);
    buf_init(&frame, len);
    buf_drain(&s->t.in, 4);
    rc = buf_move_n(&frame, &s->t.in, len);
    if (rc == OK)
        take_frame(s, &frame);
    else
        session_close(s, "out of memory", false);
    buf_release(&frame);
    return rc;
}

static void session_read(struct session *s)
{
    if (s->reading)
        return;
    s->reading = true;
    s->starved = false;
    while (may_read(s) && read_frame(s) == OK)
        ;
    s->reading = false;
    if (s->state != SESSION_CLOSED)
        transport_pause(&s->t, s->starved || !may_read(s));
}

static void on_later(void *arg)
{
    struct session *s = arg;

    if (s->state == SESSION_CLOSED) {
        session_free(s);
        return;
    }
    reap_exchanges(s);
    session_read(s);
}

void session_later(struct session *s)
{
    loop_post(s->gate->loop, &s->later);
}

/* --- the transport's events */

static void on_ready(void *arg)
{
    struct session *s = arg;
    struct audit_event e = {.kind = AUDIT_CONNECT};

    if (transport_peer_thumbprint(&s->t, s->tls_thumbprint) != OK)
        s->tls_thumbprint[0] = '\0';
    s->state = SESSION_PREAUTH;
    arm_ms(s->deadline, s->gate->config->limits.auth_timeout_ms);
    session_audit(s, &e);
    e.tls_protocol = transport_protocol(&s->t);
    e.tls_cipher = transport_cipher(&s->t);
    audit_put(s->gate->ring, &e);
}

static void on_readable(void *arg)
{
    session_read(arg);
}

static void on_drained(void *arg)
{
    struct session *s = arg;

    if (s->state == SESSION_DRAINING && !s->head) {
        session_close(s, s->close_cause, false);
        return;
    }
    if (s->head && s->head->state == EXCHANGE_STREAMING)
        fetch_at_head(s->head);
    session_flush(s);
}

static void on_failed(void *arg, int why, const char *text)
{
    struct session *s = arg;

    if (s->state == SESSION_TLS) {
        struct audit_event e = {.kind = AUDIT_TLS_FAIL, .reason = text};
        session_audit(s, &e);
        audit_put(s->gate->ring, &e);
        log_info("session", "session %lu from %s: TLS: %s", (unsigned long)s->number, s->peer,
                 text ? text : err_name(why));
        session_close(s, "TLS handshake failed", false);
        return;
    }
    session_close(s, why == ERR_EOF ? "client closed" : "connection lost", false);
}

static const struct transport_events session_transport = {
    .ready = on_ready, .readable = on_readable, .drained = on_drained, .failed = on_failed};

struct session *session_new(struct gate *g, int fd, const struct sockaddr_storage *peer)
{
    static atomic_uint_fast64_t numbers;
    struct session *s = sl_calloc(1, sizeof(*s));
    const struct limits *l = &g->config->limits;
    int rc = ERR_NOMEM;

    if (!s)
        goto fail;
    s->gate = g;
    s->number = atomic_fetch_add(&numbers, 1) + 1;
    s->peer_addr = *peer;
    s->opened_us = s->last_request_us = loop_now_us(g->loop);
    peer_text(peer, s->peer, sizeof(s->peer));
    loop_task_init(&s->later, on_later, s);
    s->deadline = loop_timer_new(g->loop, on_deadline, s);
    s->expiry = loop_timer_new(g->loop, on_expiry, s);
    s->pace = loop_timer_new(g->loop, on_pace, s);
    if (!s->deadline || !s->expiry || !s->pace)
        goto fail;
    rc = transport_accept(&s->t, g->loop, fd, g->tls, &session_transport, s,
                          (size_t)l->frame_preauth_bytes + 4,
                          (size_t)l->response_bytes + 2 * SESSION_OUT_HIGH_BYTES);
    if (rc != OK)
        goto fail;
    arm_ms(s->deadline, l->tls_timeout_ms);
    s->next = g->first;
    s->prev = &g->first;
    if (s->next)
        s->next->prev = &s->next;
    g->first = s;
    g->nsessions++;
    gate_count(g, sessions_opened, 1);
    gate_count(g, sessions, 1);
    return s;
fail:
    log_warn("session", "a connection could not be taken: %s", err_name(rc));
    close(fd);
    if (s)
        session_free(s);
    worker_session_ended(g->worker, peer);
    return NULL;
}
