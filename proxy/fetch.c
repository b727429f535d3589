/* The Fetch room of a session: one client Fetch, several leaders.
 *
 *   client's Fetch --split by leader--> leg, leg, leg     each asked with the client's limits
 *        a large answer streams at once; the others' partitions are filled in
 *        small ones with news are joined and leave at once
 *        all empty: asked again until the client's max_wait_ms is over
 *   what is still on its way is parked, and taken over by the next Fetch if that is exactly equal
 *
 * A Fetch is worked on when it stands at the head of the session's queue, one at a time; a waiting
 * one is answered as soon as another request stands behind it. */
#include <string.h>

#include "base/alloc.h"
#include "proxy/fetch_priv.h"

#define MAP_TIMEOUT_US (5 * UINT64_C(1000000))

static struct leg *leg_of(const struct fetch_room *r, const struct part *p)
{
    for (struct leg *l = r->legs; l; l = l->next)
        if (l->part == p)
            return l;
    return NULL;
}

static uint64_t now_us(const struct fetch_room *r)
{
    return loop_now_us(r->s->gate->loop);
}

/* --- joining */

static int fill_part(struct fetch_room *r, struct reply_list *list, const struct part *p)
{
    int rc = OK;

    ARRAY_EACH (t, node_get(p->request.root, F_TOPICS)) {
        ARRAY_EACH (q, node_get(t, F_PARTITIONS)) {
            struct node *added;
            rc = reply_add_partition(list, t, q, KAFKA_NONE, &added);
            if (rc == OK)
                rc = marks_fill(r, list->reply, t, q, added);
            if (rc != OK)
                return rc;
        }
    }
    return rc;
}

static int fail_part(struct reply_list *list, const struct part *p, int error)
{
    int rc = OK;

    ARRAY_EACH (t, node_get(p->request.root, F_TOPICS)) {
        rc = reply_add_topic(list, t, error, NULL);
        if (rc != OK)
            return rc;
    }
    return rc;
}

static int take_answer(struct fetch_room *r, struct reply_list *list, struct leg *l)
{
    struct node *topics = node_get(l->answer.root, F_RESPONSES);
    int64_t throttle = node_num(l->answer.root, F_THROTTLE_TIME_MS, 0);
    int rc = OK;

    marks_note(r, &l->answer);
    if (throttle > node_num(list->reply->root, F_THROTTLE_TIME_MS, 0))
        rc = node_set_num(list->reply, list->reply->root, F_THROTTLE_TIME_MS, throttle);
    while (rc == OK && topics->child) {
        struct node *t = topics->child;
        array_take(topics, NULL, t);
        rc = reply_take(list, t);
    }
    return rc;
}

int fetch_join(struct fetch_room *r, const struct leg *without)
{
    struct exchange *ex = r->ex;
    struct reply_list list;
    int rc = reply_new(&ex->reply, &ex->arena, &ex->request);

    if (rc == OK)
        rc = reply_list_init(&list, &ex->reply, NULL);
    for (struct part *p = ex->parts; p && rc == OK; p = p->next) {
        struct leg *l = leg_of(r, p);
        if (l && l == without)
            continue;
        if (l && l->state == LEG_FAILED)
            rc = fail_part(&list, p, l->error);
        else if (l && l->answer.root && node_get(l->answer.root, F_RESPONSES)->count > 0)
            rc = take_answer(r, &list, l);
        else
            rc = fill_part(r, &list, p);
    }
    /* What is not granted is dropped from the answers, before the refusals join them. */
    if (rc == OK)
        rc = rewrite_reply(ex);
    if (rc == OK)
        rc = reply_list_init(&list, &ex->reply, NULL);
    for (const struct refusal *f = ex->refused; f && rc == OK; f = f->next)
        rc = f->partition ? reply_add_partition(&list, f->topic, f->partition, f->error, NULL)
                          : reply_add_topic(&list, f->topic, f->error, NULL);
    return rc;
}

/* --- the end of one Fetch */

