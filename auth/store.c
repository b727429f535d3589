/* How a change travels (store.h draws it):
 *
 *   UPDATE_APPLYING  posted to the workers, acknowledgements are coming in
 *   UPDATE_BARRING   the tokens that it closed are barred on every worker
 *   UPDATE_READY     waits for its turn: changes are committed in the order of their numbers, so
 *                    that what a restart reads is a state that has once been
 *   (batch)          with the store's thread; what is ready meanwhile makes the next transaction
 *
 * pump() moves everything as far as it goes; it runs as a task of the control loop, so no caller is
 * called back from inside its own call. */
#include "auth/store.h"

#include <stdio.h>
#include <string.h>

#include "auth/store_priv.h"
#include "auth/store_plan.h"
#include "auth/store_sweep.h"
#include "auth/text.h"
#include "base/log.h"

#define SWEEP_INTERVAL_US (UINT64_C(600) * 1000000)
/* Between two parts of one round; and between two rounds that a lack of room asks for. */
#define SWEEP_STEP_US (UINT64_C(20) * 1000)
#define SWEEP_ROOM_US (UINT64_C(10) * 1000000)
/* Until what could not be written is tried again, if nothing else is to be written before. */
#define OWED_RETRY_US (UINT64_C(5) * 1000000)
#define BARS_FIRST    8

enum update_state { UPDATE_APPLYING, UPDATE_BARRING, UPDATE_READY };

struct change_ack {
    struct mail mail;
    struct update *u;
    int64_t at;
    bool bars_wanted;
    int err;
    unsigned closed;
    struct revocation **bars; /* of tokens, made by the worker */
    size_t nbars, room;
};

struct update {
    struct update *next;
    struct store *store;
    enum update_state state;
    struct plan first, bars;
    struct change_ack *acks; /* one a worker */
    unsigned waiting;        /* for so many of them */
    unsigned closed;
    int result;
    bool durable, bars_durable;
    bool revokes;
    struct grant *grant; /* of store_grant: taken back when it cannot be kept */
    struct update *back; /* which does so; made before, since memory may be what is short */
    bool unknown_here;   /* our own table could not take it; the workers' may have */
    struct note *note;   /* of store_note: nothing else then */
    struct owed_change *owed;
    store_done_fn *done;
    void *arg;
};

/* One transaction. */
struct batch {
    struct disk_job job;
    struct store *store;
    struct update *updates;
    const struct change **changes;
    const struct note **notes;
    size_t owed; /* so many of those that are owed go along, in front */
};

/* --- a change on its way */

static void ack_clear(struct change_ack *ack)
{
    size_t i;

    for (i = 0; i < ack->nbars; i++)
        revocation_free(ack->bars[i]);
    sl_free(ack->bars);
    memset(ack, 0, sizeof(*ack));
}

static void update_free(struct update *u)
{
    unsigned i;

    for (i = 0; u->acks && i < u->store->peers.count; i++)
        ack_clear(&u->acks[i]);
    sl_free(u->acks);
    plan_clear(&u->first);
    plan_clear(&u->bars);
    grant_unref(u->grant);
    note_free(u->note);
    sl_free(u->owed);
    sl_free(u);
}

/* With what would have taken it back. */
static void update_drop(struct update *u)
{
    if (u->back)
        update_free(u->back);
    update_free(u);
}

static struct update *update_new(struct store *s, bool durable, store_done_fn *done, void *arg)
{
    struct update *u = sl_calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->store = s;
    u->durable = u->bars_durable = durable;
    u->done = done;
    u->arg = arg;
    u->owed = sl_calloc(1, sizeof(*u->owed));
    if (s->started)
        u->acks = sl_calloc(s->peers.count ? s->peers.count : 1, sizeof(*u->acks));
    if (u->owed && (u->acks || !s->started))
        return u;
    update_free(u);
    return NULL;
}

static void update_result(struct update *u, int err)
{
    if (u->result == OK)
        u->result = err;
}

static void on_ack(void *receiver, struct mail *m)
{
    struct change_ack *ack = (struct change_ack *)(void *)m;
    struct store *s = receiver;

    ack->u->waiting--;
    ack->u->closed += ack->closed;
    update_result(ack->u, ack->err);
    loop_post(s->loop, &s->pump);
}

