"""Starting: what cannot start says why in one line, ends with code 1, and leaves nothing broken
behind it. No broker is needed."""

import pathlib
import re
import socket
import ssl

import pytest

import clients
import parts
from processes import Process, free_port, wait_for

CONFIG = """\
listen: 127.0.0.1:{port}
advertise: gate.example.com:9093
tls: {{certificate: gate.pem, key: gate.key}}
issuers:
  - {{issuer: "https://idp.example.com", audience: sluice, {keys}}}
upstream: {{brokers: ["127.0.0.1:1"]}}
control: {{listen: "127.0.0.1:{control}"}}
store: {{path: {store}}}
audit: {{file: audit.jsonl}}
"""


@pytest.fixture
def start(tmp_path, authority):
    """start(...) -> Ran of a `sluice run` that must end by itself."""
    pair = authority.issue("start", names=["gate.example.com"])
    (tmp_path / "gate.pem").write_bytes(pair.certificate.read_bytes())
    (tmp_path / "gate.key").write_bytes(pair.key.read_bytes())
    (tmp_path / "gate.key").chmod(0o600)

    def run(port=None, control=None, keys='jwks_url: "https://idp.example.com/keys"',
            store="sluice.db"):
        file = tmp_path / "sluice.yaml"
        file.write_text(CONFIG.format(port=port or free_port(), control=control or free_port(),
                                      keys=keys, store=store))
        return clients.run([parts.SLUICE, "run", "-c", file], timeout_s=20)
    return run


def refused(ran, *words):
    assert ran.status == 1, ran.text
    assert "Sanitizer" not in ran.text and "runtime error" not in ran.text, ran.text
    assert sum("not started" in line for line in ran.text.splitlines()) == 1, ran.text
    for word in words:
        assert word in ran.text


@pytest.mark.parametrize("which", ["port", "control"])
def test_a_port_in_use(start, which):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(start(**{which: port}), str(port), "Address already in use")


def test_no_usable_key(start, tmp_path):
    (tmp_path / "keys.json").write_text('{"keys": []}')
    refused(start(keys="jwks_file: keys.json"), "keys.json", "no usable key")


def test_a_store_that_is_none(start, tmp_path):
    (tmp_path / "other.db").write_text("not a database, but long enough to be read as one\n" * 200)
    refused(start(store="other.db"), "other.db")


def test_an_end_with_open_connections(start, tmp_path, authority):
    """A client of the control listener that keeps its TLS connection does not disturb the end."""
    listen, control = free_port(), free_port()
    file = tmp_path / "sluice.yaml"
    (tmp_path / "token").write_text("token-of-the-operator")
    file.write_text(CONFIG.format(
        port=listen, control=f"{control}", store="sluice.db",
        keys='jwks_url: "https://idp.example.com/keys"').replace(
        f'"127.0.0.1:{control}"}}', f'"127.0.0.1:{control}", token_file: token, '
        "tls: {certificate: gate.pem, key: gate.key}}"))
    process = Process([parts.SLUICE, "run", "-c", file], tmp_path / "log")
    context = ssl.create_default_context(cafile=str(authority.certificate))

    def connected():
        assert process.running(), process.output()
        try:
            raw = socket.create_connection(("127.0.0.1", control), 5)
        except OSError:
            return None
        return context.wrap_socket(raw, server_hostname="gate.example.com")
    with wait_for(connected, 20, "the control listener") as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: gate.example.com\r\n\r\n")
        assert b"200" in connection.recv(4096)
        limits = pathlib.Path(f"/proc/{process.pid}/limits").read_text()
        assert re.search(r"Max core file size\s+0\s+0\s", limits), limits
        assert process.stop() == 0, process.output()
    assert "Sanitizer" not in process.output()
