/* One value: checked against its option, stored where the option says. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config/build.h"
#include "config/values.h"

void config_fault(struct build *b, const struct option *o, const json_t *node, const char *fmt, ...)
{
    char takes[OPTION_TAKES_BYTES], text[REPORT_TEXT_MAX_BYTES / 2];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    unsigned line = b->yaml ? yaml_line(b->yaml, node) : 0;
    report_error(b->report, line, b->path, "%s; it takes %s", text, option_takes(o, takes));
}

char *config_keep(struct build *b, const char *text, size_t n)
{
    char *copy = arena_dup(b->arena, text, n);
    if (!copy)
        b->nomem = true;
    return copy;
}

char *config_keep_path(struct build *b, const char *path)
{
    size_t folder = *path == '/' ? 0 : strlen(b->folder), n = strlen(path);
    char *copy = arena_alloc(b->arena, folder + n + 2);
    if (!copy) {
        b->nomem = true;
        return NULL;
    }
    snprintf(copy, folder + n + 2, "%.*s%s%s", (int)folder, b->folder,
             folder && b->folder[folder - 1] != '/' ? "/" : "", path);
    return copy;
}

/* A scalar as text: quoted, or bare as numbers and booleans are. */
struct scalar {
    const char *text; /* NULL: not a scalar */
    size_t n;
    bool bare;
    char number[32];
};

static void scalar_of(const struct build *b, const json_t *node, struct scalar *s)
{
    *s = (struct scalar){0};
    if (json_is_string(node)) {
        s->text = json_string_value(node);
        s->n = json_string_length(node);
        s->bare = b->yaml && yaml_plain(b->yaml, node);
    } else if (json_is_integer(node)) {
        snprintf(s->number, sizeof(s->number), "%" JSON_INTEGER_FORMAT, json_integer_value(node));
        s->text = s->number;
        s->bare = true;
    } else if (json_is_boolean(node)) {
        s->text = json_is_true(node) ? "true" : "false";
        s->bare = true;
    } else if (json_is_real(node) || json_is_null(node)) {
        s->text = json_is_null(node) ? "null" : "a fraction";
        s->bare = true;
    }
    if (s->text && !s->n)
        s->n = strlen(s->text);
}

static bool is_null(const struct scalar *s)
{
    return s->bare && (s->n == 0 || strcmp(s->text, "~") == 0 || strcasecmp(s->text, "null") == 0);
}

/* The text of a scalar that the option takes as text; NULL after a fault. JSON has types, so a
 * number is no text there; YAML has none, so `id: 4711` is. */
static const char *text_of(struct build *b, const struct option *o, const json_t *node,
                           struct scalar *s)
{
    scalar_of(b, node, s);
    if (!s->text) {
        config_fault(b, o, node, "is a %s", json_is_object(node) ? "mapping" : "list");
        return NULL;
    }
    if (is_null(s)) {
        config_fault(b, o, node, "has no value");
        return NULL;
    }
    if (s->bare && !b->yaml) {
        config_fault(b, o, node, "is no text");
        return NULL;
    }
    if (strlen(s->text) != s->n || value_text_fault(s->text, s->n)) {
        config_fault(b, o, node, "holds a control character");
        return NULL;
    }
    return s->text;
}

/* The text of a scalar that must stand without quotes. */
static const char *bare_of(struct build *b, const struct option *o, const json_t *node,
                           struct scalar *s)
{
    scalar_of(b, node, s);
    if (!s->text)
        config_fault(b, o, node, "is a %s", json_is_object(node) ? "mapping" : "list");
    else if (is_null(s))
        config_fault(b, o, node, "has no value");
    else if (!s->bare)
        config_fault(b, o, node, "is a text in quotes");
    else
        return s->text;
    return NULL;
}

static void refuse_text(struct build *b, const struct option *o, const json_t *node,
                        const char *text, const char *why)
{
    char quoted[REPORT_QUOTE_BYTES];
    config_fault(b, o, node, "%s %s", report_quote(quoted, text, strlen(text)), why);
}

