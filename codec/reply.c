#include "codec/reply.h"

#include <assert.h>
#include <string.h>

#include "codec/node.h"
#include "codec/shape.h"

static int set_values(struct msg *m, struct node *st, const struct reply_value *v, size_t n)
{
    for (size_t i = 0; i < n && v[i].id != F_NONE; i++) {
        int err = node_set_num(m, st, v[i].id, v[i].num);
        if (err)
            return err;
    }
    return OK;
}

/* A text where the version has room for one; NULL: null. */
static int set_message(struct msg *m, struct node *st, const char *text)
{
    return text ? node_set_text(m, st, F_ERROR_MESSAGE, text)
                : node_set_null(m, st, F_ERROR_MESSAGE);
}

int reply_new(struct msg *reply, struct arena *a, const struct msg *request)
{
    const struct message *schema = schema_find(request->schema->api, false);
    if (!schema)
        return ERR_UNKNOWN;
    return msg_new(reply, a, schema, request->version);
}

/* --- a topic's key: its name, or where there is none its id */

struct key {
    const uint8_t *p;
    uint32_t len;
    uint8_t kind; /* names and ids never meet */
};

enum { KEY_NAME = 1, KEY_ID = 2 };

static const struct node *topic_name(const struct node *topic)
{
    const struct node *n = node_get(topic, F_NAME);
    return n ? n : node_get(topic, F_TOPIC);
}

static struct key topic_key(const struct node *topic)
{
    static const uint8_t zero[16];
    const struct node *name = topic_name(topic);
    const struct node *id = node_get(topic, F_TOPIC_ID);
    bool has_id = id && id->u.uuid && memcmp(id->u.uuid, zero, sizeof zero) != 0;
    if (name && !name->null && (name->u.str.len > 0 || !has_id))
        return (struct key){name->u.str.p, name->u.str.len, KEY_NAME};
    return (struct key){has_id ? id->u.uuid : zero, 16, KEY_ID};
}

/* The key as 9-bit symbols, the ninth telling that there is a byte, so that no key is the start of
 * another: symbol 0 is the kind, then the bytes, then zeros. */
static unsigned key_symbol(const struct key *k, uint32_t at)
{
    if (at == 0)
        return 0x100U | k->kind;
    return at - 1 < k->len ? 0x100U | k->p[at - 1] : 0;
}

static bool key_eq(const struct key *a, const struct key *b)
{
    return a->kind == b->kind && a->len == b->len && memcmp(a->p, b->p, a->len) == 0;
}

/* --- the index: a critical-bit tree. Its depth is bounded by the bits of the keys, so a hostile
 * list of names costs what its bytes cost; no hash to be collided with. */

struct reply_topic {
    struct node *topic; /* a leaf's; NULL for a fork */
    struct reply_topic *child[2];
    uint32_t at;  /* fork: the first symbol in which the two sides differ */
    unsigned bit; /* and the bit of it */
};

static int fork_side(const struct reply_topic *f, const struct key *k)
{
    return (key_symbol(k, f->at) & f->bit) != 0;
}

/* The leaf that shares the longest way with the key. */
static struct reply_topic *index_near(struct reply_topic *t, const struct key *k)
{
    while (t && !t->topic)
        t = t->child[fork_side(t, k)];
    return t;
}

static struct node *index_find(struct reply_topic *t, const struct key *k)
{
    struct reply_topic *near = index_near(t, k);
    if (!near)
        return NULL;
    struct key other = topic_key(near->topic);
    return key_eq(k, &other) ? near->topic : NULL;
}

/* Of two topics with one key the index keeps the first. */
static int index_add(struct reply_list *l, struct node *topic)
{
    struct reply_topic *leaf = arena_zalloc(l->reply->arena, sizeof *leaf);
    if (!leaf)
        return arena_error(l->reply->arena, sizeof *leaf);
    leaf->topic = topic;
    if (!l->index) {
        l->index = leaf;
        return OK;
    }
    struct key k = topic_key(topic);
    struct key other = topic_key(index_near(l->index, &k)->topic);
    if (key_eq(&k, &other))
        return OK;
    struct reply_topic *fork = arena_zalloc(l->reply->arena, sizeof *fork);
    if (!fork)
        return arena_error(l->reply->arena, sizeof *fork);
    while (key_symbol(&k, fork->at) == key_symbol(&other, fork->at))
        fork->at++;
    unsigned diff = key_symbol(&k, fork->at) ^ key_symbol(&other, fork->at);
    fork->bit = 0x100;
    while (!(diff & fork->bit))
        fork->bit >>= 1;
    struct reply_topic **link = &l->index;
    while (!(*link)->topic &&
           ((*link)->at < fork->at || ((*link)->at == fork->at && (*link)->bit > fork->bit)))
        link = &(*link)->child[fork_side(*link, &k)];
    int side = fork_side(fork, &k);
    fork->child[side] = leaf;
    fork->child[!side] = *link;
    *link = fork;
    return OK;
}

