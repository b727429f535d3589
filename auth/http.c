#include "auth/http.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "auth/text.h"
#include "base/log.h"
#include "base/loop.h"

#define BODY_BYTES_FIRST     4096
#define CREDENTIAL_BYTES_MAX ((size_t)4096)

struct http_call {
    struct http *http;
    struct http_call *next, **prev;
    CURL *easy;
    struct curl_slist *headers;
    char *sent; /* the request's body */
    char *body;
    size_t len, room, limit_bytes;
    size_t header_bytes;
    bool over; /* a bound was passed */
    http_done_fn *done;
    void *arg;
};

struct http {
    struct loop *loop;
    struct loop_timer *timer;
    struct loop_task deaf;
    CURLM *multi;
    struct http_call *calls;
    unsigned ncalls;
    bool development;
    char *ca;
};

/* Memory that may hold a secret. */
static void wipe(char *p, size_t n)
{
    if (p)
        OPENSSL_cleanse(p, n);
    sl_free(p);
}

/* --- the loop on one side, libcurl on the other */

static void finish(struct http *h);

static void on_timer(void *arg)
{
    struct http *h = arg;
    int running;

    (void)curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    finish(h);
}

/* What libcurl asked us to watch cannot be watched, for want of memory. It is not told: it would
 * never again take a call. Those under way end instead, since they could wait for ever. */
static void on_deaf(void *arg);

/* libcurl's hint of when to come back; ours to keep. */
static int set_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct http *h = arg;

    (void)multi;
    if (timeout_ms < 0) {
        loop_timer_clear(h->timer);
        return 0;
    }
    if (loop_timer_set(h->timer, (uint64_t)timeout_ms * 1000) != OK)
        loop_post(h->loop, &h->deaf);
    return 0;
}

/* One descriptor of libcurl's, as long as libcurl watches it. */
struct watch {
    struct http *http;
    struct loop_io *io;
    curl_socket_t fd;
};

static void on_socket(void *arg, unsigned ready)
{
    const struct watch *w = arg;
    struct http *h = w->http;
    int what =
        (ready & LOOP_READ ? CURL_CSELECT_IN : 0) | (ready & LOOP_WRITE ? CURL_CSELECT_OUT : 0);
    int running;

    /* May free w. */
    (void)curl_multi_socket_action(h->multi, w->fd, what, &running);
    finish(h);
}

static void watch_free(struct watch *w)
{
    if (!w)
        return;
    loop_io_free(w->io);
    sl_free(w);
}

static struct watch *watch_new(struct http *h, curl_socket_t fd)
{
    struct watch *w = sl_calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->http = h;
    w->fd = fd;
    w->io = loop_io_new(h->loop, fd, on_socket, w);
    if (!w->io || curl_multi_assign(h->multi, fd, w) != CURLM_OK) {
        watch_free(w);
        return NULL;
    }
    return w;
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct http *h = arg;
    struct watch *w = socket_arg;
    unsigned mask = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        watch_free(w);
        (void)curl_multi_assign(h->multi, fd, NULL);
        return 0;
    }
    if (!w)
        w = watch_new(h, fd);
    if (what & CURL_POLL_IN)
        mask |= LOOP_READ;
    if (what & CURL_POLL_OUT)
        mask |= LOOP_WRITE;
    if (!w || loop_io_want(w->io, mask) != OK)
        loop_post(h->loop, &h->deaf);
    return 0;
}

/* --- a call */

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct http_call *c = arg;

    (void)p;
    c->header_bytes += size * n;
    if (c->header_bytes <= HTTP_HEADER_BYTES_MAX)
        return size * n;
    c->over = true;
    return 0;
}

