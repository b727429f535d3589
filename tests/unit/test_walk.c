#include "tests/unit/unit.h"

#include <stdio.h>

#include "codec/walk.h"
#include "tests/unit/gen.h"

#define SEEDS 50

static struct gen gen;

static const struct message *fetch_request, *fetch_response, *heartbeat_response, *metadata_request,
    *create_response, *api_versions_request;

static int setup(void **state)
{
    (void)state;
    fetch_request = schema_find(1, true);
    fetch_response = schema_find(1, false);
    heartbeat_response = schema_find(68, false);
    metadata_request = schema_find(3, true);
    create_response = schema_find(19, false);
    api_versions_request = schema_find(18, true);
    return 0;
}

/* --- generated messages: rows against steps, whole and in pieces ----------------------------- */

static bool content_is(const uint8_t *p, uint8_t seed, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i] != (uint8_t)(seed + i))
            return false;
    return true;
}

static bool event_is(const struct walk *w, enum walk_event e, const struct gen_token *t)
{
    uint64_t bits;

    if (e != t->event || w->field != t->field)
        return false;
    switch (e) {
    case WALK_SCALAR:
        if (t->field->type == TYPE_UUID)
            return content_is(w->uuid, t->seed, 16);
        if (t->field->type == TYPE_FLOAT64) {
            memcpy(&bits, &w->real, sizeof bits);
            return (int64_t)bits == t->value;
        }
        return w->value == t->value;
    case WALK_UNKNOWN_TAG:
        if (w->value != t->value)
            return false;
        /* fall through */
    case WALK_BLOB:
        return w->null == t->null && w->blob_len == t->len &&
               content_is(gen_data(&gen) + w->blob_off, t->seed, t->len);
    case WALK_ARRAY_IN:
        return w->count == t->count && w->null == t->null;
    case WALK_STRUCT_IN:
        return w->null == t->null;
    case WALK_ARRAY_OUT:
    case WALK_STRUCT_OUT:
        return true;
    case WALK_MORE:
    case WALK_DONE:
    case WALK_BAD:
        break;
    }
    return false;
}

/* Walks gen's message cut at `cut`, and from there on in pieces of `piece` bytes (0: one piece).
 * True when the events are gen's. */
static bool walk_matches(const struct message *m, int version, size_t cut, size_t piece)
{
    size_t len = gen_len(&gen), fed = 0;
    uint32_t at = 0;
    struct walk w;

    walk_start(&w, m, version, len);
    for (;;) {
        enum walk_event e = walk_next(&w);
        if (e == WALK_MORE) {
            size_t n = fed < cut ? cut - fed : piece ? piece : len - fed;
            if (fed == len)
                return false;
            n = n > len - fed ? len - fed : n;
            /* a copy of its own: a read outside of the span is a finding for the sanitizer */
            static uint8_t *span;
            free(span);
            span = malloc(n);
            memcpy(span, gen_data(&gen) + fed, n);
            walk_feed(&w, span, n);
            fed += n;
            continue;
        }
        while (at < gen.ntokens && gen.token[at].kind != GEN_EVENT)
            at++;
        if (e == WALK_DONE)
            return at == gen.ntokens && w.offset == len && walk_next(&w) == WALK_DONE;
        if (e == WALK_BAD || at == gen.ntokens || !event_is(&w, e, &gen.token[at]))
            return false;
        at++;
    }
}

static void check_matches(const struct message *m, int version, uint64_t seed, size_t cut,
                          size_t piece)
{
    if (!walk_matches(m, version, cut, piece))
        fail_msg("%s v%d seed %u cut %zu piece %zu", m->name, version, (unsigned)seed, cut, piece);
}

