#include "edc/secevent.h"

#include <stdio.h>
#include <string.h>

#include "auth/jws.h"
#include "auth/strict_json.h"

#define LOGOUT_EVENT "http://schemas.openid.net/event/backchannel-logout"
#define CAEP         "https://schemas.openid.net/secevent/caep/event-type/"
#define RISC         "https://schemas.openid.net/secevent/risc/event-type/"
#define SSF          "https://schemas.openid.net/secevent/ssf/event-type/"
#define SSE          "https://schemas.openid.net/secevent/sse/event-type/"

/* One that is being read. */
struct reading {
    struct secevent *out;
    const json_t *claims;
    const struct issuer_config *issuer;
    int64_t now_s, issued;
    const char *why;
};

static enum secevent_fault fault(struct reading *r, enum secevent_fault f, const char *why)
{
    r->why = why;
    return f;
}

const char *secevent_source_name(enum secevent_source s)
{
    switch (s) {
    case SECEVENT_SET:
        return "security event";
    case SECEVENT_LOGOUT:
        return "back-channel logout";
    case SECEVENT_LOGOUT_ADMIN:
        return "k_logout";
    case SECEVENT_NOT_BEFORE_ADMIN:
        return "k_push_not_before";
    }
    return "event";
}

void secevent_clear(struct secevent *e)
{
    for (unsigned i = 0; i < e->count; i++)
        revocation_free(e->revocations[i]);
    e->count = 0;
}

/* --- claims */

/* A text that an identity could hold; NULL otherwise. */
static const char *text_of(const json_t *object, const char *member)
{
    const char *text = strict_json_text(object, member);

    return text && text[0] && strlen(text) < IDENTITY_TEXT_MAX ? text : NULL;
}

/* A whole number of seconds that is one; false when it is absent or something else. */
static bool time_of(const json_t *object, const char *member, int64_t *out)
{
    const json_t *v = json_object_get(object, member);

    *out = (int64_t)json_integer_value(v);
    return json_is_integer(v) && *out >= 0 && *out <= INT64_C(253402300799);
}

static bool listed(const struct strings *list, const char *text)
{
    for (size_t i = 0; text && i < list->count; i++)
        if (strcmp(list->at[i], text) == 0)
            return true;
    return false;
}

static bool audience_is(const struct reading *r, const char *name)
{
    const struct strings *wanted = &r->issuer->events.audience;

    return name && (listed(wanted, name) || listed(wanted, "*"));
}

static enum secevent_fault audience_check(struct reading *r)
{
    const json_t *aud = json_object_get(r->claims, "aud");
    size_t count = json_is_array(aud) ? json_array_size(aud) : 1;

    for (size_t i = 0; i < count; i++)
        if (audience_is(r, json_string_value(json_is_array(aud) ? json_array_get(aud, i) : aud)))
            return SECEVENT_FINE;
    return fault(r, SECEVENT_AUDIENCE, "it is for another audience");
}

/* iat and jti, which each event needs to be taken once and in time; exp where there is one. */
static enum secevent_fault age_check(struct reading *r, bool expires)
{
    int64_t age = r->issuer->events.max_age_s, end;
    const char *id = text_of(r->claims, "jti");

    if (!id)
        return fault(r, SECEVENT_MALFORMED, "it has no usable jti");
    snprintf(r->out->id, sizeof(r->out->id), "%s", id);
    if (!time_of(r->claims, "iat", &r->issued))
        return fault(r, SECEVENT_MALFORMED, "it has no usable iat");
    if (r->issued > r->now_s + SECEVENT_SKEW_S)
        return fault(r, SECEVENT_TIME, "it comes from the future");
    if (r->issued + age < r->now_s)
        return fault(r, SECEVENT_TIME, "it is too old");
    r->out->over_s = r->issued + age + 1;
    if (!json_object_get(r->claims, "exp"))
        return expires ? fault(r, SECEVENT_MALFORMED, "it has no exp") : SECEVENT_FINE;
    if (!time_of(r->claims, "exp", &end))
        return fault(r, SECEVENT_MALFORMED, "it has no usable exp");
    if (end + SECEVENT_SKEW_S < r->now_s)
        return fault(r, SECEVENT_TIME, "it has expired");
    return SECEVENT_FINE;
}

/* --- what is to be revoked */

