#include "tests/unit/unit.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "codec/msg.h"
#include "codec/runs.h"
#include "tests/unit/gen.h"

#define SEEDS 25

static struct gen gen;

/* What the walker says of it; *events: in how many calls. */
static bool walked(const struct message *m, int version, const uint8_t *p, size_t n,
                   uint64_t *events)
{
    struct walk w;
    enum walk_event e;

    walk_start(&w, m, version, n);
    walk_feed(&w, p, n);
    *events = 0;
    do {
        e = walk_next(&w);
        ++*events;
    } while (e != WALK_DONE && e != WALK_BAD && e != WALK_MORE);
    return e == WALK_DONE;
}

/* Nodes of its tree as decode makes them, ids and records twice; the message itself is one. */
static uint64_t nodes_of(const uint8_t *p, size_t n, const struct message *m, int version)
{
    struct walk w;
    uint64_t nodes = 1;

    walk_start(&w, m, version, n);
    walk_feed(&w, p, n);
    for (enum walk_event e = walk_next(&w); e != WALK_DONE; e = walk_next(&w)) {
        if (e == WALK_SCALAR || e == WALK_BLOB)
            nodes += w.field->type == TYPE_UUID || w.field->type == TYPE_RECORDS ? 2 : 1;
        else
            nodes += e == WALK_ARRAY_IN || e == WALK_STRUCT_IN;
    }
    return nodes;
}

static bool has_tags(const struct gen *g)
{
    for (uint32_t i = 0; i < g->ntokens; i++)
        if (g->token[i].kind == GEN_TAG_COUNT && g->token[i].value > 0)
            return true;
    return false;
}

/* No shorter one is legal, and of what was changed, nothing that the walker refuses. */
static void broken_ones(const struct message *m, int version, uint64_t seed)
{
    static uint8_t changed[GEN_BYTES_MAX];
    size_t n = gen_len(&gen);
    uint64_t nodes, events;

    for (size_t cut = n > 64 ? n - 64 : 0; cut < n; cut++)
        if (runs_count(m, version, gen_data(&gen), cut, &nodes))
            assert_true(walked(m, version, gen_data(&gen), cut, &events));
    for (int i = 0; i < 40 && n > 0; i++) {
        static const uint8_t odd[] = {0, 1, 2, 0x7f, 0x80, 0x81, 0xfe, 0xff};
        memcpy(changed, gen_data(&gen), n);
        for (uint32_t k = 0; k <= gen_rand(&gen, 2); k++)
            changed[gen_rand(&gen, (uint32_t)n)] = odd[gen_rand(&gen, sizeof odd)];
        if (runs_count(m, version, changed, n, &nodes) && !walked(m, version, changed, n, &events))
            fail_msg("%s %d, seed %llu, change %d: the walker refuses it", m->name, version,
                     (unsigned long long)seed, i);
    }
}

/* Every API and version: yes to what is legal and has no tags, no to what has, and never yes where
 * the walker says no. */
static void agrees_with_the_walker(void **state)
{
    size_t count;
    const struct message *all = schema_all(&count);
    unsigned legal = 0, tagged = 0;

    (void)state;
    for (size_t i = 0; i < count; i++) {
        for (int v = all[i].versions.min; v <= all[i].versions.max; v++) {
            for (uint64_t seed = 0; seed < SEEDS; seed++) {
                uint64_t nodes = 0, exact;
                gen_message(&gen, &all[i], v, seed);
                bool yes = runs_count(&all[i], v, gen_data(&gen), gen_len(&gen), &nodes);
                if (yes != (!has_tags(&gen) && gen_len(&gen) > 0))
                    fail_msg("%s %d, seed %llu: %d", all[i].name, v, (unsigned long long)seed, yes);
                legal += yes;
                tagged += !yes;
                if (yes) {
                    exact = nodes_of(gen_data(&gen), gen_len(&gen), &all[i], v);
                    assert_in_range(nodes, exact, exact + exact / 2);
                }
                broken_ones(&all[i], v, seed);
            }
        }
    }
    assert_true(legal > 1000 && tagged > 1000);
}

