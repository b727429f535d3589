/* The transfers' table: notes and back, what is forgotten when, who may send what. */
#include "tests/unit/unit.h"

#include <string.h>

#include "base/loop.h"
#include "edc/flow.h"
#include "tests/unit/token.h"

static struct loop *loop;
static struct store *store;
static struct config *config;
static struct flows *flows;

static int apply(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    (void)arg;
    (void)i;
    (void)c;
    change_ack_done(ack, OK, 0);
    return OK;
}

static int setup(void **state)
{
    const struct store_peers peers = {.count = 1, .apply = apply};
    char err[256];
    (void)state;
    config = token_config("issuers: [{issuer: 'https://i.example', audience: sluice}]\n");
    loop = loop_new();
    store = store_open(NULL, loop, config, err, sizeof(err));
    assert_int_equal(store_start(store, &peers, NULL, NULL), OK);
    flows = flows_new(store);
    return flows ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    flows_free(flows);
    store_close(store);
    loop_free(loop);
    config_unref(config);
    return 0;
}

static struct flow *add(const char *id, int64_t now_s)
{
    struct flow *flow;
    assert_int_equal(flow_add(flows, id, DIALECT_LEGACY, now_s, &flow), OK);
    return flow;
}

static void test_note(void **state)
{
    struct flow *flow = add("p1", 100), *back;
    char *text;
    (void)state;
    for (int i = 0; i < FLOW_TEXTS; i++)
        flow_set(flow, (enum flow_text)i, i % 2 ? "text \"quoted\"" : "other");
    assert_int_equal(flow_add_token(flow, "before"), OK);
    flow->operations = OP_READ | OP_MANAGE;
    flow->revoked = 42;
    flow->expires = 1234567890123;
    flow->token_life = 300;
    flow->dspace_2025 = true;
    flow->had_secret = true;
    flow->news = NEWS_FAILED;
    flow_enter(flows, flow, FLOW_SUSPENDED, 200);
    assert_int_equal(flow->ntokens, 0); /* those of before are worth nothing any more */
    for (int i = 0; i < FLOW_TOKENS_MAX + 3; i++)
        assert_int_equal(flow_add_token(flow, i == FLOW_TOKENS_MAX + 2 ? "last" : "jti"), OK);
    text = flow_write(flow);
    assert_non_null(text);
    back = flow_read("p1", text);
    assert_non_null(back);
    for (int i = 0; i < FLOW_TEXTS; i++)
        assert_string_equal(back->text[i], flow->text[i]);
    assert_int_equal(back->ntokens, FLOW_TOKENS_MAX);
    assert_string_equal(back->tokens[FLOW_TOKENS_MAX - 1], "last");
    assert_int_equal(back->state, FLOW_SUSPENDED);
    assert_int_equal(back->dialect, DIALECT_LEGACY);
    assert_int_equal(back->operations, OP_READ | OP_MANAGE);
    assert_int_equal(back->revoked, 42);
    assert_int_equal(back->changed, 200);
    assert_int_equal(back->expires, 1234567890123);
    assert_int_equal(back->token_life, 300);
    assert_int_equal(back->news, NEWS_FAILED);
    assert_true(back->dspace_2025 && back->had_secret && !back->type_as_id);
    flow_free(back);
    for (size_t n = strlen(text); n-- > 0;) {
        text[n] = '\0';
        back = flow_read("p1", text);
        assert_null(back);
    }
    free(text);
}

static void test_bad_notes(void **state)
{
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "{\"state\":7}",
        "{\"state\":\"GONE\"}",
        "{\"state\":\"STARTED\",\"news\":9}",
        "{\"state\":\"STARTED\",\"tokens\":[7]}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        assert_null(flow_read("p", texts[i]));
}

/* What has ended goes after its time, what runs never, what is still to be told not yet. */
static void test_sweep(void **state)
{
    struct flow *ended = add("ended", 1000), *runs = add("runs", 1000), *told = add("told", 1000);
    (void)state;
    flow_set(runs, FLOW_TOPICS, "t");
    flow_enter(flows, ended, FLOW_TERMINATED, 1000);
    flow_enter(flows, runs, FLOW_STARTED, 1000);
    flow_enter(flows, told, FLOW_TERMINATED, 1000);
    told->news = NEWS_FAILED;
    add("word", 1000); /* the end of what was never started */
    flows_sweep(flows, 1000 + FLOW_KEPT_S);
    assert_int_equal(flows_count(flows), 4);
    flows_sweep(flows, 1001 + FLOW_KEPT_S);
    assert_int_equal(flows_count(flows), 2);
    assert_null(flow_find(flows, "ended"));
    assert_non_null(flow_find(flows, "runs"));
    assert_non_null(flow_find(flows, "told"));
    assert_int_equal(flows_in(flows, FLOW_TERMINATED), 1);
    assert_int_equal(flows_in(flows, FLOW_STARTED), 1);
}

/* Full of running transfers nothing more is taken; the oldest ended one makes room. */
static void test_full(void **state)
{
    struct flow *flow;
    char id[32];
    (void)state;
    for (int i = 0; i < FLOWS_MAX; i++) {
        snprintf(id, sizeof(id), "p%d", i);
        flow = add(id, i);
        flow_set(flow, FLOW_TOPICS, "t");
    }
    assert_int_equal(flow_add(flows, "one more", DIALECT_DPS, 1, &flow), ERR_LIMIT);
    flow_enter(flows, flow_find(flows, "p7"), FLOW_TERMINATED, 70);
    flow_enter(flows, flow_find(flows, "p9"), FLOW_COMPLETED, 60);
    assert_int_equal(flow_add(flows, "one more", DIALECT_DPS, 1, &flow), OK);
    assert_null(flow_find(flows, "p9"));
    assert_non_null(flow_find(flows, "p7"));
    assert_int_equal(flow_add(flows, "", DIALECT_DPS, 1, &flow), ERR_LIMIT);
}

static void test_may(void **state)
{
    struct flow *flow = add("p", 1);
    (void)state;
    assert_true(flow_may(NULL, DIALECT_LEGACY, SIGNAL_TERMINATE));
    assert_true(flow_may(NULL, DIALECT_DPS, SIGNAL_START));
    assert_false(flow_may(NULL, DIALECT_DPS, SIGNAL_RESUME));
    flow_enter(flows, flow, FLOW_STARTED, 2);
    assert_true(flow_may(flow, DIALECT_LEGACY, SIGNAL_START));
    assert_false(flow_may(flow, DIALECT_DPS, SIGNAL_START));
    flow_enter(flows, flow, FLOW_STARTING, 2);
    assert_false(flow_may(flow, DIALECT_DPS, SIGNAL_SUSPEND));
    assert_false(flow_may(flow, DIALECT_DPS, SIGNAL_START));
    assert_true(flow_may(flow, DIALECT_DPS, SIGNAL_TERMINATE));
    flow_enter(flows, flow, FLOW_COMPLETED, 2);
    for (int i = 0; i < FLOW_SIGNALS; i++) {
        bool end = i == SIGNAL_SUSPEND || i == SIGNAL_TERMINATE;
        assert_false(flow_may(flow, DIALECT_DPS, (enum flow_signal)i));
        assert_int_equal(flow_may(flow, DIALECT_LEGACY, (enum flow_signal)i), end);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_note), TEST(test_bad_notes), TEST(test_sweep), TEST(test_full), TEST(test_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
