#!/bin/sh
# The connector's tests: sluice as the data plane of real connector control planes, with a real
# Keycloak and a real three-node Apache Kafka. Builds nothing; fetches the parts that are missing,
# runs all cases (or those named), and ends with one line "N passed, N failed".
#
# usage: scripts/check-edc.sh [pytest arguments]     e.g. test_10_suspend.py, --keep
#   the same variables as scripts/check-e2e.sh
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
"$here/scripts/fetch-parts.sh" edc
E2E_TESTS=$here/tests/edc exec "$here/scripts/check-e2e.sh" "$@"
