/* What no option can see alone, for grants: whose they are, and how they stand beside each other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "config/build.h"

#define PREFIX_WARNINGS_MAX 10
#define WHERE_BYTES         320 /* of the name of a file, and a place in it */

#define REFUSE(where, option, ...)  config_say(b, false, where, option, __VA_ARGS__)
#define CAUTION(where, option, ...) config_say(b, true, where, option, __VA_ARGS__)

static void check_principal(struct build *b, const struct config *c, struct grant_config *g,
                            const char *where)
{
    bool known = false;
    if (!g->issuer && c->nissuers == 1)
        g->issuer = c->issuers[0].issuer;
    for (size_t i = 0; i < c->nissuers && g->issuer; i++)
        known |= c->issuers[i].issuer && strcmp(c->issuers[i].issuer, g->issuer) == 0;
    if (!g->issuer && c->nissuers > 1)
        REFUSE(where, "principal.issuer",
               "is missing; with several issuers a subject alone says not whose it is");
    else if (g->issuer && !known)
        REFUSE(where, "principal.issuer", "is none of `issuers`, so no token could match");
    if (g->tokens.count > 0 && !g->issuer)
        REFUSE(where, "tokens", "need `principal.issuer`: a jti is one of its issuer");
    if (!g->subject && !g->client)
        REFUSE(where, "principal",
               "names neither subject nor client; it takes at least one of them");
}

void config_check_grant(struct build *b, const struct config *c, struct grant_config *g,
                        const char *where)
{
    unsigned on_topics = OP_READ | OP_WRITE | OP_DESCRIBE_CONFIGS;
    check_principal(b, c, g, where);
    if ((g->operations & on_topics) && g->topics.count == 0 && !config_given(b, where, "topics"))
        REFUSE(where, "topics", "is missing; read, write and describe_configs are for topics");
    if (!g->group_prefix)
        g->group_prefix = "";
    if ((g->operations & OP_MANAGE) && !*g->group_prefix && !config_given(b, where, "group_prefix"))
        REFUSE(where, "group_prefix", "is missing; manage is for groups");
    if (g->not_before && g->expires && g->not_before >= g->expires)
        REFUSE(where, "expires", "is not after `not_before`: the grant could never be used");
    else if (g->expires && g->expires <= (int64_t)time(NULL))
        CAUTION(where, "expires", "lies in the past: the grant lets nobody in");
    size_t n = c->group_separator ? strlen(c->group_separator) : 0;
    size_t prefix = strlen(g->group_prefix);
    if (n && prefix >= n && strcmp(g->group_prefix + prefix - n, c->group_separator) == 0)
        CAUTION(where, "group_prefix",
                "ends in `group_separator`, which would have to follow once more");
}

/* Where a grant stands: "grants[3]" of the file itself, or "bob.yaml[0]" of grants_dir. */
static const char *place(const struct build *b, const struct config *c, size_t index,
                         char out[WHERE_BYTES])
{
    if (index < c->ngrants_own || !b->origins)
        snprintf(out, WHERE_BYTES, "grants[%zu]", index);
    else
        snprintf(out, WHERE_BYTES, "%s", b->origins[index - c->ngrants_own]);
    return out;
}

/* A view of grants[] that can be sorted, with where each came from. */
struct ranked {
    const struct grant_config *grant;
    size_t index;
};

static int compare_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "");
}

static int by_id(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    int order = compare_text(x->grant->id, y->grant->id);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

static int by_prefix(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    int order = compare_text(x->grant->group_prefix, y->grant->group_prefix);
    return order ? order : by_id(a, b);
}

static int compare_principal(const struct grant_config *x, const struct grant_config *y)
{
    int order = compare_text(x->issuer, y->issuer);
    order = order ? order : compare_text(x->subject, y->subject);
    return order ? order : compare_text(x->client, y->client);
}

static int by_principal(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    int order = compare_principal(x->grant, y->grant);
    return order ? order : by_id(a, b);
}

static void check_ids(struct build *b, const struct config *c, const struct ranked *r, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        char where[WHERE_BYTES], other[WHERE_BYTES], quoted[REPORT_QUOTE_BYTES];
        const char *id = r[i].grant->id;
        if (!id || compare_text(id, r[i - 1].grant->id) != 0)
            continue;
        REFUSE(place(b, c, r[i].index, where), "id", "%s stands in %s already; ids are unique",
               report_quote(quoted, id, strlen(id)), place(b, c, r[i - 1].index, other));
    }
}

/* Sorted by prefix, whatever a prefix covers follows it. Only neighbours are compared: one warning
 * is enough to look at both. */
