/* The gate's codec beside Apache Kafka's own classes.
 *
 *   conform schema     prints the compiled schema for Compare.java, a line a message and a line a
 *                      field, words separated by tabs
 *   conform refused    prints the APIs whose refusals the gate makes up, with commas
 *   conform messages   reads the cases that Generate.java writes and holds the codec against them:
 *                      messages must decode, re-encode to the same bytes and show the same JSON,
 *                      headers must say the same, refusals must have the bytes of Kafka's
 *                      getErrorResponse. A case of the sum is a kind, API and version; the last
 *                      line counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/frame.h"
#include "codec/msg.h"
#include "codec/read.h"
#include "codec/reply.h"
#include "control/dissect.h"
#include "proxy/api.h"

#define TELL_MAX     20 /* failures that are told in full */
#define PATH_MAX_LEN 512
#define PART_MAX     (64UL << 20)
#define ARENA_BYTES  (256UL << 20)
#define VERSIONS_MAX 64

/* --- the schema, printed */

struct level {
    const struct field *at, *end;
    size_t path; /* length of the path above */
};

static void print_field(const struct field *f, const char *path)
{
    printf("field\t%s\t%s%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t", path, f->array ? "[]" : "",
           schema_type_name(f->type), f->versions.min, f->versions.max, f->nullable.min,
           f->nullable.max, f->tagged.min, f->tagged.max, f->tag);
    bool number = !f->array && f->type <= TYPE_FLOAT64;
    if (f->default_null)
        fputs("null", stdout);
    else if (number)
        printf("%lld", (long long)f->default_int);
    else
        fputs(f->default_text && *f->default_text ? f->default_text : "-", stdout);
    printf("\t%d\n", f->ignorable);
}

static void print_message(const struct message *m)
{
    struct level open[MSG_DEPTH_MAX];
    char path[PATH_MAX_LEN];
    unsigned depth = 1;
    int n = snprintf(path, sizeof path, "%s", m->name);
    printf("message\t%s\t%d\t%d\t%d\n", m->name, m->versions.min, m->versions.max, m->flexible);
    open[0] = (struct level){m->fields, m->fields + m->nfields, (size_t)n};
    while (depth > 0) {
        struct level *l = &open[depth - 1];
        const struct field *f = l->at;
        if (f == l->end) {
            depth--;
            continue;
        }
        l->at++;
        n = snprintf(path + l->path, sizeof path - l->path, ".%s", f->name);
        if (n < 0 || (size_t)n >= sizeof path - l->path || depth == MSG_DEPTH_MAX)
            abort();
        print_field(f, path);
        if (f->nfields > 0)
            open[depth++] = (struct level){f->fields, f->fields + f->nfields, l->path + (size_t)n};
    }
}

static int print_schema(void)
{
    size_t n;
    const struct message *all = schema_all(&n);
    for (size_t i = 0; i < n; i++)
        print_message(&all[i]);
    return 0;
}

/* The gate's table, and the example of docs/protocol.md: share groups. */
static int print_refused(void)
{
    size_t n;
    const struct api_rule *all = api_all(&n);
    for (size_t i = 0; i < n; i++)
        printf("%d,", all[i].api);
    puts("76,77,78,79");
    return 0;
}

/* --- cases */

enum kind { REQUEST = 'q', RESPONSE = 'r', REQUEST_HEAD = 'Q', RESPONSE_HEAD = 'R', REFUSAL = 'e' };
static const char kinds[] = "qrQRe";

struct part {
    uint8_t *p;
    size_t n, cap;
};

struct one {
    char kind;
    int api, version, code;
    struct part a, b;
};

struct tally {
    unsigned long messages, failed;
};

static struct tally tallies[sizeof kinds - 1][SCHEMA_KEY_MAX + 1][VERSIONS_MAX];

static bool same(const struct buf *got, const uint8_t *want, size_t n)
{
    if (got->len != n)
        return false;
    uint8_t *flat = malloc(n + 1);
    if (!flat)
        abort();
    buf_copy_out(got, 0, flat, n);
    bool equal = memcmp(flat, want, n) == 0;
    free(flat);
    return equal;
}

