/* Our decoder against Kafka's own classes: frames from a seed, legal ones and ones that are bent in
 * every way that fuzz/mutate.c knows, are read by both. Both take a frame and write it again as the
 * same bytes, or both refuse it; or it stands below by name why ours is stricter. Anything else is
 * a finding.
 *
 * usage: differential SEED FRAMES CORPUS... -- JAVA-COMMAND...
 *
 * The Java side (Judge.java, which tells the wire between the two) is started once and works on one
 * batch while the next is made. CORPUS: folders of inputs of fuzz_walk and fuzz_msg, judged first.
 * A run is told by its seed alone. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "codec/frame.h"
#include "codec/msg.h"
#include "codec/read.h"
#include "codec/utf8.h"
#include "codec/walk.h"
#include "fuzz/mutate.h"

#define BATCH_FRAMES 1024
#define FRAME_MAX    ((size_t)8192)
#define HEAD_MAX     ((size_t)600) /* of what is in front of a body here */
#define ANSWER_MAX   ((size_t)1 << 20)
#define POOL_FRAMES  8192
#define KEYS_MAX     256
#define FINDINGS_MAX 20
#define ARENA_BYTES  ((size_t)64 << 20)

static void die(const char *what)
{
    fprintf(stderr, "differential: %s\n", what);
    exit(2);
}

/* --- why ours may be stricter: the codec's own word for it, and the reason's name */

/* Where it counts. A known tag's size is passed over by Kafka, so whatever runs past a tag's end is
 * a lying size there; past the message's end both refuse. */
enum where { ANYWHERE, IN_TAG, AT_END };

static struct reason {
    const char *why, *name;
    enum where where;
    unsigned long seen;
} reasons[] = {
    {"a varint is overlong or above 32 bits", "overlong varint", ANYWHERE, 0},
    {"a varint in the header is overlong or above 32 bits", "overlong varint", ANYWHERE, 0},
    {"a tag twice or out of order", "tag twice or out of order", ANYWHERE, 0},
    {"header tags twice or out of order", "tag twice or out of order", ANYWHERE, 0},
    {"a tag's size is not its value's", "lying tag size", ANYWHERE, 0},
    {"a tag runs past the end of its message or tag", "lying tag size", ANYWHERE, 0},
    {"a value runs past the end of its message or tag", "lying tag size", IN_TAG, 0},
    {"a number runs past the end of its message or tag", "lying tag size", IN_TAG, 0},
    {"a length runs past the end of its message or tag", "lying tag size", IN_TAG, 0},
    {"more elements than the bytes that remain", "lying tag size", IN_TAG, 0},
    {"more tags than the bytes that remain", "lying tag size", IN_TAG, 0},
    {"a length or count above 31 bits", "negative length", ANYWHERE, 0},
    {"a tag above 31 bits", "negative length", ANYWHERE, 0},
    {"a negative length", "negative length", ANYWHERE, 0},
    {"a negative count", "negative length", ANYWHERE, 0},
    {"a negative length in the header", "negative length", ANYWHERE, 0},
    {"a struct neither null nor there", "struct marker", ANYWHERE, 0},
    {"bytes are left over", "trailing bytes", AT_END, 0},
    {"a string that is not UTF-8, or holds NUL", "text", ANYWHERE, 0},
    {"too many tags in the header", "header tags", ANYWHERE, 0},
    {"header tags too large", "header tags", ANYWHERE, 0},
};
#define REASONS (sizeof(reasons) / sizeof(reasons[0]))

/* --- frames */

struct frame {
    const struct message *m;
    int version;
    size_t head, len; /* bytes[0 .. head) is the header, as it was made */
    uint8_t bytes[FRAME_MAX];
    /* what we made of it */
    const char *why;     /* NULL: taken */
    size_t left;         /* bytes left over, when that is why */
    bool in_tag;         /* it broke inside a tag */
    bool opaque;         /* holds opaque text that is not UTF-8 */
    bool unknown;        /* unknown tags were dropped */
    bool client_changed; /* the client id was cut or cleaned */
    int32_t correlation;
    int client_len; /* -1: null */
    uint8_t client[FRAME_CLIENT_ID_MAX + 1];
    struct buf again; /* the body, written again */
};

