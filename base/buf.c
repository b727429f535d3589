#include "base/buf.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"

/* A tail with less room than this gets a second chunk beside it for a read. */
#define ROOM_MIN(cap) ((cap) / 4)

struct chunk {
    struct chunk *next; /* in the pool */
    uint32_t refs;      /* segments and tails that hold it */
    uint32_t cap, used;
    uint8_t data[];
};

static _Thread_local struct {
    struct chunk *small, *large;
    struct seg *segs;
    unsigned small_count, large_count, seg_count;
    size_t alive_bytes;
} pool;

static struct chunk *chunk_new(bool large)
{
    uint32_t cap = large ? BUF_CHUNK_LARGE_BYTES : BUF_CHUNK_SMALL_BYTES;
    struct chunk **list = large ? &pool.large : &pool.small;
    struct chunk *c = *list;
    if (c) {
        *list = c->next;
        *(large ? &pool.large_count : &pool.small_count) -= 1;
        sl_unpoison(c->data, cap);
    } else {
        c = sl_malloc(sizeof(*c) + cap);
        if (!c)
            return NULL;
        c->cap = cap;
    }
    c->next = NULL;
    c->refs = 1;
    c->used = 0;
    pool.alive_bytes += cap;
    return c;
}

static void chunk_put(struct chunk *c)
{
    assert(c->refs > 0);
    if (--c->refs)
        return;
    pool.alive_bytes -= c->cap;
    bool large = c->cap == BUF_CHUNK_LARGE_BYTES;
    unsigned *count = large ? &pool.large_count : &pool.small_count;
    if (*count >= (large ? BUF_POOL_CHUNKS_LARGE : BUF_POOL_CHUNKS)) {
        sl_free(c);
        return;
    }
    struct chunk **list = large ? &pool.large : &pool.small;
    c->next = *list;
    *list = c;
    ++*count;
    sl_poison(c->data, c->cap);
}

/* Takes over one reference of the chunk. */
static struct seg *seg_new(struct chunk *c, uint32_t off, uint32_t len)
{
    struct seg *s = pool.segs;
    if (s) {
        sl_unpoison(s, sizeof(*s));
        pool.segs = s->next;
        pool.seg_count--;
    } else {
        s = sl_malloc(sizeof(*s));
        if (!s)
            return NULL;
    }
    *s = (struct seg){.chunk = c, .off = off, .len = len};
    return s;
}

static void seg_free(struct seg *s)
{
    chunk_put(s->chunk);
    if (pool.seg_count >= BUF_POOL_SEGS) {
        sl_free(s);
        return;
    }
    s->next = pool.segs;
    pool.segs = s;
    pool.seg_count++;
    sl_poison(s, sizeof(*s));
}

/* A new segment with an empty chunk of its own. */
static struct seg *seg_with_chunk(bool large)
{
    struct chunk *c = chunk_new(large);
    if (!c)
        return NULL;
    struct seg *s = seg_new(c, 0, 0);
    if (!s)
        chunk_put(c);
    return s;
}

static void link_last(struct buf *b, struct seg *s)
{
    if (b->last)
        b->last->next = s;
    else
        b->first = s;
    b->last = s;
    b->len += s->len;
}

static void drop_tail(struct buf *b)
{
    if (b->tail)
        chunk_put(b->tail);
    b->tail = NULL;
}

static void drop_spare(struct buf *b)
{
    if (b->spare)
        seg_free(b->spare);
    b->spare = NULL;
}

static size_t tail_room(const struct buf *b)
{
    return b->tail ? b->tail->cap - b->tail->used : 0;
}

/* Whether the tail's free bytes come right behind the last segment. */
static bool tail_adjoins(const struct buf *b)
{
    return b->tail && b->last && b->last->chunk == b->tail &&
           b->last->off + b->last->len == b->tail->used;
}

/* The last segment's chunk becomes the tail, when it is new and this buf's alone. */
static void set_tail(struct buf *b, struct chunk *c)
{
    drop_tail(b);
    if (c->used < c->cap) {
        c->refs++;
        b->tail = c;
    }
}

void buf_init(struct buf *b, size_t limit_bytes)
{
    *b = (struct buf){.limit_bytes = limit_bytes};
}

void buf_release(struct buf *b)
{
    buf_drain(b, b->len);
    drop_spare(b);
    drop_tail(b);
}

static bool fits(const struct buf *b, size_t n)
{
    return b->len <= b->limit_bytes && n <= b->limit_bytes - b->len;
}

/* Chunks of their own for n bytes, as a chain; NULL and nothing kept when memory is out. */
static struct seg *chain_of(const uint8_t *p, size_t n)
{
    struct seg *head = NULL, **end = &head;
    while (n) {
        struct seg *s = seg_with_chunk(n > 2 * (size_t)BUF_CHUNK_SMALL_BYTES);
        if (!s)
            break;
        size_t part = n < s->chunk->cap ? n : s->chunk->cap;
        memcpy(s->chunk->data, p, part);
        s->chunk->used = s->len = (uint32_t)part;
        p += part;
        n -= part;
        *end = s;
        end = &s->next;
    }
    while (n && head) {
        struct seg *next = head->next;
        seg_free(head);
        head = next;
    }
    return head;
}

