#include "codec/utf8.h"

#include <string.h>

size_t utf8_sequence(const uint8_t *p, size_t n)
{
    uint8_t c = p[0];
    if (c < 0x80)
        return 1;
    size_t len;
    uint32_t value, least;
    if (c >= 0xc2 && c <= 0xdf) {
        len = 2, value = c & 0x1fU, least = 0x80;
    } else if ((c & 0xf0) == 0xe0) {
        len = 3, value = c & 0x0fU, least = 0x800;
    } else if (c >= 0xf0 && c <= 0xf4) {
        len = 4, value = c & 0x07U, least = 0x10000;
    } else {
        return 0;
    }
    if (n < len)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (p[i] & 0x3fU);
    }
    if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    return len;
}

/* True when all eight bytes are 1 to 0x7f: the high bit of each byte minus one, or of the byte
 * itself, tells. A borrow can only come from a byte that is 0, which is reported anyway. */
static bool eight_plain(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return (((v - 0x0101010101010101U) | v) & 0x8080808080808080U) == 0;
}

bool utf8_valid_text(const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (i < n) {
        while (n - i >= 8 && eight_plain(p + i))
            i += 8;
        if (i == n)
            break;
        size_t len = p[i] ? utf8_sequence(p + i, n - i) : 0;
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}
