/* One token from an authorization server: registered for where that is configured (RFC 7591), asked
 * for with client credentials (RFC 6749, 4.4), verified, handed on. All within TOKENS_DEADLINE_MS.
 *
 *   start -> [register] -> ask -> (once more, secret in the form) -> verify -> done
 *                                                                     ^  |  unknown key: again
 *                                                                     +--+
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/jwt.h"
#include "auth/oauth.h"
#include "auth/strict_json.h"
#include "auth/text.h"
#include "base/log.h"
#include "base/loop.h"
#include "config/outgoing.h"
#include "edc/tokens_priv.h"

#define VERIFY_AGAIN_US     UINT64_C(100000)
#define FORM_BYTES          ((size_t)8192)
#define HEADER_BYTES        ((size_t)4096)
#define REGISTRATION_ANSWER ((size_t)64 * 1024)

enum { TRANSFER, URL, ID, SECRET, REVOKE_URL, TOKEN, TEXTS };

struct token_fetch {
    struct tokens *tokens;
    struct token_fetch *next, **prev;
    char *texts[TEXTS]; /* NULL: none; SECRET and TOKEN are secret, all are wiped */
    struct http_call *call;
    struct loop_timer *deadline, *again;
    struct loop_task given_up;
    bool registering; /* the server may have a client that we don't know yet */
    bool registered;  /* a client of this fetch's own */
    bool in_form;
    int64_t expires;
    tokens_done_fn *done; /* NULL: told already */
    void *arg;
};

/* --- the end */

static void token_fetch_free(struct token_fetch *f)
{
    size_t i;

    if (f->prev) {
        *f->prev = f->next;
        if (f->next)
            f->next->prev = f->prev;
        f->tokens->nfetches--;
    }
    http_cancel(f->call);
    loop_timer_free(f->deadline);
    loop_timer_free(f->again);
    loop_cancel(&f->given_up);
    for (i = 0; i < TEXTS; i++) {
        if (f->texts[i])
            explicit_bzero(f->texts[i], strlen(f->texts[i]));
        sl_free(f->texts[i]);
    }
    sl_free(f);
}

static void tell(struct token_fetch *f, const struct token_answer *a)
{
    tokens_done_fn *done = f->done;

    f->done = NULL;
    if (done)
        done(f->arg, a);
}

static void fail(struct token_fetch *f, int result, const char *why)
{
    const struct token_answer a = {.result = result, .why = why};

    if (f->done)
        log_warn("tokens", "no token for transfer %s from %s: %s", f->texts[TRANSFER],
                 f->texts[URL], why);
    if (f->registered)
        client_end_one(f->tokens, f->texts[ID]);
    tell(f, &a);
    token_fetch_free(f);
}

/* Nobody waits any longer. A registration under way is waited for: its client has to go again. */
static void give_up(struct token_fetch *f, int result, const char *why)
{
    const struct token_answer a = {.result = result, .why = why};

    if (!f->registering) {
        fail(f, result, why);
        return;
    }
    log_warn("tokens", "no token for transfer %s from %s: %s", f->texts[TRANSFER], f->texts[URL],
             why);
    tell(f, &a);
}

static void on_deadline(void *arg)
{
    give_up(arg, ERR_TIMEOUT, "the authorization server did not answer in time");
}

static void on_given_up(void *arg)
{
    struct token_fetch *f = arg;

    if (f->done)
        give_up(f, ERR_DENIED, "the transfer has ended");
}

void token_fetch_give_up(struct tokens *t, const char *transfer)
{
    struct token_fetch *f;

    for (f = t->fetches; f; f = f->next) {
        if (strcmp(f->texts[TRANSFER], transfer) == 0)
            loop_post(t->parts.loop, &f->given_up);
    }
}

void token_fetch_fail_all(struct tokens *t)
{
    size_t n = t->nfetches; /* whoever hears of it may ask anew */

    for (; n > 0 && t->fetches; n--)
        fail(t->fetches, ERR_BUSY, "the options changed");
}

void token_fetch_free_all(struct tokens *t)
{
    while (t->fetches)
        token_fetch_free(t->fetches);
}

/* --- verifying */