int buf_append(struct buf *b, const void *p, size_t n)
{
    assert(!b->spare);
    if (n == 0)
        return OK;
    if (!fits(b, n))
        return ERR_LIMIT;
    size_t room = tail_room(b), front = n < room ? n : room;
    struct seg *chain = NULL, *extra = NULL;
    if (n > front) {
        chain = chain_of((const uint8_t *)p + front, n - front);
        if (!chain)
            return ERR_NOMEM;
    }
    if (front && !tail_adjoins(b)) {
        extra = seg_new(b->tail, b->tail->used, 0);
        if (!extra)
            goto nomem;
        b->tail->refs++;
        link_last(b, extra);
    }
    if (front) {
        memcpy(b->tail->data + b->tail->used, p, front);
        b->tail->used += (uint32_t)front;
        b->last->len += (uint32_t)front;
        b->len += front;
    }
    if (chain) {
        while (chain) {
            struct seg *next = chain->next;
            chain->next = NULL;
            link_last(b, chain);
            chain = next;
        }
        set_tail(b, b->last->chunk);
    } else if (tail_room(b) == 0) {
        drop_tail(b);
    }
    return OK;
nomem:
    while (chain) {
        struct seg *next = chain->next;
        seg_free(chain);
        chain = next;
    }
    return ERR_NOMEM;
}

/* All of src, behind what dst has. */
static void splice(struct buf *dst, struct buf *src)
{
    if (dst->last)
        dst->last->next = src->first;
    else
        dst->first = src->first;
    dst->last = src->last;
    dst->len += src->len;
    if (tail_room(dst) < tail_room(src)) {
        drop_tail(dst);
        dst->tail = src->tail;
        src->tail = NULL;
    }
    src->first = src->last = NULL;
    src->len = 0;
    drop_tail(src);
}

int buf_move(struct buf *dst, struct buf *src)
{
    assert(dst != src && !dst->spare && !src->spare);
    if (src->len == 0)
        return OK;
    if (!fits(dst, src->len))
        return ERR_LIMIT;
    splice(dst, src);
    return OK;
}

int buf_move_n(struct buf *dst, struct buf *src, size_t n)
{
    assert(dst != src && n <= src->len && !dst->spare && !src->spare);
    if (n == src->len)
        return buf_move(dst, src);
    if (!fits(dst, n))
        return ERR_LIMIT;
    /* The one allocation comes first: the segment that is cut in two. */
    size_t whole = 0;
    struct seg *s = src->first, *before = NULL;
    while (whole + s->len <= n) {
        whole += s->len;
        before = s;
        s = s->next;
    }
    uint32_t part = (uint32_t)(n - whole);
    struct seg *cut = NULL;
    if (part) {
        cut = seg_new(s->chunk, s->off, part);
        if (!cut)
            return ERR_NOMEM;
        s->chunk->refs++;
        s->off += part;
        s->len -= part;
    }
    if (before) {
        if (dst->last)
            dst->last->next = src->first;
        else
            dst->first = src->first;
        dst->last = before;
        before->next = NULL;
        dst->len += whole;
        src->first = s;
    }
    if (cut)
        link_last(dst, cut);
    src->len -= n;
    return OK;
}

int buf_gather(struct buf *dst, struct buf *src, size_t n)
{
    assert(dst != src && n <= src->len && !dst->spare && !src->spare);
    if (!dst->tail || n > BUF_GATHER_BYTES || (n > BUF_CHUNK_SMALL_BYTES && n > tail_room(dst)))
        return buf_move_n(dst, src, n);
    if (!fits(dst, n))
        return ERR_LIMIT;
    while (n > 0) {
        const struct seg *s = src->first;
        size_t part = s->len < n ? s->len : n;
        int err = buf_append(dst, s->chunk->data + s->off, part);
        if (err)
            return err;
        buf_drain(src, part);
        n -= part;
    }
    return OK;
}

/* The segment that holds offset off < len; *off becomes the offset in it. */
static struct seg *seg_at(const struct buf *b, size_t *off)
{
    struct seg *s = b->first;
    while (*off >= s->len) {
        *off -= s->len;
        s = s->next;
    }
    return s;
}

