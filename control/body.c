#include "control/body.h"

#include <stdio.h>
#include <string.h>

#define NOT_BEFORE_AHEAD_S 300 /* a clock that is off; more would bar tokens not yet issued */

json_t *body_object(const char *text, size_t n, char *err, size_t err_bytes)
{
    json_error_t error;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(root))
        return root;
    if (root)
        snprintf(err, err_bytes, "the body takes a JSON object");
    else
        snprintf(err, err_bytes, "the body is no JSON: line %d: %s", error.line, error.text);
    json_decref(root);
    return NULL;
}

/* What a revocation may name, alone or beside its issuer. */
static const struct {
    const char *key;
    enum revoke_kind kind;
    bool of_issuer;
} kinds[] = {
    {"transfer", REVOKE_TRANSFER, false},
    {"agreement", REVOKE_AGREEMENT, false},
    {"asset", REVOKE_ASSET, false},
    {"participant", REVOKE_PARTICIPANT, false},
    {"subject", REVOKE_SUBJECT, true},
    {"client", REVOKE_CLIENT, true},
    {"jti", REVOKE_JTI, true},
    {"session", REVOKE_SESSION, true},
    {"not_before", REVOKE_ISSUER, true},
};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

static const char takes[] =
    "it takes exactly one of transfer, agreement, asset, participant, or "
    "issuer with one of subject, client, jti, session, not_before; and reason";

static size_t kind_of(const char *key)
{
    size_t i = 0;
    while (i < KINDS && strcmp(kinds[i].key, key) != 0)
        i++;
    return i;
}

/* The one kind that the keys name; KINDS with err. */
static size_t find_kind(json_t *root, char *err, size_t err_bytes)
{
    size_t found = KINDS;
    const char *key;
    json_t *value;
    bool issuer = json_object_get(root, "issuer") != NULL;
    json_object_foreach(root, key, value)
    {
        size_t kind = kind_of(key);
        bool other = strcmp(key, "issuer") == 0 || strcmp(key, "reason") == 0;
        bool number = kind < KINDS && kinds[kind].kind == REVOKE_ISSUER;
        if (kind == KINDS && !other)
            snprintf(err, err_bytes, "unknown key; %s", takes);
        else if (number ? !json_is_integer(value)
                        : !json_is_string(value) || (!other && !json_string_length(value)))
            snprintf(err, err_bytes, "%s is no %s; %s", key, number ? "whole number" : "text",
                     takes);
        else if (kind < KINDS && found < KINDS)
            snprintf(err, err_bytes, "%s and %s are two revocations; %s", kinds[found].key, key,
                     takes);
        else if (other || kinds[kind].of_issuer == issuer) {
            found = other ? found : kind;
            continue;
        } else
            snprintf(err, err_bytes,
                     issuer ? "issuer does not go with %s; %s" : "%s needs its issuer; %s", key,
                     takes);
        return KINDS;
    }
    if (found == KINDS)
        snprintf(err, err_bytes, "%s", takes);
    return found;
}

static const char *text_in(json_t *root, const char *key)
{
    const char *text = json_string_value(json_object_get(root, key));
    return text ? text : "";
}

int body_revocation(const char *text, size_t n, int64_t now_s, struct revocation **out, char *err,
                    size_t err_bytes)
{
    json_t *root = body_object(text, n, err, err_bytes);
    size_t k = root ? find_kind(root, err, err_bytes) : KINDS;
    int result = ERR_MALFORMED;
    int64_t at = now_s;
    if (k == KINDS)
        goto out;
    const char *issuer = text_in(root, "issuer"), *reason = text_in(root, "reason");
    const char *value = text_in(root, kinds[k].key);
    if (kinds[k].kind == REVOKE_ISSUER) {
        value = "";
        at = json_integer_value(json_object_get(root, "not_before"));
        if (at <= 0 || at > now_s + NOT_BEFORE_AHEAD_S) {
            snprintf(err, err_bytes, "not_before takes seconds since 1970, not in the future");
            goto out;
        }
    }
    if (revocation_check(kinds[k].kind, issuer, value, "", reason) != OK) {
        snprintf(err, err_bytes, "a text is empty or longer than 255 bytes; %s", takes);
        goto out;
    }
    *out = revocation_new(kinds[k].kind, issuer, value, "", at, 0, reason);
    result = *out ? OK : ERR_NOMEM;
out:
    json_decref(root);
    return result;
}

