/* `sluice check`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/options.h"

#define REPORT_BYTES 65536

static int usage(FILE *f)
{
    fprintf(f, "usage: sluice check -c FILE | --reference | --schema\n"
               "  -c FILE      tell everything that is wrong with the configuration\n"
               "  --reference  print the reference of all options (Markdown)\n"
               "  --schema     print the JSON Schema of the configuration\n");
    return f == stdout ? EXIT_SUCCESS : 2;
}

static int print(char *text)
{
    bool good = text && fputs(text, stdout) != EOF && fflush(stdout) == 0;
    free(text);
    if (!good)
        fprintf(stderr, "sluice check: cannot print\n");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int check(const char *file, config_more_fn *more)
{
    static char err[REPORT_BYTES];
    struct config *c = config_load(file, err, sizeof(err));
    if (!c) {
        fputs(err, stderr);
        return EXIT_FAILURE;
    }
    const struct strings *warnings = config_warnings(c);
    for (size_t i = 0; i < warnings->count; i++)
        fprintf(stderr, "%s\n", warnings->at[i]);
    if (!more(c, err, sizeof(err))) {
        fprintf(stderr, "%s: %s\n", file, err);
        config_unref(c);
        return EXIT_FAILURE;
    }
    printf("%s: good (%zu warnings)\n", file, warnings->count);
    config_unref(c);
    return EXIT_SUCCESS;
}

int config_check_main(int argc, char **argv, config_more_fn *more)
{
    if (argc == 2 && strcmp(argv[1], "--reference") == 0)
        return print(options_reference());
    if (argc == 2 && strcmp(argv[1], "--schema") == 0)
        return print(options_schema());
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return usage(stdout);
    if (argc == 3 && strcmp(argv[1], "-c") == 0)
        return check(argv[2], more);
    return usage(stderr);
}
