#!/bin/bash
# `make check`: everything that is tested, in stages. Most wait more than they work, so they run in
# three lanes beside one another: real brokers, real connectors behind what else has deadlines, and,
# with less priority, what computes. A stage's output is printed whole when the stage is done; the last
# line is the sum, "N passed, N failed".
#
# usage: scripts/check.sh [STAGE]...      (default: all but embedded; `scripts/check.sh unit e2e`)
set -uo pipefail
cd "$(dirname "$0")/.." || exit

export SLUICE_CACHE=${SLUICE_CACHE:-$HOME/.cache/sluice}
jobs=$(nproc)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Adds the last "N passed, N failed" of a stage's output. A stage without one, or one that fails
# without counting a failure, counts as one failure.
count() { # NAME STATUS SECONDS
    local line p=0 f=0
    line=$(grep -oE '[0-9]+ passed, [0-9]+ failed' "$work/$1" | tail -n 1)
    if [ -n "$line" ]; then
        p=$(awk '{print $1}' <<<"$line")
        f=$(awk '{print $3}' <<<"$line")
    fi
    if [ "$2" != 0 ] && [ "$f" = 0 ]; then f=1; fi
    if [ -z "$line" ] && [ "$2" = 0 ]; then p=1; fi
    printf '%s %s\n' "$p" "$f" >>"$work/counts"
    printf '== %-12s %4s passed, %s failed  (%s s)\n' "$1" "$p" "$f" "$3"
}

stage() { # NAME, which is a function
    local begin=$SECONDS status=0
    printf '== %s begins\n' "$1"
    "$1" >"$work/$1" 2>&1 || status=$?
    exec 9>"$work/told" # one tells at a time
    flock 9
    printf '\n== %s\n' "$1"
    cat "$work/$1"
    count "$1" "$status" $((SECONDS - begin))
    exec 9>&-
}

# What all the other stages need.
build() { make -s -j"$jobs" all demo-tools VARIANT=asan; }

# Runs test programs of cmocka and adds up what they print. They wait more than they compute, so
# more of them at a time than there are cores.
run_units() { # VARIANT NAME...
    local variant=$1 p=0 f=0 n name logs
    shift
    logs=$(mktemp -d "$work/units.XXXXXX")
    # shellcheck disable=SC2016 # expanded by the inner shell
    printf '%s\n' "$@" | xargs -P $((jobs * 2)) -I{} sh -c \
        'timeout 600 "build/$1/unit/$3" >"$2/$3" 2>&1; echo $? >"$2/$3.status"' \
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
    printf '%s passed, %s failed\n' "$p" "$f"
    [ "$f" = 0 ]
}

unit() {
    local names longest=$'test_memory\ntest_store_kill'
    make -s -j"$jobs" VARIANT=asan unit || return 1
    names=$(for f in tests/unit/test_*.c; do basename "$f" .c; done | grep -vxF "$longest")
    # shellcheck disable=SC2086 # lists of names
    run_units asan $longest $names
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

# The whole gate in simulated worlds: about 60 seconds of processor time.
sim() { make -s -j"$jobs" VARIANT=asan build/asan/sim && scripts/sim.sh build/asan/sim 2000; }
lint() { scripts/lint.sh; } # builds with the first compiler, optimized
corpora() { scripts/fuzz.sh --replay; } # builds with the second
# 100,000 frames to our decoder and to Kafka's own: about 12 seconds of processor time.
differential() {
    make -s -j"$jobs" VARIANT=asan build/asan/differential &&
        scripts/differential.sh build/asan/differential 100000 "$(date +%-j)"
}
conformance() {
    make -s -j"$jobs" VARIANT=asan build/asan/conform build/asan/conform-gate &&
        scripts/conformance.sh build/asan
}
e2e() { SLUICE_BUILD=$PWD/build/asan scripts/check-e2e.sh --ignore=test_demo.py; }
demo() { SLUICE_BUILD=$PWD/build/asan scripts/check-e2e.sh test_demo.py; } # no broker is started
equivalence() { SLUICE_BUILD=$PWD/build/asan E2E_TESTS=$PWD/tests/equivalence scripts/check-e2e.sh; }
edc() { SLUICE_BUILD=$PWD/build/asan scripts/check-edc.sh; }

# The gate before the embedded three-broker cluster, no Java: the story of `make demo`, each step
# of which verifies what it says. For `make test`; among all stages it is a case of demo.
embedded() {
    local out n
    out=$(B=$PWD/build/asan DEMO_ONCE=1 demo/run.sh 2>&1) || {
        printf '%s\n0 passed, 1 failed\n' "$out"
        return 1
    }
    n=$(grep -c '^ *ok ' <<<"$out")
    printf '%s passed, 0 failed\n' "$n"
}

# A lane: stages one after the other, beside the other lanes and in a process group of their own.
lanes=()
lane() { # PRIORITY STAGE...
    local nice=$1 name
    shift
    [ $# -gt 0 ] || return 0
    (
        trap - EXIT
        renice -n "$nice" $BASHPID >/dev/null
        for name in "$@"; do stage "$name"; done
    ) </dev/null &
    lanes+=($!)
}
end_lanes() {
    local pid
    trap '' INT TERM HUP
    for pid in "${lanes[@]}"; do kill -TERM -- "-$pid"; done 2>/dev/null
    wait
    exit 130
}

[ $# -gt 0 ] ||
    set -- install build e2e unit threads edc lint corpora differential conformance sim demo equivalence
install=0 build=0 brokers=() timed=() patient=()
for name in "$@"; do
    case $name in
    install) install=1 ;;
    build) build=1 ;;
    e2e) brokers+=("$name") ;;
    unit | threads | embedded | edc) timed+=("$name") ;;
    lint | corpora | differential | conformance | sim | demo | equivalence) patient+=("$name") ;;
    *)
        echo "scripts/check.sh: no stage '$name'" >&2
        exit 2
        ;;
    esac
done

[ "$install" = 0 ] || scripts/install.sh run build demo check || exit 1
# What was compiled once need not be compiled again, in whatever checkout.
if command -v ccache >/dev/null; then
    export CCACHE=ccache CCACHE_DIR=$SLUICE_CACHE/ccache CCACHE_MAXSIZE=2G CCACHE_NOHASHDIR=1
    export CCACHE_BASEDIR=$PWD
fi
[ "$build" = 0 ] || stage build
# Parts that two suites need are fetched before both.
case " ${timed[*]} " in *" edc "*) scripts/fetch-parts.sh edc || exit 1 ;; esac

set -m
trap end_lanes INT TERM HUP
lane 0 "${brokers[@]}"
lane 0 "${timed[@]}"
lane 10 "${patient[@]}"
wait
trap - INT TERM HUP

# A stage that was never counted has failed.
awk -v stages=$((build + ${#brokers[@]} + ${#timed[@]} + ${#patient[@]})) '
    {p += $1; f += $2}
    END {f += stages - NR; printf "\n%d passed, %d failed\n", p, f; exit f > 0}' "$work/counts"
