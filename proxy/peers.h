/* How many connections each address has, over all workers: the bound
 * limits.connections_per_address. IPv4 counts by address, also when mapped into IPv6; IPv6 by /64,
 * which is what one customer gets.
 *
 * One a process, counted: held by the listener and by each worker. A hash table with a secret seed
 * behind a mutex that is taken when a connection comes and when it ends, never for data. An entry
 * exists only while its address has connections, so their number bounds the table. */
#ifndef PROXY_PEERS_H
#define PROXY_PEERS_H

#include <sys/socket.h>

#include "base/err.h"

struct peers;

struct peers *peers_new(void) SL_MUST;
struct peers *peers_ref(struct peers *p);
void peers_unref(struct peers *p);
/* Counts one more, at most max. ERR_LIMIT, ERR_NOMEM: not counted. */
int peers_enter(struct peers *p, const struct sockaddr_storage *peer, unsigned max) SL_MUST;
/* Takes back one peers_enter of the same address. */
void peers_leave(struct peers *p, const struct sockaddr_storage *peer);
/* Addresses with connections now. */
unsigned peers_count(struct peers *p);

#endif
