#include "edc/tokens.h"

#include <stdio.h>
#include <string.h>

#include "auth/did.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"
#include "edc/refresh_token.h"
#include "edc/tokens_priv.h"

#define SECOND_US UINT64_C(1000000)

/* --- signed here */

static const char *given(const char *text)
{
    return text && *text ? text : NULL;
}

/* Behind the token in the answer. Without one the consumer asks for a new EDR in time. */
static bool add_refresh(struct tokens *t, const struct token_ask *ask, const char *jti,
                        char token[REFRESH_TOKEN_BYTES])
{
    const char *consumer = given(ask->consumer) ? ask->consumer : ask->participant;
    int64_t until = loop_wall_s(t->parts.loop) + t->config->tokens.refresh_life_s;
    int rc;

    if (!t->config->tokens.refresh_url || !given(consumer) ||
        strlen(consumer) >= REFRESH_CONSUMER_BYTES)
        return false;
    if (!did_provable(t->config, consumer)) {
        log_info("tokens",
                 "transfer %s: no refresh token, since its consumer has no DID that may "
                 "be resolved and no keys in tokens.refresh.participants",
                 ask->transfer);
        return false;
    }
    /* Not waited for: the grant, which comes next, is on the disk no sooner than this. */
    rc = refresh_token_put(t->parts.store, ask->transfer, consumer, jti, until, token, NULL, NULL);
    if (rc != OK)
        log_warn("tokens", "transfer %s: no refresh token: %s", ask->transfer, err_name(rc));
    return rc == OK;
}

static const char *why_unsigned(int result)
{
    if (result == ERR_CONFIG)
        return "no entry of `issuers` has `signing_keys`";
    if (result == ERR_DENIED)
        return "the grant ends before its token would begin";
    return result == ERR_LIMIT ? "the token would be too long" : "out of memory";
}

static void sign(struct tokens *t, const struct token_ask *ask, tokens_done_fn *done, void *arg)
{
    const struct issue what = {
        .transfer = ask->transfer,
        .participant = ask->participant,
        .agreement = ask->agreement,
        .asset = ask->asset,
        .topics = ask->topics,
        .ntopics = ask->ntopics,
        .group_prefix = ask->group_prefix,
        .operations = ask->operations,
        .not_before_iat = ask->not_before_iat,
        .expires = ask->expires,
    };
    char *token, jti[ISSUER_JTI_BYTES], refresh[REFRESH_TOKEN_BYTES];
    struct token_answer a = {.why = ""};

    a.result =
        issuer_sign(t->parts.issuer, &what, loop_wall_s(t->parts.loop), &token, &a.expires_s, jti);
    if (a.result == OK) {
        a.token = token;
        a.issued_s = loop_wall_s(t->parts.loop);
        if (a.issued_s < ask->not_before_iat)
            a.issued_s = ask->not_before_iat;
        a.issuer = issuer_name(t->parts.issuer);
        a.subject = ask->transfer;
        a.client = "";
        a.jti = jti;
    } else {
        a.why = why_unsigned(a.result);
        log_warn("tokens", "no token for transfer %s: %s", ask->transfer, a.why);
    }
    if (a.result == OK && add_refresh(t, ask, jti, refresh)) {
        a.refresh_token = refresh;
        a.refresh_endpoint = t->config->tokens.refresh_url;
        a.refresh_audience = t->config->tokens.refresh_audience;
    }
    done(arg, &a);
    explicit_bzero(refresh, sizeof(refresh));
    issuer_token_free(token);
}

int tokens_get(struct tokens *t, const struct token_ask *ask, tokens_done_fn *done, void *arg)
{
    if (!given(ask->transfer))
        return ERR_MALFORMED;
    if (t->config->tokens.source != TOKENS_OWN)
        return token_fetch_start(t, ask, done, arg);
    sign(t, ask, done, arg);
    return OK;
}

void tokens_end(struct tokens *t, const char *transfer)
{
    refresh_token_end(t->parts.store, transfer);
    token_fetch_give_up(t, transfer);
    client_end(t, transfer, NULL);
    held_end(t, transfer);
}

void tokens_forward(struct tokens *t, const char *token, const char *client_id,
                    const char *client_secret)
{
    const char *url = t->config->tokens.revoke_url;
    int rc = url ? held_revoke(t, url, token, client_id, client_secret) : OK;

    if (rc != OK)
        log_warn("tokens", "a revocation is not passed on to %s: %s", url, err_name(rc));
}

/* --- life */

static void on_sweep(void *arg)
{
    struct tokens *t = arg;

    refresh_token_sweep(t->parts.store, loop_wall_s(t->parts.loop));
    held_sweep(t);
    client_sweep(t);
    if (loop_timer_set(t->sweep, TOKENS_SWEEP_S * SECOND_US) != OK)
        log_error("tokens", "no timer: what is left over stays until a restart");
}

struct tokens *tokens_new(const struct tokens_parts *p, const struct config *c, char *err,
                          size_t err_bytes)
{
    struct tokens *t = sl_calloc(1, sizeof(*t));

    snprintf(err, err_bytes, "tokens: out of memory");
    if (!t)
        return NULL;
    t->parts = *p;
    t->config = config_ref(c);
    t->http = http_new(p->loop, c->development, c->outgoing.ca);
    t->chores = chores_new(p->loop, c->development, c->outgoing.ca, TOKENS_CHORES_MAX);
    t->sweep = loop_timer_new(p->loop, on_sweep, t);
    if (!t->http || !t->chores || !t->sweep ||
        loop_timer_set(t->sweep, TOKENS_SWEEP_FIRST_S * SECOND_US) != OK) {
        tokens_free(t);
        return NULL;
    }
    client_load(t);
    return t;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* A CA file of the same name is read anew with each call, so only another name is a change. */
int tokens_config(struct tokens *t, const struct config *c, char *err, size_t err_bytes)
{
    const struct config *old = t->config;
    struct http *http;

    if (!same_text(old->outgoing.ca, c->outgoing.ca)) {
        http = http_new(t->parts.loop, c->development, c->outgoing.ca);
        if (!http || chores_trust(t->chores, c->development, c->outgoing.ca) != OK) {
            http_free(http);
            snprintf(err, err_bytes, "tokens: out of memory");
            return ERR_NOMEM;
        }
        token_fetch_fail_all(t);
        http_free(t->http);
        t->http = http;
    }
    t->config = config_ref(c);
    config_unref(old);
    return OK;
}

void tokens_free(struct tokens *t)
{
    if (!t)
        return;
    chores_free(t->chores);
    token_fetch_free_all(t);
    client_free_all(t);
    held_free_all(t);
    http_free(t->http);
    loop_timer_free(t->sweep);
    config_unref(t->config);
    sl_free(t);
}
