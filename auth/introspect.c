#include "auth/introspect.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "auth/http.h"
#include "auth/jwt.h"
#include "auth/strict_json.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"

#define BUCKETS      4096
#define BODY_BYTES   (JWT_BYTES_MAX + 256)
#define MS           UINT64_C(1000)
#define EXPIRED_S    60 /* past exp and the greatest skew nobody holds it any more */
#define TEXTS        4
#define REASON       "introspection: not active"
#define LOG_AGAIN_US (UINT64_C(60) * 1000000)

/* Who the token is, and its text. One block, wiped when it is freed. */
struct introspect_token {
    size_t bytes;
    int64_t issued, expires;
    const char *text[TEXTS]; /* issuer, subject, client, jti */
    const char *token;
    char room[];
};
enum { ISSUER, SUBJECT, CLIENT, JTI };

enum entry_state { ENTRY_IDLE, ENTRY_QUEUED, ENTRY_ASKING };

struct introspect_entry {
    struct introspect_entry *same; /* of the same bucket */
    struct introspect_entry *next, **prev;
    struct introspect_entry *queued;
    struct introspector *in;
    struct introspect_token *token;
    enum entry_state state;
    struct http_call *call;
    bool answered; /* verdict holds, since answered_us */
    bool was_active, revoke_due;
    enum introspect_verdict verdict;
    uint64_t answered_us, queued_us;
    unsigned holders;
    struct introspect_ticket *waiting;
};

struct introspector {
    struct loop *loop;
    const struct config *config;
    struct introspect_parts parts;
    struct http *http;
    struct mailbox *inbox;
    struct loop_timer *tick;
    struct introspect_entry *buckets[BUCKETS];
    struct introspect_entry *first;
    struct introspect_entry *queue, **queue_end;
    struct introspect_ticket *unsent; /* of no entry, and the asker's mailbox was full */
    size_t tokens, bytes;
    unsigned calls;
    uint64_t logged_us; /* when a failure was last told */
    struct introspect_stats stats;
    atomic_uint tickets;
    bool closing;
};

/* --- tokens and tickets: any thread */

const struct issuer_config *introspect_wanted(const struct config *c, const char *issuer)
{
    for (size_t i = 0; i < c->nissuers; i++)
        if (c->issuers[i].introspection.url && strcmp(c->issuers[i].issuer, issuer) == 0)
            return &c->issuers[i];
    return NULL;
}

static struct introspect_token *token_new(const struct identity *id, const char *token, size_t n)
{
    const char *texts[TEXTS] = {id->issuer, id->subject, id->client, id->jti};
    size_t bytes = n + 1, at = 0;
    struct introspect_token *t;

    for (size_t i = 0; i < TEXTS; i++)
        bytes += strlen(texts[i]) + 1;
    t = sl_calloc(1, sizeof(*t) + bytes);
    if (!t)
        return NULL;
    t->bytes = bytes;
    t->issued = id->issued;
    t->expires = id->expires;
    for (size_t i = 0; i < TEXTS; i++) {
        size_t len = strlen(texts[i]) + 1;

        memcpy(t->room + at, texts[i], len);
        t->text[i] = t->room + at;
        at += len;
    }
    memcpy(t->room + at, token, n);
    t->token = t->room + at;
    return t;
}

static void token_free(struct introspect_token *t)
{
    if (!t)
        return;
    explicit_bzero(t->room, t->bytes);
    sl_free(t);
}

/* By what the token says, never by its text: a signature can be written in more than one way. */
static bool token_same(const struct introspect_token *a, const struct introspect_token *b)
{
    for (size_t i = 0; i < TEXTS; i++)
        if (strcmp(a->text[i], b->text[i]) != 0)
            return false;
    return a->issued == b->issued && a->expires == b->expires;
}

static size_t token_bucket(const struct introspect_token *t)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ (uint64_t)t->issued;

    for (size_t i = 0; i < TEXTS; i++)
        for (const char *p = t->text[i];; p++) { /* FNV-1a, the NUL included */
            h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
            if (!*p)
                break;
        }
    return (size_t)((h ^ h >> 32) % BUCKETS);
}

static struct revocation *token_revocation(const struct introspect_token *t, int64_t now_s)
{
    struct identity id = {.issued = t->issued, .expires = t->expires};

