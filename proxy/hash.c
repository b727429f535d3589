#include "proxy/hash.h"

#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"

#define BUCKETS_FIRST 16

int hash_init(struct hash *h)
{
    memset(h, 0, sizeof(*h));
    if (getrandom(h->key, sizeof(h->key), 0) != (ssize_t)sizeof(h->key))
        return ERR_IO;
    h->buckets = sl_calloc(BUCKETS_FIRST, sizeof(struct hash_entry *));
    if (!h->buckets)
        return ERR_NOMEM;
    h->nbuckets = BUCKETS_FIRST;
    return OK;
}

void hash_release(struct hash *h)
{
    sl_free(h->buckets);
    h->buckets = NULL;
    h->nbuckets = h->count = 0;
}

static uint64_t rotate(uint64_t v, unsigned bits)
{
    return v << bits | v >> (64 - bits);
}

static void sip_rounds(uint64_t v[4], int n)
{
    while (n--) {
        v[0] += v[1];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[0] = rotate(v[0], 32);
        v[2] += v[3];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[2] = rotate(v[2], 32);
    }
}

uint64_t hash_siphash(const uint64_t key[2], const void *p, size_t n)
{
    const uint8_t *at = p;
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                     key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
    uint64_t word, last = (uint64_t)n << 56;
    for (; n >= 8; n -= 8, at += 8) {
        word = 0;
        for (unsigned i = 0; i < 8; i++)
            word |= (uint64_t)at[i] << (8 * i);
        v[3] ^= word;
        sip_rounds(v, 2);
        v[0] ^= word;
    }
    for (unsigned i = 0; i < n; i++)
        last |= (uint64_t)at[i] << (8 * i);
    v[3] ^= last;
    sip_rounds(v, 2);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_value(const struct hash *h, const void *p, size_t n)
{
    return hash_siphash(h->key, p, n);
}

static void link_entry(struct hash_entry **buckets, size_t nbuckets, struct hash_entry *e)
{
    struct hash_entry **bucket = &buckets[e->value & (nbuckets - 1)];
    e->next = *bucket;
    *bucket = e;
}

static void grow(struct hash *h)
{
    size_t n = h->nbuckets * 2;
    struct hash_entry **buckets = sl_calloc(n, sizeof(struct hash_entry *));
    if (!buckets)
        return;
    for (size_t i = 0; i < h->nbuckets; i++) {
        while (h->buckets[i]) {
            struct hash_entry *e = h->buckets[i];
            h->buckets[i] = e->next;
            link_entry(buckets, n, e);
        }
    }
    sl_free(h->buckets);
    h->buckets = buckets;
    h->nbuckets = n;
}

void hash_add(struct hash *h, struct hash_entry *e, uint64_t value)
{
    if (h->count >= h->nbuckets)
        grow(h);
    e->value = value;
    link_entry(h->buckets, h->nbuckets, e);
    h->count++;
}

void hash_remove(struct hash *h, struct hash_entry *e)
{
    struct hash_entry **at = &h->buckets[e->value & (h->nbuckets - 1)];
    while (*at && *at != e)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = e->next;
    e->next = NULL;
    h->count--;
}

static struct hash_entry *same_value(struct hash_entry *e, uint64_t value)
{
    while (e && e->value != value)
        e = e->next;
    return e;
}

struct hash_entry *hash_first(const struct hash *h, uint64_t value)
{
    return same_value(h->buckets[value & (h->nbuckets - 1)], value);
}

struct hash_entry *hash_next(const struct hash_entry *e)
{
    return same_value(e->next, e->value);
}
