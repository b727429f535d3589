#!/bin/bash
# Makes what docker/compose.yaml needs and no repository should hold, in docker/secrets (or the
# folder named): an authority, the gate's certificate for localhost, valid for 30 days, and one
# OAuth client, bob, with a random secret. Does nothing when they are there.
#
# usage: docker/certificates.sh [FOLDER]
set -euo pipefail

folder=${1:-$(cd "$(dirname "$0")" && pwd)/secrets}
[ ! -e "$folder/clients.json" ] || exit 0
umask 077
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl req -x509 "${new_key[@]}" -keyout "$work/ca.key" -out "$work/ca.pem" -days 30 \
    -subj '/CN=sluice compose CA' -addext 'keyUsage=critical,keyCertSign' 2>/dev/null
openssl req "${new_key[@]}" -keyout "$work/gate.key" -out "$work/gate.csr" -subj '/CN=localhost' \
    2>/dev/null
printf '%s\n' 'subjectAltName=DNS:localhost,IP:127.0.0.1' 'extendedKeyUsage=serverAuth' \
    'basicConstraints=critical,CA:FALSE' >"$work/extensions"
openssl x509 -req -in "$work/gate.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial \
    -days 30 -extfile "$work/extensions" -out "$work/gate.pem" 2>/dev/null
printf '[{"client_id": "bob", "client_secret": "%s",
  "claims": {"sub": "partner-bob", "transfer": "transfer-4711"}}]\n' \
    "$(openssl rand -hex 16)" >"$work/clients.json"

# The containers' user is not this one, and Compose mounts the files as they are. What keeps others
# on this machine out is the folder, which stays at 0700.
chmod 0644 "$work/ca.pem" "$work/gate.pem" "$work/clients.json" "$work/gate.key"
chmod 0700 "$folder"
mv "$work"/{ca.pem,gate.pem,gate.key,clients.json} "$folder/"
echo "made in $folder: ca.pem gate.pem gate.key clients.json"
