/* Random requests, made over the schema: every field gets a value by its role, so what is granted
 * is asked for as often as there is a place for it, in every API and version. Where a request must
 * make sense to be interesting (Fetch, Produce, Metadata), its values are set afterwards. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

#define ELEMENTS_MAX 3
#define STACK_MAX    256
#define RECORDS_MAX  40000
/* No more large ones behind that many: the smallest limit of a frame is 128 KiB. */
#define FRAME_RECORDS 60000

struct maker {
    const struct request_wish *w;
    struct asked *asked;
    struct msg m;
    struct arena arena;
    struct buf records;
    struct node *stack[STACK_MAX]; /* structs whose fields are to be filled */
    unsigned depth;
    const struct topic *topic; /* the last one that was named */
};

static void must(int rc)
{
    if (rc != OK)
        sim_violation("a client cannot make its request: %s", err_name(rc));
}

static const struct topic *some_topic(const struct maker *k)
{
    if (k->w->foreign && sim_chance(50))
        return &world.topics[sim_below(WORLD_TOPICS)];
    for (;;) {
        unsigned i = (unsigned)sim_below(WORLD_TOPICS);
        if (k->w->rights->topics & 1u << i)
            return &world.topics[i];
    }
}

static const char *some_name(const struct maker *k, char *out, size_t n)
{
    const struct rights *r = k->w->rights;
    if (k->w->foreign && sim_chance(50))
        r = &world.transfers[sim_below(WORLD_TRANSFERS)].rights;
    if (k->w->foreign && sim_chance(10))
        snprintf(out, n, "%.*s", (int)strlen(r->prefix) - 1, r->prefix);
    else
        snprintf(out, n, "%s-g%lu", r->prefix, (unsigned long)sim_below(3));
    return out;
}

/* The text for a string field or element of this role; NULL: keep the default. */
static const char *some_text(struct maker *k, const struct field *f, char *out, size_t n)
{
    switch (f->role) {
    case ROLE_TOPIC:
        k->topic = some_topic(k);
        k->asked->named |= 1u << world_topic_index(k->topic);
        return k->w->foreign && sim_chance(10) ? "__consumer_offsets" : k->topic->name;
    case ROLE_GROUP:
    case ROLE_TXN:
        return some_name(k, out, n);
    case ROLE_KEY:
        if (k->w->api != 32)
            return some_name(k, out, n);
        k->topic = some_topic(k);
        k->asked->named |= 1u << world_topic_index(k->topic);
        return k->topic->name;
    case ROLE_REGEX:
        return sim_chance(30) ? "t.*" : NULL;
    case ROLE_PRINCIPAL:
        return "member-1";
    case ROLE_NONE:
    case ROLE_TOPIC_ID:
    case ROLE_BROKER:
    case ROLE_HOST:
    case ROLE_PORT:
    case ROLE_RACK:
    case ROLE_CLUSTER:
    case ROLE_OPAQUE:
    case ROLE_TEXT:
    case ROLE_RECORDS:
    case ROLE_SECRET:
    case ROLE_ERROR:
    case ROLE_PARTITION:
    case ROLE_OPS:
    case ROLE_REPLICA:
    case ROLE_THROTTLE:
        return sim_chance(20) ? "range" : NULL;
    }
    return NULL;
}

static const uint8_t *some_id(struct maker *k)
{
    static const uint8_t unknown[16] = "nobody knows it";
    k->topic = some_topic(k);
    return k->w->foreign && sim_chance(20) ? unknown : k->topic->id;
}

static int64_t some_number(const struct maker *k, const struct field *f)
{
    if (f->role == ROLE_PARTITION)
        return (int64_t)sim_below((uint64_t)(k->topic ? k->topic->npartitions : 1));
    if (f->role == ROLE_REPLICA || f->role == ROLE_BROKER)
        return f->default_int;
    if (f->type == TYPE_BOOL)
        return (int64_t)sim_below(2);
    return sim_chance(60) ? f->default_int : (int64_t)sim_below(4);
}

