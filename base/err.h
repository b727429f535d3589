/* The one list of errors. Functions return 0 or one of these; where a count or a descriptor is
 * returned, a negative value is one of these. A peer's fault is an error, never an assertion. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define SL_MUST __attribute__((warn_unused_result))

enum err {
    OK = 0,
    ERR_NOMEM = -1,     /* allocation failed; closes what asked for it, nothing else */
    ERR_LIMIT = -2,     /* a configured or built-in bound was reached */
    ERR_MALFORMED = -3, /* bytes that break their format */
    ERR_AGAIN = -4,     /* would block, or more bytes are needed */
    ERR_EOF = -5,       /* the peer ended the stream */
    ERR_IO = -6,        /* a system call failed; errno tells */
    ERR_TLS = -7,       /* TLS failed; the log tells */
    ERR_DENIED = -8,    /* authentication or authorisation said no */
    ERR_UNKNOWN = -9,   /* no such thing */
    ERR_VERSION = -10,  /* an API or version that we do not speak */
    ERR_CONFIG = -11,   /* a configuration that cannot be used; the message tells */
    ERR_BUSY = -12,     /* retriable: not ready, or too many at once */
    ERR_TIMEOUT = -13,  /* a deadline passed */
};

/* A short name for logs, never NULL. */
const char *err_name(int err);

#endif
