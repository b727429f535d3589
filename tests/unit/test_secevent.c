#include "tests/unit/unit.h"

#include "edc/secevent.h"
#include "tests/unit/token.h"

#define NOW   INT64_C(1700000000)
#define ISS   "https://idp.example.com"
#define OTHER "https://other.example.com"
#define CAEP  "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
#define RISC  "https://schemas.openid.net/secevent/risc/event-type/account-disabled"
#define BCL   "http://schemas.openid.net/event/backchannel-logout"

static EVP_PKEY *key, *other_key;
static struct config *config;
static struct keyring *ring;
static struct secevent event;
static const char *why;

static struct jwks *set_of(const EVP_PKEY *k, const char *kid)
{
    char text[1024], err[128], *jwk = token_jwk(k, kid, "");
    struct jwks *set;
    unsigned ignored;
    int n = snprintf(text, sizeof(text), "{\"keys\":[%s]}", jwk);

    assert_int_equal(jwks_parse(text, (size_t)n, &set, &ignored, err, sizeof(err)), OK);
    free(jwk);
    return set;
}

static int group_setup(void **state)
{
    struct jwks *sets[4] = {NULL};

    (void)state;
    key = EVP_EC_gen("P-256");
    other_key = EVP_EC_gen("P-256");
    config = token_config(
        "issuers:\n"
        "- {issuer: '" ISS "', audience: [sluice, gate], events: {audience: [sluice, c1]}}\n"
        "- {issuer: '" OTHER "', audience: sluice, events: {audience: '*'}}\n"
        "- {issuer: 'https://quiet.example.com', audience: sluice}\n"
        "- {issuer: 'https://keyless.example.com', audience: sluice, events: {audience: c9}}\n");
    assert_non_null(config);
    sets[0] = set_of(key, "k1");
    sets[1] = set_of(other_key, "o1");
    sets[2] = set_of(key, "k1");
    ring = keyring_new(config, sets);
    assert_non_null(ring);
    for (unsigned i = 0; i < 3; i++)
        jwks_unref(sets[i]);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    secevent_clear(&event);
    keyring_unref(ring);
    config_unref(config);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other_key);
    return 0;
}

static char *signed_by(EVP_PKEY *k, const char *kid, const char *typ, const char *claims)
{
    char header[256];

    snprintf(header, sizeof(header), "{\"alg\":\"ES256\"%s%s%s%s%s%s}", kid ? ",\"kid\":\"" : "",
             kid ? kid : "", kid ? "\"" : "", typ ? ",\"typ\":\"" : "", typ ? typ : "",
             typ ? "\"" : "");
    return token_sign("ES256", k, header, claims);
}

static enum secevent_fault read_text(enum secevent_source s, const char *text)
{
    secevent_clear(&event);
    return secevent_read(s, text, strlen(text), ring, NOW, &event, &why);
}

static enum secevent_fault read_with(enum secevent_source s, EVP_PKEY *k, const char *kid,
                                     const char *typ, const char *claims)
{
    char *text = signed_by(k, kid, typ, claims);
    enum secevent_fault f = read_text(s, text);

    free(text);
    return f;
}

static const char *type_of(enum secevent_source s)
{
    return s == SECEVENT_SET ? "secevent+jwt" : s == SECEVENT_LOGOUT ? "logout+jwt" : "JWT";
}

static enum secevent_fault take(enum secevent_source s, const char *claims)
{
    return read_with(s, key, "k1", type_of(s), claims);
}

#define expect(s, f, claims) expect_at(s, f, claims, __LINE__)
static void expect_at(enum secevent_source s, enum secevent_fault f, const char *claims, int line)
{
    enum secevent_fault got = take(s, claims);

    if (got != f)
        fail_msg("line %d: %d in place of %d: %s", line, got, f, why);
    assert_true(f == SECEVENT_FINE || (event.count == 0 && why[0]));
}

static void revokes(unsigned i, enum revoke_kind kind, const char *value, int64_t at)
{
    const struct revocation *r;

    assert_in_range(i, 0, event.count - 1);
    r = event.revocations[i];
    assert_int_equal(r->kind, kind);
    assert_string_equal(r->issuer, event.issuer);
    assert_string_equal(r->value, value);
    assert_int_equal(r->at, at);
    assert_int_equal(r->until, 0);
}

