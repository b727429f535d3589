#include "tests/unit/unit.h"

#include "proxy/exchange.h"
#include "tests/unit/gate_bed.h"

static struct client c;

/* A Fetch's texts. Brokers are asked with session 0, epoch -1, no rack; what remains of the
 * client's max_wait_ms is not compared. */
#define HEAD           "'maxWaitMs':%d,'minBytes':1,'maxBytes':1000000"
#define P(i, offset)   "{'partition':" #i ",'fetchOffset':" #offset ",'partitionMaxBytes':500000}"
#define T1(partitions) "{'topic':'t1','partitions':[" partitions "]}"
#define T2(partitions) "{'topic':'t2','partitions':[" partitions "]}"

/* A broker's partition: with records, and one without. */
#define DATA(i, n, hw)                                                                             \
    "{'partitionIndex':" #i ",'highWatermark':" #hw ",'lastStableOffset':" #hw                     \
    ",'logStartOffset':1,'abortedTransactions':null,'records':" #n "}"
#define NEWS        DATA
#define NONE(i, hw) DATA(i, 0, hw)
/* Filled in by the gate: nothing is known of it. */
#define NO(i, code)                                                                                \
    "{'partitionIndex':" #i ",'errorCode':" #code                                                  \
    ",'highWatermark':-1,'lastStableOffset':-1,'logStartOffset':-1,'records':0}"
#define BLANK(i)                                                                                   \
    "{'partitionIndex':" #i ",'highWatermark':-1,'lastStableOffset':-1,'logStartOffset':-1,"       \
    "'abortedTransactions':null,'records':0}"

static void fetch(int version, int wait_ms, const char *topics)
{
    char text[4096];
    snprintf(text, sizeof(text), "{" HEAD ",'topics':[%s],'sessionEpoch':%d%s}", wait_ms, topics,
             version >= 7 ? 0 : -1, version >= 11 ? ",'rackId':'elsewhere'" : "");
    ask(&c, 1, version, text);
}

/* This broker was asked for these topics, and nothing else; returns the request. */
#define fetched(broker, version, topics) fetched_at(broker, version, topics, __LINE__)
static struct asked *fetched_at(int broker, int version, const char *topics, int line)
{
    struct asked *a = asked_of(broker);
    char text[4096];
    int wait_ms = (int)json_integer_value(json_object_get(a->body, "maxWaitMs"));
    unsigned at = 0;
    snprintf(text, sizeof(text), "{" HEAD ",'topics':[%s],'replicaId':-1}", wait_ms, topics);
    for (struct asked *o = bed.asked; o != a; o = o->next)
        at++;
    bed.ntaken = at;
    a = broker_gets_at(broker, 1, version, text, line);
    bed.ntaken = bed.nasked;
    a->answered = true; /* asked_of looks for others from here */
    return a;
}

static void answers(struct asked *a, const char *topics)
{
    char text[8192];
    snprintf(text, sizeof(text), "{'responses':[%s]}", topics);
    reply(a, text);
}

#define gets(topics) gets_at(topics, __LINE__)
static void gets_at(const char *topics, int line)
{
    char text[8192];
    snprintf(text, sizeof(text), "{'responses':[%s]}", topics);
    expect_at(&c, text, line);
}

static unsigned count(const struct fake *f)
{
    return f->requests[1];
}

static void one_leader(void **state)
{
    (void)state;
    login(&c, NULL);
    for (int v = 4; v <= 12; v++) {
        fetch(v, 500, T2(P(0, 7)));
        struct asked *a = fetched(1, v, T2(P(0, 7)));
        char text[512];
        snprintf(text, sizeof(text),
                 "{'responses':[{'topic':'t2','partitions':[{'partitionIndex':0,'highWatermark':9,"
                 "'lastStableOffset':8,'records':100%s%s,'abortedTransactions':[{'producerId':4,"
                 "'firstOffset':2}]}]}],'throttleTimeMs':3}",
                 v >= 5 ? ",'logStartOffset':1" : "", v >= 11 ? ",'preferredReadReplica':2" : "");
        reply(a, text);
        if (v >= 11) { /* a preferred replica would be acted upon */
            snprintf(text, sizeof(text),
                     "{'responses':[{'topic':'t2','partitions':[{'partitionIndex':0,"
                     "'highWatermark':9,'lastStableOffset':8,'records':100,'logStartOffset':1,"
                     "'preferredReadReplica':-1,'abortedTransactions':[{'producerId':4,"
                     "'firstOffset':2}]}]}],'throttleTimeMs':3}");
        }
        expect(&c, text);
    }
    client_close(&c);
}

