/* From definitions to tables: every use of a struct becomes an instance, every instance a set of
 * rows and, for each version, a shape; equal shapes are written once. */
#include "codec/mkschema.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ELEMENT_MAX 60000 /* an element's least size must fit 16 bits */

struct row { /* a field where it is used, its versions cut to its parent's */
    const struct decl *decl;
    struct range versions, nullable;
    int child; /* instance of its struct; -1 otherwise */
};

/* Fields of fixed size that stand together, and what they become in a tree; bytes -1: not all of a
 * struct are. */
struct fixed {
    int first, count; /* steps */
    int bytes, nodes;
};

struct inst { /* a struct where it is used: parents have lower numbers than their children */
    const struct api *api;
    int def, depth;
    struct range versions;
    struct row *rows;
    int nrows;
    int *shape;          /* by version - api's first: number of its generated shape */
    int *min_bytes;      /* likewise */
    struct fixed *fixed; /* likewise */
    char **text;         /* likewise: the shape's text, to find equal ones */
};

static struct inst *insts;
static int ninsts;
static int nshapes, deepest;
static const char **names;
static int nnames;

static int inst_add(const struct api *api, int def, struct range versions, int depth)
{
    size_t n = (size_t)(api->versions.max - api->versions.min) + 1;

    insts = grow(insts, ninsts, sizeof *insts);
    insts[ninsts] = (struct inst){.api = api, .def = def, .versions = versions, .depth = depth};
    insts[ninsts].shape = must(calloc(n, sizeof(int)));
    insts[ninsts].min_bytes = must(calloc(n, sizeof(int)));
    insts[ninsts].fixed = must(calloc(n, sizeof(struct fixed)));
    insts[ninsts].text = must(calloc(n, sizeof(char *)));
    if (depth > deepest)
        deepest = depth;
    return ninsts++;
}

/* Places every use of every struct; what a use's versions leave out is left out. A shared struct
 * is defined before it is used, so this ends. */
static void insts_build(void)
{
    for (int i = 0; i < napis; i++)
        for (int r = 0; r < 2; r++)
            apis[i].inst[r] = inst_add(&apis[i], apis[i].body[r], apis[i].versions, 1);
    for (int i = 0; i < ninsts; i++) {
        const struct def *def = &defs[insts[i].def];

        for (int k = 0; k < def->nfields; k++) {
            const struct decl *d = &def->fields[k];
            struct row row = {.decl = d, .child = -1};

            row.versions = range_cut(d->versions, insts[i].versions);
            row.nullable = range_cut(d->nullable, row.versions);
            if (range_empty(row.versions))
                continue;
            if (d->type == T_STRUCT)
                row.child =
                    inst_add(insts[i].api, d->def, row.versions, insts[i].depth + 1 + d->array);
            insts[i].rows = grow(insts[i].rows, insts[i].nrows, sizeof row);
            insts[i].rows[insts[i].nrows++] = row;
        }
    }
}

__attribute__((format(printf, 2, 3))) static void text_add(char **text, const char *fmt, ...)
{
    size_t len = *text ? strlen(*text) : 0;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    *text = must(realloc(*text, len + (size_t)n + 1));
    va_start(ap, fmt);
    vsnprintf(*text + len, (size_t)n + 1, fmt, ap);
    va_end(ap);
}

/* Least size of one value of the row (an array's element) in version v. */
static int element_bytes(const struct row *row, int v, bool flexible)
{
    const struct type *t = &types[row->decl->type];

    if (row->child >= 0)
        return insts[row->child].min_bytes[v - insts[row->child].api->versions.min];
    return t->compact && flexible ? 1 : t->bytes;
}

static void step_print(char **text, int inst, int k, int v, bool flexible)
{
    const struct row *row = &insts[inst].rows[k];
    const struct type *t = &types[row->decl->type];
    const char *value = t->compact && flexible ? t->compact : t->wire;
    const char *array = flexible ? "WIRE_COMPACT_ARRAY" : "WIRE_ARRAY";
    bool present = range_has(row->versions, v);

    text_add(text, "    {&f%d[%d], ", inst, k);
    if (present && row->child >= 0)
        text_add(text, "&s%d, ", insts[row->child].shape[v - insts[inst].api->versions.min]);
    else
        text_add(text, "NULL, ");
    if (!present)
        value = array = "WIRE_ABSENT";
    text_add(text, "%s, %s, %s, %d, %d},\n", row->decl->array ? array : value, value,
             range_has(row->nullable, v) ? "true" : "false",
             present ? element_bytes(row, v, flexible) : 0, row->decl->tag);
}

