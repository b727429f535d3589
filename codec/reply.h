/* Answers that the gate makes up: a whole request refused, or the refused parts of one.
 *
 * reply_error is Kafka's own getErrorResponse: what a broker sends when the request as a whole
 * fails. It is held byte for byte against kafka-clients (tests/conformance). The reply_add_*
 * functions append one refused topic, partition, group, key or resource to an answer, with the
 * field values of a broker's own denial of that part, and keep each topic listed once: several
 * clients keep only the last of two entries.
 *
 * Everything is built into the reply's arena, and strings of the request are shared, not copied:
 * the request's buffer must outlive the reply (or msg_own_strings it). One thread. The work for a
 * list of topics grows with the bytes of their names, never with the square of their number.
 *
 * How a mixed request is answered:
 *
 *     policy takes the refused topics out of the request (array_take) and keeps the nodes;
 *     what is left goes upstream; its answer is decoded, or made with reply_new when nothing is
 *     left; then
 *         struct reply_list list;
 *         reply_list_init(&list, &answer, NULL);
 *         for each refused topic: reply_add_topic(&list, topic, 29, NULL);
 *     answers of several brokers: reply_take(&list, topic) for each topic of the other answers.
 */
#ifndef CODEC_REPLY_H
#define CODEC_REPLY_H

#include "codec/msg.h"

/* The codes that the gate itself gives; all others pass through as numbers. */
enum kafka_error {
    KAFKA_NONE = 0,
    KAFKA_UNKNOWN_TOPIC_OR_PARTITION = 3,
    KAFKA_LEADER_NOT_AVAILABLE = 5,
    KAFKA_NOT_LEADER_OR_FOLLOWER = 6,
    KAFKA_REQUEST_TIMED_OUT = 7,
    KAFKA_COORDINATOR_LOAD_IN_PROGRESS = 14,
    KAFKA_COORDINATOR_NOT_AVAILABLE = 15,
    KAFKA_NOT_COORDINATOR = 16,
    KAFKA_TOPIC_AUTHORIZATION_FAILED = 29,
    KAFKA_GROUP_AUTHORIZATION_FAILED = 30,
    KAFKA_CLUSTER_AUTHORIZATION_FAILED = 31,
    KAFKA_UNSUPPORTED_SASL_MECHANISM = 33,
    KAFKA_ILLEGAL_SASL_STATE = 34,
    KAFKA_UNSUPPORTED_VERSION = 35,
    KAFKA_INVALID_REQUEST = 42,
    KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53,
    KAFKA_SECURITY_DISABLED = 54,
    KAFKA_OPERATION_NOT_ATTEMPTED = 55,
    KAFKA_SASL_AUTHENTICATION_FAILED = 58,
    KAFKA_FETCH_SESSION_ID_NOT_FOUND = 70,
    KAFKA_UNKNOWN_TOPIC_ID = 100,
    KAFKA_INVALID_REGULAR_EXPRESSION = 128,
    KAFKA_REBOOTSTRAP_REQUIRED = 129,
};

/* "TOPIC_AUTHORIZATION_FAILED"; NULL for a code that Kafka 4.3 does not have. */
const char *kafka_error_name(int code);
/* The text that a broker gives with it: "Topic authorization failed."; NULL as above. */
const char *kafka_error_text(int code);

/* The answer to the whole request: every topic, partition, group or key of it with this error, or
 * the top-level code, whichever a broker's getErrorResponse gives for that API and version. reply
 * is started in arena a. ERR_UNKNOWN for an API outside of the gate's table (its connection is
 * closed instead). A Produce request with acks=0 has no answer: that is the caller's to see; an
 * answer is built all the same. Where Kafka has a broker's denial that differs from this (Fetch
 * and Metadata name single topics; FindCoordinator 4 and above leaves the text empty), use the
 * parts below. DescribeAcls with KAFKA_SECURITY_DISABLED has the text of a broker without ACLs. */
int reply_error(struct msg *reply, struct arena *a, const struct msg *request, int error) SL_MUST;

/* The answer to an ApiVersions request of a version that we do not speak, whose body is not to be
 * read (KIP-511): version 0, error 35, and the range of ApiVersions that we do speak. */
int reply_unsupported_version(struct msg *reply, struct arena *a, int min, int max) SL_MUST;

/* An answer with no parts and no error, to append to: the response's defaults, at the request's
 * version. ERR_UNKNOWN as above. */
int reply_new(struct msg *reply, struct arena *a, const struct msg *request) SL_MUST;

/* One topic of the answer, found by name or id. Internal to reply.c. */
struct reply_topic;

/* The topic list of an answer, indexed. It belongs to the caller (stack memory will do), lives as
 * long as the reply's arena, and stays right as long as the topics of that list are added and
 * removed through it alone. */
struct reply_list {
    struct msg *reply;
    const struct reply_shape *shape; /* reply.c's row for the API and version */
    struct node *topics;             /* the array in the reply */
    struct reply_topic *index;
};

/* Indexes what the answer holds already. at is the struct of the reply that holds the topics: NULL
 * for the answer itself; for OffsetFetch 8 and above a group's element (reply_add_item gives it).
 * Topics that the answer lists twice (brokers do that in Fetch) are joined. ERR_UNKNOWN where the
 * API's answers have no topics. */
int reply_list_init(struct reply_list *l, struct msg *reply, struct node *at) SL_MUST;

/* The topic of the answer with the name (or id, in versions that carry only ids) of this one, or
 * NULL. topic: of a request or an answer of that API. */
struct node *reply_find_topic(const struct reply_list *l, const struct node *topic);

/* Appends the topic with all partitions that the request names, each with the error. For Metadata
 * and DescribeTopicPartitions the topic itself bears it. added (may be NULL): the topic's node. */
int reply_add_topic(struct reply_list *l, const struct node *topic, int error,
                    struct node **added) SL_MUST;

/* The same for one partition: partition is the request's element (a struct, or a plain number in
 * OffsetFetch and AddPartitionsToTxn). With KAFKA_NONE it is an answer of defaults to be filled
 * in. added (may be NULL): the partition's node. */
int reply_add_partition(struct reply_list *l, const struct node *topic,
                        const struct node *partition, int error, struct node **added) SL_MUST;

/* Moves a topic (taken out of another answer to the same request, see array_take) to this answer;
 * when it is listed already, its partitions are moved there. Its arena and buffers must live as
 * long as the reply. */
int reply_take(struct reply_list *l, struct node *topic) SL_MUST;

/* Appends one refused item that is not a topic: a group of DescribeGroups, DeleteGroups,
 * ConsumerGroupDescribe or OffsetFetch (8 and above); a key of FindCoordinator (4 and above); a
 * resource of DescribeConfigs. item is the request's element. added (may be NULL): its node.
 * ERR_UNKNOWN where the API's answers have no such items. */
int reply_add_item(struct msg *reply, const struct node *item, int error,
                   struct node **added) SL_MUST;

#endif
