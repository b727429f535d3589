#include "tests/unit/unit.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codec/schema.h"
#include "codec/walk.h"

/* --- lookups -------------------------------------------------------------------------------- */

static void lookups(void **state)
{
    const struct message *m = schema_find(1, true);

    (void)state;
    assert_string_equal(m->name, "FetchRequest");
    assert_true(m->request);
    assert_int_equal(m->versions.min, 0); /* what a broker of 3.9 knows counts */
    assert_int_equal(m->versions.max, 18);
    assert_int_equal(m->flexible, 12);
    assert_string_equal(schema_find(18, false)->name, "ApiVersionsResponse");
    assert_false(schema_find(18, false)->request);
    assert_null(schema_find(-1, true));
    assert_null(schema_find(SCHEMA_KEY_MAX + 1, true));
    assert_null(schema_find(INT_MAX, false));
    assert_string_equal(schema_api_name(68), "ConsumerGroupHeartbeat");
    assert_null(schema_api_name(95));
    assert_int_equal(schema_api_key("fetch"), 1);
    assert_int_equal(schema_api_key("FETCH"), 1);
    assert_int_equal(schema_api_key("FetchRequest"), -1);
    assert_int_equal(schema_api_key(""), -1);
}

static void headers(void **state)
{
    (void)state;
    assert_int_equal(schema_request_header(1, 11), 1);
    assert_int_equal(schema_request_header(1, 12), 2);
    assert_int_equal(schema_response_header(1, 11), 0);
    assert_int_equal(schema_response_header(1, 12), 1);
    assert_int_equal(schema_request_header(18, 3), 2);
    assert_int_equal(schema_response_header(18, 3), 0); /* KIP-511 */
    assert_int_equal(schema_request_header(17, 1), 1);
    assert_int_equal(schema_request_header(47, 0), 1);
    assert_int_equal(schema_request_header(7, 0), 0); /* before there were client ids */
    assert_int_equal(schema_request_header(7, 1), 1);
    assert_int_equal(schema_request_header(7, 3), 2);
    assert_int_equal(schema_response_header(7, 0), 0);
    assert_int_equal(schema_request_header(95, 0), -1);
    assert_int_equal(schema_response_header(95, 0), -1);
}

/* Every API that a broker or controller of Kafka 3.9 to 4.4 has. */
static void all_keys(void **state)
{
    (void)state;
    assert_int_equal(SCHEMA_KEY_MAX, 94);
    for (int key = 0; key <= SCHEMA_KEY_MAX; key++)
        assert_true(schema_find(key, true) && schema_find(key, false) && schema_api_name(key));
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(schema_type_name(TYPE_RECORDS), "records");
    assert_string_equal(schema_type_name(TYPE_UINT32), "uint32");
    assert_string_equal(schema_role_name(ROLE_TOPIC_ID), "topic_id");
    assert_string_equal(schema_role_name(ROLE_THROTTLE), "throttle");
    assert_string_equal(schema_role_name((enum field_role)99), "unknown");
}

static const struct field *row(const struct field *rows, uint16_t n, enum field_name id)
{
    for (uint16_t i = 0; i < n; i++)
        if (rows[i].id == id)
            return &rows[i];
    fail_msg("no row of name %d", (int)id);
    abort();
}

static void rows_say_what_the_text_says(void **state)
{
    const struct message *m = schema_find(1, true);
    const struct field *f = row(m->fields, m->nfields, F_CLUSTER_ID);

    (void)state;
    assert_string_equal(f->name, "clusterId");
    assert_int_equal(f->type, TYPE_STRING);
    assert_int_equal(f->role, ROLE_CLUSTER);
    assert_int_equal(f->tag, 0);
    assert_true(versions_has(f->tagged, 12) && !versions_has(f->tagged, 11));
    assert_true(versions_has(f->nullable, 12) && f->default_null && !f->default_text);
    f = row(m->fields, m->nfields, F_MAX_BYTES);
    assert_int_equal(f->default_int, 0x7fffffff);
    assert_true(f->ignorable && f->tag == -1 && f->tagged.min > f->tagged.max);
    f = row(m->fields, m->nfields, F_RACK_ID);
    assert_string_equal(f->default_text, "");
    f = row(m->fields, m->nfields, F_TOPICS);
    assert_true(f->array && f->type == TYPE_STRUCT);
    f = row(f->fields, f->nfields, F_PARTITIONS);
    f = row(f->fields, f->nfields, F_HIGH_WATERMARK);
    assert_true(f->default_int == INT64_MAX && f->tag == 1 && f->versions.min == 18);
    /* a shared struct's rows are cut to the versions of their use */
    m = schema_find(24, true);
    f = row(m->fields, m->nfields, F_V3_AND_BELOW_TOPICS);
    assert_int_equal(f->versions.max, 3);
    assert_int_equal(row(f->fields, f->nfields, F_NAME)->versions.max, 3);
    /* a client's own text, a broker's text */
    m = schema_find(9, false);
    f = row(m->fields, m->nfields, F_GROUPS);
    f = row(f->fields, f->nfields, F_TOPICS);
    f = row(f->fields, f->nfields, F_PARTITIONS);
    assert_int_equal(row(f->fields, f->nfields, F_METADATA)->role, ROLE_OPAQUE);
    m = schema_find(60, false);
    assert_int_equal(row(m->fields, m->nfields, F_ERROR_MESSAGE)->role, ROLE_TEXT);
    m = schema_find(2, true);
    assert_int_equal(row(m->fields, m->nfields, F_REPLICA_ID)->role, ROLE_REPLICA);
}

