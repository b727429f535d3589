/* No core dump: tokens, keys and clients' secrets are in memory, and a dump would put them on a
 * disk. Process-wide, for good; before any secret is read. */
#ifndef BASE_CORE_H
#define BASE_CORE_H

#include "base/err.h"

/* No file, and nothing for a handler that the kernel would pipe a dump to, whom a limit of 0 does
 * not keep from it. Other processes of this user can no longer trace this one, nor look into its
 * /proc; root can. ERR_IO when it could not be had (errno tells). */
int core_none(void) SL_MUST;

#endif
