#include "fuzz/mutate.h"

#include <stdlib.h>
#include <string.h>

#include "codec/msg.h"
#include "tests/unit/gen.h"

#define ARENA_BYTES ((size_t)32 << 20)
#define MARKS_MAX   1024
#define EDITS_MAX   4

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

uint32_t mutate_rand(struct mutate_rng *r, uint32_t below)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15U;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return (uint32_t)((z ^ z >> 31) >> 32) % below;
}

bool mutate_one_in(struct mutate_rng *r, uint32_t n)
{
    return mutate_rand(r, n) == 0;
}

/* --- legal messages */

/* The generator counts bytes up in its texts; here they are to be text, as a rule. */
static void make_text(const struct message *m, int version, uint8_t *body, size_t n)
{
    struct walk w;
    enum walk_event e;

    walk_start(&w, m, version, n);
    walk_feed(&w, body, n);
    while ((e = walk_next(&w)) != WALK_DONE && e != WALK_BAD && e != WALK_MORE)
        if (e == WALK_BLOB && w.field->type == TYPE_STRING)
            for (uint64_t i = 0; i < w.blob_len; i++)
                body[w.blob_off + i] = (uint8_t)('a' + body[w.blob_off + i] % 26);
}

size_t mutate_new(struct mutate_rng *r, const struct message *m, int version, uint8_t *out,
                  size_t max)
{
    static struct gen g;
    size_t n;

    gen_message(&g, m, version, (uint64_t)mutate_rand(r, UINT32_MAX) << 32 | mutate_rand(r, 8));
    n = gen_len(&g);
    if (n > max)
        return 0;
    memcpy(out, gen_data(&g), n);
    make_text(m, version, out, n);
    return n;
}

/* --- values by role and type */

/* Names that the beds of the tests grant, and some that they do not. */
static const char *const topics[] = {"t1", "t2", "gone", "foreign", "__consumer_offsets",
                                     "T1", "",   "t",    "t1 "};
static const char *const groups[] = {"bob", "bob1", "bob2", "bob-3", "bobby", "eve", "BOB", ""};
static const char *const principals[] = {"User:s", "User:*", "User:", "user:s", "*", "Group:s"};
static const char *const patterns[] = {".*", "t[12]", "(a+)+$", "foreign", "[", "^t1$|", "\\p{L}"};
static const char *const hosts[] = {"127.0.0.1", "kafka-1", "::1", ""};
static const char *const words[] = {
    "x",      "consumer",         "range",         "OAUTHBEARER", "virtual",
    "tester", "gate.example.com", "real",          "\xc3\xa9",    "\xf4\x8f\xbf\xbf",
    "\xff",   "\xc0\x80",         "read_committed"};
static uint8_t long_text[32768];

struct text {
    const uint8_t *p;
    uint32_t len;
};

static struct text pick(struct mutate_rng *r, const char *const *list, size_t n)
{
    const char *s = list[mutate_rand(r, (uint32_t)n)];

    return (struct text){(const uint8_t *)s, (uint32_t)strlen(s)};
}

static struct text pick_text(struct mutate_rng *r, const struct field *f)
{
    static const uint32_t lengths[] = {0, 1, 126, 127, 128, 249, 255, 256, 300, 16383, 32767};

    if (mutate_one_in(r, 8)) {
        if (!long_text[0])
            memset(long_text, 'a', sizeof long_text);
        uint32_t some = mutate_rand(r, mutate_one_in(r, 4) ? COUNT(lengths) : 9);
        return (struct text){long_text, lengths[some]};
    }
    if (f->role == ROLE_TOPIC)
        return pick(r, topics, COUNT(topics));
    if (f->role == ROLE_GROUP || f->role == ROLE_TXN)
        return pick(r, groups, COUNT(groups));
    if (f->role == ROLE_KEY)
        return mutate_one_in(r, 2) ? pick(r, topics, COUNT(topics))
                                   : pick(r, groups, COUNT(groups));
    if (f->role == ROLE_PRINCIPAL)
        return pick(r, principals, COUNT(principals));
    if (f->role == ROLE_REGEX)
        return pick(r, patterns, COUNT(patterns));
    if (f->role == ROLE_HOST)
        return pick(r, hosts, COUNT(hosts));
    return pick(r, words, COUNT(words));
}

