/* The messages of one reading of a configuration: every error and warning with its line, so that
 * all are told at once. Owned by that reading; texts live in its arena; one thread. At most
 * REPORT_NOTES_MAX are kept, the rest is counted. */
#ifndef CONFIG_REPORT_H
#define CONFIG_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

#define REPORT_NOTES_MAX      100
#define REPORT_TEXT_MAX_BYTES 512

struct note {
    unsigned line; /* 0: none, as over the control API */
    bool warning;
    const char *text; /* "file:line: option: ..." */
};

struct report {
    struct arena *arena;
    const char *file; /* NULL: messages carry no file and line */
    struct note notes[REPORT_NOTES_MAX];
    size_t count;
    unsigned errors, left_out;
    bool nomem;
};

void report_init(struct report *r, struct arena *arena, const char *file);
/* option may be "" when the fault is not one option's. Bytes of the file must come escaped
 * (report_quote). */
void report_error(struct report *r, unsigned line, const char *option, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void report_warning(struct report *r, unsigned line, const char *option, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The value as it may be shown: escaped, cut, in quotes. Returns out. */
#define REPORT_QUOTE_BYTES 96
const char *report_quote(char out[REPORT_QUOTE_BYTES], const char *text, size_t n);
/* All errors in the order of their lines, a newline after each; cut at whole lines. */
void report_errors(struct report *r, char *out, size_t out_bytes);
/* Orders by line; errors and warnings stay in the order in which they were found otherwise. */
void report_sort(struct report *r);

#endif
