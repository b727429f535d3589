/* The posted calls of a loop, for those who implement base/loop.h: first come, first served, a turn
 * at a time. loop_task_init and loop_cancel are here as well, since they need no loop. Part of its
 * loop, whose thread alone uses it. */
#ifndef BASE_TASKS_H
#define BASE_TASKS_H

#include "base/loop.h"

struct tasks {
    struct loop_task *posted;  /* newest first */
    struct loop_task *running; /* oldest first: the turn's share */
};

void tasks_post(struct tasks *ts, struct loop_task *t);
/* Runs what is posted now. Tasks posted while these run belong to the next turn, so two that post
 * each other cannot keep the loop from its descriptors. */
void tasks_run(struct tasks *ts);
/* Takes back all that are posted. */
void tasks_cancel(struct tasks *ts);

#endif
