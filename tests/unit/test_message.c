/* What control planes say, in every spelling that is one, and in many that are none. */
#include "tests/unit/unit.h"

#include "base/alloc.h"
#include "edc/message.h"
#include "tests/unit/token.h"

#define EDC      "https://w3id.org/edc/v0.0.1/ns/"
#define DSPACE   "https://w3id.org/dspace/v0.8/"
#define DSPACE25 "https://w3id.org/dspace/2025/1/"

static struct config *config;

static int setup(void **state)
{
    (void)state;
    config = token_config("issuers: [{issuer: 'https://i.example', audience: sluice}]\n"
                          "signaling: {listen: '127.0.0.1:1', operations: [read, write]}\n");
    return config ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    config_unref(config);
    return 0;
}

static int read_as(struct message *m, enum dialect dialect, const char *text)
{
    return message_read(m, dialect, MESSAGE_START, text, strlen(text), config);
}

/* As recorded from EDC 0.15.1 and 0.14.0: members in their order, endpointType a plain text. */
static const char recorded[] =
    "{\"@type\":\"DataFlowStartMessage\",\"transferTypeDestination\":\"KafkaBroker\","
    "\"flowType\":\"PULL\",\"agreementId\":\"ad67b55d-797a-443f-8609-35044bd82af5\","
    "\"processId\":\"31b9cd1f-6c04-4ad5-97e3-29d97b3f0538\",\"datasetId\":\"kafka-asset\","
    "\"properties\":{},\"callbackAddress\":\"http://localhost:19182/control\","
    "\"sourceDataAddress\":{\"@type\":\"dspace:DataAddress\","
    "\"dspace:endpointType\":\"KafkaBroker\",\"dspace:endpointProperties\":["
    "{\"@type\":\"dspace:EndpointProperty\",\"dspace:name\":\"" EDC "topic\","
    "\"dspace:value\":\"sensor-data\"},{\"@type\":\"dspace:EndpointProperty\","
    "\"dspace:name\":\"" EDC "kafka.bootstrap.servers\","
    "\"dspace:value\":\"edge.example:9093\"}]},\"participantId\":\"consumer\",\"@context\":{"
    "\"odrl\":\"http://www.w3.org/ns/odrl/2/\",\"dspace\":\"" DSPACE "\",\"@vocab\":\"" EDC "\"}}";

static void test_recorded(void **state)
{
    struct message m;
    (void)state;
    assert_int_equal(read_as(&m, DIALECT_LEGACY, recorded), OK);
    assert_string_equal(m.process, "31b9cd1f-6c04-4ad5-97e3-29d97b3f0538");
    assert_string_equal(m.agreement, "ad67b55d-797a-443f-8609-35044bd82af5");
    assert_string_equal(m.dataset, "kafka-asset");
    assert_string_equal(m.participant, "consumer");
    assert_string_equal(m.callback, "http://localhost:19182/control");
    assert_null(m.audience);
    assert_int_equal(m.offer.ntopics, 1);
    assert_string_equal(m.offer.topics[0], "sensor-data");
    assert_string_equal(m.offer.group_prefix, "consumer");
    assert_int_equal(m.offer.operations, OP_READ | OP_WRITE);
    assert_false(m.dspace_2025);
    assert_false(m.type_as_id);
    message_release(&m);
    message_release(&m);
}

/* The later generation: another namespace, endpointType an id, who may refresh in properties. */
static void test_2025(void **state)
{
    struct message m;
    (void)state;
    assert_int_equal(
        read_as(&m, DIALECT_LEGACY,
                "{\"@context\":[\"https://w3id.org/edc/connector/management/v2\",{\"@vocab\":\"" EDC
                "\",\"dspace\":\"" DSPACE25 "\"}],\"@type\":[\"" EDC "DataFlowStartMessage\"],"
                "\"processId\":\"p\",\"datasetId\":\"d\",\"agreementId\":\"a\","
                "\"participantId\":\"did:web:bob\",\"transferType\":\"KafkaBroker-PULL\","
                "\"flowType\":\"PULL\",\"properties\":{"
                "\"https://w3id.org/tractusx/auth/audience\":\"did:web:bob\"},"
                "\"sourceDataAddress\":{\"dspace:endpointType\":{\"@id\":\"KafkaBroker\"},"
                "\"dspace:endpointProperties\":{\"dspace:name\":\"edc:topic\","
                "\"dspace:value\":{\"@value\":\"t1, t2\"}}}}"),
        OK);
    assert_true(m.dspace_2025);
    assert_true(m.type_as_id);
    assert_string_equal(m.audience, "did:web:bob");
    assert_string_equal(m.offer.group_prefix, "did:web:bob");
    assert_int_equal(m.offer.ntopics, 2);
    assert_string_equal(m.offer.topics[1], "t2");
    message_release(&m);
}

