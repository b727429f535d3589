/* A port of loopback for a listener that must be told its port beforehand. From below the range
 * that the kernel gives to whoever asks for none: otherwise a connection of another test may take
 * it between here and there. And from below those of tests/e2e, which run beside these. Where to
 * begin depends on the process. */
#ifndef TESTS_PORT_H
#define TESTS_PORT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORTS_FROM 10000
#define PORTS      11000

static inline uint16_t free_port(void)
{
    static unsigned next;

    for (unsigned tries = 0; tries < PORTS; tries++) {
        uint16_t port = (uint16_t)(PORTS_FROM + ((unsigned)getpid() * 61 + next++) % PORTS);
        struct sockaddr_in at = {
            .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int rc = bind(fd, (struct sockaddr *)&at, sizeof(at));

        close(fd);
        if (rc == 0)
            return port;
    }
    fail_msg("no port is free");
    return 0;
}

#endif