static int64_t pick_number(struct mutate_rng *r, const struct field *f)
{
    static const int64_t edges[] = {0,         1,          -1,        2,         -2,
                                    127,       128,        -128,      255,       INT16_MAX,
                                    INT16_MIN, UINT16_MAX, INT32_MAX, INT32_MIN, UINT32_MAX,
                                    INT64_MAX, INT64_MIN,  1LL << 33};

    if (f->type == TYPE_BOOL)
        return mutate_rand(r, 2);
    if (mutate_one_in(r, 4))
        return edges[mutate_rand(r, COUNT(edges))];
    if (f->role == ROLE_ERROR)
        return (int64_t)mutate_rand(r, 135) - 1;
    if (f->role == ROLE_PARTITION || f->role == ROLE_BROKER || f->role == ROLE_REPLICA)
        return (int64_t)mutate_rand(r, 6) - 1;
    return mutate_one_in(r, 2) ? f->default_int
                               : (int64_t)mutate_rand(r, 1U << (1 + mutate_rand(r, 20)));
}

static const uint8_t *pick_uuid(struct mutate_rng *r)
{
    /* Those of the beds' topics are sixteen times a, b and f. */
    static uint8_t ids[5][16];

    memset(ids[0], 'a', 16);
    memset(ids[1], 'b', 16);
    memset(ids[2], 'f', 16);
    memset(ids[3], 0xff, 16);
    return ids[mutate_rand(r, COUNT(ids))];
}

/* --- edits of the tree */

static void set_value(struct mutate_rng *r, struct msg *m, struct node *n)
{
    const struct field *f = n->field;
    struct text t;

    n->null = versions_has(f->nullable, m->version) && !n->element && mutate_one_in(r, 6);
    switch (f->type) {
    case TYPE_BOOL:
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_UINT16:
    case TYPE_INT32:
    case TYPE_UINT32:
    case TYPE_INT64:
        n->null = false;
        n->u.num = pick_number(r, f);
        break;
    case TYPE_FLOAT64:
        n->null = false;
        n->u.real = (double)pick_number(r, f) / 3;
        break;
    case TYPE_UUID:
        n->null = false;
        n->u.uuid = pick_uuid(r);
        break;
    case TYPE_STRING:
    case TYPE_BYTES:
        t = pick_text(r, f);
        n->u.str.p = t.p;
        n->u.str.len = t.len;
        n->own = true;
        break;
    case TYPE_RECORDS:
        n->u.records = NULL;
        break;
    case TYPE_STRUCT:
        break;
    }
}

/* A field that the struct may lack, or the removal of one. */
static void edit_struct(struct mutate_rng *r, struct msg *m, struct node *st)
{
    const struct field *rows = st->field ? st->field->fields : m->schema->fields;
    uint16_t n = st->field ? st->field->nfields : m->schema->nfields;
    const struct field *f = n ? &rows[mutate_rand(r, n)] : NULL;
    struct node *made;

    if (!f)
        return;
    if (mutate_one_in(r, 4)) {
        node_unset(st, f->id);
        return;
    }
    if (f->array) {
        if (mutate_one_in(r, 4))
            (void)!node_array(m, st, f->id);
        return;
    }
    if (f->type == TYPE_STRUCT || f->type == TYPE_RECORDS) {
        if (f->type == TYPE_RECORDS)
            (void)!node_set_empty_records(m, st, f->id);
        return;
    }
    if (f->type == TYPE_UUID)
        (void)!node_set_uuid(m, st, f->id, pick_uuid(r));
    else if (f->type == TYPE_STRING || f->type == TYPE_BYTES)
        (void)!node_set_text(m, st, f->id, "");
    else if (f->type != TYPE_FLOAT64)
        (void)!node_set_num(m, st, f->id, 0);
    made = node_get(st, f->id);
    if (made)
        set_value(r, m, made);
}

static void array_grow(struct mutate_rng *r, struct msg *m, struct node *array)
{
    const struct field *f = array->field;
    struct text t;
    struct node *e;

    switch (f->type) {
    case TYPE_STRING:
        t = pick_text(r, f);
        (void)!array_add_str(m, array, t.p, t.len);
        break;
    case TYPE_UUID:
        (void)!array_add_uuid(m, array, pick_uuid(r));
        break;
    case TYPE_STRUCT:
        e = array_add(m, array);
        for (struct node *c = e ? e->child : NULL; c; c = c->next)
            if (!node_is_array(c) && !node_is_struct(c))
                set_value(r, m, c);
        break;
    case TYPE_BOOL:
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_UINT16:
    case TYPE_INT32:
    case TYPE_UINT32:
    case TYPE_INT64:
        (void)!array_add_num(m, array, pick_number(r, f));
        break;
    case TYPE_FLOAT64:
    case TYPE_BYTES:
    case TYPE_RECORDS:
        break;
    }
}

