#include "tests/unit/unit.h"

#include <jansson.h>
#include <stdlib.h>

#include "codec/msg.h"
#include "control/decode.h"

/* A Heartbeat 0 request (group "g", generation 7, member "m"), correlation id 5, client "c", and
 * its answer. */
#define HEARTBEAT                                                                                  \
    "\0\0\0\x15\0\x0c\0\0\0\0\0\x05\0\x01"                                                         \
    "c\0\x01g\0\0\0\x07\0\x01m"
#define HEARTBEAT_BYTES 25
#define ANSWER          "\0\0\0\x06\0\0\0\x05\0\x19"
#define ANSWER_BYTES    10

static json_t *docs[16];
static size_t ndocs;
static char printed[2048]; /* as --text has it */

/* Runs and reads back what was printed: each line must be JSON. */
static int run(const struct decode_options *o, const void *p, size_t n)
{
    uint8_t *copy = malloc(n + 1);
    char *text = NULL;
    size_t len;
    assert_non_null(copy);
    memcpy(copy, p, n);
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    struct decode_options mine = *o;
    int code = decode_run(&mine, copy, n, f);
    assert_int_equal(fclose(f), 0);
    ndocs = 0;
    char *rest = text;
    for (char *line; !o->text && (line = strsep(&rest, "\n")) && *line;) {
        assert_true(ndocs < sizeof docs / sizeof docs[0]);
        docs[ndocs] = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(docs[ndocs++]);
    }
    if (o->text)
        (void)snprintf(printed, sizeof printed, "%s", text);
    free(text);
    free(copy);
    return code;
}

static void drop(void)
{
    while (ndocs > 0)
        json_decref(docs[--ndocs]);
}

static const char *text_at(size_t i, const char *key)
{
    assert_true(i < ndocs);
    const char *s = json_string_value(json_object_get(docs[i], key));
    return s ? s : "(none)";
}

static json_int_t number_at(size_t i, const char *key)
{
    assert_true(i < ndocs);
    json_t *v = json_object_get(docs[i], key);
    return json_is_integer(v) ? json_integer_value(v) : -99;
}

/* The bytes that could not be read: base64 and where they stand, one after another. */
static void assert_unread(size_t i, const char *want)
{
    char got[256] = "";
    size_t k, at = 0;
    json_t *row;
    assert_true(i < ndocs);
    json_array_foreach(json_object_get(docs[i], "unread"), k, row)
    {
        int n = snprintf(got + at, sizeof got - at, "%s%lld %s", k ? ", " : "",
                         json_integer_value(json_object_get(row, "offset")),
                         json_string_value(json_object_get(row, "data")));
        assert_true(n > 0 && (size_t)n < sizeof got - at);
        at += (size_t)n;
    }
    assert_string_equal(got, want);
}

static void assert_heartbeat(size_t i)
{
    assert_null(json_object_get(docs[i], "unread"));
    assert_string_equal(text_at(i, "error"), "(none)");
    assert_string_equal(text_at(i, "type"), "request");
    assert_string_equal(text_at(i, "api"), "Heartbeat");
    json_t *header = json_object_get(docs[i], "header");
    assert_int_equal(json_integer_value(json_object_get(header, "correlationId")), 5);
    assert_string_equal(json_string_value(json_object_get(header, "clientId")), "c");
    json_t *body = json_object_get(docs[i], "body");
    assert_string_equal(json_string_value(json_object_get(body, "groupId")), "g");
    assert_int_equal(json_integer_value(json_object_get(body, "generationId")), 7);
}

static void assert_answer(size_t i)
{
    assert_string_equal(text_at(i, "error"), "(none)");
    assert_string_equal(text_at(i, "type"), "response");
    assert_string_equal(text_at(i, "api"), "Heartbeat");
    json_t *body = json_object_get(docs[i], "body");
    assert_int_equal(json_integer_value(json_object_get(body, "errorCode")), 25);
}

static const struct decode_options guess = {.api = -1, .version = -1};

