#!/bin/bash
# Looks at the sources without running them. Each look is one check; ends with "N passed, N failed".
# A finding is printed with its place.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

passed=0
failed=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

check() { # NAME COMMAND...
    local name=$1
    shift
    if "$@" >"$out" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'lint: %s\n' "$name"
        head -n 40 "$out"
    fi
}

sources() { git ls-files '*.c' '*.h'; }
own() { git ls-files 'base/*.[ch]' 'codec/*.[ch]' 'config/*.[ch]' 'auth/*.[ch]' 'audit/*.[ch]' \
    'proxy/*.[ch]' 'control/*.[ch]'; }

# Dependencies run one way: base <- codec, config <- auth, audit <- proxy <- control.
include_direction() {
    local bad=0
    forbid() { # FOLDER PATTERN WHAT
        if git ls-files "$1/*.[ch]" | xargs grep -nE "#include \"($2)/" 2>/dev/null; then
            printf '%s must not include %s\n' "$1" "$2"
            bad=1
        fi
    }
    forbid base 'codec|config|auth|audit|proxy|control'
    forbid codec 'config|auth|audit|proxy|control'
    forbid config 'codec|auth|audit|proxy|control'
    forbid auth 'codec|audit|proxy|control'
    forbid audit 'codec|auth|proxy|control'
    forbid proxy 'control'
    return $bad
}

# Who may see which library.
library_seen_by() { # HEADER-PATTERN FILE-PATTERN
    ! own | grep -vE "$2" | xargs grep -nE "#include <($1)"
}

banned_functions() {
    ! own | xargs grep -nE '\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca|atoi|rand)\s*\('
}

no_leftovers() { ! own | xargs grep -nE 'TODO|FIXME|XXX|HACK'; }

layout() { sources | xargs clang-format-14 --dry-run -Werror; }

tidy() {
    own | grep '\.c$' | grep -v mkschema |
        xargs -P 2 -n 12 clang-tidy-14 --quiet --warnings-as-errors='*' 2>/dev/null
}

cppcheck_all() {
    own | grep '\.c$' | xargs cppcheck -q --std=c11 --enable=warning,portability --inline-suppr \
        --suppress=missingIncludeSystem --suppress=nullPointerOutOfMemory \
        --error-exitcode=1 -I. -j2
}

shell_scripts() {
    git ls-files '*.sh' .ci/run | xargs shellcheck
}

check "dependencies between folders" include_direction
check "libevent is seen by base and control alone" library_seen_by 'event2?/|event\.h' '^(base/loop|control/)'
check "OpenSSL is seen by transport, auth and control" library_seen_by 'openssl/' \
    '^(proxy/(transport|tls)|auth/|control/)'
check "libcurl is seen by auth and control" library_seen_by 'curl/' '^(auth|control)/'
check "SQLite is seen by the store alone" library_seen_by 'sqlite3' '^auth/store'
check "banned functions" banned_functions
check "nothing is left undone" no_leftovers
check "layout" layout
check "shellcheck" shell_scripts
check "docker: hadolint, compose, configuration" scripts/check-docker.sh
check "docs: configuration.md is the reference" scripts/check-docs.sh reference
check "docs: limits.md is true" scripts/check-limits.sh
check "docs: links, files, tests and metrics are there" scripts/check-docs.sh links tests metrics
check "docs: the README's configuration is good" scripts/check-docs.sh example
check "systemd unit: hardened" scripts/check-docs.sh unit
check "cppcheck" cppcheck_all
check "clang-tidy" tidy

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
