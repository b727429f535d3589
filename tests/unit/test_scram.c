#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/scram.h"

#define NONCE "rOprNGfwEbeRWgbNEkqO"
#define MORE  "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define SALT  "W22ZaJ0SNY7soEsUEjb6gQ=="
#define FIRST "r=" NONCE MORE ",s=" SALT ",i=4096"

struct exchange {
    struct scram s;
    char out[SCRAM_MESSAGE_MAX + 1];
    size_t len;
    const char *why;
};

static void begin(struct exchange *x, enum scram_hash hash)
{
    assert_int_equal(scram_first(&x->s, hash, "user", NONCE, x->out, &x->len, &x->why), OK);
    x->out[x->len] = 0;
    assert_string_equal(x->out, "n,,n=user,r=" NONCE);
}

static int answer(struct exchange *x, const char *first, struct scram_cache *cache)
{
    /* An exact allocation, so that a byte read too far shows. */
    size_t n = strlen(first);
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, first, n);
    int e = scram_final(&x->s, "pencil", cache, copy, n, x->out, &x->len, &x->why);
    free(copy);
    if (!e)
        x->out[x->len] = 0;
    return e;
}

static int verify(struct exchange *x, const char *final)
{
    return scram_verify(&x->s, final, strlen(final), &x->why);
}

/* RFC 7677, 3. */
static void sha_256(void **state)
{
    (void)state;
    struct exchange x;
    begin(&x, SCRAM_SHA_256);
    assert_int_equal(answer(&x, FIRST, NULL), OK);
    assert_string_equal(x.out,
                        "c=biws,r=" NONCE MORE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    assert_int_equal(verify(&x, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), OK);
    assert_int_equal(x.s.state, SCRAM_DONE);
}

/* The same exchange; figures from Python's hashlib. */
static void sha_512(void **state)
{
    (void)state;
    struct exchange x;
    begin(&x, SCRAM_SHA_512);
    assert_int_equal(answer(&x, FIRST, NULL), OK);
    assert_string_equal(x.out, "c=biws,r=" NONCE MORE ",p="
                               "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC"
                               "6wdp6dybEmDYXYTxwnYPJQ==");
    assert_int_equal(verify(&x, "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVG"
                                "T4+5ZxXnJq199RVG2rR7N7Zw=="),
                     OK);
}

static void server_must_prove(void **state)
{
    (void)state;
    static const struct {
        const char *final;
        int e;
    } cases[] = {
        {"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", ERR_DENIED},
        {"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", ERR_MALFORMED}, /* stray bits */
        {"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl9", ERR_MALFORMED},
        {"v=", ERR_MALFORMED},
        {"", ERR_MALFORMED},
        {"e=invalid-proof", ERR_DENIED},
        {"x=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", ERR_MALFORMED},
        {"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,", ERR_MALFORMED},
        {"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,x=y", OK},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct exchange x;
        begin(&x, SCRAM_SHA_256);
        assert_int_equal(answer(&x, FIRST, NULL), OK);
        assert_int_equal(verify(&x, cases[i].final), cases[i].e);
        assert_int_equal(x.s.state == SCRAM_DONE, cases[i].e == OK);
    }
}

static void first_messages_that_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *first;
        int e;
    } cases[] = {
        {"r=" NONCE ",s=" SALT ",i=4096", ERR_MALFORMED}, /* nothing of the server's own */
        {"r=x" NONCE MORE ",s=" SALT ",i=4096", ERR_MALFORMED},
        {"r=" MORE ",s=" SALT ",i=4096", ERR_MALFORMED},
        {"m=ext,r=" NONCE MORE ",s=" SALT ",i=4096", ERR_MALFORMED},
        {FIRST ",m=ext", ERR_MALFORMED},
        {FIRST ",", ERR_MALFORMED},
        {FIRST ",1=x", ERR_MALFORMED},
        {"r=" NONCE MORE ",s=,i=4096", ERR_MALFORMED},
        {"r=" NONCE MORE ",s=W22ZaJ0SNY7soEsUEjb6gR==,i=4096", ERR_MALFORMED},
        {"r=" NONCE MORE ",s=W22Z J0SNY7soEsUEjb6gQ==,i=4096", ERR_MALFORMED},
        {"r=" NONCE MORE ",s=W22ZaJ0SNY7soEsUEjb6gQ=,i=4096", ERR_MALFORMED},
        {"r=" NONCE MORE ",s=====,i=4096", ERR_MALFORMED},
        {"r=" NONCE MORE ",i=4096,s=" SALT, ERR_MALFORMED},
        {"r=" NONCE MORE ",s=" SALT ",i=4095", ERR_LIMIT},
        {"r=" NONCE MORE ",s=" SALT ",i=1000001", ERR_LIMIT},
        {"r=" NONCE MORE ",s=" SALT ",i=04096", ERR_LIMIT},
        {"r=" NONCE MORE ",s=" SALT ",i=4294971392", ERR_LIMIT}, /* 4096 modulo 2^32 */
        {"r=" NONCE MORE ",s=" SALT ",i=-4096", ERR_MALFORMED},
        {"r=" NONCE MORE ",s=" SALT ",i=4096 ", ERR_MALFORMED},
        {"e=other-error", ERR_MALFORMED},
        {FIRST ",x=y", OK},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct exchange x;
        begin(&x, SCRAM_SHA_256);
        int e = answer(&x, cases[i].first, NULL);
        if (e != cases[i].e)
            print_error("%s: %d\n", cases[i].first, e);
        assert_int_equal(e, cases[i].e);
    }
}

