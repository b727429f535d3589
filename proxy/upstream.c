/* A connection to a broker: connecting, and the queue of calls.
 *
 *   upstream_send -> unsent -> (framed, into the transport) -> sent -> answered
 *                                                           \-> noreply -> handed to the kernel
 *
 * Nothing is called back from inside upstream_open and upstream_send: what goes wrong there is
 * kept in u->work and done by u->task in the same turn of the loop. A closed connection is freed
 * by that task as well, so that whoever is still on the stack meets no freed memory. */
#include "proxy/upstream_priv.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "codec/frame.h"

static const struct transport_events transport_events;
static void upstream_work(void *arg);
static void upstream_timer(void *arg);
static void upstream_read(struct upstream *u, bool again);

/* --- lists of calls */

static void list_push(struct upstream_call ***end, struct upstream_call *call)
{
    call->next = NULL;
    **end = call;
    *end = &call->next;
}

static struct upstream_call *list_pop(struct upstream_call **first, struct upstream_call ***end)
{
    struct upstream_call *call = *first;
    if (!call)
        return NULL;
    *first = call->next;
    if (!*first)
        *end = first;
    call->next = NULL;
    return call;
}

static void list_unlink(struct upstream_call **first, struct upstream_call ***end,
                        struct upstream_call *call)
{
    struct upstream_call **at = first;
    while (*at && *at != call)
        at = &(*at)->next;
    assert(*at);
    *at = call->next;
    if (*end == &call->next)
        *end = at;
    call->next = NULL;
}

static bool call_internal(const struct upstream *u, const struct upstream_call *call)
{
    return u->auth && call == &u->auth->call;
}

/* The call leaves this connection, whatever came of it. */
static void call_leave(struct upstream *u, struct upstream_call *call)
{
    call->up = NULL;
    call->queued = false;
    if (call_internal(u, call))
        return;
    assert(u->ncalls > 0);
    if (--u->ncalls == 0)
        u->idle_since_us = loop_now_us(u->cluster->loop);
}

/* --- time */

static void work_post(struct upstream *u, unsigned what)
{
    u->work |= (uint8_t)what;
    loop_post(u->cluster->loop, &u->task);
}

static void fail_later(struct upstream *u, int why, const char *text)
{
    if (u->state == UPSTREAM_CLOSED || u->work & WORK_FAIL)
        return;
    u->why = why;
    u->text = text;
    work_post(u, WORK_FAIL);
}

/* The timer shall fire at at_us or before. */
static void timer_by(struct upstream *u, uint64_t at_us)
{
    if (!at_us || (u->armed_us && u->armed_us <= at_us))
        return;
    uint64_t now_us = loop_now_us(u->cluster->loop);
    u->armed_us = at_us;
    if (loop_timer_set(u->timer, at_us > now_us ? at_us - now_us : 0))
        fail_later(u, ERR_NOMEM, "out of memory");
}

static void state_until(struct upstream *u, uint64_t at_us)
{
    u->state_until_us = at_us;
    timer_by(u, at_us);
}

static uint64_t ms_from_now(const struct upstream *u, unsigned ms)
{
    return loop_now_us(u->cluster->loop) + (uint64_t)ms * 1000;
}

static void timer_by_list(struct upstream *u, const struct upstream_call *call)
{
    for (; call; call = call->next)
        timer_by(u, call->deadline_us);
}

static void timer_rearm(struct upstream *u)
{
    timer_by(u, u->state_until_us);
    if (u->state == UPSTREAM_READY)
        timer_by(u, u->reauth_at_us);
    timer_by_list(u, u->unsent);
    timer_by_list(u, u->noreply);
    if (u->stalled)
        return;
    timer_by_list(u, u->sent);
    if (u->current)
        timer_by(u, u->current->deadline_us);
}

/* A call waits no longer than its deadline to be sent; one that was sent and is late ends the
 * connection, since the answers behind it are not to be told apart from it. */
static bool expire_unsent(struct upstream *u, uint64_t now_us)
{
    struct upstream_call *call = u->unsent;
    while (call && call->deadline_us > now_us)
        call = call->next;
    if (!call)
        return false;
    list_unlink(&u->unsent, &u->unsent_end, call);
    buf_release(&call->body);
    call_leave(u, call);
    call->events->failed(call, ERR_TIMEOUT, false);
    return true;
}

