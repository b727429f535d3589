#!/bin/bash
# Installs what is missing from Debian's packages, saying what and why, one line each. Quick and
# silent but for one line when nothing is. Asks no questions.
#
# usage: scripts/install.sh [--dry-run] [run|build|demo|check]...      (default: run build)
set -euo pipefail

# group, package or package=command (which anything may have brought), why
table() {
    cat <<'END'
run   libevent-2.1-7              event loop
run   libevent-openssl-2.1-7      TLS of the control listener
run   libevent-pthreads-2.1-7     event loops in several threads
run   libssl3                     TLS and signatures
run   libjwt0                     second opinion on tokens
run   libjansson4                 JSON
run   libcurl4                    key sets and tokens from the identity provider
run   libyaml-0-2                 the configuration file
run   libsqlite3-0                durable grants and revocations
run   libpcre2-8-0                a subscription's regular expression, with limits
run   ca-certificates             trust in the identity provider's certificate
build gcc=gcc                     compiles
build libc6-dev                   headers of the C library
build make=make                   the one way to do each thing
build pkg-config=pkg-config       finds the libraries below
build libevent-dev                event loop
build libssl-dev                  TLS and signatures
build libjwt-dev                  second opinion on tokens
build libjansson-dev              JSON
build libcurl4-openssl-dev        HTTP client
build libyaml-dev                 the configuration file
build libsqlite3-dev              durable grants and revocations
build libpcre2-dev                regular expressions with limits
demo  librdkafka-dev              the embedded three-broker cluster, the producer, kcat's plugin
demo  kcat=kcat                   the consumer that knows nothing of the gate
demo  openssl=openssl             makes the demonstration's certificates
demo  curl=curl                   asks for tokens and sends revocations
demo  jq=jq                       shows the audit lines in short
check clang-14                    second compiler, fuzzers
check libclang-rt-14-dev          sanitizers and libFuzzer
check llvm-14                     names in sanitizer reports, coverage
check clang-tidy-14               lint
check clang-format-14             layout
check cppcheck=cppcheck           lint
check shellcheck=shellcheck       lint of the scripts
check git=git                     which files are ours to look at
check ccache=ccache               compiles nothing twice
check libcmocka-dev               unit tests
check systemd=systemd-analyze  scores the hardening of examples/sluice.service
check haproxy=haproxy             the benchmark's other side
check tcpdump=tcpdump             the judge of how fast revocations close
check openjdk-17-jdk-headless=javac runs Apache Kafka and its clients
check maven=mvn                   fetches Apache Kafka from Maven Central
check nodejs=node                 runs kafkajs
check npm=npm                     fetches kafkajs
check python3=python3             end-to-end tests
check python3-venv                keeps their packages apart
check python3-pip                 fetches a current librdkafka for them
END
}

say() { printf '%s\n' "$*"; }

dry_run=0
groups=()
for argument in "$@"; do
    case $argument in
    --dry-run) dry_run=1 ;;
    run | build | demo | check) groups+=("$argument") ;;
    *)
        say "usage: scripts/install.sh [--dry-run] [run|build|demo|check]..." >&2
        exit 2
        ;;
    esac
done
[ ${#groups[@]} -gt 0 ] || groups=(run build)

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "install: this is no Debian. What is needed, by its Debian names:" >&2
    table | while read -r group package why; do
        [[ " ${groups[*]} " != *" $group "* ]] || printf '  %-26s %s\n' "${package%%=*}" "$why" >&2
    done
    exit 1
fi

# Fails for packages that it has never heard of, which are simply not in its list.
installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' 2>/dev/null |
    awk '$2 == "installed" { print $1 }')

missing=()
while read -r group package why; do
    [[ " ${groups[*]} " == *" $group "* ]] || continue
    if [[ $package == *=* ]] && command -v "${package#*=}" >/dev/null; then
        continue
    fi
    package=${package%%=*}
    grep -qxF "$package" <<<"$installed" && continue
    missing+=("$package")
    printf 'install: missing %-24s %s\n' "$package" "$why"
done < <(table)

if [ ${#missing[@]} -eq 0 ]; then
    say "install: nothing is missing (${groups[*]})"
    exit 0
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        say "install: not root and no sudo. As root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
    [ -t 0 ] || as_root=(sudo -n)
fi

install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q
    --no-install-recommends "${missing[@]}")
say "install: ${install[*]}"
[ "$dry_run" = 0 ] || exit 0
"${as_root[@]}" apt-get update -q ||
    say "install: the package lists could not be renewed; trying with those at hand" >&2
"${install[@]}"
