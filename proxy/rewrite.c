/* What a client may see of an answer. One pass over the tree, by role: brokers, hosts, racks and
 * the cluster id become the virtual ones, broker texts become our own, what is not granted is
 * dropped, operations are computed from the grant. On the way it notices errors that mean that our
 * own map is stale. */
#include <string.h>

#include "proxy/exchange.h"
#include "proxy/virtual.h"

#define TREE_DEPTH_MAX       16
#define OPS_UNKNOWN          INT32_MIN
#define UNKNOWN_SERVER_ERROR (-1)

/* Answers that describe a foreign topic inside a granted group (KafkaApis). */
#define DESCRIBED_FOREIGN_TOPIC                                                                    \
    "The group has described topic(s) that the client is not authorized to describe."

static const struct config *config_of(const struct exchange *ex)
{
    return ex->s->gate->config;
}

static bool has_name(const struct node *topic)
{
    const struct node *name = node_role(topic, ROLE_TOPIC);

    return name && !name->null && name->u.str.len > 0;
}

static bool topic_visible(const struct exchange *ex, const struct node *st)
{
    size_t n = 0;
    const void *name = policy_topic_name(ex, st, &n);

    /* An id that the map no longer has says nothing where the client asked for it: in the answer's
     * list of topics, but for all positions of a group (9). An assignment brings its own ids. */
    if (!name)
        return st->field->id == ex->rule->reply_topics && ex->head.api != 9 && !has_name(st);
    return policy_topic(ex, name, n, ex->rule->topic_ops);
}

static bool group_visible(const struct exchange *ex, const struct node *group)
{
    return grant_group(&ex->s->grants, group->u.str.p, group->u.str.len, ex->rule->group_ops);
}

/* Whether an array's element may be shown. Answers that name topics or groups by themselves hold
 * only what was asked for, so this takes out what a broker adds: all groups of a listing, all
 * offsets of a group. */
static bool element_visible(const struct exchange *ex, const struct node *e)
{
    const struct node *group;

    if (e->field->type != TYPE_STRUCT)
        return true;
    if ((node_role(e, ROLE_TOPIC) && !node_role(e, ROLE_TOPIC)->field->array) ||
        node_role(e, ROLE_TOPIC_ID))
        return topic_visible(ex, e);
    group = node_role(e, ROLE_GROUP);
    return !group || group_visible(ex, group);
}

/* Topics that a listing named for the client and that do not exist are left out, as Kafka's own
 * listing would. */
static bool listed_absent(const struct exchange *ex, const struct node *e)
{
    return ex->listing && e->field->id == F_TOPICS &&
           node_num(e, F_ERROR_CODE, 0) == KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
}

static void filter_elements(struct exchange *ex, struct node *array)
{
    struct node *prev = NULL, *next;

    for (struct node *e = array->child; e; e = next) {
        next = e->next;
        if (element_visible(ex, e) && !listed_absent(ex, e))
            prev = e;
        else
            array_take(array, prev, e);
    }
}

/* Replica, in-sync and eligible lists become the one node; nothing is ever offline behind it. */
static int hide_nodes(struct exchange *ex, struct node *array)
{
    bool any = array->count > 0 && array->field->id != F_OFFLINE_REPLICAS;

    if (array->null)
        return OK;
    array_clear(array);
    return any ? array_add_num(&ex->reply, array, config_of(ex)->node_id) : OK;
}

static int hide_text(struct exchange *ex, struct node *st, const struct node *text)
{
    int error = (int)node_num(st, F_ERROR_CODE, KAFKA_NONE);
    const char *own = error ? kafka_error_text(error) : NULL;

    if (text->null || text->u.str.len == 0)
        return OK;
    if (!own && versions_has(text->field->nullable, ex->reply.version))
        return node_set_null(&ex->reply, st, text->field->id);
    return node_set_text(&ex->reply, st, text->field->id, own ? own : "");
}

