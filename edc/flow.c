#include "edc/flow.h"

#include <stdlib.h>
#include <string.h>

#include "auth/strict_json.h"
#include "auth/text.h"
#include "base/log.h"

#define NOTE_KIND "flow"

struct flows {
    struct store *store;
    struct hash table;
    size_t in[FLOW_STATES];
    uint64_t epochs;
};

static const char *const state_names[FLOW_STATES] = {
    [FLOW_INITIALIZED] = "INITIALIZED", [FLOW_PREPARING] = "PREPARING",
    [FLOW_PREPARED] = "PREPARED",       [FLOW_STARTING] = "STARTING",
    [FLOW_STARTED] = "STARTED",         [FLOW_SUSPENDED] = "SUSPENDED",
    [FLOW_COMPLETED] = "COMPLETED",     [FLOW_TERMINATED] = "TERMINATED",
};

static const char *const signal_names[FLOW_SIGNALS] = {
    [SIGNAL_PREPARE] = "prepare",     [SIGNAL_START] = "start",
    [SIGNAL_RESUME] = "resume",       [SIGNAL_STARTED] = "started",
    [SIGNAL_SUSPEND] = "suspend",     [SIGNAL_COMPLETED] = "completed",
    [SIGNAL_TERMINATE] = "terminate",
};

static const char *const text_names[FLOW_TEXTS] = {
    [FLOW_PARTICIPANT] = "participant", [FLOW_AGREEMENT] = "agreement",
    [FLOW_DATASET] = "dataset",         [FLOW_CALLBACK] = "callback",
    [FLOW_AUDIENCE] = "audience",       [FLOW_TOPICS] = "topics",
    [FLOW_PREFIX] = "prefix",           [FLOW_POLL] = "poll",
    [FLOW_TOKEN_URL] = "tokenUrl",      [FLOW_CLIENT] = "client",
    [FLOW_SECRET_KEY] = "secretKey",    [FLOW_REVOKE_URL] = "revokeUrl",
    [FLOW_REASON] = "reason",
};

const char *flow_state_name(enum flow_state s)
{
    return state_names[s];
}

const char *flow_signal_name(enum flow_signal s)
{
    return signal_names[s];
}

/* --- who may send what, when */

#define IN(state) (1u << (state))
#define ANY       (IN(FLOW_STATES) - 1)
#define FINAL     (IN(FLOW_COMPLETED) | IN(FLOW_TERMINATED))

/* The states in which a signal is taken. The specification: a transfer is started once, also after
 * it was prepared; suspend and terminate may be repeated, the others not; nothing leaves an end. */
static const unsigned dps[FLOW_SIGNALS] = {
    [SIGNAL_PREPARE] = IN(FLOW_INITIALIZED),
    [SIGNAL_START] = IN(FLOW_INITIALIZED) | IN(FLOW_PREPARED),
    [SIGNAL_RESUME] = IN(FLOW_SUSPENDED),
    [SIGNAL_STARTED] = IN(FLOW_PREPARED),
    [SIGNAL_SUSPEND] = IN(FLOW_STARTED) | IN(FLOW_SUSPENDED),
    [SIGNAL_COMPLETED] = IN(FLOW_STARTED),
    [SIGNAL_TERMINATE] = ANY & ~IN(FLOW_COMPLETED),
};

/* A legacy connector repeats whatever it got no good answer to, and ends what it never started; its
 * resume is a start. What has ended stays ended: a start that was overtaken by its end must not
 * open it again. */
static const unsigned legacy[FLOW_SIGNALS] = {
    [SIGNAL_PREPARE] = ANY & ~FINAL,
    [SIGNAL_START] = ANY & ~FINAL,
    [SIGNAL_RESUME] = 0,
    [SIGNAL_STARTED] = 0,
    [SIGNAL_SUSPEND] = ANY,
    [SIGNAL_COMPLETED] = 0,
    [SIGNAL_TERMINATE] = ANY,
};

bool flow_may(const struct flow *flow, enum dialect dialect, enum flow_signal signal)
{
    enum flow_state state = flow ? flow->state : FLOW_INITIALIZED;

    return (dialect == DIALECT_DPS ? dps : legacy)[signal] & IN(state);
}

/* --- one flow */

