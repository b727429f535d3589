#include "auth/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "auth/b64url.h"

#define BYTES 32

int secret_make(char out[SECRET_TEXT_BYTES])
{
    uint8_t raw[BYTES];

    if (RAND_bytes(raw, sizeof(raw)) != 1)
        return ERR_NOMEM;
    b64url_encode(raw, sizeof(raw), out);
    OPENSSL_cleanse(raw, sizeof(raw));
    return OK;
}

int secret_hash(const char *secret, char out[SECRET_TEXT_BYTES])
{
    uint8_t hash[EVP_MAX_MD_SIZE];

    if (EVP_Digest(secret, strlen(secret), hash, NULL, EVP_sha256(), NULL) != 1)
        return ERR_NOMEM;
    b64url_encode(hash, BYTES, out);
    OPENSSL_cleanse(hash, sizeof(hash));
    return OK;
}

bool secret_equal(const char *a, const char *b)
{
    char x[SECRET_TEXT_BYTES] = "", y[SECRET_TEXT_BYTES] = "";
    bool same =
        secret_hash(a, x) == OK && secret_hash(b, y) == OK && CRYPTO_memcmp(x, y, sizeof(x)) == 0;

    OPENSSL_cleanse(x, sizeof(x));
    OPENSSL_cleanse(y, sizeof(y));
    return same;
}
