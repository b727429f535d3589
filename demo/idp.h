/* The development authorization server (demo-idp): OIDC discovery, JWKS and client-credentials
 * tokens for the demonstration, and for end-to-end tests an /admin surface that makes bad tokens,
 * rotates keys and switches outages on. Never for production: /admin has no login, which is why the
 * server binds loopback addresses only unless it is told otherwise.
 *
 * One struct idp, owned by main, one thread, one evhttp. Everything is bounded: keys, clients, body
 * bytes. */
#ifndef DEMO_IDP_H
#define DEMO_IDP_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <event2/event.h>
#include <event2/http.h>
#include <jansson.h>

#include "base/err.h"
#include "demo/jose.h"

#define IDP_KEYS_MAX       64
#define IDP_CLIENTS_MAX    1024
#define IDP_TOKENS_MAX     4096 /* that are remembered; the oldest go */
#define IDP_BODY_MAX_BYTES (256L * 1024)
#define IDP_LIFETIME_MAX_S (24L * 3600)

/* What the outside can ask of us; each is counted and can be broken by itself. */
enum idp_endpoint { IDP_DISCOVERY, IDP_JWKS, IDP_TOKEN, IDP_INTROSPECT, IDP_REVOKE, IDP_ENDPOINTS };

/* How an endpoint fails while an outage is on. */
enum idp_outage {
    IDP_UP,
    IDP_ERROR,    /* 503 */
    IDP_HANG,     /* no answer for a minute */
    IDP_DROP,     /* the connection is cut without an answer */
    IDP_GARBAGE,  /* 200, and not JSON */
    IDP_HUGE,     /* 200, and more than any client should read */
    IDP_REDIRECT, /* 302 to another path of this server */
};

struct idp_key {
    struct jose_key *key;
    time_t retire_at; /* leaves the JWKS then; 0: stays */
    bool published;   /* stands in the JWKS */
    bool current;     /* signs what the token endpoint issues under its algorithm */
};

struct idp_client {
    char *id;
    char *secret;
    char *typ; /* NULL: JWT */
    json_t *claims;
    enum jose_alg alg;
    long lifetime_s;
};

/* One that was issued: a digest of its text. */
struct idp_token {
    unsigned char digest[32];
    time_t expires;
    bool revoked;
};

struct idp {
    struct event_base *base;
    struct evhttp *http;
    char *issuer;
    enum jose_alg alg;
    long lifetime_s;
    struct idp_key keys[IDP_KEYS_MAX];
    size_t key_count;
    json_t *jwks_override; /* served in place of our own set when not NULL */
    struct idp_client clients[IDP_CLIENTS_MAX];
    size_t client_count;
    struct idp_token tokens[IDP_TOKENS_MAX];
    size_t token_count; /* ever; the place is modulo IDP_TOKENS_MAX */
    enum idp_outage outage[IDP_ENDPOINTS];
    uint64_t requests[IDP_ENDPOINTS];
    uint64_t issued;
};

/* --- state (idp_state.c) */

/* The key that signs under alg, made on first use. NULL when there is no room or no such key. */
struct jose_key *idp_key_current(struct idp *idp, enum jose_alg alg);
struct jose_key *idp_key_find(struct idp *idp, const char *kid);
/* A new key under alg. kid NULL: made up. ERR_LIMIT when full, ERR_BUSY when the kid is taken. */
SL_MUST int idp_key_add(struct idp *idp, enum jose_alg alg, const char *kid, bool published,
                        bool current, struct jose_key **out);
/* The current key of alg stays in the JWKS for keep_s more and a new one signs. */
SL_MUST int idp_key_rotate(struct idp *idp, enum jose_alg alg, long keep_s, struct jose_key **out);
SL_MUST int idp_key_remove(struct idp *idp, const char *kid);
/* {"keys":[...]} as it stands now. A new reference, NULL when out of memory. */
json_t *idp_jwks(struct idp *idp);

/* One entry of the clients' file:
 * {"client_id","client_secret","claims":{},"alg"?,"typ"?,"lifetime_s"?}; replaces one of the same
 * id. On error *why names the member. */
SL_MUST int idp_client_put(struct idp *idp, const json_t *entry, const char **why);
SL_MUST int idp_client_remove(struct idp *idp, const char *id);
const struct idp_client *idp_client_find(const struct idp *idp, const char *id);
/* iss, sub, aud, client_id, iat, exp, jti, then claims on top; a null claim takes one away. */
json_t *idp_claims(const struct idp *idp, const char *client_id, json_t *claims, long lifetime_s);
/* For introspection: this was issued, and is active until it expires or is revoked. */
void idp_token_remember(struct idp *idp, const char *token, long lifetime_s);
/* NULL: never issued, or too long ago. */
struct idp_token *idp_token_find(struct idp *idp, const char *token);
void idp_release(struct idp *idp);

/* --- answers (idp.c) */

/* Takes over body's reference; NULL answers 500. */
void idp_reply(struct evhttp_request *req, int status, json_t *body);
void idp_reply_error(struct evhttp_request *req, int status, const char *error,
                     const char *description);
/* The request's body as a JSON object, or NULL after having answered 400. An empty one is {}. */
json_t *idp_body_object(struct evhttp_request *req);

/* --- the test surface (idp_admin.c); path begins with /admin/ */
void idp_admin(struct idp *idp, struct evhttp_request *req, const char *path);

#endif
