#include "fuzz/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "codec/reply.h"
#include "codec/walk.h"
#include "proxy/worker.h"
#include "tests/unit/token.h"

struct world world;

static void ok(int err)
{
    world_must(err == OK, "a step of the world itself failed");
}

/* --- the client's transport */

enum { CLOSED, ACCEPTED, OPEN };

static void transport_events(void *arg)
{
    struct transport *t = arg;

    if (t->state == ACCEPTED) {
        t->state = OPEN;
        t->events->ready(t->arg);
    } else if (t->state == OPEN && t->drain_due && t->out.len == 0) {
        t->drain_due = false;
        t->events->drained(t->arg);
    }
}

int transport_accept(struct transport *t, struct loop *l, int fd, struct tls_context *ctx,
                     const struct transport_events *ev, void *arg, size_t in_limit,
                     size_t out_limit)
{
    (void)fd;
    (void)ctx;
    *t = (struct transport){.events = ev, .arg = arg, .loop = l, .fd = -1, .state = ACCEPTED};
    buf_init(&t->in, in_limit);
    buf_init(&t->out, out_limit);
    loop_task_init(&t->again, transport_events, t);
    loop_post(l, &t->again);
    world.t = t;
    return OK;
}

void transport_send(struct transport *t)
{
    size_t n = t->out.len;

    world_must(!world.revoked || n == 0, "bytes for a client that was revoked");
    if (t->state != OPEN || world.stalled || (n == 0 && !t->finishing))
        return;
    world_must(!t->fin_sent || n == 0, "bytes behind the end");
    t->fin_sent = t->finishing;
    t->stats.bytes_out += n;
    ok(buf_move(&world.got, &t->out));
    t->drain_due = true;
    loop_post(t->loop, &t->again);
}

void transport_finish(struct transport *t)
{
    t->finishing = true;
    transport_send(t);
}

void transport_pause(struct transport *t, bool paused)
{
    t->read_paused = paused;
}

void transport_bulk(struct transport *t, bool on)
{
    t->large_reads = on;
}

void transport_cut(struct transport *t)
{
    (void)t;
}

void transport_close(struct transport *t, bool hard)
{
    (void)hard;
    if (t->state == CLOSED)
        return;
    t->state = CLOSED;
    loop_cancel(&t->again);
    buf_release(&t->in);
    buf_release(&t->out);
    if (world.t == t) {
        world.t = NULL;
        world.session = NULL;
    }
}

int transport_peer_thumbprint(const struct transport *t, char out[44])
{
    (void)t;
    out[0] = '\0';
    return ERR_UNKNOWN;
}

const char *transport_protocol(const struct transport *t)
{
    (void)t;
    return "";
}

const char *transport_cipher(const struct transport *t)
{
    (void)t;
    return "";
}

struct tls_context *tls_ref(struct tls_context *c)
{
    return c;
}

void tls_unref(struct tls_context *c)
{
    (void)c;
}

/* Hands over what the client has sent, as far as it is read. */
static void read_on(void)
{
    while (world.t && world.t->state == OPEN && !world.t->read_paused && world.kernel.len > 0) {
        struct transport *t = world.t;
        size_t room = t->in.limit_bytes > t->in.len ? t->in.limit_bytes - t->in.len : 0;
        size_t n = world.kernel.len < room ? world.kernel.len : room;

        if (world.piece > 0 && n > world.piece)
            n = world.piece;
        if (n == 0)
            return;
        ok(buf_move_n(&t->in, &world.kernel, n));
        t->stats.bytes_in += n;
        t->events->readable(t->arg);
    }
    if (world.t && world.t->state == OPEN && !world.t->read_paused && world.eof &&
        world.kernel.len == 0)
        world.t->events->failed(world.t->arg, ERR_EOF, NULL);
}

/* --- connections to brokers */

struct asked {
    struct asked *next;
    struct upstream_call *call; /* NULL: taken back */
    struct upstream *up;
    int16_t api, version;
    struct buf body;
    /* of an answer that streams */
    struct buf rest, in;
    uint64_t body_len, taken;
    bool answering;
};

struct upstream {
    struct upstream *next, **prev;
    int32_t broker;
    void (*on_closed)(void *arg, struct upstream *u, int why);
    void *arg;
    bool open, closed;
};

static struct upstream *ups;
static struct asked *calls, **calls_end = &calls;

