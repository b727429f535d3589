#include "tests/unit/unit.h"

#include "tests/unit/ends.h"

/* --- handshakes that fail */

static void expect_refusal(struct tls_context *sctx, const void *bytes, size_t n, int why,
                           const char *text)
{
    struct end server = {.stay = true};
    int fd = raw_peer(&server, sctx);
    assert_int_equal(send(fd, bytes, n, 0), (ssize_t)n);
    if (why == ERR_EOF)
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
    run_until_failed(1);
    assert_int_equal(server.ready, 0);
    assert_string_equal(server.text, text);
    assert_int_equal(server.why, why);
    close(fd);
    end_release(&server);
}

/* What a client that knows no newer version says first. */
static size_t client_hello(int max_version, uint8_t *out, size_t size)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(ctx, 0);
    (void)SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, max_version), 1);
    SSL *ssl = SSL_new(ctx);
    BIO *to = BIO_new(BIO_s_mem()), *from = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, from, to);
    assert_int_equal(SSL_connect(ssl), -1);
    int n = BIO_read(to, out, (int)size);
    assert_true(n > 0);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return (size_t)n;
}

static void test_handshake_failures_say_what_the_peer_did(void **state)
{
    (void)state;
    static const uint8_t kafka[] = {0, 0, 0, 20, 0, 18, 0, 3, 0, 0, 0, 1, 0, 4, 't', 'e', 's', 't'};
    uint8_t hello[2048];
    struct tls_context *c12 = server_context(12, 0), *c13 = server_context(13, 0);
    expect_refusal(c12, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, ERR_TLS,
                   "HTTP request on the TLS port");
    expect_refusal(c12, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, ERR_TLS,
                   "HTTP request on the TLS port");
    expect_refusal(c12, kafka, sizeof(kafka), ERR_TLS, "not TLS: a Kafka client without TLS?");
    expect_refusal(c12, "SSH-2.0-OpenSSH_9.2\r\n", 21, ERR_TLS, "not TLS");
    expect_refusal(c12, "", 0, ERR_EOF, "closed during the TLS handshake");
    size_t n = client_hello(TLS1_VERSION, hello, sizeof(hello));
    expect_refusal(c12, hello, n, ERR_TLS, "TLS 1.0 offered, TLS 1.2 is the least");
    n = client_hello(TLS1_1_VERSION, hello, sizeof(hello));
    expect_refusal(c12, hello, n, ERR_TLS, "TLS 1.1 offered, TLS 1.2 is the least");
    n = client_hello(TLS1_2_VERSION, hello, sizeof(hello));
    expect_refusal(c13, hello, n, ERR_TLS, "TLS 1.2 offered, TLS 1.3 is the least");
    expect_refusal(c12, hello, n / 2, ERR_EOF, "closed during the TLS handshake");
    tls_unref(c12);
    tls_unref(c13);
}

/* Any first bytes, cut anywhere: an end, with a reason, and no crash. */
static void test_broken_hellos_fail(void **state)
{
    (void)state;
    uint8_t hello[2048], broken[2048];
    struct tls_context *c = server_context(12, 0);
    size_t n = client_hello(TLS1_3_VERSION, hello, sizeof(hello));
    for (int i = 0; i < 150; i++) {
        memcpy(broken, hello, n);
        for (size_t k = 1 + roll(4); k; k--)
            broken[roll(n)] = (uint8_t)roll(256);
        struct end server = {.stay = true};
        int fd = raw_peer(&server, c);
        size_t len = roll(2) ? n : 1 + roll(n);
        assert_int_equal(send(fd, broken, len, 0), (ssize_t)len);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        run_until_failed(1);
        assert_int_equal(server.ready, 0);
        assert_true(strlen(server.text) > 0);
        close(fd);
        end_release(&server);
    }
    tls_unref(c);
}

/* --- certificates */

