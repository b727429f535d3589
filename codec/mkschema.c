/* The schema compiler: mkschema -o DIR FILE... reads codec/schema texts and writes DIR/names.h and
 * DIR/tables.c (codec/schema.h says what is in them). A build tool: it runs once, alone, and stops
 * at the first mistake with file:line. It never frees; it is gone in a moment.
 *
 * A text is one API:
 *
 *   # a comment, to the end of the line
 *   api 1 Fetch 4-18 flexible 12+           key, name, versions, first flexible one (or: never)
 *   struct Endpoint {                       a struct that is used more than once; before its use
 *       host  string  16+  role=host
 *   }
 *   request {
 *       name  type  versions  attributes
 *   }
 *   response {
 *   }
 *
 * Types: bool int8 int16 uint16 int32 uint32 int64 float64 uuid string bytes records, a struct's
 * name, or `struct` with its fields in braces; [] in front makes an array. Versions: 3, 3-5 or 3+
 * (to the enclosing range's end). Attributes: null or null=3+ (where null is legal), tag=N (a
 * tagged field), default=VALUE, ignorable, role=NAME.
 *
 * Limits: DEPTH_MAX nested structs in a text, 1000 versions, API keys to 999. */
#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX   8
#define VERSION_MAX 999
#define KEY_MAX     999
#define TOKENS_MAX  12
#define ELEMENT_MAX 60000 /* an element's least size must fit 16 bits */

struct range {
    int min, max;
};

struct type {
    const char *word, *type, *wire, *compact; /* compact: NULL where the wire never differs */
    int bytes;                                /* least size; of the inflexible form */
    long long lowest;                         /* of a default */
    unsigned long long highest;
    bool nullable;
};

enum { T_BOOL, T_STRING = 9, T_BYTES, T_RECORDS, T_STRUCT };
static const struct type types[] = {
    [T_BOOL] = {"bool", "TYPE_BOOL", "WIRE_BOOL", NULL, 1, 0, 1, false},
    {"int8", "TYPE_INT8", "WIRE_INT8", NULL, 1, INT8_MIN, INT8_MAX, false},
    {"int16", "TYPE_INT16", "WIRE_INT16", NULL, 2, INT16_MIN, INT16_MAX, false},
    {"uint16", "TYPE_UINT16", "WIRE_UINT16", NULL, 2, 0, UINT16_MAX, false},
    {"int32", "TYPE_INT32", "WIRE_INT32", NULL, 4, INT32_MIN, INT32_MAX, false},
    {"uint32", "TYPE_UINT32", "WIRE_UINT32", NULL, 4, 0, UINT32_MAX, false},
    {"int64", "TYPE_INT64", "WIRE_INT64", NULL, 8, INT64_MIN, INT64_MAX, false},
    {"float64", "TYPE_FLOAT64", "WIRE_FLOAT64", NULL, 8, 0, 0, false},
    {"uuid", "TYPE_UUID", "WIRE_UUID", NULL, 16, 0, 0, false},
    [T_STRING] = {"string", "TYPE_STRING", "WIRE_STRING", "WIRE_COMPACT_STRING", 2, 0, 0, true},
    [T_BYTES] = {"bytes", "TYPE_BYTES", "WIRE_BYTES", "WIRE_COMPACT_BYTES", 4, 0, 0, true},
    [T_RECORDS] = {"records", "TYPE_RECORDS", "WIRE_BYTES", "WIRE_COMPACT_BYTES", 4, 0, 0, true},
    [T_STRUCT] = {"struct", "TYPE_STRUCT", "WIRE_STRUCT", NULL, 0, 0, 0, true},
};
#define NTYPES (sizeof types / sizeof types[0])

