#include "base/arena.h"

#include <stdalign.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"

#define ARENA_ALIGN     alignof(max_align_t)
#define BLOCK_MIN_BYTES 1024u
#define BLOCK_MAX_BYTES 65536u

struct arena_block {
    struct arena_block *next; /* older */
    size_t cap, used;
    alignas(max_align_t) unsigned char data[];
};

void arena_init(struct arena *a, size_t limit_bytes)
{
    *a = (struct arena){.limit_bytes = limit_bytes};
}

static void free_chain(struct arena_block *b)
{
    while (b) {
        struct arena_block *next = b->next;
        sl_unpoison(b->data, b->cap);
        sl_free(b);
        b = next;
    }
}

void arena_release(struct arena *a)
{
    free_chain(a->head);
    a->head = NULL;
    a->used_bytes = 0;
}

void arena_clear(struct arena *a)
{
    a->used_bytes = 0;
    if (!a->head)
        return;
    free_chain(a->head->next);
    a->head->next = NULL;
    a->head->used = 0;
    sl_poison(a->head->data, a->head->cap);
    /* One giant message must not leave its block behind for good. */
    if (a->head->cap > BLOCK_MAX_BYTES)
        arena_release(a);
}

static struct arena_block *block_new(size_t cap)
{
    struct arena_block *b = sl_malloc(sizeof(*b) + cap);
    if (!b)
        return NULL;
    b->next = NULL;
    b->cap = cap;
    b->used = 0;
    sl_poison(b->data, cap);
    return b;
}

/* A block with room for n. What is larger than half a block gets one of its own behind the head,
 * so that the head's room isn't lost for the small ones that follow. */
static struct arena_block *block_for(struct arena *a, size_t n)
{
    struct arena_block *head = a->head;
    if (head && head->cap - head->used >= n)
        return head;
    size_t cap = head ? head->cap * 2 : BLOCK_MIN_BYTES;
    if (cap > BLOCK_MAX_BYTES)
        cap = BLOCK_MAX_BYTES;
    bool own = head && n > cap / 2;
    struct arena_block *b = block_new(own || n > cap ? n : cap);
    if (!b)
        return NULL;
    if (own) {
        b->next = head->next;
        head->next = b;
    } else {
        b->next = head;
        a->head = b;
    }
    return b;
}

void arena_reserve(struct arena *a, size_t n)
{
    struct arena_block *b = a->head;

    if (n > BLOCK_MAX_BYTES || (b && b->cap - b->used >= n))
        return;
    b = block_new(n < BLOCK_MIN_BYTES ? BLOCK_MIN_BYTES : n);
    if (!b)
        return;
    b->next = a->head;
    a->head = b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n == 0)
        n = 1;
    if (n > SIZE_MAX - sizeof(struct arena_block) - ARENA_ALIGN)
        return NULL;
    size_t room = (n + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
    if (a->used_bytes > a->limit_bytes || room > a->limit_bytes - a->used_bytes)
        return NULL;
    struct arena_block *b = block_for(a, room);
    if (!b)
        return NULL;
    unsigned char *p = b->data + b->used;
    b->used += room;
    a->used_bytes += room;
    sl_unpoison(p, n);
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);
    return p ? memset(p, 0, n) : NULL;
}

char *arena_dup(struct arena *a, const void *p, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *copy = arena_alloc(a, n + 1);
    if (!copy)
        return NULL;
    if (n)
        memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}
