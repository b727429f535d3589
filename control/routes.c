/* Who may ask, what is asked, and the answers. */
#include "control/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "auth/secret.h"
#include "base/log.h"
#include "base/loop.h"
#include "control/body.h"
#include "control/metrics.h"
#include "control/oauth_ask.h"
#include "control/server.h"

/* --- small answers */

static void get_health(void *arg, struct ask *a)
{
    (void)arg;
    ask_json(a, 200, json_pack("{s:s}", "status", "alive"));
}

static bool authorized(const struct control *c, struct ask *a);

/* Why it isn't ready names issuers and brokers, so only those see it who may see the rest. */
static void get_ready(void *arg, struct ask *a)
{
    struct control *c = arg;
    const char *why = c->gate.not_ready(c->gate.arg);
    if (!why)
        ask_json(a, 200, json_pack("{s:s}", "status", "ready"));
    else
        ask_error(a, 503, "not_ready", authorized(c, a) ? why : "not ready");
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
    static const char *const classes[SERVER_CLASSES] = {"", "1xx", "2xx", "3xx", "4xx", "5xx"};
    size_t grants = 0, revocations = 0;
    for (unsigned i = 2; i < SERVER_CLASSES; i++) {
        char labels[32] = "";
        metrics_label(labels, sizeof(labels), "code", classes[i]);
        metrics_line(m, "sluice_control_requests_total", labels, "counter",
                     "Answers of the control listener, by class of their status.",
                     (double)server_answers(c->server, i));
    }
    metrics_line(m, "sluice_control_refused_total", "", "counter",
                 "Requests to the control listener without a good token.", (double)c->refused);
    store_each_grant(c->gate.store, count_grant, &grants);
    store_each_revocation(c->gate.store, count_revocation, &revocations);
    metrics_line(m, "sluice_grants", "", "gauge", "Grants in force.", (double)grants);
    metrics_line(m, "sluice_revocations", "", "gauge", "Revocations in force.",
                 (double)revocations);
    metrics_line(m, "sluice_store_owed", "", "gauge",
                 "Ends that are in force and could not be written yet.",
                 (double)store_owes(c->gate.store));
}

static void get_metrics(void *arg, struct ask *a)
{
    struct control *c = arg;
    struct metrics *m = metrics_new();
    char *text = NULL;
    size_t n = 0;
    if (m) {
        c->gate.metrics(c->gate.arg, metrics_line, m);
        put_own_metrics(c, m);
        text = metrics_text(m, &n);
        metrics_free(m);
    }
    if (!text) {
        ask_error(a, 503, "out_of_memory", "try again");
        return;
    }
    ask_text(a, 200, "text/plain; version=0.0.4; charset=utf-8", text, n);
    free(text);
}

/* --- lists */

static void sessions_done(void *arg, json_t *array)
{
    struct ask *a = arg;
    if (array)
        ask_json(a, 200, json_pack("{s:o}", "sessions", array));
    else
        ask_error(a, 503, "busy", "the workers did not answer");
}

static void get_sessions(void *arg, struct ask *a)
{
    struct control *c = arg;
    if (c->gate.sessions(c->gate.arg, sessions_done, a) != OK)
        ask_error(a, 503, "busy", "try again");
}

struct listing {
    json_t *array;
    size_t total;
    const char *id; /* the one grant that is looked for */
};

static void list_revocation(void *arg, const struct revocation *r)
{
    struct listing *l = arg;
    if (l->total++ < CONTROL_LIST_MAX)
        json_array_append_new(l->array, body_of_revocation(r));
}

/* Grants on their way to an answer: held, in the order of their ids, while the workers are asked
 * how they are used. */
struct grant_row {
    struct grant *grant;
    enum grant_state state;
};

struct grant_list {
    struct ask *ask;
    const char *only; /* the one that is looked for; NULL: all */
    size_t count, total;
    const char **ids;
    struct grant_row *rows;
};

static void count_row(void *arg, struct grant *g, enum grant_state state)
{
    (void)g;
    (void)state;
    ++*(size_t *)arg;
}

static void take_row(void *arg, struct grant *g, enum grant_state state)
{
    struct grant_list *l = arg;
    if ((l->only && strcmp(l->only, g->id) != 0) || l->total++ >= CONTROL_LIST_MAX)
        return;
    l->rows[l->count++] = (struct grant_row){grant_ref(g), state};
}

static int compare_rows(const void *a, const void *b)
{
    const struct grant_row *x = a, *y = b;
    return strcmp(x->grant->id, y->grant->id);
}

