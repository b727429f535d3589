#include "edc/acl_rules.h"

#include <stdio.h>
#include <string.h>

#include "auth/digest.h"
#include "codec/reply.h"
#include "config/values.h"

#define USER        "User:"
#define USER_LEN    5
#define SUBJECT_MAX 255
#define PREFIX_MAX  249
#define ID_PREFIX   "acl-"
#define ID_BYTES    (sizeof(ID_PREFIX) + DIGEST_HEX)

const char *acl_type_name(int type)
{
    switch (type) {
    case ACL_TOPIC:
        return "topic";
    case ACL_GROUP:
        return "group";
    case ACL_TXN:
        return "transactional id";
    default:
        return "resource";
    }
}

/* --- reading */

static bool take_text(const struct node *st, enum field_name id, struct arena *a, const char **out)
{
    const struct node *n = node_get(st, id);

    *out = n && !n->null ? arena_dup(a, n->u.str.p, n->u.str.len) : "";
    return *out != NULL;
}

/* Null is another thing than "" there. */
static bool take_nullable(const struct node *st, enum field_name id, struct arena *a,
                          const char **out)
{
    const struct node *n = node_get(st, id);

    *out = NULL;
    return !n || n->null || take_text(st, id, a, out);
}

static int number(const struct node *st, enum field_name id)
{
    return (int)node_num(st, id, 0);
}

static const char *resource_fault(const struct acl_binding *b)
{
    switch (b->type) {
    case ACL_TOPIC:
        if (b->pattern != ACL_LITERAL)
            return "Topics are granted by their whole names: LITERAL only.";
        if (value_topic_fault(b->name))
            return "The topic has a name that cannot be granted.";
        return NULL;
    case ACL_GROUP:
    case ACL_TXN:
        if (b->pattern != ACL_PREFIXED)
            return "Groups and transactional ids are granted by prefix: PREFIXED only.";
        if (strlen(b->name) > PREFIX_MAX || value_prefix_fault(b->name))
            return "The prefix is empty, a wildcard, too long, or has control characters.";
        return NULL;
    default:
        return "Only topics, groups and transactional ids are granted here.";
    }
}

static const char *operation_fault(const struct acl_binding *b)
{
    switch (b->type) {
    case ACL_TOPIC:
        if (b->op == ACL_READ || b->op == ACL_WRITE || b->op == ACL_DESCRIBE ||
            b->op == ACL_DESCRIBE_CONFIGS)
            return NULL;
        return "Of topics, READ, WRITE, DESCRIBE and DESCRIBE_CONFIGS are granted here.";
    case ACL_GROUP:
        if (b->op == ACL_READ || b->op == ACL_DELETE || b->op == ACL_DESCRIBE)
            return NULL;
        return "Of groups, READ, DELETE and DESCRIBE are granted here.";
    default:
        if (b->op == ACL_WRITE || b->op == ACL_DESCRIBE)
            return NULL;
        return "Of transactional ids, WRITE and DESCRIBE are granted here.";
    }
}

static const char *principal_fault(const char *principal)
{
    size_t n = strlen(principal);

    if (n <= USER_LEN || strncmp(principal, USER, USER_LEN) != 0)
        return "The principal is no \"User:\" followed by a token's subject.";
    if (strcmp(principal + USER_LEN, "*") == 0)
        return "Nothing is granted to everybody: the principal is a wildcard.";
    if (n - USER_LEN > SUBJECT_MAX || value_text_fault(principal, n))
        return "The principal is longer than 255 bytes or has control characters.";
    return NULL;
}

int acl_read_creation(const struct node *n, struct arena *a, struct acl_binding *out,
                      const char **why)
{
    const char *principal, *host;

    out->type = number(n, F_RESOURCE_TYPE);
    out->pattern = number(n, F_RESOURCE_PATTERN_TYPE);
    out->op = number(n, F_OPERATION);
    if (!take_text(n, F_RESOURCE_NAME, a, &out->name) ||
        !take_text(n, F_PRINCIPAL, a, &principal) || !take_text(n, F_HOST, a, &host))
        return ERR_NOMEM;
    out->subject = principal + (strncmp(principal, USER, USER_LEN) == 0 ? USER_LEN : 0);
    *why = resource_fault(out);
    if (!*why)
        *why = operation_fault(out);
    if (!*why)
        *why = principal_fault(principal);
    if (!*why && strcmp(host, "*") != 0)
        *why = "Hosts are not told apart: the host is \"*\" only.";
    if (!*why && number(n, F_PERMISSION_TYPE) != ACL_ALLOW)
        *why = "Only ALLOW: what is not granted is denied.";
    return *why ? KAFKA_INVALID_REQUEST : 0;
}