static void one_leader_by_id(void **state)
{
    (void)state;
    login(&c, NULL);
    for (int v = 13; v <= 15; v++) {
        fetch(v, 500, "{'topicId':'b','partitions':[" P(0, 7) "]}");
        struct asked *a = asked_of(1);
        assert_null(json_object_get(a->body, "replicaState"));
        a->answered = true;
        answers(a, "{'topicId':'b','partitions':[" DATA(0, 10, 9) "]}");
        gets("{'topicId':'b','partitions':[" DATA(0, 10, 9) "]}");
    }
    client_close(&c);
}

/* What a large answer looks like however it is cut: records, tags, leaders. */
static void one_leader_streamed(void **state)
{
    static const unsigned pieces[] = {1, 2, 3, 7, 1000};
    (void)state;
    login(&c, NULL);
    for (unsigned i = 0; i < 5; i++) {
        for (int v = i ? 7 : 4; v <= 15; v += i ? 5 : 1) {
            char from[2048], to[2048];
            const char *t1 = v >= 13 ? "'topicId':'a'" : "'topic':'t1'";
            const char *t2 = v >= 13 ? "'topicId':'b'" : "'topic':'t2'";
            snprintf(from, sizeof(from),
                     "{%s,'partitions':[" P(0, 1) "]},{%s,'partitions':[" P(0, 2) "]}", t1, t2);
            fetch(v, 500, from);
            struct asked *a = asked_of(1);
            bed.ntaken = bed.nasked;
            for (int back = 0; back < 2; back++)
                snprintf(
                    back ? to : from, sizeof(to),
                    "{'throttleTimeMs':5,'responses':[{%s,'partitions':[{'partitionIndex':0,"
                    "'highWatermark':9,'records':70000%s%s}]},{%s,'partitions':[{"
                    "'partitionIndex':0,'errorCode':6,'highWatermark':-1,'records':20%s}]}]%s}",
                    t1,
                    v >= 11 ? (back ? ",'preferredReadReplica':-1" : ",'preferredReadReplica':2")
                            : "",
                    v >= 12 ? (back ? ",'currentLeader':{'leaderId':0,'leaderEpoch':6}"
                                    : ",'currentLeader':{'leaderId':2,'leaderEpoch':6}")
                            : "",
                    t2, v >= 5 ? ",'logStartOffset':4" : "",
                    v >= 7 && !back ? ",'sessionId':77" : "");
            reply_in_pieces(a, from, pieces[i], 150, 69800);
            expect(&c, to);
        }
    }
    assert_int_equal(bed.gate->counters.fetch_streamed, 12 + 4 * 2);
    client_close(&c);
}

/* Content of tags that the gate does not know is blanked, each of them. */
static void streamed_tags(void **state)
{
    (void)state;
    login(&c, NULL);
    fetch(12, 500, T2(P(0, 7)));
    struct asked *a = fetched(1, 12, T2(P(0, 7)));
    reply(a, "{'responses':[{'topic':'t2','partitions':[{'partitionIndex':0,'records':70000,"
             "'_tags':[[9,'10.0.0.1'],[10,'kafka-1'],[11,'']]}],'_tags':[[3,'10.0.0.2']]}],"
             "'_tags':[[7,'x'],[8,'yy']]}");
    expect(&c, "{'responses':[{'topic':'t2','partitions':[{'partitionIndex':0,'records':70000,"
               "'_tags':[[9,'\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000'],"
               "[10,'\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000'],[11,'']]}],"
               "'_tags':[[3,'\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000']]}],"
               "'_tags':[[7,'\\u0000'],[8,'\\u0000\\u0000']]}");
    client_close(&c);
}

#define ALL T1(P(0, 10) "," P(1, 11) "," P(2, 12)) "," T2(P(0, 13))

static void three_leaders(void **state)
{
    (void)state;
    login(&c, NULL);
    fetch(11, 2000, ALL);
    struct asked *a = fetched(1, 11, T1(P(0, 10)) "," T2(P(0, 13)));
    struct asked *b = fetched(2, 11, T1(P(1, 11)));
    struct asked *d = fetched(3, 11, T1(P(2, 12)));
    /* One leader's news go out at once; nothing is known of the others. */
    answers(b, T1(DATA(1, 33, 40)));
    gets(T1(BLANK(0) "," DATA(1, 33, 40) "," BLANK(2)) "," T2(BLANK(0)));
    /* The other two are still asked; only the one whose position moved is asked anew. */
    unsigned asked1 = count(&bed.up.fake[0]), asked3 = count(&bed.up.fake[2]);
    fetch(11, 2000, T1(P(0, 10) "," P(1, 40) "," P(2, 12)) "," T2(P(0, 13)));
    b = fetched(2, 11, T1(P(1, 40)));
    assert_int_equal(count(&bed.up.fake[0]), asked1);
    assert_int_equal(count(&bed.up.fake[2]), asked3);
    /* What comes for the former Fetch answers this one. Watermarks are remembered. */
    answers(d, T1(DATA(2, 5, 17)));
    gets(T1(BLANK(0) "," NONE(1, 40) "," DATA(2, 5, 17)) "," T2(BLANK(0)));
    /* While nobody asks, both of the others answer: the next Fetch gets both, in one. */
    answers(a, T1(DATA(0, 9, 20)) "," T2(NONE(0, 13)));
    answers(b, T1(DATA(1, 8, 48)));
    settle_ms(20);
    fetch(11, 2000, T1(P(0, 10) "," P(1, 40) "," P(2, 17)) "," T2(P(0, 13)));
    gets(T1(DATA(0, 9, 20) "," DATA(1, 8, 48) "," NONE(2, 17)) "," T2(NONE(0, 13)));
    assert_int_equal(bed.gate->counters.fetch_joined, 3);
    client_close(&c);
}

