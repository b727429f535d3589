#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "codec/reply.h"
#include "tests/unit/refusals.h"

#define LIMIT (64UL << 20)

static struct arena arena;
static struct buf in; /* what requests are decoded from */

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

static void unhex(const char *s, struct buf *out)
{
    for (; *s; s += 2) {
        char pair[3] = {s[0], s[1], '\0'};
        uint8_t b = (uint8_t)strtoul(pair, NULL, 16);
        assert_int_equal(buf_append(out, &b, 1), OK);
    }
}

/* A tree as it comes from the wire: encoded and decoded. */
static void through_wire(struct msg *m)
{
    struct msg copy = *m;
    size_t at = in.len;
    assert_int_equal(msg_encode(&copy, &in), OK);
    assert_int_equal(msg_decode(m, &arena, copy.schema, copy.version, &in, at, in.len - at, NULL),
                     OK);
}

static void assert_hex(const struct msg *m, const char *hex)
{
    struct buf out;
    buf_init(&out, LIMIT);
    assert_int_equal(msg_encode(m, &out), OK);
    char *text = calloc(1, 2 * out.len + 1);
    assert_non_null(text);
    for (size_t i = 0; i < out.len; i++) {
        uint8_t b;
        buf_copy_out(&out, i, &b, 1);
        (void)snprintf(text + 2 * i, 3, "%02x", b);
    }
    assert_string_equal(text, hex);
    free(text);
    buf_release(&out);
}

static void test_as_kafka(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct msg request, reply;
        size_t at = in.len;
        unhex(refusals[i].request, &in);
        assert_int_equal(msg_decode(&request, &arena, schema_find(refusals[i].api, true),
                                    refusals[i].version, &in, at, in.len - at, NULL),
                         OK);
        assert_int_equal(reply_error(&reply, &arena, &request, refusals[i].code), OK);
        assert_hex(&reply, refusals[i].response);
    }
}

/* In every version of every API there is an answer that can be read. */
static void test_every_version(void **state)
{
    (void)state;
    size_t count;
    const struct message *all = schema_all(&count);
    for (size_t i = 0; i < count; i++) {
        if (!all[i].request)
            continue;
        for (int v = all[i].versions.min; v <= all[i].versions.max; v++) {
            struct msg request, reply;
            assert_int_equal(msg_new(&request, &arena, &all[i], v), OK);
            assert_int_equal(reply_new(&reply, &arena, &request), OK);
            assert_int_equal(reply_error(&reply, &arena, &request, 31), OK);
            through_wire(&reply);
            assert_int_equal(reply.unknown_tags, 0);
        }
    }
}

/* An API without a row of its own: what its answers look like follows from the schema's roles. */
static void test_from_roles(void **state)
{
    (void)state;
    struct msg request, reply;
    struct reply_list list;
    /* ShareGroupDescribe: no error at the top, so each group has it. */
    assert_int_equal(msg_new(&request, &arena, schema_find(77, true), 1), OK);
    struct node *ids = node_get(request.root, F_GROUP_IDS);
    assert_int_equal(array_add_str(&request, ids, (const uint8_t *)"a", 1), OK);
    assert_int_equal(array_add_str(&request, ids, (const uint8_t *)"b", 1), OK);
    assert_int_equal(reply_error(&reply, &arena, &request, 30), OK);
    through_wire(&reply);
    struct node *groups = node_get(reply.root, F_GROUPS);
    assert_int_equal(groups->count, 2);
    assert_true(node_str_is(node_get(groups->last, F_GROUP_ID), "b"));
    assert_int_equal(node_num(groups->last, F_ERROR_CODE, 0), 30);
    /* ShareAcknowledge: the whole has an error of its own; a topic refused alone is listed. */
    static const uint8_t id[16] = {7};
    assert_int_equal(msg_new(&request, &arena, schema_find(79, true), 1), OK);
    struct node *t = array_add(&request, node_get(request.root, F_TOPICS));
    assert_int_equal(node_set_uuid(&request, t, F_TOPIC_ID, id), OK);
    struct node *p = array_add(&request, node_get(t, F_PARTITIONS));
    assert_int_equal(node_set_num(&request, p, F_PARTITION_INDEX, 3), OK);
    assert_int_equal(reply_error(&reply, &arena, &request, 30), OK);
    assert_int_equal(node_num(reply.root, F_ERROR_CODE, 0), 30);
    assert_int_equal(node_get(reply.root, F_RESPONSES)->count, 0);
    assert_int_equal(reply_new(&reply, &arena, &request), OK);
    assert_int_equal(reply_list_init(&list, &reply, NULL), OK);
    assert_int_equal(reply_add_topic(&list, t, 100, NULL), OK);
    through_wire(&reply);
    t = node_get(reply.root, F_RESPONSES)->child;
    p = node_get(t, F_PARTITIONS)->child;
    assert_memory_equal(node_get(t, F_TOPIC_ID)->u.uuid, id, 16);
    assert_int_equal(node_num(p, F_PARTITION_INDEX, 0), 3);
    assert_int_equal(node_num(p, F_ERROR_CODE, 0), 100);
    /* LeaveGroup has neither topics nor groups to list. */
    assert_int_equal(msg_new(&request, &arena, schema_find(13, true), 4), OK);
    assert_int_equal(reply_new(&reply, &arena, &request), OK);
    assert_int_equal(reply_list_init(&list, &reply, NULL), ERR_UNKNOWN);
    assert_int_equal(reply_add_item(&reply, request.root, 30, NULL), ERR_UNKNOWN);
}

