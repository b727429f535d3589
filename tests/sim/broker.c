/* Brokers: they read frames, judge them by the model (check_request), and answer one request of a
 * connection after another, as Kafka does; a Fetch with nothing to give waits. What has no handler
 * of its own here gets the answer that reply_error makes, without an error.
 *
 * In answers everything that a client must not see is there: node ids from 101, host names, racks,
 * the cluster's id, words of their own. */
#include <stdlib.h>
#include <string.h>

#include "codec/node.h"
#include "codec/reply.h"
#include "proxy/api.h"
#include "tests/sim/world.h"

#define CREDENTIALS "\0gate\0secret"
#define OWN_WORDS   "broker b101.internal says no"
#define FRAME_MAX   ((size_t)32 * 1024 * 1024)

struct broker_conn {
    struct broker_conn *next;
    struct net_conn *net;
    unsigned broker;
    unsigned client;       /* whose requests come here; 0: the gate's own, or none yet */
    bool barred, ended;    /* ended: it hears nothing more */
    uint64_t logged_in_us; /* until when; 0: not, or for good where nobody has to */
    struct sim_event later;
    uint8_t *answer; /* under way to be sent */
    size_t answer_len;
    int16_t api; /* of what is being answered */
    bool busy;
    unsigned throttle_ms; /* the answer's: that long nothing more is read, as since KIP-219 */
    bool muted;
    struct request_head head; /* of a Fetch that waits for records */
    uint8_t *waiting;         /* its frame without length */
    size_t waiting_len;
    uint64_t wait_until_us;
};

static struct broker_conn *conns;

struct call {
    struct broker_conn *c;
    const struct request_head *h;
    const struct msg *m; /* the request */
    struct arena *a;
    struct msg r; /* the answer */
    struct buf records;
    bool nothing; /* a Fetch that gave no record */
    unsigned throttle_ms;
};

static void must(int rc)
{
    if (rc != OK)
        sim_violation("a broker cannot make its answer: %s", err_name(rc));
}

static void conn_close(struct broker_conn *c, bool cut)
{
    if (c->ended)
        return;
    c->ended = true;
    sim_event_cancel(&c->later);
    net_close(c->net, cut);
}

/* --- answers */

static void answer_versions(struct call *k)
{
    must(msg_new(&k->r, k->a, schema_find(18, false), k->h->version));
    struct node *keys = node_array(&k->r, k->r.root, F_API_KEYS);
    for (int api = 0; api <= SCHEMA_KEY_MAX; api++) {
        const struct message *m = schema_find(api, true);
        if (!m)
            continue;
        struct node *e = array_add(&k->r, keys);
        must(node_set_num(&k->r, e, F_API_KEY, api));
        must(node_set_num(&k->r, e, F_MIN_VERSION, m->versions.min));
        /* Brokers of different age. */
        bool older = sim_mix(sim.seed, k->c->broker) % 3 == 0 && m->versions.max > m->versions.min;
        must(node_set_num(&k->r, e, F_MAX_VERSION, m->versions.max - (older && api < 20)));
    }
}

static void put_partition(struct call *k, struct node *list, const struct topic *t, int i)
{
    struct node *p = array_add(&k->r, list);
    const struct partition *x = &t->p[i];
    must(node_set_num(&k->r, p, F_PARTITION_INDEX, i));
    must(node_set_num(&k->r, p, F_LEADER_ID, BROKER_ID(x->leader)));
    must(node_set_num(&k->r, p, F_LEADER_EPOCH, x->epoch));
    must(array_add_num(&k->r, node_array(&k->r, p, F_REPLICA_NODES), BROKER_ID(x->leader)));
    must(array_add_num(&k->r, node_array(&k->r, p, F_ISR_NODES), BROKER_ID(x->leader)));
}

static void put_topic(struct call *k, struct node *list, const struct topic *t)
{
    struct node *x = array_add(&k->r, list);
    must(node_set_text(&k->r, x, F_NAME, t->name));
    if (!t->exists) {
        must(node_set_num(&k->r, x, F_ERROR_CODE, 3));
        return;
    }
    must(node_set_uuid(&k->r, x, F_TOPIC_ID, t->id));
    struct node *parts = node_array(&k->r, x, F_PARTITIONS);
    for (int i = 0; i < t->npartitions; i++)
        put_partition(k, parts, t, i);
}

