/* A worker's gate with nothing around it but memory: the client's transport, the cluster with its
 * connections, the audit trail and the loop are stood in for here (these files stand before the
 * product's in the link); session, exchange, policy, routing, Fetch, joining and hiding are the
 * product's own. Whoever drives it says what the client sends and what the brokers answer, step by
 * step; world_judge.c holds everything that leaves against what was granted. What must not be ends
 * in world_must.
 *
 * One world at a time, one thread. Topics t1 (three partitions, led by 1, 2, 3) and t2 are granted,
 * "gone" is granted and absent, "foreign" exists; group prefix "bob". */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include "auth/grant.h"
#include "base/loop.h"
#include "codec/msg.h"
#include "proxy/gate.h"
#include "proxy/session.h"
#include "proxy/upstream.h"

#define WORLD_REQUESTS_MAX 512

/* Prints what and ends the process when it does not hold. */
void world_must(bool holds, const char *what);

/* A request that the client has sent as a whole. */
struct world_request {
    int16_t api, version;
    int32_t correlation;
    struct buf frame;
};

struct world {
    struct loop *loop;
    struct config *config;
    struct keyring *keys;
    struct principals *principals;
    struct gate *gate;
    struct session *session; /* NULL: it has ended and is gone */
    struct transport *t;     /* of the client; NULL: closed */
    struct grant *grant;     /* what the judge goes by */
    struct buf kernel;       /* sent by the client and not read yet */
    struct buf sent;         /* as well, not cut into frames yet */
    struct buf got;          /* received by the client */
    struct buf told;         /* whatever a broker has said */
    bool eof;                /* behind that */
    bool stalled;            /* the client does not read */
    bool revoked;            /* nothing may reach it from now on */
    bool hold;               /* answers are left in `got` for now */
    bool audit_ok;
    uint32_t piece;    /* bytes that are read or answered at once; 0: all */
    int lookup;        /* what looking up a coordinator comes to */
    bool coordinator;  /* it is known */
    bool slow_connect; /* connections to brokers do not stand at once */
    int32_t leader;    /* of t2; -1: none */
    uint64_t upstream_requests, answers;
    struct world_request requests[WORLD_REQUESTS_MAX];
    unsigned nrequests, next_answer;
};
extern struct world world;

void world_begin(unsigned operations);
/* Everything must have ended cleanly. */
void world_end(void);

/* Connects the client. */
void world_connect(void);
/* Past the login, with all that the grant allows. */
void world_enter(void);
/* Bytes from the client. */
void world_send(const void *p, size_t n);
/* One request of the client: header, body. Returns its correlation id. */
int32_t world_ask(int api, int version, const void *body, size_t n);
/* A token for OAUTHBEARER that is as good as kind says (0: good); to be freed. */
char *world_token(unsigned kind);
/* Handshake and that token. */
void world_login(unsigned kind);
/* Lets everything happen that can without time passing. */
void world_turn(void);
/* Time passes. */
void world_pass(struct loop *l, uint64_t us);
/* A broker answers the oldest call of this API, or the oldest of all: with this body, or, when p is
 * NULL, with what was asked for and no error. False: nobody was asked. */
bool world_answer(int api, int version, const uint8_t *p, size_t n);
/* Connections to brokers that were slow stand now. */
void world_open(void);
/* The connection of the oldest call breaks. False: there is none. */
bool world_break(int why);
/* Waits on the map are over. */
void world_lookups(void);
/* Whether anybody waits on it. */
bool world_waits(void);

/* --- world_judge.c */
/* A request to a broker: nothing in it that is not granted. */
void judge_request(int api, int version, const struct buf *body);
/* What the client got: whole answers in the order of its requests, and nothing that it must not
 * see. */
void judge_answers(void);
/* A line of the audit trail. */
void judge_audit(const struct audit_event *e);

#endif
