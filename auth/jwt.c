#include "auth/jwt.h"

#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>
#include <strings.h>

#include "auth/b64url.h"
#include "auth/jwt_claims.h"
#include "auth/jwt_veto.h"
#include "auth/strict_json.h"
#include "base/log.h"

#define SIGNATURE_BYTES_MAX (JWKS_RSA_BITS_MAX / 8)
#define HEADER_BYTES_MAX    4096
#define ECDSA_DER_BYTES_MAX (2 * (48 + 3) + 4)
#define THUMBPRINT_CHARS    43

/* What the algorithms of RFC 7518 and 8037 ask of OpenSSL. */
struct algorithm {
    const char *name; /* exact case */
    enum jwt_alg bit;
    const char *digest;      /* NULL: the signature scheme has its own */
    size_t coordinate_bytes; /* ECDSA: raw r and s have this length each */
    int padding;             /* RSA */
    bool veto;               /* libjwt knows it */
};
static const struct algorithm algorithms[] = {
    {"ES256", ALG_ES256, "SHA256", 32, 0, true},
    {"ES384", ALG_ES384, "SHA384", 48, 0, true},
    {"PS256", ALG_PS256, "SHA256", 0, RSA_PKCS1_PSS_PADDING, false},
    {"EdDSA", ALG_EDDSA, NULL, 0, 0, false},
    {"RS256", ALG_RS256, "SHA256", 0, RSA_PKCS1_PADDING, true},
};

struct token {
    const char *text;
    size_t len;
    size_t signed_len; /* header, dot, claims */
    json_t *header, *claims;
    uint8_t signature[SIGNATURE_BYTES_MAX];
    size_t signature_len;
    const struct algorithm *alg;
    const struct jwk *key;
    bool plain_jwt; /* typ is JWT or absent */
};

const char *jwt_verdict_name(enum jwt_verdict v)
{
    switch (v) {
    case JWT_OK:
        return "ok";
    case JWT_MALFORMED:
        return "malformed token";
    case JWT_ALGORITHM:
        return "algorithm not allowed";
    case JWT_TYPE:
        return "wrong token type";
    case JWT_ISSUER:
        return "unknown issuer";
    case JWT_KEY:
        return "unknown key";
    case JWT_SIGNATURE:
        return "bad signature";
    case JWT_AUDIENCE:
        return "wrong audience";
    case JWT_EXPIRED:
        return "token expired";
    case JWT_NOT_YET:
        return "token not yet valid";
    case JWT_CLAIMS:
        return "unusable claims";
    case JWT_BINDING:
        return "client certificate does not match";
    case JWT_VETO:
        return "second opinion refused";
    case JWT_NO_KEYS:
        return "issuer keys not available";
    case JWT_RESOURCES:
        return "out of memory";
    }
    return "unknown";
}

bool jwt_verdict_retriable(enum jwt_verdict v)
{
    return v == JWT_KEY || v == JWT_NO_KEYS || v == JWT_RESOURCES;
}

/* One part, decoded and parsed; NULL when it is not canonical base64url of one JSON object. */
static json_t *part_object(const char *p, size_t n, size_t max)
{
    uint8_t bytes[B64URL_DECODED_MAX(JWT_BYTES_MAX)];
    size_t len;

    if (b64url_decode(p, n, bytes, sizeof(bytes), &len) != OK)
        return NULL;
    return strict_json_object(bytes, len, max);
}

/* Exactly three parts, none of them empty. */
static enum jwt_verdict token_split(struct token *t)
{
    const char *end = t->text + t->len;
    const char *dot1, *dot2;

    if (t->len == 0 || t->len > JWT_BYTES_MAX)
        return JWT_MALFORMED;
    dot1 = memchr(t->text, '.', t->len);
    if (!dot1)
        return JWT_MALFORMED;
    dot2 = memchr(dot1 + 1, '.', (size_t)(end - dot1 - 1));
    if (!dot2 || memchr(dot2 + 1, '.', (size_t)(end - dot2 - 1)))
        return JWT_MALFORMED;
    t->signed_len = (size_t)(dot2 - t->text);
    t->header = part_object(t->text, (size_t)(dot1 - t->text), HEADER_BYTES_MAX);
    t->claims = part_object(dot1 + 1, (size_t)(dot2 - dot1 - 1), JWT_BYTES_MAX);
    if (!t->header || !t->claims)
        return JWT_MALFORMED;
    if (b64url_decode(dot2 + 1, (size_t)(end - dot2 - 1), t->signature, sizeof(t->signature),
                      &t->signature_len) != OK ||
        t->signature_len == 0)
        return JWT_MALFORMED;
    return JWT_OK;
}