static void edit_array(struct mutate_rng *r, struct msg *m, struct node *array)
{
    struct node *prev = NULL, *e = array->child;
    uint32_t times = mutate_one_in(r, 16) ? 1 + mutate_rand(r, 200) : 1 + mutate_rand(r, 3);

    if (array->null || !e || mutate_one_in(r, 3)) {
        array->null = versions_has(array->field->nullable, m->version) && mutate_one_in(r, 6);
        if (array->null)
            array_clear(array);
        else
            while (times-- > 0)
                array_grow(r, m, array);
        return;
    }
    for (uint32_t i = mutate_rand(r, array->count); i > 0 && e->next; i--) {
        prev = e;
        e = e->next;
    }
    if (mutate_one_in(r, 8)) {
        array_clear(array);
    } else if (mutate_one_in(r, 2)) {
        struct node *copy = node_clone(m, e);
        if (copy)
            array_put(array, copy);
    } else {
        array_take(array, prev, e);
        if (mutate_one_in(r, 2))
            array_put(array, e);
    }
}

static struct node *pick_node(struct mutate_rng *r, struct msg *m)
{
    struct node_iter it = {.root = m->root};
    struct node *n, *chosen = m->root;

    for (uint32_t seen = 0; (n = node_iter_next(&it)); seen++)
        if (mutate_one_in(r, seen + 1))
            chosen = n;
    return chosen;
}

static void edit_tree(struct mutate_rng *r, struct msg *m)
{
    const struct versions *v = &m->schema->versions;

    for (uint32_t i = 1 + mutate_rand(r, EDITS_MAX); i > 0; i--) {
        struct node *n = pick_node(r, m);
        if (node_is_array(n)) {
            edit_array(r, m, n);
        } else if (!node_is_struct(n)) {
            set_value(r, m, n);
        } else {
            bool may = n->field && !n->element && versions_has(n->field->nullable, m->version);
            if (may && (n->null || mutate_one_in(r, 8)))
                n->null = !n->null;
            if (!n->null)
                edit_struct(r, m, n);
        }
    }
    if (mutate_one_in(r, 12))
        m->version = (int16_t)(v->min + (int)mutate_rand(r, (uint32_t)(v->max - v->min) + 1));
}

typedef void edit_fn(struct mutate_rng *r, struct msg *m);

/* False: it was no message, or what came out is none or too long; nothing has changed then. */
static bool mutate_tree(struct mutate_rng *r, edit_fn *edit, const struct message *schema,
                        int *version, uint8_t *body, size_t *n, size_t max)
{
    struct arena a;
    struct buf in, out;
    struct msg m;
    bool done = false;

    arena_init(&a, ARENA_BYTES);
    buf_init(&in, *n);
    buf_init(&out, max);
    if (buf_append(&in, body, *n) == OK &&
        msg_decode(&m, &a, schema, *version, &in, 0, *n, NULL) == OK) {
        edit(r, &m);
        done = msg_encode(&m, &out) == OK;
    }
    if (done) {
        *n = out.len;
        *version = m.version;
        buf_copy_out(&out, 0, body, out.len);
    }
    buf_release(&out);
    buf_release(&in);
    arena_release(&a);
    return done;
}

/* Names that the beds know, wherever there are names. */
static void edit_names(struct mutate_rng *r, struct msg *m)
{
    struct node_iter it = {.root = m->root};
    struct node *n;

    while ((n = node_iter_next(&it))) {
        bool named = n->field && !node_is_array(n) &&
                     (n->field->role == ROLE_TOPIC || n->field->role == ROLE_TOPIC_ID ||
                      n->field->role == ROLE_GROUP || n->field->role == ROLE_TXN ||
                      n->field->role == ROLE_KEY || n->field->role == ROLE_PARTITION);
        if (named)
            set_value(r, m, n);
    }
}

