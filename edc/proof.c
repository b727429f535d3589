#include "edc/proof.h"

#include <string.h>

#include "auth/strict_json.h"

#define ALGORITHMS (ALG_ES256 | ALG_ES384 | ALG_EDDSA | ALG_PS256 | ALG_RS256)
#define TIME_MAX   INT64_C(253402300799) /* the last second of the year 9999 */

/* RFC 7519, 4.1.3: one text or a list. */
static bool audience_is(const json_t *claims, const char *audience)
{
    const json_t *aud = json_object_get(claims, "aud");
    size_t i;

    if (json_is_string(aud))
        return strcmp(json_string_value(aud), audience) == 0;
    for (i = 0; i < json_array_size(aud); i++) {
        const char *one = json_string_value(json_array_get(aud, i));

        if (one && strcmp(one, audience) == 0)
            return true;
    }
    return false;
}

/* A whole number of seconds; absent is -1. */
static bool time_read(const json_t *claims, const char *name, int64_t *out)
{
    const json_t *v = json_object_get(claims, name);

    *out = v ? json_integer_value(v) : -1;
    return !v || (json_is_integer(v) && *out >= 0 && *out <= TIME_MAX);
}

static const char *times_check(struct proof *p, int64_t now)
{
    const json_t *claims = p->jws.claims;
    int64_t exp, iat, nbf;

    if (!time_read(claims, "exp", &exp) || !time_read(claims, "iat", &iat) ||
        !time_read(claims, "nbf", &nbf))
        return "its times are no whole numbers";
    if (exp < 0 && iat < 0)
        return "it has neither exp nor iat";
    if (iat > now + PROOF_SKEW_S || nbf > now + PROOF_SKEW_S)
        return "it is from the future";
    if (exp > now + PROOF_LONGEST_S)
        return "it lives too long";
    p->until = (exp >= 0 ? exp : iat + PROOF_LIFE_S) + PROOF_SKEW_S;
    return p->until <= now ? "it has expired" : NULL;
}

const char *proof_read(struct proof *p, const char *text, size_t n, const char *audience,
                       int64_t now_s)
{
    static const char *const types[] = {"", "JWT", NULL};
    const char *subject;

    memset(p, 0, sizeof(*p));
    if (jws_read(&p->jws, text, n) != JWT_OK)
        return "it is no JWT";
    if (!jws_type_is(&p->jws, types))
        return "its typ is another";
    if (json_object_get(p->jws.header, "kid")) {
        p->kid = strict_json_text(p->jws.header, "kid");
        if (!p->kid)
            return "its kid is no text";
    }
    p->consumer = strict_json_text(p->jws.claims, "iss");
    subject = strict_json_text(p->jws.claims, "sub");
    p->jti = strict_json_text(p->jws.claims, "jti");
    p->token = strict_json_text(p->jws.claims, "token");
    if (!p->consumer || !subject || strcmp(p->consumer, subject) != 0)
        return "iss and sub are not one and the same";
    if (!p->jti || !*p->jti)
        return "it has no jti";
    if (!p->token)
        return "it names no access token";
    if (!audience_is(p->jws.claims, audience))
        return "it is meant for somebody else";
    return times_check(p, now_s);
}

const char *proof_verify(struct proof *p, const struct jwks *keys)
{
    enum jwt_verdict v = jws_verify(&p->jws, keys, ALGORITHMS);

    return v == JWT_OK ? NULL : jwt_verdict_name(v);
}

void proof_clear(struct proof *p)
{
    jws_clear(&p->jws);
    memset(p, 0, sizeof(*p));
}
