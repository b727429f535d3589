/* The store of grants and revocations, in memory, with one worker's table behind it: the input is a
 * row of operations, eight bytes each. Logins open sessions on the worker, some acknowledgements
 * are late, some changes fail.
 *
 * What must hold whatever is done in whatever order: both tables are the same once all is
 * acknowledged; each caller is told once; a session that was let in ends with what let it in; and a
 * token that was barred by name never gets in again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/store.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "fuzz/mutate_text.h"
#include "fuzz/world.h"

#define OP_BYTES     8
#define OPS_MAX      64
#define SESSIONS_MAX 16
#define HELD_MAX     64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    return mutate_rows(OP_BYTES, data, size, max, seed);
}

/* --- mail without threads: delivered when the target says so */

struct mailbox {
    struct mail *first, **last;
    void *receiver;
};
static struct mailbox *box;

struct mailbox *mailbox_new(struct loop *l, void *receiver)
{
    (void)l;
    box = calloc(1, sizeof(*box));
    world_must(box != NULL, "no memory");
    box->last = &box->first;
    box->receiver = receiver;
    return box;
}

static void deliver(struct mailbox *mb)
{
    while (mb->first) {
        struct mail *m = mb->first;
        mb->first = m->next;
        if (!mb->first)
            mb->last = &mb->first;
        m->deliver(mb->receiver, m);
    }
}

void mailbox_free(struct mailbox *mb)
{
    deliver(mb);
    free(mb);
}

int mailbox_post(struct mailbox *mb, struct mail *m)
{
    m->next = NULL;
    *mb->last = m;
    mb->last = &m->next;
    return OK;
}

int mailbox_wait(struct mailbox *mb, int timeout_ms)
{
    (void)mb;
    (void)timeout_ms;
    return ERR_TIMEOUT;
}

/* --- the worker */

struct held {
    const struct change *c;
    struct change_ack *ack;
};

static struct {
    struct loop *loop;
    struct store *store;
    struct grant_table *table; /* the worker's */
    struct {
        struct identity id;
        struct grant_set set;
        bool open;
    } sessions[SESSIONS_MAX];
    unsigned nsessions;
    struct held held[HELD_MAX];
    unsigned nheld;
    bool hold, refuse, failed;
    unsigned asked, told;
    bool barred[4]; /* tokens by jti: for good */
} at;

/* ack NULL: none, after a reload. */
static unsigned close_disallowed(struct change_ack *ack)
{
    unsigned closed = 0;

    for (unsigned i = 0; i < at.nsessions; i++) {
        if (!at.sessions[i].open ||
            grant_table_allows(at.table, &at.sessions[i].id, &at.sessions[i].set))
            continue;
        if (ack)
            change_ack_bar(ack, at.table, &at.sessions[i].id);
        at.sessions[i].open = false;
        closed++;
    }
    return closed;
}

static void take(const struct change *c, struct change_ack *ack)
{
    int rc = grant_table_apply(at.table, c);

    world_must(rc == OK, "a change that is not taken");
    change_ack_done(ack, rc, close_disallowed(ack));
}

static int apply(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    (void)arg;
    world_must(i == 0, "a worker that is none");
    if (at.refuse) {
        at.failed = true;
        return ERR_NOMEM;
    }
    if (at.nheld < HELD_MAX && (at.hold || at.nheld > 0)) /* in order */
        at.held[at.nheld++] = (struct held){c, ack};
    else
        take(c, ack);
    return OK;
}

static void settle(void)
{
    loop_run_posted(at.loop);
    for (unsigned n = 0; n < 1000 && (at.nheld > 0 || box->first); n++) {
        unsigned held = at.nheld;
        struct held now[HELD_MAX];
        memcpy(now, at.held, sizeof(now));
        at.nheld = 0;
        for (unsigned i = 0; i < held; i++)
            take(now[i].c, now[i].ack);
        deliver(box);
        loop_run_posted(at.loop);
    }
}

static void done(void *arg, int result, unsigned closed)
{
    (void)arg;
    (void)result;
    world_must(closed <= SESSIONS_MAX, "more closed than there were");
    at.told++;
}

/* --- operations */

#define ISSUER "https://i"
static const char *const ids[] = {"x0", "x1", "x2", "x3"};
static const char *const tokens[] = {"j0", "j1", "j2", "j3"};
static const char *const parties[] = {"did:web:a", "did:web:b", ""};
static const char *const subjects[] = {"bob", "eve", ""};
static const char *topics[] = {"t1", "t2", "t3"};
static const char *const prefixes[] = {"bob", "b", ""};

