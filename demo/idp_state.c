#include "demo/idp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

/* --- keys */

/* A retired key leaves the JWKS but stays at hand: tests sign with keys that are gone. */
static void keys_retire(struct idp *idp)
{
    time_t now = time(NULL);

    for (size_t i = 0; i < idp->key_count; i++) {
        struct idp_key *k = &idp->keys[i];
        if (k->retire_at && k->retire_at <= now)
            k->published = false;
    }
}

struct jose_key *idp_key_find(struct idp *idp, const char *kid)
{
    for (size_t i = 0; i < idp->key_count; i++) {
        if (strcmp(idp->keys[i].key->kid, kid) == 0)
            return idp->keys[i].key;
    }
    return NULL;
}

int idp_key_remove(struct idp *idp, const char *kid)
{
    for (size_t i = 0; i < idp->key_count; i++) {
        if (strcmp(idp->keys[i].key->kid, kid) != 0)
            continue;
        jose_key_free(idp->keys[i].key);
        memmove(&idp->keys[i], &idp->keys[i + 1], (idp->key_count - i - 1) * sizeof(idp->keys[0]));
        idp->key_count--;
        return OK;
    }
    return ERR_UNKNOWN;
}

/* Room for one more: the oldest key that is no longer published goes. */
static int keys_make_room(struct idp *idp)
{
    if (idp->key_count < IDP_KEYS_MAX)
        return OK;
    keys_retire(idp);
    for (size_t i = 0; i < idp->key_count; i++) {
        if (!idp->keys[i].published && !idp->keys[i].current)
            return idp_key_remove(idp, idp->keys[i].key->kid);
    }
    return ERR_LIMIT;
}

int idp_key_add(struct idp *idp, enum jose_alg alg, const char *kid, bool published, bool current,
                struct jose_key **out)
{
    if (kid && idp_key_find(idp, kid))
        return ERR_BUSY;
    int err = keys_make_room(idp);
    if (err)
        return err;
    struct jose_key *key = jose_key_new(alg, kid);
    if (!key)
        return ERR_TLS;
    for (size_t i = 0; current && i < idp->key_count; i++) {
        if (idp->keys[i].key->alg == alg)
            idp->keys[i].current = false;
    }
    idp->keys[idp->key_count++] =
        (struct idp_key){.key = key, .published = published, .current = current};
    *out = key;
    return OK;
}

struct jose_key *idp_key_current(struct idp *idp, enum jose_alg alg)
{
    struct jose_key *key = NULL;

    for (size_t i = 0; i < idp->key_count; i++) {
        if (idp->keys[i].current && idp->keys[i].key->alg == alg)
            return idp->keys[i].key;
    }
    return idp_key_add(idp, alg, NULL, true, true, &key) ? NULL : key;
}

int idp_key_rotate(struct idp *idp, enum jose_alg alg, long keep_s, struct jose_key **out)
{
    int err = idp_key_add(idp, alg, NULL, true, true, out);

    for (size_t i = 0; !err && i < idp->key_count; i++) {
        struct idp_key *k = &idp->keys[i];
        if (k->key->alg == alg && !k->current && k->published && !k->retire_at)
            k->retire_at = time(NULL) + keep_s;
    }
    return err;
}

json_t *idp_jwks(struct idp *idp)
{
    json_t *keys = json_array();

    keys_retire(idp);
    for (size_t i = 0; i < idp->key_count; i++) {
        if (idp->keys[i].published && json_array_append_new(keys, jose_key_jwk(idp->keys[i].key))) {
            json_decref(keys);
            return NULL;
        }
    }
    return json_pack("{s:o}", "keys", keys);
}

/* --- clients */

static void client_release(struct idp_client *c)
{
    free(c->id);
    free(c->secret);
    free(c->typ);
    json_decref(c->claims);
    *c = (struct idp_client){0};
}

static struct idp_client *client_find(struct idp *idp, const char *id)
{
    for (size_t i = 0; i < idp->client_count; i++) {
        if (strcmp(idp->clients[i].id, id) == 0)
            return &idp->clients[i];
    }
    return NULL;
}

const struct idp_client *idp_client_find(const struct idp *idp, const char *id)
{
    for (size_t i = 0; i < idp->client_count; i++) {
        if (strcmp(idp->clients[i].id, id) == 0)
            return &idp->clients[i];
    }
    return NULL;
}

