#include "demo/idp.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/keyvalq_struct.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include "demo/util.h"

#define HEADERS_MAX_BYTES  (32L * 1024)
#define CONNECTION_IDLE_S  30
#define HANG_S             60
#define HUGE_BYTES         (4UL * 1024 * 1024)
#define BASIC_MAX_BYTES    1024
#define DEFAULT_LIFETIME_S 300

/* --- answers */

void idp_reply(struct evhttp_request *req, int status, json_t *body)
{
    struct evbuffer *out = evbuffer_new();
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

    json_decref(body);
    if (!out || !text || evbuffer_add(out, text, strlen(text))) {
        evhttp_send_error(req, HTTP_INTERNAL, NULL);
    } else {
        evhttp_add_header(headers, "Content-Type", "application/json");
        evhttp_add_header(headers, "Cache-Control", "no-store");
        evhttp_send_reply(req, status, NULL, out);
    }
    free(text);
    if (out)
        evbuffer_free(out);
}

void idp_reply_error(struct evhttp_request *req, int status, const char *error,
                     const char *description)
{
    if (status == 401)
        evhttp_add_header(evhttp_request_get_output_headers(req), "WWW-Authenticate",
                          "Basic realm=\"demo-idp\"");
    idp_reply(req, status,
              json_pack("{s:s, s:s}", "error", error, "error_description", description));
}

/* The body as text, malloc'd; evhttp has already held it against IDP_BODY_MAX_BYTES. */
static char *body_text(struct evhttp_request *req)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    size_t n = evbuffer_get_length(in);
    char *text = malloc(n + 1);

    if (!text)
        return NULL;
    evbuffer_copyout(in, text, n);
    text[n] = '\0';
    return text;
}

json_t *idp_body_object(struct evhttp_request *req)
{
    char *text = body_text(req);
    json_t *body = NULL;

    if (text)
        body = *text ? json_loads(text, 0, NULL) : json_object();
    free(text);
    if (json_is_object(body))
        return body;
    json_decref(body);
    idp_reply_error(req, HTTP_BADREQUEST, "invalid_request", "the body is not a JSON object");
    return NULL;
}

/* --- outages */

/* evhttp lets go of a request whose client has left but keeps the object until we answer. */
static void late_reply(evutil_socket_t fd, short what, void *arg)
{
    struct evhttp_request *req = arg;

    (void)fd;
    (void)what;
    idp_reply_error(req, HTTP_SERVUNAVAIL, "temporarily_unavailable", "an outage is on");
}

static void reply_later(const struct idp *idp, struct evhttp_request *req, long after_s)
{
    struct timeval tv = {.tv_sec = after_s};

    if (event_base_once(idp->base, -1, EV_TIMEOUT, late_reply, req, &tv))
        late_reply(-1, 0, req);
}

static void reply_huge(struct evhttp_request *req)
{
    struct evbuffer *out = evbuffer_new();
    char *blank = malloc(HUGE_BYTES);

    if (out && blank) {
        memset(blank, ' ', HUGE_BYTES);
        evbuffer_add(out, blank, HUGE_BYTES);
    }
    evhttp_send_reply(req, HTTP_OK, NULL, out);
    free(blank);
    if (out)
        evbuffer_free(out);
}

static void reply_garbage(struct evhttp_request *req)
{
    struct evbuffer *out = evbuffer_new();

    if (out)
        evbuffer_add_printf(out, "<html>not what you asked for");
    evhttp_send_reply(req, HTTP_OK, NULL, out);
    if (out)
        evbuffer_free(out);
}

/* Counts the request; true when an outage has taken it. */
static bool endpoint_enter(struct idp *idp, struct evhttp_request *req, enum idp_endpoint which)
{
    struct evhttp_connection *con = evhttp_request_get_connection(req);

    idp->requests[which]++;
    switch (idp->outage[which]) {
    case IDP_UP:
        return false;
    case IDP_ERROR:
        idp_reply_error(req, HTTP_SERVUNAVAIL, "temporarily_unavailable", "an outage is on");
        return true;
    case IDP_HANG:
        reply_later(idp, req, HANG_S);
        return true;
    case IDP_DROP:
        shutdown(bufferevent_getfd(evhttp_connection_get_bufferevent(con)), SHUT_RDWR);
        reply_later(idp, req, 1);
        return true;
    case IDP_GARBAGE:
        reply_garbage(req);
        return true;
    case IDP_HUGE:
        reply_huge(req);
        return true;
    case IDP_REDIRECT:
        evhttp_add_header(evhttp_request_get_output_headers(req), "Location", "/elsewhere");
        evhttp_send_reply(req, HTTP_MOVETEMP, NULL, NULL);
        return true;
    }
    return false;
}

