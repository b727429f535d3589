#include "tests/unit/unit.h"

#include "tests/unit/ends.h"

/* --- transfer */

struct transfer {
    uint64_t up, down;
    size_t slow_bytes;
    bool bulk;
};

static void transfer(struct tls_context *sctx, struct tls_context *cctx, struct transfer x)
{
    struct end server = {.to_send = x.down, .expect = x.up, .slow_bytes = x.slow_bytes};
    struct end client = {.to_send = x.up, .expect = x.down};
    join(&server, sctx, &client, cctx);
    transport_bulk(&client.t, x.bulk);
    transport_bulk(&server.t, x.bulk);
    run_until_failed(1); /* whichever end has all finishes; the other hears of it */
    assert_int_equal(server.ready, 1);
    assert_int_equal(client.ready, 1);
    assert_int_equal(server.failed ? server.why : client.why, ERR_EOF);
    assert_int_equal(server.received, x.up);
    assert_int_equal(client.received, x.down);
    assert_int_equal(server.t.stats.bytes_in, x.up);
    assert_int_equal(server.t.stats.bytes_out, x.down);
    assert_int_equal(client.t.stats.bytes_in, x.down);
    assert_int_equal(client.t.stats.bytes_out, x.up);
    end_release(&server);
    end_release(&client);
    assert_int_equal(buf_thread_bytes(), 0);
}

static void transfer_all_ways(struct tls_context *sctx, struct tls_context *cctx)
{
    transfer(sctx, cctx, (struct transfer){.up = 1, .down = 1});
    transfer(sctx, cctx, (struct transfer){.up = 16384, .down = 16385});
    transfer(sctx, cctx, (struct transfer){.up = 3000000, .down = 5000000, .bulk = true});
    transfer(sctx, cctx, (struct transfer){.up = 2000000, .down = 700000});
    transfer(sctx, cctx, (struct transfer){.up = 0, .down = 1000000});
    transfer(sctx, cctx, (struct transfer){.up = 6000000, .down = 9, .slow_bytes = 50000});
    tls_unref(sctx);
    tls_unref(cctx);
}

static void test_plain_transfer(void **state)
{
    (void)state;
    transfer_all_ways(NULL, NULL);
}

static void test_tls13_transfer(void **state)
{
    (void)state;
    transfer_all_ways(server_context(13, 0), client_context(false));
}

static void test_tls12_transfer(void **state)
{
    (void)state;
    transfer_all_ways(server_context(12, 0), only_12(client_context(false)));
}

/* --- random cuts: every byte goes through a relay that passes on pieces of any size */

struct relay {
    int from, to;
    struct loop_io *io;
    size_t passed, corrupt; /* the byte to spoil; 0: none */
};

static void relay_on(void *arg, unsigned ready)
{
    struct relay *r = arg;
    (void)ready;
    uint8_t piece[3000];
    ssize_t n = read(r->from, piece, 1 + roll(roll(2) ? 30 : sizeof(piece)));
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        (void)shutdown(r->to, SHUT_WR);
        assert_int_equal(loop_io_want(r->io, 0), OK);
        return;
    }
    if (r->corrupt >= r->passed && r->corrupt < r->passed + (size_t)n)
        piece[r->corrupt - r->passed] ^= r->corrupt ? 1 : 0;
    r->passed += (size_t)n;
    for (ssize_t at = 0; at < n;) {
        ssize_t w = send(r->to, piece + at, (size_t)(n - at), MSG_NOSIGNAL);
        if (w < 0) {
            assert_int_equal(errno, EAGAIN);
            struct pollfd p = {.fd = r->to, .events = POLLOUT};
            /* The receiver may be behind us in this very loop. */
            if (poll(&p, 1, 2000) != 1)
                fail_msg("the relay is stuck");
            continue;
        }
        at += w;
    }
}

