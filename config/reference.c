/* The reference page and the JSON Schema, both read from the table of options. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/options.h"

static const char intro[] =
    "# Configuration\n\n"
    "<!-- Made by `sluice check --reference`; change config/options.c instead. -->\n\n"
    "sluice reads one YAML file (JSON is a subset): `sluice run -c sluice.yaml`. "
    "`sluice check -c sluice.yaml` tells everything that is wrong with it, with file, line, option "
    "and what the option takes; with anything wrong nothing starts. Relative paths start at the "
    "file's folder. Unknown options, duplicate keys, aliases, anchors and tags are refused. "
    "`sluice check --schema` prints a JSON Schema (2020-12) for editors.\n\n"
    "SIGHUP reads the file again: options marked ↻ change then, the others with a restart. A file "
    "with an error changes nothing. Sessions stay, but for those whose grant was removed or "
    "narrowed.\n\n"
    "```yaml\n"
    "listen: 0.0.0.0:9093\n"
    "advertise: gate.example.com:9093\n"
    "tls:\n"
    "  certificate: /etc/sluice/gate.pem\n"
    "  key: /etc/sluice/gate.key\n"
    "issuers:\n"
    "  - issuer: https://idp.example.com/realms/dataspace\n"
    "    audience: sluice\n"
    "    jwks_url: https://idp.example.com/realms/dataspace/protocol/openid-connect/certs\n"
    "upstream:\n"
    "  brokers: [kafka-1:9092, kafka-2:9092, kafka-3:9092]\n"
    "grants:\n"
    "  - id: transfer-4711\n"
    "    principal: {issuer: https://idp.example.com/realms/dataspace, subject: partner-bob}\n"
    "    participant: did:web:bob\n"
    "    topics: [serial-parts]\n"
    "    group_prefix: bob\n"
    "    operations: [read]\n"
    "control:\n"
    "  listen: 127.0.0.1:9090\n"
    "store:\n"
    "  path: /var/lib/sluice/sluice.db\n"
    "audit:\n"
    "  file: /var/log/sluice/audit.jsonl\n"
    "```\n";

/* One line of the table, '|' kept out of the cells by the option's own words. */
static void row(FILE *f, const struct option *o, size_t prefix_len)
{
    char takes[OPTION_TAKES_BYTES];
    fprintf(f, "| `%s`%s | %s | ", o->path + prefix_len, o->reload ? " ↻" : "",
            option_takes(o, takes));
    if (o->required)
        fprintf(f, "**needed**");
    else if (o->initial)
        fprintf(f, "`%s`", o->initial);
    else
        fprintf(f, "%s", o->initially ? o->initially : "–");
    fprintf(f, " | %s", o->help);
    for (const struct choice *c = o->choices; c && c->name && c->help; c++)
        fprintf(f, " `%s`: %s%s", c->name, c->help, c[1].name ? ";" : ".");
    fprintf(f, " |\n");
}

static bool is_group(const struct option *o)
{
    return o->type == OPTION_SECTION || o->type == OPTION_LIST;
}

static void group(FILE *f, const char *prefix)
{
    size_t n = strlen(prefix);
    fprintf(f, "\n| option | takes | default | what it does |\n|---|---|---|---|\n");
    for (size_t i = 0; i < options_count; i++)
        if (!is_group(&options[i]) && option_under(&options[i], prefix, n))
            row(f, &options[i], n);
}

static void write_reference(FILE *f)
{
    fputs(intro, f);
    fprintf(f, "\n## Top level\n");
    group(f, "");
    for (size_t i = 0; i < options_count; i++) {
        const struct option *o = &options[i];
        char prefix[64];
        if (!is_group(o))
            continue;
        snprintf(prefix, sizeof(prefix), "%s%s.", o->path, o->type == OPTION_LIST ? "[]" : "");
        fprintf(f, "\n## %.*s\n%s%s\n", (int)strlen(prefix) - 1, prefix, o->help,
                o->required ? " Needed." : "");
        group(f, prefix);
    }
}

char *options_reference(void)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return NULL;
    write_reference(f);
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* JSON for a default: numbers and booleans bare, lists taken apart. */
static json_t *initial_of(const struct option *o)
{
    if (o->type == OPTION_NUMBER)
        return json_integer(strtoll(o->initial, NULL, 10));
    if (o->type == OPTION_BOOL)
        return json_boolean(strcmp(o->initial, "true") == 0);
    if (o->type != OPTION_CHOICES)
        return json_string(o->initial);
    json_t *list = json_array();
    for (const struct choice *c = o->choices; c->name; c++)
        if (strstr(o->initial, c->name))
            json_array_append_new(list, json_string(c->name));
    return list;
}

