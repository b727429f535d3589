/* What has ended in memory and is not yet on the disk: changes whose transaction failed. What was
 * closed stays closed, but a restart would bring it back, and nobody could ask again for an end of
 * what is no longer there. So the store writes them with its next transaction, whatever that one is
 * for, and does not call anything durable before. Private to auth/store.c; control thread. */
#ifndef AUTH_STORE_OWED_H
#define AUTH_STORE_OWED_H

#include "auth/store_plan.h"

/* Beyond so many nothing is called durable any more until a restart. More would mean that a disk
 * has failed for as many ends, each of which somebody was told of. */
#define OWED_MAX 16384

/* Made with the change, so that memory is never short when it is needed. */
struct owed_change {
    struct owed_change *next;
    struct plan first, bars;
};

struct owed {
    struct owed_change *first, **end;
    size_t count;
    bool lost; /* there was no room for one */
};

void owed_init(struct owed *o);
void owed_release(struct owed *o);
/* Takes c with what ends something in its plans, which could not be written: grants and what is
 * forgotten are nobody's loss, since a grant that could not be kept is taken back. */
void owed_keep(struct owed *o, struct owed_change *c);
/* Refers to all of them, in their order, into room for twice o->count; returns how many. */
size_t owed_list(const struct owed *o, const struct change **out);
/* They are on the disk: the first n. */
void owed_paid(struct owed *o, size_t n);

#endif
