/* Refresh as Tractus-X does it: who may, with what proof, how often. */
#include "tests/unit/token_server_bed.h"

static const char *consumer;
static char access_token[4096], refresh_token[64];
static const char *const topics[] = {"t1"};

static void on_token(void *arg, const struct token_answer *a)
{
    (void)arg;
    assert_int_equal(a->result, OK);
    strcpy(access_token, a->token);
    strcpy(refresh_token, a->refresh_token ? a->refresh_token : "");
    if (a->refresh_token) {
        assert_string_equal(a->refresh_endpoint, "https://e/refresh");
        assert_string_equal(a->refresh_audience, AUDIENCE);
    }
}

/* As signaling starts a transfer: a token, then its grant. */
static void start(void)
{
    struct token_ask ask_it = {.transfer = "tp-1",
                               .consumer = consumer,
                               .topics = topics,
                               .ntopics = 1,
                               .group_prefix = "bob",
                               .operations = OP_READ};
    const char *topic = "t1", *why;
    struct grant_config c = {.id = "tp-1",
                             .participant = "bob",
                             .agreement = "agr",
                             .asset = "ass",
                             .topics = {&topic, 1},
                             .group_prefix = "bob",
                             .operations = OP_READ};
    struct grant *g;

    assert_int_equal(tokens_get(tokens, &ask_it, on_token, NULL), OK);
    assert_int_equal(grant_new(&c, GRANT_FROM_API, &g, &why), OK);
    assert_int_equal(change_grant(&changes, g, NULL, NULL, NULL), OK);
}

static void revoke_transfer(void)
{
    assert_int_equal(
        change_revoke(&changes,
                      revocation_new(REVOKE_TRANSFER, "", "tp-1", "", time(NULL), 0, "test"), NULL,
                      NULL, NULL),
        OK);
}

static void end_transfer(void)
{
    tokens_end(tokens, "tp-1");
}

static void revoke_access_token(void)
{
    struct identity id;

    assert_int_equal(check(access_token, &id), JWT_OK);
    assert_int_equal(
        change_revoke(&changes, revocation_for_token(&id, time(NULL), "test"), NULL, NULL, NULL),
        OK);
    identity_clear(&id);
}

/* What the proof says; NULL members are left out. */
struct claims {
    const char *iss, *sub, *aud, *jti, *more;
    const char *token;
    int life_s; /* 0: no exp */
};

static unsigned proofs;

static char *proof_of(const struct claims *c, EVP_PKEY *key, const char *kid)
{
    char header[256], text[8192];
    int n = snprintf(text, sizeof(text), "{\"iat\":%lld%s", (long long)time(NULL),
                     c->more ? c->more : "");

    if (c->life_s)
        n += snprintf(text + n, sizeof(text) - (size_t)n, ",\"exp\":%lld",
                      (long long)time(NULL) + c->life_s);
    if (c->iss)
        n += snprintf(text + n, sizeof(text) - (size_t)n, ",\"iss\":\"%s\"", c->iss);
    if (c->sub)
        n += snprintf(text + n, sizeof(text) - (size_t)n, ",\"sub\":\"%s\"", c->sub);
    if (c->aud)
        n += snprintf(text + n, sizeof(text) - (size_t)n, ",\"aud\":%s", c->aud);
    if (c->jti)
        n += snprintf(text + n, sizeof(text) - (size_t)n, ",\"jti\":\"%s\"", c->jti);
    if (c->token)
        n += snprintf(text + n, sizeof(text) - (size_t)n, ",\"token\":\"%s\"", c->token);
    snprintf(text + n, sizeof(text) - (size_t)n, "}");
    snprintf(header, sizeof(header), "{\"alg\":\"%s\"%s%s%s}",
             EVP_PKEY_is_a(key, "EC") ? "ES256" : "EdDSA", kid ? ",\"kid\":\"" : "", kid ? kid : "",
             kid ? "\"" : "");
    return token_sign(EVP_PKEY_is_a(key, "EC") ? "ES256" : "EdDSA", key, header, text);
}

static struct claims good_claims(void)
{
    static char jti[32];

    snprintf(jti, sizeof(jti), "p%u", ++proofs);
    return (struct claims){.iss = consumer,
                           .sub = consumer,
                           .aud = "\"" AUDIENCE "\"",
                           .jti = jti,
                           .token = access_token,
                           .life_s = 60};
}

