#include "auth/jwt_claims.h"

#include <string.h>
#include <strings.h>

#include "auth/memory.h"
#include "auth/strict_json.h"
#include "base/alloc.h"

#define TIME_MAX       INT64_C(253402300799) /* the last second of the year 9999 */
#define SKEW_MAX_S     30
#define NAME_MAX_BYTES 256 /* a part of a claim's path */

/* The claim of this name; a name with dots that isn't one itself is a path into nested objects. */
static const json_t *claim_find(const json_t *claims, const char *name)
{
    const json_t *at = json_object_get(claims, name);
    char part[NAME_MAX_BYTES];
    const char *dot;
    size_t n;

    if (at)
        return at;
    at = claims;
    for (dot = strchr(name, '.'); at; dot = strchr(name, '.')) {
        n = dot ? (size_t)(dot - name) : strlen(name);
        if (n >= sizeof(part))
            return NULL;
        memcpy(part, name, n);
        part[n] = '\0';
        at = json_object_get(at, part);
        if (!dot)
            return at;
        name = dot + 1;
    }
    return NULL;
}

static bool text_ok(const char *text, size_t n)
{
    size_t i;

    if (n == 0 || n >= IDENTITY_TEXT_MAX)
        return false;
    for (i = 0; i < n; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    }
    return true;
}

/* name NULL: not mapped. Absent is "" and fine. */
static bool text_read(const json_t *claims, const char *name, char out[IDENTITY_TEXT_MAX])
{
    const json_t *v = name ? claim_find(claims, name) : NULL;

    out[0] = '\0';
    if (!v)
        return true;
    if (!json_is_string(v) || !text_ok(json_string_value(v), json_string_length(v)))
        return false;
    memcpy(out, json_string_value(v), json_string_length(v) + 1);
    return true;
}

/* The next word of a list in one string; NULL at its end. */
static const char *word_next(const char **at, size_t *n)
{
    const char *p = *at + strspn(*at, " ");

    *n = strcspn(p, " ");
    *at = p + *n;
    return *n > 0 ? p : NULL;
}

/* Calls fn with each text of a claim that is a list: an array of strings, or one string of words.
 * False when it is something else or fn says so. */
static bool list_each(const json_t *v, bool (*fn)(struct identity *out, const char *p, size_t n),
                      struct identity *out)
{
    const char *at, *word;
    size_t i, n;

    if (json_is_string(v)) {
        at = json_string_value(v);
        while ((word = word_next(&at, &n)) != NULL) {
            if (!fn(out, word, n))
                return false;
        }
        return true;
    }
    for (i = 0; i < json_array_size(v); i++) {
        const json_t *e = json_array_get(v, i);

        if (!json_is_string(e) || !fn(out, json_string_value(e), json_string_length(e)))
            return false;
    }
    return json_is_array(v);
}

static bool topic_add(struct identity *out, const char *p, size_t n)
{
    char *copy;

    if (!text_ok(p, n) || out->ntopics == IDENTITY_TOPICS_MAX)
        return false;
    copy = sl_malloc(n + 1);
    if (!copy) {
        memory_short();
        return false;
    }
    memcpy(copy, p, n);
    copy[n] = '\0';
    out->topics[out->ntopics++] = copy;
    return true;
}

/* A word that is none of ours (the claim may be a scope) grants nothing. */
static bool operation_add(struct identity *out, const char *p, size_t n)
{
    static const struct {
        const char *name;
        unsigned bit;
    } operations[] = {{"read", OP_READ},
                      {"write", OP_WRITE},
                      {"manage", OP_MANAGE},
                      {"describe_configs", OP_DESCRIBE_CONFIGS}};
    size_t i;

    for (i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (strlen(operations[i].name) == n && memcmp(operations[i].name, p, n) == 0)
            out->operations |= operations[i].bit;
    }
    return true;
}

static bool rights_read(const json_t *claims, const struct claim_names *names, struct identity *out)
{
    const json_t *v;

    v = names->topics ? claim_find(claims, names->topics) : NULL;
    if (v && !list_each(v, topic_add, out))
        return false;
    if (!names->operations) {
        out->operations = OP_READ;
        return true;
    }
    v = claim_find(claims, names->operations);
    return !v || list_each(v, operation_add, out);
}