/* Expanded: a list of one, every name in full, every value a list of one. */
static void test_expanded(void **state)
{
    struct message m;
    (void)state;
    assert_int_equal(read_as(&m, DIALECT_LEGACY,
                             " [{\"@type\":[\"" EDC "DataFlowStartMessage\"],"
                             "\"" EDC "processId\":[{\"@value\":\"p\"}],"
                             "\"" EDC "participantId\":[{\"@value\":\"c\"}],"
                             "\"" EDC "agreementId\":[{\"@value\":\"a\"}],"
                             "\"" EDC "datasetId\":[{\"@value\":\"d\"}],"
                             "\"" EDC "transferType\":[{\"@value\":\"KafkaBroker-PULL\"}],"
                             "\"" EDC "sourceDataAddress\":[{\"@type\":[\"" DSPACE25
                             "DataAddress\"],"
                             "\"" DSPACE25 "endpointType\":[{\"@id\":\"KafkaBroker\"}],"
                             "\"" DSPACE25 "endpointProperties\":[{"
                             "\"" DSPACE25 "name\":[{\"@value\":\"" EDC "topic\"}],"
                             "\"" DSPACE25 "value\":[{\"@value\":\"t\"}]},{"
                             "\"" DSPACE25 "name\":[{\"@value\":\"" EDC "kafka.group.prefix\"}],"
                             "\"" DSPACE25 "value\":[{\"@value\":\"bob\"}]}]}]}]\n"),
                     OK);
    assert_true(m.dspace_2025);
    assert_string_equal(m.offer.topics[0], "t");
    assert_string_equal(m.offer.group_prefix, "bob");
    message_release(&m);
}

/* Bare names, prefixes of the context's own choice, a flat address as in the management API. */
static void test_other_names(void **state)
{
    static const char *const texts[] = {
        "{\"@context\":{\"@vocab\":\"" EDC "\"},\"@type\":\"DataFlowStartMessage\","
        "\"processId\":\"p\",\"participantId\":\"c\",\"agreementId\":\"a\",\"datasetId\":\"d\","
        "\"transferType\":\"KafkaBroker-PULL\",\"sourceDataAddress\":{"
        "\"endpointType\":\"KafkaBroker\",\"endpointProperties\":[{\"name\":\"topic\","
        "\"value\":\"t\"}]}}",
        "{\"@context\":{\"e\":\"" EDC "\",\"d\":{\"@id\":\"" DSPACE "\"},\"pid\":\"e:processId\"},"
        "\"@type\":\"e:DataFlowStartMessage\",\"pid\":\"p\",\"e:participantId\":\"c\","
        "\"e:agreementId\":\"a\",\"e:datasetId\":\"d\",\"e:transferType\":\"KafkaBroker-PULL\","
        "\"e:sourceDataAddress\":{\"d:endpointType\":\"KafkaBroker\",\"d:endpointProperties\":["
        "{\"d:name\":\"e:topic\",\"d:value\":\"t\"}]}}",
        "{\"@type\":\"edc:DataFlowStartMessage\",\"edc:processId\":\"p\","
        "\"edc:participantId\":\"c\",\"edc:agreementId\":\"a\",\"edc:datasetId\":\"d\","
        "\"edc:transferType\":\"KafkaBroker-PULL\",\"edc:sourceDataAddress\":{"
        "\"@type\":\"edc:DataAddress\",\"edc:type\":\"KafkaBroker\",\"edc:topic\":\"t\"}}",
    };
    struct message m;
    (void)state;
    assert_int_equal(
        read_as(&m, DIALECT_LEGACY,
                "{\"@context\":[\"" DSPACE25 "context.jsonld\"],"
                "\"@type\":\"DataFlowStartMessage\",\"processId\":\"p\","
                "\"participantId\":\"c\",\"agreementId\":\"a\",\"datasetId\":\"d\","
                "\"transferType\":\"KafkaBroker-PULL\",\"sourceDataAddress\":{"
                "\"endpointType\":\"KafkaBroker\",\"endpointProperties\":[{\"name\":\"topic\","
                "\"value\":\"t\"}]}}"),
        OK);
    assert_true(m.dspace_2025);
    message_release(&m);
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        if (read_as(&m, DIALECT_LEGACY, texts[i]) != OK)
            fail_msg("%zu: %s", i, m.doc.fault);
        assert_string_equal(m.process, "p");
        assert_string_equal(m.offer.topics[0], "t");
        message_release(&m);
    }
}

