/* Clients that were registered for a transfer (RFC 7591), until the server has deleted them (RFC
 * 7592). Each is a note in the store before its token is handed out, so that none is forgotten. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/strict_json.h"
#include "auth/text.h"
#include "base/log.h"
#include "base/loop.h"
#include "edc/tokens_priv.h"

#define HEADER_BYTES 4096
#define YOUNG_S      60 /* its transfer's grant may still be on its way */

struct client {
    struct client *next;
    struct tokens *tokens;
    char *transfer, *id, *uri, *token;
    int64_t since, ended; /* epoch s; ended 0: in use */
    bool busy;            /* a chore is under way */
};

static void client_free(struct client *c)
{
    if (c->token)
        explicit_bzero(c->token, strlen(c->token));
    sl_free(c->token);
    sl_free(c->transfer);
    sl_free(c->id);
    sl_free(c->uri);
    sl_free(c);
}

static struct client *client_new(struct tokens *t, const char *transfer, const struct registered *r,
                                 int64_t since, int64_t ended)
{
    struct client *c = sl_calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->tokens = t;
    c->transfer = text_dup(transfer);
    c->id = text_dup(r->client_id);
    c->uri = text_dup(r->uri);
    c->token = text_dup(r->token);
    c->since = since;
    c->ended = ended;
    if (c->transfer && c->id && c->uri && c->token)
        return c;
    client_free(c);
    return NULL;
}

static void client_link(struct tokens *t, struct client *c)
{
    c->next = t->clients;
    t->clients = c;
    t->nclients++;
}

static void client_drop(struct client *c)
{
    struct client **at = &c->tokens->clients;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->tokens->nclients--;
    client_free(c);
}

static int note_put(const struct client *c)
{
    json_t *note =
        json_pack("{s:s, s:s, s:s, s:I, s:I}", "transfer", c->transfer, "uri", c->uri, "token",
                  c->token, "since", (json_int_t)c->since, "ended", (json_int_t)c->ended);
    char *text = note ? json_dumps(note, JSON_COMPACT) : NULL;
    int rc =
        text ? store_note(c->tokens->parts.store, NOTE_CLIENT, c->id, text, NULL, NULL) : ERR_NOMEM;

    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
    json_decref(note);
    return rc;
}

/* --- the end of one */

static void forget(struct client *c)
{
    int rc = store_note(c->tokens->parts.store, NOTE_CLIENT, c->id, NULL, NULL, NULL);

    if (rc == OK)
        client_drop(c);
    else /* the next sweep asks the server again, which will know no such client */
        log_warn("tokens", "client %s is deleted, but not forgotten: %s", c->id, err_name(rc));
}

/* RFC 7592, 2.3: 204. A server that knows no such client says 401, or 404. */
static void on_deleted(void *arg, int status)
{
    struct client *c = arg;
    int64_t now = loop_wall_s(c->tokens->parts.loop);

    c->busy = false;
    if ((status >= 200 && status < 300) || status == 401 || status == 404 || status == 410) {
        log_info("tokens", "client %s of transfer %s is deleted", c->id, c->transfer);
        forget(c);
    } else if (now - c->ended > TOKENS_CLIENT_KEEP_S) {
        log_error("tokens", "client %s of transfer %s cannot be deleted: status %d; please do it",
                  c->id, c->transfer, status);
        forget(c);
    } else {
        log_warn("tokens", "client %s of transfer %s is not deleted yet: status %d", c->id,
                 c->transfer, status);
    }
}

static void ask_deletion(struct client *c)
{
    char header[HEADER_BYTES];
    const struct http_request r = {.url = c->uri, .method = "DELETE", .header = header};
    int n = snprintf(header, sizeof(header), "Authorization: Bearer %s", c->token);
    int rc = ERR_LIMIT;

    if (n > 0 && (size_t)n < sizeof(header))
        rc = chores_add(c->tokens->chores, &r, on_deleted, c);
    explicit_bzero(header, sizeof(header));
    c->busy = rc == OK;
    if (rc != OK)
        log_warn("tokens", "client %s is deleted later: %s", c->id, err_name(rc));
}

static void end(struct client *c)
{
    int rc;

    if (!c->ended) {
        c->ended = loop_wall_s(c->tokens->parts.loop);
        rc = note_put(c);
        if (rc != OK)
            log_warn("tokens", "client %s: its end is not noted: %s", c->id, err_name(rc));
    }
    if (!c->busy)
        ask_deletion(c);
}

void client_end(struct tokens *t, const char *transfer, const char *but)
{
    struct client *c;

    for (c = t->clients; c; c = c->next) {
        if (strcmp(c->transfer, transfer) == 0 && !(but && strcmp(c->id, but) == 0))
            end(c);
    }
}

void client_end_one(struct tokens *t, const char *client_id)
{
    struct client *c;

    for (c = t->clients; c; c = c->next) {
        if (strcmp(c->id, client_id) == 0)
            end(c);
    }
}

/* --- the beginning of one */

int client_add(struct tokens *t, const char *transfer, const struct registered *r)
{
    struct client *c;
    int rc;

    if (t->nclients >= TOKENS_CLIENTS_MAX)
        return ERR_LIMIT;
    c = client_new(t, transfer, r, loop_wall_s(t->parts.loop), 0);
    if (!c)
        return ERR_NOMEM;
    client_link(t, c);
    rc = note_put(c);
    if (rc == OK)
        return OK;
    /* Not durable, so not used; deleted as far as this run gets. */
    end(c);
    return rc;
}

static void load(void *arg, const char *id, const char *text)
{
    struct tokens *t = arg;
    json_t *note = strict_json_object(text, strlen(text), STORE_NOTE_BYTES_MAX);
    const struct registered r = {id, strict_json_text(note, "uri"),
                                 strict_json_text(note, "token")};
    const char *transfer = strict_json_text(note, "transfer");
    struct client *c = NULL;

    if (transfer && r.uri && r.token)
        c = client_new(t, transfer, &r, json_integer_value(json_object_get(note, "since")),
                       json_integer_value(json_object_get(note, "ended")));
    if (c)
        client_link(t, c);
    else
        log_error("tokens", "the note of client %s cannot be used", id);
    json_decref(note);
}

void client_load(struct tokens *t)
{
    store_each_note(t->parts.store, NOTE_CLIENT, load, t);
}

/* A transfer may have ended without a word to us: its grant revoked or run out. */
void client_sweep(struct tokens *t)
{
    int64_t now = loop_wall_s(t->parts.loop);
    struct client *c;

    for (c = t->clients; c; c = c->next) {
        if (c->busy)
            continue;
        if (c->ended ||
            (now - c->since > YOUNG_S && !store_find_grant(t->parts.store, c->transfer, NULL)))
            end(c);
    }
}

void client_free_all(struct tokens *t)
{
    struct client *c, *next;

    for (c = t->clients; c; c = next) {
        next = c->next;
        client_free(c);
    }
    t->clients = NULL;
    t->nclients = 0;
}
