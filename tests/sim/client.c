/* Clients: honest ones, and those that are not.
 *
 * Each is one connection with one token. It asks ApiVersions, logs in, then keeps some requests in
 * flight. What comes back must be the answers to what it asked, once each and in order, legal,
 * without anything of the cluster behind, with records as they stand in the logs. A client that
 * goes away is followed by others, with other tokens. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "codec/leaks.h"
#include "proxy/api.h"
#include "proxy/session.h"
#include "proxy/worker.h"
#include "tests/sim/world.h"

#define FLIGHT_MAX 256
/* Brokers have up to ten seconds for an answer. */
#define SERVED_US (12 * UINT64_C(1000000))

enum manner {
    HONEST,
    FOREIGN,  /* asks for what it has not been granted */
    GARBAGE,  /* sends frames with flipped bytes */
    EARLY,    /* sends requests before it has logged in */
    BAD,      /* a token that is worth nothing */
    SLOW,     /* stops reading for a while */
    FLOOD,    /* as many requests at once as it can */
    BROKEN,   /* stops in the middle of a frame */
    SWAPPING, /* re-authenticates with another transfer's token */
    MANNERS
};

enum stage { ASK_VERSIONS, ASK_HANDSHAKE, ASK_TOKEN, LOGGED_IN, DONE };

struct client {
    unsigned number, window, left; /* requests to be made yet */
    enum manner manner;
    enum stage stage;
    struct net_conn *net;
    struct token token, next; /* next: of a re-authentication */
    bool again;               /* a re-authentication is under way */
    bool in, barred, ended, refused;
    bool returns;         /* with the token of one that was here before */
    struct rights rights; /* as let in */
    struct versions versions[SCHEMA_KEY_MAX + 1];
    struct asked *flight; /* FLIGHT_MAX; one is set when it is sent */
    unsigned sent, seen;
    uint32_t sequence;           /* of its produced records */
    uint8_t arrived[64];         /* bits: which of them have reached a broker */
    struct sim_event act;        /* the next thing that it does */
    struct sim_event release;    /* reads again */
    uint64_t last_us;            /* when it was let in */
    uint64_t sent_us, answer_us; /* its last frame, the last answer */
    uint64_t token_us;           /* its last token */
    uint64_t quiet_us;           /* throttled until then */
    unsigned told_ms, heard_ms;  /* the longest throttle time: of a broker, in an answer */
    int32_t correlation;
};

static struct client *clients[WORLD_CLIENTS + 1];
static unsigned nclients;
static bool leaving;

static void must(int rc)
{
    if (rc != OK)
        sim_violation("a client fails: %s", err_name(rc));
}

/* --- for others */

struct client *client_of(unsigned number)
{
    return number >= 1 && number <= nclients ? clients[number] : NULL;
}

unsigned client_number(const struct client *c)
{
    return c->number;
}

const struct token *client_token(const struct client *c)
{
    return &c->token;
}

void client_known_as(struct client *c, const char *jti)
{
    if (c->again && strcmp(c->next.jti, jti) == 0)
        c->token = c->next;
    if (strcmp(c->token.jti, jti) != 0)
        sim_violation("client %u is known by token %s, not %s", c->number, jti, c->token.jti);
}

void client_let_in(struct client *c, const struct rights *r)
{
    c->in = true;
    c->rights = *r;
}

const struct rights *client_rights(const struct client *c)
{
    return c->in ? &c->rights : NULL;
}

/* Fetch is not counted: it may be answered before the slowest broker has. */
void client_throttled(struct client *c, int api, unsigned ms)
{
    if (api == 0 && ms > c->told_ms)
        c->told_ms = ms;
}

void client_barred(struct client *c)
{
    c->barred = true;
    net_bar(c->net);
}

bool client_was_barred(const struct client *c)
{
    return c->barred;
}

unsigned clients_open(void)
{
    unsigned n = 0;
    for (unsigned i = 1; i <= nclients; i++)
        n += !clients[i]->ended;
    return n;
}

