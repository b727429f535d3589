/* The store's file while memory fails at every place where we or SQLite ask for it: what was called
 * written is there when the file is opened again, what was not is not half there, and a revoked
 * transfer does not come back because memory was short. */
#include "tests/unit/unit.h"

#include "tests/unit/short_memory.h"

#include "tests/unit/store_bed.h"

static struct store_db *file;
static uint64_t number;      /* of the next change */
static bool written;         /* what the run was told */
static int (*outcome)(void); /* what the file holds: before 0, after 1, else -1 */

static void open_file(void)
{
    char err[256];

    file = store_db_open(path, err, sizeof err);
    if (!file)
        fail_msg("%s", err);
}

static void no_file(void)
{
    char name[128];

    store_db_close(file);
    file = NULL;
    snprintf(name, sizeof name, "%s-wal", path);
    unlink(name);
    unlink(path);
}

/* --- what is in the file, with all the memory there is */

static bool kept_grant, kept_revocation, kept_note;

static void look(void)
{
    char err[256];
    uint64_t last;
    struct store_db *db = store_db_open(path, err, sizeof err);
    struct grant_table *t = grant_table_new(config);
    struct notes *notes = notes_new();
    struct revocation *r = revocation_new(REVOKE_TRANSFER, "", "tp", "", 1, 0, "");

    if (!db)
        fail_msg("%s", err);
    assert_int_equal(store_db_load(db, t, notes, &last, err, sizeof err), OK);
    kept_grant = grant_table_find(t, "tp") != NULL;
    kept_revocation = grant_table_knows(t, r);
    kept_note = notes_find(notes, "flow", "n1") != NULL;
    revocation_free(r);
    notes_free(notes);
    grant_table_free(t);
    store_db_close(db);
}

/* --- one write of each kind */

static int write_items(const struct change_item *items, size_t n, const struct note *note)
{
    const struct change change = {++number, items, n};
    const struct change *changes[] = {&change};
    const struct note *notes[] = {note};
    const struct db_write w = {changes, n > 0, notes, note != NULL};

    return store_db_write(file, &w);
}

static struct grant *a_grant;
static struct revocation *a_revocation;
static struct note *a_note, *no_note;

static int put_it(void)
{
    return write_items(&(struct change_item){.kind = CHANGE_GRANT, .grant = a_grant}, 1, NULL);
}

static int take_it(void)
{
    return write_items(&(struct change_item){.kind = CHANGE_UNGRANT, .id = "tp"}, 1, NULL);
}

static int revoke_it(void)
{
    return write_items(&(struct change_item){.kind = CHANGE_REVOKE, .revocation = a_revocation}, 1,
                       NULL);
}

static int forget_it(void)
{
    return write_items(&(struct change_item){.kind = CHANGE_FORGET, .revocation = a_revocation}, 1,
                       NULL);
}

static int note_it(void)
{
    return write_items(NULL, 0, a_note);
}

static int forget_note(void)
{
    return write_items(NULL, 0, no_note);
}

/* --- what each of them leaves behind */

static int grant_kept(void)
{
    return kept_grant;
}

static int grant_gone(void)
{
    return !kept_grant;
}

/* Revoked and gone, or neither. */
static int grant_revoked(void)
{
    return kept_revocation == !kept_grant ? kept_revocation : -1;
}

static int revocation_gone(void)
{
    return !kept_revocation;
}

static int note_kept(void)
{
    return kept_note;
}

static int note_gone(void)
{
    return !kept_note;
}

static int (*action)(void), (*before[2])(void);

/* A new file with what was there before. */
static void begin(void)
{
    no_file();
    open_file();
    number = 0;
    for (size_t i = 0; i < 2; i++)
        if (before[i])
            assert_int_equal(before[i](), OK);
}

static bool act(void)
{
    written = action() == OK;
    return written;
}

static void as_told(void)
{
    int is;

    store_db_close(file);
    file = NULL;
    look();
    is = outcome();
    assert_int_not_equal(is, -1);
    if (written)
        assert_int_equal(is, 1);
    begin();
}

static void writes(void **state)
{
    static const struct {
        int (*action)(void), (*outcome)(void), (*before[2])(void);
    } all[] = {
        {put_it, grant_kept, {NULL}},         {take_it, grant_gone, {put_it}},
        {revoke_it, grant_revoked, {put_it}}, {forget_it, revocation_gone, {put_it, revoke_it}},
        {note_it, note_kept, {put_it}},       {forget_note, note_gone, {put_it, note_it}},
    };

    (void)state;
    afterwards = as_told;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        action = all[i].action;
        outcome = all[i].outcome;
        before[0] = all[i].before[0];
        before[1] = all[i].before[1];
        begin();
        sweep_places(act);
    }
    afterwards = NULL;
}

/* --- making and reading */

/* The schema is made step by step; what stopped between two is gone on with. */
static bool create(void)
{
    char err[256] = "";

    file = store_db_open(path, err, sizeof err);
    if (!file)
        assert_true(err[0]);
    return file != NULL;
}

