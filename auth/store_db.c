#include "auth/store_db.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/memory.h"
#include "auth/text.h"
#include "base/log.h"

#define APPLICATION_ID 0x736c7563 /* "sluc", in the file's header */
#define BUSY_MS        2000

/* Each entry takes the schema from the version before to the next; entries are never changed. */
static const char *const migrations[] = {
    ("CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL,"
     "  number INTEGER NOT NULL) STRICT;"
     "INSERT INTO state VALUES (1, 0, 0);"
     "CREATE TABLE grants (id TEXT PRIMARY KEY, number INTEGER NOT NULL, participant TEXT NOT NULL,"
     "  agreement TEXT NOT NULL, asset TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL,"
     "  client TEXT NOT NULL, topics TEXT NOT NULL, group_prefix TEXT NOT NULL,"
     "  operations INTEGER NOT NULL, not_before INTEGER NOT NULL, expires INTEGER NOT NULL)"
     "  STRICT, WITHOUT ROWID;"
     "CREATE TABLE revocations (kind TEXT NOT NULL, issuer TEXT NOT NULL, value TEXT NOT NULL,"
     "  client TEXT NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL,"
     "  reason TEXT NOT NULL, PRIMARY KEY (kind, issuer, value, client)) STRICT, WITHOUT ROWID;"),
    ("CREATE TABLE notes (kind TEXT NOT NULL, id TEXT NOT NULL, text TEXT NOT NULL,"
     "  PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID;"),
    "ALTER TABLE grants ADD COLUMN tokens TEXT NOT NULL DEFAULT '[]';",
};
#define SCHEMA_VERSION ((int)(sizeof(migrations) / sizeof(migrations[0])))

enum statement {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_GRANT,
    SQL_UNGRANT,
    SQL_REVOKE,
    SQL_NUMBER,
    SQL_NOTE,
    SQL_FORGET,
    SQL_FORGET_REVOCATION,
    SQL_COUNT,
};
static const char *const statements[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_GRANT] =
        ("INSERT OR REPLACE INTO grants (id, number, participant, agreement, asset,"
         " issuer, subject, client, topics, group_prefix, operations, not_before, expires,"
         " tokens) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)"),
    [SQL_UNGRANT] = "DELETE FROM grants WHERE id = ?1",
    [SQL_REVOKE] =
        ("INSERT INTO revocations (kind, issuer, value, client, number, at, until, reason)"
         " VALUES (?1,?2,?3,?4,?5,?6,?7,?8) ON CONFLICT DO UPDATE SET number = excluded.number,"
         " at = max(at, excluded.at), until = CASE WHEN until = 0 OR excluded.until = 0 THEN 0"
         " ELSE max(until, excluded.until) END"),
    [SQL_NUMBER] = "UPDATE state SET number = max(number, ?1)",
    [SQL_NOTE] = "INSERT OR REPLACE INTO notes (kind, id, text) VALUES (?1,?2,?3)",
    [SQL_FORGET] = "DELETE FROM notes WHERE kind = ?1 AND id = ?2",
    [SQL_FORGET_REVOCATION] = ("DELETE FROM revocations WHERE kind = ?1 AND issuer = ?2"
                               " AND value = ?3 AND client = ?4"),
};

struct store_db {
    sqlite3 *sql;
    sqlite3_stmt *stmt[SQL_COUNT];
    bool unbound; /* a text of the next statement is missing, for want of memory */
};

static int fail(struct store_db *db, const char *what, char *err, size_t err_bytes)
{
    snprintf(err, err_bytes, "%s: %s", what, sqlite3_errmsg(db->sql));
    return ERR_IO;
}

static int exec(struct store_db *db, const char *sql, char *err, size_t err_bytes)
{
    return sqlite3_exec(db->sql, sql, NULL, NULL, NULL) == SQLITE_OK
               ? OK
               : fail(db, "cannot prepare the store", err, err_bytes);
}

/* The first column of the first row, or fallback when there is none. */
static int query_int(struct store_db *db, const char *sql, int64_t fallback, int64_t *out,
                     char *err, size_t err_bytes)
{
    sqlite3_stmt *s = NULL;
    int rc;

    if (sqlite3_prepare_v2(db->sql, sql, -1, &s, NULL) != SQLITE_OK)
        return fail(db, "cannot read the store", err, err_bytes);
    rc = sqlite3_step(s);
    *out = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : fallback;
    sqlite3_finalize(s);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return fail(db, "cannot read the store", err, err_bytes);
    return OK;
}

