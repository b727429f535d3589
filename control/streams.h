/* TCP streams of a capture put together, cut into Kafka's frames, answers matched with their
 * requests by correlation id. Owned by one run of `sluice decode`; one thread.
 *
 * Bounds: STREAMS_MAX connections, STREAM_EARLY_MAX segments and STREAM_EARLY_BYTES_MAX bytes a
 * direction that came too early, STREAM_WAITING_MAX requests a connection without an answer, and
 * STREAMS_BYTES_MAX bytes held in all. What a bound cuts off is told, like bytes that the capture
 * lacks: reading goes on at the next segment that looks like a frame's start. */
#ifndef CONTROL_STREAMS_H
#define CONTROL_STREAMS_H

#include <jansson.h>

#include "base/err.h"
#include "control/pcap.h"

#define STREAMS_MAX            65536
#define STREAM_EARLY_MAX       4096
#define STREAM_EARLY_BYTES_MAX (16U << 20)
#define STREAM_WAITING_MAX     65536
#define STREAMS_BYTES_MAX      (1U << 30)

struct leaks_view;
struct streams;

/* Takes the document (and its reference). bad: it has an "error". */
typedef void streams_fn(void *arg, json_t *doc, bool bad);

/* secrets: show them. leaks: what answers may show, outlives the streams; NULL: not looked at. NULL
 * when memory runs out. */
struct streams *streams_new(bool secrets, const struct leaks_view *leaks, streams_fn *fn,
                            void *arg) SL_MUST;
void streams_free(struct streams *s);
/* ERR_NOMEM, or OK; whatever is wrong with the bytes becomes a document. */
int streams_segment(struct streams *s, const struct segment *seg) SL_MUST;
/* The end of the capture: tells of frames that are not whole. */
int streams_end(struct streams *s) SL_MUST;

#endif
