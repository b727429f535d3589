#include "view.h"

#include <stdatomic.h>
#include <stddef.h>

#include "audit/audit.h"
#include "auth/introspect.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "proxy/gate.h"
#include "proxy/worker.h"

/* --- questions: every worker answers in its own thread, the last one done delivers */

struct question {
    struct mail back; /* to the control thread */
    atomic_uint left;
    const struct view *view;
    void (*ask)(struct question *q, unsigned worker); /* in its thread */
    view_list_fn *list_done;
    view_usage_fn *usage_done;
    void *arg;
    unsigned count;
    const char *const *ids; /* of usage */
    size_t nids;
    union {
        json_t *list;
        struct grant_usage *usage;
    } answers[]; /* one a worker; NULL: none */
};

struct question_mail {
    struct mail mail;
    struct question *question;
    unsigned worker;
};

static void answered(struct question *q, unsigned shares)
{
    if (atomic_fetch_sub(&q->left, shares) == shares &&
        mailbox_post(q->view->mailbox, &q->back) != OK)
        log_error("view", "what the workers told was lost");
}

static void on_question(void *receiver, struct mail *mail)
{
    struct question_mail *m = (struct question_mail *)(void *)mail;
    struct question *q = m->question;

    (void)receiver;
    q->ask(q, m->worker);
    sl_free(m);
    answered(q, 1);
}

static struct question *question_new(const struct view *v,
                                     void (*ask)(struct question *q, unsigned worker),
                                     void (*deliver)(void *receiver, struct mail *mail))
{
    struct question *q = sl_calloc(1, sizeof(*q) + v->count * sizeof(q->answers[0]));

    if (!q)
        return NULL;
    q->back.deliver = deliver;
    q->view = v;
    q->ask = ask;
    q->count = v->count;
    atomic_init(&q->left, v->count + 1);
    return q;
}

/* Those that could not be asked count as done; so does this thread's own share. */
static void question_send(struct question *q)
{
    const struct view *v = q->view;
    unsigned sent = 0;

    for (; sent < v->count; sent++) {
        struct question_mail *m = sl_calloc(1, sizeof(*m));
        if (!m)
            break;
        m->mail.deliver = on_question;
        m->question = q;
        m->worker = sent;
        if (mailbox_post(worker_mailbox(v->workers[sent]), &m->mail) != OK) {
            sl_free(m);
            break;
        }
    }
    answered(q, v->count - sent + 1);
}

static void on_session_lists(void *receiver, struct mail *mail)
{
    struct question *q = (struct question *)(void *)mail;
    json_t *all = json_array();

    (void)receiver;
    for (unsigned i = 0; i < q->count; i++) {
        if (all && q->answers[i].list)
            json_array_extend(all, q->answers[i].list);
        json_decref(q->answers[i].list);
    }
    q->list_done(q->arg, all);
    sl_free(q);
}

static void ask_sessions(struct question *q, unsigned worker)
{
    q->answers[worker].list = json_array();
    if (q->answers[worker].list)
        gate_list_sessions(q->view->gates[worker], q->answers[worker].list);
}

int view_sessions(const struct view *v, view_list_fn *done, void *arg)
{
    struct question *q = question_new(v, ask_sessions, on_session_lists);

    if (!q)
        return ERR_NOMEM;
    q->list_done = done;
    q->arg = arg;
    question_send(q);
    return OK;
}

static void on_usages(void *receiver, struct mail *mail)
{
    struct question *q = (struct question *)(void *)mail;
    struct grant_usage *sum = sl_calloc(q->nids + 1, sizeof(*sum));

    (void)receiver;
    for (unsigned i = 0; i < q->count; i++) {
        const struct grant_usage *one = q->answers[i].usage;
        for (size_t k = 0; sum && one && k < q->nids; k++) {
            sum[k].sessions += one[k].sessions;
            if (one[k].last_use_s > sum[k].last_use_s)
                sum[k].last_use_s = one[k].last_use_s;
        }
        sl_free(q->answers[i].usage);
    }
    q->usage_done(q->arg, sum);
    sl_free(sum);
    sl_free(q);
}

static void ask_usage(struct question *q, unsigned worker)
{
    q->answers[worker].usage = sl_calloc(q->nids + 1, sizeof(struct grant_usage));
    if (q->answers[worker].usage)
        gate_usage(q->view->gates[worker], q->ids, q->nids, q->answers[worker].usage);
}

