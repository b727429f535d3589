/* Packet captures: the classic pcap format (both byte orders, micro- and nanoseconds) down to TCP
 * segments. Ethernet (with VLAN tags), Linux cooked v1 and v2, raw IP, BSD loopback; IPv4 and IPv6.
 * Reads memory that the caller keeps; no heap. One thread a reader. What is not TCP is passed over;
 * what cannot be followed (fragments, packets whose headers were cut off) is counted. */
#ifndef CONTROL_PCAP_H
#define CONTROL_PCAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct endpoint {
    uint8_t addr[16]; /* IPv4 in the first four */
    bool v6;
    uint16_t port;
};

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

struct segment {
    int64_t time_us; /* since 1970 */
    struct endpoint from, to;
    uint32_t seq;
    uint8_t flags;
    const uint8_t *data;
    uint32_t len;     /* captured */
    uint32_t missing; /* sent, but cut off by the capture's snap length */
};

struct pcap {
    const uint8_t *p;
    size_t n, at;
    bool swapped, nanoseconds;
    uint32_t link;
    uint64_t packets, fragments, cut; /* read; IP fragments; headers cut off */
    const char *why;                  /* of the last error, constant text */
};

/* Is this the start of a classic capture file? */
bool pcap_magic(const uint8_t *p, size_t n);
/* ERR_MALFORMED with pcap->why: not such a file, a link type that isn't ours. */
int pcap_open(struct pcap *r, const uint8_t *p, size_t n) SL_MUST;
/* The next TCP segment with data or SYN, FIN, RST. ERR_EOF at the end; ERR_MALFORMED with why and
 * at (offset in the file) when the file breaks its format. */
int pcap_next(struct pcap *r, struct segment *s) SL_MUST;

/* "192.0.2.1:9092", "[2001:db8::1]:9092". */
#define ENDPOINT_TEXT_BYTES 64
void endpoint_text(const struct endpoint *e, char out[ENDPOINT_TEXT_BYTES]);
bool endpoint_eq(const struct endpoint *a, const struct endpoint *b);

#endif
