#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "audit/audit.h"
#include "auth/introspect.h"
#include "auth/jwks.h"
#include "auth/oauth.h"
#include "auth/store.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/core.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mailbox.h"
#include "config/config.h"
#include "config/grants_dir.h"
#include "control/control.h"
#include "edc/edc.h"
#include "proxy/gate.h"
#include "proxy/listener.h"
#include "proxy/resolve.h"
#include "proxy/worker.h"
#include "view.h"

#define ERR_TEXT       8192
#define WORKERS_MAX    256
#define DRAIN_CHECK_US 20000
/* After limits.drain_timeout_ms the sessions have closed by themselves; this much more is waited
 * for the sockets. */
#define DRAIN_GRACE_US 1000000

struct app {
    const char *file;
    const struct config *config;
    struct loop *loop;
    struct mailbox *mailbox; /* the control thread's */
    struct audit *audit;
    struct audit_ring *ring;
    struct store *store;
    struct jwks_fetcher *fetcher;
    struct keyring *keys;
    struct oauth_source *tokens;
    struct introspector *introspector;
    struct control *control;
    struct edc *edc;
    struct resolver *resolver;
    struct principals *principals;
    struct tls_context *tls, *upstream_tls;
    struct listener *listener;
    struct worker *workers[WORKERS_MAX];
    struct gate *gates[WORKERS_MAX];
    unsigned nworkers, ngates, started;
    struct view view; /* of them */
    struct grants_watch *watch;
    struct loop_io *signals;
    struct loop_timer *drain;
    uint64_t drain_until_us;
    int signal_fd;
    bool draining, grants_ready;
};

/* --- mail to the workers */

enum news {
    NEWS_START,
    NEWS_CHANGE,
    NEWS_KEYS,
    NEWS_GRANTS_READY,
    NEWS_CONFIG,
    NEWS_TOKEN,
    NEWS_UNCONFIRMED,
    NEWS_DRAIN
};

struct worker_mail {
    struct mail mail;
    enum news news;
    struct gate *gate;
    const struct change *change;
    struct change_ack *ack;
    struct keyring *keys;
    const struct config *config;
    struct tls_context *tls, *upstream_tls;
    struct resolver *resolver;
    struct revocation *unconfirmed;
    int64_t expires;
    char token[];
};

static void free_mail(struct worker_mail *m)
{
    keyring_unref(m->keys);
    config_unref(m->config);
    tls_unref(m->tls);
    tls_unref(m->upstream_tls);
    revocation_free(m->unconfirmed);
    sl_free(m);
}

static void on_worker_mail(void *receiver, struct mail *mail)
{
    struct worker_mail *m = (struct worker_mail *)(void *)mail;
    struct gate *g = m->gate;
    int rc = OK;

    (void)receiver;
    switch (m->news) {
    case NEWS_START:
        rc = gate_start(g, m->upstream_tls, m->resolver);
        break;
    case NEWS_CHANGE:
        gate_apply(g, m->change, m->ack);
        break;
    case NEWS_KEYS:
        gate_set_keys(g, m->keys);
        break;
    case NEWS_GRANTS_READY:
        g->grants_loaded = true;
        break;
    case NEWS_CONFIG:
        rc = gate_set_config(g, m->config, m->tls, m->upstream_tls);
        break;
    case NEWS_TOKEN:
        rc = cluster_token(g->cluster, m->token, m->expires);
        explicit_bzero(m->token, strlen(m->token));
        break;
    case NEWS_UNCONFIRMED:
        if (m->unconfirmed)
            gate_close_unconfirmed(g, m->unconfirmed);
        break;
    case NEWS_DRAIN:
        gate_drain(g);
        break;
    }
    if (rc != OK)
        log_error("worker", "news could not be taken: %s", err_name(rc));
    free_mail(m);
}

static struct worker_mail *new_mail(struct app *a, unsigned i, enum news news, size_t extra)
{
    struct worker_mail *m = sl_calloc(1, sizeof(*m) + extra);

    if (!m)
        return NULL;
    m->mail.deliver = on_worker_mail;
    m->news = news;
    m->gate = a->gates[i];
    return m;
}

