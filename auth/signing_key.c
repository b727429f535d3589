#include "auth/signing_key.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/b64url.h"
#include "auth/jws_sign.h"
#include "auth/memory.h"
#include "base/alloc.h"

#define RSA_BYTES_MAX (JWKS_RSA_BITS_MAX / 8)
#define HASH_BYTES    32

/* --- what kind of key it is */

static const char *kind_of(const EVP_PKEY *k, unsigned algorithms, const char **why)
{
    char group[64] = "";
    size_t n;
    int bits = EVP_PKEY_get_bits(k);

    if (EVP_PKEY_is_a(k, "ED25519"))
        return "EdDSA";
    if (EVP_PKEY_is_a(k, "RSA")) {
        if (bits < JWKS_RSA_BITS_MIN || bits > JWKS_RSA_BITS_MAX) {
            *why = "its RSA key has not 2048 to 8192 bits";
            return NULL;
        }
        return algorithms & ALG_RS256 ? "RS256" : "PS256";
    }
    if (EVP_PKEY_is_a(k, "EC") && EVP_PKEY_get_group_name(k, group, sizeof(group), &n) == 1) {
        if (strcmp(group, "prime256v1") == 0)
            return "ES256";
        if (strcmp(group, "secp384r1") == 0)
            return "ES384";
    }
    *why = "its key is none of P-256, P-384, Ed25519 and RSA";
    return NULL;
}

static EVP_PKEY *read_pem(const char *pem)
{
    char nobody[] = ""; /* an empty passphrase: never ask at a terminal */
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *pkey = NULL;

    if (bio)
        pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, nobody);
    BIO_free(bio);
    ERR_clear_error();
    return pkey;
}

/* --- its public part */

static json_t *text_of(const uint8_t *p, size_t n)
{
    char text[B64URL_ROOM(RSA_BYTES_MAX)];

    b64url_encode(p, n, text);
    return json_string(text);
}

/* A number in base64url, of the given length where that is above 0. */
static json_t *number_of(const EVP_PKEY *k, const char *param, int bytes)
{
    uint8_t raw[RSA_BYTES_MAX];
    BIGNUM *n = NULL;
    json_t *out = NULL;

    if (EVP_PKEY_get_bn_param(k, param, &n) == 1) {
        if (bytes == 0)
            bytes = BN_num_bytes(n);
        if (bytes <= (int)sizeof(raw) && BN_bn2binpad(n, raw, bytes) == bytes)
            out = text_of(raw, (size_t)bytes);
    }
    BN_free(n);
    return out;
}

/* What RFC 7638 hashes, and RFC 7517 shows: the members that make the key. */
static json_t *members_of(const EVP_PKEY *k)
{
    uint8_t raw[32];
    size_t n = sizeof(raw);
    int bytes;

    if (EVP_PKEY_is_a(k, "RSA"))
        return json_pack("{s:s, s:o, s:o}", "kty", "RSA", "n",
                         number_of(k, OSSL_PKEY_PARAM_RSA_N, 0), "e",
                         number_of(k, OSSL_PKEY_PARAM_RSA_E, 0));
    if (EVP_PKEY_is_a(k, "EC")) {
        bytes = EVP_PKEY_get_bits(k) / 8;
        return json_pack("{s:s, s:s, s:o, s:o}", "kty", "EC", "crv",
                         bytes == 32 ? "P-256" : "P-384", "x",
                         number_of(k, OSSL_PKEY_PARAM_EC_PUB_X, bytes), "y",
                         number_of(k, OSSL_PKEY_PARAM_EC_PUB_Y, bytes));
    }
    if (EVP_PKEY_get_raw_public_key(k, raw, &n) != 1)
        return NULL;
    return json_pack("{s:s, s:s, s:o}", "kty", "OKP", "crv", "Ed25519", "x", text_of(raw, n));
}

/* RFC 7638, 3: the members in the order of their names, without white space. */
static bool thumbprint(const EVP_PKEY *k, char kid[SIGNING_KID_BYTES])
{
    uint8_t hash[HASH_BYTES];
    json_t *members = members_of(k);
    char *text = members ? json_dumps(members, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    bool ok = text && EVP_Digest(text, strlen(text), hash, NULL, EVP_sha256(), NULL) == 1;

    if (ok)
        b64url_encode(hash, sizeof(hash), kid);
    free(text);
    json_decref(members);
    return ok;
}

int signing_key_load(const char *pem, unsigned algorithms, struct signing_key *out,
                     const char **why)
{
    const struct jws_algorithm *alg;
    unsigned watch = memory_watch();

    memset(out, 0, sizeof(*out));
    *why = "it holds no private key that could be read";
    out->pkey = pem ? read_pem(pem) : NULL;
    if (!out->pkey)
        goto bad;
    alg = jws_algorithm(kind_of(out->pkey, algorithms, why));
    if (!alg)
        goto bad;
    *why = "`algorithms` leaves out what its key signs with";
    if (!(alg->bit & algorithms))
        goto bad;
    out->alg = alg->name;
    if (thumbprint(out->pkey, out->kid) && !memory_was_short(watch))
        return OK;
    *why = "its name could not be made";
bad:
    signing_key_clear(out);
    if (!memory_was_short(watch))
        return ERR_CONFIG;
    *why = "out of memory";
    return ERR_NOMEM;
}

void signing_key_clear(struct signing_key *k)
{
    EVP_PKEY_free(k->pkey);
    memset(k, 0, sizeof(*k));
}

json_t *signing_key_jwk(const struct signing_key *k)
{
    json_t *jwk = members_of(k->pkey);

    if (jwk && json_object_set_new(jwk, "kid", json_string(k->kid)) == 0 &&
        json_object_set_new(jwk, "alg", json_string(k->alg)) == 0 &&
        json_object_set_new(jwk, "use", json_string("sig")) == 0)
        return jwk;
    json_decref(jwk);
    return NULL;
}

json_t *signing_public_jwk(const void *pkey)
{
    return members_of(pkey);
}

json_t *signing_keys_jwks(const struct issuer_config *c, const char **why)
{
    unsigned watch = memory_watch();
    json_t *keys = json_array();
    struct signing_key key;
    size_t i;

    for (i = 0; i < c->signing_keys.count; i++) {
        if (signing_key_load(c->signing_keys.at[i], c->algorithms, &key, why) != OK) {
            json_decref(keys);
            return NULL;
        }
        (void)json_array_append_new(keys, signing_key_jwk(&key));
        signing_key_clear(&key);
    }
    *why = "out of memory";
    if (json_array_size(keys) == c->signing_keys.count && !memory_was_short(watch))
        return json_pack("{s:o}", "keys", keys);
    json_decref(keys);
    return NULL;
}

/* --- signing */

int signing_key_sign(const struct signing_key *k, const json_t *claims, char **token)
{
    unsigned watch = memory_watch();
    char *text = json_dumps(claims, JSON_COMPACT);
    char header[128];
    int len = snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"JWT\"}",
                       k->alg, k->kid);
    int rc = ERR_NOMEM;

    *token = NULL;
    if (text && !memory_was_short(watch) && len > 0 && (size_t)len < sizeof(header))
        rc = jws_sign(jws_algorithm(k->alg), k->pkey, header, text, token);
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
    return rc;
}

void signing_token_free(char *token)
{
    if (token)
        OPENSSL_cleanse(token, strlen(token));
    sl_free(token);
}
