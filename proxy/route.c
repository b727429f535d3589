/* Where a request goes: finds leaders and coordinators (waiting for the cluster map where it must),
 * splits the request, and sends the parts. What cannot be routed is answered with a code that the
 * client retries. */
#include <string.h>

#include "proxy/exchange.h"

#define MAP_TIMEOUT_US         (5 * UINT64_C(1000000))
#define COORDINATOR_TIMEOUT_US (10 * UINT64_C(1000000))

static void out_of_memory(struct exchange *ex)
{
    session_close(ex->s, "out of memory", false);
}

/* After everything was sent, or failed to be. */
static void sent_all(struct exchange *ex)
{
    if (ex->s->state != SESSION_CLOSED && ex->pending == 0 && ex->state == EXCHANGE_WORKING)
        exchange_parts_done(ex);
}

static void send_whole(struct exchange *ex, int32_t broker)
{
    struct part *p = exchange_part(ex, broker);

    if (!p) {
        out_of_memory(ex);
        return;
    }
    p->request = ex->request;
    exchange_send(ex, p, UPSTREAM_OTHER);
    sent_all(ex);
}

/* Prefers a broker that the session is connected to already. */
static void route_any(struct exchange *ex)
{
    int32_t prefer = -1;

    for (const struct session_link *l = ex->s->links; l; l = l->next)
        if (l->kind == UPSTREAM_OTHER)
            prefer = l->broker;
    send_whole(ex, cluster_any_broker(ex->s->gate->cluster, prefer));
}