/* The issuer's place in the configuration, compared byte by byte; -1 when it has none. */
static int issuer_find(const struct keyring *keys, const json_t *claims)
{
    const char *iss = strict_json_text(claims, "iss");
    size_t i;

    for (i = 0; iss && i < keys->config->nissuers && i < KEYRING_ISSUERS_MAX; i++) {
        if (strcmp(keys->config->issuers[i].issuer, iss) == 0)
            return (int)i;
    }
    return -1;
}

static enum jwt_verdict algorithm_choose(struct token *t, const struct issuer_config *c)
{
    const char *alg = strict_json_text(t->header, "alg");
    size_t i;

    if (json_object_get(t->header, "crit"))
        return JWT_ALGORITHM; /* we know no extension, so a critical one is one too many */
    for (i = 0; alg && i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
        if (strcmp(alg, algorithms[i].name) == 0 && (c->algorithms & algorithms[i].bit)) {
            t->alg = &algorithms[i];
            return JWT_OK;
        }
    }
    return JWT_ALGORITHM;
}

/* RFC 7515, 4.1.9: a media type, so without regard to case. */
static enum jwt_verdict type_check(struct token *t)
{
    const char *typ;

    t->plain_jwt = true;
    if (!json_object_get(t->header, "typ"))
        return JWT_OK;
    typ = strict_json_text(t->header, "typ");
    if (!typ)
        return JWT_TYPE;
    if (strcasecmp(typ, "JWT") == 0)
        return JWT_OK;
    t->plain_jwt = false;
    if (strcasecmp(typ, "at+jwt") == 0 || strcasecmp(typ, "application/at+jwt") == 0)
        return JWT_OK;
    return JWT_TYPE;
}

/* By kid and algorithm, from the issuer's own set alone: jku, x5u, jwk and x5c are not looked at.
 */
static enum jwt_verdict key_choose(struct token *t, const struct jwks *set)
{
    const char *kid = NULL;

    if (json_object_get(t->header, "kid")) {
        kid = strict_json_text(t->header, "kid");
        if (!kid)
            return JWT_MALFORMED;
    }
    t->key = jwks_find(set, kid, t->alg->bit);
    if (t->key)
        return JWT_OK;
    /* A key of that name for another algorithm will not be mended by a fetch. */
    return kid && kid[0] && jwks_has_kid(set, kid) ? JWT_ALGORITHM : JWT_KEY;
}

