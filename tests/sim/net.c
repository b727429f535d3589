/* Descriptors without a kernel: streams between the product and the actors, and eventfds.
 *
 * The product's own files call socket, connect, recv, sendmsg ...; the linker's --wrap sends those
 * calls here (they are listed in the Makefile), and what is not one of our descriptors goes on to
 * the kernel. So the product's transport runs as it is, over streams that deliver in pieces, late,
 * with little room, and that break.
 *
 * A stream has two pipes. Bytes that were sent are under way until they arrive; a reset drops what
 * is under way in both directions (linger 0, transport_cut), a FIN comes behind it. As in TCP,
 * closing with unread bytes is a reset, and so is sending to who has closed. */
#include "tests/sim/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/loop.h"
#include "tests/sim/sim.h"

#define FD_FIRST 1000000
#define FDS_MAX  2048

struct pipe {
    uint8_t *p;
    size_t from, len, space; /* bytes at p + from: len of them */
    size_t arrived;          /* of len, readable */
    bool fin, fin_arrived;
    struct sim_event hop;
};

struct net_conn {
    struct net_conn *next;
    unsigned id;
    int fd; /* the gate's end; -1: closed */
    struct net_weather weather;
    const struct net_actor *actor;
    void *arg;
    bool actor_open, held;
    bool connecting, established;
    bool cut;         /* reset: nothing moves any more */
    bool cut_by_gate; /* by whom */
    bool told;        /* the actor knows of the end */
    bool hard;        /* linger 0 was set */
    bool barred;
    int error; /* SO_ERROR, or of the next read */
    uint32_t ip;
    uint16_t port;
    struct pipe in, out; /* to the gate, to the actor */
    struct sim_event course;
};

struct descriptor {
    enum { FD_FREE, FD_EVENT, FD_STREAM } kind;
    eventfd_t count;
    uint64_t ready_us; /* of an eventfd: seen by its loop from then on */
    struct sim_event wake;
    struct net_conn *conn;
    struct loop_io *io; /* who watches it */
};

static struct descriptor fds[FDS_MAX];
static unsigned nfds, open_fds, conn_ids;
static struct net_conn *conns;
static net_listener *listener;
static net_hole *hole;
static uint64_t moved;

int __real_close(int fd);
int __real_connect(int fd, const struct sockaddr *sa, socklen_t n);
ssize_t __real_recv(int fd, void *p, size_t n, int flags);
ssize_t __real_readv(int fd, const struct iovec *iov, int count);
ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
int __real_setsockopt(int fd, int level, int name, const void *v, socklen_t n);
int __real_getsockopt(int fd, int level, int name, void *v, socklen_t *n);
int __real_shutdown(int fd, int how);
int __real_eventfd_read(int fd, eventfd_t *v);
int __real_eventfd_write(int fd, eventfd_t v);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_close(int fd);
int __wrap_connect(int fd, const struct sockaddr *sa, socklen_t n);
ssize_t __wrap_recv(int fd, void *p, size_t n, int flags);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int count);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
int __wrap_setsockopt(int fd, int level, int name, const void *v, socklen_t n);
int __wrap_getsockopt(int fd, int level, int name, void *v, socklen_t *n);
int __wrap_shutdown(int fd, int how);
int __wrap_eventfd(unsigned first, int flags);
int __wrap_eventfd_read(int fd, eventfd_t *v);
int __wrap_eventfd_write(int fd, eventfd_t v);
ssize_t __wrap_getrandom(void *p, size_t n, unsigned flags);

/* --- pipes */

static void pipe_put(struct pipe *p, const void *data, size_t n)
{
    if (n == 0)
        return;
    if (p->from + p->len + n > p->space) {
        if (p->len > 0)
            memmove(p->p, p->p + p->from, p->len);
        p->from = 0;
        if (p->len + n > p->space) {
            p->space = (p->len + n) * 2;
            p->p = realloc(p->p, p->space);
            if (!p->p)
                abort();
        }
    }
    memcpy(p->p + p->from + p->len, data, n);
    p->len += n;
}

static void pipe_take(struct pipe *p, size_t n)
{
    p->from += n;
    p->len -= n;
    p->arrived -= n;
    moved += n;
}

