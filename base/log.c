#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static atomic_int max_level = LOG_INFO;
static atomic_bool as_json;

static const char hex[] = "0123456789abcdef";

void log_setup(enum log_level max, bool json)
{
    atomic_store_explicit(&max_level, (int)max, memory_order_relaxed);
    atomic_store_explicit(&as_json, json, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR:
        return "error";
    case LOG_WARN:
        return "warn";
    case LOG_INFO:
        return "info";
    case LOG_DEBUG:
        return "debug";
    }
    return "?";
}

/* Escapes one byte to at most 5 characters; returns how many. Text: only what could break or
 * forge a line; JSON: also what JSON reserves, and \ itself, so that "\xNN" survives as text. */
static size_t escape(char out[5], unsigned char c, bool json)
{
    size_t n = 0;
    if (c < 0x20 || c >= 0x7f) {
        if (json)
            out[n++] = '\\';
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
        return n;
    }
    if (json && (c == '"' || c == '\\'))
        out[n++] = '\\';
    out[n++] = (char)c;
    return n;
}

/* Appends text to line, escaped, as far as it fits before end; false when it was cut. */
static bool put(char *line, size_t *at, size_t end, const char *text, bool json)
{
    for (; *text; text++) {
        char piece[5];
        size_t n = escape(piece, (unsigned char)*text, json);
        if (n > end - *at)
            return false;
        memcpy(line + *at, piece, n);
        *at += n;
    }
    return true;
}

static void write_line(const char *line, size_t n)
{
    ssize_t written;
    do {
        written = write(STDERR_FILENO, line, n);
    } while (written < 0 && errno == EINTR);
}

void log_at(enum log_level level, const char *what, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    int saved = errno;
    bool json = atomic_load_explicit(&as_json, memory_order_relaxed);

    char message[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int formatted = vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    if (formatted < 0)
        memcpy(message, "?", 2);

    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!gmtime_r(&now.tv_sec, &tm))
        memset(&tm, 0, sizeof(tm));
    char when[32];
    size_t when_len = strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(when + when_len, sizeof(when) - when_len, ".%03dZ",
                   (int)(now.tv_nsec / 1000000) % 1000);

    char line[LINE_MAX_BYTES];
    int head = snprintf(line, sizeof(line) / 2,
                        json ? "{\"time\":\"%s\",\"level\":\"%s\",\"part\":\"%.64s\",\"message\":\""
                             : "%s %s %.64s: ",
                        when, level_name(level), what);
    size_t at = head < 0 ? 0 : (size_t)head;
    bool whole = put(line, &at, sizeof(line) - 8, message, json);
    if (!whole || formatted >= (int)sizeof(message)) {
        memcpy(line + at, "...", 3);
        at += 3;
    }
    if (json) {
        memcpy(line + at, "\"}", 2);
        at += 2;
    }
    line[at++] = '\n';
    write_line(line, at);
    errno = saved;
}

const char *log_text(char *out, unsigned long out_bytes, const void *p, unsigned long n)
{
    static const unsigned long dots = 3;
    if (out_bytes == 0)
        return "";
    const unsigned char *in = p;
    unsigned long at = 0, fits = 0; /* fits: how much may stay when "..." must follow */
    for (unsigned long i = 0; i < n; i++) {
        unsigned char c = in[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\'' && c != '\\';
        unsigned long size = plain ? 1 : 4;
        if (at + dots < out_bytes)
            fits = at;
        if (at + size >= out_bytes) {
            at = fits;
            for (unsigned long d = 0; d < dots && at + 1 < out_bytes; d++)
                out[at++] = '.';
            break;
        }
        if (plain) {
            out[at++] = (char)c;
            continue;
        }
        out[at++] = '\\';
        out[at++] = 'x';
        out[at++] = hex[c >> 4];
        out[at++] = hex[c & 15];
    }
    out[at] = '\0';
    return out;
}
