/* What a connector's control plane says to its data plane, in both of its dialects: the JSON-LD
 * messages of EDC up to 0.17 (both generations of the dspace namespace, bare, prefixed and full
 * names), and the plain JSON of the Data Plane Signaling specification. Read strictly and checked
 * once, here: what comes out can be granted. Whatever cannot is refused with the place and the
 * reason, in words for the connector's log.
 *
 * A struct message is plain memory of its caller, filled by message_read_*, let go by
 * message_release, which also wipes it, since a data address may hold a client's secret. Texts in
 * it live as long. Pure, any thread. */
#ifndef EDC_MESSAGE_H
#define EDC_MESSAGE_H

#include "auth/identity.h"
#include "config/config.h"
#include "edc/jsonld.h"

#define MESSAGE_PROPERTIES_MAX   256                 /* of one data address */
#define MESSAGE_TOPICS_MAX       IDENTITY_TOPICS_MAX /* what a token may name as well */
#define MESSAGE_TOPICS_BYTES_MAX 4096                /* all of them, with commas */
#define MESSAGE_SECRET_MAX       1024

enum dialect { DIALECT_LEGACY, DIALECT_DPS };

enum message_kind { MESSAGE_START, MESSAGE_PREPARE };

/* What the asset's address, or the metadata, offers. */
struct offer {
    const char *topics[MESSAGE_TOPICS_MAX];
    size_t ntopics;
    const char *group_prefix; /* the participant's id where the asset names none */
    unsigned operations;      /* enum op bits */
    const char *poll_duration;
    /* For the token; NULL where there is none. */
    const char *token_url, *client_id, *client_secret, *client_secret_key, *revoke_url;
};

struct message {
    enum dialect dialect;
    struct jsonld doc;
    const char *id;          /* DPS: messageId */
    const char *process;     /* the transfer */
    const char *participant; /* the consumer */
    const char *agreement, *dataset;
    const char *callback; /* NULL: none */
    const char *audience; /* tx-auth:audience; NULL: none */
    struct offer offer;   /* of a start */
    bool dspace_2025;     /* the namespace that the other side speaks */
    bool type_as_id;      /* endpointType came as {"@id"} */
    char *topics;         /* owned: offer.topics, split */
};

/* ERR_MALFORMED with m->doc.fault, ERR_NOMEM. c: the transfer and source types that are served, the
 * operations that may be granted. Release m in any case. */
int message_read(struct message *m, enum dialect dialect, enum message_kind kind, const char *text,
                 size_t n, const struct config *c) SL_MUST;
void message_release(struct message *m);

/* The messageId and reason of a suspend, terminate or the like. Both dialects; NULL where the body
 * has none or cannot be read: what closes a transfer needs no good body. The texts are the
 * caller's (sl_free). ERR_NOMEM when memory is short for one of them. */
int message_read_end(const char *text, size_t n, char **id, char **reason) SL_MUST;

/* A messageId of our own. */
#define MESSAGE_ID_BYTES 33
void message_new_id(char out[MESSAGE_ID_BYTES]);

#endif
