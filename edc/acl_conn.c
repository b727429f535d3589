#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "edc/acl_priv.h"
#include "proxy/peers.h"

#define LENGTH_BYTES 4

static void arm_ms(struct acl_conn *c, unsigned ms)
{
    /* A timer that cannot be set would be an unbounded wait; setting one does not allocate. */
    if (loop_timer_set(c->timer, (uint64_t)ms * 1000) != OK)
        log_error("acl", "a timer could not be set");
}

void acl_conn_audit(const struct acl_conn *c, struct audit_event *e)
{
    static const char *const names[] = {"TLS", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"};

    e->issuer = "acl_listener";
    e->subject = c->who;
    e->client = c->subject;
    e->client_address = c->peer;
    e->mechanism = names[c->mechanism];
    if (c->t.tls) {
        e->tls_protocol = transport_protocol(&c->t);
        e->tls_cipher = transport_cipher(&c->t);
    }
}

static bool subject_allowed(const struct config *c, const char *subject)
{
    const struct strings *list = &c->acl_listener.client_subjects;

    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->at[i], subject) == 0)
            return true;
    return list->count == 0;
}

bool acl_conn_welcome(const struct acl_conn *c)
{
    const struct config *config = c->acl->config;

    if (c->state == ACL_TLS)
        return true; /* nobody has said who he is */
    if (!subject_allowed(config, c->subject))
        return false;
    if (c->state != ACL_READY)
        return true;
    return config->acl_listener.nusers == 0
               ? config->acl_listener.client_subjects.count > 0 && !c->user_number
               : c->user_number && scram_users_number(c->acl->users, c->who) == c->user_number;
}

/* --- the end */

/* A password came in its frame, which goes back to a pool. */
static void wipe(struct buf *frame)
{
    static const uint8_t zeros[256];
    size_t n;

    for (size_t at = 0; at < frame->len; at += n) {
        n = frame->len - at < sizeof(zeros) ? frame->len - at : sizeof(zeros);
        buf_overwrite(frame, at, zeros, n);
    }
}

void acl_ask_free(struct acl_ask *ask)
{
    if (ask->conn)
        ask->conn->ask = NULL;
    if (ask->head.api == 36)
        wipe(&ask->frame);
    arena_release(&ask->arena);
    buf_release(&ask->frame);
    sl_free(ask);
}

void acl_conn_close(struct acl_conn *c, const char *cause)
{
    if (c->state == ACL_CLOSED)
        return;
    log_debug("acl", "%s: %s", c->peer, cause);
    c->state = ACL_CLOSED;
    c->cause = cause;
    transport_close(&c->t, false);
    loop_timer_clear(c->timer);
    loop_post(c->acl->loop, &c->later);
}

void acl_conn_free(struct acl_conn *c)
{
    struct acl *a = c->acl;

    acl_conn_close(c, "the listener ends");
    if (c->ask && c->ask->held)
        c->ask->conn = NULL;
    else if (c->ask)
        acl_ask_free(c->ask);
    loop_cancel(&c->later);
    loop_timer_free(c->timer);
    scram_server_clear(&c->scram);
    buf_release(&c->no);
    if (c->counted)
        peers_leave(a->peers, &c->peer_addr);
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    a->nconns--;
    sl_free(c);
}

void acl_conn_fault(struct acl_conn *c, const struct request_head *h, uint64_t offset,
                    const char *why)
{
    struct audit_event e = {.kind = AUDIT_PROTOCOL, .reason = why, .offset = offset};

    acl_conn_audit(c, &e);
    if (h) {
        e.api = schema_api_name(h->api);
        e.api_version = h->version;
    }
    acl_audit(&c->acl->changes, &e);
    acl_conn_close(c, why);
}

static void on_timer(void *arg)
{
    struct acl_conn *c = arg;

    switch (c->state) {
    case ACL_TLS:
        acl_conn_close(c, "TLS handshake timed out");
        return;
    case ACL_PREAUTH:
    case ACL_HANDSHAKEN:
        acl_conn_close(c, "authentication timed out");
        return;
    case ACL_REFUSED:
        if (buf_move(&c->t.out, &c->no) != OK) {
            acl_conn_close(c, "out of memory");
            return;
        }
        c->state = ACL_ENDING;
        transport_finish(&c->t);
        transport_pause(&c->t, false); /* to hear when it has gone */
        arm_ms(c, ACL_LINGER_MS);
        return;
    case ACL_READY:
        if (c->t.out.len > 0)
            acl_conn_close(c, "the client stopped reading");
        else
            acl_conn_close(c, c->in_frame ? "a request stopped arriving" : "idle");
        return;
    case ACL_ENDING:
        acl_conn_close(c, "done");
        return;
    case ACL_CLOSED:
        return;
    }
}

/* --- frames in */

static bool allowed_now(const struct acl_conn *c, int api)
{
    switch (c->state) {
    case ACL_PREAUTH:
        return (api == 18 && !c->versions_answered) || api == 17;
    case ACL_HANDSHAKEN:
        return api == 36;
    case ACL_READY:
        return api != 17 && api != 36;
    case ACL_TLS:
    case ACL_REFUSED:
    case ACL_ENDING:
    case ACL_CLOSED:
        return false;
    }
    return false;
}

