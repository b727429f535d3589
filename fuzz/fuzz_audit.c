/* Any bytes as the texts of an event: the line is one JSON object, whatever they hold. */
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "audit/audit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
