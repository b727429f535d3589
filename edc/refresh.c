#include "edc/refresh.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "audit/audit.h"
#include "auth/did.h"
#include "auth/http.h"
#include "auth/issuer.h"
#include "auth/jwt.h"
#include "auth/text.h"
#include "base/log.h"
#include "base/loop.h"
#include "config/outgoing.h"
#include "control/body.h"
#include "edc/proof.h"
#include "edc/refresh_token.h"

#define FORM        "application/x-www-form-urlencoded"
#define BEARER      "Bearer "
#define TOKEN_BYTES 128 /* a refresh token of ours has 43 characters */
#define BAD_GRANT   "the refresh token is none that this access token and consumer could use"
#define TRY_AGAIN   "try again"

/* A proof that was used. */
struct seen {
    char hash[SECRET_TEXT_BYTES]; /* of consumer and jti */
    int64_t until;
};

struct refresh {
    struct tokens_parts parts;
    const struct config *config; /* a reference */
    struct http *http;
    struct jwks **sets; /* of config->tokens.participants, in its order */
    struct exchange *exchanges;
    size_t nexchanges;
    struct seen *seen;
    size_t nseen;
};

/* One request under way. */
struct exchange {
    struct refresh *refresh; /* NULL: gone meanwhile */
    struct exchange *next, **prev;
    struct ask *ask;
    struct http_call *call;
    char *proof_text;
    struct proof proof;
    char token[TOKEN_BYTES];                          /* the refresh token asked with */
    char *access, refresh_token[REFRESH_TOKEN_BYTES]; /* the new ones */
    int64_t life_s;
};

/* --- the end of one */

static void exchange_free(struct exchange *x)
{
    if (x->prev) {
        *x->prev = x->next;
        if (x->next)
            x->next->prev = x->prev;
        if (x->refresh)
            x->refresh->nexchanges--;
    }
    http_cancel(x->call);
    proof_clear(&x->proof);
    if (x->proof_text)
        explicit_bzero(x->proof_text, strlen(x->proof_text));
    sl_free(x->proof_text);
    issuer_token_free(x->access);
    explicit_bzero(x->token, sizeof(x->token));
    explicit_bzero(x->refresh_token, sizeof(x->refresh_token));
    sl_free(x);
}

static void refuse(struct exchange *x, int status, const char *error, const char *why)
{
    log_info("refresh", "%s: refused: %s", ask_peer(x->ask), why);
    if (status == 401)
        ask_add_header(x->ask, "WWW-Authenticate", "Bearer error=\"invalid_token\"");
    ask_error(x->ask, status, error, why);
    exchange_free(x);
}

/* --- step 4 */

static void on_kept(void *arg, int result, unsigned closed)
{
    struct exchange *x = arg;

    (void)closed;
    if (result != OK) {
        refuse(x, 503, "temporarily_unavailable", "the new refresh token could not be kept");
        return;
    }
    ask_add_header(x->ask, "Cache-Control", "no-store");
    ask_add_header(x->ask, "Pragma", "no-cache");
    ask_json(x->ask, 200,
             json_pack("{s:s, s:s, s:I, s:I, s:s}", "access_token", x->access, "refresh_token",
                       x->refresh_token, "expires", (json_int_t)x->life_s, "expires_in",
                       (json_int_t)x->life_s, "token_type", "bearer"));
    exchange_free(x);
}

static void give(struct exchange *x, const struct grant *g, const struct refresh_note *note)
{
    struct refresh *r = x->refresh;
    const struct issue what = {
        .transfer = g->id,
        .participant = g->participant,
        .agreement = g->agreement,
        .asset = g->asset,
        .topics = (const char *const *)g->topics,
        .ntopics = g->ntopics,
        .group_prefix = g->group_prefix,
        .operations = g->operations,
        .expires = g->expires,
    };
    int64_t now = loop_wall_s(r->parts.loop), expires;
    char jti[ISSUER_JTI_BYTES];
    int rc = issuer_sign(r->parts.issuer, &what, now, &x->access, &expires, jti);

    x->life_s = expires - now;
    if (rc == OK)
        rc =
            refresh_token_put(r->parts.store, g->id, note->consumer, jti,
                              now + r->config->tokens.refresh_life_s, x->refresh_token, on_kept, x);
    if (rc == ERR_DENIED)
        refuse(x, 400, "invalid_grant", "the grant ends now");
    else if (rc != OK)
        refuse(x, 503, "temporarily_unavailable", TRY_AGAIN);
}

