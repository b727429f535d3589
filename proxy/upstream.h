/* One connection to one broker, with the calls that are on it.
 *
 * Owned by a session (two per broker at most: one for Fetch, one for all else, design decision 11)
 * or by a cluster's probe; never shared between sessions, since a broker mutes a connection that it
 * throttles. One worker's thread. A broker answers a connection's calls in their order, so calls
 * are a queue; each has a correlation id of its own number space. The connection authenticates
 * itself (PLAIN, SCRAM, OAUTHBEARER) and re-authenticates (KIP-368) between calls; calls queued
 * meanwhile wait.
 *
 * An answer with a wrong correlation id, an unsolicited, oversized or malformed one ends the
 * connection: every call fails with ERR_MALFORMED, and nothing of it is passed on. */
#ifndef PROXY_UPSTREAM_H
#define PROXY_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/loop.h"

struct cluster;
struct upstream;
struct upstream_call;

struct upstream_call_events {
    /* The whole answer: its body is [body_off, frame->len) of frame. The receiver may move or
     * share bytes out of frame; what it leaves is dropped. The call is finished. */
    void (*answer)(struct upstream_call *c, struct buf *frame, size_t body_off);
    /* Instead of answer, for calls with stream set. Called when the header of the answer has been
     * checked and whenever more has arrived: in holds unread bytes of the body, body_len is the
     * whole body's length, and *taken counts what the receiver has drained so far (it adds what it
     * drains now; never more than body_len). What it leaves stays, and once `in` is full the
     * broker is no longer read: back-pressure. The call is finished when *taken == body_len. After
     * upstream_resume it is called again though nothing new came. */
    void (*data)(struct upstream_call *c, struct buf *in, uint64_t body_len, uint64_t *taken);
    /* The call came to nothing. sent: bytes of it may have reached the broker. why: ERR_IO,
     * ERR_EOF, ERR_TLS, ERR_DENIED (our credentials), ERR_TIMEOUT, ERR_MALFORMED, ERR_BUSY,
     * ERR_NOMEM. */
    void (*failed)(struct upstream_call *c, int why, bool sent);
};

/* Embedded in whatever waits for the answer. */
struct upstream_call {
    const struct upstream_call_events *events;
    void *arg;
    int16_t api, version;
    bool stream;           /* answers go through data */
    bool no_answer;        /* acks=0: finished (answer with frame NULL) once handed to the kernel */
    struct buf body;       /* encoded request body; emptied by sending, and by every end of the call
                              but upstream_cancel */
    const char *client_id; /* for the header; must live until the call is finished; may be NULL */
    uint64_t deadline_us;  /* monotonic; 0: request_timeout_ms from now */
    /* private */
    struct upstream *up;
    struct upstream_call *next;
    int32_t correlation;
    uint32_t sent_len;
    bool queued, sent;
};

/* Starts connecting to the broker with this id; on_closed is called once when the connection has
 * ended for whatever reason (after its calls were failed); the owner must then forget it. NULL
 * when out of memory or the broker is unknown. */
struct upstream *upstream_open(struct cluster *c, int32_t broker_id,
                               void (*on_closed)(void *arg, struct upstream *u, int why),
                               void *arg) SL_MUST;
/* Appends a call. ERR_LIMIT when UPSTREAM_CALLS_MAX wait. On error the call was not taken. */
int upstream_send(struct upstream *u, struct upstream_call *call) SL_MUST;
#define UPSTREAM_CALLS_MAX 256
/* The receiver of a streamed call can take bytes again. */
void upstream_resume(struct upstream *u);
/* Takes a call back that is still unsent; false: it was sent, its answer will come (the events may
 * be swapped for ones that drain it). */
bool upstream_cancel(struct upstream_call *call);
/* Ends it without calling back: unfinished calls are dropped silently. hard: linger 0. */
void upstream_close(struct upstream *u, bool hard);

int32_t upstream_broker(const struct upstream *u);
bool upstream_idle(const struct upstream *u); /* no call on it */
uint64_t upstream_idle_since_us(const struct upstream *u);
size_t upstream_held_bytes(const struct upstream *u); /* buffered in and out */

#endif