void change_ack_bar(struct change_ack *ack, const struct grant_table *t, const struct identity *id)
{
    size_t room = ack->room ? ack->room * 2 : BARS_FIRST;
    struct revocation **bars;
    struct revocation *r;

    if (!ack->bars_wanted || grant_table_bars(t, id))
        return; /* nothing more to be remembered of this token */
    if (ack->nbars == ack->room) {
        bars = sl_realloc(ack->bars, room * sizeof(struct revocation *));
        if (!bars) {
            ack->err = ERR_NOMEM;
            return;
        }
        ack->bars = bars;
        ack->room = room;
    }
    r = revocation_for_token(id, ack->at, "its transfer was revoked");
    if (r)
        ack->bars[ack->nbars++] = r;
    else
        ack->err = ERR_NOMEM;
}

void change_ack_done(struct change_ack *ack, int err, unsigned closed)
{
    ack->closed = closed;
    if (ack->err == OK)
        ack->err = err;
    ack->mail.deliver = on_ack;
    /* Cannot be full: store_start saw that it holds every acknowledgement that can be on its way.
     */
    if (mailbox_post(ack->u->store->inbox, &ack->mail) != OK)
        log_error("store", "an acknowledgement of a worker was lost");
}

/* To every worker, in the order of numbers. */
static void update_send(struct update *u, const struct change *c, bool bars_wanted)
{
    struct store *s = u->store;
    unsigned i;
    int rc;

    for (i = 0; u->acks && i < s->peers.count; i++) {
        struct change_ack *ack = &u->acks[i];

        ack_clear(ack);
        ack->u = u;
        ack->at = loop_wall_s(s->loop);
        ack->bars_wanted = bars_wanted;
        u->waiting++;
        rc = s->peers.apply(s->peers.arg, i, c, ack);
        if (rc != OK) {
            u->waiting--;
            update_result(u, rc);
            log_error("store", "worker %u cannot take a change: %s", i, err_name(rc));
        }
    }
}

static void update_queue(struct update *u)
{
    struct store *s = u->store;

    *s->updates_end = u;
    s->updates_end = &u->next;
    s->nupdates++;
}

/* From here on the change is in force; there is no way back. */
static void update_start(struct update *u)
{
    struct store *s = u->store;

    u->first.change.number = ++s->number;
    update_result(u, grant_table_apply(s->table, &u->first.change));
    u->unknown_here = u->result != OK;
    update_queue(u);
    update_send(u, &u->first.change, u->revokes);
    loop_post(s->loop, &s->pump);
}

/* The tokens of the sessions that closed, each once. */
static void update_bar(struct update *u)
{
    struct store *s = u->store;
    unsigned i;
    size_t j;

    for (i = 0; u->acks && i < s->peers.count; i++) {
        struct change_ack *ack = &u->acks[i];

        for (j = 0; j < ack->nbars; j++) {
            struct revocation *r = ack->bars[j];

            ack->bars[j] = NULL;
            if (grant_table_knows(s->table, r)) {
                revocation_free(r);
                continue;
            }
            update_result(u, grant_table_revoke(s->table, r));
            update_result(u, plan_revocation(&u->bars, r));
        }
    }
    u->state = u->bars.change.count > 0 ? UPDATE_BARRING : UPDATE_READY;
    if (u->state == UPDATE_READY)
        return;
    if (grant_table_revocations(s->table) > s->revocations_max) {
        update_result(u, ERR_LIMIT);
        u->bars_durable = false;
    }
    u->bars.change.number = ++s->number;
    update_send(u, &u->bars.change, false);
}

/* --- the disk */

static bool may_begin(const struct store *s)
{
    return !s->closing && s->nupdates < STORE_CHANGES_MAX;
}

static void finish(struct store *s, struct update *u, int written);

static void batch_free(struct batch *b)
{
    if (!b)
        return;
    sl_free(b->changes);
    sl_free(b->notes);
    sl_free(b);
}

/* For that many updates, and what is owed; NULL when memory is short. */
static struct batch *batch_new(struct store *s, size_t count)
{
    struct batch *b = sl_calloc(1, sizeof(*b));

    if (!b)
        return NULL;
    b->store = s;
    b->changes = sl_calloc(2 * (s->owed.count + count) + 1, sizeof(struct change *));
    b->notes = sl_calloc(count + 1, sizeof(struct note *));
    b->job.write.changes = b->changes;
    b->job.write.notes = b->notes;
    if (!b->changes || !b->notes) {
        batch_free(b);
        return NULL;
    }
    b->owed = s->owed.count;
    b->job.write.count = owed_list(&s->owed, b->changes);
    return b;
}

