/* The kernel in a bad mood: reads and writes of one byte, calls that say EAGAIN or EINTR first.
 * What is included here stands in for the C library's functions in the whole test program, the far
 * ends of its connections included. One thread. */
#ifndef TESTS_SHORT_IO_H
#define TESTS_SHORT_IO_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum short_mood {
    SHORT_NONE,
    SHORT_BYTES,     /* one byte a call */
    SHORT_STUTTER,   /* and every other call says EAGAIN */
    SHORT_INTERRUPT, /* the call `short_at` says EINTR, all others are whole */
    SHORT_AGAIN,     /* the same with EAGAIN */
};

static enum short_mood short_mood;
static unsigned short_at, short_calls; /* calls since short_begin */

static inline void short_begin(enum short_mood mood, unsigned at)
{
    short_mood = mood;
    short_at = at;
    short_calls = 0;
}

/* Whether this call is to fail, with errno set; else how much it may do. */
static inline bool short_fails(size_t *most)
{
    *most = SIZE_MAX;
    short_calls++;
    switch (short_mood) {
    case SHORT_NONE:
        return false;
    case SHORT_BYTES:
        *most = 1;
        return false;
    case SHORT_STUTTER:
        *most = 1;
        errno = EAGAIN;
        return short_calls % 2 == 0;
    case SHORT_INTERRUPT:
        errno = EINTR;
        return short_calls == short_at;
    case SHORT_AGAIN:
        errno = EAGAIN;
        return short_calls == short_at;
    }
    return false;
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */
ssize_t recv(int fd, void *p, size_t n, int flags)
{
    size_t most;

    if (short_fails(&most))
        return -1;
    return syscall(SYS_recvfrom, fd, p, n < most ? n : most, flags, NULL, NULL);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    size_t most;

    if (short_fails(&most))
        return -1;
    return syscall(SYS_sendto, fd, p, n < most ? n : most, flags, NULL, 0);
}

ssize_t readv(int fd, const struct iovec *v, int count)
{
    size_t most;

    if (short_fails(&most))
        return -1;
    if (most == 1 && count > 0 && v[0].iov_len > 0)
        return syscall(SYS_read, fd, v[0].iov_base, (size_t)1);
    return syscall(SYS_readv, fd, v, count);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    size_t most;

    if (short_fails(&most))
        return -1;
    if (most == 1 && m->msg_iovlen > 0 && m->msg_iov[0].iov_len > 0)
        return syscall(SYS_sendto, fd, m->msg_iov[0].iov_base, (size_t)1, flags, NULL, 0);
    return syscall(SYS_sendmsg, fd, m, flags);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */

#endif
