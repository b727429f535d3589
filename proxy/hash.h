/* An intrusive hash table whose keys may come from anybody: SipHash-2-4 under a random key, so that
 * names cannot be chosen to collide. Entries are embedded in their objects and belong to them; the
 * table owns its buckets alone. One thread. No limit of its own: its users count. */
#ifndef PROXY_HASH_H
#define PROXY_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct hash_entry {
    struct hash_entry *next;
    uint64_t value;
};

struct hash {
    struct hash_entry **buckets;
    size_t nbuckets; /* a power of two */
    size_t count;
    uint64_t key[2];
};

int hash_init(struct hash *h) SL_MUST;
/* Forgets the entries; what embeds them is freed by its owner. May be called twice. */
void hash_release(struct hash *h);
/* The value of a key under this table's secret. */
uint64_t hash_value(const struct hash *h, const void *p, size_t n);
/* The bare function, for its test vectors. */
uint64_t hash_siphash(const uint64_t key[2], const void *p, size_t n);
/* Cannot fail: when the table cannot grow, its chains do. */
void hash_add(struct hash *h, struct hash_entry *e, uint64_t value);
void hash_remove(struct hash *h, struct hash_entry *e);
/* Entries with this value, one after another; the caller compares keys. NULL at the end. */
struct hash_entry *hash_first(const struct hash *h, uint64_t value);
struct hash_entry *hash_next(const struct hash_entry *e);

#endif
