/* kcat-token.so: a librdkafka plugin that gives kcat (and any other librdkafka program) a signed
 * OAuth token. Debian's kcat has no token callback and its librdkafka no OIDC, so without this only
 * unsigned tokens could be sent.
 *
 *   kcat -X plugin.library.paths=/path/kcat-token.so -X sasl.mechanisms=OAUTHBEARER ...
 *
 * The token comes from the environment, first match wins:
 *   SLUICE_TOKEN        the token itself
 *   SLUICE_TOKEN_FILE   a file that holds it, looked at again every second
 *   SLUICE_TOKEN_URL    a token endpoint, asked with SLUICE_CLIENT_ID and SLUICE_CLIENT_SECRET
 *                       (and SLUICE_SCOPE, SLUICE_TOKEN_CA if set), anew at 80 % of a token's life
 *
 * One refresher per client instance, with one thread, from the start of librdkafka's main thread
 * (before that a token is not accepted) to rd_kafka_destroy. The token is handed over until it is
 * accepted; nothing here judges it, so a bad one can be shown to a gate. Never prints a token. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>
#include <jansson.h>
#include <librdkafka/rdkafka.h>

#include "base/err.h"

#define NAME             "kcat-token"
#define TOKEN_MAX_BYTES  (64UL * 1024)
#define ANSWER_MAX_BYTES (256UL * 1024)
#define HTTP_TIMEOUT_MS  5000L
#define RETRY_MIN_MS     20
#define RETRY_MAX_MS     5000
#define FILE_LOOK_MS     1000
#define LIFE_UNKNOWN_MS  (INT64_C(3600) * 1000) /* told to librdkafka for an opaque token */
#define FOR_EVER_MS      (INT64_C(24) * 3600 * 1000)

struct refresher {
    rd_kafka_t *rk;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool running; /* set before, read after the thread's life */
    bool stop;    /* under lock */
    const char *literal;
    const char *file;
    const char *url;
};

/* librdkafka looks this symbol up by name. */
rd_kafka_resp_err_t conf_init(rd_kafka_conf_t *conf, void **plug_opaquep, char *errstr,
                              size_t errstr_size);

static void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fprintf(stderr, "%% " NAME ": %s\n", text);
}

static bool stopped(struct refresher *r)
{
    pthread_mutex_lock(&r->lock);
    bool stop = r->stop;
    pthread_mutex_unlock(&r->lock);
    return stop;
}

/* Sleeps, or returns true as soon as it is time to end. */
static bool wait_ms(struct refresher *r, int64_t ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&r->lock);
    while (!r->stop && pthread_cond_timedwait(&r->wake, &r->lock, &until) != ETIMEDOUT)
        ;
    bool stop = r->stop;
    pthread_mutex_unlock(&r->lock);
    return stop;
}

static int64_t wall_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* --- where the token comes from; each returns a malloc'd string or NULL */

static char *token_from_file(const char *path)
{
    char *text = malloc(TOKEN_MAX_BYTES + 1);
    FILE *f = text ? fopen(path, "re") : NULL;

    if (!f) {
        free(text);
        complain("%s: %s", path, strerror(errno));
        return NULL;
    }
    size_t n = fread(text, 1, TOKEN_MAX_BYTES, f);
    fclose(f);
    while (n > 0 && strchr(" \t\r\n", text[n - 1]))
        n--;
    text[n] = '\0';
    if (n == 0) {
        free(text);
        complain("%s: empty", path);
        return NULL;
    }
    return text;
}

struct answer {
    char *text;
    size_t n;
};

static size_t answer_add(char *p, size_t size, size_t n, void *arg)
{
    struct answer *a = arg;

    if (a->n + size * n > ANSWER_MAX_BYTES)
        return 0;
    char *grown = realloc(a->text, a->n + size * n + 1);
    if (!grown)
        return 0;
    memcpy(grown + a->n, p, size * n);
    a->text = grown;
    a->n += size * n;
    a->text[a->n] = '\0';
    return size * n;
}

/* Lets rd_kafka_destroy end a request that is under way. */
static int progress(void *arg, curl_off_t dt, curl_off_t dn, curl_off_t ut, curl_off_t un)
{
    (void)dt;
    (void)dn;
    (void)ut;
    (void)un;
    return stopped(arg) ? 1 : 0;
}

