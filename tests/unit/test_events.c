/* The routes of security events: over real HTTP, with the real store and faked workers. What each
 * event comes to is tests/unit/test_secevent.c's matter. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "audit/audit.h"
#include "base/log.h"
#include "base/loop.h"
#include "edc/events.h"
#include "tests/unit/port.h"
#include "tests/unit/token.h"
#include "tests/unit/trail.h"

#define ISS  "https://idp.example.com"
#define CAEP "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
#define BCL  "http://schemas.openid.net/event/backchannel-logout"

#define AS_SET  "Content-Type: application/secevent+jwt"
#define AS_FORM "Content-Type: application/x-www-form-urlencoded"

static struct loop *loop;
static struct store *store;
static struct server *server;
static struct events *events;
static struct config *config;
static struct audit *trail;
static struct audit_ring *trail_ring;
static EVP_PKEY *key, *new_key;
static struct keyring *rings[2]; /* before and after the new key */
static _Atomic unsigned which;
static pthread_t thread;
static char url[64], trail_path[64], answer[65536], headers_seen[8192];
static atomic_int unknown_kids, apply_fails, hold;
static atomic_uint changes;
static struct change_ack *held[64]; /* the loop's thread, or when it stands */
static unsigned nheld;

/* --- what is behind it */

static struct keyring *keys(void *arg)
{
    (void)arg;
    return which < 2 ? keyring_ref(rings[which]) : NULL;
}

static void unknown_kid(void *arg, const char *issuer)
{
    (void)arg;
    assert_string_equal(issuer, ISS);
    unknown_kids++;
}

static int apply(void *arg, unsigned i, const struct change *c, struct change_ack *ack)
{
    (void)arg;
    (void)i;
    (void)c;
    if (apply_fails)
        return ERR_LIMIT;
    changes++;
    if (hold)
        held[nheld++] = ack;
    else
        change_ack_done(ack, OK, 2);
    return OK;
}

static void *run(void *arg)
{
    (void)arg;
    assert_int_equal(loop_run(loop), OK);
    return NULL;
}

static bool let_all_in(void *arg, struct ask *a, bool open)
{
    (void)arg;
    if (open)
        return true;
    ask_error(a, 404, "not_found", "no such path");
    return false;
}

static struct jwks *set_of(const EVP_PKEY *k, const char *kid, const EVP_PKEY *k2)
{
    char text[2048], err[128], *one = token_jwk(k, kid, ""), *two = token_jwk(k2, "k2", "");
    struct jwks *set;
    unsigned ignored;
    int n = snprintf(text, sizeof(text), "{\"keys\":[%s%s%s]}", one, k == k2 ? "" : ",",
                     k == k2 ? "" : two);

    assert_int_equal(jwks_parse(text, (size_t)n, &set, &ignored, err, sizeof(err)), OK);
    free(one);
    free(two);
    return set;
}

static int group_setup(void **state)
{
    struct jwks *before, *after;

    (void)state;
    log_setup(LOG_ERROR, false);
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    key = EVP_EC_gen("P-256");
    new_key = EVP_EC_gen("P-256");
    config = token_config("issuers: [{issuer: '" ISS "', audience: sluice, "
                          "events: {audience: [sluice, c1]}}]\n");
    before = set_of(key, "k1", key);
    after = set_of(key, "k1", new_key);
    rings[0] = keyring_new(config, &before);
    rings[1] = keyring_new(config, &after);
    jwks_unref(before);
    jwks_unref(after);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    keyring_unref(rings[0]);
    keyring_unref(rings[1]);
    config_unref(config);
    EVP_PKEY_free(key);
    EVP_PKEY_free(new_key);
    curl_global_cleanup();
    return 0;
}

static struct edc_parts parts;
static bool own_file; /* the store is on the disk */
static char store_dir[64], store_file[80];

static void open_all(void)
{
    struct store_peers peers = {.count = 1, .apply = apply};
    struct server_settings s = {.name = "signaling",
                                .listen = {"127.0.0.1", free_port()},
                                .body_max = EDC_BODY_MAX,
                                .guard = let_all_in};
    char err[512] = "";

    changes = nheld = 0;
    loop = loop_new();
    store = store_open(own_file ? store_file : NULL, loop, config, err, sizeof(err));
    if (!store)
        fail_msg("%s", err);
    assert_int_equal(store_start(store, &peers, NULL, NULL), OK);
    parts = (struct edc_parts){.keys = keys, .unknown_kid = unknown_kid};
    parts.changes = (struct changes){.store = store, .audit = trail_ring};
    events = events_new(loop, &parts);
    assert_non_null(events);
    s.tables[0] = (struct route_table){events_routes, events_routes_count, events};
    server = server_new(loop, &s, err, sizeof(err));
    if (!server)
        fail_msg("%s", err);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)server_port(server));
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    while (changes == 0) /* what was in force at the start */
        usleep(1000);
    changes = 0;
}

