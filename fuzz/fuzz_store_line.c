/* Any bytes as a line of an export. What is taken must come out again as it went in. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/store_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_line first, again;
    const char *why = NULL;
    char *text, *twice;

    if (store_line_read((const char *)data, size, &first, &why) != OK) {
        if (!why || first.grant || first.revocation || first.note)
            abort();
        return 0;
    }
    text = store_line_write(&first);
    if (!text || store_line_read(text, strlen(text), &again, &why) != OK)
        abort();
    twice = store_line_write(&again);
    if (!twice || strcmp(text, twice) != 0)
        abort();
    free(text);
    free(twice);
    store_line_clear(&first);
    store_line_clear(&again);
    return 0;
}
