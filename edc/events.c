#include "edc/events.h"

#include <stdio.h>
#include <string.h>

#include "audit/audit.h"
#include "auth/jwt.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"
#include "control/body.h"
#include "edc/secevent.h"
#include "edc/seen.h"

#define RETRY_US     (200 * UINT64_C(1000))
#define SECOND_US    (1000 * UINT64_C(1000))
#define REASON_BYTES 192

/* An event that is being carried out. */
struct incoming {
    struct incoming *next, **prev;
    struct events *ev; /* NULL: gone */
    enum secevent_source source;
    struct ask *ask;
    struct secevent event;
    struct seen_id *seen; /* while ev lives */
    unsigned next_revocation, under_way, closed;
    int result;
};

/* One whose key we lack. */
struct waiting {
    enum secevent_source source;
    struct ask *ask;
    uint64_t until_us;
};

struct events {
    struct loop *loop;
    struct edc_parts parts;
    struct seen *seen;
    struct incoming *under_way;
    unsigned nunder_way;
    struct waiting waiting[EVENTS_WAITING_MAX];
    unsigned nwaiting;
    struct loop_timer *retry;
    struct loop_timer *second; /* of the audit's bound */
    unsigned refused;          /* in it */
};

/* --- ids */

/* A way's ids are its own, and an issuer's. */
static void seen_key(char *out, size_t n, enum secevent_source s, const struct secevent *e)
{
    char way = s == SECEVENT_SET ? 's' : s == SECEVENT_LOGOUT ? 'l' : 'k';

    snprintf(out, n, "%c%s\n%s", way, e->issuer, e->id);
}

/* --- the trail */

static void audit(struct events *ev, enum secevent_source source, const struct ask *a,
                  const struct secevent *e, const char *why, bool failed)
{
    char reason[REASON_BYTES];
    struct audit_event line = {.kind = AUDIT_REVOCATION, .failed = failed, .reason = reason};

    if (!ev->parts.changes.audit)
        return;
    snprintf(reason, sizeof(reason), "%s: %s", secevent_source_name(source), why);
    line.client_address = a ? ask_peer(a) : NULL;
    line.resource_type = "event";
    line.resource = e && e->name ? e->name : secevent_source_name(source);
    line.issuer = e && e->issuer[0] ? e->issuer : NULL;
    line.jti = e && e->id[0] ? e->id : NULL;
    audit_put(ev->parts.changes.audit, &line);
}

static void on_second(void *arg)
{
    struct events *ev = arg;
    struct audit_event line = {.kind = AUDIT_REVOCATION,
                               .failed = true,
                               .resource_type = "event",
                               .resource = "event",
                               .reason = "more events that were refused"};

    if (ev->refused > EVENTS_REFUSED_LINES_PER_S && ev->parts.changes.audit) {
        line.count = ev->refused - EVENTS_REFUSED_LINES_PER_S;
        audit_put(ev->parts.changes.audit, &line);
    }
    ev->refused = 0;
}

static void audit_refused(struct events *ev, enum secevent_source source, const struct ask *a,
                          const struct secevent *e, const char *why)
{
    if (!loop_timer_pending(ev->second) && loop_timer_set(ev->second, SECOND_US) != OK)
        on_second(ev); /* no timer: each counts as a second of its own */
    if (ev->refused++ < EVENTS_REFUSED_LINES_PER_S)
        audit(ev, source, a, e, why, true);
}

/* --- answers */

static void answer_done(enum secevent_source source, struct ask *a)
{
    switch (source) {
    case SECEVENT_SET:
        ask_text(a, 202, NULL, NULL, 0);
        return;
    case SECEVENT_LOGOUT:
        ask_text(a, 200, NULL, NULL, 0);
        return;
    case SECEVENT_LOGOUT_ADMIN:
    case SECEVENT_NOT_BEFORE_ADMIN:
        ask_text(a, 204, NULL, NULL, 0);
        return;
    }
}

/* RFC 8935, 2.3 and 2.4; the others know RFC 6749's shape, or none. */
static void answer_error(enum secevent_source source, struct ask *a, int status, const char *err,
                         const char *why)
{
    bool set = source == SECEVENT_SET;

    if (status == 503)
        ask_add_header(a, "Retry-After", "5");
    if (set)
        ask_add_header(a, "Content-Language", "en");
    ask_json(a, status,
             json_pack("{s:s, s:s}", set ? "err" : "error", set ? err : "invalid_request",
                       set ? "description" : "error_description", why));
}

static const char *err_of(enum secevent_fault f)
{
    switch (f) {
    case SECEVENT_ISSUER:
        return "invalid_issuer";
    case SECEVENT_KEY:
    case SECEVENT_SIGNATURE:
        return "invalid_key";
    case SECEVENT_AUDIENCE:
        return "invalid_audience";
    case SECEVENT_FINE:
    case SECEVENT_MALFORMED:
    case SECEVENT_TIME:
    case SECEVENT_SUBJECT:
    case SECEVENT_NO_MEMORY:
        break;
    }
    return "invalid_request";
}

