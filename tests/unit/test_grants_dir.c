/* The folder of grants: what is read, that a bad file changes nothing, and that a change is seen.
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/loop.h"
#include "config/grants_dir.h"

static char dir[64], grants[96], file[96];
static char err[8192];

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Under its name in the folder. */
static void put(const char *name, const char *text)
{
    char path[300];

    snprintf(path, sizeof(path), "%s/%s", grants, name);
    write_text(path, text);
}

static void drop(const char *name)
{
    char path[300];

    snprintf(path, sizeof(path), "%s/%s", grants, name);
    assert_int_equal(unlink(path), 0);
}

#define HEAD                                                                                       \
    "listen: 127.0.0.1:9093\nadvertise: edge.example.com:9093\ndevelopment: true\n"                \
    "tls: {certificate: cert.pem, key: key.pem}\n"                                                 \
    "upstream: {brokers: ['127.0.0.1:9092']}\nstore: {path: s.db}\n"                               \
    "issuers: [{issuer: 'https://i.example.com', audience: a}]\ngrants_dir: grants.d\n"
#define OWN "grants: [{id: own, principal: {subject: own}, topics: [t]}]\n"
#define BOB "id: bob\nprincipal: {subject: bob}\ntopics: [parts]\ngroup_prefix: bob\n"
#define LIST                                                                                       \
    "- {id: carol, principal: {subject: carol}, topics: [parts], group_prefix: carol}\n"           \
    "- {id: dora, principal: {subject: dora}, topics: [parts], group_prefix: dora}\n"

