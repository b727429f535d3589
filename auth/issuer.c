#include "auth/issuer.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "auth/b64url.h"
#include "auth/identity.h"
#include "auth/jwt.h"
#include "auth/memory.h"
#include "auth/signing_key.h"
#include "base/alloc.h"

#define JTI_RANDOM_BYTES 16

struct issuer {
    const struct config *config;     /* a reference; the key's PEM and all texts are its */
    const struct issuer_config *own; /* NULL: none */
    struct signing_key key;
    json_t *jwks;
};

static const struct issuer_config *own_of(const struct config *c)
{
    size_t i;

    for (i = 0; i < c->nissuers; i++) {
        if (c->issuers[i].signing_keys.count > 0)
            return &c->issuers[i];
    }
    return NULL;
}

/* Everything that can fail comes before anything changes. */
int issuer_config(struct issuer *i, const struct config *c, char *err, size_t err_bytes)
{
    const struct issuer_config *own = own_of(c);
    struct signing_key key = {0};
    json_t *jwks = NULL;
    const char *why = "";

    if (own) {
        jwks = signing_keys_jwks(own, &why);
        if (!jwks || signing_key_load(own->signing_keys.at[0], own->algorithms, &key, &why) != OK) {
            snprintf(err, err_bytes, "signing_keys of %s: %s", own->issuer, why);
            json_decref(jwks);
            return ERR_CONFIG;
        }
    }
    signing_key_clear(&i->key);
    json_decref(i->jwks);
    config_unref(i->config);
    i->config = config_ref(c);
    i->own = own;
    i->key = key;
    i->jwks = jwks;
    return OK;
}

struct issuer *issuer_new(const struct config *c, char *err, size_t err_bytes)
{
    struct issuer *i = sl_calloc(1, sizeof(*i));

    if (!i) {
        snprintf(err, err_bytes, "issuer: out of memory");
        return NULL;
    }
    if (issuer_config(i, c, err, err_bytes) == OK)
        return i;
    issuer_free(i);
    return NULL;
}

void issuer_free(struct issuer *i)
{
    if (!i)
        return;
    signing_key_clear(&i->key);
    json_decref(i->jwks);
    config_unref(i->config);
    sl_free(i);
}

bool issuer_own(const struct issuer *i)
{
    return i->own != NULL;
}

const char *issuer_name(const struct issuer *i)
{
    return i->own->issuer;
}

const char *issuer_audience(const struct issuer *i)
{
    return i->own->audience.at[0];
}

/* --- what a token says */

static bool put_text(json_t *claims, const char *name, const char *text)
{
    return !name || !text || !*text || json_object_set_new(claims, name, json_string(text)) == 0;
}

static bool put_topics(json_t *claims, const char *name, const struct issue *what)
{
    size_t bytes = 0, i;
    json_t *list;

    for (i = 0; i < what->ntopics; i++)
        bytes += strlen(what->topics[i]) + 3; /* with quotes and comma */
    if (!name || what->ntopics == 0 || what->ntopics > IDENTITY_TOPICS_MAX ||
        bytes > ISSUER_TOPICS_BYTES_MAX)
        return true;
    list = json_array();
    for (i = 0; i < what->ntopics; i++)
        (void)json_array_append_new(list, json_string(what->topics[i]));
    return json_array_size(list) == what->ntopics ? json_object_set_new(claims, name, list) == 0
                                                  : (json_decref(list), false);
}

static bool put_operations(json_t *claims, const char *name, unsigned operations)
{
    static const struct {
        const char *name;
        unsigned bit;
    } names[] = {{"read", OP_READ},
                 {"write", OP_WRITE},
                 {"manage", OP_MANAGE},
                 {"describe_configs", OP_DESCRIBE_CONFIGS}};
    bool ok = true;
    json_t *list;
    size_t i;

    if (!name || operations == 0)
        return true;
    list = json_array();
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (operations & names[i].bit)
            ok = ok && json_array_append_new(list, json_string(names[i].name)) == 0;
    }
    return ok ? json_object_set_new(claims, name, list) == 0 : (json_decref(list), false);
}