/* Which types may bear a role, as words of the table above. */
static const struct {
    const char *word, *role, *types;
} roles[] = {
    {"topic", "ROLE_TOPIC", "string"},
    {"topic_id", "ROLE_TOPIC_ID", "uuid"},
    {"group", "ROLE_GROUP", "string"},
    {"txn", "ROLE_TXN", "string"},
    {"broker", "ROLE_BROKER", "int32"},
    {"host", "ROLE_HOST", "string"},
    {"port", "ROLE_PORT", "int32 uint16"},
    {"rack", "ROLE_RACK", "string"},
    {"cluster", "ROLE_CLUSTER", "string"},
    {"principal", "ROLE_PRINCIPAL", "string uuid"},
    {"opaque", "ROLE_OPAQUE", "string bytes"},
    {"regex", "ROLE_REGEX", "string"},
    {"key", "ROLE_KEY", "string"},
    {"text", "ROLE_TEXT", "string"},
    {"records", "ROLE_RECORDS", "records"},
    {"secret", "ROLE_SECRET", "string bytes"},
    {"error", "ROLE_ERROR", "int16"},
    {"partition", "ROLE_PARTITION", "int32"},
    {"ops", "ROLE_OPS", "int32"},
    {"replica", "ROLE_REPLICA", "int32"},
    {"throttle", "ROLE_THROTTLE", "int32"},
};
#define NROLES ((int)(sizeof roles / sizeof roles[0]))

struct decl { /* a field as written */
    const char *name;
    int line, type, role; /* role: -1 for none */
    int def;              /* a struct's definition; -1 otherwise */
    int tag;              /* -1: inline */
    bool array, ignorable, default_null;
    struct range versions, nullable;
    long long default_int;
};

struct def { /* a struct as written, or a message's body */
    const char *name;
    int line;
    bool open, used;
    struct range versions;
    struct decl *fields;
    int nfields;
};

struct api {
    const char *file, *name;
    int line, key;
    struct range versions;
    int flexible; /* first flexible version; INT16_MAX: never */
    int body[2];  /* definitions of request and response; -1 until met */
    int inst[2];
};

struct row { /* a field where it is used, its versions cut to its parent's */
    const struct decl *decl;
    struct range versions, nullable;
    int child; /* instance of its struct; -1 otherwise */
};

struct inst { /* a struct where it is used: parents have lower numbers than their children */
    const struct api *api;
    int def, depth;
    struct range versions;
    struct row *rows;
    int nrows;
    int *shape;     /* by version - api's first: number of its generated shape */
    int *min_bytes; /* likewise */
    char **text;    /* likewise: the shape's text, to find equal ones */
};

static struct def *defs;
static int ndefs;
static struct api *apis;
static int napis;
static struct inst *insts;
static int ninsts;
static int nshapes, deepest;

/* Where we are, for errors. */
static const char *at_file = "mkschema";
static int at_line;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s:%d: ", at_file, at_line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static void *must(void *p)
{
    if (!p)
        die("out of memory");
    return p;
}

/* Room for one more element at the end of an array of n; arrays grow in powers of two. */
static void *grow(void *array, int n, size_t size)
{
    if (n & (n - 1))
        return array;
    return must(realloc(array, (n ? 2 * (size_t)n : 1) * size));
}

static bool range_empty(struct range r)
{
    return r.min > r.max;
}

static struct range range_cut(struct range a, struct range b)
{
    struct range r = {a.min > b.min ? a.min : b.min, a.max < b.max ? a.max : b.max};

    if (range_empty(r))
        return (struct range){1, 0};
    return r;
}

static bool range_has(struct range r, int v)
{
    return v >= r.min && v <= r.max;
}

static bool range_within(struct range r, struct range outer)
{
    return r.min >= outer.min && r.max <= outer.max;
}

/* --- reading ----------------------------------------------------------------------------- */

struct line {
    char *word[TOKENS_MAX];
    int n;
};

static char *file_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    size_t len = 0, got;

    if (!f)
        die("cannot be read");
    do {
        text = must(realloc(text, len + 65537));
        got = fread(text + len, 1, 65536, f);
        len += got;
    } while (got);
    if (ferror(f))
        die("cannot be read");
    fclose(f);
    text[len] = '\0';
    if (strlen(text) != len)
        die("holds a NUL byte");
    return text;
}

/* Cuts the next line into words, in place. False at the end of the text. */
static bool line_next(char **text, struct line *l)
{
    char *p = *text, *end;

    l->n = 0;
    if (!*p)
        return false;
    at_line++;
    end = strchr(p, '\n');
    *text = end ? end + 1 : p + strlen(p);
    if (end)
        *end = '\0';
    p[strcspn(p, "#")] = '\0';
    for (p = strtok(p, " \t"); p; p = strtok(NULL, " \t")) {
        if (l->n == TOKENS_MAX)
            die("more than %d words", TOKENS_MAX);
        l->word[l->n++] = p;
    }
    return true;
}

