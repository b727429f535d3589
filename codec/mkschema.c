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
#include "codec/mkschema.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX   8
#define VERSION_MAX 999
#define KEY_MAX     999
#define TOKENS_MAX  12

const struct type types[] = {
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

const struct role roles[] = {
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

struct def *defs;
int ndefs;
struct api *apis;
int napis;
const char *at_file = "mkschema";
int at_line;

void die(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s:%d: ", at_file, at_line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

void *must(void *p)
{
    if (!p)
        die("out of memory");
    return p;
}

void *grow(void *array, int n, size_t size)
{
    if (n & (n - 1))
        return array;
    return must(realloc(array, (n ? 2 * (size_t)n : 1) * size));
}

bool range_empty(struct range r)
{
    return r.min > r.max;
}

struct range range_cut(struct range a, struct range b)
{
    struct range r = {a.min > b.min ? a.min : b.min, a.max < b.max ? a.max : b.max};

    if (range_empty(r))
        return (struct range){1, 0};
    return r;
}

bool range_has(struct range r, int v)
{
    return v >= r.min && v <= r.max;
}

static bool range_within(struct range r, struct range outer)
{
    return r.min >= outer.min && r.max <= outer.max;
}

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
    for (p += strspn(p, " \t"); *p; p += strspn(p, " \t")) {
        if (l->n == TOKENS_MAX)
            die("more than %d words", TOKENS_MAX);
        l->word[l->n++] = p;
        p += strcspn(p, " \t");
        if (*p)
            *p++ = '\0';
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

static int api_order(const void *a, const void *b)
{
    return ((const struct api *)a)->key - ((const struct api *)b)->key;
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
    schema_write(argv[2]);
    return 0;
}
