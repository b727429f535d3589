/* What a request may do. Denied pieces are taken out of the request and remembered; their answers
 * are a real broker's (codec/reply). Written once per role, with the few APIs that need more in
 * functions of their own.
 *
 *   transactional id   WRITE by prefix        53, the whole request
 *   group              by prefix              30, the whole request, or that group of a list
 *   topic name         the rule's operations  29, that topic
 *   topic id           known and granted      100, whether foreign or unknown
 */
#include <string.h>

#include "proxy/exchange.h"

enum { /* ConfigResource.Type */
       RESOURCE_TOPIC = 2,
       RESOURCE_BROKER = 4,
       RESOURCE_BROKER_LOGGER = 8,
       RESOURCE_CLIENT_METRICS = 16,
       RESOURCE_GROUP = 32
};

static const uint8_t no_id[16];

static const struct grant_set *grants_of(const struct exchange *ex)
{
    return &ex->s->grants;
}

bool policy_topic(const struct exchange *ex, const void *name, size_t n, unsigned ops)
{
    for (unsigned bit = 1; bit <= ops; bit <<= 1)
        if ((ops & bit) && grant_topic(grants_of(ex), name, n, bit))
            return true;
    return false;
}

static bool has_text(const struct node *n)
{
    return n && !n->null && n->u.str.len > 0;
}

const void *policy_topic_name(const struct exchange *ex, const struct node *topic, size_t *n)
{
    const struct node *name = node_role(topic, ROLE_TOPIC);
    const struct node *id = node_role(topic, ROLE_TOPIC_ID);
    const struct topic_info *info;

    if (has_text(name)) {
        *n = name->u.str.len;
        return name->u.str.p;
    }
    info = id ? cluster_topic_by_id(ex->s->gate->cluster, id->u.uuid) : NULL;
    if (!info)
        return NULL;
    *n = strlen(info->name);
    return info->name;
}

/* As Kafka prints it: base64url, 22 characters. */
static void id_text(const uint8_t id[16], char out[22])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    for (unsigned i = 0; i < 22; i++) {
        unsigned at = i * 6 / 8, shift = i * 6 % 8;
        unsigned two = (unsigned)id[at] << 8 | (at + 1 < 16 ? id[at + 1] : 0);
        out[i] = digits[two >> (10 - shift) & 63];
    }
}

/* 0, 29 or 100 for one topic of a request; denials are counted and audited. */
static int topic_error(struct exchange *ex, const struct node *topic)
{
    size_t n = 0;
    const void *name = policy_topic_name(ex, topic, &n);
    const struct node *named = node_role(topic, ROLE_TOPIC);
    const struct node *id = node_role(topic, ROLE_TOPIC_ID);
    bool by_id = id && !has_text(named) &&
                 (!named || named->null || memcmp(id->u.uuid, no_id, sizeof(no_id)) != 0);
    char text[22];

    if (name && policy_topic(ex, name, n, ex->rule->topic_ops))
        return KAFKA_NONE;
    /* The id of a topic that the client may describe is no secret; any other says nothing. */
    if (by_id && !(name && policy_topic(ex, name, n, OP_READ | OP_WRITE))) {
        cluster_stale(ex->s->gate->cluster); /* it may be a granted topic that was made anew */
        id_text(id->u.uuid, text);
        session_denied(ex->s, ex, "topic id", text, sizeof(text), KAFKA_UNKNOWN_TOPIC_ID);
        return KAFKA_UNKNOWN_TOPIC_ID;
    }
    if (!name) {
        name = "";
        n = 0;
    }
    session_denied(ex->s, ex, "topic", name, n, KAFKA_TOPIC_AUTHORIZATION_FAILED);
    return KAFKA_TOPIC_AUTHORIZATION_FAILED;
}

/* Takes the denied topics out of an array. */
static int filter_topics(struct exchange *ex, struct node *topics, const struct node *group)
{
    struct node *prev = NULL, *next;
    int rc = OK;

    for (struct node *t = topics ? topics->child : NULL; t && rc == OK; t = next) {
        int error = topic_error(ex, t);
        next = t->next;
        if (error == KAFKA_NONE) {
            prev = t;
            continue;
        }
        array_take(topics, prev, t);
        rc = exchange_refuse(ex, t, NULL, group, error);
    }
    return rc;
}