static void answer_metadata(struct call *k)
{
    const struct node *asked = node_get(k->m->root, F_TOPICS);
    must(msg_new(&k->r, k->a, schema_find(3, false), k->h->version));
    struct node *brokers = node_array(&k->r, k->r.root, F_BROKERS);
    for (unsigned i = 0; i < WORLD_BROKERS; i++) {
        char host[32];
        struct node *b = array_add(&k->r, brokers);
        snprintf(host, sizeof(host), "b%d.internal", BROKER_ID(i));
        must(node_set_num(&k->r, b, F_NODE_ID, BROKER_ID(i)));
        must(node_set_text(&k->r, b, F_HOST, host));
        must(node_set_num(&k->r, b, F_PORT, BROKER_PORT));
        must(node_set_text(&k->r, b, F_RACK, "rack-one"));
    }
    must(node_set_text(&k->r, k->r.root, F_CLUSTER_ID, CLUSTER_TRUE_ID));
    must(node_set_num(&k->r, k->r.root, F_CONTROLLER_ID, BROKER_ID(0)));
    struct node *topics = node_array(&k->r, k->r.root, F_TOPICS);
    ARRAY_EACH (q, asked) {
        const struct node *name = node_get(q, F_NAME), *id = node_get(q, F_TOPIC_ID);
        const struct topic *t =
            name && !name->null ? world_topic(name->u.str.p, name->u.str.len) : NULL;
        if (!t && id && (!name || name->null))
            t = world_topic_by_id(id->u.uuid);
        if (t) {
            put_topic(k, topics, t);
            continue;
        }
        struct node *x = array_add(&k->r, topics);
        if (name && !name->null)
            must(node_set_str(&k->r, x, F_NAME, name->u.str.p, name->u.str.len));
        must(node_set_num(&k->r, x, F_ERROR_CODE, name && !name->null ? 3 : 100));
    }
}

static void put_coordinator(struct call *k, struct node *at, const struct node *key)
{
    unsigned b = world_coordinator(key->u.str.p, key->u.str.len);
    char host[32];
    bool away = !world.calm && sim_chance(5);
    snprintf(host, sizeof(host), "b%d.internal", BROKER_ID(b));
    must(node_set_str(&k->r, at, F_KEY, key->u.str.p, key->u.str.len));
    must(node_set_num(&k->r, at, F_ERROR_CODE, away ? 15 : 0));
    must(node_set_num(&k->r, at, F_NODE_ID, away ? -1 : BROKER_ID(b)));
    must(node_set_text(&k->r, at, F_HOST, away ? "" : host));
    must(node_set_num(&k->r, at, F_PORT, away ? -1 : BROKER_PORT));
}

static void answer_coordinator(struct call *k)
{
    must(msg_new(&k->r, k->a, schema_find(10, false), k->h->version));
    if (k->h->version < 4) {
        put_coordinator(k, k->r.root, node_get(k->m->root, F_KEY));
        return;
    }
    struct node *list = node_array(&k->r, k->r.root, F_COORDINATORS);
    ARRAY_EACH (key, node_get(k->m->root, F_COORDINATOR_KEYS))
        put_coordinator(k, array_add(&k->r, list), key);
}

static const struct topic *topic_asked(const struct node *t, enum field_name name)
{
    const struct node *n = node_get(t, name), *id = node_get(t, F_TOPIC_ID);
    if (n)
        return world_topic(n->u.str.p, n->u.str.len);
    return id ? world_topic_by_id(id->u.uuid) : NULL;
}

/* Records of one partition, as many whole batches as fit, one at least. */
static void put_records(struct call *k, struct node *p, const struct topic *t, int32_t index,
                        int64_t from, int64_t max_bytes)
{
    static uint8_t one[BATCH_BYTES_MAX];
    size_t begin = k->records.len;
    for (int64_t o = from; o < t->p[index].end; o++) {
        size_t have = k->records.len - begin;
        if (have > 0 && (int64_t)(have + t->batch_bytes) > max_bytes)
            break;
        world_batch(t, index, o, one);
        must(buf_append(&k->records, one, t->batch_bytes));
    }
    struct node *r = node_get(p, F_RECORDS);
    r->null = false;
    r->u.records = arena_zalloc(k->a, sizeof *r->u.records);
    r->u.records->src = &k->records;
    r->u.records->off = begin;
    r->u.records->len = (uint32_t)(k->records.len - begin);
    k->nothing &= k->records.len == begin;
}

