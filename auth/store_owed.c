#include "auth/store_owed.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

struct owed_change {
    struct owed_change *next;
    struct plan plan;
};

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
        plan_clear(&c->plan);
        sl_free(c);
    }
}

void owed_release(struct owed *o)
{
    owed_paid(o, o->count);
}

void owed_keep(struct owed *o, struct plan *p)
{
    struct owed_change *c;

    plan_keep_ends(p);
    if (p->change.count == 0)
        return;
    c = o->count < OWED_MAX ? sl_calloc(1, sizeof(*c)) : NULL;
    if (!c) {
        o->lost = true;
        log_error("store", "an end that could not be written will not be remembered; nothing is "
                           "called durable until a restart");
        return;
    }
    c->plan = *p;
    memset(p, 0, sizeof(*p));
    *o->end = c;
    o->end = &c->next;
    o->count++;
}

void owed_list(const struct owed *o, const struct change **out)
{
    for (const struct owed_change *c = o->first; c; c = c->next)
        *out++ = &c->plan.change;
}
