/* What both C programs of `make bench-codec` share: the cases that Cases.java wrote, and the clock.
 * One thread. Time is the thread's own on the processor, so a neighbour's turns do not count. */
#ifndef BENCH_CODEC_MEASURE_H
#define BENCH_CODEC_MEASURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CASES_MAX      16
#define CASE_BYTES_MAX 262144
#define ROUNDS         150
#define ROUND_NS       4e6 /* short: some rounds find the machine to themselves */
#define BATCH          64

struct bench_case {
    char name[64];
    int api, version;
    bool request;
    size_t len;
    uint8_t *bytes;
};

static inline double thread_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline void quit(const char *what, const char *why)
{
    fprintf(stderr, "bench-codec: %s: %s\n", what, why);
    exit(1);
}

static inline void case_load(struct bench_case *c, const char *dir)
{
    char path[1024];
    FILE *f;

    if (snprintf(path, sizeof path, "%.900s/%s", dir, c->name) >= (int)sizeof path)
        quit(dir, "is too long a name");
    f = fopen(path, "rb");
    c->bytes = malloc(CASE_BYTES_MAX);
    if (!f || !c->bytes)
        quit(path, "cannot be read");
    c->len = fread(c->bytes, 1, CASE_BYTES_MAX, f);
    if (c->len == 0 || c->len == CASE_BYTES_MAX)
        quit(path, "is empty or too large");
    fclose(f);
}

/* All cases of the directory; returns how many. */
static inline int cases_load(struct bench_case all[CASES_MAX], const char *dir)
{
    char path[1024], line[160], direction[16];
    int n = 0;
    FILE *f;

    snprintf(path, sizeof path, "%.900s/cases", dir);
    f = fopen(path, "r");
    if (!f)
        quit(path, "cannot be read");
    while (n < CASES_MAX && fgets(line, sizeof line, f)) {
        struct bench_case *c = &all[n++];
        if (sscanf(line, "%63s %d %d %15s", c->name, &c->api, &c->version, direction) != 4)
            quit(path, "has a line that is none");
        c->request = strcmp(direction, "request") == 0;
        case_load(c, dir);
    }
    fclose(f);
    return n;
}

/* Runs it again and again: a round unseen, then ROUNDS rounds, each printed in nanoseconds a
 * message. */
static inline void measure(const struct bench_case *c, const char *what,
                           void (*once)(const struct bench_case *c))
{
    for (int round = -1; round < ROUNDS; round++) {
        double begin = thread_ns(), now = begin;
        unsigned long messages = 0;

        while (now - begin < ROUND_NS) {
            for (int i = 0; i < BATCH; i++)
                once(c);
            messages += BATCH;
            now = thread_ns();
        }
        if (round >= 0)
            printf("%s %s %.3f\n", c->name, what, (now - begin) / (double)messages);
    }
}

#endif
