/* The other way round: what the gate writes is read by Kafka's classes (Reread.java).
 *
 *   conform-gate FILE SEED ROUNDS
 *
 * The whole gate in one loop, scripted brokers behind it. A client asks every API of the gate's
 * table in every version, ROUNDS times each, for granted, foreign, absent and unknown things;
 * brokers answer with anything that the schema allows, or die. So the gate takes parts out of
 * requests, splits them by leader and coordinator, merges answers, hides the cluster in them and
 * makes up refusals. Every frame that a broker gets (the probe's too) and every frame that the
 * client gets goes to FILE, as conform.c reads cases: kind q or r, the whole frame as part a. An
 * API whose version got no answer at all is a failure. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "codec/read.h"
#include "proxy/api.h"
#include "tests/unit/gate_bed.h"

#define ANSWER_MS    15000 /* above the longest that the gate waits for a map */
#define BIG_RECORDS  70000 /* above what a Fetch answer is held whole for */
#define BROKER_DIES  40    /* one answer in so many */
#define VERSIONS_MAX 64
#define OPERATIONS   "\"read\",\"write\",\"manage\",\"describe_configs\""
#define PICK(list)   ((list)[roll(sizeof(list) / sizeof((list)[0]))])

static struct {
    FILE *out;
    uint64_t state;
    unsigned rounds;
    struct client c;
    bool open;
    unsigned long to_brokers, to_clients, closed, split, hidden;
    unsigned long answers[SCHEMA_KEY_MAX + 1][VERSIONS_MAX];
} run;

static unsigned roll(size_t below)
{
    run.state = run.state * 6364136223846793005U + 1442695040888963407U;
    return (unsigned)((run.state >> 33) % below);
}

/* --- what is written down */

static void put_number(uint32_t v, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0;)
        fputc((int)(v >> 8 * i & 0xff), run.out);
}

static void put_case(char kind, int api, int version, const uint8_t *p, size_t n)
{
    put_number((uint8_t)kind, 1);
    put_number((uint16_t)api, 2);
    put_number((uint16_t)version, 2);
    put_number(0, 2);
    put_number((uint32_t)n, 4);
    if (fwrite(p, 1, n, run.out) != n)
        fail_msg("the cases cannot be written");
    put_number(0, 4);
}

/* A frame that a broker got, as it came. */
static void broker_got(struct fake_conn *c, const struct buf *frame)
{
    struct request_head h;
    uint8_t *flat = malloc(frame->len);
    (void)c;
    assert_non_null(flat);
    buf_copy_out(frame, 0, flat, frame->len);
    must(frame_peek(frame, 0, frame->len, &h));
    put_case('q', h.api, h.version, flat, frame->len);
    run.to_brokers++;
    free(flat);
}

/* --- values: anything, but names and groups from a few, so that some are granted */

static json_t *fields(const struct field *rows, uint16_t n, int version, bool flexible,
                      bool request);

static json_t *named(const struct field *f)
{
    static const char *const topics[] = {"t1", "t2", "t1", "t2", "gone", "foreign", "unheard-of"};
    static const char *const ids[] = {ID_A, ID_B, ID_A, ID_B, ID_F, "z", ""};
    static const char *const groups[] = {"bob1", "bob2", "bob3", "bob1", "eve", ""};
    static const char *const keys[] = {"t1", "t2", "bob1", "foreign", "1"};
    static const char *const texts[] = {"", "inner:9092 says no", "broker 7"};
    switch (f->role) {
    case ROLE_TOPIC:
        return json_string(PICK(topics));
    case ROLE_TOPIC_ID:
        return json_string(PICK(ids));
    case ROLE_GROUP:
    case ROLE_TXN:
        return json_string(PICK(groups));
    case ROLE_KEY:
        return json_string(PICK(keys));
    case ROLE_REGEX:
        return json_string(roll(2) ? "t.*" : "");
    case ROLE_HOST:
    case ROLE_RACK:
    case ROLE_CLUSTER:
    case ROLE_TEXT:
        return json_string(PICK(texts));
    case ROLE_BROKER:
        return json_integer((int)roll(5) - 1);
    case ROLE_REPLICA:
        return json_integer(-1);
    case ROLE_PARTITION:
        return json_integer(roll(4));
    case ROLE_ERROR:
        return json_integer(roll(3) ? 0 : (int)roll(130) - 1);
    case ROLE_THROTTLE:
        return json_integer(roll(3));
    case ROLE_RECORDS:
        return json_integer(roll(200));
    case ROLE_NONE:
    case ROLE_PORT:
    case ROLE_PRINCIPAL:
    case ROLE_OPAQUE:
    case ROLE_SECRET:
    case ROLE_OPS:
        break;
    }
    return NULL;
}

