#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/loop.h"
#include "base/mailbox.h"

#define SENDERS 3
#define LETTERS 20000

struct letter {
    struct mail mail;
    unsigned sender, number;
};

struct office {
    struct loop *loop;
    struct mailbox *box;
    unsigned next[SENDERS];
    unsigned total;
    pthread_t thread;
};

static void read_letter(void *receiver, struct mail *m)
{
    struct office *o = receiver;
    struct letter *l = (struct letter *)m;
    assert_true(pthread_equal(o->thread, pthread_self()));
    assert_int_equal(l->number, o->next[l->sender]);
    o->next[l->sender]++;
    free(l);
    if (++o->total == SENDERS * LETTERS && o->loop)
        loop_stop(o->loop);
}

struct sender {
    struct office *office;
    unsigned number;
};

static void *send_letters(void *arg)
{
    const struct sender *s = arg;
    for (unsigned i = 0; i < LETTERS; i++) {
        struct letter *l = malloc(sizeof(*l));
        assert_non_null(l);
        *l = (struct letter){.mail.deliver = read_letter, .sender = s->number, .number = i};
        while (mailbox_post(s->office->box, &l->mail) == ERR_LIMIT)
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return NULL;
}

static void exchange_letters(struct office *o)
{
    pthread_t threads[SENDERS];
    struct sender senders[SENDERS];
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){o, i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_letters, &senders[i]), 0);
    }
    if (o->loop)
        assert_int_equal(loop_run(o->loop), OK);
    while (o->total < SENDERS * LETTERS)
        assert_int_equal(mailbox_wait(o->box, 10000), OK);
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < SENDERS; i++)
        assert_int_equal(o->next[i], LETTERS);
}

static void test_order_is_kept_per_sender_with_a_loop(void **state)
{
    (void)state;
    struct office o = {.loop = loop_new(), .thread = pthread_self()};
    o.box = mailbox_new(o.loop, &o);
    exchange_letters(&o);
    mailbox_free(o.box);
    loop_free(o.loop);
}

static void test_order_is_kept_per_sender_without_a_loop(void **state)
{
    (void)state;
    struct office o = {.thread = pthread_self()};
    o.box = mailbox_new(NULL, &o);
    exchange_letters(&o);
    assert_int_equal(mailbox_wait(o.box, 0), ERR_TIMEOUT);
    assert_int_equal(mailbox_wait(o.box, 3), ERR_TIMEOUT);
    mailbox_free(o.box);
}

/* Three pipes are readable in one turn; the first callback posts. */
struct busy {
    struct loop *loop;
    struct mailbox *box;
    struct mail mail;
    unsigned callbacks, seen_at; /* callbacks that had run when the mail came */
};

static void on_busy_mail(void *receiver, struct mail *m)
{
    struct busy *b = receiver;
    (void)m;
    b->seen_at = b->callbacks;
}

static void on_busy(void *arg, unsigned ready)
{
    struct busy *b = arg;
    (void)ready;
    if (++b->callbacks == 1)
        assert_int_equal(mailbox_post(b->box, &b->mail), OK);
    if (b->callbacks == 3)
        loop_stop(b->loop);
}

static void test_mail_waits_for_one_callback_only(void **state)
{
    (void)state;
    struct busy b = {.loop = loop_new(), .mail = {.deliver = on_busy_mail}};
    struct loop_io *io[3];
    int fds[3][2];
    b.box = mailbox_new(b.loop, &b);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pipe(fds[i]), 0);
        assert_int_equal(write(fds[i][1], "x", 1), 1);
        io[i] = loop_io_new(b.loop, fds[i][0], on_busy, &b);
        assert_int_equal(loop_io_want(io[i], LOOP_READ), OK);
    }
    assert_int_equal(loop_run(b.loop), OK);
    assert_int_equal(b.seen_at, 1);
    for (unsigned i = 0; i < 3; i++) {
        loop_io_free(io[i]);
        close(fds[i][0]);
        close(fds[i][1]);
    }
    mailbox_free(b.box);
    loop_free(b.loop);
}

static void count_mail(void *receiver, struct mail *m)
{
    (void)m;
    ++*(unsigned *)receiver;
}

static void test_is_bounded_and_free_delivers_the_rest(void **state)
{
    (void)state;
    unsigned count = 0;
    struct mailbox *box = mailbox_new(NULL, &count);
    struct mail *mails = calloc(MAILBOX_MAX + 1, sizeof(*mails));
    assert_non_null(mails);
    for (size_t i = 0; i <= MAILBOX_MAX; i++) {
        mails[i].deliver = count_mail;
        assert_int_equal(mailbox_post(box, &mails[i]), i < MAILBOX_MAX ? OK : ERR_LIMIT);
    }
    assert_int_equal(mailbox_wait(box, 0), OK);
    assert_int_equal(count, MAILBOX_MAX);
    assert_int_equal(mailbox_post(box, &mails[0]), OK);
    mailbox_free(box);
    assert_int_equal(count, MAILBOX_MAX + 1);
    mailbox_free(NULL);
    free(mails);
}

struct chain {
    struct mail mail;
    struct mailbox *box;
    unsigned left;
};

static void post_again(void *receiver, struct mail *m)
{
    struct chain *c = (struct chain *)m;
    ++*(unsigned *)receiver;
    if (c->left--)
        assert_int_equal(mailbox_post(c->box, m), OK);
}

static void test_mail_may_be_posted_while_mail_is_delivered(void **state)
{
    (void)state;
    unsigned count = 0;
    struct chain c = {.mail.deliver = post_again, .left = 3};
    c.box = mailbox_new(NULL, &count);
    assert_int_equal(mailbox_post(c.box, &c.mail), OK);
    for (unsigned i = 1; i <= 2; i++) {
        assert_int_equal(mailbox_wait(c.box, 1000), OK);
        assert_int_equal(count, i);
    }
    mailbox_free(c.box);
    assert_int_equal(count, 4);
}

static void test_survives_failing_allocations(void **state)
{
    (void)state;
    if (!sl_alloc_fail_after(0))
        skip();
    struct loop *l = loop_new();
    for (unsigned n = 1; n <= 2; n++) {
        sl_alloc_fail_after(n);
        assert_null(mailbox_new(l, NULL));
    }
    sl_alloc_fail_after(0);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_is_kept_per_sender_with_a_loop),
        cmocka_unit_test(test_mail_waits_for_one_callback_only),
        cmocka_unit_test(test_order_is_kept_per_sender_without_a_loop),
        cmocka_unit_test(test_is_bounded_and_free_delivers_the_rest),
        cmocka_unit_test(test_mail_may_be_posted_while_mail_is_delivered),
        cmocka_unit_test(test_survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
