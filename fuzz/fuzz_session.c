/* A whole session, from accept to its end, in a world of memory (fuzz/world.h). The first byte is
 * the grant's operations, its top bit lets the client in at once; the rest is a script
 * (fuzz/mutate.h): requests, raw bytes, logins with good and bad tokens, brokers that answer, break
 * or keep silent, time, revocations. Without the top bit of `what` everything comes to rest behind
 * a step; with it, the next is pipelined. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/mutate.h"
#include "fuzz/world.h"
#include "proxy/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

/* A request of the gate's table, and what brokers say to it. */
static size_t append_exchange(unsigned seed, uint8_t *data, size_t size, size_t max)
{
    struct mutate_rng r = {seed};
    size_t n;
    const struct api_rule *rules = api_all(&n), *rule = &rules[mutate_rand(&r, (uint32_t)n)];
    int version = rule->offered.min +
                  (int)mutate_rand(&r, (uint32_t)(rule->offered.max - rule->offered.min) + 1);
    const struct message *request = schema_find(rule->api, true);
    const struct message *answer = schema_find(rule->api, false);

    if (!versions_has(request->versions, version))
        return size;
    size = script_append(&r, data, size, max, 0, request, version);
    for (uint32_t i = mutate_rand(&r, 4); i > 0; i--)
        size = script_append(&r, data, size, max, 8, answer, version);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    if (size < 1 || max < 1)
        return LLVMFuzzerMutate(data, size, max);
    if (seed % 32 == 0)
        data[0] = (uint8_t)(seed >> 8);
    if (seed % 6 == 1)
        return append_exchange(seed, data, size, max);
    return 1 + mutate_script(data + 1, size - 1, max - 1, seed);
}

static void revoke(void)
{
    struct revocation *r = revocation_new(REVOKE_TRANSFER, "", "x1", "", loop_wall_s(world.loop), 0,
                                          "the partner has left");
    const struct change_item item = {.kind = CHANGE_REVOKE, .revocation = r};
    const struct change c = {.number = 1, .items = &item, .count = 1};
    const struct session *s = world.session;
    bool has = s && s->grants.count > 0;

    world_must(r != NULL, "no memory");
    world.revoked = has;
    gate_apply(world.gate, &c, NULL);
    world_must(!has || !world.session, "a session that outlives its grant");
    revocation_free(r);
}

static void end_somehow(unsigned how)
{
    switch (how & 7) {
    case 0:
    case 1:
        revoke();
        break;
    case 2:
        session_drain(world.session, "shutdown");
        break;
    case 3:
        if (world.session->grants.count > 0)
            session_expire(world.session);
        break;
    case 4:
        world.audit_ok = !world.audit_ok;
        break;
    case 5:
        session_tick(world.session);
        break;
    case 6:
        world.eof = true;
        break;
    default:
        session_close(world.session, "closed", how & 8);
        break;
    }
}

static void change_world(unsigned how)
{
    static const uint32_t pieces[] = {0, 1, 7, 100, 4096};

    switch (how & 3) {
    case 0:
        world.piece = pieces[(how >> 2) % 5];
        break;
    case 1:
        world.stalled = !world.stalled;
        break;
    case 2:
        world.slow_connect = !world.slow_connect;
        break;
    default:
        world.leader = (int32_t)(how >> 2) % 5 - 1;
        if (world.leader < 1 || world.leader > 3)
            world.leader = -1;
        world.coordinator = how & 64;
        break;
    }
}

static void play(const struct script_step *s)
{
    static const int lookups[] = {OK, 15, ERR_TIMEOUT, ERR_BUSY};
    unsigned n = (unsigned)s->version;

    switch (s->what & 15) {
    case 6:
        world_send(s->body, s->len);
        break;
    case 7:
        world_login(n > 8 ? 0 : n);
        break;
    case 8:
    case 9:
        (void)world_answer(s->api, s->version, s->body, s->len);
        break;
    case 10:
        for (unsigned i = 0; i < 8 && world_answer(-1, 0, NULL, 0); i++)
            ;
        break;
    case 11:
        if (n & 1)
            world_open();
        else
            (void)world_break(n & 2 ? ERR_MALFORMED : n & 4 ? ERR_TIMEOUT : ERR_IO);
        break;
    case 12:
        world_pass(world.loop, (uint64_t)n * n * 2000);
        break;
    case 13:
        world.lookup = lookups[n & 3];
        world_lookups();
        break;
    case 14:
        if (world.session)
            end_somehow(n);
        break;
    case 15:
        change_world(n);
        break;
    default:
        world_ask(s->api, s->version, s->body, s->len);
        break;
    }
}

/* What holds after every step. */
static void check(void)
{
    const struct session *s = world.session;
    uint64_t logins = atomic_load(&world.gate->counters.logins);

    if (!s)
        return;
    world_must(s->in_flight <= world.config->limits.in_flight, "more under way than may be");
    world_must(s->grants.count == 0 || s->state >= SESSION_REFUSED, "rights before a login");
    world_must(s->grants.count > 0 || s->state != SESSION_READY, "ready without rights");
    world_must(s->grants.count > 0 || world.upstream_requests == 0 || logins > 0,
               "a request before a login");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script_step s;
    bool enter;

    if (size < 1 || size > 65536)
        return -1;
    enter = data[0] & 0x80;
    world_begin(data[0] & 15 ? data[0] & 15 : OP_READ);
    data++;
    size--;
    world_connect();
    if (enter)
        world_enter();
    for (unsigned n = 0; n < SCRIPT_STEPS_MAX && script_next(&data, &size, &s); n++) {
        play(&s);
        if (!(s.what & 0x80))
            world_turn();
        check();
    }
    world_turn();
    check();
    world_end();
    return 0;
}
