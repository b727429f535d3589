/* A bounded ring of lines between one producing thread and the writer: single producer, single
 * consumer, lock-free. Positions only grow; a line is a 4-byte length and its bytes, wrapped at the
 * end. Made by the producer's side, freed by the consumer once it is closed and empty. */
#ifndef AUDIT_RING_H
#define AUDIT_RING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit/audit.h"

#define RING_CACHE_LINE 64

struct audit_ring {
    alignas(RING_CACHE_LINE) atomic_size_t head; /* producer: bytes put so far */
    struct audit *audit;
    struct audit_ring *next;                     /* of the writer's list, under its lock */
    atomic_bool closed;                          /* the producer is gone */
    alignas(RING_CACHE_LINE) atomic_size_t tail; /* consumer: bytes taken so far */
    char scratch[AUDIT_LINE_MAX];                /* producer: the line being encoded */
    char bytes[AUDIT_RING_BYTES];
};

void ring_init(struct audit_ring *r);
/* False when there is no room. Producer. */
bool ring_put(struct audit_ring *r, const char *line, size_t n);
/* The oldest line, copied to out (AUDIT_LINE_MAX at least); 0 when there is none. Consumer. */
size_t ring_take(struct audit_ring *r, char *out);
bool ring_empty(struct audit_ring *r);

#endif