static void cut_transfer(struct tls_context *sctx, struct tls_context *cctx, size_t corrupt)
{
    struct end server = {.to_send = 200000, .expect = 150000};
    struct end client = {.to_send = 150000, .expect = 200000};
    int a[2], b[2], big = 1 << 20;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b), 0);
    assert_int_equal(setsockopt(a[1], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big)), 0);
    assert_int_equal(setsockopt(b[1], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big)), 0);
    struct relay there = {.from = a[1], .to = b[1], .corrupt = corrupt};
    struct relay back = {.from = b[1], .to = a[1]};
    there.io = loop_io_new(loop, a[1], relay_on, &there);
    back.io = loop_io_new(loop, b[1], relay_on, &back);
    assert_int_equal(loop_io_want(there.io, LOOP_READ), OK);
    assert_int_equal(loop_io_want(back.io, LOOP_READ), OK);
    assert_int_equal(transport_accept(&server.t, loop, a[0], sctx, &events, &server, LIMIT, LIMIT),
                     OK);
    /* A server's end would do for plain; TLS needs a client, whose way in is connect. */
    struct sockaddr_in addr;
    int listener = listen_on(&addr);
    assert_int_equal(transport_connect(&client.t, loop, (struct sockaddr *)&addr, sizeof(addr),
                                       cctx, "localhost", &events, &client, LIMIT, LIMIT),
                     OK);
    close(accept_one(listener));
    close(listener);
    assert_true(dup2(b[0], client.t.fd) >= 0);
    close(b[0]);
    run_until_failed(1);
    if (corrupt) {
        assert_true(client.received < server.to_send);
        assert_int_equal(client.why, ERR_TLS);
        assert_string_equal(client.text, "TLS failed: decryption failed or bad record mac");
    } else {
        assert_int_equal(server.received, client.to_send);
        assert_int_equal(client.received, server.to_send);
    }
    end_release(&server);
    end_release(&client);
    loop_io_free(there.io);
    loop_io_free(back.io);
    close(a[1]);
    close(b[1]);
    tls_unref(sctx);
    tls_unref(cctx);
}

static void test_transfer_in_pieces_of_any_size(void **state)
{
    (void)state;
    cut_transfer(NULL, NULL, 0);
    cut_transfer(server_context(13, 0), client_context(false), 0);
    cut_transfer(server_context(12, 0), only_12(client_context(false)), 0);
}

static void test_a_spoiled_byte_ends_the_connection(void **state)
{
    (void)state;
    for (size_t at = 3000; at < 150000; at += 20011) {
        cut_transfer(server_context(13, 0), client_context(false), at);
        cut_transfer(server_context(12, 0), only_12(client_context(false)), at);
    }
}

/* --- the ends of a connection */

static void half_close(struct tls_context *sctx, struct tls_context *cctx)
{
    /* The client says all it has and closes its half; the server, which is not reading at that
     * moment, still answers, and hears of the end when it goes on. */
    struct end server = {.stay = true}, client = {.to_send = 1000};
    join(&server, sctx, &client, cctx);
    run_until(server.failed);
    assert_int_equal(server.received, 1000);
    assert_int_equal(server.failed, 1);
    end_release(&server);
    end_release(&client);

    server = (struct end){.to_send = 0, .stay = true};
    client = (struct end){.to_send = 1000};
    join(&server, sctx, &client, cctx);
    transport_pause(&server.t, true);
    run_until(server.ready && client.t.fin_sent);
    run_for(5000);
    assert_int_equal(server.failed, 0);
    assert_int_equal(server.ready, 1);
    server.to_send = 50000;
    server.stay = false;
    pump(&server);
    run_until_failed(1);
    assert_int_equal(client.received, 50000);
    assert_int_equal(client.why, ERR_EOF);
    assert_int_equal(server.failed, 0);
    transport_pause(&server.t, false);
    run_until_failed(1);
    assert_int_equal(server.received, 1000);
    assert_int_equal(server.why, ERR_EOF);
    end_release(&server);
    end_release(&client);

    /* The end came together with the last bytes, to a reader that had stopped by then. */
    server = (struct end){.slow_bytes = 100, .stay = true};
    client = (struct end){.to_send = 1000};
    join(&server, sctx, &client, cctx);
    run_until_failed(1);
    assert_int_equal(server.why, ERR_EOF);
    assert_int_equal(server.received, 1000);
    end_release(&server);
    end_release(&client);
    tls_unref(sctx);
    tls_unref(cctx);
}

