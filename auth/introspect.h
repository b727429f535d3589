/* Token introspection (RFC 7662) as a backstop: for issuers that have an introspection endpoint
 * configured, a login waits until the authorization server has called its token active, and the
 * tokens of live sessions are asked about again each interval. One that has become inactive is
 * revoked.
 *
 *   worker                          control thread
 *   ticket: token, who asks   -->   an entry a token: cached, or asked over HTTP
 *   answered(ticket)          <--   active, inactive, unknown
 *   ... the session lives ...       holds the entry; asked about each interval
 *   introspect_release        -->   the last holder gone: the entry ends with its answer's time
 *
 * A ticket belongs to one side at a time: to the asker until introspect_ask and from `answered` on,
 * to the control thread in between. No thread waits. A session that ends while its ticket is away
 * takes its name off the ticket (owner) and lets it go when it comes back.
 *
 * The token's text is kept as long as it may be asked about, and wiped afterwards. At most one
 * request a token and interval; one that failed is tried again after INTROSPECT_RETRY_MS.
 * Bounded: INTROSPECT_TOKENS_MAX entries and INTROSPECT_BYTES_MAX of them, INTROSPECT_CALLS_MAX
 * requests at a time; who has waited INTROSPECT_QUEUE_MS for one of them hears unknown. Beyond the
 * bounds the answer is unknown, which refuses a login retriably. */
#ifndef AUTH_INTROSPECT_H
#define AUTH_INTROSPECT_H

#include <stddef.h>
#include <stdint.h>

#include "auth/grant.h"
#include "auth/identity.h"
#include "base/mailbox.h"
#include "config/config.h"

#define INTROSPECT_TOKENS_MAX  16384
#define INTROSPECT_BYTES_MAX   ((size_t)64 * 1024 * 1024)
#define INTROSPECT_TICKETS_MAX MAILBOX_MAX /* so that none can fail to be handed back */
#define INTROSPECT_CALLS_MAX   16
#define INTROSPECT_QUEUE_MS    4000
#define INTROSPECT_RETRY_MS    5000
#define INTROSPECT_TICK_MS     500
#define INTROSPECT_ANSWER_MAX  ((size_t)64 * 1024)

struct introspector;
struct introspect_entry;
struct introspect_token;
struct loop;

enum introspect_verdict {
    INTROSPECT_ACTIVE,
    INTROSPECT_INACTIVE, /* final */
    INTROSPECT_UNKNOWN,  /* the server gave no usable answer: retriable */
};

struct introspect_ticket {
    struct mail mail; /* first */
    void *owner;      /* the asker's alone, also while the ticket is away */
    enum introspect_verdict verdict;
    /* private */
    struct introspector *in;
    struct mailbox *home;
    void (*answered)(void *receiver, struct mail *m);
    struct introspect_token *token;
    struct introspect_entry *entry;
    struct introspect_ticket *next;
};

struct introspect_parts {
    void *arg;
    /* A token that was active is so no more. Takes r; done is the part's own matter. An error: it
     * is asked for again. */
    int (*revoke)(void *arg, struct revocation *r);
    /* on_outage is close, and this token could not be confirmed: its sessions close, and nothing is
     * barred. r is lent. */
    void (*unconfirmed)(void *arg, const struct revocation *r);
};

struct introspect_stats {
    uint64_t requests, failures, inactive;
    size_t tokens;
};

/* --- control thread */

struct introspector *introspect_new(struct loop *l, const struct config *c,
                                    const struct introspect_parts *p) SL_MUST;
/* A reload. Tokens of issuers that are not asked any more are let go. */
void introspect_config(struct introspector *in, const struct config *c);
/* When no asker's thread runs any more, and all tickets have been released or are still here. */
void introspect_free(struct introspector *in);
void introspect_stats(const struct introspector *in, struct introspect_stats *out);

/* --- any thread */

/* The issuer's entry when its tokens are to be asked about, else NULL. */
const struct issuer_config *introspect_wanted(const struct config *c, const char *issuer);
/* A ticket for this verified token. NULL: no memory, or too many are about. */
struct introspect_ticket *introspect_ticket_new(struct introspector *in, const struct identity *id,
                                                const char *token, size_t n, void *owner) SL_MUST;
/* Hands the ticket over; answered(receiver of home, &ticket->mail) hands it back. */
void introspect_ask(struct introspect_ticket *t, struct mailbox *home,
                    void (*answered)(void *receiver, struct mail *m));
/* The asker is done with it (and with the token, if it was active). NULL is fine. */
void introspect_release(struct introspect_ticket *t);

#endif
