#include "tests/unit/unit.h"

#include "proxy/api.h"
#include "tests/unit/gate_bed.h"

static struct client c, d;

static int64_t number(const json_t *j, const char *name)
{
    const json_t *v = json_object_get(j, name);
    assert_true(json_is_integer(v));
    return json_integer_value(v);
}

/* Another signature, of the same letters. */
static void spoil(char *token)
{
    char *p = token + strlen(token) - 10;
    *p = *p == 'A' ? 'B' : 'A';
}

/* --- before authentication */

static void prologue(void **state)
{
    (void)state;
    client_connect(&c);
    ask(&c, 18, 0, "{}");
    json_decref(answer(&c));
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    char *token = make_token(&(struct token_wish){0});
    send_token(&c, token, 1);
    json_t *j = answer(&c);
    assert_int_equal(number(j, "errorCode"), 0);
    assert_in_range(number(j, "sessionLifetimeMs"), 3500000, 3600000);
    json_decref(j);
    free(token);
    nobody_asked();
    ask(&c, 3, 4, "{'topics':[{'name':'t2'}]}");
    reply(broker_gets(0, 3, 4, "{'topics':[{'name':'t2'}],'allowAutoTopicCreation':false}"), "{}");
    expect(&c, "{'brokers':[{'nodeId':0,'host':'gate.example.com','port':9093}],"
               "'clusterId':'virtual','controllerId':0}");
    client_close(&c);
}

/* What is offered: our table and what all brokers have; Produce from 0, for old librdkafka. */
static void versions(void **state)
{
    int seen = 0;
    (void)state;
    client_connect(&c);
    ask(&c, 18, 4, "{'clientSoftwareName':'test','clientSoftwareVersion':'1.0'}");
    json_t *j = answer(&c), *keys = json_object_get(j, "apiKeys");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *k = json_array_get(keys, i);
        int64_t api = number(k, "apiKey"), min = number(k, "minVersion"),
                max = number(k, "maxVersion");
        assert_non_null(api_find((int)api));
        seen += api == 0 || api == 1 || api == 10;
        assert_true(min <= max);
        if (api == 0)
            assert_true(min == 0 && max == 13);
        if (api == 1)
            assert_true(min == 4 && max == 11); /* one of the brokers has no more */
        assert_true(api != 15);                 /* one has none of it */
        if (api == 24)
            assert_int_equal(max, 3);
    }
    assert_int_equal(seen, 3);
    json_decref(j);
    ask(&c, 18, 4, "{'clientSoftwareName':'a','clientSoftwareVersion':'b'}");
    expect_closed(&c);
    client_close(&c);
    /* An id or a node that is not ours (KIP-1242). */
    client_connect(&c);
    ask(&c, 18, 4, "{'clientSoftwareName':'-x','clientSoftwareVersion':'1'}");
    expect(&c, "{'errorCode':42}");
    ask(&c, 18, 5,
        "{'clientSoftwareName':'x','clientSoftwareVersion':'1','clusterId':'real','nodeId':0}");
    expect(&c, "{'errorCode':129}");
    ask(&c, 18, 5,
        "{'clientSoftwareName':'x','clientSoftwareVersion':'1','clusterId':'virtual','nodeId':3}");
    expect(&c, "{'errorCode':129}");
    client_close(&c);
}

static bool versions_are_cut(struct gate_bed *b)
{
    struct versions v;
    return cluster_versions(b->gate->cluster, 1, &v) && v.max == 11;
}

static int versions_setup(void **state)
{
    (void)state;
    gate_bed_start("");
    bed.up.fake[1].versions[1].max = 11;
    bed.up.fake[1].versions[15] = (struct versions){1, 0};
    for (struct fake_conn *f = bed.up.fake[1].conns; f; f = f->next)
        fake_close(f, true); /* the probe asks anew */
    assert_true(until(versions_are_cut));
    return 0;
}

/* A version above ours is answered in version 0 with what we have, its body unread. */
static void versions_above(void **state)
{
    struct octets body = {(uint8_t *)(uintptr_t) "\377\377\377", 3, 0};
    (void)state;
    client_connect(&c);
    send_body(&c, 18, 99, &body);
    c.flight[0].version = 0;
    expect(&c, "{'errorCode':35,'apiKeys':[{'apiKey':18,'minVersion':0,'maxVersion':5}]}");
    ask(&c, 18, 0, "{}");
    json_decref(answer(&c));
    client_close(&c);
}