static void every_message_whole_and_bytewise(void **state)
{
    size_t n;
    const struct message *all = schema_all(&n);

    (void)state;
    assert_true(n > 150);
    for (size_t i = 0; i < n; i++) {
        for (int v = all[i].versions.min; v <= all[i].versions.max; v++) {
            for (uint64_t seed = 0; seed < SEEDS; seed++) {
                gen_message(&gen, &all[i], v, seed);
                check_matches(&all[i], v, seed, 0, 0);
                check_matches(&all[i], v, seed, 0, 1);
                check_matches(&all[i], v, seed, 0, 3);
                check_matches(&all[i], v, seed, 0, 11);
            }
        }
    }
}

static void every_split_point(void **state)
{
    size_t n;
    const struct message *all = schema_all(&n);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        for (int v = all[i].versions.min; v <= all[i].versions.max; v++) {
            uint64_t seed = 100;
            do
                gen_message(&gen, &all[i], v, seed++);
            while (gen_len(&gen) > 700);
            for (size_t cut = 1; cut < gen_len(&gen); cut++)
                check_matches(&all[i], v, seed, cut, 0);
        }
    }
}

/* What a walk says at its end; the reason and offset must not depend on how the input is cut. */
static enum walk_event walk_all(struct walk *w, const struct message *m, int version,
                                const uint8_t *p, size_t len, uint64_t body_len, size_t piece)
{
    enum walk_event e;
    size_t fed = 0;

    walk_start(w, m, version, body_len);
    while ((e = walk_next(w)) != WALK_DONE && e != WALK_BAD) {
        if (e == WALK_MORE) {
            size_t n = len - fed < piece ? len - fed : piece;
            if (n == 0)
                return e;
            walk_feed(w, p + fed, n);
            fed += n;
        }
    }
    return e;
}

static void every_truncation_is_bad(void **state)
{
    size_t n;
    const struct message *all = schema_all(&n);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        for (int v = all[i].versions.min; v <= all[i].versions.max; v++) {
            gen_message(&gen, &all[i], v, 7);
            size_t len = gen_len(&gen) > 600 ? 600 : gen_len(&gen);
            struct walk w, one;
            for (size_t t = 0; t < len; t++) {
                if (walk_all(&w, &all[i], v, gen_data(&gen), t, t, SIZE_MAX) != WALK_BAD)
                    fail_msg("%s v%d cut to %zu bytes is not bad", all[i].name, v, t);
                assert_int_equal(walk_all(&one, &all[i], v, gen_data(&gen), t, t, 1), WALK_BAD);
                assert_string_equal(w.why, one.why);
                assert_int_equal(w.offset, one.offset);
                /* the same bytes of a longer message only want more */
                assert_int_equal(
                    walk_all(&w, &all[i], v, gen_data(&gen), t, gen_len(&gen), SIZE_MAX),
                    WALK_MORE);
            }
            assert_int_equal(
                walk_all(&w, &all[i], v, gen_data(&gen), gen_len(&gen), gen_len(&gen), SIZE_MAX),
                WALK_DONE);
        }
    }
}

static void left_over_bytes_are_bad(void **state)
{
    struct walk w;

    (void)state;
    gen_message(&gen, fetch_request, 13, 1);
    uint8_t more[GEN_BYTES_MAX / 8] = {0};
    assert_true(gen_len(&gen) < sizeof more);
    memcpy(more, gen_data(&gen), gen_len(&gen));
    assert_int_equal(
        walk_all(&w, fetch_request, 13, more, gen_len(&gen) + 1, gen_len(&gen) + 1, SIZE_MAX),
        WALK_BAD);
    assert_string_equal(w.why, "bytes are left over");
    assert_int_equal(w.offset, gen_len(&gen));
    /* but a span may go on behind the body */
    assert_int_equal(
        walk_all(&w, fetch_request, 13, more, gen_len(&gen) + 9, gen_len(&gen), SIZE_MAX),
        WALK_DONE);
}

/* --- single mistakes ------------------------------------------------------------------------ */

