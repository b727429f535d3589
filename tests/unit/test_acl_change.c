#include "tests/unit/acl_bed.h"

#include "base/alloc.h"

/* --- the requests */

static void start_and_end(void **state)
{
    (void)state;
    login();
    for (int v = 1; v <= 3; v++) {
        ask(30, v, START);
        expect(30, v, DONE3);
        assert_int_equal(in_force(), 1);
        assert_string_equal(last, "s t bob 1");
        ask(30, v, START); /* again: nothing changes */
        expect(30, v, DONE3);
        assert_int_equal(in_force(), 1);
        ask(29, v, ANY);
        expect(29, v, SHOWN);
        ask(31, v, END);
        expect(31, v, ENDED);
        assert_int_equal(in_force(), 0);
        ask(31, v, END); /* again: nothing is left */
        expect(31, v,
               "{'filterResults':[{},{},"
               "{}]}");
        ask(29, v, ANY);
        expect(29, v, NOTHING);
    }
    assert_int_equal(audited("\"event_code\":\"grant\"", "\"status_detail\":\"edc\""), 6);
    assert_int_equal(audited("\"revocation\"", "192.0.2.1"), 3);
}

/* The answer waits for every worker; nothing overtakes it. */
static void answered_when_in_force(void **state)
{
    (void)state;
    login();
    settle(20);
    holding = true;
    ask(30, 3, START);
    ask(29, 3, ANY); /* pipelined behind it */
    assert_null(answer(30, 3, 100));
    assert_int_equal(nheld, 2);
    let_go();
    expect(30, 3, DONE3);
    expect(29, 3, SHOWN);
    holding = true;
    ask(31, 3, END);
    assert_null(answer(31, 3, 100));
    assert_int_equal(in_force(), 0); /* closed at once, told when it is done */
    let_go();
    expect(31, 3, ENDED);
}

/* Another connection's change waits for this one's. */
static void changes_wait_for_each_other(void **state)
{
    (void)state;
    login();
    settle(20);
    holding = true;
    ask(30, 3, START);
    assert_null(answer(30, 3, 50));
    int first = client;
    client = -1;
    holding = false;
    login();
    ask(31, 3, END);
    assert_null(answer(31, 3, 50));
    assert_int_equal(in_force(), 1);
    let_go();
    expect(31, 3, ENDED);
    assert_int_equal(in_force(), 0);
    close(first);
}

/* The client goes; what it asked for is done all the same. */
static void a_change_outlives_its_connection(void **state)
{
    (void)state;
    login();
    settle(20);
    ask(30, 3, START);
    expect(30, 3, DONE3);
    holding = true;
    ask(31, 3, END);
    assert_null(answer(31, 3, 50));
    hang_up();
    settle(30);
    let_go();
    settle(30);
    assert_int_equal(in_force(), 0);
    login();
    ask(29, 3, ANY);
    expect(29, 3, NOTHING);
    holding = true;
    ask(30, 3, START);
    assert_null(answer(30, 3, 50)); /* and the bed closes with a change under way */
}

static void what_is_left(void **state)
{
    (void)state;
    login();
    ask(30, 3, START);
    expect(30, 3, DONE3);
    /* The group goes; the topic stays readable without one. */
    ask(31, 3, "{'filters':[" FILTER(3, "null", 1, 1) "]}");
    expect(31, 3,
           "{'filterResults':[{'matchingAcls':[" MATCH(3, "bob", 4, 3) "," MATCH(3, "bob", 4,
                                                                                 8) "]}]}");
    assert_int_equal(in_force(), 1);
    assert_string_equal(last, "s t - 1");
    ask(30, 3, START);
    expect(30, 3, DONE3);
    assert_int_equal(in_force(), 2);
    ask(29, 3, ANY);
    expect(29, 3, SHOWN); /* each ACL once */
    ask(31, 3, "{'filters':[" FILTER(2, "'t'", 3, 1) "]}");
    expect(
        31, 3,
        "{'filterResults':[{'matchingAcls':[" MATCH(2, "t", 3, 3) "," MATCH(2, "t", 3, 8) "]}]}");
    assert_int_equal(in_force(), 1);
    assert_string_equal(last, "s - bob 1");
    ask(31, 3, "{'filters':[" ANY "]}");
    expect(31, 3,
           "{'filterResults':[{'matchingAcls':[" MATCH(3, "bob", 4, 3) "," MATCH(3, "bob", 4,
                                                                                 8) "]}]}");
    assert_int_equal(in_force(), 0);
}