static void test_forms(void **state)
{
    (void)state;
    assert_int_equal(run(&guess, HEARTBEAT HEARTBEAT, 2 * HEARTBEAT_BYTES), 0);
    assert_int_equal(ndocs, 2);
    assert_heartbeat(0);
    assert_heartbeat(1);
    assert_int_equal(number_at(1, "offset"), HEARTBEAT_BYTES);
    assert_int_equal(number_at(1, "length"), HEARTBEAT_BYTES - 4);
    drop();
    static const char *const hex[] = {
        "00000015000c0000000000050001630001670000000700016d",
        " 00 00 00 15, 00 0C 00 00\r\n\t0x00 0x00 00 05 00 01 63 00 01 67 00000007 00016d\n\n",
        "00000000: 0000 0015 000c 0000 0000 0005 0001 6300  ..............c.\n"
        "00000010: 0167 0000 0007 0001 6d                   .g......m\n",
        "00000000  00 00 00 15 00 0c 00 00  00 00 00 05 00 01 63 00  |..............c.|\n"
        "00000010  01 67 00 00 00 07 00 01  6d                       |.g......m|\n"
        "00000019\n",
    };
    for (size_t i = 0; i < sizeof hex / sizeof hex[0]; i++) {
        assert_int_equal(run(&guess, hex[i], strlen(hex[i])), 0);
        assert_int_equal(ndocs, 1);
        assert_heartbeat(0);
        drop();
    }
    struct decode_options o = {.response = true, .api = 12, .version = 0};
    assert_int_equal(run(&o, ANSWER, ANSWER_BYTES), 0);
    assert_answer(0);
    drop();
}

/* For people: indented, the error by its name. */
static void test_text(void **state)
{
    (void)state;
    struct decode_options o = {.response = true, .api = 12, .version = 0, .text = true};
    assert_int_equal(run(&o, ANSWER, ANSWER_BYTES), 0);
    assert_string_equal(printed, "offset: 0\n"
                                 "length: 6\n"
                                 "type: \"response\"\n"
                                 "api: \"Heartbeat\"\n"
                                 "apiKey: 12\n"
                                 "version: 0\n"
                                 "header:\n"
                                 "  correlationId: 5\n"
                                 "body:\n"
                                 "  errorCode: 25 UNKNOWN_MEMBER_ID\n");
    o.response = false;
    assert_int_equal(run(&o, "\0\0\0\x02zz", 6), 2);
    assert_non_null(strstr(printed, "unread:\n  - offset: 4\n    data: \"eno=\"\n"));
}

/* What could not be read is shown: nothing of the input goes unmentioned. */
static void test_unread(void **state)
{
    (void)state;
    struct decode_options raw = {.form = DECODE_RAW};
    assert_int_equal(run(&raw, "abc", 3), 2); /* no length */
    assert_unread(0, "0 YWJj");
    drop();
    assert_int_equal(run(&raw, "\0\0\0\x09zz", 6), 2); /* not whole */
    assert_unread(0, "0 AAAACXp6");
    drop();
    assert_int_equal(run(&raw, "\0\0\0\x02zz" HEARTBEAT, 6 + HEARTBEAT_BYTES), 2); /* no header */
    assert_int_equal(ndocs, 2);
    assert_unread(0, "4 eno=");
    assert_heartbeat(1);
    drop();
    assert_int_equal(run(&raw, "\0\0\0\x0a\x7f\0\0\0\0\0\0\x05\xff\xff", 14), 2); /* no API */
    assert_unread(0, "4 fwAAAAAAAAX//w==");
    drop();
    char longer[HEARTBEAT_BYTES + 2] = HEARTBEAT "xy"; /* more than its fields */
    longer[3] += 2;
    assert_int_equal(run(&raw, longer, sizeof longer), 2);
    assert_unread(0, "15 AAFnAAAABwABbXh5");
    drop();
    /* A message that has a secret keeps it, unless asked. */
    static const char token[] = "\0\0\0\x12\0\x24\0\x01\0\0\0\x01\xff\xff\0\0\0\x09tokn";
    assert_int_equal(run(&raw, token, sizeof token - 1), 2);
    assert_unread(0, "14 <secret>");
    drop();
    raw.secrets = true;
    assert_int_equal(run(&raw, token, sizeof token - 1), 2);
    assert_unread(0, "14 AAAACXRva24=");
    drop();
}