/* A tagged struct, which a new message lacks. NULL: this version has none. */
static struct node *tagged_struct(struct call *k, struct node *st, enum field_name id)
{
    for (uint16_t i = 0; i < st->field->nfields; i++) {
        const struct field *f = &st->field->fields[i];
        if (f->id != id || !versions_has(f->versions, k->h->version))
            continue;
        struct node *n = arena_zalloc(k->a, sizeof(*n));
        n->field = f;
        node_append(st, n);
        return n;
    }
    return NULL;
}

/* Who leads it now, and where that one is (KIP-951). */
static void put_leader(struct call *k, struct node *p, const struct partition *x)
{
    struct node *leader = tagged_struct(k, p, F_CURRENT_LEADER);
    struct node *places = node_get(k->r.root, F_NODE_ENDPOINTS);
    char host[32];
    if (!leader)
        return;
    must(node_set_num(&k->r, leader, F_LEADER_ID, BROKER_ID(x->leader)));
    must(node_set_num(&k->r, leader, F_LEADER_EPOCH, x->epoch));
    if (!places)
        places = node_array(&k->r, k->r.root, F_NODE_ENDPOINTS);
    if (!places)
        return;
    struct node *place = array_add(&k->r, places);
    snprintf(host, sizeof(host), "b%d.internal", BROKER_ID(x->leader));
    must(node_set_num(&k->r, place, F_NODE_ID, BROKER_ID(x->leader)));
    must(node_set_text(&k->r, place, F_HOST, host));
    must(node_set_num(&k->r, place, F_PORT, BROKER_PORT));
    must(node_set_text(&k->r, place, F_RACK, "rack-one"));
}

static int fetch_partition(struct call *k, struct node *p, const struct topic *t,
                           const struct node *asked, int64_t *left)
{
    int64_t index = node_num(asked, F_PARTITION, 0), from = node_num(asked, F_FETCH_OFFSET, 0);
    int64_t epoch = node_num(asked, F_CURRENT_LEADER_EPOCH, -1);
    if (!t || !t->exists)
        return node_get(k->r.root, F_TOPIC_ID) ? 100 : 3;
    if (index < 0 || index >= t->npartitions)
        return 3;
    const struct partition *x = &t->p[index];
    if (x->leader != k->c->broker) {
        put_leader(k, p, x);
        return 6;
    }
    if (epoch >= 0 && epoch != x->epoch)
        return epoch < x->epoch ? 74 : 76;
    if (from < x->start || from > x->end)
        return 1;
    must(node_set_num(&k->r, p, F_HIGH_WATERMARK, x->end));
    must(node_set_num(&k->r, p, F_LAST_STABLE_OFFSET, x->end));
    must(node_set_num(&k->r, p, F_LOG_START_OFFSET, x->start));
    if (*left > 0 && from < x->end) {
        size_t before = k->records.len;
        int64_t max = node_num(asked, F_PARTITION_MAX_BYTES, 0);
        put_records(k, p, t, (int32_t)index, from, max < *left ? max : *left);
        *left -= (int64_t)(k->records.len - before);
    }
    return 0;
}

/* While the request was under way one of its partitions went to another leader. */
static void move_one(struct call *k, enum field_name topics, enum field_name name,
                     enum field_name partitions, enum field_name index)
{
    unsigned seen = 0, topic = 0;
    int32_t partition = 0;
    if (world.calm || !sim_chance(8))
        return;
    ARRAY_EACH (q, node_get(k->m->root, topics)) {
        const struct topic *t = topic_asked(q, name);
        ARRAY_EACH (p, node_get(q, partitions)) {
            int64_t i = node_num(p, index, -1);
            if (!t || i < 0 || i >= t->npartitions || sim_below(++seen) != 0)
                continue;
            topic = world_topic_index(t);
            partition = (int32_t)i;
        }
    }
    if (seen)
        control_move_leader(topic, partition, false);
}