static void works(void)
{
    store_db_close(file);
    open_file();
    assert_int_equal(put_it(), OK);
    no_file();
}

static void creates(void **state)
{
    (void)state;
    no_file();
    afterwards = works;
    sweep_places(create);
    afterwards = NULL;
}

/* All of it, or an error that says why; never a grant with less in it. */
static bool load(void)
{
    char err[256] = "";
    uint64_t last;
    struct store_db *db = store_db_open(path, err, sizeof err);
    struct grant_table *t = grant_table_new(config);
    struct notes *notes = notes_new();
    int rc = ERR_NOMEM;
    const struct grant *g;

    if (db && t && notes)
        rc = store_db_load(db, t, notes, &last, err, sizeof err);
    if (db && t && notes && rc != OK) {
        assert_true(rc == ERR_IO || rc == ERR_NOMEM);
        assert_non_null(strstr(err, "out of memory"));
    }
    g = rc == OK ? grant_table_find(t, "tp") : NULL;
    if (rc == OK) {
        assert_non_null(g);
        assert_int_equal(g->ntopics, 2);
        assert_int_equal(g->ntokens, 2);
        assert_string_equal(g->issuer, ISS);
        assert_string_equal(g->subject, "bob");
        assert_string_equal(g->participant, "did:web:bob");
        assert_string_equal(g->group_prefix, "bob");
        assert_int_equal(g->operations, OP_READ);
        assert_string_equal(notes_find(notes, "flow", "n1"), "a text");
    }
    notes_free(notes);
    grant_table_free(t);
    store_db_close(db);
    return rc == OK;
}

static void reads(void **state)
{
    (void)state;
    no_file();
    open_file();
    assert_int_equal(revoke_it(), OK);
    assert_int_equal(put_it(), OK);
    assert_int_equal(note_it(), OK);
    store_db_close(file);
    file = NULL;
    sweep_places(load);
}

/* --- the store itself: its own thread has the file, ours fails */

static int granted, revoked, noted_down; /* what it said of each */
static bool barred;                      /* it took the revocation, kept or not */

static int told(int rc)
{
    return rc == OK ? wait_done() : rc;
}

static bool use(void)
{
    granted = told(store_grant(bed.store, a_grant, done, &bed));
    noted_down = told(store_note(bed.store, "flow", "n1", "a text", done, &bed));
    revoked = store_revoke(bed.store, a_revocation, done, &bed);
    barred = revoked == OK;
    revoked = told(revoked);
    return granted == OK && noted_down == OK && revoked == OK;
}

/* What it took is in force at once, and after a restart when it said so; who was told that a grant
 * failed finds it nowhere. */
static void use_as_told(void)
{
    static const struct identity token = {
        .issuer = ISS, .subject = "bob", .transfer = "tp", .jti = "j1", .issued = 1};
    struct identity id = token;

    id.expires = now_s() + 300;
    for (unsigned i = 0; i < WORKERS; i++) {
        if (granted == OK && !barred)
            assert_int_equal(login(i, &id), LOGIN_OK);
        else
            assert_int_not_equal(login(i, &id), LOGIN_OK);
    }
    assert_int_equal(has_grant("tp"), granted == OK && !barred);
    bed_close();
    look();
    if (revoked == OK)
        assert_true(kept_revocation && !kept_grant);
    else if (!barred)
        assert_int_equal(kept_grant, granted == OK);
    if (noted_down == OK)
        assert_true(kept_note);
    no_file();
    bed_open(path, config);
}

static void the_store(void **state)
{
    (void)state;
    no_file();
    bed_open(path, config);
    afterwards = use_as_told;
    sweep_places(use);
    afterwards = NULL;
    bed_close();
}

/* In memory where that is to be had: thousands of transactions end with a flush. */
static int make(void **state)
{
    const char *why;

    if (setup_all(state))
        return -1;
    if (!dir_made_in("/dev/shm") && setup(state)) /* in memory where that is there */
        return -1;
    if (grant_new(GRANT(.id = "tp", .tokens = {(const char *[]){"j1", "j2"}, 2}), GRANT_FROM_API,
                  &a_grant, &why) != OK)
        return -1;
    a_revocation = revocation_new(REVOKE_TRANSFER, "", "tp", "", now_s(), 0, "test");
    a_note = note_new("flow", "n1", "a text");
    no_note = note_new("flow", "n1", NULL);
    return a_revocation && a_note && no_note ? 0 : -1;
}

static int unmake(void **state)
{
    grant_unref(a_grant);
    revocation_free(a_revocation);
    note_free(a_note);
    note_free(no_note);
    return teardown(state) || teardown_all(state);
}

int main(void)
{
    if (!hook_openssl_and_jansson() || !hook_sqlite())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes),
        cmocka_unit_test(creates),
        cmocka_unit_test(reads),
        cmocka_unit_test(the_store),
    };

    return cmocka_run_group_tests(tests, make, unmake);
}
