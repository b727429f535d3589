#!/bin/bash
# Asks the gate's control listener whether it is alive: exit 0 when /healthz answers 200. Needs
# nothing but bash, so the image has no HTTP client. PATH may be /readyz, for an orchestrator that
# wants to know whether clients can be served.
#
# usage: healthcheck.sh [PATH [HOST PORT]]      (default: /healthz 127.0.0.1 9090)
set -u

path=${1:-/healthz}
host=${2:-127.0.0.1}
port=${3:-9090}

{ exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null || exit 1
printf 'GET %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n' "$path" "$host" "$port" >&3
IFS=' ' read -r -t 2 _ status _ <&3 || exit 1
[ "$status" = 200 ]
