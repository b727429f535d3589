#include "tests/unit/unit.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include "auth/store.h"
#include "auth/store_notes.h"
#include "base/alloc.h"
#include "base/loop.h"
#include "tests/unit/token.h"

static struct config *config;
static struct loop *loop;
static struct store *store;
static struct loop_timer *patience;
static char dir[64], path[96];
static int ended, result;

static void on_patience(void *arg)
{
    (void)arg;
    fail_msg("nothing happened for 20 s");
}

static void done(void *arg, int rc, unsigned closed)
{
    (void)arg;
    assert_int_equal(closed, 0);
    ended++;
    result = rc;
    loop_stop(loop);
}

static void wait_for(int count)
{
    assert_int_equal(loop_timer_set(patience, 20000000), OK);
    while (ended < count)
        assert_int_equal(loop_run(loop), OK);
    loop_timer_clear(patience);
    ended = 0;
}

static void open_store(const char *file)
{
    char err[256] = "";

    loop = loop_new();
    patience = loop_timer_new(loop, on_patience, NULL);
    store = store_open(file, loop, config, err, sizeof(err));
    if (!store)
        fail_msg("%s", err);
}

static void close_store(void)
{
    store_close(store);
    loop_timer_free(patience);
    loop_free(loop);
}

static void reopen(void)
{
    close_store();
    open_store(path);
}

static int note(const char *kind, const char *id, const char *text)
{
    int rc = store_note(store, kind, id, text, done, NULL);

    if (rc != OK)
        return rc;
    wait_for(1);
    return result;
}

static void expect_note(const char *kind, const char *id, const char *text)
{
    const char *has = store_find_note(store, kind, id);

    if (text)
        assert_string_equal(has, text);
    else
        assert_null(has);
}

static int setup_all(void **state)
{
    (void)state;
    config = token_config("issuers: [{issuer: \"https://idp.example.com\", audience: sluice}]\n");
    return config ? 0 : -1;
}

static int teardown_all(void **state)
{
    (void)state;
    config_unref(config);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/sluice-notes-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/s.db", dir);
    ended = 0;
    return 0;
}

static int teardown(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char name[128];
    size_t i;

    (void)state;
    for (i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        (void)unlink(name);
    }
    return rmdir(dir);
}

/* --- the notes in memory */

static void count_one(void *arg, const char *id, const char *text)
{
    (void)id;
    (void)text;
    ++*(unsigned *)arg;
}

static void in_memory(void **state)
{
    struct notes *all = notes_new();
    char id[32];
    unsigned n = 0;
    unsigned i;

    (void)state;
    for (i = 0; i < 1000; i++) {
        snprintf(id, sizeof(id), "t%u", i);
        assert_int_equal(notes_put(all, i % 2 ? "odd" : "even", id, id), OK);
    }
    for (i = 0; i < 1000; i++) {
        snprintf(id, sizeof(id), "t%u", i);
        assert_string_equal(notes_find(all, i % 2 ? "odd" : "even", id), id);
        assert_null(notes_find(all, i % 2 ? "even" : "odd", id));
    }
    notes_each(all, "odd", count_one, &n);
    assert_int_equal(n, 500);
    assert_int_equal(notes_put(all, "odd", "t1", NULL), OK);
    assert_int_equal(notes_put(all, "odd", "t1", NULL), OK); /* twice is no error */
    assert_null(notes_find(all, "odd", "t1"));
    /* Kind and id don't run together. */
    assert_int_equal(notes_put(all, "ab", "c", "1"), OK);
    assert_null(notes_find(all, "a", "bc"));
    notes_free(all);
}

static void memory_bounds(void **state)
{
    static char text[STORE_NOTE_BYTES_MAX + 2], kind[STORE_NOTE_KIND_MAX + 2],
        id[STORE_NOTE_ID_MAX + 2];
    struct notes *all = notes_new();
    char name[16];
    unsigned i;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    memset(kind, 'k', sizeof(kind) - 1);
    memset(id, 'i', sizeof(id) - 1);
    assert_int_equal(notes_put(all, "", "a", "t"), ERR_MALFORMED);
    assert_int_equal(notes_put(all, "k", "", "t"), ERR_MALFORMED);
    assert_int_equal(notes_put(all, kind, "a", "t"), ERR_MALFORMED);
    assert_int_equal(notes_put(all, "k", id, "t"), ERR_MALFORMED);
    assert_int_equal(notes_put(all, "k", "a", text), ERR_LIMIT);
    text[STORE_NOTE_BYTES_MAX] = '\0';
    assert_int_equal(notes_put(all, kind + 1, id + 1, text), OK);
    /* The bound of all texts, and that a note which is replaced gives back what it took. */
    for (i = 1; i < STORE_NOTES_BYTES_MAX / STORE_NOTE_BYTES_MAX; i++) {
        snprintf(name, sizeof(name), "%u", i);
        assert_int_equal(notes_put(all, "k", name, text), OK);
    }
    assert_int_equal(notes_put(all, "k", "more", "t"), ERR_LIMIT);
    assert_int_equal(notes_put(all, "k", "1", text + 1), OK);
    assert_int_equal(notes_put(all, "k", "more", "t"), OK);
    assert_int_equal(notes_put(all, "k", "1", text), ERR_LIMIT);
    assert_int_equal(notes_put(all, "k", "more", NULL), OK);
    assert_int_equal(notes_put(all, "k", "1", text), OK);
    notes_free(all);

    all = notes_new();
    for (i = 0; i < STORE_NOTES_MAX; i++) {
        snprintf(name, sizeof(name), "%u", i);
        assert_int_equal(notes_put(all, "k", name, "t"), OK);
    }
    assert_int_equal(notes_put(all, "k", "more", "t"), ERR_LIMIT);
    assert_int_equal(notes_put(all, "k", "7", "other"), OK); /* replaced, not added */
    assert_int_equal(notes_put(all, "k", "7", NULL), OK);
    assert_int_equal(notes_put(all, "k", "more", "t"), OK);
    notes_free(all);
}

