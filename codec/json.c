#include "codec/json.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/read.h"
#include "codec/reply.h"
#include "codec/utf8.h"
#include "codec/walk.h"

/* --- values */

json_t *json_text(const uint8_t *p, size_t n)
{
    json_t *plain = json_stringn((const char *)p, n);
    if (plain || n == 0)
        return plain;
    char *fixed = sl_malloc(3 * n);
    if (!fixed)
        return NULL;
    size_t out = 0;
    for (size_t i = 0; i < n;) {
        size_t len = utf8_sequence(p + i, n - i);
        memcpy(fixed + out, len ? (const char *)p + i : "\xef\xbf\xbd", len ? len : 3);
        out += len ? len : 3;
        i += len ? len : 1;
    }
    plain = json_stringn(fixed, out);
    sl_free(fixed);
    return plain;
}

static const char base64_plain[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* out has room for 4 characters for each 3 bytes begun. Returns the length, without padding. */
static size_t base64_write(char *out, const uint8_t *p, size_t n, const char *digits)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;
        v |= i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0;
        v |= i + 2 < n ? p[i + 2] : 0;
        for (unsigned k = 0; k < 4; k++)
            out[at + k] = digits[v >> (18 - 6 * k) & 63];
        at += 4;
    }
    return at - (n % 3 ? 3 - n % 3 : 0);
}

json_t *json_base64(const uint8_t *p, size_t n)
{
    char *text = sl_malloc((n + 2) / 3 * 4 + 1);
    if (!text)
        return NULL;
    size_t len = base64_write(text, p, n, base64_plain);
    while (len % 4)
        text[len++] = '=';
    json_t *value = json_stringn(text, len);
    sl_free(text);
    return value;
}

static json_t *uuid_json(const uint8_t *u)
{
    static const uint8_t zero[16];
    char text[24];
    return json_stringn(text, base64_write(text, u ? u : zero, 16, base64_url));
}

static json_t *real_json(double v)
{
    if (isnan(v))
        return json_string("NaN");
    if (isinf(v))
        return json_string(v < 0 ? "-Infinity" : "Infinity");
    return json_real(v);
}

/* A field or element that is no struct and no array. */
static json_t *value_json(const struct node *n, unsigned flags)
{
    if (n->null)
        return json_null();
    switch (n->field->type) {
    case TYPE_BOOL:
        return json_boolean(n->u.num);
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_UINT16:
    case TYPE_INT32:
    case TYPE_UINT32:
    case TYPE_INT64:
        return json_integer(n->u.num);
    case TYPE_FLOAT64:
        return real_json(n->u.real);
    case TYPE_UUID:
        return uuid_json(n->u.uuid);
    case TYPE_STRING:
    case TYPE_BYTES:
        if (n->field->role == ROLE_SECRET && !(flags & JSON_SECRETS))
            return json_string("<secret>");
        if (n->field->type == TYPE_STRING)
            return json_text(n->u.str.p, n->u.str.len);
        return json_base64(n->u.str.p, n->u.str.len);
    case TYPE_RECORDS:
        return json_integer(n->u.records ? n->u.records->len : 0);
    case TYPE_STRUCT:
        break;
    }
    return json_null();
}

/* --- trees */

/* Puts a value where it belongs: into an object under the field's name, or at an array's end. The
 * reference is taken in any case. */
static int put(json_t *into, const struct node *n, json_t *value)
{
    if (json_is_array(into))
        return json_array_append_new(into, value);
    if (n->field->type != TYPE_RECORDS || n->null || n->field->array)
        return json_object_set_new(into, n->field->name, value);
    char name[64];
    int len = snprintf(name, sizeof name, "%sSizeInBytes", n->field->name);
    assert(len > 0 && (size_t)len < sizeof name);
    return json_object_set_new(into, name, value);
}

json_t *json_from_msg(const struct msg *m, unsigned flags)
{
    json_t *open[MSG_DEPTH_MAX]; /* what the nodes of each depth are put into */
    struct node_iter it = {.root = m->root};
    open[0] = json_object();
    if (!open[0])
        return NULL;
    (void)node_iter_next(&it);
    for (struct node *n = node_iter_next(&it); n; n = node_iter_next(&it)) {
        json_t *value;
        if (node_is_array(n) && !n->null)
            value = json_array();
        else if (node_is_struct(n) && !n->null)
            value = json_object();
        else
            value = value_json(n, flags);
        if (!value || put(open[it.depth - 1], n, value)) {
            json_decref(open[0]);
            return NULL;
        }
        open[it.depth] = value;
    }
    return open[0];
}

