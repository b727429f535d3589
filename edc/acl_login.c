/* Logging in: SaslHandshake names the mechanism, SaslAuthenticate carries its messages (KIP-152).
 * Every no is the same for the client, comes after ACL_REFUSAL_MS, and ends the connection; the
 * audit trail tells them apart. */
#include <stdio.h>
#include <string.h>

#include "auth/sasl.h"
#include "base/log.h"
#include "codec/reply.h"
#include "edc/acl_priv.h"

static const struct {
    const char *name;
    enum acl_mechanism mechanism;
} mechanisms[] = {
    {"PLAIN", ACL_PLAIN},
    {"SCRAM-SHA-256", ACL_SCRAM_256},
    {"SCRAM-SHA-512", ACL_SCRAM_512},
};
#define MECHANISMS (sizeof(mechanisms) / sizeof(mechanisms[0]))

static void tell(struct acl_conn *c, const char *reason)
{
    struct audit_event e = {.kind = AUDIT_AUTH_FAIL, .reason = reason};

    acl_conn_audit(c, &e);
    acl_audit(&c->acl->changes, &e);
    log_warn("acl", "%s: a login was refused: %s", c->peer, reason);
}

static int add_mechanisms(struct msg *m)
{
    struct node *list = node_array(m, m->root, F_MECHANISMS);
    int rc = list ? OK : ERR_NOMEM;

    for (size_t i = 0; i < MECHANISMS && rc == OK; i++)
        rc =
            array_add_str(m, list, (const uint8_t *)mechanisms[i].name, strlen(mechanisms[i].name));
    return rc;
}

void acl_handshake(struct acl_ask *ask)
{
    const struct node *wanted = node_get(ask->request.root, F_MECHANISM);
    struct acl_conn *c = ask->conn;
    int rc;

    /* What would follow version 0 are raw messages without frames, which are not offered. */
    if (ask->head.version == 0) {
        acl_conn_fault(c, &ask->head, 0, "SaslHandshake version 0");
        return;
    }
    rc = reply_new(&ask->reply, &ask->arena, &ask->request);
    if (rc == OK)
        rc = add_mechanisms(&ask->reply);
    for (size_t i = 0; i < MECHANISMS; i++)
        if (wanted && node_str_is(wanted, mechanisms[i].name))
            c->mechanism = mechanisms[i].mechanism;
    if (c->mechanism != ACL_NO_SASL) {
        c->state = ACL_HANDSHAKEN;
        acl_conn_answer(ask, rc);
        return;
    }
    tell(c, "unsupported SASL mechanism");
    if (rc == OK)
        rc = node_set_num(&ask->reply, ask->reply.root, F_ERROR_CODE,
                          KAFKA_UNSUPPORTED_SASL_MECHANISM);
    acl_conn_refuse(ask, rc, "unsupported SASL mechanism");
}

static void refuse(struct acl_ask *ask, const char *why)
{
    int rc = reply_new(&ask->reply, &ask->arena, &ask->request);

    tell(ask->conn, why);
    scram_server_clear(&ask->conn->scram);
    if (rc == OK)
        rc = node_set_num(&ask->reply, ask->reply.root, F_ERROR_CODE,
                          KAFKA_SASL_AUTHENTICATION_FAILED);
    if (rc == OK)
        rc = node_set_text(&ask->reply, ask->reply.root, F_ERROR_MESSAGE,
                           "Authentication failed: Invalid username or password");
    acl_conn_refuse(ask, rc, why);
}

/* out: what the client hears. done: it is let in. */
static void go_on(struct acl_ask *ask, const char *out, size_t n, bool done)
{
    struct acl_conn *c = ask->conn;
    int rc = reply_new(&ask->reply, &ask->arena, &ask->request);

    if (rc == OK)
        rc = node_set_str(&ask->reply, ask->reply.root, F_AUTH_BYTES, (const uint8_t *)out, n);
    if (done && rc == OK) {
        c->user_number = scram_users_number(c->acl->users, c->who);
        scram_server_clear(&c->scram);
        acl_conn_ready(c);
    }
    acl_conn_answer(ask, rc);
}

static void scram_step(struct acl_ask *ask, const void *p, size_t n)
{
    struct acl_conn *c = ask->conn;
    const struct scram_users *users = c->acl->users;
    enum scram_hash hash = c->mechanism == ACL_SCRAM_512 ? SCRAM_SHA_512 : SCRAM_SHA_256;
    char out[SCRAM_MESSAGE_MAX];
    size_t out_len = 0;
    const char *why = NULL;
    bool last = c->scram.state == SCRAM_SERVER_CHALLENGED;
    int rc = last ? scram_server_final(&c->scram, users, p, n, out, &out_len, &why)
                  : scram_server_first(&c->scram, users, hash, p, n, NULL, out, &out_len, &why);

    snprintf(c->who, sizeof(c->who), "%s", c->scram.user);
    if (rc != OK)
        refuse(ask, why);
    else
        go_on(ask, out, out_len, last);
}

static void plain_step(struct acl_ask *ask, const void *p, size_t n)
{
    struct acl_conn *c = ask->conn;
    struct sasl_plain m;
    const char *why;

    if (sasl_plain_parse(p, n, &m, &why) != OK) {
        refuse(ask, why);
        return;
    }
    memcpy(c->who, m.user, sizeof(m.user));
    if (scram_users_check(c->acl->users, m.user, m.password, m.password_len))
        go_on(ask, "", 0, true);
    else
        refuse(ask, "no such user, or not its password");
}

void acl_authenticate(struct acl_ask *ask)
{
    const struct node *bytes = node_get(ask->request.root, F_AUTH_BYTES);

    switch (ask->conn->mechanism) {
    case ACL_PLAIN:
        plain_step(ask, bytes->u.str.p, bytes->u.str.len);
        return;
    case ACL_SCRAM_256:
    case ACL_SCRAM_512:
        scram_step(ask, bytes->u.str.p, bytes->u.str.len);
        return;
    case ACL_NO_SASL:
        acl_conn_fault(ask->conn, &ask->head, 0, "no mechanism was chosen");
        return;
    }
}
