/* What the demonstration's programs share: a ready file, host:port, numbers. No state. */
#ifndef DEMO_UTIL_H
#define DEMO_UTIL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Writes text to path at once (a file beside it, then renamed), so that who waits for the file
 * never reads half of it. path NULL: does nothing. ERR_IO with errno. */
SL_MUST int util_write_ready(const char *path, const char *text);

/* "127.0.0.1:0" or "[::1]:0" into its parts; brackets are dropped. ERR_MALFORMED otherwise. */
SL_MUST int util_host_port(const char *text, char *host, unsigned long host_bytes, uint16_t *port);

/* A whole decimal number from min to max. ERR_MALFORMED otherwise. */
SL_MUST int util_number(const char *text, long min, long max, long *out);

/* Wall clock in milliseconds; a clock that never jumps in microseconds. */
int64_t util_wall_ms(void);
int64_t util_mono_us(void);

#endif
