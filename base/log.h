/* The log: what an operator reads. One line a message on stderr, text or JSON, written with one
 * write(2), so threads never mix lines. Values are escaped: a client's bytes cannot forge a line.
 * Never a token, a password or a key. Process-wide settings, set once before threads start. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_setup(enum log_level max, bool json);
bool log_enabled(enum log_level level);
/* what: a short constant name of the part ("listener", "upstream"); fmt makes the message. Lines
 * are cut at 2 KiB. */
void log_at(enum log_level level, const char *what, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_DEBUG))                                                                \
            log_at(LOG_DEBUG, __VA_ARGS__);                                                        \
    } while (0)

/* Bytes made printable for a log line: quotes, controls and non-ASCII escaped as \xNN, cut with
 * "..." when longer than out. Returns out. */
const char *log_text(char *out, unsigned long out_bytes, const void *p, unsigned long n);

#endif
