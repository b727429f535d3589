#include "proxy/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/mailbox.h"

/* How long a thread that is looking up is waited for at the end. */
#define JOIN_S 1

struct cached {
    char host[RESOLVE_HOST_MAX + 1]; /* "": free */
    int64_t until_s;
    int result;
    struct addresses addresses;
};

struct resolver {
    pthread_t thread;
    struct mailbox *questions;
    resolve_lookup_fn *lookup;
    void *arg;
    atomic_uint refs; /* the owner's, the thread's, a port's each */
    atomic_bool stopping;
    struct mail stop;
    pthread_mutex_t lock; /* over the ports' boxes: a question may outlive its port */
    struct cached cache[RESOLVE_CACHE_MAX]; /* the thread's alone */
};

struct resolve_port {
    struct resolver *resolver;
    struct mailbox *box; /* NULL once freed; under the resolver's lock */
    atomic_uint refs;    /* the worker's, and one a question */
    unsigned waiting;    /* the worker's count */
};

struct resolve_question {
    struct mail mail;
    struct resolve_port *port;
    void (*fn)(void *arg, int result, const struct addresses *a); /* the worker's */
    void *arg;
    atomic_bool cancelled;
    uint16_t number;
    int result;
    struct addresses addresses;
    char host[RESOLVE_HOST_MAX + 1];
};

static int64_t clock_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

int resolve_numeric(const char *host, uint16_t port, struct addresses *out)
{
    struct address *a = &out->at[0];
    memset(a, 0, sizeof(*a));
    out->count = 1;
    if (inet_pton(AF_INET, host, &a->u.v4.sin_addr) == 1) {
        a->u.v4.sin_family = AF_INET;
        a->u.v4.sin_port = htons(port);
        a->len = sizeof(a->u.v4);
        return OK;
    }
    if (inet_pton(AF_INET6, host, &a->u.v6.sin6_addr) == 1) {
        a->u.v6.sin6_family = AF_INET6;
        a->u.v6.sin6_port = htons(port);
        a->len = sizeof(a->u.v6);
        return OK;
    }
    out->count = 0;
    return ERR_UNKNOWN;
}

static int lookup_system(void *arg, const char *host, struct addresses *out)
{
    (void)arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
    out->count = 0;
    if (getaddrinfo(host, NULL, &hints, &list))
        return ERR_UNKNOWN;
    for (const struct addrinfo *ai = list; ai && out->count < RESOLVE_ADDRESSES_MAX;
         ai = ai->ai_next) {
        struct address *a = &out->at[out->count];
        if ((ai->ai_family != AF_INET && ai->ai_family != AF_INET6) ||
            ai->ai_addrlen > sizeof(a->u))
            continue;
        memset(a, 0, sizeof(*a));
        memcpy(&a->u, ai->ai_addr, ai->ai_addrlen);
        a->len = ai->ai_addrlen;
        out->count++;
    }
    freeaddrinfo(list);
    return out->count ? OK : ERR_UNKNOWN;
}

