#include "proxy/cleanup.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "proxy/exchange.h"

#define KAFKA_CONCURRENT_TRANSACTIONS 51
#define RETRY_US                      200000
#define JOB_ARENA_BYTES               16384
#define TXN_TIMEOUT_MS                60000

struct membership {
    struct membership *next;
    enum membership_kind kind;
    char *member;   /* "" for a producer */
    char *instance; /* NULL: none */
    char key[];     /* group or transactional id */
};

struct cleanup {
    struct cleanup *next, **prev;
    struct gate *gate;
    struct membership *what;
    struct cluster_wait wait;
    struct upstream *up;
    struct upstream_call call;
    struct loop_timer *timer; /* the next try, or the end */
    uint64_t until_us;
    bool waiting, calling;
};

/* --- what a session joined */

static void free_membership(struct membership *m)
{
    sl_free(m->member);
    sl_free(m->instance);
    sl_free(m);
}

void memberships_release(struct membership **list)
{
    while (*list) {
        struct membership *m = *list;
        *list = m->next;
        free_membership(m);
    }
}

static char *copy_text(const struct node *n)
{
    char *s;

    if (!n || n->null)
        return NULL;
    s = sl_malloc((size_t)n->u.str.len + 1);
    if (!s)
        return NULL;
    memcpy(s, n->u.str.p, n->u.str.len);
    s[n->u.str.len] = '\0';
    return s;
}

/* member NULL: all of that group. */
static void forget(struct session *s, enum membership_kind kind, const struct node *key,
                   const struct node *member)
{
    struct membership **at = &s->memberships;

    while (*at) {
        struct membership *m = *at;
        if (m->kind == kind && node_str_is(key, m->key) &&
            (!member || (m->member && node_str_is(member, m->member)))) {
            *at = m->next;
            free_membership(m);
        } else {
            at = &m->next;
        }
    }
}

/* Newest first; what is too much is forgotten: tidying up is best effort. */
static void note(struct session *s, enum membership_kind kind, const struct node *key,
                 const struct node *member, const struct node *instance)
{
    struct membership *m, **at = &s->memberships;
    unsigned n = 0;

    forget(s, kind, key, member);
    m = sl_calloc(1, sizeof(*m) + key->u.str.len + 1);
    if (!m)
        return;
    m->kind = kind;
    memcpy(m->key, key->u.str.p, key->u.str.len);
    m->member = copy_text(member);
    m->instance = copy_text(instance);
    m->next = s->memberships;
    s->memberships = m;
    while (*at && n++ < MEMBERSHIPS_MAX)
        at = &(*at)->next;
    memberships_release(at);
}

void memberships_note(struct exchange *ex)
{
    const struct node *q = ex->request.root, *a = ex->reply.root;
    const struct node *group = node_role(q, ROLE_GROUP), *txn = node_role(q, ROLE_TXN);
    const struct node *member;

    if (node_num(a, F_ERROR_CODE, KAFKA_NONE) != KAFKA_NONE)
        return;
    switch (ex->head.api) {
    case 11:
        note(ex->s, MEMBER_CLASSIC, group, node_get(a, F_MEMBER_ID),
             node_get(q, F_GROUP_INSTANCE_ID));
        break;
    case 13:
        forget(ex->s, MEMBER_CLASSIC, group, NULL);
        break;
    case 22:
        if (txn && !txn->null)
            note(ex->s, MEMBER_PRODUCER, txn, NULL, NULL);
        break;
    case 68:
        member = node_get(a, F_MEMBER_ID);
        if (!member || member->null)
            member = node_get(q, F_MEMBER_ID);
        if (node_num(q, F_MEMBER_EPOCH, 0) < 0)
            forget(ex->s, MEMBER_CONSUMER, group, member);
        else
            note(ex->s, MEMBER_CONSUMER, group, member, node_get(q, F_INSTANCE_ID));
        break;
    default:
        break;
    }
}

/* --- jobs */

static void free_job(struct cleanup *j)
{
    if (j->waiting)
        cluster_wait_cancel(&j->wait);
    if (j->up)
        upstream_close(j->up, false);
    buf_release(&j->call.body);
    loop_timer_free(j->timer);
    free_membership(j->what);
    *j->prev = j->next;
    if (j->next)
        j->next->prev = j->prev;
    j->gate->ncleanups--;
    sl_free(j);
}

void cleanup_release(struct gate *g)
{
    struct cleanup *next;

    for (struct cleanup *j = g->cleanups; j; j = next) {
        next = j->next;
        free_job(j);
    }
}

