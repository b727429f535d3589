#include "tests/unit/unit.h"

#include <stdio.h>

#include "codec/frame.h"

/* Fills b with the hex, each byte in its own segment when `apart`. */
static size_t fill(struct buf *b, const char *hex, bool apart)
{
    struct buf one;
    unsigned byte;

    buf_init(b, 1 << 20);
    for (; *hex; hex++) {
        if (*hex == ' ')
            continue;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        uint8_t c = (uint8_t)byte;
        buf_init(&one, 16);
        assert_int_equal(buf_append(&one, &c, 1), OK);
        if (apart)
            assert_int_equal(buf_move(b, &one), OK);
        else
            assert_int_equal(buf_append(b, &c, 1), OK);
        buf_release(&one);
        hex++;
    }
    return b->len;
}

static void lengths(void **state)
{
    static const struct {
        const char *hex;
        int err;
        uint32_t len;
    } cases[] = {
        {"", ERR_AGAIN, 0},
        {"000000", ERR_AGAIN, 0},
        {"00000000", ERR_MALFORMED, 0},
        {"ffffffff", ERR_MALFORMED, 0},
        {"80000000", ERR_MALFORMED, 0},
        {"00000001", OK, 1},
        {"00001000", OK, 4096},
        {"00001001", ERR_LIMIT, 4097},
        {"7fffffff", ERR_LIMIT, INT32_MAX},
        {"00000002 0000", OK, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf b;
        uint32_t len = 0;
        fill(&b, cases[i].hex, i % 2);
        assert_int_equal(frame_length(&b, 4096, &len), cases[i].err);
        assert_int_equal(len, cases[i].len);
        buf_release(&b);
    }
}

/* Key, version, correlation id, client id "ab"; api is hex of 4 bytes. */
#define V1(api)       api " 01020304 0002 6162"
#define HEAD_SHORT    "the header runs past the end of its frame"
#define HEAD_ORDER    "header tags twice or out of order"
#define HEAD_BAD_LEN  "a negative length in the header"
#define HEAD_OVERLONG "a varint in the header is overlong or above 32 bits"
#define HEAD_TOO_MANY "too many tags in the header"
#define HEAD_UNKNOWN  "an API or version that the schema does not have"

static const struct {
    const char *hex;
    int err;
    const char *text; /* client id or, with an error, why */
    size_t body_off;
} requests[] = {
    {V1("0001 0004"), OK, "ab", 12},
    {V1("0001 0004") "ffff", OK, "ab", 12},
    {"0001 0004 01020304 ffff", OK, NULL, 10},
    {"0001 0004 01020304 0000", OK, "", 10},
    {"0001 0004 01020304 0001 61", OK, "a", 11},
    {"0001 0004 01020304 fffe", ERR_MALFORMED, HEAD_BAD_LEN, 0},
    {"0001 0004 01020304 8000", ERR_MALFORMED, HEAD_BAD_LEN, 0},
    {"0001 0004 01020304 0003 6162", ERR_MALFORMED, HEAD_SHORT, 0},
    {"0001 0004 01020304 7fff 6162", ERR_MALFORMED, HEAD_SHORT, 0},
    {"0001 0004 01020304 00", ERR_MALFORMED, HEAD_SHORT, 0},
    {"0001 0004 010203", ERR_MALFORMED, HEAD_SHORT, 0},
    {"", ERR_MALFORMED, HEAD_SHORT, 0},
    {V1("0001 0013"), ERR_VERSION, HEAD_UNKNOWN, 0},
    {V1("0001 ffff"), ERR_VERSION, HEAD_UNKNOWN, 0},
    {V1("005f 0000"), ERR_VERSION, HEAD_UNKNOWN, 0},
    {V1("ffff 0000"), ERR_VERSION, HEAD_UNKNOWN, 0},
    {V1("7fff 0000"), ERR_VERSION, HEAD_UNKNOWN, 0},
    /* ControlledShutdown 0 has no client id */
    {"0007 0000 01020304", OK, NULL, 8},
    {V1("0007 0001"), OK, "ab", 12},
    /* flexible: tags */
    {V1("0001 000c") "00", OK, "ab", 13},
    {V1("0001 000c"), ERR_MALFORMED, HEAD_SHORT, 0},
    {V1("0012 0003") "00", OK, "ab", 13},
    {V1("0001 000c") "01 00 00", OK, "ab", 15},
    {V1("0001 000c") "02 00 01 aa 07 02 bbbb", OK, "ab", 20},
    {V1("0001 000c") "02 07 00 07 00", ERR_MALFORMED, HEAD_ORDER, 0},
    {V1("0001 000c") "02 07 00 06 00", ERR_MALFORMED, HEAD_ORDER, 0},
    {V1("0001 000c") "01 ffffffff0f 00", ERR_MALFORMED, HEAD_ORDER, 0},
    {V1("0001 000c") "01 07 02 aa", ERR_MALFORMED, HEAD_SHORT, 0},
    {V1("0001 000c") "01 07 ffff7f", ERR_MALFORMED, "header tags too large", 0},
    {V1("0001 000c") "01 07", ERR_MALFORMED, HEAD_SHORT, 0},
    {V1("0001 000c") "8000", ERR_MALFORMED, HEAD_OVERLONG, 0},
    {V1("0001 000c") "ffffffffff", ERR_MALFORMED, HEAD_OVERLONG, 0},
    {V1("0001 000c") "11", ERR_MALFORMED, HEAD_TOO_MANY, 0},
    {V1("0001 000c") "ffffffff0f", ERR_MALFORMED, HEAD_TOO_MANY, 0},
    /* what is no text becomes '?' */
    {"0001 0004 01020304 0004 61ff0062", OK, "a\?\?b", 14},
    {"0001 0004 01020304 0003 c3a463", OK, "\xc3\xa4\x63", 13},
    {"0001 0004 01020304 0002 c3c3", OK, "\?\?", 12},
    {"0001 0004 01020304 0003 eda080", OK, "\?\?\?", 13}, /* a surrogate */
    {"0001 0004 01020304 0002 c080", OK, "\?\?", 12},     /* an overlong NUL */
};

static void request_heads(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * sizeof requests / sizeof requests[0]; i++) {
        struct request_head h;
        struct buf b;
        const char *why = NULL;
        size_t n = fill(&b, requests[i / 2].hex, i % 2);

        assert_int_equal(frame_request_head(&b, 0, n, &h, &why), requests[i / 2].err);
        if (requests[i / 2].err) {
            assert_string_equal(why, requests[i / 2].text);
        } else {
            assert_int_equal(h.correlation, 0x01020304);
            assert_int_equal(h.body_off, requests[i / 2].body_off);
            if (requests[i / 2].text) {
                assert_string_equal((const char *)h.client_id, requests[i / 2].text);
                assert_int_equal(h.client_id_len, strlen(requests[i / 2].text));
            } else {
                assert_null(h.client_id);
            }
        }
        buf_release(&b);
    }
}

