#include "tests/unit/unit.h"

#include "proxy/api.h"
#include "tests/unit/gate_bed.h"

static struct client c;

/* --- an answer full of what a client must not see */

#define LEAK "leak.example.net"

static json_t *poison(const struct field *rows, uint16_t n, int version, bool flexible,
                      bool request);

static json_t *poison_value(const struct field *f, int version, bool flexible, bool request)
{
    switch (f->role) {
    case ROLE_TOPIC:
        return json_string("t2");
    case ROLE_TOPIC_ID:
        return json_string(ID_B);
    case ROLE_GROUP:
    case ROLE_TXN:
        return json_string("bob1");
    case ROLE_KEY:
        return json_string(f->id == F_RESOURCE_NAME ? "t2" : "bob1");
    case ROLE_BROKER:
        return json_integer(77);
    case ROLE_PORT:
        return json_integer(6667);
    case ROLE_REPLICA:
        return json_integer(-1);
    case ROLE_HOST:
    case ROLE_RACK:
    case ROLE_CLUSTER:
    case ROLE_TEXT:
    case ROLE_REGEX:
        return json_string(request ? "" : LEAK);
    case ROLE_NONE:
    case ROLE_PRINCIPAL:
    case ROLE_OPAQUE:
    case ROLE_RECORDS:
    case ROLE_SECRET:
    case ROLE_ERROR:
    case ROLE_PARTITION:
    case ROLE_OPS:
    case ROLE_THROTTLE:
        break;
    }
    switch (f->type) {
    case TYPE_STRUCT:
        return poison(f->fields, f->nfields, version, flexible, request);
    case TYPE_STRING:
    case TYPE_BYTES:
        return json_string("text");
    case TYPE_UUID:
        return json_string("z");
    case TYPE_RECORDS:
        return json_integer(10);
    case TYPE_BOOL:
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_UINT16:
    case TYPE_INT32:
    case TYPE_UINT32:
    case TYPE_INT64:
    case TYPE_FLOAT64:
        break;
    }
    if (f->role == ROLE_OPS)
        return json_integer(0x7777);
    if (f->id == F_RESOURCE_TYPE || f->id == F_ENDPOINT_TYPE)
        return json_integer(f->id == F_RESOURCE_TYPE ? 2 : 1);
    return json_integer(0);
}

/* Every field of the version, tagged ones and one unknown tag as well; arrays of one element. */
static json_t *poison(const struct field *rows, uint16_t n, int version, bool flexible,
                      bool request)
{
    json_t *o = json_object();
    for (uint16_t i = 0; i < n; i++) {
        const struct field *f = &rows[i];
        bool tagged = flexible && versions_has(f->tagged, version);
        json_t *v;
        if (!versions_has(f->versions, version) || (request && tagged))
            continue;
        v = poison_value(f, version, flexible, request);
        if (f->array)
            v = json_pack("[o]", v);
        json_object_set_new(o, f->name, v);
    }
    if (flexible && !request)
        json_object_set_new(o, "_tags", json_pack("[[is]]", 99, LEAK));
    return o;
}

static char *poisoned(int api, int version, bool request)
{
    const struct message *m = schema_find(api, request);
    json_t *j = poison(m->fields, m->nfields, version, message_flexible(m, version), request);
    if (request && api == 1) {
        json_object_set_new(j, "maxWaitMs", json_integer(100));
        json_object_set_new(j, "sessionEpoch", json_integer(-1));
        json_object_set_new(j, "forgottenTopicsData", json_array());
    }
    if (request && api == 3 && version >= 10) /* by name, or by id */
        json_object_set_new(json_array_get(json_object_get(j, "topics"), 0),
                            version >= 12 ? "name" : "topicId",
                            version >= 12 ? json_null() : json_string(""));
    if (request && api == 0)
        json_object_set_new(j, "acks", json_integer(1));
    if (request && (api == 75 || api == 68))
        json_object_del(j, api == 75 ? "cursor" : "subscribedTopicRegex");
    char *text = json_dumps(j, 0);
    json_decref(j);
    return text;
}

