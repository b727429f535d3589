#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "config/yaml.h"

static struct arena arena;
static struct report report;
static struct yaml yaml;

static int parse(const char *text, size_t n)
{
    arena_release(&arena);
    report_init(&report, &arena, "f.yaml");
    return yaml_parse(&yaml, text, n, &report);
}

static void expect_refused(const char *text, const char *why)
{
    char err[1024];
    assert_int_equal(parse(text, strlen(text)), ERR_CONFIG);
    assert_null(yaml.root);
    report_errors(&report, err, sizeof(err));
    if (!strstr(err, why))
        print_error("%s: %s", text, err);
    assert_non_null(strstr(err, why));
}

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

static const char sample[] = "a: 1\n"
                             "b:\n"
                             "  - x: 'yes'\n"
                             "    y: no\n"
                             "  - x: \"2\"\n"
                             "c: {d: [e, 'f'],\n"
                             "    g: ~}\n";

static void test_tree_and_lines(void **state)
{
    unsigned line;
    (void)state;
    assert_int_equal(parse(sample, strlen(sample)), OK);
    const json_t *node = yaml_find(&yaml, "b[1].x", &line);
    assert_string_equal(json_string_value(node), "2");
    assert_int_equal(line, 5);
    assert_false(yaml_plain(&yaml, node));
    node = yaml_find(&yaml, "b[0].y", &line);
    assert_string_equal(json_string_value(node), "no");
    assert_true(yaml_plain(&yaml, node));
    assert_int_equal(line, 4);
    assert_non_null(yaml_find(&yaml, "c.g", &line));
    assert_int_equal(line, 7);
    /* What is not there has the line of what it should stand in. */
    assert_null(yaml_find(&yaml, "c.nothing", &line));
    assert_int_equal(line, 6);
    assert_null(yaml_find(&yaml, "b[7].x", &line));
    assert_int_equal(line, 2);
    yaml_release(&yaml);
    yaml_release(&yaml);
}

static void test_json_is_a_subset(void **state)
{
    static const char text[] = "{\"a\": {\"b\": [1, true, \"x\"]}}";
    unsigned line;
    (void)state;
    assert_int_equal(parse(text, strlen(text)), OK);
    assert_string_equal(json_string_value(yaml_find(&yaml, "a.b[2]", &line)), "x");
    yaml_release(&yaml);
}

static void test_refused(void **state)
{
    (void)state;
    expect_refused("a: &x 1\nb: *x\n", "f.yaml:1: anchors and aliases");
    expect_refused("a: [1]\nb: *x\n", "f.yaml:2: anchors and aliases");
    expect_refused("a: &x [1]\n", "anchors and aliases");
    expect_refused("a: !!str 1\n", "tags");
    expect_refused("a: !x {b: 1}\n", "tags");
    expect_refused("a: 1\nb: 2\na: 3\n", "f.yaml:3: \"a\" stands here twice");
    expect_refused("? [a]\n: 1\n", "a key must be a single word");
    expect_refused("- 1\n", "not a mapping");
    expect_refused("word\n", "not a mapping");
    expect_refused("", "holds no options");
    expect_refused("# nothing\n", "holds no options");
    expect_refused("a: 1\n---\nb: 2\n", "a second document");
    expect_refused("a: \"x\\0y\"\n", "NUL");
    expect_refused("\"a\\0\": 1\n", "NUL");
    expect_refused("a: [[[[[[[[[[[[[1]]]]]]]]]]]]]\n", "nested more than");
    expect_refused("a: {\n", "not YAML");
    expect_refused("a: \xff\xfe\n", "not YAML");
    expect_refused("a: b: c\n", "f.yaml:1: not YAML");
}

static void test_bounds(void **state)
{
    size_t n = YAML_BYTES_MAX + 1;
    char *text = malloc(n);
    (void)state;
    assert_non_null(text);
    memset(text, ' ', n);
    assert_int_equal(parse(text, n), ERR_CONFIG);
    memset(text, 'x', n);
    memcpy(text, "a: ", 3);
    assert_int_equal(parse(text, YAML_SCALAR_MAX + 100), ERR_CONFIG);
    assert_int_equal(parse(text, 1000), OK);
    yaml_release(&yaml);
    /* Two million entries in a list of the largest size. */
    memset(text, ',', n);
    for (size_t i = 4; i < n; i += 2)
        text[i] = '1';
    memcpy(text, "a: [", 4);
    assert_int_equal(parse(text, YAML_BYTES_MAX), ERR_CONFIG);
    free(text);
}

/* Cut anywhere, it is an error or a tree, never a crash; a cut at a line's end is a shorter file.
 */
static void test_every_truncation(void **state)
{
    (void)state;
    for (size_t n = 0; n <= strlen(sample); n++) {
        char *copy = malloc(n + 1);
        memcpy(copy, sample, n);
        int err = parse(copy, n);
        assert_true(err == OK || err == ERR_CONFIG);
        if (err == OK)
            yaml_release(&yaml);
        free(copy);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    if (!sl_alloc_fail_after(1))
        skip();
    for (unsigned i = 1; i < 8; i++) {
        sl_alloc_fail_after(0);
        arena_release(&arena);
        report_init(&report, &arena, "f.yaml");
        sl_alloc_fail_after(i);
        int err = yaml_parse(&yaml, sample, strlen(sample), &report);
        bool failed = sl_alloc_failed() > 0;
        sl_alloc_fail_after(0);
        assert_int_equal(err, failed ? ERR_NOMEM : OK);
        yaml_release(&yaml);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree_and_lines),   cmocka_unit_test(test_json_is_a_subset),
        cmocka_unit_test(test_refused),          cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_every_truncation), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
