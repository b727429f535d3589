/* fuzz/mutate_text.h and mutate_frames: within their bounds whatever they get, the same for the
 * same seed, and what they change can still be read, most of the time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "auth/b64url.h"
#include "fuzz/mutate.h"
#include "fuzz/mutate_text.h"

#define ROOM   512
#define GUARD  32
#define ROUNDS 600

static uint64_t bytes_state;

/* In libFuzzer's place: a byte changed, put in or taken out. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max)
{
    struct mutate_rng r = {bytes_state++};
    uint8_t in = (uint8_t)mutate_rand(&r, 256);
    size_t at = mutate_rand(&r, (uint32_t)size + 1);

    return mutate_splice(data, size, max, at, at < size && mutate_one_in(&r, 2), &in,
                         mutate_rand(&r, 2));
}

static const char *const list[] = {"iss", "sub", "exp", "a=b", "", "true", "listen"};
static const struct mutate_words words = MUTATE_WORDS(list);

static size_t frames(const struct mutate_words *w, uint8_t *data, size_t size, size_t max,
                     unsigned seed)
{
    static const uint8_t apis[] = {3, 18, 30};

    (void)w;
    return mutate_frames(apis, sizeof(apis), data, size, max, seed);
}

static size_t items(const struct mutate_words *w, uint8_t *data, size_t size, size_t max,
                    unsigned seed)
{
    return mutate_items(',', w, data, size, max, seed);
}

static size_t rows(const struct mutate_words *w, uint8_t *data, size_t size, size_t max,
                   unsigned seed)
{
    (void)w;
    return mutate_rows(8, data, size, max, seed);
}

#define JSON   "{\"iss\":\"i\",\"aud\":[\"s\",\"t\"],\"exp\":1800000300,\"cnf\":{\"jkt\":null}}"
#define HEADER "{\"alg\":\"EdDSA\"}"
#define YAML   "listen: a:1\ntls:\n  key: k\n  certificate: c\ngrants:\n  - id: x\n    topics: [t]\n"
#define FRAMES "\0\0\0\12\0\22\0\0\0\0\0\1\0\0\0\0\0\17\0\3\0\1\0\0\0\1\0\1a\0\0\0\0"

static const struct {
    size_t (*mutate)(const struct mutate_words *w, uint8_t *data, size_t size, size_t max,
                     unsigned seed);
    const char *input;
    size_t size;
} cases[] = {
    {mutate_json, JSON, sizeof(JSON) - 1},
    {items, "r=abc,s=QQ==,i=4096", 19},
    {mutate_yaml, YAML, sizeof(YAML) - 1},
    {mutate_token, "eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJpIn0.AAAA", 41},
    {mutate_claims, HEADER "\n" JSON, sizeof(HEADER "\n" JSON) - 1},
    {frames, FRAMES, sizeof(FRAMES) - 1},
    {rows, "abcdefghABCDEFGH01234567", 24},
};

static size_t run(size_t i, const void *input, size_t size, size_t max, unsigned seed, uint8_t *out)
{
    size_t n;

    memset(out, 0xee, ROOM + GUARD);
    if (size > 0)
        memcpy(out, input, size);
    bytes_state = seed;
    n = cases[i].mutate(&words, out, size, max, seed);
    assert_true(n <= max);
    for (size_t k = max; k < ROOM + GUARD; k++)
        assert_int_equal(out[k], 0xee);
    return n;
}

static void test_bounds(void **state)
{
    uint8_t out[ROOM + GUARD], again[ROOM + GUARD], garbage[64];
    struct mutate_rng r = {1};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (unsigned seed = 1; seed <= ROUNDS; seed++) {
            size_t n = run(i, cases[i].input, cases[i].size, ROOM, seed, out);
            assert_int_equal(n, run(i, cases[i].input, cases[i].size, ROOM, seed, again));
            assert_memory_equal(out, again, n);
            run(i, cases[i].input, cases[i].size, cases[i].size, seed, out); /* full */
            n = mutate_rand(&r, sizeof(garbage) + 1);
            for (size_t k = 0; k < n; k++)
                garbage[k] = (uint8_t)mutate_rand(&r, 256);
            run(i, garbage, n, n + mutate_rand(&r, 40), seed, out);
            n = mutate_rand(&r, (uint32_t)cases[i].size); /* cut short */
            run(i, cases[i].input, n, n + 1, seed, out);
        }
}

/* How many of the rounds give another object. */
static unsigned read_json(const void *text, size_t n, const char *than)
{
    json_t *got = json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_t *first = json_loads(than, 0, NULL);
    unsigned other = got && !json_equal(got, first);

    json_decref(got);
    json_decref(first);
    return other;
}

static void test_json_stays_json(void **state)
{
    uint8_t out[ROOM + GUARD];
    unsigned other = 0, doubled = 0;

    (void)state;
    for (unsigned seed = 1; seed <= ROUNDS; seed++) {
        size_t n = run(0, JSON, sizeof(JSON) - 1, ROOM, seed, out);
        json_error_t e = {.text = ""};
        json_t *strict = json_loadb((char *)out, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
        other += read_json(out, n, JSON);
        doubled += strstr(e.text, "duplicate") != NULL;
        json_decref(strict);
    }
    assert_true(other > ROUNDS * 7 / 10);
    assert_true(doubled > 0);
}

static void test_token_stays_token(void **state)
{
    uint8_t out[ROOM + GUARD], claims[ROOM];
    unsigned other = 0;

    (void)state;
    for (unsigned seed = 1; seed <= ROUNDS; seed++) {
        size_t n = run(3, cases[3].input, cases[3].size, ROOM, seed, out), got;
        uint8_t *dot = memchr(out, '.', n);
        uint8_t *end = dot ? memchr(dot + 1, '.', n - (size_t)(dot + 1 - out)) : NULL;
        if (end && b64url_decode((char *)dot + 1, (size_t)(end - dot - 1), claims, sizeof(claims),
                                 &got) == OK)
            other += read_json(claims, got, "{\"iss\":\"i\"}");
    }
    assert_true(other > ROUNDS * 4 / 10);
}

/* One half changes, and there are two halves still. */
static void test_claims_stay_apart(void **state)
{
    uint8_t out[ROOM + GUARD];
    unsigned header = 0, claims = 0;

    (void)state;
    for (unsigned seed = 1; seed <= ROUNDS; seed++) {
        size_t n = run(4, cases[4].input, cases[4].size, ROOM, seed, out), k;
        uint8_t *line = memchr(out, '\n', n);
        if (!line)
            continue;
        k = (size_t)(line - out);
        header += read_json(out, k, HEADER);
        claims += read_json(line + 1, n - k - 1, JSON);
    }
    assert_true(header > ROUNDS / 10 && claims > ROUNDS / 2);
}

static void test_items_keep_keys(void **state)
{
    uint8_t out[ROOM + GUARD];
    unsigned values = 0;

    (void)state;
    for (unsigned seed = 1; seed <= ROUNDS; seed++) {
        size_t n = run(1, cases[1].input, cases[1].size, ROOM, seed, out);
        values += memmem(out, n, "r=", 2) && memmem(out, n, ",s=", 3) && memmem(out, n, ",i=", 3) &&
                  (n != cases[1].size || memcmp(out, cases[1].input, n) != 0);
    }
    assert_true(values > ROUNDS / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_json_stays_json),
        cmocka_unit_test(test_token_stays_token),
        cmocka_unit_test(test_claims_stay_apart),
        cmocka_unit_test(test_items_keep_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
