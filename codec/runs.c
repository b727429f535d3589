#include "codec/runs.h"

const uint8_t *runs_read_long(const uint8_t *p, const uint8_t *end, uint32_t *count)
{
    int used = read_varint(p, (size_t)(end - p), count);

    return used > 0 ? p + used : NULL;
}

bool runs_count(const struct message *msg, int version, const uint8_t *p, size_t n, uint64_t *nodes)
{
    struct runs_level levels[WALK_DEPTH_MAX];
    struct runs r;
    uint64_t sum = 0;

    runs_start(&r, levels, msg, version, p, n);
    while (runs_next(&r)) {
        sum += r.run->nodes;
        if (r.run->kind >= RUN_ELEMENTS)
            sum += (uint64_t)r.count * r.run->each_nodes;
    }
    *nodes = sum;
    return r.done;
}
