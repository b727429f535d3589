/* Looking at trees: the reading half of codec/msg.h. */
#include "codec/msg.h"

#include <assert.h>
#include <string.h>

#include "codec/node.h"

struct node *node_iter_next(struct node_iter *it)
{
    if (!it->at) {
        it->at = it->depth ? NULL : it->root;
        return it->at;
    }
    if (it->at->child) {
        assert(it->depth + 1 < MSG_DEPTH_MAX);
        it->up[it->depth++] = it->at;
        it->at = it->at->child;
        return it->at;
    }
    while (it->depth > 0 && !it->at->next)
        it->at = it->up[--it->depth];
    if (it->depth == 0) {
        it->at = NULL;
        it->depth = 1; /* stays at its end */
        return NULL;
    }
    it->at = it->at->next;
    return it->at;
}

static bool has_text(const struct node *n)
{
    return n->field && !n->null && !node_is_array(n) &&
           (n->field->type == TYPE_STRING || n->field->type == TYPE_BYTES);
}

int msg_own_strings(struct msg *m)
{
    struct node_iter it = {.root = m->root};
    for (struct node *n = node_iter_next(&it); n; n = node_iter_next(&it)) {
        if (!has_text(n) || n->own || n->u.str.len == 0)
            continue;
        const char *copy = arena_dup(m->arena, n->u.str.p, n->u.str.len);
        if (!copy)
            return arena_error(m->arena, (size_t)n->u.str.len + 1);
        n->u.str.p = (const uint8_t *)copy;
        n->own = true;
    }
    return OK;
}

struct node *node_get(const struct node *st, enum field_name id)
{
    for (struct node *n = st->child; n; n = n->next) {
        if (n->field->id == id)
            return n;
    }
    return NULL;
}

int64_t node_num(const struct node *st, enum field_name id, int64_t fallback)
{
    const struct node *n = node_get(st, id);
    return n ? n->u.num : fallback;
}

struct node *node_role(const struct node *st, enum field_role role)
{
    for (struct node *n = st->child; n; n = n->next) {
        if (n->field->role == role)
            return n;
    }
    return NULL;
}

bool node_str_is(const struct node *n, const char *s)
{
    return n && has_text(n) && n->u.str.len == strlen(s) &&
           memcmp(n->u.str.p, s, n->u.str.len) == 0;
}

bool node_str_eq(const struct node *a, const struct node *b)
{
    if (!a || !b || !a->field || !b->field)
        return false;
    if (a->field->type == TYPE_UUID && b->field->type == TYPE_UUID)
        return memcmp(a->u.uuid, b->u.uuid, 16) == 0;
    return has_text(a) && has_text(b) && a->u.str.len == b->u.str.len &&
           memcmp(a->u.str.p, b->u.str.p, a->u.str.len) == 0;
}
