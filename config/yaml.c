#include "config/yaml.h"

#include <stdint.h>
#include <string.h>
#include <yaml.h>

#include "base/alloc.h"

#define SLOTS_MIN 256

/* A mapping or sequence that is still open. */
struct level {
    json_t *node;
    json_t *key; /* a mapping's key that waits for its value */
    unsigned key_line;
};

struct reader {
    struct yaml *out;
    struct report *report;
    yaml_parser_t parser;
    struct level levels[YAML_DEPTH_MAX];
    unsigned depth;
    unsigned nodes, documents;
    bool done;
    bool any_root; /* a list will do */
};

static size_t slot_of(const struct yaml *y, const json_t *node)
{
    uint64_t h = (uint64_t)(uintptr_t)node * UINT64_C(0x9E3779B97F4A7C15);
    size_t at = (size_t)(h >> 20) & (y->nslots - 1);
    while (y->slots[at].node && y->slots[at].node != node)
        at = (at + 1) & (y->nslots - 1);
    return at;
}

static int grow(struct yaml *y)
{
    struct yaml bigger = {.nslots = y->nslots ? y->nslots * 2 : SLOTS_MIN};
    bigger.slots = sl_calloc(bigger.nslots, sizeof(*bigger.slots));
    if (!bigger.slots)
        return ERR_NOMEM;
    for (size_t i = 0; i < y->nslots; i++)
        if (y->slots[i].node)
            bigger.slots[slot_of(&bigger, y->slots[i].node)] = y->slots[i];
    sl_free(y->slots);
    y->slots = bigger.slots;
    y->nslots = bigger.nslots;
    return OK;
}

static int remember(struct yaml *y, const json_t *node, unsigned line, bool plain)
{
    if (2 * (y->used + 1) > y->nslots && grow(y) != OK)
        return ERR_NOMEM;
    y->slots[slot_of(y, node)] = (struct yaml_node){node, line, plain};
    y->used++;
    return OK;
}

static const struct yaml_node *lookup(const struct yaml *y, const json_t *node)
{
    if (!node || !y->nslots)
        return NULL;
    const struct yaml_node *found = &y->slots[slot_of(y, node)];
    return found->node ? found : NULL;
}

unsigned yaml_line(const struct yaml *y, const json_t *node)
{
    const struct yaml_node *found = lookup(y, node);
    return found ? found->line : 0;
}

bool yaml_plain(const struct yaml *y, const json_t *node)
{
    const struct yaml_node *found = lookup(y, node);
    return found && found->plain;
}

static int refuse(struct reader *r, unsigned line, const char *what)
{
    report_error(r->report, line, "", "%s", what);
    return ERR_CONFIG;
}

/* Puts a value where it belongs: at the root, behind its key or at a list's end. Takes node. */
static int attach(struct reader *r, json_t *node, unsigned line, bool plain)
{
    struct level *top = r->depth ? &r->levels[r->depth - 1] : NULL;
    if (!node)
        return ERR_NOMEM;
    if (top && top->key)
        line = top->key_line;
    int err = remember(r->out, node, line, plain);
    if (err == OK && !top)
        r->out->root = json_incref(node);
    else if (err == OK && top->key)
        err = json_object_set(top->node, json_string_value(top->key), node) ? ERR_NOMEM : OK;
    else if (err == OK)
        err = json_array_append(top->node, node) ? ERR_NOMEM : OK;
    if (top && top->key) {
        json_decref(top->key);
        top->key = NULL;
    }
    json_decref(node);
    return err;
}

/* A scalar in a mapping that has no key yet. */
static int take_key(struct reader *r, struct level *top, json_t *text, unsigned line)
{
    char quoted[REPORT_QUOTE_BYTES];
    const char *key = json_string_value(text);
    if (json_object_get(top->node, key)) {
        report_error(r->report, line, "", "%s stands here twice; every key may stand once",
                     report_quote(quoted, key, strlen(key)));
        json_decref(text);
        return ERR_CONFIG;
    }
    top->key = text;
    top->key_line = line;
    return OK;
}

static int on_scalar(struct reader *r, const yaml_event_t *e, unsigned line)
{
    const char *text = (const char *)e->data.scalar.value;
    size_t n = e->data.scalar.length;
    struct level *top = r->depth ? &r->levels[r->depth - 1] : NULL;
    if (e->data.scalar.anchor)
        return refuse(r, line, "anchors and aliases are not taken");
    if (e->data.scalar.tag)
        return refuse(r, line, "tags (\"!...\") are not taken");
    if (!top)
        return refuse(r, line, "not a mapping of options; see `sluice check --reference`");
    if (n > YAML_SCALAR_MAX)
        return refuse(r, line, "a value is longer than 65536 bytes");
    if (memchr(text, '\0', n))
        return refuse(r, line, "a NUL byte is not taken");
    json_t *string = json_stringn(text, n);
    if (!string)
        return ERR_NOMEM;
    if (json_is_object(top->node) && !top->key)
        return take_key(r, top, string, line);
    return attach(r, string, line, e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE);
}

