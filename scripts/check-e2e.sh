#!/bin/sh
# The end-to-end tests: sluice before a real three-node Apache Kafka, with real clients.
# Builds nothing; fetches the parts that are missing, runs all cases (or those named), and ends with
# one line "N passed, N failed".
#
# usage: scripts/check-e2e.sh [pytest arguments]     e.g. test_read.py -k kcat, --direct, --keep
#   SLUICE_VARIANT=asan|release|tsan   which build (asan); SLUICE=FILE: which binary
#   E2E_RESULT=FILE                    gets the last line, too
#   E2E_JUNIT=FILE                     gets a JUnit report
#   E2E_TESTS=DIRECTORY                other tests than tests/e2e (scripts/check-edc.sh)
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
"$here/scripts/fetch-parts.sh"
cache=${SLUICE_CACHE:-$HOME/.cache/sluice}
junit=${E2E_JUNIT:-$(mktemp)}

cd "${E2E_TESTS:-$here/tests/e2e}"
PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 TERM=dumb \
    "$cache/venv/bin/python" -m pytest --color=no --junitxml="$junit" -q "$@" </dev/null &
tests=$!
trap 'kill -TERM "$tests"' TERM INT HUP
status=0
wait "$tests" || status=$?
while kill -0 "$tests" 2>/dev/null; do # a signal ended the wait, not the tests
    wait "$tests" || status=$?
done
trap - TERM INT HUP

line=$("$cache/venv/bin/python" - "$junit" <<'PY'
import sys
import xml.etree.ElementTree as tree
try:
    cases = {}
    for case in tree.parse(sys.argv[1]).getroot().iter("testcase"):
        name = (case.get("classname"), case.get("name"))
        found = {child.tag for child in case}
        cases.setdefault(name, set()).update(found or {"passed"})
except (OSError, tree.ParseError):
    cases = {}
failed = sum(1 for found in cases.values() if found & {"failure", "error"})
passed = sum(1 for found in cases.values() if found == {"passed"})
print(f"{passed} passed, {failed if cases else 1} failed")
PY
)
[ -n "${E2E_JUNIT:-}" ] || rm -f "$junit"
[ -z "${E2E_RESULT:-}" ] || printf '%s\n' "$line" >"$E2E_RESULT"
printf '%s\n' "$line"
exit "$status"
