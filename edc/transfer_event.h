/* What a connector tells of its transfers by EDC's callbacks (edc.callback.*): ids only, after the
 * fact, and only the end or suspension of a provider's transfer means anything here. A backstop for
 * signaling that was lost, and the only signal of connectors whose data plane is another.
 * Pure, any thread. */
#ifndef EDC_TRANSFER_EVENT_H
#define EDC_TRANSFER_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "edc/flow.h"
#include "edc/jsonld.h"

#define EVENT_SKEW_S 30

enum event_does { EVENT_NOTHING, EVENT_SUSPENDS, EVENT_ENDS };

struct event {
    struct jsonld doc;
    enum event_does does;
    const char *type, *transfer, *reason; /* reason NULL: none */
    int64_t at_ms;                        /* 0: not said */
    const char *fault;
};

/* {"type", "at", "payload": {"transferProcessId", "type", ...}}. False with fault for what is no
 * event; released then. Kinds that are not known do nothing. */
bool event_read(struct event *e, const char *text, size_t n) SL_MUST;
void event_release(struct event *e);
/* A suspension that was told late: the transfer has been started again since, or the suspension is
 * the one that signaling brought (their clocks EVENT_SKEW_S apart at most). An end never is old. */
bool event_is_old(const struct event *e, const struct flow *flow);

#endif
