#!/bin/sh
# Runs every fuzz target for FUZZ_SECONDS with its corpus; one table at the end.
# What is found goes to $B/fuzz/corpus, crashes to $B/fuzz; the seeds in fuzz/corpus stay as they are.
# FUZZ_TARGETS ("walk frame") picks some of them, FUZZ_SEED makes the runs' random numbers the same.
#
# usage: fuzz.sh            run
#        fuzz.sh --keep     of what was found, take over into fuzz/corpus what adds coverage
#        fuzz.sh --replay   each kept corpus once; the last line is "N passed, N failed"
set -eu
cd "$(dirname "$0")/.."
B=${B:-build/fuzz}
FUZZ_SECONDS=${FUZZ_SECONDS:-60}
bounds='-timeout=10 -rss_limit_mb=2048'
# A run allocates a few MiB at most: what it freed is kept from reuse much longer than it lasts.
export ASAN_OPTIONS="quarantine_size_mb=16:malloc_context_size=10:max_malloc_fill_size=256${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

targets() {
    for source in fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        name=${name#fuzz_}
        case " ${FUZZ_TARGETS:-$name} " in *" $name "*) echo "$name" ;; esac
    done
}

replay_one() { # NAME
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of options
    if "$B/fuzz/fuzz_$1" -runs=0 $bounds "fuzz/corpus/$1" >"$log" 2>&1; then
        rm -f "$log"
    else
        echo "fuzz_$1 fails on its corpus:"
        tail -n 40 "$log"
        rm -f "$log"
        return 1
    fi
}

replay() {
    passed=0
    failed=0
    for name in $(targets); do
        if replay_one "$name"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    done
    echo "$passed passed, $failed failed"
    [ $failed = 0 ]
}

keep() {
    for name in $(targets); do
        before=$(find "fuzz/corpus/$name" -type f | wc -l)
        # shellcheck disable=SC2086 # a list of options
        [ ! -d "$B/fuzz/corpus/$name" ] ||
            "$B/fuzz/fuzz_$name" -merge=1 $bounds "fuzz/corpus/$name" "$B/fuzz/corpus/$name" \
                >"$B/fuzz/$name.log" 2>&1
        echo "$name: $before then $(find "fuzz/corpus/$name" -type f | wc -l)"
    done
    du -sh --apparent-size fuzz/corpus
}

# Of each target, the longest input, in bytes: what its grammar needs to reach all of it, and no
# more, for a long input is seldom more than a slow one. Whole bounds (a token's 16 KiB, a body's)
# are held by tests/unit. Targets of Kafka's messages have words of the schema, and choose what to
# change next by age alone: weighing rare features (libFuzzer's entropic) takes half of their time,
# and they find more without.
options() { # NAME
    case $1 in
    frame) longest=1024 ;;
    split | sasl | form) longest=4096 ;;
    scram) longest=2048 ;;
    store) longest=512 ;; # 64 operations of 8 bytes
    decode | merge | message | secevent | session) longest=16384 ;;
    *) longest=8192 ;;
    esac
    echo "-max_len=$longest"
    case $1 in
    yaml) echo "-dict=$B/fuzz/options.dict" ;;
    decode | frame | merge | msg | policy | session | split | walk)
        echo "-dict=$B/fuzz/schema.dict -entropic=0"
        ;;
    esac
}

files_in() { find "$@" -type f | wc -l; }

fuzz_one() { # NAME
    seeds=fuzz/corpus/$1 found=$B/fuzz/corpus/$1 log=$B/fuzz/$1.log result=ok
    mkdir -p "$found" "$seeds"
    before=$(files_in "$seeds" "$found")
    # shellcheck disable=SC2046,SC2086 # lists of options
    "$B/fuzz/fuzz_$1" -max_total_time="$FUZZ_SECONDS" $bounds $(options "$1") \
        -seed="${FUZZ_SEED:-0}" -print_final_stats=1 -artifact_prefix="$B/fuzz/$1-" \
        "$found" "$seeds" >"$log" 2>&1 || result=FAILED
    after=$(files_in "$seeds" "$found")
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    begin=$(sed -n 's/.*INITED cov: \([0-9]*\) .*/\1/p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-12s %12s %10s %10s %8s %8s  %s\n' "$1" "${runs:--}" "${begin:--}" "${edges:--}" \
        "$before" "$after" "$result"
    [ $result = ok ]
}

case ${1:-} in
--replay)
    make -s -j"$(nproc)" VARIANT=fuzz fuzz-targets
    replay
    ;;
--keep) keep ;;
*)
    failed=0
    table=$(mktemp)
    trap 'rm -f "$table"' EXIT
    for name in $(targets); do
        fuzz_one "$name" >>"$table" || failed=1
        tail -n 1 "$table" >&2
    done
    printf '%-12s %12s %10s %10s %8s %8s  %s\n' target executions 'edges' "then" corpus "then" result
    cat "$table"
    [ $failed = 0 ] || echo "logs and inputs: $B/fuzz" >&2
    exit $failed
    ;;
esac
