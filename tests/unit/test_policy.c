#include "tests/unit/unit.h"

#include "proxy/api.h"
#include "tests/unit/gate_bed.h"

static struct client c;

#define BROKERS                                                                                    \
    "'brokers':[{'nodeId':0,'host':'gate.example.com','port':9093}],'clusterId':'virtual',"        \
    "'controllerId':0"

static void everything(void **state)
{
    (void)state;
    login(&c, "\"read\",\"write\",\"manage\",\"describe_configs\"");
}

/* Asks, and answers what the one broker (0: any) gets. NULL: no broker may be asked. */
#define goes(api, version, request, broker, upstream, theirs, ours)                                \
    goes_at(api, version, request, broker, upstream, theirs, ours, __LINE__)
static void goes_at(int api, int version, const char *request, int broker, const char *upstream,
                    const char *theirs, const char *ours, int line)
{
    unsigned before = bed.nasked;
    ask(&c, api, version, request);
    if (upstream)
        reply(broker_gets_at(broker, api, version, upstream, line), theirs);
    expect_at(&c, ours, line);
    if (bed.nasked != before + (upstream != NULL))
        fail_msg("line %d: %u brokers were asked", line, bed.nasked - before);
}
#define stays(api, version, request, ours) goes(api, version, request, 0, NULL, NULL, ours)

/* --- Metadata */

#define META(name) "{'name':'" name "'}"

static void metadata_named(void **state)
{
    everything(state);
    for (int v = 0; v <= 13; v++) {
        char up[512], theirs[1024], ours[1024];
        const char *more = v >= 10 ? ",'topicId':'b'" : "";
        snprintf(up, sizeof(up), "{'topics':[" META("t2") "]%s}",
                 v >= 4 ? ",'allowAutoTopicCreation':false" : "");
        snprintf(theirs, sizeof(theirs),
                 "{'brokers':[{'nodeId':1,'host':'kafka-1','port':9092%s},{'nodeId':2,'host':"
                 "'kafka-2','port':9092}]%s%s,'topics':[{'name':'t2'%s,'partitions':[{"
                 "'partitionIndex':0,'leaderId':1,'replicaNodes':[1,2,3],'isrNodes':[2,1]%s}]}]%s}",
                 v >= 1 ? ",'rack':'cellar'" : "", v >= 2 ? ",'clusterId':'real'" : "",
                 v >= 1 ? ",'controllerId':3" : "", more, v >= 5 ? ",'offlineReplicas':[3]" : "",
                 v >= 3 ? ",'throttleTimeMs':4" : "");
        snprintf(ours, sizeof(ours),
                 "{'brokers':[{'nodeId':0,'host':'gate.example.com','port':9093}]%s%s,'topics':["
                 "{'name':'t2'%s,'partitions':[{'partitionIndex':0,'leaderId':0,'replicaNodes':[0],"
                 "'isrNodes':[0]}]%s},{'name':'foreign','errorCode':29}]%s%s}",
                 v >= 2 ? ",'clusterId':'virtual'" : "", v >= 1 ? ",'controllerId':0" : "", more,
                 v >= 8 ? ",'topicAuthorizedOperations':1304" : "",
                 v >= 3 ? ",'throttleTimeMs':4" : "",
                 v >= 8 && v <= 10 ? ",'clusterAuthorizedOperations':0" : "");
        char request[512];
        snprintf(request, sizeof(request), "{'topics':[" META("foreign") "," META("t2") "]%s%s%s}",
                 v >= 4 ? ",'allowAutoTopicCreation':true" : "",
                 v >= 8 ? ",'includeTopicAuthorizedOperations':true" : "",
                 v >= 8 && v <= 10 ? ",'includeClusterAuthorizedOperations':true" : "");
        goes(3, v, request, 0, up, theirs, ours);
    }
    client_close(&c);
}

/* All topics: the granted ones that are there, and nothing else is asked. */
static void metadata_all(void **state)
{
    everything(state);
    for (int v = 0; v <= 13; v++) {
        char up[512], theirs[512], ours[512];
        bool old = v < 4;
        snprintf(up, sizeof(up), "{'topics':[%s" META("t1") "," META("t2") "]%s}",
                 old ? "" : META("gone") ",", old ? "" : ",'allowAutoTopicCreation':false");
        snprintf(theirs, sizeof(theirs),
                 "{'topics':[%s{'name':'t1'},{'name':'foreign'},{'name':'t2'}]}",
                 old ? "" : "{'name':'gone','errorCode':3},");
        snprintf(ours, sizeof(ours),
                 "{'brokers':[{'nodeId':0,'host':'gate.example.com','port':9093}]%s%s,"
                 "'topics':[{'name':'t1'},{'name':'t2'}]}",
                 v >= 2 ? ",'clusterId':'virtual'" : "", v >= 1 ? ",'controllerId':0" : "");
        goes(3, v, v ? "{'topics':null}" : "{}", 0, up, theirs, ours);
    }
    /* None at all is a question for the brokers alone. */
    stays(3, 4, "{'topics':[]}", "{" BROKERS "}");
    /* Below version 4 a named topic would be created. */
    stays(3, 1, "{'topics':[" META("gone") "]}",
          "{'brokers':[{'nodeId':0,'host':'gate.example.com','port':9093}],'controllerId':0,"
          "'topics':[{'name':'gone','errorCode':3}]}");
    stays(3, 4, "{'topics':[" META("") "," META("T2") "," META("t") "," META("t22") "]}",
          "{" BROKERS ",'topics':[{'name':'','errorCode':29},{'name':'T2','errorCode':29},"
          "{'name':'t','errorCode':29},{'name':'t22','errorCode':29}]}");
    client_close(&c);
}

static void metadata_by_id(void **state)
{
    everything(state);
    goes(3, 12,
         "{'topics':[{'topicId':'b','name':null},{'topicId':'f','name':null},"
         "{'topicId':'q','name':null},{'name':null}]}",
         0, "{'topics':[{'topicId':'b','name':null}],'allowAutoTopicCreation':false}",
         "{'topics':[{'name':'t2','topicId':'b'}]}",
         "{" BROKERS ",'topics':[{'name':'t2','topicId':'b'},"
         "{'name':null,'topicId':'f','errorCode':100},{'name':null,'topicId':'q','errorCode':100},"
         "{'name':null,'errorCode':100}]}");
    /* A granted name on a foreign id: a broker would go by the id. */
    goes(3, 12, "{'topics':[{'topicId':'f','name':'t2'}]}", 0,
         "{'topics':[{'name':'t2'}],'allowAutoTopicCreation':false}",
         "{'topics':[{'name':'t2','topicId':'b'},{'name':'foreign','topicId':'f'},"
         "{'name':null,'topicId':'f'}]}",
         "{" BROKERS ",'topics':[{'name':'t2','topicId':'b'},"
         "{'name':null,'topicId':'f'}]}");
    client_close(&c);
}

