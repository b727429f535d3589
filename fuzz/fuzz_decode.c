/* Any bytes as input of `sluice decode`: the first byte says in which form, and whether as answers;
 * the next two are API and version. Whatever comes in, every line that goes out must be JSON, and
 * there must be one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "control/decode.h"
#include "fuzz/mutate.h"

#define HEAD_BYTES 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static const struct mutate_layout l = {HEAD_BYTES, 1, 2, 0, 4, false};

    return mutate_input(&l, data, size, max, seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_BYTES || size > 65536)
        return -1;
    struct decode_options o = {.form = (enum decode_form)(data[0] & 3),
                               .response = data[0] & 4,
                               .text = data[0] & 8,
                               .secrets = data[0] & 16,
                               .leaks = data[0] & 32,
                               .api = data[1],
                               .version = data[2]};
    size_t n = size - HEAD_BYTES;
    uint8_t *copy = malloc(n ? n : 1); /* of its own size, so that one byte more is seen */
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!copy || !out)
        abort();
    memcpy(copy, data + HEAD_BYTES, n);
    int code = decode_run(&o, copy, n, out);
    if (fclose(out) || (code != 0 && code != 2 && !(o.leaks && code == 3)))
        abort();
    if (len == 0 ? !o.leaks || code != 0 : text[len - 1] != '\n')
        abort();
    char *rest = text;
    for (char *line; !o.text && (line = strsep(&rest, "\n")) && *line;) {
        json_t *doc = json_loads(line, JSON_ALLOW_NUL, NULL);
        if (!doc || (code == 0 && json_object_get(doc, "error")))
            abort();
        json_decref(doc);
    }
    free(text);
    free(copy);
    return 0;
}
