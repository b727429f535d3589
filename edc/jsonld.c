#include "edc/jsonld.h"

#include <stdio.h>
#include <string.h>

#include "auth/strict_json.h"

static const char *const namespaces[] = {JSONLD_EDC, JSONLD_DSPACE, JSONLD_DSPACE_2025,
                                         JSONLD_TX_AUTH};

int jsonld_fault(struct jsonld *j, const char *place, const char *what)
{
    if (!j->fault[0])
        snprintf(j->fault, sizeof(j->fault), "%.120s%s%.120s", place, *place ? ": " : "", what);
    return ERR_MALFORMED;
}

const char *jsonld_place(char out[JSONLD_FAULT_BYTES], const char *place, const char *name)
{
    snprintf(out, JSONLD_FAULT_BYTES, "%.180s%s%.64s", place, *place ? "." : "", name);
    return out;
}

/* --- the context */

static bool term_add(struct jsonld *j, const char *name, const char *iri)
{
    if (j->nterms == JSONLD_TERMS_MAX)
        return false;
    j->terms[j->nterms++] = (struct jsonld_term){name, iri};
    return true;
}

/* The last one counts. */
static const char *term_find(const struct jsonld *j, const char *name, size_t n)
{
    for (size_t i = j->nterms; i > 0; i--)
        if (strlen(j->terms[i - 1].name) == n && memcmp(j->terms[i - 1].name, name, n) == 0)
            return j->terms[i - 1].iri;
    return NULL;
}

/* One object of definitions: term to IRI, or term to {"@id": IRI, ...}. */
static int define(struct jsonld *j, json_t *object)
{
    char place[JSONLD_FAULT_BYTES];
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        json_t *id = json_is_object(value) ? json_object_get(value, "@id") : value;

        if (strcmp(name, "@vocab") == 0 && json_is_string(value))
            j->vocab = json_string_value(value);
        else if (*name == '@' || json_is_null(value) || !id)
            continue; /* @version, @base, a term without a meaning of its own */
        else if (!json_is_string(id))
            return jsonld_fault(j, jsonld_place(place, "@context", name), "is no IRI");
        else if (!term_add(j, name, json_string_value(id)))
            return jsonld_fault(j, "@context", "defines too many terms");
    }
    return OK;
}

static int read_context(struct jsonld *j)
{
    json_t *context = json_object_get(j->root, "@context"), *item;
    size_t n = json_is_array(context) ? json_array_size(context) : 1;

    for (size_t i = 0; i < n; i++) {
        int rc = OK;

        item = json_is_array(context) ? json_array_get(context, i) : context;
        if (json_is_string(item) &&
            strncmp(json_string_value(item), JSONLD_DSPACE_2025, strlen(JSONLD_DSPACE_2025)) == 0)
            j->dspace_2025 = true;
        if (json_is_object(item))
            rc = define(j, item);
        else if (item && !json_is_string(item) && !json_is_null(item))
            rc = jsonld_fault(j, "@context", "takes URLs and objects");
        if (rc != OK)
            return rc;
    }
    return OK;
}

/* --- reading */

/* Expanded documents are a list of one object; the reader of JSON proper takes objects alone. */
static void strip_list(const char **text, size_t *n)
{
    static const char blanks[] = " \t\r\n";
    const char *p = *text;
    size_t len = *n;

    while (len && memchr(blanks, *p, sizeof(blanks) - 1))
        p++, len--;
    while (len && memchr(blanks, p[len - 1], sizeof(blanks) - 1))
        len--;
    if (len < 2 || *p != '[' || p[len - 1] != ']')
        return;
    *text = p + 1;
    *n = len - 2;
}

/* How much of a message of the parser comes before what it quotes. */
static size_t words(const char *text)
{
    const char *near = strstr(text, " near "), *quote = strchr(text, '\'');
    size_t n = strlen(text);

    if (near && (size_t)(near - text) < n)
        n = (size_t)(near - text);
    if (quote && (size_t)(quote - text) < n)
        n = (size_t)(quote - text);
    return n < 100 ? n : 100;
}

