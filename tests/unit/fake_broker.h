/* A scripted broker in the test's own loop: sockets on loopback, frames made with the codec. It
 * answers ApiVersions, Metadata, FindCoordinator and SASL by its settings; a test's script may take
 * any request before that. */
#ifndef TESTS_FAKE_BROKER_H
#define TESTS_FAKE_BROKER_H

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/loop.h"
#include "codec/frame.h"
#include "codec/msg.h"
#include "proxy/transport.h"
#include "tests/unit/port.h"

#define FAKE_TOPICS 8

struct fake_topic {
    const char *name;
    uint8_t id[16];
    int error;
    int npartitions;
    int32_t leader[8], epoch[8];
};

struct fake_conn;

struct fake {
    struct loop *loop;
    int fd;
    uint16_t port;
    struct loop_io *io;
    struct fake_conn *conns;
    struct tls_context *tls;
    /* true: the request has been dealt with (or is left unanswered). */
    bool (*script)(struct fake_conn *c, const struct request_head *h, const struct msg *m);
    void (*tap)(struct fake_conn *c, const struct buf *frame); /* sees every request's frame */
    void *arg;
    unsigned piece;  /* bytes a turn that answers leave in; 0: at once */
    bool refuse_all; /* accepted and closed at once */
    unsigned accepted, requests[128];

    struct versions versions[128]; /* max < min: not there */
    int64_t features_epoch;
    struct fake_broker_info {
        int32_t id;
        const char *host;
        uint16_t port;
    } brokers[4];
    unsigned nbrokers;
    struct fake_topic topics[FAKE_TOPICS];
    unsigned ntopics;
    int coordinator_error;
    int32_t coordinator;
    unsigned last_topics;          /* how many the last Metadata request named */
    bool null_topics, auto_create; /* what such a request must not say */
    const char *password;          /* user "gate" */
    int64_t lifetime_ms;
    bool bad_signature;
    unsigned logins;
    char last_token[64];
    int last_end; /* how the last connection to end did: ERR_EOF, or ERR_IO for a reset */
};

struct fake_conn {
    struct fake *f;
    struct fake_conn *next;
    struct transport t;
    struct buf slow;
    struct loop_task drip, reap;
    bool closed;
    unsigned number;
    int sasl_step;
    char sasl[2048]; /* SCRAM: the messages so far */
    char mechanism[32];
};

static inline void fake_close(struct fake_conn *c, bool hard)
{
    if (c->closed)
        return;
    c->closed = true;
    transport_close(&c->t, hard);
    loop_post(c->f->loop, &c->reap);
}

static inline void fake_reap(void *arg)
{
    struct fake_conn *c = arg, **at = &c->f->conns;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    loop_cancel(&c->drip);
    loop_cancel(&c->reap);
    buf_release(&c->slow);
    free(c);
}

static inline void fake_drip(void *arg)
{
    struct fake_conn *c = arg;
    if (c->closed || !c->slow.len)
        return;
    size_t n = c->slow.len < c->f->piece || !c->f->piece ? c->slow.len : c->f->piece;
    assert_int_equal(buf_move_n(&c->t.out, &c->slow, n), OK);
    transport_send(&c->t);
    loop_post(c->f->loop, &c->drip);
}

/* Bytes as they are. */
static inline void fake_raw(struct fake_conn *c, const void *p, size_t n)
{
    if (c->closed)
        return;
    assert_int_equal(buf_append(c->f->piece ? &c->slow : &c->t.out, p, n), OK);
    if (c->f->piece)
        loop_post(c->f->loop, &c->drip);
    else
        transport_send(&c->t);
}

static inline void fake_reply_as(struct fake_conn *c, const struct request_head *h,
                                 const struct msg *m, int version, int32_t correlation)
{
    struct buf out;
    buf_init(&out, SIZE_MAX);
    assert_int_equal(frame_put_response(&out, h->api, version, correlation, msg_size(m)), OK);
    assert_int_equal(msg_encode(m, &out), OK);
    uint8_t *flat = malloc(out.len);
    assert_non_null(flat);
    size_t n = out.len;
    buf_copy_out(&out, 0, flat, n);
    buf_release(&out);
    fake_raw(c, flat, n);
    free(flat);
}

static inline void fake_reply(struct fake_conn *c, const struct request_head *h,
                              const struct msg *m)
{
    fake_reply_as(c, h, m, h->version, h->correlation);
}

static inline void must(int e)
{
    assert_int_equal(e, OK);
}