/* The step of the lowest tag above `above`, or -1. */
static int tag_after(const struct inst *in, int above)
{
    int best = -1;

    for (int k = 0; k < in->nrows; k++) {
        int tag = in->rows[k].decl->tag;
        if (tag > above && (best < 0 || tag < in->rows[best].decl->tag))
            best = k;
    }
    return best;
}

/* A scalar goes into what the next operation skips. */
static void fixed_add(struct fixed *f, const struct row *row)
{
    f->count++;
    f->bytes += types[row->decl->type].bytes;
    f->nodes += row->decl->type == T_UUID ? 2 : 1;
}

/* What all elements of the array have in common; bytes -1: their size differs. */
static struct fixed run_each(const struct row *row, int v, bool flexible)
{
    struct fixed each = {.bytes = row->decl->type < T_STRING ? 0 : -1};

    if (row->child >= 0)
        each = insts[row->child].fixed[v - insts[row->child].api->versions.min];
    else if (each.bytes == 0)
        fixed_add(&each, row);
    if (row->child >= 0 && each.bytes >= 0) {
        each.bytes += flexible;
        each.nodes++;
    }
    return each;
}

/* The run that ends with a field that is no scalar. last: nothing comes behind it but the end. */
static void run_print(char **text, const struct row *row, int v, bool flexible, bool last,
                      const struct fixed *before)
{
    static const char *const kinds[] = {"TEXT", "BYTES", "BYTES", "STRUCT"};
    const char *compact = flexible ? "COMPACT_" : "", *kind, *end = "RUN_GOES_ON";
    struct fixed each = {0};
    bool nullable = range_has(row->nullable, v), open;
    int type = row->decl->type, need = flexible ? 1 : type == T_STRING ? 2 : 4;
    int nodes = before->nodes + 1 + (type == T_RECORDS);

    if (row->decl->array) {
        each = run_each(row, v, flexible);
        need = flexible ? 1 : 4;
        open = each.bytes < 0;
        kind = open ? "ARRAY" : flexible && row->child >= 0 ? "STRUCTS" : "ELEMENTS";
    } else {
        open = type == T_STRUCT;
        kind = kinds[type - T_STRING];
    }
    if (!row->decl->array && open) {
        compact = "";
        need = nullable;
    }
    if (last && !open) {
        end = flexible ? "RUN_ENDS_TAGS" : "RUN_ENDS";
        nodes++;
    }
    text_add(text, "    {RUN_%s%s, %s, %d, %s, %d, %d, %d, %d, %d, STEPS + %d, ", compact, kind,
             end, before->count, nullable ? "true" : "false", before->bytes, before->bytes + need,
             nodes, open ? 0 : each.bytes, each.nodes, before->first);
    if (open && row->child >= 0)
        text_add(text, "r%d},\n", insts[row->child].shape[v - insts[row->child].api->versions.min]);
    else if (open)
        text_add(text, "%s_%s},\n", flexible ? "compact" : "plain",
                 type == T_STRING ? "text" : "bytes");
    else
        text_add(text, "NULL},\n");
}

/* What runs.h goes by. Returns what the struct is when all of it is fixed. */
static struct fixed runs_print(FILE *out, const struct inst *in, int v, bool flexible, int shape)
{
    struct fixed f = {0};
    char *text = must(strdup(""));
    int last = in->nrows;

    while (last > 0 &&
           (in->rows[last - 1].decl->tag >= 0 || !range_has(in->rows[last - 1].versions, v)))
        last--;
    for (int k = 0; k < last; k++) {
        const struct row *row = &in->rows[k];

        if (row->decl->tag >= 0 || !range_has(row->versions, v))
            continue;
        if (row->decl->array || row->decl->type >= T_STRING) {
            run_print(&text, row, v, flexible, k == last - 1, &f);
            f = (struct fixed){.first = f.first + f.count + 1};
        } else {
            fixed_add(&f, row);
        }
    }
    text_add(&text, "    {RUN_FIXED, %s, %d, false, %d, %d, %d, 0, 0, ",
             flexible ? "RUN_ENDS_TAGS" : "RUN_ENDS", f.count, f.bytes, f.bytes, f.nodes + 1);
    text_add(&text, f.count ? "STEPS + %d, NULL},\n" : "NULL, NULL},\n", f.first);
    fprintf(out, "#define STEPS p%d\nstatic const struct run r%d[] = {\n%s};\n#undef STEPS\n",
            shape, shape, text);
    free(text);
    if (f.first > 0)
        f.bytes = -1;
    return f;
}

