#include "proxy/exchange.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "proxy/cleanup.h"

/* What a request's tree and answer may take: a fixed part and so much for each byte of the frame,
 * since the smallest array element is one byte and a node of the tree some sixty. */
#define EXCHANGE_ARENA_BYTES    ((size_t)512 * 1024)
#define EXCHANGE_ARENA_PER_BYTE 128
#define EXCHANGE_ARENA_MAX      ((size_t)64 * 1024 * 1024)
#define REFRESH_TIMEOUT_US      (3 * UINT64_C(1000000))

static size_t arena_limit(size_t frame_bytes)
{
    size_t n = EXCHANGE_ARENA_BYTES + frame_bytes * EXCHANGE_ARENA_PER_BYTE;

    return n < EXCHANGE_ARENA_MAX ? n : EXCHANGE_ARENA_MAX;
}

/* A zeroed exchange, but for what its arena may have kept. Requests come one after another as a
 * rule: the last one's memory is warm, and four allocations are saved. */
static struct exchange *spare_take(struct gate *g)
{
    struct exchange *ex = g->spare;
    struct arena kept;

    if (!ex) {
        ex = sl_calloc(1, sizeof(*ex));
        if (ex)
            arena_init(&ex->arena, 0);
        return ex;
    }
    g->spare = NULL;
    sl_unpoison(ex, sizeof(*ex));
    kept = ex->arena;
    memset(ex, 0, sizeof(*ex));
    ex->arena = kept;
    return ex;
}

void exchange_free_spare(struct gate *g)
{
    struct exchange *ex = g->spare;

    g->spare = NULL;
    if (!ex)
        return;
    sl_unpoison(ex, sizeof(*ex));
    arena_release(&ex->arena);
    sl_free(ex);
}

static struct exchange *exchange_new(struct session *s, struct buf *frame,
                                     const struct request_head *head)
{
    struct exchange *ex = spare_take(s->gate);

    if (!ex)
        return NULL;
    ex->s = s;
    ex->head = *head;
    ex->head.client_id = NULL; /* the session keeps it */
    ex->rule = api_find(head->api);
    ex->started_us = loop_now_us(s->gate->loop);
    ex->arena.limit_bytes = arena_limit(frame->len);
    buf_init(&ex->frame, frame->len);
    buf_init(&ex->out, SIZE_MAX);
    if (buf_move(&ex->frame, frame) != OK) {
        exchange_free(ex);
        return NULL;
    }
    if (s->tail)
        s->tail->next = ex;
    else
        s->head = ex;
    s->tail = ex;
    s->in_flight++;
    return ex;
}

void exchange_free(struct exchange *ex)
{
    struct gate *g = ex->s->gate;

    g->arena_bytes -= ex->held_arena_bytes;
    for (struct part *p = ex->parts; p; p = p->next) {
        buf_release(&p->frame);
        buf_release(&p->call.body);
    }
    buf_release(&ex->out);
    buf_release(&ex->frame);
    exchange_free_spare(g);
    arena_clear(&ex->arena);
    sl_poison(ex, sizeof(*ex));
    g->spare = ex;
}

/* The session is known by the last id that it gave. A request without one takes none away: those in
 * front of it may not have left yet. */
static void keep_client_id(struct session *s, const struct request_head *h)
{
    size_t n =
        h->client_id_len < sizeof(s->client_id) - 1 ? h->client_id_len : sizeof(s->client_id) - 1;

    if (!h->client_id)
        return;
    memcpy(s->client_id, h->client_id, n);
    s->client_id[n] = '\0';
}

static int decode_request(struct exchange *ex)
{
    struct msg_error e = {"malformed request", 0};
    size_t off = ex->head.body_off + frame_placeholder(&ex->frame, &ex->head);
    int rc = msg_decode(&ex->request, &ex->arena, schema_find(ex->head.api, true), ex->head.version,
                        &ex->frame, off, ex->frame.len - off, &e);

    if (rc == ERR_MALFORMED) {
        session_protocol_error(ex->s, &ex->head, off + e.offset, e.why);
    } else if (rc == ERR_LIMIT) {
        session_protocol_error(ex->s, &ex->head, off, "a request with too many elements");
    } else if (rc != OK) {
        session_close(ex->s, "out of memory", false);
    } else if (ex->request.unknown_tags) {
        ex->s->unknown_tags += ex->request.unknown_tags;
        gate_count(ex->s->gate, unknown_tags, ex->request.unknown_tags);
    }
    return rc;
}

/* Right after a login the map may not have told of the granted topics yet: ids could not be
 * resolved, absent topics not be told from new ones. Asked once for each topic of the session. */