static void out_of_memory(void **state)
{
    unsigned n;

    (void)state;
    for (n = 1; n < 16; n++) {
        struct notes *all = notes_new();
        int put, replaced;

        assert_true(sl_alloc_fail_after(n));
        put = notes_put(all, "k", "a", "t");
        replaced = notes_put(all, "k", "a", "other");
        assert_true(sl_alloc_fail_after(0));
        assert_true(put == OK || put == ERR_NOMEM);
        if (put == OK)
            assert_string_equal(notes_find(all, "k", "a"), replaced == OK ? "other" : "t");
        else
            assert_null(notes_find(all, "k", "a"));
        notes_free(all);
    }
}

/* --- in the store */

static void survives_a_restart(void **state)
{
    unsigned n = 0;

    (void)state;
    open_store(path);
    assert_int_equal(note("flow", "t1", "{\"state\":\"STARTED\"}"), OK);
    assert_int_equal(note("flow", "t2", "gone"), OK);
    assert_int_equal(note("client", "t1", "c\xc3\xbc, \"quoted\"\n"), OK);
    assert_int_equal(note("flow", "t2", NULL), OK);
    assert_int_equal(note("flow", "never", NULL), OK);
    assert_int_equal(note("flow", "t1", "{\"state\":\"SUSPENDED\"}"), OK);
    reopen();
    expect_note("flow", "t1", "{\"state\":\"SUSPENDED\"}");
    expect_note("flow", "t2", NULL);
    expect_note("client", "t1", "c\xc3\xbc, \"quoted\"\n");
    store_each_note(store, "flow", count_one, &n);
    assert_int_equal(n, 1);
    assert_int_equal(note("flow", "t1", NULL), OK);
    reopen();
    expect_note("flow", "t1", NULL);
    close_store();
}

static void without_a_file(void **state)
{
    (void)state;
    open_store("");
    assert_int_equal(note("flow", "t1", "x"), OK);
    expect_note("flow", "t1", "x");
    close_store();
}

/* Many under way at once, of one id too: the last stays. */
static void many_at_once(void **state)
{
    char text[16];
    int i;

    (void)state;
    open_store(path);
    for (i = 0; i < 200; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assert_int_equal(
            store_note(store, "flow", i % 2 ? "a" : "b", i == 199 ? NULL : text, done, NULL), OK);
    }
    wait_for(200);
    assert_int_equal(result, OK);
    reopen();
    expect_note("flow", "b", "198");
    expect_note("flow", "a", NULL);
    close_store();
}

static void refused(void **state)
{
    int i;

    (void)state;
    open_store(path);
    assert_int_equal(note("flow", "t1", "kept"), OK);
    assert_int_equal(store_note(store, "flow", "", "x", done, NULL), ERR_MALFORMED);
    for (i = 0; i < STORE_CHANGES_MAX; i++)
        assert_int_equal(store_note(store, "flow", "t2", "y", done, NULL), OK);
    assert_int_equal(store_note(store, "flow", "t1", "z", done, NULL), ERR_BUSY);
    expect_note("flow", "t1", "kept");
    wait_for(STORE_CHANGES_MAX);
    close_store();
}

/* Told is kept: whoever was told is killed at once, and the note is there. */
static void survives_kill(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        open_store(path);
        if (note("flow", "t1", "told") == OK)
            (void)raise(SIGKILL);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    open_store(path);
    expect_note("flow", "t1", "told");
    close_store();
}

static void sql(const char *text)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* The schema's first version had no notes. */
static void first_schema(void **state)
{
    (void)state;
    sql("PRAGMA application_id = 0x736c7563;"
        "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL,"
        "  number INTEGER NOT NULL) STRICT;"
        "INSERT INTO state VALUES (1, 1, 41);"
        "CREATE TABLE grants (id TEXT PRIMARY KEY, number INTEGER NOT NULL,"
        "  participant TEXT NOT NULL, agreement TEXT NOT NULL, asset TEXT NOT NULL,"
        "  issuer TEXT NOT NULL, subject TEXT NOT NULL, client TEXT NOT NULL,"
        "  topics TEXT NOT NULL, group_prefix TEXT NOT NULL, operations INTEGER NOT NULL,"
        "  not_before INTEGER NOT NULL, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE TABLE revocations (kind TEXT NOT NULL, issuer TEXT NOT NULL, value TEXT NOT NULL,"
        "  client TEXT NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL,"
        "  until INTEGER NOT NULL, reason TEXT NOT NULL,"
        "  PRIMARY KEY (kind, issuer, value, client)) STRICT, WITHOUT ROWID;");
    open_store(path);
    assert_int_equal(note("flow", "t1", "x"), OK);
    reopen();
    expect_note("flow", "t1", "x");
    close_store();
}

static void bad_rows(void **state)
{
    char err[256];

    (void)state;
    open_store(path);
    close_store();
    sql("INSERT INTO notes VALUES ('', 'a', 'b')");
    loop = loop_new();
    assert_null(store_open(path, loop, config, err, sizeof(err)));
    assert_non_null(strstr(err, "makes no sense"));
    loop_free(loop);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_memory),
        cmocka_unit_test(memory_bounds),
        cmocka_unit_test(out_of_memory),
        T(survives_a_restart),
        T(without_a_file),
        T(many_at_once),
        T(refused),
        T(survives_kill),
        T(first_schema),
        T(bad_rows),
    };

    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
