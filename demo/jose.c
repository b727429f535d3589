#include "demo/jose.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jwt.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#define RSA_BITS             2048
#define RANDOM_BYTES_MAX     32
#define SIGNATURE_BYTES_MAX  1024
#define COORDINATE_BYTES_MAX 66

static const char *const alg_names[] = {
    [JOSE_RS256] = "RS256", [JOSE_PS256] = "PS256", [JOSE_ES256] = "ES256", [JOSE_ES384] = "ES384",
    [JOSE_EDDSA] = "EdDSA", [JOSE_HS256] = "HS256", [JOSE_NONE] = "none",
};

int jose_alg_parse(const char *name, enum jose_alg *out)
{
    for (size_t i = 0; i < sizeof(alg_names) / sizeof(alg_names[0]); i++) {
        if (strcmp(alg_names[i], name) == 0) {
            *out = (enum jose_alg)i;
            return OK;
        }
    }
    return ERR_UNKNOWN;
}

const char *jose_alg_name(enum jose_alg alg)
{
    return alg_names[alg];
}

int jose_random_hex(char *out, size_t bytes)
{
    unsigned char raw[RANDOM_BYTES_MAX];

    if (bytes > sizeof(raw))
        return ERR_LIMIT;
    if (RAND_bytes(raw, (int)bytes) != 1)
        return ERR_TLS;
    for (size_t i = 0; i < bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", (unsigned)raw[i]);
    return OK;
}

/* Base64url without padding (RFC 7515, section 2); malloc'd. */
static char *base64url(const void *p, size_t n)
{
    char *out = malloc(4 * ((n + 2) / 3) + 1);

    if (!out)
        return NULL;
    int len = EVP_EncodeBlock((unsigned char *)out, p, (int)n);
    while (len > 0 && out[len - 1] == '=')
        len--;
    out[len] = '\0';
    for (char *c = out; *c; c++) {
        if (*c == '+')
            *c = '-';
        else if (*c == '/')
            *c = '_';
    }
    return out;
}

/* --- keys */

static EVP_PKEY *pkey_make(enum jose_alg alg)
{
    switch (alg) {
    case JOSE_RS256:
    case JOSE_PS256:
        return EVP_RSA_gen(RSA_BITS);
    case JOSE_ES256:
        return EVP_EC_gen("P-256");
    case JOSE_ES384:
        return EVP_EC_gen("P-384");
    case JOSE_EDDSA:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    case JOSE_HS256:
    case JOSE_NONE:
        return NULL;
    }
    return NULL;
}

/* PEM text of one half of the key, malloc'd. */
static char *pem_of(EVP_PKEY *pkey, int private_half)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    char *out = NULL;

    if (!bio)
        return NULL;
    int ok = private_half ? PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL)
                          : PEM_write_bio_PUBKEY(bio, pkey);
    long n = BIO_get_mem_data(bio, &text);
    if (ok && n > 0)
        out = strndup(text, (size_t)n);
    BIO_free(bio);
    return out;
}

/* "es256-9f86d081": the algorithm in a kid makes a log of the tests easier to read. */
static int kid_make(enum jose_alg alg, char out[JOSE_KID_BYTES])
{
    char hex[2 * 4 + 1];
    int err = jose_random_hex(hex, 4);

    if (err)
        return err;
    snprintf(out, JOSE_KID_BYTES, "%s-%s", jose_alg_name(alg), hex);
    for (char *c = out; *c; c++) {
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    }
    return OK;
}

struct jose_key *jose_key_new(enum jose_alg alg, const char *kid)
{
    struct jose_key *key = calloc(1, sizeof(*key));

    if (!key)
        return NULL;
    key->alg = alg;
    if (kid && strlen(kid) >= sizeof(key->kid))
        goto fail;
    if (kid)
        snprintf(key->kid, sizeof(key->kid), "%s", kid);
    else if (kid_make(alg, key->kid))
        goto fail;
    key->pkey = pkey_make(alg);
    if (!key->pkey)
        goto fail;
    key->private_pem = pem_of(key->pkey, 1);
    key->public_pem = pem_of(key->pkey, 0);
    if (key->private_pem && key->public_pem)
        return key;
fail:
    jose_key_free(key);
    return NULL;
}

void jose_key_free(struct jose_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    if (key->private_pem)
        OPENSSL_cleanse(key->private_pem, strlen(key->private_pem));
    free(key->private_pem);
    free(key->public_pem);
    free(key);
}

