/* Writing an EDR (Endpoint Data Reference): what a consumer gets to reach a topic. Three forms are
 * in use, and they name the same things differently; one table holds them all. Every value is a
 * text, since a connector ends the transfer on a number. Pure; any thread. */
#ifndef EDC_EDR_H
#define EDC_EDR_H

#include <jansson.h>

#include "edc/message.h"

struct edr {
    enum edr_form form;   /* signaling.edr */
    const char *endpoint; /* host:port that clients connect to */
    const char *token;
    int64_t expires_in_s;
    const char *const *topics;
    size_t ntopics;
    const char *group_prefix, *agreement, *poll_duration; /* NULL: not known */
    unsigned operations;
    /* NULL: none */
    const char *refresh_token, *refresh_endpoint, *refresh_audience, *audience;
};

/* The value of EDR `type` and endpointType in this form. */
const char *edr_type(enum edr_form form);

/* The data address. Legacy: in the namespace and the form of endpointType that the request had.
 * NULL when memory is short. */
json_t *edr_address(const struct edr *e, enum dialect dialect, bool type_as_id) SL_MUST;
/* DataFlowResponseMessage (legacy), with its context. address is taken; NULL: none. */
json_t *edr_response(json_t *address, bool provisioning, bool dspace_2025) SL_MUST;

#endif
