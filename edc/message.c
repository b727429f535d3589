#include "edc/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "auth/text.h"
#include "config/values.h"

#define TEXT_MAX 255 /* what a grant keeps */
#define URL_MAX  2048

/* --- single values */

/* Text of this length at most, without control characters and broken UTF-8. */
static const char *text_fault(const char *text, size_t max)
{
    static _Thread_local char what[64];

    if (!*text)
        return "is empty";
    if (strlen(text) > max) {
        snprintf(what, sizeof(what), "is longer than %zu bytes", max);
        return what;
    }
    return value_text_fault(text, strlen(text));
}

/* A member of the message itself. NULL when it is missing or at fault. */
static const char *take(struct message *m, json_t *object, const char *place, const char *name,
                        bool required, size_t max)
{
    char at[JSONLD_FAULT_BYTES];
    const char *text = jsonld_text(&m->doc, object, place, name, required);
    const char *why = text ? text_fault(text, max) : NULL;

    if (!why)
        return text;
    if (required || *text)
        jsonld_fault(&m->doc, jsonld_place(at, place, name), why);
    return NULL;
}

static bool listed(const struct strings *all, const char *text)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->at[i], text) == 0)
            return true;
    return false;
}

/* --- what an address offers */

enum property {
    PROPERTY_TOPIC,
    PROPERTY_PREFIX,
    PROPERTY_OPERATIONS,
    PROPERTY_POLL,
    PROPERTY_TOKEN_URL,
    PROPERTY_CLIENT,
    PROPERTY_SECRET,
    PROPERTY_SECRET_KEY,
    PROPERTY_REVOKE_URL,
};
#define PROPERTIES (PROPERTY_REVOKE_URL + 1)

/* The same thing has different names in different connectors. */
static const struct {
    const char *name;
    enum property is;
    size_t max;
} known[] = {
    {"topic", PROPERTY_TOPIC, MESSAGE_TOPICS_BYTES_MAX},
    {"kafka.group.prefix", PROPERTY_PREFIX, TEXT_MAX},
    {"groupPrefix", PROPERTY_PREFIX, TEXT_MAX},
    {"operations", PROPERTY_OPERATIONS, TEXT_MAX},
    {"kafka.poll.duration", PROPERTY_POLL, 64},
    {"tokenUrl", PROPERTY_TOKEN_URL, URL_MAX},
    {"clientId", PROPERTY_CLIENT, TEXT_MAX},
    {"clientSecret", PROPERTY_SECRET, MESSAGE_SECRET_MAX},
    {"clientSecretKey", PROPERTY_SECRET_KEY, TEXT_MAX},
    {"revokeUrl", PROPERTY_REVOKE_URL, URL_MAX},
};

struct address {
    const char *text[PROPERTIES];
    const char *name[PROPERTIES]; /* as the table writes it */
};

/* Property names stand in values, so they may be full IRIs, prefixed or bare. */
static void property(struct message *m, struct address *a, const char *place, const char *name,
                     const char *value)
{
    char at[JSONLD_FAULT_BYTES], iri[JSONLD_IRI_MAX];
    const char *local = NULL, *why;

    if (strchr(name, ':')) {
        if (m->doc.vocab ? jsonld_iri(&m->doc, name, iri) : strlen(name) < sizeof(iri))
            local = jsonld_local(m->doc.vocab ? iri : name);
        if (!local && strncmp(name, "edc:", 4) == 0)
            local = name + 4;
    } else {
        local = name;
    }
    for (size_t i = 0; local && i < sizeof(known) / sizeof(*known); i++) {
        if (strcmp(known[i].name, local) != 0)
            continue;
        jsonld_place(at, place, known[i].name);
        if (!value)
            jsonld_fault(&m->doc, at, "is no text");
        else if ((why = text_fault(value, known[i].max)))
            jsonld_fault(&m->doc, at, why);
        else if (a->text[known[i].is])
            jsonld_fault(&m->doc, at, "stands there twice");
        a->text[known[i].is] = value;
        a->name[known[i].is] = known[i].name;
    }
}

