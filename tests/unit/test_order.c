/* The order of grants and revocations: whatever comes first, twice, or at once, what is in force
 * afterwards is what was asked for last, on every worker and on the disk. */
#include "tests/unit/unit.h"

#include "tests/unit/store_bed.h"

/* A token of the transfer that was issued now, or by so many seconds before or after; another one
 * each time, since the token of a session that was closed is barred. */
static const struct identity *of(const char *transfer, int after_s)
{
    static struct identity id;
    static unsigned number;

    id = *TOKEN(.issued = now_s() + after_s);
    snprintf(id.transfer, sizeof(id.transfer), "%s", transfer);
    snprintf(id.jti, sizeof(id.jti), "fresh-%u", ++number);
    return &id;
}

static unsigned answers, failures;

static void count(void *arg, int result, unsigned closed)
{
    (void)closed;
    failures += result != OK;
    if (++answers == *(unsigned *)arg)
        loop_stop(bed.loop);
}

static void wait_for(unsigned *many)
{
    assert_int_equal(loop_timer_set(bed.patience, 20000000), OK);
    while (answers < *many)
        assert_int_equal(loop_run(bed.loop), OK);
    loop_timer_clear(bed.patience);
    assert_int_equal(failures, 0);
    answers = 0;
}

static void everywhere(const struct identity *id, enum login_verdict want)
{
    unsigned i;

    for (i = 0; i < WORKERS; i++)
        expect(i, id, want);
}

/* The end of a transfer overtakes its start: tokens of before are barred for good, and the start,
 * which is a grant, lets those in that are issued since. */
static void before_its_grant(void **state)
{
    (void)state;
    bed_open(path, config);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t1"), OK);
    assert_int_equal(bed.closed, 0);
    everywhere(of("t1", -1), LOGIN_REVOKED);
    everywhere(of("t1", 5), LOGIN_REVOKED);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    everywhere(of("t1", -1), LOGIN_REVOKED);
    everywhere(of("t1", 5), LOGIN_OK);
    bed_close();
    bed_open(path, config);
    everywhere(of("t1", -1), LOGIN_REVOKED);
    everywhere(of("t1", 5), LOGIN_OK);
    bed_close();
}

/* A token, before it has ever been seen. */
static void before_its_token(void **state)
{
    (void)state;
    bed_open(path, config);
    assert_int_equal(revoke_now(REVOKE_JTI, ISS, "j7"), OK);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    everywhere(TOKEN(.transfer = "t1", .jti = "j7", .issued = now_s() + 5), LOGIN_REVOKED);
    everywhere(TOKEN(.transfer = "t1", .jti = "j8"), LOGIN_OK);
    /* and one that a grant binds afterwards */
    assert_int_equal(put(GRANT(.id = "t2", .tokens = {(const char *[]){"j7"}, 1})), OK);
    everywhere(TOKEN(.jti = "j7"), LOGIN_REVOKED);
    bed_close();
}

static void twice_and_unknown(void **state)
{
    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    expect(0, of("t1", 0), LOGIN_OK);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t1"), OK);
    assert_int_equal(bed.closed, 1);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t1"), OK);
    assert_int_equal(bed.closed, 0);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "never heard of"), OK);
    assert_int_equal(revoke_now(REVOKE_AGREEMENT, "", "never heard of"), OK);
    bed_close();
    bed_open(path, config);
    assert_true(has_revocation("transfer:t1"));
    everywhere(of("never heard of", 5), LOGIN_REVOKED);
    bed_close();
}

/* Suspend and resume, one behind the other without waiting, many times; each worker and the disk
 * end where the caller did. */
static void racing(void **state)
{
    unsigned round;

    (void)state;
    bed_open(path, config);
    for (round = 0; round < 40; round++) {
        bool resumed = round % 2 == 0;
        unsigned i, asked = 50 + round % 3;
        struct grant *g;
        struct revocation *r;
        const char *why;

        assert_int_equal(grant_new(GRANT(.id = "t1"), GRANT_FROM_API, &g, &why), OK);
        r = revocation_new(REVOKE_TRANSFER, "", "t1", "", now_s(), 0, "suspended");
        for (i = 0; i < asked; i++) {
            bool put = (i + asked) % 2 == (resumed ? 1 : 0);

            if (put)
                assert_int_equal(store_grant(bed.store, g, count, &asked), OK);
            else
                assert_int_equal(store_revoke(bed.store, r, count, &asked), OK);
        }
        wait_for(&asked);
        grant_unref(g);
        revocation_free(r);
        assert_int_equal(has_grant("t1"), resumed);
        everywhere(of("t1", -20), LOGIN_REVOKED); /* of before the suspensions, in any case */
        everywhere(of("t1", 5), resumed ? LOGIN_OK : LOGIN_REVOKED);
        if (round % 10 < 2) {
            bed_close();
            bed_open(path, config);
            assert_int_equal(has_grant("t1"), resumed);
            everywhere(of("t1", 5), resumed ? LOGIN_OK : LOGIN_REVOKED);
        }
    }
    bed_close();
}

/* Logins while it is suspended and resumed: whoever is in at the end has a right to be. */
static void logins_meanwhile(void **state)
{
    unsigned round, i;

    (void)state;
    bed_open(path, config);
    for (round = 0; round < 30; round++) {
        unsigned asked = 3;
        struct grant *g;
        struct revocation *r;
        const char *why;

        assert_int_equal(grant_new(GRANT(.id = "t1"), GRANT_FROM_API, &g, &why), OK);
        r = revocation_new(REVOKE_TRANSFER, "", "t1", "", now_s(), 0, "suspended");
        assert_int_equal(store_revoke(bed.store, r, count, &asked), OK);
        (void)login(round % WORKERS, of("t1", 5));
        assert_int_equal(store_grant(bed.store, g, count, &asked), OK);
        (void)login((round + 1) % WORKERS, of("t1", 5));
        assert_int_equal(store_revoke(bed.store, r, count, &asked), OK);
        (void)login((round + 2) % WORKERS, of("t1", 5));
        wait_for(&asked);
        grant_unref(g);
        revocation_free(r);
        for (i = 0; i < WORKERS; i++)
            assert_int_equal(open_sessions(i), 0);
    }
    bed_close();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(before_its_grant), T(before_its_token), T(twice_and_unknown),
        T(racing),           T(logins_meanwhile),
    };

    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