static inline void fake_versions(struct fake_conn *c, const struct request_head *h, struct arena *a)
{
    struct fake *f = c->f;
    struct msg r;
    bool ok = versions_has(f->versions[18], h->version);
    int version = ok ? h->version : 0;
    must(msg_new(&r, a, schema_find(18, false), version));
    must(node_set_num(&r, r.root, F_ERROR_CODE, ok ? 0 : 35));
    struct node *keys = node_array(&r, r.root, F_API_KEYS);
    for (int i = 0; i < 128; i++) {
        if (f->versions[i].max < f->versions[i].min || (!ok && i != 18))
            continue;
        struct node *k = array_add(&r, keys);
        must(node_set_num(&r, k, F_API_KEY, i));
        must(node_set_num(&r, k, F_MIN_VERSION, f->versions[i].min));
        must(node_set_num(&r, k, F_MAX_VERSION, f->versions[i].max));
    }
    if (ok && f->features_epoch >= 0 && version >= 3) {
        must(node_set_num(&r, r.root, F_FINALIZED_FEATURES_EPOCH, f->features_epoch));
        struct node *list = node_array(&r, r.root, F_FINALIZED_FEATURES);
        struct node *x = array_add(&r, list);
        must(node_set_text(&r, x, F_NAME, "transaction.version"));
        must(node_set_num(&r, x, F_MAX_VERSION_LEVEL, 2));
        must(node_set_num(&r, x, F_MIN_VERSION_LEVEL, 2));
    }
    fake_reply_as(c, h, &r, version, h->correlation);
}

static inline void fake_put_topic(struct msg *r, struct node *topics, const struct fake_topic *t)
{
    struct node *x = array_add(r, topics);
    must(node_set_text(r, x, F_NAME, t->name));
    must(node_set_num(r, x, F_ERROR_CODE, t->error));
    must(node_set_uuid(r, x, F_TOPIC_ID, t->id));
    struct node *list = node_array(r, x, F_PARTITIONS);
    for (int i = 0; i < t->npartitions; i++) {
        struct node *p = array_add(r, list);
        must(node_set_num(r, p, F_PARTITION_INDEX, i));
        must(node_set_num(r, p, F_LEADER_ID, t->leader[i]));
        must(node_set_num(r, p, F_LEADER_EPOCH, t->epoch[i]));
        struct node *ids = node_array(r, p, F_REPLICA_NODES);
        must(array_add_num(r, ids, t->leader[i]));
    }
}

/* The answer that it would give to a question for these names (NULL: for all that it has). */
static inline void fake_metadata_msg(const struct fake *f, struct msg *r, struct arena *a,
                                     int version, const struct node *asked)
{
    must(msg_new(r, a, schema_find(3, false), version));
    struct node *brokers = node_array(r, r->root, F_BROKERS);
    for (unsigned i = 0; i < f->nbrokers; i++) {
        struct node *b = array_add(r, brokers);
        must(node_set_num(r, b, F_NODE_ID, f->brokers[i].id));
        must(node_set_text(r, b, F_HOST, f->brokers[i].host));
        must(node_set_num(r, b, F_PORT, f->brokers[i].port));
    }
    struct node *topics = node_array(r, r->root, F_TOPICS);
    for (unsigned i = 0; !asked && i < f->ntopics; i++)
        fake_put_topic(r, topics, &f->topics[i]);
    ARRAY_EACH (q, asked) {
        const struct node *name = node_get(q, F_NAME);
        bool found = false;
        for (unsigned i = 0; i < f->ntopics && !found; i++) {
            found = node_str_is(name, f->topics[i].name);
            if (found)
                fake_put_topic(r, topics, &f->topics[i]);
        }
        if (!found) {
            struct node *x = array_add(r, topics);
            must(node_set_str(r, x, F_NAME, name->u.str.p, name->u.str.len));
            must(node_set_num(r, x, F_ERROR_CODE, 3));
        }
    }
}

static inline void fake_metadata(struct fake_conn *c, const struct request_head *h,
                                 const struct msg *m, struct arena *a)
{
    struct msg r;
    const struct node *asked = node_get(m->root, F_TOPICS);
    c->f->null_topics |= asked->null;
    c->f->auto_create |= node_num(m->root, F_ALLOW_AUTO_TOPIC_CREATION, 0) != 0;
    c->f->last_topics = asked->count;
    fake_metadata_msg(c->f, &r, a, h->version, asked);
    fake_reply(c, h, &r);
}