static void answer_fetch(struct call *k)
{
    int64_t left = node_num(k->m->root, F_MAX_BYTES, 1 << 20);
    k->nothing = true;
    move_one(k, F_TOPICS, F_TOPIC, F_PARTITIONS, F_PARTITION);
    must(msg_new(&k->r, k->a, schema_find(1, false), k->h->version));
    struct node *list = node_array(&k->r, k->r.root, F_RESPONSES);
    ARRAY_EACH (q, node_get(k->m->root, F_TOPICS)) {
        const struct topic *t = topic_asked(q, F_TOPIC);
        struct node *x = array_add(&k->r, list);
        must(node_set_same(&k->r, x, F_TOPIC, node_get(q, F_TOPIC)));
        must(node_set_same(&k->r, x, F_TOPIC_ID, node_get(q, F_TOPIC_ID)));
        struct node *parts = node_array(&k->r, x, F_PARTITIONS);
        ARRAY_EACH (a, node_get(q, F_PARTITIONS)) {
            struct node *p = array_add(&k->r, parts);
            must(node_set_num(&k->r, p, F_PARTITION_INDEX, node_num(a, F_PARTITION, 0)));
            int error = fetch_partition(k, p, t, a, &left);
            k->nothing &= error == 0;
            must(node_set_num(&k->r, p, F_ERROR_CODE, error));
            if (error)
                must(node_set_num(&k->r, p, F_HIGH_WATERMARK, -1));
            else if (sim_chance(20))
                must(node_set_num(&k->r, p, F_PREFERRED_READ_REPLICA, BROKER_ID(1)));
        }
    }
}

static void produced(struct call *k, struct node *asked, const struct topic *t, struct node *out)
{
    int64_t index = node_num(asked, F_INDEX, 0);
    const struct node *r = node_get(asked, F_RECORDS);
    int error = !t || !t->exists || index < 0 || index >= t->npartitions ? 3
                : t->p[index].leader != k->c->broker                     ? 6
                                                                         : 0;
    must(node_set_num(&k->r, out, F_INDEX, index));
    must(node_set_num(&k->r, out, F_ERROR_CODE, error));
    if (error)
        must(node_set_text(&k->r, out, F_ERROR_MESSAGE, OWN_WORDS));
    if (error == 6)
        put_leader(k, out, &t->p[index]);
    if (!r || r->null || !r->u.records || !t)
        return;
    size_t n = r->u.records->len;
    uint8_t *flat = malloc(n + 1);
    buf_copy_out(r->u.records->src, r->u.records->off, flat, n);
    client_produced(client_of(k->c->client), t, (int32_t)index, flat, n);
    free(flat);
}

static void answer_produce(struct call *k)
{
    move_one(k, F_TOPIC_DATA, F_NAME, F_PARTITION_DATA, F_INDEX);
    must(msg_new(&k->r, k->a, schema_find(0, false), k->h->version));
    struct node *list = node_array(&k->r, k->r.root, F_RESPONSES);
    ARRAY_EACH (q, node_get(k->m->root, F_TOPIC_DATA)) {
        const struct topic *t = topic_asked(q, F_NAME);
        struct node *x = array_add(&k->r, list);
        must(node_set_same(&k->r, x, F_NAME, node_get(q, F_NAME)));
        must(node_set_same(&k->r, x, F_TOPIC_ID, node_get(q, F_TOPIC_ID)));
        struct node *parts = node_array(&k->r, x, F_PARTITION_RESPONSES);
        ARRAY_EACH (p, node_get(q, F_PARTITION_DATA))
            produced(k, p, t, array_add(&k->r, parts));
    }
}

/* The gate must log in with PLAIN, and again before its time is over (KIP-368). */
static void answer_sasl(struct call *k)
{
    const struct node *bytes = node_get(k->m->root, F_AUTH_BYTES);
    must(msg_new(&k->r, k->a, schema_find(k->h->api, false), k->h->version));
    if (k->h->api == 17)
        return;
    if (bytes->u.str.len != sizeof(CREDENTIALS) - 1 ||
        memcmp(bytes->u.str.p, CREDENTIALS, sizeof(CREDENTIALS) - 1) != 0)
        sim_violation("the gate logs in with other credentials");
    k->c->logged_in_us = sim.now_us + (uint64_t)world.lifetime_ms * 1000;
    must(node_set_num(&k->r, k->r.root, F_SESSION_LIFETIME_MS, world.lifetime_ms));
}

