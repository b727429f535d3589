#!/bin/bash
# The whole story on one machine: brokers, an authorization server, a producer, the gate before
# them, and partners who read, are refused, and are cut off. Each step says what it does and checks
# that it happened. Stays up until Ctrl-C; DEMO_ONCE=1 ends after the story. Exit 0 only when every
# step did what it says.
#
# B: where the binaries are (build/release). DEMO_KEEP=1: leave logs, tokens and audit behind.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
B=${B:-$here/build/release}
once=${DEMO_ONCE:-0}
umask 077
dir=$(mktemp -d "${TMPDIR:-/tmp}/sluice-demo.XXXXXX")
pids=()
told=0
keep=${DEMO_KEEP:-}
# Nothing here speaks to anything but loopback.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy

# --- telling

bold='' green='' red='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi

step() {
    told=$((told + 1))
    printf '\n%s%2d. %s%s\n' "$bold" "$told" "$*" "$plain"
}
note() { printf '    %s\n' "$*"; }
fine() { printf '    %sok%s  %s\n' "$green" "$plain" "$*"; }
failed() {
    printf '    %sFAILED%s  %s\n' "$red" "$plain" "$*" >&2
    keep=1
    local log
    for log in "$dir"/*.log; do
        [ -s "$log" ] || continue
        printf '\n--- end of %s\n' "$log" >&2
        tail -n 15 "$log" >&2
    done
    exit 1
}

# --- processes: ours alone, each by its id

# In sessions of their own: a Ctrl-C reaches this script, which then ends them in order. Should it be
# killed outright, they end with it.
start() { # NAME COMMAND...
    local name=$1
    shift
    setpriv --pdeathsig TERM setsid "$@" >"$dir/$name.log" 2>&1 </dev/null &
    pids+=($!)
    last_pid=$!
}

stop() { # PID
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
    local left=() pid
    for pid in "${pids[@]}"; do
        [ "$pid" = "$1" ] || left+=("$pid")
    done
    pids=(${left[@]+"${left[@]}"})
}

# shellcheck disable=SC2317  # called by the trap
finish() {
    local code=$? pid i
    trap '' INT TERM HUP EXIT ERR
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2>/dev/null || true
    done
    for pid in ${pids[@]+"${pids[@]}"}; do
        for _ in {1..50}; do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [ -n "$keep" ]; then
        printf '\nLogs, configuration and audit: %s\n' "$dir"
    else
        rm -rf "$dir"
    fi
    exit "$code"
}
trap finish EXIT
trap 'failed "line $LINENO: $BASH_COMMAND"' ERR
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

within() { # SECONDS COMMAND...: until it succeeds, or what was started last has ended
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -le "$end" ] || return 1
        if ! kill -0 "$last_pid" 2>/dev/null; then
            "$@" >/dev/null 2>&1
            return
        fi
        sleep 0.1
    done
}

free_port() { # WANTED: that one, or any other that nobody listens on
    local port=$1
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        port=$((31000 + RANDOM % 1700)) # below the ephemeral ones, above those of tests
    done
    echo "$port"
}

# --- what a partner does

partner_kcat() { # PARTNER ARGUMENTS...: an unmodified kcat with that partner's token
    local who=$1
    shift
    timeout 30 env SLUICE_TOKEN_FILE="$dir/$who.token" kcat -F "$dir/kcat.conf" "$@"
}

token_fetch() { # PARTNER: as any OAuth client would
    curl -fsS --max-time 10 -o "$dir/answer.json" "$token_endpoint" \
        -d grant_type=client_credentials -d "client_id=$1" \
        --data-urlencode "client_secret=$(<"$dir/$1.secret")" &&
        jq -er .access_token "$dir/answer.json" >"$dir/$1.token"
}

token_forge() { # NAME HOW CLAIMS: bob's token, but wrong in the way that two JSON objects say
    jq -cn --argjson how "$2" --argjson claims "$3" \
        '{claims: ({sub: "partner-bob", transfer: "transfer-4711"} + $claims)} + $how' |
        curl -fsS --max-time 10 "$issuer/admin/sign" -d @- | jq -er .access_token >"$dir/$1.token"
}

probe() { # TOKEN ARGUMENTS...
    local who=$1
    shift
    "$B/demo-probe" --gate "localhost:$port" --ca "$dir/ca.pem" --token-file "$dir/$who.token" "$@"
}

login_refused() { # TOKEN WHAT
    local code=0
    probe "$1" >"$dir/probe.txt" 2>"$dir/probe.log" || code=$?
    [ "$code" = 3 ] || failed "$2: not refused ($code)"
    fine "$2: $(value status "$dir/probe.txt"), error $(value error "$dir/probe.txt")"
}

value() { # NAME FILE: of a name=value line
    sed -n "s/^$1=//p" "$2" | head -n 1
}

# Runs kcat until it says PATTERN (it would try for ever), then ends it.
refused() { # PATTERN PARTNER ARGUMENTS...
    local pattern=$1 who=$2
    shift 2
    SLUICE_TOKEN_FILE=$dir/$who.token start refused kcat -F "$dir/kcat.conf" "$@"
    local pid=$last_pid
    within 15 grep -qiE "$pattern" "$dir/refused.log" ||
        failed "kcat was not told '$pattern'"
    grep -iE "$pattern" "$dir/refused.log" | head -n 1 |
        sed 's/^%[0-9]|.*\(SASL authentication\)/\1/; s/ (after .*//' >"$dir/said"
    stop "$pid"
    if grep -q catenaXId "$dir/refused.log"; then
        failed "kcat got records"
    fi
}

