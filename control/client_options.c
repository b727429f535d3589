/* The command line of `sluice sessions|grants|revoke`. */
#include <stdlib.h>
#include <string.h>

#include "config/values.h"
#include "control/client.h"

static const char shared[] =
    "  -c FILE            the gate's configuration: where its control listener is\n"
    "  --control URL      or its URL, such as http://127.0.0.1:9090\n"
    "  --token-file FILE  a bearer token for it (its first line that is no comment)\n"
    "  --ca FILE          authorities to trust when it speaks TLS\n"
    "  --json             the answer as JSON\n";

void client_usage(FILE *f, const char *command)
{
    if (strcmp(command, "sessions") == 0)
        fprintf(f, "usage: sluice sessions (-c FILE | --control URL) [options]\n"
                   "Lists the sessions that are open.\n");
    else if (strcmp(command, "grants") == 0)
        fprintf(
            f, "usage: sluice grants (-c FILE | --control URL) [options]\n"
               "       sluice grants put ID FILE|- ...     puts or replaces a grant (JSON)\n"
               "       sluice grants delete ID ...         revokes it\n"
               "Lists the grants: what they give, whether they are in force, how they are used.\n");
    else
        fprintf(f,
                "usage: sluice revoke (-c FILE | --control URL) WHAT [--reason TEXT] "
                "[options]\n"
                "       sluice revoke list ...              lists the revocations in force\n"
                "Closes sessions and bars their tokens for good. WHAT is one of\n"
                "  --transfer ID\n"
                "  --agreement ID\n"
                "  --asset ID\n"
                "  --participant ID\n"
                "  --issuer URL --subject S           tokens of the subject issued up to now\n"
                "  --issuer URL --client C            tokens of the client issued up to now\n"
                "  --issuer URL --jti J               one token\n"
                "  --issuer URL --session S           tokens of one session at the issuer (sid)\n"
                "  --issuer URL --not-before TIME     all tokens issued before\n"
                "  --token FILE|-                     the token itself\n");
    fprintf(f, "%s", shared);
}

struct flag {
    const char *name;
    const char **to;  /* where its text goes */
    const char *body; /* or the revocation's key */
};

static int fail(char *err, size_t err_bytes, const char *what, const char *name)
{
    snprintf(err, err_bytes, "%s%s", what, name);
    return ERR_MALFORMED;
}

static int take_body(struct client_options *o, const char *key, const char *text, char *err,
                     size_t err_bytes)
{
    int64_t time;
    json_t *value;
    if (strcmp(key, "not_before") != 0)
        value = json_string(text);
    else if (value_time(text, &time))
        value = json_integer(time);
    else
        return fail(err, err_bytes, "no time such as 2027-01-31T23:59:59Z: ", text);
    if (json_object_get(o->body, key)) {
        json_decref(value);
        return fail(err, err_bytes, "stands there twice: --", key);
    }
    return json_object_set_new(o->body, key, value) == 0
               ? OK
               : fail(err, err_bytes, "not UTF-8: --", key);
}

/* One option, with its value in the next argument. */
static int take_flag(struct client_options *o, bool revoking, int argc, char **argv, int *i,
                     char *err, size_t err_bytes)
{
    const struct flag flags[] = {
        {"-c", &o->config, NULL},
        {"--control", &o->url, NULL},
        {"--token-file", &o->token_file, NULL},
        {"--ca", &o->ca, NULL},
        {"--token", &o->revoked, NULL},
        {"--transfer", NULL, "transfer"},
        {"--agreement", NULL, "agreement"},
        {"--asset", NULL, "asset"},
        {"--participant", NULL, "participant"},
        {"--issuer", NULL, "issuer"},
        {"--subject", NULL, "subject"},
        {"--client", NULL, "client"},
        {"--jti", NULL, "jti"},
        {"--session", NULL, "session"},
        {"--not-before", NULL, "not_before"},
        {"--reason", NULL, "reason"},
    };
    const char *name = argv[*i];
    for (size_t f = 0; f < sizeof(flags) / sizeof(*flags); f++) {
        if (strcmp(flags[f].name, name) != 0 || (f >= 4 && !revoking))
            continue;
        if (*i + 1 == argc)
            return fail(err, err_bytes, "needs a value: ", name);
        const char *text = argv[++*i];
        if (flags[f].body)
            return take_body(o, flags[f].body, text, err, err_bytes);
        if (*flags[f].to)
            return fail(err, err_bytes, "stands there twice: ", name);
        *flags[f].to = text;
        return OK;
    }
    return fail(err, err_bytes, "no such option: ", name);
}