/* Leaders that have nothing are asked again until the client's time is over. */
static void nothing_new(void **state)
{
    (void)state;
    login(&c, NULL);
    uint64_t start = loop_clock_us(bed.up.loop);
    fetch(11, 300, T1(P(0, 10) "," P(1, 11)));
    struct asked *a = fetched(1, 11, T1(P(0, 10)));
    struct asked *b = fetched(2, 11, T1(P(1, 11)));
    answers(a, T1(NONE(0, 10)));
    a = fetched(1, 11, T1(P(0, 10)));
    int64_t left = json_integer_value(json_object_get(a->body, "maxWaitMs"));
    assert_in_range(left, 1, 300);
    answers(b, ""); /* throttled: an empty body */
    b = fetched(2, 11, T1(P(1, 11)));
    gets(T1(NONE(0, 10) "," BLANK(1)));
    assert_in_range(loop_clock_us(bed.up.loop) - start, 295000, 2000000);
    /* A third Fetch, as long as these two are parked: their answers count. */
    fetch(11, 2000, T1(P(0, 10) "," P(1, 11)));
    answers(b, T1(DATA(1, 4, 12)));
    gets(T1(NONE(0, 10) "," DATA(1, 4, 12)));
    client_close(&c);
}

static void no_minimum(void **state)
{
    (void)state;
    login(&c, NULL);
    ask(&c, 1, 11,
        "{'maxWaitMs':3000,'minBytes':0,'maxBytes':1000,'topics':[" T1(P(0, 1) "," P(1, 1)) "]}");
    struct asked *a = asked_of(1), *b = asked_of(2);
    bed.ntaken = bed.nasked;
    answers(a, T1(NONE(0, 3)));
    answers(b, T1(NONE(1, 4)));
    uint64_t start = loop_clock_us(bed.up.loop);
    gets(T1(NONE(0, 3) "," NONE(1, 4)));
    assert_true(loop_clock_us(bed.up.loop) - start < 1000000);
    nobody_asked();
    /* No time at all: one leader is heard all the same. */
    fetch(11, 0, T2(P(0, 1)));
    a = asked_of(1);
    bed.ntaken = bed.nasked;
    settle_ms(30);
    answers(a, T2(DATA(0, 5, 6)));
    gets(T2(DATA(0, 5, 6)));
    client_close(&c);
}

/* A large answer streams while the other leaders' partitions are filled in, each topic once. */
static void streamed_among_three(void **state)
{
    static const unsigned pieces[] = {0, 1, 3};
    (void)state;
    login(&c, NULL);
    for (unsigned i = 0; i < 3; i++) {
        for (int v = 11; v <= 12; v++) {
            fetch(v, 2000, ALL);
            struct asked *a = fetched(1, v, T1(P(0, 10)) "," T2(P(0, 13)));
            struct asked *b = fetched(2, v, T1(P(1, 11)));
            struct asked *d = fetched(3, v, T1(P(2, 12)));
            const char *large = "{'responses':[" T1(DATA(1, 80000, 40)) "]}";
            if (pieces[i])
                reply_in_pieces(b, large, pieces[i], 100, 79900);
            else
                reply(b, large);
            if (i == 0 && v == 11)
                gets(T2(BLANK(0)) "," T1(BLANK(0) "," BLANK(2) "," DATA(1, 80000, 40)));
            else
                gets(T2(NONE(0, 13)) "," T1(NONE(0, 20) "," NONE(2, 17) "," DATA(1, 80000, 40)));
            /* The others are parked, and join the next. */
            answers(a, T1(DATA(0, 9, 20)) "," T2(NONE(0, 13)));
            answers(d, T1(DATA(2, 7, 17)));
            settle_ms(20);
            fetch(v, 2000, ALL);
            b = fetched(2, v, T1(P(1, 11)));
            gets(T1(DATA(0, 9, 20) "," NONE(1, 40) "," DATA(2, 7, 17)) "," T2(NONE(0, 13)));
            answers(b, T1(NONE(1, 40)));
            settle_ms(20);
            /* Leave nothing parked that the next round would take over. */
            fetch_clear(bed.gate->first);
        }
    }
    assert_int_equal(bed.gate->counters.fetch_streamed, 6);
    client_close(&c);
}

