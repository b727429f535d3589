/* Authentication of a connection to a broker: SaslHandshake, then SaslAuthenticate until the
 * mechanism is content; the same again for KIP-368, on the standing connection and behind the
 * calls that were sent before. */
#include "proxy/upstream_priv.h"

#include "base/alloc.h"
#include "base/log.h"
#include "codec/msg.h"

#define API_SASL_HANDSHAKE    17
#define API_API_VERSIONS      18
#define API_SASL_AUTHENTICATE 36
/* For one message of ours or of the broker's. */
#define ARENA_BYTES ((size_t)256 * 1024)

static const struct upstream_call_events auth_events;

void upstream_auth_free(struct upstream *u)
{
    if (!u->auth)
        return;
    sasl_client_clear(&u->auth->sasl);
    buf_release(&u->auth->call.body);
    sl_free(u->auth);
    u->auth = NULL;
}

static void credentials(const struct upstream *u, struct sasl_credentials *c)
{
    const struct upstream_config *config = &u->cluster->config->upstream;
    *c = (struct sasl_credentials){
        .mechanism = config->mechanism,
        .username = config->username,
        .password = config->password,
        .token = u->cluster->token,
        .cache = &u->cluster->scram,
    };
}

/* Sends what m holds as the next call. */
static int auth_send(struct upstream *u, const struct msg *m)
{
    struct upstream_call *call = &u->auth->call;
    *call = (struct upstream_call){
        .events = &auth_events,
        .arg = u,
        .api = m->schema->api,
        .version = m->version,
        .client_id = "sluice",
        .deadline_us = loop_now_us(u->cluster->loop) +
                       (uint64_t)u->cluster->config->upstream.connect_timeout_ms * 1000,
    };
    buf_init(&call->body, SIZE_MAX);
    int e = msg_encode(m, &call->body);
    return e ? e : upstream_write(u, call);
}

static int send_versions(struct upstream *u)
{
    struct arena a;
    struct msg m;
    arena_init(&a, ARENA_BYTES);
    int e = msg_new(&m, &a, schema_find(API_API_VERSIONS, true), 0);
    if (!e)
        e = auth_send(u, &m);
    arena_release(&a);
    return e;
}

static int send_handshake(struct upstream *u)
{
    struct arena a;
    struct msg m;
    arena_init(&a, ARENA_BYTES);
    int e = msg_new(&m, &a, schema_find(API_SASL_HANDSHAKE, true), 1);
    if (!e)
        e = node_set_text(&m, m.root, F_MECHANISM,
                          sasl_mechanism_name(u->cluster->config->upstream.mechanism));
    if (!e)
        e = auth_send(u, &m);
    arena_release(&a);
    return e;
}

/* The bytes of b as one range; they lie in the arena if not in one chunk. */
static const uint8_t *flatten(struct arena *a, const struct buf *b)
{
    const uint8_t *p = buf_peek(b, 0, b->len);
    if (p)
        return p;
    uint8_t *copy = arena_alloc(a, b->len);
    if (copy)
        buf_copy_out(b, 0, copy, b->len);
    return copy;
}

static int send_authenticate(struct upstream *u, const struct buf *message)
{
    struct arena a;
    struct msg m;
    arena_init(&a, ARENA_BYTES);
    const uint8_t *p = flatten(&a, message);
    int e = p ? OK : ERR_NOMEM;
    if (!e)
        e = msg_new(&m, &a, schema_find(API_SASL_AUTHENTICATE, true), u->auth->version);
    if (!e)
        e = node_set_str(&m, m.root, F_AUTH_BYTES, p, message->len);
    if (!e)
        e = auth_send(u, &m);
    arena_release(&a);
    return e;
}

/* The versions of SaslAuthenticate that this broker has, from its own ApiVersions. A probe, the
 * first to meet a broker, asks on its connection; others know from the probe. */
static int take_versions(struct upstream *u, const struct msg *m, const char **why)
{
    ARRAY_EACH (key, node_get(m->root, F_API_KEYS)) {
        if (node_num(key, F_API_KEY, -1) != API_SASL_AUTHENTICATE)
            continue;
        int64_t max = node_num(key, F_MAX_VERSION, 0);
        u->auth->version = (int16_t)(max > 2 ? 2 : max < 0 ? 0 : max);
        return send_handshake(u);
    }
    *why = "the broker has no SaslAuthenticate";
    return ERR_VERSION;
}