/* Kafka refuses what its enumerations call UNKNOWN: 0, and whatever is above them. */
static bool known(int value, int max)
{
    return value >= 1 && value <= max;
}

int acl_read_filter(const struct node *n, struct arena *a, struct acl_filter *out, const char **why)
{
    out->type = number(n, F_RESOURCE_TYPE_FILTER);
    out->pattern = number(n, F_PATTERN_TYPE_FILTER);
    out->op = number(n, F_OPERATION);
    out->permission = number(n, F_PERMISSION_TYPE);
    if (!take_nullable(n, F_RESOURCE_NAME_FILTER, a, &out->name) ||
        !take_nullable(n, F_PRINCIPAL_FILTER, a, &out->principal) ||
        !take_nullable(n, F_HOST_FILTER, a, &out->host))
        return ERR_NOMEM;
    *why = NULL;
    if (!known(out->type, ACL_TYPE_MAX) || !known(out->pattern, ACL_PREFIXED) ||
        !known(out->op, ACL_OP_MAX) || !known(out->permission, ACL_ALLOW))
        *why = "The filter contains unknown elements.";
    return *why ? KAFKA_INVALID_REQUEST : 0;
}

/* --- bindings and filters */

static bool name_matches(const struct acl_filter *f, const struct acl_binding *b)
{
    if (!f->name)
        return true;
    if (f->pattern != ACL_MATCH || b->pattern == ACL_LITERAL)
        return strcmp(f->name, b->name) == 0;
    return strncmp(f->name, b->name, strlen(b->name)) == 0;
}

bool acl_filter_matches(const struct acl_filter *f, const struct acl_binding *b)
{
    if ((f->type != ACL_TYPE_ANY && f->type != b->type) ||
        (f->pattern != ACL_PATTERN_ANY && f->pattern != ACL_MATCH && f->pattern != b->pattern) ||
        (f->op != ACL_OP_ANY && f->op != b->op) ||
        (f->permission != ACL_PERMISSION_ANY && f->permission != ACL_ALLOW))
        return false;
    if (f->principal && (strncmp(f->principal, USER, USER_LEN) != 0 ||
                         strcmp(f->principal + USER_LEN, b->subject) != 0))
        return false;
    if (f->host && strcmp(f->host, "*") != 0)
        return false;
    return name_matches(f, b);
}

int acl_binding_compare(const struct acl_binding *a, const struct acl_binding *b)
{
    int order = a->type - b->type;

    if (order == 0)
        order = strcmp(a->name, b->name);
    if (order == 0)
        order = a->pattern - b->pattern;
    if (order == 0)
        order = strcmp(a->subject, b->subject);
    return order != 0 ? order : a->op - b->op;
}

/* --- rights */

/* What an operation of ours is called in Kafka: on the topic, and on what the prefix is of. */
struct meaning {
    unsigned op;
    int topic_op, prefix_type, prefix_op; /* 0: it has none */
    bool describes;
};
static const struct meaning meanings[] = {
    {OP_READ, ACL_READ, ACL_GROUP, ACL_READ, true},
    {OP_WRITE, ACL_WRITE, ACL_TXN, ACL_WRITE, true},
    {OP_MANAGE, 0, ACL_GROUP, ACL_DELETE, true},
    {OP_DESCRIBE_CONFIGS, ACL_DESCRIBE_CONFIGS, 0, 0, false},
};
#define MEANINGS (sizeof(meanings) / sizeof(*meanings))

static const struct meaning *meaning_of(unsigned op)
{
    for (size_t i = 0; i < MEANINGS; i++)
        if (meanings[i].op == op)
            return &meanings[i];
    return NULL;
}

