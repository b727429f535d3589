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

/* --- sessions: every worker lists its own, the last one done delivers */

struct session_query {
    struct mail back; /* to the control thread */
    atomic_uint left;
    const struct view *view;
    view_list_fn *done;
    void *arg;
    unsigned count;
    json_t *lists[]; /* one a worker */
};

struct session_mail {
    struct mail mail;
    struct session_query *query;
    unsigned index;
};

static void on_session_lists(void *receiver, struct mail *mail)
{
    struct session_query *q = (struct session_query *)(void *)mail;
    json_t *all = json_array();

    (void)receiver;
    for (unsigned i = 0; i < q->count; i++) {
        if (all && q->lists[i])
            json_array_extend(all, q->lists[i]);
        json_decref(q->lists[i]);
    }
    q->done(q->arg, all);
    sl_free(q);
}

static void on_session_mail(void *receiver, struct mail *mail)
{
    struct session_mail *m = (struct session_mail *)(void *)mail;
    struct session_query *q = m->query;

    (void)receiver;
    q->lists[m->index] = json_array();
    if (q->lists[m->index])
        gate_list_sessions(q->view->gates[m->index], q->lists[m->index]);
    sl_free(m);
    if (atomic_fetch_sub(&q->left, 1) == 1 && mailbox_post(q->view->mailbox, &q->back) != OK)
        log_error("view", "a list of sessions was lost");
}

int view_sessions(const struct view *v, view_list_fn *done, void *arg)
{
    struct session_query *q = sl_calloc(1, sizeof(*q) + v->count * sizeof(json_t *));
    unsigned sent = 0;

    if (!q)
        return ERR_NOMEM;
    q->back.deliver = on_session_lists;
    q->view = v;
    q->done = done;
    q->arg = arg;
    q->count = v->count;
    atomic_init(&q->left, v->count + 1);
    for (; sent < v->count; sent++) {
        struct session_mail *m = sl_calloc(1, sizeof(*m));
        if (!m)
            break;
        m->mail.deliver = on_session_mail;
        m->query = q;
        m->index = sent;
        if (mailbox_post(worker_mailbox(v->workers[sent]), &m->mail) != OK) {
            sl_free(m);
            break;
        }
    }
    /* Those that could not be asked count as done; so does this thread's own share. */
    if (atomic_fetch_sub(&q->left, v->count - sent + 1) == v->count - sent + 1)
        return mailbox_post(v->mailbox, &q->back);
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
