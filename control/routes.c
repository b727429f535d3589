/* Who may ask, what is asked, and the answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <event2/buffer.h>

#include "auth/jwt.h"
#include "base/log.h"
#include "base/loop.h"
#include "control/body.h"
#include "control/metrics.h"
#include "control/priv.h"

typedef void route_fn(struct control *c, struct evhttp_request *req, const char *id);

struct route {
    const char *path; /* a last part {id} is any non-empty text without a slash */
    enum evhttp_cmd_type method;
    bool open; /* needs no token: says nothing that a probe should not know */
    route_fn *fn;
};

/* --- small answers */

static void get_health(struct control *c, struct evhttp_request *req, const char *id)
{
    (void)id;
    reply_json(c, req, 200, json_pack("{s:s}", "status", "alive"));
}

static bool authorized(const struct control *c, struct evhttp_request *req);

/* Why it isn't ready names issuers and brokers, so only those see it who may see the rest. */
static void get_ready(struct control *c, struct evhttp_request *req, const char *id)
{
    const char *why = c->gate.not_ready(c->gate.arg);
    (void)id;
    if (!why)
        reply_json(c, req, 200, json_pack("{s:s}", "status", "ready"));
    else
        answer_error(c, req, 503, "not_ready", authorized(c, req) ? why : "not ready");
}

static void count_grant(void *arg, const struct grant *g)
{
    (void)g;
    ++*(size_t *)arg;
}

static void count_revocation(void *arg, const struct revocation *r)
{
    (void)r;
    ++*(size_t *)arg;
}

static void put_own_metrics(struct control *c, struct metrics *m)
{
    static const char *const classes[CONTROL_CLASSES] = {"", "1xx", "2xx", "3xx", "4xx", "5xx"};
    size_t grants = 0, revocations = 0;
    for (unsigned i = 2; i < CONTROL_CLASSES; i++) {
        char labels[32] = "";
        metrics_label(labels, sizeof(labels), "code", classes[i]);
        metrics_line(m, "sluice_control_requests_total", labels, "counter",
                     "Answers of the control listener, by class of their status.",
                     (double)c->answers[i]);
    }
    metrics_line(m, "sluice_control_refused_total", "", "counter",
                 "Requests to the control listener without a good token.", (double)c->refused);
    store_each_grant(c->gate.store, count_grant, &grants);
    store_each_revocation(c->gate.store, count_revocation, &revocations);
    metrics_line(m, "sluice_grants", "", "gauge", "Grants in force.", (double)grants);
    metrics_line(m, "sluice_revocations", "", "gauge", "Revocations in force.",
                 (double)revocations);
}

static void get_metrics(struct control *c, struct evhttp_request *req, const char *id)
{
    struct metrics *m = metrics_new();
    char *text = NULL;
    size_t n = 0;
    (void)id;
    if (m) {
        c->gate.metrics(c->gate.arg, metrics_line, m);
        put_own_metrics(c, m);
        text = metrics_text(m, &n);
        metrics_free(m);
    }
    if (!text) {
        answer_error(c, req, 503, "out_of_memory", "try again");
        return;
    }
    evbuffer_add(evhttp_request_get_output_buffer(req), text, n);
    free(text);
    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type",
                      "text/plain; version=0.0.4; charset=utf-8");
    c->answers[2]++;
    evhttp_send_reply(req, 200, NULL, NULL);
}

/* --- lists */

static void sessions_done(void *arg, json_t *array)
{
    struct pending *p = arg;
    struct control *c = p->control;
    if (!c)
        json_decref(array);
    else if (!array)
        answer_error(c, p->req, 503, "busy", "the workers did not answer");
    else
        reply_json(c, p->req, 200, json_pack("{s:o}", "sessions", array));
    pending_free(p);
}

static void get_sessions(struct control *c, struct evhttp_request *req, const char *id)
{
    struct pending *p = pending_new(c, req);
    (void)id;
    if (p && c->gate.sessions(c->gate.arg, sessions_done, p) == OK)
        return;
    if (p)
        pending_free(p);
    answer_error(c, req, 503, "busy", "try again");
}

struct listing {
    json_t *array;
    size_t total;
    const char *id; /* the one grant that is looked for */
};

