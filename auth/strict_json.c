#include "auth/strict_json.h"

#include <string.h>

#include "auth/memory.h"

/* Brackets outside strings; what is no JSON otherwise is left to the parser. */
bool strict_json_shallow(const char *p, size_t n)
{
    bool in_string = false;
    unsigned depth = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        if (in_string) {
            if (p[i] == '\\')
                i++;
            else if (p[i] == '"')
                in_string = false;
        } else if (p[i] == '"') {
            in_string = true;
        } else if (p[i] == '{' || p[i] == '[') {
            if (++depth > STRICT_JSON_DEPTH_MAX)
                return false;
        } else if ((p[i] == '}' || p[i] == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

int strict_json_read(const void *text, size_t n, size_t max, json_t **out)
{
    unsigned watch = memory_watch();
    json_error_t error;

    *out = NULL;
    if (n == 0 || n > max || memchr(text, 0, n) || !strict_json_shallow(text, n))
        return ERR_MALFORMED;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    /* Without memory jansson may also leave out a part of a text, and say that all is well. */
    if (json_is_object(*out) && !memory_was_short(watch))
        return OK;
    json_decref(*out);
    *out = NULL;
    return memory_was_short(watch) ? ERR_NOMEM : ERR_MALFORMED;
}

json_t *strict_json_object(const void *text, size_t n, size_t max)
{
    json_t *j;

    return strict_json_read(text, n, max, &j) == OK ? j : NULL;
}

const char *strict_json_text(const json_t *object, const char *member)
{
    const char *text = json_string_value(json_object_get(object, member));
    const unsigned char *p;

    if (!text)
        return NULL;
    for (p = (const unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f)
            return NULL;
    }
    return text;
}
