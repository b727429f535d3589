/* A session while memory fails at every point of an answer's way back, and while the kernel reads
 * and writes a byte at a time and says EAGAIN or EINTR at every point. The client gets its answer
 * whole, byte for byte, or the end of its connection; the gate goes on. */
#include "tests/unit/unit.h"

#include "tests/unit/short_io.h"

#include "tests/unit/gate_bed.h"

#define MORE_MS 12

static struct client c;

/* A request, and what the brokers that it goes to say. */
static const struct talk {
    int api, version;
    const char *ask;
    const char *theirs[2]; /* in the order in which they were asked */
    unsigned brokers;
} talks[] = {
    {3,
     9,
     "{'topics':[{'name':'t2'},{'name':'foreign'}],'includeTopicAuthorizedOperations':true}",
     {"{'brokers':[{'nodeId':1,'host':'kafka-1','port':9092,'rack':'r'}],'clusterId':'real',"
      "'controllerId':1,'topics':[{'name':'t2','partitions':[{'leaderId':1,'replicaNodes':[1,2],"
      "'isrNodes':[1]}]}]}"},
     1},
    {2,
     4,
     "{'topics':[{'name':'t1','partitions':[{'partitionIndex':0},{'partitionIndex':1}]},"
     "{'name':'foreign','partitions':[{'partitionIndex':0}]}]}",
     {"{'topics':[{'name':'t1','partitions':[{'partitionIndex':0,'offset':7}]}]}",
      "{'topics':[{'name':'t1','partitions':[{'partitionIndex':1,'offset':8}]}]}"},
     2},
    {11,
     5,
     "{'groupId':'bob1','protocols':[{'name':'range','metadata':'x'}]}",
     {"{'generationId':1,'protocolName':'range','leader':'m','memberId':'m','members':["
      "{'memberId':'m','metadata':'x'}]}"},
     1},
    {8,
     8,
     "{'groupId':'bob1','topics':[{'name':'t1','partitions':[{'partitionIndex':0,"
     "'committedOffset':5}]},{'name':'foreign','partitions':[{'partitionIndex':1}]}]}",
     {"{'topics':[{'name':'t1','partitions':[{'partitionIndex':0}]}]}"},
     1},
    {1,
     11,
     "{'maxWaitMs':0,'topics':[{'topic':'t2','partitions':[{'partition':0}]}]}",
     {"{'responses':[{'topic':'t2','partitions':[{'partitionIndex':0,'highWatermark':9,"
      "'records':600}]}]}"},
     1},
};
#define TALKS (sizeof talks / sizeof talks[0])

/* Has each broker asked say its part; 0 when none was asked in time. Two are asked in any order:
 * each is told what its own partition is. */
static bool brokers_answer(const struct talk *t)
{
    for (unsigned i = 0; i < t->brokers; i++) {
        struct asked *a = t->brokers == 1 ? next_asked() : asked_of((int)i + 1);
        if (!a)
            return false;
        reply(a, t->theirs[i]);
    }
    return true;
}

static bool answered_or_closed(struct gate_bed *b)
{
    uint32_t len;

    (void)b;
    return c.closed || (frame_length(&c.t.in, INT32_MAX, &len) == OK && c.t.in.len >= 4 + len);
}

/* What the client has got of it: *n 0 for nothing. */
static void got(uint8_t *out, size_t room, size_t *n)
{
    *n = c.t.in.len;
    assert_true(*n <= room);
    buf_copy_out(&c.t.in, 0, out, *n);
}

/* Another answer than the right one is a whole one, of errors that clients retry, and tells nothing
 * of the cluster. */
static void refused_cleanly(const struct talk *t, uint8_t *p, size_t n)
{
    char *text = frame_text(t->api, t->version, &(struct octets){.p = p, .n = n});

    if (!strstr(text, "error") || strstr(text, "malformed") || strstr(text, "kafka-1") ||
        strstr(text, "real"))
        fail_msg("API %d: %s", t->api, text);
    free(text);
}

