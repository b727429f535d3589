/* Telling a control plane what became of a transfer, behind everything else: that it has completed
 * or failed here, or that what it asked for is ready. Tried again with back-off until it is taken,
 * refused for good, or TELLER_TRIES are used up; what is still to be told stands in the flow's
 * durable note, so that a restart goes on with it.
 *
 * It speaks only to the configured control plane, and to a callbackAddress whose host
 * outgoing.hosts allows; the key (x-api-key) goes to the configured one alone.
 *
 * Owned by the signaling part, control thread. Bounded: TELLER_ERRANDS_MAX at a time (the rest wait
 * in their flows), TELLER_CALLS_MAX calls at a time. */
#ifndef EDC_TELLER_H
#define EDC_TELLER_H

#include "config/config.h"
#include "edc/flow.h"

#define TELLER_ERRANDS_MAX 1024
#define TELLER_CALLS_MAX   8
#define TELLER_TRIES       12
#define TELLER_FIRST_MS    500
#define TELLER_LONGEST_MS  60000
/* A failure that was taken is told again after so long, so often, until the transfer's end comes.
 */
#define TELLER_CONFIRM_MS    3000
#define TELLER_CONFIRM_TRIES 3
#define TELLER_ANSWER_MAX    ((size_t)16 * 1024)

struct loop;
struct teller;

/* NULL when memory is short. */
struct teller *teller_new(struct loop *l, const struct config *c, struct flows *flows) SL_MUST;
/* A reload; what is under way begins anew. */
void teller_config(struct teller *t, const struct config *c);
void teller_free(struct teller *t);

/* flow->news is to be told. Nothing happens when that is under way, or there is no room for now:
 * call it again with each sweep. */
void teller_tell(struct teller *t, const struct flow *flow);
/* Is there anybody who may be told? */
bool teller_can(const struct config *c, const char *callback);

/* The URL that this news goes to, for tests. False: nowhere. */
#define TELLER_URL_BYTES 2048
bool teller_url(const struct config *c, const struct flow *flow, char out[TELLER_URL_BYTES]);

#endif
