/* The gate's side of `make bench-codec`: each message of Cases.java
 *
 *   walk     checked to its last byte, and told run by run (codec/runs.h)
 *   stream   the same, field by field, as messages in pieces are read (codec/walk.c)
 *   decide   taken in as a tree, and judged: a request's names held against the session's grants,
 *            an answer's brokers, hosts and foreign names hidden
 *   edit     decide, and written anew: what a broker, or the client, gets
 *
 * in a session of a gate that is up, before three scripted brokers (tests/unit/gate_bed.h). Prints
 * "CASE WHAT NANOSECONDS" a round, and "CASE count FIELDS BYTES": fields that the message has,
 * bytes without records. Ends with an error when any of it takes memory, once warm. */
#include "tests/unit/unit.h"

#include "measure.h"
#include "proxy/exchange.h"
#include "tests/unit/gate_bed.h"

#include "codec/runs.h"
#include "codec/walk.h"

#define TOPICS_PER_CASE 8 /* of Cases.java, as are the names and ids below */
#define CYCLE_STEPS     2000000

/* Every allocation of the process passes here: this is the C library's own way to be stood in for.
 */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);
static _Thread_local unsigned long allocations;

void *malloc(size_t n)
{
    allocations++;
    return __libc_malloc(n);
}

void *calloc(size_t count, size_t n)
{
    allocations++;
    return __libc_calloc(count, n);
}

void *realloc(void *p, size_t n)
{
    allocations++;
    return __libc_realloc(p, n);
}

static const struct message *schema; /* of the case at hand */
static struct exchange ex;           /* the one whose memory is used again and again */

static void once_walk(const struct bench_case *c)
{
    struct runs_level levels[WALK_DEPTH_MAX];
    struct runs r;

    runs_start(&r, levels, schema, c->version, c->bytes, c->len);
    while (runs_next(&r)) /* told to somebody whom the compiler does not know */
        __asm__ volatile("" : : "r"(r.run), "r"(r.fixed), "r"(r.data), "r"(r.count), "r"(r.null));
    if (!r.done)
        quit(c->name, "is not legal, say the runs");
}

static void once_stream(const struct bench_case *c)
{
    struct walk w;
    enum walk_event e;

    walk_start(&w, schema, c->version, c->len);
    walk_feed(&w, c->bytes, c->len);
    do {
        e = walk_next(&w);
    } while (e < WALK_DONE && e != WALK_MORE);
    if (e != WALK_DONE)
        quit(c->name, "is not legal, says the walker");
}

static void judged(const struct bench_case *c)
{
    struct msg *m = c->request ? &ex.request : &ex.reply;
    int rc;

    arena_clear(&ex.arena);
    ex.refused = ex.refused_last = NULL;
    ex.nrefused = 0;
    ex.wants_ops_topic = ex.wants_ops_cluster = ex.wants_ops_group = false;
    rc = msg_decode(m, &ex.arena, schema, c->version, &ex.frame, 0, c->len, NULL);
    if (rc == OK)
        rc = c->request ? policy_decide(&ex) : rewrite_reply(&ex);
    if (rc != OK || ex.nrefused > 0)
        quit(c->name, "is refused");
}

static void once_edit(const struct bench_case *c)
{
    int rc;

    judged(c);
    rc = c->request ? msg_encode_request(&ex.request, 1, "client", &ex.out)
                    : msg_encode_response(&ex.reply, 1, &ex.out);
    if (rc != OK || ex.out.len == 0)
        quit(c->name, "cannot be written");
    buf_release(&ex.out);
}

/* Measures it, after it has been seen to take no memory once it is warm. */
static void counted(const struct bench_case *c, const char *what,
                    void (*once)(const struct bench_case *c))
{
    unsigned long before;

    for (int i = 0; i < 3; i++)
        once(c);
    before = allocations;
    once(c);
    printf("%s allocations-%s %lu\n", c->name, what, allocations - before);
    if (allocations != before)
        quit(c->name, "takes memory");
    measure(c, what, once);
}

