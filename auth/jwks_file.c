/* Key sets in files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/jwks.h"
#include "base/alloc.h"

char *jwks_file_read(const char *path, size_t *n, char *why, size_t why_bytes)
{
    size_t room = JWKS_BYTES_MAX + 1;
    struct stat st;
    ssize_t got = 1;
    char *text = sl_malloc(room);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    *n = 0;
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(why, why_bytes, "%s", strerror(errno));
        goto bad;
    }
    if (!text || !S_ISREG(st.st_mode)) {
        snprintf(why, why_bytes, "%s", text ? "not a plain file" : "out of memory");
        goto bad;
    }
    while (*n < room && (got = read(fd, text + *n, room - *n)) > 0)
        *n += (size_t)got;
    if (got < 0) {
        snprintf(why, why_bytes, "%s", strerror(errno));
        goto bad;
    }
    close(fd);
    return text;
bad:
    if (fd >= 0)
        close(fd);
    sl_free(text);
    return NULL;
}
