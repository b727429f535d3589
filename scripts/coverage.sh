#!/bin/bash
# Lines of the codec, of authentication and of policy that the unit tests, the conformance test and
# the fuzzers' kept corpora run through together: a row a file, and the sum. Fails below
# COVERAGE_MIN percent (95) in any of the three parts.
#
# usage: scripts/coverage.sh           (builds build/cov; about ten minutes on two cores)
#   COVERAGE_LINES=FILE...   also prints the lines of these files that nothing runs through
set -euo pipefail
cd "$(dirname "$0")/.."
B=${B:-build/cov}
minimum=${COVERAGE_MIN:-95}
profiles=$PWD/$B/profiles

scripts/install.sh run build demo check >&2
LLVM_PROFILE_FILE=/dev/null make -s -j"$(nproc)" VARIANT=cov "B=$B" unit fuzz-targets \
    "$B/conform" "$B/conform-gate" >&2
rm -rf "$profiles" && mkdir -p "$profiles"
# One file for each program: what runs in turn adds to it.
export LLVM_PROFILE_FILE="$profiles/%m.profraw"

failed=0
for test in tests/unit/test_*.c; do
    name=$(basename "$test" .c)
    timeout 300 "$B/unit/$name" >"$profiles/$name.log" 2>&1 || {
        echo "coverage: $name fails" >&2
        tail -n 20 "$profiles/$name.log" >&2
        failed=1
    }
done
CONFORMANCE_ROUNDS=${CONFORMANCE_ROUNDS:-20} scripts/conformance.sh "$B" >"$profiles/conform.log" 2>&1 || {
    echo "coverage: the conformance test fails" >&2
    tail -n 20 "$profiles/conform.log" >&2
    failed=1
}
for source in fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    find "fuzz/corpus/${name#fuzz_}" -type f -print0 2>/dev/null |
        xargs -0 -r -n 500 "$B/fuzz/$name" -timeout=20 >"$profiles/$name.log" 2>&1 || {
        echo "coverage: $name fails on its corpus" >&2
        tail -n 20 "$profiles/$name.log" >&2
        failed=1
    }
done

llvm-profdata-14 merge -o "$profiles/all.profdata" "$profiles"/*.profraw
# proxy/ has more than policy; these are what decides and hides.
parts=(codec auth policy)
declare -A files=(
    [codec]=$(find codec -name '*.c' ! -name 'mkschema*' | sort | tr '\n' ' ')
    [auth]=$(find auth -name '*.c' | sort | tr '\n' ' ')
    [policy]=$(printf 'proxy/%s.c ' api policy regex denials rewrite virtual)
)
report() { # FILE...: lines, lines missed, name
    local objects=() file
    for file in "$@"; do objects+=(-object "$B/${file%.c}.o"); done
    llvm-cov-14 report "${objects[@]:1}" -instr-profile="$profiles/all.profdata" "$@" 2>/dev/null |
        awk -v folder="$(dirname "$1")" '$1 ~ /\.c$/ { print $8, $9, folder "/" $1 }'
}
printf '%-28s %7s %7s %8s\n' file lines missed covered
for part in "${parts[@]}"; do
    # shellcheck disable=SC2086 # a list of names
    report ${files[$part]} | awk -v part="$part" -v minimum="$minimum" '
        { printf "%-28s %7d %7d %7.1f%%\n", $3, $1, $2, $1 ? 100 * ($1 - $2) / $1 : 100
          lines += $1; missed += $2 }
        END { share = lines ? 100 * (lines - missed) / lines : 0
              printf "%-28s %7d %7d %7.1f%%\n\n", part " in all", lines, missed, share
              exit share < minimum }' || failed=1
done
for file in ${COVERAGE_LINES:-}; do
    llvm-cov-14 show "$B/${file%.c}.o" -instr-profile="$profiles/all.profdata" "$file" |
        awk -v file="$file" -F'|' '$2 ~ /^ *0$/ { print file ":" $1 + 0 ":" $3 }'
done
[ "$failed" = 0 ] || echo "coverage: below $minimum % somewhere, or a test failed" >&2
exit "$failed"