static struct node *add_topic(struct msg *m, enum field_name topics, const char *name)
{
    struct node *t = array_add(m, node_get(m->root, topics));
    assert_non_null(t);
    assert_int_equal(node_set_text(m, t, F_NAME, name), OK);
    assert_int_equal(node_set_text(m, t, F_TOPIC, name), OK);
    return t;
}

static void add_partition(struct msg *m, struct node *topic, int index)
{
    struct node *p = array_add(m, node_get(topic, F_PARTITIONS));
    assert_non_null(p);
    assert_int_equal(node_set_num(m, p, F_PARTITION, index), OK);
    assert_int_equal(node_set_num(m, p, F_PARTITION_INDEX, index), OK);
}

/* A broker's answer has one topic; two more of the request were refused, one of them in a
 * partition of the topic that is there. */
static void test_appended(void **state)
{
    (void)state;
    struct msg request, reply;
    struct reply_list list;
    struct node *added, *again;
    assert_int_equal(msg_new(&request, &arena, schema_find(1, true), 11), OK);
    struct node *mine = add_topic(&request, F_TOPICS, "mine");
    add_partition(&request, mine, 0);
    add_partition(&request, mine, 1);
    struct node *other = add_topic(&request, F_TOPICS, "other");
    add_partition(&request, other, 7);
    through_wire(&request);
    mine = node_get(request.root, F_TOPICS)->child;
    other = mine->next;

    assert_int_equal(reply_new(&reply, &arena, &request), OK);
    assert_int_equal(reply_list_init(&list, &reply, NULL), OK);
    struct node *parts = node_get(mine, F_PARTITIONS);
    assert_int_equal(reply_add_partition(&list, mine, parts->child, 0, &added), OK);
    assert_int_equal(node_set_num(&reply, added, F_HIGH_WATERMARK, 55), OK);
    through_wire(&reply);

    assert_int_equal(reply_list_init(&list, &reply, NULL), OK);
    assert_null(reply_find_topic(&list, other));
    assert_int_equal(reply_add_topic(&list, other, 29, &added), OK);
    assert_ptr_equal(reply_find_topic(&list, other), added);
    assert_int_equal(reply_add_partition(&list, mine, parts->child->next, 29, &again), OK);
    assert_int_equal(list.topics->count, 2);
    struct node *t = list.topics->child;
    assert_true(node_str_is(node_get(t, F_TOPIC), "mine"));
    assert_int_equal(node_get(t, F_PARTITIONS)->count, 2);
    struct node *p = node_get(t, F_PARTITIONS)->child;
    assert_int_equal(node_num(p, F_HIGH_WATERMARK, 0), 55);
    assert_int_equal(node_num(p, F_ERROR_CODE, 99), 0);
    p = p->next;
    assert_int_equal(node_num(p, F_PARTITION_INDEX, 0), 1);
    assert_int_equal(node_num(p, F_ERROR_CODE, 0), 29);
    assert_int_equal(node_num(p, F_HIGH_WATERMARK, 0), -1);
    assert_int_equal(node_num(p, F_LAST_STABLE_OFFSET, 0), -1);
    assert_int_equal(node_num(p, F_LOG_START_OFFSET, 0), -1);
    assert_int_equal(node_num(p, F_PREFERRED_READ_REPLICA, 0), -1);
    assert_false(node_get(p, F_RECORDS)->null);
    assert_false(node_get(p, F_ABORTED_TRANSACTIONS)->null);
    p = node_get(t->next, F_PARTITIONS)->child;
    assert_int_equal(node_num(p, F_PARTITION_INDEX, 0), 7);
    assert_int_equal(node_num(p, F_ERROR_CODE, 0), 29);
    assert_int_equal(node_num(reply.root, F_ERROR_CODE, 99), 0);
    through_wire(&reply);
}

