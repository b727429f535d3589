/* What the audit trail says of a session: on every line of it the transfer, the agreement, the
 * asset and the participant, as far as grant or token tell (CX-0018). */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "proxy/session.h"

/* Of one event at a time; audit_put encodes before it returns. */
enum { TRAIL_TRANSFER, TRAIL_AGREEMENT, TRAIL_ASSET, TRAIL_PARTICIPANT, TRAIL_TEXTS };
static _Thread_local char joined[TRAIL_TEXTS][AUDIT_TEXT_MAX + 1];

static const char *text_at(const struct grant *g, size_t offset)
{
    const char *text;

    memcpy(&text, (const char *)g + offset, sizeof(text));
    return text;
}

static bool told_before(const struct session *s, unsigned i, size_t offset)
{
    for (unsigned k = 0; k < i; k++)
        if (strcmp(text_at(s->grants.at[k], offset), text_at(s->grants.at[i], offset)) == 0)
            return true;
    return false;
}

/* What its grants say, each once, with commas; where they say nothing, what the token says. */
static const char *all_of(const struct session *s, size_t offset, const char *claim, char *out)
{
    const char *only = NULL;
    size_t used = 0;

    for (unsigned i = 0; i < s->grants.count; i++) {
        const char *text = text_at(s->grants.at[i], offset);
        if (!text[0] || told_before(s, i, offset))
            continue;
        only = used == 0 ? text : out;
        used +=
            (size_t)snprintf(out + used, AUDIT_TEXT_MAX + 1 - used, "%s%s", used ? "," : "", text);
        if (used > AUDIT_TEXT_MAX) {
            memcpy(out + AUDIT_TEXT_MAX - 3, "...", 4);
            break;
        }
    }
    return only ? only : claim;
}

void session_audit(const struct session *s, struct audit_event *e)
{
    e->session = s->number;
    e->client_address = s->peer;
    e->issuer = s->id.issuer;
    e->subject = s->id.subject;
    e->client = s->id.client;
    e->jti = s->id.jti;
    e->transfer = all_of(s, offsetof(struct grant, id), s->id.transfer, joined[TRAIL_TRANSFER]);
    e->agreement =
        all_of(s, offsetof(struct grant, agreement), s->id.agreement, joined[TRAIL_AGREEMENT]);
    e->asset = all_of(s, offsetof(struct grant, asset), s->id.asset, joined[TRAIL_ASSET]);
    e->participant = all_of(s, offsetof(struct grant, participant), s->id.participant,
                            joined[TRAIL_PARTICIPANT]);
    e->client_id = s->client_id;
    e->software_name = s->software_name;
    e->software_version = s->software_version;
}

static const char *first_of(const char *a, const char *b, const char *c)
{
    if (a && a[0])
        return a;
    return b && b[0] ? b : c;
}

/* A login that was refused: what the token says, what is known of the grant that it is for, and in
 * a running session what that one has. */
void session_audit_login(const struct session *s, const struct identity *id, bool refused,
                         struct audit_event *e)
{
    const struct grant *g = refused ? grant_table_meant(s->gate->grants, id) : NULL;

    session_audit(s, e);
    e->issuer = id->issuer;
    e->subject = id->subject;
    e->client = id->client;
    e->jti = id->jti;
    if (!refused)
        return;
    e->transfer = first_of(id->transfer, g ? g->id : NULL, e->transfer);
    e->agreement = first_of(id->agreement, g ? g->agreement : NULL, e->agreement);
    e->asset = first_of(id->asset, g ? g->asset : NULL, e->asset);
    e->participant = first_of(id->participant, g ? g->participant : NULL, e->participant);
}
