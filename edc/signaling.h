/* Data plane signaling: sluice as the data plane of a connector. What the control plane asks, in
 * both dialects; starts and resumes become grants with an EDR as the answer, suspensions and ends
 * become revocations, whose answer leaves after the sockets have closed and both are durable.
 *
 *   legacy   POST /v1/dataflows, /v1/dataflows/start, /prepare, /{id}/suspend, /{id}/terminate;
 *            GET /v1/dataflows/check, /{id}/state
 *   DPS      POST /dataflows/prepare, /start, /{id}/resume, /{id}/started, /{id}/suspend,
 *            /{id}/completed, /{id}/terminate; GET /{id}/status
 *   events   POST /events: what a connector tells of its transfers' ends, ids only (H4)
 *
 * A start that waits for a slow authorization server is answered after SIGNALING_PATIENCE_MS all
 * the same where the control plane can be told later: the legacy connector's whole transfer loop
 * waits for the answer.
 *
 * Owned by edc, control thread. Bounded by SIGNALING_JOBS_MAX requests under way. */
#ifndef EDC_SIGNALING_H
#define EDC_SIGNALING_H

#include "config/config.h"
#include "control/change.h"
#include "control/server.h"
#include "edc/tokens.h"

#define SIGNALING_JOBS_MAX    256
#define SIGNALING_PATIENCE_MS 300
/* A resume whose token is as old as the suspension, which barred such tokens, or a start whose
 * authorization server is away: so long until it is asked once more, so often. It reaches a server
 * that is 5 s behind. */
#define SIGNALING_AGAIN_MS 1000
#define SIGNALING_ASKS_MAX 6
#define SIGNALING_READY_S  120 /* how long a late start's answer waits to be asked for */
#define SIGNALING_SWEEP_MS 10000

struct signaling;

/* Where tokens come from: tokens_get and tokens_end, or what a test puts in their place. */
struct signaling_tokens {
    struct tokens *tokens;
    int (*get)(struct tokens *t, const struct token_ask *ask, tokens_done_fn *done, void *arg);
    void (*end)(struct tokens *t, const char *transfer);
};

struct signaling_parts {
    struct loop *loop;
    struct changes changes;
    struct signaling_tokens tokens;
};

extern const struct route signaling_routes[];
extern const size_t signaling_routes_count;

/* NULL with err. It is the routes' argument. */
struct signaling *signaling_new(const struct signaling_parts *p, const struct config *c, char *err,
                                size_t err_bytes) SL_MUST;
/* A reload. */
void signaling_config(struct signaling *s, const struct config *c);
/* Its metrics, as control/control.h has them. */
typedef void signaling_metric_fn(void *arg, const char *name, const char *labels, const char *type,
                                 const char *help, double value);
void signaling_metrics(const struct signaling *s, signaling_metric_fn *line, void *arg);
/* Before the store is closed. What is under way ends without an answer. */
void signaling_free(struct signaling *s);

#endif