/* --- discovery and keys */

static void discovery(struct idp *idp, struct evhttp_request *req)
{
    if (endpoint_enter(idp, req, IDP_DISCOVERY))
        return;
    json_t *doc = json_pack(
        "{s:s, s:s+, s:s+, s:s+, s:s+, s:[s], s:[s], s:[ss], s:[sssss]}", "issuer", idp->issuer,
        "token_endpoint", idp->issuer, "/token", "jwks_uri", idp->issuer, "/jwks",
        "introspection_endpoint", idp->issuer, "/introspect", "revocation_endpoint", idp->issuer,
        "/revoke", "response_types_supported", "token", "grant_types_supported",
        "client_credentials", "token_endpoint_auth_methods_supported", "client_secret_basic",
        "client_secret_post", "id_token_signing_alg_values_supported", "ES256", "ES384", "RS256",
        "PS256", "EdDSA");
    idp_reply(req, HTTP_OK, doc);
}

static void jwks(struct idp *idp, struct evhttp_request *req)
{
    if (endpoint_enter(idp, req, IDP_JWKS))
        return;
    idp_reply(req, HTTP_OK, idp->jwks_override ? json_incref(idp->jwks_override) : idp_jwks(idp));
}

/* --- POST /token (RFC 6749, section 4.4) */

/* "Basic base64(id:secret)" (RFC 6749, 2.3.1): both parts form-encoded inside. id and secret are
 * malloc'd. */
static int basic_read(const char *header, char **id, char **secret)
{
    unsigned char raw[BASIC_MAX_BYTES + 3];
    const char *text = header + strlen("Basic ");
    size_t n = strlen(text);

    if (n == 0 || n % 4 != 0 || n / 4 * 3 > BASIC_MAX_BYTES)
        return ERR_MALFORMED;
    int len = EVP_DecodeBlock(raw, (const unsigned char *)text, (int)n);
    if (len < 0)
        return ERR_MALFORMED;
    raw[len] = '\0';
    char *colon = strchr((char *)raw, ':');
    if (!colon)
        return ERR_MALFORMED;
    *colon = '\0';
    *id = evhttp_uridecode((char *)raw, 1, NULL);
    *secret = evhttp_uridecode(colon + 1, 1, NULL);
    OPENSSL_cleanse(raw, sizeof(raw));
    return *id && *secret ? OK : ERR_NOMEM;
}

/* The client that the request's credentials prove; NULL when they prove none. */
static const struct idp_client *authenticate(const struct idp *idp, struct evhttp_request *req,
                                             const struct evkeyvalq *form)
{
    const char *header = evhttp_find_header(evhttp_request_get_input_headers(req), "Authorization");
    const char *id = evhttp_find_header(form, "client_id");
    const char *secret = evhttp_find_header(form, "client_secret");
    char *basic_id = NULL;
    char *basic_secret = NULL;
    const struct idp_client *client = NULL;

    if (header && strncasecmp(header, "Basic ", strlen("Basic ")) == 0) {
        if (basic_read(header, &basic_id, &basic_secret))
            goto out;
        id = basic_id;
        secret = basic_secret;
    }
    if (id && secret)
        client = idp_client_find(idp, id);
    if (client && (strlen(secret) != strlen(client->secret) ||
                   CRYPTO_memcmp(secret, client->secret, strlen(secret)) != 0))
        client = NULL;
out:
    free(basic_id);
    free(basic_secret);
    return client;
}

/* What a request may choose for itself, this being a development server: alg, lifetime_s. */
static int token_choices(const struct evkeyvalq *form, enum jose_alg *alg, long *lifetime_s)
{
    const char *want = evhttp_find_header(form, "alg");
    const char *life = evhttp_find_header(form, "lifetime_s");

    if (want && (jose_alg_parse(want, alg) || *alg == JOSE_HS256 || *alg == JOSE_NONE))
        return ERR_MALFORMED;
    return life ? util_number(life, 1, IDP_LIFETIME_MAX_S, lifetime_s) : OK;
}

