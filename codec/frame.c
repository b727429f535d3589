#include "codec/frame.h"

#include <string.h>

#include "codec/read.h"
#include "codec/utf8.h"

#define LENGTH_BYTES    4
#define HEAD_MIN_BYTES  8 /* key, version, correlation id */
#define STRING_LEN_NULL UINT16_MAX

/* A cursor over a header; its first error sticks and says why. */
struct cursor {
    const struct buf *b;
    size_t off, end; /* end of the frame */
    int err;
    const char *why;
};

static void cursor_fail(struct cursor *c, int err, const char *why)
{
    if (c->err)
        return;
    c->err = err;
    c->why = why;
}

/* Copies n bytes to p and steps over them; zeroes when they aren't there. */
static void cursor_read(struct cursor *c, void *p, size_t n)
{
    memset(p, 0, n);
    if (!c->err && c->end - c->off < n)
        cursor_fail(c, ERR_MALFORMED, "the header runs past the end of its frame");
    if (!c->err && c->b->len - c->off < n)
        cursor_fail(c, ERR_AGAIN, "the header is not whole yet");
    if (c->err)
        return;
    buf_copy_out(c->b, c->off, p, n);
    c->off += n;
}

static int32_t cursor_i32(struct cursor *c)
{
    uint8_t b[4];

    cursor_read(c, b, sizeof b);
    return read_i32(b);
}

static int16_t cursor_i16(struct cursor *c)
{
    uint8_t b[2];

    cursor_read(c, b, sizeof b);
    return read_i16(b);
}

static uint32_t cursor_varint(struct cursor *c)
{
    uint8_t b[VARINT_BYTES_MAX];
    uint32_t v = 0;
    int used = 0;

    for (size_t n = 0; used == 0 && !c->err; n++) {
        cursor_read(c, &b[n], 1);
        used = read_varint(b, n + 1, &v);
    }
    if (used < 0)
        cursor_fail(c, ERR_MALFORMED, "a varint in the header is overlong or above 32 bits");
    return c->err ? 0 : v;
}

/* The tags of a flexible header: all unknown to us, so checked and passed over. */
static void cursor_tags(struct cursor *c)
{
    uint32_t count = cursor_varint(c), bytes = 0;
    int64_t last = -1;

    if (count > FRAME_HEAD_TAGS_MAX)
        cursor_fail(c, ERR_MALFORMED, "too many tags in the header");
    for (uint32_t i = 0; i < count && !c->err; i++) {
        uint32_t tag = cursor_varint(c), size = cursor_varint(c);

        if (tag > INT32_MAX || (int64_t)tag <= last)
            cursor_fail(c, ERR_MALFORMED, "header tags twice or out of order");
        if (size > FRAME_HEAD_TAG_BYTES_MAX - bytes)
            cursor_fail(c, ERR_MALFORMED, "header tags too large");
        else if (size > c->end - c->off)
            cursor_fail(c, ERR_MALFORMED, "the header runs past the end of its frame");
        else if (size > c->b->len - c->off)
            cursor_fail(c, ERR_AGAIN, "the header is not whole yet");
        if (c->err)
            return;
        c->off += size;
        bytes += size;
        last = tag;
    }
}

static int cursor_end(struct cursor *c, size_t start, size_t *body_off, const char **why)
{
    if (c->err && why)
        *why = c->why;
    if (!c->err)
        *body_off = c->off - start;
    return c->err;
}

/* Keeps what is text of n bytes, cut at FRAME_CLIENT_ID_MAX and never inside a character; a byte
 * that is no text becomes '?'. */
static void client_id_clean(struct request_head *h, const uint8_t *p, size_t n)
{
    size_t len = 0;

    for (size_t i = 0; i < n;) {
        size_t seq = p[i] ? utf8_sequence(p + i, n - i) : 0;

        if (len + (seq ? seq : 1) > FRAME_CLIENT_ID_MAX)
            break;
        if (seq)
            memcpy(h->client_id_text + len, p + i, seq);
        else
            h->client_id_text[len] = '?';
        len += seq ? seq : 1;
        i += seq ? seq : 1;
    }
    h->client_id_text[len] = '\0';
    h->client_id = h->client_id_text;
    h->client_id_len = (uint32_t)len;
}

static void client_id_read(struct cursor *c, struct request_head *h)
{
    uint8_t text[FRAME_CLIENT_ID_MAX + 3]; /* room for the character at the cut */
    int16_t len = cursor_i16(c);
    size_t n;

    if (len < -1)
        cursor_fail(c, ERR_MALFORMED, "a negative length in the header");
    if (len < 0 || c->err)
        return;
    n = (size_t)len < sizeof text ? (size_t)len : sizeof text;
    cursor_read(c, text, n);
    if (!c->err && (size_t)len - n > c->end - c->off)
        cursor_fail(c, ERR_MALFORMED, "the header runs past the end of its frame");
    if (!c->err && (size_t)len - n > c->b->len - c->off)
        cursor_fail(c, ERR_AGAIN, "the header is not whole yet");
    if (c->err)
        return;
    c->off += (size_t)len - n;
    client_id_clean(h, text, n);
}

