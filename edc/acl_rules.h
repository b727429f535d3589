/* What ACLs mean here: Kafka's bindings and filters, and the grants that they become. Pure
 * functions over plain memory; any thread.
 *
 * A grant of this listener is a right of one subject, with one operation:
 *
 *   operation         topic                prefix
 *   READ              READ on it           READ on groups under it
 *   WRITE             WRITE on it          WRITE on transactional ids under it
 *   MANAGE            -                    DELETE on groups under it
 *   DESCRIBE_CONFIGS  DESCRIBE_CONFIGS     -
 *
 * with a topic, a prefix, or both. A topic and a prefix that one CreateAcls request names together
 * make one grant, since they are one transfer's; what comes apart makes grants apart, and a login
 * adds up the grants of its subject, as Kafka adds up ACLs. So nothing depends on the order in
 * which ACLs come, and asking again changes nothing: the grant's id is made of what it is for.
 *
 * DESCRIBE goes with READ, WRITE and DELETE, here as in Kafka; it is shown beside them and does
 * not exist alone. */
#ifndef EDC_ACL_RULES_H
#define EDC_ACL_RULES_H

#include "auth/grant.h"
#include "base/arena.h"
#include "codec/msg.h"

/* Kafka's own numbers (org.apache.kafka.common.resource and .acl). */
enum acl_type { ACL_TYPE_ANY = 1, ACL_TOPIC = 2, ACL_GROUP = 3, ACL_TXN = 5 };
#define ACL_TYPE_MAX 7 /* USER */
enum acl_pattern { ACL_PATTERN_ANY = 1, ACL_MATCH = 2, ACL_LITERAL = 3, ACL_PREFIXED = 4 };
enum acl_op {
    ACL_OP_ANY = 1,
    ACL_READ = 3,
    ACL_WRITE = 4,
    ACL_DELETE = 6,
    ACL_DESCRIBE = 8,
    ACL_DESCRIBE_CONFIGS = 10,
};
#define ACL_OP_MAX 15 /* TWO_PHASE_COMMIT */
enum acl_permission { ACL_PERMISSION_ANY = 1, ACL_DENY = 2, ACL_ALLOW = 3 };

/* An ACL that there can be: for the principal "User:" + subject, from every host, ALLOW. */
struct acl_binding {
    int type, pattern, op;
    const char *name, *subject;
};

/* NULL texts and ANY match all. */
struct acl_filter {
    int type, pattern, op, permission;
    const char *name, *principal, *host;
};

/* What a grant stands for; see above. Texts belong to whoever made it. */
struct acl_right {
    const char *subject, *topic, *prefix; /* "": none */
    unsigned op;                          /* one enum op bit */
    const char *issuer;                   /* of a grant that there is; NULL: whoever asks says */
};
#define ACL_RIGHT_BINDINGS 4

/* A creation of a CreateAcls request; texts are copied into a. Returns 0, or the code that a broker
 * gives, with *why. ERR_NOMEM when a is full. */
int acl_read_creation(const struct node *n, struct arena *a, struct acl_binding *out,
                      const char **why) SL_MUST;
/* A filter of a DeleteAcls request, or the whole of a DescribeAcls request; likewise. */
int acl_read_filter(const struct node *n, struct arena *a, struct acl_filter *out,
                    const char **why) SL_MUST;

/* Kafka's own rules (AclBindingFilter.matches): MATCH finds whatever would cover the name, a
 * literal one or a prefix of it; ANY finds the name itself in any kind of pattern. */
bool acl_filter_matches(const struct acl_filter *f, const struct acl_binding *b);
/* By resource, then subject, then operation; 0 when they are one. */
int acl_binding_compare(const struct acl_binding *a, const struct acl_binding *b);

/* Every binding of the right into out[ACL_RIGHT_BINDINGS]; returns how many. Those that carry it
 * come first, *carriers of them (one for the topic, then one for the prefix); the others follow
 * from them. */
unsigned acl_right_bindings(const struct acl_right *r, struct acl_binding *out, unsigned *carriers);
/* Does this look like a grant that this listener made for subjects of that issuer (NULL: of any,
 * since acl_listener.issuer may have been another)? out refers to its texts. Cheap; whoever then
 * wants to touch it asks acl_right_made too. */
bool acl_right_of(const struct grant *g, const char *issuer, struct acl_right *out);
/* Does the grant's id say that it was made of this very right? */
bool acl_right_made(const struct acl_right *r, const struct grant *g);
/* The grant. ERR_MALFORMED with *why for what none can be. */
int acl_right_grant(const struct acl_right *r, const char *issuer, struct grant **out,
                    const char **why) SL_MUST;
/* Does it carry this binding, or what this binding (a DESCRIBE) follows from? */
bool acl_right_has(const struct acl_right *r, const struct acl_binding *b);

/* The rights that the bindings of one request make: n of them at most, into out; returns how many.
 * Bindings that follow from others make none. Topics and prefixes of a subject and operation are
 * paired in their order; where one list is shorter, its last one is paired with the rest. */
size_t acl_plan_create(const struct acl_binding *b, size_t n, struct acl_right *out);

/* What a DeleteAcls request does to a right. */
enum acl_fate { ACL_STAYS, ACL_ENDS, ACL_LOSES_TOPIC, ACL_LOSES_PREFIX };
/* One for each of the rights. What is named goes, with one exception: where the request ends a
 * topic together with a prefix, the prefix is meant as that transfer's, and stays with the other
 * topics that were granted with it. */
void acl_plan_delete(const struct acl_right *rights, size_t n, const struct acl_filter *filters,
                     size_t nfilters, enum acl_fate *out);
/* What is left of a right; subject NULL: nothing. */
struct acl_right acl_right_left(const struct acl_right *r, enum acl_fate fate);

const char *acl_type_name(int type); /* "topic"; "resource" for those that are not taken */

#endif
