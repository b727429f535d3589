#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "codec/msg.h"
#include "codec/utf8.h"
#include "tests/unit/golden.h"

#define LIMIT (16UL << 20)
#define COUNT (sizeof golden / sizeof golden[0])

static uint8_t bytes[65536];

static size_t unhex(const char *s)
{
    size_t n = strlen(s) / 2;
    assert_true(n <= sizeof bytes);
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {s[2 * i], s[2 * i + 1], '\0'};
        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return n;
}

/* The bytes in two chunks of their own, with the seam after the first at bytes. */
static void fill(struct buf *b, size_t n, size_t at)
{
    struct buf second;
    buf_init(b, LIMIT);
    buf_init(&second, LIMIT);
    assert_int_equal(buf_append(b, bytes, at), OK);
    assert_int_equal(buf_append(&second, bytes + at, n - at), OK);
    assert_int_equal(buf_move(b, &second), OK);
    buf_release(&second);
}

static void assert_bytes(const struct buf *b, size_t n)
{
    uint8_t *copy = malloc(b->len + 1);
    assert_non_null(copy);
    assert_int_equal(b->len, n);
    buf_copy_out(b, 0, copy, n);
    assert_memory_equal(copy, bytes, n);
    free(copy);
}

static void round_trip(const struct message *schema, int version, size_t n, size_t seam)
{
    struct buf in, out;
    struct arena a;
    struct msg m;
    arena_init(&a, LIMIT);
    fill(&in, n, seam);
    buf_init(&out, LIMIT);
    assert_int_equal(msg_decode(&m, &a, schema, version, &in, 0, n, NULL), OK);
    assert_int_equal(msg_encode(&m, &out), OK);
    assert_int_equal(msg_size(&m), out.len);
    if (m.unknown_tags == 0) {
        assert_bytes(&out, n);
    } else { /* what is left is the same message, without them */
        struct buf again;
        buf_init(&again, LIMIT);
        assert_true(out.len < n);
        assert_int_equal(msg_decode(&m, &a, schema, version, &out, 0, out.len, NULL), OK);
        assert_int_equal(m.unknown_tags, 0);
        assert_int_equal(msg_encode(&m, &again), OK);
        assert_int_equal(again.len, out.len);
        buf_release(&again);
    }
    buf_release(&in);
    buf_release(&out);
    arena_release(&a);
}

static void test_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        size_t n = unhex(golden[i].hex);
        const struct message *schema = schema_find(golden[i].api, golden[i].request);
        for (size_t seam = 0; seam <= n; seam += n > 400 ? 7 : 1)
            round_trip(schema, golden[i].version, n, seam);
    }
}

static void test_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        size_t n = unhex(golden[i].hex);
        const struct message *schema = schema_find(golden[i].api, golden[i].request);
        struct buf in;
        fill(&in, n, n / 2);
        for (size_t len = 0; len<n; len += n> 400 ? 5 : 1) {
            struct arena a;
            struct msg m;
            struct msg_error e = {0};
            arena_init(&a, LIMIT);
            assert_int_equal(msg_decode(&m, &a, schema, golden[i].version, &in, 0, len, &e),
                             ERR_MALFORMED);
            assert_non_null(e.why);
            assert_true(e.offset <= len);
            arena_release(&a);
        }
        buf_release(&in);
    }
}

/* Whatever the arena's bound: a message, or ERR_LIMIT. */
static void test_arena_limit(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        size_t n = unhex(golden[i].hex);
        const struct message *schema = schema_find(golden[i].api, golden[i].request);
        struct buf in;
        fill(&in, n, n / 3);
        int err = ERR_LIMIT;
        for (size_t limit = 16; err; limit += limit / 3) {
            struct arena a;
            struct msg m;
            arena_init(&a, limit);
            err = msg_decode(&m, &a, schema, golden[i].version, &in, 0, n, NULL);
            assert_true(err == OK || err == ERR_LIMIT);
            if (!err) {
                err = msg_own_strings(&m);
                assert_true(err == OK || err == ERR_LIMIT);
            }
            arena_release(&a);
        }
        buf_release(&in);
    }
}

