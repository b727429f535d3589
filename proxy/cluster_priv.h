/* What the cluster's files and the upstream connections share and nobody else needs.
 *
 *   cluster.c         the cluster as a whole, settings, versions, waits
 *   brokers.c         broker records: who may connect when, who is up
 *   probe.c           the probe connections and what is asked over them: versions, metadata
 *   cluster_topics.c  topics, their ids and leaders
 *   coordinators.c    coordinators */
#ifndef PROXY_CLUSTER_PRIV_H
#define PROXY_CLUSTER_PRIV_H

#include "auth/scram.h"
#include "codec/walk.h"
#include "proxy/cluster.h"
#include "proxy/hash.h"
#include "proxy/resolve.h"
#include "proxy/transport.h"

#define CLUSTER_APIS           128
#define CLUSTER_FEATURES_MAX   64
#define CLUSTER_FEATURE_BYTES  64
#define CLUSTER_LOOKUPS_MAX    4096
#define CLUSTER_SEEDS_MAX      64
#define CLUSTER_TOKEN_MAX      ((size_t)16 * 1024)
#define CLUSTER_HOST_MAX       255
#define CLUSTER_TOPIC_NAME_MAX 249
/* Metadata is asked for so many topics at a time. */
#define CLUSTER_BATCH_TOPICS 128
/* A topic that nobody watches any more is kept so long for the next session. */
#define CLUSTER_LINGER_US      (60 * UINT64_C(1000000))
#define CLUSTER_REFRESH_MIN_US 100000
#define CLUSTER_BACKOFF_MIN_US 50000
#define CLUSTER_BACKOFF_MAX_US 2000000

struct upstream;

/* An upstream connection that waits for its turn to connect. */
struct connect_wait {
    struct connect_wait *next, **prev; /* prev NULL: not waiting */
    struct broker *broker;
    struct upstream *up;
};

enum broker_state {
    BROKER_NEW,  /* not tried yet */
    BROKER_UP,   /* its last probe was answered */
    BROKER_DOWN, /* it was not */
};

struct broker {
    struct cluster *cluster;
    int32_t id;                      /* below 0: a seed, an address of the configuration */
    char host[CLUSTER_HOST_MAX + 1]; /* advertised */
    uint16_t port;
    const char *to_host; /* reachable: host, or of the address map (in the configuration) */
    uint16_t to_port;
    bool listed;        /* in the last metadata; or a seed of the current configuration */
    uint64_t listed_by; /* the last answer that listed it */
    unsigned users;     /* upstream connections that hold this record */

    enum broker_state state;
    int why; /* of the last failure that was logged */
    uint64_t logged_us;

    /* connecting: a bucket of tokens in millionths, and a pause after failures */
    uint64_t tokens, tokens_at_us;
    unsigned failures;
    uint64_t not_before_us, failed_us;
    struct connect_wait *waiting, **waiting_end;
    struct loop_timer *turn;

    /* the probe; probe.c */
    struct upstream *probe;
    struct upstream_call versions_call;
    int16_t versions_try; /* version of ApiVersions under way */
    bool versions_asked;  /* versions_call is under way */
    bool probed;          /* this connection's first ApiVersions has been answered */
    unsigned misses;      /* connections in a row without an answer */
    struct loop_timer *again;

    bool versions_known;
    struct versions versions[CLUSTER_APIS]; /* min > max: not there */
};

struct topic_id {
    struct hash_entry entry;
    struct topic *topic; /* NULL: not in the table */
    uint8_t id[16];
};

struct topic {
    struct hash_entry by_name;
    struct topic_id ids[2];     /* now, and before it was made anew: requests may still bear that */
    struct topic *next, **prev; /* all topics, in the order of being asked */
    struct topic_info info;
    struct partition_info *partitions;
    unsigned watchers;
    uint64_t unwatched_us;
    uint64_t round; /* the last refresh that asked for it */
    size_t name_len;
    char name[];
};

struct feature {
    char name[CLUSTER_FEATURE_BYTES];
    int16_t min, max;
};

struct lookup;

/* Metadata under way: one request at a time, a batch of topics each. */
struct refresh {
    struct upstream_call call;
    bool running;
    bool wanted;
    int16_t version;
    struct broker *broker;
    uint64_t round;       /* of the last one that began */
    uint64_t answers;     /* taken so far, over all rounds */
    uint64_t last_us;     /* when the last round began */
    uint64_t versions_us; /* when all brokers were last asked for their versions */
    unsigned failures;
    bool leaderless, missing; /* seen in this round: partitions without leader, unknown topics */
    struct loop_timer *timer;
};

struct cluster {
    struct loop *loop;
    const struct config *config;
    struct tls_context *tls;
    struct resolve_port *names;
    struct cluster_stats stats;
    uint64_t random;
    bool closing;

    struct broker **brokers; /* by id, seeds too */
    unsigned nbrokers, brokers_cap;
    int32_t next_seed;
    unsigned turn; /* of cluster_any_broker */
    struct upstream *upstreams;

    char *token;
    int64_t token_expires_s;
    struct scram_cache scram;