/* Every message of every version, with the values that it has by default. */
static void test_all(void **state)
{
    (void)state;
    size_t n, messages = 0;
    const struct message *all = schema_all(&n);
    for (size_t i = 0; i < n; i++) {
        for (int v = all[i].versions.min; v <= all[i].versions.max; v++, messages++) {
            struct decode_options o = {
                .form = DECODE_RAW, .response = !all[i].request, .api = all[i].api, .version = v};
            struct arena a;
            struct msg m;
            struct buf b;
            uint8_t frame[512];
            arena_init(&a, 1 << 20);
            buf_init(&b, sizeof frame);
            assert_int_equal(msg_new(&m, &a, &all[i], v), OK);
            assert_int_equal(all[i].request ? msg_encode_request(&m, 7, "c", &b)
                                            : msg_encode_response(&m, 7, &b),
                             OK);
            buf_copy_out(&b, 0, frame, b.len);
            if (run(&o, frame, b.len) != 0)
                fail_msg("%s %d: %s", all[i].name, v, text_at(0, "error"));
            assert_string_equal(text_at(0, "api"), schema_api_name(all[i].api));
            assert_int_equal(number_at(0, "version"), v);
            assert_true(json_is_object(json_object_get(docs[0], "body")));
            drop();
            buf_release(&b);
            arena_release(&a);
        }
    }
    assert_true(n == 2 * 95 && messages > 600);
}

/* At every place where the input may end: documents, the last one with an error. */
static void test_cut(void **state)
{
    (void)state;
    for (size_t n = 0; n < HEARTBEAT_BYTES; n++) {
        struct decode_options o = {.form = DECODE_RAW};
        assert_int_equal(run(&o, HEARTBEAT, n), 2);
        assert_int_equal(ndocs, 1);
        assert_string_not_equal(text_at(0, "error"), "(none)");
        assert_int_equal(number_at(0, "errorOffset"), 0);
        drop();
    }
    /* The same with a length that says so: the frame itself is bad. */
    for (size_t n = 1; n < HEARTBEAT_BYTES - 4; n++) {
        uint8_t frame[HEARTBEAT_BYTES];
        memcpy(frame, HEARTBEAT, HEARTBEAT_BYTES);
        frame[3] = (uint8_t)n;
        struct decode_options o = {.form = DECODE_RAW};
        assert_int_equal(run(&o, frame, n + 4), 2);
        assert_int_equal(ndocs, 1);
        assert_string_not_equal(text_at(0, "error"), "(none)");
        assert_true(number_at(0, "errorOffset") >= 4);
        assert_true(number_at(0, "errorOffset") <= (json_int_t)n + 4);
        drop();
    }
}

static void bad(const struct decode_options *o, const void *p, size_t n, const char *why,
                json_int_t offset)
{
    assert_int_equal(run(o, p, n), 2);
    assert_true(ndocs > 0);
    assert_non_null(strstr(text_at(ndocs - 1, "error"), why));
    assert_int_equal(number_at(ndocs - 1, "errorOffset"), offset);
    drop();
}

static void test_bad_input(void **state)
{
    (void)state;
    struct decode_options raw = {.form = DECODE_RAW}, hex = {.form = DECODE_HEX},
                          pcap = {.form = DECODE_PCAP},
                          answer = {.response = true, .api = 999, .form = DECODE_RAW};
    bad(&guess, "", 0, "empty", 0);
    bad(&hex, " \n", 2, "empty", 0);
    bad(&raw, "\x16\x03\x01\x02\0\x01", 6, "TLS", 0);
    bad(&raw, "\xff\xff\xff\xff", 4, "-1", 0);
    bad(&raw, "\0\0\0\0", 4, "0", 0);
    bad(&raw, "\x7f\0\0\0", 4, "above the limit", 0);
    bad(&raw, "GET / HTTP/1.1\r\n", 16, "above the limit", 0);
    bad(&raw, "\0\0\0\x0a\x7f\0\0\0\0\0\0\x05\xff\xff", 14, "API key 32512", 4);
    bad(&raw, "\0\0\0\x0a\0\x0c\0\x63\0\0\0\x05\xff\xff", 14, "versions 0 to 4, not 99", 6);
    bad(&raw, HEARTBEAT "xy", HEARTBEAT_BYTES + 2, "left over", HEARTBEAT_BYTES);
    bad(&answer, ANSWER, ANSWER_BYTES, "API key 999", 4);
    bad(&hex, "00 0g", 5, "not a hexadecimal digit", 4);
    bad(&hex, "00 g0", 5, "not a hexadecimal digit", 3);
    bad(&hex, "00\n123", 6, "odd number", 6);
    bad(&pcap, "hello", 5, "not a pcap file", 0);
    bad(&pcap, "\x0a\x0d\x0d\x0a", 4, "pcapng", 0);
    /* A good frame behind a bad one is still read. */
    assert_int_equal(run(&raw, "\0\0\0\x01x" HEARTBEAT, 5 + HEARTBEAT_BYTES), 2);
    assert_int_equal(ndocs, 2);
    assert_heartbeat(1);
    drop();
}

