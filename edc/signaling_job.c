/* Starts and ends, from the request to the answer:
 *
 *   start     token --> grant + note --> answer        (before SIGNALING_PATIENCE_MS, or "later")
 *   end       revocation + note --> answer
 *
 * A start that is overtaken by an end does nothing any more: the flow's epoch tells. */
#include "edc/signaling_job.h"

#include <stdio.h>
#include <string.h>

#include "auth/http.h"
#include "auth/text.h"
#include "base/log.h"
#include "edc/edr.h"

#define ENDPOINT_BYTES   300
#define REVOKED_MARGIN_S 86400 /* a revocation outlives the tokens that it bars by a day */

/* --- one request */

struct job *job_new(struct signaling *s, struct ask *a, enum dialect dialect,
                    enum flow_signal signal, const char *id)
{
    struct job *job = s->njobs < SIGNALING_JOBS_MAX ? sl_calloc(1, sizeof(*job)) : NULL;

    if (!job || strlen(id) >= sizeof(job->id)) {
        if (a && job)
            ask_error(a, 400, "malformed", "the transfer's id is longer than 255 bytes");
        else if (a)
            ask_error(a, 503, "busy", "too much is under way; try again");
        sl_free(job);
        return NULL;
    }
    job->s = s;
    job->ask = a;
    job->dialect = dialect;
    job->signal = signal;
    memcpy(job->id, id, strlen(id) + 1);
    snprintf(job->peer, sizeof(job->peer), "%s", a ? ask_peer(a) : "");
    job->flow = flow_find(s->flows, id);
    if (job->flow) {
        job->flow->busy++;
        job->epoch = job->flow->epoch;
    }
    job->next = s->jobs;
    job->prev = &s->jobs;
    if (job->next)
        job->next->prev = &job->next;
    s->jobs = job;
    s->njobs++;
    return job;
}

int job_add_flow(struct job *job)
{
    int rc = flow_add(job->s->flows, job->id, job->dialect, loop_wall_s(job->s->loop), &job->flow);

    if (rc != OK)
        return rc;
    job->flow->busy++;
    job->epoch = job->flow->epoch;
    return OK;
}

void job_free(struct job *job)
{
    if (job->ask)
        ask_error(job->ask, 503, "stopping", "try again");
    if (job->s) {
        *job->prev = job->next;
        if (job->next)
            job->next->prev = job->prev;
        job->s->njobs--;
        if (job->flow)
            job->flow->busy--;
    }
    loop_timer_free(job->patience);
    loop_timer_free(job->again);
    json_decref(job->address);
    sl_free(job->message_id);
    sl_free(job);
}

void job_refuse(struct job *job, int code, const char *error, const char *message)
{
    if (job->ask)
        ask_error(job->ask, code, error, message);
    job->ask = NULL;
    job_free(job);
}

static void refuse_result(struct job *job, int result)
{
    if (result == ERR_LIMIT)
        job_refuse(job, 503, "full",
                   "there is no room to keep it; see limits.grants and "
                   "limits.revocations");
    else if (result == ERR_IO)
        job_refuse(job, 503, "not_durable",
                   "it could not be written; what it closed stays closed; "
                   "try again");
    else
        job_refuse(job, 503, "busy", "it is not sure that all took it; try again");
}

bool job_refuse_later(struct job *job, const char *why)
{
    struct signaling *s = job->s;
    struct flow *flow = job->flow;

    if (job->dialect != DIALECT_LEGACY || job->signal != SIGNAL_START || !job->ask || !flow ||
        !teller_can(s->config, flow->text[FLOW_CALLBACK]))
        return false;
    ask_json(job->ask, 200, edr_response(NULL, true, flow->dspace_2025));
    job->ask = NULL;
    job_free(job);
    if (flow->state != FLOW_COMPLETED && flow->state != FLOW_TERMINATED) {
        signaling_close(s, flow, SIGNAL_TERMINATE, NEWS_FAILED, why);
        return true;
    }
    flow->news = NEWS_FAILED;
    if (flow_keep(s->flows, flow, NULL, NULL) != OK)
        log_warn("signaling", "a transfer's end may be told once only");
    teller_tell(s->teller, flow);
    return true;
}

