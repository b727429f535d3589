/* What upstream.c and upstream_auth.c share and nobody else needs. */
#ifndef PROXY_UPSTREAM_PRIV_H
#define PROXY_UPSTREAM_PRIV_H

#include "auth/sasl_client.h"
#include "proxy/cluster_priv.h"
#include "proxy/resolve.h"
#include "proxy/transport.h"
#include "proxy/upstream.h"

/* A streamed answer: what may stand before its receiver, and in front of that in the transport. */
#define UPSTREAM_STAGE_BYTES ((size_t)256 * 1024)
#define UPSTREAM_IN_BYTES    ((size_t)128 * 1024)
/* Beyond this much unwritten, calls wait in the queue, where they can still be taken back. */
#define UPSTREAM_OUT_MARK_BYTES ((size_t)256 * 1024)
/* Answers above this size are read into large chunks. */
#define UPSTREAM_BULK_BYTES ((size_t)16 * 1024)

enum upstream_state {
    UPSTREAM_WAITING, /* for its turn to connect */
    UPSTREAM_RESOLVING,
    UPSTREAM_CONNECTING, /* TCP and TLS */
    UPSTREAM_AUTH,       /* only authentication's own calls are sent */
    UPSTREAM_READY,
    UPSTREAM_REAUTH, /* likewise; calls sent before are still answered */
    UPSTREAM_CLOSED, /* until the turn's end */
};

enum upstream_reading {
    READING_LENGTH,
    READING_WHOLE,  /* an answer that is held */
    READING_HEADER, /* of a streamed answer */
    READING_BODY,
};

/* What u->work is to do, outside of everybody's callbacks. */
enum { WORK_CONNECT = 1, WORK_READ = 2, WORK_FAIL = 4 };

struct upstream {
    struct upstream *next, **prev; /* the cluster's list */
    struct connect_wait turn;      /* in the broker's queue */
    struct cluster *cluster;
    struct broker *broker;
    void (*on_closed)(void *arg, struct upstream *u, int why);
    void *arg;

    enum upstream_state state;
    enum upstream_reading reading;
    bool silent; /* closed by its owner: call back no more */
    bool transport_open;
    bool probe;
    bool was_ready;
    uint8_t work; /* WORK_* */
    int why;      /* of WORK_FAIL */
    const char *text;
    struct loop_task task;
    struct loop_timer *timer;
    struct transport t;

    struct resolve_question *question;
    struct addresses *addresses; /* while connecting */
    unsigned address;            /* the next to try */
    struct upstream_auth *auth;  /* while authenticating */

    struct upstream_call *unsent, **unsent_end;
    struct upstream_call *sent, **sent_end;       /* in the order of their answers */
    struct upstream_call *noreply, **noreply_end; /* sent, without an answer */
    struct upstream_call *current;                /* being streamed */
    unsigned ncalls;                              /* of the owner's */
    int32_t correlation;

    struct buf frame; /* an answer being collected, or the stage of a streamed one */
    uint32_t frame_len;
    bool frame_checked; /* its correlation id is right */
    bool stalled;       /* the stream's receiver left bytes */
    uint64_t body_len, body_moved, body_taken;

    uint64_t armed_us;       /* when the timer fires at the latest; 0: not at all */
    uint64_t state_until_us; /* 0: none */
    uint64_t reauth_at_us;   /* 0: never */
    uint64_t connect_since_us;
    uint64_t idle_since_us;
};

/* One (re-)authentication; upstream_auth.c. */
struct upstream_auth {
    struct upstream_call call;
    struct sasl_client sasl;
    int16_t version; /* of SaslAuthenticate */
};

/* Starts authentication on a standing connection; state is AUTH or REAUTH. 0 or an error that the
 * caller fails the connection with, *why telling. */
int upstream_auth_start(struct upstream *u, const char **why) SL_MUST;
void upstream_auth_free(struct upstream *u);
/* upstream.c, for it: */
/* Frames the call and gives it to the transport. The call must not be queued. */
int upstream_write(struct upstream *u, struct upstream_call *call) SL_MUST;
/* Authentication has ended well; lifetime_ms is the broker's, 0: for ever. */
void upstream_auth_done(struct upstream *u, int64_t lifetime_ms);
/* Ends the connection with all its calls. text is constant. */
void upstream_fail(struct upstream *u, int why, const char *text);

#endif
