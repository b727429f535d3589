/* A byte queue of segments over counted chunks: how bytes travel through the gate.
 *
 *   chunk (counted)   +-----------------------------+
 *                     | used ......... | free       |
 *                     +-----------------------------+
 *   buf: seg -> seg -> seg      each seg is a range of a chunk; two bufs may hold ranges of one
 *                               chunk, so records move from a broker's socket to a client's
 *                               without a copy.
 *
 * A buf is owned by one object (a session's input, an exchange's answer) and used by one thread.
 * Chunks are counted without atomics: a chunk never leaves its worker's thread. A buf has a limit
 * given at init; what would grow it beyond fails with ERR_LIMIT and changes nothing.
 * Invariants: no segment is empty; len is the sum of the segments; a chunk is the tail of at most
 * one buf, and only that one writes behind what the chunk already holds; an empty buf holds no
 * chunk at all, so an idle connection costs no buffer.
 * Free chunks wait in a pool per thread, bounded by the BUF_POOL_* constants; a thread that used
 * bufs calls buf_thread_trim before it ends. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"

/* Small chunks hold requests and answers; large ones bulk answers read from brokers, so that a
 * 16 KiB TLS record is mostly filled from one place. */
#define BUF_CHUNK_SMALL_BYTES 4096
#define BUF_CHUNK_LARGE_BYTES 65536
/* Up to so many bytes are copied into a chunk that has room for them, instead of holding a large
 * one of their own. */
#define BUF_GATHER_BYTES 16384

/* What the pool of a thread keeps at most: 1 MiB of small and 4 MiB of large chunks. */
#define BUF_POOL_CHUNKS       256
#define BUF_POOL_CHUNKS_LARGE 64
#define BUF_POOL_SEGS         1024

struct chunk; /* base/buf.c */

struct seg {
    struct seg *next;
    struct chunk *chunk;
    uint32_t off; /* first byte in the chunk's data */
    uint32_t len;
};

struct buf {
    struct seg *first, *last;
    size_t len;
    size_t limit_bytes;
    struct chunk *tail; /* has room for appending; this buf alone may fill it */
    struct seg *spare;  /* between reserve and commit: a chunk that isn't part of the buf yet */
};

void buf_init(struct buf *b, size_t limit_bytes);
/* Drops all bytes and references. May be called twice. */
void buf_release(struct buf *b);

/* Copies n bytes to the end. */
int buf_append(struct buf *b, const void *p, size_t n) SL_MUST;
/* Moves everything of src to the end of dst, without a copy; src is empty afterwards. */
int buf_move(struct buf *dst, struct buf *src) SL_MUST;
/* Moves the first n bytes of src to the end of dst, without a copy. n <= src->len. */
int buf_move_n(struct buf *dst, struct buf *src, size_t n) SL_MUST;
/* The same for bytes that arrive bit by bit: up to BUF_CHUNK_SMALL_BYTES, and up to
 * BUF_GATHER_BYTES for which there is room, are copied behind what dst has, so that a few bytes
 * never hold a chunk of their own. After ERR_NOMEM some may have gone. */
int buf_gather(struct buf *dst, struct buf *src, size_t n) SL_MUST;
/* Appends a reference to src's bytes [off, off+n) to dst; src keeps them. */
int buf_share(struct buf *dst, const struct buf *src, size_t off, size_t n) SL_MUST;
/* Drops the first n bytes. n <= len. */
void buf_drain(struct buf *b, size_t n);

/* Copies [off, off+n) out; the range must lie inside. */
void buf_copy_out(const struct buf *b, size_t off, void *out, size_t n);
/* Overwrites [off, off+n) in place; the range must lie inside and belong to this buf alone as far
 * as the caller cares (a shared chunk changes for all that hold it). */
void buf_overwrite(struct buf *b, size_t off, const void *p, size_t n);
/* A pointer to [off, off+n) if it lies in one segment, else NULL. */
const uint8_t *buf_peek(const struct buf *b, size_t off, size_t n);

/* Room for reading into: at least one byte, at most what the limit allows, in up to two iovecs.
 * large asks for large chunks. Returns the number of iovecs, or an error. Until the commit the buf
 * may be read but not changed. */
int buf_reserve(struct buf *b, bool large, struct iovec iov[2]) SL_MUST;
/* n bytes of the last reservation have been filled. n may be 0, which gives unused chunks back. */
void buf_commit(struct buf *b, size_t n);
/* Up to max iovecs over the front, for writing. Returns how many. */
int buf_front(const struct buf *b, struct iovec *iov, int max);

/* Bytes of chunks alive in this thread: what limits on held memory are counted with. */
size_t buf_thread_bytes(void);
/* Gives the thread's pooled free chunks back. */
void buf_thread_trim(void);

#endif