/* Answers of two brokers, one of which lists a topic twice: each topic comes once. */
static void test_joined(void **state)
{
    (void)state;
    struct msg one, two;
    struct reply_list list;
    const struct message *schema = schema_find(2, false);
    assert_int_equal(msg_new(&one, &arena, schema, 5), OK);
    assert_int_equal(msg_new(&two, &arena, schema, 5), OK);
    add_partition(&one, add_topic(&one, F_TOPICS, "a"), 0);
    add_partition(&one, add_topic(&one, F_TOPICS, "b"), 1);
    add_partition(&one, add_topic(&one, F_TOPICS, "a"), 2);
    add_partition(&two, add_topic(&two, F_TOPICS, "c"), 3);
    add_partition(&two, add_topic(&two, F_TOPICS, "a"), 4);
    through_wire(&one);
    through_wire(&two);
    assert_int_equal(reply_list_init(&list, &one, NULL), OK);
    assert_int_equal(list.topics->count, 2);
    struct node *from = node_get(two.root, F_TOPICS);
    while (from->child) {
        struct node *t = from->child;
        array_take(from, NULL, t);
        assert_int_equal(reply_take(&list, t), OK);
    }
    assert_int_equal(list.topics->count, 3);
    static const char *names[] = {"a", "b", "c"};
    static const unsigned counts[] = {3, 1, 1};
    struct node *t = list.topics->child;
    for (int i = 0; i < 3; i++, t = t->next) {
        assert_true(node_str_is(node_get(t, F_NAME), names[i]));
        assert_int_equal(node_get(t, F_PARTITIONS)->count, counts[i]);
    }
    struct node *p = node_get(list.topics->child, F_PARTITIONS)->child;
    assert_int_equal(node_num(p, F_PARTITION_INDEX, 9), 0);
    assert_int_equal(node_num(p->next, F_PARTITION_INDEX, 9), 2);
    assert_int_equal(node_num(p->next->next, F_PARTITION_INDEX, 9), 4);
    through_wire(&one);
}

/* Many topics, with names that begin alike, in any order, each twice: found by name, once. */
static void test_index(void **state)
{
    (void)state;
    enum { TOPICS = 3000 };
    struct msg request, reply;
    struct reply_list list;
    assert_int_equal(msg_new(&request, &arena, schema_find(2, true), 5), OK);
    uint32_t seed = 1;
    for (int i = 0; i < 2 * TOPICS; i++) {
        char name[64];
        seed = seed * 1664525 + 1013904223;
        int k = i < TOPICS ? i : (int)(seed >> 8) % TOPICS;
        int len = snprintf(name, sizeof name, "%0*d", 1 + k % 40, k);
        assert_true(len > 0);
        struct node *t = add_topic(&request, F_TOPICS, k == 17 ? "" : name);
        add_partition(&request, t, i);
    }
    assert_int_equal(reply_error(&reply, &arena, &request, 29), OK);
    unsigned distinct = node_get(reply.root, F_TOPICS)->count;
    assert_true(distinct <= TOPICS && distinct > TOPICS * 9 / 10);
    assert_int_equal(reply_list_init(&list, &reply, NULL), OK);
    assert_int_equal(list.topics->count, distinct);
    ARRAY_EACH (t, node_get(request.root, F_TOPICS)) {
        struct node *found = reply_find_topic(&list, t);
        assert_non_null(found);
        assert_true(node_str_eq(node_get(found, F_NAME), node_get(t, F_NAME)));
    }
    struct msg stranger;
    assert_int_equal(msg_new(&stranger, &arena, schema_find(2, true), 5), OK);
    assert_null(reply_find_topic(&list, add_topic(&stranger, F_TOPICS, "0x")));
    assert_null(reply_find_topic(&list, add_topic(&stranger, F_TOPICS, "11111111111111111111")));
}

