/* The store's thread: it alone writes the file while it runs, so a slow disk delays nobody. Private
 * to auth/store.c, whose control thread calls all of this. */
#ifndef AUTH_STORE_DISK_H
#define AUTH_STORE_DISK_H

#include "auth/store_db.h"
#include "base/mailbox.h"

struct store_disk;

/* One transaction on its way; the caller's memory until done, in the control thread, which follows
 * the result. */
struct disk_job {
    struct mail mail; /* first */
    struct db_write write;
    int result;
    void (*done)(struct disk_job *job);
};
bool disk_job_writes(const struct disk_job *job);

/* Opens the file, reads what it keeps, starts the thread. NULL with err. Results come back through
 * `back`, which the caller keeps until store_disk_stop and then empties. */
struct store_disk *store_disk_open(const char *path, struct mailbox *back, struct grant_table *t,
                                   struct notes *notes, uint64_t *number, char *err,
                                   size_t err_bytes) SL_MUST;
/* One at a time. On error, or once the thread has ended, the transaction is made at once,
 * job->result tells how it went, and done is not called. */
int store_disk_write(struct store_disk *d, struct disk_job *job) SL_MUST;
/* The thread writes all that it was given, and ends. NULL is fine. */
void store_disk_stop(struct store_disk *d);
void store_disk_free(struct store_disk *d);

#endif
