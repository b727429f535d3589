/* The ACL listener in the test's own loop: connections over socketpairs in clear, a store in
 * memory, or on a disk, whose two workers acknowledge at once or when the test says so. Messages
 * are JSON text (tests/unit/wire.h). */
#ifndef TESTS_ACL_BED_H
#define TESTS_ACL_BED_H

#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/audit.h"
#include "auth/scram.h"
#include "base/log.h"
#include "base/loop.h"
#include "codec/json.h"
#include "edc/acl_priv.h"
#include "proxy/peers.h"
#include "tests/unit/trail.h"
#include "tests/unit/wire.h"

#define ISSUER   "https://idp.example.com"
#define PASSWORD "a password of some length"
#define WAIT_MS  20000

static struct loop *loop;
static struct store *store;
static struct config *config;
static struct acl *acl;
static struct audit *trail;
static struct audit_ring *ring;
static char trail_path[64];
static const char *store_path; /* NULL: in memory */

/* --- workers */

static struct change_ack *held[64];
static unsigned nheld;
static bool holding;

static inline int apply(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    (void)arg;
    (void)i;
    (void)c;
    if (holding) {
        assert_true(nheld < 64);
        held[nheld++] = ack;
    } else {
        change_ack_done(ack, OK, 1);
    }
    return OK;
}

static inline void let_go(void)
{
    unsigned n = nheld;
    nheld = 0;
    holding = false;
    for (unsigned i = 0; i < n; i++)
        change_ack_done(held[i], OK, 1);
}

/* --- running */

static bool (*wish)(void);
static uint64_t wish_until_us;
static struct loop_timer *ticker;

static inline void on_tick(void *arg)
{
    (void)arg;
    if (wish() || loop_clock_us(loop) > wish_until_us)
        loop_stop(loop);
    else
        assert_int_equal(loop_timer_set(ticker, 1000), OK);
}

static inline bool until(bool (*fn)(void), unsigned ms)
{
    wish = fn;
    wish_until_us = loop_clock_us(loop) + (uint64_t)ms * 1000;
    assert_int_equal(loop_timer_set(ticker, 0), OK);
    assert_int_equal(loop_run(loop), OK);
    return fn();
}

static inline bool never(void)
{
    return false;
}

static inline void settle(unsigned ms)
{
    (void)until(never, ms);
}

/* --- a client */

static int client = -1;
static uint8_t got[4 << 20];
static size_t ngot;
static bool closed;
static int32_t correlation;

static inline void take(void)
{
    ssize_t n;
    if (client < 0)
        return;
    while ((n = read(client, got + ngot, sizeof(got) - ngot)) > 0)
        ngot += (size_t)n;
    closed = closed || n == 0 || errno != EAGAIN;
}

static inline size_t frame_len(void)
{
    return (size_t)got[0] << 24 | (size_t)got[1] << 16 | (size_t)got[2] << 8 | got[3];
}

static inline bool frame_there(void)
{
    take();
    return closed || (ngot >= 4 && ngot - 4 >= frame_len());
}

static inline bool is_closed(void)
{
    take();
    return closed;
}

static inline void hang_up(void)
{
    if (client >= 0)
        close(client);
    client = -1;
}

/* A new connection; nobody has logged in. */
static inline void dial(void)
{
    struct sockaddr_storage peer = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&peer;
    int fds[2];
    hang_up();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
    in->sin_port = htons(5000);
    client = fds[1];
    ngot = 0;
    closed = false;
    assert_int_equal(acl_conn_new(acl, fds[0], &peer), OK);
}

static inline void send_bytes(const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(client, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            settle(1);
            continue;
        }
        if (sent < 0)
            return; /* it was closed in the middle */
        p += sent;
        n -= (size_t)sent;
    }
}

static inline struct octets frame_of(int api, int version, const char *json)
{
    struct octets body = wire_body(api, true, version, json);
    struct octets w = wire_request(api, version, ++correlation, "tester", &body);
    free(body.p);
    return w;
}

static inline void ask(int api, int version, const char *json)
{
    struct octets w = frame_of(api, version, json);
    send_bytes(w.p, w.n);
    free(w.p);
}

