#include "auth/scram_server.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "auth/scram_priv.h"
#include "base/alloc.h"

#define SALT_BYTES       16
#define SECRET_BYTES     32
#define CLIENT_NONCE_MAX 256

/* What a server keeps of a password (RFC 5802, 3). */
struct keys {
    uint8_t stored[SCRAM_HASH_MAX], server[SCRAM_HASH_MAX];
};

struct entry {
    char name[SCRAM_USER_MAX + 1];
    uint64_t number;
    uint8_t mark[SECRET_BYTES]; /* of the password, under the table's secret */
    struct keys keys[2];        /* by enum scram_hash */
};

struct scram_users {
    uint8_t secret[SECRET_BYTES];
    uint64_t numbers;
    size_t count;
    struct entry at[SCRAM_USERS_MAX];
    struct entry nobody; /* what an unknown name is held against: random, so nothing fits */
};

/* --- users */

struct scram_users *scram_users_new(void)
{
    struct scram_users *u = sl_calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    if (RAND_bytes(u->secret, sizeof(u->secret)) != 1 ||
        RAND_bytes((uint8_t *)&u->nobody.mark, sizeof(u->nobody.mark)) != 1 ||
        RAND_bytes((uint8_t *)u->nobody.keys, sizeof(u->nobody.keys)) != 1) {
        scram_users_free(u);
        return NULL;
    }
    return u;
}

void scram_users_free(struct scram_users *u)
{
    if (!u)
        return;
    OPENSSL_cleanse(u, sizeof(*u));
    sl_free(u);
}

static int salt_of(const struct scram_users *u, enum scram_hash hash, const char *name,
                   uint8_t salt[SALT_BYTES])
{
    uint8_t sum[SCRAM_HASH_MAX];
    char text[SCRAM_USER_MAX + 8];
    int n = snprintf(text, sizeof(text), "salt%d %s", (int)hash, name);
    int rc = scram_hmac(SCRAM_SHA_256, u->secret, text, (size_t)n, sum);

    memcpy(salt, sum, SALT_BYTES);
    return rc;
}

static int mark_of(const struct scram_users *u, const void *password, size_t n,
                   uint8_t mark[SECRET_BYTES])
{
    uint8_t sum[SCRAM_HASH_MAX];
    int rc = scram_hmac(SCRAM_SHA_256, u->secret, password, n, sum);

    memcpy(mark, sum, SECRET_BYTES);
    OPENSSL_cleanse(sum, sizeof(sum));
    return rc;
}

static int keys_of(const struct scram_users *u, enum scram_hash hash, const struct scram_user *user,
                   struct keys *out)
{
    uint8_t salt[SALT_BYTES], salted[SCRAM_HASH_MAX], client[SCRAM_HASH_MAX];
    size_t len = scram_bytes(hash);
    unsigned stored_len = 0;
    int rc = salt_of(u, hash, user->name, salt);

    if (rc == OK &&
        PKCS5_PBKDF2_HMAC(user->password, (int)strlen(user->password), salt, SALT_BYTES,
                          SCRAM_SERVER_ITERATIONS, scram_md(hash), (int)len, salted) != 1)
        rc = ERR_NOMEM;
    if (rc == OK)
        rc = scram_hmac(hash, salted, "Client Key", 10, client);
    if (rc == OK && EVP_Digest(client, len, out->stored, &stored_len, scram_md(hash), NULL) != 1)
        rc = ERR_NOMEM;
    if (rc == OK)
        rc = scram_hmac(hash, salted, "Server Key", 10, out->server);
    OPENSSL_cleanse(salted, sizeof(salted));
    OPENSSL_cleanse(client, sizeof(client));
    return rc;
}

/* Every entry is looked at, whether it is found early or not. */
static const struct entry *entry_find(const struct scram_users *u, const char *name)
{
    const struct entry *found = NULL;

    for (size_t i = 0; i < u->count; i++)
        if (strcmp(u->at[i].name, name) == 0)
            found = &u->at[i];
    return found;
}

static int entry_make(struct scram_users *u, const struct scram_user *user, struct entry *out)
{
    const struct entry *old;
    uint8_t mark[SECRET_BYTES];
    size_t n = strlen(user->name);
    int rc;

    if (n == 0 || n > SCRAM_USER_MAX || !scram_plain_text(user->name) || !*user->password ||
        !scram_plain_text(user->password))
        return ERR_CONFIG;
    rc = mark_of(u, user->password, strlen(user->password), mark);
    if (rc != OK)
        return rc;
    old = entry_find(u, user->name);
    if (old && CRYPTO_memcmp(old->mark, mark, sizeof(mark)) == 0) {
        *out = *old;
        return OK;
    }
    memcpy(out->name, user->name, n + 1);
    memcpy(out->mark, mark, sizeof(mark));
    out->number = ++u->numbers;
    rc = keys_of(u, SCRAM_SHA_256, user, &out->keys[SCRAM_SHA_256]);
    if (rc == OK)
        rc = keys_of(u, SCRAM_SHA_512, user, &out->keys[SCRAM_SHA_512]);
    return rc;
}