/* --- step 1, and once more in step 3 */

/* The grant that both tokens are for; NULL: there is none, or they are not what they should be. */
static const struct grant *tokens_belong(struct exchange *x, struct refresh_note *note)
{
    static struct identity id; /* large; the control thread's alone */
    struct refresh *r = x->refresh;
    struct keyring *keys = r->parts.keys(r->parts.arg);
    const char *access = x->proof.token;
    const struct grant *g = NULL;

    /* Its end doesn't matter: that is when it is refreshed. That it was taken back does. */
    if (keys && jwt_identify(access, strlen(access), keys, &id) == JWT_OK &&
        strcmp(id.issuer, issuer_name(r->parts.issuer)) == 0 && id.transfer[0] &&
        refresh_token_find(r->parts.store, id.transfer, note) && refresh_token_is(note, x->token) &&
        strcmp(note->jti, id.jti) == 0 && strcmp(note->consumer, x->proof.consumer) == 0 &&
        note->until > loop_wall_s(r->parts.loop))
        g = store_find_grant(r->parts.store, id.transfer, &id);
    if (keys)
        identity_clear(&id);
    keyring_unref(keys);
    return g;
}

/* --- step 3 */

/* OK and it is remembered; ERR_DENIED: it was here before; ERR_LIMIT, ERR_NOMEM. */
static int see(struct refresh *r, const struct proof *p, int64_t now)
{
    char text[DID_BYTES_MAX + 1 + IDENTITY_TEXT_MAX], hash[SECRET_TEXT_BYTES];
    size_t i = 0;
    int n = snprintf(text, sizeof(text), "%s\n%s", p->consumer, p->jti);

    if (n < 0 || (size_t)n >= sizeof(text))
        return ERR_DENIED; /* a jti as long as that is no id */
    if (secret_hash(text, hash) != OK)
        return ERR_NOMEM;
    while (i < r->nseen) {
        if (r->seen[i].until <= now) {
            r->seen[i] = r->seen[--r->nseen];
            continue;
        }
        if (strcmp(r->seen[i++].hash, hash) == 0)
            return ERR_DENIED;
    }
    if (r->nseen == REFRESH_PROOFS_MAX)
        return ERR_LIMIT;
    memcpy(r->seen[r->nseen].hash, hash, sizeof(hash));
    r->seen[r->nseen++].until = p->until;
    return OK;
}

static void prove(struct exchange *x, const struct jwks *keys)
{
    struct refresh *r = x->refresh;
    const char *why = proof_verify(&x->proof, keys);
    const struct grant *g;
    struct refresh_note note;
    int rc;

    if (why) {
        refuse(x, 401, "invalid_client", why);
        return;
    }
    g = tokens_belong(x, &note);
    if (!g) {
        refuse(x, 400, "invalid_grant", BAD_GRANT);
        return;
    }
    rc = see(r, &x->proof, loop_wall_s(r->parts.loop));
    if (rc == OK)
        give(x, g, &note);
    else if (rc == ERR_DENIED)
        refuse(x, 401, "invalid_client", "the proof was used before");
    else
        refuse(x, 503, "temporarily_unavailable", TRY_AGAIN);
}

/* --- step 2 */

