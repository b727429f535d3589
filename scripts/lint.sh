#!/bin/bash
# Looks at the sources without running them. Each look is one check; ends with "N passed, N failed".
# A finding is printed with its place.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

passed=0
failed=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
cache=${SLUICE_CACHE:-$HOME/.cache/sluice}/lint
export clean_files=$cache/clean
mkdir -p "$clean_files" "$cache/cppcheck"
find "$cache" -type f -mtime +30 -delete

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

# The configuration checks ask the gate itself, and the compilers' flags name a generated header.
make -s -j"$(nproc)" all || exit

sources() { git ls-files '*.c' '*.h'; }
gate() { git ls-files 'base/*.[ch]' 'codec/*.[ch]' 'config/*.[ch]' 'auth/*.[ch]' 'audit/*.[ch]' \
    'proxy/*.[ch]' 'control/*.[ch]' 'edc/*.[ch]' main.c run.c run.h view.c view.h; }
own() { gate && git ls-files 'demo/*.[ch]'; }
units() { own | grep '\.c$'; }

# Dependencies run one way: base <- codec, config <- auth, audit <- proxy <- control <- edc <- main,
# run.
# What a demonstration shares with the gate is base.
include_direction() {
    local bad=0
    forbid() { # FOLDER PATTERN
        if git ls-files "$1/*.[ch]" | xargs grep -nE "#include \"($2)(/|\.h)"; then
            printf '%s must not include %s\n' "$1" "$2"
            bad=1
        fi
    }
    forbid base 'codec|config|auth|audit|proxy|control|edc|run'
    forbid codec 'config|auth|audit|proxy|control|edc|run'
    forbid config 'codec|auth|audit|proxy|control|edc|run'
    forbid auth 'codec|audit|proxy|control|edc|run'
    forbid audit 'codec|auth|proxy|control|edc|run'
    forbid proxy 'control|edc|run'
    forbid control 'edc|run'
    forbid edc 'run'
    forbid demo 'codec|config|auth|audit|proxy|control|edc|run'
    return $bad
}

# Who may see which library.
library_seen_by() { # HEADER-PATTERN FILE-PATTERN
    ! gate | grep -vE "$2" | xargs grep -nE "#include <($1)"
}

# Without a bound, with a hidden state, or with errors that cannot be told.
banned_functions() {
    ! own | xargs grep -nE '\b(strcpy|strcat|strncpy|strncat|sprintf|vsprintf|gets|sscanf|strtok|'`
        `'alloca|atoi|atol|atoll|atof|rand|srand|system|popen|tmpnam|tempnam|mktemp|gmtime|'`
        `'localtime|ctime|asctime|setjmp|longjmp|gethostbyname|inet_ntoa|inet_addr)\s*\('
}

# base/alloc can be made to fail, so that tests walk the paths of running out of memory; auth/memory
# stands in for two libraries' allocators.
allocation() {
    ! gate | grep -E '^(base|auth|audit|proxy)/' | grep -vE '^(base/alloc|auth/memory)' |
        xargs grep -nE '(^|[^_a-z])(malloc|calloc|realloc|strdup)\s*\('
}

# Whatever way a right comes or goes, it is told to the audit trail and answered alike.
one_door() {
    ! gate | grep -vE '^(auth/store|control/change\.c$)' |
        xargs grep -nE '\bstore_(grant|ungrant|revoke)\s*\('
}

no_leftovers() { ! own | xargs grep -nE 'TODO|FIXME|XXX|HACK'; }

layout() { sources | xargs clang-format-14 --dry-run -Werror; }

# One file a call: in version 14 the va_list checks are wrong from the second file on. A third of the
# analyzer's usual budget for a function is half the time; of the findings here it loses none.
tidy() {
    local flags
    flags=$(make -s flags) || return
    export -f tidy_file
    # shellcheck disable=SC2016,SC2086 # expanded by the inner shell; a list of flags
    units | xargs -P "$(nproc)" -I{} bash -c 'tidy_file "$@"' tidy {} $flags \
        -Xclang -analyzer-config -Xclang max-nodes=75000
}

# What was found clean is not looked at again until the file, a header that it sees, the checks or
# the tool are others.
tidy_file() { # FILE FLAG...
    local file=$1 clean
    shift
    clean=$clean_files/$({
        clang-tidy-14 --version
        cat .clang-tidy
        echo "$file" "$@"
        clang-14 -M "$@" "$file" | sed 's/^[^:]*://; s/\\$//' | xargs cat
    } | sha256sum | cut -d' ' -f1)
    [ ! -e "$clean" ] || return 0
    clang-tidy-14 --quiet "$file" -- "$@" 2>&1 | sed -E '/^[0-9]+ warnings? (generated|treated)/d'
    [ "${PIPESTATUS[0]}" = 0 ] && : >"$clean"
}

# autoVariables: transport.c points to a local of the turn that is running, and takes that back.
# nullPointerRedundantCheck: a leg is compared with one that may be NULL, and so taken to be NULL.
cppcheck_all() {
    units | xargs cppcheck -q --std=c11 --cppcheck-build-dir="$cache/cppcheck" --enable=warning,portability --inline-suppr \
        --suppress=missingIncludeSystem --suppress=nullPointerOutOfMemory \
        --suppress=autoVariables:proxy/transport.c \
        --suppress=nullPointerRedundantCheck:proxy/fetch.c \
        --error-exitcode=1 -I. -Ibuild/release/gen -D_GNU_SOURCE -j"$(nproc)"
}

shell_scripts() {
    git ls-files '*.sh' .ci/run | xargs shellcheck
}

check "dependencies between folders" include_direction
check "libevent is seen by base/loop and control alone" library_seen_by \
    'event2?/|event\.h' '^(base/loop|control/)'
check "OpenSSL is seen by proxy/tls, auth and control alone" library_seen_by 'openssl/' \
    '^(proxy/tls|auth/|control/)'
check "libcurl is seen by auth, control and main alone" library_seen_by 'curl/' \
    '^(auth/|control/|main\.c)'
check "SQLite is seen by the store alone" library_seen_by 'sqlite3' '^auth/store'
check "libyaml is seen by config/yaml alone" library_seen_by 'yaml' '^config/yaml'
check "libjwt is seen by auth/jwt_veto alone" library_seen_by 'jwt' '^auth/jwt_veto'
check "PCRE2 is seen by proxy/regex alone" library_seen_by 'pcre2' '^proxy/regex'
check "jansson is seen by codec/json, config, auth, control, edc, proxy/gate and view alone" \
    library_seen_by 'jansson' '^(codec/json|config/|auth/|control/|edc/|proxy/gate|view\.)'
check "allocation can be made to fail" allocation
check "banned functions" banned_functions
check "every way in ends in control/change" one_door
check "nothing is left undone" no_leftovers
check "layout" layout
check "shellcheck" shell_scripts
check "docker: hadolint, compose, configuration" scripts/check-docker.sh
check "docs: configuration.md is the reference" scripts/check-docs.sh reference
check "docs: limits.md is true" scripts/check-limits.sh
check "mutations: every check is where the table says" scripts/mutate.py --check
check "docs: links, files, tests and metrics are there" scripts/check-docs.sh links tests metrics
check "docs: the README's configuration is good" scripts/check-docs.sh example
check "systemd unit: hardened" scripts/check-docs.sh unit
check "cppcheck" cppcheck_all
check "clang-tidy" tidy

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
