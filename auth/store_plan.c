#include "auth/store_plan.h"

#include <string.h>

#include "auth/grant_table.h"
#include "auth/text.h"
#include "base/log.h"

static struct change_item *item_add(struct plan *p, enum change_kind kind)
{
    struct change_item *at;
    size_t room = p->room ? p->room * 2 : 1;

    if (p->change.count == p->room) {
        at = sl_realloc(p->at, room * sizeof(*at));
        if (!at)
            return NULL;
        p->at = at;
        p->room = room;
    }
    at = &p->at[p->change.count++];
    memset(at, 0, sizeof(*at));
    at->kind = kind;
    p->change.items = p->at;
    return at;
}

static int add_revocation(struct plan *p, enum change_kind kind, struct revocation *r)
{
    struct change_item *i = r ? item_add(p, kind) : NULL;

    if (!i) {
        revocation_free(r);
        return ERR_NOMEM;
    }
    i->revocation = r;
    return OK;
}

int plan_revocation(struct plan *p, struct revocation *r)
{
    return add_revocation(p, CHANGE_REVOKE, r);
}

int plan_forget(struct plan *p, const struct revocation *r)
{
    return add_revocation(p, CHANGE_FORGET, revocation_clone(r));
}

int plan_grant(struct plan *p, struct grant *g)
{
    struct change_item *i = item_add(p, CHANGE_GRANT);

    if (!i)
        return ERR_NOMEM;
    i->grant = grant_ref(g);
    return OK;
}

int plan_ungrant(struct plan *p, const char *id)
{
    char *copy = text_dup(id);
    struct change_item *i = copy ? item_add(p, CHANGE_UNGRANT) : NULL;

    if (!i) {
        sl_free(copy);
        return ERR_NOMEM;
    }
    i->id = copy;
    return OK;
}

static void item_clear(struct change_item *i)
{
    union {
        const void *read;
        void *own;
    } held = {.read = i->id};

    grant_unref(i->grant);
    sl_free(held.own);
    held.read = i->revocation;
    revocation_free(held.own);
}

void plan_clear(struct plan *p)
{
    for (size_t i = 0; i < p->change.count; i++)
        item_clear(&p->at[i]);
    sl_free(p->at);
    memset(p, 0, sizeof(*p));
}

void plan_keep_ends(struct plan *p)
{
    size_t kept = 0;

    for (size_t i = 0; i < p->change.count; i++) {
        if (p->at[i].kind == CHANGE_UNGRANT || p->at[i].kind == CHANGE_REVOKE)
            p->at[kept++] = p->at[i];
        else
            item_clear(&p->at[i]);
    }
    p->change.count = kept;
}

static bool binds(const struct grant *g, const char *issuer, const char *jti)
{
    size_t i;

    if (strcmp(g->issuer, issuer) != 0)
        return false;
    for (i = 0; i < g->ntokens; i++) {
        if (strcmp(g->tokens[i], jti) == 0)
            return true;
    }
    return false;
}

/* Bars what was binds and now (NULL: nothing) does not. */
static int bar_tokens(struct plan *p, const struct grant *was, const struct grant *now, int64_t at,
                      const char *reason)
{
    int rc = OK;
    size_t i;

    for (i = 0; rc == OK && i < was->ntokens; i++) {
        if (!now || !binds(now, was->issuer, was->tokens[i]))
            rc = plan_revocation(
                p, revocation_new(REVOKE_JTI, was->issuer, was->tokens[i], "", at, 0, reason));
    }
    return rc;
}

int plan_put(struct plan *p, const struct grant_table *t, struct grant *g, int64_t now_s)
{
    const struct grant *was = grant_table_find(t, g->id);
    int rc = was ? bar_tokens(p, was, g, now_s, "its transfer has other tokens now") : OK;

    return rc == OK ? plan_grant(p, g) : rc;
}

int plan_lapse(struct plan *p, const struct grant *g, int64_t now_s)
{
    int rc = bar_tokens(p, g, NULL, now_s, "its grant has ended");

    return rc == OK ? plan_ungrant(p, g->id) : rc;
}

bool plan_revokes(const struct plan *p)
{
    size_t i;

    for (i = 0; i < p->change.count; i++) {
        if (p->at[i].kind == CHANGE_REVOKE)
            return true;
    }
    return false;
}

struct expand {
    struct plan *plan;
    const struct revocation *r;
    int result;
};

static void expand_grant(void *arg, struct grant *g)
{
    struct expand *e = arg;
    const char *attribute = "";

    if (e->r->kind == REVOKE_TRANSFER)
        attribute = g->id;
    if (e->r->kind == REVOKE_AGREEMENT)
        attribute = g->agreement;
    else if (e->r->kind == REVOKE_ASSET)
        attribute = g->asset;
    else if (e->r->kind == REVOKE_PARTICIPANT)
        attribute = g->participant;
    if (e->result != OK || !attribute[0] || strcmp(attribute, e->r->value) != 0)
        return;
    if (e->r->kind != REVOKE_TRANSFER)
        e->result = plan_revocation(
            e->plan, revocation_new(REVOKE_TRANSFER, "", g->id, "", e->r->at, 0, e->r->reason));
    if (e->result == OK)
        e->result = bar_tokens(e->plan, g, NULL, e->r->at, e->r->reason);
}

