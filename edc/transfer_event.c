#include "edc/transfer_event.h"

#include <stdio.h>
#include <string.h>

#define ID_MAX (IDENTITY_TEXT_MAX - 1)

static const struct {
    const char *type;
    enum event_does does;
} kinds[] = {
    {"TransferProcessSuspended", EVENT_SUSPENDS},
    {"TransferProcessTerminated", EVENT_ENDS},
    {"TransferProcessCompleted", EVENT_ENDS},
    {"TransferProcessDeprovisioned", EVENT_ENDS},
};

/* A member's text, at most ID_MAX bytes and without control characters. */
static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    for (const char *p = text; p && *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return NULL;
    return text && *text && strlen(text) <= ID_MAX ? text : NULL;
}

static void read_payload(struct event *e, const json_t *payload)
{
    const char *side = text_of(payload, "type");

    /* The other side's ids are other ids. */
    if (side && strcmp(side, "PROVIDER") != 0) {
        e->does = EVENT_NOTHING;
        return;
    }
    e->transfer = text_of(payload, "transferProcessId");
    e->reason = text_of(payload, "reason");
    if (!e->transfer)
        e->fault = "payload.transferProcessId: is missing, or no id";
}

bool event_read(struct event *e, const char *text, size_t n)
{
    const json_t *payload;

    *e = (struct event){0};
    if (jsonld_read_plain(&e->doc, text, n) != OK) {
        e->fault = e->doc.fault;
        return false;
    }
    e->type = text_of(e->doc.root, "type");
    e->at_ms = json_integer_value(json_object_get(e->doc.root, "at"));
    payload = json_object_get(e->doc.root, "payload");
    for (size_t i = 0; e->type && i < sizeof(kinds) / sizeof(*kinds); i++)
        if (strcmp(kinds[i].type, e->type) == 0)
            e->does = kinds[i].does;
    if (!e->type)
        e->fault = "type: is missing";
    else if (!json_is_object(payload))
        e->fault = "payload: is no object";
    else if (e->does != EVENT_NOTHING)
        read_payload(e, payload);
    if (!e->fault)
        return true;
    event_release(e);
    return false;
}

void event_release(struct event *e)
{
    jsonld_release(&e->doc);
}

bool event_is_old(const struct event *e, const struct flow *flow)
{
    int64_t at = e->at_ms / 1000, since_end;

    if (!flow || e->does != EVENT_SUSPENDS || flow->state != FLOW_STARTED || e->at_ms <= 0)
        return false;
    since_end = at - flow->revoked;
    return at <= flow->started ||
           (flow->revoked && since_end <= EVENT_SKEW_S && since_end >= -EVENT_SKEW_S);
}
