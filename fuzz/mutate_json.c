#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "fuzz/mutate_text.h"

#define DEPTH_MAX  64
#define TEXT_BYTES 1024
#define EDITS_MAX  3
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))

/* One value and where it stands: parent NULL is the document itself. */
struct place {
    json_t *parent, *value;
    const char *key; /* of an object's member */
    size_t index;    /* of an array's element */
};

static size_t children(const json_t *v)
{
    return json_is_object(v) ? json_object_size(v) : json_array_size(v);
}

static struct place child(json_t *parent, size_t i)
{
    struct place p = {.parent = parent, .index = i};

    if (json_is_object(parent)) {
        void *it = json_object_iter(parent);
        for (; i > 0; i--)
            it = json_object_iter_next(parent, it);
        p.key = json_object_iter_key(it);
        p.value = json_object_iter_value(it);
    } else {
        p.value = json_array_get(parent, i);
    }
    return p;
}

static struct place pick(struct mutate_rng *r, json_t *root)
{
    struct place p = {.value = root};

    for (unsigned depth = 0; depth < DEPTH_MAX && children(p.value) > 0; depth++) {
        if (p.parent && mutate_one_in(r, 4))
            break;
        p = child(p.value, mutate_rand(r, (uint32_t)children(p.value)));
    }
    return p;
}

/* Takes value over, which may be NULL for want of memory. */
static void put(json_t **root, const struct place *p, json_t *value)
{
    if (!value)
        return;
    if (!p->parent) {
        json_decref(*root);
        *root = value;
    } else if (p->key) {
        (void)json_object_set_new_nocheck(p->parent, p->key, value);
    } else {
        (void)json_array_set_new(p->parent, p->index, value);
    }
}

static void drop(const struct place *p)
{
    if (p->key)
        (void)json_object_del(p->parent, p->key);
    else if (p->parent)
        (void)json_array_remove(p->parent, p->index);
}

/* --- values */

static json_int_t number(struct mutate_rng *r, json_int_t now)
{
    static const json_int_t edges[] = {
        0,         1,           -1,         2,          59,         60,         255,
        256,       INT16_MAX,   65535,      65536,      1700000000, 1800000000, 1800000300,
        INT32_MAX, -2147483648, UINT32_MAX, 4102444800, INT64_MAX,  INT64_MIN,  1LL << 53};

    switch (mutate_rand(r, 4)) {
    case 0:
        return (json_int_t)((uint64_t)now + 1 - mutate_rand(r, 3));
    case 1:
        return (json_int_t)((uint64_t)now ^ (uint64_t)1 << mutate_rand(r, 64));
    default:
        return edges[mutate_rand(r, COUNT(edges))];
    }
}

/* Texts of Unicode's corners, and long ones. */
static json_t *odd_text(struct mutate_rng *r)
{
    static const char *const odd[] = {"",
                                      " ",
                                      "\n",
                                      "\x7f",
                                      "*",
                                      "a/b",
                                      "\xc3\xa9",
                                      "\xe2\x80\xaex\xe2\x80\xac",
                                      "..",
                                      "1",
                                      "[]",
                                      "\xef\xbf\xbd",
                                      "\xf0\x9f\x98\x80",
                                      "%00",
                                      "null"};
    char text[TEXT_BYTES];
    size_t n;

    if (mutate_one_in(r, 8))
        return json_stringn("a\0b", 3);
    if (!mutate_one_in(r, 4))
        return json_string(odd[mutate_rand(r, COUNT(odd))]);
    n = (size_t)(mutate_one_in(r, 2) ? 62 + mutate_rand(r, 4) : mutate_rand(r, sizeof(text)));
    memset(text, 'a', n);
    return json_stringn(text, n);
}

static json_t *make(struct mutate_rng *r, const struct mutate_words *w)
{
    json_t *made;

    switch (mutate_rand(r, 10)) {
    case 0:
        return json_null();
    case 1:
        return json_boolean(mutate_rand(r, 2));
    case 2:
    case 3:
        return json_integer(number(r, 0));
    case 4:
        return json_real((double)number(r, 0) * (mutate_one_in(r, 2) ? 0.5 : 1e30));
    case 5:
        return odd_text(r);
    case 6:
        made = json_array();
        for (uint32_t n = mutate_rand(r, mutate_one_in(r, 8) ? 80 : 4); made && n > 0; n--)
            (void)json_array_append_new(made, json_string(mutate_word(r, w)));
        return made;
    case 7:
        made = json_object();
        for (uint32_t n = mutate_rand(r, 3); made && n > 0; n--)
            (void)json_object_set_new(made, mutate_word(r, w), json_string(mutate_word(r, w)));
        return made;
    default:
        return json_string(mutate_word(r, w));
    }
}

/* Another text near this one; NULL when it is no UTF-8 any more. */
static json_t *near_text(struct mutate_rng *r, const struct mutate_words *w, const json_t *v)
{
    uint8_t text[TEXT_BYTES];
    const char *word = mutate_word(r, w);
    size_t n = json_string_length(v), at;

    if (n > sizeof(text) / 2)
        n = sizeof(text) / 2;
    memcpy(text, json_string_value(v), n);
    at = mutate_rand(r, (uint32_t)n + 1);
    switch (mutate_rand(r, 4)) {
    case 0: /* put together of two */
        n = mutate_splice(text, n, sizeof(text), at, 0, word, strlen(word));
        break;
    case 1:
        n = at;
        break;
    case 2:
        if (at < n)
            text[at] ^= 0x20; /* another case */
        break;
    default:
        n = LLVMFuzzerMutate(text, n, sizeof(text));
        break;
    }
    return json_stringn((const char *)text, n);
}