/* The case's body in a frame, as `sluice decode` shows it; NULL when that fails. */
static json_t *decoded(const struct one *c)
{
    struct dissect_kind kind = {
        .request = c->kind == REQUEST, .api = c->api, .version = c->version, .secrets = true};
    struct buf frame;
    json_t *doc = json_object();
    buf_init(&frame, PART_MAX);
    int err = kind.request ? frame_put_request(&frame, c->api, c->version, 7, "c", c->a.n)
                           : frame_put_response(&frame, c->api, c->version, 7, c->a.n);
    if (!doc || err || (c->a.n > 0 && buf_append(&frame, c->a.p, c->a.n)))
        abort();
    size_t n = frame.len;
    uint8_t *flat = malloc(n);
    if (!flat)
        abort();
    buf_copy_out(&frame, 0, flat, n);
    buf_release(&frame);
    err = dissect_frame(doc, flat + 4, n - 4, 4, &kind, NULL);
    free(flat);
    json_t *body = err ? NULL : json_incref(json_object_get(doc, "body"));
    json_decref(doc);
    return body;
}

static const char *check_json(const struct one *c)
{
    json_error_t e;
    json_t *want = json_loadb((const char *)c->b.p, c->b.n, JSON_ALLOW_NUL | JSON_DECODE_ANY, &e);
    if (!want)
        return "Kafka's JSON could not be read";
    json_t *got = decoded(c);
    bool equal = got && json_equal(want, got);
    if (!equal && getenv("CONFORM_JSON")) {
        printf("  want %.*s\n", (int)c->b.n, (const char *)c->b.p);
        if (got) {
            fputs("  got  ", stdout);
            json_dumpf(got, stdout, JSON_COMPACT);
            putchar('\n');
        }
    }
    json_decref(want);
    json_decref(got);
    return equal ? NULL : "another JSON";
}

static const char *check_message(const struct one *c, struct arena *arena, const struct buf *in)
{
    const struct message *schema = schema_find(c->api, c->kind == REQUEST);
    struct msg m;
    struct msg_error e = {0};
    struct buf out;
    const char *why = NULL;
    buf_init(&out, PART_MAX);
    if (!schema || !versions_has(schema->versions, c->version))
        why = "not in the schema";
    else if (msg_decode(&m, arena, schema, c->version, in, 0, in->len, &e))
        why = e.why ? e.why : "not decoded";
    else if (m.unknown_tags)
        why = "unknown tags";
    else if (msg_size(&m) != in->len)
        why = "another size";
    else if (msg_encode(&m, &out))
        why = "not encoded";
    else if (!same(&out, c->a.p, c->a.n))
        why = "other bytes";
    else
        why = check_json(c);
    buf_release(&out);
    return why;
}

/* b: the client id as text; a code of -1 says that it is null. */
static const char *check_request_head(const struct one *c, const struct buf *in)
{
    struct request_head h;
    const char *why = NULL, *id = c->code < 0 ? NULL : (const char *)c->b.p;
    struct buf out;
    buf_init(&out, PART_MAX);
    if (frame_request_head(in, 0, in->len, &h, &why) == OK) {
        bool has_id = id && schema_request_header(c->api, c->version) > 0;
        if (h.api != c->api || h.version != c->version || h.body_off != in->len)
            why = "another header";
        else if ((h.client_id != NULL) != has_id ||
                 (has_id && (h.client_id_len != c->b.n || memcmp(h.client_id, id, c->b.n) != 0)))
            why = "another client id";
        else if (frame_put_request(&out, h.api, h.version, h.correlation, id, 0) != OK)
            why = "not encoded";
        else
            buf_drain(&out, 4);
        if (!why && !same(&out, c->a.p, c->a.n))
            why = "other bytes";
    }
    buf_release(&out);
    return why;
}

static const char *check_response_head(const struct one *c, const struct buf *in)
{
    int32_t correlation = 0;
    size_t body = 0;
    const char *why = NULL;
    struct buf out;
    buf_init(&out, PART_MAX);
    if (frame_response_head(in, 0, in->len, c->api, c->version, &correlation, &body, &why) == OK) {
        if (body != in->len)
            why = "another header";
        else if (frame_put_response(&out, c->api, c->version, correlation, 0) != OK)
            why = "not encoded";
        else
            buf_drain(&out, 4);
        if (!why && !same(&out, c->a.p, c->a.n))
            why = "other bytes";
    }
    buf_release(&out);
    return why;
}

/* a: the request, b: what getErrorResponse makes of it. */
static const char *check_refusal(const struct one *c, struct arena *arena, const struct buf *in)
{
    const struct message *schema = schema_find(c->api, true);
    struct msg request, reply;
    struct buf out;
    const char *why = NULL;
    buf_init(&out, PART_MAX);
    if (!schema || !versions_has(schema->versions, c->version))
        why = "not in the schema";
    else if (msg_decode(&request, arena, schema, c->version, in, 0, in->len, NULL))
        why = "not decoded";
    else if (reply_error(&reply, arena, &request, c->code))
        why = "no answer";
    else if (msg_encode(&reply, &out))
        why = "not encoded";
    else if (!same(&out, c->b.p, c->b.n))
        why = "other bytes";
    buf_release(&out);
    return why;
}

