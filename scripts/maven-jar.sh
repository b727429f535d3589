#!/bin/sh
# Fetches one jar from Maven Central, unless it is there, and prints its path.
#   usage: maven-jar.sh GROUP:NAME:VERSION DIRECTORY
set -eu

file=$2/$(echo "$1" | cut -d: -f2,3 | tr : -).jar
if [ ! -s "$file" ]; then
    mkdir -p "$2"
    mvn -q -B -Dstyle.color=never org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
        -Dartifact="$1" -DoutputDirectory="$2" >&2
fi
echo "$file"