static void end_job(struct cleanup *j, const char *how)
{
    log_debug("cleanup", "%s: %s", j->what->key, how);
    free_job(j);
}

static int job_api(const struct cleanup *j)
{
    switch (j->what->kind) {
    case MEMBER_CLASSIC:
        return 13;
    case MEMBER_CONSUMER:
        return 68;
    case MEMBER_PRODUCER:
        return 22;
    }
    return 13;
}

static int fill_leave(struct msg *m, const struct membership *w)
{
    struct node *list = m->version >= 3 ? node_array(m, m->root, F_MEMBERS) : NULL;
    struct node *at = m->version >= 3 ? (list ? array_add(m, list) : NULL) : m->root;
    int rc = at ? node_set_text(m, at, F_MEMBER_ID, w->member ? w->member : "") : ERR_NOMEM;

    if (rc == OK && w->instance)
        rc = node_set_text(m, at, F_GROUP_INSTANCE_ID, w->instance);
    if (rc == OK)
        rc = node_set_text(m, m->root, F_GROUP_ID, w->key);
    return rc;
}

static int fill_heartbeat(struct msg *m, const struct membership *w)
{
    int rc = node_set_text(m, m->root, F_GROUP_ID, w->key);

    if (rc == OK)
        rc = node_set_text(m, m->root, F_MEMBER_ID, w->member ? w->member : "");
    if (rc == OK && w->instance)
        rc = node_set_text(m, m->root, F_INSTANCE_ID, w->instance);
    if (rc == OK)
        rc = node_set_num(m, m->root, F_MEMBER_EPOCH, -1);
    return rc;
}

static int fill_init(struct msg *m, const struct membership *w)
{
    int rc = node_set_text(m, m->root, F_TRANSACTIONAL_ID, w->key);

    if (rc == OK)
        rc = node_set_num(m, m->root, F_TRANSACTION_TIMEOUT_MS, TXN_TIMEOUT_MS);
    return rc;
}

static int encode_job(struct cleanup *j, int api, int version)
{
    struct arena arena;
    struct msg m;
    int rc;

    arena_init(&arena, JOB_ARENA_BYTES);
    rc = msg_new(&m, &arena, schema_find(api, true), version);
    if (rc == OK)
        rc = api == 13   ? fill_leave(&m, j->what)
             : api == 68 ? fill_heartbeat(&m, j->what)
                         : fill_init(&m, j->what);
    if (rc == OK)
        rc = msg_encode(&m, &j->call.body);
    arena_release(&arena);
    return rc;
}

static void find_coordinator(struct cleanup *j);

static void on_timer(void *arg)
{
    struct cleanup *j = arg;

    if (loop_now_us(j->gate->loop) >= j->until_us)
        end_job(j, "gave up");
    else
        find_coordinator(j);
}

static void retry(struct cleanup *j)
{
    if (loop_timer_set(j->timer, RETRY_US) != OK)
        end_job(j, "out of memory");
}

static void on_answer(struct upstream_call *c, struct buf *frame, size_t body_off)
{
    struct cleanup *j = c->arg;
    struct arena arena;
    struct msg m;
    int64_t error = 0;

    j->calling = false;
    arena_init(&arena, JOB_ARENA_BYTES);
    if (msg_decode(&m, &arena, schema_find(c->api, false), c->version, frame, body_off,
                   frame->len - body_off, NULL) == OK)
        error = node_num(m.root, F_ERROR_CODE, 0);
    arena_release(&arena);
    if (error == KAFKA_CONCURRENT_TRANSACTIONS || error == KAFKA_NOT_COORDINATOR ||
        error == KAFKA_COORDINATOR_NOT_AVAILABLE || error == KAFKA_COORDINATOR_LOAD_IN_PROGRESS)
        retry(j);
    else
        end_job(j, error ? "refused by the broker" : "done");
}

static void on_failed(struct upstream_call *c, int why, bool sent)
{
    struct cleanup *j = c->arg;

    (void)why;
    (void)sent;
    j->calling = false;
    retry(j);
}

static const struct upstream_call_events job_events = {.answer = on_answer, .failed = on_failed};

static void on_closed(void *arg, struct upstream *u, int why)
{
    struct cleanup *j = arg;

    (void)u;
    (void)why;
    j->up = NULL;
}

