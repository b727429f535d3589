/* The store's file: SQLite behind a few calls. Private to auth/store.c. One connection, handed from
 * the control thread (open, load) to the store's thread (write) and back (close); never shared. */
#ifndef AUTH_STORE_DB_H
#define AUTH_STORE_DB_H

#include "auth/grant.h"
#include "auth/store_notes.h"

struct store_db;

/* Opens or makes the file, mode 0600, held by this process alone; brings its schema up to date. On
 * failure NULL, and err holds why. */
struct store_db *store_db_open(const char *path, char *err, size_t err_bytes) SL_MUST;
void store_db_close(struct store_db *db);

/* All that is kept: grants of the API and revocations, put into t, the notes, and the last number.
 * ERR_CONFIG for a row that no version of us writes. */
int store_db_load(struct store_db *db, struct grant_table *t, struct notes *notes, uint64_t *number,
                  char *err, size_t err_bytes) SL_MUST;

/* One transaction: all of them are on the disk afterwards, or none. */
struct db_write {
    const struct change *const *changes;
    size_t count;
    const struct note *const *notes; /* in order: the last one of an id stays */
    size_t nnotes;
};
int store_db_write(struct store_db *db, const struct db_write *w) SL_MUST;

#endif