/* The mapping's own claims first, so that none of them can stand in for what follows. */
static json_t *claims_of(const struct issuer *i, const struct issue *what, int64_t issued,
                         int64_t expires, const char *jti)
{
    const struct claim_names *n = &i->own->claims;
    const char *client = n->client ? n->client : "client_id";
    const char *subject = what->subject ? what->subject : what->transfer;
    json_t *c = json_object();

    if (put_text(c, n->transfer, what->transfer) &&
        put_text(c, n->participant, what->participant) &&
        put_text(c, n->agreement, what->agreement) && put_text(c, n->asset, what->asset) &&
        put_text(c, n->group_prefix, what->group_prefix) && put_text(c, client, what->client) &&
        put_topics(c, n->topics, what) && put_operations(c, n->operations, what->operations) &&
        put_text(c, "iss", i->own->issuer) && put_text(c, "sub", subject) &&
        put_text(c, "aud", issuer_audience(i)) && put_text(c, "jti", jti) &&
        json_object_set_new(c, "iat", json_integer(issued)) == 0 &&
        json_object_set_new(c, "exp", json_integer(expires)) == 0)
        return c;
    json_decref(c);
    return NULL;
}

static bool make_jti(char jti[ISSUER_JTI_BYTES])
{
    uint8_t raw[JTI_RANDOM_BYTES];

    if (RAND_bytes(raw, sizeof(raw)) != 1)
        return false;
    b64url_encode(raw, sizeof(raw), jti);
    return true;
}

int issuer_sign(struct issuer *i, const struct issue *what, int64_t now_s, char **token,
                int64_t *expires_s, char jti[ISSUER_JTI_BYTES])
{
    int64_t issued = what->not_before_iat > now_s ? what->not_before_iat : now_s;
    unsigned watch = memory_watch();
    int64_t expires;
    json_t *claims;
    int rc;

    *token = NULL;
    *expires_s = 0;
    jti[0] = '\0';
    if (!i->own)
        return ERR_CONFIG;
    expires = issued + i->own->token_life_s;
    if (what->expires && what->expires < expires)
        expires = what->expires;
    if (expires <= issued)
        return ERR_DENIED;
    claims = make_jti(jti) ? claims_of(i, what, issued, expires, jti) : NULL;
    /* Claims that were made with too little memory may lack one. */
    rc = claims && !memory_was_short(watch) ? signing_key_sign(&i->key, claims, token) : ERR_NOMEM;
    json_decref(claims);
    if (rc == OK && strlen(*token) > JWT_BYTES_MAX) {
        issuer_token_free(*token);
        *token = NULL;
        rc = ERR_LIMIT;
    }
    if (rc == OK)
        *expires_s = expires;
    return rc;
}

void issuer_token_free(char *token)
{
    signing_token_free(token);
}

/* --- what everybody may know */

json_t *issuer_jwks(const struct issuer *i)
{
    return i->jwks ? json_incref(i->jwks) : json_pack("{s:[]}", "keys");
}

json_t *issuer_metadata(const struct issuer *i, const char *keys_url, const char *token_url)
{
    unsigned watch = memory_watch();
    json_t *m;

    if (!i->own)
        return NULL;
    m = json_pack("{s:s, s:[], s:[s], s:[s], s:[s], s:[s]}", "issuer", i->own->issuer,
                  "response_types_supported", "subject_types_supported", "public",
                  "id_token_signing_alg_values_supported", i->key.alg, "grant_types_supported",
                  "client_credentials", "token_endpoint_auth_methods_supported",
                  "client_secret_basic");
    if (put_text(m, "jwks_uri", keys_url) && put_text(m, "token_endpoint", token_url) &&
        !memory_was_short(watch))
        return m;
    json_decref(m);
    return NULL;
}