static long refresh_with(const char *proof, const char *token)
{
    char header[9000], body[256];

    snprintf(header, sizeof(header), "Authorization: Bearer %s", proof);
    snprintf(body, sizeof(body), "grant_type=refresh_token&refresh_token=%s", token);
    return ask("/refresh/token", body, header, NULL);
}

static long refresh_by(const struct claims *c, EVP_PKEY *key, const char *kid)
{
    char *proof = proof_of(c, key, kid);
    long status = refresh_with(proof, refresh_token);

    free(proof);
    return status;
}

static void take_new_ones(void)
{
    strcpy(access_token, said("access_token"));
    strcpy(refresh_token, said("refresh_token"));
}

static void say_document(const EVP_PKEY *key, const char *id)
{
    char *jwk = token_jwk(key, "x", "");

    pthread_mutex_lock(&lock);
    snprintf(bob_document, sizeof(bob_document),
             "{\"id\":\"%s\",\"verificationMethod\":[{\"id\":\"%s#key-1\",\"type\":"
             "\"JsonWebKey2020\",\"controller\":\"%s\",\"publicKeyJwk\":%s}]}",
             id, id, id, jwk);
    pthread_mutex_unlock(&lock);
    free(jwk);
}

/* With a configured key set: the whole sequence. */
static void refreshed(void **state)
{
    struct claims c;
    struct identity id;
    char old_access[4096], old_refresh[64];

    (void)state;
    consumer = "BPNL1";
    in_loop(start);
    for (int i = 0; i < 5; i++) {
        strcpy(old_access, access_token);
        strcpy(old_refresh, refresh_token);
        c = good_claims();
        assert_int_equal(refresh_by(&c, bob, "b1"), 200);
        assert_string_equal(said("token_type"), "bearer");
        assert_int_equal(json_integer_value(json_object_get(json, "expires_in")), 300);
        assert_int_equal(json_integer_value(json_object_get(json, "expires")), 300);
        take_new_ones();
        assert_string_not_equal(old_access, access_token);
        assert_string_not_equal(old_refresh, refresh_token);
        assert_int_equal(check(access_token, &id), JWT_OK);
        assert_string_equal(id.transfer, "tp-1");
        assert_string_equal(id.subject, "tp-1");
        assert_string_equal(id.agreement, "agr");
        assert_string_equal(id.group_prefix, "bob");
        assert_int_equal(id.ntopics, 1);
        identity_clear(&id);
    }
    /* What was used is used: neither old pair works, alone or crossed with the new one. */
    c = good_claims();
    c.token = old_access;
    char *proof = proof_of(&c, bob, "b1");
    assert_int_equal(refresh_with(proof, old_refresh), 400);
    assert_string_equal(said("error"), "invalid_grant");
    assert_int_equal(refresh_with(proof, refresh_token), 400);
    free(proof);
    c = good_claims();
    proof = proof_of(&c, bob, "b1");
    assert_int_equal(refresh_with(proof, old_refresh), 400);
    /* A request that is refused uses nothing up. */
    assert_int_equal(refresh_with(proof, refresh_token), 200);
    free(proof);
    assert_int_equal(documents, 0);
}

