/* Any bytes as the texts of an event: the line is one JSON object, whatever they hold. */
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "audit/audit.h"
#include "fuzz/mutate_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const char *const words[] = {"a",
                                    "\n",
                                    "\\",
                                    "\"",
                                    "\x01",
                                    "\x7f",
                                    "\xc2\x85",
                                    "\xe2\x80\xa8",
                                    "\xe2\x80\xaex\xe2\x80\xac",
                                    "\xed\xa0\x80",
                                    "\xf4\x90\x80\x80",
                                    "\xc0\x80",
                                    "\xf0\x9f\x98\x80",
                                    "\xef\xbf\xbd",
                                    "\xe2\x80",
                                    "127.0.0.1:9",
                                    "Fetch",
                                    "TOPIC"};

/* Texts may hold no 0xff, which cuts them. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_words w = MUTATE_WORDS(words);

    if (size < 2 || max < 2 || seed % 16 == 0)
        return LLVMFuzzerMutate(data, size, max);
    return 1 + mutate_items(0xff, &w, data + 1, size - 1, max - 1, seed);
}

/* The input is cut at 0xff bytes into the texts, in turn; the first byte is the kind. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char line[AUDIT_LINE_MAX], texts[8192];
    struct audit_event e = {0};
    const char **fields[] = {
        &e.client_address,
        &e.reason,
        &e.issuer,
        &e.subject,
        &e.client,
        &e.jti,
        &e.transfer,
        &e.agreement,
        &e.asset,
        &e.participant,
        &e.client_id,
        &e.software_name,
        &e.api,
        &e.resource_type,
        &e.software_version,
        &e.resource,
    };
    size_t at = 0;
    if (size < 1 || size > sizeof(texts))
        return 0;
    e.kind = (enum audit_kind)(data[0] % AUDIT_KINDS);
    memcpy(texts, data + 1, size - 1);
    texts[size - 1] = '\0';
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields) && at < size; i++) {
        char *end = memchr(texts + at, 0xff, size - 1 - at);
        *fields[i] = texts + at;
        if (!end)
            break;
        *end = '\0';
        at = (size_t)(end - texts) + 1;
    }
    if (e.resource)
        e.resource_len = size - 1 - (size_t)(e.resource - texts);
    int n = audit_encode(&e, 1, line, sizeof(line));
    if (n <= 0 || memchr(line, '\n', (size_t)n) || strlen(line) != (size_t)n)
        abort();
    json_t *root = json_loadb(line, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(root))
        abort();
    json_decref(root);
    return 0;
}
