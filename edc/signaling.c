/* The routes of both dialects, and what each demands; what follows is in signaling_job.c. */
#include "edc/signaling.h"

#include <stdio.h>
#include <string.h>

#include "auth/text.h"
#include "base/log.h"
#include "edc/edr.h"
#include "edc/transfer_event.h"
#include "edc/signaling_job.h"

/* --- starts */

/* The message itself is at fault. A legacy connector that says of which transfer it speaks is told
 * there, where it can be. */
static void refuse_message(struct signaling *s, struct ask *a, struct message *m)
{
    struct job *job;

    if (m->dialect != DIALECT_LEGACY || !m->process || flow_find(s->flows, m->process) ||
        !teller_can(s->config, m->callback)) {
        ask_error(a, 400, "malformed", m->doc.fault);
        return;
    }
    job = job_new(s, a, m->dialect, SIGNAL_START, m->process);
    if (!job)
        return;
    if (job_add_flow(job) == OK)
        flow_set(job->flow, FLOW_CALLBACK, m->callback);
    if (!job_refuse_later(job, m->doc.fault))
        job_refuse(job, 400, "malformed", m->doc.fault);
}

/* The body as a message, or an answer that says what is wrong with it. Release m in any case. */
static bool read_message(struct signaling *s, struct ask *a, enum dialect dialect,
                         enum message_kind kind, struct message *m)
{
    size_t n;
    const char *text;
    int rc;

    *m = (struct message){0};
    if (!ask_content_is(a, "application/json"))
        return false;
    text = ask_body(a, &n);
    rc = message_read(m, dialect, kind, text, n, s->config);
    ask_wipe_body(a);
    if (rc == OK)
        return true;
    if (rc == ERR_NOMEM)
        ask_error(a, 503, "out_of_memory", "try again");
    else if (kind == MESSAGE_START)
        refuse_message(s, a, m);
    else
        ask_error(a, 400, "malformed", m->doc.fault);
    message_release(m);
    return false;
}

static void refuse_state(struct job *job)
{
    char what[160];

    snprintf(what, sizeof(what), "%s does not go with the state %s", flow_signal_name(job->signal),
             job->flow ? flow_state_name(job->flow->state) : "of an unknown transfer");
    if (!job_refuse_later(job, what))
        job_refuse(job, 409, "conflict", what);
}

/* A start of either dialect, or (take false) a prepare: the flow that it is about. NULL: answered.
 */
static struct job *flow_job(struct signaling *s, struct ask *a, const struct message *m,
                            enum flow_signal signal)
{
    struct flow *flow = flow_find(s->flows, m->process);
    struct job *job;
    int rc = OK;

    if (flow) /* a start that is repeated must not undo a revocation that came by another way */
        signaling_look(s, flow);
    job = job_new(s, a, m->dialect, signal, m->process);
    if (!job)
        return NULL;
    job->message_id = m->id ? text_dup(m->id) : NULL;
    if (!flow_may(job->flow, m->dialect, signal)) {
        refuse_state(job);
        return NULL;
    }
    if (!job->flow)
        rc = job_add_flow(job);
    if (rc == OK && signal == SIGNAL_START)
        rc = flow_take(job->flow, m);
    else if (rc == OK)
        job->flow->dialect = m->dialect;
    if (rc == OK)
        return job;
    job_refuse(job, 503, rc == ERR_LIMIT ? "full" : "out_of_memory",
               rc == ERR_LIMIT ? "there is no room for another transfer" : "try again");
    return NULL;
}

static void start(void *arg, struct ask *a, enum dialect dialect)
{
    struct signaling *s = arg;
    struct message m;
    struct job *job;

    if (!read_message(s, a, dialect, MESSAGE_START, &m))
        return;
    job = flow_job(s, a, &m, SIGNAL_START);
    message_release(&m);
    if (job)
        signaling_start(job);
}

static void post_legacy_start(void *arg, struct ask *a)
{
    start(arg, a, DIALECT_LEGACY);
}