static void bad_proofs(void **state)
{
    static const struct {
        struct claims c; /* NULL: as it should be; "": left out */
        long status;
    } bad[] = {
        {{.iss = "did:web:mallory"}, 401},
        {{.iss = "did:web:mallory", .sub = "did:web:mallory"}, 400},
        {{.sub = ""}, 401},
        {{.iss = ""}, 401},
        {{.aud = "\"somebody else\""}, 401},
        {{.aud = "[\"a\",7]"}, 401},
        {{.aud = ""}, 401},
        {{.jti = ""}, 401},
        {{.token = ""}, 401},
        {{.token = "a.b.c"}, 400},
        {{.life_s = -31}, 401},
        {{.life_s = 3700}, 401},
        {{.more = ",\"nbf\":9999999999"}, 401},
        {{.more = ",\"nbf\":\"x\""}, 401},
    };

    (void)state;
    consumer = "BPNL1";
    in_loop(start);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        const struct claims *b = &bad[i].c;
        struct claims c = good_claims();
#define USE(member)                                                                                \
    if (b->member)                                                                                 \
    c.member = *b->member ? b->member : NULL
        USE(iss);
        USE(sub);
        USE(aud);
        USE(jti);
        USE(token);
        USE(more);
        if (b->life_s)
            c.life_s = b->life_s;
        if (refresh_by(&c, bob, "b1") != bad[i].status)
            fail_msg("case %zu: %s", i, answer);
    }
    struct claims c = good_claims();
    assert_int_equal(refresh_by(&c, mallory, "b1"), 401); /* another's key */
    c = good_claims();
    assert_int_equal(refresh_by(&c, bob, "b2"), 401); /* by another name */
    assert_int_equal(refresh_with("nonsense", refresh_token), 401);
    assert_int_equal(refresh_with(access_token, refresh_token), 401);
    assert_int_equal(ask("/refresh/token", "grant_type=refresh_token&refresh_token=x", NULL, NULL),
                     401);
    c = good_claims();
    char *proof = proof_of(&c, bob, "b1"), header[9000];
    assert_int_equal(refresh_with(proof, "x"), 400);
    snprintf(header, sizeof(header), "Authorization: Bearer %s", proof);
    assert_int_equal(ask("/refresh/token", "grant_type=refresh_token", header, NULL), 400);
    assert_int_equal(ask("/refresh/token", "grant_type=password&refresh_token=x", header, NULL),
                     400);
    assert_int_equal(ask("/refresh/token", "refresh_token=x&refresh_token=y", header, NULL), 400);
    /* Neither alg none nor a spoilt signature. */
    char *none = token_input("{\"alg\":\"none\",\"kid\":\"b1\"}", strchr(proof, '.'));
    assert_int_equal(refresh_with(none, refresh_token), 401);
    free(none);
    proof[strlen(proof) - 10] = proof[strlen(proof) - 10] == 'A' ? 'B' : 'A';
    assert_int_equal(refresh_with(proof, refresh_token), 401);
    free(proof);
    /* All of that has used nothing up. */
    c = good_claims();
    c.aud = "[\"x\",\"" AUDIENCE "\"]";
    c.life_s = 0; /* iat alone is enough */
    assert_int_equal(refresh_by(&c, bob, "b1"), 200);
    /* The same proof once more, with the new pair of tokens: it names the old one. And its jti with
     * the new pair is a replay. */
    take_new_ones();
    c.token = access_token;
    assert_int_equal(refresh_by(&c, bob, "b1"), 401);
    assert_non_null(strstr(said("message"), "used before"));
    c = good_claims();
    assert_int_equal(refresh_by(&c, bob, "b1"), 200);
}

/* A reload that takes the host away. */
static void no_hosts(void)
{
    config->outgoing.hosts.count = 0;
}

static void did_web(void **state)
{
    struct claims c;
    char kid[160];
    int asked;

    (void)state;
    consumer = bob_did;
    in_loop(start);
    assert_string_not_equal(refresh_token, "");
    snprintf(kid, sizeof(kid), "%s#key-1", bob_did);
    say_document(bob, bob_did);
    c = good_claims();
    assert_int_equal(refresh_by(&c, bob, kid), 200);
    take_new_ones();
    assert_int_equal(documents, 1);
    /* Without a good refresh token nobody makes us fetch anything. */
    c = good_claims();
    char *proof = proof_of(&c, bob, kid);
    assert_int_equal(refresh_with(proof, "x"), 400);
    free(proof);
    assert_int_equal(documents, 1);
    /* The key that stands there now counts. */
    say_document(mallory, bob_did);
    c = good_claims();
    assert_int_equal(refresh_by(&c, bob, kid), 401);
    c = good_claims();
    assert_int_equal(refresh_by(&c, bob, "#key-2"), 401);
    say_document(bob, "did:web:somebody.else");
    c = good_claims();
    assert_int_equal(refresh_by(&c, bob, kid), 401);
    document_status = 302;
    assert_int_equal(refresh_by(&c, bob, kid), 503);
    document_status = 200;
    say_document(bob, bob_did);
    c = good_claims();
    assert_int_equal(refresh_by(&c, bob, NULL), 200);
    take_new_ones();
    in_loop(no_hosts);
    c = good_claims();
    asked = documents;
    assert_int_equal(refresh_by(&c, bob, NULL), 401);
    assert_int_equal(documents, asked);
}

