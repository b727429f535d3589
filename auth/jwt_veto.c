#include "auth/jwt_veto.h"

#include <jwt.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "auth/memory.h"

int jwt_veto(const char *token, size_t n, void *pkey, const char *alg, const char *issuer,
             int64_t expires)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *copy = strndup(token, n);
    jwt_t *jwt = NULL;
    const char *iss = NULL;
    char *pem = NULL;
    long pem_len;
    unsigned watch = memory_watch();
    int rc = ERR_NOMEM;

    if (!bio || !copy || PEM_write_bio_PUBKEY(bio, pkey) != 1)
        goto out;
    pem_len = BIO_get_mem_data(bio, &pem);
    /* Never without a key: that would accept whatever it is given. */
    if (!pem || pem_len <= 0 || pem_len > INT_MAX)
        goto out;
    rc = ERR_DENIED;
    if (jwt_decode(&jwt, copy, (const unsigned char *)pem, (int)pem_len) == 0)
        iss = jwt_get_grant(jwt, "iss");
    if (iss && strcmp(iss, issuer) == 0 && jwt_get_grant_int(jwt, "exp") == expires &&
        strcmp(jwt_alg_str(jwt_get_alg(jwt)), alg) == 0)
        rc = OK;
    else if (memory_was_short(watch)) /* jansson then leaves out parts, and libjwt takes it so */
        rc = ERR_NOMEM;
out:
    jwt_free(jwt);
    free(copy);
    BIO_free(bio);
    return rc;
}
