/* Messages as JSON, for people and tests: `sluice decode`, conformance tests. Not on the data path.
 *
 * The shape is that of Kafka's own *JsonConverter with serializeRecords=false: lowerCamel names,
 * every field of the version (a tagged one only when it was sent), int64 as numbers, ids as Kafka
 * prints them (base64url, 22 characters), bytes as base64, records as NAME + "SizeInBytes".
 * Deviations: what is secret reads "<secret>" unless asked for, bytes of a string that aren't
 * UTF-8 become U+FFFD.
 *
 * Each function returns a new reference, or NULL when memory runs out. Any thread, on its own
 * data. Bounds: the tree's, and JSON_TAGS_MAX. */
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

#include <jansson.h>
#include <stdio.h>

#include "codec/msg.h"

enum { JSON_SECRETS = 1 /* show fields of ROLE_SECRET */ };

/* Unknown tags listed one by one; of more, the number alone is told. */
#define JSON_TAGS_MAX 1024

/* Has the message, at any depth, a field of ROLE_SECRET? Then its raw bytes count as secret. */
bool json_has_secret(const struct message *schema);

json_t *json_from_msg(const struct msg *m, unsigned flags) SL_MUST;

/* The unknown tags of a message body that msg_decode has taken, which the tree has not: an array
 * of {"in": "topics[0].partitions[1]", "tag": 7, "data": base64}, at the end {"more": N} when there
 * are more than JSON_TAGS_MAX. Data of messages that have a secret field counts as secret. p: the
 * body's len bytes. */
json_t *json_unknown_tags(const struct message *schema, int version, const uint8_t *p, size_t len,
                          unsigned flags) SL_MUST;
/* The same for the n bytes of a flexible header's tags, which frame_*_head has taken. */
json_t *json_header_tags(const uint8_t *p, size_t n) SL_MUST;

json_t *json_text(const uint8_t *p, size_t n) SL_MUST;   /* U+FFFD for what is not UTF-8 */
json_t *json_base64(const uint8_t *p, size_t n) SL_MUST; /* RFC 4648, padded */

/* One JSON value indented for people: a line a scalar, no braces, error codes with their names.
 * Everything outside of printable ASCII is escaped, so a terminal shows it and does not obey it. */
void json_print_text(FILE *out, const json_t *value);

#endif
