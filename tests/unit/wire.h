/* Messages from JSON text, written by the schema's rows alone: an encoder of the tests' own, so
 * that what the gate sends is not compared with what the gate's codec wrote. Single quotes stand
 * for double ones. A field that the text lacks gets its default; ids of one character are sixteen
 * of it; records are given by their length and filled with a pattern. "_tags": [[number, bytes],
 * ...] adds unknown tags. */
#ifndef TESTS_WIRE_H
#define TESTS_WIRE_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/schema.h"

struct octets {
    uint8_t *p;
    size_t n, room;
};

static inline void wire_put(struct octets *w, const void *p, size_t n)
{
    if (w->n + n > w->room) {
        w->room = (w->n + n) * 2 + 256;
        w->p = realloc(w->p, w->room);
        assert_non_null(w->p);
    }
    if (n)
        memcpy(w->p + w->n, p, n);
    w->n += n;
}

static inline void wire_int(struct octets *w, uint64_t v, int bytes)
{
    uint8_t b[8];
    for (int i = 0; i < bytes; i++)
        b[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
    wire_put(w, b, (size_t)bytes);
}

static inline void wire_varint(struct octets *w, uint64_t v)
{
    uint8_t b;
    for (; v >= 0x80; v >>= 7) {
        b = (uint8_t)(v | 0x80);
        wire_put(w, &b, 1);
    }
    b = (uint8_t)v;
    wire_put(w, &b, 1);
}

/* A length or count; -1: null. */
static inline void wire_len(struct octets *w, int64_t n, bool flexible, int bytes)
{
    if (flexible)
        wire_varint(w, (uint64_t)(n + 1));
    else
        wire_int(w, (uint64_t)n, bytes);
}

static inline json_t *wire_json(const char *text)
{
    char *copy = strdup(text);
    json_error_t e;
    assert_non_null(copy);
    for (char *p = copy; *p; p++)
        if (*p == '\'')
            *p = '"';
    json_t *j = json_loads(copy, JSON_ALLOW_NUL, &e);
    if (!j)
        fail_msg("%s at %d in %s", e.text, e.position, copy);
    free(copy);
    return j;
}

static inline void wire_fields(struct octets *w, const struct field *rows, uint16_t n, int version,
                               bool flexible, const json_t *j);

static inline void wire_uuid(struct octets *w, const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t id[16] = {0};
    if (strlen(text) == 22) {
        for (unsigned i = 0; i < 22; i++) {
            unsigned six = (unsigned)(strchr(digits, text[i]) - digits);
            for (unsigned bit = 0; bit < 6; bit++)
                if (six & (32u >> bit) && i * 6 + bit < 128)
                    id[(i * 6 + bit) / 8] |= (uint8_t)(128u >> ((i * 6 + bit) % 8));
        }
    } else {
        memset(id, *text, sizeof(id));
    }
    wire_put(w, id, sizeof(id));
}

static inline uint8_t wire_pattern(size_t n, size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8) * 3 + n);
}

static inline void wire_records(struct octets *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t b = wire_pattern(n, i);
        wire_put(w, &b, 1);
    }
}

static inline void wire_scalar(struct octets *w, const struct field *f, int version, bool flexible,
                               const json_t *j)
{
    static const int sizes[] = {[TYPE_BOOL] = 1,   [TYPE_INT8] = 1,    [TYPE_INT16] = 2,
                                [TYPE_UINT16] = 2, [TYPE_INT32] = 4,   [TYPE_UINT32] = 4,
                                [TYPE_INT64] = 8,  [TYPE_FLOAT64] = 8, [TYPE_UUID] = 16};
    const char *text = j && json_is_string(j) ? json_string_value(j) : NULL;
    size_t n = text ? json_string_length(j) : 0;
    switch (f->type) {
    case TYPE_STRING:
    case TYPE_BYTES:
        if (!j && !f->default_null) {
            text = f->default_text ? f->default_text : "";
            n = strlen(text);
        }
        wire_len(w, text ? (int64_t)n : -1, flexible, f->type == TYPE_STRING ? 2 : 4);
        wire_put(w, text, n);
        return;
    case TYPE_RECORDS:
        n = j && json_is_integer(j) ? (size_t)json_integer_value(j) : 0;
        wire_len(w, (j && json_is_null(j)) ? -1 : (int64_t)n, flexible, 4);
        wire_records(w, n);
        return;
    case TYPE_UUID:
        wire_uuid(w, text ? text : "");
        return;
    case TYPE_STRUCT:
        wire_fields(w, f->fields, f->nfields, version, flexible, j);
        return;
    case TYPE_BOOL:
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_UINT16:
    case TYPE_INT32:
    case TYPE_UINT32:
    case TYPE_INT64:
    case TYPE_FLOAT64:
        break;
    }
    wire_int(w,
             j ? (json_is_boolean(j) ? json_is_true(j) : (uint64_t)json_integer_value(j))
               : (uint64_t)f->default_int,
             sizes[f->type]);
}

