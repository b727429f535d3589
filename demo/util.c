#include "demo/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int util_write_ready(const char *path, const char *text)
{
    char *tmp = NULL;
    int err = ERR_IO;

    if (!path)
        return OK;
    if (asprintf(&tmp, "%s.tmp", path) < 0)
        return ERR_NOMEM;
    FILE *f = fopen(tmp, "we");
    if (f) {
        bool written = fputs(text, f) >= 0;
        if (fclose(f) == 0 && written && rename(tmp, path) == 0)
            err = OK;
        else
            unlink(tmp);
    }
    free(tmp);
    return err;
}

int util_number(const char *text, long min, long max, long *out)
{
    char *end = NULL;

    if (text[0] < '0' || text[0] > '9')
        return ERR_MALFORMED;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || *end != '\0' || n < min || n > max)
        return ERR_MALFORMED;
    *out = n;
    return OK;
}

int util_host_port(const char *text, char *host, unsigned long host_bytes, uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    long n = 0;

    if (!colon || colon == text || util_number(colon + 1, 0, UINT16_MAX, &n))
        return ERR_MALFORMED;
    size_t len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= host_bytes)
        return ERR_MALFORMED;
    memcpy(host, text, len);
    host[len] = '\0';
    *port = (uint16_t)n;
    return OK;
}

int64_t util_wall_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t util_mono_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
