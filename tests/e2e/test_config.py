"""The configuration: what `sluice check` says, and what a reload does to those who are there."""

import json
import re
import signal
import socket
import ssl
import time

import pytest

import clients
import gate as gates
import parts
from processes import wait_for

GOOD = """\
listen: 127.0.0.1:9093
advertise: gate.example.com:9093
tls:
  certificate: gate.pem
  key: gate.key
issuers:
  - issuer: https://idp.example.com/realms/dataspace
    audience: sluice
    jwks_url: https://idp.example.com/certs
upstream:
  brokers: [kafka-1:9092, kafka-2:9092]
grants:
  - id: transfer-4711
    principal: {issuer: https://idp.example.com/realms/dataspace, subject: partner-bob}
    participant: did:web:bob
    topics: [serial-parts]
    group_prefix: bob
    operations: [read]
control:
  listen: 127.0.0.1:9090
store:
  path: sluice.db
audit:
  file: audit.jsonl
"""


@pytest.fixture
def check(tmp_path, authority):
    """check(text) -> Ran of `sluice check`, with the certificate files beside it."""
    pair = authority.issue("check", names=["gate.example.com"])
    (tmp_path / "gate.pem").write_bytes(pair.certificate.read_bytes())
    (tmp_path / "gate.key").write_bytes(pair.key.read_bytes())
    (tmp_path / "gate.key").chmod(0o600)

    def run(text):
        file = tmp_path / "sluice.yaml"
        file.write_text(text)
        return clients.run([parts.SLUICE, "check", "-c", file], timeout_s=20)
    return run


def test_the_small_example_is_right(check):
    ran = check(GOOD)
    assert ran.status == 0, ran.text


def line_of(text, words):
    return next(i for i, line in enumerate(text.splitlines(), 1) if words in line)


WRONG = {
    "unknown option": ("workers_: 3\n" + GOOD, "workers_", "workers_"),
    "unknown in a section": (GOOD.replace("  key: gate.key", "  key: gate.key\n  keyy: x"),
                             "keyy", "keyy"),
    "number as text": ("workers: many\n" + GOOD, "workers", "workers"),
    "missing file": (GOOD.replace("gate.pem", "none.pem"), "certificate", "none.pem"),
    "unknown operation": (GOOD.replace("[read]", "[read, erase]"), "operations", "erase"),
    "port out of range": (GOOD.replace("127.0.0.1:9093", "127.0.0.1:90930"), "listen", "listen"),
    "plain http key set": (GOOD.replace("https://idp.example.com/certs", "http://idp/certs"),
                           "jwks_url", "http"),
    "key set given twice": (GOOD.replace(
        "    audience: sluice", "    audience: sluice\n    jwks_file: gate.pem"), "jwks", "jwks"),
    "control beyond loopback": (GOOD.replace("127.0.0.1:9090", "0.0.0.0:9090"), "control",
                                "control"),
    "duplicate grant": (GOOD.replace("control:\n", GOOD[GOOD.index("  - id:"):
                                                        GOOD.index("control:")] + "control:\n"),
                        "id: transfer-4711", "transfer-4711"),
    "duplicate key": (GOOD + "listen: 127.0.0.1:9094\n", "listen", "listen"),
    "skew too large": (GOOD.replace("    audience: sluice", "    audience: sluice\n    skew_s: 600"),
                       "skew_s", "skew_s"),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_name_file_line_and_option(name, check):
    text, _, said = WRONG[name]
    ran = check(text)
    assert ran.status != 0
    found = re.search(r"sluice\.yaml:(\d+)", ran.text)
    assert found, ran.text
    assert said in ran.text
    lines = text.splitlines()
    assert 1 <= int(found.group(1)) <= len(lines)


@pytest.mark.parametrize("name", ["unknown option", "number as text", "missing file",
                                  "unknown operation", "skew too large"])
def test_errors_name_the_very_line(name, check):
    text, words, _ = WRONG[name]
    ran = check(text)
    assert f"sluice.yaml:{line_of(text, words)}" in ran.text, ran.text


@pytest.mark.parametrize("option", ["issuers", "upstream", "tls", "listen", "advertise"])
def test_required_options(option, check):
    kept, dropping = [], False
    for line in GOOD.splitlines(True):
        if not line.startswith(" "):
            dropping = line.startswith(f"{option}:")
        if not dropping:
            kept.append(line)
    ran = check("".join(kept))
    assert ran.status != 0 and option in ran.text, ran.text


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "a: [\n", "a: &x 1\nb: *x\n", "\t\n",
                                  "listen: !!python/object x\n", "a: " + "[" * 5000 + "\n"])