static void store(void *base, const struct option *o, const void *value, size_t n)
{
    memcpy((char *)base + o->offset, value, n);
}

static void store_text(void *base, const struct option *o, const char *text)
{
    store(base, o, &text, sizeof(text));
}

static void store_int(void *base, const struct option *o, int64_t value)
{
    bool flag = value != 0;
    uint32_t word = (uint32_t)value;
    if (o->bytes == sizeof(flag))
        store(base, o, &flag, sizeof(flag));
    else if (o->bytes == sizeof(word))
        store(base, o, &word, sizeof(word));
    else
        store(base, o, &value, sizeof(value));
}

static const char *checked_text(struct build *b, const struct option *o, const json_t *node)
{
    struct scalar s;
    const char *text = text_of(b, o, node, &s), *why = NULL;
    if (!text)
        return NULL;
    if (o->type == OPTION_TOPICS)
        why = value_topic_fault(text);
    else if (o->type == OPTION_PREFIX)
        why = value_prefix_fault(text);
    else if (o->type == OPTION_URL)
        why = value_url_fault(text, b->development);
    if (!why && o->min && s.n < (size_t)o->min)
        why = s.n ? "is too short" : "is empty";
    if (!why && o->max && s.n > (size_t)o->max)
        why = "is too long";
    if (why) {
        refuse_text(b, o, node, text, why);
        return NULL;
    }
    return config_keep(b, text, s.n);
}

static void set_number(struct build *b, const struct option *o, const json_t *node, void *base)
{
    struct scalar s;
    int64_t value;
    const char *text = bare_of(b, o, node, &s);
    if (!text)
        return;
    if (!value_number(text, &value))
        refuse_text(b, o, node, text, "is no whole number");
    else if (value < o->min || value > o->max)
        refuse_text(b, o, node, text, "is out of range");
    else
        store_int(base, o, value);
}

static void set_bool(struct build *b, const struct option *o, const json_t *node, void *base)
{
    struct scalar s;
    const char *text = bare_of(b, o, node, &s);
    if (!text)
        return;
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        refuse_text(b, o, node, text, "is no boolean");
    else
        store_int(base, o, strcmp(text, "true") == 0);
}

static bool choose(struct build *b, const struct option *o, const json_t *node, int *value)
{
    struct scalar s;
    const char *text = text_of(b, o, node, &s);
    if (!text)
        return false;
    for (const struct choice *c = o->choices; c->name; c++)
        if (strcmp(c->name, text) == 0) {
            *value = c->value;
            return true;
        }
    refuse_text(b, o, node, text, "is none of its values");
    return false;
}

static void set_choice(struct build *b, const struct option *o, const json_t *node, void *base)
{
    int value;
    if (choose(b, o, node, &value))
        store_int(base, o, value);
}

/* Runs over a list (or, where single is true, one value as a list of one). Returns how many, or 0
 * after a fault. */
static size_t list_of(struct build *b, const struct option *o, const json_t *node, bool single)
{
    if (single && !json_is_array(node) && !json_is_object(node))
        return 1;
    size_t n = json_array_size(node);
    size_t most = o->items ? o->items : 64;
    if (!json_is_array(node))
        config_fault(b, o, node, "is no list");
    else if (n == 0)
        config_fault(b, o, node, "is an empty list");
    else if (n > most)
        config_fault(b, o, node, "has more than %zu entries", most);
    else
        return n;
    return 0;
}

static const json_t *item_of(const json_t *node, size_t i)
{
    return json_is_array(node) ? json_array_get(node, i) : node;
}

static void set_choices(struct build *b, const struct option *o, const json_t *node, void *base)
{
    size_t n = list_of(b, o, node, true);
    unsigned bits = 0;
    for (size_t i = 0; i < n; i++) {
        int value = 0;
        if (!choose(b, o, item_of(node, i), &value))
            return;
        bits |= (unsigned)value;
    }
    if (n)
        store(base, o, &bits, sizeof(bits));
}

