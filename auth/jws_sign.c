#include "auth/jws_sign.h"

#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>

#include "auth/b64url.h"
#include "base/alloc.h"

/* RFC 7518, 3.4: OpenSSL's DER into r and s side by side, in full length each. */
static bool ecdsa_from_der(uint8_t signature[JWS_SIGNATURE_BYTES_MAX], size_t *n, size_t half)
{
    const uint8_t *p = signature;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)*n);
    bool ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), signature, (int)half) == (int)half &&
              BN_bn2binpad(ECDSA_SIG_get0_s(sig), signature + half, (int)half) == (int)half;

    ECDSA_SIG_free(sig);
    *n = 2 * half;
    return ok;
}

static bool signature_of(const struct jws_algorithm *alg, EVP_PKEY *pkey, const char *text,
                         uint8_t out[JWS_SIGNATURE_BYTES_MAX], size_t *n)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL;
    bool ok;

    *n = JWS_SIGNATURE_BYTES_MAX;
    ok = md && EVP_DigestSignInit_ex(md, &ctx, alg->digest, NULL, NULL, pkey, NULL) == 1;
    if (ok && alg->padding)
        ok = EVP_PKEY_CTX_set_rsa_padding(ctx, alg->padding) == 1;
    if (ok && alg->padding == RSA_PKCS1_PSS_PADDING)
        ok = EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
    ok = ok && EVP_DigestSign(md, out, n, (const uint8_t *)text, strlen(text)) == 1;
    if (ok && alg->coordinate_bytes > 0)
        ok = ecdsa_from_der(out, n, alg->coordinate_bytes);
    EVP_MD_CTX_free(md);
    ERR_clear_error();
    return ok;
}

int jws_sign(const struct jws_algorithm *alg, void *pkey, const char *header, const char *claims,
             char **token)
{
    uint8_t signature[JWS_SIGNATURE_BYTES_MAX];
    size_t header_len = strlen(header), claims_len = strlen(claims), at, n;
    char *out = sl_malloc(B64URL_ROOM(header_len) + B64URL_ROOM(claims_len) +
                          B64URL_ROOM(sizeof(signature)));

    *token = NULL;
    if (!out)
        return ERR_NOMEM;
    b64url_encode((const uint8_t *)header, header_len, out);
    at = strlen(out);
    out[at++] = '.';
    b64url_encode((const uint8_t *)claims, claims_len, out + at);
    at += strlen(out + at);
    if (!signature_of(alg, pkey, out, signature, &n)) {
        OPENSSL_cleanse(out, at);
        sl_free(out);
        return ERR_NOMEM;
    }
    out[at++] = '.';
    b64url_encode(signature, n, out + at);
    *token = out;
    return OK;
}
