/* What the store holds, for whoever asks. */
#include "auth/store_priv.h"

struct each {
    struct store *store;
    int64_t now_s;
    void (*in_force)(void *arg, const struct grant *g);
    void (*any)(void *arg, struct grant *g, enum grant_state state);
    void *arg;
};

static void each_grant(void *arg, struct grant *g)
{
    struct each *e = arg;
    enum grant_state state = grant_table_state(e->store->table, g, e->now_s);

    if (e->any)
        e->any(e->arg, g, state);
    else if (state == GRANT_ACTIVE || state == GRANT_NOT_YET)
        e->in_force(e->arg, g);
}

void store_each_grant(struct store *s, void (*fn)(void *arg, const struct grant *g), void *arg)
{
    struct each e = {s, loop_wall_s(s->loop), fn, NULL, arg};

    grant_table_each_grant(s->table, each_grant, &e);
}

void store_each_grant_state(struct store *s,
                            void (*fn)(void *arg, struct grant *g, enum grant_state state),
                            void *arg)
{
    struct each e = {s, loop_wall_s(s->loop), NULL, fn, arg};

    grant_table_each_grant(s->table, each_grant, &e);
}

struct grant *store_find_grant(struct store *s, const char *id, const struct identity *token)
{
    struct grant *g = grant_table_find(s->table, id);

    if (!g || (token && grant_table_bars(s->table, token)))
        return NULL;
    return grant_table_state(s->table, g, loop_wall_s(s->loop)) <= GRANT_NOT_YET ? g : NULL;
}

bool store_revoked(const struct store *s, enum revoke_kind kind, const char *value, int64_t since)
{
    return grant_table_named(s->table, kind, value, since);
}

void store_each_revocation(struct store *s, void (*fn)(void *arg, const struct revocation *r),
                           void *arg)
{
    grant_table_each_revocation(s->table, fn, arg);
}

const char *store_find_note(struct store *s, const char *kind, const char *id)
{
    return notes_find(s->notes, kind, id);
}

void store_each_note(struct store *s, const char *kind,
                     void (*fn)(void *arg, const char *id, const char *text), void *arg)
{
    notes_each(s->notes, kind, fn, arg);
}

size_t store_owes(const struct store *s)
{
    return s->owed.count + s->owed.lost;
}