static bool topics_known(struct session *s)
{
    for (unsigned i = 0; i < s->grants.count && !s->topics_known; i++) {
        const struct grant *g = s->grants.at[i];
        for (size_t t = 0; t < g->ntopics; t++) {
            const struct topic_info *info =
                cluster_topic(s->gate->cluster, g->topics[t], strlen(g->topics[t]));
            if (!info || !info->known)
                return false;
        }
    }
    s->topics_known = true;
    return true;
}

static void decide(struct exchange *ex);

static void on_map(void *arg, int result)
{
    struct exchange *ex = arg;

    (void)result;
    ex->waiting = false;
    ex->map_waited = true;
    decide(ex);
    exchange_dispatch(ex->s);
}

static void decide(struct exchange *ex)
{
    struct session *s = ex->s;
    int rc;

    if (!audit_ok(s->gate->audit)) {
        session_close(s, "the audit trail cannot be written", false);
        return;
    }
    if (ex->rule->topic_ops && !ex->map_waited && !topics_known(s)) {
        ex->waiting = true;
        cluster_wait_init(&ex->wait, on_map, ex);
        cluster_wait_topics(s->gate->cluster, &ex->wait, REFRESH_TIMEOUT_US);
        return;
    }
    if (ex->rule->route == ROUTE_LOCAL) {
        local_answer(ex);
        return;
    }
    rc = policy_decide(ex);
    if (ex->rule->route == ROUTE_FETCH)
        ex->unrouted = false; /* it has connections of its own */
    if (rc == OK && ex->rule->route == ROUTE_FETCH)
        fetch_start(ex);
    else if (rc == OK)
        route_start(ex);
    else if (rc != ERR_DENIED)
        session_close(s, "out of memory", false);
}

void exchange_hold(struct exchange *ex)
{
    size_t arena = ex->arena.used_bytes;
    size_t n = arena + ex->frame.len + ex->out.len;

    for (const struct part *p = ex->parts; p; p = p->next)
        n += p->frame.len;
    ex->s->held_bytes += n - ex->held_bytes;
    ex->s->gate->arena_bytes += arena - ex->held_arena_bytes;
    ex->held_bytes = n;
    ex->held_arena_bytes = arena;
}

void exchange_unhold(struct exchange *ex)
{
    ex->s->held_bytes -= ex->held_bytes;
    ex->held_bytes = 0;
}

void exchange_start(struct session *s, struct buf *frame, const struct request_head *head)
{
    struct exchange *ex;

    keep_client_id(s, head);
    ex = exchange_new(s, frame, head);
    if (!ex) {
        session_close(s, "out of memory", false);
        return;
    }
    if (s->head != ex && ex->rule->route != ROUTE_FETCH)
        fetch_behind(s);
    if (s->state == SESSION_CLOSED)
        return;
    if (head->api == 18 && head->version > ex->rule->offered.max) {
        local_answer(ex);
        return;
    }
    if (decode_request(ex) != OK)
        return;
    exchange_hold(ex);
    /* FindCoordinator takes its turn, so that a session looks up one at a time. */
    if (ex->rule->route == ROUTE_LOCAL && head->api != 10) {
        local_answer(ex);
        return;
    }
    ex->unrouted = true;
    ex->deferred = true;
    exchange_dispatch(s);
}

void exchange_dispatch(struct session *s)
{
    struct exchange *ex = s->head;

    while (s->state != SESSION_CLOSED && ex) {
        if (ex->deferred) {
            ex->deferred = false;
            decide(ex);
            ex = s->head; /* any number may have been answered */
        } else if (ex->unrouted) {
            return;
        } else {
            ex = ex->next;
        }
    }
}

/* --- answers */

bool exchange_encode(struct exchange *ex)
{
    struct session *s = ex->s;
    int64_t throttle;
    int rc = OK;

    if (s->state == SESSION_CLOSED)
        return false;
    throttle = node_num(ex->reply.root, F_THROTTLE_TIME_MS, 0);
    if (ex->throttle_ms > throttle)
        rc = node_set_num(&ex->reply, ex->reply.root, F_THROTTLE_TIME_MS, ex->throttle_ms);
    if (rc == OK)
        rc = msg_encode_response(&ex->reply, ex->head.correlation, &ex->out);
    if (rc != OK) {
        log_error("exchange", "session %lu: an answer to %s could not be written: %s",
                  (unsigned long)s->number, schema_api_name(ex->head.api), err_name(rc));
        session_close(s, "internal error", false);
        return false;
    }
    ex->state = EXCHANGE_DONE;
    ex->unrouted = false;
    exchange_hold(ex);
    return true;
}

void exchange_finish(struct exchange *ex)
{
    if (exchange_encode(ex))
        session_flush(ex->s);
}

