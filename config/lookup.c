/* Finding options and saying what they take. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config/options.h"

bool option_under(const struct option *o, const char *prefix, size_t prefix_len)
{
    return strncmp(o->path, prefix, prefix_len) == 0 && !strchr(o->path + prefix_len, '.');
}

bool option_within(const struct option *o, const char *prefix, size_t prefix_len)
{
    return strncmp(o->path, prefix, prefix_len) == 0 && !strstr(o->path + prefix_len, "[]");
}

const struct option *option_find(const char *prefix, size_t prefix_len, const char *key)
{
    for (size_t i = 0; i < options_count; i++)
        if (strncmp(options[i].path, prefix, prefix_len) == 0 &&
            strcmp(options[i].path + prefix_len, key) == 0 && !strpbrk(key, ".["))
            return &options[i];
    return NULL;
}

const struct option *option_at(const char *path)
{
    for (size_t i = 0; i < options_count; i++)
        if (strcmp(options[i].path, path) == 0)
            return &options[i];
    return NULL;
}

const char *option_name(const struct option *o)
{
    const char *dot = strrchr(o->path, '.');
    return dot ? dot + 1 : o->path;
}

/* Damerau-Levenshtein without the transpositions: edits between two short words. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[64];
    size_t na = strlen(a), nb = strlen(b);
    if (na >= 64 || nb >= 64)
        return 64;
    for (unsigned j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[nb];
}

const char *option_guess(const char *prefix, size_t prefix_len, const char *key)
{
    const struct option *best = NULL;
    unsigned least = (unsigned)(strlen(key) / 3) + 1;
    for (size_t i = 0; i < options_count; i++) {
        if (!option_under(&options[i], prefix, prefix_len))
            continue;
        unsigned d = distance(key, options[i].path + prefix_len);
        if (d < least || (d == least && !best)) {
            best = &options[i];
            least = d;
        }
    }
    for (size_t i = 0; !best && i < options_count; i++)
        if (strcmp(option_name(&options[i]), key) == 0)
            best = &options[i];
    return best ? best->path : NULL;
}

static void takes_choice(const struct option *o, const char *lead, char *out)
{
    int n = snprintf(out, OPTION_TAKES_BYTES, "%s", lead);
    for (const struct choice *c = o->choices; c->name && n >= 0 && n < OPTION_TAKES_BYTES; c++)
        n += snprintf(out + n, (size_t)(OPTION_TAKES_BYTES - n), "%s%s",
                      c == o->choices ? "" : (c[1].name ? ", " : " or "), c->name);
}

static const char *takes_fixed(const struct option *o)
{
    switch (o->type) {
    case OPTION_SECTION:
        return "a mapping of options";
    case OPTION_LIST:
        return "a list of mappings";
    case OPTION_TEXT:
        return "a text";
    case OPTION_TEXTS:
        return "a text or a list of texts";
    case OPTION_BOOL:
        return "true or false";
    case OPTION_ADDRESS:
        return o->dash ? "host:port, or off" : "host:port";
    case OPTION_ADDRESSES:
        return "a list of host:port";
    case OPTION_MAPPING:
        return "a mapping of host:port to host:port";
    case OPTION_URL:
        return "an https URL";
    case OPTION_CERTIFICATE:
        return "a PEM file with certificates";
    case OPTION_KEY:
        return "a PEM file with a private key";
    case OPTION_KEYS:
        return "a list of PEM files with a private key each";
    case OPTION_FILE:
        return "a file";
    case OPTION_FOLDER:
        return "a folder";
    case OPTION_MADE:
        return o->dash ? "a file in an existing folder, or - for standard output"
                       : "a file in an existing folder";
    case OPTION_SECRET:
        return "a file that holds the secret";
    case OPTION_SECRETS:
        return "a file with one token a line";
    case OPTION_TOPICS:
        return "a list of topic names (1 to 249 of a-z A-Z 0-9 . _ -)";
    case OPTION_PREFIX:
        return "a text without control characters";
    case OPTION_TIME:
        return "a time such as 2027-01-31T23:59:59Z, or seconds since 1970";
    case OPTION_NUMBER:
    case OPTION_CHOICE:
    case OPTION_CHOICES:
        break;
    }
    return "";
}

const char *option_takes(const struct option *o, char out[OPTION_TAKES_BYTES])
{
    if (o->type == OPTION_CHOICE)
        takes_choice(o, "", out);
    else if (o->type == OPTION_CHOICES)
        takes_choice(o, "a list of ", out);
    else if (o->type == OPTION_NUMBER)
        snprintf(out, OPTION_TAKES_BYTES, "a whole number%s%s from %" PRId64 " to %" PRId64,
                 o->unit ? " of " : "", o->unit ? o->unit : "", o->min, o->max);
    else if (o->type == OPTION_TEXT || o->type == OPTION_TEXTS || o->type == OPTION_PREFIX)
        snprintf(out, OPTION_TAKES_BYTES, "%s, %" PRId64 " to %" PRId64 " bytes", takes_fixed(o),
                 o->min, o->max);
    else
        snprintf(out, OPTION_TAKES_BYTES, "%s", takes_fixed(o));
    return out;
}