/* The map knows the ids of whatever some session may see: another's is as unknown as any. */
static void known_to_another(void **state)
{
    static struct client other;
    everything(state);
    login_with(&other, &(struct token_wish){.topics = "\"foreign\"", .jti = "j2"});
    ask(&other, 3, 12, "{'topics':[{'topicId':'f','name':null}]}");
    reply(broker_gets(0, 3, 12,
                      "{'topics':[{'topicId':'f','name':null}],'allowAutoTopicCreation':false}"),
          "{'topics':[{'name':'foreign','topicId':'f'}]}");
    expect(&other, "{" BROKERS ",'topics':[{'name':'foreign','topicId':'f'}]}");
    stays(3, 12, "{'topics':[{'topicId':'f','name':null}]}",
          "{" BROKERS ",'topics':[{'name':null,'topicId':'f','errorCode':100}]}");
    stays(0, 13, "{'acks':-1,'topicData':[{'topicId':'f','partitionData':[{'records':9}]}]}",
          "{'responses':[{'topicId':'f','partitionResponses':[{'errorCode':100,"
          "'baseOffset':-1}]}]}");
    stays(1, 13,
          "{'maxWaitMs':100,'maxBytes':1000,'topics':[{'topicId':'f','partitions':[{"
          "'partition':0,'partitionMaxBytes':9}]}]}",
          "{'responses':[{'topicId':'f','partitions':[{'errorCode':100,'highWatermark':-1,"
          "'abortedTransactions':[],'records':0}]}]}");
    goes(68, 0,
         "{'groupId':'bob1','memberId':'m','subscribedTopicNames':['t1'],"
         "'topicPartitions':[{'topicId':'f','partitions':[1]}]}",
         1, "{'groupId':'bob1','memberId':'m','subscribedTopicNames':['t1'],'topicPartitions':[]}",
         "{'memberId':'m','assignment':{'topicPartitions':[{'topicId':'f','partitions':[0]},"
         "{'topicId':'a','partitions':[1]}]}}",
         "{'memberId':'m','assignment':{'topicPartitions':[{'topicId':'a','partitions':[1]}]}}");
    client_close(&other);
    client_close(&c);
}

/* --- DescribeTopicPartitions, DescribeCluster */

static void describe_topics(void **state)
{
    everything(state);
#define OPS ",'topicAuthorizedOperations':1304"
    goes(75, 0, "{'topics':[{'name':'foreign'},{'name':'t2'}]}", 0, "{'topics':[{'name':'t2'}]}",
         "{'topics':[{'name':'t2','topicId':'b','partitions':[{'leaderId':2,'replicaNodes':[1,2],"
         "'isrNodes':[1],'eligibleLeaderReplicas':[2],'offlineReplicas':[1]}]}],"
         "'nextCursor':{'topicName':'t2','partitionIndex':1}}",
         "{'topics':[{'name':'t2','topicId':'b'" OPS
         ",'partitions':[{'leaderId':0,'replicaNodes':[0],'isrNodes':[0],"
         "'eligibleLeaderReplicas':[0]}]},{'name':'foreign','errorCode':29}],"
         "'nextCursor':{'topicName':'t2','partitionIndex':1}}");
    goes(75, 0, "{}", 0, "{'topics':[{'name':'gone'},{'name':'t1'},{'name':'t2'}]}",
         "{'topics':[{'name':'gone','errorCode':3},{'name':'t1'}]}",
         "{'topics':[{'name':'t1'" OPS "}]}");
    /* A next page that begins at a topic which nobody asked for is none. */
    goes(75, 0, "{'topics':[{'name':'t2'}]}", 0, "{'topics':[{'name':'t2'}]}",
         "{'topics':[{'name':'t2'}],'nextCursor':{'topicName':'foreign','partitionIndex':1}}",
         "{'topics':[{'name':'t2'" OPS "}]}");
    /* From a cursor on; one at a foreign topic is a place among the names. */
    goes(75, 0, "{'cursor':{'topicName':'t2','partitionIndex':1}}", 0,
         "{'topics':[{'name':'t2'}],'cursor':{'topicName':'t2','partitionIndex':1}}", "{}", "{}");
    goes(75, 0, "{'cursor':{'topicName':'h','partitionIndex':7}}", 0,
         "{'topics':[{'name':'t1'},{'name':'t2'}]}", "{}", "{}");
    goes(75, 0,
         "{'topics':[{'name':'a'},{'name':'foreign'},{'name':'t2'}],"
         "'cursor':{'topicName':'foreign','partitionIndex':0}}",
         0, "{'topics':[{'name':'t2'}]}", "{'topics':[{'name':'t2'}]}",
         "{'topics':[{'name':'t2'" OPS "},{'name':'foreign','errorCode':29}]}");
    stays(75, 0, "{'topics':[{'name':'t2'}],'cursor':{'topicName':'foreign','partitionIndex':0}}",
          "{'topics':[{'name':'t2','errorCode':42}]}");
    stays(75, 0, "{'topics':[{'name':'t2'}],'cursor':{'topicName':'t2','partitionIndex':-1}}",
          "{'topics':[{'name':'t2','errorCode':42}]}");
    stays(75, 0,
          "{'topics':[{'name':'a'},{'name':'t2'}],'cursor':{'topicName':'foreign',"
          "'partitionIndex':0}}",
          "{'topics':[{'name':'a','errorCode':42},{'name':'t2','errorCode':42}]}");
    /* One that is granted and not there has its operations all the same. */
    goes(75, 0, "{'topics':[{'name':'gone'}]}", 0, "{'topics':[{'name':'gone'}]}",
         "{'topics':[{'name':'gone','errorCode':3}]}",
         "{'topics':[{'name':'gone','errorCode':3" OPS "}]}");
    client_close(&c);
}

static void describe_cluster(void **state)
{
    everything(state);
#define VIRTUAL                                                                                    \
    "'clusterId':'virtual','controllerId':0,'brokers':[{'brokerId':0,'host':'gate.example.com',"   \
    "'port':9093}]"
    for (int v = 0; v <= 2; v++) {
        stays(60, v, "{}", "{" VIRTUAL "}");
        stays(60, v, "{'includeClusterAuthorizedOperations':true}",
              "{" VIRTUAL ",'clusterAuthorizedOperations':0}");
    }
    stays(60, 1, "{'endpointType':2}",
          "{'errorCode':114,"
          "'errorMessage':'The request was sent to an endpoint of the wrong type.'}");
    stays(60, 2, "{'endpointType':7}",
          "{'errorCode':115,'errorMessage':'This endpoint type is not supported yet.'}");
    client_close(&c);
}

/* --- leaders */