/* What of the update belongs on the disk. */
static void batch_add(struct batch *b, const struct update *u)
{
    if (!u->durable || !b->store->disk)
        return;
    if (u->note) {
        b->notes[b->job.write.nnotes++] = u->note;
        return;
    }
    b->changes[b->job.write.count++] = &u->first.change;
    if (u->bars_durable && u->bars.change.count > 0)
        b->changes[b->job.write.count++] = &u->bars.change;
}

static void batch_finish(struct batch *b)
{
    struct store *s = b->store;
    struct update *u, *next;
    int result = b->job.result;

    u = b->updates;
    if (result == OK)
        owed_paid(&s->owed, b->owed);
    if (result == OK && s->owed.lost)
        result = ERR_IO;
    batch_free(b);
    for (; u; u = next) {
        next = u->next;
        finish(s, u, result);
    }
    loop_post(s->loop, &s->pump);
}

static void on_written(struct disk_job *job)
{
    struct batch *b = (struct batch *)(void *)job;

    b->store->busy = false;
    batch_finish(b);
}

/* Takes what is ready off the front of the line. */
static struct update *take_ready(struct store *s, unsigned *count)
{
    struct update *first = s->updates;
    struct update **end = &s->updates;

    *count = 0;
    while (*end && (*end)->state == UPDATE_READY) {
        end = &(*end)->next;
        (*count)++;
    }
    if (*count == 0)
        return NULL;
    s->updates = *end;
    *end = NULL;
    if (!s->updates)
        s->updates_end = &s->updates;
    return first;
}

static void commit(struct store *s)
{
    struct batch *b;
    struct update *u;
    unsigned count;

    if (s->busy)
        return;
    u = take_ready(s, &count);
    if (!u)
        return;
    b = batch_new(s, count);
    if (!b) {
        while (u) {
            struct update *next = u->next;

            finish(s, u, ERR_NOMEM);
            u = next;
        }
        return;
    }
    b->updates = u;
    for (; u; u = u->next)
        batch_add(b, u);
    b->job.done = on_written;
    s->busy = s->disk && disk_job_writes(&b->job) && store_disk_write(s->disk, &b->job) == OK;
    if (!s->busy)
        batch_finish(b);
}

static void pump(void *arg)
{
    struct store *s = arg;
    struct update *u;

    for (u = s->updates; u; u = u->next) {
        if (u->state == UPDATE_APPLYING && u->waiting == 0)
            update_bar(u);
        if (u->state == UPDATE_BARRING && u->waiting == 0)
            u->state = UPDATE_READY;
    }
    commit(s);
}

/* A grant that could not be kept must not stay in force behind its caller's back. Another one that
 * has taken its place meanwhile stays. */
static void take_back(struct update *u)
{
    struct store *s = u->store;

    if (s->closing || (!u->unknown_here && grant_table_find(s->table, u->grant->id) != u->grant))
        return;
    update_start(u->back);
    u->back = NULL;
}

static void owe(struct store *s, struct update *u)
{
    u->owed->first = u->first;
    memset(&u->first, 0, sizeof(u->first));
    if (u->bars_durable) {
        u->owed->bars = u->bars;
        memset(&u->bars, 0, sizeof(u->bars));
    }
    owed_keep(&s->owed, u->owed);
    u->owed = NULL;
    if (store_owes(s) && !s->closing && loop_timer_set(s->sweep, OWED_RETRY_US) != OK)
        log_error("store", "no timer: what could not be written waits for the next change");
}

static void finish(struct store *s, struct update *u, int written)
{
    if (u->durable)
        update_result(u, written);
    if (u->durable && written != OK)
        owe(s, u);
    s->nupdates--;
    if (u->result != OK && u->grant)
        take_back(u);
    if (u->done)
        u->done(u->arg, u->result, u->closed);
    update_drop(u);
}

/* A change like any other. True when the round has come to its end. */
static bool sweep_part(struct store *s, size_t *at, size_t buckets, int64_t grant_margin_s)
{
    const struct sweep sweep = {s->config, loop_wall_s(s->loop), grant_margin_s};
    struct update *u = may_begin(s) ? update_new(s, true, NULL, NULL) : NULL;
    bool ended = false;

    if (!u)
        return true; /* the next round comes */
    if (sweep_plan(&u->first, s->table, &sweep, at, buckets, &ended) == OK &&
        u->first.change.count > 0)
        update_start(u);
    else
        update_free(u);
    return ended;
}

