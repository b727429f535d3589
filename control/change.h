/* A change of what is granted, from whoever asks for one: handed to the store, told to the audit
 * trail when it is done. Every way in (control API, signalling, events, the ACL sink) ends here.
 * Control thread. */
#ifndef CONTROL_CHANGE_H
#define CONTROL_CHANGE_H

#include "auth/store.h"

struct audit_ring;

struct changes {
    struct store *store;
    struct audit_ring *audit; /* the control thread's; NULL: no trail */
    const char *by;           /* who wants it, for the trail; copied, NULL: not told */
};

/* Both take their grant or revocation, whatever they return. peer: who asked, for the trail;
 * copied, may be NULL. done as in auth/store.h, called once unless an error is returned; may be
 * NULL. */
int change_grant(const struct changes *c, struct grant *g, const char *peer, store_done_fn *done,
                 void *arg) SL_MUST;
/* Ends a grant and closes its sessions, but bars no token (store_ungrant): a suspension that a
 * later grant undoes for the same token. Takes a reference of its own. ERR_UNKNOWN without such a
 * grant. */
int change_ungrant(const struct changes *c, struct grant *g, const char *peer, store_done_fn *done,
                   void *arg) SL_MUST;
int change_revoke(const struct changes *c, struct revocation *r, const char *peer,
                  store_done_fn *done, void *arg) SL_MUST;

#endif
