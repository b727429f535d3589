/* CreateAcls, DeleteAcls and DescribeAcls over the grants of the store.
 *
 * A change is planned at once from what is in force, then made in steps: each puts a grant or ends
 * one, ACL_WINDOW of them are with the store at a time, and the answer leaves when the last one is
 * in force, has closed its sockets and is durable. One change after another, over all connections:
 * what is asked twice is then answered the second time when the first time is done. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "codec/reply.h"
#include "edc/acl_find.h"

struct acl_step {
    struct acl_change *change;
    struct acl_right right;
    bool put, undo;
    bool fresh; /* put: it was not in force before */
    bool ok;
};

struct acl_change {
    struct acl_change *next;
    struct acl_ask *ask;
    struct changes changes;
    const char *issuer;
    char peer[64], by[AUDIT_TEXT_MAX];
    struct acl_item *items;
    size_t nitems;
    struct acl_step *steps;
    size_t nsteps, room, begun, pending;
    unsigned tries;           /* in a row in which the store was full of others' changes */
    bool begins;              /* it is planned */
    struct acl_binding *gone; /* DeleteAcls: what is not in force afterwards */
    size_t ngone;
    bool failed; /* a step */
    bool undone;
    bool settled; /* DeleteAcls: it was looked whether a former end is still owed to the disk */
};

/* --- steps */

static void refuse(struct acl_item *it, int error, const char *why)
{
    it->error = error;
    it->why = why;
}

static void refuse_all(struct acl_change *c, int error, const char *why)
{
    for (size_t i = 0; i < c->nitems; i++)
        refuse(&c->items[i], error, why);
}

static int step_add(struct acl_change *c, const struct acl_right *r, bool put)
{
    size_t room = c->room ? c->room * 2 : 16;
    struct acl_step *at;

    if (c->nsteps == c->room) {
        at = sl_realloc(c->steps, room * sizeof(*at));
        if (!at)
            return ERR_NOMEM;
        c->steps = at;
        c->room = room;
    }
    c->steps[c->nsteps++] = (struct acl_step){.change = c, .right = *r, .put = put};
    return OK;
}

static void step_failed(struct acl_change *c, const struct acl_step *s, int rc)
{
    c->failed = true;
    log_error("acl", "%s %s: a grant could not be %s: %s", c->by, c->peer, s->put ? "put" : "ended",
              err_name(rc));
    for (size_t i = 0; c->ask->head.api == 30 && !s->undo && i < c->nitems; i++) {
        struct acl_item *it = &c->items[i];

        if (it->error || strcmp(it->binding.subject, s->right.subject) != 0)
            continue;
        it->error = rc == ERR_LIMIT ? KAFKA_POLICY_VIOLATION : KAFKA_UNKNOWN_SERVER_ERROR;
        it->why =
            rc == ERR_LIMIT ? "There is no room for more grants." : "The grant could not be kept.";
    }
}

static void change_go_on(struct acl_change *c);

static void on_step(void *arg, int result, unsigned closed)
{
    struct acl_step *s = arg;
    struct acl_change *c = s->change;

    (void)closed;
    s->ok = result == OK;
    c->pending--;
    if (!s->ok)
        step_failed(c, s, result);
    change_go_on(c);
}

static int step_begin(struct acl_step *s)
{
    struct acl_change *c = s->change;
    const char *why;
    struct grant *g;
    int rc = acl_right_grant(&s->right, s->right.issuer ? s->right.issuer : c->issuer, &g, &why);

    if (rc != OK)
        return rc;
    if (s->put)
        return change_grant(&c->changes, g, c->peer, on_step, s);
    rc = change_ungrant(&c->changes, g, c->peer, on_step, s);
    grant_unref(g);
    return rc;
}

/* The store is full of changes: ours among them go on when they are done, else we ask again. */
static bool wait_for_room(struct acl_change *c)
{
    struct acl *a = c->ask->acl;

    if (c->pending > 0)
        return true;
    return a && c->tries++ < ACL_TRIES_MAX && loop_timer_set(a->retry, ACL_RETRY_US) == OK;
}