/* The next answer as JSON; NULL when the connection was closed instead, or nothing came. */
static inline json_t *answer(int api, int version, unsigned ms)
{
    struct buf b;
    struct arena arena;
    struct msg m;
    json_t *j;
    size_t n, head = schema_response_header(api, version) == 1 ? 5 : 4;
    if (!until(frame_there, ms) || ngot < 4)
        return NULL;
    n = frame_len();
    if (ngot < 4 + n)
        return NULL;
    buf_init(&b, SIZE_MAX);
    arena_init(&arena, 64 * 1024 * 1024);
    assert_int_equal(buf_append(&b, got + 4, n), OK);
    assert_int_equal(
        msg_decode(&m, &arena, schema_find(api, false), version, &b, head, n - head, NULL), OK);
    j = json_from_msg(&m, JSON_SECRETS);
    arena_release(&arena);
    buf_release(&b);
    memmove(got, got + 4 + n, ngot - 4 - n);
    ngot -= 4 + n;
    return j;
}

/* The answer is this, field by field. */
#define expect(api, version, text) expect_at(api, version, text, __LINE__)
static inline void expect_at(int api, int version, const char *text, int line)
{
    struct octets body = wire_body(api, false, version, text);
    struct buf b;
    struct arena arena;
    struct msg m;
    json_t *j = answer(api, version, WAIT_MS), *want;
    buf_init(&b, SIZE_MAX);
    arena_init(&arena, 64 * 1024 * 1024);
    if (body.n)
        assert_int_equal(buf_append(&b, body.p, body.n), OK);
    assert_int_equal(msg_decode(&m, &arena, schema_find(api, false), version, &b, 0, b.len, NULL),
                     OK);
    want = json_from_msg(&m, JSON_SECRETS);
    if (!j || !json_equal(want, j))
        fail_msg("line %d:\n got %s\nwant %s", line,
                 j        ? json_dumps(j, 0)
                 : closed ? "end"
                          : "-",
                 json_dumps(want, 0));
    json_decref(want);
    json_decref(j);
    arena_release(&arena);
    buf_release(&b);
    free(body.p);
}

#define expect_closed() expect_closed_at(__LINE__)
static inline void expect_closed_at(int line)
{
    if (!until(is_closed, WAIT_MS) || ngot > 0)
        fail_msg("line %d: %s, %zu bytes came", line, closed ? "closed" : "open", ngot);
}

/* --- logging in */

static inline void sasl(const void *p, size_t n)
{
    struct octets w = {0}, frame;
    wire_len(&w, (int64_t)n, true, 4);
    wire_put(&w, p, n);
    wire_varint(&w, 0);
    frame = wire_request(36, 2, ++correlation, "tester", &w);
    send_bytes(frame.p, frame.n);
    free(frame.p);
    free(w.p);
}

#define MECHANISMS "'mechanisms':['PLAIN','SCRAM-SHA-256','SCRAM-SHA-512']"

static inline void handshake(const char *mechanism)
{
    char text[64];
    snprintf(text, sizeof(text), "{'mechanism':'%s'}", mechanism);
    ask(17, 1, text);
    expect(17, 1, "{" MECHANISMS "}");
}

static inline void login(void)
{
    dial();
    handshake("PLAIN");
    sasl("\0edc\0" PASSWORD, 5 + sizeof(PASSWORD) - 1);
    expect(36, 2, "{}");
}

/* --- life */

static inline struct config *config_with(const char *acl_options)
{
    char text[4096], err[2048];
    int n = snprintf(text, sizeof(text),
                     "listen: 127.0.0.1:9093\n"
                     "advertise: gate.example.com:9093\n"
                     "cluster_id: virtual\n"
                     "node_id: 7\n"
                     "tls: {certificate: gate.pem, key: gate.key}\n"
                     "issuers: [{issuer: '" ISSUER "', audience: x, shared_subjects: false}]\n"
                     "upstream: {brokers: ['127.0.0.1:9092']}\n"
                     "limits: {frame_timeout_ms: 300, tls_timeout_ms: 3000, auth_timeout_ms: 3000, "
                     "idle_timeout_ms: "
                     "1000}\n"
                     "acl_listener: {listen: '127.0.0.1:9096', advertise: 'sink.example.com:9096'"
                     "%s}\n",
                     acl_options);
    struct config *c = config_parse("/etc/sluice/s.yaml", text, (size_t)n, false, err, sizeof(err));
    if (!c)
        fail_msg("%s", err);
    for (size_t i = 0; i < c->acl_listener.nusers; i++)
        c->acl_listener.users[i].password = PASSWORD;
    return c;
}

#define USERS ", users: [{name: edc, password_file: secret}]"