void client_produced(struct client *c, const struct topic *t, int32_t partition, const uint8_t *p,
                     size_t n)
{
    static uint8_t want[1 << 16];
    uint32_t head[6];
    if (!c)
        sim_violation("records of nobody");
    if (c->manner == GARBAGE)
        return;
    if (n < PRODUCED_HEAD || n > sizeof(want))
        sim_violation("client %u: produced records of %zu bytes", c->number, n);
    memcpy(head, p, sizeof(head));
    request_records(c->number, head[2], world_topic_index(t), partition, want, n);
    if (memcmp(want, p, n) != 0 || head[5] != n)
        sim_violation("client %u: records reach %s-%d otherwise than they were sent", c->number,
                      t->name, partition);
    if (head[2] / 8 < sizeof(c->arrived)) {
        if (c->arrived[head[2] / 8] & 1u << head[2] % 8)
            sim_violation("client %u: records reach a broker twice", c->number);
        c->arrived[head[2] / 8] |= (uint8_t)(1u << head[2] % 8);
    }
    world.records_judged++;
}

/* --- sending */

static void end(struct client *c, bool cut)
{
    if (c->ended)
        return;
    c->ended = true;
    c->stage = DONE;
    sim_event_cancel(&c->act);
    sim_event_cancel(&c->release);
    net_close(c->net, cut);
}

static struct asked *next_flight(struct client *c)
{
    struct asked *a = &c->flight[c->sent % FLIGHT_MAX];
    *a = (struct asked){.correlation = c->correlation};
    c->correlation += 1 + (int32_t)sim_below(3);
    return a;
}

static void send_frame(struct client *c, uint8_t *frame, size_t n, struct asked *a)
{
    if (c->manner == GARBAGE && c->in && sim_chance(30)) {
        /* Not the client id: by that the brokers know whose requests they get. */
        size_t at = (size_t)sim_below(n - 5);
        frame[at < 12 ? at : at + 5] ^= (uint8_t)(1u << sim_below(8));
        a->mangled = true;
        /* What the gate will see of it, if it sees a request at all. */
        a->api = (int16_t)(frame[4] << 8 | frame[5]);
        a->version = (int16_t)(frame[6] << 8 | frame[7]);
        a->correlation = (int32_t)((uint32_t)frame[8] << 24 | (uint32_t)frame[9] << 16 |
                                   (uint32_t)frame[10] << 8 | frame[11]);
    }
    if (c->manner == BROKEN && c->in && sim_chance(20)) {
        n = (size_t)sim_between(1, n - 1);
        c->left = 0;
        sim_event_in(&c->act, sim_between(1, 15) * 1000000);
    }
    sim_note("sends", c->number, (uint64_t)a->api, n);
    c->sent++;
    c->sent_us = sim.now_us;
    net_put(c->net, frame, n);
}

static void send_own(struct client *c, int api, int version, enum field_name field,
                     const char *text)
{
    struct asked *a = next_flight(c);
    struct arena arena;
    struct msg m;
    struct buf out;
    char id[16];
    a->api = (int16_t)api;
    a->version = (int16_t)version;
    arena_init(&arena, 65536);
    buf_init(&out, SIZE_MAX);
    snprintf(id, sizeof(id), "c%u", c->number);
    must(msg_new(&m, &arena, schema_find(api, true), version));
    if (text)
        must(node_set_str(&m, m.root, field, (const uint8_t *)text, strlen(text)));
    if (api == 18) {
        must(node_set_text(&m, m.root, F_CLIENT_SOFTWARE_NAME, "sim"));
        must(node_set_text(&m, m.root, F_CLIENT_SOFTWARE_VERSION, "1"));
    }
    must(msg_encode_request(&m, a->correlation, id, &out));
    size_t n = out.len;
    uint8_t *flat = malloc(n);
    buf_copy_out(&out, 0, flat, n);
    buf_release(&out);
    arena_release(&arena);
    send_frame(c, flat, n, a);
    free(flat);
}

static void send_token(struct client *c, struct token *t, unsigned how)
{
    char *token = world_token(t, how);
    c->token_us = sim.now_us;
    size_t n = strlen(token) + 32;
    char *text = malloc(n);
    snprintf(text, n, "n,,\1auth=Bearer %s\1\1", token);
    send_own(c, 36, (int)sim_below(3), F_AUTH_BYTES, text);
    free(text);
    free(token);
}

