/* The leak linter: reads an answer by the roles of its fields and tells what a client should not
 * have seen of the cluster behind: hosts, ports, racks, nodes, the cluster's id, brokers' own
 * words, tags that nobody knows, members' patterns, names outside of what was granted. It knows
 * nothing of how the gate hides them, so it can judge the gate, a capture, or another proxy.
 *
 * One pass of the walker, no heap, no limit but the answer's own size. Any thread. */
#ifndef CODEC_LEAKS_H
#define CODEC_LEAKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/schema.h"

/* What may be seen. */
struct leaks_view {
    const char *const *hosts; /* advertised */
    const int32_t *ports;     /* of the same index */
    size_t naddresses;
    int32_t node;        /* the one virtual broker */
    const char *cluster; /* its made-up id; NULL: any */
    /* NULL: any name. The texts have no NUL behind them. */
    bool (*topic)(void *arg, const uint8_t *name, size_t n);
    bool (*group)(void *arg, const uint8_t *id, size_t n);
    /* Own words beside an error code, besides Kafka's standard ones; NULL: none. */
    bool (*text)(void *arg, const uint8_t *text, size_t n);
    void *arg;
};

struct leak {
    const struct field *field; /* NULL for an unknown tag */
    const char *why;           /* constant text */
    uint64_t offset;           /* into the body: of a text, behind a number */
    const uint8_t *text;       /* of a string or a tag's content, else NULL */
    size_t len;
    int64_t value; /* a number; an unknown tag's number */
};
typedef void leaks_fn(void *arg, const struct leak *l);

/* Calls fn for each leak of an answer's body (what follows the header). OK, or ERR_MALFORMED when
 * the body is not a legal message; leaks found up to there have been told. */
int leaks_find(const struct message *msg, int version, const uint8_t *body, size_t n,
               const struct leaks_view *view, leaks_fn *fn, void *arg) SL_MUST;

#endif
