#include "tests/unit/unit.h"

#include "tests/unit/store_bed.h"

/* --- tests */

static void reaches_every_worker(void **state)
{
    unsigned i;

    (void)state;
    bed_open(NULL, config);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    assert_int_equal(put(GRANT(.id = "t2")), OK);
    for (i = 0; i < WORKERS; i++) {
        expect(i, TOKEN(.transfer = "t1"), LOGIN_OK);
        expect(i, TOKEN(.transfer = "t2"), LOGIN_OK);
    }
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t1"), OK);
    assert_int_equal(bed.closed, WORKERS);
    for (i = 0; i < WORKERS; i++) {
        assert_int_equal(open_sessions(i), 1);
        expect(i, TOKEN(.transfer = "t1"), LOGIN_REVOKED);
    }
    assert_false(has_grant("t1"));
    assert_true(has_grant("t2"));
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t1"), OK); /* again */
    assert_int_equal(bed.closed, 0);
    assert_int_equal(store_ungrant(bed.store, "t2", done, &bed), OK);
    assert_int_equal(wait_done(), OK);
    assert_int_equal(bed.closed, WORKERS);
    expect(0, TOKEN(.transfer = "t2"), LOGIN_NO_GRANT);
    assert_false(has_revocation("transfer:t2"));
    assert_int_equal(store_ungrant(bed.store, "t2", done, &bed), ERR_UNKNOWN);
    bed_close();
}

static void survives_a_restart(void **state)
{
    struct stat st;

    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1", .not_before = 5, .expires = 4000000000,
                               .operations = OP_READ | OP_MANAGE, .client = "c", .asset = "ass",
                               .agreement = "agr")),
                     OK);
    assert_int_equal(put(GRANT(.id = "t2")), OK);
    assert_int_equal(put(GRANT(.id = "t3")), OK);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t2"), OK);
    assert_int_equal(revoke_now(REVOKE_JTI, ISS, "j9"), OK);
    assert_int_equal(store_ungrant(bed.store, "t3", done, &bed), OK);
    assert_int_equal(wait_done(), OK);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "again"), OK);
    assert_int_equal(put(GRANT(.id = "again")), OK);
    bed_close();
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    bed_open(path, config);
    assert_true(has_grant("t1"));
    assert_false(has_grant("t2"));
    assert_false(has_grant("t3"));
    assert_true(has_revocation("jti:j9"));
    expect(1, TOKEN(.transfer = "t1", .client = "c"), LOGIN_OK);
    const struct grant *g = bed.workers[1].sessions[0].set.at[0];
    assert_int_equal(g->ntopics, 2);
    assert_string_equal(g->topics[1], "b");
    assert_string_equal(g->agreement, "agr");
    assert_string_equal(g->asset, "ass");
    assert_string_equal(g->participant, "did:web:bob");
    assert_int_equal(g->operations, OP_READ | OP_MANAGE);
    assert_int_equal(g->not_before, 5);
    assert_int_equal(g->expires, 4000000000);
    expect(1, TOKEN(.transfer = "t1", .client = "d"), LOGIN_NO_GRANT);
    expect(2, TOKEN(.transfer = "t2"), LOGIN_REVOKED);
    expect(2, TOKEN(.transfer = "t1", .client = "c", .jti = "j9"), LOGIN_REVOKED);
    expect(2, TOKEN(.transfer = "again"), LOGIN_REVOKED);
    expect(2, TOKEN(.transfer = "again", .issued = now_s() + 1), LOGIN_OK);
    bed_close();
}

/* The tokens that a revocation closed are barred by their own identity: on the other workers, and
 * after a restart. */