struct batch {
    uint32_t count;
    struct frame frame[BATCH_FRAMES];
};

static struct batch batches[2];

/* Legal frames to go on from. */
static struct pooled {
    const struct message *m;
    int version;
    size_t len;
    uint8_t *body;
} pool[POOL_FRAMES];
static unsigned pooled;

/* --- our side */

static bool has_odd_text(const struct msg *m)
{
    struct node_iter it = {.root = m->root};
    const struct node *n;

    while ((n = node_iter_next(&it)))
        if (n->field && n->field->type == TYPE_STRING && n->field->role == ROLE_OPAQUE &&
            !node_is_array(n) && !n->null)
            for (size_t i = 0, k; i < n->u.str.len; i += k)
                if ((k = utf8_sequence(n->u.str.p + i, n->u.str.len - i)) == 0)
                    return true;
    return false;
}

/* Reads a body and writes it again. */
static const char *read_body(const struct message *m, int version, const struct buf *b, size_t off,
                             struct buf *again, bool *unknown, bool *opaque)
{
    struct arena a;
    struct msg msg;
    struct msg_error e = {"not decoded", 0};
    const char *why = NULL;

    arena_init(&a, ARENA_BYTES);
    if (msg_decode(&msg, &a, m, version, b, off, b->len - off, &e) != OK) {
        why = e.why;
    } else {
        if (msg_encode(&msg, again) != OK)
            die("a message that was read could not be written");
        *unknown = msg.unknown_tags > 0;
        *opaque = has_odd_text(&msg);
    }
    arena_release(&a);
    return why;
}

/* Where the walker stopped: inside of a tag, and how many bytes were left. */
static void look_closer(struct frame *f, size_t off)
{
    struct walk w;
    enum walk_event e;

    walk_start(&w, f->m, f->version, f->len - off);
    walk_feed(&w, f->bytes + off, f->len - off);
    while ((e = walk_next(&w)) != WALK_DONE && e != WALK_BAD && e != WALK_MORE)
        ;
    f->in_tag = w.bound < f->len - off;
    f->left = f->len - off - w.offset;
}

static void read_client(struct frame *f, const struct request_head *h)
{
    size_t sent = (size_t)read_u16(f->bytes + 8); /* key, version, correlation id are in front */

    f->correlation = h->correlation;
    f->client_len = h->client_id ? (int)h->client_id_len : -1;
    memcpy(f->client, h->client_id_text, h->client_id_len);
    f->client_changed =
        h->client_id && (sent != h->client_id_len || memcmp(f->bytes + 10, f->client, sent) != 0);
}

static void read_ours(struct frame *f)
{
    struct request_head h;
    struct buf b;
    size_t off = 0;
    int err;

    f->why = NULL;
    f->left = 0;
    f->in_tag = f->opaque = f->unknown = f->client_changed = false;
    f->client_len = -1;
    buf_release(&f->again);
    buf_init(&f->again, ANSWER_MAX);
    buf_init(&b, FRAME_MAX);
    if (f->len > 0 && buf_append(&b, f->bytes, f->len) != OK)
        die("no memory");
    if (f->m->request) {
        err = frame_request_head(&b, 0, f->len, &h, &f->why);
        if (err == OK) {
            off = h.body_off;
            read_client(f, &h);
        }
    } else {
        err = frame_response_head(&b, 0, f->len, f->m->api, f->version, &f->correlation, &off,
                                  &f->why);
    }
    if (err == OK) {
        f->why = read_body(f->m, f->version, &b, off, &f->again, &f->unknown, &f->opaque);
        if (f->why)
            look_closer(f, off);
    }
    buf_release(&b);
}

/* --- making frames */

static void put16(uint8_t *p, int v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, (int)(v >> 16));
    put16(p + 2, (int)(v & 0xffff));
}

