#include "proxy/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mailbox.h"
#include "proxy/peers.h"

struct worker {
    unsigned index;
    struct loop *loop;
    struct mailbox *mailbox;
    worker_accept_fn *on_accept;
    void *arg;
    struct peers *peers;
    atomic_uint sessions;
    pthread_t thread;
    struct mail stop;
    atomic_flag stop_posted;
    bool started, ended;
};

struct handover {
    struct mail mail;
    int fd;
    struct sockaddr_storage peer;
};

static void on_stop(void *receiver, struct mail *m)
{
    (void)m;
    struct worker *w = receiver;
    loop_stop(w->loop);
}

struct worker *worker_new(unsigned index)
{
    struct worker *w = sl_calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->index = index;
    w->stop.deliver = on_stop;
    atomic_flag_clear(&w->stop_posted);
    w->loop = loop_new();
    w->mailbox = w->loop ? mailbox_new(w->loop, w) : NULL;
    if (!w->mailbox) {
        loop_free(w->loop);
        sl_free(w);
        return NULL;
    }
    return w;
}

void worker_set(struct worker *w, worker_accept_fn *on_accept, void *arg)
{
    w->on_accept = on_accept;
    w->arg = arg;
}

struct loop *worker_loop(struct worker *w)
{
    return w->loop;
}

struct mailbox *worker_mailbox(struct worker *w)
{
    return w->mailbox;
}

unsigned worker_index(const struct worker *w)
{
    return w->index;
}

static void *run(void *arg)
{
    struct worker *w = arg;
    if (loop_run(w->loop) != OK)
        log_error("worker", "the event loop of worker %u failed", w->index);
    while (mailbox_wait(w->mailbox, 0) == OK)
        ;
    buf_thread_trim();
    return NULL;
}

int worker_start(struct worker *w)
{
    sigset_t all, before;
    char name[16];
    (void)sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return ERR_BUSY;
    int err = pthread_create(&w->thread, NULL, run, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err)
        return ERR_BUSY;
    w->started = true;
    (void)snprintf(name, sizeof(name), "worker-%u", w->index);
    (void)pthread_setname_np(w->thread, name);
    return OK;
}

void worker_stop(struct worker *w)
{
    if (atomic_flag_test_and_set(&w->stop_posted))
        return;
    if (mailbox_post(w->mailbox, &w->stop) != OK)
        loop_stop(w->loop); /* the box is full: then at once */
}

void worker_join(struct worker *w)
{
    if (w->started)
        pthread_join(w->thread, NULL);
    w->started = false;
    w->ended = true;
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    w->ended = true;
    mailbox_free(w->mailbox);
    loop_free(w->loop);
    peers_unref(w->peers);
    sl_free(w);
}

unsigned worker_sessions(const struct worker *w)
{
    return atomic_load_explicit(&w->sessions, memory_order_relaxed);
}

void worker_session_ended(struct worker *w, const struct sockaddr_storage *peer)
{
    atomic_fetch_sub_explicit(&w->sessions, 1, memory_order_relaxed);
    if (w->peers)
        peers_leave(w->peers, peer);
}

void worker_count_peers(struct worker *w, struct peers *p)
{
    peers_unref(w->peers);
    w->peers = peers_ref(p);
}

static void on_handover(void *receiver, struct mail *m)
{
    struct worker *w = receiver;
    struct handover *h = (struct handover *)(void *)m;
    if (w->on_accept && !w->ended) {
        w->on_accept(w->arg, h->fd, &h->peer);
    } else {
        close(h->fd);
        worker_session_ended(w, &h->peer);
    }
    sl_free(h);
}

int worker_hand_over(struct worker *w, int fd, const struct sockaddr_storage *peer)
{
    struct handover *h = sl_malloc(sizeof(*h));
    if (!h)
        return ERR_NOMEM;
    *h = (struct handover){.mail.deliver = on_handover, .fd = fd, .peer = *peer};
    /* Counted before the worker can know of it, so that the count never runs below zero. */
    atomic_fetch_add_explicit(&w->sessions, 1, memory_order_relaxed);
    int err = mailbox_post(w->mailbox, &h->mail);
    if (err) {
        atomic_fetch_sub_explicit(&w->sessions, 1, memory_order_relaxed);
        sl_free(h);
    }
    return err;
}
