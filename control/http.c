/* The listener: evhttp, TLS, who may ask. What is asked stands in routes.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/loop_event.h"
#include "control/priv.h"

/* --- answers */

void reply_json(struct control *c, struct evhttp_request *req, int code, json_t *body)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    struct evbuffer *out = evhttp_request_get_output_buffer(req);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    if (!text || evbuffer_add_printf(out, "%s\n", text) < 0)
        code = 500;
    free(text);
    evhttp_add_header(headers, "Content-Type", "application/json");
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
    c->answers[code / 100 < CONTROL_CLASSES ? code / 100 : 0]++;
    evhttp_send_reply(req, code, NULL, NULL);
}

void answer_error(struct control *c, struct evhttp_request *req, int code, const char *error,
                  const char *message)
{
    if (code == 503)
        evhttp_add_header(evhttp_request_get_output_headers(req), "Retry-After", "1");
    reply_json(c, req, code, json_pack("{s:s, s:s+}", "error", error, "message", message, ""));
}

const char *peer_of(struct evhttp_request *req, char out[64])
{
    struct evhttp_connection *connection = evhttp_request_get_connection(req);
    char *host = NULL;
    ev_uint16_t port = 0;
    out[0] = '\0';
    if (connection)
        evhttp_connection_get_peer(connection, &host, &port);
    if (host)
        snprintf(out, 64, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
    return out;
}

/* --- requests under way */

struct pending *pending_new(struct control *c, struct evhttp_request *req)
{
    struct pending *p = sl_calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->control = c;
    p->req = req;
    p->event.kind = AUDIT_LOST;
    p->event.client_address = peer_of(req, p->peer);
    p->next = c->pending;
    p->prev = &c->pending;
    if (p->next)
        p->next->prev = &p->next;
    c->pending = p;
    return p;
}

static void pending_unlink(struct pending *p)
{
    if (!p->prev)
        return;
    *p->prev = p->next;
    if (p->next)
        p->next->prev = p->prev;
    p->prev = NULL;
}

void pending_free(struct pending *p)
{
    pending_unlink(p);
    grant_unref(p->grant);
    revocation_free(p->revocation);
    sl_free(p);
}

/* Their requests end with evhttp's connections, but for those whose connection has gone before:
 * these are nobody's but ours. */
static void orphan_all(struct control *c)
{
    while (c->pending) {
        struct pending *p = c->pending;
        if (!evhttp_request_get_connection(p->req))
            evhttp_request_free(p->req);
        p->req = NULL;
        p->control = NULL;
        pending_unlink(p);
    }
}

/* --- who may ask */

/* Both sides are hashed, so neither length nor first difference shows; all are compared. */
bool token_known(const struct strings *tokens, const char *text, size_t n)
{
    unsigned char asked[EVP_MAX_MD_SIZE], known[EVP_MAX_MD_SIZE];
    unsigned found = 0;
    if (EVP_Digest(text, n, asked, NULL, EVP_sha256(), NULL) != 1)
        return false;
    for (size_t i = 0; i < tokens->count; i++) {
        const char *token = tokens->at[i];
        if (EVP_Digest(token, strlen(token), known, NULL, EVP_sha256(), NULL) == 1)
            found |= CRYPTO_memcmp(asked, known, 32) == 0;
    }
    OPENSSL_cleanse(known, sizeof(known));
    return found != 0;
}

/* --- TLS */

/* A connection's end, however it comes: its SSL is freed. */
static void connection_ended(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long l,
                             void *p)
{
    struct control *c = ptr;
    (void)parent;
    (void)data;
    (void)index;
    (void)l;
    (void)p;
    if (!c)
        return;
    if (c->tls_connections-- == CONTROL_CONNECTIONS_MAX && c->listener)
        evconnlistener_enable(c->listener);
}

static int index_of_control(void)
{
    static int index = -1; /* the control thread's alone */
    if (index < 0)
        index = SSL_get_ex_new_index(0, NULL, NULL, NULL, connection_ended);
    return index;
}

/* evhttp asks for a connection's bufferevent, and serves in the clear when it gets none or this
 * fails for want of memory: on_request sees that it has no TLS and answers nothing else. */
static struct bufferevent *connection_new(struct event_base *base, void *arg)
{
    struct control *c = arg;
    struct bufferevent *bev = NULL;
    ERR_clear_error();
    SSL *ssl = SSL_new(c->tls);
    if (ssl && SSL_set_ex_data(ssl, index_of_control(), c) == 1) {
        if (++c->tls_connections == CONTROL_CONNECTIONS_MAX)
            evconnlistener_disable(c->listener);
        SSL_up_ref(ssl); /* whether a failure frees it depends on libevent's version */
        bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                             BEV_OPT_CLOSE_ON_FREE);
    }
    SSL_free(ssl);
    if (bev)
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    else
        log_error("control", "no memory for a connection's TLS");
    return bev;
}

