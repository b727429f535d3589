/* Frames and headers: a length, a header, a body. Functions over a buf that the caller owns;
 * whoever's thread the buf is. */
#ifndef CODEC_FRAME_H
#define CODEC_FRAME_H

#include "base/buf.h"
#include "codec/schema.h"

struct request_head {
    int16_t api, version;
    int32_t correlation;
    const uint8_t *client_id; /* valid UTF-8 (replaced by '?' where it wasn't); may be cut at
                                 FRAME_CLIENT_ID_MAX; NULL for null, and in
                                 ControlledShutdown 0, which has none */
    uint32_t client_id_len;
    size_t body_off; /* where the body starts, counted from the header's first byte */
    uint8_t client_id_text[256];
};
#define FRAME_CLIENT_ID_MAX 255
/* Tags in a header: Kafka has none yet, so a few small ones are already generous. */
#define FRAME_HEAD_TAGS_MAX      16
#define FRAME_HEAD_TAG_BYTES_MAX 4096

/* The length in front of the frame at the start of b. ERR_AGAIN: fewer than 4 bytes yet.
 * ERR_MALFORMED: negative or 0. ERR_LIMIT: above max_bytes; *len is set then too. */
int frame_length(const struct buf *b, size_t max_bytes, uint32_t *len) SL_MUST;
/* Key, version, correlation id only: what is needed before a body may be looked at (8 bytes); the
 * rest of *h is zero. ERR_AGAIN: b doesn't hold them yet. ERR_MALFORMED: len has no room. */
int frame_peek(const struct buf *b, size_t off, size_t len, struct request_head *h) SL_MUST;
/* The whole request header at [off, off+len), which b must hold; header tags must be well-formed
 * and are dropped. ERR_VERSION when the schema does not have the API or version, ERR_MALFORMED
 * otherwise; both with *why. */
int frame_request_head(const struct buf *b, size_t off, size_t len, struct request_head *h,
                       const char **why) SL_MUST;
/* librdkafka (seen up to 2.16) asks for all topics, from Metadata 9 on, with the four bytes that it
 * had kept free for a count: null, and three zero bytes more, before the flags. Brokers read null
 * and three flags, and ignore what is left over. The one shape of a frame that is taken although it
 * is not canonical. Returns how many bytes of the body of the frame in b to pass over; h: its
 * header as frame_request_head read it. */
size_t frame_placeholder(const struct buf *b, const struct request_head *h);
/* The response header at [off, off+len): correlation id, and tags where flexible. body_off as
 * above. ERR_AGAIN: b holds less than the frame and the header isn't whole yet (a streamed answer's
 * start); otherwise as above. */
int frame_response_head(const struct buf *b, size_t off, size_t len, int api, int version,
                        int32_t *correlation, size_t *body_off, const char **why) SL_MUST;
/* Writes length + header; body_len bytes must follow. ERR_VERSION for an API that the schema does
 * not have, ERR_LIMIT when the frame or the client id (FRAME_CLIENT_ID_MAX) gets too long or out is
 * full; out is then unchanged. client_id may be NULL. */
int frame_put_request(struct buf *out, int api, int version, int32_t correlation,
                      const char *client_id, size_t body_len) SL_MUST;
int frame_put_response(struct buf *out, int api, int version, int32_t correlation,
                       size_t body_len) SL_MUST;

#endif
