/* Any bytes as what an admin client sends to the ACL listener: from its first byte on, or (the
 * first byte's lowest bit) once it has logged in. Frames go through the connection's own way in to
 * a store in memory. Whatever comes of it: answers are whole frames, a stranger changes nothing,
 * and every grant is one that the listener would make again. */
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "edc/acl_find.h"
#include "fuzz/mutate.h"
#include "proxy/peers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    /* ApiVersions, SASL, Metadata, DescribeCluster, and what is done to ACLs. */
    static const uint8_t apis[] = {3, 17, 18, 29, 29, 30, 30, 30, 31, 31, 36, 60};

    if (size < 2 || max < 2 || seed % 32 == 0)
        return LLVMFuzzerMutate(data, size, max);
    return 1 + mutate_frames(apis, sizeof(apis), data + 1, size - 1, max - 1, seed);
}

#define PASSWORD "a password of some length"
#define TURNS    64

static const char text[] =
    "listen: 0.0.0.0:9093\n"
    "advertise: gate.example.com:9093\n"
    "tls: {certificate: gate.pem, key: gate.key}\n"
    "issuers: [{issuer: 'https://i', audience: a, shared_subjects: false}]\n"
    "upstream: {brokers: ['k:1']}\n"
    "acl_listener: {listen: '127.0.0.1:9096', users: [{name: edc, password_file: secret}]}\n";

static struct loop *loop;
static struct config *config;
static struct scram_users *users;
static unsigned grants;

static void must(int holds)
{
    if (!holds)
        abort();
}

static void set_up(void)
{
    char err[1024];

    log_setup(LOG_ERROR, false);
    loop = loop_new();
    config = config_parse("/s.yaml", text, strlen(text), false, err, sizeof(err));
    users = scram_users_new();
    must(loop && config && users);
    must(scram_users_set(users, &(struct scram_user){"edc", PASSWORD}, 1) == OK);
}

static void check_grant(void *arg, const struct grant *g)
{
    struct acl_right r;

    (void)arg;
    grants++;
    must(acl_right_of(g, config->acl_listener.issuer, &r) && acl_right_made(&r, g));
    must(g->ntopics <= 1 && (g->ntopics == 1 || g->group_prefix[0]));
}

/* What the client gets: frames, the last of them whole when nothing is left to be sent. */
static void check_answers(int fd, int whole)
{
    static uint8_t got[1 << 20];
    ssize_t n = read(fd, got, sizeof(got));
    size_t at = 0;

    while (n > 0 && (size_t)n - at >= 4) {
        size_t len = (size_t)got[at] << 24 | (size_t)got[at + 1] << 16 | (size_t)got[at + 2] << 8 |
                     got[at + 3];
        must(len >= 4 && len <= ACL_OUT_BYTES);
        if ((size_t)n - at - 4 < len)
            break;
        at += 4 + len;
    }
    must(n <= 0 || !whole || at == (size_t)n || (size_t)n == sizeof(got));
}

static void talk(struct acl *a, const uint8_t *data, size_t size)
{
    struct sockaddr_storage peer = {.ss_family = AF_INET};
    struct acl_conn *c;
    int fds[2], i;

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    must(acl_conn_new(a, fds[0], &peer) == OK);
    c = a->conns;
    loop_run_posted(loop); /* the handshake of a plain connection */
    must(c->state == ACL_PREAUTH);
    if (data[0] & 1) {
        strcpy(c->who, "edc");
        c->user_number = scram_users_number(users, "edc");
        acl_conn_ready(c);
    }
    for (i = 1; i < TURNS && a->conns; i++) {
        if (i == 1 && buf_append(&c->t.in, data + 1, size - 1) != OK)
            break;
        if (a->conns->state != ACL_CLOSED)
            loop_post(loop, &c->later);
        loop_run_posted(loop);
    }
    check_answers(fds[1], a->conns && a->conns->state != ACL_CLOSED && a->conns->t.out.len == 0);
    close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct changes changes = {.store = NULL};
    char err[256];
    struct acl *a;

    if (!loop)
        set_up();
    if (size < 2)
        return 0;
    changes.store = store_open(NULL, loop, config, err, sizeof(err));
    must(changes.store != NULL);
    config->acl_listener.listen.port = 0; /* no door */
    a = acl_new(loop, config, &changes, err, sizeof(err));
    must(a != NULL);
    a->users = users;
    a->peers = peers_new();
    a->retry = loop_timer_new(loop, acl_change_turn, a);
    talk(a, data, size);
    grants = 0;
    store_each_grant(changes.store, check_grant, NULL);
    must(grants == 0 || (data[0] & 1) || memmem(data, size, PASSWORD, strlen(PASSWORD)));
    a->users = NULL; /* ours */
    acl_free(a);
    store_close(changes.store);
    buf_thread_trim();
    return 0;
}
