/* What the product does in threads of their own, for one thread: names, the audit trail, and the
 * store's side of an acknowledged change. The linker's --wrap sends the calls here. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "audit/audit.h"
#include "auth/store.h"
#include "base/alloc.h"
#include "base/loop.h"
#include "proxy/resolve.h"
#include "tests/sim/sim.h"

struct parts_counts parts_seen;
static bool audit_writable;
static uint32_t (*names)(const char *host);

void parts_reset(void)
{
    memset(&parts_seen, 0, sizeof(parts_seen));
    audit_writable = true;
}

void parts_audit_ok(bool ok)
{
    audit_writable = ok;
}

void parts_names(uint32_t (*lookup)(const char *host))
{
    names = lookup;
}

/* --- names */

struct resolve_port {
    struct loop *loop;
    struct resolve_question *first;
};

struct resolve_question {
    struct resolve_question *next;
    struct resolve_port *port;
    void (*fn)(void *arg, int result, const struct addresses *a);
    void *arg;
    struct loop_timer *timer;
    uint32_t ip;
    uint16_t number;
    bool cancelled;
};

struct resolve_port *__wrap_resolve_port_new(struct resolver *r, struct loop *l);
void __wrap_resolve_port_free(struct resolve_port *p);
int __wrap_resolve_ask(struct resolve_port *p, const char *host, uint16_t port,
                       void (*fn)(void *arg, int result, const struct addresses *a), void *arg,
                       struct resolve_question **out);
void __wrap_resolve_cancel(struct resolve_question *q);

static void question_free(struct resolve_question *q)
{
    loop_timer_free(q->timer);
    sl_free(q);
}

static void question_leave(struct resolve_question *q)
{
    struct resolve_question **at = &q->port->first;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
}

static void on_answer(void *arg)
{
    struct resolve_question *q = arg;
    struct addresses a = {.count = q->ip ? 1 : 0};
    struct sockaddr_in *in = &a.at[0].u.v4;
    a.at[0].len = sizeof(*in);
    in->sin_family = AF_INET;
    in->sin_port = htons(q->number);
    in->sin_addr.s_addr = htonl(q->ip);
    question_leave(q);
    if (!q->cancelled)
        q->fn(q->arg, q->ip ? OK : ERR_UNKNOWN, &a);
    question_free(q);
}

struct resolve_port *__wrap_resolve_port_new(struct resolver *r, struct loop *l)
{
    (void)r;
    struct resolve_port *p = sl_calloc(1, sizeof(*p));
    if (p)
        p->loop = l;
    return p;
}

void __wrap_resolve_port_free(struct resolve_port *p)
{
    if (!p)
        return;
    while (p->first) {
        struct resolve_question *q = p->first;
        p->first = q->next;
        question_free(q);
    }
    sl_free(p);
}

int __wrap_resolve_ask(struct resolve_port *p, const char *host, uint16_t port,
                       void (*fn)(void *arg, int result, const struct addresses *a), void *arg,
                       struct resolve_question **out)
{
    struct resolve_question *q = sl_calloc(1, sizeof(*q));
    if (!q)
        return ERR_NOMEM;
    *q = (struct resolve_question){.port = p, .fn = fn, .arg = arg, .number = port};
    q->timer = loop_timer_new(p->loop, on_answer, q);
    if (!q->timer) {
        sl_free(q);
        return ERR_NOMEM;
    }
    q->ip = names(host);
    q->next = p->first;
    p->first = q;
    *out = q;
    return loop_timer_set(q->timer, sim_below(20000));
}

void __wrap_resolve_cancel(struct resolve_question *q)
{
    q->cancelled = true;
}

/* --- the audit trail: each event becomes its line, which nobody reads */

struct audit_ring {
    uint64_t lines;
};

struct audit_ring *__wrap_audit_ring_new(struct audit *a);
void __wrap_audit_ring_free(struct audit_ring *r);
void __wrap_audit_put(struct audit_ring *r, const struct audit_event *e);
bool __wrap_audit_ok(const struct audit *a);

struct audit_ring *__wrap_audit_ring_new(struct audit *a)
{
    (void)a;
    return sl_calloc(1, sizeof(struct audit_ring));
}

void __wrap_audit_ring_free(struct audit_ring *r)
{
    sl_free(r);
}

void __wrap_audit_put(struct audit_ring *r, const struct audit_event *e)
{
    static char line[AUDIT_LINE_MAX];
    if (audit_encode(e, 0, line, sizeof(line)) < 0)
        sim_violation("an audit event cannot be encoded");
    if (sim.trace)
        printf("%10.6f audit      %s %s\n", (double)sim.now_us / 1e6,
               e->client_id ? e->client_id : "", e->reason ? e->reason : "");
    r->lines++;
    parts_seen.audited++;
    parts_seen.revoked += parts_seen.changing && e->kind == AUDIT_CLOSE && e->reason &&
                          strcmp(e->reason, "revoked") == 0;
}

bool __wrap_audit_ok(const struct audit *a)
{
    (void)a;
    return audit_writable;
}

/* --- the store's acknowledgements */

void __wrap_change_ack_bar(struct change_ack *ack, const struct grant_table *t,
                           const struct identity *id);
void __wrap_change_ack_done(struct change_ack *ack, int err, unsigned closed);

void __wrap_change_ack_bar(struct change_ack *ack, const struct grant_table *t,
                           const struct identity *id)
{
    (void)ack;
    (void)t;
    (void)id;
    parts_seen.barred++;
}

void __wrap_change_ack_done(struct change_ack *ack, int err, unsigned closed)
{
    (void)ack;
    (void)err;
    parts_seen.acked++;
    parts_seen.last_closed = closed;
}