static bool must_log_in(const struct broker_conn *c, int api)
{
    return world.sasl && api != 17 && api != 18 && api != 36 &&
           (!c->logged_in_us || (world.lifetime_ms && sim.now_us > c->logged_in_us));
}

/* Groups of others stand in every broker's list. */
static void answer_groups(struct call *k)
{
    must(msg_new(&k->r, k->a, schema_find(16, false), k->h->version));
    struct node *list = node_array(&k->r, k->r.root, F_GROUPS);
    for (unsigned i = 0; i < WORLD_TRANSFERS; i++) {
        char name[32];
        struct node *g = array_add(&k->r, list);
        snprintf(name, sizeof(name), "%s-g%u", world.transfers[i].rights.prefix, k->c->broker);
        must(node_set_text(&k->r, g, F_GROUP_ID, name));
        must(node_set_text(&k->r, g, F_PROTOCOL_TYPE, "consumer"));
    }
}

/* Puts what must be hidden into an answer, wherever its schema has room for it. */
static void season(struct call *k)
{
    struct node_iter it = {.root = k->r.root};
    struct node *n;
    while ((n = node_iter_next(&it))) {
        if (!n->field || node_is_array(n) || node_is_struct(n))
            continue;
        if (n->field->role == ROLE_BROKER)
            n->u.num = BROKER_ID(2);
        if (n->field->type != TYPE_STRING)
            continue;
        const char *text = n->field->role == ROLE_HOST      ? "b102.internal"
                           : n->field->role == ROLE_RACK    ? "rack-one"
                           : n->field->role == ROLE_CLUSTER ? CLUSTER_TRUE_ID
                           : n->field->role == ROLE_TEXT    ? OWN_WORDS
                                                            : NULL;
        if (text) {
            n->null = false;
            n->u.str.p = (const uint8_t *)text;
            n->u.str.len = (uint32_t)strlen(text);
        }
    }
}

static void answer_any(struct call *k)
{
    static const int errors[] = {0, 0, 0, 0, 0, 0, 14, 15, 16, 25, 27, 7};
    int error = world.calm ? 0 : errors[sim_below(sizeof(errors) / sizeof(errors[0]))];
    must(reply_error(&k->r, k->a, k->m, error));
    season(k);
}

static void throttle(struct call *k)
{
    if (!node_get(k->r.root, F_THROTTLE_TIME_MS) || !sim_chance(world.calm ? 2 : 4))
        return;
    k->throttle_ms = (unsigned)sim_between(20, world.calm ? 400 : 5000);
    must(node_set_num(&k->r, k->r.root, F_THROTTLE_TIME_MS, k->throttle_ms));
}

static void answer(struct call *k)
{
    switch (k->h->api) {
    case 0:
        answer_produce(k);
        break;
    case 1:
        answer_fetch(k);
        break;
    case 3:
        answer_metadata(k);
        break;
    case 10:
        answer_coordinator(k);
        break;
    case 16:
        answer_groups(k);
        break;
    case 17:
    case 36:
        answer_sasl(k);
        break;
    case 18:
        answer_versions(k);
        break;
    default:
        answer_any(k);
        break;
    }
    throttle(k);
}

/* --- the connection */

static void conn_work(struct broker_conn *c);

/* A broker that breaks the protocol: the gate must pass none of it on. To clients only what must
 * be found out whatever the answer holds; a flipped byte may still make a legal one. */
static void misbehave(struct broker_conn *c)
{
    uint8_t *p = c->answer;
    unsigned how = (unsigned)sim_below(c->client ? 4 : 5);
    sim_note("misbehaves", net_id(c->net), how, c->client);
    if (how == 0) {
        p[7] ^= 0x55; /* another request's correlation id */
    } else if (how == 1) {
        p[0] = c->api == 1 ? 0x8f : 0x7f; /* a length beyond reason; a stream's may be any */
    } else if (how == 2) {
        net_put(c->net, p, c->answer_len); /* twice */
    } else if (how == 3) {
        net_put(c->net, p, (size_t)sim_between(1, c->answer_len) - 1); /* not all of it */
        conn_close(c, sim_chance(50));
    } else {
        /* Of a coordinator or a topic it may say any error now, and the gate tells it on. */
        world.flipped |= c->api == 3 || c->api == 10;
        p[sim_between(4, c->answer_len - 1)] ^= (uint8_t)sim_between(1, 255);
    }
}