/* --- lists of topics */

/* Moves all partitions of one topic to the end of another's. */
static void topic_join(const struct reply_list *l, struct node *to, struct node *from)
{
    if (l->shape->parts.out == F_NONE)
        return;
    struct node *into = node_get(to, l->shape->parts.out);
    struct node *parts = node_get(from, l->shape->parts.out);
    if (!into || !parts || !parts->child)
        return;
    assert(into->field == parts->field);
    if (into->last)
        into->last->next = parts->child;
    else
        into->child = parts->child;
    into->last = parts->last;
    into->count += parts->count;
    array_clear(parts);
}

int reply_list_init(struct reply_list *l, struct msg *reply, struct node *at)
{
    *l = (struct reply_list){.reply = reply};
    l->shape = shape_find(reply->arena, reply->schema->api, reply->version);
    if (!l->shape)
        return arena_error(reply->arena, sizeof *l->shape);
    if (l->shape->topics.out == F_NONE)
        return ERR_UNKNOWN;
    l->topics = node_get(at ? at : reply->root, l->shape->topics.out);
    if (!l->topics)
        return ERR_UNKNOWN;
    struct node *prev = NULL;
    for (struct node *t = l->topics->child, *next; t; t = next) {
        next = t->next;
        struct node *known = reply_find_topic(l, t);
        if (known) {
            array_take(l->topics, prev, t);
            topic_join(l, known, t);
            continue;
        }
        int err = index_add(l, t);
        if (err)
            return err;
        prev = t;
    }
    return OK;
}

struct node *reply_find_topic(const struct reply_list *l, const struct node *topic)
{
    struct key k = topic_key(topic);
    return index_find(l->index, &k);
}

/* Gives the answer's topic the name and id of the request's. */
static int topic_copy_name(struct msg *m, struct node *to, const struct node *from)
{
    const struct node *name = topic_name(from);
    struct node *to_name = node_get(to, F_NAME);
    enum field_name id = to_name ? F_NAME : F_TOPIC;
    int err = node_set_same(m, to, id, name);
    if (err)
        return err;
    to_name = node_get(to, id);
    if (to_name && to_name->null && !versions_has(to_name->field->nullable, m->version)) {
        err = node_set_text(m, to, id, "");
        if (err)
            return err;
    }
    return node_set_same(m, to, F_TOPIC_ID, node_get(from, F_TOPIC_ID));
}

/* The answer's topic of that name, appended if need be. */
static int list_topic(struct reply_list *l, const struct node *topic, struct node **out)
{
    *out = reply_find_topic(l, topic);
    if (*out)
        return OK;
    struct node *n = array_add(l->reply, l->topics);
    if (!n)
        return arena_error(l->reply->arena, sizeof *n);
    int err = topic_copy_name(l->reply, n, topic);
    if (err)
        return err;
    *out = n;
    return index_add(l, n);
}

static int add_part(struct reply_list *l, struct node *topic, const struct node *partition,
                    int error, struct node **added)
{
    struct msg *m = l->reply;
    const struct reply_shape *s = l->shape;
    struct node *parts = node_get(topic, s->parts.out);
    if (!parts)
        return ERR_UNKNOWN;
    struct node *p = array_add(m, parts);
    if (!p)
        return arena_error(m->arena, sizeof *p);
    const struct node *index = s->index.in == F_NONE ? partition : node_get(partition, s->index.in);
    int err = node_set_same(m, p, s->index.out, index);
    if (!err)
        err = node_set_num(m, p, s->part_error, error);
    if (!err)
        err = set_values(m, p, s->part, 2);
    if (!err && (s->flags & PART_NO_RECORDS))
        err = node_set_empty_records(m, p, F_RECORDS);
    if (added)
        *added = p;
    return err;
}

int reply_add_partition(struct reply_list *l, const struct node *topic,
                        const struct node *partition, int error, struct node **added)
{
    struct node *t;
    if (l->shape->parts.out == F_NONE)
        return ERR_UNKNOWN;
    int err = list_topic(l, topic, &t);
    return err ? err : add_part(l, t, partition, error, added);
}

int reply_add_topic(struct reply_list *l, const struct node *topic, int error, struct node **added)
{
    struct node *t;
    int err = list_topic(l, topic, &t);
    if (err)
        return err;
    if (added)
        *added = t;
    if (l->shape->parts.out == F_NONE)
        return node_set_num(l->reply, t, F_ERROR_CODE, error);
    struct node *parts = node_get(topic, l->shape->parts.in);
    ARRAY_EACH (p, parts) {
        err = add_part(l, t, p, error, NULL);
        if (err)
            return err;
    }
    return OK;
}

int reply_take(struct reply_list *l, struct node *topic)
{
    struct node *known = reply_find_topic(l, topic);
    if (known) {
        topic_join(l, known, topic);
        return OK;
    }
    array_put(l->topics, topic);
    return index_add(l, topic);
}