static void list_grant(void *arg, const struct grant *g)
{
    struct listing *l = arg;
    if (l->id && strcmp(l->id, g->id) != 0)
        return;
    if (l->total++ < CONTROL_LIST_MAX)
        json_array_append_new(l->array, body_of_grant(g));
}

static void list_revocation(void *arg, const struct revocation *r)
{
    struct listing *l = arg;
    if (l->total++ < CONTROL_LIST_MAX)
        json_array_append_new(l->array, body_of_revocation(r));
}

static void get_grants(struct control *c, struct evhttp_request *req, const char *id)
{
    struct listing l = {.array = json_array()};
    (void)id;
    store_each_grant(c->gate.store, list_grant, &l);
    reply_json(c, req, 200,
               json_pack("{s:o, s:I}", "grants", l.array, "total", (json_int_t)l.total));
}

static void get_grant(struct control *c, struct evhttp_request *req, const char *id)
{
    struct listing l = {.array = json_array(), .id = id};
    store_each_grant(c->gate.store, list_grant, &l);
    if (l.total)
        reply_json(c, req, 200, json_incref(json_array_get(l.array, 0)));
    else
        answer_error(c, req, 404, "not_found", "no such grant");
    json_decref(l.array);
}

static void get_revocations(struct control *c, struct evhttp_request *req, const char *id)
{
    struct listing l = {.array = json_array()};
    (void)id;
    store_each_revocation(c->gate.store, list_revocation, &l);
    reply_json(c, req, 200,
               json_pack("{s:o, s:I}", "revocations", l.array, "total", (json_int_t)l.total));
}

/* --- changes */

static const char *or_null(const char *text)
{
    return text && *text ? text : NULL;
}

static void grant_event(struct pending *p)
{
    const struct grant *g = p->grant;
    p->event.kind = AUDIT_GRANT;
    p->event.transfer = g->id;
    p->event.participant = or_null(g->participant);
    p->event.agreement = or_null(g->agreement);
    p->event.asset = or_null(g->asset);
    p->event.issuer = or_null(g->issuer);
    p->event.subject = or_null(g->subject);
    p->event.client = or_null(g->client);
}

static void revocation_event(struct pending *p)
{
    const struct revocation *r = p->revocation;
    struct audit_event *e = &p->event;
    e->kind = AUDIT_REVOCATION;
    e->issuer = or_null(r->issuer);
    e->client = or_null(r->client);
    e->reason = or_null(r->reason);
    switch (r->kind) {
    case REVOKE_TRANSFER:
        e->transfer = r->value;
        break;
    case REVOKE_AGREEMENT:
        e->agreement = r->value;
        break;
    case REVOKE_ASSET:
        e->asset = r->value;
        break;
    case REVOKE_PARTICIPANT:
        e->participant = r->value;
        break;
    case REVOKE_CLIENT:
        e->client = r->value;
        break;
    case REVOKE_JTI:
        e->jti = r->value;
        break;
    case REVOKE_SUBJECT:
    case REVOKE_TOKEN:
    case REVOKE_ISSUER:
        e->subject = or_null(r->value);
        break;
    }
    e->resource_type = "revocation";
    e->resource = revoke_kind_name(r->kind);
}

static void reply_refused(struct control *c, struct evhttp_request *req, int result)
{
    if (result == ERR_UNKNOWN)
        answer_error(c, req, 404, "not_found", "no such grant");
    else if (result == ERR_LIMIT)
        answer_error(c, req, 503, "full",
                     "there is no room to keep it; see limits.grants and "
                     "limits.revocations");
    else if (result == ERR_IO)
        answer_error(c, req, 503, "not_durable",
                     "it could not be written; what it closed stays closed; try again");
    else
        answer_error(c, req, 503, "busy", "it is not sure that all took it; try again");
}

static void change_done(void *arg, int result, unsigned closed)
{
    struct pending *p = arg;
    struct control *c = p->control;
    if (c && c->gate.audit) {
        p->event.count = closed;
        p->event.failed = result != OK;
        if (result != OK && !p->event.reason)
            p->event.reason = err_name(result);
        audit_put(c->gate.audit, &p->event);
    }
    if (c && result == OK)
        reply_json(c, p->req, 200, json_pack("{s:i}", "closed", (int)closed));
    else if (c)
        reply_refused(c, p->req, result);
    pending_free(p);
}