static void shape_build(FILE *out, int i, int v)
{
    struct inst *in = &insts[i];
    int at = v - in->api->versions.min, steps = 0, tags = 0, min = 0;
    bool flexible = v >= in->api->flexible;
    char *text = must(strdup(""));

    for (int k = 0; k < in->nrows; k++) {
        const struct row *row = &in->rows[k];

        if (row->decl->tag >= 0 || !range_has(row->versions, v))
            continue;
        step_print(&text, i, k, v, flexible);
        steps++;
        if (row->decl->array)
            min += flexible ? 1 : 4;
        else
            min += row->child >= 0 && range_has(row->nullable, v) ? 1
                                                                  : element_bytes(row, v, flexible);
    }
    for (int k = tag_after(in, -1); flexible && k >= 0; k = tag_after(in, in->rows[k].decl->tag)) {
        step_print(&text, i, k, v, flexible);
        tags++;
    }
    in->min_bytes[at] = min + flexible;
    at_file = in->api->file;
    at_line = defs[in->def].line;
    if (in->min_bytes[at] > ELEMENT_MAX)
        die("a struct of more than %d bytes", ELEMENT_MAX);
    if (in->min_bytes[at] == 0 && in->depth > 1)
        die("a struct without any field in version %d", v);
    in->text[at] = text;
    for (int o = in->versions.min; o < v; o++) {
        int before = o - in->api->versions.min;
        if ((o >= in->api->flexible) == flexible && strcmp(in->text[before], text) == 0) {
            in->shape[at] = in->shape[before];
            in->fixed[at] = in->fixed[before];
            return;
        }
    }
    in->shape[at] = nshapes++;
    if (steps + tags)
        fprintf(out, "static const struct step p%d[] = {\n%s};\n", in->shape[at], text);
    in->fixed[at] = runs_print(out, in, v, flexible, in->shape[at]);
    fprintf(out, "static const struct shape s%d = {", in->shape[at]);
    fprintf(out, steps ? "p%d, " : "NULL, ", in->shape[at]);
    fprintf(out, tags ? "p%d + %d, " : "NULL, ", in->shape[at], steps);
    fprintf(out, "%d, %d, %d, %s, r%d};\n", steps, tags, in->min_bytes[at],
            flexible ? "true" : "false", in->shape[at]);
}

