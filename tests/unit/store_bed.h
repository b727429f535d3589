/* A store with workers of its own: threads with a table and some sessions each, driven from the
 * test's thread. What a test's grant or token is unless it says otherwise: GRANT, TOKEN. */
#ifndef TESTS_STORE_BED_H
#define TESTS_STORE_BED_H

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "auth/store.h"
#include "auth/store_db.h"
#include "base/loop.h"
#include "base/mailbox.h"
#include "tests/unit/token.h"

#if defined(__clang__)
#pragma clang diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#pragma GCC diagnostic ignored "-Woverride-init-side-effects"
#endif

#define ISS          "https://idp.example.com"
#define WORKERS      3
#define SESSIONS_MAX 64

/* --- workers: threads with a table and some sessions each */

struct session {
    struct identity id;
    struct grant_set set;
    bool open;
};

struct worker {
    pthread_t thread;
    struct mailbox *box;
    struct grant_table *table;
    struct session sessions[SESSIONS_MAX];
    unsigned count;
    bool stop;
};

struct bed {
    struct loop *loop;
    struct loop_timer *patience;
    struct store *store;
    struct worker workers[WORKERS];
    int refuse; /* what apply answers for worker 0 */
    bool hold;  /* worker 0 does not acknowledge */
    struct change_ack *held;
    bool ended;
    int result;
    unsigned closed;
};

static struct bed bed;
static struct config *config, *with_grants, *fewer_grants, *tiny;
static char dir[64], path[96];

struct post {
    struct mail mail;
    struct worker *worker;
    const struct change *change;
    struct change_ack *ack;
};

static void worker_apply(void *receiver, struct mail *m)
{
    struct post *p = (struct post *)(void *)m;
    struct worker *w = receiver;
    unsigned closed = 0;
    unsigned i;
    int rc = grant_table_apply(w->table, p->change);

    for (i = 0; i < w->count; i++) {
        struct session *s = &w->sessions[i];

        if (!s->open || grant_table_allows(w->table, &s->id, &s->set))
            continue;
        change_ack_bar(p->ack, w->table, &s->id);
        s->open = false;
        closed++;
    }
    change_ack_done(p->ack, rc, closed);
    free(p);
}

static int apply(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    struct bed *b = arg;
    struct post *p;

    if (i == 0 && b->refuse)
        return b->refuse;
    if (i == 0 && b->hold) {
        b->held = ack;
        return OK;
    }
    p = calloc(1, sizeof(*p));
    p->mail.deliver = worker_apply;
    p->worker = &b->workers[i];
    p->change = c;
    p->ack = ack;
    return mailbox_post(b->workers[i].box, &p->mail);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;

    while (!w->stop)
        assert_int_equal(mailbox_wait(w->box, -1), OK);
    return NULL;
}

/* A call in the worker's thread; waits for its end. */
struct call {
    struct mail mail;
    void (*fn)(struct worker *w, void *arg);
    void *arg;
    sem_t done;
};

static void call_deliver(void *receiver, struct mail *m)
{
    struct call *c = (struct call *)(void *)m;

    c->fn(receiver, c->arg);
    sem_post(&c->done);
}

static void in_worker(unsigned i, void (*fn)(struct worker *w, void *arg), void *arg)
{
    struct call c = {.mail.deliver = call_deliver, .fn = fn, .arg = arg};

    sem_init(&c.done, 0, 0);
    assert_int_equal(mailbox_post(bed.workers[i].box, &c.mail), OK);
    sem_wait(&c.done);
    sem_destroy(&c.done);
}

static void do_stop(struct worker *w, void *arg)
{
    (void)arg;
    w->stop = true;
}

struct
try {
    const struct identity *id;
    int64_t now_s;
    enum login_verdict v;
};

static void do_login(struct worker *w, void *arg)
{
    struct try *t = arg;
    struct session *s = &w->sessions[w->count];

    t->v = grant_table_login(w->table, t->id, t->now_s, &s->set);
    if (t->v != LOGIN_OK)
        return;
    assert_int_equal(identity_copy(&s->id, t->id), OK);
    s->open = true;
    w->count++;
    assert_true(w->count < SESSIONS_MAX);
}

