"""Runs last: everything that clients received in all the other cases, searched."""

import subprocess

import pytest

import parts
import tap as taps
import wire
from processes import free_port
from test_denials_exact import TABLE


# What the gate says itself beside error 58.
OWN_TEXTS = ("Authentication failed.", "Re-authentication must keep participant, topics, group "
             "prefix and operations.")


@pytest.mark.direct
def test_the_search_finds_what_is_there(cluster, authority, tmp_path):
    """The relay before a broker itself: hosts, ports, nodes, racks and cluster id are all seen."""
    findings = taps.Findings(*cluster.secrets(), tmp_path)
    relay = taps.Tap(findings)
    pair = authority.issue("relay", addresses=["127.0.0.1"])
    port = free_port()
    server = relay.open(port, cluster.address(0, "tls"), pair, authority.certificate)
    try:
        with wire.Wire("127.0.0.1", port, authority.certificate) as connection:
            connection.ask("Metadata", 9, {"Topics": []})
            connection.ask("FindCoordinator", 3, {"Key": "x", "KeyType": 0})
            connection.ask("DescribeCluster", 1)
    finally:
        relay.shut(server)
        relay.close()
    text = "\n".join(findings.leaks)
    texts, _ = cluster.secrets()
    for secret in texts:
        assert secret in text, secret
    for node, ports in zip((17101, 17102, 17103), cluster.ports):
        assert str(node) in text and str(ports["tls"]) in text
    assert "not the advertised port" in text and "is a rack" in text
    assert not findings.undecodable
    found = "".join(
        linted(findings, {("gate.example.com", 9093)}, "--cluster", "x").values())
    for why in ("a host that is not", "a port that is not", "a node that is not", "a rack",
                "a cluster id that is not ours"):
        assert why in found, why


def linted(findings, advertised, *more):
    """What `sluice decode --leaks` says of all answers, by API and version."""
    view = ["--leaks", "--node", "0", *more]
    for text in OWN_TEXTS:
        view += ["--own-text", text]
    for host, port in advertised:
        view += ["--advertise", f"{host}:{port}"]
    said = {}
    for (name, version), (path, file) in sorted(findings.kept.items()):
        file.flush()
        ran = subprocess.run([parts.SLUICE, "decode", "--response", "--raw", "--api", name,
                              "--version", str(version), *view, path], capture_output=True,
                             text=True, check=False)
        if ran.returncode != 0:
            said[name, version] = f"status {ran.returncode}: {ran.stderr[:2000]}{ran.stdout[:2000]}"
    return said


def test_the_roles_of_fields_leak_nothing(findings):
    """The same by the gate's own schema: every field that says something of the cluster."""
    assert not linted(findings, findings.advertised)


def test_nothing_leaked(findings):
    assert not findings.leaks, "\n".join(findings.leaks)


def test_every_answer_was_well_formed(findings):
    """Decoded by Kafka's own definitions, to the last byte."""
    assert not findings.undecodable, "\n".join(findings.undecodable)


def test_every_api_was_seen(findings, request):
    """The search means little unless all kinds of answers have passed. Holds for a whole run."""
    if len({item.path for item in request.session.items}) < 10:
        pytest.skip("only some cases were run")
    assert TABLE <= set(findings.answers), TABLE - set(findings.answers)
    assert findings.bytes > 50_000_000