/* An API that both ends offer, and a version of it. */
static bool pick_api(const struct client *c, struct request_wish *w)
{
    static const int apis[] = {0,  0,  0,  1,  1,  1,  1,  1,  2,  3,  3,  8,  9,  10, 11, 12, 13,
                               14, 15, 16, 22, 23, 24, 25, 26, 28, 29, 32, 42, 47, 60, 68, 69, 75};
    int api = apis[sim_below(sizeof(apis) / sizeof(apis[0]))];
    struct versions v = c->versions[api];
    const struct api_rule *rule = api_find(api);
    if (!rule || v.max < v.min)
        return false;
    int min = v.min > rule->offered.min ? v.min : rule->offered.min;
    if (min > v.max)
        return false;
    w->api = api;
    w->version = (int)sim_between((uint64_t)min, (uint64_t)v.max);
    return true;
}

static void send_request(struct client *c)
{
    const struct transfer *t = &world.transfers[c->token.transfer];
    struct request_wish w = {.client = c->number,
                             .rights = c->in ? &c->rights : &t->rights,
                             .foreign = c->manner != HONEST && c->manner != SLOW,
                             .bulk = c->manner == FLOOD,
                             .sequence = &c->sequence};
    size_t n;
    if (!pick_api(c, &w))
        return;
    struct asked *a = next_flight(c);
    uint8_t *frame = request_make(&w, a, &n);
    send_frame(c, frame, n, a);
    free(frame);
}

/* --- what it does next */

/* What gets no answer is done when all before it is. */
static void pass_silent(struct client *c)
{
    while (c->seen < c->sent && c->flight[c->seen % FLIGHT_MAX].silent &&
           !c->flight[c->seen % FLIGHT_MAX].mangled)
        c->seen++;
}

static void reauthenticate(struct client *c)
{
    c->again = true;
    c->next = c->token;
    c->next.iat = world_wall_s();
    c->next.exp = c->next.iat + 60;
    snprintf(c->next.jti, sizeof(c->next.jti), "j%u", world.tokens++);
    if (c->manner == SWAPPING)
        c->next.transfer = (c->next.transfer + 1) % WORLD_TRANSFERS;
    send_own(c, 17, 1, F_MECHANISM, "OAUTHBEARER");
}

static void act_logged_in(struct client *c)
{
    unsigned window = c->manner == FLOOD ? FLIGHT_MAX - 16 : c->window;
    if (c->again)
        return;
    pass_silent(c);
    if (c->left == 0 && c->seen == c->sent) {
        if (world.calm && c->manner == HONEST && c->told_ms > c->heard_ms)
            sim_violation("client %u hears of %u ms of throttling, a broker told %u", c->number,
                          c->heard_ms, c->told_ms);
        end(c, sim_chance(30));
        return;
    }
    /* Who is honest does as it is told; of the others the brokers read nothing. */
    if (c->quiet_us > sim.now_us && (c->manner == HONEST || c->manner == SLOW)) {
        sim_event_in(&c->act, c->quiet_us - sim.now_us);
        return;
    }
    if (c->manner == SLOW && sim_chance(20)) {
        net_hold(c->net, true);
        sim_event_in(&c->release, sim_between(100, 12000) * 1000);
    }
    if (sim_chance(4) && c->sent == c->seen && sim.now_us - c->last_us > 2000000) {
        reauthenticate(c);
        return;
    }
    while (c->left > 0 && c->sent - c->seen < window) {
        c->left--;
        send_request(c);
        if (sim_chance(40))
            break;
    }
    pass_silent(c);
    if (c->left > 0 || c->seen == c->sent)
        sim_event_in(&c->act, sim_below(c->manner == FLOOD ? 100 : 300000));
}