/* A file that is somebody else's database is left alone. */
static int identify(struct store_db *db, int64_t *version, char *err, size_t err_bytes)
{
    int64_t app, tables;
    int rc;

    *version = 0;
    rc = query_int(db, "PRAGMA application_id", 0, &app, err, err_bytes);
    if (rc == OK)
        rc = query_int(db, "SELECT count(*) FROM sqlite_master", 0, &tables, err, err_bytes);
    if (rc != OK)
        return rc;
    if (app == 0 && tables == 0)
        return OK;
    if (app != APPLICATION_ID) {
        snprintf(err, err_bytes, "the file is a database, but not one of sluice");
        return ERR_CONFIG;
    }
    rc = query_int(db, "SELECT version FROM state", -1, version, err, err_bytes);
    if (rc == OK && (*version < 1 || *version > SCHEMA_VERSION)) {
        snprintf(err, err_bytes, "the store has schema version %lld, we know up to %d",
                 (long long)*version, SCHEMA_VERSION);
        rc = ERR_CONFIG;
    }
    return rc;
}

static int migrate(struct store_db *db, char *err, size_t err_bytes)
{
    int64_t version;
    char sql[128];
    int rc;

    rc = identify(db, &version, err, err_bytes);
    for (; rc == OK && version < SCHEMA_VERSION; version++) {
        snprintf(sql, sizeof(sql), "UPDATE state SET version = %d; PRAGMA application_id = %d;",
                 (int)version + 1, APPLICATION_ID);
        rc = exec(db, "BEGIN IMMEDIATE", err, err_bytes);
        if (rc == OK)
            rc = exec(db, migrations[version], err, err_bytes);
        if (rc == OK)
            rc = exec(db, sql, err, err_bytes);
        if (rc == OK)
            rc = exec(db, "COMMIT", err, err_bytes);
        if (rc == OK)
            log_info("store", "schema brought to version %d", (int)version + 1);
    }
    return rc;
}

static int prepare_all(struct store_db *db, char *err, size_t err_bytes)
{
    int i;

    for (i = 0; i < SQL_COUNT; i++) {
        if (sqlite3_prepare_v3(db->sql, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &db->stmt[i],
                               NULL) != SQLITE_OK)
            return fail(db, "cannot prepare the store", err, err_bytes);
    }
    return OK;
}

/* SQLite makes files by the umask; ours is for us alone, and what SQLite adds inherits its mode. */
static int make_file(const char *path, char *err, size_t err_bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0) {
        snprintf(err, err_bytes, "%s: %s", path, strerror(errno));
        return ERR_IO;
    }
    close(fd);
    return OK;
}