static size_t unhex(const char *hex, uint8_t *out, size_t max)
{
    size_t n = 0;
    unsigned byte;

    for (; *hex; hex++) {
        if (*hex == ' ')
            continue;
        assert_true(n < max && sscanf(hex, "%2x", &byte) == 1);
        out[n++] = (uint8_t)byte;
        hex++;
    }
    return n;
}

/* Walks the hex in pieces of every size up to 8 and demands the same end; NULL means WALK_DONE. */
static void expect(const struct message *m, int version, const char *hex, const char *why)
{
    uint8_t bytes[512];
    size_t n = unhex(hex, bytes, sizeof bytes);
    uint64_t offset = 0;

    for (size_t piece = 1; piece <= 8; piece++) {
        struct walk w;
        enum walk_event e = walk_all(&w, m, version, bytes, n, n, piece == 8 ? SIZE_MAX : piece);

        if (!why) {
            if (e != WALK_DONE)
                fail_msg("%s: %s", hex, e == WALK_BAD ? w.why : "more");
            continue;
        }
        if (e != WALK_BAD)
            fail_msg("%s: was to be bad: %s", hex, why);
        assert_string_equal(w.why, why);
        assert_int_equal(walk_next(&w), WALK_BAD);
        if (piece > 1)
            assert_int_equal(w.offset, offset);
        offset = w.offset;
    }
}

#define TRUNCATED "a value runs past the end of its message or tag"

static void lengths_and_nulls(void **state)
{
    (void)state;
    /* Metadata v1: an array of names, null allowed; then nothing */
    expect(metadata_request, 1, "ffffffff", NULL);
    expect(metadata_request, 0, "ffffffff", "null where null is not legal");
    expect(metadata_request, 1, "fffffffe", "a negative count");
    expect(metadata_request, 1, "80000000", "a negative count");
    expect(metadata_request, 1, "00000001 0001 61", NULL);
    expect(metadata_request, 1, "00000001 ffff 61", "null where null is not legal");
    expect(metadata_request, 1, "00000001 fffe 61", "a negative length");
    expect(metadata_request, 1, "00000001 0002 61",
           "a length runs past the end of its message or tag");
    expect(metadata_request, 1, "00000002 0001 61", "more elements than the bytes that remain");
    expect(metadata_request, 1, "7fffffff 0001 61", "more elements than the bytes that remain");
    expect(metadata_request, 1, "0000", TRUNCATED);
    expect(metadata_request, 1, "", TRUNCATED);
    /* v10: topics (id, nullable name), three bools, tags */
    expect(metadata_request, 10, "00 01 02 ff 00", NULL);
    expect(metadata_request, 10, "02 00000000000000000000000000000000 00 00 00 00 00 00", NULL);
    expect(metadata_request, 9, "02 00 00 00 00 00 00", "null where null is not legal");
    expect(metadata_request, 9, "05 02 61 00 00 00 00 00",
           "more elements than the bytes that remain");
}

static void nulls_of_strings_and_records(void **state)
{
    const struct message *produce = schema_find(0, true), *heartbeat = schema_find(68, true);

    (void)state;
    /* transactional id, acks, timeout, topics */
    expect(produce, 3, "ffff 0001 00000000 00000000", NULL);
    expect(produce, 3, "fffe 0001 00000000 00000000", "a negative length");
    expect(produce, 3, "8000 0001 00000000 00000000", "a negative length");
    expect(produce, 3, "ffff 0001 00000000 ffffffff", "null where null is not legal");
    expect(produce, 3, "ffff 0001 00000000 00000001 0000 00000001 00000000 ffffffff", NULL);
    expect(produce, 3, "ffff 0001 00000000 00000001 0000 00000001 00000000 fffffffe",
           "a negative length");
    /* an array may be null where its elements may not: subscribed topic names */
    expect(heartbeat, 0, "0267 026d 00000001 00 00 00000000 00 00 00 00", NULL);
    expect(heartbeat, 0, "0267 026d 00000001 00 00 00000000 02 0261 00 00 00", NULL);
    expect(heartbeat, 0, "0267 026d 00000001 00 00 00000000 02 00 00 00 00",
           "null where null is not legal");
}

