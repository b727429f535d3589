/* Any bytes as a configuration file: parsed, checked, never a file opened. What is accepted must
 * be accepted again and be its own restart. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
