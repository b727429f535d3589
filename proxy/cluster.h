/* What a worker knows of the real cluster: brokers, versions, leaders, ids, coordinators.
 *
 * One a worker, in its thread. Everything comes from its own probe (one connection a broker, see
 * design decision 2), never from a client's traffic; sessions tell it only that something turned
 * out stale. Works from Metadata v1 and ApiVersions v0 upwards, without topic ids and epochs.
 * Bounded: CLUSTER_BROKERS_MAX, CLUSTER_TOPICS_MAX watched topics, CLUSTER_COORDINATORS_MAX cached
 * coordinators (oldest dropped). */
#ifndef PROXY_CLUSTER_H
#define PROXY_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "codec/schema.h"
#include "config/config.h"
#include "proxy/upstream.h"

#define CLUSTER_BROKERS_MAX      1024
#define CLUSTER_TOPICS_MAX       4096
#define CLUSTER_PARTITIONS_MAX   (UINT64_C(1024) * 1024) /* over all topics */
#define CLUSTER_COORDINATORS_MAX 16384

struct tls_context;
struct resolver; /* proxy/resolve.h: one a process, a thread of its own */

/* settings must outlive the cluster or be replaced by cluster_config. */
struct cluster *cluster_new(struct loop *l, const struct config *c, struct tls_context *tls,
                            struct resolver *r) SL_MUST;
void cluster_free(struct cluster *c);
/* A reload: new settings for connections opened from now on. */
int cluster_config(struct cluster *c, const struct config *config, struct tls_context *tls) SL_MUST;
/* A new token for SASL/OAUTHBEARER upstream; copied. */
int cluster_token(struct cluster *c, const char *token, int64_t expires_s) SL_MUST;

/* True once metadata has come, at least one broker is up, and every broker that the cluster lists
 * has been tried once (or connect_timeout_ms has passed); then versions below are known. False
 * again while no broker is up. */
bool cluster_ready(const struct cluster *c);
/* Why not, for /readyz; "" when ready. Names no host. */
const char *cluster_trouble(const struct cluster *c);
/* What our tables and all brokers can do; false: not offered. A broker that was never reached does
 * not count; one that is away counts with what it said last while the cluster lists it. */
bool cluster_versions(const struct cluster *c, int api, struct versions *out);
/* Finalized features for our own ApiVersions answer (production features such as
 * transaction.version); fn is called for each; the epoch is -1 when there is none. */
int64_t cluster_features(const struct cluster *c,
                         void (*fn)(void *arg, const char *name, int16_t min, int16_t max),
                         void *arg);

/* --- topics. A session watches its granted topics while it lives; watched topics are refreshed at
 * metadata_max_age_ms, and at once (paced) when something is stale. */
struct partition_info {
    int32_t leader; /* real node id; -1: none */
    int32_t epoch;  /* -1: unknown */
    int16_t error;  /* of the metadata */
};
struct topic_info {
    const char *name;
    uint8_t id[16]; /* zero: unknown */
    int16_t error;  /* 0, or UNKNOWN_TOPIC_OR_PARTITION and the like */
    bool known;     /* metadata has arrived at least once */
    int32_t npartitions;
    const struct partition_info *partitions; /* by index */
};
int cluster_watch(struct cluster *c, const char *topic) SL_MUST;
void cluster_unwatch(struct cluster *c, const char *topic);
/* NULL: not watched. Valid until the loop's next turn. */
const struct topic_info *cluster_topic(const struct cluster *c, const void *name, size_t n);
/* Also by the id that it had before it was made anew; compare info->id. */
const struct topic_info *cluster_topic_by_id(const struct cluster *c, const uint8_t id[16]);
/* Leaders turned out wrong: refresh soon. */
void cluster_stale(struct cluster *c);

/* --- waiting. Embedded in the waiter; fn is called once, never from inside the call that started
 * the wait. result: OK, ERR_TIMEOUT, ERR_IO, ERR_BUSY, or a positive Kafka error code. */
struct cluster_wait {
    void (*fn)(void *arg, int result);
    void *arg;
    struct cluster_wait *next, **prev; /* private */
    uint64_t round, deadline_us;
};
void cluster_wait_init(struct cluster_wait *w, void (*fn)(void *arg, int result), void *arg);
void cluster_wait_cancel(struct cluster_wait *w);
/* Until metadata newer than now has arrived (paced: at most one refresh a 100 ms). */
void cluster_wait_topics(struct cluster *c, struct cluster_wait *w, uint64_t timeout_us);

/* --- coordinators. Key types as in FindCoordinator. */
enum { COORDINATOR_GROUP = 0, COORDINATOR_TXN = 1 };
/* The cached coordinator's node id, or -1. */
int32_t cluster_coordinator(const struct cluster *c, int kind, const void *key, size_t n);
/* Asks a broker; when fn is called with OK, cluster_coordinator knows it. Equal questions under
 * way are asked once. */
void cluster_find_coordinator(struct cluster *c, int kind, const void *key, size_t n,
                              struct cluster_wait *w, uint64_t timeout_us);
void cluster_forget_coordinator(struct cluster *c, int kind, const void *key, size_t n);

/* --- brokers */
/* Any broker that is believed to be up, preferring prefer when it is; -1: none. */
int32_t cluster_any_broker(const struct cluster *c, int32_t prefer);
bool cluster_has_broker(const struct cluster *c, int32_t id);
/* All known ids, for requests that go to every broker; returns how many (<= max). */
unsigned cluster_brokers(const struct cluster *c, int32_t *ids, unsigned max);

struct cluster_stats {
    uint64_t connects, connect_failures, refreshes, coordinator_lookups;
};
const struct cluster_stats *cluster_stats(const struct cluster *c);

#endif
