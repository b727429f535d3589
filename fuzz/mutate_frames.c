#include <string.h>

#include "base/buf.h"
#include "codec/frame.h"
#include "fuzz/mutate.h"

#define FRAMES_MAX 64
#define BODY_BYTES 4096
#define HEAD_BYTES 64

/* One request with header and length. Its size; 0 when it does not fit. */
static size_t put_frame(const struct message *m, int version, const uint8_t *body, size_t n,
                        uint8_t *out, size_t max)
{
    struct buf b;
    size_t len = 0;

    buf_init(&b, HEAD_BYTES + BODY_BYTES);
    if (frame_put_request(&b, m->api, version, 1, "a", n) == OK && buf_append(&b, body, n) == OK &&
        b.len <= max) {
        len = b.len;
        buf_copy_out(&b, 0, out, len);
    }
    buf_release(&b);
    buf_thread_trim();
    return len;
}

static size_t new_frame(struct mutate_rng *r, const uint8_t *apis, size_t napis, uint8_t *out,
                        size_t max)
{
    static uint8_t body[BODY_BYTES];
    const struct message *m = schema_find(apis[mutate_rand(r, (uint32_t)napis)], true);
    int version =
        m->versions.min + (int)mutate_rand(r, (uint32_t)(m->versions.max - m->versions.min) + 1);
    size_t n = mutate_new(r, m, version, body, sizeof(body));

    return put_frame(m, version, body, n, out, max);
}

static size_t be32(const uint8_t *p)
{
    return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

/* The frame of all bytes at p, changed by its schema; 0: it is none. */
static size_t change_frame(struct mutate_rng *r, const uint8_t *p, size_t all, uint8_t *out,
                           size_t max)
{
    static uint8_t body[BODY_BYTES];
    struct request_head h;
    const struct message *m;
    const char *why;
    struct buf b;
    size_t n = 0;
    int version, err;

    buf_init(&b, all);
    err = buf_append(&b, p, all) == OK ? frame_request_head(&b, 4, all - 4, &h, &why) : ERR_NOMEM;
    m = err == OK ? schema_find(h.api, true) : NULL;
    if (m && versions_has(m->versions, h.version) && h.body_off <= all - 4 &&
        (n = all - 4 - h.body_off) <= sizeof(body)) {
        version = h.version;
        memcpy(body, p + 4 + h.body_off, n);
        n = mutate_body(r, m, &version, body, n, sizeof(body));
        n = put_frame(m, version, body, n, out, max);
    }
    buf_release(&b);
    buf_thread_trim();
    return n;
}

size_t mutate_frames(const uint8_t *apis, size_t napis, uint8_t *data, size_t size, size_t max,
                     unsigned seed)
{
    static uint8_t frame[HEAD_BYTES + BODY_BYTES];
    struct mutate_rng r = {seed};
    size_t at[FRAMES_MAX + 1] = {0}, from, all, n;
    uint32_t frames = 0, i;

    while (frames < FRAMES_MAX && size - at[frames] >= 4 &&
           be32(data + at[frames]) <= size - at[frames] - 4) {
        at[frames + 1] = at[frames] + 4 + be32(data + at[frames]);
        frames++;
    }
    if (mutate_one_in(&r, 8))
        return LLVMFuzzerMutate(data, size, max);
    i = mutate_rand(&r, frames + 1);
    from = at[i];
    all = i < frames ? at[i + 1] - from : 0;
    if (all < 4 || mutate_one_in(&r, 8)) {
        n = new_frame(&r, apis, napis, frame, sizeof(frame));
        return mutate_splice(data, size, max, from, 0, frame, n);
    }
    switch (mutate_rand(&r, 8)) {
    case 0:
        return mutate_splice(data, size, max, from, all, NULL, 0);
    case 1: /* once more, elsewhere */
        if (all > sizeof(frame))
            return size;
        memcpy(frame, data + from, all);
        return mutate_splice(data, size, max, at[mutate_rand(&r, frames + 1)], 0, frame, all);
    case 2: /* API or version, or a length that lies */
        data[from + 3 + mutate_rand(&r, 5)] =
            (uint8_t)mutate_rand(&r, mutate_one_in(&r, 2) ? 8 : 256);
        return size;
    default:
        n = change_frame(&r, data + from, all, frame, sizeof(frame));
        return n ? mutate_splice(data, size, max, from, all, frame, n)
                 : LLVMFuzzerMutate(data, size, max);
    }
}