int buf_share(struct buf *dst, const struct buf *src, size_t off, size_t n)
{
    assert(dst != src && off <= src->len && n <= src->len - off && !dst->spare);
    if (n == 0)
        return OK;
    if (!fits(dst, n))
        return ERR_LIMIT;
    struct buf fresh;
    buf_init(&fresh, n);
    for (struct seg *s = seg_at(src, &off); n; s = s->next) {
        size_t part = s->len - off < n ? s->len - off : n;
        struct seg *copy = seg_new(s->chunk, s->off + (uint32_t)off, (uint32_t)part);
        if (!copy) {
            buf_release(&fresh);
            /* fresh.len counts its chain, so all of it is gone. NOLINTNEXTLINE(*-unix.Malloc) */
            return ERR_NOMEM;
        }
        s->chunk->refs++;
        link_last(&fresh, copy);
        n -= part;
        off = 0;
    }
    splice(dst, &fresh);
    return OK;
}

void buf_drain(struct buf *b, size_t n)
{
    assert(n <= b->len);
    b->len -= n;
    while (n) {
        struct seg *s = b->first;
        assert(s);
        if (n < s->len) {
            s->off += (uint32_t)n;
            s->len -= (uint32_t)n;
            return;
        }
        n -= s->len;
        b->first = s->next;
        seg_free(s);
    }
    if (b->len == 0) {
        assert(!b->first); /* no segment is empty */
        b->last = NULL;
        drop_tail(b);
    }
}

void buf_copy_out(const struct buf *b, size_t off, void *out, size_t n)
{
    assert(off <= b->len && n <= b->len - off);
    if (n == 0)
        return;
    uint8_t *to = out;
    for (const struct seg *s = seg_at(b, &off); n; s = s->next) {
        size_t part = s->len - off < n ? s->len - off : n;
        memcpy(to, s->chunk->data + s->off + off, part);
        to += part;
        n -= part;
        off = 0;
    }
}

void buf_overwrite(struct buf *b, size_t off, const void *p, size_t n)
{
    assert(off <= b->len && n <= b->len - off);
    if (n == 0)
        return;
    const uint8_t *from = p;
    for (struct seg *s = seg_at(b, &off); n; s = s->next) {
        size_t part = s->len - off < n ? s->len - off : n;
        memcpy(s->chunk->data + s->off + off, from, part);
        from += part;
        n -= part;
        off = 0;
    }
}

const uint8_t *buf_peek(const struct buf *b, size_t off, size_t n)
{
    if (off >= b->len || n > b->len - off)
        return NULL;
    const struct seg *s = seg_at(b, &off);
    return n <= s->len - off ? s->chunk->data + s->off + off : NULL;
}

int buf_reserve(struct buf *b, bool large, struct iovec iov[2])
{
    drop_spare(b);
    if (b->len >= b->limit_bytes)
        return ERR_LIMIT;
    size_t allowed = b->limit_bytes - b->len,
           want = large ? BUF_CHUNK_LARGE_BYTES : BUF_CHUNK_SMALL_BYTES;
    if (!tail_adjoins(b))
        drop_tail(b);
    size_t room = tail_room(b);
    int count = 0;
    if (room) {
        size_t part = room < allowed ? room : allowed;
        iov[count++] = (struct iovec){b->tail->data + b->tail->used, part};
        allowed -= part;
    }
    if (allowed && room < ROOM_MIN(want)) {
        b->spare = seg_with_chunk(large);
        if (b->spare)
            iov[count++] = (struct iovec){b->spare->chunk->data, want < allowed ? want : allowed};
    }
    return count ? count : ERR_NOMEM;
}

void buf_commit(struct buf *b, size_t n)
{
    size_t room = tail_room(b), part = n < room ? n : room;
    if (part) {
        assert(tail_adjoins(b));
        b->tail->used += (uint32_t)part;
        b->last->len += (uint32_t)part;
        b->len += part;
        n -= part;
        if (tail_room(b) == 0)
            drop_tail(b);
    }
    if (n) {
        struct seg *s = b->spare;
        assert(s && n <= s->chunk->cap);
        b->spare = NULL;
        s->chunk->used = s->len = (uint32_t)n;
        link_last(b, s);
        set_tail(b, s->chunk);
    }
    drop_spare(b);
}

int buf_front(const struct buf *b, struct iovec *iov, int max)
{
    int count = 0;
    for (const struct seg *s = b->first; s && count < max; s = s->next)
        iov[count++] = (struct iovec){s->chunk->data + s->off, s->len};
    return count;
}

size_t buf_thread_bytes(void)
{
    return pool.alive_bytes;
}

static void free_chunks(struct chunk *c)
{
    while (c) {
        struct chunk *next = c->next;
        sl_unpoison(c->data, c->cap);
        sl_free(c);
        c = next;
    }
}

void buf_thread_trim(void)
{
    free_chunks(pool.small);
    free_chunks(pool.large);
    pool.small = pool.large = NULL;
    pool.small_count = pool.large_count = 0;
    while (pool.segs) {
        struct seg *s = pool.segs;
        sl_unpoison(s, sizeof(*s));
        pool.segs = s->next;
        sl_free(s);
    }
    pool.seg_count = 0;
}