/* RFC 7518, 3.4: r and s side by side, in full length each, into the DER that OpenSSL takes. */
static bool ecdsa_to_der(const struct token *t, uint8_t *der, size_t *der_len)
{
    size_t half = t->alg->coordinate_bytes;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(t->signature, (int)half, NULL);
    BIGNUM *s = BN_bin2bn(t->signature + half, (int)half, NULL);
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
static enum jwt_verdict signature_check(const struct token *t)
{
    uint8_t der[ECDSA_DER_BYTES_MAX];
    const uint8_t *sig = t->signature;
    size_t sig_len = t->signature_len;
    EVP_MD_CTX *md;
    EVP_PKEY_CTX *ctx = NULL;
    bool ready;
    int good = 0;

    if (t->alg->coordinate_bytes > 0) {
        if (sig_len != 2 * t->alg->coordinate_bytes)
            return JWT_SIGNATURE;
        if (!ecdsa_to_der(t, der, &sig_len))
            return JWT_RESOURCES;
        sig = der;
    }
    ERR_clear_error();
    md = EVP_MD_CTX_new();
    if (!md)
        return JWT_RESOURCES;
    ready = EVP_DigestVerifyInit_ex(md, &ctx, t->alg->digest, NULL, NULL, t->key->pkey, NULL) == 1;
    if (ready && t->alg->padding)
        ready = EVP_PKEY_CTX_set_rsa_padding(ctx, t->alg->padding) == 1;
    if (ready && t->alg->padding == RSA_PKCS1_PSS_PADDING)
        ready = EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1 &&
                EVP_PKEY_CTX_set_rsa_mgf1_md_name(ctx, t->alg->digest, NULL) == 1;
    if (ready)
        good = EVP_DigestVerify(md, sig, sig_len, (const uint8_t *)t->text, t->signed_len);
    EVP_MD_CTX_free(md);
    ERR_clear_error();
    return good == 1 ? JWT_OK : JWT_SIGNATURE;
}

static enum jwt_verdict veto_ask(const struct token *t, const struct issuer_config *c,
                                 int64_t expires)
{
    if (!c->second_opinion || !t->alg->veto || !t->plain_jwt)
        return JWT_OK;
    switch (jwt_veto(t->text, t->len, t->key->pkey, t->alg->name, c->issuer, expires)) {
    case OK:
        return JWT_OK;
    case ERR_NOMEM:
        return JWT_RESOURCES;
    default:
        log_error("jwt", "libjwt refuses a token of %s that OpenSSL has verified", c->issuer);
        return JWT_VETO;
    }
}

/* RFC 8705, 3: a token bound to a certificate is worth nothing without it. A binding of another
 * kind (a DPoP key) is one that we cannot check, so it binds to nobody. */
static enum jwt_verdict binding_check(const struct token *t, const char *thumbprint,
                                      struct identity *out)
{
    const json_t *cnf = json_object_get(t->claims, "cnf");
    const char *bound;

    if (!cnf)
        return JWT_OK;
    bound = strict_json_text(cnf, "x5t#S256");
    if (!bound || strlen(bound) != THUMBPRINT_CHARS || !thumbprint ||
        strlen(thumbprint) != THUMBPRINT_CHARS ||
        CRYPTO_memcmp(bound, thumbprint, THUMBPRINT_CHARS) != 0)
        return JWT_BINDING;
    memcpy(out->thumbprint, bound, THUMBPRINT_CHARS + 1);
    return JWT_OK;
}

/* use: the token is to let somebody in, so times and binding count. */
static enum jwt_verdict token_check(struct token *t, const struct keyring *keys, bool use,
                                    int64_t now_s, const char *thumbprint, struct identity *out)
{
    const struct issuer_config *c;
    enum jwt_verdict v;
    int i;

    v = token_split(t);
    if (v != JWT_OK)
        return v;
    i = issuer_find(keys, t->claims);
    if (i < 0)
        return JWT_ISSUER;
    c = &keys->config->issuers[i];
    if (strlen(c->issuer) >= sizeof(out->issuer))
        return JWT_CLAIMS;
    memcpy(out->issuer, c->issuer, strlen(c->issuer) + 1);
    out->shared_subjects = c->shared_subjects;
    v = algorithm_choose(t, c);
    if (v == JWT_OK)
        v = type_check(t);
    if (v == JWT_OK)
        v = keys->sets[i] ? key_choose(t, keys->sets[i]) : JWT_NO_KEYS;
    if (v == JWT_OK)
        v = signature_check(t);
    if (v == JWT_OK)
        v = jwt_claims_read(t->claims, c, out);
    if (v == JWT_OK)
        v = veto_ask(t, c, out->expires);
    if (v == JWT_OK && use)
        v = jwt_times_check(t->claims, c, now_s);
    if (v == JWT_OK && use)
        v = binding_check(t, thumbprint, out);
    return v;
}

static enum jwt_verdict check(const char *text, size_t n, const struct keyring *keys, bool use,
                              int64_t now_s, const char *thumbprint, struct identity *out)
{
    struct token t = {.text = text, .len = n};
    char issuer[IDENTITY_TEXT_MAX];
    enum jwt_verdict v;

    memset(out, 0, sizeof(*out));
    v = token_check(&t, keys, use, now_s, thumbprint, out);
    json_decref(t.header);
    json_decref(t.claims);
    if (v != JWT_OK) {
        memcpy(issuer, out->issuer, sizeof(issuer));
        identity_clear(out);
        memcpy(out->issuer, issuer, sizeof(issuer));
    }
    return v;
}

enum jwt_verdict jwt_verify(const char *token, size_t n, const struct keyring *keys, int64_t now_s,
                            const char *thumbprint, struct identity *out)
{
    return check(token, n, keys, true, now_s, thumbprint, out);
}

enum jwt_verdict jwt_identify(const char *token, size_t n, const struct keyring *keys,
                              struct identity *out)
{
    return check(token, n, keys, false, 0, NULL, out);
}
