#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "edc/seen.h"

#define MAX 3000 /* more than there are buckets */
#define NOW INT64_C(1000)

static unsigned forgotten;

static void gone(void *arg, const char *key)
{
    (void)arg;
    assert_true(strncmp(key, "id-", 3) == 0);
    forgotten++;
}

static struct seen_id *add(struct seen *s, unsigned i, int64_t over_s, int64_t now_s)
{
    char key[32];

    snprintf(key, sizeof(key), "id-%u", i);
    return seen_add(s, key, over_s, now_s);
}

static struct seen_id *find(const struct seen *s, unsigned i)
{
    char key[32];

    snprintf(key, sizeof(key), "id-%u", i);
    return seen_find(s, key);
}

static void ids(void **state)
{
    struct seen *s = seen_new(10, gone, NULL);
    struct seen_id *id = seen_add(s, "a", NOW + 5, NOW);

    (void)state;
    assert_non_null(id);
    assert_ptr_equal(seen_find(s, "a"), id);
    assert_null(seen_find(s, "b"));
    assert_null(seen_find(s, ""));
    assert_false(seen_is_done(id));
    seen_done(id);
    assert_true(seen_is_done(id));
    seen_remove(s, id);
    assert_null(seen_find(s, "a"));
    assert_int_equal(seen_count(s), 0);
    seen_free(s);
    seen_free(NULL);
}

/* Full: nothing that could still come is forgotten, and nothing that is being worked on. */
static void full(void **state)
{
    struct seen *s = seen_new(MAX, gone, NULL);

    (void)state;
    for (unsigned i = 0; i < MAX; i++) {
        struct seen_id *id = add(s, i, NOW + (i < 10 ? 5 : 100), NOW);

        assert_non_null(id);
        if (i != 3)
            seen_done(id);
    }
    assert_null(add(s, MAX, NOW + 100, NOW));
    assert_null(add(s, MAX, NOW + 100, NOW + 5));
    assert_int_equal(seen_count(s), MAX);
    assert_non_null(add(s, MAX, NOW + 100, NOW + 6));
    assert_int_equal(seen_count(s), MAX - 9 + 1);
    assert_int_equal(forgotten, 9); /* whoever keeps a note of it has to know */
    for (unsigned i = 0; i <= MAX; i++)
        assert_true((find(s, i) != NULL) == (i >= 10 || i == 3));
    seen_free(s);
}

/* What is too old goes without that there is need for room. */
static void old(void **state)
{
    struct seen *s = seen_new(MAX, gone, NULL);

    (void)state;
    forgotten = 0;
    seen_done(add(s, 1, NOW + 5, NOW));
    seen_done(add(s, 2, NOW + SEEN_SWEEP_S + 5, NOW));
    seen_done(add(s, 3, NOW + 500, NOW + SEEN_SWEEP_S - 1));
    assert_int_equal(forgotten, 0);
    seen_done(add(s, 4, NOW + 500, NOW + SEEN_SWEEP_S));
    assert_int_equal(forgotten, 1);
    assert_null(find(s, 1));
    assert_int_equal(seen_count(s), 3);
    seen_free(s);
}

static void without_memory(void **state)
{
    struct seen *s = seen_new(10, gone, NULL);

    (void)state;
    if (!sl_alloc_fail_after(1)) {
        seen_free(s);
        skip(); /* a build that cannot make allocations fail */
    }
    assert_null(seen_add(s, "a", NOW, NOW));
    assert_null(seen_new(1, gone, NULL));
    sl_alloc_fail_after(0);
    assert_int_equal(seen_count(s), 0);
    seen_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids),
        cmocka_unit_test(full),
        cmocka_unit_test(old),
        cmocka_unit_test(without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
