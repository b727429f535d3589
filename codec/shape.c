#include "codec/shape.h"

#define NAMES(in, out)                                                                             \
    {                                                                                              \
        F_##in, F_##out                                                                            \
    }
#define SAME(name)                                                                                 \
    {                                                                                              \
        F_##name, F_##name                                                                         \
    }
#define ELEMENT(out)                                                                               \
    {                                                                                              \
        F_NONE, F_##out                                                                            \
    }
#define VALUE(name, num)                                                                           \
    {                                                                                              \
        F_##name, num                                                                              \
    }
#define LAST INT16_MAX

static const struct reply_shape shapes[] = {
    {.api = 0,
     .max = LAST,
     .flags = WHOLE_TOPICS,
     .topics = NAMES(TOPIC_DATA, RESPONSES),
     .parts = NAMES(PARTITION_DATA, PARTITION_RESPONSES),
     .index = SAME(INDEX),
     .part_error = F_ERROR_CODE,
     .part = {VALUE(BASE_OFFSET, -1)}},
    {.api = 1,
     .max = 12,
     .flags = WHOLE_TOPICS | WHOLE_SESSION | PART_NO_RECORDS,
     .topics = NAMES(TOPICS, RESPONSES),
     .parts = SAME(PARTITIONS),
     .index = NAMES(PARTITION, PARTITION_INDEX),
     .part_error = F_ERROR_CODE,
     .part = {VALUE(HIGH_WATERMARK, -1)}},
    {.api = 1,
     .min = 13,
     .max = LAST,
     .flags = WHOLE_SESSION | PART_NO_RECORDS,
     .topics = NAMES(TOPICS, RESPONSES),
     .parts = SAME(PARTITIONS),
     .index = NAMES(PARTITION, PARTITION_INDEX),
     .part_error = F_ERROR_CODE,
     .part = {VALUE(HIGH_WATERMARK, -1)}},
    {.api = 2,
     .max = LAST,
     .flags = WHOLE_TOPICS,
     .topics = SAME(TOPICS),
     .parts = SAME(PARTITIONS),
     .index = SAME(PARTITION_INDEX),
     .part_error = F_ERROR_CODE,
     .part = {VALUE(TIMESTAMP, -1), VALUE(OFFSET, -1)}},
    {.api = 3, .max = LAST, .flags = WHOLE_TOPICS, .topics = SAME(TOPICS)},
    {.api = 9,
     .max = 1,
     .flags = WHOLE_TOPICS,
     .topics = SAME(TOPICS),
     .parts = NAMES(PARTITION_INDEXES, PARTITIONS),
     .index = ELEMENT(PARTITION_INDEX),
     .part_error = F_ERROR_CODE,
     .part = {VALUE(COMMITTED_OFFSET, -1)}},
    {.api = 9,
     .min = 2,
     .max = 7,
     .topics = SAME(TOPICS),
     .parts = NAMES(PARTITION_INDEXES, PARTITIONS),
     .index = ELEMENT(PARTITION_INDEX),
     .part_error = F_ERROR_CODE,
     .part = {VALUE(COMMITTED_OFFSET, -1)}},
    {.api = 9,
     .min = 8,
     .max = LAST,
     .flags = WHOLE_ITEMS,
     .topics = SAME(TOPICS),
     .parts = NAMES(PARTITION_INDEXES, PARTITIONS),
     .index = ELEMENT(PARTITION_INDEX),
     .part_error = F_ERROR_CODE,
     .items = SAME(GROUPS),
     .item = {SAME(GROUP_ID)},
     .part = {VALUE(COMMITTED_OFFSET, -1)}},
    {.api = 10, .max = 3, .flags = WHOLE_TEXT, .top = {VALUE(NODE_ID, -1), VALUE(PORT, -1)}},
    {.api = 10,
     .min = 4,
     .max = LAST,
     .flags = WHOLE_ITEMS | WHOLE_TEXT,
     .items = NAMES(COORDINATOR_KEYS, COORDINATORS),
     .item = {ELEMENT(KEY)},
     .part = {VALUE(NODE_ID, -1), VALUE(PORT, -1)}},
    {.api = 11, .max = LAST, .top = {VALUE(GENERATION_ID, -1)}},
    {.api = 22, .max = LAST, .top = {VALUE(PRODUCER_ID, -1), VALUE(PRODUCER_EPOCH, -1)}},
    {.api = 32,
     .max = LAST,
     .flags = WHOLE_ITEMS | WHOLE_TEXT | ITEM_TEXT,
     .items = NAMES(RESOURCES, RESULTS),
     .item = {SAME(RESOURCE_NAME), SAME(RESOURCE_TYPE)}},
};

