/* Private to auth/store.c, which changes it, and auth/store_look.c, which looks into it. */
#ifndef AUTH_STORE_PRIV_H
#define AUTH_STORE_PRIV_H

#include "auth/store.h"
#include "auth/store_disk.h"
#include "auth/store_notes.h"
#include "auth/store_owed.h"
#include "base/loop.h"
#include "base/mailbox.h"

struct update;

struct store {
    struct loop *loop;
    struct grant_table *table; /* the control thread's own copy */
    struct notes *notes;
    size_t grants_max, revocations_max;
    uint64_t number;
    struct store_peers peers;
    bool started, closing;
    void (*ready)(void *arg);
    void *ready_arg;

    struct update *updates, **updates_end; /* in order of numbers */
    unsigned nupdates;
    struct loop_task pump;
    struct loop_timer *sweep;
    size_t sweep_at;        /* where the round stands */
    uint64_t sweep_room_us; /* when room was last needed */
    const struct config *config;
    struct mailbox *inbox; /* acknowledgements, results */

    struct store_disk *disk; /* NULL: in memory */
    bool busy;               /* a batch is with its thread */
    struct owed owed;
};

#endif
