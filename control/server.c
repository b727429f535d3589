#include "control/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "auth/text.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/loop_event.h"
#include "control/linger.h"

/* The TLS connections of a server, counted by their SSLs. libevent frees those a turn later, the
 * last of them with the loop, when the server is gone: so this outlives it. */
struct connections {
    struct server *server; /* NULL: gone */
    unsigned open;
};

struct server {
    struct loop *loop;
    struct server_settings settings; /* its certificate, key, client_ca and secret are not used */
    char *secret;
    struct evhttp *http;
    struct evconnlistener *listener; /* of http */
    SSL_CTX *tls;                    /* NULL: plain */
    struct connections *connections;
    struct ask *asks;
    uint64_t answers[SERVER_CLASSES];
};

struct ask {
    struct server *server; /* NULL: gone, and with it the request */
    struct evhttp_request *req;
    struct ask *next, **prev;
    const char *path;
    char *id;
    char peer[64];
};

/* --- asks */

static void peer_of(struct evhttp_request *req, char out[64])
{
    struct evhttp_connection *connection = evhttp_request_get_connection(req);
    char *host = NULL;
    ev_uint16_t port = 0;

    out[0] = '\0';
    if (connection)
        evhttp_connection_get_peer(connection, &host, &port);
    if (host)
        snprintf(out, 64, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
}

static void ask_unlink(struct ask *a)
{
    if (!a->prev)
        return;
    *a->prev = a->next;
    if (a->next)
        a->next->prev = a->prev;
    a->prev = NULL;
}

static struct ask *ask_new(struct server *s, struct evhttp_request *req)
{
    struct ask *a = sl_calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->server = s;
    a->req = req;
    a->next = s->asks;
    a->prev = &s->asks;
    if (a->next)
        a->next->prev = &a->next;
    s->asks = a;
    peer_of(req, a->peer);
    return a;
}

static void ask_free(struct ask *a)
{
    ask_unlink(a);
    free(a->id);
    sl_free(a);
}

/* Their requests end with evhttp's connections, but for those whose connection has gone before:
 * these are nobody's but ours. */
static void orphan_all(struct server *s)
{
    while (s->asks) {
        struct ask *a = s->asks;

        if (!evhttp_request_get_connection(a->req))
            evhttp_request_free(a->req);
        a->req = NULL;
        a->server = NULL;
        a->path = NULL;
        ask_unlink(a);
    }
}

const char *ask_id(const struct ask *a)
{
    return a->id;
}

const char *ask_path(const struct ask *a)
{
    return a->path ? a->path : "";
}

const char *ask_header(const struct ask *a, const char *name)
{
    return a->req ? evhttp_find_header(evhttp_request_get_input_headers(a->req), name) : NULL;
}

const char *ask_body(struct ask *a, size_t *n)
{
    struct evbuffer *in = a->req ? evhttp_request_get_input_buffer(a->req) : NULL;
    const unsigned char *text = in ? evbuffer_pullup(in, -1) : NULL;

    *n = text ? evbuffer_get_length(in) : 0;
    return text ? (const char *)text : "";
}

void ask_wipe_body(struct ask *a)
{
    struct evbuffer *in = a->req ? evhttp_request_get_input_buffer(a->req) : NULL;
    unsigned char *text = in ? evbuffer_pullup(in, -1) : NULL;

    if (text)
        explicit_bzero(text, evbuffer_get_length(in));
}

const char *ask_peer(const struct ask *a)
{
    return a->peer;
}

bool ask_live(const struct ask *a)
{
    return a->req && evhttp_request_get_connection(a->req);
}

bool ask_content_is(struct ask *a, const char *type)
{
    const char *got = ask_header(a, "Content-Type");
    size_t n = strlen(type);
    char message[96];

    if (got && strncasecmp(got, type, n) == 0 && (!got[n] || strchr("; \t", got[n])))
        return true;
    snprintf(message, sizeof(message), "Content-Type takes %s", type);
    ask_error(a, 415, "unsupported_media_type", message);
    return false;
}

static bool host_is_local(const char *host)
{
    static const char *const names[] = {"localhost", "[::1]", "::1"};
    size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strlen(names[i]) == n && strncasecmp(host, names[i], n) == 0)
            return true;
    return strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == n;
}

/* Browsers name themselves with Origin, and a name that an attacker's DNS turned to 127.0.0.1
 * stands in Host. */
bool ask_from_browser(const struct ask *a, bool local_names_only)
{
    const char *host = ask_header(a, "Host");
    const char *site = ask_header(a, "Sec-Fetch-Site");

    if (ask_header(a, "Origin") || (site && strcmp(site, "none") != 0))
        return true;
    return local_names_only && host && !host_is_local(host);
}

