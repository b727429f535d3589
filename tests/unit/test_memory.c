/* Codec and authentication while memory fails at every place where it is asked for
 * (short_memory.h): what comes out must be right or refused, and nobody gets in because memory was
 * short. The store's part of this is in test_memory_store.c, that of what is fetched in
 * test_memory_http.c, the session's in test_session.c and test_session_faults.c, a transport's in
 * test_transport.c. */
#include "tests/unit/unit.h"

#include "tests/unit/short_memory.h"

#include "auth/did.h"
#include "auth/digest.h"
#include "auth/grant_table.h"
#include "auth/issuer.h"
#include "auth/jwt.h"
#include "auth/scram.h"
#include "auth/scram_server.h"
#include "auth/secret.h"
#include "codec/json.h"
#include "codec/reply.h"
#include "tests/unit/gen.h"
#include "tests/unit/issuer_bed.h"
#include "tests/unit/token.h"

#define NOW 1800000000
#define ISS "https://idp.example.com"

/* libjwt asks for -1 bytes where OpenSSL gave it nothing, and takes no for an answer. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* --- codec */

/* An arena has its memory in large blocks, so it also fails at each of its own pieces: by a limit
 * that is raised step by step. */
static size_t arena_limit = 64 << 20;

static void sweep_arena(bool (*run)(void), size_t step)
{
    for (arena_limit = 0; !run(); arena_limit += step) {
        assert_true(arena_limit < 16 << 20);
        failures++;
    }
    arena_limit = 64 << 20;
}

static struct gen gen;
static struct octet_text {
    uint8_t p[GEN_BYTES_MAX];
    size_t n;
} wanted; /* what the message at hand is written as when nothing fails */
static const struct message *schema;
static int version;
static unsigned piece; /* bytes a chunk: strings straddle, and have to be copied */

static int put_pieces(struct buf *b, const uint8_t *p, size_t n)
{
    size_t first = piece && piece < n ? piece : n;
    struct buf rest;
    int err = buf_append(b, p, first);

    if (err || first == n)
        return err;
    buf_init(&rest, SIZE_MAX);
    err = buf_append(&rest, p + first, n - first);
    if (!err)
        err = buf_move(b, &rest);
    buf_release(&rest);
    return err;
}

static bool same_bytes(const struct buf *b)
{
    static uint8_t got[GEN_BYTES_MAX];

    if (wanted.n == 0) {
        wanted.n = b->len;
        buf_copy_out(b, 0, wanted.p, b->len);
    }
    assert_int_equal(b->len, wanted.n);
    buf_copy_out(b, 0, got, b->len);
    assert_memory_equal(got, wanted.p, wanted.n);
    return true;
}

/* Taken in, copied, shown, written anew: all of it or an error. */
static bool decode_and_encode(void)
{
    struct arena a;
    struct buf in, out;
    struct msg m;
    bool ok = false;
    int err;

    arena_init(&a, arena_limit);
    buf_init(&in, SIZE_MAX);
    buf_init(&out, SIZE_MAX);
    err = put_pieces(&in, gen_data(&gen), gen_len(&gen));
    if (!err)
        err = msg_decode(&m, &a, schema, version, &in, 0, in.len, NULL);
    if (!err)
        err = msg_own_strings(&m);
    if (!err) {
        json_t *j = json_from_msg(&m, 0);
        json_decref(j);
        if (!j)
            err = ERR_NOMEM;
    }
    if (!err)
        err = msg_encode_request(&m, 7, "client", &out);
    if (!err)
        ok = same_bytes(&out);
    else
        assert_true(err == ERR_NOMEM || err == ERR_LIMIT);
    buf_release(&in);
    buf_release(&out);
    arena_release(&a);
    buf_thread_trim();
    return ok;
}

/* A generated text is not UTF-8 as a rule. */
static bool is_text(void)
{
    struct arena a;
    struct buf in;
    struct msg m;
    int err;

    arena_init(&a, 64 << 20);
    buf_init(&in, SIZE_MAX);
    assert_int_equal(buf_append(&in, gen_data(&gen), gen_len(&gen)), OK);
    err = msg_decode(&m, &a, schema, version, &in, 0, in.len, NULL);
    buf_release(&in);
    arena_release(&a);
    return err == OK;
}