/* Every truncation of a good header is ERR_MALFORMED as a frame and ERR_AGAIN as a buffer. */
static void truncations(void **state)
{
    const char *hex = V1("0001 000c") "02 00 01 aa 8701 02 bbbb";
    struct request_head h;
    struct buf whole, part;
    const char *why;

    (void)state;
    size_t n = fill(&whole, hex, false), body_off;
    assert_int_equal(frame_request_head(&whole, 0, n, &h, &why), OK);
    assert_int_equal(h.body_off, n);
    for (size_t cut = 0; cut < n; cut++) {
        int32_t correlation;
        buf_init(&part, 1024);
        assert_int_equal(buf_share(&part, &whole, 0, cut), OK);
        assert_int_equal(frame_request_head(&whole, 0, cut, &h, &why), ERR_MALFORMED);
        assert_int_equal(frame_request_head(&part, 0, n, &h, &why), ERR_AGAIN);
        assert_int_equal(frame_peek(&whole, 0, cut, &h), cut < 8 ? ERR_MALFORMED : OK);
        assert_int_equal(frame_peek(&part, 0, n, &h), cut < 8 ? ERR_AGAIN : OK);
        /* bytes 4 to 7 and what follows happen to be an answer's header, too */
        if (cut < 4)
            assert_int_equal(frame_response_head(&part, 0, n, 1, 4, &correlation, &body_off, &why),
                             ERR_AGAIN);
        buf_release(&part);
    }
    buf_release(&whole);
}