/* Everything that is not taken has its own error, and nothing of it is done. */
static void refusals(void **state)
{
    (void)state;
#define ITEM(type, name, pattern, principal, host, op, permission)                                 \
    "{'resourceType':" #type ",'resourceName':'" name "','resourcePatternType':" #pattern          \
    ",'principal':'" principal "','host':'" host "','operation':" #op                              \
    ",'permissionType':" #permission "}"
    static const char *const items[] = {
        ITEM(2, "t", 4, "User:s", "*", 3, 3),   /* a topic by prefix */
        ITEM(2, "*", 3, "User:s", "*", 3, 3),   /* every topic */
        ITEM(2, "", 3, "User:s", "*", 3, 3),    /* no name */
        ITEM(2, "a b", 3, "User:s", "*", 3, 3), /* no topic's name */
        ITEM(2, "__consumer_offsets", 3, "User:s", "*", 3, 3),
        ITEM(2, "t", 3, "User:s", "*", 2, 3),  /* ALL */
        ITEM(2, "t", 3, "User:s", "*", 5, 3),  /* CREATE */
        ITEM(2, "t", 3, "User:s", "*", 6, 3),  /* DELETE */
        ITEM(2, "t", 3, "User:s", "*", 11, 3), /* ALTER_CONFIGS */
        ITEM(2, "t", 3, "User:s", "*", 0, 3),  /* UNKNOWN */
        ITEM(2, "t", 3, "User:s", "*", 3, 2),  /* DENY */
        ITEM(2, "t", 3, "User:s", "*", 3, 1),  /* ANY */
        ITEM(2, "t", 3, "User:s", "10.0.0.1", 3, 3),
        ITEM(2, "t", 3, "User:s", "", 3, 3),
        ITEM(2, "t", 3, "User:*", "*", 3, 3), /* everybody */
        ITEM(2, "t", 3, "User:", "*", 3, 3),
        ITEM(2, "t", 3, "s", "*", 3, 3),
        ITEM(2, "t", 3, "Group:s", "*", 3, 3),
        ITEM(2, "t", 3, "User:a\\tb", "*", 3, 3),
        ITEM(2, "t", 3, "User:s", "*", 8, 3),   /* DESCRIBE alone */
        ITEM(3, "bob", 3, "User:s", "*", 3, 3), /* a group by its whole name */
        ITEM(3, "", 4, "User:s", "*", 3, 3),
        ITEM(3, "*", 4, "User:s", "*", 3, 3),
        ITEM(3, "bob\\n", 4, "User:s", "*", 3, 3),
        ITEM(3, "bob", 4, "User:s", "*", 4, 3), /* WRITE */
        ITEM(3, "bob", 1, "User:s", "*", 3, 3), /* ANY pattern */
        ITEM(5, "x", 3, "User:s", "*", 4, 3),   /* a transactional id by its whole name */
        ITEM(5, "x", 4, "User:s", "*", 3, 3),   /* READ */
        ITEM(4, "kafka-cluster", 3, "User:s", "*", 8, 3),
        ITEM(6, "x", 3, "User:s", "*", 8, 3),
        ITEM(1, "t", 3, "User:s", "*", 3, 3), /* ANY type */
        ITEM(0, "t", 3, "User:s", "*", 3, 3),
        ITEM(99, "t", 3, "User:s", "*", 3, 3),
    };
    char text[1024];
    login();
    for (size_t i = 0; i < sizeof(items) / sizeof(*items); i++) {
        snprintf(text, sizeof(text), "{'creations':[%s]}", items[i]);
        ask(30, 3, text);
        json_t *j = answer(30, 3, WAIT_MS);
        json_t *result = json_array_get(json_object_get(j, "results"), 0);
        if (json_integer_value(json_object_get(result, "errorCode")) != 42 ||
            json_string_length(json_object_get(result, "errorMessage")) < 10)
            fail_msg("%s: %s", items[i], json_dumps(j, 0));
        json_decref(j);
    }
    assert_int_equal(in_force(), 0);
    assert_int_equal(audited("\"denial\"", "CreateAcls"), sizeof(items) / sizeof(*items));
    /* What stands beside it is done. */
    ask(30, 3, "{'creations':[" READ_T "," ITEM(2, "*", 3, "User:s", "*", 3, 3) "," READ_G "]}");
    expect(30, 3,
           "{'results':[{},{'errorCode':42,"
           "'errorMessage':'The topic has a name that cannot be granted.'},"
           "{}]}");
    assert_int_equal(in_force(), 1);
    assert_string_equal(last, "s t bob 1");
    /* DESCRIBE goes with what is in force. */
    ask(30, 3, "{'creations':[" DESCRIBE_T "]}");
    expect(30, 3, "{'results':[{}]}");
}