static char *form_make(CURL *curl)
{
    const char *scope = getenv("SLUICE_SCOPE");
    char *escaped = scope ? curl_easy_escape(curl, scope, 0) : NULL;
    char *form = NULL;

    if (asprintf(&form, "grant_type=client_credentials%s%s", escaped ? "&scope=" : "",
                 escaped ? escaped : "") < 0)
        form = NULL;
    curl_free(escaped);
    return form;
}

static char *token_from_answer(const char *text)
{
    json_t *doc = text ? json_loads(text, 0, NULL) : NULL;
    const char *token = json_string_value(json_object_get(doc, "access_token"));
    char *copy = token ? strdup(token) : NULL;

    json_decref(doc);
    return copy;
}

static char *token_from_url(struct refresher *r)
{
    char why[CURL_ERROR_SIZE] = "out of memory";
    const char *ca = getenv("SLUICE_TOKEN_CA");
    const char *id = getenv("SLUICE_CLIENT_ID");
    const char *secret = getenv("SLUICE_CLIENT_SECRET");
    struct answer a = {0};
    long status = 0;
    char *token = NULL;
    CURL *curl = curl_easy_init();
    char *form = curl ? form_make(curl) : NULL;

    if (form) {
        curl_easy_setopt(curl, CURLOPT_URL, r->url);
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(curl, CURLOPT_USERNAME, id ? id : "");
        curl_easy_setopt(curl, CURLOPT_PASSWORD, secret ? secret : "");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, form);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, answer_add);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, &a);
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, progress);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, r);
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, HTTP_TIMEOUT_MS);
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
        if (ca)
            curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
        CURLcode rc = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        if (rc == CURLE_OK)
            snprintf(why, sizeof(why), "answered %ld", status);
        if (rc == CURLE_OK && status == 200)
            token = token_from_answer(a.text);
    }
    if (!token && !stopped(r))
        complain("%s: no token: %s", r->url, why);
    curl_easy_cleanup(curl);
    free(form);
    free(a.text);
    return token;
}

static char *token_get(struct refresher *r)
{
    if (r->literal)
        return strdup(r->literal);
    if (r->file)
        return token_from_file(r->file);
    return token_from_url(r);
}

/* --- what librdkafka wants to know about it */

/* A segment of a JWT, decoded and parsed; NULL when it isn't one. */
static json_t *segment_parse(const char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *text = malloc(n + 1);
    size_t len = 0;
    uint32_t bits = 0;
    unsigned held = 0;
    json_t *doc = NULL;

    if (!text)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        const char *d = strchr(digits, p[i]);
        if (!d || p[i] == '\0')
            goto out;
        bits = bits << 6 | (uint32_t)(d - digits);
        held += 6;
        if (held >= 8) {
            held -= 8;
            text[len++] = (char)(bits >> held & 0xff);
        }
    }
    doc = json_loadb(text, len, 0, NULL);
out:
    free(text);
    return doc;
}

/* The token's end (epoch ms) and subject, unverified. An opaque token, or one that has already
 * expired, gets an end that librdkafka accepts: the gate is the judge, not we. */
static void token_describe(const char *token, int64_t *end_ms, char *subject, size_t bytes)
{
    const char *first = strchr(token, '.');
    const char *second = first ? strchr(first + 1, '.') : NULL;
    json_t *claims = second ? segment_parse(first + 1, (size_t)(second - first - 1)) : NULL;
    const char *sub = json_string_value(json_object_get(claims, "sub"));
    json_int_t exp = json_integer_value(json_object_get(claims, "exp"));
    int64_t now = wall_ms();

    *end_ms = exp > 0 && exp < INT64_MAX / 1000 ? (int64_t)exp * 1000 : 0;
    if (*end_ms <= now)
        *end_ms = now + LIFE_UNKNOWN_MS;
    snprintf(subject, bytes, "%s", sub && *sub ? sub : "unknown");
    json_decref(claims);
}

/* Again and again, until librdkafka takes it. False when told to stop. */
static bool token_set(struct refresher *r, const char *token, int64_t *end_ms)
{
    char subject[256];
    char why[256] = "";
    int64_t pause_ms = RETRY_MIN_MS;

    token_describe(token, end_ms, subject, sizeof(subject));
    for (;;) {
        rd_kafka_resp_err_t err = rd_kafka_oauthbearer_set_token(r->rk, token, *end_ms, subject,
                                                                 NULL, 0, why, sizeof(why));
        if (!err)
            return true;
        if (pause_ms >= RETRY_MAX_MS)
            complain("librdkafka does not take the token: %s", why);
        if (wait_ms(r, pause_ms))
            return false;
        pause_ms = pause_ms * 2 < RETRY_MAX_MS ? pause_ms * 2 : RETRY_MAX_MS;
    }
}