/* One big integer of the key as a JWK member. width_bytes 0: as few bytes as it takes. */
static int jwk_integer(json_t *jwk, const char *member, const EVP_PKEY *pkey, const char *param,
                       int width_bytes)
{
    unsigned char raw[RSA_BITS / 8];
    BIGNUM *n = NULL;
    int err = ERR_TLS;

    if (!EVP_PKEY_get_bn_param(pkey, param, &n))
        return ERR_TLS;
    int len = width_bytes > 0 ? width_bytes : BN_num_bytes(n);
    if (len > 0 && (size_t)len <= sizeof(raw) && BN_bn2binpad(n, raw, len) == len) {
        char *text = base64url(raw, (size_t)len);
        err = text && json_object_set_new(jwk, member, json_string(text)) == 0 ? OK : ERR_NOMEM;
        free(text);
    }
    BN_free(n);
    return err;
}

static int jwk_ec(json_t *jwk, const EVP_PKEY *pkey, const char *curve, int width_bytes)
{
    int err = jwk_integer(jwk, "x", pkey, OSSL_PKEY_PARAM_EC_PUB_X, width_bytes);

    if (!err)
        err = jwk_integer(jwk, "y", pkey, OSSL_PKEY_PARAM_EC_PUB_Y, width_bytes);
    if (!err && (json_object_set_new(jwk, "kty", json_string("EC")) ||
                 json_object_set_new(jwk, "crv", json_string(curve))))
        err = ERR_NOMEM;
    return err;
}

static int jwk_okp(json_t *jwk, const EVP_PKEY *pkey)
{
    unsigned char raw[COORDINATE_BYTES_MAX];
    size_t n = sizeof(raw);
    int err = ERR_NOMEM;

    if (!EVP_PKEY_get_raw_public_key(pkey, raw, &n))
        return ERR_TLS;
    char *x = base64url(raw, n);
    if (x && !json_object_set_new(jwk, "kty", json_string("OKP")) &&
        !json_object_set_new(jwk, "crv", json_string("Ed25519")) &&
        !json_object_set_new(jwk, "x", json_string(x)))
        err = OK;
    free(x);
    return err;
}

static int jwk_fill(json_t *jwk, const struct jose_key *key)
{
    int err;

    switch (key->alg) {
    case JOSE_RS256:
    case JOSE_PS256:
        err = jwk_integer(jwk, "n", key->pkey, OSSL_PKEY_PARAM_RSA_N, 0);
        if (!err)
            err = jwk_integer(jwk, "e", key->pkey, OSSL_PKEY_PARAM_RSA_E, 0);
        if (!err && json_object_set_new(jwk, "kty", json_string("RSA")))
            err = ERR_NOMEM;
        return err;
    case JOSE_ES256:
        return jwk_ec(jwk, key->pkey, "P-256", 32);
    case JOSE_ES384:
        return jwk_ec(jwk, key->pkey, "P-384", 48);
    case JOSE_EDDSA:
        return jwk_okp(jwk, key->pkey);
    case JOSE_HS256:
    case JOSE_NONE:
        return ERR_UNKNOWN;
    }
    return ERR_UNKNOWN;
}

json_t *jose_key_jwk(const struct jose_key *key)
{
    json_t *jwk =
        json_pack("{s:s, s:s, s:s}", "kid", key->kid, "use", "sig", "alg", jose_alg_name(key->alg));

    if (jwk && jwk_fill(jwk, key)) {
        json_decref(jwk);
        return NULL;
    }
    return jwk;
}

/* --- signatures */

/* DER to the two fixed-width numbers of RFC 7518, section 3.4. Returns the length, 0 on failure. */
static size_t ecdsa_raw(const EVP_PKEY *pkey, const unsigned char *der, size_t der_bytes,
                        unsigned char *out, size_t out_bytes)
{
    int width = (EVP_PKEY_get_bits(pkey) + 7) / 8;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)der_bytes);
    size_t n = 0;

    if (!sig)
        return 0;
    if (width > 0 && 2 * (size_t)width <= out_bytes &&
        BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, width) == width &&
        BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + width, width) == width)
        n = 2 * (size_t)width;
    ECDSA_SIG_free(sig);
    return n;
}

