#include "control/linger.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "base/alloc.h"

/* What is dropped before others have their turn. */
#define LINGER_TURN_BYTES ((size_t)1024 * 1024)

struct lingering {
    struct lingering *next, **prev;
    struct bufferevent *bev; /* counted: its socket stays open when evhttp is done with it */
    struct event *readable, *timer;
    size_t dropped;
};

/* evhttp tells nobody when a connection ends that got no further than this, so there is no better
 * place to keep them. */
static struct lingering *lingers;
static unsigned count;

static void linger_free(struct lingering *l)
{
    *l->prev = l->next;
    if (l->next)
        l->next->prev = l->prev;
    count--;
    if (l->readable)
        event_free(l->readable);
    if (l->timer)
        event_free(l->timer);
    (void)bufferevent_decref(l->bev);
    sl_free(l);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    linger_free(arg);
}

/* With MSG_TRUNC, TCP drops bytes without copying them (tcp(7)). */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct lingering *l = arg;
    size_t turn = 0;

    (void)what;
    (void)bufferevent_disable(l->bev, EV_READ | EV_WRITE); /* evhttp left it reading */
    while (turn < LINGER_TURN_BYTES && l->dropped < LINGER_BYTES_MAX) {
        ssize_t n = recv(fd, NULL, LINGER_TURN_BYTES - turn, MSG_TRUNC | MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            linger_free(l);
            return;
        }
        turn += (size_t)n;
        l->dropped += (size_t)n;
    }
    if (l->dropped >= LINGER_BYTES_MAX)
        linger_free(l);
}

static struct lingering *linger_of(const struct bufferevent *bev)
{
    struct lingering *l = lingers;

    while (l && l->bev != bev)
        l = l->next;
    return l;
}

static void linger_begin(struct bufferevent *bev)
{
    const struct timeval patience = {.tv_sec = LINGER_S};
    struct event_base *base = bufferevent_get_base(bev);
    struct lingering *l = count < LINGERS_MAX ? sl_calloc(1, sizeof(*l)) : NULL;

    if (!l)
        return;
    l->next = lingers;
    l->prev = &lingers;
    if (l->next)
        l->next->prev = &l->next;
    lingers = l;
    count++;
    l->bev = bev;
    bufferevent_incref(bev);
    l->readable = event_new(base, bufferevent_getfd(bev), EV_READ | EV_PERSIST, on_readable, l);
    l->timer = event_new(base, -1, 0, on_time, l);
    if (!l->readable || !l->timer || event_add(l->timer, &patience) != 0)
        linger_free(l);
}

/* The kernel has the answer; evhttp ends its side when this returns. */
static void linger_answered(struct lingering *l)
{
    if (event_add(l->readable, NULL) != 0)
        linger_free(l);
}

static bool is_refusal(struct evbuffer *out)
{
    char line[sizeof("HTTP/1.1 413") - 1];

    return evbuffer_copyout(out, line, sizeof(line)) == (ssize_t)sizeof(line) &&
           memcmp(line, "HTTP/", 5) == 0 && line[9] >= '4';
}

static void on_output(struct evbuffer *out, const struct evbuffer_cb_info *info, void *arg)
{
    struct lingering *l;

    if (info->n_added > 0 && info->orig_size == 0 && is_refusal(out))
        linger_begin(arg);
    if (info->n_deleted > 0 && evbuffer_get_length(out) == 0 && (l = linger_of(arg)))
        linger_answered(l);
}

void linger_watch(struct bufferevent *bev)
{
    (void)!evbuffer_add_cb(bufferevent_get_output(bev), on_output, bev);
}

void linger_unwatch(struct bufferevent *bev)
{
    (void)!evbuffer_remove_cb(bufferevent_get_output(bev), on_output, bev);
}

void linger_end(struct event_base *base)
{
    struct lingering *next;

    for (struct lingering *l = lingers; l; l = next) {
        next = l->next;
        if (bufferevent_get_base(l->bev) == base)
            linger_free(l);
    }
}
