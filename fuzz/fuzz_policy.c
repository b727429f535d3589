/* One request of a client that has been let in: the first byte is what the grant allows, then API,
 * version and body. Brokers answer whatever they are asked with no error. Nothing that is not
 * granted may reach a broker (fuzz/world_judge.c), and the client gets its answer: each topic that
 * it named stands in it once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json.h"
#include "fuzz/mutate.h"
#include "fuzz/world.h"
#include "proxy/api.h"

#define HEAD_BYTES 3
#define ROUNDS     64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_layout l = {HEAD_BYTES, 1, 2, 2, 0x80, false};

    return mutate_input(&l, data, size, max, seed);
}

/* The first answer as a tree, while its bytes are still there. */
static bool first_answer(struct msg *m, struct arena *a, struct buf *b)
{
    const struct world_request *r = &world.requests[0];
    uint8_t len[4];
    size_t n, off = schema_response_header(r->api, r->version) == 1 ? 9 : 8;

    if (world.got.len < off)
        return false;
    buf_copy_out(&world.got, 0, len, 4);
    n = 4 + ((size_t)len[0] << 24 | (size_t)len[1] << 16 | (size_t)len[2] << 8 | len[3]);
    if (world.got.len < n)
        return false;
    if (buf_share(b, &world.got, 0, n) != OK)
        abort();
    return msg_decode(m, a, schema_find(r->api, false), r->version, b, off, n - off, NULL) == OK;
}

static bool is_zero(const struct node *id)
{
    static const uint8_t none[16];

    return memcmp(id->u.uuid, none, sizeof(none)) == 0;
}

/* Whether u answers to t, by name or, where one was sent, by id. */
static bool answers(const struct node *t, const struct node *u)
{
    const struct node *id = node_role(t, ROLE_TOPIC_ID);
    const struct node *name = node_role(t, ROLE_TOPIC);

    return (name && !name->null && node_str_eq(name, node_role(u, ROLE_TOPIC))) ||
           (id && (!name || name->null || !is_zero(id)) &&
            node_str_eq(id, node_role(u, ROLE_TOPIC_ID)));
}

static bool same_topic(const struct node *a, const struct node *b)
{
    const struct node *name = node_role(a, ROLE_TOPIC), *id = node_role(a, ROLE_TOPIC_ID);
    const struct node *theirs = node_role(b, ROLE_TOPIC);

    if (name && id && (name->null || name->u.str.len == 0) && is_zero(id))
        return false; /* one may be no name, another no id */
    if (name && !(name->null && theirs->null) && !node_str_eq(name, theirs))
        return false;
    return !id || node_str_eq(id, node_role(b, ROLE_TOPIC_ID));
}

static void show(const struct msg *m)
{
    json_t *o = json_from_msg(m, 0);

    fprintf(stderr, "%s %d ", m->schema->name, m->version);
    json_dumpf(o, stderr, JSON_COMPACT);
    fputc('\n', stderr);
    json_decref(o);
}

static bool answered(const struct node *topic, const struct node *told)
{
    ARRAY_EACH (u, told) {
        if (answers(topic, u))
            return true;
    }
    return false;
}

static bool unique(const struct node *told)
{
    ARRAY_EACH (t, told) {
        for (const struct node *u = t->next; u; u = u->next)
            if (same_topic(t, u))
                return false;
    }
    return true;
}

/* Each topic of the request, and none twice, when the answer is about topics at all. */
static void check_topics(const struct api_rule *rule, const struct msg *request,
                         const struct msg *reply)
{
    const struct node *asked = node_get(request->root, rule->topics);
    const struct node *told = node_get(reply->root, rule->reply_topics);
    bool all = true;

    if (!asked || !told || node_num(reply->root, F_ERROR_CODE, 0) != 0)
        return;
    /* Names in front of a cursor are passed over, and so may be a topic without partitions; Kafka's
     * own error response of OffsetFetch, which stands for a broker here, names none. */
    ARRAY_EACH (t, asked) {
        const struct node *parts = rule->partitions ? node_get(t, rule->partitions) : NULL;
        bool may_lack =
            node_get(request->root, F_CURSOR) || (parts && !parts->child) || rule->api == 9;
        all = all && (may_lack || answered(t, told));
    }
    if (all && unique(told))
        return;
    show(request);
    show(reply);
    world_must(false, all ? "a topic twice in the answer" : "a topic without an answer");
}

static void check_answer(const uint8_t *body, size_t n)
{
    const struct world_request *r = &world.requests[0];
    const struct api_rule *rule = api_find(r->api);
    struct arena a;
    struct buf in, b;
    struct msg request, reply;

    arena_init(&a, (size_t)64 << 20);
    buf_init(&in, n);
    buf_init(&b, SIZE_MAX / 2);
    if (rule && rule->topics && rule->reply_topics && buf_append(&in, body, n) == OK &&
        msg_decode(&request, &a, schema_find(r->api, true), r->version, &in, 0, n, NULL) == OK &&
        first_answer(&reply, &a, &b))
        check_topics(rule, &request, &reply);
    buf_release(&b);
    buf_release(&in);
    arena_release(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct message *m;
    int version;

    if (size < HEAD_BYTES || size > 65536)
        return -1;
    version = data[2];
    m = schema_find(data[1], true);
    if (!m || !api_find(data[1]) || !versions_has(m->versions, version))
        return -1;
    world_begin(data[0] & 15 ? data[0] & 15 : OP_READ);
    world.leader = data[0] & 16 ? -1 : 1;
    world.hold = true;
    world_connect();
    world_enter();
    world_ask(data[1], version, data + HEAD_BYTES, size - HEAD_BYTES);
    world_turn();
    for (unsigned n = 0; n < ROUNDS && world.session && world.got.len == 0; n++) {
        world_lookups();
        while (world_answer(-1, 0, NULL, 0))
            ;
        world_pass(world.loop, 100000);
        if (n == ROUNDS / 2) /* a Fetch does not wait when something stands behind it */
            world_ask(18, 0, NULL, 0);
        world_turn();
    }
    world_must(!world.session || world.got.len > 0, "a request without an answer");
    if (world.got.len > 0)
        check_answer(data + HEAD_BYTES, size - HEAD_BYTES);
    world.hold = false;
    world_end();
    return 0;
}