static void on_sweep(void *arg)
{
    struct store *s = arg;
    bool ended = sweep_part(s, &s->sweep_at, SWEEP_BUCKETS, SWEEP_MARGIN_S);
    uint64_t pause = store_owes(s) ? OWED_RETRY_US : SWEEP_INTERVAL_US;

    if (store_owes(s) && store_settle(s, NULL, NULL) != OK)
        log_warn("store", "what could not be written cannot be tried again now");
    if (loop_timer_set(s->sweep, ended ? pause : SWEEP_STEP_US) != OK)
        log_error("store", "no timer: nothing will be swept");
}

/* --- opening and closing */

static void take_limits(struct store *s, const struct config *c)
{
    s->grants_max = c->limits.grants;
    s->revocations_max = c->limits.revocations;
    config_unref(s->config);
    s->config = config_ref(c);
    grant_table_config(s->table, c);
}

struct store *store_open(const char *path, struct loop *control, const struct config *c, char *err,
                         size_t err_bytes)
{
    struct store *s = sl_calloc(1, sizeof(*s));

    if (!s) {
        snprintf(err, err_bytes, "out of memory");
        return NULL;
    }
    s->loop = control;
    s->updates_end = &s->updates;
    owed_init(&s->owed);
    loop_task_init(&s->pump, pump, s);
    s->table = grant_table_new(c);
    s->notes = notes_new();
    s->inbox = mailbox_new(control, s);
    s->sweep = loop_timer_new(control, on_sweep, s);
    if (!s->table || !s->notes || !s->inbox || !s->sweep ||
        loop_timer_set(s->sweep, SWEEP_INTERVAL_US) != OK) {
        snprintf(err, err_bytes, "out of memory");
        goto failed;
    }
    take_limits(s, c);
    if (path && path[0]) {
        s->disk = store_disk_open(path, s->inbox, s->table, s->notes, &s->number, err, err_bytes);
        if (!s->disk)
            goto failed;
    }
    return s;
failed:
    store_close(s);
    return NULL;
}

void store_close(struct store *s)
{
    struct update *u;

    if (!s)
        return;
    s->closing = true;
    store_disk_stop(s->disk);
    mailbox_free(s->inbox); /* delivers what has come */
    for (u = s->updates; u; u = u->next) {
        if (u->waiting > 0)
            update_result(u, ERR_BUSY);
        u->waiting = 0;
        u->state = UPDATE_READY;
    }
    while (s->updates)
        commit(s);
    loop_cancel(&s->pump);
    loop_timer_free(s->sweep);
    store_disk_free(s->disk);
    owed_release(&s->owed);
    grant_table_free(s->table);
    notes_free(s->notes);
    config_unref(s->config);
    sl_free(s);
}

static void on_started(void *arg, int result, unsigned closed)
{
    struct store *s = arg;

    (void)closed;
    if (result != OK)
        log_error("store", "a worker does not know what is in force: %s", err_name(result));
    else if (s->ready)
        s->ready(s->ready_arg);
}

int store_start(struct store *s, const struct store_peers *peers, void (*ready)(void *arg),
                void *arg)
{
    struct update *u;
    int rc;

    if (s->started || s->closing)
        return ERR_BUSY;
    if ((uint64_t)peers->count * (STORE_CHANGES_MAX + 1) >= MAILBOX_MAX)
        return ERR_LIMIT;
    s->peers = *peers;
    s->ready = ready;
    s->ready_arg = arg;
    s->started = true;
    u = update_new(s, false, on_started, s);
    if (!u) {
        s->started = false;
        return ERR_NOMEM;
    }
    rc = plan_all(&u->first, s->table);
    if (rc != OK) {
        update_free(u);
        s->started = false;
        return rc;
    }
    u->first.change.number = ++s->number;
    update_queue(u);
    update_send(u, &u->first.change, false);
    loop_post(s->loop, &s->pump);
    return OK;
}

/* --- changes */

/* Revocations that the table would hold with these. */
static size_t revocations_with(const struct store *s, const struct plan *p)
{
    size_t n = grant_table_revocations(s->table);
    size_t i;

    for (i = 0; i < p->change.count; i++)
        n += p->at[i].kind == CHANGE_REVOKE && !grant_table_knows(s->table, p->at[i].revocation);
    return n;
}

/* Every change begins so. */
static int begin(struct store *s, bool durable, store_done_fn *done, void *arg, struct update **out)
{
    *out = may_begin(s) ? update_new(s, durable, done, arg) : NULL;
    if (*out)
        return OK;
    return may_begin(s) ? ERR_NOMEM : ERR_BUSY;
}

