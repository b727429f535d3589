/* Mutation that knows Kafka's schema, shared by the fuzz targets that read messages and by the
 * differential run. A message is taken apart with the codec's own tree, changed by the role and
 * type of a field, by its version, an array's count, a tag, and written again; or changed on the
 * wire where lengths, counts and tags stand, which the writer alone would never get wrong; or plain
 * bytes are changed.
 *
 * Everything follows from the seed alone. One thread. Nothing is kept between calls, and nothing is
 * written beyond the size given. */
#ifndef FUZZ_MUTATE_H
#define FUZZ_MUTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/schema.h"
#include "fuzz/mutate_base.h"

/* A legal body of that message and version, with unknown tags now and then. Its size; 0 when it is
 * empty or does not fit max. */
size_t mutate_new(struct mutate_rng *r, const struct message *m, int version, uint8_t *out,
                  size_t max);
/* Changes the n bytes of a body in place, and perhaps the version. The new size, at most max. */
size_t mutate_body(struct mutate_rng *r, const struct message *m, int *version, uint8_t *body,
                   size_t n, size_t max);

/* Names that fuzz/world.h grants, and some that it does not, wherever a body has names. */
size_t mutate_names(struct mutate_rng *r, const struct message *m, int version, uint8_t *body,
                    size_t n, size_t max);

/* How an input of one message begins: so many bytes in front, where the API and the version stand
 * among them, and which bit of which byte says that it is a request (or, turned, an answer). */
struct mutate_layout {
    size_t head, api, version, way;
    uint8_t way_bit;
    bool bit_is_request;
};
/* What LLVMFuzzerCustomMutator does for such an input. */
size_t mutate_input(const struct mutate_layout *l, uint8_t *data, size_t size, size_t max,
                    unsigned seed);

/* The same for a row of whole request frames, each with its length in front (fuzz/mutate_frames.c):
 * a request of one of these APIs is put in, left out, moved, sent twice or changed by its schema,
 * and lengths follow, as a rule. */
size_t mutate_frames(const uint8_t *apis, size_t napis, uint8_t *data, size_t size, size_t max,
                     unsigned seed);

/* A script is a row of steps: what happens (the target's own number), a message with its API, its
 * version (the top bit: an answer), and the body's length in two bytes. */
#define SCRIPT_STEP_BYTES 5
#define SCRIPT_STEPS_MAX  64
struct script_step {
    uint8_t what, api;
    bool request;
    int version;
    const uint8_t *body;
    size_t len;
};
/* Takes the first step off an input. False: there is none. A last body that is cut short ends with
 * the input. */
bool script_next(const uint8_t **data, size_t *size, struct script_step *s);
/* One more step at the end, with a new message. The new size; size when it does not fit. */
size_t script_append(struct mutate_rng *r, uint8_t *data, size_t size, size_t max, uint8_t what,
                     const struct message *m, int version);
/* What LLVMFuzzerCustomMutator does for a script. */
size_t mutate_script(uint8_t *data, size_t size, size_t max, unsigned seed);

#endif
