#include "auth/grant.h"

#include <stdlib.h>
#include <string.h>

#include "auth/text.h"

#define TEXT_BYTES_MAX  255
#define TOPIC_BYTES_MAX 249 /* Kafka's own bound */
#define OPERATIONS_ALL  (OP_READ | OP_WRITE | OP_MANAGE | OP_DESCRIBE_CONFIGS)

/* Names that Kafka would take, its own internal topics left out: nobody is granted those. */
static bool topic_name_ok(const char *name)
{
    static const char *const refused[] = {".",
                                          "..",
                                          "__consumer_offsets",
                                          "__transaction_state",
                                          "__share_group_state",
                                          "__cluster_metadata"};
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(name);
    size_t i;

    if (n == 0 || n > TOPIC_BYTES_MAX || strspn(name, allowed) != n)
        return false;
    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (strcmp(name, refused[i]) == 0)
            return false;
    }
    return true;
}

static bool text_fits(const char *text)
{
    return !text || strlen(text) <= TEXT_BYTES_MAX;
}

static const char *grant_check(const struct grant_config *c, enum grant_source source)
{
    size_t i;

    if (source != GRANT_FROM_CLAIMS && (!c->id || !c->id[0]))
        return "no id";
    if (!text_fits(c->id) || !text_fits(c->participant) || !text_fits(c->agreement) ||
        !text_fits(c->asset) || !text_fits(c->issuer) || !text_fits(c->subject) ||
        !text_fits(c->client) || !text_fits(c->group_prefix))
        return "a text is longer than 255 bytes";
    if (c->tokens.count > GRANT_TOKENS_MAX)
        return "too many tokens";
    if (c->tokens.count > 0 && (!c->issuer || !c->issuer[0]))
        return "tokens without their issuer";
    for (i = 0; i < c->tokens.count; i++) {
        if (!c->tokens.at[i][0] || !text_fits(c->tokens.at[i]))
            return "a token's jti is empty or longer than 255 bytes";
    }
    if (c->topics.count > GRANT_TOPICS_MAX)
        return "too many topics";
    for (i = 0; i < c->topics.count; i++) {
        if (!topic_name_ok(c->topics.at[i]))
            return "a topic has a name that cannot be granted";
    }
    if (c->topics.count == 0 && (!c->group_prefix || !c->group_prefix[0]))
        return "neither a topic nor a group prefix";
    if (c->operations == 0 || (c->operations & ~(unsigned)OPERATIONS_ALL) != 0)
        return "no operation, or an unknown one";
    if (c->not_before < 0 || c->expires < 0 || (c->expires > 0 && c->expires <= c->not_before))
        return "it ends before it begins";
    return NULL;
}

static int compare_texts(const void *a, const void *b)
{
    const char *const *x = a;
    const char *const *y = b;

    return strcmp(*x, *y);
}

/* Sorted and unique. On failure what was copied stands in *out, *count tells how many. */
static bool texts_copy(const struct strings *from, char ***out, size_t *count)
{
    char **at;
    size_t i, kept;

    if (from->count == 0)
        return true;
    *out = at = sl_calloc(from->count, sizeof(*at));
    if (!at)
        return false;
    for (i = 0; i < from->count; i++) {
        at[i] = text_dup(from->at[i]);
        if (!at[i])
            return false;
        ++*count;
    }
    qsort(at, from->count, sizeof(*at), compare_texts);
    for (i = kept = 1; i < from->count; i++) {
        if (strcmp(at[kept - 1], at[i]) == 0)
            sl_free(at[i]);
        else
            at[kept++] = at[i];
    }
    *count = kept;
    return true;
}

static void texts_free(char **at, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        sl_free(at[i]);
    sl_free(at);
}

static void grant_free(struct grant *g)
{
    texts_free(g->topics, g->ntopics);
    texts_free(g->tokens, g->ntokens);
    sl_free(g->id);
    sl_free(g->participant);
    sl_free(g->agreement);
    sl_free(g->asset);
    sl_free(g->issuer);
    sl_free(g->subject);
    sl_free(g->client);
    sl_free(g->group_prefix);
    sl_free(g);
}

