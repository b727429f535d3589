/* Inside config: one reading of a configuration while it goes on, and its steps. One thread. */
#ifndef CONFIG_BUILD_H
#define CONFIG_BUILD_H

#include <jansson.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "config/config.h"
#include "config/options.h"
#include "config/report.h"
#include "config/yaml.h"

#define CONFIG_ARENA_BYTES ((size_t)256 * 1024 * 1024)
#define CONFIG_PATH_BYTES  1024

/* Memory that is wiped before it is given back. */
struct secret {
    struct secret *next;
    char *at;
    size_t n;
};

/* What config_load hands out points at the first member. */
struct config_box {
    struct config config;
    struct strings warnings;
    const struct config *parent; /* what this one was made from and shares texts with; or NULL */
    struct secret *secrets;
    struct arena arena;
    atomic_uint refs;
};

struct build {
    struct arena *arena;
    struct secret **secrets;
    struct report *report;
    const struct yaml *yaml; /* NULL: the tree is JSON, whose scalars have types */
    const char *folder;      /* absolute; where relative paths start */
    bool files;              /* look at and read files */
    bool development;
    const char *const *origins; /* "bob.yaml[0]": of the grants beyond config.ngrants_own */
    bool nomem;
    char path[CONFIG_PATH_BYTES]; /* of the option at hand, "grants[3].id" */
};

/* Fills base from an object according to the table; prefix is the table's ("" or "grants[]."),
 * b->path the instance's. Faults go to the report. */
void config_bind(struct build *b, json_t *object, const char *prefix, void *base);
/* Fills what a list's option is for in base from an array; b->path is the list's. */
void config_bind_list(struct build *b, const struct option *o, json_t *array, void *base);
/* Checks one value against its option and stores it at the option's offset in base. */
void config_set(struct build *b, const struct option *o, json_t *node, void *base);
/* Stores the default. */
void config_set_initial(struct build *b, const struct option *o, void *base);

/* What is wrong with the option at b->path; node (may be NULL) gives the line. */
void config_fault(struct build *b, const struct option *o, const json_t *node, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* A copy in the arena; NULL sets b->nomem. */
char *config_keep(struct build *b, const char *text, size_t n);
/* The absolute form of a path of the configuration. */
char *config_keep_path(struct build *b, const char *path);

/* Files: each reports what is wrong with the file at path. */
void config_file_check(struct build *b, const struct option *o, const json_t *node,
                       const char *path);
/* The content without its last line end; wiped with the configuration. NULL: reported. */
char *config_file_secret(struct build *b, const struct option *o, const json_t *node,
                         const char *path);
/* The content of a PEM file with a private key; wiped with the configuration. NULL: reported. */
char *config_file_key(struct build *b, const struct option *o, const json_t *node,
                      const char *path);
void config_file_secrets(struct build *b, const struct option *o, const json_t *node,
                         const char *path, struct strings *out);
/* Everything of the file at path, NUL-terminated, malloc'ed; NULL with errno (EFBIG: more than
 * limit). */
char *config_file_read(const char *path, size_t limit, size_t *n);

/* What no option can see alone: contradictions, missing parts, risks. */
void config_check(struct build *b, struct config *c);
/* Its part for issuers of our own, tokens and outgoing calls (config/check_tokens.c). */
void config_check_own_issuer(struct build *b, struct config *c, struct issuer_config *i,
                             const char *where);
void config_check_tokens(struct build *b, struct config *c);
/* An error or a warning about an option; where: the list entry around it ("issuers[1]"), or "". */
void config_say(struct build *b, bool warning, const char *where, const char *option,
                const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Does the file say something about this option, right or wrong? */
bool config_given(const struct build *b, const char *where, const char *option);
/* The grants: those of the file itself each by itself, and all of them among themselves, which is
 * config_check_merged. */
void config_check_grants(struct build *b, struct config *c);
void config_check_merged(struct build *b, const struct config *c);
/* Puts the grants of c->grants_dir behind those of the file; faults go to the report. */
void config_grants_read(struct build *b, struct config *c);
/* The same for one grant, whose place is `where` ("grants[3]", or "" over the control API). */
void config_check_grant(struct build *b, const struct config *c, struct grant_config *g,
                        const char *where);

#endif