static void add_location(struct job *job)
{
    char id[3 * IDENTITY_TEXT_MAX], where[3 * IDENTITY_TEXT_MAX + 32];

    if (http_escape(id, sizeof(id), job->id) != OK)
        return;
    snprintf(where, sizeof(where), "/dataflows/%s/status", id);
    ask_add_header(job->ask, "Location", where);
}

void job_answer_status(struct job *job, int code)
{
    char id[MESSAGE_ID_BYTES];
    enum flow_state state = job->flow ? job->flow->state : FLOW_TERMINATED;
    json_t *body;

    if (!job->ask)
        return;
    message_new_id(id);
    body = json_pack("{s:s, s:s, s:s}", "messageId", job->message_id ? job->message_id : id,
                     "dataFlowId", job->id, "state", flow_state_name(state));
    if (body && job->address && code == 200)
        json_object_set(body, "dataAddress", job->address);
    if (code == 202)
        add_location(job);
    ask_json(job->ask, code, body);
    job->ask = NULL;
}

/* --- starts */

/* Has an end or a suspension come since it began? */
static bool overtaken(const struct job *job)
{
    return job->flow->epoch != job->epoch;
}

/* As before the start, unless another start of it is still under way. */
static void restore(struct job *job)
{
    struct flows *flows = job->s->flows;
    struct flow *flow = job->flow;

    if (!(flow->state == FLOW_STARTING || (flow->state == FLOW_STARTED && job->first)) ||
        flow->busy > 1)
        return;
    if (flow->before == FLOW_INITIALIZED) {
        job->flow = NULL;
        flow_forget(flows, flow);
        return;
    }
    flow_enter(flows, flow, flow->before, loop_wall_s(job->s->loop));
    if (flow_keep(flows, flow, NULL, NULL) != OK)
        log_warn("signaling", "a transfer's state could not be noted");
}

/* Could another try mend it? */
static bool may_pass(int result)
{
    return result != ERR_CONFIG && result != ERR_DENIED && result != ERR_MALFORMED;
}

/* What cannot be granted, or not now: the flow is as it was. */
static void start_failed(struct job *job, int result, const char *why)
{
    bool again = may_pass(result);
    char id[128];

    log_text(id, sizeof(id), job->id, strlen(job->id));
    log_warn("signaling", "transfer %s was not started: %s (%s)", id, why, err_name(result));
    if (!again && !overtaken(job) && job_refuse_later(job, why))
        return;
    if (!overtaken(job) && job->late)
        signaling_close(job->s, job->flow, SIGNAL_TERMINATE, NEWS_FAILED, why);
    else if (!overtaken(job))
        restore(job);
    job_refuse(job, again ? 503 : 400, again ? "unavailable" : "refused", why);
}

/* The answer of a start that was done in time, or the control plane is told. */
static void start_done(struct job *job)
{
    struct flow *flow = job->flow;

    if (job->late) {
        flow_set_ready(flow, json_incref(job->address));
        teller_tell(job->s->teller, flow);
    } else if (job->dialect == DIALECT_DPS) {
        job_answer_status(job, 200);
    } else if (job->ask) {
        ask_json(job->ask, 200, edr_response(json_incref(job->address), false, flow->dspace_2025));
        job->ask = NULL;
    }
    job_free(job);
}

/* One of the answers that it waits for has come. True: that was the last one. */
static bool answered(struct job *job, int result)
{
    if (result != OK && job->result == OK)
        job->result = result;
    return --job->waiting == 0;
}

/* The store has kept the grant, or the note. */
static void on_started(void *arg, int result, unsigned closed)
{
    struct job *job = arg;

    (void)closed;
    if (!answered(job, result))
        return;
    if (!job->s)
        job_free(job);
    else if (job->result != OK)
        start_failed(job, job->result, "the grant could not be kept");
    else if (overtaken(job) && job->dialect == DIALECT_DPS)
        job_refuse(job, 409, "conflict", "the transfer was suspended or ended meanwhile");
    else
        start_done(job);
}