/* Two large answers take turns; the second waits in its socket, parked. */
static void two_large(void **state)
{
    (void)state;
    login(&c, NULL);
    fetch(11, 2000, T1(P(0, 10) "," P(1, 11)));
    struct asked *a = fetched(1, 11, T1(P(0, 10)));
    struct asked *b = fetched(2, 11, T1(P(1, 11)));
    answers(a, T1(DATA(0, 300000, 40)));
    answers(b, T1(DATA(1, 400000, 50)));
    json_t *j = answer(&c);
    char *text = json_dumps(j, 0);
    bool first = strstr(text, "300000") != NULL;
    assert_true(first != (strstr(text, "400000") != NULL));
    free(text);
    fetch(11, 2000, first ? T1(P(0, 40) "," P(1, 11)) : T1(P(0, 10) "," P(1, 50)));
    if (first)
        gets(T1(NONE(0, 40) "," DATA(1, 400000, 50)));
    else
        gets(T1(NONE(1, 50) "," DATA(0, 300000, 40)));
    json_decref(j);
    client_close(&c);
}

/* A Fetch that leaves out a partition that had data waits a moment only. */
static void left_out(void **state)
{
    (void)state;
    login(&c, NULL);
    fetch(11, 2000, T1(P(0, 10) "," P(1, 11)));
    struct asked *a = fetched(1, 11, T1(P(0, 10)));
    struct asked *b = fetched(2, 11, T1(P(1, 11)));
    answers(a, T1(DATA(0, 9, 20)));
    gets(T1(DATA(0, 9, 20) "," BLANK(1)));
    uint64_t start = loop_clock_us(bed.up.loop);
    fetch(11, 2000, T1(P(1, 11)));
    settle_ms(40); /* its leader is still asked: what it says by then is the answer */
    answers(b, T1(NONE(1, 11)));
    gets(T1(NONE(1, 11)));
    assert_true(loop_clock_us(bed.up.loop) - start < 1500000);
    client_close(&c);
}

/* Another request behind a waiting Fetch: it is answered at once, and taken over by the next. */
static void hurried(void **state)
{
    (void)state;
    login(&c, NULL);
    fetch(11, 3000, T2(P(0, 7)));
    struct asked *a = fetched(1, 11, T2(P(0, 7)));
    ask(&c, 60, 0, "{}");
    gets(T2(BLANK(0)));
    json_decref(answer(&c));
    fetch(11, 3000, T2(P(0, 7)));
    nobody_asked();
    answers(a, T2(DATA(0, 4, 8)));
    gets(T2(DATA(0, 4, 8)));
    client_close(&c);
}

/* Fetches that stand behind each other are worked on one after another, and nothing that a broker
 * has answered gets lost between them. */
static void pipelined(void **state)
{
    (void)state;
    login(&c, NULL);
    for (int i = 0; i < 20; i++) {
        fetch(11, 2000, T1(P(0, 10)));
        fetch(11, 2000, T2(P(0, 7)));
        struct asked *a = fetched(1, 11, T1(P(0, 10)));
        nobody_asked();
        answers(a, T1(DATA(0, 9, 20)));
        gets(T1(DATA(0, 9, 20)));
        a = fetched(1, 11, T2(P(0, 7)));
        answers(a, T2(DATA(0, 4, 8)));
        gets(T2(DATA(0, 4, 8)));
        if (i == 2)
            break;
    }
    /* With a third request behind them both are hurried; their parked answers wait for them. */
    fetch(11, 2000, T1(P(0, 20)));
    fetch(11, 2000, T2(P(0, 8)));
    ask(&c, 60, 0, "{}");
    gets(T1(NONE(0, 20)));
    gets(T2(NONE(0, 8)));
    json_decref(answer(&c));
    struct asked *a = fetched(1, 11, T1(P(0, 20)));
    struct asked *b = fetched(1, 11, T2(P(0, 8)));
    answers(a, T1(DATA(0, 5, 25)));
    answers(b, T2(DATA(0, 6, 14)));
    settle_ms(20);
    fetch(11, 2000, T2(P(0, 8)));
    gets(T2(DATA(0, 6, 14)));
    fetch(11, 2000, T1(P(0, 20)));
    gets(T1(DATA(0, 5, 25)));
    nobody_asked();
    /* As many as may be in flight, all answered at once: no deep stack, every answer in order. */
    for (int i = 0; i < 60; i++)
        ask(&c, 1, 11, "{'topics':[]}");
    for (int i = 0; i < 60; i++)
        gets("");
    client_close(&c);
}

/* A seek: what is parked is not what is asked now. Small answers are drained, large ones close the
 * connection, and what waits behind is asked anew. */