/* Up to `at` of the issuer's own clock, which also wrote the tokens' iat. */
static enum secevent_fault add(struct reading *r, enum revoke_kind kind, const char *value,
                               int64_t at)
{
    struct secevent *e = r->out;
    char reason[IDENTITY_TEXT_MAX];
    struct revocation *v;

    if (e->count == SECEVENT_REVOCATIONS_MAX)
        return fault(r, SECEVENT_MALFORMED, "it names too many");
    snprintf(reason, sizeof(reason), "%s, %.200s", e->name, e->id);
    v = revocation_new(kind, r->issuer->issuer, value, "", at, 0, reason);
    if (!v)
        return fault(r, SECEVENT_NO_MEMORY, "out of memory");
    e->revocations[e->count++] = v;
    return SECEVENT_FINE;
}

/* A member that must be there, and fit. */
static enum secevent_fault add_member(struct reading *r, enum revoke_kind kind,
                                      const json_t *subject, const char *member)
{
    const char *value = text_of(subject, member);

    return value ? add(r, kind, value, r->issued)
                 : fault(r, SECEVENT_SUBJECT, "the subject's identifier is not usable");
}

/* RFC 9493's names, and the older ones of RISC: "iss-sub" as subject_type. */
static bool format_is(const json_t *subject, const char *name)
{
    const char *format = strict_json_text(subject, "format");
    size_t i;

    if (!format)
        format = strict_json_text(subject, "subject_type");
    for (i = 0; format && format[i] && name[i]; i++)
        if (format[i] != name[i] && !(format[i] == '-' && name[i] == '_'))
            return false;
    return format && format[i] == name[i];
}

static bool of_this_issuer(const struct reading *r, const json_t *subject)
{
    const char *iss = strict_json_text(subject, "iss");

    return iss && strcmp(iss, r->issuer->issuer) == 0;
}

/* A subject that is one thing. session: it may be a session's id, too; whether an opaque id is that
 * or a user's, nobody says. */
static enum secevent_fault add_simple(struct reading *r, const json_t *subject, bool session)
{
    enum secevent_fault f;

    if (format_is(subject, "iss_sub"))
        return of_this_issuer(r, subject)
                   ? add_member(r, REVOKE_SUBJECT, subject, "sub")
                   : fault(r, SECEVENT_SUBJECT, "it is about another issuer's subject");
    if (format_is(subject, "jwt_id"))
        return of_this_issuer(r, subject)
                   ? add_member(r, REVOKE_JTI, subject, "jti")
                   : fault(r, SECEVENT_SUBJECT, "it is about another issuer's token");
    if (!format_is(subject, "opaque"))
        return fault(r, SECEVENT_SUBJECT, "the subject has a format that no token knows");
    f = add_member(r, REVOKE_SUBJECT, subject, "id");
    return f == SECEVENT_FINE && session ? add_member(r, REVOKE_SESSION, subject, "id") : f;
}

/* A complex subject is where its parts meet. Its session alone says enough; of the rest we know the
 * user, and a device, a tenant or a group less than the issuer does, so the user it is. */
static enum secevent_fault add_complex(struct reading *r, const json_t *subject, bool session)
{
    const json_t *part = json_object_get(subject, "session");

    if (session && part) {
        if (format_is(part, "opaque"))
            return add_member(r, REVOKE_SESSION, part, "id");
        return add_simple(r, part, true);
    }
    part = json_object_get(subject, "user");
    return part ? add_simple(r, part, false)
                : fault(r, SECEVENT_SUBJECT, "the subject has no user and no session");
}

static enum secevent_fault add_subject(struct reading *r, const json_t *event, bool session)
{
    const json_t *subject = json_object_get(r->claims, "sub_id");

    if (!subject)
        subject = json_object_get(event, "subject");
    if (!subject)
        return add_member(r, REVOKE_SUBJECT, r->claims, "sub");
    if (!json_is_object(subject))
        return fault(r, SECEVENT_SUBJECT, "the subject is not an object");
    if (format_is(subject, "complex") ||
        (!json_object_get(subject, "format") && !json_object_get(subject, "subject_type")))
        return add_complex(r, subject, session);
    return add_simple(r, subject, session);
}

/* --- security event tokens */

enum effect { EFFECT_SESSION, EFFECT_ACCOUNT, EFFECT_NONE };

