/* The table behind grant.h: grants by id and by principal, revocations by what they name.
 *
 *   by_id         id                           -> entry (every grant once)
 *   by_principal  issuer, subject, client      -> entry (as written in the grant, "" for any)
 *   by_token      issuer, jti                  -> link -> entry (every token that a grant binds)
 *   bars          kind, issuer, value, client  -> bar   (every revocation once, the widest)
 *
 * A token is looked up under its own texts and under "" in each place: at most seven principals. */
#include <stdlib.h>
#include <string.h>

#include "auth/grant_table.h"
#include "auth/text.h"

#define BUCKETS_FIRST 64

struct node {
    struct node *next;
    uint64_t hash;
};

struct map {
    struct node **buckets;
    size_t size; /* a power of two */
    size_t count;
};

struct entry;

/* A token that a grant binds. */
struct link {
    struct node node; /* first */
    struct entry *entry;
    const char *jti; /* the grant's */
};

struct entry {
    struct node by_id; /* first: an entry is found by it */
    struct node by_principal;
    struct grant *grant;
    int64_t last_use_s;
    struct link links[]; /* one a token */
};

struct bar {
    struct node node; /* first */
    struct revocation *r;
};

struct grant_table {
    struct map by_id, by_principal, by_token, bars;
    char separator[GRANT_SEPARATOR_MAX];
    bool shut; /* a revocation could not be remembered */
};

static uint64_t hash_text(uint64_t h, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;

    for (;; p++) { /* FNV-1a, the NUL included so that texts do not run together */
        h = (h ^ *p) * UINT64_C(0x100000001b3);
        if (!*p)
            return h;
    }
}

static uint64_t hash_id(const char *id)
{
    return hash_text(UINT64_C(0xcbf29ce484222325), id);
}

static uint64_t hash_principal(const char *issuer, const char *subject, const char *client)
{
    return hash_text(hash_text(hash_id(issuer), subject), client);
}

static uint64_t hash_token(const char *issuer, const char *jti)
{
    return hash_text(hash_id(issuer), jti);
}

static uint64_t hash_bar(enum revoke_kind kind, const char *issuer, const char *value,
                         const char *client)
{
    return hash_principal(issuer, value, client) + (uint64_t)kind * UINT64_C(0x9e3779b97f4a7c15);
}

static bool map_init(struct map *m)
{
    m->buckets = sl_calloc(BUCKETS_FIRST, sizeof(struct node *));
    m->size = BUCKETS_FIRST;
    return m->buckets != NULL;
}

static struct node **map_bucket(const struct map *m, uint64_t hash)
{
    return &m->buckets[(hash ^ hash >> 32) & (m->size - 1)];
}

/* Without memory the map stays as it is, with longer chains. */
static void map_grow(struct map *m)
{
    struct map wider = {.size = m->size * 2, .count = m->count};
    size_t i;

    wider.buckets = sl_calloc(wider.size, sizeof(struct node *));
    if (!wider.buckets)
        return;
    for (i = 0; i < m->size; i++) {
        while (m->buckets[i]) {
            struct node *n = m->buckets[i];
            struct node **to = map_bucket(&wider, n->hash);

            m->buckets[i] = n->next;
            n->next = *to;
            *to = n;
        }
    }
    sl_free(m->buckets);
    *m = wider;
}

static void map_add(struct map *m, struct node *n, uint64_t hash)
{
    struct node **to;

    if (m->count >= m->size)
        map_grow(m);
    to = map_bucket(m, hash);
    n->hash = hash;
    n->next = *to;
    *to = n;
    m->count++;
}

static void map_remove(struct map *m, struct node *n)
{
    struct node **at = map_bucket(m, n->hash);

    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    m->count--;
}

static const struct entry *entry_of_principal(const struct node *n)
{
    return (const struct entry *)(const void *)((const char *)n -
                                                offsetof(struct entry, by_principal));
}

static struct entry *entry_find(const struct grant_table *t, const char *id)
{
    uint64_t hash = hash_id(id);
    struct node *n;

    for (n = *map_bucket(&t->by_id, hash); n; n = n->next) {
        struct entry *e = (struct entry *)(void *)n;

        if (n->hash == hash && strcmp(e->grant->id, id) == 0)
            return e;
    }
    return NULL;
}

static struct bar *bar_find(const struct grant_table *t, enum revoke_kind kind, const char *issuer,
                            const char *value, const char *client)
{
    uint64_t hash = hash_bar(kind, issuer, value, client);
    struct node *n;

    for (n = *map_bucket(&t->bars, hash); n; n = n->next) {
        struct bar *b = (struct bar *)(void *)n;

        if (n->hash == hash && b->r->kind == kind && strcmp(b->r->issuer, issuer) == 0 &&
            strcmp(b->r->value, value) == 0 && strcmp(b->r->client, client) == 0)
            return b;
    }
    return NULL;
}

