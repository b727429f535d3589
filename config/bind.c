/* The walk over the tree: every key finds its option or is refused, every option its value or its
 * default. Iterative: a frame for each mapping or list that is open. */
#include <stdio.h>
#include <string.h>

#include "config/build.h"

#define FRAMES_MAX 6 /* file, list, entry, section of it; one more nests nowhere in the table */

struct frame {
    json_t *node;              /* an object, or a list's array */
    void *iter;                /* object: the next key */
    const struct option *list; /* array: its option */
    size_t index;              /* array: the next element */
    char prefix[48];           /* the table's: "", "tls.", "grants[]." */
    size_t prefix_len;
    void *base;      /* the struct that options are relative to */
    size_t path_len; /* of b->path in front of what stands here */
};

struct walk {
    struct build *b;
    struct frame frames[FRAMES_MAX];
    unsigned depth;
};

static void path_add(struct build *b, size_t at, const char *key)
{
    snprintf(b->path + at, sizeof(b->path) - at, "%s%s", at ? "." : "", key);
}

static unsigned line_of(const struct build *b, const json_t *node)
{
    return b->yaml ? yaml_line(b->yaml, node) : 0;
}

static void open_object(struct walk *w, json_t *node, const char *prefix, void *base)
{
    struct frame *f = &w->frames[w->depth++];
    *f = (struct frame){.node = node, .base = base, .path_len = strlen(w->b->path)};
    f->iter = json_object_iter(node);
    f->prefix_len = (size_t)snprintf(f->prefix, sizeof(f->prefix), "%s", prefix);
    /* A file, an entry of a list: a struct of its own, whose defaults come first. */
    if (prefix[0] == '\0' || prefix[f->prefix_len - 2] == ']')
        for (size_t i = 0; i < options_count; i++)
            if (option_within(&options[i], prefix, f->prefix_len))
                config_set_initial(w->b, &options[i], base);
}

static void open_list(struct walk *w, const struct option *o, json_t *node, void *base)
{
    size_t n = json_array_size(node);
    if (!json_is_array(node)) {
        config_fault(w->b, o, node, "is no list");
        return;
    }
    if (n > o->items) {
        config_fault(w->b, o, node, "has more than %u entries", (unsigned)o->items);
        return;
    }
    char *entries = arena_zalloc(w->b->arena, n * o->bytes);
    if (!entries) {
        w->b->nomem = true;
        return;
    }
    memcpy((char *)base + o->offset, &entries, sizeof(entries));
    memcpy((char *)base + o->count_offset, &n, sizeof(n));
    w->frames[w->depth++] =
        (struct frame){.node = node, .list = o, .base = entries, .path_len = strlen(w->b->path)};
}

static void refuse_key(struct walk *w, const struct frame *f, const char *key, const json_t *value)
{
    char quoted[REPORT_QUOTE_BYTES];
    const char *guess = option_guess(f->prefix, f->prefix_len, key);
    w->b->path[f->path_len] = '\0';
    report_error(w->b->report, line_of(w->b, value), w->b->path,
                 guess ? "%s is no option; did you mean `%s`?"
                       : "%s is no option; see `sluice check --reference`",
                 report_quote(quoted, key, strlen(key)), guess ? guess : "");
}

static void take(struct walk *w, struct frame *f, const char *key, json_t *value)
{
    char prefix[sizeof(f->prefix)];
    const struct option *o = option_find(f->prefix, f->prefix_len, key);
    if (!o) {
        refuse_key(w, f, key, value);
        return;
    }
    path_add(w->b, f->path_len, key);
    if (o->type == OPTION_LIST) {
        open_list(w, o, value, f->base);
    } else if (o->type != OPTION_SECTION) {
        config_set(w->b, o, value, f->base);
    } else if (!json_is_object(value)) {
        config_fault(w->b, o, value, "is no mapping");
    } else {
        snprintf(prefix, sizeof(prefix), "%s.", o->path);
        open_object(w, value, prefix, f->base);
    }
}

/* What the mapping should have held. */
static void miss(struct walk *w, struct frame *f)
{
    for (size_t i = 0; i < options_count; i++) {
        const struct option *o = &options[i];
        if (!o->required || !option_under(o, f->prefix, f->prefix_len) ||
            json_object_get(f->node, option_name(o)))
            continue;
        path_add(w->b, f->path_len, option_name(o));
        config_fault(w->b, o, f->node, "is missing");
    }
}

static void step_list(struct walk *w, struct frame *f)
{
    struct build *b = w->b;
    char prefix[sizeof(f->prefix)];
    size_t i = f->index++;
    json_t *item = json_array_get(f->node, i);
    if (!item) {
        w->depth--;
        return;
    }
    snprintf(b->path + f->path_len, sizeof(b->path) - f->path_len, "[%zu]", i);
    if (!json_is_object(item)) {
        config_fault(b, f->list, item, "is no mapping");
        return;
    }
    snprintf(prefix, sizeof(prefix), "%s[].", f->list->path);
    open_object(w, item, prefix, (char *)f->base + i * f->list->bytes);
}

static void walk(struct walk *w)
{
    struct build *b = w->b;
    while (w->depth && !b->nomem) {
        struct frame *f = &w->frames[w->depth - 1];
        b->path[f->path_len] = '\0';
        if (f->list) {
            step_list(w, f);
        } else if (!f->iter) {
            miss(w, f);
            w->depth--;
        } else {
            void *iter = f->iter;
            f->iter = json_object_iter_next(f->node, iter);
            take(w, f, json_object_iter_key(iter), json_object_iter_value(iter));
        }
    }
}

void config_bind_list(struct build *b, const struct option *o, json_t *array, void *base)
{
    struct walk w = {.b = b};
    open_list(&w, o, array, base);
    walk(&w);
}

void config_bind(struct build *b, json_t *object, const char *prefix, void *base)
{
    struct walk w = {.b = b};
    open_object(&w, object, prefix, base);
    walk(&w);
}
