#include "edc/acl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "edc/acl_priv.h"
#include "proxy/peers.h"

#define ACCEPT_REST_US UINT64_C(50000)
#define ACCEPT_BATCH   8
/* The same complaint is logged once in so long. */
#define COMPLAINT_US UINT64_C(5000000)

/* --- taking connections */

static void doors_want(struct acl *a, unsigned mask)
{
    for (unsigned i = 0; i < a->ndoors; i++)
        if (loop_io_want(a->doors[i].io, mask) != OK)
            log_error("acl", "the event loop refused a listening socket");
}

static void on_rested(void *arg)
{
    doors_want(arg, LOOP_READ);
}

static void rest(struct acl *a)
{
    if (loop_timer_set(a->rest, ACCEPT_REST_US) == OK)
        doors_want(a, 0);
}

/* The oldest that has not logged in gives way, so that strangers who only connect keep nobody out.
 * NULL: there is room, or no such one. */
static struct acl_conn *to_make_room(const struct acl *a)
{
    struct acl_conn *oldest = NULL;

    for (struct acl_conn *c = a->conns; c && a->nconns >= ACL_CONNECTIONS_MAX; c = c->next)
        if (c->state != ACL_READY)
            oldest = c;
    return oldest;
}

static void take(struct acl *a, int fd, const struct sockaddr_storage *peer)
{
    struct acl_conn *oldest = to_make_room(a);

    if (oldest)
        acl_conn_free(oldest);
    if (acl_conn_new(a, fd, peer) == OK)
        return;
    a->refused++;
    if (a->complained_us && loop_now_us(a->loop) - a->complained_us < COMPLAINT_US)
        return;
    a->complained_us = loop_now_us(a->loop);
    log_warn("acl",
             "a connection was refused: more than %u of one address, or out of memory; %u so"
             " far",
             ACL_PER_ADDRESS_MAX, a->refused);
}

/* Have enough been taken in this second? */
static bool too_fast(struct acl *a)
{
    uint64_t now = loop_now_us(a->loop);

    if (now - a->second_us >= UINT64_C(1000000)) {
        a->second_us = now;
        a->taken = 0;
    }
    return a->taken >= ACL_ACCEPTS_PER_S;
}

static void on_door(void *arg, unsigned ready)
{
    const struct acl_door *d = arg;
    struct acl *a = d->acl;

    (void)ready;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof(peer);
        int fd;

        if (too_fast(a) || (a->nconns >= ACL_CONNECTIONS_MAX && !to_make_room(a))) {
            rest(a);
            return;
        }
        fd = accept4(d->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            a->taken++;
            take(a, fd, &peer);
            continue;
        }
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
            log_error("acl", "cannot accept: %s; trying again", strerrordesc_np(errno));
            rest(a);
        }
        return;
    }
}

static int listen_at(struct acl *a, const struct config *c, char *err, size_t err_bytes)
{
    int fds[LISTENER_ADDRESSES_MAX];
    char why[256];
    uint16_t port;
    int rc = listener_bind(&c->acl_listener.listen, fds, &a->ndoors, &port, why, sizeof(why));

    if (rc != OK)
        snprintf(err, err_bytes, "acl_listener.%s", why);
    for (unsigned i = 0; i < a->ndoors; i++)
        a->doors[i] = (struct acl_door){.acl = a, .fd = fds[i]};
    for (unsigned i = 0; i < a->ndoors && rc == OK; i++) {
        struct acl_door *d = &a->doors[i];

        d->io = loop_io_new(a->loop, d->fd, on_door, d);
        if (!d->io || loop_io_want(d->io, LOOP_READ) != OK) {
            snprintf(err, err_bytes, "acl_listener: out of memory");
            rc = ERR_NOMEM;
        }
    }
    return rc;
}

/* --- what the configuration says */

static int make_tls(const struct config *c, struct tls_context **out, char *err, size_t err_bytes)
{
    const struct tls_server_settings s = {
        .certificate = c->acl_listener.certificate,
        .key = c->acl_listener.key,
        .client_ca = c->acl_listener.client_ca,
        .client_certificate = c->acl_listener.client_ca ? 2 : 0,
        .min_version = 12,
    };
    char why[512];

    *out = NULL;
    if (!c->acl_listener.certificate)
        return OK;
    *out = tls_server_new(&s, why, sizeof(why));
    if (!*out)
        snprintf(err, err_bytes, "acl_listener: %s", why);
    return *out ? OK : ERR_CONFIG;
}

