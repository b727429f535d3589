#include "proxy/transport.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proxy/tls.h"

/* closed is 0, so that zeroed memory is a closed transport. */
enum { STATE_CLOSED, STATE_CONNECTING, STATE_HANDSHAKE, STATE_OPEN, STATE_FAILED };

/* Segments handed to the kernel in one call of a plain connection. */
#define WRITE_IOVECS 64

/* What the peer sent and nobody will read is swallowed on an orderly close, up to this: closing
 * with unread bytes would turn our FIN into a reset and may cost the peer our last words. */
#define SWALLOW_BYTES ((size_t)64 * 1024)

/* --- plain */

static int plain_handshake(struct transport *t, unsigned *wants)
{
    (void)t;
    (void)wants;
    return OK;
}

static int io_error(struct transport *t, unsigned wants, unsigned *wanted)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        *wanted = wants;
        return ERR_AGAIN;
    }
    t->why = strerrordesc_np(errno);
    return ERR_IO;
}

static size_t cut_iovecs(struct iovec *iov, int *count, size_t max)
{
    size_t sum = 0;
    for (int i = 0; i < *count; i++) {
        if (iov[i].iov_len >= max - sum) {
            iov[i].iov_len = max - sum;
            *count = i + 1;
        }
        sum += iov[i].iov_len;
    }
    return sum;
}

static ssize_t plain_read(struct transport *t, size_t max, unsigned *wants)
{
    struct iovec iov[2];
    int count = buf_reserve(&t->in, transport_reads_large(t), iov);
    if (count < 0)
        return count;
    size_t room = cut_iovecs(iov, &count, max);
    ssize_t n =
        count == 1 ? recv(t->fd, iov[0].iov_base, iov[0].iov_len, 0) : readv(t->fd, iov, count);
    buf_commit(&t->in, n > 0 ? (size_t)n : 0);
    if (n < 0)
        return io_error(t, LOOP_READ, wants);
    if (n == 0)
        return ERR_EOF;
    if ((size_t)n < room)
        *wants = LOOP_READ;
    return n;
}

static ssize_t plain_write(struct transport *t, size_t max, unsigned *wants)
{
    struct iovec iov[WRITE_IOVECS];
    int count = buf_front(&t->out, iov, WRITE_IOVECS);
    size_t total = cut_iovecs(iov, &count, max);
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    ssize_t n = sendmsg(t->fd, &msg, MSG_NOSIGNAL | (total < t->out.len ? MSG_MORE : 0));
    if (n < 0)
        return io_error(t, LOOP_WRITE, wants);
    if ((size_t)n < total)
        *wants = LOOP_WRITE;
    return n;
}

static int plain_goodbye(struct transport *t, unsigned *wants)
{
    (void)t;
    (void)wants;
    return OK;
}

static void plain_release(struct transport *t, bool ended)
{
    (void)t;
    (void)ended;
}

static const struct transport_ops plain_ops = {
    .handshake = plain_handshake,
    .read = plain_read,
    .write = plain_write,
    .goodbye = plain_goodbye,
    .release = plain_release,
};

/* --- the course of a connection */

static void fail(struct transport *t, int err)
{
    t->state = STATE_FAILED;
    t->err = err;
    if (!t->why)
        t->why = err_name(err);
}

static bool may_read(const struct transport *t)
{
    return t->state == STATE_OPEN && !t->read_paused && !t->eof && t->in.len < t->in.limit_bytes;
}

static bool must_write(const struct transport *t)
{
    return t->state == STATE_OPEN && (t->out.len > 0 || (t->finishing && !t->fin_sent));
}

/* Something that the owner has yet to hear, or that can be done without waiting for the kernel. */
static bool more_to_do(const struct transport *t)
{
    if (t->told)
        return false;
    return t->state == STATE_FAILED || t->drain_due || (t->eof && !t->read_paused) ||
           (may_read(t) && !t->read_wants) || (must_write(t) && !t->write_wants);
}

/* Tells the loop what we wait for. */
static void settle(struct transport *t)
{
    unsigned mask = 0;
    if (t->state == STATE_CONNECTING || t->state == STATE_HANDSHAKE)
        mask = t->read_wants;
    if (may_read(t))
        mask |= t->read_wants ? t->read_wants : LOOP_READ;
    if (must_write(t))
        mask |= t->write_wants ? t->write_wants : LOOP_WRITE;
    if (loop_io_want(t->io, mask) != OK && t->state != STATE_FAILED) {
        t->why = "the event loop refused";
        fail(t, ERR_NOMEM);
    }
    if (more_to_do(t))
        loop_post(t->loop, &t->again);
}

