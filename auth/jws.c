#include "auth/jws.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>
#include <strings.h>

#include "auth/b64url.h"
#include "auth/memory.h"
#include "auth/strict_json.h"

#define HEADER_BYTES_MAX    4096
#define ECDSA_DER_BYTES_MAX (2 * (48 + 3) + 4)

static const struct jws_algorithm algorithms[] = {
    {"ES256", ALG_ES256, "SHA256", 32, 0, true},
    {"ES384", ALG_ES384, "SHA384", 48, 0, true},
    {"PS256", ALG_PS256, "SHA256", 0, RSA_PKCS1_PSS_PADDING, false},
    {"EdDSA", ALG_EDDSA, NULL, 0, 0, false},
    {"RS256", ALG_RS256, "SHA256", 0, RSA_PKCS1_PADDING, true},
};

const struct jws_algorithm *jws_algorithm(const char *name)
{
    size_t i;

    for (i = 0; name && i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
        if (strcmp(name, algorithms[i].name) == 0)
            return &algorithms[i];
    }
    return NULL;
}

/* One part, decoded and parsed: canonical base64url of one JSON object. */
static enum jwt_verdict part_object(const char *p, size_t n, size_t max, json_t **out)
{
    uint8_t bytes[B64URL_DECODED_MAX(JWT_BYTES_MAX)];
    size_t len;
    int rc;

    if (b64url_decode(p, n, bytes, sizeof(bytes), &len) != OK)
        return JWT_MALFORMED;
    rc = strict_json_read(bytes, len, max, out);
    return rc == OK ? JWT_OK : rc == ERR_NOMEM ? JWT_RESOURCES : JWT_MALFORMED;
}

/* Exactly three parts, none of them empty. */
enum jwt_verdict jws_read(struct jws *j, const char *text, size_t n)
{
    const char *end = text + n;
    const char *dot1, *dot2;
    enum jwt_verdict v;

    memset(j, 0, sizeof(*j));
    j->text = text;
    j->len = n;
    if (j->len == 0 || j->len > JWT_BYTES_MAX)
        return JWT_MALFORMED;
    dot1 = memchr(j->text, '.', j->len);
    if (!dot1)
        return JWT_MALFORMED;
    dot2 = memchr(dot1 + 1, '.', (size_t)(end - dot1 - 1));
    if (!dot2 || memchr(dot2 + 1, '.', (size_t)(end - dot2 - 1)))
        return JWT_MALFORMED;
    j->signed_len = (size_t)(dot2 - j->text);
    v = part_object(j->text, (size_t)(dot1 - j->text), HEADER_BYTES_MAX, &j->header);
    if (v == JWT_OK)
        v = part_object(dot1 + 1, (size_t)(dot2 - dot1 - 1), JWT_BYTES_MAX, &j->claims);
    if (v != JWT_OK)
        return v;
    if (b64url_decode(dot2 + 1, (size_t)(end - dot2 - 1), j->signature, sizeof(j->signature),
                      &j->signature_len) != OK ||
        j->signature_len == 0)
        return JWT_MALFORMED;
    return JWT_OK;
}

enum jwt_verdict jws_choose_algorithm(struct jws *j, unsigned allowed)
{
    if (json_object_get(j->header, "crit"))
        return JWT_ALGORITHM; /* we know no extension, so a critical one is one too many */
    j->alg = jws_algorithm(strict_json_text(j->header, "alg"));
    return j->alg && (allowed & j->alg->bit) ? JWT_OK : JWT_ALGORITHM;
}

/* By kid and algorithm, from the set that is given alone: jku, x5u, jwk and x5c are not looked at.
 */
enum jwt_verdict jws_choose_key(struct jws *j, const struct jwks *set)
{
    const char *kid = NULL;

