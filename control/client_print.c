/* Tables for people. Texts came over the network: what a terminal could act upon is escaped. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/client.h"

#define COLUMNS_MAX 12
#define CELL_BYTES  48

struct column {
    const char *title;
    const char *key; /* may be a path with one dot */
};

static const struct column sessions[] = {
    {"SESSION", "session"}, {"ADDRESS", "address"}, {"PARTICIPANT", "participant"},
    {"SUBJECT", "subject"}, {"CLIENT", "client"},   {"GRANTS", "grants"},
    {"IN", "bytes_in"},     {"OUT", "bytes_out"},   {"REQUESTS", "requests"},
    {"DENIALS", "denials"}, {NULL, NULL},
};
static const struct column grants[] = {
    {"TRANSFER", "id"},           {"PARTICIPANT", "participant"},
    {"TOPICS", "topics"},         {"PREFIX", "group_prefix"},
    {"OPERATIONS", "operations"}, {"STATE", "state"},
    {"SESSIONS", "sessions"},     {"LAST USE", "last_use"},
    {"EXPIRES", "expires"},       {"SUBJECT", "principal.subject"},
    {"FROM", "source"},           {NULL, NULL},
};
static const struct column revocations[] = {
    {"KIND", "kind"}, {"ISSUER", "issuer"}, {"VALUE", "value"},   {"CLIENT", "client"},
    {"AT", "at"},     {"UNTIL", "until"},   {"REASON", "reason"}, {NULL, NULL},
};

static void put(char *cell, size_t *at, const char *text)
{
    for (; *text && *at + 4 < CELL_BYTES; text++) {
        /* Only printable ASCII is sure: C1 controls and cut characters lie above. */
        unsigned char c = (unsigned char)*text;
        cell[*at] = '?';
        if (c >= 0x20 && c < 0x7f)
            cell[*at] = *text;
        ++*at;
    }
    if (*text)
        memcpy(cell + *at - 3, "...", 3);
    cell[*at] = '\0';
}

static void put_value(char *cell, size_t *at, const char *key, const json_t *value)
{
    char text[64];
    bool when = !strcmp(key, "expires") || !strcmp(key, "at") || !strcmp(key, "until") ||
                !strcmp(key, "last_use");
    if (json_is_string(value) && json_string_length(value)) {
        put(cell, at, json_string_value(value));
    } else if (json_is_integer(value)) {
        time_t seconds = (time_t)json_integer_value(value);
        struct tm tm;
        if (!when || !gmtime_r(&seconds, &tm) ||
            !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
            snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        put(cell, at, text);
    }
}

static void cell_of(char cell[CELL_BYTES], const char *key, const json_t *row)
{
    const char *dot = strchr(key, '.');
    const json_t *value =
        dot ? json_object_get(json_object_getn(row, key, (size_t)(dot - key)), dot + 1)
            : json_object_get(row, key);
    size_t at = 0;
    snprintf(cell, CELL_BYTES, "-");
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (i && at + 5 < CELL_BYTES)
            put(cell, &at, ",");
        put_value(cell, &at, key, json_array_get(value, i));
    }
    if (!json_is_array(value))
        put_value(cell, &at, key, value);
}

static void table(FILE *f, const struct column *columns, const json_t *rows)
{
    int widths[COLUMNS_MAX] = {0};
    char cell[CELL_BYTES];
    for (size_t i = 0; i <= json_array_size(rows); i++)
        for (size_t k = 0; columns[k].title; k++) {
            if (i)
                cell_of(cell, columns[k].key, json_array_get(rows, i - 1));
            int width = (int)strlen(i ? cell : columns[k].title);
            widths[k] = width > widths[k] ? width : widths[k];
        }
    for (size_t i = 0; i <= json_array_size(rows); i++)
        for (size_t k = 0; columns[k].title; k++) {
            if (i)
                cell_of(cell, columns[k].key, json_array_get(rows, i - 1));
            fprintf(f, "%-*s%s", columns[k + 1].title ? widths[k] + 2 : 0,
                    i ? cell : columns[k].title, columns[k + 1].title ? "" : "\n");
        }
}

static void list(FILE *f, const struct column *columns, const json_t *answer, const char *key)
{
    const json_t *rows = json_object_get(answer, key);
    json_int_t total = json_integer_value(json_object_get(answer, "total"));
    table(f, columns, rows);
    if (total > (json_int_t)json_array_size(rows))
        fprintf(f, "and %" JSON_INTEGER_FORMAT " more\n",
                total - (json_int_t)json_array_size(rows));
}

void client_print(FILE *f, enum client_command command, const json_t *answer)
{
    switch (command) {
    case CLIENT_SESSIONS:
        list(f, sessions, answer, "sessions");
        break;
    case CLIENT_GRANTS:
        list(f, grants, answer, "grants");
        break;
    case CLIENT_REVOCATIONS:
        list(f, revocations, answer, "revocations");
        break;
    case CLIENT_GRANT_PUT:
        fprintf(f, "granted; ");
        break;
    case CLIENT_GRANT_DELETE:
    case CLIENT_REVOKE:
    case CLIENT_REVOKE_TOKEN:
        fprintf(f, "revoked; ");
        break;
    }
    const json_t *closed = json_object_get(answer, "closed");
    if (json_is_integer(closed))
        fprintf(f, "%" JSON_INTEGER_FORMAT " sessions closed\n", json_integer_value(closed));
}