static void peeks(void **state)
{
    struct request_head h;
    struct buf b;

    (void)state;
    size_t n = fill(&b, "aabbccdd 7fff fffe 80000001 ff", true);
    assert_int_equal(frame_peek(&b, 4, n - 4, &h), OK);
    assert_int_equal(h.api, 0x7fff);
    assert_int_equal(h.version, -2);
    assert_int_equal(h.correlation, INT32_MIN + 1);
    assert_null(h.client_id);
    assert_int_equal(frame_peek(&b, 100, 8, &h), ERR_AGAIN);
    buf_release(&b);
}

static void long_client_ids(void **state)
{
    static uint8_t frame[10 + 32767];
    struct request_head h;
    const char *why;

    (void)state;
    memcpy(frame, "\x00\x01\x00\x04\x00\x00\x00\x01", 8);
    /* 'a' then two-byte characters: the cut falls inside of one */
    for (size_t len = 250; len <= 32767; len = len < 262 ? len + 1 : len + 8001) {
        struct buf b;
        frame[8] = (uint8_t)(len >> 8);
        frame[9] = (uint8_t)len;
        frame[10] = 'a';
        for (size_t i = 1; i < len; i++)
            frame[10 + i] = i % 2 ? 0xc3 : 0xa4;
        if (len % 2 == 0)
            frame[10 + len - 1] = 'z';
        buf_init(&b, 1 << 20);
        assert_int_equal(buf_append(&b, frame, 10 + len), OK);
        assert_int_equal(frame_request_head(&b, 0, b.len, &h, &why), OK);
        assert_int_equal(h.body_off, 10 + len);
        assert_int_equal(h.client_id_len, len < 255 ? len : 255);
        assert_int_equal(strlen((const char *)h.client_id), h.client_id_len);
        assert_null(strchr((const char *)h.client_id, '?'));
        buf_release(&b);
    }
    /* even bytes: the last character does not fit and goes as a whole */
    memset(frame + 10, 'a', 2);
    for (size_t i = 2; i < 1000; i++)
        frame[10 + i] = i % 2 ? 0xa4 : 0xc3;
    frame[8] = 1000 >> 8;
    frame[9] = (uint8_t)1000;
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(buf_append(&b, frame, sizeof frame), OK);
    assert_int_equal(frame_request_head(&b, 0, 1009, &h, &why), ERR_MALFORMED);
    assert_string_equal(why, HEAD_SHORT);
    buf_release(&b);
    buf_init(&b, 1 << 20);
    assert_int_equal(buf_append(&b, frame, 1010), OK);
    assert_int_equal(frame_request_head(&b, 0, b.len, &h, &why), OK);
    assert_int_equal(h.client_id_len, 254);
    assert_null(strchr((const char *)h.client_id, '?'));
    buf_release(&b);
}

