/* The whole gate of one worker in the test's loop: clients over loopback in clear, tokens signed by
 * a key of the test, three scripted brokers. What the brokers are asked is written down; a test
 * answers it, at once or ahead of time. Messages are JSON text (tests/unit/wire.h). */
#ifndef TESTS_GATE_BED_H
#define TESTS_GATE_BED_H

#include "auth/store.h"
#include "codec/json.h"
#include "proxy/gate.h"
#include "proxy/session.h"
#include "proxy/worker.h"
#include "tests/unit/token.h"
#include "tests/unit/trail.h"
#include "tests/unit/upstream_bed.h"
#include "tests/unit/wire.h"

#define WAIT_MS 20000
#define CLIENT  "tester"
#define ID_A    "YWFhYWFhYWFhYWFhYWFhYQ" /* 16 times 'a': topic t1 */
#define ID_B    "YmJiYmJiYmJiYmJiYmJiYg" /* t2 */
#define ID_F    "ZmZmZmZmZmZmZmZmZmZmZg" /* foreign */

struct gate_bed;

/* A request that a broker got from a session. */
struct asked {
    struct asked *next;
    struct gate_bed *b;
    int broker; /* 1.. */
    unsigned conn;
    struct request_head h;
    json_t *body;
    bool answered;
};

struct client {
    struct gate_bed *b;
    struct transport t;
    bool closed;
    int why; /* ERR_EOF, or ERR_IO for a reset */
    int32_t sent, seen;
    struct {
        int api, version;
    } flight[256];
};

struct gate_bed {
    struct bed up; /* loop, resolver, brokers */
    struct config *config;
    struct worker *worker;
    struct audit *audit;
    char audit_file[64];
    struct principals *principals;
    struct gate *gate;
    EVP_PKEY *key;
    unsigned keys_asked;
    int64_t topic_epoch;
    struct asked *asked, **asked_end;
    unsigned nasked, ntaken;
    struct client *wants; /* of gate_bed_until */
    size_t wants_bytes;
    unsigned wants_asked;
    bool (*also)(struct gate_bed *b);
};

static struct gate_bed bed;

/* --- what the brokers hear */

static inline bool gate_bed_script(struct fake_conn *c, const struct request_head *h,
                                   const struct msg *m)
{
    struct gate_bed *b = c->f->arg;
    int broker = (int)(c->f - b->up.fake) + 1;
    if (h->client_id_len == 6 && !memcmp(h->client_id, "sluice", 6)) {
        /* Groups and transactions that end in a digit have their coordinator there. */
        if (h->api == 10) {
            const struct node *key = h->version >= 4 ? node_get(m->root, F_COORDINATOR_KEYS)->child
                                                     : node_get(m->root, F_KEY);
            uint8_t last = key->u.str.len ? key->u.str.p[key->u.str.len - 1] : 0;
            c->f->coordinator = last >= '1' && last <= '3' ? last - '0' : 1;
        }
        return false;
    }
    struct asked *a = calloc(1, sizeof(*a));
    assert_non_null(a);
    a->b = b;
    a->broker = broker;
    a->conn = c->number;
    a->h = *h;
    a->body = json_from_msg(m, 0);
    *b->asked_end = a;
    b->asked_end = &a->next;
    b->nasked++;
    return true;
}

static inline struct fake_conn *asked_conn(const struct asked *a)
{
    struct fake_conn *c = a->b->up.fake[a->broker - 1].conns;
    while (c && c->number != a->conn)
        c = c->next;
    return c && !c->closed ? c : NULL;
}

/* --- running */

static inline bool gate_bed_done(struct bed *up)
{
    struct gate_bed *b = up->arg;
    if (b->also)
        return b->also(b);
    if (b->wants)
        return b->wants->closed || b->wants->t.in.len >= b->wants_bytes;
    return b->nasked >= b->wants_asked;
}

