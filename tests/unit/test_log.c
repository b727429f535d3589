#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "base/log.h"

/* Catches what goes to stderr in a pipe; a line is at most 2 KiB, far below a pipe's size. */
static int saved_stderr, pipe_fd[2];
static char caught[8192];

static void catch_begin(void)
{
    assert_int_equal(pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK), 0);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(dup2(pipe_fd[1], STDERR_FILENO) >= 0);
}

static const char *catch_end(void)
{
    assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
    close(saved_stderr);
    ssize_t n = read(pipe_fd[0], caught, sizeof(caught) - 1);
    caught[n > 0 ? n : 0] = '\0';
    close(pipe_fd[0]);
    close(pipe_fd[1]);
    return caught;
}

static void test_one_line_with_time_level_and_part(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false);
    catch_begin();
    log_info("listener", "bound to %s:%d", "0.0.0.0", 9093);
    const char *line = catch_end();
    assert_int_equal(line[10], 'T');
    assert_int_equal(line[23], 'Z');
    assert_string_equal(line + 24, " info listener: bound to 0.0.0.0:9093\n");
}

static void test_levels_above_the_maximum_are_silent(void **state)
{
    (void)state;
    log_setup(LOG_WARN, false);
    assert_true(log_enabled(LOG_ERROR) && log_enabled(LOG_WARN));
    assert_false(log_enabled(LOG_INFO));
    catch_begin();
    log_info("x", "no");
    log_debug("x", "no");
    assert_string_equal(catch_end(), "");
    catch_begin();
    errno = EPIPE;
    log_error("x", "yes");
    assert_int_equal(errno, EPIPE);
    assert_non_null(strstr(catch_end(), " error x: yes\n"));
}

static void test_no_value_can_forge_a_line(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false);
    catch_begin();
    log_info("x", "id=%s", "a\nb\r\x1b[2J\xe2\x80\xa8\x7f");
    assert_string_equal(strstr(catch_end(), "id="),
                        "id=a\\x0ab\\x0d\\x1b[2J\\xe2\\x80\\xa8\\x7f\n");
}

static void test_json_lines_parse_whatever_they_hold(void **state)
{
    (void)state;
    log_setup(LOG_INFO, true);
    for (int c = 1; c < 256; c++) {
        char value[4] = {'<', (char)c, '>', '\0'};
        catch_begin();
        log_info("part", "v=%s", value);
        const char *line = catch_end();
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        json_t *root = json_loads(line, 0, NULL);
        assert_non_null(root);
        assert_string_equal(json_string_value(json_object_get(root, "level")), "info");
        assert_string_equal(json_string_value(json_object_get(root, "part")), "part");
        const char *message = json_string_value(json_object_get(root, "message"));
        if (c >= 0x20 && c < 0x7f)
            assert_string_equal(message + 2, value);
        else
            assert_memory_equal(message, "v=<\\x", 5);
        json_decref(root);
    }
}

static void test_long_lines_are_cut(void **state)
{
    (void)state;
    char *text = malloc(5001);
    assert_non_null(text);
    for (int json = 0; json <= 1; json++)
        for (int fill = 0; fill < 3; fill++) {
            memset(text, "x\n\""[fill], 5000);
            text[5000] = '\0';
            log_setup(LOG_INFO, json);
            catch_begin();
            log_info("x", "%s", text);
            const char *line = catch_end();
            size_t n = strlen(line);
            assert_in_range(n, 2000, 2048);
            assert_string_equal(line + n - (json ? 6 : 4), json ? "...\"}\n" : "...\n");
            if (json) {
                json_t *root = json_loads(line, 0, NULL);
                assert_non_null(root);
                json_decref(root);
            }
        }
    free(text);
}

static void test_text_escapes_and_cuts(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(log_text(out, sizeof(out), "plain text", 10), "plain text");
    assert_string_equal(log_text(out, sizeof(out), "a\"b\\c\n\0d\xff", 9),
                        "a\\x22b\\x5cc\\x0a\\x00d\\xff");
    assert_string_equal(log_text(out, sizeof(out), NULL, 0), "");
    assert_string_equal(log_text(out, 8, "1234567", 7), "1234567");
    assert_string_equal(log_text(out, 8, "12345678", 8), "1234...");
    assert_string_equal(log_text(out, 8, "12\n\n", 4), "12...");
    assert_string_equal(log_text(out, 1, "abc", 3), "");
    /* At every size: ended, inside its bounds, and no escape cut in two. */
    for (unsigned long n = 1; n <= 40; n++) {
        char *exact = malloc(n);
        assert_non_null(exact);
        log_text(exact, n, "ab\ncd\nef\ngh\n", 12);
        assert_true(strlen(exact) < n);
        for (const char *p = exact; (p = strchr(p, '\\')); p++)
            assert_memory_equal(p, "\\x0a", 4);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_line_with_time_level_and_part),
        cmocka_unit_test(test_levels_above_the_maximum_are_silent),
        cmocka_unit_test(test_no_value_can_forge_a_line),
        cmocka_unit_test(test_json_lines_parse_whatever_they_hold),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_text_escapes_and_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
