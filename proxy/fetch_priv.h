/* What the files of the Fetch room share.
 *
 *   fetch.c         the room: legs, deadlines, what is answered when
 *   fetch_request.c what goes upstream: no session, no replica, everything once
 *   fetch_leg.c     one leader's share: asking, taking over, the answer
 *   fetch_stream.c  a large answer on its way through, other leaders' partitions filled in
 *   fetch_marks.c   last known watermarks, for partitions that are filled in */
#ifndef PROXY_FETCH_PRIV_H
#define PROXY_FETCH_PRIV_H

#include "codec/walk.h"
#include "proxy/exchange.h"

/* Answers up to this are read whole and joined; larger ones stream. */
#define FETCH_SMALL_BYTES 65536
/* A parked answer nobody came for; and how many there may be for a leader, since several consumers
 * may take turns on one connection. */
#define FETCH_PARKED_US  (30 * UINT64_C(1000000))
#define FETCH_PARKED_MAX 4
/* A Fetch that leaves out a partition which had data before waits no longer than this: older Java
 * clients ask for the others while they still hold that partition's records. */
#define FETCH_LEFT_OUT_US 20000
/* Below this there is no point in asking an empty leader again; nor so often within one Fetch. */
#define FETCH_AGAIN_US 5000
#define FETCH_ASKS_MAX 64
/* After the client's deadline a leader whose answer is on its way is waited for: among several so
 * long, and at least FETCH_LEADERS_US in all; one alone FETCH_ALONE_US. */
#define FETCH_LATE_US    10000
#define FETCH_LEADERS_US 100000
#define FETCH_ALONE_US   1000000
/* A parked answer that is no longer wanted is read and dropped up to this. */
#define FETCH_DRAIN_BYTES ((size_t)1024 * 1024)
/* What a client's max_wait_ms may ask for at most. */
#define FETCH_WAIT_MAX_MS 300000
/* Watermarks are kept for so many partitions of a session. */
#define FETCH_MARKS_MAX 65536

enum leg_state {
    LEG_WAITING, /* asked, no answer yet */
    LEG_EMPTY,   /* answered: nothing new */
    LEG_READY,   /* a whole answer with something in it */
    LEG_LARGE,   /* the beginning of a large answer is here; the rest waits in the socket */
    LEG_FAILED,
};

/* One leader's share of a Fetch. Outlives its exchange when it is parked. A leader may have
 * several: they are answered in the order in which they were asked. */
struct leg {
    struct leg *next;
    struct fetch_room *room;
    int32_t broker;
    enum leg_state state;
    struct upstream *up;
    struct upstream_call call;
    bool calling;   /* the call is on the connection */
    bool discard;   /* nobody wants the answer: read it and forget it */
    bool held;      /* a large answer that is read whole, since it cannot stream */
    bool again;     /* asked again with a small max_bytes, since its shape could not stream */
    struct buf key; /* the request with max_wait_ms 0: what another must equal to take over */
    uint64_t stamp; /* of the topic ids and leader epochs that it was asked under: likewise */
    unsigned asks;  /* within this Fetch */
    struct arena arena;
    struct buf frame; /* the answer's body, when it is held whole */
    struct msg answer;
    const struct part *part; /* of the current exchange; NULL: parked */
    uint64_t parked_us;
    uint64_t streamed_us; /* when it last streamed: leaders take turns */
    uint32_t topics;      /* that it was asked for */
    int16_t version;
    uint64_t body_len;
    int error;
};

/* A shared topic's filled-in partitions, put in while it streams past. */
struct stream_extra {
    struct stream_extra *next;
    const struct node *topic; /* of the leg's request */
    struct buf bytes;
    uint32_t count;
};

struct stream {
    struct leg *leg;
    struct walk walk;
    uint64_t moved;              /* body bytes that have left the leg's buffer */
    uint64_t zero_from, zero_to; /* an unknown tag's content, blanked as it passes */
    struct buf front;            /* whole topics that go first */
    uint32_t front_topics;
    struct stream_extra *extras;
    struct node *topic;      /* of the request, that is passing now */
    struct node *at;         /* of its partitions: where to look first */
    struct node *next_topic; /* likewise of the topics */
    uint64_t name_off;       /* of the passing topic's name */
    uint32_t name_len;
    uint8_t id[16];
    uint64_t count_off; /* where the last length or count started */
    int32_t index;      /* the passing partition */
};