ms() { # MICROSECONDS
    printf '%d.%02d ms' $(($1 / 1000)) $(($1 % 1000 / 10))
}

# --- the story

printf '%ssluice: one endpoint before a Kafka cluster, shut the moment a token is revoked%s\n' \
    "$bold" "$plain"

step 'The provider: three Kafka brokers, which know nothing of partners, tokens or TLS'
start brokers "$B/demo-brokers" --topic serial-parts:6 --topic contract-prices:3 \
    --ready-file "$dir/bootstrap"
within 10 test -e "$dir/bootstrap" || failed 'the brokers do not start'
bootstrap=$(<"$dir/bootstrap")
fine "three brokers in one process (librdkafka's mock cluster): $bootstrap"

start producer "$B/demo-producer" --brokers "$bootstrap" --topic serial-parts --rate 50 \
    --ready-file "$dir/producing"
within 15 test -e "$dir/producing" || failed 'the producer does not reach the brokers'
for i in 1 2 3; do
    printf 'supplier-%d:{"price":%d}\n' "$i" $((i * 1000))
done | timeout 20 kcat -q -P -b "$bootstrap" -t contract-prices -K : >"$dir/prices.log" 2>&1 ||
    failed 'cannot write contract-prices'
fine "a producer writes 50 SerialPart events (CX-0127) a second to 'serial-parts', 6 partitions"
fine "a second topic, 'contract-prices', holds what no partner may see"

step 'An authorization server: OIDC discovery, a key set, client credentials; keys made just now'
clients='[]'
for partner in bob:4711 carol:4712 dave:4713; do
    name=${partner%:*}
    openssl rand -hex 16 >"$dir/$name.secret"
    clients=$(jq --arg id "$name" --arg transfer "transfer-${partner#*:}" \
        --rawfile secret "$dir/$name.secret" \
        '. + [{client_id: $id, client_secret: ($secret | rtrimstr("\n")),
               claims: {sub: ("partner-" + $id), transfer: $transfer}}]' <<<"$clients")
done
printf '%s\n' "$clients" >"$dir/clients.json"
start idp "$B/demo-idp" --listen 127.0.0.1:0 --clients "$dir/clients.json" \
    --ready-file "$dir/idp.json"
within 10 test -e "$dir/idp.json" || failed 'the authorization server does not start'
issuer=$(jq -er .issuer "$dir/idp.json")
token_endpoint=$(jq -er .token_endpoint "$dir/idp.json")
fine "$issuer issues tokens to bob, carol and dave, one transfer each"

step 'The gate: TLS and OAuth outside, the brokers inside'
port=$(free_port 9093)
control_port=$(free_port 9090)
new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl req -x509 "${new_key[@]}" -keyout "$dir/ca.key" -out "$dir/ca.pem" -days 7 \
    -subj '/CN=sluice demo CA' -addext 'keyUsage=critical,keyCertSign' 2>"$dir/openssl.log" ||
    failed 'no CA certificate'
