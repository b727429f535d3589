#include "tests/unit/unit.h"

#include "proxy/upstream_priv.h"
#include "tests/unit/certs.h"
#include "tests/unit/upstream_bed.h"

#define HEARTBEAT 12
#define FETCH     1

struct asked {
    struct upstream_call call;
    unsigned answers, failures;
    int why;
    bool sent;
    size_t answer_len;
    bool no_frame;
    /* streams */
    uint64_t got, take_max, want_len;
    unsigned data_calls;
    bool wrong_bytes;
};

static unsigned closed;
static int closed_why;
static struct upstream *up;
static bool close_in_answer;

static void on_closed(void *arg, struct upstream *u, int why)
{
    (void)arg;
    assert_ptr_equal(u, up);
    up = NULL;
    closed++;
    closed_why = why;
}

static void on_answer(struct upstream_call *call, struct buf *frame, size_t body_off)
{
    struct asked *k = call->arg;
    k->answers++;
    k->no_frame = !frame;
    k->answer_len = frame ? frame->len - body_off : 0;
    if (close_in_answer) {
        upstream_close(up, true);
        up = NULL;
    }
}

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 31 + (at >> 11));
}

static void on_data(struct upstream_call *call, struct buf *in, uint64_t body_len, uint64_t *taken)
{
    struct asked *k = call->arg;
    k->data_calls++;
    k->want_len = body_len;
    assert_true(*taken == k->got);
    while (in->len && k->take_max) {
        uint8_t piece[4096];
        size_t n = in->len < sizeof(piece) ? in->len : sizeof(piece);
        if (n > k->take_max)
            n = (size_t)k->take_max;
        buf_copy_out(in, 0, piece, n);
        buf_drain(in, n);
        for (size_t i = 0; i < n; i++)
            k->wrong_bytes |= piece[i] != pattern(k->got + i);
        k->got += n;
        k->take_max -= n;
        *taken += n;
    }
    if (k->got == body_len)
        k->answers++;
}

static void on_failed(struct upstream_call *call, int why, bool sent)
{
    struct asked *k = call->arg;
    k->failures++;
    k->why = why;
    k->sent = sent;
}

static const struct upstream_call_events events = {on_answer, on_data, on_failed};

static void ask(struct asked *k, int api, int version)
{
    struct arena a;
    struct msg m;
    memset(k, 0, sizeof(*k));
    k->take_max = UINT64_MAX;
    k->call = (struct upstream_call){.events = &events,
                                     .arg = k,
                                     .api = (int16_t)api,
                                     .version = (int16_t)version,
                                     .client_id = "test",
                                     .stream = api == FETCH};
    buf_init(&k->call.body, SIZE_MAX);
    arena_init(&a, 65536);
    assert_int_equal(msg_new(&m, &a, schema_find(api, true), version), OK);
    assert_int_equal(msg_encode(&m, &k->call.body), OK);
    arena_release(&a);
}

static void send_asked(struct asked *k, int api, int version)
{
    ask(k, api, version);
    assert_int_equal(upstream_send(up, &k->call), OK);
}

/* --- scripts */

static bool answers_heartbeats(struct fake_conn *c, const struct request_head *h,
                               const struct msg *m)
{
    struct arena a;
    struct msg r;
    (void)m;
    if (h->api != HEARTBEAT)
        return false;
    arena_init(&a, 65536);
    must(msg_new(&r, &a, schema_find(HEARTBEAT, false), h->version));
    fake_reply(c, h, &r);
    arena_release(&a);
    return true;
}

static bool says_nothing(struct fake_conn *c, const struct request_head *h, const struct msg *m)
{
    (void)c;
    (void)m;
    return h->api == HEARTBEAT || h->api == FETCH;
}

static void put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

/* What the broker sends instead of an answer: "LLLL" is the length, "CCCC" the correlation id. */
static uint8_t raw[64];
static size_t raw_len;
static bool raw_then_close, raw_correlation;

static bool sends_raw(struct fake_conn *c, const struct request_head *h, const struct msg *m)
{
    (void)m;
    if (h->api != HEARTBEAT && h->api != FETCH)
        return false;
    if (raw_correlation)
        put_u32(raw + 4, (uint32_t)h->correlation);
    fake_raw(c, raw, raw_len);
    if (raw_then_close)
        fake_close(c, false);
    return true;
}

