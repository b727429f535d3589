#include "proxy/listener.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"
#include "config/config.h"
#include "proxy/peers.h"
#include "proxy/worker.h"

/* A dead peer is noticed after a minute of silence and four probes. */
#define KEEPALIVE_IDLE_S     60
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_PROBES     4

/* The same complaint is logged once in so long. */
#define COMPLAINT_US UINT64_C(5000000)

struct door {
    struct listener *listener;
    int fd;
    struct loop_io *io;
};

struct complaint {
    uint64_t last_us; /* 0: never */
    unsigned held;    /* not logged since */
};

struct listener {
    struct loop *loop;
    struct loop_timer *rest;
    struct door doors[LISTENER_ADDRESSES_MAX];
    unsigned door_count;
    uint16_t port;
    struct worker **workers;
    unsigned worker_count, next; /* where the search for the least-loaded begins */
    struct peers *peers;
    atomic_uint connections_max, per_address_max;
    atomic_uint_fast64_t accepted, refused, rests;
    struct complaint full, crowded, starved;
    pthread_t thread;
    bool started;
};

/* --- accepting, in the listener's thread */

/* Whether to log now; *held is how many were not logged before. */
static bool complain(struct listener *l, struct complaint *c, unsigned *held)
{
    uint64_t now_us = loop_now_us(l->loop);
    if (c->last_us && now_us - c->last_us < COMPLAINT_US) {
        c->held++;
        return false;
    }
    *held = c->held;
    c->held = 0;
    c->last_us = now_us;
    return true;
}

static void doors_want(struct listener *l, unsigned mask)
{
    for (unsigned i = 0; i < l->door_count; i++)
        if (loop_io_want(l->doors[i].io, mask) != OK)
            log_error("listener", "the event loop refused a listening socket");
}

static void on_rested(void *arg)
{
    doors_want(arg, LOOP_READ);
}

/* Looks away for a while: level-triggered readiness would otherwise spin. */
static void rest(struct listener *l)
{
    atomic_fetch_add_explicit(&l->rests, 1, memory_order_relaxed);
    if (loop_timer_set(l->rest, LISTENER_REST_MS * UINT64_C(1000)) == OK)
        doors_want(l, 0);
}

static unsigned total_sessions(const struct listener *l)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < l->worker_count; i++)
        sum += worker_sessions(l->workers[i]);
    return sum;
}

/* Ties go round, so that idle workers share. */
static struct worker *least_loaded(struct listener *l)
{
    struct worker *best = NULL;
    assert(l->worker_count > 0);
    for (unsigned i = 0; i < l->worker_count; i++) {
        struct worker *w = l->workers[(l->next + i) % l->worker_count];
        if (!best || worker_sessions(w) < worker_sessions(best))
            best = w;
    }
    l->next = (l->next + 1) % l->worker_count;
    return best;
}

static void reset(int fd)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    close(fd);
}

static void hand_over(struct listener *l, int fd, const struct sockaddr_storage *peer)
{
    unsigned held, max = atomic_load_explicit(&l->per_address_max, memory_order_relaxed);
    int err = peers_enter(l->peers, peer, max);
    if (err == OK) {
        err = worker_hand_over(least_loaded(l), fd, peer);
        if (err != OK)
            peers_leave(l->peers, peer);
    }
    if (err == OK) {
        atomic_fetch_add_explicit(&l->accepted, 1, memory_order_relaxed);
        return;
    }
    atomic_fetch_add_explicit(&l->refused, 1, memory_order_relaxed);
    reset(fd);
    if (complain(l, &l->crowded, &held))
        log_warn("listener",
                 "a connection was refused: %s (%u connections an address; %u more "
                 "refused before)",
                 err_name(err), max, held);
}

/* After a failed accept: whether to go on with the next. */
static bool go_on(struct listener *l, int error)
{
    unsigned held;
    switch (error) {
    case EAGAIN:
        return false;
    case EINTR:
    case ECONNABORTED: /* and what Linux passes on of the new socket's errors */
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM: /* a firewall's */
        return true;
    default: /* EMFILE, ENFILE, ENOBUFS, ENOMEM */
        if (complain(l, &l->starved, &held))
            log_error("listener", "cannot accept: %s; trying again", strerrordesc_np(error));
        rest(l);
        return false;
    }
}

static void on_door(void *arg, unsigned ready)
{
    const struct door *d = arg;
    struct listener *l = d->listener;
    unsigned held, max = atomic_load_explicit(&l->connections_max, memory_order_relaxed);
    (void)ready;
    for (int i = 0; i < LISTENER_BATCH; i++) {
        if (total_sessions(l) >= max) {
            if (complain(l, &l->full, &held))
                log_warn("listener", "%u connections: new ones wait", max);
            rest(l);
            return;
        }
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof(peer);
        int fd = accept4(d->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            hand_over(l, fd, &peer);
        else if (!go_on(l, errno))
            return;
    }
}

/* --- binding */

static int set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value));
}

