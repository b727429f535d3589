/* The rings' ends and the writer thread. */
#include "audit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit/chain.h"
#include "audit/ring.h"
#include "base/alloc.h"
#include "base/log.h"

#define BATCH_BYTES    ((size_t)256 * 1024)
#define RETRY_MS       100  /* after a write that failed */
#define IDLE_MS        1000 /* the longest sleep: also when a wake-up would be missed */
#define WRITE_STUCK_MS 1000 /* a pipe that takes nothing for so long counts as failing */

struct audit {
    bool stop_on_failure;
    atomic_bool bad;      /* what audit_ok tells: failing, or a gap that is not told yet */
    atomic_bool sleeping; /* the writer waits, or is about to */
    atomic_bool reopen, closing;
    atomic_uint_least64_t lost, written;
    int wake; /* eventfd */
    pthread_t thread;
    pthread_mutex_t lock; /* of the list of rings alone */
    struct audit_ring *rings;

    /* The writer's own. */
    int fd;
    bool standard; /* stdout: never closed, never opened anew */
    bool failing;
    uint64_t told_lost; /* of lost, how many the trail itself tells */
    struct chain chain;
    size_t done, filled; /* batch[done..filled) waits for the disk */
    size_t line_start;   /* start of the line that batch[done] lies in */
    char batch[BATCH_BYTES];
    char path[PATH_MAX];
};

static int64_t now_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void signal_writer(struct audit *a)
{
    uint64_t one = 1;
    ssize_t written;
    do
        written = write(a->wake, &one, sizeof(one));
    while (written < 0 && errno == EINTR);
}

/* Producer put, then looks at sleeping; the writer sets sleeping, then looks at the rings. Both
 * sequentially consistent, so one of them sees the other. */
static void audit_wake(struct audit *a)
{
    if (atomic_load(&a->sleeping) && atomic_exchange(&a->sleeping, false))
        signal_writer(a);
}

/* --- producers */

struct audit_ring *audit_ring_new(struct audit *a)
{
    struct audit_ring *r = NULL;
    if (posix_memalign((void **)&r, RING_CACHE_LINE, sizeof(*r)) != 0)
        return NULL;
    ring_init(r);
    r->audit = a;
    pthread_mutex_lock(&a->lock);
    r->next = a->rings;
    a->rings = r;
    pthread_mutex_unlock(&a->lock);
    return r;
}

void audit_ring_free(struct audit_ring *r)
{
    if (!r)
        return;
    struct audit *a = r->audit;
    atomic_store(&r->closed, true); /* from here on it is the writer's */
    audit_wake(a);
}

bool audit_ring_ok(const struct audit_ring *r)
{
    return !r || audit_ok(r->audit);
}

void audit_put(struct audit_ring *r, const struct audit_event *e)
{
    struct audit *a = r->audit;
    int n = audit_encode(e, now_ms(CLOCK_REALTIME), r->scratch, sizeof(r->scratch));
    if (n <= 0 || !ring_put(r, r->scratch, (size_t)n)) {
        atomic_fetch_add(&a->lost, 1);
        atomic_store(&a->bad, true);
    }
    audit_wake(a);
}

bool audit_ok(const struct audit *a)
{
    return !a->stop_on_failure || !atomic_load_explicit(&a->bad, memory_order_acquire);
}

uint64_t audit_lost(const struct audit *a)
{
    return atomic_load_explicit(&a->lost, memory_order_relaxed);
}

uint64_t audit_written(const struct audit *a)
{
    return atomic_load_explicit(&a->written, memory_order_relaxed);
}

void audit_reopen(struct audit *a)
{
    atomic_store(&a->reopen, true);
    signal_writer(a);
}

/* --- the file */

/* A file that a crash left in the middle of a line gets a line end, so that the next line is whole.
 * Needs reading, which a trail may not allow: then nothing is done. */
