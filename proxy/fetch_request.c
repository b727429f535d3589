/* What goes upstream of a Fetch: no session, no rack, no replica, and each topic and partition
 * once. A broker reads a request into a map, in which the last of two equal partitions counts; what
 * is listed twice here would be an answer that differs from its question. */
#include <stdlib.h>
#include <string.h>

#include "proxy/fetch_priv.h"

/* An element with its place, so that sorting keeps the order of equal ones. */
struct item {
    struct node *node;
    uint32_t place;
    bool drop;
};

static int by_place(const struct item *x, const struct item *y)
{
    return (x->place > y->place) - (x->place < y->place);
}

static int by_index(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int64_t i = node_num(x->node, F_PARTITION, -1), k = node_num(y->node, F_PARTITION, -1);

    return i != k ? (i > k) - (i < k) : by_place(x, y);
}

static int compare_keys(const struct node *x, const struct node *y)
{
    const struct node *a = node_role(x, ROLE_TOPIC), *b = node_role(y, ROLE_TOPIC);
    uint32_t n;
    int d;

    if (!a || !b)
        return memcmp(node_role(x, ROLE_TOPIC_ID)->u.uuid, node_role(y, ROLE_TOPIC_ID)->u.uuid, 16);
    n = a->u.str.len < b->u.str.len ? a->u.str.len : b->u.str.len;
    d = memcmp(a->u.str.p, b->u.str.p, n);
    return d ? d : (a->u.str.len > b->u.str.len) - (a->u.str.len < b->u.str.len);
}

static int by_key(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int d = compare_keys(x->node, y->node);

    return d ? d : by_place(x, y);
}

static int in_order(const void *a, const void *b)
{
    return by_place(a, b);
}

static struct item *list_items(struct arena *arena, const struct node *array)
{
    struct item *items = arena_alloc(arena, array->count * sizeof(*items));
    uint32_t n = 0;

    for (struct node *e = items ? array->child : NULL; e; e = e->next, n++)
        items[n] = (struct item){e, n, false};
    return items;
}

/* The array anew, in the order that it had, without what is dropped. */
static void put_back(struct node *array, struct item *items, uint32_t n)
{
    qsort(items, n, sizeof(*items), in_order);
    array_clear(array);
    for (uint32_t i = 0; i < n; i++)
        if (!items[i].drop)
            array_put(array, items[i].node);
}

static bool ascending(const struct node *partitions)
{
    int64_t last = INT64_MIN;

    ARRAY_EACH (p, partitions) {
        int64_t index = node_num(p, F_PARTITION, -1);
        if (index <= last)
            return false;
        last = index;
    }
    return true;
}

static int unique_partitions(struct arena *arena, struct node *partitions)
{
    struct item *items;
    uint32_t n = partitions->count;

    if (ascending(partitions))
        return OK;
    items = list_items(arena, partitions);
    if (!items)
        return ERR_NOMEM;
    qsort(items, n, sizeof(*items), by_index);
    for (uint32_t i = 0; i + 1 < n; i++)
        items[i].drop = node_num(items[i].node, F_PARTITION, -1) ==
                        node_num(items[i + 1].node, F_PARTITION, -1);
    put_back(partitions, items, n);
    return OK;
}

/* Partitions of a topic that is listed again go to where it is listed first. */
static int unique_topics(struct arena *arena, struct node *topics)
{
    struct item *items;
    uint32_t n = topics->count, first = 0;

    if (n < 2)
        return OK;
    items = list_items(arena, topics);
    if (!items)
        return ERR_NOMEM;
    qsort(items, n, sizeof(*items), by_key);
    for (uint32_t i = 1; i < n; i++) {
        struct node *to = node_get(items[first].node, F_PARTITIONS);
        struct node *from = node_get(items[i].node, F_PARTITIONS);
        if (compare_keys(items[first].node, items[i].node) != 0) {
            first = i;
            continue;
        }
        items[i].drop = true;
        while (from->child) {
            struct node *p = from->child;
            array_take(from, NULL, p);
            array_put(to, p);
        }
    }
    put_back(topics, items, n);
    return OK;
}

int fetch_normalize(struct exchange *ex)
{
    struct msg *m = &ex->request;
    struct node *topics = node_get(m->root, F_TOPICS);
    int rc = node_set_num(m, m->root, F_SESSION_ID, 0);

    if (rc == OK)
        rc = node_set_num(m, m->root, F_SESSION_EPOCH, -1);
    if (rc == OK)
        rc = node_set_text(m, m->root, F_RACK_ID, "");
    if (rc == OK)
        rc = node_set_num(m, m->root, F_REPLICA_ID, -1);
    if (rc == OK && node_get(m->root, F_FORGOTTEN_TOPICS_DATA))
        rc = node_array(m, m->root, F_FORGOTTEN_TOPICS_DATA) ? OK : ERR_NOMEM;
    node_unset(m->root, F_CLUSTER_ID);
    node_unset(m->root, F_REPLICA_STATE);
    if (rc == OK)
        rc = unique_topics(&ex->arena, topics);
    for (struct node *t = topics->child; t && rc == OK; t = t->next)
        rc = unique_partitions(&ex->arena, node_get(t, F_PARTITIONS));
    return rc;
}
