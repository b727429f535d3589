#include "auth/did.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "auth/b64url.h"
#include "auth/memory.h"
#include "auth/signing_key.h"
#include "auth/strict_json.h"
#include "config/outgoing.h"

#define KEY_BYTES_MAX 64 /* a multicodec prefix and a compressed P-384 point are 51 */
#define WEB           "did:web:"
#define KEY           "did:key:"

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

const struct token_participant_config *did_participant(const struct config *c, const char *consumer)
{
    size_t i;

    for (i = 0; i < c->tokens.nparticipants; i++) {
        if (strcmp(c->tokens.participants[i].id, consumer) == 0)
            return &c->tokens.participants[i];
    }
    return NULL;
}

bool did_provable(const struct config *c, const char *consumer)
{
    char url[DID_URL_BYTES];
    struct jwks *set;

    if (did_participant(c, consumer))
        return true;
    if (did_web_url(consumer, c->development, url) == OK)
        return outgoing_allowed(c, url);
    if (did_key_set(consumer, NULL, &set) != OK)
        return false;
    jwks_unref(set);
    return true;
}

/* --- did:web */

/* One part between colons: no empty one, and none that climbs. */
static bool part_ok(const char *p, size_t n)
{
    size_t i;

    if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
        return false;
    for (i = 0; i < n; i++) {
        if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') ||
              (p[i] >= '0' && p[i] <= '9') || p[i] == '.' || p[i] == '-' || p[i] == '_'))
            return false;
    }
    return true;
}

/* "host" or "host%3Aport"; other escapes have no place in a host. Appends it as host:port. */
static bool host_add(const char *p, size_t n, char *url, size_t *at)
{
    size_t host = 0, i;

    while (host < n && p[host] != '%')
        host++;
    if (!part_ok(p, host))
        return false;
    memcpy(url + *at, p, host);
    *at += host;
    if (host == n)
        return true;
    if (n - host < 4 || n - host > 8 || strncasecmp(p + host, "%3A", 3) != 0)
        return false;
    url[(*at)++] = ':';
    for (i = host + 3; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        url[(*at)++] = p[i];
    }
    return true;
}

int did_web_url(const char *did, bool development, char url[DID_URL_BYTES])
{
    const char *p = did + strlen(WEB);
    size_t n, at;
    bool path;

    if (!starts(did, WEB))
        return ERR_UNKNOWN;
    if (strlen(did) > DID_BYTES_MAX)
        return ERR_MALFORMED;
    n = strcspn(p, ":");
    /* Whatever has a name has a certificate, in development too. */
    at = (size_t)snprintf(url, DID_URL_BYTES, "%s://",
                          development && starts(p, "127.") ? "http" : "https");
    if (!host_add(p, n, url, &at))
        return ERR_MALFORMED;
    p += n;
    path = *p == ':';
    while (*p == ':') {
        n = strcspn(++p, ":");
        if (!part_ok(p, n))
            return ERR_MALFORMED;
        url[at++] = '/';
        memcpy(url + at, p, n); /* a DID is shorter than a URL may be */
        at += n;
        p += n;
    }
    snprintf(url + at, DID_URL_BYTES - at, "%s/did.json", path ? "" : "/.well-known");
    return OK;
}

/* --- keys in multibase and multicodec */

static int base58_digit(char c)
{
    static const char letters[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    const char *at = c ? strchr(letters, c) : NULL;

    return at ? (int)(at - letters) : -1;
}

/* The number as bytes, without the leading zeros that leading '1's stand for: no key begins so.
 * Returns the length, 0 when it is none or too long. */
static size_t base58_decode(const char *text, size_t n, uint8_t out[KEY_BYTES_MAX])
{
    uint8_t big[KEY_BYTES_MAX] = {0}; /* the least byte last */
    size_t used = 0, i, j;

    for (i = 0; i < n; i++) {
        int carry = base58_digit(text[i]);

        if (carry < 0 || (i == 0 && carry == 0))
            return 0;
        for (j = 0; j < used || carry; j++) {
            if (j == KEY_BYTES_MAX)
                return 0;
            carry += 58 * big[KEY_BYTES_MAX - 1 - j];
            big[KEY_BYTES_MAX - 1 - j] = (uint8_t)(carry & 0xff);
            carry >>= 8;
            if (j >= used)
                used = j + 1;
        }
    }
    memcpy(out, big + KEY_BYTES_MAX - used, used);
    return used;
}

static EVP_PKEY *ec_key(const char *group, const uint8_t *point, size_t n)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY *key = NULL;

    if (ctx && bld &&
        OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, n) == 1)
        params = OSSL_PARAM_BLD_to_param(bld);
    if (!params || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* "z" and base58 of a multicodec public key: 0xed Ed25519, 0x1200 P-256, 0x1201 P-384. */
static json_t *multibase_jwk(const char *text, size_t n)
{
    uint8_t raw[KEY_BYTES_MAX];
    size_t len = n > 1 && text[0] == 'z' ? base58_decode(text + 1, n - 1, raw) : 0;
    EVP_PKEY *key = NULL;
    json_t *jwk = NULL;

    ERR_clear_error();
    if (len == 2 + 32 && raw[0] == 0xed && raw[1] == 0x01)
        key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw + 2, 32);
    else if (len == 2 + 33 && raw[0] == 0x80 && raw[1] == 0x24)
        key = ec_key("prime256v1", raw + 2, 33);
    else if (len == 2 + 49 && raw[0] == 0x81 && raw[1] == 0x24)
        key = ec_key("secp384r1", raw + 2, 49);
    if (key)
        jwk = signing_public_jwk(key);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return jwk;
}

