/* Any bytes as what an issuer says about its tokens. The first byte says by which way, and how: the
 * rest is the request's body as it comes, or claims that are signed here, so that what lies behind
 * the signature is reached as well. The key is the best known of the world: Ed25519 of 32 zeros. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "auth/jwt.h"
#include "base/log.h"
#include "control/body.h"
#include "edc/secevent.h"
#include "fuzz/mutate_text.h"
#include "tests/unit/token.h"

#define NOW 1800000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static const char *const words[] = {
    "iss",
    "aud",
    "iat",
    "jti",
    "exp",
    "sub",
    "sid",
    "sub_id",
    "toe",
    "txn",
    "events",
    "format",
    "iss_sub",
    "jwt_id",
    "opaque",
    "complex",
    "subject_type",
    "iss-sub",
    "email",
    "subject",
    "token",
    "user",
    "session",
    "id",
    "issuer",
    "https://i",
    "https://j",
    "s",
    "c",
    "bob",
    "j",
    "ed",
    "EdDSA",
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked",
    "https://schemas.openid.net/secevent/caep/event-type/credential-change",
    "https://schemas.openid.net/secevent/risc/event-type/account-disabled",
    "https://schemas.openid.net/secevent/risc/event-type/account-purged",
    "https://schemas.openid.net/secevent/oauth/event-type/token-revoked",
    "http://schemas.openid.net/event/backchannel-logout",
    "event_timestamp",
    "nonce",
    "action",
    "LOGOUT",
    "PUSH_NOT_BEFORE",
    "notBefore",
    "expiration",
    "resource",
    "keycloakSessionIds",
    "adapterSessionIds",
    "logout_token="};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_words w = MUTATE_WORDS(words);

    if (size < 2 || max < 2 || seed % 32 == 0)
        return LLVMFuzzerMutate(data, size, max);
    if (data[0] & 4)
        return 1 + mutate_token(&w, data + 1, size - 1, max - 1, seed);
    return 1 + mutate_json(&w, data + 1, size - 1, max - 1, seed);
}

static EVP_PKEY *ed;
static struct keyring *ring;

static void must(int holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t zeros[32];
    struct jwks *sets[2] = {0};
    struct config *c;
    char text[1024], err[128], *jwk;
    unsigned ignored;

    (void)argc;
    (void)argv;
    log_setup(LOG_ERROR, false);
    ed = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, zeros, sizeof(zeros));
    must(ed != NULL);
    jwk = token_jwk(ed, "ed", "");
    snprintf(text, sizeof(text), "{\"keys\":[%s]}", jwk);
    must(jwks_parse(text, strlen(text), &sets[0], &ignored, err, sizeof(err)) == OK);
    free(jwk);
    c = token_config("issuers:\n"
                     "  - {issuer: https://i, audience: s, events: {audience: [s, c]}}\n"
                     "  - {issuer: https://j, audience: s, events: {audience: '*'}}\n");
    must(c != NULL);
    ring = keyring_new(c, sets);
    jwks_unref(sets[0]);
    config_unref(c);
    must(ring != NULL);
    return 0;
}

static void check(enum secevent_source source, const char *text, size_t n)
{
    static struct secevent e;
    const char *why = NULL;
    enum secevent_fault f = secevent_read(source, text, n, ring, NOW, &e, &why);

    must(why != NULL && e.count <= SECEVENT_REVOCATIONS_MAX);
    must(f == SECEVENT_FINE || (e.count == 0 && why[0] != '\0'));
    /* What is taken is remembered, and not for ever; what it hits was issued by its issuer. */
    if (f == SECEVENT_FINE) {
        must(strcmp(e.issuer, "https://i") == 0 && e.id[0] != '\0' && e.name != NULL);
        must(e.over_s >= NOW && e.over_s <= NOW + 24 * 3600);
    }
    for (unsigned i = 0; i < e.count; i++) {
        const struct revocation *r = e.revocations[i];

        must(strcmp(r->issuer, "https://i") == 0);
        must(r->at <= NOW + SECEVENT_NOT_BEFORE_S);
        must(revocation_check(r->kind, r->issuer, r->value, r->client, r->reason) == OK);
    }
    secevent_clear(&e);
}

/* A body as it comes: from memory of exactly its size. */
static void check_body(enum secevent_source source, const uint8_t *data, size_t size)
{
    static char token[JWT_BYTES_MAX + 1];
    char *copy = malloc(size ? size : 1);
    int n;

    must(copy != NULL);
    memcpy(copy, data, size);
    if (source == SECEVENT_LOGOUT) {
        n = body_form(copy, size, "logout_token", token, sizeof(token));
        if (n > 0)
            check(source, token, (size_t)n);
    } else {
        check(source, copy, size);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const headers[] = {
        "{\"alg\":\"EdDSA\",\"kid\":\"ed\",\"typ\":\"secevent+jwt\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"ed\",\"typ\":\"logout+jwt\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"ed\",\"typ\":\"JWT\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}",
    };
    char *claims, *token;

    if (size < 1 || size > 2 * JWT_BYTES_MAX)
        return 0;
    if (data[0] & 4) {
        check_body(data[0] & 3, data + 1, size - 1);
        return 0;
    }
    claims = strndup((const char *)data + 1, size - 1);
    must(claims != NULL);
    token = token_sign("EdDSA", ed, headers[data[0] & 3], claims);
    check(data[0] & 3, token, strlen(token));
    free(claims);
    free(token);
    return 0;
}