struct mark {
    int64_t high_watermark, last_stable, log_start;
    int32_t epoch;  /* of the map when it was noted */
    uint32_t asked; /* the room's round when it was last asked for */
    bool known;
    bool had_data; /* in this session's last answer that held the partition */
};

struct mark_topic {
    struct mark_topic *next;
    uint8_t id[16];
    int32_t count;
    struct mark *marks; /* by index */
    char name[];
};

struct fetch_room {
    struct session *s;
    struct exchange *ex; /* the Fetch being worked on, NULL none */
    struct leg *legs;
    struct loop_timer *timer;
    uint64_t deadline_us; /* the client's */
    uint64_t late_us;     /* until then answers that are on their way are waited for */
    uint32_t round;       /* counts the Fetches */
    bool began, hurry;    /* hurry: answer with what is there */
    bool at_once;         /* min_bytes is 0: having nothing is an answer, too */
    bool sending;         /* legs are being started: don't answer yet */
    struct stream stream;
    struct mark_topic *marks, *last_mark; /* last_mark: found last */
    uint32_t nmarks;
};

/* fetch.c */
void fetch_evaluate(struct fetch_room *r);
/* Makes the exchange's reply of the answers and blanks of all legs but `without`, hides the cluster
 * in it, and adds what was refused. */
int fetch_join(struct fetch_room *r, const struct leg *without) SL_MUST;

/* The stream has handed on its last byte. */
void fetch_stream_done(struct fetch_room *r);

/* fetch_request.c */
/* Makes the request what a broker may get to see, each topic and partition once. */
int fetch_normalize(struct exchange *ex) SL_MUST;

/* fetch_leg.c */
/* The element of the list with this name or id (of a request or an answer); *at: where to look
 * first, and where the next one is to be looked for. */
struct node *leg_topic(const struct node *topics, struct node **at, const struct node *like);
/* The same for a partition of a request's topic. Each is found once: NULL when it was not asked
 * for, or has been found before. */
struct node *leg_partition(struct node *topic, struct node **at, int64_t index);
/* Takes over an equal parked leg, or asks anew. A leg that could not ask is LEG_FAILED. NULL: out
 * of memory. */
struct leg *leg_attach(struct fetch_room *r, struct part *p) SL_MUST;
/* An empty leader is asked again with the time left. */
void leg_again(struct leg *l);
/* Its answer has been used, or it failed. */
void leg_done(struct leg *l);
/* Nobody wants its answer any more. */
void leg_discard(struct leg *l);
void leg_free(struct leg *l);

/* fetch_stream.c */
/* Starts streaming the leg's answer to the client. ERR_MALFORMED: not of a shape that can be
 * streamed (nothing has been sent). */
int stream_start(struct fetch_room *r, struct leg *l) SL_MUST;
/* Moves what is there; called with the leg's unread bytes. */
void stream_data(struct fetch_room *r, struct buf *in, uint64_t *taken);
void stream_release(struct stream *st);
/* Reads throttle, error and count at the start of an answer. ERR_AGAIN: not all there. */
struct answer_head {
    int32_t throttle_ms;
    int16_t error;
    uint32_t topics;
    size_t count_off, count_len;
};
int stream_head(const struct buf *in, int version, struct answer_head *h) SL_MUST;

/* fetch_marks.c */
struct mark *marks_get(struct fetch_room *r, const struct node *topic, int32_t index, bool make);
/* Watermarks never fall within a leader epoch: an older answer may come later. */
static inline void mark_raise(int64_t *mark, int64_t value)
{
    *mark = value > *mark ? value : *mark;
}
/* Notes what a whole answer says. */
void marks_note(struct fetch_room *r, const struct msg *answer);
/* Fills a made-up partition: last known watermarks, or -1, never 0. */
int marks_fill(struct fetch_room *r, struct msg *reply, const struct node *topic,
               const struct node *request_partition, struct node *partition) SL_MUST;
/* Whether a partition that had data last time is not asked for now. */
bool marks_left_out(struct fetch_room *r);
void marks_release(struct fetch_room *r);

#endif
