#include "auth/jwks.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdio.h>
#include <string.h>

#include "auth/b64url.h"
#include "auth/memory.h"
#include "auth/strict_json.h"
#include "base/alloc.h"

#define RSA_BYTES_MAX (JWKS_RSA_BITS_MAX / 8)
#define RSA_E_BYTES   8 /* OpenSSL refuses larger ones as well, for large moduli */

struct jwks {
    atomic_uint refs;
    size_t count;
    struct jwk keys[JWKS_KEYS_MAX];
};

struct curve {
    const char *crv, *group;
    size_t bytes;
    unsigned alg;
};
static const struct curve curves[] = {
    {"P-256", "prime256v1", 32, ALG_ES256},
    {"P-384", "secp384r1", 48, ALG_ES384},
};

/* A member in base64url; false when it is absent, not canonical or too long. */
static bool member_bytes(const json_t *key, const char *member, uint8_t *out, size_t out_bytes,
                         size_t *len)
{
    const json_t *v = json_object_get(key, member);
    const char *text = json_string_value(v);

    return text && b64url_decode(text, json_string_length(v), out, out_bytes, len) == OK &&
           *len > 0;
}

/* Takes params; public_check refuses points off the curve and moduli that are none. */
static EVP_PKEY *pkey_make(const char *type, OSSL_PARAM *params)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY_CTX *check = NULL;
    EVP_PKEY *pkey = NULL;

    if (!ctx || !params || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        goto out;
    check = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    if (!check || EVP_PKEY_public_check(check) != 1) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
out:
    EVP_PKEY_CTX_free(check);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

static EVP_PKEY *rsa_make(const json_t *key)
{
    uint8_t n_bytes[RSA_BYTES_MAX], e_bytes[RSA_E_BYTES];
    size_t n_len, e_len;
    OSSL_PARAM_BLD *bld = NULL;
    BIGNUM *n = NULL, *e = NULL;
    EVP_PKEY *pkey = NULL;

    if (!member_bytes(key, "n", n_bytes, sizeof(n_bytes), &n_len) ||
        !member_bytes(key, "e", e_bytes, sizeof(e_bytes), &e_len))
        return NULL;
    n = BN_bin2bn(n_bytes, (int)n_len, NULL);
    e = BN_bin2bn(e_bytes, (int)e_len, NULL);
    bld = OSSL_PARAM_BLD_new();
    if (!n || !e || !bld || BN_num_bits(n) < JWKS_RSA_BITS_MIN || !BN_is_odd(n) || !BN_is_odd(e) ||
        BN_num_bits(e) < 2 || !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) ||
        !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e))
        goto out;
    pkey = pkey_make("RSA", OSSL_PARAM_BLD_to_param(bld));
out:
    OSSL_PARAM_BLD_free(bld);
    BN_free(n);
    BN_free(e);
    return pkey;
}

/* RFC 7518, 6.2.1: x and y have the full length of the curve's coordinates. */
static EVP_PKEY *ec_make(const json_t *key, const struct curve *c)
{
    uint8_t point[1 + 2 * 48] = {0x04}; /* uncompressed */
    OSSL_PARAM_BLD *bld;
    EVP_PKEY *pkey = NULL;
    size_t len;

    if (!member_bytes(key, "x", point + 1, c->bytes, &len) || len != c->bytes ||
        !member_bytes(key, "y", point + 1 + c->bytes, c->bytes, &len) || len != c->bytes)
        return NULL;
    bld = OSSL_PARAM_BLD_new();
    if (bld && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, c->group, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * c->bytes) ==
            1)
        pkey = pkey_make("EC", OSSL_PARAM_BLD_to_param(bld));
    OSSL_PARAM_BLD_free(bld);
    return pkey;
}