static int on_open(struct reader *r, json_t *node, const yaml_char_t *anchor,
                   const yaml_char_t *tag, unsigned line)
{
    struct level *top = r->depth ? &r->levels[r->depth - 1] : NULL;
    const char *fault = NULL;
    if (anchor)
        fault = "anchors and aliases are not taken";
    else if (tag)
        fault = "tags (\"!...\") are not taken";
    else if (r->depth == YAML_DEPTH_MAX)
        fault = "nested more than 12 levels deep";
    else if (top && json_is_object(top->node) && !top->key)
        fault = "a key must be a single word, not a list or a mapping";
    else if (!top && !json_is_object(node) && !r->any_root)
        fault = "not a mapping of options; see `sluice check --reference`";
    if (fault) {
        json_decref(node);
        return refuse(r, line, fault);
    }
    int err = attach(r, node, line, false);
    if (err == OK)
        r->levels[r->depth++] = (struct level){.node = node};
    return err;
}

static int on_event(struct reader *r, const yaml_event_t *e)
{
    unsigned line = (unsigned)e->start_mark.line + 1;
    switch (e->type) {
    case YAML_SCALAR_EVENT:
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (++r->nodes > YAML_NODES_MAX)
            return refuse(r, line, "more than 1000000 values");
        break;
    case YAML_DOCUMENT_START_EVENT:
        if (++r->documents > 1)
            return refuse(r, line, "a second document (\"---\") is not taken");
        return OK;
    case YAML_STREAM_END_EVENT:
        r->done = true;
        return OK;
    case YAML_ALIAS_EVENT:
        return refuse(r, line, "anchors and aliases are not taken");
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        r->depth--;
        return OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return OK;
    }
    if (e->type == YAML_SCALAR_EVENT)
        return on_scalar(r, e, line);
    if (e->type == YAML_MAPPING_START_EVENT)
        return on_open(r, json_object(), e->data.mapping_start.anchor, e->data.mapping_start.tag,
                       line);
    return on_open(r, json_array(), e->data.sequence_start.anchor, e->data.sequence_start.tag,
                   line);
}

static int syntax_error(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return ERR_NOMEM;
    unsigned line = (unsigned)p->problem_mark.line + 1;
    if (p->error == YAML_READER_ERROR)
        report_error(r->report, 0, "", "not YAML: %s at byte %zu",
                     p->problem ? p->problem : "unreadable", p->problem_offset);
    else
        report_error(r->report, line, "", "not YAML: %s%s%s", p->context ? p->context : "",
                     p->context ? ", " : "", p->problem ? p->problem : "syntax");
    return ERR_CONFIG;
}

static int parse(struct yaml *y, const char *text, size_t n, bool any_root, struct report *r)
{
    struct reader reader = {.out = y, .report = r, .any_root = any_root};
    int err = OK;
    *y = (struct yaml){0};
    if (n > YAML_BYTES_MAX) {
        report_error(r, 0, "", "larger than 8 MiB");
        return ERR_CONFIG;
    }
    if (!yaml_parser_initialize(&reader.parser))
        return ERR_NOMEM;
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, n);
    while (err == OK && !reader.done) {
        yaml_event_t event;
        if (!yaml_parser_parse(&reader.parser, &event)) {
            err = syntax_error(&reader);
            break;
        }
        err = on_event(&reader, &event);
        yaml_event_delete(&event);
    }
    if (err == OK && !y->root)
        err = refuse(&reader, 0, "holds no options");
    for (unsigned i = 0; i < YAML_DEPTH_MAX; i++)
        json_decref(reader.levels[i].key);
    yaml_parser_delete(&reader.parser);
    if (err != OK)
        yaml_release(y);
    return err;
}

int yaml_parse(struct yaml *y, const char *text, size_t n, struct report *r)
{
    return parse(y, text, n, false, r);
}

int yaml_parse_any(struct yaml *y, const char *text, size_t n, struct report *r)
{
    return parse(y, text, n, true, r);
}

void yaml_release(struct yaml *y)
{
    json_decref(y->root);
    sl_free(y->slots);
    *y = (struct yaml){0};
}

const json_t *yaml_find(const struct yaml *y, const char *path, unsigned *line)
{
    const json_t *node = y->root;
    *line = 0;
    while (node && *path) {
        if (*path == '.')
            path++;
        if (*path == '[') {
            size_t index = 0;
            for (path++; *path >= '0' && *path <= '9'; path++)
                index = index * 10 + (size_t)(*path - '0');
            path += *path == ']';
            node = json_array_get(node, index);
        } else {
            size_t n = strcspn(path, ".[");
            node = json_object_getn(node, path, n);
            path += n;
        }
        if (node)
            *line = yaml_line(y, node);
    }
    return node;
}
