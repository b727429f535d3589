/* Broker records: who may connect to a broker when, and what is logged about it. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/log.h"
#include "proxy/cluster_priv.h"

/* One connection, in the bucket's units. */
#define TOKEN UINT64_C(1000000)
/* The same failure of a broker that is up otherwise is told so often. */
#define LOG_PAUSE_US (10 * UINT64_C(1000000))

static unsigned broker_position(const struct cluster *c, int32_t id)
{
    unsigned low = 0, high = c->nbrokers;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (c->brokers[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct broker *broker_find(const struct cluster *c, int32_t id)
{
    unsigned at = broker_position(c, id);
    return at < c->nbrokers && c->brokers[at]->id == id ? c->brokers[at] : NULL;
}

void broker_map(struct broker *b)
{
    const struct upstream_config *u = &b->cluster->config->upstream;
    b->to_host = b->host;
    b->to_port = b->port;
    for (size_t i = 0; i < u->naddress_map; i++) {
        if (u->address_map[i].from.port != b->port ||
            strcasecmp(u->address_map[i].from.host, b->host) != 0)
            continue;
        b->to_host = u->address_map[i].to.host;
        b->to_port = u->address_map[i].to.port;
        return;
    }
}

static void turn_timer(void *arg)
{
    broker_turns(arg);
}

static struct broker *broker_new(struct cluster *c, int32_t id)
{
    if (c->nbrokers >= CLUSTER_BROKERS_MAX + CLUSTER_SEEDS_MAX)
        return NULL;
    if (c->nbrokers == c->brokers_cap) {
        unsigned cap = c->brokers_cap ? c->brokers_cap * 2 : 8;
        struct broker **more = sl_realloc(c->brokers, cap * sizeof(struct broker *));
        if (!more)
            return NULL;
        c->brokers = more;
        c->brokers_cap = cap;
    }
    struct broker *b = sl_calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->cluster = c;
    b->id = id;
    b->turn = loop_timer_new(c->loop, turn_timer, b);
    if (!b->turn || probe_init(b) != OK) {
        loop_timer_free(b->turn);
        sl_free(b);
        return NULL;
    }
    b->waiting_end = &b->waiting;
    b->tokens_at_us = loop_now_us(c->loop);
    b->tokens = UINT64_MAX; /* full; cut at first use */
    unsigned at = broker_position(c, id);
    memmove(&c->brokers[at + 1], &c->brokers[at], (c->nbrokers - at) * sizeof(struct broker *));
    c->brokers[at] = b;
    c->nbrokers++;
    return b;
}

struct broker *broker_put(struct cluster *c, int32_t id, const char *host, uint16_t port)
{
    struct broker *b = broker_find(c, id);
    if (!b)
        b = broker_new(c, id);
    if (!b)
        return NULL;
    if (strcmp(b->host, host) != 0 || b->port != port) {
        (void)snprintf(b->host, sizeof(b->host), "%s", host);
        b->port = port;
        b->failures = 0;
        b->not_before_us = 0;
        probe_drop(b);
    }
    broker_map(b);
    return b;
}

void broker_free(struct broker *b)
{
    struct cluster *c = b->cluster;
    unsigned at = broker_position(c, b->id);
    memmove(&c->brokers[at], &c->brokers[at + 1], (c->nbrokers - at - 1) * sizeof(struct broker *));
    c->nbrokers--;
    loop_timer_free(b->turn);
    loop_timer_free(b->again);
    sl_free(b);
}

void broker_release(struct broker *b)
{
    if (!b->listed && !b->users && !b->probe)
        broker_free(b);
}

/* --- turns */

void broker_leave_turn(struct connect_wait *w)
{
    if (!w->prev)
        return;
    struct broker *b = w->broker;
    *w->prev = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        b->waiting_end = w->prev;
    w->next = NULL;
    w->prev = NULL;
}

void broker_wait_turn(struct broker *b, struct connect_wait *w, bool first)
{
    w->broker = b;
    w->prev = first ? &b->waiting : b->waiting_end;
    w->next = *w->prev;
    *w->prev = w;
    if (w->next)
        w->next->prev = &w->next;
    else
        b->waiting_end = &w->next;
    broker_turns(b);
}

/* A refilled bucket holds half a second's connections, so no second sees more than one and a half
 * times the rate. Returns how long until there is a token; 0: one was taken. */
static uint64_t take_token(struct broker *b, uint64_t now_us)
{
    uint64_t rate = b->cluster->config->upstream.connects_per_s;
    if (!rate)
        return 0;
    uint64_t most = rate / 2 * TOKEN, passed_us = now_us - b->tokens_at_us;
    if (most < TOKEN)
        most = TOKEN;
    uint64_t more = passed_us > TOKEN ? rate * TOKEN : passed_us * rate;
    b->tokens_at_us = now_us;
    b->tokens = b->tokens > most || more > most - b->tokens ? most : b->tokens + more;
    if (b->tokens < TOKEN)
        return (TOKEN - b->tokens) / rate + 1;
    b->tokens -= TOKEN;
    return 0;
}

void broker_turns(struct broker *b)
{
    struct cluster *c = b->cluster;
    uint64_t now_us = loop_now_us(c->loop);
    while (b->waiting) {
        /* cluster_token goes on from here. */
        if (c->config->upstream.mechanism == SASL_OAUTHBEARER && !c->token)
            return;
        uint64_t pause_us =
            b->not_before_us > now_us ? b->not_before_us - now_us : take_token(b, now_us);
        if (pause_us) {
            /* Without a timer those who wait end at their deadlines, and the next try goes on. */
            (void)!loop_timer_set(b->turn, pause_us);
            return;
        }
        struct connect_wait *w = b->waiting;
        broker_leave_turn(w);
        upstream_turn(w->up);
    }
}

/* --- how it went */

static const char *broker_name(const struct broker *b, char *out, size_t n)
{
    if (b->id < 0)
        (void)snprintf(out, n, "broker %s:%u", b->host, b->port);
    else
        (void)snprintf(out, n, "broker %d (%s:%u)", (int)b->id, b->host, b->port);
    return out;
}

void broker_connected(struct broker *b)
{
    b->failures = 0;
    b->not_before_us = 0;
    broker_turns(b);
}

void broker_failed(struct broker *b, uint64_t since_us, int why, const char *text)
{
    struct cluster *c = b->cluster;
    uint64_t now_us = loop_now_us(c->loop);
    char name[CLUSTER_HOST_MAX + 64];
    /* Attempts that ran side by side count as one failure; one that never began as none. */
    if (!since_us || since_us < b->failed_us)
        return;
    c->stats.connect_failures++;
    uint64_t pause_us = (uint64_t)CLUSTER_BACKOFF_MIN_US << (b->failures < 6 ? b->failures : 6);
    if (pause_us > CLUSTER_BACKOFF_MAX_US)
        pause_us = CLUSTER_BACKOFF_MAX_US;
    pause_us = pause_us * 3 / 4 + cluster_random(c) % (pause_us / 2);
    /* What was led or coordinated there may have moved. */
    refresh_want(c);
    b->failures++;
    b->failed_us = now_us;
    b->not_before_us = now_us + pause_us;
    bool told = b->why == why && (b->state == BROKER_DOWN || now_us - b->logged_us < LOG_PAUSE_US);
    if (told) {
        log_debug("upstream", "%s: %s (%s)", broker_name(b, name, sizeof(name)), text,
                  err_name(why));
        return;
    }
    b->why = why;
    b->logged_us = now_us;
    log_warn("upstream", "%s cannot be used: %s (%s); trying on",
             broker_name(b, name, sizeof(name)), text, err_name(why));
}

void broker_broke(struct broker *b, int why, const char *text)
{
    uint64_t now_us = loop_now_us(b->cluster->loop);
    char name[CLUSTER_HOST_MAX + 64];
    refresh_want(b->cluster);
    if (b->why == why && now_us - b->logged_us < LOG_PAUSE_US)
        return;
    b->why = why;
    b->logged_us = now_us;
    log_warn("upstream", "%s: a connection ended: %s (%s)", broker_name(b, name, sizeof(name)),
             text, err_name(why));
}

void broker_set_state(struct broker *b, enum broker_state state)
{
    char name[CLUSTER_HOST_MAX + 64];
    if (b->state == state)
        return;
    b->state = state;
    if (state == BROKER_UP) {
        b->why = OK;
        log_info("upstream", "%s is up", broker_name(b, name, sizeof(name)));
    }
    cluster_recompute(b->cluster);
}
