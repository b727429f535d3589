/* What loop.c asks of the simulated descriptors. */
#ifndef TESTS_SIM_NET_H
#define TESTS_SIM_NET_H

/* Which of LOOP_READ | LOOP_WRITE in mask would not block; NET_SOON: none, but time alone may
 * change that. */
#define NET_SOON 0x100u
unsigned net_ready(int fd, unsigned mask);
/* Who watches this descriptor; NULL: nobody does. Told by loop_io_stir whenever it may have become
 * ready. */
struct loop_io;
void net_watch(int fd, struct loop_io *io);
void loop_io_stir(struct loop_io *io);

#endif