static const char *check(const struct one *c, struct arena *arena)
{
    const char *why = "no such kind";
    struct buf in;
    buf_init(&in, PART_MAX);
    if (c->a.n > 0 && buf_append(&in, c->a.p, c->a.n))
        abort();
    if (c->kind == REQUEST || c->kind == RESPONSE)
        why = check_message(c, arena, &in);
    else if (c->kind == REQUEST_HEAD)
        why = check_request_head(c, &in);
    else if (c->kind == RESPONSE_HEAD)
        why = check_response_head(c, &in);
    else if (c->kind == REFUSAL)
        why = check_refusal(c, arena, &in);
    buf_release(&in);
    return why;
}

/* --- the stream of cases: kind, API, version, code (1, 2, 2, 2 bytes), and two parts, each with
 * its length in 4 bytes. It ends with kind 0: without that it was cut short. */

static bool read_part(struct part *p)
{
    uint8_t len[4];
    if (fread(len, 1, 4, stdin) != 4)
        return false;
    p->n = read_u32(len);
    if (p->n > PART_MAX)
        return false;
    if (p->n >= p->cap) {
        free(p->p);
        p->cap = 2 * p->n + 1;
        p->p = malloc(p->cap);
        if (!p->p)
            abort();
    }
    p->p[p->n] = '\0';
    return fread(p->p, 1, p->n, stdin) == p->n;
}

/* False at the end; *cut when it came too early. */
static bool read_case(struct one *c, bool *cut)
{
    uint8_t head[7];
    *cut = true;
    if (fread(head, 1, 1, stdin) != 1)
        return false;
    if (head[0] == 0) {
        *cut = false;
        return false;
    }
    if (fread(head + 1, 1, 6, stdin) != 6 || !read_part(&c->a) || !read_part(&c->b))
        return false;
    c->kind = (char)head[0];
    c->api = read_i16(head + 1);
    c->version = read_i16(head + 3);
    c->code = read_i16(head + 5);
    return strchr(kinds, c->kind) && c->api >= 0 && c->api <= SCHEMA_KEY_MAX && c->version >= 0 &&
           c->version < VERSIONS_MAX;
}

static void tell(const struct one *c, const char *why)
{
    printf("FAILED %c %s %d (code %d): %s\n", c->kind, schema_api_name(c->api), c->version, c->code,
           why);
    if (!getenv("CONFORM_JSON"))
        return;
    for (size_t i = 0; i < c->a.n && i < 4096; i++)
        printf("%02x", c->a.p[i]);
    putchar('\n');
}

static int count(bool cut)
{
    unsigned long passed = 0, failed = cut, messages = 0;
    for (size_t k = 0; k < sizeof kinds - 1; k++) {
        for (size_t a = 0; a <= SCHEMA_KEY_MAX; a++) {
            for (size_t v = 0; v < VERSIONS_MAX; v++) {
                const struct tally *t = &tallies[k][a][v];
                messages += t->messages;
                failed += t->failed > 0;
                passed += t->messages > 0 && t->failed == 0;
            }
        }
    }
    if (cut)
        puts("FAILED the cases ended too early");
    printf("conformance, messages: %lu passed, %lu failed (%lu messages)\n", passed, failed,
           messages);
    return failed || !passed;
}

static int check_messages(void)
{
    struct one c = {.kind = 0};
    struct arena arena;
    unsigned long failed = 0;
    bool cut;
    arena_init(&arena, ARENA_BYTES);
    while (read_case(&c, &cut)) {
        const char *why = check(&c, &arena);
        struct tally *t = &tallies[strchr(kinds, c.kind) - kinds][c.api][c.version];
        arena_clear(&arena);
        t->messages++;
        t->failed += why != NULL;
        if (why && failed++ < TELL_MAX)
            tell(&c, why);
    }
    free(c.a.p);
    free(c.b.p);
    arena_release(&arena);
    buf_thread_trim();
    return count(cut);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "schema") == 0)
        return print_schema();
    if (argc == 2 && strcmp(argv[1], "refused") == 0)
        return print_refused();
    if (argc == 2 && strcmp(argv[1], "messages") == 0)
        return check_messages();
    fputs("usage: conform schema|refused|messages\n", stderr);
    return 2;
}