static void format_endpoint(const struct endpoint *at, char out[ENDPOINT_BYTES])
{
    snprintf(out, ENDPOINT_BYTES, strchr(at->host, ':') ? "[%s]:%u" : "%s:%u", at->host,
             (unsigned)at->port);
}

/* The flow's topics; buffer holds them. */
struct topics {
    const char *at[MESSAGE_TOPICS_MAX];
    size_t count;
    char buffer[MESSAGE_TOPICS_BYTES_MAX + 1];
};

static void split_topics(const struct flow *flow, struct topics *t)
{
    char *rest = t->buffer, *one;

    t->count = 0;
    snprintf(t->buffer, sizeof(t->buffer), "%s", flow->text[FLOW_TOPICS]);
    while (t->count < MESSAGE_TOPICS_MAX && (one = strsep(&rest, ",")))
        t->at[t->count++] = one;
}

static json_t *address_of(const struct job *job, const struct topics *t,
                          const struct token_answer *a)
{
    const struct config *c = job->s->config;
    const struct flow *flow = job->flow;
    int64_t left = a->expires_s - loop_wall_s(job->s->loop);
    char endpoint[ENDPOINT_BYTES];
    const struct edr e = {
        .form = (enum edr_form)c->signaling.edr,
        .endpoint = endpoint,
        .token = a->token,
        .expires_in_s = left > 0 ? left : 0,
        .topics = t->at,
        .ntopics = t->count,
        .group_prefix = flow->text[FLOW_PREFIX],
        .agreement = flow->text[FLOW_AGREEMENT],
        .poll_duration = flow->text[FLOW_POLL],
        .operations = flow->operations,
        .refresh_token = a->refresh_token,
        .refresh_endpoint = a->refresh_endpoint,
        .refresh_audience = a->refresh_audience,
        .audience = flow->text[FLOW_AUDIENCE],
    };

    format_endpoint(&c->advertise, endpoint);
    return edr_address(&e, job->dialect, flow->type_as_id);
}

/* A token of our own names its transfer. Any other may be one of several of its principal, so the
 * grant binds it by its jti, with those of former starts that may still be in use. */
static int bind_token(struct flow *flow, const struct token_answer *a)
{
    return *a->jti && strcmp(a->subject, flow->id) != 0 ? flow_add_token(flow, a->jti) : OK;
}

static int make_grant(const struct job *job, struct topics *t, const struct token_answer *a,
                      struct grant **out, const char **why)
{
    const struct flow *flow = job->flow;
    const char *tokens[FLOW_TOKENS_MAX];
    struct grant_config c = {
        .id = job->id,
        .issuer = a->issuer,
        .subject = a->subject,
        .client = a->client,
        .tokens = {tokens, flow->ntokens},
        .participant = flow->text[FLOW_PARTICIPANT],
        .agreement = flow->text[FLOW_AGREEMENT],
        .asset = flow->text[FLOW_DATASET],
        .topics = {t->at, t->count},
        .group_prefix = flow->text[FLOW_PREFIX],
        .operations = flow->operations,
        .expires = flow->expires,
    };

    for (unsigned i = 0; i < flow->ntokens; i++)
        tokens[i] = flow->tokens[i];
    return grant_new(&c, GRANT_FROM_API, out, why);
}

/* The grant, and behind it the note: neither is durable without what was asked before it. */
static void put_grant(struct job *job, struct grant *g)
{
    struct signaling *s = job->s;
    struct flow *flow = job->flow;
    int rc;

    job->waiting = 1;
    rc = change_grant(&s->changes, g, *job->peer ? job->peer : NULL, on_started, job);
    if (rc != OK) {
        start_failed(job, rc, "the grant could not be kept");
        return;
    }
    job->first = flow->state == FLOW_STARTING;
    flow_enter(s->flows, flow, FLOW_STARTED, loop_wall_s(s->loop));
    if (job->late)
        flow->news = NEWS_STARTED;
    job->waiting++; /* the note says STARTED already: it is written behind the grant */
    rc = flow_keep(s->flows, flow, on_started, job);
    if (rc != OK)
        on_started(job, rc, 0);
}

