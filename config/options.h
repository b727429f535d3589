/* The one table of options. Everything that is said about an option stands here once: the checker,
 * the reference page, the JSON Schema and the messages all read it. Constant data, any thread. */
#ifndef CONFIG_OPTIONS_H
#define CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
    OPTION_SECTION, /* a mapping of options */
    OPTION_LIST,    /* a list of such mappings, each a struct of its own */
    OPTION_TEXT,    /* min..max: length in bytes */
    OPTION_TEXTS,   /* one text or a list of texts; min..max as above */
    OPTION_NUMBER,  /* min..max, in unit */
    OPTION_BOOL,
    OPTION_CHOICE,  /* one of choices */
    OPTION_CHOICES, /* a list of choices, kept as bits */
    OPTION_ADDRESS, /* host:port */
    OPTION_ADDRESSES,
    OPTION_MAPPING, /* a mapping host:port: host:port */
    OPTION_URL,
    OPTION_CERTIFICATE, /* a PEM file */
    OPTION_KEY,         /* a PEM file */
    OPTION_KEYS,        /* a list of them, whose contents are kept */
    OPTION_FILE,        /* a readable file */
    OPTION_FOLDER,      /* a folder that can be read */
    OPTION_MADE,        /* a file that sluice makes; its folder must be there */
    OPTION_SECRET,      /* a file whose content is kept */
    OPTION_SECRETS,     /* a file with a secret a line */
    OPTION_TOPICS,
    OPTION_PREFIX, /* of group and transactional ids */
    OPTION_TIME,   /* RFC 3339 or seconds since 1970 */
};

struct choice {
    const char *name; /* NULL ends the list */
    int value;
    const char *help;
};

struct option {
    const char *path; /* "tls.key", "issuers[].audience" */
    enum option_type type;
    bool required;   /* when the section around it is there */
    bool reload;     /* SIGHUP changes it */
    bool dash;       /* OPTION_MADE: "-" is standard output; OPTION_ADDRESS: "off" is port 0 */
    uint16_t offset; /* into struct config, or into the innermost list's struct */
    uint16_t count_offset; /* OPTION_LIST, OPTION_ADDRESSES, OPTION_MAPPING: where the count is */
    uint16_t bytes;        /* of the field; OPTION_LIST: of one element */
    int64_t min, max;      /* lists: max is also the most elements, where items is 0 */
    uint32_t items;        /* most elements of a list */
    const char *unit;
    const char *initial;   /* the default, as it would be written; NULL: none */
    const char *initially; /* the default in words, when it isn't a constant */
    const struct choice *choices;
    const char *help;
};

extern const struct option options[];
extern const size_t options_count;

/* The option at prefix + key, or NULL. prefix is "" or ends in '.'. */
const struct option *option_find(const char *prefix, size_t prefix_len, const char *key);
/* The option of that path, or NULL. */
const struct option *option_at(const char *path);
/* Does it stand directly under prefix ("", "tls.", "issuers[].")? */
bool option_under(const struct option *o, const char *prefix, size_t prefix_len);
/* Does its value live in the struct of this prefix (sections in between count, lists don't)? */
bool option_within(const struct option *o, const char *prefix, size_t prefix_len);
/* Its last name. */
const char *option_name(const struct option *o);
/* The nearest sibling's path to an unknown key, or an option elsewhere with just that name, else
 * NULL. */
const char *option_guess(const char *prefix, size_t prefix_len, const char *key);
/* "a number of ms from 1 to 60000": what it takes, for messages and the reference. Returns out. */
#define OPTION_TAKES_BYTES 256
const char *option_takes(const struct option *o, char out[OPTION_TAKES_BYTES]);

/* The reference page (Markdown) and the JSON Schema (2020-12), malloc'ed. */
char *options_reference(void);
char *options_schema(void);

#endif