static SSL_CTX *tls_new(const struct config *c, char *err, size_t err_bytes)
{
    ERR_clear_error();
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    const char *what = "TLS";
    if (tls && SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1) {
        SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
        SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
        what = c->control.certificate;
        if (SSL_CTX_use_certificate_chain_file(tls, what) == 1) {
            what = c->control.key;
            if (SSL_CTX_use_PrivateKey_file(tls, what, SSL_FILETYPE_PEM) == 1 &&
                SSL_CTX_check_private_key(tls) == 1)
                return tls;
        }
    }
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    snprintf(err, err_bytes, "control.tls: %s: %s", what, reason ? reason : "cannot be used");
    ERR_clear_error();
    SSL_CTX_free(tls);
    return NULL;
}

/* --- the listener */

static void on_request(struct evhttp_request *req, void *arg)
{
    struct control *c = arg;
    struct bufferevent *bev = evhttp_connection_get_bufferevent(evhttp_request_get_connection(req));
    if (c->tls && !bufferevent_openssl_get_ssl(bev)) {
        answer_error(c, req, 503, "out_of_memory", "try again");
        return;
    }
    route_request(c, req);
}

static int start(struct control *c, char *err, size_t err_bytes)
{
    const struct endpoint *at = &c->config->control.listen;
    c->http = evhttp_new(loop_base(c->loop));
    if (!c->http) {
        snprintf(err, err_bytes, "control: out of memory");
        return ERR_NOMEM;
    }
    evhttp_set_allowed_methods(c->http, EVHTTP_REQ_GET | EVHTTP_REQ_PUT | EVHTTP_REQ_POST |
                                            EVHTTP_REQ_DELETE | EVHTTP_REQ_HEAD);
    evhttp_set_max_headers_size(c->http, (ev_ssize_t)CONTROL_HEADER_MAX);
    evhttp_set_max_body_size(c->http, (ev_ssize_t)CONTROL_BODY_MAX);
    evhttp_set_timeout(c->http, CONTROL_TIMEOUT_S);
    evhttp_set_gencb(c->http, on_request, c);
    if (c->tls)
        evhttp_set_bevcb(c->http, connection_new, c);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(c->http, at->host, at->port);
    if (!bound) {
        snprintf(err, err_bytes, "control.listen: %s:%u: %s", at->host, (unsigned)at->port,
                 strerror(errno));
        return ERR_IO;
    }
    c->listener = evhttp_bound_socket_get_listener(bound);
    c->port = at->port;
    return OK;
}

struct control *control_new(struct loop *l, const struct config *config,
                            const struct control_gate *g, char *err, size_t err_bytes)
{
    struct control *c = sl_calloc(1, sizeof(*c));
    if (!c) {
        snprintf(err, err_bytes, "control: out of memory");
        return NULL;
    }
    c->loop = l;
    c->gate = *g;
    c->config = config_ref(config);
    if (!config->control.listen.port)
        return c;
    bool good = true;
    if (config->control.certificate) {
        c->tls = tls_new(config, err, err_bytes);
        good = c->tls != NULL;
    }
    if (good && start(c, err, err_bytes) == OK)
        return c;
    control_free(c);
    return NULL;
}

int control_config(struct control *c, const struct config *config)
{
    char err[512];
    SSL_CTX *tls = NULL;
    if (c->http && !config->control.certificate != !c->tls) {
        log_warn("control", "control.tls comes and goes with a restart");
        return ERR_CONFIG;
    }
    if (c->tls) {
        tls = tls_new(config, err, sizeof(err));
        if (!tls) {
            log_error("control", "%s", err);
            return ERR_CONFIG;
        }
        SSL_CTX_free(c->tls); /* connections hold the former one */
        c->tls = tls;
    }
    const struct config *old = c->config;
    c->config = config_ref(config);
    config_unref(old);
    return OK;
}

void control_free(struct control *c)
{
    if (!c)
        return;
    orphan_all(c);
    c->listener = NULL;
    if (c->http)
        evhttp_free(c->http);
    SSL_CTX_free(c->tls);
    config_unref(c->config);
    sl_free(c);
}

uint16_t control_port(const struct control *c)
{
    return c->port;
}
