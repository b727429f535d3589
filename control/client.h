/* Inside `sluice sessions|grants|revoke`: what the command line says, and what is printed. Pure but
 * for files named by options; one thread. */
#ifndef CONTROL_CLIENT_H
#define CONTROL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

#define CLIENT_TOKEN_BYTES 1024
#define CLIENT_ERROR_BYTES 512

/* Exit codes: 2 is a command line that makes no sense. */
enum { CLIENT_OK = 0, CLIENT_FAILED = 1, CLIENT_USAGE = 2 };

enum client_command {
    CLIENT_SESSIONS,
    CLIENT_GRANTS,
    CLIENT_GRANT_PUT,
    CLIENT_GRANT_DELETE,
    CLIENT_REVOCATIONS,
    CLIENT_REVOKE,       /* body: JSON */
    CLIENT_REVOKE_TOKEN, /* body: form, with the token */
};

struct client_options {
    enum client_command command;
    const char *config;     /* -c */
    const char *url;        /* --control */
    const char *token_file; /* --token-file: of the control listener */
    const char *ca;         /* --ca */
    const char *id;         /* of a grant */
    const char *revoked;    /* file with the token to revoke, "-": stdin */
    const char *grant_file; /* file with the grant's JSON, "-": stdin */
    json_t *body;           /* of CLIENT_REVOKE; owned */
    bool json;
    bool help;
};

/* ERR_MALFORMED with err. */
int client_parse(int argc, char **argv, struct client_options *o, char *err,
                 size_t err_bytes) SL_MUST;
void client_usage(FILE *f, const char *command);
/* A table for people. */
void client_print(FILE *f, enum client_command command, const json_t *answer);

#endif
