#include "tests/unit/unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit/audit.h"
#include "audit/ring.h"
#include "base/log.h"

static char folder[64], path[128], other[160];

static json_t *encode(const struct audit_event *e)
{
    static char line[AUDIT_LINE_MAX];
    json_error_t error;
    int n = audit_encode(e, 1700000000123, line, sizeof(line));
    assert_true(n > 0);
    assert_int_equal(strlen(line), n);
    assert_null(strchr(line, '\n'));
    json_t *root = json_loadb(line, (size_t)n, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        print_error("%s: %s\n", error.text, line);
    assert_non_null(root);
    return root;
}

static const char *text_at(json_t *root, const char *a, const char *b)
{
    json_t *node = json_object_get(root, a);
    return json_string_value(b ? json_object_get(node, b) : node);
}

static void test_encode(void **state)
{
    const struct audit_event e = {
        .kind = AUDIT_DENIAL,
        .session = 17,
        .client_address = "[2001:db8::1]:51234",
        .issuer = "https://idp",
        .subject = "bob",
        .client = "edc",
        .jti = "j1",
        .transfer = "t1",
        .agreement = "a1",
        .participant = "did:web:bob",
        .api = "Fetch",
        .api_version = 0,
        .resource_type = "topic",
        .resource = "secret-parts and more",
        .resource_len = 12,
        .error = 29,
        .count = 5,
        .bytes_in = 10,
        .bytes_out = 20,
        .duration_us = 2500,
        .lifetime_s = 300,
    };
    (void)state;
    json_t *root = encode(&e);
    assert_string_equal(text_at(root, "metadata", "version"), "1.3.0");
    assert_string_equal(text_at(root, "metadata", "event_code"), "denial");
    assert_int_equal(json_integer_value(json_object_get(root, "class_uid")), 6003);
    assert_int_equal(json_integer_value(json_object_get(root, "type_uid")), 600399);
    assert_int_equal(json_integer_value(json_object_get(root, "time")), 1700000000123);
    assert_string_equal(text_at(root, "status", NULL), "Failure");
    json_t *actor = json_object_get(root, "actor");
    assert_string_equal(text_at(actor, "user", "uid"), "bob");
    assert_string_equal(text_at(actor, "session", "uid"), "17");
    assert_string_equal(text_at(root, "src_endpoint", "ip"), "2001:db8::1");
    assert_string_equal(text_at(root, "api", "version"), "0");
    json_t *resource = json_array_get(json_object_get(root, "resources"), 0);
    assert_string_equal(text_at(resource, "name", NULL), "secret-parts");
    assert_string_equal(text_at(root, "unmapped", "agreement"), "a1");
    assert_null(text_at(root, "unmapped", "asset"));
    assert_int_equal(json_integer_value(json_object_get(root, "duration")), 2);
    json_decref(root);
}

/* Every kind is one object of a known class, with and without texts. */
static void test_every_kind(void **state)
{
    (void)state;
    for (unsigned k = 0; k < AUDIT_KINDS; k++) {
        struct audit_event e = {.kind = (enum audit_kind)k};
        json_t *root = encode(&e);
        int64_t class_uid = json_integer_value(json_object_get(root, "class_uid"));
        int64_t activity = json_integer_value(json_object_get(root, "activity_id"));
        assert_int_equal(json_integer_value(json_object_get(root, "type_uid")),
                         class_uid * 100 + activity);
        assert_non_null(text_at(root, "metadata", "event_code"));
        json_decref(root);
    }
    struct audit_event failed = {.kind = AUDIT_REVOCATION, .failed = true};
    json_t *root = encode(&failed);
    assert_string_equal(text_at(root, "status", NULL), "Failure");
    json_decref(root);
    char small[64];
    struct audit_event e = {.kind = AUDIT_START};
    assert_int_equal(audit_encode(&e, 0, small, sizeof(small)), ERR_LIMIT);
    assert_int_equal(audit_encode(&e, 0, small, 0), ERR_LIMIT);
    e.kind = (enum audit_kind)AUDIT_KINDS;
    assert_int_equal(audit_encode(&e, 0, small, sizeof(small)), ERR_LIMIT);
}

static void all_texts(struct audit_event *e, const char *text)
{
    e->client_address = e->reason = e->issuer = e->subject = e->client = e->jti = text;
    e->transfer = e->agreement = e->asset = e->participant = text;
    e->client_id = e->software_name = e->software_version = text;
    e->tls_protocol = e->tls_cipher = e->api = e->resource_type = e->resource = text;
}

/* Whatever the texts hold, a line is one JSON object on one line, and fits. */
static void test_injection(void **state)
{
    char text[400];
    (void)state;
    for (unsigned kind = 0; kind < AUDIT_KINDS; kind++)
        for (unsigned byte = 1; byte < 256; byte++) {
            struct audit_event e = {.kind = (enum audit_kind)kind};
            memset(text, (int)byte, sizeof(text) - 1);
            text[sizeof(text) - 1] = '\0';
            all_texts(&e, text);
            json_decref(encode(&e));
        }
    struct audit_event e = {.kind = AUDIT_AUTH_FAIL};
    all_texts(&e, "\",\"x\":1}\n{\"class_uid\":3002,\"status\":\"Success\"}\r\n\x1b[2J\\");
    json_t *root = encode(&e);
    assert_null(json_object_get(root, "x"));
    assert_string_equal(text_at(root, "status", NULL), "Failure");
    assert_int_equal(strlen(text_at(root, "unmapped", "client_id")), strlen(e.client_id));
    json_decref(root);
    /* NUL inside a text with a length, invalid UTF-8, characters that hide. */
    struct audit_event odd = {.kind = AUDIT_DENIAL, .resource_len = 3};
    odd.resource = "a\0b";
    json_t *r = json_object_get(root = encode(&odd), "resources");
    assert_string_equal(text_at(json_array_get(r, 0), "name", NULL), "a\xef\xbf\xbd"
                                                                     "b");
    json_decref(root);
    static const char *const invalid[] = {
        "\x80", "\xc0\xaf",     "\xed\xa0\x80", "\xe2\x82", "\xf4\x90\x80\x80",
        "\xff", "\xe0\x80\x80", "\xc3"};
    for (size_t i = 0; i < sizeof(invalid) / sizeof(*invalid); i++) {
        odd = (struct audit_event){.kind = AUDIT_CLOSE, .reason = invalid[i]};
        root = encode(&odd);
        assert_memory_equal(text_at(root, "status_detail", NULL), "\xef\xbf\xbd", 3);
        json_decref(root);
    }
    char line[AUDIT_LINE_MAX];
    odd.reason = "a\xe2\x80\xae\xc2\x85\xe2\x80\xa8z";
    assert_true(audit_encode(&odd, 0, line, sizeof(line)) > 0);
    assert_non_null(strstr(line, "a\\u202e\\u0085\\u2028z"));
}

static void test_cut_keeps_characters_whole(void **state)
{
    char text[300];
    (void)state;
    for (size_t lead = 250; lead <= 257; lead++) {
        struct audit_event e = {.kind = AUDIT_CLOSE, .reason = text};
        memset(text, 'x', lead);
        strcpy(text + lead, "\xf0\x9f\x98\x80zzzzzzzzzzzzzz");
        json_t *root = encode(&e);
        const char *got = text_at(root, "status_detail", NULL);
        assert_true(strlen(got) <= AUDIT_TEXT_MAX);
        assert_null(strstr(got, "\xef\xbf\xbd"));
        json_decref(root);
    }
}

static void test_ring(void **state)
{
    struct audit_ring *r = NULL;
    char *out = malloc(AUDIT_LINE_MAX), *line = malloc(AUDIT_LINE_MAX);
    uint64_t put = 0, taken = 0;
    (void)state;
    assert_int_equal(posix_memalign((void **)&r, RING_CACHE_LINE, sizeof(*r)), 0);
    ring_init(r);
    assert_int_equal(ring_take(r, out), 0);
    /* Lines of all lengths around the wrap, several times; full, then empty, then full. */
    for (unsigned round = 0; round < 20; round++) {
        for (;; put++) {
            size_t n = 1 + (size_t)(put * 7919 % (AUDIT_LINE_MAX - 1));
            memset(line, (int)(put & 0xff), n);
            if (!ring_put(r, line, n))
                break;
        }
        /* To the last byte, and not one more. */
        size_t room = AUDIT_RING_BYTES - (r->head - r->tail);
        if (round % 4 == 3 && room > 8) {
            memset(line, 'x', room);
            assert_false(ring_put(r, line, room - 3));
            assert_true(ring_put(r, line, room - 4));
            while (taken < put)
                assert_int_equal(ring_take(r, out), 1 + taken++ * 7919 % (AUDIT_LINE_MAX - 1));
            assert_int_equal(ring_take(r, out), room - 4);
            assert_int_equal(ring_take(r, out), 0);
            continue;
        }
        for (uint64_t until = put - (round & 1 ? 3 : 0); taken < until; taken++) {
            size_t n = ring_take(r, out);
            assert_int_equal(n, 1 + taken * 7919 % (AUDIT_LINE_MAX - 1));
            assert_int_equal((unsigned char)out[0], taken & 0xff);
            assert_int_equal((unsigned char)out[n - 1], taken & 0xff);
        }
    }
    free(r);
    free(out);
    free(line);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static bool within(bool (*what)(const struct audit *), const struct audit *a, bool wanted)
{
    for (int i = 0; i < 500; i++) {
        if (what(a) == wanted)
            return true;
        pause_ms(10);
    }
    return false;
}

/* How many lines the file holds, each of them whole; *of counts those with this event code. */
static size_t lines_of(const char *file, const char *code, size_t *of)
{
    char *line = NULL;
    size_t cap = 0, count = 0;
    FILE *f = fopen(file, "r");
    assert_non_null(f);
    *of = 0;
    while (getline(&line, &cap, f) > 0) {
        json_t *root = json_loads(line, 0, NULL);
        if (!root)
            print_error("no JSON: %s\n", line);
        assert_non_null(root);
        assert_non_null(strchr(line, '\n'));
        *of += strcmp(text_at(root, "metadata", "event_code"), code) == 0;
        json_decref(root);
        count++;
    }
    fclose(f);
    free(line);
    return count;
}

static struct audit *open_at(const char *file, bool stop)
{
    char err[256];
    struct audit *a = audit_open(file, stop, err, sizeof(err));
    if (!a)
        print_error("%s\n", err);
    assert_non_null(a);
    return a;
}

static bool wrote_any(const struct audit *a)
{
    return audit_written(a) > 0;
}

static void test_write(void **state)
{
    size_t of;
    struct audit_event e = {.kind = AUDIT_CONNECT};
    (void)state;
    struct audit *a = open_at(path, true);
    struct audit_ring *r = audit_ring_new(a);
    assert_non_null(r);
    audit_put(r, &e);
    assert_true(within(wrote_any, a, true)); /* without being closed */
    for (e.session = 1; e.session < 1000; e.session++)
        audit_put(r, &e);
    audit_ring_free(r);
    audit_close(a);
    assert_int_equal(lines_of(path, "connect", &of), 1000);
    /* A half line that a crash left is ended, not continued. */
    FILE *f = fopen(path, "a");
    fputs("{\"half", f);
    fclose(f);
    a = open_at(path, true);
    r = audit_ring_new(a);
    audit_put(r, &e);
    audit_ring_free(r);
    audit_close(a);
    f = fopen(path, "r");
    char line[4096], last[4096] = "", before[4096] = "";
    while (fgets(line, sizeof(line), f)) {
        strcpy(before, last);
        strcpy(last, line);
    }
    fclose(f);
    assert_string_equal(before, "{\"half\n");
    json_t *root = json_loads(last, 0, NULL);
    assert_non_null(root);
    json_decref(root);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07, 0); /* nothing for others */
    unlink(path);
    char err[256];
    assert_null(audit_open("/nowhere/x", true, err, sizeof(err)));
    assert_string_equal(err, "audit: /nowhere/x: No such file or directory");
}

static void test_rotation(void **state)
{
    size_t of, first, second;
    struct audit_event e = {.kind = AUDIT_CONNECT};
    (void)state;
    struct audit *a = open_at(path, true);
    struct audit_ring *r = audit_ring_new(a);
    for (unsigned i = 0; i < 20; i++) {
        for (unsigned j = 0; j < 100; j++)
            audit_put(r, &e);
        if (i == 10) {
            struct stat st;

            /* Not before the thread has had a turn: it would find the new file first. */
            for (int k = 0; k < 500 && (stat(path, &st) != 0 || st.st_size == 0); k++)
                pause_ms(10);
            assert_int_equal(rename(path, other), 0);
            audit_reopen(a);
        }
    }
    for (int i = 0; i < 500 && access(path, F_OK) != 0; i++)
        pause_ms(10);
    audit_put(r, &e);
    audit_ring_free(r);
    audit_close(a);
    first = lines_of(other, "connect", &of);
    second = lines_of(path, "connect", &of);
    assert_true(first > 0 && second > 0);
    assert_int_equal(first + second, 2001);
    unlink(path);
    unlink(other);
}

static void test_disk_full(void **state)
{
    size_t of;
    struct audit_event e = {.kind = AUDIT_AUTH_OK, .subject = "bob"};
    (void)state;
    assert_int_equal(symlink("/dev/full", path), 0);
    for (int stop = 0; stop < 2; stop++) {
        struct audit *a = open_at(path, stop);
        struct audit_ring *r = audit_ring_new(a);
        assert_true(audit_ok(a));
        audit_put(r, &e);
        if (stop)
            assert_true(within(audit_ok, a, false));
        /* More than the ring and the batch hold. */
        for (unsigned i = 0; i < 6000; i++)
            audit_put(r, &e);
        assert_true(audit_lost(a) > 0);
        assert_int_equal(audit_ok(a), !stop);
        assert_int_equal(audit_written(a), 0);
        /* Room again: what waited is written, the gap is told, all is good. */
        unlink(path);
        audit_reopen(a);
        assert_true(within(wrote_any, a, true));
        assert_true(within(audit_ok, a, true));
        audit_put(r, &e);
        uint64_t lost = audit_lost(a);
        audit_ring_free(r);
        audit_close(a);
        /* All that was not lost, and the one line that tells of the rest. */
        assert_int_equal(lines_of(path, "lost", &of), 6002 - lost + 1);
        assert_int_equal(of, 1);
        unlink(path);
        assert_int_equal(symlink("/dev/full", path), 0);
    }
    unlink(path);
}

/* A limit on the file's size cuts a line in two, which is what a full disk does. */
static void test_half_line(void **state)
{
    size_t of;
    struct rlimit before, limit = {5000, RLIM_INFINITY};
    struct audit_event e = {.kind = AUDIT_CONNECT};
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit.rlim_max = before.rlim_max;
    struct audit *a = open_at(path, true);
    struct audit_ring *r = audit_ring_new(a);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (unsigned i = 0; i < 100; i++)
        audit_put(r, &e);
    assert_true(within(audit_ok, a, false));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(within(audit_ok, a, true));
    audit_ring_free(r);
    audit_close(a);
    assert_int_equal(lines_of(path, "connect", &of), 100);
    unlink(path);
    /* Rotated at that point, the line stands whole in the new file and not at all in the old. */
    a = open_at(path, true);
    r = audit_ring_new(a);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (unsigned i = 0; i < 14; i++)
        audit_put(r, &e);
    assert_true(within(audit_ok, a, false));
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    audit_reopen(a);
    assert_true(within(audit_ok, a, true));
    audit_ring_free(r);
    audit_close(a);
    size_t whole = lines_of(other, "connect", &of);
    if (access(path, F_OK) == 0)
        whole += lines_of(path, "connect", &of);
    assert_int_equal(whole, 14);
    unlink(path);
    unlink(other);
}

static void test_stuck_pipe(void **state)
{
    int fds[2];
    struct audit_event e = {.kind = AUDIT_CONNECT};
    (void)state;
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    int saved = dup(STDOUT_FILENO);
    fflush(stdout);
    dup2(fds[1], STDOUT_FILENO);
    struct audit *a = open_at("-", true);
    struct audit_ring *r = audit_ring_new(a);
    for (unsigned i = 0; i < 400; i++)
        audit_put(r, &e);
    bool stopped = within(audit_ok, a, false);
    char drain[65536];
    uint64_t got = 0;
    for (int i = 0; i < 300 && !(audit_ok(a) && audit_written(a) == 400); i++) {
        ssize_t n = read(fds[0], drain, sizeof(drain));
        got += n > 0 ? (uint64_t)n : 0;
        pause_ms(5);
    }
    uint64_t written = audit_written(a);
    bool good = within(audit_ok, a, true);
    close(fds[0]); /* a reader that is gone is an error, not a signal */
    audit_put(r, &e);
    bool broken = within(audit_ok, a, false);
    audit_ring_free(r);
    audit_close(a);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(fds[1]);
    assert_true(stopped);
    assert_true(good);
    assert_true(broken);
    assert_int_equal(written, 400);
    assert_true(got > 65536);
}

#define THREADS 4
#define EACH    5000

static void *produce(void *arg)
{
    struct audit *a = arg;
    struct audit_ring *r = audit_ring_new(a);
    for (uint64_t i = 1; i <= EACH; i++) {
        struct audit_event e = {.kind = AUDIT_CONNECT, .session = i};
        audit_put(r, &e);
        if (i % 100 == 0)
            pause_ms(1);
        if (i % 1000 == 0)
            audit_reopen(a);
    }
    audit_ring_free(r);
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[THREADS];
    size_t of;
    (void)state;
    struct audit *a = open_at(path, false);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, produce, a), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint64_t lost = audit_lost(a);
    audit_close(a);
    size_t all = lines_of(path, "connect", &of);
    assert_int_equal(of, THREADS * EACH - lost);
    assert_true(all >= of);
    unlink(path);
}

static int setup(void **state)
{
    (void)state;
    log_setup(LOG_ERROR, false);
    signal(SIGXFSZ, SIG_IGN);
    strcpy(folder, "/tmp/sluice-audit-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/audit.jsonl", folder);
    snprintf(other, sizeof(other), "%s.1", path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode),    cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_injection), cmocka_unit_test(test_cut_keeps_characters_whole),
        cmocka_unit_test(test_ring),      cmocka_unit_test(test_write),
        cmocka_unit_test(test_rotation),  cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_half_line), cmocka_unit_test(test_stuck_pipe),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
