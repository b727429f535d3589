/* What the files of the Fetch room share.
 *
 *   fetch.c         the room: legs, deadlines, what is answered when
 *   fetch_leg.c     one leader's share: asking, taking over, the answer
 *   fetch_stream.c  a large answer on its way through, other leaders' partitions filled in
 *   fetch_marks.c   last known watermarks, for partitions that are filled in */
#ifndef PROXY_FETCH_PRIV_H
#define PROXY_FETCH_PRIV_H

#include "codec/walk.h"
#include "proxy/exchange.h"

/* Answers up to this are read whole and joined; larger ones stream. */
#define FETCH_SMALL_BYTES 65536
/* A parked answer nobody came for. */
#define FETCH_PARKED_US (30u * 1000000u)
/* A Fetch that leaves out a partition which had data before waits no longer than this: older Java
 * clients ask for the others while they still hold that partition's records. */
#define FETCH_LEFT_OUT_US 20000
/* Below this there is no point in asking an empty leader again. */
#define FETCH_AGAIN_US 5000
/* A parked answer that is no longer wanted is read and dropped up to this. */
#define FETCH_DRAIN_BYTES (1024 * 1024)
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

/* One leader's share of a Fetch. Outlives its exchange when it is parked. */
struct leg {
    struct leg *next;
    struct fetch_room *room;
    int32_t broker;
    enum leg_state state;
    struct upstream *up;
    struct upstream_call call;
    bool calling;      /* the call is on the connection */
    bool discard;      /* nobody wants the answer: read it and forget it */
    bool held;         /* a large answer that is read whole, since it cannot stream */
    bool again;        /* asked again with a small max_bytes, since its shape could not stream */
    struct buf key;    /* the request with max_wait_ms 0: what another must equal to take over */
    struct arena arena;
    struct buf frame;  /* the answer's body, when it is held whole */
    struct msg answer;
    const struct part *part; /* of the current exchange; NULL: parked */
    uint64_t parked_us;
    uint64_t streamed_us;    /* when it last streamed: leaders take turns */
    uint64_t discarded;
    uint32_t topics;         /* that it was asked for */
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
    uint64_t moved;           /* body bytes that have left the leg's buffer */
    uint64_t zero_from, zero_to; /* an unknown tag's content, blanked as it passes */
    struct buf front;         /* whole topics that go first */
    uint32_t front_topics;
    struct stream_extra *extras;
    const struct node *topic; /* of the request, that is passing now */
    const struct node *at;    /* of its partitions: where to look first */
    uint64_t name_off;        /* of the passing topic's name */
    uint32_t name_len;
    uint8_t id[16];
    uint64_t count_off;       /* where the last length or count started */
    uint32_t topics_seen, partitions_seen;
    int32_t index;            /* the passing partition */
};

struct mark {
    int64_t high_watermark, last_stable, log_start;
    int32_t epoch; /* of the map when it was noted */
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
    uint64_t deadline_us;
    bool began, hurry;   /* hurry: answer with what is there */
    bool sending;        /* legs are being started: don't answer yet */
    struct stream stream;
    struct mark_topic *marks;
    uint32_t nmarks;
};

/* fetch.c */
void fetch_evaluate(struct fetch_room *r);
/* Makes the exchange's reply of the answers and blanks of all legs but `without`, hides the cluster
 * in it, and adds what was refused. */
int fetch_join(struct fetch_room *r, const struct leg *without) SL_MUST;

/* The stream has handed on its last byte. */
void fetch_stream_done(struct fetch_room *r);

/* fetch_leg.c */
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
/* Notes what a whole answer says. */
void marks_note(struct fetch_room *r, const struct msg *answer);
/* Fills a made-up partition: last known watermarks, or -1, never 0. */
int marks_fill(struct fetch_room *r, struct msg *reply, const struct node *topic,
               const struct node *request_partition, struct node *partition) SL_MUST;
/* Whether a partition that had data last time is not asked for now. */
bool marks_left_out(struct fetch_room *r);
void marks_release(struct fetch_room *r);

#endif