static void fill_element(struct maker *k, struct node *array)
{
    const struct field *f = array->field;
    char text[64];
    if (f->type == TYPE_STRUCT) {
        struct node *e = array_add(&k->m, array);
        if (!e)
            sim_violation("a client has no memory");
        if (k->depth < STACK_MAX)
            k->stack[k->depth++] = e;
    } else if (f->type == TYPE_STRING) {
        const char *s = some_text(k, f, text, sizeof(text));
        s = s ? s : "x";
        must(array_add_str(&k->m, array, (const uint8_t *)s, strlen(s)));
    } else if (f->type == TYPE_UUID) {
        must(array_add_uuid(&k->m, array, some_id(k)));
    } else {
        must(array_add_num(&k->m, array, some_number(k, f)));
    }
}

static void fill_field(struct maker *k, struct node *st, struct node *n)
{
    const struct field *f = n->field;
    char text[64];
    const char *s;
    if (node_is_array(n)) {
        uint64_t count = sim_between(1, ELEMENTS_MAX);
        if (n->null && sim_chance(50))
            return;
        n->null = false;
        for (uint64_t i = 0; i < count; i++)
            fill_element(k, n);
    } else if (f->type == TYPE_STRUCT) {
        if (!n->null && k->depth < STACK_MAX)
            k->stack[k->depth++] = n;
    } else if (f->type == TYPE_STRING) {
        s = n->null && sim_chance(50) ? NULL : some_text(k, f, text, sizeof(text));
        if (s)
            must(node_set_text(&k->m, st, f->id, s));
    } else if (f->type == TYPE_UUID) {
        must(node_set_uuid(&k->m, st, f->id, some_id(k)));
    } else if (f->type != TYPE_BYTES && f->type != TYPE_RECORDS && f->type != TYPE_FLOAT64) {
        n->u.num = some_number(k, f);
    }
}

static void fill(struct maker *k)
{
    k->stack[k->depth++] = k->m.root;
    while (k->depth > 0) {
        struct node *st = k->stack[--k->depth], *next;
        for (struct node *n = st->child; n; n = next) {
            next = n->next;
            fill_field(k, st, n);
        }
    }
}

/* --- requests that must make sense */

void request_records(unsigned client, uint32_t sequence, unsigned topic, int32_t partition,
                     uint8_t *out, size_t n)
{
    uint32_t head[6] = {0x44525052u, client, sequence, topic, (uint32_t)partition, (uint32_t)n};
    memcpy(out, head, PRODUCED_HEAD);
    sim_fill(out + PRODUCED_HEAD, n - PRODUCED_HEAD,
             sim_mix(sim_mix(client, sequence), topic * 64 + head[4]));
}

static const struct topic *topic_of(const struct node *t, enum field_name name)
{
    const struct node *n = node_get(t, name), *id = node_get(t, F_TOPIC_ID);
    if (n)
        return n->null ? NULL : world_topic(n->u.str.p, n->u.str.len);
    return id ? world_topic_by_id(id->u.uuid) : NULL;
}

static void put_records(struct maker *k, const struct topic *t, struct node *p)
{
    static uint8_t bytes[RECORDS_MAX];
    struct node *r = node_get(p, F_RECORDS);
    bool large = sim_chance(k->w->bulk ? 80 : 15) && k->records.len < FRAME_RECORDS;
    size_t n = PRODUCED_HEAD + (size_t)sim_below(large ? RECORDS_MAX - PRODUCED_HEAD : 400);
    if (t)
        request_records(k->w->client, (*k->w->sequence)++, world_topic_index(t),
                        (int32_t)node_num(p, F_INDEX, 0), bytes, n);
    size_t at = k->records.len;
    must(buf_append(&k->records, bytes, n));
    r->null = false;
    r->u.records = arena_zalloc(&k->arena, sizeof *r->u.records);
    r->u.records->src = &k->records;
    r->u.records->off = at;
    r->u.records->len = (uint32_t)n;
}

static void make_produce(struct maker *k)
{
    static const int acks[] = {0, 1, -1, -1};
    bool may = k->w->foreign || k->w->rights->operations & OP_WRITE;
    int64_t a = acks[may ? sim_below(4) : 1 + sim_below(3)];
    must(node_set_num(&k->m, k->m.root, F_ACKS, a));
    must(node_set_num(&k->m, k->m.root, F_TIMEOUT_MS, (int64_t)sim_between(100, 4000)));
    if (sim_chance(80))
        must(node_set_null(&k->m, k->m.root, F_TRANSACTIONAL_ID));
    k->asked->silent = a == 0;
    ARRAY_EACH (t, node_get(k->m.root, F_TOPIC_DATA))
        ARRAY_EACH (p, node_get(t, F_PARTITION_DATA))
            put_records(k, topic_of(t, F_NAME), p);
}