static inline bool gate_bed_run(struct gate_bed *b, unsigned ms)
{
    b->up.arg = b;
    bool ok = bed_run(&b->up, gate_bed_done, ms);
    b->wants = NULL;
    b->also = NULL;
    return ok;
}

static inline bool gate_bed_never(struct gate_bed *b)
{
    (void)b;
    return false;
}

/* Lets things happen for a while. */
static inline void settle_ms(unsigned ms)
{
    bed.also = gate_bed_never;
    (void)gate_bed_run(&bed, ms);
}

/* Lets things happen until this holds; how long that may take is no matter of the test. */
#define soon(condition)                                                                            \
    do {                                                                                           \
        for (unsigned soon_i = 0; !(condition) && soon_i < WAIT_MS / 10; soon_i++)                 \
            settle_ms(10);                                                                         \
        assert_true(condition);                                                                    \
    } while (0)

static inline bool until(bool (*fn)(struct gate_bed *b))
{
    bed.also = fn;
    return gate_bed_run(&bed, WAIT_MS);
}

static inline bool gate_bed_is_ready(struct gate_bed *b)
{
    const char *why;
    return gate_ready(b->gate, &why);
}

/* --- clients */

static inline void client_nothing(void *arg)
{
    (void)arg;
}

static inline void client_failed(void *arg, int why, const char *text)
{
    struct client *c = arg;
    (void)text;
    c->closed = true;
    c->why = why;
}

