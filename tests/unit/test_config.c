#include "tests/unit/unit.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "config/config.h"
#include "config/values.h"

static char err[65536];
static char folder[64];

/* The smallest file that is good, without the parts that a test replaces. */
#define HEAD                                                                                       \
    "listen: 0.0.0.0:9093\n"                                                                       \
    "advertise: gate.example.com:9093\n"                                                           \
    "tls: {certificate: gate.pem, key: gate.key}\n"
#define ISSUERS                                                                                    \
    "issuers:\n"                                                                                   \
    "  - issuer: https://idp.example.com\n"                                                        \
    "    audience: sluice\n"
#define UPSTREAM "upstream: {brokers: [kafka-1:9092, '[::1]:9092']}\n"
#define REST     "store: {path: sluice.db}\n"
#define GOOD     HEAD ISSUERS UPSTREAM REST

static struct config *parse(const char *text)
{
    err[0] = '\0';
    return config_parse("/etc/sluice/s.yaml", text, strlen(text), false, err, sizeof(err));
}

static struct config *parse_good(const char *text)
{
    struct config *c = parse(text);
    if (!c)
        print_error("%s", err);
    assert_non_null(c);
    return c;
}

static void expect(const char *text, const char *why)
{
    struct config *c = parse(text);
    if (c || !strstr(err, why))
        print_error("wanted: %s\nsaid: %s\n", why, c ? "good" : err);
    assert_null(c);
    assert_non_null(strstr(err, why));
}

static void expect_warning(const char *text, const char *why)
{
    struct config *c = parse_good(text);
    const struct strings *w = config_warnings(c);
    bool found = false;
    for (size_t i = 0; i < w->count; i++)
        found |= strstr(w->at[i], why) != NULL;
    if (!found)
        print_error("no warning with: %s\n", why);
    assert_true(found);
    config_unref(c);
}

static void test_defaults(void **state)
{
    (void)state;
    struct config *c = parse_good(GOOD);
    assert_string_equal(c->file, "/etc/sluice/s.yaml");
    assert_string_equal(c->listen.host, "0.0.0.0");
    assert_int_equal(c->advertise.port, 9093);
    assert_true(c->workers >= 1);
    assert_int_equal(strlen(c->cluster_id), 22);
    assert_string_equal(c->tls.certificate, "/etc/sluice/gate.pem");
    assert_int_equal(c->tls.min_version, 12);
    assert_int_equal(c->nissuers, 1);
    assert_true(c->issuers[0].discovery);
    assert_true(c->issuers[0].shared_subjects);
    assert_int_equal(c->issuers[0].algorithms, ALG_ES256 | ALG_ES384 | ALG_PS256 | ALG_EDDSA);
    assert_string_equal(c->issuers[0].audience.at[0], "sluice");
    assert_null(c->issuers[0].claims.transfer);
    assert_int_equal(c->upstream.nbrokers, 2);
    assert_string_equal(c->upstream.brokers[1].host, "::1");
    assert_false(c->upstream.tls);
    assert_true(c->upstream.verify);
    assert_int_equal(c->upstream.mechanism, SASL_NONE);
    assert_string_equal(c->control.listen.host, "127.0.0.1");
    assert_int_equal(c->control.listen.port, 9090);
    assert_string_equal(c->audit.file, "-");
    assert_true(c->audit.stop_on_failure);
    assert_int_equal(c->limits.connections_per_principal, 64);
    assert_int_equal(c->limits.worker_buffer_bytes, 536870912);
    assert_int_equal(c->log_level, 2);
    assert_false(c->log_json);
    assert_false(c->development);
    assert_int_equal(config_warnings(c)->count, 0);
    struct config *other = parse_good(GOOD);
    assert_string_equal(other->cluster_id, c->cluster_id);
    assert_ptr_equal(config_ref(c), c);
    config_unref(c);
    config_unref(c);
    config_unref(other);
}