/* endpointProperties: a list of {name, value}, or just one of them. */
static void read_properties(struct message *m, struct address *a, json_t *list, const char *place)
{
    char at[JSONLD_FAULT_BYTES], name_at[96];
    size_t n = json_is_array(list) ? json_array_size(list) : 1;

    if (n > MESSAGE_PROPERTIES_MAX) {
        jsonld_fault(&m->doc, place, "has too many properties");
        return;
    }
    for (size_t i = 0; i < n && !m->doc.fault[0]; i++) {
        json_t *item = json_is_array(list) ? json_array_get(list, i) : list;
        const char *name;

        snprintf(name_at, sizeof(name_at), "endpointProperties[%zu]", i);
        jsonld_place(at, place, name_at);
        if (!json_is_object(item)) {
            jsonld_fault(&m->doc, at, "is no object");
            return;
        }
        name = jsonld_text(&m->doc, item, at, "name", true);
        if (name)
            property(m, a, place, name, jsonld_text(&m->doc, item, at, "value", true));
    }
}

/* A flat map from names to texts: the data address of older messages, and DPS metadata. */
static void read_map(struct message *m, struct address *a, json_t *map, const char *place)
{
    const char *name;
    json_t *value;

    if (json_object_size(map) > MESSAGE_PROPERTIES_MAX) {
        jsonld_fault(&m->doc, place, "has too many properties");
        return;
    }
    json_object_foreach(map, name, value)
    {
        if (*name != '@' && !m->doc.fault[0])
            property(m, a, place, name,
                     jsonld_value(json_array_size(value) == 1 ? json_array_get(value, 0) : value));
    }
}

/* --- what it comes to */

/* What internal topics begin with, and what would be a pattern elsewhere. */
static const char *name_fault(const char *text)
{
    if (strncmp(text, "__", 2) == 0)
        return "begins with \"__\": Kafka's own are not granted";
    return strchr(text, '*') ? "holds \"*\": names are taken as they are, not as patterns" : NULL;
}

/* Splits at commas, which no topic name holds. */
static int split_topics(struct message *m, const char *text, const char *place)
{
    char at[JSONLD_FAULT_BYTES], *rest, *one;

    jsonld_place(at, place, "topic");
    m->topics = text_dup(text);
    if (!m->topics)
        return ERR_NOMEM;
    rest = m->topics;
    while ((one = strsep(&rest, ","))) {
        const char *why;
        size_t n;

        one += strspn(one, " ");
        for (n = strlen(one); n && one[n - 1] == ' '; n--)
            one[n - 1] = '\0';
        why = *one ? name_fault(one) : "holds an empty name";
        why = why ? why : value_topic_fault(one);
        if (why)
            return jsonld_fault(&m->doc, at, why);
        if (m->offer.ntopics == MESSAGE_TOPICS_MAX)
            return jsonld_fault(&m->doc, at, "holds too many names");
        m->offer.topics[m->offer.ntopics++] = one;
    }
    return OK;
}

static const struct {
    const char *name;
    enum op op;
} operations[] = {
    {"read", OP_READ},
    {"write", OP_WRITE},
    {"manage", OP_MANAGE},
    {"describe_configs", OP_DESCRIBE_CONFIGS},
};

static int read_operations(struct message *m, const char *text, const char *place, unsigned allowed)
{
    char at[JSONLD_FAULT_BYTES], name[32];
    unsigned got = 0;

    jsonld_place(at, place, "operations");
    while (*text) {
        size_t n = strcspn(text, ", "), i = 0;

        snprintf(name, sizeof(name), "%.*s", (int)(n < sizeof(name) ? n : sizeof(name) - 1), text);
        while (i < sizeof(operations) / sizeof(*operations) &&
               strcmp(operations[i].name, name) != 0)
            i++;
        if (n && i == sizeof(operations) / sizeof(*operations))
            return jsonld_fault(&m->doc, at, "takes read, write, manage, describe_configs");
        if (n)
            got |= operations[i].op;
        text += n;
        text += strspn(text, ", ");
    }
    if (!got)
        return jsonld_fault(&m->doc, at, "names none");
    if (got & ~allowed)
        return jsonld_fault(&m->doc, at, "is more than signaling.operations allows");
    m->offer.operations = got;
    return OK;
}