static int number_parse(const char *s, const char **end, int max)
{
    int v = 0;

    if (!isdigit((unsigned char)*s))
        die("a number was expected at '%s'", s);
    for (; isdigit((unsigned char)*s); s++) {
        v = v * 10 + (*s - '0');
        if (v > max)
            die("number above %d", max);
    }
    *end = s;
    return v;
}

/* 3, 3-5 or 3+; + reaches to the end of the enclosing range, which also bounds the others. */
static struct range range_parse(const char *s, struct range outer)
{
    struct range r;
    const char *end;

    r.min = r.max = number_parse(s, &end, VERSION_MAX);
    if (*end == '+') {
        r.max = outer.max;
        end++;
    } else if (*end == '-') {
        r.max = number_parse(end + 1, &end, VERSION_MAX);
    }
    if (*end)
        die("'%s' is no version range", s);
    if (range_empty(r))
        die("version range %s is empty", s);
    if (!range_within(r, outer))
        die("version range %s leaves the enclosing %d-%d", s, outer.min, outer.max);
    return r;
}

static bool name_valid(const char *s, bool upper)
{
    if (upper ? !isupper((unsigned char)*s) : !islower((unsigned char)*s))
        return false;
    while (isalnum((unsigned char)*s))
        s++;
    return !*s;
}

static int def_add(const char *name, struct range versions)
{
    defs = grow(defs, ndefs, sizeof *defs);
    defs[ndefs] = (struct def){.name = name, .line = at_line, .open = true, .versions = versions};
    return ndefs++;
}

static void type_parse(struct decl *d, const char *word, bool opens, int first_def)
{
    d->array = strncmp(word, "[]", 2) == 0;
    word += d->array ? 2 : 0;
    d->def = -1;
    for (size_t i = 0; i < NTYPES; i++) {
        if (strcmp(word, types[i].word) == 0) {
            if ((i == T_STRUCT) != opens)
                die("'{' goes with type struct, and only with it");
            if (d->array && i == T_RECORDS)
                die("an array of records");
            d->type = (int)i;
            return;
        }
    }
    if (opens)
        die("'{' goes with type struct, and only with it");
    for (int i = first_def; i < ndefs; i++) {
        if (defs[i].name && strcmp(word, defs[i].name) == 0) {
            if (defs[i].open)
                die("struct %s inside of itself", word);
            defs[i].used = true;
            d->type = T_STRUCT;
            d->def = i;
            return;
        }
    }
    die("unknown type '%s'", word);
}

static void default_parse(struct decl *d, const char *s)
{
    const struct type *t = &types[d->type];
    char *end;

    if (strcmp(s, "null") == 0) {
        if (range_empty(d->nullable))
            die("default null where null is never legal");
        d->default_null = true;
        return;
    }
    if (d->array || (!t->lowest && !t->highest))
        die("%s takes no default but null", d->array ? "an array" : t->word);
    if (d->type == T_BOOL) {
        if (strcmp(s, "true") != 0 && strcmp(s, "false") != 0)
            die("a bool's default is true or false");
        d->default_int = s[0] == 't';
        return;
    }
    d->default_int = strtoll(s, &end, 10);
    if (end == s || *end || d->default_int < t->lowest ||
        (d->default_int > 0 && (unsigned long long)d->default_int > t->highest))
        die("default %s is not of type %s", s, t->word);
}

static void role_parse(struct decl *d, const char *s)
{
    for (int i = 0; i < NROLES; i++) {
        if (strcmp(s, roles[i].word) != 0)
            continue;
        const char *hit = strstr(roles[i].types, types[d->type].word);
        size_t n = strlen(types[d->type].word);
        if (!hit || (hit[n] && hit[n] != ' ') || (hit > roles[i].types && hit[-1] != ' '))
            die("role %s on a field of type %s", s, types[d->type].word);
        d->role = i;
        return;
    }
    die("unknown role '%s'", s);
}