/* What has no place before authentication ends the connection, and reaches no broker. */
static void out_of_place(void **state)
{
    unsigned accepted = bed.up.fake[0].accepted + bed.up.fake[1].accepted + bed.up.fake[2].accepted;
    (void)state;
    for (int i = 0; i < 6; i++) {
        client_connect(&c);
        if (i >= 3) {
            ask(&c, 17, 1, HANDSHAKE);
            expect(&c, HANDSHAKEN);
        }
        if (i == 0 || i == 3)
            ask(&c, 3, 4, "{'topics':[{'name':'t1'}]}");
        if (i == 1)
            send_token(&c, "x", 1);
        if (i == 2)
            ask(&c, 17, 0, HANDSHAKE);
        if (i == 4)
            ask(&c, 18, 0, "{}");
        if (i == 5)
            ask(&c, 17, 1, HANDSHAKE);
        expect_closed(&c);
        client_close(&c);
    }
    client_connect(&c);
    ask(&c, 17, 1, "{'mechanism':'PLAIN'}");
    expect(&c, "{'errorCode':33,'mechanisms':['OAUTHBEARER']}");
    expect_closed(&c);
    client_close(&c);
    assert_int_equal(bed.nasked, 0);
    assert_int_equal(accepted,
                     bed.up.fake[0].accepted + bed.up.fake[1].accepted + bed.up.fake[2].accepted);
    assert_true(audited("out of place", NULL) >= 4);
}

static void bad_tokens(void **state)
{
    char *good = make_token(&(struct token_wish){0});
    char *other, bad[4096];
    (void)state;
    snprintf(bad, sizeof(bad), "%s", good);
    spoil(bad);
    for (int i = 0; i < 2; i++) {
        client_connect(&c);
        ask(&c, 17, 1, HANDSHAKE);
        expect(&c, HANDSHAKEN);
        send_token(&c, bad, 1);
        json_t *j = answer(&c);
        assert_int_equal(number(j, "errorCode"), 0);
        json_decref(j);
        assert_int_equal(bed.gate->first->state, SESSION_REFUSED);
        if (i == 0)
            ask(&c, 36, 1, "{'authBytes':'\\u0001'}");
        else
            ask(&c, 3, 4, "{'topics':[{'name':'t1'}]}");
        if (i == 0)
            expect(&c, "{'errorCode':58,'errorMessage':'Authentication failed.'}");
        expect_closed(&c);
        client_close(&c);
    }
    /* Keys that are not there (yet), and what does not even parse. */
    other = make_token(&(struct token_wish){.kid = "k2"});
    client_connect(&c);
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    send_token(&c, other, 1);
    expect_closed(&c);
    assert_int_equal(bed.keys_asked, 1);
    client_close(&c);
    client_connect(&c);
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    ask(&c, 36, 1, "{'authBytes':'n,,'}");
    expect(&c, "{'errorCode':58,'errorMessage':'Authentication failed.'}");
    expect_closed(&c);
    client_close(&c);
    free(other);
    /* Nothing granted. */
    other = make_token(&(struct token_wish){.topics = "\"__consumer_offsets\""});
    client_connect(&c);
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    send_token(&c, other, 1);
    json_decref(answer(&c));
    assert_int_equal(bed.gate->first->state, SESSION_REFUSED);
    client_close(&c);
    free(other);
    free(good);
    assert_int_equal(bed.nasked, 0);
}

/* Behind a token, in the same segment: after a bad one nothing is looked at. */
static void pipelined_behind_a_token(void **state)
{
    (void)state;
    for (int good = 0; good < 2; good++) {
        char *token = make_token(&(struct token_wish){.kid = good ? "k1" : NULL});
        const char *meta = "{'topics':[{'name':'t2'}]}";
        if (!good)
            spoil(token);
        client_connect(&c);
        ask(&c, 17, 1, HANDSHAKE);
        send_token(&c, token, 1);
        ask(&c, 3, 4, meta);
        ask(&c, 3, 4, meta);
        free(token);
        expect(&c, HANDSHAKEN);
        json_decref(answer(&c));
        if (good) {
            struct asked *a = next_asked(), *b;
            assert_non_null(a);
            reply(a, "{}");
            b = next_asked();
            assert_non_null(b);
            reply(b, "{}");
            json_decref(answer(&c));
            json_decref(answer(&c));
        } else {
            expect_closed(&c);
            assert_int_equal(bed.nasked, 0);
        }
        client_close(&c);
    }
}