    bool has_metadata;   /* at least once */
    uint64_t settled_us; /* from then on brokers that were never reached are not waited for */
    unsigned nup, nnew;  /* of the listed ones */
    struct versions versions[CLUSTER_APIS];
    int trouble; /* enum err of the last failure to reach any broker */

    int64_t features_epoch;
    unsigned nfeatures;
    struct feature features[CLUSTER_FEATURES_MAX];

    struct hash topics, topic_ids;
    struct topic *first_topic, **last_topic;
    unsigned ntopics;
    uint64_t npartitions;
    struct refresh refresh;
    struct cluster_wait *waits;   /* for metadata */
    struct cluster_wait *refused; /* to hear ERR_BUSY */
    struct loop_timer *wait_timer;
    uint64_t wait_armed_us; /* 0: the timer is not set */

    struct hash coordinators;
    struct coordinator *oldest, **newest;
    unsigned ncoordinators;
    struct hash lookups;
    struct lookup *first_lookup;
    unsigned nlookups;
};

/* --- brokers.c */
struct broker *broker_find(const struct cluster *c, int32_t id);
/* Finds or makes the record and sets its address; NULL: no memory, or too many. */
struct broker *broker_put(struct cluster *c, int32_t id, const char *host, uint16_t port) SL_MUST;
/* Frees it when nothing needs it any more. */
void broker_release(struct broker *b);
void broker_free(struct broker *b);
/* Maps its address anew after a change of the configuration. */
void broker_map(struct broker *b);
/* up's turn to connect comes by upstream_turn. first: before all that wait (probes). */
void broker_wait_turn(struct broker *b, struct connect_wait *w, bool first);
void broker_leave_turn(struct connect_wait *w);
/* Those who wait may be let on: a token for SASL has come, say. */
void broker_turns(struct broker *b);
/* How a connection attempt that began at since_us went. */
void broker_connected(struct broker *b);
void broker_failed(struct broker *b, uint64_t since_us, int why, const char *text);
/* A standing connection ended out of order: a line in the log, not too often. */
void broker_broke(struct broker *b, int why, const char *text);
void broker_set_state(struct broker *b, enum broker_state state);

/* --- upstream.c */
void upstream_turn(struct upstream *u);
/* To this record, which may be a seed. */
struct upstream *upstream_open_broker(struct cluster *c, struct broker *b, bool probe,
                                      void (*on_closed)(void *arg, struct upstream *u, int why),
                                      void *arg) SL_MUST;
void upstream_free_all(struct cluster *c);

/* --- probe.c */
/* Of a new broker. The timer that has it tried again must be there from the start: when memory is
 * short at the first try, nothing else would come back to it. */
int probe_init(struct broker *b) SL_MUST;
/* Opens probes that are missing, closes those that are not needed, asks what is due. */
void probe_brokers(struct cluster *c);
void probe_drop(struct broker *b);
/* A broker whose probe connection is up, another one each time; NULL: none. */
struct broker *probe_pick(struct cluster *c) SL_MUST;
int refresh_init(struct cluster *c) SL_MUST;
void refresh_release(struct cluster *c);
/* As soon as the pace allows. */
void refresh_want(struct cluster *c);

/* --- cluster.c */
/* Brokers or their versions changed. */
void cluster_recompute(struct cluster *c);
uint64_t cluster_random(struct cluster *c);
/* Both kinds of our message, cut to what the broker has; false: nothing in common. */
bool cluster_common(const struct broker *b, int api, struct versions *out);
void cluster_wait_put(struct cluster_wait **list, struct cluster_wait *w);
/* Calls the waiters of the list that wait for this round or an earlier one. */
void cluster_wait_fire(struct cluster_wait **list, uint64_t round, int result);
/* The same for those whose time is over. */
void cluster_wait_expire(struct cluster_wait **list, uint64_t now_us, int result);
/* Deadlines that the wait timer must not miss. */
void cluster_wait_deadline(struct cluster *c, uint64_t deadline_us);
void cluster_wait_deadlines(struct cluster *c, const struct cluster_wait *list);

/* --- cluster_topics.c */
int topics_init(struct cluster *c) SL_MUST;
void topics_release(struct cluster *c);
/* Drops what nobody watches any more. */
void topics_sweep(struct cluster *c);
/* Reads an answer's body into brokers and topics, all or nothing. ERR_MALFORMED, ERR_NOMEM,
 * ERR_BUSY (the broker said so). */
int topics_take(struct cluster *c, const struct buf *frame, size_t body_off, int version) SL_MUST;
/* The next topic that this round has not asked for, marked as asked; NULL: none is left. */
struct topic *topics_next(struct cluster *c);
/* Whether there is one. */
bool topics_left(const struct cluster *c);

/* --- coordinators.c */
int coordinators_init(struct cluster *c) SL_MUST;
void coordinators_release(struct cluster *c);
/* Ends waiters whose time is over. */
void coordinators_expire(struct cluster *c, uint64_t now_us);
/* Their deadlines, for the wait timer. */
void coordinators_deadlines(struct cluster *c);
/* The questions on this broker's probe connection are lost: they are asked again. */
void coordinators_broker_gone(struct cluster *c, const struct broker *b);

#endif
