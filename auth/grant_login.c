/* Who gets what: the rules of grant_table_login and grant_table_allows over what the table holds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/grant_table.h"

bool grant_table_named(const struct grant_table *t, enum revoke_kind kind, const char *value,
                       int64_t since)
{
    const struct revocation *r = value[0] ? table_bar(t, kind, "", value, "") : NULL;

    return r && since <= r->at;
}

static bool of_principal(const struct grant_table *t, enum revoke_kind kind, const char *issuer,
                         const char *value, int64_t issued)
{
    const struct revocation *r = value[0] ? table_bar(t, kind, issuer, value, "") : NULL;

    return r && issued <= r->at;
}

bool grant_table_bars(const struct grant_table *t, const struct identity *id)
{
    const struct revocation *r;

    if (table_shut(t))
        return true;
    if (id->jti[0]) {
        if (table_bar(t, REVOKE_JTI, id->issuer, id->jti, ""))
            return true;
    } else {
        r = table_bar(t, REVOKE_TOKEN, id->issuer, id->subject, id->client);
        if (r && id->issued <= r->at)
            return true;
    }
    r = table_bar(t, REVOKE_ISSUER, id->issuer, "", "");
    if (r && id->issued < r->at)
        return true;
    if (id->sid[0] && table_bar(t, REVOKE_SESSION, id->issuer, id->sid, ""))
        return true;
    return of_principal(t, REVOKE_SUBJECT, id->issuer, id->subject, id->issued) ||
           of_principal(t, REVOKE_CLIENT, id->issuer, id->client, id->issued) ||
           grant_table_named(t, REVOKE_TRANSFER, id->transfer, id->issued) ||
           grant_table_named(t, REVOKE_AGREEMENT, id->agreement, id->issued) ||
           grant_table_named(t, REVOKE_ASSET, id->asset, id->issued) ||
           grant_table_named(t, REVOKE_PARTICIPANT, id->participant, id->issued);
}

/* Has what this grant stands for ended, as far as this token is concerned? A grant of the API is
 * younger than any revocation of its id (that would have removed it), so it resumes the transfer,
 * for tokens issued since. */
static bool ended(const struct grant_table *t, const struct identity *id, const struct grant *g)
{
    switch (g->source) {
    case GRANT_FROM_API:
        return grant_table_named(t, REVOKE_TRANSFER, g->id, id->issued);
    case GRANT_FROM_CONFIG:
        return grant_table_named(t, REVOKE_TRANSFER, g->id, INT64_MIN);
    case GRANT_FROM_CLAIMS:
        return grant_table_named(t, REVOKE_TRANSFER, g->id, INT64_MIN) ||
               grant_table_named(t, REVOKE_AGREEMENT, g->agreement, INT64_MIN) ||
               grant_table_named(t, REVOKE_ASSET, g->asset, INT64_MIN) ||
               grant_table_named(t, REVOKE_PARTICIPANT, g->participant, INT64_MIN);
    }
    return true;
}

bool grant_table_barred(const struct grant_table *t, const struct grant *g)
{
    return g->source == GRANT_FROM_CONFIG &&
           grant_table_named(t, REVOKE_TRANSFER, g->id, INT64_MIN);
}

static enum login_verdict in_time(const struct grant *g, int64_t now_s)
{
    if (g->expires > 0 && g->expires <= now_s)
        return LOGIN_EXPIRED;
    return g->not_before > now_s ? LOGIN_NOT_YET : LOGIN_OK;
}

enum grant_state grant_table_state(const struct grant_table *t, const struct grant *g,
                                   int64_t now_s)
{
    if (grant_table_barred(t, g))
        return GRANT_BARRED;
    switch (in_time(g, now_s)) {
    case LOGIN_EXPIRED:
        return GRANT_EXPIRED;
    case LOGIN_NOT_YET:
        return GRANT_NOT_YET;
    case LOGIN_OK:
    case LOGIN_REVOKED:
    case LOGIN_NO_GRANT:
    case LOGIN_AMBIGUOUS:
    case LOGIN_RESOURCES:
        break;
    }
    return GRANT_ACTIVE;
}

static bool matches(const char *wanted, const char *has)
{
    return !wanted[0] || strcmp(wanted, has) == 0;
}

static bool principal_matches(const struct grant *g, const struct identity *id)
{
    return matches(g->issuer, id->issuer) && matches(g->subject, id->subject) &&
           matches(g->client, id->client);
}

static enum login_verdict login_claims(const struct grant_table *t, const struct identity *id,
                                       struct grant_set *out)
{
    struct grant *g;
    int rc = grant_from_claims(id, &g);