#define BIG                                                                                        \
    "listen: '[::]:9093'\nadvertise: gate.example.com:19093\nworkers: 3\ncluster_id: mine\n"       \
    "node_id: 7\ngroup_separator: '-'\ndevelopment: true\n"                                        \
    "tls: {certificate: /c.pem, key: /k.pem, min_version: 1.3, client_ca: ca.pem,\n"               \
    "      client_certificate: required, ciphersuites: TLS_AES_128_GCM_SHA256}\n"                  \
    "issuers:\n"                                                                                   \
    "  - issuer: http://a\n"                                                                       \
    "    audience: [one, two]\n"                                                                   \
    "    jwks_url: http://a/keys\n"                                                                \
    "    algorithms: [RS256, EdDSA]\n"                                                             \
    "    skew_s: 0\n"                                                                              \
    "    shared_subjects: false\n"                                                                 \
    "    claims: {transfer: a.b, operations: ops}\n"                                               \
    "  - {issuer: b, audience: x, jwks_file: keys.json}\n"                                         \
    "upstream:\n"                                                                                  \
    "  brokers: kafka:9092\n"                                                                      \
    "  address_map: {kafka-1.internal:9092: 10.0.0.1:19092}\n"                                     \
    "  security: tls\n"                                                                            \
    "  tls: {ca: ca.pem, verify: true, server_name: kafka}\n"                                      \
    "  sasl: {mechanism: SCRAM-SHA-512, username: 4711, password_file: secret}\n"                  \
    "grants:\n"                                                                                    \
    "  - id: 007\n"                                                                                \
    "    principal: {issuer: b, client: no}\n"                                                     \
    "    topics: [t-1, _schemas]\n"                                                                \
    "    group_prefix: bob\n"                                                                      \
    "    operations: [read, manage]\n"                                                             \
    "    not_before: 2026-01-31T12:00:00+01:00\n"                                                  \
    "    expires: 4102444800\n"                                                                    \
    "  - {id: two, principal: {issuer: http://a, subject: s}, topics: t}\n"                        \
    "control: {listen: off}\n"                                                                     \
    "audit: {file: a/b.jsonl, on_failure: count}\n"                                                \
    "limits: {in_flight: 5}\n"                                                                     \
    "log: {level: debug, format: json}\n"                                                          \
    "store: {path: /var/s.db}\n"

static void test_everything(void **state)
{
    (void)state;
    struct config *c = parse_good(BIG);
    assert_string_equal(c->listen.host, "::");
    assert_int_equal(c->workers, 3);
    assert_string_equal(c->cluster_id, "mine");
    assert_int_equal(c->node_id, 7);
    assert_string_equal(c->group_separator, "-");
    assert_int_equal(c->tls.min_version, 13);
    assert_int_equal(c->tls.client_certificate, 2);
    assert_int_equal(c->issuers[0].audience.count, 2);
    assert_false(c->issuers[0].discovery);
    assert_int_equal(c->issuers[0].algorithms, ALG_RS256 | ALG_EDDSA);
    assert_int_equal(c->issuers[0].skew_s, 0);
    assert_false(c->issuers[0].shared_subjects);
    assert_string_equal(c->issuers[0].claims.transfer, "a.b");
    assert_string_equal(c->issuers[1].jwks_file, "/etc/sluice/keys.json");
    assert_true(c->issuers[1].shared_subjects);
    assert_string_equal(c->upstream.address_map[0].from.host, "kafka-1.internal");
    assert_int_equal(c->upstream.address_map[0].to.port, 19092);
    assert_true(c->upstream.tls);
    assert_int_equal(c->upstream.mechanism, SASL_SCRAM_SHA_512);
    assert_string_equal(c->upstream.username, "4711");
    assert_int_equal(c->ngrants, 2);
    assert_string_equal(c->grants[0].id, "007");
    assert_string_equal(c->grants[0].client, "no");
    assert_string_equal(c->grants[0].topics.at[1], "_schemas");
    assert_int_equal(c->grants[0].operations, OP_READ | OP_MANAGE);
    assert_int_equal(c->grants[0].not_before, 1769857200);
    assert_int_equal(c->grants[0].expires, 4102444800);
    assert_string_equal(c->grants[1].group_prefix, "");
    assert_int_equal(c->grants[1].operations, OP_READ);
    assert_int_equal(c->control.listen.port, 0);
    assert_string_equal(c->audit.file, "/etc/sluice/a/b.jsonl");
    assert_false(c->audit.stop_on_failure);
    assert_true(c->log_json);
    assert_true(c->development);
    config_unref(c);
}