static const struct {
    const char *uri, *name;
    enum effect effect;
} events[] = {
    {CAEP "session-revoked", "session-revoked", EFFECT_SESSION},
    {RISC "account-disabled", "account-disabled", EFFECT_ACCOUNT},
    {RISC "account-purged", "account-purged", EFFECT_ACCOUNT},
    {RISC "sessions-revoked", "sessions-revoked", EFFECT_ACCOUNT},
    {SSF "verification", "verification", EFFECT_NONE},
    {SSE "verification", "verification", EFFECT_NONE},
};

static enum secevent_fault read_event(struct reading *r, const char *uri, const json_t *payload)
{
    size_t i = 0;

    while (i < sizeof(events) / sizeof(events[0]) && strcmp(events[i].uri, uri) != 0)
        i++;
    if (!json_is_object(payload))
        return fault(r, SECEVENT_MALFORMED, "an event is not an object");
    if (i == sizeof(events) / sizeof(events[0]))
        return SECEVENT_FINE; /* RFC 8417, 2: what is not known is passed over */
    r->out->name = events[i].name;
    switch (events[i].effect) {
    case EFFECT_SESSION:
        return add_subject(r, payload, true);
    case EFFECT_ACCOUNT:
        return add_subject(r, payload, false);
    case EFFECT_NONE:
        break;
    }
    return SECEVENT_FINE;
}

static enum secevent_fault read_set(struct reading *r)
{
    json_t *list = json_object_get(r->claims, "events"), *payload;
    enum secevent_fault f = audience_check(r);
    const char *uri;

    r->out->name = "event of no kind that is known";
    if (f == SECEVENT_FINE)
        f = age_check(r, false);
    if (f != SECEVENT_FINE)
        return f;
    if (json_object_size(list) == 0 || json_object_size(list) > SECEVENT_TYPES_MAX)
        return fault(r, SECEVENT_MALFORMED, "it has no events, or too many");
    json_object_foreach(list, uri, payload)
    {
        f = read_event(r, uri, payload);
        if (f != SECEVENT_FINE)
            return f;
    }
    return SECEVENT_FINE;
}

/* --- logout tokens */

/* An access or an ID token is none, whatever else it holds: those have no such event, a nonce, or
 * another kind in Keycloak's `typ`. */
static enum secevent_fault read_logout(struct reading *r)
{
    const json_t *event = json_object_get(json_object_get(r->claims, "events"), LOGOUT_EVENT);
    const json_t *typ = json_object_get(r->claims, "typ");
    const json_t *sid = json_object_get(r->claims, "sid");
    enum secevent_fault f;

    r->out->name = "back-channel logout";
    if (!json_is_object(event))
        return fault(r, SECEVENT_MALFORMED, "it is no logout token: its event is missing");
    if (json_object_get(r->claims, "nonce"))
        return fault(r, SECEVENT_MALFORMED, "it is no logout token: it has a nonce");
    if (typ && (!json_is_string(typ) || strcmp(json_string_value(typ), "Logout") != 0))
        return fault(r, SECEVENT_MALFORMED, "it is no logout token: it is of another kind");
    f = audience_check(r);
    if (f == SECEVENT_FINE)
        f = age_check(r, true);
    if (f != SECEVENT_FINE)
        return f;
    if (sid)
        return add_member(r, REVOKE_SESSION, r->claims, "sid");
    return add_member(r, REVOKE_SUBJECT, r->claims, "sub");
}

/* --- Keycloak's own */

/* All tokens of the resource issued before `at`: sluice itself stands for all that the issuer's
 * tokens are used for here, another client for its own. */
static enum secevent_fault add_resource(struct reading *r, const char *resource, int64_t at)
{
    if (listed(&r->issuer->audience, resource))
        return add(r, REVOKE_ISSUER, "", at);
    return add(r, REVOKE_CLIENT, resource, at - 1);
}

static enum secevent_fault read_not_before(struct reading *r, const char *resource)
{
    int64_t at;

    r->out->name = "k_push_not_before";
    if (!time_of(r->claims, "notBefore", &at))
        return fault(r, SECEVENT_MALFORMED, "it has no usable notBefore");
    if (at > r->now_s + SECEVENT_NOT_BEFORE_S)
        return fault(r, SECEVENT_TIME, "its notBefore is in the future");
    return at == 0 ? SECEVENT_FINE
                   : add_resource(r, resource, at); /* 0: the policy was taken away */
}

static bool none(const json_t *list)
{
    return !list || json_is_null(list) || (json_is_array(list) && json_array_size(list) == 0);
}

