#include "control/streams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codec/read.h"
#include "control/dissect.h"

#define BUCKETS 4096
/* Ports from here on are given out to clients. */
#define PORT_EPHEMERAL 32768

struct early {
    struct early *next;
    uint32_t seq, len;
    int64_t time_us;
    uint8_t data[];
};

/* One direction's bytes. */
struct half {
    uint32_t next_seq; /* of the byte behind the ones held; right when synced */
    bool synced;
    bool tls;        /* told; the rest is passed over */
    uint64_t offset; /* in the stream, of the first byte held */
    uint8_t *held;   /* synced: bytes in order, not yet a whole frame; else those in which none
                        was found yet */
    size_t len, cap;
    struct early *early; /* by sequence number */
    uint32_t nearly, early_bytes;
};

struct waiting {
    int16_t api, version;
    int32_t correlation;
};

struct stream {
    struct stream *next; /* in the bucket */
    struct endpoint end[2];
    struct half half[2]; /* half[i]: what end[i] sends */
    int client;          /* which end asks; -1 not known yet */
    struct waiting *waiting;
    size_t nwaiting, waiting_cap;
};

struct streams {
    struct stream *bucket[BUCKETS];
    size_t count, bytes;
    bool secrets, full_told;
    const struct leaks_view *leaks;
    streams_fn *fn;
    void *arg;
};

struct streams *streams_new(bool secrets, const struct leaks_view *leaks, streams_fn *fn, void *arg)
{
    struct streams *s = calloc(1, sizeof *s);
    if (s) {
        s->secrets = secrets;
        s->leaks = leaks;
        s->fn = fn;
        s->arg = arg;
    }
    return s;
}

static void early_pop(struct streams *s, struct half *h)
{
    struct early *e = h->early;
    h->early = e->next;
    h->nearly--;
    h->early_bytes -= e->len;
    s->bytes -= e->len;
    free(e);
}

static void half_clear(struct streams *s, struct half *h)
{
    while (h->early)
        early_pop(s, h);
    free(h->held);
    s->bytes -= h->cap;
    *h = (struct half){.synced = false};
}

void streams_free(struct streams *s)
{
    for (size_t i = 0; s && i < BUCKETS; i++) {
        while (s->bucket[i]) {
            struct stream *t = s->bucket[i];
            s->bucket[i] = t->next;
            half_clear(s, &t->half[0]);
            half_clear(s, &t->half[1]);
            free(t->waiting);
            free(t);
        }
    }
    free(s);
}

/* --- documents */

/* time_us -1: no time, at the end of the capture. */
static json_t *doc_new(const struct stream *t, int from, int64_t time_us)
{
    char a[ENDPOINT_TEXT_BYTES], b[ENDPOINT_TEXT_BYTES];
    endpoint_text(&t->end[from], a);
    endpoint_text(&t->end[!from], b);
    if (time_us < 0)
        return json_pack("{s:s, s:s}", "from", a, "to", b);
    char day[32], when[48];
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm) || strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        day[0] = '\0';
    (void)snprintf(when, sizeof when, "%s.%06dZ", day, (int)(time_us % 1000000));
    return json_pack("{s:s, s:s, s:s}", "time", when, "from", a, "to", b);
}

/* What a direction holds and has no use for, which is about to be dropped. */
static int show_held(json_t *doc, const struct half *h)
{
    int err = dissect_unread(doc, h->offset, h->held, h->len);
    for (const struct early *e = h->early; !err && e; e = e->next)
        err = dissect_unread(doc, h->offset + h->len + (e->seq - h->next_seq), e->data, e->len);
    return err;
}

/* Tells of bytes that could not be read, and shows those that are held. */
static int tell(struct streams *s, const struct stream *t, int from, int64_t time_us, uint64_t lost,
                const char *why)
{
    json_t *doc = doc_new(t, from, time_us);
    if (!doc)
        return ERR_NOMEM;
    int err = dissect_error(doc, t->half[from].offset, "%s", why);
    if (err == ERR_MALFORMED && lost > 0 &&
        json_object_set_new(doc, "bytes", json_integer((json_int_t)lost)))
        err = ERR_NOMEM;
    if (err == ERR_MALFORMED && show_held(doc, &t->half[from]))
        err = ERR_NOMEM;
    if (err == ERR_NOMEM) {
        json_decref(doc);
        return ERR_NOMEM;
    }
    s->fn(s->arg, doc, true);
    return OK;
}

/* Bytes that there is no room to hold. */
static int tell_full(struct streams *s, struct stream *t, int from, int64_t time_us,
                     const uint8_t *p, size_t n)
{
    struct half *h = &t->half[from];
    json_t *doc = doc_new(t, from, time_us);
    if (!doc)
        return ERR_NOMEM;
    if (dissect_error(doc, h->offset, "too many bytes are held; these are passed over") ==
            ERR_NOMEM ||
        dissect_unread(doc, h->offset, p, n)) {
        json_decref(doc);
        return ERR_NOMEM;
    }
    h->offset += n;
    s->fn(s->arg, doc, true);
    return OK;
}