int scram_users_set(struct scram_users *u, const struct scram_user *list, size_t n)
{
    struct entry *fresh;
    int rc = OK;

    if (n > SCRAM_USERS_MAX)
        return ERR_LIMIT;
    fresh = sl_calloc(SCRAM_USERS_MAX, sizeof(*fresh));
    if (!fresh)
        return ERR_NOMEM;
    for (size_t i = 0; i < n && rc == OK; i++)
        rc = entry_make(u, &list[i], &fresh[i]);
    if (rc == OK) {
        memcpy(u->at, fresh, sizeof(u->at));
        u->count = n;
    }
    OPENSSL_cleanse(fresh, SCRAM_USERS_MAX * sizeof(*fresh));
    sl_free(fresh);
    return rc;
}

bool scram_users_check(const struct scram_users *u, const char *name, const void *password,
                       size_t n)
{
    const struct entry *e = entry_find(u, name);
    const struct entry *against = e ? e : &u->nobody;
    uint8_t mark[SECRET_BYTES];
    bool same = mark_of(u, password, n, mark) == OK &&
                CRYPTO_memcmp(mark, against->mark, sizeof(mark)) == 0;

    OPENSSL_cleanse(mark, sizeof(mark));
    return same && e;
}

uint64_t scram_users_number(const struct scram_users *u, const char *name)
{
    const struct entry *e = entry_find(u, name);

    return e ? e->number : 0;
}

/* --- SCRAM */

void scram_server_clear(struct scram_server *s)
{
    OPENSSL_cleanse(s, sizeof(*s));
}

/* saslname up to its comma or the end: "=2C" and "=3D" are the only escapes. */
static bool read_name(struct scram_text t, char out[SCRAM_USER_MAX + 1])
{
    size_t len = 0;

    for (size_t i = 0; i < t.n; i++) {
        char c = t.p[i];

        if (c == '=') {
            if (t.n - i < 3 || (memcmp(t.p + i, "=2C", 3) != 0 && memcmp(t.p + i, "=3D", 3) != 0))
                return false;
            c = t.p[i + 2] == 'C' ? ',' : '=';
            i += 2;
        }
        if (len == SCRAM_USER_MAX || (unsigned char)c < 0x20 || c == 0x7f)
            return false;
        out[len++] = c;
    }
    out[len] = '\0';
    return len > 0;
}

/* gs2-header: "n" or "y" (the client thinks that we do not bind), an authorization name or none. */
static bool read_gs2(struct scram_server *s, struct scram_text *t, struct scram_text *authzid)
{
    const char *end = t->n > 2 ? memchr(t->p + 2, ',', t->n - 2) : NULL;
    size_t len;

    *authzid = (struct scram_text){NULL, 0};
    if (!end || (t->p[0] != 'n' && t->p[0] != 'y') || t->p[1] != ',')
        return false;
    len = (size_t)(end - t->p) + 1;
    if (len > sizeof(s->gs2))
        return false;
    if (len > 3) {
        if (len < 6 || memcmp(t->p + 2, "a=", 2) != 0)
            return false;
        *authzid = (struct scram_text){t->p + 4, len - 5};
    }
    memcpy(s->gs2, t->p, len);
    s->gs2_len = len;
    t->p += len;
    t->n -= len;
    return true;
}

static const char *read_first(struct scram_server *s, struct scram_text t, struct scram_text *nonce)
{
    struct scram_text authzid, value;
    char other[SCRAM_USER_MAX + 1];
    char name;

    if (!read_gs2(s, &t, &authzid))
        return "the first message is malformed, or asks for channel binding";
    memcpy(s->bare, t.p, t.n); /* at most SCRAM_MESSAGE_MAX: the whole message is */
    s->bare_len = t.n;
    if (!scram_attribute(&t, &name, &value) || name != 'n' || !read_name(value, s->user))
        return "the first message names no user";
    if (!scram_attribute(&t, &name, nonce) || name != 'r' || !scram_printable(*nonce) ||
        nonce->n > CLIENT_NONCE_MAX)
        return "the first message has no nonce that could be used";
    if (t.n > 0)
        return "the first message has an extension";
    if (authzid.p && (!read_name(authzid, other) || strcmp(other, s->user) != 0))
        return "it asks for another user's rights";
    return NULL;
}

