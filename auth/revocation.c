#include <stdbool.h>
#include <string.h>

#include "auth/grant.h"
#include "auth/text.h"

#define TEXT_BYTES_MAX 255
#define UNTIL_MARGIN_S 60 /* a token is refused once its exp and the greatest skew have passed */

const char *revoke_kind_name(enum revoke_kind k)
{
    switch (k) {
    case REVOKE_TRANSFER:
        return "transfer";
    case REVOKE_AGREEMENT:
        return "agreement";
    case REVOKE_ASSET:
        return "asset";
    case REVOKE_PARTICIPANT:
        return "participant";
    case REVOKE_SUBJECT:
        return "subject";
    case REVOKE_CLIENT:
        return "client";
    case REVOKE_JTI:
        return "jti";
    case REVOKE_TOKEN:
        return "token";
    case REVOKE_ISSUER:
        return "issuer";
    case REVOKE_SESSION:
        return "session";
    }
    return "unknown";
}

/* Which of its texts a kind needs. */
static void needs(enum revoke_kind kind, bool *issuer, bool *value)
{
    *issuer = true;
    *value = true;
    switch (kind) {
    case REVOKE_TRANSFER:
    case REVOKE_AGREEMENT:
    case REVOKE_ASSET:
    case REVOKE_PARTICIPANT:
        *issuer = false;
        return;
    case REVOKE_SUBJECT:
    case REVOKE_CLIENT:
    case REVOKE_JTI:
    case REVOKE_TOKEN:
    case REVOKE_SESSION:
        return;
    case REVOKE_ISSUER:
        *value = false;
        return;
    }
}

static size_t length(const char *text)
{
    return text ? strlen(text) : 0;
}

int revocation_check(enum revoke_kind kind, const char *issuer, const char *value,
                     const char *client, const char *reason)
{
    bool need_issuer, need_value;

    needs(kind, &need_issuer, &need_value);
    /* A token without jti may be without subject as well: issuer and client bar it then. */
    if ((length(issuer) > 0) != need_issuer ||
        (kind != REVOKE_TOKEN && (length(value) > 0) != need_value) ||
        (kind != REVOKE_TOKEN && length(client) > 0))
        return ERR_MALFORMED;
    if (length(issuer) > TEXT_BYTES_MAX || length(value) > TEXT_BYTES_MAX ||
        length(client) > TEXT_BYTES_MAX || length(reason) > TEXT_BYTES_MAX)
        return ERR_MALFORMED;
    return OK;
}

struct revocation *revocation_new(enum revoke_kind kind, const char *issuer, const char *value,
                                  const char *client, int64_t at, int64_t until, const char *reason)
{
    struct revocation *r;

    if (revocation_check(kind, issuer, value, client, reason) != OK)
        return NULL;
    r = sl_calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->kind = kind;
    r->at = at;
    r->until = until;
    if (!(r->issuer = text_dup(issuer)) || !(r->value = text_dup(value)) ||
        !(r->client = text_dup(client)) || !(r->reason = text_dup(reason))) {
        revocation_free(r);
        return NULL;
    }
    return r;
}

struct revocation *revocation_for_token(const struct identity *id, int64_t at, const char *reason)
{
    if (id->jti[0])
        return revocation_new(REVOKE_JTI, id->issuer, id->jti, "", at, id->expires + UNTIL_MARGIN_S,
                              reason);
    return revocation_new(REVOKE_TOKEN, id->issuer, id->subject, id->client,
                          id->issued > at ? id->issued : at, 0, reason);
}

struct revocation *revocation_clone(const struct revocation *r)
{
    return revocation_new(r->kind, r->issuer, r->value, r->client, r->at, r->until, r->reason);
}

void revocation_free(struct revocation *r)
{
    if (!r)
        return;
    sl_free(r->issuer);
    sl_free(r->value);
    sl_free(r->client);
    sl_free(r->reason);
    sl_free(r);
}

static const char *grant_attribute(const struct grant *g, enum revoke_kind kind)
{
    switch (kind) {
    case REVOKE_TRANSFER:
        return g->id;
    case REVOKE_AGREEMENT:
        return g->agreement;
    case REVOKE_ASSET:
        return g->asset;
    case REVOKE_PARTICIPANT:
        return g->participant;
    case REVOKE_SUBJECT:
    case REVOKE_CLIENT:
    case REVOKE_JTI:
    case REVOKE_TOKEN:
    case REVOKE_ISSUER:
    case REVOKE_SESSION:
        break;
    }
    return "";
}

static bool hits_any_grant(const struct revocation *r, const char *claim,
                           const struct grant_set *grants)
{
    unsigned i;

    for (i = 0; i < grants->count; i++) {
        if (strcmp(grant_attribute(grants->at[i], r->kind), r->value) == 0)
            return true;
    }
    return strcmp(claim, r->value) == 0;
}

bool revocation_hits(const struct revocation *r, const struct identity *id,
                     const struct grant_set *grants)
{
    bool of_issuer = strcmp(r->issuer, id->issuer) == 0;

    switch (r->kind) {
    case REVOKE_TRANSFER:
        return hits_any_grant(r, id->transfer, grants);
    case REVOKE_AGREEMENT:
        return hits_any_grant(r, id->agreement, grants);
    case REVOKE_ASSET:
        return hits_any_grant(r, id->asset, grants);
    case REVOKE_PARTICIPANT:
        return hits_any_grant(r, id->participant, grants);
    case REVOKE_SUBJECT:
        return of_issuer && strcmp(r->value, id->subject) == 0 && id->issued <= r->at;
    case REVOKE_CLIENT:
        return of_issuer && strcmp(r->value, id->client) == 0 && id->issued <= r->at;
    case REVOKE_JTI:
        return of_issuer && strcmp(r->value, id->jti) == 0;
    case REVOKE_TOKEN:
        return of_issuer && !id->jti[0] && strcmp(r->value, id->subject) == 0 &&
               strcmp(r->client, id->client) == 0 && id->issued <= r->at;
    case REVOKE_ISSUER:
        return of_issuer && id->issued < r->at;
    case REVOKE_SESSION:
        return of_issuer && strcmp(r->value, id->sid) == 0;
    }
    return true;
}