static void token_issue(struct idp *idp, struct evhttp_request *req, const struct evkeyvalq *form)
{
    const char *grant = evhttp_find_header(form, "grant_type");
    const char *scope = evhttp_find_header(form, "scope");
    const struct idp_client *client = authenticate(idp, req, form);

    if (!client) {
        idp_reply_error(req, 401, "invalid_client", "no such client, or not its secret");
        return;
    }
    if (!grant || strcmp(grant, "client_credentials") != 0) {
        idp_reply_error(req, HTTP_BADREQUEST, "unsupported_grant_type", "client_credentials only");
        return;
    }
    enum jose_alg alg = client->alg;
    long lifetime_s = client->lifetime_s;
    if (token_choices(form, &alg, &lifetime_s)) {
        idp_reply_error(req, HTTP_BADREQUEST, "invalid_request", "alg or lifetime_s");
        return;
    }
    struct jose_key *key = idp_key_current(idp, alg);
    json_t *claims = idp_claims(idp, client->id, client->claims, lifetime_s);
    if (claims && scope)
        json_object_set_new(claims, "scope", json_string(scope));
    char *token = key && claims ? jose_issue(key, client->typ ? client->typ : "JWT", claims) : NULL;
    json_decref(claims);
    if (token) {
        idp->issued++;
        idp_token_remember(idp, token, lifetime_s);
    }
    idp_reply(req, HTTP_OK,
              token ? json_pack("{s:s, s:s, s:I}", "access_token", token, "token_type", "Bearer",
                                "expires_in", (json_int_t)lifetime_s)
                    : NULL);
    free(token);
}

/* --- POST /introspect (RFC 7662), POST /revoke (RFC 7009) */

static void introspect(struct idp *idp, struct evhttp_request *req, const struct evkeyvalq *form)
{
    const char *text = evhttp_find_header(form, "token");
    const struct idp_token *t = text ? idp_token_find(idp, text) : NULL;
    bool active = t && !t->revoked && time(NULL) < t->expires;

    if (!authenticate(idp, req, form))
        idp_reply_error(req, 401, "invalid_client", "no such client, or not its secret");
    else
        idp_reply(req, HTTP_OK, json_pack("{s:b}", "active", active));
}

static void revoke_token(struct idp *idp, struct evhttp_request *req, const struct evkeyvalq *form)
{
    const char *text = evhttp_find_header(form, "token");
    struct idp_token *t = text ? idp_token_find(idp, text) : NULL;

    if (!authenticate(idp, req, form)) {
        idp_reply_error(req, 401, "invalid_client", "no such client, or not its secret");
        return;
    }
    if (t)
        t->revoked = true;
    idp_reply(req, HTTP_OK, json_object());
}

/* What all endpoints with a form begin with. */
static void with_form(struct idp *idp, struct evhttp_request *req, enum idp_endpoint which,
                      void (*fn)(struct idp *, struct evhttp_request *, const struct evkeyvalq *))
{
    struct evkeyvalq form;

    if (endpoint_enter(idp, req, which))
        return;
    if (evhttp_request_get_command(req) != EVHTTP_REQ_POST) {
        idp_reply_error(req, HTTP_BADMETHOD, "invalid_request", "POST");
        return;
    }
    char *text = body_text(req);
    if (!text || evhttp_parse_query_str(text, &form)) {
        free(text);
        idp_reply_error(req, HTTP_BADREQUEST, "invalid_request", "the body is not a form");
        return;
    }
    fn(idp, req, &form);
    evhttp_clear_headers(&form);
    OPENSSL_cleanse(text, strlen(text));
    free(text);
}

/* --- routing */

/* A web page of some other origin must not reach /admin through a developer's browser. */
static bool from_a_browser(struct evhttp_request *req)
{
    return evhttp_find_header(evhttp_request_get_input_headers(req), "Origin") != NULL;
}

static void request_cb(struct evhttp_request *req, void *arg)
{
    struct idp *idp = arg;
    const char *raw = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req));
    char *path = raw ? evhttp_uridecode(raw, 0, NULL) : NULL;

    if (!path)
        idp_reply_error(req, HTTP_BADREQUEST, "invalid_request", "path");
    else if (strcmp(path, "/.well-known/openid-configuration") == 0)
        discovery(idp, req);
    else if (strcmp(path, "/jwks") == 0)
        jwks(idp, req);
    else if (strcmp(path, "/token") == 0)
        with_form(idp, req, IDP_TOKEN, token_issue);
    else if (strcmp(path, "/introspect") == 0)
        with_form(idp, req, IDP_INTROSPECT, introspect);
    else if (strcmp(path, "/revoke") == 0)
        with_form(idp, req, IDP_REVOKE, revoke_token);
    else if (strncmp(path, "/admin/", strlen("/admin/")) == 0 && !from_a_browser(req))
        idp_admin(idp, req, path);
    else
        idp_reply_error(req, HTTP_NOTFOUND, "not_found", "no such thing");
    free(path);
}

