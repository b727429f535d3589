/* Inside signaling: requests while they wait for tokens and the store. */
#ifndef EDC_SIGNALING_JOB_H
#define EDC_SIGNALING_JOB_H

#include "base/loop.h"
#include "edc/flow.h"
#include "edc/register.h"
#include "edc/signaling.h"
#include "edc/teller.h"

struct signaling {
    struct loop *loop;
    struct changes changes;
    struct signaling_tokens tokens;
    const struct config *config; /* a reference */
    struct flows *flows;
    struct teller *teller;
    struct registrar *registrar;
    struct loop_timer *sweep;
    struct job *jobs;
    unsigned njobs;
};

/* One request. It outlives the signaling part when the store has still to answer. */
struct job {
    struct job *next, **prev;
    struct signaling *s; /* NULL: gone */
    struct ask *ask;     /* NULL: nobody waits (any more) */
    enum dialect dialect;
    enum flow_signal signal;
    struct flow *flow;   /* stays until it is let go; NULL: the transfer is unknown */
    uint64_t epoch;      /* the flow's when it began */
    enum flow_news news; /* of an end that nobody asked for */
    unsigned waiting;    /* answers that are still to come */
    int result;          /* the first that was not OK */
    bool first;          /* the flow was not STARTED before */
    bool late;           /* the answer has left before the work was done */
    struct loop_timer *patience;
    struct loop_timer *again; /* NULL: the first token was good */
    unsigned asked;           /* tokens that were asked for */
    char id[IDENTITY_TEXT_MAX];
    char *message_id; /* DPS; NULL: one is made */
    json_t *address;  /* of a start: what it is answered with */
    char peer[64];
};

/* For a transfer, known or not; a may be NULL. NULL when there are too many or no memory: a has
 * been answered then. */
struct job *job_new(struct signaling *s, struct ask *a, enum dialect dialect,
                    enum flow_signal signal, const char *id) SL_MUST;
/* The transfer is a new one: job->flow. ERR_LIMIT, ERR_NOMEM. */
int job_add_flow(struct job *job) SL_MUST;
void job_free(struct job *job);
/* Answers, if there is still somebody to be answered, and frees job. */
void job_refuse(struct job *job, int code, const char *error, const char *message);
/* A legacy connector that hears "no" to a start asks five times more, and for those 15 s none of
 * its transfers moves. So where it can be told later (job->flow knows where), it hears "later" at
 * once and then, why not; job is taken. False: nothing has happened. */
bool job_refuse_later(struct job *job, const char *why) SL_MUST;
/* 200 (or 202) DataFlowStatusMessage, with the address when there is one. */
void job_answer_status(struct job *job, int code);

/* Puts a start or resume of job->flow in motion; job is taken. */
void signaling_start(struct job *job);
/* Ends or suspends a transfer, known or not; job is taken. reason may be NULL. */
void signaling_end(struct job *job, const char *reason);
/* Ends a transfer that nobody asked to end, and tells the control plane the news. */
void signaling_close(struct signaling *s, struct flow *flow, enum flow_signal signal,
                     enum flow_news news, const char *reason);
/* Has a transfer that runs, or is suspended, ended by another way: revoked here, or too old? It
 * ends then. */
void signaling_look(struct signaling *s, struct flow *flow);
/* Every SIGNALING_SWEEP_MS: transfers whose grant has gone by another way, and old ones. */
void signaling_sweep(void *arg);

#endif
