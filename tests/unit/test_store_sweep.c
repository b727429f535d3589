/* What may be forgotten and when, and that the file and the workers' tables follow. */
#include "tests/unit/unit.h"

#include "auth/store_sweep.h"
#include "tests/unit/store_bed.h"

#define DAY 86400
#define T0  INT64_C(1800000000)

static struct config *made(const char *issuer_more, const char *more)
{
    char text[1024];

    snprintf(text, sizeof(text), "issuers: [{issuer: " ISS ", audience: sluice%s}]\n%s",
             issuer_more, more);
    return token_config(text);
}

/* Is a revocation of that kind, made at T0 with that end, forgotten at T0 + after? */
static bool forgotten(const struct config *c, struct grant_table *t, enum revoke_kind kind,
                      int64_t until, int64_t after)
{
    bool of_issuer = kind >= REVOKE_SUBJECT;
    struct revocation *r = revocation_new(kind, of_issuer ? ISS : "",
                                          kind == REVOKE_ISSUER ? "" : "x", "", T0, until, "");
    const struct sweep s = {c, T0 + after, SWEEP_MARGIN_S};
    bool may;

    assert_non_null(r);
    may = sweep_may_forget(&s, t, r);
    revocation_free(r);
    return may;
}

static void when_nothing_can_be_valid(void **state)
{
    struct config *day = made("", ""), *any = made(", max_token_s: 0", "");
    struct config *claims = made(", claims: {topics: rights}", "");
    struct config *own = made(", claims: {topics: rights}", "");
    static const char *key = "a key";
    struct grant_table *t = grant_table_new(day);
    const int64_t end = DAY + SWEEP_MARGIN_S;
    int k;

    (void)state;
    own->issuers[0].signing_keys = (struct strings){&key, 1};
    for (k = 0; k < REVOKE_KINDS; k++) {
        enum revoke_kind kind = (enum revoke_kind)k;
        bool later = kind <= REVOKE_PARTICIPANT;

        assert_false(forgotten(day, t, kind, 0, 0));
        assert_false(forgotten(day, t, kind, 0, end));
        assert_true(forgotten(day, t, kind, 0, end + 1));
        /* Without a bound for tokens there is none for what bars them, unless it knows its end. */
        assert_false(forgotten(any, t, kind, 0, 1000000000));
        assert_false(forgotten(any, t, kind, T0 + 60, 60 + SWEEP_MARGIN_S));
        assert_true(forgotten(any, t, kind, T0 + 60, 61 + SWEEP_MARGIN_S));
        /* Where tokens carry rights, one that is issued tomorrow must meet the revocation. */
        assert_int_equal(forgotten(claims, t, kind, 0, 1000000000), !later);
        assert_true(forgotten(own, t, kind, 0, end + 1)); /* sluice issues none for what ended */
        /* An hour's jump of the clock forgets nothing early. */
        assert_false(forgotten(day, t, kind, 0, DAY + 3600));
        assert_false(forgotten(day, t, kind, T0 + 60, 60 + 3600));
    }
    grant_table_free(t);
    config_unref(day);
    config_unref(any);
    config_unref(claims);
    config_unref(own);
}

/* The longest life of any issuer counts where a revocation names none, or one that is gone. */
static void several_issuers(void **state)
{
    struct config *c = token_config("issuers:\n"
                                    "  - {issuer: " ISS ", audience: a, max_token_s: 600}\n"
                                    "  - {issuer: https://b, audience: a, max_token_s: 900}\n");
    struct grant_table *t = grant_table_new(c);
    struct revocation *gone = revocation_new(REVOKE_JTI, "https://gone", "x", "", T0, 0, "");
    struct sweep s = {c, T0 + 900 + SWEEP_MARGIN_S, SWEEP_MARGIN_S};

    (void)state;
    assert_true(forgotten(c, t, REVOKE_JTI, 0, 601 + SWEEP_MARGIN_S));
    assert_false(forgotten(c, t, REVOKE_TRANSFER, 0, 601 + SWEEP_MARGIN_S));
    assert_true(forgotten(c, t, REVOKE_TRANSFER, 0, 901 + SWEEP_MARGIN_S));
    assert_false(sweep_may_forget(&s, t, gone));
    s.now_s++;
    assert_true(sweep_may_forget(&s, t, gone));
    revocation_free(gone);
    grant_table_free(t);
    config_unref(c);
}

/* A grant of the configuration that was revoked stays so as long as it stands in the file. */
static void of_the_configuration(void **state)
{
    struct grant_table *t = grant_table_new(config);
    struct grant *g;
    const char *why;

    (void)state;
    assert_int_equal(grant_new(GRANT(.id = "x"), GRANT_FROM_CONFIG, &g, &why), OK);
    assert_int_equal(grant_table_put(t, g), OK);
    grant_unref(g);
    assert_false(forgotten(config, t, REVOKE_TRANSFER, 0, 1000000000));
    grant_table_remove(t, "x");
    assert_true(forgotten(config, t, REVOKE_TRANSFER, 0, 1000000000));
    grant_table_free(t);
}

