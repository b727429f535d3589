#include "auth/jwt_sign.h"

#include <jwt.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "auth/text.h"

int jwt_sign(const char *alg, const char *pem, const char *kid, const char *claims, char **token)
{
    jwt_alg_t by = jwt_str_alg(alg);
    size_t n = strlen(pem);
    char *text = NULL;
    jwt_t *jwt = NULL;

    *token = NULL;
    if (by != JWT_ALG_ES256 && by != JWT_ALG_ES384 && by != JWT_ALG_RS256)
        return ERR_UNKNOWN;
    if (n <= INT_MAX && jwt_new(&jwt) == 0 &&
        jwt_set_alg(jwt, by, (const unsigned char *)pem, (int)n) == 0 &&
        jwt_add_header(jwt, "kid", kid) == 0 && jwt_add_grants_json(jwt, claims) == 0)
        text = jwt_encode_str(jwt);
    if (text) {
        *token = text_dup(text);
        OPENSSL_cleanse(text, strlen(text));
        free(text); /* malloc's, unless libjwt is told otherwise */
    }
    jwt_free(jwt);
    return *token ? OK : ERR_NOMEM;
}