static void unwanted(void **state)
{
    (void)state;
    login(&c, NULL);
    fetch(11, 2000, T2(P(0, 7)));
    struct asked *a = fetched(1, 11, T2(P(0, 7)));
    ask(&c, 60, 0, "{}");
    gets(T2(BLANK(0)));
    json_decref(answer(&c));
    fetch(11, 2000, T2(P(0, 100)));
    struct asked *b = fetched(1, 11, T2(P(0, 100)));
    assert_int_equal(a->conn, b->conn);
    answers(a, T2(DATA(0, 200000, 8))); /* in the way: drained */
    answers(b, T2(DATA(0, 4, 104)));
    gets(T2(DATA(0, 4, 104)));
    /* Above a MiB it is not worth reading. */
    fetch(11, 2000, T2(P(0, 7)));
    a = fetched(1, 11, T2(P(0, 7)));
    ask(&c, 60, 0, "{}");
    gets(T2(NONE(0, 104)));
    json_decref(answer(&c));
    fetch(11, 2000, T2(P(0, 200)));
    fetched(1, 11, T2(P(0, 200)));
    answers(a, T2(DATA(0, 1500000, 8)));
    b = fetched(1, 11, T2(P(0, 200)));
    assert_int_not_equal(a->conn, b->conn);
    answers(b, T2(DATA(0, 3, 203)));
    gets(T2(DATA(0, 3, 203)));
    client_close(&c);
}

/* A large answer that has come while it was parked, and then a seek: it is drained, and what is
 * asked behind it gets its answer. */
static void unwanted_large(void **state)
{
    (void)state;
    login(&c, NULL);
    fetch(11, 2000, T1(P(0, 10) "," P(1, 11)));
    struct asked *a = fetched(1, 11, T1(P(0, 10)));
    struct asked *b = fetched(2, 11, T1(P(1, 11)));
    answers(a, T1(DATA(0, 9, 20)));
    gets(T1(DATA(0, 9, 20) "," BLANK(1)));
    answers(b, T1(DATA(1, 100000, 50)));
    settle_ms(30);
    fetch(11, 2000, T1(P(1, 40)));
    b = fetched(2, 11, T1(P(1, 40)));
    answers(b, T1(DATA(1, 7, 50)));
    gets(T1(DATA(1, 7, 50)));
    client_close(&c);
}

static char t2_id;

static bool moved(struct gate_bed *b)
{
    const struct topic_info *i = cluster_topic(b->gate->cluster, "t2", 2);
    return i && i->partitions[0].epoch == (int32_t)b->topic_epoch && i->id[0] == t2_id;
}

static void set_t2(int leader, int epoch, char id)
{
    for (unsigned i = 0; i < 3; i++) {
        struct fake_topic *t = &bed.up.fake[i].topics[1];
        t->leader[0] = leader;
        t->epoch[0] = epoch;
        memset(t->id, id, 16);
    }
    bed.topic_epoch = epoch;
    t2_id = id;
    cluster_stale(bed.gate->cluster);
    assert_true(until(moved));
}

/* A parked answer of another leader epoch, or of a topic that was made anew, is nobody's. */
static void parked_under_another_leader(void **state)
{
    (void)state;
    login(&c, NULL);
    for (int i = 0; i < 3; i++) {
        int broker = i == 1 ? 2 : 1;
        fetch(11, 2000, T2(P(0, 7)));
        struct asked *a = fetched(1, 11, T2(P(0, 7)));
        ask(&c, 60, 0, "{}");
        gets(T2(BLANK(0)));
        json_decref(answer(&c));
        answers(a, T2(DATA(0, 40, 47)));
        settle_ms(20);
        set_t2(broker, i == 2 ? 13 : 10 + 2 * i, i == 2 ? 'x' : 'b'); /* 13 is its epoch so far */
        fetch(11, 2000, T2(P(0, 7)));
        a = fetched(broker, 11, T2(P(0, 7)));
        answers(a, T2(DATA(0, 50, 57)));
        gets(T2(DATA(0, 50, 57)));
        set_t2(1, 11 + 2 * i, 'b');
        fetch_clear(bed.gate->first);
    }
    client_close(&c);
}

/* A topic that is made anew is reached by its new id as soon as somebody asks by that; by its
 * former one it is a broker that says what became of it. */