static uint32_t stream_len;

static bool streams(struct fake_conn *c, const struct request_head *h, const struct msg *m)
{
    if (h->api != FETCH)
        return answers_heartbeats(c, h, m);
    size_t head = h->version >= 12 ? 9 : 8, n = head + stream_len;
    uint8_t *p = malloc(n);
    assert_non_null(p);
    put_u32(p, (uint32_t)(n - 4));
    put_u32(p + 4, (uint32_t)h->correlation);
    if (head == 9)
        p[8] = 0;
    for (uint32_t i = 0; i < stream_len; i++)
        p[head + i] = pattern(i);
    fake_raw(c, p, n);
    free(p);
    return true;
}

/* --- fixture */

static int setup(void **state)
{
    static struct bed bed;
    bed_init(&bed, 1);
    closed = 0;
    closed_why = 0;
    up = NULL;
    close_in_answer = false;
    raw_then_close = false;
    raw_correlation = true;
    *state = &bed;
    return 0;
}

static int teardown(void **state)
{
    struct bed *b = *state;
    if (up)
        upstream_close(up, false);
    up = NULL;
    bed_release(b);
    return 0;
}

static void open_up(struct bed *b)
{
    bed_start(b);
    assert_true(bed_until(b, bed_ready));
    up = upstream_open(b->cluster, 1, on_closed, NULL);
    assert_non_null(up);
}

static struct asked k1, k2, k3;

static bool all_done(struct bed *b)
{
    (void)b;
    return k1.answers + k1.failures && k2.answers + k2.failures && k3.answers + k3.failures;
}

static bool first_done(struct bed *b)
{
    (void)b;
    return k1.answers + k1.failures > 0;
}

static bool is_closed(struct bed *b)
{
    (void)b;
    return closed > 0;
}

static bool never(struct bed *b)
{
    (void)b;
    return false;
}

/* --- calls */

static void answers_in_order(void **state)
{
    struct bed *b = *state;
    b->fake[0].script = answers_heartbeats;
    open_up(b);
    assert_int_equal(upstream_broker(up), 1);
    assert_true(upstream_idle(up));
    send_asked(&k1, HEARTBEAT, 3);
    send_asked(&k2, HEARTBEAT, 4);
    send_asked(&k3, HEARTBEAT, 0);
    assert_false(upstream_idle(up));
    assert_int_equal(k1.answers, 0);
    assert_true(bed_until(b, all_done));
    assert_int_equal(k1.answers + k2.answers + k3.answers, 3);
    assert_int_equal(k3.answer_len, 2);
    assert_true(upstream_idle(up));
    assert_int_equal(upstream_held_bytes(up), 0);
    assert_null(upstream_open(b->cluster, 99, on_closed, NULL));
}

static void byte_by_byte(void **state)
{
    struct bed *b = *state;
    b->fake[0].script = streams;
    b->fake[0].piece = 1;
    stream_len = 300;
    open_up(b);
    send_asked(&k1, HEARTBEAT, 4);
    send_asked(&k2, FETCH, 12);
    send_asked(&k3, HEARTBEAT, 3);
    assert_true(bed_until(b, all_done));
    assert_int_equal(k1.answers + k2.answers + k3.answers, 3);
    assert_int_equal(k2.got, 300);
    assert_false(k2.wrong_bytes);
}

/* Whatever is wrong with an answer: both calls fail, the connection ends, once. */
static void broken(struct bed *b, int api, int version, int why)
{
    b->fake[0].script = sends_raw;
    open_up(b);
    send_asked(&k1, api, version);
    send_asked(&k2, HEARTBEAT, 3);
    assert_true(bed_until(b, is_closed));
    assert_int_equal(closed, 1);
    assert_int_equal(closed_why, why);
    assert_int_equal(k1.failures, 1);
    assert_int_equal(k1.why, why);
    assert_true(k1.sent);
    assert_int_equal(k1.answers, 0);
    assert_int_equal(k2.failures, 1);
    assert_int_equal(k2.answers, 0);
}