/* Why it is no object, in the parser's words, but for what it quotes: there may be a secret in it.
 */
static void explain(struct jsonld *j, const char *text, size_t n)
{
    json_error_t error;
    json_t *parsed = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

    if (parsed)
        snprintf(j->fault, sizeof(j->fault), "the body is no JSON object");
    else
        snprintf(j->fault, sizeof(j->fault), "line %d, column %d: the body is no JSON: %.*s",
                 error.line, error.column, (int)words(error.text), error.text);
    json_decref(parsed);
}

int jsonld_read_plain(struct jsonld *j, const char *text, size_t n)
{
    *j = (struct jsonld){0};
    j->root = strict_json_object(text, n, n);
    if (j->root)
        return OK;
    if (n == 0)
        snprintf(j->fault, sizeof(j->fault), "the body is empty");
    else if (!strict_json_shallow(text, n))
        snprintf(j->fault, sizeof(j->fault), "the body is nested deeper than %d levels",
                 STRICT_JSON_DEPTH_MAX);
    else
        explain(j, text, n);
    return ERR_MALFORMED;
}

int jsonld_read(struct jsonld *j, const char *text, size_t n)
{
    int rc;

    strip_list(&text, &n);
    rc = jsonld_read_plain(j, text, n);
    if (rc != OK)
        return rc;
    j->vocab = JSONLD_EDC;
    if (!term_add(j, "edc", JSONLD_EDC) || !term_add(j, "dspace", JSONLD_DSPACE) ||
        !term_add(j, "tx-auth", JSONLD_TX_AUTH))
        return ERR_LIMIT;
    return read_context(j);
}

/* jansson keeps a string's bytes in memory of its own that nobody else sees. */
static void wipe(json_t *string)
{
    char *text = NULL;
    const char *seen = json_string_value(string);

    memcpy(&text, &seen, sizeof(text));
    if (text)
        explicit_bzero(text, json_string_length(string));
}

/* Without recursion: the depth is bounded by the reader. */
void jsonld_release(struct jsonld *j)
{
    struct {
        json_t *at;
        void *iter;
        size_t index;
    } stack[STRICT_JSON_DEPTH_MAX + 1];
    size_t depth = 0;

    if (j->root) {
        stack[depth].at = j->root;
        stack[depth].index = 0;
        stack[depth++].iter = json_object_iter(j->root);
    }
    while (depth) {
        json_t *at = stack[depth - 1].at, *child = NULL;

        if (json_is_object(at) && stack[depth - 1].iter) {
            child = json_object_iter_value(stack[depth - 1].iter);
            stack[depth - 1].iter = json_object_iter_next(at, stack[depth - 1].iter);
        } else if (json_is_array(at)) {
            child = json_array_get(at, stack[depth - 1].index++);
        }
        if (!child) {
            depth--;
        } else if (json_is_string(child)) {
            wipe(child);
        } else if ((json_is_object(child) || json_is_array(child)) &&
                   depth < sizeof(stack) / sizeof(*stack)) {
            stack[depth].at = child;
            stack[depth].index = 0;
            stack[depth++].iter = json_is_object(child) ? json_object_iter(child) : NULL;
        }
    }
    json_decref(j->root);
    j->root = NULL;
    j->nterms = 0;
}

/* --- names */

