/* One frame as a JSON document: what `sluice decode` prints. Each call is on its own; nothing
 * stays behind but the document, which is the caller's. Any thread. Bounds: DISSECT_FRAME_MAX
 * bytes a frame, DISSECT_TREE_MAX bytes for its values; a frame that breaks them, or its format,
 * becomes a document that says where and why. An answer that shows what it should not gets a list
 * "leaks" of {"field", "value", "why", "offset"}, at most DISSECT_LEAKS_MAX. */
#ifndef CONTROL_DISSECT_H
#define CONTROL_DISSECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/leaks.h"

#define DISSECT_FRAME_MAX (256U << 20)
#define DISSECT_TREE_MAX  (1U << 30)
#define DISSECT_LEAKS_MAX 1000

struct dissect_kind {
    bool request;
    int api, version;               /* of a response */
    bool secrets;                   /* show them */
    const struct leaks_view *leaks; /* NULL: answers are not looked at for leaks */
};

/* Of a request whose header could be read: what its answer needs. */
struct dissect_head {
    bool known;
    int16_t api, version;
    int32_t correlation;
};

/* The first bytes of a frame, from its length on. */
enum { DISSECT_PEEK_BYTES = 14 };
/* Could this be the start of a request: a length, an API and version that we know, and a client id
 * that fits? n is at least DISSECT_PEEK_BYTES. */
bool dissect_like_request(const uint8_t *p, size_t n);

/* Adds to doc what is known of the n bytes behind a frame's length; offset: where these stand in
 * the input. Returns ERR_MALFORMED when doc now has an "error", with "errorOffset", and the bytes
 * that were not understood in "unread" (of a message with a secret field only when secrets are
 * shown); ERR_NOMEM. head may be NULL. */
int dissect_frame(json_t *doc, const uint8_t *p, size_t n, uint64_t offset,
                  const struct dissect_kind *kind, struct dissect_head *head) SL_MUST;

/* doc gets "error" and "errorOffset". Returns ERR_MALFORMED, or ERR_NOMEM. */
int dissect_error(json_t *doc, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Bytes that could not be read are shown, never skipped: doc's list "unread" gets {"offset",
 * "data"} with these n in base64 (none: nothing). offset: where they stand in the input. */
int dissect_unread(json_t *doc, uint64_t offset, const uint8_t *p, size_t n) SL_MUST;
/* The length in front of a frame: OK, or ERR_MALFORMED with an error in doc when it cannot be one.
 */
int dissect_length(json_t *doc, const uint8_t *p, uint64_t offset, uint32_t *len) SL_MUST;

#endif
