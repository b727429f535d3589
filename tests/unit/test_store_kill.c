/* kill -9 a thousand times, at random moments: while the file is made, opened, read, written,
 * checkpointed. What was acknowledged before is there afterwards, by whichever process looks next,
 * and what was asked for is there whole or not at all.
 *
 * The parent kills; its children open the store, look for all that was acknowledged so far, and
 * then change it. What they asked for and what they heard stands in memory that they share, which
 * a kill leaves as it is. */
#include "tests/unit/unit.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "auth/store.h"
#include "base/loop.h"
#include "base/log.h"
#include "tests/unit/token.h"

#define KILLS         1000
#define KILLS_A_FILE  40   /* then a new one, so that making it is hit as well */
#define THINGS_MAX    8192 /* of one file */
#define UNDER_WAY     6
#define MOMENT_MAX_US 24000
#define ISS           "https://idp.example.com"

/* One transfer: its grant is put, with a note; then it is revoked. */
enum step { NOTHING, GRANT_ASKED, GRANTED, REVOKE_ASKED, REVOKED };

struct ledger {
    unsigned used; /* of things; those before belong to children that are dead */
    volatile unsigned char things[THINGS_MAX];
    volatile bool opened, looked;
    volatile unsigned acknowledged;
    char fault[256];
};

static struct ledger *ledger;
static struct config *config;
static struct loop *loop;
static struct store *store;
static char dir[64], path[96];

/* --- in a child */

#define must(condition, ...)                                                                       \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            snprintf(ledger->fault, sizeof(ledger->fault), __VA_ARGS__);                           \
            _exit(3);                                                                              \
        }                                                                                          \
    } while (0)

struct found {
    unsigned char grant[THINGS_MAX], revoked[THINGS_MAX], note[THINGS_MAX];
};
static struct found found;

static unsigned index_of(const char *id)
{
    unsigned i = THINGS_MAX;

    must(sscanf(id, "t%u", &i) == 1 && i < ledger->used, "an id that nobody put: %s", id);
    return i;
}

static void on_grant(void *arg, const struct grant *g)
{
    (void)arg;
    must(g->ntopics == 2 && g->ntokens == 1 && strcmp(g->group_prefix, g->id) == 0,
         "grant %s is not whole", g->id);
    found.grant[index_of(g->id)] = 1;
}

static void on_revocation(void *arg, const struct revocation *r)
{
    (void)arg;
    if (r->kind == REVOKE_TRANSFER)
        found.revoked[index_of(r->value)] |= 1;
    else if (r->kind == REVOKE_JTI)
        found.revoked[index_of(r->value)] |= 2;
}

static void on_note(void *arg, const char *id, const char *text)
{
    (void)arg;
    must(strcmp(id, text) == 0, "note %s says %s", id, text);
    found.note[index_of(id)] = 1;
}

/* All that a child before heard is so. */
static void look(void)
{
    unsigned i;

    memset(&found, 0, sizeof(found));
    store_each_grant(store, on_grant, NULL);
    store_each_revocation(store, on_revocation, NULL);
    store_each_note(store, "flow", on_note, NULL);
    for (i = 0; i < ledger->used; i++) {
        bool grant = found.grant[i], note = found.note[i];
        int revoked = found.revoked[i];

        switch ((enum step)ledger->things[i]) {
        case NOTHING:
            must(!grant && !revoked && !note, "t%u is there, and nobody asked for it", i);
            break;
        case GRANT_ASKED:
            must(!revoked, "t%u is revoked, and nobody asked for it", i);
            must(grant || !note, "t%u: the note is there without what was asked for before it", i);
            break;
        case GRANTED:
            must(grant && note && !revoked, "t%u was granted, and is not", i);
            break;
        case REVOKE_ASKED:
            must(note && (revoked ? revoked == 3 && !grant : grant), "t%u is revoked by half", i);
            break;
        case REVOKED:
            must(note && revoked == 3 && !grant, "t%u was revoked, and is not", i);
            break;
        }
    }
    ledger->looked = true;
}

static void begin(unsigned i);

static void on_revoked(void *arg, int result, unsigned closed)
{
    unsigned i = (unsigned)(uintptr_t)arg;

    (void)closed;
    must(result == OK, "t%u: the revocation failed: %s", i, err_name(result));
    ledger->things[i] = REVOKED;
    ledger->acknowledged++;
    if (ledger->used < THINGS_MAX)
        begin(ledger->used++);
}

