/* What bodies of the control API say, strictly, and how the store's things are shown. Pure
 * functions over what they are given; control thread. Messages are for the caller of the API. */
#ifndef CONTROL_BODY_H
#define CONTROL_BODY_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/grant.h"
#include "base/err.h"
#include "config/config.h"

#define BODY_ERROR_BYTES 1024

/* A JSON object without duplicate keys; NULL with err. */
json_t *body_object(const char *text, size_t n, char *err, size_t err_bytes) SL_MUST;
/* POST /v1/revocations: exactly one kind, no other key than "reason". */
int body_revocation(const char *text, size_t n, int64_t now_s, struct revocation **out, char *err,
                    size_t err_bytes) SL_MUST;
/* PUT /v1/grants/{id}: as in the configuration's grants[]. */
int body_grant(const char *text, size_t n, const char *id, const struct config *c,
               struct grant **out, char *err, size_t err_bytes) SL_MUST;
/* The value of a field of an application/x-www-form-urlencoded body, decoded and NUL-terminated.
 * Its length; ERR_UNKNOWN when it isn't there, ERR_MALFORMED when it stands there twice, holds NUL
 * or a broken escape, ERR_LIMIT when it is too long for out. */
int body_form(const char *text, size_t n, const char *name, char *out, size_t out_bytes) SL_MUST;

/* With its state and how it is used. */
json_t *body_of_grant(const struct grant *g, enum grant_state state,
                      const struct grant_usage *usage) SL_MUST;
json_t *body_of_revocation(const struct revocation *r) SL_MUST;

#endif
