#!/bin/sh
# Holds the codec against Apache Kafka's own classes: messages of every API and version, and the
# refusals of the gate's APIs. Ends with a line that counts.
#   usage: conformance.sh PROGRAM [SEED [MESSAGES]]
# PROGRAM is tests/conformance/conform.c, built. The jars come from Maven Central, once, into
# ~/.cache/sluice.
set -eu

program=$1
seed=${2:-$(date +%j)}
messages=${3:-10}
jars=${XDG_CACHE_HOME:-$HOME/.cache}/sluice/kafka-clients-4.3.1
here=$(dirname "$0")/../tests/conformance

for tool in java javac mvn; do
    if ! command -v "$tool" >/dev/null; then
        echo "conformance: $tool is missing (Debian: default-jdk-headless, maven)" >&2
        exit 1
    fi
done

mkdir -p "$jars"
for artifact in org.apache.kafka:kafka-clients:4.3.1 org.slf4j:slf4j-api:1.7.36 \
    com.fasterxml.jackson.core:jackson-core:2.17.3 \
    com.fasterxml.jackson.core:jackson-annotations:2.17.3 \
    com.fasterxml.jackson.core:jackson-databind:2.17.3; do
    file=$(echo "$artifact" | cut -d: -f2,3 | tr : -).jar
    [ -s "$jars/$file" ] ||
        mvn -q -B -Dstyle.color=never org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
            -Dartifact="$artifact" -DoutputDirectory="$jars"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
javac -cp "$jars/*" -d "$work" "$here/Generate.java"
echo "conformance: seed $seed, $messages messages of each kind and version"
# In a file first: a pipe would hide it when the generator fails.
java -cp "$jars/*:$work" Generate "$seed" "$messages" >"$work/cases" 2>"$work/log" || {
    cat "$work/log" >&2
    exit 1
}
"$program" <"$work/cases"
