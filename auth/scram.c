#include "auth/scram.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "auth/scram_priv.h"

static const char base64_text[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const EVP_MD *scram_md(enum scram_hash hash)
{
    return hash == SCRAM_SHA_512 ? EVP_sha512() : EVP_sha256();
}

size_t scram_bytes(enum scram_hash hash)
{
    return hash == SCRAM_SHA_512 ? 64 : 32;
}

size_t scram_base64(char *out, const uint8_t *p, size_t n)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;
        if (i + 1 < n)
            v |= (uint32_t)p[i + 1] << 8;
        if (i + 2 < n)
            v |= p[i + 2];
        out[len++] = base64_text[v >> 18];
        out[len++] = base64_text[v >> 12 & 63];
        out[len++] = (char)(i + 1 < n ? base64_text[v >> 6 & 63] : '=');
        out[len++] = (char)(i + 2 < n ? base64_text[v & 63] : '=');
    }
    return len;
}

static int base64_value(char c)
{
    const char *at = c ? strchr(base64_text, c) : NULL;
    return at ? (int)(at - base64_text) : -1;
}

int scram_unbase64(struct scram_text t, uint8_t *out, size_t max)
{
    if (!t.n || t.n % 4 || t.n / 4 * 3 > max + 2)
        return ERR_MALFORMED;
    size_t pad = t.p[t.n - 1] != '=' ? 0 : t.p[t.n - 2] != '=' ? 1 : 2;
    size_t len = t.n / 4 * 3 - pad;
    if (len > max)
        return ERR_MALFORMED;
    uint32_t v = 0;
    for (size_t i = 0; i < t.n; i++) {
        int d = i < t.n - pad ? base64_value(t.p[i]) : 0;
        if (d < 0)
            return ERR_MALFORMED;
        v = v << 6 | (uint32_t)d;
        if (i % 4 != 3)
            continue;
        size_t at = i / 4 * 3;
        for (size_t k = 0; k < 3; k++) {
            uint8_t byte = (uint8_t)(v >> (16 - 8 * k));
            if (at + k < len)
                out[at + k] = byte;
            else if (byte)
                return ERR_MALFORMED;
        }
        v = 0;
    }
    return (int)len;
}

bool scram_plain_text(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

bool scram_printable(struct scram_text t)
{
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] < 0x21 || t.p[i] > 0x7e)
            return false;
    return true;
}

bool scram_attribute(struct scram_text *t, char *name, struct scram_text *value)
{
    if (t->n < 3 || t->p[1] != '=')
        return false;
    const char *comma = memchr(t->p, ',', t->n);
    size_t len = comma ? (size_t)(comma - t->p) : t->n;
    /* A comma must be followed by something, and a value isn't empty. */
    if (len < 3 || (comma && len + 1 == t->n))
        return false;
    *name = t->p[0];
    *value = (struct scram_text){t->p + 2, len - 2};
    size_t used = comma ? len + 1 : len;
    t->p += used;
    t->n -= used;
    return true;
}

bool scram_extensions(struct scram_text t)
{
    while (t.n) {
        char name;
        struct scram_text value;
        if (!scram_attribute(&t, &name, &value))
            return false;
        bool letter = (name >= 'a' && name <= 'z') || (name >= 'A' && name <= 'Z');
        if (!letter || name == 'm')
            return false;
    }
    return true;
}

int scram_hmac(enum scram_hash hash, const uint8_t *key, const void *p, size_t n, uint8_t *out)
{
    unsigned len = 0;
    if (!HMAC(scram_md(hash), key, (int)scram_bytes(hash), p, n, out, &len) ||
        len != scram_bytes(hash))
        return ERR_NOMEM;
    return OK;
}

void scram_cache_clear(struct scram_cache *c)
{
    OPENSSL_cleanse(c, sizeof(*c));
}

void scram_clear(struct scram *s)
{
    OPENSSL_cleanse(s, sizeof(*s));
}

/* Bytes behind each other, without a terminator; the caller has counted the room. */
static char *put(char *to, const char *p, size_t n)
{
    memcpy(to, p, n);
    return to + n;
}

int scram_random_nonce(char out[SCRAM_NONCE_LEN + 1])
{
    uint8_t bytes[SCRAM_NONCE_LEN / 4 * 3];
    if (RAND_bytes(bytes, (int)sizeof(bytes)) != 1)
        return ERR_IO;
    out[scram_base64(out, bytes, sizeof(bytes))] = 0;
    return OK;
}