/* --- items */

static int add_item(struct msg *m, const struct reply_shape *s, const struct node *item, int error,
                    bool text, struct node **added)
{
    struct node *array = node_get(m->root, s->items.out);
    if (!array)
        return ERR_UNKNOWN;
    struct node *n = array_add(m, array);
    if (!n)
        return arena_error(m->arena, sizeof *n);
    if (added)
        *added = n;
    for (size_t i = 0; i < 2 && s->item[i].out != F_NONE; i++) {
        const struct node *from = s->item[i].in == F_NONE ? item : node_get(item, s->item[i].in);
        int err = node_set_same(m, n, s->item[i].out, from);
        if (err)
            return err;
    }
    int err = node_set_num(m, n, F_ERROR_CODE, error);
    if (!err && s->topics.out == F_NONE)
        err = set_values(m, n, s->part, 2);
    if (!err && text)
        err = set_message(m, n, kafka_error_text(error));
    return err;
}

int reply_add_item(struct msg *reply, const struct node *item, int error, struct node **added)
{
    const struct reply_shape *s = shape_find(reply->arena, reply->schema->api, reply->version);
    if (!s)
        return arena_error(reply->arena, sizeof *s);
    if (s->items.out == F_NONE)
        return ERR_UNKNOWN;
    return add_item(reply, s, item, error, (s->flags & ITEM_TEXT) != 0, added);
}

/* --- whole requests */

/* What the table has no columns for. */
static int special_fields(struct msg *m, int error)
{
    switch (m->schema->api) {
    case 11: /* JoinGroup: no protocol is null, below version 7 "" */
        return m->version >= 7 ? node_set_null(m, m->root, F_PROTOCOL_NAME) : OK;
    case 29: /* DescribeAcls: what a broker without ACLs says */
        return set_message(
            m, m->root,
            error == KAFKA_SECURITY_DISABLED ? "No Authorizer is configured on the broker" : NULL);
    case 36:
    case 60:
        return set_message(m, m->root, NULL);
    default:
        return OK;
    }
}

static int whole_top(struct msg *m, const struct reply_shape *s, const struct msg *request,
                     int error)
{
    int err = node_set_num(m, m->root, F_ERROR_CODE, error);
    if (!err)
        err = set_values(m, m->root, s->top, 3);
    if (!err && (s->flags & WHOLE_TEXT) && !(s->flags & WHOLE_ITEMS))
        err = set_message(m, m->root, kafka_error_text(error));
    if (!err && (s->flags & WHOLE_SESSION))
        err = node_set_same(m, m->root, F_SESSION_ID, node_get(request->root, F_SESSION_ID));
    return err ? err : special_fields(m, error);
}

static int whole_topics(struct msg *m, const struct reply_shape *s, const struct msg *request,
                        int error)
{
    struct reply_list list;
    int err = reply_list_init(&list, m, NULL);
    if (err)
        return err;
    struct node *topics = node_get(request->root, s->topics.in);
    ARRAY_EACH (t, topics) {
        struct node *added;
        err = reply_add_topic(&list, t, error, &added);
        if (err)
            return err;
        /* Metadata asked by id: here, unlike in a single topic's denial, the name is "". */
        struct node *name = node_get(added, F_NAME);
        if (m->schema->api == 3 && name && name->null) {
            err = node_set_text(m, added, F_NAME, "");
            if (err)
                return err;
        }
    }
    return OK;
}

int reply_error(struct msg *reply, struct arena *a, const struct msg *request, int error)
{
    int err = reply_new(reply, a, request);
    if (err)
        return err;
    const struct reply_shape *s = shape_find(a, reply->schema->api, reply->version);
    if (!s)
        return arena_error(a, sizeof *s);
    err = whole_top(reply, s, request, error);
    if (!err && (s->flags & WHOLE_TOPICS))
        err = whole_topics(reply, s, request, error);
    if (err || !(s->flags & WHOLE_ITEMS))
        return err;
    struct node *items = node_get(request->root, s->items.in);
    ARRAY_EACH (item, items) {
        err = add_item(reply, s, item, error, (s->flags & WHOLE_TEXT) != 0, NULL);
        if (err)
            return err;
    }
    return OK;
}

int reply_unsupported_version(struct msg *reply, struct arena *a, int min, int max)
{
    int err = msg_new(reply, a, schema_find(18, false), 0);
    if (err)
        return err;
    err = node_set_num(reply, reply->root, F_ERROR_CODE, KAFKA_UNSUPPORTED_VERSION);
    struct node *key = array_add(reply, node_get(reply->root, F_API_KEYS));
    if (err || !key)
        return err ? err : arena_error(a, sizeof *key);
    err = node_set_num(reply, key, F_API_KEY, 18);
    if (!err)
        err = node_set_num(reply, key, F_MIN_VERSION, min);
    if (!err)
        err = node_set_num(reply, key, F_MAX_VERSION, max);
    return err;
}
