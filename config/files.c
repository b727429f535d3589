/* The files that a configuration names: are they there, can they be read, do they look right. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "config/build.h"
#include "config/values.h"

#define PEM_BYTES_MAX    ((size_t)1024 * 1024)
#define SECRET_BYTES_MAX ((size_t)64 * 1024)

static char *read_all(int fd, size_t limit, size_t *n)
{
    size_t cap = 4096, used = 0;
    char *text = sl_malloc(cap + 1);
    while (text) {
        ssize_t got = read(fd, text + used, cap - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            if (got < 0)
                break;
            text[used] = '\0';
            *n = used;
            return text;
        }
        used += (size_t)got;
        if (used > limit) {
            errno = EFBIG;
            break;
        }
        if (used < cap)
            continue;
        /* Not realloc: what may be a secret must not stay behind in freed memory. */
        char *bigger = sl_malloc(2 * cap + 1);
        if (!bigger)
            break;
        memcpy(bigger, text, used);
        explicit_bzero(text, used);
        sl_free(text);
        text = bigger;
        cap *= 2;
    }
    if (text) {
        explicit_bzero(text, used);
        sl_free(text);
    } else {
        errno = ENOMEM;
    }
    return NULL;
}

char *config_file_read(const char *path, size_t limit, size_t *n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *text = read_all(fd, limit, n);
    int saved = errno;
    close(fd);
    errno = saved;
    return text;
}

/* Opens nothing that could block or has side effects. */
static bool is_regular(const char *path, struct stat *st)
{
    if (stat(path, st) != 0)
        return false;
    if (S_ISREG(st->st_mode))
        return true;
    errno = S_ISDIR(st->st_mode) ? EISDIR : EINVAL;
    return false;
}

static char *read_named(struct build *b, const struct option *o, const json_t *node,
                        const char *path, size_t limit, size_t *n)
{
    struct stat st;
    char *text = is_regular(path, &st) ? config_file_read(path, limit, n) : NULL;
    if (!text)
        config_fault(b, o, node, "%s cannot be read: %s", path, strerror(errno));
    return text;
}

static void warn_if_open(struct build *b, const json_t *node, const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & S_IROTH))
        report_warning(b->report, b->yaml ? yaml_line(b->yaml, node) : 0, b->path,
                       "%s is readable by everyone on this machine", path);
}

/* The folder of a file that sluice will make. */
static void check_folder(struct build *b, const struct option *o, const json_t *node,
                         const char *path)
{
    struct stat st;
    char folder[CONFIG_PATH_BYTES];
    size_t n = (size_t)(strrchr(path, '/') - path);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        config_fault(b, o, node, "%s is a folder", path);
        return;
    }
    if (n >= sizeof(folder))
        return;
    memcpy(folder, path, n);
    folder[n] = '\0';
    if (n == 0)
        return;
    if (stat(folder, &st) != 0)
        config_fault(b, o, node, "the folder %s cannot be used: %s", folder, strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        config_fault(b, o, node, "%s is no folder", folder);
    else if (access(folder, W_OK | X_OK) != 0 && access(path, W_OK) != 0)
        config_fault(b, o, node, "the folder %s cannot be written: %s", folder, strerror(errno));
}

static bool has_private_key(const char *text)
{
    for (const char *at = text; (at = strstr(at, "-----BEGIN ")); at++) {
        size_t n = strcspn(at, "\r\n");
        static const char end[] = "PRIVATE KEY-----";
        if (n > sizeof(end) && memcmp(at + n - (sizeof(end) - 1), end, sizeof(end) - 1) == 0)
            return true;
    }
    return false;
}

static void check_key(struct build *b, const struct option *o, const json_t *node, const char *path,
                      const char *text)
{
    if (!has_private_key(text))
        config_fault(b, o, node, "%s holds no PEM private key", path);
    if (strstr(text, "ENCRYPTED"))
        config_fault(b, o, node, "%s is encrypted; a key without a passphrase is needed", path);
    warn_if_open(b, node, path);
}

