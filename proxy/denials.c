/* What is refused: counted, paced, and audited without letting anybody fill the trail. */
#include <string.h>

#include "proxy/exchange.h"

static void summarize_denials(struct session *s, struct denial_memo *m)
{
    struct audit_event e = {.kind = AUDIT_DENIAL, .api = schema_api_name(m->api)};

    if (m->count == 0)
        return;
    session_audit(s, &e);
    e.resource_type = m->resource_type;
    e.resource = m->resource;
    e.error = m->error;
    e.count = m->count;
    e.reason = m->mixed ? "repeated, for other resources as well" : "repeated";
    audit_put(s->gate->ring, &e);
    m->count = 0;
    m->mixed = false;
}

void session_sum_denials(struct session *s)
{
    for (unsigned i = 0; i < DENIAL_MEMOS; i++)
        summarize_denials(s, &s->memos[i]);
}

static uint32_t hash_bytes(const void *p, size_t n)
{
    const uint8_t *b = p;
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 16777619u;
    return h;
}

/* Clients may ask the same thing thousands of times a second when they are denied. The first eight
 * denied requests of a second are answered at once, later ones ever later, up to denial_pace_ms. */
static void pace_denial(struct session *s, struct exchange *ex)
{
    uint64_t now = loop_now_us(s->gate->loop);
    uint64_t seconds = (now - s->recent_us) / 1000000;
    unsigned excess, delay_ms;

    if (ex->denied)
        return;
    ex->denied = true;
    if (seconds > 0) {
        s->recent_denials = seconds > 16 ? 0 : s->recent_denials >> seconds;
        s->recent_us = now;
    }
    if (s->recent_denials < 1024)
        s->recent_denials++;
    if (s->recent_denials <= 8)
        return;
    excess = s->recent_denials - 8;
    delay_ms = excess < 10 ? 5u << excess : s->gate->config->limits.denial_pace_ms;
    if (delay_ms > s->gate->config->limits.denial_pace_ms)
        delay_ms = s->gate->config->limits.denial_pace_ms;
    ex->not_before_us = now + (uint64_t)delay_ms * 1000;
    ex->throttle_ms = (int)delay_ms;
}

/* The memo that counts this denial; *known: it tells of that resource, or of all others once the
 * second's lines are used up. Otherwise it is to be filled anew. */
static struct denial_memo *find_memo(struct session *s, int16_t api, int error, uint32_t hash,
                                     bool *known)
{
    uint64_t now = loop_now_us(s->gate->loop);
    struct denial_memo *like = NULL, *oldest = &s->memos[0];

    *known = true;
    for (unsigned i = 0; i < DENIAL_MEMOS; i++) {
        struct denial_memo *m = &s->memos[i];
        if (m->error == error && m->api == api && error != 0) {
            if (m->hash == hash)
                return m;
            like = m;
        }
        if (m->error == 0 || (oldest->error != 0 && m->count < oldest->count))
            oldest = m;
    }
    if (now - s->lines_us >= 1000000) {
        s->lines_us = now;
        s->denial_lines = 0;
    }
    if (like && s->denial_lines >= DENIAL_LINES_PER_S) {
        like->mixed = true;
        return like;
    }
    s->denial_lines++;
    *known = false;
    return oldest;
}

void session_denied(struct session *s, struct exchange *ex, const char *resource_type,
                    const void *resource, size_t n, int error)
{
    struct audit_event e = {.kind = AUDIT_DENIAL, .api = schema_api_name(ex->head.api)};
    uint32_t hash = hash_bytes(resource, n);
    struct denial_memo *m;
    bool known;

    s->denials++;
    gate_count(s->gate, denials, 1);
    pace_denial(s, ex);
    m = find_memo(s, ex->head.api, error, hash, &known);
    if (known) {
        m->count++;
        return;
    }
    summarize_denials(s, m);
    *m = (struct denial_memo){
        .api = ex->head.api, .error = (int16_t)error, .hash = hash, .resource_type = resource_type};
    /* A name as short as this one is told whole; n may be 0, and then nothing of it is looked at.
     */
    if (n > 0)
        memcpy(m->resource, resource, n < sizeof(m->resource) - 1 ? n : sizeof(m->resource) - 1);
    session_audit(s, &e);
    e.api_version = ex->head.version;
    e.resource_type = resource_type;
    e.resource = n > 0 ? resource : "";
    e.resource_len = n;
    e.error = error;
    audit_put(s->gate->ring, &e);
}
