/* A small HTTP server: a listener with a table of routes, on the control thread. evhttp carries it;
 * nobody else sees libevent's HTTP. Bounded: SERVER_CONNECTIONS_MAX connections with TLS, header
 * and body sizes, SERVER_TIMEOUT_S for an answer. A body that is too long is answered 413 before it
 * has come; control/linger.h says how that answer reaches whoever still sends.
 *
 * A request under way is a struct ask: given to its route, which answers it exactly once, at once
 * or later. The client may go away meanwhile, and the server too: the answer is then nobody's, and
 * the ask is freed all the same. Requests with a query are refused, but by routes that say
 * otherwise. */
#ifndef CONTROL_SERVER_H
#define CONTROL_SERVER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"

#define SERVER_HEADER_MAX      ((size_t)16 * 1024)
#define SERVER_CONNECTIONS_MAX 64
#define SERVER_TIMEOUT_S       10
#define SERVER_TABLES_MAX      8
#define SERVER_CLASSES         6 /* status codes by hundreds */

struct ask;
struct loop;
struct server;

enum method { METHOD_GET = 1, METHOD_PUT = 2, METHOD_POST = 4, METHOD_DELETE = 8 };

typedef void route_fn(void *arg, struct ask *a);

struct route {
    const char *path; /* one {id} in it is any non-empty text without a slash */
    enum method method;
    bool open; /* for everybody: no path secret, and the guard is told */
    route_fn *fn;
};

/* The routes of one part, with what they are called with. */
struct route_table {
    const struct route *routes; /* outlive the server */
    size_t count;
    void *arg;
};

struct server_settings {
    const char *name; /* "control": for log and errors, and the options' prefix */
    struct endpoint listen;
    const char *certificate, *key; /* PEM files; NULL: plain */
    const char *client_ca;         /* NULL: no client certificates; else one is demanded */
    const char *secret;            /* NULL: none; else paths begin with "/<secret>" */
    size_t body_max;
    struct route_table tables[SERVER_TABLES_MAX]; /* looked through in order; count 0 ends them */
    /* May this be asked? If not it has answered. Called for every request, found or not. */
    bool (*guard)(void *arg, struct ask *a, bool open);
    void *arg; /* of guard */
};

/* NULL with err. Texts of s are not kept, but for those that are said to outlive the server. */
struct server *server_new(struct loop *l, const struct server_settings *s, char *err,
                          size_t err_bytes) SL_MUST;
/* A reload: certificate, key, client CA, secret. On error the former ones stay, and err says why;
 * TLS itself comes and goes with a restart. */
int server_config(struct server *s, const struct server_settings *settings, char *err,
                  size_t err_bytes) SL_MUST;
/* Requests under way go on; nobody hears of them any more. */
void server_free(struct server *s);
uint16_t server_port(const struct server *s);
/* Answers given with a status of this hundred. */
uint64_t server_answers(const struct server *s, unsigned hundred);

/* --- what is asked; texts live until the answer */

/* The part of the path that {id} stands for, decoded; NULL where the route has none. */
const char *ask_id(const struct ask *a);
/* Without the path secret. */
const char *ask_path(const struct ask *a);
/* NULL when the request has none. */
const char *ask_header(const struct ask *a, const char *name);
/* Never NULL. */
const char *ask_body(struct ask *a, size_t *n);
/* It held secrets and has been read: its bytes are wiped before they go back to the heap. */
void ask_wipe_body(struct ask *a);
/* "192.0.2.1:51234" of the other side. */
const char *ask_peer(const struct ask *a);
/* The body has this media type; if not it has been answered (415). */
bool ask_content_is(struct ask *a, const char *type) SL_MUST;
/* Sent by a browser's page, or under a foreign host's name to a plain listener. */
bool ask_from_browser(const struct ask *a, bool local_names_only);

/* --- answers: each frees the ask */

/* body is taken; NULL gives 500. */
void ask_json(struct ask *a, int code, json_t *body);
/* {"error", "message"} */
void ask_error(struct ask *a, int code, const char *error, const char *message);
/* Any other type; text is copied. n 0 and type NULL: no body. */
void ask_text(struct ask *a, int code, const char *type, const char *text, size_t n);
/* A header of the answer; before it. */
void ask_add_header(struct ask *a, const char *name, const char *value);
/* Is there still somebody to answer? */
bool ask_live(const struct ask *a);

#endif
