/* Keys, key sets and signed tokens for tests, made with OpenSSL alone so that what is tested is not
 * also what made the test's input. Texts are the caller's to free. */
#ifndef TESTS_TOKEN_H
#define TESTS_TOKEN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "config/config.h"

static inline char *token_b64(const void *p, size_t n)
{
    unsigned char *out = malloc((n + 2) / 3 * 4 + 1);
    int len = EVP_EncodeBlock(out, p, (int)n);
    int i;

    while (len > 0 && out[len - 1] == '=')
        len--;
    for (i = 0; i < len; i++) {
        if (out[i] == '+')
            out[i] = '-';
        else if (out[i] == '/')
            out[i] = '_';
    }
    out[len] = '\0';
    return (char *)out;
}

static inline char *token_bn(const EVP_PKEY *key, const char *param, int bytes)
{
    unsigned char buf[1024];
    BIGNUM *n = NULL;
    char *text;

    EVP_PKEY_get_bn_param(key, param, &n);
    BN_bn2binpad(n, buf, bytes > 0 ? bytes : BN_num_bytes(n));
    text = token_b64(buf, (size_t)(bytes > 0 ? bytes : BN_num_bytes(n)));
    BN_free(n);
    return text;
}

/* One JWK with its public part; extra: further members, each with a comma before it. */
static inline char *token_jwk(const EVP_PKEY *key, const char *kid, const char *extra)
{
    char *out = NULL, *a = NULL, *b = NULL;
    unsigned char raw[32];
    size_t n = sizeof(raw);

    if (EVP_PKEY_is_a(key, "RSA")) {
        a = token_bn(key, OSSL_PKEY_PARAM_RSA_N, 0);
        b = token_bn(key, OSSL_PKEY_PARAM_RSA_E, 0);
        if (asprintf(&out, "{\"kty\":\"RSA\",\"kid\":\"%s\",\"n\":\"%s\",\"e\":\"%s\"%s}", kid, a,
                     b, extra) < 0)
            out = NULL;
    } else if (EVP_PKEY_is_a(key, "EC")) {
        int bytes = EVP_PKEY_get_bits(key) / 8;

        a = token_bn(key, OSSL_PKEY_PARAM_EC_PUB_X, bytes);
        b = token_bn(key, OSSL_PKEY_PARAM_EC_PUB_Y, bytes);
        if (asprintf(&out,
                     "{\"kty\":\"EC\",\"crv\":\"P-%d\",\"kid\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"%s}",
                     EVP_PKEY_get_bits(key), kid, a, b, extra) < 0)
            out = NULL;
    } else {
        EVP_PKEY_get_raw_public_key(key, raw, &n);
        a = token_b64(raw, n);
        if (asprintf(&out, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"%s\",\"x\":\"%s\"%s}",
                     kid, a, extra) < 0)
            out = NULL;
    }
    free(a);
    free(b);
    return out;
}

/* DER to the raw form of RFC 7518, 3.4. */
static inline size_t token_raw_ecdsa(unsigned char *sig, size_t n, int half)
{
    const unsigned char *p = sig;
    ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &p, (long)n);
    unsigned char raw[2 * 66];

    BN_bn2binpad(ECDSA_SIG_get0_r(s), raw, half);
    BN_bn2binpad(ECDSA_SIG_get0_s(s), raw + half, half);
    ECDSA_SIG_free(s);
    memcpy(sig, raw, 2 * (size_t)half);
    return 2 * (size_t)half;
}

/* Signs text as alg (RS256, PS256, ES256, ES384, ES512, EdDSA) asks. Returns the signature's
 * length. */
static inline size_t token_signature(const char *alg, EVP_PKEY *key, const char *text,
                                     unsigned char *sig, size_t room)
{
    const char *digest = strcmp(alg, "EdDSA") == 0 ? NULL
                         : strstr(alg, "384")      ? "SHA384"
                         : strstr(alg, "512")      ? "SHA512"
                                                   : "SHA256";
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL;
    size_t n = room;

    EVP_DigestSignInit_ex(md, &ctx, digest, NULL, NULL, key, NULL);
    if (alg[0] == 'P') {
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST);
    }
    EVP_DigestSign(md, sig, &n, (const unsigned char *)text, strlen(text));
    EVP_MD_CTX_free(md);
    if (EVP_PKEY_is_a(key, "EC"))
        n = token_raw_ecdsa(sig, n, (EVP_PKEY_get_bits(key) + 7) / 8);
    return n;
}

static inline char *token_join(const char *input, const void *sig, size_t n)
{
    char *s = token_b64(sig, n);
    char *out;

    if (asprintf(&out, "%s.%s", input, s) < 0)
        out = NULL;
    free(s);
    return out;
}

/* header and claims, dotted: what is signed. */
static inline char *token_input(const char *header, const char *claims)
{
    char *h = token_b64(header, strlen(header));
    char *c = token_b64(claims, strlen(claims));
    char *out;

    if (asprintf(&out, "%s.%s", h, c) < 0)
        out = NULL;
    free(h);
    free(c);
    return out;
}

static inline char *token_sign(const char *alg, EVP_PKEY *key, const char *header,
                               const char *claims)
{
    unsigned char sig[1024];
    char *input = token_input(header, claims);
    size_t n = token_signature(alg, key, input, sig, sizeof(sig));
    char *out = token_join(input, sig, n);

    free(input);
    return out;
}

#define TOKEN_CONFIG_HEAD                                                                          \
    "listen: 0.0.0.0:9093\n"                                                                       \
    "advertise: gate.example.com:9093\n"                                                           \
    "tls: {certificate: gate.pem, key: gate.key}\n"                                                \
    "upstream: {brokers: [kafka-1:9092]}\n"                                                        \
    "store: {path: sluice.db}\n"

/* A configuration of TOKEN_CONFIG_HEAD and what a test adds. */
static inline struct config *token_config(const char *more)
{
    char text[16384], err[4096];
    struct config *c;
    int n = snprintf(text, sizeof(text), "%s%s", TOKEN_CONFIG_HEAD, more);

    c = config_parse("/etc/sluice/s.yaml", text, (size_t)n, false, err, sizeof(err));
    if (!c)
        fprintf(stderr, "%s\n", err);
    return c;
}

#endif