static void raw_is(uint32_t len, const void *rest, size_t n)
{
    memset(raw, 0, sizeof(raw));
    put_u32(raw, len);
    memcpy(raw + 8, rest, n);
    raw_len = 8 + n;
}

static void wrong_correlation(void **state)
{
    raw_is(6, "\0\0", 2);
    raw_correlation = false;
    put_u32(raw + 4, 0x7f000000);
    broken(*state, HEARTBEAT, 0, ERR_MALFORMED);
}

static void wrong_correlation_streamed(void **state)
{
    raw_is(60000, "\0\0", 2);
    raw_correlation = false;
    put_u32(raw + 4, 0x7f000000);
    broken(*state, FETCH, 11, ERR_MALFORMED);
}

static void oversized(void **state)
{
    raw_is(1024 * 1024 + 1, "", 0);
    broken(*state, HEARTBEAT, 0, ERR_MALFORMED);
}

static void negative_length(void **state)
{
    raw_is(0xffffffff, "", 0);
    broken(*state, HEARTBEAT, 0, ERR_MALFORMED);
}

static void negative_length_streamed(void **state)
{
    raw_is(0x80000000, "", 0);
    broken(*state, FETCH, 11, ERR_MALFORMED);
}

static void too_short(void **state)
{
    raw_is(3, "", 0);
    broken(*state, HEARTBEAT, 0, ERR_MALFORMED);
}

static void bad_header_tags(void **state)
{
    raw_is(8, "\xff\xff\xff\xff", 4);
    broken(*state, HEARTBEAT, 4, ERR_MALFORMED);
}

static void bad_header_tags_streamed(void **state)
{
    raw_is(40, "\x01\x05\x7f\x00", 4);
    broken(*state, FETCH, 12, ERR_MALFORMED);
}

static void header_beyond_the_frame(void **state)
{
    raw_is(4, "", 0);
    broken(*state, HEARTBEAT, 4, ERR_MALFORMED);
}

static void end_in_mid_frame(void **state)
{
    raw_is(100, "abc", 3);
    raw_then_close = true;
    broken(*state, HEARTBEAT, 0, ERR_EOF);
}

static void end_in_mid_stream(void **state)
{
    raw_is(100, "abc", 3);
    raw_then_close = true;
    broken(*state, FETCH, 11, ERR_EOF);
}

static bool sends_twice(struct fake_conn *c, const struct request_head *h, const struct msg *m)
{
    if (h->api != HEARTBEAT)
        return false;
    answers_heartbeats(c, h, m);
    return answers_heartbeats(c, h, m);
}

static void unsolicited(void **state)
{
    struct bed *b = *state;
    b->fake[0].script = sends_twice;
    open_up(b);
    send_asked(&k1, HEARTBEAT, 3);
    assert_true(bed_until(b, is_closed));
    assert_int_equal(k1.answers, 1);
    assert_int_equal(closed_why, ERR_MALFORMED);
}

/* --- streams */

static bool stage_is_full(struct bed *b)
{
    (void)b;
    return up && upstream_held_bytes(up) >= 256 * 1024;
}

static bool second_done(struct bed *b)
{
    (void)b;
    return k2.answers + k2.failures > 0;
}

static void back_pressure(void **state)
{
    struct bed *b = *state;
    b->fake[0].script = streams;
    stream_len = 8 * 1024 * 1024;
    open_up(b);
    b->config.upstream.request_timeout_ms = 2000;
    ask(&k1, FETCH, 11);
    k1.take_max = 0;
    assert_int_equal(upstream_send(up, &k1.call), OK);
    send_asked(&k2, HEARTBEAT, 3);
    assert_true(bed_until(b, stage_is_full));
    assert_int_equal(k1.want_len, stream_len);
    /* Longer than any timeout: a receiver that takes its time is not the broker's fault. */
    assert_false(bed_run(b, never, 2300));
    assert_non_null(up);
    assert_true(upstream_held_bytes(up) <= 512 * 1024);
    assert_int_equal(k1.got, 0);
    unsigned calls = k1.data_calls;
    k1.take_max = 1000;
    upstream_resume(up);
    assert_int_equal(k1.data_calls, calls); /* not from inside */
    assert_false(bed_run(b, never, 50));
    assert_int_equal(k1.got, 1000);
    k1.take_max = UINT64_MAX;
    upstream_resume(up);
    assert_true(bed_until(b, second_done));
    assert_int_equal(k1.answers, 1);
    assert_int_equal(k1.got, stream_len);
    assert_false(k1.wrong_bytes);
    assert_int_equal(k2.answers, 1);
    assert_int_equal(upstream_held_bytes(up), 0);
}

