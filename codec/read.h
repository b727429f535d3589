/* Numbers as Kafka writes them: big-endian, and unsigned varints of at most five bytes. Plain
 * functions over memory that the caller has measured; any thread. */
#ifndef CODEC_READ_H
#define CODEC_READ_H

#include <stddef.h>
#include <stdint.h>

#include "codec/schema.h"

#define VARINT_BYTES_MAX 5

_Static_assert(WIRE_BOOL == 0 && WIRE_INT64 == 6, "the wires up to WIRE_INT64 are integers");
/* cppcheck-suppress shiftNegativeLHS ; where it does not, there is no build */
_Static_assert(-1 >> 1 == -1, "shifting right keeps the sign");

static inline uint16_t read_u16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t read_u64(const uint8_t *p)
{
    return (uint64_t)read_u32(p) << 32 | read_u32(p + 4);
}

static inline int16_t read_i16(const uint8_t *p)
{
    return (int16_t)read_u16(p);
}

static inline int32_t read_i32(const uint8_t *p)
{
    return (int32_t)read_u32(p);
}

/* An integer or bool of n bytes (at most eight) as it stands on the wire. Eight bytes can be read
 * at p: the others are shifted out, which also extends the sign. */
static inline int64_t read_integer(const uint8_t *p, unsigned n, unsigned wire)
{
    static const uint64_t mask[] = {
        [WIRE_BOOL] = UINT64_MAX,   [WIRE_INT8] = UINT64_MAX,  [WIRE_INT16] = UINT64_MAX,
        [WIRE_UINT16] = UINT16_MAX, [WIRE_INT32] = UINT64_MAX, [WIRE_UINT32] = UINT32_MAX,
        [WIRE_INT64] = UINT64_MAX,
    };
    int64_t v = (int64_t)read_u64(p) >> (64 - 8 * n);

    return wire == WIRE_BOOL ? v != 0 : (int64_t)((uint64_t)v & mask[wire]);
}

static inline void write_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void write_u32(uint8_t *p, uint32_t v)
{
    write_u16(p, (uint16_t)(v >> 16));
    write_u16(p + 2, (uint16_t)v);
}

/* The unsigned varint at the start of n bytes. Returns how many bytes it takes, 0 when it goes on
 * behind them, -1 when it is overlong or above 32 bits: both are things that Java reads and that
 * another reader may read differently. */
static inline int read_varint(const uint8_t *p, size_t n, uint32_t *v)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
        if (i == n)
            return 0;
        if (i == VARINT_BYTES_MAX - 1 && p[i] > 0x0f)
            return -1;
        sum |= (uint32_t)(p[i] & 0x7f) << (7 * i);
        if (p[i] < 0x80) {
            if (i > 0 && p[i] == 0)
                return -1;
            *v = sum;
            return (int)i + 1;
        }
    }
    return -1;
}

#endif