/* Drops what nobody came for, and waits for the next to be dropped. */
static void arm_parked(struct fetch_room *r)
{
    uint64_t now = now_us(r), first = 0;
    struct leg *next;

    for (struct leg *l = r->legs; l; l = next) {
        next = l->next;
        if (l->part || l->discard)
            continue;
        if (now - l->parked_us >= FETCH_PARKED_US)
            leg_discard(l);
        else if (!first || l->parked_us < first)
            first = l->parked_us;
    }
    loop_timer_clear(r->timer);
    if (!first)
        return;
    first += FETCH_PARKED_US;
    if (loop_timer_set(r->timer, first > now ? first - now : 1) != OK)
        session_close(r->s, "out of memory", false);
}

/* What was used goes; what is still on its way is parked. */
static void settle(struct fetch_room *r, const struct leg *streaming)
{
    struct leg *next;

    for (struct leg *l = r->legs; l; l = next) {
        next = l->next;
        if (!l->part || l == streaming)
            continue;
        l->part = NULL;
        l->parked_us = now_us(r);
        if (l->state != LEG_WAITING && l->state != LEG_LARGE)
            leg_done(l);
    }
}

static void finish_joined(struct fetch_room *r)
{
    struct exchange *ex = r->ex;
    int rc = fetch_join(r, NULL);

    if (rc != OK) {
        session_close(r->s, "out of memory", false);
        return;
    }
    gate_count(r->s->gate, fetch_joined, 1);
    /* The answer shares the legs' buffers and is encoded before they go; and they go before it is
     * handed over, which may begin the next Fetch. */
    if (!exchange_encode(ex))
        return;
    r->began = false;
    r->ex = NULL;
    settle(r, NULL);
    arm_parked(r);
    session_flush(r->s);
}

void fetch_stream_done(struct fetch_room *r)
{
    struct exchange *ex = r->ex;
    struct leg *l = r->stream.leg;

    stream_release(&r->stream);
    l->calling = false;
    leg_free(l);
    r->began = false;
    r->ex = NULL;
    ex->state = EXCHANGE_DONE;
    arm_parked(r);
    session_flush(r->s);
}

/* --- deciding */

struct tally {
    unsigned waiting, empty, ready;
    struct leg *large;
};

static struct tally count_legs(const struct fetch_room *r)
{
    struct tally t = {0, 0, 0, NULL};

    for (struct leg *l = r->legs; l; l = l->next) {
        if (!l->part)
            continue;
        switch (l->state) {
        case LEG_WAITING:
            t.waiting++;
            break;
        case LEG_EMPTY:
            t.empty++;
            break;
        case LEG_READY:
        case LEG_FAILED:
            t.ready++;
            break;
        case LEG_LARGE:
            if (!t.large || l->streamed_us < t.large->streamed_us)
                t.large = l;
            break;
        }
    }
    return t;
}

static bool unrouted(const struct exchange *ex)
{
    for (const struct refusal *f = ex->refused; f; f = f->next)
        if (f->error != KAFKA_TOPIC_AUTHORIZATION_FAILED && f->error != KAFKA_UNKNOWN_TOPIC_ID)
            return true;
    return false;
}

void fetch_evaluate(struct fetch_room *r)
{
    struct tally t;
    uint64_t now = now_us(r);
    bool over = now + FETCH_AGAIN_US > r->deadline_us || r->at_once;

    if (!r->ex || !r->began || r->sending || r->stream.leg || r->s->state == SESSION_CLOSED)
        return;
    t = count_legs(r);
    if (t.large) {
        gate_count(r->s->gate, fetch_streamed, 1);
        t.large->streamed_us = now;
        loop_timer_clear(r->timer);
        if (stream_start(r, t.large) != OK)
            session_close(r->s, "out of memory", false);
        else
            settle(r, t.large);
        return;
    }
    if (t.ready || r->hurry || unrouted(r->ex) || now >= r->late_us || (over && !t.waiting)) {
        finish_joined(r);
        return;
    }
    if (over)
        return;
    for (struct leg *l = r->legs; l; l = l->next)
        if (l->part && l->state == LEG_EMPTY && l->asks < FETCH_ASKS_MAX)
            leg_again(l);
    if (count_legs(r).ready)
        finish_joined(r);
}

