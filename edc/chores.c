#include "edc/chores.h"

#include <string.h>

#include "auth/text.h"
#include "base/log.h"
#include "base/loop.h"

#define SECOND_US    UINT64_C(1000000)
#define ANSWER_BYTES ((size_t)16 * 1024)

struct chore {
    struct chores *all;
    struct chore *next, **prev;
    char *texts[7]; /* the request's, in the order of struct http_request */
    struct http_call *call;
    struct loop_timer *timer; /* the next try */
    unsigned tries;
    bool due;
    chore_done_fn *done;
    void *arg;
};

struct chores {
    struct loop *loop;
    struct http *http;
    struct chore *first, **last;
    size_t count, most, running;
};

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    sl_free(text);
}

static void chore_free(struct chore *c)
{
    size_t i;

    if (c->prev) {
        *c->prev = c->next;
        if (c->next)
            c->next->prev = c->prev;
        else
            c->all->last = c->prev;
        c->all->count--;
    }
    http_cancel(c->call);
    loop_timer_free(c->timer);
    for (i = 0; i < sizeof(c->texts) / sizeof(c->texts[0]); i++)
        wipe(c->texts[i]);
    sl_free(c);
}

/* The last word on it, whatever it was. */
static void chore_over(struct chore *c, int status)
{
    chore_done_fn *done = c->done;
    void *arg = c->arg;

    if (status == 0 || status >= 500)
        log_warn("chores", "%s: given up after %u tries: status %d", c->texts[0], c->tries, status);
    chore_free(c);
    if (done)
        done(arg, status);
}

static void again(struct chore *c, int status)
{
    uint64_t pause_s = c->tries < 7 ? UINT64_C(1) << (c->tries - 1) : CHORES_PAUSE_MAX_S;

    if (pause_s > CHORES_PAUSE_MAX_S)
        pause_s = CHORES_PAUSE_MAX_S;
    if (c->tries >= CHORES_TRIES || loop_timer_set(c->timer, pause_s * SECOND_US) != OK)
        chore_over(c, status);
}

static void run_due(struct chores *all);

static void on_answer(void *arg, const struct http_answer *a)
{
    struct chore *c = arg;
    struct chores *all = c->all;
    int status = a->result == OK ? a->status : 0;

    c->call = NULL;
    all->running--;
    if (status == 0 || status == 408 || status == 429 || status >= 500)
        again(c, status);
    else
        chore_over(c, status);
    run_due(all);
}

/* May free c. */
static void start(struct chore *c)
{
    struct http_request r = {
        .url = c->texts[0],
        .method = c->texts[1],
        .body = c->texts[2],
        .type = c->texts[3],
        .user = c->texts[4],
        .password = c->texts[5],
        .header = c->texts[6],
        .limit_bytes = ANSWER_BYTES,
    };

    c->due = false;
    c->tries++;
    if (http_start(c->all->http, &r, on_answer, c, &c->call) == OK)
        c->all->running++;
    else
        again(c, 0);
}

/* Whoever was started is no longer due, so this ends. */
static void run_due(struct chores *all)
{
    struct chore *c = all->first;

    while (c && all->running < CHORES_RUNNING) {
        if (!c->due) {
            c = c->next;
            continue;
        }
        start(c);
        c = all->first;
    }
}

static void on_timer(void *arg)
{
    struct chore *c = arg;

    c->due = true;
    run_due(c->all);
}

struct chores *chores_new(struct loop *l, bool development, const char *ca, size_t most)
{
    struct chores *c = sl_calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->loop = l;
    c->most = most;
    c->last = &c->first;
    c->http = http_new(l, development, ca);
    if (c->http)
        return c;
    sl_free(c);
    return NULL;
}

void chores_free(struct chores *c)
{
    if (!c)
        return;
    while (c->first)
        chore_free(c->first);
    http_free(c->http);
    sl_free(c);
}

static bool copy(struct chore *c, const struct http_request *r)
{
    const char *const texts[] = {r->url,  r->method,   r->body,  r->type,
                                 r->user, r->password, r->header};
    size_t i;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        c->texts[i] = texts[i] ? text_dup(texts[i]) : NULL;
        if (texts[i] && !c->texts[i])
            return false;
    }
    return true;
}

int chores_add(struct chores *all, const struct http_request *r, chore_done_fn *done, void *arg)
{
    struct chore *c;

    if (all->count >= all->most)
        return ERR_LIMIT;
    if (!http_url_ok(r->url, true))
        return ERR_MALFORMED;
    c = sl_calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    c->all = all;
    c->done = done;
    c->arg = arg;
    c->timer = loop_timer_new(all->loop, on_timer, c);
    if (!c->timer || !copy(c, r) || loop_timer_set(c->timer, 0) != OK) {
        chore_free(c);
        return ERR_NOMEM;
    }
    c->prev = all->last;
    *all->last = c;
    all->last = &c->next;
    all->count++;
    return OK;
}

int chores_trust(struct chores *all, bool development, const char *ca)
{
    struct http *http = http_new(all->loop, development, ca);
    struct chore *c;

    if (!http)
        return ERR_NOMEM;
    for (c = all->first; c; c = c->next) {
        if (!c->call)
            continue;
        http_cancel(c->call);
        c->call = NULL;
        c->tries--;
        c->due = true;
        all->running--;
    }
    http_free(all->http);
    all->http = http;
    run_due(all);
    return OK;
}

size_t chores_count(const struct chores *c)
{
    return c->count;
}