/* The recorded message with one thing changed. */
static void refused(const char *was, const char *is, const char *why)
{
    struct message m;
    char text[4096];
    const char *at = strstr(recorded, was);
    assert_non_null(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - recorded), recorded, is, at + strlen(was));
    assert_int_equal(read_as(&m, DIALECT_LEGACY, text), ERR_MALFORMED);
    if (!strstr(m.doc.fault, why))
        fail_msg("\"%s\" instead of \"%s\": \"%s\" does not say \"%s\"", is, was, m.doc.fault, why);
    message_release(&m);
}

static void test_refused(void **state)
{
    (void)state;
    refused("\"flowType\"", "\"edc:processId\":\"q\",\"flowType\"",
            "processId: stands there twice");
    refused("\"flowType\"", "\"" EDC "agreementId\":\"q\",\"flowType\"",
            "agreementId: stands there twice");
    refused("\"flowType\"", "\"flowType\":\"PULL\",\"flowType\"", "no JSON");
    refused("\"processId\"", "\"other:processId\"", "processId: is missing");
    refused("\"@vocab\":\"" EDC "\"", "\"@vocab\":\"https://else.example/\"", "@type");
    refused("\"PULL\"", "\"PUSH\"", "flowType: takes PULL");
    refused("\"PULL\"", "[\"PULL\",\"PUSH\"]", "flowType: is no text");
    refused("\"datasetId\":\"kafka-asset\"", "\"datasetId\":{\"@value\":7}",
            "datasetId: is no text");
    refused("\"datasetId\":\"kafka-asset\"", "\"datasetId\":\"a\\nb\"", "datasetId: ");
    refused("\"datasetId\":\"kafka-asset\"", "\"datasetId\":null", "datasetId: is missing");
    refused("\"participantId\":\"consumer\"", "\"participantId\":\"*\"",
            "participantId: holds \"*\"");
    refused("\"participantId\":\"consumer\"", "\"participantId\":\"__c\"", "begins with \"__\"");
    refused("kafka.bootstrap.servers\",\"dspace:value\":\"edge.example:9093\"",
            "kafka.group.prefix\",\"dspace:value\":\"\"", "kafka.group.prefix: is empty");
    refused("kafka.bootstrap.servers\",\"dspace:value\":\"edge.example:9093\"",
            "kafka.group.prefix\",\"dspace:value\":\"*\"", "kafka.group.prefix: holds \"*\"");
    refused("kafka.bootstrap.servers\",\"dspace:value\":\"edge.example:9093\"",
            "groupPrefix\",\"dspace:value\":\"a\\u0000\"", "no JSON");
    refused("kafka.bootstrap.servers\",\"dspace:value\":\"edge.example:9093\"",
            "operations\",\"dspace:value\":\"read, manage\"", "more than signaling.operations");
    refused("kafka.bootstrap.servers\",\"dspace:value\":\"edge.example:9093\"",
            "operations\",\"dspace:value\":\"all\"", "operations: takes");
    refused("kafka.bootstrap.servers\",\"dspace:value\":\"edge.example:9093\"",
            "operations\",\"dspace:value\":\", ,\"", "operations: names none");
    refused("kafka.bootstrap.servers\",\"dspace:value\":\"edge.example:9093\"",
            "topic\",\"dspace:value\":\"other\"", "topic: stands there twice");
    refused("kafka.bootstrap.servers\",\"dspace:value\":\"edge.example:9093\"",
            "tokenUrl\",\"dspace:value\":\"file:///etc/passwd\"", "tokenUrl: is no https URL");
    refused("kafka.bootstrap.servers\",\"dspace:value\":\"edge.example:9093\"",
            "revokeUrl\",\"dspace:value\":\"https://u:p@h/\"", "revokeUrl: holds a user");
    refused("[{\"@type\":\"dspace:EndpointProperty\"", "[[{\"@type\":\"x\"}],{\"a\":\"b\"",
            "endpointProperties[0]: is no object");
    refused("\"sourceDataAddress\":{", "\"sourceDataAddress\":\"x\",\"y\":{",
            "sourceDataAddress: is no object");
}