static void test_secret(void **state)
{
    (void)state;
    /* SaslAuthenticate 1 with four bytes of token. */
    static const char frame[] = "\0\0\0\x12\0\x24\0\x01\0\0\0\x01\xff\xff\0\0\0\x04tokn";
    struct decode_options o = {.form = DECODE_RAW};
    assert_int_equal(run(&o, frame, sizeof frame - 1), 0);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(docs[0], "body"), "authBytes")),
        "<secret>");
    drop();
    o.secrets = true;
    assert_int_equal(run(&o, frame, sizeof frame - 1), 0);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(docs[0], "body"), "authBytes")),
        "dG9rbg==");
    drop();
}

/* KIP-511: an ApiVersions answer in version 0, whatever was asked. */
static void test_api_versions(void **state)
{
    (void)state;
    static const char frame[] = "\0\0\0\x10\0\0\0\x01\0\x23\0\0\0\x01\0\x12\0\0\0\x04";
    for (int v = 0; v < 9; v += 4) {
        struct decode_options o = {.form = DECODE_RAW, .response = true, .api = 18, .version = v};
        assert_int_equal(run(&o, frame, sizeof frame - 1), 0);
        assert_int_equal(number_at(0, "version"), 0);
        drop();
    }
}

/* --- captures */

enum {
    LINK_NULL = 0,
    LINK_ETHER = 1,
    LINK_RAW_BSD = 12,
    LINK_RAW_OPENBSD = 14,
    LINK_RAW = 101,
    LINK_LOOP = 108,
    LINK_SLL = 113,
    LINK_IPV4 = 228,
    LINK_IPV6 = 229,
    LINK_SLL2 = 276
};

static struct {
    uint8_t p[16384];
    size_t n;
    int link;
    bool v6, big, vlan, nano;
    uint32_t cut; /* bytes at the end of the next packet that are not captured */
} cap;

static void put(const void *p, size_t n)
{
    assert_true(cap.n + n <= sizeof cap.p);
    memcpy(cap.p + cap.n, p, n);
    cap.n += n;
}

static void put_n(uint64_t v, unsigned bytes, bool big)
{
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t b = (uint8_t)(v >> 8 * (big ? bytes - 1 - i : i));
        put(&b, 1);
    }
}

static void cap_start(int link, bool v6, bool big, bool nano)
{
    memset(&cap, 0, sizeof cap);
    cap.link = link;
    cap.v6 = v6;
    cap.big = big;
    cap.nano = nano;
    put_n(nano ? 0xa1b23c4d : 0xa1b2c3d4, 4, big);
    put_n(2, 2, big);
    put_n(4, 2, big);
    put_n(0, 8, big);
    put_n(65535, 4, big);
    put_n((uint64_t)link, 4, big);
}

static void cap_begin(int link, bool v6, bool big)
{
    cap_start(link, v6, big, false);
}

static void link_head(void)
{
    unsigned type = cap.v6 ? 0x86dd : 0x0800;
    switch (cap.link) {
    case LINK_ETHER:
        put_n(0, 8, true);
        put_n(0, 4, true);
        if (cap.vlan)
            put_n(0x81000007, 4, true);
        put_n(type, 2, true);
        break;
    case LINK_SLL:
        put_n(0, 8, true);
        put_n(0, 6, true);
        put_n(type, 2, true);
        break;
    case LINK_SLL2:
        put_n(type, 2, true);
        put_n(0, 8, true);
        put_n(0, 8, true);
        put_n(0, 2, true);
        break;
    case LINK_NULL:
        put_n(2, 4, false);
        break;
    case LINK_LOOP:
        put_n(2, 4, true);
        break;
    default:
        break;
    }
}