/* A SET with this subject and event. */
#define SET_OF(more, uri, payload)                                                                 \
    "{\"iss\":\"" ISS "\",\"aud\":\"sluice\",\"iat\":1699999990,\"jti\":\"e1\"" more               \
    ",\"events\":{\"" uri "\":" payload "}}"
#define SUB_ID(members) ",\"sub_id\":{" members "}"
#define BOB             "\"format\":\"iss_sub\",\"iss\":\"" ISS "\",\"sub\":\"bob\""

/* --- security event tokens */

static void session_revoked(void **state)
{
    (void)state;
    expect(SECEVENT_SET, SECEVENT_FINE,
           SET_OF(SUB_ID(BOB), CAEP, "{\"event_timestamp\":1699999000}"));
    assert_string_equal(event.issuer, ISS);
    assert_string_equal(event.id, "e1");
    assert_string_equal(event.name, "session-revoked");
    assert_int_equal(event.over_s, NOW - 10 + 600 + 1);
    assert_int_equal(event.count, 1);
    revokes(0, REVOKE_SUBJECT, "bob", NOW - 10);
    assert_non_null(strstr(event.revocations[0]->reason, "session-revoked, e1"));
    /* A session by its id: or a user, who knows. */
    expect(SECEVENT_SET, SECEVENT_FINE,
           SET_OF(SUB_ID("\"format\":\"opaque\",\"id\":\"x1\""), CAEP, "{}"));
    assert_int_equal(event.count, 2);
    revokes(0, REVOKE_SUBJECT, "x1", NOW - 10);
    revokes(1, REVOKE_SESSION, "x1", NOW - 10);
    expect(SECEVENT_SET, SECEVENT_FINE,
           SET_OF(SUB_ID("\"format\":\"jwt_id\",\"iss\":\"" ISS "\",\"jti\":\"j1\""), CAEP, "{}"));
    assert_int_equal(event.count, 1);
    revokes(0, REVOKE_JTI, "j1", NOW - 10);
}

