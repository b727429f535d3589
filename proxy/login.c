/* SASL/OAUTHBEARER in a session: the prologue and re-authentication (RFC 7628, KIP-255, KIP-368).
 *
 *   SaslHandshake(OAUTHBEARER) -> SaslAuthenticate(token) -> error 0 and a lifetime
 *                                                         \> error 0, {"status":"invalid_token"};
 *                                                            SaslAuthenticate(^A) -> error 58, end
 *
 * 58 is for final verdicts only: clients take it as such. Where the gate cannot tell (keys not
 * there, not ready), the connection is closed without an answer, and the client tries again. */
#include <string.h>

#include "auth/introspect.h"
#include "auth/jwt.h"
#include "auth/sasl.h"
#include "base/log.h"
#include "proxy/exchange.h"
#include "proxy/worker.h"

#define INVALID_TOKEN "{\"status\":\"invalid_token\"}"
/* A fetch because of an unknown key id is asked for this often; the fetcher has its own bound. */
#define UNKNOWN_KID_US     (1 * UINT64_C(1000000))
#define LIFETIME_MARGIN_MS 5000 /* and a tenth at most: see lifetime_told_ms() */

static void login_audit(struct session *s, enum audit_kind kind, const struct identity *id,
                        const char *reason, int64_t lifetime_s)
{
    struct audit_event e = {.kind = kind};

    session_audit_login(s, id, kind == AUDIT_AUTH_FAIL, &e);
    e.reason = reason;
    e.lifetime_s = lifetime_s;
    audit_put(s->gate->ring, &e);
}

/* Sends the answer that is in ex->reply, then ends the connection. */
static void answer_and_end(struct exchange *ex, const char *cause)
{
    struct session *s = ex->s;

    exchange_finish(ex);
    session_drain(s, cause);
}

static int make_error(struct exchange *ex, int error, const char *text)
{
    int rc = reply_new(&ex->reply, &ex->arena, &ex->request);

    if (rc == OK)
        rc = node_set_num(&ex->reply, ex->reply.root, F_ERROR_CODE, error);
    if (rc == OK)
        rc = node_set_text(&ex->reply, ex->reply.root, F_ERROR_MESSAGE, text);
    return rc;
}

static void answer_error(struct exchange *ex, int error, const char *text, const char *cause)
{
    if (make_error(ex, error, text) != OK)
        session_close(ex->s, "out of memory", false);
    else
        answer_and_end(ex, cause);
}

static void refuse_retriably(struct exchange *ex, const struct identity *id, const char *reason)
{
    struct session *s = ex->s;

    gate_count(s->gate, logins_refused, 1);
    login_audit(s, AUDIT_AUTH_FAIL, id, reason, 0);
    session_close(s, reason, false);
}

/* A final no, in RFC 7628's two steps: the client may send nothing but its ^A from here. In a
 * running session what is under way may still finish meanwhile: the old token is good. */
static void refuse(struct exchange *ex, const struct identity *id, const char *reason)
{
    struct session *s = ex->s;
    int rc;

    gate_count(s->gate, logins_refused, 1);
    login_audit(s, AUDIT_AUTH_FAIL, id, reason, 0);
    rc = reply_new(&ex->reply, &ex->arena, &ex->request);
    if (rc == OK)
        rc = node_set_str(&ex->reply, ex->reply.root, F_AUTH_BYTES, (const uint8_t *)INVALID_TOKEN,
                          sizeof(INVALID_TOKEN) - 1);
    if (rc != OK) {
        session_close(s, "out of memory", false);
        return;
    }
    s->state = SESSION_REFUSED;
    s->close_cause = reason;
    if (loop_timer_set(s->deadline, (uint64_t)s->gate->config->limits.auth_timeout_ms * 1000) != OK)
        session_close(s, "out of memory", false);
    exchange_finish(ex);
}