static void offsets_of_mistakes(void **state)
{
    static const struct {
        const char *hex;
        uint64_t offset;
    } cases[] = {
        {"80", 0},
        {"8000 00 00 00 00", 0}, /* the varint itself */
        {"02 8000 00 00 00", 1},
        {"02 80", 1},
        {"02 06 61 00 00 00", 2}, /* behind the length */
        {"05 00 00", 1},
        {"01 00 00 00 01 05 09", 7},
        {"01 00 00 00 00 00", 5},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t piece = 1; piece < 10; piece++) {
            uint8_t bytes[32];
            struct walk w;
            size_t n = unhex(cases[i].hex, bytes, sizeof bytes);
            assert_int_equal(walk_all(&w, metadata_request, 9, bytes, n, n, piece), WALK_BAD);
            assert_int_equal(w.offset, cases[i].offset);
        }
    }
}

/* Asking again without feeding neither moves nor breaks the walk. */
static void more_is_more(void **state)
{
    uint8_t bytes[] = {0, 0, 0, 1, 0, 3, 'a', 'b', 'c'};
    struct walk w;

    (void)state;
    walk_start(&w, metadata_request, 1, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        for (int k = 0; k < 3; k++) {
            enum walk_event e;
            while ((e = walk_next(&w)) != WALK_MORE)
                assert_true(e != WALK_BAD && e != WALK_DONE);
            assert_int_equal(w.offset, i);
        }
        walk_feed(&w, &bytes[i], 1);
    }
    assert_int_equal(walk_next(&w), WALK_STRUCT_OUT);
    assert_int_equal(walk_next(&w), WALK_ARRAY_OUT);
    assert_int_equal(walk_depth(&w), 0);
    assert_int_equal(walk_next(&w), WALK_DONE);
}

static void varints(void **state)
{
    (void)state;
    expect(metadata_request, 9, "8000 00 00 00 00", "a varint is overlong or above 32 bits");
    expect(metadata_request, 9, "80808080808000 00", "a varint is overlong or above 32 bits");
    expect(metadata_request, 9, "ffffffff1f 00 00 00 00", "a varint is overlong or above 32 bits");
    expect(metadata_request, 9, "ffffffff0f 00 00 00 00", "a length or count above 31 bits");
    /* 2^31 - 1 is too long, and no more than that; from there on Kafka's reader sees less than 0 */
    expect(metadata_request, 9, "8080808008 00 00 00 00",
           "more elements than the bytes that remain");
    expect(metadata_request, 9, "8180808008 00 00 00 00", "a length or count above 31 bits");
    expect(metadata_request, 9, "00 00 00 00 ffffffff0f", "a length or count above 31 bits");
    expect(metadata_request, 9, "00 00 00 00 ffffffff07", "more tags than the bytes that remain");
    expect(api_versions_request, 3, "8180808008", "a length or count above 31 bits");
    expect(metadata_request, 9, "80", "a number runs past the end of its message or tag");
    expect(metadata_request, 9, "", "a number runs past the end of its message or tag");
    /* a string of 32767 is the longest, of 32768 too long whether or not it is there */
    expect(api_versions_request, 3, "818002", "a string above 32767 bytes");
    expect(api_versions_request, 3, "808002", "a length runs past the end of its message or tag");
}

static void strings_at_the_limit(void **state)
{
    static uint8_t big[40000];
    struct walk w;

    (void)state;
    memcpy(big, "\x80\x80\x02", 3); /* 32767 */
    big[3 + 32767] = 1;             /* second string: empty; no tags */
    assert_int_equal(walk_all(&w, api_versions_request, 3, big, 32772, 32772, SIZE_MAX), WALK_DONE);
    big[0] = 0x81;
    assert_int_equal(walk_all(&w, api_versions_request, 3, big, 32773, 32773, SIZE_MAX), WALK_BAD);
    assert_string_equal(w.why, "a string above 32767 bytes");
}

