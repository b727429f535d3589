/* `sluice sessions|grants|revoke` against a real listener. */
#include "tests/unit/control_bed.h"

#include "control/client.h"

static int parse_line(const char *line, struct client_options *o)
{
    static char text[512], err[CLIENT_ERROR_BYTES];
    char *argv[24];
    int argc = 0;
    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    int result = client_parse(argc, argv, o, err, sizeof(err));
    assert_true(result == OK || err[0]);
    return result;
}

static void test_client_options(void **state)
{
    struct client_options o;
    (void)state;
    static const char *const bad[] = {
        "sessions",
        "sessions -c",
        "sessions -c f --control u",
        "sessions -c f x",
        "sessions -c f --transfer x",
        "sessions -c f -c g",
        "grants put -c f",
        "grants put x -c f",
        "grants delete -c f",
        "grants drop x -c f",
        "revoke -c f",
        "revoke -c f --reason r",
        "revoke -c f --issuer i",
        "revoke -c f --transfer a --asset b",
        "revoke -c f --transfer a --transfer b",
        "revoke -c f --token t --transfer a",
        "revoke -c f --issuer i --not-before tomorrow",
        "revoke -c f list --transfer a",
        "revoke -c f --nothing",
        "other -c f",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        int result = parse_line(bad[i], &o);
        if (result == OK)
            print_error("%s\n", bad[i]);
        assert_int_equal(result, ERR_MALFORMED);
        json_decref(o.body);
    }
    assert_int_equal(parse_line("revoke -c f --issuer i --jti j --reason r --json", &o), OK);
    assert_int_equal(o.command, CLIENT_REVOKE);
    assert_true(o.json);
    assert_int_equal(json_object_size(o.body), 3);
    json_decref(o.body);
    assert_int_equal(parse_line("revoke --control u --token -", &o), OK);
    assert_int_equal(o.command, CLIENT_REVOKE_TOKEN);
    json_decref(o.body);
    assert_int_equal(parse_line("grants put id - --control u --token-file t --ca c", &o), OK);
    assert_string_equal(o.id, "id");
    assert_string_equal(o.grant_file, "-");
    json_decref(o.body);
    assert_int_equal(parse_line("grants --help", &o), OK);
    json_decref(o.body);
}

/* Runs a command with its standard output in a file; the exit code, the output in answer. */
static int command(const char *line)
{
    char text[512], path[] = "/tmp/sluice-out-XXXXXX", *argv[24];
    int argc = 0, fd = mkstemp(path), saved = dup(STDOUT_FILENO);
    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    fflush(stdout);
    dup2(fd, STDOUT_FILENO);
    int code = control_client_main(argc, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    ssize_t n = pread(fd, answer, sizeof(answer) - 1, 0);
    answer[n > 0 ? n : 0] = '\0';
    close(fd);
    unlink(path);
    return code;
}

static void test_client(void **state)
{
    char line[300], path[] = "/tmp/sluice-grant-XXXXXX";
    static const char grant[] = "{\"principal\": {\"subject\": \"bob\"}, \"topics\": [\"parts\"],"
                                "\"operations\": [\"read\", \"write\"], \"expires\": 4102444800}";
    int fd = mkstemp(path);
    (void)state;
    assert_int_equal(write(fd, grant, strlen(grant)), strlen(grant));
    close(fd);
    snprintf(line, sizeof(line), "sessions --control %s/", url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_non_null(strstr(answer, "SESSION"));
    assert_non_null(strstr(answer, "bob?[2J"));
    assert_null(strchr(answer, 0x1b));
    snprintf(line, sizeof(line), "grants put a/b %s --control %s", path, url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_non_null(strstr(answer, "granted; "));
    snprintf(line, sizeof(line), "grants --control %s", url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_non_null(strstr(answer, "a/b"));
    assert_non_null(strstr(answer, "read,write"));
    assert_non_null(strstr(answer, "2100-01-01T00:00:00Z"));
    snprintf(line, sizeof(line), "revoke --transfer a/b --reason done --control %s", url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_string_equal(answer, "revoked; 6 sessions closed\n");
    snprintf(line, sizeof(line), "revoke list --json --control %s", url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_non_null(strstr(answer, "\"reason\": \"done\""));
    snprintf(line, sizeof(line), "revoke list --control %s", url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_non_null(strstr(answer, "transfer"));
    FILE *f = fopen(path, "w");
    char *token = token_of("k1", ",\"jti\":\"j9\"");
    fprintf(f, "%s\n", token);
    free(token);
    fclose(f);
    snprintf(line, sizeof(line), "revoke --token %s --control %s", path, url);
    assert_int_equal(command(line), CLIENT_OK);
    assert_string_equal(answer, "revoked; 6 sessions closed\n");
    snprintf(line, sizeof(line), "grants delete none --control %s", url);
    assert_int_equal(command(line), CLIENT_FAILED);
    assert_int_equal(command("sessions --control http://127.0.0.1:1"), CLIENT_FAILED);
    assert_int_equal(command("sessions --control file:///etc/passwd"), CLIENT_FAILED);
    assert_int_equal(command("revoke --control x"), CLIENT_USAGE);
    unlink(path);
}

static void test_client_token(void **state)
{
    char line[300], path[] = "/tmp/sluice-token-XXXXXX";
    static const char file[] = "# ours\n" SECRET "\n";
    int fd = mkstemp(path);
    (void)state;
    assert_int_equal(write(fd, file, strlen(file)), strlen(file));
    close(fd);
    snprintf(line, sizeof(line), "sessions --control %s", url);
    assert_int_equal(command(line), CLIENT_FAILED);
    snprintf(line, sizeof(line), "sessions --token-file %s --control %s", path, url);
    assert_int_equal(command(line), CLIENT_OK);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_options),
        OPEN(test_client),
        TOKEN(test_client_token),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
