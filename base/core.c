#include "base/core.h"

#include <sys/prctl.h>
#include <sys/resource.h>

int core_none(void)
{
    const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none); /* what others see in /proc; a sandbox may forbid it */
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? OK : ERR_IO;
}
