/* Any bytes as an application/x-www-form-urlencoded body, as RFC 7009 has it, against a decoder
 * that is as plain as can be: split at '&', then at '=', then '+' and %XX. What is asked for is
 * there once and without NUL, or refused; and what was found is found again when it is written as
 * a form of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/body.h"
#include "fuzz/mutate_text.h"

#define ROOM 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const char *const words[] = {"token=", "token",  "%74oken=", "tok%65n",
                                    "=",      "==",     "+",        "%20",
                                    "%00",    "%",      "%4",       "%g1",
                                    "%41",    "%C3%A9", "a=b",      "token_type_hint=access_token",
                                    "&&",     ";",      "token%3D", "\n"};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_words w = MUTATE_WORDS(words);

    return mutate_items('&', &w, data, size, max, seed);
}

static void must(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "form: %s\n", what);
    abort();
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Decoded into out, which has n bytes at least; -1: a broken escape, or NUL. */
static long plain(const char *p, size_t n, char *out)
{
    long k = 0;

    for (size_t i = 0; i < n; i++, k++) {
        out[k] = p[i] == '+' ? ' ' : p[i];
        if (p[i] == '%') {
            int high = i + 2 < n ? digit(p[i + 1]) : -1, low = i + 2 < n ? digit(p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -1;
            out[k] = (char)(high << 4 | low);
            i += 2;
        }
        if (out[k] == '\0')
            return -1;
    }
    return k;
}

/* How often the name stands there, and the length of its value (-1: broken) in out. */
static unsigned find(const char *text, size_t n, const char *name, char *out, long *len)
{
    unsigned seen = 0;
    char *key = malloc(n + 1);

    must(key != NULL, "no memory");
    for (size_t at = 0; at <= n;) {
        const char *end = memchr(text + at, '&', n - at);
        size_t k = end ? (size_t)(end - text) - at : n - at;
        const char *eq = memchr(text + at, '=', k);
        size_t name_len = eq ? (size_t)(eq - text) - at : k;
        long got = plain(text + at, name_len, key);
        if (got == (long)strlen(name) && memcmp(key, name, (size_t)got) == 0) {
            seen++;
            *len = eq ? plain(eq + 1, k - name_len - 1, out) : 0;
        }
        at += k + 1;
    }
    free(key);
    return seen;
}

static void again(const char *value, int len)
{
    char body[16 + 3 * ROOM], out[ROOM];
    int n = snprintf(body, sizeof(body), "a=%%41&token=");

    for (int i = 0; i < len; i++)
        n += snprintf(body + n, sizeof(body) - (size_t)n, "%%%02x", (uint8_t)value[i]);
    must(body_form(body, (size_t)n, "token", out, sizeof(out)) == len &&
             memcmp(out, value, (size_t)len) == 0,
         "not found again");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    char out[ROOM], *want = malloc(size + 1);
    long want_len = 0;
    unsigned seen;
    int len;

    must(want != NULL, "no memory");
    seen = find(text, size, "token", want, &want_len);
    len = body_form(text, size, "token", out, sizeof(out));
    must(len >= 0 || len == ERR_UNKNOWN || len == ERR_MALFORMED || len == ERR_LIMIT,
         "another error");
    if (len >= 0) {
        must(seen == 1, "taken, and it is not there once");
        must(want_len == len && memcmp(out, want, (size_t)len) == 0, "another value");
        must(out[len] == '\0' && strlen(out) == (size_t)len, "not ended");
        again(out, len);
    } else if (seen == 1 && want_len >= 0 && want_len < ROOM) {
        must(len == ERR_MALFORMED, "not found, and it is there");
    }
    must(seen != 0 || len == ERR_UNKNOWN || len == ERR_MALFORMED, "found, and it is not there");
    free(want);
    return 0;
}