static void closed_tokens_are_barred(void **state)
{
    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    assert_int_equal(put(GRANT(.id = "t2")), OK);
    expect(0, TOKEN(.shared_subjects = false), LOGIN_OK);
    expect(1, TOKEN(.shared_subjects = false), LOGIN_OK);
    expect(1, TOKEN(.shared_subjects = false, .jti = "", .client = "c"), LOGIN_OK);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t1"), OK);
    assert_int_equal(bed.closed, 3);
    assert_true(has_revocation("jti:j1"));
    assert_true(has_revocation("token:bob"));
    expect(2, TOKEN(.shared_subjects = false), LOGIN_REVOKED);
    expect(2, TOKEN(.shared_subjects = false, .jti = "", .client = "c"), LOGIN_REVOKED);
    expect(2, TOKEN(.shared_subjects = false, .jti = "j2"), LOGIN_OK); /* what is left: t2 */
    /* a token that names the transfer, from a clock ahead of ours */
    assert_int_equal(put(GRANT(.id = "t3")), OK);
    expect(0, TOKEN(.transfer = "t3", .jti = "ahead", .issued = now_s() + 20), LOGIN_OK);
    expect(1, TOKEN(.transfer = "t3", .jti = "behind"), LOGIN_OK);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t3"), OK);
    assert_int_equal(bed.closed, 2);
    assert_true(has_revocation("jti:ahead"));
    assert_false(has_revocation("jti:behind")); /* its time bars it */
    assert_int_equal(put(GRANT(.id = "t3")), OK);
    expect(0, TOKEN(.transfer = "t3", .jti = "ahead", .issued = now_s() + 20), LOGIN_REVOKED);
    expect(0, TOKEN(.transfer = "t3", .jti = "new", .issued = now_s() + 20), LOGIN_OK);
    bed_close();
    bed_open(path, config);
    expect(0, TOKEN(.shared_subjects = false), LOGIN_REVOKED);
    expect(0, TOKEN(.shared_subjects = false, .jti = "", .client = "c"), LOGIN_REVOKED);
    expect(0, TOKEN(.transfer = "t3", .jti = "ahead", .issued = now_s() + 20), LOGIN_REVOKED);
    expect(0, TOKEN(.transfer = "t3", .jti = "behind"), LOGIN_REVOKED);
    bed_close();
}

static void attributes_end_their_transfers(void **state)
{
    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1", .agreement = "agr")), OK);
    assert_int_equal(put(GRANT(.id = "t2", .agreement = "agr")), OK);
    assert_int_equal(put(GRANT(.id = "t3", .agreement = "other")), OK);
    assert_int_equal(load_config(with_grants), OK);
    expect(0, TOKEN(.transfer = "t1"), LOGIN_OK);
    expect(1, TOKEN(.transfer = "t3"), LOGIN_OK);
    assert_int_equal(revoke_now(REVOKE_AGREEMENT, "", "agr"), OK);
    assert_int_equal(bed.closed, 1);
    assert_false(has_grant("t1"));
    assert_false(has_grant("t2"));
    assert_false(has_grant("c1"));
    assert_true(has_grant("t3"));
    bed_close();
    bed_open(path, config);
    assert_int_equal(load_config(with_grants), OK);
    assert_false(has_grant("c1"));
    expect(0, TOKEN(.transfer = "t2"), LOGIN_REVOKED);
    expect(0, TOKEN(.transfer = "c1"), LOGIN_REVOKED);
    expect(0, TOKEN(.transfer = "t3"), LOGIN_OK);
    bed_close();
}

static void grants_of_the_configuration(void **state)
{
    (void)state;
    bed_open(path, with_grants);
    assert_int_equal(load_config(with_grants), OK);
    expect(0, TOKEN(), LOGIN_OK);
    expect(1, TOKEN(.subject = "eve", .jti = "je"), LOGIN_OK);
    assert_int_equal(load_config(with_grants), OK); /* nothing has changed */
    assert_int_equal(bed.closed, 0);
    assert_int_equal(load_config(fewer_grants), OK); /* removed: closed */
    assert_int_equal(bed.closed, 1);
    /* Subjects are shared: whoever held a token of this one may be another than who comes next. */
    expect(1, TOKEN(.subject = "eve", .jti = "je"), LOGIN_REVOKED);
    assert_int_equal(load_config(with_grants), OK);
    expect(1, TOKEN(.subject = "eve", .jti = "je"), LOGIN_REVOKED);
    expect(1, TOKEN(.subject = "eve", .jti = "jf", .issued = now_s() + 1), LOGIN_OK);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "c1"), OK);
    assert_int_equal(bed.closed, 1);
    assert_false(has_grant("c1"));
    assert_int_equal(load_config(with_grants), OK);
    expect(0, TOKEN(.jti = "j2", .issued = now_s() + 5), LOGIN_REVOKED);
    bed_close();
    bed_open(path, with_grants);
    /* The grant is not kept, that it was taken away is. */
    expect(0, TOKEN(.subject = "eve", .jti = "jf", .issued = now_s() + 1), LOGIN_NO_GRANT);
    assert_int_equal(load_config(with_grants), OK);
    expect(0, TOKEN(.subject = "eve", .jti = "je"), LOGIN_REVOKED);
    expect(0, TOKEN(.subject = "eve", .jti = "jf", .issued = now_s() + 1), LOGIN_OK);
    expect(0, TOKEN(.jti = "j3", .issued = now_s() + 5), LOGIN_REVOKED); /* kept */
    /* put over the API it comes back, and the configuration gives way */
    assert_int_equal(put(GRANT(.id = "c1")), OK);
    assert_int_equal(load_config(with_grants), OK);
    expect(0, TOKEN(.transfer = "c1", .jti = "j4", .issued = now_s() + 5), LOGIN_OK);
    bed_close();
}

