/* The model: what exists in the simulated cluster, who may do what, who is barred.
 *
 * Judged by it: what reaches a broker (check_request), what reaches a client (client.c), what the
 * gate's sessions look like after every step (check_step). It is written from what is promised
 * (design and docs), not from how the gate does it. */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <openssl/types.h>

#include "base/mailbox.h"
#include "codec/frame.h"
#include "codec/msg.h"
#include "config/config.h"
#include "proxy/gate.h"
#include "tests/sim/sim.h"

#define WORLD_BROKERS    3
#define WORLD_TOPICS     6
#define WORLD_PARTITIONS 4
#define WORLD_TRANSFERS  8
#define WORLD_WORKERS    2
#define WORLD_CLIENTS    48 /* of one run, one after another */
#define WORLD_REVOKED    128
#define BATCH_BYTES_MAX  65536
#define BROKER_ID(i)     (101 + (int)(i))
#define BROKER_PORT      9092
#define CLUSTER_TRUE_ID  "the-true-cluster"
#define GATE_HOST        "gate.example.com"
#define GATE_PORT        9093
#define GATE_CLUSTER     "virtual"
#define ISSUER           "https://idp.example.com"

struct partition {
    unsigned leader; /* index of the broker */
    int32_t epoch;
    int64_t start, end;
};

struct topic {
    char name[16];
    uint8_t id[16];
    bool exists;
    uint32_t incarnation; /* made anew so often */
    uint32_t batch_bytes; /* each batch of its logs */
    int32_t npartitions;
    struct partition p[WORLD_PARTITIONS];
};

struct rights {
    unsigned topics; /* bit mask */
    unsigned operations;
    char prefix[16];
};

/* What a transfer grants, and how a token of it says so. */
enum transfer_kind {
    TRANSFER_CLAIMS,    /* the token holds the rights */
    TRANSFER_NAMED,     /* the token names it, the grant is in the table */
    TRANSFER_PRINCIPAL, /* the token names nothing: the grant is its subject's */
};
struct transfer {
    char id[16], subject[16], participant[16];
    enum transfer_kind kind;
    struct rights rights;
    bool ended; /* a change that ends or narrows it has been sent off */
};

/* What a worker has been told, as the model sees it. */
struct told {
    bool ended[WORLD_TRANSFERS];           /* the grant is gone */
    struct rights rights[WORLD_TRANSFERS]; /* as granted now */
    struct {
        enum revoke_kind kind;
        char value[32];
        int64_t at;
    } revoked[WORLD_REVOKED];
    unsigned nrevoked;
};

struct world_worker {
    struct worker *worker;
    struct gate *gate;
    struct told told;
    bool down;
};

struct token {
    unsigned transfer; /* index */
    char jti[16];
    int64_t iat, exp;
    bool bad; /* forged, of another audience ...: must never let anybody in */
};

struct broker {
    bool up, hole, full; /* hole: SYNs vanish; full: refuses connections */
    unsigned slow_ms;    /* each answer waits up to so long */
};

struct world {
    bool calm;       /* no fault but time: every honest request must be answered */
    bool flipped;    /* a look-up of the gate's has been answered with a byte that is another */
    bool alloc_fail; /* allocations have been failing in this run */
    struct topic topics[WORLD_TOPICS];
    struct transfer transfers[WORLD_TRANSFERS];
    struct broker brokers[WORLD_BROKERS];
    unsigned coordinators; /* shifts who coordinates what */
    bool sasl;             /* brokers want a login */
    unsigned lifetime_ms;  /* which lasts so long; 0: for good */
    struct config *config;
    bool tight; /* small limits */
    unsigned in_flight;
    struct world_worker workers[WORLD_WORKERS];
    unsigned nworkers;
    struct principals *principals;
    unsigned tokens;
    unsigned sessions;     /* of all workers, after the last step */
    unsigned peak_percent; /* of what may be buffered */
    uint64_t requests_judged, answers_judged, records_judged, revocations;
    uint64_t end_us, jumped_us; /* jumped: the clock was set */
};
extern struct world world;

