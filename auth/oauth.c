#include "auth/oauth.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "auth/http.h"
#include "auth/strict_json.h"
#include "auth/text.h"
#include "base/log.h"
#include "base/loop.h"

#define SECOND_US          UINT64_C(1000000)
#define FORM_BYTES_MAX     8192
#define RETRY_MAX_S        60
#define REFRESH_INTERVAL_S 10
#define LIFE_MAX_S         (INT64_C(366) * 24 * 3600)
#define LIFE_MARGIN_S      INT64_C(10) /* a new token is there so long before the old one ends */

struct oauth_source {
    struct loop *loop;
    struct http *http;
    struct http_call *call;
    struct loop_timer *timer;
    char *url, *client_id, *client_secret, *scope;
    bool in_form;  /* credentials go in the form */
    bool switched; /* tried the other way since the last token */
    unsigned failures;
    uint64_t asked_us;
    int64_t expires; /* of the last token; 0: none */
    oauth_token_fn *fn;
    void *arg;
};

static void ask_in(struct oauth_source *s, uint64_t delay_s)
{
    if (loop_timer_set(s->timer, delay_s * SECOND_US) != OK)
        log_error("oauth", "no timer: no further token will be fetched");
}

static void failed(struct oauth_source *s, const char *why)
{
    uint64_t delay_s = s->failures < 6 ? UINT64_C(1) << s->failures : RETRY_MAX_S;

    if (delay_s > RETRY_MAX_S)
        delay_s = RETRY_MAX_S;
    s->failures++;
    log_warn("oauth", "no token from %s: %s; next try in %u s", s->url, why, (unsigned)delay_s);
    ask_in(s, delay_s);
}

/* RFC 6750 b64token, what SASL can carry. */
static bool token_ok(const char *token)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/";
    size_t n = strspn(token, allowed);

    return n > 0 && token[n + strspn(token + n, "=")] == '\0' && strlen(token) <= OAUTH_TOKEN_MAX;
}

/* jansson's copy of the token, before it goes back to the heap. */
static void wipe_text(const json_t *string)
{
    union {
        const void *read;
        void *write;
    } text = {.read = json_string_value(string)};

    if (text.read)
        OPENSSL_cleanse(text.write, json_string_length(string));
}

const char *oauth_answer_read(const char *text, size_t n, struct oauth_answer *out)
{
    const char *type;
    const json_t *life;

    out->doc = strict_json_object(text, n, OAUTH_ANSWER_BYTES);
    out->token = strict_json_text(out->doc, "access_token");
    type = strict_json_text(out->doc, "token_type");
    life = json_object_get(out->doc, "expires_in");
    out->life_s = life ? (int64_t)json_integer_value(life) : OAUTH_LIFE_DEFAULT_S;
    if (out->life_s > LIFE_MAX_S)
        out->life_s = LIFE_MAX_S;
    if (!out->doc)
        return "the answer is not strict JSON";
    if (!out->token || !token_ok(out->token))
        return "the answer holds no usable access_token";
    if (!type || strcasecmp(type, "Bearer") != 0)
        return "the token is not of type Bearer";
    if ((life && !json_is_integer(life)) || out->life_s < 1)
        return "expires_in makes no sense";
    return NULL;
}

void oauth_answer_clear(struct oauth_answer *a)
{
    wipe_text(json_object_get(a->doc, "access_token"));
    json_decref(a->doc);
    a->doc = NULL;
    a->token = NULL;
}

const char *oauth_refusal(int status, const char *text, size_t n, char *out)
{
    json_t *doc = strict_json_object(text, n, OAUTH_ANSWER_BYTES);
    const char *error = strict_json_text(doc, "error");

    snprintf(out, OAUTH_WHY_BYTES, "status %d, %.64s", status, error ? error : "no error code");
    json_decref(doc);
    return out;
}

static const char *take(struct oauth_source *s, const char *text, size_t n)
{
    struct oauth_answer a;
    const char *why = oauth_answer_read(text, n, &a);
    int64_t life_s = a.life_s;

    if (!why) {
        s->failures = 0;
        s->switched = false;
        s->expires = loop_wall_s(s->loop) + life_s;
        /* At four fifths of its life, and in time for a slow server. */
        ask_in(s, (uint64_t)(life_s > 5 * LIFE_MARGIN_S   ? life_s * 4 / 5
                             : life_s > 2 * LIFE_MARGIN_S ? life_s - LIFE_MARGIN_S
                                                          : (life_s + 1) / 2));
        log_info("oauth", "a token from %s for %lld s", s->url, (long long)life_s);
        s->fn(s->arg, a.token, s->expires);
    }
    oauth_answer_clear(&a);
    return why;
}