static void drop_secret(struct flow *flow)
{
    if (flow->secret)
        explicit_bzero(flow->secret, strlen(flow->secret));
    sl_free(flow->secret);
    flow->secret = NULL;
}

static void drop_tokens(struct flow *flow)
{
    while (flow->ntokens > 0)
        sl_free(flow->tokens[--flow->ntokens]);
}

void flow_free(struct flow *flow)
{
    if (!flow)
        return;
    for (size_t i = 0; i < FLOW_TEXTS; i++)
        sl_free(flow->text[i]);
    drop_tokens(flow);
    drop_secret(flow);
    json_decref(flow->ready);
    sl_free(flow);
}

void flow_set_ready(struct flow *flow, json_t *address)
{
    json_decref(flow->ready);
    flow->ready = address;
}

void flow_set(struct flow *flow, enum flow_text which, const char *text)
{
    sl_free(flow->text[which]);
    flow->text[which] = text && *text ? text_dup(text) : NULL;
}

static char *join(const struct offer *o)
{
    size_t n = 1, at = 0;
    char *text;

    for (size_t i = 0; i < o->ntopics; i++)
        n += strlen(o->topics[i]) + 1;
    text = sl_malloc(n);
    for (size_t i = 0; text && i < o->ntopics; i++) {
        size_t len = strlen(o->topics[i]);

        if (i)
            text[at++] = ',';
        memcpy(text + at, o->topics[i], len);
        at += len;
    }
    if (text)
        text[at] = '\0';
    return text;
}

int flow_take(struct flow *flow, const struct message *m)
{
    const struct offer *o = &m->offer;
    char *topics = join(o), *copies[FLOW_TEXTS] = {NULL};
    const char *const from[FLOW_TEXTS] = {
        [FLOW_PARTICIPANT] = m->participant,
        [FLOW_AGREEMENT] = m->agreement,
        [FLOW_DATASET] = m->dataset,
        [FLOW_CALLBACK] = m->callback,
        [FLOW_AUDIENCE] = m->audience,
        [FLOW_TOPICS] = topics,
        [FLOW_PREFIX] = o->group_prefix,
        [FLOW_POLL] = o->poll_duration,
        [FLOW_TOKEN_URL] = o->token_url,
        [FLOW_CLIENT] = o->client_id,
        [FLOW_SECRET_KEY] = o->client_secret_key,
        [FLOW_REVOKE_URL] = o->revoke_url,
    };
    char *secret = o->client_secret ? text_dup(o->client_secret) : NULL;
    bool ok = topics && (secret || !o->client_secret);

    for (size_t i = 0; i < FLOW_TEXTS && ok; i++)
        if (from[i] && *from[i])
            ok = (copies[i] = text_dup(from[i])) != NULL;
    sl_free(topics);
    for (size_t i = 0; i < FLOW_TEXTS; i++) {
        sl_free(ok ? flow->text[i] : copies[i]);
        if (ok)
            flow->text[i] = copies[i];
    }
    if (!ok) {
        sl_free(secret);
        return ERR_NOMEM;
    }
    drop_secret(flow);
    flow->secret = secret;
    flow->had_secret = secret != NULL;
    flow->dialect = m->dialect;
    flow->operations = o->operations;
    flow->dspace_2025 = m->dspace_2025;
    flow->type_as_id = m->type_as_id;
    return OK;
}

int flow_add_token(struct flow *flow, const char *jti)
{
    char *copy = text_dup(jti);

    if (!copy)
        return ERR_NOMEM;
    if (flow->ntokens == FLOW_TOKENS_MAX) {
        sl_free(flow->tokens[0]);
        memmove(flow->tokens, flow->tokens + 1, (FLOW_TOKENS_MAX - 1) * sizeof(*flow->tokens));
        flow->ntokens--;
    }
    flow->tokens[flow->ntokens++] = copy;
    return OK;
}

/* --- notes */

static bool put_number(json_t *j, const char *name, int64_t value)
{
    return value == 0 || json_object_set_new(j, name, json_integer(value)) == 0;
}