static void bools(void **state)
{
    uint8_t bytes[] = {0, 1, 2, 0xff, 0};
    int64_t seen[3] = {-1, -1, -1};
    struct walk w;
    enum walk_event e;
    size_t n = 0;

    (void)state;
    bytes[1] = 0;
    walk_start(&w, metadata_request, 9, sizeof bytes);
    walk_feed(&w, bytes, sizeof bytes);
    while ((e = walk_next(&w)) != WALK_DONE) {
        assert_int_not_equal(e, WALK_BAD);
        if (e == WALK_SCALAR)
            seen[n++] = w.value;
    }
    assert_int_equal(n, 3);
    assert_int_equal(seen[0], 0);
    assert_int_equal(seen[1], 1);
    assert_int_equal(seen[2], 1);
}

/* CreateTopics v5: throttle, topics, tags; in a topic tag 0 is an int16. */
#define TOPIC(count, tags) "00000000 02 0261 0000 00 00000001 0001 01 " count tags " 00"

static void tags(void **state)
{
    (void)state;
    expect(create_response, 5, TOPIC("00", ""), NULL);
    expect(create_response, 5, TOPIC("01", "00 02 0007"), NULL);
    expect(create_response, 5, TOPIC("02", "00 02 0007 05 01 aa"), NULL);
    expect(create_response, 5, TOPIC("02", "05 01 aa 07 00"), NULL);
    expect(create_response, 5, TOPIC("02", "00 02 0007 00 02 0008"), "a tag twice or out of order");
    expect(create_response, 5, TOPIC("02", "05 01 aa 05 01 aa"), "a tag twice or out of order");
    expect(create_response, 5, TOPIC("02", "05 01 aa 00 02 0008"), "a tag twice or out of order");
    expect(create_response, 5, TOPIC("01", "00 03 0007 00"), "a tag's size is not its value's");
    expect(create_response, 5, TOPIC("01", "00 01 00"), TRUNCATED);
    expect(create_response, 5, TOPIC("01", "00 00"), TRUNCATED);
    expect(create_response, 5, TOPIC("01", "05 20 aa"),
           "a tag runs past the end of its message or tag");
    expect(create_response, 5, TOPIC("7f", "00 02 0007"), "more tags than the bytes that remain");
    expect(create_response, 5, TOPIC("01", "8000 02 0007"),
           "a varint is overlong or above 32 bits");
    expect(create_response, 5, TOPIC("01", "ffffffff0f 00"), "a tag above 31 bits");
    expect(create_response, 5, TOPIC("01", "ffffffff07 00"), NULL);
}

/* A tag that lies says nothing of its value, and unknown ones are counted. */
static void tags_that_lie_say_nothing(void **state)
{
    uint8_t bytes[64];
    struct walk w;
    enum walk_event e;
    unsigned events = 0;
    size_t n = unhex(TOPIC("01", "00 03 0007 00"), bytes, sizeof bytes);

    (void)state;
    walk_start(&w, create_response, 5, n);
    walk_feed(&w, bytes, n);
    while ((e = walk_next(&w)) != WALK_BAD) {
        assert_false(e == WALK_SCALAR && w.field->tag >= 0);
        events++;
    }
    assert_true(events > 5);
    n = unhex(TOPIC("02", "05 01 aa 07 00"), bytes, sizeof bytes);
    assert_int_equal(walk_all(&w, create_response, 5, bytes, n, n, SIZE_MAX), WALK_DONE);
    assert_int_equal(w.unknown_tags, 2);
}

/* Fetch v12 answers: a partition with tag 0 (epoch, endOffset), behind it records. */
#define PARTITION(tags)                                                                            \
    "00000000 0000 00000000 02 0261 02 "                                                           \
    "00000000 0000 0000000000000001 0000000000000001 0000000000000000 01 ffffffff 03 aabb " tags   \
    " 00 00"
