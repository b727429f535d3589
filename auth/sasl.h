/* SASL/OAUTHBEARER as the server sees it (RFC 7628, KIP-255): the client's first message taken
 * apart, strictly. Pure functions. */
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

#endif