static void grant_list_free(struct grant_list *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->count; i++)
        grant_unref(l->rows[i].grant);
    free(l->rows);
    free(l->ids);
    free(l);
}

static struct grant_list *grant_list_new(struct control *c, struct ask *a, const char *only)
{
    struct grant_list *l = calloc(1, sizeof(*l));
    size_t n = 0;
    store_each_grant_state(c->gate.store, count_row, &n);
    n = only ? 1 : n < CONTROL_LIST_MAX ? n : CONTROL_LIST_MAX;
    if (l) {
        l->rows = calloc(n + 1, sizeof(*l->rows));
        l->ids = calloc(n + 1, sizeof(*l->ids));
    }
    if (!l || !l->rows || !l->ids) {
        grant_list_free(l);
        return NULL;
    }
    l->ask = a;
    l->only = only;
    store_each_grant_state(c->gate.store, take_row, l);
    qsort(l->rows, l->count, sizeof(*l->rows), compare_rows);
    for (size_t i = 0; i < l->count; i++)
        l->ids[i] = l->rows[i].grant->id;
    return l;
}

static void usage_known(void *arg, const struct grant_usage *usage)
{
    struct grant_list *l = arg;
    json_t *array = json_array();
    for (size_t i = 0; usage && i < l->count; i++)
        json_array_append_new(array, body_of_grant(l->rows[i].grant, l->rows[i].state, &usage[i]));
    if (!usage)
        ask_error(l->ask, 503, "busy", "the workers did not answer");
    else if (l->only)
        ask_json(l->ask, 200, json_incref(json_array_get(array, 0)));
    else
        ask_json(l->ask, 200,
                 json_pack("{s:O, s:I}", "grants", array, "total", (json_int_t)l->total));
    json_decref(array);
    grant_list_free(l);
}

static void list_grants(struct control *c, struct ask *a, const char *only)
{
    struct grant_list *l = grant_list_new(c, a, only);
    if (l && only && l->count == 0)
        ask_error(a, 404, "not_found", "no such grant");
    else if (l && c->gate.usage(c->gate.arg, l->ids, l->count, usage_known, l) == OK)
        return;
    else
        ask_error(a, 503, "busy", "try again");
    grant_list_free(l);
}

static void get_grants(void *arg, struct ask *a)
{
    list_grants(arg, a, NULL);
}

static void get_grant(void *arg, struct ask *a)
{
    list_grants(arg, a, ask_id(a));
}

static void get_revocations(void *arg, struct ask *a)
{
    struct control *c = arg;
    struct listing l = {.array = json_array()};
    store_each_revocation(c->gate.store, list_revocation, &l);
    ask_json(a, 200, json_pack("{s:o, s:I}", "revocations", l.array, "total", (json_int_t)l.total));
}

/* --- changes */

static void refuse(struct ask *a, int result)
{
    if (result == ERR_UNKNOWN)
        ask_error(a, 404, "not_found", "no such grant");
    else if (result == ERR_LIMIT)
        ask_error(a, 503, "full",
                  "there is no room to keep it; see limits.grants and limits.revocations");
    else if (result == ERR_IO)
        ask_error(a, 503, "not_durable",
                  "it could not be written; what it closed stays closed; try again");
    else
        ask_error(a, 503, "busy", "it is not sure that all took it; try again");
}

static void change_done(void *arg, int result, unsigned closed)
{
    struct ask *a = arg;
    if (result == OK)
        ask_json(a, 200, json_pack("{s:i}", "closed", (int)closed));
    else
        refuse(a, result);
}

/* Takes r; NULL: there was no memory for it. */
static void revoke(struct control *c, struct ask *a, struct revocation *r)
{
    int result = r ? change_revoke(&c->changes, r, ask_peer(a), change_done, a) : ERR_NOMEM;
    if (result != OK)
        refuse(a, result);
}

static void put_grant(void *arg, struct ask *a)
{
    struct control *c = arg;
    char err[BODY_ERROR_BYTES];
    size_t n;
    struct grant *g;
    if (!ask_content_is(a, "application/json"))
        return;
    const char *text = ask_body(a, &n);
    int result = body_grant(text, n, ask_id(a), c->config, &g, err, sizeof(err));
    if (result != OK) {
        ask_error(a, result == ERR_NOMEM ? 503 : 400, "invalid_grant", err);
        return;
    }
    result = change_grant(&c->changes, g, ask_peer(a), change_done, a);
    if (result != OK)
        refuse(a, result);
}

static void find_grant(void *arg, const struct grant *g)
{
    struct listing *l = arg;
    l->total += strcmp(l->id, g->id) == 0;
}

