#include "proxy/principals.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define BUCKETS 1024

struct principal {
    struct principal *next;
    unsigned connections;
    char key[]; /* issuer, subject, client and participant, each with its NUL */
};

struct principals {
    pthread_mutex_t lock;
    struct principal *bucket[BUCKETS];
};

/* The longest key. */
#define KEY_MAX ((size_t)4 * IDENTITY_TEXT_MAX)

static size_t make_key(const struct identity *id, char out[KEY_MAX])
{
    const char *part[] = {id->issuer, id->subject, id->client, id->participant};
    size_t n = 0;

    for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
        size_t len = strlen(part[i]) + 1;
        memcpy(out + n, part[i], len);
        n += len;
    }
    return n;
}

static unsigned bucket_of(const char *key, size_t n)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)key[i]) * 16777619u;
    return h % BUCKETS;
}

/* Equal keys have equal lengths up to their fourth NUL, so a comparison of n bytes is enough. */
static struct principal **find(struct principals *p, const char *key, size_t n)
{
    struct principal **at = &p->bucket[bucket_of(key, n)];

    while (*at && memcmp((*at)->key, key, n) != 0)
        at = &(*at)->next;
    return at;
}

struct principals *principals_new(void)
{
    struct principals *p = sl_calloc(1, sizeof(*p));

    if (p && pthread_mutex_init(&p->lock, NULL) != 0) {
        sl_free(p);
        p = NULL;
    }
    return p;
}

void principals_free(struct principals *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (p->bucket[i]) {
            struct principal *e = p->bucket[i];
            p->bucket[i] = e->next;
            sl_free(e);
        }
    }
    pthread_mutex_destroy(&p->lock);
    sl_free(p);
}

int principals_enter(struct principals *p, const struct identity *id, unsigned max)
{
    char key[KEY_MAX] = {0};
    size_t n = make_key(id, key);
    struct principal **at;
    int rc = OK;

    pthread_mutex_lock(&p->lock);
    at = find(p, key, n);
    if (!*at) {
        *at = sl_calloc(1, sizeof(**at) + KEY_MAX);
        if (*at)
            memcpy((*at)->key, key, n);
    }
    if (!*at)
        rc = ERR_NOMEM;
    else if ((*at)->connections >= max)
        rc = ERR_LIMIT;
    else
        (*at)->connections++;
    pthread_mutex_unlock(&p->lock);
    return rc;
}

void principals_leave(struct principals *p, const struct identity *id)
{
    char key[KEY_MAX] = {0};
    size_t n = make_key(id, key);
    struct principal **at, *e;

    pthread_mutex_lock(&p->lock);
    at = find(p, key, n);
    e = *at;
    if (e && --e->connections == 0) {
        *at = e->next;
        sl_free(e);
    }
    pthread_mutex_unlock(&p->lock);
}
