/* Lingering close, for the HTTP server. evhttp refuses a body or a header that is too long as soon
 * as it sees so, and closes behind its answer. When a socket is closed while bytes that were not
 * read are there or still come, the kernel sends a reset, and a reset may destroy the answer before
 * the client has read it (RFC 9112, 9.6). So such a connection is held: when the answer has left
 * and evhttp has ended its side, what still comes is dropped, up to LINGER_BYTES_MAX and LINGER_S,
 * until the client closes. Above LINGERS_MAX such connections at a time the next ones are closed at
 * once. Held, not duplicated: with a second descriptor, closing the first would leave it in the
 * epoll set, since libevent takes it out a moment later.
 *
 * One list for all servers, which belong to one thread: the control thread. */
#ifndef CONTROL_LINGER_H
#define CONTROL_LINGER_H

#include <stddef.h>

#define LINGERS_MAX      32
#define LINGER_BYTES_MAX ((size_t)128 * 1024 * 1024)
#define LINGER_S         10

struct bufferevent;
struct event_base;

/* From now on an answer of 400 or above that goes out through this connection is the last one. The
 * bufferevent closes its socket when it is freed (BEV_OPT_CLOSE_ON_FREE). Without memory for that
 * it is closed as if it were not watched. */
void linger_watch(struct bufferevent *bev);
/* And now not: answers to requests that were read to their end, after which a connection may go
 * on. */
void linger_unwatch(struct bufferevent *bev);
/* Closes what lingers in this loop. */
void linger_end(struct event_base *base);

#endif