/* Values that name brokers: the throttled replicas of a topic. */
static int hide_config_value(struct exchange *ex, struct node *st)
{
    const struct node *name = node_get(st, F_NAME);
    const struct node *value = node_get(st, F_VALUE);

    if (!name || !value || value->null ||
        !(node_str_is(name, "leader.replication.throttled.replicas") ||
          node_str_is(name, "follower.replication.throttled.replicas")))
        return OK;
    return node_set_text(&ex->reply, st, F_VALUE, "");
}

/* Kafka tells the operations of a topic that is granted and absent, too. */
static bool told_of_topic(int64_t error)
{
    return error == KAFKA_NONE || error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION ||
           error == KAFKA_LEADER_NOT_AVAILABLE;
}

static int fill_ops(struct exchange *ex, struct node *st, const struct node *ops)
{
    const struct node *topic = node_role(st, ROLE_TOPIC);
    const struct node *group = node_role(st, ROLE_GROUP);
    int64_t error = node_num(st, F_ERROR_CODE, KAFKA_NONE);
    int32_t v = OPS_UNKNOWN;

    if (topic) {
        if (ex->wants_ops_topic && told_of_topic(error) && !topic->null)
            v = grant_topic_ops(&ex->s->grants, topic->u.str.p, topic->u.str.len);
    } else if (group) {
        if (ex->wants_ops_group && error == KAFKA_NONE)
            v = grant_group_ops(&ex->s->grants, group->u.str.p, group->u.str.len);
    } else if (ex->wants_ops_cluster) {
        v = 0;
    }
    return node_set_num(&ex->reply, st, ops->field->id, v);
}

/* An error that tells of our own map. */
static int note_error(struct exchange *ex, struct node *n)
{
    struct cluster *c = ex->s->gate->cluster;
    const struct node *key;

    switch (n->u.num) {
    case KAFKA_UNKNOWN_TOPIC_OR_PARTITION:
    case KAFKA_LEADER_NOT_AVAILABLE:
    case KAFKA_NOT_LEADER_OR_FOLLOWER:
    case KAFKA_UNKNOWN_TOPIC_ID:
    case 72:  /* LISTENER_NOT_FOUND */
    case 74:  /* FENCED_LEADER_EPOCH */
    case 75:  /* UNKNOWN_LEADER_EPOCH */
    case 103: /* INCONSISTENT_TOPIC_ID */
        cluster_stale(c);
        break;
    case KAFKA_COORDINATOR_NOT_AVAILABLE:
    case KAFKA_NOT_COORDINATOR:
        for (const struct part *p = ex->parts; p; p = p->next) {
            const struct node *items =
                ex->rule->items ? node_get(p->request.root, ex->rule->items) : NULL;
            bool txn = ex->rule->route == ROUTE_TXN;
            key = node_role(p->request.root, txn ? ROLE_TXN : ROLE_GROUP);
            if (key && !key->field->array && !key->null)
                cluster_forget_coordinator(c, txn ? COORDINATOR_TXN : COORDINATOR_GROUP,
                                           key->u.str.p, key->u.str.len);
            ARRAY_EACH (e, items) {
                const struct node *g = e->field->type == TYPE_STRUCT ? node_role(e, ROLE_GROUP) : e;
                if (g)
                    cluster_forget_coordinator(c, COORDINATOR_GROUP, g->u.str.p, g->u.str.len);
            }
        }
        break;
    case KAFKA_REBOOTSTRAP_REQUIRED: /* meant for us, not for the client */
        n->u.num = UNKNOWN_SERVER_ERROR;
        break;
    default:
        break;
    }
    return OK;
}

