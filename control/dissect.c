#include "control/dissect.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "codec/frame.h"
#include "codec/json.h"
#include "codec/msg.h"
#include "codec/read.h"
#include "codec/reply.h"

#define TREE_BASE_BYTES (1U << 20)
/* The shortest value on the wire is a byte, and becomes a node. */
#define TREE_FACTOR 80

static int set(json_t *doc, const char *key, json_t *value)
{
    return json_object_set_new(doc, key, value) ? ERR_NOMEM : OK;
}

int dissect_error(json_t *doc, uint64_t offset, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (set(doc, "error", json_string(text)) ||
        set(doc, "errorOffset", json_integer((json_int_t)offset)))
        return ERR_NOMEM;
    return ERR_MALFORMED;
}

static int add_unread(json_t *doc, uint64_t offset, json_t *data)
{
    json_t *list = json_object_get(doc, "unread");
    json_t *row = json_pack("{s:I, s:o}", "offset", (json_int_t)offset, "data", data);

    if (!list) {
        list = json_array();
        if (set(doc, "unread", list)) {
            json_decref(row);
            return ERR_NOMEM;
        }
    }
    return json_array_append_new(list, row) ? ERR_NOMEM : OK;
}

int dissect_unread(json_t *doc, uint64_t offset, const uint8_t *p, size_t n)
{
    return n > 0 ? add_unread(doc, offset, json_base64(p, n)) : OK;
}

int dissect_length(json_t *doc, const uint8_t *p, uint64_t offset, uint32_t *len)
{
    int32_t n = read_i32(p);
    *len = (uint32_t)n;
    if (p[0] == 0x16 && p[1] == 3)
        return dissect_error(doc, offset, "a TLS record, not a frame");
    if (n <= 0)
        return dissect_error(doc, offset, "a frame's length cannot be %d", n);
    if (*len > DISSECT_FRAME_MAX)
        return dissect_error(doc, offset, "a length of %u bytes is above the limit of %u", *len,
                             DISSECT_FRAME_MAX);
    return OK;
}

bool dissect_like_request(const uint8_t *p, size_t n)
{
    if (n < DISSECT_PEEK_BYTES)
        return false;
    int32_t len = read_i32(p);
    const struct message *schema = schema_find(read_i16(p + 4), true);
    int client_id = read_i16(p + 12);
    return len >= 10 && (uint32_t)len <= DISSECT_FRAME_MAX && schema &&
           versions_has(schema->versions, read_i16(p + 6)) && client_id >= -1 &&
           client_id <= len - 10;
}

struct frame {
    json_t *doc;
    const uint8_t *p;
    size_t n;
    uint64_t offset;
    const struct dissect_kind *kind;
    struct buf bytes;
    const struct message *schema;
    int version;
    size_t body; /* where the body starts */
};

/* Unknown tags are listed where there are any. */
static int add_tags(struct frame *f, const char *key, json_t *tags)
{
    if (!tags)
        return ERR_NOMEM;
    if (json_array_size(tags) > 0)
        return set(f->doc, key, tags);
    json_decref(tags);
    return OK;
}

static int name_api(struct frame *f)
{
    int err = set(f->doc, "api", json_string(schema_api_name(f->schema->api)));
    if (!err)
        err = set(f->doc, "apiKey", json_integer(f->schema->api));
    return err ? err : set(f->doc, "version", json_integer(f->version));
}

static int add_header(struct frame *f, const struct request_head *h, int32_t correlation)
{
    json_t *o = json_object();
    int err = set(f->doc, "header", o);
    if (!err && h)
        err = set(o, "requestApiKey", json_integer(h->api));
    if (!err && h)
        err = set(o, "requestApiVersion", json_integer(h->version));
    if (!err)
        err = set(o, "correlationId", json_integer(correlation));
    return err;
}

static int request_header(struct frame *f, struct dissect_head *head)
{
    struct request_head h;
    const char *why = NULL;
    if (frame_peek(&f->bytes, 0, f->n, &h))
        return dissect_error(f->doc, f->offset, "%zu bytes are too few for a request's header",
                             f->n);
    int err = add_header(f, &h, h.correlation);
    if (err)
        return err;
    f->schema = schema_find(h.api, true);
    if (!f->schema)
        return dissect_error(f->doc, f->offset, "API key %d is not known", h.api);
    f->version = h.version;
    err = name_api(f);
    if (err)
        return err;
    if (head)
        *head = (struct dissect_head){true, h.api, h.version, h.correlation};
    if (!versions_has(f->schema->versions, h.version))
        return dissect_error(f->doc, f->offset + 2, "%s has versions %d to %d, not %d",
                             f->schema->name, f->schema->versions.min, f->schema->versions.max,
                             h.version);
    err = frame_request_head(&f->bytes, 0, f->n, &h, &why);
    if (err)
        return dissect_error(f->doc, f->offset + 8, "header: %s", why ? why : err_name(err));
    f->body = h.body_off;
    if (schema_request_header(h.api, h.version) == 0)
        return OK; /* no client id, and no tags */
    int id_len = read_i16(f->p + 8);
    err = set(json_object_get(f->doc, "header"), "clientId",
              id_len < 0 ? json_null() : json_text(f->p + 10, (size_t)id_len));
    size_t tags = 10 + (id_len > 0 ? (size_t)id_len : 0);
    if (!err && tags < f->body)
        err = add_tags(f, "unknownHeaderTags", json_header_tags(f->p + tags, f->body - tags));
    return err;
}

