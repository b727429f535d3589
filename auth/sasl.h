/* SASL/OAUTHBEARER (RFC 7628, KIP-255) and PLAIN (RFC 4616) as the server sees them: the client's
 * first message taken apart, strictly. Pure functions. */
#ifndef AUTH_SASL_H
#define AUTH_SASL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define SASL_MESSAGE_MAX ((size_t)32 * 1024)
#define SASL_TOKEN_MAX   ((size_t)16 * 1024)

struct sasl_oauth {
    const char *token; /* into the message */
    size_t token_len;
    const char *authzid; /* as sent, with =2C and =3D; NULL when absent */
    size_t authzid_len;
};

/* `n,[a=authzid],^Aauth=Bearer <token>^A[key=value^A]*^A`. ERR_MALFORMED with *why. Extensions are
 * checked for form and ignored: rights never come from them. */
int sasl_oauth_parse(const void *message, size_t n, struct sasl_oauth *out,
                     const char **why) SL_MUST;
/* True when there is no authzid, or it is this subject. */
bool sasl_oauth_authorizes(const struct sasl_oauth *m, const char *subject);

#define SASL_PLAIN_USER_MAX     255
#define SASL_PLAIN_PASSWORD_MAX 512

struct sasl_plain {
    char user[SASL_PLAIN_USER_MAX + 1];
    const char *password; /* into the message */
    size_t password_len;
};

/* `[authzid] NUL user NUL password`. ERR_MALFORMED with *why; also for an authzid that is not the
 * user, an empty user or password, and control characters in the user. */
int sasl_plain_parse(const void *message, size_t n, struct sasl_plain *out,
                     const char **why) SL_MUST;

#endif
