/* Private to edc/acl_find.c and edc/acl_change.c: the listener's grants among those that are in
 * force, and how ACLs stand in answers. Control thread. */
#ifndef EDC_ACL_FIND_H
#define EDC_ACL_FIND_H

#include "edc/acl_priv.h"
#include "edc/acl_rules.h"

#define KAFKA_UNKNOWN_SERVER_ERROR (-1)
#define KAFKA_POLICY_VIOLATION     44

/* A creation, or a filter, with its verdict. */
struct acl_item {
    struct acl_binding binding;
    struct acl_filter filter;
    int error; /* Kafka's; 0: none */
    const char *why;
};

struct acl_found {
    struct acl_right right;
    struct grant *grant; /* a reference, which keeps the right's texts */
};

struct acl_search {
    const char *issuer;
    const struct acl_item *items;
    size_t nitems;
    bool by_subject; /* items are creations, else filters */
    struct acl_found *at;
    size_t count, room;
    int result; /* ERR_LIMIT: more than ACL_MATCHES_MAX */
};

/* issuer NULL: of any. Every grant of this listener that a filter of the items finds a binding of,
 * or (by_subject) whose subject a creation is for. Items with an error are passed over. */
struct acl_search acl_search_for(struct store *store, const char *issuer,
                                 const struct acl_item *items, size_t nitems, bool by_subject);
void acl_search_release(struct acl_search *s);
/* Is this very right among them? */
bool acl_in_force(const struct acl_search *s, const struct acl_right *r);

/* Room for all bindings of so many rights; sl_free it. */
struct acl_binding *acl_bindings_new(size_t rights) SL_MUST;
/* Sorts them, each once; returns how many are left. */
size_t acl_bindings_unique(struct acl_binding *b, size_t n);
/* For qsort and bsearch. */
int acl_bindings_order(const void *a, const void *b);

/* Principal, host, operation and permission of an answer's entry. */
int acl_put_entry(struct msg *m, struct node *e, const struct acl_binding *b) SL_MUST;

#endif
