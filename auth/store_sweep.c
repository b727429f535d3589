#include "auth/store_sweep.h"

#include <string.h>

/* The longest life of a token of this issuer, of any where it is "" or none of the configuration;
 * 0: there is no bound. */
static int64_t longest_life(const struct config *c, const char *issuer)
{
    int64_t longest = 0;
    size_t i;

    for (i = 0; i < c->nissuers; i++) {
        if (strcmp(c->issuers[i].issuer, issuer) == 0)
            return c->issuers[i].max_token_s;
    }
    for (i = 0; i < c->nissuers; i++) {
        if (c->issuers[i].max_token_s == 0)
            return 0;
        if (c->issuers[i].max_token_s > longest)
            longest = c->issuers[i].max_token_s;
    }
    return longest;
}

/* May somebody issue a token tomorrow that names what ended today, with rights in it? Tokens that
 * sluice signs carry them too, but it signs none for a transfer that has ended. */
static bool tokens_carry_rights(const struct config *c)
{
    size_t i;

    for (i = 0; i < c->nissuers; i++) {
        if (c->issuers[i].claims.topics && c->issuers[i].signing_keys.count == 0)
            return true;
    }
    return false;
}

static bool bars_later_tokens(const struct sweep *s, const struct grant_table *t,
                              const struct revocation *r)
{
    const struct grant *g;

    switch (r->kind) {
    case REVOKE_TRANSFER:
        g = grant_table_find(t, r->value);
        return tokens_carry_rights(s->config) || (g && g->source == GRANT_FROM_CONFIG);
    case REVOKE_AGREEMENT:
    case REVOKE_ASSET:
    case REVOKE_PARTICIPANT:
        return tokens_carry_rights(s->config);
    case REVOKE_SUBJECT:
    case REVOKE_CLIENT:
    case REVOKE_JTI:
    case REVOKE_TOKEN:
    case REVOKE_ISSUER:
    case REVOKE_SESSION:
        break;
    }
    return false;
}

bool sweep_may_forget(const struct sweep *s, const struct grant_table *t,
                      const struct revocation *r)
{
    int64_t life = longest_life(s->config, r->issuer);
    int64_t end = r->until;

    if (end == 0 && life == 0)
        return false;
    if (end == 0)
        end = r->at + life;
    return end + SWEEP_MARGIN_S < s->now_s && !bars_later_tokens(s, t, r);
}

struct sweeping {
    struct plan *plan;
    const struct grant_table *table;
    const struct sweep *sweep;
    int result;
};

static void sweep_grant(void *arg, struct grant *g)
{
    struct sweeping *y = arg;
    const struct sweep *s = y->sweep;

    if (y->result == OK && g->source == GRANT_FROM_API && g->expires > 0 &&
        g->expires + s->grant_margin_s <= s->now_s)
        y->result = plan_lapse(y->plan, g, s->now_s);
}

static void sweep_revocation(void *arg, const struct revocation *r)
{
    struct sweeping *y = arg;

    if (y->result == OK && sweep_may_forget(y->sweep, y->table, r))
        y->result = plan_forget(y->plan, r);
}

int sweep_plan(struct plan *p, const struct grant_table *t, const struct sweep *s, size_t *at,
               size_t buckets, bool *ended)
{
    struct sweeping y = {p, t, s, OK};

    *ended = grant_table_part(t, at, buckets, sweep_grant, sweep_revocation, &y);
    return y.result;
}