static void set_texts(struct build *b, const struct option *o, const json_t *node, void *base)
{
    size_t n = list_of(b, o, node, true);
    struct strings list = {.at = arena_alloc(b->arena, n * sizeof(char *))};
    b->nomem |= !list.at;
    for (size_t i = 0; list.at && i < n; i++) {
        list.at[list.count] = checked_text(b, o, item_of(node, i));
        list.count += list.at[list.count] != NULL;
    }
    store(base, o, &list, sizeof(list));
}

static bool endpoint_of(struct build *b, const struct option *o, const json_t *node,
                        const char *text, struct endpoint *out)
{
    char host[VALUE_HOST_BYTES];
    if (!value_address(text, host, &out->port)) {
        refuse_text(b, o, node, text,
                    strchr(text, ':') ? "is no address with a port" : "names no port");
        return false;
    }
    out->host = config_keep(b, host, strlen(host));
    return out->host != NULL;
}

static void set_address(struct build *b, const struct option *o, const json_t *node, void *base)
{
    struct scalar s;
    struct endpoint endpoint = {.host = ""};
    const char *text = text_of(b, o, node, &s);
    if (!text)
        return;
    if ((o->dash && strcmp(text, "off") == 0) || endpoint_of(b, o, node, text, &endpoint))
        store(base, o, &endpoint, sizeof(endpoint));
}

static void store_counted(void *base, const struct option *o, const void *at, size_t n)
{
    memcpy((char *)base + o->offset, &at, sizeof(at));
    memcpy((char *)base + o->count_offset, &n, sizeof(n));
}

static void set_addresses(struct build *b, const struct option *o, const json_t *node, void *base)
{
    size_t n = list_of(b, o, node, true), count = 0;
    struct endpoint *list = arena_alloc(b->arena, n * sizeof(*list));
    b->nomem |= !list;
    for (size_t i = 0; list && i < n; i++) {
        struct scalar s;
        const char *text = text_of(b, o, item_of(node, i), &s);
        if (text && endpoint_of(b, o, item_of(node, i), text, &list[count]))
            count++;
    }
    store_counted(base, o, list, count);
}

static void set_mapping(struct build *b, const struct option *o, json_t *node, void *base)
{
    struct address_mapping *list;
    size_t count = 0, n = json_object_size(node);
    const char *from;
    json_t *value;
    if (!json_is_object(node)) {
        config_fault(b, o, node, "is no mapping");
        return;
    }
    if (n > o->items) {
        config_fault(b, o, node, "has more than %u entries", (unsigned)o->items);
        return;
    }
    list = arena_alloc(b->arena, n * sizeof(*list));
    b->nomem |= !list;
    json_object_foreach(node, from, value)
    {
        struct scalar s;
        const char *to = text_of(b, o, value, &s);
        if (list && to && endpoint_of(b, o, value, from, &list[count].from) &&
            endpoint_of(b, o, value, to, &list[count].to))
            count++;
    }
    store_counted(base, o, list, count);
}

static void set_file(struct build *b, const struct option *o, const json_t *node, void *base)
{
    struct scalar s;
    const char *text = text_of(b, o, node, &s);
    if (!text)
        return;
    if (s.n == 0 || s.n > 512) {
        config_fault(b, o, node, s.n ? "is too long" : "is empty");
        return;
    }
    if (o->dash && strcmp(text, "-") == 0) {
        store_text(base, o, config_keep(b, text, s.n));
        return;
    }
    char *path = config_keep_path(b, text);
    if (!path)
        return;
    if (o->type == OPTION_SECRET) {
        store_text(base, o, b->files ? config_file_secret(b, o, node, path) : NULL);
    } else if (o->type == OPTION_SECRETS) {
        struct strings list = {0};
        if (b->files)
            config_file_secrets(b, o, node, path, &list);
        store(base, o, &list, sizeof(list));
    } else {
        if (b->files)
            config_file_check(b, o, node, path);
        store_text(base, o, path);
    }
}

