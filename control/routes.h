/* Inside control: what its server asks of it. Control thread. */
#ifndef CONTROL_ROUTES_H
#define CONTROL_ROUTES_H

#include "audit/audit.h"
#include "control/change.h"
#include "control/control.h"
#include "control/server.h"

struct control {
    struct loop *loop;
    const struct config *config; /* a reference */
    struct control_gate gate;
    struct changes changes;
    struct server *server; /* NULL: off */
    uint64_t refused;
};

extern const struct route control_routes[];
extern const size_t control_nroutes;

bool control_guard(void *arg, struct ask *a, bool open);

#endif
