#include "edc/token_server.h"

#include <stdio.h>
#include <string.h>

#include "audit/audit.h"
#include "auth/issuer.h"
#include "auth/secret.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"
#include "config/values.h"
#include "control/body.h"
#include "control/oauth_ask.h"

#define SECOND_US UINT64_C(1000000)
#define FORM      "application/x-www-form-urlencoded"
#define URL_BYTES 512

/* What a client may still ask for. */
struct bucket {
    double left;
    uint64_t seen_us;
};

struct forward;

struct token_server {
    struct token_server_parts parts;
    const struct config *config; /* a reference */
    struct bucket *buckets;      /* one for each of tokens.clients */
    struct forward *forwards;
};

/* --- keys */

static void get_keys(void *arg, struct ask *a)
{
    const struct token_server *s = arg;

    ask_add_header(a, "Cache-Control", "public, max-age=60");
    ask_json(a, 200, issuer_jwks(s->parts.issuer));
}

/* The issuer's name is where its documents are found, so its name leads to everything else. */
static void get_metadata(void *arg, struct ask *a)
{
    const struct token_server *s = arg;
    char keys[URL_BYTES], token[URL_BYTES];
    const char *name;
    int n;

    if (!issuer_own(s->parts.issuer) ||
        value_url_fault(issuer_name(s->parts.issuer), s->config->development)) {
        ask_error(a, 404, "not_found", "there is no issuer with a URL for a name here");
        return;
    }
    name = issuer_name(s->parts.issuer);
    n = (int)strlen(name);
    while (n > 0 && name[n - 1] == '/')
        n--;
    snprintf(keys, sizeof(keys), "%.*s/.well-known/jwks.json", n, name);
    snprintf(token, sizeof(token), "%.*s/oauth2/token", n, name);
    ask_json(a, 200,
             issuer_metadata(s->parts.issuer, keys, s->config->tokens.nclients ? token : NULL));
}

/* --- clients */

/* Its place in tokens.clients; -1 when it is unknown, and the request has been answered. */
static int client_of(const struct token_server *s, struct ask *a, struct oauth_client *client)
{
    const struct tokens_config *c = &s->config->tokens;
    struct audit_event e = {.kind = AUDIT_AUTH_FAIL,
                            .reason = "signaling: no good client secret",
                            .client_address = ask_peer(a)};
    int found = -1;
    size_t i;

    if (oauth_client_read(a, client)) {
        for (i = 0; i < c->nclients; i++) {
            if (strcmp(c->clients[i].id, client->id) == 0 && c->clients[i].secret &&
                oauth_secret_is(c->clients[i].secret, client->secret))
                found = (int)i;
        }
    }
    if (found >= 0)
        return found;
    log_warn("oauth", "%s: %s: no good client secret", ask_peer(a), ask_path(a));
    if (s->parts.changes->audit)
        audit_put(s->parts.changes->audit, &e);
    ask_add_header(a, "WWW-Authenticate", "Basic realm=\"sluice\"");
    ask_error(a, 401, "invalid_client", "it takes a client of tokens.clients with its secret");
    return -1;
}

static bool may_have(struct token_server *s, int client)
{
    struct bucket *b = &s->buckets[client];
    uint64_t now = loop_clock_us(s->parts.loop);

    b->left += (double)(now - b->seen_us) / (double)SECOND_US * TOKEN_SERVER_RATE;
    if (b->left > TOKEN_SERVER_BURST)
        b->left = TOKEN_SERVER_BURST;
    b->seen_us = now;
    if (b->left < 1)
        return false;
    b->left -= 1;
    return true;
}

/* --- POST /oauth2/token */

static bool grant_type_ok(struct ask *a)
{
    char type[64];
    size_t n;
    const char *form = ask_body(a, &n);
    int len = body_form(form, n, "grant_type", type, sizeof(type));

    if (len > 0 && strcmp(type, "client_credentials") == 0)
        return true;
    if (len == ERR_UNKNOWN || len == ERR_MALFORMED)
        ask_error(a, 400, "invalid_request", "it takes one form field `grant_type`");
    else
        ask_error(a, 400, "unsupported_grant_type", "it takes client_credentials");
    return false;
}

static void hand_out(const struct token_server *s, struct ask *a, const char *client)
{
    char random[SECRET_TEXT_BYTES], subject[OAUTH_CLIENT_BYTES + SECRET_TEXT_BYTES];
    char jti[ISSUER_JTI_BYTES], *token = NULL;
    struct issue what = {.subject = subject, .client = client};
    int64_t now = loop_wall_s(s->parts.loop), expires;
    int rc = secret_make(random);

    /* Half of it is random enough, and is read by people. */
    snprintf(subject, sizeof(subject), "%s.%.22s", client, random);
    if (rc == OK)
        rc = issuer_sign(s->parts.issuer, &what, now, &token, &expires, jti);
    if (rc != OK) {
        ask_error(a, 503, "temporarily_unavailable", "try again");
        return;
    }
    log_info("oauth", "%s: client %s gets a token of subject %s", ask_peer(a), client, subject);
    ask_add_header(a, "Cache-Control", "no-store");
    ask_add_header(a, "Pragma", "no-cache");
    ask_json(a, 200,
             json_pack("{s:s, s:s, s:I}", "access_token", token, "token_type", "Bearer",
                       "expires_in", (json_int_t)(expires - now)));
    issuer_token_free(token);
}