static void test_by_id(void **state)
{
    (void)state;
    static const uint8_t ids[2][16] = {{1, 2, 3}, {1, 2, 4}};
    struct msg request, reply;
    struct reply_list list;
    struct node *added;
    assert_int_equal(msg_new(&request, &arena, schema_find(1, true), 13), OK);
    for (int i = 0; i < 2; i++) {
        struct node *t = array_add(&request, node_get(request.root, F_TOPICS));
        assert_non_null(t);
        assert_int_equal(node_set_uuid(&request, t, F_TOPIC_ID, ids[i]), OK);
        add_partition(&request, t, i);
    }
    through_wire(&request);
    assert_int_equal(reply_new(&reply, &arena, &request), OK);
    assert_int_equal(reply_list_init(&list, &reply, NULL), OK);
    ARRAY_EACH (t, node_get(request.root, F_TOPICS)) {
        assert_int_equal(reply_add_topic(&list, t, KAFKA_UNKNOWN_TOPIC_ID, &added), OK);
        assert_true(node_str_eq(node_get(added, F_TOPIC_ID), node_get(t, F_TOPIC_ID)));
    }
    assert_int_equal(list.topics->count, 2);
    through_wire(&reply);
}

static void test_metadata(void **state)
{
    (void)state;
    static const uint8_t id[16] = {9};
    struct msg request, reply;
    struct reply_list list;
    struct node *added;
    assert_int_equal(msg_new(&request, &arena, schema_find(3, true), 12), OK);
    assert_non_null(node_array(&request, request.root, F_TOPICS));
    struct node *named = add_topic(&request, F_TOPICS, "secret");
    struct node *by_id = array_add(&request, node_get(request.root, F_TOPICS));
    assert_int_equal(node_set_null(&request, by_id, F_NAME), OK);
    assert_int_equal(node_set_uuid(&request, by_id, F_TOPIC_ID, id), OK);
    assert_int_equal(reply_new(&reply, &arena, &request), OK);
    assert_int_equal(reply_list_init(&list, &reply, NULL), OK);
    assert_int_equal(reply_add_topic(&list, named, 29, &added), OK);
    assert_int_equal(node_num(added, F_ERROR_CODE, 0), 29);
    assert_true(node_str_is(node_get(added, F_NAME), "secret"));
    assert_int_equal(node_num(added, F_TOPIC_AUTHORIZED_OPERATIONS, 0), INT32_MIN);
    assert_int_equal(node_get(added, F_PARTITIONS)->count, 0);
    assert_int_equal(reply_add_topic(&list, by_id, 100, &added), OK);
    assert_true(node_get(added, F_NAME)->null);
    assert_true(node_str_eq(node_get(added, F_TOPIC_ID), node_get(by_id, F_TOPIC_ID)));
    assert_int_equal(reply_add_partition(&list, by_id, NULL, 100, NULL), ERR_UNKNOWN);
    through_wire(&reply);
    /* The whole request refused: Kafka writes "" there. */
    assert_int_equal(reply_error(&reply, &arena, &request, 31), OK);
    assert_true(node_str_is(node_get(node_get(reply.root, F_TOPICS)->last, F_NAME), ""));
}

static void test_items(void **state)
{
    (void)state;
    struct msg request, reply;
    struct node *added;
    assert_int_equal(msg_new(&request, &arena, schema_find(10, true), 4), OK);
    struct node *keys = node_array(&request, request.root, F_COORDINATOR_KEYS);
    assert_int_equal(array_add_str(&request, keys, (const uint8_t *)"g1", 2), OK);
    assert_int_equal(reply_new(&reply, &arena, &request), OK);
    assert_int_equal(reply_add_item(&reply, keys->child, 30, &added), OK);
    /* throttle, one coordinator: key, node -1, host "", port -1, 30, text "" (not null) */
    assert_hex(&reply, "00000000"
                       "02"
                       "036731"
                       "ffffffff"
                       "01"
                       "ffffffff"
                       "001e"
                       "01"
                       "00"
                       "00");

    assert_int_equal(msg_new(&request, &arena, schema_find(32, true), 4), OK);
    struct node *r = array_add(&request, node_get(request.root, F_RESOURCES));
    assert_int_equal(node_set_num(&request, r, F_RESOURCE_TYPE, 2), OK);
    assert_int_equal(node_set_text(&request, r, F_RESOURCE_NAME, "t"), OK);
    assert_int_equal(reply_new(&reply, &arena, &request), OK);
    assert_int_equal(reply_add_item(&reply, r, 29, &added), OK);
    assert_true(node_str_is(node_get(added, F_ERROR_MESSAGE), "Topic authorization failed."));
    assert_int_equal(node_num(added, F_RESOURCE_TYPE, 0), 2);
    through_wire(&reply);

    assert_int_equal(msg_new(&request, &arena, schema_find(12, true), 4), OK);
    assert_int_equal(reply_new(&reply, &arena, &request), OK);
    assert_int_equal(reply_add_item(&reply, request.root, 30, NULL), ERR_UNKNOWN);
    struct reply_list list;
    assert_int_equal(reply_list_init(&list, &reply, NULL), ERR_UNKNOWN);
}