/* The bytes are counted here, whatever Content-Length says. */
static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct http_call *c = arg;
    size_t bytes = size * n;
    size_t room = c->room ? c->room : BODY_BYTES_FIRST;
    char *wider;

    if (bytes > c->limit_bytes - c->len) {
        c->over = true;
        return 0;
    }
    while (room < c->len + bytes + 1)
        room *= 2;
    if (room != c->room) {
        wider = sl_malloc(room);
        if (!wider)
            return 0;
        if (c->len > 0)
            memcpy(wider, c->body, c->len);
        wipe(c->body, c->room);
        c->body = wider;
        c->room = room;
    }
    memcpy(c->body + c->len, p, bytes);
    c->len += bytes;
    c->body[c->len] = '\0';
    return bytes;
}

static void call_unlink(struct http_call *c)
{
    if (!c->prev)
        return;
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->prev = NULL;
    c->http->ncalls--;
    curl_multi_remove_handle(c->http->multi, c->easy);
}

static void call_free(struct http_call *c)
{
    struct curl_slist *s;

    call_unlink(c);
    curl_easy_cleanup(c->easy);
    for (s = c->headers; s; s = s->next) /* Authorization is among them */
        OPENSSL_cleanse(s->data, strlen(s->data));
    curl_slist_free_all(c->headers);
    wipe(c->sent, c->sent ? strlen(c->sent) : 0);
    wipe(c->body, c->room);
    sl_free(c);
}

static int curl_result(const struct http_call *c, CURLcode code)
{
    if (c->over)
        return ERR_LIMIT;
    switch ((int)code) {
    case CURLE_OK:
        return OK;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_FILESIZE_EXCEEDED:
        return ERR_LIMIT;
    case CURLE_OUT_OF_MEMORY:
        return ERR_NOMEM;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return ERR_TLS;
    default:
        return ERR_IO;
    }
}

static void call_finish(struct http_call *c, CURLcode code)
{
    struct http_answer a = {.result = curl_result(c, code), .body = "", .why = "ok"};
    long status = 0;

    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    call_unlink(c);
    if (a.result == OK) {
        a.status = (int)status;
        if (c->len > 0) {
            a.body = c->body;
            a.len = c->len;
        }
    } else {
        a.why = c->over ? "the answer is too long" : curl_easy_strerror(code);
    }
    c->done(c->arg, &a);
    call_free(c);
}

static void finish(struct http *h)
{
    struct http_call *c;
    CURLMsg *m;
    char *private;
    int left;

    while ((m = curl_multi_info_read(h->multi, &left)) != NULL) {
        if (m->msg != CURLMSG_DONE)
            continue;
        private = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
        c = (struct http_call *)(void *)private;
        call_finish(c, m->data.result);
    }
}

static void on_deaf(void *arg)
{
    struct http *h = arg;
    unsigned n = h->ncalls; /* whoever hears of it may call anew */

    for (; n > 0 && h->calls; n--)
        call_finish(h->calls, CURLE_OUT_OF_MEMORY);
}

/* --- request */

bool http_url_ok(const char *url, bool development)
{
    const char *host;
    const unsigned char *p;

    if (!url || strlen(url) > HTTP_URL_BYTES_MAX)
        return false;
    if (strncasecmp(url, "https://", 8) == 0)
        host = url + 8;
    else if (development && strncasecmp(url, "http://", 7) == 0)
        host = url + 7;
    else
        return false;
    for (p = (const unsigned char *)url; *p; p++) {
        if (*p <= 0x20 || *p >= 0x7f || *p == '\\')
            return false;
    }
    /* The authority is not empty and names no user. */
    return strcspn(host, "/?#") > 0 && strcspn(host, "@") >= strcspn(host, "/?#");
}

