/* Any bytes as frames: the first two bytes are the answer's API and version, the third says how the
 * rest is cut into segments. Reading from segments and from one piece must agree, and what was
 * read must come back when it is written. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec/frame.h"
#include "fuzz/mutate.h"
#include "fuzz/pieces.h"

#define HEAD_BYTES 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* A header of any API and version, of a request or an answer, with what a client id or tags may
 * look like. */
static size_t new_header(struct mutate_rng *r, uint8_t *out, size_t max)
{
    static const char *const clients[] = {NULL, "", "a", "\xc3\xa9", "\xff", "rdkafka"};
    static const uint8_t tags[][8] = {
        {0}, {1, 0, 0}, {1, 0, 1, 7}, {2, 1, 0, 0, 0}, {2, 3, 0, 3, 0}, {0x80, 0}, {17, 0, 0}};
    size_t count, n = 0;
    const struct message *all = schema_all(&count), *m = &all[mutate_rand(r, (uint32_t)count)];
    int version =
        m->versions.min + (int)mutate_rand(r, (uint32_t)(m->versions.max - m->versions.min) + 1);
    struct buf b;

    buf_init(&b, 4096);
    if (m->request)
        check(frame_put_request(&b, m->api, version, 7, clients[mutate_rand(r, 6)], 0) == OK);
    else
        check(frame_put_response(&b, m->api, version, 7, 0) == OK);
    if (b.len <= max && b.len > 4) {
        n = b.len - 4; /* without the length */
        buf_copy_out(&b, 4, out, n);
        if (mutate_one_in(r, 2))
            n = mutate_splice(out, n, max, n - 1, 1, tags[mutate_rand(r, 7)], 5);
    }
    buf_release(&b);
    buf_thread_trim();
    return n;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    struct mutate_rng r = {seed};
    const struct message *m;

    if (size < HEAD_BYTES + 4 || max < 64 || !mutate_one_in(&r, 4))
        return LLVMFuzzerMutate(data, size, max);
    if (mutate_one_in(&r, 2))
        return HEAD_BYTES + new_header(&r, data + HEAD_BYTES, max - HEAD_BYTES);
    m = schema_find(data[HEAD_BYTES + 1], true); /* another version of this one */
    if (m)
        data[HEAD_BYTES + 3] = (uint8_t)mutate_rand(&r, (uint32_t)m->versions.max + 2);
    data[mutate_rand(&r, HEAD_BYTES)] = (uint8_t)mutate_rand(&r, 128);
    return size;
}

static void check_again(const struct request_head *h)
{
    struct request_head again;
    const char *why = NULL;
    struct buf b;
    uint32_t len;

    if (h->client_id && memchr(h->client_id, 0, h->client_id_len))
        abort();
    buf_init(&b, 4096);
    check(frame_put_request(&b, h->api, h->version, h->correlation, (const char *)h->client_id,
                            0) == OK);
    check(frame_length(&b, 4096, &len) == OK && len == b.len - 4);
    check(frame_request_head(&b, 4, len, &again, &why) == OK && again.body_off == len);
    check(again.api == h->api && again.version == h->version);
    check(again.correlation == h->correlation && again.client_id_len == h->client_id_len);
    check((again.client_id == NULL) == (h->client_id == NULL));
    check(memcmp(again.client_id_text, h->client_id_text, sizeof h->client_id_text) == 0);
    buf_release(&b);
}

static void check_requests(const struct buf *one, const struct buf *cut, size_t n)
{
    struct request_head a, b;
    const char *why_a = NULL, *why_b = NULL;
    int err = frame_request_head(one, 0, n, &a, &why_a);

    check(frame_request_head(cut, 0, n, &b, &why_b) == err && why_a == why_b);
    check(err == OK || err == ERR_MALFORMED || err == ERR_VERSION);
    check(frame_peek(cut, 0, n, &b) == (n < 8 ? ERR_MALFORMED : OK));
    check(frame_request_head(one, 0, n + 70000, &b, &why_b) != OK || err == OK);
    if (err) {
        check(why_a != NULL);
        return;
    }
    /* ControlledShutdown 0 alone has a header without a client id. */
    check(a.body_off <= n &&
          a.body_off >= (schema_request_header(a.api, a.version) == 0 ? 8U : 10U));
    check_again(&a);
}

static void check_responses(const struct buf *one, const struct buf *cut, size_t n, int api,
                            int version)
{
    int32_t correlation_a = 0, correlation_b = 0;
    size_t off_a = 0, off_b = 0;
    const char *why = NULL;
    int err = frame_response_head(one, 0, n, api, version, &correlation_a, &off_a, &why);

    check(frame_response_head(cut, 0, n, api, version, &correlation_b, &off_b, &why) == err);
    check(err == OK || err == ERR_MALFORMED || err == ERR_VERSION);
    check(off_a == off_b && off_a <= n);
    check(err != OK || correlation_a == correlation_b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf one, cut;
    uint32_t len_a = 0, len_b = 0;
    size_t n = size - HEAD_BYTES;

    if (size < HEAD_BYTES || n > PIECES_BYTES_MAX)
        return -1;
    pieces_cut(&one, data + HEAD_BYTES, n, n, n);
    pieces_cut(&cut, data + HEAD_BYTES, n, 0, 1 + data[2] % 7U);
    check(frame_length(&one, 65536, &len_a) == frame_length(&cut, 65536, &len_b));
    check(len_a == len_b);
    check_requests(&one, &cut, n);
    check_responses(&one, &cut, n, data[0], data[1]);
    buf_release(&one);
    buf_release(&cut);
    buf_thread_trim(); /* so that the sanitizer sees every buffer end */
    return 0;
}
