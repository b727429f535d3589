/* What the gate is told of the cluster: three brokers, the topics of fuzz/world.h, and waits that
 * end when the target says so. It stands before proxy/cluster.c in the link. */
#include <string.h>

#include "fuzz/world.h"
#include "proxy/cluster.h"

static struct cluster_wait *waits, **waits_end = &waits;
static struct partition_info three[3], one;
static struct topic_info topics[] = {
    {.name = "t1", .known = true, .npartitions = 3, .partitions = three},
    {.name = "t2", .known = true, .npartitions = 1, .partitions = &one},
    {.name = "gone", .known = true, .error = 3},
};

struct cluster *cluster_new(struct loop *l, const struct config *c, struct tls_context *tls,
                            struct resolver *r)
{
    (void)l;
    (void)c;
    (void)tls;
    (void)r;
    for (int i = 0; i < 3; i++)
        three[i] = (struct partition_info){.leader = i + 1, .epoch = 5};
    memset(topics[0].id, 'a', 16);
    memset(topics[1].id, 'b', 16);
    return (struct cluster *)&world;
}

void cluster_free(struct cluster *c)
{
    (void)c;
}

int cluster_config(struct cluster *c, const struct config *config, struct tls_context *tls)
{
    (void)c;
    (void)config;
    (void)tls;
    return OK;
}

bool cluster_ready(const struct cluster *c)
{
    (void)c;
    return true;
}

bool cluster_versions(const struct cluster *c, int api, struct versions *out)
{
    const struct message *m = schema_find(api, true);

    (void)c;
    if (m)
        *out = m->versions;
    return m != NULL;
}

int64_t cluster_features(const struct cluster *c,
                         void (*fn)(void *arg, const char *name, int16_t min, int16_t max),
                         void *arg)
{
    (void)c;
    fn(arg, "transaction.version", 0, 2);
    return 7;
}

int cluster_watch(struct cluster *c, const char *topic)
{
    (void)c;
    (void)topic;
    return OK;
}

void cluster_unwatch(struct cluster *c, const char *topic)
{
    (void)c;
    (void)topic;
}

const struct topic_info *cluster_topic(const struct cluster *c, const void *name, size_t n)
{
    (void)c;
    one = (struct partition_info){.leader = world.leader, .epoch = 5};
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++)
        if (strlen(topics[i].name) == n && memcmp(topics[i].name, name, n) == 0)
            return &topics[i];
    return NULL;
}

const struct topic_info *cluster_topic_by_id(const struct cluster *c, const uint8_t id[16])
{
    return memcmp(id, topics[0].id, 16) == 0   ? cluster_topic(c, "t1", 2)
           : memcmp(id, topics[1].id, 16) == 0 ? cluster_topic(c, "t2", 2)
                                               : NULL;
}

void cluster_stale(struct cluster *c)
{
    (void)c;
}

void cluster_wait_init(struct cluster_wait *w, void (*fn)(void *arg, int result), void *arg)
{
    *w = (struct cluster_wait){.fn = fn, .arg = arg};
}

static void wait_begin(struct cluster_wait *w)
{
    w->next = NULL;
    w->prev = waits_end;
    *waits_end = w;
    waits_end = &w->next;
}

void cluster_wait_cancel(struct cluster_wait *w)
{
    if (!w->prev)
        return;
    *w->prev = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        waits_end = w->prev;
    w->prev = NULL;
}

void cluster_wait_topics(struct cluster *c, struct cluster_wait *w, uint64_t timeout_us)
{
    (void)c;
    (void)timeout_us;
    wait_begin(w);
}

int32_t cluster_coordinator(const struct cluster *c, int kind, const void *key, size_t n)
{
    (void)c;
    (void)kind;
    return world.coordinator ? 1 + (n > 0 ? ((const uint8_t *)key)[n - 1] % 3 : 0) : -1;
}

void cluster_find_coordinator(struct cluster *c, int kind, const void *key, size_t n,
                              struct cluster_wait *w, uint64_t timeout_us)
{
    (void)c;
    (void)kind;
    (void)key;
    (void)n;
    (void)timeout_us;
    wait_begin(w);
}

void cluster_forget_coordinator(struct cluster *c, int kind, const void *key, size_t n)
{
    (void)c;
    (void)kind;
    (void)key;
    (void)n;
}

int32_t cluster_any_broker(const struct cluster *c, int32_t prefer)
{
    (void)c;
    return prefer >= 1 && prefer <= 3 ? prefer : 1;
}

bool cluster_has_broker(const struct cluster *c, int32_t id)
{
    (void)c;
    return id >= 1 && id <= 3;
}

unsigned cluster_brokers(const struct cluster *c, int32_t *ids, unsigned max)
{
    unsigned n = max < 3 ? max : 3;

    (void)c;
    for (unsigned i = 0; i < n; i++)
        ids[i] = (int32_t)i + 1;
    return n;
}

bool world_waits(void)
{
    return waits != NULL;
}

void world_lookups(void)
{
    /* Not those that begin meanwhile. */
    for (unsigned n = 64; waits && n > 0; n--) {
        struct cluster_wait *w = waits;
        cluster_wait_cancel(w);
        world.coordinator = world.coordinator || world.lookup == OK;
        w->fn(w->arg, world.lookup);
    }
    world_turn();
}