static void pipe_drop(struct pipe *p)
{
    p->len = p->arrived = p->from = 0;
    sim_event_cancel(&p->hop);
}

static uint64_t latency(const struct net_conn *c)
{
    return 1 + sim_below(c->weather.latency_us);
}

/* Its descriptor may have become ready. */
static void stir(const struct net_conn *c)
{
    if (c->fd >= 0)
        loop_io_stir(fds[c->fd - FD_FIRST].io);
}

static void pipe_go(struct net_conn *c, struct pipe *p)
{
    if (!sim_event_set(&p->hop) && (p->arrived < p->len || (p->fin && !p->fin_arrived)))
        sim_event_in(&p->hop, latency(c));
}

/* Some of what is under way arrives. */
static size_t pipe_hop(struct net_conn *c, struct pipe *p)
{
    size_t n = p->len - p->arrived;
    if (c->weather.piece && n > c->weather.piece)
        n = (size_t)sim_between(1, c->weather.piece);
    p->arrived += n;
    if (p->arrived == p->len && p->fin)
        p->fin_arrived = true;
    return n;
}

static void hop_in(void *arg)
{
    struct net_conn *c = arg;
    if (c->fd < 0) {
        /* Data for who has closed: a reset comes back. */
        if (c->in.len > c->in.arrived && !c->cut) {
            c->cut = c->cut_by_gate = true;
            pipe_drop(&c->in);
            pipe_drop(&c->out);
            sim_event_in(&c->course, latency(c));
        }
        return;
    }
    size_t n = pipe_hop(c, &c->in);
    stir(c);
    sim_note("to gate", c->id, n, c->in.fin_arrived);
    pipe_go(c, &c->in);
}

static void hop_out(void *arg)
{
    struct net_conn *c = arg;
    if (c->cut)
        return;
    if (!c->actor_open) {
        /* Bytes for who has closed: a reset comes back. */
        if (c->out.len > 0) {
            c->cut = true;
            stir(c);
            pipe_drop(&c->in);
            pipe_drop(&c->out);
            sim_note("bounced", c->id, 0, 0);
        }
        return;
    }
    if (c->held)
        return; /* net_hold sets it going again */
    size_t n = pipe_hop(c, &c->out);
    stir(c);
    if (n > 0 && c->barred)
        sim_violation("connection %u: %zu bytes arrive after the revocation", c->id, n);
    sim_note("from gate", c->id, n, c->out.fin_arrived);
    pipe_go(c, &c->out);
    if (n > 0)
        c->actor->data(c->arg);
    if (c->actor_open && !c->cut && c->out.fin_arrived && !c->told) {
        c->told = true;
        c->actor->ended(c->arg, false);
    }
}

/* --- descriptors */

static struct descriptor *find(int fd)
{
    unsigned i = (unsigned)(fd - FD_FIRST);
    return fd >= FD_FIRST && i < nfds && fds[i].kind != FD_FREE ? &fds[i] : NULL;
}

static void on_wake(void *arg)
{
    (void)arg; /* time has come: the loop looks by itself */
}

static int fd_new(int kind)
{
    unsigned i = 0;
    while (i < nfds && fds[i].kind != FD_FREE)
        i++;
    if (i == FDS_MAX) {
        errno = EMFILE;
        return -1;
    }
    if (i == nfds)
        nfds++;
    fds[i] = (struct descriptor){.kind = kind};
    sim_event_init(&fds[i].wake, on_wake, &fds[i]);
    open_fds++;
    return FD_FIRST + (int)i;
}

static void on_course(void *arg);

static struct net_conn *conn_new(void)
{
    int fd = fd_new(FD_STREAM);
    if (fd < 0)
        return NULL;
    struct net_conn *c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    c->next = conns;
    conns = c;
    c->id = ++conn_ids;
    c->fd = fd;
    c->weather = (struct net_weather){.latency_us = 1000, .room = 65536};
    sim_event_init(&c->in.hop, hop_in, c);
    sim_event_init(&c->out.hop, hop_out, c);
    sim_event_init(&c->course, on_course, c);
    find(fd)->conn = c;
    return c;
}

