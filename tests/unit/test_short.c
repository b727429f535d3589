/* Transports over a kernel that reads and writes a byte at a time, and says EAGAIN or EINTR at
 * every point: the bytes arrive all the same, in clear and in TLS. */
#include "tests/unit/unit.h"

#include "tests/unit/short_io.h"

#include "tests/unit/ends.h"

#define STREAM 400
#define FEW    300 /* where each call of the connection is made to fail in turn */

static unsigned transfer(struct tls_context *sctx, struct tls_context *cctx, unsigned bytes,
                         enum short_mood mood, unsigned at)
{
    struct end server = {.to_send = bytes, .expect = bytes};
    struct end client = {.to_send = bytes, .expect = bytes};
    unsigned calls;

    short_begin(mood, at);
    join(&server, sctx, &client, cctx);
    run_until(server.failed || client.failed);
    /* Who is told of the end closes, though its own goodbye may not have left yet. */
    transport_close(server.failed ? &server.t : &client.t, false);
    run_until(server.failed && client.failed);
    calls = short_calls;
    short_begin(SHORT_NONE, 0);
    assert_int_equal(server.received, bytes);
    assert_int_equal(client.received, bytes);
    assert_true(server.why == ERR_EOF || client.why == ERR_EOF);
    end_release(&server);
    end_release(&client);
    return calls;
}

static void all_moods(struct tls_context *sctx, struct tls_context *cctx)
{
    transfer(sctx, cctx, STREAM, SHORT_BYTES, 0);
    transfer(sctx, cctx, STREAM, SHORT_STUTTER, 0);
    for (int mood = SHORT_INTERRUPT; mood <= SHORT_AGAIN; mood++)
        for (unsigned at = 1; at <= transfer(sctx, cctx, FEW, (enum short_mood)mood, at); at++)
            ;
    if (sctx) {
        tls_unref(sctx);
        tls_unref(cctx);
    }
}

static void plain(void **state)
{
    (void)state;
    all_moods(NULL, NULL);
}

static void tls13(void **state)
{
    (void)state;
    all_moods(server_context(13, 0), client_context(false));
}

static void tls12(void **state)
{
    (void)state;
    all_moods(server_context(12, 0), only_12(client_context(false)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(tls13, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(tls12, new_loop, free_loop),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