static void list_offsets(void **state)
{
    everything(state);
    /* Three leaders, a foreign topic, a partition that is not there. */
    for (int v = 1; v <= 11; v++) {
        char up[3][256];
        ask(&c, 2, v,
            "{'replicaId':2,'topics':[{'name':'foreign','partitions':[{'partitionIndex':4}]},"
            "{'name':'t1','partitions':[{'partitionIndex':2,'timestamp':-1},"
            "{'partitionIndex':0,'timestamp':-2},{'partitionIndex':1,'timestamp':-1},"
            "{'partitionIndex':7,'timestamp':-1}]},"
            "{'name':'t2','partitions':[{'partitionIndex':0,'timestamp':9}]}]}");
        snprintf(up[0], 256,
                 "{'replicaId':-1,'topics':[{'name':'t1','partitions':[{'partitionIndex':0,"
                 "'timestamp':-2}]},{'name':'t2','partitions':[{'partitionIndex':0,'timestamp':9}]}"
                 "]}");
        for (int i = 1; i < 3; i++)
            snprintf(up[i], 256,
                     "{'replicaId':-1,'topics':[{'name':'t1','partitions':[{'partitionIndex':%d,"
                     "'timestamp':-1}]}]}",
                     i);
        struct asked *a[3];
        for (int i = 0; i < 3; i++) {
            a[i] = next_asked();
            assert_non_null(a[i]);
        }
        bed.ntaken -= 3;
        for (int i = 0; i < 3; i++)
            a[i] = broker_gets(a[i]->broker, 2, v, up[a[i]->broker - 1]);
        /* The first in the list is the base, whoever answers first. */
        for (int i = 2; i >= 0; i--)
            reply(a[i], a[i]->broker == 1 ? "{'topics':[{'name':'t1','partitions':[{'offset':5}]},"
                                            "{'name':'t2','partitions':[{'offset':6}]}]}"
                        : a[i]->broker == 2
                            ? (v >= 2 ? "{'throttleTimeMs':30,'topics':[{'name':'t1','partitions':["
                                        "{'partitionIndex':1,'offset':7}]}]}"
                                      : "{'topics':[{'name':'t1','partitions':[{'partitionIndex':1,"
                                        "'offset':7}]}]}")
                            : "{'topics':[{'name':'t1','partitions':[{'partitionIndex':2,"
                              "'errorCode':6}]}]}");
        /* Each topic once, each partition once, the largest throttle time. */
        json_t *j = answer(&c), *topics = json_object_get(j, "topics");
        assert_int_equal(json_array_size(topics), 3);
        unsigned partitions = 0, sum = 0;
        for (size_t t = 0; t < 3; t++) {
            json_t *ps = json_object_get(json_array_get(topics, t), "partitions");
            for (size_t p = 0; p < json_array_size(ps); p++) {
                json_t *q = json_array_get(ps, p);
                partitions++;
                sum += (unsigned)json_integer_value(json_object_get(q, "errorCode"));
                sum += 100 * (unsigned)(json_integer_value(json_object_get(q, "offset")) + 1);
            }
        }
        assert_int_equal(partitions, 6);
        assert_int_equal(sum, 6 + 3 + 29 + 100 * (6 + 7 + 8));
        if (v >= 2)
            assert_int_equal(json_integer_value(json_object_get(j, "throttleTimeMs")), 30);
        json_decref(j);
    }
    stays(2, 5, "{'topics':[{'name':'foreign','partitions':[{'partitionIndex':4}]}]}",
          "{'topics':[{'name':'foreign','partitions':[{'partitionIndex':4,'errorCode':29}]}]}");
    client_close(&c);
}

static void leader_epochs(void **state)
{
    everything(state);
    for (int v = 2; v <= 4; v++) {
        char request[512];
        snprintf(request, sizeof(request),
                 "{%s'topics':[{'topic':'t2','partitions':[{'partition':0,'leaderEpoch':3}]},"
                 "{'topic':'foreign','partitions':[{'partition':1,'leaderEpoch':3}]}]}",
                 v >= 3 ? "'replicaId':1," : "");
        goes(23, v, request, 1,
             v >= 3 ? "{'replicaId':-1,'topics':[{'topic':'t2','partitions':[{'leaderEpoch':3}]}]}"
                    : "{'topics':[{'topic':'t2','partitions':[{'leaderEpoch':3}]}]}",
             "{'topics':[{'topic':'t2','partitions':[{'leaderEpoch':3,'endOffset':4}]}]}",
             "{'topics':[{'topic':'t2','partitions':[{'leaderEpoch':3,'endOffset':4}]},"
             "{'topic':'foreign','partitions':[{'partition':1,'errorCode':29}]}]}");
    }
    client_close(&c);
}

/* --- Produce */

#define PRODUCE(name, i, n)                                                                        \
    "{'name':'" name "','partitionData':[{'index':" #i ",'records':" #n "}]}"

static void produce(void **state)
{
    everything(state);
    for (int v = 3; v <= 12; v++) {
        char ours[1024], theirs[1024];
        snprintf(theirs, sizeof(theirs),
                 "{'responses':[{'name':'t2','partitionResponses':[{'baseOffset':7%s%s}]}]%s}",
                 v >= 8 ? ",'errorCode':87,'errorMessage':'broker 10.0.0.1 says no',"
                          "'recordErrors':[{'batchIndex':1,'batchIndexErrorMessage':'kafka-1'}]"
                        : "",
                 v >= 10 ? ",'currentLeader':{'leaderId':2,'leaderEpoch':8}" : "",
                 v >= 10 ? ",'nodeEndpoints':[{'nodeId':2,'host':'kafka-2','port':9092,"
                           "'rack':'cellar'}]"
                         : "");
        snprintf(ours, sizeof(ours),
                 "{'responses':[{'name':'t2','partitionResponses':[{'baseOffset':7%s%s}]},"
                 "{'name':'foreign','partitionResponses':[{'index':3,'errorCode':29,"
                 "'baseOffset':-1}]}]}",
                 v >= 8
                     ? ",'errorCode':87,'errorMessage':'This record has failed the validation on "
                       "broker and hence will be rejected.','recordErrors':[{'batchIndex':1}]"
                     : "",
                 v >= 10 ? ",'currentLeader':{'leaderId':0,'leaderEpoch':8}" : "");
        goes(0, v,
             "{'acks':-1,'timeoutMs':500,'topicData':[" PRODUCE("foreign", 3,
                                                                50) "," PRODUCE("t2", 0, 3000) "]}",
             1, "{'acks':-1,'timeoutMs':500,'topicData':[" PRODUCE("t2", 0, 3000) "]}", theirs,
             ours);
    }
    goes(0, 13,
         "{'acks':-1,'timeoutMs':500,'topicData':[{'topicId':'f','partitionData':[{'records':9}]},"
         "{'topicId':'b','partitionData':[{'records':9}]}]}",
         1,
         "{'acks':-1,'timeoutMs':500,'topicData':[{'topicId':'b','partitionData':[{'records':9}]}]"
         "}",
         "{'responses':[{'topicId':'b','partitionResponses':[{'baseOffset':7}]}]}",
         "{'responses':[{'topicId':'b','partitionResponses':[{'baseOffset':7}]},"
         "{'topicId':'f','partitionResponses':[{'errorCode':100,'baseOffset':-1}]}]}");
    /* Transactional ids: ours, and not ours. */
    goes(0, 3, "{'transactionalId':'bob-1','acks':-1,'topicData':[" PRODUCE("t2", 0, 9) "]}", 1,
         "{'transactionalId':'bob-1','acks':-1,'topicData':[" PRODUCE("t2", 0, 9) "]}",
         "{'responses':[{'name':'t2','partitionResponses':[{'baseOffset':7}]}]}",
         "{'responses':[{'name':'t2','partitionResponses':[{'baseOffset':7}]}]}");
    stays(0, 3, "{'transactionalId':'eve','acks':-1,'topicData':[" PRODUCE("t2", 0, 9) "]}",
          "{'responses':[{'name':'t2','partitionResponses':[{'errorCode':53,'baseOffset':-1}]}]}");
    client_close(&c);
    /* Without a write grant. */
    login(&c, NULL);
    stays(0, 3, "{'acks':1,'topicData':[" PRODUCE("t2", 0, 9) "]}",
          "{'responses':[{'name':'t2','partitionResponses':[{'errorCode':29,'baseOffset':-1}]}]}");
    stays(0, 3, "{'transactionalId':'bob','acks':1,'topicData':[" PRODUCE("t2", 0, 9) "]}",
          "{'responses':[{'name':'t2','partitionResponses':[{'errorCode':53,'baseOffset':-1}]}]}");
    /* By id: the topic is no secret to who may read it. */
    stays(
        0, 13, "{'acks':1,'topicData':[{'topicId':'b','partitionData':[{'records':9}]}]}",
        "{'responses':[{'topicId':'b','partitionResponses':[{'errorCode':29,'baseOffset':-1}]}]}");
    client_close(&c);
}

