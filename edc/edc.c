#include "edc/edc.h"

#include <stdio.h>

#include "audit/audit.h"
#include "auth/issuer.h"
#include "base/alloc.h"
#include "base/log.h"
#include "control/server.h"
#include "edc/acl.h"
#include "edc/events.h"
#include "edc/refresh.h"
#include "edc/signaling.h"
#include "edc/token_server.h"
#include "edc/tokens.h"

struct edc {
    struct loop *loop;
    const struct config *config; /* a reference */
    struct edc_parts parts;
    struct issuer *issuer;
    struct tokens *tokens;
    struct token_server *token_server;
    struct refresh *refresh;
    struct signaling *signaling;
    struct events *events;
    struct server *server; /* NULL: off, and so is signaling */
    struct acl *acl;
};

/* Who is not kept out by TLS or the path secret may ask; browsers never. */
static bool guard(void *arg, struct ask *a, bool open)
{
    struct edc *e = arg;

    (void)open;
    if (!ask_from_browser(a, !e->config->signaling.certificate))
        return true;
    ask_error(a, 403, "forbidden", "not from a browser, nor under another host's name");
    return false;
}

static struct server_settings settings(struct edc *e, const struct config *c)
{
    return (struct server_settings){
        .name = "signaling",
        .listen = c->signaling.listen,
        .certificate = c->signaling.certificate,
        .key = c->signaling.key,
        .client_ca = c->signaling.client_ca,
        .secret = c->signaling.path_secret,
        .body_max = EDC_BODY_MAX,
        .tables = {{signaling_routes, signaling_routes_count, e->signaling},
                   {token_server_routes, token_server_nroutes, e->token_server},
                   {refresh_routes, refresh_nroutes, e->refresh},
                   {events_routes, events_routes_count, e->events}},
        .guard = guard,
        .arg = e,
    };
}

/* What stands behind the routes. */
static int make_parts(struct edc *e, const struct config *c, char *err, size_t err_bytes)
{
    struct tokens_parts tokens = {
        .loop = e->loop,
        .store = e->parts.changes.store,
        .arg = e->parts.arg,
        .keys = e->parts.keys,
        .unknown_kid = e->parts.unknown_kid,
    };
    struct token_server_parts server = {
        .loop = e->loop,
        .changes = &e->parts.changes,
        .arg = e->parts.arg,
        .keys = e->parts.keys,
        .unknown_kid = e->parts.unknown_kid,
    };

    e->issuer = issuer_new(c, err, err_bytes);
    tokens.issuer = e->issuer;
    e->tokens = e->issuer ? tokens_new(&tokens, c, err, err_bytes) : NULL;
    e->refresh = e->tokens ? refresh_new(&tokens, c, err, err_bytes) : NULL;
    if (!e->refresh)
        return ERR_CONFIG;
    snprintf(err, err_bytes, "signaling: out of memory");
    server.issuer = e->issuer;
    server.tokens = e->tokens;
    e->token_server = token_server_new(&server, c);
    e->events = events_new(e->loop, &e->parts);
    return e->token_server && e->events ? OK : ERR_NOMEM;
}

static int make_signaling(struct edc *e, const struct config *c, char *err, size_t err_bytes)
{
    const struct signaling_parts parts = {
        .loop = e->loop,
        .changes = e->parts.changes,
        .tokens = {e->tokens, tokens_get, tokens_end},
    };

    e->signaling = signaling_new(&parts, c, err, err_bytes);
    return e->signaling ? OK : ERR_NOMEM;
}

struct edc *edc_new(struct loop *l, const struct config *c, const struct edc_parts *p, char *err,
                    size_t err_bytes)
{
    struct edc *e = sl_calloc(1, sizeof(*e));
    struct server_settings s;

    if (!e) {
        snprintf(err, err_bytes, "signaling: out of memory");
        return NULL;
    }
    e->loop = l;
    e->parts = *p;
    e->config = config_ref(c);
    if (make_parts(e, c, err, err_bytes) != OK) {
        edc_free(e);
        return NULL;
    }
    e->acl = acl_new(l, c, &p->changes, err, err_bytes);
    if (e->acl && !c->signaling.listen.port)
        return e;
    if (e->acl && make_signaling(e, c, err, err_bytes) == OK) {
        s = settings(e, c);
        e->server = server_new(l, &s, err, err_bytes);
    }
    if (e->server)
        return e;
    edc_free(e);
    return NULL;
}

/* What reads files comes last: it fails most, and what comes before it never fails to go back. */
static int config_parts(struct edc *e, const struct config *c, char *err, size_t err_bytes)
{
    struct server_settings s = settings(e, c);

    snprintf(err, err_bytes, "out of memory");
    if (issuer_config(e->issuer, c, err, err_bytes) != OK ||
        tokens_config(e->tokens, c, err, err_bytes) != OK ||
        token_server_config(e->token_server, c) != OK ||
        acl_config(e->acl, c, err, err_bytes) != OK ||
        refresh_config(e->refresh, c, err, err_bytes) != OK ||
        (e->server && server_config(e->server, &s, err, err_bytes) != OK)) {
        log_error("signaling", "%s", err);
        return ERR_CONFIG;
    }
    return OK;
}

int edc_config(struct edc *e, const struct config *c)
{
    char err[512];
    const struct config *old = e->config;

    if (config_parts(e, c, err, sizeof(err)) != OK) {
        /* Whoever signs must not have other keys than those who check. */
        if (config_parts(e, old, err, sizeof(err)) != OK)
            log_error("signaling", "parts of the new configuration stay in force");
        return ERR_CONFIG;
    }
    e->config = config_ref(c);
    config_unref(old);
    if (e->signaling)
        signaling_config(e->signaling, c);
    return OK;
}

void edc_metrics(const struct edc *e, signaling_metric_fn *line, void *arg)
{
    if (!e->signaling)
        return;
    signaling_metrics(e->signaling, line, arg);
    events_metrics(e->events, line, arg);
}

void edc_free(struct edc *e)
{
    if (!e)
        return;
    server_free(e->server);
    events_free(e->events);
    acl_free(e->acl);
    refresh_free(e->refresh);
    token_server_free(e->token_server);
    tokens_free(e->tokens);
    signaling_free(e->signaling); /* behind the tokens that it waits for */
    issuer_free(e->issuer);
    config_unref(e->config);
    sl_free(e);
}
