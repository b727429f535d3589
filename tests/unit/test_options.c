#include "tests/unit/unit.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"
#include "config/options.h"

static char *slurp(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 1 << 20);
    if (f) {
        size_t n = fread(text, 1, (1 << 20) - 1, f);
        text[n] = '\0';
        fclose(f);
    }
    return text;
}

static void test_table_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < options_count; i++) {
        const struct option *o = &options[i];
        char takes[OPTION_TAKES_BYTES];
        assert_non_null(o->help);
        assert_true(strlen(option_takes(o, takes)) > 0);
        assert_true(strlen(takes) < OPTION_TAKES_BYTES - 1);
        assert_null(strchr(o->help, '|'));
        assert_true(o->min <= o->max);
        if (o->type == OPTION_CHOICE || o->type == OPTION_CHOICES)
            assert_non_null(o->choices);
        if (o->type == OPTION_NUMBER) {
            assert_non_null(o->initial);
            assert_true(strtoll(o->initial, NULL, 10) >= o->min);
            assert_true(strtoll(o->initial, NULL, 10) <= o->max);
        }
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(o->path, options[j].path);
        /* Every option's section stands in the table before it. */
        const char *dot = strrchr(o->path, '.');
        if (!dot)
            continue;
        bool list = dot[-1] == ']';
        bool found = false;
        size_t n = (size_t)(dot - o->path) - (list ? 2 : 0);
        for (size_t j = 0; j < i; j++)
            found |= strlen(options[j].path) == n && !memcmp(options[j].path, o->path, n) &&
                     options[j].type == (list ? OPTION_LIST : OPTION_SECTION);
        assert_true(found);
    }
}

static void test_lookup(void **state)
{
    (void)state;
    assert_string_equal(option_find("", 0, "listen")->path, "listen");
    assert_string_equal(option_find("tls.", 4, "key")->path, "tls.key");
    assert_null(option_find("", 0, "tls.key"));
    assert_null(option_find("", 0, "key"));
    assert_null(option_find("", 0, "grants[].id"));
    assert_null(option_find("", 0, ""));
    assert_ptr_equal(option_at("log.level"), option_find("log.", 4, "level"));
    assert_string_equal(option_name(option_at("upstream.sasl.scope")), "scope");
}

static void test_guess(void **state)
{
    (void)state;
    assert_string_equal(option_guess("", 0, "advertize"), "advertise");
    assert_string_equal(option_guess("", 0, "Listen"), "listen");
    assert_string_equal(option_guess("tls.", 4, "certificat"), "tls.certificate");
    assert_string_equal(option_guess("", 0, "jwks_url"), "issuers[].jwks_url");
    assert_null(option_guess("", 0, "completely_different"));
    assert_null(option_guess("", 0,
                             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void test_schema(void **state)
{
    char *text = options_schema();
    json_error_t error;
    (void)state;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(root);
    json_t *properties = json_object_get(root, "properties");
    json_t *issuer = json_object_get(
        json_object_get(json_object_get(properties, "issuers"), "items"), "properties");
    assert_non_null(json_object_get(issuer, "audience"));
    json_t *claims = json_object_get(json_object_get(issuer, "claims"), "properties");
    assert_non_null(json_object_get(claims, "topics"));
    json_t *sasl = json_object_get(
        json_object_get(json_object_get(properties, "upstream"), "properties"), "sasl");
    assert_int_equal(json_array_size(json_object_get(sasl, "required")), 1);
    json_t *limits = json_object_get(json_object_get(properties, "limits"), "properties");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(limits, "in_flight"), "default")), 64);
    json_decref(root);
    free(text);
}

static void test_page_is_the_table(void **state)
{
    char *text = options_reference();
    char *page = slurp("docs/configuration.md");
    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < options_count; i++)
        assert_non_null(strstr(text, option_name(&options[i])));
    /* Differs? `sluice check --reference > docs/configuration.md`. */
    assert_string_equal(text, page);
    free(page);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_sound),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_guess),
        cmocka_unit_test(test_schema),
        cmocka_unit_test(test_page_is_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