static size_t put_client(struct mutate_rng *r, uint8_t *p)
{
    static const int lengths[] = {0, 1, 6, 6, 6, 6, 20, 254, 255, 256, 300, 400};
    int n = lengths[mutate_rand(r, sizeof(lengths) / sizeof(lengths[0]))];
    uint32_t odd = mutate_rand(r, 12);

    if (odd == 0)
        n = -1 - (int)mutate_rand(r, 8) / 7;
    put16(p, n);
    for (int i = 0; i < n; i++)
        p[2 + i] = (uint8_t)(odd == 1 ? mutate_rand(r, 256) : 'a' + mutate_rand(r, 26));
    return 2 + (size_t)(n > 0 ? n : 0);
}

/* The header's tags: none as a rule, else a few that nobody knows, perhaps bent; or one about as
 * large as is taken. */
static size_t put_head_tags(struct mutate_rng *r, uint8_t *p, bool large)
{
    uint32_t n = mutate_rand(r, 10) ? 0 : mutate_rand(r, 18), number = 0;
    size_t k = 0;

    if (large && mutate_rand(r, 300) == 0) {
        uint32_t size = FRAME_HEAD_TAG_BYTES_MAX - 1 + mutate_rand(r, 3);
        p[k++] = 1;
        p[k++] = 7;
        p[k++] = (uint8_t)(size | 0x80);
        p[k++] = (uint8_t)(size >> 7);
        memset(p + k, 'a', size);
        return k + size;
    }
    p[k++] = (uint8_t)n;
    while (n-- > 0) {
        uint32_t size = mutate_rand(r, 4);
        number += mutate_rand(r, 16) ? 1 + mutate_rand(r, 4) : 0;
        p[k++] = (uint8_t)(number & 0x7f);
        p[k++] = (uint8_t)size;
        while (size-- > 0)
            p[k++] = (uint8_t)mutate_rand(r, 256);
    }
    if (mutate_rand(r, 100) == 0)
        p[mutate_rand(r, (uint32_t)k)] ^= (uint8_t)(1U << mutate_rand(r, 8));
    return k;
}

static void put_frame(struct mutate_rng *r, struct frame *f, const uint8_t *body, size_t n)
{
    size_t k = 0;
    int header = f->m->request ? schema_request_header(f->m->api, f->version)
                               : schema_response_header(f->m->api, f->version);

    if (f->m->request) {
        put16(f->bytes, f->m->api);
        put16(f->bytes + 2, f->version);
        k = 4;
    }
    put32(f->bytes + k, mutate_rand(r, UINT32_MAX));
    k += 4;
    if (f->m->request)
        k += put_client(r, f->bytes + k);
    if (header == (f->m->request ? 2 : 1))
        k += put_head_tags(r, f->bytes + k, n < FRAME_MAX / 4);
    f->head = k;
    memcpy(f->bytes + k, body, n);
    f->len = k + n;
    if (mutate_rand(r, 300) == 0) /* cut short, the header's fixed part spared */
        f->len = (f->m->request ? 4 : 0) + mutate_rand(r, (uint32_t)f->len - 3);
}

/* What both know. */
static struct {
    int min, max;
} theirs[KEYS_MAX];

static const struct message *pick_message(struct mutate_rng *r, int *version)
{
    size_t n;
    const struct message *all = schema_all(&n);

    for (;;) {
        const struct message *m = &all[mutate_rand(r, (uint32_t)n)];
        int min = m->versions.min > theirs[m->api].min ? m->versions.min : theirs[m->api].min;
        int max = m->versions.max < theirs[m->api].max ? m->versions.max : theirs[m->api].max;
        if (min > max)
            continue;
        *version = min + (int)mutate_rand(r, (uint32_t)(max - min) + 1);
        return m;
    }
}

static bool both_know(const struct message *m, int version)
{
    return m && m->api < KEYS_MAX && versions_has(m->versions, version) &&
           version >= theirs[m->api].min && version <= theirs[m->api].max;
}

static void keep(struct mutate_rng *r, const struct frame *f, const uint8_t *body, size_t n)
{
    struct pooled *p = &pool[pooled < POOL_FRAMES ? pooled : mutate_rand(r, POOL_FRAMES)];

    if (n == 0 || n > FRAME_MAX / 4)
        return;
    if (pooled < POOL_FRAMES)
        pooled++;
    free(p->body);
    *p = (struct pooled){.m = f->m, .version = f->version, .len = n, .body = malloc(n)};
    if (!p->body)
        die("no memory");
    memcpy(p->body, body, n);
}

