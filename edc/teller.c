#include "edc/teller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "auth/http.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"
#include "config/outgoing.h"
#include "edc/jsonld.h"

struct errand {
    struct errand *next;
    struct teller *teller;
    struct http_call *call; /* NULL: waits */
    unsigned tries, taken;  /* calls, and those that were answered well */
    uint64_t due_us;
    char id[IDENTITY_TEXT_MAX];
};

struct teller {
    struct loop *loop;
    const struct config *config; /* a reference */
    struct flows *flows;
    struct http *http;
    struct loop_timer *timer;
    struct errand *errands;
    unsigned nerrands, ncalls;
};

/* --- where to */

static bool is_configured(const struct config *c, const char *url)
{
    const char *callback = c->signaling.control_plane.callback_url;

    return (c->signaling.control_plane.url &&
            outgoing_same_origin(url, c->signaling.control_plane.url)) ||
           (callback && outgoing_same_origin(url, callback));
}

/* What the message said where that is allowed, else what is configured. */
static const char *base_of(const struct config *c, const char *callback)
{
    if (callback && http_url_ok(callback, c->development) &&
        (is_configured(c, callback) || outgoing_allowed(c, callback)))
        return callback;
    return c->signaling.control_plane.callback_url ? c->signaling.control_plane.callback_url
                                                   : c->signaling.control_plane.url;
}

bool teller_can(const struct config *c, const char *callback)
{
    return base_of(c, callback) != NULL;
}

/* What the news are called there; NULL: there is no word for it. */
static const char *word(const struct flow *flow)
{
    bool dps = flow->dialect == DIALECT_DPS;

    switch (flow->news) {
    case NEWS_COMPLETED:
        return dps ? "completed" : "complete";
    case NEWS_FAILED:
        return dps ? "errored" : "fail";
    case NEWS_STARTED:
        return dps ? "started" : "provisioned";
    case NEWS_NONE:
        break;
    }
    return NULL;
}

bool teller_url(const struct config *c, const struct flow *flow, char out[TELLER_URL_BYTES])
{
    const char *base = base_of(c, flow->text[FLOW_CALLBACK]), *what = word(flow);
    char id[3 * IDENTITY_TEXT_MAX + 1];
    size_t n = base ? strlen(base) : 0;
    int len;

    if (!base || !what || http_escape(id, sizeof(id), flow->id) != OK)
        return false;
    while (n && base[n - 1] == '/')
        n--;
    len =
        flow->dialect == DIALECT_DPS
            ? snprintf(out, TELLER_URL_BYTES, "%.*s/transfers/%s/dataflow/%s", (int)n, base, id,
                       what)
            : snprintf(out, TELLER_URL_BYTES, "%.*s/transferprocess/%s/%s", (int)n, base, id, what);
    return len > 0 && len < TELLER_URL_BYTES;
}

/* --- what */

static json_t *status(const struct flow *flow)
{
    char id[MESSAGE_ID_BYTES];
    const char *reason = flow->text[FLOW_REASON];
    json_t *body;

    message_new_id(id);
    body = json_pack("{s:s, s:s, s:s}", "messageId", id, "dataFlowId", flow->id, "state",
                     flow_state_name(flow->state));
    if (body && flow->news == NEWS_FAILED)
        json_object_set_new(body, "error", json_string(reason ? reason : "ended"));
    if (body && flow->news == NEWS_STARTED && flow->ready)
        json_object_set(body, "dataAddress", flow->ready);
    return body;
}

/* malloc'ed; NULL: no body. */
static char *body_of(const struct flow *flow)
{
    const char *reason = flow->text[FLOW_REASON];
    json_t *body = NULL;
    char *text;

    if (flow->dialect == DIALECT_DPS)
        body = status(flow);
    else if (flow->news == NEWS_FAILED)
        body = json_pack("{s:s}", "errorMessage", reason ? reason : "ended");
    else if (flow->news == NEWS_STARTED)
        body = json_pack("{s:{s:s}}", "properties", JSONLD_EDC "type", "KafkaBroker");
    text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    return text;
}

/* --- errands */

static void arm(struct teller *t);

static void errand_free(struct teller *t, struct errand *e)
{
    struct errand **at = &t->errands;

    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    t->nerrands--;
    http_cancel(e->call);
    if (e->call)
        t->ncalls--;
    sl_free(e);
}

static void told(struct teller *t, struct errand *e)
{
    struct flow *flow = flow_find(t->flows, e->id);

    if (flow) {
        flow->news = NEWS_NONE;
        if (flow->dialect == DIALECT_DPS)
            flow_set_ready(flow, NULL);
        if (flow_keep(t->flows, flow, NULL, NULL) != OK)
            log_warn("signaling", "what a control plane was told may be told again");
    }
    errand_free(t, e);
}

/* Refused for good: asking again would change nothing. A connector that is at work on the very
 * transfer answers 409. */
static bool final(int status)
{
    return status >= 400 && status < 500 && status != 401 && status != 403 && status != 408 &&
           status != 409 && status != 425 && status != 429;
}

/* A legacy connector that takes a failure sends the transfer's end. One that was told while it
 * still worked on the start puts down its own state over it, so it is told again until the end
 * comes. */
static bool unconfirmed(const struct teller *t, const struct errand *e)
{
    const struct flow *flow = flow_find(t->flows, e->id);

    return flow && flow->dialect == DIALECT_LEGACY && flow->news == NEWS_FAILED &&
           e->taken < TELLER_CONFIRM_TRIES;
}