static size_t frame_limit(const struct acl_conn *c)
{
    const struct limits *l = &c->acl->config->limits;

    return c->state == ACL_READY ? l->frame_bytes : l->frame_preauth_bytes;
}

static void dispatch(struct acl_conn *c, struct acl_ask *ask)
{
    const struct acl_api *api;
    struct msg_error e = {.why = "too large", .offset = 0};
    const char *why = "malformed header";
    size_t off;
    int rc;

    if (frame_peek(&ask->frame, 0, ask->frame.len, &ask->head) != OK) {
        acl_conn_fault(c, NULL, 0, "a frame too short for a header");
        return;
    }
    api = acl_api_find(ask->head.api);
    if (!api || !allowed_now(c, ask->head.api)) {
        acl_conn_fault(c, &ask->head, 0, "API is not offered, or not now");
        return;
    }
    if (ask->head.api == 18 && ask->head.version > api->offered.max) {
        acl_versions(ask);
        return;
    }
    if (!versions_has(api->offered, ask->head.version)) {
        acl_conn_fault(c, &ask->head, 0, "API version is not offered");
        return;
    }
    if (frame_request_head(&ask->frame, 0, ask->frame.len, &ask->head, &why) != OK) {
        acl_conn_fault(c, &ask->head, 0, why);
        return;
    }
    off = ask->head.body_off + frame_placeholder(&ask->frame, &ask->head);
    rc = msg_decode(&ask->request, &ask->arena, schema_find(ask->head.api, true), ask->head.version,
                    &ask->frame, off, ask->frame.len - off, &e);
    if (rc != OK) {
        acl_conn_fault(c, &ask->head, off + e.offset, e.why);
        return;
    }
    api->answer(ask);
}

/* Takes the next frame, if it is all there. Whether to look for another. */
static bool take_frame(struct acl_conn *c)
{
    struct acl_ask *ask;
    uint32_t len = 0;
    int rc = frame_length(&c->t.in, frame_limit(c), &len);

    if (rc != OK && rc != ERR_AGAIN) {
        acl_conn_fault(c, NULL, 0, "a frame's length is out of bounds");
        return false;
    }
    if (rc == ERR_AGAIN || c->t.in.len - LENGTH_BYTES < len)
        return false;
    ask = sl_calloc(1, sizeof(*ask));
    if (!ask) {
        acl_conn_close(c, "out of memory");
        return false;
    }
    ask->conn = c;
    ask->acl = c->acl;
    c->ask = ask;
    arena_init(&ask->arena, c->state == ACL_READY ? ACL_ARENA_BYTES : ACL_LOGIN_ARENA_BYTES);
    buf_init(&ask->frame, len);
    buf_drain(&c->t.in, LENGTH_BYTES);
    if (buf_move_n(&ask->frame, &c->t.in, len) != OK) {
        acl_conn_close(c, "out of memory");
        return false;
    }
    dispatch(c, ask);
    if (c->state == ACL_CLOSED && c->ask && !c->ask->held)
        acl_ask_free(c->ask); /* a fault */
    return true;
}

/* From its first byte to its last a request has the time that it has, however it trickles. */
static void arm_ready(struct acl_conn *c)
{
    const struct limits *l = &c->acl->config->limits;
    bool was = c->in_frame;

    if (c->state != ACL_READY)
        return;
    c->in_frame = c->t.in.len > 0;
    if (c->ask)
        loop_timer_clear(c->timer); /* it waits for us */
    else if (c->t.out.len > 0 || (c->in_frame && !was))
        arm_ms(c, l->frame_timeout_ms);
    else if (!c->in_frame)
        arm_ms(c, l->idle_timeout_ms);
}

static void feed(struct acl_conn *c)
{
    while ((c->state == ACL_PREAUTH || c->state == ACL_HANDSHAKEN || c->state == ACL_READY) &&
           !c->ask && c->t.out.len == 0 && take_frame(c))
        c->in_frame = false;
    if (c->state == ACL_CLOSED)
        return;
    transport_pause(&c->t, c->ask || c->t.out.len > 0);
    arm_ready(c);
}

static void on_later(void *arg)
{
    struct acl_conn *c = arg;

    if (c->state == ACL_CLOSED)
        acl_conn_free(c);
    else
        feed(c);
}

/* --- answers out */

static int encode(struct acl_ask *ask, int rc, struct buf *out)
{
    if (rc == OK)
        rc = msg_encode_response(&ask->reply, ask->head.correlation, out);
    return rc;
}

void acl_conn_answer(struct acl_ask *ask, int rc)
{
    struct acl_conn *c = ask->conn;

    if (c && c->state != ACL_CLOSED) {
        rc = encode(ask, rc, &c->t.out);
        acl_ask_free(ask);
        if (rc != OK) {
            acl_conn_close(c, rc == ERR_LIMIT ? "an answer is too large" : "out of memory");
            return;
        }
        transport_send(&c->t);
        loop_post(c->acl->loop, &c->later);
        return;
    }
    acl_ask_free(ask);
}

