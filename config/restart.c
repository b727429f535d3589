/* Which options differ between two configurations in a way that a reload cannot bring about. */
#include <string.h>

#include "config/config.h"
#include "config/options.h"

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
    return a->port == b->port && same_text(a->host, b->host);
}

static const void *field(const struct option *o, const struct config *c)
{
    return (const char *)c + o->offset;
}

static bool same_brokers(const struct config *a, const struct config *b)
{
    if (a->upstream.nbrokers != b->upstream.nbrokers)
        return false;
    for (size_t i = 0; i < a->upstream.nbrokers; i++)
        if (!same_endpoint(&a->upstream.brokers[i], &b->upstream.brokers[i]))
            return false;
    return true;
}

static bool same_mapping(const struct config *a, const struct config *b)
{
    if (a->upstream.naddress_map != b->upstream.naddress_map)
        return false;
    for (size_t i = 0; i < a->upstream.naddress_map; i++)
        if (!same_endpoint(&a->upstream.address_map[i].from, &b->upstream.address_map[i].from) ||
            !same_endpoint(&a->upstream.address_map[i].to, &b->upstream.address_map[i].to))
            return false;
    return true;
}

static bool same(const struct option *o, const struct config *a, const struct config *b)
{
    const char *x, *y;
    switch (o->type) {
    case OPTION_TEXT:
    case OPTION_URL:
    case OPTION_PREFIX:
    case OPTION_CERTIFICATE:
    case OPTION_KEY:
    case OPTION_FILE:
    case OPTION_FOLDER:
    case OPTION_MADE:
    case OPTION_SECRET:
        memcpy(&x, field(o, a), sizeof(x));
        memcpy(&y, field(o, b), sizeof(y));
        return same_text(x, y);
    case OPTION_NUMBER:
    case OPTION_BOOL:
    case OPTION_CHOICE:
    case OPTION_CHOICES:
    case OPTION_TIME:
        return memcmp(field(o, a), field(o, b), o->bytes) == 0;
    case OPTION_ADDRESS:
        return same_endpoint(field(o, a), field(o, b));
    case OPTION_ADDRESSES:
        return same_brokers(a, b);
    case OPTION_MAPPING:
        return same_mapping(a, b);
    case OPTION_SECTION:
    case OPTION_LIST:
    case OPTION_TEXTS:
    case OPTION_TOPICS:
    case OPTION_SECRETS:
    case OPTION_KEYS:
        return true; /* sections hold nothing; the others are all reloaded */
    }
    return true;
}

const char *config_restart_option(const struct config *running, const struct config *loaded)
{
    for (size_t i = 0; i < options_count; i++)
        if (!options[i].reload && !strstr(options[i].path, "[]") &&
            !same(&options[i], running, loaded))
            return options[i].path;
    return NULL;
}
