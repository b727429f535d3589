/* The signaling listener in both dialects: every transition, every refusal, every order. */
#include "edc/signaling_job.h"
#include "tests/unit/signaling_bed.h"

/* --- what the store holds; asked while the loop stands */

struct seen {
    const char *id;
    const struct grant *grant;
    int64_t barred; /* `at` of the transfer's revocation; 0: none */
    size_t grants;
};

static void see_grant(void *arg, const struct grant *g)
{
    struct seen *s = arg;
    s->grants++;
    if (strcmp(g->id, s->id) == 0)
        s->grant = g;
}

static void see_revocation(void *arg, const struct revocation *r)
{
    struct seen *s = arg;
    if (r->kind == REVOKE_TRANSFER && strcmp(r->value, s->id) == 0)
        s->barred = r->at;
}

/* Between two runs of the loop: it is stopped and begins again. */
static struct seen look(const char *id)
{
    struct seen s = {.id = id};
    loop_stop(loop);
    pthread_join(thread, NULL);
    store_each_grant(store, see_grant, &s);
    store_each_revocation(store, see_revocation, &s);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    return s;
}

static void wait_for(atomic_int *what, int value)
{
    for (int i = 0; i < 15000 && *what < value; i++)
        usleep(1000);
    assert_true(*what >= value);
}

/* --- legacy */

static void test_legacy_life(void **state)
{
    struct seen s;
    (void)state;
    assert_int_equal(get("/v1/dataflows/check"), 204);
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "sensor-data")), 200);
    assert_string_equal(said("@type"), "DataFlowResponseMessage");
    assert_true(json_is_false(json_object_get(reply.json, "provisioning")));
    assert_string_equal(property(EDC "type"), "KafkaBroker");
    assert_string_equal(property(EDC "kafka.bootstrap.servers"), "gate.example.com:9093");
    assert_string_equal(property(EDC "topic"), "sensor-data");
    assert_string_equal(property(EDC "kafka.group.prefix"), "consumer");
    assert_string_equal(property(EDC "token"), "token-1");
    assert_string_equal(asked_prefix, "consumer");
    assert_string_equal(asked_topics, "sensor-data ");
    s = look("p1");
    assert_non_null(s.grant);
    assert_string_equal(s.grant->participant, "consumer");
    assert_string_equal(s.grant->agreement, "agreement-1");
    assert_string_equal(s.grant->asset, "kafka-asset");
    assert_string_equal(s.grant->topics[0], "sensor-data");
    assert_string_equal(s.grant->group_prefix, "consumer");
    assert_string_equal(s.grant->issuer, ISSUER);
    assert_int_equal(s.grant->operations, OP_READ);
    assert_int_equal(get("/v1/dataflows/p1/state"), 200);
    assert_string_equal(said("state"), "STARTED");
    assert_int_equal(post("/v1/dataflows/p1/suspend", SUSPEND), 204);
    assert_int_equal(strlen(reply.text), 0);
    assert_int_equal(tokens_ended, 1);
    s = look("p1");
    assert_null(s.grant);
    assert_true(s.barred > 0);
    assert_int_equal(get("/v1/dataflows/p1/state"), 200);
    assert_string_equal(said("state"), "SUSPENDED");
    assert_int_equal(post("/v1/dataflows", start_body("p1", "sensor-data")), 200); /* 0.14.0 */
    assert_string_equal(property(EDC "token"), "token-2");
    assert_true(asked_iat > s.barred); /* or the token would be barred with the old ones */
    assert_non_null(look("p1").grant);
    assert_int_equal(post("/v1/dataflows/p1/terminate", TERMINATE), 204);
    assert_null(look("p1").grant);
    assert_int_equal(get("/v1/dataflows/p1/state"), 200);
    assert_string_equal(said("state"), "TERMINATED");
}

static void test_legacy_repeats(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    assert_string_equal(property(EDC "token"), "token-2");
    assert_int_equal(look("p1").grants, 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(post("/v1/dataflows/p1/suspend", SUSPEND), 204);
    for (int i = 0; i < 2; i++)
        assert_int_equal(post("/v1/dataflows/p1/terminate", TERMINATE), 204);
    assert_int_equal(post("/v1/dataflows/p1/suspend", SUSPEND), 204);
    assert_int_equal(get("/v1/dataflows/p1/state"), 200);
    assert_string_equal(said("state"), "TERMINATED");
    /* A start that its end has overtaken must not open it again. */
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 409);
    assert_int_equal(look("p1").grants, 0);
}

static void test_legacy_unknown(void **state)
{
    struct seen s;
    (void)state;
    assert_int_equal(post("/v1/dataflows/u1/suspend", SUSPEND), 204);
    s = look("u1");
    assert_true(s.barred > 0);
    assert_int_equal(post("/v1/dataflows/u2/terminate", TERMINATE), 204);
    assert_true(look("u2").barred > 0);
    assert_int_equal(post("/v1/dataflows/u2/terminate", TERMINATE), 204); /* twice */
    assert_int_equal(get("/v1/dataflows/u3/state"), 404);
    /* The suspension came before its start: what follows is a resume. */
    assert_int_equal(post("/v1/dataflows/start", start_body("u1", "a")), 200);
    assert_true(asked_iat > s.barred);
    assert_int_equal(post("/v1/dataflows/start", start_body("u2", "a")), 409);
    assert_int_equal(look("u2").grants, 1);
}

static void test_bodies_of_ends(void **state)
{
    static const char *const bodies[] = {"", "{", "[1]", "null", "{\"reason\":7}", "garbage"};
    char path[64];
    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        snprintf(path, sizeof(path), "/v1/dataflows/b%zu/terminate", i);
        ask_into(&reply, "POST", path, bodies[i], "Content-Type: text/plain");
        assert_int_equal(reply.status, 204);
        snprintf(path, sizeof(path), "b%zu", i);
        assert_true(look(path).barred > 0);
    }
}

