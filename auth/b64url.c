#include "auth/b64url.h"

/* The six bits of a character, or -1. */
static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-')
        return 62;
    return c == '_' ? 63 : -1;
}

int b64url_decode(const char *text, size_t n, uint8_t *out, size_t out_bytes, size_t *out_len)
{
    size_t len = n / 4 * 3 + (n % 4 == 0 ? 0 : n % 4 - 1);
    uint32_t bits = 0;
    unsigned have = 0;
    size_t at = 0;
    size_t i;
    int v;

    *out_len = 0;
    if (n % 4 == 1)
        return ERR_MALFORMED;
    if (len > out_bytes)
        return ERR_LIMIT;
    for (i = 0; i < n; i++) {
        v = sextet(text[i]);
        if (v < 0)
            return ERR_MALFORMED;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[at++] = (uint8_t)(bits >> have);
            bits &= (1u << have) - 1;
        }
    }
    if (bits != 0)
        return ERR_MALFORMED;
    *out_len = at;
    return OK;
}

void b64url_encode(const uint8_t *p, size_t n, char *out)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned have = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        bits = bits << 8 | p[i];
        for (have += 8; have >= 6; have -= 6)
            *out++ = letters[bits >> (have - 6) & 63];
        bits &= (1u << have) - 1;
    }
    if (have > 0)
        *out++ = letters[bits << (6 - have) & 63];
    *out = '\0';
}