int frame_length(const struct buf *b, size_t max_bytes, uint32_t *len)
{
    uint8_t head[LENGTH_BYTES];
    int32_t n;

    if (b->len < sizeof head)
        return ERR_AGAIN;
    buf_copy_out(b, 0, head, sizeof head);
    n = read_i32(head);
    if (n <= 0)
        return ERR_MALFORMED;
    *len = (uint32_t)n;
    return *len > max_bytes ? ERR_LIMIT : OK;
}

static struct cursor cursor_at(const struct buf *b, size_t off, size_t len)
{
    struct cursor c = {.b = b, .off = off, .end = off + len};

    if (off > b->len)
        cursor_fail(&c, ERR_AGAIN, "the header is not whole yet");
    return c;
}

int frame_peek(const struct buf *b, size_t off, size_t len, struct request_head *h)
{
    struct cursor c = cursor_at(b, off, len);

    memset(h, 0, sizeof *h);
    h->api = cursor_i16(&c);
    h->version = cursor_i16(&c);
    h->correlation = cursor_i32(&c);
    return c.err;
}

int frame_request_head(const struct buf *b, size_t off, size_t len, struct request_head *h,
                       const char **why)
{
    struct cursor c = cursor_at(b, off, len);
    const struct message *m;

    memset(h, 0, sizeof *h);
    h->api = cursor_i16(&c);
    h->version = cursor_i16(&c);
    h->correlation = cursor_i32(&c);
    m = c.err ? NULL : schema_find(h->api, true);
    if (!c.err && (!m || !versions_has(m->versions, h->version)))
        cursor_fail(&c, ERR_VERSION, "an API or version that the schema does not have");
    if (!c.err && schema_request_header(h->api, h->version) >= 1)
        client_id_read(&c, h);
    if (!c.err && schema_request_header(h->api, h->version) >= 2)
        cursor_tags(&c);
    return cursor_end(&c, off, &h->body_off, why);
}

size_t frame_placeholder(const struct buf *b, const struct request_head *h)
{
    uint8_t body[8];
    size_t flags = h->version <= 10 ? 3 : 2;
    size_t n = 4 + flags + 1;

    if (h->api != 3 || h->version < 9 || b->len - h->body_off != n)
        return 0;
    buf_copy_out(b, h->body_off, body, n);
    for (size_t i = 0; i < n; i++)
        if (body[i] > (i >= 4 && i < 4 + flags ? 1 : 0))
            return 0;
    return 3;
}

int frame_response_head(const struct buf *b, size_t off, size_t len, int api, int version,
                        int32_t *correlation, size_t *body_off, const char **why)
{
    struct cursor c = cursor_at(b, off, len);
    int header = schema_response_header(api, version);

    if (header < 0)
        cursor_fail(&c, ERR_VERSION, "an API that the schema does not have");
    *correlation = cursor_i32(&c);
    if (!c.err && header >= 1)
        cursor_tags(&c);
    return cursor_end(&c, off, body_off, why);
}

int frame_put_request(struct buf *out, int api, int version, int32_t correlation,
                      const char *client_id, size_t body_len)
{
    enum { ID_OFF = LENGTH_BYTES + HEAD_MIN_BYTES + 2 };
    uint8_t head[ID_OFF + FRAME_CLIENT_ID_MAX + 1];
    size_t id_len = client_id ? strlen(client_id) : 0, head_len;
    int header = schema_request_header(api, version);

    if (header < 0)
        return ERR_VERSION;
    if (id_len > FRAME_CLIENT_ID_MAX || body_len > INT32_MAX - sizeof head)
        return ERR_LIMIT;
    head_len = ID_OFF + id_len;
    write_u16(head + 4, (uint16_t)api);
    write_u16(head + 6, (uint16_t)version);
    write_u32(head + 8, (uint32_t)correlation);
    write_u16(head + 12, client_id ? (uint16_t)id_len : STRING_LEN_NULL);
    if (header == 0)
        head_len = ID_OFF - 2;
    else if (id_len)
        memcpy(head + ID_OFF, client_id, id_len);
    if (header >= 2)
        head[head_len++] = 0;
    write_u32(head, (uint32_t)(head_len - LENGTH_BYTES + body_len));
    return buf_append(out, head, head_len);
}

int frame_put_response(struct buf *out, int api, int version, int32_t correlation, size_t body_len)
{
    uint8_t head[LENGTH_BYTES + 4 + 1] = {0};
    int header = schema_response_header(api, version);
    size_t head_len = sizeof head - (header >= 1 ? 0 : 1);

    if (header < 0)
        return ERR_VERSION;
    if (body_len > INT32_MAX - head_len)
        return ERR_LIMIT;
    write_u32(head, (uint32_t)(head_len - LENGTH_BYTES + body_len));
    write_u32(head + 4, (uint32_t)correlation);
    return buf_append(out, head, head_len);
}