static void send_answer(struct broker_conn *c)
{
    if (!world.calm && sim_below(150) == 0)
        misbehave(c);
    if (!c->ended)
        net_put(c->net, c->answer, c->answer_len);
    free(c->answer);
    c->answer = NULL;
    c->busy = c->muted = c->throttle_ms > 0;
    if (!c->muted || c->ended)
        return;
    sim_note("mutes", net_id(c->net), c->throttle_ms, c->client);
    if (c->client)
        client_throttled(client_of(c->client), c->api, c->throttle_ms);
    sim_event_in(&c->later, (uint64_t)c->throttle_ms * 1000);
}

static uint64_t pause_us(const struct broker_conn *c)
{
    const struct broker *b = &world.brokers[c->broker];
    if (!world.calm && sim_below(400) == 0)
        return sim_between(5, 25) * 1000000; /* stalls */
    return sim_below(500) + (b->slow_ms ? sim_below(b->slow_ms) * 1000 : 0);
}

/* Makes the answer to a frame without its length. False: there is none, or a Fetch waits. */
static bool conn_answer(struct broker_conn *c, const struct buf *frame,
                        const struct request_head *h, const struct msg *m, struct arena *a,
                        bool last)
{
    struct call k = {.c = c, .h = h, .m = m, .a = a};
    struct buf out;
    buf_init(&k.records, SIZE_MAX);
    buf_init(&out, SIZE_MAX);
    (void)frame;
    answer(&k);
    bool wait = h->api == 1 && k.nothing && !last && node_num(m->root, F_MAX_WAIT_MS, 0) > 0;
    bool silent = h->api == 0 && node_num(m->root, F_ACKS, 1) == 0;
    if (!wait && !silent) {
        must(msg_encode_response(&k.r, h->correlation, &out));
        c->answer = malloc(out.len);
        c->answer_len = out.len;
        buf_copy_out(&out, 0, c->answer, out.len);
        c->throttle_ms = k.throttle_ms;
    }
    buf_release(&out);
    buf_release(&k.records);
    if (wait && !c->wait_until_us)
        c->wait_until_us = sim.now_us + (uint64_t)node_num(m->root, F_MAX_WAIT_MS, 0) * 1000;
    return !wait && !silent;
}

static void whose(struct broker_conn *c, const struct request_head *h)
{
    unsigned number = 0;
    if (h->client_id_len > 1 && h->client_id[0] == 'c')
        for (uint32_t i = 1; i < h->client_id_len && number < 100000; i++)
            number = number * 10 + (unsigned)(h->client_id[i] - '0');
    if (c->client && number && number != c->client)
        sim_violation("requests of clients %u and %u on one connection", c->client, number);
    if (number)
        c->client = number;
    if (number && !client_of(number))
        sim_violation("a request of client %u, whom nobody knows", number);
    if (number && client_was_barred(client_of(number)))
        sim_violation("a request of client %u after its revocation", number);
}

/* One request: judged, and answered now or later. */
static void conn_request(struct broker_conn *c, const uint8_t *p, size_t n, bool last)
{
    struct request_head h;
    struct arena a;
    struct msg m;
    struct buf frame;
    struct msg_error e = {NULL, 0};
    const char *why = "";
    buf_init(&frame, SIZE_MAX);
    arena_init(&a, (size_t)64 * 1024 * 1024);
    must(buf_append(&frame, p, n));
    if (frame_request_head(&frame, 0, n, &h, &why) != OK)
        sim_violation("a broker cannot read a header: %s", why);
    if (msg_decode(&m, &a, schema_find(h.api, true), h.version, &frame, h.body_off, n - h.body_off,
                   &e) != OK)
        sim_violation("a broker cannot read API %d version %d: %s at %lu", h.api, h.version, e.why,
                      (unsigned long)e.offset);
    if (!c->waiting) {
        whose(c, &h);
        if (must_log_in(c, h.api)) {
            if (!c->logged_in_us)
                sim_violation("API %d reaches a broker before the gate has logged in", h.api);
            conn_close(c, false); /* too late: a broker hangs up */
            goto out;
        }
        sim_note("request", net_id(c->net), (uint64_t)h.api, c->client);
        check_request(client_of(c->client), &h, &m);
    }
    c->busy = true;
    c->api = h.api;
    if (conn_answer(c, &frame, &h, &m, &a, last)) {
        c->wait_until_us = 0;
        sim_event_in(&c->later, pause_us(c));
    } else if (c->wait_until_us) {
        sim_event_in(&c->later, sim_between(1, 20) * 1000);
    } else {
        c->busy = false; /* acks=0 */
    }
    if (c->wait_until_us && !c->waiting) {
        c->waiting = malloc(n);
        memcpy(c->waiting, p, n);
        c->waiting_len = n;
    }
out:
    buf_release(&frame);
    arena_release(&a);
}