/* What is set here, accepted sockets inherit. */
static int open_door(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0)
        return -1;
    if (set(fd, SOL_SOCKET, SO_REUSEADDR, 1) == 0 &&
        (a->ai_family != AF_INET6 || set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0) == 0) &&
        set(fd, IPPROTO_TCP, TCP_NODELAY, 1) == 0 && set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) == 0 &&
        set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S) == 0 &&
        set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S) == 0 &&
        set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES) == 0 &&
        bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, LISTENER_BACKLOG) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
        return 0;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    memcpy(&in, &addr, sizeof(in));
    memcpy(&in6, &addr, sizeof(in6));
    return ntohs(addr.ss_family == AF_INET6 ? in6.sin6_port : in.sin_port);
}

/* Every address that the host stands for, at one port. "::" takes IPv4 as well, so that a 0.0.0.0
 * beside it is in use already and may be missing. */
int listener_bind(const struct endpoint *at, int fds[LISTENER_ADDRESSES_MAX], unsigned *count,
                  uint16_t *bound, char *err, size_t err_bytes)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *all = NULL;
    char port[8];
    int error = 0;
    *count = 0;
    *bound = 0;
    (void)snprintf(port, sizeof(port), "%u", (unsigned)at->port);
    int found = getaddrinfo(at->host, port, &hints, &all);
    if (found != 0) {
        (void)snprintf(err, err_bytes, "listen %s: %s", at->host, gai_strerror(found));
        return ERR_CONFIG;
    }
    for (struct addrinfo *a = all; a && *count < LISTENER_ADDRESSES_MAX; a = a->ai_next) {
        int fd = open_door(a);
        if (fd < 0) {
            error = errno;
            continue;
        }
        fds[(*count)++] = fd;
        if (!*bound)
            *bound = bound_port(fd);
    }
    freeaddrinfo(all);
    if (*count > 0)
        return OK;
    (void)snprintf(err, err_bytes, "listen %s:%s: %s", at->host, port, strerrordesc_np(error));
    return ERR_CONFIG;
}

static int bind_all(struct listener *l, const struct config *c, char *err, size_t err_bytes)
{
    int fds[LISTENER_ADDRESSES_MAX];
    unsigned count;
    int rc = listener_bind(&c->listen, fds, &count, &l->port, err, err_bytes);
    for (unsigned i = 0; i < count; i++)
        l->doors[l->door_count++] = (struct door){.listener = l, .fd = fds[i]};
    return rc;
}

static int watch_doors(struct listener *l)
{
    l->loop = loop_new();
    l->rest = l->loop ? loop_timer_new(l->loop, on_rested, l) : NULL;
    l->peers = peers_new();
    if (!l->rest || !l->peers)
        return ERR_NOMEM;
    for (unsigned i = 0; i < l->door_count; i++) {
        struct door *d = &l->doors[i];
        d->io = loop_io_new(l->loop, d->fd, on_door, d);
        if (!d->io || loop_io_want(d->io, LOOP_READ) != OK)
            return ERR_NOMEM;
    }
    return OK;
}

/* --- for main */

struct listener *listener_new(const struct config *c, struct worker **workers, unsigned count,
                              char *err, size_t err_bytes)
{
    struct listener *l = sl_calloc(1, sizeof(*l));
    if (!l) {
        (void)snprintf(err, err_bytes, "out of memory");
        return NULL;
    }
    l->workers = workers;
    l->worker_count = count;
    listener_config(l, c);
    if (bind_all(l, c, err, err_bytes) != OK) {
        listener_free(l);
        return NULL;
    }
    if (watch_doors(l) != OK) {
        (void)snprintf(err, err_bytes, "listen %s: out of memory", c->listen.host);
        listener_free(l);
        return NULL;
    }
    for (unsigned i = 0; i < count; i++)
        worker_count_peers(workers[i], l->peers);
    return l;
}

static void *run(void *arg)
{
    struct listener *l = arg;
    if (loop_run(l->loop) != OK)
        log_error("listener", "the event loop failed");
    return NULL;
}

int listener_start(struct listener *l)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return ERR_BUSY;
    int err = pthread_create(&l->thread, NULL, run, l);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err)
        return ERR_BUSY;
    l->started = true;
    (void)pthread_setname_np(l->thread, "listener");
    return OK;
}

void listener_stop(struct listener *l)
{
    if (!l)
        return;
    if (l->started) {
        loop_stop(l->loop);
        pthread_join(l->thread, NULL);
        l->started = false;
    }
    for (unsigned i = 0; i < l->door_count; i++) {
        loop_io_free(l->doors[i].io);
        close(l->doors[i].fd);
    }
    l->door_count = 0;
}

void listener_free(struct listener *l)
{
    if (!l)
        return;
    listener_stop(l);
    loop_timer_free(l->rest);
    loop_free(l->loop);
    peers_unref(l->peers);
    sl_free(l);
}

void listener_config(struct listener *l, const struct config *c)
{
    atomic_store_explicit(&l->connections_max, c->limits.connections, memory_order_relaxed);
    atomic_store_explicit(&l->per_address_max, c->limits.connections_per_address,
                          memory_order_relaxed);
}

uint16_t listener_port(const struct listener *l)
{
    return l->port;
}

struct listener_counts listener_counts(const struct listener *l)
{
    return (struct listener_counts){
        .accepted = atomic_load_explicit(&l->accepted, memory_order_relaxed),
        .refused = atomic_load_explicit(&l->refused, memory_order_relaxed),
        .rests = atomic_load_explicit(&l->rests, memory_order_relaxed),
    };
}