static int set_users(struct acl *a, const struct config *c, char *err, size_t err_bytes)
{
    struct scram_user list[CONFIG_ACL_USERS_MAX];
    size_t n = c->acl_listener.nusers;
    int rc;

    _Static_assert(CONFIG_ACL_USERS_MAX <= SCRAM_USERS_MAX, "all users fit");
    for (size_t i = 0; i < n; i++)
        list[i] =
            (struct scram_user){c->acl_listener.users[i].name, c->acl_listener.users[i].password};
    rc = scram_users_set(a->users, list, n);
    if (rc != OK)
        snprintf(err, err_bytes, "acl_listener.users: %s", err_name(rc));
    return rc;
}

int acl_config(struct acl *a, const struct config *c, char *err, size_t err_bytes)
{
    const struct config *old = a->config;
    struct tls_context *tls = NULL;
    int rc = OK;

    if (a->ndoors > 0) {
        if (!c->acl_listener.listen.port)
            return OK; /* it goes with a restart; until then it is as it was */
        if (!c->acl_listener.certificate != !a->tls) {
            snprintf(err, err_bytes, "acl_listener.tls comes and goes with a restart");
            return ERR_CONFIG;
        }
        rc = make_tls(c, &tls, err, err_bytes);
        if (rc == OK)
            rc = set_users(a, c, err, err_bytes);
        if (rc != OK) {
            tls_unref(tls);
            return rc;
        }
        tls_unref(a->tls);
        a->tls = tls;
    }
    a->config = config_ref(c);
    for (struct acl_conn *conn = a->conns; conn; conn = conn->next)
        if (!acl_conn_welcome(conn))
            acl_conn_close(conn, "no longer allowed");
    config_unref(old);
    return OK;
}

/* --- beginning and end */

static int start(struct acl *a, const struct config *c, char *err, size_t err_bytes)
{
    int rc;

    snprintf(err, err_bytes, "acl_listener: out of memory");
    a->users = scram_users_new();
    a->peers = peers_new();
    a->rest = loop_timer_new(a->loop, on_rested, a);
    a->retry = loop_timer_new(a->loop, acl_change_turn, a);
    if (!a->users || !a->peers || !a->rest || !a->retry)
        return ERR_NOMEM;
    rc = make_tls(c, &a->tls, err, err_bytes);
    if (rc == OK)
        rc = set_users(a, c, err, err_bytes);
    if (rc == OK)
        rc = listen_at(a, c, err, err_bytes);
    if (rc == OK)
        log_info("acl", "admin clients at %s:%u", c->acl_listener.listen.host,
                 (unsigned)c->acl_listener.listen.port);
    return rc;
}

struct acl *acl_new(struct loop *l, const struct config *c, const struct changes *changes,
                    char *err, size_t err_bytes)
{
    struct acl *a = sl_calloc(1, sizeof(*a));

    if (!a) {
        snprintf(err, err_bytes, "acl_listener: out of memory");
        return NULL;
    }
    a->loop = l;
    a->changes = *changes;
    loop_task_init(&a->turn, acl_change_turn, a);
    a->config = config_ref(c);
    if (!c->acl_listener.listen.port || start(a, c, err, err_bytes) == OK)
        return a;
    acl_free(a);
    return NULL;
}

void acl_free(struct acl *a)
{
    if (!a)
        return;
    for (unsigned i = 0; i < a->ndoors; i++) {
        loop_io_free(a->doors[i].io);
        close(a->doors[i].fd);
    }
    while (a->conns)
        acl_conn_free(a->conns);
    acl_change_orphan(a);
    loop_cancel(&a->turn);
    loop_timer_free(a->rest);
    loop_timer_free(a->retry);
    tls_unref(a->tls);
    scram_users_free(a->users);
    peers_unref(a->peers);
    config_unref(a->config);
    sl_free(a);
}