static void post_token(void *arg, struct ask *a)
{
    struct token_server *s = arg;
    struct oauth_client client;
    int at;

    if (!ask_content_is(a, FORM))
        return;
    at = client_of(s, a, &client);
    oauth_client_wipe(&client);
    if (at < 0 || !grant_type_ok(a))
        return;
    if (!issuer_own(s->parts.issuer)) {
        ask_error(a, 400, "unsupported_grant_type", "sluice signs no tokens here");
    } else if (!may_have(s, at)) {
        ask_add_header(a, "Retry-After", "1");
        ask_error(a, 429, "slow_down", "too many tokens a second");
    } else {
        hand_out(s, a, s->config->tokens.clients[at].id);
    }
}

/* --- POST /oauth2/revoke */

/* A revocation under way, with whom to pass it on as. */
struct forward {
    struct token_server *server; /* NULL: it has gone meanwhile */
    struct forward *next, **prev;
    struct oauth_client client;
};

static void forward_free(struct forward *f)
{
    if (f->prev) {
        *f->prev = f->next;
        if (f->next)
            f->next->prev = f->prev;
    }
    oauth_client_wipe(&f->client);
    sl_free(f);
}

/* What is not ours may be the authorization server's, known here or not. */
static void on_revoked(void *arg, const char *issuer, const char *token)
{
    struct forward *f = arg;
    const struct token_server *s = f->server;

    if (s && token &&
        (!issuer_own(s->parts.issuer) || strcmp(issuer, issuer_name(s->parts.issuer)) != 0))
        tokens_forward(s->parts.tokens, token, f->client.id, f->client.secret);
    forward_free(f);
}

static void post_revoke(void *arg, struct ask *a)
{
    struct token_server *s = arg;
    const struct oauth_revoker r = {.loop = s->parts.loop,
                                    .changes = s->parts.changes,
                                    .arg = s->parts.arg,
                                    .keys = s->parts.keys,
                                    .unknown_kid = s->parts.unknown_kid};
    struct forward *f = sl_calloc(1, sizeof(*f));

    if (!f) {
        ask_error(a, 503, "out_of_memory", "try again");
        return;
    }
    if (client_of(s, a, &f->client) < 0) {
        forward_free(f);
        return;
    }
    f->server = s;
    f->next = s->forwards;
    f->prev = &s->forwards;
    if (f->next)
        f->next->prev = &f->next;
    s->forwards = f;
    oauth_revoke(&r, a, on_revoked, f);
}

/* --- life */

static struct bucket *buckets_new(const struct config *c)
{
    struct bucket *b = sl_calloc(c->tokens.nclients + 1, sizeof(*b));
    size_t i;

    for (i = 0; b && i < c->tokens.nclients; i++)
        b[i].left = TOKEN_SERVER_BURST;
    return b;
}

struct token_server *token_server_new(const struct token_server_parts *p, const struct config *c)
{
    struct token_server *s = sl_calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->parts = *p;
    s->buckets = buckets_new(c);
    if (!s->buckets) {
        sl_free(s);
        return NULL;
    }
    s->config = config_ref(c);
    return s;
}

int token_server_config(struct token_server *s, const struct config *c)
{
    struct bucket *b = buckets_new(c);
    const struct config *old = s->config;

    if (!b)
        return ERR_NOMEM;
    sl_free(s->buckets);
    s->buckets = b;
    s->config = config_ref(c);
    config_unref(old);
    return OK;
}

void token_server_free(struct token_server *s)
{
    struct forward *f;

    if (!s)
        return;
    while ((f = s->forwards) != NULL) { /* freed by those who still work at them */
        s->forwards = f->next;
        f->server = NULL;
        f->prev = NULL;
    }
    sl_free(s->buckets);
    config_unref(s->config);
    sl_free(s);
}

const struct route token_server_routes[] = {
    {"/.well-known/jwks.json", METHOD_GET, true, get_keys},
    {"/.well-known/openid-configuration", METHOD_GET, true, get_metadata},
    {"/.well-known/oauth-authorization-server", METHOD_GET, true, get_metadata},
    {"/oauth2/token", METHOD_POST, true, post_token},
    {"/oauth2/revoke", METHOD_POST, true, post_revoke},
};
const size_t token_server_nroutes = sizeof(token_server_routes) / sizeof(*token_server_routes);