static void attribute_parse(struct decl *d, const char *s)
{
    const char *end;

    if (strcmp(s, "ignorable") == 0) {
        d->ignorable = true;
    } else if (strcmp(s, "null") == 0 || strncmp(s, "null=", 5) == 0) {
        if (!d->array && !types[d->type].nullable)
            die("type %s cannot be null", types[d->type].word);
        d->nullable = s[4] ? range_parse(s + 5, d->versions) : d->versions;
    } else if (strncmp(s, "tag=", 4) == 0) {
        d->tag = number_parse(s + 4, &end, INT16_MAX);
        if (*end)
            die("'%s' is no tag", s);
        if (d->type == T_RECORDS)
            die("records cannot be tagged");
    } else if (strncmp(s, "default=", 8) == 0) {
        default_parse(d, s + 8);
    } else if (strncmp(s, "role=", 5) == 0) {
        role_parse(d, s + 5);
    } else {
        die("unknown attribute '%s'", s);
    }
}

/* One field; returns the definition that it opens, or -1. */
static int field_parse(const struct api *api, int def, const struct line *l, int first_def)
{
    bool opens = strcmp(l->word[l->n - 1], "{") == 0;
    int words = l->n - opens;
    struct decl d = {.line = at_line, .role = -1, .tag = -1, .nullable = {1, 0}};

    if (words < 3)
        die("a field is: name type versions [attributes]");
    d.name = l->word[0];
    if (!name_valid(d.name, false))
        die("'%s' is no field name", d.name);
    type_parse(&d, l->word[1], opens, first_def);
    d.versions = range_parse(l->word[2], defs[def].versions);
    for (int i = 3; i < words; i++)
        attribute_parse(&d, l->word[i]);
    if (d.tag >= 0 && d.versions.min < api->flexible)
        die("a tag before the first flexible version");
    for (int i = 0; i < defs[def].nfields; i++) {
        const struct decl *o = &defs[def].fields[i];
        if (strcmp(o->name, d.name) == 0)
            die("second field '%s', the first is in line %d", d.name, o->line);
        if (d.tag >= 0 && o->tag == d.tag)
            die("second tag %d, the first is in line %d", d.tag, o->line);
    }
    if (opens)
        d.def = def_add(NULL, d.versions);
    defs[def].fields = grow(defs[def].fields, defs[def].nfields, sizeof d);
    defs[def].fields[defs[def].nfields++] = d;
    return opens ? d.def : -1;
}

static void api_parse(struct api *api, const struct line *l)
{
    const char *end;

    if (api->name)
        die("a second api in one file");
    if (l->n != 6 || strcmp(l->word[4], "flexible") != 0)
        die("an api is: api KEY NAME VERSIONS flexible VERSION+|never");
    api->key = number_parse(l->word[1], &end, KEY_MAX);
    if (*end)
        die("'%s' is no key", l->word[1]);
    api->line = at_line;
    api->name = l->word[2];
    if (!name_valid(api->name, true))
        die("'%s' is no API name", api->name);
    api->versions = range_parse(l->word[3], (struct range){0, VERSION_MAX});
    api->flexible = INT16_MAX;
    if (strcmp(l->word[5], "never") != 0) {
        api->flexible = number_parse(l->word[5], &end, VERSION_MAX);
        if (strcmp(end, "+") != 0)
            die("'%s' is no first flexible version", l->word[5]);
        if (!range_has(api->versions, api->flexible))
            die("the first flexible version is not one of %s's", api->name);
    }
    for (int i = 0; i < napis; i++)
        if (apis[i].key == api->key || strcmp(apis[i].name, api->name) == 0)
            die("key or name is taken by %s:%d", apis[i].file, apis[i].line);
}

/* What stands outside of braces opens a body; returns its definition, or -1 for the api line. */
static int top_parse(struct api *api, const struct line *l, int first_def)
{
    int r = strcmp(l->word[0], "response") == 0;

    if (strcmp(l->word[0], "api") == 0) {
        api_parse(api, l);
        return -1;
    }
    if (!api->name)
        die("the api line comes first");
    if (l->n < 2 || strcmp(l->word[l->n - 1], "{") != 0)
        die("'{' was expected at the end of the line");
    if (l->n == 2 && (r || strcmp(l->word[0], "request") == 0)) {
        if (api->body[r] >= 0)
            die("a second %s", l->word[0]);
        api->body[r] = def_add(NULL, api->versions);
        return api->body[r];
    }
    if (l->n != 3 || strcmp(l->word[0], "struct") != 0 || !name_valid(l->word[1], true))
        die("api, struct NAME, request or response was expected");
    for (int i = first_def; i < ndefs; i++)
        if (defs[i].name && strcmp(defs[i].name, l->word[1]) == 0)
            die("second struct '%s', the first is in line %d", l->word[1], defs[i].line);
    return def_add(l->word[1], api->versions);
}

