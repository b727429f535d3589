#include "auth/sasl_client.h"

#include <openssl/crypto.h>
#include <string.h>

const char *sasl_mechanism_name(enum sasl_mechanism m)
{
    switch (m) {
    case SASL_NONE:
        return "";
    case SASL_PLAIN:
        return "PLAIN";
    case SASL_SCRAM_SHA_256:
        return "SCRAM-SHA-256";
    case SASL_SCRAM_SHA_512:
        return "SCRAM-SHA-512";
    case SASL_OAUTHBEARER:
        return "OAUTHBEARER";
    }
    return "";
}

static int refuse(const char **why, const char *text)
{
    *why = text;
    return ERR_CONFIG;
}

static int append3(struct buf *out, const char *head, size_t head_len, const char *mid,
                   const char *tail, size_t tail_len)
{
    int e = buf_append(out, head, head_len);
    if (!e)
        e = buf_append(out, mid, strlen(mid));
    return e ? e : buf_append(out, tail, tail_len);
}

/* authzid is left empty: the broker takes the user name. */
static int plain_first(const struct sasl_credentials *c, struct buf *out, const char **why)
{
    if (!c->username || !*c->username || !c->password || !*c->password)
        return refuse(why, "user name or password is missing");
    if (strlen(c->username) + strlen(c->password) + 2 > SASL_CLIENT_MAX)
        return refuse(why, "user name or password is too long");
    int e = append3(out, "", 1, c->username, "", 1);
    return e ? e : buf_append(out, c->password, strlen(c->password));
}

/* b64token of RFC 6750: nothing that could end the key-value pair early. */
static bool token_valid(const char *t)
{
    size_t n = strspn(t, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/");
    if (!n || n > SASL_CLIENT_MAX / 2)
        return false;
    return t[n + strspn(t + n, "=")] == 0 && strlen(t) <= SASL_CLIENT_MAX / 2;
}

static int oauth_first(const struct sasl_credentials *c, struct buf *out, const char **why)
{
    static const char head[] = "n,,\001auth=Bearer ";
    if (!c->token)
        return refuse(why, "there is no token for the brokers yet");
    if (!token_valid(c->token))
        return refuse(why, "the token for the brokers is not a bearer token");
    return append3(out, head, sizeof(head) - 1, c->token, "\001\001", 2);
}

static int scram_start(struct sasl_client *s, enum scram_hash hash,
                       const struct sasl_credentials *c, struct buf *out, const char **why)
{
    char message[SCRAM_MESSAGE_MAX];
    size_t len;
    if (!c->username || !c->password)
        return refuse(why, "user name or password is missing");
    int e = scram_first(&s->scram, hash, c->username, NULL, message, &len, why);
    return e ? e : buf_append(out, message, len);
}

int sasl_client_first(struct sasl_client *s, const struct sasl_credentials *c, struct buf *out,
                      const char **why)
{
    memset(s, 0, sizeof(*s));
    *why = "out of memory";
    switch (c->mechanism) {
    case SASL_NONE:
        break;
    case SASL_PLAIN:
        return plain_first(c, out, why);
    case SASL_SCRAM_SHA_256:
        return scram_start(s, SCRAM_SHA_256, c, out, why);
    case SASL_SCRAM_SHA_512:
        return scram_start(s, SCRAM_SHA_512, c, out, why);
    case SASL_OAUTHBEARER:
        return oauth_first(c, out, why);
    }
    return refuse(why, "no mechanism is configured");
}

static int scram_next(struct sasl_client *s, const struct sasl_credentials *c, const void *p,
                      size_t n, struct buf *out, const char **why)
{
    char message[SCRAM_MESSAGE_MAX];
    size_t len;
    int e;
    if (s->scram.state == SCRAM_FIRST_SENT) {
        e = scram_final(&s->scram, c->password ? c->password : "", c->cache, p, n, message, &len,
                        why);
        if (!e) {
            *why = "out of memory";
            e = buf_append(out, message, len);
        }
        return e;
    }
    e = scram_verify(&s->scram, p, n, why);
    s->done = !e;
    return e;
}

int sasl_client_next(struct sasl_client *s, const struct sasl_credentials *c, const void *p,
                     size_t n, struct buf *out, const char **why)
{
    *why = "an answer after the end";
    if (s->done)
        return ERR_MALFORMED;
    switch (c->mechanism) {
    case SASL_NONE:
        break;
    case SASL_PLAIN:
        if (n) {
            *why = "PLAIN was answered with a challenge";
            return ERR_MALFORMED;
        }
        s->done = true;
        return OK;
    case SASL_SCRAM_SHA_256:
    case SASL_SCRAM_SHA_512:
        return scram_next(s, c, p, n, out, why);
    case SASL_OAUTHBEARER:
        if (n) {
            /* RFC 7628, 3.2.3: a challenge is the server's way to tell why not. */
            *why = "the brokers refused the token";
            return ERR_DENIED;
        }
        s->done = true;
        return OK;
    }
    return ERR_MALFORMED;
}

void sasl_client_clear(struct sasl_client *s)
{
    OPENSSL_cleanse(s, sizeof(*s));
}