/* The contents are kept, not the names: whoever signs and whoever checks then has the same keys,
 * whatever happens to the files between. */
static void set_keys(struct build *b, const struct option *o, const json_t *node, void *base)
{
    size_t n = list_of(b, o, node, true);
    struct strings list = {.at = arena_zalloc(b->arena, n * sizeof(char *))};
    b->nomem |= !list.at;
    for (size_t i = 0; list.at && i < n; i++) {
        struct scalar s;
        const char *text = text_of(b, o, item_of(node, i), &s);
        char *path = text && s.n && s.n <= 512 ? config_keep_path(b, text) : NULL;
        if (text && !path)
            config_fault(b, o, item_of(node, i), s.n ? "is too long" : "is empty");
        if (path && b->files)
            list.at[list.count] = config_file_key(b, o, item_of(node, i), path);
        list.count += path != NULL;
    }
    store(base, o, &list, sizeof(list));
}

static void set_time(struct build *b, const struct option *o, const json_t *node, void *base)
{
    struct scalar s;
    int64_t value;
    scalar_of(b, node, &s);
    if (!s.text || is_null(&s))
        config_fault(b, o, node, "has no value");
    else if (!value_time(s.text, &value))
        refuse_text(b, o, node, s.text, "is no time");
    else
        store_int(base, o, value);
}

void config_set(struct build *b, const struct option *o, json_t *node, void *base)
{
    switch (o->type) {
    case OPTION_SECTION:
    case OPTION_LIST:
        break; /* config_bind goes into these itself */
    case OPTION_TEXT:
    case OPTION_URL:
    case OPTION_PREFIX:
        store_text(base, o, checked_text(b, o, node));
        break;
    case OPTION_TEXTS:
    case OPTION_TOPICS:
        set_texts(b, o, node, base);
        break;
    case OPTION_NUMBER:
        set_number(b, o, node, base);
        break;
    case OPTION_BOOL:
        set_bool(b, o, node, base);
        break;
    case OPTION_CHOICE:
        set_choice(b, o, node, base);
        break;
    case OPTION_CHOICES:
        set_choices(b, o, node, base);
        break;
    case OPTION_ADDRESS:
        set_address(b, o, node, base);
        break;
    case OPTION_ADDRESSES:
        set_addresses(b, o, node, base);
        break;
    case OPTION_MAPPING:
        set_mapping(b, o, node, base);
        break;
    case OPTION_CERTIFICATE:
    case OPTION_KEY:
    case OPTION_FILE:
    case OPTION_FOLDER:
    case OPTION_MADE:
    case OPTION_SECRET:
    case OPTION_SECRETS:
        set_file(b, o, node, base);
        break;
    case OPTION_KEYS:
        set_keys(b, o, node, base);
        break;
    case OPTION_TIME:
        set_time(b, o, node, base);
        break;
    }
}

/* The table writes defaults as one would in the file; only these types have any. */
void config_set_initial(struct build *b, const struct option *o, void *base)
{
    const char *text = o->initial;
    struct endpoint endpoint;
    int64_t value;
    unsigned bits = 0;
    if (!text)
        return;
    if (o->type == OPTION_NUMBER && value_number(text, &value))
        store_int(base, o, value);
    else if (o->type == OPTION_BOOL)
        store_int(base, o, strcmp(text, "true") == 0);
    else if (o->type == OPTION_ADDRESS && endpoint_of(b, o, NULL, text, &endpoint))
        store(base, o, &endpoint, sizeof(endpoint));
    else if (o->type == OPTION_MADE)
        store_text(base, o, text);
    for (const struct choice *c = o->choices; c && c->name; c++) {
        if (o->type == OPTION_CHOICE && strcmp(c->name, text) == 0)
            store_int(base, o, c->value);
        if (o->type == OPTION_CHOICES && strstr(text, c->name))
            bits |= (unsigned)c->value;
    }
    if (o->type == OPTION_CHOICES)
        store(base, o, &bits, sizeof(bits));
}
