/* What no option can see alone: contradictions, missing halves, risks worth a warning. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/alloc.h"
#include "config/build.h"
#include "config/values.h"

#define PREFIX_WARNINGS_MAX 10
#define ACL_PASSWORD_MIN    12

static __attribute__((format(printf, 5, 0))) void say(struct build *b, bool warning,
                                                      const char *where, const char *option,
                                                      const char *fmt, va_list args)
{
    char text[REPORT_TEXT_MAX_BYTES / 2], path[CONFIG_PATH_BYTES];
    unsigned line = 0;
    vsnprintf(text, sizeof(text), fmt, args);
    snprintf(path, sizeof(path), "%s%s%s", where, *where && *option ? "." : "", option);
    if (b->yaml)
        yaml_find(b->yaml, path, &line);
    if (warning)
        report_warning(b->report, line, path, "%s", text);
    else
        report_error(b->report, line, path, "%s", text);
}

/* where: the list entry around the option ("issuers[1]"), or "". */
static __attribute__((format(printf, 4, 5))) void refuse(struct build *b, const char *where,
                                                         const char *option, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(b, false, where, option, fmt, args);
    va_end(args);
}

static __attribute__((format(printf, 4, 5))) void caution(struct build *b, const char *where,
                                                          const char *option, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(b, true, where, option, fmt, args);
    va_end(args);
}

/* Does the file say something about this option, right or wrong? */
static bool given(const struct build *b, const char *where, const char *option)
{
    char path[CONFIG_PATH_BYTES];
    unsigned line;
    snprintf(path, sizeof(path), "%s%s%s", where, *where ? "." : "", option);
    return b->yaml && yaml_find(b->yaml, path, &line) != NULL;
}

static bool same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
    return a->host && b->host && a->port == b->port && strcasecmp(a->host, b->host) == 0;
}

void config_say(struct build *b, bool warning, const char *where, const char *option,
                const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(b, warning, where, option, fmt, args);
    va_end(args);
}

bool config_given(const struct build *b, const char *where, const char *option)
{
    return given(b, where, option);
}

static void check_listeners(struct build *b, const struct config *c)
{
    if (c->control.listen.port && same_endpoint(&c->listen, &c->control.listen))
        refuse(b, "", "control.listen", "is the clients' own address (listen)");
    if (c->advertise.host &&
        (strcmp(c->advertise.host, "0.0.0.0") == 0 || strcmp(c->advertise.host, "::") == 0))
        refuse(b, "", "advertise",
               "no client can reach %s; it takes the name by which clients reach this gate",
               c->advertise.host);
    for (size_t i = 0; i < c->upstream.nbrokers; i++)
        if (same_endpoint(&c->advertise, &c->upstream.brokers[i]) ||
            same_endpoint(&c->listen, &c->upstream.brokers[i]))
            refuse(b, "", "upstream.brokers", "%s:%u is this gate itself, not a broker",
                   c->upstream.brokers[i].host, (unsigned)c->upstream.brokers[i].port);
    if (c->tls.client_certificate && !given(b, "", "tls.client_ca"))
        refuse(b, "", "tls.client_certificate", "needs `tls.client_ca` to check certificates");
    if (!c->tls.client_certificate && given(b, "", "tls.client_ca"))
        caution(b, "", "tls.client_ca", "does nothing while `tls.client_certificate` is none");
}

static void check_keys(struct build *b, struct issuer_config *i, const char *where)
{
    bool url = given(b, where, "jwks_url"), file = given(b, where, "jwks_file");
    bool asked = given(b, where, "discovery"), own = given(b, where, "signing_keys");
    if (own) {
        i->discovery = false;
        return;
    }
    if (!asked)
        i->discovery = !url && !file;
    if (url && file)
        refuse(b, where, "jwks_file", "contradicts `jwks_url`; the keys come from one place");
    else if (asked && i->discovery && (url || file))
        refuse(b, where, "discovery", "contradicts `%s`; the keys come from one place",
               url ? "jwks_url" : "jwks_file");
    else if (asked && !i->discovery && !url && !file)
        refuse(b, where, "discovery",
               "false leaves no keys; name `jwks_url` or `jwks_file`, or take discovery");
    const char *why = i->issuer ? value_url_fault(i->issuer, b->development) : NULL;
    if (i->discovery && why)
        refuse(b, where, "issuer", "discovery needs the issuer's URL, and this %s", why);
    if (i->max_age_s < i->refresh_s)
        refuse(b, where, "max_age_s",
               "is less than `refresh_s` (%u): keys would lapse between "
               "two fetches",
               i->refresh_s);
}