def test_no_configuration_at_all(text, check):
    assert check(text).status != 0


def test_reference_and_schema():
    ran = clients.run([parts.SLUICE, "check", "--reference"])
    assert ran.status == 0 and "group_separator" in ran.text
    ran = clients.run([parts.SLUICE, "check", "--schema"])
    assert ran.status == 0
    schema = json.loads(ran.out)
    assert "upstream" in schema["properties"]


# --- reload

@pytest.fixture
def gate(make_gate, request, serial_parts):
    name = re.sub(r"\W+", "-", request.node.name)
    return make_gate(name, tapped=False, grants=[
        gates.grant("read-bob", "bob", ["serial-parts"], "bob"),
        gates.grant("read-carol", "carol", ["serial-parts"], "carol")])


def works(connection):
    answer = connection.ask("Metadata", 9, {"Topics": [{"Name": "serial-parts"}]})
    return answer["Topics"][0]["ErrorCode"] == 0


def test_a_reload_ends_what_was_removed_only(gate):
    bob, carol = (gate.wire(gate.token(name)) for name in ("bob", "carol"))
    with bob, carol:
        gate.config["grants"] = [g for g in gate.config["grants"] if g["id"] != "read-bob"]
        gate.config["grants"].append(gate._fill(
            gates.grant("read-dora", "dora", ["serial-parts"], "dora")))
        gate.reload()
        bob.wait_closed(5)
        assert works(carol)
    wait_for(lambda: gate.login_error(gate.token("dora")) == 0, 15, "the new grant is there")
    assert gate.login_error(gate.token("bob")) == 58


def test_a_reload_ends_what_was_narrowed(gate):
    with gate.wire(gate.token("bob")) as bob, gate.wire(gate.token("carol")) as carol:
        for entry in gate.config["grants"]:
            if entry["id"] == "read-bob":
                entry["group_prefix"] = "bob-only"
        gate.reload()
        bob.wait_closed(5)
        assert works(carol)


def test_a_bad_file_changes_nothing(gate):
    with gate.wire(gate.token("bob")) as bob:
        since = len(gate.log())
        gate.config_file.write_text("listen: 1\ngrants: []\n")
        gate.process.send(signal.SIGHUP)
        gate.wait_log(r"sluice\.yaml:\d", since=since)
        assert works(bob)
        assert gate.login_error(gate.token("carol")) == 0


def test_a_new_certificate_is_shown_to_new_connections(gate, authority):
    def shown():
        with socket.create_connection((gate.host, gate.port), 5) as raw:
            context = ssl.create_default_context(cafile=authority.certificate)
            with context.wrap_socket(raw, server_hostname="127.0.0.1") as connection:
                return connection.getpeercert()["subject"][0][0][1]
    with gate.wire(gate.token("bob")) as bob:
        before = shown()
        pair = authority.issue("renewed", addresses=["127.0.0.1"])
        gate.config["tls"] |= {"certificate": str(pair.certificate), "key": str(pair.key)}
        gate.reload()
        wait_for(lambda: shown() == "renewed", 15, "the new certificate")
        assert before != "renewed" and works(bob)


def test_the_audit_file_is_reopened(gate):
    gate.login_error(gate.token("bob"))
    wait_for(gate.audit, 15, "an audit line")
    moved = gate.audit_file.with_suffix(".1")
    gate.audit_file.rename(moved)
    gate.process.send(signal.SIGHUP)
    wait_for(gate.audit_file.exists, 15, "a new audit file")
    gate.login_error(gate.token("carol"))
    gate.wait_audit("carol")
    assert moved.stat().st_size > 0


def test_sigterm_lets_answers_finish(gate):
    """What was asked is still answered; then the connection is closed in an orderly way."""
    with gate.wire(gate.token("bob")) as connection:
        before = gate.requests()
        for _ in range(3):
            connection.post("Metadata", 9, {"Topics": [{"Name": "serial-parts"}]})
        wait_for(lambda: gate.requests() >= before + 3, 10, "they are read")
        start = time.monotonic()
        gate.process.send(signal.SIGTERM)
        for number in range(3):
            assert connection.answer("Metadata", 9, connection.correlation - 2 + number)
        connection.wait_closed(10)
        assert time.monotonic() - start < 8
    gate.stop()