struct grant_table *grant_table_new(const struct config *c)
{
    struct grant_table *t = sl_calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    if (!map_init(&t->by_id) || !map_init(&t->by_principal) || !map_init(&t->by_token) ||
        !map_init(&t->bars)) {
        sl_free(t->by_id.buckets);
        sl_free(t->by_principal.buckets);
        sl_free(t->by_token.buckets);
        sl_free(t->bars.buckets);
        sl_free(t);
        return NULL;
    }
    grant_table_config(t, c);
    return t;
}

static void entry_drop(struct grant_table *t, struct entry *e)
{
    size_t i;

    map_remove(&t->by_id, &e->by_id);
    map_remove(&t->by_principal, &e->by_principal);
    for (i = 0; i < e->grant->ntokens; i++)
        map_remove(&t->by_token, &e->links[i].node);
    grant_unref(e->grant);
    sl_free(e);
}

static void bar_drop(struct grant_table *t, struct bar *b)
{
    map_remove(&t->bars, &b->node);
    revocation_free(b->r);
    sl_free(b);
}

void grant_table_free(struct grant_table *t)
{
    size_t i;

    if (!t)
        return;
    for (i = 0; i < t->by_id.size; i++) {
        while (t->by_id.buckets[i])
            entry_drop(t, (struct entry *)(void *)t->by_id.buckets[i]);
    }
    for (i = 0; i < t->bars.size; i++) {
        while (t->bars.buckets[i])
            bar_drop(t, (struct bar *)(void *)t->bars.buckets[i]);
    }
    sl_free(t->by_id.buckets);
    sl_free(t->by_principal.buckets);
    sl_free(t->by_token.buckets);
    sl_free(t->bars.buckets);
    sl_free(t);
}

void grant_table_config(struct grant_table *t, const struct config *c)
{
    const char *separator = c->group_separator ? c->group_separator : "";
    size_t n = strnlen(separator, GRANT_SEPARATOR_MAX - 1);

    memset(t->separator, 0, sizeof(t->separator));
    memcpy(t->separator, separator, n);
}

int grant_table_put(struct grant_table *t, struct grant *g)
{
    struct entry *old = entry_find(t, g->id);
    struct entry *e;
    size_t i;

    e = sl_calloc(1, sizeof(*e) + g->ntokens * sizeof(struct link));
    if (!e)
        return ERR_NOMEM;
    e->grant = grant_ref(g);
    if (old) {
        e->last_use_s = old->last_use_s;
        entry_drop(t, old);
    }
    for (i = 0; i < g->ntokens; i++) {
        e->links[i].entry = e;
        e->links[i].jti = g->tokens[i];
        map_add(&t->by_token, &e->links[i].node, hash_token(g->issuer, g->tokens[i]));
    }
    map_add(&t->by_id, &e->by_id, hash_id(g->id));
    map_add(&t->by_principal, &e->by_principal, hash_principal(g->issuer, g->subject, g->client));
    return OK;
}

void grant_table_remove(struct grant_table *t, const char *id)
{
    struct entry *e = entry_find(t, id);

    if (e)
        entry_drop(t, e);
}

/* The transfer that a revocation names ends. One of the configuration stays in the table, barred:
 * as long as it stands in the file, its principal has more than one grant. */
static void transfer_end(struct grant_table *t, const struct revocation *r)
{
    struct entry *e = r->kind == REVOKE_TRANSFER ? entry_find(t, r->value) : NULL;

    if (e && e->grant->source == GRANT_FROM_API)
        entry_drop(t, e);
}

int grant_table_revoke(struct grant_table *t, const struct revocation *r)
{
    struct bar *b = bar_find(t, r->kind, r->issuer, r->value, r->client);

    transfer_end(t, r);
    if (b) {
        if (r->at > b->r->at)
            b->r->at = r->at;
        if (b->r->until != 0 && (r->until == 0 || r->until > b->r->until))
            b->r->until = r->until;
        return OK;
    }
    b = sl_calloc(1, sizeof(*b));
    if (!b)
        return ERR_NOMEM;
    b->r = revocation_clone(r);
    if (!b->r) {
        sl_free(b);
        return ERR_NOMEM;
    }
    map_add(&t->bars, &b->node, hash_bar(r->kind, r->issuer, r->value, r->client));
    return OK;
}

void grant_table_forget(struct grant_table *t, const struct revocation *r)
{
    struct bar *b = bar_find(t, r->kind, r->issuer, r->value, r->client);

    if (b)
        bar_drop(t, b);
}

static int item_apply(struct grant_table *t, const struct change_item *item)
{
    int rc;

    switch (item->kind) {
    case CHANGE_GRANT:
        rc = grant_table_put(t, item->grant);
        if (rc != OK) /* what it replaces is not in force any more */
            grant_table_remove(t, item->grant->id);
        return rc;
    case CHANGE_UNGRANT:
        grant_table_remove(t, item->id);
        return OK;
    case CHANGE_REVOKE:
        rc = grant_table_revoke(t, item->revocation);
        if (rc != OK)
            t->shut = true;
        return rc;
    case CHANGE_FORGET:
        grant_table_forget(t, item->revocation);
        return OK;
    }
    return ERR_UNKNOWN;
}