/* The answer has come whole, its receiver hasn't taken it, and the broker goes: it is still given.
 */
static void end_behind_a_whole_stream(void **state)
{
    struct bed *b = *state;
    raw_is(8, "\0\0\0\0", 4);
    for (unsigned i = 0; i < 4; i++)
        raw[8 + i] = pattern(i);
    raw_then_close = true;
    b->fake[0].script = sends_raw;
    open_up(b);
    ask(&k1, FETCH, 11);
    k1.take_max = 0;
    assert_int_equal(upstream_send(up, &k1.call), OK);
    assert_false(bed_run(b, is_closed, 300));
    k1.take_max = UINT64_MAX;
    upstream_resume(up);
    assert_true(bed_until(b, is_closed));
    assert_int_equal(k1.answers, 1);
    assert_int_equal(k1.failures, 0);
    assert_int_equal(closed_why, ERR_EOF);
}

static struct fake_conn *slow_conn;
static struct request_head behind; /* the stream that has begun */

static bool begins_a_stream(struct fake_conn *c, const struct request_head *h, const struct msg *m)
{
    if (h->api == HEARTBEAT)
        behind = *h;
    if (h->api != FETCH)
        return h->api == HEARTBEAT;
    raw_is(4 + stream_len, "", 0);
    slow_conn = c;
    return sends_raw(c, h, m);
}

/* A request is not overdue while the large answer in front of it moves. */
static void behind_a_slow_stream(void **state)
{
    struct bed *b = *state;
    b->fake[0].script = begins_a_stream;
    stream_len = 6;
    open_up(b);
    b->config.upstream.request_timeout_ms = 1000;
    send_asked(&k1, FETCH, 11);
    send_asked(&k2, HEARTBEAT, 3);
    for (uint32_t i = 0; i < stream_len; i++) {
        uint8_t byte = pattern(i);
        assert_false(bed_run(b, never, 250));
        assert_int_equal(closed, 0);
        fake_raw(slow_conn, &byte, 1);
    }
    answers_heartbeats(slow_conn, &behind, NULL);
    assert_true(bed_until(b, second_done));
    assert_int_equal(k1.got, stream_len);
    assert_int_equal(k1.answers, 1);
    assert_int_equal(k2.answers, 1);
}

static void a_stalled_broker(void **state)
{
    struct bed *b = *state;
    raw_is(1000, "", 0);
    b->fake[0].script = sends_raw;
    open_up(b);
    b->config.upstream.request_timeout_ms = 200;
    send_asked(&k1, FETCH, 11);
    assert_true(bed_until(b, is_closed));
    assert_int_equal(k1.why, ERR_TIMEOUT);
}

/* --- no answer, deadlines, taking back */

static void without_answer(void **state)
{
    struct bed *b = *state;
    b->fake[0].script = answers_heartbeats;
    open_up(b);
    ask(&k1, 0, 7);
    k1.call.no_answer = true;
    assert_int_equal(upstream_send(up, &k1.call), OK);
    assert_int_equal(k1.answers, 0);
    send_asked(&k2, HEARTBEAT, 3);
    assert_true(bed_until(b, second_done));
    assert_int_equal(k1.answers, 1);
    assert_true(k1.no_frame);
    assert_int_equal(k2.answers, 1);
    assert_true(upstream_idle(up));
}

static bool was_reset(struct bed *b)
{
    return b->fake[0].last_end == ERR_IO;
}