/* Before the workers stand: what was changed reaches them when they begin. */
static void before_the_start(void **state)
{
    struct store_peers peers = {0, NULL, NULL};
    char err[256];

    (void)state;
    memset(&bed, 0, sizeof(bed));
    bed.loop = loop_new();
    bed.patience = loop_timer_new(bed.loop, on_patience, NULL);
    bed.store = store_open(path, bed.loop, config, err, sizeof(err));
    assert_non_null(bed.store);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    assert_int_equal(load_config(with_grants), OK);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "c1"), OK);
    assert_true(has_grant("t1"));
    assert_int_equal(store_start(bed.store, &peers, on_ready, &bed), OK);
    assert_int_equal(store_start(bed.store, &peers, on_ready, &bed), ERR_BUSY);
    assert_int_equal(wait_done(), OK);
    store_close(bed.store);
    loop_timer_free(bed.patience);
    loop_free(bed.loop);
}

/* kill -9 the moment that the answer is there. */
static void survives_kill(void **state)
{
    int fds[2];
    pid_t pid;
    char c;
    int status;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bed_open(path, config);
        if (put(GRANT(.id = "t1")) != OK || put(GRANT(.id = "t2")) != OK ||
            revoke_now(REVOKE_TRANSFER, "", "t1") != OK || write(fds[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(2);
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &c, 1), 1);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    close(fds[0]);
    bed_open(path, config);
    assert_false(has_grant("t1"));
    assert_true(has_grant("t2"));
    assert_true(has_revocation("transfer:t1"));
    expect(0, TOKEN(.transfer = "t1"), LOGIN_REVOKED);
    bed_close();
}

/* --- a disk that takes no more */

static struct rlimit room;

static void no_room_on_disk(void)
{
    struct rlimit none;
    struct stat st;
    char wal[128];

    snprintf(wal, sizeof(wal), "%s-wal", path);
    assert_int_equal(stat(wal, &st), 0);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &room);
    none = room;
    none.rlim_cur = (rlim_t)st.st_size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
}

static void room_on_disk(void)
{
    setrlimit(RLIMIT_FSIZE, &room);
}

/* The caller hears it, closed stays closed, a grant is taken back, and when there is room again
 * everything works. */
static void disk_full(void **state)
{
    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    expect(0, TOKEN(.transfer = "t1"), LOGIN_OK);
    no_room_on_disk();
    assert_int_equal(put(GRANT(.id = "t2")), ERR_IO);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t1"), ERR_IO);
    assert_int_equal(bed.closed, 1);
    assert_false(has_grant("t2"));
    expect(1, TOKEN(.transfer = "t2"), LOGIN_NO_GRANT);
    expect(1, TOKEN(.transfer = "t1"), LOGIN_REVOKED);
    room_on_disk();
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t1"), OK);
    assert_int_equal(put(GRANT(.id = "t2")), OK);
    bed_close();
    bed_open(path, config);
    expect(1, TOKEN(.transfer = "t1"), LOGIN_REVOKED);
    expect(1, TOKEN(.transfer = "t2"), LOGIN_OK);
    bed_close();
}

static int settle_now(void)
{
    int rc = store_settle(bed.store, done, &bed);

    return rc != OK ? rc : wait_done();
}

/* A grant that ended while the disk was full is gone from memory, so nobody can end it once more:
 * what asks again hears "done" only when it is gone from the disk as well. */
static void ends_are_owed(void **state)
{
    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    assert_int_equal(put(GRANT(.id = "t2")), OK);
    assert_false(store_owes(bed.store));
    no_room_on_disk();
    assert_int_equal(store_ungrant(bed.store, "t1", done, &bed), OK);
    assert_int_equal(wait_done(), ERR_IO);
    assert_true(store_owes(bed.store));
    assert_int_equal(store_ungrant(bed.store, "t1", done, &bed), ERR_UNKNOWN);
    assert_int_equal(settle_now(), ERR_IO);
    assert_true(store_owes(bed.store));
    room_on_disk();
    assert_int_equal(settle_now(), OK);
    assert_false(store_owes(bed.store));
    bed_close();
    bed_open(path, config);
    assert_false(has_grant("t1"));
    assert_true(has_grant("t2"));
    bed_close();
}

