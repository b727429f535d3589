/* The audit trail: one JSON line an event, in OCSF's terms (1.3: class 3002 Authentication, 3005
 * User Access Management, 4001 Network Activity, 6002 Application Lifecycle, 6003 API Activity),
 * for people and SIEMs.
 *
 *   worker thread         ring (1 MiB, one a thread)        writer thread
 *   encode, audit_put --> [ line | line | ... ]        -->  chain_line, batch, write(2)
 *
 * Events are encoded by the thread where they happen and go through a bounded ring a thread to one
 * writer thread, so that a slow disk delays nobody. A seam is kept for the hash chain: every line
 * passes audit/chain.c's one function before it is written. Never a token, a secret or a record.
 * When lines cannot be written or a ring is full: `audit.on_failure: stop` refuses new logins and
 * closes sessions that would act unaudited (audit_ok() is false), `count` counts the lost lines.
 * It recovers by itself: what waited is written, then a line that tells how many were lost, then
 * audit_ok() is true again. A line is whole or absent, also across ENOSPC and rotation; only a
 * machine that dies can leave half of one, and the next start puts a line end behind it. */
#ifndef AUDIT_AUDIT_H
#define AUDIT_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct audit;      /* the writer; owned by main */
struct audit_ring; /* one producer thread's way in */

enum audit_kind {
    AUDIT_CONNECT, /* a client's connection was taken */
    AUDIT_TLS_FAIL,
    AUDIT_AUTH_OK,   /* grant used, lifetime */
    AUDIT_AUTH_FAIL, /* reason: a verdict's name */
    AUDIT_REAUTH,
    AUDIT_DENIAL,   /* api, resource, error code; repeats in summary (count) */
    AUDIT_PROTOCOL, /* a frame that was not legal; api, version, offset, why */
    AUDIT_UPSTREAM, /* a broker's fault that a client felt */
    AUDIT_REVOCATION,
    AUDIT_GRANT, /* a grant came, changed or went */
    AUDIT_CLOSE, /* cause and byte counts */
    AUDIT_START,
    AUDIT_STOP,
    AUDIT_RELOAD,
    AUDIT_LOST, /* the trail has a gap of `count` lines; written by the writer itself */
};
#define AUDIT_KINDS (AUDIT_LOST + 1)

/* What an event may carry; NULL and 0 are left out of the line. Texts may hold any bytes: they are
 * escaped, cut at 256 bytes, and invalid UTF-8 is replaced. */
struct audit_event {
    enum audit_kind kind;
    bool failed;                /* what was tried did not work, where the kind does not say so */
    uint64_t session;           /* a number, unique in this process */
    const char *client_address; /* "192.0.2.1:51234" */
    const char *reason;         /* verdict, cause, why */
    const char *issuer, *subject, *client, *jti;
    const char *mechanism; /* of an authentication; NULL: OAUTHBEARER */
    const char *transfer, *agreement, *asset, *participant;
    const char *client_id, *software_name, *software_version;
    const char *tls_protocol, *tls_cipher;
    const char *api; /* "Fetch" */
    int api_version;
    const char *resource_type; /* "topic", "group", "transactional id" */
    const char *resource;
    size_t resource_len;          /* 0: NUL-terminated */
    int error;                    /* Kafka error code */
    uint64_t count;               /* of repeated denials, of closed sessions */
    uint64_t bytes_in, bytes_out; /* clear payload of the client's connection */
    uint64_t duration_us;
    int64_t lifetime_s;
    uint64_t offset;
};

/* No line is longer, whatever its texts hold. */
#define AUDIT_TEXT_MAX 256
#define AUDIT_LINE_MAX ((size_t)40 * 1024)

/* file "-": stdout. err says what went wrong. Starts the writer thread. */
struct audit *audit_open(const char *file, bool stop_on_failure, char *err,
                         size_t err_bytes) SL_MUST;
/* Writes what is queued, then stops; gives up on a disk that refuses after AUDIT_CLOSE_MS. Every
 * ring has been freed before. */
#define AUDIT_CLOSE_MS 2000
void audit_close(struct audit *a);
/* Opens the file anew (log rotation, SIGHUP). Any thread. */
void audit_reopen(struct audit *a);
/* False: what must be audited cannot be, and the configuration says stop. Any thread; one atomic.
 */
bool audit_ok(const struct audit *a);
/* The same, for who has a ring alone; NULL: no trail, so nothing is amiss. */
bool audit_ring_ok(const struct audit_ring *r);
uint64_t audit_lost(const struct audit *a);
uint64_t audit_written(const struct audit *a);

/* One a producing thread; AUDIT_RING_BYTES each. */
#define AUDIT_RING_BYTES ((size_t)1024 * 1024)
struct audit_ring *audit_ring_new(struct audit *a) SL_MUST;
/* What is queued in it is still written. NULL does nothing. */
void audit_ring_free(struct audit_ring *r);
/* Encodes and queues; never blocks. The ring's one thread. */
void audit_put(struct audit_ring *r, const struct audit_event *e);
/* The line itself, NUL-terminated without newline, for tests; its length, or ERR_LIMIT. */
int audit_encode(const struct audit_event *e, int64_t time_ms, char *out, size_t out_bytes) SL_MUST;

#endif