/* Hands over what the window and the store take. */
static void steps_run(struct acl_change *c)
{
    while (c->begun < c->nsteps && c->pending < ACL_WINDOW) {
        struct acl_step *s = &c->steps[c->begun];
        int rc = step_begin(s);

        if (rc == ERR_BUSY && wait_for_room(c))
            return;
        c->tries = 0;
        c->begun++;
        if (rc == OK)
            c->pending++;
        else if (rc == ERR_UNKNOWN && !s->put)
            s->ok = true; /* another way in was faster */
        else
            step_failed(c, s, rc);
    }
}

/* --- a change from its beginning to its end */

static void change_free(struct acl_change *c)
{
    sl_free(c->items);
    sl_free(c->steps);
    sl_free(c->gone);
    sl_free(c);
}

static int answer_create(struct acl_change *c)
{
    struct msg *m = &c->ask->reply;
    struct node *results;
    int rc = msg_new(m, &c->ask->arena, schema_find(30, false), c->ask->head.version);

    results = rc == OK ? node_array(m, m->root, F_RESULTS) : NULL;
    for (size_t i = 0; rc == OK && i < c->nitems; i++) {
        struct node *e = results ? array_add(m, results) : NULL;

        rc = e ? node_set_num(m, e, F_ERROR_CODE, c->items[i].error) : ERR_NOMEM;
        if (rc == OK && c->items[i].error)
            rc = node_set_text(m, e, F_ERROR_MESSAGE, c->items[i].why);
    }
    return rc;
}

static bool failed_for(const struct acl_change *c, const char *subject)
{
    for (size_t i = 0; i < c->nsteps; i++)
        if (!c->steps[i].ok && strcmp(c->steps[i].right.subject, subject) == 0)
            return true;
    return false;
}

static int put_match(struct acl_change *c, struct node *list, const struct acl_binding *b)
{
    struct msg *m = &c->ask->reply;
    struct node *e = array_add(m, list);
    int rc = e ? OK : ERR_NOMEM;

    if (rc == OK && c->failed && failed_for(c, b->subject)) {
        rc = node_set_num(m, e, F_ERROR_CODE, KAFKA_UNKNOWN_SERVER_ERROR);
        if (rc == OK)
            rc = node_set_text(m, e, F_ERROR_MESSAGE, "The change could not be kept.");
    }
    if (rc == OK)
        rc = node_set_num(m, e, F_RESOURCE_TYPE, b->type);
    if (rc == OK)
        rc = node_set_str(m, e, F_RESOURCE_NAME, (const uint8_t *)b->name, strlen(b->name));
    if (rc == OK)
        rc = node_set_num(m, e, F_PATTERN_TYPE, b->pattern);
    return rc == OK ? acl_put_entry(m, e, b) : rc;
}

static int answer_delete(struct acl_change *c)
{
    struct msg *m = &c->ask->reply;
    struct node *results, *list;
    int rc = msg_new(m, &c->ask->arena, schema_find(31, false), c->ask->head.version);

    results = rc == OK ? node_array(m, m->root, F_FILTER_RESULTS) : NULL;
    for (size_t i = 0; rc == OK && i < c->nitems; i++) {
        const struct acl_item *it = &c->items[i];
        struct node *e = results ? array_add(m, results) : NULL;

        rc = e ? node_set_num(m, e, F_ERROR_CODE, it->error) : ERR_NOMEM;
        if (rc == OK && it->error)
            rc = node_set_text(m, e, F_ERROR_MESSAGE, it->why);
        list = rc == OK ? node_array(m, e, F_MATCHING_ACLS) : NULL;
        for (size_t j = 0; rc == OK && !it->error && j < c->ngone; j++)
            if (acl_filter_matches(&it->filter, &c->gone[j]))
                rc = list ? put_match(c, list, &c->gone[j]) : ERR_NOMEM;
    }
    return rc;
}

/* What was asked for together and cannot be had whole is not had at all. */
static void undo(struct acl_change *c)
{
    size_t n = c->nsteps;

    c->undone = true;
    for (size_t i = 0; i < n; i++) {
        struct acl_step *s = &c->steps[i];

        if (!c->failed || !s->put || !s->fresh || !s->ok || !failed_for(c, s->right.subject))
            continue;
        struct acl_right r = s->right;
        if (step_add(c, &r, false) == OK)
            c->steps[c->nsteps - 1].undo = true;
        else
            log_error("acl", "%s: a grant stays that was not wanted alone", c->peer);
    }
}

