/* A short name for several texts: what an id is made of when its parts would be too long for it.
 * Pure function, any thread. */
#ifndef AUTH_DIGEST_H
#define AUTH_DIGEST_H

#include <stddef.h>

#include "base/err.h"

#define DIGEST_HEX 32 /* digits: 128 bits of SHA-256, which nobody brings to collide by design */

/* The texts in their order, told apart by their ends. ERR_NOMEM. */
int digest_texts(const char *const *texts, size_t count, char hex[DIGEST_HEX + 1]) SL_MUST;

#endif