static void test_json_file(void **state)
{
    (void)state;
    config_unref(parse_good("{\"listen\": \"0.0.0.0:1\", \"advertise\": \"g:1\", \"workers\": 2,\n"
                            "\"tls\": {\"certificate\": \"c\", \"key\": \"k\"},\n"
                            "\"issuers\": [{\"issuer\": \"https://i\", \"audience\": [\"a\"]}],\n"
                            "\"upstream\": {\"brokers\": [\"k:9\"]}}"));
}

static void test_all_at_once(void **state)
{
    (void)state;
    assert_null(parse("advertize: x:1\nworkers: many\nlog: {level: loud}\n"));
    assert_non_null(strstr(err, "/etc/sluice/s.yaml:1: \"advertize\" is no option; did you mean "
                                "`advertise`?"));
    assert_non_null(strstr(err, "/etc/sluice/s.yaml:2: workers: \"many\" is no whole number; it "
                                "takes a whole number of threads from 0 to 256"));
    assert_non_null(strstr(err, "/etc/sluice/s.yaml:3: log.level: \"loud\" is none of its values; "
                                "it takes error, warn, info or debug"));
    assert_non_null(strstr(err, "listen: is missing; it takes host:port"));
    assert_non_null(strstr(err, "issuers: is missing"));
    assert_non_null(strstr(err, "upstream: is missing"));
    /* A buffer that is too small holds whole lines and says how many are missing. */
    char small[160];
    assert_null(
        config_parse("s.yaml", "workers: many\nnode_id: x\n", 25, false, small, sizeof(small)));
    assert_true(strlen(small) < sizeof(small));
}

static void test_types(void **state)
{
    (void)state;
    expect(GOOD "workers: \"2\"\n", "is a text in quotes");
    expect(GOOD "workers: 2.5\n", "is no whole number");
    expect(GOOD "workers: 0x10\n", "is no whole number");
    expect(GOOD "workers: 010\n", "is no whole number");
    expect(GOOD "workers: +1\n", "is no whole number");
    expect(GOOD "workers: -1\n", "is out of range");
    expect(GOOD "workers: 257\n", "is out of range");
    expect(GOOD "workers: 99999999999999999999\n", "is no whole number");
    expect(GOOD "workers: [1]\n", "is a list");
    expect(GOOD "workers: {}\n", "is a mapping");
    expect(GOOD "workers:\n", "has no value");
    expect(GOOD "cluster_id: ~\n", "has no value");
    expect(GOOD "cluster_id: ''\n", "is empty");
    expect(GOOD "cluster_id: \"a\\nb\"\n", "control character");
    expect(GOOD "development: yes\n", "is no boolean; it takes true or false");
    expect(GOOD "development: 'true'\n", "is a text in quotes");
    expect(GOOD "log: 1\n", "log: is no mapping");
    expect(GOOD "grants: {}\n", "grants: is no list");
    expect(GOOD "grants: [x]\n", "grants[0]: is no mapping");
    expect(GOOD "limits: {in_flight: 0}\n", "it takes a whole number of requests from 1 to 10000");
    expect(GOOD "limits: {inflight: 0}\n", "did you mean `limits.in_flight`?");
    expect(GOOD "\"\\e[31mred\": 1\n", "\"\\x1b[31mred\" is no option");
}