static inline void wire_field(struct octets *w, const struct field *f, int version, bool flexible,
                              bool tagged, const json_t *j)
{
    bool null = j ? json_is_null(j) : f->default_null;
    if (f->array) {
        size_t n = j && json_is_array(j) ? json_array_size(j) : 0;
        wire_len(w, null ? -1 : (int64_t)n, flexible, 4);
        for (size_t i = 0; i < n; i++)
            wire_scalar(w, f, version, flexible, json_array_get(j, i));
        return;
    }
    if (f->type == TYPE_STRUCT && versions_has(f->nullable, version)) {
        if (tagged)
            wire_varint(w, null ? 0 : 1);
        else
            wire_int(w, null ? 0xff : 1, 1);
        if (null)
            return;
    }
    wire_scalar(w, f, version, flexible, j);
}

static inline void wire_tag(struct octets *w, uint64_t tag, const struct octets *content)
{
    wire_varint(w, tag);
    wire_varint(w, content->n);
    wire_put(w, content->p, content->n);
}

static inline void wire_fields(struct octets *w, const struct field *rows, uint16_t n, int version,
                               bool flexible, const json_t *j)
{
    const json_t *more = j ? json_object_get(j, "_tags") : NULL;
    uint64_t tags = more ? json_array_size(more) : 0;
    const char *key;
    json_t *value;
    for (uint16_t i = 0; i < n; i++) {
        const struct field *f = &rows[i];
        bool tagged = flexible && versions_has(f->tagged, version);
        const json_t *v = j ? json_object_get(j, f->name) : NULL;
        if (!versions_has(f->versions, version))
            continue;
        if (tagged)
            tags += v != NULL;
        else
            wire_field(w, f, version, flexible, false, v);
    }
    json_object_foreach((json_t *)(uintptr_t)j, key, value)
    {
        bool known = *key == '_';
        for (uint16_t i = 0; i < n && !known; i++)
            known = !strcmp(rows[i].name, key);
        if (!known)
            fail_msg("there is no field %s", key);
    }
    if (!flexible)
        return;
    wire_varint(w, tags);
    for (int tag = 0; tag < 32; tag++) {
        for (uint16_t i = 0; i < n; i++) {
            const json_t *v = j ? json_object_get(j, rows[i].name) : NULL;
            struct octets content = {0};
            if (!v || rows[i].tag != tag || !versions_has(rows[i].tagged, version))
                continue;
            wire_field(&content, &rows[i], version, true, true, v);
            wire_tag(w, (uint64_t)tag, &content);
            free(content.p);
        }
    }
    for (size_t i = 0; more && i < json_array_size(more); i++) {
        const json_t *t = json_array_get(more, i), *text = json_array_get(t, 1);
        struct octets content = {(uint8_t *)(uintptr_t)json_string_value(text),
                                 json_string_length(text), 0};
        wire_tag(w, (uint64_t)json_integer_value(json_array_get(t, 0)), &content);
    }
}

/* The body alone. */
static inline struct octets wire_body(int api, bool request, int version, const char *text)
{
    const struct message *m = schema_find(api, request);
    struct octets w = {0};
    json_t *j = wire_json(text);
    assert_non_null(m);
    assert_true(versions_has(m->versions, version));
    wire_fields(&w, m->fields, m->nfields, version, message_flexible(m, version), j);
    json_decref(j);
    return w;
}

/* The whole frame. client_id NULL: null. */
static inline struct octets wire_request(int api, int version, int32_t correlation,
                                         const char *client_id, const struct octets *body)
{
    struct octets w = {0};
    size_t n = client_id ? strlen(client_id) : 0;
    wire_int(&w, 0, 4);
    wire_int(&w, (uint64_t)api, 2);
    wire_int(&w, (uint64_t)version, 2);
    wire_int(&w, (uint64_t)correlation, 4);
    wire_int(&w, client_id ? n : 0xffff, 2);
    wire_put(&w, client_id, n);
    if (schema_request_header(api, version) == 2)
        wire_varint(&w, 0);
    wire_put(&w, body->p, body->n);
    for (int i = 0; i < 4; i++)
        w.p[i] = (uint8_t)((w.n - 4) >> (24 - 8 * i));
    return w;
}

static inline struct octets wire_response(int api, int version, int32_t correlation,
                                          const struct octets *body)
{
    struct octets w = {0};
    wire_int(&w, 0, 4);
    wire_int(&w, (uint64_t)correlation, 4);
    if (schema_response_header(api, version) == 1)
        wire_varint(&w, 0);
    wire_put(&w, body->p, body->n);
    for (int i = 0; i < 4; i++)
        w.p[i] = (uint8_t)((w.n - 4) >> (24 - 8 * i));
    return w;
}

#endif
