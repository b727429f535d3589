/* The control listener: its server, and whose tokens it takes. What is asked stands in routes.c. */
#include "control/control.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "control/routes.h"

static struct server_settings settings(struct control *c, const struct config *config)
{
    return (struct server_settings){
        .name = "control",
        .listen = config->control.listen,
        .certificate = config->control.certificate,
        .key = config->control.key,
        .body_max = CONTROL_BODY_MAX,
        .tables = {{control_routes, control_nroutes, c}},
        .guard = control_guard,
        .arg = c,
    };
}

struct control *control_new(struct loop *l, const struct config *config,
                            const struct control_gate *g, char *err, size_t err_bytes)
{
    struct control *c = sl_calloc(1, sizeof(*c));
    if (!c) {
        snprintf(err, err_bytes, "control: out of memory");
        return NULL;
    }
    c->loop = l;
    c->gate = *g;
    c->changes = (struct changes){.store = g->store, .audit = g->audit};
    c->config = config_ref(config);
    if (!config->control.listen.port)
        return c;
    struct server_settings s = settings(c, config);
    c->server = server_new(l, &s, err, err_bytes);
    if (c->server)
        return c;
    control_free(c);
    return NULL;
}

int control_config(struct control *c, const struct config *config)
{
    char err[512];
    struct server_settings s = settings(c, config);
    if (c->server && server_config(c->server, &s, err, sizeof(err)) != OK) {
        log_error("control", "%s", err);
        return ERR_CONFIG;
    }
    const struct config *old = c->config;
    c->config = config_ref(config);
    config_unref(old);
    return OK;
}

void control_free(struct control *c)
{
    if (!c)
        return;
    server_free(c->server);
    config_unref(c->config);
    sl_free(c);
}

uint16_t control_port(const struct control *c)
{
    return c->config->control.listen.port;
}
