/* What a broker says during SCRAM: its first message and its final one, cut at the first 0xff. The
 * first byte chooses the hash (1), whether the broker's nonce begins with ours whatever the input
 * says (2), and whether its final message is the true one with a byte changed, which the second
 * byte says (4): 0 leaves it as it is. Nobody is believed who does not know the password, the
 * broker that does is, and a proof that is given is well-formed.
 *
 * PBKDF2 is done with one iteration here, whatever the count says (RFC 8018, 5.2 with c = 1): the
 * thousands of a true one would only measure it, and counts to the limit come for free. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "auth/sasl_client.h"
#include "fuzz/mutate_text.h"

#define HEAD_BYTES 2
#define NONCE      "fixed-nonce"
#define SALT_MAX   1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const char *const words[] = {"r=fixed-nonceabc",
                                    "r=fixed-nonce",
                                    "r=x",
                                    "s=W22ZaJ0SNY7soEsUEjb6gQ==",
                                    "s=QQ==",
                                    "s=QR==",
                                    "s=",
                                    "i=4096",
                                    "i=4095",
                                    "i=04096",
                                    "i=1000000",
                                    "i=1000001",
                                    "i=4294971392",
                                    "i=9999",
                                    "m=x",
                                    "x=y",
                                    "e=other-error",
                                    "v=QQ==",
                                    "v=",
                                    "=",
                                    "\xff"};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_words w = MUTATE_WORDS(words);

    if (size < HEAD_BYTES || max < HEAD_BYTES || seed % 16 == 0)
        return LLVMFuzzerMutate(data, size, max);
    if (seed % 16 == 1)
        data[seed >> 8 & 1] = (uint8_t)(seed >> 16);
    return HEAD_BYTES +
           mutate_items(',', &w, data + HEAD_BYTES, size - HEAD_BYTES, max - HEAD_BYTES, seed);
}

/* In OpenSSL's place in the link; keys here are as long as the hash. */
int PKCS5_PBKDF2_HMAC(const char *pass, int passlen, const unsigned char *salt, int saltlen,
                      int iter, const EVP_MD *digest, int keylen, unsigned char *out)
{
    uint8_t first[SALT_MAX + 4];
    unsigned n = 0;

    if (saltlen < 0 || saltlen > SALT_MAX || keylen != EVP_MD_get_size(digest) ||
        iter < SCRAM_ITERATIONS_MIN || iter > SCRAM_ITERATIONS_MAX)
        abort();
    memcpy(first, salt, (size_t)saltlen);
    memcpy(first + saltlen, "\0\0\0\1", 4);
    return HMAC(digest, pass, passlen, first, (size_t)saltlen + 4, out, &n) != NULL;
}

static void must(int holds)
{
    if (!holds)
        abort();
}

/* Our nonce in front of the rest of the message. */
static size_t with_nonce(char *out, size_t max, const uint8_t *first, size_t n)
{
    size_t own = strlen("r=" NONCE);

    memcpy(out, "r=" NONCE, own);
    if (n > max - own)
        n = max - own;
    if (n > 0)
        memcpy(out + own, first, n);
    return own + n;
}

/* The final message of a broker that knows the password, but for one byte. */
static void check_true(struct scram *s, size_t hash_bytes, uint8_t change)
{
    char final[2 + 4 * SCRAM_HASH_MAX / 3 + 8] = "v=";
    const char *why = NULL;
    int n = 2 + EVP_EncodeBlock((uint8_t *) final + 2, s->signature, (int)hash_bytes), err;

    final[(change & 0x7f) % n] ^= (char)(change & 0x7f);
    err = scram_verify(s, final, (size_t)n, &why);
    must((err == OK) == ((change & 0x7f) == 0) && (err == OK) == (s->state == SCRAM_DONE));
}

static void check_proof(enum scram_hash hash, const char *out, size_t n)
{
    static const char begin[] = "c=biws,r=" NONCE;
    size_t proof = hash == SCRAM_SHA_512 ? 88 : 44;

    must(n <= SCRAM_MESSAGE_MAX && n >= proof + 3 && memcmp(out, begin, sizeof(begin) - 1) == 0);
    must(memcmp(out + n - proof - 3, ",p=", 3) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scram_cache cache;
    struct scram s;
    char out[SCRAM_MESSAGE_MAX], first[SCRAM_MESSAGE_MAX];
    const uint8_t *text = data + HEAD_BYTES, *end;
    size_t n, out_len = 0, final_len;
    const char *why = NULL;
    enum scram_hash hash;
    int err;

    if (size < HEAD_BYTES)
        return -1;
    hash = data[0] & 1 ? SCRAM_SHA_512 : SCRAM_SHA_256;
    end = memchr(text, 0xff, size - HEAD_BYTES);
    n = end ? (size_t)(end - text) : size - HEAD_BYTES;
    final_len = end ? size - HEAD_BYTES - n - 1 : 0;
    must(scram_first(&s, hash, "us=er,x", NONCE, out, &out_len, &why) == OK);
    if (data[0] & 2) {
        n = with_nonce(first, sizeof(first), text, n);
        text = (const uint8_t *)first;
    }
    err = scram_final(&s, "pencil", data[0] & 8 ? &cache : NULL, text, n, out, &out_len, &why);
    must(err == OK || why != NULL);
    if (err == OK) {
        check_proof(hash, out, out_len);
        if (data[0] & 4)
            check_true(&s, hash == SCRAM_SHA_512 ? 64 : 32, data[1]);
        else /* a MAC by chance */
            must(scram_verify(&s, end ? (const char *)end + 1 : "", final_len, &why) != OK);
    }
    scram_clear(&s);
    return 0;
}
