/* base64url without padding (RFC 4648 section 5, RFC 7515 section 2), the canonical form alone: one
 * text for one value, so that no two spellings of a token or key pass for different ones. Pure. */
#ifndef AUTH_B64URL_H
#define AUTH_B64URL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Bytes that n characters decode to, at most. */
#define B64URL_DECODED_MAX(n) ((n) / 4 * 3 + 3)
/* Room for n bytes encoded, with the NUL. */
#define B64URL_ROOM(n) (((n)*4 + 2) / 3 + 1)

/* ERR_MALFORMED: a character outside the alphabet (padding and white space too), a length that no
 * encoder makes, or left-over bits that are not zero. ERR_LIMIT: more than out_bytes. */
int b64url_decode(const char *text, size_t n, uint8_t *out, size_t out_bytes,
                  size_t *out_len) SL_MUST;
/* out has B64URL_ROOM(n) bytes. */
void b64url_encode(const uint8_t *p, size_t n, char *out);

#endif
