#include "tests/unit/unit.h"

#include "tests/unit/gate_bed.h"

static struct client c;

#define T1(i, more) "{'name':'t1','partitions':[{'partitionIndex':" #i more "}]}"

/* Each of three parts lost, or all of them: every partition has an answer, each topic is there
 * once, and clients retry what failed. */
static void lost_parts(void **state)
{
    (void)state;
    for (unsigned lost = 0; lost < 8; lost++) {
        struct asked *a[3];
        unsigned errors = 0, offsets = 0;
        login(&c, NULL);
        ask(&c, 2, 4,
            "{'topics':[{'name':'t1','partitions':[{'partitionIndex':0},{'partitionIndex':1},"
            "{'partitionIndex':2}]},{'name':'t2','partitions':[{'partitionIndex':0}]}]}");
        for (int i = 0; i < 3; i++) {
            a[i] = next_asked();
            assert_non_null(a[i]);
        }
        for (int i = 0; i < 3; i++) {
            int broker = a[i]->broker;
            if (lost & (1u << (broker - 1)))
                fake_close(asked_conn(a[i]), true);
            else
                reply(a[i], broker == 1
                                ? "{'topics':[" T1(0, ",'offset':100") ",{'name':'t2','partitions':"
                                                                       "[{'offset':100}]}]}"
                            : broker == 2 ? "{'topics':[" T1(1, ",'offset':100") "]}"
                                          : "{'topics':[" T1(2, ",'offset':100") "]}");
        }
        json_t *j = answer(&c), *topics = json_object_get(j, "topics");
        assert_int_equal(json_array_size(topics), 2);
        for (size_t t = 0; t < 2; t++) {
            json_t *ps = json_object_get(json_array_get(topics, t), "partitions");
            for (size_t i = 0; i < json_array_size(ps); i++) {
                json_t *p = json_array_get(ps, i);
                errors += json_integer_value(json_object_get(p, "errorCode")) == 6;
                offsets += json_integer_value(json_object_get(p, "offset")) == 100;
            }
        }
        unsigned want = (lost & 1) * 2 + (lost >> 1 & 1) + (lost >> 2 & 1);
        assert_int_equal(errors, want);
        assert_int_equal(offsets, 4 - want);
        json_decref(j);
        client_close(&c);
        settle_ms(5);
        gate_bed_forget();
    }
}

/* Groups of several coordinators, one of which is lost. */
static void lost_coordinator(void **state)
{
    (void)state;
    login(&c, NULL);
    for (int i = 0; i < 2; i++) {
        struct asked *a, *b;
        ask(&c, 15, 0, "{'groups':['bob1','eve','bob2','bobx1']}");
        a = asked_of(1);
        b = asked_of(2);
        bed.ntaken = bed.nasked;
        assert_int_equal(json_array_size(json_object_get(a->body, "groups")), 2);
        assert_int_equal(json_array_size(json_object_get(b->body, "groups")), 1);
        b->answered = true;
        fake_close(asked_conn(b), true);
        reply(a, "{'groups':[{'groupId':'bob1','groupState':'Stable'},{'groupId':'bobx1'}]}");
        expect(&c, "{'groups':[{'groupId':'bob1','groupState':'Stable'},{'groupId':'bobx1'},"
                   "{'groupId':'bob2','errorCode':16},{'groupId':'eve','errorCode':30}]}");
    }
    ask(&c, 9, 8,
        "{'groups':[{'groupId':'bob1','topics':null},{'groupId':'bob2','topics':"
        "[{'name':'t2','partitionIndexes':[0]},{'name':'foreign','partitionIndexes':[0]}"
        "]}]}");
    struct asked *a = asked_of(1), *b = asked_of(2);
    bed.ntaken = bed.nasked;
    fake_close(asked_conn(b), true);
    reply(a, "{'groups':[{'groupId':'bob1'}]}");
    json_t *j = answer(&c), *groups = json_object_get(j, "groups");
    assert_int_equal(json_array_size(groups), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(groups, 1), "errorCode")),
                     16);
    json_decref(j);
    client_close(&c);
}

/* What one broker alone fails with, API by API: codes that clients retry. */
static void retriable(void **state)
{
    static const struct {
        int api, version;
        const char *request, *answer;
    } calls[] = {
        {3, 4, "{'topics':[{'name':'t2'}]}",
         "{'brokers':[{'nodeId':0,'host':'gate.example.com','port':9093}],'clusterId':'virtual',"
         "'controllerId':0,'topics':[{'name':'t2','errorCode':5}]}"},
        {8, 2, "{'groupId':'bob','topics':[{'name':'t2','partitions':[{}]}]}",
         "{'topics':[{'name':'t2','partitions':[{'errorCode':16}]}]}"},
        {9, 5, "{'groupId':'bob','topics':[{'name':'t2','partitionIndexes':[0]}]}",
         "{'errorCode':16}"},
        {11, 2, "{'groupId':'bob'}", "{'errorCode':16,'generationId':-1}"},
        {12, 1, "{'groupId':'bob'}", "{'errorCode':16}"},
        {22, 0, "{'transactionalId':null}", "{'errorCode':14,'producerId':-1,'producerEpoch':-1}"},
        {23, 2, "{'topics':[{'topic':'t2','partitions':[{}]}]}",
         "{'topics':[{'topic':'t2','partitions':[{'errorCode':6}]}]}"},
        {26, 1, "{'transactionalId':'bob'}", "{'errorCode':16}"},
        {32, 1, "{'resources':[{'resourceType':2,'resourceName':'t2'}]}",
         "{'results':[{'errorCode':7,'errorMessage':'The request timed out.','resourceType':2,"
         "'resourceName':'t2'}]}"},
        {68, 0, "{'groupId':'bob','subscribedTopicNames':['t2']}", "{'errorCode':16}"},
    };
    (void)state;
    login(&c, "\"read\",\"write\",\"describe_configs\"");
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        ask(&c, calls[i].api, calls[i].version, calls[i].request);
        struct asked *a = next_asked();
        assert_non_null(a);
        fake_close(asked_conn(a), true);
        expect(&c, calls[i].answer);
    }
    /* The session goes on. */
    ask(&c, 12, 1, "{'groupId':'bob'}");
    reply(next_asked(), "{}");
    expect(&c, "{}");
    client_close(&c);
}

/* A broker that does not answer in time. */
static void late(void **state)
{
    (void)state;
    login(&c, "\"write\"");
    ask(&c, 0, 3, "{'acks':1,'timeoutMs':1,'topicData':[{'name':'t2','partitionData':[{}]}]}");
    assert_non_null(next_asked());
    uint64_t start = loop_clock_us(bed.up.loop);
    expect(&c, "{'responses':[{'name':'t2','partitionResponses':[{'errorCode':7,'baseOffset':-1}]}"
               "]}");
    assert_in_range(loop_clock_us(bed.up.loop) - start, 800000, 3000000);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        gate_test(lost_parts),
        gate_test(lost_coordinator),
        gate_test(retriable),
        gate_test(late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
