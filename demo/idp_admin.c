#include "demo/idp.h"

#include <stdlib.h>
#include <string.h>

/* --- keys: GET /admin/keys, POST /admin/keys, DELETE /admin/keys/KID, POST /admin/rotate */

static json_t *key_describe(const struct idp_key *k)
{
    return json_pack("{s:s, s:s, s:b, s:b, s:I, s:s, s:o}", "kid", k->key->kid, "alg",
                     jose_alg_name(k->key->alg), "published", k->published, "current", k->current,
                     "retire_at", (json_int_t)k->retire_at, "pem", k->key->public_pem, "jwk",
                     jose_key_jwk(k->key));
}

static void keys_list(struct idp *idp, struct evhttp_request *req)
{
    json_t *keys = json_array();

    json_decref(idp_jwks(idp)); /* lets what is due retire first */
    for (size_t i = 0; i < idp->key_count; i++) {
        if (json_array_append_new(keys, key_describe(&idp->keys[i]))) {
            json_decref(keys);
            keys = NULL;
            break;
        }
    }
    idp_reply(req, HTTP_OK, keys ? json_pack("{s:o}", "keys", keys) : NULL);
}

/* The member "alg" of a request, or the server's default. Answers 400 itself. */
static int body_alg(const struct idp *idp, struct evhttp_request *req, const json_t *body,
                    const char *member, enum jose_alg *alg)
{
    const json_t *text = json_object_get(body, member);

    *alg = idp->alg;
    if (!text)
        return OK;
    if (json_is_string(text) && jose_alg_parse(json_string_value(text), alg) == OK)
        return OK;
    idp_reply_error(req, HTTP_BADREQUEST, "invalid_request", "unknown algorithm");
    return ERR_MALFORMED;
}

static void key_reply(struct evhttp_request *req, int err, const struct jose_key *key)
{
    if (err == ERR_BUSY)
        idp_reply_error(req, 409, "invalid_request", "that kid is taken");
    else if (err == ERR_LIMIT)
        idp_reply_error(req, 409, "invalid_request", "too many keys");
    else if (err)
        idp_reply_error(req, HTTP_BADREQUEST, "invalid_request", "no key of that kind");
    else
        idp_reply(req, HTTP_OK, json_pack("{s:s}", "kid", key->kid));
}

/* {"alg"?,"kid"?,"published"?,"current"?} */
static void keys_post(struct idp *idp, struct evhttp_request *req, const json_t *body)
{
    enum jose_alg alg;
    const json_t *published = json_object_get(body, "published");
    const char *kid = json_string_value(json_object_get(body, "kid"));
    struct jose_key *key = NULL;

    if (body_alg(idp, req, body, "alg", &alg))
        return;
    int err = idp_key_add(idp, alg, kid, !json_is_false(published),
                          json_is_true(json_object_get(body, "current")), &key);
    key_reply(req, err, key);
}

/* {"alg"?,"keep_s"?}: keep_s is how long the old key stays in the JWKS, 0 if not said. */
static void rotate_post(struct idp *idp, struct evhttp_request *req, const json_t *body)
{
    enum jose_alg alg;
    json_int_t keep_s = json_integer_value(json_object_get(body, "keep_s"));
    struct jose_key *key = NULL;

    if (body_alg(idp, req, body, "alg", &alg))
        return;
    if (keep_s < 0 || keep_s > IDP_LIFETIME_MAX_S) {
        idp_reply_error(req, HTTP_BADREQUEST, "invalid_request", "keep_s: up to a day");
        return;
    }
    int err = idp_key_rotate(idp, alg, (long)keep_s, &key);
    key_reply(req, err, key);
}

/* {"keys":[...]} is served as it stands; {} goes back to our own keys. */
static void jwks_put(struct idp *idp, struct evhttp_request *req, json_t *body)
{
    json_decref(idp->jwks_override);
    idp->jwks_override = json_object_size(body) ? json_incref(body) : NULL;
    idp_reply(req, HTTP_OK, json_object());
}

/* --- POST /admin/sign */

/* What a request to sign asks for, taken apart. */
struct sign_request {
    struct jose_key *key;
    enum jose_alg label;  /* what the header says */
    enum jose_alg method; /* what is done */
    char *header;
    char *claims;
};

