#include "auth/store_owed.h"

#include "base/alloc.h"
#include "base/log.h"

static void change_free(struct owed_change *c)
{
    plan_clear(&c->first);
    plan_clear(&c->bars);
    sl_free(c);
}

void owed_init(struct owed *o)
{
    *o = (struct owed){.end = &o->first};
}

void owed_paid(struct owed *o, size_t n)
{
    while (n-- > 0 && o->first) {
        struct owed_change *c = o->first;

        o->first = c->next;
        if (!o->first)
            o->end = &o->first;
        o->count--;
        change_free(c);
    }
}

void owed_release(struct owed *o)
{
    owed_paid(o, o->count);
}

void owed_keep(struct owed *o, struct owed_change *c)
{
    plan_keep_ends(&c->first);
    plan_keep_ends(&c->bars);
    if (c->first.change.count + c->bars.change.count == 0 || o->lost || o->count == OWED_MAX) {
        if (o->count == OWED_MAX && !o->lost)
            log_error("store", "too much could not be written: nothing is called durable any more "
                               "until a restart");
        o->lost = o->lost || o->count == OWED_MAX;
        change_free(c);
        return;
    }
    c->next = NULL;
    *o->end = c;
    o->end = &c->next;
    o->count++;
}

size_t owed_list(const struct owed *o, const struct change **out)
{
    size_t n = 0;

    for (const struct owed_change *c = o->first; c; c = c->next) {
        if (c->first.change.count > 0)
            out[n++] = &c->first.change;
        if (c->bars.change.count > 0)
            out[n++] = &c->bars.change;
    }
    return n;
}