/* st: the struct (or message) that holds the field. */
static int rewrite_field(struct exchange *ex, struct node *st, struct node *f)
{
    struct msg *m = &ex->reply;
    const struct config *c = config_of(ex);
    bool nullable = versions_has(f->field->nullable, m->version);

    switch (f->field->role) {
    case ROLE_BROKER:
        if (f->field->array && !f->element)
            return hide_nodes(ex, f);
        /* Any preferred replica but -1 would be acted upon (KIP-392). */
        if (f->field->id == F_PREFERRED_READ_REPLICA)
            f->u.num = -1;
        else if (f->field->id == F_CONTROLLER_ID)
            f->u.num = c->node_id; /* also in answers of our own, where no broker was asked */
        else
            f->u.num = virtual_node(c, f->u.num);
        return OK;
    case ROLE_HOST:
        /* Other members' hosts are, to a broker, the gate's own inner address. */
        return node_set_text(m, st, f->field->id,
                             f->field->id == F_CLIENT_HOST ? "" : c->advertise.host);
    case ROLE_PORT:
        f->u.num = c->advertise.port;
        return OK;
    case ROLE_RACK:
    case ROLE_REGEX:
        if (f->null || f->u.str.len == 0)
            return OK;
        return nullable ? node_set_null(m, st, f->field->id)
                        : node_set_text(m, st, f->field->id, "");
    case ROLE_CLUSTER:
        return node_set_text(m, st, f->field->id, c->cluster_id);
    case ROLE_TEXT:
        return hide_text(ex, st, f);
    case ROLE_OPS:
        return fill_ops(ex, st, f);
    case ROLE_ERROR:
        return note_error(ex, f);
    case ROLE_NONE:
        return f->field->id == F_VALUE ? hide_config_value(ex, st) : OK;
    case ROLE_TOPIC:
    case ROLE_TOPIC_ID:
    case ROLE_GROUP:
    case ROLE_TXN:
    case ROLE_PRINCIPAL:
    case ROLE_OPAQUE:
    case ROLE_KEY:
    case ROLE_RECORDS:
    case ROLE_SECRET:
    case ROLE_PARTITION:
    case ROLE_REPLICA:
    case ROLE_THROTTLE:
        return OK;
    }
    return OK;
}

/* Lists of brokers are replaced as a whole, before the pass by roles. The virtual broker is the
 * controller as well, also of an answer that the gate has made up. */
static int hide_lists(struct exchange *ex)
{
    struct node *brokers = node_get(ex->reply.root, F_BROKERS);
    int rc;

    node_unset(ex->reply.root, F_NODE_ENDPOINTS);
    if (!brokers)
        return OK;
    array_clear(brokers);
    rc = virtual_add_broker(&ex->reply, brokers, config_of(ex));
    if (rc == OK)
        rc = node_set_num(&ex->reply, ex->reply.root, F_CONTROLLER_ID, config_of(ex)->node_id);
    return rc;
}

static bool names_foreign(const struct exchange *ex, const struct node *array, enum field_name name)
{
    ARRAY_EACH (e, array) {
        const struct node *t = name ? node_get(e, name) : e;
        if (t && !policy_topic(ex, t->u.str.p, t->u.str.len, ex->rule->topic_ops))
            return true;
    }
    return false;
}

/* ConsumerGroupDescribe and its kind: a group that describes a foreign topic anywhere is answered
 * with 29. Before the pass by roles, which would take the foreign topics out of the assignments. */
static int hide_described(struct exchange *ex)
{
    struct msg *m = &ex->reply;

    ARRAY_EACH (g, node_get(m->root, F_GROUPS)) {
        bool foreign = false;
        int rc;
        ARRAY_EACH (member, node_get(g, F_MEMBERS)) {
            const struct node *a = node_get(member, F_ASSIGNMENT);
            const struct node *t = node_get(member, F_TARGET_ASSIGNMENT);
            foreign = foreign ||
                      names_foreign(ex, node_get(member, F_SUBSCRIBED_TOPIC_NAMES), F_NONE) ||
                      (a && names_foreign(ex, node_get(a, F_TOPIC_PARTITIONS), F_TOPIC_NAME)) ||
                      (t && names_foreign(ex, node_get(t, F_TOPIC_PARTITIONS), F_TOPIC_NAME));
        }
        if (!foreign)
            continue;
        rc = node_set_num(m, g, F_ERROR_CODE, KAFKA_TOPIC_AUTHORIZATION_FAILED);
        if (rc != OK)
            return rc;
        array_clear(node_get(g, F_MEMBERS));
    }
    return OK;
}

