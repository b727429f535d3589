#include "control/pcap.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "codec/read.h"

#define FILE_HEAD_BYTES   24
#define PACKET_HEAD_BYTES 16
#define PACKET_BYTES_MAX  (1U << 20)
#define VLAN_TAGS_MAX     4
#define IP6_HEADERS_MAX   8

enum link {
    LINK_LOOPBACK = 0,
    LINK_ETHERNET = 1,
    LINK_RAW_BSD = 12,
    LINK_RAW_OPENBSD = 14,
    LINK_RAW = 101,
    LINK_LOOP_OPENBSD = 108,
    LINK_SLL = 113,
    LINK_IPV4 = 228,
    LINK_IPV6 = 229,
    LINK_SLL2 = 276,
};

enum { ETHER_IPV4 = 0x0800, ETHER_VLAN = 0x8100, ETHER_IPV6 = 0x86dd, ETHER_QINQ = 0x88a8 };
enum {
    PROTO_HOP = 0,
    PROTO_TCP = 6,
    PROTO_ROUTE = 43,
    PROTO_FRAGMENT = 44,
    PROTO_AH = 51,
    PROTO_DEST = 60
};

/* A number of the file's own byte order. */
static uint32_t file_u32(const struct pcap *r, const uint8_t *p)
{
    uint32_t v = read_u32(p);
    return r->swapped ? __builtin_bswap32(v) : v;
}

static bool magic_read(struct pcap *r, const uint8_t *p)
{
    switch (read_u32(p)) {
    case 0xa1b2c3d4:
        return true;
    case 0xd4c3b2a1:
        r->swapped = true;
        return true;
    case 0xa1b23c4d:
        r->nanoseconds = true;
        return true;
    case 0x4d3cb2a1:
        r->swapped = r->nanoseconds = true;
        return true;
    default:
        return false;
    }
}

bool pcap_magic(const uint8_t *p, size_t n)
{
    struct pcap r = {.n = n};
    return n >= FILE_HEAD_BYTES && magic_read(&r, p);
}

int pcap_open(struct pcap *r, const uint8_t *p, size_t n)
{
    *r = (struct pcap){.p = p, .n = n};
    if (n < FILE_HEAD_BYTES || !magic_read(r, p)) {
        r->why = n >= 4 && read_u32(p) == 0x0a0d0d0a
                     ? "a pcapng file; convert it: tcpdump -r IN -w OUT"
                     : "not a pcap file";
        return ERR_MALFORMED;
    }
    r->link = file_u32(r, p + 20) & 0xffff;
    switch (r->link) {
    case LINK_LOOPBACK:
    case LINK_ETHERNET:
    case LINK_RAW_BSD:
    case LINK_RAW_OPENBSD:
    case LINK_RAW:
    case LINK_LOOP_OPENBSD:
    case LINK_SLL:
    case LINK_IPV4:
    case LINK_IPV6:
    case LINK_SLL2:
        r->at = FILE_HEAD_BYTES;
        return OK;
    default:
        r->at = 20;
        r->why = "a link type other than Ethernet, Linux cooked, raw IP or loopback";
        return ERR_MALFORMED;
    }
}

/* A packet as it is taken apart from the outside in. */
struct packet {
    const uint8_t *p;
    size_t n;       /* captured */
    size_t missing; /* cut off behind that */
};

static bool skip(struct packet *k, size_t n)
{
    if (k->n < n)
        return false;
    k->p += n;
    k->n -= n;
    return true;
}

/* What pads a packet behind the length that its header tells goes; what that header says more is
 * missing. */
static void trim(struct packet *k, size_t told)
{
    if (told <= k->n) {
        k->n = told;
        k->missing = 0;
    } else {
        k->missing = told - k->n;
    }
}

static bool ip_version(const struct packet *k)
{
    return k->n > 0 && (k->p[0] >> 4 == 4 || k->p[0] >> 4 == 6);
}

/* The type of an Ethernet payload; VLAN tags are passed over. */
static bool ether_type(struct packet *k, unsigned type)
{
    for (int i = 0; i < VLAN_TAGS_MAX && (type == ETHER_VLAN || type == ETHER_QINQ); i++) {
        if (k->n < 4)
            return false;
        type = read_u16(k->p + 2);
        (void)skip(k, 4);
    }
    return (type == ETHER_IPV4 || type == ETHER_IPV6) && ip_version(k);
}

/* Down to the IP header; false when it isn't IP. */
static bool link_skip(const struct pcap *r, struct packet *k)
{
    size_t head = r->link == LINK_ETHERNET ? 14
                  : r->link == LINK_SLL    ? 16
                  : r->link == LINK_SLL2   ? 20
                                           : 4;
    const uint8_t *p = k->p;
    switch (r->link) {
    case LINK_ETHERNET:
        return skip(k, head) && ether_type(k, read_u16(p + 12));
    case LINK_SLL:
        return skip(k, head) && ether_type(k, read_u16(p + 14));
    case LINK_SLL2:
        return skip(k, head) && ether_type(k, read_u16(p));
    case LINK_LOOPBACK:
    case LINK_LOOP_OPENBSD:
        return skip(k, head) && ip_version(k);
    default:
        return ip_version(k);
    }
}