static void send_job(struct cleanup *j, int32_t broker)
{
    int api = job_api(j), rc;
    const struct api_rule *rule = api_find(api);
    struct versions v;

    if (!cluster_versions(j->gate->cluster, api, &v)) {
        end_job(j, "not spoken by the brokers");
        return;
    }
    if (j->up && upstream_broker(j->up) != broker) {
        upstream_close(j->up, false);
        j->up = NULL;
    }
    buf_release(&j->call.body);
    memset(&j->call, 0, sizeof(j->call));
    buf_init(&j->call.body, JOB_ARENA_BYTES);
    j->call.events = &job_events;
    j->call.arg = j;
    j->call.api = (int16_t)api;
    j->call.version = v.max < rule->offered.max ? v.max : rule->offered.max;
    rc = encode_job(j, api, j->call.version);
    if (rc == OK && !j->up)
        j->up = upstream_open(j->gate->cluster, broker, on_closed, j);
    if (rc == OK)
        rc = j->up ? upstream_send(j->up, &j->call) : ERR_UNKNOWN;
    if (rc != OK)
        retry(j);
    else
        j->calling = true;
}

static void on_coordinator(void *arg, int result)
{
    struct cleanup *j = arg;
    int kind = j->what->kind == MEMBER_PRODUCER ? COORDINATOR_TXN : COORDINATOR_GROUP;

    j->waiting = false;
    if (result == OK)
        send_job(j,
                 cluster_coordinator(j->gate->cluster, kind, j->what->key, strlen(j->what->key)));
    else
        retry(j);
}

static void find_coordinator(struct cleanup *j)
{
    int kind = j->what->kind == MEMBER_PRODUCER ? COORDINATOR_TXN : COORDINATOR_GROUP;
    struct cluster *c = j->gate->cluster;

    if (j->waiting || j->calling)
        return;
    j->waiting = true;
    cluster_wait_init(&j->wait, on_coordinator, j);
    cluster_forget_coordinator(c, kind, j->what->key, strlen(j->what->key));
    cluster_find_coordinator(c, kind, j->what->key, strlen(j->what->key), &j->wait,
                             CLEANUP_TIMEOUT_US / 2);
}

struct still {
    const struct grant_table *table;
    int64_t now_s;
    const char *participant, *key;
    unsigned ops;
    bool allowed;
};

static void look(void *arg, struct grant *g)
{
    struct still *s = arg;
    struct grant_set one = {.at = {g}, .count = 1};

    if (strcmp(g->participant, s->participant) != 0 || grant_table_barred(s->table, g) ||
        (g->expires != 0 && g->expires <= s->now_s))
        return;
    s->allowed = s->allowed || grant_group(&one, s->key, strlen(s->key), s->ops);
}

/* Another grant or live session of the same participant may go on using the group. */
static bool still_allowed(struct gate *g, const struct session *gone, const struct membership *m)
{
    unsigned ops = m->kind == MEMBER_PRODUCER ? OP_WRITE : OP_READ;
    struct still s = {g->grants,
                      loop_wall_s(g->loop),
                      gone->grants.count ? gone->grants.at[0]->participant : "",
                      m->key,
                      ops,
                      false};

    grant_table_each_grant(g->grants, look, &s);
    for (const struct session *o = g->first; o && !s.allowed; o = o->next)
        s.allowed = o->grants.count > 0 &&
                    strcmp(o->grants.at[0]->participant, s.participant) == 0 &&
                    grant_group(&o->grants, m->key, strlen(m->key), ops);
    return s.allowed;
}

static void start_job(struct gate *g, struct membership *m)
{
    struct cleanup *j = g->ncleanups < CLEANUP_JOBS_MAX ? sl_calloc(1, sizeof(*j)) : NULL;

    if (!j) {
        free_membership(m);
        return;
    }
    j->gate = g;
    j->what = m;
    j->until_us = loop_now_us(g->loop) + CLEANUP_TIMEOUT_US;
    buf_init(&j->call.body, JOB_ARENA_BYTES);
    j->prev = &g->cleanups;
    j->next = g->cleanups;
    if (j->next)
        j->next->prev = &j->next;
    g->cleanups = j;
    g->ncleanups++;
    gate_count(g, cleanups, 1);
    j->timer = loop_timer_new(g->loop, on_timer, j);
    if (!j->timer)
        free_job(j);
    else
        find_coordinator(j);
}

void cleanup_start(struct gate *g, struct session *s)
{
    while (s->memberships) {
        struct membership *m = s->memberships;
        s->memberships = m->next;
        if (still_allowed(g, s, m))
            free_membership(m);
        else
            start_job(g, m);
    }
}
