/* The libevent base under a loop, for the one other user of libevent: control/server, whose evhttp
 * runs on the control thread's loop. Not there in a simulated loop. */
#ifndef BASE_LOOP_EVENT_H
#define BASE_LOOP_EVENT_H

struct event_base;
struct loop;

/* Lives as long as the loop. */
struct event_base *loop_base(struct loop *l);

#endif