/* application/x-www-form-urlencoded: what is not unreserved (RFC 3986) as %XX. */
static int form_encode(char *out, size_t out_bytes, size_t *at, const char *value)
{
    static const char unreserved[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    static const char hex[] = "0123456789ABCDEF";
    const unsigned char *p;

    for (p = (const unsigned char *)value; *p; p++) {
        bool plain = strchr(unreserved, *p) != NULL;

        if (out_bytes - *at < (plain ? 2u : 4u))
            return ERR_LIMIT;
        if (plain) {
            out[(*at)++] = (char)*p;
        } else {
            out[(*at)++] = '%';
            out[(*at)++] = hex[*p >> 4];
            out[(*at)++] = hex[*p & 15];
        }
    }
    out[*at] = '\0';
    return OK;
}

int http_escape(char *out, size_t out_bytes, const char *text)
{
    size_t at = 0;

    return form_encode(out, out_bytes, &at, text);
}

int http_form_add(char *out, size_t out_bytes, const char *name, const char *value)
{
    size_t at = strlen(out);
    int n;

    n = snprintf(out + at, out_bytes - at, "%s%s=", at > 0 ? "&" : "", name);
    if (n < 0 || (size_t)n >= out_bytes - at)
        return ERR_LIMIT;
    at += (size_t)n;
    return form_encode(out, out_bytes, &at, value);
}

static int header_add(struct http_call *c, const char *line)
{
    struct curl_slist *more = curl_slist_append(c->headers, line);

    if (!more)
        return ERR_NOMEM;
    c->headers = more;
    return OK;
}

/* RFC 6749, 2.3.1: both parts form-encoded, then Basic. Made here, since libcurl would keep copies
 * that nobody wipes. */
static int basic_add(struct http_call *c, const char *user, const char *password)
{
    static const char name[] = "Authorization: Basic ";
    char pair[CREDENTIAL_BYTES_MAX];
    char line[sizeof(name) + (CREDENTIAL_BYTES_MAX + 2) / 3 * 4];
    size_t at = 0;
    int rc;

    rc = form_encode(pair, sizeof(pair), &at, user);
    if (rc == OK && at + 2 > sizeof(pair))
        rc = ERR_LIMIT;
    if (rc == OK) {
        pair[at++] = ':';
        rc = form_encode(pair, sizeof(pair), &at, password);
    }
    if (rc == OK) {
        memcpy(line, name, sizeof(name) - 1);
        EVP_EncodeBlock((unsigned char *)line + sizeof(name) - 1, (const unsigned char *)pair,
                        (int)at);
        rc = header_add(c, line);
    }
    OPENSSL_cleanse(pair, sizeof(pair));
    OPENSSL_cleanse(line, sizeof(line));
    return rc;
}

static int content_type_add(struct http_call *c, const char *type)
{
    char line[128];
    int n = snprintf(line, sizeof(line), "Content-Type: %s", type);

    return n > 0 && (size_t)n < sizeof(line) ? header_add(c, line) : ERR_LIMIT;
}

static int call_body(struct http_call *c, const struct http_request *r)
{
    int rc = header_add(c, "Accept: application/json");

    if (rc == OK && r->user)
        rc = basic_add(c, r->user, r->password ? r->password : "");
    if (rc == OK && r->header)
        rc = header_add(c, r->header);
    if (rc == OK && r->method &&
        curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, r->method) != CURLE_OK)
        rc = ERR_NOMEM;
    if (rc != OK || !r->body)
        return rc;
    rc = header_add(c, "Expect:"); /* no 100-continue */
    if (rc == OK && r->type)
        rc = content_type_add(c, r->type);
    c->sent = text_dup(r->body);
    if (rc != OK || !c->sent)
        return rc != OK ? rc : ERR_NOMEM;
    return curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, c->sent) == CURLE_OK ? OK : ERR_NOMEM;
}

#define SET(option, value) (curl_easy_setopt(c->easy, (option), (value)) == CURLE_OK)

/* What every call obeys. QUICK_EXIT: a call that ends while its name is being resolved does not
 * wait for the resolver. */
