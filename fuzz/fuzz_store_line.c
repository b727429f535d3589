/* Any bytes as a line of an export. What is taken must come out again as it went in. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/store_line.h"
#include "fuzz/mutate_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const char *const words[] = {"grant",
                                    "revocation",
                                    "note",
                                    "id",
                                    "principal",
                                    "issuer",
                                    "subject",
                                    "client",
                                    "tokens",
                                    "participant",
                                    "agreement",
                                    "asset",
                                    "topics",
                                    "group_prefix",
                                    "operations",
                                    "not_before",
                                    "expires",
                                    "read",
                                    "write",
                                    "manage",
                                    "describe_configs",
                                    "kind",
                                    "value",
                                    "reason",
                                    "at",
                                    "until",
                                    "expires_s",
                                    "text",
                                    "transfer",
                                    "token",
                                    "https://i",
                                    "bob",
                                    "did:web:bob",
                                    "a",
                                    "b",
                                    "j1"};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_words w = MUTATE_WORDS(words);

    return mutate_json(&w, data, size, max, seed);
}

static void must(int holds)
{
    if (!holds)
        abort();
}

static void check_same(const struct store_line *a, const struct store_line *b)
{
    must(!a->grant == !b->grant && !a->revocation == !b->revocation && !a->note == !b->note);
    must(!a->grant || grant_equal(a->grant, b->grant));
    must(!a->note ||
         (strcmp(a->note->kind, b->note->kind) == 0 && strcmp(a->note->id, b->note->id) == 0 &&
          strcmp(a->note->text, b->note->text) == 0));
    must(!a->revocation ||
         (a->revocation->kind == b->revocation->kind && a->revocation->at == b->revocation->at &&
          a->revocation->until == b->revocation->until &&
          strcmp(a->revocation->issuer, b->revocation->issuer) == 0 &&
          strcmp(a->revocation->value, b->revocation->value) == 0 &&
          strcmp(a->revocation->client, b->revocation->client) == 0 &&
          strcmp(a->revocation->reason, b->revocation->reason) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_line first, again;
    const char *why = NULL;
    char *text, *twice;

    if (store_line_read((const char *)data, size, &first, &why) != OK) {
        if (!why || first.grant || first.revocation || first.note)
            abort();
        return 0;
    }
    text = store_line_write(&first);
    must(text && store_line_read(text, strlen(text), &again, &why) == OK);
    check_same(&first, &again);
    twice = store_line_write(&again);
    must(twice && strcmp(text, twice) == 0);
    free(text);
    free(twice);
    store_line_clear(&first);
    store_line_clear(&again);
    return 0;
}
