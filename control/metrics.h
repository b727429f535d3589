/* Prometheus text (exposition format 0.0.4) from lines in any order: lines of one family are put
 * together under one HELP and TYPE. Owned by one scrape; control thread. */
#ifndef CONTROL_METRICS_H
#define CONTROL_METRICS_H

#include <stddef.h>

#include "base/err.h"

#define METRICS_FAMILIES_MAX 256
#define METRICS_BYTES_MAX    ((size_t)4 * 1024 * 1024)

struct metrics;
struct metrics *metrics_new(void) SL_MUST;
void metrics_free(struct metrics *m);
/* labels: `api="Fetch",error="29"`, escaped already (metrics_label), or "" or NULL. A histogram's
 * lines carry its suffixes _bucket, _sum, _count. What exceeds the bounds is left out. Fits
 * struct control_gate's line. */
void metrics_line(void *m, const char *name, const char *labels, const char *type, const char *help,
                  double value);
/* key="value" with the value escaped, a comma before it when out holds something; cut to nothing
 * when it does not fit. */
void metrics_label(char *out, size_t out_bytes, const char *key, const char *value);
/* The whole text, malloc'ed, NUL-terminated; NULL without memory. */
char *metrics_text(struct metrics *m, size_t *n) SL_MUST;

#endif
