#!/bin/sh
# `make showcase`: a provider's connector and two consumers', Apache Kafka, and sluice between them, on
# this machine; two use cases are played through the connectors' management APIs. Stays up until
# Ctrl-C, so that a person can click the same steps; SHOWCASE_ONCE=1 ends after the story.
#
# usage: scripts/showcase.sh      B: where the binaries are (build/release)
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
"$here/scripts/fetch-parts.sh" edc
cache=${SLUICE_CACHE:-$HOME/.cache/sluice}
SLUICE_BUILD=${B:-$here/build/release} PYTHONDONTWRITEBYTECODE=1 \
    exec "$cache/venv/bin/python" "$here/tests/edc/showcase.py"
