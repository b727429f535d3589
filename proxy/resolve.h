/* Names to addresses, off the workers: getaddrinfo blocks, so one thread a process does it.
 *
 * A struct resolver is made by main and freed after every worker has ended. Each worker has a
 * struct resolve_port of its own, through which it asks and hears, in its thread. The resolver's
 * thread keeps a cache (RESOLVE_CACHE_MAX names, RESOLVE_TTL_S; failures RESOLVE_FAILURE_TTL_S).
 * Bounded: RESOLVE_WAITING_MAX questions a port. */
#ifndef PROXY_RESOLVE_H
#define PROXY_RESOLVE_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

#define RESOLVE_ADDRESSES_MAX 8
#define RESOLVE_CACHE_MAX     256
#define RESOLVE_TTL_S         30
#define RESOLVE_FAILURE_TTL_S 1
#define RESOLVE_WAITING_MAX   4096
#define RESOLVE_HOST_MAX      255

struct loop;
struct resolver;
struct resolve_port;

struct address {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } u;
};

struct addresses {
    unsigned count;
    struct address at[RESOLVE_ADDRESSES_MAX];
};

/* How a name is looked up: fills out (ports are set afterwards); OK or ERR_UNKNOWN. Runs in the
 * resolver's thread and may block. */
typedef int resolve_lookup_fn(void *arg, const char *host, struct addresses *out);

struct resolver *resolver_new(void) SL_MUST;
/* With another way to look up: tests, and simulated networks. */
struct resolver *resolver_new_with(resolve_lookup_fn *lookup, void *arg) SL_MUST;
/* Ends the thread. One that hangs in the system's resolver is left to end by itself. */
void resolver_free(struct resolver *r);

/* One a worker, in its thread. */
struct resolve_port *resolve_port_new(struct resolver *r, struct loop *l) SL_MUST;
/* Questions under way are forgotten. */
void resolve_port_free(struct resolve_port *p);

/* A host that is a literal IPv4 or IPv6 address. ERR_UNKNOWN: it is a name. */
int resolve_numeric(const char *host, uint16_t port, struct addresses *out) SL_MUST;

struct resolve_question;
/* Asks; fn is called once from the port's loop, never from inside this call: with OK and at least
 * one address, or with an error. ERR_LIMIT and ERR_NOMEM: not asked. */
int resolve_ask(struct resolve_port *p, const char *host, uint16_t port,
                void (*fn)(void *arg, int result, const struct addresses *a), void *arg,
                struct resolve_question **out) SL_MUST;
/* The answer is not wanted any more. */
void resolve_cancel(struct resolve_question *q);

#endif