int scram_server_first(struct scram_server *s, const struct scram_users *u, enum scram_hash hash,
                       const void *p, size_t n, const char *nonce, char *out, size_t *out_len,
                       const char **why)
{
    char made[SCRAM_NONCE_LEN + 1];
    char salt_text[SALT_BYTES * 2];
    uint8_t salt[SALT_BYTES];
    struct scram_text theirs;
    int len;

    *why = "an unexpected, oversized or binary first message";
    if (s->state != SCRAM_SERVER_NEW || n == 0 || n > SCRAM_MESSAGE_MAX / 2 || memchr(p, 0, n))
        return ERR_MALFORMED;
    s->hash = hash;
    *why = read_first(s, (struct scram_text){p, n}, &theirs);
    if (*why)
        return ERR_MALFORMED;
    *why = "no random numbers";
    if (!nonce) {
        if (scram_random_nonce(made) != OK)
            return ERR_IO;
        nonce = made;
    }
    if (salt_of(u, hash, s->user, salt) != OK)
        return ERR_NOMEM;
    s->nonce_len = theirs.n + strlen(nonce);
    len = snprintf(s->first, sizeof(s->first), "r=%.*s%s,s=%.*s,i=%d", (int)theirs.n, theirs.p,
                   nonce, (int)scram_base64(salt_text, salt, sizeof(salt)), salt_text,
                   SCRAM_SERVER_ITERATIONS);
    s->first_len = (size_t)len;
    memcpy(out, s->first, s->first_len);
    *out_len = s->first_len;
    s->state = SCRAM_SERVER_CHALLENGED;
    *why = NULL;
    return OK;
}

/* "c=" repeats the gs2 header, "r=" the whole nonce, "p=" is the proof and the end. */
static const char *read_final(const struct scram_server *s, struct scram_text t, uint8_t *proof,
                              size_t *unproved_len)
{
    char header[sizeof(s->gs2) / 3 * 4 + 8];
    size_t header_len = scram_base64(header, (const uint8_t *)s->gs2, s->gs2_len);
    const char *start = t.p;
    struct scram_text value;
    char name;

    if (!scram_attribute(&t, &name, &value) || name != 'c' || value.n != header_len ||
        memcmp(value.p, header, header_len) != 0)
        return "the final message does not repeat the first one's header";
    if (!scram_attribute(&t, &name, &value) || name != 'r' || value.n != s->nonce_len ||
        memcmp(value.p, s->first + 2, s->nonce_len) != 0)
        return "the final message does not repeat the nonce";
    *unproved_len = (size_t)(t.p - start) - 1; /* the comma behind the nonce is no part of it */
    if (!scram_attribute(&t, &name, &value) || name != 'p' || t.n > 0 ||
        scram_unbase64(value, proof, scram_bytes(s->hash)) != (int)scram_bytes(s->hash))
        return "the final message has no proof at its end";
    return NULL;
}

/* The proof is the client's key under its signature; the stored key is what that key hashes to. */
static int proof_holds(const struct scram_server *s, const struct keys *k, const char *auth,
                       size_t auth_len, const uint8_t *proof)
{
    uint8_t client[SCRAM_HASH_MAX], stored[SCRAM_HASH_MAX];
    size_t len = scram_bytes(s->hash);
    unsigned stored_len = 0;
    int rc = scram_hmac(s->hash, k->stored, auth, auth_len, client);

    for (size_t i = 0; rc == OK && i < len; i++)
        client[i] ^= proof[i];
    if (rc == OK && EVP_Digest(client, len, stored, &stored_len, scram_md(s->hash), NULL) != 1)
        rc = ERR_NOMEM;
    if (rc == OK && CRYPTO_memcmp(stored, k->stored, len) != 0)
        rc = ERR_DENIED;
    OPENSSL_cleanse(client, sizeof(client));
    return rc;
}

int scram_server_final(struct scram_server *s, const struct scram_users *u, const void *p, size_t n,
                       char *out, size_t *out_len, const char **why)
{
    char auth[3 * SCRAM_MESSAGE_MAX + 4];
    uint8_t proof[SCRAM_HASH_MAX] = {0}, signature[SCRAM_HASH_MAX];
    const struct entry *e = entry_find(u, s->user);
    const struct keys *k = &(e ? e : &u->nobody)->keys[s->hash];
    size_t unproved = 0;
    int auth_len, rc;

    *why = "an unexpected, oversized or binary final message";
    if (s->state != SCRAM_SERVER_CHALLENGED || n == 0 || n > SCRAM_MESSAGE_MAX || memchr(p, 0, n))
        return ERR_MALFORMED;
    *why = read_final(s, (struct scram_text){p, n}, proof, &unproved);
    if (*why)
        return ERR_MALFORMED;
    auth_len = snprintf(auth, sizeof(auth), "%.*s,%.*s,%.*s", (int)s->bare_len, s->bare,
                        (int)s->first_len, s->first, (int)unproved, (const char *)p);
    *why = "no such user, or not its password";
    rc = proof_holds(s, k, auth, (size_t)auth_len, proof);
    if (rc == OK && !e)
        rc = ERR_DENIED;
    if (rc == OK)
        rc = scram_hmac(s->hash, k->server, auth, (size_t)auth_len, signature);
    if (rc != OK)
        return rc;
    memcpy(out, "v=", 2);
    *out_len = 2 + scram_base64(out + 2, signature, scram_bytes(s->hash));
    s->state = SCRAM_SERVER_DONE;
    *why = NULL;
    return OK;
}
