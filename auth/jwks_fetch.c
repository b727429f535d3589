#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/http.h"
#include "auth/jwks.h"
#include "auth/signing_key.h"
#include "auth/strict_json.h"
#include "auth/text.h"
#include "base/log.h"
#include "base/loop.h"
#include "config/outgoing.h"

#define SECOND_US           UINT64_C(1000000)
#define RETRY_S             1  /* after a failure, doubled each time: without keys at hand, */
#define RETRY_WITH_KEYS_S   10 /* and with keys */
#define RETRY_MAX_S         60
#define DISCOVERY_BYTES_MAX ((size_t)64 * 1024)
#define DISCOVERY_PATH      "/.well-known/openid-configuration"
#define DIGEST_BYTES        32

/* Where one issuer's keys come from, and how they stand. */
struct source {
    struct jwks_fetcher *fetcher;
    char *issuer;
    char *url;  /* of the keys or of the discovery document; NULL: file, or our own */
    char *file; /* or NULL */
    bool discovery;
    bool own; /* the keys came with the configuration */
    uint64_t refresh_us, max_age_us;

    struct jwks *set;
    unsigned char digest[DIGEST_BYTES]; /* of the text that set was made of */
    uint64_t good_us;                   /* when it was last seen */
    uint64_t tried_us;                  /* the last fetch's start; 0: never */
    uint64_t next_us;                   /* the next fetch */
    unsigned failures;                  /* in a row */
    struct http_call *call;
    struct loop_timer *timer;
};

