/* Reads the cases that Generate.java prints and holds the codec against them:
 * random messages of Kafka's own classes must decode, re-encode to the same bytes and show the
 * same JSON; refusals must have the bytes of Kafka's getErrorResponse. The last line counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json.h"
#include "codec/msg.h"
#include "codec/reply.h"

#define FIELDS_MAX  6
#define TELL_MAX    20 /* failures that are told in full */
#define ARENA_BYTES (256UL << 20)

struct counts {
    unsigned long passed, failed, skipped;
};

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "-" stands for no bytes. Returns 0, or -1 for what is not hex. */
static int read_hex(const char *s, struct buf *out)
{
    for (; s[0] && strcmp(s, "-") != 0; s += 2) {
        int high = digit(s[0]);
        int low = high < 0 ? -1 : digit(s[1]);
        if (low < 0)
            return -1;
        uint8_t b = (uint8_t)(high << 4 | low);
        if (buf_append(out, &b, 1))
            return -1;
    }
    return 0;
}

static bool buf_same(const struct buf *a, const struct buf *b)
{
    if (a->len != b->len)
        return false;
    uint8_t *x = malloc(2 * a->len + 1);
    if (!x)
        abort();
    buf_copy_out(a, 0, x, a->len);
    buf_copy_out(b, 0, x + a->len, b->len);
    bool same = memcmp(x, x + a->len, a->len) == 0;
    free(x);
    return same;
}

/* Fields that have another name in Kafka 4.4, which the schema follows. */
static void rename_later(const struct msg *m, json_t *o)
{
    const char *old = NULL, *now = NULL;
    if (m->schema->api == 28 && m->schema->request) {
        old = "generationId";
        now = "generationIdOrMemberEpoch";
    } else if (m->schema->api == 88 && !m->schema->request && m->version == 0) {
        old = "acceptableRecoveryLag";
        now = "acceptableRecoveryLagLegacy";
    }
    json_t *v = old ? json_object_get(o, old) : NULL;
    if (v) {
        json_object_set(o, now, v);
        json_object_del(o, old);
    }
}

static const char *check_json(const struct msg *m, const char *text)
{
    json_error_t e;
    json_t *want = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_ANY, &e);
    if (!want)
        return "Kafka's JSON could not be read";
    rename_later(m, want);
    json_t *got = json_from_msg(m, JSON_SECRETS);
    bool same = got && json_equal(want, got);
    if (!same && getenv("CONFORM_JSON")) {
        printf("  want %s\n", text);
        if (got) {
            fputs("  got  ", stdout);
            json_dumpf(got, stdout, JSON_COMPACT);
            putchar('\n');
        }
    }
    json_decref(want);
    json_decref(got);
    return same ? NULL : "another JSON";
}

/* msg API request|response VERSION HEX JSON. Returns why it failed, NULL when it did not. */
static const char *check_message(char *f[FIELDS_MAX], bool *skip)
{
    const struct message *schema = schema_find(atoi(f[1]), strcmp(f[2], "request") == 0);
    int version = atoi(f[3]);
    *skip = !schema || !versions_has(schema->versions, version);
    if (*skip)
        return NULL;
    struct buf in, out;
    struct arena arena;
    struct msg m;
    struct msg_error e = {0};
    buf_init(&in, 64UL << 20);
    buf_init(&out, 64UL << 20);
    arena_init(&arena, ARENA_BYTES);
    const char *why = NULL;
    if (read_hex(f[4], &in))
        why = "not hex";
    else if (msg_decode(&m, &arena, schema, version, &in, 0, in.len, &e))
        why = e.why ? e.why : "not decoded";
    else if (m.unknown_tags)
        why = "unknown tags";
    else if (msg_size(&m) != in.len)
        why = "another size";
    else if (msg_encode(&m, &out))
        why = "not encoded";
    else if (!buf_same(&in, &out))
        why = "other bytes";
    else
        why = check_json(&m, f[5]);
    buf_release(&in);
    buf_release(&out);
    arena_release(&arena);
    return why;
}

/* error API VERSION CODE REQUEST-HEX RESPONSE-HEX */
static const char *check_error(char *f[FIELDS_MAX], bool *skip)
{
    const struct message *schema = schema_find(atoi(f[1]), true);
    int version = atoi(f[2]);
    *skip = !schema || !versions_has(schema->versions, version);
    if (*skip)
        return NULL;
    struct buf in, want, out;
    struct arena arena;
    struct msg request, reply;
    buf_init(&in, 64UL << 20);
    buf_init(&want, 64UL << 20);
    buf_init(&out, 64UL << 20);
    arena_init(&arena, ARENA_BYTES);
    const char *why = NULL;
    if (read_hex(f[4], &in) || read_hex(f[5], &want))
        why = "not hex";
    else if (msg_decode(&request, &arena, schema, version, &in, 0, in.len, NULL))
        why = "not decoded";
    else if (reply_error(&reply, &arena, &request, atoi(f[3])))
        why = "no answer";
    else if (msg_encode(&reply, &out))
        why = "not encoded";
    else if (!buf_same(&want, &out))
        why = "other bytes";
    buf_release(&in);
    buf_release(&want);
    buf_release(&out);
    arena_release(&arena);
    return why;
}

static void check_line(char *line, struct counts *c)
{
    char *f[FIELDS_MAX] = {NULL};
    char *rest = line;
    for (int i = 0; i < FIELDS_MAX; i++)
        f[i] = strsep(&rest, "\t");
    bool skip = false;
    const char *why = !f[5] ? "not a case" : NULL;
    if (!why)
        why = strcmp(f[0], "msg") == 0 ? check_message(f, &skip) : check_error(f, &skip);
    if (why && c->failed++ < TELL_MAX)
        printf("FAILED %s %s %s %s: %s\n", f[0], f[1] ? f[1] : "", f[2] ? f[2] : "",
               f[3] ? f[3] : "", why);
    else if (skip)
        c->skipped++;
    else if (!why)
        c->passed++;
}

int main(void)
{
    struct counts c = {0};
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        if (line[n - 1] == '\n')
            line[n - 1] = '\0';
        check_line(line, &c);
    }
    free(line);
    buf_thread_trim();
    printf(
        "conformance with kafka-clients: %lu passed, %lu failed (%lu of APIs that are not ours)\n",
        c.passed, c.failed, c.skipped);
    return c.failed || !c.passed;
}
