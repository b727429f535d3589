/* A YAML file as a tree: jansson objects, arrays and strings, with a side table that knows each
 * node's line and whether a scalar was written without quotes.
 *
 * Scalars stay text here: what they mean is the option's business, so `id: 007` is no number and
 * `group_prefix: no` no boolean. Refused: aliases and anchors, tags, duplicate keys, keys that are
 * not scalars, NUL, a second document, and what exceeds the bounds below. Owned by one reading of
 * a configuration, one thread. */
#ifndef CONFIG_YAML_H
#define CONFIG_YAML_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "config/report.h"

#define YAML_BYTES_MAX  ((size_t)8 * 1024 * 1024)
#define YAML_DEPTH_MAX  12
#define YAML_NODES_MAX  1000000u
#define YAML_SCALAR_MAX 65536u

struct yaml_node {
    const json_t *node; /* NULL: a free slot */
    unsigned line;
    bool plain;
};

struct yaml {
    json_t *root; /* an object once parsed (yaml_parse_any: or an array) */
    struct yaml_node *slots;
    size_t nslots, used; /* open addressing; nslots a power of two */
};

/* ERR_CONFIG with a note in r, or ERR_NOMEM. The tree is empty then. */
int yaml_parse(struct yaml *y, const char *text, size_t n, struct report *r) SL_MUST;
/* The same, but the root may be a list as well. */
int yaml_parse_any(struct yaml *y, const char *text, size_t n, struct report *r) SL_MUST;
void yaml_release(struct yaml *y);
/* Line of a value's key, or of a list's item; 0 when unknown. */
unsigned yaml_line(const struct yaml *y, const json_t *node);
/* A scalar without quotes. */
bool yaml_plain(const struct yaml *y, const json_t *node);
/* The node at "grants[3].principal.issuer"; NULL when there is none. *line gets the line of the
 * deepest part of the path that exists. */
const json_t *yaml_find(const struct yaml *y, const char *path, unsigned *line);

#endif
