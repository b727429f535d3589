#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "codec/leaks.h"

/* --- bytes of answers */

static uint8_t body[1024];
static size_t len;

static void num(int64_t v, unsigned bytes)
{
    for (unsigned i = bytes; i > 0; i--)
        body[len++] = (uint8_t)((uint64_t)v >> (8 * (i - 1)));
}

static void text(const char *s)
{
    num(s ? (int64_t)strlen(s) : -1, 2);
    if (s)
        memcpy(body + len, s, strlen(s));
    len += s ? strlen(s) : 0;
}

struct metadata {
    int node, port, controller, leader, replica;
    const char *host, *rack, *cluster, *topic;
};

static const struct metadata clean = {0, 9093, 0, 0, 0, "gate", NULL, "sluice", "parts"};

/* Metadata 2: one broker, one topic of one partition. */
static void metadata(const struct metadata *m)
{
    len = 0;
    num(1, 4);
    num(m->node, 4);
    text(m->host);
    num(m->port, 4);
    text(m->rack);
    text(m->cluster);
    num(m->controller, 4);
    num(1, 4);
    num(0, 2);
    text(m->topic);
    num(0, 1);
    num(1, 4);
    num(0, 2);
    num(0, 4);
    num(m->leader, 4);
    num(2, 4);
    num(m->replica, 4);
    num(0, 4);
    num(0, 4);
}

/* --- what is found */

static char found[512];

static void note(void *arg, const struct leak *l)
{
    size_t used = strlen(found);

    (void)arg;
    snprintf(found + used, sizeof(found) - used, "%s%s=", used ? " " : "",
             l->field ? l->field->name : "tag");
    used = strlen(found);
    if (l->text)
        snprintf(found + used, sizeof(found) - used, "%.*s", (int)l->len, (const char *)l->text);
    else
        snprintf(found + used, sizeof(found) - used, "%lld", (long long)l->value);
    assert_non_null(l->why);
    assert_true(l->offset <= len);
}

static bool granted(void *arg, const uint8_t *name, size_t n)
{
    return strlen(arg) == n && memcmp(arg, name, n) == 0;
}

static bool prefixed(void *arg, const uint8_t *id, size_t n)
{
    (void)arg;
    return n >= 3 && memcmp(id, "bob", 3) == 0;
}

static bool ours(void *arg, const uint8_t *words, size_t n)
{
    (void)arg;
    return n == 4 && memcmp(words, "ours", 4) == 0;
}

static const char *const hosts[] = {"gate", "other"};
static const int32_t ports[] = {9093, 9094};

static int find_n(int api, int version, size_t n)
{
    const struct leaks_view view = {.hosts = hosts,
                                    .ports = ports,
                                    .naddresses = 2,
                                    .cluster = "sluice",
                                    .topic = granted,
                                    .group = prefixed,
                                    .text = ours,
                                    .arg = (void *)(uintptr_t) "parts"};

    found[0] = '\0';
    return leaks_find(schema_find(api, false), version, body, n, &view, note, NULL);
}

static const char *find(int api, int version)
{
    assert_int_equal(find_n(api, version, len), OK);
    return found;
}

/* --- tests */

static void clean_answers(void **state)
{
    struct metadata m = clean;

    (void)state;
    metadata(&m);
    assert_string_equal(find(3, 2), "");
    m.host = "other";
    m.port = 9094;
    m.rack = "";
    m.controller = m.leader = -1;
    metadata(&m);
    assert_string_equal(find(3, 2), "");
}

