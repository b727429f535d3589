#include "base/core.h"

#include <sys/prctl.h>
#include <sys/resource.h>

int core_none(void)
{
    const struct rlimit none = {0, 0};
    int limited = setrlimit(RLIMIT_CORE, &none), hidden = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);

    return limited == 0 && hidden == 0 ? OK : ERR_IO;
}