struct jwks_fetcher {
    struct loop *loop;
    const struct config *config;
    struct http *http;
    struct source *sources; /* config->nissuers, in its order */
    size_t count;
    struct loop_timer *publish;
    void (*changed)(void *arg, struct keyring *k);
    void *arg;
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Soon, not now: several sets that change in one turn make one keyring. */
static void publish_in(struct jwks_fetcher *f, uint64_t delay_us)
{
    if (loop_timer_set(f->publish, delay_us) != OK)
        log_error("jwks", "no timer: key sets that changed are not handed on");
}

static void on_publish(void *arg)
{
    struct jwks *sets[KEYRING_ISSUERS_MAX] = {0};
    struct jwks_fetcher *f = arg;
    struct keyring *k;
    size_t i;

    for (i = 0; i < f->count; i++)
        sets[i] = f->sources[i].set;
    k = keyring_new(f->config, sets);
    if (!k) {
        publish_in(f, SECOND_US);
        return;
    }
    f->changed(f->arg, k);
    keyring_unref(k);
}

/* The timer covers the next fetch and the set's end. */
static void source_arm(struct source *s)
{
    uint64_t now = loop_clock_us(s->fetcher->loop);
    uint64_t at = s->call ? UINT64_MAX : s->next_us;

    if (s->own)
        at = UINT64_MAX;
    else if (s->set && !s->file)
        at = least(at, s->good_us + s->max_age_us);
    if (at == UINT64_MAX)
        loop_timer_clear(s->timer);
    else if (loop_timer_set(s->timer, at > now ? at - now : 0) != OK)
        log_error("jwks", "%s: no timer: keys are not fetched again", s->issuer);
}

static void source_failed(struct source *s, const char *what, const char *why)
{
    uint64_t delay_s = s->set ? RETRY_WITH_KEYS_S : RETRY_S;
    unsigned i;

    for (i = 0; i < s->failures && delay_s < RETRY_MAX_S; i++)
        delay_s *= 2;
    delay_s = least(delay_s, RETRY_MAX_S);
    s->failures++;
    s->next_us = loop_clock_us(s->fetcher->loop) + delay_s * SECOND_US;
    log_warn("jwks", "%s: cannot get the keys from %s: %s; next try in %u s", s->issuer, what, why,
             (unsigned)delay_s);
    source_arm(s);
}

/* The text of a key set. False with why when it can't be used; the old set then stays. */
static bool source_take(struct source *s, const char *text, size_t n, char *why, size_t why_bytes)
{
    unsigned char digest[DIGEST_BYTES];
    struct jwks *set;
    unsigned ignored;

    if (jwks_parse(text, n, &set, &ignored, why, why_bytes) != OK)
        return false;
    if (EVP_Digest(text, n, digest, NULL, EVP_sha256(), NULL) != 1) {
        snprintf(why, why_bytes, "out of memory");
        jwks_unref(set);
        return false;
    }
    s->good_us = loop_clock_us(s->fetcher->loop);
    s->next_us = s->good_us + s->refresh_us;
    s->failures = 0;
    if (s->set && memcmp(s->digest, digest, sizeof(digest)) == 0) {
        jwks_unref(set);
        return true;
    }
    log_info("jwks", "%s: %u keys, %u others ignored", s->issuer, (unsigned)jwks_count(set),
             ignored);
    jwks_unref(s->set);
    s->set = set;
    memcpy(s->digest, digest, sizeof(digest));
    publish_in(s->fetcher, 0);
    return true;
}

static bool source_read(struct source *s, char *why, size_t why_bytes)
{
    size_t n = 0;
    char *text = jwks_file_read(s->file, &n, why, why_bytes);
    bool ok = text && source_take(s, text, n, why, why_bytes);

    s->tried_us = loop_clock_us(s->fetcher->loop);
    sl_free(text);
    return ok;
}

/* Our own issuer: nothing is fetched, and what signs is what checks. */
static bool source_own(struct source *s, const struct issuer_config *c, char *why, size_t why_bytes)
{
    const char *fault;
    json_t *keys = signing_keys_jwks(c, &fault);
    char *text = keys ? json_dumps(keys, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    bool ok = false;

    if (text)
        ok = source_take(s, text, strlen(text), why, why_bytes);
    else
        snprintf(why, why_bytes, "signing_keys: %s", keys ? "out of memory" : fault);
    free(text);
    json_decref(keys);
    return ok;
}

static void on_keys(void *arg, const struct http_answer *a)
{
    struct source *s = arg;
    char why[128];

    s->call = NULL;
    if (a->result != OK)
        source_failed(s, s->url, a->why);
    else if (a->status != 200) {
        snprintf(why, sizeof(why), "status %d", a->status);
        source_failed(s, s->url, why);
    } else if (!source_take(s, a->body, a->len, why, sizeof(why)))
        source_failed(s, s->url, why);
    else
        source_arm(s);
}

static int source_get(struct source *s, const char *url, size_t limit_bytes, http_done_fn *done)
{
    struct http_request r = {.url = url, .limit_bytes = limit_bytes};

    return http_start(s->fetcher->http, &r, done, s, &s->call);
}

/* OpenID Connect Discovery 1.0, 4.3: the document must name the very issuer that was asked, or it
 * speaks for somebody else. Its jwks_uri keeps our own rules for URLs, and leads to the issuer's
 * own host or one of outgoing.hosts. */
static const char *discovery_read(struct source *s, const char *text, size_t n)
{
    json_t *doc = strict_json_object(text, n, DISCOVERY_BYTES_MAX);
    const char *issuer = strict_json_text(doc, "issuer");
    const char *uri = strict_json_text(doc, "jwks_uri");
    const char *why = NULL;

    if (!doc)
        why = "the discovery document is not strict JSON";
    else if (!issuer || strcmp(issuer, s->issuer) != 0)
        why = "the discovery document is another issuer's";
    else if (!uri || !http_url_ok(uri, s->fetcher->config->development))
        why = "the discovery document's jwks_uri cannot be used";
    else if (!outgoing_same_origin(uri, s->url) && !outgoing_allowed(s->fetcher->config, uri))
        why = "the discovery document's jwks_uri is elsewhere, and not in outgoing.hosts";
    else if (source_get(s, uri, JWKS_BYTES_MAX, on_keys) != OK)
        why = "out of memory";
    json_decref(doc);
    return why;
}

static void on_discovery(void *arg, const struct http_answer *a)
{
    struct source *s = arg;
    const char *why;
    char status[32];

    s->call = NULL;
    if (a->result != OK)
        why = a->why;
    else if (a->status != 200) {
        snprintf(status, sizeof(status), "status %d", a->status);
        why = status;
    } else
        why = discovery_read(s, a->body, a->len);
    if (why)
        source_failed(s, s->url, why);
}

static void source_fetch(struct source *s)
{
    char why[128];
    int rc;

    if (s->file) {
        if (source_read(s, why, sizeof(why)))
            source_arm(s);
        else
            source_failed(s, s->file, why);
        return;
    }
    s->tried_us = loop_clock_us(s->fetcher->loop);
    rc = s->discovery ? source_get(s, s->url, DISCOVERY_BYTES_MAX, on_discovery)
                      : source_get(s, s->url, JWKS_BYTES_MAX, on_keys);
    if (rc != OK)
        source_failed(s, s->url, err_name(rc));
    else
        source_arm(s);
}

static void on_source(void *arg)
{
    struct source *s = arg;
    uint64_t now = loop_clock_us(s->fetcher->loop);

    if (s->set && !s->file && now >= s->good_us + s->max_age_us) {
        log_error("jwks", "%s: the keys are too old: no token passes until there are new ones",
                  s->issuer);
        jwks_unref(s->set);
        s->set = NULL;
        publish_in(s->fetcher, 0);
    }
    if (!s->call && now >= s->next_us)
        source_fetch(s);
    else
        source_arm(s);
}

static void source_release(struct source *s)
{
    http_cancel(s->call);
    loop_timer_free(s->timer);
    jwks_unref(s->set);
    sl_free(s->issuer);
    sl_free(s->url);
    sl_free(s->file);
    memset(s, 0, sizeof(*s));
}

static char *discovery_url(const char *issuer)
{
    size_t n = strlen(issuer);
    size_t room;
    char *url;

    while (n > 0 && issuer[n - 1] == '/')
        n--;
    room = n + sizeof(DISCOVERY_PATH);
    url = sl_malloc(room);
    if (url)
        snprintf(url, room, "%.*s%s", (int)n, issuer, DISCOVERY_PATH);
    return url;
}

static int source_init(struct source *s, struct jwks_fetcher *f, const struct issuer_config *c)
{
    s->fetcher = f;
    s->refresh_us = c->refresh_s * SECOND_US;
    s->max_age_us = c->max_age_s * SECOND_US;
    s->issuer = text_dup(c->issuer);
    s->timer = loop_timer_new(f->loop, on_source, s);
    s->own = c->signing_keys.count > 0;
    s->discovery = !s->own && !c->jwks_file && !c->jwks_url;
    if (s->own)
        return s->issuer && s->timer ? OK : ERR_NOMEM;
    if (c->jwks_file)
        s->file = text_dup(c->jwks_file);
    else
        s->url = c->jwks_url ? text_dup(c->jwks_url) : discovery_url(c->issuer);
    return s->issuer && s->timer && (s->file || s->url) ? OK : ERR_NOMEM;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* What is known of the same issuer from the same place lives on. */
static void source_inherit(struct source *s, const struct jwks_fetcher *f)
{
    size_t i;

    for (i = 0; i < f->count; i++) {
        const struct source *o = &f->sources[i];

        if (strcmp(o->issuer, s->issuer) != 0 || !same_text(o->url, s->url) ||
            !same_text(o->file, s->file) || o->discovery != s->discovery || o->own != s->own)
            continue;
        s->set = jwks_ref(o->set);
        memcpy(s->digest, o->digest, sizeof(s->digest));
        s->good_us = o->good_us;
        return;
    }
}

static void sources_free(struct source *at, size_t count)
{
    size_t i;

    for (i = 0; at && i < count; i++)
        source_release(&at[i]);
    sl_free(at);
}

/* The sources of a configuration, files read. f keeps its own until the caller exchanges them. */
static int sources_make(struct jwks_fetcher *f, const struct config *c, struct source **out)
{
    struct source *at;
    char why[128];
    size_t i;
    int rc = OK;

    *out = NULL;
    if (c->nissuers == 0 || c->nissuers > KEYRING_ISSUERS_MAX) {
        log_error("jwks", "there must be 1 to %d issuers", KEYRING_ISSUERS_MAX);
        return ERR_CONFIG;
    }
    at = sl_calloc(c->nissuers, sizeof(*at));
    if (!at)
        return ERR_NOMEM;
    for (i = 0; rc == OK && i < c->nissuers; i++) {
        rc = source_init(&at[i], f, &c->issuers[i]);
        if (rc == OK)
            source_inherit(&at[i], f);
        if (rc == OK && at[i].own && !source_own(&at[i], &c->issuers[i], why, sizeof(why))) {
            log_error("jwks", "%s: %s", at[i].issuer, why);
            rc = ERR_CONFIG;
        }
        if (rc != OK || !at[i].file || source_read(&at[i], why, sizeof(why)))
            continue;
        log_error("jwks", "%s: %s: %s", at[i].issuer, at[i].file, why);
        at[i].next_us = loop_clock_us(f->loop) + RETRY_WITH_KEYS_S * SECOND_US;
        if (!at[i].set)
            rc = ERR_CONFIG;
    }
    if (rc != OK) {
        sources_free(at, c->nissuers);
        return rc;
    }
    *out = at;
    return OK;
}

/* Everything that can fail comes before anything changes. */
int jwks_fetcher_config(struct jwks_fetcher *f, const struct config *c)
{
    struct source *at;
    struct http *http;
    size_t i;
    int rc;

    http = http_new(f->loop, c->development, c->outgoing.ca);
    if (!http)
        return ERR_NOMEM;
    rc = sources_make(f, c, &at);
    if (rc != OK) {
        http_free(http);
        return rc;
    }
    sources_free(f->sources, f->count);
    http_free(f->http);
    config_unref(f->config);
    f->http = http;
    f->config = config_ref(c);
    f->sources = at;
    f->count = c->nissuers;
    for (i = 0; i < f->count; i++)
        source_arm(&f->sources[i]); /* what is not a file is due at once */
    publish_in(f, 0);
    return OK;
}

struct jwks_fetcher *jwks_fetcher_new(struct loop *l, const struct config *c,
                                      void (*changed)(void *arg, struct keyring *k), void *arg)
{
    struct jwks_fetcher *f = sl_calloc(1, sizeof(*f));

    if (!f)
        return NULL;
    f->loop = l;
    f->changed = changed;
    f->arg = arg;
    f->publish = loop_timer_new(l, on_publish, f);
    if (!f->publish || jwks_fetcher_config(f, c) != OK) {
        jwks_fetcher_free(f);
        return NULL;
    }
    return f;
}

void jwks_fetcher_free(struct jwks_fetcher *f)
{
    if (!f)
        return;
    sources_free(f->sources, f->count);
    http_free(f->http);
    loop_timer_free(f->publish);
    config_unref(f->config);
    sl_free(f);
}

void jwks_fetcher_unknown_kid(struct jwks_fetcher *f, const char *issuer)
{
    uint64_t earliest;
    size_t i;

    for (i = 0; i < f->count; i++) {
        struct source *s = &f->sources[i];

        if (strcmp(s->issuer, issuer) != 0 || s->call || s->own)
            continue;
        earliest = s->tried_us ? s->tried_us + JWKS_UNKNOWN_KID_S * SECOND_US : 0;
        if (earliest < s->next_us) {
            s->next_us = earliest;
            source_arm(s);
        }
    }
}

bool jwks_fetcher_ready(const struct jwks_fetcher *f)
{
    size_t i;

    for (i = 0; i < f->count; i++) {
        if (!f->sources[i].set)
            return false;
    }
    return f->count > 0;
}
