/* What there is: topics with logs whose every byte is a function of topic, partition and offset,
 * transfers with their rights, tokens. */
#include "tests/sim/world.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/token.h"

#define BATCH_MAGIC 0x48435442u /* "BTCH" */
#define BATCH_HEAD  24

struct world world;

struct batch_head {
    uint32_t magic;
    uint16_t topic, partition;
    uint32_t incarnation, bytes;
    int64_t offset;
};

static void build_topics(void)
{
    static const uint32_t sizes[] = {64, 300, 300, 2000, 20000, 48000};
    for (unsigned i = 0; i < WORLD_TOPICS; i++) {
        struct topic *t = &world.topics[i];
        *t = (struct topic){.exists = world.calm || i != WORLD_TOPICS - 1 || sim_chance(50)};
        snprintf(t->name, sizeof(t->name), i % 2 ? "t%u" : "T.%u", i);
        memset(t->id, (int)('a' + i), sizeof(t->id));
        t->batch_bytes = sizes[sim_below(sizeof(sizes) / sizeof(sizes[0]))];
        t->npartitions = (int32_t)sim_between(1, WORLD_PARTITIONS);
        for (int k = 0; k < WORLD_PARTITIONS; k++) {
            t->p[k] = (struct partition){.leader = (unsigned)sim_below(WORLD_BROKERS),
                                         .epoch = 5,
                                         .end = (int64_t)sim_below(40)};
            t->p[k].start = (int64_t)sim_below((uint64_t)t->p[k].end / 2 + 1);
        }
    }
}

/* Prefixes of which one begins another, on purpose. */
static void build_transfers(void)
{
    static const char *const prefixes[] = {"bob", "bobby", "b",     "alice-",
                                           "Bob", "x.",    "bob-1", "y"};
    static const unsigned operations[] = {OP_READ, OP_WRITE, OP_READ | OP_WRITE,
                                          OP_READ | OP_WRITE | OP_MANAGE | OP_DESCRIBE_CONFIGS};
    for (unsigned i = 0; i < WORLD_TRANSFERS; i++) {
        struct transfer *t = &world.transfers[i];
        *t = (struct transfer){.kind = (enum transfer_kind)sim_below(3)};
        snprintf(t->id, sizeof(t->id), "tr%u", i);
        snprintf(t->subject, sizeof(t->subject), "sub%u", i);
        snprintf(t->participant, sizeof(t->participant), "did:web:p%u", i % 3);
        t->rights.operations = operations[sim_below(4)];
        t->rights.topics = (unsigned)sim_between(1, (1u << WORLD_TOPICS) - 2);
        snprintf(t->rights.prefix, sizeof(t->rights.prefix), "%s", prefixes[i]);
        for (unsigned w = 0; w < WORLD_WORKERS; w++)
            world.workers[w].told.rights[i] = t->rights;
    }
}

void world_build(void)
{
    memset(&world, 0, sizeof(world));
    world.calm = sim.seed % 4 == 0;
    build_topics();
    build_transfers();
    for (unsigned i = 0; i < WORLD_BROKERS; i++)
        world.brokers[i] = (struct broker){.up = true};
    world.coordinators = (unsigned)sim_below(WORLD_BROKERS);
    world.sasl = sim_chance(40);
    world.lifetime_ms = world.sasl && sim_chance(60) ? (unsigned)sim_between(2000, 9000) : 0;
    world.tight = sim_chance(40);
    world.in_flight = (unsigned)sim_between(1, 32);
    world.nworkers = sim_chance(50) ? 1 : WORLD_WORKERS;
}

const struct topic *world_topic(const void *name, size_t n)
{
    for (unsigned i = 0; i < WORLD_TOPICS; i++)
        if (strlen(world.topics[i].name) == n && memcmp(world.topics[i].name, name, n) == 0)
            return &world.topics[i];
    return NULL;
}

const struct topic *world_topic_by_id(const uint8_t *id)
{
    for (unsigned i = 0; i < WORLD_TOPICS; i++)
        if (memcmp(world.topics[i].id, id, 16) == 0)
            return &world.topics[i];
    return NULL;
}

unsigned world_topic_index(const struct topic *t)
{
    return (unsigned)(t - world.topics);
}

unsigned world_coordinator(const void *key, size_t n)
{
    uint64_t h = world.coordinators;
    for (size_t i = 0; i < n; i++)
        h = sim_mix(h, ((const uint8_t *)key)[i]);
    return (unsigned)(h % WORLD_BROKERS);
}

