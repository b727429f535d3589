/* Making and changing message trees: the editing half of codec/msg.h. */
#include "codec/msg.h"

#include <assert.h>
#include <string.h>

#include "codec/node.h"

/* The rows of a struct node, an element of a struct array, or the message itself. */
static const struct field *rows_of(const struct msg *m, const struct node *st, uint16_t *n)
{
    assert(node_is_struct(st));
    *n = st->field ? st->field->nfields : m->schema->nfields;
    return st->field ? st->field->fields : m->schema->fields;
}

static int set_text(struct node *n, const char *text)
{
    n->u.str.p = (const uint8_t *)text;
    n->u.str.len = (uint32_t)strlen(text);
    n->own = true;
    return OK;
}

static const uint8_t zero_uuid[16];

/* The default value of a scalar, string, records or array row; a struct's fields are the caller's
 * to add. */
static void set_default(struct node *n, int version)
{
    const struct field *row = n->field;
    if (row->default_null) {
        n->null = true;
        return;
    }
    if (node_is_array(n))
        return;
    switch (row->type) {
    case TYPE_STRING:
    case TYPE_BYTES:
        (void)set_text(n, row->default_text ? row->default_text : "");
        break;
    case TYPE_RECORDS:
        n->null = versions_has(row->nullable, version);
        break;
    case TYPE_UUID:
        n->u.uuid = zero_uuid;
        break;
    case TYPE_FLOAT64:
        n->u.real = (double)row->default_int;
        break;
    case TYPE_BOOL:
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_UINT16:
    case TYPE_INT32:
    case TYPE_UINT32:
    case TYPE_INT64:
        n->u.num = row->default_int;
        break;
    case TYPE_STRUCT:
        break;
    }
}

static struct node *node_new(struct msg *m, const struct field *row)
{
    struct node *n = arena_zalloc(m->arena, sizeof *n);
    if (n)
        n->field = row;
    return n;
}

/* Gives an empty struct node every untagged field of the version, at its default. */
static int fill_defaults(struct msg *m, struct node *st)
{
    struct {
        struct node *st;
        uint16_t next;
    } open[MSG_DEPTH_MAX];
    unsigned depth = 0;
    open[0].st = st;
    open[0].next = 0;
    for (;;) {
        uint16_t nrows;
        const struct field *rows = rows_of(m, open[depth].st, &nrows);
        if (open[depth].next == nrows) {
            if (depth-- == 0)
                return OK;
            continue;
        }
        const struct field *row = &rows[open[depth].next++];
        if (!versions_has(row->versions, m->version) || row_tagged(m->schema, m->version, row))
            continue;
        struct node *n = node_new(m, row);
        if (!n)
            return arena_error(m->arena, sizeof *n);
        set_default(n, m->version);
        node_append(open[depth].st, n);
        if (node_is_struct(n) && !n->null) {
            assert(depth + 1 < MSG_DEPTH_MAX);
            open[++depth].st = n;
            open[depth].next = 0;
        }
    }
}

int msg_new(struct msg *m, struct arena *a, const struct message *schema, int version)
{
    *m = (struct msg){.schema = schema, .arena = a, .version = (int16_t)version};
    if (!versions_has(schema->versions, version))
        return ERR_VERSION;
    m->root = node_new(m, NULL);
    return m->root ? fill_defaults(m, m->root) : arena_error(a, sizeof *m->root);
}

/* --- fields */

/* The field of that name, made at its default if the version has it. *out is NULL where it does
 * not. Fields stand in the order of their rows, so that a look-up in wire order is short. */
static int field_make(struct msg *m, struct node *st, enum field_name id, struct node **out)
{
    *out = node_get(st, id);
    if (*out)
        return OK;
    uint16_t nrows;
    const struct field *rows = rows_of(m, st, &nrows);
    const struct field *row = NULL;
    for (uint16_t i = 0; i < nrows && !row; i++) {
        if (rows[i].id == id && versions_has(rows[i].versions, m->version))
            row = &rows[i];
    }
    if (!row)
        return OK;
    struct node *n = node_new(m, row);
    if (!n)
        return arena_error(m->arena, sizeof *n);
    set_default(n, m->version);
    if (node_is_struct(n) && !n->null) {
        int err = fill_defaults(m, n);
        if (err)
            return err;
    }
    struct node *prev = NULL;
    for (struct node *c = st->child; c && c->field < row; c = c->next)
        prev = c;
    n->next = prev ? prev->next : st->child;
    if (prev)
        prev->next = n;
    else
        st->child = n;
    if (!n->next)
        st->last = n;
    st->count++;
    *out = n;
    return OK;
}

int node_set_num(struct msg *m, struct node *st, enum field_name id, int64_t v)
{
    struct node *n;
    int err = field_make(m, st, id, &n);
    if (err || !n)
        return err;
    assert(n->field->type <= TYPE_INT64 && !node_is_array(n));
    n->u.num = v;
    n->null = false;
    return OK;
}

int node_set_text(struct msg *m, struct node *st, enum field_name id, const char *s)
{
    return node_set_str(m, st, id, (const uint8_t *)s, strlen(s));
}

static int dup_str(struct msg *m, struct node *n, const uint8_t *p, size_t len)
{
    if (len > INT32_MAX)
        return ERR_LIMIT;
    const char *copy = arena_dup(m->arena, p, len);
    if (!copy)
        return arena_error(m->arena, len + 1);
    n->u.str.p = (const uint8_t *)copy;
    n->u.str.len = (uint32_t)len;
    n->null = false;
    n->own = true;
    return OK;
}