/* Header: {"alg","kid","typ"} from the request or the key; null leaves one out; "header" adds. */
static char *sign_header(const struct sign_request *s, const json_t *body)
{
    const char *raw = json_string_value(json_object_get(body, "header_raw"));
    json_t *extra = json_object_get(body, "header");
    const json_t *kid = json_object_get(body, "kid");
    const json_t *typ = json_object_get(body, "typ");
    char *text = NULL;

    if (raw)
        return strdup(raw);
    json_t *head = json_pack("{s:s}", "alg", jose_alg_name(s->label));
    if (!head)
        return NULL;
    int bad = 0;
    if (!json_is_null(kid))
        bad |= json_object_set_new(head, "kid",
                                   json_string(kid ? json_string_value(kid) : s->key->kid));
    if (!json_is_null(typ))
        bad |= json_object_set_new(head, "typ", json_string(typ ? json_string_value(typ) : "JWT"));
    if (json_is_object(extra))
        bad |= json_object_update(head, extra);
    if (!bad)
        text = json_dumps(head, JSON_COMPACT);
    json_decref(head);
    return text;
}

/* Claims: the usual ones unless "defaults" is false, the request's on top, null takes away. */
static char *sign_claims(const struct idp *idp, const json_t *body)
{
    const char *raw = json_string_value(json_object_get(body, "claims_raw"));
    json_t *given = json_object_get(body, "claims");
    const char *client = json_string_value(json_object_get(body, "client_id"));
    json_t *claims;

    if (raw)
        return strdup(raw);
    if (json_is_false(json_object_get(body, "defaults")))
        claims = given ? json_incref(given) : json_object();
    else
        claims = idp_claims(idp, client ? client : "test", given, idp->lifetime_s);
    char *text = claims ? json_dumps(claims, JSON_COMPACT) : NULL;
    json_decref(claims);
    return text;
}

/* The key: "key" (a kid) if given, else the one that "kid" names, else the current one of the
 * method; HS256 and none borrow the server's default key. */
static struct jose_key *sign_key(struct idp *idp, const json_t *body, enum jose_alg method)
{
    const char *by = json_string_value(json_object_get(body, "key"));
    const char *kid = json_string_value(json_object_get(body, "kid"));
    struct jose_key *key = kid ? idp_key_find(idp, kid) : NULL;

    if (by)
        return idp_key_find(idp, by);
    if (key)
        return key;
    return idp_key_current(idp, method == JOSE_HS256 || method == JOSE_NONE ? idp->alg : method);
}

/* Turns one bit in the middle of the signature: still well-formed base64url, no longer valid. */
static void tamper(char *token)
{
    char *dot = strrchr(token, '.');
    size_t n = dot ? strlen(dot + 1) : 0;

    if (n > 0)
        dot[1 + n / 2] = dot[1 + n / 2] == 'A' ? 'B' : 'A';
}

/* {"alg"?: the header's label, "sign_alg"?: what is done (default: alg), "kid"?, "typ"?,
 *  "header"?: more members, "header_raw"?, "claims"?, "claims_raw"?, "defaults"?, "client_id"?,
 *  "key"?: kid of the signing key, "tamper"?: true} -> {"access_token"}. HS256 takes the key's
 * public PEM as its secret. */
static void sign_post(struct idp *idp, struct evhttp_request *req, const json_t *body)
{
    struct sign_request s = {0};
    char *token = NULL;

    if (body_alg(idp, req, body, "alg", &s.label) ||
        body_alg(idp, req, body, json_object_get(body, "sign_alg") ? "sign_alg" : "alg", &s.method))
        return;
    s.key = sign_key(idp, body, s.method);
    if (s.key) {
        s.header = sign_header(&s, body);
        s.claims = sign_claims(idp, body);
    }
    if (s.header && s.claims)
        token = jose_sign(s.key, s.method, s.header, s.claims);
    if (token && json_is_true(json_object_get(body, "tamper")))
        tamper(token);
    if (token && !json_is_true(json_object_get(body, "tamper")))
        idp_token_remember(idp, token, idp->lifetime_s);
    if (token)
        idp_reply(req, HTTP_OK, json_pack("{s:s}", "access_token", token));
    else
        idp_reply_error(req, HTTP_BADREQUEST, "invalid_request", "that key cannot sign so");
    free(s.header);
    free(s.claims);
    free(token);
}

/* --- clients: POST /admin/clients, DELETE /admin/clients/ID */

static void clients_post(struct idp *idp, struct evhttp_request *req, const json_t *body)
{
    const char *why = "";

    if (idp_client_put(idp, body, &why))
        idp_reply_error(req, HTTP_BADREQUEST, "invalid_request", why);
    else
        idp_reply(req, HTTP_OK, json_object());
}

/* --- POST /admin/outage, GET /admin/stats */

static const char *const endpoint_names[IDP_ENDPOINTS] = {[IDP_DISCOVERY] = "discovery",
                                                          [IDP_JWKS] = "jwks",
                                                          [IDP_TOKEN] = "token",
                                                          [IDP_INTROSPECT] = "introspect",
                                                          [IDP_REVOKE] = "revoke"};