static void fetch_part(struct maker *k, const struct topic *t, struct node *p)
{
    int64_t index = node_num(p, F_PARTITION, 0);
    int64_t end = t && index < WORLD_PARTITIONS ? t->p[index].end : 0;
    int64_t from = sim_chance(30) ? end : (int64_t)sim_below((uint64_t)end + 1);
    must(node_set_num(&k->m, p, F_CURRENT_LEADER_EPOCH, -1));
    must(node_set_num(&k->m, p, F_FETCH_OFFSET, from));
    must(node_set_num(&k->m, p, F_LAST_FETCHED_EPOCH, -1));
    must(node_set_num(&k->m, p, F_LOG_START_OFFSET, -1));
    must(node_set_num(&k->m, p, F_PARTITION_MAX_BYTES, (int64_t)sim_between(1, 150000)));
    if (t && k->asked->nfetch < sizeof(k->asked->fetch) / sizeof(k->asked->fetch[0])) {
        unsigned i = k->asked->nfetch++;
        k->asked->fetch[i].topic = t;
        k->asked->fetch[i].partition = (int32_t)index;
        k->asked->fetch[i].offset = from;
    }
}

static void make_fetch(struct maker *k)
{
    struct node *root = k->m.root, *forgotten = node_get(root, F_FORGOTTEN_TOPICS_DATA);
    must(node_set_num(&k->m, root, F_MAX_WAIT_MS, (int64_t)sim_below(800)));
    must(node_set_num(&k->m, root, F_MIN_BYTES, (int64_t)sim_below(2)));
    must(node_set_num(&k->m, root, F_MAX_BYTES, (int64_t)sim_between(1000, 400000)));
    must(node_set_num(&k->m, root, F_SESSION_ID, 0));
    must(node_set_num(&k->m, root, F_SESSION_EPOCH, sim_chance(50) ? 0 : -1));
    if (forgotten && !k->w->foreign)
        array_clear(forgotten);
    ARRAY_EACH (t, node_get(root, F_TOPICS))
        ARRAY_EACH (p, node_get(t, F_PARTITIONS))
            fetch_part(k, topic_of(t, F_TOPIC), p);
}

static void make_metadata(struct maker *k)
{
    static const uint8_t zero[16];
    ARRAY_EACH (t, node_get(k->m.root, F_TOPICS)) {
        if (k->m.version >= 12 && sim_chance(50))
            must(node_set_null(&k->m, t, F_NAME));
        else
            must(node_set_uuid(&k->m, t, F_TOPIC_ID, zero));
        struct node *name = node_get(t, F_NAME);
        if (name && name->null && k->m.version < 12)
            must(node_set_text(&k->m, t, F_NAME, some_topic(k)->name));
        if (name && !name->null && world_topic(name->u.str.p, name->u.str.len))
            k->asked->named |= 1u << world_topic_index(world_topic(name->u.str.p, name->u.str.len));
    }
}

static void make_sense(struct maker *k)
{
    if (k->w->api == 0)
        make_produce(k);
    else if (k->w->api == 1)
        make_fetch(k);
    else if (k->w->api == 3)
        make_metadata(k);
    else if (k->w->api == 10)
        must(node_set_num(&k->m, k->m.root, F_KEY_TYPE, (int64_t)sim_below(2)));
    else if (k->w->api == 32)
        ARRAY_EACH (r, node_get(k->m.root, F_RESOURCES))
            must(node_set_num(&k->m, r, F_RESOURCE_TYPE, k->w->foreign ? sim_chance(80) * 2 : 2));
}

/* --- what must be answered part by part */

