#include "codec/scan.h"

#include "codec/read.h"
#include "codec/walk.h"

#define STRING_BYTES_MAX 0x7fff
#define LIKELY(x)        __builtin_expect(!!(x), 1)

/* An array or struct that is open: where its elements begin, and where to go on behind them. */
struct scan_level {
    const struct scan_op *element, *after;
    uint32_t left;
};

/* A length or count that is neither null nor in two bytes. NULL: not a legal one, or too long. */
__attribute__((noinline)) static const uint8_t *read_long(const uint8_t *p, const uint8_t *end,
                                                          uint32_t *len)
{
    uint32_t n = 0;
    int used = read_varint(p, (size_t)(end - p), &n);

    *len = n - 1;
    return used > 0 && *len <= (uint64_t)(end - p) - (unsigned)used ? p + used : NULL;
}

/* The length or count in front of what op tells, 0 for null; no more than bytes are left. At least
 * its first byte, or all of the width, is there. NULL: not a legal one. */
static inline const uint8_t *read_length(const struct scan_op *op, const uint8_t *p,
                                         const uint8_t *end, bool compact, unsigned width,
                                         uint32_t *len)
{
    const uint32_t null = width == 2 ? 0xffffU : 0xffffffffU;

    if (compact && LIKELY(*p - 1U < 0x7fU)) {
        *len = *p++ - 1U;
    } else if (compact && *p && end - p > 2 && p[1] - 1U < 0x7fU) {
        *len = ((*p & 0x7fU) | (unsigned)p[1] << 7) - 1;
        p += 2;
    } else if (compact && *p) {
        return read_long(p, end, len);
    } else if (compact) {
        *len = 0;
        return op->nullable ? p + 1 : NULL;
    } else {
        *len = width == 2 ? read_u16(p) : read_u32(p);
        p += width;
        if (*len == null) {
            *len = 0;
            return op->nullable ? p : NULL;
        }
    }
    return LIKELY(*len <= (size_t)(end - p)) ? p : NULL;
}

/* Behind text or bytes. */
static inline const uint8_t *skip_blob(const struct scan_op *op, const uint8_t *p,
                                       const uint8_t *end, bool compact, bool text)
{
    uint32_t len;

    p = read_length(op, p, end, compact, text ? 2 : 4, &len);
    return p && LIKELY(len <= (text ? STRING_BYTES_MAX : INT32_MAX)) ? p + len : NULL;
}

/* Behind an array of elements of one size; in rows, structs none of which has a tag: their last
 * byte is its count. */
static inline const uint8_t *skip_elements(const struct scan_op *op, const uint8_t *p,
                                           const uint8_t *end, bool compact, bool rows,
                                           uint64_t *nodes)
{
    const size_t size = op->size;
    uint8_t tags = 0;
    uint32_t count;

    p = read_length(op, p, end, compact, 4, &count);
    if (!p || count * size > (size_t)(end - p))
        return NULL;
    *nodes += (uint64_t)count * op->row_nodes;
    if (!rows)
        return p + count * size;
    for (; count > 0; count--) {
        p += size;
        tags |= p[-1];
    }
    return tags ? NULL : p;
}

bool scan(const struct message *msg, int version, const uint8_t *p, size_t n, uint64_t *nodes)
{
    struct scan_level levels[WALK_DEPTH_MAX], *level = levels;
    const uint8_t *end = p + n;
    const struct scan_op *op;
    uint64_t sum = 0;

    if (!versions_has(msg->versions, version) || n == 0 || n > INT32_MAX)
        return false;
    op = msg->shapes[version - msg->versions.min]->scan;
    while (p && LIKELY((size_t)(end - p) >= op->need)) {
        const struct scan_op *at = op++;
        uint32_t count = 0;

        p += at->skip;
        sum += at->nodes;
        switch ((enum scan_kind)at->kind) {
        case SCAN_NONE:
            break;
        case SCAN_TEXT:
            p = skip_blob(at, p, end, false, true);
            break;
        case SCAN_COMPACT_TEXT:
            p = skip_blob(at, p, end, true, true);
            break;
        case SCAN_BYTES:
            p = skip_blob(at, p, end, false, false);
            break;
        case SCAN_COMPACT_BYTES:
            p = skip_blob(at, p, end, true, false);
            break;
        case SCAN_NUMBERS:
            p = skip_elements(at, p, end, false, false, &sum);
            break;
        case SCAN_COMPACT_NUMBERS:
            p = skip_elements(at, p, end, true, false, &sum);
            break;
        case SCAN_COMPACT_ROWS:
            p = skip_elements(at, p, end, true, true, &sum);
            break;
        case SCAN_ARRAY:
            p = read_length(at, p, end, false, 4, &count);
            break;
        case SCAN_COMPACT_ARRAY:
            p = read_length(at, p, end, true, 4, &count);
            break;
        case SCAN_STRUCT:
            count = 1;
            if (at->nullable && *p++ != 1) {
                count = 0;
                p = p[-1] == 0xff ? p : NULL;
            }
            break;
        }
        if (count > 0) {
            /* The schema nests less deep than this: see walk.c. */
            *++level = (struct scan_level){at->element, op, count};
            op = at->element;
        }
        if (at->end == SCAN_GOES_ON || !p)
            continue;
        if (at->end == SCAN_ENDS_TAGS && (p == end || *p++ != 0))
            return false;
        if (level == levels) {
            *nodes = sum;
            return p == end;
        }
        op = level->element;
        if (--level->left == 0)
            op = level--->after;
    }
    return false;
}
