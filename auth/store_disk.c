#include "auth/store_disk.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"

struct store_disk {
    struct store_db *db;
    pthread_t thread;
    bool threaded;
    struct mailbox *box, *back;
    bool stop; /* the thread's own */
};

bool disk_job_writes(const struct disk_job *job)
{
    return job->write.count > 0 || job->write.nnotes > 0;
}

static void on_result(void *receiver, struct mail *m)
{
    struct disk_job *job = (struct disk_job *)(void *)m;

    (void)receiver;
    job->done(job);
}

/* In the thread. */
static void on_job(void *receiver, struct mail *m)
{
    struct disk_job *job = (struct disk_job *)(void *)m;
    struct store_disk *d = receiver;

    job->result = store_db_write(d->db, &job->write);
    job->mail.deliver = on_result;
    if (mailbox_post(d->back, &job->mail) != OK)
        log_error("store", "a result was lost");
}

static void on_stop(void *receiver, struct mail *m)
{
    struct store_disk *d = receiver;

    (void)m;
    d->stop = true;
}

static void *thread_main(void *arg)
{
    struct store_disk *d = arg;

    while (!d->stop) {
        if (mailbox_wait(d->box, -1) != OK)
            log_error("store", "waiting for work failed");
    }
    return NULL;
}

/* Signals are for the control thread. */
static bool thread_start(struct store_disk *d)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    d->threaded = pthread_create(&d->thread, NULL, thread_main, d) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return d->threaded;
}

struct store_disk *store_disk_open(const char *path, struct mailbox *back, struct grant_table *t,
                                   struct notes *notes, uint64_t *number, char *err,
                                   size_t err_bytes)
{
    struct store_disk *d = sl_calloc(1, sizeof(*d));

    if (!d) {
        snprintf(err, err_bytes, "out of memory");
        return NULL;
    }
    d->back = back;
    d->db = store_db_open(path, err, err_bytes);
    if (!d->db || store_db_load(d->db, t, notes, number, err, err_bytes) != OK)
        goto failed;
    d->box = mailbox_new(NULL, d);
    if (d->box && thread_start(d))
        return d;
    snprintf(err, err_bytes, "cannot start the store's thread");
failed:
    store_disk_free(d);
    return NULL;
}

int store_disk_write(struct store_disk *d, struct disk_job *job)
{
    int rc = ERR_BUSY;

    job->mail.deliver = on_job;
    if (d->threaded)
        rc = mailbox_post(d->box, &job->mail);
    if (rc != OK)
        job->result = store_db_write(d->db, &job->write);
    return rc;
}

void store_disk_stop(struct store_disk *d)
{
    struct mail stop = {.deliver = on_stop};

    if (!d || !d->threaded)
        return;
    while (mailbox_post(d->box, &stop) != OK)
        ; /* its box holds one job at most */
    pthread_join(d->thread, NULL);
    d->threaded = false;
}

void store_disk_free(struct store_disk *d)
{
    if (!d)
        return;
    store_disk_stop(d);
    mailbox_free(d->box);
    store_db_close(d->db);
    sl_free(d);
}
