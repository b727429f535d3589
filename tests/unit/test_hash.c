#include "tests/unit/unit.h"

#include <stdbool.h>
#include <stdlib.h>

#include "proxy/hash.h"

/* From the SipHash paper's reference: key 00..0f, message 00..n-1. */
static void siphash_vectors(void **state)
{
    (void)state;
    static const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    uint8_t m[15];
    for (uint8_t i = 0; i < sizeof(m); i++)
        m[i] = i;
    assert_true(hash_siphash(key, m, 0) == 0x726fdb47dd0e0e31);
    assert_true(hash_siphash(key, m, 1) == 0x74f839c593dc67fd);
    assert_true(hash_siphash(key, m, 8) == 0x93f5f5799a932462);
    assert_true(hash_siphash(key, m, 15) == 0xa129ca6149be45e5);
}

struct item {
    struct hash_entry entry;
    uint32_t key;
};

static struct item *find(const struct hash *h, uint32_t key)
{
    for (struct hash_entry *e = hash_first(h, hash_value(h, &key, sizeof(key))); e;
         e = hash_next(e))
        if (((struct item *)e)->key == key)
            return (struct item *)e;
    return NULL;
}

static void add_find_remove(void **state)
{
    (void)state;
    enum { N = 1000 };
    static struct item items[N];
    struct hash h;
    assert_int_equal(hash_init(&h), OK);
    for (uint32_t i = 0; i < N; i++) {
        items[i].key = i;
        hash_add(&h, &items[i].entry, hash_value(&h, &i, sizeof(i)));
    }
    assert_int_equal(h.count, N);
    assert_true(h.nbuckets >= N / 2);
    for (uint32_t i = 0; i < N; i += 2)
        hash_remove(&h, &items[i].entry);
    hash_remove(&h, &items[0].entry); /* isn't there: nothing happens */
    assert_int_equal(h.count, N / 2);
    for (uint32_t i = 0; i < N; i++)
        assert_ptr_equal(find(&h, i), i % 2 ? &items[i] : NULL);
    hash_release(&h);
    hash_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_vectors),
        cmocka_unit_test(add_find_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