static int send_mail(struct app *a, unsigned i, struct worker_mail *m)
{
    int rc = m ? mailbox_post(worker_mailbox(a->workers[i]), &m->mail) : ERR_NOMEM;

    if (rc != OK) {
        log_error("run", "worker %u could not be told: %s", i, err_name(rc));
        if (m)
            free_mail(m);
    }
    return rc;
}

/* The same news for all. What is lost for want of memory is logged; the state before stays. */
static void tell_all(struct app *a, enum news news)
{
    for (unsigned i = 0; i < a->ngates; i++) {
        struct worker_mail *m = new_mail(a, i, news, 0);
        if (m && news == NEWS_KEYS)
            m->keys = keyring_ref(a->keys);
        if (m && news == NEWS_START) {
            m->upstream_tls = a->upstream_tls ? tls_ref(a->upstream_tls) : NULL;
            m->resolver = a->resolver;
        }
        if (m && news == NEWS_CONFIG) {
            m->config = config_ref(a->config);
            m->tls = tls_ref(a->tls);
            m->upstream_tls = a->upstream_tls ? tls_ref(a->upstream_tls) : NULL;
        }
        if (send_mail(a, i, m) != OK)
            continue;
    }
}

/* --- what the parts ask for */

static int apply_change(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    struct app *a = arg;
    struct worker_mail *m = new_mail(a, i, NEWS_CHANGE, 0);

    if (m) {
        m->change = c;
        m->ack = ack;
    }
    return send_mail(a, i, m);
}

static void on_grants_ready(void *arg)
{
    struct app *a = arg;

    a->grants_ready = true;
    tell_all(a, NEWS_GRANTS_READY);
}

static void on_keys(void *arg, struct keyring *k)
{
    struct app *a = arg;

    keyring_unref(a->keys);
    a->keys = keyring_ref(k);
    tell_all(a, NEWS_KEYS);
}

static void on_token(void *arg, const char *token, int64_t expires)
{
    struct app *a = arg;
    size_t n = strlen(token);

    for (unsigned i = 0; i < a->ngates; i++) {
        struct worker_mail *m = new_mail(a, i, NEWS_TOKEN, n + 1);
        if (m) {
            memcpy(m->token, token, n + 1);
            m->expires = expires;
        }
        if (send_mail(a, i, m) != OK)
            continue;
    }
}

/* An error is told by the store's next try: the introspector asks again. */
static void on_inactive_done(void *arg, int result, unsigned closed)
{
    (void)arg;
    log_info("introspect", "an inactive token was revoked (%s), %u sessions closed",
             err_name(result), closed);
}

static int on_inactive(void *arg, struct revocation *r)
{
    struct app *a = arg;
    const struct changes changes = {a->store, a->ring, "introspection"};

    return change_revoke(&changes, r, NULL, on_inactive_done, NULL);
}

static void on_unconfirmed(void *arg, const struct revocation *r)
{
    struct app *a = arg;

    for (unsigned i = 0; i < a->ngates; i++) {
        struct worker_mail *m = new_mail(a, i, NEWS_UNCONFIRMED, 0);
        if (m)
            m->unconfirmed = revocation_clone(r);
        if (send_mail(a, i, m) != OK)
            continue;
    }
}

struct kid_mail {
    struct mail mail;
    char issuer[IDENTITY_TEXT_MAX];
};

static void on_kid_mail(void *receiver, struct mail *mail)
{
    struct app *a = receiver;
    struct kid_mail *m = (struct kid_mail *)(void *)mail;

    jwks_fetcher_unknown_kid(a->fetcher, m->issuer);
    sl_free(m);
}

/* From a worker's thread. */
static void on_unknown_kid(void *arg, const char *issuer)
{
    struct app *a = arg;
    struct kid_mail *m = sl_calloc(1, sizeof(*m));

    if (!m)
        return;
    m->mail.deliver = on_kid_mail;
    snprintf(m->issuer, sizeof(m->issuer), "%s", issuer);
    if (mailbox_post(a->mailbox, &m->mail) != OK)
        sl_free(m);
}