/* Piece by piece over a table of many, each once. */
static void in_pieces(void **state)
{
    struct grant_table *t = grant_table_new(config);
    const struct sweep s = {config, T0 + 10 * DAY, SWEEP_MARGIN_S};
    struct plan p = {0};
    size_t at = 0;
    unsigned pieces = 0;
    bool ended = false;
    char name[32];
    int i;

    (void)state;
    for (i = 0; i < 3000; i++) {
        struct revocation *r;

        snprintf(name, sizeof(name), "j%d", i);
        r = revocation_new(REVOKE_JTI, ISS, name, "", i % 2 ? T0 : T0 + 10 * DAY, 0, "");
        assert_int_equal(grant_table_revoke(t, r), OK);
        revocation_free(r);
    }
    while (!ended) {
        assert_int_equal(sweep_plan(&p, t, &s, &at, 100, &ended), OK);
        pieces++;
    }
    assert_true(pieces > 30);
    assert_int_equal(p.change.count, 1500);
    assert_int_equal(grant_table_apply(t, &p.change), OK);
    assert_int_equal(grant_table_revocations(t), 1500);
    plan_clear(&p);
    grant_table_free(t);
}

/* A grant that has ended goes, and what it binds is barred: unbound, its token would be free. */
static void ended_grants(void **state)
{
    static const char *tokens[] = {"ja", "jb"};
    struct grant_table *t = grant_table_new(config);
    struct sweep s = {config, T0 + 100 + SWEEP_MARGIN_S - 1, SWEEP_MARGIN_S};
    struct plan p = {0};
    struct grant *g;
    const char *why;
    size_t at = 0;
    bool ended;

    (void)state;
    assert_int_equal(grant_new(GRANT(.id = "x", .tokens = {tokens, 2}, .expires = T0 + 100),
                               GRANT_FROM_API, &g, &why),
                     OK);
    assert_int_equal(grant_table_put(t, g), OK);
    grant_unref(g);
    assert_int_equal(sweep_plan(&p, t, &s, &at, SIZE_MAX, &ended), OK);
    assert_true(ended);
    assert_int_equal(p.change.count, 0);
    s.now_s++;
    assert_int_equal(sweep_plan(&p, t, &s, &at, SIZE_MAX, &ended), OK);
    assert_int_equal(grant_table_apply(t, &p.change), OK);
    assert_int_equal(grant_table_grants(t), 0);
    assert_true(grant_table_bars(t, TOKEN(.jti = "ja")));
    assert_true(grant_table_bars(t, TOKEN(.jti = "jb")));
    assert_false(grant_table_bars(t, TOKEN(.jti = "jc")));
    plan_clear(&p);
    grant_table_free(t);
}

/* --- on the disk and at the workers */

static long size_of(const char *end)
{
    struct stat st;
    char name[128];

    snprintf(name, sizeof(name), "%s%s", path, end);
    return stat(name, &st) == 0 ? (long)st.st_size : 0;
}

static unsigned answered;

static void count_answer(void *arg, int result, unsigned closed)
{
    (void)arg;
    (void)closed;
    assert_int_equal(result, OK);
    if (++answered % 200 == 0)
        loop_stop(bed.loop);
}

/* Many revocations that can't matter any more. */
static void revoke_old(unsigned count, unsigned round)
{
    char name[64];
    unsigned i;

    answered = 0;
    for (i = 0; i < count; i++) {
        struct revocation *r;

        snprintf(name, sizeof(name), "round-%u-%u", round, i);
        r = revocation_new(REVOKE_JTI, ISS, name, "", 1000, 2000, "long ago");
        assert_int_equal(store_revoke(bed.store, r, count_answer, NULL), OK);
        revocation_free(r);
        if (i % 200 == 199)
            assert_int_equal(loop_run(bed.loop), OK);
    }
    assert_int_equal(answered, count);
}

static void do_count_bars(struct worker *w, void *arg)
{
    *(size_t *)arg = grant_table_revocations(w->table);
}

static void count_revocation(void *arg, const struct revocation *r)
{
    (void)r;
    ++*(size_t *)arg;
}

static size_t held(void)
{
    size_t n = 0;

    store_each_revocation(bed.store, count_revocation, &n);
    return n;
}

