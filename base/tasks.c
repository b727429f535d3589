#include "base/tasks.h"

#include <stddef.h>

static void push(struct loop_task **list, struct loop_task *t)
{
    t->next = *list;
    if (t->next)
        t->next->prev = &t->next;
    t->prev = list;
    *list = t;
}

void loop_task_init(struct loop_task *t, loop_fn *fn, void *arg)
{
    *t = (struct loop_task){.fn = fn, .arg = arg};
}

void loop_cancel(struct loop_task *t)
{
    if (!t->prev)
        return;
    *t->prev = t->next;
    if (t->next)
        t->next->prev = t->prev;
    t->next = NULL;
    t->prev = NULL;
}

void tasks_post(struct tasks *ts, struct loop_task *t)
{
    if (!t->prev)
        push(&ts->posted, t);
}

void tasks_run(struct tasks *ts)
{
    while (ts->posted) {
        struct loop_task *t = ts->posted;
        loop_cancel(t);
        push(&ts->running, t); /* turns the order round: first come, first served */
    }
    while (ts->running) {
        struct loop_task *t = ts->running;
        loop_cancel(t);
        t->fn(t->arg);
    }
}

void tasks_cancel(struct tasks *ts)
{
    while (ts->posted)
        loop_cancel(ts->posted);
}