static void on_act(void *arg)
{
    struct client *c = arg;
    if (c->ended)
        return;
    switch (c->stage) {
    case ASK_VERSIONS:
        if (c->manner == EARLY) {
            for (int api = 0; api <= SCHEMA_KEY_MAX; api++)
                if (api_find(api))
                    c->versions[api] = api_find(api)->offered;
            send_request(c);
            return;
        }
        send_own(c, 18, (int)sim_below(6), F_NONE, NULL);
        break;
    case ASK_HANDSHAKE:
        send_own(c, 17, 1, F_MECHANISM, "OAUTHBEARER");
        break;
    case ASK_TOKEN:
        if (!c->returns) {
            c->token.iat = world_wall_s();
            c->token.exp = c->token.iat + (int64_t)sim_between(2, 90);
        }
        send_token(c, &c->token, c->manner == BAD ? (unsigned)sim_between(1, 4) : 0);
        break;
    case LOGGED_IN:
        act_logged_in(c);
        break;
    case DONE:
        break;
    }
    if (c->manner == BROKEN && c->in && c->left == 0)
        end(c, sim_chance(50));
}

static void on_release(void *arg)
{
    struct client *c = arg;
    net_hold(c->net, false);
}

/* --- answers */

struct view {
    const struct client *c;
    const struct asked *a;
};

/* Names that were asked for come back; a client may hear again what it said. */
static bool sees_topic(void *arg, const uint8_t *name, size_t n)
{
    const struct view *v = arg;
    const struct topic *t = world_topic(name, n);
    if (!t)
        return v->c->manner != HONEST && v->c->manner != SLOW;
    unsigned bit = 1u << world_topic_index(t);
    return v->a->named & bit || (v->c->in && v->c->rights.topics & bit);
}

static bool sees_group(void *arg, const uint8_t *id, size_t n)
{
    const struct view *v = arg;
    size_t len = strlen(v->c->rights.prefix);
    if (v->a->api != 16 && v->c->manner != HONEST && v->c->manner != SLOW)
        return true;
    return n >= len && memcmp(id, v->c->rights.prefix, len) == 0;
}

static bool own_word(void *arg, const uint8_t *text, size_t n)
{
    (void)arg;
    return !memmem(text, n, "internal", 8);
}

static void on_leak(void *arg, const struct leak *l)
{
    const struct view *v = arg;
    sim_violation("client %u: API %d version %d tells %s: %s '%.*s' %ld", v->c->number, v->a->api,
                  v->a->version, l->why, l->field ? l->field->name : "a tag", (int)l->len,
                  l->text ? (const char *)l->text : "", (long)l->value);
}

static void check_leaks(const struct client *c, const struct asked *a, int version,
                        const uint8_t *body, size_t n)
{
    static const char *const hosts[] = {GATE_HOST};
    static const int32_t ports[] = {GATE_PORT};
    struct view v = {c, a};
    struct leaks_view view = {.hosts = hosts,
                              .ports = ports,
                              .naddresses = 1,
                              .cluster = GATE_CLUSTER,
                              .topic = sees_topic,
                              .group = sees_group,
                              .text = own_word,
                              .arg = &v};
    if (a->mangled)
        view.topic = view.group = NULL;
    if (leaks_find(schema_find(a->api, false), version, body, n, &view, on_leak, &v) != OK)
        sim_violation("client %u: an illegal answer of API %d version %d", c->number, a->api,
                      a->version);
}

static void check_fetched(const struct client *c, const struct asked *a, const struct node *x,
                          const struct node *p)
{
    const struct node *r = node_get(p, F_RECORDS), *name = node_get(x, F_TOPIC);
    const struct topic *t = name ? world_topic(name->u.str.p, name->u.str.len)
                                 : world_topic_by_id(node_get(x, F_TOPIC_ID)->u.uuid);
    int32_t index = (int32_t)node_num(p, F_PARTITION_INDEX, -1);
    if (!r || r->null || !r->u.records || r->u.records->len == 0)
        return;
    size_t n = r->u.records->len;
    uint8_t *flat = malloc(n);
    buf_copy_out(r->u.records->src, r->u.records->off, flat, n);
    if (!t && !name) { /* made anew meanwhile */
        free(flat);
        return;
    }
    if (!t || !(c->rights.topics & 1u << world_topic_index(t)) || !(c->rights.operations & OP_READ))
        sim_violation("client %u: records of what it may not read", c->number);
    bool asked = a->mangled;
    for (unsigned i = 0; i < a->nfetch && !asked; i++)
        asked = a->fetch[i].topic == t && a->fetch[i].partition == index &&
                world_batches_ok(t, index, a->fetch[i].offset, flat, n);
    if (!asked && a->nfetch < sizeof(a->fetch) / sizeof(a->fetch[0]))
        sim_violation("client %u: %zu bytes of %s-%d are not what stands in its log at the asked "
                      "offset",
                      c->number, n, t->name, index);
    if (!asked && !world_batches_ok(t, index, -1, flat, n))
        sim_violation("client %u: %zu bytes of %s-%d are not what stands in its log", c->number, n,
                      t->name, index);
    world.records_judged++;
    free(flat);
}

