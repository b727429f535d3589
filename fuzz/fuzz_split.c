/* One frame, cut at every offset: first byte the API, second the version with an answer's bit on
 * top, third what stands in the header, then the body. However the pieces fall, all that is read of
 * it is the same: length, header, events, tree, reason and offset of a refusal; and a beginning
 * never says anything but "more", or what the whole says.
 *
 * Up to ALONE_BYTES, each offset is the only cut of one reading. A longer frame is cut at each
 * offset too, but at those APART bytes away in the same reading. That is wider than anything that
 * is read in one go (a UUID has 16 bytes, a varint 5), so each of those meets one cut or none, as
 * with a cut alone; the only cut is then tried around the first BORDERS_MAX values and at CUTS_MAX
 * offsets evenly. Byte by byte, always.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "codec/frame.h"
#include "codec/msg.h"
#include "codec/walk.h"
#include "fuzz/mutate.h"
#include "fuzz/pieces.h"

#define HEAD_BYTES  3
#define LIMIT_BYTES ((size_t)8 << 20)
#define ALONE_BYTES 1024
#define APART       64
#define CUTS_MAX    64
#define BORDERS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_layout l = {HEAD_BYTES, 0, 1, 1, 0x80, false};

    return mutate_input(&l, data, size, max, seed);
}

/* All that reading a frame says. */
struct said {
    int length_err, head_err, err;
    uint32_t len, unknown;
    size_t body_off;
    int32_t correlation;
    struct request_head head;
    const char *why, *head_why;
    uint64_t offset, events;
};

/* What the frame in one piece said, as it is written again, and where its values begin. */
static struct {
    struct said said;
    uint8_t again[PIECES_BYTES_MAX];
    size_t again_len;
    size_t border[BORDERS_MAX];
    unsigned borders;
} whole;

static uint64_t mix(uint64_t h, uint64_t v)
{
    return (h ^ v) * 0x9e3779b97f4a7c15U + (h >> 29);
}

static void note_border(size_t at)
{
    if (whole.borders < BORDERS_MAX)
        whole.border[whole.borders++] = at;
}

/* The next piece that has bytes behind the first off ones. False: there is none. */
static bool feed(struct walk *w, const struct iovec *v, int n, int *i, size_t *off)
{
    size_t skip;

    for (; *i < n && *off >= v[*i].iov_len; (*i)++)
        *off -= v[*i].iov_len;
    if (*i == n)
        return false;
    skip = *off;
    *off = 0;
    walk_feed(w, (uint8_t *)v[*i].iov_base + skip, v[*i].iov_len - skip);
    (*i)++;
    return true;
}

/* The walker's events over the pieces of the body. */
static uint64_t events(const struct message *m, int version, const struct buf *b, size_t off,
                       bool first)
{
    static struct iovec v[PIECES_BYTES_MAX];
    const size_t body = off;
    int n = buf_front(b, v, PIECES_BYTES_MAX), i = 0;
    uint64_t h = 1;
    struct walk w;
    enum walk_event e;

    walk_start(&w, m, version, b->len - off);
    while ((e = walk_next(&w)) != WALK_DONE && e != WALK_BAD) {
        if (e == WALK_MORE) {
            if (!feed(&w, v, n, &i, &off))
                break;
            continue;
        }
        if (first)
            note_border(4 + body + w.offset);
        h = mix(mix(h, (uint64_t)e), (uint64_t)(uintptr_t)w.field);
        if (e == WALK_SCALAR && w.field->type != TYPE_UUID && w.field->type != TYPE_FLOAT64)
            h = mix(h, (uint64_t)w.value);
        if (e == WALK_BLOB || e == WALK_UNKNOWN_TAG)
            h = mix(mix(h, w.blob_off), w.blob_len);
        if (e == WALK_ARRAY_IN)
            h = mix(h, w.count);
    }
    return mix(mix(h, (uint64_t)e), w.offset);
}

/* Written again, it is what the first reading wrote. */
static void check_again(const struct msg *msg, bool first)
{
    static uint8_t bytes[PIECES_BYTES_MAX];
    struct buf again;

    buf_init(&again, LIMIT_BYTES);
    assert(msg_encode(msg, &again) == OK && again.len <= PIECES_BYTES_MAX);
    if (first) {
        whole.again_len = again.len;
        buf_copy_out(&again, 0, whole.again, again.len);
    } else {
        assert(again.len == whole.again_len);
        buf_copy_out(&again, 0, bytes, again.len);
        assert(memcmp(bytes, whole.again, again.len) == 0);
    }
    buf_release(&again);
}

static void read_body(struct said *s, const struct message *m, int version, const struct buf *b,
                      bool first)
{
    struct arena a;
    struct msg msg;
    struct msg_error e = {NULL, 0};

    arena_init(&a, LIMIT_BYTES);
    s->err = msg_decode(&msg, &a, m, version, b, s->body_off, b->len - s->body_off, &e);
    s->why = e.why;
    s->offset = e.offset;
    if (s->err == OK) {
        s->unknown = msg.unknown_tags;
        check_again(&msg, first);
    }
    arena_release(&a);
    s->events = events(m, version, b, s->body_off, first);
}