static EVP_PKEY *ed25519_make(const json_t *key)
{
    uint8_t x[32];
    OSSL_PARAM_BLD *bld;
    EVP_PKEY *pkey = NULL;
    size_t len;

    if (!member_bytes(key, "x", x, sizeof(x), &len) || len != sizeof(x))
        return NULL;
    bld = OSSL_PARAM_BLD_new();
    if (bld && OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, x, sizeof(x)) == 1)
        pkey = pkey_make("ED25519", OSSL_PARAM_BLD_to_param(bld));
    OSSL_PARAM_BLD_free(bld);
    return pkey;
}

/* What the key's type can verify at all. */
static unsigned key_algs(const json_t *key, const struct curve **curve)
{
    const char *kty = strict_json_text(key, "kty");
    const char *crv = strict_json_text(key, "crv");
    size_t i;

    *curve = NULL;
    if (!kty)
        return 0;
    if (strcmp(kty, "RSA") == 0)
        return ALG_RS256 | ALG_PS256;
    if (!crv)
        return 0;
    if (strcmp(kty, "OKP") == 0 && strcmp(crv, "Ed25519") == 0)
        return ALG_EDDSA;
    for (i = 0; strcmp(kty, "EC") == 0 && i < sizeof(curves) / sizeof(curves[0]); i++) {
        if (strcmp(crv, curves[i].crv) == 0) {
            *curve = &curves[i];
            return curves[i].alg;
        }
    }
    return 0;
}

static unsigned alg_bit(const char *name)
{
    static const struct {
        const char *name;
        unsigned bit;
    } algs[] = {{"RS256", ALG_RS256},
                {"PS256", ALG_PS256},
                {"ES256", ALG_ES256},
                {"ES384", ALG_ES384},
                {"EdDSA", ALG_EDDSA}};
    size_t i;

    for (i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
        if (strcmp(name, algs[i].name) == 0)
            return algs[i].bit;
    }
    return 0;
}

/* RFC 7517, 4.2 and 4.3: a key that states its use is used for that alone. */
static bool for_verifying(const json_t *key)
{
    const json_t *use = json_object_get(key, "use");
    const json_t *ops = json_object_get(key, "key_ops");
    size_t i;

    if (use && (!json_is_string(use) || strcmp(json_string_value(use), "sig") != 0))
        return false;
    if (!ops)
        return true;
    for (i = 0; i < json_array_size(ops); i++) {
        const char *op = json_string_value(json_array_get(ops, i));

        if (op && strcmp(op, "verify") == 0)
            return true;
    }
    return false;
}

/* False when the key cannot be used. A published private key is nobody's alone any more. */
static bool key_parse(const json_t *key, struct jwk *out)
{
    const json_t *kid = json_object_get(key, "kid");
    const json_t *alg = json_object_get(key, "alg");
    const struct curve *curve;
    EVP_PKEY *pkey;

    memset(out, 0, sizeof(*out));
    out->algs = key_algs(key, &curve);
    if (alg)
        out->algs &= json_is_string(alg) ? alg_bit(json_string_value(alg)) : 0;
    if (out->algs == 0 || !for_verifying(key) || json_object_get(key, "d"))
        return false;
    if (kid) {
        const char *text = strict_json_text(key, "kid");

        if (!text || strlen(text) >= sizeof(out->kid))
            return false;
        memcpy(out->kid, text, strlen(text) + 1);
    }
    ERR_clear_error();
    if (curve)
        pkey = ec_make(key, curve);
    else if (out->algs & ALG_EDDSA)
        pkey = ed25519_make(key);
    else
        pkey = rsa_make(key);
    ERR_clear_error();
    out->pkey = pkey;
    return pkey != NULL;
}

/* The same key listed twice is one key; jwks_find would otherwise take it for two. */
static bool is_listed(const struct jwks *s, const struct jwk *k)
{
    size_t i;

    for (i = 0; i < s->count; i++) {
        if (strcmp(s->keys[i].kid, k->kid) == 0 && s->keys[i].algs == k->algs &&
            EVP_PKEY_eq(s->keys[i].pkey, k->pkey) == 1)
            return true;
    }
    return false;
}

/* The usable keys of a set into s. Without memory OpenSSL refuses good ones as well, and takes
 * equal ones for different. */