static void conn_work(struct broker_conn *c)
{
    size_t n;
    while (!c->ended && !c->busy) {
        const uint8_t *p = net_bytes(c->net, &n);
        if (n < 4)
            return;
        size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (len == 0 || len > FRAME_MAX)
            sim_violation("a broker gets a frame of %zu bytes", len);
        if (n < 4 + len)
            return;
        uint8_t *frame = malloc(len);
        memcpy(frame, p + 4, len);
        net_take(c->net, 4 + len);
        conn_request(c, frame, len, false);
        free(frame);
    }
}

static void on_later(void *arg)
{
    struct broker_conn *c = arg;
    if (c->ended)
        return;
    if (c->muted) {
        c->busy = c->muted = false;
    } else if (c->answer) {
        send_answer(c);
    } else if (c->waiting) {
        uint8_t *frame = c->waiting;
        conn_request(c, frame, c->waiting_len, sim.now_us >= c->wait_until_us);
        if (!c->wait_until_us) {
            c->waiting = NULL;
            free(frame);
        }
        return;
    }
    conn_work(c);
}

static void on_data(void *arg)
{
    struct broker_conn *c = arg;
    if (c->barred)
        sim_violation("bytes of client %u reach broker %d after its revocation", c->client,
                      BROKER_ID(c->broker));
    conn_work(c);
}

static void on_ended(void *arg, bool cut)
{
    conn_close(arg, cut);
}

static const struct net_actor actor = {.data = on_data, .ended = on_ended};

static bool on_connect(uint32_t ip, uint16_t port, struct net_conn *net)
{
    unsigned b = (ip & 0xff) - 1;
    if (b >= WORLD_BROKERS || port != BROKER_PORT || !world.brokers[b].up || world.brokers[b].full)
        return false;
    struct broker_conn *c = calloc(1, sizeof(*c));
    struct net_weather w = net_some_weather(world.calm);
    c->next = conns;
    conns = c;
    c->net = net;
    c->broker = b;
    sim_event_init(&c->later, on_later, c);
    net_bind(net, &w, &actor, c);
    return true;
}

static bool on_hole(uint32_t ip)
{
    unsigned b = (ip & 0xff) - 1;
    return b < WORLD_BROKERS && world.brokers[b].hole;
}

static uint32_t name_to_address(const char *host)
{
    if (!world.calm && sim_chance(2))
        return 0;
    unsigned id = host[0] == 'b' ? (unsigned)strtoul(host + 1, NULL, 10) : 0;
    return id > 100 && id <= 100 + WORLD_BROKERS ? 0x0a000000u + id - 100 : 0;
}

void brokers_begin(void)
{
    net_listen(on_connect);
    net_holes(on_hole);
    parts_names(name_to_address);
}

void brokers_end(void)
{
    while (conns) {
        struct broker_conn *c = conns;
        conns = c->next;
        sim_event_cancel(&c->later);
        free(c->answer);
        free(c->waiting);
        free(c);
    }
}

void broker_die(unsigned broker)
{
    for (struct broker_conn *c = conns; c; c = c->next)
        if (c->broker == broker)
            conn_close(c, true);
}

void brokers_bar(unsigned client)
{
    for (struct broker_conn *c = conns; c; c = c->next) {
        if (c->client == client && !c->ended) {
            c->barred = true;
            net_bar(c->net);
        }
    }
}