static int read_prefix(struct message *m, const struct address *a, const char *place)
{
    char at[JSONLD_FAULT_BYTES];
    const char *given = a->text[PROPERTY_PREFIX], *prefix = given ? given : m->participant;
    const char *why = name_fault(prefix);

    if (!why)
        why = value_prefix_fault(prefix);
    m->offer.group_prefix = prefix;
    if (!why)
        return OK;
    return jsonld_fault(
        &m->doc, given ? jsonld_place(at, place, a->name[PROPERTY_PREFIX]) : "participantId", why);
}

static int take_url(struct message *m, const struct address *a, enum property p, const char *place,
                    bool plain, const char **out)
{
    char at[JSONLD_FAULT_BYTES];
    const char *why = a->text[p] ? value_url_fault(a->text[p], plain) : NULL;

    *out = a->text[p];
    return why ? jsonld_fault(&m->doc, jsonld_place(at, place, a->name[p]), why) : OK;
}

static int make_offer(struct message *m, const struct address *a, const char *place,
                      const struct config *c)
{
    char at[JSONLD_FAULT_BYTES];
    int rc;

    if (!a->text[PROPERTY_TOPIC])
        return jsonld_fault(&m->doc, jsonld_place(at, place, "topic"), "is missing");
    rc = split_topics(m, a->text[PROPERTY_TOPIC], place);
    if (rc == OK)
        rc = read_prefix(m, a, place);
    m->offer.operations = c->signaling.operations;
    if (rc == OK && a->text[PROPERTY_OPERATIONS])
        rc = read_operations(m, a->text[PROPERTY_OPERATIONS], place, c->signaling.operations);
    if (rc == OK)
        rc = take_url(m, a, PROPERTY_TOKEN_URL, place, c->development, &m->offer.token_url);
    if (rc == OK)
        rc = take_url(m, a, PROPERTY_REVOKE_URL, place, c->development, &m->offer.revoke_url);
    m->offer.poll_duration = a->text[PROPERTY_POLL];
    m->offer.client_id = a->text[PROPERTY_CLIENT];
    m->offer.client_secret = a->text[PROPERTY_SECRET];
    m->offer.client_secret_key = a->text[PROPERTY_SECRET_KEY];
    return rc;
}

/* --- the JSON-LD dialect */

/* Which of the two generations of the namespace the other side speaks: what its context says, or
 * how it writes the names of the address. */
static void note_namespace(struct message *m, json_t *address)
{
    const char *name;
    json_t *value;

    m->dspace_2025 = m->doc.dspace_2025;
    for (size_t i = m->doc.nterms; i > 0; i--)
        if (strcmp(m->doc.terms[i - 1].iri, JSONLD_DSPACE_2025) == 0)
            m->dspace_2025 = true;
    json_object_foreach(address, name, value)
    {
        if (strncmp(name, JSONLD_DSPACE_2025, strlen(JSONLD_DSPACE_2025)) == 0)
            m->dspace_2025 = true;
    }
}

/* endpointType (or "type" in a flat address) must be one that is served. */
static bool source_type(struct message *m, json_t *address, const char *place, bool flat,
                        const struct config *c)
{
    char at[JSONLD_FAULT_BYTES];
    const char *name = flat ? "type" : "endpointType";
    json_t *value = jsonld_member(&m->doc, address, place, name);
    const char *type = jsonld_value(value);

    m->type_as_id = json_object_get(value, "@id") != NULL;
    jsonld_place(at, place, name);
    if (!type)
        jsonld_fault(&m->doc, at, value ? "is no text" : "is missing");
    else if (!listed(&c->signaling.source_types, type))
        jsonld_fault(&m->doc, at, "is none of signaling.source_types");
    return m->doc.fault[0] == '\0';
}