int view_usage(const struct view *v, const char *const *ids, size_t n, view_usage_fn *done,
               void *arg)
{
    struct question *q = question_new(v, ask_usage, on_usages);

    if (!q)
        return ERR_NOMEM;
    q->ids = ids;
    q->nids = n;
    q->usage_done = done;
    q->arg = arg;
    question_send(q);
    return OK;
}

/* --- metrics */

static double sum(const struct view *v, size_t offset)
{
    double n = 0;

    for (unsigned i = 0; i < v->count; i++) {
        const char *base = (const char *)&v->gates[i]->counters;
        const atomic_int_fast64_t *c = (const atomic_int_fast64_t *)(const void *)(base + offset);
        n += (double)atomic_load_explicit(c, memory_order_relaxed);
    }
    return n;
}

void view_metrics(const struct view *v, view_metric_fn *line, void *arg)
{
#define COUNTER(field) offsetof(struct gate_counters, field)
    static const struct {
        const char *name, *type, *help;
        size_t offset;
    } rows[] = {
        {"sluice_sessions", "gauge", "Connections of clients that are open.", COUNTER(sessions)},
        {"sluice_sessions_opened_total", "counter", "Connections taken.", COUNTER(sessions_opened)},
        {"sluice_sessions_closed_total", "counter", "Connections ended.", COUNTER(sessions_closed)},
        {"sluice_sessions_revoked_total", "counter", "Connections closed by a revocation.",
         COUNTER(revoked_sessions)},
        {"sluice_logins_total", "counter", "Authentications that passed.", COUNTER(logins)},
        {"sluice_logins_refused_total", "counter", "Authentications refused.",
         COUNTER(logins_refused)},
        {"sluice_reauthentications_total", "counter", "Re-authentications that passed.",
         COUNTER(reauths)},
        {"sluice_requests_total", "counter", "Requests of clients.", COUNTER(requests)},
        {"sluice_denials_total", "counter", "Topics, groups and the like that were denied.",
         COUNTER(denials)},
        {"sluice_protocol_errors_total", "counter", "Connections closed for a broken frame.",
         COUNTER(protocol_errors)},
        {"sluice_unknown_tags_total", "counter", "Unknown tagged fields that were dropped.",
         COUNTER(unknown_tags)},
        {"sluice_client_received_bytes_total", "counter",
         "Payload received from clients whose connection has ended.", COUNTER(bytes_in)},
        {"sluice_client_sent_bytes_total", "counter",
         "Payload sent to clients whose connection has ended.", COUNTER(bytes_out)},
        {"sluice_fetch_streamed_total", "counter", "Fetch answers that streamed through.",
         COUNTER(fetch_streamed)},
        {"sluice_fetch_joined_total", "counter", "Fetch answers that were joined.",
         COUNTER(fetch_joined)},
        {"sluice_upstream_failures_total", "counter", "Requests that a broker left unanswered.",
         COUNTER(upstream_failures)},
        {"sluice_cleanups_total", "counter",
         "Groups and transactions tidied up behind ended grants.", COUNTER(cleanups)},
        {"sluice_held_bytes", "gauge", "Buffers held by the workers.", COUNTER(held_bytes)},
    };
#undef COUNTER
    struct introspect_stats asked;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        line(arg, rows[i].name, NULL, rows[i].type, rows[i].help, sum(v, rows[i].offset));
    introspect_stats(v->introspector, &asked);
    line(arg, "sluice_introspections_total", NULL, "counter", "Introspection requests.",
         (double)asked.requests);
    line(arg, "sluice_introspection_failures_total", NULL, "counter",
         "Introspections without a usable answer.", (double)asked.failures);
    line(arg, "sluice_introspection_inactive_total", NULL, "counter",
         "Introspections that found a token inactive.", (double)asked.inactive);
    line(arg, "sluice_introspected_tokens", NULL, "gauge",
         "Tokens that are asked about, or whose answer still holds.", (double)asked.tokens);
    line(arg, "sluice_audit_lines_total", NULL, "counter", "Audit lines written.",
         (double)audit_written(v->audit));
    line(arg, "sluice_audit_lost_total", NULL, "counter", "Audit lines lost.",
         (double)audit_lost(v->audit));
}