/* What has arrived is the actor's, who may be waiting for the rest of a frame. */
static size_t room(const struct net_conn *c)
{
    size_t under_way = c->out.len - c->out.arrived;
    return under_way < c->weather.room ? c->weather.room - under_way : 0;
}

unsigned net_ready(int fd, unsigned mask)
{
    const struct descriptor *d = find(fd);
    unsigned is = 0;
    if (!d)
        return 0;
    if (d->kind == FD_EVENT)
        return d->count == 0 ? 0 : d->ready_us <= sim.now_us ? mask & LOOP_READ : NET_SOON;
    const struct net_conn *c = d->conn;
    if (c->error || (c->cut && !c->connecting))
        return mask;
    if (c->connecting)
        return 0;
    if (c->in.arrived > 0 || c->in.fin_arrived)
        is |= LOOP_READ;
    if (room(c) > 0)
        is |= LOOP_WRITE;
    return is & mask;
}

void net_watch(int fd, struct loop_io *io)
{
    struct descriptor *d = find(fd);
    if (d)
        d->io = io;
    loop_io_stir(io);
}

/* A connection attempt arrives, or the news of a reset. */
static void on_course(void *arg)
{
    struct net_conn *c = arg;
    if (c->connecting) {
        c->connecting = false;
        if (c->fd < 0)
            return;
        c->established = listener && listener(c->ip, c->port, c);
        c->actor_open = c->established;
        c->error = c->established ? 0 : ECONNREFUSED;
        stir(c);
        sim_note(c->established ? "connected" : "refused", c->id, c->port, 0);
        if (c->established && c->actor->opened)
            c->actor->opened(c->arg);
        return;
    }
    if (c->cut && c->cut_by_gate && c->actor_open && !c->told) {
        c->told = true;
        c->actor->ended(c->arg, true);
    }
}

/* --- what the product calls */

int __wrap_socket(int domain, int type, int protocol)
{
    (void)type;
    (void)protocol;
    if (domain != AF_INET) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    struct net_conn *c = conn_new();
    return c ? c->fd : -1;
}

static void cut_by_gate(struct net_conn *c)
{
    if (c->cut)
        return;
    c->cut = c->cut_by_gate = true;
    stir(c);
    pipe_drop(&c->in);
    pipe_drop(&c->out);
    sim_note("cut", c->id, 0, 0);
    if (c->actor_open && !c->connecting)
        sim_event_in(&c->course, latency(c));
}

int __wrap_connect(int fd, const struct sockaddr *sa, socklen_t n)
{
    struct descriptor *d = find(fd);
    if (!d)
        return __real_connect(fd, sa, n);
    struct net_conn *c = d->conn;
    if (sa->sa_family == AF_UNSPEC) {
        cut_by_gate(c);
        return 0;
    }
    struct sockaddr_in in;
    memcpy(&in, sa, sizeof(in));
    c->ip = ntohl(in.sin_addr.s_addr);
    c->port = ntohs(in.sin_port);
    c->connecting = true;
    sim_note("connect", c->id, c->ip, c->port);
    if (!hole || !hole(c->ip))
        sim_event_in(&c->course, latency(c));
    errno = EINPROGRESS;
    return -1;
}

static ssize_t pipe_read(struct net_conn *c, void *p, size_t n)
{
    size_t have = c->in.arrived < n ? c->in.arrived : n;
    if (have > 1 && sim_chance(3))
        have = (size_t)sim_between(1, have);
    if (p)
        memcpy(p, c->in.p + c->in.from, have);
    pipe_take(&c->in, have);
    return (ssize_t)have;
}

/* What a read says when there are no bytes; 1: there are. */
static int read_state(struct net_conn *c)
{
    if (c->error || c->cut) {
        errno = c->error ? c->error : ECONNRESET;
        return -1;
    }
    if (c->in.arrived > 0)
        return 1;
    if (c->in.fin_arrived)
        return 0;
    errno = EAGAIN;
    return -1;
}

ssize_t __wrap_recv(int fd, void *p, size_t n, int flags)
{
    struct descriptor *d = find(fd);
    if (!d)
        return __real_recv(fd, p, n, flags);
    int state = read_state(d->conn);
    return state > 0 ? pipe_read(d->conn, p, n) : state;
}

