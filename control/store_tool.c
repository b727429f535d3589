#include "control/store_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/store_copy.h"
#include "config/config.h"

#define ERR_TEXT 8192

struct options {
    const char *config, *store, *file;
    bool import, help;
};

static int usage(FILE *f)
{
    fprintf(f, "usage: sluice store export (-c FILE | --store FILE) TO\n"
               "       sluice store import (-c FILE | --store FILE) FROM\n"
               "Copies grants, revocations and notes to a file with a line of JSON each, or from\n"
               "one. sluice must not be running on the store. An export may hold secrets that\n"
               "notes keep: it is made readable for its owner alone.\n"
               "  -c FILE      the configuration that names the store (store.path)\n"
               "  --store FILE the store itself\n");
    return f == stdout ? 0 : 2;
}

static bool parse(int argc, char **argv, struct options *o)
{
    if (argc < 2)
        return false;
    o->import = strcmp(argv[1], "import") == 0;
    o->help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
    if (!o->import && !o->help && strcmp(argv[1], "export") != 0)
        return false;
    for (int i = 2; i < argc; i++) {
        const char **to = strcmp(argv[i], "-c") == 0        ? &o->config
                          : strcmp(argv[i], "--store") == 0 ? &o->store
                                                            : &o->file;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            o->help = true;
            continue;
        }
        if (to != &o->file && ++i == argc)
            return false;
        if (*to || (to == &o->file && argv[i][0] == '-'))
            return false;
        *to = argv[i];
    }
    return o->help || (!o->config != !o->store && o->file);
}

static FILE *open_file(const struct options *o)
{
    int fd = o->import ? open(o->file, O_RDONLY | O_CLOEXEC)
                       : open(o->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct stat st;
    if (fd >= 0 && o->import && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        errno = EINVAL;
        return NULL;
    }
    return fd < 0 ? NULL : fdopen(fd, o->import ? "r" : "w");
}

static int work(const struct options *o, const char *store)
{
    char err[512] = "";
    struct store_counts n;
    FILE *f = open_file(o);
    if (!f) {
        fprintf(stderr, "sluice store: %s: %s\n", o->file, strerror(errno));
        return 1;
    }
    int rc = o->import ? store_import(store, f, &n, err, sizeof(err))
                       : store_export(store, f, &n, err, sizeof(err));
    if (rc == OK && !o->import && fsync(fileno(f)) != 0) {
        snprintf(err, sizeof(err), "%s: %s", o->file, strerror(errno));
        rc = ERR_IO;
    }
    fclose(f);
    if (rc != OK) {
        fprintf(stderr, "sluice store: %s\n", err);
        if (!o->import)
            (void)unlink(o->file);
        return 1;
    }
    printf("%lu grants, %lu revocations, %lu notes", n.grants, n.revocations, n.notes);
    if (n.kept > 0)
        printf("; %lu left out: what the store has is stronger", n.kept);
    printf("\n");
    return 0;
}

int store_tool_main(int argc, char **argv)
{
    static char err[ERR_TEXT];
    struct options o = {0};
    if (!parse(argc, argv, &o))
        return usage(stderr);
    if (o.help)
        return usage(stdout);
    if (o.store) {
        if (o.import || access(o.store, R_OK) == 0)
            return work(&o, o.store);
        fprintf(stderr, "sluice store: %s: %s\n", o.store, strerror(errno));
        return 1;
    }
    struct config *c = config_load(o.config, err, sizeof(err));
    int code = 1;
    if (!c)
        fputs(err, stderr);
    else if (!c->store_path)
        fprintf(stderr, "sluice store: %s names no store.path\n", o.config);
    else if (!o.import && access(c->store_path, R_OK) != 0)
        fprintf(stderr, "sluice store: %s: %s\n", c->store_path, strerror(errno));
    else
        code = work(&o, c->store_path);
    config_unref(c);
    return code;
}
