/* `sluice sessions|grants|revoke`: one HTTP request to the control listener. */
#include "control/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "base/alloc.h"
#include "config/config.h"
#include "control/control.h"

#define ANSWER_MAX ((size_t)64 * 1024 * 1024)
#define FILE_MAX   ((size_t)256 * 1024)
#define TIMEOUT_S  60L

struct bytes {
    char *at;
    size_t n, limit;
};

static bool append(struct bytes *b, const char *p, size_t n)
{
    if (n > b->limit - b->n)
        return false;
    char *bigger = sl_realloc(b->at, b->n + n + 1);
    if (!bigger)
        return false;
    memcpy(bigger + b->n, p, n);
    b->at = bigger;
    b->n += n;
    b->at[b->n] = '\0';
    return true;
}

static size_t take(char *p, size_t size, size_t n, void *arg)
{
    return append(arg, p, size * n) ? size * n : 0;
}

static bool slurp_stream(FILE *f, struct bytes *out)
{
    char chunk[4096];
    size_t n;
    bool good = true;
    while (good && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        good = append(out, chunk, n);
    explicit_bzero(chunk, sizeof(chunk));
    return good && !ferror(f) && out->n > 0;
}

/* A whole file, or standard input for "-"; false with err. */
static bool slurp(const char *path, struct bytes *out, char *err)
{
    *out = (struct bytes){.limit = FILE_MAX};
    bool good;
    if (strcmp(path, "-") == 0) {
        good = slurp_stream(stdin, out);
    } else {
        FILE *f = fopen(path, "re");
        if (!f) {
            snprintf(err, CLIENT_ERROR_BYTES, "%s: %s", path, strerror(errno));
            return false;
        }
        good = slurp_stream(f, out);
        fclose(f);
    }
    if (!good)
        snprintf(err, CLIENT_ERROR_BYTES, "%s: empty, too long, or unreadable", path);
    return good;
}

/* The first line that is no comment, without white space around it; NULL when there is none. */
static char *first_line(char *text)
{
    for (char *line = text; *line;) {
        size_t n = strcspn(line, "\r\n");
        char *next = line + n + (line[n] != '\0');
        line[n] = '\0';
        line += strspn(line, " \t");
        line[strcspn(line, " \t")] = '\0';
        if (*line && *line != '#')
            return line;
        line = next;
    }
    return NULL;
}

/* Where the control listener is and what lets us in. */
struct target {
    char url[512];
    char token[CLIENT_TOKEN_BYTES];
    char ca[512];
};

static bool from_config(const char *file, struct target *t)
{
    static char errors[16384];
    struct config *c = config_load(file, errors, sizeof(errors));
    if (!c) {
        fputs(errors, stderr);
        return false;
    }
    const struct endpoint *at = &c->control.listen;
    bool any = strcmp(at->host, "0.0.0.0") == 0 || strcmp(at->host, "::") == 0;
    bool v6 = strchr(at->host, ':') != NULL;
    bool good = at->port != 0;
    snprintf(t->url, sizeof(t->url), "%s://%s%s%s:%u", c->control.certificate ? "https" : "http",
             v6 ? "[" : "", any ? (v6 ? "::1" : "127.0.0.1") : at->host, v6 ? "]" : "",
             (unsigned)at->port);
    if (c->control.tokens.count)
        snprintf(t->token, sizeof(t->token), "%s", c->control.tokens.at[0]);
    if (!good)
        fprintf(stderr, "%s: control.listen is off\n", file);
    config_unref(c);
    return good;
}

static bool find_target(const struct client_options *o, struct target *t)
{
    char err[CLIENT_ERROR_BYTES] = "";
    struct bytes file = {0};
    if (o->config && !from_config(o->config, t))
        return false;
    if (o->url)
        snprintf(t->url, sizeof(t->url), "%s", o->url);
    size_t n = strlen(t->url);
    while (n && t->url[n - 1] == '/')
        t->url[--n] = '\0';
    if (o->ca)
        snprintf(t->ca, sizeof(t->ca), "%s", o->ca);
    if (o->token_file) {
        char *line = slurp(o->token_file, &file, err) ? first_line(file.at) : NULL;
        if (line && strlen(line) < sizeof(t->token))
            snprintf(t->token, sizeof(t->token), "%s", line);
        else
            fprintf(stderr, "sluice: %s\n", *err ? err : "the token file holds no token");
        if (file.at)
            explicit_bzero(file.at, file.n);
        sl_free(file.at);
        return line != NULL && t->token[0];
    }
    return true;
}

struct call {
    CURL *curl;
    const char *method;
    char path[1024];
    const char *type;  /* of the body */
    struct bytes body; /* sent */
};

/* "/v1/grants/{id}", the id escaped. */
static bool grant_path(struct call *call, const char *id)
{
    char *escaped = curl_easy_escape(call->curl, id, 0);
    int n = snprintf(call->path, sizeof(call->path), "/v1/grants/%s", escaped ? escaped : "");
    bool good = escaped && n > 0 && (size_t)n < sizeof(call->path);
    curl_free(escaped);
    return good;
}

/* "token=..." of the file's first line. */
static bool token_body(struct call *call, const char *path, char *err)
{
    struct bytes file = {0};
    char *line = slurp(path, &file, err) ? first_line(file.at) : NULL;
    char *escaped = line ? curl_easy_escape(call->curl, line, 0) : NULL;
    bool good = escaped && append(&call->body, "token=", 6) &&
                append(&call->body, escaped, strlen(escaped));
    if (!good && !*err)
        snprintf(err, CLIENT_ERROR_BYTES, "%s holds no token", path);
    curl_free(escaped);
    if (file.at)
        explicit_bzero(file.at, file.n);
    sl_free(file.at);
    return good;
}

static bool prepare(struct call *call, const struct client_options *o, char *err)
{
    static const struct {
        const char *method, *path;
    } calls[] = {
        [CLIENT_SESSIONS] = {"GET", "/v1/sessions"},
        [CLIENT_GRANTS] = {"GET", "/v1/grants"},
        [CLIENT_GRANT_PUT] = {"PUT", ""},
        [CLIENT_GRANT_DELETE] = {"DELETE", ""},
        [CLIENT_REVOCATIONS] = {"GET", "/v1/revocations"},
        [CLIENT_REVOKE] = {"POST", "/v1/revocations"},
        [CLIENT_REVOKE_TOKEN] = {"POST", "/oauth2/revoke"},
    };
    call->method = calls[o->command].method;
    call->body.limit = FILE_MAX;
    call->type = "Content-Type: application/json";
    snprintf(call->path, sizeof(call->path), "%s", calls[o->command].path);
    if (o->id && !grant_path(call, o->id)) {
        snprintf(err, CLIENT_ERROR_BYTES, "the id is too long");
        return false;
    }
    if (o->command == CLIENT_GRANT_PUT)
        return slurp(o->grant_file, &call->body, err);
    if (o->command == CLIENT_REVOKE) {
        call->body.at = json_dumps(o->body, JSON_COMPACT);
        call->body.n = call->body.at ? strlen(call->body.at) : 0;
        return call->body.at != NULL;
    }
    if (o->command == CLIENT_REVOKE_TOKEN) {
        call->type = "Content-Type: application/x-www-form-urlencoded";
        return token_body(call, o->revoked, err);
    }
    return true;
}

static CURLcode perform(struct call *call, const struct target *t, struct bytes *answer,
                        long *status)
{
    char url[2048], bearer[CLIENT_TOKEN_BYTES + 32];
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/json");
    snprintf(url, sizeof(url), "%s%s", t->url, call->path);
    snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s", t->token);
    if (call->body.at)
        headers = curl_slist_append(headers, call->type);
    if (t->token[0])
        headers = curl_slist_append(headers, bearer);
    curl_easy_setopt(call->curl, CURLOPT_URL, url);
    curl_easy_setopt(call->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(call->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(call->curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(call->curl, CURLOPT_TIMEOUT, TIMEOUT_S);
    curl_easy_setopt(call->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(call->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(call->curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (t->ca[0])
        curl_easy_setopt(call->curl, CURLOPT_CAINFO, t->ca);
    curl_easy_setopt(call->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(call->curl, CURLOPT_WRITEDATA, answer);
    if (call->body.at) {
        curl_easy_setopt(call->curl, CURLOPT_POSTFIELDSIZE, (long)call->body.n);
        curl_easy_setopt(call->curl, CURLOPT_POSTFIELDS, call->body.at);
    }
    curl_easy_setopt(call->curl, CURLOPT_CUSTOMREQUEST, call->method);
    CURLcode code = curl_easy_perform(call->curl);
    curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, status);
    for (struct curl_slist *h = headers; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(headers);
    explicit_bzero(bearer, sizeof(bearer));
    return code;
}

/* What the listener said, to people or machines. */
static int show(const struct client_options *o, long status, const struct bytes *answer)
{
    json_error_t error;
    json_t *root = answer->at ? json_loadb(answer->at, answer->n, 0, &error) : NULL;
    const char *message = json_string_value(json_object_get(root, "message"));
    bool good = status / 100 == 2 && root;
    if (o->json && root) {
        json_dumpf(root, stdout, JSON_INDENT(2));
        fputc('\n', stdout);
    } else if (good) {
        client_print(stdout, o->command, root);
    }
    if (!good)
        fprintf(stderr, "sluice: the control listener answered %ld%s%s\n", status,
                message ? ": " : "", message ? message : "");
    json_decref(root);
    return good && fflush(stdout) == 0 ? CLIENT_OK : CLIENT_FAILED;
}

static int run(const struct client_options *o)
{
    char err[CLIENT_ERROR_BYTES] = "";
    struct target target = {.url = ""};
    struct call call = {.curl = curl_easy_init()};
    struct bytes answer = {.limit = ANSWER_MAX};
    long status = 0;
    int result = CLIENT_FAILED;
    if (!call.curl || !find_target(o, &target))
        goto out;
    if (!prepare(&call, o, err)) {
        fprintf(stderr, "sluice: %s\n", err);
        goto out;
    }
    CURLcode code = perform(&call, &target, &answer, &status);
    if (code == CURLE_OK)
        result = show(o, status, &answer);
    else
        fprintf(stderr, "sluice: %s: %s\n", target.url, curl_easy_strerror(code));
out:
    if (call.body.at)
        explicit_bzero(call.body.at, call.body.n);
    explicit_bzero(&target, sizeof(target));
    sl_free(call.body.at);
    sl_free(answer.at);
    curl_easy_cleanup(call.curl);
    return result;
}

int control_client_main(int argc, char **argv)
{
    char err[CLIENT_ERROR_BYTES] = "";
    struct client_options options;
    int result = CLIENT_USAGE;
    if (client_parse(argc, argv, &options, err, sizeof(err)) != OK) {
        fprintf(stderr, "sluice: %s\n", err);
        client_usage(stderr, argc > 0 ? argv[0] : "");
    } else if (options.help) {
        client_usage(stdout, argv[0]);
        result = CLIENT_OK;
    } else if (curl_global_init(CURL_GLOBAL_DEFAULT) == 0) {
        result = run(&options);
        curl_global_cleanup();
    } else {
        result = CLIENT_FAILED;
    }
    json_decref(options.body);
    return result;
}
