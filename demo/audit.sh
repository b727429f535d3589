#!/bin/sh
# Shortens the audit's JSON lines (standard input) to what a person wants to see of each: time,
# event, session, whose, what, why, how much. Whatever could play tricks with a terminal becomes "?".
exec jq -Rr --unbuffered '
def pad(n): . + " " * ([n - length, 0] | max);
fromjson? | objects |
[ (.time / 1000 | strftime("%H:%M:%S")) + ("\(.time % 1000 + 1000)" | ".\(.[1:])"),
  (.metadata.event_code // .class_name | pad(10)),
  ("#\(.actor.session.uid // "-")" | pad(4)),
  (.unmapped.transfer // .actor.user.uid // .user.uid // "-" | pad(13)),
  .api.operation,
  (.resources[]? | "\(.type // "") \(.name // "")"),
  (.status_code | numbers | "error \(.)"),
  .status_detail,
  .src_endpoint.ip,
  .tls.version,
  (.count | numbers | tostring) + " " +
      ({revocation: "closed", close: "requests"}[.metadata.event_code // ""] // "times"),
  (.traffic | objects | "\(.bytes_in // 0) B in, \(.bytes_out // 0) B out")
] | map(select(. != null and . != "")) | join("  ") | sub(" +$"; "") |
gsub("[\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]"; "?")'