/* A context that is too long, names that are too long, nesting that is too deep. */
static int put_property(char *at, enum dialect dialect, const char *comma, const char *name,
                        const char *value)
{
    if (dialect == DIALECT_DPS)
        return sprintf(at, "%s\"" EDC "%s\":\"%s\"", comma, name, value);
    return sprintf(at, "%s{\"dspace:name\":\"" EDC "%s\",\"dspace:value\":\"%s\"}", comma, name,
                   value);
}

/* A start with this topic and prefix; JSON texts, without their quotes. NULL: not there. */
static int start_with(enum dialect dialect, const char *prefix_name, const char *topic,
                      const char *prefix, struct message *m)
{
    static char text[2 * 70000];
    static const char *const heads[] = {
        [DIALECT_LEGACY] =
            "{\"@context\":{\"@vocab\":\"" EDC "\",\"dspace\":\"" DSPACE "\"},"
            "\"@type\":\"DataFlowStartMessage\",\"processId\":\"p\",\"datasetId\":\"d\","
            "\"agreementId\":\"a\",\"participantId\":\"c\",\"flowType\":\"PULL\","
            "\"transferTypeDestination\":\"KafkaBroker\",\"sourceDataAddress\":{"
            "\"dspace:endpointType\":\"KafkaBroker\",\"dspace:endpointProperties\":[",
        [DIALECT_DPS] =
            "{\"messageId\":\"m\",\"participantId\":\"prov\",\"counterPartyId\":\"c\","
            "\"dataspaceContext\":\"x\",\"processId\":\"p\",\"agreementId\":\"a\","
            "\"datasetId\":\"d\",\"profile\":\"KafkaBroker-PULL\",\"claims\":{},\"metadata\":{",
    };
    int n = sprintf(text, "%s", heads[dialect]);
    if (topic)
        n += put_property(text + n, dialect, "", "topic", topic);
    if (prefix)
        n += put_property(text + n, dialect, topic ? "," : "", prefix_name, prefix);
    strcpy(text + n, dialect == DIALECT_LEGACY ? "]}}" : "}}");
    return read_as(m, dialect, text);
}

static void refused_name(enum dialect dialect, const char *prefix_name, const char *topic,
                         const char *prefix)
{
    struct message m;
    if (start_with(dialect, prefix_name, topic, prefix, &m) != ERR_MALFORMED || !m.doc.fault[0])
        fail_msg("%s, %s %.40s: was taken", topic, prefix_name, prefix);
    message_release(&m);
}

/* Topics and prefixes that must open nothing, in both dialects, under each name. */
static void test_hostile_names(void **state)
{
    static char ten_thousand[10001], character[16];
    static const char *const prefix_names[] = {"kafka.group.prefix", "groupPrefix"};
    const char *const names[] = {"",
                                 "*",
                                 "a*",
                                 "*a",
                                 "__consumer_offsets",
                                 "__transaction_state",
                                 "__cluster_metadata",
                                 "__x",
                                 ten_thousand};
    struct message m;
    (void)state;
    memset(ten_thousand, 'x', sizeof(ten_thousand) - 1);
    for (int d = DIALECT_LEGACY; d <= DIALECT_DPS; d++) {
        for (size_t k = 0; k < 2; k++) {
            assert_int_equal(start_with((enum dialect)d, prefix_names[k], "t", "bob", &m), OK);
            message_release(&m);
            refused_name((enum dialect)d, prefix_names[k], NULL, "bob"); /* no topic */
            for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
                refused_name((enum dialect)d, prefix_names[k], names[i], "bob");
                refused_name((enum dialect)d, prefix_names[k], "t", names[i]);
            }
            for (int c = 0; c < 0xa0; c += c == 0x1f ? 0x60 : 1) { /* C0, DEL, C1 */
                snprintf(character, sizeof(character), "a\\u%04xb", (unsigned)c);
                refused_name((enum dialect)d, prefix_names[k], character, "bob");
                refused_name((enum dialect)d, prefix_names[k], "t", character);
            }
        }
    }
}