static void codec(void **state)
{
    static const int apis[] = {0, 1, 3, 8, 11, 68, 75, 18};
    unsigned messages = 0;

    (void)state;
    for (size_t i = 0; i < sizeof apis / sizeof apis[0]; i++) {
        schema = schema_find(apis[i], true);
        version = schema->versions.max;
        for (uint64_t seed = 0; seed < 200; seed++) {
            gen_message(&gen, schema, version, seed);
            if (gen_len(&gen) < 40 || gen_len(&gen) > 3000 || !is_text())
                continue;
            wanted.n = 0;
            piece = (unsigned)gen_len(&gen) / 2;
            sweep(decode_and_encode);
            sweep_arena(decode_and_encode, 32);
            messages++;
            break;
        }
    }
    assert_true(messages >= 4);
}

/* A Produce request of which one topic is refused, and one partition of another. */
static const uint8_t produce[] = "\377\377\377\377\0\0\0\5\0\0\0\2"
                                 "\0\2t1\0\0\0\2\0\0\0\0\0\0\0\1x\0\0\0\1\0\0\0\1y"
                                 "\0\2t2\0\0\0\1\0\0\0\0\0\0\0\1z";

static bool refusals(void)
{
    struct arena a;
    struct buf in, out;
    struct msg request, reply, all;
    struct reply_list list;
    bool ok = false;
    int err;

    arena_init(&a, arena_limit);
    buf_init(&in, SIZE_MAX);
    buf_init(&out, SIZE_MAX);
    err = buf_append(&in, produce, sizeof produce - 1);
    if (!err)
        err = msg_decode(&request, &a, schema_find(0, true), 3, &in, 0, in.len, NULL);
    if (!err)
        err = reply_error(&all, &a, &request, KAFKA_CLUSTER_AUTHORIZATION_FAILED);
    if (!err)
        err = reply_new(&reply, &a, &request);
    if (!err)
        err = reply_list_init(&list, &reply, NULL);
    if (!err) {
        const struct node *topics = node_get(request.root, F_TOPIC_DATA);
        const struct node *first = topics->child;
        err = reply_add_partition(&list, first, node_get(first, F_PARTITION_DATA)->child,
                                  KAFKA_NOT_LEADER_OR_FOLLOWER, NULL);
        if (!err)
            err = reply_add_topic(&list, first->next, KAFKA_TOPIC_AUTHORIZATION_FAILED, NULL);
    }
    if (!err)
        err = msg_encode_response(&reply, 1, &out);
    if (!err)
        err = msg_encode_response(&all, 2, &out);
    if (!err)
        ok = same_bytes(&out);
    else
        assert_true(err == ERR_NOMEM || err == ERR_LIMIT);
    buf_release(&in);
    buf_release(&out);
    arena_release(&a);
    buf_thread_trim();
    return ok;
}

static void replies(void **state)
{
    (void)state;
    wanted.n = 0;
    sweep(refusals);
    sweep_arena(refusals, 16);
}

/* --- tokens and keys */

static EVP_PKEY *keys[3];
static const struct {
    const char *alg;
    int key;
} kinds[] = {{"ES256", 0}, {"PS256", 1}, {"EdDSA", 2}, {"RS256", 1}};
#define KINDS (sizeof kinds / sizeof kinds[0])
static char *jwks_text, *good[KINDS], *bad;
static struct keyring *ring;
static struct config *config;

static char *token(size_t kind)
{
    char header[128];

    snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"k%d\"}",
             kinds[kind].alg, kinds[kind].key);
    return token_sign(kinds[kind].alg, keys[kinds[kind].key], header,
                      "{\"iss\":\"" ISS "\",\"aud\":\"sluice\",\"sub\":\"bob\","
                      "\"exp\":1800000300,\"iat\":1799999990,\"jti\":\"j1\",\"participant\":\"p\","
                      "\"transfer\":\"t\",\"topics\":[\"a\",\"b\"],\"prefix\":\"bob\","
                      "\"ops\":[\"read\"]}");
}