size_t mutate_names(struct mutate_rng *r, const struct message *m, int version, uint8_t *body,
                    size_t n, size_t max)
{
    (void)mutate_tree(r, edit_names, m, &version, body, &n, max);
    return n;
}

/* --- edits of the wire */

enum mark_kind { MARK_VALUE, MARK_TAGS, MARK_TAG, MARK_TEXT };

struct marks {
    const struct message *m;
    int version;
    uint32_t count;
    struct {
        uint32_t at;
        enum mark_kind kind;
    } mark[MARKS_MAX];
};

static void mark(struct marks *s, uint64_t at, enum mark_kind kind)
{
    if (s->count == MARKS_MAX)
        return;
    s->mark[s->count].at = (uint32_t)at;
    s->mark[s->count++].kind = kind;
}

/* Where values begin, where a struct's tags are counted, where known tags and text stand. */
static void find_marks(struct marks *s, const struct message *m, int version, const uint8_t *body,
                       size_t n)
{
    bool flexible = message_flexible(m, version);
    struct walk w;

    *s = (struct marks){.m = m, .version = version};
    walk_start(&w, m, version, n);
    walk_feed(&w, body, n);
    for (;;) {
        uint64_t before = w.offset + w.skip;
        enum walk_event e = walk_next(&w);

        if (e == WALK_BAD || e == WALK_MORE)
            return;
        if (flexible && (e == WALK_STRUCT_OUT || e == WALK_DONE) && w.offset > before)
            mark(s, before, MARK_TAGS);
        else if (e == WALK_SCALAR || e == WALK_BLOB || e == WALK_ARRAY_IN || e == WALK_UNKNOWN_TAG)
            mark(s, before, MARK_VALUE);
        /* A known tag's number and size; in front of a struct's first tag stands their count. */
        if (flexible && w.field && versions_has(w.field->tagged, version) &&
            w.offset > before + 2) {
            mark(s, before + 1, MARK_TAG);
            mark(s, before + 2, MARK_TAG);
        }
        if (e == WALK_BLOB && w.field->type == TYPE_STRING && w.blob_len > 0)
            mark(s, w.blob_off, MARK_TEXT);
        if (e == WALK_DONE)
            return;
    }
}

size_t mutate_splice(uint8_t *body, size_t n, size_t max, size_t at, size_t cut, const void *in,
                     size_t k)
{
    if (at > n || cut > n - at || n - cut + k > max)
        return n;
    memmove(body + at + k, body + at + cut, n - at - cut);
    if (k)
        memcpy(body + at, in, k);
    return n - cut + k;
}

/* A varint, canonical or with as many bytes as fit in five. */
static size_t varint(struct mutate_rng *r, uint8_t *out, uint32_t v)
{
    size_t n = 0;

    for (; v >= 0x80; v >>= 7)
        out[n++] = (uint8_t)(v | 0x80);
    out[n++] = (uint8_t)v;
    while (n < 5 && mutate_one_in(r, 40)) {
        out[n - 1] |= 0x80;
        out[n++] = 0;
    }
    return n;
}

/* Tags where there are none: known or unknown, in order or not, of true size or not. */
static size_t add_tags(struct mutate_rng *r, uint8_t *body, size_t n, size_t max, size_t at)
{
    uint8_t in[64];
    uint32_t count = 1 + mutate_rand(r, 3), number = mutate_rand(r, mutate_one_in(r, 2) ? 8 : 300);
    size_t k = varint(r, in, mutate_one_in(r, 20) ? mutate_rand(r, UINT32_MAX) : count);

    for (; count > 0; count--) {
        uint32_t size = mutate_rand(r, 6);
        k += varint(r, in + k, number);
        k += varint(r, in + k, mutate_one_in(r, 12) ? size + mutate_rand(r, 3) : size);
        for (; size > 0; size--)
            in[k++] = (uint8_t)mutate_rand(r, mutate_one_in(r, 2) ? 3 : 256);
        number += mutate_one_in(r, 8) ? 0U - mutate_rand(r, 2) : 1 + mutate_rand(r, 5);
    }
    return mutate_splice(body, n, max, at, at < n, in, k);
}

