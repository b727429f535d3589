/* What the workers can tell: their sessions, their use of grants, counters, for the control
 * listener.
 *
 * Plain memory of run.c, which fills it once the workers stand; control thread. Nothing here is
 * asked for after the workers have been told to stop. */
#ifndef VIEW_H
#define VIEW_H

#include <jansson.h>

#include "auth/grant.h"
#include "base/err.h"

struct audit;
struct gate;
struct introspector;
struct mailbox;
struct worker;

struct view {
    struct worker *const *workers;
    struct gate *const *gates;
    unsigned count;
    struct mailbox *mailbox; /* the control thread's */
    struct audit *audit;
    const struct introspector *introspector;
};

/* array is the callee's; NULL: there was no memory for it. */
typedef void view_list_fn(void *arg, json_t *array);
typedef void view_metric_fn(void *arg, const char *name, const char *labels, const char *type,
                            const char *help, double value);

/* Every worker lists its own sessions in its own thread; the last one done delivers. Unless an
 * error is returned, done is called once, later. */
int view_sessions(const struct view *v, view_list_fn *done, void *arg) SL_MUST;
/* usage[i] belongs to ids[i]; NULL: there was no memory for it. */
typedef void view_usage_fn(void *arg, const struct grant_usage *usage);
/* How these grants, sorted by strcmp, are used, summed over the workers. ids must live until done,
 * which is called once, later, unless an error is returned. */
int view_usage(const struct view *v, const char *const *ids, size_t n, view_usage_fn *done,
               void *arg) SL_MUST;
/* One line a counter, summed over the workers; and what the audit trail and introspection count. */
void view_metrics(const struct view *v, view_metric_fn *line, void *arg);

#endif