static void complex_subjects(void **state)
{
    (void)state;
    expect(SECEVENT_SET, SECEVENT_FINE,
           SET_OF(SUB_ID("\"format\":\"complex\",\"user\":{" BOB "},"
                         "\"session\":{\"format\":\"opaque\",\"id\":\"s1\"}"),
                  CAEP, "{}"));
    assert_int_equal(event.count, 1);
    revokes(0, REVOKE_SESSION, "s1", NOW - 10);
    /* Its user, where a device narrows it further; also without the word complex. */
    expect(SECEVENT_SET, SECEVENT_FINE,
           SET_OF(SUB_ID("\"user\":{" BOB "},\"device\":{\"format\":\"opaque\",\"id\":\"d\"}"),
                  CAEP, "{}"));
    assert_int_equal(event.count, 1);
    revokes(0, REVOKE_SUBJECT, "bob", NOW - 10);
    /* An account is the user's, whatever session it is seen with. */
    expect(SECEVENT_SET, SECEVENT_FINE,
           SET_OF(SUB_ID("\"format\":\"complex\",\"user\":{" BOB "},"
                         "\"session\":{\"format\":\"opaque\",\"id\":\"s1\"}"),
                  RISC, "{}"));
    revokes(0, REVOKE_SUBJECT, "bob", NOW - 10);
    expect(SECEVENT_SET, SECEVENT_SUBJECT,
           SET_OF(SUB_ID("\"format\":\"complex\",\"session\":{\"format\":\"opaque\",\"id\":\"s\"}"),
                  RISC, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT,
           SET_OF(SUB_ID("\"format\":\"complex\",\"tenant\":{\"format\":\"opaque\",\"id\":\"t\"}"),
                  CAEP, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT,
           SET_OF(SUB_ID("\"format\":\"complex\",\"user\":7"), CAEP, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT,
           SET_OF(SUB_ID("\"format\":\"complex\",\"user\":{\"format\":\"complex\"}"), CAEP, "{}"));
}

static void account_disabled(void **state)
{
    (void)state;
    expect(SECEVENT_SET, SECEVENT_FINE, SET_OF(SUB_ID(BOB), RISC, "{\"reason\":\"hijacking\"}"));
    assert_string_equal(event.name, "account-disabled");
    revokes(0, REVOKE_SUBJECT, "bob", NOW - 10);
    /* The older shape: the subject in the event, with a minus. */
    expect(SECEVENT_SET, SECEVENT_FINE,
           SET_OF("", RISC,
                  "{\"subject\":{\"subject_type\":\"iss-sub\",\"iss\":\"" ISS
                  "\",\"sub\":\"bob\"}}"));
    revokes(0, REVOKE_SUBJECT, "bob", NOW - 10);
    /* And the oldest. */
    expect(SECEVENT_SET, SECEVENT_FINE, SET_OF(",\"sub\":\"bob\"", RISC, "{}"));
    revokes(0, REVOKE_SUBJECT, "bob", NOW - 10);
    expect(SECEVENT_SET, SECEVENT_FINE,
           SET_OF(SUB_ID("\"format\":\"opaque\",\"id\":\"bob\""), RISC, "{}"));
    assert_int_equal(event.count, 1); /* not a session */
}

static void subjects_of_others(void **state)
{
    (void)state;
    expect(
        SECEVENT_SET, SECEVENT_SUBJECT,
        SET_OF(SUB_ID("\"format\":\"iss_sub\",\"iss\":\"" OTHER "\",\"sub\":\"bob\""), CAEP, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT,
           SET_OF(SUB_ID("\"format\":\"iss_sub\",\"sub\":\"bob\""), CAEP, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT,
           SET_OF(SUB_ID("\"format\":\"jwt_id\",\"iss\":\"" OTHER "\",\"jti\":\"j\""), CAEP, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT,
           SET_OF(SUB_ID("\"format\":\"email\",\"email\":\"b@example.com\""), CAEP, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT,
           SET_OF(SUB_ID("\"format\":\"iss_subs\",\"iss\":\"" ISS "\",\"sub\":\"b\""), CAEP, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT,
           SET_OF(SUB_ID("\"format\":\"iss\",\"iss\":\"" ISS "\",\"sub\":\"b\""), CAEP, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT, SET_OF("", CAEP, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT, SET_OF(",\"sub_id\":\"bob\"", CAEP, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT,
           SET_OF(SUB_ID("\"format\":\"opaque\",\"id\":\"\""), CAEP, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT,
           SET_OF(SUB_ID("\"format\":\"opaque\",\"id\":7"), CAEP, "{}"));
    expect(SECEVENT_SET, SECEVENT_SUBJECT,
           SET_OF(SUB_ID("\"format\":\"opaque\",\"id\":\"a\\u0001\""), CAEP, "{}"));
}

static void events_of_no_effect(void **state)
{
    (void)state;
    expect(SECEVENT_SET, SECEVENT_FINE,
           SET_OF("", "https://schemas.openid.net/secevent/ssf/event-type/verification",
                  "{\"state\":\"x\"}"));
    assert_string_equal(event.name, "verification");
    assert_int_equal(event.count, 0);
    expect(SECEVENT_SET, SECEVENT_FINE, SET_OF("", "https://example.com/something-else", "{}"));
    assert_int_equal(event.count, 0);
    /* Several: what is known counts. */
    expect(SECEVENT_SET, SECEVENT_FINE,
           SET_OF(SUB_ID(BOB), "https://example.com/something-else\":{},\"" CAEP, "{}"));
    assert_int_equal(event.count, 1);
    expect(SECEVENT_SET, SECEVENT_MALFORMED, SET_OF(SUB_ID(BOB), CAEP, "null"));
    expect(SECEVENT_SET, SECEVENT_MALFORMED, SET_OF(SUB_ID(BOB), CAEP, "[]"));
    expect(SECEVENT_SET, SECEVENT_MALFORMED,
           "{\"iss\":\"" ISS "\",\"aud\":\"sluice\",\"iat\":1700000000,\"jti\":\"e\","
           "\"events\":{}}");
    expect(SECEVENT_SET, SECEVENT_MALFORMED,
           "{\"iss\":\"" ISS "\",\"aud\":\"sluice\",\"iat\":1700000000,\"jti\":\"e\","
           "\"events\":[\"" CAEP "\"]}");
    expect(SECEVENT_SET, SECEVENT_MALFORMED,
           "{\"iss\":\"" ISS "\",\"aud\":\"sluice\",\"iat\":1700000000,\"jti\":\"e\"}");
}

/* --- what all have in common */

#define TIMED(iat, more)                                                                           \
    "{\"iss\":\"" ISS "\",\"aud\":\"sluice\",\"iat\":" iat ",\"jti\":\"e\"" more SUB_ID(           \
        BOB) ",\"events\":{\"" CAEP "\":{}}}"

static void times(void **state)
{
    (void)state;
    expect(SECEVENT_SET, SECEVENT_FINE, TIMED("1699999400", ""));
    expect(SECEVENT_SET, SECEVENT_TIME, TIMED("1699999399", ""));
    expect(SECEVENT_SET, SECEVENT_FINE, TIMED("1700000030", ""));
    revokes(0, REVOKE_SUBJECT, "bob", NOW + 30);
    expect(SECEVENT_SET, SECEVENT_TIME, TIMED("1700000031", ""));
    expect(SECEVENT_SET, SECEVENT_TIME, TIMED("0", ""));
    expect(SECEVENT_SET, SECEVENT_MALFORMED, TIMED("-1", ""));
    expect(SECEVENT_SET, SECEVENT_MALFORMED, TIMED("1700000000.5", ""));
    expect(SECEVENT_SET, SECEVENT_MALFORMED, TIMED("\"1700000000\"", ""));
    expect(SECEVENT_SET, SECEVENT_MALFORMED, TIMED("null", ""));
    expect(SECEVENT_SET, SECEVENT_MALFORMED, TIMED("99999999999999", ""));
    expect(SECEVENT_SET, SECEVENT_FINE, TIMED("1700000000", ",\"exp\":1699999970"));
    expect(SECEVENT_SET, SECEVENT_TIME, TIMED("1700000000", ",\"exp\":1699999969"));
    expect(SECEVENT_SET, SECEVENT_MALFORMED, TIMED("1700000000", ",\"exp\":\"x\""));
    expect(SECEVENT_SET, SECEVENT_MALFORMED,
           "{\"iss\":\"" ISS
           "\",\"aud\":\"sluice\",\"iat\":1700000000" SUB_ID(BOB) ",\"events\":{\"" CAEP "\":{}}}");
    expect(SECEVENT_SET, SECEVENT_MALFORMED,
           "{\"iss\":\"" ISS "\",\"aud\":\"sluice\",\"iat\":1700000000,\"jti\":\"\"" SUB_ID(
               BOB) ",\"events\":{\"" CAEP "\":{}}}");
}

#define FOR(aud)                                                                                   \
    "{\"iss\":\"" ISS "\",\"aud\":" aud                                                            \
    ",\"iat\":1700000000,\"jti\":\"e\"" SUB_ID(BOB) ",\"events\":{\"" CAEP "\":{}}}"

static void audiences(void **state)
{
    char *text;

    (void)state;
    expect(SECEVENT_SET, SECEVENT_FINE, FOR("\"c1\""));
    expect(SECEVENT_SET, SECEVENT_FINE, FOR("[\"x\",\"sluice\"]"));
    expect(SECEVENT_SET, SECEVENT_AUDIENCE, FOR("\"gate\"")); /* of tokens, not of events */
    expect(SECEVENT_SET, SECEVENT_AUDIENCE, FOR("\"*\""));
    expect(SECEVENT_SET, SECEVENT_AUDIENCE, FOR("[]"));
    expect(SECEVENT_SET, SECEVENT_AUDIENCE, FOR("[[\"sluice\"]]"));
    expect(SECEVENT_SET, SECEVENT_AUDIENCE, FOR("null"));
    expect(SECEVENT_SET, SECEVENT_AUDIENCE, FOR("{\"sluice\":1}"));
    /* The other issuer takes any, but one it must be. */
    text = signed_by(other_key, "o1", "secevent+jwt",
                     "{\"iss\":\"" OTHER "\",\"aud\":\"whoever\",\"iat\":1700000000,\"jti\":\"e\","
                     "\"sub\":\"bob\",\"events\":{\"" RISC "\":{}}}");
    assert_int_equal(read_text(SECEVENT_SET, text), SECEVENT_FINE);
    assert_string_equal(event.revocations[0]->issuer, OTHER);
    free(text);
    text = signed_by(other_key, "o1", "secevent+jwt",
                     "{\"iss\":\"" OTHER "\",\"iat\":1700000000,\"jti\":\"e\","
                     "\"sub\":\"bob\",\"events\":{\"" RISC "\":{}}}");
    assert_int_equal(read_text(SECEVENT_SET, text), SECEVENT_AUDIENCE);
    free(text);
}

#define OF(iss)                                                                                    \
    "{\"iss\":\"" iss "\",\"aud\":\"sluice\",\"iat\":1700000000,\"jti\":\"e\",\"sub\":\"bob\""     \
    ",\"events\":{\"" RISC "\":{}}}"

static void issuers_and_keys(void **state)
{
    (void)state;
    expect(SECEVENT_SET, SECEVENT_ISSUER, OF("https://nobody.example.com"));
    expect(SECEVENT_SET, SECEVENT_ISSUER, OF("https://quiet.example.com")); /* wants none */
    expect(SECEVENT_SET, SECEVENT_ISSUER,
           "{\"aud\":\"sluice\",\"iat\":1700000000,\"jti\":\"e\",\"sub\":\"bob\",\"events\":{}}");
    expect(SECEVENT_SET, SECEVENT_KEY, OF("https://keyless.example.com"));
    assert_int_equal(event.unknown_kid, 1u << 3);
    /* A key of one issuer says nothing about another's tokens. */
    expect(SECEVENT_SET, SECEVENT_KEY, OF(OTHER));
    assert_int_equal(event.unknown_kid, 1u << 1);
    assert_string_equal(event.issuer, "");
    assert_int_equal(read_with(SECEVENT_SET, key, "o1", "secevent+jwt", OF(OTHER)),
                     SECEVENT_SIGNATURE);
    assert_int_equal(read_with(SECEVENT_SET, other_key, "k1", "secevent+jwt", OF(ISS)),
                     SECEVENT_SIGNATURE);
    assert_int_equal(read_with(SECEVENT_SET, key, "k2", "secevent+jwt", OF(ISS)), SECEVENT_KEY);
    assert_int_equal(event.unknown_kid, 1u);
    assert_int_equal(read_with(SECEVENT_SET, key, NULL, "secevent+jwt", OF(ISS)), SECEVENT_FINE);
}

/* None is taken for another, nor an access token for any. */
static void types(void **state)
{
    static const char *const refused[] = {"JWT", "at+jwt", "logout+jwt", "secevent", "x", "", NULL};

    (void)state;
    for (unsigned i = 0; i < sizeof(refused) / sizeof(*refused); i++)
        assert_int_equal(read_with(SECEVENT_SET, key, "k1", refused[i], OF(ISS)),
                         SECEVENT_MALFORMED);
    assert_int_equal(read_with(SECEVENT_SET, key, "k1", "application/secevent+jwt", OF(ISS)),
                     SECEVENT_FINE);
    assert_int_equal(read_with(SECEVENT_SET, key, "k1", "SecEvent+JWT", OF(ISS)), SECEVENT_FINE);
    assert_int_equal(read_with(SECEVENT_LOGOUT, key, "k1", "secevent+jwt", OF(ISS)),
                     SECEVENT_MALFORMED);
    assert_int_equal(read_with(SECEVENT_LOGOUT, key, "k1", "at+jwt", OF(ISS)), SECEVENT_MALFORMED);
    assert_int_equal(read_with(SECEVENT_LOGOUT_ADMIN, key, "k1", "secevent+jwt", OF(ISS)),
                     SECEVENT_MALFORMED);
    expect(SECEVENT_LOGOUT, SECEVENT_MALFORMED,
           "{\"iss\":\"" ISS "\",\"aud\":\"sluice\",\"sub\":\"bob\",\"exp\":1700000300,"
           "\"iat\":1700000000,\"jti\":\"j1\"}");
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_MALFORMED,
           "{\"iss\":\"" ISS "\",\"aud\":\"sluice\",\"sub\":\"bob\",\"exp\":1700000300,"
           "\"id\":\"a\",\"resource\":\"sluice\",\"action\":\"LOGOUT\",\"expiration\":1700000010}");
}

static void broken_tokens(void **state)
{
    char *text = signed_by(key, "k1", "secevent+jwt", OF(ISS));
    size_t n = strlen(text);

    (void)state;
    /* At every cut. */
    for (size_t i = 0; i < n; i++) {
        assert_int_not_equal(secevent_read(SECEVENT_SET, text, i, ring, NOW, &event, &why),
                             SECEVENT_FINE);
        assert_int_equal(event.count, 0);
    }
    assert_int_equal(read_text(SECEVENT_SET, text), SECEVENT_FINE);
    /* At every byte. */
    secevent_clear(&event);
    for (size_t i = 0; i < n; i++) {
        char was = text[i];

        text[i] = was == 'A' ? 'B' : 'A';
        if (was != text[i])
            assert_int_not_equal(secevent_read(SECEVENT_SET, text, n, ring, NOW, &event, &why),
                                 SECEVENT_FINE);
        text[i] = was;
    }
    free(text);
}

/* --- logout tokens */

#define LOGOUT_OF(more)                                                                            \
    "{\"iss\":\"" ISS "\",\"aud\":\"c1\",\"iat\":1699999990,\"exp\":1700000110,\"jti\":\"l1\""     \
    ",\"events\":{\"" BCL "\":{}}" more "}"

static void logouts(void **state)
{
    (void)state;
    expect(SECEVENT_LOGOUT, SECEVENT_FINE, LOGOUT_OF(",\"sub\":\"bob\",\"sid\":\"s1\""));
    assert_int_equal(event.count, 1);
    revokes(0, REVOKE_SESSION, "s1", NOW - 10);
    assert_string_equal(event.name, "back-channel logout");
    expect(SECEVENT_LOGOUT, SECEVENT_FINE, LOGOUT_OF(",\"sid\":\"s1\""));
    expect(SECEVENT_LOGOUT, SECEVENT_FINE, LOGOUT_OF(",\"sub\":\"bob\""));
    revokes(0, REVOKE_SUBJECT, "bob", NOW - 10);
    expect(SECEVENT_LOGOUT, SECEVENT_FINE, LOGOUT_OF(",\"sub\":\"bob\",\"typ\":\"Logout\""));
    assert_int_equal(read_with(SECEVENT_LOGOUT, key, "k1", "JWT", LOGOUT_OF(",\"sub\":\"bob\"")),
                     SECEVENT_FINE);
    assert_int_equal(read_with(SECEVENT_LOGOUT, key, "k1", NULL, LOGOUT_OF(",\"sub\":\"bob\"")),
                     SECEVENT_FINE);
    expect(SECEVENT_LOGOUT, SECEVENT_SUBJECT, LOGOUT_OF(""));
    expect(SECEVENT_LOGOUT, SECEVENT_SUBJECT, LOGOUT_OF(",\"sub\":\"\""));
    expect(SECEVENT_LOGOUT, SECEVENT_SUBJECT, LOGOUT_OF(",\"sub\":\"bob\",\"sid\":7"));
    expect(SECEVENT_LOGOUT, SECEVENT_MALFORMED, LOGOUT_OF(",\"sub\":\"bob\",\"nonce\":\"n\""));
    expect(SECEVENT_LOGOUT, SECEVENT_MALFORMED, LOGOUT_OF(",\"sub\":\"bob\",\"nonce\":null"));
    expect(SECEVENT_LOGOUT, SECEVENT_MALFORMED, LOGOUT_OF(",\"sub\":\"bob\",\"typ\":\"Bearer\""));
    expect(SECEVENT_LOGOUT, SECEVENT_MALFORMED, LOGOUT_OF(",\"sub\":\"bob\",\"typ\":7"));
    expect(SECEVENT_LOGOUT, SECEVENT_MALFORMED,
           "{\"iss\":\"" ISS "\",\"aud\":\"c1\",\"iat\":1700000000,\"jti\":\"l\",\"sub\":\"bob\","
           "\"events\":{\"" BCL "\":{}}}"); /* no exp */
    expect(SECEVENT_LOGOUT, SECEVENT_MALFORMED,
           "{\"iss\":\"" ISS "\",\"aud\":\"c1\",\"iat\":1700000000,\"exp\":1700000100,"
           "\"jti\":\"l\",\"sub\":\"bob\",\"events\":{\"" BCL "\":true}}");
    expect(SECEVENT_LOGOUT, SECEVENT_AUDIENCE,
           "{\"iss\":\"" ISS "\",\"aud\":\"c2\",\"iat\":1700000000,\"exp\":1700000100,"
           "\"jti\":\"l\",\"sub\":\"bob\",\"events\":{\"" BCL "\":{}}}");
}

/* --- Keycloak's own */

#define ADMIN_OF(action, resource, more)                                                           \
    "{\"id\":\"a1\",\"expiration\":1700000030,\"resource\":\"" resource "\",\"action\":\"" action  \
    "\"" more "}"
#define PUSH(resource, before) ADMIN_OF("PUSH_NOT_BEFORE", resource, ",\"notBefore\":" before)
#define KICK(resource, more)   ADMIN_OF("LOGOUT", resource, more)

static void not_before(void **state)
{
    (void)state;
    expect(SECEVENT_NOT_BEFORE_ADMIN, SECEVENT_FINE, PUSH("sluice", "1699999000"));
    assert_int_equal(event.count, 1);
    revokes(0, REVOKE_ISSUER, "", 1699999000);
    assert_int_equal(event.over_s, NOW + 31);
    assert_string_equal(event.id, "a1");
    /* Another client: its own tokens. iat < notBefore is iat up to notBefore - 1. */
    expect(SECEVENT_NOT_BEFORE_ADMIN, SECEVENT_FINE, PUSH("c1", "1699999000"));
    revokes(0, REVOKE_CLIENT, "c1", 1699998999);
    expect(SECEVENT_NOT_BEFORE_ADMIN, SECEVENT_FINE, PUSH("sluice", "0"));
    assert_int_equal(event.count, 0);
    expect(SECEVENT_NOT_BEFORE_ADMIN, SECEVENT_FINE, PUSH("sluice", "1700000300"));
    expect(SECEVENT_NOT_BEFORE_ADMIN, SECEVENT_TIME, PUSH("sluice", "1700000301"));
    expect(SECEVENT_NOT_BEFORE_ADMIN, SECEVENT_AUDIENCE, PUSH("c2", "1699999000"));
    expect(SECEVENT_NOT_BEFORE_ADMIN, SECEVENT_AUDIENCE, PUSH("gate", "1699999000"));
    expect(SECEVENT_NOT_BEFORE_ADMIN, SECEVENT_MALFORMED, PUSH("sluice", "\"1699999000\""));
    expect(SECEVENT_NOT_BEFORE_ADMIN, SECEVENT_MALFORMED, PUSH("sluice", "-1"));
    expect(SECEVENT_NOT_BEFORE_ADMIN, SECEVENT_MALFORMED, PUSH("", "1699999000"));
    expect(SECEVENT_NOT_BEFORE_ADMIN, SECEVENT_MALFORMED,
           ADMIN_OF("PUSH_NOT_BEFORE", "sluice", ""));
    expect(SECEVENT_NOT_BEFORE_ADMIN, SECEVENT_MALFORMED, KICK("sluice", ",\"notBefore\":1"));
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_MALFORMED, PUSH("sluice", "1699999000"));
}

static void admin_times_and_keys(void **state)
{
    (void)state;
#define UNTIL(end) "{\"id\":\"a\",\"expiration\":" end ",\"resource\":\"c1\",\"action\":\"LOGOUT\"}"
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_FINE, UNTIL("1700000000"));
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_TIME, UNTIL("1699999999"));
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_FINE, UNTIL("1700000600"));
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_TIME, UNTIL("1700000601"));
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_TIME, UNTIL("0"));
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_MALFORMED, UNTIL("null"));
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_MALFORMED,
           "{\"expiration\":1700000000,\"resource\":\"c1\",\"action\":\"LOGOUT\"}");
    assert_int_equal(read_with(SECEVENT_LOGOUT_ADMIN, key, NULL, "JWT", UNTIL("1700000000")),
                     SECEVENT_MALFORMED);
    assert_int_equal(read_with(SECEVENT_LOGOUT_ADMIN, key, "nope", "JWT", UNTIL("1700000000")),
                     SECEVENT_KEY);
    assert_int_equal(event.unknown_kid, 1u | 1u << 1 | 1u << 3);
    assert_int_equal(read_with(SECEVENT_LOGOUT_ADMIN, other_key, "k1", "JWT", UNTIL("1700000000")),
                     SECEVENT_SIGNATURE);
    /* The one whose key it is, and no other. */
    assert_int_equal(read_with(SECEVENT_LOGOUT_ADMIN, other_key, "o1", NULL, UNTIL("1700000000")),
                     SECEVENT_FINE);
    assert_string_equal(event.issuer, OTHER);
    assert_int_equal(event.count, 1);
    revokes(0, REVOKE_CLIENT, "c1", NOW);
    assert_int_equal(read_with(SECEVENT_LOGOUT_ADMIN, key, "k1", NULL, UNTIL("1700000000")),
                     SECEVENT_FINE);
    assert_string_equal(event.issuer, ISS);
    assert_int_equal(event.count, 1);
}

static void admin_logout(void **state)
{
    char text[16384];
    size_t at;

    (void)state;
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_FINE,
           KICK("c1", ",\"keycloakSessionIds\":[\"s1\",\"s2\"],\"adapterSessionIds\":[\"x\"],"
                      "\"notBefore\":0"));
    assert_int_equal(event.count, 2);
    revokes(0, REVOKE_SESSION, "s1", NOW);
    revokes(1, REVOKE_SESSION, "s2", NOW);
    /* All: of the client, or of everybody where it is sluice that is told. */
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_FINE,
           KICK("c1", ",\"keycloakSessionIds\":null,\"adapterSessionIds\":null"));
    revokes(0, REVOKE_CLIENT, "c1", NOW);
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_FINE, KICK("sluice", ",\"keycloakSessionIds\":[]"));
    revokes(0, REVOKE_ISSUER, "", NOW + 1);
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_FINE, KICK("sluice", ",\"notBefore\":1699999000"));
    revokes(0, REVOKE_ISSUER, "", 1699999000);
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_TIME, KICK("sluice", ",\"notBefore\":1700000301"));
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_SUBJECT, KICK("c1", ",\"adapterSessionIds\":[\"x\"]"));
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_MALFORMED, KICK("c1", ",\"keycloakSessionIds\":\"s1\""));
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_MALFORMED,
           KICK("c1", ",\"keycloakSessionIds\":[\"s1\",7]"));
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_MALFORMED, KICK("c1", ",\"keycloakSessionIds\":[\"\"]"));
    expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_AUDIENCE,
           KICK("c2", ",\"keycloakSessionIds\":[\"s1\"]"));
    /* More than we take one by one: all of the client's. */
    for (unsigned n = SECEVENT_REVOCATIONS_MAX; n <= SECEVENT_REVOCATIONS_MAX + 1; n++) {
        at = (size_t)snprintf(text, sizeof(text),
                              "{\"id\":\"a\",\"expiration\":1700000030,\"resource\":\"c1\","
                              "\"action\":\"LOGOUT\",\"keycloakSessionIds\":[\"s\"");
        for (unsigned i = 1; i < n; i++)
            at += (size_t)snprintf(text + at, sizeof(text) - at, ",\"session-%u\"", i);
        snprintf(text + at, sizeof(text) - at, "]}");
        expect(SECEVENT_LOGOUT_ADMIN, SECEVENT_FINE, text);
        assert_int_equal(event.count, n == SECEVENT_REVOCATIONS_MAX ? n : 1);
    }
    revokes(0, REVOKE_CLIENT, "c1", NOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(session_revoked),
        cmocka_unit_test(complex_subjects),
        cmocka_unit_test(account_disabled),
        cmocka_unit_test(subjects_of_others),
        cmocka_unit_test(events_of_no_effect),
        cmocka_unit_test(times),
        cmocka_unit_test(audiences),
        cmocka_unit_test(issuers_and_keys),
        cmocka_unit_test(types),
        cmocka_unit_test(broken_tokens),
        cmocka_unit_test(logouts),
        cmocka_unit_test(not_before),
        cmocka_unit_test(admin_times_and_keys),
        cmocka_unit_test(admin_logout),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
