#include "auth/store_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "auth/grant_table.h"
#include "auth/store_db.h"
#include "auth/store_line.h"
#include "auth/store_plan.h"
#include "base/alloc.h"

#define PART_LINES 1000 /* of one transaction */

/* An open file, and what it held when it was opened. */
struct copy {
    struct store_db *db;
    struct grant_table *table;
    struct notes *notes;
    uint64_t number;
};

static void copy_close(struct copy *c)
{
    store_db_close(c->db);
    grant_table_free(c->table);
    notes_free(c->notes);
}

static int copy_open(struct copy *c, const char *path, char *err, size_t err_bytes)
{
    static const struct config none; /* a table here only holds */
    int rc = ERR_IO;

    memset(c, 0, sizeof(*c));
    snprintf(err, err_bytes, "out of memory");
    c->table = grant_table_new(&none);
    c->notes = notes_new();
    if (c->table && c->notes)
        c->db = store_db_open(path, err, err_bytes);
    if (c->db)
        rc = store_db_load(c->db, c->table, c->notes, &c->number, err, err_bytes);
    if (rc != OK)
        copy_close(c);
    return rc;
}

/* --- out */

struct out {
    FILE *f;
    struct store_counts *n;
    bool failed;
};

static void put_line(struct out *o, const struct store_line *l)
{
    char *text = o->failed ? NULL : store_line_write(l);

    o->failed = !text || fputs(text, o->f) == EOF || fputc('\n', o->f) == EOF;
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

static void put_revocation(void *arg, const struct revocation *r)
{
    struct out *o = arg;
    struct store_line l = {.revocation = revocation_clone(r)};

    if (!l.revocation)
        o->failed = true;
    put_line(o, &l);
    o->n->revocations++;
    store_line_clear(&l);
}

static void put_grant(void *arg, struct grant *g)
{
    struct out *o = arg;
    const struct store_line l = {.grant = g};

    put_line(o, &l);
    o->n->grants++;
}

static void put_note(void *arg, const char *kind, const char *id, const char *text)
{
    struct out *o = arg;
    struct store_line l = {.note = note_new(kind, id, text)};

    if (!l.note)
        o->failed = true;
    put_line(o, &l);
    o->n->notes++;
    store_line_clear(&l);
}

int store_export(const char *path, FILE *f, struct store_counts *n, char *err, size_t err_bytes)
{
    const struct store_line head = {0};
    struct out o = {.f = f, .n = n};
    struct copy c;
    int rc = copy_open(&c, path, err, err_bytes);

    memset(n, 0, sizeof(*n));
    if (rc != OK)
        return rc;
    put_line(&o, &head);
    grant_table_each_revocation(c.table, put_revocation, &o);
    grant_table_each_grant(c.table, put_grant, &o);
    notes_all(c.notes, put_note, &o);
    copy_close(&c);
    if (o.failed || fflush(f) != 0) {
        snprintf(err, err_bytes, "cannot write: %s", strerror(errno));
        return ERR_IO;
    }
    return OK;
}

/* --- in */

struct in {
    struct copy copy;
    struct store_counts *n;
    struct plan plan;
    struct note *notes[PART_LINES];
    size_t nnotes;
};

static int write_part(struct in *in)
{
    const struct change *changes[1] = {&in->plan.change};
    const struct note *notes[PART_LINES];
    struct db_write w = {.changes = changes, .count = 1, .notes = notes, .nnotes = in->nnotes};
    size_t i;
    int rc;

    for (i = 0; i < in->nnotes; i++)
        notes[i] = in->notes[i];
    in->plan.change.number = ++in->copy.number;
    rc = store_db_write(in->copy.db, &w);
    for (i = 0; i < in->nnotes; i++)
        note_free(in->notes[i]);
    in->nnotes = 0;
    plan_clear(&in->plan);
    return rc;
}

/* Was its transfer revoked in the file, and not resumed? */
static bool ended_there(const struct copy *c, const struct grant *g)
{
    return !grant_table_find(c->table, g->id) &&
           table_bar(c->table, REVOKE_TRANSFER, "", g->id, "") != NULL;
}

/* Does the file say something stronger than this line? */
static bool stronger_there(const struct copy *c, const struct store_line *l)
{
    if (l->revocation)
        return grant_table_knows(c->table, l->revocation);
    return l->grant && ended_there(c, l->grant);
}

/* Takes what the line holds. */
static int take_line(struct in *in, struct store_line *l)
{
    int rc = OK;

    if (stronger_there(&in->copy, l)) {
        in->n->kept++;
    } else if (l->revocation) {
        rc = plan_revocation(&in->plan, l->revocation);
        l->revocation = NULL;
        in->n->revocations++;
    } else if (l->grant) {
        rc = plan_grant(&in->plan, l->grant);
        in->n->grants++;
    } else if (l->note) {
        in->notes[in->nnotes++] = l->note;
        l->note = NULL;
        in->n->notes++;
    }
    if (rc == OK && in->plan.change.count + in->nnotes == PART_LINES)
        rc = write_part(in);
    return rc;
}

/* Goes through all lines; in NULL: only looks at them. */
static int each_line(FILE *f, struct in *in, char *err, size_t err_bytes)
{
    char *text = NULL;
    const char *why = "";
    size_t room = 0;
    unsigned long number = 0;
    ssize_t n;
    int rc = OK;

    rewind(f);
    while (rc == OK && (n = getline(&text, &room, f)) > 0) {
        struct store_line l = {0};

        number++;
        n -= text[n - 1] == '\n';
        rc = store_line_read(text, (size_t)n, &l, &why);
        if (rc == OK && (number == 1) != (!l.grant && !l.revocation && !l.note)) {
            why = number == 1 ? "the first line is not that of an export"
                              : "the first line of an export once more";
            rc = ERR_MALFORMED;
        }
        if (rc == OK && in) {
            rc = take_line(in, &l);
            why = "it could not be written";
        }
        store_line_clear(&l);
    }
    if (rc == OK && (ferror(f) || number == 0)) {
        why = ferror(f) ? strerror(errno) : "there is none";
        rc = ERR_MALFORMED;
    }
    if (rc != OK)
        snprintf(err, err_bytes, "line %lu: %s", number, why);
    if (text)
        explicit_bzero(text, room);
    free(text);
    return rc;
}

int store_import(const char *path, FILE *f, struct store_counts *n, char *err, size_t err_bytes)
{
    struct in *in = sl_calloc(1, sizeof(*in));
    int rc;

    memset(n, 0, sizeof(*n));
    if (!in) {
        snprintf(err, err_bytes, "out of memory");
        return ERR_NOMEM;
    }
    in->n = n;
    rc = each_line(f, NULL, err, err_bytes);
    if (rc == OK)
        rc = copy_open(&in->copy, path, err, err_bytes);
    else
        goto out;
    if (rc != OK)
        goto out;
    rc = each_line(f, in, err, err_bytes);
    if (rc == OK && in->plan.change.count + in->nnotes > 0) {
        rc = write_part(in);
        if (rc != OK)
            snprintf(err, err_bytes, "%s: it could not be written", path);
    }
    while (in->nnotes > 0)
        note_free(in->notes[--in->nnotes]);
    plan_clear(&in->plan);
    copy_close(&in->copy);
out:
    sl_free(in);
    return rc;
}
