/* Answers of the gate's own: ApiVersions, DescribeCluster, DescribeAcls, and FindCoordinator (after
 * the true coordinator has been looked up). */
#include <string.h>

#include "base/log.h"
#include "proxy/exchange.h"
#include "proxy/virtual.h"

#define COORDINATOR_TIMEOUT_US          (10 * UINT64_C(1000000))
#define KAFKA_MISMATCHED_ENDPOINT_TYPE  114
#define KAFKA_UNSUPPORTED_ENDPOINT_TYPE 115
#define COORDINATOR_SHARE               2
#define COORDINATOR_SHARE_SINCE         6 /* FindCoordinator's version */

enum { ENDPOINT_BROKER = 1, ENDPOINT_CONTROLLER = 2 }; /* DescribeCluster's EndpointType */

static void finish(struct exchange *ex, int rc)
{
    if (rc == OK)
        exchange_finish(ex);
    else
        session_close(ex->s, "out of memory", false);
}

/* --- ApiVersions */

static int add_api(struct msg *m, struct node *keys, int api, int min, int max)
{
    struct node *e = array_add(m, keys);
    int rc = e ? node_set_num(m, e, F_API_KEY, api) : ERR_NOMEM;

    if (rc == OK)
        rc = node_set_num(m, e, F_MIN_VERSION, min);
    if (rc == OK)
        rc = node_set_num(m, e, F_MAX_VERSION, max);
    return rc;
}

static bool own_api(int api)
{
    return api == 17 || api == 18 || api == 29 || api == 36 || api == 60;
}

/* Produce, Fetch and FindCoordinator are there whatever the role: clients derive features from
 * them (facts: librdkafka before 2.11.1 needs Produce 0 for its compression). */
static int add_apis(struct exchange *ex, struct node *keys)
{
    size_t count;
    const struct api_rule *r = api_all(&count);
    int rc = OK;

    for (size_t i = 0; i < count && rc == OK; i++) {
        struct versions v = r[i].offered;
        struct versions theirs;
        if (!own_api(r[i].api)) {
            if (!cluster_versions(ex->s->gate->cluster, r[i].api, &theirs))
                continue;
            v.min = v.min > theirs.min ? v.min : theirs.min;
            v.max = v.max < theirs.max ? v.max : theirs.max;
            if (v.min > v.max)
                continue;
            if (r[i].advertised_min < r[i].offered.min)
                v.min = r[i].advertised_min;
        }
        rc = add_api(&ex->reply, keys, r[i].api, v.min, v.max);
    }
    return rc;
}

struct feature_list {
    struct msg *m;
    struct node *array;
    int rc;
};

static void add_feature(void *arg, const char *name, int16_t min, int16_t max)
{
    struct feature_list *l = arg;
    struct node *e = l->rc == OK ? array_add(l->m, l->array) : NULL;

    if (!e) {
        l->rc = ERR_NOMEM;
        return;
    }
    l->rc = node_set_text(l->m, e, F_NAME, name);
    if (l->rc == OK)
        l->rc = node_set_num(l->m, e, F_MIN_VERSION_LEVEL, min);
    if (l->rc == OK)
        l->rc = node_set_num(l->m, e, F_MAX_VERSION_LEVEL, max);
}

/* The cluster's finalized features and their epoch go through truthfully: Kafka's clients choose
 * the transaction protocol by them. */
static int add_features(struct exchange *ex)
{
    struct msg *m = &ex->reply;
    struct feature_list l = {m, NULL, OK};
    int64_t epoch;

    if (m->version < 3)
        return OK;
    l.array = node_array(m, m->root, F_FINALIZED_FEATURES);
    if (!l.array)
        return ERR_NOMEM;
    epoch = cluster_features(ex->s->gate->cluster, add_feature, &l);
    if (l.rc != OK || epoch < 0) {
        node_unset(m->root, F_FINALIZED_FEATURES);
        return l.rc;
    }
    return node_set_num(m, m->root, F_FINALIZED_FEATURES_EPOCH, epoch);
}