/* How it is when all is well. */
static size_t wanted(const struct talk *t, uint8_t *out, size_t room)
{
    size_t n;

    login(&c, "\"read\",\"write\"");
    ask(&c, t->api, t->version, t->ask);
    assert_true(brokers_answer(t));
    assert_true(until(answered_or_closed));
    got(out, room, &n);
    assert_true(n > 8 && !c.closed);
    client_close(&c);
    settle_ms(1);
    gate_bed_forget();
    return n;
}

static void answers_without_memory(void **state)
{
    static uint8_t want[8192], have[8192];
    unsigned failures = 0;

    (void)state;
    if (!sl_alloc_fail_after(0))
        skip();
    for (size_t i = 0; i < TALKS; i++) {
        size_t wants = wanted(&talks[i], want, sizeof want), n;
        bool same = false;
        /* A broker that is asked again ends the shortage: so the count alone is not the end. */
        for (unsigned at = 1, failed = 1; (failed || !same) && at < 200; at++) {
            login(&c, "\"read\",\"write\"");
            ask(&c, talks[i].api, talks[i].version, talks[i].ask);
            assert_true(brokers_answer(&talks[i]));
            buf_thread_trim(); /* what is pooled cannot fail */
            assert_true(at % 2 ? sl_alloc_fail_once((at + 1) / 2) : sl_alloc_fail_after(at / 2));
            bed.also = answered_or_closed;
            (void)gate_bed_run(&bed, MORE_MS);
            failed = sl_alloc_failed();
            (void)sl_alloc_fail_after(0);
            got(have, sizeof have, &n);
            same = n == wants && memcmp(have, want, n) == 0;
            if (!same && n > 0 && answered_or_closed(&bed) && !c.closed)
                refused_cleanly(&talks[i], have, n);
            failures += failed > 0;
            client_close(&c);
            settle_ms(1);
            assert_null(bed.gate->first);
            gate_bed_forget();
        }
    }
    print_message("%u failures\n", failures);
    assert_true(failures > 20);
    assert_int_equal(wanted(&talks[0], want, sizeof want),
                     wanted(&talks[0], have, sizeof have)); /* it still works */
}

/* The whole conversation, from connecting on. */
static void talk_all(enum short_mood mood, unsigned at, uint8_t want[TALKS][8192],
                     const size_t wants[TALKS], unsigned *calls)
{
    static uint8_t have[8192];
    size_t n;

    *calls = 0;
    for (size_t i = 0; i < TALKS; i++) {
        short_begin(mood, at);
        login(&c, "\"read\",\"write\"");
        ask(&c, talks[i].api, talks[i].version, talks[i].ask);
        assert_true(brokers_answer(&talks[i]));
        assert_true(until(answered_or_closed));
        *calls = short_calls > *calls ? short_calls : *calls;
        short_begin(SHORT_NONE, 0);
        got(have, sizeof have, &n);
        assert_int_equal(n, wants[i]);
        assert_memory_equal(have, want[i], n);
        client_close(&c);
        settle_ms(1);
        gate_bed_forget();
    }
}

static void short_reads_and_writes(void **state)
{
    static uint8_t want[TALKS][8192];
    size_t wants[TALKS];
    unsigned calls;

    (void)state;
    for (size_t i = 0; i < TALKS; i++)
        wants[i] = wanted(&talks[i], want[i], sizeof want[i]);
    talk_all(SHORT_BYTES, 0, want, wants, &calls);
    talk_all(SHORT_STUTTER, 0, want, wants, &calls);
    assert_true(calls > 1000);
    for (int mood = SHORT_INTERRUPT; mood <= SHORT_AGAIN; mood++) {
        unsigned at = 1;
        do
            talk_all((enum short_mood)mood, at, want, wants, &calls);
        while (at++ < calls);
        assert_true(at > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        gate_test(answers_without_memory),
        gate_test(short_reads_and_writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
