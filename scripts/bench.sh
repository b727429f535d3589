#!/bin/sh
# sluice beside HAProxy, before the same real brokers, in one run: builds the release, fetches the
# parts that are missing, measures (about five minutes) and prints Markdown. The machine should have
# nothing else to do. Keeps no verdict: docs/performance.md tells how to read it.
#
# usage: scripts/bench.sh [--rounds N] [--only fetch,request,handshake,idle,consumer] [--keep]
#   B=DIRECTORY   the build tree (build/release)
#   BENCH=revoke.py   how fast revocations close instead (as root)
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
B=${B:-$here/build/release}
case $B in /*) ;; *) B=$PWD/$B ;; esac
"$here/scripts/install.sh" run build check >&2
"$here/scripts/fetch-parts.sh" >&2
make -C "$here" -s -j2 VARIANT=release "B=$B" "$B/sluice" "$B/bench-load" >&2
cd "$here/bench"
SLUICE_BUILD=$B PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    exec "${SLUICE_CACHE:-$HOME/.cache/sluice}/venv/bin/python" "${BENCH:-bench.py}" "$@"
