#include "auth/jwt.h"

#include <openssl/crypto.h>
#include <string.h>

#include "auth/jws.h"
#include "auth/jwt_claims.h"
#include "auth/jwt_veto.h"
#include "auth/strict_json.h"
#include "base/log.h"

#define THUMBPRINT_CHARS 43

struct token {
    struct jws jws;
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
    case JWT_TOO_LONG:
        return "lives too long, or says not since when";
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

/* RFC 9068's type, plain JWT or none. */
static enum jwt_verdict type_check(struct token *t)
{
    static const char *const plain[] = {"", "JWT", NULL};
    static const char *const access[] = {"at+jwt", NULL};

    t->plain_jwt = jws_type_is(&t->jws, plain);
    return t->plain_jwt || jws_type_is(&t->jws, access) ? JWT_OK : JWT_TYPE;
}

static enum jwt_verdict veto_ask(const struct token *t, const struct issuer_config *c,
                                 int64_t expires)
{
    if (!c->second_opinion || !t->jws.alg->veto || !t->plain_jwt)
        return JWT_OK;
    switch (
        jwt_veto(t->jws.text, t->jws.len, t->jws.key->pkey, t->jws.alg->name, c->issuer, expires)) {
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
    const json_t *cnf = json_object_get(t->jws.claims, "cnf");
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

    i = issuer_find(keys, t->jws.claims);
    if (i < 0)
        return JWT_ISSUER;
    c = &keys->config->issuers[i];
    if (strlen(c->issuer) >= sizeof(out->issuer))
        return JWT_CLAIMS;
    memcpy(out->issuer, c->issuer, strlen(c->issuer) + 1);
    out->shared_subjects = c->shared_subjects;
    v = jws_choose_algorithm(&t->jws, c->algorithms);
    if (v == JWT_OK)
        v = type_check(t);
    if (v == JWT_OK)
        v = keys->sets[i] ? jws_choose_key(&t->jws, keys->sets[i]) : JWT_NO_KEYS;
    if (v == JWT_OK)
        v = jws_check_signature(&t->jws);
    if (v == JWT_OK)
        v = jwt_claims_read(t->jws.claims, c, out);
    if (v == JWT_OK)
        v = veto_ask(t, c, out->expires);
    if (v == JWT_OK && use)
        v = jwt_times_check(t->jws.claims, c, now_s);
    if (v == JWT_OK && use)
        v = binding_check(t, thumbprint, out);
    return v;
}

static enum jwt_verdict check(const char *text, size_t n, const struct keyring *keys, bool use,
                              int64_t now_s, const char *thumbprint, struct identity *out)
{
    struct token t;
    char issuer[IDENTITY_TEXT_MAX];
    enum jwt_verdict v;

    memset(out, 0, sizeof(*out));
    v = jws_read(&t.jws, text, n);
    if (v == JWT_OK)
        v = token_check(&t, keys, use, now_s, thumbprint, out);
    jws_clear(&t.jws);
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