char *flow_write(const struct flow *flow)
{
    json_t *j = json_pack("{s:s, s:b}", "state", state_names[flow->state], "dps",
                          flow->dialect == DIALECT_DPS);
    json_t *tokens = flow->ntokens ? json_array() : NULL;
    bool ok = j != NULL && (tokens || !flow->ntokens);
    char *text = NULL;

    for (size_t i = 0; i < FLOW_TEXTS && ok; i++)
        if (flow->text[i])
            ok = json_object_set_new(j, text_names[i], json_string(flow->text[i])) == 0;
    for (unsigned i = 0; i < flow->ntokens && ok; i++)
        ok = json_array_append_new(tokens, json_string(flow->tokens[i])) == 0;
    if (tokens && ok)
        ok = json_object_set(j, "tokens", tokens) == 0;
    ok = ok && put_number(j, "operations", flow->operations) &&
         put_number(j, "started", flow->started) && put_number(j, "changed", flow->changed) &&
         put_number(j, "expires", flow->expires) && put_number(j, "revoked", flow->revoked) &&
         put_number(j, "tokenLife", flow->token_life) && put_number(j, "news", flow->news) &&
         put_number(j, "dspace2025", flow->dspace_2025) &&
         put_number(j, "typeAsId", flow->type_as_id) && put_number(j, "secret", flow->had_secret);
    if (ok)
        text = json_dumps(j, JSON_COMPACT);
    json_decref(tokens);
    json_decref(j);
    return text;
}

static int64_t number(const json_t *j, const char *name)
{
    return json_integer_value(json_object_get(j, name));
}

static bool read_texts(struct flow *flow, const json_t *j)
{
    const json_t *tokens = json_object_get(j, "tokens");

    for (size_t i = 0; i < FLOW_TEXTS; i++) {
        const char *text = strict_json_text(j, text_names[i]);

        if (text && !(flow->text[i] = text_dup(text)))
            return false;
    }
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const char *jti = json_string_value(json_array_get(tokens, i));

        if (!jti || flow_add_token(flow, jti) != OK)
            return false;
    }
    return true;
}

static bool read_rest(struct flow *flow, const json_t *j)
{
    const char *state = strict_json_text(j, "state");
    int64_t news = number(j, "news");
    size_t i = 0;

    while (i < FLOW_STATES && (!state || strcmp(state_names[i], state) != 0))
        i++;
    if (i == FLOW_STATES || news < 0 || news > NEWS_STARTED)
        return false;
    flow->state = (enum flow_state)i;
    flow->news = (enum flow_news)news;
    flow->dialect = json_is_true(json_object_get(j, "dps")) ? DIALECT_DPS : DIALECT_LEGACY;
    flow->operations = (unsigned)number(j, "operations");
    flow->started = number(j, "started");
    flow->changed = number(j, "changed");
    flow->expires = number(j, "expires");
    flow->revoked = number(j, "revoked");
    flow->token_life = number(j, "tokenLife");
    flow->dspace_2025 = number(j, "dspace2025") != 0;
    flow->type_as_id = number(j, "typeAsId") != 0;
    flow->had_secret = number(j, "secret") != 0;
    return true;
}

struct flow *flow_read(const char *id, const char *text)
{
    json_t *j = strict_json_object(text, strlen(text), STORE_NOTE_BYTES_MAX);
    struct flow *flow = j && strlen(id) < IDENTITY_TEXT_MAX ? sl_calloc(1, sizeof(*flow)) : NULL;

    if (flow) {
        memcpy(flow->id, id, strlen(id) + 1);
        if (!read_rest(flow, j) || !read_texts(flow, j)) {
            flow_free(flow);
            flow = NULL;
        }
    }
    json_decref(j);
    return flow;
}

/* --- the table */

static void add(struct flows *f, struct flow *flow)
{
    flow->epoch = ++f->epochs;
    f->in[flow->state]++;
    hash_add(&f->table, &flow->entry, hash_value(&f->table, flow->id, strlen(flow->id)));
}

static void on_note(void *arg, const char *id, const char *text)
{
    struct flows *f = arg;
    struct flow *flow = flow_read(id, text);

    if (flow)
        add(f, flow);
    else
        log_error("signaling", "a transfer's note in the store cannot be read; it is left alone");
}

struct flows *flows_new(struct store *s)
{
    struct flows *f = sl_calloc(1, sizeof(*f));

    if (!f || hash_init(&f->table) != OK) {
        sl_free(f);
        return NULL;
    }
    f->store = s;
    store_each_note(s, NOTE_KIND, on_note, f);
    return f;
}