static void test_half_close(void **state)
{
    (void)state;
    half_close(NULL, NULL);
    half_close(server_context(12, 0), client_context(false));
    half_close(server_context(12, 0), only_12(client_context(false)));
}

static ssize_t read_to_end(int fd, size_t *total)
{
    char bytes[65536];
    struct timeval most = {.tv_sec = 5};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
    ssize_t n;
    *total = 0;
    while ((n = read(fd, bytes, sizeof(bytes))) > 0)
        *total += (size_t)n;
    return n;
}

static void test_a_hard_close_resets_and_a_soft_one_delivers(void **state)
{
    (void)state;
    for (int hard = 0; hard <= 1; hard++) {
        struct end server = {.to_send = 100000, .stay = true};
        int fd = raw_peer(&server, NULL);
        run_until(server.t.stats.bytes_out == 100000);
        assert_int_equal(server.t.stats.bytes_out, 100000);
        /* Unread bytes on our side must not turn a soft close into a reset. */
        transport_pause(&server.t, true);
        assert_int_equal(write(fd, "unread", 6), 6);
        transport_close(&server.t, hard);
        size_t total;
        ssize_t end = read_to_end(fd, &total);
        if (hard) {
            assert_int_equal(end, -1);
            assert_int_equal(errno, ECONNRESET);
        } else {
            assert_int_equal(end, 0);
            assert_int_equal(total, 100000);
        }
        close(fd);
        assert_int_equal(server.failed, 0);
        end_release(&server);
    }
}

/* The peer reads slowly, so that the kernel still holds most when the cut comes. */
static void test_a_cut_lets_nothing_more_out(void **state)
{
    (void)state;
    struct end server = {.to_send = 100000, .stay = true};
    int fd = raw_peer(&server, NULL);
    run_until(server.t.stats.bytes_out == 100000);
    transport_cut(&server.t);
    size_t total;
    assert_int_equal(read_to_end(fd, &total), -1);
    assert_int_equal(errno, ECONNRESET);
    close(fd);
    transport_close(&server.t, true);
    transport_cut(&server.t); /* closed: nothing */
    assert_int_equal(server.failed, 0);
    end_release(&server);
}

static void test_a_reset_is_an_error_with_its_reason(void **state)
{
    (void)state;
    struct end server = {.stay = true};
    int fd = raw_peer(&server, NULL);
    run_until(server.ready);
    struct linger none = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)), 0);
    close(fd);
    run_until_failed(1);
    assert_int_equal(server.why, ERR_IO);
    assert_string_equal(server.text, "Connection reset by peer");
    end_release(&server);
}

static void test_a_refused_connection_is_told(void **state)
{
    (void)state;
    struct sockaddr_in addr;
    close(listen_on(&addr));
    struct end client = {.stay = true};
    int err = transport_connect(&client.t, loop, (struct sockaddr *)&addr, sizeof(addr), NULL, NULL,
                                &events, &client, LIMIT, LIMIT);
    if (err == OK) {
        run_until_failed(1);
        assert_int_equal(client.why, ERR_IO);
        assert_string_equal(client.text, "Connection refused");
        assert_int_equal(client.ready, 0);
    } else {
        assert_int_equal(err, ERR_IO);
    }
    end_release(&client);
    struct transport zero;
    memset(&zero, 0, sizeof(zero));
    transport_close(&zero, true);
}