/* KIP-511's rule: letters, digits, and '-' and '.' inside. */
static bool software_valid(const struct node *n)
{
    if (!n || n->u.str.len == 0)
        return false;
    for (uint32_t i = 0; i < n->u.str.len; i++) {
        uint8_t c = n->u.str.p[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
        if (!alnum && (i == 0 || i + 1 == n->u.str.len || (c != '-' && c != '.')))
            return false;
    }
    return true;
}

static void keep_text(char *out, size_t size, const struct node *n)
{
    size_t len = n->u.str.len < size - 1 ? n->u.str.len : size - 1;

    memcpy(out, n->u.str.p, len);
    out[len] = '\0';
}

static int versions_error(struct exchange *ex)
{
    const struct node *root = ex->request.root;
    const struct node *name = node_get(root, F_CLIENT_SOFTWARE_NAME);
    const struct node *version = node_get(root, F_CLIENT_SOFTWARE_VERSION);
    const struct node *cluster = node_get(root, F_CLUSTER_ID);
    int64_t node = node_num(root, F_NODE_ID, -1);
    const struct config *c = ex->s->gate->config;

    if (ex->head.version >= 3) {
        if (!software_valid(name) || !software_valid(version))
            return KAFKA_INVALID_REQUEST;
        keep_text(ex->s->software_name, sizeof(ex->s->software_name), name);
        keep_text(ex->s->software_version, sizeof(ex->s->software_version), version);
    }
    /* KIP-1242: the client says whom it believes to talk to. */
    if ((cluster && !cluster->null && !node_str_is(cluster, c->cluster_id)) ||
        (node >= 0 && node != c->node_id))
        return KAFKA_REBOOTSTRAP_REQUIRED;
    return KAFKA_NONE;
}

/* A version above ours: answered in version 0 with our range, its body unread (KIP-511). */
static void versions_unsupported(struct exchange *ex, const struct api_rule *r)
{
    struct node *keys;
    int rc;

    ex->head.version = 0;
    rc = msg_new(&ex->reply, &ex->arena, schema_find(18, false), 0);
    if (rc == OK)
        rc = node_set_num(&ex->reply, ex->reply.root, F_ERROR_CODE, KAFKA_UNSUPPORTED_VERSION);
    if (rc == OK) {
        keys = node_array(&ex->reply, ex->reply.root, F_API_KEYS);
        rc = keys ? add_api(&ex->reply, keys, 18, r->offered.min, r->offered.max) : ERR_NOMEM;
    }
    finish(ex, rc);
}

static void answer_versions(struct exchange *ex)
{
    struct session *s = ex->s;
    struct node *keys;
    int rc, error;

    if (ex->head.version > ex->rule->offered.max) {
        versions_unsupported(ex, ex->rule);
        return;
    }
    if (!cluster_ready(s->gate->cluster)) {
        session_close(s, "no broker has answered yet", false);
        return;
    }
    error = versions_error(ex);
    rc = msg_new(&ex->reply, &ex->arena, schema_find(18, false), ex->head.version);
    if (rc == OK)
        rc = node_set_num(&ex->reply, ex->reply.root, F_ERROR_CODE, error);
    if (rc == OK && error == KAFKA_NONE) {
        s->versions_answered = true;
        keys = node_array(&ex->reply, ex->reply.root, F_API_KEYS);
        rc = keys ? add_apis(ex, keys) : ERR_NOMEM;
        if (rc == OK)
            rc = add_features(ex);
    }
    finish(ex, rc);
}

/* --- DescribeCluster */

static void answer_cluster(struct exchange *ex)
{
    struct msg *m = &ex->reply;
    const struct config *c = ex->s->gate->config;
    bool wants_ops = node_num(ex->request.root, F_INCLUDE_CLUSTER_AUTHORIZED_OPERATIONS, 0) != 0;
    int64_t endpoint = node_num(ex->request.root, F_ENDPOINT_TYPE, ENDPOINT_BROKER);
    struct node *brokers;
    int rc = reply_new(m, &ex->arena, &ex->request);

    if (rc == OK && endpoint != ENDPOINT_BROKER) {
        int error = endpoint == ENDPOINT_CONTROLLER ? KAFKA_MISMATCHED_ENDPOINT_TYPE
                                                    : KAFKA_UNSUPPORTED_ENDPOINT_TYPE;
        rc = node_set_num(m, m->root, F_ERROR_CODE, error);
        if (rc == OK)
            rc = node_set_text(m, m->root, F_ERROR_MESSAGE, kafka_error_text(error));
        finish(ex, rc);
        return;
    }
    if (rc == OK)
        rc = node_set_text(m, m->root, F_CLUSTER_ID, c->cluster_id);
    if (rc == OK)
        rc = node_set_num(m, m->root, F_CONTROLLER_ID, c->node_id);
    if (rc == OK && wants_ops)
        rc = node_set_num(m, m->root, F_CLUSTER_AUTHORIZED_OPERATIONS, 0);
    if (rc == OK) {
        brokers = node_array(m, m->root, F_BROKERS);
        rc = brokers ? virtual_add_broker(m, brokers, c) : ERR_NOMEM;
    }
    finish(ex, rc);
}

/* --- FindCoordinator */

static int set_coordinator(struct exchange *ex, struct node *at, int error)
{
    struct msg *m = &ex->reply;
    const struct config *c = ex->s->gate->config;
    int rc = node_set_num(m, at, F_ERROR_CODE, error);
    bool old = ex->head.version < 4;

    if (rc == OK)
        rc = node_set_num(m, at, F_NODE_ID, error ? -1 : c->node_id);
    if (rc == OK)
        rc = node_set_text(m, at, F_HOST, error ? "" : c->advertise.host);
    if (rc == OK)
        rc = node_set_num(m, at, F_PORT, error ? -1 : c->advertise.port);
    /* Brokers fill the text below version 4 only, with the code's own, or for a type that they
     * don't know. */
    if (rc == OK && (old || error == KAFKA_INVALID_REQUEST)) {
        const char *text = error ? kafka_error_text(error) : "NONE";
        rc = node_set_text(m, at, F_ERROR_MESSAGE, text ? text : "");
    }
    return rc;
}

static int key_error(struct exchange *ex, int type, const struct node *key)
{
    const struct grant_set *g = &ex->s->grants;
    int error = KAFKA_NONE;
    const char *what = "group";

    switch (type) {
    case COORDINATOR_GROUP:
        if (!grant_group(g, key->u.str.p, key->u.str.len, ex->rule->group_ops))
            error = KAFKA_GROUP_AUTHORIZATION_FAILED;
        break;
    case COORDINATOR_TXN:
        what = "transactional id";
        if (!grant_group(g, key->u.str.p, key->u.str.len, OP_WRITE))
            error = KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        break;
    case COORDINATOR_SHARE: /* between brokers: CLUSTER_ACTION */
        if (ex->head.version < COORDINATOR_SHARE_SINCE)
            return KAFKA_INVALID_REQUEST;
        what = "share coordinator";
        error = KAFKA_CLUSTER_AUTHORIZATION_FAILED;
        break;
    default:
        return KAFKA_INVALID_REQUEST;
    }
    if (error)
        session_denied(ex->s, ex, what, key->u.str.p, key->u.str.len, error);
    return error;
}

static void find_next(struct exchange *ex);

/* Puts down the verdict on the key at the cursor and moves on. */
static int put_coordinator(struct exchange *ex, int error)
{
    struct node *at = ex->reply.root;
    const struct node *key = ex->cursor;
    int rc = OK;

    if (ex->head.version >= 4) {
        at = array_add(&ex->reply, node_get(ex->reply.root, F_COORDINATORS));
        if (!at)
            return ERR_NOMEM;
        rc = node_set_str(&ex->reply, at, F_KEY, key->u.str.p, key->u.str.len);
    }
    if (rc == OK)
        rc = set_coordinator(ex, at, error);
    ex->cursor = ex->head.version >= 4 ? key->next : NULL;
    return rc;
}

static void on_coordinator(void *arg, int result)
{
    struct exchange *ex = arg;
    int error = result == OK ? KAFKA_NONE : (result > 0 ? result : KAFKA_COORDINATOR_NOT_AVAILABLE);

    ex->waiting = false;
    if (put_coordinator(ex, error) != OK)
        session_close(ex->s, "out of memory", false);
    else
        find_next(ex);
    exchange_dispatch(ex->s);
}

static void find_next(struct exchange *ex)
{
    int type = (int)node_num(ex->request.root, F_KEY_TYPE, COORDINATOR_GROUP);

    while (ex->cursor) {
        const struct node *key = ex->cursor;
        int error = key_error(ex, type, key);
        struct cluster *c = ex->s->gate->cluster;

        if (error == KAFKA_NONE && cluster_coordinator(c, type, key->u.str.p, key->u.str.len) < 0) {
            uint64_t now = loop_now_us(ex->s->gate->loop);
            uint64_t end = ex->started_us + COORDINATOR_TIMEOUT_US;
            if (end > now) {
                ex->waiting = true;
                cluster_wait_init(&ex->wait, on_coordinator, ex);
                cluster_find_coordinator(c, type, key->u.str.p, key->u.str.len, &ex->wait,
                                         end - now);
                return;
            }
            /* The time is the whole request's, however many keys it has. */
            error = KAFKA_COORDINATOR_NOT_AVAILABLE;
        }
        if (put_coordinator(ex, error) != OK) {
            session_close(ex->s, "out of memory", false);
            return;
        }
    }
    exchange_finish(ex);
}

static void answer_coordinator(struct exchange *ex)
{
    const struct node *root = ex->request.root;
    const struct node *keys = node_get(root, F_COORDINATOR_KEYS);

    if (reply_new(&ex->reply, &ex->arena, &ex->request) != OK) {
        session_close(ex->s, "out of memory", false);
        return;
    }
    ex->cursor = ex->head.version >= 4 ? (keys ? keys->child : NULL) : node_get(root, F_KEY);
    find_next(ex);
}

void local_answer(struct exchange *ex)
{
    switch (ex->head.api) {
    case 10:
        answer_coordinator(ex);
        return;
    case 17:
        login_handshake(ex->s, ex);
        return;
    case 18:
        answer_versions(ex);
        return;
    case 29:
        exchange_fail(ex, KAFKA_SECURITY_DISABLED);
        return;
    case 36:
        login_authenticate(ex->s, ex);
        return;
    case 60:
        answer_cluster(ex);
        return;
    default:
        session_protocol_error(ex->s, &ex->head, 0, "API is not offered");
        return;
    }
}