openssl req "${new_key[@]}" -keyout "$dir/gate.key" -out "$dir/gate.csr" -subj '/CN=localhost' \
    2>>"$dir/openssl.log" || failed 'no certificate request'
printf '%s\n' 'subjectAltName=DNS:localhost,IP:127.0.0.1' 'extendedKeyUsage=serverAuth' \
    'basicConstraints=critical,CA:FALSE' >"$dir/gate.ext"
openssl x509 -req -in "$dir/gate.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
    -days 7 -extfile "$dir/gate.ext" -out "$dir/gate.pem" 2>>"$dir/openssl.log" ||
    failed 'no server certificate'
cat >"$dir/sluice.yaml" <<END
listen: 127.0.0.1:$port
advertise: localhost:$port
development: true # the demonstration's authorization server speaks plain HTTP
tls:
  certificate: gate.pem
  key: gate.key
issuers:
  - issuer: $issuer
    audience: sluice
    claims:
      transfer: transfer
upstream:
  brokers: [${bootstrap//,/, }]
grants:
$(for partner in bob:4711 carol:4712 dave:4713; do
    name=${partner%:*}
    cat <<GRANT
  - id: transfer-${partner#*:}
    principal: {issuer: "$issuer", subject: partner-$name}
    participant: did:web:$name
    topics: [serial-parts]
    group_prefix: $name
    operations: [read]
GRANT
done)
control:
  listen: 127.0.0.1:$control_port
store:
  path: sluice.db
audit:
  file: audit.jsonl
END
"$B/sluice" check -c "$dir/sluice.yaml" >"$dir/check.log" 2>&1 ||
    failed 'sluice check refuses the configuration'
start sluice "$B/sluice" run -c "$dir/sluice.yaml"
gate=$last_pid
control=http://127.0.0.1:$control_port
within 15 curl -fs --max-time 2 "$control/readyz" || failed 'the gate does not become ready'
fine "sluice listens on localhost:$port; bob may read 'serial-parts' with groups that begin 'bob'"
cat >"$dir/kcat.conf" <<END
bootstrap.servers=localhost:$port
security.protocol=SASL_SSL
ssl.ca.location=$dir/ca.pem
sasl.mechanisms=OAUTHBEARER
plugin.library.paths=$B/kcat-token.so
END
# The embedded brokers wait out every Fetch that finds nothing.
soon=(-X fetch.wait.max.ms=50)
for partner in bob carol dave; do
    token_fetch "$partner" || failed "no token for $partner"
done

step 'What bob sees of the cluster: one broker, one topic'
timeout 20 kcat -b "$bootstrap" -L >"$dir/direct.txt" 2>&1 || failed 'kcat -L without the gate'
partner_kcat bob -L -m 10 >"$dir/list.txt" 2>&1 || failed "kcat -L: $(tail -n 1 "$dir/list.txt")"
sed -n '/brokers:/,$p' "$dir/list.txt" | head -n 5 | sed 's/^/      /'
grep -q ' 1 brokers:' "$dir/list.txt" || failed 'more than one broker'
grep -q "broker 0 at localhost:$port" "$dir/list.txt" || failed 'not the virtual broker'
[ "$(grep -c '^ *topic ' "$dir/list.txt")" = 1 ] || failed 'more than one topic'
grep -q 'topic "serial-parts" with 6 partitions' "$dir/list.txt" || failed 'not the granted topic'
for address in ${bootstrap//,/ }; do
    if grep -q ":${address##*:}" "$dir/list.txt"; then
        failed "a broker's port shows"
    fi
done
fine "behind the gate are $(sed -n 's/^ *\([0-9]*\) brokers:.*/\1/p' "$dir/direct.txt") brokers" \
    "and $(grep -c '^ *topic ' "$dir/direct.txt") topics"

step 'bob reads through the gate, TLS and OAUTHBEARER, with an unmodified kcat'
partner_kcat bob "${soon[@]}" -G bob-app \
    -X auto.offset.reset=earliest -c 5 -u serial-parts >"$dir/group.txt" 2>"$dir/group.log" ||
    failed 'kcat reads nothing as group bob-app'
[ "$(grep -c '"catenaXId":"urn:uuid:' "$dir/group.txt")" = 5 ] || failed 'not five events'
jq -r '"      \(.catenaXId[9:22])...  \(.localIdentifiers[1].value)  " +
       .partTypeInformation.nameAtManufacturer' <"$dir/group.txt"
fine 'five events, as member of the group bob-app'
for p in 0 1 2; do
    timeout 20 kcat -q -b "$bootstrap" -C -t serial-parts -p "$p" -o 0 -c 20 -f '%o %k %s\n' \
        >"$dir/inside-$p.txt" 2>"$dir/compare.log" || failed 'cannot read the brokers'
    partner_kcat bob "${soon[@]}" -q -C -t serial-parts -p "$p" -o 0 -c 20 -f '%o %k %s\n' \
        >"$dir/outside-$p.txt" 2>"$dir/compare.log" || failed "cannot read partition $p"
    cmp -s "$dir/inside-$p.txt" "$dir/outside-$p.txt" || failed "partition $p differs"
done
fine 'sixty events from three brokers: byte for byte what the brokers hold'

step 'What bob is refused'
refused 'topic authorization failed' bob -C -t contract-prices -o beginning -e
fine "another topic: $(<"$dir/said")"
refused 'group authorization failed' bob -G alice-app serial-parts
fine "a foreign group: $(<"$dir/said")"
echo '{}' >"$dir/one.json"
refused 'topic authorization failed' bob -P -t serial-parts "$dir/one.json"
fine "writing through a read grant: $(<"$dir/said")"

step 'Tokens that are not good'
forge() { # NAME WHAT HOW CLAIMS
    token_forge "$1" "$3" "$4" || failed "no such token: $1"
    login_refused "$1" "$2"
}
now=$(date +%s)
forge tampered 'one letter of the signature changed' '{"tamper":true}' '{}'
forge unsigned 'no signature (alg none)' '{"alg":"none"}' '{}'
forge confused 'HMAC with the public key (alg HS256)' '{"alg":"HS256"}' '{}'
forge audience 'meant for somebody else (aud)' '{}' '{"aud":"billing"}'
# An hour is more than any skew that a gate may allow.
forge expired 'expired an hour ago' '{}' "{\"iat\":$((now - 3660)),\"exp\":$((now - 3600))}"
refused 'sasl authentication error|authentication failed' tampered -L
fine "kcat with the first of them: $(<"$dir/said")"

step 'Revocation in the middle of a stream'
cut_verified() {
    local http
    http=$(value http "$dir/cut.txt")
    [ "$http" = 200 ] || failed "the revocation was answered with $http"
    [ "$(value answers "$dir/cut.txt")" -gt 0 ] || failed 'nothing was streaming'
    [ "$(value late_bytes "$dir/cut.txt")" = 0 ] || failed 'bytes came after the confirmation'
}
for partner in bob carol; do
    SLUICE_TOKEN_FILE=$dir/$partner.token start "$partner-stream" kcat -F "$dir/kcat.conf" \
        "${soon[@]}" -G "$partner-live" -u serial-parts
    declare "${partner}_pid=$last_pid"
done
for partner in bob carol; do
    within 20 grep -q catenaXId "$dir/$partner-stream.log" || failed "$partner's kcat gets nothing"
done
note 'bob and carol stream by kcat; a probe with bob'\''s token streams too and holds the clock'
probe bob --post "$control/v1/revocations" \
    --body '{"transfer":"transfer-4711","reason":"agreement terminated"}' \
    >"$dir/cut.txt" 2>"$dir/cut.log" || failed 'the session was not cut'
cut_verified
fine "bob's transfer is revoked: socket closed $(ms "$(value closed_us "$dir/cut.txt")") after the" \
    "request was sent, confirmed after $(ms "$(value replied_us "$dir/cut.txt")")"
sent_ms=$(value sent_wall_ms "$dir/cut.txt")
# librdkafka's log lines carry the time: %3|1700000000.123|FAIL|...
cut_ms() {
    awk -F '|' -v sent="$sent_ms" '/\|(FAIL|ERROR)\|/ { at = int($2 * 1000 + 0.5)
        if (at >= sent) { print at - sent; found = 1; exit } } END { exit !found }' \
        "$dir/bob-stream.log"
}
within 10 cut_ms || failed "bob's kcat did not notice"
fine "bob's kcat says so itself: connection lost $(cut_ms) ms after the request"
bob_lines=$(grep -c catenaXId "$dir/bob-stream.log")
carol_lines=$(grep -c catenaXId "$dir/carol-stream.log")
sleep 2
[ "$(grep -c catenaXId "$dir/bob-stream.log")" = "$bob_lines" ] || failed 'bob still reads'
[ "$(grep -c catenaXId "$dir/carol-stream.log")" -gt "$carol_lines" ] || failed 'carol reads no more'
fine 'two seconds later: not one event more for bob, and carol reads on'
# shellcheck disable=SC2154  # set by declare above
stop "$bob_pid"

login_refused bob 'bob logs in again with the same token'
token_fetch bob || failed 'no new token for bob'
login_refused bob 'with a fresh token for the same transfer'

step 'The same by RFC 7009, as a connector'\''s revokeUrl would send it'
printf 'token=%s' "$(<"$dir/dave.token")" >"$dir/dave.form"
probe dave --post "$control/oauth2/revoke" --body "@$dir/dave.form" \
    --content-type application/x-www-form-urlencoded >"$dir/cut.txt" 2>"$dir/cut.log" ||
    failed 'the session was not cut'
cut_verified
fine "dave's token is revoked: socket closed $(ms "$(value closed_us "$dir/cut.txt")") after the" \
    "request was sent, confirmed after $(ms "$(value replied_us "$dir/cut.txt")")"

step 'The audit trail, one JSON line an event; shortened here'
audited() { # WORD...
    local word lines
    lines=$(<"$dir/audit.jsonl")
    for word in "$@"; do
        lines=$(grep -F -- "$word" <<<"$lines") || return 1
    done
}
within 5 audited transfer-4711 'agreement terminated' || failed 'the revocation is not in the audit'
audited contract-prices || failed 'the denied topic is not in the audit'
audited alice-app || failed 'the denied group is not in the audit'
if grep -qF -e "$(<"$dir/carol.token")" -e "$(<"$dir/carol.secret")" "$dir/audit.jsonl" \
    "$dir/sluice.log"; then
    failed 'a token or a secret is in the audit or the log'
fi
"$here/demo/audit.sh" <"$dir/audit.jsonl" |
    grep -E '^[0-9:.]+  (denial|auth_fail|revocation|close .* revoked .* out$)' | sed 's/^/      /'
fine "$(wc -l <"$dir/audit.jsonl") lines, no token and no secret among them"

# shellcheck disable=SC2154  # set by declare above
stop "$carol_pid"
kill -0 "$gate" 2>/dev/null || failed 'the gate has ended'
if [ "$once" != 0 ]; then
    code=0
    kill "$gate"
    wait "$gate" || code=$?
    [ "$code" = 0 ] || failed "the gate ended with $code"
fi
printf '\n%sEvery step did what it says.%s\n' "$green" "$plain"
[ "$once" = 0 ] || exit 0

cat <<END

It stays up until Ctrl-C. In another terminal, as carol:

  export SLUICE_TOKEN_URL=$token_endpoint SLUICE_CLIENT_ID=carol SLUICE_CLIENT_SECRET=$(<"$dir/carol.secret")
  kcat -F $dir/kcat.conf -L
  kcat -F $dir/kcat.conf ${soon[*]} -G carol-app serial-parts
  kcat -F $dir/kcat.conf -C -t contract-prices

and as the provider:

  $B/sluice sessions -c $dir/sluice.yaml
  $B/sluice revoke -c $dir/sluice.yaml --transfer transfer-4712
  curl -s -d '{"transfer":"transfer-4712"}' -H 'Content-Type: application/json' $control/v1/revocations
  curl -s $control/metrics
  tail -f $dir/audit.jsonl | $here/demo/audit.sh
END
trap 'echo; exit 0' INT
wait -n "${pids[@]}" || true
failed 'one of the processes has ended'
