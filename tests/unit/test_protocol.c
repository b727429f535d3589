/* The example of docs/protocol.md: two lines in the table of APIs, and the gate serves members of
 * share groups. Nothing else was written for them but their schema texts. */
#include "tests/unit/unit.h"

#include "proxy/api.h"

/* The gate's own table under other names, so that this program's stands in its place. */
static const struct api_rule *own_find(int api);
static const struct api_rule *own_all(size_t *count);
#define api_find own_find
#define api_all  own_all
#include "proxy/api.c" /* NOLINT(bugprone-suspicious-include) */
#undef api_find
#undef api_all

#include "tests/unit/gate_bed.h"

static struct api_rule all[64];
static size_t count;

/* clang-format off */
static const struct api_rule share[] = {
    { 76, { 1,  1},   1, ROUTE_GROUP,  TOPIC_DESCRIBE, OP_READ,        NONE,                    NONE,                NONE,            NONE,                               NONE,                   NONE},
    { 77, { 1,  1},   1, ROUTE_GROUP,  TOPIC_DESCRIBE, GROUP_DESCRIBE, NONE,                    NONE,                F_GROUP_IDS,     NONE,                               NONE,                   F_GROUPS},
};
/* clang-format on */

const struct api_rule *api_all(size_t *n)
{
    const struct api_rule *own = own_all(n);
    for (count = 0; count < *n; count++)
        all[count] = own[count];
    all[count++] = share[0];
    all[count++] = share[1];
    *n = count;
    return all;
}

const struct api_rule *api_find(int api)
{
    return api == 76 ? &share[0] : api == 77 ? &share[1] : own_find(api);
}

static struct client c;

static void offered(void **state)
{
    bool found[2] = {false, false};
    size_t i;
    json_t *key;
    (void)state;
    login(&c, "\"read\"");
    ask(&c, 18, 3, "{'clientSoftwareName':'test','clientSoftwareVersion':'1'}");
    json_t *j = answer(&c);
    json_array_foreach(json_object_get(j, "apiKeys"), i, key)
    {
        json_int_t api = json_integer_value(json_object_get(key, "apiKey"));
        if (api == 76 || api == 77)
            found[api - 76] = json_integer_value(json_object_get(key, "minVersion")) == 1;
    }
    assert_true(found[0] && found[1]);
    json_decref(j);
    client_close(&c);
}

/* The group by its prefix, the topics by the grant, the rack gone, the assignment cut. */
static void heartbeat(void **state)
{
    (void)state;
    login(&c, "\"read\"");
    ask(&c, 76, 1,
        "{'groupId':'bob2','memberId':'m','rackId':'cellar','subscribedTopicNames':['t1']}");
    reply(broker_gets(2, 76, 1, "{'groupId':'bob2','memberId':'m','subscribedTopicNames':['t1']}"),
          "{'memberId':'m','errorMessage':'broker 2 says','assignment':{'topicPartitions':["
          "{'topicId':'f','partitions':[0]},{'topicId':'a','partitions':[1]},"
          "{'topicId':'x','partitions':[2]}]}}");
    expect(&c,
           "{'memberId':'m','assignment':{'topicPartitions':[{'topicId':'a','partitions':[1]}]}}");
    ask(&c, 76, 1, "{'groupId':'eve','memberId':'m'}");
    expect(&c, "{'errorCode':30}");
    ask(&c, 76, 1, "{'groupId':'bob2','memberId':'m','subscribedTopicNames':['t1','foreign']}");
    expect(&c, "{'errorCode':29}");
    nobody_asked();
    client_close(&c);
}

/* Granted groups go to their coordinators, each answer is joined, foreign ones are denied. */
static void describe(void **state)
{
    (void)state;
    login(&c, "\"read\"");
    ask(&c, 77, 1, "{'groupIds':['bob1','eve','bob2']}");
    reply(asked_of(1),
          "{'throttleTimeMs':3,'groups':[{'groupId':'bob1','members':[{'memberId':'m','rackId':'r',"
          "'clientHost':'/10.0.0.9','subscribedTopicNames':['t1']}]}]}");
    reply(asked_of(2),
          "{'groups':[{'groupId':'bob2','members':[{'subscribedTopicNames':['foreign']}]}]}");
    expect(&c, "{'throttleTimeMs':3,'groups':[{'groupId':'bob1','members':[{'memberId':'m',"
               "'subscribedTopicNames':['t1']}]},{'groupId':'bob2','errorCode':29,'errorMessage':"
               "'The group has described topic(s) that the client is not authorized to describe.'},"
               "{'groupId':'eve','errorCode':30}]}");
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {gate_test(offered), gate_test(heartbeat),
                                       gate_test(describe)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