static bool denial(int64_t error)
{
    return error == 29 || error == 30 || error == 31 || error == 53;
}

/* An honest client hears no denial of what it was granted. */
static void check_errors(const struct client *c, const struct asked *a, const struct msg *m)
{
    struct node_iter it = {.root = m->root};
    struct node *n;
    if ((c->manner != HONEST && c->manner != SLOW) || world.flipped)
        return;
    while ((n = node_iter_next(&it)))
        if (n->field && n->field->role == ROLE_ERROR && !node_is_array(n) && denial(n->u.num) &&
            (c->rights.operations & 15) == 15)
            sim_violation("client %u: API %d version %d is denied: %ld", c->number, a->api,
                          a->version, (long)n->u.num);
}

static void hear_versions(struct client *c, const struct msg *m)
{
    ARRAY_EACH (k, node_get(m->root, F_API_KEYS)) {
        int64_t api = node_num(k, F_API_KEY, -1);
        if (api < 0 || api > SCHEMA_KEY_MAX)
            continue;
        c->versions[api].min = (int16_t)node_num(k, F_MIN_VERSION, 0);
        c->versions[api].max = (int16_t)node_num(k, F_MAX_VERSION, -1);
    }
    if (c->stage == ASK_VERSIONS)
        c->stage = ASK_HANDSHAKE;
}

/* In a calm world an honest client with a good token gets in: also with what had been suspended,
 * once it is granted again. Where the rights have changed meanwhile, it may not re-authenticate. */
static void check_refusal(const struct client *c)
{
    const struct token *t = c->again ? &c->next : &c->token;
    for (unsigned i = 0; i < world.nworkers && c->again; i++)
        if (world.workers[i].told.rights[t->transfer].topics != c->rights.topics)
            return;
    if (world.calm && c->manner == HONEST && !t->bad && t->exp > world_wall_s() + 1 &&
        control_steady(t, c->token_us))
        sim_violation("client %u is refused with good token %s", c->number, t->jti);
}

static void hear_token(struct client *c, const struct msg *m)
{
    const struct node *bytes = node_get(m->root, F_AUTH_BYTES);
    bool ok = node_num(m->root, F_ERROR_CODE, 0) == 0 && (!bytes || bytes->u.str.len == 0);
    if (ok && c->token.bad)
        sim_violation("client %u: a token that is worth nothing lets it in", c->number);
    if (!ok) {
        check_refusal(c);
        c->refused = true;
        sim_note("refused", c->number, 0, 0);
        end(c, false);
        return;
    }
    if (c->again && c->token.transfer != c->next.transfer)
        sim_violation("client %u: re-authenticated to other rights", c->number);
    c->again = false;
    c->last_us = sim.now_us;
    c->stage = LOGGED_IN;
}

static void hear(struct client *c, struct asked *a, const struct msg *m)
{
    unsigned quiet_ms = (unsigned)node_num(m->root, F_THROTTLE_TIME_MS, 0);
    c->quiet_us = sim.now_us + (uint64_t)quiet_ms * 1000;
    if (a->api == 0 && quiet_ms > c->heard_ms)
        c->heard_ms = quiet_ms;
    check_errors(c, a, m);
    request_answered(c->number, a, m);
    if (a->api == 1 && c->in)
        ARRAY_EACH (x, node_get(m->root, F_RESPONSES))
            ARRAY_EACH (p, node_get(x, F_PARTITIONS))
                check_fetched(c, a, x, p);
    if (a->api == 18)
        hear_versions(c, m);
    else if (a->api == 17 && c->again)
        send_token(c, &c->next, 0);
    else if (a->api == 17)
        c->stage = c->stage == ASK_HANDSHAKE ? ASK_TOKEN : c->stage;
    else if (a->api == 36)
        hear_token(c, m);
}

