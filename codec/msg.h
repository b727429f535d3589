/* A message as a tree, for everything that is decided, edited, split, joined or made up: decode,
 * change nodes, encode. Encoding is canonical by construction (sizes, counts and tag sizes are
 * worked out anew, unknown tags are gone), records are never copied: they stay ranges of the
 * buffer that they arrived in and are shared into the output.
 *
 * Nodes live in an arena and die with it (one exchange). Strings point into the frame's buffer
 * where they lie in one chunk, else into the arena, so the buffer must outlive the tree unless
 * msg_own_strings is called. One thread. Bound: the arena's limit. */
#ifndef CODEC_MSG_H
#define CODEC_MSG_H

#include "base/arena.h"
#include "base/buf.h"
#include "codec/schema.h"

struct node {
    const struct field *field; /* NULL for the message itself */
    struct node *next;         /* next field of the struct, or next element of the array */
    struct node *child;        /* a struct's fields, an array's elements */
    struct node *last;         /* last child */
    union {
        int64_t num; /* ints, bools */
        double real;
        const uint8_t *uuid; /* 16 bytes */
        struct {
            const uint8_t *p; /* strings and bytes; for records: NULL, see records */
            uint32_t len;
        } str;
        struct {
            const struct buf *src; /* where the records lie */
            uint64_t off;
            uint32_t len;
        } * records; /* NULL: empty */
    } u;
    uint32_t count;     /* array: elements */
    uint32_t tag_bytes; /* encode.c's: size of a tagged field's content, 0 when not written */
    bool null;
    bool element; /* an array's element: field is the array's row */
    bool own;     /* a string that lies in the arena, not in the frame's buffer */
    bool mark;    /* for whoever has the tree; false at first, the codec does not look at it */
};

/* No tree is deeper than its schema's rows nest, arrays and their elements counted apart. */
#define MSG_DEPTH_MAX 24

struct msg {
    const struct message *schema;
    struct arena *arena;
    struct node *root;
    int16_t version;       /* encode with this one; may be changed between decode and encode */
    uint32_t unknown_tags; /* dropped at decoding */
};

struct msg_error {
    const char *why; /* constant text */
    uint64_t offset; /* in the body */
};

/* Decodes the body [off, off+len) of b. ERR_MALFORMED fills *e (may be NULL), which also covers
 * strings that aren't UTF-8 or hold NUL (except under ROLE_OPAQUE; bytes are free). ERR_LIMIT when
 * the tree would outgrow the arena; an array's count is held against it before any element is
 * made. ERR_VERSION when the schema lacks the version. After an error only the arena is left to
 * release. b must stay unchanged as long as the tree is used. */
int msg_decode(struct msg *m, struct arena *a, const struct message *schema, int version,
               const struct buf *b, size_t off, size_t len, struct msg_error *e) SL_MUST;
/* A message of defaults: scalars and strings as the schema says, arrays empty (null where that is
 * the default), tagged fields absent. */
int msg_new(struct msg *m, struct arena *a, const struct message *schema, int version) SL_MUST;
/* Appends the encoded body to out. Fields that the version lacks are left out, fields that the
 * tree lacks get their defaults, tagged fields at their default are not written. ERR_LIMIT when
 * out has no room for all of it, ERR_MALFORMED when a non-nullable field is null or a string is
 * above 32767 bytes: out is unchanged then. After ERR_NOMEM out may hold a part and is of no use
 * any more. */
int msg_encode(const struct msg *m, struct buf *out) SL_MUST;
/* The length that msg_encode will write; 0 when it would fail (no message of ours is empty but
 * those without fields, which encode to 0 or 1 bytes). */
size_t msg_size(const struct msg *m);
/* The whole frame: length, header, body, with msg_encode's errors. */
int msg_encode_request(const struct msg *m, int32_t correlation, const char *client_id,
                       struct buf *out) SL_MUST;
int msg_encode_response(const struct msg *m, int32_t correlation, struct buf *out) SL_MUST;
/* The elements of an array alone, without its count, as they stand in the message: what is put into
 * an answer that streams past. ERR_UNKNOWN when the array is not an inline field of this version.
 */
