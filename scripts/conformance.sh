#!/bin/bash
# Holds the codec against Apache Kafka's own classes and definitions:
#   the schema against the definitions in the jars, with tests/conformance/differences.txt, and
#   each property of each field doctored, to see that this is noticed (five seconds);
#   messages, headers and refusals of every API and version, as Kafka writes them;
#   what the gate has edited, read and written again by Kafka.
# Ends with a line that counts.
#   usage: conformance.sh DIRECTORY [SEED]
# DIRECTORY holds the programs conform and conform-gate. CONFORMANCE_ROUNDS is how many messages of
# each kind and version (200). The jars come from Maven Central, once, into ~/.cache/sluice.
set -euo pipefail

programs=$1
seed=${2:-$(date +%-j)}
rounds=${CONFORMANCE_ROUNDS:-200}
jars=${SLUICE_CACHE:-$HOME/.cache/sluice}/kafka-clients
here=$(cd "$(dirname "$0")/../tests/conformance" && pwd)
# The release that everything is held against, and those with versions that it does not have.
release=4.3.1
others="3.9.1 4.4.0"

for tool in java javac mvn; do
    if ! command -v "$tool" >/dev/null; then
        echo "conformance: $tool is missing (Debian: default-jdk-headless, maven)" >&2
        exit 1
    fi
done

fetch() { "$(dirname "$0")/maven-jar.sh" "$1" "$jars/$2" >/dev/null; } # ARTIFACT DIRECTORY
for r in $release $others; do fetch "org.apache.kafka:kafka-clients:$r" "$r"; done
for artifact in org.slf4j:slf4j-api:1.7.36 org.slf4j:slf4j-nop:1.7.36 \
    com.fasterxml.jackson.core:jackson-core:2.17.3 \
    com.fasterxml.jackson.core:jackson-annotations:2.17.3 \
    com.fasterxml.jackson.core:jackson-databind:2.17.3; do
    fetch "$artifact" libs
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
javac --release 17 -Xlint:all,-processing -Werror -cp "$jars/libs/*:$jars/$release/*" \
    -d "$work" "$here"/*.java
jar_of() { echo "$jars/$1/kafka-clients-$1.jar"; }
run() { # RELEASE CLASS ARGUMENT...
    java -XX:+UseSerialGC -cp "$jars/libs/*:$(jar_of "$1"):$work" "${@:2}"
}

passed=0
failed=0
# Runs a part, shows what it says, and adds its last line "N passed, N failed" to the sum. One that
# fails without counting a failure counts as one.
part() { # COMMAND...
    local status=0 line p=0 f=0
    "$@" >"$work/log" 2>&1 || status=$?
    cat "$work/log"
    line=$(grep -oE '[0-9]+ passed, [0-9]+ failed' "$work/log" | tail -n 1) || true
    read -r p _ f _ <<<"${line:-0 passed, 0 failed}"
    if [ "$status" != 0 ] && [ "$f" = 0 ]; then f=1; fi
    passed=$((passed + p))
    failed=$((failed + f))
}

definitions() { # Compare, or Doctored: can it fail?
    "$programs/conform" schema >"$work/schema"
    run "$release" "$1" "$work/schema" "$here/differences.txt" \
        "$(jar_of 3.9.1)" "$(jar_of 4.3.1)" "$(jar_of 4.4.0)"
}

messages() { # RELEASE REFUSED OTHER-JAR...
    run "$1" Generate "$seed" "$rounds" "$1" "$(jar_of "$1")" "$here/differences.txt" "${@:2}" |
        "$programs/conform" messages
}

# What the gate writes: most of its time it waits, so it does that beside the rest.
gate() { "$programs/conform-gate" "$work/edited" "$seed" $((rounds / 10 + 5)); }

edited() { # RELEASE OTHER-JAR...
    run "$1" Reread "$work/edited" "$(jar_of "$1")" "${@:2}"
}

echo "conformance: seed $seed, $rounds messages of each kind and version"
gate >"$work/gate" 2>&1 &
gate=$!
part definitions Compare
part definitions Doctored
refused=$("$programs/conform" refused)
part messages "$release" "$refused"
for r in $others; do part messages "$r" - "$(jar_of "$release")"; done
if ! wait "$gate"; then
    cat "$work/gate"
    failed=$((failed + 1))
fi
tail -n 1 "$work/gate"
part edited "$release"
part edited 4.4.0 "$(jar_of "$release")"
echo "conformance: $passed passed, $failed failed"
[ "$failed" = 0 ]
