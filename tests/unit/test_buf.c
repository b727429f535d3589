#include "tests/unit/unit.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"

static uint64_t seed;

static size_t roll(size_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(seed >> 33) % below;
}

/* --- a buf beside the simplest thing that could do the same */

#define BUFS        4
#define MODEL_BYTES (300 * 1024)

struct model {
    struct buf buf;
    size_t len;
    uint8_t bytes[MODEL_BYTES];
};

static struct model models[BUFS];
static uint8_t next_byte;

static void fill(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = next_byte++;
}

static void check(const struct model *m)
{
    static uint8_t out[MODEL_BYTES];
    assert_int_equal(m->buf.len, m->len);
    buf_copy_out(&m->buf, 0, out, m->len);
    assert_memory_equal(out, m->bytes, m->len);
    size_t sum = 0;
    const struct seg *last = NULL;
    for (const struct seg *s = m->buf.first; s; s = s->next) {
        assert_true(s->len > 0);
        sum += s->len;
        last = s;
    }
    assert_int_equal(sum, m->len);
    assert_ptr_equal(last, m->buf.last);
    if (m->len == 0)
        assert_null(m->buf.tail);
    assert_null(m->buf.spare);
}

static size_t some_size(size_t max)
{
    static const size_t sizes[] = {1, 4, 100, 4096, 5000, 16384, 65536, 90000};
    size_t n = roll(sizes[roll(8)] + 1);
    return n < max ? n : max;
}

static void op_append(struct model *m)
{
    static uint8_t bytes[MODEL_BYTES];
    size_t n = some_size(MODEL_BYTES);
    fill(bytes, n);
    int err = buf_append(&m->buf, bytes, n);
    if (n > m->buf.limit_bytes - m->len) {
        assert_int_equal(err, ERR_LIMIT);
    } else if (err != OK) {
        assert_int_equal(err, ERR_NOMEM);
    } else {
        memcpy(m->bytes + m->len, bytes, n);
        m->len += n;
    }
}

static void op_read(struct model *m)
{
    struct iovec iov[2];
    int count = buf_reserve(&m->buf, roll(2), iov);
    if (m->len >= m->buf.limit_bytes) {
        assert_int_equal(count, ERR_LIMIT);
        return;
    }
    if (count < 0) {
        assert_int_equal(count, ERR_NOMEM);
        return;
    }
    size_t room = 0;
    for (int i = 0; i < count; i++) {
        assert_true(iov[i].iov_len > 0);
        room += iov[i].iov_len;
    }
    assert_true(room <= m->buf.limit_bytes - m->len);
    size_t n = roll(4) == 0 ? room : some_size(room), left = n;
    for (int i = 0; i < count; i++) {
        size_t part = left < iov[i].iov_len ? left : iov[i].iov_len;
        fill(iov[i].iov_base, part);
        memcpy(m->bytes + m->len, iov[i].iov_base, part);
        m->len += part;
        left -= part;
    }
    buf_commit(&m->buf, n);
}

static void op_move(struct model *dst, struct model *src, bool all)
{
    size_t n = all ? src->len : some_size(src->len);
    int err = all ? buf_move(&dst->buf, &src->buf) : buf_move_n(&dst->buf, &src->buf, n);
    if (n > dst->buf.limit_bytes - dst->len) {
        assert_int_equal(err, ERR_LIMIT);
    } else if (err != OK) {
        assert_int_equal(err, ERR_NOMEM);
    } else {
        memcpy(dst->bytes + dst->len, src->bytes, n);
        dst->len += n;
        memmove(src->bytes, src->bytes + n, src->len - n);
        src->len -= n;
    }
}

static void op_share(struct model *dst, const struct model *src)
{
    size_t off = roll(src->len + 1), n = some_size(src->len - off);
    int err = buf_share(&dst->buf, &src->buf, off, n);
    if (n > dst->buf.limit_bytes - dst->len) {
        assert_int_equal(err, ERR_LIMIT);
    } else if (err != OK) {
        assert_int_equal(err, ERR_NOMEM);
    } else {
        memcpy(dst->bytes + dst->len, src->bytes + off, n);
        dst->len += n;
    }
}

