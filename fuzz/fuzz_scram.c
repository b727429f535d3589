/* Any bytes as what a broker says during SCRAM: its first message and its final one, cut at the
 * first 0xff; the first byte chooses the hash. Without the password's owner nothing may be proved,
 * and a proof that is given is well-formed. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/sasl_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scram_cache cache;
    struct scram s;
    char out[SCRAM_MESSAGE_MAX];
    size_t out_len = 0;
    const char *why = NULL;
    if (size < 1)
        return 0;
    enum scram_hash hash = data[0] & 1 ? SCRAM_SHA_512 : SCRAM_SHA_256;
    const uint8_t *first = data + 1;
    const uint8_t *end = memchr(first, 0xff, size - 1);
    size_t first_len = end ? (size_t)(end - first) : size - 1;
    /* A count that is legal and long would only measure PBKDF2: above 9999 it is cut short. */
    const uint8_t *count = memmem(first, first_len, ",i=", 3);
    if (count && count + 7 < first + first_len && count[7] >= '0' && count[7] <= '9')
        return 0;
    if (scram_first(&s, hash, "us=er,x", "fixed-nonce", out, &out_len, &why))
        abort();
    int e = scram_final(&s, "pencil", &cache, first, first_len, out, &out_len, &why);
    if (e && !why)
        abort();
    if (!e) {
        size_t proof_len = hash == SCRAM_SHA_512 ? 88 : 44;
        if (out_len > sizeof(out) || out_len < proof_len + 3 ||
            memcmp(out, "c=biws,r=fixed-nonce", 20) ||
            memcmp(out + out_len - proof_len - 3, ",p=", 3))
            abort();
        size_t final_len = end ? size - 1 - first_len - 1 : 0;
        if (!scram_verify(&s, end ? end + 1 : (const uint8_t *)"", final_len, &why) &&
            s.state != SCRAM_DONE)
            abort();
    }
    scram_clear(&s);
    return 0;
}
