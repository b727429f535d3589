/* The one virtual broker: the only place where a real node id becomes one that clients see.
 * Pure functions over the configuration. */
#ifndef PROXY_VIRTUAL_H
#define PROXY_VIRTUAL_H

#include "codec/msg.h"
#include "config/config.h"

/* A real id becomes the virtual one; "none" (-1) stays. */
static inline int32_t virtual_node(const struct config *c, int64_t real)
{
    return real < 0 ? -1 : c->node_id;
}

/* Appends the virtual broker to an array of brokers (Metadata, DescribeCluster). */
int virtual_add_broker(struct msg *m, struct node *brokers, const struct config *c) SL_MUST;

#endif
