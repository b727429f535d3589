#include "control/oauth_ask.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "auth/jwt.h"
#include "auth/secret.h"
#include "auth/text.h"
#include "base/log.h"
#include "base/loop.h"
#include "control/body.h"

#define FORM "application/x-www-form-urlencoded"

/* --- who asks */

/* Base64 of "id:secret" (RFC 7617). */
static bool basic_read(const char *encoded, struct oauth_client *out)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[2 * OAUTH_CLIENT_BYTES] = "";
    size_t used = 0;
    unsigned bits = 0, held = 0;
    bool ok = true;

    for (; *encoded && *encoded != '=' && ok; encoded++) {
        const char *at = strchr(letters, *encoded);

        ok = at && used < sizeof(text) - 1;
        if (!ok)
            break;
        held = (held << 6 | (unsigned)(at - letters)) & 0xffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            text[used++] = (char)(held >> bits & 0xff);
        }
    }
    char *colon = ok ? memchr(text, ':', used) : NULL;

    /* Texts with a NUL inside would be read as shorter ones. */
    ok = colon && strlen(text) == used && (size_t)(colon - text) < sizeof(out->id) &&
         strlen(colon + 1) < sizeof(out->secret);
    if (ok) {
        *colon = '\0';
        memcpy(out->id, text, strlen(text) + 1);
        memcpy(out->secret, colon + 1, strlen(colon + 1) + 1);
    }
    OPENSSL_cleanse(text, sizeof(text));
    return ok;
}

bool oauth_client_read(struct ask *a, struct oauth_client *out)
{
    const char *header = ask_header(a, "Authorization");
    size_t n;
    const char *form = ask_body(a, &n);
    int secret, id;

    memset(out, 0, sizeof(*out));
    secret = body_form(form, n, "client_secret", out->secret, sizeof(out->secret));
    id = body_form(form, n, "client_id", out->id, sizeof(out->id));
    if (header && strncasecmp(header, "Basic ", 6) == 0)
        return secret == ERR_UNKNOWN && basic_read(header + 6, out);
    return !header && secret > 0 && (id > 0 || id == ERR_UNKNOWN);
}

void oauth_client_wipe(struct oauth_client *c)
{
    OPENSSL_cleanse(c, sizeof(*c));
}

bool oauth_secret_is(const char *secret, const char *given)
{
    char field[OAUTH_CLIENT_BYTES + 2], decoded[OAUTH_CLIENT_BYTES] = "";
    int n = snprintf(field, sizeof(field), "s=%s", given);
    bool same = *secret && secret_equal(secret, given);

    /* As one field of a form; one that holds a separator was not encoded. */
    if (n > 0 && (size_t)n < sizeof(field) && !strchr(given, '&') &&
        body_form(field, (size_t)n, "s", decoded, sizeof(decoded)) > 0)
        same |= *secret && secret_equal(secret, decoded);
    OPENSSL_cleanse(field, sizeof(field));
    OPENSSL_cleanse(decoded, sizeof(decoded));
    return same;
}

/* --- RFC 7009 */

struct revoking {
    struct ask *ask;
    oauth_revoked_fn *revoked;
    void *arg;
    char issuer[IDENTITY_TEXT_MAX];
    char token[];
};

static void refuse(struct ask *a, int result)
{
    if (result == ERR_LIMIT)
        ask_error(a, 503, "full", "there is no room to keep it; see limits.revocations");
    else if (result == ERR_IO)
        ask_error(a, 503, "not_durable",
                  "it could not be written; what it closed stays closed; try again");
    else
        ask_error(a, 503, "busy", "it is not sure that all took it; try again");
}

static void revoking_free(struct revoking *p)
{
    OPENSSL_cleanse(p->token, strlen(p->token));
    sl_free(p);
}

static void revoke_done(void *arg, int result, unsigned closed)
{
    struct revoking *p = arg;

    if (result == OK)
        ask_json(p->ask, 200, json_pack("{s:i}", "closed", (int)closed));
    else
        refuse(p->ask, result);
    if (p->revoked)
        p->revoked(p->arg, p->issuer, result == OK ? p->token : NULL);
    revoking_free(p);
}

static struct revoking *revoking_new(struct ask *a, const char *issuer, const char *token, size_t n,
                                     oauth_revoked_fn *revoked, void *arg)
{
    struct revoking *p = sl_calloc(1, sizeof(*p) + n + 1);

    if (!p)
        return NULL;
    p->ask = a;
    p->revoked = revoked;
    p->arg = arg;
    snprintf(p->issuer, sizeof(p->issuer), "%s", issuer);
    memcpy(p->token, token, n);
    return p;
}

static void bar(const struct oauth_revoker *r, struct ask *a, const struct identity *id,
                const char *token, size_t n, oauth_revoked_fn *revoked, void *arg)
{
    struct revocation *bars = revocation_for_token(id, loop_wall_s(r->loop), "RFC 7009 revocation");
    struct revoking *p = revoking_new(a, id->issuer, token, n, revoked, arg);
    int result = ERR_NOMEM;

    if (bars && p)
        result = change_revoke(r->changes, bars, ask_peer(a), revoke_done, p);
    else
        revocation_free(bars);
    if (result == OK)
        return;
    if (p)
        revoking_free(p);
    refuse(a, result);
    if (revoked)
        revoked(arg, id->issuer, NULL);
}

/* One that could never be used here needs no bar: 200, as RFC 7009 wants. Where that isn't known,
 * 200 would promise what nobody did. */
static void revoke_token(const struct oauth_revoker *r, struct ask *a, const char *token, size_t n,
                         oauth_revoked_fn *revoked, void *arg)
{
    static struct identity id; /* large; the control thread's alone */
    struct keyring *keys = r->keys(r->arg);
    enum jwt_verdict verdict = keys ? jwt_identify(token, n, keys, &id) : JWT_NO_KEYS;

    if (verdict == JWT_KEY && r->unknown_kid)
        r->unknown_kid(r->arg, id.issuer);
    if (verdict == JWT_OK) {
        bar(r, a, &id, token, n, revoked, arg);
    } else if (jwt_verdict_retriable(verdict)) {
        ask_error(a, 503, "temporarily_unavailable",
                  "the issuer's keys are not known yet; try again");
        if (revoked)
            revoked(arg, id.issuer, NULL);
    } else {
        log_info("oauth", "a token to revoke is none that could be used here: %s",
                 jwt_verdict_name(verdict));
        ask_json(a, 200, json_pack("{s:i}", "closed", 0));
        if (revoked)
            revoked(arg, "", token);
    }
    if (keys) {
        identity_clear(&id);
        keyring_unref(keys);
    }
}

void oauth_revoke(const struct oauth_revoker *r, struct ask *a, oauth_revoked_fn *revoked,
                  void *arg)
{
    static char token[JWT_BYTES_MAX + 1]; /* the control thread's alone */
    const char *text;
    size_t n;
    int len;

    if (!ask_content_is(a, FORM)) {
        if (revoked)
            revoked(arg, "", NULL);
        return;
    }
    text = ask_body(a, &n);
    len = body_form(text, n, "token", token, sizeof(token));
    if (len > 0) {
        revoke_token(r, a, token, (size_t)len, revoked, arg);
        OPENSSL_cleanse(token, sizeof(token));
        return;
    }
    if (len == ERR_LIMIT)
        ask_json(a, 200, json_pack("{s:i}", "closed", 0)); /* no such token gets in */
    else
        ask_error(a, 400, "invalid_request", "it takes one form field `token`");
    if (revoked)
        revoked(arg, "", NULL);
}
