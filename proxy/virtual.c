#include "proxy/virtual.h"

int virtual_add_broker(struct msg *m, struct node *brokers, const struct config *c)
{
    struct node *b = array_add(m, brokers);
    int rc;

    if (!b)
        return ERR_NOMEM;
    /* Metadata calls it nodeId, DescribeCluster brokerId; the other is not in the schema and is
     * passed over. */
    rc = node_set_num(m, b, F_NODE_ID, c->node_id);
    if (rc == OK)
        rc = node_set_num(m, b, F_BROKER_ID, c->node_id);
    if (rc == OK)
        rc = node_set_text(m, b, F_HOST, c->advertise.host);
    if (rc == OK)
        rc = node_set_num(m, b, F_PORT, c->advertise.port);
    return rc;
}