static void check_node(int api, int version, const struct node *n)
{
    const struct field *f = n->field;
    bool ok = true;
    if (!f || n->null || (f->array && !n->element))
        return;
    switch (f->role) {
    case ROLE_BROKER:
        ok = n->u.num == 0 || n->u.num == -1;
        break;
    case ROLE_PORT:
        ok = n->u.num == 9093 || n->u.num == -1;
        break;
    case ROLE_HOST:
        ok = node_str_is(n, "gate.example.com") || node_str_is(n, "");
        break;
    case ROLE_RACK:
    case ROLE_REGEX:
        ok = node_str_is(n, "");
        break;
    case ROLE_CLUSTER:
        ok = node_str_is(n, "virtual");
        break;
    case ROLE_OPS: /* read, write and describe of the grant, delete of a group; or not asked for */
        ok = n->u.num == INT32_MIN || n->u.num == 0 || n->u.num == 1304 || n->u.num == 328;
        break;
    case ROLE_TEXT:
        ok = !memmem(n->u.str.p, n->u.str.len, "leak", 4);
        break;
    case ROLE_NONE:
    case ROLE_TOPIC:
    case ROLE_TOPIC_ID:
    case ROLE_GROUP:
    case ROLE_TXN:
    case ROLE_PRINCIPAL:
    case ROLE_OPAQUE:
    case ROLE_KEY:
    case ROLE_RECORDS:
    case ROLE_SECRET:
    case ROLE_ERROR:
    case ROLE_PARTITION:
    case ROLE_REPLICA:
    case ROLE_THROTTLE:
        break;
    }
    if (!ok)
        fail_msg("API %d version %d: %s leaks", api, version, f->name);
}

/* Returns the number of fields. */
static unsigned check_frame(int api, int version, const struct octets *w)
{
    struct node_iter it = {0};
    struct buf b;
    struct arena a;
    struct msg m;
    size_t off = schema_response_header(api, version) == 1 ? 9 : 8;
    unsigned nodes = 0;
    buf_init(&b, SIZE_MAX);
    arena_init(&a, 1024 * 1024);
    must(buf_append(&b, w->p, w->n));
    must(msg_decode(&m, &a, schema_find(api, false), version, &b, off, w->n - off, NULL));
    assert_int_equal(m.unknown_tags, 0);
    it.root = m.root;
    for (struct node *n = node_iter_next(&it); n; n = node_iter_next(&it), nodes++)
        check_node(api, version, n);
    if (memmem(w->p, w->n, "leak", 4))
        fail_msg("API %d version %d: it leaks\n%s", api, version, frame_text(api, version, w));
    arena_release(&a);
    buf_release(&b);
    return nodes;
}

/* Every API of the table, every version: what a broker says of itself never reaches a client. */
static void no_leaks(void **state)
{
    size_t count;
    const struct api_rule *rules = api_all(&count);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        const struct api_rule *r = &rules[i];
        if (r->route == ROUTE_LOCAL)
            continue;
        login(&c, "\"read\",\"write\",\"manage\",\"describe_configs\"");
        for (int v = r->offered.min; v <= r->offered.max; v++) {
            char *request = poisoned(r->api, v, true), *theirs = poisoned(r->api, v, false);
            struct octets got;
            ask(&c, r->api, v, request);
            for (int k = 0; k < (r->route == ROUTE_ALL ? 3 : 1); k++) {
                struct asked *a = next_asked();
                if (!a)
                    fail_msg("API %d version %d was not sent: %s", r->api, v, request);
                reply(a, theirs);
            }
            if (!client_frame(&c, &got))
                fail_msg("API %d version %d: no answer to %s", r->api, v, request);
            assert_true(check_frame(r->api, v, &got) > 1);
            free(got.p);
            free(request);
            free(theirs);
        }
        client_close(&c);
        gate_bed_forget();
    }
}

/* The gate's own words, in answers that it gives itself. */
static void own_answers(void **state)
{
    static const int apis[] = {10, 29, 60};
    (void)state;
    login(&c, "\"read\",\"write\"");
    for (unsigned i = 0; i < 3; i++) {
        const struct api_rule *r = api_find(apis[i]);
        for (int v = r->offered.min; v <= r->offered.max; v++) {
            char *request = poisoned(r->api, v, true);
            struct octets got;
            ask(&c, r->api, v, request);
            assert_true(client_frame(&c, &got));
            check_frame(r->api, v, &got);
            free(got.p);
            free(request);
        }
    }
    client_close(&c);
}

/* --- answers that are not answers */

static void bad_answer_ends(const struct octets *w, const char *what, size_t at)
{
    struct asked *a = next_asked();
    assert_non_null(a);
    fake_raw(asked_conn(a), w->p, w->n);
    bed.wants = &c;
    bed.wants_bytes = SIZE_MAX;
    if (!gate_bed_run(&bed, WAIT_MS) || c.t.in.len > 0)
        fail_msg("%s cut at %zu: %zu bytes", what, at, c.t.in.len);
    assert_null(bed.gate->first);
    client_close(&c);
    gate_bed_forget();
}