static void op_drain(struct model *m)
{
    size_t n = roll(3) == 0 ? m->len : some_size(m->len);
    buf_drain(&m->buf, n);
    memmove(m->bytes, m->bytes + n, m->len - n);
    m->len -= n;
}

static void op_look(const struct model *m)
{
    size_t off = roll(m->len + 1), n = some_size(m->len - off);
    const uint8_t *p = buf_peek(&m->buf, off, n);
    if (p)
        assert_memory_equal(p, m->bytes + off, n);
    struct iovec iov[8];
    int count = buf_front(&m->buf, iov, 8);
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        assert_memory_equal(iov[i].iov_base, m->bytes + at, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    assert_true(count == 8 || at == m->len);
}

static void random_steps(uint64_t with_seed, unsigned steps, unsigned fail_after)
{
    seed = with_seed;
    for (size_t i = 0; i < BUFS; i++) {
        buf_init(&models[i].buf, 1 + roll(MODEL_BYTES));
        models[i].len = 0;
    }
    for (unsigned i = 0; i < steps; i++) {
        size_t a = roll(BUFS), b = (a + 1 + roll(BUFS - 1)) % BUFS;
        /* Memory comes back after a while, so that both states are walked. */
        if (fail_after && i % 64 == 0)
            (void)sl_alloc_fail_after(i % 128 ? 1 + (unsigned)roll(fail_after) : 0);
        switch (roll(8)) {
        case 0:
        case 1:
            op_append(&models[a]);
            break;
        case 2:
        case 3:
            op_read(&models[a]);
            break;
        case 4:
            op_move(&models[a], &models[b], roll(4) == 0);
            break;
        case 5:
            op_share(&models[a], &models[b]);
            break;
        case 6:
            op_drain(&models[a]);
            break;
        case 7:
            op_look(&models[a]);
            break;
        }
        check(&models[a]);
        check(&models[b]);
    }
    (void)sl_alloc_fail_after(0);
    for (size_t i = 0; i < BUFS; i++) {
        buf_release(&models[i].buf);
        buf_release(&models[i].buf);
    }
    assert_int_equal(buf_thread_bytes(), 0);
}

static void test_random_operations_match_the_model(void **state)
{
    (void)state;
    for (uint64_t s = 1; s <= 12; s++)
        random_steps(s, 1200, 0);
}

static void test_random_operations_with_failing_allocations(void **state)
{
    (void)state;
    if (!sl_alloc_fail_after(0))
        skip();
    for (uint64_t s = 100; s <= 112; s++) {
        buf_thread_trim();
        random_steps(s, 1200, 40);
    }
}

/* --- what the model cannot see */

static void test_refuses_what_exceeds_the_limit_and_changes_nothing(void **state)
{
    (void)state;
    struct buf a, b;
    struct iovec iov[2];
    buf_init(&a, 10);
    buf_init(&b, 100);
    assert_int_equal(buf_append(&a, "0123456789", 10), OK);
    assert_int_equal(buf_append(&a, "x", 1), ERR_LIMIT);
    assert_int_equal(buf_reserve(&a, false, iov), ERR_LIMIT);
    assert_int_equal(buf_append(&b, "abc", 3), OK);
    assert_int_equal(buf_move(&a, &b), ERR_LIMIT);
    assert_int_equal(buf_move_n(&a, &b, 1), ERR_LIMIT);
    assert_int_equal(buf_share(&a, &b, 0, 1), ERR_LIMIT);
    assert_int_equal(a.len, 10);
    assert_int_equal(b.len, 3);
    buf_drain(&a, 4);
    assert_int_equal(buf_reserve(&a, false, iov), 1);
    assert_int_equal(iov[0].iov_len, 4);
    buf_commit(&a, 0);
    buf_release(&a);
    buf_release(&b);
}

static void test_records_travel_without_a_copy(void **state)
{
    (void)state;
    struct buf in, out;
    struct iovec iov[2];
    buf_init(&in, 1 << 20);
    buf_init(&out, 1 << 20);
    assert_int_equal(buf_reserve(&in, true, iov), 1);
    memset(iov[0].iov_base, 'r', 50000);
    const void *where = iov[0].iov_base;
    buf_commit(&in, 50000);
    assert_int_equal(buf_append(&out, "head", 4), OK);
    assert_int_equal(buf_move_n(&out, &in, 40000), OK);
    assert_ptr_equal(buf_peek(&out, 4, 40000), where);
    /* The next small piece goes behind the first one, into the same chunk. */
    size_t alive = buf_thread_bytes();
    assert_int_equal(buf_append(&out, "tail", 4), OK);
    assert_int_equal(buf_thread_bytes(), alive);
    /* What is read meanwhile does not touch what is on its way. */
    assert_int_equal(buf_reserve(&in, true, iov), 2);
    memset(iov[0].iov_base, 'x', iov[0].iov_len);
    buf_commit(&in, iov[0].iov_len);
    assert_int_equal(buf_peek(&out, 4, 1)[0], 'r');
    assert_int_equal(buf_peek(&out, 40003, 1)[0], 'r');
    buf_release(&in);
    buf_release(&out);
    assert_int_equal(buf_thread_bytes(), 0);
}

static void test_overwrite_crosses_segments(void **state)
{
    (void)state;
    struct buf a, b;
    buf_init(&a, 100);
    buf_init(&b, 100);
    assert_int_equal(buf_append(&a, "aaaa", 4), OK);
    assert_int_equal(buf_append(&b, "bbbb", 4), OK);
    assert_int_equal(buf_move(&a, &b), OK);
    for (size_t off = 0; off <= 8; off++)
        for (size_t n = 0; n + off <= 8; n++) {
            char want[9] = "aaaabbbb", got[9] = "";
            buf_overwrite(&a, 0, want, 8);
            memset(want + off, '#', n);
            buf_overwrite(&a, off, "########", n);
            buf_copy_out(&a, 0, got, 8);
            assert_string_equal(got, want);
        }
    assert_null(buf_peek(&a, 3, 2));
    assert_null(buf_peek(&a, 0, 9));
    assert_null(buf_peek(&a, 8, 1));
    assert_non_null(buf_peek(&a, 4, 4));
    buf_release(&a);
}

static void test_an_empty_buf_holds_no_memory(void **state)
{
    (void)state;
    struct buf a;
    struct iovec iov[2];
    buf_init(&a, 1 << 20);
    assert_int_equal(buf_append(&a, "abc", 3), OK);
    buf_drain(&a, 3);
    assert_int_equal(buf_thread_bytes(), 0);
    assert_int_equal(buf_reserve(&a, true, iov), 1);
    assert_int_equal(buf_thread_bytes(), BUF_CHUNK_LARGE_BYTES);
    buf_commit(&a, 0);
    assert_int_equal(buf_thread_bytes(), 0);
    buf_release(&a);
}

static void test_the_pool_is_bounded(void **state)
{
    (void)state;
    static char bytes[BUF_CHUNK_SMALL_BYTES];
    struct buf many[600];
    for (size_t i = 0; i < 600; i++) {
        buf_init(&many[i], sizeof(bytes));
        assert_int_equal(buf_append(&many[i], bytes, sizeof(bytes)), OK);
    }
    assert_int_equal(buf_thread_bytes(), 600 * BUF_CHUNK_SMALL_BYTES);
    for (size_t i = 0; i < 600; i++)
        buf_release(&many[i]);
    assert_int_equal(buf_thread_bytes(), 0);
    /* Whatever waits in the pool is reused: allocations are not needed for that many. */
    if (sl_alloc_fail_after(1)) {
        size_t got = 0;
        while (got < 600 && buf_append(&many[got], bytes, sizeof(bytes)) == OK)
            got++;
        (void)sl_alloc_fail_after(0);
        assert_int_equal(got, BUF_POOL_CHUNKS);
        for (size_t i = 0; i < 600; i++)
            buf_release(&many[i]);
    }
    buf_thread_trim();
}

/* As a bulk answer on a slow link: each read has a large chunk of its own and gets little. */
static void test_bytes_that_come_bit_by_bit_hold_no_chunk_each(void **state)
{
    (void)state;
    struct buf in, all;
    uint8_t out[7 * 1000], next = 0;
    buf_init(&in, SIZE_MAX);
    buf_init(&all, sizeof(out));
    for (unsigned i = 0; i < 1000; i++) {
        struct iovec iov[2];
        assert_true(buf_reserve(&in, true, iov) > 0);
        for (unsigned k = 0; k < 7; k++)
            ((uint8_t *)iov[0].iov_base)[k] = next++;
        buf_commit(&in, 7);
        assert_int_equal(buf_gather(&all, &in, 7), OK);
        assert_int_equal(in.len, 0);
    }
    assert_int_equal(all.len, sizeof(out));
    assert_true(buf_thread_bytes() <= (size_t)2 * BUF_CHUNK_LARGE_BYTES);
    buf_copy_out(&all, 0, out, sizeof(out));
    for (size_t i = 0; i < sizeof(out); i++)
        assert_int_equal(out[i], (uint8_t)i);
    assert_int_equal(buf_append(&in, "x", 1), OK);
    assert_int_equal(buf_gather(&all, &in, 1), ERR_LIMIT);
    assert_int_equal(in.len, 1);
    buf_release(&in);
    buf_release(&all);
}

/* Pieces in the middle hold about as much as they are, whatever room the first one left. */
static void test_pieces_of_some_size_share_their_chunks(void **state)
{
    (void)state;
    static const size_t sizes[] = {4097, 9000, 16384};
    uint8_t out[5];
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct buf in, all;
        size_t n = sizes[i];
        buf_init(&in, SIZE_MAX);
        buf_init(&all, SIZE_MAX);
        assert_int_equal(buf_append(&all, "head", 4), OK);
        for (unsigned k = 0; k < 60; k++) {
            struct iovec iov[2];
            assert_true(buf_reserve(&in, true, iov) > 0);
            assert_true(iov[0].iov_len >= n);
            memset(iov[0].iov_base, 'a' + (int)(k % 26), n);
            buf_commit(&in, n);
            assert_int_equal(buf_gather(&all, &in, n), OK);
        }
        assert_int_equal(all.len, 4 + 60 * n);
        assert_true(buf_thread_bytes() <= 60 * n + (size_t)60 * n / 3 + 2 * BUF_CHUNK_LARGE_BYTES);
        buf_copy_out(&all, 4 + 30 * n - 2, out, 4);
        assert_memory_equal(out, "ddee", 4);
        buf_release(&in);
        buf_release(&all);
    }
}

static int trim(void **state)
{
    (void)state;
    buf_thread_trim();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_operations_match_the_model),
        cmocka_unit_test(test_random_operations_with_failing_allocations),
        cmocka_unit_test(test_refuses_what_exceeds_the_limit_and_changes_nothing),
        cmocka_unit_test(test_records_travel_without_a_copy),
        cmocka_unit_test(test_overwrite_crosses_segments),
        cmocka_unit_test(test_an_empty_buf_holds_no_memory),
        cmocka_unit_test(test_the_pool_is_bounded),
        cmocka_unit_test(test_bytes_that_come_bit_by_bit_hold_no_chunk_each),
        cmocka_unit_test(test_pieces_of_some_size_share_their_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, trim);
}
