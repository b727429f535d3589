/* The store: the durable authority over grants and revocations. SQLite (WAL, synchronous=FULL) on
 * a thread of its own, so a slow disk delays nobody's revocation: design decision 8. Order of a
 * change: number it, post it to every worker, they apply it, close what it hits and acknowledge,
 * commit, then the caller is told. When the commit fails the caller hears ERR_IO, closed stays
 * closed, and what has ended is written with the next commit. Survives kill -9: what was
 * acknowledged is there after restart.
 *
 *   control thread                    workers                     store thread
 *   number, apply to own copy  -->    apply, close, ack
 *   bar the tokens it closed   -->    apply, close, ack
 *   in order of numbers        ------------------------------>    one transaction for all waiting
 *   done(result, closed)       <------------------------------
 *
 * A revocation of a transfer bars the tokens that it closed by their own identity (decision 6): the
 * workers name them in their acknowledgement, and the store makes revocations of them, which reach
 * every worker and the disk before the caller is told.
 *
 * Owned by main; store_* may be called from the control thread only; results come back through
 * the caller's loop. At most STORE_CHANGES_MAX changes are under way; beyond it ERR_BUSY. Narrow on
 * purpose: a compacted Kafka topic can stand behind it later. */
#ifndef AUTH_STORE_H
#define AUTH_STORE_H

#include "auth/grant.h"

#define STORE_CHANGES_MAX 256

/* Notes beside the grants (store_note). */
#define STORE_NOTES_MAX       100000
#define STORE_NOTES_BYTES_MAX ((size_t)64 * 1024 * 1024)
#define STORE_NOTE_KIND_MAX   32
#define STORE_NOTE_ID_MAX     255
#define STORE_NOTE_BYTES_MAX  ((size_t)16 * 1024)

struct loop;
struct store;

/* A worker's answer to one change. Made by the store, one a worker and change. */
struct change_ack;

/* How the store reaches the workers; given by main so that auth needs no proxy. apply posts the
 * change to worker i. That worker, in its thread and in one turn:
 *
 *   err = grant_table_apply(table, c);
 *   for each session that grant_table_allows no longer: change_ack_bar(ack, table, its identity);
 *       close it hard; closed++
 *   change_ack_done(ack, err, closed);
 *
 * c and ack live until change_ack_done. When apply fails, the ack stays the store's and the change
 * fails (closed stays closed). */
struct store_peers {
    unsigned count;
    void *arg;
    int (*apply)(void *arg, unsigned i, const struct change *c, struct change_ack *ack);
};
/* A session with this identity was closed by the change. The worker's thread, before
 * change_ack_done. */
void change_ack_bar(struct change_ack *ack, const struct grant_table *t, const struct identity *id);
/* Exactly once; any thread. err: what grant_table_apply returned. */
void change_ack_done(struct change_ack *ack, int err, unsigned closed);

/* path NULL or "": in memory (revocations and grants of the API are lost at exit). Opens or makes
 * the file (mode 0600, one process at a time), migrates its schema, reads it. Limits and separator
 * come from c. err says what went wrong. */
struct store *store_open(const char *path, struct loop *control, const struct config *c, char *err,
                         size_t err_bytes) SL_MUST;
/* Finishes what is queued: commits it, tells the callers (ERR_BUSY for what not every worker has
 * acknowledged). The workers must have ended. */
void store_close(struct store *s);
/* After the workers stand: sends them everything that is in force, then calls ready. Changes made
 * before reach them with it. */
int store_start(struct store *s, const struct store_peers *peers, void (*ready)(void *arg),
                void *arg) SL_MUST;

/* result: OK; ERR_IO (not durable), ERR_LIMIT (in force, but there is no room to keep it), another
 * when a worker failed. closed: sockets closed by it. */
typedef void store_done_fn(void *arg, int result, unsigned closed);

/* All of these: on error nothing has changed and done is not called; done may be NULL.
 *
 * Puts a grant of the API, or replaces the one with its id; sessions of a replaced one whose rights
 * were narrowed close. Resumes a revoked transfer for tokens issued after the revocation. A commit
 * that fails takes the grant back. Takes a reference of its own. */
int store_grant(struct store *s, struct grant *g, store_done_fn *done, void *arg) SL_MUST;
/* Ends a grant without barring tokens, but those that it binds; its sessions close. One of the
 * configuration comes back with the next reload: revoke it instead. ERR_UNKNOWN without such a
 * grant. */
int store_ungrant(struct store *s, const char *id, store_done_fn *done, void *arg) SL_MUST;
int store_revoke(struct store *s, const struct revocation *r, store_done_fn *done,
                 void *arg) SL_MUST;
/* How many changes have ended something whose transaction failed. They go to the disk with the next
 * one; whoever asks again for the end of what is no longer there waits for that with store_settle,
 * whose done tells as that of any change. */
size_t store_owes(const struct store *s);
int store_settle(struct store *s, store_done_fn *done, void *arg) SL_MUST;
/* The configuration's grants as a whole: adds, replaces, removes those that are no longer there;
 * takes over limits and separator. Not durable, but for the tokens that are barred with what was
 * taken away (store_plan.h), and a revoked one stays revoked. Where the API
 * holds a grant of the same id, that one stays. */
int store_config_grants(struct store *s, const struct config *c, store_done_fn *done,
                        void *arg) SL_MUST;
/* What is in force, from the control thread's own copy. */
void store_each_grant(struct store *s, void (*fn)(void *arg, const struct grant *g), void *arg);
/* All that is held, in force or not. */
void store_each_grant_state(struct store *s,
                            void (*fn)(void *arg, struct grant *g, enum grant_state state),
                            void *arg);
void store_each_revocation(struct store *s, void (*fn)(void *arg, const struct revocation *r),
                           void *arg);

/* The grant of this id, where it is in force or will be, and token (NULL: no matter) is not barred
 * for good; else NULL. Lent until the next change: grant_ref what is kept. */
struct grant *store_find_grant(struct store *s, const char *id, const struct identity *token);

/* Was this transfer, agreement, asset or participant revoked at `since` or later? */
bool store_revoked(const struct store *s, enum revoke_kind kind, const char *value, int64_t since);

/* A durable text of somebody else's, found by kind ("flow") and id: put, replaced, or with text
 * NULL forgotten (a note that is not there is no error). No worker is told. It shows at once in
 * store_find_note and store_each_note; done is called when it is on the disk, never before what was
 * asked of the store earlier. After ERR_IO there the disk may still hold what was before. On
 * another error nothing has changed and done is not called: ERR_MALFORMED (kind or id empty or too
 * long), ERR_LIMIT (a bound above), ERR_BUSY, ERR_NOMEM. The file's mode is 0600, a forgotten text
 * is overwritten in it; still, keep no secret here that can be had again. */
int store_note(struct store *s, const char *kind, const char *id, const char *text,
               store_done_fn *done, void *arg) SL_MUST;
/* The text; NULL without such a note. Until the next store_note of it. */
const char *store_find_note(struct store *s, const char *kind, const char *id);
/* All of one kind, unordered; fn must not call store_note. */
void store_each_note(struct store *s, const char *kind,
                     void (*fn)(void *arg, const char *id, const char *text), void *arg);

#endif