static void file_parse(const char *path)
{
    struct api api = {.file = path, .body = {-1, -1}};
    int open[DEPTH_MAX], depth = 0, first_def = ndefs;
    struct line l;
    char *text;

    at_file = path;
    at_line = 0;
    text = file_read(path);
    while (line_next(&text, &l)) {
        int opened;

        if (l.n == 0)
            continue;
        if (strcmp(l.word[0], "}") == 0) {
            if (l.n != 1 || depth == 0)
                die("'}' stands alone and closes what is open");
            defs[open[--depth]].open = false;
            continue;
        }
        opened = depth ? field_parse(&api, open[depth - 1], &l, first_def)
                       : top_parse(&api, &l, first_def);
        if (opened < 0)
            continue;
        if (depth == DEPTH_MAX)
            die("more than %d nested structs", DEPTH_MAX);
        open[depth++] = opened;
    }
    if (depth)
        die("'}' is missing");
    if (!api.name || api.body[0] < 0 || api.body[1] < 0)
        die("api, request or response is missing");
    for (int i = first_def; i < ndefs; i++) {
        at_line = defs[i].line;
        if (defs[i].name && !defs[i].used)
            die("struct %s is never used", defs[i].name);
    }
    apis = grow(apis, napis, sizeof *apis);
    apis[napis++] = api;
}

/* --- from definitions to instances and shapes ---------------------------------------------- */

static int inst_add(const struct api *api, int def, struct range versions, int depth)
{
    size_t n = (size_t)(api->versions.max - api->versions.min + 1);

    insts = grow(insts, ninsts, sizeof *insts);
    insts[ninsts] = (struct inst){.api = api, .def = def, .versions = versions, .depth = depth};
    insts[ninsts].shape = must(calloc(n, sizeof(int)));
    insts[ninsts].min_bytes = must(calloc(n, sizeof(int)));
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
            return;
        }
    }
    in->shape[at] = nshapes++;
    if (steps + tags)
        fprintf(out, "static const struct step p%d[] = {\n%s};\n", in->shape[at], text);
    fprintf(out, "static const struct shape s%d = {", in->shape[at]);
    fprintf(out, steps ? "p%d, " : "NULL, ", in->shape[at]);
    fprintf(out, tags ? "p%d + %d, " : "NULL, ", in->shape[at], steps);
    fprintf(out, "%d, %d, %d, %s};\n", steps, tags, in->min_bytes[at], flexible ? "true" : "false");
}

/* --- names --------------------------------------------------------------------------------- */

static const char **names;
static int nnames;

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

/* --- writing ------------------------------------------------------------------------------- */

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

static int api_order(const void *a, const void *b)
{
    return ((const struct api *)a)->key - ((const struct api *)b)->key;
}

static void message_write(FILE *f, const struct api *api, int r)
{
    const struct inst *in = &insts[api->inst[r]];

    fprintf(f, "    {\"%s%s\", %d, %s, {%d, %d}, %d, ", api->name, r ? "Response" : "Request",
            api->key, r ? "false" : "true", api->versions.min, api->versions.max, api->flexible);
    fprintf(f, in->nrows ? "f%d, " : "NULL, ", api->inst[r]);
    fprintf(f, "%d, v%d},\n", in->nrows, api->inst[r]);
}

static void tables_write(const char *dir)
{
    FILE *f = out_open(dir, "tables.c");

    fprintf(f, "#include \"codec/schema.h\"\n\n");
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

int main(int argc, char **argv)
{
    if (argc < 4 || strcmp(argv[1], "-o") != 0) {
        fprintf(stderr, "usage: mkschema -o DIR FILE...\n");
        return 2;
    }
    for (int i = 3; i < argc; i++)
        file_parse(argv[i]);
    qsort(apis, (size_t)napis, sizeof *apis, api_order);
    insts_build();
    names_build();
    names_write(argv[2]);
    tables_write(argv[2]);
    return 0;
}