/* Parts for three leaders, one of which is lost: what was sent may have been written (7). */
static void produce_lost(void **state)
{
    everything(state);
    ask(&c, 0, 3,
        "{'acks':-1,'topicData':[{'name':'t1','partitionData':[{'index':0,'records':5},"
        "{'index':1,'records':5}]}]}");
    struct asked *a = asked_of(1), *b = asked_of(2);
    bed.ntaken = bed.nasked;
    fake_close(asked_conn(b), true);
    reply(a, "{'responses':[{'name':'t1','partitionResponses':[{'baseOffset':7}]}]}");
    expect(&c, "{'responses':[{'name':'t1','partitionResponses':[{'baseOffset':7},"
               "{'index':1,'errorCode':7,'baseOffset':-1}]}]}");
    /* The only one, beside a partition that has no leader: every partition has an answer. */
    ask(&c, 0, 3,
        "{'acks':-1,'topicData':[{'name':'t1','partitionData':[{'index':9,'records':5},"
        "{'index':1,'records':5}]}]}");
    b = next_asked();
    assert_non_null(b);
    fake_close(asked_conn(b), true);
    expect(&c, "{'responses':[{'name':'t1','partitionResponses':["
               "{'index':1,'errorCode':7,'baseOffset':-1},"
               "{'index':9,'errorCode':3,'baseOffset':-1}]}]}");
    client_close(&c);
}

/* Without acknowledgement nothing is answered: what cannot be done ends the connection. */
static void produce_silent(void **state)
{
    everything(state);
    ask(&c, 0, 3, "{'acks':0,'topicData':[" PRODUCE("t2", 0, 9) "]}");
    broker_gets(1, 0, 3, "{'acks':0,'topicData':[" PRODUCE("t2", 0, 9) "]}");
    c.seen++;
    ask(&c, 29, 1, "{}");
    expect(&c, "{'errorCode':54,'errorMessage':'No Authorizer is configured on the broker'}");
    /* To two leaders. */
    ask(&c, 0, 3,
        "{'acks':0,'topicData':[{'name':'t1','partitionData':[{'index':0,'records':5},"
        "{'index':1,'records':5}]}]}");
    assert_non_null(next_asked());
    assert_non_null(next_asked());
    c.seen++;
    ask(&c, 60, 0, "{}");
    json_decref(answer(&c));
    assert_int_equal(bed.gate->first->in_flight, 0);
    ask(&c, 0, 3, "{'acks':0,'topicData':[" PRODUCE("t2", 0, 9) "," PRODUCE("foreign", 0, 9) "]}");
    expect_closed(&c);
    client_close(&c);
    everything(state);
    ask(&c, 0, 3, "{'acks':0,'topicData':[" PRODUCE("foreign", 0, 9) "]}");
    expect_closed(&c);
    client_close(&c);
    everything(state);
    ask(&c, 0, 3, "{'acks':0,'topicData':[" PRODUCE("t2", 5, 9) "]}"); /* not there */
    expect_closed(&c);
    client_close(&c);
    everything(state);
    ask(&c, 0, 3, "{'acks':0,'transactionalId':'eve','topicData':[" PRODUCE("t2", 0, 9) "]}");
    expect_closed(&c);
    client_close(&c);
    nobody_asked();
    /* A leader that cannot be reached: the connection ends as well. */
    everything(state);
    fake_down(&bed.up.fake[1]);
    ask(&c, 0, 3,
        "{'acks':0,'topicData':[{'name':'t1','partitionData':[{'index':1,'records':5}]}]}");
    expect_closed(&c);
    client_close(&c);
}

/* --- groups */

/* Every prefix that is not a prefix: case, the wrong way round, nothing at all. */
static void groups(void **state)
{
    static const char *const foreign[] = {"Bob", "bo", "", "eve", "xbob", " bob"};
    everything(state);
    for (unsigned i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        char request[256];
#define ASK(api, version, format, ours)                                                            \
    snprintf(request, sizeof(request), format, foreign[i]);                                        \
    stays(api, version, request, ours)
        ASK(11, 0, "{'groupId':'%s'}", "{'errorCode':30,'generationId':-1}");
        ASK(11, 4, "{'groupId':'%s'}", "{'errorCode':30,'generationId':-1}");
        ASK(11, 7, "{'groupId':'%s'}", "{'errorCode':30,'generationId':-1,'protocolName':null}");
        ASK(12, 1, "{'groupId':'%s'}", "{'errorCode':30}");
        ASK(13, 3, "{'groupId':'%s','members':[{'memberId':'m'}]}", "{'errorCode':30}");
        ASK(14, 5, "{'groupId':'%s','protocolType':'consumer','protocolName':'range'}",
            "{'errorCode':30}");
        ASK(68, 0, "{'groupId':'%s'}", "{'errorCode':30}");
        ASK(8, 2, "{'groupId':'%s','topics':[{'name':'t2','partitions':[{}]}]}",
            "{'topics':[{'name':'t2','partitions':[{'errorCode':30}]}]}");
        ASK(9, 1, "{'groupId':'%s','topics':[{'name':'t2','partitionIndexes':[0]}]}",
            "{'topics':[{'name':'t2','partitions':[{'committedOffset':-1,'errorCode':30}]}]}");
        ASK(9, 5, "{'groupId':'%s','topics':[{'name':'t2','partitionIndexes':[0]}]}",
            "{'errorCode':30}");
        ASK(25, 0, "{'transactionalId':'bob','groupId':'%s'}", "{'errorCode':30}");
        ASK(28, 0,
            "{'transactionalId':'bob','groupId':'%s','topics':[{'name':'t2','partitions':[{}]}]}",
            "{'topics':[{'name':'t2','partitions':[{'errorCode':30}]}]}");
        ASK(47, 0, "{'groupId':'%s','topics':[{'name':'t2','partitions':[{}]}]}",
            "{'errorCode':30}");
        ASK(22, 0, "{'transactionalId':'%s'}",
            "{'errorCode':53,'producerId':-1,'producerEpoch':-1}");
        ASK(26, 0, "{'transactionalId':'%s'}", "{'errorCode':53}");
        ASK(25, 0, "{'transactionalId':'%s','groupId':'bob'}", "{'errorCode':53}");
        client_close(&c); /* paced otherwise */
        everything(state);
    }
    client_close(&c);
    assert_int_equal(bed.nasked, 0);
}