/* --- world.c */
void world_build(void);
const struct topic *world_topic(const void *name, size_t n);
const struct topic *world_topic_by_id(const uint8_t *id);
unsigned world_topic_index(const struct topic *t);
unsigned world_coordinator(const void *key, size_t n); /* index of the broker */
/* The one batch at this offset: t->batch_bytes of it. */
void world_batch(const struct topic *t, int32_t partition, int64_t offset, uint8_t *out);
/* Whether bytes are batches of this partition from this offset on (-1: wherever they begin). */
bool world_batches_ok(const struct topic *t, int32_t partition, int64_t from, const uint8_t *p,
                      size_t n);
int64_t world_wall_s(void);
/* The signed token as text, malloc'ed. how: how it is bad, from 1; 0: good. */
char *world_token(struct token *t, unsigned how);

/* --- sign.c: what stands for the signature of a token */
#define TOKEN_MARK_BYTES 64 /* as of Ed25519 */
void token_mark(const EVP_PKEY *key, const uint8_t *text, size_t len, uint8_t *out);

/* --- control.c: the control thread, and the weather of the world */
void control_begin(void);
void control_end(void);
/* Is this token barred, or its grant gone, on that worker? */
bool control_barred(const struct told *told, const struct token *t);

/* Nothing has changed what this token may since then, or is about to, and it is not barred. */
bool control_steady(const struct token *t, uint64_t since_us);
/* Another broker leads it from now on; the one that did may go down with all its connections. */
void control_move_leader(unsigned topic, int32_t partition, bool dies);
/* Revokes this very token now. */
void control_strike(const struct token *t);
struct session;
struct client *control_client(const struct session *s);

/* --- broker.c */
void brokers_begin(void);
void brokers_end(void);
/* Dies: all its connections break. */
void broker_die(unsigned broker);
/* A revocation has closed this client: none of its bytes may reach a broker any more. */
void brokers_bar(unsigned client);

/* --- client.c */
struct client;
void clients_begin(void);
void clients_end(void);
void client_start(void);
struct client *client_of(unsigned number);
unsigned client_number(const struct client *c);
const struct token *client_token(const struct client *c);
/* The gate says that this is the token of its session. */
void client_known_as(struct client *c, const char *jti);
/* The gate has let it in with these rights. */
void client_let_in(struct client *c, const struct rights *r);
const struct rights *client_rights(const struct client *c); /* NULL: not let in */
/* A broker has told it to be quiet for so long, in an answer of this API. */
void client_throttled(struct client *c, int api, unsigned ms);
/* A revocation has closed it. */
void client_barred(struct client *c);
bool client_was_barred(const struct client *c);
unsigned clients_open(void);
/* Tells all to go. */
void clients_leave(void);
/* A Produce of this client has reached a broker: its records must be what it sent, and new. */
void client_produced(struct client *c, const struct topic *t, int32_t partition, const uint8_t *p,
                     size_t n);

/* --- request.c: random requests */
struct asked {
    int16_t api, version;
    int32_t correlation;
    bool silent; /* acks=0 */
    bool mangled;
    unsigned named; /* topics that it names, a bit each */
    /* What must be answered part by part, each once. */
    unsigned nparts;
    bool twice; /* something is asked for twice */
    struct {
        const struct topic *topic;
        uint32_t incarnation;
        int32_t partition;
    } parts[24];
    unsigned nfetch;
    struct {
        const struct topic *topic;
        int32_t partition;
        int64_t offset;
    } fetch[12];
};
struct request_wish {
    int api, version;
    unsigned client;
    const struct rights *rights;
    bool foreign; /* names what is not granted, too */
    bool bulk;    /* with many records */
    uint32_t *sequence;
};
/* The whole frame, malloc'ed. */
uint8_t *request_make(const struct request_wish *w, struct asked *a, size_t *n);
/* An answer has every part that was asked for. */
void request_answered(unsigned client, const struct asked *a, const struct msg *answer);
/* The records of one partition of a Produce. */
#define PRODUCED_HEAD 24
void request_records(unsigned client, uint32_t sequence, unsigned topic, int32_t partition,
                     uint8_t *out, size_t n);

/* --- check.c */
/* A frame has reached a broker. */
void check_request(struct client *c, const struct request_head *h, const struct msg *m);
/* After every step. */
void check_step(void);
/* After a change has been applied by this worker. */
void check_end(void);

#endif