int node_set_str(struct msg *m, struct node *st, enum field_name id, const uint8_t *p, size_t n)
{
    struct node *f;
    int err = field_make(m, st, id, &f);
    if (err || !f)
        return err;
    assert((f->field->type == TYPE_STRING || f->field->type == TYPE_BYTES) && !node_is_array(f));
    return dup_str(m, f, p, n);
}

static int dup_uuid(struct msg *m, struct node *n, const uint8_t *u)
{
    void *copy = arena_dup(m->arena, u, 16);
    if (!copy)
        return arena_error(m->arena, 17);
    n->u.uuid = copy;
    return OK;
}

int node_set_uuid(struct msg *m, struct node *st, enum field_name id, const uint8_t *u)
{
    struct node *n;
    int err = field_make(m, st, id, &n);
    if (err || !n)
        return err;
    assert(n->field->type == TYPE_UUID && !node_is_array(n));
    return dup_uuid(m, n, u);
}

int node_set_empty_records(struct msg *m, struct node *st, enum field_name id)
{
    struct node *n;
    int err = field_make(m, st, id, &n);
    if (err || !n)
        return err;
    assert(n->field->type == TYPE_RECORDS);
    n->u.records = NULL;
    n->null = false;
    return OK;
}

int node_set_null(struct msg *m, struct node *st, enum field_name id)
{
    struct node *n;
    int err = field_make(m, st, id, &n);
    if (err || !n)
        return err;
    n->child = n->last = NULL;
    n->count = 0;
    n->null = true;
    return OK;
}

int node_set_same(struct msg *m, struct node *st, enum field_name id, const struct node *from)
{
    if (!from)
        return OK;
    struct node *n;
    int err = field_make(m, st, id, &n);
    if (err || !n)
        return err;
    assert(n->field->type == from->field->type && n->field->type != TYPE_STRUCT);
    n->null = from->null;
    n->own = from->own;
    n->u = from->u;
    return OK;
}

void node_unset(struct node *st, enum field_name id)
{
    struct node *prev = NULL;
    for (struct node *n = st->child; n; prev = n, n = n->next) {
        if (n->field->id == id) {
            array_take(st, prev, n);
            return;
        }
    }
}

/* --- arrays */

struct node *array_add(struct msg *m, struct node *array)
{
    assert(node_is_array(array));
    struct node *n = node_new(m, array->field);
    if (!n)
        return NULL;
    n->element = true;
    if (n->field->type == TYPE_STRUCT && fill_defaults(m, n))
        return NULL;
    if (n->field->type == TYPE_UUID)
        n->u.uuid = zero_uuid;
    if (n->field->type == TYPE_STRING || n->field->type == TYPE_BYTES)
        (void)set_text(n, "");
    node_append(array, n);
    array->null = false;
    return n;
}

/* array_add, with the error that it leaves unsaid. */
static int element_new(struct msg *m, struct node *array, struct node **out)
{
    *out = array_add(m, array);
    return *out ? OK : arena_error(m->arena, sizeof **out);
}

int array_add_str(struct msg *m, struct node *array, const uint8_t *p, size_t n)
{
    struct node *e;
    int err = element_new(m, array, &e);
    return err ? err : dup_str(m, e, p, n);
}

int array_add_num(struct msg *m, struct node *array, int64_t v)
{
    struct node *e;
    int err = element_new(m, array, &e);
    if (!err)
        e->u.num = v;
    return err;
}

int array_add_uuid(struct msg *m, struct node *array, const uint8_t *u)
{
    struct node *e;
    int err = element_new(m, array, &e);
    return err ? err : dup_uuid(m, e, u);
}

struct node *node_array(struct msg *m, struct node *st, enum field_name id)
{
    struct node *n;
    if (field_make(m, st, id, &n) || !n)
        return NULL;
    assert(node_is_array(n));
    array_clear(n);
    return n;
}

void array_clear(struct node *array)
{
    array->child = array->last = NULL;
    array->count = 0;
    array->null = false;
}

void array_take(struct node *array, struct node *prev, struct node *elem)
{
    assert((prev ? prev->next : array->child) == elem);
    if (prev)
        prev->next = elem->next;
    else
        array->child = elem->next;
    if (array->last == elem)
        array->last = prev;
    elem->next = NULL;
    array->count--;
}

void array_put(struct node *array, struct node *elem)
{
    assert(elem->element && elem->field == array->field);
    node_append(array, elem);
    array->null = false;
}

struct node *node_clone(struct msg *m, const struct node *n)
{
    const struct node *from[MSG_DEPTH_MAX];
    struct node *to[MSG_DEPTH_MAX];
    unsigned depth = 0;
    struct node *top = arena_alloc(m->arena, sizeof *top);
    if (!top)
        return NULL;
    *top = *n;
    top->next = top->child = top->last = NULL;
    top->count = 0;
    to[0] = top;
    from[0] = n->child;
    for (;;) {
        const struct node *src = from[depth];
        if (!src) {
            if (depth-- == 0)
                return top;
            continue;
        }
        from[depth] = src->next;
        struct node *copy = arena_alloc(m->arena, sizeof *copy);
        if (!copy)
            return NULL;
        *copy = *src;
        copy->child = copy->last = NULL;
        copy->count = 0;
        node_append(to[depth], copy);
        if (src->child) {
            assert(depth + 1 < MSG_DEPTH_MAX);
            to[++depth] = copy;
            from[depth] = src->child;
        }
    }
}