/* What is granted goes to its coordinator, as it is. */
static void group_calls(void **state)
{
    everything(state);
    goes(11, 5,
         "{'groupId':'bob2','memberId':'m','groupInstanceId':'i','sessionTimeoutMs':10,"
         "'protocolType':'consumer','protocols':[{'name':'range','metadata':'xyz'}]}",
         2,
         "{'groupId':'bob2','memberId':'m','groupInstanceId':'i','sessionTimeoutMs':10,"
         "'protocolType':'consumer','protocols':[{'name':'range','metadata':'xyz'}]}",
         "{'generationId':3,'protocolName':'range','leader':'m','memberId':'m',"
         "'members':[{'memberId':'m','metadata':'xyz'}]}",
         "{'generationId':3,'protocolName':'range','leader':'m','memberId':'m',"
         "'members':[{'memberId':'m','metadata':'xyz'}]}");
    goes(14, 0, "{'groupId':'bob3','assignments':[{'memberId':'m','assignment':'q'}]}", 3,
         "{'groupId':'bob3','assignments':[{'memberId':'m','assignment':'q'}]}",
         "{'assignment':'zz'}", "{'assignment':'zz'}");
    goes(8, 2,
         "{'groupId':'bob1','topics':[{'name':'foreign','partitions':[{'partitionIndex':2}]},"
         "{'name':'t1','partitions':[{'partitionIndex':1,'committedOffset':4,"
         "'committedMetadata':'why'}]}]}",
         1,
         "{'groupId':'bob1','topics':[{'name':'t1','partitions':[{'partitionIndex':1,"
         "'committedOffset':4,'committedMetadata':'why'}]}]}",
         "{'topics':[{'name':'t1','partitions':[{'partitionIndex':1}]}]}",
         "{'topics':[{'name':'t1','partitions':[{'partitionIndex':1}]},"
         "{'name':'foreign','partitions':[{'partitionIndex':2,'errorCode':29}]}]}");
    goes(8, 10,
         "{'groupId':'bob1','topics':[{'topicId':'f','partitions':[{'partitionIndex':2}]},"
         "{'topicId':'a','partitions':[{'partitionIndex':1,'committedOffset':4}]}]}",
         1,
         "{'groupId':'bob1','topics':[{'topicId':'a','partitions':[{'partitionIndex':1,"
         "'committedOffset':4}]}]}",
         "{'topics':[{'topicId':'a','partitions':[{'partitionIndex':1}]}]}",
         "{'topics':[{'topicId':'a','partitions':[{'partitionIndex':1}]},"
         "{'topicId':'f','partitions':[{'partitionIndex':2,'errorCode':100}]}]}");
    goes(28, 3,
         "{'transactionalId':'bob','groupId':'bob1','topics':[{'name':'foreign',"
         "'partitions':[{}]},{'name':'t2','partitions':[{}]}]}",
         1, "{'transactionalId':'bob','groupId':'bob1','topics':[{'name':'t2','partitions':[{}]}]}",
         "{'topics':[{'name':'t2','partitions':[{}]}]}",
         "{'topics':[{'name':'t2','partitions':[{}]},"
         "{'name':'foreign','partitions':[{'errorCode':29}]}]}");
    goes(47, 0,
         "{'groupId':'bob1','topics':[{'name':'foreign','partitions':[{}]},"
         "{'name':'t2','partitions':[{}]}]}",
         1, "{'groupId':'bob1','topics':[{'name':'t2','partitions':[{}]}]}",
         "{'topics':[{'name':'t2','partitions':[{}]}]}",
         "{'topics':[{'name':'t2','partitions':[{}]},"
         "{'name':'foreign','partitions':[{'errorCode':29}]}]}");
    client_close(&c);
}

/* A commit that cannot be routed still answers for what was refused, and is paced as one denial. */
static void no_coordinator(void **state)
{
    everything(state);
    for (unsigned i = 0; i < 3; i++)
        bed.up.fake[i].coordinator_error = 30;
    stays(8, 2,
          "{'groupId':'bob2','topics':[{'name':'foreign','partitions':[{}]},"
          "{'name':'t2','partitions':[{}]}]}",
          "{'topics':[{'name':'t2','partitions':[{'errorCode':30}]},"
          "{'name':'foreign','partitions':[{'errorCode':29}]}]}");
    stays(15, 0, "{'groups':['bob2','eve']}",
          "{'groups':[{'groupId':'eve','errorCode':30},{'groupId':'bob2','errorCode':30}]}");
    client_close(&c);
}

#define OF(i, offset)  "{'partitionIndex':" #i ",'committedOffset':" #offset "}"
#define OF_NO(i, code) "{'partitionIndex':" #i ",'committedOffset':-1,'errorCode':" #code "}"

static void offset_fetch(void **state)
{
    everything(state);
    for (int v = 1; v <= 7; v++)
        goes(9, v,
             "{'groupId':'bob1','topics':[{'name':'foreign','partitionIndexes':[3]},"
             "{'name':'t1','partitionIndexes':[0,2]}]}",
             1, "{'groupId':'bob1','topics':[{'name':'t1','partitionIndexes':[0,2]}]}",
             "{'topics':[{'name':'t1','partitions':[" OF(0, 5) "," OF(2, 7) "]}]}",
             "{'topics':[{'name':'t1','partitions':[" OF(0, 5) "," OF(
                 2, 7) "]},{'name':'foreign','partitions':[" OF_NO(3, 29) "]}]}");
    /* All topics of a group: what is not granted is left out. */
    goes(9, 2, "{'groupId':'bob1','topics':null}", 1, "{'groupId':'bob1','topics':null}",
         "{'topics':[{'name':'foreign','partitions':[" OF(0, 5) "]},{'name':'t1','partitions':[" OF(
             0, 5) "]}]}",
         "{'topics':[{'name':'t1','partitions':[" OF(0, 5) "]}]}");
    /* Several groups, of several coordinators, one of them foreign, and one asks for all topics. */
    for (int v = 8; v <= 9; v++) {
        ask(&c, 9, v,
            "{'groups':[{'groupId':'bob1','topics':[{'name':'t1','partitionIndexes':[0]},"
            "{'name':'foreign','partitionIndexes':[3]}]},{'groupId':'eve','topics':[{'name':'t1',"
            "'partitionIndexes':[0]}]},{'groupId':'bob2','topics':null},"
            "{'groupId':'bob3','topics':[{'name':'foreign','partitionIndexes':[1]}]}]}");
        struct asked *a[3];
        for (int i = 0; i < 3; i++) {
            a[i] = next_asked();
            assert_non_null(a[i]);
        }
        bed.ntaken -= 3;
        for (int i = 0; i < 3; i++)
            a[i] = broker_gets(a[i]->broker, 9, v,
                               a[i]->broker == 1
                                   ? "{'groups':[{'groupId':'bob1','topics':[{'name':'t1',"
                                     "'partitionIndexes':[0]}]}]}"
                               : a[i]->broker == 2 ? "{'groups':[{'groupId':'bob2','topics':null}]}"
                                                   : "{'groups':[{'groupId':'bob3','topics':[]}]}");
        for (int i = 0; i < 3; i++)
            reply(a[i],
                  a[i]->broker == 1 ? "{'groups':[{'groupId':'bob1','topics':[{'name':'t1',"
                                      "'partitions':[" OF(0, 4) "]}]}]}"
                  : a[i]->broker == 2
                      ? "{'groups':[{'groupId':'bob2','topics':[{'name':'t2','partitions':[" OF(
                            0, 5) "]},{'name':'foreign','partitions':[" OF(0, 6) "]}]}]}"
                      : "{'groups':[{'groupId':'bob3'}]}");
        expect(
            &c,
            "{'groups':[{'groupId':'bob1','topics':[{'name':'t1','partitions':[" OF(
                0,
                4) "]},{'name':'foreign','partitions':[" OF_NO(3,
                                                               29) "]}]},{'groupId':'bob2','topics'"
                                                                   ":[{'name':'t2','partitions':"
                                                                   "[" OF(0, 5) "]}]},{'groupId':'"
                                                                                "bob3','topics':[{'"
                                                                                "name':'foreign','"
                                                                                "partitions':"
                                                                                "[" OF_NO(1,
                                                                                          29) "]}]}"
                                                                                              ",{'"
                                                                                              "grou"
                                                                                              "pId'"
                                                                                              ":'"
                                                                                              "eve'"
                                                                                              ",'"
                                                                                              "erro"
                                                                                              "rCod"
                                                                                              "e':"
                                                                                              "30}]"
                                                                                              "}");
    }
    client_close(&c);
}