/* Ending a grant means that whoever used it is out and stays out, also with a token that carries
 * the rights itself: a revocation of the transfer. */
static void delete_grant(void *arg, struct ask *a)
{
    struct control *c = arg;
    struct listing l = {.id = ask_id(a)};
    store_each_grant(c->gate.store, find_grant, &l);
    if (!l.total) {
        ask_error(a, 404, "not_found", "no such grant");
        return;
    }
    revoke(c, a,
           revocation_new(REVOKE_TRANSFER, "", ask_id(a), "", loop_wall_s(c->loop), 0,
                          "grant deleted"));
}

static void post_revocation(void *arg, struct ask *a)
{
    struct control *c = arg;
    char err[BODY_ERROR_BYTES];
    size_t n;
    struct revocation *r;
    if (!ask_content_is(a, "application/json"))
        return;
    const char *text = ask_body(a, &n);
    int result = body_revocation(text, n, loop_wall_s(c->loop), &r, err, sizeof(err));
    if (result == OK)
        revoke(c, a, r);
    else if (result == ERR_NOMEM)
        ask_error(a, 503, "out_of_memory", "try again");
    else
        ask_error(a, 400, "invalid_revocation", err);
}

static void post_oauth(void *arg, struct ask *a)
{
    struct control *c = arg;
    const struct oauth_revoker r = {.loop = c->loop,
                                    .changes = &c->changes,
                                    .arg = c->gate.arg,
                                    .keys = c->gate.keys,
                                    .unknown_kid = c->gate.unknown_kid};
    oauth_revoke(&r, a, NULL, NULL);
}

/* --- who may ask */

/* In a time that tells nothing about the tokens: all are compared. */
static bool token_known(const struct strings *tokens, const char *text)
{
    bool found = false;
    for (size_t i = 0; i < tokens->count; i++)
        found |= secret_equal(tokens->at[i], text);
    return found;
}

/* RFC 7009's clients authenticate as RFC 6749 2.3.1 says; the secret is the token. */
static bool client_known(const struct strings *tokens, struct ask *a)
{
    struct oauth_client client;
    bool known = oauth_client_read(a, &client) && token_known(tokens, client.secret);
    oauth_client_wipe(&client);
    return known;
}

static bool authorized(const struct control *c, struct ask *a)
{
    const struct strings *tokens = &c->config->control.tokens;
    const char *header = ask_header(a, "Authorization");
    if (!tokens->count)
        return true; /* loopback: config demands tokens elsewhere */
    if (header && strncasecmp(header, "Bearer ", 7) == 0)
        return token_known(tokens, header + 7);
    return strcmp(ask_path(a), "/oauth2/revoke") == 0 && client_known(tokens, a);
}

/* A page in an operator's browser must not reach a listener that trusts its machine. */
bool control_guard(void *arg, struct ask *a, bool open)
{
    struct control *c = arg;
    if (ask_from_browser(a, !c->config->control.tokens.count)) {
        ask_error(a, 403, "forbidden", "not from a browser, nor under another host's name");
        return false;
    }
    if (open || authorized(c, a))
        return true;
    struct audit_event e = {.kind = AUDIT_AUTH_FAIL,
                            .reason = "control: no good bearer token",
                            .client_address = ask_peer(a)};
    c->refused++;
    log_warn("control", "%s: no good bearer token", ask_peer(a));
    if (c->gate.audit)
        audit_put(c->gate.audit, &e);
    ask_add_header(a, "WWW-Authenticate", "Bearer realm=\"sluice\"");
    ask_error(a, 401, "unauthorized", "it takes a bearer token of control.token_file");
    return false;
}

/* The two probes say nothing that everybody should not know. */
const struct route control_routes[] = {
    {"/healthz", METHOD_GET, true, get_health},
    {"/readyz", METHOD_GET, true, get_ready},
    {"/metrics", METHOD_GET, false, get_metrics},
    {"/v1/sessions", METHOD_GET, false, get_sessions},
    {"/v1/grants", METHOD_GET, false, get_grants},
    {"/v1/grants/{id}", METHOD_GET, false, get_grant},
    {"/v1/grants/{id}", METHOD_PUT, false, put_grant},
    {"/v1/grants/{id}", METHOD_DELETE, false, delete_grant},
    {"/v1/revocations", METHOD_GET, false, get_revocations},
    {"/v1/revocations", METHOD_POST, false, post_revocation},
    {"/oauth2/revoke", METHOD_POST, false, post_oauth},
};
const size_t control_nroutes = sizeof(control_routes) / sizeof(*control_routes);