static void test_malformed(void **state)
{
    static const struct {
        const char *was, *is, *told;
    } cases[] = {
        {"DataFlowStartMessage", "DataFlowSuspendMessage", "@type"},
        {"\"processId\"", "\"processID\"", "processId: is missing"},
        {"\"participantId\":\"consumer\"", "\"participantId\":7", "participantId: is no text"},
        {"\"participantId\":\"consumer\"", "\"participantId\":\"\"", "participantId: is empty"},
        {"\"PULL\"", "\"PUSH\"", "flowType"},
        {"Destination\":\"KafkaBroker\"", "Destination\":\"HttpData\"", "transfer_types"},
        {"Type\":\"KafkaBroker\",\"dspace:endpointP", "Type\":\"HttpData\",\"dspace:endpointP",
         "source_types"},
        {"dspace:value\":\"T\"", "dspace:value\":\"\"", "topic: is empty"},
        {"dspace:value\":\"T\"", "dspace:value\":\"*\"", "topic: holds \"*\""},
        {"dspace:value\":\"T\"", "dspace:value\":\"a*\"", "topic: holds \"*\""},
        {"dspace:value\":\"T\"", "dspace:value\":\"a,,b\"", "topic: holds an empty name"},
        {"dspace:value\":\"T\"", "dspace:value\":\"__consumer_offsets\"", "begins with \"__\""},
        {"dspace:value\":\"T\"", "dspace:value\":\"__x\"", "begins with \"__\""},
        {"dspace:value\":\"T\"", "dspace:value\":\"a b\"", "topic: is no topic name"},
        {"dspace:value\":\"T\"", "dspace:value\":\"a\\u0007\"", "topic: "},
        {"dspace:value\":\"T\"", "dspace:value\":7", "[0].value: is no text"},
        {"dspace:name\":\"" EDC "topic\"", "dspace:name\":\"" EDC "topik\"", "topic: is missing"},
        {"dspace:name\":\"" EDC "topic\"", "dspace:nam\":\"" EDC "topic\"", "name: is missing"},
        {"kafka.bootstrap.servers", "kafka.group.prefix\",\"dspace:value2\":\"", "is"},
    };
    char text[4096], told[256];
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *whole = start_body("m", "T"), *at = strstr(whole, cases[i].was);
        assert_non_null(at);
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - whole), whole, cases[i].is,
                 at + strlen(cases[i].was));
        if (i + 1 == sizeof(cases) / sizeof(*cases))
            continue;
        assert_int_equal(post("/v1/dataflows/start", text), 400);
        assert_string_equal(said("error"), "malformed");
        snprintf(told, sizeof(told), "%s", said("message"));
        if (!strstr(told, cases[i].told))
            fail_msg("%zu: \"%s\" does not say \"%s\"", i, told, cases[i].told);
    }
    assert_int_equal(post("/v1/dataflows/start", "{\"a\":"), 400);
    assert_non_null(strstr(said("message"), "line 1"));
    ask_into(&reply, "POST", "/v1/dataflows/start", start_body("m", "T"), "Content-Type: a/b");
    assert_int_equal(reply.status, 415);
    assert_int_equal(tokens_made, 0);
    assert_int_equal(look("m").grants, 0);
    assert_int_equal(get("/v1/dataflows/m/state"), 404);
}

static void test_long_names(void **state)
{
    char name[10001], *text = malloc(16384);
    const char *whole = start_body("m", "T"), *at = strstr(whole, "\"T\"");
    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    snprintf(text, 16384, "%.*s\"%s\"%s", (int)(at - whole), whole, name, at + 3);
    assert_int_equal(post("/v1/dataflows/start", text), 400);
    assert_non_null(strstr(said("message"), "topic: is longer"));
    at = strstr(whole, "\"consumer\"");
    snprintf(text, 16384, "%.*s\"%s\"%s", (int)(at - whole), whole, name, at + 10);
    assert_int_equal(post("/v1/dataflows/start", text), 400);
    assert_string_equal(said("message"), "participantId: is longer than 255 bytes");
    free(text);
}

/* --- tokens that cannot be had, a store that fails */

static void test_no_token(void **state)
{
    (void)state;
    token_mode = TOKENS_FAIL;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 400);
    assert_string_equal(said("message"), "not today");
    token_fault = ERR_TIMEOUT;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 503);
    token_fault = ERR_BUSY;
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 503);
    assert_int_equal(look("p1").grants, 0);
    assert_int_equal(get("/dataflows/d1/status"), 404);
    token_mode = TOKENS_NOW;
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 200); /* as if it never came */
}

static void test_store_fails(void **state)
{
    (void)state;
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 200);
    apply_fails = 1;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 503);
    assert_int_equal(get("/v1/dataflows/p1/state"), 404);
    assert_int_equal(post("/dataflows/d1/suspend", SIGNAL), 503);
    apply_fails = 0;
    assert_int_equal(post("/dataflows/d1/suspend", SIGNAL), 200);
    assert_string_equal(said("state"), "SUSPENDED");
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
}

/* --- Data Plane Signaling */

static void test_dps_life(void **state)
{
    int64_t barred;
    (void)state;
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 200);
    assert_string_equal(said("messageId"), "m1");
    assert_string_equal(said("dataFlowId"), "d1");
    assert_string_equal(said("state"), "STARTED");
    assert_string_equal(property(EDC "token"), "token-1");
    assert_string_equal(property(EDC "topic"), "t1");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(reply.json, "dataAddress"), "endpoint")),
        "gate.example.com:9093");
    assert_non_null(look("d1").grant);
    assert_string_equal(look("d1").grant->participant, "consumer");
    assert_int_equal(get("/dataflows/d1/status"), 200);
    assert_string_equal(said("dataFlowId"), "d1");
    assert_string_equal(said("state"), "STARTED");
    assert_int_equal(post("/dataflows/d1/suspend", SIGNAL), 200);
    assert_string_equal(said("state"), "SUSPENDED");
    assert_string_equal(said("messageId"), "m2");
    barred = look("d1").barred;
    assert_null(look("d1").grant);
    assert_int_equal(post("/dataflows/d1/resume", SIGNAL), 200);
    assert_string_equal(said("state"), "STARTED");
    assert_string_equal(property(EDC "token"), "token-2");
    assert_true(asked_iat > barred);
    assert_non_null(look("d1").grant);
    assert_int_equal(post("/dataflows/d1/completed", NULL), 200);
    assert_string_equal(said("state"), "COMPLETED");
    assert_true(strlen(said("messageId")) == 32);
    assert_null(look("d1").grant);
}