    if (rc != OK)
        return rc == ERR_NOMEM ? LOGIN_RESOURCES : LOGIN_NO_GRANT;
    if (ended(t, id, g)) {
        grant_unref(g);
        return LOGIN_REVOKED;
    }
    out->at[out->count++] = g;
    return LOGIN_OK;
}

/* The next grant that binds this token; *at NULL: the first. */
static struct grant *bound_next(const struct grant_table *t, const struct identity *id,
                                const void **at)
{
    return id->jti[0] ? table_of_token(t, id->issuer, id->jti, at) : NULL;
}

static enum login_verdict login_entry(const struct grant_table *t, const struct identity *id,
                                      int64_t now_s, struct grant *g, struct grant_set *out)
{
    enum login_verdict v;

    if (!principal_matches(g, id))
        return LOGIN_NO_GRANT;
    if (ended(t, id, g))
        return LOGIN_REVOKED;
    v = in_time(g, now_s);
    if (v == LOGIN_OK)
        out->at[out->count++] = grant_ref(g);
    return v;
}

static enum login_verdict login_bound(const struct grant_table *t, const struct identity *id,
                                      int64_t now_s, struct grant *g, const void *at,
                                      struct grant_set *out)
{
    if (bound_next(t, id, &at) || (id->transfer[0] && strcmp(id->transfer, g->id) != 0))
        return LOGIN_AMBIGUOUS;
    return login_entry(t, id, now_s, g, out);
}

static enum login_verdict login_transfer(const struct grant_table *t, const struct identity *id,
                                         int64_t now_s, struct grant_set *out)
{
    struct grant *g = grant_table_find(t, id->transfer);

    if (g)
        return login_entry(t, id, now_s, g, out);
    if (grant_table_named(t, REVOKE_TRANSFER, id->transfer, INT64_MIN))
        return LOGIN_REVOKED;
    return login_claims(t, id, out);
}

/* What the grants of one principal come to. */
struct tally {
    unsigned all; /* that name this principal, in force or not */
    unsigned from_config;
    unsigned usable;
    enum login_verdict otherwise; /* why the last unusable one is so */
};

static void tally_grant(struct tally *y, const struct grant_table *t, const struct identity *id,
                        int64_t now_s, struct grant *g, struct grant_set *out)
{
    enum login_verdict v = ended(t, id, g) ? LOGIN_REVOKED : in_time(g, now_s);

    if (g->ntokens > 0)
        v = LOGIN_NO_GRANT; /* it is for the tokens that it binds, and this is none of them */
    y->all++;
    if (g->source == GRANT_FROM_CONFIG)
        y->from_config++;
    if (v != LOGIN_OK) {
        y->otherwise = v;
        return;
    }
    y->usable++;
    if (out->count < GRANT_SET_MAX)
        out->at[out->count++] = grant_ref(g);
}

/* Under each way to write this principal: bit 0 the issuer, 1 the subject, 2 the client. A grant
 * that leaves all three open belongs to nobody by principal. */
static void tally_principal(struct tally *y, const struct grant_table *t, const struct identity *id,
                            int64_t now_s, struct grant_set *out)
{
    unsigned way;

    for (way = 1; way < 8; way++) {
        const char *issuer = way & 1 ? id->issuer : "";
        const char *subject = way & 2 ? id->subject : "";
        const char *client = way & 4 ? id->client : "";
        const void *at = NULL;
        struct grant *g;

        if (((way & 1) && !issuer[0]) || ((way & 2) && !subject[0]) || ((way & 4) && !client[0]))
            continue; /* the same as without it */
        while ((g = table_of_principal(t, issuer, subject, client, &at)))
            tally_grant(y, t, id, now_s, g, out);
    }
}

static int compare_grants(const void *a, const void *b)
{
    struct grant *const *x = a;
    struct grant *const *y = b;

    return strcmp((*x)->id, (*y)->id);
}

static enum login_verdict login_principal(const struct grant_table *t, const struct identity *id,
                                          int64_t now_s, struct grant_set *out)
{
    struct tally y = {.otherwise = LOGIN_NO_GRANT};

    tally_principal(&y, t, id, now_s, out);
    if (y.all == 0)
        return LOGIN_NO_GRANT;
    if (id->shared_subjects && (y.all > 1 || y.from_config != 1))
        return LOGIN_AMBIGUOUS;
    if (y.usable == 0)
        return y.otherwise;
    if (y.usable > GRANT_SET_MAX)
        return LOGIN_AMBIGUOUS; /* a part of them, chosen by chance, would be worse than none */
    qsort(out->at, out->count, sizeof(struct grant *), compare_grants);
    return LOGIN_OK;
}

