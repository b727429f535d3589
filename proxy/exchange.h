/* One request and its answer: decided, split into parts, sent, joined, hidden, put in order.
 *
 * Owned by its session's queue, from the request's last byte to its answer's last byte handed to
 * the transport. One worker's thread. Memory: an arena (limits follow from the frame's size), the
 * frame itself, the brokers' answers, and the encoded answer; freed together. */
#ifndef PROXY_EXCHANGE_H
#define PROXY_EXCHANGE_H

#include "base/arena.h"
#include "base/buf.h"
#include "codec/frame.h"
#include "codec/msg.h"
#include "codec/reply.h"
#include "proxy/api.h"
#include "proxy/cluster.h"
#include "proxy/session.h"
#include "proxy/upstream.h"

enum exchange_state {
    EXCHANGE_WORKING,
    EXCHANGE_DONE,      /* out holds the whole answer frame */
    EXCHANGE_SILENT,    /* finished without an answer (acks=0) */
    EXCHANGE_STREAMING, /* at the head of the queue, writing into the transport by itself */
};

/* A part of the request that goes to one broker. */
struct part {
    struct part *next;
    struct exchange *ex;
    struct upstream_call call;
    int32_t broker;
    struct msg request; /* what it asks: for the errors if it fails */
    struct buf frame;   /* the answer */
    struct msg answer;
    int error;    /* Kafka code for everything in it, when there is no answer */
    bool waiting; /* on a broker */
    bool answered;
    const struct node *split_of; /* the topic being split, and its copy in this part */
    struct node *split_to;
};

/* A topic, partition, group, key or resource that was refused and taken out of the request. */
struct refusal {
    struct refusal *next;
    const struct node *topic;     /* or the item */
    const struct node *partition; /* NULL: the whole topic */
    const struct node *group;     /* OffsetFetch 8 and above: the group whose topic it is */
    int error;
};

struct exchange {
    struct exchange *next;
    struct session *s;
    enum exchange_state state;
    struct arena arena;
    struct buf frame; /* the request as it came, header included */
    struct request_head head;
    const struct api_rule *rule;
    struct msg request;
    struct msg reply;
    struct buf out;

    struct refusal *refused, *refused_last;
    unsigned nrefused;
    struct part *parts;
    unsigned pending;         /* parts that wait on a broker */
    struct cluster_wait wait; /* for leaders or a coordinator */
    bool waiting;             /* on the cluster map */
    bool unrouted;            /* nothing of it has been sent, nor has it been answered */
    bool deferred;            /* it waits for an earlier one to be sent */
    bool denied;              /* something of it was: paced once */
    bool wants_ops_topic, wants_ops_cluster, wants_ops_group;
    bool broker_any;           /* no coordinator: InitProducerId without a transactional id */
    bool listing;              /* all topics were asked for: absent ones are left out */
    bool fetch_ready;          /* a Fetch that was decided: it may begin at the queue's head */
    bool map_waited;           /* for the granted topics to become known */
    bool refreshed;            /* the map was refreshed for an id in the answer */
    const struct node *cursor; /* the key or group whose coordinator is being looked up */
    size_t held_bytes;         /* counted in the session's */
    size_t held_arena_bytes;   /* counted in the gate's */
    int throttle_ms;           /* told to the client with a held-back denial */
    uint64_t started_us, not_before_us;
};

/* Takes the frame (header and body, no length). The header has been read into head. Everything that
 * follows, to the answer, is its own; on a broken frame the session is closed. */
void exchange_start(struct session *s, struct buf *frame, const struct request_head *head);
/* After a wait: begins what stood back behind it. A connection's requests go upstream in their
 * order, as a broker would take them up. */
void exchange_dispatch(struct session *s);
/* Frees it, or keeps it for the gate's next request; unanswered calls must have been dropped with
 * their upstreams. */
void exchange_free(struct exchange *ex);
/* The one that was kept goes as well. */
void exchange_free_spare(struct gate *g);

