#include "tests/unit/unit.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/core.h"

/* In a child: it is for good. */
static void no_dump(void **state)
{
    int status;
    pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit r;

        if (prctl(PR_GET_DUMPABLE) != 1)
            _exit(1);
        if (core_none() != OK || prctl(PR_GET_DUMPABLE) != 0)
            _exit(2);
        if (getrlimit(RLIMIT_CORE, &r) != 0 || r.rlim_cur != 0 || r.rlim_max != 0)
            _exit(3);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_dump)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
