#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/loop.h"
#include "proxy/resolve.h"

static atomic_uint lookups;

static int lookup(void *arg, const char *host, struct addresses *out)
{
    (void)arg;
    atomic_fetch_add(&lookups, 1);
    out->count = 0;
    if (!strcmp(host, "slow"))
        usleep(200 * 1000);
    if (!strcmp(host, "none"))
        return ERR_UNKNOWN;
    struct addresses one;
    assert_int_equal(resolve_numeric("127.0.0.1", 1, &one), OK);
    out->at[out->count++] = one.at[0];
    assert_int_equal(resolve_numeric("::1", 1, &one), OK);
    out->at[out->count++] = one.at[0];
    return OK;
}

struct bed {
    struct loop *loop;
    struct resolver *resolver;
    struct resolve_port *port;
};

struct asked {
    struct loop *loop;
    int result, calls;
    struct addresses a;
    unsigned *left;
};

static void answered(void *arg, int result, const struct addresses *a)
{
    struct asked *k = arg;
    k->calls++;
    k->result = result;
    k->a = *a;
    if (--*k->left == 0)
        loop_stop(k->loop);
}

static int setup(void **state)
{
    static struct bed bed;
    bed.loop = loop_new();
    bed.resolver = resolver_new_with(lookup, NULL);
    bed.port = resolve_port_new(bed.resolver, bed.loop);
    atomic_store(&lookups, 0);
    *state = &bed;
    return bed.loop && bed.resolver && bed.port ? 0 : -1;
}

static int teardown(void **state)
{
    struct bed *bed = *state;
    resolve_port_free(bed->port);
    resolver_free(bed->resolver);
    loop_free(bed->loop);
    buf_thread_trim();
    return 0;
}

static void numeric(void **state)
{
    (void)state;
    struct addresses a;
    assert_int_equal(resolve_numeric("192.0.2.7", 9092, &a), OK);
    assert_int_equal(a.count, 1);
    assert_int_equal(ntohs(a.at[0].u.v4.sin_port), 9092);
    assert_int_equal(resolve_numeric("2001:db8::1", 9093, &a), OK);
    assert_int_equal(a.at[0].u.any.sa_family, AF_INET6);
    assert_int_equal(resolve_numeric("kafka-1", 9093, &a), ERR_UNKNOWN);
    assert_int_equal(resolve_numeric("127.1", 9093, &a), ERR_UNKNOWN);
}

static void names_are_cached(void **state)
{
    struct bed *bed = *state;
    unsigned left = 3;
    struct asked k[3];
    struct resolve_question *q;
    for (int i = 0; i < 3; i++) {
        k[i] = (struct asked){.loop = bed->loop, .left = &left};
        assert_int_equal(resolve_ask(bed->port, i == 2 ? "none" : "kafka-1", (uint16_t)(9092 + i),
                                     answered, &k[i], &q),
                         OK);
        assert_int_equal(k[i].calls, 0);
    }
    assert_int_equal(loop_run(bed->loop), OK);
    assert_int_equal(k[0].result, OK);
    assert_int_equal(k[0].a.count, 2);
    assert_int_equal(ntohs(k[0].a.at[0].u.v4.sin_port), 9092);
    assert_int_equal(ntohs(k[1].a.at[0].u.v4.sin_port), 9093);
    assert_int_equal(ntohs(k[1].a.at[1].u.v6.sin6_port), 9093);
    assert_int_not_equal(k[2].result, OK);
    assert_int_equal(atomic_load(&lookups), 2);
}

static void cancelled(void **state)
{
    struct bed *bed = *state;
    unsigned left = 1;
    struct asked k = {.loop = bed->loop, .left = &left}, other = k;
    struct resolve_question *q;
    assert_int_equal(resolve_ask(bed->port, "slow", 1, answered, &k, &q), OK);
    resolve_cancel(q);
    assert_int_equal(resolve_ask(bed->port, "b", 1, answered, &other, &q), OK);
    assert_int_equal(loop_run(bed->loop), OK);
    assert_int_equal(k.calls, 0);
    assert_int_equal(other.calls, 1);
}

/* The port goes while its questions are with the thread: nothing is called, nothing leaks. */
static void freed_with_questions(void **state)
{
    struct bed *bed = *state;
    unsigned left = 2;
    struct asked k = {.loop = bed->loop, .left = &left};
    struct resolve_question *q;
    assert_int_equal(resolve_ask(bed->port, "slow", 1, answered, &k, &q), OK);
    assert_int_equal(resolve_ask(bed->port, "a", 1, answered, &k, &q), OK);
    resolve_port_free(bed->port);
    bed->port = NULL;
    assert_int_equal(k.calls, 0);
}

static void too_many(void **state)
{
    struct bed *bed = *state;
    unsigned left = RESOLVE_WAITING_MAX;
    struct asked k = {.loop = bed->loop, .left = &left};
    struct resolve_question *q;
    for (int i = 0; i < RESOLVE_WAITING_MAX; i++)
        assert_int_equal(resolve_ask(bed->port, "a", 1, answered, &k, &q), OK);
    assert_int_equal(resolve_ask(bed->port, "a", 1, answered, &k, &q), ERR_LIMIT);
    assert_int_equal(loop_run(bed->loop), OK);
    assert_int_equal(k.calls, RESOLVE_WAITING_MAX);
    assert_int_equal(resolve_ask(bed->port, "a", 1, answered, &k, &q), OK);
    char longest[RESOLVE_HOST_MAX + 2];
    memset(longest, 'a', sizeof(longest));
    longest[RESOLVE_HOST_MAX + 1] = 0;
    assert_int_equal(resolve_ask(bed->port, longest, 1, answered, &k, &q), ERR_LIMIT);
}

static void the_systems_resolver(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct resolver *r = resolver_new();
    struct resolve_port *p = resolve_port_new(r, l);
    unsigned left = 1;
    struct asked k = {.loop = l, .left = &left};
    struct resolve_question *q;
    assert_int_equal(resolve_ask(p, "localhost", 9092, answered, &k, &q), OK);
    assert_int_equal(loop_run(l), OK);
    assert_int_equal(k.result, OK);
    assert_true(k.a.count >= 1);
    resolve_port_free(p);
    resolver_free(r);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numeric, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_cached, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(freed_with_questions, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many, setup, teardown),
        cmocka_unit_test(the_systems_resolver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
