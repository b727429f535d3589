#include "base/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/loop.h"

struct mailbox {
    pthread_mutex_t lock; /* over head, last, count */
    struct mail *head, *last;
    unsigned count;
    int fd; /* eventfd: readable while there may be mail */
    struct loop *loop;
    struct loop_io *io;
    struct loop_urgent urgent; /* due while there may be mail */
    void *receiver;
};

/* Delivers what is there now. Mail that comes meanwhile wakes the receiver again. */
static unsigned deliver_all(struct mailbox *mb)
{
    eventfd_t woken;
    (void)eventfd_read(mb->fd, &woken); /* first, so that no later post goes unnoticed */
    pthread_mutex_lock(&mb->lock);
    atomic_store_explicit(&mb->urgent.due, false, memory_order_relaxed);
    struct mail *m = mb->head;
    mb->head = mb->last = NULL;
    mb->count = 0;
    pthread_mutex_unlock(&mb->lock);
    unsigned delivered = 0;
    while (m) {
        struct mail *next = m->next;
        m->next = NULL;
        m->deliver(mb->receiver, m);
        m = next;
        delivered++;
    }
    return delivered;
}

static void on_mail(void *arg, unsigned ready)
{
    (void)ready;
    (void)deliver_all(arg);
}

static void on_urgent(void *arg)
{
    (void)deliver_all(arg);
}

struct mailbox *mailbox_new(struct loop *l, void *receiver)
{
    struct mailbox *mb = sl_calloc(1, sizeof(*mb));
    if (!mb)
        return NULL;
    mb->receiver = receiver;
    mb->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (mb->fd < 0)
        goto no_fd;
    if (pthread_mutex_init(&mb->lock, NULL) != 0)
        goto no_lock;
    if (l) {
        mb->io = loop_io_new(l, mb->fd, on_mail, mb);
        if (!mb->io || loop_io_want(mb->io, LOOP_READ) != OK)
            goto no_io;
        mb->loop = l;
        mb->urgent.fn = on_urgent;
        mb->urgent.arg = mb;
        loop_urgent_begin(l, &mb->urgent);
    }
    return mb;
no_io:
    loop_io_free(mb->io);
    pthread_mutex_destroy(&mb->lock);
no_lock:
    close(mb->fd);
no_fd:
    sl_free(mb);
    return NULL;
}

void mailbox_free(struct mailbox *mb)
{
    if (!mb)
        return;
    while (deliver_all(mb) > 0)
        ;
    loop_io_free(mb->io);
    if (mb->loop)
        loop_urgent_end(mb->loop, &mb->urgent);
    pthread_mutex_destroy(&mb->lock);
    close(mb->fd);
    sl_free(mb);
}

int mailbox_post(struct mailbox *mb, struct mail *m)
{
    m->next = NULL;
    pthread_mutex_lock(&mb->lock);
    if (mb->count >= MAILBOX_MAX) {
        pthread_mutex_unlock(&mb->lock);
        return ERR_LIMIT;
    }
    bool first = mb->count++ == 0;
    if (first)
        mb->head = m;
    else
        mb->last->next = m;
    mb->last = m;
    /* Inside the lock: once it is open, the receiver may deliver this mail and free the box. */
    atomic_store_explicit(&mb->urgent.due, true, memory_order_relaxed);
    if (first)
        (void)eventfd_write(mb->fd, 1);
    pthread_mutex_unlock(&mb->lock);
    return OK;
}

static int64_t clock_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int mailbox_wait(struct mailbox *mb, int timeout_ms)
{
    int64_t end_ms = clock_ms() + timeout_ms;
    int left_ms = timeout_ms;
    for (;;) {
        struct pollfd p = {.fd = mb->fd, .events = POLLIN};
        int n = poll(&p, 1, left_ms);
        if (n < 0 && errno != EINTR)
            return ERR_IO;
        if (n > 0 && deliver_all(mb) > 0)
            return OK;
        if (timeout_ms < 0)
            continue;
        int64_t now_ms = clock_ms();
        if (now_ms >= end_ms)
            return ERR_TIMEOUT;
        left_ms = (int)(end_ms - now_ms);
    }
}