/* A count that the message's bytes allow, but the arena does not. */
static void test_count_before_elements(void **state)
{
    (void)state;
    memset(bytes, 0, sizeof bytes);
    bytes[1] = 1; /* OffsetFetch 1: group "" */
    bytes[0] = 0, bytes[1] = 0;
    bytes[5] = 1;     /* one topic "" */
    bytes[10] = 0x30; /* 0x3000 partitions of four bytes */
    size_t n = 12 + 4 * 0x3000;
    struct buf in;
    struct arena a;
    struct msg m;
    fill(&in, n, n);
    arena_init(&a, 4096);
    assert_int_equal(msg_decode(&m, &a, schema_find(9, true), 1, &in, 0, n, NULL), ERR_LIMIT);
    assert_true(a.used_bytes < 2048);
    arena_release(&a);
    arena_init(&a, LIMIT);
    assert_int_equal(msg_decode(&m, &a, schema_find(9, true), 1, &in, 0, n, NULL), OK);
    arena_release(&a);
    buf_release(&in);
}

static void test_no_memory(void **state)
{
    (void)state;
    if (!sl_alloc_fail_after(0))
        skip();
    size_t n = unhex(golden[0].hex);
    const struct message *schema = schema_find(golden[0].api, golden[0].request);
    struct buf in;
    fill(&in, n, n / 2);
    int err = ERR_NOMEM;
    for (unsigned after = 1; err; after++) {
        struct arena a;
        struct buf out;
        struct msg m;
        assert_true(after < 1000);
        buf_thread_trim();
        arena_init(&a, LIMIT);
        buf_init(&out, LIMIT);
        assert_true(sl_alloc_fail_after(after));
        err = msg_decode(&m, &a, schema, golden[0].version, &in, 0, n, NULL);
        if (!err)
            err = msg_encode(&m, &out);
        (void)sl_alloc_fail_after(0);
        assert_true(err == OK || err == ERR_NOMEM);
        buf_release(&out);
        arena_release(&a);
    }
    buf_release(&in);
}

/* A message of defaults reads back, in every version of every API. */
static void test_defaults(void **state)
{
    (void)state;
    size_t count;
    const struct message *all = schema_all(&count);
    for (size_t i = 0; i < count; i++) {
        for (int v = all[i].versions.min; v <= all[i].versions.max; v++) {
            struct arena a;
            struct buf b, again;
            struct msg m, back, empty;
            arena_init(&a, LIMIT);
            buf_init(&b, LIMIT);
            buf_init(&again, LIMIT);
            assert_int_equal(msg_new(&m, &a, &all[i], v), OK);
            assert_int_equal(msg_encode(&m, &b), OK);
            assert_int_equal(b.len, msg_size(&m));
            assert_int_equal(msg_decode(&back, &a, &all[i], v, &b, 0, b.len, NULL), OK);
            /* A tree without any field is the same message. */
            assert_int_equal(msg_new(&empty, &a, &all[i], v), OK);
            array_clear(empty.root);
            assert_int_equal(msg_encode(&empty, &again), OK);
            buf_copy_out(&b, 0, bytes, b.len);
            assert_bytes(&again, b.len);
            buf_release(&b);
            buf_release(&again);
            arena_release(&a);
        }
        struct arena a;
        struct msg m;
        arena_init(&a, LIMIT);
        assert_int_equal(msg_new(&m, &a, &all[i], all[i].versions.max + 1), ERR_VERSION);
        arena_release(&a);
    }
}

/* Encoded as another version, a message is readable as that version. */
static void test_other_versions(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        size_t n = unhex(golden[i].hex);
        const struct message *schema = schema_find(golden[i].api, golden[i].request);
        struct buf in;
        struct arena a;
        struct msg m, back;
        arena_init(&a, LIMIT);
        fill(&in, n, n);
        assert_int_equal(msg_decode(&m, &a, schema, golden[i].version, &in, 0, n, NULL), OK);
        for (int v = schema->versions.min; v <= schema->versions.max; v++) {
            struct buf out;
            buf_init(&out, LIMIT);
            m.version = (int16_t)v;
            int err = msg_encode(&m, &out);
            assert_true(err == OK || err == ERR_MALFORMED); /* null where that version has none */
            if (err)
                assert_int_equal(out.len, 0);
            else
                assert_int_equal(msg_decode(&back, &a, schema, v, &out, 0, out.len, NULL), OK);
            buf_release(&out);
        }
        m.version = (int16_t)(schema->versions.max + 1);
        struct buf out;
        buf_init(&out, LIMIT);
        assert_int_equal(msg_encode(&m, &out), ERR_VERSION);
        buf_release(&in);
        arena_release(&a);
    }
}

