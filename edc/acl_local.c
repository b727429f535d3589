/* What a broker says of itself: which requests it takes, and that it is the only node. */
#include <assert.h>

#include "codec/reply.h"
#include "edc/acl_priv.h"

#define KAFKA_MISMATCHED_ENDPOINT_TYPE 114

static const struct acl_api apis[] = {
    {3, {0, 13}, acl_metadata},     {17, {0, 1}, acl_handshake}, {18, {0, 5}, acl_versions},
    {29, {1, 3}, acl_describe},     {30, {1, 3}, acl_create},    {31, {1, 3}, acl_delete},
    {36, {0, 2}, acl_authenticate}, {60, {0, 2}, acl_cluster},
};

const struct acl_api *acl_api_find(int api)
{
    for (size_t i = 0; i < sizeof(apis) / sizeof(apis[0]); i++)
        if (apis[i].api == api)
            return &apis[i];
    return NULL;
}

const struct acl_api *acl_api_all(size_t *count)
{
    *count = sizeof(apis) / sizeof(apis[0]);
    return apis;
}

static int add_apis(struct msg *m)
{
    struct node *keys = node_array(m, m->root, F_API_KEYS);
    int rc = keys ? OK : ERR_NOMEM;

    for (size_t i = 0; i < sizeof(apis) / sizeof(apis[0]) && rc == OK; i++) {
        struct node *e = array_add(m, keys);

        rc = e ? node_set_num(m, e, F_API_KEY, apis[i].api) : ERR_NOMEM;
        if (rc == OK)
            rc = node_set_num(m, e, F_MIN_VERSION, apis[i].offered.min);
        if (rc == OK)
            rc = node_set_num(m, e, F_MAX_VERSION, apis[i].offered.max);
    }
    return rc;
}

void acl_versions(struct acl_ask *ask)
{
    const struct acl_api *own = acl_api_find(18);
    int rc;

    assert(own);
    if (ask->head.version > own->offered.max) { /* KIP-511: its body was not read */
        ask->head.version = 0;
        rc =
            reply_unsupported_version(&ask->reply, &ask->arena, own->offered.min, own->offered.max);
        acl_conn_answer(ask, rc);
        return;
    }
    ask->conn->versions_answered = true;
    rc = msg_new(&ask->reply, &ask->arena, schema_find(18, false), ask->head.version);
    if (rc == OK)
        rc = add_apis(&ask->reply);
    acl_conn_answer(ask, rc);
}

/* Metadata calls it nodeId, DescribeCluster brokerId; the other is not in the schema and is passed
 * over. */
static int add_node(struct msg *m, const struct config *c)
{
    struct node *brokers = node_array(m, m->root, F_BROKERS);
    struct node *b = brokers ? array_add(m, brokers) : NULL;
    int rc = b ? node_set_num(m, b, F_NODE_ID, c->node_id) : ERR_NOMEM;

    if (rc == OK)
        rc = node_set_num(m, b, F_BROKER_ID, c->node_id);
    if (rc == OK)
        rc = node_set_text(m, b, F_HOST, c->acl_listener.advertise.host);
    if (rc == OK)
        rc = node_set_num(m, b, F_PORT, c->acl_listener.advertise.port);
    if (rc == OK)
        rc = node_set_text(m, m->root, F_CLUSTER_ID, c->cluster_id);
    if (rc == OK)
        rc = node_set_num(m, m->root, F_CONTROLLER_ID, c->node_id);
    return rc;
}

/* There are no topics here: whoever names one hears so. */
void acl_metadata(struct acl_ask *ask)
{
    const struct node *topics = node_get(ask->request.root, F_TOPICS);
    struct msg *m = &ask->reply;
    struct reply_list list;
    int rc = reply_new(m, &ask->arena, &ask->request);

    if (rc == OK)
        rc = add_node(m, ask->acl->config);
    if (rc == OK)
        rc = reply_list_init(&list, m, NULL);
    ARRAY_EACH (topic, topics) {
        const struct node *name = node_get(topic, F_NAME);
        int error = name && !name->null ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : KAFKA_UNKNOWN_TOPIC_ID;

        if (rc == OK)
            rc = reply_add_topic(&list, topic, error, NULL);
    }
    acl_conn_answer(ask, rc);
}

void acl_cluster(struct acl_ask *ask)
{
    struct msg *m = &ask->reply;
    int rc = reply_new(m, &ask->arena, &ask->request);

    if (rc == OK && node_num(ask->request.root, F_ENDPOINT_TYPE, 1) != 1) {
        rc = node_set_num(m, m->root, F_ERROR_CODE, KAFKA_MISMATCHED_ENDPOINT_TYPE);
        if (rc == OK)
            rc = node_set_text(m, m->root, F_ERROR_MESSAGE,
                               kafka_error_text(KAFKA_MISMATCHED_ENDPOINT_TYPE));
    } else if (rc == OK) {
        rc = add_node(m, ask->acl->config);
    }
    acl_conn_answer(ask, rc);
}
