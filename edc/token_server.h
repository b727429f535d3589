/* sluice as an OAuth server, on the signaling listener, for everybody who knows a client secret of
 * tokens.clients (and the keys for everybody):
 *
 *   GET  /.well-known/jwks.json                the own issuer's public keys
 *   GET  /.well-known/openid-configuration     where they are found, if the issuer's name is a URL
 *   GET  /.well-known/oauth-authorization-server   the same (RFC 8414)
 *   POST /oauth2/token     client_credentials: a token with a subject of its own, naming no
 * transfer POST /oauth2/revoke    RFC 7009; what is an authorization server's is passed on to it,
 * behind the answer, as the very client that asked
 *
 * The token endpoint is for connectors that fetch their tokens from a tokenUrl and then create ACLs
 * for the token's subject (edc.md, H3): with one subject a call, consumers don't share one. At most
 * TOKEN_SERVER_RATE a second and client, TOKEN_SERVER_BURST at once. Control thread. */
#ifndef EDC_TOKEN_SERVER_H
#define EDC_TOKEN_SERVER_H

#include "control/change.h"
#include "control/server.h"
#include "edc/tokens.h"

#define TOKEN_SERVER_RATE  20
#define TOKEN_SERVER_BURST 100

struct token_server;

struct token_server_parts {
    struct loop *loop;
    const struct changes *changes; /* outlives it, as do the next two */
    struct issuer *issuer;
    struct tokens *tokens;
    void *arg;
    /* As in struct edc_parts. */
    struct keyring *(*keys)(void *arg);
    void (*unknown_kid)(void *arg, const char *issuer);
};

/* NULL: out of memory. */
struct token_server *token_server_new(const struct token_server_parts *p,
                                      const struct config *c) SL_MUST;
/* A reload. On error nothing has changed. */
int token_server_config(struct token_server *s, const struct config *c) SL_MUST;
void token_server_free(struct token_server *s);

/* Their arg is the struct token_server. */
extern const struct route token_server_routes[];
extern const size_t token_server_nroutes;

#endif