/* How long until the next look at the source. */
static int64_t next_ms(const struct refresher *r, int64_t end_ms)
{
    if (r->literal)
        return FOR_EVER_MS;
    if (r->file)
        return FILE_LOOK_MS;
    int64_t left_ms = (end_ms - wall_ms()) * 8 / 10;
    return left_ms > FILE_LOOK_MS ? left_ms : FILE_LOOK_MS;
}

static void *refresher_main(void *arg)
{
    struct refresher *r = arg;
    char *last = NULL;
    int64_t end_ms = 0;
    int64_t pause_ms = RETRY_MIN_MS;
    bool stop = false;

    while (!stop) {
        char *token = token_get(r);
        if (!token) {
            stop = wait_ms(r, pause_ms);
            pause_ms = pause_ms * 2 < RETRY_MAX_MS ? pause_ms * 2 : RETRY_MAX_MS;
            continue;
        }
        pause_ms = RETRY_MIN_MS;
        if (!last || strcmp(last, token) != 0)
            stop = !token_set(r, token, &end_ms);
        free(last);
        last = token;
        if (!stop)
            stop = wait_ms(r, next_ms(r, end_ms));
    }
    free(last);
    return NULL;
}

/* --- interceptors */

static void refresher_free(struct refresher *r)
{
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static rd_kafka_resp_err_t on_destroy(rd_kafka_t *rk, void *opaque)
{
    struct refresher *r = opaque;

    (void)rk;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    if (r->running)
        pthread_join(r->thread, NULL);
    refresher_free(r);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* librdkafka's main thread starts when SASL is set up: the first moment that a token can be set.
 * The program's signals stay the program's: our thread takes none. */
static rd_kafka_resp_err_t on_thread_start(rd_kafka_t *rk, rd_kafka_thread_type_t type,
                                           const char *name, void *opaque)
{
    struct refresher *r = opaque;
    sigset_t all;
    sigset_t before;

    (void)rk;
    (void)name;
    if (type != RD_KAFKA_THREAD_MAIN || r->running)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&r->thread, NULL, refresher_main, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    r->running = rc == 0;
    if (rc)
        complain("no thread: %s", strerror(rc));
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque,
                                  char *errstr, size_t errstr_size)
{
    struct refresher *r = calloc(1, sizeof(*r));
    pthread_condattr_t attr;

    (void)conf;
    (void)opaque;
    if (!r) {
        snprintf(errstr, errstr_size, NAME ": out of memory");
        return RD_KAFKA_RESP_ERR__FAIL;
    }
    r->rk = rk;
    r->literal = getenv("SLUICE_TOKEN");
    r->file = getenv("SLUICE_TOKEN_FILE");
    r->url = getenv("SLUICE_TOKEN_URL");
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &attr);
    pthread_condattr_destroy(&attr);
    rd_kafka_resp_err_t err = rd_kafka_interceptor_add_on_destroy(rk, NAME, on_destroy, r);
    if (err) {
        refresher_free(r);
        return err;
    }
    return rd_kafka_interceptor_add_on_thread_start(rk, NAME, on_thread_start, r);
}

rd_kafka_resp_err_t conf_init(rd_kafka_conf_t *conf, void **plug_opaquep, char *errstr,
                              size_t errstr_size)
{
    *plug_opaquep = NULL;
    if (!getenv("SLUICE_TOKEN") && !getenv("SLUICE_TOKEN_FILE") && !getenv("SLUICE_TOKEN_URL")) {
        snprintf(errstr, errstr_size,
                 NAME ": set SLUICE_TOKEN, SLUICE_TOKEN_FILE or SLUICE_TOKEN_URL");
        return RD_KAFKA_RESP_ERR__INVALID_ARG;
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) {
        snprintf(errstr, errstr_size, NAME ": libcurl does not start");
        return RD_KAFKA_RESP_ERR__FAIL;
    }
    return rd_kafka_conf_interceptor_add_on_new(conf, NAME, on_new, NULL);
}