/* Whatever is written next takes it along, with the tokens of the sessions that it closed, which
 * are closed once only; and a grant that comes after it stays. */
static void owed_goes_along(void **state)
{
    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1", .agreement = "agr")), OK);
    assert_int_equal(put(GRANT(.id = "t2", .agreement = "agr")), OK);
    assert_int_equal(put(GRANT(.id = "t3")), OK);
    expect(0, TOKEN(.shared_subjects = false, .jti = "of-t1"), LOGIN_OK);
    no_room_on_disk();
    assert_int_equal(revoke_now(REVOKE_AGREEMENT, "", "agr"), ERR_IO);
    assert_int_equal(bed.closed, 1);
    assert_int_equal(store_ungrant(bed.store, "t3", done, &bed), OK);
    assert_int_equal(wait_done(), ERR_IO);
    room_on_disk();
    assert_int_equal(put(GRANT(.id = "t3")), OK);
    assert_false(store_owes(bed.store));
    bed_close();
    bed_open(path, config);
    assert_true(has_revocation("agreement:agr"));
    assert_true(has_revocation("transfer:t2"));
    assert_true(has_revocation("jti:of-t1"));
    assert_false(has_grant("t1"));
    assert_true(has_grant("t3"));
    bed_close();
}

static void workers_that_fail(void **state)
{
    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    expect(1, TOKEN(.transfer = "t1"), LOGIN_OK);
    bed.refuse = ERR_LIMIT;
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t1"), ERR_LIMIT);
    assert_int_equal(bed.closed, 1); /* by the others */
    assert_int_equal(put(GRANT(.id = "t2")), ERR_LIMIT);
    bed.refuse = OK;
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t1"), OK);
    assert_false(has_grant("t2"));
    bed_close();
}

static void on_pause(void *arg)
{
    loop_stop(arg);
}

/* No answer before the last worker has acknowledged. */
static void waits_for_all(void **state)
{
    struct change_ack *first;

    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    bed.hold = true;
    assert_int_equal(revoke_begin(REVOKE_TRANSFER, "", "t1"), OK);
    first = bed.held;
    bed.hold = false;
    assert_int_equal(put_begin(GRANT(.id = "t2")), OK); /* waits behind it */
    loop_timer_free(bed.patience);
    bed.patience = loop_timer_new(bed.loop, on_pause, bed.loop);
    assert_int_equal(loop_timer_set(bed.patience, 300000), OK);
    assert_int_equal(loop_run(bed.loop), OK);
    assert_false(bed.ended);
    loop_timer_free(bed.patience);
    bed.patience = loop_timer_new(bed.loop, on_patience, NULL);
    change_ack_done(first, OK, 7);
    assert_int_equal(wait_done(), OK);
    if (bed.closed == 7)
        assert_int_equal(wait_done(), OK);
    assert_true(has_grant("t2"));
    bed_close();
}

static unsigned answers;
static int last_answer;

static void count_answer(void *arg, int result, unsigned closed)
{
    (void)arg;
    (void)closed;
    answers++;
    last_answer = result;
}

/* What is under way at the end is committed all the same, and its caller told. */
static void closed_in_the_middle(void **state)
{
    struct revocation *r = revocation_new(REVOKE_JTI, ISS, "late", "", 1, 0, "");

    (void)state;
    bed_open(path, config);
    bed.hold = true;
    answers = 0;
    assert_int_equal(store_revoke(bed.store, r, count_answer, NULL), OK);
    assert_int_equal(store_revoke(bed.store, r, count_answer, NULL), OK);
    revocation_free(r);
    bed_close();
    assert_int_equal(answers, 2);
    assert_int_equal(last_answer, ERR_BUSY);
    bed_open(path, config);
    assert_true(has_revocation("jti:late"));
    bed_close();
}