/* A third is new, the rest goes on from what was taken before. */
static void make_frame(struct mutate_rng *r, struct frame *f)
{
    static uint8_t body[FRAME_MAX];
    size_t n, room = FRAME_MAX - HEAD_MAX;
    bool fresh = pooled == 0 || mutate_rand(r, 3) == 0;
    uint32_t changes = fresh ? mutate_rand(r, 3) : 1 + mutate_rand(r, 3);

    if (fresh) {
        f->m = pick_message(r, &f->version);
        n = mutate_new(r, f->m, f->version, body, room);
    } else {
        const struct pooled *p = &pool[mutate_rand(r, pooled)];
        f->m = p->m;
        f->version = p->version;
        n = p->len;
        memcpy(body, p->body, n);
    }
    for (; changes > 0; changes--) {
        int version = f->version;
        size_t was = n;
        n = mutate_body(r, f->m, &version, body, n, room);
        if (both_know(f->m, version))
            f->version = version;
        else
            n = n < was ? n : was; /* bytes of a version that Kafka does not have: any will do */
    }
    put_frame(r, f, body, n);
    read_ours(f);
    if (!f->why)
        keep(r, f, body, n);
}

/* --- Kafka's side */

static FILE *to_java, *from_java;
static pid_t java;

static void start_java(char **command)
{
    int in[2], out[2];

    if (pipe(in) || pipe(out))
        die("no pipe");
    java = fork();
    if (java == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        execvp(command[0], command);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    to_java = fdopen(in[1], "w");
    from_java = fdopen(out[0], "r");
    if (java < 0 || !to_java || !from_java)
        die("java cannot be started");
    setvbuf(to_java, NULL, _IOFBF, 1 << 20);
    setvbuf(from_java, NULL, _IOFBF, 1 << 20);
}

static void get(void *p, size_t n)
{
    if (fread(p, 1, n, from_java) != n)
        die("java has ended");
}

static unsigned get16(void)
{
    uint8_t b[2];

    get(b, sizeof b);
    return read_u16(b);
}

static uint32_t get32(void)
{
    uint8_t b[4];

    get(b, sizeof b);
    return read_u32(b);
}

static void read_versions(void)
{
    for (unsigned i = 0; i < KEYS_MAX; i++)
        theirs[i].max = -1;
    for (unsigned n = get16(); n > 0; n--) {
        unsigned key = get16(), min = get16(), max = get16();
        if (key < KEYS_MAX) {
            theirs[key].min = (int)min;
            theirs[key].max = (int16_t)max;
        }
    }
}

static void send_batch(const struct batch *b)
{
    uint8_t head[9];

    put32(head, b->count);
    fwrite(head, 1, 4, to_java);
    for (uint32_t i = 0; i < b->count; i++) {
        const struct frame *f = &b->frame[i];
        head[0] = f->m->request;
        put16(head + 1, f->m->api);
        put16(head + 3, f->version);
        put32(head + 5, (uint32_t)f->len);
        fwrite(head, 1, sizeof head, to_java);
        fwrite(f->bytes, 1, f->len, to_java);
    }
    if (fflush(to_java) || ferror(to_java))
        die("java has ended");
}

/* --- holding one against the other */

static struct counts {
    unsigned long frames, both_took, both_refused, stricter, opaque, findings;
} counts;

struct verdict {
    uint8_t what; /* 0 refused, 1 taken, 2 taken but not written */
    uint32_t left, len;
    uint8_t text[ANSWER_MAX];
};

static void finding(const struct frame *f, const struct verdict *v, const char *why)
{
    counts.findings++;
    printf("FINDING frame %lu, %s %d: %s\n  ours: %s%s\n  kafka: ", counts.frames, f->m->name,
           f->version, why, f->why ? f->why : "taken", f->in_tag ? " (in a tag)" : "");
    if (v->what == 1)
        printf("taken, %u bytes left over\n  bytes ", v->left);
    else
        printf("%.*s\n  bytes ", (int)v->len, (const char *)v->text);
    for (size_t i = 0; i < f->len; i++)
        printf("%s%02x", i == f->head ? " " : "", f->bytes[i]);
    if (!f->why) {
        printf("\n  ours written  ");
        for (size_t i = 0; i < f->again.len; i++) {
            uint8_t c;
            buf_copy_out(&f->again, i, &c, 1);
            printf("%02x", c);
        }
    }
    printf("\n  kafka written ");
    for (uint32_t i = 0; v->what == 1 && i < v->len; i++)
        printf("%02x", v->text[i]);
    printf("\n");
    fflush(stdout);
}

static bool buf_is(const struct buf *b, const uint8_t *p, size_t n)
{
    static uint8_t copy[ANSWER_MAX];

    if (b->len != n)
        return false;
    buf_copy_out(b, 0, copy, n);
    return memcmp(copy, p, n) == 0;
}

/* Kafka keeps unknown tags, we drop them: what it writes, read by us, must be the same again. */
static bool same_without_tags(const struct frame *f, const uint8_t *p, size_t n)
{
    struct buf in, again;
    bool unknown, opaque, same = false;

    buf_init(&in, ANSWER_MAX);
    buf_init(&again, ANSWER_MAX);
    if (buf_append(&in, p, n) == OK &&
        !read_body(f->m, f->version, &in, 0, &again, &unknown, &opaque)) {
        static uint8_t copy[ANSWER_MAX];
        buf_copy_out(&again, 0, copy, again.len);
        same = buf_is(&f->again, copy, again.len);
    }
    buf_release(&again);
    buf_release(&in);
    return same;
}

static void both_took(const struct frame *f, const struct verdict *v)
{
    int client = v->len >= 6 ? read_i16(v->text + 4) : 0;
    size_t head = 6 + (size_t)(client > 0 ? client : 0);

    counts.both_took++;
    if (v->left > 0)
        finding(f, v, "Kafka leaves bytes over that we have read");
    else if (v->len < head || read_i32(v->text) != f->correlation)
        finding(f, v, "another correlation id");
    else if (f->m->request && !f->client_changed &&
             (client != f->client_len ||
              memcmp(v->text + 6, f->client, (size_t)(client > 0 ? client : 0)) != 0))
        finding(f, v, "another client id");
    else if (f->opaque)
        counts.opaque++; /* Kafka reads U+FFFD where we pass the bytes on */
    else if (f->unknown ? !same_without_tags(f, v->text + head, v->len - head)
                        : !buf_is(&f->again, v->text + head, v->len - head))
        finding(f, v, "read as another message");
}

static void ours_stricter(const struct frame *f, const struct verdict *v)
{
    for (size_t i = 0; i < REASONS; i++) {
        struct reason *r = &reasons[i];
        if (strcmp(r->why, f->why) != 0)
            continue;
        if (r->where == IN_TAG && !f->in_tag)
            break;
        if (r->where == AT_END && v->left != f->left)
            break;
        r->seen++;
        counts.stricter++;
        return;
    }
    finding(f, v, "refused by us alone, for no reason that is listed");
}

static void compare(const struct frame *f, const struct verdict *v)
{
    counts.frames++;
    if (!f->why && v->what == 1)
        both_took(f, v);
    else if (!f->why)
        finding(f, v, v->what ? "Kafka cannot write what it has read" : "refused by Kafka alone");
    else if (v->what == 0)
        counts.both_refused++;
    else
        ours_stricter(f, v);
}

static void take_answers(struct batch *b)
{
    static struct verdict v;

    for (uint32_t i = 0; i < b->count && counts.findings < FINDINGS_MAX; i++) {
        get(&v.what, 1);
        v.left = get32();
        v.len = get32();
        if (v.len > sizeof v.text)
            die("an answer too long");
        get(v.text, v.len);
        compare(&b->frame[i], &v);
    }
    b->count = 0;
}

/* --- the run */

/* Sends the one and takes the answers to the other. */
static void turn(unsigned *at)
{
    take_answers(&batches[!*at]);
    if (batches[*at].count)
        send_batch(&batches[*at]);
    *at = !*at;
}

static void judge_corpus(const char *folder, struct mutate_rng *r, unsigned *at)
{
    bool msg = strstr(folder, "msg") != NULL; /* another head, and the bit turned */
    size_t head = msg ? 6 : 3;
    static uint8_t data[FRAME_MAX];
    struct dirent *e;
    DIR *d = opendir(folder);

    if (!d)
        die("no such folder of a corpus");
    while ((e = readdir(d)) && counts.findings < FINDINGS_MAX) {
        struct frame *f = &batches[*at].frame[batches[*at].count];
        char path[1024];
        FILE *in;
        size_t n;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] == '.' || !(in = fopen(path, "r")))
            continue;
        n = fread(data, 1, sizeof data - HEAD_MAX, in);
        fclose(in);
        if (n < head)
            continue;
        f->m =
            schema_find(msg ? data[0] % (SCHEMA_KEY_MAX + 1) : data[0], !(data[1] & 0x80) != msg);
        f->version = data[1] & 0x7f;
        if (!both_know(f->m, f->version))
            continue;
        put_frame(r, f, data + head, n - head);
        read_ours(f);
        if (++batches[*at].count == BATCH_FRAMES)
            turn(at);
    }
    closedir(d);
}