/* Hands a revocation to the store; it is taken. */
static void revoke(struct control *c, struct evhttp_request *req, struct revocation *r)
{
    struct pending *p = pending_new(c, req);
    if (!p) {
        revocation_free(r);
        answer_error(c, req, 503, "out_of_memory", "try again");
        return;
    }
    p->revocation = r;
    revocation_event(p);
    int result = store_revoke(c->gate.store, r, change_done, p);
    if (result == OK)
        return;
    pending_free(p);
    reply_refused(c, req, result);
}

static const char *body_text(struct evhttp_request *req, size_t *n)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    *n = evbuffer_get_length(in);
    const unsigned char *text = evbuffer_pullup(in, -1);
    return text ? (const char *)text : "";
}

/* The media type without its parameters; says what is wrong itself. */
static bool content_is(struct control *c, struct evhttp_request *req, const char *type)
{
    const char *got = evhttp_find_header(evhttp_request_get_input_headers(req), "Content-Type");
    size_t n = strlen(type);
    if (got && strncasecmp(got, type, n) == 0 && (!got[n] || strchr("; \t", got[n])))
        return true;
    char message[96];
    snprintf(message, sizeof(message), "Content-Type takes %s", type);
    answer_error(c, req, 415, "unsupported_media_type", message);
    return false;
}

static void put_grant(struct control *c, struct evhttp_request *req, const char *id)
{
    char err[BODY_ERROR_BYTES];
    size_t n;
    struct grant *g;
    if (!content_is(c, req, "application/json"))
        return;
    const char *text = body_text(req, &n);
    int result = body_grant(text, n, id, c->config, &g, err, sizeof(err));
    if (result != OK) {
        answer_error(c, req, result == ERR_NOMEM ? 503 : 400, "invalid_grant", err);
        return;
    }
    struct pending *p = pending_new(c, req);
    if (p) {
        p->grant = g;
        grant_event(p);
        result = store_grant(c->gate.store, g, change_done, p);
        if (result == OK)
            return;
        pending_free(p);
    } else {
        grant_unref(g);
        result = ERR_NOMEM;
    }
    reply_refused(c, req, result);
}

static void find_grant(void *arg, const struct grant *g)
{
    struct listing *l = arg;
    l->total += strcmp(l->id, g->id) == 0;
}

/* Ending a grant means that whoever used it is out and stays out, also with a token that carries
 * the rights itself: a revocation of the transfer. */
static void delete_grant(struct control *c, struct evhttp_request *req, const char *id)
{
    struct listing l = {.id = id};
    store_each_grant(c->gate.store, find_grant, &l);
    if (!l.total) {
        answer_error(c, req, 404, "not_found", "no such grant");
        return;
    }
    struct revocation *r =
        revocation_new(REVOKE_TRANSFER, "", id, "", loop_wall_s(c->loop), 0, "grant deleted");
    if (r)
        revoke(c, req, r);
    else
        answer_error(c, req, 503, "out_of_memory", "try again");
}

static void post_revocation(struct control *c, struct evhttp_request *req, const char *id)
{
    char err[BODY_ERROR_BYTES];
    size_t n;
    struct revocation *r;
    (void)id;
    if (!content_is(c, req, "application/json"))
        return;
    const char *text = body_text(req, &n);
    int result = body_revocation(text, n, loop_wall_s(c->loop), &r, err, sizeof(err));
    if (result == OK)
        revoke(c, req, r);
    else if (result == ERR_NOMEM)
        answer_error(c, req, 503, "out_of_memory", "try again");
    else
        answer_error(c, req, 400, "invalid_revocation", err);
}

/* Bars the token. One that could never be used here needs no bar: 200, as RFC 7009 wants. Where
 * that isn't known (the issuer's keys are not there), 200 would promise what nobody did. */