void login_handshake(struct session *s, struct exchange *ex)
{
    const struct node *mechanism = node_get(ex->request.root, F_MECHANISM);
    struct node *list;
    int rc = reply_new(&ex->reply, &ex->arena, &ex->request);

    if (s->state == SESSION_READY &&
        loop_now_us(s->gate->loop) - s->authenticated_us <
            (uint64_t)s->gate->config->limits.reauth_min_interval_ms * 1000) {
        session_protocol_error(s, &ex->head, 0, "re-authentication too soon");
        return;
    }
    if (rc == OK) {
        list = node_array(&ex->reply, ex->reply.root, F_MECHANISMS);
        rc = list ? array_add_str(&ex->reply, list, (const uint8_t *)"OAUTHBEARER", 11) : ERR_NOMEM;
    }
    if (rc != OK) {
        session_close(s, "out of memory", false);
        return;
    }
    /* Version 0 would be followed by raw tokens without frames; the gate does not offer that. */
    if (ex->head.version == 0) {
        session_protocol_error(s, &ex->head, 0, "SaslHandshake version 0");
        return;
    }
    if (!mechanism || !node_str_is(mechanism, "OAUTHBEARER")) {
        struct identity none = {0};
        rc = node_set_num(&ex->reply, ex->reply.root, F_ERROR_CODE,
                          KAFKA_UNSUPPORTED_SASL_MECHANISM);
        if (rc != OK) {
            session_close(s, "out of memory", false);
            return;
        }
        gate_count(s->gate, logins_refused, 1);
        login_audit(s, AUDIT_AUTH_FAIL, &none, "unsupported SASL mechanism", 0);
        answer_and_end(ex, "unsupported SASL mechanism");
        return;
    }
    s->state = s->state == SESSION_READY ? SESSION_REAUTH : SESSION_HANDSHAKEN;
    exchange_finish(ex);
}

/* Lets go of the first `count` topics of the set. */
static void unwatch(struct session *s, const struct grant_set *set, size_t count)
{
    for (unsigned i = 0; i < set->count; i++)
        for (size_t t = 0; t < set->at[i]->ntopics && count > 0; t++, count--)
            cluster_unwatch(s->gate->cluster, set->at[i]->topics[t]);
}

/* Watches the topics of the new grants before the old ones are let go. */
static int watch(struct session *s, const struct grant_set *set)
{
    size_t count = 0;

    for (unsigned i = 0; i < set->count; i++) {
        for (size_t t = 0; t < set->at[i]->ntopics; t++, count++) {
            int rc = cluster_watch(s->gate->cluster, set->at[i]->topics[t]);
            if (rc == OK)
                continue;
            unwatch(s, set, count);
            return rc;
        }
    }
    return OK;
}

/* How long the session may last: until the token, its grants or session_max_s end. */
static int64_t lifetime(const struct session *s, const struct grant_set *set,
                        const struct identity *id, int64_t now)
{
    int64_t life = grant_set_expires(set, id) - now;
    unsigned max = s->gate->config->limits.session_max_s;

    return max > 0 && life > (int64_t)max ? (int64_t)max : life;
}

/* What a client is told of it. KIP-368's clients come back after 85 to 95 % of what they hear, and
 * a broker still takes a re-authentication that comes a moment too late. Here the end is the end,
 * so they hear of one a little earlier. */
static int64_t lifetime_told_ms(int64_t life)
{
    int64_t margin = life * 1000 / 10;

    return life * 1000 - (margin < LIFETIME_MARGIN_MS ? margin : LIFETIME_MARGIN_MS);
}

/* confirmed: what introspection said, taken over when the login is accepted; NULL where the issuer
 * is not asked. */
static void accept_login(struct exchange *ex, struct identity *id, struct grant_set *set,
                         struct introspect_ticket **confirmed)
{
    struct session *s = ex->s;
    struct gate *g = s->gate;
    bool again = s->state == SESSION_REAUTH;
    int64_t now = loop_wall_s(g->loop), life = lifetime(s, set, id, now);
    int rc = reply_new(&ex->reply, &ex->arena, &ex->request);