/* What must hold of every row, whatever the texts say. */
static void check_rows(const struct message *m, const struct field *rows, uint16_t n)
{
    for (uint16_t i = 0; i < n; i++) {
        const struct field *f = &rows[i];
        assert_true(f->id > F_NONE && f->id <= SCHEMA_NAMES);
        assert_true(f->versions.min >= m->versions.min && f->versions.max <= m->versions.max &&
                    f->versions.min <= f->versions.max);
        assert_true((f->fields != NULL) == (f->type == TYPE_STRUCT));
        assert_true((f->type == TYPE_RECORDS) == (f->role == ROLE_RECORDS));
        if (f->tag >= 0)
            assert_true(f->tagged.min >= m->flexible);
        if (f->default_null)
            assert_true(f->nullable.min <= f->nullable.max);
        if (strcmp(f->name, "errorCode") == 0)
            assert_int_equal(f->role, ROLE_ERROR);
        if (strcmp(f->name, "errorMessage") == 0)
            assert_int_equal(f->role, ROLE_TEXT);
        if (strcmp(f->name, "throttleTimeMs") == 0)
            assert_int_equal(f->role, ROLE_THROTTLE);
        if (strcmp(f->name, "groupId") == 0)
            assert_int_equal(f->role, ROLE_GROUP);
        if (strcmp(f->name, "topicId") == 0)
            assert_int_equal(f->role, ROLE_TOPIC_ID);
    }
}

static void every_row_is_sound(void **state)
{
    struct {
        const struct field *rows;
        uint16_t n;
    } todo[64];
    size_t n;
    const struct message *all = schema_all(&n);

    (void)state;
    assert_int_equal(n % 2, 0);
    for (size_t i = 0; i < n; i++) {
        size_t left = 0;
        assert_ptr_equal(schema_find(all[i].api, all[i].request), &all[i]);
        todo[left].rows = all[i].fields;
        todo[left++].n = all[i].nfields;
        while (left > 0) {
            const struct field *rows = todo[--left].rows;
            uint16_t rows_n = todo[left].n;
            check_rows(&all[i], rows, rows_n);
            for (uint16_t k = 0; k < rows_n; k++) {
                if (rows[k].type != TYPE_STRUCT)
                    continue;
                assert_true(left < 64);
                todo[left].rows = rows[k].fields;
                todo[left++].n = rows[k].nfields;
            }
        }
    }
    assert_true(SCHEMA_DEPTH <= WALK_DEPTH_MAX);
}

/* --- the compiler's complaints ---------------------------------------------------------------- */

static char compiler[PATH_MAX], dir[] = "/tmp/sluice-schema-XXXXXX";

static int setup(void **state)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    (void)state;
    if (n < 0 || !mkdtemp(dir))
        return -1;
    self[n] = '\0';
    snprintf(compiler, sizeof compiler, "%.4000s/../mkschema", dirname(self));
    return access(compiler, X_OK);
}

static int teardown(void **state)
{
    static const char *const files[] = {"t.kafka", "names.h", "tables.c"};
    char path[PATH_MAX];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    return rmdir(dir);
}