/* Sessions, or with none named all of the resource's. */
static enum secevent_fault read_sessions(struct reading *r, const char *resource)
{
    const json_t *list = json_object_get(r->claims, "keycloakSessionIds");
    const json_t *before = json_object_get(r->claims, "notBefore");
    int64_t at = r->now_s + 1;
    enum secevent_fault f = SECEVENT_FINE;

    r->out->name = "k_logout";
    if (none(list)) {
        if (!none(json_object_get(r->claims, "adapterSessionIds")))
            return fault(r, SECEVENT_SUBJECT, "it names sessions that no token tells of");
        if (json_integer_value(before) > 0 &&
            (!time_of(r->claims, "notBefore", &at) || at > r->now_s + SECEVENT_NOT_BEFORE_S))
            return fault(r, SECEVENT_TIME, "its notBefore is in the future");
        return add_resource(r, resource, at);
    }
    if (!json_is_array(list))
        return fault(r, SECEVENT_MALFORMED, "its sessions are no list");
    if (json_array_size(list) > SECEVENT_REVOCATIONS_MAX)
        return add_resource(r, resource, at); /* rather all than some */
    for (size_t i = 0; f == SECEVENT_FINE && i < json_array_size(list); i++) {
        const char *sid = json_string_value(json_array_get(list, i));

        if (!sid || !sid[0] || strlen(sid) >= IDENTITY_TEXT_MAX)
            return fault(r, SECEVENT_MALFORMED, "a session is no usable text");
        f = add(r, REVOKE_SESSION, sid, r->now_s);
    }
    return f;
}

/* {id, expiration, resource, action ...}: the one shape without an issuer, so nothing that has one
 * is taken for it. expiration is at most max_age_s away, so that the id can be remembered. */
static enum secevent_fault read_admin(struct reading *r, enum secevent_source source)
{
    const char *id = text_of(r->claims, "id");
    const char *resource = text_of(r->claims, "resource");
    const char *action = strict_json_text(r->claims, "action");
    const char *wanted = source == SECEVENT_LOGOUT_ADMIN ? "LOGOUT" : "PUSH_NOT_BEFORE";
    int64_t end;

    if (json_object_get(r->claims, "iss") || json_object_get(r->claims, "aud"))
        return fault(r, SECEVENT_MALFORMED, "it is a token, not an action");
    if (!id || !resource || !action || !time_of(r->claims, "expiration", &end))
        return fault(r, SECEVENT_MALFORMED, "id, resource, action or expiration is not usable");
    if (strcmp(action, wanted) != 0)
        return fault(r, SECEVENT_MALFORMED, "another action than its path");
    snprintf(r->out->id, sizeof(r->out->id), "%s", id);
    if (!audience_is(r, resource))
        return fault(r, SECEVENT_AUDIENCE, "it is for another resource");
    if (end < r->now_s)
        return fault(r, SECEVENT_TIME, "it has expired");
    if (end > r->now_s + (int64_t)r->issuer->events.max_age_s)
        return fault(r, SECEVENT_TIME, "it is valid for longer than events.max_age_s");
    r->out->over_s = end + 1;
    r->issued = r->now_s;
    return source == SECEVENT_LOGOUT_ADMIN ? read_sessions(r, resource)
                                           : read_not_before(r, resource);
}

/* --- signatures */

static bool typed(const struct jws *j, enum secevent_source source)
{
    static const char *const set[] = {"secevent+jwt", NULL};
    static const char *const logout[] = {"logout+jwt", "JWT", "", NULL};
    static const char *const admin[] = {"JWT", "", NULL};

    switch (source) {
    case SECEVENT_SET:
        return jws_type_is(j, set);
    case SECEVENT_LOGOUT:
        return jws_type_is(j, logout);
    case SECEVENT_LOGOUT_ADMIN:
    case SECEVENT_NOT_BEFORE_ADMIN:
        return jws_type_is(j, admin);
    }
    return false;
}

