/* Tokens of an authorization server that sluice handed on, as long as they are valid: when their
 * transfer ends the server is told (RFC 7009). In memory only: a token lives for minutes. */
#include <string.h>

#include "auth/text.h"
#include "base/log.h"
#include "base/loop.h"
#include "edc/tokens_priv.h"

#define FORM_BYTES ((size_t)48 * 1024) /* a token, an id and a secret, all of it escaped */

enum { TRANSFER, TOKEN, URL, ID, SECRET, TEXTS };

struct held {
    struct held *next; /* the newest first */
    int64_t expires;
    char *texts[TEXTS];
};

static void held_free(struct held *h)
{
    size_t i;

    for (i = 0; i < TEXTS; i++) {
        if (h->texts[i])
            explicit_bzero(h->texts[i], strlen(h->texts[i]));
        sl_free(h->texts[i]);
    }
    sl_free(h);
}

static void drop(struct tokens *t, struct held **at)
{
    struct held *h = *at;

    *at = h->next;
    t->nheld--;
    held_free(h);
}

void held_add(struct tokens *t, const char *transfer, const char *token, int64_t expires,
              const char *url, const char *client_id, const char *client_secret)
{
    const char *const texts[TEXTS] = {transfer, token, url, client_id, client_secret};
    struct held **at = &t->held;
    struct held *h;
    size_t i;

    if (!url || !*url)
        return;
    while (t->nheld >= TOKENS_HELD_MAX && *at) { /* the oldest has least time left */
        if ((*at)->next)
            at = &(*at)->next;
        else
            drop(t, at);
    }
    h = sl_calloc(1, sizeof(*h));
    if (!h)
        return;
    h->expires = expires;
    for (i = 0; i < TEXTS; i++) {
        h->texts[i] = text_dup(texts[i]);
        if (!h->texts[i]) {
            held_free(h);
            return;
        }
    }
    h->next = t->held;
    t->held = h;
    t->nheld++;
}

int held_revoke(struct tokens *t, const char *url, const char *token, const char *id,
                const char *secret)
{
    struct http_request r = {.url = url, .user = id, .password = secret};
    char *form = sl_calloc(1, FORM_BYTES);
    int rc = ERR_NOMEM;

    if (form)
        rc = http_form_add(form, FORM_BYTES, "token", token);
    if (rc == OK)
        rc = http_form_add(form, FORM_BYTES, "token_type_hint", "access_token");
    r.body = form;
    if (rc == OK)
        rc = chores_add(t->chores, &r, NULL, NULL);
    if (form)
        explicit_bzero(form, FORM_BYTES);
    sl_free(form);
    return rc;
}

void held_end(struct tokens *t, const char *transfer)
{
    int64_t now = loop_wall_s(t->parts.loop);
    struct held **at = &t->held;
    int rc;

    while (*at) {
        struct held *h = *at;

        if (strcmp(h->texts[TRANSFER], transfer) != 0) {
            at = &h->next;
            continue;
        }
        rc = h->expires > now
                 ? held_revoke(t, h->texts[URL], h->texts[TOKEN], h->texts[ID], h->texts[SECRET])
                 : OK;
        if (rc != OK)
            log_warn("tokens", "%s: its token is not taken back at %s: %s", transfer, h->texts[URL],
                     err_name(rc));
        drop(t, at);
    }
}

void held_sweep(struct tokens *t)
{
    int64_t now = loop_wall_s(t->parts.loop);
    struct held **at = &t->held;

    while (*at) {
        if ((*at)->expires <= now)
            drop(t, at);
        else
            at = &(*at)->next;
    }
}

void held_free_all(struct tokens *t)
{
    while (t->held)
        drop(t, &t->held);
}
