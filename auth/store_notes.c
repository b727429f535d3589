#include "auth/store_notes.h"

#include <openssl/crypto.h>
#include <stdint.h>
#include <string.h>

#include "auth/store.h"
#include "auth/text.h"

#define BUCKETS_FIRST 64

struct held {
    struct held *next;
    uint64_t hash;
    struct note note;
};

struct notes {
    struct held **buckets;
    size_t size; /* a power of two */
    size_t count, bytes;
};

static void text_free(char *text)
{
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    sl_free(text);
}

static bool note_init(struct note *n, const char *kind, const char *id, const char *text)
{
    n->kind = text_dup(kind);
    n->id = text_dup(id);
    n->text = text ? text_dup(text) : NULL;
    return n->kind && n->id && (n->text || !text);
}

static void note_clear(struct note *n)
{
    sl_free(n->kind);
    sl_free(n->id);
    text_free(n->text);
}

struct note *note_new(const char *kind, const char *id, const char *text)
{
    struct note *n = sl_calloc(1, sizeof(*n));

    if (n && !note_init(n, kind, id, text)) {
        note_free(n);
        return NULL;
    }
    return n;
}

void note_free(struct note *n)
{
    if (!n)
        return;
    note_clear(n);
    sl_free(n);
}

struct notes *notes_new(void)
{
    struct notes *all = sl_calloc(1, sizeof(*all));

    if (!all)
        return NULL;
    all->size = BUCKETS_FIRST;
    all->buckets = sl_calloc(all->size, sizeof(struct held *));
    if (!all->buckets) {
        sl_free(all);
        return NULL;
    }
    return all;
}

static void held_free(struct held *h)
{
    note_clear(&h->note);
    sl_free(h);
}

void notes_free(struct notes *all)
{
    size_t i;

    if (!all)
        return;
    for (i = 0; i < all->size; i++) {
        while (all->buckets[i]) {
            struct held *h = all->buckets[i];

            all->buckets[i] = h->next;
            held_free(h);
        }
    }
    sl_free(all->buckets);
    sl_free(all);
}

/* FNV-1a; the NULs are part of it, so that kind and id do not run together. */
static uint64_t hash_of(const char *kind, const char *id)
{
    const char *texts[2] = {kind, id};
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    int i;

    for (i = 0; i < 2; i++) {
        const unsigned char *p = (const unsigned char *)texts[i];

        do {
            h = (h ^ *p) * UINT64_C(0x100000001b3);
        } while (*p++);
    }
    return h;
}

static struct held **bucket(const struct notes *all, uint64_t hash)
{
    return &all->buckets[(hash ^ hash >> 32) & (all->size - 1)];
}

/* Where the note hangs, or where its chain ends. */
static struct held **place(const struct notes *all, const char *kind, const char *id)
{
    uint64_t hash = hash_of(kind, id);
    struct held **at = bucket(all, hash);

    while (*at && ((*at)->hash != hash || strcmp((*at)->note.kind, kind) != 0 ||
                   strcmp((*at)->note.id, id) != 0))
        at = &(*at)->next;
    return at;
}

/* Without memory the chains grow longer. */
static void grow(struct notes *all)
{
    struct notes wider = {.size = all->size * 2, .count = all->count, .bytes = all->bytes};
    size_t i;

    wider.buckets = sl_calloc(wider.size, sizeof(struct held *));
    if (!wider.buckets)
        return;
    for (i = 0; i < all->size; i++) {
        while (all->buckets[i]) {
            struct held *h = all->buckets[i];
            struct held **to = bucket(&wider, h->hash);

            all->buckets[i] = h->next;
            h->next = *to;
            *to = h;
        }
    }
    sl_free(all->buckets);
    *all = wider;
}

int note_check(const char *kind, const char *id, const char *text)
{
    if (!kind[0] || strlen(kind) > STORE_NOTE_KIND_MAX || !id[0] || strlen(id) > STORE_NOTE_ID_MAX)
        return ERR_MALFORMED;
    return text && strlen(text) > STORE_NOTE_BYTES_MAX ? ERR_LIMIT : OK;
}

static void forget(struct notes *all, struct held **at)
{
    struct held *h = *at;

    if (!h)
        return;
    *at = h->next;
    all->count--;
    all->bytes -= strlen(h->note.text);
    held_free(h);
}

static int replace(struct notes *all, struct held *h, const char *text)
{
    char *copy = text_dup(text);

    if (!copy)
        return ERR_NOMEM;
    all->bytes += strlen(copy) - strlen(h->note.text);
    text_free(h->note.text);
    h->note.text = copy;
    return OK;
}

static int add(struct notes *all, const char *kind, const char *id, const char *text)
{
    struct held *h = sl_calloc(1, sizeof(*h));
    struct held **to;

    if (!h)
        return ERR_NOMEM;
    if (!note_init(&h->note, kind, id, text)) {
        held_free(h);
        return ERR_NOMEM;
    }
    if (all->count >= all->size)
        grow(all);
    h->hash = hash_of(kind, id);
    to = bucket(all, h->hash);
    h->next = *to;
    *to = h;
    all->count++;
    all->bytes += strlen(text);
    return OK;
}

int notes_put(struct notes *all, const char *kind, const char *id, const char *text)
{
    struct held **at = place(all, kind, id);
    size_t had = *at ? strlen((*at)->note.text) : 0;
    int rc = note_check(kind, id, text);

    if (rc != OK)
        return rc;
    if (!text) {
        forget(all, at);
        return OK;
    }
    if ((!*at && all->count >= STORE_NOTES_MAX) ||
        all->bytes - had + strlen(text) > STORE_NOTES_BYTES_MAX)
        return ERR_LIMIT;
    return *at ? replace(all, *at, text) : add(all, kind, id, text);
}

const char *notes_find(const struct notes *all, const char *kind, const char *id)
{
    struct held *const *at = place(all, kind, id);

    return *at ? (*at)->note.text : NULL;
}

void notes_each(const struct notes *all, const char *kind,
                void (*fn)(void *arg, const char *id, const char *text), void *arg)
{
    const struct held *h;
    size_t i;

    for (i = 0; i < all->size; i++) {
        for (h = all->buckets[i]; h; h = h->next) {
            if (strcmp(h->note.kind, kind) == 0)
                fn(arg, h->note.id, h->note.text);
        }
    }
}

void notes_all(const struct notes *all,
               void (*fn)(void *arg, const char *kind, const char *id, const char *text), void *arg)
{
    const struct held *h;
    size_t i;

    for (i = 0; i < all->size; i++) {
        for (h = all->buckets[i]; h; h = h->next)
            fn(arg, h->note.kind, h->note.id, h->note.text);
    }
}