static void run(struct mutate_rng *r, unsigned long frames, unsigned *at)
{
    struct timespec begin, now;
    unsigned long tell = 1000000;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (unsigned long i = 0; i < frames && counts.findings < FINDINGS_MAX;) {
        struct batch *b = &batches[*at];
        while (b->count < BATCH_FRAMES && i < frames) {
            make_frame(r, &b->frame[b->count++]);
            i++;
        }
        turn(at);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (i >= tell || i == frames) {
            double s =
                (double)(now.tv_sec - begin.tv_sec) + (double)(now.tv_nsec - begin.tv_nsec) / 1e9;
            printf("%lu frames, %.0f a second, %lu findings\n", i, (double)i / s, counts.findings);
            fflush(stdout);
            tell += 1000000;
        }
    }
    turn(at);
    turn(at);
}

static void report(unsigned long seed)
{
    printf("seed %lu: %lu frames, taken by both %lu, refused by both %lu, ours stricter %lu\n",
           seed, counts.frames, counts.both_took, counts.both_refused, counts.stricter);
    for (size_t i = 0; i < REASONS; i++)
        printf("  %-28s %10lu  %s\n", reasons[i].name, reasons[i].seen, reasons[i].why);
    printf("  %-28s %10lu  %s\n", "opaque text", counts.opaque,
           "taken by both; Kafka reads what is not UTF-8 as U+FFFD");
    printf("differential: %d passed, %lu failed\n", counts.findings ? 0 : 1, counts.findings);
}