static void post_dps_start(void *arg, struct ask *a)
{
    start(arg, a, DIALECT_DPS);
}

/* Nothing has to be made ready for a consumer that fetches. */
static void post_legacy_prepare(void *arg, struct ask *a)
{
    struct message m;

    if (!read_message(arg, a, DIALECT_LEGACY, MESSAGE_PREPARE, &m))
        return;
    ask_json(a, 200, edr_response(NULL, false, m.dspace_2025));
    message_release(&m);
}

/* --- plain changes of state */

static void on_kept(void *arg, int result, unsigned closed)
{
    struct job *job = arg;

    (void)closed;
    if (result == OK && job->s) {
        job_answer_status(job, 200);
        job_free(job);
    } else {
        job_refuse(job, 503, "not_durable", "the state could not be written; try again");
    }
}

/* Into this state, which grants nothing; job is taken. */
static void enter(struct job *job, enum flow_state state)
{
    struct signaling *s = job->s;
    enum flow_state before = job->flow->state;
    int rc;

    flow_enter(s->flows, job->flow, state, loop_wall_s(s->loop));
    rc = flow_keep(s->flows, job->flow, on_kept, job);
    if (rc == OK)
        return;
    flow_enter(s->flows, job->flow, before, loop_wall_s(s->loop));
    job_refuse(job, 503, "not_durable", "the state could not be written; try again");
}

static void post_dps_prepare(void *arg, struct ask *a)
{
    struct message m;
    struct job *job;

    if (!read_message(arg, a, DIALECT_DPS, MESSAGE_PREPARE, &m))
        return;
    job = flow_job(arg, a, &m, SIGNAL_PREPARE);
    message_release(&m);
    if (job)
        enter(job, FLOW_PREPARED);
}

/* A signal about a flow that exists, with what its body says; NULL: answered. A body that cannot be
 * read counts as none where good is true not. */
static struct job *known_job(struct signaling *s, struct ask *a, enum flow_signal signal)
{
    struct flow *flow = flow_find(s->flows, ask_id(a));
    struct job *job;
    const char *text;
    char *reason;
    size_t n;
    int rc;

    if (flow && signal == SIGNAL_RESUME)
        signaling_look(s, flow);
    job = job_new(s, a, DIALECT_DPS, signal, ask_id(a));
    if (!job)
        return NULL;
    text = ask_body(a, &n);
    rc = message_read_end(text, n, &job->message_id, &reason);
    sl_free(reason);
    if (rc != OK)
        job_refuse(job, 503, "out_of_memory", "try again");
    else if (!job->flow)
        job_refuse(job, 404, "not_found", "no such transfer");
    else if (flow_may(job->flow, DIALECT_DPS, signal))
        return job;
    else
        refuse_state(job);
    return NULL;
}

/* The consumer's data plane may go on: nothing that has to be granted here. */
static void post_started(void *arg, struct ask *a)
{
    struct job *job = known_job(arg, a, SIGNAL_STARTED);

    if (!job)
        return;
    if (job->message_id)
        enter(job, FLOW_STARTED);
    else
        job_refuse(job, 400, "malformed", "messageId: is missing");
}

static void post_resume(void *arg, struct ask *a)
{
    struct job *job = known_job(arg, a, SIGNAL_RESUME);

    if (!job)
        return;
    if (!job->message_id)
        job_refuse(job, 400, "malformed", "messageId: is missing");
    else if (!job->flow->text[FLOW_TOPICS])
        enter(job, FLOW_STARTED); /* a consumer's side: it was granted nothing here */
    else
        signaling_start(job);
}

static void post_completed(void *arg, struct ask *a)
{
    struct job *job = known_job(arg, a, SIGNAL_COMPLETED);

    if (job)
        signaling_end(job, "completed");
}

/* --- ends */