/* After that pass, which gives each error its usual text. */
static int explain_described(struct exchange *ex)
{
    ARRAY_EACH (g, node_get(ex->reply.root, F_GROUPS)) {
        int rc = OK;
        if (node_num(g, F_ERROR_CODE, KAFKA_NONE) == KAFKA_TOPIC_AUTHORIZATION_FAILED)
            rc = node_set_text(&ex->reply, g, F_ERROR_MESSAGE, DESCRIBED_FOREIGN_TOPIC);
        if (rc != OK)
            return rc;
    }
    return OK;
}

/* Visits every field once, without recursion. fn gets the struct that holds the field. */
static int each_field(struct exchange *ex,
                      int (*fn)(struct exchange *ex, struct node *st, struct node *f))
{
    struct node *at[TREE_DEPTH_MAX], *holder[TREE_DEPTH_MAX];
    unsigned depth = 1;

    at[0] = ex->reply.root->child;
    holder[0] = ex->reply.root;
    while (depth > 0) {
        struct node *f = at[depth - 1];
        struct node *st = holder[depth - 1];
        bool is_struct, list;
        int rc;
        if (!f) {
            depth--;
            continue;
        }
        at[depth - 1] = f->next;
        is_struct = f->field->type == TYPE_STRUCT && (!f->field->array || f->element);
        list = f->field->array && !f->element;
        if (!f->element || !is_struct) {
            rc = f->element ? OK : fn(ex, st, f);
            if (rc != OK)
                return rc;
        }
        if ((is_struct || (list && f->field->type == TYPE_STRUCT)) && f->child) {
            if (depth == TREE_DEPTH_MAX)
                return ERR_LIMIT;
            at[depth] = f->child;
            holder[depth] = is_struct ? f : st;
            depth++;
        }
    }
    return OK;
}

/* A single struct about a topic that may not be seen: the next page's place, which a broker would
 * only ever see among the names that it was asked for. */
static bool place_foreign(const struct exchange *ex, const struct node *f)
{
    return f->field->type == TYPE_STRUCT && !f->field->array && !f->null &&
           versions_has(f->field->nullable, ex->reply.version) && !element_visible(ex, f);
}

static int rewrite_one(struct exchange *ex, struct node *st, struct node *f)
{
    if (place_foreign(ex, f))
        return node_set_null(&ex->reply, st, f->field->id);
    if (f->field->array && f->field->type == TYPE_STRUCT && !f->null)
        filter_elements(ex, f);
    return rewrite_field(ex, st, f);
}

int rewrite_reply(struct exchange *ex)
{
    bool groups = ex->rule->reply_items == F_GROUPS;
    int rc = OK;

    if (groups)
        rc = hide_described(ex);
    if (rc == OK)
        rc = hide_lists(ex);
    if (rc == OK)
        rc = each_field(ex, rewrite_one);
    if (rc == OK && groups)
        rc = explain_described(ex);
    return rc;
}

static int find_unknown_id(struct exchange *ex, struct node *st, struct node *f)
{
    if (f->field->role != ROLE_TOPIC_ID || has_name(st))
        return OK;
    return cluster_topic_by_id(ex->s->gate->cluster, f->u.uuid) ? OK : ERR_UNKNOWN;
}

bool rewrite_unknown_id(struct exchange *ex)
{
    return each_field(ex, find_unknown_id) == ERR_UNKNOWN;
}
