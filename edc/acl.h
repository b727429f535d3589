/* The ACL listener: a Kafka broker as far as its admin clients can tell, for connectors that manage
 * a consumer's access by ACLs. CreateAcls makes grants, DeleteAcls ends them and their sessions,
 * DescribeAcls shows what is in force (edc/acl_rules.h says how the one becomes the other).
 *
 * It answers ApiVersions, SaslHandshake, SaslAuthenticate, Metadata and DescribeCluster (itself as
 * the only node) and the three above; whatever else comes closes the connection, as does every
 * frame that is not legal. Who may ask logs in with SASL PLAIN or SCRAM, or by the subject of a
 * client certificate. A change is answered when it is in force, its sockets are closed and it is
 * durable; changes are made one request after another, over all connections.
 *
 * Control thread: it has a loop to share with everything that revokes, so all here is bounded.
 * Owned by edc; uses the store through control/change.h alone. */
#ifndef EDC_ACL_H
#define EDC_ACL_H

#include <stdint.h>

#include "config/config.h"
#include "control/change.h"

/* A new connection beyond these takes the place of the oldest that has not logged in, else waits
 * in the kernel. */
#define ACL_CONNECTIONS_MAX 32
#define ACL_PER_ADDRESS_MAX 16
/* New connections a second, beyond which they wait in the kernel: a TLS handshake costs this thread
 * a millisecond or more, and strangers must not take it from those who revoke. */
#define ACL_ACCEPTS_PER_S 100
/* Creations or filters of a request. */
#define ACL_ITEMS_MAX 100
/* ACLs that a filter may find; beyond it the request is refused as too large. */
#define ACL_MATCHES_MAX 10000
/* Changes of one request that are with the store at a time. */
#define ACL_WINDOW 32
/* While the store is full of others' changes it is asked again after so long, so often. */
#define ACL_RETRY_US  UINT64_C(5000)
#define ACL_TRIES_MAX 400
/* A request with its answer as trees, and the answer on its way out. */
#define ACL_ARENA_BYTES ((size_t)64 * 1024 * 1024)
#define ACL_OUT_BYTES   ((size_t)32 * 1024 * 1024)
/* What a stranger may cost: his trees, and how long he waits for a no. */
#define ACL_LOGIN_ARENA_BYTES ((size_t)512 * 1024)
#define ACL_REFUSAL_MS        1000
/* What was answered last may still be read so long. */
#define ACL_LINGER_MS 1000

struct acl;
struct loop;

/* NULL with err. Without acl_listener.listen it does nothing. */
struct acl *acl_new(struct loop *l, const struct config *c, const struct changes *changes,
                    char *err, size_t err_bytes) SL_MUST;
/* A reload: users, subjects, certificate, issuer, advertised address. Connections of users that are
 * no longer there, or whose password is another, are closed. On error err says why and nothing has
 * changed. */
int acl_config(struct acl *a, const struct config *c, char *err, size_t err_bytes) SL_MUST;
/* Changes under way go on; nobody hears of them any more. Before the store is closed. */
void acl_free(struct acl *a);

#endif