static inline void client_connect(struct client *c)
{
    static const struct transport_events events = {client_nothing, client_nothing, client_nothing,
                                                   client_failed};
    struct sockaddr_storage peer = {0};
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof(a);
    int l = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(l, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(l, 1), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)&a, &n), 0);
    memset(c, 0, sizeof(*c));
    c->b = &bed;
    must(transport_connect(&c->t, bed.up.loop, (struct sockaddr *)&a, sizeof(a), NULL, NULL,
                           &events, c, 64 * 1024 * 1024, SIZE_MAX));
    n = sizeof(peer);
    int fd = accept4(l, (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    close(l);
    gate_accept(bed.gate, fd, &peer);
}

static inline void client_close(struct client *c)
{
    transport_close(&c->t, false);
}

/* Bytes as they are. */
static inline void send_raw(struct client *c, const void *p, size_t n)
{
    must(buf_append(&c->t.out, p, n));
    transport_send(&c->t);
}

static inline void send_body(struct client *c, int api, int version, const struct octets *body)
{
    struct octets w = wire_request(api, version, c->sent, CLIENT, body);
    c->flight[c->sent % 256].api = api;
    c->flight[c->sent % 256].version = version;
    c->sent++;
    send_raw(c, w.p, w.n);
    free(w.p);
}

static inline void ask(struct client *c, int api, int version, const char *json)
{
    struct octets body = wire_body(api, true, version, json);
    send_body(c, api, version, &body);
    free(body.p);
}

/* Waits until that many bytes are there. False: closed, or too late. */
static inline bool client_has(struct client *c, size_t bytes)
{
    bed.wants = c;
    bed.wants_bytes = bytes;
    return gate_bed_run(&bed, WAIT_MS) && c->t.in.len >= bytes;
}

static inline bool client_frame(struct client *c, struct octets *out)
{
    uint8_t len[4];
    if (!client_has(c, 4))
        return false;
    buf_copy_out(&c->t.in, 0, len, 4);
    size_t n = 4 + ((size_t)len[0] << 24 | (size_t)len[1] << 16 | (size_t)len[2] << 8 | len[3]);
    if (!client_has(c, n))
        return false;
    *out = (struct octets){.p = malloc(n), .n = n};
    buf_copy_out(&c->t.in, 0, out->p, n);
    buf_drain(&c->t.in, n);
    transport_pause(&c->t, false);
    return true;
}

static inline char *frame_text(int api, int version, const struct octets *w)
{
    struct buf b;
    struct arena a;
    struct msg m;
    struct msg_error e = {NULL, 0};
    size_t off = schema_response_header(api, version) == 1 ? 9 : 8;
    char *text;
    buf_init(&b, SIZE_MAX);
    arena_init(&a, 256 * 1024 * 1024);
    must(buf_append(&b, w->p, w->n));
    if (msg_decode(&m, &a, schema_find(api, false), version, &b, off, w->n - off, &e) != OK) {
        if (asprintf(&text, "malformed at %lu: %s", (unsigned long)e.offset, e.why) < 0)
            text = NULL;
    } else {
        json_t *j = json_from_msg(&m, 0);
        text = json_dumps(j, 0);
        json_decref(j);
    }
    arena_release(&a);
    buf_release(&b);
    return text;
}

/* The next answer, which must be this byte for byte. */
#define expect(c, json) expect_at(c, json, __LINE__)
static inline void expect_at(struct client *c, const char *json, int line)
{
    int api = c->flight[c->seen % 256].api, version = c->flight[c->seen % 256].version;
    struct octets got, want, body = wire_body(api, false, version, json);
    if (!client_frame(c, &got))
        fail_msg("line %d: no answer to API %d version %d%s", line, api, version,
                 c->closed ? ", closed" : "");
    want = wire_response(api, version, c->seen++, &body);
    if (got.n != want.n || memcmp(got.p, want.p, got.n) != 0) {
        char *g = frame_text(api, version, &got), *w = frame_text(api, version, &want);
        size_t at = 0;
        while (at < got.n && at < want.n && got.p[at] == want.p[at])
            at++;
        fail_msg("line %d: API %d version %d, byte %zu of %zu (%zu)\n got %s\nwant %s", line, api,
                 version, at, got.n, want.n, g, w);
    }
    free(got.p);
    free(want.p);
    free(body.p);
}

/* The next answer as JSON, for looking at some of it. */
static inline json_t *answer(struct client *c)
{
    int api = c->flight[c->seen % 256].api, version = c->flight[c->seen % 256].version;
    struct octets got;
    json_error_t e;
    if (!client_frame(c, &got))
        fail_msg("no answer to API %d version %d%s", api, version, c->closed ? ", closed" : "");
    char *text = frame_text(api, version, &got);
    json_t *j = json_loads(text, 0, &e);
    if (!j)
        fail_msg("%s", text);
    free(text);
    free(got.p);
    c->seen++;
    return j;
}

/* Nothing comes but the end. */
#define expect_closed(c) expect_closed_at(c, __LINE__)
static inline void expect_closed_at(struct client *c, int line)
{
    bed.wants = c;
    bed.wants_bytes = SIZE_MAX;
    if (!gate_bed_run(&bed, WAIT_MS) || c->t.in.len > 0)
        fail_msg("line %d: still open, %zu bytes", line, c->t.in.len);
}

/* --- brokers */

/* The next request that a broker gets. */
static inline struct asked *next_asked(void)
{
    bed.wants_asked = bed.ntaken + 1;
    if (bed.nasked < bed.wants_asked && !gate_bed_run(&bed, WAIT_MS))
        return NULL;
    struct asked *a = bed.asked;
    for (unsigned i = 0; i < bed.ntaken; i++)
        a = a->next;
    bed.ntaken++;
    return a;
}

/* Which must be this, field by field, at this broker (0: any). */
#define broker_gets(broker, api, version, json) broker_gets_at(broker, api, version, json, __LINE__)
static inline struct asked *broker_gets_at(int broker, int api, int version, const char *json,
                                           int line)
{
    struct asked *a = next_asked();
    struct octets body = wire_body(api, true, version, json);
    struct buf b;
    struct arena arena;
    struct msg m;
    if (!a)
        fail_msg("line %d: no broker was asked", line);
    if ((broker && a->broker != broker) || a->h.api != api || a->h.version != version)
        fail_msg("line %d: broker %d got API %d version %d", line, a->broker, a->h.api,
                 a->h.version);
    buf_init(&b, SIZE_MAX);
    arena_init(&arena, 64 * 1024 * 1024);
    if (body.n)
        must(buf_append(&b, body.p, body.n));
    must(msg_decode(&m, &arena, schema_find(api, true), version, &b, 0, b.len, NULL));
    json_t *want = json_from_msg(&m, 0);
    if (!json_equal(want, a->body))
        fail_msg("line %d: broker %d, API %d version %d\n got %s\nwant %s", line, broker, api,
                 version, json_dumps(a->body, 0), json_dumps(want, 0));
    json_decref(want);
    arena_release(&arena);
    buf_release(&b);
    free(body.p);
    assert_int_equal(a->h.client_id_len, strlen(CLIENT));
    return a;
}

/* Brokers that lead parts of one request may get them in any order: the one of this broker. */
static inline struct asked *asked_of(int broker)
{
    for (;;) {
        for (struct asked *a = bed.asked; a; a = a->next)
            if (a->broker == broker && !a->answered)
                return a;
        bed.wants_asked = bed.nasked + 1;
        if (!gate_bed_run(&bed, WAIT_MS))
            fail_msg("broker %d was not asked", broker);
        bed.ntaken = bed.nasked;
    }
}

static inline struct octets reply_frame(struct asked *a, const char *json)
{
    struct octets body = wire_body(a->h.api, false, a->h.version, json);
    struct octets w = wire_response(a->h.api, a->h.version, a->h.correlation, &body);
    free(body.p);
    return w;
}

static inline void reply(struct asked *a, const char *json)
{
    struct fake_conn *c = asked_conn(a);
    struct octets w = reply_frame(a, json);
    assert_non_null(c);
    a->answered = true;
    fake_raw(c, w.p, w.n);
    free(w.p);
}

/* The same in pieces: byte by byte but for [from, from + n), which come at once. */
static inline bool reply_gone(struct gate_bed *b)
{
    for (unsigned i = 0; i < 3; i++)
        for (const struct fake_conn *c = b->up.fake[i].conns; c; c = c->next)
            if (!c->closed && (c->slow.len > 0 || c->t.out.len > 0))
                return false;
    return true;
}

static inline void reply_in_pieces(struct asked *a, const char *json, unsigned piece, size_t from,
                                   size_t n)
{
    struct fake_conn *c = asked_conn(a);
    struct octets w = reply_frame(a, json);
    size_t cut[] = {0, from < w.n ? from : w.n, from + n < w.n ? from + n : w.n, w.n};
    assert_non_null(c);
    a->answered = true;
    for (unsigned i = 0; i < 3; i++) {
        c->f->piece = i == 1 ? 0 : piece;
        fake_raw(c, w.p + cut[i], cut[i + 1] - cut[i]);
        assert_true(until(reply_gone));
    }
    c->f->piece = 0;
    free(w.p);
}

/* No broker is asked anything for a while. */
#define nobody_asked() nobody_asked_at(__LINE__)
static inline void nobody_asked_at(int line)
{
    settle_ms(30);
    if (bed.nasked != bed.ntaken)
        fail_msg("line %d: a broker was asked", line);
}

/* --- tokens */

struct token_wish {
    const char *operations, *prefix, *topics, *more;
    int64_t life_s;
    const char *jti, *kid;
};

static inline char *make_token(const struct token_wish *w)
{
    char claims[4096], header[128];
    int64_t now = loop_wall_s(bed.up.loop);
    snprintf(header, sizeof(header), "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}",
             w->kid ? w->kid : "k1");
    snprintf(claims, sizeof(claims),
             "{\"iss\":\"https://idp.example.com\",\"aud\":\"sluice\",\"sub\":\"bob\",\"exp\":%ld,"
             "\"iat\":%ld,\"jti\":\"%s\",\"participant\":\"did:web:bob\",\"ops\":[%s],"
             "\"prefix\":\"%s\",\"topics\":[%s]%s}",
             (long)(now + (w->life_s ? w->life_s : 3600)), (long)now, w->jti ? w->jti : "j1",
             w->operations ? w->operations : "\"read\"", w->prefix ? w->prefix : "bob",
             w->topics ? w->topics : "\"t1\",\"t2\",\"gone\"", w->more ? w->more : "");
    return token_sign("ES256", bed.key, header, claims);
}

/* SaslAuthenticate with this token; the answer is left to the caller. */
static inline void send_token(struct client *c, const char *token, int version)
{
    char text[8192];
    int n = snprintf(text, sizeof(text), "n,,\1auth=Bearer %s\1\1", token);
    struct octets w = {0};
    wire_len(&w, n, version >= 2, 4);
    wire_put(&w, text, (size_t)n);
    if (version >= 2)
        wire_varint(&w, 0);
    send_body(c, 36, version, &w);
    free(w.p);
}

#define HANDSHAKE  "{'mechanism':'OAUTHBEARER'}"
#define HANDSHAKEN "{'mechanisms':['OAUTHBEARER']}"

static inline void login_with(struct client *c, const struct token_wish *w)
{
    char *token = make_token(w);
    json_t *j;
    client_connect(c);
    ask(c, 17, 1, HANDSHAKE);
    expect(c, HANDSHAKEN);
    send_token(c, token, 2);
    j = answer(c);
    if (json_integer_value(json_object_get(j, "errorCode")) != 0 ||
        json_integer_value(json_object_get(j, "sessionLifetimeMs")) <= 0)
        fail_msg("%s", json_dumps(j, 0));
    json_decref(j);
    free(token);
}

static inline void login(struct client *c, const char *operations)
{
    login_with(c, &(struct token_wish){.operations = operations});
}

/* The end of its token comes now: tokens count whole seconds, so a short one may be over before the
 * test has begun what its end is to meet. */
static inline void expire_now(struct session *s)
{
    must(loop_timer_set(s->expiry, 0));
}

/* --- life */

static inline struct config *gate_bed_config(const char *more)
{
    char text[8192], err[2048];
    int n = snprintf(text, sizeof(text),
                     "listen: 127.0.0.1:9093\n"
                     "advertise: gate.example.com:9093\n"
                     "cluster_id: virtual\n"
                     "tls: {certificate: gate.pem, key: gate.key}\n"
                     "issuers:\n"
                     "  - issuer: https://idp.example.com\n"
                     "    audience: sluice\n"
                     "    claims: {transfer: transfer, participant: participant, topics: topics,\n"
                     "             group_prefix: prefix, operations: ops}\n"
                     "upstream:\n"
                     "  brokers: ['127.0.0.1:%u']\n"
                     "  request_timeout_ms: 20000\n"
                     "  connects_per_s: 10000\n"
                     "store: {path: sluice.db}\n%s",
                     bed.up.fake[0].port, more);
    struct config *c = config_parse("/etc/sluice/s.yaml", text, (size_t)n, false, err, sizeof(err));
    if (!c)
        fail_msg("%s", err);
    return c;
}

static inline void gate_bed_keys(void)
{
    char text[2048], err[128];
    struct jwks *set = NULL;
    unsigned ignored;
    char *jwk = token_jwk(bed.key, "k1", "");
    int n = snprintf(text, sizeof(text), "{\"keys\":[%s]}", jwk);
    struct keyring *k;
    must(jwks_parse(text, (size_t)n, &set, &ignored, err, sizeof(err)));
    k = keyring_new(bed.config, &set);
    assert_non_null(k);
    gate_set_keys(bed.gate, k);
    keyring_unref(k);
    jwks_unref(set);
    free(jwk);
}

static inline void gate_bed_unknown_kid(void *arg, const char *issuer)
{
    (void)arg;
    assert_string_equal(issuer, "https://idp.example.com");
    bed.keys_asked++;
}

/* t1: three partitions, led by brokers 1, 2, 3; t2: one, led by 1; foreign: one, led by 1. */
static inline void gate_bed_topics(void)
{
    for (unsigned i = 0; i < 3; i++) {
        struct fake *f = &bed.up.fake[i];
        f->script = gate_bed_script;
        f->arg = &bed;
        f->ntopics = 3;
        f->topics[0] = (struct fake_topic){
            .name = "t1", .npartitions = 3, .leader = {1, 2, 3}, .epoch = {5, 5, 5}};
        f->topics[1] =
            (struct fake_topic){.name = "t2", .npartitions = 1, .leader = {1}, .epoch = {5}};
        f->topics[2] =
            (struct fake_topic){.name = "foreign", .npartitions = 1, .leader = {1}, .epoch = {5}};
        memset(f->topics[0].id, 'a', 16);
        memset(f->topics[1].id, 'b', 16);
        memset(f->topics[2].id, 'f', 16);
    }
}

static inline void gate_bed_start(const char *more)
{
    char err[256];
    memset(&bed, 0, sizeof(bed));
    bed_init(&bed.up, 3);
    gate_bed_topics();
    bed.asked_end = &bed.asked;
    bed.config = gate_bed_config(more);
    bed.worker = worker_new(0);
    snprintf(bed.audit_file, sizeof(bed.audit_file), "/tmp/gate_bed.%d.jsonl", (int)getpid());
    unlink(bed.audit_file);
    bed.audit = audit_open(bed.audit_file, true, err, sizeof(err));
    bed.principals = principals_new();
    bed.key = EVP_EC_gen("P-256");
    assert_true(bed.worker && bed.audit && bed.principals && bed.key);
    bed.gate = gate_new(&(struct gate_parts){.worker = bed.worker,
                                             .loop = bed.up.loop,
                                             .config = bed.config,
                                             .audit = bed.audit,
                                             .principals = bed.principals,
                                             .unknown_kid = gate_bed_unknown_kid,
                                             .arg = &bed});
    assert_non_null(bed.gate);
    must(gate_start(bed.gate, NULL, bed.up.resolver));
    gate_bed_keys();
    bed.gate->grants_loaded = true;
    assert_true(until(gate_bed_is_ready));
}

static inline void gate_bed_forget(void)
{
    while (bed.asked) {
        struct asked *a = bed.asked;
        bed.asked = a->next;
        json_decref(a->body);
        free(a);
    }
    bed.asked_end = &bed.asked;
    bed.nasked = bed.ntaken = 0;
}

static inline void gate_bed_stop(void)
{
    size_t arenas;
    while (bed.gate->first)
        session_close(bed.gate->first, "test over", false);
    loop_run_posted(bed.up.loop);
    arenas = bed.gate->arena_bytes;
    gate_free(bed.gate);
    assert_int_equal(arenas, 0);
    gate_bed_forget();
    audit_close(bed.audit);
    unlink(bed.audit_file);
    principals_free(bed.principals);
    config_unref(bed.config);
    EVP_PKEY_free(bed.key);
    bed_release(&bed.up);
    worker_free(bed.worker);
}

static inline int gate_bed_setup(void **state)
{
    (void)state;
    gate_bed_start("");
    return 0;
}

static inline int gate_bed_teardown(void **state)
{
    (void)state;
    gate_bed_stop();
    return 0;
}

#define gate_test(f) cmocka_unit_test_setup_teardown(f, gate_bed_setup, gate_bed_teardown)

/* Whether a line with all of these texts is in the audit trail by now. */
static inline unsigned audited(const char *a, const char *b)
{
    settle_ms(60);
    return trail_lines(bed.audit_file, a, b);
}

#endif
