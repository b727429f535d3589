#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "codec/json.h"

#define LIMIT (1UL << 20)

static struct arena arena;
static struct buf in;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, LIMIT);
    buf_init(&in, LIMIT);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_release(&arena);
    buf_release(&in);
    return 0;
}

static void decode(struct msg *m, int api, bool request, int version, const void *p, size_t n)
{
    assert_int_equal(buf_append(&in, p, n), OK);
    assert_int_equal(msg_decode(m, &arena, schema_find(api, request), version, &in, 0, n, NULL),
                     OK);
}

/* The value, given up, printed with its keys in order of appearance. */
static void assert_json(json_t *got, const char *want)
{
    assert_non_null(got);
    char *text = json_dumps(got, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_non_null(text);
    assert_string_equal(text, want);
    free(text);
    json_decref(got);
}

static void test_produce(void **state)
{
    (void)state;
    static const uint8_t body[] = {
        0xff, 0xff, 0,   1,   0,    0,    0x75, 0x30, 0, 0, 0,
        1,                                                     /* no transaction, acks, timeout */
        0,    2,    't', 'x', 0,    0,    0,    2,             /* topic "tx", two partitions */
        0,    0,    0,   0,   0,    0,    0,    3,    1, 2, 3, /* 0: three bytes of records */
        0,    0,    0,   9,   0xff, 0xff, 0xff, 0xff,          /* 9: null */
    };
    struct msg m;
    decode(&m, 0, true, 3, body, sizeof body);
    assert_json(json_from_msg(&m, 0),
                "{\"transactionalId\":null,\"acks\":1,\"timeoutMs\":30000,\"topicData\":[{"
                "\"name\":\"tx\",\"partitionData\":[{\"index\":0,\"recordsSizeInBytes\":3},"
                "{\"index\":9,\"records\":null}]}]}");
}

static void test_ids_and_tags(void **state)
{
    (void)state;
    /* Fetch 13's answer: one topic by id, one partition, a tagged leader. */
    static const uint8_t body[] = {
        0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    2,    0xff, 0xfe,
        2,    3,    4,    5,    6,    7,    8,    9,    10,   11,   12,   13,   14,
        15,   2,    0,    0,    0,    1,    0,    6,    0,    0,    0,    0,    0,
        0,    0,    5,    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,    0xff, 0xff, 0xff, 0xff, 1,    1,
        1,    9,    0,    0,    0,    2,    0,    0,    0,    8,    0,    0,    0};
    struct msg m;
    decode(&m, 1, false, 13, body, sizeof body);
    assert_json(json_from_msg(&m, 0),
                "{\"throttleTimeMs\":0,\"errorCode\":0,\"sessionId\":0,\"responses\":[{"
                "\"topicId\":\"__4CAwQFBgcICQoLDA0ODw\",\"partitions\":[{\"partitionIndex\":1,"
                "\"errorCode\":6,\"highWatermark\":5,\"lastStableOffset\":-1,"
                "\"logStartOffset\":-1,\"abortedTransactions\":null,"
                "\"preferredReadReplica\":-1,\"recordsSizeInBytes\":0,"
                "\"currentLeader\":{\"leaderId\":2,\"leaderEpoch\":8}}]}]}");
}

static void test_secrets(void **state)
{
    (void)state;
    static const uint8_t body[] = {0, 0, 0, 4, 't', 'o', 'k', 0xff};
    struct msg m;
    decode(&m, 36, true, 1, body, sizeof body);
    assert_json(json_from_msg(&m, 0), "{\"authBytes\":\"<secret>\"}");
    assert_json(json_from_msg(&m, JSON_SECRETS), "{\"authBytes\":\"dG9r/w==\"}");
}

static void test_base64(void **state)
{
    (void)state;
    static const char *want[] = {"\"\"",         "\"Zg==\"",     "\"Zm8=\"",    "\"Zm9v\"",
                                 "\"Zm9vYg==\"", "\"Zm9vYmE=\"", "\"Zm9vYmFy\""};
    for (size_t n = 0; n <= 6; n++)
        assert_json(json_base64((const uint8_t *)"foobar", n), want[n]);
}

static void test_text(void **state)
{
    (void)state;
    assert_json(json_text((const uint8_t *)"a\0b", 3), "\"a\\u0000b\"");
    assert_json(json_text((const uint8_t *)"\xc3\xa4\x80z", 4), "\"\xc3\xa4\xef\xbf\xbdz\"");
    assert_json(json_text((const uint8_t *)"\xe2\x82", 2), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_json(json_text((const uint8_t *)"", 0), "\"\"");
}

static void test_numbers(void **state)
{
    (void)state;
    /* AlterClientQuotas 0: one entry without entity, one op with a value. */
    uint8_t body[] = {0, 0,   0,    1,    0, 0, 0, 0, 0, 0, 0, 1, 0,
                      1, 'k', 0x7f, 0xf8, 0, 0, 0, 0, 0, 0, 1, 0};
    struct msg m;
    decode(&m, 49, true, 0, body, sizeof body);
    assert_json(json_from_msg(&m, 0),
                "{\"entries\":[{\"entity\":[],\"ops\":[{\"key\":\"k\",\"value\":\"NaN\","
                "\"remove\":true}]}],\"validateOnly\":false}");
}

static void test_unknown_tags(void **state)
{
    (void)state;
    /* Metadata 9: topics "a" (no tags) and "b" (tag 4 "xy"); at the end tag 0, empty. */
    static const uint8_t body[] = {3, 2, 'a', 0, 2, 'b', 1, 4, 2, 'x', 'y', 0, 0, 0, 1, 0, 0};
    struct msg m;
    decode(&m, 3, true, 9, body, sizeof body);
    assert_int_equal(m.unknown_tags, 2);
    assert_json(json_unknown_tags(m.schema, 9, body, sizeof body, 0),
                "[{\"in\":\"topics[1]\",\"tag\":4,\"data\":\"eHk=\"},"
                "{\"in\":\"\",\"tag\":0,\"data\":\"\"}]");
    /* Where there are secrets, an unknown tag may be one. */
    static const uint8_t token[] = {2, 'x', 1, 9, 1, 's'};
    assert_json(json_unknown_tags(schema_find(36, true), 2, token, sizeof token, 0),
                "[{\"in\":\"\",\"tag\":9,\"data\":\"<secret>\"}]");
    assert_json(json_unknown_tags(schema_find(36, true), 2, token, sizeof token, JSON_SECRETS),
                "[{\"in\":\"\",\"tag\":9,\"data\":\"cw==\"}]");
    static const uint8_t head[] = {2, 1, 1, 'x', 0x80, 1, 0};
    assert_json(json_header_tags(head, sizeof head),
                "[{\"tag\":1,\"data\":\"eA==\"},{\"tag\":128,\"data\":\"\"}]");
    for (size_t n = 0; n < sizeof head; n++) {
        json_t *cut = json_header_tags(head, n);
        assert_non_null(cut);
        json_decref(cut);
    }
}

static void test_many_tags(void **state)
{
    (void)state;
    enum { TAGS = JSON_TAGS_MAX + 500 };
    static uint8_t body[8 + 4 * TAGS];
    size_t n = 0;
    static const uint8_t heartbeat[] = {1, 0, 0, 0, 0, 1, 0};
    memcpy(body, heartbeat, sizeof heartbeat);
    n += sizeof heartbeat;
    body[n++] = (uint8_t)(TAGS % 128 | 0x80);
    body[n++] = (uint8_t)(TAGS / 128);
    for (unsigned i = 0; i < TAGS; i++) {
        unsigned tag = i + 200;
        body[n++] = (uint8_t)(tag % 128 | 0x80);
        body[n++] = (uint8_t)(tag / 128);
        body[n++] = 0;
    }
    json_t *tags = json_unknown_tags(schema_find(12, true), 4, body, n, 0);
    assert_int_equal(json_array_size(tags), JSON_TAGS_MAX + 1);
    assert_int_equal(
        json_integer_value(json_object_get(json_array_get(tags, JSON_TAGS_MAX), "more")), 500);
    json_decref(tags);
}

static void test_print(void **state)
{
    (void)state;
    json_t *v =
        json_pack("{s:s, s:[{s:i, s:i}, {}], s:[], s:n, s:[i, i]}", "text", "a\x1b[2J\x7f\xc2\x9b",
                  "parts", "errorCode", 29, "index", 1, "none", "null", "list", 1, 2);
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    json_print_text(f, v);
    assert_int_equal(fclose(f), 0);
    assert_string_equal(text, "text: \"a\\u001B[2J\\u007F\\u009B\"\n"
                              "parts:\n"
                              "  - errorCode: 29 TOPIC_AUTHORIZATION_FAILED\n"
                              "    index: 1\n"
                              "  - {}\n"
                              "none: []\n"
                              "null: null\n"
                              "list:\n"
                              "  - 1\n"
                              "  - 2\n");
    free(text);
    json_decref(v);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_produce),      TEST(test_ids_and_tags), TEST(test_secrets),
        TEST(test_base64),       TEST(test_text),         TEST(test_numbers),
        TEST(test_unknown_tags), TEST(test_many_tags),    TEST(test_print),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_thread_trim();
    return failed;
}