enum login_verdict grant_table_login(struct grant_table *t, const struct identity *id,
                                     int64_t now_s, struct grant_set *out)
{
    const void *at = NULL;
    struct grant *bound = bound_next(t, id, &at);
    enum login_verdict v;

    memset(out, 0, sizeof(*out));
    if (grant_table_bars(t, id))
        v = LOGIN_REVOKED;
    else if (id->expires <= now_s)
        v = LOGIN_EXPIRED;
    else if (bound)
        v = login_bound(t, id, now_s, bound, at, out);
    else if (id->transfer[0])
        v = login_transfer(t, id, now_s, out);
    else if (id->ntopics > 0)
        v = login_claims(t, id, out);
    else
        v = login_principal(t, id, now_s, out);
    if (v == LOGIN_OK)
        snprintf(out->separator, sizeof(out->separator), "%s", table_separator(t));
    else
        grant_set_clear(out);
    return v;
}

const struct grant *grant_table_meant(const struct grant_table *t, const struct identity *id)
{
    const void *at = NULL;
    const struct grant *g = bound_next(t, id, &at);

    if (!g && id->transfer[0])
        g = grant_table_find(t, id->transfer);
    return g && principal_matches(g, id) ? g : NULL;
}

static bool ends_earlier(int64_t a, int64_t b)
{
    return a > 0 && (b == 0 || a < b);
}

/* Does now give less than was given? */
static bool narrowed(const struct grant *was, const struct grant *now)
{
    size_t i, j;

    if ((was->operations & ~now->operations) != 0 || ends_earlier(now->expires, was->expires) ||
        now->not_before > was->not_before || strcmp(was->participant, now->participant) != 0 ||
        (was->group_prefix[0] && strcmp(was->group_prefix, now->group_prefix) != 0))
        return true;
    for (i = j = 0; i < was->ntopics; i++) { /* both are sorted */
        while (j < now->ntopics && strcmp(now->topics[j], was->topics[i]) < 0)
            j++;
        if (j == now->ntopics || strcmp(now->topics[j], was->topics[i]) != 0)
            return true;
    }
    return false;
}

/* Would this token, at its next login, get another grant than these, or none, for being bound? */
static bool bound_otherwise(const struct grant_table *t, const struct identity *id,
                            const struct grant_set *s)
{
    const void *at = NULL;
    const struct grant *g;

    while ((g = bound_next(t, id, &at))) {
        if (s->count != 1 || strcmp(s->at[0]->id, g->id) != 0)
            return true;
    }
    return false;
}

/* A grant that binds tokens is for those, and for tokens that name it. */
static bool for_this_token(const struct grant *g, const struct identity *id)
{
    size_t i;

    if (g->ntokens == 0 || strcmp(g->id, id->transfer) == 0)
        return true;
    for (i = 0; i < g->ntokens; i++) {
        if (id->jti[0] && strcmp(g->tokens[i], id->jti) == 0)
            return true;
    }
    return false;
}

bool grant_table_allows(const struct grant_table *t, const struct identity *id,
                        const struct grant_set *s)
{
    unsigned i;

    if (grant_table_bars(t, id) || bound_otherwise(t, id, s))
        return false;
    if (table_separator(t)[0] && strcmp(table_separator(t), s->separator) != 0)
        return false;
    for (i = 0; i < s->count; i++) {
        const struct grant *g = s->at[i];
        const struct grant *now = g->id[0] ? grant_table_find(t, g->id) : NULL;

        if (now) {
            if (!principal_matches(now, id) || !for_this_token(now, id) || ended(t, id, now) ||
                (now != g && narrowed(g, now)))
                return false;
        } else if (g->source != GRANT_FROM_CLAIMS || ended(t, id, g)) {
            return false;
        }
    }
    return true;
}

const char *grant_state_name(enum grant_state s)
{
    switch (s) {
    case GRANT_ACTIVE:
        return "active";
    case GRANT_NOT_YET:
        return "not yet";
    case GRANT_EXPIRED:
        return "expired";
    case GRANT_BARRED:
        return "barred";
    }
    return "unknown";
}

const char *login_verdict_name(enum login_verdict v)
{
    switch (v) {
    case LOGIN_OK:
        return "ok";
    case LOGIN_REVOKED:
        return "revoked";
    case LOGIN_NO_GRANT:
        return "no grant";
    case LOGIN_EXPIRED:
        return "expired";
    case LOGIN_NOT_YET:
        return "not yet valid";
    case LOGIN_AMBIGUOUS:
        return "ambiguous grant";
    case LOGIN_RESOURCES:
        return "out of memory";
    }
    return "unknown";
}