/* --- frames */

static void broken_frames(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } frames[] = {
        {"\377\377\377\377", 4},                     /* negative */
        {"\0\0\0\0", 4},                             /* nothing */
        {"\0\0\0\3abc", 7},                          /* no header */
        {"\177\377\377\377", 4},                     /* huge */
        {"\0\0\0\12\0\3\0\4\0\0\0\1\377\376", 14},   /* client id of length -2 */
        {"\0\0\0\12\0\3\0\4\0\0\0\1\0\7", 14},       /* client id beyond the end */
        {"\0\0\0\12\0\77\0\0\0\0\0\1\377\377", 14},  /* an API that is not offered */
        {"\0\0\0\12\0\3\0\143\0\0\0\1\377\377", 14}, /* a version that is not */
        {"\0\0\0\12\0\3\0\4\0\0\0\1\377\377", 14},   /* no body */
        {"\0\0\0\20\0\3\0\4\0\0\0\1\377\377\377\377\377\377\1\1", 20}, /* a byte left over */
        {"\0\0\0\17\0\3\0\4\0\0\0\1\377\377\177\377\377\377\1", 19},   /* a count of two billions */
        {"\0\0\0\16\0\0\0\2\0\0\0\1\377\377\0\1\0\0", 18},             /* Produce 2 */
        {"GET / HTTP/1.1\r\n\r\n", 18},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        login(&c, NULL);
        send_raw(&c, frames[i].bytes, frames[i].n);
        bed.wants = &c;
        bed.wants_bytes = SIZE_MAX;
        if (!gate_bed_run(&bed, WAIT_MS) || c.t.in.len > 0)
            fail_msg("frame %zu", i);
        client_close(&c);
    }
    assert_int_equal(bed.nasked, 0);
    assert_int_equal(bed.gate->counters.protocol_errors, sizeof(frames) / sizeof(frames[0]));
}

/* The same however the bytes come. */
static void byte_by_byte(void **state)
{
    struct octets body = wire_body(3, true, 4, "{'topics':[{'name':'t2'},{'name':'foreign'}]}");
    struct octets w;
    (void)state;
    login(&c, NULL);
    w = wire_request(3, 4, c.sent, CLIENT, &body);
    for (size_t i = 0; i < w.n; i++) {
        send_raw(&c, w.p + i, 1);
        settle_ms(1);
    }
    c.flight[c.sent % 256].api = 3;
    c.flight[c.sent++ % 256].version = 4;
    reply(broker_gets(0, 3, 4, "{'topics':[{'name':'t2'}],'allowAutoTopicCreation':false}"),
          "{'topics':[{'name':'t2'}]}");
    expect(&c, "{'brokers':[{'nodeId':0,'host':'gate.example.com','port':9093}],"
               "'clusterId':'virtual','controllerId':0,"
               "'topics':[{'name':'t2'},{'name':'foreign','errorCode':29}]}");
    free(w.p);
    free(body.p);
    client_close(&c);
}

/* A frame that stops coming; a session that says nothing. */
static void deadlines(void **state)
{
    (void)state;
    client_connect(&c); /* authentication: 300 ms */
    expect_closed(&c);
    client_close(&c);
    login(&c, NULL);
    send_raw(&c, "\0\0\1\0\0\3", 6);
    expect_closed(&c);
    client_close(&c);
    login(&c, NULL); /* idle: 1 s */
    expect_closed(&c);
    client_close(&c);
    assert_int_equal(audited("authentication timed out", NULL), 1);
    assert_int_equal(audited("a request stopped arriving", NULL), 1);
    assert_int_equal(audited("idle", NULL), 1);
}

static int deadlines_setup(void **state)
{
    (void)state;
    gate_bed_start("limits: {tls_timeout_ms: 100, auth_timeout_ms: 300, frame_timeout_ms: 200, "
                   "idle_timeout_ms: 1000}\n");
    return 0;
}

/* --- order, limits */