static void control_unknown_kid(void *arg, const char *issuer)
{
    struct app *a = arg;

    jwks_fetcher_unknown_kid(a->fetcher, issuer);
}

static struct keyring *control_keys(void *arg)
{
    struct app *a = arg;

    return a->keys ? keyring_ref(a->keys) : NULL;
}

static const char *not_ready(void *arg)
{
    struct app *a = arg;

    if (a->draining)
        return "shutting down";
    if (!jwks_fetcher_ready(a->fetcher))
        return "an issuer's keys are not there";
    if (!a->grants_ready)
        return "the grants are not there yet";
    if (!audit_ok(a->audit))
        return "the audit trail cannot be written";
    for (unsigned i = 0; i < a->ngates; i++)
        if (!atomic_load_explicit(&a->gates[i]->counters.cluster_ready, memory_order_relaxed))
            return "no broker answers";
    return NULL;
}

static int list_sessions(void *arg, view_list_fn *done, void *done_arg)
{
    struct app *a = arg;

    return view_sessions(&a->view, done, done_arg);
}

static int usage(void *arg, const char *const *ids, size_t n, view_usage_fn *done, void *done_arg)
{
    struct app *a = arg;

    return view_usage(&a->view, ids, n, done, done_arg);
}

static void metrics(void *arg, view_metric_fn *line, void *line_arg)
{
    struct app *a = arg;

    view_metrics(&a->view, line, line_arg);
    if (a->edc)
        edc_metrics(a->edc, line, line_arg);
}

/* --- starting */

static struct tls_context *make_server_tls(const struct config *c, char *err, size_t n)
{
    struct tls_server_settings s = {
        .certificate = c->tls.certificate,
        .key = c->tls.key,
        .client_ca = c->tls.client_ca,
        .client_certificate = c->tls.client_certificate,
        .min_version = c->tls.min_version,
        .ciphers = c->tls.ciphers,
        .ciphersuites = c->tls.ciphersuites,
    };

    return tls_server_new(&s, err, n);
}

/* NULL without an error where the brokers are spoken to in plain. */
static int make_upstream_tls(const struct config *c, struct tls_context **out, char *err, size_t n)
{
    struct tls_client_settings s = {
        .ca = c->upstream.ca,
        .certificate = c->upstream.certificate,
        .key = c->upstream.key,
        .verify = c->upstream.verify,
        .min_version = 12,
    };

    *out = NULL;
    if (!c->upstream.tls)
        return OK;
    *out = tls_client_new(&s, err, n);
    return *out ? OK : ERR_CONFIG;
}

static int start_workers(struct app *a)
{
    for (unsigned i = 0; i < a->nworkers; i++) {
        struct gate_parts parts = {
            .config = a->config,
            .tls = a->tls,
            .audit = a->audit,
            .principals = a->principals,
            .introspector = a->introspector,
            .unknown_kid = on_unknown_kid,
            .arg = a,
            .index = i,
        };
        a->workers[i] = worker_new(i);
        if (!a->workers[i])
            return ERR_NOMEM;
        parts.worker = a->workers[i];
        parts.loop = worker_loop(a->workers[i]);
        a->gates[i] = gate_new(&parts);
        if (!a->gates[i])
            return ERR_NOMEM;
        a->ngates = i + 1;
        worker_set(a->workers[i], gate_accept, a->gates[i]);
        if (worker_start(a->workers[i]) != OK)
            return ERR_IO;
        a->started = i + 1;
    }
    return OK;
}

static void begin_drain(struct app *a);
static void reload(struct app *a);
static bool on_grants_changed(void *arg);

static void on_signal(void *arg, unsigned ready)
{
    struct app *a = arg;
    struct signalfd_siginfo info;

    (void)ready;
    while (read(a->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            reload(a);
        else if (!a->draining)
            begin_drain(a);
        else
            loop_stop(a->loop); /* asked twice: at once */
    }
}

/* Before any thread starts, so that all inherit the mask. */
static int take_signals(struct app *a)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return ERR_IO;
    a->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (a->signal_fd < 0)
        return ERR_IO;
    a->signals = loop_io_new(a->loop, a->signal_fd, on_signal, a);
    return a->signals ? loop_io_want(a->signals, LOOP_READ) : ERR_NOMEM;
}

