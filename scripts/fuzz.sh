#!/bin/sh
# Runs every fuzz target for FUZZ_SECONDS with its corpus; one table at the end.
# What is found goes to $B/fuzz/corpus, crashes to $B/fuzz; the seeds in fuzz/corpus stay as they are.
# FUZZ_TARGETS ("walk frame") picks some of them. With --replay, each target runs its kept corpus once
# and no more, and the last line is "N passed, N failed", a target each.
set -eu
cd "$(dirname "$0")/.."
B=${B:-build/fuzz}

replay() {
    passed=0
    failed=0
    log=$(mktemp)
    for source in fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        if "$B/fuzz/$name" -runs=0 -timeout=10 -rss_limit_mb=2048 "fuzz/corpus/${name#fuzz_}" \
            >"$log" 2>&1; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "$name fails on its corpus:"
            tail -n 40 "$log"
        fi
    done
    rm -f "$log"
    echo "$passed passed, $failed failed"
    [ $failed = 0 ]
}
if [ "${1:-}" = --replay ]; then
    make -s -j"$(nproc)" VARIANT=fuzz fuzz-targets
    replay
    exit
fi

FUZZ_SECONDS=${FUZZ_SECONDS:-60}
failed=0
table=$(mktemp)
trap 'rm -f "$table"' EXIT

for source in fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    name=${name#fuzz_}
    case " ${FUZZ_TARGETS:-$name} " in *" $name "*) ;; *) continue ;; esac
    seeds=fuzz/corpus/$name found=$B/fuzz/corpus/$name log=$B/fuzz/$name.log
    mkdir -p "$found" "$seeds"
    before=$(find "$seeds" "$found" -type f | wc -l)
    result=ok
    "$B/fuzz/fuzz_$name" -max_total_time="$FUZZ_SECONDS" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$B/fuzz/$name-" \
        "$found" "$seeds" >"$log" 2>&1 || result=FAILED
    [ $result = ok ] || failed=1
    after=$(find "$seeds" "$found" -type f | wc -l)
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-16s %12s %9s %8s %8s  %s\n' \
        "$name" "${runs:--}" "${edges:--}" "$before" "$after" "$result" >>"$table"
done
printf '%-16s %12s %9s %8s %8s  %s\n' target executions coverage corpus "then" result
cat "$table"
[ $failed = 0 ] || echo "logs and inputs: $B/fuzz" >&2
exit $failed
