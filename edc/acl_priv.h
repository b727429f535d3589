/* Private to edc/acl*.c: a connection of the ACL listener and one request of it.
 *
 *   acl.c         listens, takes connections, reloads
 *   acl_conn.c    a connection: frames in, answers out, deadlines
 *   acl_login.c   SASL
 *   acl_local.c   ApiVersions, Metadata, DescribeCluster
 *   acl_change.c  CreateAcls, DeleteAcls
 *   acl_find.c    DescribeAcls
 *
 * A connection works on one request at a time; what is pipelined behind it waits in the transport.
 * The request outlives its connection while the store works on it. */
#ifndef EDC_ACL_PRIV_H
#define EDC_ACL_PRIV_H

#include <sys/socket.h>

#include "audit/audit.h"
#include "auth/scram_server.h"
#include "base/arena.h"
#include "base/loop.h"
#include "codec/frame.h"
#include "codec/msg.h"
#include "edc/acl.h"
#include "proxy/listener.h"
#include "proxy/transport.h"

#define ACL_WHO_BYTES 256 /* a user, or a certificate's subject, and its NUL */

struct acl_change;
struct acl_conn;
struct peers;

struct acl_door {
    struct acl *acl;
    int fd;
    struct loop_io *io;
};

struct acl {
    struct loop *loop;
    const struct config *config; /* a reference */
    struct changes changes;
    struct tls_context *tls; /* NULL: plain */
    struct scram_users *users;
    struct peers *peers;
    struct acl_door doors[LISTENER_ADDRESSES_MAX];
    unsigned ndoors;
    struct loop_timer *rest; /* after a failed accept */
    struct acl_conn *conns;  /* the newest first */
    unsigned nconns;
    unsigned refused; /* connections, and when that was logged last */
    uint64_t complained_us;
    uint64_t second_us; /* when the second began in which so many were taken */
    unsigned taken;
    struct acl_change *first, *last; /* the first one is being made */
    struct loop_task turn;           /* the next one begins */
    struct loop_timer *retry;        /* the first one goes on: the store was full */
};

enum acl_state {
    ACL_TLS,
    ACL_PREAUTH,    /* ApiVersions, then SaslHandshake */
    ACL_HANDSHAKEN, /* SaslAuthenticate, once or twice */
    ACL_REFUSED,    /* the no is held back, then told */
    ACL_READY,
    ACL_ENDING, /* the last answer is on its way */
    ACL_CLOSED,
};

enum acl_mechanism { ACL_NO_SASL, ACL_PLAIN, ACL_SCRAM_256, ACL_SCRAM_512 };

/* A request with its answer. */
struct acl_ask {
    struct acl_conn *conn; /* NULL: gone */
    struct acl *acl;       /* NULL: gone */
    struct buf frame;
    struct arena arena;
    struct request_head head;
    struct msg request, reply;
    bool held; /* by a change: it goes on when the connection is gone */
};

struct acl_conn {
    struct acl *acl;
    struct acl_conn *next, **prev;
    struct transport t;
    enum acl_state state;
    struct acl_ask *ask; /* being worked on; NULL: none */
    struct loop_timer *timer;
    struct loop_task later; /* goes on, or frees it when it is closed */
    struct sockaddr_storage peer_addr;
    bool versions_answered, in_frame, counted;
    enum acl_mechanism mechanism;
    struct scram_server scram;
    uint64_t user_number;    /* of scram_users; 0: none */
    char who[ACL_WHO_BYTES]; /* the user; without users the certificate's subject */
    char subject[ACL_WHO_BYTES];
    char peer[64];
    struct buf no;     /* a refusal that is held back */
    const char *cause; /* why it ends */
};

/* --- acl_conn.c */

/* Takes the descriptor, whatever it returns. */
int acl_conn_new(struct acl *a, int fd, const struct sockaddr_storage *peer) SL_MUST;
void acl_conn_close(struct acl_conn *c, const char *cause);
/* Frees it; its change under way goes on. */
void acl_conn_free(struct acl_conn *c);
/* The request is answered with ask->reply (rc OK), or the connection closed. Frees the ask. */
void acl_conn_answer(struct acl_ask *ask, int rc);
/* Answers with ask->reply, held back for a while, then ends. */
void acl_conn_refuse(struct acl_ask *ask, int rc, const char *cause);
/* Closes for a frame that is not legal or not offered; audited. Frees nothing. */
void acl_conn_fault(struct acl_conn *c, const struct request_head *h, uint64_t offset,
                    const char *why);
void acl_ask_free(struct acl_ask *ask);
/* Somebody has logged in. */
void acl_conn_ready(struct acl_conn *c);
/* Do users and subjects of the configuration still let it in? */
bool acl_conn_welcome(const struct acl_conn *c);
/* The connection's side of an audit line. */
void acl_conn_audit(const struct acl_conn *c, struct audit_event *e);

static inline void acl_audit(const struct changes *c, const struct audit_event *e)
{
    if (c->audit)
        audit_put(c->audit, e);
}

/* --- the requests: each answers its ask, now or later */
void acl_handshake(struct acl_ask *ask);
void acl_authenticate(struct acl_ask *ask);
void acl_versions(struct acl_ask *ask);
void acl_metadata(struct acl_ask *ask);
void acl_cluster(struct acl_ask *ask);
void acl_describe(struct acl_ask *ask);
void acl_create(struct acl_ask *ask);
void acl_delete(struct acl_ask *ask);

/* What is offered: all versions of it. NULL: not offered. */
struct acl_api {
    int api;
    struct versions offered;
    void (*answer)(struct acl_ask *ask);
};
const struct acl_api *acl_api_find(int api);
const struct acl_api *acl_api_all(size_t *count);

/* The task and the timer above; arg is the acl. */
void acl_change_turn(void *arg);
/* A change whose acl goes away: it is finished without it. */
void acl_change_orphan(struct acl *a);

#endif