static void late_answer(void **state)
{
    struct bed *b = *state;
    b->fake[0].script = says_nothing;
    open_up(b);
    ask(&k1, HEARTBEAT, 3);
    k1.call.deadline_us = loop_now_us(b->loop) + 100000;
    assert_int_equal(upstream_send(up, &k1.call), OK);
    send_asked(&k2, HEARTBEAT, 3);
    uint64_t from_us = loop_clock_us(b->loop);
    assert_true(bed_until(b, is_closed));
    uint64_t took_us = loop_clock_us(b->loop) - from_us;
    assert_in_range(took_us, 80000, BED_WAIT_MS * 1000 / 2); /* its own deadline, not k2's */
    assert_int_equal(k1.why, ERR_TIMEOUT);
    assert_true(k1.sent);
    assert_int_equal(k2.failures, 1);
    /* What was told to have failed does not leave the kernel afterwards. */
    assert_true(bed_until(b, was_reset));
}

static bool login_hangs(struct fake_conn *c, const struct request_head *h, const struct msg *m)
{
    /* The probe, the first connection, may pass. */
    (void)m;
    return h->api == 17 && c->number > 2;
}

static void late_before_it_was_sent(void **state)
{
    struct bed *b = *state;
    b->config.upstream.mechanism = SASL_PLAIN;
    b->config.upstream.username = "gate";
    b->config.upstream.password = b->fake[0].password = "secret";
    b->fake[0].script = login_hangs;
    b->config.upstream.connect_timeout_ms = 2000;
    open_up(b);
    ask(&k1, HEARTBEAT, 3);
    k1.call.deadline_us = loop_now_us(b->loop) + 100000;
    assert_int_equal(upstream_send(up, &k1.call), OK);
    ask(&k2, HEARTBEAT, 3);
    assert_int_equal(upstream_send(up, &k2.call), OK);
    assert_true(upstream_cancel(&k2.call));
    assert_false(upstream_cancel(&k2.call));
    buf_release(&k2.call.body);
    assert_true(bed_until(b, first_done));
    assert_int_equal(k1.why, ERR_TIMEOUT);
    assert_false(k1.sent);
    assert_int_equal(closed, 0); /* only the call: nothing was sent */
    assert_true(bed_until(b, is_closed));
    assert_int_equal(closed_why, ERR_TIMEOUT);
    assert_int_equal(k2.failures, 0);
}

static void too_many_calls(void **state)
{
    static struct asked k[UPSTREAM_CALLS_MAX + 1];
    struct bed *b = *state;
    b->fake[0].script = says_nothing;
    open_up(b);
    b->config.upstream.request_timeout_ms = 300;
    for (int i = 0; i <= UPSTREAM_CALLS_MAX; i++) {
        ask(&k[i], HEARTBEAT, 3);
        assert_int_equal(upstream_send(up, &k[i].call), i < UPSTREAM_CALLS_MAX ? OK : ERR_LIMIT);
    }
    buf_release(&k[UPSTREAM_CALLS_MAX].call.body);
    assert_true(bed_until(b, is_closed));
    for (int i = 0; i < UPSTREAM_CALLS_MAX; i++)
        assert_int_equal(k[i].failures, 1);
}

static void closed_by_its_owner(void **state)
{
    struct bed *b = *state;
    b->fake[0].script = answers_heartbeats;
    close_in_answer = true;
    open_up(b);
    send_asked(&k1, HEARTBEAT, 3);
    send_asked(&k2, HEARTBEAT, 3);
    assert_true(bed_until(b, first_done));
    assert_false(bed_run(b, never, 50));
    assert_null(up);
    assert_int_equal(k1.answers, 1);
    assert_int_equal(k2.answers + k2.failures, 0);
    assert_int_equal(closed, 0);
}

/* Who has taken a stream's last byte may free its call, and close the connection, within data. */
static void free_and_close(struct upstream_call *call, struct buf *in, uint64_t body_len,
                           uint64_t *taken)
{
    *taken += in->len;
    buf_drain(in, in->len);
    if (*taken < body_len)
        return;
    free(call->arg);
    upstream_close(up, false);
    up = NULL;
}

static bool is_gone(struct bed *b)
{
    (void)b;
    return !up;
}