static void succeed(struct token_fetch *f, const struct identity *id)
{
    struct tokens *t = f->tokens;
    const struct token_answer a = {
        .result = OK,
        .why = "",
        .token = f->texts[TOKEN],
        .issued_s = id->issued,
        .expires_s = id->expires,
        .issuer = id->issuer,
        .subject = id->subject,
        .client = id->client,
        .jti = id->jti,
    };

    if (f->registered)
        client_end(t, f->texts[TRANSFER], f->texts[ID]);
    else
        held_add(t, f->texts[TRANSFER], f->texts[TOKEN], id->expires, f->texts[REVOKE_URL],
                 f->texts[ID], f->texts[SECRET]);
    tell(f, &a);
    token_fetch_free(f);
}

/* What the server answered is believed as far as a client's token would be, and no further. */
static void verify(void *arg)
{
    static struct identity id; /* large; the control thread's alone */
    struct token_fetch *f = arg;
    struct tokens *t = f->tokens;
    struct keyring *keys = t->parts.keys(t->parts.arg);
    enum jwt_verdict v =
        keys ? jwt_identify(f->texts[TOKEN], strlen(f->texts[TOKEN]), keys, &id) : JWT_NO_KEYS;

    if (v == JWT_OK &&
        (!t->config->tokens.issuer || strcmp(id.issuer, t->config->tokens.issuer) != 0))
        fail(f, ERR_MALFORMED, "the token is of another issuer than tokens.issuer");
    else if (v == JWT_OK && id.expires <= loop_wall_s(t->parts.loop))
        fail(f, ERR_MALFORMED, "the token has expired");
    else if (v == JWT_OK)
        succeed(f, &id);
    else if (!jwt_verdict_retriable(v))
        fail(f, ERR_MALFORMED, jwt_verdict_name(v));
    else {
        if (v == JWT_KEY && t->parts.unknown_kid)
            t->parts.unknown_kid(t->parts.arg, id.issuer);
        if (loop_timer_set(f->again, VERIFY_AGAIN_US) != OK)
            fail(f, ERR_NOMEM, jwt_verdict_name(v));
    }
    identity_clear(&id);
    keyring_unref(keys);
}

/* --- asking */

static int ask(struct token_fetch *f);

static void on_token(void *arg, const struct http_answer *a)
{
    struct token_fetch *f = arg;
    struct oauth_answer token = {0};
    char refusal[OAUTH_WHY_BYTES];
    const char *why;

    f->call = NULL;
    if (a->result != OK) {
        fail(f, a->result, a->why);
        return;
    }
    if ((a->status == 400 || a->status == 401) && !f->in_form) {
        f->in_form = true; /* some servers take a secret in the form only */
        if (ask(f) != OK)
            fail(f, ERR_BUSY, "too many calls under way");
        return;
    }
    if (a->status != 200) {
        fail(f, a->status >= 500 ? ERR_IO : ERR_DENIED,
             oauth_refusal(a->status, a->body, a->len, refusal));
        return;
    }
    why = oauth_answer_read(a->body, a->len, &token);
    if (!why)
        f->texts[TOKEN] = text_dup(token.token);
    oauth_answer_clear(&token);
    if (why || !f->texts[TOKEN])
        fail(f, why ? ERR_MALFORMED : ERR_NOMEM, why ? why : "out of memory");
    else
        verify(f);
}

static int form_of(const struct token_fetch *f, char *form)
{
    const char *scope = f->tokens->config->tokens.scope;
    int rc;

    form[0] = '\0';
    rc = http_form_add(form, FORM_BYTES, "grant_type", "client_credentials");
    if (rc == OK && scope)
        rc = http_form_add(form, FORM_BYTES, "scope", scope);
    if (rc == OK && f->in_form)
        rc = http_form_add(form, FORM_BYTES, "client_id", f->texts[ID]);
    if (rc == OK && f->in_form)
        rc = http_form_add(form, FORM_BYTES, "client_secret", f->texts[SECRET]);
    return rc;
}

static int ask(struct token_fetch *f)
{
    char form[FORM_BYTES];
    struct http_request r = {.url = f->texts[URL], .body = form, .limit_bytes = OAUTH_ANSWER_BYTES};
    int rc = form_of(f, form);

    if (!f->in_form) {
        r.user = f->texts[ID];
        r.password = f->texts[SECRET];
    }
    if (rc == OK)
        rc = http_start(f->tokens->http, &r, on_token, f, &f->call);
    explicit_bzero(form, sizeof(form));
    return rc;
}

/* --- registering */

/* The URI came in a message, so it leads to where clients are registered, or to a host that is
 * allowed. */