/* --- start and end */

struct options {
    const char *listen;
    const char *ready_file;
    const char *clients;
    const char *cert;
    const char *key;
    const char *issuer;
    enum jose_alg alg;
    long lifetime_s;
    bool allow_remote;
};

static const char usage[] =
    "demo-idp: an authorization server for demonstrations and tests, never for production\n"
    "  --listen HOST:PORT   where (127.0.0.1:0: any free port)\n"
    "  --ready-file FILE    gets {\"issuer\",\"token_endpoint\",\"jwks_uri\"} once it listens\n"
    "  --clients FILE       JSON array of {client_id, client_secret, claims, alg, typ, "
    "lifetime_s}\n"
    "  --alg ALG            ES256 (default), ES384, RS256, PS256 or EdDSA\n"
    "  --lifetime SECONDS   of a token (300)\n"
    "  --issuer URL         in place of the listening address\n"
    "  --cert PEM --key PEM TLS\n"
    "  --allow-remote       listen on more than loopback; /admin has no login\n";

static int option_set(struct options *o, int option)
{
    switch (option) {
    case 'l':
        o->listen = optarg;
        return OK;
    case 'r':
        o->ready_file = optarg;
        return OK;
    case 'c':
        o->clients = optarg;
        return OK;
    case 'a':
        return jose_alg_parse(optarg, &o->alg) || o->alg == JOSE_HS256 || o->alg == JOSE_NONE
                   ? ERR_CONFIG
                   : OK;
    case 't':
        return util_number(optarg, 1, IDP_LIFETIME_MAX_S, &o->lifetime_s);
    case 'i':
        o->issuer = optarg;
        return OK;
    case 'C':
        o->cert = optarg;
        return OK;
    case 'K':
        o->key = optarg;
        return OK;
    case 'R':
        o->allow_remote = true;
        return OK;
    default:
        return ERR_CONFIG;
    }
}

static int options_read(struct options *o, int argc, char **argv)
{
    static const struct option known[] = {
        {"listen", required_argument, NULL, 'l'},   {"ready-file", required_argument, NULL, 'r'},
        {"clients", required_argument, NULL, 'c'},  {"alg", required_argument, NULL, 'a'},
        {"lifetime", required_argument, NULL, 't'}, {"issuer", required_argument, NULL, 'i'},
        {"cert", required_argument, NULL, 'C'},     {"key", required_argument, NULL, 'K'},
        {"allow-remote", no_argument, NULL, 'R'},   {0}};
    int option;

    *o = (struct options){
        .listen = "127.0.0.1:0", .alg = JOSE_ES256, .lifetime_s = DEFAULT_LIFETIME_S};
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        int err = option_set(o, option);
        if (err)
            return err;
    }
    return optind == argc && !o->cert == !o->key ? OK : ERR_CONFIG;
}

static int clients_load(struct idp *idp, const char *path)
{
    json_error_t where;
    const char *why = "a JSON array of clients";
    size_t i;
    json_t *entry;
    int err = OK;

    json_t *all = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (!all) {
        fprintf(stderr, "demo-idp: %s:%d: %s\n", path, where.line, where.text);
        return ERR_CONFIG;
    }
    if (!json_is_array(all))
        err = ERR_CONFIG;
    json_array_foreach(all, i, entry)
    {
        err = idp_client_put(idp, entry, &why);
        if (err)
            break;
    }
    json_decref(all);
    if (err)
        fprintf(stderr, "demo-idp: %s: %s\n", path, why);
    return err;
}

static struct bufferevent *tls_accept(struct event_base *base, void *arg)
{
    SSL *ssl = SSL_new(arg);

    return ssl ? bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                                BEV_OPT_CLOSE_ON_FREE)
               : NULL;
}

static SSL_CTX *tls_context(const struct options *o)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    if (ctx && (!SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) ||
                SSL_CTX_use_certificate_chain_file(ctx, o->cert) != 1 ||
                SSL_CTX_use_PrivateKey_file(ctx, o->key, SSL_FILETYPE_PEM) != 1)) {
        SSL_CTX_free(ctx);
        ctx = NULL;
    }
    if (!ctx)
        fprintf(stderr, "demo-idp: %s, %s: no usable certificate and key\n", o->cert, o->key);
    return ctx;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;

    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return strcmp(host, "::1") == 0;
}