/* An authorization server does not know when the transfer was suspended: a token of the same second
 * would be barred with the old ones, so it is asked again. */
static void test_resume_in_the_second_of_the_suspension(void **state)
{
    (void)state;
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 200);
    assert_int_equal(post("/dataflows/d1/suspend", SIGNAL), 200);
    tokens_old = 2;
    assert_int_equal(post("/dataflows/d1/resume", SIGNAL), 200);
    assert_int_equal(tokens_made, 4);
    assert_string_equal(property(EDC "token"), "token-4");
    assert_non_null(look("d1").grant);
    /* It never gets there: no EDR that opens nothing. */
    assert_int_equal(post("/dataflows/d1/suspend", SIGNAL), 200);
    tokens_old = SIGNALING_ASKS_MAX;
    assert_int_equal(post("/dataflows/d1/resume", SIGNAL), 503);
    assert_int_equal(tokens_made, 4 + SIGNALING_ASKS_MAX);
    assert_null(look("d1").grant);
    assert_int_equal(get("/dataflows/d1/status"), 200);
    assert_string_equal(said("state"), "SUSPENDED");
}

/* start and prepare name the transfer in their body, the others in their path. */
static long signal_dps(const char *id, const char *signal, bool begins)
{
    char path[128];
    snprintf(path, sizeof(path), "/dataflows/%s%s%s", begins ? "" : id, begins ? "" : "/", signal);
    return post(path, begins ? dps_body(id, "") : SIGNAL);
}

/* Each signal in each state, against the specification's state machine. */
static void test_dps_table(void **state)
{
    static const char *const signals[] = {"start",   "prepare",   "resume",   "started",
                                          "suspend", "completed", "terminate"};
    static const struct {
        const char *name;
        const char *way[4];
        long want[7];
    } rows[] = {
        {"", {NULL}, {200, 200, 404, 404, 200, 404, 200}},
        {"PREPARED", {"prepare"}, {200, 409, 409, 200, 409, 409, 200}},
        {"STARTED", {"start"}, {409, 409, 409, 409, 200, 200, 200}},
        {"SUSPENDED", {"start", "suspend"}, {409, 409, 200, 409, 200, 409, 200}},
        {"STARTED", {"start", "suspend", "resume"}, {409, 409, 409, 409, 200, 200, 200}},
        {"TERMINATED", {"start", "suspend", "terminate"}, {409, 409, 409, 409, 409, 409, 200}},
        {"STARTED", {"prepare", "start"}, {409, 409, 409, 409, 200, 200, 200}},
        {"TERMINATED", {"prepare", "terminate"}, {409, 409, 409, 409, 409, 409, 200}},
        /* a consumer's side: nothing is granted, the states are the same */
        {"STARTED", {"prepare", "started"}, {409, 409, 409, 409, 200, 200, 200}},
        {"SUSPENDED", {"prepare", "started", "suspend"}, {409, 409, 200, 409, 200, 409, 200}},
        {"COMPLETED", {"prepare", "started", "completed"}, {409, 409, 409, 409, 409, 409, 409}},
        /* ends that came before their start */
        {"SUSPENDED", {"suspend"}, {409, 409, 200, 409, 200, 409, 200}},
        {"TERMINATED", {"terminate"}, {409, 409, 409, 409, 409, 409, 200}},
        {"COMPLETED", {"start", "completed"}, {409, 409, 409, 409, 409, 409, 409}},
        {"TERMINATED", {"start", "terminate"}, {409, 409, 409, 409, 409, 409, 200}},
    };
    char id[32], path[64];
    (void)state;
    for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++) {
        for (size_t i = 0; i < 7; i++) {
            snprintf(id, sizeof(id), "d-%zu-%zu", r, i);
            for (size_t w = 0; w < 4 && rows[r].way[w]; w++) {
                const char *step = rows[r].way[w];
                bool begins = strcmp(step, "start") == 0 || strcmp(step, "prepare") == 0;
                assert_int_equal(signal_dps(id, step, begins), 200);
            }
            if (*rows[r].name) {
                snprintf(path, sizeof(path), "/dataflows/%s/status", id);
                assert_int_equal(get(path), 200);
                assert_string_equal(said("state"), rows[r].name);
            }
            if (signal_dps(id, signals[i], i < 2) != rows[r].want[i])
                fail_msg("%s in %s: %ld, not %ld", signals[i], rows[r].name, reply.status,
                         rows[r].want[i]);
        }
    }
}