/* Fetch 12's answer: one topic, one partition with records. */
static void make_fetch(struct msg *m, struct arena *a, const char *topic)
{
    assert_int_equal(msg_new(m, a, schema_find(1, false), 12), OK);
    struct node *t = array_add(m, node_get(m->root, F_RESPONSES));
    assert_non_null(t);
    assert_int_equal(node_set_text(m, t, F_TOPIC, topic), OK);
    struct node *p = array_add(m, node_get(t, F_PARTITIONS));
    assert_non_null(p);
    assert_int_equal(node_set_num(m, p, F_PARTITION_INDEX, 3), OK);
}

static void test_records_shared(void **state)
{
    (void)state;
    struct arena a;
    struct buf in, out;
    struct msg m, back;
    static uint8_t batch[3000];
    memset(batch, 0x5a, sizeof batch);
    arena_init(&a, LIMIT);
    buf_init(&in, LIMIT);
    buf_init(&out, LIMIT);
    assert_int_equal(buf_append(&in, batch, sizeof batch), OK);
    make_fetch(&m, &a, "t");
    struct node *t = node_get(m.root, F_RESPONSES)->child;
    struct node *p = node_get(t, F_PARTITIONS)->child;
    struct node *r = node_get(p, F_RECORDS);
    assert_true(r->null);
    assert_int_equal(node_set_empty_records(&m, p, F_RECORDS), OK);
    assert_false(r->null);
    r->u.records = arena_alloc(&a, sizeof *r->u.records);
    assert_non_null(r->u.records);
    r->u.records->src = &in;
    r->u.records->off = 1000;
    r->u.records->len = 2000;
    assert_int_equal(msg_encode(&m, &out), OK);
    size_t at = out.len - 2000 - 3; /* behind it: tags of partition, topic, message */
    assert_ptr_equal(buf_peek(&out, at, 2000), buf_peek(&in, 1000, 2000));
    assert_int_equal(msg_decode(&back, &a, m.schema, 12, &out, 0, out.len, NULL), OK);
    r = node_get(node_get(node_get(back.root, F_RESPONSES)->child, F_PARTITIONS)->child, F_RECORDS);
    assert_int_equal(r->u.records->len, 2000);
    assert_int_equal(r->u.records->off, at);
    buf_release(&out);
    buf_init(&out, 100); /* no room: nothing is written */
    assert_int_equal(msg_encode(&m, &out), ERR_LIMIT);
    assert_int_equal(out.len, 0);
    assert_int_equal(msg_encode_response(&m, 7, &out), ERR_LIMIT);
    assert_int_equal(out.len, 0);
    buf_release(&out);
    buf_release(&in);
    arena_release(&a);
}

static void test_fields(void **state)
{
    (void)state;
    struct arena a;
    struct msg m;
    static const uint8_t id[16] = {1, 2, 3};
    arena_init(&a, LIMIT);
    make_fetch(&m, &a, "one");
    struct node *t = node_get(m.root, F_RESPONSES)->child;
    assert_true(node_str_is(node_get(t, F_TOPIC), "one"));
    assert_false(node_str_is(node_get(t, F_TOPIC), "on"));
    assert_false(node_str_is(NULL, "one"));
    assert_ptr_equal(node_role(t, ROLE_TOPIC), node_get(t, F_TOPIC));
    assert_null(node_role(t, ROLE_GROUP));
    /* Not in this version: nothing happens. */
    assert_int_equal(node_set_uuid(&m, t, F_TOPIC_ID, id), OK);
    assert_null(node_get(t, F_TOPIC_ID));
    assert_null(node_array(&m, t, F_TOPICS));
    assert_int_equal(node_num(t, F_SESSION_ID, 77), 77);
    size_t size = msg_size(&m);
    node_unset(m.root, F_SESSION_ID);
    assert_null(node_get(m.root, F_SESSION_ID));
    assert_int_equal(msg_size(&m), size);
    assert_int_equal(node_set_num(&m, m.root, F_SESSION_ID, 9), OK);
    assert_int_equal(node_num(m.root, F_SESSION_ID, 0), 9);
    /* Back in its place, before the topics. */
    struct node *n = m.root->child;
    while (n->field->id != F_SESSION_ID)
        n = n->next;
    assert_int_equal(n->next->field->id, F_RESPONSES);
    assert_int_equal(node_set_null(&m, t, F_TOPIC), OK);
    assert_int_equal(msg_size(&m), 0); /* a topic has a name here */
    struct buf out;
    buf_init(&out, LIMIT);
    assert_int_equal(msg_encode(&m, &out), ERR_MALFORMED);
    assert_int_equal(out.len, 0);
    m.version = 13;
    assert_int_equal(node_set_uuid(&m, t, F_TOPIC_ID, id), OK);
    assert_int_equal(msg_encode(&m, &out), OK);
    buf_release(&out);
    arena_release(&a);
}