struct upstream *upstream_open(struct cluster *c, int32_t broker_id,
                               void (*on_closed)(void *arg, struct upstream *u, int why), void *arg)
{
    struct upstream *u = calloc(1, sizeof(*u));

    (void)c;
    if (!u)
        abort();
    world_must(broker_id >= 1 && broker_id <= 3, "a connection to a broker that is none");
    *u = (struct upstream){.next = ups,
                           .prev = &ups,
                           .broker = broker_id,
                           .on_closed = on_closed,
                           .arg = arg,
                           .open = !world.slow_connect};
    if (u->next)
        u->next->prev = &u->next;
    ups = u;
    return u;
}

static void asked_free(struct asked **at)
{
    struct asked *a = *at;

    *at = a->next;
    if (calls_end == &a->next)
        calls_end = at;
    buf_release(&a->body);
    buf_release(&a->rest);
    buf_release(&a->in);
    free(a);
}

/* Those that are out of use go at the end of a turn, when nobody is inside of them. */
static void sweep(void)
{
    struct upstream *next;

    for (struct asked **at = &calls; *at;)
        if ((*at)->call)
            at = &(*at)->next;
        else
            asked_free(at);
    for (struct upstream *u = ups; u; u = next) {
        next = u->next;
        if (!u->closed)
            continue;
        *u->prev = u->next;
        if (u->next)
            u->next->prev = u->prev;
        free(u);
    }
}

static unsigned waiting_on(const struct upstream *u)
{
    unsigned n = 0;

    for (const struct asked *a = calls; a; a = a->next)
        n += a->up == u && a->call;
    return n;
}

int upstream_send(struct upstream *u, struct upstream_call *call)
{
    struct asked *a;

    world_must(!u->closed, "a call on a closed connection");
    if (waiting_on(u) >= UPSTREAM_CALLS_MAX)
        return ERR_LIMIT;
    a = calloc(1, sizeof(*a));
    if (!a)
        abort();
    *a = (struct asked){.call = call, .up = u, .api = call->api, .version = call->version};
    buf_init(&a->body, SIZE_MAX / 2);
    buf_init(&a->rest, SIZE_MAX / 2);
    buf_init(&a->in, SIZE_MAX / 2);
    ok(buf_move(&a->body, &call->body));
    call->up = u;
    call->queued = true;
    call->sent = u->open;
    world.upstream_requests++;
    judge_request(a->api, a->version, &a->body);
    *calls_end = a;
    calls_end = &a->next;
    return OK;
}

void upstream_resume(struct upstream *u)
{
    (void)u; /* every turn offers again what was left */
}

bool upstream_cancel(struct upstream_call *call)
{
    if (call->sent)
        return false;
    for (struct asked *a = calls; a; a = a->next)
        if (a->call == call)
            a->call = NULL;
    call->queued = false;
    return true;
}

void upstream_close(struct upstream *u, bool hard)
{
    (void)hard;
    for (struct asked *a = calls; a; a = a->next)
        if (a->up == u)
            a->call = NULL;
    u->closed = true;
}

int32_t upstream_broker(const struct upstream *u)
{
    return u->broker;
}

bool upstream_idle(const struct upstream *u)
{
    return waiting_on(u) == 0;
}

uint64_t upstream_idle_since_us(const struct upstream *u)
{
    (void)u;
    return loop_now_us(world.loop);
}

size_t upstream_held_bytes(const struct upstream *u)
{
    (void)u;
    return 0;
}

/* --- what brokers do */

/* Offers a streamed answer; it may have ended, with its connection or without. */
static void stream_on(struct asked *a)
{
    while (a->call) {
        uint64_t before = a->taken;
        size_t n = world.piece > 0 && world.piece < a->rest.len ? world.piece : a->rest.len;

        ok(buf_move_n(&a->in, &a->rest, n));
        a->call->events->data(a->call, &a->in, a->body_len, &a->taken);
        if (!a->call)
            return;
        world_must(a->taken <= a->body_len, "more taken than there is");
        if (a->taken == a->body_len) {
            a->call = NULL;
            return;
        }
        if (n == 0 && a->taken == before)
            return; /* back-pressure, or all of it is there */
    }
}

/* Calls without an answer are finished once they have left. */
static void calls_turn(void)
{
    for (struct asked *a = calls; a; a = a->next) {
        struct upstream_call *call = a->call;

        if (call && a->up->open && call->no_answer) {
            a->call = NULL;
            call->events->answer(call, NULL, 0);
        } else if (call && a->answering) {
            stream_on(a);
        }
    }
}