static void batch(const struct batch_head *h, uint8_t *out)
{
    memcpy(out, h, sizeof(*h));
    sim_fill(out + BATCH_HEAD, h->bytes - BATCH_HEAD,
             sim_mix(sim_mix(h->topic, h->partition),
                     (uint64_t)h->offset + (uint64_t)h->incarnation * 7919));
}

void world_batch(const struct topic *t, int32_t partition, int64_t offset, uint8_t *out)
{
    struct batch_head h = {BATCH_MAGIC,         (uint16_t)world_topic_index(t),
                           (uint16_t)partition, t->incarnation,
                           t->batch_bytes,      offset};
    batch(&h, out);
}

bool world_batches_ok(const struct topic *t, int32_t partition, int64_t from, const uint8_t *p,
                      size_t n)
{
    static uint8_t want[BATCH_BYTES_MAX];
    struct batch_head h;
    for (; n > 0; p += h.bytes, n -= h.bytes) {
        if (n < sizeof(h))
            return false;
        memcpy(&h, p, sizeof(h));
        if (h.magic != BATCH_MAGIC || h.topic != world_topic_index(t) ||
            h.partition != (uint16_t)partition || h.incarnation > t->incarnation ||
            h.bytes != t->batch_bytes || h.bytes > n || (from >= 0 && h.offset != from))
            return false;
        batch(&h, want);
        if (memcmp(want, p, h.bytes) != 0)
            return false;
        from = h.offset + 1;
    }
    return true;
}

int64_t world_wall_s(void)
{
    return sim.wall_s + (int64_t)(sim.now_us / 1000000);
}

/* --- tokens */

static EVP_PKEY *signing_key(unsigned which)
{
    static EVP_PKEY *keys[2];
    uint8_t raw[32];
    memset(raw, (int)(which + 1), sizeof(raw));
    if (!keys[which])
        keys[which] = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, raw, sizeof(raw));
    return keys[which];
}

static int put_topics(const struct rights *r, char *out, size_t n)
{
    int at = 0;
    for (unsigned i = 0; i < WORLD_TOPICS; i++)
        if (r->topics & 1u << i)
            at +=
                snprintf(out + at, n - (size_t)at, "%s\"%s\"", at ? "," : "", world.topics[i].name);
    return at;
}

static void put_rights(const struct rights *r, char *out, size_t n)
{
    char topics[256];
    put_topics(r, topics, sizeof(topics));
    snprintf(out, n, ",\"topics\":[%s],\"prefix\":\"%s\",\"ops\":\"%s%s%s\"", topics, r->prefix,
             r->operations & OP_READ ? "read " : "", r->operations & OP_WRITE ? "write " : "",
             r->operations & OP_MANAGE ? "manage describe_configs" : "");
}

char *world_token(struct token *t, unsigned how)
{
    const struct transfer *tr = &world.transfers[t->transfer];
    char claims[1024], rights[512] = "", transfer[64] = "";
    if (tr->kind == TRANSFER_CLAIMS)
        put_rights(&tr->rights, rights, sizeof(rights));
    if (tr->kind != TRANSFER_PRINCIPAL)
        snprintf(transfer, sizeof(transfer), ",\"transfer\":\"%s\",\"participant\":\"%s\"", tr->id,
                 tr->participant);
    if (how == 1)
        t->exp = world_wall_s() - 100;
    t->bad = how != 0;
    snprintf(claims, sizeof(claims),
             "{\"iss\":\"%s\",\"aud\":\"%s\",\"sub\":\"%s\",\"exp\":%ld,\"iat\":%ld,"
             "\"jti\":\"%s\"%s%s}",
             how == 2 ? "https://idp.example.org" : ISSUER, how == 3 ? "other" : "sluice",
             tr->subject, (long)t->exp, (long)t->iat, t->jti, transfer, rights);
    uint8_t mark[TOKEN_MARK_BYTES];
    char *input = token_input("{\"alg\":\"EdDSA\",\"kid\":\"k1\"}", claims);
    token_mark(signing_key(how == 4), (const uint8_t *)input, strlen(input), mark);
    char *token = token_join(input, mark, sizeof(mark));
    free(input);
    return token;
}

struct keyring *world_keys(void);
struct keyring *world_keys(void)
{
    char text[1024], err[128];
    struct jwks *set = NULL;
    unsigned ignored;
    char *jwk = token_jwk(signing_key(0), "k1", "");
    int n = snprintf(text, sizeof(text), "{\"keys\":[%s]}", jwk);
    free(jwk);
    if (jwks_parse(text, (size_t)n, &set, &ignored, err, sizeof(err)) != OK)
        sim_violation("the key set: %s", err);
    struct keyring *k = keyring_new(world.config, &set);
    jwks_unref(set);
    return k;
}
