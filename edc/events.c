#include "edc/events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/audit.h"
#include "auth/jwt.h"
#include "auth/secret.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"
#include "control/body.h"
#include "edc/secevent.h"
#include "edc/seen.h"

#define RETRY_US     (200 * UINT64_C(1000))
#define SECOND_US    (1000 * UINT64_C(1000))
#define REASON_BYTES 192
#define NOTE_KIND    "event"
#define KEY_BYTES    (SECRET_TEXT_BYTES + 1)

/* An event that is being carried out. */
struct incoming {
    struct incoming *next, **prev;
    struct events *ev; /* NULL: gone */
    enum secevent_source source;
    struct ask *ask;
    struct secevent event;
    struct seen_id *seen; /* while ev lives */
    char key[KEY_BYTES];
    bool noted; /* its note is asked for */
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
    uint64_t taken[SECEVENT_SOURCES], not_taken[SECEVENT_SOURCES], failed[SECEVENT_SOURCES];
};

/* --- ids */

/* A way's ids are its own, and an issuer's. Hashed: ids may be long. */
static int seen_key(char out[KEY_BYTES], enum secevent_source s, const struct secevent *e)
{
    char text[2 * IDENTITY_TEXT_MAX + 1];

    out[0] = s == SECEVENT_SET ? 's' : s == SECEVENT_LOGOUT ? 'l' : 'k';
    snprintf(text, sizeof(text), "%s\n%s", e->issuer, e->id);
    return secret_hash(text, out + 1);
}

/* The note outlives a restart; it stands behind all that the event revokes, so that an event which
 * was cut short can come again. */
static int keep_note(struct events *ev, const char *key, int64_t over_s, store_done_fn *done,
                     void *arg)
{
    char until[24];

    snprintf(until, sizeof(until), "%lld", (long long)over_s);
    return store_note(ev->parts.changes.store, NOTE_KIND, key, until, done, arg);
}

static void drop_note(void *arg, const char *key)
{
    struct events *ev = arg;

    if (store_note(ev->parts.changes.store, NOTE_KIND, key, NULL, NULL, NULL) != OK)
        log_warn("events", "the note of an event stays in the store for now");
}

static void take_up(void *arg, const char *key, const char *until)
{
    struct events *ev = arg;
    struct seen_id *id = seen_add(ev->seen, key, strtoll(until, NULL, 10), 0);

    if (id)
        seen_done(id);
    else
        log_error("events", "an event that was taken before the start is not remembered");
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

    ev->not_taken[source]++;
    audit_refused(ev, source, a, e, why);
    answer_error(source, a, later ? 503 : 400, err_of(f), why);
}

/* --- carrying out */

static void finish(struct incoming *in)
{
    struct events *ev = in->ev;

    if (ev) {
        if (in->result == OK) {
            ev->taken[in->source]++;
            seen_done(in->seen);
        } else {
            ev->failed[in->source]++;
            seen_remove(ev->seen, in->seen);
            if (in->noted)
                drop_note(ev, in->key);
        }
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
    if (in->result == OK && in->next_revocation == e->count && !in->noted && in->ev) {
        in->noted = true;
        in->result = keep_note(in->ev, in->key, e->over_s, on_done, in);
        in->under_way += in->result == OK;
    }
    if (in->under_way == 0)
        finish(in);
}

/* Takes e's revocations when it returns true; otherwise nothing has happened. */
static bool carry_out(struct events *ev, enum secevent_source source, struct ask *a,
                      struct secevent *e, const char key[KEY_BYTES])
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
    memcpy(in->key, key, KEY_BYTES);
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

/* Nothing is to be done; it is remembered all the same. */
static bool only_remember(struct events *ev, const struct secevent *e, const char key[KEY_BYTES])
{
    struct seen_id *id = seen_add(ev->seen, key, e->over_s, loop_wall_s(ev->loop));

    if (!id)
        return false;
    seen_done(id);
    if (keep_note(ev, key, e->over_s, NULL, NULL) != OK)
        log_warn("events", "an event that revokes nothing is forgotten with a restart");
    return true;
}

static void take(struct events *ev, enum secevent_source source, struct ask *a, struct secevent *e)
{
    char key[KEY_BYTES];
    struct seen_id *before;

    if (seen_key(key, source, e) != OK) {
        refuse(ev, source, a, e, SECEVENT_NO_MEMORY, "out of memory");
        return;
    }
    before = seen_find(ev->seen, key);
    if (before && seen_is_done(before)) {
        refuse(ev, source, a, e, SECEVENT_MALFORMED, "it was taken before");
    } else if (before) {
        refuse(ev, source, a, e, SECEVENT_NO_MEMORY, "it is being carried out");
    } else if (e->count > 0) {
        if (!carry_out(ev, source, a, e, key))
            refuse(ev, source, a, e, SECEVENT_NO_MEMORY, "too many events; try again");
    } else if (only_remember(ev, e, key)) {
        audit(ev, source, a, e, "nothing to be revoked", false);
        ev->taken[source]++;
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
    ev->seen = seen_new(EVENTS_SEEN_MAX, drop_note, ev);
    ev->retry = loop_timer_new(l, on_retry, ev);
    ev->second = loop_timer_new(l, on_second, ev);
    if (!ev->seen || !ev->retry || !ev->second) {
        events_free(ev);
        return NULL;
    }
    store_each_note(p->changes.store, NOTE_KIND, take_up, ev);
    return ev;
}

void events_metrics(const struct events *ev,
                    void (*line)(void *arg, const char *name, const char *labels, const char *type,
                                 const char *help, double value),
                    void *arg)
{
    const struct {
        const char *name;
        const uint64_t *counts;
    } results[] = {{"taken", ev->taken}, {"refused", ev->not_taken}, {"failed", ev->failed}};
    char labels[96];

    for (int i = 0; i < SECEVENT_SOURCES; i++) {
        for (size_t r = 0; r < sizeof(results) / sizeof(*results); r++) {
            snprintf(labels, sizeof(labels), "way=\"%s\",result=\"%s\"",
                     secevent_source_name((enum secevent_source)i), results[r].name);
            line(arg, "sluice_events_total", labels, "counter",
                 "Events of issuers, by way and by what became of them.",
                 (double)results[r].counts[i]);
        }
    }
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