static void test_bounds(void **state)
{
    struct message m;
    char *text = malloc(300000);
    size_t n;
    (void)state;
    n = (size_t)sprintf(text, "{\"@context\":{");
    for (int i = 0; i < 100; i++)
        n += (size_t)sprintf(text + n, "\"t%d\":\"https://x.example/\",", i);
    sprintf(text + n, "\"@vocab\":\"" EDC "\"}}");
    assert_int_equal(read_as(&m, DIALECT_LEGACY, text), ERR_MALFORMED);
    assert_non_null(strstr(m.doc.fault, "too many terms"));
    message_release(&m);

    n = (size_t)sprintf(text, "{\"a\":");
    memset(text + n, '[', 100000);
    text[n + 100000] = '\0';
    assert_int_equal(read_as(&m, DIALECT_LEGACY, text), ERR_MALFORMED);
    assert_non_null(strstr(m.doc.fault, "nested deeper than 16"));
    message_release(&m);

    n = (size_t)sprintf(text, "%.*s", (int)(strstr(recorded, "{\"@type\":\"dspace:End") - recorded),
                        recorded);
    for (int i = 0; i < MESSAGE_PROPERTIES_MAX + 1; i++)
        n += (size_t)sprintf(text + n, "{\"dspace:name\":\"n%d\",\"dspace:value\":\"v\"},", i);
    sprintf(text + n, "%s", strstr(recorded, "{\"@type\":\"dspace:End"));
    assert_int_equal(read_as(&m, DIALECT_LEGACY, text), ERR_MALFORMED);
    assert_non_null(strstr(m.doc.fault, "too many properties"));
    message_release(&m);
    free(text);
}

static const char dps[] =
    "{\"messageId\":\"m\",\"participantId\":\"prov\",\"counterPartyId\":\"cons\","
    "\"dataspaceContext\":\"ctx\",\"processId\":\"p1\",\"agreementId\":\"a\","
    "\"datasetId\":\"asset\",\"profile\":\"KafkaBroker-PULL\",\"claims\":{\"sub\":\"x\"},"
    "\"labels\":[],\"metadata\":{\"topic\":\"t1\",\"groupPrefix\":\"bob\",\"other\":7}}";

static void test_dps(void **state)
{
    struct message m;
    (void)state;
    assert_int_equal(read_as(&m, DIALECT_DPS, dps), OK);
    assert_string_equal(m.id, "m");
    assert_string_equal(m.process, "p1");
    assert_string_equal(m.participant, "cons");
    assert_string_equal(m.offer.topics[0], "t1");
    assert_string_equal(m.offer.group_prefix, "bob");
    assert_null(m.callback);
    message_release(&m);
    /* JSON-LD means nothing here: names are what they are. */
    assert_int_equal(read_as(&m, DIALECT_DPS, "{\"edc:processId\":\"p\"}"), ERR_MALFORMED);
    message_release(&m);
    assert_int_equal(read_as(&m, DIALECT_DPS, "[]"), ERR_MALFORMED);
    assert_string_equal(m.doc.fault, "the body is no JSON object");
    message_release(&m);
}

/* Cut anywhere, a message is refused, and nothing is read behind its end. */
static void test_every_cut(void **state)
{
    static const char *const whole[] = {recorded, dps};
    (void)state;
    for (size_t w = 0; w < 2; w++) {
        for (size_t n = 0; n < strlen(whole[w]); n++) {
            struct message m;
            char *cut = malloc(n ? n : 1);
            memcpy(cut, whole[w], n);
            assert_int_equal(
                message_read(&m, w ? DIALECT_DPS : DIALECT_LEGACY, MESSAGE_START, cut, n, config),
                ERR_MALFORMED);
            assert_true(m.doc.fault[0] != '\0');
            message_release(&m);
            free(cut);
        }
    }
}

static void test_no_memory(void **state)
{
    struct message m;
    (void)state;
    if (!sl_alloc_fail_after(1))
        skip();
    assert_int_equal(read_as(&m, DIALECT_LEGACY, recorded), ERR_NOMEM);
    sl_alloc_fail_after(0);
    message_release(&m);
}

static void test_ends(void **state)
{
    static const char text[] = "{\"@context\":{\"@vocab\":\"" EDC "\"},\"messageId\":\"m\","
                               "\"reason\":\"it is over\"}";
    char *id, *reason;
    (void)state;
    assert_int_equal(message_read_end(text, sizeof(text) - 1, &id, &reason), OK);
    assert_string_equal(id, "m");
    assert_string_equal(reason, "it is over");
    free(id);
    free(reason);
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        assert_int_equal(message_read_end(text, n, &id, &reason), OK);
        assert_null(id);
        assert_null(reason);
    }
    assert_int_equal(message_read_end("{\"reason\":\"a\\nb\",\"messageId\":7}", 31, &id, &reason),
                     OK);
    assert_null(id);
    assert_null(reason);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded),      cmocka_unit_test(test_2025),
        cmocka_unit_test(test_expanded),      cmocka_unit_test(test_other_names),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_dps),           cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_no_memory),     cmocka_unit_test(test_ends),
        cmocka_unit_test(test_hostile_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