int grant_new(const struct grant_config *c, enum grant_source source, struct grant **out,
              const char **why)
{
    struct grant *g;

    *out = NULL;
    *why = grant_check(c, source);
    if (*why)
        return ERR_MALFORMED;
    *why = "out of memory";
    g = sl_calloc(1, sizeof(*g));
    if (!g)
        return ERR_NOMEM;
    atomic_init(&g->refs, 1);
    g->source = source;
    g->operations = c->operations;
    g->not_before = c->not_before;
    g->expires = c->expires;
    if (!(g->id = text_dup(c->id)) || !(g->participant = text_dup(c->participant)) ||
        !(g->agreement = text_dup(c->agreement)) || !(g->asset = text_dup(c->asset)) ||
        !(g->issuer = text_dup(c->issuer)) || !(g->subject = text_dup(c->subject)) ||
        !(g->client = text_dup(c->client)) || !(g->group_prefix = text_dup(c->group_prefix)) ||
        !texts_copy(&c->topics, &g->topics, &g->ntopics) ||
        !texts_copy(&c->tokens, &g->tokens, &g->ntokens)) {
        grant_free(g);
        return ERR_NOMEM;
    }
    *why = NULL;
    *out = g;
    return OK;
}

int grant_from_claims(const struct identity *id, struct grant **out)
{
    const char *topics[IDENTITY_TOPICS_MAX];
    struct grant_config c = {
        .id = id->transfer,
        .issuer = id->issuer,
        .subject = id->subject,
        .client = id->client,
        .participant = id->participant,
        .agreement = id->agreement,
        .asset = id->asset,
        .topics = {topics, id->ntopics},
        .group_prefix = id->group_prefix,
        .operations = id->operations,
    };
    const char *why;
    unsigned i;
    int rc;

    *out = NULL;
    if (id->ntopics == 0)
        return ERR_DENIED;
    for (i = 0; i < id->ntopics; i++)
        topics[i] = id->topics[i];
    rc = grant_new(&c, GRANT_FROM_CLAIMS, out, &why);
    return rc == ERR_MALFORMED ? ERR_DENIED : rc;
}

