#include "audit/ring.h"

#include <string.h>

#define LENGTH_BYTES sizeof(uint32_t)
_Static_assert((AUDIT_RING_BYTES & (AUDIT_RING_BYTES - 1)) == 0, "positions wrap by a mask");
_Static_assert(AUDIT_LINE_MAX + LENGTH_BYTES < AUDIT_RING_BYTES, "a line fits");

void ring_init(struct audit_ring *r)
{
    atomic_init(&r->head, 0);
    atomic_init(&r->tail, 0);
    atomic_init(&r->closed, false);
}

static void copy_in(struct audit_ring *r, size_t at, const void *p, size_t n)
{
    size_t start = at & (AUDIT_RING_BYTES - 1);
    size_t first = AUDIT_RING_BYTES - start < n ? AUDIT_RING_BYTES - start : n;
    memcpy(r->bytes + start, p, first);
    memcpy(r->bytes, (const char *)p + first, n - first);
}

static void copy_out(const struct audit_ring *r, size_t at, void *p, size_t n)
{
    size_t start = at & (AUDIT_RING_BYTES - 1);
    size_t first = AUDIT_RING_BYTES - start < n ? AUDIT_RING_BYTES - start : n;
    memcpy(p, r->bytes + start, first);
    memcpy((char *)p + first, r->bytes, n - first);
}

bool ring_put(struct audit_ring *r, const char *line, size_t n)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    uint32_t length = (uint32_t)n;
    if (AUDIT_RING_BYTES - (head - tail) < n + LENGTH_BYTES)
        return false;
    copy_in(r, head, &length, LENGTH_BYTES);
    copy_in(r, head + LENGTH_BYTES, line, n);
    /* Sequentially consistent, with the writer's flag: see audit_wake. */
    atomic_store(&r->head, head + LENGTH_BYTES + n);
    return true;
}

bool ring_empty(struct audit_ring *r)
{
    return atomic_load(&r->head) == atomic_load_explicit(&r->tail, memory_order_relaxed);
}

size_t ring_take(struct audit_ring *r, char *out)
{
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint32_t length;
    if (ring_empty(r))
        return 0;
    copy_out(r, tail, &length, LENGTH_BYTES);
    copy_out(r, tail + LENGTH_BYTES, out, length);
    atomic_store_explicit(&r->tail, tail + LENGTH_BYTES + length, memory_order_release);
    return length;
}
