/* JSON from strangers: one object, no duplicate members, no NUL, bounded in size and nesting before
 * the parser proper (jansson, which recurses) sees it. Pure. */
#ifndef AUTH_STRICT_JSON_H
#define AUTH_STRICT_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define STRICT_JSON_DEPTH_MAX 16

/* A new reference; NULL for anything but one object of at most max bytes, nested no deeper than
 * STRICT_JSON_DEPTH_MAX. */
json_t *strict_json_object(const void *text, size_t n, size_t max) SL_MUST;
/* The same for who must tell a text that is no object from memory that is short: ERR_MALFORMED,
 * ERR_NOMEM; *out is NULL then. */
int strict_json_read(const void *text, size_t n, size_t max, json_t **out) SL_MUST;
/* Are the brackets outside strings nested no deeper than that? Whatever else the text is. */
bool strict_json_shallow(const char *text, size_t n) SL_MUST;
/* The member's text when it is a string without control characters, else NULL. */
const char *strict_json_text(const json_t *object, const char *member);

#endif