static void on_document(void *arg, const struct http_answer *a)
{
    struct exchange *x = arg;
    struct jwks *keys = NULL;
    int rc;

    x->call = NULL;
    if (a->result != OK || a->status != 200) {
        log_warn("refresh", "%s: its DID document cannot be had: %s, status %d", x->proof.consumer,
                 a->why, a->status);
        refuse(x, 503, "temporarily_unavailable", "the DID document cannot be had");
        return;
    }
    rc = did_document_set(a->body, a->len, x->proof.consumer, x->proof.kid, &keys);
    if (rc == OK)
        prove(x, keys);
    else
        refuse(x, rc == ERR_NOMEM ? 503 : 401, "invalid_client",
               rc == ERR_UNKNOWN ? "the DID document has no such key"
                                 : "the DID document cannot be used");
    jwks_unref(keys);
}

static void fetch_document(struct exchange *x, const char *url)
{
    const struct http_request q = {.url = url, .limit_bytes = DID_DOCUMENT_BYTES_MAX};
    int rc;

    if (!outgoing_allowed(x->refresh->config, url)) {
        refuse(x, 401, "invalid_client", "the DID's host is not one that is asked");
        return;
    }
    rc = http_start(x->refresh->http, &q, on_document, x, &x->call);
    if (rc != OK)
        refuse(x, 503, "temporarily_unavailable", TRY_AGAIN);
}

static void find_keys(struct exchange *x)
{
    const struct refresh *r = x->refresh;
    const struct token_participant_config *known = did_participant(r->config, x->proof.consumer);
    char url[DID_URL_BYTES];
    struct jwks *keys = NULL;

    if (known)
        prove(x, r->sets[known - r->config->tokens.participants]);
    else if (did_web_url(x->proof.consumer, r->config->development, url) == OK)
        fetch_document(x, url);
    else if (did_key_set(x->proof.consumer, x->proof.kid, &keys) == OK)
        prove(x, keys);
    else
        refuse(x, 401, "invalid_client", "the consumer's keys are not known");
    jwks_unref(keys);
}

/* --- the beginning */

/* NULL, or what is wrong with the form. */
static const char *form_read(struct exchange *x)
{
    char type[64];
    size_t n;
    const char *form = ask_body(x->ask, &n);

    if (body_form(form, n, "grant_type", type, sizeof(type)) <= 0 ||
        strcmp(type, "refresh_token") != 0)
        return "it takes one form field `grant_type`, which is refresh_token";
    if (body_form(form, n, "refresh_token", x->token, sizeof(x->token)) <= 0)
        return "it takes one form field `refresh_token`";
    return NULL;
}

static void begin(struct exchange *x)
{
    const struct refresh *r = x->refresh;
    const char *header = ask_header(x->ask, "Authorization"), *why = form_read(x);
    struct refresh_note note;

    if (why) {
        refuse(x, 400, "invalid_request", why);
        return;
    }
    if (!header || strncasecmp(header, BEARER, strlen(BEARER)) != 0) {
        refuse(x, 401, "invalid_client", "it takes the consumer's own JWT as bearer token");
        return;
    }
    x->proof_text = text_dup(header + strlen(BEARER));
    if (!x->proof_text) {
        refuse(x, 503, "temporarily_unavailable", TRY_AGAIN);
        return;
    }
    why = proof_read(&x->proof, x->proof_text, strlen(x->proof_text),
                     r->config->tokens.refresh_audience, loop_wall_s(r->parts.loop));
    if (why)
        refuse(x, 401, "invalid_client", why);
    else if (!tokens_belong(x, &note))
        refuse(x, 400, "invalid_grant", BAD_GRANT);
    else
        find_keys(x);
}

static void post_refresh(void *arg, struct ask *a)
{
    struct refresh *r = arg;
    struct exchange *x;

    if (!r->config->tokens.refresh_url || !issuer_own(r->parts.issuer)) {
        ask_error(a, 404, "not_found", "tokens are not refreshed here");
        return;
    }
    if (!ask_content_is(a, FORM))
        return;
    x = r->nexchanges < REFRESH_ASKS_MAX ? sl_calloc(1, sizeof(*x)) : NULL;
    if (!x) {
        ask_error(a, 503, "temporarily_unavailable", TRY_AGAIN);
        return;
    }
    x->refresh = r;
    x->ask = a;
    x->next = r->exchanges;
    x->prev = &r->exchanges;
    if (x->next)
        x->next->prev = &x->next;
    r->exchanges = x;
    r->nexchanges++;
    begin(x);
}

