/* The listener: accepts clients' connections in a thread of its own and hands each to the worker
 * with the fewest.
 *
 * One a process, owned by main. Bounds: limits.connections in all, beyond which connections wait in
 * the kernel's queue; limits.connections_per_address, beyond which they are reset;
 * LISTENER_BATCH accepted in one turn. Out of descriptors or memory it rests for LISTENER_REST_MS
 * instead of spinning. */
#ifndef PROXY_LISTENER_H
#define PROXY_LISTENER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define LISTENER_ADDRESSES_MAX 8 /* that the configured host may stand for */
#define LISTENER_BATCH         64
#define LISTENER_REST_MS       50
#define LISTENER_BACKLOG       1024

struct config;
struct endpoint;
struct listener;
struct worker;

/* Binds config's listen address; connections wait until listener_start. workers must outlive the
 * listener's thread. On failure NULL, and err says which address and why. */
struct listener *listener_new(const struct config *c, struct worker **workers, unsigned count,
                              char *err, size_t err_bytes) SL_MUST;
int listener_start(struct listener *l) SL_MUST;
/* Stops accepting, refuses what waits in the kernel's queue, and joins the thread. May be called
 * twice. Counts of connections that live on stay valid. */
void listener_stop(struct listener *l);
void listener_free(struct listener *l);
/* Takes over changed limits, any time. */
void listener_config(struct listener *l, const struct config *c);
/* The port that was bound: the configured one, or what the system chose for port 0. */
uint16_t listener_port(const struct listener *l);

/* Sockets that listen at every address that the host stands for, at one port, into fds; *count and
 * *port (what the system chose for port 0) tell. For the listeners of other parts as well. On
 * failure err says which address and why, and there are none. */
int listener_bind(const struct endpoint *at, int fds[LISTENER_ADDRESSES_MAX], unsigned *count,
                  uint16_t *port, char *err, size_t err_bytes) SL_MUST;

struct listener_counts {
    uint64_t accepted; /* handed to a worker */
    uint64_t refused;  /* reset because of connections_per_address */
    uint64_t rests;    /* times that it stopped for a while: total limit, descriptors */
};
/* Any thread. */
struct listener_counts listener_counts(const struct listener *l);

#endif