static bool overdue(const struct upstream_call *call, uint64_t now_us)
{
    for (; call; call = call->next)
        if (call->deadline_us <= now_us)
            return true;
    return false;
}

static void upstream_timer(void *arg)
{
    struct upstream *u = arg;
    uint64_t now_us = loop_now_us(u->cluster->loop);
    u->armed_us = 0;
    if (u->state_until_us && u->state_until_us <= now_us) {
        u->state_until_us = 0;
        if (u->state == UPSTREAM_CONNECTING && u->address < u->addresses->count) {
            transport_close(&u->t, true);
            u->transport_open = false;
            work_post(u, WORK_CONNECT);
        } else {
            upstream_fail(u, ERR_TIMEOUT,
                          u->state == UPSTREAM_WAITING ? "no turn to connect" : "cannot connect");
            return;
        }
    }
    while (u->state != UPSTREAM_CLOSED && expire_unsent(u, now_us))
        ;
    if (u->state == UPSTREAM_CLOSED)
        return;
    if (overdue(u->noreply, now_us) ||
        (!u->stalled && (overdue(u->current, now_us) || overdue(u->sent, now_us)))) {
        upstream_fail(u, ERR_TIMEOUT, "no answer in time");
        return;
    }
    if (u->state == UPSTREAM_READY && u->reauth_at_us && u->reauth_at_us <= now_us) {
        const char *why = NULL;
        u->reauth_at_us = 0;
        u->state = UPSTREAM_REAUTH;
        int e = upstream_auth_start(u, &why);
        if (e) {
            upstream_fail(u, e, why);
            return;
        }
    }
    timer_rearm(u);
}

/* --- sending */

int upstream_write(struct upstream *u, struct upstream_call *call)
{
    u->correlation = u->correlation == INT32_MAX ? 1 : u->correlation + 1;
    call->correlation = u->correlation;
    call->up = u;
    call->sent = true;
    call->sent_len = (uint32_t)call->body.len;
    if (call->no_answer)
        list_push(&u->noreply_end, call);
    else
        list_push(&u->sent_end, call);
    timer_by(u, call->deadline_us);
    int e = frame_put_request(&u->t.out, call->api, call->version, call->correlation,
                              call->client_id, call->body.len);
    if (!e)
        e = buf_move(&u->t.out, &call->body);
    buf_release(&call->body);
    if (!e)
        transport_send(&u->t);
    return e;
}

static void upstream_pump(struct upstream *u)
{
    while (u->state == UPSTREAM_READY && u->unsent && !(u->work & WORK_FAIL) &&
           u->t.out.len < UPSTREAM_OUT_MARK_BYTES) {
        int e = upstream_write(u, list_pop(&u->unsent, &u->unsent_end));
        if (e)
            fail_later(u, e, "a request cannot be written");
    }
}

int upstream_send(struct upstream *u, struct upstream_call *call)
{
    if (u->state == UPSTREAM_CLOSED)
        return ERR_IO;
    if (u->ncalls >= UPSTREAM_CALLS_MAX)
        return ERR_LIMIT;
    const struct message *schema = schema_find(call->api, true);
    if (!schema || !versions_has(schema->versions, call->version))
        return ERR_VERSION;
    if (!call->deadline_us)
        call->deadline_us = ms_from_now(u, u->cluster->config->upstream.request_timeout_ms);
    call->up = u;
    call->queued = true;
    call->sent = false;
    u->ncalls++;
    list_push(&u->unsent_end, call);
    timer_by(u, call->deadline_us);
    upstream_pump(u);
    return OK;
}

bool upstream_cancel(struct upstream_call *call)
{
    struct upstream *u = call->up;
    if (!u || !call->queued || call->sent)
        return false;
    list_unlink(&u->unsent, &u->unsent_end, call);
    call_leave(u, call);
    return true;
}

static void upstream_drained(void *arg)
{
    struct upstream *u = arg;
    struct upstream_call *call;
    /* Everything that was written has gone, so all of these have. */
    while (u->state != UPSTREAM_CLOSED && (call = list_pop(&u->noreply, &u->noreply_end))) {
        call_leave(u, call);
        call->events->answer(call, NULL, 0);
    }
    if (u->state != UPSTREAM_CLOSED)
        upstream_pump(u);
}