static inline void fake_coordinator(struct fake_conn *c, const struct request_head *h,
                                    const struct msg *m, struct arena *a)
{
    struct msg r;
    must(msg_new(&r, a, schema_find(10, false), h->version));
    struct node *at = r.root;
    if (h->version >= 4) {
        const struct node *key = node_get(m->root, F_COORDINATOR_KEYS)->child;
        at = array_add(&r, node_array(&r, r.root, F_COORDINATORS));
        must(node_set_str(&r, at, F_KEY, key->u.str.p, key->u.str.len));
    }
    must(node_set_num(&r, at, F_ERROR_CODE, c->f->coordinator_error));
    must(node_set_num(&r, at, F_NODE_ID, c->f->coordinator_error ? -1 : c->f->coordinator));
    fake_reply(c, h, &r);
}

/* --- SASL, the server's side of what auth/sasl_client.c does */

static inline size_t fake_base64(const void *p, size_t n, char *out)
{
    return (size_t)EVP_EncodeBlock((unsigned char *)out, p, (int)n);
}

#define FAKE_SALT "c2FsdHNhbHQ="

static inline bool fake_scram(struct fake_conn *c, const char *in, char *out)
{
    char *said = c->sasl;
    if (c->sasl_step++ == 0) {
        char first[512];
        const char *nonce = strstr(in, ",r=");
        assert_non_null(nonce);
        snprintf(first, sizeof(first), "r=%ssrv,s=" FAKE_SALT ",i=4096", nonce + 3);
        assert_in_range(snprintf(said, sizeof(c->sasl), "%s,%s", in + 3, first), 1, 1500);
        strcpy(out, first);
        return true;
    }
    const EVP_MD *md = strstr(c->mechanism, "512") ? EVP_sha512() : EVP_sha256();
    int len = EVP_MD_size(md);
    const char *proof = strstr(in, ",p=");
    assert_non_null(proof);
    snprintf(said + strlen(said), sizeof(c->sasl) - strlen(said), ",%.*s", (int)(proof - in), in);
    unsigned char salted[64], ck[64], sk[64], stored[64], sig[64];
    PKCS5_PBKDF2_HMAC(c->f->password, -1, (const unsigned char *)"saltsalt", 8, 4096, md, len,
                      salted);
    HMAC(md, salted, len, (const unsigned char *)"Client Key", 10, ck, NULL);
    HMAC(md, salted, len, (const unsigned char *)"Server Key", 10, sk, NULL);
    EVP_Digest(ck, (size_t)len, stored, NULL, md, NULL);
    HMAC(md, stored, len, (const unsigned char *)said, strlen(said), sig, NULL);
    for (int i = 0; i < len; i++)
        ck[i] ^= sig[i];
    char want[128];
    fake_base64(ck, (size_t)len, want);
    if (strcmp(want, proof + 3))
        return false;
    HMAC(md, sk, len, (const unsigned char *)said, strlen(said), sig, NULL);
    sig[0] ^= c->f->bad_signature;
    strcpy(out, "v=");
    fake_base64(sig, (size_t)len, out + 2);
    c->sasl_step = 0;
    return true;
}

static inline bool fake_authenticate(struct fake_conn *c, const char *in, size_t n, char *out)
{
    char want[128];
    *out = 0;
    if (!strncmp(c->mechanism, "SCRAM", 5))
        return fake_scram(c, in, out);
    if (!strcmp(c->mechanism, "PLAIN")) {
        int len = snprintf(want, sizeof(want), "%cgate%c%s", 0, 0, c->f->password);
        return n == (size_t)len && !memcmp(in, want, n);
    }
    const char *token = strstr(in, "auth=Bearer ");
    assert_non_null(token);
    snprintf(c->f->last_token, sizeof(c->f->last_token), "%.*s", (int)strcspn(token + 12, "\001"),
             token + 12);
    return true;
}

static inline void fake_sasl(struct fake_conn *c, const struct request_head *h, const struct msg *m,
                             struct arena *a)
{
    struct msg r;
    char in[2048] = "", out[1024];
    must(msg_new(&r, a, schema_find(h->api, false), h->version));
    if (h->api == 17) {
        const struct node *name = node_get(m->root, F_MECHANISM);
        snprintf(c->mechanism, sizeof(c->mechanism), "%.*s", (int)name->u.str.len,
                 (const char *)name->u.str.p);
        c->sasl_step = 0;
        fake_reply(c, h, &r);
        return;
    }
    const struct node *bytes = node_get(m->root, F_AUTH_BYTES);
    assert_true(bytes->u.str.len < sizeof(in));
    memcpy(in, bytes->u.str.p, bytes->u.str.len);
    if (fake_authenticate(c, in, bytes->u.str.len, out)) {
        must(node_set_str(&r, r.root, F_AUTH_BYTES, (const uint8_t *)out, strlen(out)));
        if (c->sasl_step == 0) {
            c->f->logins++;
            must(node_set_num(&r, r.root, F_SESSION_LIFETIME_MS, c->f->lifetime_ms));
        }
    } else {
        must(node_set_num(&r, r.root, F_ERROR_CODE, 58));
        must(node_set_text(&r, r.root, F_ERROR_MESSAGE, "no\nway"));
    }
    fake_reply(c, h, &r);
}