static void on_timer(void *arg)
{
    struct fetch_room *r = arg;
    const struct exchange *ex = r->ex;
    uint64_t now = now_us(r);

    if (!ex) {
        arm_parked(r);
        return;
    }
    fetch_evaluate(r);
    if (r->s->state == SESSION_CLOSED || r->ex != ex || r->stream.leg)
        return;
    if (loop_timer_set(r->timer, r->late_us > now ? r->late_us - now : 1) != OK)
        session_close(r->s, "out of memory", false);
}

/* --- the beginning */

static void start_legs(struct fetch_room *r)
{
    struct exchange *ex = r->ex;
    uint64_t now = now_us(r);

    r->sending = true;
    r->late_us = r->deadline_us + (ex->parts && !ex->parts->next ? FETCH_ALONE_US : FETCH_LATE_US);
    if (r->deadline_us <= ex->started_us + FETCH_LEADERS_US &&
        r->late_us < ex->started_us + FETCH_LEADERS_US)
        r->late_us = ex->started_us + FETCH_LEADERS_US;
    for (struct part *p = ex->parts; p; p = p->next) {
        if (!leg_attach(r, p) || r->s->state == SESSION_CLOSED) {
            session_close(r->s, "out of memory", false);
            return;
        }
    }
    r->sending = false;
    if (loop_timer_set(r->timer, r->deadline_us > now ? r->deadline_us - now : 1) != OK) {
        session_close(r->s, "out of memory", false);
        return;
    }
    fetch_evaluate(r);
    /* A large answer that was parked waits in its socket: nothing new will come to wake it. */
    if (r->s->state != SESSION_CLOSED && r->stream.leg)
        upstream_resume(r->stream.leg->up);
}

static void begin(struct fetch_room *r);

static void on_map(void *arg, int result)
{
    struct exchange *ex = arg;

    (void)result;
    ex->waiting = false;
    ex->refreshed = true;
    begin(ex->s->fetch);
}

static void begin(struct fetch_room *r)
{
    struct exchange *ex = r->ex;
    int64_t wait_ms = node_num(ex->request.root, F_MAX_WAIT_MS, 0);
    int rc;

    if (!ex->refreshed && route_map_lacks(ex)) {
        ex->waiting = true;
        cluster_wait_init(&ex->wait, on_map, ex);
        cluster_wait_topics(r->s->gate->cluster, &ex->wait, MAP_TIMEOUT_US);
        return;
    }
    rc = fetch_normalize(ex);
    if (rc == OK)
        rc = route_split_leaders(ex);
    if (rc != OK) {
        session_close(r->s, "out of memory", false);
        return;
    }
    r->round++;
    r->at_once = node_num(ex->request.root, F_MIN_BYTES, 1) <= 0;
    wait_ms = wait_ms < 0 ? 0 : wait_ms > FETCH_WAIT_MAX_MS ? FETCH_WAIT_MAX_MS : wait_ms;
    r->deadline_us = ex->started_us + (uint64_t)wait_ms * 1000;
    if (marks_left_out(r) && r->deadline_us > now_us(r) + FETCH_LEFT_OUT_US)
        r->deadline_us = now_us(r) + FETCH_LEFT_OUT_US;
    r->began = true;
    start_legs(r);
}

/* A Fetch behind a Fetch waits for its turn, as before a broker; two consumers that take turns
 * would else chase each other. */
static bool other_behind(const struct exchange *ex)
{
    for (const struct exchange *e = ex->next; e; e = e->next)
        if (e->rule->route != ROUTE_FETCH)
            return true;
    return false;
}

