/* The control thread and the weather: makes the gates of one or two workers, sends them changes of
 * grants through their mailboxes, moves leaders, kills brokers, sets the clock, lets allocations
 * fail. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "proxy/session.h"
#include "proxy/worker.h"
#include "tests/sim/world.h"

struct keyring *world_keys(void);

/* A change on its way to one worker; the texts are those of the world, or its own. */
struct change_mail {
    struct mail mail;
    struct change_mail *next; /* all that are under way */
    struct world_worker *to;
    struct change change;
    struct change_item item;
    struct grant *grant;
    struct revocation *revocation;
    unsigned transfer; /* of CHANGE_GRANT and CHANGE_UNGRANT */
    struct rights rights;
};

static struct sim_event next_event, calm_down;
static struct change_mail *under_way;
static uint64_t change_number, applied_us; /* applied: when the last change was */

/* --- what a worker has been told */

static bool revoked(const struct told *told, const struct token *t)
{
    const struct transfer *tr = &world.transfers[t->transfer];
    for (unsigned i = 0; i < told->nrevoked; i++) {
        const char *value = told->revoked[i].value;
        bool old = t->iat <= told->revoked[i].at;
        enum revoke_kind kind = told->revoked[i].kind;
        if (kind == REVOKE_JTI && strcmp(value, t->jti) == 0)
            return true;
        if (kind == REVOKE_SUBJECT && old && strcmp(value, tr->subject) == 0)
            return true;
        if (kind == REVOKE_TRANSFER && strcmp(value, tr->id) == 0 &&
            (tr->kind == TRANSFER_CLAIMS || old))
            return true;
        if (kind == REVOKE_PARTICIPANT && strcmp(value, tr->participant) == 0 &&
            (tr->kind == TRANSFER_CLAIMS || (tr->kind == TRANSFER_NAMED && old)))
            return true;
    }
    return false;
}

bool control_barred(const struct told *told, const struct token *t)
{
    return (world.transfers[t->transfer].kind != TRANSFER_CLAIMS && told->ended[t->transfer]) ||
           revoked(told, t);
}

bool control_steady(const struct token *t, uint64_t since_us)
{
    for (unsigned i = 0; i < world.nworkers; i++)
        if (control_barred(&world.workers[i].told, t))
            return false;
    return !under_way && applied_us < since_us;
}

/* --- changes */

static bool narrower(const struct rights *now, const struct rights *was)
{
    return (was->topics & ~now->topics) || (was->operations & ~now->operations) ||
           strcmp(was->prefix, now->prefix) != 0;
}

/* Whether the session of this client must not outlive the change. */
static bool hit(const struct told *told, const struct client *c)
{
    const struct token *t = client_token(c);
    const struct rights *had = client_rights(c);
    if (control_barred(told, t))
        return true;
    return world.transfers[t->transfer].kind != TRANSFER_CLAIMS && had &&
           narrower(&told->rights[t->transfer], had);
}

static void tell(struct told *told, const struct change_mail *m)
{
    if (m->item.kind == CHANGE_REVOKE) {
        for (unsigned i = 0; i < WORLD_TRANSFERS; i++)
            if (m->revocation->kind == REVOKE_TRANSFER &&
                strcmp(m->revocation->value, world.transfers[i].id) == 0)
                told->ended[i] = true;
        if (told->nrevoked == WORLD_REVOKED)
            sim_violation("more revocations than the model remembers");
        told->revoked[told->nrevoked].kind = m->revocation->kind;
        snprintf(told->revoked[told->nrevoked].value, sizeof(told->revoked[0].value), "%s",
                 m->revocation->value);
        told->revoked[told->nrevoked++].at = m->revocation->at;
        return;
    }
    told->ended[m->transfer] = m->item.kind == CHANGE_UNGRANT;
    if (m->item.kind == CHANGE_GRANT)
        told->rights[m->transfer] = m->rights;
}

struct client *control_client(const struct session *s)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&s->peer_addr;
    return client_of((unsigned)(ntohs(in->sin_port) - 10000));
}

static void mail_forget(struct change_mail *m)
{
    struct change_mail **at = &under_way;
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    if (m->grant)
        grant_unref(m->grant);
    revocation_free(m->revocation);
    free(m);
}