static void freed_and_closed_within(void **state)
{
    static const struct upstream_call_events freeing = {on_answer, free_and_close, on_failed};
    struct bed *b = *state;
    struct asked *k = malloc(sizeof(*k));
    assert_non_null(k);
    b->fake[0].script = streams;
    stream_len = 300;
    open_up(b);
    ask(k, FETCH, 12);
    k->call.events = &freeing;
    assert_int_equal(upstream_send(up, &k->call), OK);
    assert_true(bed_until(b, is_gone));
    assert_int_equal(closed, 0);
}

/* --- connecting */

static void nobody_listens(void **state)
{
    struct bed *b = *state;
    open_up(b);
    upstream_close(up, true);
    fake_down(&b->fake[0]);
    up = upstream_open(b->cluster, 1, on_closed, NULL);
    send_asked(&k1, HEARTBEAT, 3);
    assert_true(bed_until(b, is_closed));
    assert_int_equal(k1.failures, 1);
    assert_false(k1.sent);
    assert_int_equal(closed_why, ERR_IO);
}

static int two_addresses(void *arg, const char *host, struct addresses *out)
{
    (void)arg;
    (void)host;
    struct addresses one;
    /* Nobody listens on the first. */
    must(resolve_numeric("127.0.0.2", 0, out));
    must(resolve_numeric("127.0.0.1", 0, &one));
    out->at[out->count++] = one.at[0];
    return OK;
}

static void addresses_in_turn(void **state)
{
    struct bed *b = *state;
    resolver_free(b->resolver);
    b->resolver = resolver_new_with(two_addresses, NULL);
    b->fake[0].script = answers_heartbeats;
    b->fake[0].brokers[0].host = "kafka-1.example";
    b->seeds[0].host = "seed.example";
    open_up(b);
    send_asked(&k1, HEARTBEAT, 3);
    assert_true(bed_until(b, first_done));
    assert_int_equal(k1.answers, 1);
}

static void address_map(void **state)
{
    struct bed *b = *state;
    __typeof__(*b->config.upstream.address_map) map = {
        .from = {"KAFKA-1.internal", 9092},
        .to = {"127.0.0.1", b->fake[0].port},
    };
    b->config.upstream.address_map = &map;
    b->config.upstream.naddress_map = 1;
    b->fake[0].brokers[0].host = "kafka-1.internal";
    b->fake[0].brokers[0].port = 9092;
    b->fake[0].script = answers_heartbeats;
    open_up(b);
    send_asked(&k1, HEARTBEAT, 3);
    assert_true(bed_until(b, first_done));
    assert_int_equal(k1.answers, 1);
}

#define PACED 12
static unsigned paced_closed;

static void paced_on_closed(void *arg, struct upstream *u, int why)
{
    (void)u;
    (void)why;
    paced_closed++;
    *(struct upstream **)arg = NULL;
}

static unsigned paced_before;

static bool all_connected(struct bed *b)
{
    return b->fake[0].accepted - paced_before >= PACED;
}

static void pacing(void **state)
{
    struct bed *b = *state;
    struct upstream *u[PACED];
    unsigned at_once = 0;
    b->config.upstream.connects_per_s = 20;
    open_up(b);
    assert_false(bed_run(b, never, 600)); /* the bucket is full again: 10 */
    paced_before = b->fake[0].accepted;
    paced_closed = 0;
    uint64_t from_us = loop_clock_us(b->loop);
    for (int i = 0; i < PACED; i++) {
        u[i] = upstream_open(b->cluster, 1, paced_on_closed, &u[i]);
        assert_non_null(u[i]);
        at_once += u[i]->state != UPSTREAM_WAITING;
    }
    assert_true(at_once >= 10);
    /* Two more, at 20 a second. */
    assert_true(bed_until(b, all_connected));
    assert_true(loop_clock_us(b->loop) - from_us >= 80000);
    assert_int_equal(paced_closed, 0);
    for (int i = 0; i < PACED; i++)
        upstream_close(u[i], false);
}

static void no_turn_in_time(void **state)
{
    struct bed *b = *state;
    b->config.upstream.connects_per_s = 1;
    b->config.upstream.connect_timeout_ms = 300;
    bed_start(b);
    /* The probes use up the only token. */
    assert_false(bed_run(b, never, 100));
    assert_true(bed_until(b, bed_ready));
    up = upstream_open(b->cluster, 1, on_closed, NULL);
    send_asked(&k1, HEARTBEAT, 3);
    assert_true(bed_until(b, is_closed));
    assert_int_equal(closed_why, ERR_TIMEOUT);
    assert_false(k1.sent);
}

