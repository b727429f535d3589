#include "edc/register.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/http.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"
#include "edc/jsonld.h"
#include "edc/teller.h"

#define URL_BYTES 2048

struct registrar {
    struct loop *loop;
    const struct config *config; /* a reference */
    struct http *http;
    struct http_call *call; /* NULL: none */
    struct loop_timer *timer;
    bool registered;
    bool looked;               /* since the beginning: it may know us from before */
    bool asking;               /* the call asks whether we are still known */
    unsigned failures, losses; /* one after another */
    uint64_t look_ms;          /* until the next look at the registration */
};

static bool is_dps(const struct config *c)
{
    return c->signaling.control_plane.protocol == CONTROL_PLANE_DPS;
}

/* --- what is said */

static json_t *list_of(const struct strings *texts)
{
    json_t *list = json_array();

    for (size_t i = 0; i < texts->count && list; i++) {
        if (json_array_append_new(list, json_string(texts->at[i])) == 0)
            continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

/* Our URL, with the path secret: whoever knows it may call. */
static void own_url(const struct config *c, char out[URL_BYTES])
{
    const char *base = c->signaling.url ? c->signaling.url : "";
    const char *secret = c->signaling.path_secret;
    size_t n = strlen(base);

    while (n && base[n - 1] == '/')
        n--;
    snprintf(out, URL_BYTES, "%.*s%s%s%s", (int)n, base, secret ? "/" : "", secret ? secret : "",
             is_dps(c) ? "/dataflows" : "/v1/dataflows");
}

json_t *registrar_message(const struct config *c)
{
    char url[URL_BYTES];
    json_t *types = list_of(&c->signaling.transfer_types), *message;

    own_url(c, url);
    if (is_dps(c))
        message = json_pack("{s:s, s:s, s:O, s:o}", "dataplaneId", c->signaling.control_plane.id,
                            "endpoint", url, "transferTypes", types, "profiles", types);
    else
        message = json_pack("{s:{s:s}, s:s, s:s, s:s, s:o, s:o}", "@context", "@vocab", JSONLD_EDC,
                            "@type", "DataPlaneInstance", "@id", c->signaling.control_plane.id,
                            "url", url, "allowedSourceTypes", list_of(&c->signaling.source_types),
                            "allowedTransferTypes", types);
    explicit_bzero(url, sizeof(url));
    return message;
}

/* One text, or a list of texts, in any order. */
static bool same_texts(json_t *value, const struct strings *texts)
{
    size_t n = json_is_array(value) ? json_array_size(value) : 1;

    if (n != texts->count)
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *one = jsonld_value(json_is_array(value) ? json_array_get(value, i) : value);
        size_t j = 0;

        while (j < texts->count && (!one || strcmp(texts->at[j], one) != 0))
            j++;
        if (j == texts->count)
            return false;
    }
    return true;
}

bool registrar_matches(const struct config *c, const char *body, size_t n)
{
    struct jsonld doc;
    char url[URL_BYTES];
    const char *state, *theirs;
    bool same = false;

    if (jsonld_read(&doc, body, n) == OK) {
        own_url(c, url);
        state = jsonld_text(&doc, doc.root, "", "state", false);
        theirs = jsonld_text(&doc, doc.root, "", "url", false);
        same =
            theirs && strcmp(theirs, url) == 0 &&
            (!state || (strcmp(state, "UNAVAILABLE") != 0 && strcmp(state, "UNREGISTERED") != 0)) &&
            same_texts(jsonld_member(&doc, doc.root, "", "allowedSourceTypes"),
                       &c->signaling.source_types) &&
            same_texts(jsonld_member(&doc, doc.root, "", "allowedTransferTypes"),
                       &c->signaling.transfer_types);
        explicit_bzero(url, sizeof(url));
    }
    jsonld_release(&doc);
    return same;
}

/* --- saying it */

static void arm(struct registrar *r, uint64_t wait_ms)
{
    if (loop_timer_set(r->timer, wait_ms * 1000) != OK)
        log_error("signaling", "no timer: the registration is not looked after");
}

/* Looks again: soon after a registration, since a connector that was just busy with a former one of
 * the same id may put that one's state (unavailable) over the new one; then less and less often. */
static void arm_look(struct registrar *r)
{
    arm(r, r->look_ms);
    r->look_ms = r->look_ms * 2 < REGISTER_CHECK_MS ? r->look_ms * 2 : REGISTER_CHECK_MS;
}

/* Twice as long each time. */
static uint64_t pause_after(unsigned times)
{
    uint64_t wait = REGISTER_FIRST_MS;

    for (unsigned i = 0; i < times && wait < REGISTER_LONGEST_MS; i++)
        wait *= 2;
    return wait < REGISTER_LONGEST_MS ? wait : REGISTER_LONGEST_MS;
}

static void failed(struct registrar *r, const char *why, int status)
{
    uint64_t wait = pause_after(r->failures);

    if (r->failures++ == 0 || r->failures % 10 == 0)
        log_warn("signaling", "the control plane is not reached: %s, HTTP %d; grants go on", why,
                 status);
    arm(r, wait);
}

static void told_registered(struct registrar *r, const char *how)
{
    if (!r->registered || r->failures)
        log_info("signaling", "%s at the control plane as %s", how,
                 r->config->signaling.control_plane.id);
    r->registered = true;
    r->failures = 0;
}

static void on_registered(struct registrar *r, const struct http_answer *a)
{
    if (a->result != OK || a->status < 200 || a->status > 299) {
        r->registered = false;
        failed(r, a->why, a->status);
        return;
    }
    told_registered(r, "registered");
    r->look_ms = REGISTER_FIRST_MS;
    if (is_dps(r->config))
        arm(r, REGISTER_REPEAT_MS);
    else
        arm_look(r);
}

/* Lost, or not as we are: at once again. An answer that cannot be had says nothing about it. */
static void on_looked(struct registrar *r, const struct http_answer *a)
{
    bool first = !r->looked;

    if (a->result != OK || a->status >= 500 || a->status == 401 || a->status == 403) {
        failed(r, a->why, a->status);
        return;
    }
    r->looked = true;
    if (a->status == 200 && registrar_matches(r->config, a->body, a->len)) {
        told_registered(r, "still registered");
        r->losses = 0;
        arm_look(r);
        return;
    }
    r->failures = 0;
    if (first) {
        arm(r, 0);
        return;
    }
    /* A control plane that cannot reach us says so however often we register. */
    if (r->losses == 0 || r->losses % 10 == 0)
        log_warn("signaling", "the control plane does not know this data plane as it is, or cannot "
                              "reach it: registering again");
    r->registered = false;
    arm(r, r->losses ? pause_after(r->losses) : 0);
    r->losses++;
}

static void on_answer(void *arg, const struct http_answer *a)
{
    struct registrar *r = arg;

    r->call = NULL;
    if (r->asking)
        on_looked(r, a);
    else
        on_registered(r, a);
}

/* {url}/v1/dataplanes, /dataplanes, or with the id behind it. */
static bool target(const struct registrar *r, char out[URL_BYTES])
{
    const char *base = r->config->signaling.control_plane.url;
    char id[3 * 256];
    size_t n = strlen(base);
    int len;

    while (n && base[n - 1] == '/')
        n--;
    if (http_escape(id, sizeof(id), r->config->signaling.control_plane.id) != OK)
        return false;
    len = snprintf(out, URL_BYTES, "%.*s%s%s%s", (int)n, base,
                   is_dps(r->config) ? "/dataplanes" : "/v1/dataplanes", r->asking ? "/" : "",
                   r->asking ? id : "");
    return len > 0 && len < URL_BYTES;
}

static void on_timer(void *arg)
{
    struct registrar *r = arg;
    const char *key = r->config->signaling.control_plane.key;
    char url[URL_BYTES], header[600], *body = NULL;
    struct http_request q = {.url = url, .limit_bytes = REGISTER_ANSWER_MAX};
    json_t *message = NULL;

    if (r->call)
        return;
    r->asking = (r->registered || !r->looked) && !is_dps(r->config);
    if (!r->asking) {
        message = registrar_message(r->config);
        body = message ? json_dumps(message, JSON_COMPACT) : NULL;
        json_decref(message);
        q.method = is_dps(r->config) ? "PUT" : "POST";
        q.body = body;
        q.type = "application/json";
    }
    if (key) {
        snprintf(header, sizeof(header), "x-api-key: %s", key);
        q.header = header;
    }
    if ((!r->asking && !body) || !target(r, url) ||
        http_start(r->http, &q, on_answer, r, &r->call) != OK)
        failed(r, "not asked", 0);
    explicit_bzero(header, sizeof(header));
    if (body)
        explicit_bzero(body, strlen(body));
    free(body);
}

/* --- life */

static int begin(struct registrar *r)
{
    struct http *http;

    http_cancel(r->call);
    r->call = NULL;
    r->registered = r->looked = false;
    r->failures = r->losses = 0;
    r->look_ms = REGISTER_FIRST_MS;
    loop_timer_clear(r->timer);
    if (!r->config->signaling.control_plane.url || !r->config->signaling.listen.port)
        return OK;
    http = http_new(r->loop, r->config->development, r->config->outgoing.ca);
    if (!http && !r->http)
        return ERR_NOMEM;
    if (http) {
        http_free(r->http);
        r->http = http;
    }
    arm(r, 0);
    return OK;
}

struct registrar *registrar_new(struct loop *l, const struct config *c)
{
    struct registrar *r = sl_calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->loop = l;
    r->config = config_ref(c);
    r->timer = loop_timer_new(l, on_timer, r);
    if (r->timer && begin(r) == OK)
        return r;
    registrar_free(r);
    return NULL;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Nothing that the control plane sees or that is needed to reach it. */
static bool same_settings(const struct config *a, const struct config *b)
{
    json_t *before = registrar_message(a), *after = registrar_message(b);
    bool same = before && after && json_equal(before, after) && is_dps(a) == is_dps(b) &&
                a->development == b->development && same_text(a->outgoing.ca, b->outgoing.ca) &&
                same_text(a->signaling.control_plane.url, b->signaling.control_plane.url) &&
                same_text(a->signaling.control_plane.key, b->signaling.control_plane.key);

    json_decref(before);
    json_decref(after);
    return same;
}

void registrar_config(struct registrar *r, const struct config *c)
{
    const struct config *old = r->config;
    bool same = same_settings(old, c);

    r->config = config_ref(c);
    config_unref(old);
    if (!same && begin(r) != OK)
        log_error("signaling", "the control plane's settings were not taken over: out of memory");
}

bool registrar_done(const struct registrar *r)
{
    return r->registered;
}

void registrar_free(struct registrar *r)
{
    if (!r)
        return;
    http_cancel(r->call);
    http_free(r->http);
    loop_timer_free(r->timer);
    config_unref(r->config);
    sl_free(r);
}