/* By a key of this issuer? A kid that it does not have (yet) is noted in the event. */
static enum secevent_fault signed_by(struct reading *r, struct jws *j, const struct keyring *keys,
                                     size_t i)
{
    const struct issuer_config *c = &keys->config->issuers[i];

    switch (keys->sets[i] ? jws_verify(j, keys->sets[i], c->algorithms) : JWT_NO_KEYS) {
    case JWT_OK:
        r->issuer = c;
        snprintf(r->out->issuer, sizeof(r->out->issuer), "%s", c->issuer);
        return SECEVENT_FINE;
    case JWT_KEY:
    case JWT_NO_KEYS:
        r->out->unknown_kid |= 1u << i;
        return fault(r, SECEVENT_KEY, "its key is not known");
    case JWT_RESOURCES:
        return fault(r, SECEVENT_NO_MEMORY, "out of memory");
    case JWT_ALGORITHM:
        return fault(r, SECEVENT_SIGNATURE, "its algorithm is not allowed");
    case JWT_MALFORMED:
        return fault(r, SECEVENT_MALFORMED, "its kid is not usable");
    case JWT_TYPE:
    case JWT_ISSUER:
    case JWT_SIGNATURE:
    case JWT_AUDIENCE:
    case JWT_EXPIRED:
    case JWT_NOT_YET:
    case JWT_CLAIMS:
    case JWT_TOO_LONG:
    case JWT_BINDING:
    case JWT_VETO:
        break;
    }
    return fault(r, SECEVENT_SIGNATURE, "its signature does not hold");
}

static size_t issuers_of(const struct keyring *keys)
{
    size_t n = keys->config->nissuers;

    return n < KEYRING_ISSUERS_MAX ? n : KEYRING_ISSUERS_MAX;
}

/* One that names its issuer. */
static enum secevent_fault read_named(struct reading *r, struct jws *j, const struct keyring *keys,
                                      enum secevent_source source)
{
    const char *iss = strict_json_text(j->claims, "iss");
    enum secevent_fault f;

    for (size_t i = 0; iss && i < issuers_of(keys); i++) {
        const struct issuer_config *c = &keys->config->issuers[i];

        if (strcmp(c->issuer, iss) != 0 || c->events.audience.count == 0)
            continue;
        f = signed_by(r, j, keys, i);
        if (f != SECEVENT_FINE)
            return f;
        return source == SECEVENT_SET ? read_set(r) : read_logout(r);
    }
    return fault(r, SECEVENT_ISSUER, "no issuer whose events are wanted");
}

/* One that names none: of each issuer whose key has signed it. One who puts another's key into its
 * own set hits its own tokens, and keeps nothing from the other's. */
static enum secevent_fault read_unnamed(struct reading *r, struct jws *j,
                                        const struct keyring *keys, enum secevent_source source)
{
    enum secevent_fault f = fault(r, SECEVENT_ISSUER, "no issuer whose events are wanted");
    const char *why = r->why;
    bool found = false;

    if (!text_of(j->header, "kid"))
        return fault(r, SECEVENT_MALFORMED, "it names no key");
    for (size_t i = 0; i < issuers_of(keys); i++) {
        enum secevent_fault of;

        if (keys->config->issuers[i].events.audience.count == 0)
            continue;
        of = signed_by(r, j, keys, i);
        if (of == SECEVENT_FINE)
            of = read_admin(r, source);
        found |= of == SECEVENT_FINE;
        if (of == SECEVENT_NO_MEMORY)
            return of;
        /* What a later one says counts more: the earlier just were not the one. */
        if (of != SECEVENT_FINE && (f == SECEVENT_ISSUER || of != SECEVENT_KEY)) {
            f = of;
            why = r->why;
        }
    }
    r->why = why;
    return found ? SECEVENT_FINE : f;
}

enum secevent_fault secevent_read(enum secevent_source source, const char *text, size_t n,
                                  const struct keyring *keys, int64_t now_s, struct secevent *out,
                                  const char **why)
{
    struct reading r = {.out = out, .now_s = now_s, .why = ""};
    enum secevent_fault f;
    struct jws j;

    memset(out, 0, sizeof(*out));
    if (jws_read(&j, text, n) != JWT_OK)
        f = fault(&r, SECEVENT_MALFORMED, "it is no signed token");
    else if (!typed(&j, source))
        f = fault(&r, SECEVENT_MALFORMED, "it is of another type");
    else {
        r.claims = j.claims;
        f = source == SECEVENT_SET || source == SECEVENT_LOGOUT
                ? read_named(&r, &j, keys, source)
                : read_unnamed(&r, &j, keys, source);
    }
    jws_clear(&j);
    if (f != SECEVENT_FINE)
        secevent_clear(out);
    *why = r.why;
    return f;
}