void acl_conn_refuse(struct acl_ask *ask, int rc, const char *cause)
{
    struct acl_conn *c = ask->conn;

    rc = encode(ask, rc, &c->no); /* the transport sends what is in its own at once */
    acl_ask_free(ask);
    if (rc != OK) {
        acl_conn_close(c, "out of memory");
        return;
    }
    c->state = ACL_REFUSED;
    c->cause = cause;
    transport_pause(&c->t, true);
    arm_ms(c, ACL_REFUSAL_MS);
}

/* --- what the transport tells */

void acl_conn_ready(struct acl_conn *c)
{
    struct audit_event e = {.kind = AUDIT_AUTH_OK};

    c->state = ACL_READY;
    c->t.in.limit_bytes = c->acl->config->limits.frame_bytes + LENGTH_BYTES;
    acl_conn_audit(c, &e);
    acl_audit(&c->acl->changes, &e);
    log_info("acl", "%s: %s has logged in", c->peer, c->who);
    arm_ms(c, c->acl->config->limits.idle_timeout_ms);
}

static void refuse_certificate(struct acl_conn *c)
{
    struct audit_event e = {.kind = AUDIT_AUTH_FAIL,
                            .reason = "the certificate's subject is not allowed"};

    acl_conn_audit(c, &e);
    acl_audit(&c->acl->changes, &e);
    acl_conn_close(c, e.reason);
}

static void on_ready(void *arg)
{
    struct acl_conn *c = arg;
    const struct config *config = c->acl->config;

    if (c->t.tls && config->acl_listener.client_ca &&
        transport_peer_subject(&c->t, c->subject, sizeof(c->subject)) != OK)
        c->subject[0] = '\0';
    if (!subject_allowed(config, c->subject)) {
        refuse_certificate(c);
        return;
    }
    c->state = ACL_PREAUTH;
    arm_ms(c, config->limits.auth_timeout_ms);
    if (config->acl_listener.nusers > 0)
        return;
    if (!c->subject[0]) { /* no certificate, no users: nobody can be let in */
        refuse_certificate(c);
        return;
    }
    snprintf(c->who, sizeof(c->who), "%s", c->subject);
    acl_conn_ready(c);
}

static void on_readable(void *arg)
{
    feed(arg);
}

static void on_drained(void *arg)
{
    struct acl_conn *c = arg;

    if (c->state == ACL_READY || c->state == ACL_PREAUTH || c->state == ACL_HANDSHAKEN)
        feed(c);
}

static void on_failed(void *arg, int why, const char *text)
{
    struct acl_conn *c = arg;

    if (c->state == ACL_TLS && why == ERR_TLS) {
        struct audit_event e = {.kind = AUDIT_TLS_FAIL, .reason = text};

        acl_conn_audit(c, &e);
        acl_audit(&c->acl->changes, &e);
    }
    acl_conn_close(c, why == ERR_EOF ? "the client closed" : "the connection failed");
}

static const struct transport_events events = {on_ready, on_readable, on_drained, on_failed};

/* --- the beginning */

static void peer_text(const struct sockaddr_storage *peer, char *out, size_t n)
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (peer->ss_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)peer;
        inet_ntop(AF_INET, &a->sin_addr, host, sizeof(host));
        snprintf(out, n, "%s:%u", host, ntohs(a->sin_port));
    } else if (peer->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)(const void *)peer;
        inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof(host));
        snprintf(out, n, "[%s]:%u", host, ntohs(a->sin6_port));
    } else {
        snprintf(out, n, "unknown");
    }
}

int acl_conn_new(struct acl *a, int fd, const struct sockaddr_storage *peer)
{
    struct acl_conn *c = sl_calloc(1, sizeof(*c));
    int rc = c ? OK : ERR_NOMEM;

    if (rc == OK) {
        c->acl = a;
        c->peer_addr = *peer;
        peer_text(peer, c->peer, sizeof(c->peer));
        loop_task_init(&c->later, on_later, c);
        buf_init(&c->no, ACL_OUT_BYTES);
        c->timer = loop_timer_new(a->loop, on_timer, c);
        rc = c->timer ? peers_enter(a->peers, peer, ACL_PER_ADDRESS_MAX) : ERR_NOMEM;
        c->counted = rc == OK;
    }
    if (rc == OK)
        rc = transport_accept(&c->t, a->loop, fd, a->tls, &events, c,
                              a->config->limits.frame_preauth_bytes + LENGTH_BYTES, ACL_OUT_BYTES);
    if (rc != OK) {
        if (c && c->counted)
            peers_leave(a->peers, peer);
        if (c)
            loop_timer_free(c->timer);
        sl_free(c);
        close(fd);
        return rc;
    }
    c->next = a->conns;
    c->prev = &a->conns;
    if (c->next)
        c->next->prev = &c->next;
    a->conns = c;
    a->nconns++;
    arm_ms(c, a->config->limits.tls_timeout_ms);
    return OK;
}