/* --- requests and their answers */

static int waiting_add(struct stream *t, const struct dissect_head *h)
{
    if (t->nwaiting == STREAM_WAITING_MAX) {
        memmove(t->waiting, t->waiting + 1, (t->nwaiting - 1) * sizeof *t->waiting);
        t->nwaiting--;
    }
    if (t->nwaiting == t->waiting_cap) {
        size_t cap = t->waiting_cap ? 2 * t->waiting_cap : 16;
        struct waiting *w = realloc(t->waiting, cap * sizeof *w);
        if (!w)
            return ERR_NOMEM;
        t->waiting = w;
        t->waiting_cap = cap;
    }
    t->waiting[t->nwaiting++] = (struct waiting){h->api, h->version, h->correlation};
    return OK;
}

static const struct waiting *waiting_find(const struct stream *t, int32_t correlation)
{
    for (size_t i = 0; i < t->nwaiting; i++) {
        if (t->waiting[i].correlation == correlation)
            return &t->waiting[i];
    }
    return NULL;
}

/* Answers come in the order of the requests, so those before this one (a Produce with acks=0) get
 * none. */
static void waiting_take(struct stream *t, const struct waiting *w, struct waiting *out)
{
    size_t n = (size_t)(w - t->waiting) + 1;
    *out = *w;
    memmove(t->waiting, t->waiting + n, (t->nwaiting - n) * sizeof *t->waiting);
    t->nwaiting -= n;
}

static int dissect_answer(struct streams *s, struct stream *t, json_t *doc, const uint8_t *p,
                          size_t n, uint64_t offset)
{
    struct dissect_kind kind = {.request = false, .secrets = s->secrets, .leaks = s->leaks};
    const struct waiting *w = n < 4 ? NULL : waiting_find(t, read_i32(p));
    if (!w) {
        int err =
            n < 4 ? dissect_error(doc, offset, "%zu bytes are too few for an answer's header", n)
                  : dissect_error(doc, offset, "an answer to correlation id %d, which nobody asked",
                                  read_i32(p));
        return dissect_unread(doc, offset, p, n) ? ERR_NOMEM : err;
    }
    struct waiting asked;
    waiting_take(t, w, &asked);
    kind.api = asked.api;
    kind.version = asked.version;
    return dissect_frame(doc, p, n, offset, &kind, NULL);
}

/* One whole frame, its length apart. */
static int frame(struct streams *s, struct stream *t, int from, int64_t time_us, const uint8_t *p,
                 size_t n)
{
    uint64_t offset = t->half[from].offset;
    json_t *doc = doc_new(t, from, time_us);
    if (!doc || json_object_set_new(doc, "offset", json_integer((json_int_t)offset)) ||
        json_object_set_new(doc, "length", json_integer((json_int_t)n))) {
        json_decref(doc);
        return ERR_NOMEM;
    }
    int err;
    if (from == t->client) {
        struct dissect_kind kind = {.request = true, .secrets = s->secrets};
        struct dissect_head head;
        err = dissect_frame(doc, p, n, offset + 4, &kind, &head);
        if (err != ERR_NOMEM && head.known && waiting_add(t, &head))
            err = ERR_NOMEM;
    } else {
        err = dissect_answer(s, t, doc, p, n, offset + 4);
    }
    if (err == ERR_NOMEM) {
        json_decref(doc);
        return ERR_NOMEM;
    }
    s->fn(s->arg, doc, err != OK);
    return OK;
}

/* --- bytes */

/* Forgets what is held; the next frame is looked for at a segment's start. */
static void desync(struct streams *s, struct half *h)
{
    h->offset += h->len;
    h->len = 0;
    h->synced = false;
    while (h->early)
        early_pop(s, h);
}

/* Cuts whole frames off what is held. */
static int cut(struct streams *s, struct stream *t, int from, int64_t time_us)
{
    struct half *h = &t->half[from];
    size_t at = 0;
    int err = OK;
    while (!err && h->len - at >= 4) {
        uint32_t n;
        json_t *doc = doc_new(t, from, time_us);
        if (!doc)
            return ERR_NOMEM;
        err = dissect_length(doc, h->held + at, h->offset, &n);
        if (err == ERR_MALFORMED) {
            h->tls = h->held[at] == 0x16;
            h->len -= at;
            memmove(h->held, h->held + at, h->len);
            err = show_held(doc, h);
            if (err)
                json_decref(doc);
            else
                s->fn(s->arg, doc, true);
            desync(s, h);
            return err;
        }
        json_decref(doc);
        if (err || h->len - at - 4 < n)
            break;
        err = frame(s, t, from, time_us, h->held + at + 4, n);
        at += 4 + (size_t)n;
        h->offset += 4 + (uint64_t)n;
    }
    memmove(h->held, h->held + at, h->len - at);
    h->len -= at;
    return err;
}

