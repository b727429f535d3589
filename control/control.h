/* The control listener: HTTP for operators, monitoring and whoever revokes. evhttp on its own
 * listener, on the control thread. Loopback by default; elsewhere TLS and bearer tokens are
 * demanded. Bodies up to CONTROL_BODY_MAX; the other bounds are its server's (control/server.h).
 *
 *   GET  /healthz                 alive                                   no token needed
 *   GET  /readyz                  200, or 503 with why not                no token needed
 *   GET  /metrics                 Prometheus text
 *   GET  /v1/sessions             {"sessions": [...]}
 *   GET  /v1/grants               {"grants": [...], "total": n}, each with its state and use
 *   GET  /v1/grants/{id}          one of them
 *   PUT  /v1/grants/{id}          puts or replaces it: {"closed": n}
 *   DELETE /v1/grants/{id}        revokes the transfer: {"closed": n}
 *   GET  /v1/revocations          {"revocations": [...], "total": n}
 *   POST /v1/revocations          {"closed": n}
 *   POST /oauth2/revoke           RFC 7009
 *
 * Errors are {"error", "message"}. A 2xx to a change leaves when every worker has closed what it
 * hits and the change is durable. With a token file every request but the two probes needs
 * `Authorization: Bearer`; /oauth2/revoke takes the token as the client's secret as well (HTTP
 * Basic or client_secret), since that is what RFC 7009 clients send. Browsers are kept out: a
 * request with an Origin is refused, and on a plain listener one for a foreign Host too.
 *
 * It knows the gate only through struct control_gate, which main fills, so it needs nothing of
 * proxy's insides. It writes the audit events of the changes that come through it. */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include <jansson.h>

#include "auth/store.h"
#include "config/config.h"

#define CONTROL_BODY_MAX ((size_t)64 * 1024)
#define CONTROL_LIST_MAX 10000 /* entries of a list; "total" tells how many there are */

struct audit_ring;
struct loop;
struct control;

struct control_gate {
    void *arg;
    /* NULL: ready; otherwise why not ("no broker answers", "no keys from https://..."). */
    const char *(*not_ready)(void *arg);
    /* Asks every worker for its sessions, then calls done in the control thread, once, with an
     * array that becomes the control's; NULL when it went wrong. On error done is not called. */
    int (*sessions)(void *arg, void (*done)(void *done_arg, json_t *array), void *done_arg);
    /* Likewise how these grants are used: usage[i] of ids[i], which are sorted and live until done.
     */
    int (*usage)(void *arg, const char *const *ids, size_t n,
                 void (*done)(void *done_arg, const struct grant_usage *usage), void *done_arg);
    /* Appends metrics in Prometheus text; workers' counters are read with relaxed atomics. */
    void (*metrics)(void *arg,
                    void (*line)(void *line_arg, const char *name, const char *labels,
                                 const char *type, const char *help, double value),
                    void *line_arg);
    struct store *store;
    /* The keys in force, for RFC 7009's token; a new reference. */
    struct keyring *(*keys)(void *arg);
    /* A token to revoke names a key of this issuer that isn't known (jwks_fetcher_unknown_kid); may
     * be NULL. */
    void (*unknown_kid)(void *arg, const char *issuer);
    struct audit_ring *audit; /* the control thread's; may be NULL */
};

/* NULL with err. control.listen.port 0 (off) gives a control that does nothing. */
struct control *control_new(struct loop *l, const struct config *c, const struct control_gate *g,
                            char *err, size_t err_bytes) SL_MUST;
/* A reload: tokens and certificate. On error the former ones stay. */
int control_config(struct control *c, const struct config *config) SL_MUST;
/* Changes under way go on; nobody hears of them any more. The store must outlive them. */
void control_free(struct control *c);
/* The port it listens at. */
uint16_t control_port(const struct control *c);

/* `sluice sessions|grants|revoke`: speak to the control listener of the configuration. argv[0] is
 * the command's name. Exit code. */
int control_client_main(int argc, char **argv);

#endif