/* --- unknown tags */

#define PATH_BYTES 512

struct tag_walk {
    struct walk w;
    struct {
        const char *name; /* of a field; NULL for an element */
        int64_t index;    /* of the element last begun in this array */
        bool array;
    } open[WALK_DEPTH_MAX + 2];
    unsigned depth;
    uint64_t more;
    bool secret;
    json_t *list;
};

static void path_print(const struct tag_walk *t, char out[PATH_BYTES])
{
    size_t at = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < t->depth && at < PATH_BYTES; i++) {
        int n = 0;
        if (t->open[i].name)
            n = snprintf(out + at, PATH_BYTES - at, "%s%s", at ? "." : "", t->open[i].name);
        if (n > 0)
            at += (size_t)n;
        if (t->open[i].array && i + 1 < t->depth && at < PATH_BYTES)
            n = snprintf(out + at, PATH_BYTES - at, "[%lld]", (long long)t->open[i].index);
        else
            n = 0;
        if (n > 0)
            at += (size_t)n;
    }
}

static int tag_put(json_t *list, const char *in, int64_t tag, json_t *data)
{
    json_t *o = json_object();
    int bad = !o || !data;
    if (!bad && in)
        bad = json_object_set_new(o, "in", json_string(in));
    if (!bad)
        bad = json_object_set_new(o, "tag", json_integer(tag));
    if (!bad)
        bad = json_object_set(o, "data", data);
    json_decref(data);
    if (bad) {
        json_decref(o);
        return -1;
    }
    return json_array_append_new(list, o);
}

static void tag_open(struct tag_walk *t, bool array)
{
    bool element = t->depth > 0 && t->open[t->depth - 1].array;
    if (element)
        t->open[t->depth - 1].index++;
    if (!array && t->w.null)
        return;
    assert(t->depth < WALK_DEPTH_MAX + 2);
    t->open[t->depth].name = element ? NULL : t->w.field->name;
    t->open[t->depth].index = -1;
    t->open[t->depth++].array = array;
}

static int tag_found(struct tag_walk *t, const uint8_t *p)
{
    if (json_array_size(t->list) == JSON_TAGS_MAX) {
        t->more++;
        return 0;
    }
    char path[PATH_BYTES];
    path_print(t, path);
    json_t *data =
        t->secret ? json_string("<secret>") : json_base64(p + t->w.blob_off, (size_t)t->w.blob_len);
    return tag_put(t->list, path, t->w.value, data);
}

bool json_has_secret(const struct message *schema)
{
    struct {
        const struct field *at, *end;
    } open[MSG_DEPTH_MAX];
    unsigned depth = 1;
    open[0].at = schema->fields;
    open[0].end = schema->fields + schema->nfields;
    while (depth > 0) {
        const struct field *f = open[depth - 1].at;
        if (f == open[depth - 1].end) {
            depth--;
            continue;
        }
        open[depth - 1].at++;
        if (f->role == ROLE_SECRET)
            return true;
        if (f->type == TYPE_STRUCT) {
            assert(depth < MSG_DEPTH_MAX);
            open[depth].at = f->fields;
            open[depth++].end = f->fields + f->nfields;
        }
    }
    return false;
}

json_t *json_unknown_tags(const struct message *schema, int version, const uint8_t *p, size_t len,
                          unsigned flags)
{
    struct tag_walk t = {.list = json_array()};
    t.secret = !(flags & JSON_SECRETS) && json_has_secret(schema);
    walk_start(&t.w, schema, version, len);
    bool fed = false, done = false;
    int bad = !t.list;
    while (!bad && !done) {
        switch (walk_next(&t.w)) {
        case WALK_MORE:
            done = fed;
            if (!fed)
                walk_feed(&t.w, p, len);
            fed = true;
            break;
        case WALK_ARRAY_IN:
            tag_open(&t, true);
            break;
        case WALK_STRUCT_IN:
            tag_open(&t, false);
            break;
        case WALK_ARRAY_OUT:
        case WALK_STRUCT_OUT:
            t.depth--;
            break;
        case WALK_UNKNOWN_TAG:
            bad = tag_found(&t, p);
            break;
        case WALK_SCALAR:
        case WALK_BLOB:
            break;
        case WALK_DONE:
        case WALK_BAD:
            done = true;
            break;
        }
    }
    if (!bad && t.more > 0)
        bad = json_array_append_new(t.list, json_pack("{s:I}", "more", (json_int_t)t.more));
    if (bad) {
        json_decref(t.list);
        return NULL;
    }
    return t.list;
}

