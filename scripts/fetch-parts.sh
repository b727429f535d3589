#!/bin/sh
# Installs what the end-to-end tests run against: Apache Kafka and its tools, an older Java client,
# Python and Node clients, and our own Java test programs, compiled; for `edc` also two versions of
# a connector's control plane and Keycloak, built for its quick start; for `bench` librdkafka's
# source, as an npm package bundles it, compiled. Everything lands under
# ~/.cache/sluice (or $SLUICE_CACHE), each part in a directory named after the content of what
# describes it, so that a second run does nothing and a changed version never meets old files.
#
# usage: scripts/fetch-parts.sh [--check] [edc] [bench]
#   --check: install nothing, fail if a part is missing
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
e2e=$here/tests/e2e
edc=$here/tests/edc
cache=${SLUICE_CACHE:-$HOME/.cache/sluice}
only_check='' with_edc='' with_bench=''
for word in "$@"; do
    case $word in
    --check) only_check=--check ;;
    edc) with_edc=yes ;;
    bench) with_bench=yes ;;
    *)
        echo "usage: scripts/fetch-parts.sh [--check] [edc] [bench]" >&2
        exit 2
        ;;
    esac
done
mkdir -p "$cache"

say() { printf '%s\n' "$*" >&2; }

# Debian's part: Java, Maven, Node, Python, kcat, openssl.
[ "$only_check" = --check ] || "$here/scripts/install.sh" demo check >&2

# key FILE...: a short name for the content of files
key() { cat "$@" | sha256sum | cut -c1-16; }

# key_of TEXT FILE...: the same, with a text before it
key_of() { { printf '%s\n' "$1" && shift && cat "$@"; } | sha256sum | cut -c1-16; }

# install NAME KEY COMMAND...: runs COMMAND with a fresh directory as its last argument and keeps
# that directory as $cache/NAME-KEY only if COMMAND succeeded; $cache/NAME points to it.
install() {
    name=$1 dir=$cache/$1-$2
    shift 2
    if [ ! -e "$dir/.complete" ]; then
        if [ "$only_check" = --check ]; then
            say "missing: $dir"
            exit 1
        fi
        say "fetching $name"
        rm -rf "$dir"
        mkdir -p "$dir"
        if ! "$@" "$dir"; then
            rm -rf "$dir"
            say "could not install $name"
            exit 1
        fi
        : >"$dir/.complete"
    fi
    ln -sfn "$dir" "$cache/$name"
}

maven_jars() { # pom directory
    mvn -B -q -f "$1" dependency:copy-dependencies -DincludeScope=runtime \
        "-DoutputDirectory=$2/libs" >&2
}

connector_jars() { # version directory
    mvn -B -q -f "$edc/connector/pom.xml" "-Dedc.version=$1" dependency:copy-dependencies \
        -DincludeScope=runtime "-DoutputDirectory=$2/libs" >&2
}

keycloak_built() { # directory; its database is in memory, so nothing is written there later
    mvn -B -q -f "$edc/keycloak/pom.xml" dependency:unpack-dependencies \
        "-DoutputDirectory=$1" "-DmarkersDirectory=$1/.unpacked" >&2 || return 1
    mv "$1"/keycloak-*/* "$1/" && rmdir "$1"/keycloak-*/ || return 1
    "$1/bin/kc.sh" build --db=dev-mem --features=ssf >"$1/build.log" 2>&1 && return 0
    tail -n 20 "$1/build.log" >&2
    return 1
}

python_venv() { # requirements directory
    python3 -m venv "$2" && "$2/bin/pip" install -q --no-input --disable-pip-version-check \
        -r "$1" >&2
}

node_modules() { # directory-of-package.json directory
    cp "$1/package.json" "$1/package-lock.json" "$2/" &&
        (cd "$2" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2)
}

java_classes() { # source-directory directory; compiled against the older client, runs on both
    javac --release 17 -Xlint:all,-processing -Werror -cp "$cache/kafka-clients39/libs/*" -d "$2" \
        "$1"/*.java >&2
}

librdkafka_built() { # package@version sha256 directory; without what reading messages does not need
    (
        cd "$3" && npm pack -s "$1" >/dev/null && echo "$2  $(ls ./*.tgz)" | sha256sum -c --quiet &&
            tar xzf ./*.tgz --strip-components=3 package/deps/librdkafka && rm ./*.tgz &&
            ./configure --disable-ssl --disable-gssapi --disable-zstd --disable-zlib \
                --disable-lz4-ext --disable-curl --disable-syslog >build.log 2>&1 &&
            make -s -j"$(nproc)" -C src librdkafka.a >>build.log 2>&1
    ) >&2
}

python_key=$( (cat "$e2e/requirements.txt"; python3 -V) | sha256sum | cut -c1-16)
install kafka "$(key "$e2e/kafka/pom.xml")" maven_jars "$e2e/kafka/pom.xml"
install kafka-clients39 "$(key "$e2e/kafka/clients39/pom.xml")" \
    maven_jars "$e2e/kafka/clients39/pom.xml"
install venv "$python_key" python_venv "$e2e/requirements.txt"
install node "$(key "$e2e/node/package.json" "$e2e/node/package-lock.json")" \
    node_modules "$e2e/node"
install java "$(key "$e2e/kafka/clients39/pom.xml" "$e2e"/java/*.java)" java_classes "$e2e/java"

if [ -n "$with_bench" ]; then
    librdkafka=@confluentinc/kafka-javascript@1.10.1
    sha256=ada7d703bb1d3237e2292bfabf438d663b6160c9f1ac2a2406b5dc4257c81b66
    install librdkafka "$(key_of "$librdkafka $sha256" /dev/null)" \
        librdkafka_built "$librdkafka" "$sha256"
fi

[ -n "$with_edc" ] || exit 0
for version in 0.15.1 0.14.0; do
    install "connector-$version" "$(key_of "$version" "$edc/connector/pom.xml")" \
        connector_jars "$version"
done
install keycloak "$(key "$edc/keycloak/pom.xml")" keycloak_built