static bool group_allowed(struct exchange *ex, const struct node *id, unsigned ops)
{
    if (id && !id->null && grant_group(grants_of(ex), id->u.str.p, id->u.str.len, ops))
        return true;
    session_denied(ex->s, ex, "group", id ? (const void *)id->u.str.p : "", id ? id->u.str.len : 0,
                   KAFKA_GROUP_AUTHORIZATION_FAILED);
    return false;
}

static bool txn_allowed(struct exchange *ex, const struct node *id)
{
    if (grant_group(grants_of(ex), id->u.str.p, id->u.str.len, OP_WRITE))
        return true;
    session_denied(ex->s, ex, "transactional id", id->u.str.p, id->u.str.len,
                   KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    return false;
}

static int deny(struct exchange *ex, int error)
{
    /* A Produce that wants no answer gets none: Kafka closes the connection. */
    if (ex->head.api == 0 && node_num(ex->request.root, F_ACKS, 1) == 0)
        session_close(ex->s, "a denied Produce without acknowledgement", false);
    else
        exchange_fail(ex, error);
    return ERR_DENIED;
}

static int deny_rest(struct exchange *ex)
{
    if (ex->head.api == 0 && node_num(ex->request.root, F_ACKS, 1) == 0)
        session_close(ex->s, "a denied Produce without acknowledgement", false);
    else
        exchange_finish_refused(ex);
    return ERR_DENIED;
}

/* --- Metadata and DescribeTopicPartitions */

struct name_list {
    struct msg *m;
    struct node *array;
    const uint8_t *from; /* names before this one are left out; NULL: none */
    size_t from_len;
    int rc;
};

static int compare_text(const void *a, size_t an, const void *b, size_t bn)
{
    int d = memcmp(a, b, an < bn ? an : bn);

    return d ? d : (an > bn) - (an < bn);
}

static bool add_name(void *arg, const char *name)
{
    struct name_list *l = arg;
    struct node *e;

    if (l->from && compare_text(name, strlen(name), l->from, l->from_len) < 0)
        return true;
    e = array_add(l->m, l->array);
    l->rc = e ? node_set_text(l->m, e, F_NAME, name) : ERR_NOMEM;
    return l->rc == OK;
}

/* "All topics" becomes the granted ones, by name: nothing else is ever asked of a broker. */
static int name_granted(struct exchange *ex, const struct node *from)
{
    struct name_list l = {&ex->request, NULL, from ? from->u.str.p : NULL,
                          from ? from->u.str.len : 0, OK};

    l.array = node_array(&ex->request, ex->request.root, F_TOPICS);
    if (!l.array)
        return ERR_NOMEM;
    ex->listing = true;
    grant_topics(grants_of(ex), add_name, &l);
    return l.rc;
}

/* Below version 4 a Metadata request would create the topics that it names; absent ones are
 * answered here. */
static int refuse_absent(struct exchange *ex, struct node *topics)
{
    struct node *prev = NULL, *next;
    int rc = OK;

    for (struct node *t = topics->child; t && rc == OK; t = next) {
        const struct node *name = node_get(t, F_NAME);
        const struct topic_info *info =
            cluster_topic(ex->s->gate->cluster, name->u.str.p, name->u.str.len);
        next = t->next;
        if (info && info->known && info->error == KAFKA_NONE) {
            prev = t;
            continue;
        }
        array_take(topics, prev, t);
        if (!ex->listing)
            rc = exchange_refuse(ex, t, NULL, NULL,
                                 info && info->known ? info->error : KAFKA_LEADER_NOT_AVAILABLE);
    }
    return rc;
}

/* Where a topic bears a name and an id, a broker goes by the id, and the gate has decided by the
 * name: the id goes. */
static int names_alone(struct msg *m, struct node *topics)
{
    int rc = OK;

    ARRAY_EACH (t, topics) {
        if (has_text(node_get(t, F_NAME)) && rc == OK)
            rc = node_set_uuid(m, t, F_TOPIC_ID, no_id);
    }
    return rc;
}

static int decide_metadata(struct exchange *ex)
{
    struct msg *m = &ex->request;
    struct node *topics = node_get(m->root, F_TOPICS);
    bool all = !topics || topics->null || (ex->head.version == 0 && topics->count == 0);
    int rc = all ? OK : names_alone(m, topics);

    if (rc == OK)
        rc = all ? name_granted(ex, NULL) : filter_topics(ex, topics, NULL);

    ex->wants_ops_topic = node_num(m->root, F_INCLUDE_TOPIC_AUTHORIZED_OPERATIONS, 0) != 0;
    ex->wants_ops_cluster = node_num(m->root, F_INCLUDE_CLUSTER_AUTHORIZED_OPERATIONS, 0) != 0;
    if (rc == OK)
        rc = node_set_num(m, m->root, F_INCLUDE_TOPIC_AUTHORIZED_OPERATIONS, 0);
    if (rc == OK)
        rc = node_set_num(m, m->root, F_INCLUDE_CLUSTER_AUTHORIZED_OPERATIONS, 0);
    if (rc == OK)
        rc = node_set_num(m, m->root, F_ALLOW_AUTO_TOPIC_CREATION, 0);
    topics = node_get(m->root, F_TOPICS);
    if (rc == OK && ex->head.version < 4)
        rc = refuse_absent(ex, topics);
    if (rc == OK && topics->count == 0)
        return deny_rest(ex); /* nothing to ask: the virtual broker and the refusals */
    return rc;
}

static int compare_names(const struct node *topic, const struct node *at)
{
    const struct node *name = node_get(topic, F_NAME);

    return compare_text(name->u.str.p, name->u.str.len, at->u.str.p, at->u.str.len);
}

static bool names_one(const struct node *topics, const struct node *at)
{
    ARRAY_EACH (t, topics) {
        if (compare_names(t, at) == 0)
            return true;
    }
    return false;
}

/* Takes out the names before the cursor's, which a broker neither describes nor denies. */
static void start_at(struct node *topics, const struct node *at)
{
    struct node *prev = NULL, *next;

    for (struct node *t = topics->child; t; t = next) {
        next = t->next;
        if (compare_names(t, at) < 0)
            array_take(topics, prev, t);
        else
            prev = t;
    }
}

/* A cursor is a place in the sorted names; one at a topic that isn't granted only tells where to
 * go on. */
static int decide_describe_topics(struct exchange *ex)
{
    struct msg *m = &ex->request;
    struct node *topics = node_get(m->root, F_TOPICS);
    struct node *cursor = node_get(m->root, F_CURSOR);
    const struct node *at = cursor && !cursor->null ? node_get(cursor, F_TOPIC_NAME) : NULL;
    bool all = topics->count == 0;
    int rc;

    if (at && ((!all && !names_one(topics, at)) || node_num(cursor, F_PARTITION_INDEX, 0) < 0))
        return deny(ex, KAFKA_INVALID_REQUEST);
    if (at && !all)
        start_at(topics, at);
    rc = all ? name_granted(ex, at) : filter_topics(ex, topics, NULL);
    ex->wants_ops_topic = true;
    if (rc == OK && at && !policy_topic(ex, at->u.str.p, at->u.str.len, ex->rule->topic_ops))
        rc = node_set_null(m, m->root, F_CURSOR);
    topics = node_get(m->root, F_TOPICS);
    if (rc == OK && topics->count == 0)
        return deny_rest(ex);
    return rc;
}

/* --- KIP-848, and what was made after it */

/* Names a subscription at the top: ConsumerGroupHeartbeat and its kind. */
static bool subscribes(const struct node *root)
{
    const struct node *names = node_role(root, ROLE_TOPIC);

    return names && node_is_array(names) && names->field->type == TYPE_STRING;
}

static int decide_heartbeat(struct exchange *ex)
{
    struct msg *m = &ex->request;
    struct node *names = node_get(m->root, F_SUBSCRIBED_TOPIC_NAMES);
    struct node *regex = node_get(m->root, F_SUBSCRIBED_TOPIC_REGEX);
    struct node *owned = node_get(m->root, F_TOPIC_PARTITIONS);
    struct node *prev = NULL, *next;
    int rc = OK;

    ARRAY_EACH (n, names) {
        if (policy_topic(ex, n->u.str.p, n->u.str.len, ex->rule->topic_ops))
            continue;
        session_denied(ex->s, ex, "topic", n->u.str.p, n->u.str.len,
                       KAFKA_TOPIC_AUTHORIZATION_FAILED);
        return deny(ex, KAFKA_TOPIC_AUTHORIZATION_FAILED);
    }
    /* The broker would resolve the pattern with the gate's own rights: it never sees it. */
    if (has_text(regex)) {
        if (!names || names->null)
            names = node_array(m, m->root, F_SUBSCRIBED_TOPIC_NAMES);
        rc = names ? regex_resolve(m, names, grants_of(ex), regex) : ERR_NOMEM;
        if (rc == ERR_MALFORMED)
            return deny(ex, KAFKA_INVALID_REGULAR_EXPRESSION);
    }
    if (rc == OK)
        rc = node_set_null(m, m->root, F_SUBSCRIBED_TOPIC_REGEX);
    if (rc == OK)
        rc = node_set_null(m, m->root, F_RACK_ID);
    /* What a member says to own is echoed to the coordinator; ids that aren't the grant's go. */
    for (struct node *t = owned ? owned->child : NULL; t && rc == OK; t = next) {
        size_t n = 0;
        const void *name = policy_topic_name(ex, t, &n);
        next = t->next;
        if (name && policy_topic(ex, name, n, ex->rule->topic_ops))
            prev = t;
        else
            array_take(owned, prev, t);
    }
    return rc;
}

/* --- lists of groups and resources */

static int filter_groups(struct exchange *ex, struct node *items)
{
    struct node *prev = NULL, *next;
    int rc = OK;

    for (struct node *g = items ? items->child : NULL; g && rc == OK; g = next) {
        const struct node *id = g->field->type == TYPE_STRUCT ? node_role(g, ROLE_GROUP) : g;
        next = g->next;
        if (group_allowed(ex, id, ex->rule->group_ops)) {
            if (g->field->type == TYPE_STRUCT && ex->rule->topics != F_NONE)
                rc = filter_topics(ex, node_get(g, F_TOPICS), g);
            prev = g;
            continue;
        }
        array_take(items, prev, g);
        rc = exchange_refuse(ex, g, NULL, NULL, KAFKA_GROUP_AUTHORIZATION_FAILED);
    }
    if (rc == OK && items && items->count == 0)
        return deny_rest(ex);
    return rc;
}

static int resource_error(struct exchange *ex, const struct node *r)
{
    int64_t type = node_num(r, F_RESOURCE_TYPE, 0);
    const struct node *name = node_get(r, F_RESOURCE_NAME);
    int error = KAFKA_INVALID_REQUEST;

    if (type == RESOURCE_TOPIC) {
        if (grant_topic(grants_of(ex), name->u.str.p, name->u.str.len, OP_DESCRIBE_CONFIGS))
            return KAFKA_NONE;
        error = KAFKA_TOPIC_AUTHORIZATION_FAILED;
    } else if (type == RESOURCE_GROUP) {
        error = KAFKA_GROUP_AUTHORIZATION_FAILED;
    } else if (type == RESOURCE_BROKER || type == RESOURCE_BROKER_LOGGER ||
               type == RESOURCE_CLIENT_METRICS) {
        error = KAFKA_CLUSTER_AUTHORIZATION_FAILED;
    }
    session_denied(ex->s, ex, "configuration", name->u.str.p, name->u.str.len, error);
    return error;
}

static int decide_configs(struct exchange *ex)
{
    struct node *items = node_get(ex->request.root, F_RESOURCES);
    struct node *prev = NULL, *next;
    int rc = OK;

    for (struct node *r = items ? items->child : NULL; r && rc == OK; r = next) {
        int error = resource_error(ex, r);
        next = r->next;
        if (error == KAFKA_NONE) {
            prev = r;
            continue;
        }
        array_take(items, prev, r);
        rc = exchange_refuse(ex, r, NULL, NULL, error);
    }
    if (rc == OK && (!items || items->count == 0))
        return deny_rest(ex);
    return rc;
}

/* --- transactions */

/* All or nothing: when one topic is denied, none is added. The others answer 3 where they are not
 * there, else 55. */
static int decide_add_partitions(struct exchange *ex)
{
    struct node *topics = node_get(ex->request.root, ex->rule->topics);
    int rc = filter_topics(ex, topics, NULL);

    if (rc != OK || ex->nrefused == 0)
        return rc;
    ARRAY_EACH (t, topics) {
        const struct topic_info *info = route_topic(ex, t);
        ARRAY_EACH (p, node_get(t, ex->rule->partitions)) {
            int error = KAFKA_NONE;
            (void)route_leader(info, p, &error);
            if (error != KAFKA_UNKNOWN_TOPIC_OR_PARTITION)
                error = KAFKA_OPERATION_NOT_ATTEMPTED;
            rc = exchange_refuse(ex, t, p, NULL, error);
            if (rc != OK)
                return rc;
        }
    }
    return deny_rest(ex);
}

static int decide_init_producer(struct exchange *ex)
{
    if (node_role(ex->request.root, ROLE_TXN)->null && !grant_any(grants_of(ex), OP_WRITE)) {
        session_denied(ex->s, ex, "cluster", "kafka-cluster", 13,
                       KAFKA_CLUSTER_AUTHORIZATION_FAILED);
        return deny(ex, KAFKA_CLUSTER_AUTHORIZATION_FAILED);
    }
    return OK;
}

/* --- all others */

static int decide_topics(struct exchange *ex)
{
    struct node *topics = node_get(ex->request.root, ex->rule->topics);
    bool any = topics && topics->count > 0;
    int rc;

    if (!topics)
        return OK;
    rc = filter_topics(ex, topics, NULL);
    if (rc == OK && any && topics->count == 0 && ex->rule->route != ROUTE_FETCH)
        return deny_rest(ex);
    return rc;
}

/* A client is no replica: with the gate's rights upstream it could play a follower. Fetch answers
 * for it in fetch.c. */
static int no_replica(struct exchange *ex)
{
    const struct node *replica = node_role(ex->request.root, ROLE_REPLICA);

    if (!replica || ex->rule->route == ROUTE_FETCH)
        return OK;
    return node_set_num(&ex->request, ex->request.root, F_REPLICA_ID, -1);
}

int policy_decide(struct exchange *ex)
{
    const struct node *root = ex->request.root;
    const struct node *txn = node_role(root, ROLE_TXN);
    const struct node *group = node_role(root, ROLE_GROUP);
    int rc;

    if (txn && !txn->null && !txn_allowed(ex, txn))
        return deny(ex, KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    if (group && !group->field->array && !group_allowed(ex, group, ex->rule->group_ops))
        return deny(ex, KAFKA_GROUP_AUTHORIZATION_FAILED);
    rc = no_replica(ex);
    if (rc != OK)
        return rc;
    ex->wants_ops_group = node_num(root, F_INCLUDE_AUTHORIZED_OPERATIONS, 0) != 0;
    if (ex->wants_ops_group)
        rc = node_set_num(&ex->request, ex->request.root, F_INCLUDE_AUTHORIZED_OPERATIONS, 0);
    if (rc != OK)
        return rc;
    switch (ex->head.api) {
    case 3:
        return decide_metadata(ex);
    case 22:
        return decide_init_producer(ex);
    case 24:
        return decide_add_partitions(ex);
    case 32:
        return decide_configs(ex);
    case 75:
        return decide_describe_topics(ex);
    default:
        break;
    }
    if (subscribes(root))
        return decide_heartbeat(ex);
    if (ex->rule->items != F_NONE && node_get(root, ex->rule->items))
        return filter_groups(ex, node_get(root, ex->rule->items));
    return decide_topics(ex);
}