/* --- what the roles say */

/* The struct's field of this role in this version; NULL: none. */
static const struct field *field_of(const struct field *rows, uint16_t n, int version,
                                    enum field_role role)
{
    for (uint16_t i = 0; i < n; i++)
        if (rows[i].role == role && versions_has(rows[i].versions, version))
            return &rows[i];
    return NULL;
}

static const struct field *inner(const struct field *f, int version, enum field_role role)
{
    return field_of(f->fields, f->nfields, version, role);
}

/* The message's own array of structs that have one of these roles. */
static const struct field *list_of(const struct message *m, int version, enum field_role role,
                                   enum field_role other)
{
    for (uint16_t i = 0; i < m->nfields; i++) {
        const struct field *f = &m->fields[i];
        if (f->array && f->type == TYPE_STRUCT && versions_has(f->versions, version) &&
            (inner(f, version, role) || inner(f, version, other)))
            return f;
    }
    return NULL;
}

/* A topic's partitions: an array of numbers, or of structs that have one. */
static const struct field *parts_of(const struct field *topic, int version)
{
    for (uint16_t i = 0; i < topic->nfields; i++) {
        const struct field *f = &topic->fields[i];
        if (f->array && versions_has(f->versions, version) &&
            (f->role == ROLE_PARTITION || inner(f, version, ROLE_PARTITION)))
            return f;
    }
    return NULL;
}

static enum field_name name_of(const struct field *f)
{
    return f ? f->id : F_NONE;
}

static void derive_topics(struct reply_shape *s, const struct message *request,
                          const struct message *response, int version)
{
    const struct field *in = list_of(request, version, ROLE_TOPIC, ROLE_TOPIC_ID);
    const struct field *out = list_of(response, version, ROLE_TOPIC, ROLE_TOPIC_ID);
    if (!in || !out)
        return;
    s->topics = (struct reply_names){in->id, out->id};
    in = parts_of(in, version);
    out = in ? parts_of(out, version) : NULL;
    if (!out)
        return;
    s->parts = (struct reply_names){in->id, out->id};
    s->index.in = name_of(inner(in, version, ROLE_PARTITION));
    s->index.out = name_of(inner(out, version, ROLE_PARTITION));
    s->part_error = name_of(inner(out, version, ROLE_ERROR));
}

static void derive_groups(struct reply_shape *s, const struct message *request,
                          const struct message *response, int version)
{
    const struct field *in = field_of(request->fields, request->nfields, version, ROLE_GROUP);
    const struct field *out = list_of(response, version, ROLE_GROUP, ROLE_GROUP);
    if (!in || !in->array)
        in = list_of(request, version, ROLE_GROUP, ROLE_GROUP);
    if (!in || !out)
        return;
    s->items = (struct reply_names){in->id, out->id};
    s->item[0].in = name_of(inner(in, version, ROLE_GROUP));
    s->item[0].out = name_of(inner(out, version, ROLE_GROUP));
}

const struct reply_shape *shape_find(struct arena *a, int api, int version)
{
    const struct message *request = schema_find(api, true), *response = schema_find(api, false);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (shapes[i].api == api && version >= shapes[i].min && version <= shapes[i].max)
            return &shapes[i];
    struct reply_shape *s = arena_zalloc(a, sizeof *s);
    if (!s)
        return NULL;
    s->api = (int16_t)api;
    s->min = s->max = (int16_t)version;
    derive_topics(s, request, response, version);
    derive_groups(s, request, response, version);
    /* Where the answer as a whole has an error, the topics and groups of it aren't listed. */
    if (!field_of(response->fields, response->nfields, version, ROLE_ERROR))
        s->flags = (uint8_t)((s->topics.out ? WHOLE_TOPICS : 0) | (s->items.out ? WHOLE_ITEMS : 0));
    return s;
}