static json_t *value(const struct field *f, int version, bool flexible, bool request)
{
    static const char *const words[] = {
        "", "a", "words", "consumer", "range", "uniform", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"};
    json_t *v = named(f);
    if (v)
        return v;
    switch (f->type) {
    case TYPE_STRUCT:
        return fields(f->fields, f->nfields, version, flexible, request);
    case TYPE_STRING:
    case TYPE_BYTES:
        return json_string(PICK(words));
    case TYPE_UUID:
        return json_string(roll(2) ? "u" : "");
    case TYPE_BOOL:
        return json_boolean(roll(2));
    case TYPE_INT8:
        return json_integer(roll(4));
    case TYPE_INT16:
    case TYPE_UINT16:
    case TYPE_INT32:
    case TYPE_UINT32:
    case TYPE_INT64:
    case TYPE_FLOAT64:
    case TYPE_RECORDS:
        break;
    }
    return json_integer(roll(3) ? roll(1000) : roll(2) * 0x7fffU);
}

static json_t *many(const struct field *f, int version, bool flexible, bool request)
{
    json_t *list = json_array();
    for (unsigned n = roll(4); n > 0; n--)
        json_array_append_new(list, value(f, version, flexible, request));
    return list;
}

static json_t *fields(const struct field *rows, uint16_t n, int version, bool flexible,
                      bool request)
{
    json_t *o = json_object();
    for (uint16_t i = 0; i < n; i++) {
        const struct field *f = &rows[i];
        bool tagged = flexible && versions_has(f->tagged, version);
        if (!versions_has(f->versions, version) || (tagged && roll(3) == 0))
            continue;
        if (versions_has(f->nullable, version) && roll(5) == 0)
            json_object_set_new(o, f->name, json_null());
        else
            json_object_set_new(o, f->name,
                                f->array ? many(f, version, flexible, request)
                                         : value(f, version, flexible, request));
    }
    if (flexible && !request && roll(6) == 0)
        json_object_set_new(o, "_tags", json_pack("[[is]]", 99, "unknown"));
    return o;
}

static void set_number(json_t *o, const char *name, int v)
{
    if (json_object_get(o, name))
        json_object_set_new(o, name, json_integer(v));
}

/* What a client says that wants an answer: a request whose rest is anything. */
static json_t *question(int api, int version)
{
    const struct message *m = schema_find(api, true);
    json_t *j = fields(m->fields, m->nfields, version, message_flexible(m, version), true);
    size_t i;
    json_t *e;
    if (api == 0) {
        set_number(j, "acks", roll(2) ? 1 : -1);
    } else if (api == 1) {
        json_object_del(j, "replicaState");
        json_object_del(j, "clusterId");
        set_number(j, "sessionId", 0);
        set_number(j, "sessionEpoch", roll(2) ? 0 : -1);
        set_number(j, "maxWaitMs", (int)roll(20));
        if (json_object_get(j, "forgottenTopicsData"))
            json_object_set_new(j, "forgottenTopicsData", json_array());
    } else if (api == 3 && version >= 10) { /* by name, or by id */
        json_array_foreach(json_object_get(j, "topics"), i, e)
        {
            bool by_id = version >= 12 && roll(2);
            json_object_set_new(e, by_id ? "name" : "topicId",
                                by_id ? json_null() : json_string(""));
            if (!by_id && json_is_null(json_object_get(e, "name")))
                json_object_set_new(e, "name", json_string("t1"));
        }
    }
    return j;
}

/* --- a broker's answers */

static const struct field *row(const struct field *rows, uint16_t n, enum field_name id)
{
    for (uint16_t i = 0; i < n; i++)
        if (rows[i].id == id)
            return &rows[i];
    abort();
}

/* A Fetch answer must be about what was asked. */
static json_t *fetched(const struct asked *a)
{
    const struct message *m = schema_find(1, false);
    const struct field *topic = row(m->fields, m->nfields, F_RESPONSES);
    const struct field *part = row(topic->fields, topic->nfields, F_PARTITIONS);
    json_t *list = json_array(), *t, *p;
    size_t i, k;
    json_t *answer =
        fields(m->fields, m->nfields, a->h.version, a->h.version >= m->flexible, false);
    json_array_foreach(json_object_get(a->body, "topics"), i, t)
    {
        json_t *parts = json_array(), *told = json_object();
        const char *key = json_object_get(t, "topicId") ? "topicId" : "topic";
        json_object_set(told, key, json_object_get(t, key));
        json_array_foreach(json_object_get(t, "partitions"), k, p)
        {
            json_t *one = value(part, a->h.version, a->h.version >= m->flexible, false);
            json_object_set(one, "partitionIndex", json_object_get(p, "partition"));
            json_object_set_new(one, "errorCode", json_integer(roll(5) ? 0 : 1));
            json_object_set_new(one, "records",
                                json_integer(roll(4) ? roll(2) * 300 : BIG_RECORDS));
            json_array_append_new(parts, one);
        }
        json_object_set_new(told, "partitions", parts);
        json_array_append_new(list, told);
    }
    json_object_set_new(answer, "responses", list);
    set_number(answer, "errorCode", 0);
    set_number(answer, "sessionId", 0);
    return answer;
}

static void answer_one(struct asked *a)
{
    const struct message *m = schema_find(a->h.api, false);
    struct fake_conn *conn = asked_conn(a);
    bool silent = a->h.api == 0 && json_integer_value(json_object_get(a->body, "acks")) == 0;
    a->answered = true;
    if (!conn || silent)
        return;
    if (roll(BROKER_DIES) == 0) {
        fake_close(conn, false);
        return;
    }
    json_t *j = a->h.api == 1 ? fetched(a)
                              : fields(m->fields, m->nfields, a->h.version,
                                       message_flexible(m, a->h.version), false);
    char *text = json_dumps(j, 0);
    a->answered = false;
    reply(a, text);
    free(text);
    json_decref(j);
}

/* --- the client */

static size_t frame_bytes(void)
{
    uint8_t len[4];
    if (run.c.t.in.len < 4)
        return SIZE_MAX;
    buf_copy_out(&run.c.t.in, 0, len, 4);
    return 4 + (size_t)read_u32(len);
}

/* Whether the request went to several brokers. */
static bool is_split(void)
{
    unsigned n = 0;
    for (const struct asked *a = bed.asked; a; a = a->next)
        n += !a->answered;
    return n > 1;
}

/* Lets brokers answer what they are asked, until the client's answer is whole or it is closed. */
static bool moved(struct gate_bed *b)
{
    run.split += is_split();
    for (struct asked *a = b->asked; a; a = a->next)
        if (!a->answered)
            answer_one(a);
    return run.c.closed || run.c.t.in.len >= frame_bytes();
}

static void keep_answer(int api, int version)
{
    struct octets w;
    assert_true(client_frame(&run.c, &w));
    run.c.seen++;
    put_case('r', api, version, w.p + 4, w.n - 4);
    run.answers[api][version]++;
    run.hidden += memmem(w.p, w.n, "gate.example.com", 16) != NULL;
    run.to_clients++;
    free(w.p);
}

static void hang_up(void)
{
    client_close(&run.c);
    run.open = false;
    gate_bed_forget();
}

static void exchange(int api, int version)
{
    if (!run.open)
        login(&run.c, OPERATIONS);
    run.open = true;
    json_t *j = question(api, version);
    char *text = json_dumps(j, 0);
    ask(&run.c, api, version, text);
    bed.also = moved;
    if (!gate_bed_run(&bed, ANSWER_MS))
        fail_msg("API %d version %d is not answered: %s", api, version, text);
    if (run.c.t.in.len >= frame_bytes())
        keep_answer(api, version);
    else
        run.closed++;
    if (run.c.closed)
        hang_up();
    free(text);
    json_decref(j);
}

/* The two that come before a session: a handshake, and behind it a token that is taken or not. */
static void log_in(int api, int version)
{
    char *token = make_token(&(struct token_wish){.operations = OPERATIONS});
    bool known = api == 36 || roll(2);
    int handshake = api == 36 ? 1 : version;
    client_connect(&run.c);
    ask(&run.c, 17, handshake, known ? HANDSHAKE : "{'mechanism':'PLAIN'}");
    bed.also = moved;
    assert_true(gate_bed_run(&bed, ANSWER_MS));
    if (handshake == 0) /* raw tokens would follow: the gate closes */
        assert_true(run.c.closed && run.c.t.in.len == 0);
    else
        keep_answer(17, handshake);
    if (api == 36) {
        send_token(&run.c, roll(4) ? token : "e30.e30.AA", version);
        bed.also = moved;
        assert_true(gate_bed_run(&bed, ANSWER_MS));
        keep_answer(36, version);
    }
    hang_up();
    free(token);
}

static void every_version(void **state)
{
    size_t n;
    const struct api_rule *all = api_all(&n);
    (void)state;
    gate_bed_start("limits: {denial_pace_ms: 0}\n");
    for (int i = 0; i < 3; i++)
        bed.up.fake[i].tap = broker_got;
    for (size_t i = 0; i < n; i++) {
        for (int v = all[i].offered.min; v <= all[i].offered.max; v++) {
            for (unsigned k = 0; k < run.rounds; k++) {
                if (all[i].api == 17 || all[i].api == 36)
                    log_in(all[i].api, v);
                else
                    exchange(all[i].api, v);
            }
            if (run.answers[all[i].api][v] == 0 && !(all[i].api == 17 && v == 0))
                fail_msg("API %d version %d was never answered", all[i].api, v);
        }
        if (run.open)
            hang_up();
    }
    /* Of everything that edits, something has happened. */
    const struct gate_counters *did = &bed.gate->counters;
    assert_true(did->denials && did->unknown_tags && did->fetch_streamed && did->upstream_failures);
    assert_true(run.split && run.hidden);
    gate_bed_stop();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_version)};
    if (argc != 4) {
        fputs("usage: conform-gate FILE SEED ROUNDS\n", stderr);
        return 2;
    }
    run.out = fopen(argv[1], "wb");
    run.state = strtoull(argv[2], NULL, 10);
    run.rounds = (unsigned)strtoul(argv[3], NULL, 10);
    if (!run.out) {
        perror(argv[1]);
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    put_number(0, 1);
    if (fclose(run.out))
        failed = 1;
    fprintf(stderr,
            "conformance, the gate: %lu requests to brokers, %lu of the clients' to several, "
            "%lu answers, %lu naming the gate, %lu closed\n",
            run.to_brokers, run.split, run.to_clients, run.hidden, run.closed);
    return failed != 0;
}
