#include "proxy/peers.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"

#define BUCKETS 4096 /* a power of two */

struct address {
    uint64_t high, low; /* as in IPv6; low is 0 for a /64 */
};

struct peer {
    struct peer *next;
    struct address address;
    unsigned connections;
};

struct peers {
    atomic_uint refs;
    uint64_t seed[2];
    pthread_mutex_t lock; /* over what follows */
    unsigned count;
    struct peer *bucket[BUCKETS];
};

static uint64_t big_endian(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static struct address address_of(const struct sockaddr_storage *peer)
{
    struct address a = {0, 0};
    if (peer->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, peer, sizeof(in));
        a.low = UINT64_C(0xffff00000000) | ntohl(in.sin_addr.s_addr);
    } else if (peer->ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, peer, sizeof(in6));
        a.high = big_endian(in6.sin6_addr.s6_addr);
        if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr))
            a.low = big_endian(in6.sin6_addr.s6_addr + 8);
    }
    return a;
}

/* Whoever may choose addresses must not be able to choose buckets. */
static unsigned bucket_of(const struct peers *p, struct address a)
{
    uint64_t h = (a.high ^ p->seed[0]) * UINT64_C(0x9e3779b97f4a7c15);
    h = ((h ^ h >> 32) + (a.low ^ p->seed[1])) * UINT64_C(0xd6e8feb86659fd93);
    h = (h ^ h >> 29) * UINT64_C(0x9e3779b97f4a7c15);
    return (unsigned)(h >> 40) & (BUCKETS - 1);
}

static struct peer **find(struct peers *p, struct address a)
{
    struct peer **at = &p->bucket[bucket_of(p, a)];
    while (*at && ((*at)->address.high != a.high || (*at)->address.low != a.low))
        at = &(*at)->next;
    return at;
}

struct peers *peers_new(void)
{
    struct peers *p = sl_calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    if (getrandom(p->seed, sizeof(p->seed), 0) != (ssize_t)sizeof(p->seed) ||
        pthread_mutex_init(&p->lock, NULL) != 0) {
        sl_free(p);
        return NULL;
    }
    atomic_init(&p->refs, 1);
    return p;
}

struct peers *peers_ref(struct peers *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void peers_unref(struct peers *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (p->bucket[i]) {
            struct peer *e = p->bucket[i];
            p->bucket[i] = e->next;
            sl_free(e);
        }
    }
    pthread_mutex_destroy(&p->lock);
    sl_free(p);
}

int peers_enter(struct peers *p, const struct sockaddr_storage *peer, unsigned max)
{
    struct address a = address_of(peer);
    int err = OK;
    pthread_mutex_lock(&p->lock);
    struct peer **at = find(p, a);
    if (max == 0 || (*at && (*at)->connections >= max)) {
        err = ERR_LIMIT;
    } else if (!*at) {
        struct peer *e = sl_calloc(1, sizeof(*e));
        if (e) {
            e->address = a;
            *at = e;
            p->count++;
        } else {
            err = ERR_NOMEM;
        }
    }
    if (err == OK)
        (*at)->connections++;
    pthread_mutex_unlock(&p->lock);
    return err;
}

void peers_leave(struct peers *p, const struct sockaddr_storage *peer)
{
    struct address a = address_of(peer);
    pthread_mutex_lock(&p->lock);
    struct peer **at = find(p, a), *e = *at;
    if (e && --e->connections == 0) {
        *at = e->next;
        p->count--;
        sl_free(e);
    }
    pthread_mutex_unlock(&p->lock);
}

unsigned peers_count(struct peers *p)
{
    pthread_mutex_lock(&p->lock);
    unsigned n = p->count;
    pthread_mutex_unlock(&p->lock);
    return n;
}