static void begin_turn(struct transport *t)
{
    uint64_t now_us = loop_now_us(t->loop);
    if (now_us == t->turn_us)
        return;
    t->turn_us = now_us;
    t->read_left = t->write_left = TRANSPORT_TURN_BYTES;
}

static void connect_on(struct transport *t)
{
    int err = 0;
    socklen_t len = sizeof(err);
    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
        err = errno;
    if (err) {
        t->why = strerrordesc_np(err);
        fail(t, ERR_IO);
        return;
    }
    t->state = STATE_HANDSHAKE;
    t->read_wants = 0;
}

static void handshake_on(struct transport *t)
{
    unsigned wants = 0;
    int err = t->ops->handshake(t, &wants);
    if (err == OK)
        t->state = STATE_OPEN;
    else if (err != ERR_AGAIN)
        fail(t, err);
    t->read_wants = wants;
}

/* Returns how many bytes came. */
static size_t read_on(struct transport *t)
{
    size_t got = 0;
    while (may_read(t) && !t->read_wants && t->read_left > 0) {
        ssize_t n = t->ops->read(t, t->read_left, &t->read_wants);
        if (n > 0) {
            got += (size_t)n;
            t->read_left -= (uint32_t)n;
        } else if (n == ERR_EOF) {
            t->eof = true;
        } else if (n != ERR_AGAIN) {
            fail(t, (int)n);
        }
    }
    t->stats.bytes_in += got;
    return got;
}

static void say_goodbye(struct transport *t)
{
    if (t->ops->goodbye(t, &t->write_wants) == ERR_AGAIN)
        return;
    (void)shutdown(t->fd, SHUT_WR);
    t->fin_sent = true;
    t->drain_due = true;
}

static void write_on(struct transport *t)
{
    while (must_write(t) && !t->write_wants && t->write_left > 0) {
        if (t->out.len == 0) {
            say_goodbye(t);
            continue;
        }
        ssize_t n = t->ops->write(t, t->write_left, &t->write_wants);
        if (n > 0) {
            buf_drain(&t->out, (size_t)n);
            t->write_left -= (uint32_t)n;
            t->stats.bytes_out += (uint64_t)n;
            if (t->out.len == 0 && !t->finishing)
                t->drain_due = true;
        } else if (n != ERR_AGAIN) {
            fail(t, (int)n);
        }
    }
}

/* Everything that can be done now, then what the owner must hear. The owner may close and free the
 * transport in each event; gone is then the only thing left to look at. */
static void progress(struct transport *t, unsigned ready)
{
    bool gone = false, opened = false;
    t->gone = &gone;
    begin_turn(t);
    t->read_wants &= ~ready;
    t->write_wants &= ~ready;
    if (t->state == STATE_CONNECTING && !t->read_wants)
        connect_on(t);
    if (t->state == STATE_HANDSHAKE && !t->read_wants) {
        handshake_on(t);
        opened = t->state == STATE_OPEN;
    }
    if (opened)
        t->events->ready(t->arg);
    if (gone)
        return;
    size_t got = read_on(t);
    if (got)
        t->events->readable(t->arg);
    if (gone)
        return;
    write_on(t);
    if (t->drain_due && t->state == STATE_OPEN) {
        t->drain_due = false;
        if (t->out.len == 0) /* else it is told when the rest has gone, too */
            t->events->drained(t->arg);
    }
    if (gone)
        return;
    if (t->eof && !t->read_paused && t->state == STATE_OPEN)
        fail(t, ERR_EOF);
    if (t->state == STATE_FAILED && !t->told) {
        t->told = true;
        t->events->failed(t->arg, t->err, t->why);
    }
    if (gone)
        return;
    t->gone = NULL;
    settle(t);
}

static void on_io(void *arg, unsigned ready)
{
    progress(arg, ready);
}

static void on_again(void *arg)
{
    progress(arg, 0);
}

/* --- for the owner */

static int start(struct transport *t, struct loop *l, int fd, const struct transport_events *ev,
                 void *arg, size_t in_limit, size_t out_limit)
{
    *t = (struct transport){.fd = fd, .loop = l, .events = ev, .arg = arg, .ops = &plain_ops};
    buf_init(&t->in, in_limit);
    buf_init(&t->out, out_limit);
    loop_task_init(&t->again, on_again, t);
    t->io = loop_io_new(l, fd, on_io, t);
    return t->io ? OK : ERR_NOMEM;
}