/* Binds, and fills in the port that the system chose. */
static int listen_on(struct idp *idp, const struct options *o, char *host, size_t host_bytes,
                     uint16_t *port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound = {0};
    socklen_t n = sizeof(bound);

    if (util_host_port(o->listen, host, host_bytes, port))
        return ERR_CONFIG;
    if (!o->allow_remote && !is_loopback(host)) {
        fprintf(stderr, "demo-idp: %s is not a loopback address (--allow-remote)\n", host);
        return ERR_CONFIG;
    }
    struct evhttp_bound_socket *s = evhttp_bind_socket_with_handle(idp->http, host, *port);
    if (!s || getsockname(evhttp_bound_socket_get_fd(s), &bound.any, &n)) {
        perror("demo-idp: listen");
        return ERR_IO;
    }
    *port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
    return OK;
}

static int issuer_set(struct idp *idp, const struct options *o, const char *host, uint16_t port)
{
    bool v6 = strchr(host, ':') != NULL;

    if (o->issuer)
        idp->issuer = strdup(o->issuer);
    else if (asprintf(&idp->issuer, "http%s://%s%s%s:%u", o->cert ? "s" : "", v6 ? "[" : "", host,
                      v6 ? "]" : "", (unsigned)port) < 0)
        idp->issuer = NULL;
    return idp->issuer ? OK : ERR_NOMEM;
}

static int ready(const struct idp *idp, const struct options *o)
{
    json_t *doc = json_pack("{s:s, s:s+, s:s+}", "issuer", idp->issuer, "token_endpoint",
                            idp->issuer, "/token", "jwks_uri", idp->issuer, "/jwks");
    char *text = doc ? json_dumps(doc, JSON_INDENT(2)) : NULL;
    int err = text ? util_write_ready(o->ready_file, text) : ERR_NOMEM;

    if (err)
        perror("demo-idp: ready file");
    else
        printf("demo-idp ready: issuer %s\n", idp->issuer);
    fflush(stdout);
    free(text);
    json_decref(doc);
    return err;
}

static void stop_cb(evutil_socket_t signal_number, short what, void *arg)
{
    (void)signal_number;
    (void)what;
    event_base_loopbreak(arg);
}

static int serve(struct idp *idp, const struct options *o, SSL_CTX *tls)
{
    char host[64] = "";
    uint16_t port = 0;

    idp->base = event_base_new();
    idp->http = idp->base ? evhttp_new(idp->base) : NULL;
    if (!idp->http)
        return ERR_NOMEM;
    evhttp_set_allowed_methods(idp->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_DELETE);
    evhttp_set_max_headers_size(idp->http, HEADERS_MAX_BYTES);
    evhttp_set_max_body_size(idp->http, IDP_BODY_MAX_BYTES);
    evhttp_set_timeout(idp->http, CONNECTION_IDLE_S);
    evhttp_set_gencb(idp->http, request_cb, idp);
    if (tls)
        evhttp_set_bevcb(idp->http, tls_accept, tls);
    int err = listen_on(idp, o, host, sizeof(host), &port);
    if (!err)
        err = issuer_set(idp, o, host, port);
    if (!err && !idp_key_current(idp, idp->alg))
        err = ERR_TLS;
    if (!err && o->clients)
        err = clients_load(idp, o->clients);
    if (!err)
        err = ready(idp, o);
    if (err)
        return err;

    struct event *term = evsignal_new(idp->base, SIGTERM, stop_cb, idp->base);
    struct event *intr = evsignal_new(idp->base, SIGINT, stop_cb, idp->base);
    if (term && intr && !event_add(term, NULL) && !event_add(intr, NULL))
        event_base_dispatch(idp->base);
    else
        err = ERR_NOMEM;
    if (term)
        event_free(term);
    if (intr)
        event_free(intr);
    return err;
}

int main(int argc, char **argv)
{
    static struct idp idp;
    struct options o;
    SSL_CTX *tls = NULL;

    signal(SIGPIPE, SIG_IGN);
    if (options_read(&o, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    if (o.cert && !(tls = tls_context(&o)))
        return 1;
    idp.alg = o.alg;
    idp.lifetime_s = o.lifetime_s;
    int err = serve(&idp, &o, tls);
    idp_release(&idp);
    SSL_CTX_free(tls);
    return err ? 1 : 0;
}