static void meet(struct tls_context *sctx, struct tls_context *cctx, const char *name,
                 struct end *server, struct end *client)
{
    struct sockaddr_in addr;
    int listener = listen_on(&addr);
    *server = (struct end){.stay = true};
    *client = (struct end){.stay = true};
    assert_int_equal(transport_connect(&client->t, loop, (struct sockaddr *)&addr, sizeof(addr),
                                       cctx, name, &events, client, LIMIT, LIMIT),
                     OK);
    int fd = accept_one(listener);
    close(listener);
    assert_int_equal(transport_accept(&server->t, loop, fd, sctx, &events, server, LIMIT, LIMIT),
                     OK);
    to_hear = 1;
    run_until((server->ready || server->failed) && (client->ready || client->failed));
}

/* The thumbprint by other means: DER through the digest, base64 made URL-safe. */
static void expected_thumbprint(const char *path, char out[48])
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    uint8_t *der = NULL, sum[32];
    int n = i2d_X509(cert, &der);
    assert_int_equal(EVP_Digest(der, (size_t)n, sum, NULL, EVP_sha256(), NULL), 1);
    OPENSSL_free(der);
    X509_free(cert);
    (void)EVP_EncodeBlock((uint8_t *)out, sum, 32);
    for (char *p = out; *p; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p == '=' ? '\0' : *p;
}

static void test_client_certificates(void **state)
{
    (void)state;
    struct tls_context *bare = client_context(false), *with = client_context(true);
    struct tls_context *optional = server_context(12, 1), *required = server_context(12, 2);
    struct end server, client;
    char thumbprint[44], expected[48];
    expected_thumbprint(certs.client, expected);

    meet(optional, bare, "localhost", &server, &client);
    assert_int_equal(server.ready, 1);
    assert_int_equal(transport_peer_thumbprint(&server.t, thumbprint), ERR_UNKNOWN);
    end_release(&server);
    end_release(&client);

    for (int i = 0; i < 3; i++) { /* the later ones resumed */
        meet(i ? required : optional, with, "localhost", &server, &client);
        assert_int_equal(server.ready, 1);
        assert_int_equal(client.ready, 1);
        assert_int_equal(transport_peer_thumbprint(&server.t, thumbprint), OK);
        assert_string_equal(thumbprint, expected);
        assert_int_equal(strlen(thumbprint), 43);
        assert_string_equal(transport_protocol(&server.t), "TLSv1.3");
        assert_string_equal(transport_cipher(&server.t), "TLS_AES_128_GCM_SHA256");
        end_release(&server);
        end_release(&client);
    }

    meet(required, bare, "localhost", &server, &client);
    assert_int_equal(server.ready, 0);
    assert_int_equal(server.why, ERR_TLS);
    assert_string_equal(server.text, "no client certificate, and one is required");
    run_until(client.failed);
    assert_int_equal(client.failed, 1);
    assert_string_equal(client.text, "the peer refused: tlsv13 alert certificate required");
    end_release(&server);
    end_release(&client);
    tls_unref(bare);
    tls_unref(with);
    tls_unref(optional);
    tls_unref(required);
}

static void test_servers_are_verified(void **state)
{
    (void)state;
    char err[256] = "";
    struct tls_context *sctx = server_context(12, 0), *good = client_context(false);
    struct tls_client_settings s = {.ca = certs.other_ca, .verify = true};
    struct tls_context *stranger = tls_client_new(&s, err, sizeof(err));
    s.verify = false;
    struct tls_context *careless = tls_client_new(&s, err, sizeof(err));
    struct end server, client;

    static const char *const fine[] = {"localhost", "127.0.0.1"};
    for (int i = 0; i < 2; i++) {
        meet(sctx, good, fine[i], &server, &client);
        assert_int_equal(client.ready, 1);
        assert_int_equal(client.failed, 0);
        end_release(&server);
        end_release(&client);
    }
    static const struct {
        const char *name, *text;
        bool stranger;
    } bad[] = {
        {"kafka.example.com", "the peer's certificate was refused: hostname mismatch", false},
        {"127.0.0.2", "the peer's certificate was refused: IP address mismatch", false},
        {"localhost", "the peer's certificate was refused: unable to get local issuer certificate",
         true},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        meet(sctx, bad[i].stranger ? stranger : good, bad[i].name, &server, &client);
        assert_int_equal(client.ready, 0);
        assert_int_equal(client.why, ERR_TLS);
        assert_string_equal(client.text, bad[i].text);
        run_until(server.failed);
        assert_int_equal(server.failed, 1);
        assert_int_equal(server.ready, 0);
        end_release(&server);
        end_release(&client);
    }
    meet(sctx, careless, NULL, &server, &client);
    assert_int_equal(client.ready, 1);
    end_release(&server);
    end_release(&client);
    /* To verify without a name would accept anybody that the authority knows. */
    struct sockaddr_in addr;
    int listener = listen_on(&addr);
    assert_int_equal(transport_connect(&client.t, loop, (struct sockaddr *)&addr, sizeof(addr),
                                       good, NULL, &events, &client, LIMIT, LIMIT),
                     ERR_CONFIG);
    close(listener);
    tls_unref(sctx);
    tls_unref(good);
    tls_unref(stranger);
    tls_unref(careless);
}

