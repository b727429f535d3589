#include "base/err.h"

const char *err_name(int err)
{
    switch ((enum err)err) {
    case OK:
        return "ok";
    case ERR_NOMEM:
        return "out of memory";
    case ERR_LIMIT:
        return "limit reached";
    case ERR_MALFORMED:
        return "malformed";
    case ERR_AGAIN:
        return "would block";
    case ERR_EOF:
        return "end of stream";
    case ERR_IO:
        return "i/o error";
    case ERR_TLS:
        return "tls error";
    case ERR_DENIED:
        return "denied";
    case ERR_UNKNOWN:
        return "unknown";
    case ERR_VERSION:
        return "unsupported version";
    case ERR_CONFIG:
        return "bad configuration";
    case ERR_BUSY:
        return "busy";
    case ERR_TIMEOUT:
        return "timed out";
    }
    return "unnamed error";
}
