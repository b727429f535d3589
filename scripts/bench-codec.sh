#!/bin/sh
# The codec beside librdkafka's and Kafka's own, on the same messages: fetches and builds what is
# missing, measures (about three minutes) and prints Markdown. The machine should have nothing
# else to do. docs/performance.md tells how to read it.
#
#   B=DIRECTORY   the build tree (build/release)
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
B=${B:-$here/build/release}
case $B in /*) ;; *) B=$PWD/$B ;; esac
"$here/scripts/install.sh" run build check >&2
"$here/scripts/fetch-parts.sh" bench >&2
cache=${SLUICE_CACHE:-$HOME/.cache/sluice}
jars=$cache/kafka/libs rdkafka=$cache/librdkafka
make -C "$here" -s -j2 VARIANT=release "B=$B" "$B/bench-codec" >&2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
javac -cp "$jars/*" -d "$work" "$here/bench/codec/Cases.java"
gcc -O2 -I"$rdkafka" -I"$rdkafka/src" -o "$work/rdkafka" "$here/bench/codec/rdkafka.c" \
    "$rdkafka/src/librdkafka.a" -lm -ldl -lpthread
mkdir "$work/cases"
java -cp "$jars/*:$work" Cases write "$work/cases"
# In turns, and the best round of each counts: a neighbour on the machine disturbs all alike.
for _ in 1 2; do
    "$B/bench-codec" "$work/cases"
    "$work/rdkafka" "$work/cases"
    java -XX:+UseSerialGC -cp "$jars/*:$work" Cases read "$work/cases"
done >"$work/times"
python3 "$here/bench/codec/report.py" <"$work/times"