static void test_may_be_freed_inside_its_last_event(void **state)
{
    (void)state;
    struct tls_context *sctx = server_context(12, 0);
    struct end server = {.stay = true, .free_when_told = true};
    int fd = raw_peer(&server, sctx);
    assert_int_equal(write(fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    run_until_failed(1);
    run_for(5000);
    loop_timer_free(server.timer);
    close(fd);
    tls_unref(sctx);
}

static void test_a_full_buffer_stops_reading(void **state)
{
    (void)state;
    struct end server = {.stay = true, .slow_bytes = LIMIT};
    int fd = raw_peer(&server, NULL);
    uint8_t bytes[LIMIT + 5000];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = stream_byte(i);
    assert_int_equal(send(fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
    server.timer = loop_timer_new(loop, stop_loop, NULL);
    run_until((transport_pause(&server.t, false), server.t.in.len == LIMIT));
    run_for(3000);
    assert_int_equal(server.t.in.len, LIMIT);
    take(&server, LIMIT);
    transport_pause(&server.t, false);
    run_until(server.t.in.len == sizeof(bytes) - LIMIT);
    take(&server, server.t.in.len);
    assert_int_equal(server.received, sizeof(bytes));
    close(fd);
    end_release(&server);
}

/* --- memory */

static void test_an_idle_connection_holds_no_buffers(void **state)
{
    (void)state;
    struct tls_context *sctx = server_context(12, 0), *cctx = client_context(false);
    struct end server = {.to_send = 300000, .stay = true};
    struct end client = {.to_send = 300000, .stay = true};
    join(&server, sctx, &client, cctx);
    transport_bulk(&server.t, true);
    run_until(server.received == 300000 && client.received == 300000);
    run_for(5000);
    assert_int_equal(server.received, 300000);
    assert_int_equal(client.received, 300000);
    assert_int_equal(buf_thread_bytes(), 0);
    end_release(&server);
    end_release(&client);
    tls_unref(sctx);
    tls_unref(cctx);
}

static void test_survives_failing_allocations(void **state)
{
    (void)state;
    if (!sl_alloc_fail_after(0))
        skip();
    struct tls_context *sctx = server_context(12, 0), *cctx = client_context(false);
    struct sockaddr_in addr;
    int listener = listen_on(&addr);
    unsigned failed = 1;
    for (unsigned n = 1; failed; n += 1 + n / 16) {
        struct end server = {.to_send = 3000, .expect = 3000};
        struct end client = {.to_send = 3000, .expect = 3000};
        buf_thread_trim();
        struct loop_timer *most = loop_timer_new(loop, stop_loop, NULL);
        assert_int_equal(loop_timer_set(most, 100000), OK);
        (void)sl_alloc_fail_after(n);
        int err = transport_connect(&client.t, loop, (struct sockaddr *)&addr, sizeof(addr), cctx,
                                    "localhost", &events, &client, LIMIT, LIMIT);
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 &&
            transport_accept(&server.t, loop, fd, sctx, &events, &server, LIMIT, LIMIT) != OK)
            close(fd);
        to_hear = 1;
        assert_int_equal(loop_run(loop), OK);
        /* After a failure one side may wait for ever; without one it ends, however slow we are. */
        for (int tries = 0; tries < 100 && !sl_alloc_failed() &&
                            (server.received < 3000 || client.received < 3000);
             tries++) {
            assert_int_equal(loop_timer_set(most, 100000), OK);
            assert_int_equal(loop_run(loop), OK);
        }
        failed = sl_alloc_failed();
        (void)sl_alloc_fail_after(0);
        if (!failed) {
            assert_int_equal(err, OK);
            assert_int_equal(server.received, 3000);
            assert_int_equal(client.received, 3000);
        }
        end_release(&server);
        end_release(&client);
        loop_timer_free(most);
        ERR_clear_error();
    }
    close(listener);
    tls_unref(sctx);
    tls_unref(cctx);
}

int main(void)
{
#ifdef SLUICE_TEST
    if (CRYPTO_set_mem_functions(tls_malloc, tls_realloc, tls_free) != 1)
        return 1;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plain_transfer, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_tls13_transfer, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_tls12_transfer, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_transfer_in_pieces_of_any_size, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_a_spoiled_byte_ends_the_connection, new_loop,
                                        free_loop),
        cmocka_unit_test_setup_teardown(test_half_close, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_a_hard_close_resets_and_a_soft_one_delivers, new_loop,
                                        free_loop),
        cmocka_unit_test_setup_teardown(test_a_cut_lets_nothing_more_out, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_a_reset_is_an_error_with_its_reason, new_loop,
                                        free_loop),
        cmocka_unit_test_setup_teardown(test_a_refused_connection_is_told, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_may_be_freed_inside_its_last_event, new_loop,
                                        free_loop),
        cmocka_unit_test_setup_teardown(test_a_full_buffer_stops_reading, new_loop, free_loop),
        cmocka_unit_test_setup_teardown(test_an_idle_connection_holds_no_buffers, new_loop,
                                        free_loop),
        cmocka_unit_test_setup_teardown(test_survives_failing_allocations, new_loop, free_loop),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