static void audit_simple(struct app *a, enum audit_kind kind, const char *reason)
{
    struct audit_event e = {.kind = kind, .reason = reason};

    audit_put(a->ring, &e);
}

static void log_warnings(const struct config *c)
{
    const struct strings *w = config_warnings(c);

    for (size_t i = 0; i < w->count; i++)
        log_warn("config", "%s", w->at[i]);
}

/* The source of tokens for the brokers, where the configuration asks for one; replaces the last. */
static int start_tokens(struct app *a, const struct config *c)
{
    oauth_source_free(a->tokens);
    a->tokens = NULL;
    if (c->upstream.mechanism != SASL_OAUTHBEARER)
        return OK;
    a->tokens =
        oauth_source_new(a->loop, &c->upstream, c->development, c->outgoing.ca, on_token, a);
    return a->tokens ? OK : ERR_CONFIG;
}

static int start_parts(struct app *a, char *err, size_t n)
{
    const struct config *c = a->config;
    const struct store_peers peers = {a->nworkers, a, apply_change};
    int rc;

    snprintf(err, n, "out of memory or descriptors");
    a->audit = audit_open(c->audit.file, c->audit.stop_on_failure, err, n);
    if (!a->audit || !(a->ring = audit_ring_new(a->audit)))
        return ERR_CONFIG;
    a->tls = make_server_tls(c, err, n);
    if (!a->tls || make_upstream_tls(c, &a->upstream_tls, err, n) != OK)
        return ERR_CONFIG;
    a->store = store_open(c->store_path, a->loop, c, err, n);
    if (!a->store) {
        log_error("run", "store.path %s", c->store_path);
        return ERR_CONFIG;
    }
    a->principals = principals_new();
    a->resolver = resolver_new();
    if (!a->principals || !a->resolver)
        return ERR_NOMEM;
    a->introspector = introspect_new(
        a->loop, c,
        &(struct introspect_parts){.arg = a, .revoke = on_inactive, .unconfirmed = on_unconfirmed});
    if (!a->introspector)
        return ERR_NOMEM;
    rc = start_workers(a);
    if (rc != OK)
        return rc;
    a->view = (struct view){a->workers, a->gates, a->ngates, a->mailbox, a->audit, a->introspector};
    tell_all(a, NEWS_START);
    if (rc == OK)
        rc = store_config_grants(a->store, c, NULL, NULL);
    if (rc == OK)
        rc = store_start(a->store, &peers, on_grants_ready, a);
    if (rc != OK)
        return rc;
    snprintf(err, n, "the issuers' keys: see the log");
    a->fetcher = jwks_fetcher_new(a->loop, c, on_keys, a);
    if (!a->fetcher)
        return ERR_CONFIG;
    return start_tokens(a, c);
}

static int start_listeners(struct app *a, char *err, size_t n)
{
    const struct control_gate gate = {
        .arg = a,
        .not_ready = not_ready,
        .sessions = list_sessions,
        .usage = usage,
        .metrics = metrics,
        .store = a->store,
        .keys = control_keys,
        .unknown_kid = control_unknown_kid,
        .audit = a->ring,
    };

    const struct edc_parts parts = {
        .arg = a,
        .changes = {.store = a->store, .audit = a->ring},
        .keys = control_keys,
        .unknown_kid = control_unknown_kid,
    };

    a->control = control_new(a->loop, a->config, &gate, err, n);
    a->watch = grants_watch_new(a->loop, a->config, on_grants_changed, a);
    if (!a->watch)
        return ERR_NOMEM;
    a->edc = a->control ? edc_new(a->loop, a->config, &parts, err, n) : NULL;
    if (!a->edc)
        return ERR_CONFIG;
    a->listener = listener_new(a->config, a->workers, a->nworkers, err, n);
    if (!a->listener || listener_start(a->listener) != OK)
        return ERR_CONFIG;
    log_info("run", "clients at %s:%u (advertised %s:%u), control at %s:%u, %u workers",
             a->config->listen.host, listener_port(a->listener), a->config->advertise.host,
             a->config->advertise.port, a->config->control.listen.host, control_port(a->control),
             a->nworkers);
    return OK;
}

