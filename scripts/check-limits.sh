#!/bin/bash
# Holds docs/limits.md against the code: every built-in constant that it names has the value that it
# tells, every bound in a header is named, every option of `limits` is there with its default, and
# every list of the configuration with its length.
#
# usage: scripts/check-limits.sh
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 - <<'PY'
import ast
import pathlib
import re
import sys

FOLDERS = ["base", "codec", "config", "auth", "audit", "proxy", "control", "edc"]
# Numbers in headers that bound nothing: sizes of texts on the stack, of enumerations, and the like.
NO_BOUNDS = {
    "SL_ASAN", "AUDIT_KINDS", "REVOKE_KINDS", "RING_CACHE_LINE", "CHAIN_EXTRA", "SERVER_CLASSES",
    "OPTION_TAKES_BYTES", "REPORT_QUOTE_BYTES", "CONFIG_PATH_BYTES", "BODY_ERROR_BYTES",
    "CLIENT_ERROR_BYTES", "ENDPOINT_TEXT_BYTES", "SCRAM_HASH_MAX", "SCRAM_NONCE_LEN",
    "CLUSTER_APIS", "TLS_NAME_MAX", "VARINT_BYTES_MAX", "GATE_TICK_MS", "TLS_RECORD_BYTES",
    "ISSUER_JTI_BYTES", "SIGNING_KID_BYTES", "DID_URL_BYTES", "OAUTH_WHY_BYTES", "SECRET_TEXT_BYTES",
    "REFRESH_CONSUMER_BYTES", "REFRESH_TOKEN_BYTES", "JWS_SIGNATURE_BYTES_MAX", "OAUTH_CLIENT_BYTES",
    "JSONLD_FAULT_BYTES", "MESSAGE_ID_BYTES", "TELLER_URL_BYTES",
    "ACL_TYPE_MAX", "ACL_OP_MAX", "ACL_RIGHT_BINDINGS", "ACL_WHO_BYTES", "DIGEST_HEX",
    "KAFKA_UNKNOWN_SERVER_ERROR", "KAFKA_POLICY_VIOLATION",
}
UNITS = {"": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "bits": 1,
         "ms": 10**-3, "s": 1, "min": 60, "h": 3600, "d": 86400}
TIMES = {"_US": 10**-6, "_MS": 10**-3, "_S": 1}
faults = []


def define_rows(file):
    text = file.read_text()
    for name, value in re.findall(r"^#define ([A-Z][A-Z0-9_]*)[ \t]+(.*)$", text, re.M):
        yield name, re.sub(r"/\*.*?(\*/|$)", "", value).strip()


def number(text, names):
    """The value of a constant expression; None where it is something else."""
    text = re.sub(r"\((?:size_t|int|unsigned|uint64_t)\)", "", text)
    text = re.sub(r"U?INT(?:32|64)_C\(([^()]*)\)", r"(\1)", text)
    for _ in range(8):
        text = re.sub(r"\b[A-Z][A-Z0-9_]+\b", lambda m: f"({names.get(m.group(), '?')})", text)
    text = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", text)
    if not re.fullmatch(r"[0-9a-fA-Fx()+*/<> -]+", text) or not re.search(r"\d", text):
        return None
    try:
        tree = ast.parse(text.replace("/", "//"), mode="eval")
    except SyntaxError:
        return None
    return eval(compile(tree, "-", "eval"), {"__builtins__": {}})


def told(text, name=""):
    """'64 KiB' or '30 s' in the unit of the constant; None where it is no such thing."""
    m = re.fullmatch(r"([0-9][0-9,]*(?:\.\d+)?) ?([A-Za-z]*).*", text)
    if not m or m.group(2) not in UNITS:
        return None
    value = float(m.group(1).replace(",", "")) * UNITS[m.group(2)]
    suffix = re.search(r"_(?:US|MS|S|KIB)$", name.upper())
    if suffix and suffix.group() == "_KIB":
        value /= 1024
    elif suffix and m.group(2) in ("ms", "s", "min", "h", "d"):
        value /= TIMES[suffix.group()]
    return round(value)


page = pathlib.Path("docs/limits.md").read_text()
rows = [[cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines() if line.startswith("| `")]

values = {}
for folder in FOLDERS:
    for file in sorted(pathlib.Path(folder).glob("*.[ch]")):
        found = list(define_rows(file))
        names = dict(found)
        for header in pathlib.Path(".").glob("*/*.h"):
            for name, text in define_rows(header):
                names.setdefault(name, text)
        for name, text in found:
            value = number(text, names)
            if value is not None:
                values[str(file), name] = value

named = set()
for row in (r for r in rows if len(r) == 4):
    name, file, value = row[0].strip("`"), row[1].strip("`"), row[2]
    named.add(name)
    if (file, name) not in values:
        faults.append(f"{file} has no constant {name}")
    elif told(value, name) != values[file, name]:
        faults.append(f"{name} is {values[file, name]} in {file}, not {value}")
for file, name in sorted(values):
    if file.endswith(".h") and name not in named | NO_BOUNDS:
        faults.append(f"{name} of {file} is missing")

# Options: name and default, as docs/configuration.md (which is `sluice check --reference`) has them.
defaults, section = {}, ""
for line in pathlib.Path("docs/configuration.md").read_text().splitlines():
    if line.startswith("## "):
        section = "" if line == "## Top level" else line[3:] + "."
    m = re.match(r"\| `(\w+)`[^|]*\| [^|]* \| `?([^`|]*?)`? \|", line)
    if m:
        defaults[section + m.group(1)] = m.group(2)
items = {path: number(count, {name: str(value) for (_, name), value in values.items()}) for path, count in re.findall(
    r'\.path = "([^"]+)",(?:(?!\.path).)*?\.items = (\w+)',
    pathlib.Path("config/options.c").read_text(), re.S)}
options = set()
for row in (r for r in rows if len(r) == 3):
    path, value = row[0].strip("`"), row[1]
    options.add(path)
    if "at most" in value:
        if told(value.replace("at most ", "")) != items.get(path):
            faults.append(f"{path} takes {items.get(path)} entries, not {value}")
    elif told(value, path) is None or str(told(value, path)) != defaults.get(path):
        faults.append(f"the default of {path} is {defaults.get(path)}, not {value}")
for path in defaults:
    if path.startswith("limits.") and path not in options:
        faults.append(f"{path} is missing")
for path in items:
    if path not in options:
        faults.append(f"the length of {path} is missing")

print("\n".join(f"docs/limits.md: {fault}" for fault in faults), end="\n" if faults else "")
sys.exit(bool(faults))
PY
