/* A grant, a revocation or a note of the store as a line of JSON, for export and import. Pure.
 *
 *   {"store": 1}                                             the first line: the form of the others
 *   {"revocation": {"kind", "issuer", "value", "client", "at", "until", "reason"}}
 *   {"grant": {"id", "principal": {...}, "topics": [...], ...}}   as over the control API
 *   {"note": {"kind", "id", "text"}}
 *
 * Read as strictly as anything from outside: no other member, no other type, at most
 * STORE_LINE_MAX bytes. */
#ifndef AUTH_STORE_LINE_H
#define AUTH_STORE_LINE_H

#include "auth/grant.h"
#include "auth/store_notes.h"

#define STORE_LINE_MAX ((size_t)1024 * 1024)

/* One of them is set; none: the first line. */
struct store_line {
    struct grant *grant;
    struct revocation *revocation;
    struct note *note;
};

/* ERR_MALFORMED with *why, constant text. */
int store_line_read(const char *text, size_t n, struct store_line *out, const char **why) SL_MUST;
void store_line_clear(struct store_line *l);
/* The line without its end, malloc'ed; NULL when memory is short. */
char *store_line_write(const struct store_line *l) SL_MUST;

#endif
