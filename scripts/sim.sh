#!/bin/bash
# Runs seeds of the simulation (tests/sim), as many processes beside one another as there are cores.
#
# usage: scripts/sim.sh PROGRAM SEEDS [FIRST]
set -uo pipefail
[ $# -ge 2 ] || {
    sed -n 's/^# \(usage:.*\)/\1/p' "$0" >&2
    exit 2
}
program=$1
seeds=$2
first=${3:-1}
jobs=$(nproc)
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

share=$(((seeds + jobs - 1) / jobs))
pids=()
for ((i = 0; i < jobs; i++)); do
    from=$((first + i * share))
    n=$((first + seeds - from < share ? first + seeds - from : share))
    [ "$n" -gt 0 ] || continue
    "$program" --first "$from" --seeds "$n" >"$logs/$i" 2>&1 &
    pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do
    wait "$pid" || failed=$((failed + 1))
done
# The same seed takes the same course, also behind others.
timeout 300 "$program" --first "$first" --seeds 20 --twice >"$logs/twice" 2>&1 ||
    failed=$((failed + 1))
grep -hvE ' passed, |^so far ' "$logs"/*
if [ "$failed" = 0 ]; then passed=$seeds; else passed=0; fi
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