static void revoke_token(struct control *c, struct evhttp_request *req, const char *token, size_t n)
{
    static struct identity id; /* large; the control thread's alone */
    struct keyring *keys = c->gate.keys(c->gate.arg);
    enum jwt_verdict verdict = keys ? jwt_identify(token, n, keys, &id) : JWT_NO_KEYS;
    if (verdict == JWT_KEY && c->gate.unknown_kid)
        c->gate.unknown_kid(c->gate.arg, id.issuer);
    if (verdict == JWT_OK) {
        struct revocation *r =
            revocation_for_token(&id, loop_wall_s(c->loop), "RFC 7009 revocation");
        if (r)
            revoke(c, req, r);
        else
            answer_error(c, req, 503, "out_of_memory", "try again");
    } else if (jwt_verdict_retriable(verdict)) {
        answer_error(c, req, 503, "temporarily_unavailable",
                     "the issuer's keys are not known yet; try again");
    } else {
        log_info("control", "a token to revoke is none that could be used here: %s",
                 jwt_verdict_name(verdict));
        reply_json(c, req, 200, json_pack("{s:i}", "closed", 0));
    }
    if (keys) {
        identity_clear(&id);
        keyring_unref(keys);
    }
}

static void post_oauth(struct control *c, struct evhttp_request *req, const char *id)
{
    static char token[JWT_BYTES_MAX + 1]; /* the control thread's alone */
    size_t n;
    (void)id;
    if (!content_is(c, req, "application/x-www-form-urlencoded"))
        return;
    const char *text = body_text(req, &n);
    int len = body_form(text, n, "token", token, sizeof(token));
    if (len == ERR_LIMIT)
        reply_json(c, req, 200, json_pack("{s:i}", "closed", 0)); /* no such token gets in */
    else if (len <= 0)
        answer_error(c, req, 400, "invalid_request", "it takes one form field `token`");
    else
        revoke_token(c, req, token, (size_t)len);
    explicit_bzero(token, sizeof(token));
}

static const struct route routes[] = {
    {"/healthz", EVHTTP_REQ_GET, true, get_health},
    {"/readyz", EVHTTP_REQ_GET, true, get_ready},
    {"/metrics", EVHTTP_REQ_GET, false, get_metrics},
    {"/v1/sessions", EVHTTP_REQ_GET, false, get_sessions},
    {"/v1/grants", EVHTTP_REQ_GET, false, get_grants},
    {"/v1/grants/{id}", EVHTTP_REQ_GET, false, get_grant},
    {"/v1/grants/{id}", EVHTTP_REQ_PUT, false, put_grant},
    {"/v1/grants/{id}", EVHTTP_REQ_DELETE, false, delete_grant},
    {"/v1/revocations", EVHTTP_REQ_GET, false, get_revocations},
    {"/v1/revocations", EVHTTP_REQ_POST, false, post_revocation},
    {"/oauth2/revoke", EVHTTP_REQ_POST, false, post_oauth},
};
#define ROUTES (sizeof(routes) / sizeof(*routes))

/* --- who may ask */

/* "Basic": base64 of client:secret; the secret is the token. */
static bool basic_known(const struct strings *tokens, const char *encoded)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[1024] = "";
    size_t used = 0;
    unsigned bits = 0, held = 0;
    for (; *encoded && *encoded != '='; encoded++) {
        const char *at = strchr(letters, *encoded);
        if (!at || used == sizeof(text))
            return false;
        held = held << 6 | (unsigned)(at - letters);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            text[used++] = (char)(held >> bits & 0xff);
        }
    }
    const char *colon = memchr(text, ':', used);
    bool known = colon && token_known(tokens, colon + 1, used - (size_t)(colon + 1 - text));
    explicit_bzero(text, sizeof(text));
    return known;
}

/* RFC 7009's clients authenticate as RFC 6749 2.3.1 says. */
static bool client_known(const struct strings *tokens, struct evhttp_request *req,
                         const char *header)
{
    char secret[600];
    size_t n;
    if (header && strncasecmp(header, "Basic ", 6) == 0)
        return basic_known(tokens, header + 6);
    const char *text = body_text(req, &n);
    int len = body_form(text, n, "client_secret", secret, sizeof(secret));
    bool known = len > 0 && token_known(tokens, secret, (size_t)len);
    explicit_bzero(secret, sizeof(secret));
    return known;
}