/* Room is made when it is short, everywhere; the file does not grow with what comes and goes. */
static void the_file_is_bounded(void **state)
{
    struct config *small = made("", "limits: {revocations: 2000}\n");
    long first = 0, wal = 0;
    unsigned round;
    size_t n;

    (void)state;
    for (round = 0; round < 12; round++) {
        bed_open(path, small);
        if (round > 0)
            assert_int_equal(held(), 2000); /* what the round before left */
        revoke_old(2000, round);
        assert_int_equal(held(), 2000);
        in_worker(1, do_count_bars, &n);
        assert_int_equal(n, 2000);
        wal = size_of("-wal") > wal ? size_of("-wal") : wal;
        bed_close();
        first = round == 1 ? size_of("") : first;
    }
    assert_true(first > 100000);
    assert_true(size_of("") <= first + first / 4);
    assert_int_equal(size_of("-wal"), 0);
    assert_true(wal < 8 * 1024 * 1024);
    config_unref(small);
}

/* --- files of former versions */

static void sql(const char *text)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

#define SCHEMA_1                                                                                   \
    "PRAGMA journal_mode = WAL; PRAGMA application_id = 0x736c7563;"                               \
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL,"       \
    "  number INTEGER NOT NULL) STRICT;"                                                           \
    "INSERT INTO state VALUES (1, 1, 41);"                                                         \
    "CREATE TABLE grants (id TEXT PRIMARY KEY, number INTEGER NOT NULL,"                           \
    "  participant TEXT NOT NULL, agreement TEXT NOT NULL, asset TEXT NOT NULL,"                   \
    "  issuer TEXT NOT NULL, subject TEXT NOT NULL, client TEXT NOT NULL, topics TEXT NOT NULL,"   \
    "  group_prefix TEXT NOT NULL, operations INTEGER NOT NULL, not_before INTEGER NOT NULL,"      \
    "  expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;"                                           \
    "CREATE TABLE revocations (kind TEXT NOT NULL, issuer TEXT NOT NULL, value TEXT NOT NULL,"     \
    "  client TEXT NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL, until INTEGER NOT "     \
    "NULL,"                                                                                        \
    "  reason TEXT NOT NULL, PRIMARY KEY (kind, issuer, value, client)) STRICT, WITHOUT ROWID;"    \
    "INSERT INTO grants VALUES ('t1', 40, 'did:web:bob', '', '', '" ISS "', 'bob', '', 'a,b',"     \
    "  'bob', 1, 0, 0);"                                                                           \
    "INSERT INTO revocations VALUES ('jti', '" ISS "', 'gone', '', 41, 5, 0, 'why');"
#define SCHEMA_2                                                                                   \
    SCHEMA_1 "UPDATE state SET version = 2;"                                                       \
             "CREATE TABLE notes (kind TEXT NOT NULL, id TEXT NOT NULL, text TEXT NOT NULL,"       \
             "  PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID;"                                    \
             "INSERT INTO notes VALUES ('flow', 't1', 'STARTED');"

static void former_schema(const char *schema)
{
    static const char *tokens[] = {"j7", "with , \" and \\"};

    sql(schema);
    bed_open(path, config);
    assert_true(has_grant("t1"));
    assert_true(has_revocation("jti:gone"));
    expect(0, TOKEN(.transfer = "t1"), LOGIN_OK);
    assert_int_equal(put(GRANT(.id = "t2", .tokens = {tokens, 2})), OK);
    bed_close();
    bed_open(path, config);
    expect(0, TOKEN(.transfer = "t1"), LOGIN_OK);
    expect(1, TOKEN(.jti = "j7"), LOGIN_OK);
    expect(2, TOKEN(.jti = "with , \" and \\"), LOGIN_OK);
    expect(2, TOKEN(.jti = "with "), LOGIN_AMBIGUOUS);
    assert_true(has_revocation("jti:gone"));
    if (strstr(schema, "STARTED"))
        assert_string_equal(store_find_note(bed.store, "flow", "t1"), "STARTED");
    bed_close();
}

static void of_the_first_version(void **state)
{
    (void)state;
    former_schema(SCHEMA_1);
}

static void of_the_second_version(void **state)
{
    (void)state;
    former_schema(SCHEMA_2);
}

static void tokens_that_make_no_sense(void **state)
{
    static const char *const bad[] = {
        "", "{}", "[7]", "[\"\"]", "[\"a\"", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"};
    char text[256], err[256];
    size_t i;

    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    bed_close();
    for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct loop *l = loop_new();

        snprintf(text, sizeof(text), "UPDATE grants SET tokens = '%s'", bad[i]);
        sql(text);
        assert_null(store_open(path, l, config, err, sizeof(err)));
        assert_non_null(strstr(err, "no sense"));
        loop_free(l);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(when_nothing_can_be_valid),
        cmocka_unit_test(several_issuers),
        cmocka_unit_test(of_the_configuration),
        cmocka_unit_test(in_pieces),
        cmocka_unit_test(ended_grants),
        T(the_file_is_bounded),
        T(of_the_first_version),
        T(of_the_second_version),
        T(tokens_that_make_no_sense),
    };

    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