    snprintf(id.issuer, sizeof(id.issuer), "%s", t->text[ISSUER]);
    snprintf(id.subject, sizeof(id.subject), "%s", t->text[SUBJECT]);
    snprintf(id.client, sizeof(id.client), "%s", t->text[CLIENT]);
    snprintf(id.jti, sizeof(id.jti), "%s", t->text[JTI]);
    return revocation_for_token(&id, now_s, REASON);
}

struct introspect_ticket *introspect_ticket_new(struct introspector *in, const struct identity *id,
                                                const char *token, size_t n, void *owner)
{
    struct introspect_ticket *t;

    if (n > JWT_BYTES_MAX)
        return NULL;
    if (atomic_fetch_add(&in->tickets, 1) >= INTROSPECT_TICKETS_MAX) {
        atomic_fetch_sub(&in->tickets, 1);
        return NULL;
    }
    t = sl_calloc(1, sizeof(*t));
    if (t)
        t->token = token_new(id, token, n);
    if (!t || !t->token) {
        atomic_fetch_sub(&in->tickets, 1);
        sl_free(t);
        return NULL;
    }
    t->in = in;
    t->owner = owner;
    return t;
}

static void ticket_free(struct introspect_ticket *t)
{
    struct introspector *in = t->in;

    token_free(t->token);
    sl_free(t);
    atomic_fetch_sub(&in->tickets, 1);
}

static void on_question(void *receiver, struct mail *m);
static void on_release(void *receiver, struct mail *m);

static void ticket_post(struct introspect_ticket *t, void (*deliver)(void *, struct mail *))
{
    t->mail.deliver = deliver;
    /* Nothing but tickets is posted there, and there are no more of them than it takes. */
    if (mailbox_post(t->in->inbox, &t->mail) != OK)
        log_error("introspect", "a ticket was lost");
}

void introspect_ask(struct introspect_ticket *t, struct mailbox *home,
                    void (*answered)(void *receiver, struct mail *m))
{
    t->home = home;
    t->answered = answered;
    ticket_post(t, on_question);
}

void introspect_release(struct introspect_ticket *t)
{
    if (t)
        ticket_post(t, on_release);
}

/* --- entries: the control thread, here and below */

static const struct issuer_config *issuer_of(const struct introspect_entry *e)
{
    return introspect_wanted(e->in->config, e->token->text[ISSUER]);
}

static struct introspect_entry *entry_find(struct introspector *in,
                                           const struct introspect_token *token)
{
    struct introspect_entry *e = in->buckets[token_bucket(token)];

    while (e && !token_same(e->token, token))
        e = e->same;
    return e;
}

static void queue_remove(struct introspect_entry *e)
{
    struct introspector *in = e->in;
    struct introspect_entry **at = &in->queue;

    while (*at && *at != e)
        at = &(*at)->queued;
    if (!*at)
        return;
    *at = e->queued;
    if (in->queue_end == &e->queued)
        in->queue_end = at;
    e->queued = NULL;
}

/* Nobody holds it or waits for it. */
static void entry_free(struct introspect_entry *e)
{
    struct introspector *in = e->in;
    struct introspect_entry **at = &in->buckets[token_bucket(e->token)];

    http_cancel(e->call);
    if (e->call)
        in->calls--;
    if (e->state == ENTRY_QUEUED)
        queue_remove(e);
    while (*at != e)
        at = &(*at)->same;
    *at = e->same;
    *e->prev = e->next;
    if (e->next)
        e->next->prev = e->prev;
    in->tokens--;
    in->bytes -= e->token->bytes;
    token_free(e->token);
    sl_free(e);
}

static bool entry_unused(const struct introspect_entry *e)
{
    return e->holders == 0 && !e->waiting && !e->revoke_due && e->state == ENTRY_IDLE;
}

/* What nobody holds is a cache, and gives way. */
static void make_room(struct introspector *in)
{
    struct introspect_entry *next;

    for (struct introspect_entry *e = in->first; e; e = next) {
        next = e->next;
        if (entry_unused(e))
            entry_free(e);
    }
}

static bool room_for(const struct introspector *in, const struct introspect_token *t)
{
    return in->tokens < INTROSPECT_TOKENS_MAX && t->bytes <= INTROSPECT_BYTES_MAX - in->bytes;
}