static void audit_refusals(const struct acl_change *c)
{
    static const char *const names[] = {[30] = "CreateAcls", [31] = "DeleteAcls"};
    const struct acl_ask *ask = c->ask;

    for (size_t i = 0; i < c->nitems; i++) {
        const struct acl_item *it = &c->items[i];
        struct audit_event e = {
            .kind = AUDIT_DENIAL,
            .reason = it->why,
            .issuer = "acl_listener",
            .subject = c->by,
            .client_address = c->peer,
            .api = names[ask->head.api],
            .api_version = ask->head.version,
            .error = it->error,
        };

        if (!it->error)
            continue;
        e.resource_type = acl_type_name(ask->head.api == 30 ? it->binding.type : it->filter.type);
        e.resource = ask->head.api == 30 ? it->binding.name : it->filter.name;
        acl_audit(&c->changes, &e);
    }
}

static void change_finish(struct acl_change *c)
{
    struct acl_ask *ask = c->ask;
    struct acl *a = ask->acl;

    audit_refusals(c);
    if (a) {
        a->first = c->next;
        if (!a->first)
            a->last = NULL;
    }
    if (!ask->conn)
        acl_ask_free(ask);
    else
        acl_conn_answer(ask, ask->head.api == 30 ? answer_create(c) : answer_delete(c));
    change_free(c);
    if (a && a->first)
        loop_post(a->loop, &a->turn);
}

static void on_settled(void *arg, int result, unsigned closed)
{
    struct acl_change *c = arg;

    (void)closed;
    c->pending--;
    if (result != OK)
        refuse_all(c, KAFKA_UNKNOWN_SERVER_ERROR, "A former end is not on the disk yet.");
    change_go_on(c);
}

/* Whoever asks again after an error finds nothing to end any more: it is not done before what the
 * first time could not be written is on the disk. */
static void settle(struct acl_change *c)
{
    int rc = OK;

    c->settled = true;
    if (c->failed || !store_owes(c->changes.store))
        return;
    c->pending++;
    rc = store_settle(c->changes.store, on_settled, c);
    if (rc == OK)
        return;
    c->pending--;
    refuse_all(c, KAFKA_UNKNOWN_SERVER_ERROR, "A former end is not on the disk yet.");
}

static void change_go_on(struct acl_change *c)
{
    steps_run(c);
    if (c->pending == 0 && c->begun == c->nsteps && c->ask->head.api == 30 && !c->undone) {
        undo(c);
        steps_run(c);
    }
    if (c->pending == 0 && c->begun == c->nsteps && c->ask->head.api == 31 && !c->settled)
        settle(c);
    if (c->pending == 0 && c->begun == c->nsteps)
        change_finish(c);
}

/* --- plans */

/* A DESCRIBE needs something that it follows from: in the request or in force. */
static bool follows(const struct acl_right *rights, size_t n, const struct acl_search *s,
                    const struct acl_binding *b)
{
    for (size_t i = 0; i < n; i++)
        if (acl_right_has(&rights[i], b))
            return true;
    for (size_t i = 0; i < s->count; i++)
        if (acl_right_has(&s->at[i].right, b))
            return true;
    return false;
}

/* A login takes GRANT_SET_MAX grants of a subject; with more nobody would get in any more. */
static bool too_many(const struct acl_right *rights, size_t n, const struct acl_search *s,
                     const char *subject)
{
    size_t count = 0;

    for (size_t i = 0; i < s->count; i++)
        count += strcmp(s->at[i].right.subject, subject) == 0;
    for (size_t i = 0; i < n; i++)
        count += strcmp(rights[i].subject, subject) == 0 && !acl_in_force(s, &rights[i]);
    return count > GRANT_SET_MAX;
}

