/* The OAuth server on the signaling listener: keys, token and revocation endpoints. */
#include "tests/unit/token_server_bed.h"

/* --- keys */

static void shown_keys(void **state)
{
    struct jwks *set;
    char err[128];
    unsigned ignored;

    (void)state;
    for (size_t i = 0; i < token_server_nroutes; i++) /* no path secret in front of them */
        assert_true(token_server_routes[i].open);
    for (size_t i = 0; i < refresh_nroutes; i++)
        assert_true(refresh_routes[i].open);
    assert_int_equal(ask("/.well-known/jwks.json", NULL, NULL, NULL), 200);
    assert_int_equal(jwks_parse(answer, strlen(answer), &set, &ignored, err, sizeof(err)), OK);
    assert_int_equal(jwks_count(set), 1);
    jwks_unref(set);
    assert_null(strstr(answer, "\"d\""));
    assert_int_equal(ask("/.well-known/openid-configuration", NULL, NULL, NULL), 200);
    assert_string_equal(said("issuer"), OWN);
    assert_string_equal(said("jwks_uri"), OWN "/.well-known/jwks.json");
    assert_string_equal(said("token_endpoint"), OWN "/oauth2/token");
    assert_int_equal(ask("/.well-known/oauth-authorization-server", NULL, NULL, NULL), 200);
    assert_int_equal(ask("/.well-known/jwks.json", "x=y", NULL, NULL), 405);
}

/* --- the token endpoint */

static void token_endpoint(void **state)
{
    struct identity one, two;
    char first[4096];

    (void)state;
    assert_int_equal(ask("/oauth2/token", CC, NULL, "edc:" SECRET), 200);
    assert_string_equal(said("token_type"), "Bearer");
    assert_int_equal(json_integer_value(json_object_get(json, "expires_in")), 300);
    strcpy(first, said("access_token"));
    assert_int_equal(check(first, &one), JWT_OK);
    assert_string_equal(one.client, "edc");
    assert_string_equal(one.transfer, "");
    assert_int_equal(strncmp(one.subject, "edc.", 4), 0);
    /* In the form, and encoded as the RFC asks; each has a subject of its own. */
    assert_int_equal(ask("/oauth2/token",
                         CC "&client_id=edc&client_secret=s3cret%2B%2F%25%20of%20edc&scope=x", NULL,
                         NULL),
                     200);
    assert_int_equal(check(said("access_token"), &two), JWT_OK);
    assert_string_not_equal(one.subject, two.subject);
    assert_string_not_equal(one.jti, two.jti);
    assert_int_equal(ask("/oauth2/token", CC, NULL, "edc:s3cret%2B%2F%25+of+edc"), 200);
    assert_int_equal(ask("/oauth2/token", CC, NULL, "other client:another"), 200);
    identity_clear(&one);
    identity_clear(&two);
}

static void strangers(void **state)
{
    static const char *const basic[] = {"edc:wrong",   "edc:",    ":" SECRET, "nobody:" SECRET,
                                        "edc:another", "unread:", "unread:x"};

    (void)state;
    for (size_t i = 0; i < sizeof(basic) / sizeof(*basic); i++) {
        assert_int_equal(ask("/oauth2/token", CC, NULL, basic[i]), 401);
        assert_string_equal(said("error"), "invalid_client");
        assert_int_equal(ask("/oauth2/revoke", "token=x", NULL, basic[i]), 401);
    }
    assert_int_equal(ask("/oauth2/token", CC, NULL, NULL), 401);
    assert_int_equal(ask("/oauth2/token", CC, "Authorization: Bearer " SECRET, NULL), 401);
    assert_int_equal(ask("/oauth2/token", CC, "Authorization: Basic !!!!", NULL), 401);
    assert_int_equal(ask("/oauth2/token", CC, "Authorization: Basic ZWRj", NULL), 401);
    assert_int_equal(ask("/oauth2/token", CC "&client_secret=another", NULL, NULL), 401);
    /* Two ways at once. */
    assert_int_equal(ask("/oauth2/token", CC "&client_id=edc&client_secret=x", NULL, "edc:" SECRET),
                     401);
    assert_int_equal(ask("/oauth2/token", "grant_type=password", NULL, "edc:" SECRET), 400);
    assert_string_equal(said("error"), "unsupported_grant_type");
    assert_int_equal(ask("/oauth2/token", "x=y", NULL, "edc:" SECRET), 400);
    assert_string_equal(said("error"), "invalid_request");
    assert_int_equal(ask("/oauth2/token", CC "&" CC, NULL, "edc:" SECRET), 400);
    assert_int_equal(ask("/oauth2/token", CC, "Content-Type: application/json", "edc:" SECRET),
                     200); /* the first type counts */
}

