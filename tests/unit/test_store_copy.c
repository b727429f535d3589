/* Export and import of the store, and their lines. */
#include "tests/unit/unit.h"

#include "auth/store_copy.h"
#include "auth/store_line.h"
#include "control/store_tool.h"
#include "tests/unit/store_bed.h"

static const char *const lines[] = {
    "{\"store\":1}",
    "{\"revocation\":{\"kind\":\"transfer\",\"issuer\":\"\",\"value\":\"t9\",\"client\":\"\","
    "\"at\":7,\"until\":0,\"reason\":\"over\"}}",
    "{\"revocation\":{\"kind\":\"jti\",\"issuer\":\"" ISS "\",\"value\":\"j\\u0000\",\"client\":"
    "\"\",\"at\":7,\"until\":0,\"reason\":\"\"}}", /* refused */
    "{\"grant\":{\"id\":\"t1\",\"principal\":{\"issuer\":\"" ISS "\",\"subject\":\"bob\","
    "\"client\":\"\"},\"tokens\":[\"j1\"],\"participant\":\"p\",\"agreement\":\"\",\"asset\":\"\","
    "\"topics\":[\"a\",\"b\"],\"group_prefix\":\"bob\",\"operations\":[\"read\"],\"not_before\":0,"
    "\"expires\":0}}",
    "{\"note\":{\"kind\":\"flow\",\"id\":\"t1\",\"text\":\"STARTED \\\"\\n\"}}",
};

static int read_line(const char *text, size_t n, struct store_line *l)
{
    const char *why = NULL;
    char *copy = malloc(n ? n : 1); /* of exactly its size */
    int rc;

    memcpy(copy, text, n);
    rc = store_line_read(copy, n, l, &why);
    free(copy);
    if (rc != OK) {
        assert_non_null(why);
        assert_true(!l->grant && !l->revocation && !l->note);
    }
    return rc;
}

static void lines_and_cuts(void **state)
{
    struct store_line l;
    size_t i, n;
    char *text;

    (void)state;
    for (i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        bool good = i != 2;

        for (n = 0; n < strlen(lines[i]); n++)
            assert_int_equal(read_line(lines[i], n, &l), ERR_MALFORMED);
        assert_int_equal(read_line(lines[i], n, &l), good ? OK : ERR_MALFORMED);
        if (!good)
            continue;
        text = store_line_write(&l);
        assert_string_equal(text, lines[i]);
        free(text);
        store_line_clear(&l);
    }
}

static void refused_lines(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"store\":2}",
        "{\"store\":\"1\"}",
        "{\"store\":1,\"grant\":{}}",
        "{\"other\":{}}",
        "{\"note\":{\"kind\":\"k\",\"id\":\"i\"}}",
        "{\"note\":{\"kind\":\"k\",\"id\":\"\",\"text\":\"\"}}",
        "{\"note\":{\"kind\":\"k\",\"id\":\"i\",\"text\":\"\",\"more\":1}}",
        "{\"note\":{\"kind\":\"k\",\"id\":\"i\",\"text\":7}}",
        "{\"revocation\":{\"kind\":\"none\",\"issuer\":\"\",\"value\":\"t\",\"client\":\"\",\"at\":"
        "1,\"until\":0,\"reason\":\"\"}}",
        "{\"revocation\":{\"kind\":\"jti\",\"issuer\":\"\",\"value\":\"t\",\"client\":\"\",\"at\":1"
        ",\"until\":0,\"reason\":\"\"}}",
        "{\"revocation\":{\"kind\":\"transfer\",\"issuer\":\"\",\"value\":\"t\",\"client\":\"\","
        "\"at\":-1,\"until\":0,\"reason\":\"\"}}",
        "{\"grant\":{\"id\":\"t1\"}}",
        "{\"grant\":[]}",
    };
    static const char *const spoilt[][2] = {
        {"[\"read\"]", "[\"rule\"]"},
        {"[\"read\"]", "[]"},
        {"[\"read\"]", "\"read\""},
        {"[\"a\",\"b\"]", "[\"a\",7]"},
        {"[\"a\",\"b\"]", "[\"__consumer_offsets\"]"},
        {"\"t1\"", "\"\""},
        {"\"not_before\":0", "\"not_before\":-1"},
        {"[\"j1\"]", "[\"\"]"},
        {"\"expires\":0", "\"expires\":0.5"},
        {"\"asset\"", "\"assets\""},
    };
    struct store_line l;
    char text[1024];
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(read_line(bad[i], strlen(bad[i]), &l), ERR_MALFORMED);
    for (i = 0; i < sizeof(spoilt) / sizeof(*spoilt); i++) {
        const char *at = strstr(lines[3], spoilt[i][0]);

        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - lines[3]), lines[3], spoilt[i][1],
                 at + strlen(spoilt[i][0]));
        assert_int_equal(read_line(text, strlen(text), &l), ERR_MALFORMED);
    }
}