    if (life <= 0) {
        refuse(ex, id, login_verdict_name(LOGIN_EXPIRED));
        return;
    }
    if (rc == OK)
        rc =
            node_set_num(&ex->reply, ex->reply.root, F_SESSION_LIFETIME_MS, lifetime_told_ms(life));
    if (rc == OK)
        rc = watch(s, set);
    if (rc != OK) {
        refuse_retriably(ex, id, "out of memory or too many watched topics");
        return;
    }
    if (again)
        principals_leave(g->principals, &s->id);
    s->entered =
        principals_enter(g->principals, id, g->config->limits.connections_per_principal) == OK;
    gate_grants_used(g, s);
    session_unwatch(s);
    s->topics_known = false;
    grant_set_clear(&s->grants);
    s->grants = *set;
    *set = (struct grant_set){0};
    identity_clear(&s->id);
    s->id = *id;
    *id = (struct identity){0};
    s->watching = true;
    if (!s->entered) {
        refuse_retriably(ex, &s->id, "too many connections of this principal");
        return;
    }
    introspect_release(s->confirmed);
    s->confirmed = *confirmed;
    *confirmed = NULL;
    fetch_clear(s);
    s->state = SESSION_READY;
    s->authenticated_us = loop_now_us(g->loop);
    s->expires_s = now + life;
    if (loop_timer_set(s->expiry, (uint64_t)life * 1000000) != OK ||
        loop_timer_set(s->deadline, (uint64_t)g->config->limits.idle_timeout_ms * 1000) != OK) {
        session_close(s, "out of memory", false);
        return;
    }
    if (again)
        gate_count(g, reauths, 1);
    else
        gate_count(g, logins, 1);
    login_audit(s, again ? AUDIT_REAUTH : AUDIT_AUTH_OK, &s->id, NULL, life);
    exchange_finish(ex);
}

/* A key id that we lack may be a new one. One issuer's unknown keys keep no other's from being
 * fetched. */
static void ask_for_key(struct gate *g, const char *issuer)
{
    const struct config *c = g->keys->config;
    uint64_t now = loop_now_us(g->loop);

    for (size_t i = 0; i < c->nissuers && i < CONFIG_ISSUERS_MAX; i++) {
        if (strcmp(c->issuers[i].issuer, issuer) != 0)
            continue;
        if (g->kid_asked_us[i] && now - g->kid_asked_us[i] < UNKNOWN_KID_US)
            return;
        g->kid_asked_us[i] = now;
        g->unknown_kid(g->arg, issuer);
        return;
    }
}

/* Asks the authorization server; the answer takes the same way through the checks again. */
static void introspect(struct exchange *ex, const struct sasl_oauth *m, const struct identity *id);

/* Every check from the start, also after the authorization server's answer: time has passed. */
static void check_token(struct exchange *ex, const struct sasl_oauth *m, struct identity *id,
                        struct introspect_ticket **confirmed)
{
    struct session *s = ex->s;
    struct gate *g = s->gate;
    struct grant_set set = {0};
    enum login_verdict login;
    enum jwt_verdict v = jwt_verify(m->token, m->token_len, g->keys, loop_wall_s(g->loop),
                                    s->tls_thumbprint[0] ? s->tls_thumbprint : NULL, id);

    if (v == JWT_KEY)
        ask_for_key(g, id->issuer);
    if (v != JWT_OK) {
        if (jwt_verdict_retriable(v))
            refuse_retriably(ex, id, jwt_verdict_name(v));
        else
            refuse(ex, id, jwt_verdict_name(v));
        return;
    }
    if (!sasl_oauth_authorizes(m, id->subject)) {
        refuse(ex, id, "authzid is not the token's subject");
        return;
    }
    login = grant_table_login(g->grants, id, loop_wall_s(g->loop), &set);
    if (login == LOGIN_RESOURCES) {
        refuse_retriably(ex, id, login_verdict_name(login));
    } else if (login != LOGIN_OK) {
        refuse(ex, id, login_verdict_name(login));
    } else if (s->state == SESSION_REAUTH && !grant_set_same_rights(&s->grants, &set)) {
        gate_count(g, logins_refused, 1);
        login_audit(s, AUDIT_AUTH_FAIL, id, "other rights at re-authentication", 0);
        answer_error(
            ex, KAFKA_SASL_AUTHENTICATION_FAILED,
            "Re-authentication must keep participant, topics, group prefix and operations.",
            "other rights at re-authentication");
    } else if (!*confirmed && introspect_wanted(g->config, id->issuer)) {
        introspect(ex, m, id);
    } else if (*confirmed && (*confirmed)->verdict == INTROSPECT_INACTIVE) {
        refuse(ex, id, "introspection: not active");
    } else if (*confirmed && (*confirmed)->verdict == INTROSPECT_UNKNOWN) {
        refuse_retriably(ex, id, "introspection is not available");
    } else {
        accept_login(ex, id, &set, confirmed);
    }
    grant_set_clear(&set);
}