/* topicName -> F_TOPIC_NAME, v3AndBelowTopics -> F_V3_AND_BELOW_TOPICS */
static char *enumerator(const char *name)
{
    char *s = NULL;

    text_add(&s, "F_");
    for (const char *p = name; *p; p++) {
        if (isupper((unsigned char)*p) && p > name && !isupper((unsigned char)p[-1]))
            text_add(&s, "_");
        text_add(&s, "%c", toupper((unsigned char)*p));
    }
    return s;
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void names_build(void)
{
    int n = 0;

    for (int i = 0; i < ndefs; i++) {
        for (int k = 0; k < defs[i].nfields; k++) {
            names = grow(names, nnames, sizeof *names);
            names[nnames++] = defs[i].fields[k].name;
        }
    }
    qsort(names, (size_t)nnames, sizeof *names, name_order);
    for (int i = 0; i < nnames; i++)
        if (n == 0 || strcmp(names[i], names[n - 1]) != 0)
            names[n++] = names[i];
    nnames = n;
    for (int i = 0; i < nnames; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(enumerator(names[i]), enumerator(names[k])) == 0)
                die("%s and %s make the same enumerator", names[i], names[k]);
}

static FILE *out_open(const char *dir, const char *name)
{
    char *path = NULL;
    FILE *f;

    text_add(&path, "%s/%s", dir, name);
    at_file = path;
    at_line = 0;
    f = fopen(path, "w");
    if (!f)
        die("cannot be written");
    fprintf(f, "/* Generated by mkschema from codec/schema; edit the texts there. */\n");
    return f;
}

static void out_close(FILE *f, const char *name)
{
    bool failed = ferror(f) != 0;

    at_file = name;
    at_line = 0;
    if (fclose(f) != 0 || failed)
        die("cannot be written");
}

static int last_key(void)
{
    int key = 0;

    for (int i = 0; i < napis; i++)
        key = apis[i].key > key ? apis[i].key : key;
    return key;
}

static void names_write(const char *dir)
{
    FILE *f = out_open(dir, "names.h");

    fprintf(f, "#ifndef CODEC_NAMES_H\n#define CODEC_NAMES_H\n\n");
    fprintf(f, "/* Structs and arrays that can be open at once, the message itself counted. */\n");
    fprintf(f, "#define SCHEMA_DEPTH %d\n", deepest);
    fprintf(f, "#define SCHEMA_KEY_MAX %d\n#define SCHEMA_NAMES %d\n\n", last_key(), nnames);
    fprintf(f, "enum field_name {\n    F_NONE,\n");
    for (int i = 0; i < nnames; i++)
        fprintf(f, "    %s,\n", enumerator(names[i]));
    fprintf(f, "};\n\n#endif\n");
    out_close(f, "names.h");
}

static void rows_write(FILE *f, int i)
{
    const struct inst *in = &insts[i];

    if (in->nrows == 0)
        return;
    fprintf(f, "static const struct field f%d[] = {\n", i);
    for (int k = 0; k < in->nrows; k++) {
        const struct row *r = &in->rows[k];
        const struct decl *d = r->decl;
        struct range tagged = d->tag >= 0 ? r->versions : (struct range){1, 0};
        bool text = d->type == T_STRING && !d->array && !d->default_null;

        fprintf(f, "    {\"%s\", %s, %s, %s, %s, %d, {%d, %d}, {%d, %d}, {%d, %d}, ", d->name,
                enumerator(d->name), types[d->type].type,
                d->role >= 0 ? roles[d->role].role : "ROLE_NONE", d->array ? "true" : "false",
                d->tag, r->versions.min, r->versions.max, r->nullable.min, r->nullable.max,
                tagged.min, tagged.max);
        if (d->default_int == INT64_MIN)
            fprintf(f, "INT64_MIN, ");
        else
            fprintf(f, "INT64_C(%lld), ", d->default_int);
        fprintf(f, "%s, %s, %s, ", text ? "\"\"" : "NULL", d->default_null ? "true" : "false",
                d->ignorable ? "true" : "false");
        if (r->child >= 0 && insts[r->child].nrows)
            fprintf(f, "f%d, %d},\n", r->child, insts[r->child].nrows);
        else
            fprintf(f, "NULL, 0},\n");
    }
    fprintf(f, "};\n");
}

static void message_write(FILE *f, const struct api *api, int r)
{
    const struct inst *in = &insts[api->inst[r]];

    fprintf(f, "    {\"%s%s\", %d, %s, {%d, %d}, %d, ", api->name, r ? "Response" : "Request",
            api->key, r ? "false" : "true", api->versions.min, api->versions.max, api->flexible);
    fprintf(f, in->nrows ? "f%d, " : "NULL, ", api->inst[r]);
    fprintf(f, "%d, v%d},\n", in->nrows, api->inst[r]);
}

/* Elements of arrays of strings and bytes; who has none does without. */
static void elements_write(FILE *f)
{
    static const char *const elements[] = {"plain_text", "plain_bytes", "compact_text",
                                           "compact_bytes"};
    static const char *const kinds[] = {"TEXT", "BYTES", "COMPACT_TEXT", "COMPACT_BYTES"};
    static const int need[] = {2, 4, 1, 1};

    for (int i = 0; i < 4; i++)
        fprintf(f,
                "__attribute__((unused)) static const struct run %s[] = {\n"
                "    {RUN_%s, RUN_ENDS, 0, false, 0, %d, 1, 0, 0, NULL, NULL},\n};\n",
                elements[i], kinds[i], need[i]);
}

static void tables_write(const char *dir)
{
    FILE *f = out_open(dir, "tables.c");

    fprintf(f, "#include \"codec/schema.h\"\n\n");
    elements_write(f);
    for (int i = ninsts - 1; i >= 0; i--) {
        rows_write(f, i);
        for (int v = insts[i].versions.min; v <= insts[i].versions.max; v++)
            shape_build(f, i, v);
    }
    for (int i = 0; i < 2 * napis; i++) {
        const struct api *api = &apis[i / 2];
        const struct inst *in = &insts[api->inst[i % 2]];

        fprintf(f, "static const struct shape *const v%d[] = {", api->inst[i % 2]);
        for (int v = 0; v <= api->versions.max - api->versions.min; v++)
            fprintf(f, "&s%d, ", in->shape[v]);
        fprintf(f, "};\n");
    }
    fprintf(f, "\nconst size_t schema_message_count = %d;\n", 2 * napis);
    fprintf(f, "const struct message schema_messages[] = {\n");
    for (int i = 0; i < napis; i++) {
        message_write(f, &apis[i], 0);
        message_write(f, &apis[i], 1);
    }
    fprintf(f, "};\n\nconst struct schema_api schema_apis[SCHEMA_KEY_MAX + 1] = {\n");
    for (int i = 0; i < napis; i++)
        fprintf(f, "    [%d] = {\"%s\", &schema_messages[%d]},\n", apis[i].key, apis[i].name,
                2 * i);
    fprintf(f, "};\n");
    out_close(f, "tables.c");
}

void schema_write(const char *dir)
{
    insts_build();
    names_build();
    names_write(dir);
    tables_write(dir);
}
