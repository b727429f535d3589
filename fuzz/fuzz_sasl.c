/* Any bytes as a client's OAUTHBEARER message. What is taken is held against the grammar once more.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/sasl.h"
#include "fuzz/mutate_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const char *const words[] = {"n,,",
                                    "n,a=user,",
                                    "y,,",
                                    "p=tls-unique,,",
                                    "n,a=u=2Cs=3D,",
                                    "auth=Bearer a.b.c",
                                    "auth=Bearer ",
                                    "auth=bearer  x",
                                    "auth=Basic eA==",
                                    "host=h",
                                    "port=9093",
                                    "traceparent=1",
                                    "a=",
                                    "=2C",
                                    "=3D",
                                    "=",
                                    "~",
                                    "\1"};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_words w = MUTATE_WORDS(words);

    return mutate_items(1, &w, data, size, max, seed);
}

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