static void close_all(void)
{
    loop_stop(loop);
    pthread_join(thread, NULL);
    server_free(server);
    events_free(events);
    for (unsigned i = 0; i < nheld; i++)
        change_ack_done(held[i], OK, 0);
    store_close(store);
    loop_free(loop);
}

static int setup(void **state)
{
    char err[512] = "";

    (void)state;
    which = 0;
    unknown_kids = apply_fails = hold = 0;
    strcpy(trail_path, "/tmp/sluice-events-XXXXXX");
    close(mkstemp(trail_path));
    trail = audit_open(trail_path, false, err, sizeof(err));
    trail_ring = audit_ring_new(trail);
    open_all();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close_all();
    audit_ring_free(trail_ring);
    audit_close(trail);
    unlink(trail_path);
    return 0;
}

static int setup_on_disk(void **state)
{
    strcpy(store_dir, "/tmp/sluice-events-XXXXXX");
    if (!mkdtemp(store_dir))
        return -1;
    snprintf(store_file, sizeof(store_file), "%s/s.db", store_dir);
    own_file = true;
    return setup(state);
}

static int teardown_on_disk(void **state)
{
    teardown(state);
    own_file = false;
    unlink(store_file);
    return rmdir(store_dir);
}

/* --- asking */

static size_t take(char *p, size_t size, size_t n, void *arg)
{
    char *out = arg;
    size_t at = strlen(out), room = out == answer ? sizeof(answer) : sizeof(headers_seen);

    if (at + size * n >= room)
        return 0;
    memcpy(out + at, p, size * n);
    out[at + size * n] = '\0';
    return size * n;
}

static long post_for(const char *path, const char *type, const char *body, long timeout_ms)
{
    char whole[256];
    long status = 0;
    CURL *curl = curl_easy_init();
    struct curl_slist *list = curl_slist_append(NULL, type);

    answer[0] = headers_seen[0] = '\0';
    snprintf(whole, sizeof(whole), "%s%s", url, path);
    curl_easy_setopt(curl, CURLOPT_URL, whole);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, headers_seen);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(list);
    curl_easy_cleanup(curl);
    return status;
}

static long post(const char *path, const char *type, const char *body)
{
    return post_for(path, type, body, 6000);
}

static char *signed_with(EVP_PKEY *k, const char *kid, const char *typ, const char *claims)
{
    char header[128];

    snprintf(header, sizeof(header), "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"%s\"}", kid, typ);
    return token_sign("ES256", k, header, claims);
}

static char *set_text(const char *jti, const char *aud)
{
    char claims[1024];

    snprintf(claims, sizeof(claims),
             "{\"iss\":\"" ISS "\",\"aud\":\"%s\",\"iat\":%lld,\"jti\":\"%s\","
             "\"sub_id\":{\"format\":\"iss_sub\",\"iss\":\"" ISS "\",\"sub\":\"bob\"},"
             "\"events\":{\"" CAEP "\":{}}}",
             aud, (long long)time(NULL), jti);
    return signed_with(key, "k1", "secevent+jwt", claims);
}

static long post_set(const char *jti)
{
    char *text = set_text(jti, "sluice");
    long status = post("/security-events", AS_SET, text);

    free(text);
    return status;
}

static char *admin_text(EVP_PKEY *k, const char *kid, const char *id, const char *action,
                        const char *more)
{
    char claims[8192];

    snprintf(claims, sizeof(claims),
             "{\"id\":\"%s\",\"expiration\":%lld,\"resource\":\"c1\",\"action\":\"%s\"%s}", id,
             (long long)time(NULL) + 30, action, more);
    return signed_with(k, kid, "JWT", claims);
}

struct tally {
    enum revoke_kind kind;
    const char *value;
    unsigned found, all;
};

static void count(void *arg, const struct revocation *r)
{
    struct tally *t = arg;

    t->all++;
    t->found += r->kind == t->kind && strcmp(r->value, t->value) == 0;
}

/* Asked in the loop's own thread; here, with the loop standing still. */
static bool in_force(enum revoke_kind kind, const char *value, unsigned all)
{
    struct tally t = {.kind = kind, .value = value};

    loop_stop(loop);
    pthread_join(thread, NULL);
    store_each_revocation(store, count, &t);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    return t.found == 1 && t.all == all;
}

