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

#include "auth/grant.h"
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

static struct entry *entry_of_principal(struct node *n)
{
    return (struct entry *)(void *)((char *)n - offsetof(struct entry, by_principal));
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

/* --- who gets what */

static bool named(const struct grant_table *t, enum revoke_kind kind, const char *value,
                  int64_t issued)
{
    const struct bar *b = value[0] ? bar_find(t, kind, "", value, "") : NULL;

    return b && issued <= b->r->at;
}

static bool of_principal(const struct grant_table *t, enum revoke_kind kind, const char *issuer,
                         const char *value, int64_t issued)
{
    const struct bar *b = value[0] ? bar_find(t, kind, issuer, value, "") : NULL;

    return b && issued <= b->r->at;
}

bool grant_table_bars(const struct grant_table *t, const struct identity *id)
{
    const struct bar *b;

    if (t->shut)
        return true;
    if (id->jti[0]) {
        if (bar_find(t, REVOKE_JTI, id->issuer, id->jti, ""))
            return true;
    } else {
        b = bar_find(t, REVOKE_TOKEN, id->issuer, id->subject, id->client);
        if (b && id->issued <= b->r->at)
            return true;
    }
    b = bar_find(t, REVOKE_ISSUER, id->issuer, "", "");
    if (b && id->issued < b->r->at)
        return true;
    if (id->sid[0] && bar_find(t, REVOKE_SESSION, id->issuer, id->sid, ""))
        return true;
    return of_principal(t, REVOKE_SUBJECT, id->issuer, id->subject, id->issued) ||
           of_principal(t, REVOKE_CLIENT, id->issuer, id->client, id->issued) ||
           named(t, REVOKE_TRANSFER, id->transfer, id->issued) ||
           named(t, REVOKE_AGREEMENT, id->agreement, id->issued) ||
           named(t, REVOKE_ASSET, id->asset, id->issued) ||
           named(t, REVOKE_PARTICIPANT, id->participant, id->issued);
}

/* Has what this grant stands for ended, as far as this token is concerned? A grant of the API is
 * younger than any revocation of its id (that would have removed it), so it resumes the transfer,
 * for tokens issued since. */
static bool ended(const struct grant_table *t, const struct identity *id, const struct grant *g)
{
    switch (g->source) {
    case GRANT_FROM_API:
        return named(t, REVOKE_TRANSFER, g->id, id->issued);
    case GRANT_FROM_CONFIG:
        return named(t, REVOKE_TRANSFER, g->id, INT64_MIN);
    case GRANT_FROM_CLAIMS:
        return named(t, REVOKE_TRANSFER, g->id, INT64_MIN) ||
               named(t, REVOKE_AGREEMENT, g->agreement, INT64_MIN) ||
               named(t, REVOKE_ASSET, g->asset, INT64_MIN) ||
               named(t, REVOKE_PARTICIPANT, g->participant, INT64_MIN);
    }
    return true;
}

bool grant_table_barred(const struct grant_table *t, const struct grant *g)
{
    return g->source == GRANT_FROM_CONFIG && named(t, REVOKE_TRANSFER, g->id, INT64_MIN);
}

static enum login_verdict in_time(const struct grant *g, int64_t now_s)
{
    if (g->expires > 0 && g->expires <= now_s)
        return LOGIN_EXPIRED;
    return g->not_before > now_s ? LOGIN_NOT_YET : LOGIN_OK;
}

enum grant_state grant_table_state(const struct grant_table *t, const struct grant *g,
                                   int64_t now_s)
{
    if (grant_table_barred(t, g))
        return GRANT_BARRED;
    switch (in_time(g, now_s)) {
    case LOGIN_EXPIRED:
        return GRANT_EXPIRED;
    case LOGIN_NOT_YET:
        return GRANT_NOT_YET;
    case LOGIN_OK:
    case LOGIN_REVOKED:
    case LOGIN_NO_GRANT:
    case LOGIN_AMBIGUOUS:
    case LOGIN_RESOURCES:
        break;
    }
    return GRANT_ACTIVE;
}

static bool matches(const char *wanted, const char *has)
{
    return !wanted[0] || strcmp(wanted, has) == 0;
}

static bool principal_matches(const struct grant *g, const struct identity *id)
{
    return matches(g->issuer, id->issuer) && matches(g->subject, id->subject) &&
           matches(g->client, id->client);
}

static enum login_verdict login_claims(const struct grant_table *t, const struct identity *id,
                                       struct grant_set *out)
{
    struct grant *g;
    int rc = grant_from_claims(id, &g);