void config_file_check(struct build *b, const struct option *o, const json_t *node,
                       const char *path)
{
    size_t n;
    struct stat st;
    if (o->type == OPTION_FOLDER) {
        if (stat(path, &st) != 0)
            config_fault(b, o, node, "%s cannot be used: %s", path, strerror(errno));
        else if (!S_ISDIR(st.st_mode))
            config_fault(b, o, node, "%s is no folder", path);
        return;
    }
    if (o->type == OPTION_MADE) {
        check_folder(b, o, node, path);
        return;
    }
    char *text = read_named(b, o, node, path, PEM_BYTES_MAX, &n);
    if (!text)
        return;
    if (o->type == OPTION_CERTIFICATE && !strstr(text, "-----BEGIN CERTIFICATE-----") &&
        !strstr(text, "-----BEGIN TRUSTED CERTIFICATE-----"))
        config_fault(b, o, node, "%s holds no PEM certificate", path);
    if (o->type == OPTION_KEY)
        check_key(b, o, node, path, text);
    explicit_bzero(text, n);
    sl_free(text);
}

/* A secret's copy in the arena, on the list of what is wiped. */
static char *keep_secret(struct build *b, const char *text, size_t n)
{
    struct secret *secret = arena_alloc(b->arena, sizeof(*secret));
    char *copy = secret ? config_keep(b, text, n) : NULL;
    if (!copy) {
        b->nomem = true;
        return NULL;
    }
    *secret = (struct secret){*b->secrets, copy, n};
    *b->secrets = secret;
    return copy;
}

char *config_file_secret(struct build *b, const struct option *o, const json_t *node,
                         const char *path)
{
    size_t n;
    char *kept = NULL;
    char *text = read_named(b, o, node, path, SECRET_BYTES_MAX, &n);
    if (!text)
        return NULL;
    size_t len = n;
    if (len && text[len - 1] == '\n')
        len--;
    if (len && text[len - 1] == '\r')
        len--;
    if (len == 0)
        config_fault(b, o, node, "%s is empty", path);
    else if (value_text_fault(text, len))
        config_fault(b, o, node, "%s holds more than one line, or a control character", path);
    else
        kept = keep_secret(b, text, len);
    warn_if_open(b, node, path);
    explicit_bzero(text, n);
    sl_free(text);
    return kept;
}

char *config_file_key(struct build *b, const struct option *o, const json_t *node, const char *path)
{
    size_t n;
    char *kept = NULL;
    char *text = read_named(b, o, node, path, SECRET_BYTES_MAX, &n);
    if (!text)
        return NULL;
    check_key(b, o, node, path, text);
    kept = keep_secret(b, text, n);
    explicit_bzero(text, n);
    sl_free(text);
    return kept;
}

/* One line of a token file; false when it is refused. */
static bool take_token(struct build *b, const struct option *o, const json_t *node,
                       const char *path, const char *line, size_t n, unsigned number,
                       struct strings *out)
{
    if (n && line[n - 1] == '\r')
        n--;
    if (n == 0 || line[0] == '#')
        return true;
    bool legal = true;
    for (size_t i = 0; i < n; i++)
        legal = legal && line[i] > 0x20 && line[i] < 0x7f;
    if (!legal || n < (size_t)o->min || n > (size_t)o->max) {
        config_fault(b, o, node,
                     "line %u of %s is no token: 20 to 512 printable characters, no spaces", number,
                     path);
        return false;
    }
    if (out->count == o->items) {
        config_fault(b, o, node, "%s holds more than %u tokens", path, (unsigned)o->items);
        return false;
    }
    out->at[out->count] = keep_secret(b, line, n);
    out->count += out->at[out->count] != NULL;
    return true;
}

void config_file_secrets(struct build *b, const struct option *o, const json_t *node,
                         const char *path, struct strings *out)
{
    size_t n, at = 0;
    unsigned number = 1;
    char *text = read_named(b, o, node, path, SECRET_BYTES_MAX, &n);
    if (!text)
        return;
    out->at = arena_alloc(b->arena, o->items * sizeof(*out->at));
    b->nomem |= !out->at;
    bool good = out->at != NULL;
    for (; good && at < n; number++) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - (text + at)) : n - at;
        good = take_token(b, o, node, path, text + at, len, number, out);
        at += len + 1;
    }
    if (good && out->count == 0)
        config_fault(b, o, node, "%s holds no token", path);
    warn_if_open(b, node, path);
    explicit_bzero(text, n);
    sl_free(text);
}