/* --- reloading: a bad file changes nothing */

/* The parts that may refuse. False: all have the old configuration. */
static bool reconfigure(struct app *a, const struct config *c)
{
    if (control_config(a->control, c) == OK && edc_config(a->edc, c) == OK &&
        jwks_fetcher_config(a->fetcher, c) == OK)
        return true;
    if (control_config(a->control, a->config) != OK || edc_config(a->edc, a->config) != OK)
        log_error("run", "reload: parts of the new configuration stay in force");
    return false;
}

static void reload(struct app *a)
{
    char err[ERR_TEXT] = "";
    struct config *c = config_load(a->file, err, sizeof(err));
    struct tls_context *tls = NULL, *upstream = NULL;
    const struct config *old = a->config;
    const char *restart;
    const struct audit_event failed = {.kind = AUDIT_RELOAD, .reason = "failed", .failed = true};

    audit_reopen(a->audit);
    if (c)
        tls = make_server_tls(c, err, sizeof(err));
    if (!c || !tls || make_upstream_tls(c, &upstream, err, sizeof(err)) != OK ||
        !reconfigure(a, c)) {
        log_error("run", "reload: nothing has changed: %s", err[0] ? err : "see the lines above");
        audit_put(a->ring, &failed);
        tls_unref(tls);
        tls_unref(upstream);
        config_unref(c);
        return;
    }
    restart = config_restart_option(old, c);
    if (restart)
        log_warn("run", "reload: %s takes effect at the next start", restart);
    tls_unref(a->tls);
    tls_unref(a->upstream_tls);
    a->tls = tls;
    a->upstream_tls = upstream;
    a->config = c;
    listener_config(a->listener, c);
    grants_watch_config(a->watch, c);
    introspect_config(a->introspector, c);
    tell_all(a, NEWS_CONFIG);
    if (start_tokens(a, c) != OK)
        log_error("run", "reload: no tokens for the brokers: see the lines above");
    if (store_config_grants(a->store, c, NULL, NULL) != OK)
        log_error("run", "reload: the grants could not be taken over");
    config_unref(old);
    log_warnings(c);
    log_info("run", "reload: %s", a->file);
    audit_simple(a, AUDIT_RELOAD, "done");
}

/* The folder of grants holds others than before. */
static bool on_grants_changed(void *arg)
{
    struct app *a = arg;
    char err[ERR_TEXT] = "";
    const struct config *c = config_grants_reload(a->config, err, sizeof(err));
    const struct audit_event failed = {
        .kind = AUDIT_RELOAD, .reason = "grants_dir: failed", .failed = true};
    int rc;

    if (!c) {
        log_error("run", "grants_dir: nothing has changed: %s", err);
        audit_put(a->ring, &failed);
        return true;
    }
    rc = store_config_grants(a->store, c, NULL, NULL);
    if (rc != OK) {
        log_error("run", "grants_dir: the grants could not be taken over: %s", err_name(rc));
        config_unref(c);
        return false;
    }
    config_unref(a->config);
    a->config = c;
    log_warnings(c);
    log_info("run", "grants_dir: %zu grants of %s", c->ngrants - c->ngrants_own, c->grants_dir);
    audit_simple(a, AUDIT_RELOAD, "grants_dir: done");
    return true;
}

/* --- the end */

static void on_drain(void *arg)
{
    struct app *a = arg;
    unsigned left = 0;

    for (unsigned i = 0; i < a->nworkers; i++)
        left += worker_sessions(a->workers[i]);
    if (left == 0 || loop_clock_us(a->loop) >= a->drain_until_us ||
        loop_timer_set(a->drain, DRAIN_CHECK_US) != OK)
        loop_stop(a->loop);
}

