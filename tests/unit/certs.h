/* Certificates for tests, made at run time in a directory of their own: an authority, a server
 * certificate for "localhost" and 127.0.0.1, a client certificate, and an unrelated authority. */
#ifndef TESTS_CERTS_H
#define TESTS_CERTS_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct certs {
    char dir[64];
    char ca[96], server[96], server_key[96], client[96], client_key[96], other_ca[96];
};

static inline EVP_PKEY *certs_key(const char *path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *f = path ? fopen(path, "w") : NULL;
    if (f) {
        PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
        fclose(f);
    }
    return key;
}

static inline void certs_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

/* issuer NULL: signs itself, as an authority. */
static inline X509 *certs_make(const char *path, const char *name, EVP_PKEY *key, X509 *issuer,
                               EVP_PKEY *issuer_key)
{
    static long serial = 1;
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509 *signer = issuer ? issuer : cert;
    X509_set_issuer_name(cert, X509_get_subject_name(signer));
    certs_extension(cert, signer, NID_basic_constraints,
                    issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
    certs_extension(cert, signer, NID_subject_key_identifier, "hash");
    if (issuer)
        certs_extension(cert, signer, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    X509_sign(cert, issuer ? issuer_key : key, EVP_sha256());
    FILE *f = fopen(path, "w");
    if (f) {
        PEM_write_X509(f, cert);
        fclose(f);
    }
    return cert;
}

static inline void certs_init(struct certs *c)
{
    (void)snprintf(c->dir, sizeof(c->dir), "/tmp/sluice-certs-XXXXXX");
    if (!mkdtemp(c->dir))
        abort();
    (void)snprintf(c->ca, sizeof(c->ca), "%s/ca.pem", c->dir);
    (void)snprintf(c->server, sizeof(c->server), "%s/server.pem", c->dir);
    (void)snprintf(c->server_key, sizeof(c->server_key), "%s/server.key", c->dir);
    (void)snprintf(c->client, sizeof(c->client), "%s/client.pem", c->dir);
    (void)snprintf(c->client_key, sizeof(c->client_key), "%s/client.key", c->dir);
    (void)snprintf(c->other_ca, sizeof(c->other_ca), "%s/other.pem", c->dir);
    EVP_PKEY *ca_key = certs_key(NULL), *other_key = certs_key(NULL);
    EVP_PKEY *server_key = certs_key(c->server_key), *client_key = certs_key(c->client_key);
    X509 *ca = certs_make(c->ca, "test authority", ca_key, NULL, NULL);
    X509_free(certs_make(c->other_ca, "another authority", other_key, NULL, NULL));
    X509_free(certs_make(c->server, "server", server_key, ca, ca_key));
    X509_free(certs_make(c->client, "client", client_key, ca, ca_key));
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(other_key);
    EVP_PKEY_free(server_key);
    EVP_PKEY_free(client_key);
}

static inline void certs_release(const struct certs *c)
{
    const char *files[] = {c->ca,         c->server,   c->server_key, c->client,
                           c->client_key, c->other_ca, NULL};
    for (size_t i = 0; files[i]; i++)
        (void)unlink(files[i]);
    (void)rmdir(c->dir);
}

#endif
