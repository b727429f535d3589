#include "edc/refresh_token.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/secret.h"
#include "auth/strict_json.h"
#include "auth/text.h"
#include "base/log.h"
#include "edc/tokens_priv.h"

#define SWEEP_MOST 256 /* notes that one sweep drops; the next goes on */

int refresh_token_put(struct store *s, const char *transfer, const char *consumer, const char *jti,
                      int64_t until, char token[REFRESH_TOKEN_BYTES], store_done_fn *done,
                      void *arg)
{
    char hash[REFRESH_TOKEN_BYTES];
    json_t *note;
    char *text;
    int rc;

    if (secret_make(token) != OK || secret_hash(token, hash) != OK)
        return ERR_NOMEM;
    note = json_pack("{s:s, s:s, s:s, s:I}", "hash", hash, "consumer", consumer, "jti", jti,
                     "until", (json_int_t)until);
    text = note ? json_dumps(note, JSON_COMPACT) : NULL;
    rc = text ? store_note(s, NOTE_REFRESH, transfer, text, done, arg) : ERR_NOMEM;
    free(text);
    json_decref(note);
    return rc;
}

static bool text_read(const json_t *note, const char *member, char *out, size_t out_bytes)
{
    const char *text = strict_json_text(note, member);

    if (!text || strlen(text) >= out_bytes)
        return false;
    memcpy(out, text, strlen(text) + 1);
    return true;
}

static bool note_read(const char *text, struct refresh_note *out)
{
    json_t *note = strict_json_object(text, strlen(text), STORE_NOTE_BYTES_MAX);
    bool ok = text_read(note, "hash", out->hash, sizeof(out->hash)) &&
              text_read(note, "consumer", out->consumer, sizeof(out->consumer)) &&
              text_read(note, "jti", out->jti, sizeof(out->jti)) &&
              json_is_integer(json_object_get(note, "until"));

    if (ok)
        out->until = json_integer_value(json_object_get(note, "until"));
    json_decref(note);
    return ok;
}

bool refresh_token_find(struct store *s, const char *transfer, struct refresh_note *out)
{
    const char *text = store_find_note(s, NOTE_REFRESH, transfer);

    return text && note_read(text, out);
}

bool refresh_token_is(const struct refresh_note *note, const char *token)
{
    char hash[REFRESH_TOKEN_BYTES];

    return secret_hash(token, hash) == OK && secret_equal(hash, note->hash);
}

void refresh_token_end(struct store *s, const char *transfer)
{
    int rc;

    if (!store_find_note(s, NOTE_REFRESH, transfer))
        return;
    rc = store_note(s, NOTE_REFRESH, transfer, NULL, NULL, NULL);
    /* It ends by itself as well: what it refreshes is revoked. */
    if (rc != OK)
        log_warn("refresh", "a refresh token could not be forgotten: %s", err_name(rc));
}

struct sweep {
    int64_t now;
    char *ids[SWEEP_MOST];
    size_t count;
};

static void collect(void *arg, const char *id, const char *text)
{
    struct sweep *w = arg;
    struct refresh_note note;

    if (w->count < SWEEP_MOST && (!note_read(text, &note) || note.until <= w->now))
        w->ids[w->count] = text_dup(id);
    w->count += w->count < SWEEP_MOST && w->ids[w->count];
}

void refresh_token_sweep(struct store *s, int64_t now_s)
{
    struct sweep w = {.now = now_s};

    store_each_note(s, NOTE_REFRESH, collect, &w);
    while (w.count > 0) {
        refresh_token_end(s, w.ids[--w.count]);
        sl_free(w.ids[w.count]);
    }
}
