/* A small HTTP client for the control thread: one bounded request at a time a call, on libcurl's
 * multi interface over base/loop. For issuers, token endpoints and control planes.
 *
 * https only (http too in development mode), TLS 1.2 at least, certificates and names checked; no
 * redirects, no proxy, no cookies, no credentials in URLs, no compression, a connection for each
 * call; HTTP_TIMEOUT_MS in all. Whatever goes over a bound ends the call with an error. Request
 * bodies and answers are wiped from our memory when a call ends.
 *
 * Owned by its user (one struct http each), lives as long as that wants; the loop's thread only. */
#ifndef AUTH_HTTP_H
#define AUTH_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define HTTP_TIMEOUT_MS       5000
#define HTTP_HEADER_BYTES_MAX ((size_t)64 * 1024)
#define HTTP_URL_BYTES_MAX    2048
#define HTTP_CALLS_MAX        64

struct loop;
struct http;
struct http_call;

/* ca: PEM file of the authorities to trust; NULL: the system's. development: http:// as well. */
struct http *http_new(struct loop *l, bool development, const char *ca) SL_MUST;
/* Ends all calls; their done is not called. Not inside done. */
void http_free(struct http *h);

struct http_request {
    const char *url;
    const char *method;          /* NULL: GET, or POST with a body */
    const char *body;            /* NULL: none */
    const char *type;            /* of the body; NULL: application/x-www-form-urlencoded */
    const char *user, *password; /* HTTP Basic, encoded as RFC 6749, 2.3.1 asks; NULL: none */
    const char *header;          /* one more, "Name: value"; NULL: none */
    size_t limit_bytes;          /* of the answer's body */
};

/* result: OK with a status (whatever it is) and the body, which lives until done returns and has a
 * NUL behind it; ERR_LIMIT (too long), ERR_TIMEOUT, ERR_TLS, ERR_IO. why: a short reason, never
 * NULL. Starting another call inside is fine. */
struct http_answer {
    int result;
    int status;
    const char *why;
    const char *body;
    size_t len;
};
typedef void http_done_fn(void *arg, const struct http_answer *a);

/* Everything of r is copied. ERR_MALFORMED for a URL that is not allowed, ERR_BUSY above
 * HTTP_CALLS_MAX. done is called once, never before this returns, unless the call is cancelled. */
int http_start(struct http *h, const struct http_request *r, http_done_fn *done, void *arg,
               struct http_call **out) SL_MUST;
/* Safe inside another call's done, not inside its own. NULL is fine. */
void http_cancel(struct http_call *c);

/* Is it a URL that http_start would take: scheme, a host, no user, no blanks or controls? */
bool http_url_ok(const char *url, bool development);

/* Everything but RFC 3986's unreserved characters as %XX, for a part of a path. ERR_LIMIT when it
 * does not fit. */
int http_escape(char *out, size_t out_bytes, const char *text) SL_MUST;
/* "name=value", with an ampersand before it when out holds something already; value is encoded.
 * ERR_LIMIT when it does not fit. */
int http_form_add(char *out, size_t out_bytes, const char *name, const char *value) SL_MUST;

#endif