/* --- answers */

void ask_add_header(struct ask *a, const char *name, const char *value)
{
    if (a->req)
        evhttp_add_header(evhttp_request_get_output_headers(a->req), name, value);
}

/* The request has been read to its end, so nothing of it is left to linger for. */
static void send_reply(struct evhttp_request *req, int code)
{
    struct evhttp_connection *connection = evhttp_request_get_connection(req);
    struct bufferevent *bev = connection ? evhttp_connection_get_bufferevent(connection) : NULL;

    if (bev)
        linger_unwatch(bev);
    evhttp_send_reply(req, code, NULL, NULL);
    if (bev)
        linger_watch(bev);
}

void ask_text(struct ask *a, int code, const char *type, const char *text, size_t n)
{
    if (a->req) {
        if (n > 0 && evbuffer_add(evhttp_request_get_output_buffer(a->req), text, n) != 0)
            code = 500;
        if (type)
            ask_add_header(a, "Content-Type", type);
        ask_add_header(a, "Cache-Control", "no-store");
        ask_add_header(a, "X-Content-Type-Options", "nosniff");
        a->server->answers[code / 100 < SERVER_CLASSES ? code / 100 : 0]++;
        send_reply(a->req, code);
    }
    ask_free(a);
}

void ask_json(struct ask *a, int code, json_t *body)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    size_t n = text ? strlen(text) : 0;

    json_decref(body);
    if (text)
        text[n++] = '\n'; /* in the NUL's place */
    ask_text(a, text ? code : 500, "application/json", text, n);
    free(text);
}

void ask_error(struct ask *a, int code, const char *error, const char *message)
{
    if (code == 503)
        ask_add_header(a, "Retry-After", "1");
    ask_json(a, code, json_pack("{s:s, s:s+}", "error", error, "message", message, ""));
}

/* --- routes */

/* Does the path fit? id gets the decoded part (malloc'ed) where the route has one. */
static bool fits(const struct route *r, const char *path, char **id)
{
    size_t before = strcspn(r->path, "{"), n, len = 0;
    const char *after = strchr(r->path, '}');
    char *raw;

    if (!after)
        return strcmp(r->path, path) == 0;
    if (strncmp(r->path, path, before) != 0)
        return false;
    path += before;
    n = strcspn(path, "/");
    if (n == 0 || strcmp(path + n, after + 1) != 0)
        return false;
    raw = strndup(path, n);
    *id = raw ? evhttp_uridecode(raw, 0, &len) : NULL;
    free(raw);
    if (*id && strlen(*id) == len && len > 0)
        return true;
    free(*id);
    *id = NULL;
    return false;
}

/* What follows the secret in the path, or NULL. In a time that tells nothing about the secret. */
static const char *behind_secret(const struct server *s, const char *path)
{
    size_t n = strlen(s->secret);

    if (*path != '/' || strcspn(path + 1, "/") != n || CRYPTO_memcmp(path + 1, s->secret, n) != 0)
        return NULL;
    return path + 1 + n;
}

static const char *method_name(enum method method)
{
    return method == METHOD_GET      ? "GET"
           : method == METHOD_PUT    ? "PUT"
           : method == METHOD_POST   ? "POST"
           : method == METHOD_DELETE ? "DELETE"
                                     : "";
}

static unsigned method_of(struct evhttp_request *req)
{
    static const struct {
        enum evhttp_cmd_type theirs;
        enum method ours;
    } all[] = {{EVHTTP_REQ_GET, METHOD_GET},
               {EVHTTP_REQ_HEAD, METHOD_GET}, /* evhttp sends no body then */
               {EVHTTP_REQ_PUT, METHOD_PUT},
               {EVHTTP_REQ_POST, METHOD_POST},
               {EVHTTP_REQ_DELETE, METHOD_DELETE}};
    enum evhttp_cmd_type command = evhttp_request_get_command(req);

    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        if (all[i].theirs == command)
            return all[i].ours;
    return 0;
}

/* What was asked for: the route and its table's argument. */
struct found {
    const struct route *route; /* NULL: none */
    void *arg;
    char allow[64]; /* the methods that the path has */
};

static void allow(struct found *f, enum method method)
{
    size_t used = strlen(f->allow);

    snprintf(f->allow + used, sizeof(f->allow) - used, "%s%s", used ? ", " : "",
             method_name(method));
}