static void refused(struct oauth_source *s, const struct http_answer *a)
{
    char why[OAUTH_WHY_BYTES];

    /* Some servers take a client's secret in the form only. */
    if ((a->status == 401 || a->status == 400) && !s->switched) {
        s->switched = true;
        s->in_form = !s->in_form;
        ask_in(s, 0);
        return;
    }
    failed(s, oauth_refusal(a->status, a->body, a->len, why));
    s->switched = false;
}

static void on_answer(void *arg, const struct http_answer *a)
{
    struct oauth_source *s = arg;
    const char *why = NULL;

    s->call = NULL;
    if (a->result != OK)
        why = a->why;
    else if (a->status == 200)
        why = take(s, a->body, a->len);
    else
        refused(s, a);
    if (why)
        failed(s, why);
}

static int ask_form(const struct oauth_source *s, char *form, size_t form_bytes)
{
    int rc;

    form[0] = '\0';
    rc = http_form_add(form, form_bytes, "grant_type", "client_credentials");
    if (rc == OK && s->scope)
        rc = http_form_add(form, form_bytes, "scope", s->scope);
    if (rc == OK && s->in_form)
        rc = http_form_add(form, form_bytes, "client_id", s->client_id);
    if (rc == OK && s->in_form)
        rc = http_form_add(form, form_bytes, "client_secret", s->client_secret);
    return rc;
}

static void ask(void *arg)
{
    struct oauth_source *s = arg;
    char form[FORM_BYTES_MAX];
    struct http_request r = {.url = s->url, .body = form, .limit_bytes = OAUTH_ANSWER_BYTES};
    int rc;

    if (s->call)
        return;
    s->asked_us = loop_clock_us(s->loop);
    if (!s->in_form) {
        r.user = s->client_id;
        r.password = s->client_secret;
    }
    rc = ask_form(s, form, sizeof(form));
    if (rc == OK)
        rc = http_start(s->http, &r, on_answer, s, &s->call);
    OPENSSL_cleanse(form, sizeof(form));
    if (rc != OK)
        failed(s, err_name(rc));
}

struct oauth_source *oauth_source_new(struct loop *l, const struct upstream_config *c,
                                      bool development, const char *ca, oauth_token_fn *fn,
                                      void *arg)
{
    struct oauth_source *s;

    if (!http_url_ok(c->token_url, development) || !c->client_id || !c->client_secret) {
        log_error("oauth", "the token source needs an https URL, a client id and its secret");
        return NULL;
    }
    s = sl_calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->loop = l;
    s->fn = fn;
    s->arg = arg;
    s->http = http_new(l, development, ca);
    s->timer = loop_timer_new(l, ask, s);
    s->url = text_dup(c->token_url);
    s->client_id = text_dup(c->client_id);
    s->client_secret = text_dup(c->client_secret);
    if (c->scope && c->scope[0])
        s->scope = text_dup(c->scope);
    if (!s->http || !s->timer || !s->url || !s->client_id || !s->client_secret ||
        (c->scope && c->scope[0] && !s->scope) || loop_timer_set(s->timer, 0) != OK) {
        oauth_source_free(s);
        return NULL;
    }
    return s;
}

void oauth_source_free(struct oauth_source *s)
{
    if (!s)
        return;
    http_free(s->http);
    loop_timer_free(s->timer);
    if (s->client_secret)
        OPENSSL_cleanse(s->client_secret, strlen(s->client_secret));
    sl_free(s->client_secret);
    sl_free(s->client_id);
    sl_free(s->scope);
    sl_free(s->url);
    sl_free(s);
}

void oauth_source_refresh(struct oauth_source *s)
{
    uint64_t since_us = loop_clock_us(s->loop) - s->asked_us;

    if (!s->call && s->failures == 0 && since_us >= REFRESH_INTERVAL_S * SECOND_US)
        ask_in(s, 0);
}

bool oauth_source_ready(const struct oauth_source *s)
{
    return s->expires > loop_wall_s(s->loop);
}
