/* Any bytes as frames: the first two bytes are the answer's API and version, the third says how the
 * rest is cut into segments. Reading from segments and from one piece must agree, and what was
 * read must come back when it is written. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec/frame.h"

#define HEAD_BYTES 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void fill(struct buf *b, const uint8_t *p, size_t n, size_t piece)
{
    buf_init(b, SIZE_MAX / 2);
    while (n > 0) {
        size_t k = piece < n ? piece : n;
        struct buf part;

        buf_init(&part, k);
        check(buf_append(&part, p, k) == OK && buf_move(b, &part) == OK);
        p += k;
        n -= k;
    }
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

    if (size < HEAD_BYTES)
        return 0;
    fill(&one, data + HEAD_BYTES, n, SIZE_MAX);
    fill(&cut, data + HEAD_BYTES, n, 1 + data[2] % 7U);
    check(frame_length(&one, 65536, &len_a) == frame_length(&cut, 65536, &len_b));
    check(len_a == len_b);
    check_requests(&one, &cut, n);
    check_responses(&one, &cut, n, data[0], data[1]);
    buf_release(&one);
    buf_release(&cut);
    buf_thread_trim(); /* so that the sanitizer sees every buffer end */
    return 0;
}
