/* A mailbox: how one thread hands work to another. Many senders, one receiver with a loop; an
 * eventfd wakes the receiver, and a busy one looks behind each of its callbacks. A mail is embedded
 * in its sender's object; ownership passes with the post, and the receiver's function decides when
 * it is freed. Order is kept per sender. Bounded: a mailbox takes MAILBOX_MAX mails; beyond it post
 * fails with ERR_LIMIT. */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include <stdbool.h>

#include "base/err.h"

#define MAILBOX_MAX 65536

struct loop;
struct mailbox;

struct mail {
    struct mail *next;
    void (*deliver)(void *receiver, struct mail *m); /* runs in the receiver's thread */
};

/* receiver is what deliver gets. l may be NULL for a thread without a loop, which then calls
 * mailbox_wait. */
struct mailbox *mailbox_new(struct loop *l, void *receiver) SL_MUST;
/* Undelivered mails are delivered first. */
void mailbox_free(struct mailbox *mb);
/* Any thread. On error the mail stays the caller's. */
int mailbox_post(struct mailbox *mb, struct mail *m) SL_MUST;
/* For threads without a loop: blocks until at least one mail was delivered, or timeout_ms passed
 * (-1: none). */
int mailbox_wait(struct mailbox *mb, int timeout_ms) SL_MUST;

#endif