static void test_dps_refusals(void **state)
{
    static const struct {
        const char *was, *is, *told;
    } cases[] = {
        {"\"messageId\":\"m1\",", "", "messageId: is missing"},
        {"\"participantId\":\"provider\",", "", "participantId: is missing"},
        {"\"counterPartyId\":\"consumer\",", "", "counterPartyId: is missing"},
        {"\"dataspaceContext\":\"context\",", "", "dataspaceContext: is missing"},
        {"\"processId\":\"d\",", "", "processId: is missing"},
        {"\"agreementId\":\"agreement\",", "", "agreementId: is missing"},
        {"\"datasetId\":\"asset\",", "", "datasetId: is missing"},
        {"\"profile\":\"KafkaBroker-PULL\",", "", "profile: is missing"},
        {"\"claims\":{},", "", "claims: is missing"},
        {"\"claims\":{},", "\"claims\":[],", "claims: is no object"},
        {"KafkaBroker-PULL", "KafkaBroker-PUSH", "is a push"},
        {"KafkaBroker-PULL", "Http-PULL", "transfer_types"},
        {"[\"gold\"]", "[7]", "labels"},
        {"{\"topic\":\"t1\"}", "{}", "metadata.topic: is missing"},
        {"{\"topic\":\"t1\"}", "{\"topic\":\"\"}", "metadata.topic: is empty"},
        {"{\"topic\":\"t1\"}", "[]", "metadata"},
        {"\"metadata\"", "\"dataAddress\":{\"endpointType\":\"x\"},\"metadata\"", "dataAddress"},
    };
    char text[4096];
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *whole = dps_body("d", ""), *at = strstr(whole, cases[i].was);
        assert_non_null(at);
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - whole), whole, cases[i].is,
                 at + strlen(cases[i].was));
        assert_int_equal(post("/dataflows/start", text), 400);
        if (!strstr(said("message"), cases[i].told))
            fail_msg("%zu: \"%s\" does not say \"%s\"", i, said("message"), cases[i].told);
    }
    assert_int_equal(get("/dataflows/d/status"), 404);
    /* Messages of the first versions have a transferType and no claims. */
    assert_int_equal(post("/dataflows/start",
                          "{\"messageId\":\"m\",\"participantId\":\"p\",\"counterPartyId\":\"c\","
                          "\"dataspaceContext\":\"x\",\"processId\":\"d\",\"agreementId\":\"a\","
                          "\"datasetId\":\"s\",\"transferType\":\"KafkaBroker-PULL\","
                          "\"callbackAddress\":null,\"metadata\":{\"" EDC "topic\":\"t1,t2\","
                          "\"" EDC "kafka.group.prefix\":\"bob\"}}"),
                     200);
    assert_string_equal(asked_topics, "t1 t2 ");
    assert_string_equal(asked_prefix, "bob");
    assert_int_equal(post("/dataflows/d/suspend", SIGNAL), 200);
    assert_int_equal(post("/dataflows/d/resume", "{}"), 400);
}

/* A connector that hears "no" to an end leaves its partner in the belief that all goes on, so the
 * end of what is not known is taken in this dialect too; a start that it overtook opens nothing. */
static void test_dps_unknown(void **state)
{
    (void)state;
    assert_int_equal(post("/dataflows/u1/terminate", SIGNAL), 200);
    assert_string_equal(said("state"), "TERMINATED");
    assert_string_equal(said("dataFlowId"), "u1");
    assert_true(look("u1").barred > 0);
    assert_int_equal(post("/dataflows/u2/suspend", SIGNAL), 200);
    assert_string_equal(said("state"), "SUSPENDED");
    assert_true(look("u2").barred > 0);
    assert_int_equal(post("/dataflows/start", dps_body("u1", "")), 409);
    assert_int_equal(post("/dataflows/start", dps_body("u2", "")), 409);
    assert_int_equal(look("u2").grants, 0);
}

/* While the authorization server makes up its mind: the state of which the answer 202 tells. */
static void test_dps_starting(void **state)
{
    static const struct {
        const char *signal;
        long want;
    } cases[] = {{"start", 409},     {"prepare", 409}, {"resume", 409},   {"started", 409},
                 {"completed", 409}, {"suspend", 409}, {"terminate", 200}};
    (void)state;
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 202);
    assert_string_equal(said("state"), "STARTING");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_int_equal(get("/dataflows/d1/status"), 200);
        assert_string_equal(said("state"), "STARTING");
        if (signal_dps("d1", cases[i].signal, i < 2) != cases[i].want)
            fail_msg("%s: %ld", cases[i].signal, reply.status);
    }
    assert_int_equal(get("/dataflows/d1/status"), 200);
    assert_string_equal(said("state"), "TERMINATED");
    assert_null(look("d1").grant);
}

/* --- orders */

/* The answer of an end leaves when the workers have closed what it hits, not before. */
static void *terminate_p1(void *arg)
{
    struct reply *r = arg;
    ask_into(r, "POST", "/v1/dataflows/p1/terminate", TERMINATE, AS_JSON);
    return NULL;
}

static void test_answer_waits(void **state)
{
    static struct reply other;
    pthread_t asking;
    int before;
    (void)state;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    before = applied;
    hold_apply = 1;
    other.status = -1;
    assert_int_equal(pthread_create(&asking, NULL, terminate_p1, &other), 0);
    wait_for(&applied, before + 1);
    usleep(50000);
    assert_true(other.status <= 0);
    hold_apply = 0;
    pthread_join(asking, NULL);
    assert_int_equal(other.status, 204);
    json_decref(other.json);
    other.json = NULL;
}

static void *start_p1(void *arg)
{
    struct reply *r = arg;
    ask_into(r, "POST", "/v1/dataflows/start", start_body("p1", "a"), AS_JSON);
    return NULL;
}

/* A start whose token comes after the suspension, or the end, that followed it. */
static void test_overtaken(void **state)
{
    static struct reply other;
    pthread_t asking;
    (void)state;
    token_mode = TOKENS_LATER;
    assert_int_equal(pthread_create(&asking, NULL, start_p1, &other), 0);
    for (int i = 0; i < 3000 && !held_done; i++)
        usleep(1000);
    assert_int_equal(post("/v1/dataflows/p1/suspend", SUSPEND), 204);
    token_release = 1;
    pthread_join(asking, NULL);
    assert_int_equal(other.status, 200); /* or it would be repeated, and undo the suspension */
    assert_null(look("p1").grant);
    assert_int_equal(get("/v1/dataflows/p1/state"), 200);
    assert_string_equal(said("state"), "SUSPENDED");
    assert_int_equal(pthread_create(&asking, NULL, start_p1, &other), 0);
    for (int i = 0; i < 3000 && !held_done; i++)
        usleep(1000);
    assert_int_equal(post("/v1/dataflows/p1/terminate", TERMINATE), 204);
    token_release = 1;
    pthread_join(asking, NULL);
    assert_int_equal(other.status, 409);
    assert_null(look("p1").grant);
    json_decref(other.json);
    other.json = NULL;
}