int scram_first(struct scram *s, enum scram_hash hash, const char *user, const char *nonce,
                char *out, size_t *out_len, const char **why)
{
    char made[SCRAM_NONCE_LEN + 1];
    *s = (struct scram){.hash = hash, .state = SCRAM_NEW};
    size_t user_len = strlen(user);
    if (!user_len || user_len > SCRAM_USER_MAX || !scram_plain_text(user)) {
        *why = "the user name is not 1 to 255 bytes without control characters";
        return ERR_CONFIG;
    }
    if (!nonce) {
        if (scram_random_nonce(made)) {
            *why = "no random numbers";
            return ERR_IO;
        }
        nonce = made;
    }
    size_t nonce_len = strlen(nonce);
    if (!nonce_len || nonce_len > SCRAM_NONCE_LEN ||
        !scram_printable((struct scram_text){nonce, nonce_len}) || strchr(nonce, ',')) {
        *why = "the nonce is not usable";
        return ERR_CONFIG;
    }
    char *p = put(s->bare, "n=", 2);
    for (const char *u = user; *u; u++) {
        /* saslname: the two characters that mean something are escaped. */
        if (*u == ',')
            p = put(p, "=2C", 3);
        else if (*u == '=')
            p = put(p, "=3D", 3);
        else
            *p++ = *u;
    }
    p = put(p, ",r=", 3);
    p = put(p, nonce, nonce_len);
    s->bare_len = (size_t)(p - s->bare);
    *out_len = (size_t)(put(put(out, "n,,", 3), s->bare, s->bare_len) - out);
    s->state = SCRAM_FIRST_SENT;
    return OK;
}

struct server_first {
    struct scram_text nonce; /* ours and the server's */
    uint8_t salt[SCRAM_SALT_MAX];
    uint32_t salt_len, iterations;
};

static int read_iterations(struct scram_text t, uint32_t *out)
{
    uint32_t v = 0;
    if (t.n > 7 || t.p[0] == '0')
        return ERR_LIMIT;
    for (size_t i = 0; i < t.n; i++) {
        if (t.p[i] < '0' || t.p[i] > '9')
            return ERR_MALFORMED;
        v = v * 10 + (uint32_t)(t.p[i] - '0');
    }
    if (v < SCRAM_ITERATIONS_MIN || v > SCRAM_ITERATIONS_MAX)
        return ERR_LIMIT;
    *out = v;
    return OK;
}

static int read_server_first(const struct scram *s, struct scram_text t, struct server_first *f,
                             const char **why)
{
    char name;
    struct scram_text value;
    *why = "the first message is malformed";
    if (!scram_attribute(&t, &name, &value) || name != 'r' || !scram_printable(value))
        return ERR_MALFORMED;
    f->nonce = value;
    const char *mark = s->bare + 2;
    while (*mark != ',') /* a user's comma is escaped */
        mark++;
    const char *own = mark + 3;
    size_t own_len = (size_t)(s->bare + s->bare_len - own);
    if (value.n <= own_len || memcmp(value.p, own, own_len) != 0) {
        *why = "the nonce is not an answer to ours";
        return ERR_MALFORMED;
    }
    if (!scram_attribute(&t, &name, &value) || name != 's')
        return ERR_MALFORMED;
    int salt_len = scram_unbase64(value, f->salt, sizeof(f->salt));
    if (salt_len < 1) {
        *why = "the salt is malformed or too long";
        return ERR_MALFORMED;
    }
    f->salt_len = (uint32_t)salt_len;
    if (!scram_attribute(&t, &name, &value) || name != 'i')
        return ERR_MALFORMED;
    int e = read_iterations(value, &f->iterations);
    if (e) {
        *why = "the iteration count is outside 4096 to 1000000";
        return e;
    }
    return scram_extensions(t) ? OK : ERR_MALFORMED;
}

static int salted_password(enum scram_hash hash, const char *password, const struct server_first *f,
                           struct scram_cache *cache, uint8_t *out)
{
    size_t len = scram_bytes(hash);
    for (unsigned i = 0; cache && i < SCRAM_CACHE_MAX; i++) {
        if (cache->at[i].hash == hash && cache->at[i].iterations == f->iterations &&
            cache->at[i].salt_len == f->salt_len &&
            !memcmp(cache->at[i].salt, f->salt, f->salt_len)) {
            memcpy(out, cache->at[i].salted, len);
            return OK;
        }
    }
    if (PKCS5_PBKDF2_HMAC(password, (int)strlen(password), f->salt, (int)f->salt_len,
                          (int)f->iterations, scram_md(hash), (int)len, out) != 1)
        return ERR_NOMEM;
    if (cache) {
        unsigned i = cache->next++ % SCRAM_CACHE_MAX;
        cache->at[i].hash = hash;
        cache->at[i].iterations = f->iterations;
        cache->at[i].salt_len = f->salt_len;
        memcpy(cache->at[i].salt, f->salt, f->salt_len);
        memcpy(cache->at[i].salted, out, len);
    }
    return OK;
}

