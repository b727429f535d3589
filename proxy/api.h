/* The one table of APIs that the gate knows: what is offered, where it goes, what it needs. An API
 * that is not here is neither advertised nor forwarded. Const data. */
#ifndef PROXY_API_H
#define PROXY_API_H

#include "codec/schema.h"
#include "config/config.h"

enum api_route {
    ROUTE_LOCAL,  /* answered by the gate */
    ROUTE_ANY,    /* any broker */
    ROUTE_LEADER, /* split by partition leader */
    ROUTE_GROUP,  /* the group's coordinator; split where the request has several groups */
    ROUTE_TXN,    /* the transactional id's coordinator */
    ROUTE_ALL,    /* every broker, joined */
    ROUTE_FETCH,  /* proxy/fetch.c */
};

struct api_rule {
    int16_t api;
    struct versions offered; /* what a client may send; ∩ schema ∩ brokers */
    int16_t advertised_min;  /* what ApiVersions says instead (Produce 0, see librdkafka#4956) */
    enum api_route route;
    unsigned topic_ops;         /* any of these on each topic; 0: topics are not checked */
    unsigned group_ops;         /* any of these on each group */
    enum field_name topics;     /* the request's array of topics; F_NONE: none */
    enum field_name partitions; /* inside a topic */
    enum field_name items;      /* the request's array of groups, keys or resources */
    enum field_name reply_topics, reply_partitions, reply_items; /* the same in the answer */
};

/* NULL: not ours. */
const struct api_rule *api_find(int api);
const struct api_rule *api_all(size_t *count);

#endif