/* Answers leave in the order of the requests, whatever order the brokers answer in. */
static void in_order(void **state)
{
    (void)state;
    login(&c, NULL);
    ask(&c, 2, 1, "{'topics':[{'name':'t1','partitions':[{'partitionIndex':1,'timestamp':-1}]}]}");
    ask(&c, 2, 1, "{'topics':[{'name':'t1','partitions':[{'partitionIndex':2,'timestamp':-1}]}]}");
    ask(&c, 29, 1, "{}");
    struct asked *x = asked_of(2), *y = asked_of(3);
    bed.ntaken = bed.nasked;
    reply(y, "{'topics':[{'name':'t1','partitions':[{'partitionIndex':2,'offset':22}]}]}");
    settle_ms(20);
    assert_int_equal(c.t.in.len, 0);
    reply(x, "{'topics':[{'name':'t1','partitions':[{'partitionIndex':1,'offset':11}]}]}");
    expect(&c, "{'topics':[{'name':'t1','partitions':[{'partitionIndex':1,'offset':11}]}]}");
    expect(&c, "{'topics':[{'name':'t1','partitions':[{'partitionIndex':2,'offset':22}]}]}");
    expect(&c, "{'errorCode':54,'errorMessage':'No Authorizer is configured on the broker'}");
    client_close(&c);
}

/* A request without a client id does not take the id of the one in front of it, which has not left
 * yet: the topics are not known. */
static void keeps_its_client_id(void **state)
{
    const char *json = "{'groupId':'bob2','topics':[{'name':'t2','partitions':[{}]}]}";
    struct octets body = wire_body(29, true, 1, "{}"), w;

    (void)state;
    login(&c, "\"read\"");
    ask(&c, 8, 2, json);
    w = wire_request(29, 1, c.sent++, NULL, &body);
    send_raw(&c, w.p, w.n);
    free(body.p);
    free(w.p);
    broker_gets(2, 8, 2, json); /* looks at the client id */
    client_close(&c);
}

/* Right after a login neither the topics nor the coordinators are known; requests wait for the one,
 * the other or nothing, and still go upstream in the order in which they came. */
static void first_come(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        bed.up.fake[i].topics[0].error = 5;
    login(&c, "\"read\",\"write\"");
    ask(&c, 8, 2,
        "{'groupId':'bob2','topics':[{'name':'t2','partitions':[{'committedOffset':5}]}]}");
    ask(&c, 8, 2,
        "{'groupId':'bob2','topics':[{'name':'t2','partitions':[{'committedOffset':6}]}]}");
    ask(&c, 13, 0, "{'groupId':'bob2','memberId':'m'}");
    ask(&c, 1, 4, "{'maxWaitMs':100,'topics':[{'topic':'t2','partitions':[{}]}]}");
    ask(&c, 26, 0, "{'transactionalId':'bob2'}");
    settle_ms(300);
    for (int i = 0; i < 2; i++) {
        char text[256];
        snprintf(
            text, sizeof(text),
            "{'groupId':'bob2','topics':[{'name':'t2','partitions':[{'committedOffset':%d}]}]}",
            5 + i);
        reply(broker_gets(2, 8, 2, text), "{'topics':[{'name':'t2','partitions':[{}]}]}");
    }
    reply(broker_gets(2, 13, 0, "{'groupId':'bob2','memberId':'m'}"), "{}");
    reply(broker_gets(2, 26, 0, "{'transactionalId':'bob2'}"), "{}");
    expect(&c, "{'topics':[{'name':'t2','partitions':[{}]}]}");
    expect(&c, "{'topics':[{'name':'t2','partitions':[{}]}]}");
    expect(&c, "{}");
    reply(asked_of(1), "{'responses':[{'topic':'t2','partitions':[{'records':1}]}]}");
    json_decref(answer(&c));
    expect(&c, "{}");
    client_close(&c);
}

static void in_flight(void **state)
{
    (void)state;
    login(&c, NULL);
    for (int i = 0; i < 100; i++)
        ask(&c, 12, 0, "{'groupId':'bob'}");
    struct asked *a = next_asked();
    soon(bed.gate->first->in_flight == 64);
    for (int i = 0; i < 100; i++) {
        assert_non_null(a);
        reply(a, "{'errorCode':27}");
        expect(&c, "{'errorCode':27}");
        assert_true(bed.gate->first->in_flight <= 64);
        if (i < 99)
            a = next_asked();
    }
    nobody_asked();
    client_close(&c);
}

static bool starved(struct gate_bed *b)
{
    return b->gate->first && b->gate->first->starved;
}

/* A worker that holds too much lets no further large request come in, and small ones go on. When
 * there is room again, it reads on by itself. */