static json_t *text_schema(const struct option *o)
{
    json_t *s = json_pack("{s:s}", "type", "string");
    if (o->min)
        json_object_set_new(s, "minLength", json_integer(o->min));
    if (o->max)
        json_object_set_new(s, "maxLength", json_integer(o->max));
    return s;
}

static json_t *names_schema(const struct option *o)
{
    json_t *names = json_array();
    for (const struct choice *c = o->choices; c->name; c++) {
        json_array_append_new(names, json_string(c->name));
        /* Bare, 1.2 is a number to a YAML editor. */
        if (c->name[0] >= '0' && c->name[0] <= '9')
            json_array_append_new(names, json_real(strtod(c->name, NULL)));
    }
    return json_pack("{s:o}", "enum", names);
}

/* A list of items; single: or one of them alone. */
static json_t *list_schema(const struct option *o, json_t *item, bool single)
{
    json_t *s = json_pack("{s:s, s:O, s:i}", "type", "array", "items", item, "minItems", 1);
    if (o->items)
        json_object_set_new(s, "maxItems", json_integer(o->items));
    if (single)
        s = json_pack("{s:[O, o]}", "anyOf", item, s);
    json_decref(item);
    return s;
}

static json_t *group_schema(void)
{
    return json_pack("{s:s, s:b, s:{}}", "type", "object", "additionalProperties", 0, "properties");
}

static json_t *address_schema(bool off)
{
    return json_pack("{s:s, s:s}", "type", "string", "pattern",
                     off ? "^(.+:[0-9]{1,5}|off)$" : "^.+:[0-9]{1,5}$");
}

static json_t *schema_of(const struct option *o)
{
    switch (o->type) {
    case OPTION_SECTION:
        return group_schema();
    case OPTION_LIST:
        return json_pack("{s:s, s:i, s:o}", "type", "array", "maxItems", (int)o->items, "items",
                         group_schema());
    case OPTION_TEXT:
    case OPTION_PREFIX:
        return text_schema(o);
    case OPTION_TEXTS:
        return list_schema(o, text_schema(o), true);
    case OPTION_NUMBER:
        return json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum", (json_int_t)o->min,
                         "maximum", (json_int_t)o->max);
    case OPTION_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case OPTION_CHOICE:
        return names_schema(o);
    case OPTION_CHOICES:
        return list_schema(o, names_schema(o), true);
    case OPTION_ADDRESS:
        return address_schema(o->dash);
    case OPTION_ADDRESSES:
        return list_schema(o, address_schema(false), true);
    case OPTION_MAPPING:
        return json_pack("{s:s, s:o}", "type", "object", "additionalProperties",
                         address_schema(false));
    case OPTION_URL:
        return json_pack("{s:s, s:s}", "type", "string", "pattern", "^https?://");
    case OPTION_CERTIFICATE:
    case OPTION_KEY:
    case OPTION_FILE:
    case OPTION_FOLDER:
    case OPTION_MADE:
    case OPTION_SECRET:
    case OPTION_SECRETS:
        return json_pack("{s:s, s:i}", "type", "string", "minLength", 1);
    case OPTION_KEYS:
        return list_schema(o, json_pack("{s:s, s:i}", "type", "string", "minLength", 1), true);
    case OPTION_TOPICS:
        return list_schema(
            o, json_pack("{s:s, s:s}", "type", "string", "pattern", "^[a-zA-Z0-9._-]{1,249}$"),
            true);
    case OPTION_TIME:
        return json_pack("{s:[s, s]}", "type", "string", "integer");
    }
    return NULL;
}

/* The object schema that holds the option: down the path, through lists into their items. */
static json_t *holder(json_t *root, const char *path)
{
    json_t *at = root;
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        size_t n = (size_t)(dot - path);
        bool list = n > 2 && dot[-1] == ']';
        at = json_object_getn(json_object_get(at, "properties"), path, list ? n - 2 : n);
        if (list)
            at = json_object_get(at, "items");
    }
    return at;
}

char *options_schema(void)
{
    json_t *root = group_schema();
    json_object_set_new(root, "$schema",
                        json_string("https://json-schema.org/draft/2020-12/schema"));
    json_object_set_new(root, "title", json_string("sluice configuration"));
    for (size_t i = 0; i < options_count; i++) {
        const struct option *o = &options[i];
        json_t *parent = holder(root, o->path), *schema = schema_of(o);
        json_object_set_new(schema, "description", json_string(o->help));
        if (o->initial)
            json_object_set_new(schema, "default", initial_of(o));
        if (o->required && !json_object_get(parent, "required"))
            json_object_set_new(parent, "required", json_array());
        if (o->required)
            json_array_append_new(json_object_get(parent, "required"), json_string(option_name(o)));
        json_object_set_new(json_object_get(parent, "properties"), option_name(o), schema);
    }
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    return text;
}