/* A connection that is dropped before the answer: what was asked happens, and may be asked again.
 */
static void drop(const char *path, const char *body)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char text[8192];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int n = snprintf(text, sizeof(text),
                     "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     path, strlen(body), body);
    at.sin_port = htons(port);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(write(fd, text, (size_t)n), n);
    usleep(20000);
    close(fd);
}

static void test_dropped(void **state)
{
    (void)state;
    token_mode = TOKENS_LATER;
    drop("/v1/dataflows/start", start_body("p1", "a"));
    for (int i = 0; i < 3000 && !held_done; i++)
        usleep(1000);
    usleep(50000);
    token_release = 1;
    for (int i = 0; i < 100 && !look("p1").grant; i++)
        usleep(5000);
    assert_non_null(look("p1").grant);
    token_mode = TOKENS_NOW;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    hold_apply = 1;
    drop("/v1/dataflows/p1/suspend", SUSPEND);
    hold_apply = 0;
    for (int i = 0; i < 100 && look("p1").grant; i++)
        usleep(5000);
    assert_null(look("p1").grant);
    assert_int_equal(post("/v1/dataflows/p1/suspend", SUSPEND), 204);
}

/* The gate stops while the store has still to answer, for a start and for an end. */
static void test_stopped_in_between(void **state)
{
    int before;
    (void)state;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    before = applied;
    hold_apply = 1;
    drop("/v1/dataflows/p1/terminate", TERMINATE);
    wait_for(&applied, before + 1);
    close_bed();
    hold_apply = 0;
    open_bed("");
    before = applied;
    hold_apply = 1;
    drop("/v1/dataflows/start", start_body("p2", "a"));
    wait_for(&applied, before + 1);
    close_bed();
    hold_apply = 0;
    open_bed("");
    assert_int_equal(get("/v1/dataflows/check"), 204);
}

/* Suspended and resumed often, without a pause: what was said last holds. */
static void test_suspend_and_resume_race(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
        assert_int_equal(post("/v1/dataflows/p1/suspend", SUSPEND), 204);
    }
    assert_null(look("p1").grant);
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    assert_non_null(look("p1").grant);
    assert_true(asked_iat > look("p1").barred);
}

/* --- restarts */

static void test_restart(void **state)
{
    int64_t barred;
    (void)state;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 200);
    assert_int_equal(post("/dataflows/d1/suspend", SIGNAL), 200);
    assert_int_equal(post("/v1/dataflows/p2/terminate", TERMINATE), 204);
    barred = look("d1").barred;
    close_bed();
    open_bed("");
    assert_int_equal(get("/v1/dataflows/p1/state"), 200);
    assert_string_equal(said("state"), "STARTED");
    assert_non_null(look("p1").grant);
    assert_int_equal(get("/dataflows/d1/status"), 200);
    assert_string_equal(said("state"), "SUSPENDED");
    assert_int_equal(post("/v1/dataflows/start", start_body("p2", "a")), 409);
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 409);
    assert_int_equal(post("/dataflows/d1/resume", SIGNAL), 200);
    assert_true(asked_iat > barred);
    assert_string_equal(asked_topics, "t1 ");
    assert_string_equal(asked_prefix, "consumer");
    assert_int_equal(post("/dataflows/d1/terminate", SIGNAL), 200);
}

static bool file_holds(const char *suffix, const char *text)
{
    static char content[1 << 20];
    char path[80];
    FILE *file;
    size_t n;
    snprintf(path, sizeof(path), "%s%s", store_path, suffix);
    file = fopen(path, "r");
    n = file ? fread(content, 1, sizeof(content), file) : 0;
    if (file)
        fclose(file);
    return memmem(content, n, text, strlen(text)) != NULL;
}

/* A secret that came in a message is kept in no file, so it is gone with the process. */
static void test_secret_is_not_kept(void **state)
{
    static const char start[] =
        "{\"messageId\":\"m\",\"participantId\":\"p\",\"counterPartyId\":\"c\","
        "\"dataspaceContext\":\"x\",\"processId\":\"d\",\"agreementId\":\"a\",\"datasetId\":"
        "\"asset-of-bob\","
        "\"profile\":\"KafkaBroker-PULL\",\"claims\":{},\"metadata\":{\"topic\":\"t1\","
        "\"tokenUrl\":\"http://idp/"
        "token\",\"clientId\":\"id\",\"clientSecret\":\"s3cr3t-of-bob\"}}";
    (void)state;
    assert_int_equal(post("/dataflows/start", start), 200);
    assert_string_equal(asked_url, "http://idp/token");
    assert_string_equal(asked_secret, "s3cr3t-of-bob");
    assert_int_equal(post("/dataflows/d/suspend", SIGNAL), 200);
    assert_int_equal(post("/dataflows/d/resume", SIGNAL), 200);
    assert_string_equal(asked_secret, "s3cr3t-of-bob");
    assert_int_equal(post("/dataflows/d/suspend", SIGNAL), 200);
    close_bed();
    assert_false(file_holds("", "s3cr3t-of-bob"));
    assert_false(file_holds("-wal", "s3cr3t-of-bob"));
    assert_true(file_holds("", "asset-of-bob") || file_holds("-wal", "asset-of-bob"));
    open_bed("");
    assert_int_equal(post("/dataflows/d/resume", SIGNAL), 400);
    assert_non_null(strstr(said("message"), "forgotten"));
    assert_int_equal(post("/dataflows/d/terminate", SIGNAL), 200);
}

/* Whatever allocation fails: an answer that says so, nothing that hangs or is left behind, and
 * afterwards all is as before. */