static void worker_budget(void **state)
{
    char *half = calloc(1, 1200000);
    (void)state;
    assert_non_null(half);
    login(&c, "\"write\"");
    memcpy(half, "\0\17\102\100\0\0\0\3", 8); /* Produce 3 of 1000000 bytes */
    send_raw(&c, half, 990000);
    soon(bed.gate->first->t.in.len > 800000);
    /* Another large one waits; small ones don't. */
    login(&d, NULL);
    ask(&d, 60, 0, "{}");
    json_decref(answer(&d));
    send_raw(&d, half, 990000);
    soon(starved(&bed));
    assert_true(bed.gate->first->t.in.len < 600000);
    client_close(&c);
    soon(bed.gate->first->t.in.len > 900000);
    client_close(&d);
    free(half);
}

/* The trees of requests under way count as well: what would need another waits, however small, and
 * goes on when they are done. */
static void tree_budget(void **state)
{
    char text[65536] = "{'groupId':'bob','topics':[{'name':'t1','partitions':[{}";
    size_t n = strlen(text);
    (void)state;
    for (int i = 0; i < 3000; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, ",{}");
    snprintf(text + n, sizeof(text) - n, "]}]}");
    login(&c, NULL);
    login(&d, NULL);
    ask(&c, 8, 2, text);
    struct asked *a = next_asked();
    assert_non_null(a);
    assert_true(bed.gate->arena_bytes > 524288);
    ask(&d, 60, 0, "{}");
    soon(starved(&bed));
    assert_int_equal(d.t.in.len, 0);
    reply(a, "{}");
    expect(&c, "{}");
    json_decref(answer(&d));
    assert_true(bed.gate->arena_bytes < 524288);
    client_close(&c);
    client_close(&d);
}

static int budget_setup(void **state)
{
    (void)state;
    gate_bed_start("limits: {worker_buffer_bytes: 1048576, session_buffer_bytes: 1048576,\n  "
                   "frame_bytes: 262144, frame_produce_bytes: 1048576}\n");
    return 0;
}

/* --- denials */

static void paced(void **state)
{
    uint64_t start;
    int64_t throttle = 0;
    (void)state;
    login(&c, NULL);
    for (int i = 0; i < 8; i++) { /* eight of a second at once, however much each denies */
        ask(&c, 3, 4, "{'topics':[{'name':'x'},{'name':'y'},{'name':'z'},{'name':'foreign'}]}");
        json_t *j = answer(&c);
        assert_int_equal(number(j, "throttleTimeMs"), 0);
        json_decref(j);
    }
    start = loop_clock_us(bed.up.loop);
    for (int i = 0; i < 8; i++) {
        ask(&c, 3, 4, "{'topics':[{'name':'foreign'}]}");
        json_t *j = answer(&c);
        if (number(j, "throttleTimeMs") > throttle)
            throttle = number(j, "throttleTimeMs");
        json_decref(j);
    }
    assert_true(throttle >= 40);
    assert_true(loop_clock_us(bed.up.loop) - start > 100000);
    nobody_asked();
    client_close(&c);
}

/* One request may be denied a thousand times; the trail tells of some one by one, and of the rest
 * in sum. A name without a character is a name. */
static void audited_in_sum(void **state)
{
    char text[65536] = "{'topics':[{'name':''}";
    size_t n = strlen(text);
    (void)state;
    for (int i = 0; i < 1000; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, ",{'name':'n%d'}", i);
    snprintf(text + n, sizeof(text) - n, "]}");
    login(&c, NULL);
    ask(&c, 3, 4, text);
    json_t *j = answer(&c), *topics = json_object_get(j, "topics");
    assert_int_equal(json_array_size(topics), 1001);
    assert_int_equal(number(json_array_get(topics, 0), "errorCode"), 29);
    json_decref(j);
    assert_int_equal(bed.gate->first->denials, 1001);
    client_close(&c);
    settle_ms(50);
    assert_in_range(audited("Metadata", "\"n"), 10, 30);
    assert_true(audited("for other resources as well", "985") == 1);
}

/* --- the end of a token */