/* What lengths, counts and markers look like when they lie. */
static size_t bend_value(struct mutate_rng *r, uint8_t *body, size_t n, size_t max, size_t at)
{
    static const struct {
        uint8_t cut, n, bytes[5];
    } bends[] = {
        {1, 1, {0}},
        {1, 1, {1}},
        {1, 1, {2}},
        {1, 1, {0xff}},
        {1, 1, {0x80}},
        {1, 1, {0x7f}},
        {2, 2, {0xff, 0xff}},
        {2, 2, {0xff, 0xfe}},
        {2, 2, {0x7f, 0xff}},
        {2, 2, {0x80, 0}},
        {4, 4, {0xff, 0xff, 0xff, 0xff}},
        {4, 4, {0xff, 0xff, 0xff, 0xfe}},
        {4, 4, {0x7f, 0xff, 0xff, 0xff}},
        {4, 4, {0x80, 0, 0, 0}},
        {4, 4, {0, 0, 1, 0}},
        {1, 5, {0xff, 0xff, 0xff, 0xff, 0x0f}},
        {1, 5, {0x80, 0x80, 0x80, 0x80, 0x08}},
        {1, 5, {0x81, 0x80, 0x80, 0x80, 0x08}},
        {1, 5, {0x80, 0x80, 0x80, 0x80, 0x10}},
        {1, 5, {0xff, 0xff, 0xff, 0xff, 0xff}},
        {1, 3, {0xff, 0xff, 0x01}},
        {1, 3, {0x80, 0x80, 0x02}},
    };
    uint8_t in[2] = {0};
    uint32_t i;

    switch (mutate_rand(r, 6)) {
    case 0: /* overlong */
        if (at >= n || body[at] >= 0x80)
            return n;
        in[0] = body[at] | 0x80;
        return mutate_splice(body, n, max, at, 1, in, 2);
    case 1:
        if (at < n)
            body[at] = (uint8_t)(body[at] + (mutate_one_in(r, 2) ? 1 : 255));
        return n;
    case 2:
        in[0] = (uint8_t)mutate_rand(r, 256);
        return mutate_splice(body, n, max, at, 0, in, 1);
    case 3:
        return mutate_splice(body, n, max, at, 1, NULL, 0);
    default:
        i = mutate_rand(r, COUNT(bends));
        return mutate_splice(body, n, max, at, bends[i].cut, bends[i].bytes, bends[i].n);
    }
}

static size_t mutate_text(struct mutate_rng *r, uint8_t *body, size_t n, size_t at)
{
    static const uint8_t odd[] = {0, 0xff, 0xc0, 0xed, 0xf5, 0x80, 0xc3, '\n', '"', 0x7f};

    if (at < n)
        body[at] = odd[mutate_rand(r, COUNT(odd))];
    return n;
}

static size_t mutate_bytes(struct mutate_rng *r, uint8_t *body, size_t n, size_t max)
{
    uint8_t in = (uint8_t)mutate_rand(r, 256);
    size_t at = mutate_rand(r, (uint32_t)n + 1);

    switch (mutate_rand(r, 4)) {
    case 0:
        return mutate_splice(body, n, max, at, 0, &in, 1);
    case 1:
        return mutate_splice(body, n, max, at, 1, NULL, 0);
    case 2:
        if (at < n)
            body[at] ^= (uint8_t)(1U << mutate_rand(r, 8));
        return n;
    default:
        return mutate_splice(body, n, max, at, at < n, &in, 1);
    }
}

/* A piece between two marks once more, somewhere else, or left out. */
static size_t mutate_piece(struct mutate_rng *r, const struct marks *s, uint8_t *body, size_t n,
                           size_t max)
{
    uint8_t piece[256];
    uint32_t i = mutate_rand(r, s->count), k = i + 1 + mutate_rand(r, 4);
    size_t from = s->mark[i].at, to = k < s->count ? s->mark[k].at : n;

    if (to < from || to > n || to - from > sizeof piece)
        return n;
    memcpy(piece, body + from, to - from);
    if (mutate_one_in(r, 3))
        return mutate_splice(body, n, max, from, to - from, NULL, 0);
    return mutate_splice(body, n, max, s->mark[mutate_rand(r, s->count)].at, 0, piece, to - from);
}