/* Does this one fit? Sets path and id of a. */
static void try_route(const struct route_table *t, const struct route *r, const char *path,
                      unsigned method, struct ask *a, struct found *f)
{
    char *part = NULL;

    if (!path || !fits(r, path, &part))
        return;
    allow(f, r->method);
    if (r->method != method) {
        free(part);
        return;
    }
    f->route = r;
    f->arg = t->arg;
    a->id = part;
    a->path = path;
}

static void find(struct server *s, struct ask *a, const char *path, struct found *f)
{
    const char *secret_path = s->secret ? behind_secret(s, path) : path;
    unsigned method = method_of(a->req);

    for (size_t i = 0; i < SERVER_TABLES_MAX && !f->route; i++) {
        const struct route_table *t = &s->settings.tables[i];

        for (size_t j = 0; j < t->count && !f->route; j++)
            try_route(t, &t->routes[j], t->routes[j].open ? path : secret_path, method, a, f);
    }
}

static void route_request(struct server *s, struct ask *a)
{
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(a->req);
    const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
    struct found f = {0};

    a->path = path;
    if (path)
        find(s, a, path, &f);
    if (!s->settings.guard(s->settings.arg, a, f.route && f.route->open))
        return;
    if (f.route && evhttp_uri_get_query(uri)) {
        ask_error(a, 400, "invalid_request", "no query is taken");
    } else if (f.route) {
        f.route->fn(f.arg, a);
    } else if (*f.allow) {
        ask_add_header(a, "Allow", f.allow);
        ask_error(a, 405, "method_not_allowed", f.allow);
    } else {
        ask_error(a, 404, "not_found", "no such path");
    }
}

static void on_request(struct evhttp_request *req, void *arg)
{
    struct server *s = arg;
    struct bufferevent *bev = evhttp_connection_get_bufferevent(evhttp_request_get_connection(req));
    struct ask *a = ask_new(s, req);

    if (!a)
        evhttp_send_error(req, 503, NULL);
    else if (s->tls && !bufferevent_openssl_get_ssl(bev))
        ask_error(a, 503, "out_of_memory", "try again");
    else
        route_request(s, a);
}

/* --- TLS */

/* A connection's end, however it comes: its SSL is freed. */
static void connection_ended(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long l,
                             void *p)
{
    struct connections *c = ptr;

    (void)parent;
    (void)data;
    (void)index;
    (void)l;
    (void)p;
    if (!c)
        return;
    if (c->open-- == SERVER_CONNECTIONS_MAX && c->server && c->server->listener)
        evconnlistener_enable(c->server->listener);
    if (!c->server && !c->open)
        sl_free(c);
}

static int index_of_connections(void)
{
    static int index = -1; /* the control thread's alone */

    if (index < 0)
        index = SSL_get_ex_new_index(0, NULL, NULL, NULL, connection_ended);
    return index;
}

static struct bufferevent *tls_connection_new(struct server *s, struct event_base *base)
{
    struct bufferevent *bev = NULL;
    SSL *ssl;

    ERR_clear_error();
    ssl = SSL_new(s->tls);
    if (ssl && SSL_set_ex_data(ssl, index_of_connections(), s->connections) == 1) {
        if (++s->connections->open == SERVER_CONNECTIONS_MAX)
            evconnlistener_disable(s->listener);
        SSL_up_ref(ssl); /* whether a failure frees it depends on libevent's version */
        bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                             BEV_OPT_CLOSE_ON_FREE);
    }
    SSL_free(ssl);
    if (bev)
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    else
        log_error(s->settings.name, "no memory for a connection's TLS");
    return bev;
}

/* evhttp asks for a connection's bufferevent, and serves in the clear when it gets none or this
 * fails for want of memory: on_request sees that it has no TLS and answers nothing else. */
static struct bufferevent *connection_new(struct event_base *base, void *arg)
{
    struct server *s = arg;
    struct bufferevent *bev = s->tls ? tls_connection_new(s, base)
                                     : bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);

    if (bev)
        linger_watch(bev);
    return bev;
}

/* A step that failed: its file, or what it does. NULL when all went well. */
static const char *tls_set(SSL_CTX *tls, const struct server_settings *s)
{
    if (SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1)
        return "TLS";
    SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_use_certificate_chain_file(tls, s->certificate) != 1)
        return s->certificate;
    if (SSL_CTX_use_PrivateKey_file(tls, s->key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(tls) != 1)
        return s->key;
    if (!s->client_ca)
        return NULL;
    if (SSL_CTX_load_verify_file(tls, s->client_ca) != 1)
        return s->client_ca;
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return NULL;
}

