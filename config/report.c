#include "config/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

void report_init(struct report *r, struct arena *arena, const char *file)
{
    *r = (struct report){.arena = arena, .file = file};
}

static __attribute__((format(printf, 5, 0))) void add(struct report *r, bool warning, unsigned line,
                                                      const char *option, const char *fmt,
                                                      va_list args)
{
    char text[REPORT_TEXT_MAX_BYTES], where[REPORT_TEXT_MAX_BYTES / 2];
    if (!warning)
        r->errors++;
    if (r->count == REPORT_NOTES_MAX) {
        r->left_out++;
        return;
    }
    if (!r->file)
        where[0] = '\0';
    else if (line)
        snprintf(where, sizeof(where), "%s:%u: ", r->file, line);
    else
        snprintf(where, sizeof(where), "%s: ", r->file);
    int n = snprintf(text, sizeof(text), "%s%s%s%s", where, warning ? "warning: " : "", option,
                     *option ? ": " : "");
    if (n >= 0 && (size_t)n < sizeof(text))
        vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, args);
    const char *kept = arena_dup(r->arena, text, strlen(text));
    if (!kept) {
        r->nomem = true;
        return;
    }
    r->notes[r->count++] = (struct note){line, warning, kept};
}

void report_error(struct report *r, unsigned line, const char *option, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add(r, false, line, option, fmt, args);
    va_end(args);
}

void report_warning(struct report *r, unsigned line, const char *option, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add(r, true, line, option, fmt, args);
    va_end(args);
}

const char *report_quote(char out[REPORT_QUOTE_BYTES], const char *text, size_t n)
{
    out[0] = '"';
    log_text(out + 1, REPORT_QUOTE_BYTES - 2, text, n);
    size_t len = strlen(out);
    out[len] = '"';
    out[len + 1] = '\0';
    return out;
}

void report_sort(struct report *r)
{
    for (size_t i = 1; i < r->count; i++) {
        struct note note = r->notes[i];
        size_t at = i;
        for (; at > 0 && r->notes[at - 1].line > note.line; at--)
            r->notes[at] = r->notes[at - 1];
        r->notes[at] = note;
    }
}

void report_errors(struct report *r, char *out, size_t out_bytes)
{
    size_t used = 0;
    unsigned shown = 0;
    if (!out_bytes)
        return;
    out[0] = '\0';
    report_sort(r);
    for (size_t i = 0; i < r->count; i++) {
        if (r->notes[i].warning)
            continue;
        int n = snprintf(out + used, out_bytes - used, "%s\n", r->notes[i].text);
        if (n < 0 || (size_t)n >= out_bytes - used) {
            out[used] = '\0';
            break;
        }
        used += (size_t)n;
        shown++;
    }
    if (shown < r->errors)
        snprintf(out + used, out_bytes - used, "and %u more errors\n", r->errors - shown);
    else if (!shown && r->nomem)
        snprintf(out, out_bytes, "out of memory\n");
}