static int setup(struct store_db *db, char *err, size_t err_bytes)
{
    int64_t wal_ok;
    int rc;

    sqlite3_busy_timeout(db->sql, BUSY_MS);
    sqlite3_extended_result_codes(db->sql, 1);
    sqlite3_db_config(db->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->sql, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* Exclusive: a second process on the same file would decide by a table that it doesn't see
     * change. The lock comes with the first write transaction. */
    rc = exec(db,
              "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
              "PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON;"
              "PRAGMA secure_delete = ON;"
              "BEGIN IMMEDIATE; COMMIT;",
              err, err_bytes);
    if (rc == OK)
        rc = query_int(db, "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'", 0,
                       &wal_ok, err, err_bytes);
    if (rc == OK && !wal_ok) {
        snprintf(err, err_bytes, "no write-ahead log is possible there");
        rc = ERR_IO;
    }
    if (rc == OK)
        rc = query_int(db, "SELECT count(*) FROM pragma_quick_check WHERE quick_check = 'ok'", 0,
                       &wal_ok, err, err_bytes);
    if (rc == OK && !wal_ok) {
        snprintf(err, err_bytes, "the store is damaged");
        rc = ERR_IO;
    }
    return rc;
}

struct store_db *store_db_open(const char *path, char *err, size_t err_bytes)
{
    struct store_db *db = sl_calloc(1, sizeof(*db));
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    int rc;

    if (!db) {
        snprintf(err, err_bytes, "out of memory");
        return NULL;
    }
    rc = make_file(path, err, err_bytes);
    if (rc == OK && sqlite3_open_v2(path, &db->sql, flags, NULL) != SQLITE_OK)
        rc = fail(db, path, err, err_bytes);
    if (rc == OK)
        rc = setup(db, err, err_bytes);
    if (rc == OK)
        rc = migrate(db, err, err_bytes);
    if (rc == OK)
        rc = prepare_all(db, err, err_bytes);
    if (rc == OK)
        return db;
    store_db_close(db);
    return NULL;
}

void store_db_close(struct store_db *db)
{
    int i;

    if (!db)
        return;
    for (i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(db->stmt[i]);
    sqlite3_close(db->sql);
    sl_free(db);
}

/* --- reading */

static const char *column(sqlite3_stmt *s, int i)
{
    return (const char *)sqlite3_column_text(s, i);
}

/* "a,b,c", in place; a topic's name holds no comma. NULL when memory is short. */
static const char **split(char *text, size_t *count)
{
    const char **at;
    const char *p;
    size_t n = 1;

    for (p = text; *p; p++)
        n += *p == ',';
    at = sl_calloc(n, sizeof(*at));
    *count = 0;
    while (at && *text) {
        at[(*count)++] = text;
        text += strcspn(text, ",");
        if (*text)
            *text++ = '\0';
    }
    return at;
}

/* A JSON array, since a jti may hold any character. The texts stay the array's. */
static bool tokens_read(const json_t *array, const char *out[GRANT_TOKENS_MAX], size_t *count)
{
    *count = json_array_size(array);
    if (!json_is_array(array) || *count > GRANT_TOKENS_MAX)
        return false;
    for (size_t i = 0; i < *count; i++) {
        out[i] = json_string_value(json_array_get(array, i));
        if (!out[i])
            return false;
    }
    return true;
}

/* Where the rows go. */
struct kept {
    struct grant_table *table;
    struct notes *notes;
};

static int grant_read(sqlite3_stmt *s, struct kept *kept)
{
    struct grant_config c = {
        .id = column(s, 0),
        .participant = column(s, 1),
        .agreement = column(s, 2),
        .asset = column(s, 3),
        .issuer = column(s, 4),
        .subject = column(s, 5),
        .client = column(s, 6),
        .group_prefix = column(s, 8),
        .operations = (unsigned)sqlite3_column_int64(s, 9),
        .not_before = sqlite3_column_int64(s, 10),
        .expires = sqlite3_column_int64(s, 11),
    };
    char *topics = text_dup(column(s, 7));
    const char **list = topics ? split(topics, &c.topics.count) : NULL;
    const char *tokens[GRANT_TOKENS_MAX];
    json_t *array = json_loads(column(s, 12), JSON_REJECT_DUPLICATES, NULL);
    struct grant *g = NULL;
    const char *why;
    int rc = ERR_NOMEM;

    c.tokens.at = tokens;
    if (list && tokens_read(array, tokens, &c.tokens.count)) {
        c.topics.at = list;
        rc = grant_new(&c, GRANT_FROM_API, &g, &why);
    } else if (list) {
        rc = ERR_MALFORMED;
    }
    if (rc == OK)
        rc = grant_table_put(kept->table, g);
    grant_unref(g);
    json_decref(array);
    sl_free(list);
    sl_free(topics);
    return rc;
}

static int revocation_read(sqlite3_stmt *s, struct kept *kept)
{
    const char *name = column(s, 0);
    struct revocation *r;
    int kind, rc;

    for (kind = 0; name && kind < REVOKE_KINDS; kind++) {
        if (strcmp(revoke_kind_name((enum revoke_kind)kind), name) == 0)
            break;
    }
    if (!name || kind == REVOKE_KINDS ||
        revocation_check((enum revoke_kind)kind, column(s, 1), column(s, 2), column(s, 3),
                         column(s, 6)) != OK)
        return ERR_MALFORMED;
    r = revocation_new((enum revoke_kind)kind, column(s, 1), column(s, 2), column(s, 3),
                       sqlite3_column_int64(s, 4), sqlite3_column_int64(s, 5), column(s, 6));
    if (!r)
        return ERR_NOMEM;
    rc = grant_table_revoke(kept->table, r);
    revocation_free(r);
    return rc;
}

static int note_read(sqlite3_stmt *s, struct kept *kept)
{
    int rc = notes_put(kept->notes, column(s, 0), column(s, 1), column(s, 2));

    return rc == ERR_NOMEM || rc == OK ? rc : ERR_MALFORMED;
}

static int read_rows(struct store_db *db, const char *sql, struct kept *kept,
                     int (*row)(sqlite3_stmt *s, struct kept *kept), char *err, size_t err_bytes)
{
    unsigned watch = memory_watch();
    sqlite3_stmt *s = NULL;
    int rc = OK;
    int step;

    if (sqlite3_prepare_v2(db->sql, sql, -1, &s, NULL) != SQLITE_OK)
        return fail(db, "cannot read the store", err, err_bytes);
    while ((step = sqlite3_step(s)) == SQLITE_ROW && rc == OK)
        rc = row(s, kept);
    /* A text that could not be had looks like one that is not there. */
    if (rc == ERR_MALFORMED &&
        (sqlite3_errcode(db->sql) == SQLITE_NOMEM || memory_was_short(watch)))
        rc = ERR_NOMEM;
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        rc = fail(db, "cannot read the store", err, err_bytes);
    else if (rc == ERR_MALFORMED) {
        snprintf(err, err_bytes, "a row of the store makes no sense");
        rc = ERR_CONFIG;
    } else if (rc != OK)
        snprintf(err, err_bytes, "out of memory");
    sqlite3_finalize(s);
    return rc;
}

/* Revocations first: a grant of a revoked transfer is there because it resumed it. */
int store_db_load(struct store_db *db, struct grant_table *t, struct notes *notes, uint64_t *number,
                  char *err, size_t err_bytes)
{
    struct kept kept = {t, notes};
    int64_t n = 0;
    int rc;

    rc = query_int(db, "SELECT number FROM state", 0, &n, err, err_bytes);
    *number = n > 0 ? (uint64_t)n : 0;
    if (rc == OK)
        rc = read_rows(db, "SELECT kind, issuer, value, client, at, until, reason FROM revocations",
                       &kept, revocation_read, err, err_bytes);
    if (rc == OK)
        rc = read_rows(db,
                       "SELECT id, participant, agreement, asset, issuer, subject, client, topics,"
                       " group_prefix, operations, not_before, expires, tokens FROM grants",
                       &kept, grant_read, err, err_bytes);
    if (rc == OK)
        rc = read_rows(db, "SELECT kind, id, text FROM notes", &kept, note_read, err, err_bytes);
    return rc;
}

/* --- writing */

static void bind_text(struct store_db *db, sqlite3_stmt *s, int i, const char *text)
{
    if (sqlite3_bind_text(s, i, text, -1, SQLITE_TRANSIENT) != SQLITE_OK)
        db->unbound = true;
}

/* Runs a statement to its end; not one that lacks a text: NULL is what no row has, and a DELETE of
 * no row succeeds. */
static int run(struct store_db *db, enum statement which)
{
    sqlite3_stmt *s = db->stmt[which];
    int rc = db->unbound ? SQLITE_NOMEM : sqlite3_step(s);

    if (rc != SQLITE_DONE)
        log_error("store", "cannot write: %s",
                  db->unbound ? sqlite3_errstr(rc) : sqlite3_errmsg(db->sql));
    db->unbound = false;
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return rc == SQLITE_DONE ? OK : ERR_IO;
}

static char *join(const struct grant *g)
{
    size_t n = 1;
    size_t i;
    char *out, *p;

    for (i = 0; i < g->ntopics; i++)
        n += strlen(g->topics[i]) + 1;
    out = p = sl_malloc(n);
    for (i = 0; out && i < g->ntopics; i++) {
        if (i > 0)
            *p++ = ',';
        p = stpcpy(p, g->topics[i]);
    }
    if (out)
        *p = '\0';
    return out;
}

/* malloc'ed by jansson. */
static char *tokens_text(const struct grant *g)
{
    json_t *array = json_array();
    char *text;
    size_t i;

    for (i = 0; array && i < g->ntokens; i++) {
        if (json_array_append_new(array, json_string(g->tokens[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    text = array ? json_dumps(array, JSON_COMPACT) : NULL;
    json_decref(array);
    return text;
}

static int grant_write(struct store_db *db, uint64_t number, const struct grant *g)
{
    sqlite3_stmt *s = db->stmt[SQL_GRANT];
    char *topics, *tokens;

    if (g->source != GRANT_FROM_API)
        return OK;
    topics = join(g);
    tokens = tokens_text(g);
    if (!topics || !tokens) {
        sl_free(topics);
        free(tokens);
        return ERR_NOMEM;
    }
    bind_text(db, s, 1, g->id);
    (void)sqlite3_bind_int64(s, 2, (sqlite3_int64)number);
    bind_text(db, s, 3, g->participant);
    bind_text(db, s, 4, g->agreement);
    bind_text(db, s, 5, g->asset);
    bind_text(db, s, 6, g->issuer);
    bind_text(db, s, 7, g->subject);
    bind_text(db, s, 8, g->client);
    bind_text(db, s, 9, topics);
    bind_text(db, s, 10, g->group_prefix);
    (void)sqlite3_bind_int64(s, 11, g->operations);
    (void)sqlite3_bind_int64(s, 12, g->not_before);
    (void)sqlite3_bind_int64(s, 13, g->expires);
    bind_text(db, s, 14, tokens);
    sl_free(topics);
    free(tokens);
    return run(db, SQL_GRANT);
}

static int ungrant_write(struct store_db *db, const char *id)
{
    bind_text(db, db->stmt[SQL_UNGRANT], 1, id);
    return run(db, SQL_UNGRANT);
}

static int revocation_write(struct store_db *db, uint64_t number, const struct revocation *r)
{
    sqlite3_stmt *s = db->stmt[SQL_REVOKE];
    int rc;

    bind_text(db, s, 1, revoke_kind_name(r->kind));
    bind_text(db, s, 2, r->issuer);
    bind_text(db, s, 3, r->value);
    bind_text(db, s, 4, r->client);
    (void)sqlite3_bind_int64(s, 5, (sqlite3_int64)number);
    (void)sqlite3_bind_int64(s, 6, r->at);
    (void)sqlite3_bind_int64(s, 7, r->until);
    bind_text(db, s, 8, r->reason);
    rc = run(db, SQL_REVOKE);
    if (rc == OK && r->kind == REVOKE_TRANSFER)
        rc = ungrant_write(db, r->value);
    return rc;
}

static int revocation_forget(struct store_db *db, const struct revocation *r)
{
    sqlite3_stmt *s = db->stmt[SQL_FORGET_REVOCATION];

    bind_text(db, s, 1, revoke_kind_name(r->kind));
    bind_text(db, s, 2, r->issuer);
    bind_text(db, s, 3, r->value);
    bind_text(db, s, 4, r->client);
    return run(db, SQL_FORGET_REVOCATION);
}

static int item_write(struct store_db *db, uint64_t number, const struct change_item *item)
{
    switch (item->kind) {
    case CHANGE_GRANT:
        return grant_write(db, number, item->grant);
    case CHANGE_UNGRANT:
        return ungrant_write(db, item->id);
    case CHANGE_REVOKE:
        return revocation_write(db, number, item->revocation);
    case CHANGE_FORGET:
        return revocation_forget(db, item->revocation);
    }
    return ERR_UNKNOWN;
}

static int change_write(struct store_db *db, const struct change *c)
{
    int rc = OK;
    size_t i;

    for (i = 0; rc == OK && i < c->count; i++)
        rc = item_write(db, c->number, &c->items[i]);
    if (rc == OK) {
        (void)sqlite3_bind_int64(db->stmt[SQL_NUMBER], 1, (sqlite3_int64)c->number);
        rc = run(db, SQL_NUMBER);
    }
    return rc;
}

static int note_write(struct store_db *db, const struct note *n)
{
    enum statement which = n->text ? SQL_NOTE : SQL_FORGET;

    bind_text(db, db->stmt[which], 1, n->kind);
    bind_text(db, db->stmt[which], 2, n->id);
    if (n->text)
        bind_text(db, db->stmt[which], 3, n->text);
    return run(db, which);
}

int store_db_write(struct store_db *db, const struct db_write *w)
{
    size_t i;
    int rc;

    rc = run(db, SQL_BEGIN);
    for (i = 0; rc == OK && i < w->count; i++)
        rc = change_write(db, w->changes[i]);
    for (i = 0; rc == OK && i < w->nnotes; i++)
        rc = note_write(db, w->notes[i]);
    if (rc == OK)
        rc = run(db, SQL_COMMIT);
    /* A full disk may have rolled back already. */
    if (rc != OK && !sqlite3_get_autocommit(db->sql))
        (void)run(db, SQL_ROLLBACK);
    return rc;
}