/* Lines of the trail that hold both. */
static unsigned audited(const char *a, const char *b)
{
    return trail_lines(trail_path, a, b);
}

/* --- */

static void a_security_event(void **state)
{
    (void)state;
    assert_int_equal(post_set("e1"), 202);
    assert_string_equal(answer, "");
    assert_true(in_force(REVOKE_SUBJECT, "bob", 1));
    assert_int_equal(changes, 1);
    assert_int_equal(audited("session-revoked, e1", "\"uid\":\"bob\""), 1);
    assert_int_equal(audited("session-revoked, e1", "\"resources\":[{\"type\":\"revocation\""), 1);
}

static void once(void **state)
{
    (void)state;
    assert_int_equal(post_set("e1"), 202);
    assert_int_equal(post_set("e1"), 400);
    assert_non_null(strstr(answer, "\"err\":\"invalid_request\""));
    assert_non_null(strstr(answer, "it was taken before"));
    assert_non_null(strcasestr(headers_seen, "content-language: en"));
    assert_int_equal(changes, 1);
    assert_int_equal(post_set("e2"), 202);
    assert_int_equal(audited("it was taken before", "\"e1\""), 1);
}

static void refused(void **state)
{
    char *text = set_text("e1", "somebody-else"), *form;

    (void)state;
    assert_int_equal(post("/security-events", AS_SET, text), 400);
    assert_non_null(strstr(answer, "invalid_audience"));
    assert_int_equal(audited("another audience", "\"e1\""), 0); /* its id was not looked at */
    assert_int_equal(audited("another audience", "127.0.0.1"), 1);
    text[strlen(text) - 2] ^= 1;
    assert_int_equal(post("/security-events", AS_SET, text), 400);
    assert_int_equal(post("/security-events", AS_SET, ""), 400);
    assert_int_equal(post("/security-events", AS_SET, "x.y.z"), 400);
    assert_int_equal(post("/security-events", AS_FORM, text), 415);
    assert_int_equal(post("/backchannel-logout", AS_SET, text), 415);
    assert_int_equal(post("/backchannel-logout", AS_FORM, "logout=x"), 400);
    assert_non_null(strstr(answer, "\"error\":\"invalid_request\""));
    assert_int_equal(post("/backchannel-logout", AS_FORM, "logout_token=a.b.c&logout_token=a"),
                     400);
    assert_int_equal(post("/backchannel-logout", AS_FORM, "logout_token=%zz"), 400);
    form = malloc(40000);
    memset(form, 'a', 40000);
    memcpy(form, "logout_token=", 13);
    form[39999] = '\0';
    assert_int_equal(post("/backchannel-logout", AS_FORM, form), 400);
    assert_int_equal(post("/security-events", AS_SET, form), 400);
    assert_int_equal(post("/keycloak/k_logout", "Content-Type: text/plain", form), 400);
    assert_int_equal(changes, 0);
    free(form);
    free(text);
}

static void a_logout(void **state)
{
    char claims[1024], form[4096], *text;

    (void)state;
    snprintf(claims, sizeof(claims),
             "{\"iss\":\"" ISS "\",\"aud\":\"c1\",\"iat\":%lld,\"exp\":%lld,\"jti\":\"l1\","
             "\"sid\":\"s1\",\"sub\":\"bob\",\"events\":{\"" BCL "\":{}}}",
             (long long)time(NULL), (long long)time(NULL) + 60);
    text = signed_with(key, "k1", "logout+jwt", claims);
    snprintf(form, sizeof(form), "x=1&logout_token=%s", text);
    assert_int_equal(post("/backchannel-logout", AS_FORM, form), 200);
    assert_non_null(strcasestr(headers_seen, "cache-control: no-store"));
    assert_true(in_force(REVOKE_SESSION, "s1", 1));
    assert_int_equal(post("/backchannel-logout", AS_FORM, form), 400);
    assert_int_equal(audited("\"session\"", "s1"), 1);
    free(text);
}