static void test_long_string(void **state)
{
    (void)state;
    static char name[40000];
    struct arena a;
    struct msg m;
    memset(name, 'x', sizeof name - 1);
    arena_init(&a, LIMIT);
    make_fetch(&m, &a, name);
    assert_int_equal(msg_size(&m), 0);
    name[0x7fff] = '\0';
    make_fetch(&m, &a, name);
    assert_true(msg_size(&m) > 0x7fff);
    arena_release(&a);
}

static void test_tags(void **state)
{
    (void)state;
    struct arena a;
    struct buf out;
    struct msg m, back;
    arena_init(&a, LIMIT);
    buf_init(&out, LIMIT);
    make_fetch(&m, &a, "t");
    struct node *t = node_get(m.root, F_RESPONSES)->child;
    struct node *p = node_get(t, F_PARTITIONS)->child;
    size_t plain = msg_size(&m);
    const struct field *f = NULL;
    for (uint16_t i = 0; i < p->field->nfields; i++) {
        if (p->field->fields[i].id == F_CURRENT_LEADER)
            f = &p->field->fields[i];
    }
    assert_non_null(f);
    /* A tagged struct at its defaults is not written. */
    struct node leader = {.field = f};
    struct node *last = p->last;
    last->next = &leader;
    p->last = &leader;
    assert_int_equal(node_set_num(&m, &leader, F_LEADER_ID, -1), OK);
    assert_int_equal(msg_size(&m), plain);
    assert_int_equal(node_set_num(&m, &leader, F_LEADER_ID, 4), OK);
    assert_int_equal(msg_size(&m), plain + 2 + 4 + 4 + 1);
    assert_int_equal(msg_encode(&m, &out), OK);
    assert_int_equal(out.len, plain + 11);
    assert_int_equal(msg_decode(&back, &a, m.schema, 12, &out, 0, out.len, NULL), OK);
    p = node_get(node_get(back.root, F_RESPONSES)->child, F_PARTITIONS)->child;
    assert_int_equal(node_num(node_get(p, F_CURRENT_LEADER), F_LEADER_ID, 0), 4);
    assert_int_equal(node_num(node_get(p, F_CURRENT_LEADER), F_LEADER_EPOCH, 0), -1);
    buf_release(&out);
    arena_release(&a);
}

static void test_unknown_tags(void **state)
{
    (void)state;
    /* Heartbeat 4: group "g", generation 0, member "", no instance, tags 3 and 9. */
    static const uint8_t body[] = {2, 'g', 0, 0, 0, 0, 1, 0, 2, 3, 1, 'x', 9, 0};
    struct arena a;
    struct buf in, out;
    struct msg m;
    arena_init(&a, LIMIT);
    buf_init(&in, LIMIT);
    buf_init(&out, LIMIT);
    assert_int_equal(buf_append(&in, body, sizeof body), OK);
    assert_int_equal(msg_decode(&m, &a, schema_find(12, true), 4, &in, 0, in.len, NULL), OK);
    assert_int_equal(m.unknown_tags, 2);
    assert_int_equal(msg_encode(&m, &out), OK);
    memcpy(bytes, body, 8);
    bytes[8] = 0;
    assert_bytes(&out, 9);
    buf_release(&in);
    buf_release(&out);
    arena_release(&a);
}

static int heartbeat_with(const void *group, size_t n, uint64_t *offset)
{
    struct arena a;
    struct buf in;
    struct msg m;
    struct msg_error e = {0};
    uint8_t len[2] = {(uint8_t)(n >> 8), (uint8_t)n};
    static const uint8_t rest[6];
    arena_init(&a, LIMIT);
    buf_init(&in, LIMIT);
    assert_int_equal(buf_append(&in, len, 2), OK);
    assert_int_equal(buf_append(&in, group, n), OK);
    assert_int_equal(buf_append(&in, rest, sizeof rest), OK);
    int err = msg_decode(&m, &a, schema_find(12, true), 0, &in, 0, in.len, &e);
    *offset = e.offset;
    buf_release(&in);
    arena_release(&a);
    return err;
}