static void begin_drain(struct app *a)
{
    log_info("run", "shutting down");
    a->draining = true;
    grants_watch_free(a->watch);
    a->watch = NULL;
    a->drain_until_us = loop_clock_us(a->loop) +
                        (uint64_t)a->config->limits.drain_timeout_ms * 1000 + DRAIN_GRACE_US;
    listener_stop(a->listener);
    tell_all(a, NEWS_DRAIN);
    if (loop_timer_set(a->drain, DRAIN_CHECK_US) != OK)
        loop_stop(a->loop);
}

/* In the order of dependence; parts that were not made are NULL. */
static void stop_parts(struct app *a)
{
    if (a->listener)
        listener_stop(a->listener);
    grants_watch_free(a->watch);
    control_free(a->control);
    edc_free(a->edc);
    oauth_source_free(a->tokens);
    for (unsigned i = 0; i < a->started; i++)
        worker_stop(a->workers[i]);
    for (unsigned i = 0; i < a->started; i++)
        worker_join(a->workers[i]);
    for (unsigned i = 0; i < a->nworkers; i++) {
        gate_free(a->gates[i]);
        worker_free(a->workers[i]);
    }
    introspect_free(a->introspector);
    a->ngates = 0; /* what the store still has to say has nobody to hear it */
    listener_free(a->listener);
    if (a->store)
        store_close(a->store);
    jwks_fetcher_free(a->fetcher);
    mailbox_free(a->mailbox);
    resolver_free(a->resolver);
    principals_free(a->principals);
    keyring_unref(a->keys);
    tls_unref(a->tls);
    tls_unref(a->upstream_tls);
    if (a->ring) {
        audit_simple(a, AUDIT_STOP, "stopped");
        audit_ring_free(a->ring);
    }
    if (a->audit)
        audit_close(a->audit);
    loop_timer_free(a->drain);
    loop_io_free(a->signals);
    if (a->signal_fd >= 0)
        close(a->signal_fd);
    loop_free(a->loop);
    config_unref(a->config);
    buf_thread_trim(); /* gates are freed here, and their buffers with them */
}

/* Each session needs a descriptor, and one or two for each broker. */
static void raise_descriptors(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0)
        log_warn("run", "the limit of open files stays as it is: %s", strerror(errno));
}

static int run(struct app *a)
{
    char err[ERR_TEXT] = "";
    int rc;

    rc = core_none();
    a->config = config_load(a->file, err, sizeof(err));
    if (!a->config) {
        fputs(err, stderr);
        return 1;
    }
    log_setup((enum log_level)a->config->log_level, a->config->log_json);
    log_warnings(a->config);
    if (rc != OK)
        log_warn("run", "a crash may leave a core dump with secrets in it");
    raise_descriptors();
    a->nworkers = a->config->workers < WORKERS_MAX ? a->config->workers : WORKERS_MAX;
    a->loop = loop_new();
    a->mailbox = a->loop ? mailbox_new(a->loop, a) : NULL;
    a->drain = a->loop ? loop_timer_new(a->loop, on_drain, a) : NULL;
    if (!a->loop || !a->mailbox || !a->drain || take_signals(a) != OK) {
        log_error("run", "not started: out of memory or descriptors");
        return 1;
    }
    rc = start_parts(a, err, sizeof(err));
    if (rc == OK) {
        audit_simple(a, AUDIT_START, "started");
        rc = start_listeners(a, err, sizeof(err));
    }
    if (rc != OK) {
        log_error("run", "not started: %s", err);
        return 1;
    }
    return loop_run(a->loop) == OK ? 0 : 1;
}

int run_main(int argc, char **argv)
{
    struct app *a;
    int code;

    if (argc != 3 || strcmp(argv[1], "-c") != 0) {
        fprintf(stderr, "usage: sluice run -c FILE\n");
        return 2;
    }
    a = sl_calloc(1, sizeof(*a));
    if (!a) {
        fprintf(stderr, "sluice: out of memory\n");
        return 1;
    }
    a->file = argv[2];
    a->signal_fd = -1;
    code = run(a);
    stop_parts(a);
    sl_free(a);
    return code;
}