/* --- authentication */

static void with_mechanism(struct bed *b, enum sasl_mechanism m)
{
    b->config.upstream.mechanism = m;
    b->config.upstream.username = "gate";
    b->config.upstream.password = b->fake[0].password = "secret";
    b->fake[0].script = answers_heartbeats;
    open_up(b);
    send_asked(&k1, HEARTBEAT, 3);
    assert_true(bed_until(b, first_done));
    assert_int_equal(k1.answers, 1);
    assert_true(b->fake[0].logins >= 2);
}

static void plain(void **state)
{
    with_mechanism(*state, SASL_PLAIN);
}

static void scram_256(void **state)
{
    with_mechanism(*state, SASL_SCRAM_SHA_256);
}

static void scram_512_byte_by_byte(void **state)
{
    struct bed *b = *state;
    b->fake[0].piece = 1;
    with_mechanism(b, SASL_SCRAM_SHA_512);
}

static void old_sasl(void **state)
{
    struct bed *b = *state;
    b->fake[0].versions[36].max = 0;
    b->fake[0].versions[18].max = 2;
    with_mechanism(b, SASL_SCRAM_SHA_512);
}

static bool refused(struct bed *b)
{
    return b->fake[0].requests[36] >= 2;
}

static void wrong_password(void **state)
{
    struct bed *b = *state;
    b->config.upstream.mechanism = SASL_SCRAM_SHA_256;
    b->config.upstream.username = "gate";
    b->config.upstream.password = "wrong";
    b->fake[0].password = "secret";
    bed_start(b);
    assert_true(bed_until(b, refused));
    assert_false(bed_run(b, never, 100));
    assert_false(cluster_ready(b->cluster));
    assert_string_equal(cluster_trouble(b->cluster), "the brokers refuse our credentials");
    assert_int_equal(b->fake[0].logins, 0);
}

static void impostor(void **state)
{
    struct bed *b = *state;
    b->config.upstream.mechanism = SASL_SCRAM_SHA_512;
    b->config.upstream.username = "gate";
    b->config.upstream.password = b->fake[0].password = "secret";
    b->fake[0].bad_signature = true;
    bed_start(b);
    assert_true(bed_until(b, refused));
    assert_false(bed_run(b, never, 100));
    assert_false(cluster_ready(b->cluster));
    assert_int_equal(b->fake[0].requests[3], 0); /* nothing more was told to it */
}

static void oauthbearer(void **state)
{
    struct bed *b = *state;
    b->config.upstream.mechanism = SASL_OAUTHBEARER;
    b->fake[0].script = answers_heartbeats;
    bed_start(b);
    assert_false(bed_run(b, bed_ready, 200));
    assert_string_equal(cluster_trouble(b->cluster), "there is no token for the brokers yet");
    assert_int_equal(b->fake[0].accepted, 0);
    assert_int_equal(cluster_token(b->cluster, "abc.def.ghi", 0), OK);
    assert_true(bed_until(b, bed_ready));
    assert_string_equal(b->fake[0].last_token, "abc.def.ghi");
}

static bool logged_in_often(struct bed *b)
{
    return b->fake[0].logins >= 8;
}

/* KIP-368: at 85 % of 200 ms, with the newest token, while calls go on. */
static void reauthenticates(void **state)
{
    struct bed *b = *state;
    b->config.upstream.mechanism = SASL_OAUTHBEARER;
    b->fake[0].lifetime_ms = 200;
    b->fake[0].script = answers_heartbeats;
    bed_start(b);
    assert_int_equal(cluster_token(b->cluster, "first", 0), OK);
    assert_true(bed_until(b, bed_ready));
    up = upstream_open(b->cluster, 1, on_closed, NULL);
    for (int i = 0; i < 30; i++) {
        send_asked(&k1, HEARTBEAT, 3);
        assert_true(bed_until(b, first_done));
        assert_int_equal(k1.answers, 1);
        assert_false(bed_run(b, never, 20));
        if (i == 10)
            assert_int_equal(cluster_token(b->cluster, "second", 0), OK);
    }
    assert_true(bed_until(b, logged_in_often));
    assert_int_equal(closed, 0);
    assert_string_equal(b->fake[0].last_token, "second");
    assert_true(b->fake[0].accepted <= 3);
}