static void default_answer(const struct asked *a, struct buf *out)
{
    struct arena arena;
    struct msg request, reply;

    arena_init(&arena, (size_t)64 << 20);
    if (msg_decode(&request, &arena, schema_find(a->api, true), a->version, &a->body, 0,
                   a->body.len, NULL) == OK &&
        reply_error(&reply, &arena, &request, KAFKA_NONE) == OK)
        (void)!msg_encode(&reply, out);
    arena_release(&arena);
}

/* The oldest call that has left and was not answered, of that API where there is one. */
static struct asked *oldest(int api)
{
    struct asked *first = NULL;

    for (struct asked *a = calls; a; a = a->next) {
        if (!a->call || a->answering || !a->up->open)
            continue;
        if (a->api == api)
            return a;
        if (!first)
            first = a;
    }
    return first;
}

/* A body of another version, written for this one. */
static bool convert(const struct asked *a, int version, const uint8_t *p, size_t n, struct buf *out)
{
    const struct message *schema = schema_find(a->api, false);
    struct arena arena;
    struct buf in;
    struct msg m;
    bool done = false;

    arena_init(&arena, (size_t)64 << 20);
    buf_init(&in, n);
    if (versions_has(schema->versions, version) && buf_append(&in, p, n) == OK &&
        msg_decode(&m, &arena, schema, version, &in, 0, n, NULL) == OK) {
        m.version = a->version;
        done = msg_encode(&m, out) == OK;
    }
    buf_release(&in);
    arena_release(&arena);
    return done;
}

bool world_answer(int api, int version, const uint8_t *p, size_t n)
{
    struct asked *a = oldest(api);
    struct upstream_call *call;
    struct buf frame;

    if (!a)
        return false;
    /* A connection's calls are answered in order. */
    for (struct asked *b = calls; b != a; b = b->next)
        if (b->up == a->up && b->call && !b->answering) {
            a = b;
            break;
        }
    buf_init(&frame, SIZE_MAX / 2);
    if (!p || a->api != api)
        default_answer(a, &frame);
    else if (a->version == version || !convert(a, version, p, n, &frame))
        ok(buf_append(&frame, p, n));
    ok(buf_share(&world.told, &frame, 0, frame.len));
    call = a->call;
    if (call->stream && frame.len > 0) {
        a->answering = true;
        a->body_len = frame.len;
        ok(buf_move(&a->rest, &frame));
        stream_on(a);
    } else {
        a->call = NULL;
        call->events->answer(call, &frame, 0);
    }
    buf_release(&frame);
    world_turn();
    return true;
}

void world_open(void)
{
    for (struct upstream *u = ups; u; u = u->next)
        u->open = true;
    for (struct asked *a = calls; a; a = a->next)
        if (a->call)
            a->call->sent = true;
    world_turn();
}

bool world_break(int why)
{
    struct upstream *u = NULL;

    for (struct upstream *v = ups; v && !u; v = v->next)
        if (!v->closed)
            u = v;
    for (struct asked *a = calls; a; a = a->next)
        if (a->call && a->up == u)
            break;
    if (!u)
        return false;
    for (struct asked *a = calls; a && !u->closed; a = a->next) {
        struct upstream_call *call = a->call;
        if (!call || a->up != u)
            continue;
        a->call = NULL;
        call->events->failed(call, why, call->sent);
    }
    if (!u->closed) {
        u->closed = true;
        u->on_closed(u->arg, u, why);
    }
    world_turn();
    return true;
}

/* --- the audit trail, and the worker */

struct audit_ring *audit_ring_new(struct audit *a)
{
    (void)a;
    return malloc(1);
}

void audit_ring_free(struct audit_ring *r)
{
    free(r);
}

void audit_put(struct audit_ring *r, const struct audit_event *e)
{
    (void)r;
    judge_audit(e);
}

bool audit_ok(const struct audit *a)
{
    (void)a;
    return world.audit_ok;
}

bool audit_ring_ok(const struct audit_ring *r)
{
    (void)r;
    return world.audit_ok;
}

void worker_session_ended(struct worker *w, const struct sockaddr_storage *peer)
{
    (void)w;
    (void)peer;
}

struct mailbox *worker_mailbox(struct worker *w)
{
    (void)w;
    return NULL;
}

void change_ack_bar(struct change_ack *ack, const struct grant_table *t, const struct identity *id)
{
    (void)ack;
    (void)t;
    (void)id;
}

void change_ack_done(struct change_ack *ack, int err, unsigned closed)
{
    (void)ack;
    (void)closed;
    ok(err);
}