static int set_up(void **state)
{
    struct jwks *set = NULL;
    unsigned ignored;
    char err[256];

    (void)state;
    config = token_config("issuers:\n"
                          "  - issuer: " ISS "\n"
                          "    audience: sluice\n"
                          "    algorithms: [ES256, PS256, EdDSA, RS256]\n"
                          "    second_opinion: false\n"
                          "    claims: {transfer: transfer, participant: participant,\n"
                          "             topics: topics, group_prefix: prefix, operations: ops}\n");
    keys[0] = EVP_EC_gen("P-256");
    keys[1] = EVP_RSA_gen(2048);
    keys[2] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    char *a = token_jwk(keys[0], "k0", ""), *b = token_jwk(keys[1], "k1", ""),
         *c = token_jwk(keys[2], "k2", "");
    if (!config || asprintf(&jwks_text, "{\"keys\":[%s,%s,%s]}", a, b, c) < 0)
        return -1;
    free(a);
    free(b);
    free(c);
    for (size_t i = 0; i < KINDS; i++)
        good[i] = token(i);
    bad = strdup(good[0]);
    bad[strlen(bad) - 10] = bad[strlen(bad) - 10] == 'A' ? 'B' : 'A';
    if (jwks_parse(jwks_text, strlen(jwks_text), &set, &ignored, err, sizeof err) != OK)
        return -1;
    ring = keyring_new(config, &set);
    jwks_unref(set);
    return ring ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    keyring_unref(ring);
    config_unref(config);
    free(jwks_text);
    free(bad);
    for (size_t i = 0; i < 3; i++)
        EVP_PKEY_free(keys[i]);
    for (size_t i = 0; i < KINDS; i++)
        free(good[i]);
    return 0;
}

/* All keys or none: a set that lost one would be kept for as long as its text stays. */
static bool parse_keys(void)
{
    struct jwks *set = NULL;
    struct keyring *k;
    unsigned ignored = 0;
    char err[256];
    int rc = jwks_parse(jwks_text, strlen(jwks_text), &set, &ignored, err, sizeof err);
    bool ok;

    if (rc != OK) {
        assert_null(set);
        assert_int_equal(rc, ERR_NOMEM);
        assert_string_equal(err, "out of memory");
        return false;
    }
    assert_int_equal(jwks_count(set), 3);
    assert_int_equal(ignored, 0);
    k = keyring_new(config, &set);
    jwks_unref(set);
    ok = k != NULL;
    keyring_unref(k);
    return ok;
}

static void key_sets(void **state)
{
    (void)state;
    sweep(parse_keys);
}

static size_t which;

/* A good token is taken or asked for again later; never is it refused for good. */
static bool verify_good(void)
{
    static struct identity id;
    enum jwt_verdict v = jwt_verify(good[which], strlen(good[which]), ring, NOW, NULL, &id);
    struct grant *g = NULL;
    bool ok = false;

    if (v == JWT_OK) {
        assert_string_equal(id.subject, "bob");
        assert_int_equal(id.ntopics, 2);
        int err = grant_from_claims(&id, &g);
        if (err)
            assert_int_equal(err, ERR_NOMEM);
        else
            ok = true;
        grant_unref(g);
    } else if (!jwt_verdict_retriable(v)) {
        fail_msg("%s: %s", kinds[which].alg, jwt_verdict_name(v));
    }
    identity_clear(&id);
    return ok;
}

static bool verify_bad(void)
{
    static struct identity id;
    enum jwt_verdict v = jwt_verify(bad, strlen(bad), ring, NOW, NULL, &id);

    assert_int_not_equal(v, JWT_OK);
    assert_string_equal(id.subject, "");
    identity_clear(&id);
    return v == JWT_SIGNATURE;
}