    if (json_object_get(j->header, "kid")) {
        kid = strict_json_text(j->header, "kid");
        if (!kid)
            return JWT_MALFORMED;
    }
    j->key = jwks_find(set, kid, j->alg->bit);
    if (j->key)
        return JWT_OK;
    /* A key of that name for another algorithm will not be mended by a fetch. */
    return kid && kid[0] && jwks_has_kid(set, kid) ? JWT_ALGORITHM : JWT_KEY;
}

/* RFC 7518, 3.4: r and s side by side, in full length each, into the DER that OpenSSL takes. */
static bool ecdsa_to_der(const struct jws *j, uint8_t *der, size_t *der_len)
{
    size_t half = j->alg->coordinate_bytes;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(j->signature, (int)half, NULL);
    BIGNUM *s = BN_bin2bn(j->signature + half, (int)half, NULL);
    uint8_t *p = der;
    int len = 0;

    if (!sig || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        return false;
    }
    if (i2d_ECDSA_SIG(sig, NULL) <= ECDSA_DER_BYTES_MAX)
        len = i2d_ECDSA_SIG(sig, &p);
    ECDSA_SIG_free(sig);
    *der_len = len > 0 ? (size_t)len : 0;
    return len > 0;
}

/* This alone grants. */
enum jwt_verdict jws_check_signature(const struct jws *j)
{
    uint8_t der[ECDSA_DER_BYTES_MAX];
    const uint8_t *sig = j->signature;
    size_t sig_len = j->signature_len;
    EVP_MD_CTX *md;
    EVP_PKEY_CTX *ctx = NULL;
    unsigned watch = memory_watch();
    bool ready;
    int good = 0;

    if (j->alg->coordinate_bytes > 0) {
        if (sig_len != 2 * j->alg->coordinate_bytes)
            return JWT_SIGNATURE;
        if (!ecdsa_to_der(j, der, &sig_len))
            return JWT_RESOURCES;
        sig = der;
    }
    ERR_clear_error();
    md = EVP_MD_CTX_new();
    if (!md)
        return JWT_RESOURCES;
    ready = EVP_DigestVerifyInit_ex(md, &ctx, j->alg->digest, NULL, NULL, j->key->pkey, NULL) == 1;
    if (ready && j->alg->padding)
        ready = EVP_PKEY_CTX_set_rsa_padding(ctx, j->alg->padding) == 1;
    if (ready && j->alg->padding == RSA_PKCS1_PSS_PADDING)
        ready = EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1 &&
                EVP_PKEY_CTX_set_rsa_mgf1_md_name(ctx, j->alg->digest, NULL) == 1;
    if (ready)
        good = EVP_DigestVerify(md, sig, sig_len, (const uint8_t *)j->text, j->signed_len);
    EVP_MD_CTX_free(md);
    ERR_clear_error();
    if (good != 1 && memory_was_short(watch))
        return JWT_RESOURCES;
    return good == 1 ? JWT_OK : JWT_SIGNATURE;
}

enum jwt_verdict jws_verify(struct jws *j, const struct jwks *set, unsigned allowed)
{
    enum jwt_verdict v = jws_choose_algorithm(j, allowed);

    if (v == JWT_OK)
        v = jws_choose_key(j, set);
    if (v == JWT_OK)
        v = jws_check_signature(j);
    return v;
}

/* RFC 7515, 4.1.9: a media type, so without regard to case. */
bool jws_type_is(const struct jws *j, const char *const *types)
{
    static const char prefix[] = "application/";
    const json_t *member = json_object_get(j->header, "typ");
    const char *typ = member ? strict_json_text(j->header, "typ") : "";

    if (!typ || (member && !*typ))
        return false;
    if (strncasecmp(typ, prefix, sizeof(prefix) - 1) == 0 && typ[sizeof(prefix) - 1])
        typ += sizeof(prefix) - 1;
    for (; *types; types++) {
        if (strcasecmp(typ, *types) == 0)
            return true;
    }
    return false;
}

void jws_clear(struct jws *j)
{
    json_decref(j->header);
    json_decref(j->claims);
    memset(j, 0, sizeof(*j));
}
