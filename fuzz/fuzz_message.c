/* Any bytes as what a control plane says, in both dialects, as an event, and as a transfer's note.
 * What is taken can be granted, and can be written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/grant.h"
#include "edc/transfer_event.h"
#include "edc/flow.h"
#include "edc/message.h"
#include "edc/register.h"
#include "fuzz/mutate_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const char *const words[] = {"@context",
                                    "@type",
                                    "@id",
                                    "@value",
                                    "edc",
                                    "dspace",
                                    "dspace:",
                                    "edc:",
                                    "https://w3id.org/edc/v0.0.1/ns/",
                                    "https://w3id.org/dspace/v0.8/",
                                    "DataFlowStartMessage",
                                    "DataAddress",
                                    "dspace:DataAddress",
                                    "endpointType",
                                    "dspace:endpointType",
                                    "endpointProperties",
                                    "processId",
                                    "datasetId",
                                    "agreementId",
                                    "participantId",
                                    "counterPartyId",
                                    "dataspaceContext",
                                    "messageId",
                                    "flowType",
                                    "PULL",
                                    "PUSH",
                                    "transferType",
                                    "transferTypeDestination",
                                    "callbackAddress",
                                    "sourceDataAddress",
                                    "properties",
                                    "dataAddress",
                                    "KafkaBroker",
                                    "KafkaBroker-PULL",
                                    "topic",
                                    "kafka.bootstrap.servers",
                                    "name",
                                    "value",
                                    "claims",
                                    "labels",
                                    "metadata",
                                    "profile",
                                    "reason",
                                    "state",
                                    "type",
                                    "TransferProcessStarted",
                                    "TransferProcessTerminated",
                                    "TransferProcessSuspended",
                                    "TransferProcessCompleted",
                                    "payload",
                                    "transferProcessId",
                                    "PROVIDER",
                                    "CONSUMER",
                                    "id",
                                    "at",
                                    "did:web:bob"};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_words w = MUTATE_WORDS(words);

    return mutate_json(&w, data, size, max, seed);
}

static const char *types[] = {"KafkaBroker-PULL"}, *sources[] = {"KafkaBroker"};
static const struct config config = {
    .signaling = {.transfer_types = {types, 1},
                  .source_types = {sources, 1},
                  .operations = OP_READ | OP_WRITE},
};

/* A message that was taken makes a grant. */
static void grantable(struct message *m)
{
    const struct grant_config c = {
        .id = m->process,
        .issuer = "i",
        .subject = "s",
        .participant = m->participant,
        .agreement = m->agreement,
        .asset = m->dataset,
        .topics = {m->offer.topics, m->offer.ntopics},
        .group_prefix = m->offer.group_prefix,
        .operations = m->offer.operations,
    };
    const char *why;
    struct grant *g;

    if (grant_new(&c, GRANT_FROM_API, &g, &why) != OK)
        abort();
    if (!*m->offer.group_prefix || strchr(m->offer.group_prefix, '*'))
        abort();
    grant_unref(g);
}

static void start(const char *text, size_t size, enum dialect dialect)
{
    struct message m;
    struct flow *flow = calloc(1, sizeof(*flow)), *back;
    char *note;

    if (message_read(&m, dialect, MESSAGE_START, text, size, &config) == OK) {
        grantable(&m);
        if (flow_take(flow, &m) != OK)
            abort();
        note = flow_write(flow);
        back = flow_read("id", note);
        if (!back || strcmp(back->text[FLOW_PREFIX], flow->text[FLOW_PREFIX]) != 0 ||
            strcmp(back->text[FLOW_TOPICS], flow->text[FLOW_TOPICS]) != 0)
            abort();
        flow_free(back);
        free(note);
    } else if (!m.doc.fault[0]) {
        abort();
    }
    flow_free(flow);
    message_release(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct message m;
    struct event e;
    char *copy, *id, *reason;

    start(text, size, DIALECT_LEGACY);
    start(text, size, DIALECT_DPS);
    if (message_read(&m, DIALECT_DPS, MESSAGE_PREPARE, text, size, &config) == OK && !m.process)
        abort();
    message_release(&m);
    if (message_read_end(text, size, &id, &reason) != OK)
        abort();
    free(id);
    free(reason);
    if (event_read(&e, text, size)) {
        if (e.does != EVENT_NOTHING && (!e.transfer || !*e.transfer))
            abort();
        event_release(&e);
    }
    (void)registrar_matches(&config, text, size);
    copy = malloc(size + 1);
    memcpy(copy, data, size);
    copy[size] = '\0';
    flow_free(flow_read("id", copy));
    free(copy);
    return 0;
}