/* --- life */

static void sets_free(struct jwks **sets, size_t n)
{
    size_t i;

    for (i = 0; sets && i < n; i++)
        jwks_unref(sets[i]);
    sl_free(sets);
}

static struct jwks **sets_new(const struct config *c, char *err, size_t err_bytes)
{
    struct jwks **sets = sl_calloc(c->tokens.nparticipants + 1, sizeof(struct jwks *));
    char why[128] = "out of memory";
    unsigned ignored;
    size_t i, n;

    for (i = 0; sets && i < c->tokens.nparticipants; i++) {
        const char *file = c->tokens.participants[i].jwks_file;
        char *text = jwks_file_read(file, &n, why, sizeof(why));
        int rc = text ? jwks_parse(text, n, &sets[i], &ignored, why, sizeof(why)) : ERR_IO;

        sl_free(text);
        if (rc != OK) {
            snprintf(err, err_bytes, "tokens.refresh.participants: %s: %s", file, why);
            sets_free(sets, c->tokens.nparticipants);
            return NULL;
        }
    }
    if (!sets)
        snprintf(err, err_bytes, "refresh: out of memory");
    return sets;
}

/* What fetches a document goes on with the authorities of before; calls are short. */
static bool same_ca(const struct refresh *r, const struct config *c)
{
    const char *a = r->config->outgoing.ca, *b = c->outgoing.ca;

    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void drop_calls(struct refresh *r)
{
    size_t n = r->nexchanges;
    struct exchange *x = r->exchanges, *next;

    for (; n > 0 && x; n--, x = next) {
        next = x->next;
        if (x->call)
            refuse(x, 503, "temporarily_unavailable", TRY_AGAIN);
    }
}

int refresh_config(struct refresh *r, const struct config *c, char *err, size_t err_bytes)
{
    const struct config *old = r->config;
    struct jwks **sets = sets_new(c, err, err_bytes);
    struct http *http = r->http;

    if (!sets)
        return ERR_CONFIG;
    if (!http || !same_ca(r, c))
        http = http_new(r->parts.loop, c->development, c->outgoing.ca);
    if (!http) {
        snprintf(err, err_bytes, "refresh: out of memory");
        sets_free(sets, c->tokens.nparticipants);
        return ERR_NOMEM;
    }
    if (http != r->http && r->http) {
        drop_calls(r);
        http_free(r->http);
    }
    r->http = http;
    sets_free(r->sets, old ? old->tokens.nparticipants : 0);
    r->sets = sets;
    r->config = config_ref(c);
    config_unref(old);
    return OK;
}

struct refresh *refresh_new(const struct tokens_parts *p, const struct config *c, char *err,
                            size_t err_bytes)
{
    struct refresh *r = sl_calloc(1, sizeof(*r));

    snprintf(err, err_bytes, "refresh: out of memory");
    if (!r)
        return NULL;
    r->parts = *p;
    r->seen = sl_calloc(REFRESH_PROOFS_MAX, sizeof(*r->seen));
    if (r->seen && refresh_config(r, c, err, err_bytes) == OK)
        return r;
    refresh_free(r);
    return NULL;
}

void refresh_free(struct refresh *r)
{
    struct exchange *x, *next;

    if (!r)
        return;
    for (x = r->exchanges; x; x = next) {
        next = x->next;
        /* What the store still keeps for it answers by itself, later. */
        x->refresh = NULL;
        x->prev = NULL;
        if (x->call)
            refuse(x, 503, "temporarily_unavailable", TRY_AGAIN);
    }
    sets_free(r->sets, r->config ? r->config->tokens.nparticipants : 0);
    http_free(r->http);
    sl_free(r->seen);
    config_unref(r->config);
    sl_free(r);
}

const struct route refresh_routes[] = {
    {"/refresh/token", METHOD_POST, true, post_refresh},
};
const size_t refresh_nroutes = sizeof(refresh_routes) / sizeof(*refresh_routes);