/* Takes the ticket's token when there is an entry to be made. */
static struct introspect_entry *entry_new(struct introspector *in, struct introspect_ticket *t)
{
    struct introspect_entry **bucket = &in->buckets[token_bucket(t->token)];
    struct introspect_entry *e;

    if (!room_for(in, t->token))
        make_room(in);
    if (!room_for(in, t->token))
        return NULL;
    if (!loop_timer_pending(in->tick) && loop_timer_set(in->tick, INTROSPECT_TICK_MS * MS) != OK)
        return NULL;
    e = sl_calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->in = in;
    e->token = t->token;
    t->token = NULL;
    e->same = *bucket;
    *bucket = e;
    e->next = in->first;
    e->prev = &in->first;
    if (e->next)
        e->next->prev = &e->next;
    in->first = e;
    in->tokens++;
    in->bytes += e->token->bytes;
    return e;
}

/* How long an answer holds. */
static uint64_t holds_us(const struct introspect_entry *e, const struct issuer_config *c)
{
    uint64_t interval = (uint64_t)c->introspection.interval_s * 1000 * MS;

    if (e->verdict == INTROSPECT_UNKNOWN && interval > INTROSPECT_RETRY_MS * MS)
        return INTROSPECT_RETRY_MS * MS;
    return interval;
}

static bool entry_fresh(const struct introspect_entry *e, const struct issuer_config *c)
{
    return e->answered && loop_clock_us(e->in->loop) - e->answered_us < holds_us(e, c);
}

/* --- answers */

/* False when it could not be sent; the ticket is still here then. */
static bool ticket_answer(struct introspect_ticket *t, struct introspect_entry *e,
                          enum introspect_verdict v)
{
    bool holds = e && v == INTROSPECT_ACTIVE;

    t->verdict = v;
    t->entry = holds ? e : NULL;
    t->mail.deliver = t->answered;
    token_free(t->token);
    t->token = NULL;
    /* Counted first: the ticket is the asker's once it is posted. */
    if (holds)
        e->holders++;
    if (mailbox_post(t->home, &t->mail) == OK)
        return true;
    if (holds)
        e->holders--;
    return false;
}

/* What could not be sent waits for the next tick. */
static void answer_waiting(struct introspect_entry *e)
{
    while (e->waiting) {
        struct introspect_ticket *t = e->waiting;
        struct introspect_ticket *next = t->next;

        if (!ticket_answer(t, e, e->verdict))
            return;
        e->waiting = next;
    }
}

/* Those that no entry could be made for. */
static void answer_unsent(struct introspector *in)
{
    while (in->unsent) {
        struct introspect_ticket *t = in->unsent;
        struct introspect_ticket *next = t->next;

        if (!ticket_answer(t, NULL, INTROSPECT_UNKNOWN))
            break;
        in->unsent = next;
    }
    if (in->unsent && !loop_timer_pending(in->tick) &&
        loop_timer_set(in->tick, INTROSPECT_TICK_MS * MS) != OK)
        log_error("introspect", "no timer: a login is left without an answer");
}

static void entry_revoke(struct introspect_entry *e)
{
    struct introspector *in = e->in;
    struct revocation *r = token_revocation(e->token, loop_wall_s(in->loop));

    e->revoke_due = !r || in->parts.revoke(in->parts.arg, r) != OK;
    if (!e->revoke_due)
        e->was_active = false;
}

static void entry_unconfirmed(struct introspect_entry *e)
{
    struct introspector *in = e->in;
    struct revocation *r = token_revocation(e->token, loop_wall_s(in->loop));

    if (r)
        in->parts.unconfirmed(in->parts.arg, r);
    revocation_free(r);
}

static void outcome(struct introspect_entry *e, enum introspect_verdict v)
{
    struct introspector *in = e->in;
    const struct issuer_config *c = issuer_of(e);

    e->state = ENTRY_IDLE;
    e->answered = true;
    e->verdict = v;
    e->answered_us = loop_clock_us(in->loop);
    answer_waiting(e);
    switch (v) {
    case INTROSPECT_ACTIVE:
        e->was_active = true;
        break;
    case INTROSPECT_INACTIVE:
        in->stats.inactive++;
        if (e->was_active)
            entry_revoke(e);
        break;
    case INTROSPECT_UNKNOWN:
        in->stats.failures++;
        if (e->holders > 0 && c && c->introspection.close_on_outage)
            entry_unconfirmed(e);
        break;
    }
}