static void test_no_memory(void **state)
{
    static const char *const paths[] = {"/v1/dataflows/start",      "/dataflows/start",
                                        "/v1/dataflows/p1/suspend", "/dataflows/d1/resume",
                                        "/dataflows/d1/terminate",  "/events"};
    char event[256];
    (void)state;
    if (!sl_alloc_fail_after(0))
        skip();
    snprintf(event, sizeof(event),
             "{\"at\":1,\"type\":\"TransferProcessTerminated\",\"payload\":{"
             "\"transferProcessId\":\"e1\",\"type\":\"PROVIDER\"}}");
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
        bool failed = true;
        for (int n = 1; failed && n < 200; n++) {
            const char *body = i == 0   ? start_body("p1", "a")
                               : i == 1 ? dps_body("d1", "")
                               : i == 5 ? event
                                        : SIGNAL;
            if (i == 3)
                assert_int_equal(post("/dataflows/d1/suspend", SIGNAL), 200);
            fail_from(n);
            failed = post(paths[i], body) >= 300;
            fail_from(0);
            assert_true(reply.status != 0);
            if (failed && reply.status != 503)
                fail_msg("%s at %d: %ld %s", paths[i], n, reply.status, reply.text);
        }
        assert_false(failed);
    }
    assert_null(look("p1").grant);
    assert_null(look("d1").grant);
}

/* --- starts that take their time */

/* There is a control plane that can be told later; nobody answers there. */
static int begin_late(void **state)
{
    begin(state);
    close_bed();
    open_bed(", url: 'https://edge.example', control_plane: {url: 'http://127.0.0.1:9/c'}");
    token_mode = TOKENS_LATER;
    return 0;
}

static enum flow_news news_of(const char *id)
{
    enum flow_news news;
    loop_stop(loop);
    pthread_join(thread, NULL);
    news = flow_find(signaling->flows, id)->news;
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    return news;
}

static bool ready(const char *id)
{
    bool is;
    loop_stop(loop);
    pthread_join(thread, NULL);
    is = flow_find(signaling->flows, id)->ready != NULL;
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    return is;
}

static void state_is(const char *path, const char *wanted)
{
    for (int i = 0; i < 500; i++) {
        if (get(path) == 200 && strcmp(said("state"), wanted) == 0)
            return;
        usleep(5000);
    }
    fail_msg("%s is %s, not %s", path, said("state"), wanted);
}

static void *resume_d1(void *arg)
{
    struct reply *r = arg;
    ask_into(r, "POST", "/dataflows/d1/resume", SIGNAL, AS_JSON);
    return NULL;
}

static void test_late_legacy(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    assert_true(json_is_true(json_object_get(reply.json, "provisioning")));
    assert_null(json_object_get(reply.json, "dataAddress"));
    assert_int_equal(get("/v1/dataflows/p1/state"), 200);
    assert_string_equal(said("state"), "STARTING");
    token_release = 1;
    state_is("/v1/dataflows/p1/state", "STARTED");
    assert_int_equal(news_of("p1"), NEWS_STARTED);
    for (int i = 0; i < 100 && !ready("p1"); i++)
        usleep(5000);
    /* The second start is answered at once, with the token that was waited for. */
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    assert_string_equal(property(EDC "token"), "token-1");
    assert_int_equal(news_of("p1"), NEWS_NONE);
    assert_int_equal(look("p1").grants, 1);
}

/* A final "no" would be asked for again and again, while no other transfer moves: so the connector
 * hears "later", and is told by a callback. */
static void refused_later(const char *id, const char *body)
{
    char path[64];
    assert_int_equal(post("/v1/dataflows/start", body), 200);
    assert_true(json_is_true(json_object_get(reply.json, "provisioning")));
    assert_null(json_object_get(reply.json, "dataAddress"));
    snprintf(path, sizeof(path), "/v1/dataflows/%s/state", id);
    state_is(path, "TERMINATED");
    assert_int_equal(news_of(id), NEWS_FAILED);
    assert_null(look(id).grant);
}

static void test_refused_later(void **state)
{
    char text[4096];
    const char *whole;
    (void)state;
    refused_later("m1", start_body("m1", "*"));
    token_mode = TOKENS_FAIL;
    refused_later("m2", start_body("m2", "t"));
    token_mode = TOKENS_NOW;
    assert_int_equal(post("/v1/dataflows/m3/terminate", TERMINATE), 204);
    refused_later("m3", start_body("m3", "t")); /* its end overtook it */
    assert_int_equal(tokens_made, 1);
    /* Who does not say what it is about, and what may be had at another try. */
    whole = start_body("m4", "t");
    snprintf(text, sizeof(text), "%.*sother%s", (int)(strstr(whole, "processId") - whole), whole,
             strstr(whole, "processId") + strlen("processId"));
    assert_int_equal(post("/v1/dataflows/start", text), 400);
    token_mode = TOKENS_FAIL;
    token_fault = ERR_BUSY; /* not even asked */
    assert_int_equal(post("/v1/dataflows/start", start_body("m4", "t")), 503);
    token_fault = ERR_DENIED;
    /* A transfer that runs is not ended by a message that is none. */
    token_mode = TOKENS_NOW;
    assert_int_equal(post("/v1/dataflows/start", start_body("m4", "t")), 200);
    assert_int_equal(post("/v1/dataflows/start", start_body("m4", "*")), 400);
    assert_non_null(look("m4").grant);
    /* The other dialect waits for nobody: it is told at once. */
    token_mode = TOKENS_FAIL;
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 400);
}

/* An authorization server that is away: the connector is free at once, and the server is asked
 * again for a while. */
static void test_away(void **state)
{
    (void)state;
    token_mode = TOKENS_FAIL;
    token_fault = ERR_TIMEOUT;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "t")), 200);
    assert_true(json_is_true(json_object_get(reply.json, "provisioning")));
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 202);
    assert_null(look("p1").grant);
    token_mode = TOKENS_NOW; /* it is back */
    state_is("/v1/dataflows/p1/state", "STARTED");
    state_is("/dataflows/d1/status", "STARTED");
    assert_non_null(look("p1").grant);
    assert_true(ready("p1"));
    token_mode = TOKENS_FAIL; /* for good */
    assert_int_equal(post("/v1/dataflows/start", start_body("p2", "t")), 200);
    wait_for(&tokens_made, 4 + SIGNALING_ASKS_MAX);
    state_is("/v1/dataflows/p2/state", "TERMINATED");
    assert_int_equal(news_of("p2"), NEWS_FAILED);
    assert_int_equal(tokens_made, 4 + SIGNALING_ASKS_MAX);
}

