#!/bin/sh
# The end-to-end tests: sluice before a real three-node Apache Kafka, with real clients.
# Builds nothing; fetches the parts that are missing, runs all cases (or those named), and ends with
# one line "N passed, N failed".
#
# usage: scripts/check-e2e.sh [pytest arguments]     e.g. test_read.py -k kcat, --direct, --keep
#   SLUICE_VARIANT=asan|release|tsan   which build (asan); SLUICE=FILE: which binary
#   E2E_RESULT=FILE                    gets the last line, too
#   E2E_JUNIT=FILE                     gets a JUnit report
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
"$here/scripts/fetch-parts.sh"
cache=${SLUICE_CACHE:-$HOME/.cache/sluice}
junit=${E2E_JUNIT:-$(mktemp)}

status=0
(cd "$here/tests/e2e" && PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 TERM=dumb \
    "$cache/venv/bin/python" -m pytest --color=no --junitxml="$junit" -q "$@" </dev/null) ||
    status=$?

line=$("$cache/venv/bin/python" - "$junit" <<'PY'
import sys
import xml.etree.ElementTree as tree
try:
    suites = tree.parse(sys.argv[1]).getroot().iter("testsuite")
    total = {key: 0 for key in ("tests", "failures", "errors", "skipped")}
    for suite in suites:
        for key in total:
            total[key] += int(suite.get(key, 0))
except (OSError, tree.ParseError):
    print("0 passed, 1 failed")
else:
    failed = total["failures"] + total["errors"]
    print(f"{total['tests'] - failed - total['skipped']} passed, {failed} failed")
PY
)
[ -n "${E2E_JUNIT:-}" ] || rm -f "$junit"
[ -z "${E2E_RESULT:-}" ] || printf '%s\n' "$line" >"$E2E_RESULT"
printf '%s\n' "$line"
exit "$status"