static void plan_create(struct acl_change *c)
{
    struct acl_search s = acl_search_for(c->changes.store, c->issuer, c->items, c->nitems, true);
    struct acl_binding good[ACL_ITEMS_MAX];
    struct acl_right rights[ACL_ITEMS_MAX];
    size_t n = 0, count;
    int rc = s.result;

    for (size_t i = 0; i < c->nitems; i++)
        if (!c->items[i].error)
            good[n++] = c->items[i].binding;
    count = acl_plan_create(good, n, rights);
    for (size_t i = 0; i < c->nitems && rc == OK; i++) {
        struct acl_item *it = &c->items[i];

        if (it->error)
            continue;
        if (!follows(rights, count, &s, &it->binding))
            refuse(it, KAFKA_INVALID_REQUEST,
                   "DESCRIBE goes with READ, WRITE or DELETE; it is not granted alone.");
        else if (too_many(rights, count, &s, it->binding.subject))
            refuse(it, KAFKA_POLICY_VIOLATION, "A principal may have 32 grants at most.");
    }
    for (size_t i = 0; i < count && rc == OK; i++) {
        if (too_many(rights, count, &s, rights[i].subject))
            continue;
        rc = step_add(c, &rights[i], true);
        if (rc == OK)
            c->steps[c->nsteps - 1].fresh = !acl_in_force(&s, &rights[i]);
    }
    acl_search_release(&s);
    if (rc == OK)
        return;
    c->nsteps = 0;
    refuse_all(c, KAFKA_UNKNOWN_SERVER_ERROR, "Out of memory.");
}

/* Texts of a right that outlive its grant. */
static bool keep_texts(struct arena *a, struct acl_right *r)
{
    r->subject = arena_dup(a, r->subject, strlen(r->subject));
    r->topic = r->subject ? arena_dup(a, r->topic, strlen(r->topic)) : NULL;
    r->prefix = r->topic ? arena_dup(a, r->prefix, strlen(r->prefix)) : NULL;
    r->issuer = r->prefix ? arena_dup(a, r->issuer, strlen(r->issuer)) : NULL;
    return r->issuer != NULL;
}

/* First everything ends, then what is left of it comes back: nothing waits for it. */
static int delete_steps(struct acl_change *c, const struct acl_right *rights,
                        const enum acl_fate *fates, size_t n)
{
    int rc = OK;

    for (size_t i = 0; i < n && rc == OK; i++)
        if (fates[i] != ACL_STAYS)
            rc = step_add(c, &rights[i], false);
    for (size_t i = 0; i < n && rc == OK; i++) {
        struct acl_right left = acl_right_left(&rights[i], fates[i]);

        if (fates[i] != ACL_STAYS && left.subject)
            rc = step_add(c, &left, true);
    }
    return rc;
}

/* The bindings that were in force and are not any more. */
static int delete_gone(struct acl_change *c, const struct acl_right *rights,
                       const enum acl_fate *fates, size_t n)
{
    struct acl_binding *before = acl_bindings_new(n), *after = acl_bindings_new(n);
    size_t nbefore = 0, nafter = 0;
    unsigned carriers;

    if (!before || !after) {
        sl_free(before);
        sl_free(after);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        struct acl_right left = acl_right_left(&rights[i], fates[i]);

        nbefore += acl_right_bindings(&rights[i], before + nbefore, &carriers);
        if (left.subject)
            nafter += acl_right_bindings(&left, after + nafter, &carriers);
    }
    nbefore = acl_bindings_unique(before, nbefore);
    nafter = acl_bindings_unique(after, nafter);
    for (size_t i = 0; i < nbefore; i++)
        if (!bsearch(&before[i], after, nafter, sizeof(*after), acl_bindings_order))
            before[c->ngone++] = before[i];
    c->gone = before;
    sl_free(after);
    return OK;
}

static int plan_delete_found(struct acl_change *c, const struct acl_search *s)
{
    struct acl_right *rights = arena_zalloc(&c->ask->arena, (s->count + 1) * sizeof(*rights));
    enum acl_fate *fates = arena_zalloc(&c->ask->arena, (s->count + 1) * sizeof(*fates));
    struct acl_filter filters[ACL_ITEMS_MAX];
    size_t n = 0;
    int rc = rights && fates ? OK : ERR_NOMEM;

    for (size_t i = 0; i < c->nitems; i++)
        if (!c->items[i].error)
            filters[n++] = c->items[i].filter;
    for (size_t i = 0; i < s->count && rc == OK; i++) {
        rights[i] = s->at[i].right;
        rc = keep_texts(&c->ask->arena, &rights[i]) ? OK : ERR_NOMEM;
    }
    if (rc == OK) {
        acl_plan_delete(rights, s->count, filters, n, fates);
        rc = delete_steps(c, rights, fates, s->count);
    }
    return rc == OK ? delete_gone(c, rights, fates, s->count) : rc;
}