/* In the worker's turn: what the model expects of the change, then the change. */
static void on_change(void *receiver, struct mail *mail)
{
    (void)receiver;
    struct change_mail *m = (struct change_mail *)(void *)mail;
    struct world_worker *w = m->to;
    bool in_gate = sim.in_gate;
    uint64_t failures = sim.alloc_failures;
    unsigned expected = 0;
    if (!w->gate) { /* it has ended */
        mail_forget(m);
        return;
    }
    for (struct session *s = w->gate->first; s; s = s->next)
        if (s->grants.count && !client_rights(control_client(s))) /* in this very turn */
            client_let_in(control_client(s),
                          &w->told.rights[client_token(control_client(s))->transfer]);
    tell(&w->told, m);
    applied_us = sim.now_us;
    for (struct session *s = w->gate->first; s; s = s->next) {
        struct client *c = control_client(s);
        if (!s->grants.count)
            continue;
        client_known_as(c, s->id.jti);
        if (!hit(&w->told, c))
            continue;
        expected++;
        client_barred(c);
        brokers_bar(client_number(c));
    }
    sim.in_gate = true;
    parts_seen.changing = true;
    unsigned closed = gate_apply(w->gate, &m->change, NULL);
    parts_seen.changing = false;
    sim.in_gate = in_gate;
    if (!m->revocation && sim.trace)
        printf("           changes    %s topics %x operations %x\n",
               world.transfers[m->transfer].id, m->rights.topics, m->rights.operations);
    if (m->revocation && sim.trace)
        printf("           revoked    %s %s at %ld\n", revoke_kind_name(m->revocation->kind),
               m->revocation->value, (long)m->revocation->at);
    sim_note("applied", (uint64_t)m->item.kind, closed, expected);
    if (closed < expected || (closed > expected && sim.alloc_failures == failures))
        sim_violation("a change closes %u sessions, not %u", closed, expected);
    world.revocations += closed;
    mail_forget(m);
}

static void post(struct world_worker *w, const struct change_mail *like)
{
    struct change_mail *m = malloc(sizeof(*m));
    *m = *like;
    m->mail.deliver = on_change;
    m->to = w;
    m->grant = like->grant ? grant_ref(like->grant) : NULL;
    m->revocation = like->revocation ? revocation_clone(like->revocation) : NULL;
    m->item.grant = m->grant;
    m->item.revocation = m->revocation;
    m->change = (struct change){.number = change_number, .items = &m->item, .count = 1};
    m->next = under_way;
    under_way = m;
    if (w->down || mailbox_post(worker_mailbox(w->worker), &m->mail) != OK)
        mail_forget(m);
}

static void post_all(const struct change_mail *like)
{
    change_number++;
    for (unsigned i = 0; i < world.nworkers; i++)
        post(&world.workers[i], like);
}

/* Grants, or grants anew with these rights. */
static void put_grant(unsigned i, const struct rights *r)
{
    const struct transfer *t = &world.transfers[i];
    const char *topics[WORLD_TOPICS], *why = "";
    struct change_mail m = {.item.kind = CHANGE_GRANT, .transfer = i, .rights = *r};
    struct grant_config c = {.id = t->id,
                             .participant = t->participant,
                             .operations = r->operations,
                             .group_prefix = r->prefix,
                             .topics.at = topics};
    for (unsigned k = 0; k < WORLD_TOPICS; k++)
        if (r->topics & 1u << k)
            topics[c.topics.count++] = world.topics[k].name;
    c.issuer = ISSUER;
    c.subject = t->subject;
    if (grant_new(&c, GRANT_FROM_API, &m.grant, &why) != OK)
        sim_violation("a grant cannot be made: %s", why);
    post_all(&m);
    grant_unref(m.grant);
}

/* Narrowed, widened, or the same again. */
static void change_rights(struct transfer *t)
{
    unsigned bit = 1u << sim_below(WORLD_TOPICS);
    if (sim_chance(60) && (t->rights.topics ^ bit))
        t->rights.topics ^= bit;
}

static void change_grant(unsigned i)
{
    struct transfer *t = &world.transfers[i];
    if (t->kind == TRANSFER_CLAIMS || t->ended)
        return;
    if (sim_chance(40)) {
        t->ended = true;
        post_all(
            &(struct change_mail){.item = {.kind = CHANGE_UNGRANT, .id = t->id}, .transfer = i});
        return;
    }
    change_rights(t);
    put_grant(i, &t->rights);
}

