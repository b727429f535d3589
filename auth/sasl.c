#include "auth/sasl.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define SEPARATOR 0x01 /* RFC 7628, kvsep */

static bool is_alpha(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_token_char(uint8_t c)
{
    return is_alpha(c) || (c >= '0' && c <= '9') || (c != 0 && strchr("-._~+/", c) != NULL);
}

/* RFC 7628, vchar and blanks: what a value may consist of. */
static bool is_value_char(uint8_t c)
{
    return (c >= 0x20 && c <= 0x7e) || c == '\t' || c == '\r' || c == '\n';
}

/* RFC 5801 saslname: '=' only as =2C or =3D; control characters have no place in a name. The end is
 * at the comma. Returns its length, or -1. */
static ptrdiff_t saslname_len(const char *p, const char *end)
{
    const char *at = p;

    while (at < end && *at != ',') {
        if ((uint8_t)*at < 0x20 || *at == 0x7f)
            return -1;
        if (*at == '=') {
            if (end - at < 3 || (memcmp(at, "=2C", 3) != 0 && memcmp(at, "=3D", 3) != 0))
                return -1;
            at += 2;
        }
        at++;
    }
    return at == p ? -1 : at - p;
}

/* "Bearer", one space, b64token (RFC 6750: its characters, then any number of '='). */
static const char *bearer_parse(const char *p, size_t n, struct sasl_oauth *out)
{
    static const char scheme[] = "Bearer ";
    const size_t scheme_len = sizeof(scheme) - 1;
    size_t i;

    if (n < scheme_len || strncasecmp(p, scheme, scheme_len) != 0)
        return "the scheme is not Bearer";
    p += scheme_len;
    n -= scheme_len;
    for (i = 0; i < n && is_token_char((uint8_t)p[i]); i++)
        ;
    if (i == 0)
        return "the token is empty";
    for (; i < n && p[i] == '='; i++)
        ;
    if (i != n)
        return "the token has a character that no token has";
    if (n > SASL_TOKEN_MAX)
        return "the token is too long";
    out->token = p;
    out->token_len = n;
    return NULL;
}

/* key=value, without the separator behind it. */
static const char *pair_parse(const char *p, size_t n, struct sasl_oauth *out)
{
    size_t key = 0;
    size_t i;

    while (key < n && is_alpha((uint8_t)p[key]))
        key++;
    if (key == 0 || key == n || p[key] != '=')
        return "a pair is not key=value";
    for (i = key + 1; i < n; i++) {
        if (!is_value_char((uint8_t)p[i]))
            return "a value has a character that no value has";
    }
    if (key != 4 || strncasecmp(p, "auth", 4) != 0)
        return NULL;
    if (memcmp(p, "auth", 4) != 0)
        return "auth is written in small letters";
    if (out->token)
        return "auth is given twice";
    return bearer_parse(p + key + 1, n - key - 1, out);
}

static const char *message_parse(const char *p, const char *end, struct sasl_oauth *out)
{
    const char *sep;
    const char *why;
    ptrdiff_t n;

    if (end - p < 2 || p[0] != 'n' || p[1] != ',')
        return "no gs2 header without channel binding";
    p += 2;
    if (end - p >= 2 && p[0] == 'a' && p[1] == '=') {
        p += 2;
        n = saslname_len(p, end);
        if (n < 0)
            return "the authzid is no saslname";
        out->authzid = p;
        out->authzid_len = (size_t)n;
        p += n;
    }
    if (end - p < 2 || p[0] != ',' || p[1] != SEPARATOR)
        return "the gs2 header does not end";
    p += 2;
    while (p < end && *p != SEPARATOR) {
        sep = memchr(p, SEPARATOR, (size_t)(end - p));
        if (!sep)
            return "a pair does not end";
        why = pair_parse(p, (size_t)(sep - p), out);
        if (why)
            return why;
        p = sep + 1;
    }
    if (p == end)
        return "the message does not end";
    if (p + 1 != end)
        return "bytes after the end";
    return out->token ? NULL : "no auth";
}

int sasl_oauth_parse(const void *message, size_t n, struct sasl_oauth *out, const char **why)
{
    const char *p = message;

    memset(out, 0, sizeof(*out));
    *why = NULL;
    if (n == 0)
        *why = "empty";
    else if (n > SASL_MESSAGE_MAX)
        *why = "too long";
    else
        *why = message_parse(p, p + n, out);
    if (!*why)
        return OK;
    memset(out, 0, sizeof(*out));
    return ERR_MALFORMED;
}

bool sasl_oauth_authorizes(const struct sasl_oauth *m, const char *subject)
{
    size_t i = 0;
    size_t s = 0;
    char c;

    if (!m->authzid)
        return true;
    while (i < m->authzid_len) {
        c = m->authzid[i];
        if (c == '=') { /* the parser has seen that two characters follow */
            c = m->authzid[i + 1] == '2' ? ',' : '=';
            i += 2;
        }
        i++;
        if (subject[s] == '\0' || subject[s] != c)
            return false;
        s++;
    }
    return subject[s] == '\0';
}

static const char *plain_parse(const char *p, size_t n, struct sasl_plain *out)
{
    const char *user = memchr(p, 0, n);
    const char *password = user ? memchr(user + 1, 0, n - (size_t)(user + 1 - p)) : NULL;
    size_t authzid_len, user_len, i;

    if (!password)
        return "it is not made of three parts";
    authzid_len = (size_t)(user - p);
    user_len = (size_t)(password - user) - 1;
    out->password = password + 1;
    out->password_len = n - (size_t)(password + 1 - p);
    if (memchr(out->password, 0, out->password_len))
        return "it is not made of three parts";
    if (user_len == 0 || user_len > SASL_PLAIN_USER_MAX)
        return "the user is empty or too long";
    if (out->password_len == 0 || out->password_len > SASL_PLAIN_PASSWORD_MAX)
        return "the password is empty or too long";
    memcpy(out->user, user + 1, user_len);
    for (i = 0; i < user_len; i++)
        if ((uint8_t)out->user[i] < 0x20 || out->user[i] == 0x7f)
            return "the user has control characters";
    if (authzid_len > 0 && (authzid_len != user_len || memcmp(p, out->user, user_len) != 0))
        return "it asks for another user's rights";
    return NULL;
}

int sasl_plain_parse(const void *message, size_t n, struct sasl_plain *out, const char **why)
{
    memset(out, 0, sizeof(*out));
    *why = plain_parse(message, n, out);
    if (*why) {
        memset(out, 0, sizeof(*out));
        return ERR_MALFORMED;
    }
    return OK;
}