static int keys_read(const json_t *keys, struct jwks *s, unsigned *ignored)
{
    unsigned watch = memory_watch();
    size_t i;

    for (i = 0; i < json_array_size(keys); i++) {
        struct jwk *k = &s->keys[s->count];

        if (!key_parse(json_array_get(keys, i), k)) {
            (*ignored)++;
        } else if (is_listed(s, k)) {
            EVP_PKEY_free(k->pkey);
        } else {
            s->count++;
        }
    }
    if (memory_was_short(watch))
        return ERR_NOMEM;
    return s->count > 0 ? OK : ERR_UNKNOWN;
}

int jwks_parse(const char *text, size_t n, struct jwks **out, unsigned *ignored, char *err,
               size_t err_bytes)
{
    struct jwks *s = NULL;
    const json_t *keys;
    json_t *doc;
    int rc;

    *out = NULL;
    *ignored = 0;
    rc = strict_json_read(text, n, JWKS_BYTES_MAX, &doc);
    keys = json_object_get(doc, "keys");
    if (rc == OK && !json_is_array(keys))
        rc = ERR_MALFORMED;
    if (rc == OK && json_array_size(keys) > JWKS_KEYS_MAX)
        rc = ERR_LIMIT;
    if (rc == OK) {
        s = sl_calloc(1, sizeof(*s));
        rc = s ? OK : ERR_NOMEM;
    }
    if (rc == OK) {
        atomic_init(&s->refs, 1);
        rc = keys_read(keys, s, ignored);
    }
    if (rc == OK) {
        *out = s;
        s = NULL;
    } else if (rc == ERR_NOMEM)
        snprintf(err, err_bytes, "out of memory");
    else if (rc == ERR_UNKNOWN)
        snprintf(err, err_bytes, "no usable key among %u", *ignored);
    else if (rc == ERR_LIMIT)
        snprintf(err, err_bytes, "more than %d keys", JWKS_KEYS_MAX);
    else
        snprintf(err, err_bytes, "not a JWK Set in strict JSON");
    if (rc == ERR_MALFORMED && n > JWKS_BYTES_MAX)
        rc = ERR_LIMIT;
    jwks_unref(s);
    json_decref(doc);
    return rc;
}

struct jwks *jwks_ref(struct jwks *s)
{
    if (s)
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void jwks_unref(struct jwks *s)
{
    size_t i;

    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (i = 0; i < s->count; i++)
        EVP_PKEY_free(s->keys[i].pkey);
    sl_free(s);
}

const struct jwk *jwks_find(const struct jwks *s, const char *kid, enum jwt_alg alg)
{
    const struct jwk *found = NULL;
    size_t i;

    for (i = 0; i < s->count; i++) {
        const struct jwk *k = &s->keys[i];

        if (!(k->algs & (unsigned)alg) || (kid && kid[0] && strcmp(kid, k->kid) != 0))
            continue;
        if (found)
            return NULL;
        found = k;
    }
    return found;
}

bool jwks_has_kid(const struct jwks *s, const char *kid)
{
    size_t i;

    for (i = 0; i < s->count; i++) {
        if (strcmp(s->keys[i].kid, kid) == 0)
            return true;
    }
    return false;
}

size_t jwks_count(const struct jwks *s)
{
    return s->count;
}

struct keyring *keyring_new(const struct config *c, struct jwks *const *sets)
{
    struct keyring *k;
    size_t i;

    if (c->nissuers > KEYRING_ISSUERS_MAX)
        return NULL;
    k = sl_calloc(1, sizeof(*k));
    if (!k)
        return NULL;
    atomic_init(&k->refs, 1);
    k->config = config_ref(c);
    for (i = 0; i < c->nissuers; i++)
        k->sets[i] = jwks_ref(sets[i]);
    return k;
}

struct keyring *keyring_ref(struct keyring *k)
{
    if (k)
        atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void keyring_unref(struct keyring *k)
{
    size_t i;

    if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (i = 0; i < KEYRING_ISSUERS_MAX; i++)
        jwks_unref(k->sets[i]);
    config_unref(k->config);
    sl_free(k);
}
