#include "config/outgoing.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "config/values.h"

struct origin {
    bool https;
    char host[VALUE_HOST_BYTES]; /* without brackets */
    uint16_t port;
    bool usual; /* the scheme's port */
};

/* "host", "host:port", "[v6]", "[v6]:port" of n bytes; port 0: none is named. */
static bool authority_read(const char *text, size_t n, char host[VALUE_HOST_BYTES], uint16_t *port)
{
    char whole[VALUE_HOST_BYTES + 16];
    bool v6 = n > 0 && text[0] == '[';
    bool bare = v6 ? text[n - 1] == ']' : !memchr(text, ':', n);
    int len;

    /* value_address checks the host as well, so one without a port is given one. */
    if (n == 0 || n >= VALUE_HOST_BYTES + 8)
        return false;
    len = snprintf(whole, sizeof(whole), "%.*s%s", (int)n, text, bare ? ":1" : "");
    if (len < 0 || (size_t)len >= sizeof(whole) || strlen(whole) != (size_t)len ||
        !value_address(whole, host, port))
        return false;
    if (bare)
        *port = 0;
    return true;
}

static bool origin_read(const char *url, struct origin *o)
{
    const char *at;

    if (value_url_fault(url, true))
        return false;
    o->https = strncmp(url, "https://", 8) == 0;
    at = url + (o->https ? 8 : 7);
    if (!authority_read(at, strcspn(at, "/?"), o->host, &o->port))
        return false;
    if (o->port == 0)
        o->port = o->https ? 443 : 80;
    o->usual = o->port == (o->https ? 443 : 80);
    return true;
}

bool outgoing_allowed(const struct config *c, const char *url)
{
    char host[VALUE_HOST_BYTES];
    struct origin o;
    uint16_t port;
    size_t i;

    if (value_url_fault(url, c->development) || !origin_read(url, &o))
        return false;
    for (i = 0; i < c->outgoing.hosts.count; i++) {
        const char *entry = c->outgoing.hosts.at[i];

        if (authority_read(entry, strlen(entry), host, &port) && strcasecmp(host, o.host) == 0 &&
            (port ? port == o.port : o.usual))
            return true;
    }
    return false;
}

bool outgoing_same_origin(const char *a, const char *b)
{
    struct origin x, y;

    return origin_read(a, &x) && origin_read(b, &y) && x.https == y.https && x.port == y.port &&
           strcasecmp(x.host, y.host) == 0;
}

const char *outgoing_host_fault(const char *entry)
{
    char host[VALUE_HOST_BYTES];
    uint16_t port;

    if (strstr(entry, "//") || strchr(entry, '/'))
        return "is a URL or a path; it takes a host or host:port alone";
    if (strchr(entry, '*'))
        return "is a pattern; each host is named";
    return authority_read(entry, strlen(entry), host, &port) ? NULL : "is no host or host:port";
}