static void check_prefixes(struct build *b, const struct config *c, const struct ranked *r,
                           size_t n)
{
    unsigned told = 0;
    for (size_t i = 1; i < n && told < PREFIX_WARNINGS_MAX; i++) {
        const struct grant_config *x = r[i - 1].grant, *y = r[i].grant;
        char where[WHERE_BYTES], other[WHERE_BYTES];
        char short_one[REPORT_QUOTE_BYTES], long_one[REPORT_QUOTE_BYTES];
        size_t prefix = strlen(x->group_prefix);
        if (!prefix || strncmp(x->group_prefix, y->group_prefix, prefix) != 0 ||
            (compare_principal(x, y) == 0 && compare_text(x->participant, y->participant) == 0))
            continue;
        CAUTION(place(b, c, r[i - 1].index, where), "group_prefix",
                "%s also covers %s of %s, somebody else's; see `group_separator`",
                report_quote(short_one, x->group_prefix, prefix),
                report_quote(long_one, y->group_prefix, strlen(y->group_prefix)),
                place(b, c, r[i].index, other));
        told++;
    }
}

static bool shares_subjects(const struct config *c, const char *issuer)
{
    for (size_t i = 0; i < c->nissuers; i++)
        if (issuer && c->issuers[i].issuer && strcmp(c->issuers[i].issuer, issuer) == 0)
            return c->issuers[i].shared_subjects;
    return false;
}

/* Several grants of one principal whose issuer's subjects are shared: a token must name its
 * transfer, or nobody can tell whose it is. */
static void check_shared(struct build *b, const struct config *c, const struct ranked *r, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t end = i, unbound = 0;
        for (; end < n && compare_principal(r[i].grant, r[end].grant) == 0; end++)
            unbound += r[end].grant->tokens.count == 0;
        if (end - i > 1 && unbound > 0 && shares_subjects(c, r[i].grant->issuer)) {
            char where[WHERE_BYTES];
            CAUTION(place(b, c, r[i].index, where), "principal",
                    "has %zu grants and its issuer's subjects are shared: tokens that name their "
                    "transfer (`claims.transfer`) or are bound by a grant (`tokens`) are kept "
                    "apart, others are refused as ambiguous",
                    end - i);
        }
        i = end;
    }
}

/* Do tokens of this issuer tell transfers apart by themselves? Those that sluice signs have a
 * subject each. */
static bool tells_apart(const struct build *b, const struct issuer_config *i, size_t index)
{
    char where[32];
    snprintf(where, sizeof(where), "issuers[%zu]", index);
    return !i->shared_subjects || i->claims.transfer || config_given(b, where, "signing_keys");
}

/* Transfers come and go, and nothing in any token says whose it is. */
static void check_only_shared(struct build *b, const struct config *c)
{
    if (!c->signaling.listen.port && !c->acl_listener.listen.port)
        return;
    for (size_t i = 0; i < c->nissuers; i++)
        if (tells_apart(b, &c->issuers[i], i))
            return;
    if (c->nissuers > 0)
        CAUTION("", "issuers",
                "has shared subjects only: consumers are kept apart by the `jti` of tokens that a "
                "grant binds, and one that fetches its tokens itself gets nothing; better is "
                "`claims.transfer`, or sluice's own tokens (`signing_keys`)");
}

void config_check_merged(struct build *b, const struct config *c)
{
    struct ranked *r = sl_calloc(c->ngrants + 1, sizeof(*r));
    if (!r) {
        b->nomem = true;
        return;
    }
    for (size_t i = 0; i < c->ngrants; i++)
        r[i] = (struct ranked){&c->grants[i], i};
    qsort(r, c->ngrants, sizeof(*r), by_id);
    check_ids(b, c, r, c->ngrants);
    qsort(r, c->ngrants, sizeof(*r), by_principal);
    check_shared(b, c, r, c->ngrants);
    if (!c->group_separator) {
        qsort(r, c->ngrants, sizeof(*r), by_prefix);
        check_prefixes(b, c, r, c->ngrants);
    }
    sl_free(r);
    if (c->ngrants > c->limits.grants)
        REFUSE("", "limits.grants", "is below the %zu grants of the configuration%s", c->ngrants,
               c->ngrants > c->ngrants_own ? " and `grants_dir`" : "");
}

void config_check_grants(struct build *b, struct config *c)
{
    char where[WHERE_BYTES];
    for (size_t i = 0; i < c->ngrants_own; i++)
        config_check_grant(b, c, &c->grants[i], place(b, c, i, where));
    config_check_merged(b, c);
    check_only_shared(b, c);
}
