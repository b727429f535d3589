/* The routes by which issuers tell that tokens are no longer good (edc/secevent.h says which and
 * how they are read):
 *
 *   POST /security-events             RFC 8935; 202, or 400 {"err", "description"}
 *   POST /backchannel-logout          OpenID Connect; 200, or 400
 *   POST /keycloak/k_logout           Keycloak, with <listener>/keycloak as the client's admin URL;
 *   POST /keycloak/k_push_not_before  204, or 400
 *
 * Anybody may call them: what counts is the signature. The good answer leaves when the revocations
 * are in force and durable; 503 asks for another try. An event is taken once: its id is remembered,
 * in the store too, until it is too old to be taken. One that is signed with a key that we lack
 * waits for a moment until the issuer's keys have been fetched anew. Every event that is taken or
 * refused is in the audit trail; of the refused so many a second, and the rest as a number, so that
 * strangers cannot fill it.
 *
 * Owned by struct edc, control thread. */
#ifndef EDC_EVENTS_H
#define EDC_EVENTS_H

#include "control/server.h"
#include "edc/edc.h"

/* Ids that are remembered: only signed events have one, and each is gone after max_age_s. When
 * full, events are refused retriably, since to forget one would be to let it be replayed. */
#define EVENTS_SEEN_MAX            8192
#define EVENTS_WAITING_MAX         16    /* for a key */
#define EVENTS_KEY_WAIT_MS         12000 /* JWKS_UNKNOWN_KID_S, and the fetch */
#define EVENTS_UNDER_WAY_MAX       64    /* being carried out */
#define EVENTS_AT_ONCE             8     /* revocations of one event with the store */
#define EVENTS_REFUSED_LINES_PER_S 16

struct events;

struct events *events_new(struct loop *l, const struct edc_parts *p) SL_MUST;
/* What was taken, refused, or could not be carried out, by way. */
void events_metrics(const struct events *e,
                    void (*line)(void *arg, const char *name, const char *labels, const char *type,
                                 const char *help, double value),
                    void *arg);
/* After the server, before the store is closed. What is under way is finished by the store. */
void events_free(struct events *e);

extern const struct route events_routes[]; /* their arg is the struct events */
extern const size_t events_routes_count;

#endif
