/* usage: sim [--seeds N] [--first N] [--seed N [--trace]] [--twice] [--hashes]
 *
 * Runs seeds first .. first + N - 1, one after another; stops at the first that breaks a rule, with
 * exit code 1 and how to replay it. --twice runs each seed two times and compares what happened;
 * --hashes prints the hash of all that happened in each.
 * The last line says how many seeds passed and what they did. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tests/sim/world.h"

/* A run ends after that many steps, whatever happens: some two hundred times a usual one. */
#define STEPS_MAX 2000000
/* Behind so many seeds it says what there has been. */
#define REPORT_SEEDS 10000

struct sums {
    uint64_t requests, answers, records, revocations, failures, steps, simulated_us;
    unsigned peak_percent;
};

static void run_until(uint64_t until_us)
{
    while (sim.now_us < until_us && sim_step(until_us)) {
        check_step();
        if (sim.steps > STEPS_MAX)
            sim_violation("the run does not end");
    }
}

static unsigned sessions(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < world.nworkers; i++)
        n += world.workers[i].gate->nsessions;
    return n;
}

static void leave(void)
{
    clients_leave();
    if (sim_chance(50))
        for (unsigned i = 0; i < world.nworkers; i++)
            gate_drain(world.workers[i].gate);
    run_until(sim.now_us + sim_below(8000000));
}

static uint64_t run(uint64_t seed, bool trace, struct sums *sum)
{
    sim_begin(seed, trace);
    net_reset();
    parts_reset();
    world_build();
    brokers_begin();
    clients_begin();
    control_begin();
    world.end_us = sim.now_us + sim_between(2, 25) * 1000000;
    run_until(world.end_us);
    leave();
    sim_note("sessions", sessions(), 0, 0);
    control_end();
    clients_end();
    brokers_end();
    net_reset();
    check_end();
    sum->requests += world.requests_judged;
    sum->answers += world.answers_judged;
    sum->records += world.records_judged;
    sum->revocations += world.revocations;
    sum->failures += sim.alloc_failures;
    if (world.peak_percent > sum->peak_percent)
        sum->peak_percent = world.peak_percent;
    sum->steps += sim.steps;
    sum->simulated_us += sim.now_us;
    return sim.hash;
}

static void report(const char *when, uint64_t first, uint64_t seeds, const struct sums *sum)
{
    printf("%s%lu seeds from %lu: %lu steps, %lu simulated seconds, %lu requests at brokers, "
           "%lu answers at clients, %lu times records, %lu sessions revoked, %lu allocations "
           "failed, %u %% of the bound buffered\n",
           when, (unsigned long)seeds, (unsigned long)first, (unsigned long)sum->steps,
           (unsigned long)(sum->simulated_us / 1000000), (unsigned long)sum->requests,
           (unsigned long)sum->answers, (unsigned long)sum->records,
           (unsigned long)sum->revocations, (unsigned long)sum->failures, sum->peak_percent);
    fflush(stdout);
}

/* What one seed has used serves the next, instead of going back to the kernel and coming again. */
static void keep_memory(void)
{
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_MMAP_THRESHOLD, 1 << 25);
}

int main(int argc, char **argv)
{
    uint64_t first = 1, seeds = 100;
    bool trace = false, twice = false, hashes = false;
    struct sums sum = {0}, other = {0};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--trace") == 0) {
            trace = true;
        } else if (strcmp(argv[i], "--twice") == 0) {
            twice = true;
        } else if (strcmp(argv[i], "--hashes") == 0) {
            hashes = true;
        } else if (strcmp(argv[i], "--seed") == 0 || strcmp(argv[i], "--first") == 0) {
            seeds = strcmp(argv[i], "--seed") == 0 ? 1 : seeds;
            first = strtoull(value, NULL, 10);
            i++;
        } else if (strcmp(argv[i], "--seeds") == 0) {
            seeds = strtoull(value, NULL, 10);
            i++;
        } else {
            fprintf(stderr, "usage: sim [--seeds N] [--first N] [--seed N [--trace]] [--twice] "
                            "[--hashes]\n");
            return 2;
        }
    }
    keep_memory();
    log_setup(trace ? LOG_DEBUG : (enum log_level) - 1, false);
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        uint64_t hash = run(seed, trace, &sum);
        if (twice && run(seed, false, &other) != hash)
            sim_violation("the same seed took another course");
        if (trace || hashes)
            printf("seed %lu hash %016lx\n", (unsigned long)seed, (unsigned long)hash);
        if ((seed - first + 1) % REPORT_SEEDS == 0 && seed + 1 < first + seeds)
            report("so far ", first, seed - first + 1, &sum);
    }
    report("", first, seeds, &sum);
    printf("%lu passed, 0 failed\n", (unsigned long)seeds);
    return 0;
}