static bool uri_ok(const struct config *c, const char *uri)
{
    return outgoing_same_origin(uri, c->tokens.registration_url) || outgoing_allowed(c, uri);
}

/* NULL, or why the client cannot be used. */
static const char *take_client(struct token_fetch *f, const json_t *doc)
{
    const struct registered r = {strict_json_text(doc, "client_id"),
                                 strict_json_text(doc, "registration_client_uri"),
                                 strict_json_text(doc, "registration_access_token")};
    const char *secret = strict_json_text(doc, "client_secret");

    if (!r.client_id || !*r.client_id || !secret || !*secret)
        return "the registration gave no client_id and client_secret";
    if (!r.uri || !r.token || !uri_ok(f->tokens->config, r.uri)) {
        log_error("tokens", "client %s was registered at %s and cannot be deleted: please do it",
                  r.client_id, f->tokens->config->tokens.registration_url);
        return "the registration gave no way to delete the client";
    }
    f->texts[ID] = text_dup(r.client_id);
    f->texts[SECRET] = text_dup(secret);
    if (!f->texts[ID] || !f->texts[SECRET] || client_add(f->tokens, f->texts[TRANSFER], &r) != OK) {
        log_error("tokens",
                  "client %s of %s could not be kept; if it stays there, please delete it",
                  r.client_id, f->tokens->config->tokens.registration_url);
        return "there is no room to keep the client";
    }
    f->registered = true;
    return NULL;
}

static void on_registered(void *arg, const struct http_answer *a)
{
    struct token_fetch *f = arg;
    char refusal[OAUTH_WHY_BYTES];
    const char *why = NULL;
    json_t *doc;

    f->call = NULL;
    f->registering = false;
    if (a->result != OK) {
        fail(f, a->result, a->why);
        return;
    }
    if (a->status != 201 && a->status != 200) {
        fail(f, a->status >= 500 ? ERR_IO : ERR_DENIED,
             oauth_refusal(a->status, a->body, a->len, refusal));
        return;
    }
    doc = strict_json_object(a->body, a->len, REGISTRATION_ANSWER);
    why = doc ? take_client(f, doc) : "the registration's answer is not strict JSON";
    json_decref(doc);
    if (why)
        fail(f, ERR_MALFORMED, why);
    else if (!f->done)
        fail(f, ERR_TIMEOUT, ""); /* too late for whoever asked */
    else if (ask(f) != OK)
        fail(f, ERR_BUSY, "too many calls under way");
}

static char *registration_of(const struct token_fetch *f)
{
    const char *scope = f->tokens->config->tokens.scope;
    json_t *doc = json_pack("{s:s+, s:[s], s:[], s:s}", "client_name", "sluice: transfer ",
                            f->texts[TRANSFER], "grant_types", "client_credentials",
                            "response_types", "token_endpoint_auth_method", "client_secret_basic");
    char *text = NULL;

    if (doc && (!scope || json_object_set_new(doc, "scope", json_string(scope)) == 0))
        text = json_dumps(doc, JSON_COMPACT);
    json_decref(doc);
    return text;
}

static int enroll(struct token_fetch *f)
{
    const struct tokens_config *c = &f->tokens->config->tokens;
    char header[HEADER_BYTES], *body = registration_of(f);
    struct http_request r = {.url = c->registration_url,
                             .body = body,
                             .type = "application/json",
                             .limit_bytes = REGISTRATION_ANSWER};
    int rc = body ? OK : ERR_NOMEM;
    int n = 0;

    if (c->registration_token) {
        n = snprintf(header, sizeof(header), "Authorization: Bearer %s", c->registration_token);
        r.header = header;
    }
    if (n < 0 || (size_t)n >= sizeof(header))
        rc = ERR_LIMIT;
    if (rc == OK)
        rc = http_start(f->tokens->http, &r, on_registered, f, &f->call);
    f->registering = rc == OK;
    explicit_bzero(header, sizeof(header));
    free(body);
    return rc;
}

/* --- the beginning */