/* --- beginning and end */

static const char text[] =
    "listen: 127.0.0.1:9093\n"
    "advertise: gate.example.com:9093\n"
    "cluster_id: virtual\n"
    "tls: {certificate: gate.pem, key: gate.key}\n"
    "issuers:\n"
    "  - issuer: https://idp.example.com\n"
    "    audience: sluice\n"
    "    claims: {transfer: transfer, participant: participant, topics: topics,\n"
    "             group_prefix: prefix, operations: ops}\n"
    "upstream: {brokers: ['127.0.0.1:1']}\n";
static EVP_PKEY *key;

static void set_up(void)
{
    static const uint8_t zeros[32];
    struct jwks *set = NULL;
    char err[1024], keys[1024], *jwk;
    unsigned ignored;

    log_setup(getenv("FUZZ_LOG") ? LOG_DEBUG : LOG_ERROR, false);
    world.config = config_parse("/s.yaml", text, strlen(text), false, err, sizeof(err));
    key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, zeros, sizeof(zeros));
    world_must(world.config && key, "the configuration");
    jwk = token_jwk(key, "ed", "");
    snprintf(keys, sizeof(keys), "{\"keys\":[%s]}", jwk);
    free(jwk);
    ok(jwks_parse(keys, strlen(keys), &set, &ignored, err, sizeof(err)));
    world.keys = keyring_new(world.config, &set);
    world_must(world.keys != NULL, "the keys");
    jwks_unref(set);
}

static void no_key(void *arg, const char *issuer)
{
    (void)arg;
    world_must(strcmp(issuer, "https://idp.example.com") == 0, "keys of an issuer that is none");
}

static const char *granted[] = {"gone", "t1", "t2"};

void world_begin(unsigned operations)
{
    struct config *config = world.config;
    struct keyring *keys = world.keys;
    const char *why;

    if (!config) {
        set_up();
        config = world.config;
        keys = world.keys;
    }
    world = (struct world){
        .config = config, .keys = keys, .audit_ok = true, .coordinator = true, .leader = 1};
    const struct grant_config c = {.id = "x1",
                                   .issuer = "https://idp.example.com",
                                   .subject = "bob",
                                   .participant = "did:web:bob",
                                   .topics = {granted, 3},
                                   .group_prefix = "bob",
                                   .operations = operations};
    ok(grant_new(&c, GRANT_FROM_API, &world.grant, &why));
    buf_init(&world.kernel, SIZE_MAX / 2);
    buf_init(&world.sent, SIZE_MAX / 2);
    buf_init(&world.got, SIZE_MAX / 2);
    buf_init(&world.told, SIZE_MAX / 2);
    world.loop = loop_new();
    world.principals = principals_new();
    world.gate = gate_new(&(struct gate_parts){.loop = world.loop,
                                               .config = config,
                                               .principals = world.principals,
                                               .unknown_kid = no_key});
    world_must(world.gate && world.principals, "the gate");
    ok(gate_start(world.gate, NULL, NULL));
    gate_set_keys(world.gate, keys);
    ok(grant_table_put(world.gate->grants, world.grant));
    world.gate->grants_loaded = true;
}

void world_end(void)
{
    struct gate *g = world.gate;

    while (g->first)
        session_close(g->first, "the end", false);
    world_turn();
    judge_answers();
    world_must(g->arena_bytes == 0 && g->nsessions == 0, "memory of requests is left");
    gate_free(g);
    sweep();
    world_must(!world_waits() && !calls && !ups, "a call, a wait or a connection is left");
    grant_unref(world.grant);
    principals_free(world.principals);
    for (unsigned i = 0; i < world.nrequests; i++)
        buf_release(&world.requests[i].frame);
    buf_release(&world.kernel);
    buf_release(&world.sent);
    buf_release(&world.got);
    buf_release(&world.told);
    loop_free(world.loop);
    buf_thread_trim();
}

/* --- the client */

void world_connect(void)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNIX};

    gate_accept(world.gate, -1, &peer);
    world.session = world.gate->first;
    loop_run_posted(world.loop);
    world_must(world.session && world.session->state == SESSION_PREAUTH, "no session");
}

static void entered(struct session *s)
{
    snprintf(s->id.issuer, sizeof(s->id.issuer), "%s", "https://idp.example.com");
    snprintf(s->id.subject, sizeof(s->id.subject), "%s", "bob");
    snprintf(s->id.transfer, sizeof(s->id.transfer), "%s", "x1");
    s->id.expires = loop_wall_s(world.loop) + 3600;
    s->grants.at[0] = grant_ref(world.grant);
    s->grants.count = 1;
    s->expires_s = s->id.expires;
    s->state = SESSION_READY;
    s->t.in.limit_bytes = (size_t)64 * 1024;
}