static void on_answer(void *arg, const struct http_answer *a)
{
    struct errand *e = arg;
    struct teller *t = e->teller;
    bool taken = a->result == OK && a->status >= 200 && a->status < 300;
    uint64_t wait = TELLER_FIRST_MS;
    char id[128];

    e->call = NULL;
    t->ncalls--;
    log_text(id, sizeof(id), e->id, strlen(e->id));
    e->taken += taken;
    if (taken && unconfirmed(t, e)) {
        e->due_us = loop_clock_us(t->loop) + TELLER_CONFIRM_MS * UINT64_C(1000);
    } else if (taken || (a->result == OK && (e->taken || final(a->status))) ||
               e->tries >= TELLER_TRIES) {
        if (taken || e->taken)
            log_info("signaling", "transfer %s: the control plane was told", id);
        else
            log_error("signaling", "transfer %s: the control plane could not be told: %s, HTTP %d",
                      id, a->why, a->status);
        told(t, e);
    } else {
        for (unsigned i = 1; i < e->tries && wait < TELLER_LONGEST_MS; i++)
            wait *= 2;
        wait = wait < TELLER_LONGEST_MS ? wait : TELLER_LONGEST_MS;
        e->due_us = loop_clock_us(t->loop) + wait * 1000;
        log_warn("signaling", "transfer %s: the control plane was not told: %s, HTTP %d", id,
                 a->why, a->status);
    }
    arm(t);
}

static void send_one(struct teller *t, struct errand *e)
{
    struct flow *flow = flow_find(t->flows, e->id);
    const char *key = t->config->signaling.control_plane.key;
    char url[TELLER_URL_BYTES], header[600], *body;
    struct http_request r = {.url = url, .method = "POST", .type = "application/json"};
    int rc;

    if (!flow || flow->news == NEWS_NONE || !teller_url(t->config, flow, url)) {
        errand_free(t, e);
        return;
    }
    body = body_of(flow);
    if (key && is_configured(t->config, url)) {
        snprintf(header, sizeof(header), "x-api-key: %s", key);
        r.header = header;
    }
    r.body = body;
    r.limit_bytes = TELLER_ANSWER_MAX;
    e->tries++;
    rc = http_start(t->http, &r, on_answer, e, &e->call);
    explicit_bzero(header, sizeof(header));
    if (body)
        explicit_bzero(body, strlen(body));
    free(body);
    if (rc == OK)
        t->ncalls++;
    else
        e->due_us = loop_clock_us(t->loop) + (uint64_t)TELLER_LONGEST_MS * 1000;
}

static void on_timer(void *arg)
{
    struct teller *t = arg;
    uint64_t now = loop_clock_us(t->loop);
    struct errand *e = t->errands;

    while (e && t->ncalls < TELLER_CALLS_MAX) {
        struct errand *next = e->next;

        if (!e->call && e->due_us <= now)
            send_one(t, e);
        e = next;
    }
    arm(t);
}

/* For the next that is due; with all calls in use the next answer comes here again. */
static void arm(struct teller *t)
{
    uint64_t now = loop_clock_us(t->loop), next = UINT64_MAX;

    for (const struct errand *e = t->errands; e; e = e->next)
        if (!e->call && e->due_us < next)
            next = e->due_us;
    if (next == UINT64_MAX || t->ncalls >= TELLER_CALLS_MAX)
        return;
    if (loop_timer_set(t->timer, next > now ? next - now : 0) != OK)
        log_error("signaling", "no timer: a control plane is told late");
}

void teller_tell(struct teller *t, const struct flow *flow)
{
    struct errand *e = t->errands;

    while (e && strcmp(e->id, flow->id) != 0)
        e = e->next;
    if (e || flow->news == NEWS_NONE || t->nerrands >= TELLER_ERRANDS_MAX)
        return;
    e = sl_calloc(1, sizeof(*e));
    if (!e)
        return;
    e->teller = t;
    memcpy(e->id, flow->id, sizeof(e->id));
    e->next = t->errands;
    t->errands = e;
    t->nerrands++;
    arm(t);
}

/* --- life */

struct teller *teller_new(struct loop *l, const struct config *c, struct flows *flows)
{
    struct teller *t = sl_calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->loop = l;
    t->flows = flows;
    t->config = config_ref(c);
    t->http = http_new(l, c->development, c->outgoing.ca);
    t->timer = loop_timer_new(l, on_timer, t);
    if (t->http && t->timer)
        return t;
    teller_free(t);
    return NULL;
}

void teller_config(struct teller *t, const struct config *c)
{
    const struct config *old = t->config;
    struct http *http = http_new(t->loop, c->development, c->outgoing.ca);

    for (struct errand *e = t->errands; e; e = e->next) {
        http_cancel(e->call);
        e->call = NULL;
        e->due_us = 0;
    }
    t->ncalls = 0;
    t->config = config_ref(c);
    config_unref(old);
    if (http) {
        http_free(t->http);
        t->http = http;
    }
    arm(t);
}

void teller_free(struct teller *t)
{
    if (!t)
        return;
    while (t->errands)
        errand_free(t, t->errands);
    http_free(t->http);
    loop_timer_free(t->timer);
    config_unref(t->config);
    sl_free(t);
}
