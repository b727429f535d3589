#include "proxy/api.h"

#define NONE F_NONE

/* DESCRIBE follows from READ and WRITE for topics, from READ and DELETE for groups, as in Kafka. */
#define TOPIC_DESCRIBE (OP_READ | OP_WRITE)
#define GROUP_DESCRIBE (OP_READ | OP_MANAGE)

/* clang-format off */
static const struct api_rule rules[] = {
    /* api  offered   adv route         topic op        group op        topics                   partitions           items            reply: topics                       partitions             items */
    {  0, { 3, 13},   0, ROUTE_LEADER, OP_WRITE,       0,              F_TOPIC_DATA,            F_PARTITION_DATA,    NONE,            F_RESPONSES,                        F_PARTITION_RESPONSES,  NONE},
    {  1, { 4, 15},   4, ROUTE_FETCH,  OP_READ,        0,              F_TOPICS,                F_PARTITIONS,        NONE,            F_RESPONSES,                        F_PARTITIONS,           NONE},
    {  2, { 1, 11},   1, ROUTE_LEADER, TOPIC_DESCRIBE, 0,              F_TOPICS,                F_PARTITIONS,        NONE,            F_TOPICS,                           F_PARTITIONS,           NONE},
    {  3, { 0, 13},   0, ROUTE_ANY,    TOPIC_DESCRIBE, 0,              F_TOPICS,                NONE,                NONE,            F_TOPICS,                           F_PARTITIONS,           NONE},
    {  8, { 2, 10},   2, ROUTE_GROUP,  OP_READ,        OP_READ,        F_TOPICS,                F_PARTITIONS,        NONE,            F_TOPICS,                           F_PARTITIONS,           NONE},
    {  9, { 1, 10},   1, ROUTE_GROUP,  TOPIC_DESCRIBE, GROUP_DESCRIBE, F_TOPICS,                F_PARTITION_INDEXES, F_GROUPS,        F_TOPICS,                           F_PARTITIONS,           F_GROUPS},
    { 10, { 0,  6},   0, ROUTE_LOCAL,  0,              GROUP_DESCRIBE, NONE,                    NONE,                F_COORDINATOR_KEYS, NONE,                            NONE,                   F_COORDINATORS},
    { 11, { 0,  9},   0, ROUTE_GROUP,  0,              OP_READ,        NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 12, { 0,  4},   0, ROUTE_GROUP,  0,              OP_READ,        NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 13, { 0,  5},   0, ROUTE_GROUP,  0,              OP_READ,        NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 14, { 0,  5},   0, ROUTE_GROUP,  0,              OP_READ,        NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 15, { 0,  6},   0, ROUTE_GROUP,  0,              GROUP_DESCRIBE, NONE,                    NONE,                F_GROUPS,        NONE,                               NONE,                   F_GROUPS},
    { 16, { 0,  5},   0, ROUTE_ALL,    0,              GROUP_DESCRIBE, NONE,                    NONE,                NONE,            NONE,                               NONE,                   F_GROUPS},
    { 17, { 0,  1},   0, ROUTE_LOCAL,  0,              0,              NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 18, { 0,  5},   0, ROUTE_LOCAL,  0,              0,              NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 22, { 0,  5},   0, ROUTE_TXN,    0,              0,              NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 23, { 2,  4},   2, ROUTE_LEADER, TOPIC_DESCRIBE, 0,              F_TOPICS,                F_PARTITIONS,        NONE,            F_TOPICS,                           F_PARTITIONS,           NONE},
    { 24, { 0,  3},   0, ROUTE_TXN,    OP_WRITE,       0,              F_V3_AND_BELOW_TOPICS,   F_PARTITIONS,        NONE,            F_RESULTS_BY_TOPIC_V3_AND_BELOW,    F_RESULTS_BY_PARTITION, NONE},
    { 25, { 0,  4},   0, ROUTE_TXN,    0,              OP_READ,        NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 26, { 0,  5},   0, ROUTE_TXN,    0,              0,              NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 28, { 0,  6},   0, ROUTE_GROUP,  OP_READ,        OP_READ,        F_TOPICS,                F_PARTITIONS,        NONE,            F_TOPICS,                           F_PARTITIONS,           NONE},
    { 29, { 1,  3},   1, ROUTE_LOCAL,  0,              0,              NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 32, { 1,  4},   1, ROUTE_ANY,    0,              0,              NONE,                    NONE,                F_RESOURCES,     NONE,                               NONE,                   F_RESULTS},
    { 36, { 0,  2},   0, ROUTE_LOCAL,  0,              0,              NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 42, { 0,  3},   0, ROUTE_GROUP,  0,              OP_MANAGE,      NONE,                    NONE,                F_GROUPS_NAMES,  NONE,                               NONE,                   F_RESULTS},
    { 47, { 0,  0},   0, ROUTE_GROUP,  OP_READ,        OP_MANAGE,      F_TOPICS,                F_PARTITIONS,        NONE,            F_TOPICS,                           F_PARTITIONS,           NONE},
    { 60, { 0,  2},   0, ROUTE_LOCAL,  0,              0,              NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 68, { 0,  1},   0, ROUTE_GROUP,  TOPIC_DESCRIBE, OP_READ,        NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 69, { 0,  1},   0, ROUTE_GROUP,  TOPIC_DESCRIBE, GROUP_DESCRIBE, NONE,                    NONE,                F_GROUP_IDS,     NONE,                               NONE,                   F_GROUPS},
    { 75, { 0,  0},   0, ROUTE_ANY,    TOPIC_DESCRIBE, 0,              F_TOPICS,                NONE,                NONE,            F_TOPICS,                           F_PARTITIONS,           NONE},
};
/* clang-format on */

const struct api_rule *api_find(int api)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (rules[i].api == api)
            return &rules[i];
    return NULL;
}

const struct api_rule *api_all(size_t *count)
{
    *count = sizeof(rules) / sizeof(rules[0]);
    return rules;
}