static bool call_rules(struct http_call *c, const struct http *h, const char *url)
{
    return SET(CURLOPT_URL, url) && SET(CURLOPT_PRIVATE, c) && SET(CURLOPT_NOSIGNAL, 1L) &&
           SET(CURLOPT_PROTOCOLS_STR, h->development ? "https,http" : "https") &&
           SET(CURLOPT_FOLLOWLOCATION, 0L) && SET(CURLOPT_PROXY, "") && SET(CURLOPT_NOPROXY, "*") &&
           SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L) &&
           SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) &&
           SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
           SET(CURLOPT_HTTP09_ALLOWED, 0L) && SET(CURLOPT_FORBID_REUSE, 1L) &&
           SET(CURLOPT_SSL_VERIFYPEER, 1L) && SET(CURLOPT_SSL_VERIFYHOST, 2L) &&
           SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           (!h->ca || (SET(CURLOPT_CAINFO, h->ca) && SET(CURLOPT_CAPATH, (char *)NULL))) &&
           SET(CURLOPT_TIMEOUT_MS, (long)HTTP_TIMEOUT_MS) && SET(CURLOPT_QUICK_EXIT, 1L) &&
           SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)c->limit_bytes) &&
           SET(CURLOPT_USERAGENT, "sluice") && SET(CURLOPT_HTTPHEADER, c->headers) &&
           SET(CURLOPT_HEADERFUNCTION, on_header) && SET(CURLOPT_HEADERDATA, c) &&
           SET(CURLOPT_WRITEFUNCTION, on_body) && SET(CURLOPT_WRITEDATA, c);
}

int http_start(struct http *h, const struct http_request *r, http_done_fn *done, void *arg,
               struct http_call **out)
{
    struct http_call *c;
    int rc = ERR_NOMEM;

    *out = NULL;
    if (!http_url_ok(r->url, h->development))
        return ERR_MALFORMED;
    if (h->ncalls >= HTTP_CALLS_MAX)
        return ERR_BUSY;
    c = sl_calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    c->http = h;
    c->done = done;
    c->arg = arg;
    c->limit_bytes = r->limit_bytes;
    c->easy = curl_easy_init();
    if (c->easy)
        rc = call_body(c, r);
    if (rc == OK && !call_rules(c, h, r->url))
        rc = ERR_NOMEM;
    if (rc == OK && curl_multi_add_handle(h->multi, c->easy) != CURLM_OK)
        rc = ERR_NOMEM;
    if (rc != OK) {
        call_free(c);
        return rc;
    }
    c->next = h->calls;
    c->prev = &h->calls;
    if (c->next)
        c->next->prev = &c->next;
    h->calls = c;
    h->ncalls++;
    *out = c;
    return OK;
}

void http_cancel(struct http_call *c)
{
    if (c)
        call_free(c);
}

struct http *http_new(struct loop *l, bool development, const char *ca)
{
    struct http *h = sl_calloc(1, sizeof(*h));

    if (!h)
        return NULL;
    h->loop = l;
    h->development = development;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        sl_free(h);
        return NULL;
    }
    loop_task_init(&h->deaf, on_deaf, h);
    h->timer = loop_timer_new(l, on_timer, h);
    h->multi = curl_multi_init();
    if (ca)
        h->ca = text_dup(ca);
    if (!h->timer || !h->multi || (ca && !h->ca) ||
        curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, set_socket) != CURLM_OK ||
        curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h) != CURLM_OK ||
        curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, set_timer) != CURLM_OK ||
        curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h) != CURLM_OK) {
        http_free(h);
        return NULL;
    }
    return h;
}

void http_free(struct http *h)
{
    struct http_call *c, *next;

    if (!h)
        return;
    for (c = h->calls; c; c = next) {
        next = c->next;
        call_free(c);
    }
    loop_cancel(&h->deaf);
    if (h->multi)
        curl_multi_cleanup(h->multi);
    loop_timer_free(h->timer);
    sl_free(h->ca);
    sl_free(h);
    curl_global_cleanup();
}