static void resume(struct tls_context *sctx, struct tls_context *cctx)
{
    struct sockaddr_in addr;
    int listener = listen_on(&addr);
    for (int i = 0; i < 4; i++) {
        struct end server = {.to_send = 100, .stay = true}, client = {.to_send = 100, .stay = true};
        assert_int_equal(transport_connect(&client.t, loop, (struct sockaddr *)&addr, sizeof(addr),
                                           cctx, "localhost", &events, &client, LIMIT, LIMIT),
                         OK);
        int fd = accept_one(listener);
        assert_int_equal(
            transport_accept(&server.t, loop, fd, sctx, &events, &server, LIMIT, LIMIT), OK);
        run_until(client.received == 100 && server.received == 100);
        assert_string_equal(client.text, "");
        assert_string_equal(server.text, "");
        assert_int_equal(client.received, 100);
        assert_int_equal(server.received, 100);
        assert_int_equal(transport_resumed(&client.t), i > 0);
        assert_int_equal(transport_resumed(&server.t), i > 0);
        /* Neither a hard close nor a soft one spoils the session. */
        transport_close(&client.t, i & 1);
        end_release(&client);
        end_release(&server);
    }
    close(listener);
    tls_unref(sctx);
    tls_unref(cctx);
}

static void test_client_sessions_are_resumed(void **state)
{
    (void)state;
    resume(server_context(12, 0), client_context(false));
    resume(server_context(12, 0), only_12(client_context(false)));
}

static void test_unusable_files_are_named(void **state)
{
    (void)state;
    char err[256] = "", text[256];
    struct tls_server_settings s = {.certificate = "/nowhere.pem", .key = certs.server_key};
    assert_null(tls_server_new(&s, err, sizeof(err)));
    assert_string_equal(err, "certificate /nowhere.pem: No such file or directory");
    s.certificate = certs.server;
    s.key = certs.client_key;
    assert_null(tls_server_new(&s, err, sizeof(err)));
    (void)snprintf(text, sizeof(text), "key %s: key values mismatch", certs.client_key);
    assert_string_equal(err, text);
    s.key = certs.server_key;
    s.ciphers = "NO-SUCH-CIPHER";
    assert_null(tls_server_new(&s, err, sizeof(err)));
    assert_string_equal(err, "ciphers NO-SUCH-CIPHER: no cipher match");
    s.ciphers = NULL;
    s.client_certificate = 2;
    assert_null(tls_server_new(&s, err, sizeof(err)));
    assert_non_null(strstr(err, "client_ca"));
    s.client_ca = certs.server_key;
    assert_null(tls_server_new(&s, err, sizeof(err)));
    assert_non_null(strstr(err, certs.server_key));
    struct tls_client_settings c = {.ca = "/nowhere.pem", .verify = true};
    assert_null(tls_client_new(&c, err, sizeof(err)));
    assert_non_null(strstr(err, "/nowhere.pem"));
}

int main(void)
{
#ifdef SLUICE_TEST
    if (CRYPTO_set_mem_functions(tls_malloc, tls_realloc, tls_free) != 1)
        return 1;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_handshake_failures_say_what_the_peer_did, new_loop,
                                        free_loop),
        cmocka_unit_test_setup_teardown(test_broken_hellos_fail, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_client_certificates, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_servers_are_verified, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_client_sessions_are_resumed, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_unusable_files_are_named, new_loop, free_loop),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
