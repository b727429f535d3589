#include "edc/acl_find.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/reply.h"

static bool wanted(const struct acl_search *s, const struct acl_right *r)
{
    struct acl_binding all[ACL_RIGHT_BINDINGS];
    unsigned carriers, n = acl_right_bindings(r, all, &carriers);

    for (size_t i = 0; i < s->nitems; i++) {
        const struct acl_item *it = &s->items[i];

        if (it->error)
            continue;
        if (s->by_subject && strcmp(it->binding.subject, r->subject) == 0)
            return true;
        for (unsigned j = 0; !s->by_subject && j < n; j++)
            if (acl_filter_matches(&it->filter, &all[j]))
                return true;
    }
    return false;
}

static void look(void *arg, const struct grant *g)
{
    struct acl_search *s = arg;
    size_t room = s->room ? s->room * 2 : 16;
    struct acl_right r;
    struct acl_found *at;
    union { /* the store shows its grants; a count of one's own keeps the texts that r refers to */
        const struct grant *shown;
        struct grant *counted;
    } seen = {.shown = g};

    if (s->result != OK || !acl_right_of(g, s->issuer, &r) || !wanted(s, &r) ||
        !acl_right_made(&r, g))
        return;
    if (s->count == ACL_MATCHES_MAX) {
        s->result = ERR_LIMIT;
        return;
    }
    if (s->count == s->room) {
        at = sl_realloc(s->at, room * sizeof(*at));
        if (!at) {
            s->result = ERR_NOMEM;
            return;
        }
        s->at = at;
        s->room = room;
    }
    s->at[s->count++] = (struct acl_found){r, grant_ref(seen.counted)};
}

void acl_search_release(struct acl_search *s)
{
    for (size_t i = 0; i < s->count; i++)
        grant_unref(s->at[i].grant);
    sl_free(s->at);
}

struct acl_search acl_search_for(struct store *store, const char *issuer,
                                 const struct acl_item *items, size_t nitems, bool by_subject)
{
    struct acl_search s = {
        .issuer = issuer, .items = items, .nitems = nitems, .by_subject = by_subject};

    store_each_grant(store, look, &s);
    return s;
}

bool acl_in_force(const struct acl_search *s, const struct acl_right *r)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct acl_right *has = &s->at[i].right;

        if (has->op == r->op && strcmp(has->subject, r->subject) == 0 &&
            strcmp(has->topic, r->topic) == 0 && strcmp(has->prefix, r->prefix) == 0)
            return true;
    }
    return false;
}

int acl_bindings_order(const void *a, const void *b)
{
    return acl_binding_compare(a, b);
}

size_t acl_bindings_unique(struct acl_binding *b, size_t n)
{
    size_t kept = 0;

    qsort(b, n, sizeof(*b), acl_bindings_order);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || acl_binding_compare(&b[kept - 1], &b[i]) != 0)
            b[kept++] = b[i];
    return kept;
}

struct acl_binding *acl_bindings_new(size_t rights)
{
    return sl_calloc(rights ? rights * ACL_RIGHT_BINDINGS : 1, sizeof(struct acl_binding));
}

/* --- answers */

static int set_principal(struct msg *m, struct node *e, const char *subject)
{
    char text[sizeof("User:") + IDENTITY_TEXT_MAX];

    snprintf(text, sizeof(text), "User:%s", subject);
    return node_set_str(m, e, F_PRINCIPAL, (const uint8_t *)text, strlen(text));
}

int acl_put_entry(struct msg *m, struct node *e, const struct acl_binding *b)
{
    int rc = set_principal(m, e, b->subject);

    if (rc == OK)
        rc = node_set_text(m, e, F_HOST, "*");
    if (rc == OK)
        rc = node_set_num(m, e, F_OPERATION, b->op);
    if (rc == OK)
        rc = node_set_num(m, e, F_PERMISSION_TYPE, ACL_ALLOW);
    return rc;
}

/* --- DescribeAcls */

static int put_resource(struct msg *m, struct node *list, const struct acl_binding *b,
                        struct node **acls)
{
    struct node *e = array_add(m, list);
    int rc = e ? node_set_num(m, e, F_RESOURCE_TYPE, b->type) : ERR_NOMEM;

    if (rc == OK)
        rc = node_set_str(m, e, F_RESOURCE_NAME, (const uint8_t *)b->name, strlen(b->name));
    if (rc == OK)
        rc = node_set_num(m, e, F_PATTERN_TYPE, b->pattern);
    *acls = rc == OK ? node_array(m, e, F_ACLS) : NULL;
    return rc == OK && !*acls ? ERR_NOMEM : rc;
}

static bool same_resource(const struct acl_binding *a, const struct acl_binding *b)
{
    return a->type == b->type && a->pattern == b->pattern && strcmp(a->name, b->name) == 0;
}

static int put_all(struct msg *m, const struct acl_binding *b, size_t n, const struct acl_filter *f)
{
    struct node *resources = node_array(m, m->root, F_RESOURCES), *acls = NULL;
    const struct acl_binding *last = NULL;
    int rc = resources ? OK : ERR_NOMEM;

    for (size_t i = 0; i < n && rc == OK; i++) {
        struct node *e;

        if (!acl_filter_matches(f, &b[i]))
            continue;
        if (!last || !same_resource(last, &b[i]))
            rc = put_resource(m, resources, &b[i], &acls);
        last = &b[i];
        e = rc == OK ? array_add(m, acls) : NULL;
        rc = e ? acl_put_entry(m, e, &b[i]) : ERR_NOMEM;
    }
    return rc;
}

static int describe_found(struct msg *m, const struct acl_search *s, const struct acl_filter *f)
{
    struct acl_binding *all = acl_bindings_new(s->count);
    unsigned carriers;
    size_t n = 0;
    int rc;

    if (!all)
        return ERR_NOMEM;
    for (size_t i = 0; i < s->count; i++)
        n += acl_right_bindings(&s->at[i].right, all + n, &carriers);
    rc = put_all(m, all, acl_bindings_unique(all, n), f);
    sl_free(all);
    return rc;
}

static void too_many(struct acl_item *it)
{
    it->error = KAFKA_POLICY_VIOLATION;
    it->why = "The filter finds too many ACLs.";
}

void acl_describe(struct acl_ask *ask)
{
    struct acl_item it = {.error = 0};
    struct acl_search s = {.count = 0};
    struct msg *m = &ask->reply;
    int rc = reply_new(m, &ask->arena, &ask->request);

    it.error = acl_read_filter(ask->request.root, &ask->arena, &it.filter, &it.why);
    if (rc == OK && it.error < 0)
        rc = it.error;
    if (rc == OK && !it.error) {
        s = acl_search_for(ask->acl->changes.store, NULL, &it, 1, false);
        rc = s.result == ERR_LIMIT ? OK : s.result;
        if (s.result == ERR_LIMIT)
            too_many(&it);
    }
    if (rc == OK && !it.error)
        rc = describe_found(m, &s, &it.filter);
    acl_search_release(&s);
    if (rc == OK && it.error) {
        rc = node_set_num(m, m->root, F_ERROR_CODE, it.error);
        if (rc == OK)
            rc = node_set_text(m, m->root, F_ERROR_MESSAGE, it.why);
    }
    acl_conn_answer(ask, rc);
}