/* --- requests */

static void tell_failure(struct introspector *in, const char *issuer, int status, const char *why)
{
    uint64_t now = loop_clock_us(in->loop);

    if (in->logged_us && now - in->logged_us < LOG_AGAIN_US)
        return;
    in->logged_us = now;
    log_warn("introspect", "%s gives no usable answer (status %d): %s", issuer, status, why);
}

/* RFC 7662, 2.2: 200 and an object in which `active` says so. Anything else is no answer. */
static enum introspect_verdict answer_read(const struct http_answer *a, const char **why)
{
    enum introspect_verdict v = INTROSPECT_UNKNOWN;
    json_t *root, *active;

    *why = a->why;
    if (a->result != OK)
        return v;
    *why = "not the status of an answer";
    if (a->status != 200)
        return v;
    root = strict_json_object(a->body, a->len, INTROSPECT_ANSWER_MAX);
    active = json_object_get(root, "active");
    *why = "not an object with a boolean `active`";
    if (json_is_boolean(active))
        v = json_is_true(active) ? INTROSPECT_ACTIVE : INTROSPECT_INACTIVE;
    json_decref(root);
    return v;
}

static void pump(struct introspector *in);

static void on_answer(void *arg, const struct http_answer *a)
{
    struct introspect_entry *e = arg;
    struct introspector *in = e->in;
    const char *why;
    enum introspect_verdict v = answer_read(a, &why);

    e->call = NULL;
    in->calls--;
    if (v == INTROSPECT_UNKNOWN)
        tell_failure(in, e->token->text[ISSUER], a->status, why);
    outcome(e, v);
    pump(in);
}

static int request(struct introspect_entry *e, const struct issuer_config *c)
{
    char body[BODY_BYTES] = "";
    struct http_request r = {
        .url = c->introspection.url,
        .body = body,
        .user = c->introspection.client_id,
        .password = c->introspection.client_secret,
        .limit_bytes = INTROSPECT_ANSWER_MAX,
    };
    int rc = http_form_add(body, sizeof(body), "token", e->token->token);

    if (rc == OK)
        rc = http_form_add(body, sizeof(body), "token_type_hint", "access_token");
    if (rc == OK)
        rc = http_start(e->in->http, &r, on_answer, e, &e->call);
    explicit_bzero(body, sizeof(body));
    return rc;
}

static void start(struct introspect_entry *e)
{
    struct introspector *in = e->in;
    const struct issuer_config *c = issuer_of(e);
    int rc = c ? request(e, c) : ERR_UNKNOWN;

    if (rc == OK) {
        in->stats.requests++;
        e->state = ENTRY_ASKING;
        in->calls++;
        return;
    }
    tell_failure(in, e->token->text[ISSUER], 0, err_name(rc));
    outcome(e, INTROSPECT_UNKNOWN);
}

static void pump(struct introspector *in)
{
    while (in->queue && in->calls < INTROSPECT_CALLS_MAX) {
        struct introspect_entry *e = in->queue;

        queue_remove(e);
        start(e);
    }
}

static void enqueue(struct introspect_entry *e)
{
    struct introspector *in = e->in;

    if (e->state != ENTRY_IDLE)
        return;
    e->state = ENTRY_QUEUED;
    e->queued_us = loop_clock_us(in->loop);
    e->queued = NULL;
    *in->queue_end = e;
    in->queue_end = &e->queued;
}

/* --- what comes in */

static void on_question(void *receiver, struct mail *m)
{
    struct introspect_ticket *t = (struct introspect_ticket *)(void *)m;
    struct introspector *in = receiver;
    struct introspect_entry *e;
    const struct issuer_config *c;

    if (in->closing) {
        ticket_free(t);
        return;
    }
    c = introspect_wanted(in->config, t->token->text[ISSUER]);
    e = c ? entry_find(in, t->token) : NULL;
    if (c && !e)
        e = entry_new(in, t);
    if (!e) {
        t->next = in->unsent;
        in->unsent = t;
        answer_unsent(in);
        return;
    }
    token_free(t->token); /* the entry has one */
    t->token = NULL;
    t->next = e->waiting;
    e->waiting = t;
    if (entry_fresh(e, c))
        answer_waiting(e);
    else
        enqueue(e);
    pump(in);
}

