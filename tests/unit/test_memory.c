/* Memory fails at every place where it is asked for: the n-th time and for good, or the n-th time
 * alone, for each n that there is. Counted are our own allocations and those that OpenSSL and
 * jansson make for us; libjwt is left out, which without memory takes lengths of -1 and texts of
 * NULL as they come. What comes out must be right or refused, and nobody gets in because memory was
 * short; AddressSanitizer sees to it that nothing leaks. The session's part of this is in
 * test_session.c, a transport's in test_transport.c. */
#include "tests/unit/unit.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "auth/did.h"
#include "auth/digest.h"
#include "auth/grant_table.h"
#include "auth/jwt.h"
#include "auth/memory.h"
#include "auth/scram.h"
#include "auth/scram_server.h"
#include "auth/secret.h"
#include "auth/signing_key.h"
#include "base/alloc.h"
#include "codec/json.h"
#include "codec/reply.h"
#include "tests/unit/gen.h"
#include "tests/unit/token.h"

#define FAILURES_MAX 1000000
#define NOW          1800000000
#define ISS          "https://idp.example.com"

/* Leaves the note that the libraries' own allocators leave. */
static void *noted(void *p)
{
    if (!p)
        memory_short();
    return p;
}

static void *any_malloc(size_t n)
{
    return noted(sl_malloc(n));
}

static void any_free(void *p)
{
    sl_free(p);
}

static void *tls_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return noted(sl_malloc(n));
}

static void *tls_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return noted(sl_realloc(p, n));
}

static void tls_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    sl_free(p);
}

static unsigned failures; /* of all sweeps */

/* Runs it with each failure there is (sparse: the later, the fewer); true from it: all went well.
 */
static void sweep_by(bool (*run)(void), bool sparse)
{
    if (!sl_alloc_fail_after(0))
        skip();         /* a build without this */
    assert_true(run()); /* what is set up once is set up now */
    for (int once = 0; once < 2; once++) {
        unsigned n = 1, failed;
        do {
            assert_true(n < FAILURES_MAX);
            assert_true(once ? sl_alloc_fail_once(n) : sl_alloc_fail_after(n));
            bool ok = run();
            failed = sl_alloc_failed();
            (void)sl_alloc_fail_after(0);
            ERR_clear_error();
            if (!failed)
                assert_true(ok);
            failures += failed > 0;
            n += sparse ? 1 + n / 8 : 1;
        } while (failed);
    }
}

static void sweep(bool (*run)(void))
{
    sweep_by(run, false);
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
static const char *const algorithms[3] = {"ES256", "PS256", "EdDSA"};
static char *jwks_text, *good[3], *bad;
static struct keyring *ring;
static struct config *config;

static char *token(int key)
{
    char header[128];

    snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"k%d\"}",
             algorithms[key], key);
    return token_sign(algorithms[key], keys[key], header,
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
                          "    algorithms: [ES256, PS256, EdDSA]\n"
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
    for (int i = 0; i < 3; i++)
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
    for (int i = 0; i < 3; i++) {
        EVP_PKEY_free(keys[i]);
        free(good[i]);
    }
    return 0;
}

static bool parse_keys(void)
{
    struct jwks *set = NULL;
    struct keyring *k;
    unsigned ignored = 0;
    char err[256];
    bool ok;

    if (jwks_parse(jwks_text, strlen(jwks_text), &set, &ignored, err, sizeof err) != OK) {
        assert_null(set);
        return false;
    }
    ok = jwks_count(set) == 3 && ignored == 0;
    k = keyring_new(config, &set);
    jwks_unref(set);
    ok = ok && k;
    keyring_unref(k);
    return ok;
}

static void key_sets(void **state)
{
    (void)state;
    sweep(parse_keys);
}

static int which;

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
        fail_msg("%s: %s", algorithms[which], jwt_verdict_name(v));
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
    for (which = 0; which < 3; which++)
        sweep(verify_good);
    sweep(verify_bad);
}

#define DID "did:web:example.com"
static bool parse_dids(void)
{
    static const char document[] =
        "{\"id\":\"" DID "\",\"verificationMethod\":[{\"id\":\"" DID "#k\",\"type\":"
        "\"JsonWebKey2020\",\"controller\":\"" DID "\",\"publicKeyJwk\":{\"kty\":\"OKP\","
        "\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}}]}";
    struct jwks *one = NULL, *two = NULL;
    bool ok;

    ok = did_key_set("did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169", "x", &one) == OK;
    if (!ok)
        assert_null(one);
    if (did_document_set(document, sizeof document - 1, DID, "k", &two) != OK) {
        assert_null(two);
        ok = false;
    }
    jwks_unref(one);
    jwks_unref(two);
    return ok;
}

static void dids(void **state)
{
    (void)state;
    sweep(parse_dids);
}

static char *pem;

/* By OpenSSL alone. */
static bool sign(void)
{
    struct signing_key k;
    const char *why = NULL;
    json_t *jwk = NULL, *claims = json_pack("{s:s}", "sub", "bob");
    char *made = NULL;
    bool ok = false;

    if (signing_key_load(pem, ALG_EDDSA, &k, &why) == OK) {
        jwk = signing_key_jwk(&k);
        ok = jwk && claims && signing_key_sign(&k, claims, &made) == OK;
        signing_key_clear(&k);
    }
    signing_token_free(made);
    json_decref(jwk);
    json_decref(claims);
    return ok;
}

static void signing(void **state)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *p;
    long n;

    (void)state;
    PEM_write_bio_PrivateKey(b, keys[2], NULL, NULL, 0, NULL, NULL);
    n = BIO_get_mem_data(b, &p);
    pem = strndup(p, (size_t)n);
    BIO_free(b);
    sweep(sign);
    free(pem);
}

/* --- SCRAM, both sides; secrets and digests */

static const char *password;

/* False: one side gave up. Whoever is told yes must have known the password. */
static bool scram_talk(void)
{
    const struct scram_user list[] = {{"edc", "pencil-of-length"}};
    struct scram_users *users = scram_users_new();
    struct scram_cache cache = {0};
    struct scram client = {0};
    struct scram_server server = {0};
    char one[SCRAM_MESSAGE_MAX], two[SCRAM_MESSAGE_MAX];
    size_t n = 0, k = 0;
    const char *why;
    bool let_in = false;
    int err = users ? scram_users_set(users, list, 1) : ERR_NOMEM;

    if (!err)
        err = scram_first(&client, SCRAM_SHA_256, "edc", NULL, one, &n, &why);
    if (!err)
        err = scram_server_first(&server, users, SCRAM_SHA_256, one, n, NULL, two, &k, &why);
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
    scram_cache_clear(&cache);
    scram_users_free(users);
    return strcmp(password, "pencil-of-length") == 0 ? err == OK : err != OK;
}

/* Every one of thousands of rounds asks for memory anew: not each of them is tried. */
static void scram_both(void **state)
{
    (void)state;
    password = "pencil-of-length";
    sweep_by(scram_talk, true);
    password = "pencil-of-lengtH";
    sweep_by(scram_talk, true);
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
    if (CRYPTO_set_mem_functions(tls_malloc, tls_realloc, tls_free) != 1)
        return 1;
    json_set_alloc_funcs(any_malloc, any_free);
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