static void test_addresses(void **state)
{
    char host[VALUE_HOST_BYTES];
    uint16_t port;
    (void)state;
    static const char *const bad[] = {"",     "a",      ":1",       "a:",     "a:0",   "a:65536",
                                      "a:1x", "a b:1",  "[::1:1",   "::1:1",  "[x]:1", "a:01",
                                      "-a:1", "a..b:1", "[::1]x:1", "a/b:1",  "[]:1",  "*:1",
                                      "]:1",  "[:1",    "a:-1",     "a\xc3:1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(value_address(bad[i], host, &port));
    assert_true(value_address("[fe80::1]:65535", host, &port));
    assert_string_equal(host, "fe80::1");
    assert_true(value_address("kafka_1.local:1", host, &port));
    char longest[300];
    memset(longest, 'a', sizeof(longest));
    strcpy(longest + 254, ":1");
    assert_false(value_address(longest, host, &port));
    assert_true(value_address(longest + 1, host, &port));
    assert_true(value_loopback("127.9.9.9") && value_loopback("::1") &&
                value_loopback("LocalHost"));
    assert_false(value_loopback("0.0.0.0") || value_loopback("::") || value_loopback("10.0.0.1"));
    assert_false(value_loopback("127.0.0.1.example.com"));
    expect(HEAD ISSUERS "upstream: {brokers: [kafka]}\n", "\"kafka\" names no port");
    expect(HEAD ISSUERS "upstream: {brokers: []}\n", "is an empty list");
    expect(HEAD ISSUERS "upstream: {brokers: ['gate.example.com:9093']}\n", "this gate itself");
    expect(HEAD ISSUERS "upstream: {brokers: ['k:1'], address_map: {a: 'b:1'}}\n", "names no port");
    expect(GOOD "control: {listen: 0.0.0.0:9093}\n", "the clients' own address");
}

static void test_times(void **state)
{
    int64_t t;
    (void)state;
    static const char *const bad[] = {"",
                                      "2026-01-01",
                                      "2026-02-30T00:00:00Z",
                                      "2026-13-01T00:00:00Z",
                                      "0",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:00:60Z",
                                      "2026-01-01T00:00:00",
                                      "-5",
                                      "2026-01-01T00:00:00.Z",
                                      "2026-01-01T00:00:00+1:00",
                                      "2026-01-01T00:00:00+24:00",
                                      "1970-01-01T00:00:00Z",
                                      "2026-01-01T00:00:00Zx",
                                      "253402300800"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(value_time(bad[i], &t));
    assert_true(value_time("2024-02-29T23:59:59.123Z", &t));
    assert_int_equal(t, 1709251199);
    assert_true(value_time("2024-02-29t23:59:59-01:30", &t));
    assert_int_equal(t, 1709251199 + 5400);
    /* Every truncation is refused. */
    static const char whole[] = "2024-02-29T23:59:59+00:00";
    char cut[sizeof(whole)];
    for (size_t n = 5; n < strlen(whole); n++) {
        memcpy(cut, whole, n);
        cut[n] = '\0';
        assert_false(value_time(cut, &t));
    }
}

static void test_topics_and_prefixes(void **state)
{
    char name[260];
    (void)state;
    assert_null(value_topic_fault("serial-parts.v1_x"));
    assert_null(value_topic_fault("__own"));
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      "a b",
                                      "a*",
                                      "a/b",
                                      "ä",
                                      "a\n",
                                      "__consumer_offsets",
                                      "__transaction_state",
                                      "__share_group_state"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_non_null(value_topic_fault(bad[i]));
    memset(name, 'a', sizeof(name));
    name[250] = '\0';
    assert_non_null(value_topic_fault(name));
    name[249] = '\0';
    assert_null(value_topic_fault(name));
    assert_non_null(value_prefix_fault(""));
    assert_non_null(value_prefix_fault("*"));
    assert_non_null(value_prefix_fault("a\tb"));
    assert_null(value_prefix_fault("bob*"));
}

static void test_urls(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           "ftp://a",     "https://",    "https:///x", "https://:1", "https://u@h/",
        "https://h#", "https://h /", "https://h\"", "http://h",   "HTTPS://h",  "https://h\xc3"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_non_null(value_url_fault(bad[i], false));
    assert_null(value_url_fault("https://h:8443/a?b=c", false));
    assert_null(value_url_fault("http://h", true));
    assert_null(value_url_fault("https://h/a@b", false));
}

static void test_issuers(void **state)
{
#define ISSUER(rest) HEAD UPSTREAM REST "issuers: [{issuer: 'https://i', audience: a" rest "}]\n"
    (void)state;
    expect(HEAD UPSTREAM REST "issuers: []\n", "issuers: is empty");
    expect(HEAD UPSTREAM REST "issuers: [{}]\n", "issuers[0].issuer: is missing");
    expect(HEAD UPSTREAM REST "issuers: [{}]\n", "issuers[0].audience: is missing");
    expect(HEAD UPSTREAM REST "issuers: [{issuer: x, audience: []}]\n", "is an empty list");
    expect(HEAD UPSTREAM REST "issuers: [{issuer: x, audience: a}]\n", "discovery needs");
    expect(ISSUER(", jwks_url: 'https://i/k', jwks_file: f"), "contradicts `jwks_url`");
    expect(ISSUER(", jwks_url: 'https://i/k', discovery: true"), "contradicts `jwks_url`");
    expect(ISSUER(", jwks_url: 'http://i/k'"), "is not https");
    expect(ISSUER(", discovery: false"), "leaves no keys");
    expect(ISSUER(", skew_s: 31"), "is out of range");
    expect(ISSUER(", algorithms: [HS256]"), "\"HS256\" is none of its values");
    expect(ISSUER(", algorithms: [none]"), "\"none\" is none of its values");
    expect(ISSUER(", algorithms: [es256]"), "is none of its values");
    expect(ISSUER(", algorithms: []"), "is an empty list");
    expect(ISSUER(", refresh_s: 600, max_age_s: 60"), "is less than `refresh_s`");
    expect(ISSUER("}, {issuer: 'https://i', audience: b"), "stands in issuers[0] already");
    expect_warning("development: true\n" ISSUER(", jwks_url: 'http://i/k'"), "plain http");
    expect_warning(ISSUER(", events: {audience: sluice}"), "reach nobody");
}

static void test_upstream(void **state)
{
#define UP(rest) HEAD ISSUERS REST "upstream: {brokers: ['k:1']" rest "}\n"
    (void)state;
    expect(UP(", tls: {ca: x}"), "means nothing while `upstream.security` is plaintext");
    expect(UP(", security: tls, tls: {certificate: x}"), "upstream.tls.key: is missing");
    expect(UP(", security: tls, tls: {key: x}"), "upstream.tls.certificate: is missing");
    expect(UP(", sasl: {}"), "upstream.sasl.mechanism: is missing");
    expect(UP(", sasl: {mechanism: PLAIN}"), "upstream.sasl.username: is missing");
    expect(UP(", sasl: {mechanism: SCRAM-SHA-256, username: u}"), "password_file: is missing");
    expect(UP(", sasl: {mechanism: GSSAPI}"), "is none of its values");
    expect(UP(", sasl: {mechanism: OAUTHBEARER, client_id: c}"), "token_url: is missing");
    expect(UP(", sasl: {mechanism: PLAIN, username: u, password_file: p, scope: s}"),
           "scope: means nothing to PLAIN");
    expect(UP(", sasl: {mechanism: OAUTHBEARER, username: u, token_url: 'https://i/t', client_id: "
              "c, client_secret_file: s}"),
           "username: means nothing to OAUTHBEARER");
    expect_warning(UP(", sasl: {mechanism: PLAIN, username: u, password_file: p}"),
                   "PLAIN over plaintext");
    expect_warning(UP(", security: tls, tls: {verify: false}"), "takes any broker's certificate");
    expect(UP(", address_map: {k: v}"), "names no port");
    expect(UP(", address_map: [a]"), "is no mapping");
}

static void test_grants(void **state)
{
#define GRANT(rest) GOOD "grants: [{id: g, principal: {subject: s}" rest "}]\n"
    (void)state;
    struct config *c = parse_good(GRANT(", topics: [t]"));
    assert_string_equal(c->grants[0].issuer, "https://idp.example.com");
    config_unref(c);
    expect(GRANT(", operations: [read]"), "grants[0].topics: is missing");
    expect(GRANT(", operations: [manage]"), "grants[0].group_prefix: is missing");
    expect(GRANT(", topics: [t], group_prefix: ''"), "would match every group");
    expect(GRANT(", topics: [t], group_prefix: '*'"), "is no wildcard");
    expect(GRANT(", topics: ['*']"), "wildcards and patterns");
    expect(GRANT(", topics: [t], operations: [admin]"), "\"admin\" is none of its values");
    expect(GRANT(", topics: [t], not_before: 2027-01-01T00:00:00Z, expires: 1798761600"),
           "is not after `not_before`");
    expect(GRANT(", topics: [t], expires: tomorrow"), "is no time");
    expect(GOOD "grants: [{id: g, topics: [t]}]\n", "grants[0].principal: is missing");
    expect(GOOD "grants: [{id: g, principal: {}, topics: [t]}]\n", "neither subject nor client");
    expect(GOOD "grants: [{id: g, principal: {issuer: x, subject: s}, topics: [t]}]\n",
           "is none of `issuers`");
    expect(GOOD "grants: [{id: g, principal: {subject: s}, topics: [t]},\n"
                " {id: g, principal: {subject: s}, topics: [t]}]\n",
           "s.yaml:10: grants[1].id: \"g\" stands in grants[0] already");
    expect(HEAD UPSTREAM REST "issuers: [{issuer: 'https://i', audience: a}, {issuer: 'https://j',"
                              " audience: a}]\ngrants: [{id: g, principal: {subject: s}, topics: "
                              "[t]}]\n",
           "principal.issuer: is missing");
    expect_warning(GRANT(", topics: [t], expires: 1000"), "lies in the past");
    expect_warning(GOOD "grants: [{id: a, principal: {subject: s}, topics: [t]},\n"
                        " {id: b, principal: {subject: s}, topics: [u]}]\n",
                   "has 2 grants and its issuer's subjects are shared");
    c = parse_good(GOOD "grants: [{id: a, principal: {subject: s}, topics: [t], tokens: [j1]},\n"
                        " {id: b, principal: {subject: s}, topics: [u], tokens: [j2]}]\n");
    assert_int_equal(config_warnings(c)->count, 0);
    assert_int_equal(c->grants[1].tokens.count, 1);
    config_unref(c);
    expect(GRANT(", topics: [t], tokens: ['']"), "tokens");
    expect(GRANT(", topics: [t], tokens: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"), "16");
    /* Where transfers come and go, tokens must tell them apart. */
#define SIGNALING "signaling: {listen: '127.0.0.1:9191'}\n"
    expect_warning(GOOD SIGNALING, "has shared subjects only");
    c = parse_good(HEAD UPSTREAM REST SIGNALING
                   "issuers: [{issuer: 'https://i', audience: a, claims: {transfer: t}}]\n");
    assert_int_equal(config_warnings(c)->count, 0);
    config_unref(c);
    c = parse_good(HEAD UPSTREAM REST SIGNALING
                   "issuers: [{issuer: 'https://i', audience: a, shared_subjects: false}]\n");
    assert_int_equal(config_warnings(c)->count, 0);
    config_unref(c);
#define TWO                                                                                        \
    "grants: [{id: a, principal: {subject: s}, topics: [t], group_prefix: bobby-1},\n"             \
    " {id: b, principal: {subject: r}, topics: [u], group_prefix: bob}]\n"
    expect_warning(GOOD TWO,
                   "grants[1].group_prefix: \"bob\" also covers \"bobby-1\" of grants[0]");
    c = parse_good("group_separator: '-'\n" GOOD TWO);
    assert_int_equal(config_warnings(c)->count, 0);
    config_unref(c);
    expect("limits: {grants: 1}\n" GOOD TWO, "below the 2 grants");
}

static void test_control_tls_limits(void **state)
{
    (void)state;
    expect(GOOD "control: {listen: 0.0.0.0:9090}\n", "is not a loopback address");
    expect(GOOD "control: {listen: 10.0.0.1:9090, token_file: t}\n", "is not a loopback address");
    expect(GOOD "control: {listen: 'x:1', tls: {certificate: c}, token_file: t}\n",
           "control.tls.key: is missing");
    config_unref(parse_good(GOOD "control: {listen: 'x:1', tls: {certificate: c, key: k}, "
                                 "token_file: t}\n"));
    expect("listen: a:1\nadvertise: 0.0.0.0:1\n", "no client can reach");
    expect("tls: {certificate: c, key: k, client_certificate: required}\n", "tls.client_ca");
    expect("tls: {certificate: c, key: k, min_version: 1.1}\n", "it takes 1.2 or 1.3");
    expect(GOOD "limits: {frame_bytes: 65536, frame_preauth_bytes: 131072}\n",
           "is above `limits.frame_bytes`");
    expect(GOOD "limits: {session_buffer_bytes: 1048576}\n", "is below one whole request");
    expect_warning(HEAD ISSUERS UPSTREAM, "lost at a restart");
    expect_warning(GOOD "control: {listen: off}\n", "no way to revoke");
}

static void put_file(const char *name, const char *text, mode_t mode)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    chmod(path, mode);
}

#define PEM "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
#define KEY "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n"
#define SASL                                                                                       \
    "upstream: {brokers: ['k:1'], sasl: {mechanism: PLAIN, username: u, password_file: p}}\n"

static void test_files(void **state)
{
    char path[128];
    (void)state;
    snprintf(path, sizeof(path), "%s/s.yaml", folder);
    put_file("gate.pem", PEM, 0644);
    put_file("gate.key", KEY, 0600);
    put_file("p", "pa ss\n", 0600);
    put_file("t", "# ours\n01234567890123456789\r\n\nabcdefghijabcdefghijabc", 0600);
    put_file("s.yaml", HEAD ISSUERS SASL REST "control: {token_file: t}\n", 0644);
    struct config *c = config_load(path, err, sizeof(err));
    if (!c)
        print_error("%s", err);
    assert_non_null(c);
    assert_string_equal(c->upstream.password, "pa ss");
    assert_int_equal(c->control.tokens.count, 2);
    assert_string_equal(c->control.tokens.at[0], "01234567890123456789");
    config_unref(c);

    put_file("gate.pem", KEY, 0644);
    put_file("gate.key", PEM, 0644);
    put_file("p", "one\ntwo\n", 0600);
    put_file("t", "short\n", 0600);
    put_file("s.yaml",
             HEAD ISSUERS SASL "store: {path: nowhere/x.db}\naudit: {file: .}\n"
                               "control: {token_file: t}\n",
             0644);
    assert_null(config_load(path, err, sizeof(err)));
    assert_non_null(strstr(err, "holds no PEM certificate"));
    assert_non_null(strstr(err, "holds no PEM private key"));
    assert_non_null(strstr(err, "holds more than one line"));
    assert_non_null(strstr(err, "is no token"));
    assert_null(strstr(err, "short"));
    assert_non_null(strstr(err, "nowhere cannot be used: No such file"));
    assert_non_null(strstr(err, "is a folder"));
    put_file("gate.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n", 0600);
    put_file("p", "", 0600);
    put_file("t", "# nothing\n", 0600);
    assert_null(config_load(path, err, sizeof(err)));
    assert_non_null(strstr(err, "is encrypted"));
    assert_non_null(strstr(err, "is empty"));
    assert_non_null(strstr(err, "holds no token"));
    assert_null(config_load("/nowhere/s.yaml", err, sizeof(err)));
    assert_string_equal(err, "/nowhere/s.yaml: cannot be read: No such file or directory\n");
    assert_null(config_load(folder, err, sizeof(err)));
    assert_non_null(strstr(err, "Is a directory"));
}

static struct grant_config *grant_of(const struct config *c, const char *text)
{
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    struct grant_config *g = config_grant_parse(c, "id-1", body, err, sizeof(err));
    json_decref(body);
    return g;
}

static void test_grant_over_api(void **state)
{
    (void)state;
    struct config *c = parse_good(GOOD);
    struct grant_config *g =
        grant_of(c, "{\"id\": \"id-1\", \"principal\": {\"subject\": \"s\"}, \"topics\": [\"t\"], "
                    "\"expires\": 4102444800}");
    if (!g)
        print_error("%s", err);
    assert_non_null(g);
    assert_string_equal(g->id, "id-1");
    assert_string_equal(g->issuer, "https://idp.example.com");
    assert_int_equal(g->expires, 4102444800);
    assert_int_equal(g->operations, OP_READ);
    config_grant_free(g);
    static const struct {
        const char *body, *why;
    } bad[] = {
        {"{}", "principal: is missing"},
        {"{\"id\": \"x\"}", "is not the one in the path"},
        {"{\"principal\": {\"subject\": 1}}", "principal.subject: is no text"},
        {"{\"principal\": {\"subject\": \"s\"}, \"topics\": [\"*\"]}", "wildcards"},
        {"{\"principal\": {\"subject\": \"s\"}, \"topics\": [\"t\"], \"x\": 1}", "is no option"},
        {"{\"principal\": {\"subject\": \"s\"}, \"topics\": [\"t\"], \"expires\": 1.5}", "no time"},
        {"{\"principal\": {\"subject\": \"s\"}, \"topics\": [\"t\"], \"asset\": null}", "no value"},
        {"{\"principal\": {\"subject\": \"s\\n\"}, \"topics\": [\"t\"]}", "control character"},
        {"{\"principal\": {\"issuer\": \"x\", \"subject\": \"s\"}, \"topics\": [\"t\"]}",
         "is none of `issuers`"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_null(grant_of(c, bad[i].body));
        if (!strstr(err, bad[i].why))
            print_error("%s: %s", bad[i].body, err);
        assert_non_null(strstr(err, bad[i].why));
    }
    config_unref(c);
}

static void test_restart(void **state)
{
    (void)state;
    struct config *a = parse_good(GOOD);
    static const struct {
        const char *text, *option;
    } changes[] = {
        {GOOD, NULL},
        {GOOD "limits: {in_flight: 7}\nlog: {level: debug}\n", NULL},
        {GOOD "workers: 77\n", "workers"},
        {GOOD "control: {listen: 127.0.0.1:1}\n", "control.listen"},
        {HEAD ISSUERS "upstream: {brokers: ['k:1']}\n" REST, "upstream.brokers"},
        {HEAD ISSUERS UPSTREAM "store: {path: other.db}\n", "store.path"},
        {GOOD "audit: {on_failure: count}\n", "audit.on_failure"},
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        struct config *b = parse_good(changes[i].text);
        const char *option = config_restart_option(a, b);
        if (changes[i].option)
            assert_string_equal(option, changes[i].option);
        else
            assert_null(option);
        config_unref(b);
    }
    config_unref(a);
}

static void test_every_truncation(void **state)
{
    (void)state;
    for (size_t n = 0; n <= strlen(BIG); n++) {
        char *cut = malloc(n + 1);
        memcpy(cut, BIG, n);
        struct config *c = config_parse("/s.yaml", cut, n, false, err, sizeof(err));
        assert_true(c || err[0]);
        config_unref(c);
        free(cut);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    if (!sl_alloc_fail_after(0))
        skip();
    for (unsigned i = 1;; i++) {
        sl_alloc_fail_after(i);
        struct config *c = config_parse("/s.yaml", BIG, strlen(BIG), false, err, sizeof(err));
        bool failed = sl_alloc_failed() > 0;
        sl_alloc_fail_after(0);
        assert_true(c ? !failed : failed && strstr(err, "out of memory"));
        config_unref(c);
        if (!failed)
            break;
    }
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/sluice-config-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    static const char *const names[] = {"gate.pem", "gate.key", "p", "t", "s.yaml"};
    char path[128];
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_json_file),
        cmocka_unit_test(test_all_at_once),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_topics_and_prefixes),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_issuers),
        cmocka_unit_test(test_upstream),
        cmocka_unit_test(test_grants),
        cmocka_unit_test(test_control_tls_limits),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_grant_over_api),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