static int read_source(struct message *m, const struct config *c)
{
    static const char place[] = "sourceDataAddress";
    struct address a = {0};
    json_t *address = jsonld_member(&m->doc, m->doc.root, "", place), *list;

    if (!json_is_object(address))
        return jsonld_fault(&m->doc, place, address ? "is no object" : "is missing");
    note_namespace(m, address);
    list = jsonld_member(&m->doc, address, place, "endpointProperties");
    if (!source_type(m, address, place, !list, c))
        return ERR_MALFORMED;
    if (list)
        read_properties(m, &a, list, place);
    else
        read_map(m, &a, address, place);
    if (m->doc.fault[0])
        return ERR_MALFORMED;
    return make_offer(m, &a, place, c);
}

/* transferType, or what it is made of in messages that leave it out. */
static bool transfer_type(struct message *m, const struct config *c)
{
    json_t *root = m->doc.root;
    const char *type = take(m, root, "", "transferType", false, TEXT_MAX);
    const char *flow = take(m, root, "", "flowType", false, TEXT_MAX);
    const char *to = take(m, root, "", "transferTypeDestination", false, TEXT_MAX);
    char made[2 * TEXT_MAX + 2];

    if (flow && strcmp(flow, "PULL") != 0)
        jsonld_fault(&m->doc, "flowType", "takes PULL: consumers fetch, nothing is pushed");
    if (!type && !(flow && to))
        jsonld_fault(&m->doc, "transferType", "is missing");
    if (m->doc.fault[0])
        return false;
    snprintf(made, sizeof(made), "%s-%s", to ? to : "", flow ? flow : "");
    if (listed(&c->signaling.transfer_types, type ? type : made))
        return true;
    jsonld_fault(&m->doc, type ? "transferType" : "transferTypeDestination",
                 "is none of signaling.transfer_types");
    return false;
}

/* Whom a refresh has to prove itself to be stands in a map beside the address. */
static void read_audience(struct message *m)
{
    json_t *properties = jsonld_member(&m->doc, m->doc.root, "", "properties");

    if (json_is_object(properties))
        m->audience = take(m, properties, "properties", "audience", false, TEXT_MAX);
}

static int read_legacy(struct message *m, enum message_kind kind, const struct config *c)
{
    json_t *root = m->doc.root;

    /* The type of a prepare has changed its name with the versions. */
    if (kind == MESSAGE_START && !jsonld_type(&m->doc, root, "", "DataFlowStartMessage"))
        return ERR_MALFORMED;
    m->process = take(m, root, "", "processId", true, TEXT_MAX);
    m->participant = take(m, root, "", "participantId", kind == MESSAGE_START, TEXT_MAX);
    m->agreement = take(m, root, "", "agreementId", kind == MESSAGE_START, TEXT_MAX);
    m->dataset = take(m, root, "", "datasetId", kind == MESSAGE_START, TEXT_MAX);
    m->callback = take(m, root, "", "callbackAddress", false, URL_MAX);
    read_audience(m);
    if (m->doc.fault[0])
        return ERR_MALFORMED;
    if (kind == MESSAGE_PREPARE)
        return OK;
    return transfer_type(m, c) ? read_source(m, c) : ERR_MALFORMED;
}

/* --- Data Plane Signaling */

static bool ends_in_push(const char *text)
{
    size_t n = strlen(text);

    return n >= 5 && strcasecmp(text + n - 5, "-push") == 0;
}

/* The specification's profile, or the transferType that came before it. */
static bool profile(struct message *m, const struct config *c)
{
    json_t *root = m->doc.root;
    const char *name = json_object_get(root, "profile") ? "profile" : "transferType";
    const char *type = take(m, root, "", name, false, TEXT_MAX);

    if (!type)
        jsonld_fault(&m->doc, "profile", "is missing");
    else if (ends_in_push(type))
        jsonld_fault(&m->doc, name, "is a push: consumers fetch, nothing is pushed");
    else if (!listed(&c->signaling.transfer_types, type))
        jsonld_fault(&m->doc, name, "is none of signaling.transfer_types");
    else if (strcmp(name, "profile") == 0 && !json_is_object(json_object_get(root, "claims")))
        jsonld_fault(&m->doc, "claims",
                     json_object_get(root, "claims") ? "is no object" : "is missing");
    return m->doc.fault[0] == '\0';
}

