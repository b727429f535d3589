/* The store's file to lines of JSON and back (auth/store_line.h), while no sluice runs on it: the
 * file is held by one process alone. One thread. */
#ifndef AUTH_STORE_COPY_H
#define AUTH_STORE_COPY_H

#include <stdio.h>

#include "base/err.h"

struct store_counts {
    unsigned long grants, revocations, notes;
    unsigned long kept; /* of the file rather than what an import says; see below */
};

/* All that the file holds, revocations first. ERR_IO or ERR_CONFIG with err. */
int store_export(const char *path, FILE *out, struct store_counts *n, char *err,
                 size_t err_bytes) SL_MUST;
/* Adds what the lines say to the file, which is made where it is missing. All lines are looked at
 * before anything is written (so `in` must be a file that can be read twice); ERR_MALFORMED with
 * err, which names the line. Written in parts: after an ERR_IO in their midst, import again.
 *
 * An import never weakens a revocation: one that the file has already, equal or wider, stays as it
 * is, and a grant whose transfer is revoked there without having been resumed is left out. */
int store_import(const char *path, FILE *in, struct store_counts *n, char *err,
                 size_t err_bytes) SL_MUST;

#endif
