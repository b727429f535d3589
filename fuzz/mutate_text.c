#include "fuzz/mutate_text.h"

#include <stdio.h>
#include <string.h>

#include "auth/b64url.h"

#define PARTS_MAX  128
#define PART_BYTES 4096

const char *mutate_word(struct mutate_rng *r, const struct mutate_words *w)
{
    return w->at[mutate_rand(r, (uint32_t)w->count)];
}

/* The cut bytes at `at` become other ones, near them. */
static size_t change_part(uint8_t *data, size_t size, size_t max, size_t at, size_t cut)
{
    static uint8_t part[PART_BYTES];
    size_t n;

    if (cut > sizeof(part) / 2)
        return LLVMFuzzerMutate(data, size, max);
    memcpy(part, data + at, cut);
    n = LLVMFuzzerMutate(part, cut, sizeof(part));
    return mutate_splice(data, size, max, at, cut, part, n);
}

static size_t put_word(struct mutate_rng *r, const struct mutate_words *w, uint8_t *data,
                       size_t size, size_t max, size_t at, size_t cut)
{
    const char *word = mutate_word(r, w);

    return mutate_splice(data, size, max, at, cut, word, strlen(word));
}

/* The piece [at, at + n) once more, in front of `to`. */
static size_t copy_part(uint8_t *data, size_t size, size_t max, size_t at, size_t n, size_t to)
{
    static uint8_t part[PART_BYTES];

    if (n > sizeof(part))
        return size;
    memcpy(part, data + at, n);
    return mutate_splice(data, size, max, to, 0, part, n);
}

/* --- items */

/* Where parts begin that end in `end`, and one more: the end of all. */
static uint32_t cut_parts(const uint8_t *data, size_t size, uint8_t end, size_t at[PARTS_MAX + 1])
{
    uint32_t n = 1;

    at[0] = 0;
    for (size_t i = 0; i < size && n < PARTS_MAX; i++)
        if (data[i] == end)
            at[n++] = i + 1;
    at[n] = size;
    return n;
}

/* Behind KEY= alone. */
static size_t change_value(struct mutate_rng *r, const struct mutate_words *w, uint8_t *data,
                           size_t size, size_t max, size_t at, size_t len)
{
    const uint8_t *eq = memchr(data + at, '=', len);
    size_t key = eq ? (size_t)(eq - data) + 1 - at : 0;

    if (mutate_one_in(r, 3))
        return put_word(r, w, data, size, max, at + key, len - key);
    return change_part(data, size, max, at + key, len - key);
}

size_t mutate_items(uint8_t between, const struct mutate_words *w, uint8_t *data, size_t size,
                    size_t max, unsigned seed)
{
    struct mutate_rng r = {seed};
    size_t at[PARTS_MAX + 1], from, all, len;
    uint32_t n = cut_parts(data, size, between, at), i = mutate_rand(&r, n);

    if (mutate_one_in(&r, 10))
        return LLVMFuzzerMutate(data, size, max);
    from = at[i];
    all = at[i + 1] - from; /* with what ends it */
    len = all > 0 && data[from + all - 1] == between ? all - 1 : all;
    switch (mutate_rand(&r, 8)) {
    case 0:
        return mutate_splice(data, size, max, from, all, NULL, 0);
    case 1:
        return copy_part(data, size, max, from, all, at[mutate_rand(&r, n + 1)]);
    case 2:
        return put_word(&r, w, data, size, max, from, len);
    case 3: /* a new one in front */
        size = mutate_splice(data, size, max, from, 0, &between, 1);
        return put_word(&r, w, data, size, max, from, 0);
    case 4:
        return put_word(&r, w, data, size, max, from + mutate_rand(&r, (uint32_t)len + 1), 0);
    default:
        return change_value(&r, w, data, size, max, from, len);
    }
}

/* --- rows */

size_t mutate_rows(size_t row, uint8_t *data, size_t size, size_t max, unsigned seed)
{
    struct mutate_rng r = {seed};
    uint32_t rows = (uint32_t)(size / row);
    size_t at = row * mutate_rand(&r, rows + 1), to = row * mutate_rand(&r, rows + 1);
    uint8_t made[64];

    if (row > sizeof(made) || mutate_one_in(&r, 16))
        return LLVMFuzzerMutate(data, size, max);
    if (at + row > size || mutate_one_in(&r, 6)) {
        for (size_t i = 0; i < row; i++)
            made[i] = (uint8_t)mutate_rand(&r, mutate_one_in(&r, 2) ? 16 : 256);
        return mutate_splice(data, size, max, to, 0, made, row);
    }
    switch (mutate_rand(&r, 6)) {
    case 0:
        return mutate_splice(data, size, max, at, row, NULL, 0);
    case 1:
        return copy_part(data, size, max, at, row, to);
    default:
        data[at + mutate_rand(&r, (uint32_t)row)] =
            (uint8_t)mutate_rand(&r, mutate_one_in(&r, 2) ? 16 : 256);
        return size;
    }
}

/* --- YAML */

static size_t indent_of(const uint8_t *line, size_t n)
{
    size_t k = 0;

    while (k < n && line[k] == ' ')
        k++;
    return k;
}

/* How many lines belong to line i: itself, and what stands deeper below it. */
static uint32_t block_lines(const uint8_t *data, const size_t *at, uint32_t n, uint32_t i)
{
    size_t own = indent_of(data + at[i], at[i + 1] - at[i]);
    uint32_t k = 1;

    while (i + k < n && indent_of(data + at[i + k], at[i + k + 1] - at[i + k]) > own)
        k++;
    return k;
}

