/* Last known watermarks of the partitions that a session fetches, for those that are filled in: a
 * high watermark equal to the position makes librdkafka raise end-of-partition, so a made-up 0
 * would be a false one; -1 says "not known". */
#include <string.h>

#include "base/alloc.h"
#include "proxy/fetch_priv.h"

static struct mark_topic *find(struct fetch_room *r, const char *name)
{
    if (r->last_mark && strcmp(r->last_mark->name, name) == 0)
        return r->last_mark;
    for (struct mark_topic *t = r->marks; t; t = t->next)
        if (strcmp(t->name, name) == 0)
            return r->last_mark = t;
    return NULL;
}

/* Room for indexes up to `index`, within the bound. */
static bool grow(struct fetch_room *r, struct mark_topic *t, int32_t index)
{
    int32_t count = t->count ? t->count : 8;
    struct mark *marks;

    while (count <= index)
        count *= 2;
    if (r->nmarks + (uint32_t)(count - t->count) > FETCH_MARKS_MAX)
        return false;
    marks = sl_realloc(t->marks, (size_t)count * sizeof(*marks));
    if (!marks)
        return false;
    memset(marks + t->count, 0, (size_t)(count - t->count) * sizeof(*marks));
    for (int32_t i = t->count; i < count; i++) /* of no epoch: what is noted first is its own */
        marks[i].epoch = INT32_MIN;
    r->nmarks += (uint32_t)(count - t->count);
    t->marks = marks;
    t->count = count;
    return true;
}

/* topic: of a request that was let through, or of an answer to it. */
static const struct topic_info *info_of(const struct fetch_room *r, const struct node *topic)
{
    const struct cluster *c = r->s->gate->cluster;
    const struct node *name = node_role(topic, ROLE_TOPIC), *id = node_role(topic, ROLE_TOPIC_ID);

    return name ? cluster_topic(c, name->u.str.p, name->u.str.len)
                : cluster_topic_by_id(c, id->u.uuid);
}

struct mark *marks_get(struct fetch_room *r, const struct node *topic, int32_t index, bool make)
{
    const struct topic_info *info = info_of(r, topic);
    struct mark_topic *t;
    size_t n;

    if (!info || index < 0 || index >= info->npartitions || index >= FETCH_MARKS_MAX)
        return NULL;
    n = strlen(info->name);
    t = find(r, info->name);
    if (!t && make) {
        t = sl_calloc(1, sizeof(*t) + n + 1);
        if (!t)
            return NULL;
        memcpy(t->name, info->name, n + 1);
        memcpy(t->id, info->id, sizeof(t->id));
        t->next = r->marks;
        r->marks = r->last_mark = t;
    }
    if (!t)
        return NULL;
    if (memcmp(t->id, info->id, sizeof(t->id)) != 0) { /* made anew under the same name */
        for (int32_t i = 0; i < t->count; i++)
            t->marks[i] = (struct mark){.epoch = INT32_MIN};
        memcpy(t->id, info->id, sizeof(t->id));
    }
    if (index >= t->count && (!make || !grow(r, t, index)))
        return NULL;
    if (t->marks[index].epoch != info->partitions[index].epoch) {
        if (!make)
            return NULL;
        t->marks[index] = (struct mark){.high_watermark = -1,
                                        .last_stable = -1,
                                        .log_start = -1,
                                        .epoch = info->partitions[index].epoch,
                                        .asked = t->marks[index].asked,
                                        .had_data = t->marks[index].had_data};
    }
    return &t->marks[index];
}

void marks_note(struct fetch_room *r, const struct msg *answer)
{
    ARRAY_EACH (t, node_get(answer->root, F_RESPONSES)) {
        ARRAY_EACH (p, node_get(t, F_PARTITIONS)) {
            const struct node *records = node_get(p, F_RECORDS);
            struct mark *m = marks_get(r, t, (int32_t)node_num(p, F_PARTITION_INDEX, -1), true);
            if (!m || node_num(p, F_ERROR_CODE, 0) != KAFKA_NONE)
                continue;
            m->known = true;
            mark_raise(&m->high_watermark, node_num(p, F_HIGH_WATERMARK, -1));
            mark_raise(&m->last_stable, node_num(p, F_LAST_STABLE_OFFSET, -1));
            mark_raise(&m->log_start, node_num(p, F_LOG_START_OFFSET, -1));
            m->had_data = records && records->u.records && records->u.records->len > 0;
        }
    }
}

int marks_fill(struct fetch_room *r, struct msg *reply, const struct node *topic,
               const struct node *request_partition, struct node *partition)
{
    struct mark *m =
        marks_get(r, topic, (int32_t)node_num(request_partition, F_PARTITION, -1), false);
    bool known = m && m->known;
    bool committed = node_num(r->ex->request.root, F_ISOLATION_LEVEL, 0) == 1;
    int rc = node_set_num(reply, partition, F_HIGH_WATERMARK, known ? m->high_watermark : -1);

    if (rc == OK)
        rc = node_set_num(reply, partition, F_LAST_STABLE_OFFSET, known ? m->last_stable : -1);
    if (rc == OK)
        rc = node_set_num(reply, partition, F_LOG_START_OFFSET, known ? m->log_start : -1);
    /* Brokers answer null to read_uncommitted, a list to read_committed. */
    if (rc == OK && committed)
        rc = node_array(reply, partition, F_ABORTED_TRANSACTIONS) ? OK : ERR_NOMEM;
    else if (rc == OK)
        rc = node_set_null(reply, partition, F_ABORTED_TRANSACTIONS);
    return rc;
}

static void note_asked(struct fetch_room *r)
{
    for (const struct part *part = r->ex->parts; part; part = part->next) {
        ARRAY_EACH (t, node_get(part->request.root, F_TOPICS)) {
            ARRAY_EACH (p, node_get(t, F_PARTITIONS)) {
                struct mark *m = marks_get(r, t, (int32_t)node_num(p, F_PARTITION, -1), true);
                if (m)
                    m->asked = r->round;
            }
        }
    }
}

bool marks_left_out(struct fetch_room *r)
{
    bool left = false;

    note_asked(r);
    for (struct mark_topic *t = r->marks; t; t = t->next) {
        for (int32_t i = 0; i < t->count; i++) {
            if (!t->marks[i].had_data || t->marks[i].asked == r->round)
                continue;
            left = true;
            t->marks[i].had_data = false; /* once is enough */
        }
    }
    return left;
}

void marks_release(struct fetch_room *r)
{
    while (r->marks) {
        struct mark_topic *t = r->marks;
        r->marks = t->next;
        sl_free(t->marks);
        sl_free(t);
    }
    r->last_mark = NULL;
    r->nmarks = 0;
}