static void each_role(void **state)
{
    static const struct {
        struct metadata m;
        const char *want;
    } rows[] = {
        {{3, 9093, 0, 0, 0, "gate", NULL, "sluice", "parts"}, "nodeId=3"},
        {{0, 9092, 0, 0, 0, "gate", NULL, "sluice", "parts"}, "port=9092"},
        {{0, 9093, 2, 0, 0, "gate", NULL, "sluice", "parts"}, "controllerId=2"},
        {{0, 9093, 0, 1, 0, "gate", NULL, "sluice", "parts"}, "leaderId=1"},
        {{0, 9093, 0, 0, 7, "gate", NULL, "sluice", "parts"}, "replicaNodes=7"},
        {{0, 9093, 0, 0, 0, "gate.", NULL, "sluice", "parts"}, "host=gate."},
        {{0, 9093, 0, 0, 0, "gate", "rack-a", "sluice", "parts"}, "rack=rack-a"},
        {{0, 9093, 0, 0, 0, "gate", NULL, "Mk3", "parts"}, "clusterId=Mk3"},
        {{0, 9093, 0, 0, 0, "gate", NULL, "sluice", "prices"}, "name=prices"},
        {{1, 1, 1, 1, 1, "a", "b", "c", "d"},
         "nodeId=1 host=a port=1 rack=b clusterId=c controllerId=1 name=d leaderId=1 "
         "replicaNodes=1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        metadata(&rows[i].m);
        assert_string_equal(find(3, 2), rows[i].want);
    }
}

static void every_cut(void **state)
{
    (void)state;
    metadata(&clean);
    for (size_t n = 0; n < len; n++)
        assert_int_equal(find_n(3, 2, n), ERR_MALFORMED);
    body[len++] = 0;
    assert_int_equal(find_n(3, 2, len), ERR_MALFORMED);
    assert_int_equal(find_n(3, 999, len), ERR_MALFORMED);
}

/* FindCoordinator 1: throttle, error, message, node, host, port. */
static void coordinator(const char *message)
{
    len = 0;
    num(0, 4);
    num(15, 2);
    text(message);
    num(-1, 4);
    text("");
    num(-1, 4);
}

static void words(void **state)
{
    (void)state;
    coordinator(NULL);
    assert_string_equal(find(10, 1), "");
    coordinator("The coordinator is not available.");
    assert_string_equal(find(10, 1), "");
    coordinator("ours");
    assert_string_equal(find(10, 1), "");
    coordinator("broker 10.0.0.3:9092 is down");
    assert_string_equal(find(10, 1), "errorMessage=broker 10.0.0.3:9092 is down");
}

/* ConsumerGroupDescribe 0: one group, one member. */
struct member {
    const char *group, *rack, *host, *topic, *pattern, *assigned, *target;
};

static void compact(const char *s)
{
    num(s ? (int64_t)strlen(s) + 1 : 0, 1);
    if (s)
        memcpy(body + len, s, strlen(s));
    len += s ? strlen(s) : 0;
}

static void assignment(const char *topic)
{
    num(2, 1); /* one topic */
    num(0, 8);
    num(0, 8);
    compact(topic);
    num(1, 1); /* no partitions */
    num(0, 2); /* no tags, twice */
}

static void described(const struct member *m)
{
    len = 0;
    num(0, 4);
    num(2, 1);
    num(0, 2);
    compact(NULL);
    compact(m->group);
    compact("Stable");
    num(0, 8);
    compact("uniform");
    num(2, 1);
    compact("member");
    compact(NULL);
    compact(m->rack);
    num(0, 4);
    compact("client");
    compact(m->host);
    num(2, 1);
    compact(m->topic);
    compact(m->pattern);
    assignment(m->assigned);
    assignment(m->target);
    num(0, 1);
    num(0, 4);
    num(0, 2);
}

/* What is told of a group's members. */
static void members(void **state)
{
    static const struct {
        struct member m;
        const char *want;
    } rows[] = {
        {{"bob-1", NULL, "", "parts", NULL, "parts", "parts"}, ""},
        {{"bob-1", "", "gate", "parts", "", "parts", "parts"}, ""},
        {{"eve-1", NULL, "", "parts", NULL, "parts", "parts"}, "groupId=eve-1"},
        {{"Bob-1", NULL, "", "parts", NULL, "parts", "parts"}, "groupId=Bob-1"},
        {{"bob-1", "rack-a", "", "parts", NULL, "parts", "parts"}, "rackId=rack-a"},
        {{"bob-1", NULL, "/10.0.0.9", "parts", NULL, "parts", "parts"}, "clientHost=/10.0.0.9"},
        {{"bob-1", NULL, "", "prices", NULL, "parts", "parts"}, "subscribedTopicNames=prices"},
        {{"bob-1", NULL, "", "parts", "p.*", "parts", "parts"}, "subscribedTopicRegex=p.*"},
        {{"bob-1", NULL, "", "parts", NULL, "prices", "parts"}, "topicName=prices"},
        {{"bob-1", NULL, "", "parts", NULL, "parts", "prices"}, "topicName=prices"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        described(&rows[i].m);
        assert_string_equal(find(69, 0), rows[i].want);
    }
}

/* ListTransactions 0: one state. */
static void transactional_ids(void **state)
{
    (void)state;
    for (int foreign = 0; foreign < 2; foreign++) {
        len = 0;
        num(0, 4);
        num(0, 2);
        num(1, 1); /* no unknown states */
        num(2, 1);
        compact(foreign ? "eve-t" : "bob-t");
        num(0, 8);
        compact("Ongoing");
        num(0, 2);
        assert_string_equal(find(66, 0), foreign ? "transactionalId=eve-t" : "");
    }
}

/* Produce 10: leaders and addresses in tags that are known (KIP-951). */
static void known_tags(void **state)
{
    static const uint8_t leader[] = {/* tag 0 of 9 bytes: leader 7, epoch 1, no tags */
                                     1, 0, 9, 0, 0, 0, 7, 0, 0, 0, 1, 0};

    (void)state;
    len = 0;
    num(2, 1);
    compact("parts");
    num(2, 1);
    num(0, 4); /* partition */
    num(0, 2);
    num(0, 8);
    num(-1, 8);
    num(0, 8);
    num(1, 1);
    compact(NULL);
    memcpy(body + len, leader, sizeof(leader));
    len += sizeof(leader);
    num(0, 1);
    num(0, 4); /* throttle */
    num(1, 1);
    num(0, 1); /* tag 0: one node */
    num(16, 1);
    num(2, 1);
    num(7, 4);
    compact("b1");
    num(9092, 4);
    compact("r1");
    num(0, 1);
    assert_string_equal(find(0, 10), "leaderId=7 nodeId=7 host=b1 port=9092 rack=r1");
}

/* Heartbeat 4: throttle, error, tags: number 5 with two bytes. */
static void unknown_tags(void **state)
{
    static const uint8_t answer[] = {0, 0, 0, 0, 0, 0, 1, 5, 2, 'h', 'i'};

    (void)state;
    memcpy(body, answer, len = sizeof(answer));
    assert_string_equal(find(12, 4), "tag=hi");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clean_answers),     cmocka_unit_test(each_role),
        cmocka_unit_test(every_cut),         cmocka_unit_test(words),
        cmocka_unit_test(unknown_tags),      cmocka_unit_test(members),
        cmocka_unit_test(transactional_ids), cmocka_unit_test(known_tags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