static size_t yaml_value(struct mutate_rng *r, const struct mutate_words *w, uint8_t *data,
                         size_t size, size_t max, size_t at, size_t n)
{
    static const char *const values[] = {
        "0",           "1",   "-1",     "65536",    "4294967296", "1s",
        "0ms",         "5m",  "1KiB",   "99999GiB", "true",       "off",
        "null",        "~",   "''",     "[]",       "{}",         "[a, b]",
        "'*'",         "a:1", "[::]:1", "*a",       "&a x",       "!!int 1",
        "\"\\u0000\"", "|",   "- 1",    "0x10",     "1e9",        "2026-01-01T00:00:00Z"};
    const struct mutate_words some = MUTATE_WORDS(values);
    uint8_t *colon = memmem(data + at, n, ": ", 2);
    size_t skip = colon ? (size_t)(colon - data) + 2 - at : indent_of(data + at, n);

    if (mutate_one_in(r, 3))
        return change_part(data, size, max, at + skip, n - skip);
    return put_word(r, mutate_one_in(r, 3) ? w : &some, data, size, max, at + skip, n - skip);
}

static size_t yaml_key(struct mutate_rng *r, const struct mutate_words *w, uint8_t *data,
                       size_t size, size_t max, size_t at, size_t n)
{
    size_t skip = indent_of(data + at, n);
    const uint8_t *colon = memchr(data + at, ':', n);

    if (skip + 1 < n && data[at + skip] == '-')
        skip += 2;
    if (!colon || (size_t)(colon - data) < at + skip)
        return size;
    return put_word(r, w, data, size, max, at + skip, (size_t)(colon - data) - at - skip);
}

/* A new line in front of this one, as deep. */
static size_t yaml_line(struct mutate_rng *r, const struct mutate_words *w, uint8_t *data,
                        size_t size, size_t max, size_t at, size_t n)
{
    char line[256];
    size_t k = indent_of(data + at, n);

    if (k > 32)
        return size;
    memset(line, ' ', k);
    k += (size_t)snprintf(line + k, sizeof(line) - k, "%.60s: %.60s\n", mutate_word(r, w),
                          mutate_word(r, w));
    return mutate_splice(data, size, max, at, 0, line, k);
}

size_t mutate_yaml(const struct mutate_words *w, uint8_t *data, size_t size, size_t max,
                   unsigned seed)
{
    struct mutate_rng r = {seed};
    size_t at[PARTS_MAX + 1], from, all, len;
    uint32_t n = cut_parts(data, size, '\n', at), i = mutate_rand(&r, n);

    if (mutate_one_in(&r, 10))
        return LLVMFuzzerMutate(data, size, max);
    from = at[i];
    all = at[i + block_lines(data, at, n, i)] - from;
    len = at[i + 1] - from;
    len -= len > 0 && data[from + len - 1] == '\n';
    switch (mutate_rand(&r, 10)) {
    case 0:
        return mutate_splice(data, size, max, from, all, NULL, 0);
    case 1:
        return copy_part(data, size, max, from, all, at[mutate_rand(&r, n + 1)]);
    case 2:
        return yaml_line(&r, w, data, size, max, from, len);
    case 3:
        return yaml_key(&r, w, data, size, max, from, len);
    case 4: /* deeper, or less deep */
        if (mutate_one_in(&r, 2))
            return mutate_splice(data, size, max, from, 0, "  - ", 2 + 2 * mutate_rand(&r, 2));
        return mutate_splice(data, size, max, from, indent_of(data + from, len) >= 2 ? 2 : 0, NULL,
                             0);
    default:
        return yaml_value(&r, w, data, size, max, from, len);
    }
}

/* --- tokens */

/* The part [at, at + cut) as JSON. */
static size_t change_json_part(struct mutate_rng *r, const struct mutate_words *w, uint8_t *data,
                               size_t size, size_t max, size_t at, size_t cut)
{
    static uint8_t json[PART_BYTES];
    static char text[PART_BYTES * 4 / 3 + 4];
    size_t n;

    if (b64url_decode((const char *)data + at, cut, json, sizeof(json), &n) != OK)
        return change_part(data, size, max, at, cut);
    n = mutate_json(w, json, n, sizeof(json), mutate_rand(r, UINT32_MAX));
    b64url_encode(json, n, text);
    return mutate_splice(data, size, max, at, cut, text, strlen(text));
}

size_t mutate_token(const struct mutate_words *w, uint8_t *data, size_t size, size_t max,
                    unsigned seed)
{
    struct mutate_rng r = {seed};
    size_t at[PARTS_MAX + 1];
    uint32_t n = cut_parts(data, size, '.', at),
             i = mutate_rand(&r, 8) < 5 ? 1 : mutate_rand(&r, n);

    if (n < 3 || mutate_one_in(&r, 10))
        return mutate_items('.', w, data, size, max, seed);
    if (i == 2)
        return change_part(data, size, max, at[2], size - at[2]);
    return change_json_part(&r, w, data, size, max, at[i], at[i + 1] - at[i] - 1);
}

size_t mutate_claims(const struct mutate_words *w, uint8_t *data, size_t size, size_t max,
                     unsigned seed)
{
    static uint8_t json[PART_BYTES];
    struct mutate_rng r = {seed};
    const uint8_t *line = memchr(data, '\n', size);
    size_t head = line ? (size_t)(line - data) : 0, at = line ? head + 1 : 0, n = size - at;

    if (!line || n > sizeof(json) || head > sizeof(json) || mutate_one_in(&r, 16))
        return LLVMFuzzerMutate(data, size, max);
    if (mutate_one_in(&r, 4)) {
        at = 0;
        n = head;
    }
    memcpy(json, data + at, n);
    head = mutate_json(w, json, n, sizeof(json), mutate_rand(&r, UINT32_MAX));
    return mutate_splice(data, size, max, at, n, json, head);
}
