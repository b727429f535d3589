#!/bin/bash
# shellcheck disable=SC2016  # backquotes are Markdown's here
#
# Holds words against the code. Each argument is one check; silent and exit 0 when it holds.
#
#   reference   docs/configuration.md is what `sluice check --reference` prints
#   example     the configuration in README.md and those in examples pass `sluice check`
#   links       every relative link, and every file of the repository that a page names, exists
#   metrics     docs/operations.md lists exactly the metrics that the code has
#   tests       every test that docs/threat-model.md names exists
#   unit        examples/sluice.service scores at most 1.5 in `systemd-analyze security`
#
# usage: scripts/check-docs.sh CHECK...      SLUICE=FILE: the gate (build/release/sluice)
set -euo pipefail
cd "$(dirname "$0")/.."

sluice=${SLUICE:-build/release/sluice}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pages() { git ls-files -co --exclude-standard '*.md'; }

reference() { "$sluice" check --reference | diff -u docs/configuration.md -; }

example() {
    docker/certificates.sh "$work/pki" >/dev/null
    awk '/^```yaml/ { on = 1; next } /^```/ { on = 0 } on' README.md >"$work/example"
    [ -s "$work/example" ]
    # What else the files name: a key to sign with, and secrets.
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/pki/signing.pem" \
        2>/dev/null
    cp -R examples/grants.d "$work/pki/"
    local file secret bad=0
    for file in "$work/example" examples/*.yaml; do
        while read -r secret; do
            (umask 077 && openssl rand -hex 16 >"$work/pki/$secret")
        done < <(grep -oE '_file: /etc/sluice/[a-z-]+' "$file" | sed 's#.*/##')
        sed -e "s#/etc/sluice/#$work/pki/#" -e "s#/var/l[a-z]*/sluice/#$work/#" "$file" \
            >"$work/sluice.yaml"
        "$sluice" check -c "$work/sluice.yaml" || {
            printf '%s: not good\n' "$file"
            bad=1
        }
    done
    return $bad
}

links() {
    local bad=0 page target
    while IFS=$'\t' read -r page target; do
        target=${target%%#*}
        [ -z "$target" ] || [ -e "$(dirname "$page")/$target" ] || {
            printf '%s: no %s\n' "$page" "$target"
            bad=1
        }
    done < <(pages | while read -r page; do
        { grep -oE '\]\([^)]+\)' "$page" || true; } | sed 's/^](//; s/)$//' |
            { grep -vE '^[a-z]+:' || true; } | sed "s#^#$page\t#"
    done)
    # `proxy/fetch.c`, `scripts/check.sh` and the like; a `{a,b}` is not looked into.
    while IFS=: read -r page target; do
        target=${target//\`/}
        compgen -G "$target" >/dev/null || {
            printf '%s: no %s\n' "$page" "$target"
            bad=1
        }
    done < <(pages | xargs grep -oHE \
        '`(base|codec|config|auth|audit|proxy|control|edc|demo|docker|docs|examples|fuzz|scripts|tests)/[A-Za-z0-9_./*-]+`')
    return $bad
}

metrics() {
    grep -ohE '"sluice_[a-z_]+"' run.c view.c control/*.c edc/*.c | tr -d '"' | sort -u >"$work/code"
    grep -oE '`sluice_[a-z_]+`' docs/operations.md | tr -d '`' | sort -u >"$work/page"
    diff -u "$work/code" "$work/page"
}

# `test_tokens.py::test_refused` of tests/e2e, `tests/unit/test_jwt.c` by the check of links.
tests() {
    local bad=0 file name
    while IFS=: read -r file _ name; do
        grep -qE "^def $name\(" "tests/e2e/$file" || {
            printf 'docs/threat-model.md: no %s in %s\n' "$name" "$file"
            bad=1
        }
    done < <(grep -oE '`test_[a-z_0-9]+\.py::test_[a-z_0-9]+`' docs/threat-model.md | tr -d '`')
    return $bad
}

unit() {
    cp examples/sluice.service "$work/"
    sed -i 's#^\(Exec[A-Za-z]*\)=[^ ]*#\1=/bin/true#' "$work/sluice.service"
    systemd-analyze security --offline=yes --threshold=15 "$work/sluice.service" >"$work/score" || {
        tail -n 1 "$work/score"
        return 1
    }
}

for name in "$@"; do
    case $name in
    reference | example | links | metrics | tests | unit) "$name" ;;
    *)
        echo "scripts/check-docs.sh: no check '$name'" >&2
        exit 2
        ;;
    esac
done