static size_t mutate_wire(struct mutate_rng *r, const struct message *m, int version, uint8_t *body,
                          size_t n, size_t max)
{
    static struct marks s;
    uint32_t i;

    find_marks(&s, m, version, body, n);
    if (s.count == 0 || mutate_one_in(r, 10))
        return mutate_bytes(r, body, n, max);
    if (mutate_one_in(r, 16))
        return mutate_splice(body, n, max, n, 0, "\0\1", 1 + mutate_rand(r, 2)); /* left over */
    if (mutate_one_in(r, 16))
        return s.mark[mutate_rand(r, s.count)].at;
    if (mutate_one_in(r, 10))
        return mutate_piece(r, &s, body, n, max);
    i = mutate_rand(r, s.count);
    for (uint32_t tries = 8; tries > 0 && s.mark[i].kind == MARK_VALUE && mutate_one_in(r, 2);
         tries--)
        i = mutate_rand(r, s.count);
    if (s.mark[i].kind == MARK_TAGS && !mutate_one_in(r, 4))
        return add_tags(r, body, n, max, s.mark[i].at);
    if (s.mark[i].kind == MARK_TEXT)
        return mutate_text(r, body, n, s.mark[i].at);
    if (s.mark[i].kind == MARK_TAG && mutate_one_in(r, 2))
        body[s.mark[i].at] ^= (uint8_t)(1 + mutate_rand(r, 3));
    return bend_value(r, body, n, max, s.mark[i].at);
}

size_t mutate_body(struct mutate_rng *r, const struct message *m, int *version, uint8_t *body,
                   size_t n, size_t max)
{
    bool tree = !mutate_one_in(r, 3);

    if (tree && mutate_tree(r, edit_tree, m, version, body, &n, max) && !mutate_one_in(r, 3))
        return n;
    return mutate_wire(r, m, *version, body, n, max);
}

/* --- inputs of one message */

/* Any message and version. */
static const struct message *pick_message(struct mutate_rng *r, int *version)
{
    size_t n;
    const struct message *all = schema_all(&n), *m = &all[mutate_rand(r, (uint32_t)n)];

    *version =
        m->versions.min + (int)mutate_rand(r, (uint32_t)(m->versions.max - m->versions.min) + 1);
    return m;
}

static void set_way(const struct mutate_layout *l, uint8_t *data, const struct message *m)
{
    if (m->request == l->bit_is_request)
        data[l->way] |= l->way_bit;
    else
        data[l->way] &= (uint8_t)~l->way_bit;
}

size_t mutate_input(const struct mutate_layout *l, uint8_t *data, size_t size, size_t max,
                    unsigned seed)
{
    struct mutate_rng r = {seed};
    uint8_t keep = l->version == l->way ? l->way_bit : 0;
    const struct message *m;
    int version;

    if (size < l->head || max < l->head || mutate_one_in(&r, 10))
        return LLVMFuzzerMutate(data, size, max);
    m = schema_find(data[l->api], !(data[l->way] & l->way_bit) != l->bit_is_request);
    version = data[l->version] & (uint8_t)~keep;
    if (!m || !versions_has(m->versions, version) || mutate_one_in(&r, 16)) {
        m = pick_message(&r, &version);
        data[l->api] = (uint8_t)m->api;
        size = l->head + mutate_new(&r, m, version, data + l->head, max - l->head);
    } else {
        if (mutate_one_in(&r, 8))
            data[mutate_rand(&r, (uint32_t)l->head)] = (uint8_t)mutate_rand(&r, 256);
        data[l->api] = (uint8_t)m->api;
        size =
            l->head + mutate_body(&r, m, &version, data + l->head, size - l->head, max - l->head);
    }
    data[l->version] = (uint8_t)((data[l->version] & keep) | (version & 0x7f));
    set_way(l, data, m);
    buf_thread_trim(); /* the target may have no use for bufs, and so never does */
    return size;
}

/* --- scripts */

bool script_next(const uint8_t **data, size_t *size, struct script_step *s)
{
    const uint8_t *p = *data;

    if (*size < SCRIPT_STEP_BYTES)
        return false;
    *s = (struct script_step){.what = p[0],
                              .api = p[1],
                              .version = p[2] & 0x7f,
                              .request = !(p[2] & 0x80),
                              .body = p + SCRIPT_STEP_BYTES,
                              .len = (size_t)p[3] << 8 | p[4]};
    if (s->len > *size - SCRIPT_STEP_BYTES)
        s->len = *size - SCRIPT_STEP_BYTES;
    *data += SCRIPT_STEP_BYTES + s->len;
    *size -= SCRIPT_STEP_BYTES + s->len;
    return true;
}