static bool is_text(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static const char *given(const char *text)
{
    return text && *text ? text : NULL;
}

/* What the data address says, as far as it may: a secret that is known by its name goes to the one
 * place that it is for, one in clear to a host that is allowed. NULL, or why not. */
static const char *credentials(const struct config *c, const struct token_ask *ask_for,
                               const char **url, const char **secret)
{
    const char *key = given(ask_for->client_secret_key), *asked = given(ask_for->token_url);
    size_t i;

    *url = asked ? asked : c->tokens.token_url;
    *secret = given(ask_for->client_secret);
    if (!given(ask_for->client_id))
        return "the data address names no clientId";
    if (*secret) {
        if (!*url)
            return "the data address names no tokenUrl";
        return is_text(*url, c->tokens.token_url) || outgoing_allowed(c, *url)
                   ? NULL
                   : "the data address's tokenUrl is not in outgoing.hosts";
    }
    if (!key)
        return "the data address names no client secret";
    for (i = 0; i < c->tokens.nsecrets; i++) {
        const struct token_secret_config *s = &c->tokens.secrets[i];

        if (strcmp(s->name, key) != 0)
            continue;
        *secret = s->secret;
        *url = s->token_url;
        return asked && strcmp(asked, s->token_url) != 0
                   ? "the data address's tokenUrl is not the one that its secret is for"
                   : NULL;
    }
    return "the data address names a secret that is not in tokens.secrets";
}

/* Where the token is taken back; the client's secret goes along, so the same care is taken. */
static const char *revoke_url(const struct config *c, const struct token_ask *ask_for,
                              const char *token_url)
{
    const char *asked = given(ask_for->revoke_url);

    if (!asked || is_text(asked, c->tokens.revoke_url))
        return c->tokens.revoke_url;
    if (outgoing_same_origin(asked, token_url) ||
        (given(ask_for->client_secret) && outgoing_allowed(c, asked)))
        return asked;
    log_warn("tokens", "transfer %s: its revokeUrl is not in outgoing.hosts, so it is not used",
             ask_for->transfer);
    return c->tokens.revoke_url;
}

static bool keep(struct token_fetch *f, int which, const char *text)
{
    if (text)
        f->texts[which] = text_dup(text);
    return !text || f->texts[which];
}

static struct token_fetch *token_fetch_new(struct tokens *t, tokens_done_fn *done, void *arg)
{
    struct token_fetch *f = sl_calloc(1, sizeof(*f));

    if (!f)
        return NULL;
    f->tokens = t;
    f->done = done;
    f->arg = arg;
    loop_task_init(&f->given_up, on_given_up, f);
    f->deadline = loop_timer_new(t->parts.loop, on_deadline, f);
    f->again = loop_timer_new(t->parts.loop, verify, f);
    if (f->deadline && f->again)
        return f;
    token_fetch_free(f);
    return NULL;
}

static void token_fetch_link(struct token_fetch *f)
{
    struct tokens *t = f->tokens;

    f->next = t->fetches;
    f->prev = &t->fetches;
    if (f->next)
        f->next->prev = &f->next;
    t->fetches = f;
    t->nfetches++;
}

int token_fetch_start(struct tokens *t, const struct token_ask *ask_for, tokens_done_fn *done,
                      void *arg)
{
    const struct config *c = t->config;
    bool enrolls = c->tokens.source == TOKENS_REGISTRATION;
    const char *url = c->tokens.token_url, *secret = NULL;
    const char *why = enrolls ? NULL : credentials(c, ask_for, &url, &secret);
    struct token_answer refused = {.result = ERR_CONFIG, .why = why};
    struct token_fetch *f;
    int rc = ERR_NOMEM;

    if (why) {
        log_warn("tokens", "no token for transfer %s: %s", ask_for->transfer, why);
        done(arg, &refused);
        return OK;
    }
    if (t->nfetches >= TOKENS_ASKS_MAX)
        return ERR_BUSY;
    f = token_fetch_new(t, done, arg);
    if (!f)
        return ERR_NOMEM;
    if (keep(f, TRANSFER, ask_for->transfer) && keep(f, URL, url) &&
        (enrolls || (keep(f, ID, ask_for->client_id) && keep(f, SECRET, secret) &&
                     keep(f, REVOKE_URL, revoke_url(c, ask_for, url)))))
        rc = loop_timer_set(f->deadline, TOKENS_DEADLINE_MS * UINT64_C(1000));
    if (rc == OK)
        rc = enrolls ? enroll(f) : ask(f);
    if (rc != OK) {
        token_fetch_free(f);
        return rc == ERR_MALFORMED ? ERR_CONFIG : rc;
    }
    token_fetch_link(f);
    return OK;
}
