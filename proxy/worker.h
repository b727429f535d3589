/* A worker: a thread with its own loop, sessions and upstream connections, and a mailbox through
 * which everybody else talks to it.
 *
 * Made, started, stopped and freed by main, which makes the worker's gate between new and start.
 * Before start and after join everything of the worker belongs to main's thread. */
#ifndef PROXY_WORKER_H
#define PROXY_WORKER_H

#include <sys/socket.h>

#include "base/err.h"

struct loop;
struct mailbox;
struct peers;
struct worker;

/* A connection from the listener: the descriptor is non-blocking and the receiver's. Runs in the
 * worker's thread. */
typedef void worker_accept_fn(void *arg, int fd, const struct sockaddr_storage *peer);

struct worker *worker_new(unsigned index) SL_MUST;
/* Who gets the connections; before worker_start. */
void worker_set(struct worker *w, worker_accept_fn *on_accept, void *arg);
/* Mails get the worker as their receiver. */
struct loop *worker_loop(struct worker *w);
struct mailbox *worker_mailbox(struct worker *w);
unsigned worker_index(const struct worker *w);

/* Signals are blocked in the thread. ERR_BUSY: the system has no thread to give. */
int worker_start(struct worker *w) SL_MUST;
/* Any thread: the loop ends once the mail that waits now has been delivered. */
void worker_stop(struct worker *w);
/* Waits for the thread; what mail it still had has then been delivered in it. */
void worker_join(struct worker *w);
/* After worker_join, and after whatever uses its loop has been freed. A connection that was still
 * in the mailbox is closed. */
void worker_free(struct worker *w);

/* Any thread: connections that were handed over and have not ended. */
unsigned worker_sessions(const struct worker *w);
/* Exactly once for each connection that on_accept got, in the worker's thread (or main's, after
 * join): the session has ended. */
void worker_session_ended(struct worker *w, const struct sockaddr_storage *peer);

/* --- for the listener */

/* Where worker_session_ended takes back what the listener counted. Before the first connection. */
void worker_count_peers(struct worker *w, struct peers *p);
/* Hands over a connection that peers_enter has counted. On error it stays the caller's, and only
 * the caller's peers_enter must be undone. */
int worker_hand_over(struct worker *w, int fd, const struct sockaddr_storage *peer) SL_MUST;

#endif