/* --- reading */

static int read_length(struct upstream *u)
{
    const struct upstream_call *call = u->sent;
    uint32_t len = 0;
    if (!u->t.in.len)
        return ERR_AGAIN;
    if (!call) {
        u->text = "an answer to no request";
        return ERR_MALFORMED;
    }
    u->text = "an answer's length is wrong";
    int e = frame_length(
        &u->t.in, call->stream ? INT32_MAX : u->cluster->config->limits.response_bytes, &len);
    if (e == ERR_LIMIT)
        u->text = "an answer is larger than limits.response_bytes";
    if (e)
        return e == ERR_LIMIT ? ERR_MALFORMED : e;
    if (len < 4)
        return ERR_MALFORMED;
    buf_drain(&u->t.in, 4);
    u->frame_len = len;
    u->frame_checked = false;
    buf_init(&u->frame, call->stream ? UPSTREAM_STAGE_BYTES : len);
    transport_bulk(&u->t, len > UPSTREAM_BULK_BYTES);
    u->reading = call->stream ? READING_HEADER : READING_WHOLE;
    return OK;
}

/* As soon as four bytes are there: a broker that answers something else is not heard out. */
static int check_correlation(struct upstream *u, const struct buf *b)
{
    uint8_t p[4];
    if (u->frame_checked)
        return OK;
    if (b->len < 4)
        return ERR_AGAIN;
    buf_copy_out(b, 0, p, 4);
    uint32_t got = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    if (got != (uint32_t)u->sent->correlation) {
        u->text = "an answer to another request";
        return ERR_MALFORMED;
    }
    u->frame_checked = true;
    return OK;
}

static int read_header(struct upstream *u, const struct buf *b, size_t *body_off)
{
    int32_t correlation;
    const char *why = NULL;
    int e = frame_response_head(b, 0, u->frame_len, u->sent->api, u->sent->version, &correlation,
                                body_off, &why);
    if (e && e != ERR_AGAIN) {
        u->text = "an answer's header is malformed";
        return ERR_MALFORMED;
    }
    return e;
}

static int read_whole(struct upstream *u)
{
    size_t want = u->frame_len - u->frame.len, body_off = 0;
    size_t n = u->t.in.len < want ? u->t.in.len : want;
    int e = buf_gather(&u->frame, &u->t.in, n);
    if (e) {
        u->text = "out of memory";
        return e;
    }
    e = check_correlation(u, &u->frame);
    if (e || n < want)
        return e ? e : ERR_AGAIN;
    e = read_header(u, &u->frame, &body_off);
    if (e) {
        u->text = "an answer's header is malformed";
        return ERR_MALFORMED;
    }
    struct buf frame = u->frame;
    struct upstream_call *call = list_pop(&u->sent, &u->sent_end);
    assert(call);
    buf_init(&u->frame, 0);
    u->reading = READING_LENGTH;
    transport_bulk(&u->t, false);
    call_leave(u, call);
    call->events->answer(call, &frame, body_off);
    buf_release(&frame);
    return OK;
}

static int read_stream_header(struct upstream *u)
{
    size_t body_off = 0;
    int e = check_correlation(u, &u->t.in);
    if (!e)
        e = read_header(u, &u->t.in, &body_off);
    if (e)
        return e;
    buf_drain(&u->t.in, body_off);
    u->body_len = u->frame_len - body_off;
    u->body_moved = u->body_taken = 0;
    /* From here on it isn't in the list, which its receiver may add to. */
    u->current = list_pop(&u->sent, &u->sent_end);
    u->reading = READING_BODY;
    return OK;
}

/* Progress, or a receiver that takes again. Those who wait behind it start anew: the broker cannot
 * answer them before, and their end would cut this answer as well. */
static void deadlines_move(struct upstream *u)
{
    uint64_t at_us = ms_from_now(u, u->cluster->config->upstream.request_timeout_ms);
    if (u->current->deadline_us < at_us)
        u->current->deadline_us = at_us;
    for (struct upstream_call *call = u->sent; call; call = call->next)
        if (call->deadline_us < at_us)
            call->deadline_us = at_us;
}