void flows_each(struct flows *f, void (*fn)(void *arg, struct flow *flow), void *arg)
{
    for (size_t i = 0; i < f->table.nbuckets; i++) {
        struct hash_entry *e = f->table.buckets[i];

        while (e) {
            struct hash_entry *next = e->next;

            fn(arg, (struct flow *)e);
            e = next;
        }
    }
}

static void free_one(void *arg, struct flow *flow)
{
    (void)arg;
    flow_free(flow);
}

void flows_free(struct flows *f)
{
    if (!f)
        return;
    flows_each(f, free_one, NULL);
    hash_release(&f->table);
    sl_free(f);
}

size_t flows_count(const struct flows *f)
{
    return f->table.count;
}

size_t flows_in(const struct flows *f, enum flow_state state)
{
    return f->in[state];
}

struct flow *flow_find(const struct flows *f, const char *id)
{
    uint64_t value = hash_value(&f->table, id, strlen(id));

    for (struct hash_entry *e = hash_first(&f->table, value); e; e = hash_next(e))
        if (strcmp(((struct flow *)e)->id, id) == 0)
            return (struct flow *)e;
    return NULL;
}

static bool ended(const struct flow *flow)
{
    return IN(flow->state) & FINAL;
}

/* Nothing is lost with it: it has ended, or it never was more than a word. */
static bool spent(const struct flow *flow)
{
    return flow->news == NEWS_NONE && flow->busy == 0 && (ended(flow) || !flow->text[FLOW_TOPICS]);
}

struct oldest {
    struct flow *flow;
};

static void find_oldest(void *arg, struct flow *flow)
{
    struct oldest *o = arg;

    if (spent(flow) && (!o->flow || flow->changed < o->flow->changed))
        o->flow = flow;
}

int flow_add(struct flows *f, const char *id, enum dialect dialect, int64_t now_s,
             struct flow **out)
{
    struct oldest o = {NULL};
    struct flow *flow;

    if (f->table.count >= FLOWS_MAX) {
        flows_each(f, find_oldest, &o);
        if (!o.flow)
            return ERR_LIMIT;
        flow_forget(f, o.flow);
    }
    if (!*id || strlen(id) >= sizeof(flow->id))
        return ERR_LIMIT;
    flow = sl_calloc(1, sizeof(*flow));
    if (!flow)
        return ERR_NOMEM;
    memcpy(flow->id, id, strlen(id) + 1);
    flow->dialect = dialect;
    flow->changed = now_s;
    add(f, flow);
    *out = flow;
    return OK;
}

void flow_enter(struct flows *f, struct flow *flow, enum flow_state state, int64_t now_s)
{
    f->in[flow->state]--;
    f->in[state]++;
    flow->state = state;
    flow->changed = now_s;
    if (state == FLOW_STARTED)
        flow->started = now_s;
    if (state == FLOW_SUSPENDED || ended(flow)) {
        flow->epoch = ++f->epochs;
        flow_set_ready(flow, NULL);
        drop_tokens(flow); /* a resume binds its own */
    }
    if (ended(flow))
        drop_secret(flow);
}

int flow_keep(struct flows *f, const struct flow *flow, store_done_fn *done, void *arg)
{
    char *text = flow_write(flow);
    int rc = text ? store_note(f->store, NOTE_KIND, flow->id, text, done, arg) : ERR_NOMEM;

    free(text);
    return rc;
}

void flow_forget(struct flows *f, struct flow *flow)
{
    if (store_note(f->store, NOTE_KIND, flow->id, NULL, NULL, NULL) != OK)
        log_warn("signaling", "an ended transfer's note stays in the store for now");
    f->in[flow->state]--;
    hash_remove(&f->table, &flow->entry);
    flow_free(flow);
}

struct sweep {
    struct flows *flows;
    int64_t now_s;
};

static void sweep_one(void *arg, struct flow *flow)
{
    struct sweep *s = arg;

    if (spent(flow) && flow->changed + FLOW_KEPT_S < s->now_s)
        flow_forget(s->flows, flow);
}

void flows_sweep(struct flows *f, int64_t now_s)
{
    struct sweep s = {f, now_s};

    flows_each(f, sweep_one, &s);
}