static void on_granted(void *arg, int result, unsigned closed)
{
    unsigned i = (unsigned)(uintptr_t)arg;
    char id[16];
    struct revocation *r;

    (void)closed;
    must(result == OK, "t%u: the grant failed: %s", i, err_name(result));
    ledger->things[i] = GRANTED;
    ledger->acknowledged++;
    if (i % 4 == 3) { /* it stays */
        if (ledger->used < THINGS_MAX)
            begin(ledger->used++);
        return;
    }
    snprintf(id, sizeof(id), "t%u", i);
    r = revocation_new(REVOKE_TRANSFER, "", id, "", (int64_t)time(NULL), 0, "e");
    ledger->things[i] = REVOKE_ASKED;
    must(r && store_revoke(store, r, on_revoked, arg) == OK, "no revocation was taken");
    revocation_free(r);
}

static void begin(unsigned i)
{
    char id[16];
    const char *topics[] = {"a", "b"}, *tokens[] = {id};
    struct grant_config c = {.id = id,
                             .issuer = ISS,
                             .subject = "shared",
                             .topics = {topics, 2},
                             .tokens = {tokens, 1},
                             .group_prefix = id,
                             .operations = OP_READ};
    struct grant *g;
    const char *why;

    snprintf(id, sizeof(id), "t%u", i);
    must(grant_new(&c, GRANT_FROM_API, &g, &why) == OK, "no grant: %s", why);
    ledger->things[i] = GRANT_ASKED;
    must(store_grant(store, g, NULL, NULL) == OK, "no grant was taken");
    grant_unref(g);
    must(store_note(store, "flow", id, id, on_granted, (void *)(uintptr_t)i) == OK,
         "no note was taken");
}

static void open_and_look(void)
{
    char err[200] = "";

    loop = loop_new();
    must(loop, "no loop");
    store = store_open(path, loop, config, err, sizeof(err));
    must(store, "the store does not open: %s", err);
    ledger->opened = true;
    look();
}

static _Noreturn void child(void)
{
    int i;

    open_and_look();
    for (i = 0; i < UNDER_WAY && ledger->used < THINGS_MAX; i++)
        begin(ledger->used++);
    must(loop_run(loop) == OK, "the loop ended");
    _exit(0);
}

/* --- the parent */

static void sleep_us(long us)
{
    struct timespec t = {0, us * 1000};

    (void)nanosleep(&t, NULL);
}

static void reap(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("a child ended by itself (status %d): %s", status, ledger->fault);
}

static void remove_files(void)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    char name[128];
    size_t i;

    for (i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
        snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        (void)unlink(name);
    }
}

/* Undisturbed: the state after the last kill. */
static void look_once_more(void)
{
    open_and_look();
    store_close(store);
    loop_free(loop);
}

/* A third of them soon, while it makes or opens the file; a third whenever; a third while it
 * writes, and half of these behind what it has heard of, however slow the machine is. */
static void moment(unsigned kills, unsigned before)
{
    unsigned tries;

    if (kills % 3 == 0) {
        sleep_us(random() % (MOMENT_MAX_US / 4));
    } else if (kills % 3 == 1) {
        sleep_us(random() % MOMENT_MAX_US);
    } else {
        for (tries = 0; !ledger->looked && tries < 10000; tries++)
            sleep_us(200);
        for (tries = 0; kills % 2 && ledger->acknowledged == before && tries < 10000; tries++)
            sleep_us(200);
        sleep_us(random() % MOMENT_MAX_US);
    }
}

static void a_thousand_kills(void **state)
{
    unsigned seed = (unsigned)time(NULL), kills, opening = 0, heard = 0, before;

    (void)state;
    printf("seed %u\n", seed);
    srandom(seed);
    for (kills = 0; kills < KILLS; kills++) {
        pid_t pid;

        if (kills % KILLS_A_FILE == 0) {
            if (kills > 0)
                look_once_more();
            remove_files();
            memset(ledger, 0, sizeof(*ledger));
        }
        ledger->opened = ledger->looked = false;
        before = ledger->acknowledged;
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            child();
        moment(kills, before);
        assert_int_equal(kill(pid, SIGKILL), 0);
        reap(pid);
        opening += !ledger->looked;
        heard += ledger->acknowledged > before;
    }
    look_once_more();
    printf("%u kills: %u before it had looked, %u after it had heard of something\n", kills,
           opening, heard);
    /* It would say nothing if they all fell into the same moment. */
    assert_true(opening > KILLS / 20);
    assert_true(heard > KILLS / 20);
}

static int setup(void **state)
{
    (void)state;
    log_setup(LOG_WARN, false);
    config = token_config("issuers: [{issuer: " ISS ", audience: sluice}]\n");
    ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    strcpy(dir, "/tmp/sluice-kill-XXXXXX");
    if (!config || ledger == MAP_FAILED || !mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/s.db", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_files();
    config_unref(config);
    (void)munmap(ledger, sizeof(*ledger));
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_thousand_kills, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
