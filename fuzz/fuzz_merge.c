/* Several brokers' answers to one request become one. A script (fuzz/mutate.h): the first step is
 * the request, each further one a broker's answer to it, or with the lowest bit of `what` a broker
 * that has failed with some code. Whatever comes: the answer is canonical, lists each topic once
 * and has every part of every answer, and what a lost broker was asked for stands in it with the
 * error. */
#include <stdlib.h>
#include <string.h>

#include "codec/json.h"
#include "fuzz/mutate.h"
#include "proxy/exchange.h"

#define PARTS_MAX   8
#define LIMIT_BYTES ((size_t)32 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

/* Half of the time another answer to the request, so that there are some that fit. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static uint8_t body[4096];
    struct mutate_rng r = {seed};
    struct script_step s;
    const uint8_t *p = data;
    const struct message *m;
    size_t left = size, n;

    if (mutate_rand(&r, 3) == 0 && script_next(&p, &left, &s) &&
        (m = schema_find(s.api, false)) != NULL && versions_has(m->versions, s.version)) {
        n = mutate_new(&r, m, s.version, body, sizeof(body));
        if (n + SCRIPT_STEP_BYTES <= max - size) {
            data[size] = (uint8_t)mutate_rand(&r, 256) & 0xfe;
            data[size + 1] = s.api;
            data[size + 2] = (uint8_t)(s.version | 0x80);
            data[size + 3] = (uint8_t)(n >> 8);
            data[size + 4] = (uint8_t)n;
            memcpy(data + size + SCRIPT_STEP_BYTES, body, n);
            return size + SCRIPT_STEP_BYTES + n;
        }
    }
    return mutate_script(data, size, max, seed);
}

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "merge: %s\n", what);
    abort();
}

static bool decode(struct msg *m, struct arena *a, struct buf *b, const struct script_step *s,
                   int api, int version, bool request)
{
    const struct message *schema = schema_find(api, request);

    buf_init(b, s->len);
    return buf_append(b, s->body, s->len) == OK &&
           msg_decode(m, a, schema, version, b, 0, s->len, NULL) == OK;
}

/* --- what there is to be kept: parts of topics, or items of a list */

static size_t count_parts(const struct exchange *ex, const struct msg *m, enum field_name topics,
                          enum field_name partitions, enum field_name items)
{
    size_t n = 0;

    if (ex->rule->route != ROUTE_LEADER) {
        const struct node *list = items ? node_get(m->root, items) : NULL;
        return list ? list->count : 0;
    }
    ARRAY_EACH (t, node_get(m->root, topics)) {
        const struct node *parts = node_get(t, partitions);
        n += parts ? parts->count : 0;
    }
    return n;
}

static size_t in_answer(const struct exchange *ex, const struct msg *m)
{
    return count_parts(ex, m, ex->rule->reply_topics, ex->rule->reply_partitions,
                       ex->rule->reply_items);
}

static size_t in_request(const struct exchange *ex, const struct msg *m)
{
    return count_parts(ex, m, ex->rule->topics, ex->rule->partitions, ex->rule->items);
}

static void check_topics(const struct exchange *ex)
{
    const struct node *topics = node_get(ex->reply.root, ex->rule->reply_topics);

    ARRAY_EACH (t, topics) {
        const struct node *name = node_role(t, ROLE_TOPIC);
        const struct node *id = node_role(t, ROLE_TOPIC_ID);
        for (const struct node *u = t->next; u; u = u->next) {
            bool same = name ? node_str_eq(name, node_role(u, ROLE_TOPIC))
                             : id && node_str_eq(id, node_role(u, ROLE_TOPIC_ID));
            must(!same, "a topic twice");
        }
    }
}

static void check(struct exchange *ex, size_t want, int64_t throttle)
{
    struct arena a;
    struct buf out, again;
    struct msg back;

    arena_init(&a, LIMIT_BYTES);
    buf_init(&out, LIMIT_BYTES);
    buf_init(&again, LIMIT_BYTES);
    must(node_num(ex->reply.root, F_THROTTLE_TIME_MS, throttle) == throttle, "another throttle");
    must(in_answer(ex, &ex->reply) == want, "a part is lost, or made up");
    if (ex->rule->route == ROUTE_LEADER && ex->parts->next)
        check_topics(ex);
    must(msg_encode(&ex->reply, &out) == OK, "an answer that cannot be written");
    must(msg_decode(&back, &a, ex->reply.schema, ex->reply.version, &out, 0, out.len, NULL) == OK &&
             msg_encode(&back, &again) == OK && again.len == out.len,
         "an answer that is not canonical");
    buf_release(&again);
    buf_release(&out);
    arena_release(&a);
}

/* --- the parts */

static bool add_part(struct exchange *ex, struct part *p, const struct script_step *s)
{
    memset(p, 0, sizeof(*p));
    p->ex = ex;
    p->request = ex->request;
    if (s->what & 1) {
        p->error = s->what & 2 ? KAFKA_NOT_LEADER_OR_FOLLOWER : KAFKA_COORDINATOR_NOT_AVAILABLE;
        return true;
    }
    p->answered = decode(&p->answer, &ex->arena, &p->frame, s, ex->request.schema->api,
                         ex->request.version, false);
    return p->answered;
}

static int64_t largest_throttle(const struct exchange *ex)
{
    int64_t most = INT64_MIN;

    for (const struct part *p = ex->parts; p; p = p->next)
        if (p->answered && node_num(p->answer.root, F_THROTTLE_TIME_MS, 0) > most)
            most = node_num(p->answer.root, F_THROTTLE_TIME_MS, 0);
    return most == INT64_MIN ? 0 : most;
}

static void run(struct exchange *ex, const uint8_t *data, size_t size)
{
    struct part parts[PARTS_MAX];
    struct script_step s;
    size_t n = 0, want = 0, lost = in_request(ex, &ex->request);

    while (n < PARTS_MAX && script_next(&data, &size, &s)) {
        struct part *p = &parts[n];
        if (!add_part(ex, p, &s)) {
            buf_release(&p->frame);
            continue;
        }
        if (n > 0)
            parts[n - 1].next = p;
        n++;
        want += p->answered ? in_answer(ex, &p->answer) : lost;
    }
    ex->parts = n ? parts : NULL;
    /* Several answers alone; one is taken as it is, or becomes one error. */
    if (n > 1) {
        int64_t throttle = largest_throttle(ex);
        int err = merge_parts(ex);
        must(err == OK || err == ERR_LIMIT || err == ERR_UNKNOWN, "not joined");
        if (err == OK)
            check(ex, want, throttle);
    }
    ex->parts = NULL;
    for (size_t i = 0; i < n; i++)
        buf_release(&parts[i].frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct exchange ex = {0};
    struct script_step s;

    if (size > 65536 || !script_next(&data, &size, &s))
        return -1;
    ex.rule = api_find(s.api);
    if (!ex.rule || !versions_has(ex.rule->offered, s.version) || !schema_find(s.api, true) ||
        (ex.rule->route != ROUTE_LEADER && ex.rule->route != ROUTE_GROUP &&
         ex.rule->route != ROUTE_ALL))
        return -1;
    arena_init(&ex.arena, LIMIT_BYTES);
    if (decode(&ex.request, &ex.arena, &ex.frame, &s, s.api, s.version, true))
        run(&ex, data, size);
    buf_release(&ex.frame);
    arena_release(&ex.arena);
    buf_thread_trim();
    return 0;
}