static json_t *changed(struct mutate_rng *r, const struct mutate_words *w, const json_t *v)
{
    json_t *copy;

    switch (json_typeof(v)) {
    case JSON_STRING:
        if (!mutate_one_in(r, 3) && (copy = near_text(r, w, v)) != NULL)
            return copy;
        return mutate_one_in(r, 4) ? odd_text(r) : json_string(mutate_word(r, w));
    case JSON_INTEGER:
        return json_integer(number(r, json_integer_value(v)));
    case JSON_REAL:
        return json_real(json_real_value(v) * (mutate_one_in(r, 2) ? -1 : 1e9));
    case JSON_TRUE:
    case JSON_FALSE:
        return json_boolean(!json_is_true(v));
    case JSON_ARRAY:
        copy = json_deep_copy(v);
        (void)json_array_insert_new(copy, mutate_rand(r, (uint32_t)json_array_size(v) + 1),
                                    make(r, w));
        return copy;
    case JSON_OBJECT:
        copy = json_deep_copy(v);
        (void)json_object_set_new(copy, mutate_word(r, w), make(r, w));
        return copy;
    case JSON_NULL:
        break;
    }
    return make(r, w);
}

/* --- edits */

static json_t *nested(struct mutate_rng *r, const struct mutate_words *w, const json_t *v)
{
    json_t *outer = mutate_one_in(r, 2) ? json_array() : json_object();

    if (json_is_array(outer))
        (void)json_array_append_new(outer, json_deep_copy(v));
    else
        (void)json_object_set_new(outer, mutate_word(r, w), json_deep_copy(v));
    return outer;
}

static void double_it(struct mutate_rng *r, const struct mutate_words *w, const struct place *p)
{
    if (p->key)
        (void)json_object_set_new(p->parent, mutate_word(r, w), json_deep_copy(p->value));
    else if (p->parent)
        (void)json_array_insert_new(p->parent, p->index, json_deep_copy(p->value));
}

static void rename_it(struct mutate_rng *r, const struct mutate_words *w, const struct place *p)
{
    json_t *value = json_deep_copy(p->value);

    if (!p->key) {
        json_decref(value);
        return;
    }
    (void)json_object_del(p->parent, p->key);
    (void)json_object_set_new(p->parent, mutate_word(r, w), value);
}

static void edit(struct mutate_rng *r, const struct mutate_words *w, json_t **root)
{
    struct place p = pick(r, *root);

    switch (mutate_rand(r, 14)) {
    case 0:
        drop(&p);
        break;
    case 1:
        double_it(r, w, &p);
        break;
    case 2:
        rename_it(r, w, &p);
        break;
    case 3:
        put(root, &p, nested(r, w, p.value));
        break;
    case 4:
        if (children(p.value) > 0)
            put(root, &p, json_deep_copy(child(p.value, 0).value));
        break;
    case 5: /* what stands elsewhere */
        put(root, &p, json_deep_copy(pick(r, *root).value));
        break;
    case 6:
    case 7:
        put(root, &p, make(r, w));
        break;
    default:
        put(root, &p, changed(r, w, p.value));
        break;
    }
}

/* --- writing */

/* A member of the document a second time, which jansson itself would not write. */
static size_t key_twice(struct mutate_rng *r, const json_t *root, uint8_t *out, size_t n,
                        size_t max)
{
    char text[TEXT_BYTES];
    json_t *one = json_object(), *from = json_deep_copy(root);
    struct place p = child(from, mutate_rand(r, (uint32_t)json_object_size(from)));
    size_t len;

    (void)json_object_set_nocheck(one, p.key, p.value);
    len = json_dumpb(one, text, sizeof(text), JSON_COMPACT);
    if (len > 2 && len <= sizeof(text)) { /* "{...}" becomes "{...," */
        text[len - 1] = ',';
        n = mutate_splice(out, n, max, 0, 1, text, len);
    }
    json_decref(one);
    json_decref(from);
    return n;
}

static size_t write_down(struct mutate_rng *r, const json_t *root, uint8_t *out, size_t max)
{
    size_t flags = JSON_ENCODE_ANY | JSON_COMPACT, n;

    if (mutate_one_in(r, 12))
        flags |= JSON_ENSURE_ASCII | JSON_ESCAPE_SLASH;
    n = json_dumpb(root, (char *)out, max, flags);
    if (n == 0 || n > max)
        return 0;
    if (json_object_size(root) > 0 && mutate_one_in(r, 16))
        n = key_twice(r, root, out, n, max);
    if (mutate_one_in(r, 16))
        n = mutate_splice(out, n, max, mutate_one_in(r, 2) ? 0 : n, 0, " ", 1);
    return n;
}

size_t mutate_json(const struct mutate_words *w, uint8_t *data, size_t size, size_t max,
                   unsigned seed)
{
    struct mutate_rng r = {seed};
    json_t *root = NULL;
    uint8_t *out;
    size_t n;

    if (!mutate_one_in(&r, 10))
        root = json_loadb((const char *)data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!root && mutate_one_in(&r, 16))
        root = json_object();
    if (!root)
        return LLVMFuzzerMutate(data, size, max);
    for (uint32_t i = 1 + mutate_rand(&r, EDITS_MAX); i > 0; i--)
        edit(&r, w, &root);
    out = malloc(max);
    n = out ? write_down(&r, root, out, max) : 0;
    if (n > 0)
        memcpy(data, out, n);
    free(out);
    json_decref(root);
    return n > 0 ? n : LLVMFuzzerMutate(data, size, max);
}
