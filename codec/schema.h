/* The protocol as const tables. codec/schema/NAME.kafka is the text, written by us from the facts
 * of Kafka's message definitions; mkschema compiles all of them to these rows (build/.../gen/codec:
 * names.h with enum field_name, tables.c with the rows). Read-only data; any thread. */
#ifndef CODEC_SCHEMA_H
#define CODEC_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/names.h" /* generated: enum field_name { F_NONE, F_TOPICS, F_NAME, ... } */

enum field_type {
    TYPE_BOOL,
    TYPE_INT8,
    TYPE_INT16,
    TYPE_UINT16,
    TYPE_INT32,
    TYPE_UINT32,
    TYPE_INT64,
    TYPE_FLOAT64,
    TYPE_UUID,
    TYPE_STRING,
    TYPE_BYTES,
    TYPE_RECORDS,
    TYPE_STRUCT,
};

/* What a field means to the gate. Policy, hiding and the leak check are written once per role. */
enum field_role {
    ROLE_NONE,
    ROLE_TOPIC,    /* a topic's name */
    ROLE_TOPIC_ID, /* its id */
    ROLE_GROUP,    /* a group id */
    ROLE_TXN,      /* a transactional id */
    ROLE_BROKER,   /* a node id: becomes the virtual one */
    ROLE_HOST,     /* host of a broker, or of another client */
    ROLE_PORT,
    ROLE_RACK,
    ROLE_CLUSTER,   /* cluster id */
    ROLE_PRINCIPAL, /* principal, client id, member id */
    ROLE_OPAQUE,    /* bytes that clients exchange among themselves */
    ROLE_REGEX,     /* a pattern over names */
    ROLE_KEY,       /* meaning depends on a type field beside it (FindCoordinator, configs) */
    ROLE_TEXT,      /* free text from a broker: always replaced */
    ROLE_RECORDS,   /* record batches: length only */
    ROLE_SECRET,    /* never printed */
    ROLE_ERROR,     /* an error code */
    ROLE_PARTITION, /* a partition index */
    ROLE_OPS,       /* an authorized-operations bit field: computed from the grant */
    ROLE_REPLICA,   /* a replica id that a client must not claim */
    ROLE_THROTTLE,  /* throttle_time_ms */
};

/* Inclusive; empty when min > max. */
struct versions {
    int16_t min, max;
};

static inline bool versions_has(struct versions v, int version)
{
    return version >= v.min && version <= v.max;
}

struct field {
    const char *name;     /* lowerCamel, as Kafka's JSON converters print it */
    enum field_name id;   /* the same name as an enumerator, shared by all messages */
    enum field_type type; /* of the element, for an array */
    enum field_role role;
    bool array;
    int16_t tag;              /* tagged field's number, -1 otherwise */
    struct versions versions; /* where the field exists at all */
    struct versions nullable; /* where null is legal */
    struct versions tagged;   /* where it is written as a tagged field; elsewhere inline */
    int64_t default_int;      /* of scalars; a bool's 0 or 1 */
    const char *default_text; /* of strings; NULL with default_null means null */
    bool default_null;
    bool ignorable;             /* may be dropped silently in versions without it */
    const struct field *fields; /* a struct's, or a struct array's element's */
    uint16_t nfields;
};

/* How a value stands on the wire in one version. The struct rows above say what a field is over
 * all versions; steps say what to read in one of them, so that the walker asks nothing twice. */
enum wire {
    WIRE_BOOL,
    WIRE_INT8,
    WIRE_INT16,
    WIRE_UINT16,
    WIRE_INT32,
    WIRE_UINT32,
    WIRE_INT64,
    WIRE_FLOAT64,
    WIRE_UUID,
    WIRE_STRING,         /* int16 length, -1 null */
    WIRE_COMPACT_STRING, /* unsigned varint length + 1, 0 null */
    WIRE_BYTES,          /* int32 length; records as well */
    WIRE_COMPACT_BYTES,
    WIRE_STRUCT, /* where null is legal: int8 -1 or 1 in front (in a tag: varint 0 or 1) */
    WIRE_ARRAY,  /* int32 count */
    WIRE_COMPACT_ARRAY,
    WIRE_ABSENT, /* a known tag that this version doesn't have */
};