int msg_encode_elements(const struct msg *m, const struct node *array, struct buf *out) SL_MUST;
/* Copies every string of the tree that still points into the frame into the arena. */
int msg_own_strings(struct msg *m) SL_MUST;

/* The field of a struct node (or of m->root); NULL when the version or tree lacks it. */
struct node *node_get(const struct node *st, enum field_name id);
/* The same with its value: the field's value, or fallback when it isn't there. */
int64_t node_num(const struct node *st, enum field_name id, int64_t fallback);
/* First field with this role directly in the struct, or NULL. */
struct node *node_role(const struct node *st, enum field_role role);

/* Values. A set on an absent field creates it when the schema row and m->version know it,
 * otherwise it does nothing (version differences need no care by the caller); the return value is
 * only ever OK or ERR_NOMEM/ERR_LIMIT. */
int node_set_num(struct msg *m, struct node *st, enum field_name id, int64_t v) SL_MUST;
int node_set_text(struct msg *m, struct node *st, enum field_name id, const char *s) SL_MUST;
int node_set_str(struct msg *m, struct node *st, enum field_name id, const uint8_t *p,
                 size_t n) SL_MUST; /* copied */
int node_set_uuid(struct msg *m, struct node *st, enum field_name id, const uint8_t *u) SL_MUST;
int node_set_null(struct msg *m, struct node *st, enum field_name id) SL_MUST;
/* Records of length 0, which is not null. */
int node_set_empty_records(struct msg *m, struct node *st, enum field_name id) SL_MUST;
/* The value of another field or element of the same type (not a struct or array); text, uuid and
 * records are shared, so what holds them must outlive this tree. from NULL: does nothing. */
int node_set_same(struct msg *m, struct node *st, enum field_name id,
                  const struct node *from) SL_MUST;
/* Removes the field: it will be encoded with its default (tagged: not at all). */
void node_unset(struct node *st, enum field_name id);

/* A new element of defaults at the array's end; its fields are there to be set. */
struct node *array_add(struct msg *m, struct node *array) SL_MUST;
/* The same for arrays of strings, ints, uuids. */
int array_add_str(struct msg *m, struct node *array, const uint8_t *p, size_t n) SL_MUST;
int array_add_num(struct msg *m, struct node *array, int64_t v) SL_MUST;
int array_add_uuid(struct msg *m, struct node *array, const uint8_t *u) SL_MUST;
/* Creates (or empties) the array field of a struct and returns it; NULL when the version has no
 * such field, or the arena is full. */
struct node *node_array(struct msg *m, struct node *st, enum field_name id) SL_MUST;
void array_clear(struct node *array);
/* Takes elem out; prev is the element before it, NULL for the first. The node stays usable and can
 * be given to array_put of another tree in an arena that lives as long. */
void array_take(struct node *array, struct node *prev, struct node *elem);
void array_put(struct node *array, struct node *elem);
/* A deep copy into m's arena; strings shared. */
struct node *node_clone(struct msg *m, const struct node *n) SL_MUST;

/* False when either is NULL, null, or not a string (a uuid compares with a uuid). */
bool node_str_is(const struct node *n, const char *s);
bool node_str_eq(const struct node *a, const struct node *b);

static inline bool node_is_array(const struct node *n)
{
    return n->field && n->field->array && !n->element;
}
static inline bool node_is_struct(const struct node *n)
{
    return !n->field || (n->field->type == TYPE_STRUCT && !node_is_array(n));
}

/* elem is what it declares. NOLINTBEGIN(bugprone-macro-parentheses) */
#define ARRAY_EACH(elem, array)                                                                    \
    for (struct node *elem = (array) ? (array)->child : NULL; elem; elem = elem->next)
/* NOLINTEND(bugprone-macro-parentheses) */

/* A walk over a tree in wire order, parents before their children: zero the struct, set root,
 * call until NULL. The tree must not change meanwhile, but for values. */
struct node_iter {
    struct node *root;
    struct node *at;
    struct node *up[MSG_DEPTH_MAX];
    unsigned depth; /* of at: 0 for the root */
};
struct node *node_iter_next(struct node_iter *it);

#endif
