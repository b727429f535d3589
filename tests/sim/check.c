/* What must hold: of a request that reaches a broker, after every step, and at the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json.h"

#include "proxy/session.h"
#include "tests/sim/world.h"

/* --- requests */

static bool prefixed(const struct rights *r, const uint8_t *p, size_t n)
{
    size_t len = strlen(r->prefix);
    return n >= len && memcmp(p, r->prefix, len) == 0;
}

static unsigned topic_operations(int api)
{
    return api == 0 || api == 24                ? OP_WRITE
           : api == 1                           ? OP_READ
           : api == 8 || api == 28 || api == 47 ? OP_READ
           : api == 32                          ? OP_DESCRIBE_CONFIGS
                                                : OP_READ | OP_WRITE;
}

static unsigned group_operations(int api)
{
    return api == 42 || api == 47                            ? OP_MANAGE
           : api == 9 || api == 15 || api == 69 || api == 10 ? OP_READ | OP_MANAGE
                                                             : OP_READ;
}

struct judged {
    unsigned client;
    const struct rights *rights;
    const struct request_head *head;
};

__attribute__((noreturn)) static void outside(const struct judged *j, const char *what,
                                              const uint8_t *p, size_t n)
{
    sim_violation("client %u: API %d version %d reaches a broker with %s '%.*s'", j->client,
                  j->head->api, j->head->version, what, (int)n, p ? (const char *)p : "");
}

static void judge_topic(const struct judged *j, const struct topic *t, const uint8_t *p, size_t n)
{
    if (!t || !(j->rights->topics & 1u << world_topic_index(t)))
        outside(j, "a foreign topic", p, n);
    if (!(j->rights->operations & topic_operations(j->head->api)))
        outside(j, "an operation that is not granted on", p, n);
}

static void judge_text(const struct judged *j, const struct node *n)
{
    const uint8_t *p = n->u.str.p;
    size_t len = n->u.str.len;
    if (n->null || n->field->type != TYPE_STRING)
        return;
    if (n->field->role == ROLE_TOPIC || (n->field->role == ROLE_KEY && j->head->api == 32)) {
        /* No topic has no name: beside an id it says nothing. */
        if (len > 0)
            judge_topic(j, world_topic(p, len), p, len);
    } else if (n->field->role == ROLE_GROUP || n->field->role == ROLE_KEY) {
        if (!prefixed(j->rights, p, len))
            outside(j, "a foreign group", p, len);
        if (!(j->rights->operations & group_operations(j->head->api)))
            outside(j, "an operation that is not granted on group", p, len);
    } else if (n->field->role == ROLE_TXN) {
        if (!prefixed(j->rights, p, len) || !(j->rights->operations & OP_WRITE))
            outside(j, "a transactional id", p, len);
    } else if (n->field->role == ROLE_REGEX && len > 0) {
        outside(j, "a pattern", p, len);
    } else if (n->field->role == ROLE_RACK && len > 0) {
        outside(j, "a rack", p, len);
    }
}

static void judge_node(const struct judged *j, const struct node *n)
{
    static const uint8_t zero[16];
    if (!n->field || node_is_array(n) || node_is_struct(n))
        return;
    if (n->field->role == ROLE_TOPIC_ID && memcmp(n->u.uuid, zero, 16) != 0) {
        const struct topic *t = world_topic_by_id(n->u.uuid);
        /* One that was made anew since: what it was, the world no longer knows. */
        if (t)
            judge_topic(j, t, (const uint8_t *)t->name, strlen(t->name));
    } else if (n->field->role == ROLE_REPLICA && n->u.num != -1) {
        outside(j, "a replica id", NULL, 0);
    } else {
        judge_text(j, n);
    }
}

static void judge_own(const struct request_head *h)
{
    static const int16_t own[] = {3, 10, 13, 17, 18, 22, 26, 36, 68};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (own[i] == h->api)
            return;
    sim_violation("the gate itself sends API %d", h->api);
}