static int read_body(struct upstream *u, bool again)
{
    uint64_t left = u->body_len - u->body_moved;
    size_t n = u->t.in.len < left ? u->t.in.len : (size_t)left;
    size_t room = UPSTREAM_STAGE_BYTES - u->frame.len;
    if (n > room)
        n = room;
    if (!n && !again && u->body_len)
        return ERR_AGAIN;
    int e = buf_gather(&u->frame, &u->t.in, n);
    if (e) {
        u->text = "out of memory";
        return e;
    }
    u->body_moved += n;
    deadlines_move(u);
    struct upstream_call *call = u->current;
    uint64_t taken = u->body_taken;
    bool last = u->body_moved == u->body_len;
    size_t before = u->frame.len;
    /* It is finished when all is taken, and then the receiver may free it within the call; so the
     * pointer is given up before and taken back if not: it may close this connection as well. */
    if (last)
        u->current = NULL;
    call->events->data(call, &u->frame, u->body_len, &u->body_taken);
    if (u->state == UPSTREAM_CLOSED)
        return OK;
    if (u->frame.len > 0)
        u->current = call;
    u->body_taken = taken + (before - u->frame.len);
    u->stalled = u->frame.len > 0;
    if (!last || u->frame.len)
        return n || before != u->frame.len ? OK : ERR_AGAIN;
    u->reading = READING_LENGTH;
    assert(u->ncalls > 0);
    if (--u->ncalls == 0)
        u->idle_since_us = loop_now_us(u->cluster->loop);
    transport_bulk(&u->t, false);
    buf_release(&u->frame);
    return OK;
}

static int read_step(struct upstream *u, bool again)
{
    switch (u->reading) {
    case READING_LENGTH:
        return read_length(u);
    case READING_WHOLE:
        return read_whole(u);
    case READING_HEADER:
        return read_stream_header(u);
    case READING_BODY:
        return read_body(u, again);
    }
    return ERR_MALFORMED;
}

/* Reads what is there. again: the receiver of a stream wants to be called though nothing came. */
static void upstream_read(struct upstream *u, bool again)
{
    int e = OK;
    while (!e && u->state != UPSTREAM_CLOSED) {
        e = read_step(u, again);
        again = false;
    }
    if (u->state == UPSTREAM_CLOSED)
        return;
    if (e != ERR_AGAIN) {
        upstream_fail(u, e, u->text);
        return;
    }
    timer_rearm(u);
    /* What could not be moved stays in the transport, and then the broker waits. Nor does its end
     * count before an answer that has come whole was taken. */
    transport_pause(&u->t,
                    u->reading == READING_BODY && (u->frame.len >= UPSTREAM_STAGE_BYTES ||
                                                   (u->stalled && u->body_moved == u->body_len)));
}

static void upstream_readable(void *arg)
{
    upstream_read(arg, false);
}

void upstream_resume(struct upstream *u)
{
    if (u->state != UPSTREAM_CLOSED && u->current)
        work_post(u, WORK_READ);
}

/* --- connecting */

static void connect_next(struct upstream *u)
{
    const struct config *c = u->cluster->config;
    uint64_t now_us = loop_now_us(u->cluster->loop);
    uint64_t end_us = u->connect_since_us + (uint64_t)c->upstream.connect_timeout_ms * 1000;
    const char *name = c->upstream.server_name ? c->upstream.server_name : u->broker->host;
    while (u->address < u->addresses->count && now_us < end_us) {
        const struct address *a = &u->addresses->at[u->address];
        unsigned left = u->addresses->count - u->address++;
        int e = transport_connect(&u->t, u->cluster->loop, &a->u.any, a->len,
                                  c->upstream.tls ? u->cluster->tls : NULL, name, &transport_events,
                                  u, UPSTREAM_IN_BYTES, SIZE_MAX);
        if (e)
            continue;
        u->transport_open = true;
        u->state = UPSTREAM_CONNECTING;
        /* One that never answers leaves time for the others. */
        state_until(u, now_us + (end_us - now_us) / left);
        return;
    }
    upstream_fail(u, now_us < end_us ? ERR_IO : ERR_TIMEOUT, "cannot connect");
}