/* Compiles the text and returns the exit status; what was said goes to out. */
static int compile(const char *text, char *out, size_t max)
{
    char command[3 * PATH_MAX], path[PATH_MAX];
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "%s/t.kafka", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    snprintf(command, sizeof command, "%s -o %s %s 2>&1", compiler, dir, path);
    f = popen(command, "r");
    assert_non_null(f);
    n = fread(out, 1, max - 1, f);
    out[n] = '\0';
    int status = pclose(f);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define API  "api 1 Fetch 4-18 flexible 12+\n"
#define REST "response {\n}\n"
/* One field, in line 3. */
#define FIELD(line) API "request {\n" line "\n}\n" REST

static const struct {
    const char *text, *says; /* NULL: compiles */
} cases[] = {
    {FIELD("a int32 4+"), NULL},
    {FIELD("a []int32 4-7 null=5+ default=null ignorable role=partition"), NULL},
    {FIELD("a struct 12+ tag=0 null {\n b int8 13+\n}"), NULL},
    {"# nothing\n", "t.kafka:1: api, request or response is missing"},
    {"request {\n}\n", "t.kafka:1: the api line comes first"},
    {"api 1 fetch 0 flexible 0+\n", "t.kafka:1: 'fetch' is no API name"},
    {"api x Fetch 0 flexible 0+\n", "t.kafka:1: a number was expected at 'x'"},
    {"api 1 Fetch 5-4 flexible 0+\n", "t.kafka:1: version range 5-4 is empty"},
    {"api 1 Fetch 0-4 flexible 5+\n", "t.kafka:1: the first flexible version is not one of"},
    {"api 1 Fetch 0-4 flexible 3\n", "t.kafka:1: '3' is no first flexible version"},
    {API API, "t.kafka:2: a second api in one file"},
    {API "request {\n}\nrequest {\n", "t.kafka:4: a second request"},
    {API "request {\n", "t.kafka:2: '}' is missing"},
    {API "}\n", "t.kafka:2: '}' stands alone and closes what is open"},
    {FIELD("a int32"), "t.kafka:3: a field is: name type versions [attributes]"},
    {FIELD("A int32 4+"), "t.kafka:3: 'A' is no field name"},
    {FIELD("a_b int32 4+"), "t.kafka:3: 'a_b' is no field name"},
    {FIELD("a int33 4+"), "t.kafka:3: unknown type 'int33'"},
    {FIELD("a struct 4+"), "t.kafka:3: '{' goes with type struct, and only with it"},
    {FIELD("a int8 4+ {"), "t.kafka:3: '{' goes with type struct, and only with it"},
    {FIELD("a []records 4+"), "t.kafka:3: an array of records"},
    {FIELD("a int32 0+"), "t.kafka:3: version range 0+ leaves the enclosing 4-18"},
    {FIELD("a int32 4-19"), "t.kafka:3: version range 4-19 leaves the enclosing 4-18"},
    {FIELD("a int32 9-8"), "t.kafka:3: version range 9-8 is empty"},
    {FIELD("a int32 4x"), "t.kafka:3: '4x' is no version range"},
    {FIELD("a int32 4000+"), "t.kafka:3: number above 999"},
    {FIELD("a struct 5-7 {\nb int8 5-8\n}"), "t.kafka:4: version range 5-8 leaves"},
    {FIELD("a string 5-7 null=4+"), "t.kafka:3: version range 4+ leaves the enclosing 5-7"},
    {FIELD("a int32 4+ null"), "t.kafka:3: type int32 cannot be null"},
    {FIELD("a int32 4+ tag=0"), "t.kafka:3: a tag before the first flexible version"},
    {FIELD("a int32 12+ tag=x"), "t.kafka:3: a number was expected at 'x'"},
    {FIELD("a int32 12+ tag=1x"), "t.kafka:3: 'tag=1x' is no tag"},
    {FIELD("a records 12+ tag=1"), "t.kafka:3: records cannot be tagged"},
    {FIELD("a int32 12+ tag=1\nb int32 12+ tag=1"), "t.kafka:4: second tag 1, the first is in"},
    {FIELD("a int32 4+\na int8 4+"), "t.kafka:4: second field 'a', the first is in line 3"},
    {FIELD("a int32 4+ role=chef"), "t.kafka:3: unknown role 'chef'"},
    {FIELD("a int32 4+ role=topic"), "t.kafka:3: role topic on a field of type int32"},
    {FIELD("a int16 4+ role=port"), "t.kafka:3: role port on a field of type int16"},
    {FIELD("a int8 4+ default=128"), "t.kafka:3: default 128 is not of type int8"},
    {FIELD("a int32 4+ default=x"), "t.kafka:3: default x is not of type int32"},
    {FIELD("a bool 4+ default=1"), "t.kafka:3: a bool's default is true or false"},
    {FIELD("a string 4+ default=x"), "t.kafka:3: string takes no default but null"},
    {FIELD("a []int8 4+ default=1"), "t.kafka:3: an array takes no default but null"},
    {FIELD("a string 4+ default=null"), "t.kafka:3: default null where null is never legal"},
    {FIELD("a int32 4+ sometimes"), "t.kafka:3: unknown attribute 'sometimes'"},
    {FIELD("a []struct 4+ {\n b int8 5+\n}"), "t.kafka:3: a struct without any field in version 4"},
    {FIELD("aB int8 4+\nab int8 4+"), NULL},
    {API "struct A {\nb int8 4+\n}\nrequest {\n}\n" REST, "t.kafka:2: struct A is never used"},
    {API "struct A {\nb int8 4+\n}\nstruct A {\n", "t.kafka:5: second struct 'A'"},
    {API "struct A {\nb A 4+\n}\n", "t.kafka:3: struct A inside of itself"},
    {API "request {\na A 4+\n}\nstruct A {\n", "t.kafka:3: unknown type 'A'"},
};

static void compiler_complains(void **state)
{
    char out[512];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int status = compile(cases[i].text, out, sizeof out);
        if (!cases[i].says) {
            if (status != 0)
                fail_msg("%s was to compile: %s", cases[i].text, out);
            continue;
        }
        if (status != 1 || !strstr(out, cases[i].says))
            fail_msg("%s\nsaid %d '%s'\ninstead of '%s'", cases[i].text, status, out,
                     cases[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookups),
        cmocka_unit_test(headers),
        cmocka_unit_test(all_keys),
        cmocka_unit_test(names),
        cmocka_unit_test(rows_say_what_the_text_says),
        cmocka_unit_test(every_row_is_sound),
        cmocka_unit_test_setup_teardown(compiler_complains, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