static void plan_delete(struct acl_change *c)
{
    struct acl_search s = acl_search_for(c->changes.store, NULL, c->items, c->nitems, false);
    int rc = s.result;

    if (rc == OK)
        rc = plan_delete_found(c, &s);
    acl_search_release(&s);
    if (rc == OK)
        return;
    c->nsteps = c->ngone = 0;
    if (rc == ERR_LIMIT)
        refuse_all(c, KAFKA_POLICY_VIOLATION, "The filters find too many ACLs.");
    else
        refuse_all(c, KAFKA_UNKNOWN_SERVER_ERROR, "Out of memory.");
}

/* --- the requests */

/* The first of those that wait, or again the one that the store had no room for. */
void acl_change_turn(void *arg)
{
    struct acl *a = arg;
    struct acl_change *c = a->first;

    if (!c || (c->begins && c->pending > 0))
        return;
    /* Nothing is given that cannot be told; taking away goes on. */
    if (!c->begins && c->ask->head.api == 30 && !audit_ring_ok(c->changes.audit))
        refuse_all(c, KAFKA_UNKNOWN_SERVER_ERROR, "The audit trail cannot be written.");
    else if (!c->begins && c->ask->head.api == 30)
        plan_create(c);
    else if (!c->begins)
        plan_delete(c);
    c->begins = true;
    change_go_on(c);
}

static int read_item(struct acl_change *c, const struct node *n, struct acl_item *it)
{
    struct arena *a = &c->ask->arena;
    int rc = c->ask->head.api == 30 ? acl_read_creation(n, a, &it->binding, &it->why)
                                    : acl_read_filter(n, a, &it->filter, &it->why);

    it->error = rc;
    return rc >= 0 ? OK : rc;
}

static struct acl_change *change_new(struct acl_ask *ask, const struct node *list)
{
    struct acl_change *c = sl_calloc(1, sizeof(*c));
    size_t i = 0;
    int rc = c ? OK : ERR_NOMEM;

    if (rc == OK) {
        c->ask = ask;
        c->changes = ask->acl->changes;
        c->changes.by = c->by;
        snprintf(c->peer, sizeof(c->peer), "%s", ask->conn->peer);
        snprintf(c->by, sizeof(c->by), "%s", ask->conn->who);
        c->nitems = list->count;
        c->items = sl_calloc(c->nitems + 1, sizeof(*c->items));
        c->issuer = arena_dup(&ask->arena, ask->acl->config->acl_listener.issuer,
                              strlen(ask->acl->config->acl_listener.issuer));
        rc = c->items && c->issuer ? OK : ERR_NOMEM;
    }
    ARRAY_EACH (n, list) {
        if (rc == OK)
            rc = read_item(c, n, &c->items[i++]);
    }
    if (rc == OK)
        return c;
    if (c)
        change_free(c);
    return NULL;
}

static void enqueue(struct acl_ask *ask, enum field_name field)
{
    const struct node *list = node_get(ask->request.root, field);
    struct acl *a = ask->acl;
    struct acl_change *c;

    if (list->count > ACL_ITEMS_MAX) {
        acl_conn_fault(ask->conn, &ask->head, 0, "too many ACLs in one request");
        return;
    }
    c = change_new(ask, list);
    if (!c) {
        acl_conn_close(ask->conn, "out of memory");
        return;
    }
    ask->held = true;
    if (a->last)
        a->last->next = c;
    else
        a->first = c;
    a->last = c;
    loop_post(a->loop, &a->turn);
}

void acl_create(struct acl_ask *ask)
{
    enqueue(ask, F_CREATIONS);
}

void acl_delete(struct acl_ask *ask)
{
    enqueue(ask, F_FILTERS);
}

void acl_change_orphan(struct acl *a)
{
    struct acl_change *c = a->first, *next;

    if (!c)
        return;
    /* What the store has goes on, and frees itself; what has not begun is nobody's. */
    for (next = c->next; next; next = c->next) {
        c->next = next->next;
        acl_ask_free(next->ask);
        change_free(next);
    }
    a->first = a->last = NULL;
    c->ask->acl = NULL;
    c->nsteps = c->begun;
    c->undone = c->settled = true;
    if (c->pending > 0)
        return;
    acl_ask_free(c->ask);
    change_free(c);
}