static void put_grant(const uint8_t *p)
{
    const char *bound[2] = {tokens[p[7] & 3], tokens[(p[7] >> 2) & 3]};
    struct grant_config c = {
        .id = ids[p[1] & 3],
        .issuer = p[6] & 4 ? "" : ISSUER,
        .subject = subjects[p[6] % 3],
        .client = p[6] & 8 ? "c" : "",
        .participant = parties[p[2] % 3],
        .agreement = p[2] & 64 ? "agreement" : "",
        .asset = p[2] & 128 ? "asset" : "",
        .topics = {topics, 1 + p[3] % 3},
        .group_prefix = prefixes[p[4] % 3],
        .operations = p[5] & 15,
        .not_before = p[5] & 128 ? loop_wall_s(at.loop) + 30 : 0,
        .expires = p[5] & 64 ? loop_wall_s(at.loop) + 60 : 0,
    };
    struct grant *g;
    const char *why;

    if (p[7] & 16)
        c.tokens = (struct strings){bound, 1 + (p[7] >> 5 & 1)};
    if (grant_new(&c, GRANT_FROM_API, &g, &why) != OK)
        return;
    if (store_grant(at.store, g, done, NULL) == OK)
        at.asked++;
    grant_unref(g);
}

static void revoke(const uint8_t *p)
{
    static const char *const agreements[] = {"agreement", "other", "asset", "sid"};
    enum revoke_kind kind = (enum revoke_kind)(p[1] % REVOKE_KINDS);
    bool issuer = kind >= REVOKE_SUBJECT;
    const char *value = kind == REVOKE_TRANSFER                          ? ids[p[2] & 3]
                        : kind == REVOKE_PARTICIPANT                     ? parties[p[2] & 1]
                        : kind == REVOKE_SUBJECT || kind == REVOKE_TOKEN ? subjects[p[2] & 1]
                        : kind == REVOKE_CLIENT                          ? "c"
                        : kind == REVOKE_JTI                             ? tokens[p[2] & 3]
                        : kind == REVOKE_ISSUER                          ? ""
                                                                         : agreements[p[2] & 3];
    struct revocation *r =
        revocation_new(kind, issuer ? ISSUER : "", value, kind == REVOKE_TOKEN ? "c" : "",
                       loop_wall_s(at.loop) + (int8_t)p[3], 0, "why");

    if (!r)
        return;
    if (store_revoke(at.store, r, done, NULL) == OK) {
        at.asked++;
        settle();
        if (kind == REVOKE_JTI && !at.failed)
            at.barred[p[2] & 3] = true;
    }
    revocation_free(r);
}

static void text(char out[IDENTITY_TEXT_MAX], const char *value)
{
    snprintf(out, IDENTITY_TEXT_MAX, "%s", value);
}

static void login(const uint8_t *p)
{
    struct identity id = {.issued = loop_wall_s(at.loop) + (int8_t)p[4] / 4,
                          .expires = loop_wall_s(at.loop) + 600,
                          .operations = OP_READ,
                          .shared_subjects = p[5] & 1};
    struct grant_set set;
    enum login_verdict v;

    text(id.issuer, ISSUER);
    text(id.subject, subjects[p[2] & 1]);
    text(id.client, p[2] & 2 ? "c" : "");
    text(id.jti, p[3] & 4 ? "" : tokens[p[3] & 3]);
    text(id.transfer, p[1] & 4 ? "" : ids[p[1] & 3]);
    v = grant_table_login(at.table, &id, loop_wall_s(at.loop), &set);
    if (v != LOGIN_OK)
        return;
    world_must(id.jti[0] == '\0' || !at.barred[p[3] & 3], "a token that is barred gets in");
    world_must(set.count > 0 && grant_table_allows(at.table, &id, &set), "let in and not allowed");
    if (at.nsessions == SESSIONS_MAX) {
        grant_set_clear(&set);
        return;
    }
    at.sessions[at.nsessions].id = id;
    at.sessions[at.nsessions].set = set;
    at.sessions[at.nsessions++].open = true;
}

static void note(const uint8_t *p)
{
    static const char *const texts[] = {NULL, "one", "two", ""};
    const char *text = texts[p[2] & 3], *found;

    if (store_note(at.store, "flow", ids[p[1] & 3], text, done, NULL) != OK)
        return;
    at.asked++;
    found = store_find_note(at.store, "flow", ids[p[1] & 3]);
    world_must(text ? found && strcmp(text, found) == 0 : !found,
               "a note that is not as it was put");
}