static void upstream_resolved(void *arg, int result, const struct addresses *a)
{
    struct upstream *u = arg;
    u->question = NULL;
    if (result) {
        upstream_fail(u, ERR_IO, "its name cannot be resolved");
        return;
    }
    *u->addresses = *a;
    connect_next(u);
}

void upstream_turn(struct upstream *u)
{
    const struct broker *b = u->broker;
    u->connect_since_us = loop_now_us(u->cluster->loop);
    u->state = UPSTREAM_RESOLVING;
    state_until(u, ms_from_now(u, u->cluster->config->upstream.connect_timeout_ms));
    u->addresses = sl_calloc(1, sizeof(*u->addresses));
    if (!u->addresses) {
        fail_later(u, ERR_NOMEM, "out of memory");
        return;
    }
    if (resolve_numeric(b->to_host, b->to_port, u->addresses) == OK) {
        work_post(u, WORK_CONNECT);
        return;
    }
    int e =
        resolve_ask(u->cluster->names, b->to_host, b->to_port, upstream_resolved, u, &u->question);
    if (e)
        fail_later(u, e == ERR_LIMIT ? ERR_BUSY : e, "its name cannot be asked for");
}

static void upstream_stands(struct upstream *u)
{
    u->state = UPSTREAM_READY;
    if (!u->was_ready) {
        u->was_ready = true;
        u->cluster->stats.connects++;
        broker_connected(u->broker);
    }
    timer_rearm(u);
    upstream_pump(u);
}

static void upstream_ready(void *arg)
{
    struct upstream *u = arg;
    const char *why = NULL;
    sl_free(u->addresses);
    u->addresses = NULL;
    u->state_until_us = 0;
    if (u->cluster->config->upstream.mechanism == SASL_NONE) {
        upstream_stands(u);
        return;
    }
    u->state = UPSTREAM_AUTH;
    int e = upstream_auth_start(u, &why);
    if (e)
        upstream_fail(u, e, why);
}

void upstream_auth_done(struct upstream *u, int64_t lifetime_ms)
{
    upstream_auth_free(u);
    u->reauth_at_us = 0;
    /* Longer than a year is for ever. */
    if (lifetime_ms > 0 && lifetime_ms < INT64_C(366) * 86400000)
        u->reauth_at_us = loop_now_us(u->cluster->loop) + (uint64_t)lifetime_ms * 850;
    upstream_stands(u);
}

/* Only while TCP and TLS are set up is another address worth trying. */
static void upstream_failed(void *arg, int why, const char *text)
{
    struct upstream *u = arg;
    bool more = u->state == UPSTREAM_CONNECTING && why != ERR_TLS && why != ERR_NOMEM &&
                u->address < u->addresses->count;
    if (!more) {
        upstream_fail(u, why, text);
        return;
    }
    transport_close(&u->t, true);
    u->transport_open = false;
    u->state_until_us = 0;
    work_post(u, WORK_CONNECT);
}

static const struct transport_events transport_events = {
    .ready = upstream_ready,
    .readable = upstream_readable,
    .drained = upstream_drained,
    .failed = upstream_failed,
};

/* --- life */

struct upstream *upstream_open_broker(struct cluster *c, struct broker *b, bool probe,
                                      void (*on_closed)(void *arg, struct upstream *u, int why),
                                      void *arg)
{
    struct upstream *u = sl_calloc(1, sizeof(*u));
    if (!u)
        return NULL;
    u->timer = loop_timer_new(c->loop, upstream_timer, u);
    if (!u->timer) {
        sl_free(u);
        return NULL;
    }
    u->cluster = c;
    u->broker = b;
    u->on_closed = on_closed;
    u->arg = arg;
    u->probe = probe;
    u->turn.up = u;
    u->unsent_end = &u->unsent;
    u->sent_end = &u->sent;
    u->noreply_end = &u->noreply;
    u->idle_since_us = loop_now_us(c->loop);
    loop_task_init(&u->task, upstream_work, u);
    u->next = c->upstreams;
    if (u->next)
        u->next->prev = &u->next;
    u->prev = &c->upstreams;
    c->upstreams = u;
    b->users++;
    u->state = UPSTREAM_WAITING;
    state_until(u, ms_from_now(u, c->config->upstream.connect_timeout_ms));
    broker_wait_turn(b, &u->turn, probe);
    return u;
}

