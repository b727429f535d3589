#include "fuzz/pieces.h"

#include <assert.h>
#include <string.h>

#define GAP_BYTES 16

void pieces_cut(struct buf *b, const uint8_t *p, size_t n, size_t first, size_t piece)
{
    static uint8_t flat[PIECES_BYTES_MAX * (1 + GAP_BYTES) + GAP_BYTES];
    size_t used = 0, room = 2 * (size_t)BUF_CHUNK_SMALL_BYTES + 1, from = 0;
    struct buf all;

    for (size_t at = 0, k = first ? first : piece; at < n; at += k, k = piece) {
        k = k < n - at ? k : n - at;
        memcpy(flat + used, p + at, k);
        memset(flat + used + k, 0xa5, GAP_BYTES);
        used += k + GAP_BYTES;
    }
    buf_init(b, SIZE_MAX / 2);
    buf_init(&all, SIZE_MAX / 2);
    assert(buf_append(&all, flat, used > room ? used : room) == OK);
    for (size_t at = 0, k = first ? first : piece; at < n; at += k, k = piece) {
        k = k < n - at ? k : n - at;
        assert(buf_share(b, &all, from, k) == OK);
        from += k + GAP_BYTES;
    }
    buf_release(&all);
}