static void keycloak(void **state)
{
    char *push, *kick, more[4096] = ",\"keycloakSessionIds\":[\"s0\"";

    (void)state;
    push = admin_text(key, "k1", "a1", "PUSH_NOT_BEFORE", ",\"notBefore\":1700000000");
    assert_int_equal(post("/keycloak/k_push_not_before", "Content-Type: text/plain", push), 204);
    assert_true(in_force(REVOKE_CLIENT, "c1", 1));
    assert_int_equal(post("/keycloak/k_push_not_before", "Content-Type: text/plain", push), 400);
    assert_int_equal(post("/keycloak/k_logout", "Content-Type: text/plain", push), 400);
    /* More than go to the store at once. */
    for (unsigned i = 1; i < 100; i++)
        snprintf(more + strlen(more), sizeof(more) - strlen(more), ",\"s%u\"", i);
    snprintf(more + strlen(more), sizeof(more) - strlen(more), "]");
    kick = admin_text(key, "k1", "a2", "LOGOUT", more);
    assert_int_equal(post("/keycloak/k_logout", "Content-Type: text/plain", kick), 204);
    assert_true(in_force(REVOKE_SESSION, "s99", 101));
    assert_int_equal(changes, 101);
    free(push);
    free(kick);
}

static void nothing_to_do(void **state)
{
    char claims[512], *text;

    (void)state;
    snprintf(claims, sizeof(claims),
             "{\"iss\":\"" ISS "\",\"aud\":\"sluice\",\"iat\":%lld,\"jti\":\"v1\",\"events\":"
             "{\"https://schemas.openid.net/secevent/ssf/event-type/verification\":{}}}",
             (long long)time(NULL));
    text = signed_with(key, "k1", "secevent+jwt", claims);
    assert_int_equal(post("/security-events", AS_SET, text), 202);
    assert_int_equal(changes, 0);
    assert_int_equal(audited("nothing to be revoked", "verification"), 1);
    assert_int_equal(post("/security-events", AS_SET, text), 400);
    free(text);
}

/* Each way remembers over a restart what it has taken, whether there was something to do or not;
 * what could not be carried out is not among it. */
static void once_over_a_restart(void **state)
{
    char *set = set_text("e1", "sluice"), *other = set_text("e2", "sluice");
    char *kick = admin_text(key, "k1", "a1", "LOGOUT", "");
    char *push = admin_text(key, "k1", "a2", "PUSH_NOT_BEFORE", ",\"notBefore\":1700000000");

    (void)state;
    for (int i = 0; i < 3; i++) {
        bool first = i == 0;

        assert_int_equal(post("/security-events", AS_SET, set), first ? 202 : 400);
        assert_int_equal(post("/keycloak/k_logout", "Content-Type: text/plain", kick),
                         first ? 204 : 400);
        assert_int_equal(post("/keycloak/k_push_not_before", "Content-Type: text/plain", push),
                         first ? 204 : 400);
        if (first) {
            apply_fails = 1;
            assert_int_equal(post("/security-events", AS_SET, other), 503);
            apply_fails = 0;
        }
        close_all();
        open_all();
    }
    assert_int_equal(post("/security-events", AS_SET, other), 202);
    free(set);
    free(other);
    free(kick);
    free(push);
}

static void sum_up(void *arg, const char *name, const char *labels, const char *type,
                   const char *help, double value)
{
    (void)type;
    (void)help;
    assert_string_equal(name, "sluice_events_total");
    if (value > 0)
        sprintf((char *)arg + strlen(arg), "%s=%g ", labels, value);
}

static void counted(void **state)
{
    char text[1024] = "";

    (void)state;
    assert_int_equal(post_set("e1"), 202);
    assert_int_equal(post_set("e1"), 400);
    assert_int_equal(post("/security-events", AS_SET, "x"), 400);
    assert_int_equal(post("/backchannel-logout", AS_FORM, "a=b"), 400);
    apply_fails = 1;
    assert_int_equal(post_set("e2"), 503);
    loop_stop(loop);
    pthread_join(thread, NULL);
    events_metrics(events, sum_up, text);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    assert_string_equal(text, "way=\"security event\",result=\"taken\"=1 "
                              "way=\"security event\",result=\"refused\"=2 "
                              "way=\"security event\",result=\"failed\"=1 "
                              "way=\"back-channel logout\",result=\"refused\"=1 ");
}

/* What could not be carried out may come again. */
static void a_store_that_fails(void **state)
{
    (void)state;
    apply_fails = 1;
    assert_int_equal(post_set("e1"), 503);
    assert_non_null(strcasestr(headers_seen, "retry-after: 5"));
    apply_fails = 0;
    assert_int_equal(post_set("e1"), 202);
}