static void tokens(void **state)
{
    (void)state;
    for (which = 0; which < KINDS; which++)
        sweep(verify_good);
    sweep(verify_bad);
    /* And with libjwt, but for ECDSA: there it leaks half a signature when the other half fails. */
    config->issuers[0].second_opinion = true;
    which = KINDS - 1;
    sweep(verify_good);
}

#define DID "did:web:example.com"
static bool parse_dids(void)
{
    static const char document[] =
        "{\"id\":\"" DID "\",\"verificationMethod\":[{\"id\":\"" DID "#k\",\"type\":"
        "\"JsonWebKey2020\",\"controller\":\"" DID "\",\"publicKeyJwk\":{\"kty\":\"OKP\","
        "\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}},{\"id\":"
        "\"#k2\",\"publicKeyMultibase\":"
        "\"zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169\"}]}";
    struct jwks *one = NULL, *two = NULL;
    int first, second;

    first = did_key_set("did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169", "x", &one);
    second = did_document_set(document, sizeof document - 1, DID, NULL, &two);
    if (first != OK) {
        assert_int_equal(first, ERR_NOMEM);
        assert_null(one);
    }
    if (second != OK) {
        assert_int_equal(second, ERR_NOMEM);
        assert_null(two);
    } else {
        assert_int_equal(jwks_count(two), 2);
    }
    jwks_unref(one);
    jwks_unref(two);
    return first == OK && second == OK;
}

static void dids(void **state)
{
    (void)state;
    sweep(parse_dids);
}

/* --- what we sign */

static struct config *own;
static const struct keyring *own_ring;
static char *made;

/* A token is whole and ours, or there is none. */
static void made_is_ours(void)
{
    static struct identity id;

    if (!made)
        return;
    assert_int_equal(jwt_verify(made, strlen(made), own_ring, NOW, NULL, &id), JWT_OK);
    assert_int_equal(id.ntopics, 2);
    assert_string_equal(id.group_prefix, "bob");
    assert_int_equal(id.operations, OP_READ | OP_MANAGE);
    identity_clear(&id);
    issuer_token_free(made);
    made = NULL;
}

static bool issue(void)
{
    static const char *const topics[] = {"t1", "t2"};
    static const struct issue what = {.transfer = "tp-1",
                                      .participant = "did:web:bob",
                                      .topics = topics,
                                      .ntopics = 2,
                                      .group_prefix = "bob",
                                      .operations = OP_READ | OP_MANAGE};
    char err[256], jti[ISSUER_JTI_BYTES];
    struct issuer *i = issuer_new(own, err, sizeof err);
    json_t *meta = i ? issuer_metadata(i, "https://e/keys", "https://e/token") : NULL;
    int64_t expires;
    int rc = i ? issuer_sign(i, &what, NOW, &made, &expires, jti) : ERR_NOMEM;

    if (!i)
        assert_non_null(strstr(err, "out of memory"));
    if (rc != OK) {
        assert_int_equal(rc, ERR_NOMEM);
        assert_null(made);
    }
    json_decref(meta);
    issuer_free(i);
    return rc == OK && meta;
}

static void signing(void **state)
{
    static const char *const types[] = {"P-256", "ED25519", "RSA"};

    (void)state;
    for (size_t k = 0; k < sizeof types / sizeof types[0]; k++) {
        EVP_PKEY *key = own_key(types[k]);
        char *pem = own_pem(key), err[256];
        struct jwks *set = NULL;
        struct keyring *ring_of_own;
        struct issuer *i;
        char *text;
        json_t *keys_of_own;
        unsigned ignored;

        own = own_config(", claims: {transfer: tp, participant: p, topics: t, group_prefix: g,"
                         " operations: o}",
                         "", (const char *const *)&pem, 1);
        i = issuer_new(own, err, sizeof err);
        keys_of_own = issuer_jwks(i);
        text = json_dumps(keys_of_own, 0);
        assert_int_equal(jwks_parse(text, strlen(text), &set, &ignored, err, sizeof err), OK);
        own_ring = ring_of_own = keyring_new(own, &set);
        afterwards = made_is_ours;
        sweep_places(issue);
        afterwards = NULL;
        keyring_unref(ring_of_own);
        jwks_unref(set);
        any_free(text);
        json_decref(keys_of_own);
        issuer_free(i);
        config_unref(own);
        free(pem);
        EVP_PKEY_free(key);
    }
}