/* time() would lag a few milliseconds behind the clock that dates a revocation. */
static int64_t now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

static inline enum login_verdict login(unsigned worker, const struct identity *id)
{
    struct try t = {id, now_s(), LOGIN_OK};

    in_worker(worker, do_login, &t);
    return t.v;
}

#define expect(worker, id, want)                                                                   \
    assert_string_equal(login_verdict_name(login(worker, id)), login_verdict_name(want))

static void do_count(struct worker *w, void *arg)
{
    unsigned i;

    for (i = 0; i < w->count; i++)
        *(unsigned *)arg += w->sessions[i].open;
}

static inline unsigned open_sessions(unsigned worker)
{
    unsigned n = 0;

    in_worker(worker, do_count, &n);
    return n;
}

/* --- the bed */

static void on_patience(void *arg)
{
    (void)arg;
    fail_msg("nothing happened for 20 s");
}

static void done(void *arg, int result, unsigned closed)
{
    struct bed *b = arg;

    b->result = result;
    b->closed = closed;
    b->ended = true;
    loop_stop(b->loop);
}

static int wait_done(void)
{
    assert_int_equal(loop_timer_set(bed.patience, 20000000), OK);
    while (!bed.ended)
        assert_int_equal(loop_run(bed.loop), OK);
    loop_timer_clear(bed.patience);
    bed.ended = false;
    return bed.result;
}

static void on_ready(void *arg)
{
    done(arg, OK, 0);
}

static void bed_open(const char *file, const struct config *c)
{
    struct store_peers peers = {WORKERS, &bed, apply};
    char err[256] = "";
    unsigned i;

    memset(&bed, 0, sizeof(bed));
    bed.loop = loop_new();
    bed.patience = loop_timer_new(bed.loop, on_patience, NULL);
    bed.store = store_open(file, bed.loop, c, err, sizeof(err));
    if (!bed.store)
        fail_msg("%s", err);
    for (i = 0; i < WORKERS; i++) {
        bed.workers[i].table = grant_table_new(c);
        bed.workers[i].box = mailbox_new(NULL, &bed.workers[i]);
        assert_int_equal(pthread_create(&bed.workers[i].thread, NULL, worker_main, &bed.workers[i]),
                         0);
    }
    assert_int_equal(store_start(bed.store, &peers, on_ready, &bed), OK);
    assert_int_equal(wait_done(), OK);
}

static void bed_close(void)
{
    unsigned i, j;

    for (i = 0; i < WORKERS; i++) {
        struct worker *w = &bed.workers[i];

        in_worker(i, do_stop, NULL);
        pthread_join(w->thread, NULL);
        mailbox_free(w->box);
        for (j = 0; j < w->count; j++) {
            identity_clear(&w->sessions[j].id);
            grant_set_clear(&w->sessions[j].set);
        }
        grant_table_free(w->table);
    }
    store_close(bed.store);
    loop_timer_free(bed.patience);
    loop_free(bed.loop);
}

static int setup_all(void **state)
{
    static const char head[] = "issuers: [{issuer: " ISS ", audience: sluice}]\n";
    char text[1024];

    (void)state;
    config = token_config(head);
    snprintf(text, sizeof(text),
             "%sgrants:\n"
             "  - {id: c1, principal: {issuer: " ISS ", subject: bob}, topics: [one],\n"
             "     group_prefix: bob, operations: [read], agreement: agr}\n"
             "  - {id: c2, principal: {issuer: " ISS ", subject: eve}, topics: [two],\n"
             "     group_prefix: eve, operations: [read]}\n",
             head);
    with_grants = token_config(text);
    snprintf(text, sizeof(text),
             "%sgrants:\n"
             "  - {id: c1, principal: {issuer: " ISS ", subject: bob}, topics: [one],\n"
             "     group_prefix: bob, operations: [read], agreement: agr}\n",
             head);
    fewer_grants = token_config(text);
    snprintf(text, sizeof(text), "%slimits: {grants: 2, revocations: 2}\n", head);
    tiny = token_config(text);
    return config && with_grants && fewer_grants && tiny ? 0 : -1;
}

