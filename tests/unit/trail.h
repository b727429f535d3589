/* Looks into an audit file while its writer, a thread of its own, may still be at it. */
#ifndef TESTS_UNIT_TRAIL_H
#define TESTS_UNIT_TRAIL_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audit/audit.h"

/* How many lines hold both texts (b may be NULL), once the file has not grown for 60 ms. */
static inline unsigned trail_lines(const char *file, const char *a, const char *b)
{
    static char line[AUDIT_LINE_MAX];
    long size = -1;

    for (int tries = 0; tries < 100; tries++) {
        unsigned n = 0;
        long had = size;
        FILE *f = fopen(file, "r");
        if (f) {
            while (fgets(line, sizeof(line), f))
                n += strstr(line, a) && (!b || strstr(line, b));
            size = ftell(f);
            fclose(f);
        }
        if (size == had)
            return n;
        usleep(60000);
    }
    return 0;
}

#endif
