/* Any bytes as a configuration file: parsed, checked, never a file opened. What is accepted must
 * be accepted again and be its own restart. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/options.h"
#include "fuzz/mutate_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

#define WORDS_MAX 1024

/* Names, choices and defaults from the table of options. */
static struct mutate_words option_words(void)
{
    static const char *words[WORDS_MAX];
    size_t n = 0;

    for (size_t i = 0; i < options_count && n + 2 < WORDS_MAX; i++) {
        words[n++] = option_name(&options[i]);
        if (options[i].initial)
            words[n++] = options[i].initial;
        for (const struct choice *c = options[i].choices; c && c->name && n + 2 < WORDS_MAX; c++)
            words[n++] = c->name;
    }
    return (struct mutate_words){words, n};
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static struct mutate_words w;

    if (w.count == 0)
        w = option_words();
    return mutate_yaml(&w, data, size, max, seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char err[65536];
    struct config *c =
        config_parse("/fuzz.yaml", (const char *)data, size, false, err, sizeof(err));
    if (!c) {
        if (!err[0])
            abort();
        return 0;
    }
    struct config *again =
        config_parse("/fuzz.yaml", (const char *)data, size, false, err, sizeof(err));
    if (!again || config_restart_option(c, again))
        abort();
    config_unref(again);
    config_unref(c);
    return 0;
}