static int response_header(struct frame *f)
{
    int32_t correlation = 0;
    const char *why = NULL;
    f->schema = schema_find(f->kind->api, false);
    f->version = f->kind->version;
    if (!f->schema)
        return dissect_error(f->doc, f->offset, "API key %d is not known", f->kind->api);
    /* A broker answers an ApiVersions request that it cannot read in version 0 (KIP-511). */
    if (f->kind->api == 18 && !versions_has(f->schema->versions, f->version))
        f->version = 0;
    if (!versions_has(f->schema->versions, f->version))
        return dissect_error(f->doc, f->offset, "%s has versions %d to %d, not %d", f->schema->name,
                             f->schema->versions.min, f->schema->versions.max, f->version);
    int err = name_api(f);
    if (err)
        return err;
    err = frame_response_head(&f->bytes, 0, f->n, f->kind->api, f->version, &correlation, &f->body,
                              &why);
    if (err)
        return dissect_error(f->doc, f->offset, "header: %s", why ? why : err_name(err));
    err = add_header(f, NULL, correlation);
    if (!err && f->body > 4)
        err = add_tags(f, "unknownHeaderTags", json_header_tags(f->p + 4, f->body - 4));
    return err;
}

static int decode_body(struct frame *f, struct arena *a, struct msg *m)
{
    struct msg_error e = {0};
    size_t len = f->n - f->body;
    int err = msg_decode(m, a, f->schema, f->version, &f->bytes, f->body, len, &e);
    if (err && f->schema->api == 18 && !f->schema->request && f->version > 0) {
        arena_clear(a);
        if (msg_decode(m, a, f->schema, 0, &f->bytes, f->body, len, NULL) == OK &&
            node_num(m->root, F_ERROR_CODE, 0) == KAFKA_UNSUPPORTED_VERSION) {
            f->version = 0;
            return set(f->doc, "version", json_integer(0));
        }
    }
    if (err == ERR_MALFORMED)
        return dissect_error(f->doc, f->offset + f->body + e.offset, "%s",
                             e.why ? e.why : "malformed");
    if (err)
        return dissect_error(f->doc, f->offset + f->body,
                             "its values need more memory than the %zu MiB allowed",
                             a->limit_bytes >> 20);
    return OK;
}

struct leaking {
    struct frame *f;
    json_t *list;
    int err;
};

static void add_leak(void *arg, const struct leak *l)
{
    struct leaking *g = arg;
    json_t *value = l->text ? json_text(l->text, l->len) : json_integer(l->value);
    json_int_t offset = (json_int_t)g->f->offset + (json_int_t)g->f->body + (json_int_t)l->offset;
    json_t *row =
        json_pack("{s:s, s:o, s:s, s:I}", "field", l->field ? l->field->name : "unknown tag",
                  "value", value, "why", l->why, "offset", offset);

    if (json_array_size(g->list) >= DISSECT_LEAKS_MAX)
        json_decref(row);
    else if (json_array_append_new(g->list, row) != 0)
        g->err = ERR_NOMEM;
}

static int add_leaks(struct frame *f)
{
    struct leaking g = {.f = f, .list = json_array()};

    if (!g.list)
        return ERR_NOMEM;
    if (leaks_find(f->schema, f->version, f->p + f->body, f->n - f->body, f->kind->leaks, add_leak,
                   &g) != OK)
        g.err = ERR_NOMEM; /* it was decoded before, so that is all it can be */
    if (g.err == OK && json_array_size(g.list) > 0)
        return set(f->doc, "leaks", g.list);
    json_decref(g.list);
    return g.err;
}

static int body(struct frame *f)
{
    struct arena a;
    struct msg m;
    unsigned flags = f->kind->secrets ? JSON_SECRETS : 0;
    size_t limit = TREE_BASE_BYTES + (size_t)TREE_FACTOR * f->n;
    arena_init(&a, limit > DISSECT_TREE_MAX ? DISSECT_TREE_MAX : limit);
    int err = decode_body(f, &a, &m);
    if (!err)
        err = set(f->doc, "body", json_from_msg(&m, flags));
    if (!err && m.unknown_tags > 0)
        err = add_tags(
            f, "unknownTags",
            json_unknown_tags(f->schema, f->version, f->p + f->body, f->n - f->body, flags));
    if (!err && f->kind->leaks && !f->schema->request)
        err = add_leaks(f);
    arena_release(&a);
    return err;
}

/* The body where the header was understood, else the whole frame. */
static int unread(struct frame *f)
{
    bool hide = !f->kind->secrets && f->schema && json_has_secret(f->schema);

    if (hide && f->n > f->body)
        return add_unread(f->doc, f->offset + f->body, json_string("<secret>"));
    return dissect_unread(f->doc, f->offset + f->body, f->p + f->body, f->n - f->body);
}

int dissect_frame(json_t *doc, const uint8_t *p, size_t n, uint64_t offset,
                  const struct dissect_kind *kind, struct dissect_head *head)
{
    struct frame f = {.doc = doc, .p = p, .n = n, .offset = offset, .kind = kind};
    if (head)
        *head = (struct dissect_head){.known = false};
    buf_init(&f.bytes, n);
    int err = set(doc, "type", json_string(kind->request ? "request" : "response"));
    if (!err)
        err = buf_append(&f.bytes, p, n) ? ERR_NOMEM : OK;
    if (!err)
        err = kind->request ? request_header(&f, head) : response_header(&f);
    if (!err)
        err = body(&f);
    if (err == ERR_MALFORMED && unread(&f))
        err = ERR_NOMEM;
    buf_release(&f.bytes);
    return err;
}