static void test_late_dps(void **state)
{
    (void)state;
    assert_int_equal(post("/dataflows/start", dps_body("d 1", "")), 202);
    assert_string_equal(said("state"), "STARTING");
    assert_string_equal(reply.location, "/dataflows/d%201/status");
    assert_int_equal(post("/dataflows/start", dps_body("d 1", "")), 409);
    token_release = 1;
    state_is("/dataflows/d%201/status", "STARTED");
    assert_int_equal(news_of("d 1"), NEWS_STARTED);
}

/* A resume is answered when it is done, however long that takes. */
static void test_late_resume(void **state)
{
    static struct reply other;
    pthread_t asking;
    (void)state;
    token_mode = TOKENS_NOW;
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 200);
    assert_int_equal(post("/dataflows/d1/suspend", SIGNAL), 200);
    token_mode = TOKENS_LATER;
    assert_int_equal(pthread_create(&asking, NULL, resume_d1, &other), 0);
    usleep((SIGNALING_PATIENCE_MS + 200) * 1000);
    token_release = 1;
    pthread_join(asking, NULL);
    assert_int_equal(other.status, 200);
    json_decref(other.json);
    other.json = NULL;
}

/* Nobody gets what was promised before the restart, so the transfer ends. */
static void test_late_restart(void **state)
{
    (void)state;
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 202);
    assert_int_equal(post("/dataflows/d1/terminate", SIGNAL), 200);
    assert_int_equal(post("/dataflows/start", dps_body("d2", "")), 202);
    close_bed();
    open_bed(", url: 'https://edge.example', control_plane: {url: 'http://127.0.0.1:9/c'}");
    state_is("/dataflows/d2/status", "TERMINATED");
    assert_int_equal(news_of("d1"), NEWS_NONE);
    assert_int_equal(news_of("d2"), NEWS_FAILED);
    assert_true(look("d2").barred > 0);
}

/* --- what ends by another way */

static void sweep_now(void)
{
    loop_stop(loop);
    pthread_join(thread, NULL);
    signaling_sweep(signaling);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
}

static void test_revoked_elsewhere(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    assert_int_equal(post("/v1/dataflows/start", start_body("p2", "a")), 200);
    sweep_now();
    assert_int_equal(news_of("p1"), NEWS_NONE);
    loop_stop(loop);
    pthread_join(thread, NULL);
    assert_int_equal(store_ungrant(store, "p1", NULL, NULL), OK);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    for (int i = 0; i < 100 && look("p1").grant; i++)
        usleep(5000);
    sweep_now();
    state_is("/v1/dataflows/p1/state", "TERMINATED");
    assert_int_equal(news_of("p1"), NEWS_FAILED);
    state_is("/v1/dataflows/p2/state", "STARTED");
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 409);
}

/* A start that comes again before the sweep has seen it opens nothing either. */
static void bar(enum revoke_kind kind, const char *value, int64_t at)
{
    struct revocation *r = revocation_new(kind, "", value, "", at, 0, "an operator's word");
    int rc;
    loop_stop(loop);
    pthread_join(thread, NULL);
    rc = store_revoke(store, r, NULL, NULL);
    revocation_free(r);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    assert_int_equal(rc, OK);
    assert_int_equal(get("/v1/dataflows/check"), 204); /* a turn later */
}

/* What an operator revokes while it is suspended stays so, whatever it was revoked by: a resume
 * does not undo it. What was revoked before the transfer began does not matter. */
static void test_revoked_while_suspended(void **state)
{
    static const struct {
        enum revoke_kind kind;
        const char *value;
    } ways[] = {{REVOKE_TRANSFER, NULL},
                {REVOKE_AGREEMENT, "agreement-1"},
                {REVOKE_ASSET, "kafka-asset"},
                {REVOKE_PARTICIPANT, "consumer"}};
    char id[16], path[64];
    int64_t now = time(NULL);
    (void)state;
    bar(REVOKE_PARTICIPANT, "consumer", now - 100);
    assert_int_equal(post("/v1/dataflows/start", start_body("before", "a")), 200);
    assert_int_equal(post("/v1/dataflows/before/suspend", SUSPEND), 204);
    assert_int_equal(post("/v1/dataflows/start", start_body("before", "a")), 200);
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        snprintf(id, sizeof(id), "w%zu", i);
        assert_int_equal(post("/v1/dataflows/start", start_body(id, "a")), 200);
        snprintf(path, sizeof(path), "/v1/dataflows/%s/suspend", id);
        assert_int_equal(post(path, SUSPEND), 204);
        /* time() lags a few ms: one second more is not surely behind the suspension's own. */
        bar(ways[i].kind, ways[i].value ? ways[i].value : id, time(NULL) + 2);
        assert_int_equal(post("/v1/dataflows/start", start_body(id, "a")), 409);
        assert_null(look(id).grant);
        assert_int_equal(news_of(id), NEWS_FAILED);
    }
}

static void test_resumed_after_a_revocation(void **state)
{
    (void)state;
    assert_int_equal(post("/dataflows/start", dps_body("d1", "")), 200);
    assert_int_equal(post("/dataflows/d1/suspend", SIGNAL), 200);
    bar(REVOKE_TRANSFER, "d1", time(NULL) + 2);
    assert_int_equal(post("/dataflows/d1/resume", SIGNAL), 409);
    assert_null(look("d1").grant);
}

