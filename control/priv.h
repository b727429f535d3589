/* Inside control: the listener, one request under way. Control thread. */
#ifndef CONTROL_PRIV_H
#define CONTROL_PRIV_H

#include <event2/http.h>
#include <openssl/ssl.h>

#include "audit/audit.h"
#include "control/control.h"

#define CONTROL_CLASSES 6 /* status codes by hundreds */

struct evconnlistener;

struct control {
    struct loop *loop;
    const struct config *config; /* a reference */
    struct control_gate gate;
    struct evhttp *http;             /* NULL: off */
    struct evconnlistener *listener; /* of http */
    SSL_CTX *tls;                    /* NULL: plain */
    unsigned tls_connections;
    uint16_t port;
    struct pending *pending;
    uint64_t answers[CONTROL_CLASSES], refused;
};

/* A change or question under way. The client may go away, and so may control: whoever called with
 * it calls pending_end once. */
struct pending {
    struct control *control; /* NULL: gone */
    struct evhttp_request *req;
    struct pending *next, **prev;
    struct audit_event event; /* told when it is done; kind AUDIT_LOST: none */
    struct grant *grant;      /* holds the event's texts */
    struct revocation *revocation;
    char peer[64];
};

struct pending *pending_new(struct control *c, struct evhttp_request *req) SL_MUST;
/* The control, or NULL when it is gone (then there is nobody to answer). */
void pending_free(struct pending *p);

/* Answers; body is taken. */
void reply_json(struct control *c, struct evhttp_request *req, int code, json_t *body);
void answer_error(struct control *c, struct evhttp_request *req, int code, const char *error,
                  const char *message);
/* "192.0.2.1:51234" of the other side. */
const char *peer_of(struct evhttp_request *req, char out[64]);

/* Is this one of the tokens? In a time that tells nothing about them. */
bool token_known(const struct strings *tokens, const char *text, size_t n);

/* control/routes.c */
void route_request(struct control *c, struct evhttp_request *req);

#endif