static void made_anew(void **state)
{
    (void)state;
    login(&c, NULL);
    fetch(13, 500, "{'topicId':'b','partitions':[" P(0, 7) "]}");
    answers(asked_of(1), "{'topicId':'b','partitions':[" DATA(0, 10, 9) "]}");
    gets("{'topicId':'b','partitions':[" DATA(0, 10, 9) "]}");
    for (unsigned i = 0; i < 3; i++)
        memset(bed.up.fake[i].topics[1].id, 'y', 16);
    t2_id = 'y';
    bed.topic_epoch = bed.up.fake[0].topics[1].epoch[0];
    fetch(13, 500, "{'topicId':'y','partitions':[" P(0, 7) "]}");
    gets("{'topicId':'y','partitions':[" NO(0, 100) "]}");
    assert_true(until(moved));
    fetch(13, 500, "{'topicId':'y','partitions':[" P(0, 0) "]}");
    answers(asked_of(1), "{'topicId':'y','partitions':[" DATA(0, 10, 1) "]}");
    gets("{'topicId':'y','partitions':[" DATA(0, 10, 1) "]}");
    fetch(13, 500, "{'topicId':'b','partitions':[" P(0, 7) "]}");
    answers(asked_of(1), "{'topicId':'b','partitions':[" NO(0, 100) "]}");
    gets("{'topicId':'b','partitions':[" NO(0, 100) "]}");
    client_close(&c);
}

/* A leader that is lost: its partitions are answered retriably, unless bytes are on their way. */
static void leader_lost(void **state)
{
    (void)state;
    login(&c, NULL);
    fetch(11, 2000, T1(P(0, 10) "," P(1, 11)));
    fetched(1, 11, T1(P(0, 10)));
    struct asked *b = fetched(2, 11, T1(P(1, 11)));
    fake_close(asked_conn(b), true);
    gets(T1(BLANK(0) ",{'partitionIndex':1,'errorCode':6,'highWatermark':-1,'records':0}"));
    fetch(11, 2000, T1(P(1, 11)));
    b = fetched(2, 11, T1(P(1, 11)));
    struct octets w = reply_frame(b, "{'responses':[" T1(DATA(1, 80000, 40)) "]}");
    fake_raw(asked_conn(b), w.p, 40000);
    assert_true(client_has(&c, 30000));
    fake_close(asked_conn(b), true);
    free(w.p);
    bed.wants = &c;
    bed.wants_bytes = SIZE_MAX;
    assert_true(gate_bed_run(&bed, WAIT_MS));
    assert_true(c.closed);
    assert_int_equal(c.why, ERR_IO); /* a reset, in the middle of a frame */
    assert_null(bed.gate->first);
    client_close(&c);
}

/* Half a frame, then a broker that stalls: the client's session ends at the broker's deadline. */
static void small_answer_cut(void **state)
{
    (void)state;
    login(&c, NULL);
    fetch(11, 100, T2(P(0, 7)));
    struct asked *a = fetched(1, 11, T2(P(0, 7)));
    struct octets w = reply_frame(a, "{'responses':[" T2(DATA(0, 1000, 40)) "]}");
    fake_raw(asked_conn(a), w.p, 500);
    settle_ms(20);
    fake_close(asked_conn(a), true);
    free(w.p);
    gets("{'topic':'t2','partitions':[{'partitionIndex':0,'errorCode':6,'highWatermark':-1,"
         "'records':0}]}");
    client_close(&c);
}

/* An answer to another question is never passed on. */
static void wrong_shape(void **state)
{
    static const char *const small[] = {
        T1(DATA(0, 5, 9)),                                     /* another topic */
        T2(DATA(0, 5, 9) "," DATA(1, 5, 9)),                   /* one more partition */
        T2(DATA(1, 5, 9)),                                     /* another partition */
        T2(""),                                                /* one too few */
        T2(DATA(0, 5, 9) "," DATA(0, 5, 9)),                   /* one twice */
        T2(DATA(0, 5, 9)) "," T1(DATA(0, 5, 9)),               /* one more topic */
        "{'topic':'foreign','partitions':[" DATA(0, 5, 9) "]}" /* a topic of somebody else */
    };
    (void)state;
    for (unsigned large = 0; large < 2; large++) {
        for (unsigned i = 0; i < sizeof(small) / sizeof(small[0]); i++) {
            char text[1024];
            const char *from = small[i];
            size_t n = 0;
            login(&c, NULL);
            fetch(11, 500, T2(P(0, 7)));
            struct asked *a = fetched(1, 11, T2(P(0, 7)));
            /* The same with 70000 bytes of records. */
            for (; *from && n < sizeof(text) - 8; from++) {
                if (large && !strncmp(from, "'records':5", 11)) {
                    n += (size_t)snprintf(text + n, sizeof(text) - n, "'records':70000");
                    from += 10;
                } else {
                    text[n++] = *from;
                }
            }
            text[n] = '\0';
            answers(a, text);
            bed.wants = &c;
            bed.wants_bytes = SIZE_MAX;
            assert_true(gate_bed_run(&bed, WAIT_MS));
            /* Of a large one the client may have seen a beginning, but no records. */
            assert_true(c.closed);
            assert_true(c.t.in.len < 200);
            assert_null(bed.gate->first);
            client_close(&c);
        }
    }
    assert_true(audited("not legal", NULL) > 0 || audited("asked for", NULL) > 0);
}