ssize_t __wrap_readv(int fd, const struct iovec *iov, int count)
{
    struct descriptor *d = find(fd);
    ssize_t sum = 0;
    if (!d)
        return __real_readv(fd, iov, count);
    int state = read_state(d->conn);
    if (state <= 0)
        return state;
    for (int i = 0; i < count && d->conn->in.arrived > 0; i++) {
        ssize_t n = pipe_read(d->conn, iov[i].iov_base, iov[i].iov_len);
        sum += n;
        if ((size_t)n < iov[i].iov_len)
            break;
    }
    return sum;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
    struct descriptor *d = find(fd);
    if (!d)
        return __real_sendmsg(fd, m, flags);
    struct net_conn *c = d->conn;
    size_t left = room(c), sum = 0;
    if (c->error || c->cut || c->out.fin) {
        errno = EPIPE;
        return -1;
    }
    if (left == 0 || sim_chance(1)) {
        errno = left ? EINTR : EAGAIN;
        return -1;
    }
    if (sim_chance(5))
        left = (size_t)sim_between(1, left);
    for (size_t i = 0; i < m->msg_iovlen && left > 0; i++) {
        size_t n = m->msg_iov[i].iov_len < left ? m->msg_iov[i].iov_len : left;
        pipe_put(&c->out, m->msg_iov[i].iov_base, n);
        sum += n;
        left -= n;
    }
    pipe_go(c, &c->out);
    return (ssize_t)sum;
}

int __wrap_setsockopt(int fd, int level, int name, const void *v, socklen_t n)
{
    struct descriptor *d = find(fd);
    if (!d)
        return __real_setsockopt(fd, level, name, v, n);
    if (level == SOL_SOCKET && name == SO_LINGER)
        d->conn->hard = true;
    return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void *v, socklen_t *n)
{
    struct descriptor *d = find(fd);
    if (!d)
        return __real_getsockopt(fd, level, name, v, n);
    if (level == SOL_SOCKET && name == SO_ERROR)
        memcpy(v, &d->conn->error, sizeof(int));
    return 0;
}

int __wrap_shutdown(int fd, int how)
{
    struct descriptor *d = find(fd);
    if (!d)
        return __real_shutdown(fd, how);
    d->conn->out.fin = true;
    if (d->conn->established && !d->conn->cut)
        pipe_go(d->conn, &d->conn->out);
    return 0;
}

static void stream_closed(struct net_conn *c)
{
    c->fd = -1;
    if (!c->established) {
        sim_event_cancel(&c->course);
        return;
    }
    if (c->hard || c->in.arrived > 0) {
        cut_by_gate(c);
        return;
    }
    c->out.fin = true;
    sim_note("closed", c->id, c->out.len, 0);
    if (!c->cut)
        pipe_go(c, &c->out);
    /* What still comes meets nobody. */
    if (c->in.len > 0 && !c->cut && !sim_event_set(&c->in.hop))
        pipe_go(c, &c->in);
}

int __wrap_close(int fd)
{
    struct descriptor *d = find(fd);
    if (!d)
        return __real_close(fd);
    if (d->kind == FD_STREAM)
        stream_closed(d->conn);
    sim_event_cancel(&d->wake);
    d->kind = FD_FREE;
    open_fds--;
    return 0;
}

int __wrap_eventfd(unsigned first, int flags)
{
    (void)flags;
    int fd = fd_new(FD_EVENT);
    if (fd >= 0)
        find(fd)->count = first;
    return fd;
}

int __wrap_eventfd_read(int fd, eventfd_t *v)
{
    struct descriptor *d = find(fd);
    if (!d)
        return __real_eventfd_read(fd, v);
    if (d->count == 0) {
        errno = EAGAIN;
        return -1;
    }
    *v = d->count;
    d->count = 0;
    return 0;
}

/* A sleeping receiver wakes a little later; one that is busy looks by itself. */
int __wrap_eventfd_write(int fd, eventfd_t v)
{
    struct descriptor *d = find(fd);
    if (!d)
        return __real_eventfd_write(fd, v);
    if (d->count == 0) {
        uint64_t delay = sim_below(500);
        d->ready_us = sim.now_us + delay;
        sim_event_in(&d->wake, delay);
    }
    d->count += v;
    loop_io_stir(d->io);
    return 0;
}

