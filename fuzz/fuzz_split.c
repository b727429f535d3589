/* One frame, cut at every offset: first byte the API, second the version with an answer's bit on
 * top, third what stands in the header, then the body. Whatever two pieces it comes in, or byte by
 * byte, all that is read of it is the same: length, header, events, tree, reason and offset of a
 * refusal; and a beginning never says anything but "more", or what the whole says. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "codec/frame.h"
#include "codec/msg.h"
#include "codec/walk.h"
#include "fuzz/mutate.h"

#define HEAD_BYTES  3
#define LIMIT_BYTES ((size_t)8 << 20)
#define CUTS_MAX    256 /* of a long frame, evenly */

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
    uint8_t *again; /* written again */
    size_t again_len;
};

static uint64_t mix(uint64_t h, uint64_t v)
{
    return (h ^ v) * 0x9e3779b97f4a7c15U + (h >> 29);
}

/* The walker's events over the pieces of the body. */
static uint64_t events(const struct message *m, int version, const struct buf *b, size_t off)
{
    struct iovec v[2 * CUTS_MAX];
    int n = buf_front(b, v, 2 * CUTS_MAX), i = 0;
    uint64_t h = 1;
    struct walk w;
    enum walk_event e;

    walk_start(&w, m, version, b->len - off);
    while ((e = walk_next(&w)) != WALK_DONE && e != WALK_BAD) {
        if (e == WALK_MORE) {
            size_t skip = 0;
            if (i == n)
                break;
            for (; off >= v[i].iov_len && i + 1 < n; i++)
                off -= v[i].iov_len;
            skip = off < v[i].iov_len ? off : v[i].iov_len;
            off -= skip;
            walk_feed(&w, (uint8_t *)v[i].iov_base + skip, v[i].iov_len - skip);
            i++;
            continue;
        }
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

static void read_body(struct said *s, const struct message *m, int version, const struct buf *b)
{
    struct arena a;
    struct msg msg;
    struct msg_error e = {NULL, 0};
    struct buf again;

    arena_init(&a, LIMIT_BYTES);
    buf_init(&again, LIMIT_BYTES);
    s->err = msg_decode(&msg, &a, m, version, b, s->body_off, b->len - s->body_off, &e);
    s->why = e.why;
    s->offset = e.offset;
    if (s->err == OK) {
        s->unknown = msg.unknown_tags;
        assert(msg_encode(&msg, &again) == OK);
        s->again_len = again.len;
        s->again = malloc(again.len + 1);
        assert(s->again);
        buf_copy_out(&again, 0, s->again, again.len);
    }
    buf_release(&again);
    arena_release(&a);
    s->events = events(m, version, b, s->body_off);
}

/* frame: without its length. */
static void read_frame(struct said *s, const struct message *m, int version, struct buf *b)
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
        read_body(s, m, version, b);
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
    assert(a->unknown == b->unknown && a->events == b->events && a->again_len == b->again_len);
    assert(a->again_len == 0 || memcmp(a->again, b->again, a->again_len) == 0);
}

/* A beginning, as a streamed answer's. */
static void check_beginning(const struct message *m, int version, const struct said *whole,
                            const uint8_t *p, size_t n, size_t cut)
{
    struct buf b;
    size_t off = 0;
    int32_t correlation = 0;
    const char *why = NULL;
    uint32_t len = 0;
    int err;

    buf_init(&b, LIMIT_BYTES);
    assert(cut == 0 || buf_append(&b, p, cut) == OK);
    err = frame_length(&b, LIMIT_BYTES, &len);
    assert(err == (cut < 4 ? ERR_AGAIN : whole->length_err));
    if (cut >= 4 && !m->request) {
        buf_drain(&b, 4);
        err = frame_response_head(&b, 0, n - 4, m->api, version, &correlation, &off, &why);
        assert(err == ERR_AGAIN || err == whole->head_err);
        assert(err != OK || (off == whole->body_off && correlation == whole->correlation));
    }
    buf_release(&b);
}

static void cut_at(struct buf *b, const uint8_t *p, size_t n, size_t piece, size_t first)
{
    size_t k = first;

    buf_init(b, LIMIT_BYTES);
    for (size_t at = 0; at < n; at += k, k = piece) {
        struct buf part;
        if (k == 0 || k > n - at)
            k = k == 0 && piece < n - at ? piece : n - at;
        buf_init(&part, k);
        assert(buf_append(&part, p + at, k) == OK && buf_move(b, &part) == OK);
    }
}

static void check_all(const struct message *m, int version, const uint8_t *p, size_t n)
{
    struct said whole, cut;
    struct buf b;
    size_t step = 1 + n / CUTS_MAX;

    cut_at(&b, p, n, n, n);
    read_frame(&whole, m, version, &b);
    buf_release(&b);
    for (size_t at = 0; at <= n; at += step) {
        cut_at(&b, p, n, n, at);
        read_frame(&cut, m, version, &b);
        check_same(&whole, &cut);
        free(cut.again);
        buf_release(&b);
        check_beginning(m, version, &whole, p, n, at);
    }
    if (n <= CUTS_MAX) {
        cut_at(&b, p, n, 1, 1);
        read_frame(&cut, m, version, &b);
        check_same(&whole, &cut);
        free(cut.again);
        buf_release(&b);
    }
    free(whole.again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const clients[] = {NULL, "", "tester", "\xc3\xa9t\xc3\xa9"};
    const struct message *m = size < HEAD_BYTES ? NULL : schema_find(data[0], !(data[1] & 0x80));
    int version = size < HEAD_BYTES ? 0 : data[1] & 0x7f;
    uint8_t *flat;
    struct buf b;
    size_t n;

    if (!m || !versions_has(m->versions, version) || size > 1024)
        return -1;
    buf_init(&b, LIMIT_BYTES);
    n = size - HEAD_BYTES;
    if (m->request)
        assert(frame_put_request(&b, m->api, version, 7, clients[data[2] & 3], n) == OK);
    else
        assert(frame_put_response(&b, m->api, version, 7, n) == OK);
    assert(n == 0 || buf_append(&b, data + HEAD_BYTES, n) == OK);
    n = b.len;
    flat = malloc(n);
    assert(flat);
    buf_copy_out(&b, 0, flat, n);
    buf_release(&b);
    if (data[2] & 0x80) /* a bent header */
        flat[4 + data[2] % 20 % (n - 4)] ^= (uint8_t)(data[2] >> 2);
    check_all(m, version, flat, n);
    free(flat);
    buf_thread_trim();
    return 0;
}
