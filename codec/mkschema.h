/* The schema compiler's two halves: mkschema.c reads the texts into definitions, mkschema_out.c
 * writes the tables. One run, one thread; the definitions live until the process ends. */
#ifndef CODEC_MKSCHEMA_H
#define CODEC_MKSCHEMA_H

#include <stdbool.h>
#include <stddef.h>

struct range {
    int min, max;
};

struct type {
    const char *word, *type, *wire, *compact; /* compact: NULL where the wire never differs */
    int bytes;                                /* least size; of the inflexible form */
    long long lowest;                         /* of a default */
    unsigned long long highest;
    bool nullable;
};

enum { T_BOOL, T_UUID = 8, T_STRING, T_BYTES, T_RECORDS, T_STRUCT };
extern const struct type types[];

struct role {
    const char *word, *role, *types; /* types: words of those that may bear it */
};
extern const struct role roles[];

struct decl { /* a field as written */
    const char *name;
    int line, type, role; /* role: -1 for none */
    int def;              /* a struct's definition; -1 otherwise */
    int tag;              /* -1: inline */
    bool array, ignorable, default_null;
    struct range versions, nullable;
    long long default_int;
};

struct def { /* a struct as written, or a message's body */
    const char *name;
    int line;
    bool open, used;
    struct range versions;
    struct decl *fields;
    int nfields;
};

struct api {
    const char *file, *name;
    int line, key;
    struct range versions;
    int flexible; /* first flexible version; INT16_MAX: never */
    int body[2];  /* definitions of request and response; -1 until met */
    int inst[2];
};

/* The definitions, ordered by API key once reading is done. */
extern struct def *defs;
extern int ndefs;
extern struct api *apis;
extern int napis;

/* Where we are, for errors. */
extern const char *at_file;
extern int at_line;

/* Says file:line and the message, and ends the process with 1. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...);
/* p, unless it is NULL: then there is no memory. */
void *must(void *p);
/* Room for one more element at the end of an array of n; arrays grow in powers of two. */
void *grow(void *array, int n, size_t size);

bool range_empty(struct range r);
bool range_has(struct range r, int v);
struct range range_cut(struct range a, struct range b);

/* Writes names.h and tables.c into the directory. */
void schema_write(const char *dir);

#endif