static char *did_of(const EVP_PKEY *key)
{
    static const char letters[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    static char did[128];
    unsigned char raw[34] = {0xed, 0x01}, digits[64] = {0};
    size_t n = 32, used = 0;

    assert_int_equal(EVP_PKEY_get_raw_public_key(key, raw + 2, &n), 1);
    for (size_t i = 0; i < sizeof(raw); i++) {
        unsigned carry = raw[i];
        for (size_t j = 0; j < used || carry; j++) {
            carry += 256u * digits[j];
            digits[j] = (unsigned char)(carry % 58);
            carry /= 58;
            used = j >= used ? j + 1 : used;
        }
    }
    strcpy(did, "did:key:z");
    for (size_t i = 0; i < used; i++)
        did[9 + i] = letters[digits[used - 1 - i]];
    did[9 + used] = '\0';
    return did;
}

static void did_key(void **state)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    EVP_PKEY *wrong = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    struct claims c;
    char kid[400];

    (void)state;
    consumer = did_of(key);
    snprintf(kid, sizeof(kid), "%s#%s", consumer, consumer + 8);
    in_loop(start);
    c = good_claims();
    assert_int_equal(refresh_by(&c, wrong, kid), 401);
    assert_int_equal(refresh_by(&c, key, kid), 200);
    take_new_ones();
    c = good_claims();
    assert_int_equal(refresh_by(&c, key, NULL), 200);
    EVP_PKEY_free(key);
    EVP_PKEY_free(wrong);
}

/* What has ended cannot be refreshed, whatever way it ended. */
static void ended(void **state)
{
    struct claims c;

    (void)state;
    consumer = "BPNL1";
    in_loop(start);
    in_loop(revoke_transfer); /* a suspension that tokens_end has not heard of */
    c = good_claims();
    assert_int_equal(refresh_by(&c, bob, "b1"), 400);
    in_loop(end_transfer);
    in_loop(start); /* resumed */
    c = good_claims();
    c.token = access_token;
    usleep(1100000); /* a token of the very second of the revocation is barred with it */
    in_loop(start);
    assert_int_equal(refresh_by(&c, bob, "b1"), 200);
    take_new_ones();
    in_loop(revoke_access_token);
    c = good_claims();
    assert_int_equal(refresh_by(&c, bob, "b1"), 400);
    in_loop(start);
    in_loop(end_transfer);
    c = good_claims();
    assert_int_equal(refresh_by(&c, bob, "b1"), 400);
}

/* --- no memory: 503 or a good answer, and the next request is served */

static unsigned fail_after, failed;

static void arm(void)
{
    sl_alloc_fail_after(fail_after);
}

static void disarm(void)
{
    failed = sl_alloc_failed();
    sl_alloc_fail_after(0);
}

static void no_memory(void **state)
{
    struct claims c;
    long status;

    (void)state;
    if (!sl_alloc_fail_after(0))
        skip();
    consumer = "BPNL1";
    fail_after = 0;
    do {
        fail_after++;
        in_loop(start);
        c = good_claims();
        in_loop(arm);
        status = refresh_by(&c, bob, "b1");
        in_loop(disarm);
        assert_true(status == 200 || status == 503 || status == 400 || status == 0);
    } while (failed && fail_after < 300);
    assert_int_equal(failed, 0);
    assert_int_equal(status, 200);
}

static void reload(void)
{
    char err[256] = "";
    struct config *c = config_ref(config);

    assert_int_equal(refresh_config(refresher, c, err, sizeof(err)), OK);
    assert_int_equal(tokens_config(tokens, c, err, sizeof(err)), OK);
    assert_int_equal(token_server_config(token_server, c), OK);
    unlink(jwks_path);
    assert_int_equal(refresh_config(refresher, c, err, sizeof(err)), ERR_CONFIG);
    assert_non_null(strstr(err, jwks_path));
    config_unref(c);
}

static void reloads(void **state)
{
    struct claims c;

    (void)state;
    consumer = "BPNL1";
    in_loop(start);
    in_loop(reload); /* the last, bad one changed nothing */
    c = good_claims();
    assert_int_equal(refresh_by(&c, bob, "b1"), 200);
    assert_int_equal(ask("/oauth2/token", CC, NULL, "edc:" SECRET), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(refreshed), T(bad_proofs), T(did_web), T(did_key), T(ended), T(reloads), T(no_memory),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests_name("refresh", tests, NULL, last);
}