/* What closes never fails for want of a good body: the path says all that is needed. */
static void end(struct signaling *s, struct ask *a, enum dialect dialect, enum flow_signal signal)
{
    struct job *job = job_new(s, a, dialect, signal, ask_id(a));
    const char *text;
    char *reason = NULL;
    size_t n;

    if (!job)
        return;
    text = ask_body(a, &n);
    if (message_read_end(text, n, &job->message_id, &reason) != OK)
        log_warn("signaling", "an end goes on without its reason: out of memory");
    if (job->flow && !flow_may(job->flow, dialect, signal))
        refuse_state(job);
    else
        signaling_end(job, reason ? reason : flow_signal_name(signal));
    sl_free(reason);
}

static void post_legacy_suspend(void *arg, struct ask *a)
{
    end(arg, a, DIALECT_LEGACY, SIGNAL_SUSPEND);
}

static void post_legacy_terminate(void *arg, struct ask *a)
{
    end(arg, a, DIALECT_LEGACY, SIGNAL_TERMINATE);
}

static void post_dps_suspend(void *arg, struct ask *a)
{
    end(arg, a, DIALECT_DPS, SIGNAL_SUSPEND);
}

static void post_dps_terminate(void *arg, struct ask *a)
{
    end(arg, a, DIALECT_DPS, SIGNAL_TERMINATE);
}

/* --- questions */

static void get_check(void *arg, struct ask *a)
{
    (void)arg;
    ask_text(a, 204, NULL, NULL, 0);
}

static void get_state(void *arg, struct ask *a)
{
    const struct signaling *s = arg;
    const struct flow *flow = flow_find(s->flows, ask_id(a));

    if (!flow)
        ask_error(a, 404, "not_found", "no such transfer");
    else
        ask_json(a, 200,
                 json_pack("{s:{s:s}, s:s, s:s}", "@context", "@vocab", JSONLD_EDC, "@type",
                           "DataFlowState", "state", flow_state_name(flow->state)));
}

static void get_status(void *arg, struct ask *a)
{
    const struct signaling *s = arg;
    const struct flow *flow = flow_find(s->flows, ask_id(a));

    if (!flow)
        ask_error(a, 404, "not_found", "no such transfer");
    else
        ask_json(
            a, 200,
            json_pack("{s:s, s:s}", "dataFlowId", flow->id, "state", flow_state_name(flow->state)));
}

/* --- events of a connector */

static void post_event(void *arg, struct ask *a)
{
    struct signaling *s = arg;
    struct event e;
    size_t n;
    const char *text;
    struct job *job;

    if (!ask_content_is(a, "application/json"))
        return;
    text = ask_body(a, &n);
    if (!event_read(&e, text, n)) {
        ask_error(a, 400, "malformed", e.fault);
        return;
    }
    job = e.does == EVENT_NOTHING
              ? NULL
              : job_new(s, a, DIALECT_LEGACY,
                        e.does == EVENT_SUSPENDS ? SIGNAL_SUSPEND : SIGNAL_TERMINATE, e.transfer);
    if (e.does == EVENT_NOTHING || (job && event_is_old(&e, job->flow))) {
        if (job) {
            job->ask = NULL;
            job_free(job);
        }
        ask_text(a, 204, NULL, NULL, 0);
    } else if (job) {
        signaling_end(job, e.reason ? e.reason : e.type);
    }
    event_release(&e);
}

#define LEGACY "/v1/dataflows"
#define DPS    "/dataflows"