static void too_many(void **state)
{
    unsigned refused = 0;

    (void)state;
    for (int i = 0; i < 10 * TOKEN_SERVER_BURST && !refused; i++) {
        long status = ask("/oauth2/token", CC, NULL, "edc:" SECRET);
        assert_true(status == 200 || status == 429);
        refused += status == 429;
        if (i < TOKEN_SERVER_BURST)
            assert_int_equal(status, 200);
    }
    assert_int_equal(refused, 1);
    assert_int_equal(ask("/oauth2/token", CC, NULL, "other client:another"), 200);
}

/* --- RFC 7009 */

static size_t revocations_held;

static void count_revocation(void *arg, const struct revocation *r)
{
    (void)arg;
    (void)r;
    revocations_held++;
}

static void count_revocations(void)
{
    revocations_held = 0;
    store_each_revocation(store, count_revocation, NULL);
}

static char *as_token(const char *jti)
{
    char claims[512];

    snprintf(claims, sizeof(claims),
             "{\"iss\":\"%s\",\"aud\":\"sluice\",\"sub\":\"svc\",\"jti\":\"%s\",\"exp\":%lld}",
             base, jti, (long long)time(NULL) + 300);
    return token_sign("ES256", as_key, "{\"alg\":\"ES256\",\"kid\":\"k1\"}", claims);
}

static void revocation_endpoint(void **state)
{
    char body[8192], *theirs = as_token("j1");

    (void)state;
    snprintf(body, sizeof(body), "token=%s&client_id=edc&client_secret=s3cret%%2B%%2F%%25+of+edc",
             theirs);
    assert_int_equal(ask("/oauth2/revoke", body, NULL, NULL), 200);
    assert_int_equal(json_integer_value(json_object_get(json, "closed")), 2);
    in_loop(count_revocations);
    assert_int_equal(revocations_held, 1);
    /* Passed on, as the client that asked. */
    for (int i = 0; i < 200 && revocations < 1; i++)
        usleep(10000);
    assert_int_equal(revocations, 1);
    pthread_mutex_lock(&lock);
    assert_non_null(strstr(last_revoke, theirs));
    assert_non_null(strstr(last_revoke, "Authorization: Basic "));
    pthread_mutex_unlock(&lock);
    /* Our own is nobody else's business; nor is one that could not be taken back here. */
    assert_int_equal(ask("/oauth2/token", CC, NULL, "edc:" SECRET), 200);
    snprintf(body, sizeof(body), "token=%s", said("access_token"));
    assert_int_equal(ask("/oauth2/revoke", body, NULL, "edc:" SECRET), 200);
    apply_fails = 1;
    free(theirs);
    theirs = as_token("j2");
    snprintf(body, sizeof(body), "token=%s", theirs);
    assert_int_equal(ask("/oauth2/revoke", body, NULL, "edc:" SECRET), 503);
    apply_fails = 0;
    in_loop(count_revocations);
    assert_true(revocations_held >= 2);
    usleep(200000);
    assert_int_equal(revocations, 1);
    /* 200 for one that is none here; the server may know more. */
    assert_int_equal(ask("/oauth2/revoke", "token=opaque", NULL, "edc:" SECRET), 200);
    for (int i = 0; i < 200 && revocations < 2; i++)
        usleep(10000);
    assert_int_equal(revocations, 2);
    assert_int_equal(ask("/oauth2/revoke", "x=y", NULL, "edc:" SECRET), 400);
    assert_int_equal(ask("/oauth2/revoke", "token=", NULL, "edc:" SECRET), 400);
    free(theirs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(shown_keys), T(token_endpoint), T(strangers), T(too_many), T(revocation_endpoint),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests_name("token_server", tests, NULL, last);
}
