/* What may leave, told from what was granted and asked for, not from how the gate goes about it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/leaks.h"
#include "codec/walk.h"
#include "fuzz/world.h"
#include "proxy/api.h"

static void *flat(const struct buf *b, size_t *n)
{
    uint8_t *p = malloc(b->len + 1);

    world_must(p != NULL, "no memory");
    *n = b->len;
    buf_copy_out(b, 0, p, *n);
    return p;
}

/* --- to brokers */

static bool topic_granted(const void *name, size_t n)
{
    for (size_t i = 0; i < world.grant->ntopics; i++)
        if (strlen(world.grant->topics[i]) == n && memcmp(world.grant->topics[i], name, n) == 0)
            return true;
    return false;
}

static bool group_granted(const void *id, size_t n)
{
    return n >= 3 && memcmp(id, "bob", 3) == 0;
}

static void judge_text(const struct walk *w, const uint8_t *p)
{
    size_t n = (size_t)w->blob_len;

    p += w->blob_off;
    switch (w->field->role) {
    case ROLE_TOPIC:
        world_must(w->null || n == 0 || topic_granted(p, n), "a topic that is not granted");
        break;
    case ROLE_GROUP:
    case ROLE_TXN:
        world_must(w->null || n == 0 || group_granted(p, n), "a group that is not granted");
        break;
    case ROLE_REGEX:
        world_must(w->null || n == 0, "a pattern");
        break;
    case ROLE_RACK:
        world_must(w->null || n == 0, "a client's rack");
        break;
    case ROLE_NONE:
    case ROLE_TOPIC_ID:
    case ROLE_BROKER:
    case ROLE_HOST:
    case ROLE_PORT:
    case ROLE_CLUSTER:
    case ROLE_PRINCIPAL:
    case ROLE_OPAQUE:
    case ROLE_KEY:
    case ROLE_TEXT:
    case ROLE_RECORDS:
    case ROLE_SECRET:
    case ROLE_ERROR:
    case ROLE_PARTITION:
    case ROLE_OPS:
    case ROLE_REPLICA:
    case ROLE_THROTTLE:
        break;
    }
}

static void judge_scalar(const struct walk *w)
{
    static const uint8_t none[16];
    uint8_t a[16], b[16];

    memset(a, 'a', sizeof(a));
    memset(b, 'b', sizeof(b));
    if (w->field->role == ROLE_REPLICA)
        world_must(w->value == -1, "a replica's id");
    else if (w->field->role == ROLE_TOPIC_ID)
        world_must(memcmp(w->uuid, none, 16) == 0 || memcmp(w->uuid, a, 16) == 0 ||
                       memcmp(w->uuid, b, 16) == 0,
                   "a topic id that is not granted");
    else if (w->field->id == F_ALLOW_AUTO_TOPIC_CREATION)
        world_must(w->value == 0, "a topic would be created");
}

void judge_request(int api, int version, const struct buf *body)
{
    const struct message *m = schema_find(api, true);
    size_t n;
    uint8_t *p = flat(body, &n);
    struct walk w;
    enum walk_event e;

    world_must(!world.revoked || !world.session, "a request of a session that was revoked");
    world_must(m && api_find(api) && versions_has(m->versions, version), "an API that is not ours");
    walk_start(&w, m, version, n);
    walk_feed(&w, p, n);
    do {
        e = walk_next(&w);
        if (e == WALK_BLOB)
            judge_text(&w, p);
        else if (e == WALK_SCALAR)
            judge_scalar(&w);
        else if (e == WALK_ARRAY_IN && api == 3)
            world_must(!w.null, "a question for all topics");
    } while (e != WALK_DONE && e != WALK_BAD && e != WALK_MORE);
    world_must(e == WALK_DONE && w.unknown_tags == 0, "a request that is not canonical");
    free(p);
}

/* --- to the client */

struct context {
    const struct world_request *asked;
    uint8_t *frame;
    size_t n;
};

static bool in_request(const struct context *c, const uint8_t *p, size_t n)
{
    return n == 0 || memmem(c->frame, c->n, p, n) != NULL;
}

static bool topic_seen(void *arg, const uint8_t *name, size_t n)
{
    return topic_granted(name, n) || in_request(arg, name, n);
}

static bool group_seen(void *arg, const uint8_t *id, size_t n)
{
    return group_granted(id, n) || in_request(arg, id, n);
}

/* Texts of the gate's own are fine, those of brokers are not. */
static bool text_seen(void *arg, const uint8_t *text, size_t n)
{
    size_t told;
    uint8_t *p = flat(&world.told, &told);
    bool theirs = n > 0 && memmem(p, told, text, n) != NULL;

    (void)arg;
    free(p);
    return !theirs;
}

static void leaked(void *arg, const struct leak *l)
{
    const struct context *c = arg;

    fprintf(stderr, "%s %d: %s \"%.*s\" %lld\n", schema_api_name(c->asked->api), c->asked->version,
            l->field ? l->field->name : "an unknown tag", (int)l->len,
            l->text ? (const char *)l->text : "", (long long)l->value);
    world_must(false, l->why);
}

static void judge_body(const struct world_request *r, int version, const uint8_t *p, size_t n)
{
    static const char *const hosts[] = {"gate.example.com"};
    static const int32_t ports[] = {9093};
    struct context c = {.asked = r};
    struct leaks_view view = {.hosts = hosts,
                              .ports = ports,
                              .naddresses = 1,
                              .node = 0,
                              .cluster = "virtual",
                              .topic = topic_seen,
                              .group = group_seen,
                              .text = text_seen,
                              .arg = &c};

    c.frame = flat(&r->frame, &c.n);
    world_must(leaks_find(schema_find(r->api, false), version, p, n, &view, leaked, &c) == OK,
               "an answer that is no message");
    free(c.frame);
}

static void judge_answer(const uint8_t *p, size_t n)
{
    int32_t correlation =
        (int32_t)((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
    struct world_request *r;
    int version;
    size_t head = 4;

    /* Only a Produce may go without an answer. */
    while (world.next_answer < world.nrequests &&
           world.requests[world.next_answer].correlation != correlation) {
        world_must(world.requests[world.next_answer].api == 0, "an answer out of order");
        world.next_answer++;
    }
    world_must(world.next_answer < world.nrequests, "an answer that nobody waits for");
    r = &world.requests[world.next_answer++];
    world.answers++;
    version = r->version;
    if (r->api == 18 && !versions_has(api_find(18)->offered, version))
        version = 0;
    if (schema_response_header(r->api, version) == 1)
        world_must(p[head++] == 0, "tags in a header");
    judge_body(r, version, p + head, n - head);
}

void judge_answers(void)
{
    while (world.got.len >= 4 && !world.hold) {
        uint8_t head[4], *p;
        size_t len, all;
        buf_copy_out(&world.got, 0, head, 4);
        len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
        world_must(len >= 4 && len <= (size_t)128 << 20, "a frame without a length");
        if (world.got.len < len + 4)
            return;
        p = flat(&world.got, &all);
        judge_answer(p + 4, len);
        free(p);
        buf_drain(&world.got, len + 4);
    }
}

void judge_audit(const struct audit_event *e)
{
    static char line[AUDIT_LINE_MAX];
    int n = audit_encode(e, 1, line, sizeof(line));

    world_must(n > 0 && !memchr(line, '\n', (size_t)n), "a line of the audit trail");
}