void world_enter(void)
{
    entered(world.session);
}

/* Cuts what was sent into requests, as any Kafka server would. */
static void note_requests(void)
{
    uint8_t head[12];

    while (world.sent.len >= sizeof(head) && world.nrequests < WORLD_REQUESTS_MAX) {
        struct world_request *r = &world.requests[world.nrequests];
        size_t len;
        buf_copy_out(&world.sent, 0, head, sizeof(head));
        len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
        if (len < 8 || world.sent.len < len + 4)
            return;
        r->api = (int16_t)(head[4] << 8 | head[5]);
        r->version = (int16_t)(head[6] << 8 | head[7]);
        r->correlation = (int32_t)((uint32_t)head[8] << 24 | (uint32_t)head[9] << 16 |
                                   (uint32_t)head[10] << 8 | head[11]);
        buf_drain(&world.sent, 4);
        buf_init(&r->frame, SIZE_MAX / 2);
        ok(buf_move_n(&r->frame, &world.sent, len));
        world.nrequests++;
    }
}

void world_send(const void *p, size_t n)
{
    if (n > 0) {
        ok(buf_append(&world.kernel, p, n));
        ok(buf_append(&world.sent, p, n));
    }
    note_requests();
}

int32_t world_ask(int api, int version, const void *body, size_t n)
{
    static int32_t correlation;
    struct buf head;
    uint8_t bytes[64];
    size_t len;

    buf_init(&head, sizeof(bytes));
    correlation = (correlation + 1) & 0xffff;
    if (frame_put_request(&head, api, version, correlation, "tester", n) == OK) {
        len = head.len;
        buf_copy_out(&head, 0, bytes, len);
        world_send(bytes, len);
        world_send(body, n);
    }
    buf_release(&head);
    return correlation;
}

char *world_token(unsigned kind)
{
    static const char *const headers[] = {"{\"alg\":\"EdDSA\",\"kid\":\"ed\",\"typ\":\"JWT\"}",
                                          "{\"alg\":\"none\"}",
                                          "{\"alg\":\"EdDSA\",\"kid\":\"other\"}"};
    static struct {
        int64_t at;
        char *token;
    } made[9]; /* signing costs as much as a whole short run */
    int64_t now = loop_wall_s(world.loop);
    char claims[1024], *token;

    world_must(kind < 9, "a kind of token that is none");
    if (made[kind].token && made[kind].at == now)
        return strdup(made[kind].token);
    snprintf(claims, sizeof(claims),
             "{\"iss\":\"https://idp.example.com\",\"aud\":\"%s\",\"sub\":\"%s\",\"exp\":%ld,"
             "\"iat\":%ld,\"jti\":\"j\",\"transfer\":\"%s\"}",
             kind == 1 ? "other" : "sluice", kind == 2 ? "eve" : "bob",
             (long)(kind == 3 ? now - 100 : now + 600), (long)(kind == 4 ? now + 900 : now),
             kind == 5 ? "x2" : "x1");
    token = token_sign("EdDSA", key, headers[kind == 6 ? 1 : kind == 7 ? 2 : 0], claims);
    if (kind == 8)
        token[strlen(token) - 5] ^= 1;
    free(made[kind].token);
    made[kind].token = token;
    made[kind].at = now;
    return strdup(token);
}

void world_login(unsigned kind)
{
    static const uint8_t handshake[] = "\x00\x0bOAUTHBEARER";
    char *token = world_token(kind), body[4096];
    int n = snprintf(body + 4, sizeof(body) - 4, "n,,\1auth=Bearer %s\1\1", token);

    for (unsigned i = 0; i < 4; i++)
        body[i] = (char)(uint8_t)((unsigned)n >> (24 - 8 * i));
    world_ask(17, 1, handshake, sizeof(handshake) - 1);
    world_ask(36, 1, body, (size_t)n + 4);
    free(token);
}

void world_turn(void)
{
    for (unsigned n = 0; n < 8; n++) {
        loop_run_posted(world.loop);
        calls_turn();
        read_on();
        if (world.t && world.t->out.len > 0)
            transport_send(world.t);
        loop_run_posted(world.loop);
    }
    sweep();
    judge_answers();
}
