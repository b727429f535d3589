/* Any bytes as a client's OAUTHBEARER message. What is taken is held against the grammar once more.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct sasl_oauth m;
    const char *why;
    size_t i;

    if (sasl_oauth_parse(text, size, &m, &why) != OK) {
        must(why != NULL && m.token == NULL && m.token_len == 0);
        return 0;
    }
    must(why == NULL && size <= SASL_MESSAGE_MAX);
    must(m.token_len > 0 && m.token_len <= SASL_TOKEN_MAX);
    must(m.token > text && m.token + m.token_len <= text + size - 2);
    for (i = 0; i < m.token_len; i++)
        must(m.token[i] > 0x20 && m.token[i] < 0x7f && m.token[i] != ',');
    must(data[size - 1] == 1 && data[size - 2] == 1);
    must(sasl_oauth_authorizes(&m, "user") ==
         (m.authzid == NULL || (m.authzid_len == 4 && memcmp(m.authzid, "user", 4) == 0)));
    return 0;
}
