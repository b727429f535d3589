#include "tests/unit/unit.h"

#include "proxy/api.h"
#include "tests/unit/gate_bed.h"

/* Whether a struct, or any inside of it, has the field in some version of the range. */
static bool has_field(const struct message *m, enum field_name id, struct versions v)
{
    struct {
        const struct field *at, *end;
    } open[MSG_DEPTH_MAX];
    unsigned depth = 1;
    open[0].at = m->fields;
    open[0].end = m->fields + m->nfields;
    while (depth > 0) {
        const struct field *f = open[depth - 1].at;
        if (f == open[depth - 1].end) {
            depth--;
            continue;
        }
        open[depth - 1].at++;
        if (f->id == id && f->array && f->versions.min <= v.max && f->versions.max >= v.min)
            return true;
        if (f->nfields > 0) {
            open[depth].at = f->fields;
            open[depth++].end = f->fields + f->nfields;
        }
    }
    return false;
}

/* A line says only what the schema has, and no API has two. */
static void lines_are_sound(void **state)
{
    size_t n;
    const struct api_rule *all = api_all(&n);
    (void)state;
    for (size_t i = 0; i < n; i++) {
        const struct api_rule *r = &all[i];
        const struct message *request = schema_find(r->api, true);
        const struct message *response = schema_find(r->api, false);
        const enum field_name asks[] = {r->topics, r->partitions, r->items};
        const enum field_name answers[] = {r->reply_topics, r->reply_partitions, r->reply_items};
        assert_ptr_equal(api_find(r->api), r);
        assert_true(request && response);
        assert_true(r->offered.min <= r->offered.max && r->advertised_min <= r->offered.min);
        assert_true(versions_has(request->versions, r->offered.min) &&
                    versions_has(request->versions, r->offered.max));
        for (unsigned k = 0; k < 3; k++) {
            assert_true(asks[k] == F_NONE || has_field(request, asks[k], r->offered));
            assert_true(answers[k] == F_NONE || has_field(response, answers[k], r->offered));
        }
    }
    assert_null(api_find(-1));
    assert_null(api_find(SCHEMA_KEY_MAX + 1));
}

/* Share and streams groups, and what is between brokers: read by decode, never offered; asked all
 * the same, the connection ends and no broker hears of it. */
static void not_advertised(void **state)
{
    static const int hidden[] = {76, 77, 78, 79, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 4,
                                 5,  6,  7,  52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82};
    struct client c;
    (void)state;
    for (int v = 0; v <= 5; v++) {
        size_t i;
        json_t *key;
        login(&c, "\"read\",\"write\",\"manage\",\"describe_configs\"");
        ask(&c, 18, v, v >= 3 ? "{'clientSoftwareName':'test','clientSoftwareVersion':'1'}" : "{}");
        json_t *j = answer(&c), *keys = json_object_get(j, "apiKeys");
        assert_true(json_array_size(keys) > 20);
        json_array_foreach(keys, i, key)
        {
            json_int_t api = json_integer_value(json_object_get(key, "apiKey"));
            for (size_t k = 0; k < sizeof hidden / sizeof hidden[0]; k++)
                if (api == hidden[k])
                    fail_msg("API %d is advertised in version %d", hidden[k], v);
        }
        json_decref(j);
        client_close(&c);
    }
    for (size_t k = 0; k < sizeof hidden / sizeof hidden[0]; k++) {
        assert_non_null(schema_find(hidden[k], true));
        assert_null(api_find(hidden[k]));
        login(&c, "\"read\",\"write\",\"manage\",\"describe_configs\"");
        ask(&c, hidden[k], schema_find(hidden[k], true)->versions.max, "{}");
        expect_closed(&c);
        client_close(&c);
    }
    nobody_asked();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines_are_sound),
                                       gate_test(not_advertised)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
