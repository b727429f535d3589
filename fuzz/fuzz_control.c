/* Any bytes as a body of the control API: a revocation, a grant, a form. What is accepted must be
 * whole: a revocation that the store's own check takes, a grant that its own JSON makes again. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "control/body.h"
#include "fuzz/mutate_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const char *const keys[] = {"principal",
                                   "issuer",
                                   "subject",
                                   "client",
                                   "topics",
                                   "group_prefix",
                                   "operations",
                                   "not_before",
                                   "expires",
                                   "participant",
                                   "agreement",
                                   "asset",
                                   "tokens",
                                   "kind",
                                   "value",
                                   "token",
                                   "transfer",
                                   "jti",
                                   "reason",
                                   "id",
                                   "at",
                                   "read",
                                   "write",
                                   "manage",
                                   "describe_configs",
                                   "https://i",
                                   "bob",
                                   "2026-01-01T00:00:00Z",
                                   "2026-02-30T00:00:00+01:00",
                                   "t1",
                                   "did:web:bob",
                                   "*",
                                   "parts",
                                   "token=a&token=b"};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_words w = MUTATE_WORDS(keys);

    if (size < 2 || max < 2 || seed % 32 == 0)
        return LLVMFuzzerMutate(data, size, max);
    if (data[0] % 3 == 2)
        return 1 + mutate_items('&', &w, data + 1, size - 1, max - 1, seed);
    return 1 + mutate_json(&w, data + 1, size - 1, max - 1, seed);
}

static const char text[] = "listen: 0.0.0.0:9093\n"
                           "advertise: gate.example.com:9093\n"
                           "tls: {certificate: gate.pem, key: gate.key}\n"
                           "issuers: [{issuer: 'https://i', audience: a}]\n"
                           "upstream: {brokers: ['k:1']}\n";

static void revocation(const char *body, size_t n)
{
    char err[BODY_ERROR_BYTES] = "";
    struct revocation *r = NULL;
    int result = body_revocation(body, n, 1700000000, &r, err, sizeof(err));
    if (result != OK) {
        if (result != ERR_MALFORMED || !err[0] || r)
            abort();
        return;
    }
    if (revocation_check(r->kind, r->issuer, r->value, r->client, r->reason) != OK)
        abort();
    json_decref(body_of_revocation(r));
    revocation_free(r);
}

static void grant(const struct config *c, const char *body, size_t n)
{
    char err[BODY_ERROR_BYTES] = "";
    struct grant *g = NULL, *again = NULL;
    if (body_grant(body, n, "id", c, &g, err, sizeof(err)) != OK) {
        if (!err[0])
            abort();
        return;
    }
    json_t *shown = body_of_grant(g, GRANT_ACTIVE, &(struct grant_usage){1, 2});
    /* What is told of a grant and is not part of it. */
    static const char *const told[] = {"id", "source", "state", "sessions", "last_use"};
    for (size_t i = 0; i < sizeof(told) / sizeof(*told); i++)
        json_object_del(shown, told[i]);
    char *dumped = json_dumps(shown, JSON_COMPACT);
    if (body_grant(dumped, strlen(dumped), "id", c, &again, err, sizeof(err)) != OK ||
        !grant_equal(g, again))
        abort();
    free(dumped);
    json_decref(shown);
    grant_unref(again);
    grant_unref(g);
}

static void form(const char *body, size_t n)
{
    char out[300];
    int len = body_form(body, n, "token", out, sizeof(out));
    if (len >= 0 && strlen(out) != (size_t)len)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config *config;
    char err[1024];
    if (!config)
        config = config_parse("/s.yaml", text, strlen(text), false, err, sizeof(err));
    if (size < 1 || !config)
        return 0;
    const char *body = (const char *)data + 1;
    if (data[0] % 3 == 0)
        revocation(body, size - 1);
    else if (data[0] % 3 == 1)
        grant(config, body, size - 1);
    else
        form(body, size - 1);
    return 0;
}