static void long_names(void **state)
{
    (void)state;
    static const struct {
        int type, pattern;
        size_t n;
        bool good;
    } cases[] = {{2, 3, 249, true},  {2, 3, 250, false},   {3, 4, 249, true},
                 {3, 4, 250, false}, {3, 4, 10000, false}, {2, 3, 10000, false}};
    static char name[10001], text[11000];
    login();
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        memset(name, 'a', cases[i].n);
        name[cases[i].n] = '\0';
        snprintf(text, sizeof(text),
                 "{'creations':[{'resourceType':%d,'resourceName':'%s','resourcePatternType':%d,"
                 "'principal':'User:s','host':'*','operation':3,'permissionType':3}]}",
                 cases[i].type, name, cases[i].pattern);
        ask(30, 3, text);
        json_t *j = answer(30, 3, WAIT_MS);
        json_t *result = json_array_get(json_object_get(j, "results"), 0);
        assert_int_equal(json_integer_value(json_object_get(result, "errorCode")),
                         cases[i].good ? 0 : 42);
        json_decref(j);
    }
    for (size_t n = 255; n <= 256; n++) { /* a subject */
        memset(name, 's', n);
        name[n] = '\0';
        snprintf(text, sizeof(text),
                 "{'creations':[{'resourceType':2,'resourceName':'t','resourcePatternType':3,"
                 "'principal':'User:%s','host':'*','operation':3,'permissionType':3}]}",
                 name);
        ask(30, 3, text);
        json_t *j = answer(30, 3, WAIT_MS);
        json_t *result = json_array_get(json_object_get(j, "results"), 0);
        assert_int_equal(json_integer_value(json_object_get(result, "errorCode")),
                         n == 255 ? 0 : 42);
        json_decref(j);
    }
    assert_int_equal(in_force(), 3);
}

static void bad_filters(void **state)
{
    (void)state;
    login();
    ask(30, 3, START);
    expect(30, 3, DONE3);
    ask(31, 3,
        "{'filters':[" FILTER(0, "null", 1, 1) "," FILTER(2, "null", 0, 1) "," FILTER(
            2, "null", 1, 0) "," FILTER(2, "null", 9, 1) "]}");
    json_t *j = answer(31, 3, WAIT_MS);
    for (size_t i = 0; i < 4; i++) {
        json_t *r = json_array_get(json_object_get(j, "filterResults"), i);
        assert_int_equal(json_integer_value(json_object_get(r, "errorCode")), 42);
    }
    json_decref(j);
    assert_int_equal(in_force(), 1);
    ask(29, 3, FILTER(0, "null", 1, 1));
    expect(29, 3, "{'errorCode':42,'errorMessage':'The filter contains unknown elements.'}");
}

/* --- bounds */