struct grant *grant_ref(struct grant *g)
{
    if (g)
        atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

void grant_unref(struct grant *g)
{
    if (g && atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1)
        grant_free(g);
}

static bool texts_equal(char *const *a, size_t na, char *const *b, size_t nb)
{
    size_t i;

    for (i = 0; na == nb && i < na; i++) {
        if (strcmp(a[i], b[i]) != 0)
            return false;
    }
    return na == nb;
}

static bool rights_equal(const struct grant *a, const struct grant *b)
{
    return a->operations == b->operations && strcmp(a->participant, b->participant) == 0 &&
           strcmp(a->group_prefix, b->group_prefix) == 0 &&
           texts_equal(a->topics, a->ntopics, b->topics, b->ntopics);
}

bool grant_equal(const struct grant *a, const struct grant *b)
{
    return rights_equal(a, b) && a->not_before == b->not_before && a->expires == b->expires &&
           strcmp(a->id, b->id) == 0 && strcmp(a->agreement, b->agreement) == 0 &&
           strcmp(a->asset, b->asset) == 0 && strcmp(a->issuer, b->issuer) == 0 &&
           strcmp(a->subject, b->subject) == 0 && strcmp(a->client, b->client) == 0 &&
           texts_equal(a->tokens, a->ntokens, b->tokens, b->ntokens);
}

void grant_set_clear(struct grant_set *s)
{
    unsigned i;

    for (i = 0; i < s->count; i++)
        grant_unref(s->at[i]);
    memset(s, 0, sizeof(*s));
}

int64_t grant_set_expires(const struct grant_set *s, const struct identity *id)
{
    int64_t end = id->expires;
    unsigned i;

    for (i = 0; i < s->count; i++) {
        if (s->at[i]->expires > 0 && s->at[i]->expires < end)
            end = s->at[i]->expires;
    }
    return end;
}

/* Each grant of a has its equal in b. */
static bool covered(const struct grant_set *a, const struct grant_set *b)
{
    unsigned i, j;

    for (i = 0; i < a->count; i++) {
        for (j = 0; j < b->count && !rights_equal(a->at[i], b->at[j]); j++)
            ;
        if (j == b->count)
            return false;
    }
    return true;
}

bool grant_set_same_rights(const struct grant_set *a, const struct grant_set *b)
{
    return strcmp(a->separator, b->separator) == 0 && covered(a, b) && covered(b, a);
}

static int compare_name(const char *name, const void *p, size_t n)
{
    size_t len = strlen(name);
    int order = memcmp(name, p, len < n ? len : n);

    if (order != 0)
        return order;
    return len < n ? -1 : len > n;
}

static bool has_topic(const struct grant *g, const void *name, size_t n)
{
    size_t low = 0;
    size_t high = g->ntopics;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = compare_name(g->topics[mid], name, n);

        if (order == 0)
            return true;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

static bool describes(const struct grant *g)
{
    return (g->operations & (OP_READ | OP_WRITE)) != 0;
}

bool grant_topic(const struct grant_set *s, const void *name, size_t n, unsigned ops)
{
    unsigned i;

    for (i = 0; i < s->count; i++) {
        const struct grant *g = s->at[i];
        bool may = ops ? (g->operations & ops) == ops : describes(g);

        if (may && has_topic(g, name, n))
            return true;
    }
    return false;
}

/* Byte by byte and with case, from the grant's prefix to the id and never the other way round. */
static bool under_prefix(const char *prefix, const char *separator, const char *id, size_t n)
{
    size_t p = strlen(prefix);
    size_t s = strlen(separator);

    if (p == 0 || n < p || memcmp(id, prefix, p) != 0)
        return false;
    if (s == 0 || n == p || (p >= s && memcmp(prefix + p - s, separator, s) == 0))
        return true;
    return n - p >= s && memcmp(id + p, separator, s) == 0;
}

bool grant_group(const struct grant_set *s, const void *id, size_t n, unsigned any_ops)
{
    unsigned i;

    for (i = 0; i < s->count; i++) {
        if ((s->at[i]->operations & any_ops) != 0 &&
            under_prefix(s->at[i]->group_prefix, s->separator, id, n))
            return true;
    }
    return false;
}

bool grant_any(const struct grant_set *s, unsigned op)
{
    unsigned i;

    for (i = 0; i < s->count; i++) {
        if ((s->at[i]->operations & op) != 0)
            return true;
    }
    return false;
}

/* A merge over the grants' sorted lists: the smallest name above the last one, again and again. No
 * topic's name is empty, so "" is none. */
void grant_topics(const struct grant_set *s, bool (*fn)(void *arg, const char *name), void *arg)
{
    size_t next[GRANT_SET_MAX] = {0};
    const char *last = "";
    const char *least;
    unsigned i;

    do {
        least = "";
        for (i = 0; i < s->count; i++) {
            const struct grant *g = s->at[i];

            while (next[i] < g->ntopics && strcmp(g->topics[next[i]], last) <= 0)
                next[i]++;
            if (describes(g) && next[i] < g->ntopics &&
                (!least[0] || strcmp(g->topics[next[i]], least) < 0))
                least = g->topics[next[i]];
        }
        last = least;
    } while (least[0] && fn(arg, least));
}

enum { ACL_READ = 3, ACL_WRITE = 4, ACL_DELETE = 6, ACL_DESCRIBE = 8, ACL_DESCRIBE_CONFIGS = 10 };

int32_t grant_topic_ops(const struct grant_set *s, const void *name, size_t n)
{
    int32_t bits = 0;

    if (grant_topic(s, name, n, OP_READ))
        bits |= 1 << ACL_READ | 1 << ACL_DESCRIBE;
    if (grant_topic(s, name, n, OP_WRITE))
        bits |= 1 << ACL_WRITE | 1 << ACL_DESCRIBE;
    if (grant_topic(s, name, n, OP_DESCRIBE_CONFIGS))
        bits |= 1 << ACL_DESCRIBE_CONFIGS;
    return bits;
}

int32_t grant_group_ops(const struct grant_set *s, const void *id, size_t n)
{
    int32_t bits = 0;

    if (grant_group(s, id, n, OP_READ))
        bits |= 1 << ACL_READ | 1 << ACL_DESCRIBE;
    if (grant_group(s, id, n, OP_MANAGE))
        bits |= 1 << ACL_DELETE | 1 << ACL_DESCRIBE;
    return bits;
}