unsigned acl_right_bindings(const struct acl_right *r, struct acl_binding *out, unsigned *carriers)
{
    const struct meaning *m = meaning_of(r->op);
    unsigned n = 0;

    *carriers = 0;
    if (!m)
        return 0;
    if (r->topic[0])
        out[n++] = (struct acl_binding){ACL_TOPIC, ACL_LITERAL, m->topic_op, r->topic, r->subject};
    if (r->prefix[0])
        out[n++] =
            (struct acl_binding){m->prefix_type, ACL_PREFIXED, m->prefix_op, r->prefix, r->subject};
    *carriers = n;
    for (unsigned i = 0; m->describes && i < *carriers; i++) {
        out[n] = out[i];
        out[n++].op = ACL_DESCRIBE;
    }
    return n;
}

bool acl_right_has(const struct acl_right *r, const struct acl_binding *b)
{
    struct acl_binding all[ACL_RIGHT_BINDINGS];
    unsigned carriers, n = acl_right_bindings(r, all, &carriers);

    for (unsigned i = 0; i < n; i++)
        if (acl_binding_compare(&all[i], b) == 0)
            return true;
    return false;
}

static int right_id(const struct acl_right *r, const char *issuer, char id[ID_BYTES])
{
    char op[16];
    const char *const texts[] = {issuer, r->subject, r->topic, r->prefix, op};
    char hex[DIGEST_HEX + 1];
    int rc;

    snprintf(op, sizeof(op), "%u", r->op);
    rc = digest_texts(texts, sizeof(texts) / sizeof(*texts), hex);
    snprintf(id, ID_BYTES, ID_PREFIX "%s", hex);
    return rc;
}

bool acl_right_of(const struct grant *g, const char *issuer, struct acl_right *out)
{
    if (g->source != GRANT_FROM_API || strncmp(g->id, ID_PREFIX, sizeof(ID_PREFIX) - 1) != 0 ||
        (issuer && strcmp(g->issuer, issuer) != 0) || !g->subject[0] || g->client[0] ||
        g->ntopics > 1 || !meaning_of(g->operations))
        return false;
    *out = (struct acl_right){g->subject, g->ntopics ? g->topics[0] : "", g->group_prefix,
                              g->operations, g->issuer};
    return true;
}

bool acl_right_made(const struct acl_right *r, const struct grant *g)
{
    char id[ID_BYTES];

    return right_id(r, g->issuer, id) == OK && strcmp(id, g->id) == 0;
}

int acl_right_grant(const struct acl_right *r, const char *issuer, struct grant **out,
                    const char **why)
{
    char id[ID_BYTES];
    const char *topics[] = {r->topic};
    const struct grant_config c = {
        .id = id,
        .issuer = issuer,
        .subject = r->subject,
        .topics = {topics, r->topic[0] ? 1 : 0},
        .group_prefix = r->prefix,
        .operations = r->op,
    };

    *out = NULL;
    *why = "out of memory";
    if (right_id(r, issuer, id) != OK)
        return ERR_NOMEM;
    return grant_new(&c, GRANT_FROM_API, out, why);
}

/* --- CreateAcls */

/* The binding's own right, without a partner. False: it follows from another. */
static bool carried(const struct acl_binding *b, unsigned *op, bool *topic)
{
    for (size_t i = 0; i < MEANINGS; i++) {
        const struct meaning *m = &meanings[i];

        *op = m->op;
        *topic = b->type == ACL_TOPIC;
        if (*topic ? m->topic_op == b->op : m->prefix_type == b->type && m->prefix_op == b->op)
            return true;
    }
    return false;
}

static bool same_right(const struct acl_right *a, const struct acl_right *b)
{
    return a->op == b->op && strcmp(a->subject, b->subject) == 0 &&
           strcmp(a->topic, b->topic) == 0 && strcmp(a->prefix, b->prefix) == 0;
}

static size_t add_right(struct acl_right *out, size_t count, struct acl_right r)
{
    for (size_t i = 0; i < count; i++)
        if (same_right(&out[i], &r))
            return count;
    out[count] = r;
    return count + 1;
}

