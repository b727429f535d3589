/* Signatures that cost next to nothing: Ed25519 took a third of the processor time of a simulated
 * world, and is no part of what is simulated. world.c signs the clients' tokens with token_mark;
 * the linker's --wrap sends here what verifies them in the product (auth/jws.c). A mark is good for
 * one text and one key alone, so a forged token is found out as before; all around it, down to the
 * choice of the key and of the algorithm, is the product's. */
#include <openssl/evp.h>
#include <string.h>

#include "tests/sim/world.h"

int __wrap_EVP_DigestVerify(EVP_MD_CTX *ctx, const unsigned char *mark, size_t n,
                            const unsigned char *text, size_t len);

static uint64_t digest(uint64_t h, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0;
        memcpy(&word, p + i, n - i < 8 ? n - i : 8);
        h = sim_mix(h, word);
    }
    return h;
}

void token_mark(const EVP_PKEY *key, const uint8_t *text, size_t len, uint8_t *out)
{
    uint8_t public[32];
    size_t n = sizeof(public);
    if (EVP_PKEY_get_raw_public_key(key, public, &n) != 1)
        sim_violation("a token is signed with a key that is not Ed25519's");
    uint64_t h = digest(digest(len, public, n), text, len);
    for (size_t i = 0; i < TOKEN_MARK_BYTES; i += 8) {
        uint64_t word = sim_mix(h, i);
        memcpy(out + i, &word, 8);
    }
}

int __wrap_EVP_DigestVerify(EVP_MD_CTX *ctx, const unsigned char *mark, size_t n,
                            const unsigned char *text, size_t len)
{
    uint8_t want[TOKEN_MARK_BYTES];
    token_mark(EVP_PKEY_CTX_get0_pkey(EVP_MD_CTX_get_pkey_ctx(ctx)), text, len, want);
    return n == sizeof(want) && memcmp(mark, want, n) == 0;
}
