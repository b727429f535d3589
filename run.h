/* `sluice run`: the process as a whole. Makes the parts, ties them, and lives in the control thread
 * until a signal ends it.
 *
 *   control thread   signals, HTTP control, key sets, upstream tokens, reloads
 *   acceptor thread  one
 *   workers          config.workers threads, a gate each
 *   store, audit, resolver: a thread each */
#ifndef RUN_H
#define RUN_H

/* Runs until SIGTERM or SIGINT. Exit code: 0 after an orderly end, 1 when it could not start. */
int run_main(int argc, char **argv);

#endif