int grant_table_apply(struct grant_table *t, const struct change *c)
{
    int first = OK;
    size_t i;

    for (i = 0; i < c->count; i++) {
        int rc = item_apply(t, &c->items[i]);

        if (first == OK)
            first = rc;
    }
    return first;
}

size_t grant_table_grants(const struct grant_table *t)
{
    return t->by_id.count;
}

size_t grant_table_revocations(const struct grant_table *t)
{
    return t->bars.count;
}

struct grant *grant_table_find(const struct grant_table *t, const char *id)
{
    struct entry *e = entry_find(t, id);

    return e ? e->grant : NULL;
}

void grant_table_used(struct grant_table *t, const char *id, int64_t at_s)
{
    struct entry *e = entry_find(t, id);

    if (e && at_s > e->last_use_s)
        e->last_use_s = at_s;
}

int64_t grant_table_last_use(const struct grant_table *t, const char *id)
{
    const struct entry *e = entry_find(t, id);

    return e ? e->last_use_s : 0;
}

bool grant_table_knows(const struct grant_table *t, const struct revocation *r)
{
    const struct bar *b = bar_find(t, r->kind, r->issuer, r->value, r->client);

    return b && b->r->at >= r->at &&
           (b->r->until == 0 || (r->until != 0 && b->r->until >= r->until));
}

void grant_table_each_grant(const struct grant_table *t, void (*fn)(void *arg, struct grant *g),
                            void *arg)
{
    struct node *n;
    size_t i;

    for (i = 0; i < t->by_id.size; i++) {
        for (n = t->by_id.buckets[i]; n; n = n->next)
            fn(arg, ((struct entry *)(void *)n)->grant);
    }
}

void grant_table_each_revocation(const struct grant_table *t,
                                 void (*fn)(void *arg, const struct revocation *r), void *arg)
{
    struct node *n;
    size_t i;

    for (i = 0; i < t->bars.size; i++) {
        for (n = t->bars.buckets[i]; n; n = n->next)
            fn(arg, ((struct bar *)(void *)n)->r);
    }
}

bool grant_table_part(const struct grant_table *t, size_t *at, size_t buckets,
                      void (*grant)(void *arg, struct grant *g),
                      void (*revocation)(void *arg, const struct revocation *r), void *arg)
{
    size_t end = t->by_id.size > t->bars.size ? t->by_id.size : t->bars.size;
    struct node *n;

    for (; buckets > 0 && *at < end; buckets--, ++*at) {
        for (n = *at < t->by_id.size ? t->by_id.buckets[*at] : NULL; n; n = n->next)
            grant(arg, ((struct entry *)(void *)n)->grant);
        for (n = *at < t->bars.size ? t->bars.buckets[*at] : NULL; n; n = n->next)
            revocation(arg, ((struct bar *)(void *)n)->r);
    }
    if (*at < end)
        return false;
    *at = 0;
    return true;
}

/* --- for auth/grant_login.c */

bool table_shut(const struct grant_table *t)
{
    return t->shut;
}

const char *table_separator(const struct grant_table *t)
{
    return t->separator;
}

struct grant *table_of_principal(const struct grant_table *t, const char *issuer,
                                 const char *subject, const char *client, const void **at)
{
    uint64_t hash = hash_principal(issuer, subject, client);
    const struct node *n =
        *at ? ((const struct node *)*at)->next : *map_bucket(&t->by_principal, hash);

    for (; n; n = n->next) {
        struct grant *g = entry_of_principal(n)->grant;

        if (n->hash == hash && strcmp(g->issuer, issuer) == 0 && strcmp(g->subject, subject) == 0 &&
            strcmp(g->client, client) == 0) {
            *at = n;
            return g;
        }
    }
    return NULL;
}

struct grant *table_of_token(const struct grant_table *t, const char *issuer, const char *jti,
                             const void **at)
{
    uint64_t hash = hash_token(issuer, jti);
    const struct node *n = *at ? ((const struct node *)*at)->next : *map_bucket(&t->by_token, hash);

    for (; n; n = n->next) {
        const struct link *l = (const struct link *)(const void *)n;

        if (n->hash == hash && strcmp(l->jti, jti) == 0 &&
            strcmp(l->entry->grant->issuer, issuer) == 0) {
            *at = n;
            return l->entry->grant;
        }
    }
    return NULL;
}

const struct revocation *table_bar(const struct grant_table *t, enum revoke_kind kind,
                                   const char *issuer, const char *value, const char *client)
{
    const struct bar *b = bar_find(t, kind, issuer, value, client);

    return b ? b->r : NULL;
}