/* Takes keys; the set that jwks_parse makes of them, so that one place says which keys are good. A
 * text that was made with too little memory may lack something. */
static int set_of(json_t *keys, unsigned watch, struct jwks **out)
{
    json_t *doc = keys ? json_pack("{s:o}", "keys", keys) : NULL;
    char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    char err[128];
    unsigned ignored;
    int rc = ERR_NOMEM;

    if (text && !memory_was_short(watch))
        rc = jwks_parse(text, strlen(text), out, &ignored, err, sizeof(err));
    free(text);
    json_decref(doc);
    return rc == ERR_LIMIT ? ERR_UNKNOWN : rc;
}

/* Takes jwk; kid NULL: it loses its name. */
static bool jwk_add(json_t *keys, json_t *jwk, const char *kid)
{
    bool ok = jwk != NULL;

    if (ok && kid)
        ok = json_object_set_new(jwk, "kid", json_string(kid)) == 0;
    else if (ok)
        json_object_del(jwk, "kid");
    if (ok)
        return json_array_append_new(keys, jwk) == 0;
    json_decref(jwk);
    return false;
}

int did_key_set(const char *did, const char *kid, struct jwks **out)
{
    const char *text = did + strlen(KEY);
    unsigned watch = memory_watch();
    json_t *keys, *jwk;

    *out = NULL;
    if (!starts(did, KEY))
        return ERR_UNKNOWN;
    if (strlen(did) > DID_BYTES_MAX)
        return ERR_MALFORMED;
    jwk = multibase_jwk(text, strlen(text));
    if (!jwk)
        return memory_was_short(watch) ? ERR_NOMEM : ERR_MALFORMED;
    keys = json_array();
    if (jwk_add(keys, jwk, kid))
        return set_of(keys, watch, out);
    json_decref(keys);
    return ERR_NOMEM;
}

/* --- documents */

/* The method goes by this kid: whole, or as the fragment that both may be written as. */
static bool method_is(const json_t *method, const char *did, const char *kid)
{
    const char *id = strict_json_text(method, "id");
    const char *controller = strict_json_text(method, "controller");
    size_t n = strlen(did);

    /* Somebody else's key in this document speaks for somebody else. */
    if (!id ||
        (json_object_get(method, "controller") && (!controller || strcmp(controller, did) != 0)))
        return false;
    if (strncmp(id, did, n) == 0 && id[n] == '#')
        id += n;
    if (id[0] != '#')
        return false;
    if (!kid)
        return true;
    if (strncmp(kid, did, n) == 0 && kid[n] == '#')
        kid += n;
    return strcmp(id, kid) == 0 || (kid[0] != '#' && strcmp(id + 1, kid) == 0);
}

static json_t *method_jwk(const json_t *method)
{
    const json_t *jwk = json_object_get(method, "publicKeyJwk");
    const char *multibase = strict_json_text(method, "publicKeyMultibase");

    if (json_is_object(jwk))
        return json_deep_copy(jwk);
    return multibase ? multibase_jwk(multibase, strlen(multibase)) : NULL;
}

int did_document_set(const char *text, size_t n, const char *did, const char *kid,
                     struct jwks **out)
{
    unsigned watch = memory_watch();
    json_t *doc;
    int rc = strict_json_read(text, n, DID_DOCUMENT_BYTES_MAX, &doc);
    const char *id = strict_json_text(doc, "id");
    const json_t *methods = json_object_get(doc, "verificationMethod");
    json_t *keys = json_array();
    size_t i;

    *out = NULL;
    if (rc == OK && (!id || strcmp(id, did) != 0 || !json_is_array(methods)))
        rc = ERR_MALFORMED;
    if (rc == OK && !keys)
        rc = ERR_NOMEM;
    if (rc != OK)
        goto out;
    for (i = 0; i < json_array_size(methods) && i < DID_METHODS_MAX; i++) {
        const json_t *method = json_array_get(methods, i);

        /* A method of a kind that we don't take is left out, like a key of a JWK Set. */
        if (method_is(method, did, kid))
            (void)jwk_add(keys, method_jwk(method), kid);
    }
    if (json_array_size(keys) > 0)
        rc = set_of(json_incref(keys), watch, out);
    else
        rc = memory_was_short(watch) ? ERR_NOMEM : ERR_UNKNOWN;
out:
    json_decref(keys);
    json_decref(doc);
    return rc;
}
