/* Secrets for those who do not see OpenSSL: made, named by a hash, compared. Pure; any thread. */
#ifndef AUTH_SECRET_H
#define AUTH_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define SECRET_TEXT_BYTES 44 /* 32 bytes in base64url, and a NUL */

/* 256 random bits in base64url. */
int secret_make(char out[SECRET_TEXT_BYTES]) SL_MUST;
/* Its SHA-256 in base64url: enough to know it again, where it has 128 random bits at least. */
int secret_hash(const char *secret, char out[SECRET_TEXT_BYTES]) SL_MUST;
/* In a time that tells neither length nor first difference. False also when memory is short. */
bool secret_equal(const char *a, const char *b);

#endif
