/* The transfers that connectors have told us of, and the state each is in: the state machine of
 * Data Plane Signaling, which both dialects share. Who may send what in which state stands in one
 * table (flow.c); the legacy dialect allows more, since its connectors send things again.
 *
 * A flow is what a resume, a later answer or a callback needs to know: never the token, and a
 * client's secret in memory only. Each is a durable note of the store ("flow"), so that a restart
 * forgets none. A flow without texts stands for a transfer that was ended before it was started.
 *
 * Owned by the signaling part, control thread. Bounded: FLOWS_MAX at a time, those that have ended
 * go after FLOW_KEPT_S, the oldest of them sooner when there is no room. */
#ifndef EDC_FLOW_H
#define EDC_FLOW_H

#include "auth/store.h"
#include "edc/message.h"
#include "proxy/hash.h"

#define FLOWS_MAX       50000
#define FLOW_KEPT_S     (7 * INT64_C(86400))
#define FLOW_TOKENS_MAX 16 /* as many as a grant binds */

enum flow_state {
    FLOW_INITIALIZED,
    FLOW_PREPARING,
    FLOW_PREPARED,
    FLOW_STARTING,
    FLOW_STARTED,
    FLOW_SUSPENDED,
    FLOW_COMPLETED,
    FLOW_TERMINATED,
};
#define FLOW_STATES (FLOW_TERMINATED + 1)

enum flow_signal {
    SIGNAL_PREPARE,
    SIGNAL_START,
    SIGNAL_RESUME,
    SIGNAL_STARTED, /* the other side's data plane has */
    SIGNAL_SUSPEND,
    SIGNAL_COMPLETED,
    SIGNAL_TERMINATE,
};
#define FLOW_SIGNALS (SIGNAL_TERMINATE + 1)

enum flow_text {
    FLOW_PARTICIPANT,
    FLOW_AGREEMENT,
    FLOW_DATASET,
    FLOW_CALLBACK,
    FLOW_AUDIENCE,
    FLOW_TOPICS, /* with commas */
    FLOW_PREFIX,
    FLOW_POLL,
    FLOW_TOKEN_URL,
    FLOW_CLIENT,
    FLOW_SECRET_KEY,
    FLOW_REVOKE_URL,
    FLOW_REASON, /* why it ended */
};
#define FLOW_TEXTS (FLOW_REASON + 1)

/* What the control plane has yet to be told. */
enum flow_news { NEWS_NONE, NEWS_COMPLETED, NEWS_FAILED, NEWS_STARTED };

struct flow {
    struct hash_entry entry;
    enum flow_state state, before; /* before: what a start that fails goes back to */
    enum dialect dialect;
    uint64_t epoch; /* another number after each signal that ends or suspends it */
    char id[IDENTITY_TEXT_MAX];
    char *text[FLOW_TEXTS]; /* NULL: unknown */
    char *secret;           /* the client's; NULL: none, or lost in a restart */
    bool had_secret;
    json_t *ready; /* the data address that is still to be told; it holds the token; NULL: none */
    unsigned operations;
    char *tokens[FLOW_TOKENS_MAX]; /* jti of the tokens that it was given, the latest last */
    unsigned ntokens;
    int64_t started, changed, expires; /* epoch s; 0: never */
    int64_t revoked;                   /* `at` of the last revocation; 0: none */
    int64_t token_life;                /* the longest of its tokens, s */
    unsigned busy;                     /* what is under way for it; it stays until then */
    enum flow_news news;
    bool dspace_2025, type_as_id;
};

struct flows;

/* Takes up what the store holds. NULL when memory is short. */
struct flows *flows_new(struct store *s) SL_MUST;
void flows_free(struct flows *f);
size_t flows_count(const struct flows *f);
/* How many are in this state. */
size_t flows_in(const struct flows *f, enum flow_state state);

struct flow *flow_find(const struct flows *f, const char *id);
/* A new one, INITIALIZED. ERR_LIMIT, ERR_NOMEM. */
int flow_add(struct flows *f, const char *id, enum dialect dialect, int64_t now_s,
             struct flow **out) SL_MUST;
/* Takes over what a start says. ERR_NOMEM: nothing has changed. */
int flow_take(struct flow *flow, const struct message *m) SL_MUST;
/* Replaces a text; NULL is none. A text that memory is short for is none. */
void flow_set(struct flow *flow, enum flow_text which, const char *text);
/* The data address for later; taken. */
void flow_set_ready(struct flow *flow, json_t *address);
/* Its tokens may all be used until it ends; the oldest is forgotten when there are too many. */
int flow_add_token(struct flow *flow, const char *jti) SL_MUST;
/* Into this state; an end or a suspension begins a new epoch. */
void flow_enter(struct flows *f, struct flow *flow, enum flow_state state, int64_t now_s);
/* Makes it durable as it stands; done as in store_note. */
int flow_keep(struct flows *f, const struct flow *flow, store_done_fn *done, void *arg) SL_MUST;
/* Frees it, and its note. */
void flow_forget(struct flows *f, struct flow *flow);
/* fn may forget the flow that it is called with, and add none. */
void flows_each(struct flows *f, void (*fn)(void *arg, struct flow *flow), void *arg);
/* Forgets those that have ended long ago. */
void flows_sweep(struct flows *f, int64_t now_s);

/* May this signal be sent in this state? flow NULL: of an unknown transfer. */
bool flow_may(const struct flow *flow, enum dialect dialect, enum flow_signal signal);
const char *flow_state_name(enum flow_state s);
const char *flow_signal_name(enum flow_signal s);

/* The note and back, for tests and fuzzing: JSON text, malloc'ed; NULL when memory is short. */
char *flow_write(const struct flow *flow) SL_MUST;
/* A new flow; NULL for a text that flow_write would not write. Free it with flow_free. */
struct flow *flow_read(const char *id, const char *text) SL_MUST;
void flow_free(struct flow *flow);

#endif