int body_grant(const char *text, size_t n, const char *id, const struct config *c,
               struct grant **out, char *err, size_t err_bytes)
{
    json_t *root = body_object(text, n, err, err_bytes);
    if (!root)
        return ERR_MALFORMED;
    const char *why = "";
    int result = ERR_MALFORMED;
    struct grant_config *g = config_grant_parse(c, id, root, err, err_bytes);
    if (g) {
        result = grant_new(g, GRANT_FROM_API, out, &why);
        if (result != OK)
            snprintf(err, err_bytes, "%s", result == ERR_MALFORMED ? why : err_name(result));
        config_grant_free(g);
    }
    json_decref(root);
    return result;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes '+' and %XX. The length, or an error. */
static int decode(const char *text, size_t n, char *out, size_t out_bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            int high = n - i > 2 ? hex_digit(text[i + 1]) : -1;
            int low = n - i > 2 ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return ERR_MALFORMED;
            c = high * 16 + low;
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        if (c == 0)
            return ERR_MALFORMED;
        if (used + 1 >= out_bytes)
            return ERR_LIMIT;
        out[used++] = (char)c;
    }
    out[used] = '\0';
    return (int)used;
}

int body_form(const char *text, size_t n, const char *name, char *out, size_t out_bytes)
{
    int result = ERR_UNKNOWN;
    size_t at = 0;
    while (at < n) {
        char key[64];
        const char *end = memchr(text + at, '&', n - at);
        size_t len = end ? (size_t)(end - (text + at)) : n - at;
        const char *equals = memchr(text + at, '=', len);
        size_t key_len = equals ? (size_t)(equals - (text + at)) : len;
        int got = decode(text + at, key_len, key, sizeof(key));
        if (got == ERR_MALFORMED)
            return ERR_MALFORMED;
        if (got >= 0 && strcmp(key, name) == 0) {
            if (result != ERR_UNKNOWN)
                return ERR_MALFORMED;
            result = equals ? decode(equals + 1, len - key_len - 1, out, out_bytes) : ERR_MALFORMED;
            if (result < 0)
                return result;
        }
        at += len + 1;
    }
    return result;
}

static void put_text(json_t *o, const char *key, const char *text)
{
    if (text && *text)
        json_object_set_new(o, key, json_string(text));
}

static void put_time(json_t *o, const char *key, int64_t value)
{
    if (value)
        json_object_set_new(o, key, json_integer(value));
}

static json_t *operations_of(unsigned bits)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{OP_READ, "read"},
                 {OP_WRITE, "write"},
                 {OP_MANAGE, "manage"},
                 {OP_DESCRIBE_CONFIGS, "describe_configs"}};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (bits & names[i].bit)
            json_array_append_new(list, json_string(names[i].name));
    return list;
}

static const char *source_of(enum grant_source source)
{
    switch (source) {
    case GRANT_FROM_CONFIG:
        return "configuration";
    case GRANT_FROM_API:
        return "api";
    case GRANT_FROM_CLAIMS:
        return "token";
    }
    return "";
}

static json_t *texts_of(char *const *at, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(at[i]));
    return list;
}

json_t *body_of_grant(const struct grant *g, enum grant_state state,
                      const struct grant_usage *usage)
{
    json_t *o = json_object(), *principal = json_object();
    put_text(o, "id", g->id);
    put_text(o, "source", source_of(g->source));
    put_text(principal, "issuer", g->issuer);
    put_text(principal, "subject", g->subject);
    put_text(principal, "client", g->client);
    json_object_set_new(o, "principal", principal);
    if (g->ntokens > 0)
        json_object_set_new(o, "tokens", texts_of(g->tokens, g->ntokens));
    put_text(o, "participant", g->participant);
    put_text(o, "agreement", g->agreement);
    put_text(o, "asset", g->asset);
    if (g->ntopics > 0) /* a grant may be of groups alone; no list of topics is empty */
        json_object_set_new(o, "topics", texts_of(g->topics, g->ntopics));
    put_text(o, "group_prefix", g->group_prefix);
    json_object_set_new(o, "operations", operations_of(g->operations));
    put_time(o, "not_before", g->not_before);
    put_time(o, "expires", g->expires);
    put_text(o, "state", grant_state_name(state));
    json_object_set_new(o, "sessions", json_integer(usage->sessions));
    put_time(o, "last_use", usage->last_use_s);
    return o;
}

json_t *body_of_revocation(const struct revocation *r)
{
    json_t *o = json_object();
    put_text(o, "kind", revoke_kind_name(r->kind));
    put_text(o, "issuer", r->issuer);
    put_text(o, "value", r->value);
    put_text(o, "client", r->client);
    put_time(o, "at", r->at);
    put_time(o, "until", r->until);
    put_text(o, "reason", r->reason);
    return o;
}