/* A real broker puts partitions with errors last, so that a topic may stand there twice. */
static void topic_twice(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        bed.up.fake[i].topics[0].leader[1] = 1;
    cluster_stale(bed.gate->cluster);
    login(&c, NULL);
    for (unsigned large = 0; large < 2; large++) {
        fetch(11, 500, T1(P(0, 7) "," P(1, 8)) "," T2(P(0, 9)));
        struct asked *a = asked_of(1);
        char text[1024];
        bed.ntaken = bed.nasked;
        snprintf(text, sizeof(text),
                 "{'responses':[{'topic':'t1','partitions':[{'partitionIndex':1,'highWatermark':9,"
                 "'records':%d}]},{'topic':'t2','partitions':[{'partitionIndex':0,'records':3}]},"
                 "{'topic':'t1','partitions':[{'partitionIndex':0,'errorCode':1,'records':0}]}]}",
                 large ? 70000 : 40);
        reply(a, text);
        snprintf(text, sizeof(text),
                 "{'responses':[{'topic':'t1','partitions':[{'partitionIndex':1,'highWatermark':9,"
                 "'records':%d},{'partitionIndex':0,'errorCode':1,'records':0}]},"
                 "{'topic':'t2','partitions':[{'partitionIndex':0,'records':3}]}]}",
                 large ? 70000 : 40);
        expect(&c, text);
    }
    client_close(&c);
}

/* As many partitions as were asked for, but one of them twice. */
static void answered_twice(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        bed.up.fake[i].topics[0].leader[1] = 1;
    cluster_stale(bed.gate->cluster);
    for (unsigned large = 0; large < 2; large++) {
        login(&c, NULL);
        fetch(11, 500, T1(P(0, 7) "," P(1, 8)));
        answers(asked_of(1), large ? T1(DATA(0, 70000, 9) "," DATA(0, 70000, 9))
                                   : T1(DATA(0, 70, 9) "," DATA(0, 70, 9)));
        bed.wants = &c;
        bed.wants_bytes = SIZE_MAX;
        assert_true(gate_bed_run(&bed, WAIT_MS));
        assert_true(c.closed);
        client_close(&c);
        gate_bed_forget();
    }
}

/* Partitions and topics that are listed twice are asked for once. */
static void asked_twice(void **state)
{
    (void)state;
    login(&c, NULL);
    fetch(11, 500, T2(P(0, 7)) "," T1(P(0, 5) "," P(0, 6)) "," T2(P(0, 8)) "," T1(P(0, 9)));
    struct asked *a = fetched(1, 11, T2(P(0, 8)) "," T1(P(0, 9)));
    answers(a, T2(DATA(0, 5, 9)) "," T1(DATA(0, 5, 9)));
    gets(T2(DATA(0, 5, 9)) "," T1(DATA(0, 5, 9)));
    client_close(&c);
}

static void denied(void **state)
{
    (void)state;
    login(&c, NULL);
    /* A foreign topic beside a granted one: the answer waits for the leader as a broker's would. */
    fetch(11, 2000, "{'topic':'foreign','partitions':[" P(0, 1) "," P(5, 1) "]}," T2(P(0, 7)));
    struct asked *a = fetched(1, 11, T2(P(0, 7)));
    answers(a, T2(DATA(0, 5, 9)));
#define NO4(i, code)                                                                               \
    "{'partitionIndex':" #i ",'errorCode':" #code ",'highWatermark':-1,'records':0}"
    gets(T2(DATA(0, 5, 9)) ",{'topic':'foreign','partitions':[" NO(0, 29) "," NO(5, 29) "]}");
    /* Foreign alone: nobody is asked. */
    for (int v = 4; v <= 12; v += 4) {
        fetch(v, 2000, "{'topic':'foreign','partitions':[" P(0, 1) "]}");
        gets("{'topic':'foreign','partitions':[" NO4(0, 29) "]}");
    }
    nobody_asked();
    /* By id: foreign, unknown and zero ids are the same. */
    for (int v = 13; v <= 15; v++) {
        fetch(v, 2000,
              "{'topicId':'f','partitions':[" P(0, 1) "]},{'topicId':'q','partitions':[" P(
                  0, 1) "]},{'partitions':[" P(0, 1) "]}");
        gets("{'topicId':'f','partitions':[" NO(0, 100) "]},{'topicId':'q','partitions':[" NO(
            0, 100) "]},{'partitions':[" NO(0, 100) "]}");
    }
    nobody_asked();
    /* The same beside a stream. */
    fetch(12, 2000, "{'topic':'foreign','partitions':[" P(0, 1) "]}," T2(P(0, 7)));
    a = fetched(1, 12, T2(P(0, 7)));
    answers(a, T2(DATA(0, 70000, 9)));
    gets("{'topic':'foreign','partitions':[" NO(0, 29) "]}," T2(DATA(0, 70000, 9)));
    client_close(&c);
}