/* --- SCRAM, both sides; secrets and digests */

static const struct scram_user list[] = {{"edc", "pencil-of-length"}};
static struct scram_users *users;
static struct scram_cache cache;
static enum scram_hash by;
static const char *password;

/* All of them, with the keys that their passwords have, or none. */
static bool set_users(void)
{
    struct scram_users *u = scram_users_new();
    int err = u ? scram_users_set(u, list, 1) : ERR_NOMEM;

    if (u)
        assert_int_equal(scram_users_number(u, "edc") != 0, err == OK);
    assert_true(err == OK || err == ERR_NOMEM);
    scram_users_free(u);
    return err == OK;
}

/* False: one side gave up. Whoever is told yes must have known the password. */
static bool scram_talk(void)
{
    struct scram client = {0};
    struct scram_server server = {0};
    char one[SCRAM_MESSAGE_MAX], two[SCRAM_MESSAGE_MAX];
    size_t n = 0, k = 0;
    const char *why;
    bool let_in = false;
    int err = scram_first(&client, by, "edc", NULL, one, &n, &why);

    if (!err)
        err = scram_server_first(&server, users, by, one, n, NULL, two, &k, &why);
    if (!err)
        err = scram_final(&client, password, &cache, two, k, one, &n, &why);
    if (!err) {
        err = scram_server_final(&server, users, one, n, two, &k, &why);
        let_in = err == OK;
    }
    if (!err)
        err = scram_verify(&client, two, k, &why);
    if (let_in)
        assert_string_equal(password, "pencil-of-length");
    scram_server_clear(&server);
    scram_clear(&client);
    return strcmp(password, "pencil-of-length") == 0 ? err == OK : err != OK;
}

/* What was salted with too little memory is not kept for later. */
static void cache_is_right(void)
{
    if (cache.at[0].iterations > 0)
        assert_true(scram_talk());
    scram_cache_clear(&cache);
}

static bool plain_talk(void)
{
    return scram_users_check(users, "edc", password, strlen(password)) ==
           (strcmp(password, "pencil-of-length") == 0);
}

static void scram_both(void **state)
{
    (void)state;
    users = scram_users_new();
    assert_int_equal(scram_users_set(users, list, 1), OK);
    sweep_places(set_users);
    afterwards = cache_is_right;
    for (by = SCRAM_SHA_256; by <= SCRAM_SHA_512; by++) {
        password = "pencil-of-length";
        sweep_places(scram_talk);
        password = "pencil-of-lengtH";
        sweep_places(scram_talk);
    }
    afterwards = NULL;
    sweep(plain_talk);
    password = "pencil-of-length";
    sweep(plain_talk);
    scram_users_free(users);
}

static bool secrets(void)
{
    static const char *const texts[] = {"a", "bc"};
    char hex[DIGEST_HEX + 1], secret[SECRET_TEXT_BYTES], hash[SECRET_TEXT_BYTES];

    return digest_texts(texts, 2, hex) == OK && secret_make(secret) == OK &&
           secret_hash(secret, hash) == OK;
}

static void small_things(void **state)
{
    (void)state;
    sweep(secrets);
}

static void all_of_it_was_swept(void **state)
{
    (void)state;
    if (!sl_alloc_fail_after(0))
        skip();
    print_message("%u failures\n", failures);
    assert_true(failures > 1000);
}

int main(void)
{
    if (!hook_openssl_and_jansson())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codec),
        cmocka_unit_test(replies),
        cmocka_unit_test(key_sets),
        cmocka_unit_test(tokens),
        cmocka_unit_test(dids),
        cmocka_unit_test(signing),
        cmocka_unit_test(scram_both),
        cmocka_unit_test(small_things),
        cmocka_unit_test(all_of_it_was_swept),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
