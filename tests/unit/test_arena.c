#include "tests/unit/unit.h"

#include <stdalign.h>

#include "base/alloc.h"
#include "base/arena.h"

static void test_hands_out_aligned_memory_of_its_own(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    unsigned char *p[200];
    for (size_t i = 0; i < 200; i++) {
        p[i] = arena_alloc(&a, i * 7);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % alignof(max_align_t), 0);
        memset(p[i], (int)i, i * 7);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < i * 7; k++)
            assert_int_equal(p[i][k], i);
    arena_release(&a);
    arena_release(&a);
    assert_int_equal(a.used_bytes, 0);
}

static void test_never_exceeds_its_limit(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4096);
    assert_null(arena_alloc(&a, 4097));
    size_t got = 0;
    while (arena_alloc(&a, 100))
        got++;
    assert_int_equal(got, 4096 / 112);
    assert_true(a.used_bytes <= a.limit_bytes);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 64));
    assert_null(arena_dup(&a, "x", SIZE_MAX));
    arena_clear(&a);
    assert_non_null(arena_alloc(&a, 4096));
    assert_null(arena_alloc(&a, 0));
    arena_release(&a);
    arena_init(&a, 0);
    assert_null(arena_alloc(&a, 0));
    arena_release(&a);
}

static void test_large_pieces_leave_room_for_small_ones(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 22);
    char *small = arena_alloc(&a, 16);
    assert_non_null(arena_alloc(&a, 1 << 20));
    char *next = arena_alloc(&a, 16);
    assert_ptr_equal(next, small + 16);
    arena_release(&a);
}

static void test_clear_keeps_one_block_but_no_giant(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 22);
    void *first = arena_alloc(&a, 16);
    arena_clear(&a);
    assert_ptr_equal(arena_alloc(&a, 16), first);
    arena_release(&a);
    assert_non_null(arena_alloc(&a, 1 << 20));
    arena_clear(&a);
    assert_null(a.head);
    arena_release(&a);
}

static void test_zalloc_and_dup(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 65536);
    memset(arena_alloc(&a, 512), 0xff, 512);
    arena_clear(&a);
    unsigned char *z = arena_zalloc(&a, 512);
    for (size_t i = 0; i < 512; i++)
        assert_int_equal(z[i], 0);
    char *d = arena_dup(&a, "hello world", 5);
    assert_string_equal(d, "hello");
    assert_string_equal(arena_dup(&a, NULL, 0), "");
    arena_release(&a);
}

static void test_survives_failing_allocations(void **state)
{
    (void)state;
    if (!sl_alloc_fail_after(0))
        skip();
    for (unsigned n = 1; n < 6; n++) {
        struct arena a;
        arena_init(&a, 1 << 20);
        sl_alloc_fail_after(n);
        unsigned failed = 0;
        for (size_t i = 0; i < 40; i++)
            if (!arena_alloc(&a, i * 50))
                failed++;
        sl_alloc_fail_after(0);
        assert_true(failed > 0);
        assert_non_null(arena_alloc(&a, 5000));
        arena_release(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hands_out_aligned_memory_of_its_own),
        cmocka_unit_test(test_never_exceeds_its_limit),
        cmocka_unit_test(test_large_pieces_leave_room_for_small_ones),
        cmocka_unit_test(test_clear_keeps_one_block_but_no_giant),
        cmocka_unit_test(test_zalloc_and_dup),
        cmocka_unit_test(test_survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
