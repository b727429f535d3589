#include "auth/digest.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <string.h>

int digest_texts(const char *const *texts, size_t count, char hex[DIGEST_HEX + 1])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t sum[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int good = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
    size_t i;

    for (i = 0; good && i < count; i++) /* the NUL too, so that texts do not run together */
        good = EVP_DigestUpdate(md, texts[i], strlen(texts[i]) + 1) == 1;
    good = good && EVP_DigestFinal_ex(md, sum, NULL) == 1;
    EVP_MD_CTX_free(md);
    hex[0] = '\0';
    if (!good)
        return ERR_NOMEM;
    for (i = 0; i < DIGEST_HEX / 2; i++) {
        hex[2 * i] = digits[sum[i] >> 4];
        hex[2 * i + 1] = digits[sum[i] & 15];
    }
    hex[DIGEST_HEX] = '\0';
    return OK;
}