/* Answers, and writes it down. */
static void refuse(struct events *ev, enum secevent_source source, struct ask *a,
                   const struct secevent *e, enum secevent_fault f, const char *why)
{
    bool later = f == SECEVENT_KEY || f == SECEVENT_NO_MEMORY;

    audit_refused(ev, source, a, e, why);
    answer_error(source, a, later ? 503 : 400, err_of(f), why);
}

/* --- carrying out */

static void finish(struct incoming *in)
{
    struct events *ev = in->ev;

    if (ev) {
        if (in->result == OK)
            seen_done(in->seen);
        else
            seen_remove(ev->seen, in->seen);
        ev->nunder_way--;
        *in->prev = in->next;
        if (in->next)
            in->next->prev = in->prev;
    }
    if (in->result == OK)
        log_info("events", "%s of %s: %s, %u sessions closed", secevent_source_name(in->source),
                 in->event.issuer, in->event.name, in->closed);
    else
        log_error("events", "%s of %s: %s could not be carried out: %s",
                  secevent_source_name(in->source), in->event.issuer, in->event.name,
                  err_name(in->result));
    if (in->result == OK)
        answer_done(in->source, in->ask);
    else
        answer_error(in->source, in->ask, 503, "invalid_request",
                     "it could not be carried out; try again");
    secevent_clear(&in->event);
    sl_free(in);
}

static void go_on(struct incoming *in);

static void on_done(void *arg, int result, unsigned closed)
{
    struct incoming *in = arg;

    in->under_way--;
    in->closed += closed;
    if (in->result == OK)
        in->result = result;
    go_on(in);
}

/* After a fault nothing more is begun. When the listener has gone, what is left comes again. */
static void go_on(struct incoming *in)
{
    struct secevent *e = &in->event;

    while (in->result == OK && in->next_revocation < e->count && in->under_way < EVENTS_AT_ONCE) {
        struct revocation *r = e->revocations[in->next_revocation];
        struct changes changes;

        if (!in->ev) {
            in->result = ERR_BUSY;
            break;
        }
        changes = in->ev->parts.changes;
        changes.by = secevent_source_name(in->source);
        e->revocations[in->next_revocation++] = NULL; /* taken, whatever comes of it */
        in->result = change_revoke(&changes, r, ask_peer(in->ask), on_done, in);
        if (in->result == OK)
            in->under_way++;
    }
    if (in->under_way == 0)
        finish(in);
}

/* Takes e's revocations when it returns true; otherwise nothing has happened. */
static bool carry_out(struct events *ev, enum secevent_source source, struct ask *a,
                      struct secevent *e, const char *key)
{
    struct incoming *in;

    if (ev->nunder_way >= EVENTS_UNDER_WAY_MAX)
        return false;
    in = sl_calloc(1, sizeof(*in));
    if (!in)
        return false;
    in->seen = seen_add(ev->seen, key, e->over_s, loop_wall_s(ev->loop));
    if (!in->seen) {
        sl_free(in);
        return false;
    }
    in->ev = ev;
    in->source = source;
    in->ask = a;
    in->event = *e;
    e->count = 0;
    in->next = ev->under_way;
    in->prev = &ev->under_way;
    if (in->next)
        in->next->prev = &in->next;
    ev->under_way = in;
    ev->nunder_way++;
    go_on(in);
    return true;
}

static void take(struct events *ev, enum secevent_source source, struct ask *a, struct secevent *e)
{
    char key[2 * IDENTITY_TEXT_MAX + 2];
    struct seen_id *before, *id;

    seen_key(key, sizeof(key), source, e);
    before = seen_find(ev->seen, key);
    if (before && seen_is_done(before)) {
        refuse(ev, source, a, e, SECEVENT_MALFORMED, "it was taken before");
    } else if (before) {
        refuse(ev, source, a, e, SECEVENT_NO_MEMORY, "it is being carried out");
    } else if (e->count > 0) {
        if (!carry_out(ev, source, a, e, key))
            refuse(ev, source, a, e, SECEVENT_NO_MEMORY, "too many events; try again");
    } else if ((id = seen_add(ev->seen, key, e->over_s, loop_wall_s(ev->loop))) != NULL) {
        seen_done(id);
        audit(ev, source, a, e, "nothing to be revoked", false);
        answer_done(source, a);
    } else {
        refuse(ev, source, a, e, SECEVENT_NO_MEMORY, "too many events; try again");
    }
}

/* --- reading */

/* The token in the request: the body, or a form's field, decoded into room. */
static const char *token_of(enum secevent_source source, struct ask *a, char *room,
                            size_t room_bytes, size_t *n)
{
    const char *body = ask_body(a, n);
    int len;

    if (source != SECEVENT_LOGOUT)
        return body;
    len = body_form(body, *n, "logout_token", room, room_bytes);
    *n = len > 0 ? (size_t)len : 0;
    return len > 0 ? room : NULL;
}

