/* Is it text? UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.
 * Plain functions over memory; any thread. */
#ifndef CODEC_UTF8_H
#define CODEC_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Valid UTF-8 without NUL. */
bool utf8_valid_text(const uint8_t *p, size_t n);
/* Length of the valid sequence at p (1 to 4; NUL counts as one), 0 when there is none. n > 0. */
size_t utf8_sequence(const uint8_t *p, size_t n);

#endif
