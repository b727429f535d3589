/* What no option can see alone, for issuers of our own, tokens and outgoing calls. */
#include <stdio.h>
#include <string.h>

#include "config/build.h"
#include "config/outgoing.h"

#define LONG_LIFE_S 3600 /* a token that got lost is good for so long */

#define REFUSE(where, option, ...)  config_say(b, false, where, option, __VA_ARGS__)
#define CAUTION(where, option, ...) config_say(b, true, where, option, __VA_ARGS__)

static bool same_text(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* What sluice writes it reads again, so every claim has a name. */
static void name_claims(struct claim_names *n)
{
    const char **const names[] = {&n->transfer, &n->participant,  &n->agreement, &n->asset,
                                  &n->topics,   &n->group_prefix, &n->operations};
    static const char *const own[] = {"transfer", "participant",  "agreement", "asset",
                                      "topics",   "group_prefix", "operations"};

    for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
        if (!*names[i])
            *names[i] = own[i];
}

void config_check_own_issuer(struct build *b, struct config *c, struct issuer_config *i,
                             const char *where)
{
    static const char *const elsewhere[] = {"jwks_url", "jwks_file", "discovery"};

    if (!config_given(b, where, "signing_keys")) {
        if (config_given(b, where, "token_life_s"))
            REFUSE(where, "token_life_s", "means nothing without `signing_keys`");
        return;
    }
    for (size_t j = 0; j < sizeof(elsewhere) / sizeof(*elsewhere); j++)
        if (config_given(b, where, elsewhere[j]))
            REFUSE(where, elsewhere[j], "contradicts `signing_keys`, which are this issuer's keys");
    for (const struct issuer_config *other = c->issuers; other != i; other++)
        if (other->signing_keys.count)
            REFUSE(where, "signing_keys", "stands in issuers[%zu] already; sluice is one issuer",
                   (size_t)(other - c->issuers));
    if (!config_given(b, where, "shared_subjects"))
        i->shared_subjects = false;
    else if (i->shared_subjects)
        CAUTION(where, "shared_subjects",
                "true: each token that sluice signs has a subject of its own, so this only keeps "
                "grants for that subject (CreateAcls) from being found");
    if (i->max_token_s && i->token_life_s > i->max_token_s)
        REFUSE(where, "token_life_s", "is above `max_token_s` (%u): no token would be taken",
               i->max_token_s);
    if (i->token_life_s > LONG_LIFE_S)
        CAUTION(where, "token_life_s",
                "%u s is long: a partner whose token was stolen has to be cut off by hand",
                i->token_life_s);
    name_claims(&i->claims);
}

static const struct issuer_config *own_issuer(const struct config *c)
{
    for (size_t i = 0; i < c->nissuers; i++)
        if (c->issuers[i].signing_keys.count)
            return &c->issuers[i];
    return NULL;
}

/* Whose tokens the authorization server issues: the one named, or the only one there is. */
static const struct issuer_config *server_issuer(struct build *b, struct config *c)
{
    const struct issuer_config *found = NULL;
    size_t others = 0;

    for (size_t i = 0; i < c->nissuers; i++) {
        bool own = c->issuers[i].signing_keys.count > 0;

        others += !own;
        if (c->tokens.issuer ? same_text(c->tokens.issuer, c->issuers[i].issuer) : !own)
            found = &c->issuers[i];
    }
    if (c->tokens.issuer && !found)
        REFUSE("", "tokens.issuer", "is none of `issuers`, so its tokens could not be checked");
    else if (found && found->signing_keys.count)
        REFUSE("", "tokens.issuer", "is sluice itself, not an authorization server");
    else if (!c->tokens.issuer && others != 1)
        REFUSE("", "tokens.source",
               "needs `tokens.issuer`: %zu of `issuers` could be the authorization server", others);
    if (found && !c->tokens.issuer)
        c->tokens.issuer = found->issuer;
    return found;
}

static void check_source(struct build *b, struct config *c)
{
    static const char *const registered[] = {"tokens.registration_url", "tokens.token_url"};
    const struct issuer_config *server;

    if (c->tokens.source == TOKENS_OWN) {
        if (config_given(b, "", "tokens.source") && !own_issuer(c))
            REFUSE("", "tokens.source", "own needs an entry of `issuers` with `signing_keys`");
        return;
    }
    server = server_issuer(b, c);
    for (size_t i = 0; i < 2 && c->tokens.source == TOKENS_REGISTRATION; i++)
        if (!config_given(b, "", registered[i]))
            REFUSE("", registered[i], "is missing; `source: registration` needs it");
    if (c->tokens.source == TOKENS_CLIENT_CREDENTIALS && server && server->shared_subjects &&
        !server->claims.transfer)
        CAUTION(
            "", "tokens.source",
            "client_credentials: partners of one asset share a subject, so only the very tokens "
            "that sluice fetched (by `jti`) are kept apart; a partner that knows the client's "
            "secret is not. `own` or `registration` gives each transfer a subject of its own");
    if (c->tokens.source == TOKENS_REGISTRATION && !c->tokens.registration_token &&
        !config_given(b, "", "tokens.registration_token_file"))
        CAUTION("", "tokens.registration_token_file",
                "is missing: the authorization server must let anybody register clients");
}

static void check_clients(struct build *b, const struct config *c)
{
    char where[64];

    for (size_t i = 0; i < c->tokens.nclients; i++) {
        snprintf(where, sizeof(where), "tokens.clients[%zu]", i);
        if (c->tokens.clients[i].id && strchr(c->tokens.clients[i].id, ':'))
            REFUSE(where, "id", "holds a colon, which HTTP Basic cannot carry");
        for (size_t j = 0; j < i; j++)
            if (same_text(c->tokens.clients[i].id, c->tokens.clients[j].id))
                REFUSE(where, "id", "stands in tokens.clients[%zu] already", j);
    }
    if (c->tokens.nclients && !c->signaling.listen.port)
        CAUTION("", "tokens.clients", "do nothing without `signaling.listen`");
    for (size_t i = 0; i < c->tokens.nsecrets; i++)
        for (size_t j = 0; j < i; j++)
            if (same_text(c->tokens.secrets[i].name, c->tokens.secrets[j].name)) {
                snprintf(where, sizeof(where), "tokens.secrets[%zu]", i);
                REFUSE(where, "name", "stands in tokens.secrets[%zu] already", j);
            }
    if (c->tokens.nsecrets && c->tokens.source != TOKENS_CLIENT_CREDENTIALS)
        CAUTION("", "tokens.secrets", "do nothing without `source: client_credentials`");
}

static void check_refresh(struct build *b, struct config *c)
{
    char where[64];

    if (!config_given(b, "", "tokens.refresh"))
        return;
    if (c->tokens.source != TOKENS_OWN || !own_issuer(c))
        REFUSE("", "tokens.refresh",
               "needs tokens that sluice signs: `source: own`, and an entry "
               "of `issuers` with `signing_keys`");
    if (!c->signaling.listen.port)
        CAUTION("", "tokens.refresh", "does nothing without `signaling.listen`");
    if (!c->tokens.refresh_audience)
        c->tokens.refresh_audience = c->tokens.refresh_url;
    for (size_t i = 0; i < c->tokens.nparticipants; i++)
        for (size_t j = 0; j < i; j++)
            if (same_text(c->tokens.participants[i].id, c->tokens.participants[j].id)) {
                snprintf(where, sizeof(where), "tokens.refresh.participants[%zu]", i);
                REFUSE(where, "id", "stands in tokens.refresh.participants[%zu] already", j);
            }
    if (!c->tokens.nparticipants && !c->outgoing.hosts.count)
        CAUTION("", "tokens.refresh",
                "without `participants` and `outgoing.hosts` only consumers with a did:key can "
                "prove who they are");
}

void config_check_tokens(struct build *b, struct config *c)
{
    for (size_t i = 0; i < c->outgoing.hosts.count; i++) {
        const char *why =
            c->outgoing.hosts.at[i] ? outgoing_host_fault(c->outgoing.hosts.at[i]) : NULL;
        if (why)
            REFUSE("", "outgoing.hosts", "%s %s", c->outgoing.hosts.at[i], why);
    }
    check_source(b, c);
    check_clients(b, c);
    check_refresh(b, c);
}