/* n creations, each of a topic of its own. */
static char *many(size_t n, const char *subject)
{
    size_t room = 64 + n * 200, at;
    char *text = malloc(room);
    at = (size_t)snprintf(text, room, "{'creations':[");
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, room - at,
                               "%s{'resourceType':2,'resourceName':'t%zu',"
                               "'resourcePatternType':3,'principal':'User:%s','host':'*',"
                               "'operation':3,'permissionType':3}",
                               i ? "," : "", i, subject);
    snprintf(text + at, room - at, "]}");
    return text;
}

static void too_many(void **state)
{
    (void)state;
    char *text = many(ACL_ITEMS_MAX + 1, "s");
    login();
    ask(30, 3, text);
    expect_closed();
    free(text);
    text = many(GRANT_SET_MAX + 1, "s"); /* its logins would fail */
    login();
    ask(30, 3, text);
    json_t *j = answer(30, 3, WAIT_MS);
    json_t *r = json_array_get(json_object_get(j, "results"), 0);
    assert_int_equal(json_integer_value(json_object_get(r, "errorCode")), 44);
    json_decref(j);
    free(text);
    assert_int_equal(in_force(), 0);
    text = many(GRANT_SET_MAX, "s");
    for (int i = 0; i < 2; i++) { /* the second time they are there already */
        ask(30, 3, text);
        j = answer(30, 3, WAIT_MS);
        r = json_array_get(json_object_get(j, "results"), GRANT_SET_MAX - 1);
        assert_int_equal(json_integer_value(json_object_get(r, "errorCode")), 0);
        json_decref(j);
    }
    free(text);
    assert_int_equal(in_force(), GRANT_SET_MAX);
    ask(31, 3, "{'filters':[" ANY "]}");
    j = answer(31, 3, WAIT_MS);
    r = json_object_get(json_array_get(json_object_get(j, "filterResults"), 0), "matchingAcls");
    assert_int_equal(json_array_size(r), 2 * GRANT_SET_MAX);
    json_decref(j);
    assert_int_equal(in_force(), 0);
}

/* The store takes no more: what was asked for together is not had in part. */
static void no_room(void **state)
{
    (void)state;
    char *text = many(8, "s");
    config->limits.grants = 5;
    assert_int_equal(store_config_grants(store, config, NULL, NULL), OK);
    settle(20);
    login();
    ask(30, 3, text);
    json_t *j = answer(30, 3, WAIT_MS);
    for (size_t i = 0; i < 8; i++) {
        json_t *r = json_array_get(json_object_get(j, "results"), i);
        assert_int_equal(json_integer_value(json_object_get(r, "errorCode")), 44);
    }
    json_decref(j);
    free(text);
    assert_int_equal(in_force(), 0);
}

/* --- another issuer */

/* What was created for tokens of the former acl_listener.issuer is shown and can be ended; new
 * ACLs are for the new one. */
static void another_issuer(void **state)
{
    (void)state;
    login();
    ask(30, 3, START);
    expect(30, 3, DONE3);
    config->acl_listener.issuer = "https://other.example.com";
    assert_int_equal(in_force(), 1);
    ask(30, 3, START);
    expect(30, 3, DONE3);
    assert_int_equal(in_force(), 2);
    ask(29, 3, ANY);
    expect(29, 3, SHOWN); /* each once */
    ask(31, 3, END);
    expect(31, 3, ENDED);
    assert_int_equal(in_force(), 0);
    config->acl_listener.issuer = ISSUER;
}

/* --- without a trail */

static struct audit_ring *full_ring;

static bool trail_is_bad(void)
{
    return !audit_ring_ok(full_ring);
}

/* Nothing is given that cannot be told; what was given can still be taken away. */
static void no_trail(void **state)
{
    (void)state;
    char err[256] = "";
    login();
    ask(30, 3, START);
    expect(30, 3, DONE3);
    struct audit *full = audit_open("/dev/full", true, err, sizeof(err));
    assert_non_null(full);
    full_ring = audit_ring_new(full);
    acl->changes.audit = full_ring;
    login(); /* its line is lost */
    assert_true(until(trail_is_bad, WAIT_MS));
    ask(30, 3, START);
    json_t *j = answer(30, 3, WAIT_MS);
    for (size_t i = 0; i < 3; i++) {
        json_t *r = json_array_get(json_object_get(j, "results"), i);
        assert_int_equal(json_integer_value(json_object_get(r, "errorCode")), -1);
    }
    json_decref(j);
    ask(31, 3, END);
    expect(31, 3, ENDED);
    assert_int_equal(in_force(), 0);
    acl->changes.audit = ring;
    audit_ring_free(full_ring);
    audit_close(full);
}