    if (rc != OK)
        return rc == ERR_NOMEM ? LOGIN_RESOURCES : LOGIN_NO_GRANT;
    if (ended(t, id, g)) {
        grant_unref(g);
        return LOGIN_REVOKED;
    }
    out->at[out->count++] = g;
    return LOGIN_OK;
}

/* The next grant that binds this token, after `last` (NULL: the first). */
static const struct link *bound_next(const struct grant_table *t, const struct identity *id,
                                     const struct link *last)
{
    uint64_t hash = hash_token(id->issuer, id->jti);
    const struct node *n = last ? last->node.next : *map_bucket(&t->by_token, hash);

    if (!id->jti[0])
        return NULL;
    for (; n; n = n->next) {
        const struct link *l = (const struct link *)(const void *)n;

        if (n->hash == hash && strcmp(l->jti, id->jti) == 0 &&
            strcmp(l->entry->grant->issuer, id->issuer) == 0)
            return l;
    }
    return NULL;
}

static enum login_verdict login_entry(const struct grant_table *t, const struct identity *id,
                                      int64_t now_s, const struct entry *e, struct grant_set *out)
{
    enum login_verdict v;

    if (!principal_matches(e->grant, id))
        return LOGIN_NO_GRANT;
    if (ended(t, id, e->grant))
        return LOGIN_REVOKED;
    v = in_time(e->grant, now_s);
    if (v == LOGIN_OK)
        out->at[out->count++] = grant_ref(e->grant);
    return v;
}

static enum login_verdict login_bound(const struct grant_table *t, const struct identity *id,
                                      int64_t now_s, const struct link *l, struct grant_set *out)
{
    if (bound_next(t, id, l) || (id->transfer[0] && strcmp(id->transfer, l->entry->grant->id) != 0))
        return LOGIN_AMBIGUOUS;
    return login_entry(t, id, now_s, l->entry, out);
}

static enum login_verdict login_transfer(const struct grant_table *t, const struct identity *id,
                                         int64_t now_s, struct grant_set *out)
{
    const struct entry *e = entry_find(t, id->transfer);

    if (e)
        return login_entry(t, id, now_s, e, out);
    if (named(t, REVOKE_TRANSFER, id->transfer, INT64_MIN))
        return LOGIN_REVOKED;
    return login_claims(t, id, out);
}

/* What the grants of one principal come to. */
struct tally {
    unsigned all; /* that name this principal, in force or not */
    unsigned from_config;
    unsigned usable;
    enum login_verdict otherwise; /* why the last unusable one is so */
};

static void tally_grant(struct tally *y, const struct grant_table *t, const struct identity *id,
                        int64_t now_s, struct grant *g, struct grant_set *out)
{
    enum login_verdict v = ended(t, id, g) ? LOGIN_REVOKED : in_time(g, now_s);

    if (g->ntokens > 0)
        v = LOGIN_NO_GRANT; /* it is for the tokens that it binds, and this is none of them */
    y->all++;
    if (g->source == GRANT_FROM_CONFIG)
        y->from_config++;
    if (v != LOGIN_OK) {
        y->otherwise = v;
        return;
    }
    y->usable++;
    if (out->count < GRANT_SET_MAX)
        out->at[out->count++] = grant_ref(g);
}

/* Under each way to write this principal: bit 0 the issuer, 1 the subject, 2 the client. A grant
 * that leaves all three open belongs to nobody by principal. */
static void tally_principal(struct tally *y, const struct grant_table *t, const struct identity *id,
                            int64_t now_s, struct grant_set *out)
{
    unsigned way;

    for (way = 1; way < 8; way++) {
        const char *issuer = way & 1 ? id->issuer : "";
        const char *subject = way & 2 ? id->subject : "";
        const char *client = way & 4 ? id->client : "";
        uint64_t hash = hash_principal(issuer, subject, client);
        struct node *n;

        if (((way & 1) && !issuer[0]) || ((way & 2) && !subject[0]) || ((way & 4) && !client[0]))
            continue; /* the same as without it */
        for (n = *map_bucket(&t->by_principal, hash); n; n = n->next) {
            struct grant *g = entry_of_principal(n)->grant;

            if (n->hash == hash && strcmp(g->issuer, issuer) == 0 &&
                strcmp(g->subject, subject) == 0 && strcmp(g->client, client) == 0)
                tally_grant(y, t, id, now_s, g, out);
        }
    }
}

static int compare_grants(const void *a, const void *b)
{
    struct grant *const *x = a;
    struct grant *const *y = b;

    return strcmp((*x)->id, (*y)->id);
}

static enum login_verdict login_principal(const struct grant_table *t, const struct identity *id,
                                          int64_t now_s, struct grant_set *out)
{
    struct tally y = {.otherwise = LOGIN_NO_GRANT};

    tally_principal(&y, t, id, now_s, out);
    if (y.all == 0)
        return LOGIN_NO_GRANT;
    if (id->shared_subjects && (y.all > 1 || y.from_config != 1))
        return LOGIN_AMBIGUOUS;
    if (y.usable == 0)
        return y.otherwise;
    if (y.usable > GRANT_SET_MAX)
        return LOGIN_AMBIGUOUS; /* a part of them, chosen by chance, would be worse than none */
    qsort(out->at, out->count, sizeof(struct grant *), compare_grants);
    return LOGIN_OK;
}

enum login_verdict grant_table_login(struct grant_table *t, const struct identity *id,
                                     int64_t now_s, struct grant_set *out)
{
    const struct link *bound = bound_next(t, id, NULL);
    enum login_verdict v;

    memset(out, 0, sizeof(*out));
    if (grant_table_bars(t, id))
        v = LOGIN_REVOKED;
    else if (id->expires <= now_s)
        v = LOGIN_EXPIRED;
    else if (bound)
        v = login_bound(t, id, now_s, bound, out);
    else if (id->transfer[0])
        v = login_transfer(t, id, now_s, out);
    else if (id->ntopics > 0)
        v = login_claims(t, id, out);
    else
        v = login_principal(t, id, now_s, out);
    if (v == LOGIN_OK)
        memcpy(out->separator, t->separator, sizeof(out->separator));
    else
        grant_set_clear(out);
    return v;
}

static bool ends_earlier(int64_t a, int64_t b)
{
    return a > 0 && (b == 0 || a < b);
}

/* Does now give less than was given? */
static bool narrowed(const struct grant *was, const struct grant *now)
{
    size_t i, j;

    if ((was->operations & ~now->operations) != 0 || ends_earlier(now->expires, was->expires) ||
        now->not_before > was->not_before || strcmp(was->participant, now->participant) != 0 ||
        (was->group_prefix[0] && strcmp(was->group_prefix, now->group_prefix) != 0))
        return true;
    for (i = j = 0; i < was->ntopics; i++) { /* both are sorted */
        while (j < now->ntopics && strcmp(now->topics[j], was->topics[i]) < 0)
            j++;
        if (j == now->ntopics || strcmp(now->topics[j], was->topics[i]) != 0)
            return true;
    }
    return false;
}

/* Would this token, at its next login, get another grant than these, or none, for being bound? */
static bool bound_otherwise(const struct grant_table *t, const struct identity *id,
                            const struct grant_set *s)
{
    const struct link *l;

    for (l = bound_next(t, id, NULL); l; l = bound_next(t, id, l)) {
        if (s->count != 1 || strcmp(s->at[0]->id, l->entry->grant->id) != 0)
            return true;
    }
    return false;
}

/* A grant that binds tokens is for those, and for tokens that name it. */
static bool for_this_token(const struct grant *g, const struct identity *id)
{
    size_t i;

    if (g->ntokens == 0 || strcmp(g->id, id->transfer) == 0)
        return true;
    for (i = 0; i < g->ntokens; i++) {
        if (id->jti[0] && strcmp(g->tokens[i], id->jti) == 0)
            return true;
    }
    return false;
}

bool grant_table_allows(const struct grant_table *t, const struct identity *id,
                        const struct grant_set *s)
{
    unsigned i;

    if (grant_table_bars(t, id) || bound_otherwise(t, id, s))
        return false;
    if (t->separator[0] && strcmp(t->separator, s->separator) != 0)
        return false;
    for (i = 0; i < s->count; i++) {
        const struct grant *g = s->at[i];
        const struct entry *e = g->id[0] ? entry_find(t, g->id) : NULL;

        if (e) {
            if (!principal_matches(e->grant, id) || !for_this_token(e->grant, id) ||
                ended(t, id, e->grant) || (e->grant != g && narrowed(g, e->grant)))
                return false;
        } else if (g->source != GRANT_FROM_CLAIMS || ended(t, id, g)) {
            return false;
        }
    }
    return true;
}

const char *grant_state_name(enum grant_state s)
{
    switch (s) {
    case GRANT_ACTIVE:
        return "active";
    case GRANT_NOT_YET:
        return "not yet";
    case GRANT_EXPIRED:
        return "expired";
    case GRANT_BARRED:
        return "barred";
    }
    return "unknown";
}

const char *login_verdict_name(enum login_verdict v)
{
    switch (v) {
    case LOGIN_OK:
        return "ok";
    case LOGIN_REVOKED:
        return "revoked";
    case LOGIN_NO_GRANT:
        return "no grant";
    case LOGIN_EXPIRED:
        return "expired";
    case LOGIN_NOT_YET:
        return "not yet valid";
    case LOGIN_AMBIGUOUS:
        return "ambiguous grant";
    case LOGIN_RESOURCES:
        return "out of memory";
    }
    return "unknown";
}