static void ask_token(struct job *job);

/* A start that was overtaken by a suspension or an end. A legacy connector would repeat one that is
 * refused, and so undo the suspension that it sent after it. The token is worth nothing until it
 * resumes. */
static void came_too_late(struct job *job)
{
    if (job->dialect != DIALECT_LEGACY || job->flow->state != FLOW_SUSPENDED)
        job_refuse(job, 409, "conflict", "the transfer was suspended or ended meanwhile");
    else if (job->late && !job->address)
        job_free(job);
    else
        start_done(job);
}

static void on_again(void *arg)
{
    struct job *job = arg;

    if (overtaken(job))
        came_too_late(job);
    else
        ask_token(job);
}

/* A token of the authorization server that was issued in the second of the suspension, or by a
 * clock that is behind, is barred like those of before. */
static bool too_old(const struct job *job, const struct token_answer *a)
{
    return a->result == OK && !overtaken(job) && job->flow->revoked &&
           a->issued_s <= job->flow->revoked;
}

/* An authorization server that is away. Where the answer can be "later" it is asked again here:
 * a legacy connector that hears 503 asks by itself, but stands still meanwhile. */
static bool is_away(const struct job *job, const struct token_answer *a)
{
    return a->result != OK && may_pass(a->result) && !overtaken(job) &&
           job->signal == SIGNAL_START &&
           teller_can(job->s->config, job->flow->text[FLOW_CALLBACK]);
}

/* True when another token will be asked for. */
static bool ask_again(struct job *job)
{
    if (job->asked >= SIGNALING_ASKS_MAX)
        return false;
    if (!job->again)
        job->again = loop_timer_new(job->s->loop, on_again, job);
    return job->again && loop_timer_set(job->again, SIGNALING_AGAIN_MS * UINT64_C(1000)) == OK;
}

static void on_token(void *arg, const struct token_answer *a)
{
    struct job *job = arg;
    struct flow *flow = job->flow;
    struct topics t = {.count = 0};
    struct grant *g = NULL;
    const char *why = "out of memory";
    int rc;

    if ((too_old(job, a) || is_away(job, a)) && ask_again(job))
        return;
    loop_timer_clear(job->patience);
    if (too_old(job, a)) {
        start_failed(job, ERR_BUSY, "the authorization server's clock is behind the suspension");
        return;
    }
    if (a->result != OK) {
        start_failed(job, a->result, a->why);
        return;
    }
    split_topics(flow, &t);
    job->address = address_of(job, &t, a);
    rc = job->address ? bind_token(flow, a) : ERR_NOMEM;
    if (rc == OK)
        rc = make_grant(job, &t, a, &g, &why);
    if (a->expires_s - loop_wall_s(job->s->loop) > flow->token_life)
        flow->token_life = a->expires_s - loop_wall_s(job->s->loop);
    if (rc == OK && !overtaken(job)) {
        put_grant(job, g);
        return;
    }
    grant_unref(g);
    if (rc == OK)
        came_too_late(job);
    else
        start_failed(job, rc, why);
}

/* The control plane waits no longer: it is told when all is done. */
static void on_impatient(void *arg)
{
    struct job *job = arg;

    /* The specification knows no later answer to a resume. */
    if (!job->ask || overtaken(job) || job->signal == SIGNAL_RESUME ||
        !teller_can(job->s->config, job->flow->text[FLOW_CALLBACK]))
        return;
    job->late = true;
    if (flow_keep(job->s->flows, job->flow, NULL, NULL) != OK)
        log_warn("signaling", "a start that takes its time could not be noted");
    if (job->dialect == DIALECT_DPS)
        job_answer_status(job, 202);
    else
        ask_json(job->ask, 200, edr_response(NULL, true, job->flow->dspace_2025));
    job->ask = NULL;
}