int main(int argc, char **argv)
{
    unsigned at = 0;
    int i, status = 0;

    for (i = 3; i < argc && strcmp(argv[i], "--") != 0; i++)
        ;
    if (i + 1 >= argc)
        die("usage: differential SEED FRAMES CORPUS... -- JAVA-COMMAND...");
    start_java(argv + i + 1);
    read_versions();
    struct mutate_rng heads = {0}, r = {strtoul(argv[1], NULL, 10)};
    for (int k = 3; k < i; k++)
        judge_corpus(argv[k], &heads, &at);
    turn(&at);
    turn(&at);
    printf("corpus: %lu frames\n", counts.frames);
    run(&r, strtoul(argv[2], NULL, 10), &at);
    if (counts.findings)
        kill(java, SIGKILL); /* it may wait for its answers to be read */
    fclose(to_java);
    if (waitpid(java, &status, 0) != java || (!counts.findings && status != 0))
        die("java has failed");
    report(strtoul(argv[1], NULL, 10));
    for (unsigned k = 0; k < pooled; k++)
        free(pool[k].body);
    for (unsigned k = 0; k < 2 * BATCH_FRAMES; k++)
        buf_release(&batches[k / BATCH_FRAMES].frame[k % BATCH_FRAMES].again);
    buf_thread_trim();
    return counts.findings > 0;
}

/* The bytes of a mutation that libFuzzer would make; only inputs of its own targets ask for it. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max)
{
    (void)data;
    return size < max ? size : max;
}
