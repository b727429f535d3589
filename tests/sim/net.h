/* What loop.c asks of the simulated descriptors. */
#ifndef TESTS_SIM_NET_H
#define TESTS_SIM_NET_H

/* Which of LOOP_READ | LOOP_WRITE in mask would not block. */
unsigned net_ready(int fd, unsigned mask);

#endif