/* OffsetFetch 8: a group that is granted, with a topic of it that is not. */
static void test_offset_fetch_groups(void **state)
{
    (void)state;
    struct msg request, reply;
    struct reply_list list;
    struct node *group, *part;
    assert_int_equal(msg_new(&request, &arena, schema_find(9, true), 8), OK);
    struct node *g = array_add(&request, node_get(request.root, F_GROUPS));
    assert_int_equal(node_set_text(&request, g, F_GROUP_ID, "bob-1"), OK);
    struct node *topics = node_array(&request, g, F_TOPICS);
    struct node *t = array_add(&request, topics);
    assert_int_equal(node_set_text(&request, t, F_NAME, "foreign"), OK);
    assert_int_equal(array_add_num(&request, node_get(t, F_PARTITION_INDEXES), 5), OK);
    assert_int_equal(reply_new(&reply, &arena, &request), OK);
    assert_int_equal(reply_list_init(&list, &reply, NULL), ERR_UNKNOWN);
    assert_int_equal(reply_add_item(&reply, g, 0, &group), OK);
    assert_int_equal(reply_list_init(&list, &reply, group), OK);
    assert_int_equal(
        reply_add_partition(&list, t, node_get(t, F_PARTITION_INDEXES)->child, 29, &part), OK);
    assert_int_equal(node_num(part, F_COMMITTED_OFFSET, 0), -1);
    assert_int_equal(node_num(part, F_COMMITTED_LEADER_EPOCH, 0), -1);
    assert_int_equal(node_num(part, F_PARTITION_INDEX, 0), 5);
    assert_true(node_str_is(node_get(part, F_METADATA), ""));
    assert_true(node_str_is(node_get(group, F_GROUP_ID), "bob-1"));
    through_wire(&reply);
}

static void test_unsupported_version(void **state)
{
    (void)state;
    struct msg reply;
    assert_int_equal(reply_unsupported_version(&reply, &arena, 0, 4), OK);
    assert_hex(&reply, "0023"
                       "00000001"
                       "0012"
                       "0000"
                       "0004");
}

static void test_small_arena(void **state)
{
    (void)state;
    struct msg request, reply;
    assert_int_equal(msg_new(&request, &arena, schema_find(2, true), 5), OK);
    for (int i = 0; i < 5; i++)
        add_partition(&request, add_topic(&request, F_TOPICS, i & 1 ? "odd" : "even"), i);
    int err = ERR_LIMIT;
    for (size_t limit = 16; err; limit += 40) {
        struct arena small;
        arena_init(&small, limit);
        err = reply_error(&reply, &small, &request, 29);
        assert_true(err == OK || err == ERR_LIMIT);
        arena_release(&small);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(kafka_error_name(29), "TOPIC_AUTHORIZATION_FAILED");
    assert_string_equal(kafka_error_text(30), "Group authorization failed.");
    assert_string_equal(kafka_error_name(-1), "UNKNOWN_SERVER_ERROR");
    assert_string_equal(kafka_error_name(133), "SHARE_SESSION_LIMIT_REACHED");
    assert_null(kafka_error_name(-2));
    assert_null(kafka_error_name(134));
    assert_null(kafka_error_text(INT16_MIN));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_as_kafka),
        TEST(test_every_version),
        TEST(test_from_roles),
        TEST(test_appended),
        TEST(test_joined),
        TEST(test_index),
        TEST(test_by_id),
        TEST(test_metadata),
        TEST(test_items),
        TEST(test_offset_fetch_groups),
        TEST(test_unsupported_version),
        TEST(test_small_arena),
        TEST(test_names),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_thread_trim();
    return failed;
}