static void route_all(struct exchange *ex)
{
    int32_t ids[CLUSTER_BROKERS_MAX];
    unsigned n = cluster_brokers(ex->s->gate->cluster, ids, CLUSTER_BROKERS_MAX);

    if (n == 0) {
        exchange_fail(ex, KAFKA_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    ex->pending++; /* held while sending, so that an early failure does not finish it */
    for (unsigned i = 0; i < n; i++) {
        struct part *p = exchange_part(ex, ids[i]);
        if (!p) {
            out_of_memory(ex);
            return;
        }
        p->request = ex->request;
        exchange_send(ex, p, UPSTREAM_OTHER);
    }
    ex->pending--;
    sent_all(ex);
}

/* --- coordinators */

static void route_groups(struct exchange *ex, struct node *items);

static void coordinator_found(struct exchange *ex, int result)
{
    struct node *items = ex->rule->items ? node_get(ex->request.root, ex->rule->items) : NULL;
    struct node *prev = NULL;
    int error = result > 0 ? result : KAFKA_COORDINATOR_NOT_AVAILABLE;
    const struct node *at = ex->cursor;

    ex->waiting = false;
    if (!items) {
        if (result == OK)
            route_start(ex);
        else
            exchange_fail(ex, error);
        return;
    }
    if (result == OK) {
        ex->cursor = at->next; /* known, or gone again: then its part fails retriably */
        route_groups(ex, items);
        return;
    }
    ARRAY_EACH (e, items) {
        if (e == at) {
            ex->cursor = e->next;
            array_take(items, prev, e);
            if (exchange_refuse(ex, e, NULL, NULL, error) != OK)
                out_of_memory(ex);
            else if (items->count == 0)
                exchange_finish_refused(ex);
            else
                route_groups(ex, items);
            return;
        }
        prev = e;
    }
}

static void on_coordinator(void *arg, int result)
{
    struct exchange *ex = arg;

    coordinator_found(ex, result);
    exchange_dispatch(ex->s);
}

/* The coordinator's id, or -1 when the look-up has been started. */
static int32_t coordinator(struct exchange *ex, int kind, const struct node *key)
{
    struct cluster *c = ex->s->gate->cluster;
    int32_t id = cluster_coordinator(c, kind, key->u.str.p, key->u.str.len);
    uint64_t now = loop_now_us(ex->s->gate->loop), end = ex->started_us + COORDINATOR_TIMEOUT_US;

    if (id >= 0)
        return id;
    /* The time is the whole request's, however many groups it has. */
    ex->waiting = true;
    cluster_wait_init(&ex->wait, on_coordinator, ex);
    cluster_find_coordinator(c, kind, key->u.str.p, key->u.str.len, &ex->wait,
                             end > now ? end - now : 0);
    return -1;
}

static const struct node *group_of(const struct node *item)
{
    return item->field->type == TYPE_STRUCT ? node_role(item, ROLE_GROUP) : item;
}

/* The same request with its list of topics or groups empty, for a part to be filled. */
static int copy_without(struct exchange *ex, struct part *p, enum field_name list)
{
    struct node *array = node_get(ex->request.root, list);
    struct node kept = *array;

    if (p->request.root)
        return OK;
    array_clear(array);
    p->request = ex->request;
    p->request.root = node_clone(&p->request, ex->request.root);
    *array = kept;
    return p->request.root ? OK : ERR_NOMEM;
}

static void send_parts(struct exchange *ex)
{
    ex->pending++;
    for (struct part *p = ex->parts; p && ex->s->state != SESSION_CLOSED; p = p->next)
        if (p->error == 0)
            exchange_send(ex, p, UPSTREAM_OTHER);
    ex->pending--;
    sent_all(ex);
}

/* Whether all of the items' coordinators are known; otherwise a look-up has been started, for the
 * item at ex->cursor. */
static bool find_coordinators(struct exchange *ex)
{
    for (; ex->cursor; ex->cursor = ex->cursor->next)
        if (coordinator(ex, COORDINATOR_GROUP, group_of(ex->cursor)) < 0)
            return false;
    return true;
}

/* The time is over: those whose coordinators are not known are answered so. */
static int refuse_unfound(struct exchange *ex, struct node *items)
{
    struct node *prev = NULL, *next;
    int rc = OK;

    for (struct node *e = items->child; e && rc == OK; e = next) {
        const struct node *id = group_of(e);
        next = e->next;
        if (cluster_coordinator(ex->s->gate->cluster, COORDINATOR_GROUP, id->u.str.p,
                                id->u.str.len) >= 0) {
            prev = e;
            continue;
        }
        array_take(items, prev, e);
        rc = exchange_refuse(ex, e, NULL, NULL, KAFKA_COORDINATOR_NOT_AVAILABLE);
    }
    return rc;
}

static void route_groups(struct exchange *ex, struct node *items)
{
    struct cluster *c = ex->s->gate->cluster;
    int32_t first = -1;
    bool several = false;

    if (loop_now_us(ex->s->gate->loop) < ex->started_us + COORDINATOR_TIMEOUT_US) {
        if (!find_coordinators(ex))
            return;
    } else if (refuse_unfound(ex, items) != OK) {
        out_of_memory(ex);
        return;
    } else if (items->count == 0) {
        exchange_finish_refused(ex);
        return;
    }
    ARRAY_EACH (e, items) {
        const struct node *id = group_of(e);
        int32_t broker = cluster_coordinator(c, COORDINATOR_GROUP, id->u.str.p, id->u.str.len);
        several = several || (e != items->child && broker != first);
        first = broker;
    }
    if (!several) {
        send_whole(ex, first >= 0 ? first : cluster_any_broker(c, -1));
        return;
    }
    while (items->child) {
        struct node *e = items->child;
        const struct node *id = group_of(e);
        struct part *p = exchange_part(
            ex, cluster_coordinator(c, COORDINATOR_GROUP, id->u.str.p, id->u.str.len));
        array_take(items, NULL, e);
        if (!p || copy_without(ex, p, ex->rule->items) != OK) {
            out_of_memory(ex);
            return;
        }
        array_put(node_get(p->request.root, ex->rule->items), e);
    }
    send_parts(ex);
}

static void route_group(struct exchange *ex)
{
    struct node *items = ex->rule->items ? node_get(ex->request.root, ex->rule->items) : NULL;
    const struct node *group = node_role(ex->request.root, ROLE_GROUP);
    int32_t id;

    if (items) {
        ex->cursor = items->child;
        route_groups(ex, items);
        return;
    }
    id = coordinator(ex, COORDINATOR_GROUP, group);
    if (id >= 0)
        send_whole(ex, id);
}

static void route_txn(struct exchange *ex)
{
    const struct node *txn = node_role(ex->request.root, ROLE_TXN);
    int32_t id;

    if (txn->null) {
        ex->broker_any = true;
        route_any(ex);
        return;
    }
    id = coordinator(ex, COORDINATOR_TXN, txn);
    if (id >= 0)
        send_whole(ex, id);
}

/* --- leaders */

static void on_map(void *arg, int result)
{
    struct exchange *ex = arg;

    (void)result;
    ex->waiting = false;
    ex->refreshed = true;
    route_start(ex);
    exchange_dispatch(ex->s);
}

const struct topic_info *route_topic(const struct exchange *ex, const struct node *topic)
{
    size_t n = 0;
    const void *name = policy_topic_name(ex, topic, &n);

    return name ? cluster_topic(ex->s->gate->cluster, name, n) : NULL;
}

int32_t route_leader(const struct topic_info *info, const struct node *partition, int *error)
{
    const struct node *index =
        partition->field->type == TYPE_STRUCT ? node_role(partition, ROLE_PARTITION) : partition;
    int64_t i = index->u.num;

    *error = KAFKA_NOT_LEADER_OR_FOLLOWER;
    if (!info || !info->known)
        return -1;
    if (info->error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION || i < 0 || i >= info->npartitions) {
        *error = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        return -1;
    }
    return info->partitions[i].leader;
}

/* The one broker that leads everything, or -1. */
static int32_t only_leader(const struct exchange *ex, const struct node *topics)
{
    int32_t only = -1;

    ARRAY_EACH (t, topics) {
        const struct topic_info *info = route_topic(ex, t);
        ARRAY_EACH (p, node_get(t, ex->rule->partitions)) {
            int error;
            int32_t leader = route_leader(info, p, &error);
            if (leader < 0 || (only >= 0 && only != leader))
                return -1;
            only = leader;
        }
    }
    return only;
}

bool route_map_lacks(const struct exchange *ex)
{
    ARRAY_EACH (t, node_get(ex->request.root, ex->rule->topics)) {
        const struct topic_info *info = route_topic(ex, t);
        if (!info || !info->known)
            return true;
    }
    return false;
}

/* Moves each partition of the topic to the part of its leader, under a copy of the topic. */
static int split_topic(struct exchange *ex, struct node *t)
{
    const struct topic_info *info = route_topic(ex, t);
    struct node *parts = node_get(t, ex->rule->partitions);
    struct node *child = parts->child, *next;
    int rc = OK;

    array_clear(parts);
    for (struct node *e = child; e && rc == OK; e = next) {
        int error;
        int32_t leader = route_leader(info, e, &error);
        struct part *p;
        next = e->next;
        if (leader < 0) {
            cluster_stale(ex->s->gate->cluster);
            rc = exchange_refuse(ex, t, e, NULL, error);
            continue;
        }
        p = exchange_part(ex, leader);
        rc = p ? copy_without(ex, p, ex->rule->topics) : ERR_NOMEM;
        if (rc == OK && p->split_of != t) {
            p->split_of = t;
            p->split_to = node_clone(&p->request, t);
            if (!p->split_to)
                return ERR_NOMEM;
            array_put(node_get(p->request.root, ex->rule->topics), p->split_to);
        }
        if (rc == OK)
            array_put(node_get(p->split_to, ex->rule->partitions), e);
    }
    return rc;
}

int route_split_leaders(struct exchange *ex)
{
    struct node *topics = node_get(ex->request.root, ex->rule->topics), *next;
    struct node *t = topics->child;
    int32_t only = only_leader(ex, topics);
    int rc = OK;

    if (only >= 0) {
        struct part *p = exchange_part(ex, only);
        if (!p)
            return ERR_NOMEM;
        p->request = ex->request;
        return OK;
    }
    array_clear(topics);
    for (; t && rc == OK; t = next) {
        next = t->next;
        rc = split_topic(ex, t);
    }
    return rc;
}

static void route_leaders(struct exchange *ex)
{
    bool silent = ex->head.api == 0 && node_num(ex->request.root, F_ACKS, 1) == 0;

    if (!ex->refreshed && route_map_lacks(ex)) {
        ex->waiting = true;
        cluster_wait_init(&ex->wait, on_map, ex);
        cluster_wait_topics(ex->s->gate->cluster, &ex->wait, MAP_TIMEOUT_US);
        return;
    }
    if (route_split_leaders(ex) != OK) {
        out_of_memory(ex);
        return;
    }
    if (silent && ex->nrefused > 0) {
        session_close(ex->s, "a Produce without acknowledgement that has no leader", false);
        return;
    }
    for (struct part *p = ex->parts; p; p = p->next)
        p->call.no_answer = silent;
    if (ex->parts)
        send_parts(ex);
    else
        exchange_finish_refused(ex);
}

void route_start(struct exchange *ex)
{
    switch (ex->rule->route) {
    case ROUTE_ANY:
        route_any(ex);
        return;
    case ROUTE_ALL:
        route_all(ex);
        return;
    case ROUTE_GROUP:
        route_group(ex);
        return;
    case ROUTE_TXN:
        route_txn(ex);
        return;
    case ROUTE_LEADER:
        route_leaders(ex);
        return;
    case ROUTE_LOCAL:
    case ROUTE_FETCH:
        break;
    }
    session_close(ex->s, "internal error", false);
}