/* From the exchange's own bytes, which are there until it is answered. */
static void check_message(struct exchange *ex, struct introspect_ticket **confirmed)
{
    const struct node *bytes = node_get(ex->request.root, F_AUTH_BYTES);
    struct identity id = {0};
    struct sasl_oauth m;
    const char *why = "malformed OAUTHBEARER message";
    const char *lack;

    if (!gate_ready(ex->s->gate, &lack)) {
        refuse_retriably(ex, &id, lack);
        return;
    }
    if (!audit_ok(ex->s->gate->audit)) {
        refuse_retriably(ex, &id, "the audit trail cannot be written");
        return;
    }
    if (!bytes || sasl_oauth_parse(bytes->u.str.p, bytes->u.str.len, &m, &why) != OK) {
        gate_count(ex->s->gate, logins_refused, 1);
        login_audit(ex->s, AUDIT_AUTH_FAIL, &id, why, 0);
        answer_error(ex, KAFKA_SASL_AUTHENTICATION_FAILED, "Authentication failed.", why);
        return;
    }
    check_token(ex, &m, &id, confirmed);
    identity_clear(&id);
}

/* --- introspection: the exchange waits, the session reads nothing more, its deadline runs */

static void on_introspected(void *receiver, struct mail *m)
{
    struct introspect_ticket *t = (struct introspect_ticket *)(void *)m;
    struct exchange *ex = t->owner;
    struct session *s;

    (void)receiver;
    if (!ex) { /* its session has ended, and its gate may have, too */
        introspect_release(t);
        return;
    }
    s = ex->s;
    s->asking = NULL;
    if (s->state == SESSION_HANDSHAKEN || s->state == SESSION_REAUTH) {
        check_message(ex, &t);
    } else { /* it expired meanwhile; what was sent before may still be answered */
        ex->state = EXCHANGE_SILENT;
        session_flush(s);
    }
    introspect_release(t);
}

static void introspect(struct exchange *ex, const struct sasl_oauth *m, const struct identity *id)
{
    struct gate *g = ex->s->gate;
    struct introspect_ticket *t = NULL;

    if (g->introspector)
        t = introspect_ticket_new(g->introspector, id, m->token, m->token_len, ex);
    if (!t) {
        refuse_retriably(ex, id, "introspection: no room");
        return;
    }
    ex->s->asking = t;
    introspect_ask(t, worker_mailbox(g->worker), on_introspected);
}

void login_forget(struct session *s)
{
    if (s->asking)
        s->asking->owner = NULL; /* it comes back, and is let go then */
    s->asking = NULL;
    introspect_release(s->confirmed);
    s->confirmed = NULL;
}

void login_authenticate(struct session *s, struct exchange *ex)
{
    struct introspect_ticket *none = NULL;

    if (s->state == SESSION_REFUSED) {
        answer_error(ex, KAFKA_SASL_AUTHENTICATION_FAILED, "Authentication failed.",
                     s->close_cause);
        return;
    }
    if (s->state != SESSION_HANDSHAKEN && s->state != SESSION_REAUTH) {
        /* In a running session, which goes on: Kafka's words. */
        if (make_error(ex, KAFKA_ILLEGAL_SASL_STATE,
                       "SaslAuthenticate request received after successful authentication") != OK)
            session_close(s, "out of memory", false);
        else
            exchange_finish(ex);
        return;
    }
    check_message(ex, &none);
}