/* Ids of topics that nobody here has been granted say nothing, also among all of a group's. */
static void offset_fetch_by_id(void **state)
{
    everything(state);
    goes(9, 10, "{'groups':[{'groupId':'bob1','topics':null}]}", 1,
         "{'groups':[{'groupId':'bob1','topics':null}]}",
         "{'groups':[{'groupId':'bob1','topics':[{'topicId':'f','partitions':[" OF(
             0, 5) "]},{'topicId':'a','partitions':[" OF(0, 5) "]}]}]}",
         "{'groups':[{'groupId':'bob1','topics':[{'topicId':'a','partitions':[" OF(0, 5) "]}]}]}");
    goes(9, 10,
         "{'groups':[{'groupId':'bob1','topics':[{'topicId':'f','partitionIndexes':[0]},"
         "{'topicId':'a','partitionIndexes':[0]}]}]}",
         1, "{'groups':[{'groupId':'bob1','topics':[{'topicId':'a','partitionIndexes':[0]}]}]}",
         "{'groups':[{'groupId':'bob1','topics':[{'topicId':'a','partitions':[" OF(0, 5) "]}]}]}",
         "{'groups':[{'groupId':'bob1','topics':[{'topicId':'a','partitions':[" OF(
             0, 5) "]},{'topicId':'f','partitions':[" OF_NO(0, 100) "]}]}]}");
    client_close(&c);
}

/* A separator behind the prefix: bob and bob-1, but not bobby. */
static void separator(void **state)
{
    everything(state);
    stays(12, 1, "{'groupId':'bobby-1'}", "{'errorCode':30}");
    goes(12, 1, "{'groupId':'bob-1'}", 1, "{'groupId':'bob-1'}", "{}", "{}");
    goes(12, 1, "{'groupId':'bob'}", 1, "{'groupId':'bob'}", "{}", "{}");
    client_close(&c);
}

static int separator_setup(void **state)
{
    (void)state;
    gate_bed_start("group_separator: '-'\nlimits: {denial_pace_ms: 0}\n");
    return 0;
}

static void group_lists(void **state)
{
    everything(state);
    for (int v = 0; v <= 6; v++) {
        char theirs[512], ours[512];
        snprintf(theirs, sizeof(theirs),
                 "{'groups':[{'groupId':'bob1','groupState':'Stable','members':[{'memberId':'m',"
                 "'clientId':'c','clientHost':'/10.0.0.7','memberMetadata':'x'}]%s}]}",
                 v >= 6 ? ",'errorCode':16,'errorMessage':'ask kafka-2'" : "");
        snprintf(ours, sizeof(ours),
                 "{'groups':[{'groupId':'bob1','groupState':'Stable','members':[{'memberId':'m',"
                 "'clientId':'c','memberMetadata':'x'}]%s},{'groupId':'eve','errorCode':30}]}",
                 v >= 6   ? ",'errorCode':16,'errorMessage':'This is not the correct coordinator.'"
                 : v >= 3 ? ",'authorizedOperations':328"
                          : "");
        goes(15, v,
             v >= 3 ? "{'groups':['eve','bob1'],'includeAuthorizedOperations':true}"
                    : "{'groups':['eve','bob1']}",
             1, "{'groups':['bob1']}", theirs, ours);
    }
    goes(42, 0, "{'groupsNames':['eve','bob2']}", 2, "{'groupsNames':['bob2']}",
         "{'results':[{'groupId':'bob2','errorCode':68}]}",
         "{'results':[{'groupId':'bob2','errorCode':68},{'groupId':'eve','errorCode':30}]}");
    stays(42, 1, "{'groupsNames':['eve']}", "{'results':[{'groupId':'eve','errorCode':30}]}");
    client_close(&c);
    login(&c, NULL); /* reading does not delete */
    stays(42, 1, "{'groupsNames':['bob1']}", "{'results':[{'groupId':'bob1','errorCode':30}]}");
    stays(47, 0, "{'groupId':'bob1','topics':[{'name':'t2','partitions':[{}]}]}",
          "{'errorCode':30}");
    client_close(&c);
}

/* Many groups whose coordinators are not known yet. */
static void many_groups(void **state)
{
    char request[8192] = "{'groups':['bobx1'", ours[65536];
    size_t n = strlen(request);
    everything(state);
    for (int i = 1; i < 150; i++)
        n += (size_t)snprintf(request + n, sizeof(request) - n, ",'bob%dx1'", i);
    snprintf(request + n, sizeof(request) - n, "]}");
    ask(&c, 15, 0, request);
    struct asked *a = next_asked();
    assert_non_null(a);
    assert_int_equal(json_array_size(json_object_get(a->body, "groups")), 150);
    n = (size_t)snprintf(ours, sizeof(ours), "{'groups':[{'groupId':'bobx1'}");
    for (int i = 1; i < 150; i++)
        n += (size_t)snprintf(ours + n, sizeof(ours) - n, ",{'groupId':'bob%dx1'}", i);
    snprintf(ours + n, sizeof(ours) - n, "]}");
    reply(a, ours);
    expect(&c, ours);
    client_close(&c);
}

/* Every broker is asked; foreign groups are left out of the union. */
static void list_groups(void **state)
{
    everything(state);
    for (int round = 0; round < 2; round++) {
        struct asked *a[3];
        ask(&c, 16, 4, "{'statesFilter':['Stable']}");
        for (int i = 0; i < 3; i++)
            a[i] = broker_gets(0, 16, 4, "{'statesFilter':['Stable']}");
        for (int i = 0; i < 3; i++) {
            if (round && a[i]->broker == 2)
                fake_close(asked_conn(a[i]), true);
            else
                reply(a[i], a[i]->broker == 3 ? "{'groups':[{'groupId':'bob1'},{'groupId':'eve'}]}"
                                              : "{'throttleTimeMs':5}");
        }
        expect(&c, round ? "{'errorCode':15,'throttleTimeMs':5,'groups':[{'groupId':'bob1'}]}"
                         : "{'throttleTimeMs':5,'groups':[{'groupId':'bob1'}]}");
    }
    client_close(&c);
}

/* --- KIP-848 */

static void heartbeat(void **state)
{
    everything(state);
    /* One foreign name denies the whole. */
    stays(68, 0, "{'groupId':'bob1','subscribedTopicNames':['t1','foreign']}", "{'errorCode':29}");
    goes(68, 0,
         "{'groupId':'bob1','memberId':'m','rackId':'cellar','subscribedTopicNames':['t1'],"
         "'topicPartitions':[{'topicId':'f','partitions':[1]},{'topicId':'a','partitions':[2]}]}",
         1,
         "{'groupId':'bob1','memberId':'m','subscribedTopicNames':['t1'],"
         "'topicPartitions':[{'topicId':'a','partitions':[2]}]}",
         "{'memberId':'m','memberEpoch':4,'assignment':{'topicPartitions':[{'topicId':'f',"
         "'partitions':[0]},{'topicId':'a','partitions':[1]}]}}",
         "{'memberId':'m','memberEpoch':4,'assignment':{'topicPartitions':[{'topicId':'a',"
         "'partitions':[1]}]}}");
    /* A pattern is resolved to the granted names, and never seen by a broker. */
#define HB(regex, names)                                                                           \
    goes(68, 1, "{'groupId':'bob1','subscribedTopicRegex':'" regex "'}", 1,                        \
         "{'groupId':'bob1','subscribedTopicNames':" names "}", "{}", "{}")
    HB(".*", "['gone','t1','t2']");
    HB("t.", "['t1','t2']");
    HB("t", "[]");
    HB("T1", "[]");
    HB("(?i)T1", "['t1']");
    HB("foreign", "[]");
    HB("t1|foreign", "['t1']");
    HB("", "null");
    goes(68, 1, "{'groupId':'bob1','subscribedTopicNames':['gone'],'subscribedTopicRegex':'t2'}", 1,
         "{'groupId':'bob1','subscribedTopicNames':['gone','t2']}", "{}", "{}");
    stays(68, 1, "{'groupId':'bob1','subscribedTopicRegex':'('}", "{'errorCode':128}");
    stays(68, 1, "{'groupId':'bob1','subscribedTopicRegex':'[a'}", "{'errorCode':128}");
    client_close(&c);
}