/* Puts it in force, or with an error of its plan away. */
static int go(struct update *u, int rc)
{
    if (rc == OK)
        update_start(u);
    else
        update_drop(u);
    return rc;
}

/* A change that no worker is told of. */
static void line_up(struct update *u)
{
    u->state = UPDATE_READY;
    update_queue(u);
    loop_post(u->store->loop, &u->store->pump);
}

/* At once, all that can go. Not again and again: it looks at everything. */
static void make_room(struct store *s)
{
    uint64_t now_us = loop_clock_us(s->loop);
    size_t at = 0;

    if (s->sweep_room_us != 0 && now_us - s->sweep_room_us < SWEEP_ROOM_US)
        return;
    s->sweep_room_us = now_us;
    (void)sweep_part(s, &at, SIZE_MAX, 0);
}

/* Beyond the bound revocations are still put in force, since closing comes first, but not kept, and
 * the caller hears of it; ERR_LIMIT beyond what is held in spare. */
static int revocations_fit(struct store *s, struct update *u)
{
    if (revocations_with(s, &u->first) > s->revocations_max)
        make_room(s);
    if (revocations_with(s, &u->first) > s->revocations_max + GRANT_REVOCATIONS_SPARE)
        return ERR_LIMIT;
    if (revocations_with(s, &u->first) > s->revocations_max) {
        u->result = ERR_LIMIT;
        u->durable = false;
    }
    return OK;
}

int store_grant(struct store *s, struct grant *g, store_done_fn *done, void *arg)
{
    struct update *u;
    int rc;

    if (may_begin(s) && !grant_table_find(s->table, g->id) &&
        grant_table_grants(s->table) >= s->grants_max) {
        make_room(s);
        if (grant_table_grants(s->table) >= s->grants_max)
            return ERR_LIMIT;
    }
    rc = begin(s, true, done, arg, &u);
    if (rc != OK)
        return rc;
    u->grant = grant_ref(g);
    u->back = update_new(s, true, NULL, NULL);
    if (!u->back || plan_ungrant(&u->back->first, g->id) != OK)
        return go(u, ERR_NOMEM);
    rc = plan_put(&u->first, s->table, g, loop_wall_s(s->loop));
    if (rc == OK && plan_revokes(&u->first) && revocations_with(s, &u->first) > s->revocations_max)
        rc = ERR_LIMIT;
    return go(u, rc);
}

int store_ungrant(struct store *s, const char *id, store_done_fn *done, void *arg)
{
    const struct grant *g = grant_table_find(s->table, id);
    struct update *u;
    int rc;

    if (!may_begin(s))
        return ERR_BUSY;
    if (!g)
        return ERR_UNKNOWN;
    rc = begin(s, true, done, arg, &u);
    return rc == OK ? go(u, plan_lapse(&u->first, g, loop_wall_s(s->loop))) : rc;
}

int store_revoke(struct store *s, const struct revocation *r, store_done_fn *done, void *arg)
{
    struct update *u;
    int rc = begin(s, true, done, arg, &u);

    if (rc != OK)
        return rc;
    u->revokes = true;
    rc = plan_revoke(&u->first, s->table, r);
    return go(u, rc == OK ? revocations_fit(s, u) : rc);
}

int store_config_grants(struct store *s, const struct config *c, store_done_fn *done, void *arg)
{
    struct update *u;
    int rc = begin(s, false, done, arg, &u);

    if (rc != OK)
        return rc;
    rc = plan_config(&u->first, s->table, c, loop_wall_s(s->loop));
    if (rc == OK) {
        u->durable = plan_revokes(&u->first); /* the grants themselves are in the file */
        rc = revocations_fit(s, u);
    }
    if (rc == OK)
        take_limits(s, c);
    return go(u, rc);
}

int store_note(struct store *s, const char *kind, const char *id, const char *text,
               store_done_fn *done, void *arg)
{
    struct update *u;
    int rc = begin(s, true, done, arg, &u);

    if (rc != OK)
        return rc;
    u->note = note_new(kind, id, text);
    rc = u->note ? notes_put(s->notes, kind, id, text) : ERR_NOMEM;
    if (rc == OK)
        line_up(u);
    else
        update_free(u);
    return rc;
}

int store_settle(struct store *s, store_done_fn *done, void *arg)
{
    struct update *u;
    int rc = begin(s, true, done, arg, &u);

    if (rc == OK) {
        u->first.change.number = ++s->number;
        line_up(u);
    }
    return rc;
}
