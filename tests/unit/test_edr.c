/* The three forms of an EDR, in both dialects. */
#include "tests/unit/unit.h"

#include <string.h>

#include "edc/edr.h"

#define EDC "https://w3id.org/edc/v0.0.1/ns/"
#define TX  "https://w3id.org/tractusx/auth/"

static const char *const topics[] = {"t1", "t2"};

static struct edr whole(enum edr_form form)
{
    return (struct edr){
        .form = form,
        .endpoint = "edge:9093",
        .token = "eyJ",
        .expires_in_s = 300,
        .topics = topics,
        .ntopics = 2,
        .group_prefix = "bob",
        .agreement = "agreement",
        .poll_duration = "PT1S",
        .operations = OP_READ | OP_WRITE,
        .refresh_token = "refresh",
        .refresh_endpoint = "https://edge/refresh",
        .refresh_audience = "did:web:provider",
        .audience = "did:web:bob",
    };
}

static const struct {
    const char *name, *concept_form, *kafka, *tractus; /* NULL: not in this form */
} wanted[] = {
    {EDC "type", "EDR", "https://w3id.org/idsa/v4.1/Kafka", "KafkaBroker"},
    {EDC "endpoint", "edge:9093", "edge:9093", NULL},
    {EDC "kafka.bootstrap.servers", NULL, NULL, "edge:9093"},
    {EDC "authorization", "eyJ", "eyJ", NULL},
    {EDC "token", NULL, NULL, "eyJ"},
    {EDC "topic", "t1,t2", "t1,t2", "t1,t2"},
    {EDC "groupPrefix", "bob", NULL, NULL},
    {EDC "kafka.group.prefix", NULL, "bob", "bob"},
    {EDC "contractId", "agreement", NULL, NULL},
    {EDC "scopes", "read write", NULL, NULL},
    {EDC "kafka.security.protocol", NULL, "SASL_SSL", "SASL_SSL"},
    {EDC "kafka.sasl.mechanism", NULL, "OAUTHBEARER", "OAUTHBEARER"},
    {EDC "kafka.poll.duration", NULL, "PT1S", "PT1S"},
    {TX "expiresIn", "300", "300", NULL},
    {TX "refreshToken", "refresh", NULL, NULL},
    {TX "refreshEndpoint", "https://edge/refresh", NULL, NULL},
    {TX "refreshAudience", "did:web:provider", NULL, NULL},
    {TX "audience", "did:web:bob", NULL, NULL},
};
#define WANTED (sizeof(wanted) / sizeof(*wanted))

static const char *want(size_t i, enum edr_form form)
{
    return form == EDR_CONCEPT           ? wanted[i].concept_form
           : form == EDR_KAFKA_EXTENSION ? wanted[i].kafka
                                         : wanted[i].tractus;
}

/* Just what the form has, each once, each a text. */
static void check_form(enum edr_form form, enum dialect dialect)
{
    const struct edr e = whole(form);
    bool dps = dialect == DIALECT_DPS;
    json_t *address = edr_address(&e, dialect, false), *list, *item;
    size_t i, n = 0;

    list = json_object_get(address, dps ? "endpointProperties" : "dspace:endpointProperties");
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(json_object_get(item, dps ? "name" : "dspace:name"));
        const char *value =
            json_string_value(json_object_get(item, dps ? "value" : "dspace:value"));
        size_t at = 0;

        assert_non_null(value);
        while (at < WANTED && strcmp(wanted[at].name, name) != 0)
            at++;
        assert_in_range(at, 0, WANTED - 1);
        assert_non_null(want(at, form));
        assert_string_equal(value, want(at, form));
        assert_int_equal(json_object_size(item), dps ? 2 : 3);
    }
    for (size_t at = 0; at < WANTED; at++)
        n += want(at, form) != NULL;
    assert_int_equal(json_array_size(list), n);
    assert_string_equal(
        json_string_value(json_object_get(address, dps ? "endpointType" : "dspace:endpointType")),
        edr_type(form));
    json_decref(address);
}

static void test_forms(void **state)
{
    (void)state;
    for (int form = EDR_CONCEPT; form <= EDR_TRACTUSX; form++) {
        check_form((enum edr_form)form, DIALECT_LEGACY);
        check_form((enum edr_form)form, DIALECT_DPS);
    }
}

/* What is not known is left out. */
static void test_absent(void **state)
{
    const struct edr e = {.form = EDR_CONCEPT,
                          .endpoint = "e:1",
                          .token = "t",
                          .topics = topics,
                          .ntopics = 1,
                          .operations = OP_READ};
    json_t *address = edr_address(&e, DIALECT_LEGACY, true);
    (void)state;
    assert_int_equal(json_array_size(json_object_get(address, "dspace:endpointProperties")), 6);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(address, "dspace:endpointType"), "@id")),
        "EDR");
    json_decref(address);
}

/* A connector ends the transfer when the namespace is not its own. */
static void test_response(void **state)
{
    const struct edr e = whole(EDR_TRACTUSX);
    json_t *old = edr_response(edr_address(&e, DIALECT_LEGACY, false), false, false);
    json_t *later = edr_response(NULL, true, true);
    (void)state;
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(old, "@context"), "dspace")),
        "https://w3id.org/dspace/v0.8/");
    assert_string_equal(json_string_value(json_object_get(old, "@type")),
                        "DataFlowResponseMessage");
    assert_true(json_is_false(json_object_get(old, "provisioning")));
    assert_true(json_is_object(json_object_get(old, "dataAddress")));
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(later, "@context"), "dspace")),
        "https://w3id.org/dspace/2025/1/");
    assert_true(json_is_true(json_object_get(later, "provisioning")));
    assert_null(json_object_get(later, "dataAddress"));
    json_decref(old);
    json_decref(later);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