static void check_issuers(struct build *b, struct config *c)
{
    if (json_array_size(json_object_get(b->yaml->root, "issuers")) == 0 && given(b, "", "issuers"))
        refuse(b, "", "issuers",
               "is empty; sluice starts with at least one issuer, its audience "
               "and its keys");
    for (size_t i = 0; i < c->nissuers; i++) {
        char where[32];
        snprintf(where, sizeof(where), "issuers[%zu]", i);
        check_keys(b, &c->issuers[i], where);
        config_check_own_issuer(b, c, &c->issuers[i], where);
        if (c->issuers[i].events.audience.count > 0 && !c->signaling.listen.port)
            caution(b, where, "events", "reach nobody: `signaling.listen` is off");
        for (size_t j = 0; j < i; j++)
            if (c->issuers[i].issuer && c->issuers[j].issuer &&
                strcmp(c->issuers[i].issuer, c->issuers[j].issuer) == 0)
                refuse(b, where, "issuer", "stands in issuers[%zu] already", j);
    }
}

/* Options that belong to other mechanisms than the one chosen, and those that it lacks. */
static void check_sasl(struct build *b, const struct config *c)
{
    static const char *const password[] = {"upstream.sasl.username", "upstream.sasl.password_file"};
    static const char *const token[] = {"upstream.sasl.token_url", "upstream.sasl.client_id",
                                        "upstream.sasl.client_secret_file"};
    enum sasl_mechanism m = c->upstream.mechanism;
    if (m == SASL_NONE)
        return; /* no sasl at all, or the mechanism is missing: said already */
    bool oauth = m == SASL_OAUTHBEARER;
    for (size_t i = 0; i < 2; i++)
        if (given(b, "", password[i]) == oauth)
            refuse(b, "", password[i],
                   oauth ? "means nothing to OAUTHBEARER" : "is missing; PLAIN and SCRAM need it");
    for (size_t i = 0; i < 3; i++)
        if (given(b, "", token[i]) != oauth)
            refuse(b, "", token[i],
                   oauth ? "is missing; OAUTHBEARER needs it" : "means nothing to PLAIN and SCRAM");
    if (!oauth && given(b, "", "upstream.sasl.scope"))
        refuse(b, "", "upstream.sasl.scope", "means nothing to PLAIN and SCRAM");
    if (!c->upstream.tls && (m == SASL_PLAIN || oauth))
        caution(b, "", "upstream.sasl.mechanism",
                "%s over plaintext shows the gate's secret to the network; use `security: tls`",
                oauth ? "OAUTHBEARER" : "PLAIN");
}

static void check_upstream(struct build *b, const struct config *c)
{
    bool certificate = given(b, "", "upstream.tls.certificate");
    if (given(b, "", "upstream.tls") && !c->upstream.tls)
        refuse(b, "", "upstream.tls",
               "means nothing while `upstream.security` is plaintext; it "
               "takes `security: tls`");
    if (certificate != given(b, "", "upstream.tls.key"))
        refuse(b, "", certificate ? "upstream.tls.key" : "upstream.tls.certificate",
               "is missing; certificate and key belong together");
    if (c->upstream.tls && !c->upstream.verify)
        caution(b, "", "upstream.tls.verify",
                "false takes any broker's certificate: whoever stands between reads everything");
    check_sasl(b, c);
}

static void check_control(struct build *b, const struct config *c)
{
    const struct endpoint *at = &c->control.listen;
    bool tls = given(b, "", "control.tls"), tokens = given(b, "", "control.token_file");
    if (!at->port) {
        caution(b, "", "control.listen", "off: no health, no metrics, and no way to revoke");
        return;
    }
    if (at->host && !value_loopback(at->host) && !(tls && tokens))
        refuse(b, "", "control.listen",
               "%s is not a loopback address, so `control.tls` and `control.token_file` are needed",
               at->host);
}

/* Defaults that the table cannot write, and what belongs together. */
static void check_control_plane(struct build *b, struct config *c)
{
    static const char *transfer_types[] = {"KafkaBroker-PULL"}, *source_types[] = {"KafkaBroker"};

    if (!c->signaling.transfer_types.count)
        c->signaling.transfer_types = (struct strings){transfer_types, 1};
    if (!c->signaling.source_types.count)
        c->signaling.source_types = (struct strings){source_types, 1};
    if (!c->signaling.control_plane.id)
        c->signaling.control_plane.id = "sluice";
    if (!c->signaling.control_plane.url)
        return;
    if (!c->signaling.listen.port)
        refuse(b, "", "signaling.control_plane", "needs `signaling.listen`, which it would call");
    if (!c->signaling.url && !given(b, "", "signaling.url"))
        refuse(b, "", "signaling.url", "is missing; it is what is registered at the control plane");
}

/* Connectors authenticate with nothing: facts that make a caller known stand in TLS or the path. */
static void check_signaling(struct build *b, const struct config *c)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const struct endpoint *at = &c->signaling.listen;
    const char *secret = c->signaling.path_secret;

    if (secret && secret[strspn(secret, letters)])
        refuse(b, "", "signaling.path_secret_file", "takes letters, digits, `-` and `_` only");
    if (!at->port)
        return;
    if (same_endpoint(&c->listen, at) || same_endpoint(&c->control.listen, at))
        refuse(b, "", "signaling.listen", "is the address of another listener");
    if (at->host && !value_loopback(at->host) &&
        !(given(b, "", "signaling.tls") && (c->signaling.client_ca || secret)))
        refuse(
            b, "", "signaling.listen",
            "%s is not a loopback address, so `signaling.tls` is needed, with its `client_ca` or "
            "with `path_secret_file`",
            at->host);
}

