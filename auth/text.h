/* Copies of short texts, by way of base/alloc.h. Private to auth. */
#ifndef AUTH_TEXT_H
#define AUTH_TEXT_H

#include <string.h>

#include "base/alloc.h"

/* NULL only when memory is short; text NULL is "". */
static inline SL_MUST char *text_dup(const char *text)
{
    size_t n = text ? strlen(text) : 0;
    char *copy = sl_malloc(n + 1);

    if (copy) {
        if (n > 0)
            memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

#endif