static void ask_token(struct job *job)
{
    struct signaling *s = job->s;
    const struct flow *flow = job->flow;
    struct topics t = {.count = 0};
    struct token_ask ask = {
        .transfer = job->id,
        .participant = flow->text[FLOW_PARTICIPANT],
        .agreement = flow->text[FLOW_AGREEMENT],
        .asset = flow->text[FLOW_DATASET],
        .topics = t.at,
        .group_prefix = flow->text[FLOW_PREFIX],
        .operations = flow->operations,
        .not_before_iat = flow->revoked ? flow->revoked + 1 : 0,
        .expires = flow->expires,
        .consumer = flow->text[FLOW_AUDIENCE],
        .token_url = flow->text[FLOW_TOKEN_URL],
        .client_id = flow->text[FLOW_CLIENT],
        .client_secret = flow->secret,
        .client_secret_key = flow->text[FLOW_SECRET_KEY],
        .revoke_url = flow->text[FLOW_REVOKE_URL],
    };
    int rc = OK;

    split_topics(flow, &t);
    ask.ntopics = t.count;
    if (job->asked++ == 0) {
        job->patience = loop_timer_new(s->loop, on_impatient, job);
        rc = job->patience ? loop_timer_set(job->patience, SIGNALING_PATIENCE_MS * UINT64_C(1000))
                           : ERR_NOMEM;
    }
    if (rc == OK && !s->tokens.get)
        rc = ERR_CONFIG;
    if (rc == OK) /* on_token may have freed job before this returns */
        rc = s->tokens.get(s->tokens.tokens, &ask, on_token, job);
    if (rc != OK)
        start_failed(job, rc, "no token could be asked for");
}

void signaling_start(struct job *job)
{
    struct signaling *s = job->s;
    struct flow *flow = job->flow;
    unsigned life = s->config->signaling.max_life_s;

    if (flow->had_secret && !flow->secret) {
        start_failed(job, ERR_DENIED, "the client's secret was forgotten in a restart; start anew");
        return;
    }
    flow->expires = life ? loop_wall_s(s->loop) + life : 0;
    if (flow->news == NEWS_STARTED)
        flow->news = NEWS_NONE; /* it asks by itself */
    if (flow->ready && job->dialect == DIALECT_LEGACY && flow->state == FLOW_STARTED) {
        job->address = flow->ready;
        flow->ready = NULL;
        start_done(job);
        return;
    }
    if (flow->state != FLOW_STARTED && flow->state != FLOW_STARTING) {
        flow->before = flow->state;
        flow_enter(s->flows, flow, FLOW_STARTING, loop_wall_s(s->loop));
    }
    ask_token(job);
}

/* --- ends */

static enum flow_state state_after(enum flow_signal signal)
{
    return signal == SIGNAL_SUSPEND     ? FLOW_SUSPENDED
           : signal == SIGNAL_COMPLETED ? FLOW_COMPLETED
                                        : FLOW_TERMINATED;
}

static void on_ended(void *arg, int result, unsigned closed)
{
    struct job *job = arg;

    (void)closed;
    if (!answered(job, result))
        return;
    if (job->s && job->flow && job->flow->news != NEWS_NONE)
        teller_tell(job->s->teller, job->flow);
    if (job->result != OK) {
        refuse_result(job, job->result);
        return;
    }
    if (!job->ask) {
        /* nobody waits */
    } else if (job->dialect == DIALECT_LEGACY) {
        ask_text(job->ask, 204, NULL, NULL, 0);
        job->ask = NULL;
    } else {
        job_answer_status(job, 200);
    }
    job_free(job);
}

/* Bars what names this transfer, for as long as a token that does can be valid. */
static struct revocation *revocation_of(const struct job *job, const char *reason, int64_t now_s)
{
    const struct flow *flow = job->flow;
    bool known = flow && flow->token_life > 0;

    return revocation_new(REVOKE_TRANSFER, "", job->id, "", now_s,
                          known ? now_s + flow->token_life + REVOKED_MARGIN_S : 0, reason);
}

static void end_flow(struct job *job, const char *reason, int64_t now_s)
{
    struct flow *flow = job->flow;
    bool over = flow->state == FLOW_COMPLETED || flow->state == FLOW_TERMINATED;

    flow->revoked = now_s;
    flow->news = job->news;
    if (over)
        return;
    flow_set(flow, FLOW_REASON, reason);
    flow_enter(job->s->flows, flow, state_after(job->signal), now_s);
}

