/* Where sluice may call: the guard against being sent somewhere by a message (SSRF). A URL of the
 * configuration needs no leave; one that comes in a message, or follows from one (a did:web), is
 * called only when its host stands in outgoing.hosts. Pure functions, any thread. */
#ifndef CONFIG_OUTGOING_H
#define CONFIG_OUTGOING_H

#include <stdbool.h>

#include "config/config.h"

/* https (http too in development mode) and a host:port of outgoing.hosts. A host that stands there
 * without a port is allowed with its scheme's usual one. Names are compared without regard to case
 * and are never resolved; an escaped or otherwise unusual host never matches. */
bool outgoing_allowed(const struct config *c, const char *url);
/* Both URLs have the same scheme, host and port. */
bool outgoing_same_origin(const char *a, const char *b);
/* What is wrong with an entry of outgoing.hosts; NULL: nothing. */
const char *outgoing_host_fault(const char *entry);

#endif
