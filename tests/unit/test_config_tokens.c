/* What the configuration checks about issuers of our own, tokens and outgoing calls. */
#include "tests/unit/unit.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"

#define HEAD                                                                                       \
    "listen: 0.0.0.0:9093\n"                                                                       \
    "advertise: gate.example.com:9093\n"                                                           \
    "tls: {certificate: gate.pem, key: gate.key}\n"                                                \
    "upstream: {brokers: [kafka-1:9092]}\n"                                                        \
    "store: {path: sluice.db}\n"
#define OWN    "{issuer: 'https://e', audience: a, signing_keys: k.pem}"
#define IDP    "{issuer: 'https://idp', audience: a}"
#define IDP2   "{issuer: 'https://idp2', audience: a}"
#define LISTEN "signaling: {listen: '127.0.0.1:1'}\n"

static char err[65536];

static struct config *parse(const char *issuers, const char *more)
{
    char text[8192];
    int n = snprintf(text, sizeof(text), HEAD "issuers: [%s]\n%s", issuers, more);

    err[0] = '\0';
    return config_parse("/etc/sluice/s.yaml", text, (size_t)n, false, err, sizeof(err));
}

static void refused(const char *issuers, const char *more, const char *why)
{
    struct config *c = parse(issuers, more);

    if (c || !strstr(err, why))
        print_error("wanted: %s\nsaid: %s\n", why, c ? "good" : err);
    assert_null(c);
    assert_non_null(strstr(err, why));
}

/* warning NULL: none that names tokens, issuers or outgoing. */
static struct config *taken(const char *issuers, const char *more, const char *warning)
{
    struct config *c = parse(issuers, more);
    bool found = false, any = false;

    if (!c)
        print_error("%s\n", err);
    assert_non_null(c);
    const struct strings *w = config_warnings(c);
    for (size_t i = 0; i < w->count; i++) {
        found |= warning && strstr(w->at[i], warning);
        any |= strstr(w->at[i], "tokens") || strstr(w->at[i], "issuers[");
    }
    if (warning ? !found : any)
        for (size_t i = 0; i < w->count; i++)
            print_error("%s\n", w->at[i]);
    assert_true(warning ? found : !any);
    return c;
}

static void own_issuers(void **state)
{
    struct config *c = taken(OWN, "", NULL);

    (void)state;
    assert_int_equal(c->issuers[0].signing_keys.count, 1);
    assert_int_equal(c->issuers[0].token_life_s, 300);
    assert_false(c->issuers[0].shared_subjects);
    assert_false(c->issuers[0].discovery);
    assert_string_equal(c->issuers[0].claims.transfer, "transfer");
    assert_string_equal(c->issuers[0].claims.operations, "operations");
    config_unref(c);
    c = taken("{issuer: 'not a url', audience: a, signing_keys: [a, b], claims: {transfer: t}}", "",
              NULL);
    assert_int_equal(c->issuers[0].signing_keys.count, 2);
    assert_string_equal(c->issuers[0].claims.transfer, "t");
    config_unref(c);
    refused(OWN ", {issuer: 'https://f', audience: a, signing_keys: k.pem}", "", "one issuer");
    refused("{issuer: 'https://e', audience: a, signing_keys: k, jwks_url: 'https://x'}", "",
            "contradicts `signing_keys`");
    refused("{issuer: 'https://e', audience: a, signing_keys: k, jwks_file: x}", "",
            "contradicts `signing_keys`");
    refused("{issuer: 'https://e', audience: a, signing_keys: k, discovery: true}", "",
            "contradicts `signing_keys`");
    refused("{issuer: 'https://e', audience: a, signing_keys: []}", "", "is an empty list");
    refused("{issuer: 'https://e', audience: a, token_life_s: 60}", "",
            "means nothing without `signing_keys`");
    refused("{issuer: 'https://e', audience: a, signing_keys: k, token_life_s: 7200,"
            " max_token_s: 3600}",
            "", "is above `max_token_s` (3600)");
    config_unref(taken("{issuer: 'https://e', audience: a, signing_keys: k, token_life_s: 7200}",
                       "", "is long"));
    config_unref(taken("{issuer: 'https://e', audience: a, signing_keys: k, shared_subjects: true}",
                       "", "subject of its own"));
}

static void sources(void **state)
{
    struct config *c;

    (void)state;
    refused(IDP, "tokens: {source: own}\n", "own needs an entry of `issuers`");
    config_unref(taken(IDP, "tokens: {scope: x}\n", NULL));
    c = taken(IDP ", " OWN,
              "tokens: {source: registration, token_url: 'https://t',"
              " registration_url: 'https://r', registration_token_file: x}\n",
              NULL);
    assert_string_equal(c->tokens.issuer, "https://idp"); /* the only one that isn't ours */
    config_unref(c);
    config_unref(taken(IDP,
                       "tokens: {source: registration, token_url: 'https://t',"
                       " registration_url: 'https://r'}\n",
                       "let anybody register"));
    refused(IDP, "tokens: {source: registration, token_url: 'https://t'}\n",
            "tokens.registration_url: is missing");
    refused(IDP, "tokens: {source: registration, registration_url: 'https://t'}\n",
            "tokens.token_url: is missing");
    refused(IDP ", " IDP2, "tokens: {source: client_credentials}\n", "needs `tokens.issuer`");
    refused(OWN, "tokens: {source: client_credentials}\n", "needs `tokens.issuer`");
    refused(IDP ", " OWN, "tokens: {source: client_credentials, issuer: 'https://e'}\n",
            "is sluice itself");
    refused(IDP, "tokens: {source: client_credentials, issuer: 'https://f'}\n",
            "is none of `issuers`");
    c = taken(IDP ", " IDP2, "tokens: {source: client_credentials, issuer: 'https://idp2'}\n",
              "share a subject");
    config_unref(c);
    config_unref(taken("{issuer: 'https://idp', audience: a, shared_subjects: false}",
                       "tokens: {source: client_credentials}\n", NULL));
    config_unref(taken(OWN, "tokens: {secrets: [{name: a, file: b, token_url: 'https://t'}]}\n",
                       "do nothing"));
    refused("{issuer: 'https://idp', audience: a, shared_subjects: false}",
            "tokens: {source: client_credentials, secrets: [{name: a, file: b, token_url: "
            "'https://t'}, {name: a, file: b, token_url: 'https://t'}]}\n",
            "tokens.secrets[1].name: stands in tokens.secrets[0] already");
    refused(OWN, "tokens: {secrets: [{name: a, file: b}]}\n", "token_url");
    refused(OWN, "tokens: {secrets: [{name: a, file: b, token_url: 'http://t'}]}\n", "https");
}