/* A flipped correlation id may be that of another request: whose answer this is, nobody can say. */
static bool ambiguous(struct client *c, int32_t got)
{
    unsigned n = 0;
    for (unsigned i = c->seen; i != c->sent; i++)
        n += c->flight[i % FLIGHT_MAX].correlation == got;
    for (unsigned i = c->seen; n > 1 && i != c->sent; i++)
        c->flight[i % FLIGHT_MAX].mangled |= c->flight[i % FLIGHT_MAX].correlation == got;
    return n > 1;
}

static void judge(struct client *c, const uint8_t *p, size_t n)
{
    struct asked *a;
    struct arena arena;
    struct msg m;
    struct buf b;
    struct msg_error e = {NULL, 0};
    int32_t got =
        (int32_t)((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
    bool unclear = c->manner == GARBAGE && ambiguous(c, got);
    for (;; c->seen++) {
        if (c->seen == c->sent)
            sim_violation("client %u: an answer (%d) to nothing that it asked", c->number, got);
        a = &c->flight[c->seen % FLIGHT_MAX];
        /* Of a mangled request nobody can say whether it still wants an answer. */
        if (a->mangled ? a->correlation == got : !a->silent)
            break;
    }
    if (a->correlation != got)
        sim_violation("client %u: answer %d instead of %d (API %d)", c->number, got, a->correlation,
                      a->api);
    c->seen++;
    world.answers_judged++;
    sim_note("answer", c->number, (uint64_t)a->api, n);
    if (unclear)
        return;
    int version = a->api == 18 && a->version > 5 ? 0 : a->version;
    size_t head = schema_response_header(a->api, version) == 1 ? 5 : 4;
    if (!schema_find(a->api, false) || n < head)
        sim_violation("client %u: a short answer of API %d", c->number, a->api);
    check_leaks(c, a, version, p + head, n - head);
    buf_init(&b, SIZE_MAX);
    arena_init(&arena, (size_t)64 * 1024 * 1024);
    if (n > head)
        must(buf_append(&b, p + head, n - head));
    if (msg_decode(&m, &arena, schema_find(a->api, false), version, &b, 0, b.len, &e) != OK)
        sim_violation("client %u: API %d version %d: %s at %lu", c->number, a->api, version, e.why,
                      (unsigned long)e.offset);
    hear(c, a, &m);
    arena_release(&arena);
    buf_release(&b);
}

/* In the middle of a long answer, which may be streaming: its token is revoked, or what it fetches
 * gets another leader. */
static void disturb(struct client *c)
{
    const struct asked *a = &c->flight[c->seen % FLIGHT_MAX];
    if (sim_below(20) == 0) {
        control_strike(&c->token);
    } else if (a->nfetch > 0 && sim_below(20) == 0) {
        unsigned i = (unsigned)sim_below(a->nfetch);
        control_move_leader(world_topic_index(a->fetch[i].topic),
                            a->fetch[i].partition % WORLD_PARTITIONS, sim_chance(30));
    }
}

static void on_data(void *arg)
{
    struct client *c = arg;
    size_t n;
    while (!c->ended) {
        const uint8_t *p = net_bytes(c->net, &n);
        if (n < 4)
            break;
        size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (len < 4 || len > (size_t)64 * 1024 * 1024)
            sim_violation("client %u: a frame of %zu bytes", c->number, len);
        if (n < 4 + len) {
            if (!world.calm && len > 65536 && c->in && !c->barred)
                disturb(c);
            break;
        }
        uint8_t *frame = malloc(len);
        memcpy(frame, p + 4, len);
        net_take(c->net, 4 + len);
        c->answer_us = sim.now_us;
        judge(c, frame, len);
        free(frame);
    }
    if (!c->ended && !sim_event_set(&c->act) && !(c->again && c->stage == LOGGED_IN))
        sim_event_in(&c->act, sim_below(20000));
}

/* In a calm world nobody honest is sent away but for what happens to its token. */
static void on_ended(void *arg, bool cut)
{
    struct client *c = arg;
    bool over =
        c->token.exp <= world_wall_s() + 1 || (c->again && c->next.exp <= world_wall_s() + 1);
    bool may = !world.calm || leaving || c->barred || over || c->manner != HONEST || c->refused;
    sim_note("ended", c->number, cut, c->sent - c->seen);
    for (unsigned i = 0; i < world.nworkers; i++)
        may |= control_barred(&world.workers[i].told, &c->token);
    if (!may)
        sim_violation("client %u is sent away with %u requests unanswered", c->number,
                      c->sent - c->seen);
    end(c, false);
}

static const struct net_actor actor = {.data = on_data, .ended = on_ended};

/* --- life */

static unsigned pick_worker(void)
{
    return (unsigned)sim_below(world.nworkers);
}

/* A new one, perhaps for a transfer that others have used before it, or that very token again. */
static void pick_token(struct client *c)
{
    const struct client *before = clients[sim_between(1, nclients)];
    bool follows = before != c && before->ended && sim_chance(30);
    c->token.transfer = follows ? before->token.transfer : (unsigned)sim_below(WORLD_TRANSFERS);
    if (follows && before->token.iat && !before->token.bad && c->manner != BAD && sim_chance(50)) {
        c->returns = true;
        c->token = before->token;
        sim_note("returns", c->number, before->number, 0);
        return;
    }
    snprintf(c->token.jti, sizeof(c->token.jti), "j%u", world.tokens++);
}

void client_start(void)
{
    if (nclients == WORLD_CLIENTS || clients_open() >= 10 || leaving)
        return;
    struct client *c = calloc(1, sizeof(*c));
    struct net_weather w = net_some_weather(world.calm);
    struct sockaddr_storage peer = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&peer;
    c->flight = malloc(FLIGHT_MAX * sizeof(*c->flight));
    clients[++nclients] = c;
    c->number = nclients;
    c->manner = sim_chance(world.calm ? 70 : 40) ? HONEST : (enum manner)sim_below(MANNERS);
    c->window = (unsigned)sim_between(1, 8);
    c->left = (unsigned)sim_between(1, c->manner == FLOOD ? 100 : 20);
    c->correlation = (int32_t)sim_below(1000000);
    pick_token(c);
    for (int i = 0; i <= SCHEMA_KEY_MAX; i++)
        c->versions[i] = (struct versions){1, 0};
    sim_event_init(&c->act, on_act, c);
    sim_event_init(&c->release, on_release, c);
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)(10000 + c->number));
    in->sin_addr.s_addr = htonl(0xc0000201);
    int fd = net_client(&w, &actor, c, &c->net);
    sim_note("client", c->number, (uint64_t)c->manner, net_id(c->net));
    must(worker_hand_over(world.workers[pick_worker()].worker, fd, &peer));
    sim_event_in(&c->act, sim_below(100000));
}

void clients_begin(void)
{
    leaving = false;
    nclients = 0;
}

/* In a calm world each request is answered, or its connection ended, before long. */
static void check_served(struct client *c)
{
    uint64_t last = c->sent_us > c->answer_us ? c->sent_us : c->answer_us;
    if (!world.calm || c->manner != HONEST || c->ended || c->barred)
        return;
    if (c->stage == LOGGED_IN)
        pass_silent(c);
    if (c->seen != c->sent && sim.now_us - last > SERVED_US)
        sim_violation("client %u waits for %u answers since %.3f s", c->number, c->sent - c->seen,
                      (double)last / 1e6);
}

void clients_leave(void)
{
    leaving = true;
    for (unsigned i = 1; i <= nclients; i++)
        check_served(clients[i]);
    for (unsigned i = 1; i <= nclients; i++)
        if (!clients[i]->ended && sim_chance(50))
            end(clients[i], sim_chance(30));
}

void clients_end(void)
{
    for (unsigned i = 1; i <= nclients; i++) {
        sim_event_cancel(&clients[i]->act);
        sim_event_cancel(&clients[i]->release);
        free(clients[i]->flight);
        free(clients[i]);
    }
    nclients = 0;
}