enum ip { IP_TCP, IP_OTHER, IP_FRAGMENT, IP_CUT };

static enum ip ip4_skip(struct packet *k, struct segment *s)
{
    const uint8_t *p = k->p;
    size_t head = (size_t)(p[0] & 15) * 4;
    if (k->n < 20 || k->n < head)
        return IP_CUT;
    if (head < 20 || p[9] != PROTO_TCP)
        return IP_OTHER;
    if (read_u16(p + 6) & 0x3fff)
        return IP_FRAGMENT;
    size_t told = read_u16(p + 2);
    if (told >= head) /* 0: left to the network card */
        trim(k, told);
    memcpy(s->from.addr, p + 12, 4);
    memcpy(s->to.addr, p + 16, 4);
    (void)skip(k, head);
    return IP_TCP;
}

static enum ip ip6_skip(struct packet *k, struct segment *s)
{
    if (k->n < 40)
        return IP_CUT;
    const uint8_t *p = k->p;
    unsigned next = p[6];
    size_t told = read_u16(p + 4);
    memcpy(s->from.addr, p + 8, 16);
    memcpy(s->to.addr, p + 24, 16);
    s->from.v6 = s->to.v6 = true;
    (void)skip(k, 40);
    if (told > 0)
        trim(k, told);
    for (int i = 0; i < IP6_HEADERS_MAX && next != PROTO_TCP; i++) {
        if (next == PROTO_FRAGMENT)
            return IP_FRAGMENT;
        if (next != PROTO_HOP && next != PROTO_ROUTE && next != PROTO_DEST && next != PROTO_AH)
            return IP_OTHER;
        if (k->n < 2)
            return IP_CUT;
        size_t len = next == PROTO_AH ? ((size_t)k->p[1] + 2) * 4 : ((size_t)k->p[1] + 1) * 8;
        next = k->p[0];
        if (!skip(k, len))
            return IP_CUT;
    }
    return next == PROTO_TCP ? IP_TCP : IP_OTHER;
}

static bool tcp_read(struct packet *k, struct segment *s)
{
    const uint8_t *p = k->p;
    if (k->n < 20)
        return false;
    size_t head = (size_t)(p[12] >> 4) * 4;
    s->from.port = read_u16(p);
    s->to.port = read_u16(p + 2);
    s->seq = read_u32(p + 4);
    s->flags = p[13];
    if (head < 20 || !skip(k, head))
        return false;
    s->data = k->p;
    s->len = (uint32_t)k->n;
    s->missing = (uint32_t)k->missing;
    return true;
}

/* Is the packet a TCP segment that says something? */
static bool packet_read(struct pcap *r, struct packet *k, struct segment *s)
{
    if (!link_skip(r, k))
        return false;
    switch (k->p[0] >> 4 == 4 ? ip4_skip(k, s) : ip6_skip(k, s)) {
    case IP_TCP:
        break;
    case IP_OTHER:
        return false;
    case IP_FRAGMENT:
        r->fragments++;
        return false;
    case IP_CUT:
        r->cut++;
        return false;
    }
    if (!tcp_read(k, s)) {
        r->cut++;
        return false;
    }
    return s->len > 0 || s->missing > 0 || (s->flags & (TCP_SYN | TCP_FIN | TCP_RST));
}

static int bad(struct pcap *r, const char *why)
{
    r->why = why;
    return ERR_MALFORMED;
}

int pcap_next(struct pcap *r, struct segment *s)
{
    while (r->at < r->n) {
        const uint8_t *head = r->p + r->at;
        if (r->n - r->at < PACKET_HEAD_BYTES)
            return bad(r, "the capture ends inside of a packet's header");
        uint32_t have = file_u32(r, head + 8);
        uint32_t told = file_u32(r, head + 12);
        if (have > PACKET_BYTES_MAX || told > PACKET_BYTES_MAX || have > told)
            return bad(r, "a packet's length cannot be right");
        if (have > r->n - r->at - PACKET_HEAD_BYTES)
            return bad(r, "the capture ends inside of a packet");
        uint32_t part = file_u32(r, head + 4);
        *s = (struct segment){.time_us = (int64_t)file_u32(r, head) * 1000000 +
                                         (r->nanoseconds ? part / 1000 : part)};
        struct packet k = {head + PACKET_HEAD_BYTES, have, told - have};
        r->at += PACKET_HEAD_BYTES + (size_t)have;
        r->packets++;
        if (packet_read(r, &k, s))
            return OK;
    }
    return ERR_EOF;
}

void endpoint_text(const struct endpoint *e, char out[ENDPOINT_TEXT_BYTES])
{
    char addr[INET6_ADDRSTRLEN] = "?";
    (void)inet_ntop(e->v6 ? AF_INET6 : AF_INET, e->addr, addr, sizeof addr);
    (void)snprintf(out, ENDPOINT_TEXT_BYTES, e->v6 ? "[%s]:%u" : "%s:%u", addr, e->port);
}

bool endpoint_eq(const struct endpoint *a, const struct endpoint *b)
{
    return a->port == b->port && a->v6 == b->v6 && memcmp(a->addr, b->addr, 16) == 0;
}