static void many_at_once(void **state)
{
    char name[32];
    unsigned i;

    (void)state;
    bed_open(path, config);
    answers = 0;
    for (i = 0; i < STORE_CHANGES_MAX; i++) {
        struct revocation *r;

        snprintf(name, sizeof(name), "j%u", i);
        r = revocation_new(REVOKE_JTI, ISS, name, "", 1, 0, "");
        assert_int_equal(store_revoke(bed.store, r, count_answer, NULL), OK);
        revocation_free(r);
    }
    assert_int_equal(revoke_begin(REVOKE_JTI, ISS, "one more"), ERR_BUSY);
    bed_close();
    assert_int_equal(answers, STORE_CHANGES_MAX);
    assert_int_equal(last_answer, OK);
    bed_open(path, config);
    assert_true(has_revocation("jti:j0"));
    assert_true(has_revocation("jti:j255"));
    bed_close();
}

static void limits(void **state)
{
    (void)state;
    bed_open(path, tiny);
    assert_int_equal(put(GRANT(.id = "t1", .expires = now_s() - 1)), OK);
    assert_int_equal(put(GRANT(.id = "t2")), OK);
    assert_int_equal(put(GRANT(.id = "t3")), OK); /* t1 has ended and makes room */
    assert_int_equal(put(GRANT(.id = "t4")), ERR_LIMIT);
    assert_int_equal(put(GRANT(.id = "t3", .operations = OP_WRITE)), OK);
    assert_int_equal(load_config(config), OK); /* with its limits */
    assert_int_equal(load_config(tiny), OK);
    assert_int_equal(put(GRANT(.id = "t4")), ERR_LIMIT);
    assert_int_equal(revoke_now(REVOKE_JTI, ISS, "j1"), OK);
    assert_int_equal(revoke_now(REVOKE_JTI, ISS, "j2"), OK);
    expect(0, TOKEN(.transfer = "t2", .jti = "j9"), LOGIN_OK);
    /* no room to keep it: in force, but not a success */
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t2"), ERR_LIMIT);
    assert_int_equal(bed.closed, 1);
    expect(0, TOKEN(.transfer = "t2", .jti = "j9"), LOGIN_REVOKED);
    bed_close();
}

static const char *open_fails(void)
{
    static char err[256];
    struct loop *l = loop_new();
    struct store *s;

    err[0] = '\0';
    s = store_open(path, l, config, err, sizeof(err));
    assert_null(s);
    loop_free(l);
    assert_true(err[0] != '\0');
    return err;
}

static void sql(const char *text)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

static void files_that_cannot_be_used(void **state)
{
    FILE *f;

    (void)state;
    /* another process holds it */
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    assert_non_null(strstr(open_fails(), "lock"));
    bed_close();
    /* newer than we are; rows that make no sense */
    sql("UPDATE state SET version = 99");
    assert_non_null(strstr(open_fails(), "version 99"));
    sql("UPDATE state SET version = 3; UPDATE grants SET operations = 1024");
    assert_non_null(strstr(open_fails(), "no sense"));
    sql("DELETE FROM grants; INSERT INTO revocations VALUES ('nonsense','','x','',1,1,0,'')");
    assert_non_null(strstr(open_fails(), "no sense"));
    sql("DELETE FROM revocations; INSERT INTO revocations VALUES ('jti','','x','',1,1,0,'')");
    assert_non_null(strstr(open_fails(), "no sense"));
    sql("DELETE FROM revocations");
    bed_open(path, config);
    bed_close();
    /* a page whose cells are garbage */
    sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
        " INSERT INTO notes SELECT 'flow', i, hex(randomblob(40)) FROM n; VACUUM");
    f = fopen(path, "r+");
    assert_int_equal(fseek(f, -2000, SEEK_END), 0);
    for (int i = 0; i < 1000; i++)
        fputc(0xff, f);
    fclose(f);
    assert_non_null(strstr(open_fails(), "damaged"));
    /* somebody else's database */
    unlink(path);
    sql("CREATE TABLE shop (a); INSERT INTO shop VALUES (1)");
    assert_non_null(strstr(open_fails(), "not one of sluice"));
    /* no database */
    unlink(path);
    f = fopen(path, "w");
    fputs("this is a text file, and long enough to be looked at, line by line, byte by byte\n", f);
    fclose(f);
    open_fails();
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    open_fails();
    rmdir(path);
    f = fopen(path, "w");
    fclose(f);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reaches_every_worker),
        T(survives_a_restart),
        T(closed_tokens_are_barred),
        T(attributes_end_their_transfers),
        T(grants_of_the_configuration),
        T(before_the_start),
        T(survives_kill),
        T(disk_full),
        T(ends_are_owed),
        T(owed_goes_along),
        T(workers_that_fail),
        T(waits_for_all),
        T(closed_in_the_middle),
        T(many_at_once),
        T(limits),
        T(files_that_cannot_be_used),
    };

    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