/* Fields told, and bytes without records. */
static void print_counts(const struct bench_case *c)
{
    struct walk w;
    unsigned long fields = 0;
    uint64_t bytes = c->len;

    walk_start(&w, schema, c->version, c->len);
    walk_feed(&w, c->bytes, c->len);
    for (enum walk_event e = walk_next(&w); e != WALK_DONE; e = walk_next(&w)) {
        fields += e == WALK_SCALAR || e == WALK_BLOB || e == WALK_ARRAY_IN;
        if (e == WALK_BLOB && w.field->type == TYPE_RECORDS)
            bytes -= w.blob_len;
    }
    printf("%s count %lu %llu\n", c->name, fields, (unsigned long long)bytes);
}

/* A cycle is the time of one dependent addition: no counter of the machine is needed. Several in a
 * turn, for a turn may take longer than one of them. */
#define STEP                                                                                       \
    x++;                                                                                           \
    __asm__ volatile("" : "+r"(x)) /* nobody may add them up in one */

static double cycle_ns(void)
{
    double best = 1e9;

    for (int round = 0; round < ROUNDS; round++) {
        unsigned long x = (unsigned long)round;
        double begin = thread_ns(), ns;
        for (int i = 0; i < CYCLE_STEPS; i += 8) {
            STEP;
            STEP;
            STEP;
            STEP;
            STEP;
            STEP;
            STEP;
            STEP;
        }
        ns = (thread_ns() - begin) / CYCLE_STEPS;
        best = ns < best ? ns : best;
    }
    return best;
}

/* --- the session */

static void topics_set(void)
{
    static char names[TOPICS_PER_CASE][64];

    for (unsigned f = 0; f < 3; f++) {
        bed.up.fake[f].ntopics = TOPICS_PER_CASE;
        for (unsigned i = 0; i < TOPICS_PER_CASE; i++) {
            struct fake_topic *t = &bed.up.fake[f].topics[i];
            uint64_t high = 0x123456789abc4ef0U + i, low = 0x8fedcba987654321U + i;
            snprintf(names[i], sizeof names[i], "partner-a.orders.region-%u", i);
            *t = (struct fake_topic){.name = names[i], .npartitions = 3, .leader = {1, 2, 3}};
            for (unsigned k = 0; k < 8; k++) {
                t->id[k] = (uint8_t)(high >> (56 - 8 * k));
                t->id[8 + k] = (uint8_t)(low >> (56 - 8 * k));
            }
        }
    }
}

static bool topics_known(struct gate_bed *b)
{
    return cluster_topic_by_id(b->gate->cluster, b->up.fake[0].topics[TOPICS_PER_CASE - 1].id) !=
           NULL;
}

static void session_open(struct client *client)
{
    char topics[1024] = "";

    for (unsigned i = 0; i < TOPICS_PER_CASE; i++)
        snprintf(topics + strlen(topics), sizeof topics - strlen(topics), "%s\"%s\"", i ? "," : "",
                 bed.up.fake[0].topics[i].name);
    login_with(client, &(struct token_wish){.operations = "\"read\",\"write\"",
                                            .prefix = "partner-a",
                                            .topics = topics});
    if (!until(topics_known))
        quit("bed", "does not know the topics");
    ex.s = bed.gate->first;
}

static void run(const struct bench_case *c)
{
    schema = schema_find(c->api, c->request);
    ex.head.api = (int16_t)c->api;
    ex.head.version = (int16_t)c->version;
    ex.rule = api_find(c->api);
    arena_release(&ex.arena);
    arena_init(&ex.arena, 16 << 20);
    buf_release(&ex.frame);
    buf_init(&ex.frame, c->len);
    buf_init(&ex.out, SIZE_MAX);
    must(buf_append(&ex.frame, c->bytes, c->len));
    if (!c->request) { /* what it answers */
        must(msg_new(&ex.request, &ex.arena, schema_find(c->api, true), c->version));
        arena_release(&ex.arena);
    }
    print_counts(c);
    counted(c, "walk", once_walk);
    counted(c, "stream", once_stream);
    counted(c, "decide", judged);
    counted(c, "edit", once_edit);
}

int main(int argc, char **argv)
{
    static struct bench_case all[CASES_MAX];
    struct client client;
    int n;

    if (argc != 2)
        quit("usage", "bench-codec DIRECTORY");
    n = cases_load(all, argv[1]);
    printf("cycle ns %.4f\n", cycle_ns());
    gate_bed_start("");
    topics_set();
    session_open(&client);
    for (int i = 0; i < n; i++)
        run(&all[i]);
    client_close(&client);
    arena_release(&ex.arena);
    buf_release(&ex.frame);
    gate_bed_stop();
    return 0;
}