static void resolver_unref(struct resolver *r)
{
    if (atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    mailbox_free(r->questions);
    pthread_mutex_destroy(&r->lock);
    sl_free(r);
}

static void port_unref(struct resolve_port *p)
{
    if (atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    struct resolver *r = p->resolver;
    sl_free(p);
    resolver_unref(r);
}

static void question_free(struct resolve_question *q)
{
    struct resolve_port *p = q->port;
    sl_free(q);
    port_unref(p);
}

/* The slot of this name, or the one to put it into: a free one, else the first to expire. */
static struct cached *cache_slot(struct resolver *r, const char *host)
{
    struct cached *best = &r->cache[0];
    for (size_t i = 0; i < RESOLVE_CACHE_MAX; i++) {
        struct cached *c = &r->cache[i];
        if (strcmp(c->host, host) == 0)
            return c;
        if (c->until_s < best->until_s)
            best = c;
    }
    return best;
}

static void answer(struct resolver *r, struct resolve_question *q)
{
    struct cached *c = cache_slot(r, q->host);
    int64_t now_s = clock_s();
    if (strcmp(c->host, q->host) != 0 || c->until_s <= now_s) {
        c->result = r->lookup(r->arg, q->host, &c->addresses);
        memcpy(c->host, q->host, sizeof(c->host));
        c->until_s = clock_s() + (c->result ? RESOLVE_FAILURE_TTL_S : RESOLVE_TTL_S);
    }
    q->result = c->result;
    q->addresses = c->addresses;
    for (unsigned i = 0; i < q->addresses.count; i++) {
        struct address *a = &q->addresses.at[i];
        if (a->u.any.sa_family == AF_INET)
            a->u.v4.sin_port = htons(q->number);
        else
            a->u.v6.sin6_port = htons(q->number);
    }
}

/* In the worker's thread. */
static void deliver_answer(void *receiver, struct mail *m)
{
    struct resolve_port *p = receiver;
    struct resolve_question *q = (struct resolve_question *)m;
    p->waiting--;
    if (p->box && !atomic_load(&q->cancelled))
        q->fn(q->arg, q->result, &q->addresses);
    question_free(q);
}

/* In the resolver's thread. */
static void deliver_question(void *receiver, struct mail *m)
{
    struct resolver *r = receiver;
    struct resolve_question *q = (struct resolve_question *)m;
    if (!atomic_load(&q->cancelled) && !atomic_load(&r->stopping))
        answer(r, q);
    else
        q->result = ERR_UNKNOWN;
    m->deliver = deliver_answer;
    pthread_mutex_lock(&r->lock);
    bool posted = q->port->box && mailbox_post(q->port->box, m) == OK;
    pthread_mutex_unlock(&r->lock);
    /* The port's box holds at most RESOLVE_WAITING_MAX mails, so only a freed port gets here. */
    if (!posted)
        question_free(q);
}

static void deliver_stop(void *receiver, struct mail *m)
{
    (void)receiver;
    (void)m;
}

static void *resolver_main(void *arg)
{
    struct resolver *r = arg;
    while (!atomic_load(&r->stopping))
        if (mailbox_wait(r->questions, -1) != OK)
            break;
    /* Nobody asks any more, but a question may have come just before. */
    while (mailbox_wait(r->questions, 0) == OK)
        ;
    resolver_unref(r);
    return NULL;
}

struct resolver *resolver_new(void)
{
    return resolver_new_with(lookup_system, NULL);
}

/* The thread takes no signals: they are the control thread's. */
static int start_thread(struct resolver *r)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int e = pthread_create(&r->thread, NULL, resolver_main, r);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return e ? ERR_NOMEM : OK;
}

struct resolver *resolver_new_with(resolve_lookup_fn *lookup, void *arg)
{
    struct resolver *r = sl_calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->lookup = lookup;
    r->arg = arg;
    r->stop.deliver = deliver_stop;
    atomic_init(&r->refs, 2);
    pthread_mutex_init(&r->lock, NULL);
    r->questions = mailbox_new(NULL, r);
    if (!r->questions || start_thread(r)) {
        if (r->questions)
            mailbox_free(r->questions);
        pthread_mutex_destroy(&r->lock);
        sl_free(r);
        return NULL;
    }
    return r;
}

void resolver_free(struct resolver *r)
{
    if (!r)
        return;
    atomic_store(&r->stopping, true);
    /* A box that is full wakes the thread by itself. */
    (void)!mailbox_post(r->questions, &r->stop);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_S;
    if (pthread_timedjoin_np(r->thread, NULL, &until))
        pthread_detach(r->thread);
    resolver_unref(r);
}

struct resolve_port *resolve_port_new(struct resolver *r, struct loop *l)
{
    struct resolve_port *p = sl_calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->box = mailbox_new(l, p);
    if (!p->box) {
        sl_free(p);
        return NULL;
    }
    p->resolver = r;
    atomic_init(&p->refs, 1);
    atomic_fetch_add(&r->refs, 1);
    return p;
}

void resolve_port_free(struct resolve_port *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->resolver->lock);
    struct mailbox *box = p->box;
    p->box = NULL;
    pthread_mutex_unlock(&p->resolver->lock);
    mailbox_free(box);
    port_unref(p);
}

int resolve_ask(struct resolve_port *p, const char *host, uint16_t port,
                void (*fn)(void *arg, int result, const struct addresses *a), void *arg,
                struct resolve_question **out)
{
    size_t n = strlen(host);
    if (n > RESOLVE_HOST_MAX || p->waiting >= RESOLVE_WAITING_MAX)
        return ERR_LIMIT;
    struct resolve_question *q = sl_calloc(1, sizeof(*q));
    if (!q)
        return ERR_NOMEM;
    memcpy(q->host, host, n);
    q->number = port;
    q->fn = fn;
    q->arg = arg;
    q->port = p;
    q->mail.deliver = deliver_question;
    atomic_fetch_add(&p->refs, 1);
    int e = mailbox_post(p->resolver->questions, &q->mail);
    if (e) {
        question_free(q);
        return e;
    }
    p->waiting++;
    *out = q;
    return OK;
}

void resolve_cancel(struct resolve_question *q)
{
    atomic_store(&q->cancelled, true);
}