/* No new requests, those that were sent may finish, then the end. */
static void expiry(void **state)
{
    (void)state;
    login_with(&c, &(struct token_wish){.life_s = 4}); /* above 3 s are left: seconds are whole */
    ask(&c, 12, 0, "{'groupId':'bob'}");
    struct asked *a = broker_gets(1, 12, 0, "{'groupId':'bob'}");
    while (bed.gate->first->state != SESSION_DRAINING)
        settle_ms(20);
    ask(&c, 12, 0, "{'groupId':'bob'}");
    nobody_asked();
    reply(a, "{'errorCode':0}");
    expect(&c, "{}");
    expect_closed(&c);
    assert_int_equal(c.why, ERR_EOF);
    assert_int_equal(audited("token expired", NULL), 1);
    client_close(&c);
}

static void shutdown_drains(void **state)
{
    (void)state;
    login(&c, NULL);
    client_connect(&d); /* not yet authenticated: goes at once */
    settle_ms(5);
    ask(&c, 1, 11, "{'maxWaitMs':20000,'minBytes':1,'topics':[{'topic':'t2','partitions':[{}]}]}");
    assert_non_null(next_asked());
    gate_drain(bed.gate);
    expect(&c, "{'responses':[{'topic':'t2','partitions':[{'highWatermark':-1,"
               "'abortedTransactions':null,'records':0}]}]}");
    expect_closed(&c);
    expect_closed(&d);
    client_close(&c);
    client_close(&d);
}

/* --- re-authentication */

static void reauth_as(const struct token_wish *w, int64_t error)
{
    char *token = make_token(w);
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    send_token(&c, token, 1);
    json_t *j = answer(&c);
    assert_int_equal(number(j, "errorCode"), error);
    json_decref(j);
    free(token);
}

static void reauthentication(void **state)
{
    (void)state;
    login(&c, NULL);
    ask(&c, 12, 0, "{'groupId':'bob'}");
    struct asked *a = broker_gets(1, 12, 0, "{'groupId':'bob'}");
    /* In mid-stream: what is under way goes on. */
    ask(&c, 17, 1, HANDSHAKE);
    char *token = make_token(&(struct token_wish){.jti = "j2"});
    send_token(&c, token, 1);
    settle_ms(20);
    reply(a, "{'errorCode':0}");
    expect(&c, "{}");
    expect(&c, HANDSHAKEN);
    json_decref(answer(&c));
    assert_string_equal(bed.gate->first->id.jti, "j2");
    assert_int_equal(bed.gate->first->state, SESSION_READY);
    free(token);
    ask(&c, 36, 1, "{'authBytes':'x'}"); /* without a handshake */
    expect(&c, "{'errorCode':34,'errorMessage':'SaslAuthenticate request received after successful "
               "authentication'}");
    /* Other rights. */
    reauth_as(&(struct token_wish){.topics = "\"t1\""}, 58);
    expect_closed(&c);
    client_close(&c);
    /* A bad token in a running session: two steps, then the end. */
    login(&c, NULL);
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    send_token(&c, "e30.e30.AAAA", 1);
    json_decref(answer(&c));
    ask(&c, 36, 1, "{'authBytes':'\\u0001'}");
    expect(&c, "{'errorCode':58,'errorMessage':'Authentication failed.'}");
    expect_closed(&c);
    client_close(&c);
    /* Data between the two steps. */
    login(&c, NULL);
    ask(&c, 17, 1, HANDSHAKE);
    expect(&c, HANDSHAKEN);
    ask(&c, 12, 0, "{'groupId':'bob'}");
    expect_closed(&c);
    client_close(&c);
    assert_int_equal(bed.nasked, bed.ntaken);
}

static int reauth_setup(void **state)
{
    (void)state;
    gate_bed_start("limits: {reauth_min_interval_ms: 0}\n");
    return 0;
}

static void reauth_too_soon(void **state)
{
    (void)state;
    login(&c, NULL);
    ask(&c, 17, 1, HANDSHAKE);
    expect_closed(&c);
    client_close(&c);
}

static void too_many_connections(void **state)
{
    struct client more[3];
    (void)state;
    for (int i = 0; i < 2; i++)
        login(&more[i], NULL);
    client_connect(&more[2]);
    ask(&more[2], 17, 1, HANDSHAKE);
    expect(&more[2], HANDSHAKEN);
    char *token = make_token(&(struct token_wish){0});
    send_token(&more[2], token, 1);
    expect_closed(&more[2]);
    client_close(&more[2]);
    client_close(&more[0]);
    settle_ms(20);
    login(&more[2], NULL);
    for (int i = 1; i < 3; i++)
        client_close(&more[i]);
    free(token);
}