static void check_labels(struct message *m)
{
    json_t *labels = json_object_get(m->doc.root, "labels"), *label;
    size_t i;

    if (!labels || json_is_null(labels))
        return;
    if (!json_is_array(labels))
        jsonld_fault(&m->doc, "labels", "is no list");
    json_array_foreach(labels, i, label)
    {
        if (!json_is_string(label))
            jsonld_fault(&m->doc, "labels", "holds something that is no text");
    }
}

/* What is there and not null. */
static json_t *given(json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);

    return json_is_null(value) ? NULL : value;
}

static int read_dps(struct message *m, enum message_kind kind, const struct config *c)
{
    json_t *root = m->doc.root, *metadata = given(root, "metadata");
    struct address a = {0};

    m->id = take(m, root, "", "messageId", true, TEXT_MAX);
    (void)take(m, root, "", "participantId", true, TEXT_MAX); /* our own side */
    m->participant = take(m, root, "", "counterPartyId", true, TEXT_MAX);
    (void)take(m, root, "", "dataspaceContext", true, TEXT_MAX);
    m->process = take(m, root, "", "processId", true, TEXT_MAX);
    m->agreement = take(m, root, "", "agreementId", true, TEXT_MAX);
    m->dataset = take(m, root, "", "datasetId", true, TEXT_MAX);
    m->callback = take(m, root, "", "callbackAddress", false, URL_MAX);
    check_labels(m);
    if (m->doc.fault[0] || !profile(m, c))
        return ERR_MALFORMED;
    if (kind == MESSAGE_PREPARE)
        return OK;
    if (given(root, "dataAddress"))
        return jsonld_fault(&m->doc, "dataAddress", "does not go with a pull");
    if (metadata && !json_is_object(metadata))
        return jsonld_fault(&m->doc, "metadata", "is no object");
    read_map(m, &a, metadata, "metadata");
    return m->doc.fault[0] ? ERR_MALFORMED : make_offer(m, &a, "metadata", c);
}

/* --- all of it */

int message_read(struct message *m, enum dialect dialect, enum message_kind kind, const char *text,
                 size_t n, const struct config *c)
{
    int rc;

    *m = (struct message){.dialect = dialect};
    if (dialect == DIALECT_LEGACY) {
        rc = jsonld_read(&m->doc, text, n);
        return rc == OK ? read_legacy(m, kind, c) : rc;
    }
    rc = jsonld_read_plain(&m->doc, text, n);
    return rc == OK ? read_dps(m, kind, c) : rc;
}

void message_release(struct message *m)
{
    jsonld_release(&m->doc);
    sl_free(m->topics);
    m->topics = NULL;
}

/* NULL where there is none that is good; false when memory is short. */
static bool copy_of(struct jsonld *doc, const char *name, char **out)
{
    const char *text = jsonld_text(doc, doc->root, "", name, false);

    doc->fault[0] = '\0';
    *out = NULL;
    if (!text || text_fault(text, TEXT_MAX))
        return true;
    *out = text_dup(text);
    return *out != NULL;
}

int message_read_end(const char *text, size_t n, char **id, char **reason)
{
    struct jsonld doc;
    bool ok = true;

    *id = *reason = NULL;
    if (n && jsonld_read(&doc, text, n) == OK) {
        ok = copy_of(&doc, "messageId", id);
        ok = copy_of(&doc, "reason", reason) && ok;
    }
    if (n)
        jsonld_release(&doc);
    return ok ? OK : ERR_NOMEM;
}

void message_new_id(char out[MESSAGE_ID_BYTES])
{
    unsigned char random[(MESSAGE_ID_BYTES - 1) / 2] = {0};

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        memset(random, 0, sizeof(random)); /* an id that is not unique harms nobody */
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(out + 2 * i, 3, "%02x", random[i]);
}
