/* Any body as a message tree: first byte the API, second the version with the direction in its top
 * bit, third and fourth where the bytes are cut in two chunks, the fifth a version to convert to
 * and the sixth a seed of edits.
 *
 * What is decoded must encode to as many bytes as msg_size says, decode again without unknown tags,
 * and encode to the same bytes then. In another version, and after edits, whatever encodes must
 * decode; and what is refused must leave the output empty. A refusal of a request must always have
 * bytes. JSON must be made of all. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/json.h"
#include "codec/msg.h"
#include "codec/reply.h"
#include "fuzz/mutate.h"

#define HEAD_BYTES  6
#define LIMIT_BYTES (1UL << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_layout l = {HEAD_BYTES, 0, 1, 1, 0x80, true};

    return mutate_input(&l, data, size, max, seed);
}

static bool buf_same(const struct buf *a, const struct buf *b)
{
    if (a->len != b->len)
        return false;
    for (size_t i = 0; i < a->len; i++) {
        uint8_t x, y;
        buf_copy_out(a, i, &x, 1);
        buf_copy_out(b, i, &y, 1);
        if (x != y)
            return false;
    }
    return true;
}

/* Encodes; what comes out must read back, and then be the same. */
static void check_encode(const struct msg *m)
{
    struct arena a;
    struct buf out, again;
    struct msg back;
    arena_init(&a, 8 * LIMIT_BYTES);
    buf_init(&out, LIMIT_BYTES);
    buf_init(&again, LIMIT_BYTES);
    int err = msg_encode(m, &out);
    assert(err == OK || err == ERR_MALFORMED || err == ERR_LIMIT);
    if (err) {
        assert(out.len == 0);
    } else {
        assert(out.len == msg_size(m));
        struct msg_error e = {0};
        err = msg_decode(&back, &a, m->schema, m->version, &out, 0, out.len, &e);
        if (err)
            fprintf(stderr, "%s %d: %s at %llu\n", m->schema->name, m->version, e.why,
                    (unsigned long long)e.offset);
        assert(err == OK);
        assert(back.unknown_tags == 0);
        assert(msg_encode(&back, &again) == OK);
        assert(buf_same(&out, &again));
    }
    buf_release(&out);
    buf_release(&again);
    arena_release(&a);
}

static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static void edit_struct(struct msg *m, struct node *st, uint32_t r)
{
    static const uint8_t id[16] = {7};
    if (!st->child)
        return;
    struct node *f = st->child;
    for (uint32_t i = r % 8; i > 0 && f->next; i--)
        f = f->next;
    enum field_name name = f->field->id;
    int err = OK;
    if (r & 0x100)
        node_unset(st, name);
    if (node_is_array(f))
        err = r & 0x200 ? OK : !node_array(m, st, name) ? ERR_LIMIT : OK;
    else if (f->field->type == TYPE_UUID)
        err = node_set_uuid(m, st, name, id);
    else if (f->field->type == TYPE_STRING || f->field->type == TYPE_BYTES)
        err = r & 0x400 ? node_set_null(m, st, name) : node_set_text(m, st, name, "edited");
    else if (f->field->type == TYPE_RECORDS)
        err = node_set_empty_records(m, st, name);
    else if (f->field->type <= TYPE_INT64)
        err = node_set_num(m, st, name, (int64_t)r - 1000);
    (void)err;
}

static void edit_array(struct msg *m, struct node *array, uint32_t r)
{
    if (array->null)
        return;
    if (r & 1 || !array->child) {
        (void)!array_add(m, array);
        return;
    }
    struct node *prev = NULL, *e = array->child;
    for (uint32_t i = r % 5; i > 0 && e->next; i--) {
        prev = e;
        e = e->next;
    }
    array_take(array, prev, e);
    struct node *copy = node_clone(m, e);
    if (copy && r & 4)
        array_put(array, copy);
    if (r & 8)
        array_put(array, e);
}

static void edit(struct msg *m, uint32_t seed)
{
    for (int i = 0; i < 8; i++) {
        struct node_iter it = {.root = m->root};
        struct node *n = node_iter_next(&it);
        for (uint32_t steps = next(&seed) % 64; steps > 0 && n; steps--) {
            struct node *after = node_iter_next(&it);
            if (!after)
                break;
            n = after;
        }
        uint32_t r = next(&seed);
        if (node_is_array(n))
            edit_array(m, n, r);
        else if (node_is_struct(n) && !n->null)
            edit_struct(m, n, r);
    }
}

static void check_reply(const struct msg *request)
{
    struct arena a;
    struct msg reply;
    arena_init(&a, 8 * LIMIT_BYTES);
    int err = reply_error(&reply, &a, request, 29);
    assert(err == OK || err == ERR_UNKNOWN || err == ERR_LIMIT);
    if (!err) {
        assert(msg_size(&reply) > 0);
        check_encode(&reply);
    }
    arena_release(&a);
}

static void check_json(const struct msg *m)
{
    json_t *o = json_from_msg(m, 0);
    assert(o);
    char *text = json_dumps(o, JSON_COMPACT);
    assert(text);
    free(text);
    json_decref(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_BYTES || size > 65536)
        return -1;
    const struct message *schema = schema_find(data[0] % (SCHEMA_KEY_MAX + 1), data[1] & 0x80);
    int version = data[1] & 0x7f;
    if (!schema || !versions_has(schema->versions, version))
        return -1;
    size_t n = size - HEAD_BYTES;
    size_t seam = ((size_t)data[2] << 8 | data[3]) % (n + 1);
    struct buf in, second;
    struct arena a;
    struct msg m;
    buf_init(&in, LIMIT_BYTES);
    buf_init(&second, LIMIT_BYTES);
    assert(buf_append(&in, data + HEAD_BYTES, seam) == OK);
    assert(buf_append(&second, data + HEAD_BYTES + seam, n - seam) == OK);
    assert(buf_move(&in, &second) == OK);
    buf_release(&second);
    arena_init(&a, LIMIT_BYTES);
    int err = msg_decode(&m, &a, schema, version, &in, 0, n, NULL);
    assert(err == OK || err == ERR_MALFORMED || err == ERR_LIMIT);
    if (!err) {
        assert(msg_size(&m) <= n || m.version != version);
        check_encode(&m);
        check_json(&m);
        if (schema->request)
            check_reply(&m);
        m.version = (int16_t)(schema->versions.min +
                              data[4] % (schema->versions.max - schema->versions.min + 1));
        check_encode(&m);
        edit(&m, data[5]);
        check_encode(&m);
        check_json(&m);
    }
    arena_release(&a);
    buf_release(&in);
    buf_thread_trim(); /* so that the sanitizer sees every buffer end */
    return 0;
}