static bool authorized(const struct control *c, struct evhttp_request *req)
{
    const struct strings *tokens = &c->config->control.tokens;
    const char *header = evhttp_find_header(evhttp_request_get_input_headers(req), "Authorization");
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req));
    if (!tokens->count)
        return true; /* loopback: config demands tokens elsewhere */
    if (header && strncasecmp(header, "Bearer ", 7) == 0)
        return token_known(tokens, header + 7, strlen(header + 7));
    return path && strcmp(path, "/oauth2/revoke") == 0 && client_known(tokens, req, header);
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

/* A page in an operator's browser must not reach a listener that trusts its machine: browsers name
 * themselves with Origin, and a name that an attacker's DNS turned to 127.0.0.1 stands in Host. */
static bool from_browser(const struct control *c, struct evhttp_request *req)
{
    struct evkeyvalq *headers = evhttp_request_get_input_headers(req);
    const char *host = evhttp_find_header(headers, "Host");
    const char *site = evhttp_find_header(headers, "Sec-Fetch-Site");
    if (evhttp_find_header(headers, "Origin") || (site && strcmp(site, "none") != 0))
        return true;
    return !c->config->control.tokens.count && host && !host_is_local(host);
}

static bool guarded(struct control *c, struct evhttp_request *req, bool open)
{
    if (from_browser(c, req)) {
        answer_error(c, req, 403, "forbidden", "not from a browser, nor under another host's name");
        return false;
    }
    if (open || authorized(c, req))
        return true;
    char peer[64];
    struct audit_event e = {.kind = AUDIT_AUTH_FAIL,
                            .reason = "control: no good bearer token",
                            .client_address = peer_of(req, peer)};
    c->refused++;
    log_warn("control", "%s: no good bearer token", peer);
    if (c->gate.audit)
        audit_put(c->gate.audit, &e);
    evhttp_add_header(evhttp_request_get_output_headers(req), "WWW-Authenticate",
                      "Bearer realm=\"sluice\"");
    answer_error(c, req, 401, "unauthorized", "it takes a bearer token of control.token_file");
    return false;
}

/* --- what is asked */

/* Does the path fit? id gets the decoded last part (malloc'ed) where the route has one. */
static bool fits(const struct route *r, const char *path, char **id)
{
    size_t n = strcspn(r->path, "{"), len = 0;
    if (r->path[n] == '\0')
        return strcmp(r->path, path) == 0;
    if (strncmp(r->path, path, n) != 0 || path[n] == '\0' || strchr(path + n, '/'))
        return false;
    *id = evhttp_uridecode(path + n, 0, &len);
    if (*id && strlen(*id) == len && len > 0)
        return true;
    free(*id);
    *id = NULL;
    return false;
}

static const char *method_name(enum evhttp_cmd_type method)
{
    return method == EVHTTP_REQ_GET      ? "GET"
           : method == EVHTTP_REQ_PUT    ? "PUT"
           : method == EVHTTP_REQ_POST   ? "POST"
           : method == EVHTTP_REQ_DELETE ? "DELETE"
                                         : "";
}

void route_request(struct control *c, struct evhttp_request *req)
{
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
    enum evhttp_cmd_type method = evhttp_request_get_command(req);
    const struct route *found = NULL;
    char *id = NULL, allow[64] = "";
    if (method == EVHTTP_REQ_HEAD)
        method = EVHTTP_REQ_GET; /* evhttp sends no body then */
    for (size_t i = 0; path && !found && i < ROUTES; i++) {
        char *part = NULL;
        if (!fits(&routes[i], path, &part))
            continue;
        size_t used = strlen(allow);
        snprintf(allow + used, sizeof(allow) - used, "%s%s", used ? ", " : "",
                 method_name(routes[i].method));
        if (routes[i].method == method) {
            found = &routes[i];
            id = part;
        } else {
            free(part);
        }
    }
    if (!guarded(c, req, found && found->open)) {
        free(id);
        return;
    }
    if (found && evhttp_uri_get_query(uri)) {
        answer_error(c, req, 400, "invalid_request", "no query is taken");
    } else if (found) {
        found->fn(c, req, id);
    } else if (*allow) {
        evhttp_add_header(evhttp_request_get_output_headers(req), "Allow", allow);
        answer_error(c, req, 405, "method_not_allowed", allow);
    } else {
        answer_error(c, req, 404, "not_found", "no such path");
    }
    free(id);
}