static int setup(void **state)
{
    char path[128];

    (void)state;
    strcpy(dir, "/tmp/sluice-grants-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(grants, sizeof(grants), "%s/grants.d", dir);
    snprintf(file, sizeof(file), "%s/s.yaml", dir);
    if (mkdir(grants, 0700) != 0)
        return -1;
    snprintf(path, sizeof(path), "%s/cert.pem", dir);
    write_text(path, "-----BEGIN CERTIFICATE-----\n");
    snprintf(path, sizeof(path), "%s/key.pem", dir);
    write_text(path, "-----BEGIN PRIVATE KEY-----\n");
    (void)chmod(path, 0600);
    write_text(file, HEAD OWN);
    return 0;
}

static int teardown(void **state)
{
    char command[160];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", dir);
    return system(command);
}

static struct config *load(void)
{
    return config_load(file, err, sizeof(err));
}

static struct config *good(void)
{
    struct config *c = load();

    if (!c)
        fail_msg("%s", err);
    return c;
}

static bool has(const struct config *c, const char *id)
{
    for (size_t i = 0; i < c->ngrants; i++)
        if (strcmp(c->grants[i].id, id) == 0)
            return true;
    return false;
}

static void bad(const char *why)
{
    struct config *c = load();

    assert_null(c);
    if (!strstr(err, why))
        fail_msg("%s instead of %s", err, why);
}

static void what_is_read(void **state)
{
    struct config *c;

    (void)state;
    c = good(); /* empty */
    assert_int_equal(c->ngrants, 1);
    config_unref(c);
    put("b.yaml", BOB);
    put("c.yml", LIST);
    put("e.json",
        "[{\"id\": \"eve\", \"principal\": {\"subject\": \"eve\"}, \"topics\": [\"t\"]}]");
    put("none.yaml", "[]\n");
    put("f.yaml", "grants:\n- {id: finn, principal: {subject: finn}, topics: [t]}\n");
    put(".hidden.yaml", "nonsense");
    put("c.yml~", "nonsense");
    put("README", "nonsense");
    put("yaml", "nonsense");
    c = good();
    assert_int_equal(c->ngrants, 6);
    assert_true(has(c, "finn"));
    assert_int_equal(c->ngrants_own, 1);
    assert_string_equal(c->grants[0].id, "own");
    assert_string_equal(c->grants[1].id, "bob");
    assert_string_equal(c->grants[1].issuer, "https://i.example.com");
    assert_string_equal(c->grants[2].id, "carol");
    assert_string_equal(c->grants[4].id, "eve");
    assert_int_equal(config_warnings(c)->count, 1); /* development */
    config_unref(c);
}

static void bad_files(void **state)
{
    (void)state;
    put("b.yaml", BOB "topic: [x]\n");
    bad("grants.d/b.yaml:5: \"topic\" is no option");
    put("b.yaml", BOB "operations: [admin]\n");
    bad("grants.d/b.yaml:5: operations: \"admin\"");
    put("b.yaml", LIST "- {id: x, topics: [t]}\n");
    bad("grants.d/b.yaml:3: [2].principal: is missing");
    put("b.yaml", LIST "- {id: x, principal: {}, topics: [t]}\n");
    bad("grants.d/b.yaml:3: [2].principal: names neither");
    put("b.yaml", LIST "- text\n");
    bad("grants.d/b.yaml:3: [2]: is no mapping");
    put("b.yaml", "- [\n");
    bad("grants.d/b.yaml:2: not YAML");
    put("b.yaml", "text\n");
    bad("grants.d/b.yaml:1: ");
    put("b.yaml", "");
    bad("grants.d/b.yaml: is empty");
    put("b.yaml", "# nothing\n");
    bad("grants.d/b.yaml: ");
    put("b.yaml", "grants: [{id: bob}]\n");
    bad("grants.d/b.yaml:1: grants[0].principal: is missing");
    put("b.yaml", "grants:\n- {id: bob, principal: {}, topics: [t]}\n");
    bad("grants.d/b.yaml:2: grants[0].principal: names neither");
    put("b.yaml", "grants: none\n");
    bad("grants.d/b.yaml:1: grants: is no list");
    put("b.yaml", "grants: []\nlisten: 1\n");
    bad("grants.d/b.yaml:1: \"grants\" is no option");
    put("b.yaml", BOB "expires: yesterday\n");
    put("c.yaml", "id: [\n"); /* every file's faults are told */
    bad("b.yaml:5: expires");
    assert_non_null(strstr(err, "c.yaml:2: not YAML"));
    drop("c.yaml");
    /* Ids are unique over all. */
    put("b.yaml", BOB);
    put("c.yaml", LIST "- {id: bob, principal: {subject: x}, topics: [t]}\n");
    bad("c.yaml[2].id: \"bob\" stands in b.yaml already");
    put("c.yaml", "{id: own, principal: {subject: x}, topics: [t]}\n");
    bad("c.yaml.id: \"own\" stands in grants[0] already");
    drop("c.yaml");
    write_text(file, HEAD "limits: {grants: 2}\n" OWN);
    config_unref(good());
    put("c.yaml", LIST);
    bad("below the 4 grants of the configuration and `grants_dir`");
}

static void bad_folders(void **state)
{
    char path[300];

    (void)state;
    assert_int_equal(rmdir(grants), 0);
    bad("grants_dir: ");
    write_text(grants, "a file");
    bad("grants_dir: ");
    assert_non_null(strstr(err, "is no folder"));
    assert_int_equal(unlink(grants), 0);
    assert_int_equal(mkdir(grants, 0700), 0);
    snprintf(path, sizeof(path), "%s/loop.yaml", grants);
    assert_int_equal(symlink("loop.yaml", path), 0);
    bad("loop.yaml: cannot be read");
    drop("loop.yaml");
    snprintf(path, sizeof(path), "%s/dir.yaml", grants);
    assert_int_equal(mkdir(path, 0700), 0);
    bad("dir.yaml: cannot be read");
    assert_int_equal(rmdir(path), 0);
    snprintf(path, sizeof(path), "%s/pipe.yaml", grants);
    assert_int_equal(mkfifo(path, 0600), 0);
    bad("pipe.yaml: cannot be read");
    drop("pipe.yaml");
    for (int i = 0; i <= GRANTS_FILES_MAX; i++) {
        snprintf(path, sizeof(path), "%d.yaml", i);
        put(path, "[]\n");
    }
    bad("holds more than 1024 files");
    drop("7.yaml");
    config_unref(good());
}

/* Only what the folder holds is read anew, again and again; a bad file changes nothing. */
static void read_anew(void **state)
{
    struct config *c, *next;
    int i;

    (void)state;
    put("b.yaml", BOB);
    c = good();
    write_text(file, "this is: [nothing\n"); /* nobody looks at it */
    for (i = 0; i < 20; i++) {
        put("c.yaml", i % 2 ? LIST : "[]\n");
        next = config_grants_reload(c, err, sizeof(err));
        assert_non_null(next);
        assert_int_equal(next->ngrants, i % 2 ? 4 : 2);
        assert_true(has(next, "own") && has(next, "bob"));
        assert_int_equal(has(next, "dora"), i % 2);
        assert_string_equal(next->issuers[0].issuer, "https://i.example.com");
        assert_true(next->grants_stamp != c->grants_stamp);
        config_unref(c);
        c = next;
    }
    put("d.yaml", "id: x\n");
    assert_null(config_grants_reload(c, err, sizeof(err)));
    assert_non_null(strstr(err, "d.yaml:1: principal: is missing"));
    put("d.yaml", "{id: own, principal: {subject: x}, topics: [t]}\n");
    assert_null(config_grants_reload(c, err, sizeof(err)));
    assert_non_null(strstr(err, "stands in grants[0] already"));
    drop("d.yaml");
    drop("c.yaml");
    drop("b.yaml");
    next = config_grants_reload(c, err, sizeof(err));
    assert_non_null(next);
    assert_int_equal(next->ngrants, 1);
    assert_int_equal(rmdir(grants), 0);
    assert_null(config_grants_reload(next, err, sizeof(err)));
    assert_int_equal(mkdir(grants, 0700), 0);
    config_unref(next);
    config_unref(c);
}

static void stamps(void **state)
{
    uint64_t empty = grants_dir_stamp(grants), one;

    (void)state;
    assert_true(empty != 0);
    put("b.yaml", BOB);
    one = grants_dir_stamp(grants);
    assert_true(one != empty);
    assert_true(one == grants_dir_stamp(grants));
    put("other", "x");
    assert_true(one == grants_dir_stamp(grants));
    drop("b.yaml");
    assert_true(empty == grants_dir_stamp(grants));
    assert_true(grants_dir_stamp("/nowhere") == 0);
}

/* --- watching */

static struct loop *loop;
static unsigned changes;
static bool taken = true;

static bool on_change(void *arg)
{
    (void)arg;
    changes++;
    return taken;
}

static void on_time(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static void run_for(unsigned ms)
{
    struct loop_timer *t = loop_timer_new(loop, on_time, NULL);

    assert_int_equal(loop_timer_set(t, (uint64_t)ms * 1000), OK);
    assert_int_equal(loop_run(loop), OK);
    loop_timer_free(t);
}

/* They are told, and no more often. */
static void expect_changes(unsigned want)
{
    unsigned tries;

    for (tries = 0; changes < want && tries < 100; tries++)
        run_for(100);
    run_for(2500);
    assert_int_equal(changes, want);
}

static void watched(void **state)
{
    struct config *c = good();
    struct grants_watch *w;

    (void)state;
    put("b.yaml", BOB); /* between the reading and the watching */
    loop = loop_new();
    w = grants_watch_new(loop, c, on_change, NULL);
    assert_non_null(w);
    expect_changes(1);
    put("b.yaml", BOB "asset: a\n");
    expect_changes(2);
    taken = false; /* the store was busy: again */
    put("b.yaml", BOB);
    for (unsigned tries = 0; changes < 4 && tries < 200; tries++)
        run_for(100);
    assert_true(changes >= 4);
    taken = true;
    run_for(2500);
    changes = 0;
    run_for(2500);
    assert_int_equal(changes, 0);
    drop("b.yaml");
    assert_int_equal(rmdir(grants), 0);
    expect_changes(1);
    assert_int_equal(mkdir(grants, 0700), 0);
    grants_watch_free(w);
    loop_free(loop);
    config_unref(c);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_read), T(bad_files), T(bad_folders), T(read_anew), T(stamps), T(watched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
