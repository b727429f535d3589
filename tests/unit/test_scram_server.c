#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/scram_server.h"

#define PASSWORD "pencil=and,paper"

static struct scram_users *users;

/* A client of our own (auth/scram.c, held against RFC 7677's example) talks to the server. */
struct talk {
    struct scram client;
    struct scram_server server;
    char first[SCRAM_MESSAGE_MAX], challenge[SCRAM_MESSAGE_MAX];
    char final[SCRAM_MESSAGE_MAX], proof[SCRAM_MESSAGE_MAX];
    size_t first_len, challenge_len, final_len, proof_len;
    const char *why;
};

static int set_up(void **state)
{
    const struct scram_user list[] = {{"edc", PASSWORD}, {"a=b,c", "another password"}};
    (void)state;
    users = scram_users_new();
    assert_non_null(users);
    assert_int_equal(scram_users_set(users, list, 2), OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scram_users_free(users);
    return 0;
}

/* Exact allocations, so that a byte read too far shows. */
static int server_first(struct talk *x, const void *p, size_t n)
{
    char *copy = malloc(n ? n : 1);
    int rc;
    memcpy(copy, p, n);
    rc = scram_server_first(&x->server, users, x->client.hash, copy, n, NULL, x->challenge,
                            &x->challenge_len, &x->why);
    free(copy);
    return rc;
}

static int server_final(struct talk *x, const void *p, size_t n)
{
    char *copy = malloc(n ? n : 1);
    int rc;
    memcpy(copy, p, n);
    rc = scram_server_final(&x->server, users, copy, n, x->proof, &x->proof_len, &x->why);
    free(copy);
    return rc;
}

/* Up to the client's final message. */
static void begin(struct talk *x, enum scram_hash hash, const char *user, const char *password)
{
    memset(x, 0, sizeof(*x));
    assert_int_equal(scram_first(&x->client, hash, user, NULL, x->first, &x->first_len, &x->why),
                     OK);
    assert_int_equal(server_first(x, x->first, x->first_len), OK);
    assert_null(x->why);
    assert_int_equal(scram_final(&x->client, password, NULL, x->challenge, x->challenge_len,
                                 x->final, &x->final_len, &x->why),
                     OK);
}

static int login(enum scram_hash hash, const char *user, const char *password)
{
    struct talk x;
    begin(&x, hash, user, password);
    int rc = server_final(&x, x.final, x.final_len);
    if (rc == OK) {
        assert_int_equal(scram_verify(&x.client, x.proof, x.proof_len, &x.why), OK);
        assert_int_equal(x.server.state, SCRAM_SERVER_DONE);
        assert_string_equal(x.server.user, user);
    } else {
        assert_non_null(x.why);
        assert_int_not_equal(x.server.state, SCRAM_SERVER_DONE);
    }
    scram_server_clear(&x.server);
    return rc;
}

static void passwords(void **state)
{
    (void)state;
    for (int hash = SCRAM_SHA_256; hash <= SCRAM_SHA_512; hash++) {
        enum scram_hash h = (enum scram_hash)hash;
        assert_int_equal(login(h, "edc", PASSWORD), OK);
        assert_int_equal(login(h, "a=b,c", "another password"), OK);
        assert_int_equal(login(h, "edc", "another password"), ERR_DENIED);
        assert_int_equal(login(h, "edc", PASSWORD "."), ERR_DENIED);
        assert_int_equal(login(h, "nobody", PASSWORD), ERR_DENIED);
        assert_int_equal(login(h, "Edc", PASSWORD), ERR_DENIED);
    }
}

/* What a stranger can see of a name: nothing tells whether it is there. */
static void no_enumeration(void **state)
{
    (void)state;
    const char *names[] = {"edc", "nobody", "nobody", "edc"};
    char salts[4][64] = {0};
    for (int i = 0; i < 4; i++) {
        struct talk x;
        begin(&x, SCRAM_SHA_256, names[i], "wrong");
        const char *at = memmem(x.challenge, x.challenge_len, ",s=", 3);
        const char *end = memmem(x.challenge, x.challenge_len, ",i=4096", 7);
        assert_non_null(at);
        assert_non_null(end);
        memcpy(salts[i], at, (size_t)(end - at));
        assert_int_equal(strlen(salts[i]), 3 + 24);
        assert_int_equal(server_final(&x, x.final, x.final_len), ERR_DENIED);
        assert_string_equal(x.why, "no such user, or not its password");
    }
    assert_string_equal(salts[1], salts[2]); /* asked twice */
    assert_string_equal(salts[0], salts[3]);
    assert_string_not_equal(salts[0], salts[1]);
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    struct talk x;
    begin(&x, SCRAM_SHA_256, "edc", PASSWORD);
    for (size_t n = 0; n < x.final_len; n++) {
        struct talk y = x;
        assert_int_equal(server_final(&y, y.final, n), ERR_MALFORMED);
    }
    for (size_t i = 0; i < x.final_len; i++) {
        struct talk y = x;
        y.final[i] ^= 1;
        assert_int_not_equal(server_final(&y, y.final, y.final_len), OK);
    }
    /* A first message may end anywhere behind the nonce's first character. */
    for (size_t n = 0; n < x.first_len; n++) {
        struct talk y = {.client = {.hash = SCRAM_SHA_256}};
        int rc = server_first(&y, x.first, n);
        assert_int_equal(rc, n > strlen("n,,n=edc,r=") ? OK : ERR_MALFORMED);
    }
    assert_int_equal(server_final(&x, x.final, x.final_len), OK);
    assert_int_equal(server_final(&x, x.final, x.final_len), ERR_MALFORMED); /* once is enough */
}

static void first_messages(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        {"n,,n=edc,r=abc", OK},
        {"y,,n=edc,r=abc", OK},
        {"n,a=edc,n=edc,r=abc", OK},
        {"n,,n=a=3Db=2Cc,r=abc", OK},
        {"n,a=a=3Db=2Cc,n=a=3Db=2Cc,r=abc", OK},
        {"n,a=bob,n=edc,r=abc", ERR_MALFORMED},
        {"n,a=,n=edc,r=abc", ERR_MALFORMED},
        {"n,edc,n=edc,r=abc", ERR_MALFORMED},
        {"p=tls-unique,,n=edc,r=abc", ERR_MALFORMED},
        {"x,,n=edc,r=abc", ERR_MALFORMED},
        {"n,n=edc,r=abc", ERR_MALFORMED},
        {"n,,r=abc,n=edc", ERR_MALFORMED},
        {"n,,m=ext,n=edc,r=abc", ERR_MALFORMED},
        {"n,,n=,r=abc", ERR_MALFORMED},
        {"n,,n=e=dc,r=abc", ERR_MALFORMED},
        {"n,,n=e=2cdc,r=abc", ERR_MALFORMED},
        {"n,,n=e\x01,r=abc", ERR_MALFORMED},
        {"n,,n=edc,r=", ERR_MALFORMED},
        {"n,,n=edc,r=a b", ERR_MALFORMED},
        {"n,,n=edc,r=abc,", ERR_MALFORMED},
        {"n,,n=edc,r=abc,tokenauth=true", ERR_MALFORMED}, /* a delegation token */
        {"n,,n=edc,r=abc,x=y", ERR_MALFORMED},
        {"", ERR_MALFORMED},
        {",", ERR_MALFORMED},
        {"n,", ERR_MALFORMED},
        {"n,,", ERR_MALFORMED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct talk x = {.client = {.hash = SCRAM_SHA_512}};
        int rc = server_first(&x, cases[i].text, strlen(cases[i].text));
        if (rc != cases[i].rc)
            fail_msg("%s: %d", cases[i].text, rc);
        assert_int_equal(x.why == NULL, rc == OK);
        assert_int_equal(x.server.state == SCRAM_SERVER_CHALLENGED, rc == OK);
    }
    struct talk x = {.client = {.hash = SCRAM_SHA_256}};
    assert_int_equal(server_first(&x, "n,,n=e\0c,r=abc", 14), ERR_MALFORMED);
    char large[SCRAM_MESSAGE_MAX];
    memset(large, 'a', sizeof(large));
    memcpy(large, "n,,n=", 5);
    memcpy(large + 5 + 256, ",r=abc", 6); /* a name of 256 bytes */
    assert_int_equal(server_first(&x, large, 5 + 256 + 6), ERR_MALFORMED);
    memcpy(large, "n,,n=edc,r=", 11);
    large[11 + 250] = 'a';
    memset(large + 11, 'a', sizeof(large) - 11);
    assert_int_equal(server_first(&x, large, 11 + 257), ERR_MALFORMED); /* a nonce of 257 */
    assert_int_equal(server_first(&x, large, SCRAM_MESSAGE_MAX / 2 + 1), ERR_MALFORMED);
}

/* The header that the client sent is a part of what is proved: nobody in between took a flag out.
 */
static void header_is_repeated(void **state)
{
    (void)state;
    struct talk x;
    begin(&x, SCRAM_SHA_256, "edc", PASSWORD);
    x.server.gs2[0] = 'y';
    assert_int_equal(server_final(&x, x.final, x.final_len), ERR_MALFORMED);
    begin(&x, SCRAM_SHA_256, "edc", PASSWORD);
    assert_int_equal(server_final(&x, x.final, x.final_len), OK);
}

static void users_change(void **state)
{
    (void)state;
    uint64_t edc = scram_users_number(users, "edc"), other = scram_users_number(users, "a=b,c");
    struct talk x;
    const struct scram_user kept[] = {{"edc", PASSWORD}, {"new", "a new password"}};
    const struct scram_user changed[] = {{"edc", "changed"}};
    const struct scram_user bad[] = {{"edc", ""}}, control[] = {{"e\tdc", "x"}},
                            none[] = {{"", "x"}};
    struct scram_user many[SCRAM_USERS_MAX + 1];

    assert_true(edc && other && edc != other);
    assert_int_equal(scram_users_number(users, "nobody"), 0);
    assert_int_equal(scram_users_set(users, kept, 2), OK);
    assert_int_equal(scram_users_number(users, "edc"), edc);
    assert_int_equal(scram_users_number(users, "a=b,c"), 0);
    assert_int_equal(login(SCRAM_SHA_256, "edc", PASSWORD), OK);
    assert_int_equal(login(SCRAM_SHA_256, "a=b,c", "another password"), ERR_DENIED);
    assert_int_equal(scram_users_set(users, bad, 1), ERR_CONFIG);
    assert_int_equal(scram_users_set(users, control, 1), ERR_CONFIG);
    assert_int_equal(scram_users_set(users, none, 1), ERR_CONFIG);
    for (size_t i = 0; i <= SCRAM_USERS_MAX; i++)
        many[i] = kept[0];
    assert_int_equal(scram_users_set(users, many, SCRAM_USERS_MAX + 1), ERR_LIMIT);
    assert_int_equal(scram_users_number(users, "edc"), edc); /* nothing has changed */
    /* Between challenge and proof. */
    begin(&x, SCRAM_SHA_256, "edc", PASSWORD);
    assert_int_equal(scram_users_set(users, changed, 1), OK);
    assert_int_equal(server_final(&x, x.final, x.final_len), ERR_DENIED);
    assert_int_not_equal(scram_users_number(users, "edc"), edc);
    begin(&x, SCRAM_SHA_256, "edc", "changed");
    assert_int_equal(scram_users_set(users, NULL, 0), OK);
    assert_int_equal(server_final(&x, x.final, x.final_len), ERR_DENIED);
}

static void plain(void **state)
{
    (void)state;
    assert_true(scram_users_check(users, "edc", PASSWORD, strlen(PASSWORD)));
    assert_false(scram_users_check(users, "edc", PASSWORD, strlen(PASSWORD) - 1));
    assert_false(scram_users_check(users, "edc", PASSWORD "x", strlen(PASSWORD) + 1));
    assert_false(scram_users_check(users, "edc", "", 0));
    assert_false(scram_users_check(users, "a=b,c", PASSWORD, strlen(PASSWORD)));
    assert_false(scram_users_check(users, "", "", 0));
    assert_false(scram_users_check(users, "nobody", PASSWORD, strlen(PASSWORD)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(passwords, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_enumeration, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_cut_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(first_messages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(header_is_repeated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(users_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(plain, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