static const char *const outage_names[] = {[IDP_UP] = "up",
                                           [IDP_ERROR] = "error",
                                           [IDP_HANG] = "hang",
                                           [IDP_DROP] = "drop",
                                           [IDP_GARBAGE] = "garbage",
                                           [IDP_HUGE] = "huge",
                                           [IDP_REDIRECT] = "redirect"};

static int outage_parse(const json_t *value, enum idp_outage *out)
{
    if (json_is_boolean(value)) {
        *out = json_is_true(value) ? IDP_ERROR : IDP_UP;
        return OK;
    }
    for (size_t i = 0; i < sizeof(outage_names) / sizeof(outage_names[0]); i++) {
        if (json_is_string(value) && strcmp(json_string_value(value), outage_names[i]) == 0) {
            *out = (enum idp_outage)i;
            return OK;
        }
    }
    return ERR_MALFORMED;
}

/* {"jwks":true|false|"hang"|...,"discovery":...,"token":...}; what is not named stays. */
static void outage_post(struct idp *idp, struct evhttp_request *req, const json_t *body)
{
    enum idp_outage next[IDP_ENDPOINTS];

    memcpy(next, idp->outage, sizeof(next));
    for (size_t i = 0; i < IDP_ENDPOINTS; i++) {
        const json_t *value = json_object_get(body, endpoint_names[i]);
        if (value && outage_parse(value, &next[i])) {
            idp_reply_error(req, HTTP_BADREQUEST, "invalid_request",
                            "an outage is true, false, up, error, hang, drop, garbage, huge or "
                            "redirect");
            return;
        }
    }
    memcpy(idp->outage, next, sizeof(next));
    json_t *now = json_object();
    for (size_t i = 0; i < IDP_ENDPOINTS; i++)
        json_object_set_new(now, endpoint_names[i], json_string(outage_names[next[i]]));
    idp_reply(req, HTTP_OK, now);
}

static void stats_get(struct idp *idp, struct evhttp_request *req)
{
    json_t *requests = json_object();

    for (size_t i = 0; i < IDP_ENDPOINTS; i++)
        json_object_set_new(requests, endpoint_names[i],
                            json_integer((json_int_t)idp->requests[i]));
    idp_reply(
        req, HTTP_OK,
        json_pack("{s:o, s:I}", "requests", requests, "tokens_issued", (json_int_t)idp->issued));
}

/* --- which is asked */

static void admin_delete(struct idp *idp, struct evhttp_request *req, const char *path)
{
    static const char keys[] = "/admin/keys/";
    static const char clients[] = "/admin/clients/";
    int err = ERR_UNKNOWN;

    if (strncmp(path, keys, sizeof(keys) - 1) == 0)
        err = idp_key_remove(idp, path + sizeof(keys) - 1);
    else if (strncmp(path, clients, sizeof(clients) - 1) == 0)
        err = idp_client_remove(idp, path + sizeof(clients) - 1);
    if (err)
        idp_reply_error(req, HTTP_NOTFOUND, "not_found", "no such thing");
    else
        idp_reply(req, HTTP_OK, json_object());
}

static void admin_get(struct idp *idp, struct evhttp_request *req, const char *path)
{
    if (strcmp(path, "/admin/keys") == 0)
        keys_list(idp, req);
    else if (strcmp(path, "/admin/stats") == 0)
        stats_get(idp, req);
    else
        idp_reply_error(req, HTTP_NOTFOUND, "not_found", "no such thing");
}

static void admin_post(struct idp *idp, struct evhttp_request *req, const char *path)
{
    json_t *body = idp_body_object(req);

    if (!body)
        return;
    if (strcmp(path, "/admin/keys") == 0)
        keys_post(idp, req, body);
    else if (strcmp(path, "/admin/rotate") == 0)
        rotate_post(idp, req, body);
    else if (strcmp(path, "/admin/sign") == 0)
        sign_post(idp, req, body);
    else if (strcmp(path, "/admin/clients") == 0)
        clients_post(idp, req, body);
    else if (strcmp(path, "/admin/outage") == 0)
        outage_post(idp, req, body);
    else if (strcmp(path, "/admin/jwks") == 0)
        jwks_put(idp, req, body);
    else
        idp_reply_error(req, HTTP_NOTFOUND, "not_found", "no such thing");
    json_decref(body);
}

void idp_admin(struct idp *idp, struct evhttp_request *req, const char *path)
{
    enum evhttp_cmd_type method = evhttp_request_get_command(req);

    if (method == EVHTTP_REQ_GET)
        admin_get(idp, req, path);
    else if (method == EVHTTP_REQ_POST)
        admin_post(idp, req, path);
    else if (method == EVHTTP_REQ_DELETE)
        admin_delete(idp, req, path);
    else
        idp_reply_error(req, HTTP_BADMETHOD, "invalid_request", "GET, POST or DELETE");
}