/* ClientProof into proof, ServerSignature into s (RFC 5802, 3). */
static int prove(struct scram *s, const uint8_t *salted, const char *auth, size_t auth_len,
                 uint8_t *proof)
{
    uint8_t key[SCRAM_HASH_MAX], stored[SCRAM_HASH_MAX], signature[SCRAM_HASH_MAX];
    size_t len = scram_bytes(s->hash);
    unsigned stored_len = 0;
    int e = scram_hmac(s->hash, salted, "Client Key", 10, key);
    if (!e && EVP_Digest(key, len, stored, &stored_len, scram_md(s->hash), NULL) != 1)
        e = ERR_NOMEM;
    if (!e)
        e = scram_hmac(s->hash, stored, auth, auth_len, signature);
    for (size_t i = 0; !e && i < len; i++)
        proof[i] = key[i] ^ signature[i];
    if (!e)
        e = scram_hmac(s->hash, salted, "Server Key", 10, key);
    if (!e)
        e = scram_hmac(s->hash, key, auth, auth_len, s->signature);
    OPENSSL_cleanse(key, sizeof(key));
    OPENSSL_cleanse(stored, sizeof(stored));
    OPENSSL_cleanse(signature, sizeof(signature));
    return e;
}

int scram_final(struct scram *s, const char *password, struct scram_cache *cache, const void *p,
                size_t n, char *out, size_t *out_len, const char **why)
{
    struct server_first f = {.nonce = {NULL, 0}};
    uint8_t salted[SCRAM_HASH_MAX], proof[SCRAM_HASH_MAX] = {0};
    char auth[sizeof(s->bare) + (size_t)2 * SCRAM_MESSAGE_MAX];

    if (s->state != SCRAM_FIRST_SENT || n > SCRAM_MESSAGE_MAX / 2 || memchr(p, 0, n)) {
        *why = "an unexpected, oversized or binary first message";
        return ERR_MALFORMED;
    }
    if (!*password || !scram_plain_text(password)) {
        *why = "the password is empty or has control characters";
        return ERR_CONFIG;
    }
    int e = read_server_first(s, (struct scram_text){p, n}, &f, why);
    if (e)
        return e;
    int final_len = snprintf(out, SCRAM_MESSAGE_MAX, "c=biws,r=%.*s", (int)f.nonce.n, f.nonce.p);
    int auth_len = snprintf(auth, sizeof(auth), "%.*s,%.*s,%.*s", (int)s->bare_len, s->bare, (int)n,
                            (const char *)p, final_len, out);
    *why = "out of memory";
    e = salted_password(s->hash, password, &f, cache, salted);
    if (!e)
        e = prove(s, salted, auth, (size_t)auth_len, proof);
    OPENSSL_cleanse(salted, sizeof(salted));
    if (e)
        return e;
    /* 9 + nonce (< 512) + 3 + 88 characters: inside SCRAM_MESSAGE_MAX. */
    char *end = put(out + final_len, ",p=", 3);
    end += scram_base64(end, proof, scram_bytes(s->hash));
    *out_len = (size_t)(end - out);
    s->state = SCRAM_FINAL_SENT;
    return OK;
}

int scram_verify(struct scram *s, const void *p, size_t n, const char **why)
{
    struct scram_text t = {p, n}, value;
    uint8_t got[SCRAM_HASH_MAX];
    char name;

    if (s->state != SCRAM_FINAL_SENT || n > SCRAM_MESSAGE_MAX ||
        !scram_attribute(&t, &name, &value)) {
        *why = "the final message is malformed";
        return ERR_MALFORMED;
    }
    if (name == 'e') {
        *why = "the broker refused the password";
        return ERR_DENIED;
    }
    size_t len = scram_bytes(s->hash);
    if (name != 'v' || !scram_extensions(t) || scram_unbase64(value, got, len) != (int)len) {
        *why = "the final message is malformed";
        return ERR_MALFORMED;
    }
    if (CRYPTO_memcmp(got, s->signature, len)) {
        *why = "the broker does not know the password itself";
        return ERR_DENIED;
    }
    s->state = SCRAM_DONE;
    return OK;
}
