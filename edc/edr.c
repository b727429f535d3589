#include "edc/edr.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum value {
    VALUE_TYPE,
    VALUE_ENDPOINT,
    VALUE_TOKEN,
    VALUE_TOPICS,
    VALUE_PREFIX,
    VALUE_AGREEMENT,
    VALUE_SCOPES,
    VALUE_POLL,
    VALUE_PROTOCOL,
    VALUE_MECHANISM,
    VALUE_EXPIRES_IN,
    VALUE_REFRESH_TOKEN,
    VALUE_REFRESH_ENDPOINT,
    VALUE_REFRESH_AUDIENCE,
    VALUE_AUDIENCE,
};

#define IN(form) (1u << (form))
#define CONCEPT  IN(EDR_CONCEPT)
#define KAFKA    IN(EDR_KAFKA_EXTENSION)
#define TRACTUS  IN(EDR_TRACTUSX)

/* The one table: which property an EDR has in which form, and what it holds. */
static const struct {
    const char *name;
    unsigned forms;
    enum value value;
} rows[] = {
    {JSONLD_EDC "type", CONCEPT | KAFKA | TRACTUS, VALUE_TYPE},
    {JSONLD_EDC "endpoint", CONCEPT | KAFKA, VALUE_ENDPOINT},
    {JSONLD_EDC "kafka.bootstrap.servers", TRACTUS, VALUE_ENDPOINT},
    {JSONLD_EDC "authorization", CONCEPT | KAFKA, VALUE_TOKEN},
    {JSONLD_EDC "token", TRACTUS, VALUE_TOKEN},
    {JSONLD_EDC "topic", CONCEPT | KAFKA | TRACTUS, VALUE_TOPICS},
    {JSONLD_EDC "groupPrefix", CONCEPT, VALUE_PREFIX},
    {JSONLD_EDC "kafka.group.prefix", KAFKA | TRACTUS, VALUE_PREFIX},
    {JSONLD_EDC "contractId", CONCEPT, VALUE_AGREEMENT},
    {JSONLD_EDC "scopes", CONCEPT, VALUE_SCOPES},
    {JSONLD_EDC "kafka.security.protocol", KAFKA | TRACTUS, VALUE_PROTOCOL},
    {JSONLD_EDC "kafka.sasl.mechanism", KAFKA | TRACTUS, VALUE_MECHANISM},
    {JSONLD_EDC "kafka.poll.duration", KAFKA | TRACTUS, VALUE_POLL},
    {JSONLD_TX_AUTH "expiresIn", CONCEPT | KAFKA, VALUE_EXPIRES_IN},
    {JSONLD_TX_AUTH "refreshToken", CONCEPT, VALUE_REFRESH_TOKEN},
    {JSONLD_TX_AUTH "refreshEndpoint", CONCEPT, VALUE_REFRESH_ENDPOINT},
    {JSONLD_TX_AUTH "refreshAudience", CONCEPT, VALUE_REFRESH_AUDIENCE},
    {JSONLD_TX_AUTH "audience", CONCEPT, VALUE_AUDIENCE},
};

const char *edr_type(enum edr_form form)
{
    switch (form) {
    case EDR_CONCEPT:
        return "EDR";
    case EDR_KAFKA_EXTENSION:
        return "https://w3id.org/idsa/v4.1/Kafka";
    case EDR_TRACTUSX:
        return "KafkaBroker";
    }
    return "";
}

static json_t *topics(const struct edr *e)
{
    json_t *joined = json_string("");

    for (size_t i = 0; i < e->ntopics && joined; i++) {
        json_t *next =
            json_sprintf("%s%s%s", json_string_value(joined), i ? "," : "", e->topics[i]);

        json_decref(joined);
        joined = next;
    }
    return joined;
}

static json_t *scopes(unsigned operations)
{
    char text[64] = "";

    snprintf(text, sizeof(text), "%s%s%s%s", operations & OP_READ ? " read" : "",
             operations & OP_WRITE ? " write" : "", operations & OP_MANAGE ? " manage" : "",
             operations & OP_DESCRIBE_CONFIGS ? " describe_configs" : "");
    return json_string(*text ? text + 1 : text);
}

/* A new reference; NULL with *absent false when memory is short. */
static json_t *value_of(const struct edr *e, enum value value, bool *absent)
{
    const char *text = NULL;

    *absent = false;
    switch (value) {
    case VALUE_TOPICS:
        return topics(e);
    case VALUE_SCOPES:
        return scopes(e->operations);
    case VALUE_EXPIRES_IN:
        return json_sprintf("%" PRId64, e->expires_in_s);
    case VALUE_TYPE:
        text = edr_type(e->form);
        break;
    case VALUE_ENDPOINT:
        text = e->endpoint;
        break;
    case VALUE_TOKEN:
        text = e->token;
        break;
    case VALUE_PREFIX:
        text = e->group_prefix;
        break;
    case VALUE_AGREEMENT:
        text = e->agreement;
        break;
    case VALUE_POLL:
        text = e->poll_duration;
        break;
    case VALUE_PROTOCOL:
        text = "SASL_SSL";
        break;
    case VALUE_MECHANISM:
        text = "OAUTHBEARER";
        break;
    case VALUE_REFRESH_TOKEN:
        text = e->refresh_token;
        break;
    case VALUE_REFRESH_ENDPOINT:
        text = e->refresh_endpoint;
        break;
    case VALUE_REFRESH_AUDIENCE:
        text = e->refresh_audience;
        break;
    case VALUE_AUDIENCE:
        text = e->audience;
        break;
    }
    *absent = !text || !*text;
    return *absent ? NULL : json_string(text);
}

static json_t *properties(const struct edr *e, enum dialect dialect)
{
    json_t *list = json_array();

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows) && list; i++) {
        bool absent;
        json_t *value, *item;

        if (!(rows[i].forms & IN(e->form)))
            continue;
        value = value_of(e, rows[i].value, &absent);
        if (absent)
            continue;
        item = !value ? NULL
               : dialect == DIALECT_DPS
                   ? json_pack("{s:s, s:o}", "name", rows[i].name, "value", value)
                   : json_pack("{s:s, s:s, s:o}", "@type", "dspace:EndpointProperty", "dspace:name",
                               rows[i].name, "dspace:value", value);
        if (item && json_array_append_new(list, item) == 0)
            continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

json_t *edr_address(const struct edr *e, enum dialect dialect, bool type_as_id)
{
    json_t *list = properties(e, dialect), *type;

    if (!list)
        return NULL;
    if (dialect == DIALECT_DPS)
        return json_pack("{s:s, s:s, s:o}", "endpointType", edr_type(e->form), "endpoint",
                         e->endpoint, "endpointProperties", list);
    type =
        type_as_id ? json_pack("{s:s}", "@id", edr_type(e->form)) : json_string(edr_type(e->form));
    return json_pack("{s:s, s:o, s:o}", "@type", "dspace:DataAddress", "dspace:endpointType", type,
                     "dspace:endpointProperties", list);
}

json_t *edr_response(json_t *address, bool provisioning, bool dspace_2025)
{
    json_t *response =
        json_pack("{s:{s:s, s:s}, s:s, s:b}", "@context", "@vocab", JSONLD_EDC, "dspace",
                  dspace_2025 ? JSONLD_DSPACE_2025 : JSONLD_DSPACE, "@type",
                  "DataFlowResponseMessage", "provisioning", (int)provisioning);

    if (response && address && json_object_set(response, "dataAddress", address) != 0) {
        json_decref(response);
        response = NULL;
    }
    json_decref(address);
    return response;
}
