#!/bin/bash
# Looks at docker/ without an engine: hadolint over the Dockerfile, the compose file against the
# Compose specification, what they name in the repository, and the gate's configuration in it. The
# tools are Python packages in an environment of their own under ~/.cache/sluice.
#
# usage: scripts/check-docker.sh      SLUICE=FILE: the gate (build/release/sluice)
set -euo pipefail
cd "$(dirname "$0")/.."

sluice=${SLUICE:-build/release/sluice}
cache=${SLUICE_CACHE:-$HOME/.cache/sluice}
wanted=docker/lint-requirements.txt
venv=$cache/docker-lint-$( (cat "$wanted"; python3 -V) | sha256sum | cut -c1-16)
if [ ! -e "$venv/.complete" ]; then
    rm -rf "$venv"
    mkdir -p "$cache"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --no-input --disable-pip-version-check -r "$wanted"
    : >"$venv/.complete"
fi

"$venv/bin/hadolint" docker/Dockerfile

"$venv/bin/python" - docker <<'PY'
import pathlib
import re
import sys

from compose_spec import PyCompose

folder = pathlib.Path(sys.argv[1])
root = folder.parent
faults = []
compose = PyCompose.from_yaml((folder / "compose.yaml").read_text()).to_dict()

# What services refer to is declared, and what is declared exists (secrets are made by a script).
made = set(re.search(r"mv \"\$work\"/\{([^}]*)\}", (folder / "certificates.sh").read_text())
           .group(1).split(","))
for kind in ("configs", "secrets", "networks", "volumes"):
    declared = compose.get(kind) or {}
    for name, service in compose["services"].items():
        for used in service.get(kind) or []:
            used = used if isinstance(used, str) else used.get("source")
            used = used.split(":")[0] if kind == "volumes" else used
            if used not in declared:
                faults.append(f"compose.yaml: {name}: {kind} has no {used}")
for name, config in compose["configs"].items():
    if not (folder / config["file"]).is_file():
        faults.append(f"compose.yaml: no file {config['file']}")
for name, secret in compose["secrets"].items():
    if pathlib.PurePath(secret["file"]).name not in made:
        faults.append(f"compose.yaml: certificates.sh makes no {secret['file']}")
for name, service in compose["services"].items():
    for other in service.get("depends_on") or {}:
        if other not in compose["services"]:
            faults.append(f"compose.yaml: {name} depends on {other}")

# What the Dockerfile copies is there, and the ignore file lets it through.
dockerfile = (folder / "Dockerfile").read_text()
ignored = (folder / "Dockerfile.dockerignore").read_text().split()
stages = re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.M)
for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.M):
    for source in line.split()[:-1]:
        if not (root / source).exists():
            faults.append(f"Dockerfile: no {source}")
        if f"!{source}" not in ignored:
            faults.append(f"Dockerfile.dockerignore leaves out {source}")
for name, service in compose["services"].items():
    target = (service.get("build") or {}).get("target")
    if target and target not in stages:
        faults.append(f"compose.yaml: {name}: the Dockerfile has no stage {target}")

# The gate itself: least privilege is not lost by an edit.
gate = compose["services"]["sluice"]
if gate.get("read_only") is not True or gate.get("cap_drop") != ["ALL"]:
    faults.append("compose.yaml: sluice: read_only and cap_drop: [ALL] belong together")
if not re.search(r"^USER 10001:10001$", dockerfile.split("AS sluice")[1], re.M):
    faults.append("Dockerfile: the gate's stage has no USER 10001:10001")
print("\n".join(faults))
sys.exit(bool(faults))
PY

# The configuration, with its paths where this machine has them.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
docker/certificates.sh "$work/secrets" >/dev/null
sed -e "s#/run/secrets/#$work/secrets/#" -e "s#/var/lib/sluice/#$work/#" docker/sluice.yaml \
    >"$work/sluice.yaml"
"$sluice" check -c "$work/sluice.yaml"