static int take_handshake(struct upstream *u, const struct msg *m, const char **why)
{
    struct sasl_credentials c;
    struct buf out;
    if (node_num(m->root, F_ERROR_CODE, -1)) {
        *why = "the broker does not offer the configured SASL mechanism";
        return ERR_DENIED;
    }
    credentials(u, &c);
    buf_init(&out, SASL_CLIENT_MAX + 64);
    int e = sasl_client_first(&u->auth->sasl, &c, &out, why);
    if (!e)
        e = send_authenticate(u, &out);
    buf_release(&out);
    return e == ERR_CONFIG ? ERR_DENIED : e;
}

static int take_authenticate(struct upstream *u, const struct msg *m, const char **why)
{
    int64_t error = node_num(m->root, F_ERROR_CODE, -1);
    const struct node *bytes = node_get(m->root, F_AUTH_BYTES);
    const struct node *text = node_get(m->root, F_ERROR_MESSAGE);
    struct sasl_credentials c;
    struct buf out;
    char shown[256];
    if (error) {
        if (text && !text->null)
            log_debug("upstream", "broker %d: error %d: %s", (int)u->broker->id, (int)error,
                      log_text(shown, sizeof(shown), text->u.str.p, text->u.str.len));
        *why = "the broker refused our credentials";
        return ERR_DENIED;
    }
    credentials(u, &c);
    buf_init(&out, SASL_CLIENT_MAX + 64);
    int e = sasl_client_next(&u->auth->sasl, &c, bytes && !bytes->null ? bytes->u.str.p : NULL,
                             bytes && !bytes->null ? bytes->u.str.len : 0, &out, why);
    if (!e && !u->auth->sasl.done)
        e = send_authenticate(u, &out);
    buf_release(&out);
    if (!e && u->auth->sasl.done)
        upstream_auth_done(u, node_num(m->root, F_SESSION_LIFETIME_MS, 0));
    /* Our own settings do not do, or it cannot prove itself: both end the connection alike. */
    return e == ERR_CONFIG || e == ERR_LIMIT ? ERR_DENIED : e;
}

static int auth_take(struct upstream *u, int api, const struct msg *m, const char **why)
{
    if (api == API_API_VERSIONS)
        return take_versions(u, m, why);
    if (api == API_SASL_HANDSHAKE)
        return take_handshake(u, m, why);
    return take_authenticate(u, m, why);
}

static void auth_answer(struct upstream_call *call, struct buf *frame, size_t body_off)
{
    struct upstream *u = call->arg;
    const char *why = "an answer during authentication is malformed";
    struct arena a;
    struct msg m;
    arena_init(&a, ARENA_BYTES);
    int e = msg_decode(&m, &a, schema_find(call->api, false), call->version, frame, body_off,
                       frame->len - body_off, NULL);
    if (!e) {
        why = "out of memory";
        e = auth_take(u, call->api, &m, &why);
    } else if (e == ERR_LIMIT) {
        e = ERR_MALFORMED;
    }
    arena_release(&a);
    if (e)
        upstream_fail(u, e, why);
}

/* upstream_fail frees the authentication itself. */
static void auth_failed(struct upstream_call *call, int why, bool sent)
{
    (void)call;
    (void)why;
    (void)sent;
}

static const struct upstream_call_events auth_events = {
    .answer = auth_answer,
    .failed = auth_failed,
};

int upstream_auth_start(struct upstream *u, const char **why)
{
    struct versions v;
    *why = "out of memory";
    u->auth = sl_calloc(1, sizeof(*u->auth));
    if (!u->auth)
        return ERR_NOMEM;
    buf_init(&u->auth->call.body, SIZE_MAX);
    if (u->state == UPSTREAM_AUTH && (u->probe || !u->broker->versions_known))
        return send_versions(u);
    u->auth->version = 0;
    if (cluster_common(u->broker, API_SASL_AUTHENTICATE, &v))
        u->auth->version = v.max;
    return send_handshake(u);
}
