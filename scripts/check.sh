#!/bin/bash
# `make check`: everything that is tested, in stages. Each stage prints its own line; the last line
# is the sum, "N passed, N failed".
#
# usage: scripts/check.sh [STAGE]...      (default: all; `scripts/check.sh unit e2e`)
set -uo pipefail
cd "$(dirname "$0")/.." || exit

cache=${SLUICE_CACHE:-$HOME/.cache/sluice}
jobs=$(nproc)
passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Adds the last "N passed, N failed" of a stage's output. A stage without one, or one that fails
# without counting a failure, counts as one failure.
count() { # NAME STATUS SECONDS
    local line p=0 f=0
    line=$(grep -oE '[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
    if [ -n "$line" ]; then
        p=$(awk '{print $1}' <<<"$line")
        f=$(awk '{print $3}' <<<"$line")
    fi
    if [ "$2" != 0 ] && [ "$f" = 0 ]; then f=1; fi
    if [ -z "$line" ] && [ "$2" = 0 ]; then p=1; fi
    passed=$((passed + p))
    failed=$((failed + f))
    printf '== %-12s %4s passed, %s failed  (%s s)\n' "$1" "$p" "$f" "$3"
}

stage() { # NAME FUNCTION
    local begin=$SECONDS status=0
    printf '\n== %s\n' "$1"
    "$2" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    count "$1" "$status" $((SECONDS - begin))
}

build() {
    make -s -j"$jobs" all VARIANT=release &&
        make -s -j"$jobs" all demo-tools unit VARIANT=asan build/asan/conform &&
        make -s -j"$jobs" fuzz-targets VARIANT=fuzz # the second compiler
}

# Runs test programs of cmocka, as many at a time as there are cores, and adds up what they print.
run_units() { # VARIANT NAME...
    local variant=$1 p=0 f=0 n name logs
    shift
    logs=$(mktemp -d)
    # shellcheck disable=SC2016 # expanded by the inner shell
    printf '%s\n' "$@" | xargs -P "$jobs" -I{} sh -c \
        'timeout 300 "build/$1/unit/$3" >"$2/$3" 2>&1; echo $? >"$2/$3.status"' \
        sh "$variant" "$logs" {}
    for name in "$@"; do
        n=$(grep -oE '\[  PASSED  \] [0-9]+' "$logs/$name" | awk '{s += $4} END {print s + 0}')
        p=$((p + n))
        if [ "$(cat "$logs/$name.status")" != 0 ]; then
            n=$(grep -oE '\[  FAILED  \] [0-9]+' "$logs/$name" | awk '{s += $4} END {print s + 0}')
            f=$((f + (n > 0 ? n : 1)))
            printf '%s (%s) failed:\n' "$name" "$variant"
            tail -n 40 "$logs/$name"
        fi
    done
    rm -rf "$logs"
    printf '%s passed, %s failed\n' "$p" "$f"
    [ "$f" = 0 ]
}

unit() {
    local names
    names=$(for f in tests/unit/test_*.c; do basename "$f" .c; done)
    # shellcheck disable=SC2086 # a list of names
    run_units asan $names
}

# What runs in several threads, under ThreadSanitizer.
threads() {
    local names="test_mailbox test_loop test_listener test_transport test_audit test_store test_order test_resolve"
    names="$names test_introspect"
    local n targets=()
    for n in $names; do targets+=("build/tsan/unit/$n"); done
    make -s -j"$jobs" VARIANT=tsan "${targets[@]}" || return 1
    # shellcheck disable=SC2086 # a list of names
    run_units tsan $names
}

corpora() { scripts/fuzz.sh --replay; }
conformance() { scripts/conformance.sh build/asan/conform; }
lint() { scripts/lint.sh; }
e2e() { SLUICE_BUILD=$PWD/build/asan scripts/check-e2e.sh; }
edc() { SLUICE_BUILD=$PWD/build/asan scripts/check-edc.sh; }

# The gate before the embedded three-broker cluster, no Java: the story of `make demo`, each step
# of which verifies what it says.
embedded() {
    local out n
    out=$(B=$PWD/build/asan DEMO_ONCE=1 demo/run.sh 2>&1) || {
        printf '%s\n0 passed, 1 failed\n' "$out"
        return 1
    }
    n=$(grep -c '^ *ok ' <<<"$out")
    printf '%s passed, 0 failed\n' "$n"
}

[ $# -gt 0 ] || set -- install build lint unit threads corpora conformance embedded e2e edc
for name in "$@"; do
    case $name in
    install) scripts/install.sh run build demo check || exit 1 ;;
    build | lint | unit | threads | corpora | conformance | embedded | e2e | edc)
        stage "$name" "$name" ;;
    *)
        echo "scripts/check.sh: no stage '$name'" >&2
        exit 2
        ;;
    esac
done
mkdir -p "$cache"
printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