/* What was suspended, by its end or by a revocation, is granted again: for tokens that are younger
 * than the revocation. */
static void resume(void)
{
    unsigned first = (unsigned)sim_below(WORLD_TRANSFERS);
    for (unsigned k = 0; k < WORLD_TRANSFERS; k++) {
        unsigned i = (first + k) % WORLD_TRANSFERS;
        struct transfer *t = &world.transfers[i];
        if (t->kind == TRANSFER_CLAIMS || !t->ended)
            continue;
        t->ended = false;
        sim_note("resumes", i, 0, 0);
        change_rights(t);
        put_grant(i, &t->rights);
        return;
    }
}

/* The store adds the transfers of a participant's grants to its revocation. */
static void revoke_transfers_of(const char *participant)
{
    for (unsigned i = 0; i < WORLD_TRANSFERS; i++) {
        struct transfer *t = &world.transfers[i];
        struct change_mail m = {.item.kind = CHANGE_REVOKE};
        if (strcmp(t->participant, participant) != 0 || t->kind == TRANSFER_CLAIMS)
            continue;
        t->ended = true;
        m.revocation = revocation_new(REVOKE_TRANSFER, "", t->id, "", world_wall_s(), 0, "sim");
        if (!m.revocation)
            sim_violation("a revocation cannot be made");
        post_all(&m);
        revocation_free(m.revocation);
    }
}

static void revoke(void)
{
    static const enum revoke_kind kinds[] = {REVOKE_TRANSFER, REVOKE_JTI, REVOKE_SUBJECT,
                                             REVOKE_PARTICIPANT};
    struct transfer *t = &world.transfers[sim_below(WORLD_TRANSFERS)];
    struct change_mail m = {.item.kind = CHANGE_REVOKE};
    enum revoke_kind kind = kinds[sim_below(sim_chance(20) ? 4 : 3)];
    char jti[16];
    snprintf(jti, sizeof(jti), "j%lu", (unsigned long)sim_below(world.tokens + 1));
    bool principal = kind == REVOKE_JTI || kind == REVOKE_SUBJECT;
    const char *value = kind == REVOKE_TRANSFER  ? t->id
                        : kind == REVOKE_JTI     ? jti
                        : kind == REVOKE_SUBJECT ? t->subject
                                                 : t->participant;
    m.revocation =
        revocation_new(kind, principal ? ISSUER : "", value, "", world_wall_s(), 0, "sim");
    if (kind == REVOKE_TRANSFER)
        t->ended = true;
    if (!m.revocation)
        sim_violation("a revocation cannot be made");
    post_all(&m);
    revocation_free(m.revocation);
    if (kind == REVOKE_PARTICIPANT)
        revoke_transfers_of(value);
}

void control_strike(const struct token *t)
{
    struct change_mail m = {.item.kind = CHANGE_REVOKE};
    m.revocation = revocation_new(REVOKE_JTI, ISSUER, t->jti, "", world_wall_s(), 0, "sim");
    if (!m.revocation)
        sim_violation("a revocation cannot be made");
    post_all(&m);
    revocation_free(m.revocation);
}

/* --- the configuration */