static SSL_CTX *tls_new(const struct server_settings *s, char *err, size_t err_bytes)
{
    const char *what = "TLS", *reason;
    SSL_CTX *tls;

    ERR_clear_error();
    tls = SSL_CTX_new(TLS_server_method());
    if (tls)
        what = tls_set(tls, s);
    if (tls && !what)
        return tls;
    reason = ERR_reason_error_string(ERR_peek_error());
    snprintf(err, err_bytes, "%s.tls: %s: %s", s->name, what, reason ? reason : "cannot be used");
    ERR_clear_error();
    SSL_CTX_free(tls);
    return NULL;
}

/* --- the listener */

static int start(struct server *s, char *err, size_t err_bytes)
{
    const struct endpoint *at = &s->settings.listen;
    struct evhttp_bound_socket *bound;

    s->http = evhttp_new(loop_base(s->loop));
    if (!s->http) {
        snprintf(err, err_bytes, "%s: out of memory", s->settings.name);
        return ERR_NOMEM;
    }
    evhttp_set_allowed_methods(s->http, EVHTTP_REQ_GET | EVHTTP_REQ_PUT | EVHTTP_REQ_POST |
                                            EVHTTP_REQ_DELETE | EVHTTP_REQ_HEAD);
    evhttp_set_max_headers_size(s->http, (ev_ssize_t)SERVER_HEADER_MAX);
    evhttp_set_max_body_size(s->http, (ev_ssize_t)s->settings.body_max);
    evhttp_set_timeout(s->http, SERVER_TIMEOUT_S);
    evhttp_set_gencb(s->http, on_request, s);
    evhttp_set_bevcb(s->http, connection_new, s);
    bound = evhttp_bind_socket_with_handle(s->http, at->host, at->port);
    if (!bound) {
        snprintf(err, err_bytes, "%s.listen: %s:%u: %s", s->settings.name, at->host,
                 (unsigned)at->port, strerror(errno));
        return ERR_IO;
    }
    s->listener = evhttp_bound_socket_get_listener(bound);
    return OK;
}

static int copy_secret(const char *secret, char **out, char *err, size_t err_bytes)
{
    *out = secret ? text_dup(secret) : NULL;
    if (!secret || *out)
        return OK;
    snprintf(err, err_bytes, "out of memory");
    return ERR_NOMEM;
}

struct server *server_new(struct loop *l, const struct server_settings *settings, char *err,
                          size_t err_bytes)
{
    struct server *s = sl_calloc(1, sizeof(*s));

    if (!s) {
        snprintf(err, err_bytes, "%s: out of memory", settings->name);
        return NULL;
    }
    s->connections = sl_calloc(1, sizeof(*s->connections));
    if (!s->connections) {
        snprintf(err, err_bytes, "%s: out of memory", settings->name);
        sl_free(s);
        return NULL;
    }
    s->connections->server = s;
    s->loop = l;
    s->settings = *settings;
    if (settings->certificate)
        s->tls = tls_new(settings, err, err_bytes);
    if ((!settings->certificate || s->tls) &&
        copy_secret(settings->secret, &s->secret, err, err_bytes) == OK &&
        start(s, err, err_bytes) == OK)
        return s;
    server_free(s);
    return NULL;
}

int server_config(struct server *s, const struct server_settings *settings, char *err,
                  size_t err_bytes)
{
    SSL_CTX *tls = NULL;
    char *secret;

    if (!settings->certificate != !s->tls) {
        snprintf(err, err_bytes, "%s.tls comes and goes with a restart", s->settings.name);
        return ERR_CONFIG;
    }
    if (s->tls && !(tls = tls_new(settings, err, err_bytes)))
        return ERR_CONFIG;
    if (copy_secret(settings->secret, &secret, err, err_bytes) != OK) {
        SSL_CTX_free(tls);
        return ERR_NOMEM;
    }
    SSL_CTX_free(s->tls); /* connections hold the former one */
    s->tls = tls;
    sl_free(s->secret);
    s->secret = secret;
    return OK;
}

void server_free(struct server *s)
{
    if (!s)
        return;
    orphan_all(s);
    s->listener = NULL;
    if (s->http)
        evhttp_free(s->http);
    linger_end(loop_base(s->loop));
    s->connections->server = NULL;
    if (!s->connections->open)
        sl_free(s->connections);
    SSL_CTX_free(s->tls);
    sl_free(s->secret);
    sl_free(s);
}

uint16_t server_port(const struct server *s)
{
    return s->settings.listen.port;
}

uint64_t server_answers(const struct server *s, unsigned hundred)
{
    return hundred < SERVER_CLASSES ? s->answers[hundred] : 0;
}