/* --- without a disk */

static char on_disk[64], in_wal[72];

static int set_up_on_disk(void **state)
{
    char dir[] = "/tmp/sluice-acl-XXXXXX";
    if (!mkdtemp(dir))
        return -1;
    snprintf(on_disk, sizeof(on_disk), "%s/s.db", dir);
    snprintf(in_wal, sizeof(in_wal), "%s-wal", on_disk);
    store_path = on_disk;
    return set_up(state);
}

static int tear_down_on_disk(void **state)
{
    tear_down(state);
    store_path = NULL;
    unlink(on_disk);
    *strrchr(on_disk, '/') = '\0';
    return rmdir(on_disk);
}

static int64_t error_of_end(void)
{
    json_t *j = answer(31, 3, WAIT_MS), *first = NULL, *match = NULL;
    int64_t error;
    first = json_array_get(json_object_get(j, "filterResults"), 0);
    match = json_array_get(json_object_get(first, "matchingAcls"), 0);
    assert_non_null(first);
    error = json_integer_value(json_object_get(first, "errorCode"));
    if (error == 0 && match)
        error = json_integer_value(json_object_get(match, "errorCode"));
    json_decref(j);
    return error;
}

/* A DeleteAcls that does not reach the disk has closed what it hits, but it is not done, however
 * often it is asked, until it is durable. */
static void full_disk(void **state)
{
    (void)state;
    struct rlimit was, none;
    struct stat st;
    login();
    ask(30, 3, START);
    expect(30, 3, DONE3);
    assert_int_equal(stat(in_wal, &st), 0);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &was);
    none = was;
    none.rlim_cur = (rlim_t)st.st_size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    for (int i = 0; i < 3; i++) {
        ask(31, 3, END);
        int64_t error = error_of_end();
        if (error == 0)
            setrlimit(RLIMIT_FSIZE, &was);
        assert_int_equal(error, -1);
        assert_int_equal(in_force(), 0);
    }
    setrlimit(RLIMIT_FSIZE, &was);
    ask(31, 3, END);
    assert_int_equal(error_of_end(), 0);
    close_bed();
    open_bed();
    assert_int_equal(in_force(), 0);
}

/* --- without memory */

static void no_memory(void **state)
{
    (void)state;
    unsigned finished = 0;
    if (!sl_alloc_fail_after(0))
        skip();
    for (unsigned n = 1; n < 400 && finished < 3; n++) {
        struct octets f = frame_of(30, 3, START);
        login();
        settle(5);
        send_bytes(f.p, f.n);
        sl_alloc_fail_after(n);
        bool ended = until(frame_there, 200);
        unsigned failed = sl_alloc_failed();
        sl_alloc_fail_after(0);
        free(f.p);
        if (!ended)
            fail_msg("allocation %u: neither an answer nor an end", n);
        finished += failed == 0;
    }
    assert_true(finished > 0);
    ngot = 0;
    login();
    ask(31, 3, END);
    json_decref(answer(31, 3, WAIT_MS));
    assert_int_equal(in_force(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        acl_test(start_and_end),
        acl_test(answered_when_in_force),
        acl_test(changes_wait_for_each_other),
        acl_test(a_change_outlives_its_connection),
        acl_test(what_is_left),
        acl_test(refusals),
        acl_test(long_names),
        acl_test(bad_filters),
        acl_test(too_many),
        acl_test(no_room),
        acl_test(another_issuer),
        acl_test(no_trail),
        cmocka_unit_test_setup_teardown(full_disk, set_up_on_disk, tear_down_on_disk),
        acl_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