static void test_revoked_and_started(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    loop_stop(loop);
    pthread_join(thread, NULL);
    assert_int_equal(store_ungrant(store, "p1", NULL, NULL), OK);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    for (int i = 0; i < 100 && look("p1").grant; i++)
        usleep(5000);
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 409);
    assert_null(look("p1").grant);
    assert_int_equal(news_of("p1"), NEWS_FAILED);
}

static int begin_short(void **state)
{
    begin(state);
    close_bed();
    open_bed(", max_life_s: 2");
    return 0;
}

static void test_longest_life(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    assert_true(look("p1").grant->expires >= time(NULL) + 1);
    sweep_now();
    state_is("/v1/dataflows/p1/state", "STARTED");
    sleep(3);
    sweep_now();
    state_is("/v1/dataflows/p1/state", "COMPLETED");
    assert_int_equal(news_of("p1"), NEWS_COMPLETED);
}

/* --- events of a connector */

static const char *event(const char *type, const char *side, const char *id, int64_t at_ms)
{
    static char text[512];
    snprintf(text, sizeof(text),
             "{\"id\":\"e1\",\"at\":%lld,\"type\":\"%s\",\"payload\":{\"transferProcessId\":\"%s\","
             "\"assetId\":\"a\",\"contractId\":\"c\",\"type\":\"%s\",\"reason\":\"test\"}}",
             (long long)at_ms, type, id, side);
    return text;
}

/* As recorded from EDC 0.15.1, but for the side. */
static const char recorded_event[] =
    "{\"id\":\"8bcfb5cd-4985-4bc2-b58d-57db4a6f1fba\",\"at\":1795321079667,\"payload\":{"
    "\"transferProcessId\":\"p9\",\"callbackAddresses\":[{"
    "\"uri\":\"http://localhost:19384/events\",\"events\":[\"transfer.process\"],"
    "\"transactional\":false,\"authKey\":null,\"authCodeId\":null}],"
    "\"assetId\":\"kafka-asset\",\"type\":\"PROVIDER\","
    "\"contractId\":\"39e789c0-6633-4ff0-bb9e-480828dc814f\","
    "\"participantContextId\":\"provider\",\"protocol\":\"dataspace-protocol-http:2025-1\","
    "\"reason\":\"{@value=test}\"},\"type\":\"TransferProcessSuspended\"}";

static void test_events(void **state)
{
    int64_t now = (int64_t)time(NULL) * 1000;
    (void)state;
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    assert_int_equal(post("/events", event("TransferProcessStarted", "PROVIDER", "p1", now)), 204);
    assert_int_equal(post("/events", event("TransferProcessTerminated", "CONSUMER", "p1", now)),
                     204);
    assert_int_equal(
        post("/events", event("TransferProcessSuspended", "PROVIDER", "p1", now - 9000)),
        204); /* told late: it was started again since */
    assert_non_null(look("p1").grant);
    assert_int_equal(
        post("/events", event("TransferProcessSuspended", "PROVIDER", "p1", now + 60000)), 204);
    assert_null(look("p1").grant);
    assert_int_equal(post("/v1/dataflows/start", start_body("p1", "a")), 200);
    assert_int_equal(post("/events", event("TransferProcessTerminated", "PROVIDER", "p1", now)),
                     204);
    assert_null(look("p1").grant);
    assert_int_equal(post("/events", event("TransferProcessTerminated", "PROVIDER", "u1", now)),
                     204);
    assert_true(look("u1").barred > 0);
    assert_int_equal(post("/events", event("ContractNegotiationFinalized", "PROVIDER", "", now)),
                     204);
    assert_int_equal(post("/events", event("TransferProcessTerminated", "PROVIDER", "", now)), 400);
    assert_int_equal(post("/events", recorded_event), 204);
    assert_true(look("p9").barred > 0);
    assert_int_equal(post("/events", "{}"), 400);
    assert_int_equal(post("/events", "[]"), 400);
}

/* --- a consumer's data plane, prepare */

static void test_legacy_prepare(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/dataflows/prepare",
                          "{\"@context\":{\"@vocab\":\"" EDC "\"},"
                          "\"@type\":\"DataFlowProvisionMessage\",\"processId\":\"p\"}"),
                     200);
    assert_true(json_is_false(json_object_get(reply.json, "provisioning")));
    assert_null(json_object_get(reply.json, "dataAddress"));
    assert_int_equal(post("/v1/dataflows/prepare", "{}"), 400);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_legacy_life),
        TEST(test_legacy_repeats),
        TEST(test_legacy_unknown),
        TEST(test_bodies_of_ends),
        TEST(test_malformed),
        TEST(test_long_names),
        TEST(test_no_token),
        TEST(test_store_fails),
        TEST(test_dps_life),
        TEST(test_dps_table),
        TEST(test_dps_refusals),
        TEST(test_dps_unknown),
        TEST(test_answer_waits),
        TEST(test_overtaken),
        TEST(test_dropped),
        TEST(test_stopped_in_between),
        TEST(test_suspend_and_resume_race),
        TEST(test_resume_in_the_second_of_the_suspension),
        TEST(test_restart),
        TEST(test_secret_is_not_kept),
        TEST(test_no_memory),
        cmocka_unit_test_setup_teardown(test_late_legacy, begin_late, end),
        cmocka_unit_test_setup_teardown(test_late_dps, begin_late, end),
        cmocka_unit_test_setup_teardown(test_dps_starting, begin_late, end),
        cmocka_unit_test_setup_teardown(test_refused_later, begin_late, end),
        cmocka_unit_test_setup_teardown(test_away, begin_late, end),
        cmocka_unit_test_setup_teardown(test_late_resume, begin_late, end),
        cmocka_unit_test_setup_teardown(test_late_restart, begin_late, end),
        TEST(test_revoked_elsewhere),
        TEST(test_revoked_and_started),
        TEST(test_revoked_while_suspended),
        TEST(test_resumed_after_a_revocation),
        cmocka_unit_test_setup_teardown(test_longest_life, begin_short, end),
        TEST(test_events),
        TEST(test_legacy_prepare),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
