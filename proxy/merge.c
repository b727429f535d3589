/* Several brokers' answers become one: topics are listed once, lists are joined, the largest
 * throttle time counts, and a part without an answer becomes errors that the client retries. */
#include "proxy/exchange.h"

static int merge_throttle(struct exchange *ex, const struct msg *answer)
{
    int64_t theirs = node_num(answer->root, F_THROTTLE_TIME_MS, 0);

    if (theirs <= node_num(ex->reply.root, F_THROTTLE_TIME_MS, 0))
        return OK;
    return node_set_num(&ex->reply, ex->reply.root, F_THROTTLE_TIME_MS, theirs);
}

static int merge_topics(struct exchange *ex, struct reply_list *list, struct msg *answer)
{
    struct node *topics = node_get(answer->root, ex->rule->reply_topics);
    int rc = OK;

    while (rc == OK && topics && topics->child) {
        struct node *t = topics->child;
        array_take(topics, NULL, t);
        rc = reply_take(list, t);
    }
    return rc;
}

/* Groups of several coordinators, or of all brokers: the first error at the top wins. */
static int merge_items(struct exchange *ex, struct msg *answer)
{
    struct node *to = node_get(ex->reply.root, ex->rule->reply_items);
    struct node *from = node_get(answer->root, ex->rule->reply_items);
    int64_t error = node_num(answer->root, F_ERROR_CODE, KAFKA_NONE);

    while (to && from && from->child) {
        struct node *e = from->child;
        array_take(from, NULL, e);
        array_put(to, e);
    }
    if (error == KAFKA_NONE || node_num(ex->reply.root, F_ERROR_CODE, KAFKA_NONE) != KAFKA_NONE)
        return OK;
    return node_set_num(&ex->reply, ex->reply.root, F_ERROR_CODE, error);
}

static int merge_failure(struct exchange *ex, struct reply_list *list, const struct part *p)
{
    const struct node *items = ex->rule->items ? node_get(p->request.root, ex->rule->items) : NULL;
    int rc = OK;

    if (list) {
        ARRAY_EACH (t, node_get(p->request.root, ex->rule->topics)) {
            rc = reply_add_topic(list, t, p->error, NULL);
            if (rc != OK)
                return rc;
        }
        return OK;
    }
    ARRAY_EACH (e, items) {
        rc = reply_add_item(&ex->reply, e, p->error, NULL);
        if (rc != OK)
            return rc;
    }
    if (!items && node_num(ex->reply.root, F_ERROR_CODE, KAFKA_NONE) == KAFKA_NONE)
        rc = node_set_num(&ex->reply, ex->reply.root, F_ERROR_CODE, p->error);
    return rc;
}

int merge_parts(struct exchange *ex)
{
    struct part *base = NULL;
    struct reply_list list;
    bool topics = ex->rule->route == ROUTE_LEADER;
    int rc = OK;

    for (struct part *p = ex->parts; p; p = p->next)
        if (p->answered && !base)
            base = p;
    if (ex->parts && !ex->parts->next) { /* the usual case: one broker */
        if (!base) /* the part's own request: the client's is empty once it was split */
            return reply_error(&ex->reply, &ex->arena, &ex->parts->request, ex->parts->error);
        ex->reply = base->answer;
    } else if (base) {
        ex->reply = base->answer;
    } else {
        rc = reply_new(&ex->reply, &ex->arena, &ex->request);
    }
    if (rc == OK && topics)
        rc = reply_list_init(&list, &ex->reply, NULL);
    for (struct part *p = ex->parts; p && rc == OK; p = p->next) {
        if (p == base)
            continue;
        if (!p->answered) {
            rc = merge_failure(ex, topics ? &list : NULL, p);
            continue;
        }
        rc = merge_throttle(ex, &p->answer);
        if (rc == OK)
            rc = topics ? merge_topics(ex, &list, &p->answer) : merge_items(ex, &p->answer);
    }
    return rc;
}