int exchange_refuse(struct exchange *ex, const struct node *topic, const struct node *partition,
                    const struct node *group, int error)
{
    struct refusal *r = arena_zalloc(&ex->arena, sizeof(*r));

    if (!r)
        return ERR_NOMEM;
    r->topic = topic;
    r->partition = partition;
    r->group = group;
    r->error = error;
    if (ex->refused_last)
        ex->refused_last->next = r;
    else
        ex->refused = r;
    ex->refused_last = r;
    ex->nrefused++;
    return OK;
}

static struct node *find_group(struct exchange *ex, const struct node *group)
{
    const struct node *id = node_role(group, ROLE_GROUP);
    struct node *items = node_get(ex->reply.root, ex->rule->reply_items);

    ARRAY_EACH (e, items) {
        const struct node *theirs = node_role(e, ROLE_GROUP);
        if (theirs && node_str_eq(id, theirs))
            return e;
    }
    return NULL;
}

/* Appends what was refused, each topic once. Refusals of one group stand together. */
static int add_refused(struct exchange *ex)
{
    struct reply_list list;
    const struct node *at = NULL;
    bool open = false;
    int rc = OK;

    for (const struct refusal *r = ex->refused; r && rc == OK; r = r->next) {
        bool topic = node_role(r->topic, ROLE_TOPIC) || node_role(r->topic, ROLE_TOPIC_ID);
        if (!topic ||
            (ex->rule->items != F_NONE && !r->group && r->topic->field->id == ex->rule->items)) {
            rc = reply_add_item(&ex->reply, r->topic, r->error, NULL);
            open = false;
            continue;
        }
        if (!open || at != r->group) {
            struct node *group = r->group ? find_group(ex, r->group) : NULL;
            if (r->group && !group)
                continue; /* the whole group failed: its answer has no topics */
            rc = reply_list_init(&list, &ex->reply, group);
            open = true;
            at = r->group;
            if (rc != OK)
                break;
        }
        if (r->partition)
            rc = reply_add_partition(&list, r->topic, r->partition, r->error, NULL);
        else
            rc = reply_add_topic(&list, r->topic, r->error, NULL);
    }
    return rc;
}

void exchange_fail(struct exchange *ex, int error)
{
    int rc = reply_error(&ex->reply, &ex->arena, &ex->request, error);

    if (rc == OK)
        rc = add_refused(ex);
    if (rc != OK)
        session_close(ex->s, "out of memory", false);
    else
        exchange_finish(ex);
}

static void finish_with_refused(struct exchange *ex)
{
    int rc = rewrite_reply(ex);

    if (rc == OK && ex->parts)
        memberships_note(ex);
    if (rc == OK)
        rc = add_refused(ex);
    if (rc != OK)
        session_close(ex->s, "out of memory", false);
    else
        exchange_finish(ex);
}

void exchange_finish_refused(struct exchange *ex)
{
    if (reply_new(&ex->reply, &ex->arena, &ex->request) != OK)
        session_close(ex->s, "out of memory", false);
    else
        finish_with_refused(ex);
}

static void on_refreshed(void *arg, int result)
{
    struct exchange *ex = arg;

    (void)result;
    ex->waiting = false;
    ex->refreshed = true;
    finish_with_refused(ex);
}

/* A Produce that wants no answer: all of it was handed to the kernel, or the connection ends, which
 * is all that a broker would show. */
static void finish_silent(struct exchange *ex)
{
    for (const struct part *p = ex->parts; p; p = p->next) {
        if (p->answered)
            continue;
        session_close(ex->s, "a broker was lost under a Produce without acknowledgement", false);
        return;
    }
    ex->state = EXCHANGE_SILENT;
    session_flush(ex->s);
}

void exchange_parts_done(struct exchange *ex)
{
    struct gate *g = ex->s->gate;

    if (ex->s->state == SESSION_CLOSED)
        return;
    if (ex->parts && ex->parts->call.no_answer) {
        finish_silent(ex);
        return;
    }
    if (merge_parts(ex) != OK) {
        session_close(ex->s, "out of memory", false);
        return;
    }
    if (!ex->refreshed && rewrite_unknown_id(ex)) {
        ex->waiting = true;
        cluster_wait_init(&ex->wait, on_refreshed, ex);
        cluster_wait_topics(g->cluster, &ex->wait, REFRESH_TIMEOUT_US);
        return;
    }
    finish_with_refused(ex);
}

/* --- parts */

struct part *exchange_part(struct exchange *ex, int32_t broker)
{
    struct part **at = &ex->parts;

    while (*at) {
        if ((*at)->broker == broker)
            return *at;
        at = &(*at)->next;
    }
    *at = arena_zalloc(&ex->arena, sizeof(**at));
    if (*at) {
        (*at)->ex = ex;
        (*at)->broker = broker;
        buf_init(&(*at)->frame, SIZE_MAX);
        buf_init(&(*at)->call.body, SIZE_MAX);
    }
    return *at;
}

void exchange_bad_answer(struct exchange *ex, const char *why)
{
    session_bad_answer(ex->s, schema_api_name(ex->head.api), ex->head.version, why);
}