/* --- files */

static FILE *copy_of(const char *store)
{
    struct store_counts n;
    char err[256] = "";
    FILE *f = tmpfile();

    if (store_export(store, f, &n, err, sizeof(err)) != OK)
        fail_msg("%s", err);
    return f;
}

static struct store_counts import_into(const char *store, FILE *f)
{
    struct store_counts n;
    char err[256] = "";

    if (store_import(store, f, &n, err, sizeof(err)) != OK)
        fail_msg("%s", err);
    return n;
}

static int note_put(const char *id, const char *text)
{
    int rc = store_note(bed.store, "flow", id, text, done, &bed);

    return rc != OK ? rc : wait_done();
}

static void moves_all(void **state)
{
    static const char *tokens[] = {"j1", "odd \" \\ , jti"};
    struct store_counts n;
    int64_t ended_s;
    char name[32];
    FILE *f;
    int i;

    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1", .tokens = {tokens, 2}, .not_before = 5,
                               .expires = 4000000000, .operations = OP_READ | OP_MANAGE)),
                     OK);
    assert_int_equal(put(GRANT(.id = "t2")), OK);
    ended_s = now_s();
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t2"), OK);
    assert_int_equal(put(GRANT(.id = "t2")), OK); /* resumed */
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "t3"), OK);
    assert_int_equal(note_put("t1", "text"), OK);
    for (i = 0; i < 1500; i++) { /* more than one part */
        snprintf(name, sizeof(name), "j-%d", i);
        assert_int_equal(revoke_now(REVOKE_JTI, ISS, name), OK);
    }
    bed_close();
    f = copy_of(path);
    assert_int_equal(unlink(path), 0);
    n = import_into(path, f);
    assert_int_equal(n.grants, 2);
    assert_int_equal(n.revocations, 1502);
    assert_int_equal(n.notes, 1);
    assert_int_equal(n.kept, 0);
    n = import_into(path, f); /* once more: nothing new */
    assert_int_equal(n.revocations, 0);
    assert_int_equal(n.kept, 1502);
    fclose(f);
    bed_open(path, config);
    assert_true(has_grant("t1") && has_grant("t2") && !has_grant("t3"));
    expect(0, TOKEN(.jti = "odd \" \\ , jti"), LOGIN_OK);
    expect(0, TOKEN(.jti = "j-1499", .transfer = "t1"), LOGIN_REVOKED);
    expect(0, TOKEN(.transfer = "t2", .jti = "x", .issued = ended_s), LOGIN_REVOKED);
    expect(0, TOKEN(.transfer = "t2", .jti = "x", .issued = now_s() + 5), LOGIN_OK);
    expect(0, TOKEN(.transfer = "t3", .jti = "x", .issued = now_s() + 5), LOGIN_REVOKED);
    assert_string_equal(store_find_note(bed.store, "flow", "t1"), "text");
    bed_close();
}

/* An old export over a store in which a transfer has ended meanwhile, and another was resumed. */
static void weakens_nothing(void **state)
{
    struct store_counts n;
    FILE *f;

    (void)state;
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "ended")), OK);
    assert_int_equal(put(GRANT(.id = "resumed")), OK);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "resumed"), OK);
    bed_close();
    f = copy_of(path);
    bed_open(path, config);
    assert_int_equal(revoke_now(REVOKE_TRANSFER, "", "ended"), OK);
    assert_int_equal(put(GRANT(.id = "resumed")), OK);
    bed_close();
    n = import_into(path, f);
    fclose(f);
    assert_int_equal(n.kept, 2);
    bed_open(path, config);
    expect(0, TOKEN(.transfer = "ended", .jti = "x", .issued = now_s() + 5), LOGIN_REVOKED);
    expect(0, TOKEN(.transfer = "resumed", .jti = "x", .issued = now_s() + 5), LOGIN_OK);
    bed_close();
}