static inline void open_bed(void)
{
    const struct store_peers peers = {.count = 2, .apply = apply};
    struct changes changes;
    char err[512] = "";
    log_setup(LOG_ERROR, false);
    config = config_with(USERS);
    loop = loop_new();
    ticker = loop_timer_new(loop, on_tick, NULL);
    store = store_open(store_path, loop, config, err, sizeof(err));
    assert_non_null(store);
    assert_int_equal(store_start(store, &peers, NULL, NULL), OK);
    strcpy(trail_path, "/tmp/sluice-acl-XXXXXX");
    close(mkstemp(trail_path));
    trail = audit_open(trail_path, false, err, sizeof(err));
    ring = audit_ring_new(trail);
    changes = (struct changes){.store = store, .audit = ring};
    /* No door: the listener's own port is not for the tests. */
    config->acl_listener.listen.port = 0;
    acl = acl_new(loop, config, &changes, err, sizeof(err));
    assert_non_null(acl);
    config->acl_listener.listen.port = 9096;
    acl->users = scram_users_new();
    acl->peers = peers_new();
    acl->retry = loop_timer_new(loop, acl_change_turn, acl);
    assert_int_equal(scram_users_set(acl->users, &(struct scram_user){"edc", PASSWORD}, 1), OK);
    holding = false;
    nheld = 0;
}

static inline void close_bed(void)
{
    hang_up();
    let_go();
    acl_free(acl);
    store_close(store);
    audit_ring_free(ring);
    audit_close(trail);
    unlink(trail_path);
    loop_timer_free(ticker);
    loop_free(loop);
    config_unref(config);
    buf_thread_trim();
}

static inline int set_up(void **state)
{
    (void)state;
    open_bed();
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    close_bed();
    return 0;
}

#define acl_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* Audit lines with both texts. */
static inline unsigned audited(const char *a, const char *b)
{
    settle(60);
    return trail_lines(trail_path, a, b);
}

/* --- messages */

#define READ_T                                                                                     \
    "{'resourceType':2,'resourceName':'t','resourcePatternType':3,'principal':'User:s',"           \
    "'host':'*','operation':3,'permissionType':3}"
#define DESCRIBE_T                                                                                 \
    "{'resourceType':2,'resourceName':'t','resourcePatternType':3,'principal':'User:s',"           \
    "'host':'*','operation':8,'permissionType':3}"
#define READ_G                                                                                     \
    "{'resourceType':3,'resourceName':'bob','resourcePatternType':4,'principal':'User:s',"         \
    "'host':'*','operation':3,'permissionType':3}"
#define START "{'creations':[" READ_T "," DESCRIBE_T "," READ_G "]}"
#define DONE3 "{'results':[{},{},{}]}"
#define FILTER(type, name, pattern, op)                                                            \
    "{'resourceTypeFilter':" #type ",'resourceNameFilter':" name ",'patternTypeFilter':" #pattern  \
    ",'principalFilter':'User:s','hostFilter':'*','operation':" #op ",'permissionType':3}"
#define END                                                                                        \
    "{'filters':[" FILTER(2, "'t'", 3, 3) "," FILTER(2, "'t'", 3, 8) "," FILTER(3, "'bob'", 4,     \
                                                                                3) "]}"
#define MATCH(type, name, pattern, op)                                                             \
    "{'resourceType':" #type ",'resourceName':'" name "','patternType':" #pattern                  \
    ",'principal':'User:s','host':'*','operation':" #op ",'permissionType':3}"
#define ENDED                                                                                      \
    "{'filterResults':[{'matchingAcls':[" MATCH(2, "t", 3, 3) "]},{'matchingAcls':[" MATCH(        \
        2, "t", 3, 8) "]},{'"                                                                      \
                      "matchingAcls':[" MATCH(3, "bob", 4, 3) "]}]}"
#define ANY                                                                                        \
    "{'resourceTypeFilter':1,'resourceNameFilter':null,'patternTypeFilter':1,"                     \
    "'principalFilter':null,'hostFilter':null,'operation':1,'permissionType':1}"
#define ACL(op) "{'principal':'User:s','host':'*','operation':" #op ",'permissionType':3}"
#define SHOWN                                                                                      \
    "{'resources':["                                                                               \
    "{'resourceType':2,'resourceName':'t','patternType':3,'acls':[" ACL(3) "," ACL(                \
        8) "]},"                                                                                   \
           "{'resourceType':3,'resourceName':'bob','patternType':4,'acls':[" ACL(3) "," ACL(       \
               8) "]}]}"
#define NOTHING "{}"

/* --- what is in force */

static unsigned count;
static char last[512];

static inline void note(void *arg, const struct grant *g)
{
    (void)arg;
    count++;
    snprintf(last, sizeof(last), "%s %s %s %u", g->subject, g->ntopics ? g->topics[0] : "-",
             g->group_prefix[0] ? g->group_prefix : "-", g->operations);
}

static inline unsigned in_force(void)
{
    count = 0;
    last[0] = '\0';
    store_each_grant(store, note, NULL);
    return count;
}

#endif
