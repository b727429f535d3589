/* Any body as any message: first byte the API, second the version with the direction in its top
 * bit, third the seed of the cuts. A walk over one span and a walk over random pieces must say the
 * same, to the reason and offset of a refusal. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/walk.h"
#include "fuzz/mutate.h"

#define HEAD_BYTES 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_layout l = {HEAD_BYTES, 0, 1, 1, 0x80, false};

    return mutate_input(&l, data, size, max, seed);
}

/* An event with what it says, for comparing. */
struct said {
    enum walk_event event;
    const struct field *field;
    int64_t value;
    double real;
    uint8_t uuid[16];
    uint64_t off, len;
    uint32_t count;
    unsigned depth;
    bool null;
};

static struct said said(const struct walk *w, enum walk_event e)
{
    struct said s;

    memset(&s, 0, sizeof s); /* padding too: compared with memcmp */
    s.event = e;
    s.depth = walk_depth(w);
    if (e == WALK_DONE || e == WALK_BAD)
        return s;
    s.field = w->field;
    s.null = w->null;
    s.value = w->value;
    s.real = w->real;
    memcpy(s.uuid, w->uuid, sizeof s.uuid);
    s.off = w->blob_off;
    s.len = w->blob_len;
    s.count = w->count;
    return s;
}

struct pieces {
    const uint8_t *p;
    size_t left;
    uint32_t seed;
    uint8_t *span; /* the piece at hand, in memory of its own size */
};

static void piece_feed(struct pieces *in, struct walk *w)
{
    size_t n;

    in->seed = in->seed * 1103515245U + 12345U;
    n = (in->seed >> 16) % ((in->seed >> 24) % 8 ? 12 : 300);
    if (n > in->left)
        n = in->left;
    free(in->span);
    in->span = malloc(n ? n : 1);
    if (!in->span)
        abort();
    memcpy(in->span, in->p, n);
    walk_feed(w, in->span, n);
    in->p += n;
    in->left -= n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct message *m;
    struct pieces in;
    struct walk whole, cut;
    enum walk_event e, f;
    size_t n = size - HEAD_BYTES;
    int version;

    if (size < HEAD_BYTES)
        return 0;
    m = schema_find(data[0], !(data[1] & 0x80));
    version = data[1] & 0x7f;
    if (!m || !versions_has(m->versions, version))
        return 0;
    in = (struct pieces){.p = data + HEAD_BYTES, .left = n, .seed = data[2]};
    walk_start(&whole, m, version, n);
    walk_feed(&whole, data + HEAD_BYTES, n);
    walk_start(&cut, m, version, n);
    do {
        struct said a, b;

        e = walk_next(&whole);
        while ((f = walk_next(&cut)) == WALK_MORE && in.left > 0)
            piece_feed(&in, &cut);
        a = said(&whole, e);
        b = said(&cut, f);
        if (memcmp(&a, &b, sizeof a) != 0 || e == WALK_MORE)
            abort();
        if (e == WALK_BLOB && (whole.blob_off > n || whole.blob_len > n - whole.blob_off))
            abort();
        if (e == WALK_ARRAY_IN && whole.count > n)
            abort();
    } while (e != WALK_DONE && e != WALK_BAD);
    if (whole.offset != cut.offset || whole.why != cut.why || whole.offset > n)
        abort();
    if (e == WALK_DONE && whole.offset != n)
        abort();
    free(in.span);
    return 0;
}
