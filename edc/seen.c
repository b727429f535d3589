#include "edc/seen.h"

#include <string.h>

#include "base/alloc.h"

#define BUCKETS 1024

struct seen_id {
    struct seen_id *next;
    int64_t over_s;
    bool done;
    char key[];
};

struct seen {
    size_t count, max;
    int64_t swept_s; /* when it was last gone through */
    void (*gone)(void *arg, const char *key);
    void *arg;
    struct seen_id *buckets[BUCKETS];
};

static size_t bucket_of(const char *key)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (; *key; key++) /* FNV-1a */
        h = (h ^ (unsigned char)*key) * UINT64_C(0x100000001b3);
    return (size_t)((h ^ h >> 32) % BUCKETS);
}

struct seen *seen_new(size_t max, void (*gone)(void *arg, const char *key), void *arg)
{
    struct seen *s = sl_calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->max = max;
    s->gone = gone;
    s->arg = arg;
    return s;
}

void seen_free(struct seen *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (s->buckets[i])
            seen_remove(s, s->buckets[i]);
    sl_free(s);
}

struct seen_id *seen_find(const struct seen *s, const char *key)
{
    struct seen_id *id = s->buckets[bucket_of(key)];

    while (id && strcmp(id->key, key) != 0)
        id = id->next;
    return id;
}

void seen_remove(struct seen *s, struct seen_id *id)
{
    struct seen_id **at = &s->buckets[bucket_of(id->key)];

    while (*at != id)
        at = &(*at)->next;
    *at = id->next;
    s->count--;
    sl_free(id);
}

/* Once a second at most: what is still too young then does not age any faster. */
static void sweep(struct seen *s, int64_t now_s)
{
    struct seen_id *next;

    if (s->swept_s == now_s)
        return;
    s->swept_s = now_s;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct seen_id *id = s->buckets[i]; id; id = next) {
            next = id->next;
            if (!id->done || id->over_s >= now_s)
                continue;
            s->gone(s->arg, id->key);
            seen_remove(s, id);
        }
    }
}

struct seen_id *seen_add(struct seen *s, const char *key, int64_t over_s, int64_t now_s)
{
    struct seen_id **bucket = &s->buckets[bucket_of(key)];
    size_t n = strlen(key) + 1;
    struct seen_id *id;

    if (s->count >= s->max || now_s - s->swept_s >= SEEN_SWEEP_S)
        sweep(s, now_s);
    if (s->count >= s->max)
        return NULL;
    id = sl_calloc(1, sizeof(*id) + n);
    if (!id)
        return NULL;
    memcpy(id->key, key, n);
    id->over_s = over_s;
    id->next = *bucket;
    *bucket = id;
    s->count++;
    return id;
}

void seen_done(struct seen_id *id)
{
    id->done = true;
}

bool seen_is_done(const struct seen_id *id)
{
    return id->done;
}

size_t seen_count(const struct seen *s)
{
    return s->count;
}