static int teardown_all(void **state)
{
    (void)state;
    config_unref(config);
    config_unref(with_grants);
    config_unref(fewer_grants);
    config_unref(tiny);
    return 0;
}

/* A folder of its own for the test's store; false: none there. */
static bool dir_made_in(const char *where)
{
    snprintf(dir, sizeof(dir), "%s/sluice-store-XXXXXX", where);
    if (!mkdtemp(dir))
        return false;
    snprintf(path, sizeof(path), "%s/s.db", dir);
    return true;
}

static int setup(void **state)
{
    (void)state;
    return dir_made_in("/tmp") ? 0 : -1;
}

static int teardown(void **state)
{
    char name[128];

    (void)state;
    snprintf(name, sizeof(name), "%s-wal", path);
    unlink(name);
    snprintf(name, sizeof(name), "%s-shm", path);
    unlink(name);
    unlink(path);
    return rmdir(dir);
}

/* --- what a test says */

#define GRANT(...)                                                                                 \
    (&(struct grant_config){.issuer = ISS,                                                         \
                            .subject = "bob",                                                      \
                            .topics = {(const char *[]){"a", "b"}, 2},                             \
                            .group_prefix = "bob",                                                 \
                            .participant = "did:web:bob",                                          \
                            .operations = OP_READ,                                                 \
                            __VA_ARGS__})
#define TOKEN(...)                                                                                 \
    (&(struct identity){.issuer = ISS,                                                             \
                        .shared_subjects = true,                                                   \
                        .subject = "bob",                                                          \
                        .jti = "j1",                                                               \
                        .issued = now_s() - 10,                                                    \
                        .expires = now_s() + 300,                                                  \
                        __VA_ARGS__})

static inline int put_begin(const struct grant_config *c)
{
    struct grant *g;
    const char *why;
    int rc;

    assert_int_equal(grant_new(c, GRANT_FROM_API, &g, &why), OK);
    rc = store_grant(bed.store, g, done, &bed);
    grant_unref(g);
    return rc;
}

static inline int put(const struct grant_config *c)
{
    int rc = put_begin(c);

    return rc != OK ? rc : wait_done();
}

static inline int revoke_begin(enum revoke_kind kind, const char *issuer, const char *value)
{
    struct revocation *r = revocation_new(kind, issuer, value, "", now_s(), 0, "test");
    int rc = store_revoke(bed.store, r, done, &bed);

    revocation_free(r);
    return rc;
}

static inline int revoke_now(enum revoke_kind kind, const char *issuer, const char *value)
{
    int rc = revoke_begin(kind, issuer, value);

    return rc != OK ? rc : wait_done();
}

static inline int load_config(const struct config *c)
{
    int rc = store_config_grants(bed.store, c, done, &bed);

    return rc != OK ? rc : wait_done();
}

static void add_grant(void *arg, const struct grant *g)
{
    strcat(arg, g->id);
    strcat(arg, " ");
}

static void add_revocation(void *arg, const struct revocation *r)
{
    size_t n = strlen(arg);

    sprintf((char *)arg + n, "%s:%s ", revoke_kind_name(r->kind), r->value);
}

static inline bool has_grant(const char *id)
{
    char text[4096] = " ", want[128];

    store_each_grant(bed.store, add_grant, text + 1);
    snprintf(want, sizeof(want), " %s ", id);
    return strstr(text, want) != NULL;
}

static inline bool has_revocation(const char *what)
{
    char text[8192] = " ", want[128];

    store_each_revocation(bed.store, add_revocation, text + 1);
    snprintf(want, sizeof(want), " %s ", what);
    return strstr(text, want) != NULL;
}

#endif