static struct config *make_config(void)
{
    char text[4096], err[2048];
    bool tight = world.tight;
    int n = snprintf(
        text, sizeof(text),
        "listen: 127.0.0.1:9093\nadvertise: " GATE_HOST ":%d\ncluster_id: " GATE_CLUSTER "\n"
        "tls: {certificate: gate.pem, key: gate.key}\n"
        "issuers:\n  - issuer: " ISSUER "\n    audience: sluice\n    shared_subjects: false\n"
        "    claims: {transfer: transfer, participant: participant, topics: topics,\n"
        "             group_prefix: prefix, operations: ops}\n"
        "upstream:\n  brokers: ['b101.internal:9092', 'b102.internal:9092']\n"
        "  connect_timeout_ms: 1000\n  request_timeout_ms: %lu\n  connects_per_s: 1000\n"
        "store: {path: sluice.db}\n"
        "limits: {in_flight: %lu, session_buffer_bytes: %d, worker_buffer_bytes: %d,\n"
        "         frame_bytes: %d, frame_produce_bytes: %d, response_bytes: %d,\n"
        "         frame_timeout_ms: 8000, idle_timeout_ms: 20000}\n",
        GATE_PORT, (unsigned long)sim_between(2, 10) * 1000, (unsigned long)world.in_flight,
        tight ? 131072 : 1 << 22, tight ? 1 << 20 : 1 << 24, tight ? 1 << 16 : 1 << 20,
        tight ? 1 << 17 : 1 << 20, tight ? 1 << 18 : 1 << 22);
    struct config *c = config_parse("/etc/sluice/s.yaml", text, (size_t)n, false, err, sizeof(err));
    if (!c)
        sim_violation("the configuration: %s", err);
    if (world.sasl) {
        c->upstream.mechanism = SASL_PLAIN;
        c->upstream.username = "gate";
        c->upstream.password = "secret"; /* else in a file */
    }
    return c;
}

/* --- the weather */

void control_move_leader(unsigned topic, int32_t partition, bool dies)
{
    struct partition *p = &world.topics[topic].p[partition];
    unsigned was = p->leader;
    p->leader = (unsigned)sim_below(WORLD_BROKERS);
    p->epoch++;
    sim_note("moves", topic, (uint64_t)partition, p->leader);
    if (dies)
        broker_die(was);
}

/* Deleted, and made again under the same name: another id, other records. */
static void make_anew(void)
{
    struct topic *t = &world.topics[sim_below(WORLD_TOPICS)];
    t->exists = !t->exists;
    if (!t->exists)
        return;
    t->incarnation++;
    t->id[0] ^= (uint8_t)sim_between(1, 255);
    for (unsigned i = 0; i < WORLD_PARTITIONS; i++) {
        t->p[i].start = 0;
        t->p[i].end = (int64_t)sim_below(20);
    }
}

static void trouble_a_broker(void)
{
    unsigned i = (unsigned)sim_below(WORLD_BROKERS);
    struct broker *b = &world.brokers[i];
    switch (sim_below(5)) {
    case 0:
        b->up = false;
        broker_die(i);
        break;
    case 1:
        broker_die(i);
        break;
    case 2:
        b->hole = true;
        break;
    case 3:
        b->slow_ms = (unsigned)sim_between(10, 3000);
        break;
    default:
        b->full = true;
        break;
    }
}

static void on_calm_down(void *arg)
{
    (void)arg;
    unsigned i = (unsigned)sim_below(WORLD_BROKERS);
    world.brokers[i] = (struct broker){.up = true};
    sim.fail_in = 0;
    parts_audit_ok(true);
    sim_event_in(&calm_down, sim_between(100, 4000) * 1000);
}

static void grow_logs(void)
{
    for (unsigned i = 0; i < WORLD_TOPICS; i++)
        for (unsigned k = 0; k < WORLD_PARTITIONS; k++)
            if (sim_chance(40))
                world.topics[i].p[k].end += (int64_t)sim_below(5);
}

struct reload_mail {
    struct mail mail;
    struct world_worker *to;
    struct config *config;
};

static void on_reload(void *receiver, struct mail *mail)
{
    (void)receiver;
    struct reload_mail *m = (struct reload_mail *)(void *)mail;
    if (m->to->gate)
        (void)!gate_set_config(m->to->gate, m->config, NULL, NULL);
    config_unref(m->config);
    free(m);
}

/* The configuration is read again: the same rights, other times. */
static void reload(void)
{
    struct config *c = make_config();
    for (unsigned i = 0; i < world.nworkers; i++) {
        struct reload_mail *m = malloc(sizeof(*m));
        *m = (struct reload_mail){.mail.deliver = on_reload, .to = &world.workers[i]};
        m->config = config_ref(c);
        if (mailbox_post(worker_mailbox(m->to->worker), &m->mail) != OK)
            sim_violation("a mailbox is full");
    }
    config_unref(world.config);
    world.config = c;
}