ssize_t __wrap_getrandom(void *p, size_t n, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)p)[i] = (uint8_t)sim_random();
    return (ssize_t)n;
}

/* --- for the actors */

struct net_weather net_some_weather(bool calm)
{
    static const unsigned pieces[] = {0, 0, 0, 20000, 1500, 400};
    struct net_weather w = {.latency_us = (unsigned)sim_between(50, 3000), .room = 65536};
    if (calm)
        return w;
    w.piece = pieces[sim_below(sizeof(pieces) / sizeof(pieces[0]))];
    if (sim_chance(2))
        w.piece = 7;
    w.room = (size_t)1 << sim_between(8, 18);
    if (sim_chance(10))
        w.latency_us *= 50;
    /* Small pieces are many events. */
    if (w.piece && w.piece < 100)
        w.latency_us = w.latency_us / 20 + 1;
    return w;
}

static void conn_free(struct net_conn *c)
{
    sim_event_cancel(&c->in.hop);
    sim_event_cancel(&c->out.hop);
    sim_event_cancel(&c->course);
    free(c->in.p);
    free(c->out.p);
    free(c);
}

void net_reset(void)
{
    while (conns) {
        struct net_conn *c = conns;
        conns = c->next;
        conn_free(c);
    }
    for (unsigned i = 0; i < nfds; i++)
        sim_event_cancel(&fds[i].wake);
    nfds = open_fds = conn_ids = 0;
    listener = NULL;
    hole = NULL;
    moved = 0;
}

int net_client(const struct net_weather *w, const struct net_actor *actor, void *arg,
               struct net_conn **out)
{
    struct net_conn *c = conn_new();
    if (!c)
        return -1;
    c->established = true;
    net_bind(c, w, actor, arg);
    c->actor_open = true;
    *out = c;
    return c->fd;
}

void net_listen(net_listener *fn)
{
    listener = fn;
}

void net_holes(net_hole *fn)
{
    hole = fn;
}

void net_bind(struct net_conn *c, const struct net_weather *w, const struct net_actor *actor,
              void *arg)
{
    c->weather = *w;
    c->actor = actor;
    c->arg = arg;
}

unsigned net_id(const struct net_conn *c)
{
    return c->id;
}

const uint8_t *net_bytes(const struct net_conn *c, size_t *n)
{
    *n = c->out.arrived;
    return c->out.p + c->out.from;
}

void net_take(struct net_conn *c, size_t n)
{
    pipe_take(&c->out, n);
}

void net_put(struct net_conn *c, const void *p, size_t n)
{
    if (!c->actor_open || c->cut)
        return;
    pipe_put(&c->in, p, n);
    pipe_go(c, &c->in);
}

size_t net_unread(const struct net_conn *c)
{
    return c->in.len;
}

void net_hold(struct net_conn *c, bool held)
{
    c->held = held;
    if (!held && c->actor_open && !c->cut)
        pipe_go(c, &c->out);
}

void net_close(struct net_conn *c, bool cut)
{
    if (!c->actor_open)
        return;
    c->actor_open = false;
    sim_event_cancel(&c->out.hop);
    if (c->cut)
        return;
    sim_note(cut ? "actor cut" : "actor end", c->id, 0, 0);
    stir(c);
    if (cut) {
        c->cut = true;
        pipe_drop(&c->in);
        pipe_drop(&c->out);
        return;
    }
    c->in.fin = true;
    pipe_go(c, &c->in);
    /* What the gate sends from now on meets nobody; it finds out when its bytes come back. */
    pipe_drop(&c->out);
}

bool net_gate_open(const struct net_conn *c)
{
    return c->fd >= 0;
}

bool net_cut(const struct net_conn *c)
{
    return c->cut;
}

void net_bar(struct net_conn *c)
{
    c->barred = true;
}

unsigned net_open_descriptors(void)
{
    return open_fds;
}

uint64_t net_bytes_moved(void)
{
    return moved;
}