/* Counts what it holds by now in its session and worker; or, handed over, no longer in the session.
 * The worker counts its tree until it is freed. */
void exchange_hold(struct exchange *ex);
void exchange_unhold(struct exchange *ex);

/* The answer is ready in ex->reply: encode, mark done, flush. Closes the session when it can't be
 * encoded. */
void exchange_finish(struct exchange *ex);
/* The same without the flush, for who has to clear up in between. False: the session was closed. */
bool exchange_encode(struct exchange *ex);
/* What is left of the request answered with one error, and what was refused of it. */
void exchange_fail(struct exchange *ex, int error);
/* Remembers a refused piece; policy has taken it out of the request. */
int exchange_refuse(struct exchange *ex, const struct node *topic, const struct node *partition,
                    const struct node *group, int error) SL_MUST;
/* Finishes with nothing but what was refused. */
void exchange_finish_refused(struct exchange *ex);
/* Joins the parts' answers and finishes, once nothing is pending. */
void exchange_parts_done(struct exchange *ex);
/* A broker broke the protocol: audit, and close both sides without passing anything on. */
void exchange_bad_answer(struct exchange *ex, const char *why);
/* Sends one part; its failure becomes part->error. */
void exchange_send(struct exchange *ex, struct part *p, enum upstream_kind kind);
struct part *exchange_part(struct exchange *ex, int32_t broker) SL_MUST;

/* --- the steps, a file each */
/* policy.c: decides. Returns OK (go on), ERR_DENIED (the exchange has been answered, or the session
 * closed), or an error that closes the session. */
int policy_decide(struct exchange *ex) SL_MUST;
/* The name behind a topic struct, by name or by id; NULL (and *error 100) for an id that we don't
 * know. */
const void *policy_topic_name(const struct exchange *ex, const struct node *topic, size_t *n);
/* Any of the ops on the topic. */
bool policy_topic(const struct exchange *ex, const void *name, size_t n, unsigned ops);
/* regex.c: adds the granted names that the pattern matches to an array of strings. ERR_MALFORMED
 * for a pattern that cannot be used, or that costs too much. */
int regex_resolve(struct msg *m, struct node *names, const struct grant_set *grants,
                  const struct node *pattern) SL_MUST;
/* local.c: answers of the gate's own. */
void local_answer(struct exchange *ex);
/* The map's row of a request's topic; NULL: not there (yet). */
const struct topic_info *route_topic(const struct exchange *ex, const struct node *topic);
/* Real id of the partition's leader; -1 with the code that the client gets. */
int32_t route_leader(const struct topic_info *info, const struct node *partition, int *error);
/* Whether a topic of the request has not been told of by the map yet. */
bool route_map_lacks(const struct exchange *ex);
/* Makes a part for each leader; partitions that have none are refused retriably. One leader of
 * everything gets the request as it is. */
int route_split_leaders(struct exchange *ex) SL_MUST;
/* route.c: looks up leaders or coordinators, splits, sends. May wait for the cluster map. */
void route_start(struct exchange *ex);
/* merge.c: joins all parts' answers into ex->reply. */
int merge_parts(struct exchange *ex) SL_MUST;
/* rewrite.c: hides the cluster in ex->reply, drops what is not granted, fills in operations. */
int rewrite_reply(struct exchange *ex) SL_MUST;
/* Whether the reply names a topic id that the cluster map does not have (yet). */
bool rewrite_unknown_id(struct exchange *ex);
/* fetch.c: all of a Fetch request after policy. */
void fetch_start(struct exchange *ex);
/* The exchange, a Fetch, has become the head of the queue: it may stream. */
void fetch_at_head(struct exchange *ex);
/* A request that is not a Fetch stands behind a waiting one, or the session is to end. */
void fetch_behind(struct session *s);
/* The session's rights changed: parked answers go. */
void fetch_clear(struct session *s);
/* The session is closed: nothing more happens; its memory goes with the session's. */
void fetch_stop(struct session *s);
void fetch_release(struct session *s);

#endif