/* Cut anywhere, nothing but the whole is taken; the number may still be one when cut. */
static void truncated(void **state)
{
    (void)state;
    char cut[sizeof(FIRST)];
    for (size_t n = 0; n < sizeof(FIRST) - 1; n++) {
        struct exchange x;
        memcpy(cut, FIRST, n);
        cut[n] = 0;
        begin(&x, SCRAM_SHA_256);
        assert_int_not_equal(answer(&x, cut, NULL), OK);
    }
}

static void nul_and_size(void **state)
{
    (void)state;
    struct exchange x;
    static const char nul[] = FIRST ",x=\0y";
    begin(&x, SCRAM_SHA_256);
    assert_int_equal(scram_final(&x.s, "pencil", NULL, nul, sizeof(nul) - 1, x.out, &x.len, &x.why),
                     ERR_MALFORMED);
    char big[2000];
    memset(big, 'a', sizeof(big));
    memcpy(big, FIRST ",x=", sizeof(FIRST ",x=") - 1);
    assert_int_equal(scram_final(&x.s, "pencil", NULL, big, sizeof(big), x.out, &x.len, &x.why),
                     ERR_MALFORMED);
    /* Out of turn. */
    assert_int_equal(verify(&x, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), ERR_MALFORMED);
}

static void names_and_passwords(void **state)
{
    (void)state;
    struct exchange x;
    assert_int_equal(scram_first(&x.s, SCRAM_SHA_256, "a=b,c", NONCE, x.out, &x.len, &x.why), OK);
    x.out[x.len] = 0;
    assert_string_equal(x.out, "n,,n=a=3Db=2Cc,r=" NONCE);
    assert_int_equal(answer(&x, FIRST, NULL), OK);

    assert_int_equal(scram_first(&x.s, SCRAM_SHA_256, "", NONCE, x.out, &x.len, &x.why),
                     ERR_CONFIG);
    assert_int_equal(scram_first(&x.s, SCRAM_SHA_256, "us\303\251r", NONCE, x.out, &x.len, &x.why),
                     OK);
    assert_int_equal(scram_first(&x.s, SCRAM_SHA_256, "us\tr", NONCE, x.out, &x.len, &x.why),
                     ERR_CONFIG);
    char longest[SCRAM_USER_MAX + 2];
    memset(longest, ',', sizeof(longest));
    longest[SCRAM_USER_MAX + 1] = 0;
    assert_int_equal(scram_first(&x.s, SCRAM_SHA_256, longest, NONCE, x.out, &x.len, &x.why),
                     ERR_CONFIG);
    longest[SCRAM_USER_MAX] = 0;
    assert_int_equal(scram_first(&x.s, SCRAM_SHA_256, longest, NULL, x.out, &x.len, &x.why), OK);
    assert_true(x.len <= SCRAM_MESSAGE_MAX);

    begin(&x, SCRAM_SHA_256);
    assert_int_equal(
        scram_final(&x.s, "p\001ncil", NULL, FIRST, sizeof(FIRST) - 1, x.out, &x.len, &x.why),
        ERR_CONFIG);
}

static void nonces_differ(void **state)
{
    (void)state;
    struct exchange a, b;
    assert_int_equal(scram_first(&a.s, SCRAM_SHA_256, "u", NULL, a.out, &a.len, &a.why), OK);
    assert_int_equal(scram_first(&b.s, SCRAM_SHA_256, "u", NULL, b.out, &b.len, &b.why), OK);
    assert_int_equal(a.len, 9 + SCRAM_NONCE_LEN);
    assert_memory_not_equal(a.out, b.out, a.len);
}

static void cached(void **state)
{
    (void)state;
    static struct scram_cache cache;
    struct exchange x;
    for (int i = 0; i < 3; i++) {
        begin(&x, SCRAM_SHA_256);
        assert_int_equal(answer(&x, FIRST, &cache), OK);
        assert_int_equal(verify(&x, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), OK);
    }
    assert_int_equal(cache.next, 1);
    /* Another mechanism or count is another entry. */
    begin(&x, SCRAM_SHA_512);
    assert_int_equal(answer(&x, FIRST, &cache), OK);
    begin(&x, SCRAM_SHA_256);
    assert_int_equal(answer(&x, "r=" NONCE MORE ",s=" SALT ",i=4097", &cache), OK);
    assert_int_equal(cache.next, 3);
    assert_int_not_equal(verify(&x, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), OK);
    scram_cache_clear(&cache);
    assert_int_equal(cache.at[0].iterations, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha_256),
        cmocka_unit_test(sha_512),
        cmocka_unit_test(server_must_prove),
        cmocka_unit_test(first_messages_that_are_refused),
        cmocka_unit_test(truncated),
        cmocka_unit_test(nul_and_size),
        cmocka_unit_test(names_and_passwords),
        cmocka_unit_test(nonces_differ),
        cmocka_unit_test(cached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