static void refused_files(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "there is none"},
        {"{\"note\":{\"kind\":\"k\",\"id\":\"i\",\"text\":\"\"}}\n", "line 1: the first line"},
        {"{\"store\":1}\n{\"store\":1}\n", "line 2: the first line of an export once more"},
        {"{\"store\":1}\n\n", "line 2"},
        {"{\"store\":1}\n{\"note\":{\"kind\":\"k\",\"id\":\"i\",\"text\":\"\"}}\nx\n", "line 3"},
        {"{\"store\":3}\n", "line 1: an export of another form"},
    };
    struct store_counts n;
    char err[256];
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        FILE *f = tmpfile();

        fputs(bad[i].text, f);
        assert_int_equal(store_import(path, f, &n, err, sizeof(err)), ERR_MALFORMED);
        if (!strstr(err, bad[i].why))
            fail_msg("%s instead of %s", err, bad[i].why);
        fclose(f);
        assert_int_equal(access(path, F_OK), -1); /* nothing was begun */
    }
}

/* The gate runs on it. */
static void in_use(void **state)
{
    struct store_counts n;
    char err[256];
    FILE *f = tmpfile();

    (void)state;
    fputs("{\"store\":1}\n", f);
    bed_open(path, config);
    assert_int_not_equal(store_export(path, f, &n, err, sizeof(err)), OK);
    assert_non_null(strstr(err, "lock"));
    assert_int_not_equal(store_import(path, f, &n, err, sizeof(err)), OK);
    bed_close();
    fclose(f);
}

/* --- the command line */

static int tool(const char *a, const char *b, const char *c, const char *d)
{
    char *argv[6] = {strdup("store")};
    const char *words[] = {a, b, c, d};
    int argc = 1, code;

    while (argc < 5 && words[argc - 1]) {
        argv[argc] = strdup(words[argc - 1]);
        argc++;
    }
    code = store_tool_main(argc, argv);
    while (argc > 0)
        free(argv[--argc]);
    return code;
}

static void command_line(void **state)
{
    char lines_file[128], other[128];
    struct stat st;

    (void)state;
    snprintf(lines_file, sizeof(lines_file), "%s/lines", dir);
    snprintf(other, sizeof(other), "%s/other.db", dir);
    assert_int_equal(tool(NULL, NULL, NULL, NULL), 2);
    assert_int_equal(tool("copy", NULL, NULL, NULL), 2);
    assert_int_equal(tool("export", NULL, NULL, NULL), 2);
    assert_int_equal(tool("export", "--store", NULL, NULL), 2);
    assert_int_equal(tool("export", "--store", path, NULL), 2);
    assert_int_equal(tool("export", "--stone", path, lines_file), 2);
    assert_int_equal(tool("--help", NULL, NULL, NULL), 0);
    assert_int_equal(tool("export", "--store", path, lines_file), 1); /* no such store */
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(tool("export", "-c", path, lines_file), 1);
    bed_open(path, config);
    assert_int_equal(put(GRANT(.id = "t1")), OK);
    assert_int_equal(tool("export", "--store", path, lines_file), 1); /* in use */
    assert_int_equal(access(lines_file, F_OK), -1);
    bed_close();
    assert_int_equal(tool("export", "--store", path, lines_file), 0);
    assert_int_equal(stat(lines_file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(tool("export", "--store", path, lines_file), 1); /* nothing is overwritten */
    assert_int_equal(tool("import", "--store", other, "/nowhere"), 1);
    assert_int_equal(tool("import", "--store", other, "/dev/null"), 1);
    assert_int_equal(tool("import", "--store", other, lines_file), 0);
    bed_open(other, config);
    assert_true(has_grant("t1"));
    bed_close();
    assert_int_equal(unlink(lines_file), 0);
    assert_int_equal(unlink(other), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_and_cuts),
        cmocka_unit_test(refused_lines),
        T(moves_all),
        T(weakens_nothing),
        T(refused_files),
        T(in_use),
        T(command_line),
    };

    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