/* Reads entry into c, which the caller releases whatever comes back. */
static int client_read(const struct idp *idp, const json_t *entry, struct idp_client *c,
                       const char **why)
{
    const char *id = json_string_value(json_object_get(entry, "client_id"));
    const char *secret = json_string_value(json_object_get(entry, "client_secret"));
    const json_t *alg = json_object_get(entry, "alg");
    const json_t *typ = json_object_get(entry, "typ");
    const json_t *lifetime_s = json_object_get(entry, "lifetime_s");
    json_t *claims = json_object_get(entry, "claims");

    *c = (struct idp_client){.alg = idp->alg, .lifetime_s = idp->lifetime_s};
    *why = "client_id, client_secret: non-empty strings";
    if (!id || !*id || !secret || !*secret)
        return ERR_MALFORMED;
    *why = "alg: ES256, ES384, RS256, PS256 or EdDSA";
    if (alg && (!json_is_string(alg) || jose_alg_parse(json_string_value(alg), &c->alg) ||
                c->alg == JOSE_HS256 || c->alg == JOSE_NONE))
        return ERR_MALFORMED;
    *why = "lifetime_s: seconds, up to a day";
    if (lifetime_s)
        c->lifetime_s = (long)json_integer_value(lifetime_s);
    if (c->lifetime_s < 1 || c->lifetime_s > IDP_LIFETIME_MAX_S)
        return ERR_MALFORMED;
    *why = "claims: an object";
    if (claims && !json_is_object(claims))
        return ERR_MALFORMED;
    *why = "typ: a string";
    if (typ && !json_is_string(typ))
        return ERR_MALFORMED;
    *why = "out of memory";
    c->id = strdup(id);
    c->secret = strdup(secret);
    c->typ = typ ? strdup(json_string_value(typ)) : NULL;
    c->claims = claims ? json_deep_copy(claims) : json_object();
    return c->id && c->secret && c->claims && (!typ || c->typ) ? OK : ERR_NOMEM;
}

int idp_client_put(struct idp *idp, const json_t *entry, const char **why)
{
    struct idp_client c;
    int err = client_read(idp, entry, &c, why);

    if (err) {
        client_release(&c);
        return err;
    }
    struct idp_client *slot = client_find(idp, c.id);
    if (slot) {
        client_release(slot);
    } else if (idp->client_count < IDP_CLIENTS_MAX) {
        slot = &idp->clients[idp->client_count++];
    } else {
        client_release(&c);
        *why = "too many clients";
        return ERR_LIMIT;
    }
    *slot = c;
    return OK;
}

int idp_client_remove(struct idp *idp, const char *id)
{
    struct idp_client *c = client_find(idp, id);

    if (!c)
        return ERR_UNKNOWN;
    client_release(c);
    *c = idp->clients[--idp->client_count];
    idp->clients[idp->client_count] = (struct idp_client){0};
    return OK;
}

/* A version 4 UUID (RFC 9562), for jti. */
static int uuid_make(char out[37])
{
    char hex[33];
    int err = jose_random_hex(hex, 16);

    if (err)
        return err;
    hex[12] = '4';
    hex[16] = "89ab"[hex[16] & 3];
    snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return OK;
}

json_t *idp_claims(const struct idp *idp, const char *client_id, json_t *claims, long lifetime_s)
{
    char jti[37];
    json_int_t now = (json_int_t)time(NULL);
    const char *name;
    json_t *value;

    if (uuid_make(jti))
        return NULL;
    json_t *out = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s}", "iss", idp->issuer, "sub",
                            client_id, "aud", "sluice", "client_id", client_id, "iat", now, "exp",
                            now + (json_int_t)lifetime_s, "jti", jti);
    if (!out)
        return NULL;
    json_object_foreach(claims, name, value)
    {
        if (json_is_null(value))
            json_object_del(out, name);
        else if (json_object_set(out, name, value))
            goto fail;
    }
    return out;
fail:
    json_decref(out);
    return NULL;
}

void idp_token_remember(struct idp *idp, const char *token, long lifetime_s)
{
    struct idp_token *t = &idp->tokens[idp->token_count++ % IDP_TOKENS_MAX];

    SHA256((const unsigned char *)token, strlen(token), t->digest);
    t->expires = time(NULL) + lifetime_s;
    t->revoked = false;
}

struct idp_token *idp_token_find(struct idp *idp, const char *token)
{
    size_t n = idp->token_count < IDP_TOKENS_MAX ? idp->token_count : IDP_TOKENS_MAX;
    unsigned char digest[32];

    SHA256((const unsigned char *)token, strlen(token), digest);
    for (size_t i = 0; i < n; i++)
        if (memcmp(idp->tokens[i].digest, digest, sizeof(digest)) == 0)
            return &idp->tokens[i];
    return NULL;
}

void idp_release(struct idp *idp)
{
    for (size_t i = 0; i < idp->key_count; i++)
        jose_key_free(idp->keys[i].key);
    for (size_t i = 0; i < idp->client_count; i++)
        client_release(&idp->clients[i]);
    json_decref(idp->jwks_override);
    free(idp->issuer);
    if (idp->http)
        evhttp_free(idp->http);
    if (idp->base)
        event_base_free(idp->base);
}