static int hold(struct streams *s, struct half *h, const uint8_t *p, size_t n)
{
    if (n > h->cap - h->len) {
        size_t cap = h->cap ? h->cap : 4096;
        while (cap - h->len < n)
            cap *= 2;
        if (cap - h->cap > STREAMS_BYTES_MAX - s->bytes)
            return ERR_LIMIT;
        uint8_t *held = realloc(h->held, cap);
        if (!held)
            return ERR_NOMEM;
        s->bytes += cap - h->cap;
        h->held = held;
        h->cap = cap;
    }
    memcpy(h->held + h->len, p, n);
    h->len += n;
    h->next_seq += (uint32_t)n;
    return OK;
}

/* Bytes in their place. What a bound cuts off is told. */
static int take(struct streams *s, struct stream *t, int from, int64_t time_us, const uint8_t *p,
                size_t n)
{
    struct half *h = &t->half[from];
    int err = hold(s, h, p, n);
    if (err == ERR_LIMIT) {
        err = tell(s, t, from, time_us, h->len, "too many bytes are held; these are passed over");
        desync(s, h);
        return err ? err : tell_full(s, t, from, time_us, p, n);
    }
    return err ? err : cut(s, t, from, time_us);
}

/* Takes early segments whose turn has come. */
static int take_early(struct streams *s, struct stream *t, int from)
{
    struct half *h = &t->half[from];
    int err = OK;
    while (!err && h->synced && h->early) {
        struct early *e = h->early;
        int32_t ahead = (int32_t)(e->seq - h->next_seq);
        if (ahead > 0)
            break;
        uint32_t old = h->next_seq - e->seq;
        h->early = e->next;
        h->nearly--;
        h->early_bytes -= e->len;
        s->bytes -= e->len;
        if (old < e->len)
            err = take(s, t, from, e->time_us, e->data + old, e->len - old);
        free(e);
    }
    return err;
}

/* Keeps a segment for later. ERR_LIMIT: no room. */
static int keep_early(struct streams *s, struct half *h, const struct segment *g, uint32_t seq)
{
    if (h->nearly == STREAM_EARLY_MAX || g->len > STREAM_EARLY_BYTES_MAX - h->early_bytes ||
        g->len > STREAMS_BYTES_MAX - s->bytes)
        return ERR_LIMIT;
    struct early **link = &h->early;
    while (*link && (int32_t)((*link)->seq - seq) < 0)
        link = &(*link)->next;
    struct early *e = malloc(sizeof *e + g->len);
    if (!e)
        return ERR_NOMEM;
    e->next = *link;
    e->seq = seq;
    e->len = g->len;
    e->time_us = g->time_us;
    memcpy(e->data, g->data, g->len);
    *link = e;
    h->nearly++;
    h->early_bytes += g->len;
    s->bytes += g->len;
    return OK;
}

/* --- connections */

/* Which end asks: the one that opened the connection; else the one with a port of the kind that is
 * given to clients; else the one that sends something like a request. */
static void find_client(struct stream *t, int from, const struct segment *g)
{
    if (g->flags & TCP_SYN) {
        t->client = g->flags & TCP_ACK ? !from : from;
        return;
    }
    if (t->client >= 0 || g->len == 0)
        return;
    bool high = g->from.port >= PORT_EPHEMERAL;
    if (high != (g->to.port >= PORT_EPHEMERAL))
        t->client = high ? from : !from;
    else if (dissect_like_request(g->data, g->len))
        t->client = from;
}

static bool like_frame(const struct stream *t, int from, const uint8_t *p, size_t n)
{
    if (from == t->client)
        return dissect_like_request(p, n);
    if (n < 8)
        return false;
    int32_t len = read_i32(p);
    return len >= 4 && (uint32_t)len <= DISSECT_FRAME_MAX && waiting_find(t, read_i32(p + 4));
}

/* Bytes of a stream whose start, or whose middle, the capture lacks. */
static int take_unsynced(struct streams *s, struct stream *t, int from, const struct segment *g,
                         uint32_t seq)
{
    struct half *h = &t->half[from];
    if (t->client < 0 || !like_frame(t, from, g->data, g->len)) {
        int err = hold(s, h, g->data, g->len);
        if (err != ERR_LIMIT)
            return err;
        err = tell(s, t, from, g->time_us, h->len, "no frame could be found in these bytes");
        desync(s, h);
        return err ? err : tell_full(s, t, from, g->time_us, g->data, g->len);
    }
    if (h->len > 0) {
        int err = tell(s, t, from, g->time_us, h->len,
                       "the capture lacks the start of these bytes; they are passed over");
        desync(s, h);
        if (err)
            return err;
    }
    h->synced = true;
    h->next_seq = seq;
    return take(s, t, from, g->time_us, g->data, g->len);
}