/* A client is no replica, and has no session. */
static void replicas_and_sessions(void **state)
{
    (void)state;
    login(&c, NULL);
    ask(&c, 1, 11, "{'replicaId':2,'topics':[" T2(P(0, 7)) "]}");
    gets(T2(NO(0, 29)));
    ask(&c, 1, 15,
        "{'replicaState':{'replicaId':2},'topics':[{'topicId':'b','partitions':[" P(0, 7) "]}]}");
    gets("{'topicId':'b','partitions':[" NO(0, 29) "]}");
    ask(&c, 1, 11, "{'sessionId':9,'sessionEpoch':1,'topics':[" T2(P(0, 7)) "]}");
    expect(&c, "{'errorCode':70}");
    ask(&c, 1, 11, "{'sessionId':9,'sessionEpoch':0,'topics':[" T2(P(0, 7)) "]}");
    expect(&c, "{'errorCode':70}");
    ask(&c, 1, 11, "{'sessionId':0,'sessionEpoch':1,'topics':[]}");
    expect(&c, "{'errorCode':70}");
    nobody_asked();
    /* The last Fetch of a session that never was, and one that forgets. */
    ask(&c, 1, 11, "{'sessionEpoch':-1,'maxWaitMs':5000}");
    gets("");
    ask(&c, 1, 11, "{'sessionId':9,'sessionEpoch':-1,'maxWaitMs':5000}");
    gets("");
    ask(&c, 1, 11,
        "{'sessionId':9,'sessionEpoch':-1,'maxWaitMs':100,'minBytes':1,'maxBytes':1000000,"
        "'topics':[" T2(P(0, 7)) "]}");
    answers(fetched(1, 11, T2(P(0, 7))), T2(DATA(0, 2, 9)));
    gets(T2(DATA(0, 2, 9)));
    ask(&c, 1, 11,
        "{'replicaId':-2,'maxWaitMs':100,'minBytes':1,'maxBytes':1000000,'topics':[" T2(
            P(0, 7)) "],"
                     "'forgottenTopicsData':[{'topic':'foreign','partitions':[0]}]}");
    answers(fetched(1, 11, T2(P(0, 7))), T2(DATA(0, 2, 9)));
    gets(T2(DATA(0, 2, 9)));
    client_close(&c);
}

/* Partitions that no leader has, or that are not there. */
static void no_leader(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        bed.up.fake[i].topics[0].leader[2] = -1;
    login(&c, NULL);
    fetch(11, 3000,
          T1(P(0, 1) "," P(2, 1) "," P(9, 1) "," P(-1, 1)) ",{'topic':'gone','partitions':[" P(
              0, 1) "]}");
    struct asked *a = fetched(1, 11, T1(P(0, 1)));
    gets(T1(BLANK(0) "," NO(2, 6) "," NO(9, 3) "," NO(-1, 3)) ",{'topic':'gone','partitions':[" NO(
        0, 3) "]}");
    answers(a, T1(DATA(0, 1, 1)));
    settle_ms(10);
    client_close(&c);
}

/* A reader that stands still holds a bounded part of a large answer, however large. */
static void back_pressure(void **state)
{
    (void)state;
    login(&c, NULL);
    transport_pause(&c.t, true);
    int small = 65536;
    setsockopt(c.t.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    fetch(11, 500, T2(P(0, 7)));
    struct asked *a = fetched(1, 11, T2(P(0, 7)));
    answers(a, T2(DATA(0, 6000000, 9)));
    settle_ms(300);
    struct session *s = bed.gate->first;
    assert_non_null(s);
    size_t held = s->t.out.len;
    for (struct session_link *l = s->links; l; l = l->next)
        held += upstream_held_bytes(l->up);
    assert_true(held <= 1024 * 1024);
    transport_pause(&c.t, false);
    gets(T2(DATA(0, 6000000, 9)));
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        gate_test(one_leader),
        gate_test(one_leader_by_id),
        gate_test(one_leader_streamed),
        gate_test(streamed_tags),
        gate_test(three_leaders),
        gate_test(nothing_new),
        gate_test(no_minimum),
        gate_test(streamed_among_three),
        gate_test(two_large),
        gate_test(left_out),
        gate_test(hurried),
        gate_test(pipelined),
        gate_test(unwanted),
        gate_test(unwanted_large),
        gate_test(parked_under_another_leader),
        gate_test(leader_lost),
        gate_test(small_answer_cut),
        gate_test(wrong_shape),
        gate_test(topic_twice),
        gate_test(answered_twice),
        gate_test(asked_twice),
        gate_test(denied),
        gate_test(made_anew),
        gate_test(replicas_and_sessions),
        gate_test(no_leader),
        gate_test(back_pressure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