/* Where topics and partitions stand in the request and the answer. */
static const struct parts_shape {
    int api;
    enum field_name topics, name, partitions, index;
    enum field_name answer_topics, answer_name, answer_partitions, answer_index;
} shapes[] = {
    {0, F_TOPIC_DATA, F_NAME, F_PARTITION_DATA, F_INDEX, F_RESPONSES, F_NAME, F_PARTITION_RESPONSES,
     F_INDEX},
    {1, F_TOPICS, F_TOPIC, F_PARTITIONS, F_PARTITION, F_RESPONSES, F_TOPIC, F_PARTITIONS,
     F_PARTITION_INDEX},
    {2, F_TOPICS, F_NAME, F_PARTITIONS, F_PARTITION_INDEX, F_TOPICS, F_NAME, F_PARTITIONS,
     F_PARTITION_INDEX},
    {8, F_TOPICS, F_NAME, F_PARTITIONS, F_PARTITION_INDEX, F_TOPICS, F_NAME, F_PARTITIONS,
     F_PARTITION_INDEX},
    {23, F_TOPICS, F_TOPIC, F_PARTITIONS, F_PARTITION, F_TOPICS, F_TOPIC, F_PARTITIONS,
     F_PARTITION},
    {28, F_TOPICS, F_NAME, F_PARTITIONS, F_PARTITION_INDEX, F_TOPICS, F_NAME, F_PARTITIONS,
     F_PARTITION_INDEX},
};

static const struct parts_shape *shape_of(int api)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        if (shapes[i].api == api)
            return &shapes[i];
    return NULL;
}

static void note_part(struct asked *a, const struct topic *t, int32_t partition)
{
    for (unsigned i = 0; i < a->nparts; i++) {
        if (a->parts[i].topic == t && a->parts[i].partition == partition) {
            a->twice = true;
            return;
        }
    }
    if (a->nparts == sizeof(a->parts) / sizeof(a->parts[0]))
        return;
    a->parts[a->nparts].topic = t;
    a->parts[a->nparts].incarnation = t->incarnation;
    a->parts[a->nparts++].partition = partition;
}

static void note_parts(struct asked *a, const struct msg *m)
{
    const struct parts_shape *s = shape_of(a->api);
    if (!s)
        return;
    ARRAY_EACH (t, node_get(m->root, s->topics)) {
        const struct topic *topic = topic_of(t, s->name);
        ARRAY_EACH (p, node_get(t, s->partitions))
            if (topic)
                note_part(a, topic, (int32_t)node_num(p, s->index, -1));
    }
}

static unsigned count_part(const struct parts_shape *s, const struct msg *m, const struct topic *of,
                           int32_t partition)
{
    unsigned n = 0;
    ARRAY_EACH (t, node_get(m->root, s->answer_topics)) {
        if (topic_of(t, s->answer_name) != of)
            continue;
        ARRAY_EACH (p, node_get(t, s->answer_partitions))
            n += node_num(p, s->answer_index, -1) == partition;
    }
    return n;
}

void request_answered(unsigned client, const struct asked *a, const struct msg *answer)
{
    const struct parts_shape *s = shape_of(a->api);
    /* A Fetch that fails as a whole has no parts. */
    if (!s || a->mangled || (a->api == 1 && node_num(answer->root, F_ERROR_CODE, 0) != 0))
        return;
    for (unsigned i = 0; i < a->nparts; i++) {
        const struct topic *t = a->parts[i].topic;
        unsigned n = count_part(s, answer, t, a->parts[i].partition);
        if (t->incarnation != a->parts[i].incarnation) /* its id is another now */
            continue;
        if (n == 0 || (n > 1 && !a->twice))
            sim_violation("client %u: API %d version %d: %s-%d is answered %u times", client,
                          a->api, a->version, t->name, a->parts[i].partition, n);
    }
}

uint8_t *request_make(const struct request_wish *w, struct asked *a, size_t *n)
{
    struct maker k = {.w = w, .asked = a};
    struct buf out;
    char client_id[16];
    int32_t correlation = a->correlation;
    *a = (struct asked){
        .api = (int16_t)w->api, .version = (int16_t)w->version, .correlation = correlation};
    arena_init(&k.arena, (size_t)16 * 1024 * 1024);
    buf_init(&k.records, SIZE_MAX);
    buf_init(&out, SIZE_MAX);
    must(msg_new(&k.m, &k.arena, schema_find(w->api, true), w->version));
    fill(&k);
    make_sense(&k);
    note_parts(a, &k.m);
    snprintf(client_id, sizeof(client_id), "c%u", w->client);
    must(msg_encode_request(&k.m, correlation, client_id, &out));
    uint8_t *flat = malloc(out.len);
    *n = out.len;
    buf_copy_out(&out, 0, flat, out.len);
    buf_release(&out);
    buf_release(&k.records);
    arena_release(&k.arena);
    return flat;
}