int plan_revoke(struct plan *p, const struct grant_table *t, const struct revocation *r)
{
    struct expand e = {.plan = p, .r = r};

    e.result = plan_revocation(p, revocation_clone(r));
    grant_table_each_grant(t, expand_grant, &e);
    return e.result;
}

/* The configuration's grants in a table of their own, to find them by id. */
static int config_table(const struct config *c, struct grant_table **out)
{
    struct grant_table *t = grant_table_new(c);
    const char *why = "";
    int rc = t ? OK : ERR_NOMEM;
    size_t i;

    for (i = 0; rc == OK && i < c->ngrants; i++) {
        struct grant *g;

        rc = grant_new(&c->grants[i], GRANT_FROM_CONFIG, &g, &why);
        if (rc == ERR_MALFORMED)
            log_error("store", "grant %s of the configuration: %s", c->grants[i].id, why);
        if (rc == OK) {
            rc = grant_table_put(t, g);
            grant_unref(g);
        }
    }
    if (rc != OK) {
        grant_table_free(t);
        t = NULL;
    }
    *out = t;
    return rc;
}

struct compare {
    struct plan *plan;
    const struct config *config;
    const struct grant_table *wanted, *have;
    size_t from_api;
    int64_t now_s;
    int result;
};

static bool shares_subjects(const struct config *c, const char *issuer)
{
    size_t i;

    for (i = 0; i < c->nissuers; i++) {
        if (issuer[0] && strcmp(c->issuers[i].issuer, issuer) != 0)
            continue;
        if (c->issuers[i].shared_subjects)
            return true;
    }
    return false;
}

/* With two or more left, tokens that only tell the principal stay nobody's. */
static bool still_ambiguous(const struct grant_table *wanted, const struct grant *g)
{
    const void *at = NULL;

    if (!table_of_principal(wanted, g->issuer, g->subject, g->client, &at))
        return false;
    return table_of_principal(wanted, g->issuer, g->subject, g->client, &at) != NULL;
}

static int bar_principal(struct plan *p, const struct grant *g, int64_t at)
{
    enum revoke_kind kind = g->subject[0] ? REVOKE_SUBJECT : REVOKE_CLIENT;
    const char *value = g->subject[0] ? g->subject : g->client;

    if (!g->issuer[0] || !value[0])
        return OK;
    return plan_revocation(p, revocation_new(kind, g->issuer, value, "", at, 0,
                                             "a grant of a shared principal was taken away"));
}

/* What is no longer there goes, with the tokens that reached it. */
static void compare_old(void *arg, struct grant *g)
{
    struct compare *c = arg;
    const struct grant *now = grant_table_find(c->wanted, g->id);
    bool lost = !now || strcmp(now->participant, g->participant) != 0;

    if (g->source != GRANT_FROM_CONFIG) {
        c->from_api++;
        return;
    }
    if (c->result == OK)
        c->result = bar_tokens(c->plan, g, lost ? NULL : now, c->now_s, "its grant was taken away");
    if (c->result == OK && lost && g->ntokens == 0 && shares_subjects(c->config, g->issuer) &&
        !still_ambiguous(c->wanted, g))
        c->result = bar_principal(c->plan, g, c->now_s);
    if (c->result == OK && !now)
        c->result = plan_ungrant(c->plan, g->id);
}

static void compare_new(void *arg, struct grant *g)
{
    struct compare *c = arg;
    struct grant *have = grant_table_find(c->have, g->id);

    if (have && have->source != GRANT_FROM_CONFIG)
        log_warn("store", "grant %s of the configuration gives way to the one put over the API",
                 g->id);
    else if (c->result == OK && !(have && grant_equal(have, g)))
        c->result = plan_grant(c->plan, g);
}

int plan_config(struct plan *p, const struct grant_table *t, const struct config *c, int64_t now_s)
{
    struct compare cmp = {.plan = p, .config = c, .have = t, .now_s = now_s};
    struct grant_table *wanted;

    cmp.result = config_table(c, &wanted);
    if (cmp.result != OK)
        return cmp.result;
    cmp.wanted = wanted;
    grant_table_each_grant(t, compare_old, &cmp);
    grant_table_each_grant(wanted, compare_new, &cmp);
    grant_table_free(wanted);
    if (cmp.result == OK && cmp.from_api + c->ngrants > c->limits.grants)
        return ERR_LIMIT;
    return cmp.result;
}

struct collect {
    struct plan *plan;
    enum grant_source source;
    int result;
};

static void collect_revocation(void *arg, const struct revocation *r)
{
    struct collect *c = arg;

    if (c->result == OK)
        c->result = plan_revocation(c->plan, revocation_clone(r));
}

static void collect_grant(void *arg, struct grant *g)
{
    struct collect *c = arg;

    if (c->result == OK && g->source == c->source)
        c->result = plan_grant(c->plan, g);
}

int plan_all(struct plan *p, const struct grant_table *t)
{
    struct collect c = {.plan = p, .source = GRANT_FROM_API};

    grant_table_each_revocation(t, collect_revocation, &c);
    grant_table_each_grant(t, collect_grant, &c);
    c.source = GRANT_FROM_CONFIG;
    grant_table_each_grant(t, collect_grant, &c);
    return c.result;
}