/* The good answer leaves when it is done, not before; meanwhile it cannot be had twice. */
static void done_first(void **state)
{
    char *text = set_text("e1", "sluice");

    (void)state;
    hold = 1;
    assert_int_equal(post_for("/security-events", AS_SET, text, 300), 0);
    assert_int_equal(post("/security-events", AS_SET, text), 503);
    hold = 0;
    assert_int_equal(nheld, 1);
    nheld = 0;
    change_ack_done(held[0], OK, 1);
    usleep(50000);
    assert_int_equal(post("/security-events", AS_SET, text), 400);
    assert_non_null(strstr(answer, "taken before"));
    free(text);
}

/* The end, with an event under way and another that waits for a key. */
static void the_end_meanwhile(void **state)
{
    char *text = set_text("e1", "sluice");
    char *kick = admin_text(new_key, "k2", "a1", "LOGOUT", ",\"keycloakSessionIds\":[\"s\"]");

    (void)state;
    hold = 1;
    assert_int_equal(post_for("/security-events", AS_SET, text, 200), 0);
    assert_int_equal(post_for("/keycloak/k_logout", "Content-Type: text/plain", kick, 200), 0);
    free(text);
    free(kick);
}

static void *bring_the_key(void *arg)
{
    (void)arg;
    while (unknown_kids == 0)
        usleep(1000);
    usleep(300000);
    which = 1;
    return NULL;
}

/* A push after the keys were rotated: by the new key, which has to be fetched first. */
static void a_new_key(void **state)
{
    char *push = admin_text(new_key, "k2", "a1", "PUSH_NOT_BEFORE", ",\"notBefore\":1700000000");
    pthread_t bringer;

    (void)state;
    pthread_create(&bringer, NULL, bring_the_key, NULL);
    assert_int_equal(post("/keycloak/k_push_not_before", "Content-Type: text/plain", push), 204);
    pthread_join(bringer, NULL);
    assert_true(in_force(REVOKE_CLIENT, "c1", 1));
    free(push);
}

static void a_key_that_never_comes(void **state)
{
    char *push = admin_text(new_key, "k2", "a1", "PUSH_NOT_BEFORE", ",\"notBefore\":1700000000");

    (void)state;
    assert_int_equal(post_for("/keycloak/k_push_not_before", "Content-Type: text/plain", push,
                              EVENTS_KEY_WAIT_MS + 3000),
                     503);
    assert_true(unknown_kids > 0);
    assert_int_equal(changes, 0);
    assert_int_equal(audited("its key is not known", "127.0.0.1"), 1);
    which = 2;
    assert_int_equal(post("/keycloak/k_push_not_before", "Content-Type: text/plain", push), 503);
    free(push);
}

/* More than may wait; and those that do are carried out, whether or not their senders still wait.
 */
static void many_new_keys(void **state)
{
    char id[16], *push;

    (void)state;
    for (unsigned i = 0; i <= EVENTS_WAITING_MAX; i++) {
        snprintf(id, sizeof(id), "a%u", i);
        push = admin_text(new_key, "k2", id, "PUSH_NOT_BEFORE", ",\"notBefore\":1700000000");
        assert_int_equal(post_for("/keycloak/k_push_not_before", "Content-Type: text/plain", push,
                                  i < EVENTS_WAITING_MAX ? 50 : 20000),
                         i < EVENTS_WAITING_MAX ? 0 : 503);
        free(push);
    }
    assert_int_equal(changes, 0);
    which = 1;
    for (unsigned i = 0; i < 200 && changes < EVENTS_WAITING_MAX; i++)
        usleep(10000);
    assert_int_equal(changes, EVENTS_WAITING_MAX);
    assert_true(in_force(REVOKE_CLIENT, "c1", 1));
}

/* Strangers cannot fill the trail. */
static void many_that_are_refused(void **state)
{
    unsigned one_by_one;

    (void)state;
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(post("/security-events", AS_SET, "a.b.c"), 400);
    usleep(1100000);
    one_by_one = audited("no signed token", "127.0.0.1");
    assert_in_range(one_by_one, EVENTS_REFUSED_LINES_PER_S, 3 * EVENTS_REFUSED_LINES_PER_S);
    assert_true(one_by_one == 60 || audited("more events that were refused", "\"count\":") >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_security_event, setup, teardown),
        cmocka_unit_test_setup_teardown(once, setup, teardown),
        cmocka_unit_test_setup_teardown(refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_logout, setup, teardown),
        cmocka_unit_test_setup_teardown(keycloak, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_to_do, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_that_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(once_over_a_restart, setup_on_disk, teardown_on_disk),
        cmocka_unit_test_setup_teardown(counted, setup, teardown),
        cmocka_unit_test_setup_teardown(done_first, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_key, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_that_never_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(many_new_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(many_that_are_refused, setup, teardown),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
