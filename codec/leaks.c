#include "codec/leaks.h"

#include <string.h>

#include "codec/reply.h"
#include "codec/walk.h"

#define ERROR_CODE_MAX 255 /* Kafka's end well below */

/* Texts that brokers give beside an error code and that tell nothing. */
static const char *const harmless[] = {
    "No Authorizer is configured on the broker",
    "The group has described topic(s) that the client is not authorized to describe.",
};

static bool text_is(const struct leak *l, const char *text)
{
    return strlen(text) == l->len && memcmp(text, l->text, l->len) == 0;
}

/* The words that Kafka's clients know by heart for each error code. */
static bool standard_text(const struct leak *l)
{
    for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
        if (text_is(l, harmless[i]))
            return true;
    for (int code = -1; code <= ERROR_CODE_MAX; code++) {
        const char *text = kafka_error_text(code);

        if (text && text_is(l, text))
            return true;
    }
    return false;
}

static bool host_ok(const struct leaks_view *v, const struct leak *l)
{
    for (size_t i = 0; i < v->naddresses; i++)
        if (text_is(l, v->hosts[i]))
            return true;
    return false;
}

static bool port_ok(const struct leaks_view *v, int64_t port)
{
    for (size_t i = 0; i < v->naddresses; i++)
        if (v->ports[i] == port)
            return true;
    return port == 0 || port == -1;
}

static const char *wrong_number(const struct leaks_view *v, const struct leak *l)
{
    if (l->field->role == ROLE_BROKER && l->value != v->node && l->value != -1)
        return "a node that is not the virtual one";
    if (l->field->role == ROLE_PORT && !port_ok(v, l->value))
        return "a port that is not the advertised one";
    return NULL;
}

/* Of a text that is neither null nor empty. */
static const char *wrong_text(const struct leaks_view *v, const struct leak *l)
{
    switch ((int)l->field->role) {
    case ROLE_HOST:
        return host_ok(v, l) ? NULL : "a host that is not the advertised one";
    case ROLE_RACK:
        return "a rack";
    case ROLE_CLUSTER:
        return !v->cluster || text_is(l, v->cluster) ? NULL : "a cluster id that is not ours";
    case ROLE_TEXT:
        return standard_text(l) || (v->text && v->text(v->arg, l->text, l->len))
                   ? NULL
                   : "a broker's own words";
    case ROLE_TOPIC:
        return !v->topic || v->topic(v->arg, l->text, l->len) ? NULL : "a foreign topic";
    case ROLE_GROUP:
        return !v->group || v->group(v->arg, l->text, l->len) ? NULL : "a foreign group";
    case ROLE_REGEX:
        return "a member's pattern, which may name anything";
    case ROLE_TXN:
        return !v->group || v->group(v->arg, l->text, l->len) ? NULL : "a foreign transactional id";
    default:
        return NULL;
    }
}

int leaks_find(const struct message *msg, int version, const uint8_t *body, size_t n,
               const struct leaks_view *view, leaks_fn *fn, void *arg)
{
    struct walk w;

    walk_start(&w, msg, version, n);
    walk_feed(&w, body, n);
    for (;;) {
        enum walk_event event = walk_next(&w);
        struct leak l = {.field = w.field, .offset = w.offset, .value = w.value};

        if (event == WALK_DONE)
            return OK;
        if (event == WALK_BAD || event == WALK_MORE)
            return ERR_MALFORMED;
        if (event == WALK_SCALAR) {
            l.why = wrong_number(view, &l);
        } else if (event == WALK_BLOB && !w.null && w.blob_len > 0) {
            l.offset = w.blob_off;
            l.text = body + w.blob_off;
            l.len = (size_t)w.blob_len;
            l.why = wrong_text(view, &l);
        } else if (event == WALK_UNKNOWN_TAG) {
            l.field = NULL;
            l.offset = w.blob_off;
            l.text = body + w.blob_off;
            l.len = (size_t)w.blob_len;
            l.why = "a tag that no definition knows";
        }
        if (l.why)
            fn(arg, &l);
    }
}
