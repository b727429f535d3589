/* A web server for tests: one thread, one connection after another, whatever bytes the test wants
 * as an answer. TLS when a certificate is given. */
#ifndef TESTS_HTTPD_H
#define TESTS_HTTPD_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

struct httpd {
    int fd, port;
    pthread_t thread;
    SSL_CTX *tls;
    atomic_bool stop;
    atomic_uint count; /* of requests */
    /* The raw answer, malloced; NULL: none, and the connection stays until the peer gives up. Runs
     * in the server's thread. */
    char *(*answer)(struct httpd *d, const char *request);
    void *arg;
};

struct httpd_conn {
    int fd;
    SSL *ssl;
};

static inline long httpd_read(struct httpd_conn *c, char *p, size_t n)
{
    return c->ssl ? SSL_read(c->ssl, p, (int)n) : read(c->fd, p, n);
}

/* A whole request, as far as Content-Length tells; false at the end of the connection. */
static inline bool httpd_request(struct httpd_conn *c, char *text, size_t room)
{
    size_t n = 0;

    for (;;) {
        const char *end, *length;
        long got = httpd_read(c, text + n, room - n - 1);

        if (got <= 0)
            return false;
        n += (size_t)got;
        text[n] = '\0';
        end = strstr(text, "\r\n\r\n");
        if (!end)
            continue;
        length = strcasestr(text, "\r\nContent-Length:");
        if (n >= (size_t)(end + 4 - text) + (length ? strtoul(length + 17, NULL, 10) : 0))
            return true;
    }
}

static inline void httpd_serve(struct httpd *d, struct httpd_conn *c)
{
    static _Thread_local char text[65536];
    char *out;

    if (!httpd_request(c, text, sizeof(text)))
        return;
    d->count++;
    out = d->answer(d, text);
    if (!out) {
        struct pollfd p = {c->fd, POLLIN, 0};

        while (!d->stop && (poll(&p, 1, 50) == 0 || httpd_read(c, text, 1) > 0))
            ;
        return;
    }
    if (c->ssl)
        (void)SSL_write(c->ssl, out, (int)strlen(out));
    else if (send(c->fd, out, strlen(out), MSG_NOSIGNAL) < 0)
        d->stop = d->stop || false;
    free(out);
}

static inline void *httpd_main(void *arg)
{
    struct httpd *d = arg;

    while (!d->stop) {
        struct pollfd p = {d->fd, POLLIN, 0};
        struct httpd_conn c = {-1, NULL};

        if (poll(&p, 1, 50) <= 0)
            continue;
        c.fd = accept(d->fd, NULL, NULL);
        if (d->tls) {
            c.ssl = SSL_new(d->tls);
            SSL_set_fd(c.ssl, c.fd);
        }
        if (!c.ssl || SSL_accept(c.ssl) == 1)
            httpd_serve(d, &c);
        if (c.ssl) {
            SSL_shutdown(c.ssl);
            SSL_free(c.ssl);
        }
        close(c.fd);
    }
    return NULL;
}

/* certificate, key: PEM files, or NULL. Listens on all of 127/8. */
static inline void httpd_start(struct httpd *d, const char *certificate, const char *key,
                               char *(*answer)(struct httpd *d, const char *request), void *arg)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t n = sizeof(a);

    memset(d, 0, sizeof(*d));
    signal(SIGPIPE, SIG_IGN);
    d->answer = answer;
    d->arg = arg;
    d->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(d->fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(d->fd, 64) != 0 ||
        getsockname(d->fd, (struct sockaddr *)&a, &n) != 0)
        abort();
    d->port = ntohs(a.sin_port);
    if (certificate) {
        d->tls = SSL_CTX_new(TLS_server_method());
        if (SSL_CTX_use_certificate_file(d->tls, certificate, SSL_FILETYPE_PEM) != 1 ||
            SSL_CTX_use_PrivateKey_file(d->tls, key, SSL_FILETYPE_PEM) != 1)
            abort();
    }
    if (pthread_create(&d->thread, NULL, httpd_main, d) != 0)
        abort();
}

static inline void httpd_stop(struct httpd *d)
{
    d->stop = true;
    pthread_join(d->thread, NULL);
    close(d->fd);
    SSL_CTX_free(d->tls);
}

/* 200 with this body. */
static inline char *httpd_ok(const char *body)
{
    char *out;

    if (asprintf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body) < 0)
        abort();
    return out;
}

static inline char *httpd_status(int status, const char *more, const char *body)
{
    char *out;

    if (asprintf(&out, "HTTP/1.1 %d Status\r\n%sContent-Length: %zu\r\n\r\n%s", status, more,
                 strlen(body), body) < 0)
        abort();
    return out;
}

#endif