#define EPOCH "00000001 0000000000000002 00"

static void structs_in_tags(void **state)
{
    (void)state;
    expect(fetch_response, 12, PARTITION("00"), NULL);
    expect(fetch_response, 12, PARTITION("01 00 0d" EPOCH), NULL);
    expect(fetch_response, 12, PARTITION("01 00 0e" EPOCH "00"), "a tag's size is not its value's");
    expect(fetch_response, 12, PARTITION("01 00 0c" EPOCH),
           "a number runs past the end of its message or tag");
    expect(fetch_response, 12,
           PARTITION("01 00 0f 00000001 0000000000000002"
                     "01 05 00"),
           NULL);
    /* an unknown tag inside a tag must not leave it */
    expect(fetch_response, 12,
           PARTITION("01 00 0f 00000001 0000000000000002"
                     "01 05 01 aa"),
           "a tag runs past the end of its message or tag");
}

static void tags_of_another_version(void **state)
{
    (void)state;
    /* Fetch requests: tag 1 of the body (replicaState) is of v15 and above */
    const char *v15 = "00000001 00000000 00000000 00 00000000 ffffffff 01 01 01 "
                      "01 01 0d ffffffff ffffffffffffffff 00";
    const char *v14 = "ffffffff 00000001 00000000 00000000 00 00000000 ffffffff 01 01 01 "
                      "01 01 0d ffffffff ffffffffffffffff 00";
    expect(fetch_request, 15, v15, NULL);
    expect(fetch_request, 14, v14, "a tag that this version does not have");
}

/* ConsumerGroupHeartbeat answers: ... assignment, a nullable struct of an array of (uuid, ints). */
#define HEARTBEAT(assignment) "00000000 0000 00 02 6d 00000001 00000bb8 " assignment " 00"

static void nullable_structs(void **state)
{
    (void)state;
    expect(heartbeat_response, 0, HEARTBEAT("ff"), NULL);
    expect(heartbeat_response, 0, HEARTBEAT("01 01 00"), NULL);
    expect(heartbeat_response, 0,
           HEARTBEAT("01 02 000102030405060708090a0b0c0d0e0f 02 00000003 00 00"), NULL);
    expect(heartbeat_response, 0, HEARTBEAT("00"), "a struct neither null nor there");
    expect(heartbeat_response, 0, HEARTBEAT("02 01 00"), "a struct neither null nor there");
    expect(heartbeat_response, 0, HEARTBEAT("fe"), "a struct neither null nor there");
    /* 21 ids of at least 18 bytes cannot stand in what follows */
    expect(heartbeat_response, 0, HEARTBEAT("01 16 00"),
           "more elements than the bytes that remain");
}

/* Nullable structs in tags and tagged strings, arrays: no message has them all, so a small one. */
static const struct field tiny_inner[] = {
    {"a",
     F_NONE,
     TYPE_INT8,
     ROLE_NONE,
     false,
     -1,
     {0, 0},
     {1, 0},
     {1, 0},
     0,
     NULL,
     false,
     false,
     NULL,
     0},
};
static const struct field tiny_rows[] = {
    {"s",
     F_NONE,
     TYPE_STRUCT,
     ROLE_NONE,
     false,
     0,
     {0, 0},
     {0, 0},
     {0, 0},
     0,
     NULL,
     true,
     false,
     tiny_inner,
     1},
    {"t",
     F_NONE,
     TYPE_STRING,
     ROLE_NONE,
     false,
     1,
     {0, 0},
     {0, 0},
     {0, 0},
     0,
     NULL,
     true,
     false,
     NULL,
     0},
    {"u",
     F_NONE,
     TYPE_INT32,
     ROLE_NONE,
     true,
     2,
     {0, 0},
     {0, 0},
     {0, 0},
     0,
     NULL,
     true,
     false,
     NULL,
     0},
};
static const struct step tiny_inner_steps[] = {
    {&tiny_inner[0], NULL, WIRE_INT8, WIRE_INT8, false, 1, -1},
};
static const struct shape tiny_inner_shape = {tiny_inner_steps, NULL, 1, 0, 2, true, NULL};
static const struct step tiny_steps[] = {
    {&tiny_rows[0], &tiny_inner_shape, WIRE_STRUCT, WIRE_STRUCT, true, 2, 0},
    {&tiny_rows[1], NULL, WIRE_COMPACT_STRING, WIRE_COMPACT_STRING, true, 1, 1},
    {&tiny_rows[2], NULL, WIRE_COMPACT_ARRAY, WIRE_INT32, true, 4, 2},
};
static const struct shape tiny_shape = {NULL, tiny_steps, 0, 3, 1, true, NULL};
static const struct shape *const tiny_shapes[] = {&tiny_shape};
static const struct message tiny = {"TinyRequest", 0, true, {0, 0}, 0, tiny_rows, 3, tiny_shapes};