void fetch_at_head(struct exchange *ex)
{
    struct fetch_room *r = ex->s->fetch;

    if (ex->state == EXCHANGE_STREAMING) {
        if (r && r->stream.leg)
            upstream_resume(r->stream.leg->up);
        return;
    }
    if (!r || r->ex || !ex->fetch_ready)
        return;
    r->ex = ex;
    r->hurry = other_behind(ex) || ex->s->state == SESSION_DRAINING;
    begin(r);
}

static struct fetch_room *room(struct session *s)
{
    struct fetch_room *r = s->fetch;

    if (r)
        return r;
    r = sl_calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->s = s;
    r->timer = loop_timer_new(s->gate->loop, on_timer, r);
    if (!r->timer) {
        sl_free(r);
        return NULL;
    }
    s->fetch = r;
    return r;
}

/* A replica asks: with CLUSTER_ACTION denied, Kafka answers 29 for every partition. */
static bool from_replica(const struct exchange *ex)
{
    const struct node *state = node_get(ex->request.root, F_REPLICA_STATE);

    return node_num(ex->request.root, F_REPLICA_ID, -1) >= 0 ||
           (state && node_num(state, F_REPLICA_ID, -1) >= 0);
}

static int refuse_all(struct exchange *ex)
{
    struct node *topics = node_get(ex->request.root, F_TOPICS);
    int rc = OK;

    while (topics->child && rc == OK) {
        struct node *t = topics->child;
        array_take(topics, NULL, t);
        rc = exchange_refuse(ex, t, NULL, NULL, KAFKA_TOPIC_AUTHORIZATION_FAILED);
    }
    session_denied(ex->s, ex, "cluster", "replica id", 10, KAFKA_TOPIC_AUTHORIZATION_FAILED);
    return rc;
}

void fetch_start(struct exchange *ex)
{
    const struct node *root = ex->request.root;
    int rc = OK;
    int64_t epoch = node_num(root, F_SESSION_EPOCH, -1);

    /* We give out no sessions, so any id is not the client's own, nor is there one to go on with.
     * A session's end (epoch -1) is a Fetch without one, whatever its id. */
    if (epoch != -1 && (epoch > 0 || node_num(root, F_SESSION_ID, 0) != 0)) {
        rc = reply_new(&ex->reply, &ex->arena, &ex->request);
        if (rc == OK)
            rc = node_set_num(&ex->reply, ex->reply.root, F_ERROR_CODE,
                              KAFKA_FETCH_SESSION_ID_NOT_FOUND);
        if (rc == OK)
            exchange_finish(ex);
        else
            session_close(ex->s, "out of memory", false);
        return;
    }
    if (from_replica(ex))
        rc = refuse_all(ex);
    if (rc != OK || !room(ex->s)) {
        session_close(ex->s, "out of memory", false);
        return;
    }
    ex->fetch_ready = true;
    /* Nothing to ask: a closing Fetch, or everything was refused. */
    if (node_get(root, F_TOPICS)->count == 0)
        exchange_finish_refused(ex);
    else if (ex->s->head == ex)
        fetch_at_head(ex);
}

void fetch_behind(struct session *s)
{
    struct fetch_room *r = s->fetch;

    if (!r || !r->ex)
        return;
    r->hurry = true;
    fetch_evaluate(r);
}

void fetch_clear(struct session *s)
{
    struct leg *next;

    if (!s->fetch)
        return;
    for (struct leg *l = s->fetch->legs; l; l = next) {
        next = l->next;
        if (!l->part && !l->discard && s->fetch->stream.leg != l)
            leg_discard(l);
    }
}

void fetch_stop(struct session *s)
{
    if (s->fetch)
        loop_timer_clear(s->fetch->timer);
}

void fetch_release(struct session *s)
{
    struct fetch_room *r = s->fetch;

    if (!r)
        return;
    s->fetch = NULL;
    stream_release(&r->stream);
    while (r->legs)
        leg_free(r->legs);
    marks_release(r);
    loop_timer_free(r->timer);
    sl_free(r);
}