/* The index-th different name of the subject and operation among topics or prefixes; where there
 * are fewer, the last of them; "" where there is none. *count is how many there are. */
static const char *nth_name(const struct acl_binding *b, size_t n, const struct acl_binding *like,
                            unsigned op, bool topic, size_t index, size_t *count)
{
    const char *name = "";

    *count = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned its_op;
        bool its_topic, again = false;

        if (!carried(&b[i], &its_op, &its_topic) || its_op != op || its_topic != topic ||
            strcmp(b[i].subject, like->subject) != 0)
            continue;
        for (size_t j = 0; j < i && !again; j++)
            again = acl_binding_compare(&b[j], &b[i]) == 0;
        if (again)
            continue;
        if (*count <= index)
            name = b[i].name;
        ++*count;
    }
    return name;
}

size_t acl_plan_create(const struct acl_binding *b, size_t n, struct acl_right *out)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        size_t topics, prefixes, index = 0;
        unsigned op;
        bool topic, first = true;

        if (!carried(&b[i], &op, &topic))
            continue;
        for (size_t j = 0; j < i && first; j++) {
            unsigned its_op;
            bool its_topic;
            first = !carried(&b[j], &its_op, &its_topic) || its_op != op ||
                    strcmp(b[j].subject, b[i].subject) != 0;
        }
        if (!first)
            continue; /* this subject and operation have been paired */
        do {
            struct acl_right r = {.subject = b[i].subject, .op = op};
            r.topic = nth_name(b, n, &b[i], op, true, index, &topics);
            r.prefix = nth_name(b, n, &b[i], op, false, index, &prefixes);
            count = add_right(out, count, r);
            index++;
        } while (index < topics || index < prefixes);
    }
    return count;
}

/* --- DeleteAcls */

static bool any_matches(const struct acl_filter *filters, size_t n, const struct acl_binding *b)
{
    for (size_t i = 0; i < n; i++)
        if (acl_filter_matches(&filters[i], b))
            return true;
    return false;
}

static enum acl_fate fate_of(const struct acl_right *r, const struct acl_filter *filters, size_t n)
{
    struct acl_binding all[ACL_RIGHT_BINDINGS];
    unsigned carriers, hit = 0;

    (void)acl_right_bindings(r, all, &carriers);
    for (unsigned i = 0; i < carriers; i++)
        hit |= any_matches(filters, n, &all[i]) ? 1U << i : 0;
    if (hit == 0)
        return ACL_STAYS;
    if (hit == (1U << carriers) - 1)
        return ACL_ENDS;
    return hit == 1 ? ACL_LOSES_TOPIC : ACL_LOSES_PREFIX;
}

/* Does the request end another topic of this subject that came with this prefix? */
static bool meant_for_another(const struct acl_right *rights, size_t n, const enum acl_fate *fates,
                              const struct acl_right *r)
{
    for (size_t i = 0; i < n; i++)
        if (fates[i] == ACL_ENDS && rights[i].op == r->op && rights[i].topic[0] &&
            strcmp(rights[i].prefix, r->prefix) == 0 && strcmp(rights[i].subject, r->subject) == 0)
            return true;
    return false;
}

void acl_plan_delete(const struct acl_right *rights, size_t n, const struct acl_filter *filters,
                     size_t nfilters, enum acl_fate *out)
{
    bool ends = false;
    size_t i;

    for (i = 0; i < n; i++) {
        out[i] = fate_of(&rights[i], filters, nfilters);
        ends = ends || out[i] == ACL_ENDS;
    }
    for (i = 0; ends && i < n; i++)
        if (out[i] == ACL_LOSES_PREFIX && meant_for_another(rights, n, out, &rights[i]))
            out[i] = ACL_STAYS;
}

struct acl_right acl_right_left(const struct acl_right *r, enum acl_fate fate)
{
    struct acl_right left = *r;

    switch (fate) {
    case ACL_STAYS:
        break;
    case ACL_ENDS:
        return (struct acl_right){NULL, "", "", 0, NULL};
    case ACL_LOSES_TOPIC:
        left.topic = "";
        break;
    case ACL_LOSES_PREFIX:
        left.prefix = "";
        break;
    }
    return left;
}