bool jsonld_iri(const struct jsonld *j, const char *name, char out[JSONLD_IRI_MAX])
{
    const char *colon = strchr(name, ':'), *base = NULL, *rest = name;
    int n;

    if (*name == '@') {
        base = "";
    } else if (!colon) {
        base = term_find(j, name, strlen(name));
        rest = base ? "" : name;
        base = base ? base : j->vocab ? j->vocab : "";
    } else {
        base =
            colon[1] == '/' && colon[2] == '/' ? NULL : term_find(j, name, (size_t)(colon - name));
        rest = base ? colon + 1 : name;
        base = base ? base : "";
    }
    /* A term may itself be given as prefix:name; one step is what connectors' contexts need. */
    colon = strchr(base, ':');
    if (*base && colon && colon[1] != '/') {
        const char *outer = term_find(j, base, (size_t)(colon - base));

        n = outer ? snprintf(out, JSONLD_IRI_MAX, "%s%s%s", outer, colon + 1, rest)
                  : snprintf(out, JSONLD_IRI_MAX, "%s%s", base, rest);
    } else {
        n = snprintf(out, JSONLD_IRI_MAX, "%s%s", base, rest);
    }
    return n >= 0 && n < JSONLD_IRI_MAX;
}

const char *jsonld_local(const char *iri)
{
    for (size_t i = 0; i < sizeof(namespaces) / sizeof(*namespaces); i++) {
        size_t n = strlen(namespaces[i]);

        if (strncmp(iri, namespaces[i], n) == 0)
            return iri + n;
    }
    return NULL;
}

static bool ends_in(const char *name, const char *local)
{
    size_t n = strlen(name), len = strlen(local);

    return n >= len && memcmp(name + n - len, local, len) == 0;
}

static bool means(const struct jsonld *j, const char *name, const char *local)
{
    char iri[JSONLD_IRI_MAX];
    const char *got;

    if (strcmp(name, local) == 0 && (*local == '@' || !j->vocab))
        return true;
    /* A message may have thousands of names; few of them are worth a closer look. */
    if (!j->vocab || (!ends_in(name, local) && !term_find(j, name, strlen(name))) ||
        !jsonld_iri(j, name, iri))
        return false;
    got = jsonld_local(iri);
    return got && strcmp(got, local) == 0;
}

static json_t *only(json_t *value)
{
    while (json_array_size(value) == 1)
        value = json_array_get(value, 0);
    return value;
}

json_t *jsonld_member(struct jsonld *j, json_t *object, const char *place, const char *local)
{
    char at[JSONLD_FAULT_BYTES];
    json_t *found = NULL, *value;
    const char *name;

    json_object_foreach(object, name, value)
    {
        if (json_is_null(value) || !means(j, name, local))
            continue;
        if (found) {
            jsonld_fault(j, jsonld_place(at, place, local), "stands there twice");
            return NULL;
        }
        found = value;
    }
    return j->vocab ? only(found) : found;
}

const char *jsonld_value(json_t *value)
{
    json_t *inner;

    if (json_is_string(value))
        return json_string_value(value);
    inner = json_object_get(value, "@value");
    if (!inner)
        inner = json_object_get(value, "@id");
    return json_string_value(inner);
}

const char *jsonld_text(struct jsonld *j, json_t *object, const char *place, const char *local,
                        bool required)
{
    char at[JSONLD_FAULT_BYTES];
    json_t *value = jsonld_member(j, object, place, local);
    const char *text = j->vocab ? jsonld_value(value) : json_string_value(value);

    if (j->fault[0])
        return NULL;
    if (value ? !text : required)
        jsonld_fault(j, jsonld_place(at, place, local), value ? "is no text" : "is missing");
    return text;
}

bool jsonld_type(struct jsonld *j, json_t *object, const char *place, const char *type)
{
    char at[JSONLD_FAULT_BYTES], iri[JSONLD_IRI_MAX], what[128];
    const char *given = json_string_value(jsonld_member(j, object, place, "@type"));
    const char *local = given && jsonld_iri(j, given, iri) ? jsonld_local(iri) : NULL;

    if (local && strcmp(local, type) == 0)
        return true;
    snprintf(what, sizeof(what), "%s; it takes %s", given ? "is another" : "is missing", type);
    jsonld_fault(j, jsonld_place(at, place, "@type"), what);
    return false;
}