/* A broker's answer that is cut short, says more than it may, or is not about the question: nothing
 * of it is passed on, and both sides are closed. */
static void malformed(void **state)
{
    struct octets body =
        wire_body(3, false, 9, "{'topics':[{'name':'t2','partitions':[{'replicaNodes':[1]}]}]}");
    (void)state;
    for (size_t n = 0; n <= body.n + 1; n += n + 3 < body.n ? 3 : 1) {
        struct octets cut = {0}, w;
        if (n == body.n)
            continue;
        wire_put(&cut, body.p, n < body.n ? n : body.n);
        if (n > body.n)
            wire_put(&cut, "\0", 1);
        login(&c, NULL);
        ask(&c, 3, 9, "{'topics':[{'name':'t2'}]}");
        struct asked *a = next_asked();
        assert_non_null(a);
        w = wire_response(3, 9, a->h.correlation, &cut);
        bed.ntaken--;
        bad_answer_ends(&w, "Metadata", n);
        free(cut.p);
        free(w.p);
    }
    free(body.p);
    /* Another correlation id; no question at all; too large. */
    for (int i = 0; i < 2; i++) {
        struct octets w = {0};
        login(&c, NULL);
        ask(&c, 3, 9, "{'topics':[{'name':'t2'}]}");
        struct asked *a = next_asked();
        assert_non_null(a);
        bed.ntaken--;
        wire_int(&w, i ? 0x7fffffff : 9, 4);
        wire_int(&w, (uint64_t)(a->h.correlation + !i), 4);
        wire_int(&w, 0, 5);
        bad_answer_ends(&w, "frame", (size_t)i);
        free(w.p);
    }
    assert_true(audited("not legal", NULL) > 10);
}

/* A second answer to a question, when nothing else is asked. */
static void unsolicited(void **state)
{
    unsigned before = audited("nobody asked for", NULL);
    (void)state;
    for (int streamed = 0; streamed < 2; streamed++) {
        struct octets w = {0};
        login(&c, NULL);
        ask(&c, 3, 9, "{'topics':[{'name':'t2'}]}");
        struct asked *a = next_asked();
        assert_non_null(a);
        reply(a, "{'topics':[{'name':'t2','topicId':'b'}]}");
        json_decref(answer(&c));
        bed.ntaken--;
        wire_int(&w, streamed ? 0x10000000 : 9, 4);
        wire_int(&w, (uint64_t)(a->h.correlation + 1), 4);
        wire_int(&w, 0, 5);
        bad_answer_ends(&w, "unsolicited", (size_t)streamed);
        free(w.p);
    }
    assert_int_equal(audited("nobody asked for", NULL), before + 2);
}

/* The code that sends a client elsewhere is meant for us. */
static void rebootstrap(void **state)
{
    (void)state;
    login(&c, NULL);
    ask(&c, 3, 13, "{'topics':[{'name':'t2'}]}");
    reply(next_asked(), "{'errorCode':129}");
    expect(&c, "{'errorCode':-1,'brokers':[{'nodeId':0,'host':'gate.example.com','port':9093}],"
               "'clusterId':'virtual','controllerId':0}");
    client_close(&c);
}

/* What an answer tells of our own map is taken to heart. */
static bool asked_for_metadata(struct gate_bed *b)
{
    return cluster_stats(b->gate->cluster)->refreshes > (uint64_t)b->topic_epoch;
}

static void stale_map(void **state)
{
    (void)state;
    login(&c, NULL);
    settle_ms(150);
    bed.topic_epoch = (int64_t)cluster_stats(bed.gate->cluster)->refreshes;
    ask(&c, 2, 1, "{'topics':[{'name':'t2','partitions':[{}]}]}");
    reply(next_asked(), "{'topics':[{'name':'t2','partitions':[{'errorCode':6}]}]}");
    expect(&c, "{'topics':[{'name':'t2','partitions':[{'errorCode':6}]}]}");
    assert_true(until(asked_for_metadata));
    /* A coordinator that is none any more is looked up anew. */
    ask(&c, 12, 0, "{'groupId':'bob2'}");
    reply(broker_gets(2, 12, 0, "{'groupId':'bob2'}"), "{'errorCode':16}");
    expect(&c, "{'errorCode':16}");
    assert_int_equal(cluster_coordinator(bed.gate->cluster, COORDINATOR_GROUP, "bob2", 4), -1);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        gate_test(no_leaks),    gate_test(own_answers), gate_test(malformed),
        gate_test(unsolicited), gate_test(rebootstrap), gate_test(stale_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