static void nulls_in_tags(void **state)
{
    (void)state;
    expect(&tiny, 0, "00", NULL);
    expect(&tiny, 0, "01 00 01 00", NULL);
    expect(&tiny, 0, "01 00 03 01 07 00", NULL);
    expect(&tiny, 0, "01 00 03 02 07 00", "a struct neither null nor there");
    expect(&tiny, 0, "01 00 02 00 00", "a tag's size is not its value's");
    expect(&tiny, 0, "01 01 01 00", NULL);
    expect(&tiny, 0, "01 01 02 02 61", NULL);
    expect(&tiny, 0, "01 01 03 02 61 00", "a tag's size is not its value's");
    expect(&tiny, 0, "01 01 01 02 61", "a length runs past the end of its message or tag");
    expect(&tiny, 0, "01 02 01 00", NULL);
    expect(&tiny, 0, "01 02 05 02 00000001", NULL);
    expect(&tiny, 0, "01 02 06 02 00000001 00", "a tag's size is not its value's");
    expect(&tiny, 0, "01 02 01 02 00000001", "more elements than the bytes that remain");
    for (uint64_t seed = 0; seed < 300; seed++) {
        gen_message(&gen, &tiny, 0, seed);
        for (size_t cut = 0; cut < gen_len(&gen); cut++)
            check_matches(&tiny, 0, seed, cut, 0);
    }
}

static void foreign_versions_are_bad(void **state)
{
    struct walk w;

    (void)state;
    walk_start(&w, fetch_request, -1, 10);
    assert_int_equal(walk_next(&w), WALK_BAD);
    walk_start(&w, fetch_request, 19, 10);
    assert_int_equal(walk_next(&w), WALK_BAD);
    assert_int_equal(walk_next(&w), WALK_BAD);
}

/* --- frames as Kafka's own classes (4.3.1) write them ---------------------------------------- */

#include "tests/unit/golden.h"

static void golden_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++)
        expect(schema_find(golden[i].api, golden[i].request), golden[i].version, golden[i].hex,
               NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_whole_and_bytewise),
        cmocka_unit_test(every_split_point),
        cmocka_unit_test(every_truncation_is_bad),
        cmocka_unit_test(left_over_bytes_are_bad),
        cmocka_unit_test(lengths_and_nulls),
        cmocka_unit_test(nulls_of_strings_and_records),
        cmocka_unit_test(offsets_of_mistakes),
        cmocka_unit_test(more_is_more),
        cmocka_unit_test(varints),
        cmocka_unit_test(strings_at_the_limit),
        cmocka_unit_test(bools),
        cmocka_unit_test(tags),
        cmocka_unit_test(tags_that_lie_say_nothing),
        cmocka_unit_test(structs_in_tags),
        cmocka_unit_test(tags_of_another_version),
        cmocka_unit_test(nullable_structs),
        cmocka_unit_test(nulls_in_tags),
        cmocka_unit_test(foreign_versions_are_bad),
        cmocka_unit_test(golden_messages),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