struct step {
    const struct field *field;
    const struct shape *shape; /* of the struct, or of the array's structs; else NULL */
    uint8_t wire;              /* enum wire */
    uint8_t element;           /* enum wire: of an array's element; the same as wire otherwise */
    bool nullable;
    uint16_t min_bytes; /* least size of one element; a scalar's size */
    int16_t tag;
};

/* What runs.h reads in one go: some fields of fixed size, then one that tells its own. */
enum run_kind {
    RUN_FIXED, /* none that tells its own: the struct ends */
    RUN_TEXT,
    RUN_COMPACT_TEXT,
    RUN_BYTES, /* records as well */
    RUN_COMPACT_BYTES,
    RUN_ARRAY, /* each element as `element` says */
    RUN_COMPACT_ARRAY,
    RUN_STRUCT,   /* a byte -1 or 1 in front where null is legal */
    RUN_ELEMENTS, /* an array of elements of `size` bytes */
    RUN_COMPACT_ELEMENTS,
    RUN_COMPACT_STRUCTS, /* the same, each ended by no tag, which is its last byte */
};

/* What stands behind that. */
enum run_end {
    RUN_GOES_ON,
    RUN_ENDS,      /* the struct, or the element, ends */
    RUN_ENDS_TAGS, /* the same, with a count of tags, which is 0 */
};

struct run {
    uint8_t kind, end;         /* enum run_kind, enum run_end */
    uint8_t nfixed;            /* fields of fixed size */
    bool nullable;             /* the one behind them */
    uint16_t skip, need;       /* bytes of the former; the same and the least of what follows */
    uint16_t nodes;            /* what all this becomes in a tree: see runs_count */
    uint16_t size, each_nodes; /* of an element of fixed size */
    const struct step *steps;  /* of the fields, in order; NULL for an element that is no struct */
    const struct run *element;
};

/* A struct in one version. */
struct shape {
    const struct step *steps; /* in the order of the wire */
    const struct step *tags;  /* ascending */
    uint16_t nsteps, ntags;
    uint16_t min_bytes;
    bool flexible;          /* tags follow the fields */
    const struct run *runs; /* the last one ends it */
};

struct message {
    const char *name; /* "FetchRequest" */
    int16_t api;
    bool request;
    struct versions versions; /* ours: all that we can read */
    int16_t flexible;         /* first flexible version; INT16_MAX: never */
    const struct field *fields;
    uint16_t nfields;
    const struct shape *const *shapes; /* by version - versions.min */
};

static inline bool message_flexible(const struct message *m, int version)
{
    return version >= m->flexible;
}

/* The request's or response's schema; NULL for an API that we do not know. */
const struct message *schema_find(int api, bool request);
/* "Fetch" for 1; NULL when unknown. And back, case-insensitive; -1 when unknown. */
const char *schema_api_name(int api);
int schema_api_key(const char *name);
/* All messages, for tools and tests. */
const struct message *schema_all(size_t *count);
const char *schema_type_name(enum field_type t);
const char *schema_role_name(enum field_role r);

/* Header versions: request 1, or 2 where flexible, ControlledShutdown 0 alone 0 (no client id);
 * response 0, or 1 where flexible, ApiVersions always 0 (KIP-511). -1 for an unknown API; a version
 * outside of the table is judged by the first flexible one alone. */
int schema_request_header(int api, int version);
int schema_response_header(int api, int version);

/* The generated tables behind the functions above. */
struct schema_api {
    const char *name;               /* NULL: not known */
    const struct message *messages; /* request, response */
};
extern const struct schema_api schema_apis[SCHEMA_KEY_MAX + 1];
extern const struct message schema_messages[];
extern const size_t schema_message_count;

#endif