/* --- the connection */

static inline void fake_request(struct fake_conn *c, const struct buf *frame)
{
    struct request_head h;
    struct arena a;
    struct msg m;
    const char *why = NULL;
    if (c->f->tap)
        c->f->tap(c, frame);
    arena_init(&a, 64 * 1024 * 1024);
    int e = frame_request_head(frame, 0, frame->len, &h, &why);
    if (e)
        print_error("request head: %s\n", why);
    assert_int_equal(e, OK);
    assert_int_equal(msg_decode(&m, &a, schema_find(h.api, true), h.version, frame, h.body_off,
                                frame->len - h.body_off, NULL),
                     OK);
    c->f->requests[h.api]++;
    if (c->f->script && c->f->script(c, &h, &m))
        ;
    else if (h.api == 18)
        fake_versions(c, &h, &a);
    else if (h.api == 3)
        fake_metadata(c, &h, &m, &a);
    else if (h.api == 10)
        fake_coordinator(c, &h, &m, &a);
    else if (h.api == 17 || h.api == 36)
        fake_sasl(c, &h, &m, &a);
    arena_release(&a);
}

static inline void fake_readable(void *arg)
{
    struct fake_conn *c = arg;
    uint32_t len;
    (void)sl_alloc_fail_after(0); /* memory is made short for who is tested, not for us */
    while (!c->closed && frame_length(&c->t.in, INT32_MAX, &len) == OK && c->t.in.len >= 4 + len) {
        struct buf frame;
        buf_init(&frame, len);
        buf_drain(&c->t.in, 4);
        assert_int_equal(buf_move_n(&frame, &c->t.in, len), OK);
        fake_request(c, &frame);
        buf_release(&frame);
    }
}

static inline void fake_nothing(void *arg)
{
    (void)arg;
}

static inline void fake_failed(void *arg, int why, const char *text)
{
    struct fake_conn *c = arg;
    c->f->last_end = why;
    (void)text;
    fake_close(arg, false);
}

static inline void fake_accept(void *arg, unsigned ready)
{
    static const struct transport_events events = {fake_nothing, fake_readable, fake_nothing,
                                                   fake_failed};
    (void)ready;
    (void)sl_alloc_fail_after(0);
    struct fake *f = arg;
    int fd = accept4(f->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    f->accepted++;
    if (f->refuse_all) {
        close(fd);
        return;
    }
    struct fake_conn *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    c->f = f;
    c->number = f->accepted;
    c->next = f->conns;
    f->conns = c;
    buf_init(&c->slow, SIZE_MAX);
    loop_task_init(&c->drip, fake_drip, c);
    loop_task_init(&c->reap, fake_reap, c);
    assert_int_equal(
        transport_accept(&c->t, f->loop, fd, f->tls, &events, c, 64 * 1024 * 1024, SIZE_MAX), OK);
}

static inline void fake_listen(struct fake *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    int on = 1;
    if (!f->port)
        f->port = free_port(); /* which nobody takes while it is down */
    a.sin_port = htons(f->port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(f->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(f->fd, 128), 0);
    f->io = loop_io_new(f->loop, f->fd, fake_accept, f);
    assert_int_equal(loop_io_want(f->io, LOOP_READ), OK);
}

/* Nobody listens any more, and what was connected is gone. */
static inline void fake_down(struct fake *f)
{
    loop_io_free(f->io);
    f->io = NULL;
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    for (struct fake_conn *c = f->conns; c; c = c->next)
        fake_close(c, true);
}

static inline void fake_init(struct fake *f, struct loop *l)
{
    memset(f, 0, sizeof(*f));
    f->loop = l;
    f->features_epoch = -1;
    for (int i = 0; i < 128; i++) {
        const struct message *m = schema_find(i, true);
        f->versions[i] = m ? m->versions : (struct versions){1, 0};
    }
    fake_listen(f);
}

static inline void fake_release(struct fake *f)
{
    fake_down(f);
    while (f->conns)
        fake_reap(f->conns);
    if (f->tls)
        tls_unref(f->tls);
}

#endif