/* RFC 7519, 4.1.3: a string or an array of them; any of ours is enough. */
static bool audience_ok(const json_t *claims, const struct strings *wanted)
{
    const json_t *aud = json_object_get(claims, "aud");
    size_t count = json_is_array(aud) ? json_array_size(aud) : 1;
    size_t i, j;

    for (i = 0; i < count; i++) {
        const char *a = json_string_value(json_is_array(aud) ? json_array_get(aud, i) : aud);

        for (j = 0; a && j < wanted->count; j++) {
            if (strcmp(a, wanted->at[j]) == 0)
                return true;
        }
    }
    return false;
}

/* Keycloak writes its kind of token into the claims and leaves the header's typ at JWT. An ID or a
 * refresh token is signed by the same key, and is no access token; nor is a security event or a
 * logout token (RFC 8417, 4). */
static bool kind_ok(const json_t *claims)
{
    static const char *const others[] = {"ID", "Refresh", "Offline", "Logout"};
    const char *typ = json_string_value(json_object_get(claims, "typ"));
    size_t i;

    if (json_object_get(claims, "events"))
        return false;

    for (i = 0; typ && i < sizeof(others) / sizeof(others[0]); i++) {
        if (strcasecmp(typ, others[i]) == 0)
            return false;
    }
    return true;
}

/* A whole number of seconds; absent is 0. */
static bool time_read(const json_t *claims, const char *name, int64_t *out)
{
    const json_t *v = json_object_get(claims, name);

    *out = v ? (int64_t)json_integer_value(v) : 0;
    return !v || (json_is_integer(v) && *out >= 0 && *out <= TIME_MAX);
}

static bool principal_read(const json_t *claims, const struct issuer_config *c,
                           struct identity *out)
{
    if (!text_read(claims, "sub", out->subject) || !text_read(claims, "jti", out->jti) ||
        !text_read(claims, "sid", out->sid))
        return false;
    if (c->claims.client)
        return text_read(claims, c->claims.client, out->client);
    if (!text_read(claims, "client_id", out->client))
        return false;
    return out->client[0] || text_read(claims, "azp", out->client);
}

enum jwt_verdict jwt_claims_read(const json_t *claims, const struct issuer_config *c,
                                 struct identity *out)
{
    const struct claim_names *names = &c->claims;
    unsigned watch = memory_watch();
    int64_t not_before;

    if (!audience_ok(claims, &c->audience))
        return JWT_AUDIENCE;
    if (!kind_ok(claims))
        return JWT_TYPE;
    if (!json_object_get(claims, "exp") || !time_read(claims, "exp", &out->expires) ||
        !time_read(claims, "nbf", &not_before) || !time_read(claims, "iat", &out->issued) ||
        !principal_read(claims, c, out) || !text_read(claims, names->transfer, out->transfer) ||
        !text_read(claims, names->participant, out->participant) ||
        !text_read(claims, names->agreement, out->agreement) ||
        !text_read(claims, names->asset, out->asset) ||
        !text_read(claims, names->group_prefix, out->group_prefix) ||
        !rights_read(claims, names, out))
        return memory_was_short(watch) ? JWT_RESOURCES : JWT_CLAIMS;
    return JWT_OK;
}

enum jwt_verdict jwt_times_check(const json_t *claims, const struct issuer_config *c, int64_t now_s)
{
    int64_t skew = c->skew_s < SKEW_MAX_S ? c->skew_s : SKEW_MAX_S;
    int64_t exp = json_integer_value(json_object_get(claims, "exp"));
    int64_t nbf = json_integer_value(json_object_get(claims, "nbf"));
    int64_t iat = json_integer_value(json_object_get(claims, "iat"));

    if (now_s - skew >= exp)
        return JWT_EXPIRED;
    if (nbf > now_s + skew || iat > now_s + skew)
        return JWT_NOT_YET;
    /* By what a revocation hits, tokens issued up to now, it can be told when it may go. */
    if (c->max_token_s > 0 && (iat <= 0 || exp - iat > (int64_t)c->max_token_s))
        return JWT_TOO_LONG;
    return JWT_OK;
}