static void one_fault(void)
{
    switch (sim_below(16)) {
    case 0:
    case 1:
        control_move_leader((unsigned)sim_below(WORLD_TOPICS), (int32_t)sim_below(WORLD_PARTITIONS),
                            false);
        break;
    case 14:
    case 15:
        resume();
        break;
    case 2:
        world.coordinators++;
        break;
    case 3:
        make_anew();
        break;
    case 4:
    case 5:
        trouble_a_broker();
        break;
    case 6:
    case 7:
        revoke();
        break;
    case 8:
        change_grant((unsigned)sim_below(WORLD_TRANSFERS));
        break;
    case 9:
    case 12:
        if (sim.seed % 2 == 1) {
            sim.fail_in = (unsigned)sim_between(3, sim_chance(50) ? 60 : 400);
            world.alloc_fail = true;
        }
        break;
    case 13:
        reload();
        break;
    case 10:
        world.jumped_us = sim.now_us;
        sim_clock_jump((int64_t)sim_between(0, 40) - 10);
        break;
    default:
        if (sim_chance(30))
            parts_audit_ok(false);
        break;
    }
}

static void on_next(void *arg)
{
    (void)arg;
    grow_logs();
    if (!world.calm)
        one_fault();
    else if (sim_chance(10))
        revoke();
    else if (sim_chance(8))
        change_grant((unsigned)sim_below(WORLD_TRANSFERS));
    else if (sim_chance(30))
        resume();
    if (sim.now_us < world.end_us)
        client_start();
    sim_event_in(&next_event, sim_between(10, 1200) * 1000);
}

/* --- the gates */

static void unknown_kid(void *arg, const char *issuer)
{
    (void)arg;
    (void)issuer;
}

static bool gate_try(struct world_worker *w, unsigned index)
{
    w->worker = worker_new(index);
    w->gate = w->worker ? gate_new(&(struct gate_parts){.worker = w->worker,
                                                        .loop = worker_loop(w->worker),
                                                        .config = world.config,
                                                        .principals = world.principals,
                                                        .unknown_kid = unknown_kid,
                                                        .index = index})
                        : NULL;
    if (w->gate && gate_start(w->gate, NULL, NULL) == OK)
        return true;
    gate_free(w->gate);
    worker_free(w->worker);
    return false;
}

/* In some worlds memory is short at first. */
static void gate_begin(struct world_worker *w, unsigned index)
{
    buf_thread_trim(); /* of the other gate */
    size_t live = alloc_live();
    unsigned tries = sim.seed % 5 == 2 ? 3 : 0;
    sim.in_gate = true;
    sim.fail_in = (unsigned)sim_between(2, 60);
    while (tries > 0 && !gate_try(w, index)) {
        buf_thread_trim();
        if (alloc_live() != live)
            sim_violation("a gate that could not be made leaves %zu blocks", alloc_live() - live);
        tries--;
    }
    sim.fail_in = 0;
    if (tries == 0 && !gate_try(w, index))
        sim_violation("a gate cannot be made");
    sim.in_gate = false;
    worker_set(w->worker, gate_accept, w->gate);
    w->gate->grants_loaded = true;
}

void control_begin(void)
{
    under_way = NULL;
    change_number = applied_us = 0;
    world.config = make_config();
    world.principals = principals_new();
    struct keyring *keys = world_keys();
    if (!world.principals || !keys)
        sim_violation("out of memory");
    for (unsigned i = 0; i < world.nworkers; i++) {
        gate_begin(&world.workers[i], i);
        gate_set_keys(world.workers[i].gate, keys);
    }
    keyring_unref(keys);
    for (unsigned i = 0; i < WORLD_TRANSFERS; i++)
        if (world.transfers[i].kind != TRANSFER_CLAIMS)
            put_grant(i, &world.transfers[i].rights);
    sim_event_init(&next_event, on_next, NULL);
    sim_event_init(&calm_down, on_calm_down, NULL);
    sim_event_in(&next_event, world.calm ? 2000000 : sim_below(2000) * 1000);
    sim_event_in(&calm_down, 3000000);
}

void control_end(void)
{
    sim_event_cancel(&next_event);
    sim_event_cancel(&calm_down);
    sim.fail_in = 0;
    for (unsigned i = 0; i < world.nworkers; i++) {
        struct world_worker *w = &world.workers[i];
        gate_free(w->gate);
        w->gate = NULL;
        worker_free(w->worker);
    }
    principals_free(world.principals);
    config_unref(world.config);
    buf_thread_trim();
}