/* Returns the signature's length, 0 when key and algorithm do not go together. */
static size_t sign_asymmetric(const struct jose_key *key, enum jose_alg alg, const char *input,
                              unsigned char out[SIGNATURE_BYTES_MAX])
{
    bool want_ec = alg == JOSE_ES256 || alg == JOSE_ES384;
    bool want_rsa = alg == JOSE_RS256 || alg == JOSE_PS256;
    int id = EVP_PKEY_get_base_id(key->pkey);
    const EVP_MD *md = alg == JOSE_ES384 ? EVP_sha384() : EVP_sha256();
    unsigned char raw[SIGNATURE_BYTES_MAX];
    size_t n = sizeof(raw);
    EVP_PKEY_CTX *pctx = NULL;

    if ((want_ec && id != EVP_PKEY_EC) || (want_rsa && id != EVP_PKEY_RSA) ||
        (alg == JOSE_EDDSA && id != EVP_PKEY_ED25519))
        return 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx)
        return 0;
    int ok = EVP_DigestSignInit(ctx, &pctx, alg == JOSE_EDDSA ? NULL : md, NULL, key->pkey) == 1 &&
             (alg != JOSE_PS256 ||
              (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1)) &&
             EVP_DigestSign(ctx, raw, &n, (const unsigned char *)input, strlen(input)) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok)
        return 0;
    if (want_ec)
        return ecdsa_raw(key->pkey, raw, n, out, SIGNATURE_BYTES_MAX);
    memcpy(out, raw, n);
    return n;
}

/* The signature over input, base64url, malloc'd; NULL on failure. */
static char *signature(const struct jose_key *key, enum jose_alg alg, const char *input)
{
    unsigned char raw[SIGNATURE_BYTES_MAX];
    size_t n = 0;
    unsigned hmac_bytes = 0;

    switch (alg) {
    case JOSE_NONE:
        return strdup("");
    case JOSE_HS256:
        if (HMAC(EVP_sha256(), key->public_pem, (int)strlen(key->public_pem),
                 (const unsigned char *)input, strlen(input), raw, &hmac_bytes))
            n = hmac_bytes;
        break;
    case JOSE_RS256:
    case JOSE_PS256:
    case JOSE_ES256:
    case JOSE_ES384:
    case JOSE_EDDSA:
        n = sign_asymmetric(key, alg, input, raw);
        break;
    }
    return n > 0 ? base64url(raw, n) : NULL;
}

char *jose_sign(const struct jose_key *key, enum jose_alg alg, const char *header,
                const char *claims)
{
    char *head = base64url(header, strlen(header));
    char *body = base64url(claims, strlen(claims));
    char *input = NULL;
    char *mark = NULL;
    char *token = NULL;

    if (head && body && asprintf(&input, "%s.%s", head, body) < 0)
        input = NULL;
    if (input)
        mark = signature(key, alg, input);
    if (mark && asprintf(&token, "%s.%s", input, mark) < 0)
        token = NULL;
    free(head);
    free(body);
    free(input);
    free(mark);
    return token;
}

/* libjwt always writes typ JWT and knows neither PS256 nor EdDSA. */
static char *issue_libjwt(const struct jose_key *key, jwt_alg_t alg, const char *claims)
{
    jwt_t *jwt = NULL;
    char *token = NULL;

    if (jwt_new(&jwt))
        return NULL;
    if (jwt_add_header(jwt, "kid", key->kid) == 0 && jwt_add_grants_json(jwt, claims) == 0 &&
        jwt_set_alg(jwt, alg, (const unsigned char *)key->private_pem,
                    (int)strlen(key->private_pem)) == 0) {
        char *text = jwt_encode_str(jwt);
        token = text ? strdup(text) : NULL;
        free(text);
    }
    jwt_free(jwt);
    return token;
}

static char *issue_openssl(const struct jose_key *key, const char *typ, const char *claims)
{
    json_t *header =
        json_pack("{s:s, s:s, s:s}", "alg", jose_alg_name(key->alg), "kid", key->kid, "typ", typ);
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    char *token = text ? jose_sign(key, key->alg, text, claims) : NULL;

    free(text);
    json_decref(header);
    return token;
}

char *jose_issue(const struct jose_key *key, const char *typ, const json_t *claims)
{
    char *text = json_dumps(claims, JSON_COMPACT);
    bool plain = strcmp(typ, "JWT") == 0;
    char *token;

    if (!text)
        return NULL;
    if (plain && key->alg == JOSE_RS256)
        token = issue_libjwt(key, JWT_ALG_RS256, text);
    else if (plain && key->alg == JOSE_ES256)
        token = issue_libjwt(key, JWT_ALG_ES256, text);
    else if (plain && key->alg == JOSE_ES384)
        token = issue_libjwt(key, JWT_ALG_ES384, text);
    else
        token = issue_openssl(key, typ, text);
    free(text);
    return token;
}