void check_request(struct client *c, const struct request_head *h, const struct msg *m)
{
    struct node_iter it = {.root = m->root};
    struct node *n;
    if (sim.trace) {
        json_t *body = json_from_msg(m, 0);
        char *text = json_dumps(body, 0);
        printf("           request    API %d version %d %s\n", h->api, h->version, text);
        free(text);
        json_decref(body);
    }
    world.requests_judged++;
    if (!c) {
        judge_own(h);
        return;
    }
    struct judged j = {client_number(c), client_rights(c), h};
    if (!j.rights)
        sim_violation("client %u: API %d reaches a broker before it was let in", j.client, h->api);
    if (client_token(c)->bad)
        sim_violation("client %u: API %d reaches a broker, with a bad token", j.client, h->api);
    if (h->api == 3 && node_get(m->root, F_TOPICS)->null)
        outside(&j, "a question for all topics", NULL, 0);
    while ((n = node_iter_next(&it)))
        judge_node(&j, n);
}

/* --- sessions */

/* Tokens may outlive their time by what the gate promises for requests under way, and a timer's
 * lateness; the sweep finds what a set clock has ended. */
#define LATE_S 12

static void check_session(struct world_worker *w, struct session *s)
{
    const struct limits *l = &w->gate->config->limits;
    struct client *c = control_client(s);
    size_t unread = s->t.in.len;
    if (s->state == SESSION_CLOSED)
        sim_violation("a closed session is in the list");
    if (s->in_flight > l->in_flight)
        sim_violation("client %u: %u requests in flight", client_number(c), s->in_flight);
    if (unread > (size_t)l->frame_produce_bytes + 65536 + 4)
        sim_violation("client %u: %zu bytes wait to be read", client_number(c), unread);
    if (s->t.out.len > s->t.out.limit_bytes || unread > s->t.in.limit_bytes + 65536)
        sim_violation("client %u: a buffer is above its bound", client_number(c));
    if (!s->grants.count)
        return;
    client_known_as(c, s->id.jti);
    if (!client_rights(c))
        client_let_in(c, &w->told.rights[client_token(c)->transfer]);
    if (client_token(c)->bad)
        sim_violation("client %u is let in with a bad token", client_number(c));
    if (control_barred(&w->told, client_token(c)))
        sim_violation("client %u is in a session, though barred", client_number(c));
    if (world.jumped_us + 1000000 < sim.now_us && s->state != SESSION_DRAINING &&
        client_token(c)->exp + LATE_S < world_wall_s())
        sim_violation("client %u is in a session %ld s after its token's end", client_number(c),
                      (long)(world_wall_s() - client_token(c)->exp));
}

/* Chunks count whole, and answers may be a response above the worker's bound each. What closed in
 * this step is freed in the next. */
static void check_memory(void)
{
    size_t bound = 0;
    unsigned sessions = 0;
    for (unsigned i = 0; i < world.nworkers; i++) {
        const struct gate *g = world.workers[i].gate;
        const struct limits *l = &g->config->limits;
        bound += (size_t)l->worker_buffer_bytes * 5 / 4;
        sessions += g->nsessions;
    }
    unsigned most = sessions > world.sessions ? sessions : world.sessions;
    world.sessions = sessions;
    bound += most * ((size_t)world.config->limits.response_bytes + (size_t)512 * 1024);
    unsigned percent = (unsigned)(buf_thread_bytes() * 100 / bound);
    if (percent > world.peak_percent)
        world.peak_percent = percent;
    if (buf_thread_bytes() > bound)
        sim_violation("%zu bytes are buffered, %zu at most", buf_thread_bytes(), bound);
}

void check_step(void)
{
    for (unsigned i = 0; i < world.nworkers; i++) {
        unsigned n = 0;
        for (struct session *s = world.workers[i].gate->first; s; s = s->next, n++)
            check_session(&world.workers[i], s);
        if (n != world.workers[i].gate->nsessions)
            sim_violation("%u sessions are counted, %u are there", world.workers[i].gate->nsessions,
                          n);
    }
    check_memory();
}

void check_end(void)
{
    if (parts_seen.revoked != world.revocations)
        sim_violation("%lu sessions were revoked, %lu of them are in the audit trail",
                      (unsigned long)world.revocations, (unsigned long)parts_seen.revoked);
    if (net_open_descriptors() != 0)
        sim_violation("%u descriptors are open at the end", net_open_descriptors());
    if (sim_loop_objects() != 0)
        sim_violation("%u descriptors and timers are watched at the end", sim_loop_objects());
    if (alloc_live() != 0)
        sim_violation("%zu blocks are allocated at the end", alloc_live());
    if (buf_thread_bytes() != 0)
        sim_violation("%zu bytes are buffered at the end", buf_thread_bytes());
}