/* Reads an unsigned varint; 0 bytes used when there is none. */
static size_t varint_read(const uint8_t *p, size_t n, uint32_t *v)
{
    *v = 0;
    for (size_t i = 0; i < n && i < VARINT_BYTES_MAX; i++) {
        *v |= (uint32_t)(p[i] & 0x7f) << (7 * i);
        if (!(p[i] & 0x80))
            return i + 1;
    }
    return 0;
}

json_t *json_header_tags(const uint8_t *p, size_t n)
{
    json_t *list = json_array();
    uint32_t count, tag, size;
    size_t at = varint_read(p, n, &count);
    if (!list || at == 0)
        return list;
    for (uint32_t i = 0; i < count; i++) {
        size_t used = varint_read(p + at, n - at, &tag);
        at += used;
        size_t used2 = varint_read(p + at, n - at, &size);
        at += used2;
        if (used == 0 || used2 == 0 || size > n - at)
            break;
        if (tag_put(list, NULL, tag, json_base64(p + at, size))) {
            json_decref(list);
            return NULL;
        }
        at += size;
    }
    return list;
}

/* --- text for people */

#define PRINT_DEPTH_MAX 64

static void print_scalar(FILE *out, const char *key, const json_t *v)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    for (const char *c = text; c && *c; c++) {
        if (*c == 0x7f)
            fputs("\\u007F", out);
        else
            fputc(*c, out);
    }
    sl_free(text);
    size_t len = key ? strlen(key) : 0;
    if (json_is_integer(v) && len >= 9 &&
        (strcmp(key + len - 9, "errorCode") == 0 || strcmp(key + len - 9, "ErrorCode") == 0)) {
        const char *name = kafka_error_name((int)json_integer_value(v));
        fprintf(out, " %s", name ? name : "(unknown)");
    }
    fputc('\n', out);
}

struct print_level {
    const json_t *value;
    const char *key; /* of an object's next member */
    size_t index;
    bool begun; /* the line of the first member is begun, by a list's dash */
};

/* What stands in front of a value: indentation, a list's dash, a member's name. */
static void print_lead(FILE *out, struct print_level *l, unsigned depth, const char *key)
{
    if (!l->begun)
        fprintf(out, "%*s", (int)(2 * depth), "");
    l->begun = false;
    fputs(json_is_array(l->value) ? "-" : key, out);
    if (!json_is_array(l->value))
        fputc(':', out);
}

/* The next member of what is open, or NULL. *key is NULL for an array's. */
static const json_t *print_next(struct print_level *l, const char **key)
{
    *key = NULL;
    if (json_is_array(l->value))
        return json_array_get(l->value, l->index++);
    *key = l->key;
    if (!l->key)
        return NULL;
    const json_t *v = json_object_get(l->value, l->key);
    void *iter = json_object_key_to_iter(l->key);
    /* jansson's iterator wants the object, which it does not change. */
    union {
        const json_t *c;
        json_t *v;
    } object = {.c = l->value};
    l->key = json_object_iter_key(json_object_iter_next(object.v, iter));
    return v;
}

static const char *first_key(const json_t *object)
{
    union {
        const json_t *c;
        json_t *v;
    } o = {.c = object};
    return json_is_object(object) ? json_object_iter_key(json_object_iter(o.v)) : NULL;
}

static bool is_empty(const json_t *v)
{
    return json_is_array(v) ? json_array_size(v) == 0 : json_object_size(v) == 0;
}

void json_print_text(FILE *out, const json_t *value)
{
    struct print_level open[PRINT_DEPTH_MAX];
    unsigned depth = 1;
    if (!json_is_array(value) && !json_is_object(value)) {
        print_scalar(out, NULL, value);
        return;
    }
    open[0] = (struct print_level){.value = value, .key = first_key(value)};
    while (depth > 0) {
        struct print_level *l = &open[depth - 1];
        const char *key;
        const json_t *v = print_next(l, &key);
        if (!v) {
            depth--;
            continue;
        }
        print_lead(out, l, depth - 1, key);
        if (!json_is_array(v) && !json_is_object(v)) {
            fputc(' ', out);
            print_scalar(out, key, v);
        } else if (is_empty(v)) {
            fputs(json_is_array(v) ? " []\n" : " {}\n", out);
        } else if (depth == PRINT_DEPTH_MAX) {
            fputs(" ...\n", out);
        } else {
            fputc(key ? '\n' : ' ', out);
            open[depth++] = (struct print_level){.value = v, .key = first_key(v), .begun = !key};
        }
    }
}
