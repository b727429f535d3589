/* The folder of further grants: what it holds, and whether that has changed.
 *
 * Files *.yaml, *.yml and *.json, each a list of grants or one, in the order of their names; what
 * begins with a dot and everything else is left alone. All of them are one set: read together, or
 * not at all. At most GRANTS_FILES_MAX files and GRANTS_DIR_BYTES_MAX bytes. Watching is a look
 * once in GRANTS_LOOK_US, not inotify, so that it works on every file system and over the symbolic
 * links of a Kubernetes volume; a set is taken when two looks have seen the same, so that a file is
 * not read while it is written (better still is to write it beside and rename it). Control thread.
 */
#ifndef CONFIG_GRANTS_DIR_H
#define CONFIG_GRANTS_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

#define GRANTS_FILES_MAX     1024
#define GRANTS_DIR_BYTES_MAX ((size_t)32 * 1024 * 1024)
#define GRANTS_LOOK_US       (UINT64_C(1) * 1000000)

struct loop;
struct grants_watch;

/* Names, sizes and times of the files, in a number; 0: the folder cannot be read. */
uint64_t grants_dir_stamp(const char *path);

/* changed is called when the set is another than the one that was last read or refused; false: try
 * again. c: where the folder is, and what of it has been read already; may name none. */
struct grants_watch *grants_watch_new(struct loop *l, const struct config *c,
                                      bool (*changed)(void *arg), void *arg) SL_MUST;
/* After a reload of all. NULL does nothing, here and below. */
void grants_watch_config(struct grants_watch *w, const struct config *c);
void grants_watch_free(struct grants_watch *w);

#endif
