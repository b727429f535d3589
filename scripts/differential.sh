#!/bin/sh
# Our decoder against Apache Kafka's own classes, FRAMES frames from SEED (fuzz/differential.c says
# how). The same seed makes the same frames. Ends with "N passed, N failed".
#   usage: differential.sh PROGRAM [FRAMES [SEED]]
# The jar comes from Maven Central, once, into ~/.cache/sluice.
set -eu

program=$1
frames=${2:-100000}
seed=${3:-1}
here=$(cd "$(dirname "$0")/.." && pwd)
jars=${SLUICE_CACHE:-$HOME/.cache/sluice}/kafka-clients

kafka=$("$here/scripts/maven-jar.sh" org.apache.kafka:kafka-clients:4.3.1 "$jars/4.3.1")
log=$("$here/scripts/maven-jar.sh" org.slf4j:slf4j-api:1.7.36 "$jars/libs")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
javac --release 17 -Xlint:all -Werror -cp "$kafka:$log" -d "$work" "$here/fuzz/Judge.java"
# Exceptions are the rule here, and nobody looks at where they come from.
"$program" "$seed" "$frames" "$here/fuzz/corpus/walk" "$here/fuzz/corpus/msg" -- \
    java -XX:-StackTraceInThrowable -XX:+UseSerialGC -Xmx512m -cp "$kafka:$log:$work" Judge