/* Lengths at and around the borders of their encodings, null, and negative. */
static void lengths(void **state)
{
    static const struct {
        int api, version;
        bool request;
        const char *bytes;
        size_t n;
        bool legal;
    } cases[] = {
        /* Heartbeat request 0 (group, generation, member): int16 lengths */
        {12, 0, true, "\0\1g\0\0\0\1\0\1m", 10, true},
        {12, 0, true, "\377\377\0\0\0\1\0\1m", 9, false},
        {12, 0, true, "\200\0\0\0\0\1\0\1m", 9, false},
        {12, 0, true, "\0\1g\0\0\0\1\0\2m", 10, false},
        {12, 0, true, "\0\1g\0\0\0\1\0\1mx", 11, false},
        /* Metadata request 1: int32 count, null */
        {3, 1, true, "\377\377\377\377", 4, true},
        {3, 1, true, "\377\377\377\376", 4, false},
        {3, 1, true, "\0\0\0\1\0\1t", 7, true},
        {3, 1, true, "\0\0\0\2\0\1t", 7, false},
        {3, 0, true, "\377\377\377\377", 4, false},
        /* Metadata request 9: compact, one topic, flags, tags */
        {3, 9, true, "\2\2t\0\1\1\1\0", 8, true},
        {3, 9, true, "\2\202\0t\0\1\1\1\0", 9, false}, /* overlong */
        {3, 9, true, "\2\0\0\1\1\1\0", 7, false},      /* a null name */
        {3, 9, true, "\0\1\1\1\0", 5, true},           /* null topics */
        {3, 9, true, "\200\0\1\1\1\0", 6, false},      /* overlong null */
        {3, 9, true, "\377\377\377\377\17\1\1\1\0", 9, false},
        {3, 9, true, "\377\377\377\377\37\1\1\1\0", 9, false},
        {3, 9, true, "\2\2t\0\1\1\1\1", 8, false}, /* a tag that is not there */
        {3, 9, true, "\2\2t\0\1\1\1", 7, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct message *m = schema_find(cases[i].api, cases[i].request);
        const uint8_t *p = (const uint8_t *)cases[i].bytes;
        uint64_t nodes, events;
        if (runs_count(m, cases[i].version, p, cases[i].n, &nodes) != cases[i].legal)
            fail_msg("case %zu", i);
        assert_int_equal(walked(m, cases[i].version, p, cases[i].n, &events), cases[i].legal);
    }
}

static void text_of_two_byte_length(void **state)
{
    static uint8_t p[40000];
    uint64_t nodes, events;

    (void)state;
    for (uint32_t n = 120; n < 33000; n += n < 140 ? 1 : 4091) {
        const struct message *m = schema_find(3, true);
        size_t at = 0;
        p[at++] = 2;
        for (uint32_t v = n + 1; v; v >>= 7)
            p[at++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        for (uint32_t k = 0; k < n && at < sizeof p - 8; k++)
            p[at++] = 'x';
        memcpy(p + at, "\0\1\1\1\0", 5);
        at += 5;
        assert_int_equal(runs_count(m, 9, p, at, &nodes), n <= 32767);
        assert_int_equal(walked(m, 9, p, at, &events), n <= 32767);
        assert_false(runs_count(m, 9, p, at - 1, &nodes));
    }
    assert_false(runs_count(schema_find(3, true), 99, p, 5, &nodes));
    assert_false(runs_count(schema_find(3, true), 9, p, (size_t)INT32_MAX + 1, &nodes));
}

/* Time for each byte is bounded: no message makes the walker turn more often than its bytes allow.
 * Three turns (a struct's beginning, its end, an array's end) and no byte of them free. */
static void turns_are_bounded_by_bytes(void **state)
{
    size_t count;
    const struct message *all = schema_all(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        for (int v = all[i].versions.min; v <= all[i].versions.max; v++) {
            for (uint64_t seed = 0; seed < SEEDS; seed++) {
                uint64_t events;
                gen_message(&gen, &all[i], v, seed);
                assert_true(walked(&all[i], v, gen_data(&gen), gen_len(&gen), &events));
                if (events > 3 * gen_len(&gen) + 2)
                    fail_msg("%s %d: %llu turns for %zu bytes", all[i].name, v,
                             (unsigned long long)events, gen_len(&gen));
            }
        }
    }
}

static bool same_value(const struct node *a, const struct node *b)
{
    enum field_type type = a->field ? a->field->type : TYPE_STRUCT;

    if (a->null || node_is_array(a) || type == TYPE_STRUCT)
        return true;
    if (type == TYPE_STRING || type == TYPE_BYTES)
        return a->u.str.len == b->u.str.len && memcmp(a->u.str.p, b->u.str.p, a->u.str.len) == 0;
    if (type == TYPE_UUID)
        return memcmp(a->u.uuid, b->u.uuid, 16) == 0;
    if (type == TYPE_RECORDS && a->u.records && b->u.records)
        return a->u.records->off == b->u.records->off && a->u.records->len == b->u.records->len;
    return type == TYPE_RECORDS ? a->u.records == b->u.records : a->u.num == b->u.num;
}

static void same_trees(const struct msg *a, const struct msg *b)
{
    struct node_iter i = {.root = a->root}, k = {.root = b->root};
    const struct node *x, *y;

    do {
        x = node_iter_next(&i);
        y = node_iter_next(&k);
        assert_int_equal(!x, !y);
        if (x && (x->field != y->field || x->null != y->null || x->element != y->element ||
                  x->count != y->count || x->mark != y->mark || x->tag_bytes != y->tag_bytes ||
                  !x->last != !y->last || !same_value(x, y)))
            fail_msg("%s %d: %s", a->schema->name, a->version, x->field ? x->field->name : "root");
    } while (x);
}

/* Decodes what gen holds, its last `rest` bytes in a piece of their own. */
static int decoded(struct msg *m, struct arena *a, struct buf *b, const struct message *schema,
                   int version, size_t rest, struct msg_error *e)
{
    size_t n = gen_len(&gen);
    struct buf tail;

    arena_init(a, 8 << 20);
    buf_init(b, n);
    buf_init(&tail, n);
    assert_int_equal(buf_append(b, gen_data(&gen), n - rest), OK);
    assert_int_equal(buf_append(&tail, gen_data(&gen) + n - rest, rest), OK);
    assert_int_equal(buf_move(b, &tail), OK);
    return msg_decode(m, a, schema, version, b, 0, n, e);
}

/* The same bytes become the same tree, or the same error (texts may be none), run by run and in two
 * pieces, which the walker reads. */
static void one_tree_either_way(void **state)
{
    size_t count;
    const struct message *all = schema_all(&count);
    unsigned trees = 0;

    (void)state;
    for (size_t i = 0; i < count; i++) {
        for (int v = all[i].versions.min; v <= all[i].versions.max; v++) {
            for (uint64_t seed = 0; seed < SEEDS; seed++) {
                struct arena arena[2];
                struct buf buf[2];
                struct msg m[2];
                struct msg_error e[2] = {{0}};
                int err;
                gen_message(&gen, &all[i], v, seed);
                if (gen_len(&gen) < 2 || has_tags(&gen))
                    continue;
                err = decoded(&m[0], &arena[0], &buf[0], &all[i], v, 0, &e[0]);
                assert_int_equal(decoded(&m[1], &arena[1], &buf[1], &all[i], v, 1, &e[1]), err);
                assert_ptr_equal(e[0].why, e[1].why);
                assert_int_equal(e[0].offset, e[1].offset);
                if (err == OK)
                    same_trees(&m[0], &m[1]);
                trees += err == OK;
                for (int k = 0; k < 2; k++) {
                    buf_release(&buf[k]);
                    arena_release(&arena[k]);
                }
            }
        }
    }
    buf_thread_trim();
    assert_true(trees > 1000);
}

/* A message in one piece costs one block, however many nodes it becomes. */
static void decode_takes_one_block(void **state)
{
    const struct message *m = schema_find(8, true);
    uint8_t bytes[2048] = {'\2', 'g', 0, 0, 0, 1, 2, 'm', 0, 2, 2, 't', 101};
    size_t at = 13;
    struct arena a;
    struct buf b;
    struct msg msg;

    (void)state;
    for (int i = 0; i < 100; i++, at += 18)
        bytes[at + 16] = 1; /* partition, offset, epoch, no text, no tags */
    at += 2;
    arena_init(&a, 1 << 20);
    buf_init(&b, sizeof bytes);
    assert_int_equal(buf_append(&b, bytes, at), OK);
    sl_alloc_fail_after(2);
    assert_int_equal(msg_decode(&msg, &a, m, 9, &b, 0, at, NULL), OK);
    assert_int_equal(sl_alloc_asked(), 1);
    assert_in_range(a.used_bytes, 30000, 65536);
    arena_clear(&a);
    sl_alloc_fail_after(1); /* and none at all where the arena has been used before */
    assert_int_equal(msg_decode(&msg, &a, m, 9, &b, 0, at, NULL), OK);
    assert_int_equal(sl_alloc_asked(), 0);
    sl_alloc_fail_after(0);
    buf_release(&b);
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_walker),  cmocka_unit_test(lengths),
        cmocka_unit_test(text_of_two_byte_length), cmocka_unit_test(turns_are_bounded_by_bytes),
        cmocka_unit_test(decode_takes_one_block),  cmocka_unit_test(one_tree_either_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