static int take_synced(struct streams *s, struct stream *t, int from, const struct segment *g,
                       uint32_t seq)
{
    struct half *h = &t->half[from];
    int32_t ahead = (int32_t)(seq - h->next_seq);
    if (ahead > 0) {
        int err = keep_early(s, h, g, seq);
        if (err != ERR_LIMIT)
            return err;
        err = tell(s, t, from, g->time_us, h->len + h->early_bytes, "the capture lacks bytes here");
        desync(s, h);
        return err ? err : take_unsynced(s, t, from, g, seq);
    }
    uint32_t old = h->next_seq - seq;
    if (old >= g->len)
        return OK; /* sent again */
    int err = take(s, t, from, g->time_us, g->data + old, g->len - old);
    return err ? err : take_early(s, t, from);
}

static struct stream *stream_find(struct streams *s, const struct segment *g, int *from)
{
    uint32_t hash = (uint32_t)g->from.port * 2654435761U ^ (uint32_t)g->to.port * 2654435761U;
    for (unsigned i = 0; i < 16; i++)
        hash = hash * 31 + (g->from.addr[i] ^ g->to.addr[i]);
    struct stream **bucket = &s->bucket[hash % BUCKETS];
    for (struct stream *t = *bucket; t; t = t->next) {
        for (*from = 0; *from < 2; ++*from) {
            if (endpoint_eq(&t->end[*from], &g->from) && endpoint_eq(&t->end[!*from], &g->to))
                return t;
        }
    }
    *from = 0;
    if (s->count == STREAMS_MAX)
        return NULL;
    struct stream *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->end[0] = g->from;
    t->end[1] = g->to;
    t->client = -1;
    t->next = *bucket;
    *bucket = t;
    s->count++;
    return t;
}

/* What was not a whole frame when a direction ended. */
static int half_end(struct streams *s, struct stream *t, int from, int64_t time_us)
{
    struct half *h = &t->half[from];
    if (h->tls)
        return OK;
    if (h->early)
        return tell(s, t, from, time_us, h->len + h->early_bytes, "the capture lacks bytes here");
    if (h->len > 0)
        return tell(s, t, from, time_us, h->len,
                    h->synced ? "the stream ends inside of a frame"
                              : "no frame could be found in these bytes");
    return OK;
}

/* A SYN begins a direction; on ports that were used before, a new connection. */
static int begin(struct streams *s, struct stream *t, int from, const struct segment *g)
{
    struct half *h = &t->half[from];
    if (h->synced && h->offset == 0 && h->len == 0 && h->next_seq == g->seq + 1)
        return OK; /* sent again */
    /* A client's SYN ends what was before, an answer to a SYN that we lack its own half. */
    for (int i = 0; i < 2; i++) {
        struct half *old = &t->half[i];
        bool used = old->synced || old->offset > 0 || old->len > 0;
        if (!used || (i != from && (g->flags & TCP_ACK)))
            continue;
        int err = half_end(s, t, i, g->time_us);
        if (err)
            return err;
        half_clear(s, old);
    }
    if (!(g->flags & TCP_ACK))
        t->nwaiting = 0;
    h->synced = true;
    h->next_seq = g->seq + 1;
    return OK;
}

int streams_segment(struct streams *s, const struct segment *g)
{
    int from;
    struct stream *t = stream_find(s, g, &from);
    if (!t) {
        if (s->count < STREAMS_MAX)
            return ERR_NOMEM;
        struct stream all = {.end = {g->from, g->to}};
        bool told = s->full_told;
        s->full_told = true;
        return told ? OK
                    : tell(s, &all, 0, g->time_us, 0, "too many connections; no more are read");
    }
    find_client(t, from, g);
    int err = g->flags & TCP_SYN ? begin(s, t, from, g) : OK;
    struct half *h = &t->half[from];
    uint32_t seq = g->seq + ((g->flags & TCP_SYN) != 0);
    if (err || h->tls)
        return err;
    if (g->len > 0)
        err = h->synced ? take_synced(s, t, from, g, seq) : take_unsynced(s, t, from, g, seq);
    if (!err && g->missing > 0 && h->synced) {
        err = tell(s, t, from, g->time_us, h->len + g->missing,
                   "the capture has cut packets short; take it with a larger snap length");
        desync(s, h);
    }
    return err;
}

int streams_end(struct streams *s)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct stream *t = s->bucket[i]; t; t = t->next) {
            for (int from = 0; from < 2; from++) {
                int err = half_end(s, t, from, -1);
                if (err)
                    return err;
            }
        }
    }
    return OK;
}