static void response_heads(void **state)
{
    static const struct {
        int api, version;
        const char *hex;
        int err;
        size_t body_off;
    } cases[] = {
        {1, 11, "00000007", OK, 4},
        {1, 11, "000000", ERR_MALFORMED, 0},
        {1, 12, "00000007 00", OK, 5},
        {1, 12, "00000007", ERR_MALFORMED, 0},
        {1, 12, "00000007 01 03 01 aa 00", OK, 8},
        {1, 12, "00000007 02 03 00 03 00", ERR_MALFORMED, 0},
        {18, 3, "00000007 00", OK, 4},
        {95, 0, "00000007 00", ERR_VERSION, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf b;
        int32_t correlation = 0;
        size_t body_off = 0, n = fill(&b, cases[i].hex, i % 2);
        const char *why = NULL;
        assert_int_equal(frame_response_head(&b, 0, n, cases[i].api, cases[i].version, &correlation,
                                             &body_off, &why),
                         cases[i].err);
        assert_int_equal(body_off, cases[i].body_off);
        if (!cases[i].err)
            assert_int_equal(correlation, 7);
        else
            assert_non_null(why);
        buf_release(&b);
    }
}

/* What is written must be read again, and its length must be the frame's. */
static void round_trips(void **state)
{
    static const int versions[] = {4, 11, 12, 18};
    static const char *const ids[] = {NULL, "", "sluice", "\xc3\xa4"};

    (void)state;
    for (size_t i = 0; i < 16; i++) {
        const char *id = ids[i % 4], *why;
        int version = versions[i / 4];
        struct request_head h;
        struct buf b;
        uint32_t len;
        int32_t correlation;
        size_t body_off;

        buf_init(&b, 4096);
        assert_int_equal(frame_put_request(&b, 1, version, -5, id, 3), OK);
        assert_int_equal(buf_append(&b, "xyz", 3), OK);
        assert_int_equal(frame_length(&b, 4096, &len), OK);
        assert_int_equal(len, b.len - 4);
        assert_int_equal(frame_request_head(&b, 4, len, &h, &why), OK);
        assert_int_equal(h.body_off, len - 3);
        assert_int_equal(h.correlation, -5);
        assert_int_equal(h.version, version);
        assert_true(id ? strcmp((const char *)h.client_id, id) == 0 : !h.client_id);
        buf_release(&b);

        buf_init(&b, 4096);
        assert_int_equal(frame_put_response(&b, 1, version, -5, 3), OK);
        assert_int_equal(buf_append(&b, "xyz", 3), OK);
        assert_int_equal(frame_length(&b, 4096, &len), OK);
        assert_int_equal(len, b.len - 4);
        assert_int_equal(frame_response_head(&b, 4, len, 1, version, &correlation, &body_off, &why),
                         OK);
        assert_int_equal(correlation, -5);
        assert_int_equal(body_off, len - 3);
        buf_release(&b);
    }
}

static void puts_refuse(void **state)
{
    char id[FRAME_CLIENT_ID_MAX + 2];
    struct buf b;

    (void)state;
    memset(id, 'a', sizeof id);
    id[FRAME_CLIENT_ID_MAX + 1] = '\0';
    buf_init(&b, 64);
    assert_int_equal(frame_put_request(&b, 95, 0, 1, NULL, 0), ERR_VERSION);
    assert_int_equal(frame_put_response(&b, 95, 0, 1, 0), ERR_VERSION);
    assert_int_equal(frame_put_request(&b, 1, 12, 1, id + 1, 0), ERR_LIMIT); /* the buffer's */
    assert_int_equal(frame_put_request(&b, 1, 12, 1, NULL, INT32_MAX), ERR_LIMIT);
    assert_int_equal(frame_put_request(&b, 1, 12, 1, NULL, SIZE_MAX), ERR_LIMIT);
    assert_int_equal(frame_put_response(&b, 1, 12, 1, INT32_MAX), ERR_LIMIT);
    assert_int_equal(frame_put_response(&b, 1, 12, 1, SIZE_MAX), ERR_LIMIT);
    assert_int_equal(b.len, 0);
    buf_release(&b);
    buf_init(&b, 1024);
    assert_int_equal(frame_put_request(&b, 1, 12, 1, id, 0), ERR_LIMIT); /* the client id's */
    assert_int_equal(b.len, 0);
    assert_int_equal(frame_put_request(&b, 1, 12, 1, id + 1, 0), OK);
    assert_int_equal(b.len, 4 + 10 + FRAME_CLIENT_ID_MAX + 1);
    buf_release(&b);
    buf_init(&b, 1024);
    assert_int_equal(frame_put_request(&b, 7, 0, 1, "left out", 0), OK);
    assert_int_equal(b.len, 4 + 8);
    buf_release(&b);
    buf_thread_trim();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths),         cmocka_unit_test(request_heads),
        cmocka_unit_test(truncations),     cmocka_unit_test(peeks),
        cmocka_unit_test(long_client_ids), cmocka_unit_test(response_heads),
        cmocka_unit_test(round_trips),     cmocka_unit_test(puts_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