/* Patterns that cost too much are refused, soon. */
static void costly_patterns(void **state)
{
    static const char *const patterns[] = {
        "(a*)*b",
        "(a|aa)+$",
        "((a?){60}){60}b",
        "(?:(?:(?:a+)+)+)+b",
        "[ab]*[ab]*[ab]*[ab]*[ab]*[ab]*[de]", /* shallow, and for ever */
    };
    char topics[300], request[512];
    (void)state;
    memset(topics, 'a', 240);
    topics[0] = '"';
    memcpy(topics + 240, "c\"", 3);
    login_with(&c, &(struct token_wish){.topics = topics});
    for (unsigned i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        uint64_t start = loop_clock_us(bed.up.loop);
        snprintf(request, sizeof(request), "{'groupId':'bob1','subscribedTopicRegex':'%s'}",
                 patterns[i]);
        ask(&c, 68, 1, request);
        bed.wants_asked = bed.ntaken + 1;
        struct asked *a;
        bed.also = NULL;
        settle_ms(100);
        a = bed.nasked > bed.ntaken ? next_asked() : NULL;
        if (a) { /* cheap after all: it just matches nothing */
            assert_int_equal(json_array_size(json_object_get(a->body, "subscribedTopicNames")), 0);
            reply(a, "{}");
            expect(&c, "{}");
        } else {
            expect(&c, "{'errorCode':128}");
        }
        assert_true(loop_clock_us(bed.up.loop) - start < 1000000);
    }
    /* Two million steps: a moment for a fast machine, but for each name. */
    stays(68, 1, "{'groupId':'bob1','subscribedTopicRegex':'[ab]*[ab]*[ab]*[ab]*[de]'}",
          "{'errorCode':128}");
    client_close(&c);
}

static void group_describe(void **state)
{
    everything(state);
#define MEMBER(names, assigned)                                                                    \
    "{'memberId':'m','rackId':%s,'clientHost':%s,'subscribedTopicNames':[" names                   \
    "],'subscribedTopicRegex':%s,'assignment':{'topicPartitions':[" assigned "]}}"
    char theirs[2048], ours[2048];
    snprintf(theirs, sizeof(theirs),
             "{'groups':[{'groupId':'bob1','members':[" MEMBER(
                 "'t1'", "{'topicId':'a','topicName':'t1','partitions':[1]}") "]}%s]}",
             "'cellar'", "'/10.0.0.9'", "'t.*'",
             ",{'groupId':'bobz1','groupState':'Stable','members':[{'subscribedTopicNames':['t1',"
             "'foreign']}]},{'groupId':'boby1','members':[{'assignment':{'topicPartitions':[{"
             "'topicId':'f','topicName':'foreign'}]}}]},{'groupId':'bobw1','members':[{"
             "'targetAssignment':{'topicPartitions':[{'topicId':'f','topicName':'foreign'}]}}]}");
#define TOO_MUCH                                                                                   \
    "'errorCode':29,'errorMessage':'The group has described topic(s) that the client is not "      \
    "authorized to describe.'"
    snprintf(ours, sizeof(ours),
             "{'groups':[{'groupId':'bob1','authorizedOperations':328,'members':[" MEMBER(
                 "'t1'", "{'topicId':'a','topicName':'t1','partitions':[1]}") "]}%s]}",
             "null", "''", "null",
             ",{'groupId':'bobz1','groupState':'Stable'," TOO_MUCH "},{'groupId':'boby1'," TOO_MUCH
             "},{'groupId':'bobw1'," TOO_MUCH "},{'groupId':'eve','errorCode':30}");
    goes(69, 0,
         "{'groupIds':['bob1','bobz1','boby1','bobw1','eve'],"
         "'includeAuthorizedOperations':true}",
         1, "{'groupIds':['bob1','bobz1','boby1','bobw1']}", theirs, ours);
    client_close(&c);
}

/* --- coordinators */

#define HERE "'host':'gate.example.com','port':9093"
#define MALFORMED                                                                                  \
    "'errorMessage':'This most likely occurs because of a request being malformed by the client "  \
    "library or the message was sent to an incompatible broker. See the broker logs for more "     \
    "details.'"

static void find_coordinator(void **state)
{
    everything(state);
    stays(10, 0, "{'key':'bob2'}", "{" HERE "}");
    stays(10, 3, "{'key':'bob2'}", "{" HERE ",'errorMessage':'NONE'}");
    stays(10, 0, "{'key':'eve'}", "{'errorCode':30,'nodeId':-1,'port':-1}");
    stays(10, 2, "{'key':'eve'}",
          "{'errorCode':30,'errorMessage':'Group authorization failed.',"
          "'nodeId':-1,'port':-1}");
    stays(10, 2, "{'key':'eve','keyType':1}",
          "{'errorCode':53,'errorMessage':'Transactional Id authorization failed.','nodeId':-1,"
          "'port':-1}");
    /* A batch: each on its own. */
    stays(10, 4, "{'coordinatorKeys':['bob1','eve','bob3','']}",
          "{'coordinators':[{'key':'bob1'," HERE "},{'key':'eve','errorCode':30,'nodeId':-1,"
          "'port':-1},{'key':'bob3'," HERE "},{'key':'','errorCode':30,'nodeId':-1,'port':-1}]}");
    stays(10, 5, "{'keyType':1,'coordinatorKeys':['bob1','eve']}",
          "{'coordinators':[{'key':'bob1'," HERE "},{'key':'eve','errorCode':53,'nodeId':-1,"
          "'port':-1}]}");
    stays(10, 6, "{'keyType':2,'coordinatorKeys':['bob:AAAAAAAAAAAAAAAAAAAAAA:0']}",
          "{'coordinators':[{'key':'bob:AAAAAAAAAAAAAAAAAAAAAA:0','errorCode':31,'nodeId':-1,"
          "'port':-1}]}");
    /* A type that the version doesn't have. */
    stays(10, 6, "{'keyType':7,'coordinatorKeys':['bob']}",
          "{'coordinators':[{'key':'bob','errorCode':42,'nodeId':-1,'port':-1," MALFORMED "}]}");
    stays(10, 5, "{'keyType':2,'coordinatorKeys':['bob']}",
          "{'coordinators':[{'key':'bob','errorCode':42,'nodeId':-1,'port':-1," MALFORMED "}]}");
    stays(10, 3, "{'keyType':2,'key':'bob'}",
          "{'errorCode':42,'nodeId':-1,'port':-1," MALFORMED "}");
    stays(10, 4, "{}", "{}");
    client_close(&c);
    login(&c, NULL); /* reading has no transactions */
    stays(10, 4, "{'keyType':1,'coordinatorKeys':['bob1']}",
          "{'coordinators':[{'key':'bob1','errorCode':53,'nodeId':-1,'port':-1}]}");
    client_close(&c);
}

/* --- transactions */

