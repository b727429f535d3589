/* Tidying up behind an ended grant (design decision 7): group members leave, open transactions are
 * aborted, so that the others of the group go on at once and the last stable offset moves. Never
 * behind a lost connection or an expired token, whose client comes back.
 *
 * A session notes what it joined (struct memberships, at most MEMBERSHIPS_MAX, oldest forgotten).
 * After a revocation the gate starts a job for each entry that no grant of that participant allows
 * any more. A job has an upstream connection of its own, CLEANUP_TIMEOUT_US, and is best effort; at
 * most CLEANUP_JOBS_MAX a worker. One worker's thread. */
#ifndef PROXY_CLEANUP_H
#define PROXY_CLEANUP_H

#include "codec/msg.h"
#include "proxy/gate.h"

#define MEMBERSHIPS_MAX    16
#define CLEANUP_JOBS_MAX   256
#define CLEANUP_TIMEOUT_US (10 * UINT64_C(1000000))

struct exchange;
struct membership;

enum membership_kind {
    MEMBER_CLASSIC,  /* LeaveGroup */
    MEMBER_CONSUMER, /* KIP-848: a heartbeat with epoch -1 */
    MEMBER_PRODUCER, /* InitProducerId: fences and aborts */
};

/* Notes what a finished exchange joined or left, from its request and its (merged) answer. */
void memberships_note(struct exchange *ex);
void memberships_release(struct membership **list);

/* For a session that a revocation has closed, after the table has taken the revocation. */
void cleanup_start(struct gate *g, struct session *s);
/* Drops all jobs. */
void cleanup_release(struct gate *g);

#endif
