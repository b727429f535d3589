#include "codec/schema.h"

#include <strings.h>

static const struct schema_api *api_find(int api)
{
    if (api < 0 || api > SCHEMA_KEY_MAX || !schema_apis[api].name)
        return NULL;
    return &schema_apis[api];
}

const struct message *schema_find(int api, bool request)
{
    const struct schema_api *a = api_find(api);

    return a ? &a->messages[request ? 0 : 1] : NULL;
}

const char *schema_api_name(int api)
{
    const struct schema_api *a = api_find(api);

    return a ? a->name : NULL;
}

int schema_api_key(const char *name)
{
    for (int i = 0; i <= SCHEMA_KEY_MAX; i++)
        if (schema_apis[i].name && strcasecmp(schema_apis[i].name, name) == 0)
            return i;
    return -1;
}

const struct message *schema_all(size_t *count)
{
    *count = schema_message_count;
    return schema_messages;
}

const char *schema_type_name(enum field_type t)
{
    switch (t) {
    case TYPE_BOOL:
        return "bool";
    case TYPE_INT8:
        return "int8";
    case TYPE_INT16:
        return "int16";
    case TYPE_UINT16:
        return "uint16";
    case TYPE_INT32:
        return "int32";
    case TYPE_UINT32:
        return "uint32";
    case TYPE_INT64:
        return "int64";
    case TYPE_FLOAT64:
        return "float64";
    case TYPE_UUID:
        return "uuid";
    case TYPE_STRING:
        return "string";
    case TYPE_BYTES:
        return "bytes";
    case TYPE_RECORDS:
        return "records";
    case TYPE_STRUCT:
        return "struct";
    }
    return "unknown";
}

const char *schema_role_name(enum field_role r)
{
    static const char *const names[] = {
        [ROLE_NONE] = "none",
        [ROLE_TOPIC] = "topic",
        [ROLE_TOPIC_ID] = "topic_id",
        [ROLE_GROUP] = "group",
        [ROLE_TXN] = "txn",
        [ROLE_BROKER] = "broker",
        [ROLE_HOST] = "host",
        [ROLE_PORT] = "port",
        [ROLE_RACK] = "rack",
        [ROLE_CLUSTER] = "cluster",
        [ROLE_PRINCIPAL] = "principal",
        [ROLE_OPAQUE] = "opaque",
        [ROLE_REGEX] = "regex",
        [ROLE_KEY] = "key",
        [ROLE_TEXT] = "text",
        [ROLE_RECORDS] = "records",
        [ROLE_SECRET] = "secret",
        [ROLE_ERROR] = "error",
        [ROLE_PARTITION] = "partition",
        [ROLE_OPS] = "ops",
        [ROLE_REPLICA] = "replica",
        [ROLE_THROTTLE] = "throttle",
    };

    if ((size_t)r >= sizeof names / sizeof names[0])
        return "unknown";
    return names[r];
}

int schema_request_header(int api, int version)
{
    enum { CONTROLLED_SHUTDOWN = 7 };
    const struct message *m = schema_find(api, true);

    if (!m)
        return -1;
    if (api == CONTROLLED_SHUTDOWN && version == 0)
        return 0;
    return message_flexible(m, version) ? 2 : 1;
}

int schema_response_header(int api, int version)
{
    enum { API_VERSIONS = 18 };
    const struct message *m = schema_find(api, false);

    if (!m)
        return -1;
    return api != API_VERSIONS && message_flexible(m, version) ? 1 : 0;
}