/* Has the keys of those fetched that may have a new one. */
static void ask_for_keys(struct events *ev, const struct keyring *keys, unsigned issuers)
{
    for (size_t i = 0; i < keys->config->nissuers && i < KEYRING_ISSUERS_MAX; i++)
        if (issuers & 1u << i)
            ev->parts.unknown_kid(ev->parts.arg, keys->config->issuers[i].issuer);
}

/* False: its key is missing, and it has not been answered. */
static bool handle(struct events *ev, enum secevent_source source, struct ask *a, bool last)
{
    char room[JWT_BYTES_MAX + 1];
    struct keyring *keys = ev->parts.keys(ev->parts.arg);
    struct secevent e = {.count = 0};
    enum secevent_fault f = SECEVENT_MALFORMED;
    const char *why = "it holds no logout_token";
    size_t n;
    const char *text = token_of(source, a, room, sizeof(room), &n);

    if (!keys) {
        refuse(ev, source, a, NULL, SECEVENT_KEY, "no keys are there yet");
        return true;
    }
    if (text)
        f = secevent_read(source, text, n, keys, loop_wall_s(ev->loop), &e, &why);
    if (f == SECEVENT_KEY)
        ask_for_keys(ev, keys, e.unknown_kid);
    keyring_unref(keys);
    if (f == SECEVENT_KEY && !last)
        return false;
    if (f == SECEVENT_FINE)
        take(ev, source, a, &e);
    else
        refuse(ev, source, a, &e, f, why);
    secevent_clear(&e);
    return true;
}

/* Those that wait for a key are looked at anew. */
static void on_retry(void *arg)
{
    struct events *ev = arg;
    uint64_t now = loop_clock_us(ev->loop);
    unsigned kept = 0;

    for (unsigned i = 0; i < ev->nwaiting; i++) {
        struct waiting w = ev->waiting[i];

        if (!handle(ev, w.source, w.ask, now >= w.until_us))
            ev->waiting[kept++] = w;
    }
    ev->nwaiting = kept;
    if (kept > 0 && loop_timer_set(ev->retry, RETRY_US) != OK)
        log_error("events", "no timer: events wait without an answer");
}

static void receive(struct events *ev, enum secevent_source source, struct ask *a)
{
    bool room = ev->nwaiting < EVENTS_WAITING_MAX &&
                (loop_timer_pending(ev->retry) || loop_timer_set(ev->retry, RETRY_US) == OK);

    if (handle(ev, source, a, !room))
        return;
    ev->waiting[ev->nwaiting++] =
        (struct waiting){source, a, loop_clock_us(ev->loop) + EVENTS_KEY_WAIT_MS * UINT64_C(1000)};
}

/* --- routes */

static void post_set(void *arg, struct ask *a)
{
    if (ask_content_is(a, "application/secevent+jwt"))
        receive(arg, SECEVENT_SET, a);
}

static void post_logout(void *arg, struct ask *a)
{
    if (ask_content_is(a, "application/x-www-form-urlencoded"))
        receive(arg, SECEVENT_LOGOUT, a);
}

static void post_k_logout(void *arg, struct ask *a)
{
    receive(arg, SECEVENT_LOGOUT_ADMIN, a);
}

static void post_k_not_before(void *arg, struct ask *a)
{
    receive(arg, SECEVENT_NOT_BEFORE_ADMIN, a);
}

const struct route events_routes[] = {
    {"/security-events", METHOD_POST, true, post_set},
    {"/backchannel-logout", METHOD_POST, true, post_logout},
    {"/keycloak/k_logout", METHOD_POST, true, post_k_logout},
    {"/keycloak/k_push_not_before", METHOD_POST, true, post_k_not_before},
};
const size_t events_routes_count = sizeof(events_routes) / sizeof(events_routes[0]);

/* --- life */

struct events *events_new(struct loop *l, const struct edc_parts *p)
{
    struct events *ev = sl_calloc(1, sizeof(*ev));

    if (!ev)
        return NULL;
    ev->loop = l;
    ev->parts = *p;
    ev->seen = seen_new(EVENTS_SEEN_MAX);
    ev->retry = loop_timer_new(l, on_retry, ev);
    ev->second = loop_timer_new(l, on_second, ev);
    if (ev->seen && ev->retry && ev->second)
        return ev;
    events_free(ev);
    return NULL;
}

void events_free(struct events *ev)
{
    if (!ev)
        return;
    for (unsigned i = 0; i < ev->nwaiting; i++)
        answer_error(ev->waiting[i].source, ev->waiting[i].ask, 503, "invalid_key",
                     "shutting down");
    for (struct incoming *in = ev->under_way; in; in = in->next)
        in->ev = NULL;
    if (ev->second)
        on_second(ev);
    seen_free(ev->seen);
    loop_timer_free(ev->retry);
    loop_timer_free(ev->second);
    sl_free(ev);
}