const struct route signaling_routes[] = {
    {LEGACY, METHOD_POST, false, post_legacy_start}, /* EDC up to 0.14 */
    {LEGACY "/start", METHOD_POST, false, post_legacy_start},
    {LEGACY "/prepare", METHOD_POST, false, post_legacy_prepare},
    {LEGACY "/{id}/suspend", METHOD_POST, false, post_legacy_suspend},
    {LEGACY "/{id}/terminate", METHOD_POST, false, post_legacy_terminate},
    {LEGACY "/check", METHOD_GET, false, get_check},
    {LEGACY "/{id}/state", METHOD_GET, false, get_state},
    {DPS "/prepare", METHOD_POST, false, post_dps_prepare},
    {DPS "/start", METHOD_POST, false, post_dps_start},
    {DPS "/{id}/resume", METHOD_POST, false, post_resume},
    {DPS "/{id}/started", METHOD_POST, false, post_started},
    {DPS "/{id}/suspend", METHOD_POST, false, post_dps_suspend},
    {DPS "/{id}/completed", METHOD_POST, false, post_completed},
    {DPS "/{id}/terminate", METHOD_POST, false, post_dps_terminate},
    {DPS "/{id}/status", METHOD_GET, false, get_status},
    {"/events", METHOD_POST, false, post_event},
};
const size_t signaling_routes_count = sizeof(signaling_routes) / sizeof(*signaling_routes);

/* --- life */

/* A start that a restart cut short: whoever waits for its news waits in vain. */
static void take_up(void *arg, struct flow *flow)
{
    struct signaling *s = arg;
    bool lost = flow->state == FLOW_STARTING ||
                (flow->news == NEWS_STARTED && flow->dialect == DIALECT_DPS);

    if (lost)
        signaling_close(s, flow, SIGNAL_TERMINATE, NEWS_FAILED, "the gate was restarted meanwhile");
    else
        teller_tell(s->teller, flow);
}

struct signaling *signaling_new(const struct signaling_parts *p, const struct config *c, char *err,
                                size_t err_bytes)
{
    struct signaling *s = sl_calloc(1, sizeof(*s));

    snprintf(err, err_bytes, "signaling: out of memory");
    if (!s)
        return NULL;
    s->loop = p->loop;
    s->changes = p->changes;
    s->tokens = p->tokens;
    s->config = config_ref(c);
    s->flows = flows_new(p->changes.store);
    s->teller = s->flows ? teller_new(p->loop, c, s->flows) : NULL;
    s->registrar = s->teller ? registrar_new(p->loop, c) : NULL;
    s->sweep = loop_timer_new(p->loop, signaling_sweep, s);
    if (!s->registrar || !s->sweep ||
        loop_timer_set(s->sweep, SIGNALING_SWEEP_MS * UINT64_C(1000)) != OK) {
        signaling_free(s);
        return NULL;
    }
    flows_each(s->flows, take_up, s);
    return s;
}

void signaling_config(struct signaling *s, const struct config *c)
{
    const struct config *old = s->config;

    s->config = config_ref(c);
    config_unref(old);
    teller_config(s->teller, c);
    registrar_config(s->registrar, c);
}

void signaling_metrics(const struct signaling *s, signaling_metric_fn *line, void *arg)
{
    char labels[64];

    for (int i = FLOW_INITIALIZED + 1; i < FLOW_STATES; i++) {
        snprintf(labels, sizeof(labels), "state=\"%s\"", flow_state_name((enum flow_state)i));
        line(arg, "sluice_transfers", labels, "gauge",
             "Transfers that connectors have told of, by state.",
             (double)flows_in(s->flows, (enum flow_state)i));
    }
    line(arg, "sluice_registered", NULL, "gauge",
         "1 while the control plane is known to know this data plane.",
         registrar_done(s->registrar));
}

void signaling_free(struct signaling *s)
{
    if (!s)
        return;
    while (s->jobs) {
        struct job *job = s->jobs;

        /* What waits for the store hears of it later, alone; what waits for a token never. */
        s->jobs = job->next;
        job->s = NULL;
        job->flow = NULL;
        loop_timer_free(job->patience);
        job->patience = NULL;
        loop_timer_free(job->again);
        job->again = NULL;
        if (job->waiting == 0)
            job_free(job);
    }
    registrar_free(s->registrar);
    teller_free(s->teller);
    flows_free(s->flows);
    loop_timer_free(s->sweep);
    config_unref(s->config);
    sl_free(s);
}