struct upstream *upstream_open(struct cluster *c, int32_t broker_id,
                               void (*on_closed)(void *arg, struct upstream *u, int why), void *arg)
{
    struct broker *b = broker_find(c, broker_id);
    return b && b->listed ? upstream_open_broker(c, b, false, on_closed, arg) : NULL;
}

static void upstream_free(struct upstream *u)
{
    struct broker *b = u->broker;
    loop_cancel(&u->task);
    loop_timer_free(u->timer);
    buf_release(&u->frame);
    sl_free(u->addresses);
    *u->prev = u->next;
    if (u->next)
        u->next->prev = u->prev;
    sl_free(u);
    b->users--;
    broker_release(b);
}

/* Stops everything but the calls; the memory goes with the task. */
static void upstream_stop(struct upstream *u, bool hard)
{
    u->state = UPSTREAM_CLOSED;
    broker_leave_turn(&u->turn);
    if (u->question)
        resolve_cancel(u->question);
    u->question = NULL;
    loop_timer_clear(u->timer);
    if (u->transport_open)
        transport_close(&u->t, hard);
    u->transport_open = false;
    loop_post(u->cluster->loop, &u->task);
}

/* The next call that has not been told yet, sent ones first; NULL when none is left. */
static struct upstream_call *next_unfinished(struct upstream *u, bool *sent)
{
    struct upstream_call *call = u->current;
    *sent = true;
    u->current = NULL;
    if (!call)
        call = list_pop(&u->sent, &u->sent_end);
    if (!call)
        call = list_pop(&u->noreply, &u->noreply_end);
    if (!call) {
        *sent = false;
        call = list_pop(&u->unsent, &u->unsent_end);
    }
    return call;
}

static void drop_calls(struct upstream *u)
{
    struct upstream_call *call;
    bool sent;
    while ((call = next_unfinished(u, &sent))) {
        buf_release(&call->body);
        call_leave(u, call);
    }
    upstream_auth_free(u);
}

void upstream_fail(struct upstream *u, int why, const char *text)
{
    struct upstream_call *call;
    bool sent;
    if (u->state == UPSTREAM_CLOSED)
        return;
    if (!u->was_ready)
        broker_failed(u->broker, u->connect_since_us, why, text);
    else if (why != ERR_EOF || u->ncalls)
        broker_broke(u->broker, why, text);
    /* Its calls are told to have failed, so what the kernel still holds of them must not arrive,
     * not even after a revocation that no longer finds this connection. */
    upstream_stop(u, why != ERR_EOF);
    while (!u->silent && (call = next_unfinished(u, &sent))) {
        bool internal = call_internal(u, call);
        buf_release(&call->body);
        call_leave(u, call);
        if (!internal)
            call->events->failed(call, why, sent);
    }
    drop_calls(u);
    if (!u->silent && u->on_closed)
        u->on_closed(u->arg, u, why);
}

void upstream_close(struct upstream *u, bool hard)
{
    if (u->silent)
        return;
    u->silent = true;
    if (u->state == UPSTREAM_CLOSED)
        return;
    upstream_stop(u, hard);
    drop_calls(u);
}

static void upstream_work(void *arg)
{
    struct upstream *u = arg;
    unsigned work = u->work;
    u->work = 0;
    if (u->state == UPSTREAM_CLOSED) {
        upstream_free(u);
        return;
    }
    if (work & WORK_FAIL)
        upstream_fail(u, u->why, u->text);
    else if (work & WORK_CONNECT)
        connect_next(u);
    else if (work & WORK_READ)
        upstream_read(u, true);
}

void upstream_free_all(struct cluster *c)
{
    struct upstream *next;
    for (struct upstream *u = c->upstreams; u; u = next) {
        next = u->next;
        upstream_close(u, false);
        upstream_free(u);
    }
}

int32_t upstream_broker(const struct upstream *u)
{
    return u->broker->id;
}

bool upstream_idle(const struct upstream *u)
{
    return u->ncalls == 0;
}

uint64_t upstream_idle_since_us(const struct upstream *u)
{
    return u->idle_since_us;
}

size_t upstream_held_bytes(const struct upstream *u)
{
    return u->frame.len + (u->transport_open ? u->t.in.len + u->t.out.len : 0);
}