static size_t put_step(uint8_t *out, const struct message *m, uint8_t what, int version, size_t len)
{
    out[0] = what;
    out[1] = (uint8_t)m->api;
    out[2] = (uint8_t)(version | (m->request ? 0 : 0x80));
    out[3] = (uint8_t)(len >> 8);
    out[4] = (uint8_t)len;
    return SCRIPT_STEP_BYTES + len;
}

size_t script_append(struct mutate_rng *r, uint8_t *data, size_t size, size_t max, uint8_t what,
                     const struct message *m, int version)
{
    static uint8_t step[SCRIPT_STEP_BYTES + 4096];
    size_t n = mutate_new(r, m, version, step + SCRIPT_STEP_BYTES, 2048);

    n = mutate_names(r, m, version, step + SCRIPT_STEP_BYTES, n, 4096);
    n = put_step(step, m, what, version, n);
    buf_thread_trim();
    return mutate_splice(data, size, max, size, 0, step, n);
}

/* A step of its own at `at`. */
static size_t script_insert(struct mutate_rng *r, uint8_t *data, size_t size, size_t max, size_t at)
{
    static uint8_t step[SCRIPT_STEP_BYTES + 4096];
    int version;
    const struct message *m = pick_message(r, &version);
    size_t n = mutate_new(r, m, version, step + SCRIPT_STEP_BYTES, 4096);

    n = put_step(step, m, (uint8_t)mutate_rand(r, 16), version, n);
    return mutate_splice(data, size, max, at, 0, step, n);
}

/* Changes the body of the step that stands at [at, at + SCRIPT_STEP_BYTES + len). */
static size_t script_change(struct mutate_rng *r, uint8_t *data, size_t size, size_t max, size_t at,
                            const struct script_step *s)
{
    static uint8_t step[SCRIPT_STEP_BYTES + UINT16_MAX];
    const struct message *m = schema_find(s->api, s->request);
    int version = s->version;
    size_t old = SCRIPT_STEP_BYTES + s->len, n;

    if (!m || !versions_has(m->versions, version) || mutate_one_in(r, 10)) {
        data[at + mutate_rand(r, 3)] = (uint8_t)mutate_rand(r, mutate_one_in(r, 2) ? 16 : 256);
        return size;
    }
    memcpy(step + SCRIPT_STEP_BYTES, s->body, s->len);
    if (mutate_one_in(r, 12)) {
        version = m->versions.min +
                  (int)mutate_rand(r, (uint32_t)(m->versions.max - m->versions.min) + 1);
        n = mutate_new(r, m, version, step + SCRIPT_STEP_BYTES, 4096);
    } else {
        n = mutate_body(r, m, &version, step + SCRIPT_STEP_BYTES, s->len, UINT16_MAX);
    }
    n = put_step(step, m, s->what, version, n);
    buf_thread_trim();
    return mutate_splice(data, size, max, at, old, step, n);
}

size_t mutate_script(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static uint8_t copy[SCRIPT_STEP_BYTES + UINT16_MAX];
    struct mutate_rng r = {seed};
    struct script_step steps[SCRIPT_STEPS_MAX], *s;
    const uint8_t *p = data;
    size_t left = size, at, len;
    uint32_t n = 0;

    while (n < SCRIPT_STEPS_MAX && script_next(&p, &left, &steps[n]))
        n++;
    if (mutate_one_in(&r, 12))
        return LLVMFuzzerMutate(data, size, max);
    if (n == 0)
        return script_insert(&r, data, 0, max, 0);
    s = &steps[mutate_rand(&r, n)];
    at = (size_t)(s->body - data) - SCRIPT_STEP_BYTES;
    len = SCRIPT_STEP_BYTES + s->len;
    switch (mutate_rand(&r, 10)) {
    case 0:
        return n < SCRIPT_STEPS_MAX ? script_insert(&r, data, size, max, at) : size;
    case 1:
        return n > 1 ? mutate_splice(data, size, max, at, len, NULL, 0) : size;
    case 2: /* once more, at another place */
        memcpy(copy, data + at, len);
        s = &steps[mutate_rand(&r, n)];
        return mutate_splice(data, size, max, (size_t)(s->body - data) - SCRIPT_STEP_BYTES, 0, copy,
                             len);
    case 3:
        data[at] = (uint8_t)mutate_rand(&r, 16);
        return size;
    default:
        return script_change(&r, data, size, max, at, s);
    }
}