static void mend_end(struct audit *a)
{
    struct stat st;
    char last;
    if (fstat(a->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return;
    int fd = open(a->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return;
    if (pread(fd, &last, 1, st.st_size - 1) == 1 && last != '\n' && write(a->fd, "\n", 1) != 1)
        log_warn("audit", "%s ends in half a line", a->path);
    close(fd);
}

static int open_file(struct audit *a)
{
    a->fd = open(a->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (a->fd < 0)
        return ERR_IO;
    mend_end(a);
    return OK;
}

static void set_failing(struct audit *a, int cause)
{
    if (!a->failing)
        log_error("audit", "lines cannot be written: %s%s", strerror(cause),
                  a->stop_on_failure ? "; logins are refused until they can" : "");
    a->failing = true;
    atomic_store(&a->bad, true);
}

/* Takes back the part of a line that went out before the disk refused the rest. */
static void trim_half_line(struct audit *a)
{
    struct stat st;
    off_t half = (off_t)(a->done - a->line_start);
    if (a->standard || a->fd < 0 || half == 0)
        return;
    a->done = a->line_start;
    if (fstat(a->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < half)
        return;
    if (ftruncate(a->fd, st.st_size - half) != 0)
        log_warn("audit", "%s ends in half a line", a->path);
}

/* The file may have been moved away: what is not wholly written goes to the new one. */
static void reopen_file(struct audit *a)
{
    if (a->standard)
        return;
    trim_half_line(a);
    if (a->fd >= 0) {
        if (fdatasync(a->fd) != 0)
            log_debug("audit", "fdatasync: %s", strerror(errno));
        close(a->fd);
    }
    if (open_file(a) != OK)
        set_failing(a, errno);
}

/* Steps over n written bytes: counts whole lines, finds the one that is cut. */
static void account(struct audit *a, size_t n)
{
    for (size_t end = a->done + n; a->done < end; a->done++)
        if (a->batch[a->done] == '\n') {
            a->line_start = a->done + 1;
            atomic_fetch_add_explicit(&a->written, 1, memory_order_relaxed);
        }
}

/* Writes what the batch holds. OK when all of it is out, ERR_AGAIN when a pipe is full, ERR_IO. */
static int flush(struct audit *a)
{
    if (a->fd < 0 && open_file(a) != OK) {
        set_failing(a, errno);
        return ERR_IO;
    }
    while (a->done < a->filled) {
        ssize_t n = write(a->fd, a->batch + a->done, a->filled - a->done);
        if (n > 0) {
            account(a, (size_t)n);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return ERR_AGAIN;
        set_failing(a, n < 0 ? errno : EIO);
        return ERR_IO;
    }
    a->done = a->filled = a->line_start = 0;
    return OK;
}

/* --- the writer */

static void add_line(struct audit *a, size_t n)
{
    char *line = a->batch + a->filled;
    n = chain_line(&a->chain, line, n, BATCH_BYTES - a->filled - 1);
    line[n] = '\n';
    a->filled += n + 1;
}

static bool has_room(const struct audit *a)
{
    return BATCH_BYTES - a->filled > AUDIT_LINE_MAX + CHAIN_EXTRA + 1;
}

/* Fills the batch from all rings, a line of each in turn so that none starves; frees those that
 * are closed and empty. Returns false when there was nothing. */
static bool collect(struct audit *a)
{
    bool any = false, more = true;
    pthread_mutex_lock(&a->lock);
    while (more && has_room(a)) {
        more = false;
        for (struct audit_ring *r = a->rings; r && has_room(a); r = r->next) {
            size_t n = ring_take(r, a->batch + a->filled);
            if (n)
                add_line(a, n);
            more |= n > 0;
        }
        any |= more;
    }
    for (struct audit_ring **at = &a->rings; *at;) {
        struct audit_ring *r = *at;
        /* closed first: what was put before it is visible then. */
        if (atomic_load(&r->closed) && ring_empty(r)) {
            *at = r->next;
            free(r);
        } else {
            at = &r->next;
        }
    }
    pthread_mutex_unlock(&a->lock);
    return any;
}

/* After all that waited is written: tells the gap, then the trail is good again. */
static void settle(struct audit *a)
{
    uint64_t lost = atomic_load(&a->lost);
    if (a->failing)
        log_info("audit", "lines are written again");
    a->failing = false;
    if (lost != a->told_lost) {
        struct audit_event gap = {.kind = AUDIT_LOST,
                                  .count = lost - a->told_lost,
                                  .reason = "lines were lost before this one"};
        int n = audit_encode(&gap, now_ms(CLOCK_REALTIME), a->batch + a->filled, AUDIT_LINE_MAX);
        if (n > 0)
            add_line(a, (size_t)n);
        log_warn("audit", "%llu lines were lost", (unsigned long long)(lost - a->told_lost));
        a->told_lost = lost;
        if (flush(a) != OK)
            return; /* bad stays; the next round comes here again */
    }
    atomic_store(&a->bad, false);
    if (atomic_load(&a->lost) != a->told_lost)
        atomic_store(&a->bad, true);
}

static bool all_empty(struct audit *a)
{
    bool empty = true;
    pthread_mutex_lock(&a->lock);
    for (struct audit_ring *r = a->rings; r; r = r->next)
        empty = empty && ring_empty(r) && !atomic_load(&r->closed);
    pthread_mutex_unlock(&a->lock);
    return empty;
}

static void sleep_until_woken(struct audit *a, int timeout_ms, bool for_room)
{
    struct pollfd fds[2] = {{.fd = a->wake, .events = POLLIN}, {.fd = a->fd, .events = POLLOUT}};
    uint64_t drained;
    if (poll(fds, for_room && a->fd >= 0 ? 2 : 1, timeout_ms) > 0 && (fds[0].revents & POLLIN) &&
        read(a->wake, &drained, sizeof(drained)) < 0)
        log_debug("audit", "eventfd: %s", strerror(errno));
}

/* One round: collect, write, sleep. Returns false when all is done and the trail is closing. */
static bool turn(struct audit *a, int64_t *stuck_since)
{
    if (atomic_exchange(&a->reopen, false))
        reopen_file(a);
    bool got = collect(a);
    int err = flush(a);
    int64_t now = now_ms(CLOCK_MONOTONIC);
    if (err == OK) {
        *stuck_since = 0;
        if (atomic_load(&a->bad) && all_empty(a))
            settle(a);
        if (got)
            return true;
    } else if (!*stuck_since) {
        *stuck_since = now;
    }
    if (err == ERR_AGAIN && now - *stuck_since >= WRITE_STUCK_MS)
        set_failing(a, EAGAIN);
    bool closing = atomic_load(&a->closing);
    if (closing && err == OK && all_empty(a) && !a->filled)
        return false;
    if (closing && err != OK && now - *stuck_since >= AUDIT_CLOSE_MS)
        return false;
    atomic_store(&a->sleeping, true);
    if (err != OK)
        sleep_until_woken(a, RETRY_MS, err == ERR_AGAIN);
    else if (all_empty(a) && !atomic_load(&a->reopen) && !atomic_load(&a->closing))
        sleep_until_woken(a, IDLE_MS, false);
    atomic_store(&a->sleeping, false);
    return true;
}

static void *writer_main(void *arg)
{
    struct audit *a = arg;
    int64_t stuck_since = 0;
    pthread_setname_np(pthread_self(), "audit");
    while (turn(a, &stuck_since))
        ;
    return NULL;
}

/* The thread takes no signals: main's handlers run elsewhere, and a broken pipe is an error of
 * write, not a signal. */
static int start_thread(struct audit *a)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&a->thread, NULL, writer_main, a);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

static void audit_free(struct audit *a)
{
    for (struct audit_ring *r = a->rings, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    if (a->fd >= 0 && !a->standard)
        close(a->fd);
    if (a->wake >= 0)
        close(a->wake);
    pthread_mutex_destroy(&a->lock);
    sl_free(a);
}

struct audit *audit_open(const char *file, bool stop_on_failure, char *err, size_t err_bytes)
{
    struct audit *a = sl_calloc(1, sizeof(*a));
    int cause = 0;
    if (!a) {
        snprintf(err, err_bytes, "audit: out of memory");
        return NULL;
    }
    a->stop_on_failure = stop_on_failure;
    a->standard = strcmp(file, "-") == 0;
    a->fd = a->standard ? STDOUT_FILENO : -1;
    pthread_mutex_init(&a->lock, NULL);
    chain_init(&a->chain);
    a->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->wake < 0)
        cause = errno;
    else if (strlen(file) >= sizeof(a->path))
        cause = ENAMETOOLONG;
    if (!cause) {
        memcpy(a->path, file, strlen(file) + 1);
        cause = a->standard || open_file(a) == OK ? 0 : errno;
    }
    if (!cause)
        cause = start_thread(a);
    if (cause) {
        snprintf(err, err_bytes, "audit: %s: %s", file, strerror(cause));
        audit_free(a);
        return NULL;
    }
    return a;
}

void audit_close(struct audit *a)
{
    if (!a)
        return;
    atomic_store(&a->closing, true);
    signal_writer(a);
    pthread_join(a->thread, NULL);
    if (a->filled) {
        log_error("audit", "lines were left unwritten");
        trim_half_line(a);
    }
    if (a->fd >= 0 && !a->standard && fdatasync(a->fd) != 0)
        log_debug("audit", "fdatasync: %s", strerror(errno));
    audit_free(a);
}
