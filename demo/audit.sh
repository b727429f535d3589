#!/bin/sh
# Shortens the audit's JSON lines (standard input) to what a person wants to see of each.
exec jq -Rr --unbuffered 'fromjson? |
    [.. | strings] as $all | $all | join("  ")'