static void on_release(void *receiver, struct mail *m)
{
    struct introspect_ticket *t = (struct introspect_ticket *)(void *)m;

    (void)receiver;
    if (t->entry)
        t->entry->holders--;
    ticket_free(t);
}

/* --- time */

static void entry_tick(struct introspect_entry *e, uint64_t now_us, int64_t now_s)
{
    const struct issuer_config *c = issuer_of(e);
    bool over = e->token->expires + EXPIRED_S < now_s;

    if (e->state == ENTRY_QUEUED && now_us - e->queued_us > INTROSPECT_QUEUE_MS * MS) {
        queue_remove(e);
        outcome(e, INTROSPECT_UNKNOWN);
    }
    if (e->state == ENTRY_IDLE && e->waiting)
        answer_waiting(e);
    if (e->revoke_due)
        entry_revoke(e);
    if (c && !over && e->holders > 0 && !entry_fresh(e, c))
        enqueue(e);
    else if (entry_unused(e) && (!c || over || !entry_fresh(e, c)))
        entry_free(e);
}

static void on_tick(void *arg)
{
    struct introspector *in = arg;
    uint64_t now_us = loop_clock_us(in->loop);
    int64_t now_s = loop_wall_s(in->loop);
    struct introspect_entry *next;

    for (struct introspect_entry *e = in->first; e; e = next) {
        next = e->next;
        entry_tick(e, now_us, now_s);
    }
    answer_unsent(in);
    pump(in);
    if (in->first && loop_timer_set(in->tick, INTROSPECT_TICK_MS * MS) != OK)
        log_error("introspect", "no timer: live tokens are not asked about");
}

/* --- life */

struct introspector *introspect_new(struct loop *l, const struct config *c,
                                    const struct introspect_parts *p)
{
    struct introspector *in = sl_calloc(1, sizeof(*in));

    if (!in)
        return NULL;
    in->loop = l;
    in->parts = *p;
    in->queue_end = &in->queue;
    in->config = config_ref(c);
    in->http = http_new(l, c->development, c->outgoing.ca);
    in->inbox = mailbox_new(l, in);
    in->tick = loop_timer_new(l, on_tick, in);
    if (in->http && in->inbox && in->tick)
        return in;
    introspect_free(in);
    return NULL;
}

/* Those under way are asked anew by the new one. */
static void take_client(struct introspector *in, struct http *http)
{
    for (struct introspect_entry *e = in->first; e; e = e->next) {
        if (e->state != ENTRY_ASKING)
            continue;
        http_cancel(e->call);
        e->call = NULL;
        in->calls--;
        e->state = ENTRY_IDLE;
        enqueue(e);
    }
    http_free(in->http);
    in->http = http;
}

void introspect_config(struct introspector *in, const struct config *c)
{
    const struct config *old = in->config;
    struct http *http = http_new(in->loop, c->development, c->outgoing.ca);

    in->config = config_ref(c);
    config_unref(old);
    if (http)
        take_client(in, http);
    else
        log_error("introspect", "out of memory: requests go on by the former authorities");
    pump(in);
}

void introspect_free(struct introspector *in)
{
    struct introspect_entry *next;

    if (!in)
        return;
    in->closing = true;
    mailbox_free(in->inbox);
    while (in->unsent) {
        struct introspect_ticket *t = in->unsent;

        in->unsent = t->next;
        ticket_free(t);
    }
    for (struct introspect_entry *e = in->first; e; e = next) {
        next = e->next;
        while (e->waiting) {
            struct introspect_ticket *t = e->waiting;

            e->waiting = t->next;
            ticket_free(t);
        }
        entry_free(e);
    }
    http_free(in->http);
    loop_timer_free(in->tick);
    config_unref(in->config);
    sl_free(in);
}

void introspect_stats(const struct introspector *in, struct introspect_stats *out)
{
    *out = in->stats;
    out->tokens = in->tokens;
}