/* --- TLS, memory */

static void over_tls(void **state)
{
    struct bed *b = *state;
    struct certs c;
    char err[256];
    certs_init(&c);
    struct tls_server_settings server = {.certificate = c.server,
                                         .key = c.server_key,
                                         .client_ca = c.ca,
                                         .client_certificate = 2,
                                         .min_version = 12};
    struct tls_client_settings client = {.ca = c.ca,
                                         .certificate = c.client,
                                         .key = c.client_key,
                                         .verify = true,
                                         .min_version = 12};
    b->fake[0].tls = tls_server_new(&server, err, sizeof(err));
    assert_non_null(b->fake[0].tls);
    b->tls = tls_client_new(&client, err, sizeof(err));
    assert_non_null(b->tls);
    b->config.upstream.tls = true;
    stream_len = 3 * 1024 * 1024;
    b->fake[0].script = streams;
    open_up(b);
    send_asked(&k1, HEARTBEAT, 4);
    send_asked(&k2, FETCH, 12);
    send_asked(&k3, HEARTBEAT, 3);
    assert_true(bed_until(b, all_done));
    assert_int_equal(k2.got, stream_len);
    assert_false(k2.wrong_bytes);
    upstream_close(up, false);
    up = NULL;
    /* A name that the certificate does not have. */
    b->config.upstream.server_name = "kafka-1.example";
    up = upstream_open(b->cluster, 1, on_closed, NULL);
    send_asked(&k1, HEARTBEAT, 3);
    assert_true(bed_until(b, is_closed));
    assert_int_equal(closed_why, ERR_TLS);
    assert_false(k1.sent);
    certs_release(&c);
}

/* Every allocation fails once: no crash, no leak, every call hears an end. */
static void out_of_memory(void **state)
{
    struct bed *b = *state;
    b->fake[0].script = answers_heartbeats;
    b->config.upstream.mechanism = SASL_SCRAM_SHA_256;
    b->config.upstream.username = "gate";
    b->config.upstream.password = b->fake[0].password = "secret";
    open_up(b);
    upstream_close(up, false);
    for (unsigned n = 1; n < 12; n++) {
        memset(&k1, 0, sizeof(k1));
        ask(&k1, HEARTBEAT, 3);
        closed = 0;
        if (!sl_alloc_fail_after(n)) {
            buf_release(&k1.call.body);
            up = NULL;
            return;
        }
        up = upstream_open(b->cluster, 1, on_closed, NULL);
        int e = up ? upstream_send(up, &k1.call) : ERR_NOMEM;
        (void)sl_alloc_fail_after(0);
        if (e)
            buf_release(&k1.call.body);
        else
            assert_true(bed_until(b, first_done));
        if (up)
            upstream_close(up, false);
        up = NULL;
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(answers_in_order),
        T(byte_by_byte),
        T(wrong_correlation),
        T(wrong_correlation_streamed),
        T(oversized),
        T(negative_length),
        T(negative_length_streamed),
        T(too_short),
        T(bad_header_tags),
        T(bad_header_tags_streamed),
        T(header_beyond_the_frame),
        T(end_in_mid_frame),
        T(end_in_mid_stream),
        T(unsolicited),
        T(back_pressure),
        T(end_behind_a_whole_stream),
        T(behind_a_slow_stream),
        T(a_stalled_broker),
        T(without_answer),
        T(late_answer),
        T(late_before_it_was_sent),
        T(too_many_calls),
        T(closed_by_its_owner),
        T(freed_and_closed_within),
        T(nobody_listens),
        T(addresses_in_turn),
        T(address_map),
        T(pacing),
        T(no_turn_in_time),
        T(plain),
        T(scram_256),
        T(scram_512_byte_by_byte),
        T(old_sasl),
        T(wrong_password),
        T(impostor),
        T(oauthbearer),
        T(reauthenticates),
        T(over_tls),
        T(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