static int take_word(struct client_options *o, const char *command, unsigned words,
                     const char *word, char *err, size_t err_bytes)
{
    bool grants = strcmp(command, "grants") == 0;
    if (words == 0 && grants && strcmp(word, "put") == 0)
        o->command = CLIENT_GRANT_PUT;
    else if (words == 0 && grants && strcmp(word, "delete") == 0)
        o->command = CLIENT_GRANT_DELETE;
    else if (words == 0 && strcmp(command, "revoke") == 0 && strcmp(word, "list") == 0)
        o->command = CLIENT_REVOCATIONS;
    else if (words == 1 && (o->command == CLIENT_GRANT_PUT || o->command == CLIENT_GRANT_DELETE))
        o->id = word;
    else if (words == 2 && o->command == CLIENT_GRANT_PUT)
        o->grant_file = word;
    else
        return fail(err, err_bytes, "what is this: ", word);
    return OK;
}

static int check(struct client_options *o, char *err, size_t err_bytes)
{
    size_t named = json_object_size(o->body) - (json_object_get(o->body, "reason") != NULL) -
                   (json_object_get(o->body, "issuer") != NULL);
    bool grant = o->command == CLIENT_GRANT_PUT || o->command == CLIENT_GRANT_DELETE;
    if (!o->config == !o->url)
        return fail(err, err_bytes, "it takes -c FILE or --control URL", "");
    if (grant && (!o->id || !*o->id))
        return fail(err, err_bytes, "which grant? It takes its id", "");
    if (o->command == CLIENT_GRANT_PUT && !o->grant_file)
        return fail(err, err_bytes, "it takes a file with the grant, or - for standard input", "");
    if (o->command == CLIENT_REVOCATIONS && (named || o->revoked))
        return fail(err, err_bytes, "list takes nothing to revoke", "");
    if (o->command != CLIENT_REVOKE)
        return OK;
    if (o->revoked && json_object_size(o->body))
        return fail(err, err_bytes, "--token stands alone", "");
    if (o->revoked)
        o->command = CLIENT_REVOKE_TOKEN;
    else if (named != 1)
        return fail(err, err_bytes, "revoke what? It takes exactly one of the ways to name it", "");
    return OK;
}

int client_parse(int argc, char **argv, struct client_options *o, char *err, size_t err_bytes)
{
    const char *command = argc > 0 ? argv[0] : "";
    unsigned words = 0;
    int result = OK;
    bool revoking = strcmp(command, "revoke") == 0;
    *o = (struct client_options){.body = json_object()};
    if (revoking)
        o->command = CLIENT_REVOKE;
    else if (strcmp(command, "grants") == 0)
        o->command = CLIENT_GRANTS;
    else if (strcmp(command, "sessions") != 0)
        return fail(err, err_bytes, "no such command: ", command);
    for (int i = 1; i < argc && result == OK; i++) {
        if (strcmp(argv[i], "--json") == 0)
            o->json = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            o->help = true;
        else if (argv[i][0] == '-' && argv[i][1])
            result = take_flag(o, revoking, argc, argv, &i, err, err_bytes);
        else
            result = take_word(o, command, words++, argv[i], err, err_bytes);
    }
    return result == OK && !o->help ? check(o, err, err_bytes) : result;
}