static int few_setup(void **state)
{
    (void)state;
    gate_bed_start("limits: {connections_per_principal: 2}\n");
    return 0;
}

/* --- memory */

static bool client_over(struct gate_bed *b)
{
    return b->wants_bytes && (c.closed || c.t.in.len > 0 || !b->gate->first);
}

/* The n-th allocation and all after it fail, while the gate works on one request: the connection
 * closes or the request is answered, nothing else happens, and the gate goes on. */
static void out_of_memory(void **state)
{
    static const struct {
        int api, version;
        const char *json;
    } requests[] = {
        {3, 4, "{'topics':[{'name':'foreign'}]}"},
        {3, 4, "{'topics':[{'name':'t2'},{'name':'foreign'}]}"},
        {1, 11,
         "{'maxWaitMs':0,'topics':[{'topic':'t1','partitions':[{'partition':0},{'partition':1}]}]"
         "}"},
        {2, 1,
         "{'topics':[{'name':'t1','partitions':[{'partitionIndex':0},{'partitionIndex':1}]}]}"},
        {11, 5, "{'groupId':'bob','protocols':[{'name':'range','metadata':'x'}]}"},
        {10, 4, "{'coordinatorKeys':['bob1','eve']}"},
        {68, 1, "{'groupId':'bob','subscribedTopicRegex':'t.*'}"},
        {18, 4, "{'clientSoftwareName':'test','clientSoftwareVersion':'1'}"},
        {17, 1, HANDSHAKE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        for (unsigned n = 1, failed = 1; failed && n < 400; n += n < 40 ? 1 : 7) {
            login(&c, NULL);
            ask(&c, requests[i].api, requests[i].version, requests[i].json);
            assert_true(sl_alloc_fail_after(n));
            bed.also = client_over;
            bed.wants_bytes = 1;
            (void)gate_bed_run(&bed, 12);
            failed = sl_alloc_failed();
            (void)sl_alloc_fail_after(0);
            client_close(&c);
            settle_ms(1);
            assert_null(bed.gate->first);
        }
        gate_bed_forget();
    }
    /* It still works. */
    login(&c, NULL);
    ask(&c, 60, 0, "{}");
    json_decref(answer(&c));
    client_close(&c);
}

/* Nobody gets in because memory is short. */
static void login_without_memory(void **state)
{
    char *good = make_token(&(struct token_wish){0}), *bad = strdup(good);
    (void)state;
    spoil(bad);
    for (int which = 0; which < 2; which++) {
        for (unsigned n = 1, failed = 1; failed && n < 200; n++) {
            client_connect(&c);
            ask(&c, 17, 1, HANDSHAKE);
            expect(&c, HANDSHAKEN);
            send_token(&c, which ? good : bad, 1);
            assert_true(sl_alloc_fail_after(n));
            bed.also = client_over;
            bed.wants_bytes = 1;
            (void)gate_bed_run(&bed, 100);
            failed = sl_alloc_failed();
            (void)sl_alloc_fail_after(0);
            if (!which && bed.gate->first)
                assert_int_not_equal(bed.gate->first->state, SESSION_READY);
            client_close(&c);
            settle_ms(1);
            assert_null(bed.gate->first);
        }
    }
    free(good);
    free(bad);
    login(&c, NULL);
    client_close(&c);
}

#define gate_test_in(f, setup) cmocka_unit_test_setup_teardown(f, setup, gate_bed_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        gate_test(prologue),
        gate_test_in(versions, versions_setup),
        gate_test(versions_above),
        gate_test(out_of_place),
        gate_test(bad_tokens),
        gate_test(pipelined_behind_a_token),
        gate_test(broken_frames),
        gate_test(byte_by_byte),
        gate_test_in(deadlines, deadlines_setup),
        gate_test(in_order),
        gate_test(keeps_its_client_id),
        gate_test(first_come),
        gate_test(in_flight),
        gate_test_in(worker_budget, budget_setup),
        gate_test_in(tree_budget, budget_setup),
        gate_test(paced),
        gate_test(audited_in_sum),
        gate_test(expiry),
        gate_test(shutdown_drains),
        gate_test_in(reauthentication, reauth_setup),
        gate_test(reauth_too_soon),
        gate_test_in(too_many_connections, few_setup),
        gate_test(out_of_memory),
        gate_test(login_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
