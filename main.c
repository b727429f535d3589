/* sluice: one hardened endpoint before a Kafka cluster. The command line. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "auth/issuer.h"
#include "config/config.h"
#include "config/options.h"
#include "control/control.h"
#include "control/store_tool.h"
#include "control/decode.h"
#include "run.h"

#define SLUICE_VERSION "0.1.0"

static int version_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("sluice " SLUICE_VERSION "\n");
    return 0;
}

static int help_main(int argc, char **argv);

/* Could they sign? */
static bool keys_usable(const struct config *c, char *err, size_t err_bytes)
{
    struct issuer *i = issuer_new(c, err, err_bytes);

    issuer_free(i);
    return i != NULL;
}

static int check_main(int argc, char **argv)
{
    return config_check_main(argc, argv, keys_usable);
}

static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"run", run_main, "-c FILE                  run the gate"},
    {"check", check_main, "-c FILE | --reference | --schema   check a configuration"},
    {"decode", decode_main, "[options] [FILE]         print Kafka frames as JSON or text"},
    {"sessions", control_client_main, "[-c FILE]                list open sessions"},
    {"grants", control_client_main, "[-c FILE]                list grants"},
    {"revoke", control_client_main, "[-c FILE] --transfer ID ...   revoke, and close sessions"},
    {"store", store_tool_main, "export|import (-c FILE | --store FILE) FILE   copy the store"},
    {"version", version_main, "                         print the version"},
    {"help", help_main, "                         print this"},
};

static int help_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("sluice: one hardened endpoint before a Kafka cluster\n\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        printf("  sluice %-9s %s\n", commands[i].name, commands[i].help);
    printf("\nA command with --help tells more.\n");
    return 0;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";

    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].main(argc - 1, argv + 1);
    fprintf(stderr, "sluice: there is no command '%s'; `sluice help` lists them\n", name);
    return 2;
}