/* A packet of the client (from 40000 to 9092) or of the server. */
static void packet(bool client, uint32_t seq, unsigned flags, const void *p, size_t n)
{
    size_t head = cap.n;
    put_n(1700000000, 4, cap.big);
    put_n(cap.nano ? 250000999 : 250000, 4, cap.big);
    put_n(0, 8, cap.big);
    size_t start = cap.n;
    link_head();
    if (cap.v6) {
        put_n(0x60000000, 4, true);
        put_n(20 + n + 8, 2, true);
        put_n(0x0040, 2, true); /* hop-by-hop options follow */
        for (int i = 0; i < 2; i++) {
            put_n(0x20010db800000000, 8, true);
            put_n(client == (i == 0) ? 1 : 2, 8, true);
        }
        put_n(0x0600010400000000, 8, true);
    } else {
        put_n(0x4500, 2, true);
        put_n(40 + n, 2, true);
        put_n(0, 4, true);
        put_n(0x4006, 2, true);
        put_n(0, 2, true);
        put_n(client ? 0x0a000001 : 0x0a000002, 4, true);
        put_n(client ? 0x0a000002 : 0x0a000001, 4, true);
    }
    put_n(client ? 40000 : 9092, 2, true);
    put_n(client ? 9092 : 40000, 2, true);
    put_n(seq, 4, true);
    put_n(0, 4, true);
    put_n(0x50, 1, true);
    put_n(flags, 1, true);
    put_n(0xffff, 2, true);
    put_n(0, 4, true);
    put(p, n);
    if (cap.link == LINK_ETHER && n == 0)
        put_n(0, 6, true); /* padding to Ethernet's least size */
    size_t end = cap.n - cap.cut;
    cap.n = head + 8;
    put_n(end - start, 4, cap.big);
    put_n(end - start + cap.cut, 4, cap.big);
    cap.n = end;
    cap.cut = 0;
}

static void opening(void)
{
    packet(true, 999, 2, "", 0);
    packet(false, 4999, 0x12, "", 0);
    packet(true, 1000, 0x10, "", 0);
}

static int run_cap(void)
{
    struct decode_options o = {.form = DECODE_PCAP, .api = -1, .version = -1};
    return run(&o, cap.p, cap.n);
}

static void test_links(void **state)
{
    (void)state;
    static const int links[] = {LINK_NULL, LINK_ETHER, LINK_RAW_BSD, LINK_RAW_OPENBSD, LINK_RAW,
                                LINK_LOOP, LINK_SLL,   LINK_IPV4,    LINK_IPV6,        LINK_SLL2};
    for (unsigned i = 0; i < 10 * 16; i++) {
        int link = links[i / 16];
        if ((link == LINK_IPV4 && (i & 1)) || (link == LINK_IPV6 && !(i & 1)))
            continue;
        cap_start(link, i & 1, i & 2, i & 8);
        cap.vlan = i & 4;
        opening();
        packet(true, 1000, 0x18, HEARTBEAT, HEARTBEAT_BYTES);
        packet(false, 5000, 0x18, ANSWER, ANSWER_BYTES);
        packet(true, 1000 + HEARTBEAT_BYTES, 0x11, "", 0);
        assert_int_equal(run_cap(), 0);
        assert_int_equal(ndocs, 2);
        assert_heartbeat(0);
        assert_answer(1);
        assert_string_equal(text_at(0, "from"), i & 1 ? "[2001:db8::1]:40000" : "10.0.0.1:40000");
        assert_string_equal(text_at(1, "from"), i & 1 ? "[2001:db8::2]:9092" : "10.0.0.2:9092");
        assert_string_equal(text_at(0, "time"), "2023-11-14T22:13:20.250000Z");
        drop();
    }
}