static void test_text(void **state)
{
    (void)state;
    static const struct {
        const char *p;
        size_t n;
        int err;
    } cases[] = {
        {"plain ascii, longer than eight", 30, OK},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, OK},
        {"\xef\xbf\xbf", 3, OK},
        {"\xf4\x8f\xbf\xbf", 4, OK},
        {"a\0b", 3, ERR_MALFORMED},
        {"12345678\0", 9, ERR_MALFORMED},
        {"1234567\0", 8, ERR_MALFORMED},
        {"\xc0\x80", 2, ERR_MALFORMED},         /* overlong */
        {"\xe0\x9f\xbf", 3, ERR_MALFORMED},     /* overlong */
        {"\xf0\x8f\xbf\xbf", 4, ERR_MALFORMED}, /* overlong */
        {"\xed\xa0\x80", 3, ERR_MALFORMED},     /* a surrogate */
        {"\xf4\x90\x80\x80", 4, ERR_MALFORMED}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", 4, ERR_MALFORMED},
        {"\x80", 1, ERR_MALFORMED},
        {"12345678\x80", 9, ERR_MALFORMED},
        {"\xe2\x82", 2, ERR_MALFORMED},
        {"\xff", 1, ERR_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t offset;
        assert_int_equal(heartbeat_with(cases[i].p, cases[i].n, &offset), cases[i].err);
        if (cases[i].err)
            assert_int_equal(offset, 2);
    }
    /* Every byte at every place of a word. */
    for (unsigned c = 0; c < 256; c++) {
        for (size_t at = 0; at < 9; at++) {
            uint8_t word[9];
            memset(word, 'a', sizeof word);
            word[at] = (uint8_t)c;
            assert_int_equal(utf8_valid_text(word, sizeof word), c > 0 && c < 0x80);
        }
    }
}

static void test_arrays(void **state)
{
    (void)state;
    struct arena a;
    struct msg m;
    struct buf in, out;
    arena_init(&a, LIMIT);
    buf_init(&in, LIMIT);
    buf_init(&out, LIMIT);
    assert_int_equal(msg_new(&m, &a, schema_find(69, true), 0), OK);
    struct node *ids = node_array(&m, m.root, F_GROUP_IDS);
    for (int i = 0; i < 4; i++) {
        char c = (char)('a' + i);
        assert_int_equal(array_add_str(&m, ids, (uint8_t *)&c, 1), OK);
    }
    struct node *b = ids->child->next;
    array_take(ids, ids->child, b);
    assert_int_equal(ids->count, 3);
    assert_true(node_str_is(ids->child->next, "c"));
    struct node *first = ids->child;
    array_take(ids, NULL, first);
    array_put(ids, b);
    assert_true(node_str_is(ids->last, "b"));
    struct node *last = ids->last;
    array_take(ids, ids->child->next, last);
    array_take(ids, ids->child, ids->last);
    assert_int_equal(ids->count, 1);
    assert_ptr_equal(ids->last, ids->child);
    array_take(ids, NULL, ids->child);
    assert_null(ids->last);
    array_put(ids, first);
    assert_int_equal(msg_encode(&m, &out), OK);
    memcpy(bytes,
           "\x02\x02"
           "a\0\0",
           5);
    assert_bytes(&out, 5);
    buf_release(&in);
    buf_release(&out);
    arena_release(&a);
}

static void test_clone(void **state)
{
    (void)state;
    struct arena a, b;
    struct msg m;
    struct buf in, out;
    for (size_t i = 0; i < COUNT; i++) {
        size_t n = unhex(golden[i].hex);
        const struct message *schema = schema_find(golden[i].api, golden[i].request);
        arena_init(&a, LIMIT);
        arena_init(&b, LIMIT);
        fill(&in, n, n / 2);
        buf_init(&out, LIMIT);
        assert_int_equal(msg_decode(&m, &a, schema, golden[i].version, &in, 0, n, NULL), OK);
        assert_int_equal(msg_own_strings(&m), OK);
        m.arena = &b;
        struct node *copy = node_clone(&m, m.root);
        assert_non_null(copy);
        array_clear(m.root); /* the copy does not lean on it */
        m.root = copy;
        assert_int_equal(msg_encode(&m, &out), OK);
        if (m.unknown_tags == 0)
            assert_bytes(&out, n);
        buf_release(&in);
        buf_release(&out);
        arena_release(&a);
        arena_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),         cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_arena_limit),    cmocka_unit_test(test_count_before_elements),
        cmocka_unit_test(test_no_memory),      cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_other_versions), cmocka_unit_test(test_records_shared),
        cmocka_unit_test(test_fields),         cmocka_unit_test(test_long_string),
        cmocka_unit_test(test_tags),           cmocka_unit_test(test_unknown_tags),
        cmocka_unit_test(test_text),           cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_clone),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_thread_trim();
    return failed;
}
