/* The whole gate in a simulated world: one thread, one seed, no kernel.
 *
 *      clients (client.c)        the product, unchanged        brokers (broker.c)
 *           |                  sessions ... upstreams                  |
 *           +---- net.c ----  transport.c   transport.c  ---- net.c ---+
 *                                     loop.c
 *
 * loop.c is a second base/loop.c: simulated time, timers, descriptors. net.c stands where the
 * product's files call the kernel (the linker's --wrap): simulated descriptors with streams that
 * cut, delay, stall and break. alloc.c is a second base/alloc.c that knows what lives and lets
 * allocations fail. parts.c stands in for what has a thread of its own (names, the audit trail, the
 * store's side of an acknowledgement). Everything else is the product as it ships.
 *
 * world.c is the model that judges: which topics, logs and leaders there are, which client may do
 * what, which tokens are barred. check.c looks after every step; client.c and broker.c hold what
 * arrives against the model. What they find goes to sim_violation, which names seed and step.
 *
 * Everything random comes from sim_random, so a seed replays exactly: `build/asan/sim --seed N
 * --trace`. Actors (clients, brokers, the control thread) run from events; the product runs inside
 * loop_turn alone, and only there allocations fail.
 *
 * One simulation a process at a time: the kernel that is replaced is a global as well. */
#ifndef TESTS_SIM_H
#define TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

/* --- the course of things, core.c */

struct sim {
    uint64_t seed, random;
    uint64_t now_us;  /* monotonic */
    int64_t wall_s;   /* wall clock minus monotonic */
    uint64_t steps;   /* turns of loops and events */
    uint64_t hash;    /* over everything that was noted: equal for equal runs */
    bool trace;       /* print what is noted */
    bool in_gate;     /* the product runs: its allocations may fail */
    unsigned fail_in; /* one of so many allocations fails; 0: none */
    uint64_t alloc_failures;
    unsigned violations;
};
extern struct sim sim;

void sim_begin(uint64_t seed, bool trace);
uint64_t sim_random(void);
/* 0 .. n-1; 0 for n 0. */
uint64_t sim_below(uint64_t n);
/* lo .. hi */
uint64_t sim_between(uint64_t lo, uint64_t hi);
bool sim_chance(unsigned percent);
/* A pure function of its arguments, for contents that both ends can work out. */
static inline uint64_t sim_mix(uint64_t a, uint64_t b)
{
    uint64_t z = a * UINT64_C(0x9e3779b97f4a7c15) + b + UINT64_C(0x632be59bd9b4e019);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
/* Bytes that follow from key, no two stretches of them alike. */
void sim_fill(uint8_t *out, size_t n, uint64_t key);
/* What happened, for trace and hash. what is constant text. */
void sim_note(const char *what, uint64_t a, uint64_t b, uint64_t c);
/* A rule was broken: prints it and ends the process with exit code 1. */
__attribute__((format(printf, 1, 2), noreturn)) void sim_violation(const char *fmt, ...);

/* A call of an actor at a time. Embedded in its owner; setting a set one moves it. */
struct sim_event {
    uint64_t at_us, order;
    void (*fn)(void *arg);
    void *arg;
    unsigned place; /* in the heap, from 1; 0: not set */
};
void sim_event_init(struct sim_event *e, void (*fn)(void *arg), void *arg);
void sim_event_in(struct sim_event *e, uint64_t delay_us);
void sim_event_cancel(struct sim_event *e);
bool sim_event_set(const struct sim_event *e);
/* One turn of a loop or one event; time passes up to the next of them. False: nothing is left to
 * happen before until_us. */
bool sim_step(uint64_t until_us);

/* --- loop.c: what the core asks of a loop */
struct loop *sim_loop_next(struct loop *l); /* NULL: the first */
bool sim_loop_busy(struct loop *l);         /* something to do now */
uint64_t sim_loop_due_us(struct loop *l);
void sim_loop_turn(struct loop *l);
void sim_clock_jump(int64_t by_s);
unsigned sim_loop_objects(void); /* descriptors and timers that live */

/* --- net.c */

struct net_conn;
/* What an actor hears of its end. */
struct net_actor {
    void (*opened)(void *arg);
    void (*data)(void *arg);            /* bytes arrived: net_bytes, net_take */
    void (*ended)(void *arg, bool cut); /* FIN, or a reset */
};
/* How a connection behaves. */
struct net_weather {
    unsigned latency_us; /* of each hop, at most */
    unsigned piece;      /* bytes that arrive together, at most; 0: no matter */
    size_t room;         /* what a sender may have under way */
};
struct net_weather net_some_weather(bool calm);

void net_reset(void); /* between runs: everything goes */
/* A client connects: the gate's descriptor, to be handed to it. */
int net_client(const struct net_weather *w, const struct net_actor *actor, void *arg,
               struct net_conn **out);
/* Who answers a connect of the gate: asked when the SYN arrives. Sets actor, arg and weather; false
 * refuses. */
typedef bool net_listener(uint32_t ip, uint16_t port, struct net_conn *c);
void net_listen(net_listener *fn);
/* True: a SYN to there gets no answer at all. */
typedef bool net_hole(uint32_t ip);
void net_holes(net_hole *fn);
void net_bind(struct net_conn *c, const struct net_weather *w, const struct net_actor *actor,
              void *arg);

unsigned net_id(const struct net_conn *c);
const uint8_t *net_bytes(const struct net_conn *c, size_t *n);
void net_take(struct net_conn *c, size_t n);
void net_put(struct net_conn *c, const void *p, size_t n);
size_t net_unread(const struct net_conn *c); /* put, and not read by the gate yet */
void net_hold(struct net_conn *c, bool held);
/* The actor's end: cut is a reset, otherwise FIN. The actor hears nothing more. */
void net_close(struct net_conn *c, bool cut);
bool net_gate_open(const struct net_conn *c);
bool net_cut(const struct net_conn *c); /* reset by either */
/* From now on no byte may arrive at the actor. */
void net_bar(struct net_conn *c);
unsigned net_open_descriptors(void);
uint64_t net_bytes_moved(void);

/* --- alloc.c */
size_t alloc_live(void); /* blocks of sl_malloc and its like */
void alloc_forget(void); /* after a leak has been reported */

/* --- parts.c */
struct parts_counts {
    uint64_t audited, acked, barred, revoked; /* revoked: closes for that reason in a change */
    unsigned last_closed;
    bool changing; /* a change is being applied */
};
extern struct parts_counts parts_seen;
void parts_reset(void);
/* Whether the audit trail can be written. */
void parts_audit_ok(bool ok);
/* How a host of the brokers' is found: its address, or 0. */
void parts_names(uint32_t (*lookup)(const char *host));

#endif