/* Two requests in pieces, in every order of three, with pieces sent again and overlapping. */
static void test_order(void **state)
{
    (void)state;
    static const unsigned char order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                              {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const char both[] = HEARTBEAT HEARTBEAT;
    for (size_t a = 1; a < 2 * HEARTBEAT_BYTES - 1; a += 4) {
        for (size_t b = a + 1; b < 2 * HEARTBEAT_BYTES; b += 5) {
            size_t from[3] = {0, a, b}, to[3] = {a, b, 2 * HEARTBEAT_BYTES};
            for (size_t k = 0; k < 6; k++) {
                cap_begin(LINK_ETHER, false, false);
                opening();
                for (size_t i = 0; i < 3; i++) {
                    size_t x = order[k][i];
                    size_t early = from[x] > 2 ? 2 : 0; /* overlaps what was before */
                    packet(true, (uint32_t)(1000 + from[x] - early), 0x18, both + from[x] - early,
                           to[x] - from[x] + early);
                    packet(true, (uint32_t)(1000 + from[x]), 0x18, both + from[x], to[x] - from[x]);
                }
                assert_int_equal(run_cap(), 0);
                assert_int_equal(ndocs, 2);
                assert_heartbeat(0);
                assert_heartbeat(1);
                drop();
            }
        }
    }
}

/* A sequence number may pass its end in the middle of a frame. */
static void test_sequence_wrap(void **state)
{
    (void)state;
    cap_begin(LINK_RAW, false, false);
    packet(true, UINT32_MAX - 10, 2, "", 0);
    packet(true, UINT32_MAX - 9, 0x18, HEARTBEAT, 15);
    packet(true, 5, 0x18, HEARTBEAT + 15, HEARTBEAT_BYTES - 15);
    assert_int_equal(run_cap(), 0);
    assert_int_equal(ndocs, 1);
    assert_heartbeat(0);
    drop();
}

static void test_nothing_there(void **state)
{
    (void)state;
    cap_begin(LINK_RAW, false, false);
    opening();
    assert_int_equal(run_cap(), 2);
    assert_int_equal(ndocs, 1);
    assert_non_null(strstr(text_at(0, "error"), "no data"));
    drop();
}

static void test_started_late(void **state)
{
    (void)state;
    cap_begin(LINK_SLL, false, false);
    packet(true, 7000, 0x18, "tail of something", 17);
    packet(true, 7017, 0x18, HEARTBEAT, HEARTBEAT_BYTES);
    packet(false, 3000, 0x18, "more", 4);
    packet(false, 3004, 0x18, ANSWER, ANSWER_BYTES);
    assert_int_equal(run_cap(), 2);
    assert_int_equal(ndocs, 4);
    assert_non_null(strstr(text_at(0, "error"), "lacks the start"));
    assert_int_equal(number_at(0, "bytes"), 17);
    assert_unread(0, "0 dGFpbCBvZiBzb21ldGhpbmc=");
    assert_heartbeat(1);
    assert_int_equal(number_at(2, "bytes"), 4);
    assert_unread(2, "0 bW9yZQ==");
    assert_answer(3);
    drop();
}

static void test_lost(void **state)
{
    (void)state;
    /* A gap, told at the end. */
    cap_begin(LINK_RAW, false, false);
    opening();
    packet(true, 1000, 0x18, HEARTBEAT, 10);
    packet(true, 1015, 0x18, HEARTBEAT + 15, HEARTBEAT_BYTES - 15);
    assert_int_equal(run_cap(), 2);
    assert_int_equal(ndocs, 1);
    assert_non_null(strstr(text_at(0, "error"), "lacks bytes"));
    assert_unread(0, "0 AAAAFQAMAAAAAA==, 15 AAFnAAAABwABbQ==");
    drop();
    /* Cut short, and found again with the next frame. */
    cap_begin(LINK_RAW, false, false);
    opening();
    cap.cut = 5;
    packet(true, 1000, 0x18, HEARTBEAT, HEARTBEAT_BYTES);
    packet(true, 1000 + HEARTBEAT_BYTES, 0x18, HEARTBEAT, HEARTBEAT_BYTES);
    assert_int_equal(run_cap(), 2);
    assert_int_equal(ndocs, 2);
    assert_non_null(strstr(text_at(0, "error"), "snap length"));
    assert_unread(0, "0 AAAAFQAMAAAAAAAFAAFjAAFnAAA=");
    assert_heartbeat(1);
    drop();
    /* An answer that nobody asked for; a frame that never ends. */
    cap_begin(LINK_RAW, false, false);
    opening();
    packet(false, 5000, 0x18, ANSWER, ANSWER_BYTES);
    packet(true, 1000, 0x18, HEARTBEAT, HEARTBEAT_BYTES - 1);
    assert_int_equal(run_cap(), 2);
    assert_int_equal(ndocs, 2);
    assert_non_null(strstr(text_at(0, "error"), "nobody asked"));
    assert_non_null(strstr(text_at(1, "error"), "inside of a frame"));
    assert_unread(0, "4 AAAABQAZ");
    assert_unread(1, "0 AAAAFQAMAAAAAAAFAAFjAAFnAAAABwAB");
    drop();
    /* TLS is told once. */
    cap_begin(LINK_RAW, false, false);
    opening();
    packet(true, 1000, 0x18, "\x16\x03\x01\x00\x05hello", 10);
    packet(true, 1010, 0x18, "\x16\x03\x01\x00\x05hello", 10);
    assert_int_equal(run_cap(), 2);
    assert_int_equal(ndocs, 1);
    assert_non_null(strstr(text_at(0, "error"), "TLS"));
    drop();
}

/* The same ports again: a new connection. */
static void test_reopened(void **state)
{
    (void)state;
    cap_begin(LINK_RAW, true, true);
    for (int i = 0; i < 2; i++) {
        packet(true, (uint32_t)(999 + 77 * i), 2, "", 0);
        packet(true, (uint32_t)(999 + 77 * i), 2, "", 0); /* sent again */
        packet(false, (uint32_t)(4999 + 55 * i), 0x12, "", 0);
        packet(true, (uint32_t)(1000 + 77 * i), 0x18, HEARTBEAT, HEARTBEAT_BYTES);
        packet(false, (uint32_t)(5000 + 55 * i), 0x18, ANSWER, ANSWER_BYTES);
    }
    assert_int_equal(run_cap(), 0);
    assert_int_equal(ndocs, 4);
    assert_heartbeat(2);
    assert_answer(3);
    drop();
}

/* Wherever the capture file is cut, and whatever byte of it is spoilt: JSON. */
static void test_spoilt(void **state)
{
    (void)state;
    cap_begin(LINK_ETHER, true, false);
    opening();
    packet(true, 1000, 0x18, HEARTBEAT, HEARTBEAT_BYTES);
    packet(false, 5000, 0x18, ANSWER, ANSWER_BYTES);
    size_t n = cap.n;
    for (size_t i = 0; i < n; i++) {
        cap.n = i;
        (void)run_cap();
        drop();
        cap.n = n;
        for (unsigned bit = 0; bit < 8; bit++) {
            cap.p[i] = (uint8_t)(cap.p[i] ^ 1U << bit);
            (void)run_cap();
            drop();
            cap.p[i] = (uint8_t)(cap.p[i] ^ 1U << bit);
        }
    }
}

/* Metadata 2 of a broker of its own, and of the gate: only the first is shown. */
static void leaks(void **state)
{
    static const char answers[] =
        "0000002900000001 00000001 00000001 0005696e6e6572 00002384 ffff 0006736c75696365 00000000"
        "00000000"
        "0000002800000002 00000001 00000000 000467617465 00002385 ffff 0006736c75696365 00000000"
        "00000000";
    struct decode_options o = {.response = true, .api = 3, .version = 2, .leaks = true};
    (void)state;
    o.hosts[0] = "gate";
    o.ports[0] = 9093;
    o.view.naddresses = 1;
    o.view.cluster = "sluice";
    assert_int_equal(run(&o, answers, strlen(answers)), 3);
    assert_int_equal(ndocs, 1);
    json_t *list = json_object_get(docs[0], "leaks");
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 1), "value")),
                        "inner");
    drop();
    o.leaks = false;
    assert_int_equal(run(&o, answers, strlen(answers)), 0);
    assert_int_equal(ndocs, 2);
    drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaks),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_unread),
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_secret),
        cmocka_unit_test(test_api_versions),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_sequence_wrap),
        cmocka_unit_test(test_started_late),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_reopened),
        cmocka_unit_test(test_nothing_there),
        cmocka_unit_test(test_spoilt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