void signaling_end(struct job *job, const char *reason)
{
    struct signaling *s = job->s;
    int64_t now_s = loop_wall_s(s->loop);
    struct revocation *r;
    int rc;

    /* What was never started is remembered too, so that a start which it overtook opens nothing. */
    if (!job->flow && job_add_flow(job) != OK)
        log_warn("signaling", "an unknown transfer's end is kept as a revocation alone");
    r = revocation_of(job, reason, now_s);
    if (job->flow)
        end_flow(job, reason, now_s);
    if (s->tokens.end)
        s->tokens.end(s->tokens.tokens, job->id);
    job->waiting = 1;
    rc =
        r ? change_revoke(&s->changes, r, *job->peer ? job->peer : NULL, on_ended, job) : ERR_NOMEM;
    if (rc != OK) {
        refuse_result(job, rc);
        return;
    }
    if (!job->flow)
        return;
    job->waiting++;
    rc = flow_keep(s->flows, job->flow, on_ended, job);
    if (rc != OK)
        on_ended(job, rc, 0);
}

void signaling_close(struct signaling *s, struct flow *flow, enum flow_signal signal,
                     enum flow_news news, const char *reason)
{
    struct job *job = job_new(s, NULL, flow->dialect, signal, flow->id);

    if (!job)
        return; /* the next sweep comes to it again */
    job->news = news;
    signaling_end(job, reason);
}

/* --- what nobody asked for */

/* Revoked by another way since it was suspended, by whatever names it? While it is suspended there
 * is no grant that could tell. */
static bool revoked_since(const struct store *store, const struct flow *flow)
{
    const struct {
        enum revoke_kind kind;
        const char *value;
        int64_t since;
    } all[] = {{REVOKE_TRANSFER, flow->id, flow->revoked + 1}, /* its suspension is one as well */
               {REVOKE_AGREEMENT, flow->text[FLOW_AGREEMENT], flow->revoked},
               {REVOKE_ASSET, flow->text[FLOW_DATASET], flow->revoked},
               {REVOKE_PARTICIPANT, flow->text[FLOW_PARTICIPANT], flow->revoked}};

    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        if (all[i].value && store_revoked(store, all[i].kind, all[i].value, all[i].since))
            return true;
    return false;
}

void signaling_look(struct signaling *s, struct flow *flow)
{
    bool over = flow->expires && flow->expires <= loop_wall_s(s->loop);

    /* What only the other side's data plane has started was granted nothing. */
    if (!flow->text[FLOW_TOPICS] || flow->busy > 0)
        return;
    if (flow->state == FLOW_SUSPENDED && revoked_since(s->changes.store, flow))
        signaling_close(s, flow, SIGNAL_TERMINATE, NEWS_FAILED, "revoked at the gate");
    if (flow->state != FLOW_STARTED)
        return;
    if (over)
        signaling_close(s, flow, SIGNAL_COMPLETED, NEWS_COMPLETED, "its longest life is over");
    else if (!store_find_grant(s->changes.store, flow->id, NULL))
        signaling_close(s, flow, SIGNAL_TERMINATE, NEWS_FAILED, "revoked at the gate");
}

static void sweep_one(void *arg, struct flow *flow)
{
    struct signaling *s = arg;

    if (flow->news != NEWS_NONE && flow->busy == 0)
        teller_tell(s->teller, flow);
    if (flow->ready && flow->changed + SIGNALING_READY_S < loop_wall_s(s->loop))
        flow_set_ready(flow, NULL);
    signaling_look(s, flow);
}

void signaling_sweep(void *arg)
{
    struct signaling *s = arg;

    flows_each(s->flows, sweep_one, s);
    flows_sweep(s->flows, loop_wall_s(s->loop));
    if (loop_timer_set(s->sweep, SIGNALING_SWEEP_MS * UINT64_C(1000)) != OK)
        log_error("signaling", "no timer: ended transfers are not swept");
}
