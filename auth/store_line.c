#include "auth/store_line.h"

#include <jansson.h>
#include <string.h>

#include "auth/strict_json.h"

#define FORM 1 /* of the lines; another one would be read by another sluice */

static const struct {
    unsigned bit;
    const char *name;
} operations[] = {{OP_READ, "read"},
                  {OP_WRITE, "write"},
                  {OP_MANAGE, "manage"},
                  {OP_DESCRIBE_CONFIGS, "describe_configs"}};
#define OPERATIONS (sizeof(operations) / sizeof(*operations))

/* --- writing */

static json_t *texts(char *const *at, size_t count)
{
    json_t *list = json_array();
    size_t i;

    for (i = 0; list && i < count; i++) {
        if (json_array_append_new(list, json_string(at[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *operation_names(unsigned bits)
{
    json_t *list = json_array();
    size_t i;

    for (i = 0; list && i < OPERATIONS; i++) {
        if ((bits & operations[i].bit) &&
            json_array_append_new(list, json_string(operations[i].name)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *of_grant(const struct grant *g)
{
    return json_pack("{s:{s:s, s:{s:s, s:s, s:s}, s:o, s:s, s:s, s:s, s:o, s:s, s:o, s:I, s:I}}",
                     "grant", "id", g->id, "principal", "issuer", g->issuer, "subject", g->subject,
                     "client", g->client, "tokens", texts(g->tokens, g->ntokens), "participant",
                     g->participant, "agreement", g->agreement, "asset", g->asset, "topics",
                     texts(g->topics, g->ntopics), "group_prefix", g->group_prefix, "operations",
                     operation_names(g->operations), "not_before", (json_int_t)g->not_before,
                     "expires", (json_int_t)g->expires);
}

static json_t *of_revocation(const struct revocation *r)
{
    return json_pack("{s:{s:s, s:s, s:s, s:s, s:I, s:I, s:s}}", "revocation", "kind",
                     revoke_kind_name(r->kind), "issuer", r->issuer, "value", r->value, "client",
                     r->client, "at", (json_int_t)r->at, "until", (json_int_t)r->until, "reason",
                     r->reason);
}

char *store_line_write(const struct store_line *l)
{
    json_t *o;
    char *text;

    if (l->grant)
        o = of_grant(l->grant);
    else if (l->revocation)
        o = of_revocation(l->revocation);
    else if (l->note)
        o = json_pack("{s:{s:s, s:s, s:s}}", "note", "kind", l->note->kind, "id", l->note->id,
                      "text", l->note->text);
    else
        o = json_pack("{s:i}", "store", FORM);
    text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

/* --- reading */

/* At most max texts into out, which stay the array's; all of them, or false. */
static bool read_texts(const json_t *array, const char **out, size_t max, struct strings *list)
{
    size_t i;

    list->at = out;
    list->count = json_array_size(array);
    if (!json_is_array(array) || list->count > max)
        return false;
    for (i = 0; i < list->count; i++) {
        out[i] = json_string_value(json_array_get(array, i));
        if (!out[i])
            return false;
    }
    return true;
}

static bool read_operations(const json_t *array, unsigned *bits)
{
    const char *names[OPERATIONS];
    struct strings list;
    size_t i, k;

    if (!read_texts(array, names, OPERATIONS, &list))
        return false;
    for (i = 0; i < list.count; i++) {
        for (k = 0; k < OPERATIONS && strcmp(operations[k].name, names[i]) != 0; k++)
            ;
        if (k == OPERATIONS)
            return false;
        *bits |= operations[k].bit;
    }
    return true;
}

static int read_grant(json_t *o, struct store_line *out, const char **why)
{
    const char *topics[GRANT_TOPICS_MAX], *tokens[GRANT_TOKENS_MAX];
    struct grant_config c = {0};
    json_t *topic_list, *token_list, *operation_list;
    json_int_t not_before, expires;

    *why = "a grant lacks a member, or has one too many or of a wrong type";
    if (json_unpack_ex(o, NULL, JSON_STRICT,
                       "{s:s, s:{s:s, s:s, s:s}, s:o, s:s, s:s, s:s, s:o, s:s, s:o, s:I, s:I}",
                       "id", &c.id, "principal", "issuer", &c.issuer, "subject", &c.subject,
                       "client", &c.client, "tokens", &token_list, "participant", &c.participant,
                       "agreement", &c.agreement, "asset", &c.asset, "topics", &topic_list,
                       "group_prefix", &c.group_prefix, "operations", &operation_list, "not_before",
                       &not_before, "expires", &expires) != 0 ||
        !read_texts(topic_list, topics, GRANT_TOPICS_MAX, &c.topics) ||
        !read_texts(token_list, tokens, GRANT_TOKENS_MAX, &c.tokens) ||
        !read_operations(operation_list, &c.operations))
        return ERR_MALFORMED;
    c.not_before = not_before;
    c.expires = expires;
    return grant_new(&c, GRANT_FROM_API, &out->grant, why);
}

static int read_revocation(json_t *o, struct store_line *out, const char **why)
{
    const char *name, *issuer, *value, *client, *reason;
    json_int_t at, until;
    int kind;

    *why = "a revocation lacks a member, or has one too many or of a wrong type";
    if (json_unpack_ex(o, NULL, JSON_STRICT, "{s:s, s:s, s:s, s:s, s:I, s:I, s:s}", "kind", &name,
                       "issuer", &issuer, "value", &value, "client", &client, "at", &at, "until",
                       &until, "reason", &reason) != 0)
        return ERR_MALFORMED;
    for (kind = 0; kind < REVOKE_KINDS; kind++) {
        if (strcmp(revoke_kind_name((enum revoke_kind)kind), name) == 0)
            break;
    }
    if (kind == REVOKE_KINDS || at < 0 || until < 0 ||
        revocation_check((enum revoke_kind)kind, issuer, value, client, reason) != OK) {
        *why = "a revocation of no kind, or with a text that its kind does not take";
        return ERR_MALFORMED;
    }
    out->revocation =
        revocation_new((enum revoke_kind)kind, issuer, value, client, at, until, reason);
    *why = "out of memory";
    return out->revocation ? OK : ERR_NOMEM;
}

static int read_note(json_t *o, struct store_line *out, const char **why)
{
    const char *kind, *id, *text;

    *why = "a note lacks a member, has one too many, or one that is too long";
    if (json_unpack_ex(o, NULL, JSON_STRICT, "{s:s, s:s, s:s}", "kind", &kind, "id", &id, "text",
                       &text) != 0 ||
        note_check(kind, id, text) != OK)
        return ERR_MALFORMED;
    *why = "out of memory";
    out->note = note_new(kind, id, text);
    return out->note ? OK : ERR_NOMEM;
}

int store_line_read(const char *text, size_t n, struct store_line *out, const char **why)
{
    json_t *o = strict_json_object(text, n, STORE_LINE_MAX);
    json_t *grant = json_object_get(o, "grant"), *revocation = json_object_get(o, "revocation");
    json_t *note = json_object_get(o, "note"), *form = json_object_get(o, "store");
    int rc = ERR_MALFORMED;

    memset(out, 0, sizeof(*out));
    if (json_object_size(o) != 1)
        *why = "no line of an export";
    else if (grant)
        rc = read_grant(grant, out, why);
    else if (revocation)
        rc = read_revocation(revocation, out, why);
    else if (note)
        rc = read_note(note, out, why);
    else if (json_is_integer(form) && json_integer_value(form) == FORM)
        rc = OK;
    else
        *why = form ? "an export of another form than this sluice knows" : "no line of an export";
    json_decref(o);
    return rc;
}

void store_line_clear(struct store_line *l)
{
    grant_unref(l->grant);
    revocation_free(l->revocation);
    note_free(l->note);
    memset(l, 0, sizeof(*l));
}