static void read_frame(struct said *s, const struct message *m, int version, struct buf *b,
                       bool first)
{
    memset(s, 0, sizeof(*s));
    s->length_err = frame_length(b, LIMIT_BYTES, &s->len);
    buf_drain(b, 4);
    if (m->request) {
        s->head_err = frame_request_head(b, 0, b->len, &s->head, &s->head_why);
        s->body_off = s->head.body_off;
        s->head.client_id = NULL; /* points into itself */
    } else {
        s->head_err = frame_response_head(b, 0, b->len, m->api, version, &s->correlation,
                                          &s->body_off, &s->head_why);
    }
    if (s->head_err == OK)
        read_body(s, m, version, b, first);
}

static void check_same(const struct said *a, const struct said *b)
{
    assert(a->length_err == b->length_err && a->len == b->len);
    assert(a->head_err == b->head_err && a->head_why == b->head_why);
    assert(a->body_off == b->body_off && a->correlation == b->correlation);
    assert(a->head.api == b->head.api && a->head.version == b->head.version);
    assert(a->head.correlation == b->head.correlation);
    assert(a->head.client_id_len == b->head.client_id_len);
    assert(memcmp(a->head.client_id_text, b->head.client_id_text, a->head.client_id_len) == 0);
    assert(a->err == b->err && a->why == b->why && a->offset == b->offset);
    assert(a->unknown == b->unknown && a->events == b->events);
}

/* A beginning, as a streamed answer's: b, of cut bytes. */
static void check_beginning(const struct message *m, int version, struct buf *b, size_t n)
{
    const size_t cut = b->len;
    size_t off = 0;
    int32_t correlation = 0;
    const char *why = NULL;
    uint32_t len = 0;
    int err = frame_length(b, LIMIT_BYTES, &len);

    assert(err == (cut < 4 ? ERR_AGAIN : whole.said.length_err));
    if (cut < 4 || m->request)
        return;
    buf_drain(b, 4);
    err = frame_response_head(b, 0, n - 4, m->api, version, &correlation, &off, &why);
    assert(err == ERR_AGAIN || err == whole.said.head_err);
    assert(err != OK || (off == whole.said.body_off && correlation == whole.said.correlation));
}

static void check_cut(const struct message *m, int version, const uint8_t *p, size_t n,
                      size_t first, size_t piece)
{
    struct said cut;
    struct buf b;

    pieces_cut(&b, p, n, first, piece);
    read_frame(&cut, m, version, &b, false);
    check_same(&whole.said, &cut);
    buf_release(&b);
}

/* One cut alone, and what stands in front of it. */
static void check_alone(const struct message *m, int version, const uint8_t *p, size_t n, size_t at)
{
    struct buf b;

    if (at > n)
        return;
    check_cut(m, version, p, n, at, n);
    pieces_cut(&b, p, at, at, n);
    check_beginning(m, version, &b, n);
    buf_release(&b);
}

static void check_all(const struct message *m, int version, const uint8_t *p, size_t n)
{
    struct buf b;

    whole.borders = 0;
    pieces_cut(&b, p, n, n, n);
    read_frame(&whole.said, m, version, &b, true);
    buf_release(&b);
    check_cut(m, version, p, n, 1, 1);
    if (n <= ALONE_BYTES) {
        for (size_t at = 0; at <= n; at++)
            check_alone(m, version, p, n, at);
        return;
    }
    for (size_t first = 1; first <= APART; first++)
        check_cut(m, version, p, n, first, APART);
    for (unsigned i = 0; i < whole.borders; i++)
        for (size_t near = 0; near < 3; near++)
            check_alone(m, version, p, n, whole.border[i] + near - 1);
    for (size_t i = 0; i <= CUTS_MAX; i++)
        check_alone(m, version, p, n, n * i / CUTS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const clients[] = {NULL, "", "tester", "\xc3\xa9t\xc3\xa9"};
    static uint8_t flat[PIECES_BYTES_MAX];
    const struct message *m = size < HEAD_BYTES ? NULL : schema_find(data[0], !(data[1] & 0x80));
    int version = size < HEAD_BYTES ? 0 : data[1] & 0x7f;
    struct buf b;
    size_t n;

    if (!m || !versions_has(m->versions, version))
        return -1;
    buf_init(&b, LIMIT_BYTES);
    n = size - HEAD_BYTES;
    if (m->request)
        assert(frame_put_request(&b, m->api, version, 7, clients[data[2] & 3], n) == OK);
    else
        assert(frame_put_response(&b, m->api, version, 7, n) == OK);
    assert(n == 0 || buf_append(&b, data + HEAD_BYTES, n) == OK);
    n = b.len;
    if (n <= PIECES_BYTES_MAX)
        buf_copy_out(&b, 0, flat, n);
    buf_release(&b);
    if (n <= PIECES_BYTES_MAX) {
        if (data[2] & 0x80) /* a bent header */
            flat[4 + data[2] % 20 % (n - 4)] ^= (uint8_t)(data[2] >> 2);
        check_all(m, version, flat, n);
    }
    buf_thread_trim();
    return n <= PIECES_BYTES_MAX ? 0 : -1;
}