static const struct issuer_config *issuer_named(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->nissuers; i++)
        if (name && c->issuers[i].issuer && strcmp(c->issuers[i].issuer, name) == 0)
            return &c->issuers[i];
    return NULL;
}

static void check_acl_users(struct build *b, const struct config *c)
{
    for (size_t i = 0; i < c->acl_listener.nusers; i++) {
        const struct acl_user_config *u = &c->acl_listener.users[i];
        char where[48];
        snprintf(where, sizeof(where), "acl_listener.users[%zu]", i);
        if (u->password && strlen(u->password) < ACL_PASSWORD_MIN)
            refuse(b, where, "password_file", "holds fewer than %d characters", ACL_PASSWORD_MIN);
        for (size_t j = 0; j < i; j++)
            if (u->name && c->acl_listener.users[j].name &&
                strcmp(u->name, c->acl_listener.users[j].name) == 0)
                refuse(b, where, "name", "stands in acl_listener.users[%zu] already", j);
    }
}

static void check_acl_issuer(struct build *b, struct config *c)
{
    if (!c->acl_listener.issuer && c->nissuers == 1)
        c->acl_listener.issuer = c->issuers[0].issuer;
    const struct issuer_config *i = issuer_named(c, c->acl_listener.issuer);
    if (!c->acl_listener.issuer && c->nissuers > 1)
        refuse(b, "", "acl_listener.issuer",
               "is missing; with several issuers a subject alone says not whose it is");
    else if (c->acl_listener.issuer && !i)
        refuse(b, "", "acl_listener.issuer", "is none of `issuers`, so no token could match");
    else if (i && i->shared_subjects)
        caution(b, "", "acl_listener.issuer",
                "has `shared_subjects`: nobody can tell whose token it is that an ACL is for, so "
                "ACLs let nobody in; they need a subject a transfer or a consumer");
}

static void check_acl_listener(struct build *b, struct config *c)
{
    struct endpoint *at = &c->acl_listener.listen, *told = &c->acl_listener.advertise;
    bool subjects = c->acl_listener.client_subjects.count > 0;
    if (!at->port)
        return;
    check_acl_users(b, c);
    check_acl_issuer(b, c);
    if (same_endpoint(&c->listen, at) || same_endpoint(&c->control.listen, at) ||
        same_endpoint(&c->signaling.listen, at))
        refuse(b, "", "acl_listener.listen", "is the address of another listener");
    if (at->host && !value_loopback(at->host) && !given(b, "", "acl_listener.tls"))
        refuse(b, "", "acl_listener.listen",
               "%s is not a loopback address, so `acl_listener.tls` is needed", at->host);
    if (subjects && !given(b, "", "acl_listener.tls.client_ca"))
        refuse(b, "", "acl_listener.tls.client_subjects",
               "needs `client_ca` to check certificates");
    if (!subjects && !given(b, "", "acl_listener.users"))
        refuse(b, "", "acl_listener",
               "lets anybody change grants; it takes `users` or `tls.client_subjects`");
    if (!told->port)
        *told = *at;
    if (told->host && (strcmp(told->host, "0.0.0.0") == 0 || strcmp(told->host, "::") == 0))
        refuse(b, "", "acl_listener.advertise",
               "no client can reach %s; it takes the name by which clients reach this listener",
               told->host);
}

static void check_limits(struct build *b, const struct config *c)
{
    const struct limits *l = &c->limits;
    if (l->frame_preauth_bytes > l->frame_bytes)
        refuse(b, "", "limits.frame_preauth_bytes", "is above `limits.frame_bytes` (%u)",
               l->frame_bytes);
    if (l->session_buffer_bytes < l->frame_produce_bytes ||
        l->session_buffer_bytes < l->frame_bytes)
        refuse(b, "", "limits.session_buffer_bytes",
               "is below one whole request (`limits.frame_bytes`, `limits.frame_produce_bytes`)");
    if (l->worker_buffer_bytes < l->session_buffer_bytes)
        refuse(b, "", "limits.worker_buffer_bytes", "is below `limits.session_buffer_bytes` (%u)",
               l->session_buffer_bytes);
    if (l->auth_timeout_ms < l->tls_timeout_ms)
        refuse(b, "", "limits.auth_timeout_ms",
               "is below `limits.tls_timeout_ms` (%u), which it "
               "includes",
               l->tls_timeout_ms);
}

void config_check(struct build *b, struct config *c)
{
    check_listeners(b, c);
    check_issuers(b, c);
    check_upstream(b, c);
    check_control(b, c);
    check_signaling(b, c);
    check_control_plane(b, c);
    check_acl_listener(b, c);
    config_check_tokens(b, c);
    check_limits(b, c);
    config_check_grants(b, c);
    if (!c->store_path)
        caution(b, "", "store.path",
                "is missing: grants of the control API and revocations are lost at a restart");
    if (c->development)
        caution(b, "", "development", "true allows plain http for keys and tokens");
}