/* Undoes start; the descriptor stays. */
static void abandon(struct transport *t)
{
    t->ops->release(t, false);
    loop_io_free(t->io);
    loop_cancel(&t->again);
    *t = (struct transport){.fd = -1};
}

static int begin(struct transport *t, unsigned state, unsigned wants)
{
    t->state = state;
    t->read_wants = wants;
    if (!wants)
        loop_post(t->loop, &t->again);
    return loop_io_want(t->io, wants);
}

int transport_accept(struct transport *t, struct loop *l, int fd, struct tls_context *ctx,
                     const struct transport_events *ev, void *arg, size_t in_limit,
                     size_t out_limit)
{
    int err = start(t, l, fd, ev, arg, in_limit, out_limit);
    if (err == OK && ctx)
        err = tls_attach(t, ctx, NULL, 0);
    if (err == OK)
        err = begin(t, STATE_HANDSHAKE, ctx ? LOOP_READ : 0);
    if (err)
        abandon(t);
    return err;
}

static int open_socket(const struct sockaddr *addr, socklen_t addr_len)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ERR_IO;
    int on = 1;
    if (addr->sa_family == AF_INET || addr->sa_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    }
    if (connect(fd, addr, addr_len) == 0 || errno == EINPROGRESS)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return ERR_IO;
}

static unsigned port_of(const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, addr, sizeof(in));
        return ntohs(in.sin_port);
    }
    if (addr->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, addr, sizeof(in6));
        return ntohs(in6.sin6_port);
    }
    return 0;
}

int transport_connect(struct transport *t, struct loop *l, const struct sockaddr *addr,
                      socklen_t addr_len, struct tls_context *ctx, const char *server_name,
                      const struct transport_events *ev, void *arg, size_t in_limit,
                      size_t out_limit)
{
    int fd = open_socket(addr, addr_len);
    if (fd < 0) {
        *t = (struct transport){.fd = -1};
        return fd;
    }
    int err = start(t, l, fd, ev, arg, in_limit, out_limit);
    t->growing_reads = true;
    if (err == OK && ctx)
        err = tls_attach(t, ctx, server_name, port_of(addr));
    if (err == OK)
        err = begin(t, STATE_CONNECTING, LOOP_WRITE);
    if (err) {
        abandon(t);
        close(fd);
    }
    return err;
}

void transport_send(struct transport *t)
{
    if (t->state != STATE_OPEN)
        return;
    assert(!t->fin_sent || t->out.len == 0);
    begin_turn(t);
    write_on(t);
    if (!t->gone) /* else progress settles when it is through */
        settle(t);
}

void transport_finish(struct transport *t)
{
    t->finishing = true;
    transport_send(t);
}

void transport_pause(struct transport *t, bool paused)
{
    t->read_paused = paused;
    if (t->state == STATE_OPEN && !t->gone)
        settle(t);
}

void transport_bulk(struct transport *t, bool on)
{
    t->large_reads = on;
}

/* FIN, but not a reset because of bytes that nobody has read. */
static void shut_gently(int fd)
{
    static const size_t piece = (size_t)16 * 1024;
    (void)shutdown(fd, SHUT_WR);
    for (size_t swallowed = 0; swallowed < SWALLOW_BYTES; swallowed += piece) {
        /* TCP drops what MSG_TRUNC asks for without copying it. */
        ssize_t n = recv(fd, NULL, piece, MSG_DONTWAIT | MSG_TRUNC);
        if (n < (ssize_t)piece)
            break;
    }
}

/* tcp_disconnect(): a RST, and an empty write queue, for one system call. */
void transport_cut(struct transport *t)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    if (t->state != STATE_CLOSED)
        (void)connect(t->fd, &nobody, sizeof(nobody));
}

void transport_close(struct transport *t, bool hard)
{
    if (t->state == STATE_CLOSED)
        return;
    bool stands = t->state == STATE_OPEN, ended = stands || t->err == ERR_EOF;
    unsigned wants = 0;
    t->state = STATE_CLOSED;
    if (t->gone)
        *t->gone = true;
    t->gone = NULL;
    if (stands && !hard && !t->fin_sent)
        (void)t->ops->goodbye(t, &wants);
    loop_cancel(&t->again);
    loop_io_free(t->io);
    t->io = NULL;
    if (hard) {
        struct linger none = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    } else {
        shut_gently(t->fd);
    }
    close(t->fd);
    t->fd = -1;
    t->ops->release(t, ended);
    buf_release(&t->in);
    buf_release(&t->out);
}
