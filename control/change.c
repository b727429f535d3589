#include "control/change.h"

#include <stdio.h>

#include "audit/audit.h"
#include "base/alloc.h"

/* One under way; it holds the event's texts. */
struct pending {
    struct audit_ring *audit;
    struct audit_event event;
    struct grant *grant;
    struct revocation *revocation;
    store_done_fn *done;
    void *arg;
    char peer[64];
    char by[AUDIT_TEXT_MAX];
};

static void pending_free(struct pending *p)
{
    grant_unref(p->grant);
    revocation_free(p->revocation);
    sl_free(p);
}

static struct pending *pending_new(const struct changes *c, const char *peer, store_done_fn *done,
                                   void *arg)
{
    struct pending *p = sl_calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->audit = c->audit;
    p->done = done;
    p->arg = arg;
    if (peer) {
        snprintf(p->peer, sizeof(p->peer), "%s", peer);
        p->event.client_address = p->peer;
    }
    if (c->by) {
        snprintf(p->by, sizeof(p->by), "%s", c->by);
        p->event.reason = p->by;
    }
    return p;
}

static const char *or_null(const char *text)
{
    return text && *text ? text : NULL;
}

static void grant_event(struct audit_event *e, const struct grant *g)
{
    e->kind = AUDIT_GRANT;
    e->transfer = g->id;
    e->participant = or_null(g->participant);
    e->agreement = or_null(g->agreement);
    e->asset = or_null(g->asset);
    e->issuer = or_null(g->issuer);
    e->subject = or_null(g->subject);
    e->client = or_null(g->client);
}

static void revocation_event(struct audit_event *e, const struct revocation *r)
{
    e->kind = AUDIT_REVOCATION;
    e->issuer = or_null(r->issuer);
    e->client = or_null(r->client);
    if (r->reason[0])
        e->reason = r->reason;
    switch (r->kind) {
    case REVOKE_TRANSFER:
        e->transfer = r->value;
        break;
    case REVOKE_AGREEMENT:
        e->agreement = r->value;
        break;
    case REVOKE_ASSET:
        e->asset = r->value;
        break;
    case REVOKE_PARTICIPANT:
        e->participant = r->value;
        break;
    case REVOKE_CLIENT:
        e->client = r->value;
        break;
    case REVOKE_JTI:
        e->jti = r->value;
        break;
    case REVOKE_SESSION:
        e->resource_type = "session";
        e->resource = r->value;
        return;
    case REVOKE_SUBJECT:
    case REVOKE_TOKEN:
    case REVOKE_ISSUER:
        e->subject = or_null(r->value);
        break;
    }
    e->resource_type = "revocation";
    e->resource = revoke_kind_name(r->kind);
}

static void on_done(void *arg, int result, unsigned closed)
{
    struct pending *p = arg;

    if (p->audit) {
        p->event.count = closed;
        p->event.failed = result != OK;
        if (result != OK && (!p->event.reason || p->event.reason == p->by))
            p->event.reason = err_name(result);
        audit_put(p->audit, &p->event);
    }
    if (p->done)
        p->done(p->arg, result, closed);
    pending_free(p);
}

int change_grant(const struct changes *c, struct grant *g, const char *peer, store_done_fn *done,
                 void *arg)
{
    struct pending *p = pending_new(c, peer, done, arg);
    int rc;

    if (!p) {
        grant_unref(g);
        return ERR_NOMEM;
    }
    p->grant = g;
    grant_event(&p->event, g);
    rc = store_grant(c->store, g, on_done, p);
    if (rc != OK)
        pending_free(p);
    return rc;
}

int change_ungrant(const struct changes *c, struct grant *g, const char *peer, store_done_fn *done,
                   void *arg)
{
    struct pending *p = pending_new(c, peer, done, arg);
    int rc;

    if (!p)
        return ERR_NOMEM;
    p->grant = grant_ref(g);
    grant_event(&p->event, p->grant);
    p->event.kind = AUDIT_REVOCATION;
    p->event.resource_type = "revocation";
    p->event.resource = "grant";
    rc = store_ungrant(c->store, g->id, on_done, p);
    if (rc != OK)
        pending_free(p);
    return rc;
}

int change_revoke(const struct changes *c, struct revocation *r, const char *peer,
                  store_done_fn *done, void *arg)
{
    struct pending *p = pending_new(c, peer, done, arg);
    int rc;

    if (!p) {
        revocation_free(r);
        return ERR_NOMEM;
    }
    p->revocation = r;
    revocation_event(&p->event, r);
    rc = store_revoke(c->store, r, on_done, p);
    if (rc != OK)
        pending_free(p);
    return rc;
}