static void clients_and_refresh(void **state)
{
    struct config *c;

    (void)state;
    config_unref(taken(OWN, LISTEN "tokens: {clients: [{id: a, secret_file: x}]}\n", NULL));
    config_unref(taken(OWN, "tokens: {clients: [{id: a, secret_file: x}]}\n", "do nothing"));
    refused(OWN, LISTEN "tokens: {clients: [{id: 'a:b', secret_file: x}]}\n", "colon");
    refused(OWN, LISTEN "tokens: {clients: [{id: a, secret_file: x}, {id: a, secret_file: x}]}\n",
            "already");
    c = taken(OWN, LISTEN "outgoing: {hosts: a}\ntokens: {refresh: {url: 'https://e/r'}}\n", NULL);
    assert_string_equal(c->tokens.refresh_audience, "https://e/r");
    assert_int_equal(c->tokens.refresh_life_s, 86400);
    config_unref(c);
    c = taken(OWN, LISTEN "tokens: {refresh: {url: 'https://e/r', audience: 'did:web:p'}}\n",
              "only consumers with a did:key");
    assert_string_equal(c->tokens.refresh_audience, "did:web:p");
    config_unref(c);
    config_unref(taken(OWN, "tokens: {refresh: {url: 'https://e/r'}}\n", "does nothing"));
    refused(IDP, LISTEN "tokens: {refresh: {url: 'https://e/r'}}\n", "`signing_keys`");
    refused(OWN, LISTEN "tokens: {refresh: {life_s: 60}}\n", "url");
    refused(OWN,
            LISTEN "tokens: {refresh: {url: 'https://e', participants: [{id: a, jwks_file: x},"
                   " {id: a, jwks_file: x}]}}\n",
            "already");
}

static void outgoing(void **state)
{
    struct config *c = taken(IDP, "outgoing: {hosts: [a, 'b:1']}\n", NULL);

    (void)state;
    assert_int_equal(c->outgoing.hosts.count, 2);
    config_unref(c);
    refused(IDP, "outgoing: {hosts: ['https://a/']}\n", "host or host:port alone");
    refused(IDP, "outgoing: {hosts: ['*.a']}\n", "each host is named");
    refused(IDP, "outgoing: {hosts: ['a b']}\n", "no host or host:port");
}

/* The content of key files is the configuration's, whatever happens to the files afterwards. */
static void key_files(void **state)
{
    char folder[] = "/tmp/sluice-config-XXXXXX", path[128], text[4096];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct config *c;
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/k.pem", folder);
    f = fopen(path, "w");
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    chmod(path, 0600);
    snprintf(text, sizeof(text),
             "listen: 0.0.0.0:9093\nadvertise: gate.example.com:9093\n"
             "tls: {certificate: k.pem, key: k.pem}\nupstream: {brokers: [kafka-1:9092]}\n"
             "issuers: [{issuer: 'https://e', audience: a, signing_keys: [k.pem, k.pem]}]\n");
    char file[160];
    snprintf(file, sizeof(file), "%s/s.yaml", folder);
    c = config_parse(file, text, strlen(text), true, err, sizeof(err));
    assert_null(c); /* the certificate is none, and that is all */
    assert_null(strstr(err, "signing_keys"));
    f = fopen(path, "a");
    fputs("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", f);
    fclose(f);
    c = config_parse(file, text, strlen(text), true, err, sizeof(err));
    assert_non_null(c);
    assert_int_equal(c->issuers[0].signing_keys.count, 2);
    assert_non_null(strstr(c->issuers[0].signing_keys.at[1], "PRIVATE KEY"));
    config_unref(c);
    f = fopen(path, "w");
    fputs("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", f);
    fclose(f);
    assert_null(config_parse(file, text, strlen(text), true, err, sizeof(err)));
    assert_non_null(strstr(err, "signing_keys: "));
    assert_non_null(strstr(err, "holds no PEM private key"));
    unlink(path);
    assert_null(config_parse(file, text, strlen(text), true, err, sizeof(err)));
    assert_non_null(strstr(err, "cannot be read"));
    rmdir(folder);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_issuers),         cmocka_unit_test(sources),
        cmocka_unit_test(clients_and_refresh), cmocka_unit_test(outgoing),
        cmocka_unit_test(key_files),
    };
    return cmocka_run_group_tests_name("config_tokens", tests, NULL, NULL);
}