/* What a client hears when a broker gave no answer: always a code that it retries. Produce tells
 * apart what was never sent (6) from what may have been written (7). */
static int failure_code(const struct exchange *ex, bool sent)
{
    switch (ex->rule->route) {
    case ROUTE_LEADER:
        return ex->head.api == 0 && sent ? KAFKA_REQUEST_TIMED_OUT : KAFKA_NOT_LEADER_OR_FOLLOWER;
    case ROUTE_FETCH:
        return KAFKA_NOT_LEADER_OR_FOLLOWER;
    case ROUTE_GROUP:
    case ROUTE_TXN:
        return ex->broker_any ? KAFKA_COORDINATOR_LOAD_IN_PROGRESS : KAFKA_NOT_COORDINATOR;
    case ROUTE_ANY:
        return ex->head.api == 32 ? KAFKA_REQUEST_TIMED_OUT : KAFKA_LEADER_NOT_AVAILABLE;
    case ROUTE_ALL:
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    case ROUTE_LOCAL:
        break;
    }
    return KAFKA_REQUEST_TIMED_OUT;
}

static void part_done(struct part *p)
{
    struct exchange *ex = p->ex;

    p->waiting = false;
    if (--ex->pending == 0)
        exchange_parts_done(ex);
}

static void on_answer(struct upstream_call *c, struct buf *frame, size_t body_off)
{
    struct part *p = c->arg;
    struct exchange *ex = p->ex;
    struct msg_error e = {"malformed answer", 0};
    int rc;

    if (!frame) { /* acks=0: handed to the kernel */
        p->answered = true;
        part_done(p);
        return;
    }
    rc = buf_move(&p->frame, frame);
    if (rc == OK)
        rc = msg_decode(&p->answer, &ex->arena, schema_find(c->api, false), c->version, &p->frame,
                        body_off, p->frame.len - body_off, &e);
    if (rc == ERR_MALFORMED) {
        exchange_bad_answer(ex, e.why);
        return;
    }
    if (rc != OK) {
        session_close(ex->s, rc == ERR_LIMIT ? "a broker's answer is too large" : "out of memory",
                      false);
        return;
    }
    if (p->answer.unknown_tags)
        gate_count(ex->s->gate, unknown_tags, p->answer.unknown_tags);
    p->answered = true;
    exchange_hold(ex);
    part_done(p);
}

static void on_failed(struct upstream_call *c, int why, bool sent)
{
    struct part *p = c->arg;
    struct exchange *ex = p->ex;

    gate_count(ex->s->gate, upstream_failures, 1);
    if (why == ERR_MALFORMED) {
        exchange_bad_answer(ex, "an answer out of place, oversized or malformed");
        return;
    }
    cluster_stale(ex->s->gate->cluster);
    p->error = failure_code(ex, sent);
    part_done(p);
}

static const struct upstream_call_events part_events = {.answer = on_answer, .failed = on_failed};

/* How long a broker may take; 0: the configuration's request_timeout_ms. Joining waits for the
 * other members, up to the rebalance timeout, and syncing for the leader. */
static uint64_t call_deadline(const struct exchange *ex)
{
    const struct node *root = ex->request.root;
    int64_t ms = 0, session;

    switch (ex->head.api) {
    case 0:
        ms = node_num(root, F_TIMEOUT_MS, 0) + 1000;
        ms = ms < 1000 ? 1000 : ms > 20000 ? 20000 : ms;
        break;
    case 11:
        session = node_num(root, F_SESSION_TIMEOUT_MS, 0);
        ms = node_num(root, F_REBALANCE_TIMEOUT_MS, -1);
        ms = (ms > session ? ms : session) + 10000;
        ms = ms < 30000 ? 30000 : ms > 3600000 ? 3600000 : ms;
        break;
    case 14:
        ms = 300000;
        break;
    default:
        return 0;
    }
    return loop_now_us(ex->s->gate->loop) + (uint64_t)ms * 1000;
}

void exchange_send(struct exchange *ex, struct part *p, enum upstream_kind kind)
{
    struct upstream *up;
    int rc = msg_encode(&p->request, &p->call.body);

    p->call.events = &part_events;
    p->call.arg = p;
    p->call.api = ex->head.api;
    p->call.version = ex->head.version;
    p->call.client_id = ex->s->client_id[0] ? ex->s->client_id : NULL;
    p->call.deadline_us = call_deadline(ex);
    ex->unrouted = false;
    up = rc == OK ? session_upstream(ex->s, p->broker, kind) : NULL;
    if (rc == OK)
        rc = up ? upstream_send(up, &p->call) : ERR_UNKNOWN;
    if (rc == OK) {
        p->waiting = true;
        ex->pending++;
        return;
    }
    p->error = failure_code(ex, false);
}