static void transactions(void **state)
{
    everything(state);
    goes(22, 4, "{'transactionalId':'bob2','producerId':5}", 2,
         "{'transactionalId':'bob2','producerId':5}", "{'producerId':5,'producerEpoch':1}",
         "{'producerId':5,'producerEpoch':1}");
    goes(22, 0, "{'transactionalId':null}", 0, "{'transactionalId':null}", "{'producerId':9}",
         "{'producerId':9}");
    goes(25, 0, "{'transactionalId':'bob3','groupId':'bob1'}", 3,
         "{'transactionalId':'bob3','groupId':'bob1'}", "{}", "{}");
    goes(26, 5, "{'transactionalId':'bob3','committed':true}", 3,
         "{'transactionalId':'bob3','committed':true}", "{'producerId':3}", "{'producerId':3}");
#define ADD(name, list) "{'name':'" name "','partitions':" list "}"
    goes(24, 1, "{'v3AndBelowTransactionalId':'bob2','v3AndBelowTopics':[" ADD("t1", "[0,1]") "]}",
         2, "{'v3AndBelowTransactionalId':'bob2','v3AndBelowTopics':[" ADD("t1", "[0,1]") "]}",
         "{'resultsByTopicV3AndBelow':[{'name':'t1','resultsByPartition':[{},{'partitionIndex':1}]"
         "}]}",
         "{'resultsByTopicV3AndBelow':[{'name':'t1','resultsByPartition':[{},{'partitionIndex':1}]"
         "}]}");
    /* All or nothing: denied, missing, and what was not tried. */
    stays(24, 3,
          "{'v3AndBelowTransactionalId':'bob2','v3AndBelowTopics':[" ADD("t1", "[0,8]") "," ADD(
              "foreign", "[4]") "," ADD("gone", "[0]") "]}",
          "{'resultsByTopicV3AndBelow':[{'name':'foreign','resultsByPartition':[{'partitionIndex':"
          "4,'partitionErrorCode':29}]},{'name':'t1','resultsByPartition':[{'partitionErrorCode':55"
          "},{'partitionIndex':8,'partitionErrorCode':3}]},{'name':'gone','resultsByPartition':[{"
          "'partitionErrorCode':3}]}]}");
    stays(24, 0, "{'v3AndBelowTransactionalId':'eve','v3AndBelowTopics':[" ADD("t1", "[0]") "]}",
          "{'resultsByTopicV3AndBelow':[{'name':'t1','resultsByPartition':[{"
          "'partitionErrorCode':53}]}]}");
    client_close(&c);
    login(&c, NULL);
    stays(22, 0, "{'transactionalId':null}", "{'errorCode':31,'producerId':-1,'producerEpoch':-1}");
    stays(22, 0, "{'transactionalId':'bob'}",
          "{'errorCode':53,'producerId':-1,'producerEpoch':-1}");
    client_close(&c);
}

/* --- configuration */

static void configs(void **state)
{
    everything(state);
#define RES(type, name) "{'resourceType':" #type ",'resourceName':'" name "'}"
#define RES_NO(type, name, code, text)                                                             \
    "{'errorCode':" #code ",'errorMessage':'" text "','resourceType':" #type                       \
    ",'resourceName':'" name "'}"
#define NO_BROKER RES_NO(4, "1", 31, "Cluster authorization failed.")
#define NO_TOPIC  RES_NO(2, "foreign", 29, "Topic authorization failed.")
#define NO_GROUP  RES_NO(32, "bob", 30, "Group authorization failed.")
#define NO_LOGGER RES_NO(8, "1", 31, "Cluster authorization failed.")
    goes(32, 1,
         "{'resources':[" RES(4, "1") "," RES(2, "foreign") "," RES(2, "t2") "," RES(
             32, "bob") "," RES(8, "1") "]}",
         0, "{'resources':[" RES(2, "t2") "]}",
         "{'results':[{'errorMessage':null,'resourceType':2,'resourceName':'t2','configs':["
         "{'name':'retention.ms','value':'5','synonyms':[{'name':"
         "'leader.replication.throttled.replicas','value':'0:1,1:2'}]},"
         "{'name':'leader.replication.throttled.replicas','value':'0:1,1:2'}]}]}",
         "{'results':[{'errorMessage':null,'resourceType':2,'resourceName':'t2','configs':["
         "{'name':'retention.ms','value':'5','synonyms':[{'name':"
         "'leader.replication.throttled.replicas','value':''}]},"
         "{'name':'leader.replication.throttled.replicas','value':''}]}," NO_BROKER "," NO_TOPIC
         "," NO_GROUP "," NO_LOGGER "]}");
    client_close(&c);
    login(&c, NULL);
    stays(32, 4, "{'resources':[" RES(2, "t2") "]}",
          "{'results':[" RES_NO(2, "t2", 29, "Topic authorization failed.") "]}");
    stays(32, 4, "{'resources':[{'resourceType':3,'resourceName':'x'}]}",
          "{'results':[{'errorCode':42,'resourceType':3,'resourceName':'x'," MALFORMED "}]}");
    stays(29, 3, "{}",
          "{'errorCode':54,'errorMessage':'No Authorizer is configured on the broker'}");
    client_close(&c);
}

/* Whatever is not in the table ends the connection, and no broker hears of it. */
static void not_offered(void **state)
{
    static const int apis[] = {19, 20, 21, 30, 31, 33, 35, 37, 44, 45, 50, 61,
                               65, 66, 68, 71, 72, 74, 76, 78, 79, 88, 90, 94};
    for (unsigned i = 0; i < sizeof(apis) / sizeof(apis[0]); i++) {
        const struct message *m = schema_find(apis[i], true);
        everything(state);
        ask(&c, apis[i], apis[i] == 68 ? 0 : m->versions.max,
            apis[i] == 68 ? "{'groupId':'eve'}" : "{}");
        if (apis[i] == 68)
            expect(&c, "{'errorCode':30}");
        else
            expect_closed(&c);
        client_close(&c);
    }
    /* Fetch above 15, where broker addresses could follow the records; AddPartitionsToTxn 4. */
    for (int i = 0; i < 3; i++) {
        everything(state);
        ask(&c, i == 0 ? 1 : i == 1 ? 24 : 22, i == 0 ? 16 : i == 1 ? 4 : 6, "{}");
        expect_closed(&c);
        client_close(&c);
    }
    assert_int_equal(bed.nasked, 0);
}

/* Denials are many here, and not held back. */
static int policy_setup(void **state)
{
    (void)state;
    gate_bed_start("limits: {denial_pace_ms: 0}\n");
    return 0;
}

#define policy_test(f) cmocka_unit_test_setup_teardown(f, policy_setup, gate_bed_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        policy_test(metadata_named),
        policy_test(metadata_all),
        policy_test(metadata_by_id),
        policy_test(known_to_another),
        policy_test(describe_topics),
        policy_test(describe_cluster),
        policy_test(list_offsets),
        policy_test(leader_epochs),
        policy_test(produce),
        policy_test(produce_lost),
        policy_test(produce_silent),
        policy_test(groups),
        policy_test(group_calls),
        policy_test(no_coordinator),
        policy_test(offset_fetch),
        policy_test(offset_fetch_by_id),
        cmocka_unit_test_setup_teardown(separator, separator_setup, gate_bed_teardown),
        policy_test(group_lists),
        policy_test(many_groups),
        policy_test(list_groups),
        policy_test(heartbeat),
        policy_test(costly_patterns),
        policy_test(group_describe),
        policy_test(find_coordinator),
        policy_test(transactions),
        policy_test(configs),
        policy_test(not_offered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