static const char text_one[] =
    "listen: 0.0.0.0:9093\n"
    "advertise: gate.example.com:9093\n"
    "tls: {certificate: gate.pem, key: gate.key}\n"
    "issuers: [{issuer: 'https://i', audience: a, shared_subjects: false}]\n"
    "upstream: {brokers: ['k:1']}\n"
    "grants:\n"
    "  - {id: x0, principal: {issuer: 'https://i', subject: bob}, topics: [t1], group_prefix: b}\n"
    "  - {id: x9, principal: {issuer: 'https://i', subject: eve}, topics: [t2], group_prefix: e}\n";
static const char text_two[] =
    "listen: 0.0.0.0:9093\n"
    "advertise: gate.example.com:9093\n"
    "tls: {certificate: gate.pem, key: gate.key}\n"
    "issuers: [{issuer: 'https://i', audience: a, shared_subjects: false}]\n"
    "upstream: {brokers: ['k:1']}\n"
    "group_separator: '-'\n"
    "grants:\n"
    "  - {id: x9, principal: {issuer: 'https://i', subject: eve}, topics: [t3], group_prefix: e}\n";
static struct config *configs[2];

static void play(const uint8_t *p)
{
    switch (p[0] & 15) {
    case 0:
    case 1:
    case 2:
        put_grant(p);
        break;
    case 3:
        if (store_ungrant(at.store, ids[p[1] & 3], done, NULL) == OK)
            at.asked++;
        break;
    case 4:
    case 5:
    case 6:
        revoke(p);
        break;
    case 7:
        note(p);
        break;
    case 8:
        if (store_config_grants(at.store, configs[p[1] & 1], done, NULL) == OK) {
            at.asked++;
            grant_table_config(at.table, configs[p[1] & 1]);
            (void)close_disallowed(NULL);
        }
        break;
    case 9:
        world_pass(at.loop, (uint64_t)p[1] * 1000000);
        break;
    case 10:
        at.hold = p[1] & 1;
        break;
    case 11:
        at.refuse = (p[1] & 7) == 0;
        break;
    default:
        login(p);
        break;
    }
}

/* --- what must hold */

static void same_grant(void *arg, struct grant *g, enum grant_state state)
{
    struct grant *theirs = grant_table_find(at.table, g->id);

    ++*(size_t *)arg;
    world_must(theirs && grant_equal(g, theirs), "a grant that the worker has otherwise");
    world_must(grant_table_state(at.table, theirs, loop_wall_s(at.loop)) == state,
               "a grant that is worth something else at the worker");
}

static void same_revocation(void *arg, const struct revocation *r)
{
    (void)arg;
    world_must(grant_table_knows(at.table, r), "a revocation that the worker lacks");
}

static void check(void)
{
    size_t n = 0;

    settle();
    world_must(at.told == at.asked, "a caller was not told, or twice");
    if (at.failed)
        return; /* the store says so; the worker closes the gap when it begins anew */
    store_each_grant_state(at.store, same_grant, &n);
    world_must(n == grant_table_grants(at.table), "grants that the store does not know");
    store_each_revocation(at.store, same_revocation, NULL);
    for (unsigned i = 0; i < at.nsessions; i++)
        world_must(!at.sessions[i].open ||
                       grant_table_allows(at.table, &at.sessions[i].id, &at.sessions[i].set),
                   "a session outlives its rights");
}

static void set_up(void)
{
    char err[1024];

    log_setup(LOG_ERROR + 1, false);
    configs[0] = config_parse("/s.yaml", text_one, strlen(text_one), false, err, sizeof(err));
    configs[1] = config_parse("/s.yaml", text_two, strlen(text_two), false, err, sizeof(err));
    if (!configs[0] || !configs[1])
        fprintf(stderr, "%s\n", err);
    world_must(configs[0] && configs[1], "the configurations");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct store_peers peers = {.count = 1, .apply = apply};
    char err[256];

    if (!configs[0])
        set_up();
    memset(&at, 0, sizeof(at));
    at.loop = loop_new();
    at.store = store_open(NULL, at.loop, configs[0], err, sizeof(err));
    at.table = grant_table_new(configs[0]);
    world_must(at.store && at.table && store_start(at.store, &peers, NULL, NULL) == OK, "no store");
    for (unsigned n = 0; n < OPS_MAX && size >= OP_BYTES; n++, data += OP_BYTES, size -= OP_BYTES) {
        play(data);
        if (!(data[0] & 0x80))
            check();
    }
    at.hold = at.refuse = false;
    check();
    store_close(at.store);
    for (unsigned i = 0; i < at.nsessions; i++)
        grant_set_clear(&at.sessions[i].set);
    grant_table_free(at.table);
    loop_free(at.loop);
    return 0;
}
